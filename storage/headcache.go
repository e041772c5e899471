package storage

import (
	"encoding/binary"
	"hash/maphash"
)

// headCache remembers the heads of many paths in little memory: entries lie one
// after another in a ring, encoded as in the database, and an index of numbers
// finds them, so the garbage collector has nothing to look at. The oldest entry
// makes room for the newest. It is not safe for concurrent use.
//
// An entry is its length (4 bytes, all of it), the length of the path (2), the
// path and the heads. A length of zero says that the ring goes on at its start.
type headCache struct {
	seed  maphash.Seed
	index map[uint64]uint32 // hash of a path → where its entry begins
	ring  []byte            // grows to most before anything is forgotten
	most  int
	oldest,
	next int // entries lie from oldest to next, around the end
	used int // entries in the ring, overwritten ones included
}

const headEntry = 6

func newHeadCache(size int) *headCache {
	return &headCache{seed: maphash.MakeSeed(), index: make(map[uint64]uint32), most: size}
}

func (c *headCache) get(path string) ([]Head, bool) {
	at, found := c.index[maphash.String(c.seed, path)]
	if !found {
		return nil, false
	}
	entryPath, value := c.entry(int(at))
	if string(entryPath) != path {
		return nil, false
	}
	heads, err := parseHeads(value)
	return heads, err == nil
}

// entry returns path and heads of the entry that begins at at.
func (c *headCache) entry(at int) (path, value []byte) {
	end := at + int(binary.BigEndian.Uint32(c.ring[at:]))
	split := at + headEntry + int(binary.BigEndian.Uint16(c.ring[at+4:]))
	return c.ring[at+headEntry : split], c.ring[split:end]
}

// put remembers the heads; a path with very many is forgotten instead.
func (c *headCache) put(path string, heads []Head) {
	key := maphash.String(c.seed, path)
	var buf [256]byte
	value := encodeHeads(buf[:0], heads)
	size := headEntry + len(path) + len(value)
	if size > c.most/16 {
		delete(c.index, key)
		return
	}
	for len(c.ring)-c.next < size && len(c.ring) < c.most { // nothing was forgotten yet
		c.ring = append(make([]byte, 0, min(c.most, max(64<<10, 2*len(c.ring)))), c.ring...)
		c.ring = c.ring[:cap(c.ring)]
	}
	if len(c.ring)-c.next < size { // go on at the start
		for c.used > 0 && c.oldest >= c.next {
			c.evict()
		}
		if len(c.ring)-c.next >= 4 {
			binary.BigEndian.PutUint32(c.ring[c.next:], 0)
		}
		c.next = 0
		if c.used == 0 {
			c.oldest = 0
		}
	}
	for c.used > 0 && c.oldest >= c.next && c.oldest < c.next+size {
		c.evict()
	}
	b := c.ring[c.next:]
	binary.BigEndian.PutUint32(b, uint32(size))
	binary.BigEndian.PutUint16(b[4:], uint16(len(path)))
	copy(b[headEntry:], path)
	copy(b[headEntry+len(path):], value)
	c.index[key] = uint32(c.next)
	c.next += size
	c.used++
}

// evict forgets the oldest entry.
func (c *headCache) evict() {
	path, _ := c.entry(c.oldest)
	key := maphash.Bytes(c.seed, path)
	if at, found := c.index[key]; found && int(at) == c.oldest {
		delete(c.index, key)
	}
	c.oldest += int(binary.BigEndian.Uint32(c.ring[c.oldest:]))
	c.used--
	if c.used == 0 {
		c.oldest = c.next
		return
	}
	if len(c.ring)-c.oldest < 4 || binary.BigEndian.Uint32(c.ring[c.oldest:]) == 0 {
		c.oldest = 0
	}
}
