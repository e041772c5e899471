package mesh

import (
	"slices"
	"time"

	"github.com/erwik/erwik/cluster/mesh/planted"
	"github.com/erwik/erwik/events"
	"github.com/erwik/erwik/storage"
)

// link is the connection to one neighbor, and what was measured on it.
type link struct {
	node  *node
	info  LinkInfo
	up    bool // the shell says so
	heard bool // a frame of the other side came over it
	acked bool // the other side has acknowledged one of ours: it works both ways
	since Time // of the last change of up
	apart bool // no path led to the neighbor when it came up
	fresh bool // nor for a while before, see Core.fresh

	srtt     time.Duration    // smoothed time until a frame is acknowledged; 0 = unknown
	samples  [2]time.Duration // the last ones that srtt was made of
	pullTime time.Duration    // smoothed time to pull 1 KiB; 0 = unknown
	pulledAt Time             // when pullTime was last measured
	bps      int64            // smoothed bytes a second of pulls; 0 = unknown
	asked    bool             // a pull has been sent over it, so there is a connection for pulls
	slow     bool
	slowAt   Time        // when it became slow
	slowly   int         // heartbeats since it became slow
	beats    int         // heartbeats of both ends since it came up
	step     events.Step // cost by which this node reckons

	said      bool // own link record says up
	row       row  // whether all that was said of own links has gone over it
	sayAt     Time // no earlier up or down than this
	saidAt    Time // when up or down was last said
	costAt    Time // no earlier cost than this
	saySpaced time.Duration

	number   uint64 // of the last frame that wanted an acknowledgement
	flight   *flight
	movedAt  Time // when other connections with the neighbor last moved bytes, while an acknowledgement was late
	ackDue   uint64
	ackHold  Time  // until then an acknowledgement waits for what it may go with
	carried  Range // the newest notice that was sent: its log, and its sequence in After
	queue    queue
	gate     gate
	beatAt   Time // when to send a heartbeat, unless the other side does
	probedAt Time // when a pull that stood still last had one sent
	named    named
	knows    events.Set // nodes that the neighbor is known to know
	told     named      // what we named last
	quota    quota

	vectorDiffers, tableDiffers bool
	differs                     Time  // since when
	vectorLater                 Time  // since when comparing vectors waits for commits to come; 0: it does not
	vectorOpening               bool  // the comparison of vectors does not wait for commits to come
	tableOpening                bool  // tableDiffers since the opening summary, or since the neighbor said that much is new
	poked                       Time  // when the neighbor was last told that much is new
	tableLater                  bool  // compare tables once ours has settled
	tableAsked                  bool  // the neighbor was asked for the hash of its table, to compare
	skips, tableSkips           int   // heartbeats that differed while commits came, or words
	pokeAt                      Time  // before, nothing that the neighbor says is pressing
	compareAt, tableAt          Time  // not compared again before
	drilled                     named // at the last comparison: theirs
	drilledOwn                  named
	drilledAt                   Time // when tables were
}

// named are the three hashes of a summary.
type named struct{ pool, table, vector uint64 }

// flight is the frame that waits for its acknowledgement.
type flight struct {
	number, earlier uint64 // the number it had when it was sent first, 0 if that is number
	first, sent     Time
	body            []byte
	notices         []*notice
	carries         bool // a commit may have gone along
}

// gate holds back notices on a slow link while the neighbor is busy with the last.
type gate struct {
	log      *logState
	sequence uint64
	until    Time
}

// usable reports whether frames are known to pass both ways.
func (l *link) usable() bool { return l.up && l.heard && l.acked }

// fresh reports whether a link to n is likely to bring what no other does: there
// has been no way to n for a while, or this node has hardly any links itself. Of a
// node that has just joined there is nothing to learn but what it says itself.
func (c *Core) fresh(n *node) bool {
	return !n.reachable && (c.now.Sub(n.unreachable) > freshAfter || c.degree() < 3)
}

// newcomer reports whether the link is what brings news of the neighbor's side:
// it has just come up, and no other way led there.
func (l *link) newcomer(now Time) bool { return l.fresh && now.Sub(l.since) < newcomerFor }

// rtt is the smoothed acknowledgement time, or the best guess.
func (l *link) rtt() time.Duration {
	switch {
	case l.srtt > 0:
		return l.srtt
	case l.info.RTT > 0:
		return l.info.RTT
	}
	return 20 * time.Millisecond
}

// cost is the expected time for a notice and the pull of 1 KiB over the link.
func (l *link) cost(now Time) time.Duration {
	rtt := l.rtt()
	pull := l.pullTime
	if pull == 0 {
		pull = l.pullGuess()
	}
	cost := rtt/2 + pull
	if l.flight != nil {
		cost = max(cost, now.Sub(l.flight.sent)) // it waits that long already
	}
	if l.slow {
		cost = max(cost, slowFrom)
	}
	return cost
}

