package storage

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestRepairWithBans damages tables of a store that holds a ban and commits that
// it hides. After the repair and a pull it shows what its neighbor shows.
func TestRepairWithBans(t *testing.T) {
	islands, hidden := 0, 0
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 11))
		fs := vfs.NewMem()
		s, b, c := openTest(t, fs, "s"), openTest(t, vfs.NewMem(), "b"), openTest(t, vfs.NewMem(), "c")
		mustAdmit(t, s, b, c)
		mustAdmit(t, b, s, c)
		mustAdmit(t, c, s, b)
		all := func() []*Store { return []*Store{s, b, c} }
		give := func(from, to *Store) { mustReceive(t, to, records(t, from, to.Vector())) }
		for step := range 60 {
			who := all()[rng.IntN(3)]
			path := fmt.Sprintf("P%d.md", rng.IntN(6))
			heads, err := who.Heads(path)
			if err != nil {
				t.Fatal(err)
			}
			var parents []Hash
			for _, h := range heads {
				if rng.IntN(3) > 0 {
					parents = append(parents, h.Hash)
				}
			}
			mustSave(t, who, page(path, fmt.Sprintf("%d %x", step, randomBytes(seed, 600)), parents...))
			if rng.IntN(3) == 0 {
				give(all()[rng.IntN(3)], all()[rng.IntN(3)])
			}
			if step == 40 {
				mustBan(t, c, b.Node())
			}
			if step%20 == 19 {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = openTest(t, fs, "s")
			}
		}
		for _, pair := range [][2]*Store{{b, c}, {s, c}, {c, s}} {
			give(pair[0], pair[1])
		}
		want := c.Stats()
		if s.Stats().Digest != want.Digest {
			t.Fatalf("seed %d: they differ before anything is damaged", seed)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		tables := listFiles(t, fs)["table"]
		for range 1 + rng.IntN(2) {
			flipAt(t, fs, tables[rng.IntN(len(tables))], rng)
		}
		if err := writeSmall(fs, "/data", repairName, repair{phase: repairWanted, reason: "a test"}.encode()); err != nil {
			t.Fatal(err)
		}
		s = openTest(t, fs, "s")
		islands += s.Damage().Behind
		checkAgainstScratch(t, s)
		give(c, s)
		got := s.Stats()
		if got.Digest != want.Digest || got.Pages != want.Pages || got.Commits != want.Commits || s.Damage().Behind != 0 {
			t.Errorf("seed %d: got %+v, want %+v; %d behind", seed, got, want, s.Damage().Behind)
		}
		checkAgainstScratch(t, s)
		checkNewest(t, s) // late parents, hidden heads and all
		hidden += len(s.Judged())
	}
	if islands < 40 || hidden < 20 {
		t.Errorf("%d islands, %d stores with a ban: the test asks too little", islands, hidden)
	}
	t.Logf("%d islands, %d stores with a ban", islands, hidden)
}

// flipAt flips a bit somewhere in a file.
func flipAt(t *testing.T, fs vfs.FS, path string, rng *rand.Rand) {
	t.Helper()
	b, err := readWhole(fs, path, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	at := rng.IntN(len(b))
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{b[at] ^ 4}, int64(at)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
