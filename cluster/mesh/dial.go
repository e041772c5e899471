package mesh

import (
	"slices"
	"time"

	"github.com/erwik/erwik/cluster/mesh/planted"
	"github.com/erwik/erwik/storage"
)

// dial is the state of reaching a node that has no link.
type dial struct {
	out      bool
	since    Time
	after    Time // no dial earlier than this
	other    Time // when the higher id dials too
	failures int
}

// tickDial dials members that have no link.
func (c *Core) tickDial() {
	for _, n := range c.nodes.order {
		if n.slot == c.self || n.link != nil && n.link.up || !c.nodes.admitted[n.id] || len(n.record.Addresses) == 0 {
			continue
		}
		if planted.Now == planted.DeadNeverDialled && n.dead {
			continue
		}
		d := &n.dial
		if d.other == 0 {
			d.other = c.now.Add(dialOther)
		}
		if d.out && c.now.Sub(d.since) > dialExpiry {
			c.dialFailed(n.id)
		}
		if d.out || c.now < d.after || c.cfg.Self.Compare(n.id) > 0 && c.now < d.other {
			continue
		}
		d.out, d.since = true, c.now
		c.out.Dial = append(c.out.Dial, Dial{Node: n.id, Addresses: slices.Clone(n.record.Addresses)})
	}
}

func (c *Core) dialFailed(peer storage.NodeID) {
	n := c.nodes.byID[peer]
	if n == nil || !n.dial.out {
		return
	}
	d := &n.dial
	d.out = false
	most := min(dialMin<<min(d.failures, 8), dialMax)
	d.failures++
	d.after = c.now.Add(dialMin/2 + c.jitter(most))
}

// dialSoon forgets failed dials of a node that others have reached: what kept it
// from them has probably kept it from us.
func (c *Core) dialSoon(n *node) {
	if d := &n.dial; d.failures > 0 && (n.link == nil || !n.link.up) {
		d.failures = 0
		d.after = min(d.after, c.now.Add(c.jitter(2*dialMin)))
	}
}

// jitter is a random time below most.
func (c *Core) jitter(most time.Duration) time.Duration {
	return time.Duration(c.rng.Int64N(int64(max(most, 1))))
}
