package mesh

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/erwik/erwik/events"
)

var seeds = flag.Int("seeds", 1000, "number of simulation seeds to run")

// swarm are the choices of one seed.
type swarm struct {
	nodes               int
	shape               int // of the links: 0 full mesh, 1 random, 2 chain, 3 two sites, 4 triangle with a slow side
	slowLinks           float64
	crashes, partitions bool
	backups, oneWay     bool
	flaps               bool
	lossy               bool
	wander              bool // links get better and worse
	accuse              bool // nodes are wrongly said to be dead
	burst               int  // saves at once
	quiet               bool // no faults at all, and heartbeats compare nothing
	saves               int
	safety              time.Duration
}

func chooseSwarm(w *world) swarm {
	r := w.rng
	s := swarm{nodes: 2 + r.IntN(8), shape: r.IntN(5), saves: 10 + r.IntN(60), safety: w.between(5*time.Second, 40*time.Second)}
	if r.IntN(10) == 0 {
		s.nodes = 10 + r.IntN(11)
		s.saves = 10 + r.IntN(20)
	}
	if r.IntN(3) == 0 {
		s.slowLinks = 0.3 * r.Float64()
	}
	s.wander, s.burst = r.IntN(2) == 0, 1
	if r.IntN(2) == 0 {
		s.burst += r.IntN(8)
	}
	if r.IntN(4) == 0 {
		s.quiet = true
		return s
	}
	s.crashes, s.partitions = r.IntN(2) == 0, r.IntN(2) == 0
	s.backups, s.oneWay, s.flaps = r.IntN(4) == 0, r.IntN(4) == 0, r.IntN(4) == 0
	s.lossy, s.accuse = r.IntN(3) == 0, r.IntN(4) == 0
	return s
}

// build makes nodes and wires.
func (w *world) build(s swarm) {
	for i := range s.nodes {
		w.addNode(fmt.Sprintf("e%d", i+1))
	}
	for i, a := range w.nodes {
		for j := i + 1; j < len(w.nodes); j++ {
			p := w.pair(a, w.nodes[j])
			p.latency = w.between(50*time.Microsecond, 5*time.Millisecond)
			p.rate = 1 << (17 + w.rng.IntN(7)) // 128 KB/s to 8 MB/s
			switch s.shape {
			case 0:
				p.exists = true
				p.latency, p.rate = 100*time.Microsecond, 10<<20
			case 1:
				p.exists = j == i+1 || w.chance(0.5)
			case 2:
				p.exists = j == i+1
			case 3:
				p.exists = (i%2 == j%2) || i == 0 && j == 1 || w.chance(0.1)
				if i%2 != j%2 {
					p.latency += w.between(5*time.Millisecond, 80*time.Millisecond)
				}
			case 4:
				p.exists = true
				if i == 0 && j == len(w.nodes)-1 && j > 1 {
					p.rate = 250
				}
			}
			p.built = p.latency
			if j > i+1 && w.chance(s.slowLinks) {
				p.rate = 250 * (1 + w.rng.Int64N(8))
			}
		}
	}
}

// assemble lets everybody join, each through somebody it has a wire to.
func (w *world) assemble() {
	for i, n := range w.nodes {
		n.start()
		if slices.ContainsFunc(w.nodes[:i], n.join) {

		}
		if i > 0 && !n.disk.joined {
			w.fail("%s cannot join", n.name)
		}
		w.run(w.between(0, 300*time.Millisecond))
	}
}

// fault makes one random fault and its end.
func (w *world) fault(s swarm, end Time) {
	r := w.rng
	n := w.nodes[r.IntN(len(w.nodes))]
	until := w.between(100*time.Millisecond, 10*time.Second)
	switch kind := r.IntN(6); {
	case kind == 0 && s.crashes && n.up:
		n.crash()
		w.in(until, func() {
			if !n.up {
				n.start()
			}
		})
	case kind == 1 && s.partitions:
		side := make([]bool, len(w.nodes))
		for i := range side {
			side[i] = r.IntN(2) == 0
		}
		if r.IntN(3) == 0 {
			clear(side)
			side[n.index] = true
		}
		w.block(func(a, b *simNode) bool { return side[a.index] != side[b.index] }, until)
	case kind == 2 && s.backups:
		if n.backup == nil || r.IntN(2) == 0 {
			n.backup = n.disk.clone()
		} else {
			n.restore()
			w.in(w.between(10*time.Millisecond, 2*time.Second), func() {
				if !n.up {
					n.start()
				}
			})
		}
	case kind == 3 && s.oneWay:
		m := w.nodes[r.IntN(len(w.nodes))]
		if m != n {
			w.block(func(a, b *simNode) bool { return a == n && b == m }, until)
		}
	case kind == 4 && s.flaps:
		m := w.nodes[r.IntN(len(w.nodes))]
		if m != n && n.up && m.up {
			w.reset(w.pair(n, m), nil)
		}
	case kind == 5 && s.accuse && n.up:
		m := w.nodes[r.IntN(len(w.nodes))]
		if known := n.core.nodes.byID[m.id]; m != n && known != nil && known.member() {
			n.core.tellAll(events.NewDead(n.id, events.Dead{Node: m.id, Incarnation: known.incarnation()}))
			n.core.settle()
			w.flush(n)
		}
	}
}

