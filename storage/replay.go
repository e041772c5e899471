package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Pebble's manifest is a row of edits that say which tables are the database.
// The first edit that Pebble can't read it takes for the end of the row, without
// a word: the tables of later edits are then removed, and numbers of entries are
// given again that older entries have, which come back into sight as new ones
// are written. So each edit is read here before Pebble opens, and a mark beside
// the manifest says how far it reached when it was synced last, since a manifest
// that was cut between two edits looks whole.

const (
	manifestPrefix   = "MANIFEST-"
	editMarkName     = "manifest-mark" // in the database's directory, where Pebble passes it by
	editMarkSlotSize = 32              // two slots, written in turn
	editMarkVersion  = 1
)

var errNoTables = errors.New("storage: tables are here, and nothing says which")

// checkManifest refuses a directory with tables of which nothing says that they
// belong to the database (Pebble would make a new one there, and remove them),
// and a manifest that does not say all that it said.
func checkManifest(fs vfs.FS, dir string, d *pebble.DBDesc) error {
	if d.Exists {
		return checkEdits(fs, dir, d.ManifestFilename)
	}
	names, err := fs.List(dir)
	if err != nil {
		return nil // it is made
	}
	for _, name := range names {
		if isLog(name) || isTable(name) {
			return fmt.Errorf("%w in %s", errNoTables, dir)
		}
	}
	return nil
}

// checkEdits reads all edits of a manifest, which must end where the file does and
// not before the mark.
func checkEdits(fs vfs.FS, dir, path string) error {
	end, size, err := readEdits(fs, path)
	if err != nil {
		return err
	}
	if end < size {
		return fmt.Errorf("%w: the manifest %s can't be read after offset %d of %d", ErrCorrupt, path, end, size)
	}
	return checkReach(path, end, readEditMark(fs, dir))
}

// checkSynced reads the manifest of an open database, which may just be written,
// and demands only what was synced. It returns how much was read.
func checkSynced(fs vfs.FS, dir, path string) (int64, error) {
	m := readEditMark(fs, dir)
	end, _, err := readEdits(fs, path)
	if err != nil {
		return 0, err
	}
	return end, checkReach(path, end, m)
}

func checkReach(path string, end int64, m *editMark) error {
	number, _ := manifestNumber(path)
	if length := m.reach(number); end < length {
		return fmt.Errorf("%w: the manifest %s can be read up to offset %d, and was %d bytes long", ErrCorrupt, path, end, length)
	}
	return nil
}

// readEdits returns where the last edit that can be read ends, and the size.
func readEdits(fs vfs.FS, path string) (end, size int64, err error) {
	f, err := fs.Open(path)
	if err != nil {
		return 0, 0, fmt.Errorf("open the manifest %s: %w", path, err)
	}
	defer func() { err = joinClose(err, f) }()
	info, err := f.Stat()
	if err != nil {
		return 0, 0, fmt.Errorf("look at the manifest %s: %w", path, err)
	}
	for r := newLogReader(record.NewReader, f, 0); err == nil; {
		var edit io.Reader
		if edit, err = r.Next(); err == nil {
			_, err = io.Copy(io.Discard, edit)
		}
		if err == nil || errors.Is(err, io.EOF) {
			end = r.Offset()
		}
	}
	for _, ended := range []error{io.EOF, record.ErrUnexpectedEOF, record.ErrInvalidChunk, record.ErrZeroedChunk} {
		if errors.Is(err, ended) {
			return end, info.Size(), nil
		}
	}
	return end, info.Size(), fmt.Errorf("read the manifest %s after offset %d: %w", path, end, err)
}

func manifestNumber(path string) (number uint64, ok bool) {
	digits, ok := strings.CutPrefix(filepath.Base(path), manifestPrefix)
	number, err := strconv.ParseUint(digits, 10, 64)
	return number, ok && err == nil
}

// editSlot says how long a manifest was when it was synced.
type editSlot struct {
	turn, manifest uint64
	length         int64
}

// encode lays out a slot: version, turn, number of the manifest, its length,
// zeros, CRC-32C.
func (e editSlot) encode() []byte {
	b := make([]byte, 0, editMarkSlotSize)
	b = append(b, editMarkVersion)
	b = binary.BigEndian.AppendUint64(b, e.turn)
	b = binary.BigEndian.AppendUint64(b, e.manifest)
	b = binary.BigEndian.AppendUint64(b, uint64(e.length))
	b = b[:editMarkSlotSize-4]
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

func parseEditSlot(b []byte) (e editSlot, ok bool) {
	if len(b) != editMarkSlotSize || b[0] != editMarkVersion {
		return e, false
	}
	if crc32.Checksum(b[:editMarkSlotSize-4], crc32.MakeTable(crc32.Castagnoli)) != binary.BigEndian.Uint32(b[editMarkSlotSize-4:]) {
		return e, false
	}
	return editSlot{binary.BigEndian.Uint64(b[1:]), binary.BigEndian.Uint64(b[9:]), int64(binary.BigEndian.Uint64(b[17:]))}, true
}

// editMark keeps the mark of one database. It is written without a sync after
// each sync of a manifest: a failure of power may set it back, which only lets a
// cut go unseen. Pebble syncs one manifest at a time.
type editMark struct {
	fs    vfs.FS
	path  string
	slots [2]editSlot
}

// readEditMark reads the mark; slots that are not whole say nothing.
func readEditMark(fs vfs.FS, dir string) *editMark {
	m := &editMark{fs: fs, path: filepath.Join(dir, editMarkName)}
	b, err := readWhole(fs, m.path, 2*editMarkSlotSize)
	for i := range m.slots {
		if at := i * editMarkSlotSize; err == nil && len(b) >= at+editMarkSlotSize {
			m.slots[i], _ = parseEditSlot(b[at : at+editMarkSlotSize])
		}
	}
	return m
}

// reach returns the length that a manifest is known to have had.
func (m *editMark) reach(manifest uint64) (length int64) {
	for _, slot := range m.slots {
		if slot.manifest == manifest {
			length = max(length, slot.length)
		}
	}
	return length
}

func (m *editMark) write(manifest uint64, length int64) (err error) {
	next := editSlot{max(m.slots[0].turn, m.slots[1].turn) + 1, manifest, length}
	f, err := m.fs.OpenReadWrite(m.path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("open the mark of the manifest: %w", err)
	}
	m.slots[next.turn%2] = next
	if _, err = f.WriteAt(next.encode(), int64(next.turn%2)*editMarkSlotSize); err != nil {
		err = fmt.Errorf("write the mark of the manifest: %w", err)
	}
	return joinClose(err, f)
}

// manifestFile is a manifest that Pebble writes. The mark follows its syncs.
type manifestFile struct {
	vfs.File
	mark   *editMark
	failed func(error) // told when the mark was not written; the manifest goes on
	number uint64
	length int64
}

func (f *manifestFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	f.length += int64(n)
	return n, err
}

func (f *manifestFile) Sync() error {
	if err := f.File.Sync(); err != nil {
		return err
	}
	if err := f.mark.write(f.number, f.length); err != nil {
		f.failed(err)
	}
	return nil
}
