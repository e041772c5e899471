package events

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// mesh makes a graph from a list of links; costs are in milliseconds.
func mesh(n int, links ...[3]int) *Graph {
	g := NewGraph(n)
	for i := range g.Rank {
		g.Rank[i] = i
	}
	for _, l := range links {
		g.SetCost(l[0], l[1], uint32(l[2]*1000))
	}
	return &g
}

func setOf(slots ...int) *Set {
	var s Set
	for _, i := range slots {
		s.Add(i)
	}
	return &s
}

func allBut(n int, self int) *Set {
	var s Set
	for i := range n {
		if i != self {
			s.Add(i)
		}
	}
	return &s
}

// text shows a plan: each copy as to[open], with * for a slow direct one.
func (p Plan) text() string {
	var out strings.Builder
	for _, c := range p.Copies {
		slow := ""
		if c.Slow {
			slow = "*"
		}
		open := ""
		for v := range c.Open.All() {
			open += fmt.Sprint(v)
		}
		out.WriteString(fmt.Sprintf("%d%s[%s] ", c.To, slow, open))
	}
	return out.String()
}

func TestPlan(t *testing.T) {
	triangle := mesh(3, [3]int{0, 1, 1}, [3]int{1, 2, 1}, [3]int{0, 2, 3000})
	uniform := mesh(4, [3]int{0, 1, 1}, [3]int{0, 2, 1}, [3]int{0, 3, 1}, [3]int{1, 2, 1}, [3]int{1, 3, 1}, [3]int{2, 3, 1})
	chain := mesh(4, [3]int{0, 1, 1}, [3]int{1, 2, 1}, [3]int{2, 3, 1})
	// 0 reaches 3 only through 1 or 2; 4 hangs below 3.
	diamond := mesh(5, [3]int{0, 1, 1}, [3]int{0, 2, 2}, [3]int{1, 3, 1}, [3]int{2, 3, 1}, [3]int{3, 4, 1})
	// 2 is a slow neighbor of 0 with 3 behind it; 1 relays to 2.
	behind := mesh(4, [3]int{0, 1, 1}, [3]int{1, 2, 1}, [3]int{0, 2, 900}, [3]int{2, 3, 1})
	cut := mesh(4, [3]int{0, 1, 1}, [3]int{2, 3, 1})
	for _, test := range []struct {
		name   string
		graph  *Graph
		self   int
		tell   *Set
		via    *Set
		origin bool
		want   string
		lost   *Set
	}{
		{"the mission's triangle", triangle, 0, setOf(1, 2), nil, true, "1[2] 2*[] ", setOf()},
		{"its relay", triangle, 1, setOf(2), nil, false, "2[] ", setOf()},
		{"not the origin: no slow copy", triangle, 0, setOf(1, 2), nil, false, "1[2] ", setOf()},
		{"uniform: everybody directly", uniform, 2, allBut(4, 2), nil, true, "0[] 1[] 3[] ", setOf()},
		{"a chain", chain, 0, allBut(4, 0), nil, true, "1[23] ", setOf()},
		{"in the middle of a chain", chain, 1, allBut(4, 1), nil, true, "0[] 2[3] ", setOf()},
		{"two relays with different first hops", diamond, 0, allBut(5, 0), nil, true, "1[34] 2[34] ", setOf()},
		{"the slow copy leaves its own subtree open", behind, 0, allBut(4, 0), nil, true, "1[23] 2*[3] ", setOf()},
		{"nobody knows a way", cut, 0, allBut(4, 0), nil, true, "1[23] ", setOf(2, 3)},
		{"cut off by one who holds it", chain, 0, setOf(2, 3), allBut(4, 0), false, "1[23] ", setOf()},
		{"cut off, and no way through holders", chain, 0, setOf(2, 3), nil, false, "", setOf(2, 3)},
		{"nobody to tell", chain, 0, setOf(), nil, true, "", setOf()},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := test.graph.Plan(test.self, test.tell, test.via, test.origin)
			if got := p.text(); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if p.Lost != *test.lost {
				t.Errorf("lost %v", p.Lost)
			}
		})
	}
}

