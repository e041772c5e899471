package wiki

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// putRequest is the body of PUT pages/{path}.
type putRequest struct {
	Text    []byte // nil: not there
	Summary string
	Author  string
	Base    []string
}

// parsePut reads the body of a save. The plain case is read by hand, in one
// pass, since it is most of what a save costs here; whatever is not plain, and
// every mistake, is left to encoding/json, which so decides what is accepted.
// The text may share the memory of the body.
func parsePut(body []byte) (putRequest, error) {
	var put putRequest
	p := putParser{rest: body}
	if utf8.Valid(body) && p.object(&put) {
		return put, nil
	}
	var slow struct {
		Text    *string  `json:"text"`
		Summary string   `json:"summary"`
		Author  string   `json:"author"`
		Base    []string `json:"base"`
	}
	if err := parseJSON(body, &slow); err != nil {
		return putRequest{}, err
	}
	put = putRequest{Summary: slow.Summary, Author: slow.Author, Base: slow.Base}
	if slow.Text != nil {
		put.Text = append([]byte{}, *slow.Text...)
	}
	return put, nil
}

// putParser reads a flat JSON object of strings and lists of strings. Its
// methods return false for anything else.
type putParser struct{ rest []byte }

func (p *putParser) object(put *putRequest) bool {
	if !p.token('{') {
		return false
	}
	seen := 0
	for {
		key, ok := p.text()
		if !ok || !p.token(':') {
			return false
		}
		field := 0
		switch string(key) {
		case "text":
			field = 1
			put.Text, ok = p.text()
		case "summary":
			field = 2
			put.Summary, ok = p.shortText()
		case "author":
			field = 4
			put.Author, ok = p.shortText()
		case "base":
			field = 8
			put.Base, ok = p.list()
		default:
			return false
		}
		if !ok || seen&field != 0 {
			return false
		}
		seen |= field
		if p.token(',') {
			continue
		}
		return p.token('}') && len(bytes.TrimLeft(p.rest, " \t\r\n")) == 0
	}
}

// token takes c, after blanks, if it is next.
func (p *putParser) token(c byte) bool {
	rest := bytes.TrimLeft(p.rest, " \t\r\n")
	if len(rest) == 0 || rest[0] != c {
		return false
	}
	p.rest = rest[1:]
	return true
}

func (p *putParser) shortText() (string, bool) {
	text, ok := p.text()
	return string(text), ok
}

func (p *putParser) list() ([]string, bool) {
	if !p.token('[') {
		return nil, false
	}
	list := []string{}
	if p.token(']') {
		return list, true
	}
	for {
		text, ok := p.shortText()
		if !ok {
			return nil, false
		}
		list = append(list, text)
		if p.token(',') {
			continue
		}
		return list, p.token(']')
	}
}

// text takes a string, which shares the body's memory if nothing in it is
// escaped. The result is never nil where ok is true.
func (p *putParser) text() (text []byte, ok bool) {
	if !p.token('"') {
		return nil, false
	}
	in := p.rest
	plain := plainLength(in)
	if plain < len(in) && in[plain] == '"' {
		p.rest = in[plain+1:]
		return in[:plain:plain], true
	}
	out := append(make([]byte, 0, len(in)), in[:plain]...)
	for at := plain; at < len(in); {
		n := plainLength(in[at:])
		out = append(out, in[at:at+n]...)
		if at += n; at == len(in) {
			break
		}
		switch c := in[at]; {
		case c == '"':
			p.rest = in[at+1:]
			if cap(out) > 2*len(out) {
				out = append([]byte{}, out...)
			}
			return out, true
		case c < 0x20:
			return nil, false
		default:
			r, n := unescape(in[at:])
			if n == 0 {
				return nil, false
			}
			out = utf8.AppendRune(out, r)
			at += n
		}
	}
	return nil, false
}

// plainLength is how many bytes stand for themselves.
func plainLength(b []byte) int {
	for i, c := range b {
		if c == '"' || c == '\\' || c < 0x20 {
			return i
		}
	}
	return len(b)
}

// unescape reads the escape at the front of b; n is 0 for what is none, or is
// half of a surrogate pair.
func unescape(b []byte) (r rune, n int) {
	if len(b) < 2 {
		return 0, 0
	}
	switch b[1] {
	case '"', '\\', '/':
		return rune(b[1]), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	}
	unit := escapedUnit(b)
	if unit < 0 {
		return 0, 0
	}
	if !utf16.IsSurrogate(rune(unit)) {
		return rune(unit), 6
	}
	if r := utf16.DecodeRune(rune(unit), rune(escapedUnit(b[6:]))); r != utf8.RuneError {
		return r, 12
	}
	return 0, 0
}
