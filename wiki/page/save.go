package page

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki/merge"
)

// maxTries is how often an edit is merged anew because others were faster.
const maxTries = 1000

// Save makes an edit durable. Where the page has moved on since e.Base, the
// edit is merged; where that is not possible a *[ConflictError] says so and
// nothing is saved. An edit that changes nothing makes no commit.
//
// Errors: *[EditError], *[ConflictError], [ErrUnknownBase], [ErrNoPage] (for
// a delete), [ErrBusy], and storage's.
func (s *Service) Save(ctx context.Context, e Edit) (Saved, error) {
	if err := e.check(); err != nil {
		return Saved{}, err
	}
	path := e.Name.Path()
	place := false // for merging; kept until the save is done, or another one would be merged on the same heads
	defer func() {
		if place {
			<-s.merging
		}
	}()
	for range maxTries {
		if err := ctx.Err(); err != nil {
			return Saved{}, fmt.Errorf("save %q: %w", e.Name, err)
		}
		heads, err := s.store.Heads(path)
		if err != nil {
			return Saved{}, fmt.Errorf("read heads of %q: %w", e.Name, err)
		}
		p, err := s.plan(ctx, &e, heads, &place)
		if errors.Is(err, storage.ErrHeadsMoved) {
			continue
		}
		if err != nil {
			return Saved{}, err
		}
		if p.saved.Unchanged {
			return p.saved, nil
		}
		commits, err := s.store.Save(ctx, p.draft)
		if errors.Is(err, storage.ErrHeadsMoved) {
			continue
		}
		if err != nil {
			return Saved{}, fmt.Errorf("save %q: %w", e.Name, err)
		}
		p.saved.Commit = commits[0]
		p.saved.Heads = append(p.saved.Heads, commits[0].Hash)
		slices.SortFunc(p.saved.Heads, storage.Hash.Compare)
		return p.saved, nil
	}
	return Saved{}, fmt.Errorf("save %q: %w", e.Name, ErrBusy)
}

// plan is how an edit becomes a commit, given some heads.
type plan struct {
	draft storage.Draft
	saved Saved // all but the new commit
}

// plan decides what an edit does to a page with these heads. It returns
// ErrHeadsMoved where it had to wait, so that the heads may be others now. A merge
// waits for a place; place says that the caller has one, and must give it back.
func (s *Service) plan(ctx context.Context, e *Edit, heads []storage.Head, place *bool) (*plan, error) {
	set := hashes(heads)
	cur, same, err := s.viewForEdit(e, heads, set)
	if err != nil {
		return nil, fmt.Errorf("read page %q: %w", e.Name, err)
	}
	if same {
		return s.unchanged(cur)
	}
	if e.Delete && !cur.Live {
		return nil, fmt.Errorf("delete %q: %w", e.Name, ErrNoPage)
	}
	newer := set
	switch {
	case e.OnTop || !cur.Live && len(e.Base) == 0 || sameSet(set, e.Base):
		newer = nil
	case len(e.Base) > 0:
		if err := s.findBase(ctx, e); err != nil {
			return nil, err
		}
		if newer, err = unreached(s.graph, set, e.Base); err != nil {
			return nil, err
		}
	}
	if len(newer) == 0 {
		return s.commit(e, e.Text, cur, false), nil
	}
	if !*place {
		select {
		case s.merging <- struct{}{}:
			*place = true
			return nil, storage.ErrHeadsMoved
		case <-ctx.Done():
			return nil, fmt.Errorf("save %q: wait to be merged: %w", e.Name, ctx.Err())
		}
	}
	if cur, err = s.viewWithin(set); err != nil {
		return nil, fmt.Errorf("read page %q: %w", e.Name, err)
	}
	text, err := s.mergeEdit(e, cur, newer)
	if err != nil {
		return nil, err
	}
	merged := *e
	merged.Text = text
	if showsSame(&merged, cur) {
		p, err := s.unchanged(cur)
		if p != nil {
			p.saved.Merged = true
		}
		return p, err
	}
	return s.commit(e, text, cur, true), nil
}

// viewForEdit is the view of the heads as far as an edit on top of them needs
// it, and whether readers see e's text already. A single head, which is what
// most edits meet, is not looked at: Latest is nil, and Text too unless e's
// text is the same. So the cost of a save does not depend on whether the page
// was read lately.
func (s *Service) viewForEdit(e *Edit, heads []storage.Head, set []storage.Hash) (v *View, same bool, err error) {
	if len(heads) == 0 {
		return &View{}, false, nil
	}
	if len(heads) > 1 || heads[0].Kind != storage.KindPage {
		if v, err = s.viewOf(set); err != nil {
			return nil, false, err
		}
		return v, showsSame(e, v), nil
	}
	v = &View{Heads: set, Live: true, Distinct: 1}
	if sum := storage.ContentSum(storage.KindPage, e.Name.Path(), e.Text); e.Delete || [8]byte(sum[:8]) != heads[0].Sum {
		return v, false, nil
	}
	if v.Text, err = s.store.Content(heads[0].Hash); err != nil {
		return nil, false, fmt.Errorf("read text of head %s: %w", heads[0].Hash, err)
	}
	return v, showsSame(e, v), nil
}

