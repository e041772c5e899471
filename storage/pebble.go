package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	cockroach "github.com/cockroachdb/errors"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// databaseFormat is Pebble's newest stable format; the library's default is
// its oldest. A database is ratcheted up when it is opened.
const databaseFormat = pebble.FormatNewest

const databaseName = "pebble"

// openPebble opens the database with settings that fit the disk it is on.
func (s *Store) openPebble(name string) error {
	dir := filepath.Join(s.cfg.Dir, name)
	opts := &pebble.Options{
		FS:                    pebbleFS{s.fs, &s.spare, readEditMark(s.fs, dir), s.log},
		FormatMajorVersion:    databaseFormat,
		Logger:                pebbleLog{s},
		CacheSize:             blockCacheSize + 2*int64(s.disk.memTableSize()), // Pebble takes memtables out of it, one to use again among them
		MemTableSize:          s.disk.memTableSize(),
		L0CompactionThreshold: 10, // large merges instead of many: half the work of saves on a large wiki
		L0StopWritesThreshold: 40,
		MaxOpenFiles:          500,
	}
	opts.EventListener = &pebble.EventListener{
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			s.damage.note(s, fmt.Sprintf("file %s, keys %s: %v (%s)", info.Path, info.Bounds.String(), info.Details, cockroach.FlattenDetails(info.Details)))
		},
		BackgroundError: func(err error) { s.log.Error("database in the background", "err", err) },
	}
	for i := range opts.Levels {
		opts.Levels[i].BlockSize = 32 << 10
		opts.Levels[i].IndexBlockSize = 64 << 10
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10) // the last level has none
	}
	opts.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionBalanced })
	files := describe(dir, opts.FS)
	if d, err := pebble.Peek(dir, opts.FS); err == nil {
		if err := checkManifest(s.fs, dir, d); err != nil {
			return err
		}
	}
	db, err := pebble.Open(dir, opts)
	if err != nil {
		if err = s.corrupt(err); isStrange(err) {
			err = fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		return fmt.Errorf("%w (%s)", err, files)
	}
	s.db, s.files = db, files
	return nil
}

// describe names the files that say what the database is made of, for errors
// that do not name the one they are about.
func describe(dir string, fs vfs.FS) string {
	d, err := pebble.Peek(dir, fs)
	if err != nil || !d.Exists {
		return "in " + dir
	}
	return fmt.Sprintf("in %s, as %s and %s describe it", dir, filepath.Base(d.ManifestFilename), filepath.Base(d.OptionsFilename))
}

// checkWhole looks whether a commit is there for each arrival number. Pebble
// opens without a word when a damaged manifest has dropped a table; what is in
// newer ones would then be read as if nothing were missing.
func (s *Store) checkWhole() error {
	next := uint64(1)
	err := s.scan([]byte{keyArrival}, func(key, _ []byte) error {
		if len(key) != 8 || binary.BigEndian.Uint64(key) != next {
			return errGap
		}
		next++
		return nil
	})
	if last := s.mu.counters.arrival; err == nil && next != last+1 || errors.Is(err, errGap) {
		return fmt.Errorf("%w: of %d commits, number %d is gone: a table of the database is lost (%s)", ErrCorrupt, last, next, s.files)
	}
	return err
}

var errGap = errors.New("storage: a gap")

// corrupt adds to an error of the database what its text leaves out: the file
// and the offset.
func (s *Store) corrupt(err error) error {
	if err == nil {
		return nil
	}
	if pebble.IsCorruptionError(err) {
		err = fmt.Errorf("%w: database: %w (%s)", ErrCorrupt, err, cockroach.FlattenDetails(err))
		s.damage.note(s, err.Error())
		return err
	}
	if errors.Is(err, pebble.ErrClosed) {
		return ErrClosed
	}
	return fmt.Errorf("storage: database: %w", err)
}

// pebbleLog hands Pebble's messages to slog. A fatal one ends all writing:
// Pebble demands that Fatalf does not return.
type pebbleLog struct{ s *Store }

func (l pebbleLog) Infof(format string, args ...any) {
	if l.s.log.Enabled(context.Background(), slog.LevelDebug) {
		l.s.log.Debug("database", "message", fmt.Sprintf(format, args...))
	}
}

func (l pebbleLog) Errorf(format string, args ...any) {
	l.s.log.Error("database", "message", fmt.Sprintf(format, args...))
}

func (l pebbleLog) Fatalf(format string, args ...any) {
	err := fmt.Errorf("%w: %s", ErrPoisoned, fmt.Sprintf(format, args...))
	l.s.log.Error("database gives up", "err", err)
	if l.s.cfg.Fatal != nil {
		l.s.cfg.Fatal(err)
	}
	panic(err)
}
