package mesh

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/erwik/erwik/events"
	"github.com/erwik/erwik/storage"
)

// NodeName is the label of a node, "e1" or "e1~abcd" where two have that name.
func (c *Core) NodeName(id storage.NodeID) string {
	if n := c.nodes.byID[id]; n != nil {
		return c.nameOf(n)
	}
	return id.Short()
}

func (c *Core) nameOf(n *node) string {
	if n.record == nil || n.record.Name == "" {
		return n.id.Short()
	}
	for _, m := range c.nodes.order {
		if m != n && m.record.Name == n.record.Name {
			return n.record.Name + "~" + n.id.Short()
		}
	}
	return n.record.Name
}

// Slow reports whether there is a link to the node, and a slow one.
func (c *Core) Slow(id storage.NodeID) bool {
	n := c.nodes.byID[id]
	return n != nil && n.link != nil && n.link.slow
}

// Record is a node's record, or nil. It must not be changed.
func (c *Core) Record(id storage.NodeID) *events.Record {
	if n := c.nodes.byID[id]; n != nil {
		return n.record
	}
	return nil
}

// Records are the records of all members, sorted by id: the pool that a joining
// node gets.
func (c *Core) Records() []*events.Record {
	var out []*events.Record
	for _, n := range c.nodes.order {
		out = append(out, n.record)
	}
	return out
}

// Nodes is network/nodes, sorted by name: every node of the pool.
func (c *Core) Nodes() []NodeInfo {
	out := []NodeInfo{}
	t := c.ownTree()
	for _, n := range c.nodes.order {
		info := NodeInfo{ID: n.id, Name: c.nameOf(n), State: c.stateOf(n), Version: n.record.Version}
		if len(n.record.Addresses) > 0 {
			info.Address = n.record.Addresses[0]
		}
		if n.link != nil && n.link.usable() {
			info.RTT = millis(n.link.srtt)
		}
		if path := c.path(t, n); len(path) > 1 {
			info.Via = c.nameOf(path[0])
		}
		out = append(out, info)
	}
	slices.SortFunc(out, func(a, b NodeInfo) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func (c *Core) stateOf(n *node) NodeState {
	c.graphNow()
	switch {
	case n.slot == c.self:
		return StateSelf
	case n.reachable:
		return StateAlive
	case n.dead:
		return StateDead
	}
	return StateUnreachable
}

// path lists the nodes from the first hop to n itself, nil if there is none.
func (c *Core) path(t *events.Tree, n *node) []*node {
	var path []*node
	for at := n.slot; at != c.self; at = int(t.Before[at]) {
		if t.Before[at] < 0 {
			return nil
		}
		path = append(path, c.nodes.at(at))
	}
	slices.Reverse(path)
	return path
}

// Links is network/links, sorted by names.
func (c *Core) Links() []LinkInfoRow {
	out := []LinkInfoRow{}
	for _, a := range c.nodes.order {
		for to, r := range a.outWords() {
			if r == nil || !c.nodes.at(to).member() {
				continue
			}
			b := c.nodes.at(to)
			row := LinkInfoRow{From: c.nameOf(a), To: c.nameOf(b), State: "down"}
			heard := a.heardOn(to)
			row.Age = millis(c.now.Sub(heard.at)) / 1000
			if heard.from != nil {
				row.Via = c.nameOf(heard.from)
			}
			if r.Up {
				row.State, row.Cost = "half", millis(r.Step.Cost())
				if back := b.outTo(a.slot); back != nil && back.Up && back.Incarnation == b.incarnation() && r.Incarnation == a.incarnation() {
					row.State = "up"
				}
			}
			out = append(out, row)
		}
	}
	slices.SortFunc(out, func(a, b LinkInfoRow) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	return out
}

// Routes is network/routes, sorted by name: one row per node but this one.
func (c *Core) Routes() []RouteInfo {
	out := []RouteInfo{}
	t := c.ownTree()
	for _, n := range c.nodes.order {
		if n.slot == c.self {
			continue
		}
		r := RouteInfo{To: c.nameOf(n), State: string(c.stateOf(n)), Path: []string{}}
		for _, hop := range c.path(t, n) {
			r.Path = append(r.Path, c.nameOf(hop))
		}
		if len(r.Path) > 0 {
			r.Via = r.Path[0]
			r.Age = c.pathAge(t, n)
			r.Cost = millis(time.Duration(t.Cost[n.slot]) * time.Microsecond)
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b RouteInfo) int { return cmp.Compare(a.To, b.To) })
	return out
}

// Graph is network/graph.
func (c *Core) Graph() GraphInfo { return GraphInfo{Nodes: c.Nodes(), Links: c.Links()} }

// Neighbors is status.neighbors, sorted by name: every member with which this
// one has or had a link in this life.
func (c *Core) Neighbors() []NeighborInfo {
	out := []NeighborInfo{}
	for _, n := range c.nodes.order {
		l := n.link
		if l == nil {
			continue
		}
		info := NeighborInfo{ID: n.id, Name: c.nameOf(n), State: "down", RTT: millis(l.srtt), Speed: l.bps, Behind: n.behind}
		if l.usable() {
			info.State = "up"
			if l.slow {
				info.State = "slow"
			}
		}
		if n.behind > 0 {
			info.BehindFor = c.now.Sub(n.lacks).Seconds()
		}
		out = append(out, info)
	}
	slices.SortFunc(out, func(a, b NeighborInfo) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Spread says how many of all nodes of the pool are known to hold a commit. What
// is not known is not counted.
func (c *Core) Spread(log storage.LogID, sequence uint64) (have, of int) {
	l := c.vector.byID[log]
	for _, n := range c.nodes.order {
		of++
		switch {
		case l == nil:
		case n.slot == c.self && l.held >= sequence, n.slot != c.self && n.holding(l) >= sequence:
			have++
		}
	}
	return have, of
}

// Held is the highest contiguous sequence of a log that is held here.
func (c *Core) Held(log storage.LogID) uint64 {
	if l := c.vector.byID[log]; l != nil {
		return l.held
	}
	return 0
}

// VectorHash is the hash by which two vectors are compared; TableHash likewise
// the routing table's.
func (c *Core) VectorHash() uint64 { return c.vector.sum }

// TableHash names the routing table: equal hashes mean equal tables.
func (c *Core) TableHash() uint64 { return c.nodes.sum }

// Drops are the counters of what was not used.
func (c *Core) Drops() map[DropKey]uint64 { return maps.Clone(c.drops) }

// Counters are totals since the start.
func (c *Core) Counters() Counters { return c.count }

// pathAge is the age, in seconds, of the oldest word on which a path rests.
func (c *Core) pathAge(t *events.Tree, n *node) (age float64) {
	at := c.nodes.at(c.self)
	for _, next := range c.path(t, n) {
		for _, w := range [][2]*node{{at, next}, {next, at}} {
			if to := w[1].slot; w[0].outTo(to) != nil {
				age = max(age, millis(c.now.Sub(w[0].heardOn(to).at))/1000)
			}
		}
		at = next
	}
	return age
}
