package storage

import (
	"cmp"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// newestOf lists paths, each of them in calls for so many; after is called with each.
func newestOf(t *testing.T, s *Store, each int, after func(path string)) (paths []string) {
	t.Helper()
	for before, calls := uint64(0), 0; ; calls++ {
		given := 0
		next, err := s.NewestPaths("", before, func(p PathHeads) bool {
			if given == each {
				return false
			}
			given++
			paths = append(paths, p.Path)
			before = p.NewestArrival()
			after(p.Path)
			return true
		})
		if err != nil || calls > 1000 {
			t.Fatal(calls, err)
		}
		if next == 0 {
			return paths
		}
	}
}

// checkNewest compares the lists of the newest paths with that of all paths.
func checkNewest(t *testing.T, s *Store) {
	t.Helper()
	all, err := s.Paths("", "", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	all = slices.DeleteFunc(all, func(p PathHeads) bool { return len(p.Heads) == 0 })
	slices.SortFunc(all, func(a, b PathHeads) int { return cmp.Compare(b.NewestArrival(), a.NewestArrival()) })
	var want []string
	for _, p := range all {
		want = append(want, p.Path)
	}
	for _, each := range []int{1, 2, len(want), 1000} {
		if got := newestOf(t, s, each, func(string) {}); !slices.Equal(got, want) {
			t.Errorf("%d in a call: %v, want %v", each, got, want)
		}
	}
}

// TestNewestPathsAreOfOneMoment: a page that is saved while a call lists it is not
// left out.
func TestNewestPathsAreOfOneMoment(t *testing.T) {
	s := openTest(t, vfs.NewMem(), "e1")
	a := mustSave(t, s, page("A.md", "1"))
	mustSave(t, s, page("B.md", "1"))
	got := newestOf(t, s, 10, func(path string) {
		if path == "B.md" {
			mustSave(t, s, page("A.md", "2", a[0].Hash))
		}
	})
	if !slices.Equal(got, []string{"B.md", "A.md"}) {
		t.Errorf("got %v", got)
	}
	checkNewest(t, s)
}
