package mesh

import (
	"bytes"
	"testing"
	"time"

	"github.com/erwik/erwik/events"
	"github.com/erwik/erwik/storage"
)

// lab is one core with neighbors that the test plays by hand.
type lab struct {
	t    testing.TB
	core *Core
	now  Time
	out  Outputs
	got  map[storage.NodeID][]frame // what was sent, by neighbor
	pull []Pull
	al   []Alarm
}

func idOf(b byte) (id storage.NodeID) {
	id[0], id[7], id[31] = b, b, b
	return id
}

func recordOf(id storage.NodeID, name string, incarnation uint64) *events.Record {
	r := &events.Record{ID: id, Name: name, Addresses: []string{name + ":8000"}, Incarnation: incarnation, Version: "test"}
	r.Sig = fakeSig(id, r.SignedBytes(nil))
	return r
}

func newLab(t testing.TB, self byte) *lab {
	l := &lab{t: t, now: Time(time.Hour), got: map[storage.NodeID][]frame{}}
	id := idOf(self)
	core, err := New(Config{Self: id, Seed: [2]uint64{1, 2}, Verify: fakeVerify,
		Sign: func(m []byte) [events.SignatureSize]byte { return fakeSig(id, m) }})
	if err != nil {
		t.Fatal(err)
	}
	l.core = core
	core.Restore(l.now, Restored{})
	if err := core.SetSelf(l.now, Self{Name: "me", Addresses: []string{"me:8000"}}); err != nil {
		t.Fatal(err)
	}
	l.take()
	return l
}

// take gathers what the core wants done.
func (l *lab) take() {
	l.core.Take(&l.out)
	for _, s := range l.out.Send {
		f, err := decodeFrame(s.Frame)
		if err != nil {
			l.t.Fatalf("own frame: %v", err)
		}
		if again := f.append(nil); !bytes.Equal(again, s.Frame) {
			l.t.Fatalf("own frame is not canonical:\n%x\n%x", s.Frame, again)
		}
		l.got[s.Peer] = append(l.got[s.Peer], f)
	}
	l.pull = append(l.pull, l.out.Pull...)
	l.al = append(l.al, l.out.Alarms...)
}

// feed gives the core a frame from a neighbor.
func (l *lab) feed(from storage.NodeID, f frame) {
	l.now = l.now.Add(100 * time.Microsecond)
	l.core.Receive(l.now, from, f.append(nil))
	l.take()
}

// meet admits a neighbor and brings its link up.
func (l *lab) meet(b byte, name string) storage.NodeID {
	id := idOf(b)
	l.core.Admit(l.now, id)
	l.core.Learn(l.now, false, recordOf(id, name, 1))
	l.core.LinkUp(l.now, id, LinkInfo{RTT: time.Millisecond})
	l.take()
	l.feed(id, frame{number: 1, ack: l.last(id).number, items: []item{&summaryItem{flags: summaryFirst,
		pool: l.core.nodes.poolHash, table: l.core.nodes.sum, vector: l.core.vector.sum}}})
	l.ack(id)
	return id
}

// settle lets every neighbor acknowledge everything and name what it has, which
// is what we have.
func (l *lab) settle(ids ...storage.NodeID) {
	for _, id := range ids {
		l.ack(id)
		l.feed(id, frame{items: []item{&summaryItem{pool: l.core.nodes.poolHash, table: l.core.nodes.sum, vector: l.core.vector.sum}}})
	}
}

func (l *lab) last(id storage.NodeID) frame {
	if n := len(l.got[id]); n > 0 {
		return l.got[id][n-1]
	}
	return frame{}
}

// ack acknowledges frames until nothing more comes.
func (l *lab) ack(id storage.NodeID) {
	for range 20 {
		link := l.core.nodes.byID[id].link
		if link.flight == nil {
			return
		}
		l.feed(id, frame{ack: link.flight.number})
	}
}

// commitOf makes a signed commit event.
func commitOf(node storage.NodeID, sequence uint64) events.Event {
	var hash storage.Hash
	hash[0], hash[1], hash[2] = node[0], byte(sequence), byte(sequence>>8)
	e := events.NewCommit(storage.LogID{Node: node, Nonce: 7}, sequence, hash, "APage")
	e.Sig = fakeSig(node, e.SignedBytes(nil))
	return e
}

func entryOf(e events.Event, own bool) Entry {
	return Entry{Log: e.Commit.Log, Sequence: e.Commit.Sequence, Hash: e.Commit.Hash, Page: e.Commit.Page, Own: own, Sig: e.Sig}
}

func (l *lab) appended(e Entry) {
	l.core.Appended(l.now, e)
	l.take()
}

