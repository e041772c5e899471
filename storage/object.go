package storage

import (
	"crypto/sha256"
	"strconv"
	"strings"

	"github.com/pjbgf/sha1cd"
)

// hashObject returns git's name for an object: SHA-1, computed with collision
// detection, of its kind, its length and its body.
func hashObject(kind string, body []byte) Hash {
	var head [32]byte
	b := append(head[:0], kind...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(len(body)), 10)
	b = append(b, 0)
	sum := sha1cd.New()
	sum.Write(b)
	sum.Write(body)
	var h Hash
	sum.Sum(h[:0])
	return h
}

// Object is one git object: what export writes and git serves.
type Object struct {
	Kind string // "blob", "tree" or "commit"
	Hash Hash
	Body []byte
}

const (
	modeFile = "100644"
	modeTree = "40000"
)

// treeBody is a git tree of one entry.
func treeBody(mode, name string, entry Hash) []byte {
	b := make([]byte, 0, len(mode)+len(name)+2+len(entry))
	b = append(b, mode...)
	b = append(b, ' ')
	b = append(b, name...)
	b = append(b, 0)
	return append(b, entry[:]...)
}

// emptyTree is the tree of a delete.
var emptyTree = Hash{0x4b, 0x82, 0x5d, 0xc6, 0x42, 0xcb, 0x6e, 0xb9, 0xa0, 0x60, 0xe5, 0x4b, 0xf8, 0xd6, 0x92, 0x88, 0xfb, 0xee, 0x49, 0x04}

// buildTree returns the root tree that holds exactly content at path, and
// hands every object on the way, innermost first, to visit (which may be nil).
// A delete has the empty tree.
func buildTree(kind Kind, path string, content []byte, visit func(Object)) Hash {
	if kind == KindDelete {
		if visit != nil {
			visit(Object{"tree", emptyTree, nil})
		}
		return emptyTree
	}
	entry, mode := hashObject("blob", content), modeFile
	if visit != nil {
		visit(Object{"blob", entry, content})
	}
	for path != "" {
		var name string
		if i := strings.LastIndexByte(path, '/'); i >= 0 {
			path, name = path[:i], path[i+1:]
		} else {
			path, name = "", path
		}
		body := treeBody(mode, name, entry)
		entry, mode = hashObject("tree", body), modeTree
		if visit != nil {
			visit(Object{"tree", entry, body})
		}
	}
	return entry
}

// ContentSum is the SHA-256 that carries a commit's integrity: over a domain
// tag, kind, path and content.
func ContentSum(kind Kind, path string, content []byte) [sha256.Size]byte {
	h := sha256.New()
	head := make([]byte, 0, 64+len(path))
	head = append(head, "erwik content 1\x00"...)
	head = append(head, kind...)
	head = append(head, 0)
	head = append(head, path...)
	head = append(head, 0)
	h.Write(head)
	h.Write(content)
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	return sum
}
