package storage

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
)

// A log whose owner signed two commits for one place is a tree. It is kept as
// branches: runs of commits between two forks, each with a vector entry of its
// own, so that they travel like logs. The trunk keeps the log's name and ends
// before the first fork; any other branch is named after its first commit. The
// names and ends follow from the set of commits alone, so nodes that hold the
// same commits hold the same branches, in whatever order they came.

// branch is one run of a log that forks, or a whole log.
type branch struct {
	of     LogID  // the log as it was signed
	start  uint64 // how many of its sequences come before this run
	first  Hash   // zero for the trunk
	closed bool   // it ends in a fork: what follows is in other branches
}

// Limits of logs whose owner equivocates.
const (
	maxBranches     = 64       // of one log
	maxSplit        = 1 << 20  // commits that one fork moves
	maxForkedAmount = 64 << 20 // bytes taken of one log by one process, once it forks
)

// LogPlace is where a commit stands here: a log or one of its branches, and
// the place in it, from 1.
type LogPlace struct {
	Log      LogID
	Sequence uint64
}

// Split says that a log, or a branch, ends earlier than it did: what came
// after Kept has moved to the branch Into.
type Split struct {
	Log  LogID
	Kept Position
	Into LogID // zero if nothing moved
	Held Position
}

// BranchID names the branch of log that begins with first. Its node is the
// log's, so it belongs to the same origin.
func BranchID(log LogID, first Hash) LogID {
	b := []byte("erwik branch 1\x00")
	b, _ = log.AppendBinary(b)
	sum := sha256.Sum256(append(b, first[:]...))
	return LogID{Node: log.Node, Nonce: binary.BigEndian.Uint64(sum[:])}
}

const branchSize = 32 + 9

