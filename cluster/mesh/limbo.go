package mesh

import (
	"crypto/sha256"
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
	since   Time
	event   *events.Event
	exclude *events.Exclusion
	record  *events.Record
	link    *events.LinkRecord
	links   *events.LinkSet
	holds   item // logs or holders
}

// limbo is what waits. A node that joins hears of all others, from a neighbor or
// two, before it has the commits that admit them: there is room for all that the
// members of a pool of some hundreds say. Nothing in it has been checked, so what one
// neighbor says never counts as what another one said, and when there is no room, who
// has the most loses.
type limbo struct {
	rooms []*room // of those neighbors who have something here
	size  int     // what they weigh
	due   map[events.ShortID]bool
	again Time // when sets of links are looked at again for ends that are known by now
	retry bool // what is being looked at again was counted when it came
	lost  bool // there was no room for something, and since then it has not been empty
}

// room is what one neighbor said.
type room struct {
	from  *node
	kinds [waitKinds][]*waiting // the oldest first
	byKey map[waitKey]*waiting
	size  int
}

// The kinds, the one that is missed least first: records lead to the others.
const (
	waitHolds = iota
	waitLinks
	waitEvents
	waitRecords
	waitKinds
)

// waitKey is what is kept once: who says it again, says it anew. What is not signed,
// as who holds what and whom a copy leaves open, is in the sum.
type waitKey struct {
	of, to  storage.NodeID
	counter uint64
	sum     [16]byte
}

func (w *waiting) key() waitKey {
	switch {
	case w.record != nil:
		return waitKey{of: w.record.ID, counter: w.record.Incarnation, sum: [16]byte(w.record.Sig[:16])}
	case w.link != nil:
		return waitKey{of: w.link.From, to: w.link.To}
	case w.links != nil:
		return waitKey{of: w.links.From, to: w.links.From, counter: w.links.Counter}
	}
	var said []byte
	if w.event != nil {
		said = w.event.Append(nil, w.exclude)
	} else {
		said = w.holds.append(nil)
	}
	sum := sha256.Sum256(said)
	return waitKey{sum: [16]byte(sum[:16])}
}

func (w *waiting) kind() int {
	switch {
	case w.record != nil:
		return waitRecords
	case w.event != nil:
		return waitEvents
	case w.holds != nil:
		return waitHolds
	}
	return waitLinks
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
	if w.exclude != nil {
		n = len(w.exclude.Tags) / 8
	}
	return 1 + n/each
}

// known notes that what waits on id can go on.
func (l *limbo) known(id storage.NodeID) {
	if len(l.rooms) == 0 {
		return
	}
	if l.due == nil {
		l.due = make(map[events.ShortID]bool)
	}
	l.due[events.ShortOf(id)] = true
}

// forget drops all that id said, and all words about it.
func (l *limbo) forget(id storage.NodeID) {
	l.sift(func(w *waiting) bool { return w.about(id) })
}

// sift takes out what take says, in the order of neighbors, and in each what leads to
// others first.
func (l *limbo) sift(take func(*waiting) bool) (taken []*waiting) {
	l.rooms = slices.DeleteFunc(l.rooms, func(r *room) bool {
		for kind := waitKinds - 1; kind >= 0; kind-- {
			r.kinds[kind] = slices.DeleteFunc(r.kinds[kind], func(w *waiting) bool {
				if !take(w) {
					return false
				}
				taken = append(taken, w)
				delete(r.byKey, w.key())
				r.size -= w.weight()
				l.size -= w.weight()
				return true
			})
		}
		return len(r.byKey) == 0
	})
	return taken
}

// wait keeps something for later.
func (c *Core) wait(w waiting) { c.waitFor(events.ShortOf(w.on), w) }

// waitFor keeps something that waits on the node with a short id. When there is no
// room, the neighbor who has the most waiting loses the oldest of the kind that is
// missed least.
func (c *Core) waitFor(short events.ShortID, w waiting) {
	l := &c.nodes.limbo
	if !l.retry {
		c.drop(w.from, DropUnadmitted)
	}
	w.short, w.since = short, c.now
	at := slices.IndexFunc(l.rooms, func(r *room) bool { return r.from == w.from })
	if at < 0 {
		at = len(l.rooms)
		l.rooms = append(l.rooms, &room{from: w.from, byKey: make(map[waitKey]*waiting)})
	}
	r := l.rooms[at]
	key, weight := w.key(), w.weight()
	if old := r.byKey[key]; old != nil {
		r.size -= old.weight()
		l.size -= old.weight()
		*old = w
	} else {
		r.byKey[key] = &w
		r.kinds[w.kind()] = append(r.kinds[w.kind()], &w)
	}
	r.size += weight
	l.size += weight
	if planted.Now == planted.LimboWithoutCap {
		return
	}
	for l.size > MaxLimbo {
		l.crowded(slices.MaxFunc(l.rooms, func(a, b *room) int { return a.size - b.size }))
	}
}

// crowded drops one thing of a room.
func (l *limbo) crowded(r *room) {
	l.lost = true
	for kind := range r.kinds {
		if len(r.kinds[kind]) > 0 {
			w := r.kinds[kind][0]
			r.kinds[kind][0] = nil
			r.kinds[kind] = r.kinds[kind][1:]
			delete(r.byKey, w.key())
			r.size -= w.weight()
			l.size -= w.weight()
			return
		}
	}
}

// retryLimbo looks again at what waited on somebody who is admitted or known now. A
// set of links waits on one of its unknown ends only; now and then all sets are looked
// at again, and one whose ends are not known after long is dropped.
func (c *Core) retryLimbo() {
	l := &c.nodes.limbo
	if len(l.rooms) == 0 {
		return
	}
	sweep := c.now >= l.again
	if sweep {
		l.again = c.now.Add(limboEvery)
	}
	if len(l.due) == 0 && !sweep {
		return
	}
	ready := l.sift(func(w *waiting) bool {
		return l.due[w.short] || sweep && w.links != nil
	})
	clear(l.due)
	l.retry = true
	defer func() {
		l.retry = false
		l.lost = l.lost && len(l.rooms) > 0
	}()
	for _, w := range ready {
		switch {
		case w.event != nil:
			c.receiveEvent(w.from, w.event, w.exclude)
		case w.record != nil:
			c.receiveRecord(w.from, w.record)
		case w.link != nil:
			c.receiveLink(w.from, w.link)
		case w.links != nil:
			c.retrySet(w)
		case w.from.link != nil && w.from.link.up:
			c.receiveItem(w.from, w.holds)
		}
	}
}

// retrySet looks again at a set of links, which may have to wait on.
func (c *Core) retrySet(w *waiting) {
	if c.now.Sub(w.since) > limboFor {
		return
	}
	since, key := w.since, w.key()
	c.receiveLinks(w.from, w.links)
	for _, r := range c.nodes.limbo.rooms {
		if r.from == w.from && r.byKey[key] != nil {
			r.byKey[key].since = since
		}
	}
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
