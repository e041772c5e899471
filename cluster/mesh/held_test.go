package mesh

import (
	"testing"
	"time"

	"github.com/erwik/erwik/events"
	"github.com/erwik/erwik/storage"
)

// saysLink reports whether a neighbor was sent from's word on its link to to.
func (l *lab) saysLink(id, from, to storage.NodeID) bool {
	for _, f := range l.got[id] {
		for _, it := range f.items {
			switch it := it.(type) {
			case *linkItem:
				if it.record.From == from && it.record.To == to {
					return true
				}
			case *linksItem:
				for _, s := range it.set.Links {
					if it.set.From == from && s.To == events.ShortOf(to) {
						return true
					}
				}
			}
		}
	}
	return false
}

// TestHeldWhileMuchIsPulled: what only makes ways shorter is told when what there
// was to pull has come, whether the links are own ones or others'.
func TestHeldWhileMuchIsPulled(t *testing.T) {
	l := newLab(t, 1)
	two, three, four := l.meet(2, "two"), l.meet(3, "three"), l.meet(4, "four")
	all := []storage.NodeID{two, three, four}
	counter := uint64(0)
	say := func(from, to storage.NodeID, up bool) {
		counter++
		l.feed(from, frame{items: []item{wordOf(from, to, counter, up, time.Millisecond)}})
	}
	for _, id := range all {
		say(id, l.core.cfg.Self, true)
	}
	five := idOf(5)
	l.core.Admit(l.now, five)
	l.core.Learn(l.now, false, recordOf(five, "five", 1))
	say(three, five, true)
	l.feed(three, frame{items: []item{wordOf(five, three, 1, true, time.Millisecond)}})
	say(three, four, true)
	say(four, three, true)
	l.pass(20*time.Second, all...) // told of, and at rest
	if !l.core.nodes.byID[five].reachable {
		t.Fatal("there is no way to five")
	}

	log := storage.LogID{Node: two, Nonce: 7}
	l.feed(two, frame{items: []item{&logsItem{origin: two, heads: []logHead{{nonce: log.Nonce, sequence: 2 * bulkFrom}}}}})
	l.pass(200*time.Millisecond, all...)
	if len(l.pull) != 1 || !l.core.catchingUp() {
		t.Fatalf("pulls %v, catching up %v", l.pull, l.core.catchingUp())
	}
	clear(l.got)
	held := l.now
	say(four, two, true)
	say(two, four, true) // there is a way from two to four: here
	l.meet(5, "five")
	say(five, l.core.cfg.Self, true)
	all = append(all, five)
	say(three, four, false) // not the only way to anybody
	l.pass(time.Second, all...)
	if l.saysLink(three, two, four) || l.saysLink(two, l.core.cfg.Self, five) {
		t.Errorf("told while much is pulled: of two and four %v, of the own link %v",
			l.saysLink(three, two, four), l.saysLink(two, l.core.cfg.Self, five))
	}
	for i := range uint64(2 * bulkFrom) {
		l.appended(entryOf(commitOf(two, i+1), false))
	}
	l.core.PullDone(l.now, l.pull[0].ID, 30_000, time.Second)
	l.pass(caughtUp+500*time.Millisecond, all...)
	if l.now.Sub(held) >= heldFor {
		t.Fatal("the test took so long that it shows nothing")
	}
	if !l.saysLink(three, two, four) || !l.saysLink(two, l.core.cfg.Self, five) {
		t.Errorf("told once the pull has ended: of two and four %v, of the own link %v",
			l.saysLink(three, two, four), l.saysLink(two, l.core.cfg.Self, five))
	}
}

