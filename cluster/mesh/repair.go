package mesh

import (
	"slices"
	"strings"
	"time"

	"github.com/erwik/erwik/events"
	"github.com/erwik/erwik/storage"
)

// session is one comparison with a neighbor that we asked for.
type session struct {
	with  *node
	until Time
	since Time
}

// holderBits is a bitmap over the sorted pool of those known to hold all that is
// held here; this node is among them.
func (c *Core) holderBits() []byte {
	bits := make([]byte, (len(c.nodes.order)+7)/8)
	for i, n := range c.nodes.order {
		if n.slot == c.self || n.behind == 0 {
			bits[i/8] |= 0x80 >> (i % 8)
		}
	}
	return bits
}

// receiveSummary compares what a neighbor has with what is here.
func (c *Core) receiveSummary(n *node, s *summaryItem) {
	l := n.link
	l.named = named{s.pool, s.table, s.vector}
	for i := range c.nodes.pools {
		if c.nodes.pools[i].hash == s.pool {
			l.knows = c.nodes.pools[i].set
		}
	}
	if s.flags&summaryAnswer != 0 {
		l.queue.answer = true
		l.beats++
		l.beatAt = c.now.Add(c.beat(l) * 5 / 4)
		c.touch(l)
	}
	if c.sessions.vector.with == n && c.now > c.sessions.vector.since {
		c.sessions.vector = session{}
	}
	if c.sessions.table.with == n && c.now > c.sessions.table.since {
		c.sessions.table = session{}
	}
	c.shareAll()
	opening := s.flags&summaryFirst != 0
	c.compareVector(l, s, opening)
	c.compareTable(l, s, opening && l.newcomer(c.now))
}

func (c *Core) compareVector(l *link, s *summaryItem, opening bool) {
	if s.vector == c.vector.sum {
		l.vectorDiffers, l.vectorOpening, l.vectorLater, l.skips = false, false, 0, 0
		c.holdsAll(l.node)
		if s.pool == c.nodes.poolHash && len(s.holders) == (len(c.nodes.order)+7)/8 {
			for i, n := range c.nodes.order {
				if s.holders[i/8]&(0x80>>(i%8)) != 0 {
					c.holdsAll(n)
				}
			}
		}
		return
	}
	if opening {
		l.vectorOpening = l.vectorDiffers && l.vectorOpening || l.apart || l.newcomer(c.now)
		c.differs(l, &l.vectorDiffers)
		return
	}
	if c.cfg.noRepair && l.skips == 0 || c.now < l.compareAt || l.drilled.vector == s.vector && l.drilledOwn.vector == c.vector.sum {
		return
	}
	if c.arriving() && l.skips < maxSkips {
		if !l.vectorDiffers { // else it has its turn
			c.compareLater(l)
		}
		return
	}
	l.skips, l.vectorOpening = 0, true
	c.differs(l, &l.vectorDiffers)
}

// arriving reports whether commits are on their way here, or were a moment ago: a
// differing vector may mean just that. After many came at once the moment is short:
// what was missed of them is missed for long, and few others come.
func (c *Core) arriving() bool {
	quiet := time.Duration(quietFor)
	if c.catchingUp() {
		quiet = quietAfter
	}
	return len(c.pulls.open) > 0 || c.now.Sub(c.vector.appended) < quiet
}

// compareLater leaves a comparison until commits have come.
func (c *Core) compareLater(l *link) {
	l.vectorDiffers = false
	l.skips++
	if !l.slow && l.vectorLater == 0 {
		l.vectorLater = c.now
	}
}

// tickLater asks the neighbors on links where a comparison was left for later
// whether vectors still differ: when no more commits come, or when that has gone on
// for long; one of them in sessionEach if many come, else one after the other: most
// will answer that they do not, and all nodes may be done at once.
func (c *Core) tickLater(l *link) {
	if l.vectorLater == 0 || c.arriving() && c.now.Sub(l.vectorLater) < laterMost {
		return
	}
	if c.arriving() {
		if c.catchingUp() && c.now < c.sessions.laterAt {
			return
		}
		c.sessions.laterAt = c.now.Add(sessionEach)
		l.skips = maxSkips
	} else {
		if c.now < c.sessions.calmAt {
			return
		}
		wait := time.Duration(len(c.nodes.order)) * laterEach
		c.sessions.calmAt = c.now.Add(wait/2 + c.jitter(wait))
	}
	l.vectorLater = 0
	l.beatAt = min(l.beatAt, c.now)
}

