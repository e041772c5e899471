package mesh

import (
	"testing"
	"time"

	"github.com/erwik/erwik/events"
	"github.com/erwik/erwik/storage"
)

// pass lets time go by; neighbors acknowledge all that they get.
func (l *lab) pass(d time.Duration, ids ...storage.NodeID) {
	for end := l.now.Add(d); l.now < end; {
		l.now = l.now.Add(250 * time.Millisecond)
		l.core.Tick(l.now)
		l.take()
		for _, id := range ids {
			l.ack(id)
		}
	}
}

// wordOf is what one end says of a link.
func wordOf(from, to storage.NodeID, counter uint64, up bool, cost time.Duration) item {
	r := &events.LinkRecord{From: from, To: to, Up: up, Incarnation: 1, Counter: counter}
	if up {
		r.Step = events.StepOf(cost)
	}
	r.Sig = fakeSig(from, r.SignedBytes(nil))
	return &linkItem{r}
}

// TestSilenceOfASlowNode: a node to which only a slow way has led may be silent for
// a minute; one to which a quick way led a moment ago only for seconds, whatever
// the last way was like.
func TestSilenceOfASlowNode(t *testing.T) {
	for _, test := range []struct {
		name        string
		slowFor     time.Duration // how long the only way has been slow
		least, most time.Duration
	}{
		{"slow for long", 10 * time.Minute, deadSlow, deadSlow + 2*time.Second},
		{"slow just now", 5 * time.Second, deadHealthy, deadHealthy + 2*time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t, 1)
			a := l.meet(2, "a")
			y := idOf(9)
			l.core.Admit(l.now, y)
			l.core.Learn(l.now, false, recordOf(y, "y", 1))
			self := l.core.cfg.Self
			l.feed(a, frame{number: 10, items: []item{wordOf(a, self, 1, true, time.Millisecond),
				wordOf(a, y, 2, true, 3*time.Millisecond), wordOf(y, a, 1, true, 3*time.Millisecond)}})
			l.pass(time.Minute, a)
			l.feed(a, frame{number: 11, items: []item{wordOf(a, y, 3, true, 8*time.Second)}})
			l.pass(test.slowFor, a)
			l.feed(a, frame{number: 12, items: []item{wordOf(a, y, 4, false, 0)}})
			gone := l.now
			for l.core.stateOf(l.core.nodes.byID[y]) != StateDead {
				if l.pass(250*time.Millisecond, a); l.now.Sub(gone) > 2*deadSlow {
					t.Fatal("never dead")
				}
			}
			if took := l.now.Sub(gone); took < test.least || took > test.most {
				t.Errorf("dead after %v, not %v to %v", took, test.least, test.most)
			}
		})
	}
}

// rowsAsked counts the comparisons of tables that a neighbor was asked for.
func (l *lab) rowsAsked(id storage.NodeID) (n int) {
	for _, f := range l.got[id] {
		for _, it := range f.items {
			if _, is := it.(*rowsItem); is {
				n++
			}
		}
	}
	return n
}

// TestComparedAgain: an answer may leave out what should be on its way. If it does
// not come, the same two tables are compared once more.
func TestComparedAgain(t *testing.T) {
	l := newLab(t, 1)
	a := l.meet(2, "a")
	l.settle(a)
	l.pass(10*time.Second, a)
	other := func() {
		l.feed(a, frame{items: []item{&summaryItem{pool: l.core.nodes.poolHash, table: 4711, vector: l.core.vector.sum}}})
		l.pass(time.Second, a)
	}
	before := l.rowsAsked(a)
	for range 3 {
		other()
	}
	if got := l.rowsAsked(a) - before; got != 1 {
		t.Errorf("tables were compared %d times at once", got)
	}
	l.pass(drilledFor, a)
	for range 3 {
		other()
	}
	if got := l.rowsAsked(a) - before; got < 2 {
		t.Errorf("tables that still differ were compared %d times", got)
	}
}

// TestPokesAreSpaced: a neighbor that says again and again that much is new does
// not make us compare each time.
func TestPokesAreSpaced(t *testing.T) {
	l := newLab(t, 1)
	a := l.meet(2, "a")
	l.settle(a)
	l.pass(10*time.Second, a)
	before := l.rowsAsked(a)
	for k := range 400 {
		l.feed(a, frame{items: []item{&summaryItem{flags: summaryTable, pool: l.core.nodes.poolHash, table: uint64(k + 1), vector: l.core.vector.sum}}})
		l.pass(250*time.Millisecond, a)
	}
	if got := l.rowsAsked(a) - before; got == 0 || got > 250 {
		t.Errorf("compared %d times in 100 s", got)
	}
}

// TestAskedOneByOne: when no more commits come, neighbors whose vectors differed are
// asked one after the other whether they still do.
func TestAskedOneByOne(t *testing.T) {
	l := newLab(t, 1)
	var all []storage.NodeID
	for b := range byte(8) {
		all = append(all, l.meet(b+2, string('a'+rune(b))))
	}
	l.settle(all...)
	l.pass(20*time.Second, all...)
	for _, id := range all {
		l.settle(id)
		n := l.core.nodes.byID[id]
		n.link.vectorLater, n.link.beatAt = l.now, l.now.Add(time.Minute)
	}
	clear(l.got)
	asked := 0
	for end := l.now.Add(quietFor); l.now < end; {
		l.now = l.now.Add(TickEvery)
		l.core.Tick(l.now)
		l.take()
		now := 0
		for _, id := range all {
			for _, f := range l.got[id] {
				for _, it := range f.items {
					if s, ok := it.(*summaryItem); ok && s.flags&summaryAnswer != 0 {
						now++
					}
				}
			}
			l.ack(id)
		}
		if now > asked+1 {
			t.Fatalf("%d neighbors were asked at once", now-asked)
		}
		asked = now
	}
	if asked != len(all) {
		t.Errorf("%d of %d neighbors were asked", asked, len(all))
	}
}
