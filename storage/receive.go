package storage

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
)

// Received tells what became of the records of one Receive.
type Received struct {
	Accepted int            // new and visible
	Known    int            // held already
	Staged   int            // valid, waiting for a parent
	Refused  map[string]int // by reason: see the Refused constants
	First    error          // why the first one was refused
	Missing  []Hash         // parents that staged commits wait for, at most 64
}

// The reasons for which Receive refuses a record.
const (
	RefusedSignature    = "signature"    // the bytes are not what the log's owner signed, or break a maximum
	RefusedSigner       = "signer"       // the log's owner is not admitted
	RefusedChain        = "chain"        // not the next of its log, or not its successor
	RefusedEquivocation = "equivocation" // the log's owner signed two commits for one sequence
	RefusedStaging      = "staging"      // no room to wait for a parent
)

// Receive takes commits that arrived from elsewhere: each is rebuilt and
// verified, and those that are next in their logs and whose parents are visible
// are written in one synced batch. Records are best in an order in which
// parents come first. Receiving a commit twice changes nothing.
//
// An error means that the store can't write; a refused record is no error.
func (s *Store) Receive(ctx context.Context, records []Record) (Received, error) {
	var result Received
	if err := ctx.Err(); err != nil {
		return result, fmt.Errorf("receive: %w", err)
	}
	size := 0
	for _, r := range records {
		size += stagedSize(r)
	}
	if len(records) > maxBatchDrafts || size > maxBatchBytes {
		return result, fmt.Errorf("%w: %d records of %d bytes in one batch", ErrTooLarge, len(records), size)
	}
	if err := s.disk.take(s.cfg.Clock(), 2*size); err != nil {
		return result, err
	}
	if !s.enter() {
		return result, ErrClosed
	}
	defer s.leave()
	fresh := s.verify(records, &result)
	if len(fresh) == 0 {
		return result, nil
	}
	t, err := s.integrate(fresh, &result)
	if err != nil || t == nil {
		return result, err
	}
	return result, t.finish()
}

// rebuildAs completes the record and compares it with the hash that it came
// under, if any.
func (r Record) rebuildAs(announced Hash) error {
	if err := r.rebuild(r.Content); err != nil {
		return err
	}
	if !announced.IsZero() && announced != r.Hash {
		return fmt.Errorf("%w: commit %s came as %s", ErrInvalid, r.Hash, announced)
	}
	return nil
}

func (r *Received) refuse(reason string, err error) {
	if r.Refused == nil {
		r.Refused = make(map[string]int)
		r.First = fmt.Errorf("%s: %w", reason, err)
	}
	r.Refused[reason]++
}

// verify drops what is of an unknown signer before anything is computed, then
// rebuilds the others, on all cores if there are many.
func (s *Store) verify(records []Record, result *Received) []Record {
	faults := make([]error, len(records))
	s.unknownSigners(records, faults)
	var wg sync.WaitGroup
	workers := min(runtime.GOMAXPROCS(0), 1+len(records)/8)
	for w := range workers {
		work := func() {
			for i := w; i < len(records); i += workers {
				if faults[i] == nil {
					faults[i] = records[i].rebuildAs(records[i].Hash)
				}
			}
		}
		if w == workers-1 {
			work()
		} else {
			wg.Go(work)
		}
	}
	wg.Wait()
	good := make([]Record, 0, len(records))
	for i, r := range records {
		switch {
		case errors.Is(faults[i], errSigner):
			result.refuse(RefusedSigner, faults[i])
		case faults[i] != nil:
			result.refuse(RefusedSignature, faults[i])
		default:
			good = append(good, r)
		}
	}
	return good
}

var errSigner = errors.New("storage: the log's node is not admitted")

// unknownSigners marks records of nodes that are neither admitted nor named by
// an admission among the records themselves.
func (s *Store) unknownSigners(records []Record, faults []error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var named map[string]bool
	for i, r := range records {
		if s.mu.signers.trusted[r.Log.Node] {
			continue
		}
		if named == nil {
			named = make(map[string]bool)
			for _, other := range records {
				if other.Kind == KindAdmit {
					named[other.Path] = true
				}
			}
		}
		if !named[SignerPrefix+r.Log.Node.String()] {
			faults[i] = fmt.Errorf("%w: %s", errSigner, r.Log.Node)
		}
	}
}

