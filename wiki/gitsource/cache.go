package gitsource

import "container/list"

// maxCached bounds the contents that are remembered, in bytes.
const maxCached = 32 << 20

// contentCache remembers contents of objects; the least recently used goes
// first.
type contentCache struct {
	by    map[int32]*list.Element
	order *list.List // of cached, the newest in front
	size  int
}

type cached struct {
	index   int32
	content []byte
}

func newContentCache() *contentCache {
	return &contentCache{by: make(map[int32]*list.Element), order: list.New()}
}

func (c *contentCache) get(i int32) ([]byte, bool) {
	e, found := c.by[i]
	if !found {
		return nil, false
	}
	c.order.MoveToFront(e)
	return e.Value.(cached).content, true
}

func (c *contentCache) put(i int32, content []byte) {
	if _, found := c.by[i]; found || len(content) > maxCached/4 {
		return
	}
	c.by[i] = c.order.PushFront(cached{i, content})
	c.size += len(content) + 128
	for c.size > maxCached {
		last := c.order.Back()
		old := last.Value.(cached)
		c.order.Remove(last)
		delete(c.by, old.index)
		c.size -= len(old.content) + 128
	}
}
