package gitsource

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// randomHistory makes a history with branches, merges, renames and deletes, in
// which sides often change one file in the same way.
func randomHistory(rng *rand.Rand, commits int) *stream {
	s := &stream{}
	trees := []map[string]string{nil} // by mark
	paths := []string{"a.md", "b.md", "docs/a.md", "docs/deep/c.md", "d.md"}
	text := func() string { return strings.Repeat(fmt.Sprintf("line %d\n", rng.IntN(6)), 1+rng.IntN(3)) }
	for range commits {
		parents := []int{}
		if s.marks > 0 && rng.IntN(40) > 0 {
			parents = append(parents, max(1, s.marks-rng.IntN(4)))
		}
		for len(parents) > 0 && len(parents) < 3 && rng.IntN(2) == 0 {
			if p := 1 + rng.IntN(s.marks); !slices.Contains(parents, p) {
				parents = append(parents, p)
			}
		}
		tree := make(map[string]string)
		if len(parents) > 0 {
			for path, text := range trees[parents[0]] {
				tree[path] = text
			}
		}
		if len(parents) > 1 { // a merge takes each file from any of its parents, or makes one
			for _, path := range paths {
				switch from := trees[parents[rng.IntN(len(parents))]]; {
				case rng.IntN(8) == 0:
					tree[path] = text()
				case from[path] == "":
					delete(tree, path)
				default:
					tree[path] = from[path]
				}
			}
		}
		for range rng.IntN(3) {
			path := paths[rng.IntN(len(paths))]
			switch {
			case len(parents) > 1:
			case rng.IntN(4) == 0:
				delete(tree, path)
			case rng.IntN(5) == 0 && tree[path] != "": // renamed
				other := paths[rng.IntN(len(paths))]
				tree[other] = tree[path]
				if other != path {
					delete(tree, path)
				}
			default:
				tree[path] = text()
			}
		}
		changes := []string{"deleteall"}
		for _, path := range paths {
			if tree[path] != "" {
				changes = append(changes, write(path, tree[path])...)
			}
		}
		s.commit(parents, fmt.Sprintf("commit %d\n\nmore of it\n", s.marks+1), changes...)
		trees = append(trees, tree)
	}
	return s
}

// gitHistory is what git shows of one file: for each commit its parents, but
// those that another parent follows: of these git keeps some, to show where a
// merge has its text from.
func gitHistory(t testing.TB, dir, branch, path string) map[string]string {
	all := make(map[string][]string)
	for line := range strings.Lines(git(t, dir, "log", "--full-history", "--simplify-merges", "--parents", "--no-show-signature", "--format=%H %P", branch, "--", ":(literal)"+path)) {
		fields := strings.Fields(line)
		all[fields[0]] = fields[1:]
	}
	found := make(map[string]string)
	for commit, parents := range all {
		kept := slices.DeleteFunc(slices.Clone(parents), func(p string) bool {
			return slices.ContainsFunc(parents, func(other string) bool { return other != p && reaches(all, other, p) })
		})
		slices.Sort(kept)
		found[commit] = strings.Join(kept, " ")
	}
	return found
}

// reaches reports whether old is an ancestor of commit.
func reaches(parents map[string][]string, commit, old string) bool {
	seen := map[string]bool{commit: true}
	for queue := []string{commit}; len(queue) > 0; queue = queue[1:] {
		for _, p := range parents[queue[0]] {
			if p == old {
				return true
			}
			if !seen[p] {
				seen[p] = true
				queue = append(queue, p)
			}
		}
	}
	return false
}

// ourHistory is the same for every page of a plan.
func ourHistory(all []Revision) map[string]map[string]string {
	found := make(map[string]map[string]string)
	for _, r := range all {
		file := r.Name.File()
		if found[file] == nil {
			found[file] = make(map[string]string)
		}
		parents := slices.Clone(r.Parents)
		slices.Sort(parents)
		found[file][r.Source] = strings.Join(parents, " ")
	}
	return found
}

