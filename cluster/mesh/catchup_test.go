package mesh

import (
	"testing"
	"time"
)

// TestSilenceIsNotSlow: a link that ended because nothing was answered any more is
// healthy when it is back, if answers were quick before; a slow one stays slow.
func TestSilenceIsNotSlow(t *testing.T) {
	for srtt, slow := range map[time.Duration]bool{2 * time.Millisecond: false, 2 * time.Second: true} {
		l := newLab(t, 1)
		a := l.meet(2, "a")
		l.settle(a)
		link := l.core.nodes.byID[a].link
		link.srtt = srtt
		link.flight = &flight{number: 99, first: l.now, sent: l.now}
		l.now = l.now.Add(slowFrom)
		l.core.Tick(l.now)
		if !link.slow {
			t.Fatalf("answers after %v, and none for %v: not slow", srtt, time.Duration(slowFrom))
		}
		l.core.LinkDown(l.now, a)
		l.core.LinkUp(l.now, a, LinkInfo{RTT: time.Millisecond})
		l.take()
		if got := l.core.nodes.byID[a].link.slow; got != slow {
			t.Errorf("answers came after %v: slow %v, want %v", srtt, got, slow)
		}
	}
}

// TestMissedIsAskedForSoon: after a pull of many commits a differing vector means
// something sooner than while others save now and then.
func TestMissedIsAskedForSoon(t *testing.T) {
	l := newLab(t, 1)
	c := l.core
	for _, tt := range []struct {
		since, closed time.Duration // the last commit, the end of the last large pull; 0: none
		arriving      bool
	}{
		{quietAfter + 1, 0, true}, {quietFor + 1, 0, false},
		{quietAfter - 1, quietAfter, true}, {quietAfter + 1, quietAfter, false},
		{quietAfter + 1, caughtMost + 1, true},
	} {
		c.vector.appended, c.pulls.closedAt = c.now.Add(-tt.since), 0
		if tt.closed != 0 {
			c.pulls.closedAt = c.now.Add(-tt.closed)
		}
		if c.arriving() != tt.arriving {
			t.Errorf("%v after a commit, %v after a large pull: arriving %v", tt.since, tt.closed, c.arriving())
		}
	}
}

// TestAdmissionsAreNotMuch: a node that has just joined knows two nodes and pulls the
// admissions of all the others; what it tells of its links must not wait for that.
func TestAdmissionsAreNotMuch(t *testing.T) {
	l := newLab(t, 1)
	l.settle(l.meet(2, "a"))
	for commits, want := range map[uint64]bool{49: false, 98: false, 1000: true} {
		if got := l.core.bulk(&pull{ranges: []Range{{Upto: commits}}}); got != want {
			t.Errorf("%d commits, %d nodes known: much is %v, want %v", commits, len(l.core.nodes.order), got, want)
		}
	}
}
