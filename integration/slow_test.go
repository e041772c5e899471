package integration

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestSlowLink is the mission: E1 and E3 are joined by 2,000 bit/s, both are
// near E2. Saves on E1 reach E3 through E2 at once; E1's own notices come
// seconds later and are discarded; nobody is declared dead. Then E2 is killed
// and E3 still gets every save, over the slow link.
func TestSlowLink(t *testing.T) {
	t.Parallel() // it waits for a slow link most of the time
	w := newNetwork(t, "e1", "e2", "e3")
	w.throttle("e1", "e3", "2kbit")
	e1 := w.node("e1").start().awaitReady()
	e2 := w.node("e2", "--join", w.ip("e1")+":8000").start().awaitReady()
	e3 := w.node("e3", "--join", w.ip("e2")+":8000").start().awaitReady()
	all := []*node{e1, e2, e3}
	for _, n := range all {
		n.awaitNodes(3)
	}
	took := eventually(t, "E1 and E3 link up over 2,000 bit/s", func() error {
		for _, p := range [][2]*node{{e1, e3}, {e3, e1}} {
			s, err := p[0].status()
			if err != nil {
				return err
			}
			for _, n := range s.Neighbors {
				if n.Name == p[1].name && n.State == "down" {
					return fmt.Errorf("%s says %s is %s", p[0].name, n.Name, n.State)
				}
			}
			if len(s.Neighbors) != 2 {
				return fmt.Errorf("%s has %d neighbors", p[0].name, len(s.Neighbors))
			}
		}
		return nil
	})
	t.Logf("E1-E3 up after %v", took.Round(time.Millisecond))

	told := e3.watch()
	const saves = 60
	begun := make(map[string]time.Time)
	var commits []string
	next := time.NewTicker(time.Second)
	for i := range saves {
		at := time.Now()
		s := e1.mustPut("MyPantsAreMelting", fmt.Sprintf("line %d\n", i))
		begun[s.Commit] = at
		commits = append(commits, s.Commit)
		if q := w.queued("e1"); q > 16<<10 {
			t.Errorf("after save %d %d bytes wait on the slow link", i, q)
		}
		<-next.C
	}
	next.Stop()
	var lags []time.Duration
	for len(lags) < saves {
		select {
		case e := <-told:
			if at, ours := begun[e.Args.Checksum]; ours {
				lags = append(lags, e.at.Sub(at))
			}
		case <-time.After(patience):
			t.Fatalf("E3 told of %d of %d saves", len(lags), saves)
		}
	}
	slices.Sort(lags)
	within := func(most time.Duration) int {
		n, _ := slices.BinarySearch(lags, most+1)
		return n
	}
	t.Logf("on E3 within 50 ms: %d of %d; within 300 ms: %d; median %v, slowest %v", within(50*time.Millisecond), saves, within(300*time.Millisecond), lags[saves/2], lags[saves-1])
	// A loaded machine may be slow; a wrong way takes seconds each time.
	if within(500*time.Millisecond) < saves*9/10 {
		t.Errorf("saves take the slow link: %v", lags)
	}

	discarded := 0
	eventually(t, "E1's own notices come late and are discarded", func() error {
		discarded = 0
		for _, c := range commits {
			var s story
			if err := e3.get("commits/"+c, &s); err != nil {
				return err
			}
			discarded += s.Discarded["e1"]
		}
		if discarded == 0 {
			return fmt.Errorf("none of %d yet", saves)
		}
		return nil
	})
	var s story
	if err := e3.get("commits/"+commits[saves-2], &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Hops) != 1 || s.Hops[0].HeardFrom != "e2" || s.Hops[0].PulledFrom != "e2" {
		t.Errorf("the story on E3 is %+v", s)
	}
	t.Logf("E3 discarded %d notices of E1; story of a save: %+v", discarded, s)
	assertNobodyDead(t, all...)

	e2.kill()
	start := time.Now()
	var last saved
	const late = 10
	for i := range late {
		last = e1.mustPut("After-E2", fmt.Sprintf("late %d\n", i))
	}
	eventually(t, "E3 gets the saves over the slow link", func() error {
		p, err := e3.page("After-E2")
		if err == nil && (len(p.Heads) != 1 || p.Heads[0] != last.Commit) {
			err = fmt.Errorf("E3 has %q", p.Text)
		}
		return err
	})
	t.Logf("E2 killed: the last of %d saves was on E3 after %v", late, time.Since(start).Round(time.Millisecond))
	awaitEqual(t, e1, e3)
}

