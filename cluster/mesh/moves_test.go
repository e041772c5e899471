package mesh

import (
	"slices"
	"testing"
	"time"
)

// TestMoves: a link whose acknowledgement is late is not given up while the shell
// says that other connections with the neighbor move bytes, is once it says so no
// more, and is in the end whatever it says.
func TestMoves(t *testing.T) {
	for _, c := range []struct {
		name  string
		moves time.Duration // for so long after the frame was sent
		least time.Duration
		most  time.Duration
	}{
		{"never", 0, ackHealthy, 3 * ackHealthy},
		{"for a minute", time.Minute, time.Minute, time.Minute + 3*ackHealthy},
		{"for ever", time.Hour, movesMost, movesMost + 3*ackSlow},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, 1)
			a := l.meet(2, "a")
			l.settle(a)
			link := l.core.nodes.byID[a].link
			link.queue.beat = true
			l.core.touch(link)
			l.core.Tick(l.now)
			l.take()
			if link.flight == nil {
				t.Fatal("nothing waits for an acknowledgement")
			}
			begin := l.now
			said := 0
			for link.up && l.now.Sub(begin) < 2*movesMost {
				l.now = l.now.Add(TickEvery)
				late := l.core.Late(nil)
				if slices.Contains(late, a) != (l.now.Sub(link.flight.sent)-TickEvery > lateFrom) {
					t.Fatalf("late after %v: %v", l.now.Sub(begin), late)
				}
				if len(late) > 0 && l.now.Sub(begin) < c.moves {
					l.core.Moves(l.now, a)
					said++
				}
				l.core.Tick(l.now)
				l.take()
			}
			if took := l.now.Sub(begin); link.up || took < c.least || took > c.most || (said > 0) != (c.moves > 0) {
				t.Errorf("the link ended: %v, after %v, of %v to %v; %d times it was said that bytes move", !link.up, took, c.least, c.most, said)
			}
		})
	}
}
