package integration

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestIdleSlowLink lets a link of 2,000 bit/s rest: it carries next to nothing,
// and nothing reconnects. ERWIK_IDLE_MINUTES sets for how long.
func TestIdleSlowLink(t *testing.T) {
	t.Parallel() // it waits for a slow link most of the time
	minutes := 2
	if v, err := strconv.Atoi(os.Getenv("ERWIK_IDLE_MINUTES")); err == nil {
		minutes = v
	}
	w := newNetwork(t, "e1", "e2")
	for _, host := range []string{"e1", "e2", "sw"} { // the kernel's own chatter is not the mesh's
		w.sh("ip netns exec %s sysctl -qw net.ipv6.conf.all.disable_ipv6=1", w.space(host))
	}
	w.throttle("e1", "e2", "2kbit")
	e1 := w.node("e1").start().awaitReady()
	e2 := w.node("e2", "--join", w.ip("e1")+":8000").start()
	within(t, 4*patience, "the join over 2,000 bit/s", func() error { return readyNow(e2) })
	e1.awaitNodes(2)
	e2.awaitNodes(2)
	within(t, 2*patience, "the link is up", func() error { return linked([]*node{e1, e2}) })
	<-time.After(75 * time.Second) // what the start has left over
	connections := func() (list []string) {
		for _, line := range strings.Split(w.sh("ip netns exec %s ss -Htn state established src %s", w.space("e1"), w.ip("e1")), "\n") {
			if f := strings.Fields(line); len(f) >= 4 {
				list = append(list, f[2]+" "+f[3])
			}
		}
		slices.Sort(list)
		return list
	}
	held, before, begin := connections(), w.traffic("e1"), time.Now()
	<-time.After(time.Duration(minutes) * time.Minute)
	rate := float64(w.traffic("e1")-before) / time.Since(begin).Seconds()
	t.Logf("idle for %d minutes at 2,000 bit/s: %.1f bytes of IP a second, both directions together (bar 30); connections %v", minutes, rate, held)
	if rate > 2*30 {
		t.Error("that is more than twice the bar")
	}
	if now := connections(); len(held) == 0 || !slices.Equal(now, held) {
		t.Errorf("connections changed: %v, then %v", held, now)
	}
	nobodyDead(t, []*node{e1, e2})
}

var errNotReady = errors.New("not ready")

// readyNow is nil when the node says that it is ready.
func readyNow(n *node) error {
	s, err := n.status()
	if err == nil && !s.Ready {
		err = errNotReady
	}
	return err
}
