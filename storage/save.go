package storage

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"time"
)

// Draft is a save that this node is asked to make.
type Draft struct {
	Kind       Kind
	Path       string
	Content    []byte // kept, not copied
	Parents    []Hash // visible commits of the same path, in any order
	After      []int  // earlier drafts of the same Save that are parents too
	CheckHeads bool   // refuse with ErrHeadsMoved unless the path's heads are IfHeads
	IfHeads    []Hash // in any order
	Author     Ident
	Message    string
	From       *Source
	Import     string
}

// Save makes all drafts durable in one synced batch, all or none, and returns
// their commits in order. When it returns nil, they are on the disk.
//
// ErrHeadsMoved, ErrUnknownParent, ErrMissingChunk, ErrTooLarge, ErrInvalid and
// ErrDiskFull mean that nothing was saved; after ErrPoisoned the outcome is unknown.
func (s *Store) Save(ctx context.Context, drafts ...Draft) ([]*Commit, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("save: %w", err)
	}
	if len(drafts) == 0 || len(drafts) > maxBatchDrafts {
		return nil, fmt.Errorf("%w: %d drafts in one save, at most %d", ErrTooLarge, len(drafts), maxBatchDrafts)
	}
	now, size := s.cfg.Clock(), 0
	commits := make([]*Commit, len(drafts))
	for i := range drafts {
		c, err := s.prepare(&drafts[i], now)
		if err != nil {
			return nil, fmt.Errorf("save %.100q: %w", drafts[i].Path, err)
		}
		commits[i] = c
		size += len(drafts[i].Content) + 1024
	}
	if size > maxBatchBytes {
		return nil, fmt.Errorf("%w: a save of %d bytes, at most %d", ErrTooLarge, size, maxBatchBytes)
	}
	if err := s.disk.take(now, 2*size); err != nil {
		return nil, err
	}
	if !s.enter() {
		return nil, ErrClosed
	}
	defer s.leave()
	s.active()
	if len(drafts) == 1 {
		if err := s.saveGrouped(&drafts[0], commits[0]); err != nil {
			return nil, fmt.Errorf("save %.100q: %w", drafts[0].Path, err)
		}
		return commits, nil
	}
	t, err := s.append(drafts, commits)
	if err != nil {
		return nil, err
	}
	return commits, t.finish()
}

// prepare computes all that does not depend on the log.
func (s *Store) prepare(d *Draft, now time.Time) (*Commit, error) {
	if len(d.Content) > MaxContent {
		return nil, fmt.Errorf("%w: content of %d bytes, at most %d", ErrTooLarge, len(d.Content), MaxContent)
	}
	c := &Commit{
		Kind: d.Kind, Path: d.Path, Author: d.Author, Message: d.Message, From: d.From, Import: d.Import,
		Committer: Ident{Name: s.cfg.Name, Email: s.cfg.Name + "@" + s.cfg.Host, Time: now.Unix()},
		Parents:   slices.Clone(d.Parents),
		Log:       LogID{Node: s.self}, Sequence: 1, Generation: 1,
	}
	if c.Author.Time == 0 {
		c.Author.Time = now.Unix()
	}
	slices.SortFunc(c.Parents, Hash.Compare)
	if err := c.checkFields(); err != nil {
		return nil, err
	}
	c.finish(d.Content)
	return c, nil
}

// append gives the commits their places in this node's log, signs them, and
// applies them.
func (s *Store) append(drafts []Draft, commits []*Commit) (*tx, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.failed != nil {
		return nil, s.mu.failed
	}
	if err := s.startLog(); err != nil {
		return nil, err
	}
	t := s.begin()
	for i, c := range commits {
		if err := t.addDraft(&drafts[i], c, commits[:i]); err != nil {
			t.batch.Close()
			return nil, fmt.Errorf("save %.100q: %w", c.Path, err)
		}
	}
	return t, t.apply()
}

// startLog draws the name of this process's log at its first save.
func (s *Store) startLog() error {
	if !s.mu.own.IsZero() {
		return nil
	}
	random := s.cfg.Random
	if random == nil {
		random = rand.Reader
	}
	for {
		var nonce [8]byte
		if _, err := io.ReadFull(random, nonce[:]); err != nil {
			return fmt.Errorf("draw a log name: %w", err)
		}
		id := LogID{Node: s.self, Nonce: binary.BigEndian.Uint64(nonce[:])}
		if _, taken := s.mu.logs[id]; !taken {
			s.mu.own = id
			return nil
		}
	}
}

func (t *tx) addDraft(d *Draft, c *Commit, before []*Commit) error {
	if d.CheckHeads {
		heads, err := t.headsOf(d.Path)
		if err != nil {
			return err
		}
		if !sameHeads(heads, d.IfHeads) {
			return ErrHeadsMoved
		}
	}
	for _, i := range d.After {
		if i < 0 || i >= len(before) {
			return fmt.Errorf("%w: draft %d is not an earlier one", ErrUnknownParent, i)
		}
		c.Parents = append(c.Parents, before[i].Hash)
	}
	slices.SortFunc(c.Parents, Hash.Compare)
	c.Parents = slices.Compact(c.Parents)
	parents, err := t.parents(c)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnknownParent, err)
	}
	c.Generation = 1
	for _, p := range parents {
		if p.path != c.Path {
			return fmt.Errorf("%w: commit of %.100q", ErrUnknownParent, p.path)
		}
		c.Generation = max(c.Generation, p.generation+1)
	}
	c.Log = t.s.mu.own
	l, _ := t.logState(c.Log)
	c.Sequence, c.Previous = l.sequence+1, l.tip
	if err := checkContent(c, d.Content, parents); err != nil {
		return err
	}
	if c.Kind == KindFile {
		if err := t.s.checkChunks(d.Content); err != nil {
			return err
		}
	}
	c.sign(t.s.key, &t.room)
	return t.add(c, d.Content, parents, LogPlace{c.Log, c.Sequence}, true)
}

func sameHeads(heads []Head, want []Hash) bool {
	if len(heads) != len(want) {
		return false
	}
	for _, h := range heads {
		if !slices.Contains(want, h.Hash) {
			return false
		}
	}
	return true
}
