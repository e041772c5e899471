package storage

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"
)

// Digest is a sum modulo 2^256, so that it can be kept incrementally: two
// stores with equal digests hold equal wikis.
type Digest [32]byte

// String returns 64 hex digits.
func (d Digest) String() string { return fmt.Sprintf("%x", d[:]) }

// subjectSum is the term that one path adds: SHA-256 of version, path and
// sorted heads.
func subjectSum(path string, heads []Head) Digest {
	b := make([]byte, 0, 64+len(path)+20*len(heads))
	b = append(b, "erwik digest 1\x00"...)
	b = append(b, path...)
	b = append(b, 0)
	for i := range heads {
		b = append(b, heads[i].Hash[:]...)
	}
	return sha256.Sum256(b)
}

// add adds x, or subtracts it, as big-endian numbers.
func (d *Digest) add(x Digest, subtract bool) {
	var carry uint64
	for i := 24; i >= 0; i -= 8 {
		a, b := binary.BigEndian.Uint64(d[i:]), binary.BigEndian.Uint64(x[i:])
		var sum uint64
		if subtract {
			sum, carry = bits.Sub64(a, b, carry)
		} else {
			sum, carry = bits.Add64(a, b, carry)
		}
		binary.BigEndian.PutUint64(d[i:], sum)
	}
}

// counters are the totals that every batch carries along.
type counters struct {
	arrival uint64 // the last one given
	pages   uint64 // pages with a head that is not a delete
	files   uint64 // files likewise
	commits uint64 // visible commits, without admissions
	digest  Digest
}

const countersVersion = 1

func (c counters) encode() []byte {
	b := make([]byte, 0, 65)
	b = append(b, countersVersion)
	for _, n := range []uint64{c.arrival, c.pages, c.files, c.commits} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return append(b, c.digest[:]...)
}

func parseCounters(b []byte) (c counters, err error) {
	if len(b) != 65 || b[0] != countersVersion {
		return c, fmt.Errorf("%w: counters of %d bytes", ErrCorrupt, len(b))
	}
	for i, n := range []*uint64{&c.arrival, &c.pages, &c.files, &c.commits} {
		*n = binary.BigEndian.Uint64(b[1+8*i:])
	}
	copy(c.digest[:], b[33:])
	return c, nil
}

// live reports whether a reader finds something under these heads.
func live(heads []Head) bool {
	for _, h := range heads {
		if h.Kind != KindDelete {
			return true
		}
	}
	return false
}

// replaceHeads moves the totals from the old heads of path to the new ones.
func (c *counters) replaceHeads(path string, old, now []Head) {
	if strings.HasPrefix(path, SignerPrefix) || strings.HasPrefix(path, BanPrefix) {
		return
	}
	if len(old) > 0 {
		c.digest.add(subjectSum(path, old), true)
	}
	if len(now) > 0 {
		c.digest.add(subjectSum(path, now), false)
	}
	total := &c.files
	if strings.HasSuffix(path, PageSuffix) {
		total = &c.pages
	}
	if live(old) {
		*total--
	}
	if live(now) {
		*total++
	}
}
