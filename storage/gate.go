package storage

import (
	"sync"
	"sync/atomic"
)

// gate lets Close wait for the calls that are under way: Pebble must not be
// asked anything once it is closed.
type gate struct {
	calls atomic.Int64  // under way, plus gateClosed once Close has begun
	idle  chan struct{} // told when the last one has left
	mu    sync.Mutex    // held while Close runs
}

const gateClosed = 1 << 62

func (g *gate) init() { g.idle = make(chan struct{}, 1) }

// enter begins a call. A call inside another one, such as a read in a function
// given to Range, is turned away once Close waits; it never waits itself.
func (s *Store) enter() bool {
	if s.gate.calls.Add(1) > gateClosed {
		s.leave()
		return false
	}
	return true
}

func (s *Store) leave() {
	if s.gate.calls.Add(-1) == gateClosed {
		select {
		case s.gate.idle <- struct{}{}:
		default:
		}
	}
}

// shut turns new calls away and waits for those under way.
func (g *gate) shut() {
	g.calls.Add(gateClosed)
	for g.calls.Load() != gateClosed {
		<-g.idle
	}
}
