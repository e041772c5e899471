package storage

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// testKey is a key that everybody knows.
func testKey(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

func keyID(k ed25519.PrivateKey) (id NodeID) {
	copy(id[:], k.Public().(ed25519.PublicKey))
	return id
}

// goldenCommits are the commits whose bytes are in testdata.
func goldenCommits() map[string]Record {
	key := testKey(1)
	log := LogID{Node: keyID(key), Nonce: 0x0123456789abcdef}
	base := func() *Commit {
		return &Commit{
			Kind: KindPage, Generation: 1, Log: log, Sequence: 1, Path: "docs/Install.md",
			Author:    Ident{Name: "Ann", Email: "ann@example.org", Time: 1763690000, Zone: 60},
			Committer: Ident{Name: "e1", Email: "e1@host", Time: 1763690001},
			Message:   "add arm64\n",
		}
	}
	first := base()
	edit := base()
	edit.Generation, edit.Sequence = 8, 42
	edit.Previous = Hash{1: 1}
	edit.Parents = []Hash{{2: 1}, {1: 9}}
	edit.Path = "große Wörter/100 %/[[.md"
	edit.Author = Ident{Name: "anonymous", Time: 0, Zone: -210}
	edit.From = &Source{Path: "alt/[.md", Commit: Hash{7}}
	edit.Import = strings.Repeat("ab", 20)
	edit.Message = ""
	gone := base()
	gone.Kind, gone.Sequence, gone.Previous = KindDelete, 2, Hash{3}
	gone.Parents, gone.Generation = []Hash{{9}}, 2
	admit := base()
	admit.Kind, admit.Path = KindAdmit, SignerPrefix+keyID(testKey(2)).String()
	ban := base()
	ban.Kind, ban.Path, ban.Message = KindBan, BanPrefix+keyID(testKey(2)).String(), "ban\n"
	all := map[string]Record{
		"page":   {first, []byte("# Install\n")},
		"edit":   {edit, []byte("ä\r\nno end of line")},
		"delete": {gone, nil},
		"admit":  {admit, []byte("erwik signer 1\nname e2\n")},
		"ban":    {ban, []byte("erwik ban 1\nname \"e2\"\nlog 0000000000000007 12 " + strings.Repeat("0a", 20) + "\nlog fedcba9876543210 3 " + strings.Repeat("b0", 20) + "\n")},
	}
	for _, r := range all {
		r.finish(r.Content)
		r.sign(key, &scratch{})
	}
	return all
}

// golden compares got with testdata/name; ERWIK_GOLDEN=write makes the file anew.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if os.Getenv("ERWIK_GOLDEN") == "write" {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: the format has changed\n got %q\nwant %q", name, got, want)
	}
}

func TestGoldenBytes(t *testing.T) {
	for name, r := range goldenCommits() {
		golden(t, "commit-"+name+".txt", r.Encode())
		golden(t, "entry-"+name+".hex", []byte(hex.EncodeToString(r.AppendEntry(nil))+"\n"))
	}
}

func TestCommitRoundTrips(t *testing.T) {
	for name, r := range goldenCommits() {
		if err := r.Verify(r.Content); err != nil {
			t.Errorf("%s: verify: %v", name, err)
		}
		parsed, err := Parse(r.Encode())
		if err != nil {
			t.Fatalf("%s: parse: %v", name, err)
		}
		if parsed.Hash != r.Hash || !bytes.Equal(parsed.Encode(), r.Encode()) {
			t.Errorf("%s: re-encoding gives other bytes", name)
		}
		entry, err := ParseEntry(r.AppendEntry(nil))
		if err != nil {
			t.Fatalf("%s: parse entry: %v", name, err)
		}
		if err := entry.rebuild(r.Content, SignedBy, &scratch{}); err != nil {
			t.Fatalf("%s: rebuild: %v", name, err)
		}
		if !bytes.Equal(entry.Encode(), r.Encode()) || entry.Hash != r.Hash {
			t.Errorf("%s: the rebuilt commit is another\n got %s\nwant %s", name, entry.Encode(), r.Encode())
		}
	}
}

