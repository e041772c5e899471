package mesh

import (
	"encoding/binary"
	"time"

	"github.com/erwik/erwik/cluster/mesh/planted"
	"github.com/erwik/erwik/events"
	"github.com/erwik/erwik/storage"
)

func (c *Core) admit(id storage.NodeID) {
	if c.nodes.admitted[id] {
		return
	}
	anew := c.nodes.banned[id] // until now its word was dropped
	c.unban(id)
	c.nodes.admitted[id] = true
	c.nodes.limbo.known(id)
	for _, n := range c.nodes.slots {
		if n.link == nil {
			continue
		}
		n.link.drilled.vector = 0
		if (anew || c.nodes.limbo.lost) && n.link.usable() && !n.link.slow { // something was lost, of its logs perhaps
			n.link.queue.beat = true
			c.touch(n.link)
		}
	}
}

// setSelf makes a new own record and tells it.
func (c *Core) setSelf(r *events.Record, unixMillis uint64) {
	self := c.nodes.at(c.self)
	r.Incarnation = max(c.incarnation+1, unixMillis)
	c.incarnation = r.Incarnation
	c.persist("self", binary.BigEndian.AppendUint64(nil, c.incarnation))
	r.Sig = c.cfg.Sign(r.SignedBytes(nil))
	c.setRecord(self, r)
	for _, n := range c.nodes.slots {
		if n.link != nil && n.link.said { // said under the last incarnation
			c.sayCost(n.link, soonest)
		}
	}
	c.tellAll(events.NewNeighbor(self.id, r))
}

// refute answers news that this node is dead, or a younger record of it. Only
// what its own key has signed speaks for a twin: anybody can say that it is dead.
func (c *Core) refute(heard uint64, own bool) {
	self := c.nodes.at(c.self)
	if self.record == nil || heard < c.incarnation || c.now < c.refuteAt || planted.Now == planted.NoRefutation {
		return
	}
	c.refuteAt = c.now.Add(time.Second)
	if own {
		c.refuted++
	}
	if own && c.refuted == 5 {
		c.alarmOnce(Alarm{Kind: AlarmTwin, Node: self.id, Text: "this node's own record is raised elsewhere again and again: another process may use its key"})
	}
	r := *self.record
	c.setSelf(&r, heard+1)
}

// hearSelf looks at a record of this node. If an earlier life said more than
// this one knows of (its disk was put back), this one says it anew, higher.
func (c *Core) hearSelf(from *node, r *events.Record) {
	own := c.nodes.at(c.self).record
	if own == nil || r.Incarnation < c.incarnation ||
		r.Incarnation == c.incarnation && recordHash(r) == recordHash(own) {
		return
	}
	if c.mayCheck(from) && c.verifyRecord(r) {
		c.refute(r.Incarnation, true)
	}
}

// hearOwnLink does the same for this node's word on a link.
func (c *Core) hearOwnLink(from *node, r *events.LinkRecord) {
	if c.neverSaid(r) && c.mayCheck(from) && c.verifyLink(r) {
		c.refute(r.Incarnation, true)
	}
}

// neverSaid reports whether a record that bears this node's name is not one that
// this life of it has made.
func (c *Core) neverSaid(r *events.LinkRecord) bool {
	if r.Incarnation < c.incarnation {
		return false
	}
	if r.Incarnation > c.incarnation || r.Counter > c.nodes.counter {
		return true
	}
	to := c.nodes.byID[r.To]
	if to == nil {
		return false
	}
	own := c.nodes.at(c.self).outTo(to.slot)
	return own == nil || r.Counter >= own.Counter && linkHash(r) != linkHash(own)
}

func (c *Core) verifyLink(r *events.LinkRecord) bool {
	if planted.Now == planted.SignatureNotChecked {
		return true
	}
	var buf [256]byte
	return c.cfg.Verify(r.From, r.SignedBytes(buf[:0]), &r.Sig)
}

