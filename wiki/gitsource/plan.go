package gitsource

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/erwik/erwik/storage"
)

const maxText = storage.MaxContent

// maxRevisions is how many revisions one import may make.
const maxRevisions = 1 << 26

// Plan is what an import of a source would do.
type Plan struct {
	source    *Source
	commits   []commit
	files     *files
	changes   []change
	height    int     // of the tries
	tries     []*trie // by commit: the newest revision of each file; nil once no child needs it
	children  []int32 // by commit: how many still need its trie
	revisions []revision
	joins     [][]int32 // the parents of those that have several
	renames   int
}

// revision is one revision of one page.
type revision struct {
	commit     int32
	file       int32
	now        content
	generation int32
	parent     int32 // number of the revision before it; 0: none
	join       int32 // if not 0: joins[join-1] are its parents
	from       int32 // of a rename: the number of the revision that it was
}

// Report is what there is to import.
type Report struct {
	Branch    string    `json:"branch"`
	Tip       string    `json:"tip"`
	Commits   int       `json:"commits"`
	Merges    int       `json:"merges"` // of the commits
	Revisions int       `json:"revisions"`
	Deletes   int       `json:"deletes"`    // of the revisions
	Joins     int       `json:"joins"`      // of the revisions: those with several parents
	Pages     int       `json:"pages"`      // at the tip
	PagesEver int       `json:"pages_ever"` // that were there at some time
	Renames   int       `json:"renames"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
	Skipped   []Skip    `json:"skipped"`
	Shallow   bool      `json:"shallow"`
}

// Plan reads the source and finds out which revisions its history amounts to.
// step is told, now and then, how much of a stage is done.
func (s *Source) Plan(ctx context.Context, step func(stage string, done, total int)) (*Plan, error) {
	if s.db.table != nil {
		return nil, errors.New("gitsource: a source is planned once")
	}
	if err := s.db.index(ctx, func(done, total int) { step("indexing", done, total) }); err != nil {
		return nil, err
	}
	p := &Plan{source: s, files: newFiles()}
	var err error
	if p.commits, err = s.readGraph(ctx); err != nil {
		return nil, err
	}
	if err := p.findChanges(ctx, func(done, total int) { step("comparing", done, total) }); err != nil {
		return nil, err
	}
	p.height = trieHeight(len(p.files.all))
	p.tries, p.children = make([]*trie, len(p.commits)), make([]int32, len(p.commits))
	for i := range p.commits {
		for _, parent := range p.commits[i].parents {
			p.children[parent]++
		}
	}
	p.children[len(p.commits)-1]++ // the tip's is for the report
	for i := range p.commits {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err := p.revise(int32(i)); err != nil {
			return nil, fmt.Errorf("commit %s: %w", p.hash(int32(i)), err)
		}
		if len(p.revisions) > maxRevisions {
			return nil, fmt.Errorf("over %d revisions", maxRevisions)
		}
	}
	return p, nil
}

func (p *Plan) hash(commit int32) plumbing.Hash {
	return p.source.db.objects[p.commits[commit].object].hash
}

// last returns a revision by its number.
func (p *Plan) last(number int32) *revision { return &p.revisions[number-1] }

// contentAt is the content of a revision; gone where there is none.
func (p *Plan) contentAt(number int32) content {
	if number == 0 {
		return gone
	}
	return p.last(number).now
}

// revise finds the revisions that commit i makes.
func (p *Plan) revise(i int32) error {
	c := &p.commits[i]
	before := len(p.revisions)
	var t *trie
	if len(c.parents) > 0 {
		t = p.tries[c.parents[0]]
	}
	if len(c.parents) < 2 {
		for _, x := range p.changesOf(i) {
			old := t.get(p.height, x.file)
			if x.now == unfit || x.now == gone && p.contentAt(old) == gone {
				continue
			}
			var parents []int32
			if old != 0 {
				parents = []int32{old}
			}
			t = t.set(p.height, x.file, p.add(i, x.file, x.now, parents))
		}
		if err := p.findRenames(before); err != nil {
			return err
		}
	} else {
		t = p.merge(i, t)
	}
	p.tries[i] = t
	p.children[i]++ // keeps a tip that is nobody's parent
	for _, parent := range c.parents {
		p.release(parent)
	}
	p.release(i)
	return nil
}

func (p *Plan) release(commit int32) {
	if p.children[commit]--; p.children[commit] == 0 {
		p.tries[commit] = nil
	}
}

// add makes a revision and returns its number.
func (p *Plan) add(commit, file int32, now content, parents []int32) int32 {
	r := revision{commit: commit, file: file, now: now, generation: 1}
	for _, n := range parents {
		r.generation = max(r.generation, p.last(n).generation+1)
	}
	switch len(parents) {
	case 0:
	case 1:
		r.parent = parents[0]
	default:
		r.parent = parents[0]
		p.joins = append(p.joins, parents)
		r.join = int32(len(p.joins))
	}
	p.revisions = append(p.revisions, r)
	return int32(len(p.revisions))
}

func (p *Plan) parentsOf(r *revision) []int32 {
	switch {
	case r.join != 0:
		return p.joins[r.join-1]
	case r.parent != 0:
		return []int32{r.parent}
	}
	return nil
}

// merge finds the revisions that a merge makes.
func (p *Plan) merge(i int32, t *trie) *trie {
	c := &p.commits[i]
	changed := make(map[int32]content)
	for _, x := range p.changesOf(i) {
		changed[x.file] = x.now
	}
	for _, n := range p.touched(c, changed) {
		first := t.get(p.height, n)
		now, own := changed[n]
		if !own || now == unfit {
			now = p.contentAt(first)
		}
		var all []int32
		for _, parent := range c.parents {
			if r := p.tries[parent].get(p.height, n); r != 0 && !slices.Contains(all, r) {
				all = append(all, r)
			}
		}
		parents := p.independent(all)
		var r int32
		switch {
		case len(parents) == 0 && now == gone:
			continue
		case len(parents) == 1 && p.contentAt(parents[0]) == now:
			r = parents[0]
		default:
			r = p.add(i, n, now, parents)
		}
		if r != first {
			t = t.set(p.height, n, r)
		}
	}
	return t
}

// independent leaves out revisions that another one follows.
func (p *Plan) independent(all []int32) (kept []int32) {
	for _, r := range all {
		if !slices.ContainsFunc(all, func(other int32) bool { return other != r && p.follows(other, r) }) {
			kept = append(kept, r)
		}
	}
	return kept
}

// follows reports whether revision r has old among its ancestors.
func (p *Plan) follows(r, old int32) bool {
	least := p.last(old).generation
	seen := map[int32]bool{r: true}
	for queue := []int32{r}; len(queue) > 0; queue = queue[1:] {
		x := p.last(queue[0])
		if queue[0] == old {
			return true
		}
		if x.generation <= least {
			continue
		}
		for _, parent := range p.parentsOf(x) {
			if !seen[parent] {
				seen[parent] = true
				queue = append(queue, parent)
			}
		}
	}
	return false
}

// Report sums the plan up.
func (p *Plan) Report() Report {
	tip := len(p.commits) - 1
	r := Report{
		Branch: p.source.branch, Tip: p.hash(int32(tip)).String(), Commits: len(p.commits), Revisions: len(p.revisions),
		Renames: p.renames, Skipped: p.files.report(), Shallow: len(p.source.shallow) > 0, Joins: len(p.joins),
	}
	for i := range p.commits {
		c := &p.commits[i]
		if len(c.parents) > 1 {
			r.Merges++
		}
		at := time.Unix(c.time, 0).UTC()
		if r.First.IsZero() || at.Before(r.First) {
			r.First = at
		}
		if at.After(r.Last) {
			r.Last = at
		}
	}
	ever := make(map[int32]bool)
	for i := range p.revisions {
		ever[p.revisions[i].file] = true
		if p.revisions[i].now == gone {
			r.Deletes++
		}
	}
	r.PagesEver = len(ever)
	for n := range ever {
		if p.contentAt(p.tries[tip].get(p.height, n)) != gone {
			r.Pages++
		}
	}
	return r
}
