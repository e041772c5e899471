package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// The scrub reads again all that is here, so that what nobody asks for is found
// damaged while neighbors still have it: first every key that is no page's, then
// each commit in the order of arrival, whose hash is computed anew, and with it
// the chunks of its file. What it finds is treated as if a reader had met it.
//
// A round is spread over scrubRound. After each step it rests scrubShare times
// as long as the step took, so it uses at most 5 % of a core, whatever there is
// to read; a round that began late or that has much to read takes longer than
// scrubRound, and what 5 % of a core can read in seven days is some terabytes.
const (
	scrubRound = 24 * time.Hour
	scrubShare = 19
	scrubFirst = time.Minute // after the store was opened
	scrubLook  = time.Hour   // the longest rest: the clock may have been set
	scrubKeep  = time.Minute // how often the place is written

	// A step ends after so many keys or bytes, or after one chunk.
	scrubKeys  = 1024
	scrubBytes = 1 << 20

	// scrubName, below keyMeta, is the key of the scrub's place.
	scrubName = 's'
)

// Scrub is what one round of the scrub did, or the one under way so far.
type Scrub struct {
	Ended   time.Time // zero: it has not
	Commits uint64
	Bytes   uint64 // read, of the index, commits and chunks
	Found   uint64 // damages, each once
}

// scrubPlace is how far a round has come.
type scrubPlace struct {
	start     time.Time // when the round began, or is to begin
	arrival   uint64    // of the next commit; 0: the index is read first
	chunk     uint32    // of that commit's file
	now, last Scrub
	key       string // of the index: the next to be read
}

const (
	scrubVersion   = 1
	scrubPlaceSize = 1 + 8 + 8 + 4 + 3*8 + 4*8
	maxScrubKey    = 64 << 10
)

func (p scrubPlace) encode() []byte {
	b := []byte{scrubVersion}
	b = binary.BigEndian.AppendUint64(b, uint64(p.start.Unix()))
	b = binary.BigEndian.AppendUint64(b, p.arrival)
	b = binary.BigEndian.AppendUint32(b, p.chunk)
	ended := uint64(0)
	if !p.last.Ended.IsZero() {
		ended = uint64(p.last.Ended.Unix())
	}
	for _, n := range []uint64{p.now.Commits, p.now.Bytes, p.now.Found, ended, p.last.Commits, p.last.Bytes, p.last.Found} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return append(b, p.key...)
}

func parseScrubPlace(b []byte) (p scrubPlace, err error) {
	if len(b) < scrubPlaceSize || len(b) > scrubPlaceSize+maxScrubKey || b[0] != scrubVersion {
		return p, fmt.Errorf("%w: the scrub's place of %d bytes", ErrCorrupt, len(b))
	}
	number := func(at int) uint64 { return binary.BigEndian.Uint64(b[at:]) }
	p.start = time.Unix(int64(number(1)), 0)
	p.arrival, p.chunk = number(9), binary.BigEndian.Uint32(b[17:])
	p.now = Scrub{Commits: number(21), Bytes: number(29), Found: number(37)}
	p.last = Scrub{Commits: number(53), Bytes: number(61), Found: number(69)}
	if ended := number(45); ended != 0 {
		p.last.Ended = time.Unix(int64(ended), 0)
	}
	p.key = string(b[scrubPlaceSize:])
	return p, nil
}

// due is when the next step is to be made, so that the round ends a scrubRound
// after it began.
func (p scrubPlace) due(arrivals uint64) time.Time {
	return p.start.Add(time.Duration(float64(scrubRound) * float64(min(p.arrival, arrivals)) / float64(arrivals+1)))
}

// scrubber is the scrub of a store. Its goroutine alone moves the place.
type scrubber struct {
	end  context.CancelFunc // nil: it was not started
	done sync.WaitGroup
	mu   struct {
		sync.Mutex
		place scrubPlace
	}
}

