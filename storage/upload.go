package storage

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Upload is a file whose chunks are here and which no commit names yet. Whoever
// made it calls Release, after a commit was saved or not.
type Upload struct {
	s        *Store
	manifest Manifest
	held     []ChunkID          // that must not go away
	fresh    map[ChunkID]string // not here before → their files in chunks/new
}

// Manifest returns what the upload consists of.
func (u *Upload) Manifest() *Manifest { return &u.manifest }

// ReadFile reads a file to its end, never whole in memory, and makes its chunks
// durable; those that are here already are not written again. ErrTooLarge: it
// is longer than most bytes. ErrDiskFull: there is no room. An error of r comes
// back as it is. After an error nothing is left.
func (s *Store) ReadFile(ctx context.Context, r io.Reader, most int64) (*Upload, error) {
	u := &Upload{s: s, fresh: make(map[ChunkID]string)}
	err := u.read(ctx, r, min(most, MaxFile))
	if err == nil {
		err = u.land()
	}
	if err != nil {
		return nil, errors.Join(err, u.Release())
	}
	return u, nil
}

func (u *Upload) read(ctx context.Context, r io.Reader, most int64) error {
	whole := sha256.New()
	buffer := make([]byte, FileChunk)
	for {
		chunk := sha256.New()
		n, ended, err := u.s.fill(ctx, r, buffer, io.MultiWriter(chunk, whole))
		if err != nil {
			return err
		}
		if u.manifest.Size += int64(n); u.manifest.Size > most {
			return fmt.Errorf("%w: a file may have %d bytes", ErrTooLarge, most)
		}
		if n > 0 {
			id := ChunkID(chunk.Sum(nil))
			u.manifest.Chunks = append(u.manifest.Chunks, id)
			if err := u.add(ctx, id, buffer[:n]); err != nil {
				return err
			}
		}
		if ended {
			whole.Sum(u.manifest.SHA256[:0])
			return nil
		}
	}
}

// fill reads until buffer is full or r has ended, and gives what it reads to
// sums. Unlike io.ReadFull it tells the end of r from an end that came too early.
func (s *Store) fill(ctx context.Context, r io.Reader, buffer []byte, sums io.Writer) (n int, ended bool, err error) {
	for n < len(buffer) && err == nil {
		var more int
		more, err = r.Read(buffer[n:min(len(buffer), n+chunkStep)])
		sums.Write(buffer[n : n+more]) // a hash takes everything
		n += more
		if waitErr := s.pace(ctx, more); waitErr != nil {
			return n, false, waitErr
		}
	}
	if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return n, true, nil
	}
	return n, false, err
}

// add takes one chunk.
func (u *Upload) add(ctx context.Context, id ChunkID, data []byte) error {
	s := u.s
	if err := ctx.Err(); err != nil {
		return err
	}
	if !s.enter() {
		return ErrClosed
	}
	defer s.leave()
	if _, twice := u.fresh[id]; twice || s.hold(u, id) {
		return nil
	}
	s.chunks.mu.Lock()
	s.chunks.mu.next++
	path := filepath.Join(s.chunks.dir, newName, strconv.FormatUint(s.chunks.mu.next, 10))
	s.chunks.mu.Unlock()
	u.fresh[id] = path
	return s.writeChunk(ctx, path, data)
}

// hold keeps a chunk that is here from going away before the upload is done.
func (s *Store) hold(u *Upload, id ChunkID) bool {
	c := &s.chunks
	if !c.present(s.fs, id) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, loose := c.mu.loose[id]; loose {
		c.mu.loose[id]++
		u.held = append(u.held, id)
		return true
	}
	_, err := s.fs.Stat(c.path(id)) // it may have been thrown away just now
	return err == nil
}

