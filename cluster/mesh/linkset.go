package mesh

import (
	"bytes"
	"slices"
	"time"

	"github.com/erwik/erwik/cluster/mesh/planted"
	"github.com/erwik/erwik/events"
)

// manyRecords of its own links make a node say them all anew in one set: a table
// of sets is a tenth of a table of records.
const manyRecords = 4

// pokeFrom records to be passed on to one neighbor make a poke instead.
const pokeFrom = 4

// urgency of what a node has to tell of its own links.
type urgency int

const (
	soonest urgency = iota // a link went down
	soon                   // a link came up
	later                  // a link became slow or healthy
	someday                // a cost changed
)

// say notes that others are to be told of an own link as it is by then: at the
// next tick, or with others later. The more nodes there are, the more costs
// change, and the more nodes each of them reaches: so each node's costs are told
// the more rarely, and an idle link carries the same in every mesh.
func (c *Core) say(l *link, u urgency) {
	t := &c.nodes
	wait := min(t.ownSpaced, announceEvery)
	switch u {
	case soon:
		wait = max(ownEvery, t.ownSpaced)
		if c.catchingUp() { // that is more urgent, unless the link is the only way
			if wait = max(wait, spaceMost); !l.apart {
				wait = max(wait, c.now.Sub(t.ownSaid)+heldFor)
				t.ownHeld = true
			}
		}
	case later:
		wait = max(ownEvery, time.Duration(len(t.order))*costEach/5)
	case someday:
		wait = max(costEvery, time.Duration(len(t.order))*costEach)
	}
	at := t.ownSaid.Add(wait)
	if u >= later { // all nodes may have cause at once
		at = max(at, c.now).Add(c.jitter(wait / 2))
	}
	if t.own.Empty() || at < t.ownAt {
		t.ownAt = at
	}
	switch {
	case u == soon && !c.catchingUp(): // of the last ones of a row of links others are told before that
		t.ownRests = max(t.ownSaid.Add(ownEvery), c.now.Add(ownQuiet))
	case t.own.Empty():
		t.ownRests = never
	}
	t.own.Add(l.node.slot)
}

// tickOwn signs and tells what own links are to be told of.
func (c *Core) tickOwn() {
	t := &c.nodes
	self := t.at(c.self)
	if t.ownHeld && !c.catchingUp() {
		t.ownHeld, t.ownAt = false, min(t.ownAt, max(c.now, t.ownSaid.Add(t.ownSpaced)))
	}
	if t.own.Empty() || c.now < min(t.ownAt, t.ownRests) || self.record == nil {
		return
	}
	due := t.own
	t.own, t.ownHeld = events.Set{}, false
	old := map[int]*events.LinkRecord{}
	for v := range due.All() {
		n, r := t.at(v), self.outTo(v)
		if n.link != nil && r != nil && r.Up && r.Incarnation == self.incarnation() && n.link.usable() && near(r.Step, n.link.step) {
			due.Remove(v) // it was a hiccup: what was told last is so
			n.link.said = true
			continue
		}
		old[v] = r
	}
	if due.Empty() {
		return
	}
	t.space(c.now)
	said := map[*events.LinkSet]bool{}
	alone := 0
	for _, r := range self.outWords() {
		if r != nil && r.In == nil {
			alone++
		} else if r != nil {
			said[r.In] = true
		}
	}
	if alone+len(said) > manyRecords {
		for v, r := range self.outWords() {
			if n := t.at(v); r != nil && r.Up && n.link != nil && n.link.usable() {
				due.Add(v)
			}
		}
	}
	c.signLinks(due)
	c.sayRow()
	for v := range due.All() {
		if _, told := old[v]; !told {
			continue // said anew, not changed
		}
		r := self.outTo(v)
		c.tellRecord(recordKey{node: c.self, to: v}, nil, costOnly(old[v], r))
	}
}

// tickDoubt ends the wait of what is held back if, since a link went down, only that
// leads to some node: others would soon take the node for dead.
func (c *Core) tickDoubt() {
	t := &c.nodes
	if !t.doubt {
		return
	}
	t.doubt = false
	if t.ownHeld && c.unsaidIsNeeded() {
		t.ownAt = min(t.ownAt, c.now.Add(ownEvery))
	}
	if len(t.held) > 0 && c.heldIsNeeded() {
		t.heldUntil = c.now
	}
}

// unsaidIsNeeded reports whether an own link of which others do not know yet is the
// only way to its other end.
func (c *Core) unsaidIsNeeded() bool {
	var unsaid events.Set
	for v := range c.nodes.own.All() {
		if r := c.nodes.at(c.self).outTo(v); c.nodes.at(v).link != nil && (r == nil || !r.Up) {
			unsaid.Add(v)
		}
	}
	found := c.graphNow().graph.Reach(c.self, func(from, to int) bool { return from == c.self && unsaid.Has(to) })
	unsaid.RemoveAll(&found)
	return !unsaid.Empty()
}

// heldIsNeeded reports whether only links of which others told, and which were not
// passed on yet, lead to some node.
func (c *Core) heldIsNeeded() bool {
	opened := make(map[recordKey]bool)
	for _, f := range c.nodes.held {
		if !f.costOnly && c.isUp(f.key) {
			opened[f.key] = true
		}
	}
	found := c.graphNow().graph.Reach(c.self, func(from, to int) bool {
		return opened[recordKey{from, to}] || opened[recordKey{to, from}]
	})
	return slices.ContainsFunc(c.nodes.order, func(n *node) bool { return n.reachable && !found.Has(n.slot) })
}

// row says whether a neighbor was told what was said of own links before its link
// came up.
type row int

const (
	rowUnsaid row = iota
	rowWaits      // until the link is healthy
	rowSaid
)

