package storage

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestManifestMustReplay changes each byte of a manifest and cuts it at each
// offset, between two edits too. Pebble alone takes most of that for the end of
// the manifest. The store repairs itself, names the file, and lacks nothing.
func TestManifestMustReplay(t *testing.T) {
	d := newDamaged(t)
	s := openTest(t, d.disk, "e1") // what is in the log becomes a table, and the manifest has an edit
	want := s.Stats()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	about, err := pebble.Peek("/data/pebble", d.disk)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := readWhole(d.disk, about.ManifestFilename, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	ends := map[int]bool{}
	for r := newLogReader(record.NewReader, bytes.NewReader(whole), 0); ; {
		edit, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			_, err = io.Copy(io.Discard, edit)
		}
		if err != nil {
			t.Fatal(err)
		}
		ends[int(r.Offset())] = true
	}
	if len(ends) < 2 {
		t.Fatalf("the manifest has %d edits, the test asks too little", len(ends))
	}
	try := func(what string, content []byte) {
		t.Helper()
		disk := vfs.NewMem()
		if ok, err := vfs.Clone(d.disk, disk, "/data", "/data"); err != nil || !ok {
			t.Fatal(ok, err)
		}
		overwrite(t, disk, about.ManifestFilename, content)
		var log bytes.Buffer
		s, err := openLogged(disk, &log)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		got := s.Stats()
		if !s.Damage().Repaired || got.Digest != want.Digest || got.Commits != want.Commits || got.Regressed {
			t.Errorf("%s: repaired %t, %+v, want %+v", what, s.Damage().Repaired, got, want)
		}
		if !strings.Contains(log.String(), about.ManifestFilename) {
			t.Errorf("%s: the file is not named", what)
		}
		if err := s.Close(); err != nil {
			t.Errorf("%s: close: %v", what, err)
		}
	}
	for at := range whole {
		if at%5 == 0 {
			changed := bytes.Clone(whole)
			changed[at] ^= 0x10
			try(fmt.Sprintf("byte %d of %d", at, len(whole)), changed)
		}
		if at%25 == 0 || ends[at] {
			try(fmt.Sprintf("cut at %d of %d", at, len(whole)), whole[:at])
		}
	}
	t.Logf("a manifest of %d bytes and %d edits", len(whole), len(ends))
}

func overwrite(t *testing.T, fs vfs.FS, path string, content []byte) {
	t.Helper()
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.Write(content)
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestManifestMark holds the bytes of the mark, and that a damaged slot says
// nothing.
func TestManifestMark(t *testing.T) {
	fs := vfs.NewMem()
	if err := fs.MkdirAll("/db", 0o700); err != nil {
		t.Fatal(err)
	}
	m := readEditMark(fs, "/db")
	for turn, e := range []editSlot{{manifest: 7, length: 190}, {manifest: 7, length: 251}, {manifest: 9, length: 52}} {
		if err := m.write(e.manifest, e.length); err != nil {
			t.Fatal(turn, err)
		}
	}
	m = readEditMark(fs, "/db")
	if m.reach(7) != 251 || m.reach(9) != 52 || m.reach(8) != 0 {
		t.Errorf("read back: %+v", m.slots)
	}
	b, err := readWhole(fs, "/db/"+editMarkName, 1<<10)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "manifest-mark.hex", []byte(hex.EncodeToString(b)+"\n"))
	for at := range b {
		bad := bytes.Clone(b)
		bad[at] ^= 1
		overwrite(t, fs, "/db/"+editMarkName, bad)
		m := readEditMark(fs, "/db")
		if (m.reach(7) == 251) == (at/editMarkSlotSize == 0) || (m.reach(9) == 52) == (at/editMarkSlotSize == 1) {
			t.Errorf("byte %d changed: %+v", at, m.slots)
		}
	}
}
