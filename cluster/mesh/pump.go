package mesh

import (
	"slices"
	"time"

	"github.com/erwik/erwik/events"
	"github.com/erwik/erwik/storage"
)

// pump sends what a link may send now: one frame that wants an acknowledgement
// if none is in flight, else what needs none.
func (c *Core) pump(l *link) {
	if !l.up {
		return
	}
	b := builder{core: c, link: l, limit: HealthyFrame}
	if l.slow || !l.acked {
		b.limit = SlowFrame
	}
	if l.flight == nil {
		b.fill()
		if len(b.body) > 0 && b.firm {
			l.number++
			f := &flight{number: l.number, first: c.now, sent: c.now, body: b.body, notices: b.notices}
			l.flight = f
			c.send(l, f.number, b.body)
			carry := b.carry()
			if carry.Upto != 0 {
				out := &c.out.Send[len(c.out.Send)-1]
				out.Carry, out.Carried, f.carries = carry, b.notices[0].state.event.Commit.Hash, true
			}
			return
		}
	}
	if len(b.body) == 0 {
		b.loose()
	}
	if len(b.body) == 0 && c.now < l.ackHold {
		return // what the frame carried is here soon; one answer says both
	}
	if l.ackDue != 0 || len(b.body) > 0 {
		c.send(l, 0, b.body)
	}
}

// send hands out one frame.
func (c *Core) send(l *link, number uint64, body []byte) {
	out := make([]byte, 0, 12+len(body))
	out = appendFrameHead(out, number, l.ackDue)
	out = append(out, body...)
	l.ackDue, l.ackHold = 0, 0
	c.count.FramesSent++
	c.count.BytesSent += uint64(len(out))
	c.out.Send = append(c.out.Send, Send{Peer: l.node.id, Frame: out})
}

// resend sends an unacknowledged frame once more, under a new number.
func (c *Core) resend(l *link) {
	f := l.flight
	l.number++
	f.earlier, f.number, f.sent = f.number, l.number, c.now
	c.count.Resent++
	c.send(l, f.number, f.body)
}

// builder fills one frame.
type builder struct {
	core    *Core
	link    *link
	limit   int
	body    []byte
	notices []*notice
	firm    bool // something in it must be acknowledged
	full    bool
}

// add appends an item unless the frame is full; the first one always fits.
func (b *builder) add(it item) bool {
	size := len(b.body)
	b.body = it.append(b.body)
	if size > 0 && len(b.body) > b.limit {
		b.body = b.body[:size]
		b.full = true
		return false
	}
	return true
}

// carry names the commit that may go along with the frame: see Send. A commit
// that goes over several links goes once to each node, as it is asked for or
// sent along, not both.
func (b *builder) carry() Range {
	l := b.link
	if l.slow || !l.acked || len(b.notices) == 0 || b.body[0] != kindEvent {
		return Range{}
	}
	s := b.notices[0].state
	if s.log == nil {
		return Range{}
	}
	at := s.event.Commit.Sequence
	last := l.carried
	l.carried = Range{Log: s.log.id, After: at}
	if l.node.holding(s.log) != at-1 && last != (Range{Log: s.log.id, After: at - 1}) {
		return Range{}
	}
	return Range{Log: s.log.id, After: at - 1, Upto: at}
}

// fill takes everything that may go, in the order of its worth.
func (b *builder) fill() {
	q := &b.link.queue
	if q.first {
		b.summary(summaryFirst)
		q.first = false
		if r := b.core.nodes.at(b.core.self).record; r != nil {
			b.body = (&nodeItem{r}).append(b.body)
		}
		b.firm = true
		return
	}
	if !b.link.usable() {
		return
	}
	if q.reopen || q.beat || q.poke {
		flags := byte(0)
		if q.reopen {
			flags = summaryFirst
		}
		if q.poke {
			flags |= summaryTable
			b.link.poked = b.core.now
		}
		if q.beat {
			flags |= summaryAnswer
		}
		b.summary(flags)
		q.reopen, q.beat, q.poke = false, false, false
		b.firm = true
	}
	if b.link.slow && q.turn {
		b.fillRest()
		b.fillCommits()
	} else {
		b.fillCommits()
		b.fillRest()
	}
	q.turn = !q.turn
	if q.hinted && len(q.soft) > 0 {
		b.hint()
	}
	if len(b.body) > 0 {
		b.loose()
	}
}

