package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// Revision is a commit with its place in the local order of arrival. Of its
// fields, Tree and SHA256 are not filled in.
type Revision struct {
	*Commit
	Arrival uint64
	Muted   bool // a ban hides it: it only joins what comes before and after it
}

// PathHeads is a path with its heads, sorted by hash.
type PathHeads struct {
	Path  string
	Heads []Head
}

// readHeads returns the heads of a path; the slice is shared.
func (s *Store) readHeads(path string) ([]Head, error) {
	heads, version, found := s.cache.getHeads(path)
	if found {
		return heads, nil
	}
	value, err := s.get(pathKey(make([]byte, 0, 128), keyHeads, path))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("read heads of %.100q: %w", path, err)
	}
	if heads, err = parseHeads(value); err != nil {
		return nil, fmt.Errorf("read heads of %.100q: %w", path, err)
	}
	s.cache.fillHeads(path, heads, version)
	return heads, nil
}

func (s *Store) readPlace(h Hash) (place, error) {
	value, err := s.get(hashKey(make([]byte, 0, 32), h))
	if err != nil {
		return place{}, err
	}
	return parsePlace(value)
}

// readEntry reads a commit without its content.
func (s *Store) readEntry(p place) (*Commit, error) {
	value, err := s.get(pageKey(make([]byte, 0, 256), p.path, partEntry, p.arrival))
	if errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("%w: log entry %d of %.100q is gone", ErrCorrupt, p.arrival, p.path)
	}
	if err != nil {
		return nil, err
	}
	return ParseEntry(value)
}

func (s *Store) readContent(p place) ([]byte, error) {
	value, err := s.get(pageKey(make([]byte, 0, 256), p.path, partContent, p.arrival))
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return value, err
}

func (s *Store) readSlot(number uint32, sequence uint64) (slot, error) {
	value, err := s.get(logKey(make([]byte, 0, 16), number, sequence))
	if err != nil {
		return slot{}, err
	}
	return parseSlot(value)
}

// Heads returns the heads of a path, sorted by hash; none if nothing was ever
// there. Do not modify the slice.
func (s *Store) Heads(path string) ([]Head, error) {
	if !s.enter() {
		return nil, ErrClosed
	}
	defer s.leave()
	return s.readHeads(path)
}

// Commit returns a visible commit. Tree and SHA256 are not filled in; see
// Record. ErrNotFound: it is not here, or changes no page.
func (s *Store) Commit(h Hash) (*Commit, error) {
	r, err := s.Revision(h)
	return r.Commit, err
}

// Revision returns a visible commit with its arrival.
func (s *Store) Revision(h Hash) (Revision, error) {
	if !s.enter() {
		return Revision{}, ErrClosed
	}
	defer s.leave()
	p, err := s.readPlace(h)
	if err == nil && p.inert {
		err = ErrNotFound
	}
	if err != nil {
		return Revision{}, fmt.Errorf("read commit %s: %w", h, err)
	}
	c, err := s.readEntry(p)
	if err != nil {
		return Revision{}, fmt.Errorf("read commit %s: %w", h, err)
	}
	c.Hash = h
	return Revision{c, p.arrival, p.muted}, nil
}

// Content returns what a commit put at its path; nothing for a delete. Do not
// modify it.
func (s *Store) Content(h Hash) ([]byte, error) {
	if content, found := s.cache.getContent(h); found {
		return content, nil
	}
	if !s.enter() {
		return nil, ErrClosed
	}
	defer s.leave()
	p, err := s.readPlace(h)
	if err != nil {
		return nil, fmt.Errorf("read content of commit %s: %w", h, err)
	}
	content, err := s.readContent(p)
	if err != nil {
		return nil, fmt.Errorf("read content of commit %s: %w", h, err)
	}
	s.cache.fillContent(h, content)
	return content, nil
}

// Record returns any commit that is held, inert ones included, complete and
// with its content; its git form is checked against h.
func (s *Store) Record(h Hash) (Record, error) {
	if !s.enter() {
		return Record{}, ErrClosed
	}
	defer s.leave()
	p, err := s.readPlace(h)
	if err != nil {
		return Record{}, fmt.Errorf("read commit %s: %w", h, err)
	}
	r, err := s.readRecord(p)
	if errors.Is(err, ErrInvalid) {
		err = fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if errors.Is(err, ErrCorrupt) {
		s.damage.note(s, fmt.Sprintf("commit %s of %.100q: %v", h, p.path, err))
	}
	if err != nil {
		return Record{}, fmt.Errorf("read commit %s: %w", h, err)
	}
	r.finish(r.Content)
	var room scratch
	if r.Hash = r.hashWith(&room, room.ofPayload(r.Commit)); r.Hash != h {
		s.damage.note(s, fmt.Sprintf("commit %s of %.100q reads as %s", h, p.path, r.Hash))
		return Record{}, fmt.Errorf("%w: commit %s reads as %s", ErrCorrupt, h, r.Hash)
	}
	return r, nil
}

func (s *Store) readRecord(p place) (Record, error) {
	c, err := s.readEntry(p)
	if err != nil {
		return Record{}, err
	}
	content, err := s.readContent(p)
	return Record{c, content}, err
}

// History returns commits of a path, the newest arrival first, that arrived
// before the given number (0: from the newest), at most limit.
func (s *Store) History(path string, before uint64, limit int) ([]Revision, error) {
	if !s.enter() {
		return nil, ErrClosed
	}
	defer s.leave()
	if before == 0 {
		before = ^uint64(0)
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: pageKey(nil, path, partEntry, 0), UpperBound: pageKey(nil, path, partEntry, before)})
	if err != nil {
		return nil, s.corrupt(err)
	}
	var all []Revision
	for ok := it.Last(); ok && len(all) < limit && err == nil; ok = it.Prev() {
		key := it.Key()
		all, err = s.appendShown(all, binary.BigEndian.Uint64(key[len(key)-8:]), it.Value())
	}
	if err = errors.Join(err, s.corrupt(it.Close())); err != nil {
		return nil, fmt.Errorf("read history of %.100q: %w", path, err)
	}
	return all, nil
}

