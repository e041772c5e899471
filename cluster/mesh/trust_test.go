package mesh

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/erwik/erwik/events"
	"github.com/erwik/erwik/storage"
)

// hostile returns the nodes that alarms name as hostile.
func (l *lab) hostile() (who []storage.NodeID) {
	for _, a := range l.al {
		if a.Kind == AlarmHostile {
			who = append(who, a.Node)
		}
	}
	return who
}

// stranger is a node that nobody admitted.
func stranger(n uint64) (id storage.NodeID) {
	binary.BigEndian.PutUint64(id[:], n+1)
	id[31] = 99
	return id
}

// TestHostileNeighbors: whatever a neighbor does, the alarm names it and nobody
// else, what others are told stays as it was, and an honest neighbor's save is
// pulled at once.
func TestHostileNeighbors(t *testing.T) {
	type deed func(l *lab, a, victim storage.NodeID, i int) []item
	one := func(it item) []item { return []item{it} }
	for name, c := range map[string]struct {
		times int
		gap   time.Duration
		do    deed
	}{
		"forged events": {100, time.Millisecond, func(_ *lab, _, victim storage.NodeID, i int) []item {
			e := commitOf(victim, uint64(i+1))
			e.Sig[0] ^= 1
			return one(&eventItem{event: e})
		}},
		"forged records": {100, time.Millisecond, func(_ *lab, _, victim storage.NodeID, i int) []item {
			r := recordOf(victim, "v", uint64(100+i))
			r.Sig[0] ^= 1
			return one(&nodeItem{r})
		}},
		"links that it is not part of": {100, time.Millisecond, func(l *lab, a, victim storage.NodeID, i int) []item {
			r := &events.LinkRecord{From: victim, To: idOf(1), Up: true, Step: events.StepOf(0), Incarnation: 1, Counter: math.MaxUint64 - uint64(i)}
			r.Sig = fakeSig(a, r.SignedBytes(nil))
			return one(&linkItem{r})
		}},
		"old words again": {60, 500 * time.Millisecond, func(_ *lab, _, victim storage.NodeID, _ int) []item {
			return slices.Repeat(one(&nodeItem{recordOf(victim, "v", 1)}), 200)
		}},
		"100,000 nodes": {500, 20 * time.Millisecond, func(_ *lab, _, _ storage.NodeID, i int) (all []item) {
			for j := range 200 {
				all = append(all, &nodeItem{recordOf(stranger(uint64(200*i+j)), "s", 1)})
			}
			return all
		}},
		"links that flap": {10_000, time.Millisecond, func(_ *lab, a, victim storage.NodeID, i int) []item {
			r := &events.LinkRecord{From: a, To: victim, Up: i%2 == 0, Incarnation: 1, Counter: uint64(i + 1)}
			if r.Up {
				r.Step = events.StepOf(0)
			}
			r.Sig = fakeSig(a, r.SignedBytes(nil))
			return one(&linkItem{r})
		}},
		"100,000 valid events a second": {6 * 700, time.Second / 700, func(_ *lab, a, _ storage.NodeID, i int) (all []item) {
			for j := range 150 {
				all = append(all, &eventItem{event: commitOf(a, uint64(150*i+j+1))})
			}
			return all
		}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, 1)
			checked := 0
			verify := l.core.cfg.Verify
			l.core.cfg.Verify = func(id storage.NodeID, m []byte, sig *[events.SignatureSize]byte) bool {
				checked++
				return verify(id, m, sig)
			}
			a, victim, honest := l.meet(2, "a"), l.meet(3, "v"), l.meet(4, "h")
			l.settle(a, victim, honest)
			nodes, began := len(l.core.Nodes()), l.now
			l.al, checked = nil, 0
			times := c.times
			if name == "old words again" {
				times *= 10 // 50,000 of them in one minute
			}
			for i := range times {
				f := frame{items: c.do(l, a, victim, i)}
				l.now = l.now.Add(c.gap)
				if name == "old words again" {
					l.now = l.now.Add(-c.gap * 9 / 10)
				}
				l.core.Receive(l.now, a, f.append(nil))
				if i%50 == 0 {
					l.core.Tick(l.now)
				}
				l.take()
				for _, id := range []storage.NodeID{a, victim, honest} {
					l.ack(id)
				}
				if i == times/2 { // in the midst of it
					pulls := len(l.pull)
					e := commitOf(honest, 1)
					l.feed(honest, frame{number: 1000, items: []item{&eventItem{event: e}}})
					if len(l.pull) != pulls+1 {
						t.Error("an honest save is not pulled")
					}
				}
			}
			if who := l.hostile(); len(who) == 0 || slices.ContainsFunc(who, func(id storage.NodeID) bool { return id != a }) {
				t.Errorf("alarms name %v, want %s alone: %+v", who, a, l.al)
			}
			seconds := l.now.Sub(began)/time.Second + 2
			if most := int(seconds) * (MaxChecks + 100); checked > most {
				t.Errorf("%d signatures checked in %d s, at most %d", checked, seconds, most)
			}
			if got := len(l.core.Nodes()); got != nodes || len(l.core.nodes.slots) > nodes+1 || l.core.nodes.limbo.size > MaxLimbo {
				t.Errorf("%d nodes, %d slots, %d in limbo", got, len(l.core.nodes.slots), l.core.nodes.limbo.size)
			}
			for _, n := range []storage.NodeID{victim, honest} {
				if m := l.core.nodes.byID[n]; m.record == nil || m.record.Incarnation != 1 || slices.ContainsFunc(m.out, func(w word) bool { return w.r != nil }) {
					t.Errorf("somebody else's word was taken for that of %s", n.Short())
				}
			}
			told := 0
			for _, f := range l.got[honest] {
				for _, it := range f.items {
					if isLink(it) {
						told++
					}
				}
			}
			if most := 10 * int(seconds); told > most {
				t.Errorf("the honest neighbor was told of links %d times in %d s", told, seconds)
			}
		})
	}
}

