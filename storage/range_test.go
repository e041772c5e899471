package storage

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestRangeGivesArrivals: whatever spans of whatever logs are asked for, and
// however large the texts, what comes is complete, in the order of arrival, and
// no more than was asked for.
func TestRangeGivesArrivals(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	s, other := openTest(t, vfs.NewMem(), "e1"), openTest(t, vfs.NewMem(), "e2")
	if err := s.Admit(t.Context(), other.Node(), "e2"); err != nil {
		t.Fatal(err)
	}
	heads := make(map[string]Hash)
	var own, foreign []Record
	size := 0
	for i := range 900 {
		path := fmt.Sprintf("p%d.md", rng.IntN(12))
		length := rng.IntN(2000)
		if i%40 == 0 {
			length = 500 << 10 // more than one window holds
		}
		size += length
		text := bytes.Repeat([]byte{byte('a' + i%26)}, length)
		d := Draft{Kind: KindPage, Path: path, Content: text, Author: Ident{Name: "Ann"}}
		if i%3 == 0 {
			d.Path = "other/" + path
			d.Parents = parentsOf(heads, d.Path)
			c := mustSave(t, other, d)[0]
			heads[d.Path] = c.Hash
			foreign = append(foreign, Record{c, text})
			mustReceive(t, s, foreign[len(foreign)-1:])
			continue
		}
		d.Parents = parentsOf(heads, path)
		c := mustSave(t, s, d)[0]
		heads[path] = c.Hash
		own = append(own, Record{c, text})
	}
	if size < windowBytes {
		t.Fatalf("%d bytes fit into one window", size)
	}
	logs := []LogID{own[0].Log, foreign[0].Log}
	for round := range 60 {
		var spans []Span
		for _, id := range logs {
			from := uint64(rng.IntN(650))
			span := Span{Log: id, After: from, UpTo: from + uint64(rng.IntN(400))}
			if round == 0 {
				span = Span{Log: id}
			}
			spans = append(spans, span)
		}
		var want []Hash
		for at := uint64(1); at <= s.Stats().Arrival; at++ {
			value, err := s.get(arrivalKey(nil, at))
			if err != nil {
				t.Fatal(err)
			}
			a, err := parseArrived(value)
			if err != nil {
				t.Fatal(err)
			}
			c, err := s.Record(a.hash)
			if err != nil {
				t.Fatal(err)
			}
			for _, span := range spans {
				if c.Log == span.Log && c.Sequence > span.After && (span.UpTo == 0 || c.Sequence <= span.UpTo) {
					want = append(want, a.hash)
				}
			}
		}
		var got []Hash
		err := s.Range(spans, func(r Record) bool {
			full, err := s.Record(r.Hash)
			if err != nil || !bytes.Equal(full.Content, r.Content) || full.Path != r.Path || full.Sequence != r.Sequence {
				t.Errorf("%s: %v, %d bytes, want %d", r.Hash, err, len(r.Content), len(full.Content))
			}
			got = append(got, r.Hash)
			return true
		})
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("spans %v: %d records, want %d; %v", spans, len(got), len(want), err)
		}
		if round > 0 && len(got) > 5 { // and it stops when told to
			n := 0
			if err := s.Range(spans, func(Record) bool { n++; return n < 5 }); err != nil || n != 5 {
				t.Errorf("stopped after %d, %v", n, err)
			}
		}
	}
}

func parentsOf(heads map[string]Hash, path string) []Hash {
	if h, found := heads[path]; found {
		return []Hash{h}
	}
	return nil
}
