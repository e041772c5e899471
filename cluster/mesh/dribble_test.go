package mesh

import (
	"slices"
	"testing"
	"time"

	"github.com/erwik/erwik/storage"
)

// TestDribble: a source that sends a little now and then is left for another one
// that has the same, and only for such; one that sends enough is not.
func TestDribble(t *testing.T) {
	for _, c := range []struct {
		name  string
		other bool // somebody else has the commit
		each  int  // bytes a second
		left  bool
	}{
		{"a little", true, leastProgress / 10, true},
		{"a little, but nobody else has it", false, leastProgress / 10, false},
		{"enough", true, leastProgress, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, 1)
			a, b := l.meet(2, "a"), l.meet(3, "b")
			l.settle(a, b)
			log := storage.LogID{Node: a, Nonce: 7}
			l.feed(a, frame{items: []item{&holdersItem{log, []holder{{prefixOf(a), 8}}}}})
			if len(l.pull) != 1 || l.pull[0].From != a {
				t.Fatalf("pulls: %+v", l.pull)
			}
			l.core.PullProgress(l.now, l.pull[0].ID, 100) // no second source any more
			if c.other {
				l.feed(b, frame{items: []item{&holdersItem{log, []holder{{prefixOf(b), 8}}}}})
			}
			cancelled := false
			for i := range int(20 * time.Second / TickEvery) {
				l.now = l.now.Add(TickEvery)
				if i%int(time.Second/TickEvery) == 0 {
					l.core.PullProgress(l.now, l.pull[0].ID, c.each)
				}
				l.core.Tick(l.now)
				l.core.Take(&l.out)
				cancelled = cancelled || slices.Contains(l.out.Cancel, l.pull[0].ID)
				l.pull = append(l.pull, l.out.Pull...)
				for _, s := range l.out.Send { // the links are healthy
					if f, err := decodeFrame(s.Frame); err == nil && f.number != 0 {
						l.feed(s.Peer, frame{ack: f.number})
					}
				}
			}
			again := slices.ContainsFunc(l.pull[1:], func(p Pull) bool { return p.From == b })
			if cancelled != c.left || again != c.left {
				t.Errorf("after 20 s: cancelled %v, asked the other one %v", cancelled, again)
			}
		})
	}
}
