package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/erwik/erwik/cluster/mesh"
	"github.com/erwik/erwik/storage"
)

const (
	maxStories     = 16        // commits of one request
	maxStoryAnswer = 256 << 10 // bytes
	storyTime      = 700 * time.Millisecond
)

// Stories tells, for each commit, how it came to each node: this one and the
// neighbors on quick links that answer within 0.7 s. Hops are in the order of
// their times, which are each node's own clock's.
func (n *Node) Stories(ctx context.Context, hashes []storage.Hash) []any {
	hashes = hashes[:min(len(hashes), maxStories)]
	ctx, cancel := context.WithTimeout(ctx, storyTime)
	defer cancel()
	out := make([]story, len(hashes))
	for i, h := range hashes {
		out[i], _ = n.story(h)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, peer := range n.quick() {
		wg.Go(func() {
			theirs, err := n.askStories(ctx, peer, hashes)
			if err != nil {
				n.log.Debug("ask how commits came", "node", peer.Short(), "err", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for i := range out {
				if theirs[i].Commit == out[i].Commit && len(theirs[i].Hops) == 1 {
					out[i].Hops = append(out[i].Hops, theirs[i].Hops[0])
				}
			}
		})
	}
	wg.Wait()
	list := make([]any, len(out))
	for i := range out {
		slices.SortStableFunc(out[i].Hops, func(a, b hop) int { return a.At.Compare(b.At) })
		list[i] = out[i]
	}
	return list
}

// quick lists the neighbors that can be asked while somebody waits: those on
// healthy links.
func (n *Node) quick() (peers []storage.NodeID) {
	n.do(func(c *mesh.Core, _ mesh.Time) {
		for _, i := range c.Neighbors() {
			if i.State == "up" {
				peers = append(peers, i.ID)
			}
		}
	})
	return peers
}

// askStories asks one neighbor.
func (n *Node) askStories(ctx context.Context, peer storage.NodeID, hashes []storage.Hash) ([]story, error) {
	conn, err := n.pullConn(ctx, peer)
	if err != nil {
		return nil, err
	}
	var body []byte
	for _, h := range hashes {
		body = append(body, h[:]...)
	}
	request, a, err := conn.ask(frameStories, body)
	if err != nil {
		return nil, err
	}
	defer conn.forget(request, a)
	f, err := a.next(ctx, conn)
	if err == nil {
		err = endError(f.body)
	}
	if err != nil {
		return nil, err
	}
	if len(f.body) > maxStoryAnswer {
		return nil, fmt.Errorf("cluster: an answer of %d bytes, at most %d", len(f.body), maxStoryAnswer)
	}
	var list []story
	if err := json.Unmarshal(f.body[1:], &list); err != nil {
		return nil, fmt.Errorf("read how commits came: %w", err)
	}
	if len(list) != len(hashes) {
		return nil, fmt.Errorf("cluster: %d stories, want %d", len(list), len(hashes))
	}
	return list, nil
}

// stories answers a neighbor's question.
func (p *pullConn) stories(body []byte) ([]byte, error) {
	if len(body)%20 != 0 || len(body) > 20*maxStories {
		return nil, errors.New("cluster: not a list of hashes")
	}
	list := make([]story, 0, maxStories)
	for ; len(body) > 0; body = body[20:] {
		s, _ := p.node.story(storage.Hash(body[:20]))
		list = append(list, s)
	}
	text, err := json.Marshal(list)
	if err != nil {
		return nil, fmt.Errorf("tell how commits came: %w", err)
	}
	return append([]byte{endComplete}, text...), nil
}
