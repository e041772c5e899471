package page

import (
	"context"
	"errors"
	"fmt"

	"github.com/erwik/erwik/storage"
)

// Move is a request to give a page another name.
type Move struct {
	From, To        Name
	Author, Summary string
	// Base is what the mover saw. Empty: whatever is there.
	Base []storage.Hash
}

// Move saves the page under its new name, with a note where it came from, and
// deletes it under the old one, both or neither.
//
// Errors: *[EditError], [ErrNoPage], [ErrPageExists], [ErrInConflict],
// [ErrBusy] (it was edited meanwhile: nothing is moved), and storage's.
func (s *Service) Move(ctx context.Context, m Move) (Saved, error) {
	check := Edit{Name: m.To, Author: m.Author, Summary: m.Summary}
	if err := check.check(); err != nil {
		return Saved{}, err
	}
	if m.From == m.To {
		return Saved{}, &EditError{Field: "to", Why: "it is the name that the page has"}
	}
	for range maxTries {
		if err := ctx.Err(); err != nil {
			return Saved{}, fmt.Errorf("move %q to %q: %w", m.From, m.To, err)
		}
		from, err := s.Page(m.From)
		if err != nil {
			return Saved{}, err
		}
		to, err := s.Page(m.To)
		if err != nil {
			return Saved{}, err
		}
		if err := m.possible(from, to); err != nil {
			return Saved{}, err
		}
		commits, err := s.store.Save(ctx, s.moveDrafts(&check, from, to)...)
		if errors.Is(err, storage.ErrHeadsMoved) {
			continue
		}
		if err != nil {
			return Saved{}, fmt.Errorf("move %q to %q: %w", m.From, m.To, err)
		}
		return Saved{Commit: commits[0], Heads: []storage.Hash{commits[0].Hash}, Created: true}, nil
	}
	return Saved{}, fmt.Errorf("move %q to %q: %w", m.From, m.To, ErrBusy)
}

// possible says why the move can't be made.
func (m *Move) possible(from, to *Page) error {
	switch {
	case !from.Live:
		return fmt.Errorf("move %q: %w", m.From, ErrNoPage)
	case from.Starter:
		return fmt.Errorf("move %q: it comes with the program until somebody edits it: %w", m.From, ErrNoPage)
	case from.Conflict:
		return fmt.Errorf("move %q: %w", m.From, ErrInConflict)
	case to.Conflict, to.Live && !to.Starter:
		return fmt.Errorf("move %q to %q: %w", m.From, m.To, ErrPageExists)
	case len(m.Base) > 0 && !sameSet(from.Heads, m.Base):
		return fmt.Errorf("move %q: it was edited since you read it: %w", m.From, ErrBusy)
	}
	return nil
}

func (s *Service) moveDrafts(m *Edit, from, to *Page) []storage.Draft {
	summary := m.Summary
	if summary == "" {
		summary = fmt.Sprintf("moved from %s to %s", from.Name, to.Name)
	}
	author := s.author(m.Author)
	return []storage.Draft{{
		Kind: storage.KindPage, Path: to.Name.Path(), Content: from.Text,
		Parents: to.Heads, IfHeads: to.Heads, CheckHeads: true,
		Author: author, Message: summary,
		From: &storage.Source{Path: from.Name.Path(), Commit: from.Latest.Hash},
	}, {
		Kind: storage.KindDelete, Path: from.Name.Path(),
		Parents: from.Heads, IfHeads: from.Heads, CheckHeads: true,
		Author: author, Message: summary,
	}}
}

// Revert saves the text of an old revision anew, on top of e.Base or, with
// e.OnTop, of whatever is there; e.Text is ignored.
func (s *Service) Revert(ctx context.Context, e Edit, to storage.Hash) (Saved, error) {
	c, text, err := s.Revision(e.Name, to)
	if err != nil {
		return Saved{}, err
	}
	if c.Kind == storage.KindDelete {
		return Saved{}, &EditError{Field: "rev", Why: "that revision deleted the page; delete the page instead"}
	}
	e.Text = text
	if e.Summary == "" {
		e.Summary = "reverted to " + to.String()[:10]
	}
	return s.Save(ctx, e)
}