// TestRelayMustBeHalfAsFastAgain: own links count at two thirds.
func TestRelayMustBeHalfAsFastAgain(t *testing.T) {
	for direct, want := range map[int]string{2: "1[] 2[] ", 3: "1[] 2[] ", 4: "1[] 2[] ", 5: "1[] 2[] ", 6: "1[2] 2*[] ", 7: "1[2] 2*[] "} {
		g := mesh(3, [3]int{0, 1, 2}, [3]int{1, 2, 2}, [3]int{0, 2, direct})
		p := g.Plan(0, setOf(1, 2), nil, true)
		if got := p.text(); got != want {
			t.Errorf("direct %d ms, relay 2+2 ms: %s, want %s", direct, got, want)
		}
	}
}

// spreadAll plays a plan through a mesh whose nodes agree on the table, and
// returns how many copies were sent and who was told.
func spreadAll(g *Graph, origin int) (copies int, told Set) {
	type message struct {
		to   int
		open Set
		from int
	}
	passed := make([]Set, g.N)
	told.Add(origin)
	var queue []message
	send := func(from int, p Plan) {
		for _, c := range p.Copies {
			copies++
			passed[from].Add(c.To)
			passed[from].AddAll(&c.Open)
			queue = append(queue, message{c.To, c.Open, from})
		}
	}
	send(origin, g.Plan(origin, allBut(g.N, origin), nil, true))
	for len(queue) > 0 {
		m := queue[0]
		queue = queue[1:]
		told.Add(m.to)
		tell := m.open
		tell.RemoveAll(&passed[m.to])
		tell.Remove(m.to)
		tell.Remove(origin)
		if !tell.Empty() {
			via := *allBut(g.N, m.to)
			via.Remove(m.from)
			send(m.to, g.Plan(m.to, &tell, &via, false))
		}
	}
	return copies, told
}

// TestPlansReachEverybody: whatever the mesh, the plans of all nodes together tell
// everybody, with hardly more copies than two for each.
func TestPlansReachEverybody(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for round := range 20_000 {
		n := 2 + rng.IntN(24)
		var links [][3]int
		for i := 1; i < n; i++ {
			links = append(links, [3]int{i, rng.IntN(i), 1 + rng.IntN(100)})
		}
		for range rng.IntN(2 * n) {
			if a, b := rng.IntN(n), rng.IntN(n); a != b {
				links = append(links, [3]int{a, b, 1 + rng.IntN(3000)})
			}
		}
		g := mesh(n, links...)
		origin := rng.IntN(n)
		copies, told := spreadAll(g, origin)
		if told.Len() != n {
			t.Fatalf("round %d: %d of %d nodes told", round, told.Len(), n)
		}
		if copies > 2*n {
			t.Errorf("round %d: %d copies for %d nodes", round, copies, n)
		}
	}
}

func TestSet(t *testing.T) {
	s := setOf(0, 63, 64, 1023)
	if s.Len() != 4 || !s.Has(64) || s.Has(65) || s.Empty() {
		t.Error("add and has")
	}
	var got []int
	for v := range s.All() {
		got = append(got, v)
		s.Remove(v)
	}
	if fmt.Sprint(got) != "[0 63 64 1023]" || !s.Empty() {
		t.Errorf("all: %v", got)
	}
	a, b := setOf(1, 2, 3), setOf(3, 4)
	a.KeepAll(b)
	if *a != *setOf(3) {
		t.Error("keep all")
	}
	a.AddAll(b)
	a.RemoveAll(setOf(3))
	if *a != *setOf(4) {
		t.Error("add all, remove all")
	}
}

// thousand is a mesh of 1,000 nodes with some 16 links each.
func thousand() *Graph {
	rng := rand.New(rand.NewPCG(7, 7))
	var links [][3]int
	for i := range 1000 {
		for range 8 {
			if j := rng.IntN(1000); j != i {
				links = append(links, [3]int{i, j, 1 + rng.IntN(20)})
			}
		}
	}
	return mesh(1000, links...)
}

// BenchmarkPlan1000: the origin's plan in a mesh of 1,000 nodes with 16 links each.
func BenchmarkPlan1000(b *testing.B) {
	g := thousand()
	tell := allBut(1000, 0)
	for b.Loop() {
		g.Plan(0, tell, nil, true)
	}
}

func BenchmarkPlan50(b *testing.B) {
	rng := rand.New(rand.NewPCG(7, 7))
	var links [][3]int
	for i := range 50 {
		for j := range i {
			links = append(links, [3]int{i, j, 1 + rng.IntN(100)})
		}
	}
	g := mesh(50, links...)
	tell := allBut(50, 0)
	for b.Loop() {
		g.Plan(0, tell, nil, true)
	}
}
