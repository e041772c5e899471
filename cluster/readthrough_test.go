package cluster

import (
	"errors"
	"fmt"
	"testing"

	"github.com/erwik/erwik/cluster/mesh"
	"github.com/erwik/erwik/storage"
)

// TestReadThrough: while a node copies a long log, a page at its end can be read
// through a neighbor; when it has all, nobody is asked.
func TestReadThrough(t *testing.T) {
	wires := newShaped(0)
	a := startWith(t, "a", func(c *Config) { c.Dial = wires.dial("a") })
	bigLog(t, a.cfg.Store, 2*mesh.SplitFrom)
	last := save(t, a.cfg.Store, "Newest.md", "as it is now\n")
	wires.rate = 200 << 10
	b := startWith(t, "b", func(c *Config) { c.Join, c.Dial = []string{a.address()}, wires.dial("b") })
	eventually(t, "the page is read through a", func() error {
		heads, records, from, err := b.ReadThrough(t.Context(), "Newest.md")
		if err != nil {
			return err
		}
		if heads != 1 || len(records) != 1 || records[0].Hash != last.Hash || string(records[0].Content) != "as it is now\n" || from != "a" {
			t.Fatalf("%d heads from %q: %+v", heads, from, records)
		}
		return nil
	})
	if held, err := b.cfg.Store.Heads("Newest.md"); err != nil || len(held) != 0 {
		t.Fatalf("b has the page already (%v): the test shows nothing", err)
	}
	if heads, _, _, _ := b.ReadThrough(t.Context(), "Nowhere.md"); heads != 0 {
		t.Errorf("%d heads of a page that is nowhere", heads)
	}
	wires.mu.Lock()
	wires.rate = 0
	wires.mu.Unlock()
	eventually(t, "b has all", func() error { return sameDigest(a, b) })
	eventually(t, "b knows that it has all", func() error {
		if _, _, _, err := b.ReadThrough(t.Context(), "Newest.md"); !errors.Is(err, ErrWhole) {
			return fmt.Errorf("asked a neighbor: %v", err)
		}
		return nil
	})
}

// TestLentHeadsAreChecked: what a neighbor says are the heads of a page is what
// their owner signed, and of that page.
func TestLentHeadsAreChecked(t *testing.T) {
	a := start(t, "a")
	made := save(t, a.cfg.Store, "Page.md", "signed\n")
	r, err := a.cfg.Store.Record(made.Hash)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Check(); err != nil {
		t.Fatal(err)
	}
	bent := storage.Record{Commit: new(*r.Commit), Content: []byte("forged\n")}
	if err := bent.Check(); err == nil {
		t.Error("another text passes")
	}
	bent = storage.Record{Commit: new(*r.Commit), Content: r.Content}
	bent.Signature[3] ^= 1
	if err := bent.Check(); err == nil {
		t.Error("another signature passes")
	}
}
