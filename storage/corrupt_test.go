package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
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
func (d *damaged) files(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	var walk func(dir string)
	walk = func(dir string) {
		names, err := d.disk.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			path := filepath.Join(dir, name)
			info, err := d.disk.Stat(path)
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

// TestCorruption damages one file in each of 300 cases. The store must refuse to
// open and name the file; or open and have everything; or say what is missing
// and take it back from a neighbor; or, where a table is damaged, refuse to
// read what lies there and name the file. Never does it give other bytes, or
// lack something without a word.
func TestCorruption(t *testing.T) {
	d := newDamaged(t)
	files := d.files(t)
	kinds := slices.Sorted(maps.Keys(files))
	outcomes := map[string]int{}
	for i := range 300 {
		rng := rand.New(rand.NewPCG(uint64(i), 7))
		kind := kinds[i%len(kinds)]
		path := files[kind][rng.IntN(len(files[kind]))]
		disk := vfs.NewMem()
		if ok, err := vfs.Clone(d.disk, disk, "/data", "/data"); err != nil || !ok {
			t.Fatal(ok, err)
		}
		what := damage(t, disk, path, rng)
		outcomes[kind+": "+d.judge(t, disk, path, what)]++
	}
	for _, o := range slices.Sorted(maps.Keys(outcomes)) {
		t.Logf("%3d %s", outcomes[o], o)
	}
}

// judge opens a damaged store and returns what it did about the damage.
func (d *damaged) judge(t *testing.T, disk *vfs.MemFS, path, what string) string {
	t.Helper()
	s, err := Open(Config{Dir: "/data", FS: disk, Name: "e1"})
	file := strings.TrimSuffix(filepath.Base(path), ".sst") // Pebble says: file 000009: block 66917/32611
	if err != nil {
		if !strings.Contains(err.Error(), file) {
			t.Errorf("%s: the error does not name the file: %v", what, err)
		}
		return "refused"
	}
	defer s.Close()
	missing, unread := 0, 0
	look := func() {
		missing, unread = 0, 0
		for h, text := range d.texts {
			r, err := s.Record(h)
			switch {
			case errors.Is(err, ErrNotFound):
				missing++
			case err != nil:
				unread++
				if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), file) {
					t.Errorf("%s: reading: %v", what, err)
				}
			case !bytes.Equal(r.Content, text):
				t.Errorf("%s: wrong bytes", what)
			}
		}
	}
	look()
	short := s.Stats().Digest != d.final
	regressed := s.Stats().Regressed
	if short && !regressed {
		for h, own := range d.own {
			if _, err := s.Record(h); own && errors.Is(err, ErrNotFound) {
				t.Fatalf("%s: an own save is missing without a word", what)
			}
		}
	}
	if missing > 0 && unread == 0 && !short {
		t.Errorf("%s: %d commits are missing and the digest is the same", what, missing)
	}
	if unread > 0 {
		return "reading it is refused"
	}
	// What neighbors see: they compare vectors.
	_, err = s.Receive(t.Context(), records(t, d.peer, s.Vector()))
	if err != nil {
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: receive: %v", what, err)
		}
		return "writing is refused"
	}
	look()
	if missing+unread > 0 || s.Stats().Digest != d.final || s.Stats().Regressed {
		t.Errorf("%s: %d missing, %d unreadable after the pull, regressed %t", what, missing, unread, s.Stats().Regressed)
	}
	switch {
	case regressed:
		return "regressed, and pulled back"
	case short:
		return "short of received commits, and pulled back"
	}
	return "whole"
}
