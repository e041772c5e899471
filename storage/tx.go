package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cockroachdb/pebble/v2"
)

// tx collects the changes of one batch over the state they were begun from.
// Nothing outside it changes until apply, so it can be thrown away. It is used
// under Store.mu.
type tx struct {
	s        *Store
	batch    *pebble.Batch
	counters counters
	lognum   uint32
	logs     map[LogID]logState
	heads    map[string][]Head
	added    map[Hash]meta
	admitted []admission
	bans     []ban
	rejudge  bool            // what follows from bans may have changed
	anew     bool            // and every commit is to be looked at
	astray   map[string]bool // paths whose heads are to be reckoned anew then
	then     *tx             // what follows from it
	mutes    map[uint64]bool // commits by arrival of which this batch changes whether they count
	named    []ChunkID       // chunks that no commit had named
	lacking  int             // files whose chunks are not all here
	out      []Committed

	bridged  map[LogID]int // islands that logs went on over
	stranded map[LogID]int // new ones
	wanted   map[Hash]bool // parents found missing
	came     map[Hash]bool // parents that were missing

	branches map[LogID]branch // changed here
	families map[LogID][]LogID
	slots    map[slotKey]slot // filled here; kept only where commits are received

	key, value [256]byte // room for what is being set
	entry      []byte
	room       scratch
}

// meta is what the rules ask of a parent.
type meta struct {
	place
	kind       Kind
	generation uint64
	parents    []Hash // of commits that are not heads
}

func (s *Store) begin() *tx { return s.beginIn(s.db.NewBatch(), 1) }

// beginMany is begin for commits that were received, with room for all of them.
func (s *Store) beginMany(records []Record) *tx {
	size := 0
	for _, r := range records { // entry, text, and the keys that lead to them
		size += 700 + 4*len(r.Path) + len(r.Message) + len(r.Content)
	}
	t := s.beginIn(s.db.NewBatchWithSize(size), len(records))
	t.slots = make(map[slotKey]slot, len(records))
	return t
}

func (s *Store) beginIn(batch *pebble.Batch, commits int) *tx {
	return &tx{
		s: s, batch: batch, counters: s.mu.counters, lognum: s.mu.lognum, out: make([]Committed, 0, commits),
		logs: make(map[LogID]logState, 1), heads: make(map[string][]Head, commits), added: make(map[Hash]meta, commits),
	}
}

// logState returns the log's tip as this batch has moved it.
func (t *tx) logState(id LogID) (logState, bool) {
	if l, found := t.logs[id]; found {
		return l, true
	}
	l, found := t.s.mu.logs[id]
	return l, found
}

func (t *tx) headsOf(path string) ([]Head, error) {
	if heads, found := t.heads[path]; found {
		return heads, nil
	}
	return t.s.readHeads(path)
}

// meta finds a commit by hash; most parents are heads of the path at hand.
func (t *tx) meta(h Hash, path string) (meta, error) {
	if m, found := t.added[h]; found {
		return m, nil
	}
	heads, err := t.headsOf(path)
	if err != nil {
		return meta{}, err
	}
	for _, head := range heads {
		if head.Hash == h {
			return meta{place{arrival: head.Arrival, path: path}, head.Kind, head.Generation, nil}, nil
		}
	}
	p, err := t.s.readPlace(h)
	if err != nil {
		return meta{}, err
	}
	c, err := t.s.readEntry(p)
	if err != nil {
		return meta{}, err
	}
	return meta{p, c.Kind, c.Generation, c.Parents}, nil
}

// parents looks up all parents of c. ErrNotFound: one of them is not visible.
func (t *tx) parents(c *Commit) ([]meta, error) {
	var found []meta
	for _, p := range c.Parents {
		m, err := t.meta(p, c.Path)
		if err != nil {
			return nil, err
		}
		found = append(found, m)
	}
	return found, nil
}