// startScrub goes on where the last process was. A place that can't be read is
// none: the round begins anew.
func (s *Store) startScrub() {
	p := scrubPlace{start: s.cfg.Clock()}
	value, err := s.get([]byte{keyMeta, scrubName})
	if err == nil {
		var kept scrubPlace
		if kept, err = parseScrubPlace(value); err == nil {
			p = kept
		}
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		s.log.Warn("the scrub begins anew: its place was not read", "err", err)
	}
	s.scrub.mu.place = p
	ctx, end := context.WithCancel(context.Background())
	s.scrub.end = end
	s.scrub.done.Go(func() { s.scrubOn(ctx, p) })
}

func (s *scrubber) close() {
	if s.end != nil {
		s.end()
		s.done.Wait()
	}
}

// Scrubbed returns what the last whole round of the scrub did, and what the one
// under way has done so far.
func (s *Store) Scrubbed() (last, now Scrub) {
	s.scrub.mu.Lock()
	defer s.scrub.mu.Unlock()
	return s.scrub.mu.place.last, s.scrub.mu.place.now
}

func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// scrubOn makes one step after the other until ctx ends.
func (s *Store) scrubOn(ctx context.Context, p scrubPlace) {
	sleep := s.cfg.ScrubRest
	if sleep == nil {
		sleep = rest
	}
	var kept time.Time
	changed := false
	for sleep(ctx, scrubFirst); ctx.Err() == nil; {
		now := s.cfg.Clock()
		if p.start.After(now.Add(scrubRound)) { // the clock was set back
			p.start = now
		}
		if wait := p.due(s.Stats().Arrival).Sub(now); wait > 0 || s.Failed() != nil {
			sleep(ctx, min(max(wait, time.Second), scrubLook))
			continue
		}
		began := time.Now()
		ended := s.scrubStep(&p)
		changed = true
		if ended {
			p.finish(s.cfg.Clock())
			s.keepPool()
			s.log.Info("all that is here was read again", "commits", p.last.Commits, "bytes", p.last.Bytes, "damaged", p.last.Found)
		}
		s.scrub.mu.Lock()
		s.scrub.mu.place = p
		s.scrub.mu.Unlock()
		if age := now.Sub(kept); ended || age < 0 || age >= scrubKeep {
			s.keepScrub(p)
			kept, changed = now, false
		}
		sleep(ctx, scrubShare*time.Since(began))
	}
	if changed {
		s.keepScrub(p)
	}
}

// finish begins the next round.
func (p *scrubPlace) finish(now time.Time) {
	now = now.Truncate(time.Second) // as it is kept
	next := p.start.Add(scrubRound)
	if next.Before(now) {
		next = now
	}
	p.now.Ended = now
	*p = scrubPlace{start: next, last: p.now}
}

// keepScrub writes the place. It is lost without harm, so it is not synced, and
// not written while writing is over or room is short.
func (s *Store) keepScrub(p scrubPlace) {
	if s.Failed() != nil || s.DiskFull() {
		return
	}
	batch := s.db.NewBatch()
	defer batch.Close()
	err := batch.Set([]byte{keyMeta, scrubName}, p.encode(), nil)
	if err = errors.Join(err, s.commitHint(batch)); err != nil {
		s.log.Warn("the scrub's place was not kept", "err", err)
	}
}

// scrubStep reads on, and reports whether the round has ended.
func (s *Store) scrubStep(p *scrubPlace) (ended bool) {
	if p.arrival == 0 {
		if p.key == "" {
			s.scrubFiles(p)
		}
		s.scrubIndex(p)
		return false
	}
	upTo := s.Stats().Arrival
	for keys, bytes := 0, p.now.Bytes; keys < scrubKeys && p.now.Bytes < bytes+scrubBytes; keys++ {
		if p.arrival > upTo {
			return true
		}
		if s.scrubCommit(p) {
			return false
		}
	}
	return false
}

