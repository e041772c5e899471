package events

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"

	"github.com/erwik/erwik/events/wire"
	"github.com/erwik/erwik/storage"
)

// Limits of a node record; Valid and the decoder refuse what is over them.
const (
	MaxName      = 64  // bytes of a node's name
	MaxAddresses = 4   // addresses by which it can be dialled
	MaxAddress   = 100 // bytes of HOST:PORT
	MaxVersion   = 32  // bytes of the software version
)

// Record is what a node says of itself, signed by it. Names are labels; the id
// is the key.
type Record struct {
	ID          storage.NodeID
	Name        string
	Addresses   []string // HOST:PORT, best first
	Incarnation uint64   // raised by the subject only; the higher one counts
	Version     string   // of the software
	Sig         [SignatureSize]byte
}

const (
	recordDomain  = "erwik node 1\x00"
	recordVersion = 1
)

// Valid reports whether r can be encoded.
func (r *Record) Valid() error {
	if len(r.Name) > MaxName || len(r.Version) > MaxVersion || len(r.Addresses) > MaxAddresses {
		return fmt.Errorf("events: node record of %s: %w", r.ID.Short(), wire.ErrTooLong)
	}
	for _, a := range r.Addresses {
		if len(a) > MaxAddress {
			return fmt.Errorf("events: address %.120q: %w", a, wire.ErrTooLong)
		}
	}
	return nil
}

func (r *Record) appendBody(dst []byte) []byte {
	dst = append(dst, recordVersion)
	dst = append(dst, r.ID[:]...)
	dst = wire.AppendText(dst, r.Name)
	dst = append(dst, byte(len(r.Addresses)))
	for _, a := range r.Addresses {
		dst = wire.AppendText(dst, a)
	}
	dst = binary.AppendUvarint(dst, r.Incarnation)
	return wire.AppendText(dst, r.Version)
}

// SignedBytes appends to dst what the subject signs.
func (r *Record) SignedBytes(dst []byte) []byte {
	return r.appendBody(append(dst, recordDomain...))
}

// Sign signs the record as its subject, whose key priv must be.
func (r *Record) Sign(priv ed25519.PrivateKey) {
	copy(r.Sig[:], ed25519.Sign(priv, r.SignedBytes(nil)))
}

// Verify checks the subject's signature. The error is ErrSignature.
func (r *Record) Verify() error {
	if !storage.SignedBy(r.ID, r.SignedBytes(nil), &r.Sig) {
		return ErrSignature
	}
	return nil
}

// Append appends the record's wire form.
func (r *Record) Append(dst []byte) []byte {
	return append(r.appendBody(dst), r.Sig[:]...)
}

// ReadRecord reads one record; faults are kept in rd.
func ReadRecord(rd *wire.Reader) *Record {
	var r Record
	if rd.Byte() != recordVersion {
		rd.Fail(wire.ErrVersion)
	}
	rd.Copy(r.ID[:])
	r.Name = rd.Text(MaxName)
	n := int(rd.Byte())
	if n > MaxAddresses {
		rd.Fail(wire.ErrTooLong)
		n = 0
	}
	for range n {
		r.Addresses = append(r.Addresses, rd.Text(MaxAddress))
	}
	r.Incarnation = rd.Uvarint()
	r.Version = rd.Text(MaxVersion)
	rd.Copy(r.Sig[:])
	return &r
}

// DecodeRecord reads what Append wrote and nothing more.
func DecodeRecord(b []byte) (*Record, error) {
	rd := wire.NewReader(b)
	r := ReadRecord(&rd)
	if err := rd.Done(); err != nil {
		return nil, fmt.Errorf("events: decode node record: %w", err)
	}
	return r, nil
}
