package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// crashWorld drives one store on a file system that can crash and remembers
// what it acknowledged.
type crashWorld struct {
	t      testing.TB
	mem    *vfs.MemFS
	source *Store // a neighbor, whose commits are received
	mu     sync.Mutex
	acked  []*Commit
}

func (w *crashWorld) ack(cs ...*Commit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acked = append(w.acked, cs...)
}

func (w *crashWorld) acknowledged() []*Commit {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.acked[:len(w.acked):len(w.acked)]
}

// run opens the store, saves, receives and closes, on fs, which may be w.mem
// behind something that watches. It returns at the first error.
func (w *crashWorld) run(fs vfs.FS, rng *rand.Rand, steps int) error {
	s, err := Open(Config{Dir: "/data", FS: fs, Name: "e1"})
	if err != nil {
		return err
	}
	defer s.Close()
	ctx := context.Background()
	if err := s.Admit(ctx, w.source.Node(), "source"); err != nil {
		return err
	}
	for i := range steps {
		path := fmt.Sprintf("P%d.md", rng.IntN(4))
		if rng.IntN(4) == 0 {
			if err := w.runFile(s, rng, i); err != nil {
				return err
			}
			continue
		}
		if rng.IntN(3) == 0 {
			theirs := mustSave(w.t, w.source, page(path, fmt.Sprint("theirs ", i)))
			if _, err := s.Receive(ctx, records(w.t, w.source, s.Vector())); err != nil {
				return err
			}
			w.ack(theirs...)
			continue
		}
		heads, err := s.Heads(path)
		if err != nil {
			return err
		}
		var parents []Hash
		for _, h := range heads {
			parents = append(parents, h.Hash)
		}
		made, err := s.Save(ctx, page(path, fmt.Sprint("ours ", i), parents...), page("other/"+path, fmt.Sprint(i)))
		if err != nil {
			return err
		}
		w.ack(made...)
	}
	return nil
}

// runFile uploads a file and saves it or gives it up, or receives one and
// fetches its chunk in two parts.
func (w *crashWorld) runFile(s *Store, rng *rand.Rand, i int) error {
	ctx := context.Background()
	data := fmt.Sprint("file ", rng.IntN(6))
	if rng.IntN(2) == 0 {
		u, err := s.ReadFile(ctx, strings.NewReader(data), MaxFile)
		if err != nil {
			return err
		}
		if rng.IntN(3) > 0 {
			made, err := s.Save(ctx, fileDraft(fmt.Sprintf("f%d.bin", i), u))
			if err != nil {
				return errors.Join(err, u.Release())
			}
			w.ack(made...)
		}
		return u.Release()
	}
	draft := upload(w.t, w.source, fmt.Sprintf("g%d.bin", i), data)
	theirs := mustSave(w.t, w.source, draft)
	if _, err := s.Receive(ctx, records(w.t, w.source, s.Vector())); err != nil {
		return err
	}
	w.ack(theirs...)
	return fetchMissing(s, w.source)
}

// fetchMissing copies what a store lacks from another one, in two parts each.
func fetchMissing(s, from *Store) error {
	missing, err := s.MissingChunks(MissingChunk{}, 100)
	for _, m := range missing {
		for at := s.PartSize(m.ID); at < int64(m.Size) && err == nil; at = s.PartSize(m.ID) {
			b := make([]byte, (m.Size+1)/2)
			n, _, err := from.ReadPiece(m.ID, at, b)
			if err != nil {
				return err
			}
			if err := s.AddPart(context.Background(), m.ID, at, b[:n]); err != nil {
				return err
			}
		}
		if err = s.LandPart(m.ID); err != nil {
			return err
		}
	}
	return err
}

// check opens what a crash left and looks for every acknowledged commit; all
// that is there must be whole.
func (w *crashWorld) check(left vfs.FS, acked []*Commit, when string) {
	w.t.Helper()
	s, err := Open(Config{Dir: "/data", FS: left, Name: "e1"})
	if err != nil {
		w.t.Fatalf("%s: the store does not open: %v", when, err)
	}
	defer s.Close()
	for _, c := range acked {
		if _, err := s.Record(c.Hash); err != nil {
			w.t.Fatalf("%s: acknowledged commit %s (log %s, sequence %d) is lost: %v", when, c.Hash, c.Log, c.Sequence, err)
		}
		if missing, err := s.Recheck(c.Hash); c.Kind == KindFile && c.Log.Node == s.Node() && (err != nil || missing > 0) {
			w.t.Fatalf("%s: %d chunks of the acknowledged file %s are lost: %v", when, missing, c.Path, err)
		}
	}
	if s.Stats().Regressed {
		w.t.Errorf("%s: a false alarm", when)
	}
	checkWhole(w.t, s, when)
}

