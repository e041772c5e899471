package storage

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// mark is the high-water mark: the last save that this node acknowledged,
// kept outside Pebble. It exists to raise one alarm: Pebble may open without
// an error and yet have lost synced saves (a damaged write-ahead log is cut
// silently). It is written, without a sync, after each own save: a crash of
// the process keeps it, a power failure may set it back, which only makes
// the alarm miss.
type mark struct {
	log      LogID
	sequence uint64
	hash     Hash
}

const (
	markName     = "mark"
	markSlotSize = 128 // two slots, written in turn, so one is always whole
	markVersion  = 1
)

// encode lays out a slot: version, turn, log, sequence, hash, zeros, CRC-32C.
func (m mark) encode(turn uint64) []byte {
	b := make([]byte, 0, markSlotSize)
	b = append(b, markVersion)
	b = binary.BigEndian.AppendUint64(b, turn)
	b, _ = m.log.AppendBinary(b)
	b = binary.BigEndian.AppendUint64(b, m.sequence)
	b = append(b, m.hash[:]...)
	b = b[:markSlotSize-4]
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

func parseMark(b []byte) (m mark, turn uint64, ok bool) {
	if len(b) != markSlotSize || b[0] != markVersion {
		return m, 0, false
	}
	sum := crc32.Checksum(b[:markSlotSize-4], crc32.MakeTable(crc32.Castagnoli))
	if sum != binary.BigEndian.Uint32(b[markSlotSize-4:]) {
		return m, 0, false
	}
	m.log = LogIDFromBytes(b[9:])
	m.sequence = binary.BigEndian.Uint64(b[49:])
	copy(m.hash[:], b[57:])
	return m, binary.BigEndian.Uint64(b[1:]), true
}

// markFile is the open file; one goroutine at a time writes it.
type markFile struct {
	file vfs.File
	turn uint64
}

// openMark opens or makes the file and returns the newest whole slot.
func openMark(fs vfs.FS, path string) (*markFile, mark, error) {
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, mark{}, fmt.Errorf("open high-water mark %s: %w", path, err)
	}
	var newest mark
	m := &markFile{file: f}
	for i := range int64(2) {
		b := make([]byte, markSlotSize)
		if n, err := f.ReadAt(b, i*markSlotSize); n < len(b) && err != nil {
			continue // not written yet
		}
		if slot, turn, ok := parseMark(b); ok && turn > m.turn {
			newest, m.turn = slot, turn
		}
	}
	return m, newest, nil
}

func (m *markFile) write(to mark) error {
	m.turn++
	_, err := m.file.WriteAt(to.encode(m.turn), int64(m.turn%2)*markSlotSize)
	if err != nil {
		return fmt.Errorf("write high-water mark: %w", err)
	}
	return nil
}