// scrubFiles begins a round: what is only in a log and in memory is made a table,
// which is then read like the others, and the manifest is read, as far as it was
// synced.
func (s *Store) scrubFiles(p *scrubPlace) {
	if !s.DiskFull() {
		if err := s.db.Flush(); err != nil {
			s.log.Warn("flush before a scrub", "err", s.corrupt(err))
		}
	}
	dir := filepath.Join(s.cfg.Dir, databaseName)
	about, err := pebble.Peek(dir, s.fs)
	if err != nil || !about.Exists {
		return // a newer one has just taken its place
	}
	length, err := checkSynced(s.fs, dir, about.ManifestFilename)
	p.now.Bytes += uint64(length)
	if isDamage(err) && !errors.Is(err, os.ErrNotExist) {
		p.now.Found++
		s.damage.note(s, err.Error())
	}
}

// scrubIndex reads keys that are no page's: their blocks have checksums.
func (s *Store) scrubIndex(p *scrubPlace) {
	lower := []byte{keyMeta}
	if p.key != "" {
		lower = []byte(p.key)
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: []byte{0xff}})
	if err == nil {
		keys, size, ok := 0, 0, it.First()
		for ; ok && keys < scrubKeys && size < scrubBytes; keys++ {
			if it.Key()[0] == keyPage { // each commit is read later
				ok = it.SeekGE([]byte{keyPage + 1})
				continue
			}
			size += len(it.Key()) + len(it.Value())
			ok = it.Next()
		}
		p.now.Bytes += uint64(size)
		p.key = ""
		if ok {
			p.key = string(it.Key())
		}
		err = it.Close()
	}
	if err = s.corrupt(err); err != nil {
		p.now.Found++
		s.log.Error("the scrub met damage in the index", "err", err)
	}
	if err != nil || p.key == "" || len(p.key) > maxScrubKey {
		p.key, p.arrival = "", 1
	}
}

// scrubCommit reads one commit, and one chunk of its file. It reports whether it
// read a chunk: then the step is long enough.
func (s *Store) scrubCommit(p *scrubPlace) (chunk bool) {
	next := func() { p.arrival, p.chunk = p.arrival+1, 0 }
	value, err := s.get(arrivalKey(nil, p.arrival))
	var a arrived
	if err == nil {
		a, err = parseArrived(value)
	}
	var r Record
	if err == nil {
		r, err = s.Record(a.hash)
	}
	if isDamage(err) || errors.Is(err, ErrNotFound) {
		p.now.Found++
		s.damage.note(s, fmt.Sprintf("commit of arrival %d: %v", p.arrival, err))
	} else if err != nil {
		s.log.Error("the scrub could not read a commit", "arrival", p.arrival, "err", err)
	}
	if err != nil {
		next()
		return false
	}
	if p.chunk == 0 {
		p.now.Commits++
		p.now.Bytes += uint64(len(r.Content))
	}
	if r.Kind != KindFile || a.inert {
		next()
		return false
	}
	m, err := ParseManifest(r.Content)
	if err != nil || int(p.chunk) >= len(m.Chunks) {
		next()
		return false
	}
	s.scrubChunk(p, a.hash, m)
	if p.chunk++; int(p.chunk) >= len(m.Chunks) {
		next()
	}
	return true
}

// scrubChunk hashes a chunk of a file's commit. One that is gone or put aside is
// noted as missing, and so fetched.
func (s *Store) scrubChunk(p *scrubPlace, h Hash, m *Manifest) {
	id := m.Chunks[p.chunk]
	c, err := s.OpenChunk(id)
	if err == nil {
		p.now.Bytes += uint64(c.Size)
		err = c.Close()
	}
	if err == nil {
		return
	}
	if lacked, known := s.isLacked(id); known == nil && lacked && errors.Is(err, ErrNotFound) {
		return // it has not come yet
	}
	p.now.Found++
	if !errors.Is(err, ErrNotFound) {
		s.log.Error("the scrub could not read a chunk of a file", "chunk", id.String(), "err", err)
	}
	if _, err := s.Recheck(h); err != nil {
		s.log.Error("look for the chunks of a file", "err", err)
	}
}
