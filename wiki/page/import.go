package page

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/erwik/erwik/storage"
)

// The size of the batches in which an import is saved.
const (
	importDrafts = 256
	importBytes  = 4 << 20
)

// Record is one revision to import.
type Record struct {
	Name    Name
	Text    []byte
	Delete  bool
	Author  string // a name, or "name <address>"
	Time    time.Time
	Summary string
	// Source names the revision where it comes from, as 40 or 64 hex digits,
	// or is empty. A source that this page has already is skipped.
	Source string
	// Parents are the sources of the revisions that this one follows. Nil: it
	// follows whatever is there. Empty, but not nil: it follows none.
	Parents []string
	// From names, after a rename, the revision of another page that this one
	// was made from.
	From *Origin
}

// Origin is a revision of another page, by its source.
type Origin struct {
	Name   Name
	Source string
}

// Failure is a record that could not be imported.
type Failure struct {
	Line int
	Name Name
	Err  error
}

// Tally counts the records of an import.
type Tally struct {
	Done     int
	Skipped  int // were here already
	Failed   int
	Failures []Failure // since the last call of TakeFailures, at most maxFailures
}

// maxFailures is how many failures are kept for the report; all are counted.
const maxFailures = 100

// Importer saves many revisions in few batches. It is used by one goroutine.
type Importer struct {
	s      *Service
	drafts []storage.Draft
	lines  []int
	size   int
	last   map[string]int // by path: the last draft of the batch
	source map[string]int // by path and source: its draft in the batch
	Tally  Tally
}

// NewImporter returns an importer; call Flush at the end.
func (s *Service) NewImporter() *Importer {
	return &Importer{s: s, last: map[string]int{}, source: map[string]int{}}
}

// TakeFailures returns the failures since the last call.
func (im *Importer) TakeFailures() []Failure {
	f := im.Tally.Failures
	im.Tally.Failures = nil
	return f
}

// Fail counts a record that can't be imported.
func (im *Importer) Fail(line int, name Name, err error) {
	im.Tally.Failed++
	if len(im.Tally.Failures) < maxFailures {
		im.Tally.Failures = append(im.Tally.Failures, Failure{line, name, err})
	}
}

// Add takes one record; a batch that is full is saved. The error is one after
// which nothing more can be saved; what is wrong with the record is counted.
func (im *Importer) Add(ctx context.Context, line int, r Record) error {
	if r.From != nil {
		if _, pending := im.source[r.From.Name.Path()+"\x00"+r.From.Source]; pending {
			if err := im.Flush(ctx); err != nil { // only then its hash is known
				return err
			}
		}
	}
	d, err := im.draft(&r)
	if errors.Is(err, errSkip) {
		im.Tally.Skipped++
		return nil
	}
	if err != nil {
		if storageFailed(err) {
			return err
		}
		im.Fail(line, r.Name, err)
		return nil
	}
	at := len(im.drafts)
	im.drafts, im.lines = append(im.drafts, d), append(im.lines, line)
	im.size += len(d.Content) + 1024
	im.last[d.Path] = at
	if r.Source != "" {
		im.source[d.Path+"\x00"+r.Source] = at
	}
	if len(im.drafts) >= importDrafts || im.size >= importBytes {
		return im.Flush(ctx)
	}
	return nil
}

// errSkip: the record is here already.
var errSkip = errors.New("wiki: imported before")

// draft turns a record into a draft on top of what is there and in the batch.
func (im *Importer) draft(r *Record) (storage.Draft, error) {
	d := storage.Draft{Kind: storage.KindPage, Path: r.Name.Path(), Content: r.Text, Import: r.Source}
	if r.Delete {
		d.Kind, d.Content = storage.KindDelete, nil
	} else if err := checkText(r.Text); err != nil {
		return d, err
	}
	var err error
	if d.Author, err = importAuthor(r.Author, r.Time); err != nil {
		return d, err
	}
	if d.Message, err = parseSummary(r.Summary, storage.MaxMessage); err != nil {
		return d, err
	}
	if r.Source != "" {
		if !isHex(r.Source) {
			return d, &EditError{Field: "source", Why: "it is no hash of 40 or 64 lower-case hex digits"}
		}
		if _, pending := im.source[d.Path+"\x00"+r.Source]; pending {
			return d, errSkip
		}
		if _, known, err := im.s.store.Imported(r.Source, d.Path); err != nil || known {
			return d, cmpErr(err, errSkip)
		}
	}
	if r.From != nil {
		if err := im.setFrom(&d, r.From); err != nil {
			return d, err
		}
	}
	if r.Parents != nil {
		return d, im.setParents(&d, r)
	}
	return d, im.onTop(&d, r)
}

