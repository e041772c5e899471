package storage

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// The keys about files and their chunks; see the package comment.
const (
	keyLacking  = 0x0c // arrival, index → chunk, size: a chunk of that commit that is not here
	keyLacked   = 0x0d // chunk, arrival, index → nothing: the same, by chunk
	keyLoose    = 0x0e // chunk → nothing: here, but no commit names it yet
	keyFilePath = 0x0f // path of a file that has heads → nothing
)

func lackingKey(dst []byte, arrival uint64, index int) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, keyLacking), arrival)
	return binary.BigEndian.AppendUint16(dst, uint16(index))
}

func lackedKey(dst []byte, id ChunkID, arrival uint64, index int) []byte {
	dst = append(append(dst, keyLacked), id[:]...)
	dst = binary.BigEndian.AppendUint64(dst, arrival)
	return binary.BigEndian.AppendUint16(dst, uint16(index))
}

func looseKey(dst []byte, id ChunkID) []byte { return append(append(dst, keyLoose), id[:]...) }

// MissingChunk is a file chunk that a commit names and that is not here.
type MissingChunk struct {
	ID      ChunkID
	Size    int
	Arrival uint64 // of the commit
	Index   int    // of the chunk in the file
}

func parseLacking(key, value []byte) (m MissingChunk, err error) {
	if len(key) != 11 || len(value) != len(m.ID)+4 {
		return m, fmt.Errorf("%w: missing chunk of %d and %d bytes", ErrCorrupt, len(key), len(value))
	}
	m.Arrival, m.Index = binary.BigEndian.Uint64(key[1:]), int(binary.BigEndian.Uint16(key[9:]))
	copy(m.ID[:], value)
	m.Size = int(binary.BigEndian.Uint32(value[len(m.ID):]))
	return m, nil
}

// MissingChunks lists chunks that are not here, those of the newest commits
// first and of each commit in the order of the file, that come after the given
// one (the zero value: from the newest commit), at most limit.
func (s *Store) MissingChunks(after MissingChunk, limit int) ([]MissingChunk, error) {
	if !s.enter() {
		return nil, ErrClosed
	}
	defer s.leave()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{keyLacking}, UpperBound: []byte{keyLacking + 1}})
	if err != nil {
		return nil, s.corrupt(err)
	}
	var all []MissingChunk
	valid := false
	if after.Arrival == 0 {
		valid = firstOfLast(it, []byte{keyLacking + 1})
	} else if valid = it.SeekGE(lackingKey(nil, after.Arrival, after.Index+1)); !valid || binary.BigEndian.Uint64(it.Key()[1:]) != after.Arrival {
		valid = firstOfLast(it, lackingKey(nil, after.Arrival, 0))
	}
	for valid && len(all) < limit && err == nil {
		var m MissingChunk
		if m, err = parseLacking(it.Key(), it.Value()); err != nil {
			break
		}
		all = append(all, m)
		if valid = it.Next(); !valid || binary.BigEndian.Uint64(it.Key()[1:]) != m.Arrival {
			valid = firstOfLast(it, lackingKey(nil, m.Arrival, 0))
		}
	}
	if err = errors.Join(err, s.corrupt(it.Close())); err != nil {
		return nil, fmt.Errorf("list missing chunks: %w", err)
	}
	return all, nil
}

// firstOfLast moves to the first missing chunk of the last commit before a key.
func firstOfLast(it *pebble.Iterator, before []byte) bool {
	if !it.SeekLT(before) {
		return false
	}
	arrival := binary.BigEndian.Uint64(it.Key()[1:])
	return it.SeekGE(lackingKey(make([]byte, 0, 16), arrival, 0))
}

// MissingOf returns how many bytes of the file of one commit are not here.
func (s *Store) MissingOf(arrival uint64) (bytes int64, err error) {
	if !s.enter() {
		return 0, ErrClosed
	}
	defer s.leave()
	err = s.scan(lackingKey(nil, arrival, 0)[:9], func(key, value []byte) error {
		m, err := parseLacking(append(lackingKey(nil, arrival, 0)[:9], key...), value)
		bytes += int64(m.Size)
		return err
	})
	return bytes, err
}

// isLacked reports whether a commit waits for the chunk.
func (s *Store) isLacked(id ChunkID) (bool, error) {
	found := false
	err := s.scan(lackedKey(nil, id, 0, 0)[:1+len(id)], func(_, _ []byte) error {
		found = true
		return errStop
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	return found, err
}

// errStop ends a scan early.
var errStop = errors.New("storage: stop")
