package mesh

import (
	"cmp"
	"slices"

	"github.com/erwik/erwik/storage"
)

// Health is what this node knows of another member, for whoever looks after it.
type Health struct {
	ID        storage.NodeID
	Name      string
	State     NodeState // alive, unreachable or dead
	Addresses []string
	Version   string
	Link      string  // the own link: "up", "slow", "down", or "never" in this life of the core
	LinkFor   float64 // seconds since the link came up or went down; "never": since the start
	GoneFor   float64 // seconds for which no path has led to it; 0 while one does
	Via       string  // name of the first hop where the own link is down
	RTT       float64 // seconds; 0 = unknown
	Speed     int64   // bytes a second, as pulls measured it; 0 = unknown
	// Lacks counts commits held here that it is not known to hold, and LacksFor
	// for how many seconds there have been any. While it is out of reach, it is
	// the most that it may lack of them.
	Lacks    uint64
	LacksFor float64
	// Leads counts commits that it is known to hold and that are not here. While
	// it is out of reach, it is the least. LeadsFor is for how many seconds, at least.
	Leads    uint64
	LeadsFor float64
	Dials    int  // that failed in a row
	Forked   bool // it signed two commits for one place of a log
}

// Health tells of every member but this node, sorted by name.
func (c *Core) Health() []Health {
	var out []Health
	t := c.ownTree()
	for _, n := range c.nodes.order {
		if n.slot == c.self {
			continue
		}
		h := Health{ID: n.id, Name: c.nameOf(n), State: c.stateOf(n), Addresses: slices.Clone(n.record.Addresses), Version: n.record.Version,
			Link: "never", LinkFor: c.now.Sub(0).Seconds(), Lacks: n.behind, Dials: n.dial.failures}
		if l := n.link; l != nil {
			h.Link, h.LinkFor = "down", c.now.Sub(l.since).Seconds()
			h.RTT, h.Speed = l.srtt.Seconds(), l.bps
			if l.usable() {
				h.Link = "up"
				if l.slow {
					h.Link = "slow"
				}
			}
		}
		if path := c.path(t, n); len(path) > 1 {
			h.Via = c.nameOf(path[0])
		}
		if !n.reachable {
			h.GoneFor = c.now.Sub(n.unreachable).Seconds()
		}
		if n.behind > 0 {
			h.LacksFor = c.now.Sub(n.lacks).Seconds()
		}
		for _, l := range c.vector.logs {
			h.Leads += n.lead(l)
		}
		if h.Leads > 0 {
			h.LeadsFor = c.now.Sub(n.leads).Seconds()
		}
		if o := c.vector.byNode[n.id]; o != nil {
			h.Forked = o.forked
		}
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b Health) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// lead is how many commits of l n is known to hold that are wanted and not here.
func (n *node) lead(l *logState) uint64 {
	if held := n.holding(l); held > l.held && !l.closed {
		return held - l.held
	}
	return 0
}

// noteLead keeps since when n has led, as n becomes known to hold more of l. It
// looks at one log, so the time may come out too short, never too long.
func (c *Core) noteLead(n *node, l *logState) {
	if n.lead(l) > 0 && (n.leadLog == nil || n.lead(n.leadLog) == 0) {
		n.leads, n.leadLog = c.now, l
	}
}

// Lacking is how many commits are known to be missing here: those that open
// pulls ask for, and those that wait for one.
func (c *Core) Lacking() (commits uint64) {
	for _, p := range c.pulls.open {
		for i, l := range p.logs {
			commits += p.ranges[i].Upto - min(l.held, p.ranges[i].Upto)
		}
	}
	for _, l := range c.pulls.wanted {
		if best, _ := c.bestSource(l, nil); best != nil {
			commits += best.holding(l) - l.held
		}
	}
	return commits
}
