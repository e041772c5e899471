package gitsource

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"
	"unicode/utf8"

	"github.com/go-git/go-git/v5/plumbing"
	githash "github.com/go-git/go-git/v5/plumbing/hash"

	"github.com/erwik/erwik/storage"
)

// database finds objects in packs and among loose files.
type database struct {
	packs   []*packFile
	loose   []looseFolder
	objects []object
	table   []int32 // open addressing by the first bytes of the hash; index + 1
	waiting map[plumbing.Hash][]int32
	cache   *contentCache
	reader  *packReader
	delta   []byte
}

const (
	noBase    = -1
	looseBase = -2 // the object is a file of its own; offset says in which folder
)

// object is one object of the source.
type object struct {
	hash   plumbing.Hash
	offset int64
	base   int32 // index of the object that it is a delta against
	size   uint32
	pack   uint16
	kind   plumbing.ObjectType
	text   bool // a blob that may be the text of a page
}

// complete fills in what follows from the content.
func (o *object) complete(h *hasher, kind plumbing.ObjectType, content []byte) {
	h.begin(kind, int64(len(content)))
	h.sum.Write(content)
	o.hash, o.kind, o.size = h.end(), kind, uint32(len(content))
	o.text = kind == plumbing.BlobObject && len(content) <= storage.MaxContent && utf8.Valid(content) && !slices.Contains(content, 0)
}

// hasher computes git's names: SHA-1 with collision detection.
type hasher struct {
	sum  githash.Hash
	head []byte
}

func newHasher() *hasher { return &hasher{sum: githash.New(githash.CryptoType)} }

func (h *hasher) begin(kind plumbing.ObjectType, size int64) {
	h.sum.Reset()
	h.head = fmt.Appendf(h.head[:0], "%s %d\x00", kind.Bytes(), size)
	h.sum.Write(h.head)
}

func (h *hasher) end() (hash plumbing.Hash) {
	h.sum.Sum(hash[:0])
	return hash
}

var errNoObject = errors.New("an object is missing")

// index reads all packs and names of loose objects. step is told how much is
// done.
func (d *database) index(ctx context.Context, step func(done, total int)) error {
	d.waiting = make(map[plumbing.Hash][]int32)
	for i, p := range d.packs {
		first := len(d.objects)
		if err := d.scan(ctx, i); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if err := d.resolve(ctx, first, step); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	for i := range d.loose {
		if err := d.listLoose(ctx, i); err != nil {
			return err
		}
	}
	d.waiting = nil
	size := 16
	for size < 2*len(d.objects) {
		size *= 2
	}
	d.table = make([]int32, size)
	for i := range d.objects {
		at := d.slot(d.objects[i].hash)
		if d.table[at] == 0 {
			d.table[at] = int32(i) + 1
		}
	}
	d.cache, d.reader = newContentCache(), newPackReader()
	return nil
}

// slot is where a hash stands in the table, or would.
func (d *database) slot(h plumbing.Hash) int {
	mask := len(d.table) - 1
	at := int(binary.BigEndian.Uint32(h[:])) & mask
	for d.table[at] != 0 && d.objects[d.table[at]-1].hash != h {
		at = (at + 1) & mask
	}
	return at
}

// find returns the index of an object.
func (d *database) find(h plumbing.Hash) (int32, error) {
	if i := d.table[d.slot(h)]; i != 0 {
		return i - 1, nil
	}
	return 0, fmt.Errorf("%w: %s. Is the repository damaged, or a partial clone?", errNoObject, h)
}

// atOffset finds an object of the pack whose objects begin at first.
func (d *database) atOffset(first int, offset int64) (int, bool) {
	all := d.objects[first:]
	i := sort.Search(len(all), func(i int) bool { return all[i].offset >= offset })
	return first + i, i < len(all) && all[i].offset == offset
}

// read returns the content of an object; do not modify it.
func (d *database) read(i int32) ([]byte, error) {
	var chain []int32
	var content []byte
	for at := i; ; at = d.objects[at].base {
		if c, found := d.cache.get(at); found {
			content = c
			break
		}
		chain = append(chain, at)
		if d.objects[at].base < 0 {
			break
		}
	}
	for len(chain) > 0 {
		at := chain[len(chain)-1]
		chain = chain[:len(chain)-1]
		var err error
		if content, err = d.load(at, content); err != nil {
			return nil, fmt.Errorf("read %s %s: %w", d.objects[at].kind, d.objects[at].hash, err)
		}
		d.cache.put(at, content)
	}
	return content, nil
}

// load reads one object whose base is at hand.
func (d *database) load(i int32, base []byte) ([]byte, error) {
	o := &d.objects[i]
	if o.base == looseBase {
		return d.readLoose(o)
	}
	d.reader.seek(d.packs[o.pack], o.offset)
	e, err := d.reader.entry()
	if err != nil {
		return nil, err
	}
	if o.base == noBase {
		return d.reader.content(nil, e.size)
	}
	if d.delta, err = d.reader.content(d.delta[:0], e.size); err != nil {
		return nil, err
	}
	return applyDelta(nil, base, d.delta)
}
