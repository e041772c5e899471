package main

import (
	"testing"
	"time"
)

// TestGarbagePace: a small node at work may hold more garbage than one at rest, a
// large one may not, and coming to rest is told once.
func TestGarbagePace(t *testing.T) {
	var pace garbagePace
	now := time.Unix(1_800_000_000, 0)
	made := uint64(0)
	second := func(live, asked uint64) (int, bool) {
		now, made = now.Add(time.Second), made+asked
		return pace.look(now, live, made)
	}
	const small, large = 12 << 20, 200 << 20
	if percent, rests := second(small, 5<<20); percent != 200 || rests {
		t.Errorf("a small one at work: %d %%, rests %v", percent, rests)
	}
	if percent, _ := second(large, 5<<20); percent != garbageAtRest {
		t.Errorf("a large one at work: %d %%", percent)
	}
	if percent, _ := second(0, 5<<20); percent != garbageMost {
		t.Errorf("one of which nothing is known: %d %%", percent)
	}
	told := 0
	for second := range 30 {
		now = now.Add(time.Second)
		percent, rests := pace.look(now, small, made)
		if rests {
			told++
		}
		if late := time.Duration(second+1)*time.Second >= restFrom; late != (percent == garbageAtRest) {
			t.Errorf("%d %% after %d s without work", percent, second+1)
		}
	}
	if told != 1 {
		t.Errorf("coming to rest was told %d times", told)
	}
	if percent, rests := second(small, restBytes); percent != 200 || rests {
		t.Errorf("at work again: %d %%, rests %v", percent, rests)
	}
}
