package cluster

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/erwik/erwik/storage"
)

// saveFile saves a file of these bytes.
func saveFile(t testing.TB, s *storage.Store, path string, data []byte) *storage.Commit {
	t.Helper()
	u, err := s.ReadFile(t.Context(), bytes.NewReader(data), storage.MaxFile)
	if err != nil {
		t.Fatal(err)
	}
	made, err := s.Save(t.Context(), storage.Draft{Kind: storage.KindFile, Path: path, Content: u.Manifest().Encode(), Author: storage.Ident{Name: "Ann"}})
	if err = errors.Join(err, u.Release()); err != nil {
		t.Fatal(err)
	}
	return made[0]
}

func someBytes(seed byte, n int) []byte {
	b := make([]byte, n)
	x := uint32(seed) + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// readFile reads a file that is whole.
func readFile(s *storage.Store, h storage.Hash) ([]byte, error) {
	text, err := s.Content(h)
	if err != nil {
		return nil, err
	}
	m, err := storage.ParseManifest(text)
	if err != nil {
		return nil, err
	}
	var all []byte
	for _, id := range m.Chunks {
		c, err := s.OpenChunk(id)
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size))
		if err = errors.Join(err, c.Close()); err != nil {
			return nil, err
		}
		all = append(all, b...)
	}
	return all, nil
}

func awaitFile(t testing.TB, n *Node, h storage.Hash, want []byte) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s has the whole file", n.cfg.Name), func() error {
		got, err := readFile(n.cfg.Store, h)
		if err == nil && !bytes.Equal(got, want) {
			err = fmt.Errorf("it has %d other bytes", len(got))
		}
		if lacking := n.cfg.Store.Stats().Lacking; err == nil && lacking != 0 {
			err = fmt.Errorf("%d files are said to be missing", lacking)
		}
		return err
	})
}

// TestFilesAreCopied: to a node that is there, and to one that comes later.
func TestFilesAreCopied(t *testing.T) {
	a := start(t, "a")
	b := start(t, "b", a.address())
	data := someBytes(1, 5<<20+123)
	c := saveFile(t, a.cfg.Store, "img/large.bin", data)
	empty := saveFile(t, a.cfg.Store, "empty", nil)
	awaitFile(t, b, c.Hash, data)
	awaitFile(t, b, empty.Hash, nil)
	late := start(t, "late", b.address())
	awaitFile(t, late, c.Hash, data)
	small := someBytes(2, 99)
	d := saveFile(t, late.cfg.Store, "small.bin", small)
	awaitFile(t, a, d.Hash, small)
	awaitFile(t, b, d.Hash, small)
	awaitEqual(t, a, b, late)
}

// TestFetchGoesOnWhereItEnded: what is here of a chunk is not asked for again.
func TestFetchGoesOnWhereItEnded(t *testing.T) {
	a := start(t, "a")
	data := someBytes(3, 1<<20)
	c := saveFile(t, a.cfg.Store, "x.bin", data)
	id := storage.ChunkID{}
	text, _ := a.cfg.Store.Content(c.Hash)
	m, err := storage.ParseManifest(text)
	if err != nil {
		t.Fatal(err)
	}
	id = m.Chunks[0]
	// The first half lies here, with one byte changed: if it were fetched
	// again, the chunk would be right at once.
	b := start(t, "b")
	half := bytes.Clone(data[:1<<19])
	half[7] ^= 1
	if err := b.cfg.Store.AddPart(t.Context(), id, 0, half); err != nil {
		t.Fatal(err)
	}
	b.cfg.Join = []string{a.address()}
	b.spawn(func() { b.join(a.address(), b.cfg.Token) })
	awaitFile(t, b, c.Hash, data)
	if b.Dropped()["file_bytes"] != 0 {
		t.Error("the neighbor was blamed for what was here before")
	}
}

// TestReaderGetsChunkFirst: FetchChunk ends when the chunk is here, and at once
// where nobody has it.
func TestReaderGetsChunkFirst(t *testing.T) {
	a := start(t, "a")
	b := start(t, "b", a.address())
	data := someBytes(4, 3<<20)
	c := saveFile(t, a.cfg.Store, "x.bin", data)
	eventually(t, "the commit comes", func() error { _, err := b.cfg.Store.Commit(c.Hash); return err })
	missing, err := b.cfg.Store.MissingChunks(storage.MissingChunk{}, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range missing {
		if err := b.FetchChunk(t.Context(), m); err != nil {
			t.Errorf("chunk %d: %v", m.Index, err)
		}
	}
	awaitFile(t, b, c.Hash, data)
	receiveOrphan(t, b.cfg.Store)
	missing, err = b.cfg.Store.MissingChunks(storage.MissingChunk{}, 10)
	if err != nil || len(missing) != 1 {
		t.Fatalf("%+v, %v", missing, err)
	}
	if err := b.FetchChunk(t.Context(), missing[0]); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a chunk that nobody has: %v", err)
	}
}