// TestFramesOverTheQuota: frames that are not in order, and too many, name their
// sender.
func TestFramesOverTheQuota(t *testing.T) {
	for name, b := range map[string][]byte{"garbage": {9, 9, 9}, "too long": make([]byte, MaxFrame+1)} {
		l := newLab(t, 1)
		a := l.meet(2, "a")
		for range 10 {
			l.core.Receive(l.now, a, b)
		}
		l.take()
		if who := l.hostile(); !slices.Equal(who, []storage.NodeID{a}) {
			t.Errorf("%s: alarms name %v", name, who)
		}
	}
	l := newLab(t, 1)
	a := l.meet(2, "a")
	empty := (&frame{items: []item{&holdersItem{log: storage.LogID{Node: a, Nonce: 1}, list: []holder{{prefixOf(a), 0}}}}}).append(nil)
	for range 8 {
		for range MaxFrames + 10 {
			l.core.Receive(l.now, a, empty)
		}
		l.now = l.now.Add(time.Second)
	}
	l.take()
	if who := l.hostile(); !slices.Equal(who, []storage.NodeID{a}) || l.drops(a, DropFlood) < 70 {
		t.Errorf("alarms name %v, %d frames dropped", who, l.drops(a, DropFlood))
	}
}

// TestBannedNode: it has no link, record or word, whoever tells of it, in this
// life and the next, and its logs are pulled from others.
func TestBannedNode(t *testing.T) {
	l := newLab(t, 1)
	a, b := l.meet(2, "a"), l.meet(3, "b")
	l.settle(a, b)
	word := &events.LinkRecord{From: b, To: a, Up: true, Step: events.StepOf(0), Incarnation: 1, Counter: 1}
	word.Sig = fakeSig(b, word.SignedBytes(nil))
	l.feed(a, frame{number: 20, items: []item{&linkItem{word}}})
	l.core.Ban(l.now, b)
	l.take()
	if len(l.out.Close) != 1 || l.out.Close[0].Peer != b || len(l.core.Nodes()) != 2 {
		t.Fatalf("closed %v, nodes %v", l.out.Close, l.core.Nodes())
	}
	row := l.core.nodes.byID[b].row
	removed := events.NewDead(a, events.Dead{Node: b, Incarnation: 1, Removed: true})
	removed.Sig = fakeSig(a, removed.SignedBytes(nil))
	born := events.NewNeighbor(a, recordOf(b, "b", math.MaxUint64))
	born.Sig = fakeSig(a, born.SignedBytes(nil))
	for i, it := range []item{&nodeItem{recordOf(b, "b", math.MaxUint64)}, &linkItem{word}, &eventItem{event: commitOf(b, 1)}, &eventItem{event: removed}, &eventItem{event: born}} {
		l.feed(a, frame{number: uint64(30 + i), items: []item{it}})
	}
	l.core.Learn(l.now, true, recordOf(b, "b", 7))
	l.core.LinkUp(l.now, b, LinkInfo{})
	for range 100 {
		l.now = l.now.Add(time.Second)
		l.core.Tick(l.now)
		l.take()
		if len(l.out.Dial) > 0 && l.out.Dial[0].Node == b {
			t.Fatal("it is dialled")
		}
	}
	if len(l.core.Nodes()) != 2 || row != 0 || l.core.nodes.byID[b].row != 0 || l.drops(a, DropBanned) != 4 {
		t.Errorf("nodes %v, row %d, %d dropped", l.core.Nodes(), l.core.nodes.byID[b].row, l.drops(a, DropBanned))
	}
	l.pull = nil
	l.meet(2, "a")
	l.feed(a, frame{number: 40, items: []item{&logsItem{b, []logHead{{nonce: 7, sequence: 3}}}}})
	if len(l.pull) != 1 || l.pull[0].From != a {
		t.Errorf("what others hold of its logs is not pulled: %+v", l.pull)
	}
	next := newLab(t, 5)
	next.core.Restore(next.now, Restored{Banned: []storage.NodeID{b}, State: []Persist{{"node/" + b.String(), recordOf(b, "b", 9).Append(nil)}}})
	if len(next.core.Nodes()) != 1 {
		t.Error("a record on the disk brings it back")
	}
	next.core.Admit(next.now, b) // by somebody whose word counts
	next.core.Learn(next.now, false, recordOf(b, "b", 10))
	if len(next.core.Nodes()) != 2 {
		t.Error("a node whose ban does not count any more is kept out")
	}
}

