package storage

import (
	"encoding/binary"
	"hash/crc32"
	"strings"

	cockroach "github.com/cockroachdb/errors"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Pebble looks in a block that is damaged for the one bit that was flipped, each
// time that the block is read, and with effort that grows with the square of its
// size: a second for 32 KiB, minutes for a page of 1 MiB. So blocks of tables are
// checked here, as they are read.

func isTable(name string) bool { return strings.HasSuffix(name, ".sst") }

const (
	blockTrailer = 5 // kind of compression, CRC-32C (4, little endian)
	// checkedBlock is from what size a read of a table is checked. What is read
	// in one piece and is larger is one block with its trailer; what is no block
	// (the footer) is much smaller.
	checkedBlock = 1024
)

// tableFile is a table that is read.
type tableFile struct {
	vfs.File
	path string
}

// openTable opens a table whose blocks are checked.
func openTable(fs vfs.FS, path string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.Open(path, opts...)
	if err != nil {
		return nil, err
	}
	return &tableFile{f, path}, nil
}

// ReadAt reads a block, or something small.
func (f *tableFile) ReadAt(b []byte, at int64) (int, error) {
	n, err := f.File.ReadAt(b, at)
	if err != nil || n < checkedBlock {
		return n, err
	}
	if got, want := blockSum(b[:n-4]), binary.LittleEndian.Uint32(b[n-4:n]); got != want {
		err = cockroach.Newf("%s: block %d/%d: checksum %08x, not %08x", f.path, at, n-blockTrailer, got, want)
		return 0, cockroach.Mark(err, pebble.ErrCorruption)
	}
	return n, nil
}

// blockSum is the checksum of a block and its kind: CRC-32C, turned and moved as
// LevelDB does it.
func blockSum(b []byte) uint32 {
	c := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	return (c>>15 | c<<17) + 0xa282ead8
}
