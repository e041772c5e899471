package storage

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// admission says that a node admitted another to the signers' set.
type admission struct{ sponsor, node NodeID }

// signers is the grow-only set of nodes whose commits are taken: this node,
// and whoever was admitted by one of the set.
type signers struct {
	by      map[NodeID][]NodeID // sponsor → admitted
	trusted map[NodeID]bool
}

const (
	keySigner   = 0x0a // sponsor, node → admission's commit hash
	admitHeader = "erwik signer 1\n"
)

func signerKey(dst []byte, sponsor, node NodeID) []byte {
	return append(append(append(dst, keySigner), sponsor[:]...), node[:]...)
}

func (s *signers) init(self NodeID) {
	s.by = make(map[NodeID][]NodeID)
	s.trusted = map[NodeID]bool{self: true}
}

func (s *signers) load(store *Store) error {
	return store.scan([]byte{keySigner}, func(key, _ []byte) error {
		if len(key) != 64 {
			return fmt.Errorf("%w: signer key of %d bytes", ErrCorrupt, len(key))
		}
		s.add(admission{NodeID(key[:32]), NodeID(key[32:])})
		return nil
	})
}

func (s *signers) has(a admission) bool { return slices.Contains(s.by[a.sponsor], a.node) }

func (s *signers) add(a admission) {
	if s.has(a) {
		return
	}
	s.by[a.sponsor] = append(s.by[a.sponsor], a.node)
	if s.trusted[a.sponsor] {
		s.trust(a.node)
	}
}

func (s *signers) trust(node NodeID) {
	for open := []NodeID{node}; len(open) > 0; {
		node, open = open[0], open[1:]
		if !s.trusted[node] {
			s.trusted[node] = true
			open = append(open, s.by[node]...)
		}
	}
}

// admittedNode returns whom c admits.
func admittedNode(c *Commit, content []byte) (NodeID, error) {
	id, err := ParseNodeID(strings.TrimPrefix(c.Path, SignerPrefix))
	if err != nil || !strings.HasPrefix(c.Path, SignerPrefix) || !strings.HasPrefix(string(content), admitHeader) || len(c.Parents) != 0 {
		return NodeID{}, fmt.Errorf("%w: not an admission", ErrInvalid)
	}
	return id, nil
}

// Admit adds a node to the signers' set by an entry in this node's log; a
// second time it does nothing. The entry travels and converges like a page.
func (s *Store) Admit(ctx context.Context, node NodeID, name string) error {
	s.mu.Lock()
	known := node == s.self || s.mu.signers.has(admission{s.self, node})
	s.mu.Unlock()
	if known {
		return nil
	}
	content := fmt.Sprintf("%sname %.200q\n", admitHeader, name)
	_, err := s.Save(ctx, Draft{
		Kind: KindAdmit, Path: SignerPrefix + node.String(), Content: []byte(content),
		Author: Ident{Name: s.cfg.Name}, Message: "admit " + node.String() + "\n",
	})
	if err != nil {
		return fmt.Errorf("admit node %s: %w", node, err)
	}
	return nil
}

// Admitted reports whether commits of node are taken.
func (s *Store) Admitted(node NodeID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.signers.trusted[node]
}

// Signers returns all admitted nodes in the order of their ids, this one
// included.
func (s *Store) Signers() []NodeID {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]NodeID, 0, len(s.mu.signers.trusted))
	for id := range s.mu.signers.trusted {
		all = append(all, id)
	}
	slices.SortFunc(all, NodeID.Compare)
	return all
}
