package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/erwik/erwik/storage"
)

// errBroken: what a pull brought does not follow what is held here.
var errBroken = errors.New("cluster: the neighbor's log is another")

// digTime bounds one search for a fork.
const digTime = 2 * time.Minute

// dig pulls earlier parts of a log, or of a branch, from a neighbor whose
// commits do not follow those held here, each time twice as far back, until the
// store has found the fork or the beginning is reached. The rest then comes by
// the vectors: a fork makes branches, which are logs.
func (n *Node) dig(peer storage.NodeID, log storage.LogID) {
	n.state.mu.Lock()
	busy := n.state.digging[log] || len(n.state.digging) >= maxDigs
	if !busy {
		n.state.digging[log] = true
	}
	n.state.mu.Unlock()
	if busy {
		return // the next comparison begins again
	}
	defer func() {
		n.state.mu.Lock()
		delete(n.state.digging, log)
		n.state.mu.Unlock()
	}()
	ctx, cancel := context.WithTimeout(n.ctx, digTime)
	defer cancel()
	held := n.cfg.Store.Position(log)
	for step := uint64(1); ctx.Err() == nil; step *= 2 {
		after := held.Sequence - min(held.Sequence, step)
		_, err := n.pullSpans(ctx, peer, 0, []storage.Span{{Log: log, After: after, UpTo: held.Sequence + 1}}, 0)
		if now := n.cfg.Store.Position(log); now != held || after == 0 {
			return
		}
		if err != nil && !errors.Is(err, errBroken) {
			n.log.Debug("look for a fork", "from", peer.Short(), "err", err)
			return
		}
	}
}

// maxDigs bounds the logs whose forks are searched at once.
const maxDigs = 4
