package gitsource

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// The limits of a bundle's header.
const (
	maxBundleLine = 4 << 10 // bytes
	maxBundleRefs = 1 << 16 // references and prerequisites together
)

// ErrBundle says why a bundle can't be read.
var ErrBundle = errors.New("not a git bundle that can be imported")

// bundleHeader is what stands before the pack.
type bundleHeader struct {
	version int
	refs    map[string]plumbing.Hash
	size    int64 // of the header in bytes: there the pack begins
}

const (
	bundleV2 = "# v2 git bundle\n"
	bundleV3 = "# v3 git bundle\n"
)

// IsBundle reports whether a file that begins so is a bundle.
func IsBundle(start []byte) bool {
	return bytes.HasPrefix(start, []byte(bundleV2)) || bytes.HasPrefix(start, []byte(bundleV3))
}

// readBundle reads the header of a bundle. A bundle that builds on commits
// outside it, that was filtered, or whose names are not SHA-1 is refused.
func readBundle(r *bufio.Reader) (*bundleHeader, error) {
	h := &bundleHeader{refs: make(map[string]plumbing.Hash)}
	line := func() (string, error) {
		var b []byte
		for {
			part, err := r.ReadSlice('\n')
			if len(b)+len(part) > maxBundleLine {
				return "", fmt.Errorf("%w: a line of its header is over %d bytes", ErrBundle, maxBundleLine)
			}
			b = append(b, part...)
			h.size += int64(len(part))
			switch {
			case errors.Is(err, bufio.ErrBufferFull):
				continue
			case errors.Is(err, io.EOF):
				return "", fmt.Errorf("%w: its header is cut short", ErrBundle)
			case err != nil:
				return "", fmt.Errorf("read bundle: %w", err)
			}
			return string(b), nil
		}
	}
	first, err := line()
	if err != nil {
		return nil, err
	}
	switch first {
	case bundleV2:
		h.version = 2
	case bundleV3:
		h.version = 3
	default:
		return nil, fmt.Errorf("%w: it begins with %.40q", ErrBundle, first)
	}
	needs, refs := 0, 0
	var firstNeed string
	for {
		l, err := line()
		if err != nil {
			return nil, err
		}
		l = strings.TrimSuffix(l, "\n")
		switch {
		case l == "":
			return h, h.complete(needs, firstNeed)
		case h.version == 3 && strings.HasPrefix(l, "@") && needs+refs == 0:
			if err := checkCapability(l[1:]); err != nil {
				return nil, err
			}
			continue
		case strings.HasPrefix(l, "-"):
			if needs++; firstNeed == "" {
				firstNeed, _, _ = strings.Cut(l[1:], " ")
			}
		default:
			hash, name, ok := strings.Cut(l, " ")
			if !ok || !plumbing.IsHash(hash) || len(hash) != 40 || name == "" {
				return nil, fmt.Errorf("%w: its header has the line %.80q", ErrBundle, l)
			}
			h.refs[name] = plumbing.NewHash(hash)
			refs++
		}
		if needs+refs > maxBundleRefs {
			return nil, fmt.Errorf("%w: it has over %d references", ErrBundle, maxBundleRefs)
		}
	}
}

func (h *bundleHeader) complete(needs int, first string) error {
	if needs > 0 {
		return fmt.Errorf("%w: it builds on %d commits that are not in it (%.40s, …). Make one with the whole history: git bundle create FILE --all", ErrBundle, needs, first)
	}
	if len(h.refs) == 0 {
		return fmt.Errorf("%w: it names no branch", ErrBundle)
	}
	return nil
}

func checkCapability(text string) error {
	switch name, value, _ := strings.Cut(text, "="); name {
	case "object-format":
		if value == "sha1" {
			return nil
		}
		return fmt.Errorf("%w: its commits are named by %.20s; only SHA-1 can be read", ErrBundle, value)
	case "filter":
		return fmt.Errorf("%w: it was made with a filter (%.40s), so files are missing. Make one without", ErrBundle, value)
	default:
		return fmt.Errorf("%w: it demands %.40q", ErrBundle, text)
	}
}
