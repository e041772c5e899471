package storage

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

const keyState = 0x0b // name → value: what other packages keep here

// State is a named value that another package keeps in the store.
type State struct {
	Name  string
	Value []byte // nil: removed
}

// PutState makes values durable, all or none, in one synced batch.
func (s *Store) PutState(values ...State) error {
	if !s.enter() {
		return ErrClosed
	}
	defer s.leave()
	batch := s.db.NewBatch()
	defer batch.Close()
	for _, v := range values {
		key := append([]byte{keyState}, v.Name...)
		var err error
		if v.Value == nil {
			err = batch.Delete(key, nil)
		} else {
			err = batch.Set(key, v.Value, nil)
		}
		if err != nil {
			return fmt.Errorf("keep state %q: %w", v.Name, err)
		}
	}
	if err := batch.Commit(pebble.Sync); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.poison(errors.Join(errors.New("keep state"), err))
	}
	return nil
}

// ReadState returns the values whose names begin with prefix, in order.
func (s *Store) ReadState(prefix string) ([]State, error) {
	if !s.enter() {
		return nil, ErrClosed
	}
	defer s.leave()
	var all []State
	err := s.scan(append([]byte{keyState}, prefix...), func(key, value []byte) error {
		all = append(all, State{prefix + string(key), append([]byte{}, value...)})
		return nil
	})
	return all, err
}
