package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// newestLooks is how many commits one call of NewestPaths looks at.
const newestLooks = 200_000

// NewestArrival is the arrival of the head that came last, 0 without heads.
func (p PathHeads) NewestArrival() (newest uint64) {
	for _, h := range p.Heads {
		newest = max(newest, h.Arrival)
	}
	return newest
}

// NewestPaths hands fn paths with their heads, the one whose newest head arrived
// last first, that begin with prefix and whose newest head arrived before the
// given number (0: from the newest), until fn wants no more, or newestLooks commits
// have been looked at. It returns the number to go on with, 0 at the end. It
// walks back through what arrived, so old revisions cost a look each; all of one
// call is of one moment.
func (s *Store) NewestPaths(prefix string, before uint64, fn func(PathHeads) (more bool)) (next uint64, err error) {
	if !s.enter() {
		return 0, ErrClosed
	}
	defer s.leave()
	upper := []byte{keyArrival + 1}
	if before != 0 {
		upper = arrivalKey(nil, before)
	}
	now := s.db.NewSnapshot()
	defer now.Close()
	it, err := now.NewIter(&pebble.IterOptions{LowerBound: arrivalKey(nil, 0), UpperBound: upper})
	if err != nil {
		return 0, s.corrupt(err)
	}
	done := make(map[string]bool) // paths of which nothing older counts
	looked := 0
	for ok := it.Last(); ok; ok = it.Prev() {
		if looked++; looked > newestLooks {
			break
		}
		var a arrived
		if a, err = parseArrived(it.Value()); err != nil {
			break
		}
		next = binary.BigEndian.Uint64(it.Key()[1:])
		if a.inert || a.muted || !strings.HasPrefix(a.path, prefix) || done[a.path] {
			continue
		}
		p := PathHeads{Path: a.path}
		if p.Heads, err = headsIn(now, a.path); err != nil {
			break
		}
		newest := p.NewestArrival()
		if newest == next && !fn(p) {
			break
		}
		// A parent that came after its child has a later arrival than the head: then
		// the head is still to come.
		done[a.path] = newest == next || before != 0 && newest >= before
	}
	more := it.Valid()
	if err = errors.Join(s.corrupt(err), s.corrupt(it.Close())); err != nil {
		return 0, fmt.Errorf("list the newest paths: %w", err)
	}
	if !more {
		next = 0
	}
	return next, nil
}

// headsIn reads the heads of a path as they were at a moment.
func headsIn(at *pebble.Snapshot, path string) ([]Head, error) {
	value, closer, err := at.Get(pathKey(make([]byte, 0, 128), keyHeads, path))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read heads of %.100q: %w", path, err)
	}
	defer closer.Close()
	return parseHeads(value)
}