type story struct {
	Hops []struct {
		Node       string
		HeardFrom  string `json:"heard_from"`
		PulledFrom string `json:"pulled_from"`
	}
	Discarded map[string]int `json:"discarded_notices"`
}

func assertNobodyDead(t *testing.T, nodes ...*node) {
	t.Helper()
	for _, n := range nodes {
		var rows []nodeRow
		if err := n.get("network/nodes", &rows); err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			if r.State != "alive" && r.State != "self" {
				t.Errorf("%s says that %s is %s", n.name, r.Name, r.State)
			}
		}
	}
}

// TestPartition edits one page on both sides of a cut: lines that differ merge,
// lines that clash stand side by side, and every node shows the same bytes.
func TestPartition(t *testing.T) {
	w := newNetwork(t, "e1", "e2", "e3")
	e1 := w.node("e1").start().awaitReady()
	e2 := w.node("e2", "--join", w.ip("e1")+":8000").start().awaitReady()
	e3 := w.node("e3", "--join", w.ip("e2")+":8000").start().awaitReady()
	all := []*node{e1, e2, e3}
	for _, n := range all {
		n.awaitNodes(3)
	}
	clean := e1.mustPut("Clean", "one\ntwo\nthree\nfour\nfive\n")
	clash := e1.mustPut("Clash", "one\ntwo\nthree\n")
	awaitEqual(t, all...)
	w.cut("e1", "e3")
	w.cut("e2", "e3")
	e1.mustPut("Clean", "ONE\ntwo\nthree\nfour\nfive\n", clean.Heads...)
	e3.mustPut("Clean", "one\ntwo\nthree\nfour\nFIVE\n", clean.Heads...)
	e1.mustPut("Clash", "one\nours\nthree\n", clash.Heads...)
	e3.mustPut("Clash", "one\ntheirs\nthree\n", clash.Heads...)
	e3.mustPut("Only-e3", "alone")
	awaitEqual(t, e1, e2)
	if e3.mustStatus().Digest == e1.mustStatus().Digest {
		t.Fatal("the cut does not cut")
	}
	healed := time.Now()
	w.heal("e1", "e3")
	w.heal("e2", "e3")
	awaitEqual(t, all...)
	t.Logf("equal digests %v after healing", time.Since(healed).Round(time.Millisecond))
	for _, n := range all {
		p, err := n.page("Clean")
		if err != nil || p.Conflict || p.Text != "ONE\ntwo\nthree\nfour\nFIVE\n" {
			t.Errorf("%s: the clean merge is %+v, %v", n.name, p, err)
		}
		p, err = n.page("Clash")
		first, _ := e1.page("Clash")
		if err != nil || !p.Conflict || len(p.Heads) != 2 || p.Text != first.Text {
			t.Errorf("%s: the clash is %+v, %v", n.name, p, err)
		}
		var conflicts struct{ Items []struct{ Path string } }
		if err := n.get("conflicts", &conflicts); err != nil || len(conflicts.Items) != 1 || conflicts.Items[0].Path != "Clash" {
			t.Errorf("%s: conflicts: %+v, %v", n.name, conflicts, err)
		}
		_, page, err := n.do("GET", "/Clash", nil, nil)
		if err != nil || !contains(page, "ours") || !contains(page, "theirs") {
			t.Errorf("%s does not show both versions: %v", n.name, err)
		}
	}
	// Somebody resolves it, naming all heads.
	p, _ := e2.page("Clash")
	e2.mustPut("Clash", "one\nboth\nthree\n", p.Heads...)
	awaitEqual(t, all...)
	for _, n := range all {
		if p, err := n.page("Clash"); err != nil || p.Conflict || p.Text != "one\nboth\nthree\n" {
			t.Errorf("%s after the resolution: %+v, %v", n.name, p, err)
		}
	}
}
