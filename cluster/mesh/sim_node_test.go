package mesh

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/erwik/erwik/cluster/mesh/planted"
	"github.com/erwik/erwik/events"
	"github.com/erwik/erwik/storage"
)

// write is a commit on its way to the disk.
type write struct {
	commit *simCommit
	own    bool
}

type simNode struct {
	w     *world
	index int
	id    storage.NodeID
	name  string

	up     bool
	life   int // counts starts
	core   *Core
	disk   *disk         // what is synced
	mem    *disk         // with what is not synced yet
	log    storage.LogID // own log of this life
	links  map[storage.NodeID]*simNode
	digs   map[storage.LogID]bool
	skew   time.Duration // of the wall clock
	most   uint64        // highest incarnation that its disk may know of
	left   bool          // for good
	clone  bool          // has another's key
	liar   *liar
	writes []write // not synced yet, in order
	syncAt Time
	pulls  map[uint64]bool
	out    Outputs
	backup *disk
	alarms []Alarm
	seen   []events.Event
	heard  []heard // by slot
}

func (w *world) addNode(name string) *simNode {
	n := &simNode{w: w, index: len(w.nodes), name: name, disk: newDisk(), links: map[storage.NodeID]*simNode{}}
	for i := range 4 {
		binary.BigEndian.PutUint64(n.id[8*i:], w.rng.Uint64())
	}
	w.nodes = append(w.nodes, n)
	if w.byName[name] == nil {
		w.byName[name] = n
	}
	for i := range w.pairs {
		w.pairs[i] = append(w.pairs[i], &wirePair{a: w.nodes[i], b: n})
	}
	row := make([]*wirePair, len(w.nodes))
	for i := range w.nodes[:n.index] {
		row[i] = w.pairs[i][n.index]
	}
	w.pairs = append(w.pairs, row)
	return n
}

func (n *simNode) admits(id storage.NodeID) bool {
	return slices.Contains(n.disk.admitted, id)
}

// start brings a node up with what its disk has.
func (n *simNode) start() {
	w := n.w
	n.up = true
	n.life++
	n.log = storage.LogID{}
	n.writes, n.syncAt, n.pulls, n.heard = nil, 0, map[uint64]bool{}, nil
	n.mem, n.digs = n.disk.clone(), map[storage.LogID]bool{}
	clear(n.links)
	if w.clocks && w.chance(0.5) {
		n.skew = w.between(-24*time.Hour, 24*time.Hour)
	}
	core, err := New(Config{Self: n.id, Seed: [2]uint64{w.rng.Uint64(), w.rng.Uint64()},
		Sign:   func(m []byte) [events.SignatureSize]byte { return fakeSig(n.id, m) },
		Verify: fakeVerify, noRepair: w.noRepair})
	if err != nil {
		w.fail("new: %v", err)
		return
	}
	n.core = core
	core.Watch(w.watch)
	if !n.admits(n.id) {
		n.disk.admitted = append(n.disk.admitted, n.id)
	}
	r := Restored{Admitted: n.disk.admitted}
	for _, key := range sortedKeys(n.disk.state) {
		r.State = append(r.State, Persist{key, n.disk.state[key]})
	}
	for _, id := range n.disk.order {
		r.Vector = append(r.Vector, n.disk.logs[id].head())
	}
	core.Restore(w.now, r)
	if err := core.SetSelf(w.now, Self{Name: n.name, Addresses: []string{n.name + ":8000"}, Version: "sim", UnixMillis: w.wall(n)}); err != nil {
		w.fail("set self: %v", err)
	}
	if own := core.incarnation; own <= n.most {
		w.fail("%s starts with incarnation %d, and had %d", n.name, own, n.most)
	} else {
		n.most = own
	}
	w.flush(n)
	n.tick(n.life)
}

func sortedKeys(m map[string][]byte) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (n *simNode) tick(life int) {
	w := n.w
	w.in(w.tickEvery, func() {
		if n.up && n.life == life {
			n.core.Tick(w.now)
			w.flush(n)
			if !w.unchecked {
				n.checkTable()
				n.checkLimits()
			}
			n.tick(life)
		}
	})
}

// crash stops a node. Of what was not synced, a random part is on the disk.
func (n *simNode) crash() {
	if !n.up {
		return
	}
	w := n.w
	n.up = false
	if len(n.writes) > 0 {
		for _, wr := range n.writes[:w.rng.IntN(len(n.writes)+1)] {
			n.disk.add(wr.commit)
		}
		n.writes = nil
	}
	for _, m := range w.nodes {
		if m != n {
			p := w.pair(n, m)
			if p.cut() {
				w.down(p) // nobody hears of it
			} else {
				w.reset(p, n)
			}
		}
	}
}

// restore puts an older copy of the disk back.
func (n *simNode) restore() {
	w := n.w
	n.crash()
	old := n.disk
	n.disk, n.most = n.backup.clone(), 0
	w.losing(old)
}

