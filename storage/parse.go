package storage

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Parse reads the git form of a commit. It accepts exactly what Encode writes;
// the signature is read but not checked (see Commit.Verify).
func Parse(b []byte) (*Commit, error) {
	if len(b) > MaxCommit {
		return nil, fmt.Errorf("%w: commit of %d bytes, at most %d", ErrTooLarge, len(b), MaxCommit)
	}
	p := parser{rest: b}
	c := &Commit{}
	c.Tree = p.hash("tree ")
	for bytes.HasPrefix(p.rest, []byte("parent ")) && len(c.Parents) <= MaxParents {
		c.Parents = append(c.Parents, p.hash("parent "))
	}
	c.Author = p.ident("author ")
	c.Committer = p.ident("committer ")
	p.erwik(c)
	p.log(c)
	c.Path = p.path(p.line("erwik-page "))
	p.hex(c.SHA256[:], p.line("erwik-sha256 "))
	if bytes.HasPrefix(p.rest, []byte("erwik-from ")) {
		path, commit, _ := strings.Cut(p.line("erwik-from "), " ")
		c.From = &Source{Path: p.path(path)}
		p.hex(c.From.Commit[:], commit)
	}
	if bytes.HasPrefix(p.rest, []byte("erwik-source ")) {
		c.Import = p.line("erwik-source ")
	}
	p.signature(c)
	if p.line("") != "" {
		p.fail("unexpected header")
	}
	c.Message = string(p.rest)
	if p.err != nil {
		return nil, p.err
	}
	if err := c.checkFields(); err != nil {
		return nil, err
	}
	if !bytes.Equal(c.Encode(), b) {
		return nil, fmt.Errorf("%w: commit is not in its one canonical form", ErrInvalid)
	}
	c.Hash = hashObject("commit", b)
	return c, nil
}

// parser reads headers one by one; the first error sticks.
type parser struct {
	rest []byte
	err  error
}

func (p *parser) fail(what string) {
	if p.err == nil {
		p.err = fmt.Errorf("%w: commit: %s", ErrInvalid, what)
	}
}

// line takes one line and returns what follows prefix.
func (p *parser) line(prefix string) string {
	end := bytes.IndexByte(p.rest, '\n')
	if p.err != nil || end < 0 || !bytes.HasPrefix(p.rest[:end], []byte(prefix)) {
		p.fail("want header " + strconv.Quote(prefix))
		return ""
	}
	text := string(p.rest[len(prefix):end])
	p.rest = p.rest[end+1:]
	return text
}

func (p *parser) hex(dst []byte, text string) {
	if len(text) != 2*len(dst) {
		p.fail("hash of the wrong length")
		return
	}
	if _, err := hex.Decode(dst, []byte(text)); err != nil {
		p.fail("hash is not hexadecimal")
	}
}

func (p *parser) hash(prefix string) (h Hash) {
	p.hex(h[:], p.line(prefix))
	return h
}

func (p *parser) number(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		p.fail("number " + strconv.Quote(text))
	}
	return n
}

func (p *parser) path(text string) string {
	path, err := unescape(text)
	if err != nil && p.err == nil {
		p.err = err
	}
	return path
}

func (p *parser) ident(prefix string) (id Ident) {
	text := p.line(prefix)
	name, rest, ok1 := strings.Cut(text, " <")
	email, rest, ok2 := strings.Cut(rest, "> ")
	seconds, zone, ok3 := strings.Cut(rest, " ")
	if !ok1 || !ok2 || !ok3 || len(zone) != 5 {
		p.fail("author or committer")
		return id
	}
	id.Name, id.Email, id.Time = name, email, int64(p.number(seconds))
	hours, minutes := p.number(zone[1:3]), p.number(zone[3:5])
	if minutes > 59 {
		p.fail("time zone")
	}
	id.Zone = int(hours*60 + minutes)
	if zone[0] == '-' {
		id.Zone = -id.Zone
	}
	return id
}

func (p *parser) erwik(c *Commit) {
	fields := strings.Split(p.line("erwik "), " ")
	if len(fields) != 3 {
		p.fail("erwik header")
		return
	}
	if fields[0] != strconv.Itoa(formatVersion) {
		p.fail("format version " + strconv.Quote(fields[0]))
		return
	}
	c.Kind, c.Generation = Kind(fields[1]), p.number(fields[2])
}

func (p *parser) log(c *Commit) {
	fields := strings.Split(p.line("erwik-log "), " ")
	if len(fields) != 3 {
		p.fail("erwik-log header")
		return
	}
	var err error
	if c.Log, err = ParseLogID(fields[0]); err != nil && p.err == nil {
		p.err = fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	c.Sequence = p.number(fields[1])
	p.hex(c.Previous[:], fields[2])
}

func (p *parser) signature(c *Commit) {
	end := 0
	for range signatureLines() {
		i := bytes.IndexByte(p.rest[end:], '\n')
		if i < 0 {
			p.fail("signature is cut")
			return
		}
		end += i + 1
	}
	sig, err := parseSignature(p.rest[:end], c.Log.Node)
	if err != nil && p.err == nil {
		p.err = err
	}
	c.Signature, p.rest = sig, p.rest[end:]
}
