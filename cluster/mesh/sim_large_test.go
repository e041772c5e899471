package mesh

import (
	"fmt"
	"testing"
	"time"
)

// TestFifty: fifty nodes join within seconds; then all know all, and a save
// costs 49 notices.
func TestFifty(t *testing.T) {
	const size = 50
	w := newWorld(50)
	w.tickEvery = 100 * time.Millisecond
	for i := range size {
		w.addNode(fmt.Sprintf("e%d", i+1))
	}
	for i, row := range w.pairs {
		for j, p := range row {
			if i < j {
				p.exists, p.latency, p.built, p.rate = true, 200*time.Microsecond, 200*time.Microsecond, 10<<20
			}
		}
	}
	for i, n := range w.nodes {
		n.start()
		if i > 0 && !n.join(w.nodes[w.rng.IntN(i)]) {
			t.Fatal("join")
		}
		w.run(20 * time.Millisecond)
	}
	formed := w.now
	if !w.until(time.Minute, 250*time.Millisecond, func() bool { return w.missing() == "" }) {
		t.Fatalf("no rest: %s %s", w.missing(), w.failure)
	}
	t.Logf("equal tables and vectors %v after the last join", w.now.Sub(formed))
	frames, bytes := uint64(0), uint64(0)
	for _, n := range w.nodes {
		frames += n.core.Counters().FramesSent
		bytes += n.core.Counters().BytesSent
	}
	t.Logf("%d frames, %d bytes, %d pulls to form", frames, bytes, w.pulls)
	w.run(30 * time.Second)
	notices := func() (sum uint64) {
		for _, n := range w.nodes {
			sum += n.core.Counters().NoticesSent
		}
		return sum
	}
	before := notices()
	_, arrived := w.saveEach(w.nodes[17], 5)
	if got := notices() - before; got != 5*(size-1) {
		t.Errorf("%d notices for 5 saves, want %d", got, 5*(size-1))
	}
	worst := time.Duration(0)
	for _, n := range w.nodes {
		if len(arrived[n.name]) != 5 {
			t.Errorf("%s has %d of 5 saves", n.name, len(arrived[n.name]))
		}
		for _, d := range arrived[n.name] {
			worst = max(worst, d)
		}
	}
	t.Logf("the slowest arrival after %v", worst)
	if w.failure != "" {
		t.Error(w.failure)
	}
}
