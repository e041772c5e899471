package mesh

import (
	"slices"
	"time"

	"github.com/erwik/erwik/cluster/mesh/planted"
	"github.com/erwik/erwik/events"
)

// notice is one copy of an event that waits for its turn.
type notice struct {
	state *eventState
	open  events.Set
	pool  events.Set // as it was when open was decided
}

// recordKey names a record of the table: a node's, its tombstone (to = stone),
// or one end's word on a link.
type recordKey struct{ node, to int }

const (
	toSelf  = -1 // the node record itself
	toStone = -2 // the tombstone
)

// softKey names what a holders item says: node holds log so far.
type softKey struct {
	log  *logState
	node *node
}

// logsJob is an answer to an origins item that is not sent whole yet.
type logsJob struct {
	origin *origin
	next   uint64 // nonce from which to go on
}

// queue is what waits on one link.
type queue struct {
	first  bool // the opening summary and record
	reopen bool // the opening summary once more
	beat   bool // a summary that wants an answer
	poke   bool // a summary that says that much is new in the table
	answer bool // a summary
	ending bool // a summary once records and jobs are through

	commits map[*logState]*notice
	order   []*logState // of commits, oldest first
	news    []*notice   // events of nodes

	soft      []softKey
	softSet   map[softKey]bool
	softSince Time
	urgent    bool // soft does not wait for company
	hintAt    Time // while much is pulled, no hint before
	hinted    bool // soft has something that the neighbor lacks, and waits for nothing but its turn

	origins, rows bool // ask to compare
	records       []recordKey
	recordSet     map[recordKey]bool
	sent          map[recordKey]sentRecord // over a slow link, not to be repeated
	jobs          []logsJob

	turn bool // on slow links: others than commits go first
}

func (q *queue) init() {
	q.commits = map[*logState]*notice{}
	q.softSet = map[softKey]bool{}
	q.recordSet = map[recordKey]bool{}
	q.sent = map[recordKey]sentRecord{}
}

// sentRecord is what went over a slow link, by its hash, and when.
type sentRecord struct {
	hash uint64
	at   Time
}

// waits reports whether anything is queued.
func (q *queue) waits() bool {
	return q.first || q.reopen || q.beat || q.poke || q.answer || q.ending || len(q.order) > 0 || len(q.news) > 0 || len(q.soft) > 0 ||
		q.origins || q.rows || len(q.records) > 0 || len(q.jobs) > 0
}

// takeNotices empties the queue and returns its notices in order.
func (q *queue) takeNotices() []*notice {
	var out []*notice
	for _, l := range q.order {
		out = append(out, q.commits[l])
	}
	out = append(out, q.news...)
	*q = queue{}
	q.init()
	return out
}

// queueNotice puts a copy on a link; of one log only the newest waits.
func (c *Core) queueNotice(l *link, s *eventState, open events.Set) {
	q := &l.queue
	c.touch(l)
	if s.log == nil {
		for _, waiting := range q.news {
			if waiting.state == s {
				waiting.open.AddAll(&open)
				waiting.pool.KeepAll(&c.nodes.pool)
				return
			}
		}
		if len(q.news) < MaxQueueItems {
			q.news = append(q.news, &notice{s, open, c.nodes.pool})
		}
		return
	}
	old := q.commits[s.log]
	if old == nil {
		if len(q.order) >= MaxQueueLogs && planted.Now != planted.QueueWithoutCap {
			delete(q.commits, q.order[0])
			q.order = slices.Delete(q.order, 0, 1)
			q.beat = true
		}
		q.commits[s.log] = &notice{s, open, c.nodes.pool}
		q.order = append(q.order, s.log)
		return
	}
	newer, older := s, old.state
	if older.event.Commit.Sequence > newer.event.Commit.Sequence {
		newer, older = older, newer
	}
	if newer != older {
		c.count.Superseded++
	}
	if planted.Now == planted.KeepUnion {
		open.KeepAll(&old.open) // names on either list stay excluded
	} else {
		open.AddAll(&old.open) // only names on both lists stay excluded
	}
	newer.passed.AddAll(&open)
	old.pool.KeepAll(&c.nodes.pool)
	old.state, old.open = newer, open
}