// checkContent reports the first content rule of format version 1 that c
// breaks. Such a commit is kept and forwarded but inert: it changes no head.
// The answer is a function of the commit and its ancestors, so every node
// gives the same one.
func checkContent(c *Commit, content []byte, parents []meta) error {
	generation := uint64(1)
	for _, p := range parents {
		if p.path != c.Path || p.inert {
			return fmt.Errorf("%w: a parent is of another path", ErrInvalid)
		}
		generation = max(generation, p.generation+1)
	}
	if c.Generation != generation {
		return fmt.Errorf("%w: generation %d, want %d", ErrInvalid, c.Generation, generation)
	}
	page, signer := strings.HasSuffix(c.Path, PageSuffix), strings.HasPrefix(c.Path, SignerPrefix)
	switch c.Kind {
	case KindPage:
		if !page || signer || !utf8.Valid(content) || slices.Contains(content, 0) {
			return fmt.Errorf("%w: not the text of a page", ErrInvalid)
		}
	case KindFile:
		if page || signer {
			return fmt.Errorf("%w: not the path of a file", ErrInvalid)
		}
		if _, err := ParseManifest(content); err != nil {
			return err
		}
	case KindDelete:
		if len(content) != 0 || len(parents) == 0 || signer {
			return fmt.Errorf("%w: a delete has parents and no content", ErrInvalid)
		}
	case KindAdmit:
		if _, err := admittedNode(c, content); err != nil {
			return err
		}
	case KindBan:
		if _, err := parseBan(c, content); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%w: unknown kind %q", ErrInvalid, string(c.Kind))
	}
	return nil
}

// add puts a commit whose place has been checked into the batch.
func (t *tx) add(c *Commit, content []byte, parents []meta, at LogPlace, own bool) error {
	return t.addAt(c, content, parents, at, own, false)
}

// addApart is add for an island: its log does not reach it.
func (t *tx) addApart(r Record, parents []meta) error {
	return t.addAt(r.Commit, r.Content, parents, LogPlace{r.Log, r.Sequence}, false, true)
}

func (t *tx) addAt(c *Commit, content []byte, parents []meta, at LogPlace, own, apart bool) error {
	broken := checkContent(c, content, parents)
	moves := broken == nil && c.Kind != KindAdmit && c.Kind != KindBan // nobody merges those, so they are no heads
	muted := t.s.muted(at)
	var old []Head
	var replaced []Hash
	if moves { // all that is read is read before anything changes
		var err error
		if old, err = t.headsOf(c.Path); err != nil {
			return err
		}
		if replaced, err = t.replaced(c, parents); err != nil {
			return err
		}
	}
	t.counters.arrival++
	arrival := t.counters.arrival
	where := place{arrival: arrival, inert: broken != nil, muted: muted, path: c.Path}
	t.added[c.Hash] = meta{where, c.Kind, c.Generation, c.Parents}
	key, value := &t.key, &t.value
	set := func(k, v []byte) error { return t.batch.Set(k, v, nil) }
	t.entry = c.AppendEntry(slices.Grow(t.entry[:0], 512))
	err := errors.Join(
		set(pageKey(key[:0], c.Path, partEntry, arrival), t.entry),
		set(hashKey(key[:0], c.Hash), where.encode(value[:0])),
		set(arrivalKey(key[:0], arrival), arrived{c.Hash, broken != nil, muted, c.Path}.encode(value[:0])),
	)
	if apart {
		err = errors.Join(err, set(islandKey(key[:0], c.Log, c.Sequence, c.Hash), binary.BigEndian.AppendUint64(value[:0], arrival)))
	} else {
		l := t.advance(c, at, arrival)
		err = errors.Join(err, set(logKey(key[:0], l.number, at.Sequence), slot{c.Hash, arrival}.encode(value[:0])))
	}
	if len(content) > 0 {
		err = errors.Join(err, set(pageKey(key[:0], c.Path, partContent, arrival), content))
	}
	if c.Import != "" && broken == nil {
		err = errors.Join(err, set(importKey(key[:0], c.Import+"\x00"+c.Path), c.Hash[:]))
	}
	if err != nil {
		return fmt.Errorf("collect commit %s: %w", c.Hash, err)
	}
	done := Committed{Commit: c, Content: content, At: at, Arrival: arrival, Own: own, Inert: broken != nil || muted}
	if broken == nil {
		if moves && muted {
			done.Heads = old
			if t.isWanted(c.Hash) {
				err = t.arrive(c)
			}
			if c.Kind == KindFile {
				err = errors.Join(err, t.nameChunks(content, arrival))
			}
		} else if moves {
			if done.Heads, err = t.moveHeads(c, arrival, old, replaced); err != nil {
				return err
			}
			if c.Kind == KindFile {
				if err = t.nameChunks(content, arrival); err != nil {
					return err
				}
			}
			t.counters.commits++
		} else if c.Kind == KindBan {
			b, _ := parseBan(c, content)
			t.bans = append(t.bans, b)
			err = set(append([]byte{keyBan}, c.Hash[:]...), nil)
		} else {
			node, _ := admittedNode(c, content)
			a := admission{sponsor: c.Log.Node, node: node, joined: admittedAsSponsor(content)}
			a.joined = a.joined || slices.Contains(t.s.mu.signers.through[a.sponsor], node) ||
				slices.Contains(t.admitted, admission{a.sponsor, node, true}) // said once is said
			t.admitted = append(t.admitted, a)
			err = set(signerKey(key[:0], a.sponsor, node), a.encode(c.Hash))
		}
	}
	t.rejudges(c)
	t.out = append(t.out, done)
	return err
}

