package mesh

import (
	"testing"
	"time"

	"github.com/erwik/erwik/storage"
)

// hedged brings a core to where it pulls a commit from one neighbor that says
// nothing, and has asked the other one, too.
func hedged(t *testing.T) (l *lab, first, second Pull) {
	l = newLab(t, 1)
	a, b := l.meet(2, "a"), l.meet(3, "b")
	l.settle(a, b)
	e := commitOf(a, 1)
	for _, id := range []storage.NodeID{a, b} {
		l.feed(id, frame{items: []item{&holdersItem{e.Commit.Log, []holder{{prefixOf(id), 1}}}}})
	}
	if len(l.pull) != 1 {
		t.Fatalf("%d pulls at first", len(l.pull))
	}
	for range 10 {
		l.now = l.now.Add(TickEvery)
		l.core.Tick(l.now)
		l.take()
	}
	if len(l.pull) != 2 || l.pull[0].From == l.pull[1].From || l.pull[0].ID == l.pull[1].ID {
		t.Fatalf("after half a second of silence: %+v", l.pull)
	}
	if c := l.core.Counters(); c.Hedges != 1 {
		t.Fatalf("%d hedges", c.Hedges)
	}
	return l, l.pull[0], l.pull[1]
}

// TestHedge: whichever source answers first goes on, the other is cancelled at
// once, and nothing is asked for a third time.
func TestHedge(t *testing.T) {
	for _, won := range []bool{true, false} {
		l, winner, loser := hedged(t)
		if won {
			winner, loser = loser, winner
		}
		l.now = l.now.Add(time.Millisecond)
		l.core.PullProgress(l.now, winner.ID, 100)
		l.core.Take(&l.out)
		if len(l.out.Cancel) != 1 || l.out.Cancel[0] != loser.ID {
			t.Fatalf("cancelled %v, not %d", l.out.Cancel, loser.ID)
		}
		l.core.Appended(l.now, entryOf(commitOf(idOf(2), 1), false))
		l.core.PullDone(l.now, winner.ID, 100, time.Millisecond)
		l.core.PullDone(l.now, loser.ID, 100, time.Millisecond) // came too late
		l.take()
		if len(l.pull) != 2 || len(l.core.pulls.open) != 0 {
			t.Errorf("%d pulls in all, %d open", len(l.pull), len(l.core.pulls.open))
		}
		if c := l.core.Counters(); (c.HedgesWon == 1) != won {
			t.Errorf("%d hedges won, the hedge won: %v", c.HedgesWon, won)
		}
	}
}

// TestHedgeOutlives: when one of the two fails, the other goes on alone.
func TestHedgeOutlives(t *testing.T) {
	for _, fails := range []int{0, 1} {
		l, first, second := hedged(t)
		gone, stays := first, second
		if fails == 1 {
			gone, stays = second, first
		}
		l.core.LinkDown(l.now, gone.From)
		l.take()
		if p := l.core.pulls.find(stays.ID); p == nil || p.rival != nil || l.core.vector.logs[0].pull != stays.ID {
			t.Fatalf("the other pull does not go on: %+v", p)
		}
		l.core.Appended(l.now, entryOf(commitOf(idOf(2), 1), false))
		l.core.PullDone(l.now, stays.ID, 100, time.Millisecond)
		l.take()
		if len(l.pull) != 2 || len(l.core.pulls.open) != 0 {
			t.Errorf("%d pulls in all, %d open", len(l.pull), len(l.core.pulls.open))
		}
	}
}
