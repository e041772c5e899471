package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/erwik/erwik/cluster/mesh"
	"github.com/erwik/erwik/storage"
)

// pull does one pull for the core and tells it the outcome.
func (n *Node) pull(ctx context.Context, p mesh.Pull) {
	spans := make([]storage.Span, len(p.Ranges))
	for i, r := range p.Ranges {
		// Upto is not passed on: what the source got since comes along.
		spans[i] = storage.Span{Log: r.Log, After: r.After}
	}
	start := time.Now()
	early, done := n.foresight.take(p)
	defer done()
	var bytes int
	var err error
	if early != nil && early.carried != nil {
		bytes, err = len(early.carried), n.take(ctx, p.From, early.carried, newContents())
	} else if early != nil {
		start = early.start
		bytes, err = n.receive(ctx, early.conn, early.id, early.asked, p.ID)
	} else if p.Big {
		bytes, err = n.pullSplit(ctx, p)
	} else {
		bytes, err = n.pullSpans(ctx, p.From, p.ID, spans, 0)
	}
	if errors.Is(err, errNoBase) {
		bytes, err = n.pullSpans(ctx, p.From, p.ID, spans, requestNoDeltas)
	}
	took := time.Since(start)
	if early != nil && early.carried != nil || p.Big {
		took = 0 // says nothing of the link
	}
	cancelled := ctx.Err() != nil // or the node closes
	n.endPull(p.ID)
	if cancelled {
		return
	}
	if errors.Is(err, errBroken) {
		for _, s := range spans {
			n.spawn(func() { n.dig(p.From, s.Log) })
		}
	}
	if err != nil {
		n.log.Debug("pull", "from", p.From.Short(), "err", err)
		n.put(func(c *mesh.Core, now mesh.Time) { c.PullFailed(now, p.ID) })
		return
	}
	n.put(func(c *mesh.Core, now mesh.Time) { c.PullDone(now, p.ID, bytes, took) })
}

// pullSpans fetches commits from peer into the store and returns how many
// bytes came.
func (n *Node) pullSpans(ctx context.Context, peer storage.NodeID, id uint64, spans []storage.Span, flags byte) (int, error) {
	conn, err := n.pullConn(ctx, peer)
	if err != nil {
		return 0, err
	}
	body := []byte{flags}
	for _, s := range spans {
		body = appendSpan(body, s)
	}
	request, a, err := conn.ask(frameRequest, body)
	if err != nil {
		return 0, err
	}
	return n.receive(ctx, conn, request, a, id)
}

// receive takes the answer of a request into the store. pull is the core's
// number of it, 0 if it is none of the core's.
func (n *Node) receive(ctx context.Context, conn *pullConn, request uint64, a *asked, pull uint64) (int, error) {
	defer conn.forget(request, a)
	total := 0
	recent := newContents()
	// Without moved the core would take the pull of a long frame over a slow link
	// for one that stands still, and begin it again, for ever.
	told := 0 // of a frame that is on its way
	moved := func(bytes int) {
		told += bytes
		if pull != 0 {
			n.put(func(c *mesh.Core, now mesh.Time) { c.PullProgress(now, pull, bytes) })
		}
	}
	for {
		f, err := a.await(ctx, conn, moved)
		if err != nil {
			if ctx.Err() != nil {
				conn.forget(request, a)
				conn.send(frameCancel, request, nil)
			}
			return total, err
		}
		total += len(f.body) + pullHead
		if f.kind == frameEnd {
			return total, endError(f.body)
		}
		moved(max(len(f.body)-told, 1))
		told = 0
		if err := n.take(ctx, conn.peer, f.body, recent); err != nil {
			conn.forget(request, a) // first: it must not wait for what nobody takes
			conn.send(frameCancel, request, nil)
			return total, err
		}
	}
}

// next waits for a frame.
func (a *asked) next(ctx context.Context, conn *pullConn) (pullFrame, error) {
	return a.await(ctx, conn, nil)
}

// await waits for a frame, and tells moved, if that is given, what has come of
// one that takes long.
func (a *asked) await(ctx context.Context, conn *pullConn, moved func(bytes int)) (pullFrame, error) {
	select {
	case f := <-a.frames:
		return f, nil
	default:
	}
	var look <-chan time.Time
	if moved != nil {
		ticker := time.NewTicker(progressEach)
		defer ticker.Stop()
		look = ticker.C
	}
	for last := a.came.Load(); ; {
		select {
		case f := <-a.frames:
			return f, nil
		case <-conn.done:
			select {
			case f := <-a.frames:
				return f, nil
			default:
				return pullFrame{}, conn.err
			}
		case <-ctx.Done():
			return pullFrame{}, ctx.Err()
		case <-look:
			if came := a.came.Load(); came != last {
				moved(int(came - last))
				last = came
			}
		}
	}
}

func endError(body []byte) error {
	if len(body) > 0 && body[0] == endComplete {
		return nil
	}
	if len(body) == 0 {
		return errChunk
	}
	return fmt.Errorf("cluster: the neighbor can't serve the pull: %.200q", body[1:])
}

// takeBytes and takeRecords bound what is given to the store at once: the
// deltas of one frame may stand for texts of any size together.
const (
	takeBytes   = 8 << 20
	takeRecords = 1024
)

