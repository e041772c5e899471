package storage

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func mustAdmit(t testing.TB, s *Store, others ...*Store) {
	t.Helper()
	for _, o := range others {
		if err := s.Admit(context.Background(), o.Node(), o.Name()); err != nil {
			t.Fatal(err)
		}
	}
}

func mustBan(t testing.TB, s *Store, node NodeID) {
	t.Helper()
	if err := s.Ban(context.Background(), node, "n"); err != nil {
		t.Fatal(err)
	}
}

func headHashes(t testing.TB, s *Store, path string) (all []Hash) {
	t.Helper()
	heads, err := s.Heads(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range heads {
		all = append(all, h.Hash)
	}
	return all
}

// trio is three stores that have admitted one another.
func trio(t testing.TB) (a, b, c *Store) {
	t.Helper()
	a, b, c = openTest(t, vfs.NewMem(), "a"), openTest(t, vfs.NewMem(), "b"), openTest(t, vfs.NewMem(), "c")
	mustAdmit(t, a, b, c)
	mustAdmit(t, b, a, c)
	mustAdmit(t, c, a, b)
	return a, b, c
}

func TestBanHidesWhatCameAfter(t *testing.T) {
	a, b, c := trio(t)
	before := mustSave(t, b, page("P.md", "before"), page("Gone.md", "before"))
	exchange(t, a, b)
	exchange(t, c, b)
	after := mustSave(t, b, page("P.md", "after", before[0].Hash), page("New.md", "after"))
	exchange(t, c, b) // before the ban
	on := mustSave(t, c, page("P.md", "on top", after[0].Hash))[0]
	mustSave(t, b, page("Late.md", "later"))
	mustBan(t, a, b.Node())
	exchange(t, c, a)
	exchange(t, a, c)
	late := records(t, b, nil)
	for _, s := range []*Store{a, c} {
		mustReceive(t, s, late)
	}
	if x, y := a.Stats(), c.Stats(); x.Digest != y.Digest || x.Commits != y.Commits || x.Pages != 2 {
		t.Errorf("a has %+v, c %+v", x, y)
	}
	for _, s := range []*Store{a, c} {
		if got := headHashes(t, s, "P.md"); !slices.Equal(got, []Hash{on.Hash}) {
			t.Errorf("heads of P.md: %v, want %s alone: it replaces what it was built on, and what that replaced", got, on.Hash)
		}
		if got := headHashes(t, s, "Gone.md"); !slices.Equal(got, []Hash{before[1].Hash}) {
			t.Errorf("heads of Gone.md: %v", got)
		}
		for _, path := range []string{"New.md", "Late.md"} {
			if got := headHashes(t, s, path); len(got) != 0 {
				t.Errorf("%s is shown", path)
			}
		}
		history, err := s.History("P.md", 0, 10)
		if err != nil || len(history) != 2 {
			t.Errorf("history of P.md: %d, %v", len(history), err)
		}
		recent, err := s.Recent(0, 10)
		if err != nil || len(recent) != 3 {
			t.Errorf("recent: %d, %v", len(recent), err)
		}
		if r, err := s.Revision(after[0].Hash); err != nil || !r.Muted {
			t.Errorf("what stands between: %+v, %v", r, err)
		}
		if s.Admitted(b.Node()) || !s.IsBanned(b.Node()) || slices.Contains(s.Signers(), b.Node()) {
			t.Error("b is still a member")
		}
		if err := s.Admit(context.Background(), b.Node(), "b"); !errors.Is(err, ErrBanned) {
			t.Errorf("admitted again: %v", err)
		}
	}
	if got := headHashes(t, b, "Late.md"); len(got) != 1 {
		t.Error("the banned node can't go on alone")
	}
}

// TestBanOfTheOneThroughWhomItJoined: downstream can't throw out upstream, and of
// two that ban one another upstream wins, whatever the ids.
func TestBanOfTheOneThroughWhomItJoined(t *testing.T) {
	a, b, c := openTest(t, vfs.NewMem(), "a"), openTest(t, vfs.NewMem(), "b"), openTest(t, vfs.NewMem(), "c")
	mustAdmit(t, a, b, c)
	for _, s := range []*Store{b, c} {
		if err := s.AdmitSponsor(context.Background(), a.Node(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	exchange(t, a, b)
	exchange(t, a, c)
	exchange(t, b, a)
	exchange(t, c, a)
	if err := b.Ban(context.Background(), a.Node(), "a"); !errors.Is(err, ErrInvalid) {
		t.Fatalf("b bans a, through which it joined: %v", err)
	}
	mustBan(t, b, c.Node())
	mustBan(t, c, b.Node()) // neither joined through the other
	mustBan(t, a, b.Node())
	for range 2 {
		exchange(t, a, b)
		exchange(t, a, c)
	}
	if got := a.Banned(); !slices.Equal(got, []NodeID{b.Node()}) {
		t.Errorf("banned: %v, want b alone: its ban of c lies beyond the cut of a's, which is judged first", got)
	}
	void := 0
	for _, ban := range a.Bans() {
		if ban.Void != "" {
			void++
		}
	}
	if void != 1 {
		t.Errorf("bans: %+v", a.Bans())
	}
}

// ownRecords returns what stands in logs of s itself.
func ownRecords(t testing.TB, s *Store) []Record {
	return slices.DeleteFunc(records(t, s, nil), func(r Record) bool { return r.Log.Node != s.Node() })
}

// TestBansConverge: saves, forks, admissions and bans in any order of arrival
// give equal digests, heads and members.
func TestBansConverge(t *testing.T) {
	muted, mutual := 0, 0
	for seed := range uint64(120) {
		rng := rand.New(rand.NewPCG(seed, 2))
		var all []*Store
		for i := range 4 {
			all = append(all, openTest(t, vfs.NewMem(), fmt.Sprint("n", i)))
		}
		members := slices.Clone(all)
		for _, s := range all {
			mustAdmit(t, s, all...)
		}
		everybody := func() {
			for range 2 {
				for _, x := range members {
					for _, y := range members {
						if x != y {
							exchange(t, x, y)
						}
					}
				}
			}
		}
		everybody()
		paths := []string{"A.md", "B.md", "C.md"}
		e := &equivocator{s: all[3]}
		for range 10 + rng.IntN(40) {
			s := members[rng.IntN(len(members))]
			switch k := rng.IntN(20); {
			case k < 10:
				path := paths[rng.IntN(len(paths))]
				c := mustSave(t, s, page(path, fmt.Sprint("text ", rng.Uint64()), headHashes(t, s, path)...))[0]
				if s == e.s {
					e.like = c
				}
			case k < 16:
				if o := members[rng.IntN(len(members))]; o != s {
					exchange(t, s, o)
				}
			case k == 16 && len(members) == 4: // a member that only one admits
				late := openTest(t, vfs.NewMem(), "late")
				mustAdmit(t, s, late)
				mustAdmit(t, late, s)
				exchange(t, late, s)
				members = append(members, late)
			case k == 17 && e.like != nil: // the owner of a log forks it
				after := Record{}
				if rs := ownRecords(t, e.s); rng.IntN(4) > 0 {
					after = rs[rng.IntN(len(rs))]
				}
				r := e.commit(after, rng)
				if r.Sequence > 4 { // the admissions are not in question
					mustReceive(t, s, []Record{r})
				}
			case k >= 18:
				if o := members[rng.IntN(len(members))]; o != s && rng.IntN(2) == 0 {
					mustBan(t, s, o.Node())
				}
			}
		}
		// Observers take everything in orders of their own.
		var observers []*Store
		for i := range 3 {
			o := openTest(t, vfs.NewMem(), fmt.Sprint("o", i))
			mustAdmit(t, o, all...)
			observers = append(observers, o)
		}
		for range 6 {
			for _, i := range rng.Perm(len(observers) * len(members)) {
				o, s := observers[i%len(observers)], members[i/len(observers)]
				switch rng.IntN(3) {
				case 0:
					exchange(t, o, s)
				case 1:
					exchange(t, o, observers[rng.IntN(len(observers))])
				}
			}
		}
		for range 4 {
			for _, o := range observers {
				for _, s := range append(slices.Clone(members), observers...) {
					if s != o {
						exchange(t, o, s)
					}
				}
			}
		}
		first := observers[0]
		for _, o := range observers[1:] {
			if x, y := first.Stats(), o.Stats(); x.Digest != y.Digest || x.Commits != y.Commits || x.Pages != y.Pages {
				t.Fatalf("seed %d: digests differ: %+v, %+v", seed, x, y)
			}
			for _, path := range paths {
				if x, y := headHashes(t, first, path), headHashes(t, o, path); !slices.Equal(x, y) {
					t.Fatalf("seed %d: heads of %s: %v, %v", seed, path, x, y)
				}
			}
			if !slices.Equal(first.Judged(), o.Judged()) || !slices.Equal(first.Banned(), o.Banned()) || !slices.Equal(first.Bans(), o.Bans()) {
				t.Fatalf("seed %d: bans differ: %v, %v", seed, first.Bans(), o.Bans())
			}
		}
		for _, s := range members { // those that are members still agree with the observers
			if slices.Contains(first.Judged(), s.Node()) {
				continue
			}
			for _, o := range observers {
				exchange(t, s, o)
			}
			if x, y := first.Stats(), s.Stats(); x.Digest != y.Digest {
				t.Fatalf("seed %d: member %s: %+v, observer %+v, bans %+v", seed, s.Name(), y, x, s.Bans())
			}
		}
		if len(first.Banned()) > 0 {
			muted++
		}
		for _, b := range first.Bans() {
			if b.Void != "" {
				mutual++
				break
			}
		}
		checkAgainstScratch(t, first)
	}
	if muted < 40 || mutual < 5 {
		t.Errorf("%d seeds with a ban, %d with one that is void: the test asks too little", muted, mutual)
	}
}

// checkAgainstScratch works out all heads and totals anew.
func checkAgainstScratch(t *testing.T, s *Store) {
	t.Helper()
	was := s.Stats()
	paths, err := s.Paths("", "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	tx := s.begin()
	defer tx.batch.Close()
	for _, p := range paths {
		if err := tx.reckon(p.Path); err != nil {
			t.Fatal(err)
		}
		for _, h := range tx.heads[p.Path] {
			if !slices.ContainsFunc(p.Heads, func(o Head) bool { return o == h }) {
				t.Errorf("%s: heads %v, anew %v", p.Path, p.Heads, tx.heads[p.Path])
			}
		}
	}
	if tx.counters.digest != was.Digest || tx.counters.pages != was.Pages {
		t.Errorf("totals %+v, anew %+v", was, tx.counters)
	}
}

// TestForkOfABannedLog: what the owner of a log signs after its ban in the place of
// what was there before is not shown, whether it comes before that or after.
func TestForkOfABannedLog(t *testing.T) {
	a, b, c := trio(t)
	made := mustSave(t, b, page("P.md", "one"), page("Q.md", "two"), page("R.md", "three"))
	all := ownRecords(t, b)
	exchange(t, a, b)
	mustBan(t, a, b.Node())
	e := &equivocator{s: b, like: made[0]}
	after := slices.IndexFunc(all, func(r Record) bool { return r.Hash == made[0].Hash })
	forged := e.commit(all[after], rand.New(rand.NewPCG(1, 1)))
	bans := ownRecords(t, a)
	mustReceive(t, c, bans)
	mustReceive(t, c, all[:after+1])
	mustReceive(t, c, []Record{forged}) // alone it is not known to be a second one
	mustReceive(t, c, all[after+1:])    // part of it begins a branch after it was taken
	exchange(t, c, a)
	exchange(t, a, c)
	if x, y := a.Stats(), c.Stats(); x.Digest != y.Digest || x.Pages != 3 {
		t.Errorf("a: %+v\nc: %+v", x, y)
	}
	for i, path := range []string{"P.md", "Q.md", "R.md"} {
		if got := headHashes(t, c, path); !slices.Equal(got, []Hash{made[i].Hash}) {
			t.Errorf("%s: heads %v", path, got)
		}
	}
}

func TestBansSurviveARestart(t *testing.T) {
	disk := vfs.NewMem()
	a, b := openTest(t, disk, "a"), openTest(t, vfs.NewMem(), "b")
	mustAdmit(t, a, b)
	mustAdmit(t, b, a)
	mustSave(t, b, page("P.md", "before"))
	exchange(t, a, b)
	mustBan(t, a, b.Node())
	mustSave(t, b, page("Q.md", "after"))
	mustReceive(t, a, records(t, b, nil))
	was := a.Stats()
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	a = openTest(t, disk, "a")
	if now := a.Stats(); now.Digest != was.Digest || now.Commits != 1 || now.Pages != 1 {
		t.Errorf("%+v after the restart, %+v before", now, was)
	}
	if !a.IsBanned(b.Node()) || a.Admitted(b.Node()) {
		t.Error("the ban is forgotten")
	}
	mustSave(t, b, page("R.md", "after"))
	mustReceive(t, a, records(t, b, nil))
	if now := a.Stats(); now.Digest != was.Digest {
		t.Error("what came after the restart counts")
	}
}

// TestCrashBetweenBanAndWhatFollows: the next start does what was not done.
func TestCrashBetweenBanAndWhatFollows(t *testing.T) {
	disk := vfs.NewMem()
	a, b := openTest(t, disk, "a"), openTest(t, vfs.NewMem(), "b")
	mustAdmit(t, a, b)
	mustAdmit(t, b, a)
	exchange(t, b, a)
	mustSave(t, b, page("P.md", "after"))
	before := a.Stats().Digest
	mustBan(t, a, b.Node())
	mustReceive(t, a, records(t, b, nil))
	// As a crash would leave it: nothing of the verdict is noted.
	undo := func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.mu.verdicts = map[NodeID]verdict{}
		tx := a.begin()
		tx.mutes = map[uint64]bool{}
		paths := map[string]bool{}
		for id, l := range a.mu.logs {
			if err := tx.sweep(id, l, paths); err != nil {
				t.Fatal(err)
			}
		}
		for path := range paths {
			if err := tx.reckon(path); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(tx.batch.Set([]byte{keyMeta, metaJudge}, nil, nil), tx.apply(), tx.batch.SyncWait(), tx.batch.Close()); err != nil {
			t.Fatal(err)
		}
	}
	undo()
	if len(headHashes(t, a, "P.md")) != 1 {
		t.Fatal("the crash was not staged")
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	a = openTest(t, disk, "a")
	if len(headHashes(t, a, "P.md")) != 0 || a.Stats().Digest != before {
		t.Error("what the ban hides is shown after the crash")
	}
}

func TestBansThatAreNotInOrder(t *testing.T) {
	a, b := openTest(t, vfs.NewMem(), "a"), openTest(t, vfs.NewMem(), "b")
	tip := "0123456789abcdef0123456789abcdef01234567"
	line := func(nonce, sequence, tip string) string { return "log " + nonce + " " + sequence + " " + tip + "\n" }
	good := line("00000000000000aa", "7", tip)
	c := Commit{Path: BanPrefix + b.Node().String(), Log: LogID{Node: a.Node(), Nonce: 1}}
	for _, text := range []string{"", good, line("00000000000000aa", "10", tip) + good} {
		if _, err := parseBan(&c, []byte(banHeader+banName("e\"2")+text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{
		"x", "\n", good + good, good[:len(good)-1], line("aa", "7", tip), line("00000000000000AA", "7", tip), line("00000000000000aa", "07", tip),
		line("00000000000000aa", "0", tip), line("00000000000000aa", "7", tip[:38]), good + line("00000000000000aa", "10", tip),
	} {
		if _, err := parseBan(&c, []byte(banHeader+banName("e\"2")+text)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q is taken: %v", text, err)
		}
	}
	for _, text := range []string{banHeader, banHeader + good, banHeader + "name x\n" + good, banHeader + "name `x`\n", banHeader + "name \"x\""} {
		if _, err := parseBan(&c, []byte(text)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q is taken: %v", text, err)
		}
	}
	for _, path := range []string{BanPrefix + "x", SignerPrefix + b.Node().String(), BanPrefix + a.Node().String()} {
		bad := c
		bad.Path = path
		if _, err := parseBan(&bad, []byte(banHeader+banName("x"))); !errors.Is(err, ErrInvalid) {
			t.Errorf("a ban at %s is taken: %v", path, err)
		}
	}
}