// TestHeldWayIsToldWhenNeeded: what is held back of an own link or of others' is told
// when no other way is left, though much is being pulled.
func TestHeldWayIsToldWhenNeeded(t *testing.T) {
	l := newLab(t, 1)
	two, three, four := l.meet(2, "two"), l.meet(3, "three"), l.meet(4, "four")
	all := []storage.NodeID{two, three, four}
	counter := uint64(0)
	say := func(by, from, to storage.NodeID, up bool) {
		counter++
		l.feed(by, frame{items: []item{wordOf(from, to, counter, up, time.Millisecond)}})
	}
	for _, id := range all {
		say(id, id, l.core.cfg.Self, true)
	}
	six := idOf(6)
	l.core.Admit(l.now, six)
	l.core.Learn(l.now, false, recordOf(six, "six", 1))
	say(four, four, six, true)
	say(four, six, four, true)
	five := idOf(5)
	l.core.Admit(l.now, five)
	l.core.Learn(l.now, false, recordOf(five, "five", 1))
	say(three, three, five, true)
	say(three, five, three, true)
	l.pass(20*time.Second, all...)
	l.feed(two, frame{items: []item{&logsItem{origin: two, heads: []logHead{{nonce: 7, sequence: 2 * bulkFrom}}}}})
	l.pass(200*time.Millisecond, all...)
	if !l.core.catchingUp() || !l.core.nodes.byID[six].reachable {
		t.Fatal("nothing is pulled, or there is no way to six")
	}
	clear(l.got)
	say(two, six, two, true)
	say(two, two, six, true)
	l.pass(1500*time.Millisecond, all...)
	if l.saysLink(three, two, six) {
		t.Error("told while there is another way")
	}
	say(four, four, six, false)
	l.pass(500*time.Millisecond, all...)
	if !l.saysLink(three, two, six) || !l.saysLink(three, six, two) {
		t.Error("the only way to six, and three is not told")
	}

	l.meet(5, "five")
	say(five, five, l.core.cfg.Self, true)
	all = append(all, five)
	l.pass(time.Second, all...)
	if l.saysLink(two, l.core.cfg.Self, five) {
		t.Error("the own link is told of while there is another way")
	}
	say(three, three, five, false)
	l.pass(time.Second, all...)
	if !l.saysLink(two, l.core.cfg.Self, five) {
		t.Error("the own link is the only way to five, and nobody is told")
	}
}

// TestHintsWhileMuchIsPulled: while much is pulled, hints to a neighbor wait for no
// acknowledgement and follow one another slowly; else each is acknowledged.
func TestHintsWhileMuchIsPulled(t *testing.T) {
	l := newLab(t, 1)
	two, three := l.meet(2, "two"), l.meet(3, "three")
	l.settle(two, three)
	hints := func() (firm, loose int) {
		for _, f := range l.got[three] {
			for _, it := range f.items {
				if h, ok := it.(*holdersItem); ok && h.log.Node == two && f.number != 0 {
					firm++
				} else if ok && h.log.Node == two {
					loose++
				}
			}
		}
		return firm, loose
	}
	const rounds = 20
	sequence := uint64(0)
	append1 := func() {
		sequence++
		l.appended(entryOf(commitOf(two, sequence), false))
		l.now = l.now.Add(TickEvery)
		l.core.Tick(l.now)
		l.take()
		l.ack(three)
	}
	for range rounds {
		append1()
	}
	if firm, loose := hints(); firm < rounds-1 || loose != 0 {
		t.Errorf("%d hints with an acknowledgement and %d without, want %d and 0", firm, loose, rounds)
	}
	l.feed(two, frame{items: []item{&logsItem{origin: two, heads: []logHead{{nonce: 7, sequence: sequence + 2*bulkFrom}}}}})
	if l.pass(TickEvery, two); !l.core.catchingUp() {
		t.Fatal("nothing is pulled")
	}
	clear(l.got)
	begin := l.now
	for range rounds {
		append1()
	}
	most := int(l.now.Sub(begin)/min(hintEvery, 2*holdersEvery)) + 1
	if firm, loose := hints(); firm != 0 || loose == 0 || loose > most {
		t.Errorf("%d hints with an acknowledgement and %d without, want none and 1 to %d", firm, loose, most)
	}
}
