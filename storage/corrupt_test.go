package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// damaged is a store's directory as a crash left it, and what it had
// acknowledged.
type damaged struct {
	disk  *vfs.MemFS
	texts map[Hash][]byte
	peer  *Store        // a neighbor that has everything
	own   map[Hash]bool // of texts
	final Digest

	errors, named int // of damage that a reader met; of them with file and offset
}

func newDamaged(t *testing.T) *damaged {
	t.Helper()
	d := &damaged{texts: map[Hash][]byte{}, own: map[Hash]bool{}, peer: openTest(t, vfs.NewMem(), "peer")}
	disk := vfs.NewCrashableMem()
	s := openTest(t, disk, "e1")
	if err := s.Admit(t.Context(), d.peer.Node(), "peer"); err != nil {
		t.Fatal(err)
	}
	if err := d.peer.Admit(t.Context(), s.Node(), "e1"); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(5, 5))
	for round := range 3 {
		for i := range 40 {
			text := make([]byte, 500+rng.IntN(8000))
			for j := range text {
				text[j] = byte('a' + rng.IntN(26))
			}
			from := s
			if i%4 == 3 {
				from = d.peer
			}
			c := mustSave(t, from, page(fmt.Sprintf("P%d-%d.md", round, i), string(text)))[0]
			d.texts[c.Hash] = text
			d.own[c.Hash] = from == s
			if i%8 == 7 {
				mustReceive(t, s, records(t, d.peer, s.Vector()))
				mustReceive(t, d.peer, records(t, s, d.peer.Vector()))
			}
		}
		mustReceive(t, s, records(t, d.peer, s.Vector()))
		mustReceive(t, d.peer, records(t, s, d.peer.Vector()))
		if round < 2 { // what was in the log becomes a table when the store opens
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = openTest(t, disk, "e1")
		}
	}
	d.final = s.Stats().Digest
	if d.peer.Stats().Digest != d.final {
		t.Fatal("the neighbor differs before anything is damaged")
	}
	d.disk = disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rng}) // as kill -9 leaves it
	return d
}

// files lists what can be damaged, by kind.
func (d *damaged) files(t *testing.T) map[string][]string { return listFiles(t, d.disk) }

func listFiles(t *testing.T, disk *vfs.MemFS) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	var walk func(dir string)
	walk = func(dir string) {
		names, err := disk.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			path := filepath.Join(dir, name)
			info, err := disk.Stat(path)
			if errors.Is(err, os.ErrNotExist) {
				continue // Pebble removes what it no longer needs
			}
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case info.IsDir():
				walk(path)
			case info.Size() == 0:
			case strings.HasSuffix(name, ".log"):
				all["log"] = append(all["log"], path)
			case strings.HasSuffix(name, ".sst"):
				all["table"] = append(all["table"], path)
			case strings.HasPrefix(name, "MANIFEST"):
				all["manifest"] = append(all["manifest"], path)
			case name == keyName:
				all["key"] = append(all["key"], path)
			default:
				all["other"] = append(all["other"], path)
			}
		}
	}
	walk("/data")
	return all
}