// pullGuess is how long a pull of 1 KiB should take, from what else is known.
func (l *link) pullGuess() time.Duration {
	guess := l.rtt()
	if l.bps > 0 {
		guess += time.Duration(1024 * int64(time.Second) / l.bps)
	}
	return guess
}

// agePull lets go of what a pull measured when the machine was busy, perhaps,
// and no other has since.
func (c *Core) agePull(l *link) {
	if guess := l.pullGuess(); l.pullTime > guess && c.now.Sub(l.pulledAt) > pullStale {
		l.pullTime -= (l.pullTime - guess) / 2
	}
}

// ackLimit is how long an acknowledgement may take.
func (l *link) ackLimit() time.Duration {
	switch {
	case !l.acked && l.info.RTT > 0:
		return min(max(ackHealthy, 10*l.info.RTT), 2*ackSlow)
	case !l.acked || l.srtt >= slowFrom:
		return max(ackSlow, 10*l.srtt)
	}
	return max(ackHealthy, 10*l.srtt)
}

// moves reports whether a late acknowledgement is excused.
func (l *link) moves(now Time) bool {
	return l.movedAt != 0 && now.Sub(l.movedAt) <= movesHold && now.Sub(l.flight.first) <= movesMost
}

// beat is the time between heartbeats. Where there are many neighbors there are
// as many who notice that a node is gone or compare with it, so each of them
// may be slower.
func (c *Core) beat(l *link) time.Duration {
	if !l.slow && l.beats < heartbeatsYoung {
		return max(heartbeatYoung, min(time.Duration(len(c.nodes.order))*heartbeatYoungEach, 2*heartbeatYoung))
	}
	if !l.slow {
		every := min(max(heartbeatHealthy, time.Duration(len(c.nodes.order))*heartbeatEach), heartbeatMost)
		if l.bps > 0 { // at rest, a thin link may answer as quickly as a wide one
			every = max(every, min(time.Duration(10*heartbeatBytes*int64(time.Second)/l.bps), heartbeatMost))
		}
		return every
	}
	every := time.Duration(heartbeatSlow)
	if l.slowly < heartbeatsNew { // it may have been a hiccup
		every = heartbeatNew
	}
	if l.bps > 0 {
		every = max(every, time.Duration(10*heartbeatBytes*int64(time.Second)/l.bps))
	}
	return every
}

// linkUp starts a link: both sides name what they have.
func (c *Core) linkUp(peer storage.NodeID, info LinkInfo) {
	if peer == c.cfg.Self {
		c.alarmOnce(Alarm{Kind: AlarmTwin, Node: peer, Text: "a connection with this node's own key: " + info.Address})
		c.out.Close = append(c.out.Close, Close{Peer: peer, Reason: "own key"})
		return
	}
	if c.nodes.banned[peer] {
		c.out.Close = append(c.out.Close, Close{Peer: peer, Reason: "the node was banned"})
		return
	}
	n := c.addNode(peer)
	if n == nil {
		c.out.Close = append(c.out.Close, Close{Peer: peer, Reason: "the pool is full"})
		return
	}
	if n.link != nil && n.link.up {
		c.linkDown(peer, "replaced")
	}
	old := n.link
	if old != nil {
		c.graphNow() // whether another way leads there
	}
	l := &link{node: n, info: info, up: true, since: c.now, apart: !n.reachable, fresh: c.fresh(n), number: c.rng.Uint64N(1 << 20)}
	if old != nil { // what was measured is the best guess until it is measured again
		l.number = old.number
		l.said, l.sayAt, l.saidAt, l.costAt, l.saySpaced = old.said, old.sayAt, old.saidAt, old.costAt, old.saySpaced
		l.srtt, l.pullTime, l.bps = old.srtt, old.pullTime, old.bps
		if old.srtt >= healthyTo { // else it was slow because nothing was answered any more
			l.slow, l.slowAt, l.slowly = old.slow, old.slowAt, old.slowly
		}
	}
	l.knows, n.taught = n.taught, events.Set{}
	l.step = events.StepOf(l.cost(c.now))
	l.beatAt = c.now.Add(c.beat(l))
	l.queue.init()
	l.queue.first = true
	n.link = l
	n.dial = dial{}
	c.touch(l)
}

// linkDown ends a link: what waited on it finds other ways.
func (c *Core) linkDown(peer storage.NodeID, reason string) {
	n := c.nodes.byID[peer]
	if n == nil || n.link == nil || !n.link.up {
		return
	}
	l := n.link
	was := l.usable()
	l.up, l.heard, l.acked = false, false, false
	l.since = c.now
	c.nodes.version++
	c.nodes.doubt = true
	n.dial = dial{after: c.now.Add(c.jitter(dialMin)), other: c.now.Add(dialOther)}
	if was {
		c.sayLink(l)
	}
	c.closeSessions(n)
	c.pullsBroken(n)
	waiting := l.queue.takeNotices()
	if l.flight != nil {
		waiting = append(l.flight.notices, waiting...)
		l.flight = nil
	}
	for _, q := range waiting {
		names := q.open
		names.Add(n.slot)
		q.state.passed.RemoveAll(&names)
		c.forward(q.state, names, nil)
	}
}

