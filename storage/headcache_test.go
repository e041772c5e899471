package storage

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestHeadCacheNeverLies plays random puts and gets on a small ring against a
// map: what is found is what was put last, and what is small and fresh is found.
func TestHeadCacheNeverLies(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 5))
		c := newHeadCache(2048 + rng.IntN(100<<10))
		truth := make(map[string][]Head)
		found := 0
		for i := range 4000 {
			path := fmt.Sprintf("%0*d.md", 1+rng.IntN(20), rng.IntN(600))
			if rng.IntN(2) == 0 {
				heads := make([]Head, 1+rng.IntN(4))
				for j := range heads {
					heads[j] = Head{Kind: KindPage, Generation: rng.Uint64N(1000), Arrival: uint64(i + 1)}
					heads[j].Hash[0] = byte(rng.IntN(256))
				}
				truth[path] = heads
				c.put(path, heads)
				got, ok := c.get(path)
				if size := headEntry + len(path) + len(encodeHeads(nil, heads)); ok != (size <= c.most/16) || ok && !slices.Equal(got, heads) {
					t.Fatalf("seed %d, step %d: just put %v, got %v, %v", seed, i, heads, got, ok)
				}
				continue
			}
			if got, ok := c.get(path); ok {
				found++
				if !slices.Equal(got, truth[path]) {
					t.Fatalf("seed %d, step %d: %s has %v, got %v", seed, i, path, truth[path], got)
				}
			}
		}
		if found == 0 || len(c.index) > c.used {
			t.Fatalf("seed %d: %d found, %d in the index of %d", seed, found, len(c.index), c.used)
		}
	}
}
