package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// historySource is what is imported, and the same as a repository that real
// git can be asked about. With ERWIK_CORPUS it is the history of tldr-pages,
// otherwise one that is made up.
func historySource(t *testing.T) (source, repository string) {
	repository = filepath.Join(t.TempDir(), "r.git")
	if corpus := os.Getenv("ERWIK_CORPUS"); corpus != "" {
		source = filepath.Join(corpus, "tldr-pages.bundle")
		realGit(t, "", "", "clone", "-q", "--bare", "-b", "main", source, repository)
		realGit(t, repository, "", "commit-graph", "write", "--reachable", "--changed-paths")
		return source, repository
	}
	realGit(t, "", "", "init", "-q", "--bare", "-b", "main", repository)
	realGit(t, repository, madeUpHistory(1500), "fast-import", "--quiet")
	source = filepath.Join(t.TempDir(), "source.bundle")
	realGit(t, repository, "", "bundle", "create", "-q", source, "main")
	return source, repository
}

// realGit runs git, which is the oracle.
func realGit(t *testing.T, dir, input string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader(input)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git %s: %v: %s", strings.Join(args, " "), err, problems.String())
	}
	return string(out)
}

// madeUpHistory is a fast-import stream with branches, merges and renames.
func madeUpHistory(commits int) string {
	var b strings.Builder
	rng := rand.New(rand.NewPCG(8, 8))
	file := func() string {
		n := rng.IntN(300)
		return []string{fmt.Sprintf("d%d/p%d.md", n%7, n), fmt.Sprintf("p%d.md", n), fmt.Sprintf(".d/ö %d.md", n)}[n%3]
	}
	for i := 1; i <= commits; i++ {
		fmt.Fprintf(&b, "commit refs/heads/main\nmark :%d\nauthor Ann %d <ann@example.org> %d +0130\ncommitter Bob <bob@example.org> %d +0000\ndata 10\nsummary %02d\n",
			i, i%9, 1400000000+i*3600, 1400000000+i*3600, i%100)
		if i > 1 {
			fmt.Fprintf(&b, "from :%d\n", max(1, i-1-rng.IntN(3)))
		}
		if i > 10 && rng.IntN(12) == 0 || i > 3 && i%2 == 0 { // so that most of what was made is kept
			fmt.Fprintf(&b, "merge :%d\n", i-1-rng.IntN(min(3, i-1)))
		}
		for range 1 + rng.IntN(4) {
			text := strings.Repeat(fmt.Sprintf("line %d\n", rng.IntN(9)), 1+rng.IntN(30))
			fmt.Fprintf(&b, "M 100644 inline %q\ndata %d\n%s\n", file(), len(text), text)
		}
		if rng.IntN(9) == 0 {
			fmt.Fprintf(&b, "D %q\n", file())
		}
		b.WriteString("\n")
	}
	return b.String()
}

// gitHistories is, for each file, what `git log --full-history -- FILE` shows,
// found in one pass over the history.
func gitHistories(t *testing.T, repository string) map[string][]string {
	found := make(map[string][]string)
	for _, kind := range [][]string{{"--no-merges"}, {"--merges", "--diff-merges=combined"}} {
		args := append([]string{"log", "--format=%x01%H", "--name-only", "--no-renames", "-z"}, append(kind, "main")...)
		for entry := range strings.SplitSeq(realGit(t, repository, "", args...), "\x01") {
			if len(entry) < 40 {
				continue
			}
			for file := range strings.FieldsFuncSeq(entry[40:], func(r rune) bool { return r == 0 || r == '\n' }) {
				found[file] = append(found[file], entry[:40])
			}
		}
	}
	return found
}

