package storage

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// roomyFS says that it has a large disk, so that spare logs are made.
type roomyFS struct{ vfs.FS }

func (roomyFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: 1 << 40, TotalBytes: 1 << 40}, nil
}

// Logs that are made of spares lose nothing in a crash, and are really used.
func TestCrashWithSpareLogs(t *testing.T) {
	mem := vfs.NewCrashableMem()
	s, err := Open(Config{Dir: "/data", FS: roomyFS{mem}, Name: "e1"})
	if err != nil {
		t.Fatal(err)
	}
	spare := "/data/" + databaseName + "/" + spareName
	rng := rand.New(rand.NewPCG(1, 1))
	saved := map[Hash]bool{}
	for round := range 4 {
		eventually(t, "a spare log", func() bool {
			s.spare.mu.Lock()
			defer s.spare.mu.Unlock()
			return s.spare.ready
		})
		for i := 0; ; i++ { // until the spare has become a log
			text := make([]byte, 32<<10)
			for j := range text {
				text[j] = "abcdefgh"[rng.IntN(8)]
			}
			made, err := s.Save(context.Background(), page(fmt.Sprintf("P%d-%d.md", round, i), string(text)))
			if err != nil {
				t.Fatal(err)
			}
			saved[made[0].Hash] = true
			s.spare.mu.Lock()
			ready := s.spare.ready
			s.spare.mu.Unlock()
			if !ready {
				break
			}
			if i > 2000 {
				t.Fatal("no spare was taken")
			}
		}
		left := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 25 * round, RNG: rng})
		again, err := Open(Config{Dir: "/data", FS: left, Name: "e1"})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		for h := range saved {
			if _, err := again.Commit(h); err != nil {
				t.Fatalf("round %d: commit %s: %v", round, h, err)
			}
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := mem.Stat(spare); err == nil {
		t.Log("one spare is left for the next process to write over")
	}
}

// TestSparesWait: none is made while many commits arrive, but afterwards.
func TestSparesWait(t *testing.T) {
	from, to := openTest(t, vfs.NewMem(), "e1"), openTest(t, roomyFS{vfs.NewMem()}, "e2")
	if err := to.Admit(t.Context(), from.Node(), "e1"); err != nil {
		t.Fatal(err)
	}
	ready := func() bool {
		to.spare.mu.Lock()
		defer to.spare.mu.Unlock()
		return to.spare.ready
	}
	takes := time.Now() // longer than a spare of 32 blocks, were it not held
	for i := 0; time.Since(takes) < 2*spareSize/spareBlock*sparePause; i++ {
		var drafts []Draft
		for j := range spareFrom {
			drafts = append(drafts, page(fmt.Sprintf("P%d-%d.md", i, j), "text"))
		}
		mustSave(t, from, drafts...)
		mustReceive(t, to, records(t, from, to.Vector()))
	}
	if ready() {
		t.Error("a spare was made meanwhile")
	}
	eventually(t, "spare afterwards", ready)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("no %s after 30 s", what)
		case <-time.After(time.Millisecond):
		}
	}
}
