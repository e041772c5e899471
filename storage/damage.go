package storage

import "sync"

// damages is what was found damaged while the store is open.
type damages struct {
	told sync.WaitGroup
	mu   struct {
		sync.Mutex
		open  bool // before, damage makes Open repair at once
		first string
		count uint64
	}
}

// maxDamageText bounds what is remembered of a damage, in bytes.
const maxDamageText = 1000

// ready says that the store is open, and tells of what was found meanwhile.
func (d *damages) ready(s *Store) {
	d.mu.Lock()
	d.mu.open = true
	first := d.mu.first
	d.mu.Unlock()
	if first != "" {
		d.tell(s, first)
	}
}

// mended forgets what was found in a database that was replaced: what is found
// in the new one is to be told.
func (d *damages) mended() {
	d.mu.Lock()
	d.mu.first, d.mu.count = "", 0
	d.mu.Unlock()
}

// note remembers a damage. The first one has the next start repair the
// database, and says so.
func (d *damages) note(s *Store, what string) {
	if len(what) > maxDamageText {
		what = what[:maxDamageText]
	}
	d.mu.Lock()
	d.mu.count++
	first, open := d.mu.first == "", d.mu.open
	if first {
		d.mu.first = what
	}
	d.mu.Unlock()
	if first && open {
		d.tell(s, what)
	}
}

func (d *damages) tell(s *Store, what string) {
	s.log.Error("the database is damaged; all else is served, and it is repaired when the store is opened again", "what", what)
	if err := s.writeRepair(repair{phase: repairWanted, reason: what}); err != nil {
		s.log.Error("note that a repair is wanted", "err", err)
	}
	if s.cfg.Damaged != nil {
		d.told.Go(func() { s.cfg.Damaged(what) })
	}
}

// Damage is what was found damaged on this disk.
type Damage struct {
	What     string // the first that was found in the database that is open; "" = nothing
	Times    uint64 // how often damage of it was met
	Repaired bool   // the database was repaired when it was opened
	Kept     string // then: the folder in which the damaged one is kept
	Behind   int    // commits behind something that is gone and not yet pulled back
}

// Damage returns what was found damaged.
func (s *Store) Damage() Damage {
	s.mu.Lock()
	behind := s.mu.islands.count
	s.mu.Unlock()
	s.damage.mu.Lock()
	defer s.damage.mu.Unlock()
	d := Damage{What: s.damage.mu.first, Times: s.damage.mu.count, Behind: behind}
	if s.found != nil {
		d.Repaired, d.Kept = true, s.found.kept
	}
	return d
}