// giveUp ends a link that the shell still thinks is there.
func (c *Core) giveUp(l *link, reason string) {
	c.out.Close = append(c.out.Close, Close{Peer: l.node.id, Reason: reason})
	c.linkDown(l.node.id, reason)
}

// nowUsable is called when frames are first known to pass both ways.
func (c *Core) nowUsable(l *link) {
	c.nodes.version++
	l.step = events.StepOf(l.cost(c.now)) // the next tick tells of it, with others that come up just now
	// What came since our first summary could not be told on this link.
	if !l.queue.first && l.told.vector != c.vector.sum && planted.Now != planted.NoReopen {
		if l.queue.reopen = l.slow || !c.catchingUp(); !l.queue.reopen { // it changes all the time
			l.vectorLater = c.now
		}
	}
	for _, log := range c.vector.logs {
		if l.node.holding(log) > log.held {
			c.want(log)
		}
	}
	c.tellOwn()
	c.shareAll()
}

// tellOwn tells of the newest own commit if that was made when there was no link,
// as the first one of a newcomer is: else each node would have to find it by
// comparing vectors, and ask for it.
func (c *Core) tellOwn() {
	own := c.vector.own
	if own == nil || own.held == 0 {
		return
	}
	if s := c.events.commits[logPlace{own, own.held}]; s != nil && s.heard == nil && s.ready && s.passed.Empty() {
		c.forward(s, c.nodes.pool, nil)
	}
}

// acknowledged ends the flight that number names.
func (c *Core) acknowledged(l *link, number uint64) {
	f := l.flight
	if f == nil || number == 0 || number != f.number && number != f.earlier {
		return
	}
	sample := c.now.Sub(f.sent)
	if number == f.earlier {
		sample = c.now.Sub(f.first)
	}
	switch {
	case l.srtt == 0 || !l.acked:
		l.srtt = sample
	case f.carries && sample < healthyTo: // the other side wrote it to its disk first
	case sample < l.srtt: // good news is sure
		l.srtt += (sample - l.srtt) / 2
		if l.slow && sample < healthyTo {
			l.beatAt = min(l.beatAt, c.now.Add(announceEvery))
		}
	case !l.slow && sample < slowFrom: // late answers now and then are a busy neighbor; three on end are a link that is worse
		if least := min(sample, l.samples[0], l.samples[1]); least > l.srtt {
			l.srtt += (least - l.srtt) / 2
		}
	default:
		l.srtt += (sample - l.srtt) / 8
	}
	c.agePull(l)
	l.samples[0], l.samples[1] = l.samples[1], sample // of carried commits too: on a thin link they are all there is
	l.srtt = max(l.srtt, 1)
	l.flight = nil
	before := l.usable()
	l.acked = true
	if !before && l.usable() {
		c.nowUsable(l)
	}
	c.touch(l)
}

// receive takes one frame.
func (c *Core) receive(peer storage.NodeID, b []byte) {
	n := c.nodes.byID[peer]
	if n == nil || n.link == nil || !n.link.up {
		c.drop(n, DropNoLink)
		return
	}
	l := n.link
	if !c.mayTake(l, len(b)) {
		return
	}
	f, err := decodeFrame(b)
	if err != nil {
		c.drop(n, DropFrame)
		return
	}
	if !c.spend(l, &l.quota.items, itemsOf(f.items), MaxItems) {
		return // without an acknowledgement, so it waits
	}
	if !l.heard {
		l.heard = true
		if l.usable() {
			c.nowUsable(l)
		}
	}
	c.acknowledged(l, f.ack)
	if f.number != 0 && !(planted.Now == planted.AckNotSent && slices.ContainsFunc(f.items, isLink)) {
		l.ackDue = f.number
		c.touch(l)
	}
	c.carries = slices.ContainsFunc(f.items, isContent)
	defer func() { c.carries = false }()
	if c.carries && !l.slow && l.ackDue != 0 {
		l.ackHold = c.now.Add(carryHold)
	}
	for _, it := range f.items {
		c.receiveItem(n, it)
		if !l.up {
			return
		}
	}
}

func (c *Core) receiveItem(n *node, it item) {
	switch it := it.(type) {
	case *summaryItem:
		c.receiveSummary(n, it)
	case *eventItem:
		c.receiveEvent(n, &it.event, &it.exclude)
	case *originsItem:
		c.receiveOrigins(n, it)
	case *logsItem:
		c.receiveLogs(n, it)
	case *holdersItem:
		c.receiveHolders(n, it)
	case *rowsItem:
		c.receiveRows(n, it)
	case *nodeItem:
		c.receiveRecord(n, it.record)
	case *linkItem:
		c.receiveLink(n, it.record)
	case *linksItem:
		c.receiveLinks(n, it.set)
	}
}

func isContent(it item) bool {
	_, is := it.(*contentItem)
	return is
}

func isLink(it item) bool {
	switch it.(type) {
	case *linkItem, *linksItem:
		return true
	}
	return false
}
