package mesh

import (
	"fmt"
	"testing"
	"time"

	"github.com/erwik/erwik/events"
	"github.com/erwik/erwik/storage"
)

// newcomer is a lab whose node has no commits yet of a pool of members.
type newcomer struct {
	*lab
	number uint64
}

const poolSize = 150

func (c *newcomer) member(i int) storage.NodeID { return idOf(byte(100 + i)) }

func (c *newcomer) say(from storage.NodeID, it item) {
	c.number++
	c.feed(from, frame{number: 1000 + c.number, items: []item{it}})
}

func (c *newcomer) set(i int) *events.LinkSet {
	set := &events.LinkSet{From: c.member(i), Incarnation: 1, Counter: 1}
	for j := range poolSize {
		if j != i {
			set.Links = append(set.Links, events.LinkState{To: events.ShortOf(c.member(j)), Up: true, Step: events.StepOf(0)})
		}
	}
	set.Sig = fakeSig(set.From, set.SignedBytes(nil))
	return set
}

// table has a neighbor say the whole table, as comparing tables does.
func (c *newcomer) table(from storage.NodeID) {
	for i := range poolSize {
		c.say(from, &nodeItem{recordOf(c.member(i), "m", 1)})
	}
	for i := range poolSize {
		c.say(from, &linksItem{c.set(i)})
	}
}

// flood has a neighbor say true things, forgeries and much of strangers.
func (c *newcomer) flood(from storage.NodeID) {
	for i := range poolSize {
		c.say(from, &nodeItem{recordOf(c.member(i), "m", 1)})
		forged := recordOf(c.member(i), "x", 1)
		forged.Name = "forged" // under the true signature
		c.say(from, &nodeItem{forged})
	}
	for i := range MaxLimbo + MaxLimbo/2 {
		c.say(from, &nodeItem{recordOf(stranger(uint64(i)), "s", 1)})
		if got := c.core.nodes.limbo.size; got > MaxLimbo {
			c.t.Fatalf("%d in limbo, at most %d", got, MaxLimbo)
		}
	}
}

// TestLimboHoldsAPool: who joins hears of all members, and of all their links,
// before it has the commits that admit them. Nothing of that is lost, whatever
// another neighbor says before, meanwhile and after, and if it is banned then.
func TestLimboHoldsAPool(t *testing.T) {
	for name, after := range map[string]bool{"flood first": false, "flood after": true} {
		t.Run(name, func(t *testing.T) {
			c := &newcomer{lab: newLab(t, 1)}
			honest, flooder := c.meet(2, "h"), c.meet(3, "f")
			c.settle(honest, flooder)
			if !after {
				c.flood(flooder)
			}
			c.table(honest)
			if after {
				c.flood(flooder)
			}
			c.core.Ban(c.now, flooder)
			for i := range poolSize {
				c.core.Admit(c.now, c.member(i))
			}
			c.take()
			for i := range poolSize {
				n := c.core.nodes.byID[c.member(i)]
				if n == nil || n.record == nil || n.record.Name != "m" {
					t.Fatalf("the record of node %d was lost", i)
				}
				if len(n.out) < poolSize-1 {
					t.Fatalf("%d of %d links of node %d are known", len(n.out), poolSize-1, i)
				}
			}
			if l := &c.core.nodes.limbo; l.size != 0 || len(l.rooms) != 0 {
				t.Errorf("%d left in limbo, of %d neighbors", l.size, len(l.rooms))
			}
		})
	}
}

// TestLimboSaysRecordsLast: when one neighbor says more than there is room for,
// records of nodes are lost last, for all else needs them.
func TestLimboSaysRecordsLast(t *testing.T) {
	c := &newcomer{lab: newLab(t, 1)}
	honest := c.meet(2, "h")
	c.settle(honest)
	for i := range poolSize {
		c.say(honest, &nodeItem{recordOf(c.member(i), "m", 1)})
	}
	for round := range 30 {
		for i := range poolSize {
			set := c.set(i)
			set.Counter = uint64(round + 1)
			set.Sig = fakeSig(set.From, set.SignedBytes(nil))
			c.say(honest, &linksItem{set})
		}
		c.now = c.now.Add(2 * time.Second) // within its share
	}
	if got := c.core.nodes.limbo.size; got > MaxLimbo || got < MaxLimbo/2 {
		t.Errorf("%d in limbo, at most %d", got, MaxLimbo)
	}
	for i := range poolSize {
		c.core.Admit(c.now, c.member(i))
	}
	for i := range poolSize {
		if n := c.core.nodes.byID[c.member(i)]; n == nil || n.record == nil {
			t.Fatalf("the record of node %d was lost", i)
		}
	}
}

