package storage

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	cockroach "github.com/cockroachdb/errors"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/sstable/block/blockkind"
	"github.com/cockroachdb/pebble/v2/sstable/colblk"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// rawEntry is one entry of a database file, as it lies there: newer entries of
// the same key have a higher number.
type rawEntry struct {
	key, value []byte // valid until the next one
	number     uint64
	deleted    bool
}

func isSet(kind pebble.InternalKeyKind) bool {
	return kind == pebble.InternalKeyKindSet || kind == pebble.InternalKeyKindSetWithDelete
}

// prefixBundle is Pebble's default for its default key schema.
const prefixBundle = 16

// readTable gives every entry of a table that can be read, block by block, and
// names what can't. Each block has a checksum, so what it gives is what was
// written.
func readTable(fs vfs.FS, path string, fn func(rawEntry) error) (damaged []string, err error) {
	unread := func(err error) ([]string, error) {
		return []string{fmt.Sprintf("%s: no block of it can be found: %v (%s)", path, err, cockroach.FlattenDetails(err))}, nil
	}
	file, err := openTable(fs, path)
	if err != nil {
		return unread(err)
	}
	readable, err := sstable.NewSimpleReadable(file)
	if err != nil {
		return unread(joinClose(err, file))
	}
	schema := colblk.DefaultKeySchema(pebble.DefaultComparer, prefixBundle)
	options := sstable.ReaderOptions{Comparer: pebble.DefaultComparer, KeySchemas: sstable.MakeKeySchemas(&schema)}
	reader, err := sstable.NewReader(context.Background(), readable, options)
	if err != nil {
		return unread(err)
	}
	defer func() { err = joinClose(err, reader) }()
	layout, err := reader.Layout()
	if err != nil {
		return unread(err)
	}
	initBlock := func(md *block.Metadata, data []byte) error { return colblk.InitDataBlockMetadata(&schema, md, data) }
	for _, at := range layout.Data {
		handle, err := reader.BlockReader().Read(context.Background(), block.NoReadEnv, nil, at.Handle, blockkind.SSTableData, initBlock)
		if err != nil {
			damaged = append(damaged, fmt.Sprintf("%s: %d bytes from offset %d: %v", path, at.Length, at.Offset, err))
			continue
		}
		var it colblk.DataBlockIter
		it.InitOnce(&schema, pebble.DefaultComparer, nil) // no value lies outside its block
		if err := it.InitHandle(pebble.DefaultComparer, handle, block.NoTransforms); err != nil {
			damaged = append(damaged, fmt.Sprintf("%s: %d bytes from offset %d: %v", path, at.Length, at.Offset, err))
			continue
		}
		for kv := it.First(); kv != nil; kv = it.Next() {
			kind := kv.K.Kind()
			e := rawEntry{key: kv.K.UserKey, value: kv.InPlaceValue(), number: uint64(kv.K.SeqNum()), deleted: !isSet(kind)}
			if err := fn(e); err != nil {
				return damaged, joinClose(err, &it)
			}
		}
		if err := it.Close(); err != nil {
			return damaged, err
		}
	}
	return damaged, nil
}

func joinClose(err error, c io.Closer) error {
	if closing := c.Close(); err == nil {
		return closing
	}
	return err
}

// logBlock is the size of a block of a write-ahead log.
const logBlock = 32 << 10

// maxLogFile bounds what is read of one write-ahead log, which is one memtable.
const maxLogFile = 512 << 20

// readLog gives every entry of a write-ahead log that can be read. After a
// damaged record it goes on at the next block. Nobody can tell the end of a log
// from a damaged record at its end, so it names only what has readable records
// behind it.
func readLog(fs vfs.FS, path string, fn func(rawEntry) error) (damaged []string, err error) {
	name, _, _ := strings.Cut(filepath.Base(path), ".")
	number, err := strconv.ParseUint(name, 10, 32)
	if err != nil {
		return []string{path + ": not the name of a log"}, nil
	}
	content, err := readWhole(fs, path, maxLogFile)
	if err != nil {
		damaged = append(damaged, err.Error())
	}
	hole := int64(-1)
	for from := int64(0); from < int64(len(content)); {
		if hole >= 0 && !ofLog(content[from:], uint32(number)) { // never written, or left by an older log
			from += logBlock
			continue
		}
		r := newLogReader(record.NewReader, bytes.NewReader(content[from:]), number)
		for {
			at := from + r.Offset()
			one, err := r.Next()
			var batch []byte
			if err == nil {
				batch, err = io.ReadAll(one)
			}
			if err != nil {
				if hole < 0 {
					hole = at
				}
				from = (at/logBlock + 1) * logBlock
				break
			}
			if hole >= 0 {
				damaged = append(damaged, fmt.Sprintf("%s: up to %d bytes from offset %d", path, at-hole, hole))
				hole = -1
			}
			if err := readBatch(batch, fn); err != nil {
				return damaged, err
			}
		}
	}
	return damaged, nil
}

// ofLog reports whether a block begins with a chunk of the log of that number:
// checksum (4), length (2), kind (1), number (4, little endian).
func ofLog(b []byte, number uint32) bool {
	return len(b) >= 11 && binary.LittleEndian.Uint32(b[7:]) == number
}

// newLogReader names the type of a log's number, which Pebble keeps to itself.
func newLogReader[N ~uint64](open func(io.Reader, N) *record.Reader, r io.Reader, number uint64) *record.Reader {
	return open(r, N(number))
}

// readBatch gives the entries of one batch.
func readBatch(batch []byte, fn func(rawEntry) error) error {
	header, ok := batchrepr.ReadHeader(batch)
	if !ok {
		return nil
	}
	number := uint64(header.SeqNum)
	for r := batchrepr.Read(batch); ; number++ {
		kind, key, value, ok, err := r.Next()
		if !ok || err != nil {
			return nil
		}
		if err := fn(rawEntry{key: key, value: value, number: number, deleted: !isSet(kind)}); err != nil {
			return err
		}
	}
}

// readWhole reads a file of at most most bytes.
func readWhole(fs vfs.FS, path string, most int64) (b []byte, err error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	defer func() { err = joinClose(err, f) }()
	if b, err = io.ReadAll(io.LimitReader(f, most)); err != nil {
		return b, fmt.Errorf("read %s after offset %d: %w", path, len(b), err)
	}
	return b, nil
}
