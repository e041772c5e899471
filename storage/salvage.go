package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// A damaged database is not mended. A new one is made beside it from whatever
// can be read of its files: each commit carries its owner's signature, so what
// is taken over is what was written, whichever file said it and whatever the
// manifest says. What can't be read is pulled from neighbors, since the vector
// ends before it. The damaged database is moved aside and kept.

const (
	sortName  = databaseName + ".sort" // entries of the damaged one, in order
	builtName = databaseName + ".new"
	// salvageBytes is how much is written in one batch.
	salvageBytes = 4 << 20
	// The sorted entries: arrival, path → nothing; and arrival → what the old index said.
	sortArrival = 0x80
	sortIndex   = 0x81
	// readmitName, below keyMeta, begins the keys of nodes that had been admitted
	// before a repair. The next start sees to it that they are.
	readmitName = 'r'
)

// salvaged is what became of a damaged database.
type salvaged struct {
	kept    string              // where the damaged database is kept
	damaged []string            // what could not be read, file by file
	held    map[LogID]uint64    // how far the old vector reached
	nodes   map[NodeID]bool     // whose commits were taken
	small   map[string]rawEntry // entries of few keys: state, uploads
	taken   int                 // commits taken over
	islands int                 // of them, behind something that is gone
	refused int                 // entries that are not what their owner signed
}

// salvage makes a new database of what can be read of the old one.
func (s *Store) salvage(reason string) error {
	s.log.Error("the database is damaged; a new one is made of what can be read, and neighbors are asked for the rest", "why", reason)
	folder, err := s.nextAside()
	if err != nil {
		return err
	}
	if err := s.writeRepair(repair{phase: repairWanted, folder: folder, reason: reason}); err != nil {
		return err
	}
	for _, name := range []string{sortName, builtName} {
		if err := s.fs.RemoveAll(filepath.Join(s.cfg.Dir, name)); err != nil {
			return fmt.Errorf("remove what an unfinished repair has left: %w", err)
		}
	}
	found, err := s.rebuildDatabase()
	if err != nil {
		return fmt.Errorf("repair the database: %w", err)
	}
	if err := s.writeRepair(repair{phase: repairBuilt, folder: folder, reason: reason}); err != nil {
		return err
	}
	for _, what := range found.damaged[:min(len(found.damaged), 20)] {
		s.log.Error("damaged", "what", what)
	}
	found.kept = filepath.Join(s.cfg.Dir, damagedName, folder)
	s.log.Error("the database was repaired; what was damaged is kept", "kept", found.kept,
		"damages", len(found.damaged), "commits", found.taken, "behind_a_gap", found.islands, "invalid", found.refused)
	s.found = found
	s.damage.mended()
	return s.swap(folder, reason, found)
}

// rebuildDatabase fills pebble.new.
func (s *Store) rebuildDatabase() (*salvaged, error) {
	found := &salvaged{held: make(map[LogID]uint64), nodes: make(map[NodeID]bool), small: make(map[string]rawEntry)}
	sorted, err := s.beside(sortName)
	if err != nil {
		return nil, err
	}
	if err := sorted.sortEntries(filepath.Join(s.cfg.Dir, databaseName), found); err != nil {
		return nil, errors.Join(err, sorted.db.Close())
	}
	built, err := s.beside(builtName)
	if err == nil {
		err = built.takeOver(sorted, found)
		err = errors.Join(err, built.db.Close())
	}
	return found, errors.Join(err, sorted.db.Close())
}

// beside opens a database of another name in the same directory.
func (s *Store) beside(name string) (*Store, error) {
	o := &Store{cfg: s.cfg, fs: s.fs, log: s.log, key: s.key, self: s.self}
	o.cache.init()
	o.gate.init()
	o.disk.init(s.fs, s.cfg.Dir)
	o.chunks.init(s.cfg.Dir)
	if err := o.openPebble(name); err != nil {
		return nil, err
	}
	if err := o.loadState(); err != nil {
		return nil, errors.Join(err, o.db.Close())
	}
	return o, nil
}

// sortEntries writes what can be read of the old database's files in order.
func (s *Store) sortEntries(dir string, found *salvaged) error {
	names, err := s.fs.List(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("list %s: %w", dir, err)
	}
	slices.Sort(names)
	batch := s.db.NewBatch()
	defer func() { batch.Close() }()
	flush := func(most int) error {
		if batch.Len() <= most {
			return nil
		}
		if err := batch.Commit(pebble.NoSync); err != nil {
			return s.corrupt(err)
		}
		err := batch.Close()
		batch = s.db.NewBatch()
		return err
	}
	take := func(e rawEntry) error {
		return errors.Join(found.sort(batch, e), flush(salvageBytes))
	}
	for _, name := range names {
		path, read := filepath.Join(dir, name), readTable
		switch {
		case isLog(name):
			read = readLog
		case !isTable(name):
			continue
		}
		damaged, err := read(s.fs, path, take)
		found.damaged = append(found.damaged, damaged...)
		if err != nil {
			return err
		}
	}
	return flush(0)
}

