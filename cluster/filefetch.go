package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/erwik/erwik/cluster/mesh"
	"github.com/erwik/erwik/storage"
)

// The first piece that is asked of a neighbor, in bytes, and what its length is
// led to: on a healthy link a piece shall take no longer than a notice behind it
// may wait unseen; on a slow one a second or so, since a notice waits behind it.
const (
	pieceHealthy = 8 << 10
	pieceSlow    = 256

	minHealthy = 4 << 10
	minSlow    = 256
	maxSlow    = 16 << 10

	quickPiece = 20 * time.Millisecond  // healthy: below, the next one is twice as long
	longPiece  = 100 * time.Millisecond // above, half as long
	slowPiece  = 1200 * time.Millisecond

	askHealthy = 15 * time.Second // for one piece
	askSlow    = 2 * time.Minute
	// laneTime is how often a lane looks whether the link still is of its kind.
	laneTime = 2 * time.Second
	// yieldTime is how long a piece waits for pages that are being pulled.
	yieldTime = 10 * time.Minute
)

var (
	errLane       = errors.New("cluster: the link has become another kind")
	errManifest   = errors.New("cluster: the chunk has another size than the file says")
	errWrongBytes = errors.New("cluster: the neighbor sent wrong bytes")
	errMixed      = errors.New("cluster: what several neighbors sent does not fit")
)

// fileSources returns the neighbors of a lane's kind of link, the nearest first,
// and all those on healthy links.
func (n *Node) fileSources(l lane) (sources, healthy []storage.NodeID) {
	var all []mesh.NeighborInfo
	n.do(func(c *mesh.Core, _ mesh.Time) { all = c.Neighbors() })
	slices.SortStableFunc(all, func(a, b mesh.NeighborInfo) int { return cmp.Compare(a.RTT, b.RTT) })
	for _, info := range all {
		kind := laneHealthy
		switch info.State {
		case "up":
			healthy = append(healthy, info.ID)
		case "slow":
			kind = laneSlow
		default:
			continue
		}
		if kind == l {
			sources = append(sources, info.ID)
		}
	}
	return sources, healthy
}

// choose returns a missing chunk and whom to ask for it, or how long there is
// nothing to do.
func (f *files) choose(l lane, sources, healthy []storage.NodeID) (m storage.MissingChunk, from storage.NodeID, wait time.Duration) {
	now := time.Now()
	wait = idleTime
	f.mu.Lock()
	defer f.mu.Unlock()
	usable := sources[:0:0]
	for _, id := range sources {
		if at := f.peer(id).shunned.at; at.After(now) {
			wait = min(wait, at.Sub(now))
		} else {
			usable = append(usable, id)
		}
	}
	for _, u := range f.urgent {
		if u.over {
			continue
		}
		id, later, found := f.source(l, u.ID, usable, healthy, now)
		if found {
			return u.MissingChunk, id, 0
		}
		wait = min(wait, max(later, avoidMin))
		if later > 0 {
			if u.none[l] = true; u.none[laneHealthy] && u.none[laneSlow] {
				u.finish()
			}
		}
	}
	if len(usable) == 0 { // a link that came up may not be known to the core yet
		return m, from, min(wait, laneTime/2)
	}
	var at storage.MissingChunk
	for range maxScan / scanStep {
		missing, err := f.node.cfg.Store.MissingChunks(at, scanStep)
		if err != nil {
			f.node.log.Error("look for chunks to fetch", "err", err)
			return m, from, idleTime
		}
		for _, m := range missing {
			id, later, found := f.source(l, m.ID, usable, healthy, now)
			if found {
				return m, id, 0
			}
			if later == 0 {
				later = laneTime
			}
			wait = min(wait, later)
		}
		if len(missing) < scanStep {
			break
		}
		at = missing[len(missing)-1]
	}
	return m, from, max(wait, avoidMin/10)
}

// source returns whom to ask for a chunk, or when there may be somebody; 0 is
// when the other lane has asked its neighbors. It is called with mu held.
func (f *files) source(l lane, id storage.ChunkID, sources, healthy []storage.NodeID, now time.Time) (from storage.NodeID, later time.Duration, found bool) {
	later = idleTime
	if at := f.flight[id]; at != nil && (at.lane == laneHealthy || at.lane == l) {
		return from, 0, false
	}
	by := f.avoid[id]
	if l == laneSlow {
		for _, peer := range healthy {
			if _, asked := by[peer]; !asked {
				return from, 0, false
			}
		}
	}
	for _, peer := range sources {
		at := by[peer].at
		if !at.After(now) {
			return peer, 0, true
		}
		later = min(later, at.Sub(now))
	}
	return from, later, false
}

