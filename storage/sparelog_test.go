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
