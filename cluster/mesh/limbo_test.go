package mesh

import (
	"testing"

	"github.com/erwik/erwik/events"
	"github.com/erwik/erwik/storage"
)

// TestLimboHoldsAPool: who joins hears of all members, and of all their links,
// before it has the commits that admit them. Nothing of that may be lost, whatever
// another neighbor says meanwhile.
func TestLimboHoldsAPool(t *testing.T) {
	const pool = 150
	l := newLab(t, 1)
	honest, flooder := l.meet(2, "h"), l.meet(3, "f")
	l.settle(honest, flooder)
	member := func(i int) storage.NodeID { return idOf(byte(100 + i)) }
	number := uint64(1000)
	say := func(from storage.NodeID, it item) {
		number++
		l.feed(from, frame{number: number, items: []item{it}})
	}
	for i := range pool {
		forged := recordOf(member(i), "x", 1)
		forged.Name = "forged" // under the true signature
		say(flooder, &nodeItem{forged})
		say(honest, &nodeItem{recordOf(member(i), "m", 1)})
		say(flooder, &nodeItem{recordOf(member(i), "m", 1)})
	}
	for i := range pool {
		set := &events.LinkSet{From: member(i), Incarnation: 1, Counter: 1}
		for j := range pool {
			if j != i {
				set.Links = append(set.Links, events.LinkState{To: events.ShortOf(member(j)), Up: true, Step: events.StepOf(0)})
			}
		}
		set.Sig = fakeSig(set.From, set.SignedBytes(nil))
		if i%8 == 0 { // as many as fit beside the records
			say(honest, &linksItem{set})
		}
	}
	for i := range 3 * MaxLimbo {
		say(flooder, &nodeItem{recordOf(stranger(uint64(i)), "s", 1)})
		if got := l.core.nodes.limbo.size; got > MaxLimbo {
			t.Fatalf("%d in limbo, at most %d", got, MaxLimbo)
		}
	}
	for i := range pool {
		l.core.Admit(l.now, member(i))
	}
	l.take()
	for i := range pool {
		n := l.core.nodes.byID[member(i)]
		if n == nil || n.record == nil || n.record.Name != "m" {
			t.Fatalf("the record of node %d was lost", i)
		}
		if i%8 == 0 && len(n.out) < pool-1 {
			t.Errorf("the links of node %d were lost", i)
		}
	}
	if l.core.nodes.limbo.size != len(l.core.nodes.limbo.list) {
		t.Errorf("limbo says %d and has %d", l.core.nodes.limbo.size, len(l.core.nodes.limbo.list))
	}
}
