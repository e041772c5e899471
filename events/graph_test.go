package events

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// The searches as they were first written, over a matrix: at each step all nodes
// are looked at for the cheapest. What the heaps find must be the same, ties too.

// matrix is a graph with a cost for each pair.
type matrix struct {
	n    int
	rank []int
	cost []uint64
}

func (m *matrix) at(u, v int) uint64 { return m.cost[u*m.n+v] }

// tree is the shortest-path tree from a root.
func (m *matrix) tree(root int) Tree {
	t := Tree{Cost: make([]uint64, m.n), Before: make([]int32, m.n)}
	done := make([]bool, m.n)
	for i := range t.Before {
		t.Before[i] = -1
	}
	far := make([]int, m.n)
	closer := func(a, v, b int) bool {
		if far[a]+1 != far[v] {
			return far[a]+1 < far[v]
		}
		return m.rank[a] < m.rank[b]
	}
	for at := root; at >= 0; {
		done[at] = true
		for v := range m.n {
			w := m.at(at, v)
			if w == 0 || done[v] || v == root {
				continue
			}
			d := t.Cost[at] + w
			if t.Before[v] < 0 || d < t.Cost[v] || d == t.Cost[v] && closer(at, v, int(t.Before[v])) {
				t.Cost[v], t.Before[v], far[v] = d, int32(at), far[at]+1
			}
		}
		at = -1
		for v := range m.n {
			if !done[v] && t.Before[v] >= 0 && (at < 0 || t.Cost[v] < t.Cost[at] ||
				t.Cost[v] == t.Cost[at] && m.rank[v] < m.rank[at]) {
				at = v
			}
		}
	}
	return t
}

func (m *matrix) less(a *label, av int, b *label, bv int) bool {
	if a.cost != b.cost {
		return a.cost < b.cost
	}
	if ad, bd := int(a.first) == av, int(b.first) == bv; ad != bd {
		return ad
	}
	if a.first != b.first {
		return m.rank[a.first] < m.rank[b.first]
	}
	if a.before != b.before {
		return m.rank[a.before] < m.rank[b.before]
	}
	return m.rank[av] < m.rank[bv]
}

// spread finds the labels of a planner.
func (m *matrix) spread(self int, tell Set) [][2]label {
	labels := make([][2]label, m.n)
	tell.Remove(self)
	offer := func(v int, l label) {
		w := &labels[v]
		for k := range 2 {
			if w[k].set && w[k].first == l.first {
				if !w[k].done && m.less(&l, v, &w[k], v) {
					w[k] = l
					if k == 1 && !w[0].done && m.less(&w[1], v, &w[0], v) {
						w[0], w[1] = w[1], w[0]
					}
				}
				return
			}
		}
		switch {
		case !w[0].set:
			w[0] = l
		case !w[0].done && m.less(&l, v, &w[0], v):
			if int(w[0].first) != v || !w[1].set {
				w[1] = w[0]
			}
			w[0] = l
		case !w[1].set || int(w[1].first) == v || !w[1].done && m.less(&l, v, &w[1], v):
			w[1] = l
		}
	}
	for v := range tell.All() {
		if c := m.at(self, v); c != 0 {
			offer(v, label{cost: c * ownScale, first: int32(v), before: int32(self), set: true})
		}
	}
	for {
		node, which := -1, 0
		for v := range tell.All() {
			for k := range 2 {
				if l := &labels[v][k]; l.set && !l.done && (node < 0 || m.less(l, v, &labels[node][which], node)) {
					node, which = v, k
				}
			}
		}
		if node < 0 {
			return labels
		}
		l := &labels[node][which]
		l.done = true
		direct := labels[node][0].set && int(labels[node][0].first) == node
		if direct && which == 1 || !direct && int(l.first) == node {
			continue
		}
		for w := range tell.All() {
			if c := m.at(node, w); c != 0 && w != node {
				offer(w, label{cost: l.cost + c*otherScale, first: l.first, before: int32(node), set: true})
			}
		}
	}
}

