package page_test

import (
	"crypto/sha1"
	"fmt"
	"slices"
	"strings"

	"github.com/erwik/erwik/storage"
)

// graph is a history in memory.
type graph struct {
	commits map[storage.Hash]*storage.Commit
	texts   map[storage.Hash][]byte
	reads   int // commits read
}

func newGraph() *graph {
	return &graph{commits: map[storage.Hash]*storage.Commit{}, texts: map[storage.Hash][]byte{}}
}

func (g *graph) Commit(h storage.Hash) (*storage.Commit, error) {
	g.reads++
	if c, ok := g.commits[h]; ok {
		return c, nil
	}
	return nil, storage.ErrNotFound
}

func (g *graph) Content(h storage.Hash) ([]byte, error) {
	if text, ok := g.texts[h]; ok {
		return text, nil
	}
	return nil, storage.ErrNotFound
}

// add makes a commit. The name makes its hash, so that texts alone don't.
func (g *graph) add(name string, kind storage.Kind, text string, parents ...storage.Hash) storage.Hash {
	c := &storage.Commit{Kind: kind, Path: "P.md", Parents: slices.Clone(parents), Generation: 1}
	for _, p := range parents {
		c.Generation = max(c.Generation, g.commits[p].Generation+1)
	}
	c.Hash = sha1.Sum(fmt.Appendf(nil, "%s %s %q %v", name, kind, text, parents))
	g.commits[c.Hash], g.texts[c.Hash] = c, []byte(text)
	return c.Hash
}

func (g *graph) page(name, text string, parents ...storage.Hash) storage.Hash {
	return g.add(name, storage.KindPage, text, parents...)
}

// heads returns the commits of a set that no other of the set follows.
func (g *graph) heads(set map[storage.Hash]bool) []storage.Hash {
	followed := map[storage.Hash]bool{}
	for h := range set {
		for _, p := range g.commits[h].Parents {
			followed[p] = true
		}
	}
	var heads []storage.Hash
	for h := range set {
		if !followed[h] {
			heads = append(heads, h)
		}
	}
	slices.SortFunc(heads, storage.Hash.Compare)
	return heads
}

// ancestors returns a commit and all before it.
func (g *graph) ancestors(h storage.Hash) map[storage.Hash]bool {
	set := map[storage.Hash]bool{}
	for todo := []storage.Hash{h}; len(todo) > 0; {
		next := todo[0]
		todo = todo[1:]
		if !set[next] {
			set[next] = true
			todo = append(todo, g.commits[next].Parents...)
		}
	}
	return set
}

func lines(words ...string) string { return strings.Join(words, "\n") + "\n" }
