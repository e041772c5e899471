package storage

import (
	"encoding/binary"
	"fmt"
)

// The first byte of every Pebble key; see the package comment for the table.
const (
	keyMeta    = 0x00 // name → value
	keyPage    = 0x01 // path 00 part arrival → log entry or content
	keyHash    = 0x02 // commit hash → arrival, flags, path
	keyLog     = 0x03 // log number, sequence → commit hash, arrival
	keyVector  = 0x04 // log id, branch → log number, sequence, tip
	keyHeads   = 0x05 // path → heads
	keyArrival = 0x06 // arrival → commit hash, flags, path
	keyImport  = 0x07 // import source → commit hash
	keyForked  = 0x08 // path of a subject with several heads → nothing
	keyIsland  = 0x10 // log, sequence, commit hash → arrival: visible, behind a gap of its log
	keyWanted  = 0x11 // commit hash → nothing: a parent of a visible commit, not here
)

// The parts of a commit below its path.
const (
	partEntry   = 'c'
	partContent = 't'
)

func pathKey(dst []byte, prefix byte, path string) []byte {
	return append(append(dst, prefix), path...)
}

func pageKey(dst []byte, path string, part byte, arrival uint64) []byte {
	dst = append(pathKey(dst, keyPage, path), 0, part)
	return binary.BigEndian.AppendUint64(dst, arrival)
}

func hashKey(dst []byte, h Hash) []byte { return append(append(dst, keyHash), h[:]...) }

func logKey(dst []byte, number uint32, sequence uint64) []byte {
	dst = binary.BigEndian.AppendUint32(append(dst, keyLog), number)
	return binary.BigEndian.AppendUint64(dst, sequence)
}

// vectorKey has room for a branch: the first commit by which a log that
// equivocates differs. The main line has zeros there.
func vectorKey(dst []byte, log LogID, branch Hash) []byte {
	dst, _ = log.AppendBinary(append(dst, keyVector))
	return append(dst, branch[:]...)
}

func arrivalKey(dst []byte, arrival uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, keyArrival), arrival)
}

func islandKey(dst []byte, log LogID, sequence uint64, h Hash) []byte {
	dst, _ = log.AppendBinary(append(dst, keyIsland))
	dst = binary.BigEndian.AppendUint64(dst, sequence)
	return append(dst, h[:]...)
}

func wantedKey(dst []byte, h Hash) []byte { return append(append(dst, keyWanted), h[:]...) }

func importKey(dst []byte, source string) []byte { return append(append(dst, keyImport), source...) }

// place is where a commit lies: the value below its hash.
type place struct {
	arrival uint64
	inert   bool // it breaks a rule of content, for ever
	muted   bool // a ban hides it
	path    string
}

const (
	flagInert = 1
	flagMuted = 2
)

func flagsOf(inert, muted bool) (flags byte) {
	if inert {
		flags |= flagInert
	}
	if muted {
		flags |= flagMuted
	}
	return flags
}

func (p place) encode(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, p.arrival)
	return append(append(dst, flagsOf(p.inert, p.muted)), p.path...)
}

func parsePlace(b []byte) (place, error) {
	if len(b) < 9 {
		return place{}, fmt.Errorf("%w: commit index of %d bytes", ErrCorrupt, len(b))
	}
	return place{arrival: binary.BigEndian.Uint64(b), inert: b[8]&flagInert != 0, muted: b[8]&flagMuted != 0, path: string(b[9:])}, nil
}

// arrived is what came under an arrival number.
type arrived struct {
	hash  Hash
	inert bool
	muted bool
	path  string
}

func (a arrived) encode(dst []byte) []byte {
	return append(append(append(dst, a.hash[:]...), flagsOf(a.inert, a.muted)), a.path...)
}

func parseArrived(b []byte) (arrived, error) {
	if len(b) < 21 {
		return arrived{}, fmt.Errorf("%w: arrival of %d bytes", ErrCorrupt, len(b))
	}
	return arrived{hash: Hash(b[:20]), inert: b[20]&flagInert != 0, muted: b[20]&flagMuted != 0, path: string(b[21:])}, nil
}

// slot is the value of a log's entry.
type slot struct {
	hash    Hash
	arrival uint64
}

func (s slot) encode(dst []byte) []byte {
	return binary.BigEndian.AppendUint64(append(dst, s.hash[:]...), s.arrival)
}

func parseSlot(b []byte) (slot, error) {
	if len(b) != 28 {
		return slot{}, fmt.Errorf("%w: log index of %d bytes", ErrCorrupt, len(b))
	}
	s := slot{arrival: binary.BigEndian.Uint64(b[20:])}
	copy(s.hash[:], b)
	return s, nil
}

// logState is what is known of one log: its local number and its tip.
type logState struct {
	number   uint32
	sequence uint64
	tip      Hash
}

func (l logState) encode(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, l.number)
	dst = binary.BigEndian.AppendUint64(dst, l.sequence)
	return append(dst, l.tip[:]...)
}

func parseLogState(b []byte) (logState, error) {
	if len(b) != 32 {
		return logState{}, fmt.Errorf("%w: vector entry of %d bytes", ErrCorrupt, len(b))
	}
	l := logState{number: binary.BigEndian.Uint32(b), sequence: binary.BigEndian.Uint64(b[4:])}
	copy(l.tip[:], b[12:])
	return l, nil
}

// Head is a visible commit of a path that no visible commit names as parent.
type Head struct {
	Hash       Hash
	Kind       Kind
	Generation uint64
	Arrival    uint64  // local, and so different on each node
	Sum        [8]byte // of the content: the beginning of ContentSum
}

// kind reads a kind; the common one takes no memory of its own.
func (r *reader) kind() Kind {
	n := r.uvarint()
	if n > MaxKind {
		r.fail("length over the maximum")
		return ""
	}
	if b := r.take(int(n)); string(b) != string(KindPage) {
		return Kind(b)
	}
	return KindPage
}

func encodeHeads(dst []byte, heads []Head) []byte {
	for _, h := range heads {
		dst = append(dst, h.Hash[:]...)
		dst = appendBytes(dst, string(h.Kind))
		dst = binary.AppendUvarint(dst, h.Generation)
		dst = binary.AppendUvarint(dst, h.Arrival)
		dst = append(dst, h.Sum[:]...)
	}
	return dst
}

func parseHeads(b []byte) ([]Head, error) {
	r := reader{rest: b}
	var heads []Head
	for len(r.rest) > 0 {
		var h Head
		r.hash(&h.Hash)
		h.Kind, h.Generation, h.Arrival = r.kind(), r.uvarint(), r.uvarint()
		copy(h.Sum[:], r.take(len(h.Sum)))
		heads = append(heads, h)
	}
	if r.err != nil {
		return nil, fmt.Errorf("%w: heads: %w", ErrCorrupt, r.err)
	}
	return heads, nil
}
