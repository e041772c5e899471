package mesh

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/erwik/erwik/cluster/mesh/planted"
	"github.com/erwik/erwik/storage"
)

// logState is what the core knows of one log. Logs have a small number each,
// which stays for the life of the core.
type logState struct {
	number int
	id     storage.LogID
	held   uint64 // highest contiguous sequence that is durable and visible here
	tip    storage.Hash
	hash   uint64 // of this head in the vector; 0 while held is 0
	origin *origin

	source *node  // from which the last commit was pulled; nil if it was made here
	up     *node  // the neighbor that first told of the newest commit
	upFor  uint64 // the sequence of that commit

	closed bool // ends in a fork: nothing follows under this name
	digAt  Time // before, no neighbor is asked where the log forks

	wanted   bool // in pullBook.wanted
	pull     uint64
	failures int
	retryAt  Time
	awaits   Time   // until when a relay is waited for
	awaited  uint64 // for which sequence
	shunned  []int  // slots of nodes that failed to give what they were known to hold
}

// origin is one node's share of the vector.
type origin struct {
	id     storage.NodeID
	logs   []*logState // by nonce
	forked bool        // equivocates: others are asked for its logs, itself is not
	sum    uint64
	mix    uint64
}

// vector is what is held here: log -> highest contiguous sequence, with hashes
// in two levels that are kept up to date.
type vector struct {
	logs     []*logState
	byID     map[storage.LogID]*logState
	origins  []*origin // by id
	byNode   map[storage.NodeID]*origin
	sum      uint64
	total    uint64 // commits held
	appended Time   // when the last commit came
	own      *logState
	told     Time        // when others were last told of an own commit
	untold   *eventState // the newest own commit, if others are not told of it yet
	untoldAt Time        // when they will be
}

func (v *vector) init() {
	v.byID = map[storage.LogID]*logState{}
	v.byNode = map[storage.NodeID]*origin{}
}

// addLog returns the log's state, made if need be; nil if the table is full.
func (c *Core) addLog(id storage.LogID) *logState {
	v := &c.vector
	if l := v.byID[id]; l != nil {
		return l
	}
	if len(v.logs) >= MaxLogs {
		c.alarmOnce(Alarm{Kind: AlarmFull, Text: "MaxLogs: new logs are not taken in"})
		return nil
	}
	o := v.byNode[id.Node]
	if o == nil {
		o = &origin{id: id.Node}
		v.byNode[id.Node] = o
		at, _ := slices.BinarySearchFunc(v.origins, id.Node, func(o *origin, id storage.NodeID) int { return o.id.Compare(id) })
		v.origins = slices.Insert(v.origins, at, o)
	}
	l := &logState{number: len(v.logs), id: id, origin: o}
	v.logs = append(v.logs, l)
	v.byID[id] = l
	at, _ := slices.BinarySearchFunc(o.logs, id.Nonce, func(l *logState, n uint64) int { return cmp.Compare(l.id.Nonce, n) })
	o.logs = slices.Insert(o.logs, at, l)
	return l
}

// setHeld moves a log's head and the hashes above it.
func (c *Core) setHeld(l *logState, sequence uint64, tip storage.Hash) {
	v := &c.vector
	var seq [9]byte // the first byte is the branch, 0
	binary.BigEndian.PutUint64(seq[1:], sequence)
	var id [storage.LogIDSize]byte
	l.id.AppendBinary(id[:0])
	hash := hash8("erwik head 1\x00", id[:], seq[:], tip[:])
	if sequence == 0 {
		hash = 0
	}
	o := l.origin
	o.sum += hash - l.hash
	if planted.Now == planted.VectorHashAdds {
		o.sum += l.hash
	}
	l.hash = hash
	var sum [8]byte
	binary.BigEndian.PutUint64(sum[:], o.sum)
	mix := hash8("erwik heads 1\x00", o.id[:], sum[:])
	if o.sum == 0 {
		mix = 0
	}
	v.sum += mix - o.mix
	o.mix = mix

	grown := sequence - l.held
	was := l.held
	l.held, l.tip = sequence, tip
	v.total += grown
	for _, n := range c.nodes.slots {
		if n.slot == c.self {
			continue
		}
		known := max(n.holding(l), was)
		if known < sequence {
			if n.behind == 0 {
				n.lacks = c.now
			}
			n.behind += sequence - known
		}
	}
}

// lowerHeld takes back what has moved to a branch.
func (c *Core) lowerHeld(l *logState, sequence uint64, tip storage.Hash) {
	was := l.held
	c.setHeld(l, sequence, tip) // counts nobody as further behind: all may be known to hold more
	for _, n := range c.nodes.slots {
		if n.slot != c.self {
			known := n.holding(l)
			n.behind -= (was - min(known, was)) - (sequence - min(known, sequence))
		}
	}
}

