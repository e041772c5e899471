package merge

import (
	"slices"

	"github.com/aymanbagabas/go-udiff/lcs"
)

// exactEdits is up to how many lines, removed and added, lcs finds the shortest
// way from one text to the other. Of more it takes all between a beginning and an
// end for changed.
const exactEdits = 100

// maxDepth bounds how often a stretch is divided, so that no text costs more than its
// lines times that.
const maxDepth = 24

// diffLines returns what changed from a to b. Texts that differ more than lcs
// can follow are divided at the lines that are once in each of them and in the same
// order in both (patience diff, Bram Cohen), and the stretches between are compared
// likewise.
func diffLines(a, b []string) []lcs.Diff {
	return appendDiff(nil, a, b, 0, 0, maxDepth)
}

// appendDiff appends what changed from a to b, which begin at the lines atA and atB
// of the whole.
func appendDiff(dst []lcs.Diff, a, b []string, atA, atB, depth int) []lcs.Diff {
	front := commonPrefix(a, b)
	back := commonSuffix(a[front:], b[front:])
	a, b, atA, atB = a[front:len(a)-back], b[front:len(b)-back], atA+front, atB+front
	if len(a) == 0 && len(b) == 0 {
		return dst
	}
	found := lcs.DiffLines(a, b)
	var anchors []anchor
	if depth > 0 && edits(found) > exactEdits {
		anchors = anchorsOf(a, b)
	}
	if len(anchors) == 0 {
		for _, d := range found {
			dst = append(dst, lcs.Diff{Start: atA + d.Start, End: atA + d.End, ReplStart: atB + d.ReplStart, ReplEnd: atB + d.ReplEnd})
		}
		return dst
	}
	from := anchor{-1, -1}
	for _, to := range append(anchors, anchor{len(a), len(b)}) {
		dst = appendDiff(dst, a[from.a+1:to.a], b[from.b+1:to.b], atA+from.a+1, atB+from.b+1, depth-1)
		from = to
	}
	return dst
}

func edits(diffs []lcs.Diff) (lines int) {
	for _, d := range diffs {
		lines += d.End - d.Start + d.ReplEnd - d.ReplStart
	}
	return lines
}

// anchor is a line that stands at a in one text and at b in the other.
type anchor struct{ a, b int }

// anchorsOf returns lines that are once in a and once in b, as many as can be in the
// same order in both.
func anchorsOf(a, b []string) []anchor {
	const never, often = -1, -2
	type place struct{ a, b int }
	places := make(map[string]place, len(a))
	for i, line := range a {
		if _, again := places[line]; again {
			i = often
		}
		places[line] = place{i, never}
	}
	for i, line := range b {
		p, known := places[line]
		if !known {
			continue
		}
		if p.b != never {
			i = often
		}
		places[line] = place{p.a, i}
	}
	var common []anchor // in the order of a
	for i, line := range a {
		if p := places[line]; p.a == i && p.b >= 0 {
			common = append(common, anchor{i, p.b})
		}
	}
	return longestRising(common)
}

// longestRising returns a longest part of all whose places in b rise, by patience
// sorting.
func longestRising(all []anchor) []anchor {
	var piles []int // which of all is on top of each pile
	before := make([]int, len(all))
	for i, x := range all {
		at, _ := slices.BinarySearchFunc(piles, x.b, func(top, b int) int { return all[top].b - b })
		before[i] = -1
		if at > 0 {
			before[i] = piles[at-1]
		}
		if at == len(piles) {
			piles = append(piles, i)
		} else {
			piles[at] = i
		}
	}
	if len(piles) == 0 {
		return nil
	}
	rising := make([]anchor, len(piles))
	for n, i := len(piles)-1, piles[len(piles)-1]; n >= 0; n, i = n-1, before[i] {
		rising[n] = all[i]
	}
	return rising
}