// setFrom notes what the page was renamed from.
func (im *Importer) setFrom(d *storage.Draft, from *Origin) error {
	path := from.Name.Path()
	h, known, err := im.s.store.Imported(from.Source, path)
	if err != nil {
		return fmt.Errorf("look for origin %.80q: %w", from.Source, err)
	}
	if !known {
		return &EditError{Field: "from", Why: fmt.Sprintf("%.80q of %.200q was not imported before it", from.Source, from.Name)}
	}
	d.From = &storage.Source{Path: path, Commit: h}
	return nil
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

func isHex(s string) bool {
	return (len(s) == 40 || len(s) == 64) && strings.Trim(s, "0123456789abcdef") == ""
}

// importAuthor reads "name" or "name <address>", leaving out what git does not
// allow in them: the history of others is as it is.
func importAuthor(raw string, at time.Time) (storage.Ident, error) {
	name, email := raw, ""
	if before, after, ok := strings.Cut(raw, "<"); ok {
		name, email = before, strings.TrimSuffix(strings.TrimSpace(after), ">")
	}
	clean := func(r rune) rune {
		if r == '<' || r == '>' || isControl(r) {
			return -1
		}
		return r
	}
	name, err := ParseAuthor(strings.Map(clean, strings.TrimSpace(name)))
	if err != nil {
		return storage.Ident{}, err
	}
	email = strings.Map(clean, strings.TrimSpace(email))
	if len(email) > MaxAuthor || strings.ContainsAny(email, " \t") {
		email = ""
	}
	ident := storage.Ident{Name: name, Email: email}
	if !at.IsZero() {
		if at.Unix() <= 0 {
			return ident, &EditError{Field: "time", Why: "it is before 1970"}
		}
		_, seconds := at.Zone()
		ident.Time, ident.Zone = at.Unix(), seconds/60
	}
	return ident, nil
}

// setParents makes the draft follow the revisions that the record names.
func (im *Importer) setParents(d *storage.Draft, r *Record) error {
	for _, source := range r.Parents {
		if at, pending := im.source[d.Path+"\x00"+source]; pending {
			d.After = append(d.After, at)
			continue
		}
		h, known, err := im.s.store.Imported(source, d.Path)
		if err != nil {
			return fmt.Errorf("look for parent %.80q: %w", source, err)
		}
		if !known {
			return &EditError{Field: "parents", Why: fmt.Sprintf("%.80q was not imported before it", source)}
		}
		d.Parents = append(d.Parents, h)
	}
	return nil
}

// onTop makes the draft follow whatever is there, or in the batch.
func (im *Importer) onTop(d *storage.Draft, r *Record) error {
	if at, pending := im.last[d.Path]; pending {
		before := &im.drafts[at]
		if r.Source == "" && before.Kind == d.Kind && bytes.Equal(before.Content, d.Content) {
			return errSkip
		}
		d.After = []int{at}
		return nil
	}
	p, err := im.s.Page(r.Name)
	if err != nil {
		return err
	}
	if len(p.Heads) == 0 && r.Delete {
		return errSkip
	}
	if len(p.Heads) > 0 && !p.Conflict && p.Live == !r.Delete && bytes.Equal(p.Text, d.Content) {
		return errSkip
	}
	d.Parents, d.IfHeads, d.CheckHeads = p.Heads, p.Heads, true
	if len(d.Parents) > storage.MaxParents {
		d.Parents = d.Parents[:storage.MaxParents]
	}
	return nil
}

// Flush saves the batch. If an edit came between, the batch is put together
// anew on what is there now.
func (im *Importer) Flush(ctx context.Context) error {
	for range maxTries {
		if len(im.drafts) == 0 {
			return nil
		}
		_, err := im.s.store.Save(ctx, im.drafts...)
		if errors.Is(err, storage.ErrHeadsMoved) {
			if err := im.refresh(); err != nil {
				return err
			}
			continue
		}
		if err != nil && (storageFailed(err) || len(im.drafts) > 1) {
			if storageFailed(err) {
				return fmt.Errorf("import: %w", err)
			}
			return im.oneByOne(ctx)
		}
		if err != nil {
			name, _ := NameOfPath(im.drafts[0].Path)
			im.Fail(im.lines[0], name, err)
		} else {
			im.Tally.Done += len(im.drafts)
		}
		im.reset()
		return nil
	}
	return fmt.Errorf("import: %w", ErrBusy)
}

func (im *Importer) reset() {
	im.drafts, im.lines, im.size = nil, nil, 0
	clear(im.last)
	clear(im.source)
}

// refresh reads the heads of all drafts that are the first of their page.
func (im *Importer) refresh() error {
	for i := range im.drafts {
		d := &im.drafts[i]
		if !d.CheckHeads {
			continue
		}
		heads, err := im.s.store.Heads(d.Path)
		if err != nil {
			return fmt.Errorf("import: read heads: %w", err)
		}
		d.Parents = hashes(heads)
		d.IfHeads = d.Parents
		d.Parents = d.Parents[:min(len(d.Parents), storage.MaxParents)]
	}
	return nil
}

// oneByOne saves the drafts of a batch that was refused each by itself, so
// that only those that are at fault fail.
func (im *Importer) oneByOne(ctx context.Context) error {
	drafts, lines := im.drafts, im.lines
	im.reset()
	saved := make([]storage.Hash, len(drafts))
	for i, d := range drafts {
		name, _ := NameOfPath(d.Path)
		if slices.ContainsFunc(d.After, func(at int) bool { return saved[at].IsZero() }) {
			im.Fail(lines[i], name, errors.New("the revision that it follows could not be imported"))
			continue
		}
		for _, at := range d.After {
			d.Parents = append(d.Parents, saved[at])
		}
		d.After = nil
		commits, err := im.s.store.Save(ctx, d)
		if err != nil {
			if storageFailed(err) {
				return fmt.Errorf("import: %w", err)
			}
			im.Fail(lines[i], name, err)
			continue
		}
		saved[i] = commits[0].Hash
		im.Tally.Done++
	}
	return nil
}

// storageFailed reports whether err concerns the store, not one record.
func storageFailed(err error) bool {
	for _, fatal := range []error{storage.ErrDiskFull, storage.ErrPoisoned, storage.ErrClosed, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, fatal) {
			return true
		}
	}
	return false
}