// showsSame reports whether readers of v, which is complete, see e's text.
func showsSame(e *Edit, v *View) bool {
	return !e.Delete && v.Live && !v.Conflict && bytes.Equal(e.Text, v.Text)
}

// unchanged plans no commit: readers of cur see the text already.
func (s *Service) unchanged(cur *View) (*plan, error) {
	latest := cur.Latest
	if latest == nil {
		var err error
		if latest, err = s.graph.Commit(cur.Heads[0]); err != nil {
			return nil, fmt.Errorf("read head %s: %w", cur.Heads[0], err)
		}
	}
	return &plan{saved: Saved{Commit: latest, Heads: cur.Heads, Unchanged: true}}, nil
}

// sameSet reports whether base names exactly the heads.
func sameSet(heads, base []storage.Hash) bool {
	if len(heads) == 1 && len(base) == 1 {
		return heads[0] == base[0]
	}
	return slices.Equal(heads, sortedSet(base))
}

// commit plans a commit on top of all heads of cur.
func (s *Service) commit(e *Edit, text []byte, cur *View, merged bool) *plan {
	kind := storage.KindPage
	if e.Delete {
		kind, text = storage.KindDelete, nil
	}
	parents := cur.Heads
	var left []storage.Hash
	if len(parents) > storage.MaxParents {
		parents, left = parents[:storage.MaxParents], slices.Clone(parents[storage.MaxParents:])
	}
	return &plan{
		draft: storage.Draft{
			Kind: kind, Path: e.Name.Path(), Content: text,
			Parents: parents, IfHeads: cur.Heads, CheckHeads: true,
			Author: s.author(e.Author), Message: e.Summary,
		},
		saved: Saved{Heads: left, Created: !cur.Live, Merged: merged},
	}
}

func (s *Service) author(name string) storage.Ident {
	return storage.Ident{Name: name, Time: s.clock().Unix()}
}

// findBase makes sure that e's base is here, asking other nodes if it is not.
// Where it had to ask, the heads may have moved.
func (s *Service) findBase(ctx context.Context, e *Edit) error {
	missing, err := s.missingBase(e.Name.Path(), e.Base)
	if err != nil || len(missing) == 0 {
		return err
	}
	if s.fetch != nil {
		wait, cancel := context.WithTimeout(ctx, fetchTime)
		err = s.fetch.Fetch(wait, missing)
		cancel()
		if err != nil {
			s.log.Debug("base not found at other nodes", "page", string(e.Name), "err", err)
		}
		if missing, err = s.missingBase(e.Name.Path(), e.Base); err != nil {
			return err
		}
		if len(missing) == 0 {
			return storage.ErrHeadsMoved
		}
	}
	return fmt.Errorf("save %q on %s: %w", e.Name, missing[0], ErrUnknownBase)
}

// missingBase returns those of a base that are no commits of the path here.
func (s *Service) missingBase(path string, base []storage.Hash) ([]storage.Hash, error) {
	var missing []storage.Hash
	for _, h := range base {
		c, err := s.graph.Commit(h)
		switch {
		case errors.Is(err, storage.ErrNotFound), err == nil && c.Path != path:
			missing = append(missing, h)
		case err != nil:
			return nil, fmt.Errorf("read base %s: %w", h, err)
		}
	}
	return missing, nil
}

// mergeEdit merges e with the heads that its base does not know; the caller has a
// place for it.
func (s *Service) mergeEdit(e *Edit, cur *View, newer []storage.Hash) ([]byte, error) {
	base := &View{}
	if len(e.Base) > 0 {
		var err error
		if base, err = s.viewWithin(sortedSet(e.Base)); err != nil {
			return nil, fmt.Errorf("read base of the edit of %q: %w", e.Name, err)
		}
	}
	var baseText []byte
	if base.Live {
		baseText = base.Text
	}
	if e.Delete || !cur.Live || !base.Live {
		return nil, newConflict(e, baseText, cur, newer)
	}
	var text []byte
	clean := false
	if base.Clean() && cur.Clean() {
		result := merge.Three(string(base.Text), string(e.Text), string(cur.Text))
		text, clean = []byte(result.Text()), result.Clean()
	} else {
		// The editor saw a conflict, or somebody else's newer edit is one:
		// unite the edit with the newer heads alone.
		theirs, err := s.viewWithin(newer)
		if err != nil {
			return nil, fmt.Errorf("read newer heads of %q: %w", e.Name, err)
		}
		if theirs.Live && theirs.Clean() {
			if text, clean, err = step(s.graph, e.Text, e.Base, theirs.Text, newer); err != nil {
				return nil, err
			}
		}
	}
	if !clean {
		return nil, newConflict(e, baseText, cur, newer)
	}
	if err := checkText(text); err != nil {
		return nil, err
	}
	return text, nil
}
