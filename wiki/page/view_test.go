package page_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki/page"
)

func TestViewOf(t *testing.T) {
	base := lines("1", "2", "3", "4", "5")
	tests := []struct {
		name     string
		history  func(g *graph) []storage.Hash // returns the heads
		text     string
		live     bool
		conflict bool
		merged   bool
		versions int
	}{
		{name: "no head", history: func(*graph) []storage.Hash { return nil }},
		{name: "one head", live: true, text: base, history: func(g *graph) []storage.Hash {
			return []storage.Hash{g.page("a", base)}
		}},
		{name: "deleted", history: func(g *graph) []storage.Hash {
			return []storage.Hash{g.add("d", storage.KindDelete, "", g.page("a", base))}
		}},
		{name: "unknown kind", history: func(g *graph) []storage.Hash {
			return []storage.Hash{g.add("x", "mystery", "text")}
		}},
		{name: "unknown kind beside a page", live: true, text: base, history: func(g *graph) []storage.Hash {
			return []storage.Hash{g.page("a", base), g.add("x", "mystery", "text")}
		}},
		{name: "equal texts without common ancestor", live: true, text: base, history: func(g *graph) []storage.Hash {
			return []storage.Hash{g.page("a", base), g.page("b", base), g.page("c", base)}
		}},
		{name: "two edits apart", live: true, merged: true, text: lines("one", "2", "3", "4", "five"), history: func(g *graph) []storage.Hash {
			root := g.page("root", base)
			return []storage.Hash{g.page("a", lines("one", "2", "3", "4", "5"), root), g.page("b", lines("1", "2", "3", "4", "five"), root)}
		}},
		{name: "three edits apart", live: true, merged: true, text: lines("one", "2", "three", "4", "five"), history: func(g *graph) []storage.Hash {
			root := g.page("root", base)
			return []storage.Hash{g.page("a", lines("one", "2", "3", "4", "5"), root),
				g.page("b", lines("1", "2", "3", "4", "five"), root), g.page("c", lines("1", "2", "three", "4", "5"), root)}
		}},
		{name: "same line", live: true, conflict: true, versions: 2, history: func(g *graph) []storage.Hash {
			root := g.page("root", base)
			return []storage.Hash{g.page("a", lines("A", "2", "3", "4", "5"), root), g.page("b", lines("B", "2", "3", "4", "5"), root)}
		}},
		{name: "one clash among three shows all", live: true, conflict: true, versions: 3, history: func(g *graph) []storage.Hash {
			root := g.page("root", base)
			return []storage.Hash{g.page("a", lines("A", "2", "3", "4", "5"), root),
				g.page("b", lines("B", "2", "3", "4", "5"), root), g.page("c", lines("1", "2", "3", "4", "C"), root)}
		}},
		{name: "no common ancestor", live: true, conflict: true, versions: 2, history: func(g *graph) []storage.Hash {
			return []storage.Hash{g.page("a", "A\n"), g.page("b", "B\n")}
		}},
		{name: "delete against edit", live: true, conflict: true, versions: 2, text: "edited\n", history: func(g *graph) []storage.Hash {
			root := g.page("root", base)
			return []storage.Hash{g.page("a", "edited\n", root), g.add("d", storage.KindDelete, "", root)}
		}},
		{name: "deleted on both sides", history: func(g *graph) []storage.Hash {
			root := g.page("root", base)
			return []storage.Hash{g.add("d", storage.KindDelete, "", root), g.add("e", storage.KindDelete, "", root)}
		}},
		{name: "the nearest ancestor counts", live: true, merged: true, text: lines("one", "2", "3", "4", "FIVE"), history: func(g *graph) []storage.Hash {
			root := g.page("root", base)
			mid := g.page("mid", lines("1", "2", "3", "4", "five"), root)
			return []storage.Hash{g.page("a", lines("one", "2", "3", "4", "five"), mid), g.page("b", lines("1", "2", "3", "4", "FIVE"), mid)}
		}},
		{name: "criss-cross that agrees", live: true, merged: true, text: lines("A", "2", "x", "4", "B"), history: func(g *graph) []storage.Hash {
			root := g.page("root", base)
			a, b := g.page("a", lines("A", "2", "3", "4", "5"), root), g.page("b", lines("1", "2", "3", "4", "B"), root)
			both := lines("A", "2", "3", "4", "B")
			return []storage.Hash{g.page("m", both, a, b), g.page("n", lines("A", "2", "x", "4", "B"), a, b)}
		}},
		{name: "criss-cross that does not agree", live: true, conflict: true, versions: 2, history: func(g *graph) []storage.Hash {
			root := g.page("root", "x\n")
			a, b := g.page("a", "A\n", root), g.page("b", "B\n", root)
			// Each side resolved the same clash in its own way.
			return []storage.Hash{g.page("m", "A\n", a, b), g.page("n", "B\n", a, b)}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGraph()
			v, err := page.ViewOf(g, tt.history(g))
			if err != nil {
				t.Fatal(err)
			}
			if v.Live != tt.live || v.Conflict != tt.conflict || v.Merged != tt.merged || len(v.Versions) != tt.versions {
				t.Errorf("live %v conflict %v merged %v versions %d, want %v %v %v %d",
					v.Live, v.Conflict, v.Merged, len(v.Versions), tt.live, tt.conflict, tt.merged, tt.versions)
			}
			if tt.text != "" && string(v.Text) != tt.text {
				t.Errorf("text %q, want %q", v.Text, tt.text)
			}
			if v.Conflict {
				for _, version := range v.Versions {
					if !version.Deleted {
						if string(version.Text) != string(v.Text) {
							t.Errorf("text %q is not that of the smallest head, %q", v.Text, version.Text)
						}
						break
					}
				}
			}
		})
	}
}

