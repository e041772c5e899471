package cluster

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/erwik/erwik/storage"
)

// Two lanes fetch the chunks of files that are missing here, one chunk at a
// time each: one from neighbors on healthy links, one from those on slow links.
// So a chunk that takes an hour keeps nobody from getting others. The slow lane
// takes only what no neighbor on a healthy link has.
type lane int

const (
	laneHealthy lane = iota
	laneSlow
	lanes
)

const (
	// avoidMin and avoidMax are how long a neighbor is not asked again for a
	// chunk that it does not have; the time doubles with each try.
	avoidMin = 100 * time.Millisecond
	avoidMax = time.Minute
	// avoidWrong is how long one is not asked again for a chunk whose bytes
	// were wrong, and shunWrong for how long for any other.
	avoidWrong = 10 * time.Minute
	shunWrong  = 30 * time.Second
	// maxAvoid bounds what is remembered of who does not have what. Beyond
	// it all is forgotten, and asked again.
	maxAvoid = 1 << 16
	// scanStep and maxScan are how many missing chunks are looked at in one
	// step, and how many until a lane waits.
	scanStep = 256
	maxScan  = 16384
	// idleTime is how long a lane without work waits for somebody to wake it.
	idleTime = time.Minute
)

// files fetches what is missing. Its lock is never held over a wait.
type files struct {
	node *Node
	wake [lanes]chan struct{}

	mu     sync.Mutex
	urgent map[storage.ChunkID]*urgentChunk
	flight map[storage.ChunkID]*flight
	avoid  map[storage.ChunkID]map[storage.NodeID]retry
	peers  map[storage.NodeID]*filePeer
}

// urgentChunk is one that a reader waits for.
type urgentChunk struct {
	storage.MissingChunk
	readers int
	done    chan struct{} // closed when it is here, or nobody has it
	over    bool
	none    [lanes]bool // the lane found nobody to ask
}

// flight is a chunk that a lane is fetching.
type flight struct {
	lane   lane
	cancel context.CancelFunc
}

// retry is when to ask again.
type retry struct {
	at    time.Time
	after time.Duration
}

// filePeer is what is known of a neighbor.
type filePeer struct {
	shunned retry
	length  [lanes]int // of the next piece, in bytes
	conn    *pullConn
}

func (f *files) init(n *Node) {
	f.node = n
	for i := range f.wake {
		f.wake[i] = make(chan struct{}, 1)
	}
	f.urgent = make(map[storage.ChunkID]*urgentChunk)
	f.flight = make(map[storage.ChunkID]*flight)
	f.avoid = make(map[storage.ChunkID]map[storage.NodeID]retry)
	f.peers = make(map[storage.NodeID]*filePeer)
}

