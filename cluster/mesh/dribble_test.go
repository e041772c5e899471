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

// TestDribbleOfCommits: a source that brings a commit now and then, or everything
// but no end, or little of one log beside another that nobody else has, is left
// for another one.
func TestDribbleOfCommits(t *testing.T) {
	for _, c := range []struct {
		name   string
		bring  int  // commits, one each 4 s
		beside bool // the source is asked for a log of its own, too
		most   time.Duration
	}{
		{"now and then", 20, false, dribbleFrom + 2*pullHealthy},
		{"all, but no end", 8, false, dribbleFrom + 2*pullHealthy},
		{"beside a log of its own", 0, true, 2 * pullHealthy},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, 1)
			a, b := l.meet(2, "a"), l.meet(3, "b")
			l.settle(a, b)
			log := storage.LogID{Node: b, Nonce: 7}
			held := uint64(max(c.bring, 8))
			items := []item{&holdersItem{log, []holder{{prefixOf(a), held}}}}
			if c.beside {
				items = append(items, &holdersItem{storage.LogID{Node: a, Nonce: 7}, []holder{{prefixOf(a), held}}})
			}
			l.feed(a, frame{items: items})
			if len(l.pull) != 1 || l.pull[0].From != a || len(l.pull[0].Ranges) != len(items) {
				t.Fatalf("pulls: %+v", l.pull)
			}
			first := l.pull[0].ID
			l.core.PullProgress(l.now, first, 1)
			l.feed(b, frame{items: []item{&holdersItem{log, []holder{{prefixOf(b), held}}}}})
			begin, sequence := l.now, uint64(0)
			for i := 0; ; i++ {
				if l.now.Sub(begin) > c.most {
					t.Fatalf("the source is still asked after %v", l.now.Sub(begin))
				}
				l.now = l.now.Add(TickEvery)
				if i%int(4*time.Second/TickEvery) == 0 {
					l.core.PullProgress(l.now, first, 1)
					if sequence < uint64(c.bring) {
						sequence++
						l.core.Appended(l.now, entryOf(commitOf(b, sequence), false))
					}
				}
				l.core.Tick(l.now)
				l.core.Take(&l.out)
				if slices.Contains(l.out.Cancel, first) {
					return
				}
				for _, s := range l.out.Send { // the links are healthy
					if f, err := decodeFrame(s.Frame); err == nil && f.number != 0 {
						l.feed(s.Peer, frame{ack: f.number})
					}
				}
			}
		})
	}
}

// TestFastPullsDoNotDribble: however much a pull has brought.
func TestFastPullsDoNotDribble(t *testing.T) {
	l := newLab(t, 1)
	a := l.meet(2, "a")
	p := &pull{from: l.core.nodes.byID[a], started: l.now, id: 1}
	l.core.pulls.open = append(l.core.pulls.open, p)
	l.now = l.now.Add(2 * dribbleFrom)
	for range 20 {
		l.core.PullProgress(l.now, 1, 1<<28)
		if l.core.dribbles(p) {
			t.Fatalf("after %d bytes", p.total)
		}
	}
}
