package gitsource

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// errPack: a pack is damaged.
var errPack = errors.New("damaged pack")

// deltaSize returns how large the result of a delta is.
func deltaSize(delta []byte) (int, error) {
	_, n := binary.Uvarint(delta)
	if n <= 0 {
		return 0, fmt.Errorf("%w: delta", errPack)
	}
	size, m := binary.Uvarint(delta[n:])
	if m <= 0 || size > maxObject {
		return 0, fmt.Errorf("%w: delta to %d bytes", errPack, size)
	}
	return int(size), nil
}

// applyDelta appends to dst, which must be empty, what delta makes of base.
// (go-git's takes a new buffer for each result; half of an import is this.)
func applyDelta(dst, base, delta []byte) ([]byte, error) {
	size, err := deltaSize(delta)
	if err != nil {
		return nil, err
	}
	from, n := binary.Uvarint(delta)
	_, m := binary.Uvarint(delta[n:])
	if from != uint64(len(base)) {
		return nil, fmt.Errorf("%w: delta for %d bytes has a base of %d", errPack, from, len(base))
	}
	if cap(dst) < size {
		dst = make([]byte, 0, size)
	}
	for delta = delta[n+m:]; len(delta) > 0; {
		op := delta[0]
		delta = delta[1:]
		if op&0x80 == 0 { // the next op bytes
			if op == 0 || int(op) > len(delta) || len(dst)+int(op) > size {
				return nil, fmt.Errorf("%w: delta", errPack)
			}
			dst = append(dst, delta[:op]...)
			delta = delta[op:]
			continue
		}
		var at, length int
		for i := range 7 {
			if op&(1<<i) == 0 {
				continue
			}
			if len(delta) == 0 {
				return nil, fmt.Errorf("%w: delta is cut short", errPack)
			}
			if i < 4 {
				at |= int(delta[0]) << (8 * i)
			} else {
				length |= int(delta[0]) << (8 * (i - 4))
			}
			delta = delta[1:]
		}
		if length == 0 {
			length = 0x10000
		}
		if at+length > len(base) || len(dst)+length > size {
			return nil, fmt.Errorf("%w: delta reaches beyond its base", errPack)
		}
		dst = append(dst, base[at:at+length]...)
	}
	if len(dst) != size {
		return nil, fmt.Errorf("%w: delta gives %d bytes, not %d", errPack, len(dst), size)
	}
	return dst, nil
}
