package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/erwik/erwik/cluster/mesh"
	"github.com/erwik/erwik/storage"
)

// twins opens one node's disk twice, with the same dice and clock, so that
// both processes write the same log.
func twins(t *testing.T) (left, right *storage.Store) {
	t.Helper()
	disk := vfs.NewMem()
	open := func(fs vfs.FS) *storage.Store {
		at := time.Unix(1_700_000_000, 0)
		s, err := storage.Open(storage.Config{
			Dir: "/data", FS: fs, Name: "twin", Clock: func() time.Time { return at },
			Random: bytes.NewReader(slices.Repeat([]byte{7}, 4096)),
		})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := open(disk)
	copied := vfs.NewMem()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if ok, err := vfs.Clone(disk, copied, "/data", "/data"); err != nil || !ok {
		t.Fatal(ok, err)
	}
	left, right = open(disk), open(copied)
	t.Cleanup(func() { left.Close(); right.Close() })
	return left, right
}

// TestEquivocationConverges: two processes have written different histories of
// one log, which begin alike. Nodes that took different ones end with both,
// also a third that joins later, and go on exchanging saves.
func TestEquivocationConverges(t *testing.T) {
	left, right := twins(t)
	for i := range 3 {
		if a, b := save(t, left, fmt.Sprint("Common", i, ".md"), "x"), save(t, right, fmt.Sprint("Common", i, ".md"), "x"); a.Hash != b.Hash {
			t.Fatalf("the beginnings differ: %s, %s", a.Hash, b.Hash)
		}
	}
	for i := range 3 {
		save(t, left, fmt.Sprint("Left", i, ".md"), "left")
	}
	for i := range 5 {
		save(t, right, fmt.Sprint("Right", i, ".md"), "right")
	}
	const want = 3 + 3 + 5
	give := func(n *Node, from *storage.Store) {
		t.Helper()
		if err := n.cfg.Store.Admit(context.Background(), from.Node(), "twin"); err != nil {
			t.Fatal(err)
		}
		var spans []storage.Span
		for log := range from.Vector() {
			spans = append(spans, storage.Span{Log: log})
		}
		var rs []storage.Record
		if err := from.Range(spans, func(r storage.Record) bool { rs = append(rs, r); return true }); err != nil {
			t.Fatal(err)
		}
		got, err := n.cfg.Store.Receive(context.Background(), rs)
		if err != nil || got.First != nil {
			t.Fatal(errors.Join(err, got.First))
		}
	}
	a := start(t, "a")
	give(a, left)
	b := start(t, "b")
	give(b, right)
	c := start(t, "c", a.address(), b.address())
	all := func(want uint64) {
		t.Helper()
		eventually(t, "every commit on every node", func() error {
			for _, n := range []*Node{a, b, c} {
				if got := n.cfg.Store.Stats().Commits; got != want {
					return fmt.Errorf("%s has %d commits of %d", n.cfg.Name, got, want)
				}
			}
			return nil
		})
		awaitEqual(t, a, b, c)
	}
	all(want)
	save(t, b.cfg.Store, "After.md", "an honest save")
	all(want + 1)
	eventually(t, "one vector hash", func() error {
		sum := func(n *Node) (hash uint64) {
			n.do(func(c *mesh.Core, _ mesh.Time) { hash = c.VectorHash() })
			return hash
		}
		if x, y := sum(a), sum(c); x != y || sum(b) != y {
			return fmt.Errorf("%x, %x, %x", x, sum(b), y)
		}
		return nil
	})
	// The twin goes on: what others hold of it is taken, from itself nothing.
	save(t, left, "Later.md", "left goes on")
	give(a, left)
	all(want + 2)
}