// damage flips one bit of a file, or cuts it.
func damage(t *testing.T, fs vfs.FS, path string, rng *rand.Rand) (what string) {
	t.Helper()
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	at := rng.IntN(len(b))
	if strings.HasSuffix(path, ".log") { // its end is zeros that were never written
		at = rng.IntN(len(bytes.TrimRight(b, "\x00")))
	}
	if rng.IntN(3) == 0 {
		b = b[:at]
		what = fmt.Sprintf("%s cut at %d", path, at)
	} else {
		bit := rng.IntN(8)
		b[at] ^= 1 << bit
		what = fmt.Sprintf("bit %d of byte %d of %s flipped", bit, at, path)
	}
	f, err = fs.Create(path, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.Write(b)
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return what
}

// damageOpen flips bits of one file of a store that is open, reads everything,
// and closes it. Whoever met damage was told of it.
func (d *damaged) damageOpen(t *testing.T, disk *vfs.MemFS, kind string, rng *rand.Rand, log io.Writer) (path, what string, met bool) {
	t.Helper()
	s, err := openLogged(disk, log)
	if err != nil {
		t.Fatal(err)
	}
	path, b := d.pick(t, disk, kind, rng)
	at := rng.IntN(len(b))
	end := min(len(b), at+1+rng.IntN(64))
	for i := at; i < end; i++ {
		b[i] ^= byte(1 + rng.IntN(255))
	}
	f, err := disk.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.WriteAt(b[at:end], int64(at))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	what = fmt.Sprintf("bytes %d to %d of %s changed while it was open", at, end, path)
	missing, unread := d.look(t, s, what)
	if missing > 0 {
		t.Errorf("%s: %d commits are said not to be here", what, missing)
	}
	if met = unread > 0; met && s.Damage().What == "" {
		t.Errorf("%s: nobody is told", what)
	}
	if err := s.Close(); err != nil {
		t.Errorf("%s: close: %v", what, err)
	}
	return path, what, met
}

// pick chooses a file of a kind that the open store has. Pebble removes files that
// it no longer needs, perhaps just now.
func (d *damaged) pick(t *testing.T, disk *vfs.MemFS, kind string, rng *rand.Rand) (path string, content []byte) {
	t.Helper()
	for {
		all := listFiles(t, disk)
		files := all[kind]
		if len(files) == 0 { // the log of a store that was just opened is empty
			files = all["table"]
		}
		path = files[rng.IntN(len(files))]
		content, err := readWhole(disk, path, 1<<30)
		if err == nil && len(content) > 0 {
			return path, content
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

func openLogged(disk *vfs.MemFS, log io.Writer) (*Store, error) {
	return Open(Config{Dir: "/data", FS: disk, Name: "e1", Logger: slog.New(slog.NewTextHandler(log, nil))})
}

// TestCorruption damages one file in each of 1,000 cases (ERWIK_CORRUPTIONS sets
// how many, ERWIK_CORRUPTION the number of the first), half of them while the store is closed and half while it is open.
// A damaged key is refused. Everything else heals by itself: what is damaged is
// named and kept, no other bytes are given, and after one pull from a neighbor
// nothing is missing.
func TestCorruption(t *testing.T) {
	d := newDamaged(t)
	files := d.files(t)
	kinds := slices.Sorted(maps.Keys(files))
	cases := uint64(1000)
	if v, err := strconv.ParseUint(os.Getenv("ERWIK_CORRUPTIONS"), 10, 32); err == nil {
		cases = v
	}
	first, _ := strconv.ParseUint(os.Getenv("ERWIK_CORRUPTION"), 10, 64)
	outcomes := map[string]int{}
	for i := first; i < first+cases; i++ {
		rng := rand.New(rand.NewPCG(i, 7))
		kind := kinds[i%uint64(len(kinds))]
		disk := vfs.NewMem()
		if ok, err := vfs.Clone(d.disk, disk, "/data", "/data"); err != nil || !ok {
			t.Fatal(ok, err)
		}
		var log bytes.Buffer
		if i/uint64(len(kinds))%2 == 0 {
			path := files[kind][rng.IntN(len(files[kind]))]
			what := damage(t, disk, path, rng)
			outcomes[kind+": "+d.judge(t, disk, path, what, &log)]++
			continue
		}
		path, what, met := d.damageOpen(t, disk, kind, rng, &log)
		outcome := "not met before the next start"
		if met {
			outcome = "met while reading"
		}
		outcomes[kind+" of an open store: "+outcome+", "+d.judge(t, disk, path, what, &log)]++
	}
	for _, o := range slices.Sorted(maps.Keys(outcomes)) {
		t.Logf("%3d %s", outcomes[o], o)
	}
	t.Logf("%d errors, %d of them name file and offset", d.errors, d.named)
	if d.named*100 < d.errors*99 {
		t.Error("too few errors say where")
	}
}

// judge opens a damaged store and returns what it did about the damage.
func (d *damaged) judge(t *testing.T, disk *vfs.MemFS, path, what string, log *bytes.Buffer) string {
	t.Helper()
	file := strings.TrimSuffix(filepath.Base(path), ".sst") // Pebble says: file 000009: block 66917/32611
	s, err := openLogged(disk, log)
	if err != nil {
		if file != keyName && file != formatName || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: refused: %v", what, err)
		}
		return "refused"
	}
	outcome := "whole"
	if s.Damage().Repaired {
		outcome = "repaired at the start"
	}
	missing, unread := d.look(t, s, what)
	if unread > 0 { // found while it runs: the next start repairs
		if s.Damage().What == "" || !strings.Contains(log.String(), file) {
			t.Errorf("%s: nobody is told: %+v", what, s.Damage())
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = openLogged(disk, log); err != nil {
			t.Fatalf("%s: after it was found: %v", what, err)
		}
		if missing, unread = d.look(t, s, what); unread > 0 || !s.Damage().Repaired {
			t.Errorf("%s: %d unreadable after the repair", what, unread)
		}
		outcome = "found while it ran, repaired at the next start"
	}
	defer s.Close()
	if s.Damage().Repaired {
		if !strings.Contains(log.String(), file) {
			t.Errorf("%s: the damage is not named: %s", what, log.String())
		}
		if _, err := disk.Stat("/data/damaged/0001/pebble/" + filepath.Base(path)); err != nil {
			t.Errorf("%s: the damaged file is not kept: %v", what, err)
		}
	}
	// What neighbors see: they compare vectors.
	if missing > 0 {
		d.noticed(t, s, what)
		outcome += ", short, and pulled back"
	}
	if _, err = s.Receive(t.Context(), records(t, d.peer, s.Vector())); err != nil {
		t.Errorf("%s: receive: %v", what, err)
	}
	missing, unread = d.look(t, s, what)
	if st := s.Stats(); missing+unread > 0 || st.Digest != d.final || st.Regressed || s.Damage().Behind > 0 {
		t.Errorf("%s: %d missing, %d unreadable after the pull, %d behind, regressed %t, digest %t", what, missing, unread, s.Damage().Behind, st.Regressed, st.Digest == d.final)
	}
	for log, n := range d.peer.Vector() { // there may be a log more: lost admissions are made anew
		if got := s.Vector()[log]; got != n {
			t.Errorf("%s: log %s says %d, the neighbor's %d", what, log, got, n)
		}
	}
	checkWhole(t, s, what)
	return outcome
}

// noticed demands that the store says so when own saves are missing.
func (d *damaged) noticed(t *testing.T, s *Store, what string) {
	t.Helper()
	if s.Damage().Repaired || s.Stats().Regressed {
		return
	}
	for h, own := range d.own {
		if _, err := s.Record(h); own && errors.Is(err, ErrNotFound) {
			t.Errorf("%s: own saves are missing without a word", what)
			return
		}
	}
}

// look reads every commit and counts what is missing and what can't be read.
func (d *damaged) look(t *testing.T, s *Store, what string) (missing, unread int) {
	t.Helper()
	for h, text := range d.texts {
		r, err := s.Record(h)
		switch {
		case errors.Is(err, ErrNotFound):
			missing++
		case errors.Is(err, ErrCorrupt):
			unread++
			d.errors++
			if namesPlace.MatchString(err.Error()) {
				d.named++
			} else {
				t.Logf("%s: the error names no place: %v", what, err)
			}
		case err != nil:
			t.Errorf("%s: reading: %v", what, err)
		case !bytes.Equal(r.Content, text):
			t.Errorf("%s: wrong bytes", what)
		}
	}
	return missing, unread
}

// namesPlace is how an error names a file and an offset in it.
var namesPlace = regexp.MustCompile(`0\d+(\.sst)?: .*block \d+/\d+|(sst|log|MANIFEST-\d+).* offset \d+`)
