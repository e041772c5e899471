package storage

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// File chunks are plain files beside the database, named by their hash: in the
// database they would go through the write-ahead log that every save waits for,
// and be written again by each merge. They lie in chunks/<2 hex>/<64 hex>; what
// is being uploaded in chunks/new, what is being fetched in chunks/part.
const (
	chunksName = "chunks"
	newName    = "new"
	partName   = "part"
)

// chunkStore keeps the file chunks of a store. Lock order: land, then Store.mu,
// then mu.
type chunkStore struct {
	dir      string
	activity atomic.Int64 // Unix nanoseconds of the last save or arrival

	// land is held while chunks are moved to their place, so that of two
	// that bring the same one only one does.
	land sync.Mutex
	mu   struct {
		sync.Mutex
		loose   map[ChunkID]int  // here and named by no commit → uploads that count on it
		landing map[ChunkID]bool // moved to its place, perhaps not yet durable
		next    uint64           // number of the next file in chunks/new
		parts   int              // files in chunks/part
	}
}

func (c *chunkStore) init(dir string) {
	c.dir = filepath.Join(dir, chunksName)
	c.mu.loose, c.mu.landing = make(map[ChunkID]int), make(map[ChunkID]bool)
	c.mu.parts = 0
}

// openChunks makes the directories, throws away what a crash has left, and
// counts the files that are not whole.
func (s *Store) openChunks() error {
	c := &s.chunks
	c.init(s.cfg.Dir)
	for _, name := range []string{"", newName, partName} {
		if err := makeDir(s.fs, filepath.Join(c.dir, name)); err != nil {
			return err
		}
	}
	if err := s.removeLoose(); err != nil {
		return fmt.Errorf("throw away chunks of uploads that were cut short: %w", err)
	}
	if err := s.removeParts(); err != nil {
		return fmt.Errorf("throw away parts of chunks: %w", err)
	}
	return s.countLacking()
}

