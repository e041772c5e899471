package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const crowd = 50

// half is the namespace of a node of the crowd: the first 25 live in one, the
// others in the other one. Inside a namespace all traffic is loopback.
func half(i int) (host string) { return []string{"a", "b"}[i*2/crowd] }

// TestFifty runs fifty processes: they join at once, a save reaches all, they
// rest, one is killed, and two halves of 25 with 1,000 saves each come together.
// The figures that it logs are those of docs/RELIABILITY.md; it asserts
// outcomes with generous bounds.
func TestFifty(t *testing.T) {
	w := newNetwork(t, "a", "b")
	nodes := make([]*node, crowd)
	begin := time.Now()
	var started sync.WaitGroup
	for i := range nodes {
		name := fmt.Sprintf("n%02d", i)
		address := fmt.Sprintf("%s:%d", w.ip(half(i)), 8000+i)
		n := newNode(t, name)
		n.space, n.address = w.space(half(i)), address
		n.level = "warn"
		n.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4,
			DialContext: func(ctx context.Context, _, address string) (net.Conn, error) { return dialIn(ctx, n.space, address) }}}
		if i > 0 {
			n.args = []string{"--join", w.ip(half(0)) + ":8000"}
		}
		nodes[i] = n
		if i == 0 {
			n.start().awaitReady()
			begin = time.Now()
			continue
		}
		started.Go(func() { n.start().awaitReady() })
	}
	started.Wait()
	t.Logf("all ready after %v", time.Since(begin).Round(10*time.Millisecond))
	gently(t, "a full mesh and equal tables", func() error { return fullMesh(nodes) })
	t.Logf("a full mesh and equal tables after %v (bar 10 s)", time.Since(begin).Round(10*time.Millisecond))

	w.rest(t, nodes)
	spread(t, nodes)
	w.death(t, nodes)
	w.halves(t, nodes)
}

// fullMesh is nil when every node has a link to every other one, and says of
// every pair that it is up.
func fullMesh(nodes []*node) error {
	for _, n := range nodes {
		var rows []struct{ From, To, State string }
		if err := n.get("network/links", &rows); err != nil {
			return err
		}
		up := map[string]bool{}
		for _, r := range rows {
			if r.State == "up" {
				up[r.From+"-"+r.To] = true
			}
		}
		var lacks []string
		for _, a := range nodes {
			for _, b := range nodes {
				if a != b && !up[a.name+"-"+b.name] {
					lacks = append(lacks, a.name+"-"+b.name)
				}
			}
		}
		if len(lacks) > 0 {
			return fmt.Errorf("%s lacks %d links: %.10q", n.name, len(lacks), lacks)
		}
	}
	return nil
}

// rest looks at memory and idle traffic.
func (w *network) rest(t *testing.T, nodes []*node) {
	links := float64(crowd * (crowd - 1) / 2)
	begin := time.Now()
	const bar, windows = 60, 8
	rate := 0.0
	for range windows { // what forming has left over takes its time
		const span = 15 * time.Second
		before := w.carried()
		<-time.After(span)
		if rate = float64(w.carried()-before) / span.Seconds() / links; rate <= bar {
			break
		}
	}
	var sizes []int
	for _, n := range nodes {
		sizes = append(sizes, resident(t, n))
	}
	slices.Sort(sizes)
	t.Logf("idle after %v: %.1f bytes of IP a second on each link (bar 60); anonymous memory of a node: median %d MiB, most %d MiB (bar 40)",
		time.Since(begin).Round(time.Second), rate, sizes[crowd/2]>>20, sizes[crowd-1]>>20)
	if sizes[crowd-1] > 2*40<<20 || rate > 2*bar {
		t.Error("that is more than twice the bar")
	}
}

// carried is the IP traffic in both namespaces since they were made: what their
// loopback carried and what went between them.
func (w *network) carried() int {
	sum := w.traffic("a")
	for _, h := range w.hosts {
		fields := strings.Fields(w.sh("ip netns exec %s cat /proc/net/dev", w.space(h)))
		at := slices.Index(fields, "lo:")
		bytes, err := strconv.Atoi(fields[at+1])
		if err != nil {
			w.t.Fatal(err)
		}
		packets, _ := strconv.Atoi(fields[at+2])
		sum += bytes - 14*packets
	}
	return sum
}