// receiveOrphan makes a store receive a file whose chunk no node has.
func receiveOrphan(t testing.TB, to *storage.Store) {
	t.Helper()
	from := openStore(t, "elsewhere")
	if err := to.Admit(t.Context(), from.Node(), "elsewhere"); err != nil {
		t.Fatal(err)
	}
	c := saveFile(t, from, "lost.bin", []byte("lost"))
	err := from.Range([]storage.Span{{Log: c.Log}}, func(r storage.Record) bool {
		got, err := to.Receive(t.Context(), []storage.Record{r})
		return err == nil && got.Accepted == 1
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestWrongPieces: what a neighbor that lies sends in place of a chunk changes
// nothing, is counted, and the chunk is taken from one that does not lie.
func TestWrongPieces(t *testing.T) {
	data := someBytes(5, 100_000)
	good := func(size int, b []byte) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{endComplete}, uint32(size)), b...)
	}
	wrong := bytes.Clone(data)
	wrong[9] ^= 1
	for name, c := range map[string]struct {
		answer func(p *pullConn, id uint64)
		err    error
		count  string
	}{
		"other bytes":         {func(p *pullConn, id uint64) { p.send(frameEnd, id, good(len(wrong), wrong)) }, errWrongBytes, "file_bytes"},
		"a chunk of no size":  {func(p *pullConn, id uint64) { p.send(frameEnd, id, good(0, wrong)) }, errManifest, ""},
		"a larger chunk":      {func(p *pullConn, id uint64) { p.send(frameEnd, id, good(1<<30, wrong)) }, errManifest, ""},
		"more than asked for": {func(p *pullConn, id uint64) { p.send(frameEnd, id, good(len(data), make([]byte, maxPiece))) }, errPiece, "file_piece"},
		"nothing":             {func(p *pullConn, id uint64) { p.send(frameEnd, id, good(len(data), nil)) }, errPiece, "file_piece"},
		"not here":            {func(p *pullConn, id uint64) { p.send(frameEnd, id, []byte{endAbsent}) }, errAbsent, ""},
		"a frame of 4 GiB": {func(p *pullConn, id uint64) {
			p.conn.Write([]byte{255, 255, 255, 255, frameEnd, 0, 0, 0, 0, 0, 0, 0, 1})
		}, errPullClosed, "pull_frame"},
	} {
		t.Run(name, func(t *testing.T) {
			a, n := start(t, "a"), start(t, "victim")
			commit := saveFile(t, a.cfg.Store, "x.bin", data)
			peer := liarOf(t, n, protoFile, c.answer)
			n.files.mu.Lock()
			n.files.peer(peer).length[laneHealthy] = len(data)
			n.files.mu.Unlock()
			text, _ := a.cfg.Store.Content(commit.Hash)
			m, err := storage.ParseManifest(text)
			if err != nil {
				t.Fatal(err)
			}
			missing := storage.MissingChunk{ID: m.Chunks[0], Size: len(data)}
			err = n.fetchChunk(t.Context(), laneHealthy, missing, peer)
			if !errors.Is(err, c.err) {
				t.Errorf("got %v, want %v", err, c.err)
			}
			if c.count != "" && n.Dropped()[c.count] == 0 {
				t.Errorf("nothing is counted as %s: %v", c.count, n.Dropped())
			}
			if n.cfg.Store.HasChunk(m.Chunks[0]) || n.cfg.Store.PartSize(m.Chunks[0]) != 0 {
				t.Error("something is kept")
			}
			n.files.judge(laneHealthy, missing, peer, err)
			n.spawn(func() { n.join(a.address(), n.cfg.Token) })
			awaitFile(t, n, commit.Hash, data)
		})
	}
}

// TestBadPieceRequests are refused one by one, and the connection lives on.
func TestBadPieceRequests(t *testing.T) {
	a := start(t, "a")
	b := start(t, "b", a.address())
	eventually(t, "they are linked", func() error {
		if len(b.linked()) == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	data := someBytes(6, 5000)
	c := saveFile(t, a.cfg.Store, "x.bin", data)
	text, _ := a.cfg.Store.Content(c.Hash)
	m, _ := storage.ParseManifest(text)
	conn, err := b.dialPeer(t.Context(), a.self, protoFile)
	if err != nil {
		t.Fatal(err)
	}
	conn.file = true
	b.spawn(func() { b.runPull(conn) })
	for name, body := range map[string][]byte{
		"short": {1}, "of no length": make([]byte, pieceRequest),
		"far out":   append(append([]byte{}, m.Chunks[0][:]...), 255, 255, 255, 255, 0, 0, 0, 1),
		"too long":  append(append([]byte{}, m.Chunks[0][:]...), 0, 0, 0, 0, 255, 255, 255, 255),
		"elsewhere": append([]byte("../../../../../../../etc/passwd\x00"), 0, 0, 0, 0, 0, 0, 0, 9),
	} {
		id, asked, err := conn.ask(framePiece, body)
		if err != nil {
			t.Fatal(err)
		}
		f, err := asked.next(t.Context(), conn)
		conn.forget(id, asked)
		if err != nil || len(f.body) == 0 || f.body[0] == endComplete {
			t.Errorf("%s: %v, %q", name, err, f.body)
		}
	}
	err = conn.askPiece(t.Context(), m.Chunks[0], 1000, 9000, func(got []byte, size int64) error {
		if size != 5000 || !bytes.Equal(got, data[1000:]) {
			t.Errorf("%d bytes of %d", len(got), size)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if err := conn.send(frameLocate, 99, nil); err != nil {
		t.Fatal(err)
	}
	<-conn.done // what is no piece ends a connection for files
}

// TestPieceLengths: pieces grow while they are quick and shrink when they take
// long, and stay within their bounds.
func TestPieceLengths(t *testing.T) {
	length := pieceHealthy
	for range 20 {
		length = nextLength(laneHealthy, length, length, 0)
	}
	if length != maxPiece {
		t.Errorf("quick ones: %d", length)
	}
	for range 20 {
		length = nextLength(laneHealthy, length, length, 2*longPiece)
	}
	if length != minHealthy {
		t.Errorf("long ones: %d", length)
	}
	if got := nextLength(laneSlow, minSlow, minSlow, 0); got != 2*minSlow {
		t.Errorf("slow and quick: %d", got)
	}
	if got := nextLength(laneSlow, 4096, 4096, 20*slowPiece); got != minSlow {
		t.Errorf("slow and long: %d", got)
	}
}
