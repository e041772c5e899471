package integration

import (
	"fmt"
	"testing"
	"time"
)

// drop installs a rule that drops packets from a at b's door; undo removes it.
func (w *network) drop(from, at, match string) (undo func()) {
	w.t.Helper()
	in := func(format string, args ...any) {
		w.sh("ip netns exec %s nft "+format, append([]any{w.space(at)}, args...)...)
	}
	table := "weather_" + from
	in("add table ip %s", table)
	in("add chain ip %s in { type filter hook input priority 0 ; }", table)
	in("add rule ip %s in ip saddr %s %s drop", table, w.ip(from), match)
	return func() { in("delete table ip %s", table) }
}

// threeHosts starts a mesh of three on hosts of their own.
func threeHosts(t *testing.T) (*network, []*node) {
	w := newNetwork(t, "e1", "e2", "e3")
	e1 := w.node("e1").start().awaitReady()
	e2 := w.node("e2", "--join", w.ip("e1")+":8000").start().awaitReady()
	e3 := w.node("e3", "--join", w.ip("e2")+":8000").start().awaitReady()
	all := []*node{e1, e2, e3}
	for _, n := range all {
		n.awaitNodes(3)
	}
	return w, all
}

// nobodyDead fails if a node takes another one for dead.
func nobodyDead(t *testing.T, nodes []*node) {
	t.Helper()
	for _, n := range nodes {
		var rows []nodeRow
		if err := n.get("network/nodes", &rows); err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			if r.State == "dead" || r.State == "unreachable" {
				t.Errorf("%s says that %s is %s", n.name, r.Name, r.State)
			}
		}
	}
}

// everywhere waits until a save is on all nodes.
func everywhere(t *testing.T, what string, nodes []*node, page, commit string) time.Duration {
	t.Helper()
	return eventually(t, what, func() error {
		for _, n := range nodes {
			p, err := n.page(page)
			if err != nil {
				return err
			}
			if len(p.Heads) != 1 || p.Heads[0] != commit {
				return fmt.Errorf("%s has %v", n.name, p.Heads)
			}
		}
		return nil
	})
}

// TestOneWayCut: packets from e1 to e3 are lost, those back pass. Both ends come
// to say that their link is down, saves go through e2, nobody is dead; and the
// link comes back when the fault is gone.
func TestOneWayCut(t *testing.T) {
	w, all := threeHosts(t)
	undo := w.drop("e1", "e3", "")
	down := within(t, 2*patience, "both ends say that the link is down", func() error {
		for _, p := range [][2]*node{{all[0], all[2]}, {all[2], all[0]}} {
			s, err := p[0].status()
			if err != nil {
				return err
			}
			for _, n := range s.Neighbors {
				if n.Name == p[1].name && n.State != "down" {
					return fmt.Errorf("%s says that its link to %s is %s", p[0].name, n.Name, n.State)
				}
			}
		}
		return nil
	})
	var worst time.Duration
	for i := range 10 {
		from := all[2*(i%2)] // e1 and e3
		s := from.mustPut("Page", fmt.Sprintf("save %d\n", i))
		worst = max(worst, everywhere(t, "a save during the cut", all, "Page", s.Commit))
	}
	nobodyDead(t, all)
	undo()
	up := within(t, 2*patience, "the link is up again", func() error { return linked(all) })
	t.Logf("down at both ends after %v; slowest of 10 saves %v; up again %v after the fault", down.Round(time.Millisecond), worst.Round(time.Millisecond), up.Round(time.Millisecond))
}

// linked is nil when all have links to all.
func linked(nodes []*node) error {
	for _, n := range nodes {
		s, err := n.status()
		if err != nil {
			return err
		}
		for _, o := range s.Neighbors {
			if o.State == "down" {
				return fmt.Errorf("%s says that its link to %s is down", n.name, o.Name)
			}
		}
	}
	return nil
}

// TestFlapping: the link of e1 and e3 is cut and mended every second or so,
// twenty times, while both save.
func TestFlapping(t *testing.T) {
	w, all := threeHosts(t)
	for i := range 20 {
		w.cut("e1", "e3")
		s := all[2*(i%2)].mustPut(fmt.Sprintf("Page%d", i), "during the cut\n")
		everywhere(t, "a save while the link flaps", all, fmt.Sprintf("Page%d", i), s.Commit)
		<-time.After(700 * time.Millisecond)
		w.heal("e1", "e3")
		<-time.After(700 * time.Millisecond)
	}
	nobodyDead(t, all)
	took := awaitEqual(t, all...)
	up := within(t, 2*patience, "the link is up", func() error { return linked(all) })
	t.Logf("equal digests %v after the last cut, link up after %v", took.Round(time.Millisecond), up.Round(time.Millisecond))
}

// TestLoss: every fifth packet between any two nodes is lost, in each direction.
func TestLoss(t *testing.T) {
	w, all := threeHosts(t)
	for _, from := range w.hosts {
		for _, at := range w.hosts {
			if from != at {
				w.drop(from, at, "numgen random mod 100 < 20")
			}
		}
	}
	var worst time.Duration
	for i := range 20 {
		s := all[i%3].mustPut("Page", fmt.Sprintf("save %d\n", i))
		worst = max(worst, everywhere(t, "a save at 20 % loss", all, "Page", s.Commit))
	}
	nobodyDead(t, all)
	t.Logf("slowest of 20 saves at 20 %% loss: %v", worst.Round(time.Millisecond))
}
