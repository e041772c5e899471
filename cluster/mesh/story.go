package mesh

import (
	"time"

	"github.com/erwik/erwik/storage"
)

// tale is a Story with slots for names.
type tale struct {
	hash          storage.Hash
	heard, pulled *node
	at            Time
	late          []lateCount
	whole         Time // when all nodes were known to have it, 0 before
}

type lateCount struct {
	from  *node
	count int
}

// storyBook keeps the tales of the last MaxStories commits in a ring.
type storyBook struct {
	ring   []tale
	next   int
	byHash map[storage.Hash]int
}

func (s *storyBook) init() { s.byHash = map[storage.Hash]int{} }

func (s *storyBook) add(t tale) {
	if _, known := s.byHash[t.hash]; known {
		return
	}
	if len(s.ring) < MaxStories {
		s.byHash[t.hash] = len(s.ring)
		s.ring = append(s.ring, t)
		return
	}
	delete(s.byHash, s.ring[s.next].hash)
	s.ring[s.next] = t
	s.byHash[t.hash] = s.next
	s.next = (s.next + 1) % MaxStories
}

// discarded counts one more notice that came too late.
func (s *storyBook) discarded(hash storage.Hash, from *node) {
	at, ok := s.byHash[hash]
	if !ok {
		return
	}
	t := &s.ring[at]
	for i := range t.late {
		if t.late[i].from == from {
			t.late[i].count++
			return
		}
	}
	t.late = append(t.late, lateCount{from, 1})
}

// noteWhole looks whether all nodes now have the newest commit of a log.
func (c *Core) noteWhole(l *logState) {
	at, ok := c.story.byHash[l.tip]
	if !ok || c.story.ring[at].whole != 0 {
		return
	}
	if have, of := c.Spread(l.id, l.held); have >= of {
		c.story.ring[at].whole = c.now
	}
}

// SpreadTime is how long it took until all nodes were known to have a save of
// this node; 0 if that is not known.
func (c *Core) SpreadTime(hash storage.Hash) time.Duration {
	at, ok := c.story.byHash[hash]
	if !ok {
		return 0
	}
	t := &c.story.ring[at]
	if t.whole == 0 || t.heard != nil || t.pulled != nil {
		return 0
	}
	return t.whole.Sub(t.at)
}

// Story tells what became of a commit here, among the last MaxStories.
func (c *Core) Story(hash storage.Hash) (Story, bool) {
	at, ok := c.story.byHash[hash]
	if !ok {
		return Story{}, false
	}
	t := &c.story.ring[at]
	s := Story{At: t.at, Discarded: map[string]int{}}
	if t.heard != nil {
		s.HeardFrom = c.nameOf(t.heard)
	}
	if t.pulled != nil {
		s.PulledFrom = c.nameOf(t.pulled)
	}
	for _, l := range t.late {
		s.Discarded[c.nameOf(l.from)] += l.count
	}
	return s, true
}
