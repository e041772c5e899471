package mesh

import (
	"bytes"
	"slices"

	"github.com/erwik/erwik/events"
	"github.com/erwik/erwik/storage"
)

// copyKey names the copies of one commit's notice that go one way.
type copyKey struct {
	from, to int
	place    place
}

// checkFrame holds what an honest node says to what its disk has.
func (w *world) checkFrame(n *simNode, s Send) {
	f, err := decodeFrame(s.Frame)
	if err != nil {
		w.fail("%s sends a frame that does not decode: %v", n.name, err)
		return
	}
	for _, it := range f.items {
		switch it := it.(type) {
		case *eventItem:
			w.checkNotice(n, s, it)
		case *logsItem:
			for _, h := range it.heads {
				if w.forkers[it.origin] { // a frame sent again may be of a time before a fork was known
					break
				}
				l := n.disk.logs[logID(it.origin, h.nonce)]
				if l.held() < h.sequence {
					w.fail("%s says that it holds %d of a log, and has %d synced", n.name, h.sequence, l.held())
				} else if !bytes.Equal(l.commits[h.sequence-1].hash[:4], h.tip[:]) {
					w.fail("%s names another tip than it has", n.name)
				}
			}
		case *holdersItem:
			for _, h := range it.list {
				if h.id == prefixOf(n.id) && !w.forkers[it.log.Node] && n.disk.logs[it.log].held() < h.sequence {
					w.fail("%s says that it holds %d of a log, and has %d synced", n.name, h.sequence, n.disk.logs[it.log].held())
				}
			}
		}
	}
}

func (w *world) checkNotice(n *simNode, s Send, it *eventItem) {
	if it.event.Type != events.TypeCommit || w.forkers[it.event.Commit.Log.Node] {
		return
	}
	at := it.event.Commit
	l := n.disk.logs[at.Log]
	if l.held() < at.Sequence {
		w.fail("%s passes on a notice of sequence %d and has %d synced", n.name, at.Sequence, l.held())
		return
	}
	if l.commits[at.Sequence-1].hash != at.Hash {
		w.fail("%s passes on a notice of another commit than it has", n.name)
	}
	if w.copies != nil && n.links[s.Peer] != nil { // else the link has just gone
		key := copyKey{n.index, n.links[s.Peer].index, place{at.Log, at.Sequence}}
		w.copies[key]++
		if w.copies[key] > maxCopies {
			w.fail("%s tells %s of one commit %d times", n.name, n.links[s.Peer].name, w.copies[key])
		}
	}
}

// maxCopies of one commit's notice that may go one way on a wire without faults:
// one for the commit's sake, others for the sake of names that come later.
const maxCopies = 6

// checkPull holds what a node asks for to what it has.
func (w *world) checkPull(n *simNode, pl Pull) {
	if len(pl.Ranges) == 0 || len(pl.Ranges) > MaxRanges {
		w.fail("%s pulls %d ranges", n.name, len(pl.Ranges))
	}
	for _, r := range pl.Ranges {
		if held := n.core.vector.byID[r.Log].held; r.After < held || r.Upto <= r.After {
			w.fail("%s asks for %d to %d of a log and holds %d", n.name, r.After, r.Upto, held)
		}
	}
}

// checkLimits asserts the caps of one core's tables, queues and caches.
func (n *simNode) checkLimits() {
	w, c := n.w, n.core
	over := func(what string, is, most int) {
		if is > most {
			w.fail("%s: %d %s, the limit is %d", n.name, is, what, most)
		}
	}
	for _, m := range c.nodes.slots {
		if m.link == nil {
			continue
		}
		q := &m.link.queue
		if len(q.order) != len(q.commits) || len(q.soft) != len(q.softSet) || len(q.records) != len(q.recordSet) {
			w.fail("%s: a queue to %s and its index differ", n.name, c.nameOf(m))
		}
		over("notices queued", len(q.order), MaxQueueLogs)
		over("news queued", len(q.news), MaxQueueItems)
		over("holders queued", len(q.soft), MaxQueueItems)
		over("records queued", len(q.records), MaxQueueItems)
		over("records remembered", len(q.sent), MaxQueueItems)
		over("answers queued", len(q.jobs), MaxQueueItems)
		over("signatures checked in a second", m.link.quota.checks, MaxChecks)
	}
	over("events", len(c.events.ring), MaxEvents)
	over("events by checksum", len(c.events.others)+len(c.events.commits), MaxEvents)
	over("pulls", len(c.pulls.open), MaxPulls)
	over("logs wanted", len(c.pulls.wanted), len(c.vector.logs))
	over("records in limbo", c.nodes.limbo.size, MaxLimbo)
	over("nodes", len(c.nodes.slots), MaxNodes)
	over("logs", len(c.vector.logs), MaxLogs)
	over("tombstones", c.nodes.stones, MaxTombstones)
	over("plans", len(c.graph.plans), maxPlans)
	over("alarms remembered", len(c.raised), MaxQueueItems)
	over("pools remembered", len(c.nodes.pools), keepPools)
	for _, p := range c.pulls.open {
		over("ranges in a pull", len(p.ranges), MaxRanges)
	}
}