// checkWhole recomputes everything that is kept incrementally.
func checkWhole(t testing.TB, s *Store, when string) {
	t.Helper()
	var digest Digest
	paths, err := s.Paths("", "", 1<<20)
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	for _, p := range paths {
		digest.add(subjectSum(p.Path, p.Heads), false)
		for _, h := range p.Heads {
			if _, err := s.Record(h.Hash); err != nil {
				t.Fatalf("%s: head of %s: %v", when, p.Path, err)
			}
		}
	}
	checkFiles(t, s, when)
	st := s.Stats()
	if digest != st.Digest {
		t.Fatalf("%s: digest is not that of the heads", when)
	}
	total := uint64(0)
	for log, sequence := range s.Vector() {
		n := uint64(0)
		if err := s.Range([]Span{{Log: log}}, func(r Record) bool { n++; return r.Sequence == n }); err != nil || n != sequence {
			t.Fatalf("%s: log %s says %d and has %d: %v", when, log, sequence, n, err)
		}
		total += n
	}
	if total != st.Arrival {
		t.Fatalf("%s: %d log entries, %d arrivals", when, total, st.Arrival)
	}
}

// checkFiles compares the chunks that lie on the disk with what commits name
// and what the index says: nothing is there for nobody, and what is not there
// is known to be missing.
func checkFiles(t testing.TB, s *Store, when string) {
	t.Helper()
	named, lacking := make(map[ChunkID]bool), make(map[uint64]bool)
	revisions, err := s.Recent(0, 1<<20)
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	for _, r := range revisions {
		if r.Kind != KindFile {
			continue
		}
		text, err := s.Content(r.Hash)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		m, err := ParseManifest(text)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		missing := int64(0)
		for i, id := range m.Chunks {
			named[id] = true
			if c, err := s.OpenChunk(id); err == nil {
				c.Close()
			} else {
				missing += int64(m.ChunkSize(i))
			}
		}
		if missing > 0 {
			lacking[r.Arrival] = true
		}
		if got, err := s.MissingOf(r.Arrival); err != nil || got != missing {
			t.Fatalf("%s: %d bytes of %s are missing, the index says %d: %v", when, missing, r.Path, got, err)
		}
	}
	if got := s.Stats().Lacking; got != len(lacking) {
		t.Fatalf("%s: %d files are not whole, the count says %d", when, len(lacking), got)
	}
	for _, dir := range chunkDirs(t, s) {
		names, err := s.fs.List(dir)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		for _, name := range names {
			if id, err := ParseChunkID(name); err != nil || !named[id] {
				t.Fatalf("%s: %s/%s belongs to no commit", when, dir, name)
			}
		}
	}
}

// chunkDirs are the directories with chunks in their places and with uploads.
func chunkDirs(t testing.TB, s *Store) (dirs []string) {
	t.Helper()
	names, err := s.fs.List(s.chunks.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if name != partName {
			dirs = append(dirs, s.chunks.dir+"/"+name)
		}
	}
	return dirs
}

// TestCrashAtEveryFileOperation crashes before each single operation on the
// file system that opening, saving, receiving and closing make, once with all
// unsynced data lost and once with a random part of it kept.
func TestCrashAtEveryFileOperation(t *testing.T) {
	w := &crashWorld{t: t, mem: vfs.NewCrashableMem(), source: openTest(t, vfs.NewMem(), "source")}
	type crash struct {
		fs    *vfs.MemFS
		acked []*Commit
		when  string
	}
	var mu sync.Mutex
	var crashes []crash
	rng := rand.New(rand.NewPCG(7, 7))
	inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			when := fmt.Sprintf("before operation %d, %v of %s", len(crashes)/2, op.Kind, op.Path)
			for _, kept := range []int{0, 50} {
				acked := w.acknowledged() // before the clone: what is acked by now must be in it
				crashes = append(crashes, crash{w.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: kept, RNG: rng}), acked, fmt.Sprintf("%s, %d %% kept", when, kept)})
			}
		}
		return nil
	})
	for range 2 { // the second time the directory is not new
		if err := w.run(errorfs.Wrap(cloneable{w.mem, &mu}, inject), rand.New(rand.NewPCG(1, 1)), 12); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range crashes {
		w.check(c.fs, c.acked, c.when)
	}
	if len(crashes) < 200 {
		t.Errorf("only %d crash points: is the file system still watched?", len(crashes))
	}
	t.Logf("%d crashes at %d file operations, %d acknowledged commits", len(crashes), len(crashes)/2, len(w.acked))
}

// cloneable keeps operations that take the lock of a MemFS twice apart from those
// that clone it: one that waits to clone in between would wait for ever, and they
// for it.
type cloneable struct {
	*vfs.MemFS
	mu *sync.Mutex // held while it is cloned
}

func (c cloneable) Lock(name string) (io.Closer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.MemFS.Lock(name)
}

func (c cloneable) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.MemFS.ReuseForWrite(from, to, category)
}