// removeLoose removes what uploads have left that did not come to a commit.
func (s *Store) removeLoose() error {
	dir := filepath.Join(s.chunks.dir, newName)
	names, err := s.fs.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := s.fs.Remove(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	var loose []ChunkID
	err = s.scan([]byte{keyLoose}, func(key, _ []byte) error {
		if len(key) != len(ChunkID{}) {
			return fmt.Errorf("%w: loose chunk of %d bytes", ErrCorrupt, len(key))
		}
		loose = append(loose, ChunkID(key))
		return nil
	})
	if err != nil {
		return err
	}
	return s.discard(loose)
}

// discard removes chunks that no commit names. The database forgets them when
// their names are gone for good.
func (s *Store) discard(ids []ChunkID) error {
	if len(ids) == 0 {
		return nil
	}
	batch := s.db.NewBatch()
	defer batch.Close()
	for _, id := range ids {
		err := s.fs.Remove(s.chunks.path(id))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := batch.Delete(looseKey(nil, id), nil); err != nil {
			return err
		}
	}
	if err := s.syncDirsOf(ids); err != nil {
		return err
	}
	return s.commitHint(batch)
}

// syncDirsOf makes durable which of the chunks are in their places.
func (s *Store) syncDirsOf(ids []ChunkID) error {
	dirs := make(map[string]bool)
	for _, id := range ids {
		dirs[filepath.Dir(s.chunks.path(id))] = true
	}
	for dir := range dirs {
		if _, err := s.fs.Stat(dir); errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err := syncDir(s.fs, dir); err != nil {
			return err
		}
	}
	return nil
}

// commitHint writes without a sync what can be found out again after a crash.
func (s *Store) commitHint(batch *pebble.Batch) error {
	if batch.Empty() {
		return nil
	}
	if err := batch.Commit(pebble.NoSync); err != nil {
		return s.corrupt(err)
	}
	return nil
}

// countLacking counts the files that are not whole, and strikes chunks that
// have come since the index was last written to the disk.
func (s *Store) countLacking() error {
	batch := s.db.NewBatch()
	defer batch.Close()
	last := uint64(0)
	err := s.scan([]byte{keyLacking}, func(key, value []byte) error {
		m, err := parseLacking(append([]byte{keyLacking}, key...), value)
		if err != nil {
			return err
		}
		if s.chunks.present(s.fs, m.ID) {
			return errors.Join(batch.Delete(lackingKey(nil, m.Arrival, m.Index), nil), batch.Delete(lackedKey(nil, m.ID, m.Arrival, m.Index), nil))
		}
		if m.Arrival != last {
			s.mu.lacking++
			last = m.Arrival
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.commitHint(batch)
}

func (c *chunkStore) path(id ChunkID) string {
	name := id.String()
	return filepath.Join(c.dir, name[:2], name)
}

// present reports whether the chunk is in its place and durable.
func (c *chunkStore) present(fs vfs.FS, id ChunkID) bool {
	c.mu.Lock()
	landing := c.mu.landing[id]
	c.mu.Unlock()
	if landing {
		return false
	}
	_, err := fs.Stat(c.path(id))
	return err == nil
}

// HasChunk reports whether a file chunk is here.
func (s *Store) HasChunk(id ChunkID) bool { return s.chunks.present(s.fs, id) }

// Chunk is a file chunk opened for reading; its bytes have been checked.
type Chunk struct {
	file vfs.File
	Size int64
}

// ReadAt implements io.ReaderAt.
func (c *Chunk) ReadAt(b []byte, at int64) (int, error) { return c.file.ReadAt(b, at) }

// Close lets go of the chunk.
func (c *Chunk) Close() error { return c.file.Close() }

// OpenChunk opens a file chunk and checks its bytes against its name. ErrNotFound:
// it is not here. A damaged one is put aside, so that it is fetched again, and is
// ErrNotFound too.
func (s *Store) OpenChunk(id ChunkID) (*Chunk, error) {
	if !s.enter() {
		return nil, ErrClosed
	}
	defer s.leave()
	file, size, err := s.openChunk(id)
	if err == nil {
		var sum ChunkID
		if sum, err = s.sumOf(file, size); err == nil && sum == id {
			return &Chunk{file, size}, nil
		}
		if err == nil {
			err = fmt.Errorf("%w: its bytes are those of chunk %s", ErrCorrupt, sum)
		}
		err = errors.Join(err, file.Close())
	}
	if errors.Is(err, ErrCorrupt) || errors.Is(err, syscall.EIO) {
		return nil, s.putAside(id, err)
	}
	return nil, fmt.Errorf("read chunk %s: %w", id, err)
}

// putAside moves a damaged chunk to damaged/chunks. Where an older one of the same
// name is kept, this one takes its place.
func (s *Store) putAside(id ChunkID, why error) error {
	dir := filepath.Join(s.cfg.Dir, damagedName, chunksName)
	kept := filepath.Join(dir, id.String())
	s.log.Error("a chunk of a file is damaged; it is put aside and asked of neighbors", "kept", kept, "err", why)
	err := makeDir(s.fs, dir)
	if err == nil {
		err = s.fs.Rename(s.chunks.path(id), kept)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) { // another reader was faster
		return fmt.Errorf("put damaged chunk %s aside: %w", id, err)
	}
	return fmt.Errorf("chunk %s: %w", id, ErrNotFound)
}

func (s *Store) openChunk(id ChunkID) (vfs.File, int64, error) {
	file, err := s.fs.Open(s.chunks.path(id))
	if errors.Is(err, os.ErrNotExist) {
		return nil, 0, fmt.Errorf("chunk %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("open chunk %s: %w", id, err)
	}
	info, err := file.Stat()
	if err == nil && info.Size() > FileChunk {
		err = fmt.Errorf("%w: %d bytes", ErrCorrupt, info.Size())
	}
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("open chunk %s: %w", id, err), file.Close())
	}
	return file, info.Size(), nil
}

// sumOf computes the name of a chunk from its bytes.
func (s *Store) sumOf(file vfs.File, size int64) (id ChunkID, err error) {
	sum := sha256.New()
	buffer := make([]byte, min(size, chunkStep))
	for at := int64(0); at < size; {
		n, err := file.ReadAt(buffer[:min(int64(len(buffer)), size-at)], at)
		if cleanEOF(err) != nil {
			return id, err
		}
		if n == 0 {
			return id, io.ErrUnexpectedEOF
		}
		sum.Write(buffer[:n])
		at += int64(n)
		if err := s.pace(context.Background(), n); err != nil {
			return id, err
		}
	}
	sum.Sum(id[:0])
	return id, nil
}

// ReadPiece reads a part of a chunk for a neighbor, which checks it, and returns
// the chunk's size too. Whoever asks for its beginning gets it checked.
func (s *Store) ReadPiece(id ChunkID, at int64, b []byte) (n int, size int64, err error) {
	if !s.enter() {
		return 0, 0, ErrClosed
	}
	defer s.leave()
	if !s.chunks.present(s.fs, id) {
		return 0, 0, fmt.Errorf("chunk %s: %w", id, ErrNotFound)
	}
	if at == 0 {
		c, err := s.OpenChunk(id)
		if err != nil {
			return 0, 0, err
		}
		defer c.Close()
		n, err = c.ReadAt(b[:min(int64(len(b)), c.Size)], 0)
		return n, c.Size, cleanEOF(err)
	}
	file, size, err := s.openChunk(id)
	if err != nil {
		return 0, 0, err
	}
	defer file.Close()
	if at >= size {
		return 0, size, nil
	}
	n, err = file.ReadAt(b[:min(int64(len(b)), size-at)], at)
	return n, size, cleanEOF(err)
}

func cleanEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// settle makes the names of chunks durable that were moved to their place, and
// then says that they are here. It is called with land held.
func (s *Store) settle(ids []ChunkID) error {
	if err := s.syncDirsOf(ids); err != nil {
		return err
	}
	s.landed(ids)
	for _, id := range ids {
		if err := s.arrivedChunk(id); err != nil {
			return err
		}
	}
	return nil
}

// landed ends the landing of chunks, whatever became of it.
func (s *Store) landed(ids []ChunkID) {
	s.chunks.mu.Lock()
	defer s.chunks.mu.Unlock()
	for _, id := range ids {
		delete(s.chunks.mu.landing, id)
	}
}

// moveIn moves a synced file to the place of a chunk; settle follows.
func (s *Store) moveIn(from string, id ChunkID) error {
	c := &s.chunks
	c.mu.Lock()
	c.mu.landing[id] = true
	c.mu.Unlock()
	target := c.path(id)
	if err := makeDir(s.fs, filepath.Dir(target)); err != nil {
		return err
	}
	return s.fs.Rename(from, target)
}

// arrivedChunk strikes a chunk from the list of those that are missing.
func (s *Store) arrivedChunk(id ChunkID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch := s.db.NewBatch()
	defer batch.Close()
	type place struct {
		arrival uint64
		index   int
	}
	var found []place
	prefix := lackedKey(nil, id, 0, 0)[:1+len(id)]
	err := s.scan(prefix, func(key, _ []byte) error {
		m, err := parseLacking(append([]byte{keyLacking}, key...), make([]byte, len(id)+4))
		found = append(found, place{m.Arrival, m.Index})
		return err
	})
	if err != nil || len(found) == 0 {
		return err
	}
	files := make(map[uint64]bool)
	for _, at := range found {
		files[at.arrival] = true
		if err := errors.Join(batch.Delete(lackingKey(nil, at.arrival, at.index), nil), batch.Delete(lackedKey(nil, id, at.arrival, at.index), nil)); err != nil {
			return err
		}
	}
	c := &s.chunks
	c.mu.Lock()
	if _, loose := c.mu.loose[id]; loose { // a commit counts on it now
		delete(c.mu.loose, id)
		err = batch.Delete(looseKey(nil, id), nil)
	}
	c.mu.Unlock()
	if err = errors.Join(err, s.commitHint(batch)); err != nil {
		return err
	}
	for arrival := range files {
		whole := true
		err := s.scan(lackingKey(nil, arrival, 0)[:9], func(_, _ []byte) error { whole = false; return errStop })
		if err != nil && !errors.Is(err, errStop) {
			return err
		}
		if whole {
			s.mu.lacking--
		}
	}
	return nil
}

// Recheck looks for the chunks of a file's commit anew, after one was not found
// where the index said that it is, and returns how many are missing.
func (s *Store) Recheck(h Hash) (missing int, err error) {
	if !s.enter() {
		return 0, ErrClosed
	}
	defer s.leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.readPlace(h)
	if err != nil {
		return 0, fmt.Errorf("look for the chunks of commit %s: %w", h, err)
	}
	content, err := s.readContent(p)
	if err != nil {
		return 0, fmt.Errorf("look for the chunks of commit %s: %w", h, err)
	}
	m, err := ParseManifest(content)
	if err != nil {
		return 0, err
	}
	batch := s.db.NewBatch()
	defer batch.Close()
	before := false
	err = s.scan(lackingKey(nil, p.arrival, 0)[:9], func(_, _ []byte) error { before = true; return nil })
	if err != nil {
		return 0, err
	}
	if missing, err = s.lack(batch, m, p.arrival); err != nil {
		return 0, err
	}
	if missing > 0 && !before {
		s.mu.lacking++
	}
	return missing, s.commitHint(batch)
}

// lack notes which chunks of a file are not here, and returns how many.
func (s *Store) lack(batch *pebble.Batch, m *Manifest, arrival uint64) (missing int, err error) {
	var key [64]byte
	var value [len(ChunkID{}) + 4]byte
	for i, id := range m.Chunks {
		if s.chunks.present(s.fs, id) {
			continue
		}
		missing++
		copy(value[:], id[:])
		binary.BigEndian.PutUint32(value[len(id):], uint32(m.ChunkSize(i)))
		err = errors.Join(err, batch.Set(lackingKey(key[:0], arrival, i), value[:], nil), batch.Set(lackedKey(key[:0], id, arrival, i), nil, nil))
	}
	return missing, err
}

// busyFor is how long after a save or an arrival chunks are read and written
// slowly, and busyRate how many bytes a second then. chunkStep is how much of a
// chunk is read or written at once: a save waits for the disk, and for a
// processor, behind it.
const (
	busyFor   = 250 * time.Millisecond
	busyRate  = 48 << 20
	chunkStep = 64 << 10
)

// Busy reports whether pages are being saved or are arriving, so that whatever
// moves files should let them pass.
func (s *Store) Busy() bool {
	return time.Now().UnixNano()-s.chunks.activity.Load() < int64(busyFor)
}

func (s *Store) active() { s.chunks.activity.Store(time.Now().UnixNano()) }
