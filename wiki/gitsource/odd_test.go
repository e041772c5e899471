package gitsource

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// find returns the revisions of one page.
func find(all []Revision, name string) (found []Revision) {
	for _, r := range all {
		if string(r.Name) == name {
			found = append(found, r)
		}
	}
	return found
}

func TestOddNamesAndSkips(t *testing.T) {
	s := &stream{}
	var changes []string
	for _, path := range []string{"..md", ".x.md", "a/.hidden/b.md", "jc.json.md", "[[.md", "~.md", "!.md", "%.md", "%2Ex.md", "Ünï.md", "a b.md", "deep/er/c.md"} {
		changes = append(changes, write(path, "text of "+path)...)
	}
	for _, path := range []string{" lead.md", "-/x.md", "tail .md", "x.git.md", strings.Repeat("n", 210) + ".md"} {
		changes = append(changes, write(path, "no page")...)
	}
	changes = append(changes, write("U\u0308ber.md", "decomposed")...)
	changes = append(changes, write("\u00dcber.md", "composed")...) // sorts after the other one
	changes = append(changes, write("picture.png", "\x89PNG")...)
	changes = append(changes, write("README", "text")...)
	changes = append(changes, "M 120000 link.md", "a b.md")
	changes = append(changes, write("bin.md", "a\x00b")...)
	changes = append(changes, write("latin.md", "caf\xe9")...)
	changes = append(changes, write("large.md", strings.Repeat("x", 1<<20+1))...)
	a := s.commit(nil, "all", changes...)
	changes = append(write("bin.md", "now text"), write("latin.md", "café")...)
	b := s.commit([]int{a}, "mended", append(changes, "M 160000 sub.md", "")...)
	c := s.commit([]int{b}, "text, then none, then text", write("bin.md", "\xff")...)
	s.commit([]int{c}, "again", write("bin.md", "text again")...)
	text := strings.Replace(s.String(), "M 160000 inline \"sub.md\"\ndata 0\n\n", "M 160000 "+someHash+" sub.md\n", 1)
	s.Reset()
	s.WriteString(text)
	p := openPlan(t, s.repository(t), "")
	all := revisions(t, p)
	var names []string
	for _, r := range all {
		names = append(names, string(r.Name))
	}
	slices.Sort(names)
	want := []string{"!", "%", "%252Ex", "%2E", "%2Ex", "[[", "a b", "a/%2Ehidden/b", "bin", "bin", "deep/er/c", "jc.json", "latin", "~", "Ünï", "Über"}
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("got  %q\nwant %q", names, want)
	}
	bin := find(all, "bin")
	if string(bin[1].Text) != "text again" || !slices.Equal(bin[1].Parents, []string{bin[0].Source}) {
		t.Errorf("what follows a revision that is no text: %+v", bin[1])
	}
	counts := make(map[string]string)
	for _, skip := range p.Report().Skipped {
		counts[skip.Reason] = fmt.Sprint(skip.Files, " ", skip.Changes, " ", len(skip.Examples))
	}
	wantCounts := map[string]string{skipOther: "2 2 2", skipName: "5 5 5", skipTwice: "1 1 1", skipLink: "1 1 1", skipModule: "1 1 1", skipText: "2 3 2", skipLarge: "1 1 1"}
	if fmt.Sprint(counts) != fmt.Sprint(wantCounts) {
		t.Errorf("left out %v\nwant     %v", counts, wantCounts)
	}
}

func TestRenames(t *testing.T) {
	long := strings.Repeat("a line that stays\n", 20)
	s := &stream{}
	a := s.commit(nil, "begin", slices.Concat(write("one.md", "first\n"), write("x/keep.md", "second\n"), write("y.md", "second\n"), write("old.md", long+"end\n"), write("other.md", "nothing in common\n"))...)
	b := s.commit([]int{a}, "equal texts", slices.Concat([]string{"D one.md", "D x/keep.md", "D y.md"}, write("uno.md", "first\n"), write("z/keep.md", "second\n"), write("zz.md", "second\n"))...)
	c := s.commit([]int{b}, "most of it", slices.Concat([]string{"D old.md", "D other.md"}, write("new.md", long+"another end\n"), write("apart.md", "quite different\n"))...)
	s.commit([]int{c}, "back", slices.Concat([]string{"D uno.md"}, write("one.md", "first\n"))...)
	dir := s.repository(t)
	p := openPlan(t, dir, "")
	all := revisions(t, p)
	commit := func(n int) string { return strings.TrimSpace(git(t, dir, "rev-parse", fmt.Sprintf("b%d", n))) }
	for _, c := range []struct{ to, from, at string }{
		{"uno", "one", commit(a)}, {"z/keep", "x/keep", commit(a)}, {"zz", "y", commit(a)}, {"new", "old", commit(a)}, {"apart", "", ""},
	} {
		r := find(all, c.to)[0]
		switch {
		case c.from == "" && r.From != nil:
			t.Errorf("%s comes from %v", c.to, r.From)
		case c.from != "" && (r.From == nil || string(r.From.Name) != c.from || r.From.Source != c.at):
			t.Errorf("%s comes from %v, want %s at %s", c.to, r.From, c.from, c.at)
		}
	}
	one := find(all, "one")
	if len(one) != 3 || !one[1].Delete || one[2].From == nil || one[2].From.Name != "uno" || !slices.Equal(one[2].Parents, []string{one[1].Source}) {
		t.Errorf("a page that went and came back: %+v", one)
	}
	if r := p.Report(); r.Renames != 5 || r.Deletes != 6 {
		t.Errorf("%+v", r)
	}
}

