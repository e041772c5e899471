package mesh

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"

	"github.com/erwik/erwik/events"
	"github.com/erwik/erwik/storage"
)

// liar bends what a neighbor says: costs of links, links that it does not have,
// who holds what, who is dead, other nodes' records, exclusion lists, and old
// words of others said again.
type liar struct {
	heard   []item // of others, to be told again
	strange int
}

// hear keeps words of others from a frame that came to a liar.
func (l *liar) hear(b []byte) {
	f, err := decodeFrame(b)
	if err != nil || len(l.heard) > 200 {
		return
	}
	for _, it := range f.items {
		if isLink(it) {
			l.heard = append(l.heard, it)
		}
	}
}

// bend returns a frame with lies in it.
func (l *liar) bend(n *simNode, s Send) []byte {
	w := n.w
	if !w.chance(0.3) {
		return s.Frame
	}
	f, err := decodeFrame(s.Frame)
	if err != nil || len(f.items) == 0 {
		return s.Frame
	}
	for range 1 + w.rng.IntN(3) {
		f.items = append(f.items, l.lies(n, f.items)...)
	}
	return f.append(nil)
}

// lies makes one lie, of one to a hundred items.
func (l *liar) lies(n *simNode, said []item) []item {
	w := n.w
	r := w.rng
	victim := w.nodes[r.IntN(len(w.nodes))].id
	other := w.nodes[r.IntN(len(w.nodes))].id
	sign := func(m []byte) [events.SignatureSize]byte { return fakeSig(n.id, m) }
	forged := [events.SignatureSize]byte{1, byte(r.Uint32())}
	switch r.IntN(15) {
	case 0: // a link that is not there, or costs nothing
		word := &events.LinkRecord{From: n.id, To: other, Up: true, Incarnation: n.core.incarnation,
			Counter: n.core.nodes.counter + uint64(r.IntN(3))}
		word.Step = events.StepOf(0)
		word.Sig = sign(word.SignedBytes(nil))
		if other != n.id {
			return []item{&linkItem{word}}
		}
	case 1: // one that nothing can follow
		word := &events.LinkRecord{From: n.id, To: other, Up: true, Incarnation: n.core.incarnation, Counter: math.MaxUint64}
		word.Step = events.StepOf(0)
		word.Sig = sign(word.SignedBytes(nil))
		if other != n.id {
			return []item{&linkItem{word}}
		}
	case 2: // another's word
		word := &events.LinkRecord{From: victim, To: other, Up: r.IntN(2) == 0, Incarnation: math.MaxUint64, Counter: 1, Sig: forged}
		if word.Up {
			word.Step = events.StepOf(0)
		}
		if victim != other {
			return []item{&linkItem{word}}
		}
	case 3: // another's record
		return []item{&nodeItem{&events.Record{ID: victim, Name: "forged", Addresses: []string{"x:1"}, Version: "x",
			Incarnation: math.MaxUint64 - uint64(r.IntN(3)), Sig: forged}}}
	case 4: // a stranger's record, in order but for that nobody admitted it
		rec := &events.Record{ID: l.stranger(r.Uint64()), Name: "stranger", Addresses: []string{"x:1"}, Version: "x", Incarnation: 1}
		rec.Sig = fakeSig(rec.ID, rec.SignedBytes(nil))
		return []item{&nodeItem{rec}}
	case 5: // who holds what
		if logs := n.core.vector.logs; len(logs) > 0 {
			log := logs[r.IntN(len(logs))]
			return []item{&holdersItem{log: log.id, list: []holder{{prefixOf(victim), log.held + uint64(r.IntN(1000))}, {prefixOf(n.id), log.held + uint64(r.IntN(5))}}}}
		}
	case 6: // lists that exclude everybody
		for _, it := range said {
			if e, ok := it.(*eventItem); ok {
				e.exclude = events.Exclusion{Form: events.Everybody}
			}
		}
	case 7: // a summary of nothing
		s := &summaryItem{flags: byte(r.IntN(4)), incarnation: r.Uint64(), pool: r.Uint64(), table: r.Uint64(), vector: r.Uint64(), rtt: r.Uint64() >> 1}
		if r.IntN(2) == 0 {
			s.pool = n.core.nodes.poolHash
			s.vector = n.core.vector.sum
			s.holders = make([]byte, (len(n.core.nodes.order)+7)/8)
			for i := range len(n.core.nodes.order) {
				s.holders[i/8] |= 0x80 >> (i % 8)
			}
		}
		return []item{s}
	case 8: // a death
		if m := n.core.nodes.byID[victim]; m != nil && victim != n.id {
			e := events.NewDead(n.id, events.Dead{Node: victim, Incarnation: m.incarnation() + uint64(r.IntN(2))})
			e.Sig = sign(e.SignedBytes(nil))
			return []item{&eventItem{event: e, exclude: events.Exclusion{Form: events.Everybody}}}
		}
	case 9: // a flood of strangers
		var flood []item
		for range 100 {
			e := events.NewCommit(storage.LogID{Node: l.stranger(r.Uint64()), Nonce: 1}, 1, storage.Hash{1}, "X")
			e.Sig = forged
			flood = append(flood, &eventItem{event: e, exclude: events.Exclusion{Form: events.Everybody}})
		}
		return flood
	case 10: // a commit that was never made
		e := events.NewCommit(storage.LogID{Node: victim, Nonce: r.Uint64()}, 1, storage.Hash{2}, "X")
		e.Sig = forged
		return []item{&eventItem{event: e, exclude: events.Exclusion{Form: events.Everybody}}}
	case 11: // more of a log than there is
		return []item{&logsItem{origin: victim, heads: []logHead{{nonce: r.Uint64N(3), sequence: math.MaxUint32, tip: [4]byte{9}}}}}
	case 13, 14: // many links that cost nothing, its own or another's
		set := &events.LinkSet{From: n.id, Incarnation: n.core.incarnation, Counter: n.core.nodes.counter + uint64(r.IntN(3))}
		for _, m := range w.nodes {
			set.Links = append(set.Links, events.LinkState{To: events.ShortOf(m.id), Up: true})
		}
		slices.SortFunc(set.Links, func(a, b events.LinkState) int { return bytes.Compare(a.To[:], b.To[:]) })
		set.Sig = sign(set.SignedBytes(nil))
		if r.IntN(2) == 0 && victim != n.id {
			set.From, set.Incarnation = victim, set.Incarnation+uint64(r.IntN(2))
		}
		return []item{&linksItem{set}}
	case 12: // what others said earlier
		var again []item
		for _, old := range l.heard {
			if len(again) < 30 && r.IntN(2) == 0 {
				again = append(again, old)
			}
		}
		return again
	}
	return nil
}

// stranger is an id that nobody has admitted; there are a few hundred.
func (l *liar) stranger(x uint64) (id storage.NodeID) {
	binary.BigEndian.PutUint64(id[:], x%300+1)
	id[31] = 77
	return id
}
