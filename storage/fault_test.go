package storage

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestCloseWhileARangeReads: who reads inside a Range gets ErrClosed while
// Close waits for it, and both end.
func TestCloseWhileARangeReads(t *testing.T) {
	s := openTest(t, vfs.NewMem(), "a")
	c := mustSave(t, s, page("A.md", "one"))[0]
	ended := make(chan error, 1)
	go func() {
		closed := make(chan error, 1)
		err := s.Range([]Span{{Log: c.Log}}, func(Record) bool {
			go func() { closed <- s.Close() }()
			for {
				if _, err := s.Commit(c.Hash); errors.Is(err, ErrClosed) {
					return false
				}
			}
		})
		ended <- errors.Join(err, <-closed)
	}()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the reader and Close wait for one another")
	}
}

// TestStagedCommitsCountWhole: a commit that waits is counted with its parents
// and its message, which may be larger than its text.
func TestStagedCommitsCountWhole(t *testing.T) {
	c := &Commit{Message: strings.Repeat("m", MaxMessage), Parents: make([]Hash, MaxParents)}
	if got, want := stagedSize(Record{Commit: c}), len(c.AppendEntry(nil)); got < want {
		t.Errorf("counted as %d bytes, has %d", got, want)
	}
}

// TestLostKeyIsNotReplaced: a data directory whose key is gone is refused; a
// new key would make it another node's without a word.
func TestLostKeyIsNotReplaced(t *testing.T) {
	fs := vfs.NewMem()
	s := openTest(t, fs, "a")
	mustSave(t, s, page("A.md", "one"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := fs.Remove("/data/" + keyName); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(Config{Dir: "/data", FS: fs}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v", err)
		s.Close()
	}
	if names, err := fs.List("/data"); err != nil || slices.Contains(names, keyName) {
		t.Errorf("the directory has %v, %v", names, err)
	}
}

// smallDisk says how much room there is.
type smallDisk struct {
	vfs.FS
	free uint64
}

func (d *smallDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: d.free, TotalBytes: 64 << 20}, nil
}

// TestLargeSaveFitsBeforeItIsTaken: a save that alone would use up the reserve
// is refused, and a smaller one is still taken.
func TestLargeSaveFitsBeforeItIsTaken(t *testing.T) {
	s := openTest(t, &smallDisk{vfs.NewMem(), 17 << 20}, "a")
	var large []Draft
	for i := range 20 {
		large = append(large, page(string(rune('A'+i))+".md", strings.Repeat("x", MaxContent)))
	}
	if _, err := s.Save(t.Context(), large...); !errors.Is(err, ErrDiskFull) {
		t.Errorf("20 MiB with 1 MiB to spare: %v", err)
	}
	mustSave(t, s, page("Small.md", "x"))
}

// TestRefusedMemberLeavesNoTrace: a save that fails because the heads of its
// page can't be read takes no place in the log from those in its group.
func TestRefusedMemberLeavesNoTrace(t *testing.T) {
	s := openTest(t, vfs.NewMem(), "a")
	if err := s.db.Set(pathKey(nil, keyHeads, "Damaged.md"), []byte("x"), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	var members []*entry
	for _, path := range []string{"Damaged.md", "Good.md"} {
		d := page(path, "text")
		c, err := s.prepare(&d, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		members = append(members, &entry{draft: &d, commit: c})
	}
	s.mu.Lock()
	made, err := s.appendGroup(members)
	s.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if err := made.finish(); err != nil {
		t.Fatal(err)
	}
	if members[0].err == nil || members[1].err != nil {
		t.Errorf("got %v and %v", members[0].err, members[1].err)
	}
	if got := members[1].commit; got.Sequence != 1 || s.Stats().Arrival != 1 {
		t.Errorf("the good one has sequence %d, the last arrival is %d", got.Sequence, s.Stats().Arrival)
	}
}

// TestInertCommitsTakeNoPlaceInLists: a list that was asked for one revision
// does not end because the newest commit is shown to nobody.
func TestInertCommitsTakeNoPlaceInLists(t *testing.T) {
	a, b := openTest(t, vfs.NewMem(), "a"), openTest(t, vfs.NewMem(), "b")
	if err := b.Admit(t.Context(), a.Node(), "a"); err != nil {
		t.Fatal(err)
	}
	first := mustSave(t, a, page("A.md", "one"))[0]
	mustSave(t, a, page("A.md", "two", first.Hash))
	all := records(t, a, nil)
	odd := *all[1].Commit
	odd.Kind = "odd"
	odd.finish(all[1].Content)
	odd.sign(a.Key(), &scratch{})
	if got := mustReceive(t, b, []Record{all[0], {&odd, all[1].Content}}); got.Accepted != 2 {
		t.Fatalf("received: %+v", got)
	}
	if got, err := b.History("A.md", 0, 1); err != nil || len(got) != 1 || got[0].Hash != first.Hash {
		t.Errorf("history: %+v, %v", got, err)
	}
	if got, err := b.Recent(0, 1); err != nil || len(got) != 1 || got[0].Hash != first.Hash {
		t.Errorf("recent: %+v, %v", got, err)
	}
}