// sayRow sends all that was said of own links to neighbors whose link has come
// up since: what was told before went past them. Over a slow link that waits until
// it is healthy; on a busy machine many look slow for a moment.
func (c *Core) sayRow() {
	for _, n := range c.nodes.order {
		l := n.link
		if l == nil || !l.usable() || l.row == rowSaid {
			continue
		}
		if l.row = rowSaid; l.slow {
			l.row = rowWaits
			continue
		}
		c.sayRowTo(l)
	}
}

func (c *Core) sayRowTo(l *link) {
	l.row = rowSaid
	for to, r := range c.nodes.at(c.self).outWords() {
		if r != nil {
			c.queueRecord(l, recordKey{node: c.self, to: to})
		}
	}
}

// space notes that own links are being told of. While that goes on, as when many
// links come up one by one, it happens more rarely.
func (t *table) space(now Time) {
	if most := time.Duration(len(t.order)) * spaceEach; now.Sub(t.ownSaid) > 2*max(t.ownSpaced, ownEvery) {
		t.ownSpaced = 0
	} else {
		t.ownSpaced = max(ownEvery, min(most, spaceMost))
	}
	t.ownSaid = now
}

// near reports whether a cost that was told is near enough to what it is now: by
// a factor, and where that is less than anybody notices, by an amount.
func near(told, now events.Step) bool {
	return now < told+2 && told < now+2 || max(told.Cost(), now.Cost())-min(told.Cost(), now.Cost()) < costNear
}

// signLinks makes new records of own links under one signature.
func (c *Core) signLinks(due events.Set) {
	self := c.nodes.at(c.self)
	c.nodes.counter++
	set := &events.LinkSet{From: self.id, Incarnation: self.incarnation(), Counter: c.nodes.counter}
	var slots []int
	for v := range due.All() {
		n := c.nodes.at(v)
		s := events.LinkState{To: events.ShortOf(n.id)}
		if n.link != nil && n.link.usable() {
			s.Up, s.Step = true, n.link.step
		}
		if n.link != nil {
			n.link.said = s.Up
			n.link.costAt = c.now.Add(costEvery)
		}
		set.Links = append(set.Links, s)
		slots = append(slots, v)
	}
	if len(slots) == 1 {
		s := set.Links[0]
		r := &events.LinkRecord{From: self.id, To: c.nodes.at(slots[0]).id, Up: s.Up, Step: s.Step,
			Incarnation: set.Incarnation, Counter: set.Counter}
		r.Sig = c.cfg.Sign(r.SignedBytes(nil))
		c.setOut(self, slots[0], r)
		c.noteHeard(self, slots[0], nil)
		return
	}
	slices.SortFunc(slots, func(a, b int) int { return c.nodes.at(a).id.Compare(c.nodes.at(b).id) })
	slices.SortFunc(set.Links, func(a, b events.LinkState) int { return bytes.Compare(a.To[:], b.To[:]) })
	set.Sig = c.cfg.Sign(set.SignedBytes(nil))
	var before, after uint64
	for i, v := range slots {
		old, now := c.putOut(self, v, set.Link(i, c.nodes.at(v).id))
		before, after = before+old, after+now
		c.noteHeard(self, v, nil)
	}
	c.rowChanged(self, before, after)
}

// receiveLinks takes a set of link records from a neighbor's table.
func (c *Core) receiveLinks(from *node, s *events.LinkSet) {
	a := c.nodes.byID[s.From]
	own := s.From == c.cfg.Self
	if c.fromBanned(from, s.From) {
		return
	}
	if !own && (a == nil || !a.member() || !c.nodes.admitted[s.From]) {
		if a == nil || a.gone == nil {
			c.wait(waiting{from: from, on: s.From, links: s})
		}
		return
	}
	c.noteKnown(from, a)
	var fresh []*events.LinkRecord
	var unknown *events.ShortID
	for i := range s.Links {
		b := c.nodeByShort(s.Links[i].To)
		c.noteKnown(from, b)
		switch {
		case b == nil:
			unknown = &s.Links[i].To
		case own && c.neverSaid(s.Link(i, b.id)), !own && c.newerLink(a, b, s.Link(i, b.id)):
			fresh = append(fresh, s.Link(i, b.id))
		}
	}
	if !own && s.Incarnation < a.incarnation() || len(fresh) == 0 && unknown == nil {
		c.drop(from, DropStale)
		return
	}
	checked := len(fresh) > 0 && c.mayCheck(from)
	var buf [1024]byte
	if checked && planted.Now != planted.SignatureNotChecked && !c.cfg.Verify(s.From, s.SignedBytes(buf[:0]), &s.Sig) {
		c.drop(from, DropSignature)
		return
	}
	if unknown != nil && !own { // one that is forged does not wait
		c.waitFor(*unknown, waiting{from: from, links: s})
	}
	if !checked {
		return
	}
	if own {
		c.refute(s.Incarnation, true)
		return
	}
	for _, r := range fresh {
		c.noteKnown(a, c.nodes.byID[r.To])
	}
	if !c.mayChange(a, from) {
		return
	}
	var before, after uint64
	for _, r := range fresh {
		to := c.nodes.byID[r.To].slot
		last := a.outTo(to)
		old, now := c.putOut(a, to, r)
		before, after = before+old, after+now
		c.noteHeard(a, to, from)
		c.tellRecord(recordKey{a.slot, to}, from, costOnly(last, r))
	}
	c.rowChanged(a, before, after)
}

// nodeByShort finds the member or removed node that a short id means, nil if
// none is known or several are.
func (c *Core) nodeByShort(s events.ShortID) *node {
	found := c.nodes.short[s]
	if found == nil || found.record == nil && found.gone == nil {
		return nil
	}
	return found
}
