package storage

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestLargeBlockIsRefusedAtOnce: the largest page lies in a block of its own.
// Where that is damaged, its reader and the repair get an error that names file
// and offset, without minutes of search.
func TestLargeBlockIsRefusedAtOnce(t *testing.T) {
	fs := vfs.NewMem()
	s := openTest(t, fs, "a")
	c := mustSave(t, s, page("P.md", hex.EncodeToString(randomBytes(1, MaxContent/2))))[0]
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, fs, "a") // what was in the log becomes a table
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	flipIn(t, fs, largestTable(t, fs))
	begin := time.Now()
	var log bytes.Buffer
	s, err := openLogged(fs, &log)
	if err != nil {
		t.Fatal(err)
	}
	if !s.Damage().Repaired { // nothing had to be read there
		if _, err := s.Record(c.Hash); !errors.Is(err, ErrCorrupt) || !namesPlace.MatchString(err.Error()) {
			t.Errorf("got %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = openLogged(fs, &log); err != nil {
			t.Fatal(err)
		}
	}
	defer s.Close()
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	if !s.Damage().Repaired || !namesPlace.MatchString(log.String()) {
		t.Errorf("repaired %t: %s", s.Damage().Repaired, log.String())
	}
}
