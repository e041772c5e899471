package page

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki/merge"
)

// The limits of an edit, in bytes.
const (
	MaxText    = storage.MaxContent
	MaxAuthor  = 200
	MaxSummary = 1000
)

// Edit is what somebody asks to save.
type Edit struct {
	Name Name
	Text []byte // kept byte for byte; must not be modified afterwards
	// Delete asks for the page to be deleted; Text is ignored.
	Delete bool
	// Base is what the editor saw: the heads at that time. Empty: no page.
	Base []storage.Hash
	// OnTop puts the edit on whatever is there now; Base is ignored.
	OnTop   bool
	Author  string // a claim
	Summary string
}

// Saved tells what became of an edit.
type Saved struct {
	// Commit is the page's newest commit: the one made, or the current one
	// where the edit changed nothing. Nil only if the page has none.
	Commit    *storage.Commit
	Heads     []storage.Hash
	Created   bool // no live page was there before
	Merged    bool // the text saved is a merge of the edit and newer ones
	Unchanged bool // no commit was made
}

// EditError says which field of an edit can't be accepted.
type EditError struct {
	Field string // as in JSON and in the form
	Why   string
	// TooLarge: the field is over its limit.
	TooLarge bool
}

// Error says what and why.
func (e *EditError) Error() string { return fmt.Sprintf("%q is refused: %s", e.Field, e.Why) }

// ConflictError is an edit that can't be merged with what others saved. It
// holds all the texts, so that nobody has lost anything.
type ConflictError struct {
	Name    Name
	Base    []byte    // nil: the editor saw no page
	Current *View     // what readers see now
	Unseen  []Version // if that is a conflict: its versions that the editor had not seen
	Yours   []byte    // nil: you asked to delete the page
	Deletes bool
	Marked  string // the texts in one, with conflict markers; of unseen versions those that maxMarked has room for
}

// maxMarked bounds, in bytes, the texts that are put into one with conflict
// markers.
const maxMarked = 4 * MaxText

// Error says what to do.
func (e *ConflictError) Error() string {
	if e.Current.Conflict {
		return fmt.Sprintf("page %q has %d versions by now that could not be united, and your edit clashes with them: unite all of them with yours and save again on the current heads", e.Name, e.Current.Distinct)
	}
	return fmt.Sprintf("page %q was changed by others since you read it, and your edit clashes with theirs: unite the two texts and save again on the current heads", e.Name)
}

// Size is the length in bytes of the texts that an answer with it holds, if it has
// versions of up to versions bytes together.
func (e *ConflictError) Size(versions int) int {
	size := 0
	for _, v := range e.Current.Versions {
		size += len(v.Text)
	}
	return len(e.Base) + len(e.Current.Text) + len(e.Yours) + len(e.Marked) + min(size, versions)
}

// newConflict describes the clash of an edit with the view cur, of whose heads
// newer were not seen by the editor.
func newConflict(e *Edit, base []byte, cur *View, newer []storage.Hash) *ConflictError {
	c := &ConflictError{Name: e.Name, Base: base, Current: cur, Yours: e.Text, Deletes: e.Delete}
	if e.Delete {
		c.Yours = nil
	}
	var theirs []byte
	if cur.Live {
		theirs = cur.Text
	}
	if !cur.Conflict {
		c.Marked = merge.Three(string(base), string(c.Yours), string(theirs)).WithMarkers("yours", "current")
		return c
	}
	c.Marked = string(c.Yours)
	above := "yours"
	for _, v := range cur.Versions {
		if !slices.ContainsFunc(v.Heads, func(h storage.Hash) bool { return slices.Contains(newer, h) }) {
			continue
		}
		c.Unseen = append(c.Unseen, v)
		if !v.Deleted && len(c.Marked)+len(v.Text) <= maxMarked {
			c.Marked = merge.Three(string(base), c.Marked, string(v.Text)).WithMarkers(above, v.Commit.Hash.String()[:10])
			above = "above"
		}
	}
	return c
}

// check brings an edit to the form in which it is saved, or refuses it.
func (e *Edit) check() error {
	author, err := ParseAuthor(e.Author)
	if err != nil {
		return err
	}
	e.Author = author
	if e.Summary, err = parseSummary(e.Summary, MaxSummary); err != nil {
		return err
	}
	if e.Delete {
		return nil
	}
	return checkText(e.Text)
}

func checkText(text []byte) error {
	switch {
	case len(text) > MaxText:
		return &EditError{Field: "text", Why: fmt.Sprintf("it has %d bytes; a page may have %d", len(text), MaxText), TooLarge: true}
	case !utf8.Valid(text):
		return &EditError{Field: "text", Why: "it is not valid UTF-8"}
	case bytes.IndexByte(text, 0) >= 0:
		return &EditError{Field: "text", Why: "it holds a NUL byte"}
	}
	return nil
}

// ParseAuthor checks the name that somebody claims; empty is "anonymous".
func ParseAuthor(raw string) (string, error) {
	refuse := func(why string) (string, error) { return "", &EditError{Field: "author", Why: why} }
	switch {
	case len(raw) > MaxAuthor:
		return refuse(fmt.Sprintf("it has %d bytes; at most %d are allowed", len(raw), MaxAuthor))
	case !utf8.ValidString(raw):
		return refuse("it is not valid UTF-8")
	case strings.ContainsAny(raw, "<>"):
		return refuse("it holds < or >")
	case strings.ContainsFunc(raw, isControl):
		return refuse("it holds a control character")
	}
	author := strings.TrimSpace(raw)
	// Git takes these from the ends of a name, and a name of nothing else
	// would be none.
	if strings.Trim(author, " .,:;\"'\\") == "" {
		if author != "" {
			return refuse("it has no letter, digit or other sign that git keeps")
		}
		return "anonymous", nil
	}
	return author, nil
}

// parseSummary checks what an edit says about itself.
func parseSummary(raw string, limit int) (string, error) {
	switch {
	case len(raw) > limit:
		return "", &EditError{Field: "summary", Why: fmt.Sprintf("it has %d bytes; at most %d are allowed", len(raw), limit), TooLarge: false}
	case !utf8.ValidString(raw):
		return "", &EditError{Field: "summary", Why: "it is not valid UTF-8"}
	}
	clean := strings.ReplaceAll(raw, "\r\n", "\n")
	if strings.ContainsFunc(clean, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }) {
		return "", &EditError{Field: "summary", Why: "it holds a control character"}
	}
	return strings.TrimSpace(clean), nil
}
