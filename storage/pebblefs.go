package storage

import (
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// pebbleFS is the file system as Pebble gets it. It closes a gap in Pebble,
// which writes a new manifest and then creates a marker file that names it,
// with no sync of the directory in between: on a file system that keeps the
// two names in the other order, a crash leaves a marker that points to nothing
// and a database that does not open. Here the directory is synced before a
// marker is made. And it hands out spare logs, and marks how far a manifest reaches.
type pebbleFS struct {
	vfs.FS
	spare *spareLogs
	edits *editMark
	log   *slog.Logger
}

// Unwrap tells Pebble what is below.
func (o pebbleFS) Unwrap() vfs.FS { return o.FS }

func isLog(name string) bool { return strings.HasSuffix(name, ".log") }

// Create gives a log a spare's blocks, and a manifest its mark.
func (o pebbleFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if isLog(name) {
		if f := o.spare.take(name, category); f != nil {
			return f, nil
		}
	}
	if strings.HasPrefix(filepath.Base(name), "marker.") {
		if err := syncDir(o.FS, filepath.Dir(name)); err != nil {
			return nil, err
		}
	}
	f, err := o.FS.Create(name, category)
	if number, ok := manifestNumber(name); ok && err == nil {
		failed := func(err error) { o.log.Warn("database", "err", err) }
		return &manifestFile{File: f, mark: o.edits, failed: failed, number: number}, nil
	}
	return f, err
}

// Open has blocks of tables checked as they are read.
func (o pebbleFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if isTable(name) {
		return openTable(o.FS, name, opts...)
	}
	return o.FS.Open(name, opts...)
}

// ReuseForWrite prefers a spare to an old log that is shorter.
func (o pebbleFS) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if info, err := o.FS.Stat(old); isLog(name) && err == nil && info.Size() < spareSize {
		if f := o.spare.take(name, category); f != nil {
			return f, o.FS.Remove(old)
		}
	}
	return o.FS.ReuseForWrite(old, name, category)
}
