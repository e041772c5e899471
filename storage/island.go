package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
)

// An island is a commit that is here though something before it is not: an
// entry of its log, or a parent, that lay in a damaged file. Readers see it. The
// vector, which promises that nothing is missing, ends before it, so neighbors
// are asked for what is gone and give it back; then the log goes on over the
// island without a second copy of it.

// islands is what is known of them. It is guarded by Store.mu.
type islands struct {
	logs   map[LogID]int // how many of each log
	count  int           // in all
	wanted map[Hash]bool // parents of visible commits that are not here
}

func (s *Store) loadIslands() error {
	s.mu.islands = islands{logs: make(map[LogID]int), wanted: make(map[Hash]bool)}
	err := s.scan([]byte{keyIsland}, func(key, _ []byte) error {
		if len(key) != LogIDSize+8+len(Hash{}) {
			return fmt.Errorf("%w: island of %d bytes", ErrCorrupt, len(key))
		}
		s.mu.islands.logs[LogIDFromBytes(key)]++
		s.mu.islands.count++
		return nil
	})
	if err != nil {
		return err
	}
	return s.scan([]byte{keyWanted}, func(key, _ []byte) error {
		if len(key) != len(Hash{}) {
			return fmt.Errorf("%w: wanted commit of %d bytes", ErrCorrupt, len(key))
		}
		s.mu.islands.wanted[Hash(key)] = true
		return nil
	})
}

// islandOf returns the arrival of a commit that is an island.
func (t *tx) islandOf(r Record) (arrival uint64, found bool, err error) {
	if t.s.mu.islands.logs[r.Log]-t.bridged[r.Log] <= 0 {
		return 0, false, nil
	}
	value, err := t.s.get(islandKey(nil, r.Log, r.Sequence, r.Hash))
	if errors.Is(err, ErrNotFound) {
		return 0, false, nil
	}
	if err == nil && len(value) != 8 {
		err = fmt.Errorf("%w: island of %d bytes", ErrCorrupt, len(value))
	}
	if err != nil {
		return 0, false, err
	}
	return binary.BigEndian.Uint64(value), true, nil
}

// put makes a record the next of its log: a new one, or one that was an island.
func (t *tx) put(r Record, parents []meta, at LogPlace) error {
	arrival, found, err := t.islandOf(r)
	if err != nil {
		return err
	}
	if found {
		return t.bridge(r, at, arrival)
	}
	return t.add(r.Commit, r.Content, parents, at, false)
}

// bridge lets a log go on over an island.
func (t *tx) bridge(r Record, at LogPlace, arrival uint64) error {
	heads, err := t.headsOf(r.Path)
	if err != nil {
		return err
	}
	l := t.advance(r.Commit, at, arrival)
	if t.bridged == nil {
		t.bridged = make(map[LogID]int)
	}
	t.bridged[r.Log]++
	p, err := t.s.readPlace(r.Hash)
	if err != nil {
		return err
	}
	if p.muted != t.s.muted(at) { // it stands elsewhere in a log that forks
		t.rejudge, t.anew = true, true
	}
	t.out = append(t.out, Committed{Commit: r.Commit, Content: r.Content, At: at, Arrival: arrival, Heads: heads, Inert: p.inert || p.muted})
	t.rejudges(r.Commit)
	return errors.Join(
		t.batch.Set(logKey(nil, l.number, at.Sequence), slot{r.Hash, arrival}.encode(nil), nil),
		t.batch.Delete(islandKey(nil, r.Log, r.Sequence, r.Hash), nil))
}

// advance moves the end of a log.
func (t *tx) advance(c *Commit, at LogPlace, arrival uint64) logState {
	l, found := t.logState(at.Log)
	if !found {
		t.lognum++
		l.number = t.lognum
	}
	l.sequence, l.tip = at.Sequence, c.Hash
	t.logs[at.Log] = l
	if t.slots != nil {
		t.slots[slotKey{l.number, at.Sequence}] = slot{c.Hash, arrival}
	}
	return l
}

// maxBridged bounds how many islands one batch goes on over.
const maxBridged = 1024

// bridgeRest lets logs go on over islands until none can.
func (s *Store) bridgeRest() error {
	for {
		t, err := s.bridgeSome()
		if t == nil || err != nil {
			return err
		}
		if err := t.finish(); err != nil {
			return err
		}
	}
}

