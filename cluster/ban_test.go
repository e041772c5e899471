package cluster

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/erwik/erwik/cluster/mesh"
	"github.com/erwik/erwik/storage"
)

// nodesOf returns the ids of the pool as a node sees it.
func nodesOf(n *Node) (ids []storage.NodeID) {
	n.do(func(c *mesh.Core, _ mesh.Time) {
		for _, info := range c.Nodes() {
			ids = append(ids, info.ID)
		}
	})
	return ids
}

// TestBan: a banned node is out on every node, its later saves appear nowhere,
// and it gets in no more by any door.
func TestBan(t *testing.T) {
	a := start(t, "a")
	b := start(t, "b", a.address())
	c := start(t, "c", a.address())
	for _, n := range []*Node{a, b, c} {
		save(t, n.cfg.Store, n.cfg.Name+".md", "before")
	}
	awaitEqual(t, a, b, c)
	eventually(t, "a full mesh", func() error {
		if x, y, z := len(a.linked()), len(b.linked()), len(c.linked()); x+y+z != 6 {
			return fmt.Errorf("%d, %d, %d links", x, y, z)
		}
		return nil
	})
	if _, err := c.Ban(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "joined through") {
		t.Errorf("c bans the node through which it joined: %v", err)
	}
	if _, err := b.Ban(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Ban(t.Context(), c.self.String()); err != nil {
		t.Errorf("a second ban: %v", err)
	}
	eventually(t, "c is gone from both", func() error {
		for _, n := range []*Node{a, b} {
			if slices.Contains(nodesOf(n), c.self) || slices.Contains(n.linked(), c.self) || len(nodesOf(n)) != 2 {
				return fmt.Errorf("%s still has it", n.cfg.Name)
			}
		}
		return nil
	})
	save(t, c.cfg.Store, "After.md", "after the ban")
	for _, proto := range []string{protoLink, protoPull, protoFile} {
		conn, err := c.dialTLS(t.Context(), a.address(), proto, a.self)
		if err == nil { // in TLS 1.3 the dialer learns it with the first read
			_, err = conn.Read(make([]byte, 1))
			conn.Close()
		}
		if err == nil {
			t.Errorf("%s: a banned key is let in", proto)
		}
	}
	for _, n := range []*Node{a, b} {
		if err := c.joinOnce(n.address(), Token{Secret: testSecret}); err == nil || !strings.Contains(err.Error(), "banned") {
			t.Errorf("it joins again through %s: %v", n.cfg.Name, err)
		}
	}
	if err := a.joinOnce(c.address(), Token{Secret: testSecret}); err == nil {
		t.Error("a member joins the banned one")
	}
	save(t, a.cfg.Store, "Goes on.md", "x")
	awaitEqual(t, a, b)
	for _, n := range []*Node{a, b} {
		if heads, err := n.cfg.Store.Heads("After.md"); err != nil || len(heads) != 0 {
			t.Errorf("%s shows what came after the ban: %v %v", n.cfg.Name, heads, err)
		}
		if got := n.cfg.Store.Stats().Pages; got != 4 {
			t.Errorf("%s has %d pages", n.cfg.Name, got)
		}
		list, err := n.Network("bans")
		if err != nil || len(list.([]banInfo)) != 1 || list.([]banInfo)[0].Name != "c" || list.([]banInfo)[0].Void != "" {
			t.Errorf("bans: %+v, %v", list, err)
		}
	}
	d := start(t, "d", a.address()) // a newcomer learns of it
	awaitEqual(t, a, d)
	eventually(t, "the newcomer knows of the ban", func() error {
		if !d.cfg.Store.IsBanned(c.self) || slices.Contains(nodesOf(d), c.self) {
			return fmt.Errorf("nodes %v", nodesOf(d))
		}
		return nil
	})
	eventually(t, "equal tables", func() error {
		sum := func(n *Node) (hash uint64) {
			n.do(func(c *mesh.Core, _ mesh.Time) { hash = c.TableHash() })
			return hash
		}
		if x, y, z := sum(a), sum(b), sum(d); x != y || y != z {
			return fmt.Errorf("%x, %x, %x", x, y, z)
		}
		return nil
	})
}