// heard is what a node has believed of another in this life.
type heard struct {
	incarnation, gone uint64
	record            *events.Record
	out               []*events.LinkRecord
}

func logID(node storage.NodeID, nonce uint64) storage.LogID {
	return storage.LogID{Node: node, Nonce: nonce}
}

// checkTable asserts that what a core believes of others was signed by them and
// only grows younger.
func (n *simNode) checkTable() {
	w, c := n.w, n.core
	for _, m := range c.nodes.slots {
		for len(n.heard) <= m.slot {
			n.heard = append(n.heard, heard{})
		}
		h := &n.heard[m.slot]
		if m.gone != nil {
			h.gone = max(h.gone, m.gone.Dead.Incarnation)
		}
		if m.member() {
			if m.incarnation() < h.incarnation {
				w.fail("%s went back from incarnation %d of %s to %d", n.name, h.incarnation, c.nameOf(m), m.incarnation())
			}
			if h.gone != 0 && m.incarnation() <= h.gone {
				w.fail("%s takes %s back, which was removed", n.name, c.nameOf(m))
			}
			h.incarnation = m.incarnation()
			if h.record != m.record {
				h.record = m.record
				if fakeSig(m.id, m.record.SignedBytes(nil)) != m.record.Sig {
					w.fail("%s has a record of %s that it did not sign", n.name, c.nameOf(m))
				}
				if !slices.Contains(n.disk.admitted, m.id) && !slices.Contains(n.mem.admitted, m.id) {
					w.fail("%s takes in a node that nobody admitted", n.name)
				}
			}
		}
		if m.dead && m.reachable {
			w.fail("%s takes %s for dead and has a path to it", n.name, c.nameOf(m))
		}
		if m.link != nil {
			n.checkWord(h, m)
		}
	}
	for _, l := range c.vector.logs {
		if held := n.disk.logs[l.id].held(); l.held > held {
			w.fail("%s: the vector says %d of a log, the disk has %d", n.name, l.held, held)
		}
	}
}

// signedWord reports whether m signed a word on a link, alone or in a set.
func signedWord(m *node, r *events.LinkRecord) bool {
	if r.In == nil {
		return fakeSig(m.id, r.SignedBytes(nil)) == r.Sig
	}
	said := slices.Contains(r.In.Links, events.LinkState{To: events.ShortOf(r.To), Step: r.Step, Up: r.Up})
	return said && r.In.From == m.id && r.In.Counter == r.Counter && r.In.Incarnation == r.Incarnation &&
		fakeSig(m.id, r.In.SignedBytes(nil)) == r.In.Sig
}

// checkWord looks at what a neighbor says of its links: signed, and in order.
func (n *simNode) checkWord(h *heard, m *node) {
	w, c := n.w, n.core
	for to, r := range m.outWords() {
		for len(h.out) <= to {
			h.out = append(h.out, nil)
		}
		old := h.out[to]
		h.out[to] = r // none: it was removed, and its words with it
		if r == old || r == nil {
			continue
		}
		if !signedWord(m, r) {
			w.fail("%s has a word of %s that it did not sign", n.name, c.nameOf(m))
		}
		if m.slot != c.self && !r.Newer(old) {
			w.fail("%s went back to an older word of %s on a link", n.name, c.nameOf(m))
		}
	}
}

// checkHashes counts the vector's hash anew.
func (n *simNode) checkHashes() {
	fresh, err := New(Config{Self: n.id, Sign: n.core.cfg.Sign, Verify: fakeVerify})
	if err != nil {
		n.w.fail("new: %v", err)
		return
	}
	for _, id := range n.disk.order {
		fresh.restoreHead(n.disk.logs[id].head())
	}
	if fresh.VectorHash() != n.core.VectorHash() {
		n.w.fail("%s names a vector that is not what it holds", n.name)
	}
}