// wander changes one wire now and then, between a twentieth and fifty times of
// what it was built with.
func (w *world) wander(end Time) {
	i, j := w.rng.IntN(len(w.nodes)), w.rng.IntN(len(w.nodes))
	if p := w.pairs[i][j]; p != nil && p.exists && !p.slow() {
		p.latency = p.built * time.Duration(1+w.rng.IntN(1000)) / 20
	}
	if next := w.now.Add(w.between(10*time.Millisecond, time.Second)); next < end {
		w.at(next, func() { w.wander(end) })
	}
}

// block cuts directions for a while.
func (w *world) block(cut func(from, to *simNode) bool, d time.Duration) {
	type one struct {
		p *wirePair
		d int
	}
	var done []one
	for i, row := range w.pairs {
		for j, p := range row {
			if i < j {
				if cut(p.a, p.b) && !p.blocked[0] {
					p.blocked[0] = true
					done = append(done, one{p, 0})
				}
				if cut(p.b, p.a) && !p.blocked[1] {
					p.blocked[1] = true
					done = append(done, one{p, 1})
				}
			}
		}
	}
	w.in(d, func() {
		for _, o := range done {
			o.p.blocked[o.d] = false
			o.p.upSince = w.now
		}
	})
}

// runSeed runs one seed to its end and returns the world.
func runSeed(seed uint64, prepare func(*world, *swarm)) *world {
	w := newWorld(seed)
	s := chooseSwarm(w)
	w.tickEvery = w.between(50*time.Millisecond, 250*time.Millisecond)
	if prepare != nil {
		prepare(w, &s)
	}
	w.build(s)
	w.noRepair = s.quiet
	w.assemble()
	w.run(15 * time.Second)
	if s.lossy {
		w.loss, w.dup, w.reorder, w.pullFail = 0.3*w.rng.Float64(), 0.3*w.rng.Float64(), 0.3*w.rng.Float64(), 0.1
	}
	end := w.now.Add(s.safety)
	w.wandered = s.wander
	if s.wander {
		w.wander(end)
	}
	for made := 0; made < s.saves; {
		n := w.nodes[w.rng.IntN(len(w.nodes))]
		at := w.between(0, s.safety)
		for range 1 + w.rng.IntN(s.burst) {
			w.in(at, func() { n.save(zeroID) })
			at += w.between(0, 3*time.Millisecond)
			made++
		}
	}
	if !s.quiet {
		for range 3 + w.rng.IntN(12) {
			w.in(w.between(0, s.safety), func() { w.fault(s, end) })
		}
	}
	w.run(s.safety)
	w.liveness(s)
	return w
}

// liveness ends all faults and demands rest within bounded time.
func (w *world) liveness(s swarm) {
	w.loss, w.dup, w.reorder, w.pullFail = 0, 0, 0, 0
	bound := 100 * time.Second
	if s.wander {
		bound += 2 * time.Minute
	}
	slowBytes := 0
	for i, row := range w.pairs {
		for j, p := range row {
			if i < j {
				if p.blocked[0] || p.blocked[1] {
					p.upSince = w.now
				}
				p.blocked, p.latency = [2]bool{}, p.built
				if p.exists && p.slow() {
					slowBytes = len(w.made) * 600
				}
			}
		}
	}
	if slowBytes > 0 {
		bound += 3*time.Minute + 3*time.Duration(slowBytes)*time.Second/250
	}
	for _, n := range w.nodes {
		if !n.up {
			n.start()
		}
	}
	if !w.until(bound, time.Second, func() bool { return w.missing() == "" }) {
		w.fail("no rest within %v: %s", bound, w.missing())
	}
	w.checkSaves()
}

var zeroID = (&simNode{}).id

func describe(seed uint64, w *world) string {
	return fmt.Sprintf("seed %d: %s\nreplay: ERWIK_SEED=%d go test -run TestSeeds ./cluster/mesh", seed, w.failure, seed)
}

// TestSeeds runs the swarm. Each hundredth seed runs twice, and its traces must
// be equal bit for bit.
func TestSeeds(t *testing.T) {
	if text := os.Getenv("ERWIK_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		w := runSeed(seed, nil)
		if w.failure != "" {
			t.Fatal(describe(seed, w))
		}
		return
	}
	steps := 0
	for seed := range uint64(*seeds) {
		w := runSeed(seed, nil)
		steps += w.steps
		if w.failure != "" {
			t.Fatal(describe(seed, w))
		}
		if seed%100 == 0 {
			if again := runSeed(seed, nil); again.trace != w.trace || again.steps != w.steps {
				t.Fatalf("seed %d did not replay: %d steps, then %d", seed, w.steps, again.steps)
			}
		}
	}
	t.Logf("%d seeds, %d steps", *seeds, steps)
}
