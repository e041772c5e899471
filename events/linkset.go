package events

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"

	"github.com/erwik/erwik/events/wire"
	"github.com/erwik/erwik/storage"
)

// LinkSet is what one end says of several of its links at once, under one
// signature: where fifty nodes meet, or a table goes to a newcomer, signatures
// are most of the work and most of the bytes.
type LinkSet struct {
	From        storage.NodeID
	Incarnation uint64 // From's
	Counter     uint64 // as in LinkRecord; one for the whole set
	Links       []LinkState
	Sig         [SignatureSize]byte
}

// LinkState is one link of a set.
type LinkState struct {
	To   ShortID // ascending
	Step Step    // of the cost; 0 when down
	Up   bool
}

// ShortID is the first bytes of a node id. Another node with the same ones gains
// nothing: a link counts when both ends say that it is up.
type ShortID [8]byte

// ShortOf returns the short form of id.
func ShortOf(id storage.NodeID) ShortID { return ShortID(id[:8]) }

// MaxLinkSet is how many links a set may have.
const MaxLinkSet = MaxPool

const (
	linkSetDomain  = "erwik links 1\x00"
	linkSetVersion = 1
)

func (s *LinkSet) appendBody(dst []byte) []byte {
	dst = append(dst, linkSetVersion)
	dst = append(dst, s.From[:]...)
	dst = binary.AppendUvarint(dst, s.Incarnation)
	dst = binary.AppendUvarint(dst, s.Counter)
	dst = binary.AppendUvarint(dst, uint64(len(s.Links)))
	for i := range s.Links {
		l := &s.Links[i]
		dst = append(dst, l.To[:]...)
		if l.Up {
			dst = append(dst, byte(l.Step))
		} else {
			dst = append(dst, linkDown)
		}
	}
	return dst
}

// SignedBytes appends to dst what From signs.
func (s *LinkSet) SignedBytes(dst []byte) []byte {
	return s.appendBody(append(dst, linkSetDomain...))
}

// Sign signs the set as From, whose key priv must be.
func (s *LinkSet) Sign(priv ed25519.PrivateKey) {
	copy(s.Sig[:], ed25519.Sign(priv, s.SignedBytes(nil)))
}

// Verify checks From's signature. The error is ErrSignature.
func (s *LinkSet) Verify() error {
	if !storage.SignedBy(s.From, s.SignedBytes(nil), &s.Sig) {
		return ErrSignature
	}
	return nil
}

// Append appends the set's wire form.
func (s *LinkSet) Append(dst []byte) []byte {
	return append(s.appendBody(dst), s.Sig[:]...)
}

// Link is the record of one link of the set, whose other end is to.
func (s *LinkSet) Link(i int, to storage.NodeID) *LinkRecord {
	l := &s.Links[i]
	return &LinkRecord{From: s.From, To: to, Step: l.Step, Up: l.Up, Incarnation: s.Incarnation, Counter: s.Counter, In: s}
}

// ReadLinkSet reads one set; faults are kept in r.
func ReadLinkSet(r *wire.Reader) *LinkSet {
	var s LinkSet
	if r.Byte() != linkSetVersion {
		r.Fail(wire.ErrVersion)
	}
	r.Copy(s.From[:])
	s.Incarnation = r.Uvarint()
	s.Counter = r.Uvarint()
	s.Links = make([]LinkState, r.Count(MaxLinkSet, 9))
	for i := range s.Links {
		l := &s.Links[i]
		r.Copy(l.To[:])
		switch b := r.Byte(); {
		case b == linkDown:
		case b <= byte(MaxStep):
			l.Up, l.Step = true, Step(b)
		default:
			r.Fail(wire.ErrValue)
		}
		if i > 0 && string(l.To[:]) <= string(s.Links[i-1].To[:]) {
			r.Fail(wire.ErrCanonical)
		}
	}
	if len(s.Links) == 0 {
		r.Fail(wire.ErrCanonical)
	}
	r.Copy(s.Sig[:])
	return &s
}

// DecodeLinkSet reads what Append wrote and nothing more.
func DecodeLinkSet(b []byte) (*LinkSet, error) {
	r := wire.NewReader(b)
	s := ReadLinkSet(&r)
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("events: decode link set: %w", err)
	}
	return s, nil
}
