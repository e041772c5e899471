package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// traffic returns the bytes of IP, both directions together, that have passed
// a host's interface.
func (w *network) traffic(host string) int {
	w.t.Helper()
	var links []struct {
		Stats struct {
			RX, TX struct{ Bytes, Packets int }
		} `json:"stats64"`
	}
	if err := json.Unmarshal([]byte(w.sh("ip -n %s -s -j link show e0", w.space(host))), &links); err != nil || len(links) != 1 {
		w.t.Fatalf("counters of %s: %v", host, err)
	}
	const ethernet = 14
	s := links[0].Stats
	return s.RX.Bytes + s.TX.Bytes - ethernet*(s.RX.Packets+s.TX.Packets)
}

// TestTraffic counts what a link of two nodes carries: idle, and for edits of
// one line of a page of 4 KB. Its limits are twice the bars: a
// machine under load sends acknowledgements of their own.
func TestTraffic(t *testing.T) {
	w := newNetwork(t, "e1", "e2")
	for _, host := range []string{"e1", "e2", "sw"} { // the kernel's own chatter is not the mesh's
		w.sh("ip netns exec %s sysctl -qw net.ipv6.conf.all.disable_ipv6=1", w.space(host))
	}
	e1 := w.node("e1").start().awaitReady()
	e2 := w.node("e2", "--join", w.ip("e1")+":8000").start().awaitReady()
	e1.awaitNodes(2)
	e2.awaitNodes(2)
	lines := make([]string, 80)
	for i := range lines {
		lines[i] = fmt.Sprintf("line %d: the mill stands where the river bends", i)
	}
	put := func(i int) {
		t.Helper()
		lines[(7*i)%len(lines)] = fmt.Sprintf("line %d: in edit %d the mill was moved up", (7*i)%len(lines), i)
		s := e1.mustPut("Page", strings.Join(lines, "\n")+"\n")
		eventually(t, "the edit on e2", func() error {
			p, err := e2.page("Page")
			if err == nil && (len(p.Heads) != 1 || p.Heads[0] != s.Commit) {
				err = fmt.Errorf("e2 has %v", p.Heads)
			}
			return err
		})
	}
	put(0)
	<-time.After(20 * time.Second) // what the start has left over
	idle := func(span time.Duration) float64 {
		before, begin := w.traffic("e1"), time.Now()
		<-time.After(span)
		return float64(w.traffic("e1")-before) / time.Since(begin).Seconds()
	}
	rate := idle(30 * time.Second)
	const edits = 15
	before, begin := w.traffic("e1"), time.Now()
	for i := range edits {
		put(i + 1)
		<-time.After(2 * time.Second)
	}
	<-time.After(3 * time.Second)
	each := (float64(w.traffic("e1")-before) - rate*time.Since(begin).Seconds()) / edits
	t.Logf("idle: %.1f bytes of IP a second (bar 60); a one-line edit of a page of 4 KB: %.0f bytes (bar 700)", rate, each)
	if rate > 2*60 || each > 2*700 {
		t.Error("that is more than twice the bar")
	}
}
