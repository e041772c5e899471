// Package wire reads the compact binary formats of the mesh.
//
// It is no general codec: it holds the few bounded, canonical primitives that
// events and mesh frames share. Writing needs no help beyond encoding/binary;
// reading does, because every length comes from somebody else.
//
// # Guarantees
//
//  1. A [Reader] never panics and never allocates more than it was given.
//  2. The first fault is kept, later reads return zero values, so a decoder
//     checks [Reader.Err] once at its end.
//  3. A uvarint is accepted in its shortest form only, so that a value has one
//     encoding.
package wire

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"
)

// Faults of a decoder; all of them mean that the bytes are not what any node
// of this version writes.
var (
	ErrTruncated = errors.New("wire: the bytes end too early")
	ErrTrailing  = errors.New("wire: bytes are left over")
	ErrCanonical = errors.New("wire: not the one canonical encoding")
	ErrTooLong   = errors.New("wire: a length is over its limit")
	ErrVersion   = errors.New("wire: unknown format version")
	ErrValue     = errors.New("wire: a value that the format does not have")
)

// Reader takes values off the front of a byte slice. The zero Reader is empty.
// It is not safe for concurrent use.
type Reader struct {
	b   []byte
	err error
}

// NewReader reads b, which the caller must not change meanwhile.
func NewReader(b []byte) Reader { return Reader{b: b} }

// Fail keeps err as the reader's fault unless it has one already.
func (r *Reader) Fail(err error) {
	if r.err == nil {
		r.err = err
		r.b = nil
	}
}

// Err is the first fault, or nil.
func (r *Reader) Err() error { return r.err }

// Done is Err, or ErrTrailing if bytes are left.
func (r *Reader) Done() error {
	if r.err == nil && len(r.b) > 0 {
		r.err = ErrTrailing
	}
	return r.err
}

// Len is the number of bytes not read yet.
func (r *Reader) Len() int { return len(r.b) }

// Rest returns what is not read yet, without reading it.
func (r *Reader) Rest() []byte { return r.b }

// Bytes reads n bytes; the result aliases the input.
func (r *Reader) Bytes(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.Fail(ErrTruncated)
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

// Copy fills dst; after a fault dst keeps what it had.
func (r *Reader) Copy(dst []byte) { copy(dst, r.Bytes(len(dst))) }

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if b := r.Bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// Uint16 reads two bytes, big endian.
func (r *Reader) Uint16() uint16 {
	if b := r.Bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// Uint64 reads eight bytes, big endian.
func (r *Reader) Uint64() uint64 {
	if b := r.Bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// Uvarint reads an unsigned integer in its shortest form.
func (r *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	switch {
	case n == 0:
		r.Fail(ErrTruncated)
		return 0
	case n < 0:
		r.Fail(ErrCanonical)
		return 0
	case n > 1 && r.b[n-1] == 0:
		r.Fail(ErrCanonical)
		return 0
	}
	r.b = r.b[n:]
	return v
}

// Count reads a uvarint that may be at most limit and whose items, of at least
// size bytes each, must still be there. It is read before anything is made.
func (r *Reader) Count(limit, size int) int {
	n := r.Uvarint()
	if n > uint64(limit) {
		r.Fail(ErrTooLong)
		return 0
	}
	if int(n)*size > len(r.b) {
		r.Fail(ErrTruncated)
		return 0
	}
	return int(n)
}

// Text reads a length byte and that many bytes of valid UTF-8, at most limit.
func (r *Reader) Text(limit int) string {
	n := int(r.Byte())
	if n > limit {
		r.Fail(ErrTooLong)
		return ""
	}
	b := r.Bytes(n)
	if !utf8.Valid(b) {
		r.Fail(ErrValue)
		return ""
	}
	return string(b)
}

// AppendText writes what Text reads; s must be at most 255 bytes.
func AppendText(dst []byte, s string) []byte {
	return append(append(dst, byte(len(s))), s...)
}
