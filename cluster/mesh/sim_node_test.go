package mesh

import (
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"github.com/erwik/erwik/cluster/mesh/planted"
	"github.com/erwik/erwik/events"
	"github.com/erwik/erwik/storage"
)

// disk is what a node's store holds: each log as a list of commits, of which
// only the synced ones survive a crash for sure.
type disk struct {
	logs     map[storage.LogID][]*simCommit
	order    []storage.LogID // of logs, as they came
	state    map[string][]byte
	admitted []storage.NodeID
	joined   bool
	nonce    uint64 // of the own log, for the planted bug only
}

func newDisk() *disk {
	return &disk{logs: map[storage.LogID][]*simCommit{}, state: map[string][]byte{}}
}

func (d *disk) clone() *disk {
	c := newDisk()
	for _, id := range d.order {
		c.logs[id] = slices.Clone(d.logs[id])
	}
	c.order = slices.Clone(d.order)
	maps.Copy(c.state, d.state)
	c.admitted = slices.Clone(d.admitted)
	c.joined, c.nonce = d.joined, d.nonce
	return c
}

func (d *disk) add(c *simCommit) {
	if _, ok := d.logs[c.log]; !ok {
		d.order = append(d.order, c.log)
	}
	d.logs[c.log] = append(d.logs[c.log], c)
	if !c.admits.IsZero() && !slices.Contains(d.admitted, c.admits) {
		d.admitted = append(d.admitted, c.admits)
	}
}

func (d *disk) total() (n int) {
	for _, id := range d.order {
		n += len(d.logs[id])
	}
	return n
}

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
	disk   *disk
	log    storage.LogID // own log of this life
	writes []write       // not synced yet, in order
	syncAt Time
	pulls  map[uint64]bool
	out    Outputs
	backup *disk
	alarms []Alarm
	seen   []events.Event
	heard  []uint64 // highest incarnation of each slot in this life
}

