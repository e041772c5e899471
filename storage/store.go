package storage

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Config says where and as whom a store is opened. Only Dir is required.
type Config struct {
	Dir    string           // the data directory; made when it is not there
	FS     vfs.FS           // nil: the file system of the machine
	Name   string           // committer's name; "" = first characters of the node id
	Host   string           // committer's address is Name@Host; "" = "localhost"
	Logger *slog.Logger     // nil: nothing is logged
	Clock  func() time.Time // nil: time.Now
	Random io.Reader        // source of keys and log nonces; nil: crypto/rand
	Fatal  func(error)      // called when the disk fails in a way that ends all writing; nil: panic
	// Damaged is called, once and in a goroutine of its own, when a file of the
	// database turns out to be damaged. All else is served; the repair is made
	// when the store is opened again. nil: at the next start.
	Damaged func(what string)
	// ScrubRest is how the scrub rests; it returns at the latest when ctx ends.
	// nil: by a timer.
	ScrubRest func(ctx context.Context, d time.Duration)
}

// Store is what is durable on one node. All methods are safe for concurrent
// use.
type Store struct {
	cfg  Config
	fs   vfs.FS
	db   *pebble.DB
	log  *slog.Logger
	key  ed25519.PrivateKey
	self NodeID
	mark *markFile
	lock io.Closer

	// mu is the one lock of the write path: it covers sequence, chain,
	// signature and the apply to Pebble, never a sync. Lock order: mu, then
	// pub.mu, then cache.mu.
	mu struct {
		sync.Mutex
		counters counters
		logs     map[LogID]logState // applied, perhaps not yet durable
		own      LogID              // zero until the first save
		lognum   uint32             // last local log number given
		signers  signers
		staging  staging
		forked   map[LogID]bool     // logs whose owner equivocated
		branches map[LogID]branch   // of those logs, the trunk among them
		family   map[LogID][]LogID  // log → its branches, the trunk first
		taken    map[LogID]int      // log that forks → bytes taken of it since
		islands  islands            // commits behind a gap of their log
		lacking  int                // file revisions of which chunks are missing
		failed   error              // not nil: poisoned or closed
		bans     []ban              // all that are held, in the order in which they are judged
		verdicts map[NodeID]verdict // what counts of nodes that do not count in full
		void     map[Hash]string    // bans that do not count, and why
	}
	group  group
	chunks chunkStore
	pub    publisher
	cache  caches
	disk   diskGuard
	files  string // that describe the database, for errors
	spare  spareLogs
	gate   gate
	damage damages
	scrub  scrubber
	check  checker
	found  *salvaged // not nil: the database was repaired when it was opened
}