// vectorDue reports whether to compare vectors over l now. After a cut many links
// open at once, and most neighbors on them hold the same: while what one
// comparison has found is being pulled, one more follows in sessionEach if the
// link may bring what no other does, and else none.
func (c *Core) vectorDue(l *link) bool {
	switch {
	case !l.vectorDiffers:
		return false
	case l.vectorOpening:
		return len(c.pulls.open) == 0 || c.now >= c.sessions.vectorAt
	case c.arriving() && !l.slow: // a slow one has waited long
		c.compareLater(l)
		return false
	}
	return true
}

func (c *Core) compareTable(l *link, s *summaryItem, opening bool) {
	if s.table == c.nodes.sum {
		l.tableDiffers, l.tableAsked = false, false
		return
	}
	if l.drilled.table == s.table && l.drilledOwn.table == c.nodes.sum && c.now.Sub(l.drilledAt) < drilledFor {
		return
	}
	asked := l.tableAsked
	l.tableAsked = false
	if poked := s.flags&summaryTable != 0 && c.now >= l.pokeAt; poked {
		l.pokeAt = c.now.Add(4 * time.Duration(len(c.nodes.order)) * spaceEach)
		opening = true
	}
	if !opening && (c.now < l.tableAt && !asked || c.now.Sub(c.nodes.changed) < tableQuiet) && l.tableSkips < maxSkips {
		l.tableLater = true // the change may be on its way
		l.tableSkips++      // but a table that never rests is compared in the end
		return
	}
	l.tableSkips = 0
	l.tableOpening = l.tableDiffers && l.tableOpening || opening || asked || c.now.Sub(c.nodes.changed) > tableSure
	c.differs(l, &l.tableDiffers)
}

func (c *Core) differs(l *link, what *bool) {
	if !l.vectorDiffers && !l.tableDiffers {
		l.differs = c.now
	}
	*what = true
	c.sessions.due = true
}

// sessions are the comparisons under way: one of each kind.
type sessions struct {
	vector, table session
	due           bool
	vectorAt      Time // while commits are being pulled, no vector is compared before
	tableAt       Time // no table is compared before
	openingAt     Time // nor where it is pressing
	metAt         Time // when a way to a node was found again, after a while
	laterAt       Time // while many commits come, no neighbor is asked before whether its vector still differs
	calmAt        Time // nor when no more come
}

// compare starts comparisons, on the fastest link first; over a slow link only
// if no healthy one is left to learn from.
func (c *Core) compare() {
	if !c.sessions.due {
		return
	}
	c.sessions.due = false
	if c.sessions.vector.with == nil {
		if l := c.pickLink(c.vectorDue); l != nil {
			c.sessions.vectorAt = c.now.Add(sessionEach)
			l.vectorDiffers, l.vectorOpening = false, false
			l.drilled.vector, l.drilledOwn.vector = l.named.vector, c.vector.sum
			l.queue.origins = true
			l.compareAt = c.now.Add(c.beat(l) / 2)
			c.sessions.vector = c.newSession(l)
			c.touch(l)
		}
	}
	if c.sessions.table.with == nil {
		// In a large mesh tables differ most of the time, by what is on its way.
		s := &c.sessions
		if l := c.pickLink(func(l *link) bool {
			pressing := l.tableOpening && c.now >= s.openingAt
			if l.tableOpening && s.metAt != 0 && c.now.Sub(s.metAt) < newcomerFor {
				return l.tableDiffers && pressing // what halves have to tell when they meet, many tell
			}
			return l.tableDiffers && (c.now >= s.tableAt || pressing)
		}); l != nil {
			s.openingAt = c.now.Add(time.Duration(len(c.nodes.order)) * spaceEach)
			if c.catchingUp() { // that is more urgent
				s.openingAt = c.now.Add(2 * time.Duration(len(c.nodes.order)) * spaceEach)
			}
			if !l.tableOpening { // what is pressing does not hold up what is not
				s.tableAt = c.now.Add(time.Duration(len(c.nodes.order)) * tellEach)
			}
			l.tableDiffers, l.tableOpening = false, false
			l.drilled.table, l.drilledOwn.table, l.drilledAt = l.named.table, c.nodes.sum, c.now
			l.queue.rows = true
			l.tableAt = c.now.Add(c.beat(l) / 2)
			c.sessions.table = c.newSession(l)
			c.touch(l)
		}
	}
}

