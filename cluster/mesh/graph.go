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
	trees    map[int]*tree
}

type planKey struct {
	tell, via events.Set
	origin    bool
}

const maxPlans = 256 // per version; more: all are forgotten

// tree is a shortest-path tree at plain costs.
type tree struct {
	cost   []uint64 // 0 = no path, but for the root
	before []int    // -1 = none
}

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
	g.trees = map[int]*tree{}
	c.reach()
	return g
}

// makeGraph looks at every pair of members.
func (c *Core) makeGraph() {
	n := len(c.nodes.slots)
	g := &c.graph.graph
	*g = events.Graph{N: n, Rank: make([]int, n), Cost: make([]uint32, n*n)}
	for i := range g.Rank {
		g.Rank[i] = n
	}
	for i, m := range c.nodes.order {
		g.Rank[m.slot] = i
	}
	for i, a := range c.nodes.order {
		for _, b := range c.nodes.order[i+1:] {
			setCost(g, a.slot, b.slot, c.edge(a, b))
		}
	}
}

func setCost(g *events.Graph, a, b int, cost uint32) {
	g.Cost[a*g.N+b], g.Cost[b*g.N+a] = cost, cost
}

// patchGraph looks at own links and at what changed since: a word on a link
// comes so often that looking at all pairs each time is what limits a mesh.
func (c *Core) patchGraph() {
	g := &c.graph.graph
	self := c.nodes.at(c.self)
	for _, m := range c.nodes.order {
		if m != self && self.member() {
			setCost(g, self.slot, m.slot, c.edge(self, m))
		}
	}
	for _, e := range c.nodes.edges {
		if a, b := c.nodes.at(e[0]), c.nodes.at(e[1]); a.member() && b.member() {
			setCost(g, a.slot, b.slot, c.edge(a, b))
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
	g := &c.graph.graph
	var seen events.Set
	seen.Add(c.self)
	queue := []int{c.self}
	for len(queue) > 0 {
		u := queue[0]
		queue = queue[1:]
		for v := range g.N {
			if planted.Now == planted.OnlyDirectReach && u != c.self {
				break
			}
			if g.Cost[u*g.N+v] != 0 && !seen.Has(v) {
				seen.Add(v)
				queue = append(queue, v)
			}
		}
	}
	t := c.treeFrom(c.self)
	for _, n := range c.nodes.order {
		if n.slot == c.self {
			continue
		}
		if !seen.Has(n.slot) {
			if n.reachable {
				n.reachable = false
				n.unreachable = c.now
			}
			continue
		}
		if !n.reachable {
			c.dialSoon(n)
		}
		n.reachable, n.seen = true, true
		quick := int64(t.cost[n.slot]) < slowFrom.Microseconds()
		if quick || n.quick { // it was until now
			n.quickAt = c.now
		}
		n.quick = quick
		n.slowly = !quick && (n.quickAt == 0 || c.now.Sub(n.quickAt) > quickFor) // the last way to a node that goes is often a bad one
		if n.dead {
			n.dead = false
			c.alarm(Alarm{Kind: AlarmAlive, Node: n.id, Text: "reachable again"})
		}
	}
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

// treeFrom is the shortest-path tree from a root at plain costs; ties go to the
// way with fewer hops, then to the smaller id of the node before. So a part of a
// way is a way in the tree from where it begins, and what one node leaves to
// another, by the tree from a third, the other one does by its own.
func (c *Core) treeFrom(root int) *tree {
	cache := c.graphNow()
	if t := cache.trees[root]; t != nil {
		return t
	}
	g := &cache.graph
	t := &tree{cost: make([]uint64, g.N), before: make([]int, g.N)}
	hops := make([]int, g.N)
	done := make([]bool, g.N)
	for i := range t.before {
		t.before[i] = -1
	}
	for at := root; at >= 0; {
		done[at] = true
		for v := range g.N {
			w := uint64(g.Cost[at*g.N+v])
			if w == 0 || done[v] || v == root {
				continue
			}
			d := t.cost[at] + w
			if t.before[v] < 0 || d < t.cost[v] || d == t.cost[v] && (hops[at]+1 < hops[v] || hops[at]+1 == hops[v] && g.Rank[at] < g.Rank[t.before[v]]) {
				t.cost[v], t.before[v], hops[v] = d, at, hops[at]+1
			}
		}
		at = -1
		for v := range g.N {
			if !done[v] && t.before[v] >= 0 && (at < 0 || t.cost[v] < t.cost[at] ||
				t.cost[v] == t.cost[at] && g.Rank[v] < g.Rank[at]) {
				at = v
			}
		}
	}
	cache.trees[root] = t
	return t
}

// below is the set of own neighbors that this node serves in the tree from root.
func (c *Core) below(root int) events.Set {
	g := c.graphNow()
	if s, ok := g.children[root]; ok {
		return s
	}
	var s events.Set
	t := c.treeFrom(root)
	for v, before := range t.before {
		if before == c.self {
			s.Add(v)
		}
	}
	g.children[root] = s
	return s
}