func (w *world) addNode(name string) *simNode {
	n := &simNode{w: w, index: len(w.nodes), name: name, disk: newDisk()}
	for i := range 4 {
		binary.BigEndian.PutUint64(n.id[8*i:], w.rng.Uint64())
	}
	w.nodes = append(w.nodes, n)
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
		log := n.disk.logs[id]
		r.Vector = append(r.Vector, Head{Log: id, Sequence: uint64(len(log)), Tip: log[len(log)-1].hash})
	}
	core.Restore(w.now, r)
	if err := core.SetSelf(w.now, Self{Name: n.name, Addresses: []string{n.name + ":8000"}, Version: "sim"}); err != nil {
		w.fail("set self: %v", err)
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
			n.checkQueues()
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
			if uint64(len(n.disk.logs[wr.commit.log]))+1 == wr.commit.sequence {
				n.disk.add(wr.commit)
			}
		}
		n.writes = nil
	}
	for _, m := range w.nodes {
		if m != n {
			p := w.pair(n, m)
			if p.blocked[0] || p.blocked[1] {
				p.up = false // nobody hears of it
				p.epoch++
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
	n.disk = n.backup.clone()
	for _, id := range old.order {
		for _, c := range old.logs[id] {
			found := false
			for _, m := range w.nodes {
				log := m.disk.logs[c.log]
				found = found || uint64(len(log)) >= c.sequence
			}
			if !found {
				c.lost = true
			}
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
	seq := uint64(len(n.disk.logs[n.log])) + 1
	for _, wr := range n.writes {
		if wr.commit.log == n.log {
			seq++
		}
	}
	c := &simCommit{place: place{n.log, seq}, size: 200 + w.rng.IntN(400), admits: admits, maker: n.index}
	binary.BigEndian.PutUint64(c.hash[:], w.rng.Uint64())
	if old := w.commits[c.place]; old != nil {
		onDisk := false
		for _, m := range w.nodes {
			if log := m.disk.logs[c.log]; uint64(len(log)) >= seq {
				onDisk = true
			}
		}
		if onDisk || old.acked != 0 {
			w.fail("sequence %d of a log of %s is used twice", seq, n.name)
		}
	}
	w.commits[c.place] = c
	w.made = append(w.made, c)
	n.write(c, true, nil)
	return c
}

// write puts a commit into the store; done is called after its sync.
func (n *simNode) write(c *simCommit, own bool, done func()) {
	w := n.w
	life := n.life
	n.writes = append(n.writes, write{c, own})
	entry := Entry{Log: c.log, Sequence: c.sequence, Hash: c.hash, Page: "APageOfTwentyLetters", Own: own}
	if own {
		ev := events.NewCommit(c.log, c.sequence, c.hash, entry.Page)
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
		if uint64(len(n.disk.logs[c.log]))+1 != c.sequence {
			w.fail("%s stored sequence %d of a log after %d", n.name, c.sequence, len(n.disk.logs[c.log]))
			return
		}
		n.disk.add(c)
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
		if done != nil {
			done()
		}
	})
}

// join makes n a member through a sponsor, as the shells do. It reports success.
func (n *simNode) join(s *simNode) bool {
	w := n.w
	p := w.pair(n, s)
	if !n.up || !s.up || !p.exists || p.blocked[0] || p.blocked[1] {
		return false
	}
	n.disk.joined = true
	if !s.admits(n.id) {
		s.save(n.id)
		s.disk.admitted = append(s.disk.admitted, n.id)
	}
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
	return true
}

// flush does what the core asks for.
func (w *world) flush(n *simNode) {
	n.core.Take(&n.out)
	out := &n.out
	for _, p := range out.Persist {
		if p.Value == nil {
			delete(n.disk.state, p.Key)
		} else {
			n.disk.state[p.Key] = p.Value
		}
		w.mix([]byte{byte(n.index), 1}, []byte(p.Key), p.Value)
	}
	sends, pulls, dials, closes := slices.Clone(out.Send), slices.Clone(out.Pull), slices.Clone(out.Dial), slices.Clone(out.Close)
	for _, id := range out.Cancel {
		delete(n.pulls, id)
	}
	for _, a := range out.Alarms {
		w.alarmed(n, a)
	}
	if w.watch {
		n.seen = append(n.seen, out.Events...)
	}
	for _, s := range sends {
		w.mix([]byte{byte(n.index), 2}, s.Peer[:4], s.Frame)
		if len(s.Frame) > HealthyFrame+512 {
			w.fail("%s sends a frame of %d bytes", n.name, len(s.Frame))
		}
		w.carry(n, s)
	}
	for _, p := range pulls {
		w.mix([]byte{byte(n.index), 3}, p.From[:4])
		w.pull(n, p)
	}
	for _, d := range dials {
		w.mix([]byte{byte(n.index), 4}, d.Node[:4])
		w.connect(n, w.byID(d.Node))
	}
	for _, c := range closes {
		if to := w.byID(c.Peer); to != nil {
			p := w.pair(n, to)
			if p.blocked[0] || p.blocked[1] {
				p.up = false // the other side must find out by itself
				p.epoch++
			} else {
				w.reset(p, n)
			}
		}
	}
}

// pull asks a neighbor for commits and brings them piece by piece.
func (w *world) pull(n *simNode, pl Pull) {
	from := w.byID(pl.From)
	p := w.pair(n, from)
	n.pulls[pl.ID] = true
	w.pulls++
	started, life := w.now, n.life
	alive := func() bool { return n.up && n.life == life && n.pulls[pl.ID] }
	fail := func() {
		if alive() {
			delete(n.pulls, pl.ID)
			n.core.PullFailed(w.now, pl.ID)
			w.flush(n)
		}
	}
	if !p.up || w.chance(w.pullFail) {
		w.in(10*time.Millisecond, fail)
		return
	}
	at := w.transmit(p, n, 120+60*len(pl.Ranges))
	w.at(at, func() {
		if !from.up || p.blocked[p.dir(n)] {
			return // the pull stands still until it is given up
		}
		var answer []*simCommit
		limit := 64 << 10
		if p.slow() {
			limit = 4 << 10
		}
		for _, r := range pl.Ranges {
			log := from.disk.logs[r.Log]
			for i := r.After; i < uint64(len(log)) && limit > 0; i++ {
				answer = append(answer, log[i])
				limit -= log[i].size
			}
		}
		w.answer(n, from, p, pl, answer, 0, started, alive)
	})
}

func (w *world) answer(n, from *simNode, p *wirePair, pl Pull, rest []*simCommit, bytes int, started Time, alive func() bool) {
	chunk, size := 0, 100
	for chunk < len(rest) && (chunk == 0 || size+rest[chunk].size < p.chunk()) {
		size += rest[chunk].size
		chunk++
	}
	d := p.dir(from)
	at := w.transmit(p, from, size)
	w.at(at, func() {
		if !alive() || p.blocked[d] || !from.up {
			return
		}
		for _, c := range rest[:chunk] {
			n.take(c)
		}
		if chunk < len(rest) {
			n.core.PullProgress(w.now, pl.ID, size)
			w.answer(n, from, p, pl, rest[chunk:], bytes+size, started, alive)
			return
		}
		w.at(max(n.syncAt, w.now), func() {
			if alive() {
				delete(n.pulls, pl.ID)
				n.core.PullDone(w.now, pl.ID, bytes+size, w.now.Sub(started))
				w.flush(n)
			}
		})
	})
}

func (p *wirePair) chunk() int {
	if p.slow() {
		return 600
	}
	return 16 << 10
}

// take stores a commit that a pull brought, unless it is here.
func (n *simNode) take(c *simCommit) {
	have := uint64(len(n.disk.logs[c.log]))
	for _, wr := range n.writes {
		if wr.commit.log == c.log {
			have++
		}
	}
	n.w.pulled++
	switch {
	case c.sequence <= have:
		n.w.redundant++
	case c.sequence == have+1:
		n.write(c, false, nil)
	}
}
