package storage

import (
	"bytes"
	"container/list"
	"crypto/ed25519"
	"crypto/sha512"
	"sync"

	"github.com/oasisprotocol/curve25519-voi/curve"
	"github.com/oasisprotocol/curve25519-voi/curve/scalar"
	voi "github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
)

// SignedBy reports whether sig is the Ed25519 signature (RFC 8032) of message
// by the node id, whose public key is its ID. It says the same as
// [ed25519.Verify] of the standard library about every input, also where
// implementations differ (points of small order, encodings that are not
// canonical): nodes that disagree about one commit would never have equal
// digests again.
func SignedBy(id NodeID, message []byte, sig *[ed25519.SignatureSize]byte) bool {
	return voi.VerifyWithOptions(id[:], message, sig[:], &voi.Options{Verify: voi.VerifyOptionsStdLib})
}

const (
	keysKept = 64 // keys with tables at most, 40 KiB each
	keyOften = 3  // the signature in sight of a key for which its table is made, which takes as long as five of them save
)

// checker checks signatures by nodes that it meets again and again: a table of
// multiples of the node's key takes the doublings out of each check, which are
// half of it. What it says is what SignedBy says. It may be used by several
// goroutines at once, and is ready when it is zero.
type checker struct {
	mu   sync.Mutex
	keys map[NodeID]*list.Element // of *checkedKey
	used list.List                // the last one used first
}

type checkedKey struct {
	id    NodeID
	uses  int
	table *curve.EdwardsBasepointTable // of the key's negative; nil: not yet, or the key is no point
}

// SignedBy says the same as the function SignedBy, and in half the time of
// nodes that have signed much of late. It may be called at any time.
func (s *Store) SignedBy(id NodeID, message []byte, sig *[ed25519.SignatureSize]byte) bool {
	return s.check.signedBy(id, message, sig)
}

func (c *checker) signedBy(id NodeID, message []byte, sig *[ed25519.SignatureSize]byte) bool {
	table, wanted := c.lookup(id)
	if wanted {
		table = c.make(id)
	}
	if table == nil {
		return SignedBy(id, message, sig)
	}
	return signedByTable(table, id, message, sig)
}

// lookup counts one use of id and returns its table; wanted is true once per
// key in sight, for the caller to make the table outside of the lock.
func (c *checker) lookup(id NodeID) (table *curve.EdwardsBasepointTable, wanted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.keys[id]
	if at == nil {
		if c.keys == nil {
			c.keys = make(map[NodeID]*list.Element)
		}
		if c.used.Len() >= keysKept {
			last := c.used.Back()
			delete(c.keys, last.Value.(*checkedKey).id)
			c.used.Remove(last)
		}
		at = c.used.PushFront(&checkedKey{id: id})
		c.keys[id] = at
	} else {
		c.used.MoveToFront(at)
	}
	key := at.Value.(*checkedKey)
	key.uses++
	return key.table, key.uses == keyOften
}

// make makes the table of a key. It returns nil when id is no point of the
// curve.
func (c *checker) make(id NodeID) *curve.EdwardsBasepointTable {
	var point curve.EdwardsPoint
	compressed, err := curve.NewCompressedEdwardsYFromBytes(id[:])
	if err != nil {
		return nil
	}
	if _, err := point.SetCompressedY(compressed); err != nil {
		return nil
	}
	table := curve.NewEdwardsBasepointTable(point.Neg(&point))
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := c.keys[id]; at != nil {
		at.Value.(*checkedKey).table = table
	}
	return table
}

// signedByTable is the check without cofactor of RFC 8032, section 5.1.7, as
// the standard library makes it: R must be spelled like [S]B - [k]A.
func signedByTable(minusA *curve.EdwardsBasepointTable, id NodeID, message []byte, sig *[ed25519.SignatureSize]byte) bool {
	s, err := scalar.NewFromCanonicalBytes(sig[32:])
	if err != nil {
		return false
	}
	buf := make([]byte, 0, 512)
	buf = append(buf, sig[:32]...)
	buf = append(buf, id[:]...)
	sum := sha512.Sum512(append(buf, message...))
	k, err := scalar.NewFromBytesModOrderWide(sum[:])
	if err != nil {
		return false
	}
	var left, right curve.EdwardsPoint
	left.MulBasepoint(curve.ED25519_BASEPOINT_TABLE, s)
	right.MulBasepoint(minusA, k)
	var r curve.CompressedEdwardsY
	r.SetEdwardsPoint(left.Add(&left, &right))
	return bytes.Equal(r[:], sig[:32])
}
