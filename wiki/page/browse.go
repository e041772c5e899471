package page

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki/merge"
)

// MaxList is the longest list that one call returns.
const MaxList = 1000

// scanned is how many candidates one call looks at to fill a list; then it
// returns what it has, with a cursor.
const scanned = 2000

// Revision reads an old revision of a page.
func (s *Service) Revision(name Name, h storage.Hash) (*storage.Commit, []byte, error) {
	c, err := s.graph.Commit(h)
	if errors.Is(err, storage.ErrNotFound) || err == nil && (c.Path != name.Path() || !shown(c.Kind)) {
		return nil, nil, fmt.Errorf("revision %s of %q: %w", h, name, ErrNoRevision)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read revision %s of %q: %w", h, name, err)
	}
	if r, err := s.store.Revision(h); err != nil || r.Muted {
		return nil, nil, fmt.Errorf("revision %s of %q: %w", h, name, errors.Join(ErrNoRevision, err))
	}
	text, err := textOf(s.graph, c)
	if err != nil {
		return nil, nil, err
	}
	return c, text, nil
}

// History lists the revisions of a page, the newest arrival first, before an
// arrival number (0: from the newest).
func (s *Service) History(name Name, before uint64, limit int) ([]storage.Revision, error) {
	revisions, err := s.store.History(name.Path(), before, bound(limit))
	if err != nil {
		return nil, fmt.Errorf("read history of %q: %w", name, err)
	}
	return revisions, nil
}

// Recent lists the newest revisions of all pages and files.
func (s *Service) Recent(before uint64, limit int) ([]storage.Revision, error) {
	revisions, err := s.store.Recent(before, bound(limit))
	if err != nil {
		return nil, fmt.Errorf("read recent changes: %w", err)
	}
	return revisions, nil
}

// bound has room for one more, by which a caller sees that a list goes on.
func bound(limit int) int { return max(1, min(limit, MaxList+1)) }

// Difference is what changed between two revisions of a page.
type Difference struct {
	Name  Name
	From  *storage.Commit // nil for the beginning: nothing was there
	To    *storage.Commit // nil for the current text, where heads were united in it
	Hunks []merge.Hunk
}

// Diff compares two revisions. A zero to is the current text, a zero from is
// the first parent of to, or the latest head of those that were united.
func (s *Service) Diff(name Name, from, to storage.Hash) (*Difference, error) {
	d := &Difference{Name: name}
	var before, after []byte
	var err error
	if to.IsZero() {
		p, err := s.Page(name)
		if err != nil {
			return nil, err
		}
		if p.Latest == nil {
			return nil, fmt.Errorf("compare revisions of %q: %w", name, ErrNoPage)
		}
		d.To = p.Shown()
		if p.Live {
			after = p.Text
		}
		if d.To == nil && from.IsZero() {
			from = p.Latest.Hash
		}
	} else if d.To, after, err = s.Revision(name, to); err != nil {
		return nil, err
	}
	if from.IsZero() && d.To != nil && len(d.To.Parents) > 0 {
		from = d.To.Parents[0]
	}
	if !from.IsZero() {
		if d.From, before, err = s.Revision(name, from); err != nil {
			return nil, err
		}
	}
	d.Hunks = merge.Diff(string(before), string(after))
	return d, nil
}

// Unified prints the difference as a unified diff, nothing where there is none.
func (d *Difference) Unified() string {
	return merge.Unified("a/"+d.Name.Path(), "b/"+d.Name.Path(), d.Hunks)
}

// Listed is one page of a list.
type Listed struct {
	Name  Name
	Heads []storage.Head
}

// Pages lists live pages whose names begin with prefix, in the order of their
// paths, after a cursor (empty: from the first). An empty next says that the
// list is complete. Unlike NewestPages it gives each page that is there all the
// while, whatever is changed meanwhile.
func (s *Service) Pages(prefix, after string, limit int) (pages []Listed, next string, err error) {
	limit = bound(limit)
	for looked := 0; looked < scanned; {
		batch, err := s.store.Paths(prefix, after, limit+1)
		if err != nil {
			return nil, "", fmt.Errorf("list pages: %w", err)
		}
		for _, p := range batch {
			if name, ok := NameOfPath(p.Path); ok && strings.HasPrefix(string(name), prefix) && hasText(p.Heads) {
				if len(pages) == limit {
					return pages, after, nil
				}
				pages = append(pages, Listed{name, p.Heads})
			}
			after = p.Path
		}
		if len(batch) <= limit {
			return pages, "", nil
		}
		looked += len(batch)
	}
	return pages, after, nil
}

