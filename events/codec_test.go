package events

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/erwik/erwik/storage"
)

func TestGoldenLinkAndLists(t *testing.T) {
	key, from := goldenKey(1)
	_, to := goldenKey(2)
	for name, l := range map[string]LinkRecord{
		"link-up.hex":   {From: from, To: to, Step: 17, Up: true, Incarnation: 1763690000123, Counter: 300},
		"link-down.hex": {From: from, To: to, Incarnation: 1763690000123, Counter: 301},
	} {
		l.Sign(key)
		goldenFile(t, name, l.Append(nil))
		back, err := DecodeLinkRecord(l.Append(nil))
		if err != nil || *back != l || back.Verify() != nil {
			t.Errorf("%s: %+v, %v", name, back, err)
		}
	}
	var pool []storage.NodeID
	for i := range 20 {
		pool = append(pool, storage.NodeID{byte(10 * i), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
	}
	sum := Checksum{1, 2, 3, 4, 5, 6, 7, 8, 9}
	hash := PoolHash(pool)
	few := ExcludeBut(pool[3:6], sum, nil, 0)
	goldenFile(t, "exclude-but.hex", few.Append(nil))
	most := ExcludeBut(pool[1:19], sum, pool, hash)
	goldenFile(t, "exclude-bitmap.hex", most.Append(nil))
	if few.Form != EverybodyBut || most.Form != Bitmap {
		t.Errorf("forms %d and %d", few.Form, most.Form)
	}
	for i, id := range pool {
		if got, want := few.Excludes(Tag(id, sum), -1), i < 3 || i > 5; got != want {
			t.Errorf("tags: node %d excluded %v", i, got)
		}
		if got, want := most.Excludes(0, i), i < 1 || i > 18; got != want {
			t.Errorf("bitmap: node %d excluded %v", i, got)
		}
	}
	if most.Excludes(0, -1) || !(&Exclusion{Form: Everybody}).Excludes(0, -1) || (&Exclusion{}).Excludes(0, 0) {
		t.Error("an unknown place, everybody, nobody")
	}
}

func TestCommitEventSize(t *testing.T) {
	_, origin := goldenKey(1)
	e := NewCommit(storage.LogID{Node: origin, Nonce: 1 << 63}, 1<<40, storage.Hash{9}, strings.Repeat("x", 20))
	open := make([]storage.NodeID, 60)
	for i := range open {
		open[i] = storage.NodeID{byte(i), 7}
	}
	x := ExcludeBut(open, e.Checksum(), nil, 0)
	if n := len(e.Append(nil, &x)); n > 300 {
		t.Errorf("a commit event that leaves 60 nodes open takes %d bytes", n)
	}
	everybody := Exclusion{Form: Everybody}
	if n := len(e.Append(nil, &everybody)); n > 160 {
		t.Errorf("a commit event that excludes everybody takes %d bytes", n)
	}
}

func TestSignaturesBindEverything(t *testing.T) {
	key, origin := goldenKey(1)
	_, other := goldenKey(2)
	e := NewCommit(storage.LogID{Node: origin, Nonce: 5}, 42, storage.Hash{1}, "Page")
	e.Sign(key)
	if err := e.Verify(); err != nil {
		t.Fatal(err)
	}
	wire := e.Append(nil, &Exclusion{Form: Everybody})
	for i := range len(wire) - 1 { // the list is not signed
		bad := bytes.Clone(wire)
		bad[i] ^= 1
		if got, _, err := DecodeEvent(bad); err == nil && got.Type == TypeCommit && got.Verify() == nil {
			t.Errorf("byte %d may be changed", i)
		}
	}
	dead := NewDead(origin, Dead{Node: other, Incarnation: 3})
	dead.Sign(key)
	dead.Dead.Removed = true
	if dead.Verify() == nil {
		t.Error("removed is not signed")
	}
	r := &Record{ID: other, Name: "x"}
	r.Sign(key)
	n := NewNeighbor(origin, r)
	n.Sign(key)
	if n.Verify() == nil {
		t.Error("a record that its subject did not sign is accepted")
	}
}

func TestCutPage(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"", ""}, {"Home", "Home"},
		{strings.Repeat("a", 64), strings.Repeat("a", 64)},
		{strings.Repeat("a", 65), strings.Repeat("a", 64)},
		{strings.Repeat("a", 63) + "é", strings.Repeat("a", 63)},
		{strings.Repeat("é", 40), strings.Repeat("é", 32)},
		{strings.Repeat("a", 62) + "€", strings.Repeat("a", 62)},
		{"ok\xffno", "ok"}, {"\ufffd is fine", "\ufffd is fine"},
		{strings.Repeat("a", 61) + "\ufffdx", strings.Repeat("a", 61) + "\ufffd"},
	} {
		got := CutPage(test.in)
		if got != test.want || !utf8.ValidString(got) {
			t.Errorf("CutPage(%q) = %q, want %q", test.in, got, test.want)
		}
	}
}

