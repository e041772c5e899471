package merge

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/aymanbagabas/go-udiff/lcs"
)

// Op is what happened to a line or a word.
type Op byte

// The three operations; their values are the signs of a unified diff.
const (
	Same   Op = ' '
	Add    Op = '+'
	Remove Op = '-'
)

// Span is a run of words of a line with one fate.
type Span struct {
	Text    string
	Changed bool
}

// Line is one line of a diff.
type Line struct {
	Op    Op
	Text  string // without its newline
	Open  bool   // the text ended here without a newline
	Spans []Span // words marked, where a changed line was paired; else nil
}

// Hunk is a group of changes with the lines around them.
type Hunk struct {
	OldStart, OldLines int // first line counted from 1
	NewStart, NewLines int
	Lines              []Line
}

// context is how many unchanged lines stand around a change.
const context = 3

// maxWordLine is the longest line, in bytes, whose words are compared.
const maxWordLine = 2000

// Diff returns what changed from old to new.
func Diff(old, new string) []Hunk {
	if old == new {
		return nil
	}
	a, b := Lines(old), Lines(new)
	diffs := diffLines(a, b)
	var hunks []Hunk
	for i := 0; i < len(diffs); {
		j := i + 1
		for j < len(diffs) && diffs[j].Start-diffs[j-1].End <= 2*context {
			j++
		}
		hunks = append(hunks, makeHunk(a, b, diffs[i:j]))
		i = j
	}
	return hunks
}

func makeHunk(a, b []string, diffs []lcs.Diff) Hunk {
	first, last := diffs[0], diffs[len(diffs)-1]
	lead := min(context, first.Start)
	start, end := first.Start-lead, min(last.End+context, len(a))
	h := Hunk{
		OldStart: start + 1, OldLines: end - start,
		NewStart: first.ReplStart - lead + 1, NewLines: last.ReplEnd + (end - last.End) - (first.ReplStart - lead),
	}
	if h.OldLines == 0 {
		h.OldStart--
	}
	if h.NewLines == 0 {
		h.NewStart--
	}
	at := start
	for _, d := range diffs {
		h.add(Same, a[at:d.Start])
		removed := len(h.Lines)
		h.add(Remove, a[d.Start:d.End])
		added := len(h.Lines)
		h.add(Add, b[d.ReplStart:d.ReplEnd])
		if d.End-d.Start == d.ReplEnd-d.ReplStart {
			for i := range d.End - d.Start {
				markWords(&h.Lines[removed+i], &h.Lines[added+i])
			}
		}
		at = d.End
	}
	h.add(Same, a[at:end])
	return h
}

func (h *Hunk) add(op Op, lines []string) {
	for _, line := range lines {
		text, closed := strings.CutSuffix(line, "\n")
		h.Lines = append(h.Lines, Line{Op: op, Text: text, Open: !closed})
	}
}

// markWords marks the words in which two lines differ, unless they have
// nothing in common.
func markWords(old, new *Line) {
	if len(old.Text) > maxWordLine || len(new.Text) > maxWordLine {
		return
	}
	a, b := words(old.Text), words(new.Text)
	diffs := lcs.DiffLines(a, b)
	spansA, spansB := spans(a, b, diffs)
	for _, s := range spansA {
		if !s.Changed && strings.TrimSpace(s.Text) != "" {
			old.Spans, new.Spans = spansA, spansB
			return
		}
	}
}

func spans(a, b []string, diffs []lcs.Diff) (old, new []Span) {
	put := func(to []Span, words []string, changed bool) []Span {
		if len(words) == 0 {
			return to
		}
		return append(to, Span{strings.Join(words, ""), changed})
	}
	atA, atB := 0, 0
	for _, d := range diffs {
		old, new = put(old, a[atA:d.Start], false), put(new, b[atB:d.ReplStart], false)
		old, new = put(old, a[d.Start:d.End], true), put(new, b[d.ReplStart:d.ReplEnd], true)
		atA, atB = d.End, d.ReplEnd
	}
	return put(old, a[atA:], false), put(new, b[atB:], false)
}

// words splits a line into words, runs of blanks and single other characters.
func words(line string) []string {
	var out []string
	for len(line) > 0 {
		r, n := utf8.DecodeRuneInString(line)
		if class := wordClass(r); class != 0 {
			for n < len(line) {
				next, size := utf8.DecodeRuneInString(line[n:])
				if wordClass(next) != class {
					break
				}
				n += size
			}
		}
		out = append(out, line[:n])
		line = line[n:]
	}
	return out
}

func wordClass(r rune) int {
	switch {
	case unicode.IsLetter(r), unicode.IsDigit(r), r == '_':
		return 1
	case unicode.IsSpace(r):
		return 2
	}
	return 0
}

// Unified prints hunks as a unified diff, or nothing where there are none.
func Unified(oldName, newName string, hunks []Hunk) string {
	if len(hunks) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "--- %s\n+++ %s\n", oldName, newName)
	for _, h := range hunks {
		fmt.Fprintf(&b, "@@ -%s +%s @@\n", span(h.OldStart, h.OldLines), span(h.NewStart, h.NewLines))
		for _, line := range h.Lines {
			b.WriteByte(byte(line.Op))
			b.WriteString(line.Text)
			b.WriteByte('\n')
			if line.Open {
				b.WriteString("\\ No newline at end of file\n")
			}
		}
	}
	return b.String()
}

func span(start, lines int) string {
	if lines == 1 {
		return fmt.Sprint(start)
	}
	return fmt.Sprintf("%d,%d", start, lines)
}