// split makes a log into branches: see Split.
func (c *Core) split(s *Split) {
	l, into := c.addLog(s.Kept.Log), c.addLog(s.Into.Log)
	if l == nil || into == nil || s.Kept.Sequence > l.held || s.Into.Sequence < into.held {
		c.drop(nil, DropGap)
		return
	}
	c.lowerHeld(l, s.Kept.Sequence, s.Kept.Tip)
	l.closed, into.closed, l.origin.forked = true, s.Into.Closed, true
	c.setHeld(into, s.Into.Sequence, s.Into.Tip)
	c.alarmOnce(Alarm{Kind: AlarmFork, Node: l.id.Node, Log: l.id,
		Text: fmt.Sprintf("it signed two commits for sequence %d; nothing more is asked of it", s.Kept.Sequence+1)})
}

func (c *Core) restoreHead(h Head) {
	l := c.addLog(h.Log)
	if l == nil {
		return
	}
	if h.Closed {
		l.closed, l.origin.forked = true, true
	}
	if h.Sequence <= l.held {
		return
	}
	c.setHeld(l, h.Sequence, h.Tip)
}

// holding is the highest sequence of l that n is known to hold.
func (n *node) holding(l *logState) uint64 {
	if l.number < len(n.holds) {
		return n.holds[l.number]
	}
	return 0
}

// setHolding notes what n is known to hold, also less than before.
func (c *Core) setHolding(n *node, l *logState, sequence uint64) {
	for len(n.holds) <= l.number {
		n.holds = append(n.holds, 0)
	}
	was := min(n.holds[l.number], l.held)
	n.holds[l.number] = sequence
	n.behind += was - min(sequence, l.held)
	if n.behind == 0 {
		n.lacks = 0
	} else if n.lacks == 0 {
		n.lacks = c.now
	}
	c.noteLead(n, l)
	if sequence >= l.held && l.held > 0 {
		c.noteWhole(l)
	}
}

// learnHolding takes the word of from (n itself or one who knows) that n holds l
// up to sequence, tells whoever told us of it by an event, and wants what is
// missing here.
func (c *Core) learnHolding(n *node, l *logState, sequence uint64, from *node) {
	if sequence > n.holding(l) {
		c.setHolding(n, l, sequence)
		if up := l.up; up != nil && up != n && up != from && c.events.commits[logPlace{l, sequence}] != nil {
			c.queueHolder(up, l, n)
		}
	}
	if n == from { // also if somebody else had said so before
		c.claimed(l, sequence, from)
	}
}

// claimed looks at what somebody says is there to be had.
func (c *Core) claimed(l *logState, sequence uint64, from *node) {
	if sequence <= l.held {
		return
	}
	if sequence > l.upFor {
		l.up, l.upFor = from, sequence
	}
	if l.id.Node == c.cfg.Self {
		c.alarmOnce(Alarm{Kind: AlarmLostSaves, Node: from.id, Log: l.id,
			Text: fmt.Sprintf("%s holds saves of this node that are missing here; they are pulled back", c.nameOf(from))})
	}
	c.want(l)
}

// twin raises the alarm that somebody else writes the log of this process: its
// signature is on a commit, or the event of one, that this process did not make.
// A neighbor's word alone is not enough.
func (c *Core) twin(l *logState) {
	c.alarmOnce(Alarm{Kind: AlarmTwin, Node: c.cfg.Self, Log: l.id, Text: "the log that this process writes grows elsewhere: another process uses this key"})
}

// holdsAll notes that n holds everything that is held here.
func (c *Core) holdsAll(n *node) {
	if n.slot == c.self {
		return
	}
	for _, l := range c.vector.logs {
		if l.held > n.holding(l) {
			c.setHolding(n, l, l.held)
		}
	}
}

// appended is the heart of a save's way out: see Core.Appended.
func (c *Core) appended(entries []Entry) {
	var grown []*logState
	for i := range entries {
		e := &entries[i]
		l := c.addLog(e.Log)
		if l == nil {
			continue
		}
		if e.Split != nil {
			c.split(e.Split)
		}
		if e.Sequence != l.held+1 {
			c.drop(nil, DropGap)
			c.alarmOnce(Alarm{Kind: AlarmState, Log: e.Log, Text: "a commit was appended out of order"})
			continue
		}
		source := c.pulls.source(l)
		if !e.Own && l == c.vector.own {
			c.twin(l)
		}
		c.setHeld(l, e.Sequence, e.Hash)
		c.vector.appended = c.now
		if e.Own {
			c.vector.own = l
		}
		c.pulls.progressed(c.now, l)
		l.source = source
		known := c.announce(l, e, source)
		if !known && !slices.Contains(grown, l) {
			grown = append(grown, l)
		}
		if known {
			grown = slices.DeleteFunc(grown, func(g *logState) bool { return g == l })
		}
		if l.up != nil {
			c.queueHolder(l.up, l, c.nodes.at(c.self))
		}
	}
	for _, l := range grown {
		c.hint(l)
	}
}

// heads writes the origins of the vector as one list, for comparing.
func (c *Core) originList() []prefixDigest {
	var list []prefixDigest
	for _, o := range c.vector.origins {
		if o.sum == 0 {
			continue
		}
		p := prefixDigest{prefixOf(o.id), digestOf(o.mix)}
		if n := len(list); n > 0 && list[n-1].id == p.id {
			for i := range p.sum {
				list[n-1].sum[i] ^= p.sum[i]
			}
			continue
		}
		list = append(list, p)
	}
	return list
}
