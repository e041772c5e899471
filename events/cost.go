package events

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/erwik/erwik/events/wire"
	"github.com/erwik/erwik/storage"
)

// Step is a link's cost on a scale of factor 1.25 from 1 ms: the expected time
// for a notice plus the pull of 1 KiB.
type Step uint8

// MaxStep is the highest cost, some 21 minutes.
const MaxStep Step = 63

// stepMicros holds the cost of each step in microseconds: 1000 * 1.25^i.
var stepMicros = func() (t [MaxStep + 1]uint32) {
	micros := uint64(1000 << 16)
	for i := range t {
		t[i] = uint32(micros >> 16)
		micros = micros * 5 / 4
	}
	return t
}()

// StepOf returns the step nearest above d.
func StepOf(d time.Duration) Step {
	micros := d.Microseconds()
	for s := range MaxStep {
		if int64(stepMicros[s]) >= micros {
			return s
		}
	}
	return MaxStep
}

// Micros is the step's cost in microseconds.
func (s Step) Micros() uint32 { return stepMicros[min(s, MaxStep)] }

// Cost is the step's cost.
func (s Step) Cost() time.Duration { return time.Duration(s.Micros()) * time.Microsecond }

// LinkRecord is what one end of a link says of it, signed by that end. A link
// counts as up when both ends say so.
type LinkRecord struct {
	From, To    storage.NodeID
	Step        Step // of the cost; 0 when down
	Up          bool
	Incarnation uint64 // From's
	Counter     uint64 // rises with each record of From in one incarnation
	Sig         [SignatureSize]byte
	// In is the set by which it was said, nil if it was said alone. Then the
	// set's signature counts, and Sig is zero.
	In *LinkSet
}

const (
	linkDomain  = "erwik link 1\x00"
	linkVersion = 1
	linkDown    = 0x80
)

func (l *LinkRecord) appendBody(dst []byte) []byte {
	dst = append(dst, linkVersion)
	dst = append(dst, l.From[:]...)
	dst = append(dst, l.To[:]...)
	if l.Up {
		dst = append(dst, byte(l.Step))
	} else {
		dst = append(dst, linkDown)
	}
	dst = binary.AppendUvarint(dst, l.Incarnation)
	return binary.AppendUvarint(dst, l.Counter)
}

// Newer reports whether l counts more than old, which may be nil.
func (l *LinkRecord) Newer(old *LinkRecord) bool {
	return old == nil || l.Incarnation > old.Incarnation ||
		l.Incarnation == old.Incarnation && l.Counter > old.Counter
}

// SignedBytes appends to dst what From signs.
func (l *LinkRecord) SignedBytes(dst []byte) []byte {
	return l.appendBody(append(dst, linkDomain...))
}

// Sign signs the record as From, whose key priv must be.
func (l *LinkRecord) Sign(priv ed25519.PrivateKey) {
	copy(l.Sig[:], ed25519.Sign(priv, l.SignedBytes(nil)))
}

// Verify checks From's signature. The error is ErrSignature.
func (l *LinkRecord) Verify() error {
	if !storage.SignedBy(l.From, l.SignedBytes(nil), &l.Sig) {
		return ErrSignature
	}
	return nil
}

// Append appends the record's wire form.
func (l *LinkRecord) Append(dst []byte) []byte {
	return append(l.appendBody(dst), l.Sig[:]...)
}

// ReadLinkRecord reads one link record; faults are kept in r.
func ReadLinkRecord(r *wire.Reader) *LinkRecord {
	var l LinkRecord
	if r.Byte() != linkVersion {
		r.Fail(wire.ErrVersion)
	}
	r.Copy(l.From[:])
	r.Copy(l.To[:])
	switch b := r.Byte(); {
	case b == linkDown:
	case b <= byte(MaxStep):
		l.Up, l.Step = true, Step(b)
	default:
		r.Fail(wire.ErrValue)
	}
	l.Incarnation = r.Uvarint()
	l.Counter = r.Uvarint()
	r.Copy(l.Sig[:])
	return &l
}

// DecodeLinkRecord reads what Append wrote and nothing more.
func DecodeLinkRecord(b []byte) (*LinkRecord, error) {
	r := wire.NewReader(b)
	l := ReadLinkRecord(&r)
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("events: decode link record: %w", err)
	}
	return l, nil
}
