package web

import (
	"html/template"
	"io"

	"github.com/erwik/erwik/wiki/merge"
)

// Heading is an entry in a table of contents.
type Heading struct {
	Level    int
	ID, Text string
}

// Page is a page to read.
type Page struct {
	Chrome   *Chrome
	Notices  []Notice
	Heading  string // empty where the body begins with one
	Contents []Heading
	Body     template.HTML // made safe by package markdown
}

// Page writes a page.
func (w *Writer) Page(out io.Writer, p *Page) error { return w.write(out, "page", p.Chrome, p) }

// Missing is the answer where no page is.
type Missing struct {
	Chrome  *Chrome
	Deleted bool
	Below   []Link // the first pages of the folder of that name
	More    bool
}

// Missing writes the offer to create a page.
func (w *Writer) Missing(out io.Writer, p *Missing) error {
	return w.write(out, "missing", p.Chrome, p)
}

// Version is one of several texts of a page in conflict.
type Version struct {
	Revision
	Body    template.HTML
	TooLong bool // only a link is shown
}

// Conflict is a page whose versions can't be united.
type Conflict struct {
	Chrome   *Chrome
	Count    int
	More     bool // not all are shown
	Versions []Version
}

// Conflict writes the versions side by side.
func (w *Writer) Conflict(out io.Writer, p *Conflict) error {
	return w.write(out, "conflict", p.Chrome, p)
}

// Side is one of the texts of an edit that clashed.
type Side struct{ Title, Text string }

// Clash holds the texts of an edit that clashed.
type Clash struct{ Sides []Side }

// Edit is the editor.
type Edit struct {
	Chrome     *Chrome
	Heading    string
	Notices    []Notice
	Clash      *Clash
	NeedToken  bool
	Base       string // hashes, separated by blanks
	Text       string
	Merged     string
	MergedOpen bool
	Summary    string
	Author     string
	Preview    template.HTML
	CanManage  bool // the page is there, so that it can be renamed or deleted
}

// Edit writes the editor.
func (w *Writer) Edit(out io.Writer, p *Edit) error { return w.write(out, "edit", p.Chrome, p) }

// History is the list of a page's revisions.
type History struct {
	Chrome  *Chrome
	Items   []Revision
	NextURL string
}

// History writes the list of revisions.
func (w *Writer) History(out io.Writer, p *History) error {
	return w.write(out, "history", p.Chrome, p)
}

// DiffLine is one line of a diff.
type DiffLine struct {
	merge.Line
	Class, Sign string
}

// DiffHunk is a group of changed lines.
type DiffHunk struct {
	NewStart int
	Lines    []DiffLine
}

// Diff is what changed between two revisions.
type Diff struct {
	Chrome   *Chrome
	From, To *Revision
	Hunks    []DiffHunk
	Left     int        // lines that are not shown
	Revert   []Revision // to which of the two the page can be reverted
	Base     string
}

// Diff writes what changed between two revisions.
func (w *Writer) Diff(out io.Writer, p *Diff) error { return w.write(out, "diff", p.Chrome, p) }

// maxDiffLines is how many lines of a diff are shown; of a longer one, the
// rest is named.
const maxDiffLines = 5000

// DiffHunks gives each line its sign, so that colour is not all that tells
// them apart. The number is that of the lines left out.
func DiffHunks(hunks []merge.Hunk) ([]DiffHunk, int) {
	var out []DiffHunk
	shown, left := 0, 0
	for _, h := range hunks {
		take := min(len(h.Lines), maxDiffLines-shown)
		shown, left = shown+take, left+len(h.Lines)-take
		if take == 0 {
			continue
		}
		hunk := DiffHunk{NewStart: h.NewStart}
		for _, line := range h.Lines[:take] {
			hunk.Lines = append(hunk.Lines, diffLine(line))
		}
		out = append(out, hunk)
	}
	return out, left
}

func diffLine(line merge.Line) DiffLine {
	switch line.Op {
	case merge.Add:
		return DiffLine{line, "add", "+"}
	case merge.Remove:
		return DiffLine{line, "del", "−"}
	case merge.Same:
	}
	return DiffLine{line, "", " "}
}

// Day is the changes of one day.
type Day struct {
	Day   string
	Items []Revision
}

// Recent is the list of recent changes.
type Recent struct {
	Chrome  *Chrome
	Days    []Day
	NextURL string
}

// Recent writes the list of recent changes.
func (w *Writer) Recent(out io.Writer, p *Recent) error { return w.write(out, "recent", p.Chrome, p) }

// ConflictItem is a page in the list of conflicts.
type ConflictItem struct {
	Page, URL, Author string
	Count             int
	Time              Time
}

// Conflicts is the list of pages in conflict.
type Conflicts struct {
	Chrome  *Chrome
	Items   []ConflictItem
	NextURL string
}

// Conflicts writes the list of pages in conflict.
func (w *Writer) Conflicts(out io.Writer, p *Conflicts) error {
	return w.write(out, "conflicts", p.Chrome, p)
}

// Error is a failed request.
type Error struct {
	Chrome    *Chrome
	Heading   string
	Detail    string
	Next      string // what to do
	Status    int
	RequestID string
}

// Error writes what failed.
func (w *Writer) Error(out io.Writer, p *Error) error { return w.write(out, "error", p.Chrome, p) }

// Login asks for the edit token.
type Login struct {
	Chrome  *Chrome
	Notices []Notice
	Next    string
}

// Login writes the question for the edit token.
func (w *Writer) Login(out io.Writer, p *Login) error { return w.write(out, "login", p.Chrome, p) }
