package storage

import "sync"

// group lets saves that arrive while another is being built share its batch:
// the first becomes the leader, builds and applies what has gathered, and
// hands the lead to one of those that came meanwhile before it waits for the
// disk. So the write path's lock changes hands once per group, not per save,
// and batches of a busy node are few and large. It has no limit of its own:
// each waiting save is a caller that waits.
type group struct {
	mu      sync.Mutex
	leading bool
	waiting []*entry
}

// entry is one save of one draft that takes part in a group.
type entry struct {
	draft  *Draft
	commit *Commit
	err    error         // of this save alone
	wake   chan struct{} // told once: done, or lead
	lead   bool
}

// saveGrouped saves one draft together with whoever else is saving.
func (s *Store) saveGrouped(d *Draft, c *Commit) error {
	e := &entry{draft: d, commit: c}
	g := &s.group
	g.mu.Lock()
	g.waiting = append(g.waiting, e)
	if g.leading {
		e.wake = make(chan struct{}, 1)
		g.mu.Unlock()
		<-e.wake
		if !e.lead {
			return e.err
		}
	} else {
		g.leading = true
		g.mu.Unlock()
	}
	s.leadGroup(e)
	return e.err
}

// leadGroup builds and applies what waits, self included, and tells the others
// when it is on the disk.
func (s *Store) leadGroup(self *entry) {
	s.mu.Lock()
	g := &s.group
	g.mu.Lock()
	members := g.waiting
	if len(members) > maxBatchDrafts {
		members = members[:maxBatchDrafts:maxBatchDrafts]
	}
	size := 0
	for i, e := range members { // the first always fits
		if size += len(e.draft.Content); size > maxBatchBytes && i > 0 {
			members = members[:i:i]
			break
		}
	}
	g.waiting = append([]*entry(nil), g.waiting[len(members):]...)
	g.mu.Unlock()
	t, err := s.appendGroup(members)
	s.mu.Unlock()

	g.mu.Lock()
	if g.leading = len(g.waiting) > 0; g.leading {
		next := g.waiting[0]
		next.lead = true
		next.wake <- struct{}{}
	}
	g.mu.Unlock()
	if err == nil && t != nil {
		err = t.finish()
	}
	for _, e := range members {
		if e.err == nil {
			e.err = err
		}
		if e != self {
			e.wake <- struct{}{}
		}
	}
}

// appendGroup gives each member its place in this node's log and applies all
// in one batch. A member that is refused leaves no trace. It returns nil when
// nobody is left.
func (s *Store) appendGroup(members []*entry) (*tx, error) {
	if s.mu.failed != nil {
		return nil, s.mu.failed
	}
	if err := s.startLog(); err != nil {
		return nil, err
	}
	t := s.begin()
	for _, e := range members {
		e.err = t.addDraft(e.draft, e.commit, nil)
	}
	if len(t.out) == 0 {
		return nil, t.batch.Close()
	}
	return t, t.apply()
}
