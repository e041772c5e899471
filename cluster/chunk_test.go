package cluster

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/erwik/erwik/storage"
)

func openStore(t testing.TB, name string) *storage.Store {
	t.Helper()
	s, err := storage.Open(storage.Config{Dir: "/data", FS: vfs.NewMem(), Name: name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func save(t testing.TB, s *storage.Store, path, text string, parents ...storage.Hash) *storage.Commit {
	t.Helper()
	made, err := s.Save(context.Background(), storage.Draft{Kind: storage.KindPage, Path: path, Content: []byte(text), Parents: parents, Author: storage.Ident{Name: "Ann"}})
	if err != nil {
		t.Fatal(err)
	}
	return made[0]
}

// history makes a store whose page has many revisions that differ by a line.
func history(t testing.TB, revisions int) (*storage.Store, []storage.Record) {
	t.Helper()
	s := openStore(t, "source")
	body := bytes.Repeat([]byte("a line that stays as it is\n"), 100)
	var last []storage.Hash
	for i := range revisions {
		c := save(t, s, "A.md", fmt.Sprintf("%srevision %d\n%s", body, i, body), last...)
		last = []storage.Hash{c.Hash}
	}
	var all []storage.Record
	if err := s.Range([]storage.Span{{Log: save(t, s, "B.md", "b").Log}}, func(r storage.Record) bool { all = append(all, r); return true }); err != nil {
		t.Fatal(err)
	}
	return s, all
}

func TestChunksRoundTrip(t *testing.T) {
	s, records := history(t, 20)
	var p packer
	base := func(h storage.Hash) ([]byte, bool) {
		content, err := s.Content(h)
		return content, err == nil
	}
	var chunk, whole []byte
	for _, r := range records {
		chunk = appendRecord(chunk, r, base)
		whole = appendRecord(whole, r, nil)
	}
	if len(chunk)*4 > len(whole) {
		t.Errorf("deltas take %d bytes, whole texts %d", len(chunk), len(whole))
	}
	packed := p.pack(nil, chunk)
	raw, err := p.unpack(nil, packed)
	if err != nil || !bytes.Equal(raw, chunk) {
		t.Fatalf("unpack: %v", err)
	}
	t.Logf("%d records: %d bytes whole, %d as deltas, %d packed", len(records), len(whole), len(chunk), len(packed))
	known := newContents()
	i := 0
	err = parseRecords(raw, known.get, func(r storage.Record) error {
		known.add(r)
		if r.Hash != records[i].Hash || !bytes.Equal(r.Content, records[i].Content) {
			t.Errorf("record %d came as another", i)
		}
		i++
		return nil
	})
	if err != nil || i != len(records) {
		t.Fatalf("%d of %d records: %v", i, len(records), err)
	}
}

func TestBombsAreRefused(t *testing.T) {
	var p packer
	bomb := p.pack(nil, make([]byte, maxChunk+1))
	if len(bomb) > 64<<10 {
		t.Fatalf("the bomb has %d bytes", len(bomb))
	}
	if _, err := p.unpack(nil, bomb); err == nil {
		t.Error("a frame that unpacks to more than the maximum was unpacked")
	}
	for _, b := range [][]byte{nil, {7, 1, 2}, {chunkZstd, 1, 2, 3}, make([]byte, maxChunk+1)} {
		if _, err := p.unpack(nil, b); err == nil {
			t.Errorf("unpacked %d bytes of garbage", len(b))
		}
	}
}

func FuzzRecords(f *testing.F) {
	_, records := history(f, 3)
	for _, r := range records {
		f.Add(appendRecord(nil, r, nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		total := 0
		parseRecords(b, func(storage.Hash) ([]byte, bool) { return []byte("base"), true }, func(r storage.Record) error {
			total += len(r.Content)
			return nil
		})
		if total > 4*len(b)+4 {
			t.Errorf("%d bytes became %d", len(b), total)
		}
	})
}

func FuzzToken(f *testing.F) {
	f.Add("erw1.abc.def")
	f.Add("a shared secret of some length")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := ParseToken(text)
		if err != nil || token.Node.IsZero() {
			return
		}
		if again, err := ParseToken(token.String()); err != nil || again != token {
			t.Errorf("%q reads as %v and then as %v, %v", text, token, again, err)
		}
	})
}