// TestRemovedNodeStaysOut: a node that was removed and is dead does not come back
// by what third parties go on telling of it.
func TestRemovedNodeStaysOut(t *testing.T) {
	l := newLab(t, 1)
	a, b := l.meet(2, "a"), l.meet(3, "b")
	l.core.LinkDown(l.now, b)
	if !l.core.Forget(l.now, b) {
		t.Fatal("Forget")
	}
	l.take()
	word := &events.LinkRecord{From: b, To: a, Up: true, Step: events.StepOf(0), Incarnation: 1, Counter: 1}
	word.Sig = fakeSig(b, word.SignedBytes(nil))
	born := events.NewNeighbor(a, recordOf(b, "b", 1))
	born.Sig = fakeSig(a, born.SignedBytes(nil))
	for i, it := range []item{&nodeItem{recordOf(b, "b", 1)}, &linkItem{word}, &eventItem{event: born}, &eventItem{event: commitOf(b, 4)}} {
		l.feed(a, frame{number: uint64(50 + i), items: []item{it}})
		if len(l.core.Nodes()) != 2 {
			t.Errorf("word %d brought it back", i)
		}
	}
	l.core.Learn(l.now, true, recordOf(b, "b", 1))
	if len(l.core.Nodes()) != 2 {
		t.Error("a pool of a join brought it back")
	}
}
