package mesh

import (
	"slices"
	"time"

	"github.com/erwik/erwik/events"
)

// While nodes join, tables differ, and lists cannot speak of nodes that their senders
// do not know. What is told twice then is told by each to each: here is what keeps
// that small.

// judge reads the list of a copy that a neighbor sent, and returns the names that it
// leaves open. Of nodes that the neighbor may not know its list cannot speak. If it
// is the first copy they are told too, but a little later: when many nodes join, nobody is
// sure what others know, and soon everybody is. Later copies do not count: two that
// tell each other would each leave a node to the other.
func (c *Core) judge(from *node, s *eventState, exclude *events.Exclusion) events.Set {
	open, unknown := c.openNames(from, s, exclude)
	if s.has.Empty() && s.heard == from {
		s.unsure = unknown
		if s.log == nil || s.event.Commit.Sequence <= s.log.held {
			c.waitUnsure(s)
		}
	}
	s.has.Add(from.slot)
	return open
}

// leftToUs reports whether the list that came first leaves n open, which is tagged by
// a name that need not have been known here when it came.
func (s *eventState) leftToUs(n *node) bool {
	return s.heard != nil && s.exclude.Form != events.Bitmap && !s.exclude.Excludes(events.Tag(n.id, s.sum), -1)
}

// waitUnsure has the unsure names of an event told in a while.
func (c *Core) waitUnsure(s *eventState) {
	if s.unsure.Empty() {
		return
	}
	b := &c.events
	if len(b.waiting) >= MaxEvents {
		c.tellUnsure(b.waiting[0].state)
		b.waiting = slices.Delete(b.waiting, 0, 1)
	}
	b.waiting = append(b.waiting, unsureEvent{s, c.now.Add(c.joinWait())})
}

// tickUnsure tells the unsure names of events that have waited.
func (c *Core) tickUnsure() {
	b := &c.events
	due := 0
	for ; due < len(b.waiting) && c.now >= b.waiting[due].at; due++ {
		c.tellUnsure(b.waiting[due].state)
	}
	b.waiting = slices.Delete(b.waiting, 0, due)
}

// tellUnsure tells those of whom it is still not known that the first sender of the
// event knows them.
func (c *Core) tellUnsure(s *eventState) {
	if s.heard != nil && s.heard.link != nil {
		s.unsure.RemoveAll(&s.heard.link.knows)
	}
	unsure := s.unsure
	s.unsure = events.Set{}
	c.forward(s, unsure, s.heard)
}

// joinWait is how long what may be told twice, or be told with more, waits while
// nodes join.
func (c *Core) joinWait() time.Duration {
	return min(time.Duration(len(c.nodes.order))*joinEach, joinMost)
}

// owed is an event that a node is told once a way leads there.
type owed struct {
	state *eventState
	left  bool // a list left the node to us
}

// oweLately takes on what was told lately to a node that has just come to the pool: the
// lists could not speak of it, and receivers stop minding that once they see that
// this node knows it.
func (c *Core) oweLately(n *node) {
	b := &c.events
	n.owed = nil
	for i := range len(b.ring) {
		s := b.ring[(b.next+len(b.ring)-1-i)%len(b.ring)]
		if c.now.Sub(s.at) > lately || len(n.owed) >= MaxOwed {
			return
		}
		if left := s.leftToUs(n); s.ready && (left || !s.passed.Empty()) {
			n.owed = append(n.owed, owed{s, left})
		}
	}
}

// oweToo reports whether a neighbor from which an event came knows n: then it owes n
// the same, or who told it does, and so on to the event's origin.
func (c *Core) oweToo(from, n *node) bool {
	return from != nil && from.link != nil && from.link.usable() && from.link.knows.Has(n.slot)
}

// tickOwed tells nodes to which the first way leads now what they are owed, unless that
// is an own link: comparing brings it.
func (c *Core) tickOwed() {
	for _, n := range c.nodes.order {
		if len(n.owed) == 0 || !n.seen && c.now.Sub(n.joined) <= newcomerFor {
			continue
		}
		all := n.owed
		n.owed = nil
		if !n.seen || n.link != nil && n.link.usable() {
			continue
		}
		var to events.Set
		to.Add(n.slot)
		for _, o := range all {
			if o.left || !c.oweToo(o.state.heard, n) {
				c.forward(o.state, to, o.state.heard)
			}
		}
	}
}

// tellCommit tells everybody of an own commit: at once if it is a page's. One that is
// not, as the admission of a node, waits if another one was told of a moment ago:
// when many nodes join, few notices bring all that they wrote.
func (c *Core) tellCommit(s *eventState, mayWait bool) {
	v := &c.vector
	if old := v.untold; old != nil {
		v.untold = nil
		if old.log != s.log {
			c.tellCommit(old, false)
		} else {
			c.count.Superseded++
		}
	}
	wait := c.joinWait()
	if mayWait && v.told != 0 && c.now.Sub(v.told) < wait {
		v.untold, v.untoldAt = s, v.told.Add(wait)
		return
	}
	v.told = c.now
	s.ready = true
	c.forward(s, c.nodes.pool, nil)
}

// tickUntold tells of the own commit that waits, once its time has come.
func (c *Core) tickUntold() {
	if v := &c.vector; v.untold != nil && c.now >= v.untoldAt {
		s := v.untold
		v.untold = nil
		c.tellCommit(s, false)
	}
}

// noteKnown notes that a neighbor, which speaks of n, knows it: its exclusion lists
// speak of n too. What it hears of nodes that are not members of its pool waits there.
func (c *Core) noteKnown(speaker, n *node) {
	if speaker != nil && speaker.link != nil && n != nil {
		speaker.link.knows.Add(n.slot)
	}
}

// noteTaught notes that the first one's node, to which there may be no link yet,
// knows the others, some of which may not be admitted yet. Of those MaxNodes are
// remembered; more: they are forgotten, and are told more often than need be.
func (c *Core) noteTaught(records []*events.Record) {
	if len(records) == 0 || records[0] == nil {
		return
	}
	if len(c.nodes.taughtBy)+len(records) > MaxNodes {
		clear(c.nodes.taughtBy)
	}
	for _, r := range records[:min(len(records), MaxNodes)] {
		if r == nil {
			continue
		}
		if n := c.nodes.byID[r.ID]; n != nil {
			c.taught(c.nodes.byID[records[0].ID], n)
		} else {
			c.nodes.taughtBy[r.ID] = records[0].ID
		}
	}
}

// taught notes that a node which may not be linked yet knows n.
func (c *Core) taught(by, n *node) {
	if by != nil && by.link != nil && by.link.up {
		c.noteKnown(by, n)
	} else if by != nil {
		by.taught.Add(n.slot)
	}
}
