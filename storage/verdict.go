package storage

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// verdict is how much of a node's logs counts: the places up to which its logs
// and branches do; of those not named nothing does. Nodes without one count in
// full. A commit that does not count is muted: it is kept and passed on, but it
// is no head, is not shown and not in the digest. It still stands between its
// parents and its children: what others built on it replaces what it replaced.
//
// Which bans count is a function of the commits that are held. They are judged
// in a fixed order: nodes with fewer nodes in the chain through which they
// joined come first, then the smaller id, then the smaller hash. A ban is void
// if its node is in the chain through which the banning one joined, if it lies
// beyond the cut of a ban judged before, or if the banning node is no member
// any more. No ban holds on the banned node itself, which goes on alone.
type verdict struct {
	upto   map[LogID]uint64
	banned bool
}

const metaJudge = 'j' // bans or admissions came and what follows is not noted yet

func (v verdict) counts(at LogPlace) bool { return at.Sequence <= v.upto[at.Log] }

func (v verdict) equal(o verdict) bool { return v.banned == o.banned && maps.Equal(v.upto, o.upto) }

// muted reports whether a commit at that place does not count.
func (s *Store) muted(at LogPlace) bool {
	v, judged := s.mu.verdicts[at.Log.Node]
	return judged && !v.counts(at)
}

// verdicts judges all bans that are held.
func (s *Store) verdicts() (map[NodeID]verdict, error) {
	rank := make(map[NodeID]int)
	for _, b := range s.mu.bans {
		rank[b.commit.Log.Node] = len(s.mu.signers.chain(b.commit.Log.Node))
	}
	slices.SortFunc(s.mu.bans, func(a, b ban) int {
		x, y := a.commit.Log.Node, b.commit.Log.Node
		return cmp.Or(cmp.Compare(rank[x], rank[y]), x.Compare(y), a.commit.Hash.Compare(b.commit.Hash))
	})
	void := make(map[Hash]string)
	for {
		found := make(map[NodeID]verdict)
		for _, b := range s.mu.bans {
			by, hash := b.commit.Log.Node, b.commit.Hash
			if why := void[hash]; why == voidStranger {
				continue
			}
			delete(void, hash)
			if b.node == s.self {
				void[hash] = "no ban holds on the banned node itself"
				continue
			}
			if why := s.mayBan(by, b.node); why != "" {
				void[hash] = why
				continue
			}
			at, err := s.placeOf(b.commit)
			if err != nil {
				return nil, err
			}
			if v, banned := found[by]; banned && !v.counts(at) {
				void[hash] = "the one who banned was banned before"
				continue
			}
			upto, err := s.reach(b)
			if err != nil {
				return nil, err
			}
			if v, twice := found[b.node]; twice {
				upto = smaller(upto, v.upto)
			}
			found[b.node] = verdict{upto, true}
		}
		members, err := s.members(found)
		if err != nil {
			return nil, err
		}
		again := false
		for _, b := range s.mu.bans {
			if !members[b.commit.Log.Node] && void[b.commit.Hash] == "" {
				void[b.commit.Hash], again = voidStranger, true
			}
		}
		if again {
			continue // fewer are left each time
		}
		for node := range s.mu.signers.trusted {
			if !members[node] {
				found[node] = verdict{banned: found[node].banned}
			}
		}
		s.mu.void = void
		return found, nil
	}
}

const voidStranger = "the one who banned is admitted by nobody whose word counts"

func smaller(a, b map[LogID]uint64) map[LogID]uint64 {
	both := make(map[LogID]uint64)
	for id, n := range a {
		if m := min(n, b[id]); m > 0 {
			both[id] = m
		}
	}
	return both
}

// members returns who is admitted by admissions that count.
func (s *Store) members(found map[NodeID]verdict) (map[NodeID]bool, error) {
	members := map[NodeID]bool{s.self: true}
	for open := []NodeID{s.self}; len(open) > 0; {
		sponsor := open[0]
		open = open[1:]
		for _, node := range s.mu.signers.by[sponsor] {
			if members[node] {
				continue
			}
			if v, judged := found[sponsor]; judged {
				if counts, err := s.admits(sponsor, node, v); err != nil {
					return nil, err
				} else if !counts {
					continue
				}
			}
			members[node] = true
			open = append(open, node)
		}
	}
	return members, nil
}