// losing marks what only a disk that is gone had.
func (w *world) losing(old *disk) {
	for _, c := range w.made {
		if old.has[c] && !slices.ContainsFunc(w.nodes, func(m *simNode) bool { return m.disk.has[c] && !m.left }) {
			c.lost = true
		}
	}
}

// save makes a commit here. It returns nil if the node is down.
func (n *simNode) save(admits storage.NodeID) *simCommit {
	w := n.w
	if !n.up {
		return nil
	}
	if n.log.IsZero() {
		n.log = storage.LogID{Node: n.id, Nonce: w.rng.Uint64()}
		if planted.Now == planted.LogIDReused {
			if n.disk.nonce == 0 {
				n.disk.nonce = n.log.Nonce
			}
			n.log.Nonce = n.disk.nonce
		}
	}
	l := n.mem.logs[n.log]
	c := &simCommit{place: place{n.log, l.held() + 1}, previous: l.tip(), size: 200 + w.rng.IntN(400), admits: admits, maker: n.index}
	binary.BigEndian.PutUint64(c.hash[:], w.rng.Uint64())
	if old := w.commits[c.place]; old != nil && !w.forkers[n.id] {
		onDisk := slices.ContainsFunc(w.nodes, func(m *simNode) bool { return m.disk.has[old] })
		if onDisk || old.acked != 0 {
			w.fail("sequence %d of a log of %s is used twice", c.sequence, n.name)
		}
	}
	w.commits[c.place] = c
	w.made = append(w.made, c)
	n.write(c, true)
	return c
}

// write puts a commit into the store. It reports false if it follows nothing there.
func (n *simNode) write(c *simCommit, own bool) bool {
	w, life := n.w, n.life
	at, ok := n.mem.add(c)
	if !ok {
		return false
	}
	if at.split != nil && at.split.Kept.Log == n.log {
		n.log = storage.LogID{} // never write there again
	}
	n.writes = append(n.writes, write{c, own})
	entry := Entry{Log: at.log, Sequence: at.sequence, Hash: c.hash, Page: "APageOfTwentyLetters", Own: own, Split: at.split}
	if own {
		ev := events.NewCommit(entry.Log, entry.Sequence, c.hash, entry.Page)
		entry.Sig = fakeSig(n.id, ev.SignedBytes(nil))
	}
	if planted.Now == planted.VectorBeforeSync {
		n.core.Appended(w.now, entry)
		w.flush(n)
	}
	n.syncAt = max(n.syncAt, w.now.Add(w.between(50*time.Microsecond, 400*time.Microsecond)))
	w.at(n.syncAt, func() {
		if !n.up || n.life != life {
			return
		}
		n.writes = n.writes[1:]
		if again, ok := n.disk.add(c); !ok || again.log != at.log || again.sequence != at.sequence {
			w.fail("%s stored sequence %d of a log elsewhere than it said", n.name, c.sequence)
			return
		}
		if own {
			c.acked = w.now
		}
		if w.stored != nil {
			w.stored(n, c)
		}
		if !c.admits.IsZero() {
			n.core.Admit(w.now, c.admits)
		}
		if planted.Now != planted.VectorBeforeSync {
			n.core.Appended(w.now, entry)
		}
		w.flush(n)
	})
	return true
}

// join makes n a member through a sponsor, as the shells do, before faults
// begin. It reports success.
func (n *simNode) join(s *simNode) bool {
	p := n.w.pair(n, s)
	if !n.up || !s.up || !p.exists || p.cut() {
		return false
	}
	if !s.admits(n.id) {
		s.save(n.id)
		s.disk.admitted = append(s.disk.admitted, n.id)
	}
	n.sponsored(s)
	return true
}

// joinLate tries again and again, while there are faults, to join through
// somebody; an admission counts when it is on the sponsor's disk.
func (n *simNode) joinLate() {
	w := n.w
	if !n.up {
		n.start()
	}
	again := func() { w.in(300*time.Millisecond, n.joinLate) }
	s := w.nodes[w.rng.IntN(len(w.nodes))]
	if s == n || s.clone || n.disk.joined {
		if !n.disk.joined {
			again()
		}
		return
	}
	p := w.pair(n, s)
	if !s.up || !s.disk.joined && s.index > 0 || !p.exists || p.cut() {
		again()
		return
	}
	if s.admits(n.id) {
		n.sponsored(s)
		return
	}
	s.save(n.id)
	again()
}

// sponsored is what the answer to a join brings to both.
func (n *simNode) sponsored(s *simNode) {
	w := n.w
	n.disk.joined = true
	s.core.Admit(w.now, n.id)
	s.core.Learn(w.now, true, n.core.Record(n.id))
	records := s.core.Records()
	w.flush(s)
	for _, id := range s.disk.admitted {
		if !n.admits(id) {
			n.disk.admitted = append(n.disk.admitted, id)
		}
		n.core.Admit(w.now, id)
	}
	n.core.Learn(w.now, false, records...)
	w.flush(n)
}
