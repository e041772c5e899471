package storage

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Kind tells what a commit does to its path. Kinds that this program does not
// know are kept and forwarded, never shown.
type Kind string

// The kinds of format version 1.
const (
	KindPage   Kind = "page"
	KindFile   Kind = "file"
	KindDelete Kind = "delete"
	KindAdmit  Kind = "admit"
	KindBan    Kind = "ban"
)

// formatVersion is the version in the erwik header of every commit.
const formatVersion = 1

// Ident is who and when.
type Ident struct {
	Name, Email string
	Time        int64 // seconds since 1970, UTC
	Zone        int   // minutes east of UTC, for display only
}

// Source names the commit of another path that a rename began from.
type Source struct {
	Path   string
	Commit Hash
}

// Commit holds the fields of one revision of one subject. Its git form is a
// function of them; see Encode.
type Commit struct {
	Hash       Hash   // of the git form
	Tree       Hash   // holds exactly this path; zero where only the log entry was read
	Parents    []Hash // strictly ascending; each a commit of the same path
	Author     Ident  // the person, as claimed
	Committer  Ident  // the node
	Kind       Kind
	Generation uint64 // 1 + the highest parent's
	Log        LogID
	Sequence   uint64 // from 1
	Previous   Hash   // commit before this one in its log; zero for the first
	Path       string // git path
	SHA256     [32]byte
	From       *Source
	Import     string // hex hash of what was imported, or empty
	Signature  [ed25519.SignatureSize]byte
	Message    string
}

// Encode returns the git form of c. Only one form of a commit is accepted, so
// Encode(Parse(b)) equals b or Parse refuses b.
func (c *Commit) Encode() []byte {
	b, at := c.appendPayload(make([]byte, 0, 1024+len(c.Message)))
	tail := append([]byte(nil), b[at:]...)
	b = appendSignature(b[:at], c.Log.Node, &c.Signature)
	return append(b, tail...)
}

// appendPayload appends what the node signs, which is the commit without its
// gpgsig header, and returns where that header belongs.
func (c *Commit) appendPayload(b []byte) (payload []byte, signatureAt int) {
	b = appendHashLine(b, "tree ", c.Tree)
	for _, p := range c.Parents {
		b = appendHashLine(b, "parent ", p)
	}
	b = c.Author.append(append(b, "author "...))
	b = c.Committer.append(append(b, "committer "...))
	b = append(b, "erwik "...)
	b = strconv.AppendInt(b, formatVersion, 10)
	b = append(b, ' ')
	b = append(b, c.Kind...)
	b = append(b, ' ')
	b = strconv.AppendUint(b, c.Generation, 10)
	b = append(b, "\nerwik-log "...)
	b = c.Log.appendTo(b)
	b = append(b, ' ')
	b = strconv.AppendUint(b, c.Sequence, 10)
	b = appendHashLine(b, " ", c.Previous)
	b = appendEscaped(append(b, "erwik-page "...), c.Path)
	b = append(b, "\nerwik-sha256 "...)
	b = hex.AppendEncode(b, c.SHA256[:])
	b = append(b, '\n')
	if c.From != nil {
		b = appendEscaped(append(b, "erwik-from "...), c.From.Path)
		b = appendHashLine(b, " ", c.From.Commit)
	}
	if c.Import != "" {
		b = append(append(append(b, "erwik-source "...), c.Import...), '\n')
	}
	at := len(b)
	b = append(b, '\n')
	return append(b, c.Message...), at
}

func appendHashLine(b []byte, name string, h Hash) []byte {
	b = append(b, name...)
	b = hex.AppendEncode(b, h[:])
	return append(b, '\n')
}

// append writes git's "Name <address> seconds zone" and a line feed.
func (id Ident) append(b []byte) []byte {
	b = append(append(append(b, id.Name...), " <"...), id.Email...)
	b = append(b, "> "...)
	b = strconv.AppendInt(b, id.Time, 10)
	zone, sign := id.Zone, byte('+')
	if zone < 0 {
		zone, sign = -zone, '-'
	}
	return append(b, ' ', sign, byte('0'+zone/600), byte('0'+zone/60%10), byte('0'+zone%60/10), byte('0'+zone%10), '\n')
}

