package events

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/erwik/erwik/events/wire"
	"github.com/erwik/erwik/storage"
)

// Type says what happened. Numbers are those of the wire and only ever added.
type Type uint8

// The three events.
const (
	TypeCommit       Type = 1 // a page has a new revision
	TypeNewNeighbor  Type = 2 // a node is new, or tells something new of itself
	TypeDeadNeighbor Type = 3 // a node cannot be reached any more
)

// String is the type's name in JSON, Erlang and logs.
func (t Type) String() string {
	switch t {
	case TypeCommit:
		return "commit"
	case TypeNewNeighbor:
		return "new_neighbor"
	case TypeDeadNeighbor:
		return "dead_neighbor"
	}
	return fmt.Sprintf("type-%d", uint8(t))
}

// MaxPage is how many bytes of a page's name an event carries.
const MaxPage = 64

// SignatureSize is the length of every signature here.
const SignatureSize = ed25519.SignatureSize

// Checksum identifies an event: 16 bytes of SHA-256.
type Checksum [16]byte

// ErrSignature means that a signature is not by whom it should be.
var ErrSignature = errors.New("events: wrong signature")

// Commit is the args of a commit event: which revision, and where to find it.
type Commit struct {
	Log      storage.LogID
	Sequence uint64 // from 1
	Hash     storage.Hash
	Page     string // cut at MaxPage bytes; for people only
}

// Dead is the args of a dead_neighbor event. By whom is the event's origin.
type Dead struct {
	Node        storage.NodeID
	Incarnation uint64 // the life that is over; a higher one refutes
	Removed     bool   // an operator removed the node from the pool for good
}

// Event is one notice. Exactly the args of its type are set. Exclude is the
// full list of one copy as JSON and Erlang show it; on the wire it travels as
// an [Exclusion], and it is not signed.
type Event struct {
	Type     Type
	Origin   storage.NodeID
	Commit   Commit
	Neighbor *Record
	Dead     Dead
	Exclude  []storage.NodeID
	Sig      [SignatureSize]byte
}

// NewCommit makes an unsigned commit event; the origin is the log's node.
func NewCommit(log storage.LogID, sequence uint64, hash storage.Hash, page string) Event {
	return Event{Type: TypeCommit, Origin: log.Node,
		Commit: Commit{Log: log, Sequence: sequence, Hash: hash, Page: CutPage(page)}}
}

// NewNeighbor makes an unsigned new_neighbor event by which origin passes on
// the record that its subject signed.
func NewNeighbor(origin storage.NodeID, record *Record) Event {
	return Event{Type: TypeNewNeighbor, Origin: origin, Neighbor: record}
}

// NewDead makes an unsigned dead_neighbor event.
func NewDead(origin storage.NodeID, dead Dead) Event {
	return Event{Type: TypeDeadNeighbor, Origin: origin, Dead: dead}
}

// CutPage returns at most MaxPage bytes of name, cut before a character that
// would not fit. Bytes that are no UTF-8 end it.
func CutPage(name string) string {
	if len(name) > MaxPage {
		name = name[:MaxPage]
		for len(name) > 0 {
			r, size := utf8.DecodeLastRuneInString(name)
			if r != utf8.RuneError || size != 1 {
				break
			}
			name = name[:len(name)-1]
		}
	}
	if !utf8.ValidString(name) {
		for i, r := range name {
			if r == utf8.RuneError {
				if _, size := utf8.DecodeRuneInString(name[i:]); size == 1 {
					return name[:i]
				}
			}
		}
	}
	return name
}

const eventDomain = "erwik event 1\x00"

// eventVersion is the first byte of an event on the wire.
const eventVersion = 1

// Checksum identifies the event whatever its copy excludes.
func (e *Event) Checksum() Checksum {
	var buf [256]byte
	b := append(buf[:0], eventDomain...)
	b = append(b, byte(e.Type))
	b = append(b, e.Origin[:]...)
	sum := sha256.Sum256(e.appendArgs(b))
	return Checksum(sum[:16])
}

