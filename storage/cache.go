package storage

import "sync"

// caches hold what the hot paths ask for again and again. Everything in them
// can be read from the database at any time.
type caches struct {
	mu      sync.Mutex
	heads   *headCache
	content *lru[Hash, []byte]
	located *lru[Hash, Span]
	version uint64 // counts applied batches: a slow reader must not put back old heads
}

func (c *caches) init() {
	c.heads = newHeadCache(headsCacheSize)
	c.content = newLRU[Hash, []byte](contentCacheCost)
	c.located = newLRU[Hash, Span](locatedCacheCount)
}

// forgetPlaces drops what is known of where commits stand.
func (c *caches) forgetPlaces() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.located = newLRU[Hash, Span](locatedCacheCount)
}

func (c *caches) getHeads(path string) (heads []Head, version uint64, found bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	heads, found = c.heads.get(path)
	return heads, c.version, found
}

// fillHeads keeps what was read, unless something was applied meanwhile.
func (c *caches) fillHeads(path string, heads []Head, version uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.version == version {
		c.heads.put(path, heads)
	}
}

func (c *caches) getContent(h Hash) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.content.get(h)
}

func (c *caches) fillContent(h Hash, content []byte) {
	if len(content) > contentCacheCost/16 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.content.put(h, content, 128+len(content))
}

// applied takes over what a batch changed.
func (c *caches) applied(heads map[string][]Head) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version++
	for path, h := range heads {
		c.heads.put(path, h)
	}
}
