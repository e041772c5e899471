package storage

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// equivocator signs commits of one log as it likes.
type equivocator struct {
	s    *Store
	like *Commit // whose fields are copied
	made int
}

// commit makes a commit that follows after, zero for the first of the log.
func (e *equivocator) commit(after Record, rng *rand.Rand) Record {
	e.made++
	c, content := *e.like, fmt.Appendf(nil, "text %d %d", e.made, rng.IntN(1000))
	c.Sequence, c.Previous = 1, Hash{}
	if after.Commit != nil {
		c.Sequence, c.Previous = after.Sequence+1, after.Hash
	}
	c.Path = fmt.Sprintf("P%d.md", rng.IntN(5))
	c.Parents, c.Generation = nil, 1
	c.finish(content)
	c.sign(e.s.Key(), &scratch{})
	return Record{&c, content}
}

// exchange lets a take what b has and a lacks, as pulls do: by spans, and from
// further back where the logs differ.
func exchange(t *testing.T, a, b *Store) {
	t.Helper()
	pull := func(log LogID, after uint64) Received {
		var rs []Record
		if err := b.Range([]Span{{Log: log, After: after}}, func(r Record) bool { rs = append(rs, r); return true }); err != nil {
			t.Fatal(err)
		}
		return mustReceive(t, a, rs)
	}
	for log := range b.Vector() {
		p, q := a.Position(log), b.Position(log)
		if p.Closed || q.Sequence < p.Sequence || p == q {
			continue
		}
		broken := []LogID{log}
		if p.Sequence < q.Sequence {
			broken = pull(log, p.Sequence).Broken
			if len(broken) > 0 && !slices.Contains(broken, log) {
				broken = append(broken, log)
			}
		}
		for _, signed := range broken {
			held := a.Position(signed).Sequence
			for step := uint64(1); ; step *= 2 {
				after := held - min(held, step)
				if pull(signed, after).Forks > 0 || after == 0 {
					break
				}
			}
		}
	}
}

type standingOf struct {
	Position
	log LogID
}

// standings returns where the logs of one node stand.
func standings(s *Store, of NodeID) (all []standingOf) {
	for log := range s.Vector() {
		if p := s.Position(log); log.Node == of && p.Sequence > 0 {
			all = append(all, standingOf{p, log})
		}
	}
	slices.SortFunc(all, func(a, b standingOf) int { return a.log.Compare(b.log) })
	return all
}

// TestBranchesConverge: stores that took different commits of one log, of which
// several stand in one place, end with all of them, and with equal vectors and
// digests, whatever came first.
func TestBranchesConverge(t *testing.T) {
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 1))
		liar := openTest(t, vfs.NewMem(), "liar")
		e := &equivocator{s: liar, like: mustSave(t, liar, page("A.md", "one"))[0]}
		var tree []Record
		leaves := map[Hash]bool{}
		for range 2 + rng.IntN(25) {
			var after Record
			switch {
			case len(tree) == 0:
			case rng.IntN(3) > 0:
				after = tree[len(tree)-1]
			case rng.IntN(6) > 0:
				after = tree[rng.IntN(len(tree))]
			}
			r := e.commit(after, rng)
			delete(leaves, r.Previous)
			leaves[r.Hash] = true
			tree = append(tree, r)
		}
		// line is what one honest node may have taken: a path from the first on.
		line := func() (rs []Record) {
			at := tree[rng.IntN(len(tree))]
			for {
				rs = append(rs, at)
				if at.Sequence == 1 {
					break
				}
				at = tree[slices.IndexFunc(tree, func(r Record) bool { return r.Hash == at.Previous })]
			}
			slices.Reverse(rs)
			return rs
		}
		held := map[Hash]bool{}
		var stores []*Store
		var disks []*vfs.MemFS
		for i := range 3 {
			disk := vfs.NewMem()
			s := openTest(t, disk, fmt.Sprint("s", i))
			if err := s.Admit(t.Context(), liar.Node(), "liar"); err != nil {
				t.Fatal(err)
			}
			for range 1 + rng.IntN(2) {
				rs := line()
				mustReceive(t, s, rs)
			}
			for _, r := range tree {
				if _, err := s.Commit(r.Hash); err == nil {
					held[r.Hash] = true
				}
			}
			stores, disks = append(stores, s), append(disks, disk)
		}
		for range 8 {
			for _, i := range rng.Perm(3) {
				for _, j := range rng.Perm(3) {
					if i != j {
						exchange(t, stores[i], stores[j])
					}
				}
			}
		}
		for i, s := range stores {
			for h := range held {
				c, err := s.Commit(h)
				if err != nil {
					t.Fatalf("seed %d: store %d lacks a commit that another held: %v", seed, i, err)
				}
				place, err := s.Place(c)
				if err != nil {
					t.Fatal(err)
				}
				found := false
				err = s.Range([]Span{{Log: place.Log, After: place.Sequence - 1, UpTo: place.Sequence}}, func(r Record) bool {
					found = r.Hash == h
					return true
				})
				if err != nil || !found {
					t.Fatalf("seed %d: store %d: %s is not at its place %v (%v)", seed, i, h, place, err)
				}
			}
			before := standings(s, liar.Node())
			if first := standings(stores[0], liar.Node()); !slices.Equal(before, first) {
				t.Fatalf("seed %d: store %d stands at\n%v\nstore 0 at\n%v", seed, i, before, first)
			}
			if got, want := s.Stats().Digest, stores[0].Stats().Digest; got != want {
				t.Fatalf("seed %d: store %d has digest %s, store 0 %s", seed, i, got, want)
			}
		}
		for i, s := range stores {
			before := standings(s, liar.Node())
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			again := openTest(t, disks[i], fmt.Sprint("s", i))
			if after := standings(again, liar.Node()); !slices.Equal(before, after) {
				t.Fatalf("seed %d: store %d opens at\n%v\nwas at\n%v", seed, i, after, before)
			}
			if err := again.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
