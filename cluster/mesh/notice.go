package mesh

import (
	"fmt"

	"github.com/erwik/erwik/cluster/mesh/planted"
	"github.com/erwik/erwik/events"
	"github.com/erwik/erwik/storage"
)

// eventState is what the core remembers of one event: whom it passed on.
type eventState struct {
	event   events.Event
	sum     events.Checksum
	log     *logState        // commit events
	heard   *node            // the neighbor that first told; nil for own events
	exclude events.Exclusion // of the first copy, for readers
	has     events.Set       // nodes that have it: those that sent it
	passed  events.Set       // names passed on, each once: told, or left open in a copy
	pending events.Set       // names left open to us, until the commit is held here
	pool    events.Set       // as it was when the first of them were
	ready   bool             // may be passed on: a commit is held here; others at once
	at      Time             // when it was first known here
	unsure  events.Set       // names of which the list that came first may not have spoken: see judge
}

type logPlace struct {
	log      *logState
	sequence uint64
}

// eventBook remembers the last MaxEvents events.
type eventBook struct {
	commits map[logPlace]*eventState
	others  map[events.Checksum]*eventState
	ring    []*eventState
	next    int
	waiting []unsureEvent // oldest first
}

// unsureEvent is one with unsure names, and when they are told.
type unsureEvent struct {
	state *eventState
	at    Time
}

func (b *eventBook) init() {
	b.commits = map[logPlace]*eventState{}
	b.others = map[events.Checksum]*eventState{}
}

func (b *eventBook) add(s *eventState, now Time) {
	s.at = now
	if len(b.ring) < MaxEvents {
		b.ring = append(b.ring, s)
	} else {
		old := b.ring[b.next]
		if old.log != nil {
			delete(b.commits, logPlace{old.log, old.event.Commit.Sequence})
		} else {
			delete(b.others, old.sum)
		}
		b.ring[b.next] = s
		b.next = (b.next + 1) % MaxEvents
	}
	if s.log != nil {
		b.commits[logPlace{s.log, s.event.Commit.Sequence}] = s
	} else {
		b.others[s.sum] = s
	}
}

// verifyEvent checks signatures; the caller has done the cheap checks.
func (c *Core) verifyEvent(e *events.Event) bool {
	if planted.Now == planted.SignatureNotChecked {
		return true
	}
	var buf [512]byte
	if !c.cfg.Verify(e.Origin, e.SignedBytes(buf[:0]), &e.Sig) {
		return false
	}
	return e.Type != events.TypeNewNeighbor || c.verifyRecord(e.Neighbor)
}

func (c *Core) verifyRecord(r *events.Record) bool {
	if planted.Now == planted.SignatureNotChecked {
		return true
	}
	var buf [512]byte
	return c.cfg.Verify(r.ID, r.SignedBytes(buf[:0]), &r.Sig)
}

// receiveEvent takes one copy of an event from a neighbor.
func (c *Core) receiveEvent(from *node, e *events.Event, exclude *events.Exclusion) {
	if c.fromBanned(from, e.Origin) || e.Type == events.TypeNewNeighbor && c.fromBanned(from, e.Neighbor.ID) {
		return
	}
	c.noteKnown(from, c.nodes.byID[e.Origin])
	if e.Type == events.TypeNewNeighbor {
		c.noteKnown(from, c.nodes.byID[e.Neighbor.ID])
	}
	if !c.nodes.admitted[e.Origin] || e.Type == events.TypeNewNeighbor && !c.nodes.admitted[e.Neighbor.ID] {
		on := e.Origin
		if c.nodes.admitted[on] {
			on = e.Neighbor.ID
		}
		c.wait(waiting{from: from, on: on, event: e, exclude: exclude})
		return
	}
	if e.Type == events.TypeCommit {
		c.receiveCommit(from, e, exclude)
		return
	}
	sum := e.Checksum()
	s := c.events.others[sum]
	if s == nil {
		if !c.mayCheck(from) {
			return
		}
		if !c.verifyEvent(e) {
			c.drop(from, DropSignature)
			return
		}
		s = &eventState{event: *e, sum: sum, heard: from, exclude: *exclude, ready: true}
		c.events.add(s, c.now)
		c.tellReaders(s)
		c.takeNews(from, e)
		if e.Type == events.TypeNewNeighbor {
			c.noteKnown(c.nodes.byID[e.Origin], c.nodes.byID[e.Neighbor.ID])
		}
	}
	c.forward(s, c.judge(from, s, exclude), from)
}

