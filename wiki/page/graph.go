package page

import (
	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki/cache"
)

// commitCacheCost bounds the cache of commits, in bytes as estimated.
const commitCacheCost = 4 << 20

// cachedGraph keeps the commits that were read last. Visible commits never
// change, so nothing is ever outdated.
type cachedGraph struct {
	Graph
	commits *cache.Cache[storage.Hash, *storage.Commit]
}

func newCachedGraph(g Graph) *cachedGraph {
	return &cachedGraph{g, cache.New[storage.Hash, *storage.Commit](commitCacheCost, nil)}
}

// Commit implements Graph.
func (g *cachedGraph) Commit(h storage.Hash) (*storage.Commit, error) {
	if c, ok := g.commits.Get(h); ok {
		return c, nil
	}
	c, err := g.Graph.Commit(h)
	if err == nil {
		g.commits.Put(h, c, 768+len(c.Path)+len(c.Message)+len(c.Parents)*len(h))
	}
	return c, err
}
