package storage

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
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
	Forks    int            // accepted commits that prove equivocation
	Broken   []LogID        // logs that are otherwise where this came from: an earlier part tells where they fork
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
	s.active()
	fresh := s.verify(s.unheld(records, &result), &result)
	if len(fresh) == 0 {
		return result, nil
	}
	if len(fresh) >= spareFrom {
		s.spare.hold()
	}
	t, err := s.integrate(fresh, &result)
	if err != nil || t == nil {
		return result, err
	}
	if err := t.finish(); err != nil || result.Accepted == 0 {
		return result, err
	}
	return result, s.bridgeRest()
}

// rebuildAs completes the record and compares it with the hash that it came
// under, if any.
func (r Record) rebuildAs(announced Hash, signed signedBy, room *scratch) error {
	if err := r.rebuild(r.Content, signed, room); err != nil {
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

// unheld drops what is here already under the hash that it came with: looking a
// hash up costs a hundredth of checking a signature.
func (s *Store) unheld(records []Record, result *Received) []Record {
	held := func(r Record) bool {
		if s.Position(r.Log).Sequence < r.Sequence {
			return false
		}
		p, err := s.readPlace(r.Hash)
		return err == nil && !p.inert
	}
	if !slices.ContainsFunc(records, held) {
		return records
	}
	rest := make([]Record, 0, len(records))
	for _, r := range records {
		if held(r) {
			result.Known++
		} else {
			rest = append(rest, r)
		}
	}
	return rest
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
			var room scratch
			for i := w; i < len(records); i += workers {
				if faults[i] == nil {
					faults[i] = records[i].rebuildAs(records[i].Hash, s.check.signedBy, &room)
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
	t := s.beginMany(records)
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
	if !t.trusted(r.Log.Node) {
		result.refuse(RefusedSigner, fmt.Errorf("%w: %s", errSigner, r.Log.Node))
		return nil
	}
	at, how, twin, err := t.find(r)
	if err != nil {
		return err
	}
	if twin {
		t.equivocates(r)
	}
	switch how {
	case standsHeld:
		result.Known++
		return nil
	case standsNowhere:
		result.broken(r.Log)
		reason := RefusedChain
		if twin {
			reason = RefusedEquivocation
		}
		result.refuse(reason, fmt.Errorf("%w: log %s: %s stands for sequence %d, and its predecessor %s is not here", ErrInvalid, r.Log, r.Hash, r.Sequence, r.Previous))
		return nil
	}
	if t.s.mu.forked[r.Log] {
		if t.s.mu.taken[r.Log] += stagedSize(r); t.s.mu.taken[r.Log] > maxForkedAmount {
			result.refuse(RefusedEquivocation, fmt.Errorf("%w: enough of log %s, whose owner equivocates", ErrInvalid, r.Log))
			return nil
		}
	}
	if len(t.s.mu.staging.logs[at.Log]) > 0 && how == standsNext {
		return t.stage(r, at, result)
	}
	parents, err := t.parents(r.Commit)
	if errors.Is(err, ErrNotFound) {
		t.missing(r.Commit, result)
		if how == standsNext {
			return t.stage(r, at, result)
		}
		result.refuse(RefusedChain, fmt.Errorf("%w: log %s: the first commit of a branch came before its parents", ErrInvalid, r.Log))
		return nil
	}
	if err != nil {
		return err
	}
	var split *Split
	if how == standsForked {
		if at, split, err = t.fork(r, at); errors.Is(err, ErrInvalid) {
			result.refuse(RefusedEquivocation, err)
			return nil
		}
		if err != nil {
			return err
		}
		result.Forks++
	}
	result.Accepted++
	if err := t.put(r, parents, at); err != nil {
		return err
	}
	t.out[len(t.out)-1].Split = split
	return nil
}

func (t *tx) stage(r Record, at LogPlace, result *Received) error {
	if err := t.s.mu.staging.push(at.Log, r); err != nil {
		result.refuse(RefusedStaging, err)
		return nil
	}
	result.Staged++
	return nil
}

func (r *Received) broken(log LogID) {
	if !slices.Contains(r.Broken, log) && len(r.Broken) < 16 {
		r.Broken = append(r.Broken, log)
	}
}

// equivocates raises the alarm: the owner of a log signed two commits for one
// place.
func (t *tx) equivocates(r Record) {
	if !t.s.mu.forked[r.Log] {
		t.s.mu.forked[r.Log] = true
		t.s.log.Error("a node equivocates: it signed two commits for one place of its log", "node", r.Log.Node.String(), "log", r.Log.String(), "sequence", r.Sequence, "commit", r.Hash.String())
	}
}

// missing notes which parents a staged commit waits for.
func (t *tx) missing(c *Commit, result *Received) {
	for _, p := range c.Parents {
		if _, err := t.meta(p, c.Path); errors.Is(err, ErrNotFound) && len(result.Missing) < 64 {
			result.Missing = append(result.Missing, p)
		}
	}
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
				if err := t.put(r, parents, LogPlace{id, r.Sequence - t.branch(id).start}); err != nil {
					return err
				}
				result.Accepted++
				progress = true
			}
		}
	}
	return nil
}
