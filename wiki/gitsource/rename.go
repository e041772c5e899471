package gitsource

import (
	"bytes"
	"hash/fnv"
	"path"
	"slices"
)

const (
	// maxPairs is how many deleted and added files of one commit are compared
	// with one another for similarity; those with equal texts are always found.
	maxPairs = 2500
	// similar is how much of the larger text must be in the other one, in
	// percent. Git's default is the same.
	similar = 50
)

// findRenames looks, among the revisions from the given index on, which are
// those of one commit, for pages that went and pages that came.
func (p *Plan) findRenames(first int) error {
	var went, came []int32 // numbers of revisions
	for i := first; i < len(p.revisions); i++ {
		r := &p.revisions[i]
		before := p.contentAt(r.parent)
		switch {
		case r.now == gone && before != gone:
			went = append(went, int32(i)+1)
		case r.now != gone && before == gone:
			came = append(came, int32(i)+1)
		}
	}
	if len(went) == 0 || len(came) == 0 {
		return nil
	}
	// Equal texts: first under equal file names, then in order.
	by := make(map[int32][]int32) // by blob
	for _, n := range went {
		blob := p.contentAt(p.last(n).parent).blob()
		by[blob] = append(by[blob], n)
	}
	for _, sameName := range []bool{true, false} {
		for _, n := range came {
			r := p.last(n)
			for k, old := range by[r.now.blob()] {
				if r.from == 0 && old != 0 && (!sameName || p.base(old) == p.base(n)) {
					r.from, by[r.now.blob()][k] = p.last(old).parent, 0
					p.renames++
				}
			}
		}
	}
	var left []int32
	for _, n := range went {
		for _, old := range by[p.contentAt(p.last(n).parent).blob()] {
			if old == n {
				left = append(left, n)
			}
		}
	}
	return p.findSimilar(left, came)
}

func (p *Plan) base(n int32) string { return path.Base(p.files.all[p.last(n).file].path) }

// findSimilar pairs what is most alike, each once.
func (p *Plan) findSimilar(went, came []int32) error {
	var open []int32
	for _, n := range came {
		if p.last(n).from == 0 {
			open = append(open, n)
		}
	}
	if len(went)*len(open) > maxPairs {
		return nil
	}
	old, err := p.lines(went, func(r *revision) content { return p.contentAt(r.parent) })
	if err != nil {
		return err
	}
	now, err := p.lines(open, func(r *revision) content { return r.now })
	if err != nil {
		return err
	}
	type pair struct{ old, now, score int }
	var pairs []pair
	for i := range old {
		for k := range now {
			if score := old[i].alike(now[k]); score >= similar {
				pairs = append(pairs, pair{i, k, score})
			}
		}
	}
	slices.SortStableFunc(pairs, func(a, b pair) int { return b.score - a.score })
	for _, x := range pairs {
		if went[x.old] == 0 || open[x.now] == 0 {
			continue
		}
		p.last(open[x.now]).from = p.last(went[x.old]).parent
		went[x.old], open[x.now] = 0, 0
		p.renames++
	}
	return nil
}

// lineBag says how many bytes of a text each of its lines has.
type lineBag struct {
	size  int
	lines map[uint64]int
}

func (p *Plan) lines(numbers []int32, of func(*revision) content) ([]lineBag, error) {
	all := make([]lineBag, len(numbers))
	for i, n := range numbers {
		text, err := p.source.db.read(of(p.last(n)).blob())
		if err != nil {
			return nil, err
		}
		all[i] = lineBag{len(text), make(map[uint64]int)}
		for line := range bytes.Lines(text) {
			h := fnv.New64a()
			h.Write(line)
			all[i].lines[h.Sum64()] += len(line)
		}
	}
	return all, nil
}

// alike is how much of the larger text is in the other one, in percent.
func (a lineBag) alike(b lineBag) int {
	common := 0
	for line, size := range a.lines {
		common += min(size, b.lines[line])
	}
	return common * 100 / max(a.size, b.size, 1)
}