// sources is the history of a page as a node shows it: the git commits that
// its revisions were made from.
func (n *node) sources(page string) (all []string) {
	n.t.Helper()
	segments := strings.Split(page, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	query := "?limit=1000"
	for {
		var list struct {
			Items []struct{ Source string }
			Next  *string
		}
		if err := n.get("history/"+strings.Join(segments, "/")+query, &list); err != nil {
			n.t.Fatal(err)
		}
		for _, item := range list.Items {
			all = append(all, item.Source)
		}
		if list.Next == nil {
			return all
		}
		query = "?limit=1000&cursor=" + url.QueryEscape(*list.Next)
	}
}

// pageOf is the name of the page that a file becomes.
func pageOf(file string) string {
	segments := strings.Split(strings.TrimSuffix(file, ".md"), "/")
	for i, s := range segments {
		if strings.HasPrefix(s, ".") {
			segments[i] = "%2E" + s[1:]
		}
	}
	return strings.Join(segments, "/")
}

// wantHistories compares the history of every page that is there with git's.
// A merge that only joins two sides is shown by the simplified full history
// alone; where a page has one, that is asked for.
func wantHistories(t *testing.T, n *node, repository string) {
	t.Helper()
	git := gitHistories(t, repository)
	pages, joined := 0, 0
	for file := range strings.SplitSeq(strings.TrimSuffix(realGit(t, repository, "", "ls-tree", "-r", "-z", "--name-only", "main"), "\x00"), "\x00") {
		if !strings.HasSuffix(file, ".md") {
			continue
		}
		pages++
		got, want := n.sources(pageOf(file)), slices.Clone(git[file])
		slices.Sort(got)
		slices.Sort(want)
		if slices.Equal(got, want) {
			continue
		}
		joined++
		want = strings.Fields(realGit(t, repository, "", "log", "--full-history", "--simplify-merges", "--format=%H", "main", "--", ":(literal)"+file))
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %d revisions, git has %d", file, len(got), len(want))
		}
	}
	if s := n.mustStatus(); s.Pages != pages {
		t.Errorf("%s has %d pages, git has %d files", n.name, s.Pages, pages)
	}
	if joined > pages/10 && os.Getenv("ERWIK_CORPUS") != "" {
		t.Errorf("%d of %d pages have revisions that git log --full-history does not show", joined, pages)
	}
	t.Logf("%d pages; the histories of %d have a merge that only joins", pages, joined)
}

// importing starts an import that is killed once the node has so many commits.
func (n *node) importUntil(source string, commits int) {
	n.t.Helper()
	cmd := exec.Command(erwik, "import", source, "--node", "http://"+n.address, "--data", n.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	eventually(n.t, "part of the import", func() error {
		if s, err := n.status(); err != nil || s.Commits < commits {
			return fmt.Errorf("%d commits, %v", s.Commits, err)
		}
		return nil
	})
	cmd.Process.Kill()
	cmd.Wait()
}

// TestImportHistory: a git history is imported. The importer is killed on the
// way, then the node, and the import repeated each time; the histories of all
// pages are git's, another repetition changes nothing, and neither does the
// copy to an empty node.
func TestImportHistory(t *testing.T) {
	source, repository := historySource(t)
	e1 := newNode(t, "e1").start().awaitReady()
	out, err := exec.Command(erwik, "import", source, "--dry-run", "--json").Output()
	var report struct{ Revisions, Pages, Commits int }
	if err == nil {
		err = json.Unmarshal(out, &report)
	}
	if err != nil || report.Revisions == 0 {
		t.Fatalf("dry run: %v: %s", err, out)
	}
	if s := e1.mustStatus(); s.Commits != 0 {
		t.Fatalf("a dry run made %d commits", s.Commits)
	}
	e1.importUntil(source, report.Revisions/5)
	e1.importUntil(source, report.Revisions/2)
	e1.kill()
	e1.start().awaitReady()
	text, err := run("import", source, "--node", "http://"+e1.address, "--data", e1.dir)
	if err != nil {
		t.Fatalf("import: %v: %s", err, text)
	}
	t.Log(text)
	before := e1.mustStatus()
	if before.Commits != report.Revisions || before.Pages != report.Pages {
		t.Errorf("%d revisions of %d pages, announced were %d of %d", before.Commits, before.Pages, report.Revisions, report.Pages)
	}
	wantHistories(t, e1, repository)
	if text, err := run("import", source, "--node", "http://"+e1.address, "--data", e1.dir); err != nil || e1.mustStatus().Digest != before.Digest {
		t.Errorf("another import changes something: %v: %s", err, text)
	}
	e2 := newNode(t, "e2", "--join", e1.address).start().awaitReady()
	awaitEqual(t, e1, e2)
	wantHistories(t, e2, repository)
	exported, tree := filepath.Join(t.TempDir(), "exported"), filepath.Join(t.TempDir(), "tree")
	if text, err := run("export", exported, "--node", "http://"+e2.address); err != nil {
		t.Fatalf("export: %v: %s", err, text)
	}
	realGit(t, "", "", "clone", "-q", "-b", "main", repository, tree)
	if out, err := exec.Command("diff", "-r", "-x", ".git", tree, exported).CombinedOutput(); err != nil {
		t.Errorf("the exported folder differs: %s", out)
	}
}