// fillCommits takes commit notices, oldest log first.
func (b *builder) fillCommits() {
	l, q := b.link, &b.link.queue
	for len(q.order) > 0 && !b.full {
		if l.slow && l.gate.log != nil && b.core.now < l.gate.until && l.node.holding(l.gate.log) < l.gate.sequence {
			return
		}
		log := q.order[0]
		n := q.commits[log]
		if b.notice(n) && l.slow {
			l.gate = gate{log, n.state.event.Commit.Sequence, b.core.now.Add(max(gateFor, 4*l.srtt))}
		}
		if !b.full {
			q.order = q.order[1:]
			delete(q.commits, log)
		}
	}
}

// notice adds one copy, unless nobody needs it any more. It reports whether it did.
func (b *builder) notice(n *notice) bool {
	c, s, to := b.core, n.state, b.link.node
	open := c.nodes.pool // those who came to the pool since are open, too
	open.RemoveAll(&n.pool)
	open.Remove(to.slot)
	open.AddAll(&n.open)
	open.RemoveAll(&s.has)
	open.KeepAll(&c.nodes.pool)
	if s.log != nil {
		for v := range open.All() {
			if c.nodes.at(v).holding(s.log) >= s.event.Commit.Sequence {
				open.Remove(v)
			}
		}
		if open.Empty() && to.holding(s.log) >= s.event.Commit.Sequence {
			return false
		}
	}
	c.sign(s)
	it := eventItem{event: s.event, exclude: c.exclusion(to, s, open)}
	if !b.add(&it) {
		return false
	}
	b.firm = true
	b.notices = append(b.notices, &notice{s, open, c.nodes.pool})
	if s.log != nil {
		c.count.NoticesSent++
	}
	return true
}

// exclusion writes a list that leaves open exactly those names.
func (c *Core) exclusion(to *node, s *eventState, open events.Set) events.Exclusion {
	if open.Empty() {
		return events.Exclusion{Form: events.Everybody}
	}
	ids := make([]storage.NodeID, 0, open.Len())
	for v := range open.All() {
		ids = append(ids, c.nodes.at(v).id)
	}
	if to.link.named.pool == c.nodes.poolHash {
		return events.ExcludeBut(ids, s.sum, c.nodes.ids, c.nodes.poolHash)
	}
	return events.ExcludeBut(ids, s.sum, nil, 0)
}

// fillRest takes events of nodes, questions, records and answers.
func (b *builder) fillRest() {
	q := &b.link.queue
	for len(q.news) > 0 && !b.full {
		b.notice(q.news[0])
		if !b.full {
			q.news = q.news[1:]
		}
	}
	if q.origins && !b.full && b.add(&originsItem{b.core.originList()}) {
		q.origins, b.firm = false, true
	}
	for len(q.jobs) > 0 && !b.full {
		b.logs(&q.jobs[0])
		if !b.full {
			q.jobs = q.jobs[1:]
		}
	}
	if q.rows && !b.full && b.addRows() {
		q.rows, b.firm = false, true
	}
	for len(q.records) > 0 && !b.full {
		b.record(q.records[0])
	}
	if q.ending && !b.full && len(q.records) == 0 && len(q.jobs) == 0 {
		b.summary(0)
		q.ending = false
	}
}

// addRows adds the table's rows. In a large mesh they are longer than a frame
// should be; on a healthy link they go all the same, so that nothing waits behind them for ever.
func (b *builder) addRows() bool {
	it := &rowsItem{b.core.rowList()}
	if b.link.slow {
		return b.add(it)
	}
	if whole := it.append(b.body); len(whole) <= MaxFrame-64 {
		b.body = whole
		return true
	}
	return b.add(it)
}

// record adds a record of the table and takes it off the queue if it fits.
func (b *builder) record(key recordKey) {
	q := &b.link.queue
	if it := b.core.recordItem(key); it != nil {
		if !b.add(it) {
			return
		}
		b.firm = b.firm || b.link.slow || key.node == b.core.self && !b.core.allUp(key) || !b.core.catchingUp()
		if b.link.slow && len(q.sent) < MaxQueueItems {
			q.sent[key] = sentRecord{b.core.recordHashOf(key), b.core.now}
		}
	}
	q.records = q.records[1:]
	delete(q.recordSet, key)
	if set := b.core.setOf(key); set != nil && len(set.Links) > 1 { // it says the others, too
		q.records = slices.DeleteFunc(q.records, func(k recordKey) bool {
			if k.node != key.node || b.core.setOf(k) != set {
				return false
			}
			delete(q.recordSet, k)
			return true
		})
		for to, r := range b.core.nodes.at(key.node).outWords() {
			if k := (recordKey{key.node, to}); b.link.slow && r != nil && r.In == set && len(q.sent) < MaxQueueItems {
				q.sent[k] = sentRecord{b.core.recordHashOf(k), b.core.now}
			}
		}
	}
}