// TestCrashSeeds crashes at random moments, over and over, each store living
// on with what its crash left. ERWIK_SEED=n runs one seed; ERWIK_SEEDS sets how
// many run.
func TestCrashSeeds(t *testing.T) {
	first, seeds := uint64(1), uint64(1000)
	if v, err := strconv.ParseUint(os.Getenv("ERWIK_SEEDS"), 10, 32); err == nil {
		seeds = v
	}
	if v, err := strconv.ParseUint(os.Getenv("ERWIK_SEED"), 10, 64); err == nil {
		first, seeds = v, 1
	}
	acks, crashes := 0, 0
	for seed := first; seed < first+seeds; seed++ {
		a, c := crashSeed(t, seed)
		acks, crashes = acks+a, crashes+c
		if t.Failed() {
			t.Fatalf("replay: ERWIK_SEED=%d go test -run TestCrashSeeds ./storage", seed)
		}
	}
	t.Logf("%d seeds, %d crashes, %d acknowledged commits, none lost", seeds, crashes, acks)
}

func crashSeed(t *testing.T, seed uint64) (acks, crashes int) {
	rng := rand.New(rand.NewPCG(seed, 0))
	w := &crashWorld{t: t, mem: vfs.NewCrashableMem(), source: openTest(t, vfs.NewMem(), "source")}
	defer w.source.Close()
	for range 2 {
		var left *vfs.MemFS
		var acked []*Commit
		countdown := 20 + rng.IntN(300)
		kept := []int{0, 10, 50, 90, 100}[rng.IntN(5)]
		cloneRNG := rand.New(rand.NewPCG(seed, 1))
		var mu sync.Mutex
		fs := errorfs.Wrap(cloneable{w.mem, &mu}, errorfs.InjectorFunc(func(op errorfs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if countdown--; countdown == 0 {
				acked = w.acknowledged()
				left = w.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: kept, RNG: cloneRNG})
			}
			return nil
		}))
		if err := w.run(fs, rng, 2+rng.IntN(30)); err != nil {
			t.Errorf("seed %d: %v", seed, err)
			return acks, crashes
		}
		if left == nil {
			acked, left = w.acknowledged(), w.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: kept, RNG: cloneRNG})
		}
		w.mem = left
		w.acked = acked
		w.check(left, acked, fmt.Sprintf("seed %d, %d %% kept", seed, kept))
		acks, crashes = acks+len(acked), crashes+1
	}
	return acks, crashes
}

// TestFailedWritePoisons: after a failed write nothing is acknowledged.
func TestFailedWritePoisons(t *testing.T) {
	fs := vfs.NewCrashableMem()
	failing := false
	var mu sync.Mutex
	wrapped := errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if failing && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return errorfs.ErrInjected
		}
		return nil
	}))
	fatal := make(chan error, 8)
	stop := make(chan struct{})
	s, err := Open(Config{Dir: "/data", FS: wrapped, Fatal: func(err error) { fatal <- err; <-stop }})
	if err != nil {
		t.Fatal(err)
	}
	acked := mustSave(t, s, page("A.md", "one"))[0]
	mu.Lock()
	failing = true
	mu.Unlock()
	outcome := make(chan error, 1)
	go func() {
		_, err := s.Save(context.Background(), page("A.md", "two"))
		outcome <- err
	}()
	select {
	case err := <-outcome:
		if err == nil {
			t.Error("a save whose write failed was acknowledged")
		}
	case err := <-fatal:
		if !errors.Is(err, ErrPoisoned) {
			t.Errorf("fatal: %v", err)
		}
	}
	left := fs.CrashClone(vfs.CrashCloneCfg{})
	again := openTest(t, left, "e1")
	if _, err := again.Record(acked.Hash); err != nil {
		t.Errorf("the save before the failure: %v", err)
	}
}

// TestLostTailRaisesTheAlarm cuts the database back behind the high-water mark.
func TestLostTailRaisesTheAlarm(t *testing.T) {
	fs, peerFS := vfs.NewCrashableMem(), vfs.NewMem()
	s, peer := openTest(t, fs, "e1"), openTest(t, peerFS, "e2")
	peer.Admit(context.Background(), s.Node(), "e1")
	mustSave(t, s, page("A.md", "one"))
	old := fs.CrashClone(vfs.CrashCloneCfg{})
	lost := mustSave(t, s, page("A.md", "two"))[0]
	mustReceive(t, peer, records(t, s, nil))
	m, _ := fs.Open("/data/mark")
	b := make([]byte, 2*markSlotSize)
	m.ReadAt(b, 0)
	f, err := old.Create("/data/mark", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	f.Write(b)
	f.Close()
	s = openTest(t, old, "e1")
	if !s.Stats().Regressed {
		t.Fatal("acknowledged saves are missing and nobody says so")
	}
	mustSave(t, s, page("B.md", "meanwhile"))
	mustSave(t, s, page("B.md", "and again"))
	mustSave(t, s, page("B.md", "once more"))
	s.Close()
	s = openTest(t, old, "e1")
	if !s.Stats().Regressed {
		t.Error("the alarm is forgotten after new saves and a restart")
	}
	mustReceive(t, s, records(t, peer, s.Vector()))
	if _, err := s.Record(lost.Hash); err != nil || s.Stats().Regressed {
		t.Errorf("after pulling back: %v, stats %+v", err, s.Stats())
	}
}
