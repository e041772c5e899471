package cluster

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/erwik/erwik/cluster/mesh"
	"github.com/erwik/erwik/storage"
)

// TestCarriedCommit: what goes along with a notice is what a pull would bring,
// and shorter by hash and log; anything else is refused.
func TestCarriedCommit(t *testing.T) {
	s := openStore(t, "a")
	var p packer
	for _, size := range []int{10, 400, 900} {
		c := save(t, s, fmt.Sprintf("P%d.md", size), strings.Repeat("long text ", size/10))
		r, err := s.Record(c.Hash)
		if err != nil {
			t.Fatal(err)
		}
		n := Node{cfg: Config{Store: s}}
		n.conns.init()
		n.conns.linked[storage.NodeID{1}] = time.Millisecond
		one := storage.Committed{Commit: r.Commit, Content: r.Content, At: storage.LogPlace{Log: c.Log, Sequence: c.Sequence}}
		twice := n.carry([]storage.Committed{one, {Commit: r.Commit, Content: r.Content, At: storage.LogPlace{Log: storage.LogID{Nonce: 1}, Sequence: 9}}, one})
		if len(twice) != 1 || twice[0].at.Sequence != 9 {
			t.Errorf("%d of three go along, two of them of one log", len(twice))
		}
		all := n.carry([]storage.Committed{one})
		if len(all) != 1 {
			t.Fatalf("%d bytes: %d commits go along", size, len(all))
		}
		got := all[0]
		if got.at.Sequence != c.Sequence || len(got.body) == 0 || len(got.body) > mesh.MaxCarried {
			t.Fatalf("%d bytes: carried %d bytes for %v", size, len(got.body), got.at)
		}
		whole, err := p.restore(got.body, c.Log, c.Hash)
		if err != nil {
			t.Fatal(err)
		}
		if want := append([]byte{chunkRaw}, appendRecord(nil, r, nil)...); !bytes.Equal(whole, want) {
			t.Errorf("%d bytes: restored %x, want %x", size, whole, want)
		}
	}
	for _, bad := range [][]byte{nil, {200}, {5, chunkRaw, 1, 2}, {0}, {0, 9, 1}, {255, 255, 255, 255, 255, 255, 255, 255, 255, 1, chunkRaw, 1}} {
		if _, err := p.restore(bad, storage.LogID{}, storage.Hash{}); err == nil {
			t.Errorf("%x is restored", bad)
		}
	}
}

// TestLuggage: the newest commits are found, and older ones make room.
func TestLuggage(t *testing.T) {
	var l luggage
	at := func(i int) storage.LogPlace { return storage.LogPlace{Sequence: uint64(i)} }
	for i := 1; i <= carriedKept+5; i++ {
		l.add([]carried{{at(i), storage.Hash{byte(i)}, []byte{byte(i)}}})
	}
	if l.find(at(7), storage.Hash{8}) != nil {
		t.Error("another commit of the same place is found")
	}
	for i := 1; i <= carriedKept+5; i++ {
		if found := l.find(at(i), storage.Hash{byte(i)}); (found != nil) != (i > 5) || found != nil && found[0] != byte(i) {
			t.Errorf("commit %d: %v", i, found)
		}
	}
}

// TestSavesComeWithTheirNotices: on a quick link a short save needs no pull of
// its own connection; the store gets it all the same.
func TestSavesComeWithTheirNotices(t *testing.T) {
	a := start(t, "a")
	b := start(t, "b", a.address())
	awaitEqual(t, a, b)
	var last []storage.Hash
	for i := range 20 {
		c := save(t, a.cfg.Store, "Page.md", fmt.Sprintf("%d %s", i, strings.Repeat("the mill ", 300)), last...)
		last = []storage.Hash{c.Hash}
		eventually(t, "the save on b", func() error {
			_, err := b.cfg.Store.Commit(c.Hash)
			return err
		})
	}
	awaitEqual(t, a, b)
	if sent := a.carriedSent.Load(); sent < 10 {
		t.Errorf("%d of 20 saves went along with their notices", sent)
	}
}