// integrate puts the verified records where they belong. It returns nil when
// nothing became visible.
func (s *Store) integrate(records []Record, result *Received) (*tx, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.failed != nil {
		return nil, s.mu.failed
	}
	t := s.begin()
	for _, r := range records {
		if err := t.receive(r, result); err != nil {
			t.batch.Close()
			return nil, err
		}
	}
	if result.Accepted > 0 && s.mu.staging.count > 0 {
		if err := t.promote(result); err != nil {
			t.batch.Close()
			return nil, err
		}
	}
	if len(t.out) == 0 && t.batch.Empty() {
		return nil, t.batch.Close()
	}
	return t, t.apply()
}

// trusted reports whether the node is admitted, counting what this batch adds.
func (t *tx) trusted(node NodeID) bool {
	if t.s.mu.signers.trusted[node] {
		return true
	}
	for _, a := range t.admitted {
		if a.node == node {
			return t.trusted(a.sponsor)
		}
	}
	return false
}

func (t *tx) receive(r Record, result *Received) error {
	st := &t.s.mu.staging
	if !t.trusted(r.Log.Node) {
		result.refuse(RefusedSigner, fmt.Errorf("%w: %s", errSigner, r.Log.Node))
		return nil
	}
	tip, _ := t.logState(r.Log)
	if r.Sequence <= tip.sequence {
		return t.receiveOld(r, tip, result)
	}
	if t.s.mu.forked[r.Log] {
		result.refuse(RefusedEquivocation, fmt.Errorf("%w: log %s is frozen", ErrInvalid, r.Log))
		return nil
	}
	sequence, previous := st.next(r.Log, tip)
	switch {
	case r.Sequence < sequence:
		result.Known++ // staged
		return nil
	case r.Sequence > sequence || r.Previous != previous:
		result.refuse(RefusedChain, fmt.Errorf("%w: log %s: got sequence %d after %s, want %d after %s",
			ErrInvalid, r.Log, r.Sequence, r.Previous, sequence, previous))
		return nil
	}
	if len(st.logs[r.Log]) == 0 {
		parents, err := t.parents(r.Commit)
		if err == nil {
			result.Accepted++
			return t.add(r.Commit, r.Content, parents, false)
		}
		if !errors.Is(err, ErrNotFound) {
			return err
		}
		t.missing(r.Commit, result)
	}
	if err := st.push(r); err != nil {
		result.refuse(RefusedStaging, err)
		return nil
	}
	result.Staged++
	return nil
}

// missing notes which parents a staged commit waits for.
func (t *tx) missing(c *Commit, result *Received) {
	for _, p := range c.Parents {
		if _, err := t.meta(p, c.Path); errors.Is(err, ErrNotFound) && len(result.Missing) < 64 {
			result.Missing = append(result.Missing, p)
		}
	}
}

// receiveOld tells a commit that is held already from a second one for the
// same sequence, which proves that the owner equivocates. The proof is kept
// and the log frozen.
func (t *tx) receiveOld(r Record, tip logState, result *Received) error {
	held := tip.tip
	if r.Sequence < tip.sequence {
		at, err := t.s.readSlot(tip.number, r.Sequence)
		if errors.Is(err, ErrNotFound) {
			result.Known++ // of this batch
			return nil
		}
		if err != nil {
			return err
		}
		held = at.hash
	}
	if held == r.Hash {
		result.Known++
		return nil
	}
	err := fmt.Errorf("%w: log %s has two commits with sequence %d: %s and %s", ErrInvalid, r.Log, r.Sequence, held, r.Hash)
	result.refuse(RefusedEquivocation, err)
	if t.s.mu.forked[r.Log] {
		return nil
	}
	t.s.log.Error("a node equivocates; its log is frozen here", "node", r.Log.Node.String(), "log", r.Log.String(), "sequence", r.Sequence, "held", held.String(), "other", r.Hash.String())
	t.s.mu.forked[r.Log] = true
	proof := append(appendBytes(nil, string(r.AppendEntry(nil))), r.Content...)
	return t.batch.Set(forkKey(nil, r.Log, r.Sequence, r.Hash), proof, nil)
}

// promote makes staged commits visible whose parents have come, until there
// is no such one left.
func (t *tx) promote(result *Received) error {
	st := &t.s.mu.staging
	for progress := true; progress; {
		progress = false
		for _, id := range st.ids() {
			for len(st.logs[id]) > 0 {
				r := st.logs[id][0]
				parents, err := t.parents(r.Commit)
				if errors.Is(err, ErrNotFound) {
					break
				}
				if err != nil {
					return err
				}
				st.pop(id)
				if err := t.add(r.Commit, r.Content, parents, false); err != nil {
					return err
				}
				result.Accepted++
				progress = true
			}
		}
	}
	return nil
}
