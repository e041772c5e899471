package mesh

import (
	"slices"
	"time"
)

// hedgeAfter is the least time before a second source is asked: a tick, below
// which the core does not see time pass.
const hedgeAfter = TickEvery

// tickHedges asks a second source where the first bytes of a pull are late:
// after twice the time in which they were expected. Whoever answers first goes
// on, the other one is cancelled.
func (c *Core) tickHedges() {
	for _, p := range slices.Clone(c.pulls.open) {
		if !p.begun && p.rival == nil && c.now.Sub(p.started) >= max(2*p.expected, hedgeAfter) {
			c.hedge(p)
		}
	}
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
	b.nextID++
	r := &pull{id: b.nextID, from: best, logs: p.logs, started: c.now, progress: c.now, expected: c.expected(best, 1), rival: p}
	for i, l := range p.logs {
		r.ranges = append(r.ranges, Range{Log: l.id, After: p.ranges[i].After, Upto: best.holding(l)})
	}
	p.rival = r
	b.open = append(b.open, r)
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

// begin notes that p brings something; its rival is not needed any more.
func (c *Core) begin(p *pull) {
	p.begun, p.progress = true, c.now
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
