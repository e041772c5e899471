package storage

import (
	"crypto/ed25519"
	"fmt"
)

// finish computes what follows from the fields and the content: SHA-256,
// tree and, once the signature is there, the commit's hash.
func (c *Commit) finish(content []byte) {
	c.SHA256 = ContentSum(c.Kind, c.Path, content)
	c.Tree = buildTree(c.Kind, c.Path, content, nil)
}

// sign signs c, whose tree and sums are set, and computes its hash.
func (c *Commit) sign(key ed25519.PrivateKey) {
	payload, at := c.appendPayload(make([]byte, 0, 1024+len(c.Message)))
	copy(c.Signature[:], ed25519.Sign(key, signedData(payload)))
	c.Hash = c.hashWith(payload, at)
}

// hashWith returns the hash of the commit whose payload is given.
func (c *Commit) hashWith(payload []byte, at int) Hash {
	full := make([]byte, 0, len(payload)+400)
	full = append(full, payload[:at]...)
	full = appendSignature(full, c.Log.Node, &c.Signature)
	return hashObject("commit", append(full, payload[at:]...))
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
	payload, at := c.appendPayload(make([]byte, 0, 1024+len(c.Message)))
	if c.hashWith(payload, at) != c.Hash {
		return fmt.Errorf("%w: commit is not %s", ErrInvalid, c.Hash)
	}
	return c.verifySignature(payload, SignedBy)
}

// signedBy is SignedBy, or one that says the same.
type signedBy func(id NodeID, message []byte, sig *[ed25519.SignatureSize]byte) bool

func (c *Commit) verifySignature(payload []byte, signed signedBy) error {
	if !signed(c.Log.Node, signedData(payload), &c.Signature) {
		return fmt.Errorf("%w: signature of log %s, sequence %d", ErrInvalid, c.Log, c.Sequence)
	}
	return nil
}

// rebuild completes a commit that arrived as a log entry: it computes sums,
// tree and hash from the content and checks the signature over them. What
// passes is what the owner of the log signed, byte for byte.
func (c *Commit) rebuild(content []byte, signed signedBy) error {
	if len(content) > MaxContent {
		return fmt.Errorf("%w: content of %d bytes, at most %d", ErrTooLarge, len(content), MaxContent)
	}
	if err := c.checkFields(); err != nil {
		return err
	}
	c.finish(content)
	payload, at := c.appendPayload(make([]byte, 0, 1024+len(c.Message)))
	if err := c.verifySignature(payload, signed); err != nil {
		return err
	}
	c.Hash = c.hashWith(payload, at)
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
func (r Record) Check() error { return r.rebuildAs(r.Hash, SignedBy) }
