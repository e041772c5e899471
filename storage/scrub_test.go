package storage

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// scrubClock is a clock that moves while the scrub rests, and only when the
// test lets it.
type scrubClock struct {
	mu   sync.Mutex
	now  time.Time
	step chan time.Duration
}

func newScrubClock() *scrubClock {
	return &scrubClock{now: time.Unix(1_800_000_000, 0), step: make(chan time.Duration)}
}

func (c *scrubClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *scrubClock) rest(ctx context.Context, d time.Duration) {
	select {
	case c.step <- d:
		c.mu.Lock()
		c.now = c.now.Add(d)
		c.mu.Unlock()
	case <-ctx.Done():
	}
}

// until lets the scrub go on until done says so.
func (c *scrubClock) until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for range 100_000 {
		if done() {
			return
		}
		select {
		case <-c.step:
		case <-time.After(time.Minute):
			t.Fatalf("%s: the scrub stands still", what)
		}
	}
	t.Fatalf("%s: never", what)
}

func (c *scrubClock) open(t *testing.T, fs vfs.FS, damaged func(string)) *Store {
	t.Helper()
	s, err := Open(Config{Dir: "/data", FS: fs, Name: "b", Clock: c.Now, ScrubRest: c.rest, Damaged: damaged})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// flipIn flips a bit in the middle of a file that may be open.
func flipIn(t *testing.T, fs vfs.FS, path string) {
	t.Helper()
	b, err := readWhole(fs, path, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	at := len(b) / 2
	if _, err := f.WriteAt([]byte{b[at] ^ 4}, int64(at)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// largestTable returns the path of the largest table of a database.
func largestTable(t *testing.T, fs vfs.FS) (path string) {
	t.Helper()
	names, err := fs.List("/data/pebble")
	if err != nil {
		t.Fatal(err)
	}
	most := int64(0)
	for _, name := range names {
		info, err := fs.Stat("/data/pebble/" + name)
		if err == nil && strings.HasSuffix(name, ".sst") && info.Size() > most {
			path, most = "/data/pebble/"+name, info.Size()
		}
	}
	if path == "" {
		t.Fatal("no table")
	}
	return path
}

// TestScrub: a block of a table and a chunk of a file that nobody reads are
// found damaged within a round; the chunk is fetched again, the next start
// repairs the database, and the neighbor gives back what is gone.
func TestScrub(t *testing.T) {
	clock, fs := newScrubClock(), vfs.NewMem()
	a, b := openTest(t, vfs.NewMem(), "a"), clock.open(t, fs, nil)
	if err := b.Admit(t.Context(), a.Node(), "a"); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		mustSave(t, a, page(fmt.Sprintf("P%d.md", i), hex.EncodeToString(randomBytes(uint64(i), 4000))))
	}
	file := mustSave(t, a, upload(t, a, "x.bin", string(randomBytes(9, FileChunk+500))))[0]
	mustReceive(t, b, records(t, a, nil))
	if err := fetchMissing(b, a); err != nil {
		t.Fatal(err)
	}
	start := clock.Now()
	clock.until(t, "a whole round", func() bool { last, _ := b.Scrubbed(); return !last.Ended.IsZero() })
	last, _ := b.Scrubbed()
	if last.Commits != b.Stats().Arrival || last.Bytes < 100*8000+FileChunk+500 || last.Found != 0 || b.Damage().What != "" {
		t.Errorf("nothing was damaged: %+v, %+v", last, b.Damage())
	}
	if took := last.Ended.Sub(start); took < scrubRound/2 || took > 7*24*time.Hour {
		t.Errorf("a round took %v", took)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}

	told := make(chan string, 1)
	b = clock.open(t, fs, func(what string) { told <- what })
	if kept, _ := b.Scrubbed(); !kept.Ended.Equal(last.Ended) || kept.Commits != last.Commits {
		t.Errorf("after a restart: %+v, not %+v", kept, last)
	}
	flipIn(t, fs, largestTable(t, fs))
	chunk := checkedManifest(t, a, file.Hash).Chunks[1]
	flipIn(t, fs, b.chunks.path(chunk))
	clock.until(t, "the next round", func() bool { now, _ := b.Scrubbed(); return now.Ended.After(last.Ended) })
	last, _ = b.Scrubbed()
	if last.Found < 2 || b.Damage().What == "" || b.Stats().Lacking != 1 {
		t.Errorf("what is damaged was not found: %+v, %+v, %d files lack chunks", last, b.Damage(), b.Stats().Lacking)
	}
	if what := <-told; what != b.Damage().What {
		t.Errorf("told of %q, not of %q", what, b.Damage().What)
	}
	if _, err := fs.Stat("/data/damaged/chunks/" + chunk.String()); err != nil {
		t.Errorf("the damaged chunk is not kept: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = clock.open(t, fs, nil)
	mustReceive(t, b, records(t, a, b.Vector()))
	if err := fetchMissing(b, a); err != nil {
		t.Fatal(err)
	}
	if !b.Damage().Repaired || b.Damage().Behind != 0 || b.Stats().Lacking != 0 || b.Stats().Digest != a.Stats().Digest {
		t.Errorf("after the repair: %+v, %+v", b.Damage(), b.Stats())
	}
	checkWhole(t, b, "at the end")
}

// TestScrubReadsTheManifest: a manifest that is damaged while the store is open
// is found within a round, though Pebble does not read it again, and what was
// only in the log then is in a table.
func TestScrubReadsTheManifest(t *testing.T) {
	clock, fs := newScrubClock(), vfs.NewMem()
	s := clock.open(t, fs, nil)
	mustSave(t, s, page("P.md", "text"))
	about, err := pebble.Peek("/data/pebble", fs)
	if err != nil {
		t.Fatal(err)
	}
	flipIn(t, fs, about.ManifestFilename)
	clock.until(t, "a round", func() bool { last, _ := s.Scrubbed(); return !last.Ended.IsZero() })
	if what := s.Damage().What; !strings.Contains(what, about.ManifestFilename) {
		t.Errorf("the damage is said to be %q", what)
	}
	if n := s.db.Metrics().Levels[0].TablesCount + s.db.Metrics().Levels[6].TablesCount; n == 0 {
		t.Error("nothing was made a table")
	}
	want := s.Stats()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = clock.open(t, fs, nil)
	if got := s.Stats(); !s.Damage().Repaired || got.Digest != want.Digest || got.Regressed || s.Damage().What != "" {
		t.Errorf("after the repair: %+v, %+v", s.Damage(), got)
	}
}

// TestScrubGoesOn: after a restart a round goes on where it was.
func TestScrubGoesOn(t *testing.T) {
	clock, fs := newScrubClock(), vfs.NewMem()
	s := clock.open(t, fs, nil)
	// A chunk ends a step, so each file is one.
	for i := range 20 {
		mustSave(t, s, upload(t, s, fmt.Sprintf("x%d", i), fmt.Sprint(i)))
	}
	for range 3 {
		_, before := s.Scrubbed()
		clock.until(t, "five commits", func() bool { _, now := s.Scrubbed(); return now.Commits >= before.Commits+5 })
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		was := s.scrub.mu.place
		s = clock.open(t, fs, nil)
		if got := s.scrub.mu.place; string(got.encode()) != string(was.encode()) || got.arrival < 5 {
			t.Fatalf("goes on at %+v, was at %+v", got, was)
		}
	}
	clock.until(t, "the end", func() bool { last, _ := s.Scrubbed(); return last.Commits == s.Stats().Arrival && last.Found == 0 })
}

// TestScrubPlace holds the bytes of the scrub's place, and when its steps are due.
func TestScrubPlace(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	p := scrubPlace{start: at, arrival: 50, chunk: 3, now: Scrub{Commits: 49, Bytes: 1000, Found: 1},
		last: Scrub{Ended: at.Add(-time.Hour), Commits: 90, Bytes: 2000, Found: 2}, key: "\x05P.md"}
	golden(t, "scrub.hex", []byte(hex.EncodeToString(p.encode())+"\n"))
	for _, want := range []scrubPlace{p, {start: at}} {
		if got, err := parseScrubPlace(want.encode()); err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	for _, bad := range [][]byte{nil, p.encode()[:20], append([]byte{2}, p.encode()[1:]...), make([]byte, 1<<20)} {
		if _, err := parseScrubPlace(bad); err == nil {
			t.Errorf("%d bytes were taken", len(bad))
		}
	}
	if got := p.due(99).Sub(at); got != scrubRound/2 {
		t.Errorf("half of it is due after %v", got)
	}
	if end := p.due(10); !end.Before(at.Add(scrubRound)) {
		t.Errorf("the end is due at %v", end)
	}
	p.finish(at.Add(time.Hour))
	if p.start != at.Add(scrubRound) || p.last.Commits != 49 || p.arrival != 0 {
		t.Errorf("after the end: %+v", p)
	}
}

// TestGoldenRepairFormats holds the bytes of what a repair reads and leaves.
func TestGoldenRepairFormats(t *testing.T) {
	nodes := []NodeID{keyID(testKey(1)), keyID(testKey(2))}
	values := []State{{"address", []byte("192.0.2.1:7000")}, {"empty", []byte{}}}
	b := encodePool(nodes, values)
	golden(t, "pool.hex", []byte(hex.EncodeToString(b)+"\n"))
	gotNodes, gotValues, err := parsePool(b)
	if err != nil || fmt.Sprint(gotNodes, gotValues) != fmt.Sprint(nodes, values) {
		t.Errorf("read back: %v, %v, %v", gotNodes, gotValues, err)
	}
	for i := range b {
		b[i] ^= 1
		if _, _, err := parsePool(b); err == nil {
			t.Errorf("byte %d changed and nobody noticed", i)
		}
		b[i] ^= 1
	}
	log := LogID{Node: keyID(testKey(1)), Nonce: 0x0123456789abcdef}
	golden(t, "key-island.hex", []byte(hex.EncodeToString(islandKey(nil, log, 42, Hash{7, 8}))+"\n"))
	golden(t, "key-wanted.hex", []byte(hex.EncodeToString(wantedKey(nil, Hash{7, 8}))+"\n"))
	golden(t, "repair.txt", repair{repairBuilt, "0007", "a \"table\"\nis damaged"}.encode())
}
