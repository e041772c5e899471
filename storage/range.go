package storage

import (
	"container/heap"
	"errors"
	"fmt"
)

// Span asks for the commits of one log after a sequence, up to another.
type Span struct {
	Log   LogID
	After uint64
	UpTo  uint64 // 0: as far as the log reaches here
}

// Range calls fn with the durable commits of the given spans, in the order in
// which they arrived here, so that parents come before children. It ends when
// fn returns false or when all have been given. A span of a log that is not
// here gives nothing.
func (s *Store) Range(spans []Span, fn func(Record) (more bool)) error {
	if !s.enter() {
		return ErrClosed
	}
	defer s.leave()
	var queue cursorHeap
	for _, span := range spans {
		s.mu.Lock()
		l, found := s.mu.logs[span.Log]
		s.mu.Unlock()
		if !found {
			continue
		}
		if reach := s.Position(span.Log).Sequence; span.UpTo == 0 || span.UpTo > reach {
			span.UpTo = reach
		}
		c := &cursor{number: l.number, next: span.After + 1, last: span.UpTo}
		more, err := c.load(s)
		if err != nil {
			return err
		}
		if more {
			queue = append(queue, c)
		}
	}
	heap.Init(&queue)
	for len(queue) > 0 {
		c := queue[0]
		r, err := s.readArrival(c.at)
		if err != nil {
			return fmt.Errorf("read log entry %d: %w", c.next, err)
		}
		if !fn(r) {
			return nil
		}
		c.next++
		more, err := c.load(s)
		if err != nil {
			return err
		}
		if more {
			heap.Fix(&queue, 0)
		} else {
			heap.Pop(&queue)
		}
	}
	return nil
}

func (s *Store) readArrival(at slot) (Record, error) {
	value, err := s.get(arrivalKey(make([]byte, 0, 16), at.arrival))
	if err != nil {
		return Record{}, err
	}
	a, err := parseArrived(value)
	if err != nil {
		return Record{}, err
	}
	r, err := s.readRecord(place{arrival: at.arrival, path: a.path})
	if err != nil {
		return Record{}, err
	}
	r.Hash = at.hash
	return r, nil
}

// cursor stands at one entry of one log.
type cursor struct {
	number     uint32
	next, last uint64
	at         slot
}

func (c *cursor) load(s *Store) (more bool, err error) {
	if c.next > c.last {
		return false, nil
	}
	c.at, err = s.readSlot(c.number, c.next)
	if errors.Is(err, ErrNotFound) {
		return false, fmt.Errorf("%w: log entry %d is gone", ErrCorrupt, c.next)
	}
	return err == nil, err
}

// cursorHeap orders cursors by the arrival of the entry they stand at.
type cursorHeap []*cursor

func (h cursorHeap) Len() int           { return len(h) }
func (h cursorHeap) Less(i, j int) bool { return h[i].at.arrival < h[j].at.arrival }
func (h cursorHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *cursorHeap) Push(x any)        { *h = append(*h, x.(*cursor)) }
func (h *cursorHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
