package mesh

import (
	"slices"
	"time"

	"github.com/erwik/erwik/cluster/mesh/planted"
)

// hedgeAfter is the least time before a second source is asked: a tick, below
// which the core does not see time pass.
const hedgeAfter = TickEvery

// lateMost bounds what one pull can teach: no neighbor can keep all others from
// having a second source.
const lateMost = 500 * time.Millisecond

// hedgeShare is how many commits are pulled for each that a second source may be
// asked for, hedgesFirst for how many one may be at first, and hedgesMost how
// many such may be saved up: a pull of more commits has no second source, but goes
// elsewhere when nothing has come for pullHealthy.
const (
	hedgeShare  = 16
	hedgesFirst = 4
	hedgesMost  = 32
)

// patienceEach is how much longer a pull is left to its source for each of its
// commits, up to patienceMost: no reader waits for that of many, and asking
// for it again is dear.
const (
	patienceEach = 25 * time.Millisecond
	patienceMost = 5 * time.Second
)

// patience is how much longer p is left to its source than a pull of one commit.
func (p *pull) patience() time.Duration {
	return min(time.Duration(min(p.size(), 1<<20))*patienceEach, patienceMost+patienceEach) - patienceEach
}

// tickHedges asks a second source where the first bytes of a pull are late:
// after twice the time in which they were expected, as pulls go just now. Where
// all are late, as on a machine that is busy, a second source is no quicker. Whoever
// answers first goes on, the other one is cancelled. One commit in hedgeShare is
// asked for twice at most (J. Dean, L. A. Barroso: The Tail at Scale, 2013).
func (c *Core) tickHedges() {
	b := &c.pulls
	for _, p := range slices.Clone(b.open) {
		if p.begun || p.rival != nil || b.hedges < hedgeShare*p.commits() || p.overtaken() {
			continue
		}
		if c.now.Sub(p.started) >= max(2*(p.expected+b.late), hedgeAfter)+p.patience() {
			c.hedge(p)
		}
	}
}

// overtaken reports whether some of what p asks for has come another way.
func (p *pull) overtaken() bool {
	for i, l := range p.logs {
		if l.held > p.ranges[i].After {
			return true
		}
	}
	return false
}

// noteBegin learns how late pulls begin just now.
func (b *pullBook) noteBegin(now Time, p *pull) {
	if p.from.link.slow {
		return // it says nothing of the others
	}
	late := min(max(now.Sub(p.started)-p.expected, 0), lateMost)
	b.late += (late - b.late) / 4
}

// hedge opens a rival of p. It must hold all that p asks for, on a healthy link:
// on a slow one, every byte asked for twice delays what others wait for.
func (c *Core) hedge(p *pull) {
	b := &c.pulls
	if len(b.open) >= MaxPulls {
		return
	}
	var best *node
	var least time.Duration
	for _, n := range c.nodes.order {
		if n == p.from || n.link == nil || !n.link.usable() || n.link.slow || b.count(n) >= MaxPullsPeer || !c.serves(n, p) {
			continue
		}
		if d := c.expected(n, p.size()); best == nil || d < least {
			best, least = n, d
		}
	}
	if best == nil {
		return
	}
	r := &pull{id: b.nextID + 1, from: best, logs: p.logs, started: c.now, progress: c.now, moved: c.now, rival: p}
	for i, l := range p.logs {
		r.ranges = append(r.ranges, Range{Log: l.id, After: p.ranges[i].After, Upto: best.holding(l)})
	}
	if b.hedges < hedgeShare*r.commits() {
		return // it has more by now than may be asked for
	}
	b.nextID++
	p.rival = r
	r.expected = c.begins(best)
	b.open = append(b.open, r)
	b.hedges -= hedgeShare * r.commits()
	c.count.Pulls++
	c.count.Hedges++
	c.out.Pull = append(c.out.Pull, Pull{ID: r.id, From: best.id, Ranges: r.ranges})
}

// serves reports whether n may be asked for all that p asks for.
func (c *Core) serves(n *node, p *pull) bool {
	for i, l := range p.logs {
		if n.holding(l) <= p.ranges[i].After || slices.Contains(l.shunned, n.slot) || l.origin.forked && n.id == l.id.Node {
			return false
		}
	}
	return true
}

// size is how many commits p asks for.
func (p *pull) size() (n uint64) {
	for _, r := range p.ranges {
		n += r.Upto - min(r.After, r.Upto)
	}
	return n
}

// commits is size within what a second source may be asked for, at least 1.
func (p *pull) commits() int { return int(min(max(p.size(), 1), hedgesMost+1)) }

// begin notes that p brings something; its rival is not needed any more.
func (c *Core) begin(p *pull) {
	if !p.begun {
		c.pulls.noteBegin(c.now, p)
		p.begun, p.progress, p.moved = true, c.now, c.now
	}
	loser := p.rival
	if loser == nil {
		return
	}
	if loser.id < p.id {
		c.count.HedgesWon++
	}
	c.out.Cancel = append(c.out.Cancel, loser.id)
	c.closePull(loser)
}

// awaitRelay decides, when a notice of l comes from its origin, whether to pull at
// once or to wait for the relay by which it should come sooner: an origin tells
// its slow neighbors directly, too, and that copy may be here first. A pull
// begun there would end later than one from the relay a moment from now, and
// the content would travel twice if it were given up. The wait ends when the
// relay tells, and after half as long again as it should take.
func (c *Core) awaitRelay(l *logState, from *node) {
	if from.id != l.id.Node || from.link == nil || c.carries {
		l.awaits = 0
		return
	}
	if l.awaited == l.held+1 {
		return // once is enough
	}
	l.awaits = 0
	t := c.treeFrom(from.slot)
	before := int(t.Before[c.self])
	if before < 0 || before == from.slot {
		return
	}
	relay := c.nodes.at(before)
	if relay.link == nil || !relay.link.usable() || relay.holding(l) > l.held {
		return
	}
	own, whole := uint64(from.link.step.Micros()), t.Cost[c.self]
	if 3*whole >= 2*own {
		return // no relay is told to tell us
	}
	passed := uint64(from.link.rtt().Microseconds() / 2)
	rest := whole - min(whole, passed) // until it would be here; of equal ways the origin may have chosen another
	l.awaited = l.held + 1
	l.awaits = c.now.Add(time.Duration(rest+rest/2+whole/4) * time.Microsecond)
	if planted.Now == planted.AwaitsForEver {
		l.awaits = c.now.Add(time.Hour)
	}
}
