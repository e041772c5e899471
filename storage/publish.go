package storage

import (
	"maps"
	"slices"
	"sync"
)

// Committed is a commit that became visible on this node.
type Committed struct {
	*Commit
	Content []byte   // do not modify
	At      LogPlace // its log and sequence, but for logs whose owner equivocates
	Split   *Split   // how branches were cut just before it; nil nearly always
	Arrival uint64   // local order; parents always come before
	Heads   []Head   // of its path, after it
	Own     bool     // saved here
	Inert   bool     // kept and forwarded, but it changes no page

	// Judged says that what counts may have changed with this commit: nodes were
	// banned, or admitted while there are bans. Moved are the paths whose heads
	// moved with that.
	Judged bool
	Moved  []PathHeads
}

// publisher hands on what the disk has confirmed, in the order of arrival.
type publisher struct {
	mu        sync.Mutex
	queue     []pending // applied, waiting for the sync
	counters  counters
	vector    map[LogID]Position
	watchers  []*watcher
	regressed mark
}

type pending struct {
	commits  []Committed
	counters counters
}

type watcher struct{ fn func([]Committed) }

// Position is how far a log reaches here: its highest durable sequence and
// that commit's hash.
type Position struct {
	Sequence uint64
	Tip      Hash
	Closed   bool // it ends in a fork; what follows is in branches
}

func (p *publisher) init(s *Store) {
	p.counters = s.mu.counters
	p.vector = make(map[LogID]Position, len(s.mu.logs))
	for id, l := range s.mu.logs {
		p.vector[id] = Position{l.sequence, l.tip, s.mu.branches[id].closed}
	}
}

// enqueue is called under Store.mu, so the queue is in the order of arrival. A
// batch that makes nothing visible is nobody's news.
func (p *publisher) enqueue(commits []Committed, c counters) {
	if len(commits) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = append(p.queue, pending{commits, c})
}

// publish tells the watchers of everything that arrived up to and including
// arrival: a batch is durable once any later one is, since all share one
// write-ahead log. When it returns, all of that has been told.
func (s *Store) publish(arrival uint64) {
	p := &s.pub
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.queue) > 0 && p.queue[0].counters.arrival <= arrival {
		batch := p.queue[0]
		p.queue[0] = pending{}
		p.queue = p.queue[1:]
		p.counters = batch.counters
		var own *Commit
		for _, c := range batch.commits {
			if c.Split != nil {
				p.vector[c.Split.Log], p.vector[c.Split.Into] = c.Split.Kept, c.Split.Held
			}
			p.vector[c.At.Log] = Position{c.At.Sequence, c.Hash, false}
			if c.Own {
				own = c.Commit
			}
		}
		if own != nil && p.regressed.log.IsZero() { // else the old mark is the proof of what is missing
			if err := s.mark.write(mark{own.Log, own.Sequence, own.Hash}); err != nil {
				s.log.Error("high-water mark", "err", err)
			}
		}
		if r := p.regressed; !r.log.IsZero() && (p.vector[r.log].Sequence >= r.sequence || p.vector[r.log].Closed) {
			p.regressed = mark{}
			s.log.Info("the missing saves are back", "log", r.log.String(), "sequence", r.sequence)
		}
		for _, w := range p.watchers {
			w.fn(batch.commits)
		}
	}
}

// drain waits for a publish that runs.
func (p *publisher) drain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watchers = nil
}

// Watch calls fn, in the order of arrival and after the sync, with the commits
// that became visible. fn runs inside the save: it must be quick and must not
// call Save, Receive, Watch or cancel. After cancel returns fn is not called
// again.
func (s *Store) Watch(fn func([]Committed)) (cancel func()) {
	p, w := &s.pub, &watcher{fn}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watchers = append(p.watchers, w)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.watchers = slices.DeleteFunc(slices.Clone(p.watchers), func(x *watcher) bool { return x == w })
	}
}

// WatchVector is Watch that also returns the vector from which fn goes on.
func (s *Store) WatchVector(fn func([]Committed)) (vector map[LogID]Position, cancel func()) {
	p, w := &s.pub, &watcher{fn}
	p.mu.Lock()
	defer p.mu.Unlock()
	vector = make(map[LogID]Position, len(p.vector))
	maps.Copy(vector, p.vector)
	p.watchers = append(p.watchers, w)
	return vector, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.watchers = slices.DeleteFunc(slices.Clone(p.watchers), func(x *watcher) bool { return x == w })
	}
}

// Vector returns, for each log, the highest sequence that is durable and
// visible here without a gap.
func (s *Store) Vector() map[LogID]uint64 {
	s.pub.mu.Lock()
	defer s.pub.mu.Unlock()
	v := make(map[LogID]uint64, len(s.pub.vector))
	for id, at := range s.pub.vector {
		v[id] = at.Sequence
	}
	return v
}

// Position returns how far one log reaches here.
func (s *Store) Position(log LogID) Position {
	s.pub.mu.Lock()
	defer s.pub.mu.Unlock()
	return s.pub.vector[log]
}

// Stats are the totals of what is durable and visible here.
type Stats struct {
	Pages     uint64 // pages that a reader finds
	Files     uint64
	Commits   uint64 // of pages and files
	Digest    Digest
	Arrival   uint64 // the last local arrival number
	Staged    int    // commits that wait for a parent
	Lacking   int    // file revisions of which chunks are missing
	Regressed bool   // acknowledged saves are missing and not yet pulled back
}

// Stats returns the totals.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	staged, lacking := s.mu.staging.count, s.mu.lacking
	s.mu.Unlock()
	s.pub.mu.Lock()
	defer s.pub.mu.Unlock()
	c := s.pub.counters
	return Stats{
		Pages: c.pages, Files: c.files, Commits: c.commits, Digest: c.digest, Arrival: c.arrival,
		Staged: staged, Lacking: lacking, Regressed: !s.pub.regressed.log.IsZero(),
	}
}
