package gitsource

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

const someHash = "0123456789012345678901234567890123456789"

func TestBundleHeaders(t *testing.T) {
	ref := someHash + " refs/heads/main\n"
	for _, c := range []struct{ name, text, fault string }{
		{"version 2", "# v2 git bundle\n" + ref + "\n", ""},
		{"version 3", "# v3 git bundle\n@object-format=sha1\n" + ref + "\n", ""},
		{"several", "# v2 git bundle\n" + ref + someHash + " HEAD\n\n", ""},
		{"other version", "# v4 git bundle\n" + ref + "\n", "begins with"},
		{"SHA-256", "# v3 git bundle\n@object-format=sha256\n" + ref + "\n", "sha256"},
		{"filter", "# v3 git bundle\n@filter=blob:none\n" + ref + "\n", "filter"},
		{"unknown demand", "# v3 git bundle\n@magic\n" + ref + "\n", "magic"},
		{"demand in version 2", "# v2 git bundle\n@object-format=sha1\n" + ref + "\n", "the line"},
		{"prerequisite", "# v2 git bundle\n-" + someHash + " some commit\n" + ref + "\n", "whole history"},
		{"no branch", "# v2 git bundle\n\n", "names no branch"},
		{"no hash", "# v2 git bundle\nrefs/heads/main\n\n", "the line"},
		{"cut short", "# v2 git bundle\n" + ref, "cut short"},
		{"long line", "# v2 git bundle\n" + someHash + " " + strings.Repeat("x", maxBundleLine) + "\n\n", "a line"},
		{"many", "# v2 git bundle\n" + strings.Repeat(ref, maxBundleRefs+1) + "\n", "references"},
	} {
		h, err := readBundle(bufio.NewReader(strings.NewReader(c.text + "PACK")))
		switch {
		case c.fault == "" && (err != nil || h.size != int64(len(c.text)) || h.refs["refs/heads/main"].String() != someHash):
			t.Errorf("%s: %+v, %v", c.name, h, err)
		case c.fault != "" && (!errors.Is(err, ErrBundle) || !strings.Contains(err.Error(), c.fault)):
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// bundle makes a small bundle.
func bundle(t testing.TB) []byte {
	s := &stream{}
	text := strings.Repeat("a line of some length\n", 60)
	a := s.commit(nil, "one", append(write("a.md", text+"1\n"), write("b.md", "b\n")...)...)
	b := s.commit([]int{a}, "two", write("a.md", text+"2\n")...)
	s.commit([]int{b}, "three", write("a.md", "0\n"+text+"2\n")...)
	dir := s.repository(t)
	git(t, dir, "repack", "-q", "-a", "-d", "-f")
	file := filepath.Join(dir, "b.bundle")
	git(t, dir, "bundle", "create", "-q", file, "main")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// readAll plans a bundle and reads all of it.
func readAll(file string) (int, error) {
	s, err := Open(file, "")
	if err != nil {
		return 0, err
	}
	defer s.Close()
	p, err := s.Plan(context.Background(), func(string, int, int) {})
	if err != nil {
		return 0, err
	}
	n := 0
	return n, p.Each(func(Revision) error { n++; return nil })
}

// TestDamagedBundle: a bundle that is cut at any byte, or in which any byte is
// another one, is refused.
func TestDamagedBundle(t *testing.T) {
	content := bundle(t)
	file := filepath.Join(t.TempDir(), "damaged")
	try := func(what string, at int, damaged []byte) {
		if err := os.WriteFile(file, damaged, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := readAll(file); err == nil {
			t.Errorf("%s %d: no error", what, at)
		}
	}
	for at := range content {
		try("cut at", at, content[:at])
		changed := bytes.Clone(content)
		changed[at] ^= 0x10
		if name := bytes.Index(content, []byte("refs/heads/main")); at < name || at >= name+len("refs/heads/main") {
			try("changed", at, changed)
		}
	}
	try("longer", len(content), append(bytes.Clone(content), 0))
}

// FuzzBundle: no input makes the reader panic or take much memory.
func FuzzBundle(f *testing.F) {
	content := bundle(f)
	f.Add(content)
	f.Add([]byte("# v3 git bundle\n@object-format=sha1\n" + someHash + " HEAD\n\nPACK\x00\x00\x00\x02\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		file := filepath.Join(t.TempDir(), "fuzzed")
		if err := os.WriteFile(file, b, 0o644); err != nil {
			t.Fatal(err)
		}
		readAll(file)
		if h, err := readBundle(bufio.NewReader(bytes.NewReader(b))); err == nil && sealPack(b, h.size) {
			if err := os.WriteFile(file, b, 0o644); err != nil {
				t.Fatal(err)
			}
			readAll(file) // beyond the checksum
		}
	})
}

// FuzzDelta holds the application of deltas against go-git's.
func FuzzDelta(f *testing.F) {
	f.Add([]byte("hello hello"), []byte{11, 6, 0x90, 5, 1, '!'})
	f.Fuzz(func(t *testing.T, base, delta []byte) {
		ours, err := applyDelta(nil, base, delta)
		theirs, theirErr := packfile.PatchDelta(base, delta)
		if err == nil && theirErr == nil && !bytes.Equal(ours, theirs) {
			t.Errorf("%q, go-git %q", ours, theirs)
		}
		if (err == nil) != (theirErr == nil) && len(base) > 0 && len(delta) >= 2 && len(ours) > 0 {
			t.Errorf("%v, go-git %v", err, theirErr)
		}
	})
}

// TestDeltasAgreeWithGoGit: deltas that go-git makes give what it gives.
func TestDeltasAgreeWithGoGit(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	for range 300 {
		base := make([]byte, 1+rng.IntN(100000))
		for i := range base {
			base[i] = byte(rng.IntN(256))
		}
		target := bytes.Clone(base)
		for range rng.IntN(10) {
			at := rng.IntN(len(target))
			target = append(target[:at:at], append([]byte("something new"), target[at:]...)...)
		}
		got, err := applyDelta(nil, base, packfile.DiffDelta(base, target))
		if err != nil || !bytes.Equal(got, target) {
			t.Fatalf("%d bytes, %v", len(base), err)
		}
	}
}