func (s *Store) bridgeSome() (*tx, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.islands.count == 0 {
		return nil, nil
	}
	if s.mu.failed != nil {
		return nil, s.mu.failed
	}
	t := s.begin()
	t.slots = make(map[slotKey]slot)
	crossed, err := t.bridgeAll()
	if err != nil || crossed == 0 {
		return nil, errors.Join(err, t.batch.Close())
	}
	return t, t.apply()
}

// bridgeAll lets every log go on over the islands that come next, and returns
// how many there were.
func (t *tx) bridgeAll() (crossed int, err error) {
	for log, count := range t.s.mu.islands.logs {
		if t.family(log) != nil {
			continue // of a log that forks: its commits are matched as they come again
		}
		for count > t.bridged[log] && crossed < maxBridged {
			l, _ := t.logState(log)
			r, arrival, err := t.nextIsland(log, l)
			if errors.Is(err, ErrNotFound) {
				break
			}
			if err != nil {
				return crossed, err
			}
			if err := t.bridge(r, LogPlace{log, l.sequence + 1}, arrival); err != nil {
				return crossed, err
			}
			crossed++
		}
	}
	return crossed, nil
}

// nextIsland reads the island with which a log goes on; ErrNotFound: there is
// none, or a parent of it is missing.
func (t *tx) nextIsland(log LogID, l logState) (r Record, arrival uint64, err error) {
	if len(t.s.mu.staging.logs[log]) > 0 {
		return r, 0, ErrNotFound
	}
	key := islandKey(nil, log, l.sequence+1, Hash{})
	key = key[:len(key)-len(Hash{})]
	err = t.s.scan(key, func(rest, value []byte) error {
		if len(rest) != len(Hash{}) || len(value) != 8 || arrival != 0 {
			return nil
		}
		h := Hash(rest)
		p, err := t.s.readPlace(h)
		if err != nil {
			return err
		}
		if r, err = t.s.readRecord(p); err != nil {
			return err
		}
		if r.Hash = h; r.Previous == l.tip {
			arrival = binary.BigEndian.Uint64(value)
		}
		return nil
	})
	if err == nil && arrival == 0 {
		err = ErrNotFound
	}
	if err == nil {
		_, err = t.parents(r.Commit)
	}
	return r, arrival, err
}

// addIsland puts a commit of a damaged database into the new one though the end
// of its log, or a parent, is missing. inert is what was known of it.
func (t *tx) addIsland(r Record, inert bool) error {
	var parents []meta
	var missing []Hash
	for _, h := range r.Parents {
		m, err := t.meta(h, r.Path)
		if errors.Is(err, ErrNotFound) { // it passed the rules once, when its parent was here
			m, err = meta{place{path: r.Path, inert: inert}, KindPage, r.Generation - 1, nil}, nil
			missing = append(missing, h)
		}
		if err != nil {
			return err
		}
		parents = append(parents, m)
	}
	if err := t.addApart(r, parents); err != nil {
		return err
	}
	if t.stranded == nil {
		t.stranded, t.wanted = make(map[LogID]int), make(map[Hash]bool)
	}
	t.stranded[r.Log]++
	for _, h := range missing {
		t.wanted[h] = true
		if err := t.batch.Set(wantedKey(nil, h), nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// isWanted reports whether a visible commit names h as its parent already.
func (t *tx) isWanted(h Hash) bool { return t.wanted[h] || t.s.mu.islands.wanted[h] && !t.came[h] }

// arrive notes that a wanted parent has come.
func (t *tx) arrive(c *Commit) error {
	h := c.Hash
	if len(t.s.mu.verdicts) > 0 { // what a ban hides may stand between it and its children
		if t.astray == nil {
			t.astray = make(map[string]bool)
		}
		t.astray[c.Path], t.rejudge = true, true
	}
	if t.came == nil {
		t.came = make(map[Hash]bool)
	}
	t.came[h] = true
	delete(t.wanted, h)
	return t.batch.Delete(wantedKey(nil, h), nil)
}

// applyIslands takes over what the batch changed.
func (t *tx) applyIslands() {
	i := &t.s.mu.islands
	for log, n := range t.stranded {
		i.logs[log] += n
		i.count += n
	}
	for log, n := range t.bridged {
		i.count -= n
		if i.logs[log] -= n; i.logs[log] <= 0 {
			delete(i.logs, log)
		}
	}
	maps.DeleteFunc(i.wanted, func(h Hash, _ bool) bool { return t.came[h] })
	maps.Copy(i.wanted, t.wanted)
}
