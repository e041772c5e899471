package mesh

import (
	"time"

	"github.com/erwik/erwik/events"
)

// tickDead declares dead what was unreachable for too long.
func (c *Core) tickDead() {
	for _, n := range c.nodes.order {
		if n.slot == c.self || n.reachable || n.dead {
			continue
		}
		limit := time.Duration(deadHealthy)
		if n.slowly || !n.seen {
			limit = deadSlow
		}
		if c.now.Sub(n.unreachable) < limit {
			continue
		}
		c.markDead(n)
		if c.teller(n) == c.self {
			c.tellAll(events.NewDead(c.cfg.Self, events.Dead{Node: n.id, Incarnation: n.incarnation()}))
		}
	}
}

// teller is who tells of a death: the lowest id among the last neighbors that
// can be reached from here; -1 if there is none.
func (c *Core) teller(dead *node) int {
	for _, n := range c.nodes.order {
		if n.slot != c.self && !n.reachable {
			continue
		}
		if r := n.outTo(dead.slot); r != nil && r.Incarnation == n.incarnation() {
			return n.slot
		}
	}
	return -1
}
