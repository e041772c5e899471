package storage

import "sync"

// gate lets Close wait for the calls that are under way: Pebble must not be
// asked anything once it is closed.
type gate struct {
	mu     sync.RWMutex
	closed bool
}

// enter begins a call; it must not be called twice in one call.
func (s *Store) enter() bool {
	s.gate.mu.RLock()
	if s.gate.closed {
		s.gate.mu.RUnlock()
		return false
	}
	return true
}

func (s *Store) leave() { s.gate.mu.RUnlock() }
