package mesh

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// triangle is the mission's mesh: E1-E2 and E2-E3 fast, E1-E3 at 2,000 bit/s.
func triangle(seed uint64) *world {
	w := newWorld(seed)
	for _, name := range []string{"e1", "e2", "e3"} {
		w.addNode(name)
	}
	for i, row := range w.pairs {
		for j, p := range row {
			if i < j {
				p.exists, p.latency, p.built, p.rate = true, 100*time.Microsecond, 100*time.Microsecond, 100<<20
			}
		}
	}
	w.pairs[0][2].rate = 250
	w.assemble()
	w.run(2 * time.Minute)
	return w
}

// saveEach makes saves on n at one a second and returns when each was stored on
// every node, as times after the save was acknowledged.
func (w *world) saveEach(n *simNode, saves int) (commits []*simCommit, arrived map[string]map[*simCommit]time.Duration) {
	arrived = map[string]map[*simCommit]time.Duration{}
	for _, m := range w.nodes {
		arrived[m.name] = map[*simCommit]time.Duration{}
	}
	w.stored = func(m *simNode, c *simCommit) { arrived[m.name][c] = w.now.Sub(c.acked) }
	for range saves {
		commits = append(commits, n.save(zeroID))
		w.run(time.Second)
	}
	return commits, arrived
}

func TestTriangle(t *testing.T) {
	w := triangle(1)
	e1, e2, e3 := w.nodes[0], w.nodes[1], w.nodes[2]
	if s := e1.core.Neighbors(); len(s) != 2 || s[1].State != "slow" || s[0].State != "up" {
		t.Fatalf("E1's neighbors before the saves: %+v", s)
	}
	most := 0
	slow := w.pair(e1, e3)
	w.notices = func(from, to *simNode, frame []byte) {
		if l := from.core.nodes.byID[to.id].link; l != nil {
			most = max(most, len(l.queue.order)+len(l.queue.news)+len(l.queue.records))
		}
	}
	before := e1.core.Counters()
	sent := slow.bytes
	commits, arrived := w.saveEach(e1, 60)
	w.run(20 * time.Second)
	fast, late, story := 0, 0, 0
	var worst time.Duration
	for _, c := range commits {
		d, ok := arrived["e3"][c]
		if !ok || d > 300*time.Millisecond {
			t.Errorf("save %d reached E3 after %v (%v)", c.sequence, d, ok)
		}
		worst = max(worst, d)
		if d <= 50*time.Millisecond {
			fast++
		}
		s, ok := e3.core.Story(c.hash)
		if ok && s.HeardFrom == "e2" && s.PulledFrom == "e2" {
			story++
		}
		late += s.Discarded["e1"]
		if have, of := e1.core.Spread(c.log, c.sequence); have != 3 || of != 3 {
			t.Errorf("E1 knows save %d on %d of %d nodes", c.sequence, have, of)
		}
	}
	after := e1.core.Counters()
	t.Logf("60 saves: %d within 50 ms, worst %v; E1 sent %d notices, superseded %d; E3 discarded %d; slow link carried %d and %d bytes",
		fast, worst, after.NoticesSent-before.NoticesSent, after.Superseded-before.Superseded, late, slow.bytes[0]-sent[0], slow.bytes[1]-sent[1])
	if fast < 58 || story < 58 || late < 5 {
		t.Errorf("%d within 50 ms, %d stories through E2, %d discarded notices", fast, story, late)
	}
	if most > 3 {
		t.Errorf("%d items waited on one link", most)
	}
	for _, n := range w.nodes {
		for _, a := range n.alarms {
			if a.Kind == AlarmDead {
				t.Errorf("%s declared %s dead", n.name, w.byID(a.Node).name)
			}
		}
	}

	w.notices = nil
	e2.crash()
	start, sent := w.now, slow.bytes
	commits, arrived = w.saveEach(e1, 60)
	last := func() bool {
		return !slices.ContainsFunc(commits, func(c *simCommit) bool { _, ok := arrived["e3"][c]; return !ok })
	}
	if !w.until(10*time.Minute, 100*time.Millisecond, last) {
		t.Fatalf("not all saves reached E3 over the slow link: %s", w.failure)
	}
	bytes := 0
	for _, c := range commits {
		bytes += c.size
	}
	limit := time.Duration(float64(bytes)/250*1.3*float64(time.Second)) + 30*time.Second
	took := w.now.Sub(start)
	t.Logf("E2 dead: 60 saves of %d bytes over the slow link in %v (limit %v), carrying %d bytes", bytes, took, limit, slow.bytes[0]-sent[0])
	if took > limit {
		t.Errorf("60 saves took %v, limit %v", took, limit)
	}
	for _, n := range []*simNode{e1, e3} {
		for _, a := range n.alarms {
			if a.Kind == AlarmDead && a.Node != e2.id {
				t.Errorf("%s declared %s dead", n.name, w.byID(a.Node).name)
			}
		}
		if len(n.core.nodes.order) != 3 || n.core.stateOf(n.core.nodes.byID[e2.id]) != StateDead {
			t.Errorf("%s does not see E2 as dead", n.name)
		}
	}
	if w.failure != "" {
		t.Error(w.failure)
	}
}