func (c *Core) newSession(l *link) session {
	limit := sessionFor
	if l.slow {
		limit = sessionSlow
	}
	return session{with: l.node, until: c.now.Add(limit), since: c.now}
}

// pickLink is the fastest usable link that needs comparing.
func (c *Core) pickLink(needs func(*link) bool) *link {
	var best *link
	healthy := false
	for _, n := range c.nodes.order {
		l := n.link
		if l == nil || !l.usable() {
			continue
		}
		healthy = healthy || !l.slow
		if needs(l) && (best == nil || l.rtt() < best.rtt()) {
			best = l
		}
	}
	if best != nil && best.slow && healthy && c.now.Sub(best.differs) < heartbeatSlow {
		return nil
	}
	return best
}

// closeSessions forgets comparisons with a neighbor that is gone.
func (c *Core) closeSessions(n *node) {
	if c.sessions.vector.with == n {
		c.sessions.vector = session{}
	}
	if c.sessions.table.with == n {
		c.sessions.table = session{}
	}
	c.sessions.due = true
}

// tickSessions ends comparisons that nobody answered and starts others.
func (c *Core) tickSessions() {
	s := &c.sessions
	if s.vector.with != nil && c.now > s.vector.until {
		s.vector = session{}
	}
	if s.table.with != nil && c.now > s.table.until {
		s.table = session{}
	}
	s.due = true
}

// comparePrefixes walks own rows (ascending by prefix) beside a neighbor's list
// and calls differ for each own row that the neighbor lacks or has otherwise.
func comparePrefixes[T any](own []T, key func(T) (prefix, digest), list []prefixDigest, differ func(T)) {
	for _, row := range own {
		id, sum := key(row)
		at, found := slices.BinarySearchFunc(list, id, func(p prefixDigest, id prefix) int {
			return strings.Compare(string(p.id[:]), string(id[:]))
		})
		if !found || list[at].sum != sum {
			differ(row)
		}
	}
}

// receiveOrigins answers with our heads where they differ.
func (c *Core) receiveOrigins(n *node, it *originsItem) {
	q := &n.link.queue
	comparePrefixes(c.vector.origins, func(o *origin) (prefix, digest) { return prefixOf(o.id), digestOf(o.mix) },
		it.list, func(o *origin) {
			queued := slices.ContainsFunc(q.jobs, func(j logsJob) bool { return j.origin == o && j.next == 0 })
			if o.sum != 0 && !queued && len(q.jobs) < MaxQueueItems {
				q.jobs = append(q.jobs, logsJob{origin: o})
			}
		})
	q.ending = true
	c.touch(n.link)
}

// receiveLogs learns what a neighbor holds.
func (c *Core) receiveLogs(n *node, it *logsItem) {
	if !c.taken(it.origin) {
		c.wait(waiting{from: n, on: it.origin, holds: it})
		return
	}
	for i := range it.heads {
		h := &it.heads[i]
		l := c.addLog(storage.LogID{Node: it.origin, Nonce: h.nonce})
		if l == nil {
			c.drop(n, DropFull)
			return
		}
		if h.sequence == l.held && h.tip != [4]byte(l.tip[:4]) {
			c.fork(n, l, &events.Event{Commit: events.Commit{Sequence: h.sequence}})
			continue
		}
		c.learnHolding(n, l, h.sequence, n)
	}
}

// receiveHolders learns who holds a log.
func (c *Core) receiveHolders(n *node, it *holdersItem) {
	if !c.taken(it.log.Node) {
		c.wait(waiting{from: n, on: it.log.Node, holds: it})
		return
	}
	l := c.addLog(it.log)
	if l == nil {
		c.drop(n, DropFull)
		return
	}
	for _, h := range it.list {
		if who := c.nodeByPrefix(h.id); who != nil && who.slot != c.self {
			c.learnHolding(who, l, h.sequence, n)
		}
	}
}

