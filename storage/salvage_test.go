package storage

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// TestCrashInRepair crashes before each single operation on the file system
// that a repair makes. Whatever it leaves opens, and after a pull has everything;
// the damaged table is still there.
func TestCrashInRepair(t *testing.T) {
	d := newDamaged(t)
	table := d.files(t)["table"][0]
	mem := vfs.NewCrashableMem()
	if ok, err := vfs.Clone(d.disk, mem, "/data", "/data", vfs.CloneSync); err != nil || !ok {
		t.Fatal(ok, err)
	}
	what := damage(t, mem, table, rand.New(rand.NewPCG(1, 1)))
	for _, dir := range []string{"/", "/data", "/data/pebble", "/data/chunks"} {
		if err := syncDir(mem, dir); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := readWhole(mem, table, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeSmall(mem, "/data", repairName, repair{phase: repairWanted, reason: what}.encode()); err != nil {
		t.Fatal(err)
	}
	type crash struct {
		fs   *vfs.MemFS
		when string
	}
	var mu sync.Mutex
	var crashes []crash
	rng := rand.New(rand.NewPCG(3, 3))
	inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			for _, kept := range []int{0, 50} {
				when := fmt.Sprintf("before operation %d, %v of %s, %d %% kept", len(crashes)/2, op.Kind, op.Path, kept)
				crashes = append(crashes, crash{mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: kept, RNG: rng}), when})
			}
		}
		return nil
	})
	s, err := Open(Config{Dir: "/data", FS: errorfs.Wrap(cloneable{mem, &mu}, inject), Name: "e1", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if !s.Damage().Repaired {
		t.Error("nothing was repaired")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range crashes {
		d.survives(t, c.fs, c.when, string(whole))
	}
	if len(crashes) < 100 {
		t.Errorf("only %d crash points", len(crashes))
	}
	t.Logf("%d crashes at %d file operations", len(crashes), len(crashes)/2)
}

func (d *damaged) survives(t *testing.T, fs *vfs.MemFS, when, table string) {
	t.Helper()
	s, err := Open(Config{Dir: "/data", FS: fs, Name: "e1"})
	if err != nil {
		t.Fatalf("%s: the store does not open: %v", when, err)
	}
	defer s.Close()
	mustReceive(t, s, records(t, d.peer, s.Vector()))
	missing, unread := d.look(t, s, when)
	if st := s.Stats(); missing+unread > 0 || st.Digest != d.final || s.Damage().Behind > 0 {
		t.Fatalf("%s: %d missing, %d unreadable, %d behind", when, missing, unread, s.Damage().Behind)
	}
	if _, err := fs.Stat("/data/" + repairName); err == nil {
		t.Errorf("%s: a repair is still wanted", when)
	}
	kept, _ := fs.List("/data/damaged")
	for _, folder := range kept {
		found := false
		dirs, _ := fs.List("/data/damaged/" + folder)
		for _, dir := range dirs {
			names, _ := fs.List("/data/damaged/" + folder + "/" + dir)
			for _, name := range names {
				b, err := readWhole(fs, "/data/damaged/"+folder+"/"+dir+"/"+name, 1<<30)
				found = found || err == nil && string(b) == table
			}
		}
		if found {
			return
		}
	}
	t.Errorf("%s: the damaged table is not kept: %v", when, kept)
}

// TestUnmarkedRepairNote: a note of a repair that is itself damaged has the
// repair made again.
func TestUnmarkedRepairNote(t *testing.T) {
	whole := repair{repairBuilt, "0007", "a \"table\"\nis damaged"}
	if got := parseRepair(whole.encode()); got != whole {
		t.Errorf("got %+v", got)
	}
	for _, text := range []string{"", "erwik repair 1\nbuilt\nx\n\"\"\n", "erwik repair 2\nbuilt\n0001\n\"\"\n"} {
		if got := parseRepair([]byte(text)); got.phase != repairWanted {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

// TestNothingLeft: where nothing of the database can be read the node starts
// empty, as itself, and neighbors give everything back.
func TestNothingLeft(t *testing.T) {
	d := newDamaged(t)
	disk := vfs.NewMem()
	if ok, err := vfs.Clone(d.disk, disk, "/data", "/data"); err != nil || !ok {
		t.Fatal(ok, err)
	}
	if err := disk.RemoveAll("/data/pebble"); err != nil {
		t.Fatal(err)
	}
	s := openTest(t, disk, "e1")
	if !s.Stats().Regressed || !s.Damage().Repaired {
		t.Errorf("no alarm: %+v, %+v", s.Stats(), s.Damage())
	}
	if !s.Admitted(d.peer.Node()) {
		t.Error("who was admitted is forgotten")
	}
	mustReceive(t, s, records(t, d.peer, s.Vector()))
	if missing, unread := d.look(t, s, "all gone"); missing+unread > 0 || s.Stats().Digest != d.final {
		t.Errorf("%d missing, %d unreadable", missing, unread)
	}
}