func TestManyHeads(t *testing.T) {
	g := newGraph()
	root := g.page("root", "x\n")
	var heads []storage.Hash
	for i := range 100 {
		heads = append(heads, g.page("h", fmt.Sprintf("text %d\n", i), root))
	}
	v, err := page.ViewOf(g, heads)
	if err != nil {
		t.Fatal(err)
	}
	if !v.Conflict || v.Distinct != 100 || len(v.Versions) != page.MaxShown {
		t.Errorf("conflict %v, %d distinct, %d shown, want true, 100, %d", v.Conflict, v.Distinct, len(v.Versions), page.MaxShown)
	}
}

// TestOneHeadIsCheap holds guarantee 5: the length of the history has no part
// in the cost.
func TestOneHeadIsCheap(t *testing.T) {
	g := newGraph()
	h := g.page("root", "x\n")
	for i := range 1000 {
		h = g.page("h", fmt.Sprint(i), h)
	}
	g.reads = 0
	if _, err := page.ViewOf(g, []storage.Hash{h}); err != nil {
		t.Fatal(err)
	}
	if g.reads != 1 {
		t.Errorf("%d commits were read, want 1", g.reads)
	}
}

// replicas is a random history: several nodes edit one page on the view that
// they see, and now and then take over what another one has.
type replicas struct {
	g       *graph
	held    []map[storage.Hash]bool
	written int
}

func (r *replicas) edit(t *rapid.T, node int) {
	heads := r.g.heads(r.held[node])
	v, err := page.ViewOf(r.g, heads)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.SplitAfter(string(v.Text), "\n")
	text = text[:len(text)-1]
	kind := storage.KindPage
	switch action := rapid.IntRange(0, 9).Draw(t, "action"); {
	case action == 0 && v.Live:
		kind, text = storage.KindDelete, nil
	case action <= 2 && len(text) > 0:
		at := rapid.IntRange(0, len(text)-1).Draw(t, "at")
		text = slices.Delete(text, at, at+1)
	default:
		at := rapid.IntRange(0, len(text)).Draw(t, "at")
		end := min(len(text), at+rapid.IntRange(0, 1).Draw(t, "replaced"))
		r.written++
		text = slices.Replace(text, at, end, fmt.Sprintf("line %d\n", r.written))
	}
	h := r.g.add(fmt.Sprint(node, len(r.g.commits)), kind, strings.Join(text, ""), heads...)
	r.held[node][h] = true
}

func (r *replicas) sync(to, from int) {
	for h := range r.held[from] {
		r.held[to][h] = true
	}
}

func randomHistory(t *rapid.T) *graph {
	r := &replicas{g: newGraph()}
	for range rapid.IntRange(2, 4).Draw(t, "nodes") {
		r.held = append(r.held, map[storage.Hash]bool{})
	}
	start := r.g.page("start", lines("a", "b", "c", "d", "e", "f", "g", "h"))
	for _, held := range r.held {
		held[start] = true
	}
	for range rapid.IntRange(1, 25).Draw(t, "steps") {
		node := rapid.IntRange(0, len(r.held)-1).Draw(t, "node")
		if other := rapid.IntRange(0, 2*len(r.held)).Draw(t, "other"); other < len(r.held) && other != node {
			r.sync(node, other)
		} else {
			r.edit(t, node)
		}
	}
	return r.g
}

