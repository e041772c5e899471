package mesh

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/erwik/erwik/cluster/mesh/planted"
	"github.com/erwik/erwik/events"
	"github.com/erwik/erwik/storage"
)

// node is what the core knows of one node. Nodes have slots, small numbers that
// stay for the life of the core.
type node struct {
	slot   int
	id     storage.NodeID
	record *events.Record // nil until known
	gone   *events.Event  // tombstone: it was removed from the pool
	shown  uint64         // incarnation of the newest record that local readers were shown

	out     []word // its side of its links, ascending by slot of the other end
	row     uint64 // hash of record, tombstone and out
	rowMix  uint64 // what row adds to the table's hash
	changed Time   // when row did last

	holds  []uint64 // by log: the highest sequence it is known to hold
	behind uint64   // commits held here that it is not known to hold
	lacks  Time     // since when behind is not 0

	leads   Time      // since when it is known to hold more of leadLog
	leadLog *logState // nil: it never was

	link *link // the last or present link to it, nil if there was none

	joined Time       // when it became a member in this life of the core, 0 if before
	owed   []owed     // what it is told once a way leads there: see oweLately
	taught events.Set // nodes of which it told before there was a link

	reachable   bool
	unreachable Time // since when
	seen        bool // was reachable in this life of the core
	slowly      bool // no quick path has led to it for a while
	quick       bool // the path to it has no slow link
	quickAt     Time // when that was so last
	dead        bool
	dial        dial
	blames      map[Drop]*blames
	words       int // on its links, taken in this second
	wordsUntil  Time
}

// word is what a node said last of its link to another.
type word struct {
	to    int
	r     *events.LinkRecord // nil: it was taken out
	hash  uint64             // linkHash of r
	heard outHeard
}

// outHeard says when a word on a link came, and from whom: nil for an own one.
type outHeard struct {
	at   Time
	from *node
}

// find is the place of n's word on its link to another node.
func (n *node) find(to int) (at int, found bool) {
	for at = max(to-1, 0); at <= to && at < len(n.out); at++ { // where it is if there is one to each
		if n.out[at].to == to {
			return at, true
		}
	}
	return slices.BinarySearchFunc(n.out, to, func(w word, to int) int { return w.to - to })
}

// outWords yields n's words on its links with the slots of the other ends, ascending.
func (n *node) outWords() iter.Seq2[int, *events.LinkRecord] {
	return func(yield func(int, *events.LinkRecord) bool) {
		for _, w := range n.out {
			if !yield(w.to, w.r) {
				return
			}
		}
	}
}

// heardOn says when and from whom n's word on its link to another node came.
func (n *node) heardOn(to int) outHeard {
	if at, found := n.find(to); found {
		return n.out[at].heard
	}
	return outHeard{}
}

// noteHeard keeps when and from whom a word came that setOut has put there.
func (c *Core) noteHeard(n *node, to int, from *node) {
	if at, found := n.find(to); found {
		n.out[at].heard = outHeard{c.now, from}
	}
}

// member reports whether n belongs to the pool.
func (n *node) member() bool { return n.record != nil && n.gone == nil }

// incarnation is that of its record, 0 without one.
func (n *node) incarnation() uint64 {
	if n.record == nil {
		return 0
	}
	return n.record.Incarnation
}

func (n *node) outTo(slot int) *events.LinkRecord {
	if at, found := n.find(slot); found {
		return n.out[at].r
	}
	return nil
}