// Open opens the store in cfg.Dir, or makes one. A damaged database is repaired:
// what can be read is taken over, the files are kept in "damaged", and what is
// gone is asked of neighbors. A damaged key is refused with ErrCorrupt and the
// name of the file; a newer format with ErrFormat.
func Open(cfg Config) (*Store, error) {
	if cfg.FS == nil {
		cfg.FS = vfs.Default
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Host == "" {
		cfg.Host = "localhost"
	}
	s := &Store{cfg: cfg, fs: cfg.FS, log: cfg.Logger}
	s.gate.init()
	if err := s.open(); err != nil {
		if s.lock != nil {
			err = errors.Join(err, s.lock.Close())
		}
		return nil, fmt.Errorf("open data directory %s: %w", cfg.Dir, err)
	}
	return s, nil
}

func (s *Store) open() (err error) {
	dir := s.cfg.Dir
	if err := makeDir(s.fs, dir); err != nil {
		return err
	}
	// Before anything is made: two processes that make one directory would
	// each believe in a key of its own.
	if s.lock, err = s.fs.Lock(filepath.Join(dir, lockName)); err != nil {
		return fmt.Errorf("%w: %w", ErrLocked, err)
	}
	fresh, err := checkFormat(s.fs, dir)
	if errors.Is(err, ErrCorrupt) && s.repairFormat() == nil {
		fresh, err = true, nil
	}
	if err != nil {
		return err
	}
	if s.key, err = loadKey(s.fs, dir, fresh, s.cfg.Random); err != nil {
		return err
	}
	copy(s.self[:], s.key.Public().(ed25519.PublicKey))
	if s.cfg.Name == "" {
		s.cfg.Name = "node-" + s.self.Short()
	}
	if err := (Ident{Name: s.cfg.Name, Email: s.cfg.Name + "@" + s.cfg.Host}).check(); err != nil {
		return fmt.Errorf("node name %q: %w", s.cfg.Name, err)
	}
	s.disk.init(s.fs, dir)
	if fresh {
		if err := s.create(); err != nil {
			return err
		}
	}
	if err := s.finishRepair(); err != nil {
		return err
	}
	if err := s.openDatabase(); err != nil {
		if !isDamage(err) {
			return err
		}
		if err := s.salvage(err.Error()); err != nil {
			return err
		}
		if err := s.openDatabase(); err != nil {
			return err
		}
	}
	s.keepPool()
	s.damage.ready(s)
	if s.disk.roomy() {
		s.spare.start(s.fs, filepath.Join(dir, databaseName, spareName))
	}
	s.startScrub()
	return nil
}

func (s *Store) openDatabase() error {
	if _, err := s.fs.Stat(filepath.Join(s.cfg.Dir, databaseName)); err != nil {
		return fmt.Errorf("look for the database: %w", err)
	}
	s.cache.init() // of one that was opened before and is damaged nothing counts
	if err := s.openPebble(databaseName); err != nil {
		return err
	}
	if err := s.load(); err != nil {
		return errors.Join(err, s.db.Close())
	}
	if err := s.readmit(); err != nil {
		// What it saved may be lost in a repair: no sequence of that log again.
		s.mu.own = LogID{}
		return errors.Join(err, s.db.Close(), s.mark.file.Close())
	}
	return nil
}

// readmit admits the nodes anew whose admission was lost with a damaged file:
// their commits had been taken.
func (s *Store) readmit() error {
	var lost []NodeID
	err := s.scan([]byte{keyMeta, readmitName}, func(key, _ []byte) error {
		if len(key) == len(NodeID{}) {
			lost = append(lost, NodeID(key))
		}
		return nil
	})
	if err != nil || len(lost) == 0 {
		return err
	}
	batch := s.db.NewBatch()
	defer batch.Close()
	for _, node := range lost {
		if !s.Taken(node) {
			err := s.Admit(context.Background(), node, node.Short())
			if errors.Is(err, ErrDiskFull) {
				return nil // at the next start
			}
			if err != nil && !errors.Is(err, ErrBanned) { // who is banned comes with its sponsor's log
				return err
			}
		}
		if err := batch.Delete(append([]byte{keyMeta, readmitName}, node[:]...), nil); err != nil {
			return err
		}
	}
	return s.commitHint(batch)
}

// create makes the database beside its place and moves it there, so that a
// crash leaves a whole one or none. The database that takes the first save has
// been closed and opened again: in one never reopened, a flipped bit in the
// write-ahead log silently drops all that follows it.
func (s *Store) create() error {
	dir := s.cfg.Dir
	target := filepath.Join(dir, databaseName)
	if _, err := s.fs.Stat(target); err != nil {
		if err := s.fs.RemoveAll(target + ".new"); err != nil {
			return fmt.Errorf("remove an unfinished database: %w", err)
		}
		if err := s.openPebble(databaseName + ".new"); err != nil {
			return err
		}
		if err := s.db.Close(); err != nil {
			return fmt.Errorf("close new database: %w", err)
		}
		if err := s.fs.Rename(target+".new", target); err != nil {
			return fmt.Errorf("move new database: %w", err)
		}
		if err := syncDir(s.fs, dir); err != nil {
			return err
		}
	}
	return writeSmall(s.fs, dir, formatName, []byte(formatText))
}

// load reads the state that is kept in memory and compares the high-water
// mark with it.
func (s *Store) load() error {
	if err := s.loadState(); err != nil {
		return err
	}
	if err := s.openChunks(); err != nil {
		return err
	}
	s.pub.init(s)
	return s.openMark()
}

func (s *Store) loadState() error {
	s.mu.logs = make(map[LogID]logState)
	s.mu.forked = make(map[LogID]bool)
	s.mu.branches = make(map[LogID]branch)
	s.mu.family = make(map[LogID][]LogID)
	s.mu.taken = make(map[LogID]int)
	s.mu.signers.init(s.self)
	s.mu.staging.init()
	value, err := s.get([]byte{keyMeta, 'c'})
	if err == nil {
		s.mu.counters, err = parseCounters(value)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	err = s.scan([]byte{keyVector}, func(key, value []byte) error {
		if len(key) != LogIDSize+20 {
			return fmt.Errorf("%w: vector key of %d bytes", ErrCorrupt, len(key))
		}
		log, first := LogIDFromBytes(key), Hash(key[LogIDSize:])
		if !first.IsZero() {
			return s.loadBranch(log, first, value)
		}
		l, err := parseLogState(value)
		s.mu.logs[log] = l
		s.mu.lognum = max(s.mu.lognum, l.number)
		return err
	})
	if err != nil {
		return err
	}
	if err := s.checkWhole(); err != nil {
		return err
	}
	if err := s.loadIslands(); err != nil {
		return err
	}
	if err := s.mu.signers.load(s); err != nil {
		return err
	}
	return s.loadBans()
}

// openMark raises the alarm when the store is behind what it acknowledged.
func (s *Store) openMark() error {
	path := filepath.Join(s.cfg.Dir, markName)
	m, newest, err := openMark(s.fs, path)
	if err != nil {
		return err
	}
	s.mark = m
	if held := s.mu.logs[newest.log]; !newest.log.IsZero() && held.sequence < newest.sequence && s.mu.family[newest.log] == nil {
		s.pub.regressed = newest
		s.log.Error("acknowledged saves are missing from the database; they will be pulled back from neighbors",
			"log", newest.log.String(), "have", held.sequence, "acknowledged", newest.sequence)
	}
	return syncDir(s.fs, s.cfg.Dir)
}

// Close waits for the calls that are under way and closes the database. Later
// calls get ErrClosed.
func (s *Store) Close() error {
	s.gate.mu.Lock()
	defer s.gate.mu.Unlock()
	if s.gate.calls.Load() >= gateClosed {
		return nil
	}
	s.scrub.close()
	s.gate.shut()
	s.pub.drain()
	s.damage.told.Wait()
	s.spare.close()
	s.keepPool()
	return errors.Join(s.db.Close(), s.mark.file.Close(), s.lock.Close())
}

// Node returns this node's id.
func (s *Store) Node() NodeID { return s.self }

// Name returns the committer's name.
func (s *Store) Name() string { return s.cfg.Name }

// Key returns the node's private key: it also signs events and proves this
// node on links.
func (s *Store) Key() ed25519.PrivateKey { return s.key }

// get copies the value of key.
func (s *Store) get(key []byte) ([]byte, error) {
	value, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, s.corrupt(err)
	}
	out := append([]byte(nil), value...)
	return out, closer.Close()
}

// scan calls fn for each key below prefix, without the prefix, in order.
func (s *Store) scan(prefix []byte, fn func(key, value []byte) error) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: keyAfter(prefix)})
	if err != nil {
		return s.corrupt(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		if err := fn(it.Key()[len(prefix):], it.Value()); err != nil {
			return errors.Join(err, it.Close())
		}
	}
	return s.corrupt(it.Close())
}

// keyAfter returns the first key that does not begin with prefix.
func keyAfter(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