func TestAuthorsAndMessages(t *testing.T) {
	for _, c := range []struct{ raw, want, when string }{
		{"Ann <ann@example.org> 1500000000 +0200", "Ann <ann@example.org>", "2017-07-14T04:40:00+02:00"},
		{"Ann <ann@example.org> 1500000000 -0930", "Ann <ann@example.org>", "2017-07-13T17:10:00-09:30"},
		{" <ann@example.org> 1 +0000", "ann@example.org <ann@example.org>", "1970-01-01T00:00:01Z"},
		{" <> -5 +0000", "unknown <>", "1970-01-01T00:00:01Z"},
		{"... <> 1500000000 +9999", "unknown <>", "2017-07-14T02:40:00Z"},
		{"caf\xe9\x07 <x> 99999999999999 +0000", "café <x>", "9998-12-31T23:59:59Z"},
		{strings.Repeat("é", 150) + " <x> 1500000000", strings.Repeat("é", 100) + " <x>", "2017-07-14T02:40:00Z"},
	} {
		name, email, at := parseIdent([]byte(c.raw))
		if got := cleanAuthor(decode([]byte(name), ""), decode([]byte(email), "")); got != c.want {
			t.Errorf("%q: author %q, want %q", c.raw, got, c.want)
		}
		if got := at.Format(time.RFC3339); got != c.when {
			t.Errorf("%q: time %s, want %s", c.raw, got, c.when)
		}
	}
	if got := decode([]byte("\xa4"), "ISO-8859-15"); got != "€" {
		t.Errorf("ISO-8859-15: %q", got)
	}
	if got := cleanMessage("one\r\n\x07two\n\n"); got != "one\ntwo" {
		t.Errorf("message %q", got)
	}
	if got := cleanMessage(strings.Repeat("é", 20000)); len(got) != 16<<10 {
		t.Errorf("message of %d bytes", len(got))
	}
}

func TestWhatCannotBeOpened(t *testing.T) {
	dir := randomHistory(newRandom(1), 20).repository(t)
	empty := t.TempDir()
	git(t, empty, "init", "-q", "none")
	git(t, empty, "clone", "-q", "--depth", "2", "file://"+dir, "shallow")
	git(t, empty, "init", "-q", "--bare", "--object-format=sha256", "new")
	file := filepath.Join(empty, "notes.txt")
	if err := os.WriteFile(file, []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, branch, fault string }{
		{filepath.Join(empty, "absent"), "", "no such file"},
		{file, "", "neither"},
		{empty, "", "neither"},
		{filepath.Join(empty, "none"), "", "no HEAD, no main"},
		{filepath.Join(empty, "new"), "", "sha256"},
		{dir, "nosuch", `no branch "nosuch". Choose one by --branch: HEAD, b1, b10`},
	} {
		if _, err := Open(c.path, c.branch); err == nil || !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s %s: %v, want %q", c.path, c.branch, err, c.fault)
		}
	}
	p := openPlan(t, filepath.Join(empty, "shallow"), "")
	if r := p.Report(); !r.Shallow || r.Commits > 6 {
		t.Errorf("a shallow clone: %+v", r)
	}
	git(t, dir, "tag", "-a", "-m", "tag", "v1", "b3")
	if got, want := openPlan(t, dir, "v1").Report().Tip, strings.TrimSpace(git(t, dir, "rev-parse", "b3")); got != want {
		t.Errorf("a tag: %s, want %s", got, want)
	}
}

func TestMissingObject(t *testing.T) {
	s := &stream{}
	s.commit(nil, "one", write("a.md", "text")...)
	dir := s.repository(t)
	packs, _ := filepath.Glob(filepath.Join(dir, "objects/pack/*.pack"))
	for _, p := range packs {
		content, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		os.Remove(p)
		gitIn(t, dir, string(content), "unpack-objects", "-q")
	}
	blob := strings.TrimSpace(git(t, dir, "rev-parse", "main:a.md"))
	if err := os.Remove(filepath.Join(dir, "objects", blob[:2], blob[2:])); err != nil {
		t.Fatal(err)
	}
	if _, err := readAll(dir); !errors.Is(err, errNoObject) || !strings.Contains(err.Error(), blob) {
		t.Errorf("got %v", err)
	}
}

func TestPlanEndsWithItsContext(t *testing.T) {
	s, err := Open(randomHistory(newRandom(2), 20).repository(t), "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Plan(ctx, func(string, int, int) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
