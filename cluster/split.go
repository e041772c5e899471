package cluster

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/erwik/erwik/cluster/mesh"
	"github.com/erwik/erwik/storage"
)

const (
	// splitPiece is how many commits of a big range are asked of a source at a
	// time. Each source takes the next piece when it is through with one, so they
	// share in proportion to their speed.
	splitPiece = 1024
	// splitAhead is how many pieces may be under way beyond the one that is being
	// stored, and splitBytes how much of them is kept in memory. When it is full,
	// sources wait: their connections are not read.
	splitAhead = 2 * mesh.MaxSources
	splitBytes = 8 << 20
	// splitStall is how long a source may send less than splitLeast bytes until its
	// piece is given to another one.
	splitStall = 5 * time.Second
	splitLeast = 4 << 10
)

// splitPull is a big range that is shared out among sources.
type splitPull struct {
	node *Node
	pull mesh.Pull
	span storage.Span

	ctx     context.Context
	workers sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond
	pieces  map[uint64]*splitPart // by the sequence after which they begin
	again   []uint64              // pieces that a source did not finish
	next    uint64                // after which the next piece begins
	store   uint64                // the piece that is being stored
	held    int                   // bytes in memory
	sources int                   // that still work
	short   int                   // pieces that were through before they ended
	over    bool
	fault   error // of the last source that gave up
}

// splitPart is one piece: what has come of it, in order.
type splitPart struct {
	frames [][]byte
	whole  bool
}

// pullSplit fetches a big range from several sources, and stores it in order.
// What a source did not finish, another one begins anew; what was stored is not
// asked for again.
func (n *Node) pullSplit(ctx context.Context, p mesh.Pull) (int, error) {
	r := p.Ranges[0]
	s := &splitPull{node: n, pull: p, span: storage.Span{Log: r.Log, After: r.After, UpTo: r.Upto},
		pieces: make(map[uint64]*splitPart), next: r.After, store: r.After}
	s.changed = sync.NewCond(&s.mu)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, s.end)
	defer stop()
	s.ctx = ctx
	s.join(p.From)
	n.state.mu.Lock()
	for _, peer := range n.state.shares[p.ID] {
		s.join(peer)
	}
	delete(n.state.shares, p.ID)
	n.state.splits[p.ID] = s
	n.state.mu.Unlock()
	total, err := s.storeAll(ctx)
	n.state.mu.Lock()
	delete(n.state.splits, p.ID)
	n.state.mu.Unlock()
	s.end()
	cancel()
	s.workers.Wait()
	return total, err
}

// share names another source of a big pull, which may not have begun yet.
func (n *Node) share(sh mesh.Share) {
	n.state.mu.Lock()
	defer n.state.mu.Unlock()
	if s := n.state.splits[sh.ID]; s != nil {
		s.join(sh.Also)
	} else if n.state.cancels[sh.ID] != nil {
		n.state.shares[sh.ID] = append(n.state.shares[sh.ID], sh.Also)
	}
}

// join lets another source work.
func (s *splitPull) join(peer storage.NodeID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.sources++
		s.workers.Go(func() { s.work(s.ctx, peer) })
	}
}

func (s *splitPull) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.changed.Broadcast()
}

// take gives a source its next piece; ok is false when there is none left.
func (s *splitPull) take() (after uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.over {
		switch {
		case len(s.again) > 0:
			after, s.again = s.again[0], s.again[1:]
			s.pieces[after] = &splitPart{}
			return after, true
		case s.next < s.span.UpTo && s.next < s.store+splitAhead*splitPiece:
			after = s.next
			s.next = min(s.next+splitPiece, s.span.UpTo)
			s.pieces[after] = &splitPart{}
			return after, true
		}
		s.changed.Wait()
	}
	return 0, false
}

// work fetches pieces from one source until none is left or it fails.
func (s *splitPull) work(ctx context.Context, peer storage.NodeID) {
	for {
		after, ok := s.take()
		if !ok {
			return
		}
		if err := s.fetch(ctx, peer, after); err != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.sources--
			s.fault = err
			for _, f := range s.pieces[after].frames {
				s.held -= len(f)
			}
			delete(s.pieces, after)
			s.again = append(s.again, after)
			s.changed.Broadcast()
			return
		}
	}
}