// poke wakes the lanes.
func (f *files) poke() {
	for _, wake := range f.wake {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

// up hears of a link: what its neighbor lacked before it may have now.
func (f *files) up(peer storage.NodeID) {
	f.mu.Lock()
	delete(f.peers, peer)
	for id, by := range f.avoid {
		if delete(by, peer); len(by) == 0 {
			delete(f.avoid, id)
		}
	}
	f.mu.Unlock()
	f.poke()
}

func (f *files) down(peer storage.NodeID, reason error) {
	f.mu.Lock()
	p := f.peers[peer]
	delete(f.peers, peer)
	f.mu.Unlock()
	if p != nil && p.conn != nil {
		p.conn.close(reason)
	}
}

// peer returns what is known of a neighbor; it is called with mu held.
func (f *files) peer(id storage.NodeID) *filePeer {
	p := f.peers[id]
	if p == nil {
		p = &filePeer{length: [lanes]int{pieceHealthy, pieceSlow}}
		f.peers[id] = p
	}
	return p
}

// run is the life of one lane.
func (f *files) run(l lane) {
	n := f.node
	for n.ctx.Err() == nil {
		again := f.step(l)
		if again <= 0 {
			continue
		}
		timer := time.NewTimer(again)
		select {
		case <-n.ctx.Done():
		case <-f.wake[l]:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// step fetches one chunk, or says how long there is nothing to do.
func (f *files) step(l lane) time.Duration {
	n := f.node
	if n.cfg.Store.Stats().Lacking == 0 {
		return idleTime
	}
	sources, healthy := n.fileSources(l)
	m, from, wait := f.choose(l, sources, healthy)
	if wait > 0 {
		return wait
	}
	ctx, cancel := context.WithCancel(n.ctx)
	defer cancel()
	if !f.begin(m.ID, l, cancel) {
		return time.Millisecond
	}
	err := n.fetchChunk(ctx, l, m, from)
	f.end(m.ID, l)
	f.judge(l, m, from, err)
	return 0
}

// begin takes a chunk for a lane; the healthy one takes it away from the other.
func (f *files) begin(id storage.ChunkID, l lane, cancel context.CancelFunc) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if other := f.flight[id]; other != nil {
		if other.lane == laneHealthy {
			return false
		}
		other.cancel()
	}
	f.flight[id] = &flight{l, cancel}
	return true
}

func (f *files) end(id storage.ChunkID, l lane) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if at := f.flight[id]; at != nil && at.lane == l {
		delete(f.flight, id)
	}
}

// judge remembers what became of a fetch.
func (f *files) judge(l lane, m storage.MissingChunk, from storage.NodeID, err error) {
	n, now := f.node, time.Now()
	if err == nil {
		f.arrived(m.ID)
		return
	}
	n.log.Debug("fetch a chunk of a file", "chunk", m.ID.String(), "from", from.Short(), "err", err)
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case errors.Is(err, errLane), errors.Is(err, context.Canceled), errors.Is(err, errMixed):
	case errors.Is(err, errAbsent):
		f.avoidFor(m.ID, from, now, 0)
	case errors.Is(err, errManifest):
		f.avoidFor(m.ID, from, now, avoidMax)
	case errors.Is(err, errWrongBytes):
		f.avoidFor(m.ID, from, now, avoidWrong)
		f.peer(from).shunned = retry{now.Add(shunWrong), shunWrong}
	default: // the connection, the neighbor, or this disk
		p := f.peer(from)
		p.shunned.after = min(max(2*p.shunned.after, 10*avoidMin), avoidMax)
		p.shunned.at = now.Add(p.shunned.after)
		if l == laneSlow {
			p.shunned.at = now.Add(max(p.shunned.after, 5*time.Second))
		}
	}
}

// avoidFor has a neighbor not asked for a chunk for a while; 0 is twice as long
// as the last time. It is called with mu held.
func (f *files) avoidFor(id storage.ChunkID, peer storage.NodeID, now time.Time, d time.Duration) {
	if len(f.avoid) >= maxAvoid {
		clear(f.avoid)
	}
	by := f.avoid[id]
	if by == nil {
		by = make(map[storage.NodeID]retry)
		f.avoid[id] = by
	}
	if d == 0 {
		d = min(max(2*by[peer].after, avoidMin), avoidMax)
	}
	by[peer] = retry{now.Add(d), d}
}

// arrived forgets who did not have a chunk, and tells its readers.
func (f *files) arrived(id storage.ChunkID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.avoid, id)
	if u := f.urgent[id]; u != nil {
		u.finish()
	}
}

// finish is called with mu held.
func (u *urgentChunk) finish() {
	if !u.over {
		u.over = true
		close(u.done)
	}
}

// FetchChunk brings a chunk that is missing here before all others. It returns
// when the chunk is here, when no neighbor in reach has it, or when ctx ends.
func (n *Node) FetchChunk(ctx context.Context, m storage.MissingChunk) error {
	f := &n.files
	f.mu.Lock()
	u := f.urgent[m.ID]
	if u == nil || u.over {
		u = &urgentChunk{MissingChunk: m, done: make(chan struct{})}
		f.urgent[m.ID] = u
	}
	u.readers++
	delete(f.avoid, m.ID) // ask everybody again
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if u.readers--; u.readers == 0 && f.urgent[m.ID] == u {
			delete(f.urgent, m.ID)
		}
	}()
	f.poke()
	select {
	case <-u.done:
	case <-ctx.Done():
		return ctx.Err()
	case <-n.ctx.Done():
		return ErrClosed
	}
	if !n.cfg.Store.HasChunk(m.ID) {
		return errors.New("cluster: no neighbor in reach has that part of the file")
	}
	return nil
}
