package mesh

import (
	"fmt"
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
		if dead := w.byID(a.Node); n.liar == nil && !w.twins[a.Node] && !w.twins[n.id] && w.steadyPath(n, dead) {
			w.fail("%s declares %s dead while a path of up links exists", n.name, dead.name)
		}
	case AlarmFork:
		w.alarms[AlarmFork]++
		if w.forkers[a.Log.Node] {
			return
		}
		w.fail("%s sees a fork: %s", n.name, a.Text)
	case AlarmFull:
		w.fail("%s: %s", n.name, a.Text)
	case AlarmTwin:
		w.alarms[AlarmTwin]++
		if w.twins[n.id] || w.forkers[n.id] || w.swarm.lies {
			return
		}
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
			if v == u || seen[v] || !v.up || v.liar != nil || w.twins[v.id] {
				continue
			}
			p := w.pair(u, v)
			if p.up && !p.cut() && w.now.Sub(p.upSince) > long {
				seen[v] = true
				queue = append(queue, v)
			}
		}
	}
	return b.up && seen[b]
}

// missing names what is not converged, "" if everything is.
func (w *world) missing() string {
	var first *simNode // by whose vector all are judged: not one that has lost its neighbors' trust
	live := 0
	for _, n := range w.nodes {
		if !n.left && !w.forkers[n.id] {
			first = n
			break
		}
	}
	for _, n := range w.nodes {
		if !n.left {
			live++
		}
	}
	for _, n := range w.nodes {
		if n.left {
			continue
		}
		if !n.up {
			return n.name + " is down"
		}
		if !w.forkers[n.id] && n.core.VectorHash() != first.core.VectorHash() {
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
		if len(n.core.nodes.order) != live {
			return fmt.Sprintf("%s knows %d of %d nodes", n.name, len(n.core.nodes.order), live)
		}
	}
	return ""
}

// checkSaves asserts that each acknowledged save is everywhere, and the same.
func (w *world) checkSaves() {
	if w.failure != "" {
		return
	}
	var first *simNode
	for _, n := range w.nodes {
		if n.left || w.forkers[n.id] {
			continue
		}
		for _, c := range w.made {
			if c.acked != 0 && !c.lost && !n.disk.has[c] && !w.forkers[c.log.Node] {
				w.fail("%s lacks sequence %d of a log of %s, saved and acknowledged", n.name, c.sequence, w.nodes[c.maker].name)
				return
			}
		}
		if first == nil {
			first = n
		}
		if len(n.disk.has) != len(first.disk.has) {
			w.fail("%s has %d commits, %s has %d", n.name, len(n.disk.has), first.name, len(first.disk.has))
		}
		n.checkHashes()
	}
}