// sort keeps one entry of the old database, if it is one that nothing else says.
func (f *salvaged) sort(batch *pebble.Batch, e rawEntry) error {
	if len(e.key) == 0 {
		return nil
	}
	rest := e.key[1:]
	switch e.key[0] {
	case keyPage:
		if len(rest) < 10 || e.deleted {
			return nil
		}
		if rest[len(rest)-9] == partEntry {
			order := append(append([]byte{sortArrival}, rest[len(rest)-8:]...), rest[:len(rest)-10]...)
			if err := batch.Set(order, nil, nil); err != nil {
				return err
			}
		}
		return batch.Set(e.key, e.value, nil)
	case keyArrival:
		if !e.deleted {
			return batch.Set(append([]byte{sortIndex}, rest...), e.value, nil)
		}
	case keyVector:
		if len(rest) == LogIDSize+20 && len(e.value) >= 32 && Hash(rest[LogIDSize:]).IsZero() {
			log := LogIDFromBytes(rest)
			f.nodes[log.Node] = true
			f.held[log] = max(f.held[log], binary.BigEndian.Uint64(e.value[4:]))
		}
	case keySigner:
		if len(rest) == 64 {
			f.nodes[NodeID(rest[32:])] = true
		}
	case keyState, keyLoose:
		if old, known := f.small[string(e.key)]; !known || e.number >= old.number {
			f.small[string(e.key)] = rawEntry{value: bytes.Clone(e.value), number: e.number, deleted: e.deleted}
		}
	}
	return nil
}

// takeOver puts the sorted commits into a new database, in the order in which
// they once arrived.
func (s *Store) takeOver(sorted *Store, found *salvaged) error {
	t := s.beginSalvage()
	size := 0
	flush := func() error {
		size = 0
		if err := t.applySalvage(); err != nil {
			return err
		}
		t = s.beginSalvage()
		return nil
	}
	err := sorted.scan([]byte{sortArrival}, func(key, _ []byte) error {
		if len(key) < 8 {
			return nil
		}
		r, inert, ok, err := sorted.sortedRecord(binary.BigEndian.Uint64(key), string(key[8:]))
		if err != nil {
			return err
		}
		if !ok {
			found.refused++
			return nil
		}
		island, err := t.salvage(r, inert)
		if err != nil {
			return err
		}
		found.taken++
		found.nodes[r.Log.Node] = true
		if island {
			found.islands++
		}
		if size += stagedSize(r); size > salvageBytes {
			return flush()
		}
		return nil
	})
	if err != nil {
		return errors.Join(err, t.batch.Close())
	}
	err = s.takePool(t.batch, found)
	for node := range found.nodes {
		err = errors.Join(err, t.batch.Set(append([]byte{keyMeta, readmitName}, node[:]...), nil, nil))
	}
	for key, e := range found.small {
		if !e.deleted {
			err = errors.Join(err, t.batch.Set([]byte(key), e.value, nil))
		}
	}
	if err = errors.Join(err, flush(), t.batch.Close()); err != nil {
		return err
	}
	for log, l := range s.mu.logs { // what is beyond is named; the vector has the neighbors asked for it
		if held := found.held[log]; held > l.sequence && s.mu.family[log] == nil {
			found.damaged = append(found.damaged, fmt.Sprintf("log %s: of %d entries, those after %d are not here without a gap", log, held, l.sequence))
		}
	}
	for log, held := range found.held {
		if _, some := s.mu.logs[log]; !some && held > 0 {
			found.damaged = append(found.damaged, fmt.Sprintf("log %s: of %d entries, those after 0 are not here without a gap", log, held))
		}
	}
	return s.corrupt(s.db.Flush())
}

// sortedRecord reads a commit of the old database and checks it. It is not ok
// where a part of it is gone.
func (s *Store) sortedRecord(arrival uint64, path string) (r Record, inert, ok bool, err error) {
	entry, err := s.get(pageKey(nil, path, partEntry, arrival))
	if err != nil {
		return r, false, false, err
	}
	c, err := ParseEntry(entry)
	if err != nil || c.Path != path {
		return r, false, false, nil
	}
	content, err := s.readContent(place{arrival: arrival, path: path})
	if err != nil {
		return r, false, false, err
	}
	if r = (Record{c, content}); c.rebuild(content, s.check.signedBy, &scratch{}) != nil {
		return r, false, false, nil
	}
	if value, err := s.get(binary.BigEndian.AppendUint64([]byte{sortIndex}, arrival)); err == nil {
		if a, err := parseArrived(value); err == nil && a.hash == c.Hash {
			inert = a.inert
		}
	}
	return r, inert, true, nil
}

func (s *Store) beginSalvage() *tx {
	t := s.begin()
	t.slots = make(map[slotKey]slot)
	return t
}

// salvage puts a commit where it stood: next in its log where nothing before it
// is gone, else apart.
func (t *tx) salvage(r Record, inert bool) (island bool, err error) {
	if _, err := t.meta(r.Hash, r.Path); err == nil {
		return false, nil // it is here twice
	} else if !errors.Is(err, ErrNotFound) {
		return false, err
	}
	at, how, _, err := t.find(r)
	if err != nil || how == standsHeld {
		return false, err
	}
	parents, err := t.parents(r.Commit)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return false, err
	}
	if err != nil || how == standsNowhere {
		return true, t.addIsland(r, inert)
	}
	if how == standsForked {
		if at, _, err = t.fork(r, at); errors.Is(err, ErrInvalid) {
			return true, t.addIsland(r, inert)
		} else if err != nil {
			return false, err
		}
	}
	return false, t.add(r.Commit, r.Content, parents, at, false)
}

// applySalvage writes the batch and tells nobody.
func (t *tx) applySalvage() error {
	if err := t.apply(); err != nil {
		return err
	}
	t.s.pub.queue = nil
	err := errors.Join(t.batch.SyncWait(), t.batch.Close())
	if t.then != nil {
		err = errors.Join(err, t.then.batch.SyncWait(), t.then.batch.Close())
	}
	return err
}
