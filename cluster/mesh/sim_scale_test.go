package mesh

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/erwik/erwik/events"
)

var (
	scaleSizes = flag.String("scale", "10,30,100", "numbers of nodes to count saves on")
	scaleOut   = flag.String("scale-out", "", "file that gets the figures as a table of Markdown; beside it, .svg is the same as curves")
)

// wide is how many links a node of a wide mesh has, about.
const wide = 16

// seeded makes a mesh that has formed: every node has every record, and every
// link is up. Forming it by joins takes N times N times N records.
func seeded(size int) *world {
	w := newWorld(uint64(size))
	w.tickEvery, w.unchecked = 250*time.Millisecond, true
	for i := range size {
		w.addNode(fmt.Sprintf("e%d", i+1))
	}
	for i, n := range w.nodes {
		for j := i + 1; j < size; j++ {
			p := w.pair(n, w.nodes[j])
			p.rate, p.latency = 10<<20, w.between(500*time.Microsecond, 5*time.Millisecond)
			p.exists = size <= wide+1 || j == i+1 || w.rng.IntN(size) < wide-2
		}
	}
	var records []*events.Record
	var words []*events.LinkRecord
	for _, n := range w.nodes {
		r := &events.Record{ID: n.id, Name: n.name, Addresses: []string{n.name + ":8000"}, Version: "sim", Incarnation: 1}
		r.Sig = fakeSig(n.id, r.SignedBytes(nil))
		records = append(records, r)
		for i, p := range w.pairs[n.index] {
			if p != nil && p.exists {
				l := &events.LinkRecord{From: n.id, To: w.nodes[i].id, Up: true, Step: events.StepOf(5 * p.latency), Incarnation: 1, Counter: 1}
				l.Sig = fakeSig(n.id, l.SignedBytes(nil))
				words = append(words, l)
			}
		}
	}
	for _, n := range w.nodes {
		n.seed(records, words)
	}
	return w
}

// seed starts a node in the midst of a mesh that has formed.
func (n *simNode) seed(records []*events.Record, words []*events.LinkRecord) {
	w := n.w
	n.up, n.life, n.pulls, n.mem = true, 1, map[uint64]bool{}, newDisk()
	c, err := New(Config{Self: n.id, Seed: [2]uint64{1, uint64(n.index)}, Verify: fakeVerify,
		Sign: func(m []byte) [events.SignatureSize]byte { return fakeSig(n.id, m) }})
	if err != nil {
		w.fail("new: %v", err)
		return
	}
	n.core, c.now, c.incarnation, c.nodes.counter = c, w.now, 1, 1
	for _, r := range records { // as one change of the pool: there is nobody yet who could tell
		c.nodes.admitted[r.ID] = true
		m := c.addNode(r.ID)
		m.record = r
		c.rowChanged(m, 0, recordHash(r))
	}
	c.poolChanged()
	for _, l := range words {
		a, b := c.nodes.byID[l.From], c.nodes.byID[l.To]
		c.setOut(a, b.slot, l)
	}
	for i, p := range w.pairs[n.index] {
		if p == nil || !p.exists {
			continue
		}
		m := w.nodes[i]
		p.up, n.links[m.id] = true, m
		c.linkUp(m.id, LinkInfo{RTT: 2 * p.latency})
		l := c.nodes.byID[m.id].link
		l.heard, l.acked, l.said, l.queue.first = true, true, true, false
		l.srtt, l.beatAt = 2*p.latency, w.now.Add(w.between(time.Second, heartbeatHealthy))
		l.step, l.named.pool, l.knows = events.StepOf(l.cost(c.now)), c.nodes.poolHash, c.nodes.pool
	}
	c.dirty = events.Set{}
	c.out.reset()
	n.tick(n.life)
}

// hops is how many links the shortest ways from the nodes that measure saves on
// have, on average.
func (w *world) hops(saves int) float64 {
	sum, ways := 0, 0
	for k := range saves {
		c := w.saver(k).core
		t := c.ownTree()
		for v := range t.Before {
			if v != c.self {
				sum += len(c.path(t, c.nodes.at(v)))
				ways++
			}
		}
	}
	return float64(sum) / float64(ways)
}

// processor is the time of processors that this process has used.
func processor() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		panic(fmt.Sprintf("getrusage: %v", err))
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// TestScale counts what a save costs as the mesh grows.
func TestScale(t *testing.T) {
	percent := debug.SetGCPercent(50) // of a thousand nodes, each GB counts
	defer debug.SetGCPercent(percent)
	out := "| nodes | links | notices a save | pulls a save | bytes a save, all links | bytes a node | to the last node | optimum | hops to a node | core time a save and node | memory a node |\n|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
	for _, text := range strings.Split(*scaleSizes, ",") {
		size, err := strconv.Atoi(text)
		if err != nil || size < 2 || size > MaxNodes {
			t.Fatalf("-scale %s: want numbers of nodes up to %d", *scaleSizes, MaxNodes)
		}
		begun := time.Now()
		w := seeded(size)
		w.measure(t, 3) // pulls measure the links; the new costs are told
		w.run(10 * time.Second)
		var mem runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&mem)
		held := float64(mem.HeapAlloc)
		links := 0
		bytes := func() (sum int64) {
			links = 0
			for i, row := range w.pairs {
				for j, p := range row {
					if i < j && p.exists {
						links++
						sum += p.bytes[0] + p.bytes[1]
					}
				}
			}
			return sum
		}
		const saves = 3
		said := &traffic{numbered: map[*wirePair]*[2]numberedFrame{}}
		w.notices = func(from, to *simNode, b []byte) { said.count(w, from, to, b) }
		before, start := bytes(), processor()
		r := w.measure(t, saves)
		took := processor() - start
		pulled := bytes() - before - said.frames
		per := (pulled + int64(said.saves)) / saves
		if r.pulls != float64(size-1) || r.notices < float64(size-1) {
			t.Errorf("%d nodes: %.1f notices, %.1f pulls a save", size, r.notices, r.pulls)
		}
		if w.failure != "" {
			t.Fatalf("%d nodes: %s", size, w.failure)
		}
		row := fmt.Sprintf("| %d | %d | %.0f | %.0f | %d | %d | %.1f ms | %.1f ms | %.1f | %.2f ms | %.1f MiB |\n", size, links, r.notices, r.pulls, per, per/int64(size),
			r.last.Seconds()*1e3, r.optimum.Seconds()*1e3, w.hops(saves), took.Seconds()*1e3/saves/float64(size), held/float64(size)/(1<<20))
		out += row
		t.Log(strings.TrimSpace(row))
		runtime.ReadMemStats(&mem)
		t.Logf("%d nodes: %.0f s, %d MiB from the system, %d steps, %.1f notices a node and save; of its bytes %d are content; besides, %.0f bytes a node and second", size, time.Since(begun).Seconds(), mem.Sys>>20, w.steps,
			r.notices/float64(size), pulled/saves/int64(size), said.rest/(2*saves)/float64(size))
	}
	if *scaleOut != "" {
		if err := os.WriteFile(*scaleOut, []byte(out), 0o644); err != nil {
			t.Fatal(err)
		}
		figure, err := drawScale(out)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(strings.TrimSuffix(*scaleOut, ".md")+".svg", []byte(figure), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