// acceptRecord takes a verified record if it is newer. It reports whether it was.
func (c *Core) acceptRecord(from *node, r *events.Record) bool {
	n := c.addNode(r.ID)
	if n == nil {
		c.drop(from, DropFull)
		return false
	}
	if !c.newerRecord(n, r) {
		c.drop(from, DropStale)
		return false
	}
	c.setRecord(n, r)
	return true
}

func (c *Core) newerRecord(n *node, r *events.Record) bool {
	if planted.Now == planted.StaleRecordWins {
		return n.record == nil || n.record.Incarnation != r.Incarnation
	}
	if n.gone != nil && r.Incarnation <= n.gone.Dead.Incarnation && planted.Now != planted.TombstoneIgnored {
		return false
	}
	return r.Incarnation > n.incarnation()
}

// receiveRecord takes a node record from a neighbor's table.
func (c *Core) receiveRecord(from *node, r *events.Record) {
	c.noteKnown(from, c.nodes.byID[r.ID])
	if r.ID == c.cfg.Self {
		c.hearSelf(from, r)
		return
	}
	if c.fromBanned(from, r.ID) {
		return
	}
	if !c.nodes.admitted[r.ID] && planted.Now != planted.UnadmittedTaken {
		c.wait(waiting{from: from, on: r.ID, record: r})
		return
	}
	if n := c.nodes.byID[r.ID]; n != nil && !c.newerRecord(n, r) {
		c.drop(from, DropStale)
		return
	}
	if !c.mayCheck(from) {
		return
	}
	if !c.verifyRecord(r) {
		c.drop(from, DropSignature)
		return
	}
	old := c.nodes.byID[r.ID]
	anew := old != nil && (old.record != nil || old.gone != nil)
	if !c.acceptRecord(from, r) {
		return
	}
	if anew {
		c.showReturn(r)
	}
	c.tellRecord(recordKey{c.nodes.byID[r.ID].slot, toSelf}, from, false)
}

// showReturn shows local readers a node that came back. When it started it had no
// link by which to tell of itself, so its record goes round in tables, without an
// event; the one that is made of it here is signed by nobody.
func (c *Core) showReturn(r *events.Record) {
	if e := events.NewNeighbor(r.ID, r); c.watching && c.unseen(&e) {
		c.out.Events = append(c.out.Events, e)
	}
}

// unseen reports whether readers have not been shown an event, or the record in it,
// and takes it that they are now.
func (c *Core) unseen(e *events.Event) bool {
	if e.Type != events.TypeNewNeighbor {
		return true
	}
	n := c.nodes.byID[e.Neighbor.ID]
	if n == nil {
		return true
	}
	was := n.shown
	n.shown = max(was, e.Neighbor.Incarnation)
	return was < e.Neighbor.Incarnation
}

// receiveLink takes a link record from a neighbor's table.
func (c *Core) receiveLink(from *node, r *events.LinkRecord) {
	if r.From == c.cfg.Self {
		c.hearOwnLink(from, r)
		return
	}
	if c.fromBanned(from, r.From) {
		return
	}
	a, b := c.nodes.byID[r.From], c.nodes.byID[r.To]
	c.noteKnown(from, a)
	c.noteKnown(from, b)
	if a == nil || !a.member() || !c.nodes.admitted[r.From] {
		if a == nil || a.gone == nil {
			c.wait(waiting{from: from, on: r.From, link: r})
		}
		return
	}
	if b == nil || b.record == nil && b.gone == nil {
		c.wait(waiting{from: from, on: r.To, link: r})
		return
	}
	if r.Incarnation < a.incarnation() || !c.newerLink(a, b, r) {
		c.drop(from, DropStale)
		return
	}
	if !c.mayCheck(from) {
		return
	}
	if !c.verifyLink(r) {
		c.drop(from, DropSignature)
		return
	}
	c.noteKnown(a, b)
	if !c.mayChange(a, from) {
		return
	}
	old := a.outTo(b.slot)
	c.setOut(a, b.slot, r)
	c.noteHeard(a, b.slot, from)
	c.tellRecord(recordKey{a.slot, b.slot}, from, costOnly(old, r))
}