// told counts the copies of commit events that went to a neighbor, and returns
// the last one.
func (l *lab) told(id storage.NodeID) (n int, last *eventItem) {
	for _, f := range l.got[id] {
		for _, it := range f.items {
			if e, ok := it.(*eventItem); ok && e.event.Type == events.TypeCommit {
				n, last = n+1, e
			}
		}
	}
	return n, last
}

func (l *lab) drops(id storage.NodeID, why Drop) uint64 { return l.core.Drops()[DropKey{id, why}] }

func leaves(e *eventItem, open ...storage.NodeID) events.Exclusion {
	return events.ExcludeBut(open, e.event.Checksum(), nil, 0)
}

// lateList: a copy that comes too late still says whom nobody else tells.
func lateList(t testing.TB) bool {
	l := newLab(t, 1)
	a, c := l.meet(2, "a"), l.meet(3, "c")
	l.settle(a, c)
	ev := commitOf(a, 1)
	it := &eventItem{event: ev}
	it.exclude = leaves(it)
	l.feed(a, frame{number: 2, items: []item{it}})
	l.appended(entryOf(ev, false))
	l.core.PullDone(l.now, l.pull[0].ID, 500, time.Millisecond)
	l.ack(a)
	l.ack(c)
	if n, _ := l.told(c); n != 0 {
		t.Fatalf("an excluded node was told %d times", n)
	}
	it.exclude = leaves(it, c)
	l.feed(a, frame{number: 3, items: []item{it}})
	l.ack(c)
	n, _ := l.told(c)
	if len(l.pull) != 1 || l.drops(a, DropLate) != 1 {
		t.Fatalf("a late notice: %d pulls, %d counted", len(l.pull), l.drops(a, DropLate))
	}
	return n == 1
}

// latestWins: a newer notice that replaces a queued one excludes only names
// that both exclude.
func latestWins(t testing.TB) bool {
	l := newLab(t, 1)
	a, c, x := l.meet(2, "a"), l.meet(3, "c"), l.meet(4, "x")
	l.appended(entryOf(commitOf(idOf(1), 1), true)) // in flight to everybody
	core := l.core
	log := core.vector.byID[storage.LogID{Node: idOf(1), Nonce: 7}]
	first, second := commitOf(idOf(1), 2), commitOf(idOf(1), 3)
	s1 := &eventState{event: first, sum: first.Checksum(), log: log}
	s2 := &eventState{event: second, sum: second.Checksum(), log: log}
	var openX, openNone events.Set
	openX.Add(core.nodes.byID[x].slot)
	core.queueNotice(core.nodes.byID[c].link, s1, openX)
	core.queueNotice(core.nodes.byID[c].link, s2, openNone)
	l.ack(c)
	_, last := l.told(c)
	if last.event.Commit.Sequence != 3 {
		t.Fatalf("sequence %d was sent, not the latest", last.event.Commit.Sequence)
	}
	excluded := func(id storage.NodeID) bool {
		at := -1
		for i, m := range core.nodes.ids {
			if m == id {
				at = i
			}
		}
		return last.exclude.Excludes(events.Tag(id, s2.sum), at)
	}
	return excluded(a) && !excluded(x)
}

// reopens: what was saved while a link opened is told when it is open.
func reopens(t testing.TB) bool {
	l := newLab(t, 1)
	a := idOf(2)
	l.core.Admit(l.now, a)
	l.core.Learn(l.now, false, recordOf(a, "a", 1))
	l.core.LinkUp(l.now, a, LinkInfo{RTT: time.Millisecond})
	l.take()
	first := l.last(a)
	l.feed(a, frame{number: 1, items: []item{&summaryItem{flags: summaryFirst}}})
	l.appended(entryOf(commitOf(idOf(1), 1), true))
	if n, _ := l.told(a); n != 0 {
		t.Fatal("a notice went over a link that may not carry it")
	}
	l.feed(a, frame{ack: first.number})
	l.ack(a)
	openings := 0
	for _, f := range l.got[a] {
		for _, it := range f.items {
			if s, ok := it.(*summaryItem); ok && s.flags&summaryFirst != 0 {
				openings++
			}
		}
	}
	return openings == 2
}

func TestReopen(t *testing.T) {
	if !reopens(t) {
		t.Error("the vector is not named again")
	}
}

func TestLateNotice(t *testing.T) {
	if !lateList(t) {
		t.Error("the list of a late copy was not honoured")
	}
}

func TestLatestWins(t *testing.T) {
	if !latestWins(t) {
		t.Error("a name that only one list excluded stays excluded")
	}
}

