package storage

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// A window is what Range reads at once: commits lie by page, and are asked for
// in the order of their arrival, so each block of the database would be read
// and unpacked again for nearly every commit. A window grows from windowFirst
// to windowMost commits and holds at most windowBytes of texts, or one text.
const (
	windowFirst = 2
	windowMost  = 4096
	windowBytes = 8 << 20
)

// placed is a commit of a window.
type placed struct {
	slot
	path     string
	position int // in the order of arrival
	record   Record
}

// readWindow reads the records of as many of the slots, from the first one on,
// as fit into a window; at least one.
func (s *Store) readWindow(slots []slot) ([]Record, error) {
	if len(slots) <= windowFirst {
		return s.readOne(slots)
	}
	window := make([]placed, len(slots))
	// Where a log went on over an island, its entries are not in the order of arrival.
	first := slices.MinFunc(slots, func(a, b slot) int { return cmp.Compare(a.arrival, b.arrival) }).arrival
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: arrivalKey(nil, first), UpperBound: []byte{keyArrival + 1}})
	if err != nil {
		return nil, s.corrupt(err)
	}
	var key [16]byte
	for i := range slots {
		window[i] = placed{slot: slots[i], position: i}
		if !it.SeekGE(arrivalKey(key[:0], slots[i].arrival)) || binary.BigEndian.Uint64(it.Key()[1:]) != slots[i].arrival {
			return nil, errors.Join(fmt.Errorf("%w: arrival %d is gone", ErrCorrupt, slots[i].arrival), it.Close())
		}
		a, err := parseArrived(it.Value())
		if err != nil {
			return nil, errors.Join(err, it.Close())
		}
		window[i].path = a.path
	}
	if err := it.Close(); err != nil {
		return nil, s.corrupt(err)
	}
	slices.SortFunc(window, func(a, b placed) int {
		if c := cmp.Compare(a.path, b.path); c != 0 {
			return c
		}
		return cmp.Compare(a.arrival, b.arrival)
	})
	fit, err := s.readPlaced(window)
	if err != nil {
		return nil, err
	}
	records := make([]Record, fit)
	for i := range window {
		if w := &window[i]; w.position < fit {
			records[w.position] = w.record
		}
	}
	return records, nil
}

// readOne reads few records, each by its keys.
func (s *Store) readOne(slots []slot) ([]Record, error) {
	records := make([]Record, len(slots))
	for i, at := range slots {
		value, err := s.get(arrivalKey(make([]byte, 0, 16), at.arrival))
		if err != nil {
			return nil, fmt.Errorf("read arrival %d: %w", at.arrival, err)
		}
		a, err := parseArrived(value)
		if err != nil {
			return nil, err
		}
		if records[i], err = s.readRecord(place{arrival: at.arrival, path: a.path}); err != nil {
			return nil, fmt.Errorf("read arrival %d: %w", at.arrival, err)
		}
		records[i].Hash = at.hash
		if i == 0 && len(records[0].Content) > windowBytes {
			return records[:1], nil
		}
	}
	return records, nil
}

// readPlaced reads the records of a window that is sorted as the database is,
// and returns how many of its first positions fit.
func (s *Store) readPlaced(window []placed) (fit int, err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{keyPage}, UpperBound: []byte{keyPage + 1}})
	if err != nil {
		return 0, s.corrupt(err)
	}
	defer func() { err = errors.Join(err, s.corrupt(it.Close())) }()
	fit = len(window)
	size, bases := 0, 0
	var key []byte
	for from := 0; from < len(window); {
		to := from + 1
		for to < len(window) && window[to].path == window[from].path {
			to++
		}
		page := window[from:to]
		from = to
		for i := range page {
			w := &page[i]
			key = pageKey(key[:0], w.path, partEntry, w.arrival)
			if !it.SeekGE(key) || string(it.Key()) != string(key) {
				return 0, errors.Join(it.Error(), fmt.Errorf("%w: log entry %d of %.100q is gone", ErrCorrupt, w.arrival, w.path))
			}
			if w.record.Commit, err = ParseEntry(it.Value()); err != nil {
				return 0, err
			}
			w.record.Hash = w.hash
		}
		for i := range page {
			w := &page[i]
			if w.position >= fit {
				continue
			}
			key = pageKey(key[:0], w.path, partContent, w.arrival)
			if !it.SeekGE(key) || string(it.Key()) != string(key) {
				continue // a delete, or an empty page
			}
			w.record.Content = append([]byte(nil), it.Value()...)
			if size += len(w.record.Content); size > windowBytes {
				fit, size = shrink(window, fit)
			}
		}
		if bases < windowBytes {
			n, err := s.readBases(it, page)
			if bases += n; err != nil {
				return 0, err
			}
		}
	}
	return fit, it.Error()
}

// readBases reads, into the cache, the texts of parents that are not in the
// window themselves: whoever sends a commit asks for them next. They lie near.
func (s *Store) readBases(it *pebble.Iterator, page []placed) (size int, err error) {
	for i := range page {
		for _, parent := range page[i].record.Parents {
			if slices.ContainsFunc(page, func(w placed) bool { return w.hash == parent }) {
				continue
			}
			if _, found := s.cache.getContent(parent); found {
				continue
			}
			at, err := s.readPlace(parent)
			if err != nil {
				return size, fmt.Errorf("read parent %s of %.100q: %w", parent, page[i].path, err)
			}
			key := pageKey(nil, at.path, partContent, at.arrival)
			if it.SeekGE(key) && string(it.Key()) == string(key) {
				content := append([]byte(nil), it.Value()...)
				s.cache.fillContent(parent, content)
				size += len(content)
			}
		}
	}
	return size, nil
}

// shrink lets the texts of the last positions go until half of what a window
// may hold is left, or one; it returns how many positions fit then, and their size.
func shrink(window []placed, fit int) (now, size int) {
	at := make([]*placed, fit)
	for i := range window {
		if w := &window[i]; w.position < fit {
			at[w.position] = w
		}
	}
	for now < fit && (now == 0 || size+len(at[now].record.Content) <= windowBytes/2) {
		size += len(at[now].record.Content)
		now++
	}
	for _, w := range at[now:] {
		w.record.Content = nil
	}
	return now, size
}