// receiveCommit takes one copy of a commit event.
func (c *Core) receiveCommit(from *node, e *events.Event, exclude *events.Exclusion) {
	c.count.NoticesReceived++
	l := c.vector.byID[e.Commit.Log]
	var s *eventState
	if l != nil {
		s = c.events.commits[logPlace{l, e.Commit.Sequence}]
	}
	if s == nil || s.event.Sig != e.Sig || s.event.Commit.Hash != e.Commit.Hash || s.event.Commit.Page != e.Commit.Page {
		if !c.mayCheck(from) {
			return
		}
		if !c.verifyEvent(e) {
			c.drop(from, DropSignature)
			return
		}
	}
	if l != nil && l == c.vector.own && e.Commit.Sequence > l.held {
		c.twin(l) // the signature has been checked
	}
	if l == nil {
		if l = c.addLog(e.Commit.Log); l == nil {
			c.drop(from, DropFull)
			return
		}
	}
	if l.closed && e.Commit.Sequence > l.held {
		c.drop(from, DropFork) // it is in a branch, here or soon
		return
	}
	if s != nil && s.event.Commit.Hash != e.Commit.Hash || e.Commit.Sequence == l.held && e.Commit.Hash != l.tip {
		c.fork(from, l, e)
		return
	}
	if s == nil {
		s = &eventState{event: *e, sum: e.Checksum(), log: l, heard: from, exclude: *exclude, pool: c.nodes.pool}
		c.events.add(s, c.now)
		if e.Commit.Sequence <= l.held {
			c.tellHolders(from, l, e.Commit.Sequence)
		}
	}
	open := c.judge(from, s, exclude)
	if e.Commit.Sequence > l.upFor {
		l.up, l.upFor = from, e.Commit.Sequence
	}
	if e.Commit.Sequence > l.held {
		if planted.Now == planted.ForwardBeforeVerify {
			c.forward(s, open, from)
		}
		s.pending.AddAll(&open)
		c.awaitRelay(l, from)
		c.learnHolding(from, l, e.Commit.Sequence, from)
		return
	}
	c.learnHolding(from, l, e.Commit.Sequence, from)
	c.drop(from, DropLate)
	c.story.discarded(e.Commit.Hash, from)
	c.queueHolder(from, l, c.nodes.at(c.self))
	s.ready = true
	if planted.Now == planted.KnownStopsList {
		return
	}
	c.forward(s, open, from)
}

// tellHolders tells a neighbor, which speaks of a commit that was here before the
// event, who has said meanwhile that it holds it.
func (c *Core) tellHolders(to *node, l *logState, sequence uint64) {
	for _, n := range c.nodes.order {
		if n != to && n.slot != c.self && n.holding(l) >= sequence {
			c.queueHolder(to, l, n)
		}
	}
}

// fork reports two commits in one place of a log.
func (c *Core) fork(from *node, l *logState, e *events.Event) {
	c.drop(from, DropFork)
	c.alarmOnce(Alarm{Kind: AlarmFork, Node: l.id.Node, Log: l.id,
		Text: fmt.Sprintf("sequence %d is announced with two hashes", e.Commit.Sequence)})
	if from != nil && planted.Now != planted.ForkNotDug && c.now >= l.digAt && !l.closed && len(c.out.Dig) < MaxPulls {
		l.digAt = c.now.Add(digEvery)
		c.out.Dig = append(c.out.Dig, Dig{From: from.id, Log: l.id})
	}
}

// openNames reads a copy's exclusion list: the nodes it leaves open to us, and those
// of which it cannot speak, because the sender may not know them.
func (c *Core) openNames(from *node, s *eventState, exclude *events.Exclusion) (open, unknown events.Set) {
	var knows events.Set
	if from.link != nil {
		knows = from.link.knows
	}
	switch exclude.Form {
	case events.Everybody:
	case events.Bitmap:
		open = c.nodes.pool
		for i := range c.nodes.pools {
			p := &c.nodes.pools[i]
			if p.hash != exclude.PoolHash || len(p.slots) != exclude.PoolSize {
				continue
			}
			for place, slot := range p.slots {
				if exclude.Excludes(0, place) {
					open.Remove(slot)
				}
			}
			knows = p.set
			break
		}
	default:
		for _, n := range c.nodes.order {
			if !exclude.Excludes(events.Tag(n.id, s.sum), -1) {
				open.Add(n.slot)
			}
		}
	}
	if from.link != nil && from.link.named.pool != c.nodes.poolHash && planted.Now != planted.TrustLists {
		unknown = c.nodes.pool
		unknown.RemoveAll(&knows)
		unknown.Remove(from.slot)
		unknown.Remove(c.self)
	}
	open.Remove(from.slot)
	return open, unknown
}

// forward tells those of open that are not told yet, in the order of the plan.
func (c *Core) forward(s *eventState, open events.Set, from *node) {
	tell := open
	tell.KeepAll(&c.nodes.pool)
	tell.Remove(c.self)
	if planted.Now != planted.PassedForgotten {
		tell.RemoveAll(&s.passed)
	}
	if from != nil {
		tell.Remove(from.slot)
	}
	tell.RemoveAll(&s.has)
	for v := range tell.All() {
		n := c.nodes.at(v)
		if n.id == s.event.Origin || s.log != nil && n.holding(s.log) >= s.event.Commit.Sequence {
			tell.Remove(v)
		}
	}
	if tell.Empty() {
		return
	}
	via := c.nodes.pool
	if from != nil {
		via.Remove(from.slot)
	}
	c.spread(s, c.plan(tell, via, s.heard == nil))
}

