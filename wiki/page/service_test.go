package page_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki/page"
)

// hooked is a store that can be made to refuse saves.
type hooked struct {
	*storage.Store
	before func(drafts []storage.Draft) error
}

func (s *hooked) Save(ctx context.Context, drafts ...storage.Draft) ([]*storage.Commit, error) {
	if s.before != nil {
		if err := s.before(drafts); err != nil {
			return nil, err
		}
	}
	return s.Store.Save(ctx, drafts...)
}

func newService(t *testing.T) (*page.Service, *hooked) {
	t.Helper()
	store, err := storage.Open(storage.Config{Dir: "data", FS: vfs.NewMem(), Name: "e1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	h := &hooked{Store: store}
	return page.NewService(page.Config{Store: h}), h
}

func save(t *testing.T, s *page.Service, name page.Name, text string) *storage.Commit {
	t.Helper()
	saved, err := s.Save(t.Context(), page.Edit{Name: name, Text: []byte(text), OnTop: true})
	if err != nil {
		t.Fatal(err)
	}
	return saved.Commit
}

func text(t *testing.T, s *page.Service, name page.Name) string {
	t.Helper()
	p, err := s.Page(name)
	if err != nil {
		t.Fatal(err)
	}
	if p.Conflict || !p.Live {
		t.Fatalf("%s: conflict %v, live %v", name, p.Conflict, p.Live)
	}
	return string(p.Text)
}

// TestHeadsMoveUnderASave: somebody saves between the look at the heads and
// the save.
func TestHeadsMoveUnderASave(t *testing.T) {
	s, store := newService(t)
	base := save(t, s, "P", "1\n2\n3\n")
	rivals, inside := 0, false
	store.before = func([]storage.Draft) error {
		if rivals < 3 && !inside {
			rivals, inside = rivals+1, true
			save(t, s, "P", fmt.Sprintf("1\n2\nthree %d\n", rivals))
			inside = false
		}
		return nil
	}
	saved, err := s.Save(t.Context(), page.Edit{Name: "P", Text: []byte("one\n2\n3\n"), Base: []storage.Hash{base.Hash}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := text(t, s, "P"), "one\n2\nthree 3\n"; got != want || !saved.Merged {
		t.Errorf("text %q, merged %v, want %q merged", got, saved.Merged, want)
	}
}

func TestAPageEditedForEverIsBusy(t *testing.T) {
	s, store := newService(t)
	tries := 0
	store.before = func([]storage.Draft) error { tries++; return storage.ErrHeadsMoved }
	_, err := s.Save(t.Context(), page.Edit{Name: "P", Text: []byte("x")})
	if !errors.Is(err, page.ErrBusy) || tries > 5000 {
		t.Errorf("after %d tries: %v, want ErrBusy", tries, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	store.before = func([]storage.Draft) error { cancel(); return storage.ErrHeadsMoved }
	if _, err = s.Save(ctx, page.Edit{Name: "P", Text: []byte("x")}); !errors.Is(err, context.Canceled) {
		t.Errorf("a client that is gone: %v", err)
	}
}

// TestImportMeetsAnEdit: a page is saved while its import waits in a batch.
func TestImportMeetsAnEdit(t *testing.T) {
	s, _ := newService(t)
	im := s.NewImporter()
	for _, name := range []page.Name{"P", "Q"} {
		if err := im.Add(t.Context(), 1, page.Record{Name: name, Text: []byte("imported\n")}); err != nil {
			t.Fatal(err)
		}
	}
	edit := save(t, s, "P", "edited\n")
	if err := im.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if im.Tally.Done != 2 {
		t.Errorf("tally %+v, want 2 done", im.Tally)
	}
	if got := text(t, s, "P"); got != "imported\n" {
		t.Errorf("text %q", got)
	}
	revisions, err := s.History("P", 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	if len(revisions) != 2 || len(revisions[0].Parents) != 1 || revisions[0].Parents[0] != edit.Hash {
		t.Errorf("history %v, want the import on top of the edit", revisions)
	}
}

// TestOneBadRecordFailsAlone: the store refuses a whole batch for one draft.
func TestOneBadRecordFailsAlone(t *testing.T) {
	s, store := newService(t)
	store.before = func(drafts []storage.Draft) error {
		for _, d := range drafts {
			if string(d.Content) == "bad" {
				return storage.ErrInvalid
			}
		}
		return nil
	}
	source := func(n int) string { return fmt.Sprintf("%040x", n) }
	im := s.NewImporter()
	for i, r := range []page.Record{
		{Name: "A", Text: []byte("one"), Source: source(1)},
		{Name: "A", Text: []byte("two"), Source: source(2), Parents: []string{source(1)}},
		{Name: "B", Text: []byte("bad"), Source: source(3)},
		{Name: "B", Text: []byte("child of bad"), Source: source(4), Parents: []string{source(3)}},
		{Name: "C", Text: []byte("fine")},
	} {
		if err := im.Add(t.Context(), i+1, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := im.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if im.Tally.Done != 3 || im.Tally.Failed != 2 {
		t.Errorf("tally %+v, want 3 done, 2 failed", im.Tally)
	}
	if failures := im.TakeFailures(); len(failures) != 2 || failures[0].Line != 3 || failures[1].Line != 4 {
		t.Errorf("failures %v, want lines 3 and 4", failures)
	}
	if got := text(t, s, "A"); got != "two" {
		t.Errorf("A is %q", got)
	}
}

func TestImportStopsWhereNothingCanBeSaved(t *testing.T) {
	s, store := newService(t)
	store.before = func([]storage.Draft) error { return storage.ErrDiskFull }
	im := s.NewImporter()
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		err = im.Add(t.Context(), i, page.Record{Name: page.Name(fmt.Sprint(i)), Text: []byte("x")})
	}
	if !errors.Is(err, storage.ErrDiskFull) || im.Tally.Done != 0 {
		t.Errorf("%v, tally %+v", err, im.Tally)
	}
}

func TestImportedAuthors(t *testing.T) {
	for raw, want := range map[string]storage.Ident{
		"Ann":                   {Name: "Ann"},
		"Ann <ann@example.org>": {Name: "Ann", Email: "ann@example.org"},
		"<ann@example.org>":     {Name: "anonymous", Email: "ann@example.org"},
		"":                      {Name: "anonymous"},
		"Ann <a b>":             {Name: "Ann"},
		"Ann <a<b>>":            {Name: "Ann", Email: "ab"},
		"A\x00nn\n":             {Name: "Ann"},
	} {
		s, _ := newService(t)
		im := s.NewImporter()
		if err := im.Add(t.Context(), 1, page.Record{Name: "P", Text: []byte("x"), Author: raw}); err != nil {
			t.Fatal(err)
		}
		if err := im.Flush(t.Context()); err != nil || im.Tally.Done != 1 {
			t.Errorf("author %q: %v, %+v", raw, err, im.TakeFailures())
			continue
		}
		revisions, err := s.History("P", 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		if got := revisions[0].Author; got.Name != want.Name || got.Email != want.Email {
			t.Errorf("author %q is %q <%s>, want %q <%s>", raw, got.Name, got.Email, want.Name, want.Email)
		}
	}
}

func TestParseAuthor(t *testing.T) {
	for raw, want := range map[string]string{
		"Ann": "Ann", " Ann ": "Ann", "": "anonymous", "  ": "anonymous", "Ann O'Neil, jr.": "Ann O'Neil, jr.", "日本": "日本", strings.Repeat("x", 200): strings.Repeat("x", 200),
		"a<b": "", "a>b": "", "a\nb": "", "a\x00": "", "\xff": "", ".": "", strings.Repeat("x", 201): "", "a\u202eb": "",
	} {
		got, err := page.ParseAuthor(raw)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("ParseAuthor(%.20q) = %.20q, %v, want %.20q", raw, got, err, want)
		}
	}
}

// TestAuthorsThatPassAreSaved: what ParseAuthor lets through, the store keeps.
func TestAuthorsThatPassAreSaved(t *testing.T) {
	s, _ := newService(t)
	for i, author := range []string{"Ann", "a.", "\"q\"", "x,", "日本", "-", "a  b", strings.Repeat("ö", 100), "#1"} {
		name := page.Name(fmt.Sprint("P", i))
		saved, err := s.Save(t.Context(), page.Edit{Name: name, Text: []byte("x"), Author: author})
		if err != nil {
			t.Errorf("author %q: %v", author, err)
			continue
		}
		if saved.Commit.Author.Name != author {
			t.Errorf("author %q is kept as %q", author, saved.Commit.Author.Name)
		}
	}
}

// TestManySaversOfOnePage: of many who edit one page on an old revision each is merged
// once or twice, not over and over on heads that are old when his turn comes.
func TestManySaversOfOnePage(t *testing.T) {
	const savers = 80
	s, store := newService(t)
	lines := make([]string, 4000)
	for i := range lines {
		lines[i] = fmt.Sprintf("line %05d %s", i, strings.Repeat("x", 50))
	}
	base := save(t, s, "P", strings.Join(lines, "\n"))
	var tries atomic.Int64
	store.before = func([]storage.Draft) error { tries.Add(1); return nil }
	var all sync.WaitGroup
	for i := range savers {
		mine := slices.Clone(lines)
		mine[50*i] = fmt.Sprintf("saver %d", i)
		all.Go(func() {
			if _, err := s.Save(t.Context(), page.Edit{Name: "P", Text: []byte(strings.Join(mine, "\n")), Base: []storage.Hash{base.Hash}}); err != nil {
				t.Errorf("saver %d: %v", i, err)
			}
		})
	}
	all.Wait()
	if got := strings.Count(text(t, s, "P"), "saver"); got != savers {
		t.Errorf("%d of %d edits are there", got, savers)
	}
	if n := tries.Load(); n > 6*savers {
		t.Errorf("%d merges for %d edits", n, savers)
	}
	t.Logf("%d merges for %d edits", tries.Load(), savers)
}