// TestNoticeAtOnce: what a save causes goes out in the same call.
func TestNoticeAtOnce(t *testing.T) {
	l := newLab(t, 1)
	a, c := l.meet(2, "a"), l.meet(3, "c")
	l.settle(a, c)
	l.appended(entryOf(commitOf(idOf(1), 1), true))
	for _, id := range []storage.NodeID{a, c} {
		if n, e := l.told(id); n != 1 || e.exclude.Form != events.Everybody {
			t.Errorf("%d notices at once, exclusion %+v", n, e)
		}
	}
	ev := commitOf(a, 1)
	it := &eventItem{event: ev, exclude: events.Exclusion{Form: events.Nobody}}
	l.ack(a)
	l.ack(c)
	l.feed(a, frame{number: 2, items: []item{it}})
	if len(l.pull) != 1 || l.pull[0].From != a || l.pull[0].Ranges[0] != (Range{ev.Commit.Log, 0, 1}) {
		t.Fatalf("pulls at once: %+v", l.pull)
	}
	l.appended(entryOf(ev, false))
	if n, _ := l.told(c); n != 2 {
		t.Error("what was pulled is not passed on at once")
	}
	if n, _ := l.told(a); n != 1 {
		t.Error("a notice went back to where it came from")
	}
}

func TestDropsByReason(t *testing.T) {
	l := newLab(t, 1)
	a, c := l.meet(2, "a"), l.meet(3, "c")
	stranger := idOf(9)
	l.core.Receive(l.now, stranger, []byte{1, 0, 0})
	l.core.Receive(l.now, a, []byte{1, 0, 0, 77})
	l.core.Receive(l.now, a, make([]byte, MaxFrame+1))
	forged := commitOf(c, 1)
	forged.Commit.Sequence = 2
	l.feed(a, frame{number: 5, items: []item{&eventItem{event: forged}}})
	l.feed(a, frame{number: 6, items: []item{&eventItem{event: commitOf(stranger, 1)}}})
	l.feed(a, frame{number: 7, items: []item{&logsItem{stranger, []logHead{{nonce: 1, sequence: 3}}}}})
	bad := recordOf(c, "evil", 99)
	bad.Name = "evil2"
	l.feed(a, frame{number: 8, items: []item{&nodeItem{bad}}})
	l.feed(a, frame{number: 9, items: []item{&nodeItem{recordOf(c, "c", 1)}}})
	for why, want := range map[Drop]uint64{DropFrame: 2, DropSignature: 2, DropUnadmitted: 2, DropStale: 1} {
		if got := l.drops(a, why); got != want {
			t.Errorf("%s: %d, want %d", why, got, want)
		}
	}
	if l.core.Drops()[DropKey{Reason: DropNoLink}] != 1 {
		t.Error("a frame without link was not counted")
	}
	if len(l.pull) != 0 || l.core.NodeName(c) != "c" {
		t.Error("something of it had an effect")
	}
	l.core.Admit(l.now, stranger)
	l.take()
	if len(l.pull) != 1 || len(l.pull[0].Ranges) == 0 {
		t.Errorf("what waited for admission was not looked at again: %+v", l.pull)
	}
}

func TestFlood(t *testing.T) {
	l := newLab(t, 1)
	a := l.meet(2, "a")
	for i := range MaxChecks + 100 {
		l.core.Receive(l.now, a, (&frame{items: []item{&eventItem{event: commitOf(a, uint64(i+1))}}}).append(nil))
	}
	if got := l.drops(a, DropFlood); got < 90 {
		t.Errorf("%d of 100 events over the limit were dropped", got)
	}
	if n := len(l.core.events.ring); n > MaxEvents {
		t.Errorf("%d events remembered", n)
	}
	l.take()
	l.core.Tick(l.now.Add(2 * time.Second))
	l.take()
	l.now = l.now.Add(2 * time.Second)
	before := l.drops(a, DropFlood)
	l.feed(a, frame{items: []item{&eventItem{event: commitOf(a, 9000)}}})
	if l.drops(a, DropFlood) != before {
		t.Error("the next second is not a new one")
	}
}

func TestFork(t *testing.T) {
	l := newLab(t, 1)
	a := l.meet(2, "a")
	one := commitOf(a, 1)
	l.feed(a, frame{number: 2, items: []item{&eventItem{event: one}}})
	l.appended(entryOf(one, false))
	two := commitOf(a, 1)
	two.Commit.Hash[5] = 1
	two.Sig = fakeSig(a, two.SignedBytes(nil))
	l.feed(a, frame{number: 3, items: []item{&eventItem{event: two}}})
	l.feed(a, frame{number: 4, items: []item{&eventItem{event: two}}})
	if l.drops(a, DropFork) != 2 || len(l.al) != 1 || l.al[0].Kind != AlarmFork {
		t.Errorf("%d drops, alarms %+v", l.drops(a, DropFork), l.al)
	}
}

