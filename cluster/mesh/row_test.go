package mesh

import (
	"testing"
	"time"

	"github.com/erwik/erwik/storage"
)

// TestRowWaitsForAHealthyLink: a neighbor whose link comes up while it looks slow is
// told what was said of own links before, as soon as it is healthy: on a busy machine
// many links look slow for a moment.
func TestRowWaitsForAHealthyLink(t *testing.T) {
	l := newLab(t, 1)
	acked := []storage.NodeID{}
	run := func(d time.Duration) {
		for range d / TickEvery {
			l.now = l.now.Add(TickEvery)
			l.core.Tick(l.now)
			l.take()
			for _, id := range acked {
				l.ack(id)
			}
		}
	}
	early := l.meet(2, "early")
	acked = append(acked, early)
	run(3 * time.Second) // it is told of, and stays told
	late := l.meet(3, "late")
	link := l.core.nodes.byID[late].link
	link.srtt, link.slow = 2*slowFrom, true
	heard := func() bool { return l.saysLink(late, l.core.cfg.Self, early) }
	l.got[late] = nil
	run(3 * time.Second) // the late one is told of, to the early one
	if heard() {
		t.Error("the row went over a slow link")
	}
	link.srtt = healthyTo / 2
	acked = append(acked, late)
	run(time.Second)
	if link.slow || !heard() {
		t.Errorf("slow %v: the row did not come when the link was healthy", link.slow)
	}
}
