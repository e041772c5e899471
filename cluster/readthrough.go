package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/erwik/erwik/cluster/mesh"
	"github.com/erwik/erwik/storage"
)

const (
	// maxHeads and maxHeadsPath bound a read through to a neighbor: the heads of
	// one page and the commits that they follow.
	maxHeads     = 64
	maxHeadsPath = storage.MaxPath
	frameHeads   = 8
	// readThroughTime is how long a reader waits for a page that is not here.
	readThroughTime = 2 * time.Second
	readThroughEach = 700 * time.Millisecond // one neighbor
)

var (
	// ErrWhole: the node has all that its neighbors are known to have.
	ErrWhole = errors.New("cluster: nothing is missing here")
	errHeads = errors.New("cluster: not the heads of that path")
)

// ReadThrough asks neighbors for the heads of a path while this node still
// copies what they have. It returns the heads' commits with their content, then
// those that they follow, and who sent them. Hashes and signatures are checked;
// nothing is kept. ErrWhole: there is nothing to ask for.
func (n *Node) ReadThrough(ctx context.Context, path string) (heads int, records []storage.Record, from string, err error) {
	if n.lacking.Load() == 0 {
		return 0, nil, "", ErrWhole
	}
	ctx, cancel := context.WithTimeout(ctx, readThroughTime)
	defer cancel()
	for _, peer := range n.quick() {
		var failed error
		if heads, records, failed = n.askHeads(ctx, peer, path); failed == nil && heads > 0 {
			return heads, records, n.nameOf(peer), nil
		}
		err = errors.Join(err, failed)
		if ctx.Err() != nil {
			break
		}
	}
	return 0, nil, "", err
}

// nameOf is what people call a node.
func (n *Node) nameOf(id storage.NodeID) (name string) {
	n.do(func(c *mesh.Core, _ mesh.Time) {
		if r := c.Record(id); r != nil {
			name = r.Name
		}
	})
	return name
}

// askHeads asks one neighbor.
func (n *Node) askHeads(ctx context.Context, peer storage.NodeID, path string) (heads int, records []storage.Record, err error) {
	ctx, cancel := context.WithTimeout(ctx, readThroughEach)
	defer cancel()
	conn, err := n.pullConn(ctx, peer)
	if err != nil {
		return 0, nil, err
	}
	request, a, err := conn.ask(frameHeads, []byte(path))
	if err != nil {
		return 0, nil, err
	}
	defer conn.forget(request, a)
	f, err := a.next(ctx, conn)
	if err == nil {
		err = endError(f.body)
	}
	if err != nil || len(f.body) == 1 {
		return 0, nil, err
	}
	heads = int(f.body[1])
	chunk, err := n.packer.unpack(nil, f.body[2:])
	if err != nil {
		return 0, nil, err
	}
	err = parseRecords(chunk, nil, func(r storage.Record) error {
		if r.Path != path || len(records) >= maxHeads {
			return errHeads
		}
		// Who is admitted is among what is still being copied: the neighbor, who
		// is, has checked it.
		if err := r.Check(); err != nil {
			return err
		}
		records = append(records, r)
		return nil
	})
	if err == nil && heads > len(records) {
		err = errHeads
	}
	if err != nil {
		n.count("read_through")
		return 0, nil, fmt.Errorf("read %q through %s: %w", path, peer.Short(), err)
	}
	return heads, records, nil
}

// heads answers a neighbor's question: 0, how many heads (1), then records.
func (p *pullConn) heads(body []byte) ([]byte, error) {
	if len(body) == 0 || len(body) > maxHeadsPath {
		return nil, errors.New("cluster: not a path")
	}
	store := p.node.cfg.Store
	found, err := store.Heads(string(body))
	if err != nil || len(found) == 0 || len(found) > maxHeads {
		return []byte{endComplete}, err
	}
	seen := make(map[storage.Hash]bool)
	var chunk []byte
	add := func(h storage.Hash) (storage.Record, bool, error) {
		r, err := store.Record(h)
		if err != nil || len(seen) >= maxHeads || len(chunk)+len(r.Content)+storage.MaxRecord > maxChunk {
			return r, false, err
		}
		if !seen[h] {
			seen[h] = true
			chunk = appendRecord(chunk, r, nil)
		}
		return r, true, nil
	}
	var parents []storage.Hash
	for _, h := range found {
		r, fits, err := add(h.Hash)
		if err != nil || !fits {
			return []byte{endComplete}, err // too much for a reader who waits
		}
		parents = append(parents, r.Parents...)
	}
	for _, h := range parents {
		if len(found) < 2 {
			break // no merge needs them
		}
		if _, fits, err := add(h); err != nil || !fits {
			break
		}
	}
	return p.node.packer.pack([]byte{endComplete, byte(len(found))}, chunk), nil
}
