package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// maxParts is how many chunks may lie half fetched in chunks/part. One more
// takes the place of another, which then begins anew.
const maxParts = 64

func (c *chunkStore) partPath(id ChunkID) string {
	return filepath.Join(c.dir, partName, id.String())
}

// removeParts removes parts of chunks that nothing waits for any more.
func (s *Store) removeParts() error {
	dir := filepath.Join(s.chunks.dir, partName)
	names, err := s.fs.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		id, err := ParseChunkID(name)
		wanted := false
		if err == nil {
			if wanted, err = s.isLacked(id); err != nil {
				return err
			}
		}
		if wanted {
			s.chunks.mu.parts++
		} else if err := s.fs.Remove(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// PartSize returns how many bytes of a chunk that is being fetched are here.
func (s *Store) PartSize(id ChunkID) int64 {
	info, err := s.fs.Stat(s.chunks.partPath(id))
	if err != nil {
		return 0
	}
	return info.Size()
}

// AddPart adds to what is here of a chunk that is being fetched, whose size so
// far must be at. It is not synced: what a crash leaves is checked like all the
// rest.
func (s *Store) AddPart(ctx context.Context, id ChunkID, at int64, data []byte) error {
	if !s.enter() {
		return ErrClosed
	}
	defer s.leave()
	if at+int64(len(data)) > FileChunk {
		return fmt.Errorf("%w: a chunk of %d bytes", ErrTooLarge, at+int64(len(data)))
	}
	if err := s.disk.take(s.cfg.Clock(), len(data)); err != nil {
		return err
	}
	path := s.chunks.partPath(id)
	if at == 0 {
		if err := s.roomForPart(id); err != nil {
			return err
		}
	}
	file, err := s.fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return noRoom(fmt.Errorf("keep a part of a chunk: %w", err))
	}
	info, err := file.Stat()
	if err == nil && info.Size() != at {
		err = fmt.Errorf("%w: %d bytes of chunk %s are here, not %d", ErrInvalid, info.Size(), id, at)
	}
	for done := 0; done < len(data) && err == nil; done += chunkStep {
		end := min(len(data), done+chunkStep)
		if _, err = file.WriteAt(data[done:end:end], at+int64(done)); err == nil {
			_, err = file.SyncTo(at + int64(end))
		}
		if err == nil {
			err = s.pace(ctx, end-done)
		}
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return noRoom(fmt.Errorf("keep a part of a chunk: %w", err))
	}
	return nil
}

// roomForPart counts a new part, and removes another one where there are too
// many.
func (s *Store) roomForPart(id ChunkID) error {
	c := &s.chunks
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := s.fs.Stat(c.partPath(id)); err == nil {
		return nil
	}
	if c.mu.parts++; c.mu.parts <= maxParts {
		return nil
	}
	dir := filepath.Join(c.dir, partName)
	names, err := s.fs.List(dir)
	if err != nil || len(names) == 0 {
		return err
	}
	c.mu.parts = len(names)
	return s.fs.Remove(filepath.Join(dir, names[0]))
}

// DropPart throws away what is here of a chunk that was being fetched.
func (s *Store) DropPart(id ChunkID) error {
	if !s.enter() {
		return ErrClosed
	}
	defer s.leave()
	return s.dropPart(id)
}

func (s *Store) dropPart(id ChunkID) error {
	c := &s.chunks
	c.mu.Lock()
	defer c.mu.Unlock()
	err := s.fs.Remove(c.partPath(id))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	c.mu.parts--
	return err
}

// LandPart makes a chunk of which all bytes have come a chunk like others, if
// they are what its name says; else ErrInvalid, and they are thrown away.
func (s *Store) LandPart(id ChunkID) error {
	if !s.enter() {
		return ErrClosed
	}
	defer s.leave()
	c := &s.chunks
	path := c.partPath(id)
	file, err := s.fs.Open(path)
	if err != nil {
		return fmt.Errorf("open what was fetched of chunk %s: %w", id, err)
	}
	info, err := file.Stat()
	var sum ChunkID
	if err == nil {
		sum, err = s.sumOf(file, info.Size())
	}
	if err == nil && sum == id {
		err = file.SyncData()
	} else if err == nil {
		err = fmt.Errorf("%w: what came as chunk %s is chunk %s", ErrInvalid, id, sum)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, s.dropPart(id))
	}
	c.land.Lock()
	defer c.land.Unlock()
	if wanted, err := s.isLacked(id); err != nil || !wanted {
		return errors.Join(err, s.dropPart(id))
	}
	if err := s.moveIn(path, id); err != nil {
		s.landed([]ChunkID{id})
		return noRoom(fmt.Errorf("move a chunk to its place: %w", err))
	}
	c.mu.Lock()
	c.mu.parts--
	c.mu.Unlock()
	if err := s.settle([]ChunkID{id}); err != nil {
		s.landed([]ChunkID{id})
		return noRoom(err)
	}
	return nil
}
