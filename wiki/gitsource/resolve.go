package gitsource

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/go-git/go-git/v5/plumbing"
)

// maxHeld bounds, for each core, the contents that are held while deltas are
// resolved, in bytes.
const maxHeld = 24 << 20

// resolver names the objects of one pack that are deltas: from each whole
// object down the tree of what builds on it, so that each is made once.
type resolver struct {
	d       *database
	first   int
	head    []int32 // by object: its first child, as index + 1
	next    []int32 // by object: the next child of the same base
	roots   []int32
	taken   atomic.Int64
	named   atomic.Int64
	mu      sync.Mutex // guards waiting
	waiting map[plumbing.Hash][]int32
}

func (d *database) resolve(ctx context.Context, first int, step func(done, total int)) error {
	count := len(d.objects) - first
	r := &resolver{d: d, first: first, waiting: d.waiting, head: make([]int32, count), next: make([]int32, count)}
	d.waiting = make(map[plumbing.Hash][]int32)
	for i := count - 1; i >= 0; i-- {
		o := &d.objects[first+i]
		if o.base >= 0 {
			r.next[i] = r.head[int(o.base)-first]
			r.head[int(o.base)-first] = int32(i) + 1
		}
	}
	for i := range count {
		o := &d.objects[first+i]
		if !o.hash.IsZero() {
			r.named.Add(1)
			if r.head[i] != 0 || r.waiting[o.hash] != nil {
				r.roots = append(r.roots, int32(first+i))
			}
		}
	}
	workers := runtime.GOMAXPROCS(0)
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() { errs[w] = r.work(ctx, func() { step(int(r.named.Load()), count) }, w == 0) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	if named := int(r.named.Load()); named != count {
		return fmt.Errorf("%w: %d objects build on ones that are not in it", errPack, count-named)
	}
	return nil
}

// frame is an object whose children are being made.
type frame struct {
	index   int32
	content []byte // nil: let go, to be made again
	child   int32  // the next one by offset, index in the pack + 1
	waiting []int32
}

// resolving is one worker.
type resolving struct {
	*resolver
	reader *packReader
	hash   *hasher
	delta  []byte
	spare  [][]byte
	stack  []frame
	held   int
}

func (r *resolver) work(ctx context.Context, step func(), tells bool) error {
	w := &resolving{resolver: r, reader: newPackReader(), hash: newHasher()}
	for {
		at := int(r.taken.Add(1)) - 1
		if at >= len(r.roots) {
			return nil
		}
		if tells {
			step()
		}
		if err := w.tree(ctx, r.roots[at]); err != nil {
			return err
		}
	}
}

// tree names everything that builds on root.
func (w *resolving) tree(ctx context.Context, root int32) error {
	d := w.d
	content, err := w.whole(root)
	if err != nil {
		return err
	}
	w.push(root, content)
	for len(w.stack) > 0 {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f := &w.stack[len(w.stack)-1]
		child := w.child(f)
		if child < 0 {
			w.pop()
			continue
		}
		if f.content == nil {
			if f.content, err = w.again(len(w.stack) - 1); err != nil {
				return err
			}
			w.held += len(f.content)
		}
		o := &d.objects[child]
		w.reader.seek(d.packs[o.pack], o.offset)
		e, err := w.reader.entry()
		if err == nil {
			w.delta, err = w.reader.content(w.delta[:0], e.size)
		}
		var made []byte
		if err == nil {
			made, err = applyDelta(w.buffer(), f.content, w.delta)
		}
		if err != nil {
			return fmt.Errorf("object at %d: %w", o.offset, err)
		}
		o.base = f.index
		o.complete(w.hash, d.objects[root].kind, made)
		w.named.Add(1)
		w.push(child, made)
	}
	return nil
}

// child takes the next child of a frame, or returns -1.
func (w *resolving) child(f *frame) int32 {
	if f.child != 0 {
		child := f.child - 1
		f.child = w.next[child]
		return int32(w.first) + child
	}
	if n := len(f.waiting); n > 0 {
		child := f.waiting[n-1]
		f.waiting = f.waiting[:n-1]
		return child
	}
	return -1
}

func (w *resolving) push(index int32, content []byte) {
	f := frame{index: index, content: content, child: w.head[int(index)-w.first]}
	w.mu.Lock()
	if len(w.waiting) > 0 {
		hash := w.d.objects[index].hash
		f.waiting = w.waiting[hash]
		delete(w.waiting, hash)
	}
	w.mu.Unlock()
	w.stack = append(w.stack, f)
	w.held += len(content)
	for i := 0; w.held > maxHeld && i < len(w.stack)-1; i++ {
		w.letGo(&w.stack[i])
	}
}

func (w *resolving) pop() {
	w.letGo(&w.stack[len(w.stack)-1])
	w.stack = w.stack[:len(w.stack)-1]
}

func (w *resolving) letGo(f *frame) {
	w.held -= len(f.content)
	if cap(f.content) > 0 && len(w.spare) < 8 && cap(f.content) <= 1<<20 {
		w.spare = append(w.spare, f.content[:0])
	}
	f.content = nil
}

// buffer returns one that is used no more.
func (w *resolving) buffer() []byte {
	if n := len(w.spare); n > 0 {
		b := w.spare[n-1]
		w.spare = w.spare[:n-1]
		return b
	}
	return nil
}

// whole reads an object that is no delta.
func (w *resolving) whole(i int32) ([]byte, error) {
	o := &w.d.objects[i]
	w.reader.seek(w.d.packs[o.pack], o.offset)
	e, err := w.reader.entry()
	if err != nil {
		return nil, err
	}
	return w.reader.content(w.buffer(), e.size)
}

// again makes the content of a frame that was let go, from the nearest one
// below it that was not.
func (w *resolving) again(at int) ([]byte, error) {
	from := at
	for from > 0 && w.stack[from].content == nil {
		from--
	}
	content := slices.Clone(w.stack[from].content)
	if content == nil {
		var err error
		if content, err = w.whole(w.stack[from].index); err != nil {
			return nil, err
		}
	}
	for from++; from <= at; from++ {
		o := &w.d.objects[w.stack[from].index]
		w.reader.seek(w.d.packs[o.pack], o.offset)
		e, err := w.reader.entry()
		if err == nil {
			w.delta, err = w.reader.content(w.delta[:0], e.size)
		}
		var made []byte
		if err == nil {
			made, err = applyDelta(nil, content, w.delta)
		}
		if err != nil {
			return nil, fmt.Errorf("object at %d: %w", o.offset, err)
		}
		content = made
	}
	return content, nil
}
