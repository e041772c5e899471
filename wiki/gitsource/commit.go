package gitsource

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-git/go-git/v5/plumbing"
	"golang.org/x/text/encoding/htmlindex"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki/page"
)

var errObject = errors.New("an object is not as git writes it")

// commitFields are the fields of a git commit that an import uses.
type commitFields struct {
	tree      plumbing.Hash
	parents   []plumbing.Hash
	author    []byte // "name <address> seconds zone"
	committer []byte
	encoding  string
	message   []byte
}

// parseCommit reads the headers that are always there and skips the others.
func parseCommit(b []byte) (c commitFields, err error) {
	for len(b) > 0 {
		line, rest, _ := bytes.Cut(b, []byte{'\n'})
		b = rest
		if len(line) == 0 {
			c.message = b
			break
		}
		name, value, _ := bytes.Cut(line, []byte{' '})
		switch string(name) {
		case "tree":
			c.tree, err = parseHash(value)
		case "parent":
			var h plumbing.Hash
			h, err = parseHash(value)
			c.parents = append(c.parents, h)
		case "author":
			c.author = value
		case "committer":
			c.committer = value
		case "encoding":
			c.encoding = string(value)
		}
		if err != nil {
			return c, err
		}
	}
	if c.tree.IsZero() {
		return c, fmt.Errorf("%w: a commit without tree", errObject)
	}
	return c, nil
}

func parseHash(b []byte) (h plumbing.Hash, err error) {
	if len(b) != 40 || !plumbing.IsHash(string(b)) {
		return h, fmt.Errorf("%w: hash %.50q", errObject, b)
	}
	return plumbing.NewHash(string(b)), nil
}

// parseIdent splits "name <address> seconds zone", of which any part may be
// missing in old histories.
func parseIdent(b []byte) (name, email string, at time.Time) {
	open, end := bytes.IndexByte(b, '<'), bytes.LastIndexByte(b, '>')
	if open < 0 || end < open {
		return string(bytes.TrimSpace(b)), "", time.Time{}
	}
	fields := strings.Fields(string(b[end+1:]))
	if len(fields) > 0 {
		seconds, err := strconv.ParseInt(fields[0], 10, 64)
		if err == nil {
			at = time.Unix(min(max(seconds, 1), maxSeconds), 0).UTC()
		}
	}
	if len(fields) > 1 {
		at = at.In(zone(fields[1]))
	}
	return string(bytes.TrimSpace(b[:open])), string(bytes.TrimSpace(b[open+1 : end])), at
}

// maxSeconds is the last second of the year 9998, so that no zone leads beyond
// what can be written.
const maxSeconds = 253370764799

func zone(text string) *time.Location {
	n, err := strconv.Atoi(text)
	if err != nil || n <= -2400 || n >= 2400 || n%100 >= 60 || n%100 <= -60 || n == 0 {
		return time.UTC
	}
	return time.FixedZone("", (n/100*60+n%100)*60)
}

// decode turns text of a commit into UTF-8.
func decode(b []byte, encoding string) string {
	if utf8.Valid(b) {
		return string(b)
	}
	if encoding == "" {
		encoding = "windows-1252" // holds all that is Latin-1
	}
	if e, err := htmlindex.Get(encoding); err == nil {
		if out, err := e.NewDecoder().Bytes(b); err == nil {
			b = out
		}
	}
	return strings.ToValidUTF8(string(b), "\ufffd")
}

// cleanAuthor brings a name and an address into a form that the wiki takes.
func cleanAuthor(name, email string) string {
	strip := func(s string, most int) string {
		s = strings.Map(func(r rune) rune {
			if r == '<' || r == '>' || !unicode.IsPrint(r) && r != ' ' {
				return -1
			}
			return r
		}, s)
		for len(s) > most {
			_, n := utf8.DecodeLastRuneInString(s)
			s = s[:len(s)-n]
		}
		return strings.TrimSpace(s)
	}
	name, email = strip(name, page.MaxAuthor), strip(email, page.MaxAuthor)
	if clean, err := page.ParseAuthor(name); name == "" || err != nil {
		if name = "unknown"; email != "" {
			name = email
		}
	} else {
		name = clean
	}
	return name + " <" + email + ">"
}

// cleanMessage brings a message into a form that the wiki takes.
func cleanMessage(s string) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, s)
	for len(s) > storage.MaxMessage {
		n := storage.MaxMessage
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	return strings.TrimSpace(s)
}

// treeEntry is one line of a tree.
type treeEntry struct {
	mode string
	name []byte
	hash plumbing.Hash
	size int // of the line, in bytes
}

func (e *treeEntry) isTree() bool { return e.mode == "40000" || e.mode == "040000" }

// parseEntry reads the first entry of a tree.
func parseEntry(b []byte) (e treeEntry, err error) {
	space := bytes.IndexByte(b[:min(len(b), 8)], ' ')
	zero := bytes.IndexByte(b, 0)
	if space <= 0 || zero <= space+1 || len(b) < zero+21 {
		return e, fmt.Errorf("%w: a tree entry %.40q", errObject, b[:min(len(b), 40)])
	}
	switch string(b[:space]) { // no memory for what is always the same
	case "100644":
		e.mode = "100644"
	case "40000":
		e.mode = "40000"
	default:
		e.mode = string(b[:space])
	}
	e.name = b[space+1 : zero]
	copy(e.hash[:], b[zero+1:])
	e.size = zero + 21
	return e, nil
}
