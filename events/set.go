package events

import (
	"iter"
	"math/bits"
)

// Set is a set of nodes by their slot, a small number that a node has in one
// process. It is a value: it is copied, compared and used as a map key.
type Set [MaxPool / 64]uint64

// Add puts slot i in.
func (s *Set) Add(i int) { s[i/64] |= 1 << (i % 64) }

// Remove takes slot i out.
func (s *Set) Remove(i int) { s[i/64] &^= 1 << (i % 64) }

// Has reports whether slot i is in.
func (s *Set) Has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }

// AddAll puts in every slot of o.
func (s *Set) AddAll(o *Set) {
	for i := range s {
		s[i] |= o[i]
	}
}

// RemoveAll takes out every slot of o.
func (s *Set) RemoveAll(o *Set) {
	for i := range s {
		s[i] &^= o[i]
	}
}

// KeepAll takes out every slot that o does not have.
func (s *Set) KeepAll(o *Set) {
	for i := range s {
		s[i] &= o[i]
	}
}

// Empty reports whether no slot is in.
func (s *Set) Empty() bool { return *s == Set{} }

// Len is the number of slots in.
func (s *Set) Len() (n int) {
	for i := range s {
		n += bits.OnesCount64(s[i])
	}
	return n
}

// All yields the slots in ascending order, of the set as it was at the start.
func (s Set) All() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i, word := range s {
			for word != 0 {
				at := bits.TrailingZeros64(word)
				if !yield(i*64 + at) {
					return
				}
				word &= word - 1
			}
		}
	}
}
