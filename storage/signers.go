package storage

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// admission says that a node admitted another to the signers' set.
type admission struct {
	sponsor, node NodeID
	joined        bool // the one who admits joined through the other
}

// signers is the grow-only set of nodes whose commits are taken: this node,
// and whoever was admitted by one of the set.
type signers struct {
	by      map[NodeID][]NodeID // sponsor → admitted
	trusted map[NodeID]bool
	through map[NodeID][]NodeID // node → those through whom it says it joined
}

const (
	keySigner   = 0x0a // sponsor, node → admission's commit hash, and 1 if the sponsor joined through the node
	admitHeader = "erwik signer 1\n"
	admitJoined = "\njoined\n" // at the end: the one who admits joined through the other
)

func signerKey(dst []byte, sponsor, node NodeID) []byte {
	return append(append(append(dst, keySigner), sponsor[:]...), node[:]...)
}

func (s *signers) init(self NodeID) {
	s.by = make(map[NodeID][]NodeID)
	s.trusted = map[NodeID]bool{self: true}
	s.through = make(map[NodeID][]NodeID)
}

func (s *signers) load(store *Store) error {
	return store.scan([]byte{keySigner}, func(key, value []byte) error {
		if len(key) != 64 {
			return fmt.Errorf("%w: signer key of %d bytes", ErrCorrupt, len(key))
		}
		s.add(admission{NodeID(key[:32]), NodeID(key[32:]), len(value) > len(Hash{})})
		return nil
	})
}

func (s *signers) has(sponsor, node NodeID) bool { return slices.Contains(s.by[sponsor], node) }

// encode writes what is kept of an admission by a commit.
func (a admission) encode(h Hash) []byte {
	if a.joined {
		return append(h[:], 1)
	}
	return h[:]
}

// admittedAsSponsor reports whether the one who admits says that it joined
// through the admitted node.
func admittedAsSponsor(content []byte) bool { return strings.HasSuffix(string(content), admitJoined) }

// chain returns the nodes through whom node joined, and those through whom
// those did, as they say themselves.
func (s *signers) chain(node NodeID) (all []NodeID) {
	for open := []NodeID{node}; len(open) > 0; open = open[1:] {
		for _, next := range s.through[open[0]] {
			if next != node && !slices.Contains(all, next) {
				all, open = append(all, next), append(open, next)
			}
		}
	}
	return all
}

func (s *signers) add(a admission) {
	if a.joined && !slices.Contains(s.through[a.sponsor], a.node) {
		s.through[a.sponsor] = append(s.through[a.sponsor], a.node)
	}
	if s.has(a.sponsor, a.node) {
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
// ErrBanned: a ban counts, and nobody can admit the node again.
func (s *Store) Admit(ctx context.Context, node NodeID, name string) error {
	return s.admit(ctx, node, name, "")
}

// AdmitSponsor is Admit for a node through which this one joined: this one can't
// ban it.
func (s *Store) AdmitSponsor(ctx context.Context, node NodeID, name string) error {
	return s.admit(ctx, node, name, admitJoined[1:])
}

func (s *Store) admit(ctx context.Context, node NodeID, name, word string) error {
	s.mu.Lock()
	known := node == s.self || s.mu.signers.has(s.self, node)
	banned := s.mu.verdicts[node].banned
	s.mu.Unlock()
	if banned {
		return fmt.Errorf("admit node %s: %w", node, ErrBanned)
	}
	if known {
		return nil
	}
	content := fmt.Sprintf("%sname %.200q\n%s", admitHeader, name, word)
	_, err := s.Save(ctx, Draft{
		Kind: KindAdmit, Path: SignerPrefix + node.String(), Content: []byte(content),
		Author: Ident{Name: s.cfg.Name}, Message: "admit " + node.String() + "\n",
	})
	if err != nil {
		return fmt.Errorf("admit node %s: %w", node, err)
	}
	return nil
}

// Admitted reports whether node is a member: it was admitted, and no ban takes
// that back.
func (s *Store) Admitted(node NodeID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, judged := s.mu.verdicts[node]
	return s.mu.signers.trusted[node] && !judged
}

// Taken reports whether commits of node are taken: those of banned nodes are,
// that others still hold.
func (s *Store) Taken(node NodeID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.signers.trusted[node]
}

// Judged returns the nodes that were admitted and are no members any more, in
// the order of their ids.
func (s *Store) Judged() []NodeID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Keys(s.mu.verdicts), NodeID.Compare)
}

// Signers returns all members in the order of their ids, this one included.
func (s *Store) Signers() []NodeID {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]NodeID, 0, len(s.mu.signers.trusted))
	for id := range s.mu.signers.trusted {
		if _, judged := s.mu.verdicts[id]; !judged {
			all = append(all, id)
		}
	}
	slices.SortFunc(all, NodeID.Compare)
	return all
}