// rejudges notes whether c may change which commits count.
func (t *tx) rejudges(c *Commit) {
	mu := &t.s.mu
	if c.Kind == KindBan || c.Kind == KindAdmit && len(mu.bans)+len(t.bans) > 0 {
		t.rejudge = true
		return
	}
	if _, judged := mu.verdicts[c.Log.Node]; !judged || t.family(c.Log) == nil {
		return
	}
	if t.branches != nil { // it has just forked
		t.rejudge = true
	}
	for _, b := range mu.bans {
		t.rejudge = t.rejudge || b.node == c.Log.Node && slices.ContainsFunc(b.cuts, func(at cut) bool { return at.tip == c.Hash })
	}
}

// replaced returns, sorted, the commits that c takes the place of: its parents,
// and what those replaced that a ban hides.
func (t *tx) replaced(c *Commit, parents []meta) ([]Hash, error) {
	all := c.Parents
	seen := make(map[Hash]bool)
	for open := parents; len(open) > 0; {
		p := open[0]
		open = open[1:]
		if !p.muted {
			continue
		}
		for _, h := range p.parents {
			if seen[h] {
				continue
			}
			seen[h] = true
			m, err := t.meta(h, c.Path)
			if errors.Is(err, ErrNotFound) && t.isWanted(h) {
				continue // the heads are reckoned anew when it comes
			}
			if err != nil {
				return nil, err
			}
			all, open = append(all[:len(all):len(all)], h), append(open[:len(open):len(open)], m)
		}
	}
	if len(seen) > 0 {
		slices.SortFunc(all, Hash.Compare)
	}
	return all, nil
}

// moveHeads replaces those of the old heads of c's path that c replaces by c.
func (t *tx) moveHeads(c *Commit, arrival uint64, old []Head, replaced []Hash) ([]Head, error) {
	now := make([]Head, 0, len(old)+1)
	for _, h := range old {
		if _, isParent := slices.BinarySearchFunc(replaced, h.Hash, Hash.Compare); !isParent {
			now = append(now, h)
		}
	}
	if t.isWanted(c.Hash) { // what follows it is here already
		if err := t.arrive(c); err != nil {
			return nil, err
		}
		return now, t.setHeads(c.Path, old, now)
	}
	now = append(now, Head{c.Hash, c.Kind, c.Generation, arrival, [8]byte(c.SHA256[:8])})
	return now, t.setHeads(c.Path, old, now)
}

// setHeads sorts now and puts it in the place of the old heads of a path.
func (t *tx) setHeads(path string, old, now []Head) error {
	slices.SortFunc(now, func(a, b Head) int { return a.Hash.Compare(b.Hash) })
	t.counters.replaceHeads(path, old, now)
	t.heads[path] = now
	key, value := &t.key, &t.value
	var err error
	if (len(old) > 0) != (len(now) > 0) && !strings.HasSuffix(path, PageSuffix) {
		if file := pathKey(key[:0], keyFilePath, path); len(now) > 0 {
			err = t.batch.Set(file, nil, nil)
		} else {
			err = t.batch.Delete(file, nil)
		}
	}
	if (len(old) > 1) != (len(now) > 1) {
		forked := pathKey(key[:0], keyForked, path)
		if len(now) > 1 {
			err = errors.Join(err, t.batch.Set(forked, nil, nil))
		} else {
			err = errors.Join(err, t.batch.Delete(forked, nil))
		}
	}
	if len(now) == 0 {
		return errors.Join(err, t.batch.Delete(pathKey(key[:0], keyHeads, path), nil))
	}
	return errors.Join(err, t.batch.Set(pathKey(key[:0], keyHeads, path), encodeHeads(value[:0], now), nil))
}

