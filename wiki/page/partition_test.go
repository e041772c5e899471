package page_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki/page"
)

const torn = page.Name("Torn")

// side is one node of a mesh that falls apart.
type side struct {
	store *storage.Store
	pages *page.Service
}

// newSides makes nodes that have admitted one another.
func newSides(t *testing.T, count int) []*side {
	t.Helper()
	var all []*side
	for i := range count {
		store, err := storage.Open(storage.Config{Dir: "data", FS: vfs.NewMem(), Name: fmt.Sprintf("e%d", i+1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close() })
		all = append(all, &side{store, page.NewService(page.Config{Store: store})})
	}
	for _, s := range all[1:] {
		if err := all[0].store.Admit(t.Context(), s.store.Node(), "node"); err != nil {
			t.Fatal(err)
		}
		if err := s.store.Admit(t.Context(), all[0].store.Node(), "e1"); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range all[1:] {
		give(t, all[0], s)
	}
	return all
}

// give hands b what it lacks of what a has.
func give(t *testing.T, a, b *side) {
	t.Helper()
	var spans []storage.Span
	for log, sequence := range a.store.Vector() {
		if at := b.store.Position(log).Sequence; at < sequence {
			spans = append(spans, storage.Span{Log: log, After: at})
		}
	}
	var records []storage.Record
	if err := a.store.Range(spans, func(r storage.Record) bool {
		r.Content = slices.Clone(r.Content)
		records = append(records, r)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if len(records) == 0 {
		return
	}
	got, err := b.store.Receive(t.Context(), records)
	if err != nil || got.First != nil {
		t.Fatal(err, got.First)
	}
}

// meet lets nodes exchange all they have, in a random order.
func meet(t *testing.T, r *rand.Rand, nodes ...*side) {
	for range 2 {
		for _, i := range r.Perm(len(nodes)) {
			for _, k := range r.Perm(len(nodes)) {
				if i != k {
					give(t, nodes[i], nodes[k])
				}
			}
		}
	}
}

// edit changes random lines of the page as its node shows it, and returns the
// lines that were written.
func (s *side) edit(t *testing.T, r *rand.Rand, who string) (wrote []string) {
	t.Helper()
	p, err := s.pages.Page(torn)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(p.Text), "\n"), "\n")
	for k := range 1 + r.IntN(2) {
		line := fmt.Sprintf("%s writes %d, %d", who, k, r.Uint32())
		at := r.IntN(len(lines) + 1)
		switch {
		case at == len(lines) || r.IntN(2) == 0:
			lines = slices.Insert(lines, at, line)
		default:
			lines[at] = line
		}
		if len(lines) > 260 {
			lines = slices.Delete(lines, 10, 20)
		}
	}
	for _, line := range lines { // but for those that the same edit wrote over
		if strings.HasPrefix(line, who+" writes ") && !strings.Contains(string(p.Text), line) {
			wrote = append(wrote, line)
		}
	}
	_, err = s.pages.Save(t.Context(), page.Edit{Name: torn, Base: p.Heads, Text: []byte(strings.Join(lines, "\n") + "\n"), Author: who})
	if err != nil {
		t.Fatal(err)
	}
	return wrote
}

// shownText is all that a reader sees of a page: its text, or all versions.
func shownText(p *page.Page) []byte {
	if !p.Conflict {
		return p.Text
	}
	var all []byte
	for _, v := range p.Versions {
		all = append(append(all, v.Text...), 0)
	}
	return all
}

// TestPartitions cuts a mesh of four nodes in two at random, over and over. The
// same page is edited on both sides at random lines. When they meet, every node
// has the same bytes, and each line that somebody wrote is in the page, in its
// history, or in a conflict that is shown. ERWIK_PARTITIONS sets how often.
func TestPartitions(t *testing.T) {
	cuts := 1000
	if v, err := strconv.Atoi(os.Getenv("ERWIK_PARTITIONS")); err == nil {
		cuts = v
	}
	const each = 50 // cuts in the life of one mesh
	clean, clashes, written, inText := 0, 0, 0, 0
	for seed := range (cuts + each - 1) / each {
		r := rand.New(rand.NewPCG(uint64(seed), 11))
		nodes := newSides(t, 4)
		first := "# Torn\n"
		for i := range 200 {
			first += fmt.Sprintf("line %d\n", i)
		}
		save(t, nodes[0].pages, torn, first)
		meet(t, r, nodes...)
		var wrote []string
		for cut := range each {
			order := r.Perm(4)
			at := 1 + r.IntN(3)
			for half, members := range [][]int{order[:at], order[at:]} {
				var side []*side
				for _, i := range members {
					side = append(side, nodes[i])
				}
				for range 1 + r.IntN(2) {
					k := r.IntN(len(side))
					wrote = append(wrote, side[k].edit(t, r, fmt.Sprintf("seed %d cut %d side %d node %d", seed, cut, half, members[k]))...)
					if r.IntN(2) == 0 {
						meet(t, r, side...)
					}
				}
			}
			meet(t, r, nodes...)
			var want *page.Page
			for i, n := range nodes {
				p, err := n.pages.Page(torn)
				if err != nil {
					t.Fatal(err)
				}
				if i == 0 {
					want = p
				}
				if n.store.Stats().Digest != nodes[0].store.Stats().Digest || p.Conflict != want.Conflict ||
					!bytes.Equal(p.Text, want.Text) || !bytes.Equal(shownText(p), shownText(want)) {
					t.Fatalf("seed %d, cut %d: node %d shows something else", seed, cut, i)
				}
			}
			if want.Conflict {
				clashes++
			} else {
				clean++
			}
		}
		n := nodes[r.IntN(4)]
		p, err := n.pages.Page(torn)
		if err != nil {
			t.Fatal(err)
		}
		shown, past := string(shownText(p)), history(t, n)
		for _, line := range wrote {
			written++
			if strings.Contains(shown, line+"\n") {
				inText++
			} else if !strings.Contains(past, line+"\n") {
				t.Errorf("seed %d: %q is neither in the page, nor in its history, nor in a conflict", seed, line)
			}
		}
	}
	t.Logf("%d cuts: %d united cleanly, %d shown as a conflict; %d lines written, %d of them still shown, all others in the history",
		clean+clashes, clean, clashes, written, inText)
	if clean < cuts/10 || clashes < cuts/50 {
		t.Error("too few clean merges or conflicts: the test shows little")
	}
}

// history is the text of every revision that the history of the page lists.
func history(t *testing.T, n *side) string {
	t.Helper()
	var all strings.Builder
	for before := uint64(0); ; {
		list, err := n.pages.History(torn, before, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			_, text, err := n.pages.Revision(torn, r.Hash)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(text)
			all.WriteByte(0)
			before = r.Arrival
		}
		if len(list) < 100 {
			return all.String()
		}
	}
}
