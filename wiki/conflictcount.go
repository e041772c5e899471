package wiki

import (
	"sync"
	"sync/atomic"

	"github.com/erwik/erwik/wiki/page"
)

// conflictCount knows how many pages are in conflict, for the head of every
// page. It looks at candidates a few at a time, when somebody asks.
type conflictCount struct {
	pages *page.Service
	count atomic.Int64
	stale atomic.Bool // there is something to look at

	look sync.Mutex // held by whoever looks; never waited for

	mu       sync.Mutex // guards all below; taken inside saves
	found    map[string]struct{}
	dirty    map[string]struct{} // paths to look at
	cursor   string              // how far the list of candidates was read
	complete bool                // it was read to its end
}

// conflictStep is how many candidates one look takes, maxDirty how many paths
// wait for it; beyond that the whole list is read anew.
const (
	conflictStep = 50
	maxDirty     = 50_000
)

func newConflictCount(pages *page.Service) *conflictCount {
	c := &conflictCount{pages: pages, found: map[string]struct{}{}, dirty: map[string]struct{}{}}
	c.stale.Store(true)
	return c
}

// changed notes that a path has other heads now.
func (c *conflictCount) changed(path string, heads int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.found[path]; heads < 2 && !known {
		return
	}
	c.dirty[path] = struct{}{}
	if len(c.dirty) > maxDirty {
		clear(c.dirty)
		clear(c.found)
		c.cursor, c.complete = "", false
	}
	c.stale.Store(true)
}

// Count returns the number of conflicts found so far.
func (c *conflictCount) Count() int {
	if c.stale.Load() && c.look.TryLock() {
		c.step()
		c.look.Unlock()
	}
	return int(c.count.Load())
}

// step looks at a few candidates.
func (c *conflictCount) step() {
	c.mu.Lock()
	var paths []string
	for path := range c.dirty {
		if len(paths) == conflictStep {
			break
		}
		paths = append(paths, path)
		delete(c.dirty, path)
	}
	cursor, complete := c.cursor, c.complete
	c.mu.Unlock()

	inConflict := map[string]bool{}
	for _, path := range paths {
		inConflict[path] = c.isConflict(path)
	}
	if !complete {
		pages, next, err := c.pages.Conflicts(cursor, conflictStep)
		if err == nil {
			for _, p := range pages {
				inConflict[p.Path()] = true
			}
			cursor, complete = next, next == ""
		}
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	for path, is := range inConflict {
		if is {
			c.found[path] = struct{}{}
		} else {
			delete(c.found, path)
		}
	}
	c.cursor, c.complete = cursor, complete
	c.stale.Store(len(c.dirty) > 0 || !complete)
	c.count.Store(int64(len(c.found)))
}

func (c *conflictCount) isConflict(path string) bool {
	if name, ok := page.FileOfPath(path); ok {
		f, err := c.pages.File(name)
		return err == nil && f.Conflict
	}
	name, ok := page.NameOfPath(path)
	if !ok {
		return false
	}
	p, err := c.pages.Page(name)
	return err == nil && p.Conflict
}