// randomGraph makes the same graph twice, with few different costs, so that ways
// are often equally long, and ranks that are not the slots.
func randomGraph(rng *rand.Rand) (Graph, *matrix) {
	n := 1 + rng.IntN(40)
	g := NewGraph(n)
	m := &matrix{n: n, rank: g.Rank, cost: make([]uint64, n*n)}
	copy(g.Rank, rng.Perm(n))
	costs := []int{1, 3, 1000}[rng.IntN(3)]
	most := 1 + rng.IntN(n*n)
	for range most { // some again, some taken out
		a, b, c := rng.IntN(n), rng.IntN(n), rng.IntN(costs+1)
		if a != b {
			g.SetCost(a, b, uint32(c))
			m.cost[a*n+b], m.cost[b*n+a] = uint64(c), uint64(c)
		}
	}
	return g, m
}

func randomSet(rng *rand.Rand, n int) (s Set) {
	all := rng.IntN(3) == 0
	for v := range n {
		if all || rng.IntN(3) > 0 {
			s.Add(v)
		}
	}
	return s
}

// reach is Graph.Reach by taking links in until none adds a node.
func (m *matrix) reach(root int, without Set) (found Set) {
	found.Add(root)
	for grows := true; grows; {
		grows = false
		for u := range m.n {
			for v := range m.n {
				if found.Has(u) && !found.Has(v) && m.at(u, v) != 0 && (u != root || !without.Has(v)) {
					found.Add(v)
					grows = true
				}
			}
		}
	}
	return found
}

// TestTreesOfHeapAndMatrix: trees, who is below whom in them, and what can be
// reached are those of the plain search.
func TestTreesOfHeapAndMatrix(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 11))
	ties := 0
	for round := range 3000 {
		g, m := randomGraph(rng)
		for a := range g.N {
			for b := range g.N {
				if uint64(g.Cost(a, b)) != m.at(a, b) {
					t.Fatalf("round %d: %d to %d costs %d, want %d", round, a, b, g.Cost(a, b), m.at(a, b))
				}
			}
		}
		root, self := rng.IntN(g.N), rng.IntN(g.N)
		without := randomSet(rng, g.N)
		skip := func(from, to int) bool { return from == root && without.Has(to) }
		if got, want := g.Reach(root, skip), m.reach(root, without); got != want {
			t.Fatalf("round %d: from %d without %v: %v, want %v", round, root, without, got, want)
		}
		got, want := g.Tree(root), m.tree(root)
		if !slices.Equal(got.Cost, want.Cost) || !slices.Equal(got.Before, want.Before) {
			t.Fatalf("round %d: tree from %d is %v, want %v", round, root, got, want)
		}
		var below Set
		for v, before := range want.Before {
			if int(before) == self {
				below.Add(v)
			}
			for u := range g.N {
				if before >= 0 && u != int(before) && m.at(u, v) != 0 && (u == root || want.Before[u] >= 0) && want.Cost[u]+m.at(u, v) == want.Cost[v] {
					ties++
				}
			}
		}
		if got := g.Below(root, self); got != below {
			t.Fatalf("round %d: below %d in the tree from %d: %v, want %v", round, self, root, got, below)
		}
	}
	if ties < 3000 {
		t.Errorf("only %d ties", ties)
	}
}

// TestPlansOfHeapAndMatrix: the ways that plans are made of are those of the
// plain search, so the plans are.
func TestPlansOfHeapAndMatrix(t *testing.T) {
	rng := rand.New(rand.NewPCG(12, 12))
	second := 0
	for round := range 3000 {
		g, m := randomGraph(rng)
		self, tell := rng.IntN(g.N), randomSet(rng, g.N)
		p := planner{Graph: &g, self: self, tell: tell, labels: make([][2]label, g.N)}
		p.tell.Remove(self)
		p.spread()
		want := m.spread(self, tell)
		for v := range p.labels {
			if p.labels[v] != want[v] {
				t.Fatalf("round %d: ways from %d to %d are %s, want %s", round, self, v, fmt.Sprintf("%+v", p.labels[v]), fmt.Sprintf("%+v", want[v]))
			}
			if want[v][1].set {
				second++
			}
		}
	}
	if second < 3000 {
		t.Errorf("only %d second ways", second)
	}
}

// BenchmarkBelow1000: one tree of a mesh of 1,000 nodes with 16 links each, as
// far as who is below one of them asks for.
func BenchmarkBelow1000(b *testing.B) {
	g := thousand()
	for i := 0; b.Loop(); i++ {
		g.Below(i%1000, (i*7+1)%1000)
	}
}
