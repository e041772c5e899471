package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// How much a node's memory may grow before it is cleaned (GOGC). At rest little
// is made and cleaning is rare, so a node stays small. At work a small one would
// be cleaned each few megabytes, which costs it a seventh of its time: it may
// grow by garbageRoom first, and gives that back when it is at rest again.
const (
	garbageAtRest = 60  // percent of what is in use, at rest and of a large node
	garbageMost   = 400 // percent
	garbageRoom   = 24 << 20
	garbageEach   = time.Second
	// restFrom is how long less than restBytes must have been made in each
	// garbageEach for a node to be at rest.
	restFrom  = 10 * time.Second
	restBytes = 1 << 20
	// memoryLimit is what all may take together before it is cleaned at once, however
	// much garbage there might be else; GOMEMLIMIT of the environment comes first.
	memoryLimit = 432 << 20
)

// keepGarbage sets how much memory there may be, and until ctx ends how much garbage.
func keepGarbage(ctx context.Context) {
	heap := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}}
	ticker := time.NewTicker(garbageEach)
	defer ticker.Stop()
	var pace garbagePace
	percent := 0
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	for {
		metrics.Read(heap)
		next, rests := pace.look(time.Now(), heap[0].Value.Uint64(), heap[1].Value.Uint64())
		if next != percent {
			debug.SetGCPercent(next)
			percent = next
		}
		if rests {
			debug.FreeOSMemory()
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// garbagePace tells work from rest by how much memory is asked for.
type garbagePace struct {
	made    uint64    // bytes, since the process began
	busy    time.Time // when it was last busy
	resting bool
}

// look takes how many bytes are in use and how many were asked for since the process
// began, and tells how many percent of garbage there may be, and whether the
// node has just come to rest.
func (p *garbagePace) look(now time.Time, live, made uint64) (percent int, rests bool) {
	if made-p.made >= restBytes {
		p.busy = now
	}
	p.made = made
	was := p.resting
	p.resting = now.Sub(p.busy) >= restFrom
	if p.resting {
		return garbageAtRest, !was
	}
	return int(min(max(100*garbageRoom/max(live, 1), garbageAtRest), garbageMost)), false
}