// TestHistoriesAreGits holds the history of each page, with its parents,
// against real git's, for random histories.
func TestHistoriesAreGits(t *testing.T) {
	joins := 0
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 1))
		dir := randomHistory(rng, 20+rng.IntN(60)).repository(t)
		p := openPlan(t, dir, "")
		ours := ourHistory(revisions(t, p))
		files := strings.Fields(git(t, dir, "log", "-m", "--format=", "--name-only", "--no-renames", "main"))
		slices.Sort(files)
		for _, file := range slices.Compact(files) {
			want := gitHistory(t, dir, "main", file)
			if got := ours[file]; !equalHistory(got, want) {
				t.Errorf("seed %d: %s\ngot  %v\nwant %v\n%s", seed, file, got, want, git(t, dir, "log", "--graph", "--format=%H %P", "--name-status", "-m", "main", "--", file))
				return
			}
		}
		report := p.Report()
		joins += report.Joins
		if at := len(strings.Fields(git(t, dir, "ls-tree", "-r", "--name-only", "main"))); at != report.Pages {
			t.Errorf("seed %d: %d pages at the tip, git has %d", seed, report.Pages, at)
		}
		wantTexts(t, dir, p)
	}
	if joins < 50 {
		t.Errorf("only %d revisions with several parents: the histories are too simple", joins)
	}
}

func equalHistory(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for commit, parents := range b {
		if got, found := a[commit]; !found || got != parents {
			return false
		}
	}
	return true
}

// wantTexts compares every revision's text with git's.
func wantTexts(t *testing.T, dir string, p *Plan) {
	t.Helper()
	for _, r := range revisions(t, p) {
		if r.Delete {
			continue
		}
		if want := git(t, dir, "cat-file", "blob", r.Source+":"+r.Name.File()); want != string(r.Text) {
			t.Errorf("%s at %s is %q, want %q", r.Name, r.Source, r.Text, want)
		}
	}
}

// TestEverySourceGivesTheSame: a bare repository, one with a work tree and
// loose objects, a shared clone, a linked work tree and bundles of both
// versions give the same revisions.
func TestEverySourceGivesTheSame(t *testing.T) {
	bare := randomHistory(rand.New(rand.NewPCG(7, 7)), 40).repository(t)
	show := func(all []Revision) string {
		var b strings.Builder
		for _, r := range all {
			fmt.Fprintf(&b, "%s %q %v %s %s %q %s %v %v\n", r.Name, r.Text, r.Delete, r.Author, r.Time, r.Summary, r.Source, r.Parents, r.From != nil)
		}
		return b.String()
	}
	want := show(revisions(t, openPlan(t, bare, "")))
	dir := t.TempDir()
	git(t, dir, "clone", "-q", bare, "tree")
	tree := filepath.Join(dir, "tree")
	pack, err := filepath.Glob(filepath.Join(tree, ".git/objects/pack/*.pack"))
	if err != nil || len(pack) == 0 {
		t.Fatal("no pack", err)
	}
	for _, p := range pack { // all objects loose
		content, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, ending := range []string{".pack", ".idx", ".rev"} {
			os.Remove(strings.TrimSuffix(p, ".pack") + ending)
		}
		gitIn(t, tree, string(content), "unpack-objects", "-q")
	}
	git(t, dir, "clone", "-q", "--shared", bare, "shared")
	git(t, tree, "worktree", "add", "-q", "--detach", filepath.Join(dir, "linked"))
	for _, version := range []string{"2", "3"} {
		git(t, bare, "bundle", "create", "-q", "--version="+version, filepath.Join(dir, version+".bundle"), "--all")
	}
	git(t, bare, "repack", "-q", "-a", "-d", "-f", "--depth=50", "--window=50")
	git(t, bare, "pack-refs", "--all")
	for _, source := range []string{bare, tree, filepath.Join(dir, "shared"), filepath.Join(dir, "linked"), filepath.Join(dir, "2.bundle"), filepath.Join(dir, "3.bundle")} {
		branch := ""
		if strings.HasSuffix(source, ".bundle") {
			branch = "main"
		}
		if got := show(revisions(t, openPlan(t, source, branch))); got != want {
			t.Errorf("%s gives other revisions", source)
		}
	}
}

// TestGrownHistory: a history that has grown gives all the revisions that it
// gave before, unchanged.
func TestGrownHistory(t *testing.T) {
	for seed := range uint64(10) {
		dir := randomHistory(rand.New(rand.NewPCG(seed, 3)), 40).repository(t)
		whole := ourHistory(revisions(t, openPlan(t, dir, "")))
		for _, old := range []string{"b10", "b20"} {
			commit := strings.TrimSpace(git(t, dir, "rev-parse", old))
			if git(t, dir, "rev-list", "--count", old, "^main") != "0\n" {
				continue // not on the way to main
			}
			git(t, dir, "branch", "-f", "old", commit)
			for file, revisions := range ourHistory(revisions(t, openPlan(t, dir, "old"))) {
				for source, parents := range revisions {
					if got, found := whole[file][source]; !found || got != parents {
						t.Errorf("seed %d: %s of %s at %s: parents %q (%v), once %q", seed, source, file, old, got, found, parents)
					}
				}
			}
		}
	}
}

func newRandom(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }
