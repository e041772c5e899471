package mesh

import (
	"fmt"
	"testing"
	"time"
)

// dijkstra is the least time in which a save of one node could be on each other,
// hop by hop: a notice, the request for it and the answer, and the sync.
func (w *world) dijkstra(from *simNode, hop func(p *wirePair) time.Duration) []time.Duration {
	least := make([]time.Duration, len(w.nodes))
	done := make([]bool, len(w.nodes))
	for i := range least {
		least[i] = -1
	}
	least[from.index] = 0
	for range w.nodes {
		at := -1
		for i := range least {
			if !done[i] && least[i] >= 0 && (at < 0 || least[i] < least[at]) {
				at = i
			}
		}
		if at < 0 {
			break
		}
		done[at] = true
		for i, p := range w.pairs[at] {
			if p != nil && p.exists && i != at {
				if d := least[at] + hop(p); least[i] < 0 || d < least[i] {
					least[i] = d
				}
			}
		}
	}
	return least
}

// trueHop is what one hop takes on a wire that nothing else is on.
func trueHop(p *wirePair) time.Duration {
	const notice, request, answer = 190 + frameOverhead, 180, 500
	bytes := int64(notice + request + answer)
	return 3*p.latency + time.Duration(bytes*int64(time.Second)/p.rate) + 225*time.Microsecond
}

// routeMesh builds one of the meshes that saves are counted on.
func routeMesh(seed uint64, size int, wire func(w *world, i, j int, p *wirePair)) *world {
	w := newWorld(seed)
	w.tickEvery = 100 * time.Millisecond
	for i := range size {
		w.addNode(fmt.Sprintf("e%d", i+1))
	}
	for i, row := range w.pairs {
		for j, p := range row {
			if i < j {
				p.rate = 10 << 20
				wire(w, i, j, p)
				p.built = p.latency
			}
		}
	}
	w.assemble()
	w.run(time.Minute)
	return w
}

// The limit of time is 1.3. Between sites many ways cost nearly the same, and a
// relay is asked only where it is half as fast again, so 1.5 is the most there.

// TestRoutes counts what saves cost on meshes of many kinds: notices, pulls,
// content sent in vain, and how long the last node waits against the optimum.
func TestRoutes(t *testing.T) {
	uniform := func(w *world, i, j int, p *wirePair) { p.exists, p.latency = true, 500*time.Microsecond }
	random := func(w *world, i, j int, p *wirePair) {
		p.exists, p.latency = true, w.between(200*time.Microsecond, 40*time.Millisecond)
	}
	sites := func(w *world, i, j int, p *wirePair) {
		p.exists, p.latency = true, 300*time.Microsecond
		if i%3 != j%3 {
			p.latency = 20*time.Millisecond + w.between(0, 20*time.Millisecond)
		}
	}
	chain := func(w *world, i, j int, p *wirePair) { p.exists, p.latency = j == i+1, time.Millisecond }
	tests := []struct {
		name   string
		size   int
		seeds  uint64
		wire   func(w *world, i, j int, p *wirePair)
		direct bool    // nobody is relayed
		slower float64 // limit of the time to the last node, in optimums
	}{
		{"uniform", 30, 1, uniform, true, 1.3},
		{"random", 50, 4, random, false, 1.3},
		{"three sites", 30, 3, sites, false, 1.5},
		{"chain", 12, 1, chain, false, 1.3},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var sum, worst, count float64
			for seed := range test.seeds {
				w := routeMesh(1000+seed, test.size, test.wire)
				r := w.measure(t, 6)
				if w.failure != "" {
					t.Fatal(w.failure)
				}
				sum, worst, count = sum+r.slower, max(worst, r.slower), count+1
				t.Logf("seed %d: %.1f notices (%.1f relayed), %.2f pulls, %.3f copies of the content a save; last node after %v, optimum %v, mean of the ratios %.2f",
					seed, r.notices, r.relayed, r.pulls, r.content, r.last, r.optimum, r.slower)
				n := float64(test.size - 1)
				if r.content > 1.05*n || r.pulls > 1.05*n {
					t.Errorf("%.2f pulls and %.2f copies of the content a save on %d nodes", r.pulls, r.content, test.size)
				}
				if test.direct && r.notices > n || r.notices > 1.02*(n+r.relayed) { // tables differ a little now and then
					t.Errorf("%.1f notices a save on %d nodes", r.notices, test.size)
				}
			}
			if sum/count > test.slower {
				t.Errorf("the last node waits %.2f times the optimum", sum/count)
			}
			t.Logf("time to the last node: %.2f times the optimum, at worst %.2f", sum/count, worst)
		})
	}
}

// routed are figures of one save, on average.
type routed struct {
	notices, relayed, pulls, content, slower float64
	last, optimum                            time.Duration // at worst
}

// saver is where measure makes its save number k.
func (w *world) saver(k int) *simNode { return w.nodes[(k*7+3)%len(w.nodes)] }

// measure makes saves on nodes in turn, one each two seconds.
func (w *world) measure(t *testing.T, saves int) (r routed) {
	notices := func() (sum uint64) {
		for _, n := range w.nodes {
			sum += n.core.Counters().NoticesSent
		}
		return sum
	}
	for k := range saves {
		n := w.saver(k)
		var last time.Duration
		var c *simCommit
		here := 0
		w.stored = func(m *simNode, of *simCommit) {
			if of == c {
				last = w.now.Sub(c.acked)
				here++
			}
		}
		before, pulls, content := notices(), w.pulls, w.pulled
		plan := n.core.plan(n.core.nodes.pool, n.core.nodes.pool, true)
		for i := range plan.Copies {
			if plan.Copies[i].Slow {
				r.relayed++
			}
		}
		c = n.save(zeroID)
		w.run(2 * time.Second)
		if here != len(w.nodes) {
			t.Errorf("save %d is on %d of %d nodes after 2 s", k, here, len(w.nodes))
		}
		least := time.Duration(0)
		for _, d := range w.dijkstra(n, trueHop) {
			least = max(least, d)
		}
		r.notices += float64(notices() - before)
		r.pulls += float64(w.pulls - pulls)
		r.content += float64(w.pulled - content)
		r.slower += float64(last) / float64(least)
		r.last, r.optimum = max(r.last, last), max(r.optimum, least)
	}
	for _, f := range []*float64{&r.notices, &r.relayed, &r.pulls, &r.content, &r.slower} {
		*f /= float64(saves)
	}
	return r
}