// resident is the anonymous memory that a process holds, in bytes: the pages of
// the binary are shared by all processes.
func resident(t testing.TB, n *node) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "RssAnon:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// spread makes saves and times each one until it is on all nodes.
func spread(t *testing.T, nodes []*node) {
	told := make([]<-chan commitEvent, len(nodes))
	for i, n := range nodes {
		var stop func()
		told[i], stop = n.follow()
		defer stop() // what follows makes many saves
	}
	var times []time.Duration
	const saves = 40
	for i := range saves {
		begin := time.Now()
		s := nodes[(i*7)%crowd].mustPut(fmt.Sprintf("Page%d", i), "for everybody\n")
		var last time.Time
		for k := range told {
			for e := range receive(t, told[k]) {
				if e.Args.Checksum == s.Commit {
					if e.at.After(last) {
						last = e.at
					}
					break
				}
			}
		}
		times = append(times, last.Sub(begin))
		<-time.After(100 * time.Millisecond)
	}
	slices.Sort(times)
	t.Logf("a save is on all %d nodes after %v (median, bar 50 ms), %v (slowest of %d)", crowd,
		times[saves/2].Round(100*time.Microsecond), times[saves-1].Round(100*time.Microsecond), saves)
	if times[saves/2] > time.Second {
		t.Errorf("a save takes too long: %v", times)
	}
}

// receive yields events until the reader stops, and fails when none comes.
func receive(t *testing.T, told <-chan commitEvent) func(func(commitEvent) bool) {
	return func(yield func(commitEvent) bool) {
		for {
			select {
			case e := <-told:
				if !yield(e) {
					return
				}
			case <-time.After(patience):
				t.Fatal("an event does not come")
			}
		}
	}
}

// death kills a node and waits until all others know.
func (w *network) death(t *testing.T, nodes []*node) {
	victim := nodes[31]
	begin := time.Now()
	victim.kill()
	took := gently(t, "all know that a node is dead", func() error {
		for _, n := range nodes {
			if n == victim {
				continue
			}
			var rows []nodeRow
			if err := n.get("network/nodes", &rows); err != nil {
				return err
			}
			for _, r := range rows {
				if r.Name == victim.name && r.State != "dead" {
					return fmt.Errorf("%s says that it is %s", n.name, r.State)
				}
				if r.Name != victim.name && r.State == "dead" {
					t.Fatalf("%s takes %s for dead", n.name, r.Name)
				}
			}
		}
		return nil
	})
	t.Logf("all know that a killed node is dead after %v (bar 5 s)", took.Round(10*time.Millisecond))
	victim.start().awaitReady()
	gently(t, "a full mesh again", func() error { return fullMesh(nodes) })
	t.Logf("back in a full mesh %v after it was killed", time.Since(begin).Round(10*time.Millisecond))
}

// halves cuts the mesh in two, saves on both sides, and lets them heal.
func (w *network) halves(t *testing.T, nodes []*node) {
	w.cut("a", "b")
	const saves = 1000
	words := rand.New(rand.NewPCG(1, 2))
	missing := 0
	for side := range 2 {
		for i := range saves {
			n := nodes[side*crowd/2+i%(crowd/2)]
			text := fmt.Sprintf("# Side %d, page %d\n\n", side, i)
			for range 40 {
				text += fmt.Sprintf("word%d ", words.IntN(100000))
			}
			n.mustPut(fmt.Sprintf("Side%d/Page%d", side, i), text)
			missing += len(text)
		}
	}
	awaitEqual(t, nodes[:crowd/2]...)
	awaitEqual(t, nodes[crowd/2:]...)
	missing *= crowd / 2
	before := w.carried()
	w.heal("a", "b")
	took := awaitEqualFast(t, nodes)
	bytes := w.carried() - before
	t.Logf("25|25 with %d saves on each side: equal digests %v after healing (bar 5 s); texts missing %d bytes, %d of IP (%.2f)",
		saves, took.Round(10*time.Millisecond), missing, bytes, float64(bytes)/float64(missing))
}

// awaitEqualFast asks one node of each half until they agree, then all, so that
// asking costs little.
func awaitEqualFast(t *testing.T, nodes []*node) time.Duration {
	return gently(t, "equal digests", func() error {
		first := nodes[0].mustStatus().Digest
		if nodes[crowd-1].mustStatus().Digest != first {
			return errors.New("the halves differ")
		}
		for _, n := range nodes {
			if s := n.mustStatus(); s.Digest != first {
				return fmt.Errorf("%s has %d commits", n.name, s.Commits)
			}
		}
		return nil
	})
}

// gently polls with pauses: asking fifty nodes of everything is work for them.
func gently(t *testing.T, what string, check func() error) time.Duration {
	t.Helper()
	begin := time.Now()
	var err error
	for time.Since(begin) < 2*patience {
		if err = check(); err == nil {
			return time.Since(begin)
		}
		<-time.After(250 * time.Millisecond)
	}
	t.Fatalf("%s: %v", what, err)
	return 0
}
