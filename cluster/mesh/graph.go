package mesh

import (
	"github.com/erwik/erwik/cluster/mesh/planted"
	"github.com/erwik/erwik/events"
)

// graphCache holds what is computed from the table, for one version of it.
type graphCache struct {
	version  uint64
	pool     uint64 // version of the pool
	made     bool
	graph    events.Graph
	plans    map[planKey]*events.Plan
	children map[int]events.Set // by root
	own      *events.Tree       // from this node
	trees    map[int]*events.Tree
}

type planKey struct {
	tell, via events.Set
	origin    bool
}

// maxPlans and maxTrees are kept per version; more: all are forgotten.
const (
	maxPlans = 256
	maxTrees = 32
)

// graphNow brings the graph up to the table's version.
func (c *Core) graphNow() *graphCache {
	g := &c.graph
	if g.made && g.version == c.nodes.version {
		return g
	}
	n := len(c.nodes.slots)
	if g.made && g.pool == c.nodes.poolVersion && g.graph.N == n {
		c.patchGraph()
	} else {
		c.makeGraph()
	}
	g.made, g.version, g.pool = true, c.nodes.version, c.nodes.poolVersion
	c.nodes.edges = c.nodes.edges[:0]
	g.plans = map[planKey]*events.Plan{}
	g.children = map[int]events.Set{}
	g.own, g.trees = nil, map[int]*events.Tree{}
	c.reach()
	return g
}

// makeGraph looks at every word of members on their links.
func (c *Core) makeGraph() {
	n := len(c.nodes.slots)
	g := &c.graph.graph
	*g = events.NewGraph(n)
	for i, m := range c.nodes.order {
		g.Rank[m.slot] = i
	}
	self := c.nodes.at(c.self)
	for _, a := range c.nodes.order {
		if a != self && self.member() {
			g.SetCost(self.slot, a.slot, c.edge(self, a))
		}
		for to := range a.outWords() {
			if b := c.nodes.at(to); b.member() && (a.slot < to || b.outTo(a.slot) == nil) {
				g.SetCost(a.slot, to, c.edge(a, b))
			}
		}
	}
}

// patchGraph looks at own links and at what changed since: a word on a link
// comes so often that looking at all pairs each time is what limits a mesh.
func (c *Core) patchGraph() {
	g := &c.graph.graph
	self := c.nodes.at(c.self)
	for _, m := range c.nodes.order {
		if m != self && self.member() {
			g.SetCost(self.slot, m.slot, c.edge(self, m))
		}
	}
	for _, e := range c.nodes.edges {
		if a, b := c.nodes.at(e[0]), c.nodes.at(e[1]); a.member() && b.member() {
			g.SetCost(a.slot, b.slot, c.edge(a, b))
		}
	}
}

// edge is the cost of the link between two members in microseconds, 0 if it is
// not up: own links by own state, others if both ends say so.
func (c *Core) edge(a, b *node) uint32 {
	if b.slot == c.self {
		a, b = b, a
	}
	if a.slot == c.self {
		if b.link == nil || !b.link.usable() {
			return 0
		}
		return b.link.step.Micros()
	}
	x, y := a.outTo(b.slot), b.outTo(a.slot)
	if planted.Now == planted.OneSidedCost && x == nil {
		x = y
	} else if planted.Now == planted.OneSidedCost {
		y = x
	}
	if x == nil || y == nil || !x.Up || !y.Up ||
		x.Incarnation != a.incarnation() || y.Incarnation != b.incarnation() {
		return 0
	}
	return max(x.Step, y.Step).Micros()
}

// reach finds which members a path of up links leads to.
func (c *Core) reach() {
	g, t := &c.graph.graph, c.ownTree()
	for _, n := range c.nodes.order {
		if n.slot == c.self {
			continue
		}
		if t.Before[n.slot] < 0 || planted.Now == planted.OnlyDirectReach && g.Cost(c.self, n.slot) == 0 {
			if n.reachable {
				n.reachable = false
				n.unreachable = c.now
				n.slowly = c.slowlyReached(n)
			}
			continue
		}
		if !n.reachable {
			c.dialSoon(n)
			if n.seen && c.now.Sub(n.unreachable) > freshAfter {
				c.sessions.metAt = c.now
			}
		}
		n.reachable, n.seen = true, true
		quick := int64(t.Cost[n.slot]) < slowFrom.Microseconds()
		if quick || n.quick { // it was until now
			n.quickAt = c.now
		}
		n.quick = quick
		n.slowly = c.slowlyReached(n)
		if n.dead {
			n.dead = false
			c.alarm(Alarm{Kind: AlarmAlive, Node: n.id, Text: "reachable again"})
		}
	}
}

// slowlyReached reports whether no quick way has led to n for a while: the last way
// to a node that goes is often a bad one.
func (c *Core) slowlyReached(n *node) bool {
	return !n.quick && (n.quickAt == 0 || c.now.Sub(n.quickAt) > quickFor)
}

// plan is the planner's answer for this table, computed once.
func (c *Core) plan(tell, via events.Set, origin bool) *events.Plan {
	g := c.graphNow()
	key := planKey{tell, via, origin}
	if p := g.plans[key]; p != nil {
		return p
	}
	if len(g.plans) >= maxPlans {
		clear(g.plans)
	}
	p := g.graph.Plan(c.self, &tell, &via, origin)
	g.plans[key] = &p
	return &p
}

// ownTree is the shortest-path tree from this node at plain costs.
func (c *Core) ownTree() *events.Tree {
	g := c.graphNow()
	if g.own == nil {
		t := g.graph.Tree(c.self)
		g.own = &t
	}
	return g.own
}

// treeFrom is the shortest-path tree from a root at plain costs.
func (c *Core) treeFrom(root int) *events.Tree {
	g := c.graphNow()
	t := g.trees[root]
	if t == nil {
		if len(g.trees) >= maxTrees {
			clear(g.trees)
		}
		made := g.graph.Tree(root)
		t = &made
		g.trees[root] = t
	}
	return t
}

// below is the set of own neighbors that this node serves in the tree from root.
func (c *Core) below(root int) events.Set {
	g := c.graphNow()
	if s, ok := g.children[root]; ok {
		return s
	}
	s := g.graph.Below(root, c.self)
	g.children[root] = s
	return s
}
