package mesh

import (
	"fmt"
	"testing"
	"time"

	"github.com/erwik/erwik/events"
	"github.com/erwik/erwik/storage"
)

// newcomer lets a node come to the pool to which no way leads yet.
func (l *lab) newcomer(b byte, name string) storage.NodeID {
	id := idOf(b)
	l.core.Admit(l.now, id)
	l.core.Learn(l.now, false, recordOf(id, name, 1))
	l.take()
	return id
}

// everybody is a frame with an event that leaves nobody open.
func everybody(number uint64, e events.Event) frame {
	return frame{number: number, items: []item{&eventItem{event: e, exclude: events.Exclusion{Form: events.Everybody}}}}
}

// TestUnknownNodesAreOpen: a list can't speak of a node that its sender does not
// know; we tell that node, unless we hear meanwhile that the sender knows it: from
// itself, or in something that it has signed.
func TestUnknownNodesAreOpen(t *testing.T) {
	forged := func(it item) item {
		switch it := it.(type) {
		case *linkItem:
			it.record.Sig[0]++
		case *linksItem:
			it.set.Sig[0]++
		case *eventItem:
			it.event.Sig[0]++
		}
		return it
	}
	record := func(a, c storage.NodeID) item { return &nodeItem{recordOf(c, "c", 1)} }
	word := func(a, c storage.NodeID) item { return wordOf(a, c, 1, true, time.Millisecond) }
	set := func(a, c storage.NodeID) item {
		s := &events.LinkSet{From: a, Incarnation: 1, Counter: 1, Links: []events.LinkState{{To: events.ShortOf(c), Up: true, Step: events.StepOf(time.Millisecond)}}}
		s.Sig = fakeSig(a, s.SignedBytes(nil))
		return &linksItem{s}
	}
	news := func(a, c storage.NodeID) item {
		e := events.NewNeighbor(a, recordOf(c, "c", 1))
		e.Sig = fakeSig(a, e.SignedBytes(nil))
		return &eventItem{event: e, exclude: events.Exclusion{Form: events.Everybody}}
	}
	for _, test := range []struct {
		name string
		by   byte // who says it
		says func(a, c storage.NodeID) item
		told int
	}{
		{"nothing", 0, nil, 1},
		{"its record", 2, record, 0},
		{"its record, from somebody else", 3, record, 1},
		{"a link to it", 2, word, 0},
		{"a link to it, by somebody else", 3, word, 0},
		{"a forged link to it", 3, func(a, c storage.NodeID) item { return forged(word(a, c)) }, 1},
		{"a set of links, by somebody else", 3, set, 0},
		{"a forged set of links", 3, func(a, c storage.NodeID) item { return forged(set(a, c)) }, 1},
		{"news, by somebody else", 3, news, 0},
		{"forged news", 3, func(a, c storage.NodeID) item { return forged(news(a, c)) }, 1},
	} {
		for _, late := range []bool{false, true} { // c comes after the event
			t.Run(fmt.Sprintf("%s, late %v", test.name, late), func(t *testing.T) {
				l := newLab(t, 1)
				a, b := l.meet(2, "a"), l.meet(3, "b")
				l.settle(a, b) // they name the pool as it is now
				e := commitOf(a, 1)
				if late {
					l.feed(a, everybody(9, e))
				}
				c := l.meet(4, "c")
				l.settle(b, c)
				if !late {
					l.feed(a, everybody(9, e))
				}
				l.appended(entryOf(e, false))
				if test.says != nil {
					l.feed(idOf(test.by), frame{items: []item{test.says(a, c)}})
				}
				l.pass(2*joinMost, a, b, c)
				if n, _ := l.told(c); n != test.told {
					t.Errorf("c, of which a knew nothing, was told %d times, want %d", n, test.told)
				}
			})
		}
	}
}

// TestJoinAnswerTeaches: whoever answered a join knows whom it told of, though they
// are admitted later.
func TestJoinAnswerTeaches(t *testing.T) {
	l := newLab(t, 1)
	a, b, c := idOf(2), idOf(3), idOf(4)
	l.core.Admit(l.now, a)
	l.core.Learn(l.now, false, recordOf(a, "a", 1), recordOf(b, "b", 1), recordOf(c, "c", 1))
	l.core.Admit(l.now, b)
	l.meet(2, "a")
	l.core.Admit(l.now, c)
	l.take()
	for _, id := range []storage.NodeID{a, b, c} {
		if n := l.core.nodes.byID[id]; !l.core.nodes.byID[a].link.knows.Has(n.slot) {
			t.Errorf("a is not known to know %s, of which it told", l.core.nameOf(n))
		}
	}
	if len(l.core.nodes.taughtBy) > 0 {
		t.Errorf("still remembered of nodes that are members: %v", l.core.nodes.taughtBy)
	}
}

// TestNewcomerIsLeftToFew: a node that has just come, and to which no way leads yet, is
// left open in few copies; one that has long been without a way in all.
func TestNewcomerIsLeftToFew(t *testing.T) {
	for _, test := range []struct {
		name string
		late time.Duration // how long after it came
		want int
	}{{"young", 0, leftOpen}, {"old", newcomerFor, leftOpen + 2}} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t, 1)
			var all []storage.NodeID
			for b := range byte(leftOpen + 2) {
				all = append(all, l.meet(b+2, string('a'+rune(b))))
			}
			c := l.newcomer(99, "c")
			l.pass(test.late+time.Second, all...)
			l.settle(all...)
			own := commitOf(l.core.cfg.Self, 1)
			l.appended(entryOf(own, true))
			open := 0
			for _, id := range all {
				l.ack(id)
				n, it := l.told(id)
				if n != 1 {
					t.Fatalf("a neighbor was told %d times", n)
				}
				if !it.exclude.Excludes(events.Tag(c, own.Checksum()), -1) {
					open++
				}
			}
			if open != test.want {
				t.Errorf("c is left open in %d of %d copies, want %d", open, len(all), test.want)
			}
		})
	}
}

