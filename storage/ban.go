package storage

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A ban says that nothing of a node counts any more but what its logs held, as
// far as the one who bans knew. It is an entry of that one's log, and travels
// and converges like a page. What it takes out of sight is kept and passed on,
// so that all nodes go on to hold the same: see verdict.go.

const (
	keyBan    = 0x12 // commit hash of a ban → nothing
	banHeader = "erwik ban 1\n"
)

// cut is the last commit of a log, or of one branch of it, that a ban leaves.
type cut struct {
	nonce    uint64
	sequence uint64 // in the log as it was signed
	tip      Hash
}

// ban is an entry of kind ban that is held.
type ban struct {
	commit *Commit
	node   NodeID // who is banned
	name   string // by which it was known
	cuts   []cut
}

func (c cut) compare(o cut) int {
	return bytes.Compare([]byte(c.text()), []byte(o.text()))
}

func (c cut) text() string {
	return fmt.Sprintf("log %016x %d %s\n", c.nonce, c.sequence, hex.EncodeToString(c.tip[:]))
}

// parseBan reads what a commit of kind ban says. There is one way to write it.
func parseBan(c *Commit, content []byte) (ban, error) {
	b := ban{commit: c}
	wrong := func(what string) (ban, error) { return b, fmt.Errorf("%w: not a ban: %s", ErrInvalid, what) }
	name, found := strings.CutPrefix(c.Path, BanPrefix)
	if !found || len(c.Parents) != 0 {
		return wrong("path or parents")
	}
	var err error
	if b.node, err = ParseNodeID(name); err != nil || b.node.String() != name || b.node == c.Log.Node {
		return wrong("no other node is named")
	}
	text, found := strings.CutPrefix(string(content), banHeader)
	if !found {
		return wrong("version")
	}
	line, rest, found := strings.Cut(text, "\n")
	if b.name, err = strconv.Unquote(strings.TrimPrefix(line, "name ")); err != nil || !found || line+"\n" != banName(b.name) {
		return wrong("name")
	}
	for text = rest; text != ""; {
		var line string
		line, text, found = strings.Cut(text, "\n")
		f := strings.Split(line, " ")
		if len(f) != 4 || !found {
			return wrong("a line")
		}
		var at cut
		var tip []byte
		if at.nonce, err = strconv.ParseUint(f[1], 16, 64); err != nil {
			return wrong("a log")
		}
		if at.sequence, err = strconv.ParseUint(f[2], 10, 64); err != nil || at.sequence == 0 {
			return wrong("a sequence")
		}
		if tip, err = hex.DecodeString(f[3]); err != nil || len(tip) != len(at.tip) {
			return wrong("a commit")
		}
		copy(at.tip[:], tip)
		if at.text() != line+"\n" || len(b.cuts) > 0 && b.cuts[len(b.cuts)-1].compare(at) >= 0 {
			return wrong("order or form of its lines")
		}
		b.cuts = append(b.cuts, at)
	}
	return b, nil
}

func banName(name string) string { return fmt.Sprintf("name %q\n", name[:min(len(name), 100)]) }

// Ban bans a node, known by a name, by an entry in this node's log, which keeps of it what is held
// here now. ErrInvalid says that this node can't: its ban would not count.
func (s *Store) Ban(ctx context.Context, node NodeID, name string) error {
	content := []byte(banHeader + banName(name))
	s.mu.Lock()
	reason := s.mayBan(s.self, node)
	if old, banned := s.mu.verdicts[node]; reason == "" && banned && old.banned {
		s.mu.Unlock()
		return nil // it was banned before: with another cut nothing would be shown anew
	}
	var cuts []cut
	for id, l := range s.mu.logs {
		if id.Node == node && l.sequence > 0 {
			b := s.mu.branches[id]
			of := id
			if !b.of.IsZero() {
				of = b.of
			}
			cuts = append(cuts, cut{of.Nonce, b.start + l.sequence, l.tip})
		}
	}
	s.mu.Unlock()
	if reason != "" {
		return fmt.Errorf("%w: %s", ErrInvalid, reason)
	}
	slices.SortFunc(cuts, cut.compare)
	for _, c := range cuts {
		content = append(content, c.text()...)
	}
	_, err := s.Save(ctx, Draft{
		Kind: KindBan, Path: BanPrefix + node.String(), Content: content,
		Author: Ident{Name: s.cfg.Name}, Message: "ban " + node.String() + "\n",
	})
	if err != nil {
		return fmt.Errorf("ban node %s: %w", node, err)
	}
	return nil
}

// mayBan says why a ban of node by another would never count; "" if it may.
func (s *Store) mayBan(by, node NodeID) string {
	switch {
	case by == node:
		return "a node can't ban itself"
	case slices.Contains(s.mu.signers.chain(by), node):
		return "node " + by.String() + " joined through node " + node.String() + " and can't ban it; ban it on a node that did not"
	}
	return ""
}

// Ban is a ban that this node knows.
type Ban struct {
	Node NodeID
	Name string // by which it was known
	By   NodeID
	At   time.Time // as the one who banned says
	// Void says why it does not count; "" if it does.
	Void string
}

// Bans returns all bans that are held, also those that do not count, in the
// order in which they are judged.
func (s *Store) Bans() []Ban {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Ban, len(s.mu.bans))
	for i, b := range s.mu.bans {
		all[i] = Ban{b.node, b.name, b.commit.Log.Node, time.Unix(b.commit.Committer.Time, 0).UTC(), s.mu.void[b.commit.Hash]}
	}
	return all
}

// Banned returns the nodes of which a ban counts, by id.
func (s *Store) Banned() []NodeID {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []NodeID
	for id, v := range s.mu.verdicts {
		if v.banned {
			all = append(all, id)
		}
	}
	slices.SortFunc(all, NodeID.Compare)
	return all
}

// IsBanned reports whether a ban of node counts here.
func (s *Store) IsBanned(node NodeID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.verdicts[node].banned
}

// loadBans reads the bans and judges them; what they hide is noted in the
// database.
func (s *Store) loadBans() error {
	s.mu.bans, s.mu.verdicts, s.mu.void = nil, nil, nil
	err := s.scan([]byte{keyBan}, func(key, _ []byte) error {
		if len(key) != len(Hash{}) {
			return fmt.Errorf("%w: ban key of %d bytes", ErrCorrupt, len(key))
		}
		p, err := s.readPlace(Hash(key))
		if err != nil {
			return fmt.Errorf("read ban %x: %w", key, err)
		}
		r, err := s.readRecord(p)
		if err != nil {
			return fmt.Errorf("read ban %x: %w", key, err)
		}
		r.Hash = Hash(key)
		b, err := parseBan(r.Commit, r.Content)
		if err != nil {
			return fmt.Errorf("%w: ban %x", ErrCorrupt, key)
		}
		s.mu.bans = append(s.mu.bans, b)
		return nil
	})
	if err != nil {
		return err
	}
	if len(s.mu.bans) == 0 {
		return nil
	}
	_, err = s.get([]byte{keyMeta, metaJudge})
	if err == ErrNotFound {
		s.mu.verdicts, err = s.verdicts()
		return err
	}
	if err != nil {
		return err
	}
	t, err := s.judge(true, nil) // a crash came between a ban and what follows from it
	if err == nil {
		err = errors.Join(t.batch.SyncWait(), t.batch.Close())
	}
	return err
}