// NewestPages lists live pages whose names begin with prefix, the one that was
// changed last first, before an arrival number (0: from the newest). A next of 0
// says that the list is complete; one with fewer pages than asked for goes on, too.
func (s *Service) NewestPages(prefix string, before uint64, limit int) (pages []Listed, next uint64, err error) {
	limit = bound(limit)
	next, err = s.store.NewestPaths(prefix, before, func(p storage.PathHeads) bool {
		name, ok := NameOfPath(p.Path)
		if !ok || !strings.HasPrefix(string(name), prefix) || !hasText(p.Heads) {
			return true
		}
		if len(pages) == limit {
			return false
		}
		pages = append(pages, Listed{name, p.Heads})
		return true
	})
	if err != nil {
		return nil, 0, fmt.Errorf("list pages: %w", err)
	}
	if next != 0 && len(pages) == limit { // what follows the last one is still to be looked at
		next = storage.PathHeads{Heads: pages[limit-1].Heads}.NewestArrival()
	}
	return pages, next, nil
}

// NewestConflicts is Conflicts in the order of NewestPages. Each call looks at as
// many pages with several heads as Conflicts does; it sorts all of them.
func (s *Service) NewestConflicts(before uint64, limit int) (pages []*Page, next uint64, err error) {
	var forked []storage.PathHeads
	for after := ""; ; {
		batch, err := s.store.Forked(after, scanned)
		if err != nil {
			return nil, 0, fmt.Errorf("list conflicts: %w", err)
		}
		for _, p := range batch {
			after = p.Path
			if before == 0 || p.NewestArrival() < before {
				forked = append(forked, p)
			}
		}
		if len(batch) < scanned {
			break
		}
	}
	slices.SortFunc(forked, func(a, b storage.PathHeads) int { return cmp.Compare(b.NewestArrival(), a.NewestArrival()) })
	limit = bound(limit)
	for looked, p := range forked {
		if looked == scanned {
			return pages, forked[looked-1].NewestArrival(), nil
		}
		page, err := s.conflictAt(p)
		if err != nil {
			return nil, 0, err
		}
		if page == nil {
			continue
		}
		if len(pages) == limit {
			return pages, next, nil
		}
		pages, next = append(pages, page), p.NewestArrival()
	}
	return pages, 0, nil
}

func hasText(heads []storage.Head) bool {
	for _, h := range heads {
		if h.Kind == storage.KindPage {
			return true
		}
	}
	return false
}

// Conflicts lists pages and files whose heads can't be united, in the order of
// their paths, as Pages does.
func (s *Service) Conflicts(after string, limit int) (pages []*Page, next string, err error) {
	limit = bound(limit)
	for looked := 0; looked < scanned; {
		batch, err := s.store.Forked(after, limit+1)
		if err != nil {
			return nil, "", fmt.Errorf("list conflicts: %w", err)
		}
		for _, p := range batch {
			page, err := s.conflictAt(p)
			if err != nil {
				return nil, "", err
			}
			if page != nil && len(pages) == limit {
				return pages, after, nil
			}
			if after = p.Path; page != nil {
				pages = append(pages, page)
			}
		}
		if len(batch) <= limit {
			return pages, "", nil
		}
		looked += len(batch)
	}
	return pages, after, nil
}

// fileConflict returns a file in conflict as the list shows it, else nil.
func (s *Service) fileConflict(name FileName, heads []storage.Head) (*Page, error) {
	f, err := s.fileAt(name, heads)
	if err != nil || !f.Conflict {
		return nil, err
	}
	v := &View{Heads: f.Heads, Conflict: true, Distinct: len(f.Versions), Latest: f.Shown.Commit}
	for _, other := range f.Versions {
		if other.Author.Time > v.Latest.Author.Time {
			v.Latest = other.Commit
		}
	}
	return &Page{Name: Name(name.Shown()), View: v, File: true}, nil
}

// conflictAt returns the page at p if it is in conflict, else nil.
func (s *Service) conflictAt(p storage.PathHeads) (*Page, error) {
	if name, ok := FileOfPath(p.Path); ok {
		return s.fileConflict(name, p.Heads)
	}
	name, ok := NameOfPath(p.Path)
	if !ok {
		return nil, nil
	}
	page, err := s.PageAt(name, p.Heads)
	if err != nil || !page.Conflict {
		return nil, err
	}
	return page, nil
}
