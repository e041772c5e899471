package page

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/erwik/erwik/storage"
)

// The limits of a name, in bytes.
const (
	MaxSegment = 200
	MaxName    = 1000
)

// Name is a page name in its one canonical form: NFC, no rule broken. Only
// [ParseName] and [NameOfPath] make one, so whoever holds a Name need not
// check it again. Two names that differ in bytes are two pages.
type Name string

// NameError says which rule a name breaks and what to do about it.
type NameError struct {
	Name string // as it was given, cut where very long
	Why  string
	Do   string
	File bool // it is the name of a file
}

// What says what kind of name it is.
func (e *NameError) What() string {
	if e.File {
		return "file name"
	}
	return "page name"
}

// Error says what, why and what to do.
func (e *NameError) Error() string {
	return fmt.Sprintf("%s %q is refused: %s; %s", e.What(), e.Name, e.Why, e.Do)
}

// ParseName checks a name whose percent-encoding has been decoded once
// already, and brings it to NFC. Every refusal is a *[NameError].
func ParseName(raw string) (Name, error) {
	refuse := func(why, do string) (Name, error) {
		return "", &NameError{Name: cut(raw, 80), Why: why, Do: do}
	}
	switch {
	case raw == "":
		return refuse("it is empty", "give the page a name")
	case len(raw) > 4*MaxName:
		return refuse("it is too long", fmt.Sprintf("use at most %d bytes", MaxName))
	case !utf8.ValidString(raw):
		return refuse("it is not valid UTF-8", "send it as UTF-8")
	}
	name := norm.NFC.String(raw)
	if len(name) > MaxName {
		return refuse(fmt.Sprintf("it has %d bytes", len(name)), fmt.Sprintf("use at most %d bytes", MaxName))
	}
	for _, r := range name {
		if isControl(r) {
			return refuse(fmt.Sprintf("it holds the control character %U", r), "leave that character out")
		}
	}
	first, _, _ := strings.Cut(name, "/")
	if reserved(first) {
		return refuse(fmt.Sprintf("%q at its front is reserved", first), "choose another first word")
	}
	for segment := range strings.SplitSeq(name, "/") {
		if why, do := refuseSegment(segment); why != "" {
			return refuse(why, do)
		}
	}
	return Name(name), nil
}

// refuseSegment says why one part of a name between slashes may not be.
func refuseSegment(s string) (why, do string) {
	if s == "" {
		return "it has an empty part", "write no slash at either end and no two in a row"
	}
	if len(s) > MaxSegment {
		return fmt.Sprintf("its part %q has %d bytes", cut(s, 40), len(s)), fmt.Sprintf("use at most %d bytes between slashes", MaxSegment)
	}
	if s[0] == '.' {
		return fmt.Sprintf("its part %q begins with a dot", cut(s, 40)), "begin it with another character"
	}
	head, _ := utf8.DecodeRuneInString(s)
	tail, _ := utf8.DecodeLastRuneInString(s)
	if unicode.IsSpace(head) || unicode.IsSpace(tail) {
		return fmt.Sprintf("its part %q has a space at an end", cut(s, 40)), "take the space away"
	}
	if len(s) >= 4 && strings.EqualFold(s[len(s)-4:], ".git") {
		return fmt.Sprintf("its part %q ends in .git, which git keeps for itself", cut(s, 40)), "choose another ending"
	}
	return "", ""
}

// reserved reports whether no name may begin with this segment.
func reserved(first string) bool {
	switch first {
	case "-", "system", "robots.txt", "sitemap.xml", "wiki.git":
		return true
	}
	return strings.HasPrefix(first, "favicon.")
}

// isControl reports whether r steers the display instead of being shown:
// Unicode's control characters, its line and paragraph separators, and the
// characters that turn the direction of what follows, by which one name can
// be made to look like another.
func isControl(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' ||
		'\u202a' <= r && r <= '\u202e' || '\u2066' <= r && r <= '\u2069'
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// Path returns the git path of the page.
func (n Name) Path() string { return string(n) + storage.PageSuffix }

// NameOfPath returns the name of the page at a git path; ok is false where
// the path is no page's, or is one that this node would not have made.
func NameOfPath(path string) (name Name, ok bool) {
	raw, ok := strings.CutSuffix(path, storage.PageSuffix)
	if !ok {
		return "", false
	}
	name, err := ParseName(raw)
	return name, err == nil && string(name) == raw
}

// Title is the last part of the name.
func (n Name) Title() string { return string(n[strings.LastIndexByte(string(n), '/')+1:]) }

// Folder is the name without its last part, or empty.
func (n Name) Folder() string {
	if i := strings.LastIndexByte(string(n), '/'); i >= 0 {
		return string(n[:i])
	}
	return ""
}

// File returns the name of the file that an export writes for the page, with
// "/" between folders. It is the inverse of [NameOfFile].
func (n Name) File() string { return mapSegments(n.Path(), unhideDot) }

// NameOfFile returns the name of the page that a Markdown file of an imported
// folder becomes. A segment that begins with a dot, which no page name may,
// is written with %2E in the dot's place.
func NameOfFile(file string) (Name, error) {
	raw, ok := strings.CutSuffix(mapSegments(file, hideDot), storage.PageSuffix)
	if !ok {
		return "", &NameError{Name: cut(file, 80), Why: "it does not end in .md", Do: "import Markdown files only"}
	}
	return ParseName(raw)
}

func mapSegments(path string, change func(string) string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		parts[i] = change(p)
	}
	return strings.Join(parts, "/")
}

// hideDot writes a leading dot as %2E. A segment that looks so already gets
// one more "25", so that no two files become one page.
func hideDot(s string) string {
	if strings.HasPrefix(s, ".") {
		return "%2E" + s[1:]
	}
	if escapedDot(s) {
		return "%25" + s[1:]
	}
	return s
}

// unhideDot takes back what hideDot did.
func unhideDot(s string) string {
	switch {
	case strings.HasPrefix(s, "%2E"):
		return "." + s[3:]
	case escapedDot(s):
		return "%" + s[3:]
	}
	return s
}

// escapedDot reports whether s begins with %2E or with a longer escape of it:
// "%", any number of "25", "2E".
func escapedDot(s string) bool {
	rest, ok := strings.CutPrefix(s, "%")
	if !ok {
		return false
	}
	for strings.HasPrefix(rest, "25") {
		rest = rest[2:]
	}
	return strings.HasPrefix(rest, "2E")
}
