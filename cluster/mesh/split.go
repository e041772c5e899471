package mesh

import "slices"

// big reports whether p is one range that is worth sharing out.
func (p *pull) big() bool { return len(p.ranges) == 1 && p.size() >= SplitFrom }

// share names further sources of a big range: neighbors on healthy links that
// hold all of it, or whose vector is that of the source, best first.
func (c *Core) share(p *pull) {
	if !p.big() || p.from.link.slow || len(p.also) >= MaxSources-1 {
		return
	}
	var found []*node
	for _, n := range c.nodes.order {
		if n == p.from || n.link == nil || !n.link.usable() || n.link.slow || slices.Contains(p.also, n) {
			continue
		}
		if n.holding(p.logs[0]) < p.ranges[0].Upto && n.link.named.vector == p.from.link.named.vector {
			c.setHolding(n, p.logs[0], p.ranges[0].Upto)
		}
		if n.holding(p.logs[0]) >= p.ranges[0].Upto && c.serves(n, p) {
			found = append(found, n)
		}
	}
	slices.SortStableFunc(found, func(a, b *node) int {
		return int(c.expected(a, p.size()) - c.expected(b, p.size()))
	})
	for _, n := range found[:min(len(found), MaxSources-1-len(p.also))] {
		p.also = append(p.also, n)
		c.out.Share = append(c.out.Share, Share{ID: p.id, Also: n.id})
	}
}

// shareAll looks at every big pull again, when a neighbor said what it has.
func (c *Core) shareAll() {
	for _, p := range c.pulls.open {
		c.share(p)
	}
}