// newerLink reports whether a record of the link from a to b is news.
func (c *Core) newerLink(a, b *node, r *events.LinkRecord) bool {
	return r.Newer(a.outTo(b.slot)) ||
		planted.Now == planted.LinkOrderIgnored && linkHash(r) != linkHash(a.outTo(b.slot))
}

// takeNews acts on a verified event of a node that was not known.
func (c *Core) takeNews(from *node, e *events.Event) {
	if e.Type == events.TypeNewNeighbor {
		if e.Neighbor.ID == c.cfg.Self {
			c.hearSelf(from, e.Neighbor)
			return
		}
		c.acceptRecord(from, e.Neighbor)
		return
	}
	if e.Dead.Node == c.cfg.Self {
		c.refute(e.Dead.Incarnation, false)
		return
	}
	n := c.nodes.byID[e.Dead.Node]
	if e.Dead.Removed {
		if n = c.addNode(e.Dead.Node); n != nil {
			c.bury(n, e)
		}
		return
	}
	if n == nil || !n.member() || e.Dead.Incarnation < n.incarnation() {
		c.drop(from, DropStale)
		return
	}
	c.graphNow()
	if !n.reachable && !n.dead || planted.Now == planted.BelieveDeath {
		c.markDead(n)
	}
}

// markDead declares a node dead here.
func (c *Core) markDead(n *node) {
	n.dead = true
	c.alarm(Alarm{Kind: AlarmDead, Node: n.id, Text: "no path of links leads to " + c.nameOf(n)})
}

// bury takes a node out of the pool and keeps its tombstone.
func (c *Core) bury(n *node, e *events.Event) {
	if n.slot == c.self || e.Dead.Incarnation < n.incarnation() {
		return
	}
	if g := n.gone; g != nil && (g.Dead.Incarnation > e.Dead.Incarnation ||
		g.Dead.Incarnation == e.Dead.Incarnation && g.Origin.Compare(e.Origin) <= 0) {
		return // of two that removed it at once, all keep the word of the smaller id
	}
	if n.gone == nil {
		if c.nodes.stones >= MaxTombstones {
			c.alarmOnce(Alarm{Kind: AlarmFull, Text: "MaxTombstones: a removed node is not remembered"})
			return
		}
		c.nodes.stones++
	}
	if n.link != nil && n.link.up {
		c.giveUp(n.link, "the node was removed")
	}
	for to, r := range n.outWords() {
		if r != nil {
			c.setOut(n, to, nil)
		}
	}
	stone := *e
	stone.Exclude = nil
	c.rowChanged(n, recordHash(n.record)+stoneHash(n.gone), stoneHash(&stone))
	n.record, n.gone, n.dead, n.owed, n.taught = nil, &stone, false, nil, events.Set{}
	c.nodes.limbo.known(n.id)
	c.persist("node/"+n.id.String(), nil)
	c.persist("gone/"+n.id.String(), stone.Append(nil, &events.Exclusion{Form: events.Everybody}))
	c.poolChanged()
}

func (c *Core) forget(id storage.NodeID) bool {
	n := c.nodes.byID[id]
	if n == nil || n.slot == c.self || !n.member() {
		return false
	}
	e := events.NewDead(c.cfg.Self, events.Dead{Node: id, Incarnation: n.incarnation(), Removed: true})
	c.tellAll(e)
	e.Sig = c.cfg.Sign(e.SignedBytes(nil))
	c.bury(n, &e)
	return true
}

func (c *Core) learn(r *events.Record, tell bool) {
	if r == nil || r.ID == c.cfg.Self || r.Valid() != nil {
		return
	}
	self := c.nodes.at(c.self)
	if c.fromBanned(nil, r.ID) {
		return
	}
	if !c.nodes.admitted[r.ID] {
		c.wait(waiting{from: self, on: r.ID, record: r})
		return
	}
	if n := c.nodes.byID[r.ID]; n != nil && !c.newerRecord(n, r) {
		return
	}
	if !c.verifyRecord(r) {
		c.drop(nil, DropSignature)
		return
	}
	if c.acceptRecord(self, r) && tell {
		c.tellAll(events.NewNeighbor(self.id, r))
	}
}
