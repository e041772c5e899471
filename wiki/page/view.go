package page

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki/merge"
)

// MaxShown is how many versions of a conflict are merged or shown; beyond it
// only their number is named.
const MaxShown = 64

// maxBases is how many best common ancestors one merge step tries.
const maxBases = 16

// Graph is where a view reads commits. A commit that is visible never
// changes, so what a view computes from it never does either.
type Graph interface {
	// Commit returns a visible commit, or storage.ErrNotFound.
	Commit(h storage.Hash) (*storage.Commit, error)
	// Content returns its text, which must not be modified.
	Content(h storage.Hash) ([]byte, error)
}

// Version is one of several texts that heads of a page hold.
type Version struct {
	Commit  *storage.Commit // the head with the smallest hash of those with this text
	Heads   []storage.Hash  // all heads with this text, in order
	Deleted bool            // these heads delete the page
	Text    []byte
}

// View is what readers see of a page: a pure function of its set of heads.
type View struct {
	Heads []storage.Hash // sorted
	// Live: there is a text to show. A page without heads, or all of whose
	// heads delete it, is not live.
	Live bool
	Text []byte
	// Conflict: the heads could not be united. Text is then that of the
	// smallest head that has one, and Versions holds what to choose from.
	Conflict bool
	Versions []Version // at most MaxShown, in order of their smallest hash; only in a conflict
	// Distinct is the number of different versions, 1 for most pages. Above
	// MaxShown, versions with equal texts may be counted each.
	Distinct int
	// Merged: Text is a merge that no head holds by itself.
	Merged bool
	// Latest is the head of the highest generation, the greater hash on a
	// tie: by whom and when the page was last edited. Nil without heads.
	Latest *storage.Commit
}

// Clean reports whether there is one text to show, or none at all.
func (v *View) Clean() bool { return !v.Conflict }

// Commit is the one commit that v shows, nil where there is none: no head, or
// a conflict.
func (v *View) Commit() *storage.Commit {
	if v.Conflict {
		return nil
	}
	return v.Latest
}

// Shown is a commit that holds Text, by whom and when it was written: in a
// conflict the smallest head that has a text. It is nil where no one commit
// holds it, as when heads were united, and for a page without heads.
func (v *View) Shown() *storage.Commit {
	switch {
	case v.Merged:
		return nil
	case !v.Conflict:
		return v.Latest
	}
	for _, version := range v.Versions {
		if !version.Deleted {
			return version.Commit
		}
	}
	return v.Latest
}

// Newest is the version of a conflict that was written last, by its author's clock;
// elsewhere it is Latest.
func (v *View) Newest() *storage.Commit {
	newest := v.Latest
	for i, version := range v.Versions {
		if i == 0 || version.Commit.Author.Time > newest.Author.Time {
			newest = version.Commit
		}
	}
	return newest
}

// shown reports whether commits of kind k have a part in a view.
func shown(k storage.Kind) bool { return k == storage.KindPage || k == storage.KindDelete }

// ViewOf computes the view of a set of heads. The order of heads and repeats
// among them make no difference; commits of kinds that are not a page's count
// for nothing. One head costs one look at its commit and text.
func ViewOf(g Graph, heads []storage.Hash) (*View, error) {
	heads = sortedSet(heads)
	v := &View{Heads: heads}
	if len(heads) == 1 {
		return v, v.single(g)
	}
	versions, err := v.group(g)
	if err != nil || len(versions) == 0 {
		return v, err
	}
	v.Distinct = len(versions)
	if len(versions) == 1 {
		v.Live, v.Text = !versions[0].Deleted, versions[0].Text
		return v, nil
	}
	if err := v.unite(g, versions); err != nil {
		return nil, err
	}
	return v, nil
}

// single fills in the view of one head.
func (v *View) single(g Graph) error {
	c, err := g.Commit(v.Heads[0])
	if err != nil {
		return fmt.Errorf("read head %s: %w", v.Heads[0], err)
	}
	if !shown(c.Kind) {
		return nil
	}
	v.Latest, v.Distinct = c, 1
	if c.Kind == storage.KindDelete {
		return nil
	}
	v.Live = true
	if v.Text, err = g.Content(c.Hash); err != nil {
		return fmt.Errorf("read text of head %s: %w", c.Hash, err)
	}
	return nil
}

