package gitsource

import (
	"bytes"
	"fmt"

	"github.com/go-git/go-git/v5/plumbing"
)

// maxDepth is how deep folders may be nested.
const maxDepth = 500

// differ compares trees.
type differ struct {
	d *database
	// found is told of each file that is not the same: the entry is nil where
	// there is none any more.
	found func(path []byte, now *treeEntry) error
	path  []byte
	depth int
}

const noTree = -1

// compare compares two trees, given by index.
func (f *differ) compare(old, now int32) error {
	if old == now {
		return nil
	}
	if f.depth++; f.depth > maxDepth {
		return fmt.Errorf("%w: folders are nested %d deep", errObject, maxDepth)
	}
	defer func() { f.depth-- }()
	a, err := f.tree(old)
	if err != nil {
		return err
	}
	b, err := f.tree(now)
	if err != nil {
		return err
	}
	for len(a) > 0 || len(b) > 0 {
		if len(a) > 0 && len(b) > 0 { // most entries are the same
			if zero := bytes.IndexByte(a, 0); zero >= 0 && len(a) >= zero+21 && len(b) >= zero+21 && bytes.Equal(a[:zero+21], b[:zero+21]) {
				a, b = a[zero+21:], b[zero+21:]
				continue
			}
		}
		var x, y *treeEntry
		if len(a) > 0 {
			e, err := parseEntry(a)
			if err != nil {
				return err
			}
			x = &e
		}
		if len(b) > 0 {
			e, err := parseEntry(b)
			if err != nil {
				return err
			}
			y = &e
		}
		switch order := entryOrder(x, y); {
		case order < 0:
			y = nil
		case order > 0:
			x = nil
		}
		if x != nil {
			a = a[x.size:]
		}
		if y != nil {
			b = b[y.size:]
		}
		if err := f.entry(x, y); err != nil {
			return err
		}
	}
	return nil
}

// entryOrder compares names as git sorts them: those of folders as if a slash
// followed.
func entryOrder(x, y *treeEntry) int {
	switch {
	case y == nil:
		return -1
	case x == nil:
		return 1
	}
	n := min(len(x.name), len(y.name))
	if c := bytes.Compare(x.name[:n], y.name[:n]); c != 0 {
		return c
	}
	return int(after(x, n)) - int(after(y, n))
}

func after(e *treeEntry, n int) byte {
	if len(e.name) > n {
		return e.name[n]
	}
	if e.isTree() {
		return '/'
	}
	return 0
}

// entry compares two entries of one name; either may be nil.
func (f *differ) entry(x, y *treeEntry) error {
	name := y
	if y == nil {
		name = x
	}
	length := len(f.path)
	if length > 0 {
		f.path = append(f.path, '/')
	}
	f.path = append(f.path, name.name...)
	defer func() { f.path = f.path[:length] }()
	if name.isTree() { // both are, or one is nil
		old, err := f.subtree(x)
		if err != nil {
			return err
		}
		now, err := f.subtree(y)
		if err != nil {
			return err
		}
		return f.compare(old, now)
	}
	return f.found(f.path, y)
}

func (f *differ) subtree(e *treeEntry) (int32, error) {
	if e == nil {
		return noTree, nil
	}
	return f.d.find(e.hash)
}

func (f *differ) tree(i int32) ([]byte, error) {
	if i == noTree {
		return nil, nil
	}
	if o := &f.d.objects[i]; o.kind != plumbing.TreeObject {
		return nil, fmt.Errorf("%w: %s is a %s, not a tree", errObject, o.hash, o.kind)
	}
	return f.d.read(i)
}