// queueHolder notes for a neighbor that n holds log as far as is known by then.
func (c *Core) queueHolder(to *node, log *logState, n *node) {
	if to.link == nil || !to.link.usable() {
		return
	}
	q := &to.link.queue
	key := softKey{log, n}
	if q.softSet[key] || len(q.soft) >= MaxQueueItems {
		return
	}
	if len(q.soft) == 0 {
		q.softSince = c.now
	}
	q.soft = append(q.soft, key)
	q.softSet[key] = true
	c.touch(to.link)
}

// hint tells those below us that we hold more of a log, where no event was heard:
// below us in the tree from its owner, which is the same for all who have the
// same table, whoever they pulled from, and in the tree from our source, which
// leads to the owner too, if what was found is of its own.
func (c *Core) hint(l *logState) {
	if planted.Now == planted.NoHint {
		return
	}
	root := c.self
	if l.source != nil {
		root = l.source.slot
	}
	below := c.below(root)
	if owner := c.nodes.byID[l.id.Node]; owner != nil && owner.member() && owner.reachable {
		also := c.below(owner.slot)
		below.AddAll(&also)
	}
	for v := range below.All() {
		n := c.nodes.at(v)
		if v != root && n.holding(l) < l.held && n.link != nil && n.link.usable() {
			c.queueHolder(n, l, c.nodes.at(c.self))
			n.link.queue.hinted = true
		}
	}
}

// queueRecord puts a record of the table on a link; what is sent is the record
// as it is by then.
func (c *Core) queueRecord(l *link, key recordKey) {
	q := &l.queue
	if q.recordSet[key] || len(q.records) >= MaxQueueItems {
		return
	}
	q.records = append(q.records, key)
	q.recordSet[key] = true
	c.touch(l)
}

// freshRecord is a changed record that those below us are to be told of.
type freshRecord struct {
	key      recordKey
	from     *node // nil: it is our own
	costOnly bool
	shorter  bool // see onlyShorter
}

// tellRecord passes a changed record on (see heirs): soon, with others that
// change meanwhile, because each change of the table makes all trees anew.
// A mere change of cost is not pressed on slow links: comparing tables brings it
// there in the end. While much is pulled, what others say that opens or closes no
// way is held back: most of those below us will hear it from them.
func (c *Core) tellRecord(key recordKey, from *node, costOnly bool) {
	t := &c.nodes
	f := freshRecord{key: key, from: from, costOnly: costOnly, shorter: c.onlyShorter(key)}
	if from != nil && (f.shorter || c.bothDown(key)) && c.catchingUp() {
		if len(t.held) == 0 {
			t.heldUntil = c.now.Add(heldFor)
		}
		if len(t.held) < MaxQueueItems {
			t.held = append(t.held, f)
		}
		return
	}
	if len(t.fresh) >= MaxQueueItems {
		return // the table's digest heals it
	}
	t.fresh = append(t.fresh, f)
	at := c.now
	if from != nil && f.shorter {
		at = c.now.Add(max(recordsEvery, time.Duration(c.degree())*recordsEach))
	} else if from != nil && c.isUp(key) {
		at = c.now.Add(recordsEvery)
	}
	if len(t.fresh) == 1 || at < t.freshAt {
		t.freshAt = at
	}
}

// degree is the number of own links that work.
func (c *Core) degree() (links int) {
	for _, n := range c.nodes.order {
		if n.link != nil && n.link.usable() {
			links++
		}
	}
	return links
}

// isUp reports whether key names a word that a link is up.
func (c *Core) isUp(key recordKey) bool {
	if key.to < 0 {
		return false
	}
	r := c.nodes.at(key.node).outTo(key.to)
	return r != nil && r.Up
}

// onlyShorter reports whether key names a word that a link is up that joins nodes
// to which there is a way already: it only makes ways shorter. It waits for
// company: when many come up, as in a mesh that forms, most of those it would be
// passed on to will have heard of it by links of their own.
func (c *Core) onlyShorter(key recordKey) bool {
	if !c.isUp(key) {
		return false
	}
	a, b := c.nodes.at(key.node), c.nodes.at(key.to)
	return (a.reachable || a.slot == c.self) && (b.reachable || b.slot == c.self)
}

