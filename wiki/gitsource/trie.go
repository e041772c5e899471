package gitsource

// trie maps numbers of paths to numbers of revisions, from 1; 0 is none. It is
// never changed: set returns another one that shares what is the same. So each
// commit can have one of its own, and two are compared in the time that their
// difference takes.
type trie struct {
	kids   []*trie // of an inner node
	values []int32 // of a leaf
}

const (
	trieBits  = 4
	trieWidth = 1 << trieBits
)

// trieHeight is how many inner levels hold count numbers.
func trieHeight(count int) (height int) {
	for most := trieWidth; most < count; most *= trieWidth {
		height++
	}
	return height
}

func (t *trie) get(height int, key int32) int32 {
	for ; t != nil && height > 0; height-- {
		t = t.kids[key>>(height*trieBits)&(trieWidth-1)]
	}
	if t == nil {
		return 0
	}
	return t.values[key&(trieWidth-1)]
}

func (t *trie) set(height int, key, value int32) *trie {
	if height == 0 {
		leaf := &trie{values: make([]int32, trieWidth)}
		if t != nil {
			copy(leaf.values, t.values)
		}
		leaf.values[key&(trieWidth-1)] = value
		return leaf
	}
	inner := &trie{kids: make([]*trie, trieWidth)}
	if t != nil {
		copy(inner.kids, t.kids)
	}
	at := key >> (height * trieBits) & (trieWidth - 1)
	inner.kids[at] = inner.kids[at].set(height-1, key, value)
	return inner
}

// differences calls fn with each key that has not one value in both.
func differences(a, b *trie, height int, prefix int32, fn func(key int32)) {
	if a == b {
		return
	}
	for i := range int32(trieWidth) {
		key := prefix | i<<(height*trieBits)
		if height == 0 {
			if a.get(0, i) != b.get(0, i) {
				fn(key)
			}
			continue
		}
		var x, y *trie
		if a != nil {
			x = a.kids[i]
		}
		if b != nil {
			y = b.kids[i]
		}
		differences(x, y, height-1, key, fn)
	}
}
