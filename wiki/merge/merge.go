package merge

import (
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff/lcs"
)

// Chunk is one stretch of a merge, in order of the text. Of a stretch that
// merged cleanly only Text is set; of a conflict Base, A and B are.
type Chunk struct {
	Conflict   bool
	Text       []string // lines, each with its line ending if it has one
	Base, A, B []string
}

// Result is a three-way merge.
type Result struct {
	Chunks    []Chunk
	Conflicts int
}

// Clean reports whether there was no conflict.
func (r Result) Clean() bool { return r.Conflicts == 0 }

// Text returns the merged text of a clean result.
func (r Result) Text() string {
	var b strings.Builder
	for _, c := range r.Chunks {
		for _, line := range c.Text {
			b.WriteString(line)
		}
	}
	return b.String()
}

// Three merges what a and b each changed in base, line by line.
func Three(base, a, b string) Result {
	if a == b || base == b {
		return whole(a)
	}
	if base == a {
		return whole(b)
	}
	m := merger{base: Lines(base), a: Lines(a), b: Lines(b)}
	m.da, m.db = diffLines(m.base, m.a), diffLines(m.base, m.b)
	m.run()
	return m.result
}

func whole(text string) Result {
	return Result{Chunks: []Chunk{{Text: Lines(text)}}}
}

// Lines splits text after each newline; the last line may have none.
func Lines(text string) []string {
	if text == "" {
		return nil
	}
	lines := make([]string, 0, strings.Count(text, "\n")+1)
	for line := range strings.Lines(text) {
		lines = append(lines, line)
	}
	return lines
}

// merger walks over the hunks of both sides in order of the base.
type merger struct {
	base, a, b []string
	da, db     []lcs.Diff // hunks not yet dealt with
	done       int        // lines of base dealt with
	shiftA     int        // line of a that corresponds to base line i is i+shiftA, after done
	shiftB     int
	result     Result
}

func (m *merger) run() {
	for len(m.da) > 0 || len(m.db) > 0 {
		start, end, fromA, fromB := m.group()
		m.copyBase(start)
		aStart, bStart := start+m.shiftA, start+m.shiftB
		m.advance(fromA, fromB)
		sideA, sideB := m.a[aStart:end+m.shiftA], m.b[bStart:end+m.shiftB]
		switch {
		case fromB == 0:
			m.emit(sideA)
		case fromA == 0, slices.Equal(sideA, sideB):
			m.emit(sideB)
		default:
			m.conflict(m.base[start:end], sideA, sideB)
		}
		m.done = end
	}
	m.copyBase(len(m.base))
}

// group finds the next hunks that overlap or touch, as one range of the base,
// and how many of them are a's and b's. A hunk of one side alone is a group
// by itself, since hunks of one side never touch.
func (m *merger) group() (start, end, fromA, fromB int) {
	first := func(d []lcs.Diff, n int) (int, int, bool) {
		if n < len(d) {
			return d[n].Start, d[n].End, true
		}
		return 0, 0, false
	}
	sa, ea, okA := first(m.da, 0)
	sb, eb, okB := first(m.db, 0)
	if okA && (!okB || sa <= sb) {
		start, end, fromA = sa, ea, 1
	} else {
		start, end, fromB = sb, eb, 1
	}
	for {
		if s, e, ok := first(m.da, fromA); ok && s <= end {
			end, fromA = max(end, e), fromA+1
			continue
		}
		if s, e, ok := first(m.db, fromB); ok && s <= end {
			end, fromB = max(end, e), fromB+1
			continue
		}
		return start, end, fromA, fromB
	}
}

// advance takes the first hunks off both lists.
func (m *merger) advance(fromA, fromB int) {
	for _, d := range m.da[:fromA] {
		m.shiftA += (d.ReplEnd - d.ReplStart) - (d.End - d.Start)
	}
	for _, d := range m.db[:fromB] {
		m.shiftB += (d.ReplEnd - d.ReplStart) - (d.End - d.Start)
	}
	m.da, m.db = m.da[fromA:], m.db[fromB:]
}

func (m *merger) copyBase(to int) {
	m.emit(m.base[m.done:to])
	m.done = to
}

func (m *merger) emit(lines []string) {
	if len(lines) == 0 {
		return
	}
	if n := len(m.result.Chunks); n > 0 && !m.result.Chunks[n-1].Conflict {
		last := &m.result.Chunks[n-1]
		last.Text = append(last.Text, lines...)
		return
	}
	m.result.Chunks = append(m.result.Chunks, Chunk{Text: slices.Clone(lines)})
}

// conflict records a clash, without the lines that both sides have in common
// at its ends.
func (m *merger) conflict(base, a, b []string) {
	front := commonPrefix(a, b)
	m.emit(a[:front])
	a, b = a[front:], b[front:]
	back := commonSuffix(a, b)
	tail := a[len(a)-back:]
	a, b = a[:len(a)-back], b[:len(b)-back]
	m.result.Chunks = append(m.result.Chunks, Chunk{Conflict: true, Base: base, A: a, B: b})
	m.result.Conflicts++
	m.emit(tail)
}

func commonPrefix(a, b []string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func commonSuffix(a, b []string) int {
	n := 0
	for n < len(a) && n < len(b) && a[len(a)-1-n] == b[len(b)-1-n] {
		n++
	}
	return n
}

// WithMarkers returns the merge as one text in which each conflict stands
// between the markers that git uses.
func (r Result) WithMarkers(nameA, nameB string) string {
	var b strings.Builder
	lines := func(lines []string) {
		for _, line := range lines {
			b.WriteString(line)
		}
		if n := len(lines); n > 0 && !strings.HasSuffix(lines[n-1], "\n") {
			b.WriteByte('\n')
		}
	}
	for _, c := range r.Chunks {
		if !c.Conflict {
			for _, line := range c.Text {
				b.WriteString(line)
			}
			continue
		}
		b.WriteString("<<<<<<< " + nameA + "\n")
		lines(c.A)
		b.WriteString("=======\n")
		lines(c.B)
		b.WriteString(">>>>>>> " + nameB + "\n")
	}
	return b.String()
}
