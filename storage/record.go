package storage

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// Record is one log entry with the content that it commits to: all that is
// needed to rebuild the commit's git objects.
type Record struct {
	*Commit
	Content []byte
}

const (
	recordVersion = 1

	recordHasFrom   = 1 << 0
	recordHasImport = 1 << 1
	recordFlags     = recordHasFrom | recordHasImport
)

// AppendEntry appends the binary form of c as it stands in a log, on disk and
// between nodes; see the package comment for the layout. What follows from
// other bytes (tree, SHA-256, hash, armor) is not in it.
func (c *Commit) AppendEntry(b []byte) []byte {
	flags := byte(0)
	if c.From != nil {
		flags |= recordHasFrom
	}
	if c.Import != "" {
		flags |= recordHasImport
	}
	b = append(b, recordVersion, flags)
	b = appendBytes(b, string(c.Kind))
	b = binary.AppendUvarint(b, c.Generation)
	b, _ = c.Log.AppendBinary(b)
	b = binary.AppendUvarint(b, c.Sequence)
	b = append(b, c.Previous[:]...)
	b = binary.AppendUvarint(b, uint64(len(c.Parents)))
	for i := range c.Parents {
		b = append(b, c.Parents[i][:]...)
	}
	b = c.Author.appendBinary(b)
	b = c.Committer.appendBinary(b)
	b = appendBytes(b, c.Path)
	if c.From != nil {
		b = appendBytes(b, c.From.Path)
		b = append(b, c.From.Commit[:]...)
	}
	if c.Import != "" {
		raw, _ := hex.DecodeString(c.Import)
		b = appendBytes(b, string(raw))
	}
	b = appendBytes(b, c.Message)
	return append(b, c.Signature[:]...)
}

func (id Ident) appendBinary(b []byte) []byte {
	b = appendBytes(b, id.Name)
	b = appendBytes(b, id.Email)
	b = binary.AppendUvarint(b, uint64(id.Time))
	return binary.AppendVarint(b, int64(id.Zone))
}

func appendBytes(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// ParseEntry reads what AppendEntry wrote, no byte more. Tree, SHA256 and Hash
// are left zero: they follow from the content.
func ParseEntry(b []byte) (*Commit, error) {
	if len(b) > MaxRecord {
		return nil, fmt.Errorf("%w: log entry of %d bytes, at most %d", ErrTooLarge, len(b), MaxRecord)
	}
	r := reader{rest: b}
	if v := r.byte(); v != recordVersion && r.err == nil {
		return nil, fmt.Errorf("%w: log entry of version %d", ErrInvalid, v)
	}
	flags := r.byte()
	if flags&^recordFlags != 0 {
		r.fail("flags")
	}
	c := &Commit{Kind: Kind(r.text(MaxKind)), Generation: r.uvarint()}
	if raw := r.take(LogIDSize); raw != nil {
		c.Log = LogIDFromBytes(raw)
	}
	c.Sequence = r.uvarint()
	r.hash(&c.Previous)
	if n := r.uvarint(); n > MaxParents || n*20 > uint64(len(r.rest)) {
		r.fail("number of parents")
	} else if n > 0 {
		c.Parents = make([]Hash, n)
		for i := range c.Parents {
			r.hash(&c.Parents[i])
		}
	}
	c.Author, c.Committer = r.ident(), r.ident()
	c.Path = r.text(MaxPath)
	if flags&recordHasFrom != 0 {
		c.From = &Source{Path: r.text(MaxPath)}
		r.hash(&c.From.Commit)
	}
	if flags&recordHasImport != 0 {
		c.Import = hex.EncodeToString([]byte(r.text(32)))
		if c.Import == "" {
			r.fail("empty import source")
		}
	}
	c.Message = r.text(MaxMessage)
	copy(c.Signature[:], r.take(len(c.Signature)))
	if len(r.rest) != 0 {
		r.fail("trailing bytes")
	}
	if r.err != nil {
		return nil, r.err
	}
	return c, nil
}

// reader takes bounded fields off a byte string; the first error sticks.
// Every length is checked against what is left before anything is allocated.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: log entry: %s", ErrInvalid, what)
	}
	r.rest = nil
}

func (r *reader) take(n int) []byte {
	if n > len(r.rest) {
		r.fail("cut short")
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

// uvarint reads the shortest form only.
func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || n > 1 && r.rest[n-1] == 0 {
		r.fail("number")
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) varint() int64 {
	u := r.uvarint()
	v := int64(u >> 1)
	if u&1 != 0 {
		v = ^v
	}
	return v
}

func (r *reader) text(most int) string {
	n := r.uvarint()
	if n > uint64(most) {
		r.fail("length over the maximum")
		return ""
	}
	return string(r.take(int(n)))
}

func (r *reader) hash(h *Hash) { copy(h[:], r.take(len(h))) }

func (r *reader) ident() (id Ident) {
	id.Name, id.Email = r.text(MaxIdent), r.text(MaxIdent)
	if t := r.uvarint(); t > maxTime {
		r.fail("time")
	} else {
		id.Time = int64(t)
	}
	if z := r.varint(); z <= -24*60 || z >= 24*60 {
		r.fail("time zone")
	} else {
		id.Zone = int(z)
	}
	return id
}