func describe(v *page.View) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v %v %v %d %q", v.Live, v.Conflict, v.Merged, v.Distinct, v.Text)
	for _, version := range v.Versions {
		fmt.Fprintf(&b, " %s %v %q", version.Commit.Hash, version.Heads, version.Text)
	}
	return b.String()
}

// TestViewIsPure: whatever the order in which commits arrive and heads are
// named, the view has the same bytes, and no text is lost.
func TestViewIsPure(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := randomHistory(t)
		all := make([]storage.Hash, 0, len(g.commits))
		for h := range g.commits {
			all = append(all, h)
		}
		slices.SortFunc(all, storage.Hash.Compare)
		want, err := page.ViewOf(g, g.headsOf(all))
		if err != nil {
			t.Fatal(err)
		}
		order := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		for range 4 {
			replica, heads := arrive(g, all, order)
			heads = append(heads, heads[order.IntN(len(heads))])
			got, err := page.ViewOf(replica, heads)
			if err != nil {
				t.Fatal(err)
			}
			if describe(got) != describe(want) {
				t.Fatalf("another order gives\n%s\nnot\n%s", describe(got), describe(want))
			}
		}
		keepsTexts(t, g, want)
	})
}

func (g *graph) headsOf(all []storage.Hash) []storage.Hash {
	set := map[storage.Hash]bool{}
	for _, h := range all {
		set[h] = true
	}
	return g.heads(set)
}

// arrive builds another node's history, commit by commit in a random order in
// which parents come first, with its heads kept up as they come.
func arrive(g *graph, all []storage.Hash, order *rand.Rand) (*graph, []storage.Hash) {
	to := newGraph()
	waiting := slices.Clone(all)
	order.Shuffle(len(waiting), func(i, j int) { waiting[i], waiting[j] = waiting[j], waiting[i] })
	var heads []storage.Hash
	for len(waiting) > 0 {
		for i, h := range waiting {
			c := g.commits[h]
			if slices.ContainsFunc(c.Parents, func(p storage.Hash) bool { return to.commits[p] == nil }) {
				continue
			}
			to.commits[h], to.texts[h] = c, g.texts[h]
			heads = slices.DeleteFunc(heads, func(old storage.Hash) bool { return slices.Contains(c.Parents, old) })
			heads = append(heads, h)
			waiting = slices.Delete(waiting, i, i+1)
			break
		}
	}
	return to, heads
}

// keepsTexts checks that each line of each head is in the view, or among the
// versions of a conflict, or was seen, and so removed, by somebody who is
// ahead of it.
func keepsTexts(t *rapid.T, g *graph, v *page.View) {
	var shown strings.Builder
	shown.WriteString(string(v.Text))
	for _, version := range v.Versions {
		shown.WriteString(string(version.Text))
	}
	for _, h := range v.Heads {
		for line := range strings.Lines(string(g.texts[h])) {
			if strings.Contains(shown.String(), line) || seenByOthers(g, v.Heads, h, line) {
				continue
			}
			t.Fatalf("line %q of head %s is lost: %s", line, h, describe(v))
		}
	}
}

func seenByOthers(g *graph, heads []storage.Hash, h storage.Hash, line string) bool {
	for _, other := range heads {
		if other == h {
			continue
		}
		for a := range g.ancestors(other) {
			if strings.Contains(string(g.texts[a]), line) {
				return true
			}
		}
	}
	return false
}

// TestMergesAreFound makes sure that random histories are not all conflicts.
func TestMergesAreFound(t *testing.T) {
	var clean, merged, conflicts int
	rapid.Check(t, func(t *rapid.T) {
		g := randomHistory(t)
		all := make([]storage.Hash, 0, len(g.commits))
		for h := range g.commits {
			all = append(all, h)
		}
		v, err := page.ViewOf(g, g.headsOf(all))
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case v.Conflict:
			conflicts++
		case v.Merged:
			merged++
		default:
			clean++
		}
	})
	t.Logf("one text %d, merged %d, conflicts %d", clean, merged, conflicts)
	if merged == 0 || conflicts == 0 {
		t.Errorf("the random histories show nothing: one text %d, merged %d, conflicts %d", clean, merged, conflicts)
	}
}