// encodeBranch writes the vector entry of a branch.
func encodeBranch(dst []byte, l logState, b branch) []byte {
	dst = binary.BigEndian.AppendUint64(l.encode(dst), b.start)
	if b.closed {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// loadBranch reads the vector entry of a branch.
func (s *Store) loadBranch(log LogID, first Hash, value []byte) error {
	if len(value) != branchSize || value[branchSize-1] > 1 {
		return fmt.Errorf("%w: branch entry of %d bytes", ErrCorrupt, len(value))
	}
	l, err := parseLogState(value[:32])
	id := BranchID(log, first)
	s.mu.logs[id] = l
	s.mu.lognum = max(s.mu.lognum, l.number)
	if len(s.mu.family[log]) == 0 {
		s.mu.family[log] = []LogID{log}
		s.mu.branches[log] = branch{of: log, closed: true}
	}
	s.mu.family[log] = append(s.mu.family[log], id)
	s.mu.branches[id] = branch{of: log, start: binary.BigEndian.Uint64(value[32:]), first: first, closed: value[branchSize-1] == 1}
	s.mu.forked[log] = true
	return err
}

// branch returns what id is, as this batch has changed it.
func (t *tx) branch(id LogID) branch {
	if b, found := t.branches[id]; found {
		return b
	}
	if b, found := t.s.mu.branches[id]; found {
		return b
	}
	return branch{of: id}
}

// family returns the branches of a log, the trunk first; nil for a whole log.
func (t *tx) family(log LogID) []LogID {
	if f, found := t.families[log]; found {
		return f
	}
	return t.s.mu.family[log]
}

func (t *tx) setBranch(id LogID, b branch) {
	if t.branches == nil {
		t.branches, t.families = make(map[LogID]branch), make(map[LogID][]LogID)
	}
	if _, known := t.branches[id]; !known {
		if _, known = t.s.mu.branches[id]; !known {
			f := t.family(b.of)
			t.families[b.of] = append(f[:len(f):len(f)], id)
		}
	}
	t.branches[id] = b
}

type slotKey struct {
	number   uint32
	sequence uint64
}

// slot reads a place of a log as this batch has filled it.
func (t *tx) slot(number uint32, sequence uint64) (slot, error) {
	if at, found := t.slots[slotKey{number, sequence}]; found {
		return at, nil
	}
	return t.s.readSlot(number, sequence)
}

// standing is the outcome of find.
type standing int

const (
	standsNowhere standing = iota // its predecessor is not here
	standsHeld                    // it is here already, perhaps staged
	standsNext                    // it continues a branch
	standsForked                  // it begins another branch after a place that is held
)

// find looks for the place of a received commit. For standsForked at is the
// place after which it begins. twin reports that another commit is held in its
// place.
func (t *tx) find(r Record) (at LogPlace, how standing, twin bool, err error) {
	family := t.family(r.Log)
	if family == nil {
		family = []LogID{r.Log}
	}
	st := &t.s.mu.staging
	for _, id := range family {
		b := t.branch(id)
		l, _ := t.logState(id)
		if r.Sequence <= b.start {
			continue
		}
		k := r.Sequence - b.start
		waiting := st.logs[id]
		switch last := l.sequence + uint64(len(waiting)); {
		case k <= l.sequence:
			held, err := t.slot(l.number, k)
			if err != nil {
				return at, how, false, err
			}
			if held.hash == r.Hash {
				return LogPlace{id, k}, standsHeld, false, nil
			}
			twin = true
		case k <= last:
			if waiting[k-l.sequence-1].Hash == r.Hash {
				return LogPlace{id, k}, standsHeld, false, nil
			}
			twin = true
		case k == last+1 && !b.closed:
			previous := l.tip
			if len(waiting) > 0 {
				previous = waiting[len(waiting)-1].Hash
			}
			if r.Previous == previous {
				return LogPlace{id, k}, standsNext, false, nil
			}
		}
	}
	for _, id := range family {
		b := t.branch(id)
		l, _ := t.logState(id)
		if r.Sequence <= b.start || r.Sequence-b.start > l.sequence+1 || r.Sequence == b.start+1 && b.start > 0 {
			continue // the end of a branch is before, not in, what follows it
		}
		k := r.Sequence - b.start - 1
		if k == l.sequence && !b.closed {
			continue
		}
		var held slot
		if k > 0 {
			if held, err = t.slot(l.number, k); err != nil {
				return at, how, twin, err
			}
		}
		if held.hash == r.Previous {
			return LogPlace{id, k}, standsForked, true, nil
		}
	}
	return at, standsNowhere, twin, nil
}

// fork makes a branch for r after a place that is held, and the record its
// first commit.
func (t *tx) fork(r Record, after LogPlace) (LogPlace, *Split, error) {
	if len(t.family(r.Log)) >= maxBranches {
		return LogPlace{}, nil, fmt.Errorf("%w: log %s has %d branches", ErrInvalid, r.Log, maxBranches)
	}
	split, err := t.split(after)
	if err != nil {
		return LogPlace{}, nil, err
	}
	id := BranchID(r.Log, r.Hash)
	if _, taken := t.logState(id); taken {
		return LogPlace{}, nil, fmt.Errorf("%w: branch %s exists", ErrInvalid, id)
	}
	t.setBranch(id, branch{of: r.Log, start: r.Sequence - 1, first: r.Hash})
	return LogPlace{id, 1}, split, nil
}

// split ends a branch after a place; what follows becomes a branch.
func (t *tx) split(after LogPlace) (*Split, error) {
	b := t.branch(after.Log)
	l, _ := t.logState(after.Log)
	if after.Sequence == l.sequence {
		return nil, nil // it ended there before
	}
	moved := l.sequence - after.Sequence
	if moved > maxSplit {
		return nil, fmt.Errorf("%w: a fork %d commits back", ErrInvalid, moved)
	}
	t.lognum++
	tail := logState{number: t.lognum, sequence: moved, tip: l.tip}
	var first Hash
	var key, value [64]byte
	for i := uint64(1); i <= moved; i++ {
		at, err := t.slot(l.number, after.Sequence+i)
		if err != nil {
			return nil, err
		}
		if i == 1 {
			first = at.hash
		}
		t.slots[slotKey{tail.number, i}] = at
		err = errors.Join(
			t.batch.Set(logKey(key[:0], tail.number, i), at.encode(value[:0]), nil),
			t.batch.Delete(logKey(value[:0], l.number, after.Sequence+i), nil))
		if err != nil {
			return nil, fmt.Errorf("split log %s: %w", after.Log, err)
		}
	}
	kept := logState{number: l.number, sequence: after.Sequence}
	if kept.sequence > 0 {
		at, err := t.slot(l.number, kept.sequence)
		if err != nil {
			return nil, err
		}
		kept.tip = at.hash
	}
	into := BranchID(b.of, first)
	if _, taken := t.logState(into); taken {
		return nil, fmt.Errorf("%w: branch %s exists", ErrInvalid, into)
	}
	t.setBranch(after.Log, branch{of: b.of, start: b.start, first: b.first, closed: true})
	t.setBranch(into, branch{of: b.of, start: b.start + kept.sequence, first: first, closed: b.closed})
	t.logs[after.Log], t.logs[into] = kept, tail
	for st := &t.s.mu.staging; len(st.logs[after.Log]) > 0; {
		st.pop(after.Log) // pulled again, into the branch where it belongs
	}
	return &Split{
		Log: after.Log, Kept: Position{kept.sequence, kept.tip, true},
		Into: into, Held: Position{tail.sequence, tail.tip, b.closed},
	}, nil
}

// applyBranches takes over what the batch made of branches.
func (t *tx) applyBranches() {
	mu := &t.s.mu
	maps.Copy(mu.branches, t.branches)
	maps.Copy(mu.family, t.families)
	if len(t.branches) > 0 {
		t.s.cache.forgetPlaces()
	}
	if mu.branches[mu.own].closed {
		mu.own = LogID{} // a restored memory image, or a misused key: never write there again
	}
}

// Place returns where a visible commit stands here.
func (s *Store) Place(c *Commit) (LogPlace, error) {
	if !s.enter() {
		return LogPlace{}, ErrClosed
	}
	defer s.leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range s.mu.family[c.Log] {
		b, l := s.mu.branches[id], s.mu.logs[id]
		if c.Sequence <= b.start || c.Sequence-b.start > l.sequence {
			continue
		}
		at, err := s.readSlot(l.number, c.Sequence-b.start)
		if err != nil {
			return LogPlace{}, err
		}
		if at.hash == c.Hash {
			return LogPlace{id, c.Sequence - b.start}, nil
		}
	}
	return LogPlace{c.Log, c.Sequence}, nil
}