// SignedBytes appends to dst what the origin signs.
func (e *Event) SignedBytes(dst []byte) []byte {
	dst = append(dst, eventDomain...)
	dst = append(dst, eventVersion, byte(e.Type))
	dst = append(dst, e.Origin[:]...)
	return e.appendArgs(dst)
}

// Sign signs the event as its origin, whose key priv must be.
func (e *Event) Sign(priv ed25519.PrivateKey) {
	var buf [320]byte
	copy(e.Sig[:], ed25519.Sign(priv, e.SignedBytes(buf[:0])))
}

// Verify checks the origin's signature, and for new_neighbor also the record's.
// The error is ErrSignature.
func (e *Event) Verify() error {
	var buf [320]byte
	if !storage.SignedBy(e.Origin, e.SignedBytes(buf[:0]), &e.Sig) {
		return ErrSignature
	}
	if e.Type == TypeNewNeighbor {
		return e.Neighbor.Verify()
	}
	return nil
}

// appendArgs appends the args as the wire has them, but without the origin.
func (e *Event) appendArgs(dst []byte) []byte {
	switch e.Type {
	case TypeCommit:
		dst = binary.BigEndian.AppendUint64(dst, e.Commit.Log.Nonce)
		dst = binary.AppendUvarint(dst, e.Commit.Sequence)
		dst = append(dst, e.Commit.Hash[:]...)
		return wire.AppendText(dst, e.Commit.Page)
	case TypeNewNeighbor:
		return e.Neighbor.Append(dst)
	case TypeDeadNeighbor:
		dst = append(dst, e.Dead.Node[:]...)
		dst = binary.AppendUvarint(dst, e.Dead.Incarnation)
		if e.Dead.Removed {
			return append(dst, 1)
		}
		return append(dst, 0)
	}
	return dst
}

// Append appends the wire form of the event and of the list of this copy.
func (e *Event) Append(dst []byte, exclude *Exclusion) []byte {
	dst = append(dst, eventVersion, byte(e.Type))
	dst = append(dst, e.Origin[:]...)
	dst = e.appendArgs(dst)
	dst = append(dst, e.Sig[:]...)
	return exclude.Append(dst)
}

// ReadEvent reads one event and its copy's list from r. Faults are kept in r;
// the signature is not checked. Exclude is left empty: see Exclusion.
func ReadEvent(r *wire.Reader) (e Event, exclude Exclusion) {
	if r.Byte() != eventVersion {
		r.Fail(wire.ErrVersion)
		return e, exclude
	}
	e.Type = Type(r.Byte())
	r.Copy(e.Origin[:])
	switch e.Type {
	case TypeCommit:
		e.Commit.Log = storage.LogID{Node: e.Origin, Nonce: r.Uint64()}
		e.Commit.Sequence = r.Uvarint()
		r.Copy(e.Commit.Hash[:])
		e.Commit.Page = r.Text(MaxPage)
		if e.Commit.Sequence == 0 {
			r.Fail(wire.ErrValue)
		}
	case TypeNewNeighbor:
		e.Neighbor = ReadRecord(r)
	case TypeDeadNeighbor:
		r.Copy(e.Dead.Node[:])
		e.Dead.Incarnation = r.Uvarint()
		switch r.Byte() {
		case 0:
		case 1:
			e.Dead.Removed = true
		default:
			r.Fail(wire.ErrValue)
		}
	default:
		r.Fail(wire.ErrValue)
	}
	r.Copy(e.Sig[:])
	exclude = ReadExclusion(r)
	if r.Err() != nil {
		return Event{}, Exclusion{}
	}
	return e, exclude
}

// DecodeEvent reads what Append wrote and nothing more.
func DecodeEvent(b []byte) (Event, Exclusion, error) {
	r := wire.NewReader(b)
	e, exclude := ReadEvent(&r)
	if err := r.Done(); err != nil {
		return Event{}, Exclusion{}, fmt.Errorf("events: decode event: %w", err)
	}
	return e, exclude, nil
}