// admits reports whether one of a sponsor's admissions of node counts.
func (s *Store) admits(sponsor, node NodeID, v verdict) (found bool, err error) {
	prefix := append(pathKey(nil, keyPage, SignerPrefix+node.String()), 0, partEntry)
	err = s.scan(prefix, func(_, value []byte) error {
		c, err := ParseEntry(value)
		if err != nil || c.Log.Node != sponsor {
			return err
		}
		for _, id := range s.familyOf(c.Log) {
			b, l := s.mu.branches[id], s.mu.logs[id]
			if c.Sequence <= b.start || c.Sequence-b.start > l.sequence || !v.counts(LogPlace{id, c.Sequence - b.start}) {
				continue
			}
			at, err := s.readSlot(l.number, c.Sequence-b.start)
			if err != nil {
				return err
			}
			// The entry does not hold its hash; its path and place name it.
			p, err := s.readPlace(at.hash)
			if err != nil {
				return err
			}
			held, err := s.readEntry(p)
			if err != nil {
				return err
			}
			if held.Signature == c.Signature && !p.inert {
				found = true
			}
		}
		return nil
	})
	return found, err
}

func (s *Store) familyOf(log LogID) []LogID {
	if f := s.mu.family[log]; f != nil {
		return f
	}
	return []LogID{log}
}

// placeOf is Place under the lock.
func (s *Store) placeOf(c *Commit) (LogPlace, error) {
	for _, id := range s.mu.family[c.Log] {
		b, l := s.mu.branches[id], s.mu.logs[id]
		if c.Sequence <= b.start || c.Sequence-b.start > l.sequence {
			continue
		}
		at, err := s.readSlot(l.number, c.Sequence-b.start)
		if err != nil {
			return LogPlace{}, err
		}
		if at.hash == c.Hash {
			return LogPlace{id, c.Sequence - b.start}, nil
		}
	}
	return LogPlace{c.Log, c.Sequence}, nil
}

// reach returns up to where a ban leaves the logs of its node. Where a log has
// forked only what leads to a commit that the ban names is left.
func (s *Store) reach(b ban) (map[LogID]uint64, error) {
	upto := make(map[LogID]uint64)
	for _, c := range b.cuts {
		log := LogID{Node: b.node, Nonce: c.nonce}
		upto[log] = max(upto[log], c.sequence)
		if s.mu.family[log] == nil {
			continue
		}
		p, err := s.readPlace(c.tip)
		if errors.Is(err, ErrNotFound) {
			continue // it counts when it comes
		}
		if err != nil {
			return nil, err
		}
		tip, err := s.readEntry(p)
		if err != nil {
			return nil, err
		}
		tip.Hash = c.tip
		at, err := s.placeOf(tip)
		if err != nil {
			return nil, err
		}
		for at.Log.Node == log.Node && s.mu.branches[at.Log].of == log {
			upto[at.Log] = max(upto[at.Log], at.Sequence)
			if at.Log == log {
				break
			}
			if at, err = s.before(at.Log); err != nil {
				return nil, err
			}
		}
	}
	return upto, nil
}

// before returns the end of the branch after which another begins.
func (s *Store) before(id LogID) (LogPlace, error) {
	b := s.mu.branches[id]
	p, err := s.readPlace(b.first)
	if err != nil {
		return LogPlace{}, err
	}
	first, err := s.readEntry(p)
	if err != nil {
		return LogPlace{}, err
	}
	for _, other := range s.mu.family[b.of] {
		l, o := s.mu.logs[other], s.mu.branches[other]
		if other != id && o.start+l.sequence == b.start && (l.tip == first.Previous || b.start == 0) {
			return LogPlace{other, l.sequence}, nil
		}
	}
	return LogPlace{}, fmt.Errorf("%w: branch %s follows nothing", ErrCorrupt, id)
}

// judge makes a batch of what follows from new bans, admissions or forks, and
// applies it. With all, every commit is looked at anew; the heads of some paths
// are in any case.
func (s *Store) judge(all bool, also map[string]bool) (*tx, error) {
	now, err := s.verdicts()
	if err != nil {
		return nil, err
	}
	old := s.mu.verdicts
	changed := make(map[NodeID]bool)
	swept := maps.Clone(s.mu.logs)
	for id := range s.mu.islands.logs {
		swept[id] = s.mu.logs[id]
	}
	for id := range swept {
		node := id.Node
		was, is := old[node], now[node]
		_, judgedBefore := old[node]
		_, judged := now[node]
		if all || judged != judgedBefore || !was.equal(is) {
			changed[node] = true
		}
	}
	s.mu.verdicts = now
	t := s.begin()
	t.anew = all
	paths := make(map[string]bool)
	maps.Copy(paths, also)
	t.mutes = make(map[uint64]bool)
	for id, l := range swept {
		if changed[id.Node] {
			if err := t.sweep(id, l, paths); err != nil {
				return nil, errors.Join(err, t.batch.Close())
			}
		}
	}
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		if err := t.reckon(path); err != nil {
			return nil, errors.Join(err, t.batch.Close())
		}
	}
	if err := t.batch.Delete([]byte{keyMeta, metaJudge}, nil); err != nil {
		return nil, errors.Join(err, t.batch.Close())
	}
	return t, t.apply()
}

