package gitsource

import (
	"context"
	"fmt"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
)

// change is what a commit does to one file, seen from its first parent.
type change struct {
	file int32
	now  content
}

// content tells texts and modes apart: twice the index of the blob, and one
// more if the file may be executed.
type content int32

const (
	gone   content = -1 // there is no such file, or none that is a page's
	unfit  content = -2 // it can't be a page's text
	noFile content = -3
)

func (c content) blob() int32 { return int32(c >> 1) }

// findChanges compares each commit with its first parent, the newest first:
// that is the order in which git packs trees.
func (p *Plan) findChanges(ctx context.Context, step func(done, total int)) error {
	f := &differ{d: &p.source.db}
	f.found = func(path []byte, now *treeEntry) error {
		n := p.files.get(path)
		c, err := p.contentOf(n, now)
		if err == nil && c != noFile {
			p.changes = append(p.changes, change{n, c})
		}
		return err
	}
	for i := len(p.commits) - 1; i >= 0; i-- {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if i%64 == 0 {
			step(len(p.commits)-i, len(p.commits))
		}
		c := &p.commits[i]
		c.first = int32(len(p.changes))
		old := int32(noTree)
		if len(c.parents) > 0 {
			old = p.commits[c.parents[0]].tree
		}
		if err := f.compare(old, c.tree); err != nil {
			return fmt.Errorf("commit %s: %w", p.hash(int32(i)), err)
		}
	}
	return nil
}

// changesOf returns what commit i changes, in git's order of names.
func (p *Plan) changesOf(i int32) []change {
	end := int32(len(p.changes))
	if i > 0 {
		end = p.commits[i-1].first
	}
	return p.changes[p.commits[i].first:end]
}

// contentOf says what a file has become; noFile: it never counted.
func (p *Plan) contentOf(n int32, now *treeEntry) (content, error) {
	skip := p.files.all[n].skip
	var executable content
	switch {
	case now == nil && skip != "":
		return noFile, nil
	case now == nil:
		return gone, nil
	case now.mode == "120000":
		p.files.skip(n, skipLink)
		return gone, nil
	case now.mode == "160000":
		p.files.skip(n, skipModule)
		return gone, nil
	case skip != "":
		p.files.skip(n, skip)
		return noFile, nil
	case now.mode == "100755":
		executable = 1
	}
	d := &p.source.db
	blob, err := d.find(now.hash)
	if err != nil {
		return 0, fmt.Errorf("%.200q: %w", p.files.all[n].path, err)
	}
	if o := &d.objects[blob]; o.kind != plumbing.BlobObject {
		return 0, fmt.Errorf("%.200q: %w: %s is a %s", p.files.all[n].path, errObject, o.hash, o.kind)
	} else if !o.text {
		reason := skipText
		if o.size > maxText {
			reason = skipLarge
		}
		p.files.skip(n, reason)
		return unfit, nil
	}
	return content(blob)*2 + executable, nil
}

// touched returns the files that a merge may change, in the order of their
// numbers: those whose revisions differ between parents, and those that it
// changed itself.
func (p *Plan) touched(c *commit, changed map[int32]content) []int32 {
	all := make(map[int32]bool, len(changed))
	for n := range changed {
		all[n] = true
	}
	for _, other := range c.parents[1:] {
		differences(p.tries[c.parents[0]], p.tries[other], p.height, 0, func(n int32) { all[n] = true })
	}
	sorted := make([]int32, 0, len(all))
	for n := range all {
		sorted = append(sorted, n)
	}
	slices.Sort(sorted)
	return sorted
}