// fetch asks one source for one piece.
func (s *splitPull) fetch(ctx context.Context, peer storage.NodeID, after uint64) error {
	conn, err := s.node.pullConn(ctx, peer)
	if err != nil {
		return err
	}
	span := storage.Span{Log: s.span.Log, After: after, UpTo: min(after+splitPiece, s.span.UpTo)}
	if at := s.node.cfg.Store.Position(span.Log).Sequence; at > span.After {
		span.After = min(at, span.UpTo) // another source had begun it
	}
	id, a, err := conn.ask(frameRequest, appendSpan([]byte{0}, span))
	if err != nil {
		return err
	}
	defer conn.forget(id, a)
	for {
		f, err := s.await(ctx, conn, a)
		if err != nil {
			conn.forget(id, a)
			conn.send(frameCancel, id, nil)
			return err
		}
		if f.kind == frameEnd {
			if err := endError(f.body); err != nil {
				return err
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.pieces[after].whole = true
			s.changed.Broadcast()
			return nil
		}
		if !s.keep(after, f.body) {
			conn.forget(id, a)
			conn.send(frameCancel, id, nil)
			return ctx.Err()
		}
	}
}

// await waits for a frame of which at least splitLeast bytes come in each
// splitStall: on a thin link one takes longer than that.
func (s *splitPull) await(ctx context.Context, conn *pullConn, a *asked) (pullFrame, error) {
	quiet, cancel := context.WithCancel(ctx)
	defer cancel()
	stall := time.AfterFunc(splitStall, cancel)
	defer stall.Stop()
	came := 0
	return a.await(quiet, conn, func(bytes int) {
		s.node.put(func(c *mesh.Core, now mesh.Time) { c.PullProgress(now, s.pull.ID, bytes) })
		if came += bytes; came >= splitLeast {
			came = 0
			stall.Reset(splitStall)
		}
	})
}

// keep holds what came until it can be stored; it waits while too much is held.
func (s *splitPull) keep(after uint64, body []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.over && after != s.store && s.held+len(body) > splitBytes {
		s.changed.Wait()
	}
	if s.over {
		return false
	}
	part := s.pieces[after]
	part.frames = append(part.frames, body)
	s.held += len(body)
	s.changed.Broadcast()
	return true
}

var errShort = errors.New("cluster: the sources ended before the range did")

// storeAll stores the pieces in order, as they come.
func (s *splitPull) storeAll(ctx context.Context) (total int, err error) {
	recent := newContents()
	for s.store < s.span.UpTo {
		body, err := s.frame()
		if err != nil {
			return total, errors.Join(err, ctx.Err())
		}
		if body == nil { // the piece is through
			if s.node.cfg.Store.Position(s.span.Log).Sequence < min(s.store+splitPiece, s.span.UpTo) {
				if s.short++; s.short > 2*mesh.MaxSources {
					return total, errShort
				}
				s.mu.Lock() // the source had less than was thought: another one may have more
				s.again = append(s.again, s.store)
				s.changed.Broadcast()
				delete(s.pieces, s.store)
				s.mu.Unlock()
				continue
			}
			s.mu.Lock()
			delete(s.pieces, s.store)
			s.store = min(s.store+splitPiece, s.span.UpTo)
			s.changed.Broadcast()
			s.mu.Unlock()
			continue
		}
		total += len(body) + pullHead
		s.node.put(func(c *mesh.Core, now mesh.Time) { c.PullProgress(now, s.pull.ID, len(body)) })
		if err := s.node.take(ctx, s.pull.From, body, recent); err != nil {
			return total, err
		}
	}
	return total, nil
}

// frame is the next frame of the piece that is being stored; nil when that is
// whole.
func (s *splitPull) frame() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.over {
		if part := s.pieces[s.store]; part != nil {
			if len(part.frames) > 0 {
				body := part.frames[0]
				part.frames = part.frames[1:]
				s.held -= len(body)
				s.changed.Broadcast()
				return body, nil
			}
			if part.whole {
				return nil, nil
			}
		}
		if s.sources == 0 {
			return nil, errors.Join(errShort, s.fault)
		}
		s.changed.Wait()
	}
	return nil, errPullClosed
}
