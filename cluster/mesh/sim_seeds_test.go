package mesh

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/erwik/erwik/storage"
)

var seeds = flag.Int("seeds", 1000, "number of simulation seeds to run")

// swarm are the choices of one seed.
type swarm struct {
	nodes               int
	shape               int // of the links: 0 full mesh, 1 random, 2 chain, 3 two sites, 4 triangle with a slow side
	slowLinks           float64
	crashes, partitions bool
	backups, oneWay     bool
	flaps, clogs        bool
	clocks              bool // wall clocks jump at a start
	lossy               bool
	wander              bool // links get better and worse
	accuse              bool // nodes are wrongly said to be dead
	burst               int  // saves at once
	quiet               bool // no faults at all, and heartbeats compare nothing
	pullsFail           bool
	joins               int  // nodes that join while there are faults
	leaves              bool // one node goes for good and is removed
	twin, fork          bool // a key is used by two processes; they go on with one log
	lies                bool // one neighbor lies
	manyLogs            bool // a log for each save
	absence             bool // after rest, one node is away for a minute
	saves               int
	safety              time.Duration
}

func chooseSwarm(w *world) swarm {
	r := w.rng
	s := swarm{nodes: 2 + r.IntN(8), shape: r.IntN(5), saves: 10 + r.IntN(60), safety: w.between(5*time.Second, 40*time.Second)}
	switch size := r.IntN(100); {
	case size == 0:
		s.nodes, s.saves, s.safety = 20+r.IntN(31), 10+r.IntN(10), w.between(5*time.Second, 10*time.Second)
	case size < 8:
		s.nodes, s.saves = 10+r.IntN(11), 10+r.IntN(20)
	}
	if r.IntN(3) == 0 {
		s.slowLinks = 0.3 * r.Float64()
	}
	s.wander, s.burst = r.IntN(2) == 0, 1
	if r.IntN(2) == 0 {
		s.burst += r.IntN(8)
	}
	s.absence = r.IntN(4) == 0
	if r.IntN(4) == 0 {
		s.quiet = true
		if r.IntN(2) == 0 && s.nodes > 3 {
			s.joins = 1 + r.IntN(3)
		}
		s.pullsFail = r.IntN(4) == 0
		return s
	}
	s.crashes, s.partitions = r.IntN(2) == 0, r.IntN(2) == 0
	s.backups, s.oneWay, s.flaps = r.IntN(4) == 0, r.IntN(4) == 0, r.IntN(4) == 0
	s.lossy, s.accuse, s.clogs = r.IntN(3) == 0, r.IntN(4) == 0, r.IntN(3) == 0
	s.clocks, s.lies = r.IntN(3) == 0, r.IntN(6) == 0 && s.nodes > 2
	if r.IntN(4) == 0 && s.nodes > 3 {
		s.joins = 1 + r.IntN(2)
	}
	switch r.IntN(8) {
	case 0:
		s.leaves = s.nodes > 2 && s.joins == 0 && !s.backups
	case 1:
		s.twin, s.backups, s.joins = s.nodes > 2 && !s.lies, false, 0
		if s.fork = s.twin && r.IntN(2) == 0; s.fork {
			s.shape = 0 // whoever signs two commits for one place is asked for nothing more: others must know a way
		}
	case 2:
		s.manyLogs = s.nodes < 4 && r.IntN(3) == 0
		s.slowLinks = 0
	}
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
func (w *world) assemble() { w.assembleFirst(len(w.nodes)) }

func (w *world) assembleFirst(count int) {
	for i, n := range w.nodes[:count] {
		n.start()
		n.disk.joined = i == 0 || slices.ContainsFunc(w.nodes[:i], n.join)
		if !n.disk.joined {
			w.fail("%s cannot join", n.name)
		}
		w.run(w.between(0, 300*time.Millisecond))
	}
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
	w.swarm = s
	w.noRepair, w.clocks, w.wandered = s.quiet, s.clocks, s.wander || s.clogs
	first := len(w.nodes) - s.joins
	if s.twin {
		first--
		w.nodes[first].left = true // until it is made
	}
	w.assembleFirst(first)
	w.run(15 * time.Second)
	if s.quiet {
		w.copies = map[copyKey]int{}
	}
	if s.lossy {
		w.loss, w.dup, w.reorder, w.pullFail = 0.3*w.rng.Float64(), 0.3*w.rng.Float64(), 0.3*w.rng.Float64(), 0.1
	}
	if s.pullsFail {
		w.pullFail = 0.2
	}
	end := w.now.Add(s.safety)
	if s.wander {
		w.wander(end)
	}
	if s.lies {
		w.nodes[w.rng.IntN(first)].liar = &liar{}
	}
	w.plan(s, first)
	if !s.quiet {
		for range 3 + w.rng.IntN(12) {
			w.in(w.between(0, s.safety), func() { w.fault(s, end) })
		}
	}
	w.run(s.safety)
	if w.failure == "" {
		w.liveness(s)
	}
	return w
}

// plan sets when saves are made and who comes and goes.
func (w *world) plan(s swarm, first int) {
	at := func() time.Duration { return w.between(0, s.safety) }
	for made := 0; made < s.saves; {
		n, when := w.nodes[w.rng.IntN(len(w.nodes))], at()
		for range 1 + w.rng.IntN(s.burst) {
			w.in(when, func() {
				if s.quiet && len(n.links) == 0 {
					return // found by comparing only, which quiet seeds leave out
				}
				n.save(zeroID)
			})
			when += w.between(0, 3*time.Millisecond)
			made++
		}
	}
	for _, n := range w.nodes[first:] {
		if !s.twin {
			w.in(at(), n.joinLate)
		}
	}
	if s.leaves {
		w.in(at(), w.nodes[len(w.nodes)-1].leave)
	}
	if s.twin {
		n, c := w.nodes[w.rng.IntN(first)], w.nodes[first]
		w.in(at()/2, func() {
			c.left = !n.up
			n.double(c, s.fork)
		})
		for range 10 {
			w.in(s.safety/2+at()/2, func() { n.save(zeroID) })
			w.in(s.safety/2+at()/2, func() { c.save(zeroID) })
		}
	}
	if s.manyLogs {
		n := w.nodes[w.rng.IntN(first)]
		w.in(at(), func() {
			for range MaxQueueLogs + 80 {
				if n.up {
					n.log = storage.LogID{}
					n.save(zeroID)
				}
			}
		})
	}
}

var zeroID = (&simNode{}).id

// revision names the commit that a failing seed is replayed at.
func revision() string {
	out, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
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
			t.Fatalf("%s\n%+v", describe(seed, w), w.swarm)
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