func TestSteps(t *testing.T) {
	if StepOf(0) != 0 || StepOf(time.Millisecond) != 0 || Step(0).Cost() != time.Millisecond || StepOf(time.Hour) != MaxStep {
		t.Error("the ends of the scale")
	}
	for s := range MaxStep {
		ratio := float64((s + 1).Micros()) / float64(s.Micros())
		if ratio < 1.24 || ratio > 1.26 {
			t.Errorf("step %d to %d is a factor %.3f", s, s+1, ratio)
		}
		if got := StepOf(s.Cost()); got != s {
			t.Errorf("the cost of step %d has step %d", s, got)
		}
	}
}

func TestJSON(t *testing.T) {
	key, origin := goldenKey(1)
	_, other := goldenKey(2)
	record := &Record{ID: other, Name: "e2", Addresses: []string{"e2:8000"}, Incarnation: 4, Version: "0.1.0"}
	for _, e := range []Event{
		NewCommit(storage.LogID{Node: origin, Nonce: 5}, 42, storage.Hash{1}, "MyPants <are> melting"),
		NewNeighbor(origin, record),
		NewDead(origin, Dead{Node: other, Incarnation: 3, Removed: true}),
	} {
		e.Sign(key)
		e.Exclude = []storage.NodeID{origin, other}
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var back Event
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if back.Checksum() != e.Checksum() || back.Sig != e.Sig || len(back.Exclude) != 2 || back.Exclude[1] != other {
			t.Errorf("%s did not come back: %s", e.Type, text)
		}
		var fields map[string]any
		if err := json.Unmarshal(text, &fields); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"type", "origin", "args", "exclude", "checksum", "sig"} {
			if fields[name] == nil {
				t.Errorf("%s without %s: %s", e.Type, name, text)
			}
		}
		swapped := bytes.Replace(text, []byte(`"checksum":"`), []byte(`"checksum":"0`), 1)
		if json.Unmarshal(swapped, &back) == nil {
			t.Errorf("%s: a wrong checksum is accepted", e.Type)
		}
	}
	if _, err := json.Marshal(Event{Type: 9}); err == nil {
		t.Error("an unknown type has a JSON form")
	}
}

func TestErlang(t *testing.T) {
	_, origin := goldenKey(1)
	e := NewCommit(storage.LogID{Node: origin, Nonce: 5}, 42, storage.Hash{0xab}, "Page")
	hash := "ab" + strings.Repeat("0", 38)
	if got, want := e.Erlang(), `{event, commit, [{checksum, "`+hash+`"}, {exclude, []}]}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	e.Exclude = []storage.NodeID{origin, origin}
	if got, want := e.Erlang(), `{event, commit, [{checksum, "`+hash+`"}, {exclude, ["`+origin.String()+`", "`+origin.String()+`"]}]}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestTags: nodes share a tag about as often as chance has it.
func TestTags(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	shared := 0
	for range 2000 {
		var sum Checksum
		var a, b storage.NodeID
		for i := range 16 {
			sum[i], a[i], b[i] = byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32())
		}
		if Tag(a, sum) == Tag(b, sum) {
			shared++
		}
	}
	if shared > 3 {
		t.Errorf("%d of 2000 pairs share a tag", shared)
	}
}