// take unpacks one data frame and gives its records to the store.
func (n *Node) take(ctx context.Context, peer storage.NodeID, body []byte, recent *contents) error {
	chunk, err := n.packer.unpack(n.packer.room(), body)
	defer func() { n.packer.giveBack(chunk) }()
	if err != nil {
		n.count("pull_chunk")
		n.blame(peer, mesh.DropPull)
		return err
	}
	base := func(h storage.Hash) ([]byte, bool) {
		if content, found := recent.get(h); found {
			return content, true
		}
		content, err := n.cfg.Store.Content(h)
		return content, err == nil
	}
	var records []storage.Record
	var refused error
	size, used, broken := 0, 0, false
	store := func() error {
		got, err := n.cfg.Store.Receive(ctx, records)
		if err != nil {
			return fmt.Errorf("store what was pulled: %w", err)
		}
		for reason, times := range got.Refused {
			n.countN("commit_"+reason, times)
		}
		if got.First != nil {
			if got.Refused[storage.RefusedSignature] > 0 {
				n.blame(peer, mesh.DropCommit)
			}
			n.log.Warn("a pulled commit was refused", "from", peer.String(), "err", got.First)
			refused = got.First
		}
		if len(got.Missing) > 0 {
			n.want(peer, got.Missing)
		}
		for _, log := range got.Broken {
			broken = true
			n.spawn(func() { n.dig(peer, log) })
		}
		used += got.Accepted + got.Staged + got.Known
		records, size = nil, 0
		return nil
	}
	err = parseRecords(chunk, base, func(r storage.Record) error {
		recent.add(r)
		records = append(records, r)
		if size += len(r.Content); size < takeBytes && len(records) < takeRecords {
			return nil
		}
		return store()
	})
	if errors.Is(err, errChunk) {
		n.count("pull_chunk")
		n.blame(peer, mesh.DropPull)
		return err
	}
	if err == nil || errors.Is(err, errNoBase) {
		err = errors.Join(err, store())
	}
	if err == nil && refused != nil && used == 0 && broken {
		err = fmt.Errorf("%w: %w", errBroken, refused)
	} else if err == nil && refused != nil && used == 0 {
		err = fmt.Errorf("nothing of what was pulled is valid: %w", refused)
	}
	return err
}

// want pulls, from peer, the commits that staged ones wait for.
func (n *Node) want(peer storage.NodeID, hashes []storage.Hash) {
	n.spawn(func() {
		ctx, cancel := context.WithTimeout(n.ctx, time.Minute)
		defer cancel()
		if err := n.fetchFrom(ctx, peer, hashes); err != nil {
			n.log.Debug("fetch missing parents", "from", peer.Short(), "err", err)
		}
	})
}

// fetchFrom asks peer where commits stand and pulls their logs up to there.
func (n *Node) fetchFrom(ctx context.Context, peer storage.NodeID, hashes []storage.Hash) error {
	conn, err := n.pullConn(ctx, peer)
	if err != nil {
		return err
	}
	var body []byte
	for _, h := range hashes[:min(len(hashes), maxLocate)] {
		body = append(body, h[:]...)
	}
	request, a, err := conn.ask(frameLocate, body)
	if err != nil {
		return err
	}
	f, err := a.next(ctx, conn)
	conn.forget(request, a)
	if err == nil {
		err = endError(f.body)
	}
	if err != nil {
		return err
	}
	spans, err := parseSpans(f.body[1:])
	if err != nil {
		return err
	}
	var missing []storage.Span
	for _, s := range spans {
		s.After = n.cfg.Store.Position(s.Log).Sequence
		if s.UpTo > s.After && n.cfg.Store.Taken(s.Log.Node) {
			missing = append(missing, s)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	_, err = n.pullSpans(ctx, peer, 0, missing, 0)
	return err
}

// Fetch asks neighbors for commits that are not here, until all have come, all
// have been asked, or ctx ends.
func (n *Node) Fetch(ctx context.Context, hashes []storage.Hash) error {
	var last error
	for _, peer := range n.linked() {
		missing := n.missing(hashes)
		if len(missing) == 0 {
			return nil
		}
		if err := n.fetchFrom(ctx, peer, missing); err != nil {
			last = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	if len(n.missing(hashes)) == 0 {
		return nil
	}
	return errors.Join(errors.New("cluster: no neighbor in reach has the commit"), last, ctx.Err())
}

func (n *Node) missing(hashes []storage.Hash) (missing []storage.Hash) {
	for _, h := range hashes {
		if _, err := n.cfg.Store.Commit(h); err != nil {
			missing = append(missing, h)
		}
	}
	return missing
}

// contents keeps what a running pull brought, as bases of its deltas, bounded.
type contents struct {
	by    map[storage.Hash][]byte
	order []storage.Hash
	size  int
}

const maxContents = 8 << 20

func newContents() *contents { return &contents{by: make(map[storage.Hash][]byte)} }

func (c *contents) get(h storage.Hash) ([]byte, bool) {
	content, found := c.by[h]
	return content, found
}

func (c *contents) add(r storage.Record) {
	if _, twice := c.by[r.Hash]; twice {
		return
	}
	c.by[r.Hash] = r.Content
	c.order = append(c.order, r.Hash)
	c.size += len(r.Content) + 64
	for c.size > maxContents {
		c.size -= len(c.by[c.order[0]]) + 64
		delete(c.by, c.order[0])
		c.order = c.order[1:]
	}
}
