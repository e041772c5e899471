package storage

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// NodeID names a node: it is the node's Ed25519 public key (RFC 8032).
type NodeID [ed25519.PublicKeySize]byte

// nodeText is base32 (RFC 4648) in lower case without padding: 52 characters.
var nodeText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// String returns the 52 characters by which people and JSON name the node.
func (id NodeID) String() string { return nodeText.EncodeToString(id[:]) }

// Short returns the first four characters, which tell apart nodes of one name.
func (id NodeID) Short() string { return id.String()[:4] }

// IsZero reports whether id names nobody.
func (id NodeID) IsZero() bool { return id == NodeID{} }

// Compare orders ids by their bytes, which is also the order of their texts.
func (id NodeID) Compare(other NodeID) int { return bytes.Compare(id[:], other[:]) }

// MarshalText implements encoding.TextMarshaler.
func (id NodeID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *NodeID) UnmarshalText(text []byte) error {
	parsed, err := ParseNodeID(string(text))
	if err == nil {
		*id = parsed
	}
	return err
}

// ParseNodeID reads what String wrote and nothing else.
func ParseNodeID(text string) (NodeID, error) {
	var id NodeID
	if len(text) != nodeText.EncodedLen(len(id)) {
		return id, fmt.Errorf("storage: node id %.60q: want 52 characters", text)
	}
	raw, err := nodeText.DecodeString(text)
	if err != nil {
		return id, fmt.Errorf("storage: node id %.60q: %w", text, err)
	}
	copy(id[:], raw)
	if id.String() != text {
		return NodeID{}, fmt.Errorf("storage: node id %.60q is not in its one canonical form", text)
	}
	return id, nil
}

// LogID names a log: the node that writes it and 64 random bits drawn at that
// node's first save after each start, so that no sequence is ever used twice.
type LogID struct {
	Node  NodeID
	Nonce uint64
}

// String returns "<node id>.<16 hex digits>".
func (l LogID) String() string { return string(l.appendTo(make([]byte, 0, 69))) }

func (l LogID) appendTo(dst []byte) []byte {
	var nonce [8]byte
	binary.BigEndian.PutUint64(nonce[:], l.Nonce)
	return hex.AppendEncode(append(nodeText.AppendEncode(dst, l.Node[:]), '.'), nonce[:])
}

// IsZero reports whether l names no log.
func (l LogID) IsZero() bool { return l == LogID{} }

// Compare orders logs by node, then by nonce.
func (l LogID) Compare(other LogID) int {
	if c := l.Node.Compare(other.Node); c != 0 {
		return c
	}
	switch {
	case l.Nonce < other.Nonce:
		return -1
	case l.Nonce > other.Nonce:
		return 1
	}
	return 0
}

// AppendBinary appends the 40 bytes of l: node, then nonce big endian.
func (l LogID) AppendBinary(dst []byte) ([]byte, error) {
	return binary.BigEndian.AppendUint64(append(dst, l.Node[:]...), l.Nonce), nil
}

// LogIDSize is the length of a log id in binary formats.
const LogIDSize = 40

// LogIDFromBytes reads the first LogIDSize bytes of b; b must have them.
func LogIDFromBytes(b []byte) LogID {
	var l LogID
	copy(l.Node[:], b[:32])
	l.Nonce = binary.BigEndian.Uint64(b[32:LogIDSize])
	return l
}

// MarshalText implements encoding.TextMarshaler.
func (l LogID) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *LogID) UnmarshalText(text []byte) error {
	parsed, err := ParseLogID(string(text))
	if err == nil {
		*l = parsed
	}
	return err
}

// ParseLogID reads what String wrote and nothing else.
func ParseLogID(text string) (LogID, error) {
	node, nonce, found := strings.Cut(text, ".")
	if !found || len(nonce) != 16 || strings.ToLower(nonce) != nonce {
		return LogID{}, fmt.Errorf("storage: log id %.80q: want <node id>.<16 hex digits>", text)
	}
	id, err := ParseNodeID(node)
	if err != nil {
		return LogID{}, err
	}
	n, err := strconv.ParseUint(nonce, 16, 64)
	if err != nil {
		return LogID{}, fmt.Errorf("storage: log id %.80q: %w", text, err)
	}
	return LogID{Node: id, Nonce: n}, nil
}

// Hash is the SHA-1 of a git object, computed with collision detection.
type Hash [20]byte

// String returns 40 hex digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// IsZero reports whether h is no object's hash.
func (h Hash) IsZero() bool { return h == Hash{} }

// Compare orders hashes by their bytes.
func (h Hash) Compare(other Hash) int { return bytes.Compare(h[:], other[:]) }

// MarshalText implements encoding.TextMarshaler.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hash) UnmarshalText(text []byte) error {
	parsed, err := ParseHash(string(text))
	if err == nil {
		*h = parsed
	}
	return err
}

// ParseHash reads 40 lower-case hex digits.
func ParseHash(text string) (Hash, error) {
	var h Hash
	if len(text) != 2*len(h) || strings.ToLower(text) != text {
		return h, fmt.Errorf("storage: commit hash %.60q: want 40 lower-case hex digits", text)
	}
	if _, err := hex.Decode(h[:], []byte(text)); err != nil {
		return Hash{}, fmt.Errorf("storage: commit hash %.60q: %w", text, err)
	}
	return h, nil
}
