package page

import (
	"container/heap"
	"fmt"
	"slices"

	"github.com/erwik/erwik/storage"
)

// Which side of a search reaches a commit.
const (
	reachA = 1 << iota
	reachB
	// stale marks ancestors of a common ancestor: they are common too, but
	// never best.
	stale
	queued
)

// walk visits commits from the highest generation down, so that all children
// of a commit that the walk will ever see are visited before it.
type walk struct {
	g     Graph
	marks map[storage.Hash]int
	queue commitQueue
	fresh int // commits in the queue that are not stale
}

func newWalk(g Graph) *walk { return &walk{g: g, marks: map[storage.Hash]int{}} }

// mark adds marks to a commit and puts it in the queue when they are new.
func (w *walk) mark(h storage.Hash, marks int) error {
	old, seen := w.marks[h]
	if seen && old|marks == old {
		return nil
	}
	if old&queued != 0 {
		if old&stale == 0 && marks&stale != 0 {
			w.fresh--
		}
		w.marks[h] = old | marks
		return nil
	}
	c, err := w.g.Commit(h)
	if err != nil {
		return fmt.Errorf("read ancestor %s: %w", h, err)
	}
	heap.Push(&w.queue, c)
	w.marks[h] = old | marks | queued
	if (old|marks)&stale == 0 {
		w.fresh++
	}
	return nil
}

// next takes the commit of the highest generation off the queue, with its
// marks.
func (w *walk) next() (*storage.Commit, int) {
	c := heap.Pop(&w.queue).(*storage.Commit)
	marks := w.marks[c.Hash] &^ queued
	w.marks[c.Hash] = marks
	if marks&stale == 0 {
		w.fresh--
	}
	return c, marks
}

// bestCommonAncestors returns, sorted by hash, the commits that can be reached
// from a tip of both sides (a tip reaches itself) and from no other such
// commit.
func bestCommonAncestors(g Graph, a, b []storage.Hash) ([]*storage.Commit, error) {
	w := newWalk(g)
	for side, tips := range [][]storage.Hash{a, b} {
		for _, h := range tips {
			if err := w.mark(h, reachA<<side); err != nil {
				return nil, err
			}
		}
	}
	var found []*storage.Commit
	for w.fresh > 0 {
		c, marks := w.next()
		if marks&(reachA|reachB) == reachA|reachB {
			if marks&stale == 0 {
				found = append(found, c)
			}
			marks |= stale
		}
		for _, p := range c.Parents {
			if err := w.mark(p, marks); err != nil {
				return nil, err
			}
		}
	}
	found = slices.DeleteFunc(found, func(c *storage.Commit) bool { return w.marks[c.Hash]&stale != 0 })
	slices.SortFunc(found, func(x, y *storage.Commit) int { return x.Hash.Compare(y.Hash) })
	return found, nil
}

// unreached returns those of heads that are neither among tips nor ancestors
// of one.
func unreached(g Graph, heads, tips []storage.Hash) ([]storage.Hash, error) {
	wanted := make(map[storage.Hash]bool, len(heads))
	lowest := ^uint64(0)
	for _, h := range heads {
		if slices.Contains(tips, h) {
			continue
		}
		c, err := g.Commit(h)
		if err != nil {
			return nil, fmt.Errorf("read head %s: %w", h, err)
		}
		wanted[h] = true
		lowest = min(lowest, c.Generation)
	}
	if len(wanted) == 0 {
		return nil, nil
	}
	w := newWalk(g)
	for _, h := range tips {
		if err := w.mark(h, reachA); err != nil {
			return nil, err
		}
	}
	for len(w.queue) > 0 {
		c, _ := w.next()
		delete(wanted, c.Hash)
		if c.Generation <= lowest {
			continue // its ancestors are below every head
		}
		for _, p := range c.Parents {
			if err := w.mark(p, reachA); err != nil {
				return nil, err
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(heads), func(h storage.Hash) bool { return !wanted[h] }), nil
}

// commitQueue is a heap: highest generation first, then smallest hash.
type commitQueue []*storage.Commit

func (q commitQueue) Len() int      { return len(q) }
func (q commitQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q commitQueue) Less(i, j int) bool {
	if q[i].Generation != q[j].Generation {
		return q[i].Generation > q[j].Generation
	}
	return q[i].Hash.Compare(q[j].Hash) < 0
}
func (q *commitQueue) Push(x any) { *q = append(*q, x.(*storage.Commit)) }
func (q *commitQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}
