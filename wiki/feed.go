package wiki

import (
	"sync"
	"sync/atomic"
)

// Event is a notice for live readers, ready to be sent. Its texts hold no
// newline.
type Event interface {
	Name() string   // commit, new_neighbor, dead_neighbor
	JSON() []byte   // must not be modified
	Erlang() []byte // the same as an Erlang term
}

// Feed hands each event to all live readers. Its zero value is not ready; make
// one with [NewFeed]. Its methods may be called concurrently.
type Feed struct {
	mu      sync.RWMutex // guards readers and closed
	readers map[*feedReader]struct{}
	closed  bool
	done    chan struct{} // closed by Close
}

// feedReader is one live reader.
type feedReader struct {
	events  chan Event
	dropped atomic.Uint64 // since the reader was last told
}

// NewFeed returns a feed without readers.
func NewFeed() *Feed {
	return &Feed{readers: map[*feedReader]struct{}{}, done: make(chan struct{})}
}

// Publish hands e to all readers and never blocks.
func (f *Feed) Publish(e Event) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for r := range f.readers {
		select {
		case r.events <- e:
		default:
			r.dropped.Add(1)
		}
	}
}

// Close ends all streams and refuses new ones.
func (f *Feed) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.closed = true
		close(f.done)
	}
}

// Readers returns how many there are.
func (f *Feed) Readers() int {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return len(f.readers)
}

// subscribe adds a reader; false if the feed is closed or full.
func (f *Feed) subscribe() (*feedReader, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || len(f.readers) >= maxReaders {
		return nil, false
	}
	r := &feedReader{events: make(chan Event, feedBuffer)}
	f.readers[r] = struct{}{}
	return r, true
}

func (f *Feed) unsubscribe(r *feedReader) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.readers, r)
}