// TestUniform counts what a save costs on a healthy full mesh: N-1 notices and
// N-1 pulls, at the speed of one hop.
func TestUniform(t *testing.T) {
	for _, size := range []int{2, 3, 5, 9, 16} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			w := newWorld(uint64(size))
			for i := range size {
				w.addNode(fmt.Sprintf("e%d", i+1))
			}
			for i, row := range w.pairs {
				for j, p := range row {
					if i < j {
						p.exists, p.latency, p.built, p.rate = true, 100*time.Microsecond, 100*time.Microsecond, 100<<20
					}
				}
			}
			w.assemble()
			w.run(30 * time.Second)
			count := func() (notices, late uint64) {
				for _, n := range w.nodes {
					notices += n.core.Counters().NoticesSent
					for k, v := range n.core.Drops() {
						if k.Reason == DropLate {
							late += v
						}
					}
				}
				return notices, late
			}
			notices, late := count()
			pulls := w.pulls
			commits, arrived := w.saveEach(w.nodes[size/2], 20)
			w.run(time.Second)
			n2, l2 := count()
			if got, want := n2-notices, uint64(20*(size-1)); got != want {
				t.Errorf("%d notices for 20 saves, want %d", got, want)
			}
			if got, want := w.pulls-pulls, 20*(size-1); got != want {
				t.Errorf("%d pulls for 20 saves, want %d", got, want)
			}
			if l2 != late || w.redundant != 0 {
				t.Errorf("%d late notices, %d commits sent in vain", l2-late, w.redundant)
			}
			for _, n := range w.nodes {
				for _, c := range commits {
					if d, ok := arrived[n.name][c]; !ok || d > 3*time.Millisecond {
						t.Errorf("%s has save %d after %v", n.name, c.sequence, d)
					}
				}
			}
			if m := w.missing(); m != "" {
				t.Error(m)
			}
			if w.failure != "" {
				t.Error(w.failure)
			}
		})
	}
}

// TestIdle counts what links carry when nothing happens.
func TestIdle(t *testing.T) {
	w := triangle(3)
	w.run(time.Minute)
	type count struct {
		bytes  [2]int64
		frames int
	}
	before := map[*wirePair]count{}
	for i, row := range w.pairs {
		for j, p := range row {
			if i < j {
				before[p] = count{p.bytes, p.frames}
			}
		}
	}
	const minutes = 20
	w.run(minutes * time.Minute)
	for i, row := range w.pairs {
		for j, p := range row {
			if i >= j {
				continue
			}
			bytes := p.bytes[0] + p.bytes[1] - before[p].bytes[0] - before[p].bytes[1]
			rate := float64(bytes) / (minutes * 60)
			limit := 60.0
			if p.slow() {
				limit = 30
			}
			t.Logf("%s-%s: %.1f bytes/s of IP, %d frames in %d minutes", p.a.name, p.b.name, rate, p.frames-before[p].frames, minutes)
			if rate > limit {
				t.Errorf("%s-%s carries %.1f bytes/s when idle, limit %.0f", p.a.name, p.b.name, rate, limit)
			}
		}
	}
	if m := w.missing(); m != "" || w.failure != "" {
		t.Error(m, w.failure)
	}
}