// nameChunks notes which chunks of a new file are not here, and that those that
// are belong to a commit now.
func (t *tx) nameChunks(content []byte, arrival uint64) error {
	m, err := ParseManifest(content)
	if err != nil {
		return err
	}
	missing, err := t.s.lack(t.batch, m, arrival)
	if err != nil {
		return err
	}
	if missing > 0 {
		t.lacking++
	}
	for _, id := range m.Chunks {
		if t.s.chunks.isLoose(id) {
			t.named = append(t.named, id)
			if err := t.batch.Delete(looseKey(make([]byte, 0, 40), id), nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// apply writes the batch without waiting for the disk and takes its changes
// over. After an error the store is poisoned.
func (t *tx) apply() error {
	s := t.s
	var key, value [128]byte
	for id, l := range t.logs {
		b := t.branch(id)
		entry := l.encode(value[:0])
		if !b.first.IsZero() {
			entry = encodeBranch(value[:0], l, b)
		}
		if err := t.batch.Set(vectorKey(key[:0], b.of, b.first), entry, nil); err != nil {
			return s.poison(err)
		}
	}
	if err := t.batch.Set([]byte{keyMeta, 'c'}, t.counters.encode(), nil); err != nil {
		return s.poison(err)
	}
	if t.rejudge {
		if err := t.batch.Set([]byte{keyMeta, metaJudge}, nil, nil); err != nil {
			return s.poison(err)
		}
	}
	if err := s.db.ApplyNoSyncWait(t.batch, pebble.Sync); err != nil {
		return s.poison(err)
	}
	s.mu.counters, s.mu.lognum = t.counters, t.lognum
	maps.Copy(s.mu.logs, t.logs)
	t.applyBranches()
	t.applyIslands()
	for _, a := range t.admitted {
		s.mu.signers.add(a)
	}
	s.mu.lacking += t.lacking
	s.chunks.name(t.named)
	s.cache.applied(t.heads)
	for _, c := range t.out {
		if len(c.Content) > 0 {
			s.cache.fillContent(c.Hash, c.Content)
		}
	}
	if t.rejudge {
		if err := t.follow(); err != nil {
			return s.poison(err)
		}
	}
	s.pub.enqueue(t.out, t.counters)
	return nil
}

// follow works out what the batch's bans, admissions and forks change.
func (t *tx) follow() error {
	s := t.s
	s.mu.bans = append(s.mu.bans, t.bans...)
	then, err := s.judge(t.anew, t.astray)
	if err != nil {
		return fmt.Errorf("judge bans: %w", err)
	}
	t.then, t.counters = then, then.counters
	last := &t.out[len(t.out)-1]
	last.Judged = true
	for path, heads := range then.heads {
		last.Moved = append(last.Moved, PathHeads{path, heads})
	}
	slices.SortFunc(last.Moved, func(a, b PathHeads) int { return strings.Compare(a.Path, b.Path) })
	return nil
}

// poison ends all writing after a failed write: the outcome is unknown.
func (s *Store) poison(err error) error {
	s.mu.failed = fmt.Errorf("%w: %w", ErrPoisoned, err)
	s.log.Error("a write has failed; no more saves until a restart", "err", err)
	return s.mu.failed
}

// finish waits for the sync and publishes everything up to this batch.
func (t *tx) finish() error {
	err := t.batch.SyncWait()
	if t.then != nil && err == nil {
		err = errors.Join(t.then.batch.SyncWait(), t.then.batch.Close())
	}
	if err != nil {
		t.s.mu.Lock()
		defer t.s.mu.Unlock()
		return t.s.poison(err)
	}
	t.s.publish(t.counters.arrival)
	return t.batch.Close()
}
