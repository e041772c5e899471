package storage

import (
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// orderedFS closes a gap in Pebble: it writes a new manifest and then creates
// a marker file that names it, with no sync of the directory in between. On a
// file system that keeps the two names in the other order, a crash leaves a
// marker that points to nothing and a database that does not open. Here the
// directory is synced before a marker is made.
type orderedFS struct{ vfs.FS }

func (o orderedFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasPrefix(filepath.Base(name), "marker.") {
		if err := syncDir(o.FS, filepath.Dir(name)); err != nil {
			return nil, err
		}
	}
	return o.FS.Create(name, category)
}

// Unwrap tells Pebble what is below.
func (o orderedFS) Unwrap() vfs.FS { return o.FS }
