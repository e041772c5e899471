package mesh

import "github.com/erwik/erwik/events"

// bugs are planted by tests, to see that the simulator finds them.
type bugs struct {
	excludeTold     bool // a copy excludes everybody who is told
	knownStopsList  bool // a known checksum stops the list
	keepUnion       bool // latest wins keeps names that either list excludes
	noHint          bool // what was found by comparing is not passed on
	shortIsAll      bool // a short answer to a pull is taken for all there is
	trustLists      bool // a list is believed about nodes that its sender did not know
	noReopen        bool // what comes while a link opens is not told on it
	staleRecordWins bool // an older record replaces a newer one
	believeDeath    bool // a node is dead because somebody says so
}

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
	c.tickOwn()
	c.tickRecords()
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
