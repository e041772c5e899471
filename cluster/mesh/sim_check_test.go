package mesh

import (
	"time"
)

// alarmed looks at what a core raises; a death is checked against the truth.
func (w *world) alarmed(n *simNode, a Alarm) {
	n.alarms = append(n.alarms, a)
	if len(n.alarms) > 1000 {
		n.alarms = n.alarms[500:]
	}
	switch a.Kind {
	case AlarmDead:
		dead := w.byID(a.Node)
		if w.steadyPath(n, dead) {
			w.fail("%s declares %s dead while a path of up links exists", n.name, dead.name)
		}
	case AlarmFork:
		w.fail("%s sees a fork: %s", n.name, a.Text)
	case AlarmFull:
		w.fail("%s: %s", n.name, a.Text)
	case AlarmTwin:
		w.fail("%s: %s", n.name, a.Text)
	}
}

// steadyPath reports whether links have led from a to b for so long, without a
// fault, that both must know.
func (w *world) steadyPath(a, b *simNode) bool {
	long := 40 * time.Second
	for _, row := range w.pairs {
		for _, p := range row {
			if p != nil && p.exists && (p.slow() || w.wandered) {
				long = 4 * time.Minute
			}
		}
	}
	seen := map[*simNode]bool{a: true}
	queue := []*simNode{a}
	for len(queue) > 0 {
		u := queue[0]
		queue = queue[1:]
		for _, v := range w.nodes {
			if v == u || seen[v] || !v.up {
				continue
			}
			p := w.pair(u, v)
			if p.up && !p.blocked[0] && !p.blocked[1] && w.now.Sub(p.upSince) > long {
				seen[v] = true
				queue = append(queue, v)
			}
		}
	}
	return b.up && seen[b]
}

// checkQueues asserts the caps and the shape of one core's tables.
func (n *simNode) checkQueues() {
	w, c := n.w, n.core
	for _, m := range c.nodes.slots {
		l := m.link
		if l == nil {
			continue
		}
		q := &l.queue
		if len(q.order) != len(q.commits) || len(q.order) > MaxQueueLogs || len(q.soft) > MaxQueueItems ||
			len(q.records) > MaxQueueItems || len(q.news) > MaxQueueItems || len(q.jobs) > MaxQueueItems {
			w.fail("%s: a queue to %s is over its cap", n.name, c.nameOf(m))
		}
	}
	if len(c.events.ring) > MaxEvents || len(c.pulls.open) > MaxPulls || len(c.nodes.limbo) > MaxLimbo {
		w.fail("%s: a table is over its cap", n.name)
	}
	for _, m := range c.nodes.slots {
		for len(n.heard) <= m.slot {
			n.heard = append(n.heard, 0)
		}
		if m.incarnation() < n.heard[m.slot] && m.member() {
			w.fail("%s went back from incarnation %d of %s to %d", n.name, n.heard[m.slot], c.nameOf(m), m.incarnation())
		}
		n.heard[m.slot] = max(n.heard[m.slot], m.incarnation())
		if m.dead && m.reachable {
			w.fail("%s takes %s for dead and has a path to it", n.name, c.nameOf(m))
		}
	}
	for _, l := range c.vector.logs {
		if l.held > uint64(len(n.disk.logs[l.id])) {
			w.fail("%s: the vector says %d of a log, the disk has %d", n.name, l.held, len(n.disk.logs[l.id]))
		}
	}
}

// expected is how many commits every node must have in the end.
func (w *world) survivors() (n int) {
	for _, c := range w.made {
		if w.commits[c.place] == c && c.acked != 0 && !c.lost {
			n++
		}
	}
	return n
}

// missing names what is not converged, "" if everything is.
func (w *world) missing() string {
	first := w.nodes[0]
	for _, n := range w.nodes {
		if !n.up {
			return n.name + " is down"
		}
		if n.core.VectorHash() != first.core.VectorHash() {
			return n.name + " has another vector"
		}
		if n.core.TableHash() != first.core.TableHash() {
			return n.name + " has another table"
		}
		for _, m := range n.core.nodes.order {
			if m.slot != n.core.self && n.core.stateOf(m) != StateAlive {
				return n.name + " sees " + m.record.Name + " as " + string(n.core.stateOf(m))
			}
		}
		if len(n.core.nodes.order) != len(w.nodes) {
			return n.name + " does not know everybody"
		}
	}
	return ""
}

// checkSaves asserts that each acknowledged save is everywhere, and the same.
func (w *world) checkSaves() {
	for _, n := range w.nodes {
		for _, c := range w.made {
			if c.acked == 0 || c.lost {
				continue
			}
			log := n.disk.logs[c.log]
			if uint64(len(log)) < c.sequence {
				w.fail("%s lacks sequence %d of a log of %s, saved and acknowledged", n.name, c.sequence, w.nodes[c.maker].name)
				return
			}
			if log[c.sequence-1].hash != c.hash {
				w.fail("%s has another commit at sequence %d of a log of %s", n.name, c.sequence, w.nodes[c.maker].name)
				return
			}
		}
	}
}
