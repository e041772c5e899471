package storage

import (
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
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
	var waiting []slot
	for window := windowFirst; ; window = min(2*window, windowMost) {
		for len(queue) > 0 && len(waiting) < window {
			c := queue[0]
			waiting = append(waiting, c.at)
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
		if len(waiting) == 0 {
			return nil
		}
		records, err := s.readWindow(waiting)
		if err != nil {
			return err
		}
		waiting = waiting[len(records):]
		for _, r := range records {
			if !fn(r) {
				return nil
			}
		}
	}
}

// cursor stands at one entry of one log. It reads slots ahead.
type cursor struct {
	number     uint32
	next, last uint64 // still to be read
	at         slot
	ahead      []slot
	batch      uint64
}

// load goes to the next entry.
func (c *cursor) load(s *Store) (more bool, err error) {
	if len(c.ahead) == 0 && c.next > c.last {
		return false, nil
	}
	if len(c.ahead) == 0 {
		if c.batch = min(2*c.batch+1, windowMost); c.batch == 1 {
			at, err := s.readSlot(c.number, c.next)
			c.ahead = append(c.ahead, at)
			if err != nil {
				return false, c.gone(err)
			}
		} else if err := c.read(s, min(c.last, c.next+c.batch-1)); err != nil {
			return false, err
		}
		c.next += uint64(len(c.ahead))
	}
	c.at, c.ahead = c.ahead[0], c.ahead[1:]
	return true, nil
}

// read reads the slots from next up to upTo.
func (c *cursor) read(s *Store, upTo uint64) error {
	c.ahead = make([]slot, 0, upTo-c.next+1)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: logKey(nil, c.number, c.next), UpperBound: logKey(nil, c.number, upTo+1)})
	if err != nil {
		return s.corrupt(err)
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var at slot
		if at, err = parseSlot(it.Value()); err == nil && binary.BigEndian.Uint64(it.Key()[5:]) != c.next+uint64(len(c.ahead)) {
			break
		}
		c.ahead = append(c.ahead, at)
	}
	if err = errors.Join(err, s.corrupt(it.Close())); err == nil && c.next+uint64(len(c.ahead)) <= upTo {
		c.next += uint64(len(c.ahead))
		err = c.gone(ErrNotFound)
	}
	return err
}

func (c *cursor) gone(err error) error {
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%w: log entry %d is gone", ErrCorrupt, c.next)
	}
	return err
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
