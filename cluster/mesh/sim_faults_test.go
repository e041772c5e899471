package mesh

import (
	"fmt"
	"time"

	"github.com/erwik/erwik/events"
)

// fault makes one random fault and its end.
func (w *world) fault(s swarm, end Time) {
	r := w.rng
	n := w.nodes[r.IntN(len(w.nodes))]
	m := w.nodes[r.IntN(len(w.nodes))]
	until := w.between(100*time.Millisecond, 10*time.Second)
	switch kind := r.IntN(8); {
	case kind == 0 && s.crashes && n.up:
		n.crash()
		w.in(until, n.comeBackAfter())
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
	case kind == 2 && s.backups && n.disk.joined:
		if n.backup == nil || r.IntN(2) == 0 {
			n.backup = n.disk.clone()
		} else {
			n.restore()
			w.in(w.between(10*time.Millisecond, 2*time.Second), n.comeBackAfter())
		}
	case kind == 3 && s.oneWay && m != n:
		w.block(func(a, b *simNode) bool { return a == n && b == m }, until)
	case kind == 4 && s.flaps && m != n && n.up && m.up:
		w.reset(w.pair(n, m), nil)
	case kind == 5 && s.accuse && n.up:
		if known := n.core.nodes.byID[m.id]; m != n && known != nil && known.member() {
			n.core.tellAll(events.NewDead(n.id, events.Dead{Node: m.id, Incarnation: known.incarnation()}))
			n.core.settle()
			w.flush(n)
		}
	case kind == 6 && s.clogs && m != n:
		w.clog(w.pair(n, m), r.IntN(2), until)
	case kind == 7 && s.clogs:
		w.swizzle(until)
	}
}

// swizzle clogs some directions one by one, and frees them in another order.
func (w *world) swizzle(d time.Duration) {
	for i, row := range w.pairs {
		for j, p := range row {
			if i < j && w.chance(0.3) {
				begin := w.between(0, d)
				w.in(begin, func() { w.clog(p, w.rng.IntN(2), w.between(time.Millisecond, 2*d)) })
			}
		}
	}
}

// comeBack starts a node unless it runs or is gone for good.
func (n *simNode) comeBack() {
	if !n.up && !n.left {
		n.start()
	}
}

// comeBackAfter is the end of the fault that has just taken n down.
func (n *simNode) comeBackAfter() func() {
	life := n.life
	return func() {
		if n.life == life {
			n.comeBack()
		}
	}
}

// leave takes a node down for good. Somebody who knows it removes it later.
func (n *simNode) leave() {
	w := n.w
	n.crash()
	n.left = true
	w.losing(n.disk)
	w.in(w.between(0, 15*time.Second), func() { w.forget(n) })
}

// forget removes a node that has left wherever it is still a member.
func (w *world) forget(gone *simNode) {
	for _, n := range w.nodes {
		if n.up && n != gone && n.core.Forget(w.now, gone.id) {
			w.flush(n)
			return
		}
	}
}

// double makes c another process with n's key. With sameLog it goes on with the
// log that n writes, as a copy of a running machine would.
func (n *simNode) double(c *simNode, sameLog bool) {
	w := n.w
	if !n.up {
		return
	}
	w.twins[n.id] = true
	c.id, c.clone, c.disk = n.id, true, n.disk.clone()
	if sameLog {
		w.forkers[n.id] = true
	}
	log := n.log
	c.start()
	if sameLog && uint64(len(n.writes)) == 0 {
		c.log = log
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

// absence takes one node down without a fault elsewhere: all others must see it
// go, and see it come back.
func (w *world) absence() {
	var live []*simNode
	for _, n := range w.nodes {
		if !n.left {
			live = append(live, n)
		}
	}
	n := live[w.rng.IntN(len(live))]
	if w.failure != "" || len(live) < 2 {
		return
	}
	n.crash()
	w.run(absenceBound)
	for _, m := range live {
		if m != n && w.failure == "" && m.core.stateOf(m.core.nodes.byID[n.id]) == StateAlive {
			w.fail("%s still sees %s, which has been down for %v", m.name, n.name, absenceBound)
		}
	}
	n.comeBack()
	w.rest(restBound)
}

// until the end of an absence: links that are thought slow may wait for an
// acknowledgement for a minute.
const (
	absenceBound = 75 * time.Second
	restBound    = 100 * time.Second
)

// rest demands that all is equal within a bound.
func (w *world) rest(bound time.Duration) {
	forgotten := w.now
	if !w.until(bound, time.Second, func() bool {
		if w.now.Sub(forgotten) > 20*time.Second { // somebody knew a younger record of it
			forgotten = w.now
			for _, n := range w.nodes {
				if n.left && !n.clone { // a clone has the id of one that is here
					w.forget(n)
				}
			}
		}
		return w.missing() == ""
	}) {
		w.fail("no rest within %v: %s", bound, w.missing())
	}
	w.checkSaves()
}

// liveness ends all faults and demands rest within bounded time.
func (w *world) liveness(s swarm) {
	w.loss, w.dup, w.reorder, w.pullFail = 0, 0, 0, 0
	bound := restBound
	if s.wander || s.clogs {
		bound += 2 * time.Minute
	}
	slow := false
	for i, row := range w.pairs {
		for j, p := range row {
			if i < j {
				if p.cut() {
					p.upSince = w.now
				}
				p.blocked, p.latency = [2]bool{}, p.built
				w.unclog(p, 0)
				w.unclog(p, 1)
				slow = slow || p.exists && p.slow()
			}
		}
	}
	if slow {
		bound += 3*time.Minute + 3*time.Duration(len(w.made)*600)*time.Second/250
	}
	for _, n := range w.nodes {
		if n.liar != nil {
			n.crash()
			n.liar = nil
		}
		n.comeBack()
	}
	if len(w.twins) > 0 {
		w.parted(slow)
	}
	w.rest(bound)
	if s.absence && !slow && !s.fork && s.nodes < 13 {
		w.absence()
	}
}

// parted lets two processes with one key run on for a while without faults:
// somebody must hear of it where all are linked with all (two that hang on one
// neighbor displace one another's links too soon), and what both have saved must get out. Then one stops.
func (w *world) parted(slow bool) {
	w.run(2 * time.Minute)
	if !slow && w.swarm.shape == 0 && w.failure == "" && w.alarms[AlarmTwin]+w.alarms[AlarmFork] == 0 {
		w.fail("nobody was told that a key is used twice")
	}
	for _, c := range w.nodes {
		if c.clone {
			c.crash()
			c.left = true
			w.losing(c.disk)
		}
	}
}

func describe(seed uint64, w *world) string {
	return fmt.Sprintf("seed %d: %s\nreplay: ERWIK_SEED=%d go test -count=1 -run TestSeeds ./cluster/mesh   # at commit %s", seed, w.failure, seed, revision())
}