// CheckText reports why s can't be a person's name or address.
func CheckText(s string) error {
	if len(s) > MaxIdent {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(s), MaxIdent)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("%w: %.40q is not UTF-8", ErrInvalid, s)
	}
	for _, r := range s {
		if r < 0x20 || r == '<' || r == '>' || (r >= 0x7f && r < 0xa0) {
			return fmt.Errorf("%w: %.40q holds a control character or one of < >", ErrInvalid, s)
		}
	}
	if s != "" && (s[0] == ' ' || s[len(s)-1] == ' ') {
		return fmt.Errorf("%w: %.40q begins or ends with a space", ErrInvalid, s)
	}
	return nil
}

func (id Ident) check() error {
	if id.Name == "" {
		return fmt.Errorf("%w: nobody named", ErrInvalid)
	}
	if err := CheckText(id.Name); err != nil {
		return fmt.Errorf("name: %w", err)
	}
	if err := CheckText(id.Email); err != nil {
		return fmt.Errorf("address: %w", err)
	}
	if id.Time < 0 || id.Time > maxTime || id.Zone <= -24*60 || id.Zone >= 24*60 {
		return fmt.Errorf("%w: time %d, zone %d minutes", ErrInvalid, id.Time, id.Zone)
	}
	return nil
}

// checkFields reports the first field of c that is over a maximum or can't be
// written in the one canonical form. It does not look at other commits.
func (c *Commit) checkFields() error {
	if err := checkKind(c.Kind); err != nil {
		return err
	}
	if err := CheckPath(c.Path); err != nil {
		return err
	}
	if err := c.Author.check(); err != nil {
		return fmt.Errorf("author: %w", err)
	}
	if err := c.Committer.check(); err != nil {
		return fmt.Errorf("committer: %w", err)
	}
	switch {
	case len(c.Parents) > MaxParents:
		return fmt.Errorf("%w: %d parents, at most %d", ErrTooLarge, len(c.Parents), MaxParents)
	case len(c.Message) > MaxMessage:
		return fmt.Errorf("%w: message of %d bytes, at most %d", ErrTooLarge, len(c.Message), MaxMessage)
	case c.Sequence == 0 || c.Generation == 0:
		return fmt.Errorf("%w: sequence %d, generation %d", ErrInvalid, c.Sequence, c.Generation)
	case (c.Sequence == 1) != c.Previous.IsZero():
		return fmt.Errorf("%w: sequence %d with previous %s", ErrInvalid, c.Sequence, c.Previous)
	case !utf8.ValidString(c.Message):
		return fmt.Errorf("%w: message is not UTF-8", ErrInvalid)
	case !validImport(c.Import):
		return fmt.Errorf("%w: import source %.40q", ErrInvalid, c.Import)
	}
	for i, p := range c.Parents {
		if p.IsZero() || i > 0 && c.Parents[i-1].Compare(p) >= 0 {
			return fmt.Errorf("%w: parents are not strictly ascending", ErrInvalid)
		}
	}
	for i := 0; i < len(c.Message); i++ {
		if c.Message[i] == 0 {
			return fmt.Errorf("%w: NUL in message", ErrInvalid)
		}
	}
	if c.From != nil {
		if err := CheckPath(c.From.Path); err != nil {
			return fmt.Errorf("renamed from: %w", err)
		}
	}
	return nil
}

func checkKind(k Kind) error {
	if k == "" || len(k) > MaxKind {
		return fmt.Errorf("%w: kind %.20q", ErrInvalid, string(k))
	}
	for i := 0; i < len(k); i++ {
		if k[i] < 'a' || k[i] > 'z' {
			return fmt.Errorf("%w: kind %.20q", ErrInvalid, string(k))
		}
	}
	return nil
}

// validImport accepts nothing, a SHA-1 or a SHA-256 in lower-case hex.
func validImport(s string) bool {
	if s != "" && len(s) != 40 && len(s) != 64 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if !('0' <= s[i] && s[i] <= '9' || 'a' <= s[i] && s[i] <= 'f') {
			return false
		}
	}
	return true
}
