package mesh

import (
	"strings"
	"time"

	"github.com/erwik/erwik/storage"
)

// deliver brings what transmit put on the wire, unless it is cut there by then.
// What is clogged comes later, all at once.
func (w *world) deliver(p *wirePair, d int, at Time, do func()) {
	w.at(at, func() {
		switch {
		case p.blocked[d]:
		case p.clogged[d]:
			p.stuck[d] = append(p.stuck[d], do)
		default:
			do()
		}
	})
}

// clog stops one direction for a while.
func (w *world) clog(p *wirePair, d int, while time.Duration) {
	if p.clogged[d] || !p.exists {
		return
	}
	p.clogged[d] = true
	w.in(while, func() { w.unclog(p, d) })
}

func (w *world) unclog(p *wirePair, d int) {
	if !p.clogged[d] {
		return
	}
	p.clogged[d], p.upSince = false, w.now
	stuck := p.stuck[d]
	p.stuck[d] = nil
	for _, do := range stuck {
		do()
	}
}

// cut reports whether a direction brings nothing.
func (p *wirePair) cut() bool {
	return p.blocked[0] || p.blocked[1] || p.clogged[0] || p.clogged[1]
}

// connect answers a dial.
func (w *world) connect(from *simNode, to *simNode) {
	life := from.life
	fail := func(after time.Duration) {
		w.in(after, func() {
			if from.life == life && from.up {
				from.core.DialFailed(w.now, to.id)
				w.flush(from)
			}
		})
	}
	var p *wirePair
	if to != from {
		p = w.pair(from, to)
	}
	if p == nil || !p.exists || to.id == from.id {
		fail(200 * time.Millisecond)
		return
	}
	took := max(3*p.latency+time.Duration(1800*int64(time.Second)/p.rate), time.Millisecond)
	w.in(took, func() {
		switch {
		case from.life != life || !from.up:
		case p.up:
			// the other side's dial came first
		case !to.up || p.cut() || !to.admits(from.id):
			fail(time.Second)
		default:
			w.displace(from, to)
			w.displace(to, from)
			p.epoch++
			p.up, p.upSince = true, w.now
			p.busy, p.arrived = [2]Time{w.now, w.now}, [2]Time{}
			from.links[to.id], to.links[from.id] = to, from
			info := LinkInfo{RTT: 2*p.latency + time.Duration(500*int64(time.Second)/p.rate)}
			to.core.LinkUp(w.now, from.id, info)
			w.flush(to)
			if p.up {
				from.core.LinkUp(w.now, to.id, info)
				w.flush(from)
			}
		}
	})
}

// displace ends n's connection with another process that has m's key.
func (w *world) displace(n, m *simNode) {
	if old := n.links[m.id]; old != nil && old != m {
		w.reset(w.pair(n, old), n)
	}
}

// reset ends a connection: by closes it (nil: the network does).
func (w *world) reset(p *wirePair, by *simNode) {
	if !p.up {
		return
	}
	w.down(p)
	for _, n := range []*simNode{p.a, p.b} {
		if n == by || !n.up {
			continue
		}
		n, life, epoch := n, n.life, p.epoch
		w.in(p.latency+time.Millisecond, func() {
			other := p.other(n)
			if n.up && n.life == life && (p.epoch == epoch || !p.up) && n.links[other.id] == nil {
				n.core.LinkDown(w.now, other.id)
				w.flush(n)
			}
		})
	}
}

// down takes a connection away; nobody hears of it.
func (w *world) down(p *wirePair) {
	p.up = false
	p.epoch++
	for _, n := range []*simNode{p.a, p.b} {
		if other := p.other(n); n.links[other.id] == other {
			delete(n.links, other.id)
		}
	}
}

// carry takes one frame across.
func (w *world) carry(from *simNode, s Send) {
	to := from.links[s.Peer]
	if to == nil || !w.pair(from, to).up {
		return
	}
	p := w.pair(from, to)
	p.frames++
	if w.notices != nil {
		w.notices(from, to, s.Frame)
	}
	times := 1
	if w.chance(w.loss) {
		times = 0
	} else if w.chance(w.dup) {
		times = 2
	}
	epoch, d := p.epoch, p.dir(from)
	for range times {
		at := w.transmit(p, from, len(s.Frame)+frameOverhead)
		if w.chance(w.reorder) {
			at = at.Add(w.between(0, 20*p.latency+100*time.Millisecond))
		}
		w.deliver(p, d, at, func() {
			if p.epoch == epoch && p.up && to.up {
				if to.liar != nil {
					to.liar.hear(s.Frame)
				}
				to.core.Receive(w.now, from.id, s.Frame)
				w.flush(to)
			}
		})
	}
}

func (w *world) byID(id storage.NodeID) *simNode {
	for _, n := range w.nodes {
		if n.id == id {
			return n
		}
	}
	return nil
}

// byAddress finds who is dialled: the first node of that name.
func (w *world) byAddress(address string) *simNode {
	name, _, _ := strings.Cut(address, ":")
	return w.byName[name]
}

// wall is a node's wall clock in Unix milliseconds.
func (w *world) wall(n *simNode) uint64 {
	return uint64(1_750_000_000_000 + (time.Duration(w.now) + n.skew).Milliseconds())
}