// sweep notes which commits of a log count, and the paths where that changes.
func (t *tx) sweep(id LogID, l logState, paths map[string]bool) error {
	if l.number == 0 { // of this log there are only islands
		return t.sweepIslands(id, paths)
	}
	err := t.s.scan(logKey(nil, l.number, 0)[:5], func(key, value []byte) error {
		at, err := parseSlot(value)
		if err != nil {
			return err
		}
		return t.mute(LogPlace{id, binary.BigEndian.Uint64(key)}, at, paths)
	})
	if err != nil || t.s.mu.islands.logs[id] == 0 {
		return err
	}
	return t.sweepIslands(id, paths)
}

// sweepIslands is sweep for what lies behind a gap of a log.
func (t *tx) sweepIslands(id LogID, paths map[string]bool) error {
	prefix := islandKey(nil, id, 0, Hash{})[:1+LogIDSize]
	return t.s.scan(prefix, func(key, value []byte) error {
		if len(key) != 8+len(Hash{}) || len(value) != 8 {
			return fmt.Errorf("%w: island of %d and %d bytes", ErrCorrupt, len(key), len(value))
		}
		at := slot{Hash(key[8:]), binary.BigEndian.Uint64(value)}
		return t.mute(LogPlace{id, binary.BigEndian.Uint64(key)}, at, paths)
	})
}

// mute notes whether one commit counts.
func (t *tx) mute(stands LogPlace, at slot, paths map[string]bool) error {
	stored, err := t.s.get(arrivalKey(make([]byte, 0, 16), at.arrival))
	if err != nil {
		return fmt.Errorf("read arrival %d: %w", at.arrival, err)
	}
	a, err := parseArrived(stored)
	if err != nil {
		return err
	}
	muted := t.s.muted(stands)
	counts := !a.inert && !strings.HasPrefix(a.path, SignerPrefix) && !strings.HasPrefix(a.path, BanPrefix)
	if a.muted == muted {
		if t.anew && muted && counts {
			paths[a.path] = true
		}
		return nil
	}
	a.muted = muted
	t.mutes[at.arrival] = muted
	var k, v [256]byte
	err = errors.Join(
		t.batch.Set(arrivalKey(k[:0], at.arrival), a.encode(v[:0]), nil),
		t.batch.Set(hashKey(k[:0], at.hash), place{at.arrival, a.inert, muted, a.path}.encode(v[:0]), nil))
	if counts {
		paths[a.path] = true
		if muted {
			t.counters.commits--
		} else {
			t.counters.commits++
		}
	}
	return err
}

// reckon computes the heads of a path anew: the commits that count and from
// which no other one that counts descends.
func (t *tx) reckon(path string) (err error) {
	it, err := t.s.db.NewIter(&pebble.IterOptions{LowerBound: pageKey(nil, path, partEntry, 0), UpperBound: pageKey(nil, path, partEntry, ^uint64(0))})
	if err != nil {
		return t.s.corrupt(err)
	}
	defer func() { err = errors.Join(err, t.s.corrupt(it.Close())) }()
	old, err := t.headsOf(path)
	if err != nil {
		return err
	}
	type revision struct {
		*Commit
		arrival uint64
		muted   bool
	}
	var all []revision
	for ok := it.First(); ok; ok = it.Next() {
		arrival := binary.BigEndian.Uint64(it.Key()[len(it.Key())-8:])
		value, err := t.s.get(arrivalKey(make([]byte, 0, 16), arrival))
		if err != nil {
			return fmt.Errorf("read arrival %d: %w", arrival, err)
		}
		a, err := parseArrived(value)
		if err != nil {
			return err
		}
		if muted, changed := t.mutes[arrival]; changed {
			a.muted = muted
		}
		if a.inert {
			continue
		}
		c, err := ParseEntry(it.Value())
		if err != nil {
			return err
		}
		c.Hash = a.hash
		all = append(all, revision{c, arrival, a.muted})
	}
	// Children before their parents; after a repair parents may have arrived later.
	slices.SortFunc(all, func(a, b revision) int { return cmp.Compare(b.Generation, a.Generation) })
	var now []Head
	covered := make(map[Hash]bool)
	for _, c := range all {
		if !c.muted && !covered[c.Hash] {
			content, err := t.s.readContent(place{arrival: c.arrival, path: path})
			if err != nil {
				return err
			}
			sum := ContentSum(c.Kind, path, content)
			now = append(now, Head{c.Hash, c.Kind, c.Generation, c.arrival, [8]byte(sum[:8])})
		}
		if !c.muted || covered[c.Hash] {
			for _, p := range c.Parents {
				covered[p] = true
			}
		}
	}
	return t.setHeads(path, old, now)
}