// TestObjectsAgreeWithGoGit holds our object hashes against go-git's.
func TestObjectsAgreeWithGoGit(t *testing.T) {
	kinds := map[string]plumbing.ObjectType{"blob": plumbing.BlobObject, "tree": plumbing.TreeObject, "commit": plumbing.CommitObject}
	for name, r := range goldenCommits() {
		for _, o := range r.Objects(r.Content) {
			if got := plumbing.ComputeHash(kinds[o.Kind], o.Body); got != plumbing.Hash(o.Hash) {
				t.Errorf("%s: %s is %s, go-git says %s", name, o.Kind, o.Hash, got)
			}
		}
		var mem plumbing.MemoryObject
		mem.SetType(plumbing.CommitObject)
		mem.Write(r.Encode())
		var c object.Commit
		if err := c.Decode(&mem); err != nil {
			t.Fatalf("%s: go-git: %v", name, err)
		}
		if c.TreeHash != plumbing.Hash(r.Tree) || len(c.ParentHashes) != len(r.Parents) || c.Message != r.Message || c.Author.Name != r.Author.Name {
			t.Errorf("%s: go-git reads other fields: %+v", name, c)
		}
	}
}

func TestTamperedCommitsAreRefused(t *testing.T) {
	good := goldenCommits()["edit"]
	text := good.Encode()
	for i := range text {
		bad := bytes.Clone(text)
		bad[i] ^= 1
		c, err := Parse(bad)
		if err == nil {
			err = c.Verify(good.Content)
		}
		if err == nil {
			t.Fatalf("byte %d of the git form changed from %q to %q and nobody noticed", i, text[i], bad[i])
		}
	}
	entry := good.AppendEntry(nil)
	for i := range entry {
		bad := bytes.Clone(entry)
		bad[i] ^= 1
		c, err := ParseEntry(bad)
		if err == nil {
			err = c.rebuild(good.Content, SignedBy, &scratch{})
		}
		if err == nil {
			t.Fatalf("byte %d of the log entry changed and nobody noticed", i)
		}
	}
	if c, _ := ParseEntry(entry); c.rebuild([]byte("other"), SignedBy, &scratch{}) == nil {
		t.Error("other content passed")
	}
	for cut := range entry {
		if _, err := ParseEntry(entry[:cut]); !errors.Is(err, ErrInvalid) {
			t.Fatalf("entry cut at %d: %v", cut, err)
		}
	}
}

func TestHostileLengthsAreRefused(t *testing.T) {
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0x0f} // 4 GiB - 1
	for _, b := range [][]byte{
		append([]byte{1, 0}, huge...),
		append(append([]byte{1, 0, 4}, "page\x01"...), append(make([]byte, 40), append([]byte{1}, append(make([]byte, 20), huge...)...)...)...),
		make([]byte, MaxRecord+1),
	} {
		if _, err := ParseEntry(b); err == nil {
			t.Errorf("entry of %d bytes with a false length was accepted", len(b))
		}
	}
	if _, err := Parse(make([]byte, MaxCommit+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("oversized commit: %v", err)
	}
}

func TestPathEscapes(t *testing.T) {
	for path, want := range map[string]string{
		"docs/Install.md": "docs/Install.md",
		"%.md":            "%25.md",
		"[[ x~.md":        "%5B%5B%20x~.md",
		"ä.md":            "%C3%A4.md",
	} {
		if got := string(appendEscaped(nil, path)); got != want {
			t.Errorf("escape %q: got %q, want %q", path, got, want)
		}
		if back, err := unescape(want); err != nil || back != path {
			t.Errorf("unescape %q: got %q, %v", want, back, err)
		}
	}
	for _, bad := range []string{"", "/", "a//b", "../x", "a/./b", ".git/x", "a/.GIT", "a\nb", "a\x00", "\xff", strings.Repeat("x", MaxPath+1)} {
		if CheckPath(bad) == nil {
			t.Errorf("path %.20q was accepted", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, r := range goldenCommits() {
		f.Add(r.Encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse(b)
		if err == nil && !bytes.Equal(c.Encode(), b) {
			t.Errorf("accepted bytes do not re-encode to themselves: %q", b)
		}
	})
}

func FuzzParseEntry(f *testing.F) {
	for _, r := range goldenCommits() {
		f.Add(r.AppendEntry(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseEntry(b)
		if err == nil && !bytes.Equal(c.AppendEntry(nil), b) {
			t.Errorf("accepted entry does not re-encode to itself: %x", b)
		}
	})
}