// appendShown appends the commit with that log entry, unless it is inert.
func (s *Store) appendShown(all []Revision, arrival uint64, entry []byte) ([]Revision, error) {
	value, err := s.get(arrivalKey(make([]byte, 0, 16), arrival))
	if err != nil {
		return all, fmt.Errorf("read arrival %d: %w", arrival, err)
	}
	a, err := parseArrived(value)
	if err != nil || a.inert || a.muted {
		return all, err
	}
	c, err := ParseEntry(entry)
	if err != nil {
		return all, err
	}
	c.Hash = a.hash
	return append(all, Revision{Commit: c, Arrival: arrival}), nil
}

// Recent returns commits of pages and files in the order of their arrival
// here, the newest first, that arrived before the given number (0: from the
// newest), at most limit. To go on, pass the last one's Arrival.
func (s *Store) Recent(before uint64, limit int) ([]Revision, error) {
	if !s.enter() {
		return nil, ErrClosed
	}
	defer s.leave()
	upper := []byte{keyArrival + 1}
	if before != 0 {
		upper = arrivalKey(nil, before)
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: arrivalKey(nil, 0), UpperBound: upper})
	if err != nil {
		return nil, s.corrupt(err)
	}
	var all []Revision
	for ok := it.Last(); ok && len(all) < limit && err == nil; ok = it.Prev() {
		var a arrived
		if a, err = parseArrived(it.Value()); err != nil || a.inert || a.muted || strings.HasPrefix(a.path, SignerPrefix) || strings.HasPrefix(a.path, BanPrefix) {
			continue
		}
		p := place{arrival: binary.BigEndian.Uint64(it.Key()[1:]), path: a.path}
		var c *Commit
		if c, err = s.readEntry(p); err == nil {
			c.Hash = a.hash
			all = append(all, Revision{Commit: c, Arrival: p.arrival})
		}
	}
	if err = errors.Join(err, s.corrupt(it.Close())); err != nil {
		return nil, fmt.Errorf("read recent changes: %w", err)
	}
	return all, nil
}

// Paths returns paths that ever had a commit, with their heads, that begin
// with prefix and come after the path after in byte order, at most limit.
func (s *Store) Paths(prefix, after string, limit int) ([]PathHeads, error) {
	return s.listPaths(keyHeads, prefix, after, limit)
}

// Forked returns paths with more than one head, in byte order, that come
// after the path after, at most limit.
func (s *Store) Forked(after string, limit int) ([]PathHeads, error) {
	return s.listPaths(keyForked, "", after, limit)
}

// Files is Paths for files alone.
func (s *Store) Files(prefix, after string, limit int) ([]PathHeads, error) {
	return s.listPaths(keyFilePath, prefix, after, limit)
}

func (s *Store) listPaths(prefix byte, below, after string, limit int) ([]PathHeads, error) {
	if !s.enter() {
		return nil, ErrClosed
	}
	defer s.leave()
	lower := pathKey(nil, prefix, below)
	upper := keyAfter(lower)
	if after >= below && after != "" {
		lower = append(pathKey(nil, prefix, after), 0)
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, s.corrupt(err)
	}
	var all []PathHeads
	for ok := it.First(); ok && len(all) < limit && err == nil; ok = it.Next() {
		entry := PathHeads{Path: string(it.Key()[1:])}
		if prefix == keyHeads {
			entry.Heads, err = parseHeads(it.Value())
		} else {
			entry.Heads, err = s.readHeads(entry.Path)
		}
		all = append(all, entry)
	}
	if err = errors.Join(err, s.corrupt(it.Close())); err != nil {
		return nil, fmt.Errorf("list paths: %w", err)
	}
	return all, nil
}

// Imported returns the commit that was made from an import source at a path.
func (s *Store) Imported(source, path string) (Hash, bool, error) {
	if !s.enter() {
		return Hash{}, false, ErrClosed
	}
	defer s.leave()
	value, err := s.get(importKey(nil, source+"\x00"+path))
	if errors.Is(err, ErrNotFound) {
		return Hash{}, false, nil
	}
	if err != nil || len(value) != len(Hash{}) {
		return Hash{}, false, err
	}
	p, err := s.readPlace(Hash(value))
	return Hash(value), err == nil && !p.muted, err
}

// Locate returns where a commit that is held stands: its log, and its sequence
// as UpTo. Recent ones are found without reading the database.
func (s *Store) Locate(h Hash) (Span, error) {
	s.cache.mu.Lock()
	at, found := s.cache.located.get(h)
	s.cache.mu.Unlock()
	if found {
		return at, nil
	}
	if !s.enter() {
		return Span{}, ErrClosed
	}
	defer s.leave()
	p, err := s.readPlace(h)
	if err != nil {
		return Span{}, fmt.Errorf("locate commit %s: %w", h, err)
	}
	c, err := s.readEntry(p)
	if err != nil {
		return Span{}, fmt.Errorf("locate commit %s: %w", h, err)
	}
	stands, err := s.Place(c)
	if err != nil {
		return Span{}, fmt.Errorf("locate commit %s: %w", h, err)
	}
	at = Span{Log: stands.Log, UpTo: stands.Sequence}
	s.cache.mu.Lock()
	s.cache.located.put(h, at, 1)
	s.cache.mu.Unlock()
	return at, nil
}
