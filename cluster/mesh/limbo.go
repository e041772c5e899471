package mesh

import (
	"bytes"
	"slices"

	"github.com/erwik/erwik/cluster/mesh/planted"
	"github.com/erwik/erwik/events"
	"github.com/erwik/erwik/storage"
)

// waiting is something about a node that is not admitted or not known yet.
type waiting struct {
	from    *node
	on      storage.NodeID // who has to be admitted or known first
	short   events.ShortID // of on
	event   *events.Event
	exclude *events.Exclusion
	record  *events.Record
	link    *events.LinkRecord
	links   *events.LinkSet
	holds   item // logs or holders
}

// limbo is what waits, the oldest first. A node that joins hears of all others
// before it has the commits that admit them, so it has room for all that they
// say; what the same words say twice is kept once.
type limbo struct {
	list []waiting
	size int                     // sum of what they weigh
	due  map[events.ShortID]bool // admitted, or known, since it was looked through
}

// known notes that what waits on id can go on.
func (l *limbo) known(id storage.NodeID) {
	if l.due == nil {
		l.due = make(map[events.ShortID]bool)
	}
	if len(l.list) > 0 {
		l.due[events.ShortOf(id)] = true
	}
}

// forget drops all that id said, and all words about it.
func (l *limbo) forget(id storage.NodeID) {
	l.list = slices.DeleteFunc(l.list, func(w waiting) bool {
		if w.about(id) {
			l.size -= w.weight()
			return true
		}
		return false
	})
}

// wait keeps something for later.
func (c *Core) wait(w waiting) { c.waitFor(events.ShortOf(w.on), w) }

// waitFor keeps something that waits on the node with a short id. When there is no
// room, the oldest of the neighbor who has the most waiting is lost: nobody can
// crowd out the others.
func (c *Core) waitFor(short events.ShortID, w waiting) {
	c.drop(w.from, DropUnadmitted)
	l := &c.nodes.limbo
	w.short = short
	if slices.ContainsFunc(l.list, func(o waiting) bool { return o.same(&w) }) {
		return
	}
	l.list = append(l.list, w)
	l.size += w.weight()
	for l.size > MaxLimbo && planted.Now != planted.LimboWithoutCap {
		l.crowded()
	}
}

// crowded drops the oldest of the neighbor who has the most waiting.
func (l *limbo) crowded() {
	most, shares := 0, make(map[*node]int)
	for i := range l.list {
		w := &l.list[i]
		shares[w.from] += w.weight()
		most = max(most, shares[w.from])
	}
	oldest := slices.IndexFunc(l.list, func(w waiting) bool { return shares[w.from] == most })
	l.size -= l.list[oldest].weight()
	l.list = slices.Delete(l.list, oldest, oldest+1)
}

// weight counts what is kept, about 1 KiB each.
func (w *waiting) weight() int {
	const each = 32
	n := 0
	switch it := w.holds.(type) {
	case *logsItem:
		n = len(it.heads)
	case *holdersItem:
		n = len(it.list)
	}
	if w.links != nil {
		n = len(w.links.Links)
	}
	return 1 + n/each
}

// retryLimbo looks again at what waited on somebody who is admitted or known now.
func (c *Core) retryLimbo() {
	l := &c.nodes.limbo
	if len(l.due) == 0 {
		return
	}
	var ready []waiting
	rest := l.list[:0]
	for _, w := range l.list {
		if l.due[w.short] {
			ready = append(ready, w)
			l.size -= w.weight()
		} else {
			rest = append(rest, w)
		}
	}
	clear(l.list[len(rest):])
	clear(l.due)
	l.list = rest
	for _, w := range ready {
		switch {
		case w.event != nil:
			c.receiveEvent(w.from, w.event, w.exclude)
		case w.record != nil:
			c.receiveRecord(w.from, w.record)
		case w.link != nil:
			c.receiveLink(w.from, w.link)
		case w.links != nil:
			c.receiveLinks(w.from, w.links)
		case w.from.link != nil && w.from.link.up:
			c.receiveItem(w.from, w.holds)
		}
	}
}

// same reports whether w says nothing that o does not: the words of a table are
// told by many neighbors. A signature is not checked yet, so all is compared.
func (o *waiting) same(w *waiting) bool {
	if o.short != w.short {
		return false
	}
	switch {
	case w.record != nil && o.record != nil && o.record.Sig == w.record.Sig:
		return bytes.Equal(o.record.Append(nil), w.record.Append(nil))
	case w.link != nil && o.link != nil && o.link.Sig == w.link.Sig:
		return bytes.Equal(o.link.Append(nil), w.link.Append(nil))
	case w.links != nil && o.links != nil && o.links.Sig == w.links.Sig:
		return bytes.Equal(o.links.Append(nil), w.links.Append(nil))
	}
	return false
}

// about reports whether what waits is a word of id.
func (w *waiting) about(id storage.NodeID) bool {
	switch {
	case w.from.id == id:
		return true
	case w.event != nil:
		return w.event.Origin == id || w.event.Type == events.TypeNewNeighbor && w.event.Neighbor.ID == id
	case w.record != nil:
		return w.record.ID == id
	case w.link != nil:
		return w.link.From == id
	case w.links != nil:
		return w.links.From == id
	}
	return false
}
