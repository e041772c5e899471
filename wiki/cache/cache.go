// Package cache keeps the most recently used values up to a total cost.
//
// It is not a store: a value may be gone at any time. A [Cache] may be used
// from several goroutines; it starts none.
package cache

import (
	"container/list"
	"sync"
)

// Cache is a least-recently-used cache bounded by the sum of its values'
// costs. Make one with [New].
type Cache[K comparable, V any] struct {
	mu      sync.Mutex // guards all below
	limit   int
	cost    int
	entries map[K]*list.Element
	order   *list.List // front: used last; holds *entry[K, V]
	evicted func(K, V) // called with mu held
}

type entry[K comparable, V any] struct {
	key   K
	value V
	cost  int
}

// New returns a cache that holds values of at most limit cost together. If
// evicted is not nil it is called for each value that leaves the cache, with
// the cache locked.
func New[K comparable, V any](limit int, evicted func(K, V)) *Cache[K, V] {
	return &Cache[K, V]{limit: limit, entries: map[K]*list.Element{}, order: list.New(), evicted: evicted}
}

// Get returns the value of key and marks it as used.
func (c *Cache[K, V]) Get(key K) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok {
		return value, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*entry[K, V]).value, true
}

// Put stores a value of the given cost. A value that costs more than a
// quarter of the limit is not kept.
func (c *Cache[K, V]) Put(key K, value V, cost int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.entries[key]; ok {
		c.remove(old)
	}
	if cost > c.limit/4 {
		return
	}
	c.entries[key] = c.order.PushFront(&entry[K, V]{key, value, cost})
	c.cost += cost
	for c.cost > c.limit {
		c.remove(c.order.Back())
	}
}

// Delete takes key out of the cache.
func (c *Cache[K, V]) Delete(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[key]; ok {
		c.remove(e)
	}
}

// Cost returns the number of values and what they cost together.
func (c *Cache[K, V]) Cost() (values, cost int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries), c.cost
}

func (c *Cache[K, V]) remove(e *list.Element) {
	old := e.Value.(*entry[K, V])
	c.order.Remove(e)
	delete(c.entries, old.key)
	c.cost -= old.cost
	if c.evicted != nil {
		c.evicted(old.key, old.value)
	}
}