// spread queues the copies of a plan. A node that has just come to the pool, and to which
// no way has led yet, is left open in few of them: each of their receivers may tell
// it, and where many nodes join at once, many are like that.
func (c *Core) spread(s *eventState, p *events.Plan) {
	young := p.Lost
	for v := range p.Lost.All() {
		if n := c.nodes.at(v); n.seen || n.joined == 0 || c.now.Sub(n.joined) > newcomerFor {
			young.Remove(v)
		}
	}
	left := 0
	for i := range p.Copies {
		cp := &p.Copies[i]
		n := c.nodes.at(cp.To)
		if n.link == nil || !n.link.usable() {
			continue
		}
		open := cp.Open
		if left++; left > leftOpen {
			open.RemoveAll(&young)
		}
		s.passed.Add(cp.To)
		s.passed.AddAll(&open)
		if planted.Now == planted.ExcludeTold {
			open = events.Set{}
		}
		c.queueNotice(n.link, s, open)
	}
}

// announce tells of a commit that is held here now. It reports whether an event
// of it was known; if not, neighbors must be told by a hint.
func (c *Core) announce(l *logState, e *Entry, source *node) bool {
	s := c.events.commits[logPlace{l, e.Sequence}]
	t := tale{hash: e.Hash, pulled: source, at: c.now}
	switch {
	case e.Own:
		ev := events.NewCommit(e.Log, e.Sequence, e.Hash, e.Page)
		ev.Sig = e.Sig
		s = &eventState{event: ev, sum: ev.Checksum(), log: l}
		c.events.add(s, c.now)
		c.story.add(t)
		c.tellReaders(s)
		c.tellCommit(s, e.Page == "")
		return true
	case s == nil:
		c.story.add(t)
		if c.watching {
			c.out.Events = append(c.out.Events, events.NewCommit(e.Log, e.Sequence, e.Hash, e.Page))
		}
		return false
	case s.event.Commit.Hash != e.Hash:
		c.fork(s.heard, l, &s.event)
		c.story.add(t)
		return false
	}
	t.heard = s.heard
	c.story.add(t)
	c.tellReaders(s)
	s.ready = true
	since := c.nodes.pool
	since.RemoveAll(&s.pool)
	since.Remove(c.self)
	open := s.pending
	s.pending = events.Set{}
	for v := range since.All() {
		if s.leftToUs(c.nodes.at(v)) {
			open.Add(v)
		} else {
			s.unsure.Add(v)
		}
	}
	c.waitUnsure(s)
	c.forward(s, open, s.heard)
	return true
}

// sign signs an event of an own save that is about to be told and that the
// shell has not signed. Of saves that follow one another closely only the
// newest is told, so most need no signature.
func (c *Core) sign(s *eventState) {
	if s.event.Origin == c.cfg.Self && s.event.Sig == ([events.SignatureSize]byte{}) {
		var buf [320]byte
		s.event.Sig = c.cfg.Sign(s.event.SignedBytes(buf[:0]))
	}
}

// tellReaders hands an event to local readers with its full exclusion list.
func (c *Core) tellReaders(s *eventState) {
	if !c.watching || !c.unseen(&s.event) {
		return
	}
	c.sign(s)
	e := s.event
	if s.heard != nil {
		open, unknown := c.openNames(s.heard, s, &s.exclude)
		open.AddAll(&unknown)
		for _, n := range c.nodes.order {
			if !open.Has(n.slot) {
				e.Exclude = append(e.Exclude, n.id)
			}
		}
	}
	c.out.Events = append(c.out.Events, e)
}

// tellAll sends an own event of a node to everybody.
func (c *Core) tellAll(e events.Event) {
	e.Sig = c.cfg.Sign(e.SignedBytes(nil))
	s := &eventState{event: e, sum: e.Checksum(), ready: true}
	if c.events.others[s.sum] != nil {
		return
	}
	c.events.add(s, c.now)
	c.tellReaders(s)
	c.forward(s, c.nodes.pool, nil)
}

// nodeByPrefix finds the member that a short id means, nil if none or several do.
func (c *Core) nodeByPrefix(p prefix) *node {
	var low storage.NodeID
	copy(low[:], p[:])
	lo, hi := 0, len(c.nodes.order)
	for lo < hi {
		mid := (lo + hi) / 2
		if c.nodes.order[mid].id.Compare(low) < 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == len(c.nodes.order) || prefixOf(c.nodes.order[lo].id) != p {
		return nil
	}
	if lo+1 < len(c.nodes.order) && prefixOf(c.nodes.order[lo+1].id) == p {
		return nil
	}
	return c.nodes.order[lo]
}
