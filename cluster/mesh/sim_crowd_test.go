package mesh

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// kindNames are the items of frames, for people.
var kindNames = map[byte]string{kindSummary: "summary", kindEvent: "event", kindOrigins: "origins", kindLogs: "logs", kindHolders: "holders",
	kindRows: "rows", kindNode: "node", kindLink: "link", kindLinks: "links", kindContent: "content"}

// tally counts what goes over the links, by kind of item.
type tally struct {
	frames, bytes int
	kinds         map[string]int // bytes
	items         map[string]int
}

// count starts counting frames, and returns what does it.
func (w *world) count() *tally {
	t := &tally{kinds: map[string]int{}, items: map[string]int{}}
	w.notices = func(_, _ *simNode, b []byte) {
		t.frames++
		t.bytes += len(b) + frameOverhead + tcpAck
		f, err := decodeFrame(b)
		if err != nil {
			w.fail("a frame does not decode: %v", err)
			return
		}
		for _, it := range f.items {
			body := it.append(nil)
			name := kindNames[body[0]]
			if s, ok := it.(*linksItem); ok && len(s.set.Links) < 8 {
				name = "few links"
			}
			t.kinds[name] += len(body)
			t.items[name]++
		}
	}
	return t
}

func (t *tally) String() string {
	var names []string
	for name := range t.kinds {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return t.kinds[b] - t.kinds[a] })
	out := fmt.Sprintf("%d frames, %d bytes with headers;", t.frames, t.bytes)
	for _, name := range names {
		out += fmt.Sprintf(" %s %d in %d,", name, t.kinds[name], t.items[name])
	}
	return strings.TrimSuffix(out, ",")
}

// crowd makes a mesh of size nodes, all with all, whose wires take 0.1 to 5 ms
// as if their machine were busy, and lets them all join within a second. It returns
// what counts since before that.
func crowd(t *testing.T, size int) (*world, *tally) {
	w := newWorld(uint64(size))
	w.tickEvery, w.unchecked = 100*time.Millisecond, true
	for i := range size {
		w.addNode(fmt.Sprintf("e%d", i+1))
	}
	for i, row := range w.pairs {
		for j, p := range row {
			if i < j {
				p.exists, p.latency, p.rate = true, 200*time.Microsecond, 10<<20
			}
		}
	}
	w.hiccup(50 * time.Millisecond)
	told := w.count()
	for i, n := range w.nodes {
		n.start()
		if i > 0 && !n.join(w.nodes[0]) {
			t.Fatal("join")
		}
		if i > 0 {
			n.save(w.nodes[0].id) // its first commit admits its sponsor
		}
		w.run(20 * time.Millisecond)
	}
	return w, told
}

// hiccup changes the latency of some wires now and then.
func (w *world) hiccup(every time.Duration) {
	for range len(w.nodes) {
		a, b := w.rng.IntN(len(w.nodes)), w.rng.IntN(len(w.nodes))
		if a == b {
			continue
		}
		latency := 100 * time.Microsecond
		for latency < 20*time.Millisecond && w.chance(0.6) {
			latency *= 2
		}
		w.pairs[a][b].latency = latency
	}
	w.in(every, func() { w.hiccup(every) })
}

// TestCrowd counts what fifty nodes of one busy machine tell one another: while
// they join at once, at rest, and when two halves that were cut off come together.
func TestCrowd(t *testing.T) {
	const size = 50
	w, told := crowd(t, size)
	links := size * (size - 1) / 2
	begin := w.now
	settled := func(what string, limit time.Duration) time.Duration {
		if !w.until(limit, 100*time.Millisecond, func() bool { return w.missing() == "" }) {
			t.Fatalf("%s: %s %s", what, w.missing(), w.failure)
		}
		return w.now.Sub(begin)
	}
	formed := settled("form", time.Minute)
	t.Logf("formed after %v: %v", formed, told)
	// Each node's own commit, its admission and the news of it go to all; 73,000 copies
	// were counted when receivers did not know whom senders know.
	if copies, most := told.items["event"], 2*3*size*size; copies > most {
		t.Errorf("while %d nodes joined, %d copies of events were sent; more than %d means that many tell the same", size, copies, most)
	}
	w.run(30 * time.Second)

	told = w.count()
	const rest = 2 * time.Minute
	w.run(rest)
	idle := float64(told.bytes) / rest.Seconds() / float64(links)
	t.Logf("at rest, %.1f bytes a second on each link: %v", idle, told)

	victim := w.nodes[31]
	begin, told = w.now, w.count()
	victim.crash()
	if !w.until(time.Minute, 100*time.Millisecond, func() bool {
		for _, n := range w.nodes {
			if n != victim && n.core.stateOf(n.core.nodes.byID[victim.id]) != StateDead {
				return false
			}
		}
		return true
	}) {
		t.Errorf("not all know that %s is dead: %s", victim.name, w.failure)
	}
	t.Logf("a dead node is known to all after %v: %v", w.now.Sub(begin), told)
	victim.start()
	begin = w.now
	t.Logf("it is back after %v", settled("return", time.Minute))

	across := func(blocked bool) {
		for i, row := range w.pairs {
			for j, p := range row {
				if i < j && i < size/2 && j >= size/2 {
					p.blocked = [2]bool{blocked, blocked}
				}
			}
		}
	}
	across(true)
	w.run(20 * time.Second)
	for k := range 1000 {
		w.nodes[k%size].save(zeroID)
		w.run(20 * time.Millisecond)
	}
	across(false)
	begin, told = w.now, w.count()
	equal := settled("heal", time.Minute)
	t.Logf("halves equal after %v: %v", equal, told)
	if rows := told.items["rows"]; rows > 4*size { // what a side has to tell, many tell
		t.Errorf("tables were compared %d times by %d nodes while halves met", rows, size)
	}
	w.run(20 * time.Second)
	t.Logf("20 s later: %v", told)
	if w.failure != "" {
		t.Error(w.failure)
	}
}
