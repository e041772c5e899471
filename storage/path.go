package storage

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// PageSuffix ends the path of every page and of no other subject.
const PageSuffix = ".md"

// SignerPrefix begins the path of every admission; no page name may begin so.
const SignerPrefix = ".erwik/signers/"

// BanPrefix begins the path of every ban; no page name may begin so.
const BanPrefix = ".erwik/bans/"

const upperHex = "0123456789ABCDEF"

// plainInPath reports whether c stands for itself in a percent-encoded path.
func plainInPath(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return c == '-' || c == '.' || c == '_' || c == '~' || c == '/'
}

// appendEscaped appends the one percent-encoding (RFC 3986) of path: the
// unreserved characters and "/" as they are, all else as %XX.
func appendEscaped(dst []byte, path string) []byte {
	for i := 0; i < len(path); i++ {
		if c := path[i]; plainInPath(c) {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return dst
}

// unescape reads what appendEscaped wrote; the caller re-encodes to see
// whether the form was the canonical one.
func unescape(text string) (string, error) {
	if len(text) > 3*MaxPath {
		return "", fmt.Errorf("%w: path of %d bytes", ErrInvalid, len(text))
	}
	if strings.IndexByte(text, '%') < 0 {
		return text, nil
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			out = append(out, text[i])
			continue
		}
		if i+2 >= len(text) {
			return "", fmt.Errorf("%w: cut escape in path %.60q", ErrInvalid, text)
		}
		hi, lo := strings.IndexByte(upperHex, text[i+1]), strings.IndexByte(upperHex, text[i+2])
		if hi < 0 || lo < 0 {
			return "", fmt.Errorf("%w: bad escape in path %.60q", ErrInvalid, text)
		}
		out = append(out, byte(hi<<4|lo))
		i += 2
	}
	return string(out), nil
}

// CheckPath reports why path can't be a path in a git tree that erwik writes.
// These rules are constants of the protocol; what a page may be named is
// narrower and decided where pages are saved.
func CheckPath(path string) error {
	switch {
	case path == "":
		return fmt.Errorf("%w: empty path", ErrInvalid)
	case len(path) > MaxPath:
		return fmt.Errorf("%w: path of %d bytes, at most %d", ErrTooLarge, len(path), MaxPath)
	case !utf8.ValidString(path):
		return fmt.Errorf("%w: path %.60q is not UTF-8", ErrInvalid, path)
	}
	for i := 0; i < len(path); i++ {
		if path[i] < 0x20 || path[i] == 0x7f {
			return fmt.Errorf("%w: control character in path %.60q", ErrInvalid, path)
		}
	}
	for rest := path; ; {
		segment, more, found := strings.Cut(rest, "/")
		switch {
		case segment == "" || segment == "." || segment == "..":
			return fmt.Errorf("%w: segment %q in path %.60q", ErrInvalid, segment, path)
		case strings.EqualFold(segment, ".git"):
			return fmt.Errorf("%w: segment %q in path %.60q is git's own", ErrInvalid, segment, path)
		}
		if !found {
			return nil
		}
		rest = more
	}
}