// bothDown reports whether key names a word that a link is down of which the
// other end does not say that it is up.
func (c *Core) bothDown(key recordKey) bool {
	if key.to < 0 || c.isUp(key) {
		return false
	}
	other := c.nodes.at(key.to).outTo(key.node)
	return other == nil || !other.Up
}

// heirs are the neighbors that a record goes on to: of an own one all; of
// another node's those below us in its tree, but for those
// to which that node has a link that is not very slow: it tells them itself. So a change in a
// full mesh is one message to each node, however much the tables disagree by
// what is on its way.
func (c *Core) heirs(f freshRecord) events.Set {
	if f.from == nil {
		return c.nodes.pool
	}
	root := f.key.node
	if n := c.nodes.at(root); !n.reachable || !n.member() {
		root = f.from.slot
	}
	below := c.below(root)
	g := &c.graphNow().graph
	slow := events.StepOf(verySlow).Micros() // a busy machine has many links that look slow
	if f.costOnly {
		slow = events.StepOf(slowFrom).Micros() // over those, nobody says what they cost
	}
	for v := range below.All() {
		if cost := g.Cost(f.key.node, v); cost != 0 && cost < slow && f.key.to != toSelf {
			below.Remove(v)
		}
	}
	return below
}

// likewise reports whether f has the same heirs as o.
func (f freshRecord) likewise(o freshRecord) bool {
	return f.key.node == o.key.node && (f.key.to == toSelf) == (o.key.to == toSelf) && f.from == o.from && f.costOnly == o.costOnly
}

// tickRecords passes on the records whose time has come.
func (c *Core) tickRecords() {
	t := &c.nodes
	c.releaseHeld()
	if len(t.fresh) == 0 || c.now < t.freshAt {
		return
	}
	others := make(map[*node][]recordKey)
	var last freshRecord
	var heirs events.Set
	for i, f := range t.fresh {
		if i == 0 || !f.likewise(last) { // the words of one set follow one another
			heirs, last = c.heirs(f), f
		}
		for v := range heirs.All() {
			n := t.at(v)
			switch {
			case n == f.from || n.link == nil || !n.link.usable() || f.costOnly && n.link.slow:
			case f.from == nil:
				c.queueRecord(n.link, f.key)
			case f.shorter && !n.link.slow && c.now.Sub(n.link.since) < newcomerFor:
				// what comes up now will bring it, or comparing when all is calm
			default:
				others[n] = append(others[n], f.key)
			}
		}
	}
	for _, n := range t.order {
		c.passOn(n, others[n])
	}
	clear(t.fresh)
	t.fresh = t.fresh[:0]
}

// releaseHeld has what was held back passed on once what there was to pull is
// here, or has taken long: of each word the newest.
func (c *Core) releaseHeld() {
	t := &c.nodes
	if len(t.held) == 0 || c.catchingUp() && c.now < t.heldUntil {
		return
	}
	newest := make(map[recordKey]int, len(t.held))
	for i, f := range t.held {
		newest[f.key] = i
	}
	for i, f := range t.held {
		if newest[f.key] == i {
			t.fresh = append(t.fresh, f)
		}
	}
	t.freshAt = c.now
	clear(t.held)
	t.held = t.held[:0]
}

// passOn tells a neighbor of records of others: a few at once. Of many, as after
// two halves of a mesh have met, it is only told that there are some, and
// compares tables: others will tell it of the same.
func (c *Core) passOn(n *node, keys []recordKey) {
	said := make(map[*events.LinkSet]bool)
	alone := 0
	for _, k := range keys {
		if set := c.setOf(k); set != nil {
			said[set] = true
		} else {
			alone++
		}
	}
	if alone+len(said) > pokeFrom && !n.link.slow {
		n.link.queue.poke = true
		c.touch(n.link)
		return
	}
	for _, k := range keys {
		c.queueRecord(n.link, k)
	}
}

// touch makes sure that the link is looked at before the input ends.
func (c *Core) touch(l *link) { c.dirty.Add(l.node.slot) }
