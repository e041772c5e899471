package gitsource

import (
	"bytes"
	"context"
	"crypto/sha1"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// git runs real git, which is the oracle, and returns what it prints.
func git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	return gitIn(t, dir, "", args...)
}

func gitIn(t testing.TB, dir, input string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main", "-c", "core.quotePath=false"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "HOME="+dir,
		"GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=ann@example.org", "GIT_AUTHOR_DATE=1500000000 +0200",
		"GIT_COMMITTER_NAME=Bob", "GIT_COMMITTER_EMAIL=bob@example.org", "GIT_COMMITTER_DATE=1500000000 +0000")
	cmd.Stdin = strings.NewReader(input)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, problems.String())
	}
	return string(out)
}

// stream writes a git fast-import stream.
type stream struct {
	strings.Builder
	marks int
}

// commit adds a commit; changes are lines such as "D a.md", or pairs of "M
// 100644 a.md" and a text.
func (s *stream) commit(parents []int, message string, changes ...string) int {
	s.marks++
	fmt.Fprintf(s, "commit refs/heads/b%d\nmark :%d\nauthor Ann <ann@example.org> %d +0200\ncommitter Bob <bob@example.org> %d +0000\ndata %d\n%s\n",
		s.marks, s.marks, 1400000000+s.marks*60, 1400000000+s.marks*60, len(message), message)
	for i, p := range parents {
		fmt.Fprintf(s, "%s :%d\n", map[bool]string{true: "from", false: "merge"}[i == 0], p)
	}
	if len(parents) == 0 {
		s.WriteString("deleteall\n")
	}
	for i := 0; i < len(changes); i++ {
		mode, isWrite := strings.CutPrefix(changes[i], "M ")
		if !isWrite {
			s.WriteString(changes[i] + "\n")
			continue
		}
		mode, path, _ := strings.Cut(mode, " ")
		i++
		fmt.Fprintf(s, "M %s inline %q\ndata %d\n%s\n", mode, path, len(changes[i]), changes[i])
	}
	return s.marks
}

func write(path, text string) []string { return []string{"M 100644 " + path, text} }

// repository makes a bare repository of the stream; main is its last commit.
func (s *stream) repository(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "r.git")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	git(t, dir, "init", "-q", "--bare")
	fmt.Fprintf(s, "reset refs/heads/main\nfrom :%d\n\n", s.marks)
	gitIn(t, dir, s.String(), "-c", "fastimport.unpackLimit=0", "fast-import", "--quiet", "--force")
	return dir
}

func openPlan(t testing.TB, path, branch string) *Plan {
	t.Helper()
	s, err := Open(path, branch)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	p, err := s.Plan(context.Background(), func(string, int, int) {})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// revisions reads everything that a plan gives out.
func revisions(t testing.TB, p *Plan) (all []Revision) {
	t.Helper()
	err := p.Each(func(r Revision) error {
		r.Text = bytes.Clone(r.Text)
		all = append(all, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// sealPack writes the right checksum behind the pack that begins at an offset.
func sealPack(b []byte, at int64) bool {
	if int64(len(b)) < at+packHead+packTrailer {
		return false
	}
	pack := b[at:]
	sum := sha1.Sum(pack[:len(pack)-packTrailer])
	copy(pack[len(pack)-packTrailer:], sum[:])
	return true
}