// TestLimboKeepsWhatAddsUp: who holds a log is said bit by bit, and two copies of an
// event leave different nodes open: none of that takes the place of the other. A
// forged set is checked once.
func TestLimboKeepsWhatAddsUp(t *testing.T) {
	c := &newcomer{lab: newLab(t, 1)}
	honest, m1, m2 := c.meet(2, "h"), c.meet(3, "m1"), c.meet(4, "m2")
	c.settle(honest, m1, m2)
	log := storage.LogID{Node: c.member(0), Nonce: 7}
	for _, id := range []storage.NodeID{honest, m1, m2} {
		c.say(honest, &holdersItem{log: log, list: []holder{{prefixOf(id), 5}}})
	}
	c.core.Admit(c.now, c.member(0))
	l := c.core.vector.byID[log]
	if l == nil {
		t.Fatal("the log is not known")
	}
	for _, id := range []storage.NodeID{honest, m1, m2} {
		if got := c.core.nodes.byID[id].holding(l); got != 5 {
			t.Errorf("%s is known to hold %d, said were 5", id.Short(), got)
		}
	}

	e := commitOf(c.member(1), 1)
	for _, open := range []storage.NodeID{m1, m2} {
		c.say(honest, &eventItem{event: e, exclude: events.Exclusion{Form: events.EverybodyBut, Tags: []uint16{events.Tag(open, e.Checksum())}}})
	}
	c.core.Admit(c.now, c.member(1))
	s := c.core.events.commits[logPlace{c.core.vector.byID[e.Commit.Log], 1}]
	if s == nil {
		t.Fatal("the event is not known")
	}
	for _, id := range []storage.NodeID{m1, m2} {
		if !s.pending.Has(c.core.nodes.byID[id].slot) {
			t.Errorf("%s was left open, and is forgotten", id.Short())
		}
	}

	checks := 0
	verify := c.core.cfg.Verify
	c.core.cfg.Verify = func(id storage.NodeID, message []byte, sig *[events.SignatureSize]byte) bool {
		checks++
		return verify(id, message, sig)
	}
	set := &events.LinkSet{From: m1, Incarnation: 1, Counter: 9, Links: []events.LinkState{
		{To: events.ShortOf(stranger(1)), Up: true, Step: events.StepOf(0)}, {To: events.ShortOf(honest), Up: true, Step: events.StepOf(0)}}}
	set.Sig[0] = 1
	c.say(honest, &linksItem{set})
	for range 5 * time.Second / TickEvery {
		c.now = c.now.Add(TickEvery)
		c.core.Tick(c.now)
		c.take()
		for _, id := range []storage.NodeID{honest, m1, m2} {
			c.ack(id)
		}
	}
	if checks != 1 || c.core.nodes.limbo.size != 0 {
		t.Errorf("%d signatures checked for a forged set, %d in limbo", checks, c.core.nodes.limbo.size)
	}
}

// TestSetWaitsOnOneEnd: links of a set whose ends are known count, though another end
// of the set stays unknown; and looking at it again blames nobody.
func TestSetWaitsOnOneEnd(t *testing.T) {
	c := &newcomer{lab: newLab(t, 1)}
	honest := c.meet(2, "h")
	c.settle(honest)
	for i := range 3 { // the fourth node never comes
		c.core.Admit(c.now, c.member(i))
	}
	c.say(honest, &nodeItem{recordOf(c.member(0), "m", 1)})
	set := &events.LinkSet{From: c.member(0), Incarnation: 1, Counter: 1}
	for i := 1; i < 4; i++ {
		set.Links = append(set.Links, events.LinkState{To: events.ShortOf(c.member(i)), Up: true, Step: events.StepOf(0)})
	}
	set.Sig = fakeSig(set.From, set.SignedBytes(nil))
	c.say(honest, &linksItem{set})
	links := func() int { return len(c.core.nodes.byID[c.member(0)].out) }
	for i := 1; i < 3; i++ {
		c.say(honest, &nodeItem{recordOf(c.member(i), fmt.Sprint("m", i), 1)})
		for range limboEvery/TickEvery + 1 {
			c.now = c.now.Add(TickEvery)
			c.core.Tick(c.now)
			c.take()
		}
		if links() != i {
			t.Fatalf("%d links with %d known ends", links(), i)
		}
	}
	counted := c.core.Drops()[DropKey{Reason: DropUnadmitted}]
	for range 20 * limboFor / time.Second {
		c.now = c.now.Add(time.Second / 10)
		c.core.Tick(c.now)
		c.take()
		c.ack(honest)
	}
	if again := c.core.Drops()[DropKey{Reason: DropUnadmitted}]; again != counted {
		t.Errorf("what waits was counted %d times more", again-counted)
	}
	if l := &c.core.nodes.limbo; l.size != 0 {
		t.Errorf("%d in limbo after %v", l.size, 2*limboFor)
	}
}
