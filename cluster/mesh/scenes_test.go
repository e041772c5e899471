package mesh

import (
	"testing"
	"time"

	"github.com/erwik/erwik/events"
	"github.com/erwik/erwik/storage"
)

// Scenes are played by hand where chance brings them about too rarely.

// TestForkIsDug: who tells of another commit in a place that is taken is asked
// where the log forks.
func TestForkIsDug(t *testing.T) {
	l := newLab(t, 1)
	a := l.meet(2, "a")
	one := commitOf(a, 1)
	l.feed(a, frame{number: 2, items: []item{&eventItem{event: one}}})
	l.appended(entryOf(one, false))
	two := commitOf(a, 1)
	two.Commit.Hash[5] = 1
	two.Sig = fakeSig(a, two.SignedBytes(nil))
	l.feed(a, frame{number: 3, items: []item{&eventItem{event: two}}})
	if len(l.out.Dig) != 1 || l.out.Dig[0].From != a || l.out.Dig[0].Log != one.Commit.Log {
		t.Errorf("nobody is asked where the log forks: %+v", l.out.Dig)
	}
}

// TestPassedOnce: a name that two copies leave open is told once, though it has
// not answered in between.
func TestPassedOnce(t *testing.T) {
	l := newLab(t, 1)
	a, b, c := l.meet(2, "a"), l.meet(3, "b"), l.meet(4, "c")
	l.settle(a, b, c)
	e := commitOf(a, 1)
	list := events.Exclusion{Form: events.Nobody}
	l.feed(a, frame{number: 2, items: []item{&eventItem{event: e, exclude: list}}})
	l.appended(entryOf(e, false))
	l.ack(c)
	l.ack(b)
	l.feed(b, frame{number: 3, items: []item{&eventItem{event: e, exclude: list}}})
	l.ack(c)
	l.feed(b, frame{number: 4, items: []item{&eventItem{event: e, exclude: list}}})
	l.ack(c)
	if n, _ := l.told(c); n != 1 {
		t.Errorf("c was told %d times", n)
	}
}

// TestStalledPull: a pull that stands still is given up, and asked for anew.
func TestStalledPull(t *testing.T) {
	l := newLab(t, 1)
	a := l.meet(2, "a")
	l.settle(a)
	e := commitOf(a, 1)
	l.feed(a, frame{items: []item{&holdersItem{e.Commit.Log, []holder{{prefixOf(a), 1}}}}})
	cancelled := 0
	for end := l.now.Add(2 * time.Minute); l.now < end; {
		l.now = l.now.Add(TickEvery)
		l.core.Tick(l.now)
		l.take()
		cancelled += len(l.out.Cancel)
		l.ack(a)
	}
	if cancelled == 0 || len(l.pull) < 2 {
		t.Errorf("after two minutes of silence %d pulls were given up, and %d made", cancelled, len(l.pull))
	}
}

// TestHintsGoOn: those below us in the tree from a log's owner hear that we hold more of
// it, though no event told of that.
func TestHintsGoOn(t *testing.T) {
	l := newLab(t, 1)
	a, c := l.meet(2, "a"), l.meet(4, "c")
	l.settle(a, c)
	e := commitOf(a, 1)
	l.appended(entryOf(e, false)) // pulled after vectors were compared
	l.pass(time.Second, a, c)
	hints := 0
	for _, f := range l.got[c] {
		for _, it := range f.items {
			if h, ok := it.(*holdersItem); ok && h.log == e.Commit.Log {
				hints++
			}
		}
	}
	if hints != 1 {
		t.Errorf("c was told %d times that there is more to be had", hints)
	}
}

// TestReturnIsSeen: who watches events sees once a node that comes back, that has
// moved, or that was removed and joins again.
func TestReturnIsSeen(t *testing.T) {
	l := newLab(t, 1)
	l.core.Watch(true)
	a, b := l.meet(2, "a"), l.meet(3, "b")
	l.settle(a, b)
	record := func(incarnation uint64) item { return &nodeItem{recordOf(a, "a", incarnation)} }
	event := func(incarnation uint64) item {
		e := events.NewNeighbor(a, recordOf(a, "a", incarnation))
		e.Sig = fakeSig(a, e.SignedBytes(nil))
		return &eventItem{event: e}
	}
	for i, next := range []struct {
		from        storage.NodeID
		item        item
		incarnation uint64
		seen        int
	}{
		{a, record(2), 2, 1}, {b, record(2), 2, 0}, {b, event(2), 2, 0}, {a, record(1), 1, 0},
		{b, event(3), 3, 1}, {a, record(3), 3, 0}, {a, record(4), 4, 1}, {b, nil, 0, 0}, {b, record(5), 5, 1},
	} {
		if next.item == nil {
			l.core.Forget(l.now, a)
			l.take()
			continue
		}
		l.feed(next.from, frame{items: []item{next.item}})
		seen := 0
		for _, e := range l.out.Events {
			if e.Type == events.TypeNewNeighbor && e.Neighbor.ID == a && e.Neighbor.Incarnation == next.incarnation {
				seen++
			}
		}
		if seen != next.seen {
			t.Errorf("step %d: incarnation %d was shown %d times, want %d", i, next.incarnation, seen, next.seen)
		}
	}
}
