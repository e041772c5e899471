package gitsource

import (
	"container/heap"
	"context"
	"fmt"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
)

// maxParents is how many parents a commit may have.
const maxParents = 1000

// commit is a git commit in the graph; commits stand parents first.
type commit struct {
	object  int32 // in the database
	tree    int32
	parents []int32 // in the graph
	time    int64   // of the committer, in seconds
	first   int32   // its changes begin here in history.changes
}

// readGraph reads all commits that tip reaches, and puts them in an order in
// which parents come first, and of those that might be next the oldest.
func (s *Source) readGraph(ctx context.Context) ([]commit, error) {
	d := &s.db
	tip, err := s.peel(s.tip)
	if err != nil {
		return nil, err
	}
	var found []commit
	at := map[int32]int32{tip: 0} // by object
	queue := []int32{tip}
	for len(found) < len(queue) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		o := queue[len(found)]
		content, err := d.read(o)
		if err != nil {
			return nil, err
		}
		f, err := parseCommit(content)
		if err != nil || d.objects[o].kind != plumbing.CommitObject {
			return nil, fmt.Errorf("commit %s: %w", d.objects[o].hash, err)
		}
		c := commit{object: o}
		if c.tree, err = d.find(f.tree); err != nil {
			return nil, fmt.Errorf("tree of commit %s: %w", d.objects[o].hash, err)
		}
		_, _, when := parseIdent(f.committer)
		c.time = when.Unix()
		if s.shallow[d.objects[o].hash] {
			f.parents = nil
		}
		if len(f.parents) > maxParents {
			return nil, fmt.Errorf("commit %s has %d parents, at most %d", d.objects[o].hash, len(f.parents), maxParents)
		}
		for _, h := range f.parents {
			p, err := d.find(h)
			if err != nil {
				return nil, fmt.Errorf("parent of commit %s: %w", d.objects[o].hash, err)
			}
			n, known := at[p]
			if !known {
				n = int32(len(queue))
				at[p] = n
				queue = append(queue, p)
			}
			if !slices.Contains(c.parents, n) {
				c.parents = append(c.parents, n)
			}
		}
		found = append(found, c)
	}
	return inOrder(d, found)
}

// peel follows annotated tags to their commit.
func (s *Source) peel(h plumbing.Hash) (int32, error) {
	for range 10 {
		o, err := s.db.find(h)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", s.branch, err)
		}
		switch s.db.objects[o].kind {
		case plumbing.CommitObject:
			return o, nil
		case plumbing.TagObject:
			content, err := s.db.read(o)
			if err != nil {
				return 0, err
			}
			if len(content) < 47 || string(content[:7]) != "object " {
				return 0, fmt.Errorf("%w: tag %s", errObject, h)
			}
			if h, err = parseHash(content[7:47]); err != nil {
				return 0, err
			}
		default:
			return 0, fmt.Errorf("%s is a %s, not a commit", s.branch, s.db.objects[o].kind)
		}
	}
	return 0, fmt.Errorf("%s is a tag of a tag, more than ten times over", s.branch)
}

// inOrder sorts commits. No clock is trusted: a parent comes first though it
// claims to be younger.
func inOrder(d *database, found []commit) ([]commit, error) {
	children := make([][]int32, len(found))
	missing := make([]int32, len(found))
	ready := &oldest{d: d, all: found}
	for i := range found {
		missing[i] = int32(len(found[i].parents))
		for _, p := range found[i].parents {
			children[p] = append(children[p], int32(i))
		}
		if missing[i] == 0 {
			ready.waiting = append(ready.waiting, int32(i))
		}
	}
	heap.Init(ready)
	place := make([]int32, len(found))
	sorted := make([]commit, 0, len(found))
	for len(ready.waiting) > 0 {
		i := heap.Pop(ready).(int32)
		place[i] = int32(len(sorted))
		c := found[i]
		for k, p := range c.parents {
			c.parents[k] = place[p]
		}
		sorted = append(sorted, c)
		for _, child := range children[i] {
			if missing[child]--; missing[child] == 0 {
				heap.Push(ready, child)
			}
		}
	}
	if len(sorted) != len(found) {
		return nil, fmt.Errorf("%w: a commit is its own ancestor", errObject)
	}
	return sorted, nil
}

// oldest gives the commit with the smallest time, and of those with one time
// that with the smallest hash.
type oldest struct {
	d       *database
	all     []commit
	waiting []int32
}

func (h *oldest) Len() int { return len(h.waiting) }
func (h *oldest) Less(i, j int) bool {
	a, b := &h.all[h.waiting[i]], &h.all[h.waiting[j]]
	if a.time != b.time {
		return a.time < b.time
	}
	x, y := h.d.objects[a.object].hash, h.d.objects[b.object].hash
	return string(x[:]) < string(y[:])
}
func (h *oldest) Swap(i, j int) { h.waiting[i], h.waiting[j] = h.waiting[j], h.waiting[i] }
func (h *oldest) Push(x any)    { h.waiting = append(h.waiting, x.(int32)) }
func (h *oldest) Pop() any {
	last := h.waiting[len(h.waiting)-1]
	h.waiting = h.waiting[:len(h.waiting)-1]
	return last
}
