package mesh

import (
	"slices"
	"time"

	"github.com/erwik/erwik/cluster/mesh/planted"
)

// flush does what the core asks for.
func (w *world) flush(n *simNode) {
	n.core.Take(&n.out)
	out := &n.out
	for _, p := range out.Persist {
		if p.Value == nil {
			delete(n.disk.state, p.Key)
		} else {
			n.disk.state[p.Key] = p.Value
		}
		w.mix([]byte{byte(n.index), 1}, []byte(p.Key), p.Value)
	}
	n.most = max(n.most, n.core.incarnation)
	sends, pulls, dials, closes := slices.Clone(out.Send), slices.Clone(out.Pull), slices.Clone(out.Dial), slices.Clone(out.Close)
	digs := slices.Clone(out.Dig)
	for _, id := range out.Cancel {
		delete(n.pulls, id)
	}
	for _, a := range out.Alarms {
		w.alarmed(n, a)
	}
	if w.watch {
		n.seen = append(n.seen, out.Events...)
	}
	for _, s := range sends {
		w.mix([]byte{byte(n.index), 2}, s.Peer[:4], s.Frame)
		if len(s.Frame) > max(HealthyFrame+512, 20*len(w.nodes)) { // a list of all nodes is one item
			w.fail("%s sends a frame of %d bytes", n.name, len(s.Frame))
		}
		if n.liar != nil {
			s.Frame = n.liar.bend(n, s)
		} else {
			w.checkFrame(n, s)
		}
		w.carry(n, s)
	}
	for _, d := range digs {
		w.mix([]byte{byte(n.index), 5}, d.From[:4])
		w.dig(n, d)
	}
	for _, p := range pulls {
		w.mix([]byte{byte(n.index), 3}, p.From[:4])
		w.pull(n, p)
	}
	for _, d := range dials {
		w.mix([]byte{byte(n.index), 4}, d.Node[:4])
		w.connect(n, w.byAddress(d.Addresses[0]))
	}
	for _, c := range closes {
		if to := n.links[c.Peer]; to != nil {
			p := w.pair(n, to)
			delete(n.links, c.Peer)
			if p.cut() {
				w.down(p) // the other side must find out by itself
			} else {
				w.reset(p, n)
			}
		}
	}
}

// pull asks a neighbor for commits and brings them piece by piece.
func (w *world) pull(n *simNode, pl Pull) {
	n.pulls[pl.ID] = true
	w.pulls++
	w.checkPull(n, pl)
	started, life, bytes := w.now, n.life, 0
	alive := func() bool { return n.up && n.life == life && n.pulls[pl.ID] }
	fail := func() {
		if alive() {
			delete(n.pulls, pl.ID)
			n.core.PullFailed(w.now, pl.ID)
			w.flush(n)
		}
	}
	from := n.links[pl.From]
	if from == nil || w.chance(w.pullFail) {
		w.in(10*time.Millisecond, fail)
		return
	}
	w.fetch(n, from, pl.Ranges, alive, func(size int) {
		bytes += size
		n.core.PullProgress(w.now, pl.ID, size)
	}, func(broken bool) {
		if broken {
			fail()
			for _, r := range pl.Ranges {
				w.dig(n, Dig{From: pl.From, Log: r.Log})
			}
			return
		}
		w.at(max(n.syncAt, w.now), func() {
			if alive() {
				delete(n.pulls, pl.ID)
				n.core.PullDone(w.now, pl.ID, bytes, w.now.Sub(started))
				w.flush(n)
			}
		})
	})
}

// fetch brings what a neighbor has of some ranges. done hears whether nothing of
// it followed what is held. Where the wire breaks it is never called.
func (w *world) fetch(n, from *simNode, ranges []Range, alive func() bool, came func(int), done func(broken bool)) {
	p := w.pair(n, from)
	if p == nil || !p.up {
		return
	}
	w.deliver(p, p.dir(n), w.transmit(p, n, 120+60*len(ranges)), func() {
		if !from.up {
			return // the pull stands still until it is given up
		}
		var answer []*simCommit
		limit := 64 << 10
		if p.slow() {
			limit = 4 << 10
		}
		for _, r := range ranges {
			if log := from.disk.logs[r.Log]; log != nil {
				for i := r.After; i < log.held() && limit > 0; i++ {
					answer = append(answer, log.commits[i])
					limit -= log.commits[i].size
				}
			}
		}
		used, broken := 0, false
		var next func(rest []*simCommit)
		next = func(rest []*simCommit) {
			chunk, size := 0, 100
			for chunk < len(rest) && (chunk == 0 || size+rest[chunk].size < p.chunk()) {
				size += rest[chunk].size
				chunk++
			}
			w.deliver(p, p.dir(from), w.transmit(p, from, size), func() {
				if !alive() || !from.up {
					return
				}
				for _, c := range rest[:chunk] {
					if n.take(c) {
						used++
					} else {
						broken = true
					}
				}
				came(size)
				if chunk < len(rest) {
					next(rest[chunk:])
					return
				}
				done(broken && used == 0)
			})
		}
		next(answer)
	})
}

// dig looks further and further back where a neighbor's log and the one held
// here part, as the shell does.
func (w *world) dig(n *simNode, d Dig) {
	from := n.links[d.From]
	if from == nil || n.digs[d.Log] || planted.Now == planted.ForkNotDug {
		return
	}
	n.digs[d.Log] = true
	life := n.life
	over := false
	end := func() {
		if !over && n.life == life {
			over = true
			delete(n.digs, d.Log)
		}
	}
	w.in(2*time.Minute, end)
	held := n.mem.logs[d.Log].held()
	var back func(step uint64)
	back = func(step uint64) {
		after := held - min(held, step)
		w.fetch(n, from, []Range{{d.Log, after, held + 1}}, func() bool { return n.up && n.life == life && !over }, func(int) {},
			func(bool) {
				if n.mem.logs[d.Log].held() != held || after == 0 {
					end()
					return
				}
				back(2 * step)
			})
	}
	back(1)
}

func (p *wirePair) chunk() int {
	if p.slow() {
		return 600
	}
	return 16 << 10
}

// take stores a commit that a pull brought, unless it is here. It reports false
// if it follows nothing that is here.
func (n *simNode) take(c *simCommit) bool {
	n.w.pulled++
	if n.mem.has[c] {
		n.w.redundant++
		return true
	}
	return n.write(c, false)
}
