package storage

import (
	"crypto/ed25519"
	"fmt"
	"slices"
)

// finish computes what follows from the fields and the content: SHA-256,
// tree and, once the signature is there, the commit's hash.
func (c *Commit) finish(content []byte) {
	c.SHA256 = ContentSum(c.Kind, c.Path, content)
	c.Tree = buildTree(c.Kind, c.Path, content, nil)
}

// scratch is room in which the forms of one commit after the other are written,
// to be signed or hashed.
type scratch struct{ payload, signed, whole []byte }

// ofPayload writes what the node signs, and returns where its signature belongs.
func (room *scratch) ofPayload(c *Commit) (signatureAt int) {
	room.payload, signatureAt = c.appendPayload(slices.Grow(room.payload[:0], 1024+len(c.Message)))
	room.signed = appendSigned(slices.Grow(room.signed[:0], 128), room.payload)
	return signatureAt
}

// sign signs c, whose tree and sums are set, and computes its hash.
func (c *Commit) sign(key ed25519.PrivateKey, room *scratch) {
	at := room.ofPayload(c)
	copy(c.Signature[:], ed25519.Sign(key, room.signed))
	c.Hash = c.hashWith(room, at)
}

// hashWith returns the hash of the commit whose payload room holds.
func (c *Commit) hashWith(room *scratch, at int) Hash {
	whole := append(slices.Grow(room.whole[:0], len(room.payload)+400), room.payload[:at]...)
	whole = appendSignature(whole, c.Log.Node, &c.Signature)
	room.whole = append(whole, room.payload[at:]...)
	return hashObject("commit", room.whole)
}

// Verify reports whether c, with its content, is what the owner of its log
// signed: the tree and the SHA-256 are those of the content and the signature
// is the owner's. Everything that needs no other commit is checked here, the
// signature last.
func (c *Commit) Verify(content []byte) error {
	if len(content) > MaxContent {
		return fmt.Errorf("%w: content of %d bytes, at most %d", ErrTooLarge, len(content), MaxContent)
	}
	if err := c.checkFields(); err != nil {
		return err
	}
	if c.SHA256 != ContentSum(c.Kind, c.Path, content) {
		return fmt.Errorf("%w: SHA-256 of commit %s does not match its content", ErrInvalid, c.Hash)
	}
	if c.Tree != buildTree(c.Kind, c.Path, content, nil) {
		return fmt.Errorf("%w: tree of commit %s does not match its content", ErrInvalid, c.Hash)
	}
	var room scratch
	if at := room.ofPayload(c); c.hashWith(&room, at) != c.Hash {
		return fmt.Errorf("%w: commit is not %s", ErrInvalid, c.Hash)
	}
	return c.verifySignature(&room, SignedBy)
}

// signedBy is SignedBy, or one that says the same.
type signedBy func(id NodeID, message []byte, sig *[ed25519.SignatureSize]byte) bool

func (c *Commit) verifySignature(room *scratch, signed signedBy) error {
	if !signed(c.Log.Node, room.signed, &c.Signature) {
		return fmt.Errorf("%w: signature of log %s, sequence %d", ErrInvalid, c.Log, c.Sequence)
	}
	return nil
}

// rebuild completes a commit that arrived as a log entry: it computes sums,
// tree and hash from the content and checks the signature over them. What
// passes is what the owner of the log signed, byte for byte.
func (c *Commit) rebuild(content []byte, signed signedBy, room *scratch) error {
	if len(content) > MaxContent {
		return fmt.Errorf("%w: content of %d bytes, at most %d", ErrTooLarge, len(content), MaxContent)
	}
	if err := c.checkFields(); err != nil {
		return err
	}
	c.finish(content)
	at := room.ofPayload(c)
	if err := c.verifySignature(room, signed); err != nil {
		return err
	}
	c.Hash = c.hashWith(room, at)
	return nil
}

// Objects returns the git objects of c: blob, trees from the inside out, and
// the commit.
func (c *Commit) Objects(content []byte) []Object {
	var all []Object
	buildTree(c.Kind, c.Path, content, func(o Object) { all = append(all, o) })
	return append(all, Object{"commit", c.Hash, c.Encode()})
}

// Check reports whether r is, byte for byte, what the owner of its log signed, and
// under its hash. Whether that owner is admitted is another question.
func (r Record) Check() error { return r.rebuildAs(r.Hash, SignedBy, &scratch{}) }
