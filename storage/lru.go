package storage

import "container/list"

// lru is a cache bounded by the sum of its entries' costs; the least recently
// used entry goes first. It is not safe for concurrent use.
type lru[K comparable, V any] struct {
	most, cost int
	order      *list.List
	entries    map[K]*list.Element
}

type lruEntry[K comparable, V any] struct {
	key   K
	value V
	cost  int
}

func newLRU[K comparable, V any](most int) *lru[K, V] {
	return &lru[K, V]{most: most, order: list.New(), entries: make(map[K]*list.Element)}
}

func (l *lru[K, V]) get(key K) (value V, found bool) {
	e, found := l.entries[key]
	if !found {
		return value, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*lruEntry[K, V]).value, true
}

func (l *lru[K, V]) put(key K, value V, cost int) {
	if e, found := l.entries[key]; found {
		old := e.Value.(*lruEntry[K, V])
		l.cost += cost - old.cost
		old.value, old.cost = value, cost
		l.order.MoveToFront(e)
	} else {
		l.entries[key] = l.order.PushFront(&lruEntry[K, V]{key, value, cost})
		l.cost += cost
	}
	for l.cost > l.most && l.order.Len() > 1 {
		oldest := l.order.Back()
		entry := oldest.Value.(*lruEntry[K, V])
		l.order.Remove(oldest)
		delete(l.entries, entry.key)
		l.cost -= entry.cost
	}
}
