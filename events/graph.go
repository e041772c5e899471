package events

import (
	"cmp"
	"slices"
)

// Graph is the routing table as the planner sees it: nodes by slot, and what a
// hop costs. Links cost the same both ways. It keeps working memory for its
// searches, so one goroutine at a time may use it.
type Graph struct {
	// N is the number of slots, at most MaxPool; Rank orders them by node id
	// (ties go to the smaller one). Nodes with links have different ranks.
	N    int
	Rank []int
	hops [][]hop // by slot, ascending by the other end

	cost   []uint64 // of the last search
	before []int32
	far    []int32 // how many hops
	heap   spots
}

// hop is a link as one of its ends sees it.
type hop struct {
	to   int32
	cost uint32 // microseconds
}

// NewGraph makes a graph without links. The ranks are all n until they are set.
func NewGraph(n int) Graph {
	g := Graph{N: n, Rank: make([]int, n), hops: make([][]hop, n), cost: make([]uint64, n), before: make([]int32, n), far: make([]int32, n)}
	for i := range g.Rank {
		g.Rank[i] = n
	}
	return g
}

func (g *Graph) find(u, v int) (at int, found bool) {
	return slices.BinarySearchFunc(g.hops[u], int32(v), func(h hop, v int32) int { return cmp.Compare(h.to, v) })
}

// Cost is the cost of the hop u to v in microseconds; 0 = no link.
func (g *Graph) Cost(u, v int) uint32 {
	if at, found := g.find(u, v); found {
		return g.hops[u][at].cost
	}
	return 0
}

// SetCost sets the cost of the link between two nodes; 0 takes it out.
func (g *Graph) SetCost(a, b int, cost uint32) {
	g.setHop(a, b, cost)
	g.setHop(b, a, cost)
}

func (g *Graph) setHop(u, v int, cost uint32) {
	at, found := g.find(u, v)
	switch {
	case found && cost == 0:
		g.hops[u] = slices.Delete(g.hops[u], at, at+1)
	case found:
		g.hops[u][at].cost = cost
	case cost != 0:
		g.hops[u] = slices.Insert(g.hops[u], at, hop{int32(v), cost})
	}
}

// Tree is a shortest-path tree at plain costs.
type Tree struct {
	Cost   []uint64 // 0 = no path, but for the root
	Before []int32  // -1 = none
}

// Tree finds the shortest ways from a root. Ties go to the way with fewer hops,
// then to the smaller id of the node before. So a part of a way is a way in the
// tree from where it begins, and what one node leaves to another, by the tree
// from a third, the other one does by its own.
func (g *Graph) Tree(root int) Tree {
	g.start(root)
	for at := root; at >= 0; at = g.next() {
		g.pass(root, at, -1)
	}
	return Tree{Cost: slices.Clone(g.cost), Before: slices.Clone(g.before)}
}

// Below is the set of nodes right below self in the tree from a root. It looks no
// further than it must.
func (g *Graph) Below(root, self int) (below Set) {
	g.start(root)
	at := root
	for at >= 0 && at != self {
		g.pass(root, at, -1)
		at = g.next()
	}
	if at < 0 {
		return below
	}
	g.pass(root, self, -1)
	open := 0 // below self so far, and not done
	for _, h := range g.hops[self] {
		if int(g.before[h.to]) == self {
			open++
		}
	}
	for open > 0 {
		at = g.next()
		if int(g.before[at]) == self {
			below.Add(at)
			open--
		}
		if open > 0 {
			open -= g.pass(root, at, self)
		}
	}
	return below
}

// Reach is the set of nodes to which ways lead from a root over links that are not to
// be skipped.
func (g *Graph) Reach(root int, skip func(from, to int) bool) (found Set) {
	found.Add(root)
	for next := []int{root}; len(next) > 0; next = next[1:] {
		for _, h := range g.hops[next[0]] {
			if v := int(h.to); !found.Has(v) && !skip(next[0], v) {
				found.Add(v)
				next = append(next, v)
			}
		}
	}
	return found
}

// start begins a search.
func (g *Graph) start(root int) {
	clear(g.cost)
	clear(g.far)
	for i := range g.before {
		g.before[i] = -1
	}
	g.heap = g.heap[:0]
}

// next is the node with the cheapest way that was not passed on, -1 if none is left.
func (g *Graph) next() int {
	for len(g.heap) > 0 {
		s := g.heap.pop()
		if v := int(s.order & (MaxPool - 1)); g.cost[v] == s.cost {
			return v // a way of the same cost has the same place in the heap: it is there once
		}
	}
	return -1
}

// pass offers the ways that lead on from a node that is done. It returns how many
// of those that came from past do no more.
func (g *Graph) pass(root, at, past int) (left int) {
	for _, h := range g.hops[at] {
		v := int(h.to)
		if v == root {
			continue
		}
		d, b := g.cost[at]+uint64(h.cost), int(g.before[v])
		switch {
		case b < 0 || d < g.cost[v]:
			g.cost[v] = d
			g.heap.push(spot{d, uint64(g.Rank[v])*MaxPool + uint64(v)})
		case d > g.cost[v] || !g.closer(at, v, b):
			continue
		}
		if b == past {
			left++
		}
		g.before[v], g.far[v] = int32(at), g.far[at]+1
	}
	return left
}

// closer decides between two ways of the same cost to v: by way of a, and the one
// that is known, by way of b.
func (g *Graph) closer(a, v, b int) bool {
	if far := g.far[a] + 1; far != g.far[v] {
		return far < g.far[v]
	}
	return g.Rank[a] < g.Rank[b]
}

// spot is a place in a search: the smaller cost comes first, then the smaller order.
type spot struct{ cost, order uint64 }

func (s spot) before(o spot) bool {
	return s.cost < o.cost || s.cost == o.cost && s.order < o.order
}

// spots is a heap.
type spots []spot

func (h *spots) push(s spot) {
	*h = append(*h, s)
	a := *h
	i := len(a) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !s.before(a[up]) {
			break
		}
		a[i], i = a[up], up
	}
	a[i] = s
}

func (h *spots) pop() spot {
	a := *h
	top, s := a[0], a[len(a)-1]
	a = a[:len(a)-1]
	*h = a
	if len(a) == 0 {
		return top
	}
	i := 0
	for {
		down := 2*i + 1
		if down >= len(a) {
			break
		}
		if down+1 < len(a) && a[down+1].before(a[down]) {
			down++
		}
		if !a[down].before(s) {
			break
		}
		a[i], i = a[down], down
	}
	a[i] = s
	return top
}
