package cache_test

import (
	"slices"
	"testing"

	"github.com/erwik/erwik/wiki/cache"
)

func TestLeastRecentlyUsedGoesFirst(t *testing.T) {
	var gone []string
	c := cache.New(10, func(k string, _ int) { gone = append(gone, k) })
	for _, k := range []string{"a", "b", "c", "d", "e"} {
		c.Put(k, 1, 2)
	}
	if _, ok := c.Get("a"); !ok {
		t.Fatal("a is gone before the limit is reached")
	}
	c.Put("f", 1, 2)
	if !slices.Equal(gone, []string{"b"}) {
		t.Errorf("gone: %v, want [b]", gone)
	}
	c.Put("a", 2, 1)
	if v, _ := c.Get("a"); v != 2 {
		t.Errorf("a = %d after it was put again, want 2", v)
	}
	if values, cost := c.Cost(); values != 5 || cost != 9 {
		t.Errorf("holds %d values of cost %d, want 5 and 9", values, cost)
	}
	c.Delete("a")
	if _, ok := c.Get("a"); ok {
		t.Error("a is there after Delete")
	}
}

func TestHugeValueIsNotKept(t *testing.T) {
	c := cache.New[int, int](8, nil)
	c.Put(1, 1, 2)
	c.Put(2, 2, 3)
	if _, ok := c.Get(2); ok {
		t.Error("a value above a quarter of the limit was kept")
	}
	if _, ok := c.Get(1); !ok {
		t.Error("a small value had to go for a huge one")
	}
}
