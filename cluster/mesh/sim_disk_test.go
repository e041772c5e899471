package mesh

import (
	"maps"
	"slices"

	"github.com/erwik/erwik/storage"
)

// disk is what a node's store holds: each log, or branch of a log that forks,
// as a list of commits. The rules of branches are those of package storage.
type disk struct {
	logs     map[storage.LogID]*simLog
	order    []storage.LogID // of logs, as they came
	family   map[storage.LogID][]storage.LogID
	has      map[*simCommit]bool
	state    map[string][]byte
	admitted []storage.NodeID
	joined   bool
	nonce    uint64 // of the own log, for a planted mistake only
}

// simLog is one run of a log between two forks, or a whole log.
type simLog struct {
	id, of  storage.LogID
	start   uint64 // how many sequences of the log come before this run
	closed  bool
	commits []*simCommit
}

func (l *simLog) held() uint64 {
	if l == nil {
		return 0
	}
	return uint64(len(l.commits))
}

func (l *simLog) tip() (h storage.Hash) {
	if l.held() > 0 {
		h = l.commits[len(l.commits)-1].hash
	}
	return h
}

func (l *simLog) head() Head {
	return Head{Log: l.id, Sequence: l.held(), Tip: l.tip(), Closed: l.closed}
}

func newDisk() *disk {
	return &disk{logs: map[storage.LogID]*simLog{}, family: map[storage.LogID][]storage.LogID{},
		has: map[*simCommit]bool{}, state: map[string][]byte{}}
}

func (d *disk) clone() *disk {
	c := newDisk()
	for _, id := range d.order {
		l := *d.logs[id]
		l.commits = slices.Clone(l.commits)
		c.logs[id] = &l
	}
	c.order = slices.Clone(d.order)
	maps.Copy(c.family, d.family)
	maps.Copy(c.has, d.has)
	maps.Copy(c.state, d.state)
	c.admitted = slices.Clone(d.admitted)
	c.joined, c.nonce = d.joined, d.nonce
	return c
}

func (d *disk) log(id, of storage.LogID) *simLog {
	l := d.logs[id]
	if l == nil {
		l = &simLog{id: id, of: of}
		d.logs[id] = l
		d.order = append(d.order, id)
		d.family[of] = append(d.family[of][:len(d.family[of]):len(d.family[of])], id)
	}
	return l
}

// placed says where a commit went: a place in a log or branch, and how the log
// fell into branches by it.
type placed struct {
	log      storage.LogID
	sequence uint64
	split    *Split
}

// find looks for the place of a commit: it is here, it continues l, or it
// begins a branch after the first k commits of l. nil: its predecessor is not here.
func (d *disk) find(c *simCommit) (l *simLog, k uint64, fork bool) {
	family := d.family[c.log]
	if len(family) == 0 {
		if c.sequence != 1 {
			return nil, 0, false
		}
		return d.log(c.log, c.log), 0, false
	}
	for _, id := range family {
		l := d.logs[id]
		if !l.closed && c.sequence == l.start+l.held()+1 && l.tip() == c.previous {
			return l, l.held(), false
		}
	}
	for _, id := range family {
		l := d.logs[id]
		if c.sequence <= l.start || c.sequence-l.start > l.held()+1 || c.sequence == l.start+1 && l.start > 0 {
			continue
		}
		k := c.sequence - l.start - 1
		if k == l.held() && !l.closed {
			continue
		}
		previous := storage.Hash{}
		if k > 0 {
			previous = l.commits[k-1].hash
		}
		if previous == c.previous {
			return l, k, true
		}
	}
	return nil, 0, false
}

// add stores a commit that is not here. It reports false if its predecessor is
// not here either.
func (d *disk) add(c *simCommit) (at placed, ok bool) {
	l, k, fork := d.find(c)
	if l == nil {
		return at, false
	}
	if fork {
		if moved := l.commits[k:]; len(moved) > 0 {
			into := d.log(storage.BranchID(l.of, moved[0].hash), l.of)
			into.start, into.closed, into.commits = l.start+k, l.closed, slices.Clone(moved)
			l.commits, l.closed = l.commits[:k:k], true
			at.split = &Split{Kept: l.head(), Into: into.head()}
		}
		l = d.log(storage.BranchID(c.log, c.hash), c.log)
		l.start = c.sequence - 1
	}
	l.commits = append(l.commits, c)
	d.has[c] = true
	if !c.admits.IsZero() && !slices.Contains(d.admitted, c.admits) {
		d.admitted = append(d.admitted, c.admits)
	}
	at.log, at.sequence = l.id, l.held()
	return at, true
}
