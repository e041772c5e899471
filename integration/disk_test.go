package integration

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestDamagedDiskHeals kills one of three nodes, flips bytes in its newest table
// or log, and starts it: with nobody's help it ends with what the others have,
// and keeps what was damaged.
func TestDamagedDiskHeals(t *testing.T) {
	all := mesh(t, "e1", "e2", "e3")
	victim := all[1]
	for _, pattern := range []string{"*.log", "*.sst"} {
		save(t, all, 60)
		awaitEqual(t, all...)
		victim.kill()
		if pattern == "*.sst" { // what was in the log becomes a table at a start
			victim.start()
			victim.awaitReady()
			victim.kill()
		}
		flip(t, filepath.Join(victim.dir, "pebble", pattern))
		victim.start()
		victim.awaitReady()
		awaitEqual(t, all...)
	}
	if _, _, err := victim.put("Healed", "and takes saves\n"); err != nil {
		t.Error(err)
	}
	awaitEqual(t, all...)
	kept, err := filepath.Glob(filepath.Join(victim.dir, "damaged", "*", "pebble", "*"))
	if err != nil || len(kept) == 0 {
		t.Errorf("nothing of what was damaged is kept: %v", err)
	}
}

// flip damages 64 bytes in the middle of the newest file of a pattern that has
// any content.
func flip(t *testing.T, pattern string) {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("no %s: %v", pattern, err)
	}
	slices.Sort(names)
	for _, name := range slices.Backward(names) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		end := len(b)
		for end > 0 && b[end-1] == 0 {
			end--
		}
		if end < 1024 {
			continue
		}
		for i := end / 2; i < end/2+64; i++ {
			b[i] ^= 0x55
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("no %s has any content", pattern)
}
