package gitsource

import (
	"bufio"
	"compress/zlib"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
)

const (
	// maxObject is the largest object that is ever held in memory, in bytes.
	// A larger blob is no page; as the base of a delta it is refused.
	maxObject = 64 << 20
	// maxObjects is how many objects a source may have: some 50 bytes each are
	// kept in memory.
	maxObjects = 16 << 20

	packHead    = 12
	packTrailer = 20
)

// packFile is one pack, wherever it lies.
type packFile struct {
	name string // for messages
	at   io.ReaderAt
	size int64
}

// packReader reads a pack from some offset on and knows where it is.
type packReader struct {
	buf    *bufio.Reader
	offset int64
	zlib   io.ReadCloser
}

func newPackReader() *packReader { return &packReader{buf: bufio.NewReaderSize(nil, 8<<10)} }

func (r *packReader) seek(p *packFile, offset int64) {
	r.buf.Reset(io.NewSectionReader(p.at, offset, p.size-packTrailer-offset))
	r.offset = offset
}

// ReadByte makes inflating take no byte more than it needs.
func (r *packReader) ReadByte() (byte, error) {
	b, err := r.buf.ReadByte()
	if err == nil {
		r.offset++
	}
	return b, err
}

func (r *packReader) Read(b []byte) (int, error) {
	n, err := r.buf.Read(b)
	r.offset += int64(n)
	return n, err
}

// packEntry is the head of one object in a pack.
type packEntry struct {
	kind   plumbing.ObjectType
	size   int64         // of what is inflated: the delta itself where it is one
	base   int64         // offset, for an offset delta
	parent plumbing.Hash // for a reference delta
}

func (r *packReader) entry() (e packEntry, err error) {
	start := r.offset
	b, err := r.ReadByte()
	if err != nil {
		return e, cutShort(err)
	}
	e.kind, e.size = plumbing.ObjectType(b>>4&7), int64(b&15)
	for shift := 4; b&0x80 != 0; shift += 7 {
		if b, err = r.ReadByte(); err != nil {
			return e, cutShort(err)
		}
		if shift > 46 {
			return e, fmt.Errorf("%w: size of the object at %d", errPack, start)
		}
		e.size |= int64(b&0x7f) << shift
	}
	switch e.kind {
	case plumbing.CommitObject, plumbing.TreeObject, plumbing.BlobObject, plumbing.TagObject:
	case plumbing.OFSDeltaObject:
		if b, err = r.ReadByte(); err != nil {
			return e, cutShort(err)
		}
		back := int64(b & 0x7f)
		for b&0x80 != 0 {
			if b, err = r.ReadByte(); err != nil {
				return e, cutShort(err)
			}
			if back = (back+1)<<7 | int64(b&0x7f); back > start {
				return e, fmt.Errorf("%w: base of the object at %d", errPack, start)
			}
		}
		e.base = start - back
		if back == 0 || e.base < packHead {
			return e, fmt.Errorf("%w: base of the object at %d", errPack, start)
		}
	case plumbing.REFDeltaObject:
		if _, err := io.ReadFull(r, e.parent[:]); err != nil {
			return e, cutShort(err)
		}
	default:
		return e, fmt.Errorf("%w: the object at %d has the type %d", errPack, start, e.kind)
	}
	return e, nil
}

// inflate returns a reader of what follows an entry.
func (r *packReader) inflate() (io.Reader, error) {
	if r.zlib == nil {
		z, err := zlib.NewReader(r)
		r.zlib = z
		return z, err
	}
	return r.zlib, r.zlib.(zlib.Resetter).Reset(r, nil)
}

// content inflates exactly size bytes into dst, which must be empty.
func (r *packReader) content(dst []byte, size int64) ([]byte, error) {
	if size > maxObject {
		return nil, fmt.Errorf("%w: an object of %d bytes is to be held in memory, at most %d", errPack, size, maxObject)
	}
	z, err := r.inflate()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errPack, cutShort(err))
	}
	for int64(len(dst)) < size { // memory is taken as the bytes come, not as they are announced
		if len(dst) == cap(dst) {
			dst = slices.Grow(dst, int(min(size-int64(len(dst)), int64(max(256<<10, len(dst))))))
		}
		n := min(cap(dst), int(size))
		if _, err := io.ReadFull(z, dst[len(dst):n]); err != nil {
			return nil, fmt.Errorf("%w: %w", errPack, cutShort(err))
		}
		dst = dst[:n]
	}
	return dst, ended(z)
}

