package storage

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// git runs real git in repo and returns what it printed.
func git(t *testing.T, repo string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-C", repo}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "HOME="+repo)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func mustGit(t *testing.T, repo string, args ...string) string {
	t.Helper()
	out, err := git(t, repo, args...)
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// exportGit writes objects into a bare repository, loose.
func exportGit(t *testing.T, repo string, objects []Object) {
	t.Helper()
	kinds := map[string]plumbing.ObjectType{"blob": plumbing.BlobObject, "tree": plumbing.TreeObject, "commit": plumbing.CommitObject}
	to := filesystem.NewStorage(osfs.New(repo), cache.NewObjectLRUDefault())
	for _, o := range objects {
		m := to.NewEncodedObject()
		m.SetType(kinds[o.Kind])
		w, err := m.Writer()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(o.Body); err != nil {
			t.Fatal(err)
		}
		w.Close()
		h, err := to.SetEncodedObject(m)
		if err != nil || h != plumbing.Hash(o.Hash) {
			t.Fatalf("%s %s is written as %s: %v", o.Kind, o.Hash, h, err)
		}
	}
}

// TestRealGitAcceptsEveryCommit exports every commit of a store with all kinds,
// merges and odd names and lets real git judge: fsck --strict, verify-commit,
// the same bytes back, and one changed byte refused.
func TestRealGitAcceptsEveryCommit(t *testing.T) {
	s := openTest(t, vfs.NewMem(), "e1")
	a := mustSave(t, s, page("docs/Install.md", "one\n"))[0]
	b := mustSave(t, s, page("docs/Install.md", "two"))[0]
	m := page("docs/Install.md", "both\r\n", a.Hash, b.Hash)
	m.Author, m.Message = Ident{Name: "Jürgen Ñ", Email: "j@example.org", Time: 1, Zone: 345}, "merge\n\nwith a body\n"
	merged := mustSave(t, s, m)[0]
	gone := Draft{Kind: KindDelete, Path: "docs/Install.md", Parents: []Hash{merged.Hash}, Author: Ident{Name: "anonymous"}}
	moved := page("[[/%/100 ~!.md", "moved")
	moved.From = &Source{Path: "docs/Install.md", Commit: merged.Hash}
	moved.Import = strings.Repeat("c0ffee42", 5)
	mustSave(t, s, gone, moved, page("größe/日本.md", ""), upload(t, s, "net.png", "\x00\x01\x02"))
	if err := s.Admit(t.Context(), keyID(testKey(9)), "e9"); err != nil {
		t.Fatal(err)
	}

	repo := t.TempDir()
	mustGit(t, repo, "init", "--bare", "--quiet", "-b", "c1", ".")
	var commits []Record
	for _, r := range records(t, s, nil) {
		full, err := s.Record(r.Hash)
		if err != nil {
			t.Fatal(err)
		}
		commits = append(commits, full)
		exportGit(t, repo, full.Objects(full.Content))
		mustGit(t, repo, "update-ref", fmt.Sprintf("refs/heads/c%d", len(commits)), full.Hash.String())
	}
	if out := mustGit(t, repo, "fsck", "--strict", "--full", "--no-dangling"); strings.TrimSpace(out) != "" {
		t.Errorf("git fsck --strict: %s", out)
	}
	id := s.Node()
	blob := appendString(nil, "ssh-ed25519")
	blob = append(binary.BigEndian.AppendUint32(blob, 32), id[:]...)
	allowed := filepath.Join(repo, "allowed_signers")
	line := "e1@host ssh-ed25519 " + base64.StdEncoding.EncodeToString(blob) + "\n"
	if err := os.WriteFile(allowed, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	mustGit(t, repo, "config", "gpg.ssh.allowedSignersFile", allowed)
	for _, c := range commits {
		out := mustGit(t, repo, "verify-commit", "-v", c.Hash.String())
		if !strings.Contains(out, `Good "git" signature for e1@host with ED25519 key`) {
			t.Errorf("git verify-commit %s: %s", c.Hash, out)
		}
		if got := mustGit(t, repo, "cat-file", "commit", c.Hash.String()); got != string(c.Encode()) {
			t.Errorf("git has other bytes of %s", c.Hash)
		}
	}
	// One byte of the message changed: git must not verify it.
	forged := strings.Replace(string(commits[0].Encode()), "committer e1", "committer e2", 1)
	h := hashObject("commit", []byte(forged))
	exportGit(t, repo, []Object{{"commit", h, []byte(forged)}})
	if out, err := git(t, repo, "verify-commit", h.String()); err == nil {
		t.Errorf("git verifies a forged commit: %s", out)
	}
	t.Logf("%d commits verified by %s", len(commits), strings.TrimSpace(mustGit(t, repo, "--version")))
}
