package mesh

import "github.com/erwik/erwik/events"

// advance lets the clock of the core follow the shell's, never backwards.
func (c *Core) advance(now Time) { c.now = max(c.now, now) }

// tick does everything that time brings.
func (c *Core) tick() {
	for _, n := range c.nodes.slots {
		if n.link != nil && n.link.up {
			c.tickLink(n.link)
		} else if n.link != nil && n.link.said && c.now >= n.link.sayAt {
			c.sayLink(n.link)
		}
	}
	c.tickDoubt()
	c.tickOwn()
	c.tickRecords()
	c.tickOffer()
	c.tickUntold()
	c.tickUnsure()
	c.tickOwed()
	c.graphNow()
	c.tickPulls()
	c.tickSessions()
	c.tickDead()
	c.tickDial()
}

// settle ends an input: it hands out what the input made possible.
func (c *Core) settle() {
	for {
		c.retryLimbo()
		c.compare()
		c.dispatch()
		if c.dirty.Empty() {
			return
		}
		todo := c.dirty
		c.dirty = events.Set{}
		for v := range todo.All() {
			c.pump(c.nodes.at(v).link)
		}
	}
}