// TestNewcomerIsToldOfLateEvents: what was told just before a node came is passed on to
// it over the first way, unless whoever told us knows the node too; if that one's list
// left the node to us, all the same. So it is when the node was a member before.
func TestNewcomerIsToldOfLateEvents(t *testing.T) {
	for _, test := range []struct {
		name                string
		knows, left, before bool
		told                bool
	}{
		{name: "the sender does not know it", told: true},
		{name: "the sender knows it", knows: true},
		{name: "the sender knows it and left it to us", knows: true, left: true, told: true},
		{name: "it was removed before", before: true, told: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t, 1)
			a, b, d := l.meet(2, "a"), l.meet(3, "b"), l.meet(5, "d")
			all := []storage.NodeID{a, b, d}
			incarnation := uint64(1)
			if test.before {
				l.meet(4, "c")
				l.core.Forget(l.now, idOf(4))
				l.take()
				l.pass(time.Second, all...)
				incarnation = 1 << 60
			}
			l.settle(all...)
			e := commitOf(a, 1)
			open := []storage.NodeID{b}
			if test.left {
				open = append(open, idOf(4))
			}
			l.feed(a, frame{number: 9, items: []item{&eventItem{event: e, exclude: events.ExcludeBut(open, e.Checksum(), nil, 0)}}})
			l.appended(entryOf(e, false))
			l.ack(b)
			if n, _ := l.told(b); n != 1 {
				t.Fatalf("b was told %d times of an event that is open", n)
			}
			c := idOf(4)
			l.core.Admit(l.now, c)
			l.core.Learn(l.now, false, recordOf(c, "c", incarnation))
			l.take()
			l.pass(time.Second, all...)
			wayIs := []item{wordOf(b, c, 1, true, time.Millisecond), wordOf(c, b, 1, true, time.Millisecond)}
			for _, it := range wayIs {
				r := it.(*linkItem).record
				if r.From == c && test.before {
					r.Incarnation = incarnation
					r.Sig = fakeSig(c, r.SignedBytes(nil))
				}
			}
			if test.knows {
				l.feed(a, frame{items: []item{&nodeItem{recordOf(c, "c", 1)}}})
			}
			l.feed(b, frame{items: wayIs})
			l.pass(time.Second, all...)
			n, it := l.told(b)
			if told := n == 2 && !it.exclude.Excludes(events.Tag(c, e.Checksum()), -1); told != test.told {
				t.Errorf("b was told %d times; c told of it through b: %v, want %v", n, told, test.told)
			}
		})
	}
}

// TestRowsOfNewcomersAreAnswered: a node of which a neighbor does not know at all is told
// when tables are compared, though its row has changed a moment ago, which otherwise
// is on its way.
func TestRowsOfNewcomersAreAnswered(t *testing.T) {
	l := newLab(t, 1)
	a, b := l.meet(2, "a"), l.meet(3, "b")
	l.pass(newcomerFor, a, b)
	l.settle(a, b)
	list := l.core.rowList()
	c := l.newcomer(4, "c")
	l.feed(a, frame{items: []item{wordOf(a, c, 1, true, time.Millisecond)}})
	l.ack(b)
	l.got[b] = nil
	l.feed(b, frame{number: 9, items: []item{&rowsItem{list}}})
	l.ack(b)
	records, words := 0, 0
	for _, f := range l.got[b] {
		for _, it := range f.items {
			switch it := it.(type) {
			case *nodeItem:
				if it.record.ID == c {
					records++
				}
			case *linkItem:
				words++
			}
		}
	}
	if records != 1 || words != 0 {
		t.Errorf("b was told of the new node %d times, and %d words that are on their way", records, words)
	}
}

// TestAdmissionsAreToldTogether: of own commits that are no page's and follow one
// another, the first and the last are told of; a page's is told of at once.
func TestAdmissionsAreToldTogether(t *testing.T) {
	l := newLab(t, 1)
	a := l.meet(2, "a")
	l.settle(a)
	log := storage.LogID{Node: l.core.cfg.Self, Nonce: 7}
	sequence := uint64(0)
	save := func(page string) {
		sequence++
		l.appended(Entry{Log: log, Sequence: sequence, Hash: storage.Hash{byte(sequence)}, Page: page, Own: true})
		l.ack(a)
	}
	want := func(what string, copies int, last uint64) {
		t.Helper()
		n, it := l.told(a)
		if n != copies || it.event.Commit.Sequence != last {
			t.Errorf("%s: told %d times, last of %d; want %d, %d", what, n, it.event.Commit.Sequence, copies, last)
		}
	}
	for range 5 {
		save("")
	}
	want("five admissions", 1, 1)
	l.pass(joinMost, a)
	want("a while later", 2, 5)
	save("")
	save("")
	save("APage")
	want("a page after two admissions", 4, 8)
	l.pass(joinMost, a)
	want("a while later", 4, 8)
}
