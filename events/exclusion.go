package events

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/erwik/erwik/events/wire"
	"github.com/erwik/erwik/storage"
)

// Form is how an exclusion list is written on the wire.
type Form uint8

// The four forms. Numbers are those of the wire and only ever added.
const (
	Nobody       Form = 0 // no name is excluded
	Everybody    Form = 1 // every name is excluded; most copies
	EverybodyBut Form = 2 // every name but those whose tag is listed
	Bitmap       Form = 3 // by place in the sorted pool with PoolHash
)

// MaxPool is the most nodes a mesh may have; see Set.
const MaxPool = 1024

// Exclusion is the exclusion list of one copy in its wire form: it says which
// nodes the receiver need not forward the event to.
type Exclusion struct {
	Form     Form
	Tags     []uint16 // EverybodyBut: strictly ascending
	PoolHash uint64   // Bitmap
	PoolSize int      // Bitmap: number of nodes
	Bits     []byte   // Bitmap: ceil(PoolSize/8) bytes, spare bits 0
}

// Tag is a node's two-byte mark under one event's checksum. Two nodes can share
// a tag; then one notice too many is sent.
func Tag(id storage.NodeID, sum Checksum) uint16 {
	x := (binary.BigEndian.Uint64(id[0:8]) ^ binary.BigEndian.Uint64(sum[0:8])) * 0x9E3779B97F4A7C15
	x += (binary.BigEndian.Uint64(id[8:16]) ^ binary.BigEndian.Uint64(sum[8:16])) * 0xC2B2AE3D27D4EB4F
	x = (x ^ x>>32) * 0xD6E8FEB86659FD93
	return uint16(x >> 48)
}

// PoolHash names a pool by its members; ids must be sorted.
func PoolHash(ids []storage.NodeID) uint64 {
	h := sha256.New()
	h.Write([]byte("erwik pool 1\x00"))
	for i := range ids {
		h.Write(ids[i][:])
	}
	return binary.BigEndian.Uint64(h.Sum(nil))
}

// ExcludeBut makes the shortest list that leaves exactly open (as ids) open
// under the event's checksum. pool is the sorted pool of everybody with its
// hash, given only if the receiver has named that hash; else it is empty.
func ExcludeBut(open []storage.NodeID, sum Checksum, pool []storage.NodeID, poolHash uint64) Exclusion {
	if len(open) == 0 {
		return Exclusion{Form: Everybody}
	}
	if len(pool) > 0 && 2*len(open) > 8+(len(pool)+7)/8 {
		return excludeByBitmap(open, pool, poolHash)
	}
	tags := make([]uint16, len(open))
	for i := range open {
		tags[i] = Tag(open[i], sum)
	}
	slices.Sort(tags)
	return Exclusion{Form: EverybodyBut, Tags: slices.Compact(tags)}
}

func excludeByBitmap(open, pool []storage.NodeID, poolHash uint64) Exclusion {
	bits := make([]byte, (len(pool)+7)/8)
	for i := range pool {
		bits[i/8] |= 0x80 >> (i % 8)
	}
	for i := range open {
		if at, found := slices.BinarySearchFunc(pool, open[i], storage.NodeID.Compare); found {
			bits[at/8] &^= 0x80 >> (at % 8)
		}
	}
	return Exclusion{Form: Bitmap, PoolHash: poolHash, PoolSize: len(pool), Bits: bits}
}

// Excludes reports whether the list excludes a node, given the node's tag and
// its place in the pool that PoolHash names. place is -1 if the node is not in
// that pool or the pool is unknown; such a node is not excluded.
func (x *Exclusion) Excludes(tag uint16, place int) bool {
	switch x.Form {
	case Everybody:
		return true
	case EverybodyBut:
		_, listed := slices.BinarySearch(x.Tags, tag)
		return !listed
	case Bitmap:
		return place >= 0 && place < x.PoolSize && x.Bits[place/8]&(0x80>>(place%8)) != 0
	}
	return false
}

// Append appends the list's wire form.
func (x *Exclusion) Append(dst []byte) []byte {
	dst = append(dst, byte(x.Form))
	switch x.Form {
	case EverybodyBut:
		dst = binary.AppendUvarint(dst, uint64(len(x.Tags)))
		for _, t := range x.Tags {
			dst = binary.BigEndian.AppendUint16(dst, t)
		}
	case Bitmap:
		dst = binary.BigEndian.AppendUint64(dst, x.PoolHash)
		dst = binary.AppendUvarint(dst, uint64(x.PoolSize))
		dst = append(dst, x.Bits...)
	}
	return dst
}

// ReadExclusion reads one list; faults are kept in r.
func ReadExclusion(r *wire.Reader) (x Exclusion) {
	x.Form = Form(r.Byte())
	switch x.Form {
	case Nobody, Everybody:
	case EverybodyBut:
		n := r.Count(MaxPool, 2)
		if n == 0 {
			r.Fail(wire.ErrCanonical)
			return Exclusion{}
		}
		x.Tags = make([]uint16, n)
		for i := range x.Tags {
			x.Tags[i] = r.Uint16()
			if i > 0 && x.Tags[i] <= x.Tags[i-1] {
				r.Fail(wire.ErrCanonical)
			}
		}
	case Bitmap:
		x.PoolHash = r.Uint64()
		x.PoolSize = r.Count(MaxPool, 0)
		x.Bits = slices.Clone(r.Bytes((x.PoolSize + 7) / 8))
		if spare := len(x.Bits)*8 - x.PoolSize; spare > 0 && x.Bits[len(x.Bits)-1]&(1<<spare-1) != 0 {
			r.Fail(wire.ErrCanonical)
		}
	default:
		r.Fail(wire.ErrValue)
	}
	return x
}