// fetchChunk fetches what is missing of a chunk, piece by piece.
func (n *Node) fetchChunk(ctx context.Context, l lane, m storage.MissingChunk, from storage.NodeID) error {
	store := n.cfg.Store
	at := store.PartSize(m.ID)
	if at > int64(m.Size) {
		if err := store.DropPart(m.ID); err != nil {
			return err
		}
		at = 0
	}
	first, looked, begun := at, time.Now(), time.Now()
	for at < int64(m.Size) {
		if err := n.letPagesPass(ctx, l); err != nil {
			return err
		}
		if time.Since(looked) > laneTime {
			if sources, _ := n.fileSources(l); !slices.Contains(sources, from) {
				return errLane
			}
			looked = time.Now()
		}
		got, err := n.fetchPiece(ctx, l, m, from, at)
		if err != nil {
			return err
		}
		at += int64(got)
	}
	err := store.LandPart(m.ID)
	switch {
	case errors.Is(err, storage.ErrInvalid) && first > 0:
		return fmt.Errorf("%w: %w", errMixed, err)
	case errors.Is(err, storage.ErrInvalid):
		n.count("file_bytes")
		n.log.Warn("a neighbor sent wrong bytes of a file", "from", from.String(), "err", err)
		return fmt.Errorf("%w: %w", errWrongBytes, err)
	case err != nil:
		return err
	}
	n.log.Debug("a chunk of a file has come", "chunk", m.ID.String(), "from", from.Short(), "bytes", at-first, "kept", first, "took", time.Since(begun))
	return nil
}

// letPagesPass waits while pages are being pulled: on a slow link whatever is
// on the way delays them by seconds.
func (n *Node) letPagesPass(ctx context.Context, l lane) error {
	for end := time.Now().Add(yieldTime); l == laneSlow && n.pulling() && time.Now().Before(end); {
		if err := n.wait(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// pulling reports whether commits are being pulled.
func (n *Node) pulling() bool {
	n.state.mu.Lock()
	defer n.state.mu.Unlock()
	return len(n.state.cancels) > 0
}

// fetchPiece fetches one piece and keeps it.
func (n *Node) fetchPiece(ctx context.Context, l lane, m storage.MissingChunk, from storage.NodeID, at int64) (got int, err error) {
	limit := askHealthy
	if l == laneSlow {
		limit = askSlow
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := n.fileConn(ctx, l, from)
	if err != nil {
		return 0, err
	}
	n.files.mu.Lock()
	length := n.files.peer(from).length[l]
	n.files.mu.Unlock()
	begun := time.Now()
	var took time.Duration
	err = conn.askPiece(ctx, m.ID, at, min(length, m.Size-int(at)), func(data []byte, size int64) error {
		took, got = time.Since(begun), len(data)
		if size != int64(m.Size) {
			return fmt.Errorf("%w: %d bytes, not %d", errManifest, size, m.Size)
		}
		return n.cfg.Store.AddPart(ctx, m.ID, at, data)
	})
	if err != nil {
		if l == laneHealthy && errors.Is(err, context.DeadlineExceeded) {
			conn.close(err) // what it was asked for may come yet, and nobody waits
		}
		return 0, err
	}
	n.files.mu.Lock()
	p := n.files.peer(from)
	p.length[l], p.shunned = nextLength(l, length, got, took), retry{}
	n.files.mu.Unlock()
	return got, nil
}

// nextLength leads the length of pieces to what takes a bearable time.
func nextLength(l lane, length, got int, took time.Duration) int {
	if l == laneSlow {
		want := int(float64(got) * float64(slowPiece) / float64(max(took, time.Millisecond)))
		return max(minSlow, min(want, 2*length, maxSlow))
	}
	switch {
	case took > longPiece:
		return max(minHealthy, length/2)
	case took < quickPiece && got == length:
		return min(2*length, maxPiece)
	}
	return length
}

// fileConn returns the connection over which a lane asks: on healthy links one
// for files alone, so that pages pass them; on slow ones the pull connection,
// since a further one costs a handshake of ten seconds.
func (n *Node) fileConn(ctx context.Context, l lane, peer storage.NodeID) (*pullConn, error) {
	if l == laneSlow {
		return n.pullConn(ctx, peer)
	}
	f := &n.files
	f.mu.Lock()
	conn := f.peer(peer).conn
	f.mu.Unlock()
	if conn != nil {
		select {
		case <-conn.done:
		default:
			return conn, nil
		}
	}
	conn, err := n.dialPeer(ctx, peer, protoFile)
	if err != nil {
		return nil, err
	}
	conn.file = true
	f.mu.Lock()
	f.peer(peer).conn = conn
	f.mu.Unlock()
	n.spawn(func() { n.runPull(conn) })
	return conn, nil
}
