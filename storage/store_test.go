package storage

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// openTest opens a store on fs; name also seeds its key and log names.
func openTest(t testing.TB, fs vfs.FS, name string) *Store {
	t.Helper()
	s, err := Open(Config{Dir: "/data", FS: fs, Name: name, Host: "host"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func page(path, text string, parents ...Hash) Draft {
	return Draft{Kind: KindPage, Path: path, Content: []byte(text), Parents: parents, Author: Ident{Name: "Ann"}}
}

func mustSave(t testing.TB, s *Store, drafts ...Draft) []*Commit {
	t.Helper()
	made, err := s.Save(context.Background(), drafts...)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// records returns everything that s holds and v does not, parents first.
func records(t testing.TB, s *Store, v map[LogID]uint64) []Record {
	t.Helper()
	var spans []Span
	for log := range s.Vector() {
		spans = append(spans, Span{Log: log, After: v[log]})
	}
	var all []Record
	if err := s.Range(spans, func(r Record) bool { all = append(all, r); return true }); err != nil {
		t.Fatal(err)
	}
	return all
}

func mustReceive(t testing.TB, s *Store, rs []Record) Received {
	t.Helper()
	got, err := s.Receive(context.Background(), rs)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestSaveAndRead(t *testing.T) {
	fs := vfs.NewMem()
	s := openTest(t, fs, "e1")
	first := mustSave(t, s, page("A.md", "one\n"))[0]
	second := mustSave(t, s, page("A.md", "two\n", first.Hash))[0]
	mustSave(t, s, page("B.md", "b"), page("dir/C.md", "c"))
	check := func(s *Store) {
		t.Helper()
		heads, err := s.Heads("A.md")
		if err != nil || len(heads) != 1 || heads[0].Hash != second.Hash || heads[0].Generation != 2 {
			t.Fatalf("heads: %+v, %v", heads, err)
		}
		text, err := s.Content(second.Hash)
		if err != nil || string(text) != "two\n" {
			t.Fatalf("content: %q, %v", text, err)
		}
		history, err := s.History("A.md", 0, 10)
		if err != nil || len(history) != 2 || history[0].Hash != second.Hash || history[1].Hash != first.Hash {
			t.Fatalf("history: %+v, %v", history, err)
		}
		recent, err := s.Recent(0, 3)
		if err != nil || len(recent) != 3 || recent[0].Path != "dir/C.md" || recent[2].Path != "A.md" {
			t.Fatalf("recent: %+v, %v", recent, err)
		}
		paths, err := s.Paths("", "A.md", 10)
		if err != nil || len(paths) != 2 || paths[0].Path != "B.md" {
			t.Fatalf("paths: %+v, %v", paths, err)
		}
		if st := s.Stats(); st.Pages != 3 || st.Commits != 4 {
			t.Fatalf("stats: %+v", st)
		}
		record, err := s.Record(second.Hash)
		if err != nil || !bytes.Equal(record.Encode(), second.Encode()) {
			t.Fatalf("record: %v", err)
		}
	}
	check(s)
	digest := s.Stats().Digest
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Heads("A.md"); !errors.Is(err, ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
	s = openTest(t, fs, "e1")
	check(s)
	if s.Stats().Digest != digest {
		t.Error("the digest changed over a restart")
	}
	third := mustSave(t, s, page("A.md", "three", second.Hash))[0]
	if third.Log == second.Log || third.Sequence != 1 {
		t.Errorf("after a restart the log %s goes on at %d", third.Log, third.Sequence)
	}
}

func TestSavesAreRefused(t *testing.T) {
	s := openTest(t, vfs.NewMem(), "e1")
	first := mustSave(t, s, page("A.md", "one"))[0]
	other := mustSave(t, s, page("B.md", "other"))[0]
	before := s.Stats()
	cases := map[string]struct {
		draft Draft
		want  error
	}{
		"heads moved":         {Draft{Kind: KindPage, Path: "A.md", CheckHeads: true, Author: Ident{Name: "x"}}, ErrHeadsMoved},
		"unknown parent":      {page("A.md", "x", Hash{1}), ErrUnknownParent},
		"parent of other":     {page("A.md", "x", other.Hash), ErrUnknownParent},
		"too large":           {page("A.md", strings.Repeat("x", MaxContent+1)), ErrTooLarge},
		"bad path":            {page("../A.md", "x"), ErrInvalid},
		"not UTF-8":           {page("A.md", "\xff", first.Hash), ErrInvalid},
		"nobody":              {Draft{Kind: KindPage, Path: "A.md"}, ErrInvalid},
		"line feed in author": {Draft{Kind: KindPage, Path: "A.md", Author: Ident{Name: "a\nb"}}, ErrInvalid},
		"delete of nothing":   {Draft{Kind: KindDelete, Path: "Z.md", Author: Ident{Name: "x"}}, ErrInvalid},
	}
	for name, c := range cases {
		if _, err := s.Save(context.Background(), page("New.md", "new"), c.draft); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	if after := s.Stats(); after != before {
		t.Errorf("refused saves left something behind: %+v, before %+v", after, before)
	}
}

func TestReceiveConvergesInAnyOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	a, b := openTest(t, vfs.NewMem(), "a"), openTest(t, vfs.NewMem(), "b")
	ctx := context.Background()
	for _, pair := range [][2]*Store{{a, b}, {b, a}} {
		if err := pair[0].Admit(ctx, pair[1].Node(), pair[1].Name()); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 200 {
		s, from := a, b
		if rng.IntN(2) == 0 {
			s, from = b, a
		}
		if rng.IntN(4) == 0 {
			mustReceive(t, s, records(t, from, s.Vector()))
		}
		path := fmt.Sprintf("P%d.md", rng.IntN(5))
		heads, err := s.Heads(path)
		if err != nil {
			t.Fatal(err)
		}
		var parents []Hash
		for _, h := range heads {
			parents = append(parents, h.Hash)
		}
		d := page(path, fmt.Sprint(i), parents...)
		if rng.IntN(5) == 0 && len(parents) > 0 {
			d.Kind, d.Content = KindDelete, nil
		}
		mustSave(t, s, d)
	}
	mustReceive(t, a, records(t, b, a.Vector()))
	mustReceive(t, b, records(t, a, b.Vector()))
	want := a.Stats()
	if got := b.Stats(); got.Digest != want.Digest || got.Pages != want.Pages || got.Commits != want.Commits {
		t.Fatalf("a has %+v, b has %+v", want, got)
	}
	// A newcomer gets everything shuffled, some of it twice, a few at a time.
	c := openTest(t, vfs.NewMem(), "c")
	if err := c.Admit(ctx, a.Node(), "a"); err != nil {
		t.Fatal(err)
	}
	all := records(t, a, nil)
	for round := 0; c.Stats().Commits != want.Commits; round++ {
		if round > 20000 {
			t.Fatalf("stuck: %+v of %+v", c.Stats(), want)
		}
		at := rng.IntN(len(all))
		mustReceive(t, c, all[at:min(len(all), at+rng.IntN(9)+1)])
		vector := c.Vector()
		for _, r := range all {
			if vector[r.Log] >= r.Sequence {
				if _, err := c.Record(r.Hash); err != nil {
					t.Fatalf("the vector claims %s: %v", r.Hash, err)
				}
			}
		}
		if round%50 == 0 {
			mustReceive(t, c, all)
		}
	}
	got := c.Stats()
	if got.Digest != want.Digest || got.Staged != 0 {
		t.Fatalf("c has %+v, want %+v", got, want)
	}
	for i := range 5 {
		path := fmt.Sprintf("P%d.md", i)
		x, _ := a.Heads(path)
		y, _ := c.Heads(path)
		if !slices.EqualFunc(x, y, func(p, q Head) bool { return p.Hash == q.Hash }) {
			t.Errorf("%s: heads differ", path)
		}
	}
}

func TestStagingIsBoundedAndCounted(t *testing.T) {
	a, b, c := openTest(t, vfs.NewMem(), "a"), openTest(t, vfs.NewMem(), "b"), openTest(t, vfs.NewMem(), "c")
	ctx := context.Background()
	a.Admit(ctx, b.Node(), "b")
	b.Admit(ctx, a.Node(), "a")
	c.Admit(ctx, a.Node(), "a")
	c.Admit(ctx, b.Node(), "b")
	root := mustSave(t, a, page("A.md", "root"))[0]
	mustReceive(t, b, records(t, a, nil))
	mustSave(t, b, page("A.md", "child", root.Hash), page("B.md", "after"))
	var child []Record
	for _, r := range records(t, b, nil) {
		if r.Log.Node == b.Node() {
			child = append(child, r)
		}
	}
	got := mustReceive(t, c, child)
	if got.Staged != 2 || !slices.Equal(got.Missing, []Hash{root.Hash}) || c.Stats().Staged != 2 {
		t.Fatalf("got %+v, stats %+v", got, c.Stats())
	}
	if again := mustReceive(t, c, child); again.Known == 0 || c.Stats().Staged != 2 {
		t.Fatalf("a second time: %+v", again)
	}
	if len(c.Vector()) != 1+len(got.Refused)+1 && c.Stats().Pages != 0 {
		t.Fatal("staged commits count")
	}
	got = mustReceive(t, c, records(t, a, nil))
	if c.Stats().Staged != 0 || c.Stats().Pages != 2 {
		t.Fatalf("after the parent came: %+v, %+v", got, c.Stats())
	}
}

func TestHostileRecordsAreRefusedByReason(t *testing.T) {
	a, b := openTest(t, vfs.NewMem(), "a"), openTest(t, vfs.NewMem(), "b")
	stranger := openTest(t, vfs.NewMem(), "x")
	b.Admit(context.Background(), a.Node(), "a")
	mustSave(t, a, page("A.md", "one"))
	mustSave(t, a, page("B.md", "two"))
	mustSave(t, stranger, page("A.md", "evil"))
	good := records(t, a, nil)
	forged := func(change func(*Commit)) []Record {
		c := *good[0].Commit
		change(&c)
		return []Record{{&c, good[0].Content}}
	}
	for reason, rs := range map[string][]Record{
		RefusedSigner: records(t, stranger, nil),
		RefusedChain:  good[1:],
		RefusedSignature: slices.Concat(
			forged(func(c *Commit) { c.Signature[3] ^= 1 }),
			forged(func(c *Commit) { c.Message = "other" }),
			forged(func(c *Commit) { c.Path = "../../x" }),
			forged(func(c *Commit) { c.Log.Node = b.Node() }),
			[]Record{{good[0].Commit, []byte("other text")}},
			[]Record{{good[0].Commit, make([]byte, MaxContent+1)}},
		),
	} {
		got := mustReceive(t, b, rs)
		if got.Refused[reason] != len(rs) || got.Accepted+got.Staged != 0 || got.First == nil {
			t.Errorf("%s: got %+v", reason, got)
		}
	}
	if got := mustReceive(t, b, good); got.Accepted != 2 {
		t.Errorf("the good ones: %+v", got)
	}
	// a signs a second commit for its first sequence.
	twin := *good[0].Commit
	twin.finish([]byte("twin"))
	twin.sign(a.Key(), &scratch{})
	got := mustReceive(t, b, []Record{{&twin, []byte("twin")}})
	if got.Forks != 1 || got.Accepted != 1 {
		t.Errorf("equivocation: %+v", got)
	}
	if at := b.Position(good[0].Log); !at.Closed || at.Sequence != 0 {
		t.Errorf("the trunk stands at %+v", at)
	}
	branch := BranchID(good[0].Log, good[0].Hash)
	if at := b.Position(branch); at.Sequence != 2 || at.Tip != good[1].Hash {
		t.Errorf("the first branch stands at %+v", at)
	}
	c := mustSave(t, a, page("C.md", "three"))[0]
	if got := mustReceive(t, b, records(t, a, b.Vector())); got.Accepted != 1 || got.Known != 2 {
		t.Errorf("the branch goes on: %+v", got)
	}
	if at, err := b.Place(c); err != nil || at != (LogPlace{branch, 3}) {
		t.Errorf("it stands at %v, %v", at, err)
	}
}

// TestInertCommitsAreKept: a commit that breaks a content rule counts in its
// log and nowhere else.
func TestInertCommitsAreKept(t *testing.T) {
	a, b := openTest(t, vfs.NewMem(), "a"), openTest(t, vfs.NewMem(), "b")
	b.Admit(context.Background(), a.Node(), "a")
	mustSave(t, a, page("A.md", "one"), page("A.md", "two"))
	rs := records(t, a, nil)
	bad := *rs[0].Commit
	bad.Kind = "proposal"
	bad.finish(rs[0].Content)
	bad.sign(a.Key(), &scratch{})
	next := *rs[1].Commit
	next.Previous = bad.Hash
	next.finish(rs[1].Content)
	next.sign(a.Key(), &scratch{})
	if got := mustReceive(t, b, []Record{{&bad, rs[0].Content}, {&next, rs[1].Content}}); got.Accepted != 2 {
		t.Fatalf("got %+v", got)
	}
	if st := b.Stats(); st.Pages != 1 || st.Commits != 1 || b.Vector()[bad.Log] != 2 {
		t.Errorf("stats %+v, vector %v", st, b.Vector())
	}
	if _, err := b.Commit(bad.Hash); !errors.Is(err, ErrNotFound) {
		t.Errorf("an inert commit is shown: %v", err)
	}
	if _, err := b.Record(bad.Hash); err != nil {
		t.Errorf("an inert commit can't be forwarded: %v", err)
	}
}

func TestConcurrentSavesAreToldInOrder(t *testing.T) {
	s := openTest(t, vfs.NewMem(), "e1")
	var told []uint64
	sequences := make(map[uint64]bool)
	cancel := s.Watch(func(cs []Committed) {
		for _, c := range cs {
			told = append(told, c.Arrival)
			sequences[c.Sequence] = true
		}
	})
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 50 {
				if _, err := s.Save(context.Background(), page(fmt.Sprintf("P%d.md", w), fmt.Sprint(i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	cancel()
	if len(told) != 800 || !slices.IsSorted(told) || len(sequences) != 800 {
		t.Errorf("told %d, in order %v, sequences %d", len(told), slices.IsSorted(told), len(sequences))
	}
}

// TestTwoProcessesOnOneDirectory: the second is refused, also while the first
// makes the directory, and the directory is free when the first has closed.
func TestTwoProcessesOnOneDirectory(t *testing.T) {
	dir := t.TempDir()
	first, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: dir}); !errors.Is(err, ErrLocked) {
		t.Errorf("the second: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if again.Node() != first.Node() {
		t.Error("it is another node")
	}
	again.Close()
}

func TestNewerFormatIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	openTest(t, fs, "e1").Close()
	if err := writeSmall(fs, "/data", formatName, []byte("erwik data directory, format 2\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: "/data", FS: fs}); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "newer") {
		t.Errorf("got %v", err)
	}
	writeSmall(fs, "/data", formatName, []byte(formatText))
	writeSmall(fs, "/data", keyName, []byte("erwik node key 1\nzz\n"))
	if _, err := Open(Config{Dir: "/data", FS: fs}); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), keyName) {
		t.Errorf("got %v", err)
	}
}

// TestTablesAreCached writes more than a memtable holds. What is read of tables
// then comes from the disk once: memtables count as part of the cache.
func TestTablesAreCached(t *testing.T) {
	s, err := Open(Config{Dir: t.TempDir(), FS: vfs.Default, Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var first []Hash
	for i := range 1000 {
		c := mustSave(t, s, page(fmt.Sprintf("P%d.md", i), hex.EncodeToString(randomBytes(uint64(i), 30_000))))
		first = append(first, c[0].Hash)
	}
	eventually(t, "the first memtables are tables", func() bool { return s.db.Metrics().Flush.Count > 0 && s.db.Metrics().Total().TablesCount > 0 })
	misses := func() int64 {
		for _, h := range first[:20] {
			if _, err := s.Record(h); err != nil {
				t.Fatal(err)
			}
		}
		return s.db.Metrics().BlockCache.Misses
	}
	if once, twice := misses(), misses(); once == 0 || twice != once {
		t.Errorf("%d blocks were read the first time, %d more the second", once, twice-once)
	}
}