// ended reads the checksum behind the last byte.
func ended(z io.Reader) error {
	var one [1]byte
	if n, err := z.Read(one[:]); n != 0 || !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: an object does not end where it should: %w", errPack, cutShort(err))
	}
	return nil
}

func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// scan reads every object of a pack once: what is whole is hashed, what is a
// delta is noted.
func (d *database) scan(ctx context.Context, number int) error {
	p := d.packs[number]
	count, err := p.check()
	if err != nil {
		return err
	}
	if len(d.objects)+int(count) > maxObjects || int64(count) > p.size {
		return fmt.Errorf("%w: %d objects, at most %d", errPack, count, maxObjects)
	}
	first := len(d.objects)
	r := newPackReader()
	r.seek(p, packHead)
	var buf []byte
	h := newHasher()
	for i := range int(count) {
		if i%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		o := object{offset: r.offset, pack: uint16(number), base: noBase}
		e, err := r.entry()
		if err != nil {
			return err
		}
		switch {
		case e.kind == plumbing.OFSDeltaObject:
			at, found := d.atOffset(first, e.base)
			if !found {
				return fmt.Errorf("%w: the object at %d builds on nothing", errPack, o.offset)
			}
			o.base = int32(at)
			err = r.discard(e.size)
		case e.kind == plumbing.REFDeltaObject:
			d.waiting[e.parent] = append(d.waiting[e.parent], int32(len(d.objects)))
			err = r.discard(e.size)
		case e.size <= maxObject:
			if buf, err = r.content(buf[:0], e.size); err == nil {
				o.complete(h, e.kind, buf)
			}
		default:
			err = r.hashLarge(h, &o, e)
		}
		if err != nil {
			return fmt.Errorf("object at %d: %w", o.offset, err)
		}
		d.objects = append(d.objects, o)
	}
	if r.offset != p.size-packTrailer {
		return fmt.Errorf("%w: %d bytes follow its last object", errPack, p.size-packTrailer-r.offset)
	}
	return nil
}

// check compares the checksum at the end of the pack and returns how many
// objects it has.
func (p *packFile) check() (count uint32, err error) {
	var head [packHead]byte
	if p.size < packHead+packTrailer {
		return 0, fmt.Errorf("%w: it has %d bytes", errPack, p.size)
	}
	if _, err := p.at.ReadAt(head[:], 0); err != nil {
		return 0, fmt.Errorf("read pack: %w", err)
	}
	version := binary.BigEndian.Uint32(head[4:])
	if string(head[:4]) != "PACK" || version != 2 && version != 3 {
		return 0, fmt.Errorf("%w: it begins with %q", errPack, head[:8])
	}
	sum := sha1.New()
	if _, err := io.Copy(sum, io.NewSectionReader(p.at, 0, p.size-packTrailer)); err != nil {
		return 0, fmt.Errorf("read pack: %w", err)
	}
	var trailer [packTrailer]byte
	if _, err := p.at.ReadAt(trailer[:], p.size-packTrailer); err != nil {
		return 0, fmt.Errorf("read pack: %w", err)
	}
	if [packTrailer]byte(sum.Sum(nil)) != trailer {
		return 0, fmt.Errorf("%w: its checksum is not that of its bytes; it is cut short or changed", errPack)
	}
	return binary.BigEndian.Uint32(head[8:]), nil
}

// discard inflates what nobody needs yet, to find where it ends.
func (r *packReader) discard(size int64) error {
	z, err := r.inflate()
	if err != nil {
		return fmt.Errorf("%w: %w", errPack, cutShort(err))
	}
	n, err := io.Copy(io.Discard, io.LimitReader(z, size+1))
	if err != nil || n != size {
		return fmt.Errorf("%w: %d of %d bytes: %w", errPack, n, size, cutShort(err))
	}
	return nil
}

// hashLarge names a blob that is too large to be held in memory.
func (r *packReader) hashLarge(h *hasher, o *object, e packEntry) error {
	z, err := r.inflate()
	if err != nil {
		return fmt.Errorf("%w: %w", errPack, cutShort(err))
	}
	h.begin(e.kind, e.size)
	n, err := io.Copy(h.sum, io.LimitReader(z, e.size+1))
	if err != nil || n != e.size {
		return fmt.Errorf("%w: %d of %d bytes: %w", errPack, n, e.size, cutShort(err))
	}
	o.hash, o.kind, o.size = h.end(), e.kind, maxObject+1
	return nil
}
