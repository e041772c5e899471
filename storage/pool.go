package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// The file "pool" is a second copy of what a node needs to find its neighbors
// again when its database is gone: who is admitted, and what other packages keep
// (the addresses of the pool among it). It is written when the store opens and
// closes and while it is scrubbed, and read only by a repair. It has:
//
//	"erwik pool 1" line feed
//	number of nodes (4) · 32 each
//	number of values (4) · each: length (4), name · length (4), value
//	CRC-32C of all before it (4)
//
// Numbers are big endian.
const (
	poolName   = "pool"
	poolHeader = "erwik pool 1\n"
	maxPool    = 64 << 20
)

func encodePool(nodes []NodeID, values []State) []byte {
	b := []byte(poolHeader)
	b = binary.BigEndian.AppendUint32(b, uint32(len(nodes)))
	for _, n := range nodes {
		b = append(b, n[:]...)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(values)))
	for _, v := range values {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(v.Name))), v.Name...)
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(v.Value))), v.Value...)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

func parsePool(b []byte) (nodes []NodeID, values []State, err error) {
	broken := fmt.Errorf("%w: the file %s", ErrCorrupt, poolName)
	if len(b) < len(poolHeader)+12 || !strings.HasPrefix(string(b), poolHeader) {
		return nil, nil, broken
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) != sum {
		return nil, nil, broken
	}
	r := reader{rest: body[len(poolHeader):]}
	number := func() int {
		if raw := r.take(4); raw != nil {
			return int(binary.BigEndian.Uint32(raw))
		}
		return 0
	}
	for n := number(); n > 0 && r.err == nil; n-- {
		if raw := r.take(len(NodeID{})); raw != nil {
			nodes = append(nodes, NodeID(raw))
		}
	}
	for n := number(); n > 0 && r.err == nil; n-- {
		name := r.take(number())
		value := r.take(number())
		values = append(values, State{string(name), slices.Clone(value)})
	}
	if r.err != nil || len(r.rest) != 0 {
		return nil, nil, broken
	}
	return nodes, values, nil
}

// writePool writes the second copy.
func (s *Store) writePool() error {
	var values []State
	size := 0
	err := s.scan([]byte{keyState}, func(key, value []byte) error {
		if size += len(key) + len(value) + 8; size > maxPool/2 {
			return errStop
		}
		values = append(values, State{string(key), slices.Clone(value)})
		return nil
	})
	if err != nil && !errors.Is(err, errStop) {
		return err
	}
	return writeSmall(s.fs, s.cfg.Dir, poolName, encodePool(s.Signers(), values))
}

// keepPool writes it unless the disk is full; without it a node needs --join
// where its database is gone altogether.
func (s *Store) keepPool() {
	err := s.disk.take(s.cfg.Clock(), maxPool/64)
	if err == nil {
		err = s.writePool()
	}
	if err != nil {
		s.log.Warn("the second copy of the pool was not written", "err", err)
	}
}

// takePool fills in from the second copy what a damaged database did not say.
func (s *Store) takePool(batch *pebble.Batch, found *salvaged) error {
	b, err := readWhole(s.fs, filepath.Join(s.cfg.Dir, poolName), maxPool)
	if err != nil {
		return nil // older directories have none
	}
	nodes, values, err := parsePool(b)
	if err != nil {
		found.damaged = append(found.damaged, err.Error())
		return nil
	}
	for _, n := range nodes {
		found.nodes[n] = true
	}
	for _, v := range values {
		key := append([]byte{keyState}, v.Name...)
		if _, said := found.small[string(key)]; !said {
			err = errors.Join(err, batch.Set(key, v.Value, nil))
		}
	}
	return err
}