func FuzzEvent(f *testing.F) {
	key, origin := goldenKey(1)
	_, other := goldenKey(2)
	record := &Record{ID: origin, Name: "e1", Addresses: []string{"a:1"}, Incarnation: 9, Version: "v"}
	for _, e := range []Event{
		NewCommit(storage.LogID{Node: origin, Nonce: 5}, 42, storage.Hash{1}, "Page"),
		NewNeighbor(origin, record), NewDead(origin, Dead{Node: other, Incarnation: 3, Removed: true}),
	} {
		e.Sign(key)
		f.Add(e.Append(nil, &Exclusion{Form: Everybody}))
		f.Add(e.Append(nil, &Exclusion{Form: EverybodyBut, Tags: []uint16{1, 7, 900}}))
		f.Add(e.Append(nil, &Exclusion{Form: Bitmap, PoolHash: 3, PoolSize: 11, Bits: []byte{0xff, 0xe0}}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, x, err := DecodeEvent(b)
		if err != nil {
			return
		}
		if again := e.Append(nil, &x); !bytes.Equal(again, b) {
			t.Fatalf("not canonical:\n%x\n%x", b, again)
		}
		for place := range 12 {
			x.Excludes(uint16(place), place)
		}
		if e.Type == TypeNewNeighbor && e.Neighbor.Valid() != nil {
			t.Fatal("a record over its limits was read")
		}
	})
}

func FuzzRecord(f *testing.F) {
	record := &Record{Name: "e1", Addresses: []string{"a:1", "b:2"}, Incarnation: 9, Version: "v"}
	f.Add(record.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := DecodeRecord(b); err == nil && !bytes.Equal(r.Append(nil), b) {
			t.Fatalf("not canonical: %x", b)
		}
	})
}

// sampleSet is a set of three links.
func sampleSet(t testing.TB) *LinkSet {
	key, from := goldenKey(1)
	s := &LinkSet{From: from, Incarnation: 1763690000123, Counter: 300, Links: []LinkState{
		{To: ShortID{1}, Step: 4, Up: true}, {To: ShortID{2}}, {To: ShortID{9, 9}, Step: MaxStep, Up: true}}}
	s.Sign(key)
	return s
}

// TestLinkSet: a set is read as it was written, its signature covers every byte,
// and what is out of order or over its limits is refused.
func TestLinkSet(t *testing.T) {
	s := sampleSet(t)
	b := s.Append(nil)
	back, err := DecodeLinkSet(b)
	if err != nil || back.Verify() != nil {
		t.Fatal(err, back.Verify())
	}
	if l := back.Link(2, storage.NodeID{9, 9, 1}); !l.Up || l.Step != MaxStep || l.Counter != 300 || l.In != back {
		t.Errorf("%+v", l)
	}
	for i := range b {
		bent := bytes.Clone(b)
		bent[i] ^= 1
		if got, err := DecodeLinkSet(bent); err == nil && got.Verify() == nil {
			t.Errorf("byte %d changed, and nobody noticed", i)
		}
	}
	bad := *s
	bad.Links = []LinkState{s.Links[1], s.Links[0]}
	if _, err := DecodeLinkSet(bad.Append(nil)); err == nil {
		t.Error("a set out of order is read")
	}
	bad.Links = nil
	if _, err := DecodeLinkSet(bad.Append(nil)); err == nil {
		t.Error("an empty set is read")
	}
}

func FuzzLinkSet(f *testing.F) {
	f.Add(sampleSet(f).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := DecodeLinkSet(b); err == nil && !bytes.Equal(s.Append(nil), b) {
			t.Fatalf("not canonical: %x", b)
		}
	})
}

func FuzzLinkRecord(f *testing.F) {
	l := &LinkRecord{Step: 3, Up: true, Incarnation: 9, Counter: 300}
	f.Add(l.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := DecodeLinkRecord(b); err == nil && !bytes.Equal(l.Append(nil), b) {
			t.Fatalf("not canonical: %x", b)
		}
	})
}