// table is the routing table: the pool and everybody's links.
type table struct {
	slots    []*node
	byID     map[storage.NodeID]*node
	admitted map[storage.NodeID]bool
	banned   map[storage.NodeID]bool
	taughtBy map[storage.NodeID]storage.NodeID // who told of a node that is not a member yet

	order    []*node          // members by id
	ids      []storage.NodeID // of order
	pool     events.Set       // members by slot
	poolHash uint64
	pools    []oldPool // the last pools by hash, newest last

	sum         uint64 // hash of all rows
	changed     Time   // when sum last changed
	version     uint64 // rises with whatever the graph is made of
	counter     uint64 // of own link records
	limbo       limbo
	short       map[events.ShortID]*node // nil where two nodes have it
	own         events.Set               // own links that others are to be told of
	ownAt       Time                     // when
	ownRests    Time                     // or then, if until then no more links come up
	ownHeld     bool                     // some of them until what is being pulled has come
	ownSaid     Time                     // when any were told of last
	ownSpaced   time.Duration            // the time until the next telling, while one follows the other
	offered     uint64                   // sum when it was last named to some neighbors
	offeredAt   Time
	fresh       []freshRecord // to be passed on
	freshAt     Time          // when, at the latest
	held        []freshRecord // to be passed on once what is being pulled has come
	heldUntil   Time          // or then
	doubt       bool          // a link went down since it was last found that what is held can wait
	stones      int
	poolVersion uint64   // rises when more than single links may have changed
	edges       [][2]int // links that changed since the graph was made
}

// oldPool lets bitmaps be read that were written for an earlier pool.
type oldPool struct {
	hash  uint64
	slots []int // by place
	set   events.Set
}

const keepPools = 8

func (t *table) init() {
	t.byID = map[storage.NodeID]*node{}
	t.short = map[events.ShortID]*node{}
	t.admitted = map[storage.NodeID]bool{}
	t.banned = map[storage.NodeID]bool{}
	t.taughtBy = map[storage.NodeID]storage.NodeID{}
}

func (t *table) at(slot int) *node { return t.slots[slot] }

// addNode returns the node with that id, made if need be; nil if the table is full.
func (c *Core) addNode(id storage.NodeID) *node {
	if n := c.nodes.byID[id]; n != nil {
		return n
	}
	if len(c.nodes.slots) >= MaxNodes {
		c.alarmOnce(Alarm{Kind: AlarmFull, Text: "MaxNodes: the pool is full, new nodes are not taken in"})
		return nil
	}
	n := &node{slot: len(c.nodes.slots), id: id, unreachable: c.now, behind: c.vector.total}
	if n.behind > 0 {
		n.lacks = c.now
	}
	c.nodes.slots = append(c.nodes.slots, n)
	c.nodes.byID[id] = n
	if _, twice := c.nodes.short[events.ShortOf(id)]; twice {
		c.nodes.short[events.ShortOf(id)] = nil
	} else {
		c.nodes.short[events.ShortOf(id)] = n
	}
	c.nodes.version++
	return n
}

// poolChanged recomputes what depends on who is in the pool.
func (c *Core) poolChanged() {
	t := &c.nodes
	t.order, t.ids, t.pool = t.order[:0], nil, events.Set{}
	for _, n := range t.slots {
		if n.member() {
			t.order = append(t.order, n)
			t.pool.Add(n.slot)
		}
	}
	slices.SortFunc(t.order, func(a, b *node) int { return a.id.Compare(b.id) })
	old := oldPool{}
	for _, n := range t.order {
		t.ids = append(t.ids, n.id)
		old.slots = append(old.slots, n.slot)
	}
	t.poolHash = events.PoolHash(t.ids)
	old.hash, old.set = t.poolHash, t.pool
	t.pools = append(t.pools, old)
	if len(t.pools) > keepPools {
		t.pools = slices.Delete(t.pools, 0, 1)
	}
	for _, n := range t.slots { // what an earlier comparison brought may have been of nodes not known yet
		if n.link != nil {
			n.link.drilled.table = 0
		}
	}
	t.version++
	t.poolVersion++
}

func hash8(domain string, parts ...[]byte) uint64 {
	var buf [512]byte
	b := append(buf[:0], domain...)
	for _, p := range parts {
		b = append(b, p...)
	}
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:])
}

const rowDomain = "erwik row 1\x00"

func recordHash(r *events.Record) uint64 {
	if r == nil {
		return 0
	}
	var buf [512]byte
	return hash8(rowDomain, r.SignedBytes(buf[:0]))
}

func linkHash(r *events.LinkRecord) uint64 {
	if r == nil {
		return 0
	}
	var buf [256]byte
	return hash8(rowDomain, r.SignedBytes(buf[:0]))
}

