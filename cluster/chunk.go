package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/erwik/erwik/storage"
)

const (
	// maxChunk bounds the records of one data frame, unpacked: one of the
	// largest commits fits.
	maxChunk = 2 << 20
	// chunkTarget is where a data frame ends when more is to come.
	chunkTarget = 256 << 10
	// packFrom is the size from which packing is tried.
	packFrom = 600

	contentWhole = 0
	contentDelta = 1

	chunkRaw  = 0
	chunkZstd = 1
)

var errChunk = errors.New("cluster: pulled data does not decode")

// packer compresses and unpacks chunks; its parts are made at first use. It
// keeps the room that they took, for the next ones: fresh memory must be
// cleared, and a pull of a thousand commits would ask for megabytes of it.
type packer struct {
	once  sync.Once
	enc   *zstd.Encoder
	dec   *zstd.Decoder
	err   error
	rooms sync.Pool // of *[]byte
}

// maxRoom is the largest room that is kept.
const maxRoom = 4 * chunkTarget

// room returns an empty slice to append to; giveBack takes it, or what it grew to.
func (p *packer) room() []byte {
	if b, ok := p.rooms.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return nil
}

func (p *packer) giveBack(b []byte) {
	if 0 < cap(b) && cap(b) <= maxRoom {
		p.rooms.Put(&b)
	}
}

func (p *packer) init() error {
	p.once.Do(func() {
		p.enc, p.err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(512<<10), zstd.WithLowerEncoderMem(true), zstd.WithAllLitEntropyCompression(true))
		if p.err == nil {
			p.dec, p.err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxChunk), zstd.WithDecoderLowmem(true))
		}
	})
	return p.err
}

// pack appends the chunk with its codec byte to dst, packed if that is shorter.
func (p *packer) pack(dst, chunk []byte) []byte {
	if len(chunk) >= packFrom && p.init() == nil {
		at := len(dst)
		dst = p.enc.EncodeAll(chunk, append(dst, chunkZstd))
		if len(dst)-at < len(chunk) {
			return dst
		}
		dst = dst[:at]
	}
	return append(append(dst, chunkRaw), chunk...)
}

// unpack appends what was packed to dst.
func (p *packer) unpack(dst, body []byte) ([]byte, error) {
	if len(body) == 0 || len(body) > maxChunk {
		return nil, fmt.Errorf("%w: a chunk of %d bytes", errChunk, len(body))
	}
	switch body[0] {
	case chunkRaw:
		return append(dst, body[1:]...), nil
	case chunkZstd:
		if err := p.init(); err != nil {
			return nil, err
		}
		raw, err := p.dec.DecodeAll(body[1:], dst)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errChunk, err)
		}
		return raw, nil
	}
	return nil, fmt.Errorf("%w: codec %d", errChunk, body[0])
}

// contentOf gives the content of a commit by hash, if it is at hand.
type contentOf func(storage.Hash) ([]byte, bool)

// appendRecord appends one record; base may be nil, which forbids deltas.
func appendRecord(dst []byte, r storage.Record, base contentOf) []byte {
	dst = append(dst, r.Hash[:]...)
	entry := r.AppendEntry(make([]byte, 0, 512))
	dst = binary.AppendUvarint(dst, uint64(len(entry)))
	dst = append(dst, entry...)
	if base != nil && len(r.Content) > 64 {
		for i, parent := range r.Parents {
			old, found := base(parent)
			if !found {
				continue
			}
			start, end := commonEnds(old, r.Content)
			if start+end < len(r.Content)/4 {
				continue
			}
			dst = append(dst, contentDelta)
			for _, v := range []int{i, start, end, len(r.Content) - start - end} {
				dst = binary.AppendUvarint(dst, uint64(v))
			}
			return append(dst, r.Content[start:len(r.Content)-end]...)
		}
	}
	dst = binary.AppendUvarint(append(dst, contentWhole), uint64(len(r.Content)))
	return append(dst, r.Content...)
}

// commonEnds returns the lengths of the common start and of the common end of
// what is left.
func commonEnds(a, b []byte) (start, end int) {
	most := min(len(a), len(b))
	for start < most && a[start] == b[start] {
		start++
	}
	for end < most-start && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	return start, end
}

// parseRecords reads the records of a chunk and hands each to take; base gives
// the contents that deltas refer to.
func parseRecords(chunk []byte, base contentOf, take func(storage.Record) error) error {
	r := chunkReader{rest: chunk}
	for len(r.rest) > 0 {
		var hash storage.Hash
		copy(hash[:], r.take(len(hash)))
		raw := r.take(r.length(storage.MaxRecord))
		if r.bad {
			return errChunk
		}
		c, err := storage.ParseEntry(raw)
		if err != nil {
			return fmt.Errorf("%w: %w", errChunk, err)
		}
		c.Hash = hash
		content, err := r.content(c, base)
		if err != nil {
			return err
		}
		if err := take(storage.Record{Commit: c, Content: content}); err != nil {
			return err
		}
	}
	return nil
}

// chunkReader takes bounded fields off a chunk.
type chunkReader struct {
	rest []byte
	bad  bool
}

func (r *chunkReader) take(n int) []byte {
	if n > len(r.rest) {
		r.bad, r.rest = true, nil
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *chunkReader) length(most int) int {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || v > uint64(most) {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return int(v)
}

var errNoBase = errors.New("cluster: a delta's base is not here")

func (r *chunkReader) content(c *storage.Commit, base contentOf) ([]byte, error) {
	form := r.take(1)
	if r.bad {
		return nil, errChunk
	}
	switch form[0] {
	case contentWhole:
		content := r.take(r.length(storage.MaxContent))
		if r.bad {
			return nil, errChunk
		}
		return append([]byte(nil), content...), nil
	case contentDelta:
		parent, start, end := r.length(storage.MaxParents), r.length(storage.MaxContent), r.length(storage.MaxContent)
		middle := r.take(r.length(storage.MaxContent))
		if r.bad || parent >= len(c.Parents) || start+end+len(middle) > storage.MaxContent {
			return nil, errChunk
		}
		old, found := base(c.Parents[parent])
		if !found {
			return nil, errNoBase
		}
		if start+end > len(old) {
			return nil, errChunk
		}
		content := make([]byte, 0, start+end+len(middle))
		content = append(content, old[:start]...)
		content = append(content, middle...)
		return append(content, old[len(old)-end:]...), nil
	}
	return nil, fmt.Errorf("%w: content form %d", errChunk, form[0])
}
