package mesh

import (
	"time"

	"github.com/erwik/erwik/cluster/mesh/planted"
	"github.com/erwik/erwik/events"
)

// tickLink lets time pass on one link.
func (c *Core) tickLink(l *link) {
	if f := l.flight; f != nil {
		waiting := c.now.Sub(f.sent)
		switch {
		case waiting <= l.ackLimit() || l.moves(c.now):
		case planted.Now == planted.NeverResent:
		case f.earlier == 0:
			c.resend(l)
		default:
			c.giveUp(l, "no acknowledgement")
			return
		}
	}
	if l.ackDue != 0 {
		c.touch(l)
	}
	c.classify(l)
	c.tickLater(l)
	if l.usable() && c.now >= l.beatAt && !c.beatWaits(l) {
		l.queue.beat = true
		l.beatAt = c.now.Add(c.beat(l))
		l.slowly++
		l.beats++
		c.touch(l)
	}
	quiet := tableQuiet
	if c.catchingUp() { // that is more urgent
		quiet = heldFor
	}
	if l.tableLater && c.now >= l.tableAt && c.now.Sub(c.nodes.changed) >= quiet {
		l.tableLater = false
		if l.named.table != c.nodes.sum { // as it was then: ask what it is now
			l.tableAsked, l.queue.beat = true, true
		}
	}
	if l.queue.waits() {
		c.touch(l)
	}
}

// beatWaits reports whether a heartbeat that only measures a young link waits
// because much is pulled: all links of a node may be young, as after a cut.
func (c *Core) beatWaits(l *link) bool {
	return !l.slow && l.beats < heartbeatsYoung && l.skips < maxSkips && c.now.Sub(l.since) < newcomerFor && c.catchingUp()
}

// tickOffer names a table that has settled to some neighbors, so that what has
// not arrived everywhere is found long before the next heartbeats.
func (c *Core) tickOffer() {
	t := &c.nodes
	if t.offered == t.sum || c.now.Sub(t.changed) <= tableQuiet || c.now.Sub(t.offeredAt) < max(announceEvery, time.Duration(len(t.order))*spaceEach) {
		return
	}
	t.offered, t.offeredAt = t.sum, c.now
	var who []*link
	for _, n := range t.order {
		if n.link != nil && n.link.usable() && !n.link.slow && n.link.told.table != t.sum {
			who = append(who, n.link)
		}
	}
	for range min(offers, len(who)) {
		k := c.rng.IntN(len(who))
		who[k].queue.answer = true
		c.touch(who[k])
		who[k] = who[len(who)-1]
		who = who[:len(who)-1]
	}
}

// classify keeps a link's class and cost.
func (c *Core) classify(l *link) {
	if !l.usable() {
		return
	}
	waiting := time.Duration(0)
	if l.flight != nil {
		waiting = c.now.Sub(l.flight.sent)
	}
	was := l.slow
	switch {
	case l.srtt >= slowFrom || waiting >= slowFrom:
		l.slow = true
	case l.srtt < healthyTo && waiting < healthyTo:
		l.slow = false
	}
	if was != l.slow {
		l.slowAt, l.slowly = c.now, 0
		l.beatAt = c.now.Add(c.beat(l))
		if !l.slow && l.row == rowWaits {
			c.sayRowTo(l)
		}
	}
	step := events.StepOf(l.cost(c.now))
	if was != l.slow || step >= l.step+2 || step+2 <= l.step {
		l.step = step
		c.nodes.version++
	}
	if l.said != l.usable() && c.now >= l.sayAt {
		c.sayLink(l)
	} else if r := c.nodes.at(c.self).outTo(l.node.slot); r != nil && r.Up && c.now >= l.costAt && !near(r.Step, l.step) {
		if slow := events.StepOf(slowFrom); (l.step >= slow) != (r.Step >= slow) {
			c.sayCost(l, later)
		} else {
			c.sayCost(l, someday)
		}
	}
}

// sayLink announces that a link is up or down, less often while it flaps.
func (c *Core) sayLink(l *link) {
	up := l.usable()
	if l.said == up || c.now < l.sayAt || c.nodes.at(c.self).record == nil {
		return
	}
	if l.saySpaced == 0 || c.now.Sub(l.saidAt) > 3*announceMax {
		l.saySpaced = announceEvery
	} else {
		l.saySpaced = min(2*l.saySpaced, announceMax)
	}
	l.said, l.saidAt = up, c.now
	l.sayAt = c.now.Add(l.saySpaced)
	if up {
		c.sayCost(l, soon)
	} else {
		c.sayCost(l, soonest)
	}
}

// sayCost has others told of an own link as it is.
func (c *Core) sayCost(l *link, u urgency) {
	l.said = l.usable()
	l.costAt = c.now.Add(costEvery)
	c.say(l, u)
}

// costOnly reports whether a record changes no more than the cost of the last.
func costOnly(old, r *events.LinkRecord) bool {
	return old != nil && old.Up && r.Up && old.Incarnation == r.Incarnation
}