// TestLostSaves: a neighbor that holds more of our own log makes us pull it back.
func TestLostSaves(t *testing.T) {
	l := newLab(t, 1)
	a := l.meet(2, "a")
	l.feed(a, frame{number: 2, items: []item{&logsItem{idOf(1), []logHead{{nonce: 3, sequence: 8}}}}})
	if len(l.pull) != 1 || l.pull[0].Ranges[0].Upto != 8 {
		t.Errorf("pulls %+v", l.pull)
	}
	if len(l.al) != 1 || l.al[0].Kind != AlarmLostSaves {
		t.Errorf("alarms %+v", l.al)
	}
}

// TestLiar: a neighbor that says more than it has costs a few pulls, then waits.
func TestLiar(t *testing.T) {
	l := newLab(t, 1)
	a, c := l.meet(2, "a"), l.meet(3, "c")
	claim := &logsItem{c, []logHead{{nonce: 3, sequence: 8}}}
	for range 200 {
		l.feed(a, frame{items: []item{claim}})
		for _, p := range l.pull {
			l.core.PullDone(l.now, p.ID, 100, time.Millisecond)
		}
		l.take()
		l.now = l.now.Add(50 * time.Millisecond)
		l.core.Tick(l.now)
		l.take()
	}
	if len(l.pull) > 20 {
		t.Errorf("a liar was asked %d times in 10 s", len(l.pull))
	}
}

func TestForget(t *testing.T) {
	l := newLab(t, 1)
	a, c := l.meet(2, "a"), l.meet(3, "c")
	if l.core.Forget(l.now, idOf(1)) || l.core.Forget(l.now, idOf(8)) || !l.core.Forget(l.now, c) {
		t.Fatal("Forget")
	}
	l.take()
	if len(l.out.Close) != 1 || len(l.core.Nodes()) != 2 {
		t.Errorf("closed %v, nodes %v", l.out.Close, l.core.Nodes())
	}
	l.ack(a)
	l.feed(a, frame{number: 9, items: []item{&nodeItem{recordOf(c, "c", 1)}}})
	if len(l.core.Nodes()) != 2 {
		t.Error("an old record brought a removed node back")
	}
	l.feed(a, frame{number: 10, items: []item{&nodeItem{recordOf(c, "c", 2)}}})
	if len(l.core.Nodes()) != 3 {
		t.Error("a higher incarnation does not bring a removed node back")
	}
}

// TestRestore: what was persisted comes back; what does not decode is counted.
func TestRestore(t *testing.T) {
	l := newLab(t, 1)
	var state []Persist
	l.core.Admit(l.now, idOf(2))
	l.core.Admit(l.now, idOf(3))
	l.core.Learn(l.now, true, recordOf(idOf(2), "a", 5), recordOf(idOf(3), "c", 5))
	l.core.Forget(l.now, idOf(3))
	l.core.Take(&l.out)
	state = append(state, l.out.Persist...)
	core, err := New(Config{Self: idOf(1), Verify: fakeVerify, Sign: func(m []byte) [events.SignatureSize]byte { return fakeSig(idOf(1), m) }})
	if err != nil {
		t.Fatal(err)
	}
	latest := map[string][]byte{}
	for _, p := range state {
		latest[p.Key] = p.Value
	}
	r := Restored{Admitted: []storage.NodeID{idOf(2), idOf(3)}, State: []Persist{{"self", []byte{1}}, {"what", nil}}}
	for _, k := range sortedKeys(latest) {
		if latest[k] != nil {
			r.State = append(r.State, Persist{k, latest[k]})
		}
	}
	head := commitOf(idOf(2), 4)
	r.Vector = []Head{{Log: head.Commit.Log, Sequence: 4, Tip: head.Commit.Hash}}
	core.Restore(l.now, r)
	if err := core.SetSelf(l.now, Self{Name: "me"}); err != nil {
		t.Fatal(err)
	}
	if core.Record(idOf(2)) == nil || core.Record(idOf(3)) != nil || len(core.Nodes()) != 2 || core.Held(head.Commit.Log) != 4 {
		t.Error("not everything came back")
	}
	if core.Drops()[DropKey{Reason: DropState}] != 2 {
		t.Errorf("drops %v", core.Drops())
	}
}

// TestWordOnLink: seed 11454 found that a new incarnation, told while a link was
// down but not yet said to be, left its record at "down" for good.
func TestWordOnLink(t *testing.T) {
	l := newLab(t, 1)
	a := l.meet(2, "a")
	l.core.LinkDown(l.now, a) // within a second of "up": not said yet
	l.core.SetSelf(l.now, Self{Name: "me"})
	l.take()
	l.now = l.now.Add(100 * time.Millisecond)
	l.meet(2, "a")
	for range 400 { // time for what is said less often
		l.now = l.now.Add(50 * time.Millisecond)
		l.core.Tick(l.now)
		l.take()
		l.ack(a)
	}
	if r := l.core.nodes.at(l.core.self).outTo(l.core.nodes.byID[a].slot); !r.Up {
		t.Error("the link is up, and the record says down")
	}
}