// allUp reports whether what is told with the word that key names is that links
// are up. While much is pulled, that and what others say needs no acknowledgement
// over a healthy link: many tell it, and what is lost with a link is found when tables
// are compared. A word that an own link is down is acknowledged, so that those to
// which nothing passes any more are noticed too.
func (c *Core) allUp(key recordKey) bool {
	if !c.isUp(key) {
		return false
	}
	set := c.setOf(key)
	return set == nil || !slices.ContainsFunc(set.Links, func(s events.LinkState) bool { return !s.Up })
}

// setOf is the set by which the record that key names was said, nil if none.
func (c *Core) setOf(key recordKey) *events.LinkSet {
	if key.to < 0 {
		return nil
	}
	if r := c.nodes.at(key.node).outTo(key.to); r != nil {
		return r.In
	}
	return nil
}

// logs adds heads of one origin until the frame is full.
func (b *builder) logs(j *logsJob) {
	room := (b.limit - len(b.body) - 40) / 16
	if room < 1 {
		if len(b.body) > 0 {
			b.full = true
			return
		}
		room = 1
	}
	it := &logsItem{origin: j.origin.id}
	for _, l := range j.origin.logs {
		if l.held == 0 || l.id.Nonce < j.next {
			continue
		}
		if len(it.heads) == room {
			j.next = l.id.Nonce
			b.full = true
			break
		}
		it.heads = append(it.heads, logHead{l.id.Nonce, l.held, [4]byte(l.tip[:4])})
	}
	if len(it.heads) > 0 {
		b.body = it.append(b.body)
		b.firm = true
	}
}

// loose takes what needs no acknowledgement: answers, and who holds what.
func (b *builder) loose() {
	l, q := b.link, &b.link.queue
	if !l.usable() {
		return
	}
	if q.answer {
		b.summary(0)
		q.answer = false
	}
	wait := min(max(holdersEvery, time.Duration(len(b.core.nodes.order))*holdersEach), holdersSlow)
	if l.slow {
		wait = holdersSlow
	} else if b.core.catchingUp() {
		wait *= 2
	}
	if len(q.soft) > 0 && (q.urgent || len(b.body) > 0 || l.ackDue != 0 || b.core.now.Sub(q.softSince) >= wait) {
		b.holders()
	}
}

// hint tells what a neighbor lacks. Many commits make one hint: it is paced like
// notices, by acknowledgements, or by time while much is pulled.
func (b *builder) hint() {
	q := &b.link.queue
	if b.link.slow || !b.core.catchingUp() {
		b.firm = true
	} else if b.core.now < q.hintAt {
		return
	}
	q.hintAt = b.core.now.Add(hintEvery)
	b.holders()
}

// holders writes the soft keys, log by log.
func (b *builder) holders() {
	q := &b.link.queue
	for len(q.soft) > 0 && !b.full {
		log := q.soft[0].log
		it := &holdersItem{log: log.id}
		for _, k := range q.soft {
			if k.log != log || len(it.list) == MaxNodes {
				continue
			}
			held := log.held
			if k.node.slot != b.core.self {
				held = k.node.holding(log)
			}
			if held > 0 {
				it.list = append(it.list, holder{prefixOf(k.node.id), held})
			}
		}
		if len(it.list) > 0 && !b.add(it) {
			return
		}
		for _, k := range q.soft {
			if k.log == log {
				delete(q.softSet, k)
			}
		}
		q.soft = slices.DeleteFunc(q.soft, func(k softKey) bool { return k.log == log })
	}
	if len(q.soft) == 0 {
		q.urgent, q.hinted = false, false
	}
	q.softSince = b.core.now
}

// summary names what we have.
func (b *builder) summary(flags byte) {
	c, l := b.core, b.link
	s := &summaryItem{flags: flags, incarnation: c.nodes.at(c.self).incarnation(),
		pool: c.nodes.poolHash, table: c.nodes.sum, vector: c.vector.sum, rtt: uint64(l.srtt.Microseconds())}
	if l.named.pool == c.nodes.poolHash {
		s.holders = c.holderBits()
	}
	b.body = s.append(b.body)
	l.told = named{s.pool, s.table, s.vector}
}