func stoneHash(e *events.Event) uint64 {
	if e == nil {
		return 0
	}
	var buf [256]byte
	return hash8(rowDomain, e.SignedBytes(buf[:0]))
}

// rowChanged adds the difference of two hashes to a node's row and to the table's.
func (c *Core) rowChanged(n *node, old, now uint64) {
	n.row += now - old
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n.row)
	mix := uint64(0)
	if n.row != 0 {
		mix = hash8("erwik rows 1\x00", n.id[:], b[:])
	}
	c.nodes.sum += mix - n.rowMix
	n.rowMix = mix
	c.nodes.changed, n.changed = c.now, c.now
}

// setOut replaces n's record of its link to another node; nil takes it out.
func (c *Core) setOut(n *node, to int, r *events.LinkRecord) {
	old, now := c.putOut(n, to, r)
	c.rowChanged(n, old, now)
}

// putOut does that but for the hash of n's row, which it leaves to the caller: a
// set has many words of one row. It returns the hashes of what was there and is now.
func (c *Core) putOut(n *node, to int, r *events.LinkRecord) (old, now uint64) {
	before := c.edge(n, c.nodes.at(to))
	at, found := n.find(to)
	if !found {
		n.out = slices.Insert(n.out, at, word{to: to})
	}
	w := &n.out[at]
	old, now = w.hash, linkHash(r)
	w.r, w.hash = r, now
	if c.edge(n, c.nodes.at(to)) != before && planted.Now != planted.StaleTree {
		c.nodes.version++
		c.nodes.doubt = c.nodes.doubt || c.edge(n, c.nodes.at(to)) == 0
		c.nodes.edges = append(c.nodes.edges, [2]int{n.slot, to})
		if len(c.nodes.edges) > MaxNodes { // dearer than all anew
			c.nodes.edges = c.nodes.edges[:0]
			c.nodes.poolVersion++
		}
	}
	return old, now
}

// dropOldLinks takes out n's link records of earlier incarnations.
func (c *Core) dropOldLinks(n *node) {
	for to, r := range n.outWords() {
		if r != nil && r.Incarnation < n.incarnation() {
			c.setOut(n, to, nil)
		}
	}
}

// setRecord takes a newer record of n, which it makes a member of the pool.
func (c *Core) setRecord(n *node, r *events.Record) {
	was := n.member()
	if n.gone != nil {
		c.rowChanged(n, stoneHash(n.gone), 0)
		n.gone = nil
		c.nodes.stones--
		c.persist("gone/"+n.id.String(), nil)
	}
	old := n.record
	n.record = r
	c.nodes.limbo.known(n.id)
	c.rowChanged(n, recordHash(old), recordHash(r))
	c.nodes.version++
	c.nodes.poolVersion++
	c.dropOldLinks(n)
	c.persist("node/"+n.id.String(), r.Append(nil))
	if !was {
		n.unreachable, n.joined, n.seen = c.now, c.now, false
		c.oweLately(n)
		c.taught(c.nodes.byID[c.nodes.taughtBy[n.id]], n)
		delete(c.nodes.taughtBy, n.id)
		c.poolChanged()
	}
}

func (c *Core) persist(key string, value []byte) {
	c.out.Persist = append(c.out.Persist, Persist{Key: key, Value: value})
}

func (c *Core) drop(n *node, reason Drop) {
	key := DropKey{Reason: reason}
	if n != nil {
		key.Peer = n.id
	}
	c.drops[key]++
	if reason != DropFlap { // that is blamed on who signed it
		c.blame(n, reason)
	}
}

// alarmOnce raises an alarm unless the same one was raised before.
func (c *Core) alarmOnce(a Alarm) {
	key := fmt.Sprint(a.Kind, a.Node, a.Log, a.Text)
	if c.raised[key] || len(c.raised) >= MaxQueueItems {
		return
	}
	c.raised[key] = true
	c.out.Alarms = append(c.out.Alarms, a)
}

func (c *Core) alarm(a Alarm) { c.out.Alarms = append(c.out.Alarms, a) }