func sortedSet(heads []storage.Hash) []storage.Hash {
	if slices.IsSortedFunc(heads, storage.Hash.Compare) && len(slices.Compact(slices.Clone(heads))) == len(heads) {
		return heads
	}
	heads = slices.Clone(heads)
	slices.SortFunc(heads, storage.Hash.Compare)
	return slices.Compact(heads)
}

// identity tells versions apart: by their texts, and a delete from an empty
// text.
type identity struct {
	deleted bool
	text    [sha256.Size]byte
}

// group puts heads with equal texts together, in order of hashes, and finds
// the latest head. Once there are more versions than are ever shown, the texts
// of the heads that remain are not read, and each counts as a version. Heads
// that count for nothing stay in v.Heads: an edit still names them as parents.
func (v *View) group(g Graph) ([]Version, error) {
	var versions []Version
	index := map[identity]int{}
	for _, h := range v.Heads {
		c, err := g.Commit(h)
		if err != nil {
			return nil, fmt.Errorf("read head %s: %w", h, err)
		}
		if !shown(c.Kind) {
			continue
		}
		if v.Latest == nil || cmp.Or(cmp.Compare(c.Generation, v.Latest.Generation), c.Hash.Compare(v.Latest.Hash)) > 0 {
			v.Latest = c
		}
		version := Version{Commit: c, Heads: []storage.Hash{h}, Deleted: c.Kind == storage.KindDelete}
		if len(versions) > MaxShown {
			versions = append(versions, version)
			continue
		}
		if version.Text, err = textOf(g, c); err != nil {
			return nil, err
		}
		id := identity{version.Deleted, sha256.Sum256(version.Text)}
		if i, known := index[id]; known {
			versions[i].Heads = append(versions[i].Heads, h)
			continue
		}
		index[id] = len(versions)
		versions = append(versions, version)
	}
	return versions, nil
}

// unite folds several versions into one text, or makes v a conflict.
func (v *View) unite(g Graph, versions []Version) error {
	v.Live = true
	deleted := slices.ContainsFunc(versions, func(x Version) bool { return x.Deleted })
	if !deleted && len(versions) <= MaxShown {
		text, clean, err := fold(g, versions)
		if err != nil {
			return err
		}
		if clean {
			v.Text, v.Merged = text, true
			return nil
		}
	}
	v.Conflict = true
	v.Versions = versions[:min(len(versions), MaxShown)]
	for _, version := range v.Versions {
		if !version.Deleted {
			v.Text = version.Text
			break
		}
	}
	return nil
}

// fold merges the versions one after the other. The base of a step is the
// best common ancestor of the next version and of a merge of all before it.
func fold(g Graph, versions []Version) (text []byte, clean bool, err error) {
	text = versions[0].Text
	tips := slices.Clone(versions[0].Heads)
	for _, next := range versions[1:] {
		text, clean, err = step(g, text, tips, next.Text, next.Heads)
		if err != nil || !clean {
			return nil, false, err
		}
		tips = append(tips, next.Heads...)
	}
	return text, true, nil
}

// step merges b into a over the best common ancestors of their commits. It
// is clean only if each of those gives the same text.
func step(g Graph, a []byte, tipsA []storage.Hash, b []byte, tipsB []storage.Hash) (text []byte, clean bool, err error) {
	bases, err := bestCommonAncestors(g, tipsA, tipsB)
	if err != nil {
		return nil, false, err
	}
	if len(bases) == 0 || len(bases) > maxBases {
		return nil, false, nil
	}
	merged := ""
	for i, base := range bases {
		from, err := textOf(g, base)
		if err != nil {
			return nil, false, err
		}
		result := merge.Three(string(from), string(a), string(b))
		if !result.Clean() {
			return nil, false, nil
		}
		if t := result.Text(); i == 0 {
			merged = t
		} else if t != merged {
			return nil, false, nil
		}
	}
	return []byte(merged), true, nil
}

// textOf returns the text of a commit, nothing for a delete.
func textOf(g Graph, c *storage.Commit) ([]byte, error) {
	if c.Kind != storage.KindPage {
		return nil, nil
	}
	text, err := g.Content(c.Hash)
	if err != nil {
		return nil, fmt.Errorf("read text of %s: %w", c.Hash, err)
	}
	return text, nil
}