// writeChunk makes a file of data and syncs it, in small steps.
func (s *Store) writeChunk(ctx context.Context, path string, data []byte) error {
	if err := s.disk.take(s.cfg.Clock(), len(data)); err != nil {
		return err
	}
	file, err := s.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return noRoom(fmt.Errorf("write a chunk: %w", err))
	}
	for at := 0; at < len(data) && err == nil; at += chunkStep {
		end := min(len(data), at+chunkStep)
		// A file may change what it is given to write, so it gets a copy.
		if _, err = file.Write(data[at:end:end]); err == nil {
			_, err = file.SyncTo(int64(end))
		}
		if err == nil {
			err = s.pace(ctx, end-at)
		}
	}
	if err == nil {
		err = file.SyncData()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return noRoom(fmt.Errorf("write a chunk: %w", err))
	}
	return nil
}

// noRoom makes a full disk known as such.
func noRoom(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrDiskFull, err)
	}
	return err
}

// pace waits as long as n bytes may take while pages are being saved.
func (s *Store) pace(ctx context.Context, n int) error {
	if !s.Busy() {
		return nil
	}
	wait := time.NewTimer(time.Duration(n) * time.Second / busyRate)
	defer wait.Stop()
	select {
	case <-wait.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// land moves the chunks that were not here to their places. The database knows
// of them before, so that those that come to no commit are thrown away, after a
// crash too.
func (u *Upload) land() error {
	s, c := u.s, &u.s.chunks
	if !s.enter() {
		return ErrClosed
	}
	defer s.leave()
	c.land.Lock()
	defer c.land.Unlock()
	var moving []ChunkID
	batch := s.db.NewBatch()
	defer batch.Close()
	for id := range u.fresh {
		if s.hold(u, id) {
			continue // another one was faster; Release removes ours
		}
		moving = append(moving, id)
		if err := batch.Set(looseKey(nil, id), nil, nil); err != nil {
			return err
		}
	}
	if len(moving) == 0 {
		return nil
	}
	if err := batch.Commit(pebble.Sync); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.poison(errors.Join(errors.New("note the chunks of an upload"), err))
	}
	c.mu.Lock()
	for _, id := range moving {
		c.mu.loose[id] = 1
		u.held = append(u.held, id)
	}
	c.mu.Unlock()
	for i, id := range moving {
		if err := s.moveIn(u.fresh[id], id); err != nil {
			s.landed(moving[:i+1])
			return noRoom(fmt.Errorf("move a chunk to its place: %w", err))
		}
		delete(u.fresh, id)
	}
	if err := s.settle(moving); err != nil {
		s.landed(moving)
		return noRoom(err)
	}
	return nil
}

// Release throws away what no commit has come to name, and no other upload
// counts on.
func (u *Upload) Release() error {
	s, c := u.s, &u.s.chunks
	if !s.enter() {
		return ErrClosed // the next start does it
	}
	defer s.leave()
	var err error
	for _, path := range u.fresh {
		err = errors.Join(err, s.fs.Remove(path))
	}
	u.fresh = nil
	c.land.Lock()
	defer c.land.Unlock()
	gone := u.letGo()
	defer s.landed(gone)
	return errors.Join(err, s.discard(gone))
}

// letGo gives the upload's chunks up and returns those that nobody needs; until
// they are removed they are as good as not here.
func (u *Upload) letGo() (gone []ChunkID) {
	c := &u.s.chunks
	u.s.mu.Lock() // a commit that is being made may just come to name one
	defer u.s.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range u.held {
		if n, loose := c.mu.loose[id]; loose && n > 1 {
			c.mu.loose[id] = n - 1
		} else if loose {
			delete(c.mu.loose, id)
			c.mu.landing[id] = true
			gone = append(gone, id)
		}
	}
	u.held = nil
	return gone
}

// isLoose reports whether no commit names a chunk that is here.
func (c *chunkStore) isLoose(id ChunkID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, loose := c.mu.loose[id]
	return loose
}

// name notes that commits name these chunks now.
func (c *chunkStore) name(ids []ChunkID) {
	if len(ids) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		delete(c.mu.loose, id)
	}
}

// checkChunks reports whether all chunks of a file are here.
func (s *Store) checkChunks(content []byte) error {
	m, err := ParseManifest(content)
	if err != nil {
		return err
	}
	for _, id := range m.Chunks {
		if !s.chunks.present(s.fs, id) {
			return fmt.Errorf("%w: chunk %s", ErrMissingChunk, id)
		}
	}
	return nil
}