// rowList writes the table's rows as one list, for comparing.
func (c *Core) rowList() []rowDigest {
	var list []rowDigest
	for _, n := range c.rows() {
		row := rowDigest{prefixDigest{prefixOf(n.id), digestOf(n.rowMix)}, uint16(n.incarnation()), n.lastWord()}
		if k := len(list); k > 0 && list[k-1].id == row.id {
			for i := range row.sum {
				list[k-1].sum[i] ^= row.sum[i]
			}
			list[k-1].counter = 0
			continue
		}
		list = append(list, row)
	}
	return list
}

// lastWord is the highest counter of n's link records in its incarnation.
func (n *node) lastWord() (counter uint64) {
	for _, r := range n.outWords() {
		if r != nil && r.Incarnation == n.incarnation() {
			counter = max(counter, r.Counter)
		}
	}
	return counter
}

// rows are the nodes with something in the table, by id.
func (c *Core) rows() []*node {
	var rows []*node
	for _, n := range c.nodes.slots {
		if n.row != 0 {
			rows = append(rows, n)
		}
	}
	slices.SortFunc(rows, func(a, b *node) int { return a.id.Compare(b.id) })
	return rows
}

// receiveRows answers with our rows where they differ: with what is newer, if
// the list says so, else with all.
func (c *Core) receiveRows(n *node, it *rowsItem) {
	l := n.link
	answer := func(key recordKey) {
		sent, ok := l.queue.sent[key]
		if !ok || c.now.Sub(sent.at) > sentFor || sent.hash != c.recordHashOf(key) {
			c.queueRecord(l, key)
		}
	}
	settled := time.Duration(len(c.nodes.order)) * settleEach
	if l.newcomer(c.now) || l.slow || l.poked != 0 && c.now.Sub(l.poked) < newcomerFor {
		settled = 0
	}
	type part struct {
		row   *node
		after uint64 // of its link records, those with a higher counter
	}
	var changed []part
	for _, m := range c.rows() {
		id, sum, after := prefixOf(m.id), digestOf(m.rowMix), uint64(0)
		at, found := slices.BinarySearchFunc(it.list, id, func(d rowDigest, id prefix) int {
			return strings.Compare(string(d.id[:]), string(id[:]))
		})
		if c.now.Sub(m.changed) < settled { // on its way, but for news of a node from before the link
			if !found && m.member() {
				answer(recordKey{m.slot, toSelf})
			}
			continue
		}
		if found {
			theirs := &it.list[at]
			if theirs.sum == sum {
				continue
			}
			if own := m.lastWord(); theirs.incarnation == uint16(m.incarnation()) && theirs.counter != own && m.gone == nil {
				after = theirs.counter
			}
		}
		changed = append(changed, part{m, after})
	}
	for _, p := range changed { // all nodes before all links, which need them
		if p.row.gone != nil {
			answer(recordKey{p.row.slot, toStone})
		} else if p.row.record != nil && p.after == 0 {
			answer(recordKey{p.row.slot, toSelf})
		}
	}
	for _, p := range changed {
		for to, r := range p.row.outWords() {
			if r != nil && r.Counter > p.after {
				answer(recordKey{p.row.slot, to})
			}
		}
	}
	l.queue.ending = true
	c.touch(l)
}

// recordHashOf is the hash of the record that key names.
func (c *Core) recordHashOf(key recordKey) uint64 {
	n := c.nodes.at(key.node)
	switch key.to {
	case toStone:
		return stoneHash(n.gone)
	case toSelf:
		return recordHash(n.record)
	}
	return linkHash(n.outTo(key.to))
}

// recordItem is the record that key names as it is now, nil if there is none.
func (c *Core) recordItem(key recordKey) item {
	n := c.nodes.at(key.node)
	switch {
	case key.to == toStone:
		if n.gone != nil && !c.nodes.banned[n.id] {
			return &eventItem{event: *n.gone, exclude: events.Exclusion{Form: events.Everybody}}
		}
	case key.to == toSelf:
		if n.record != nil && n.gone == nil {
			return &nodeItem{n.record}
		}
	default:
		if r := n.outTo(key.to); r != nil && r.In != nil {
			return &linksItem{r.In}
		} else if r != nil {
			return &linkItem{r}
		}
	}
	return nil
}
