package cluster

import (
	"sync"

	"github.com/erwik/erwik/cluster/mesh"
)

// input is one thing that the loop gives to the core.
type input func(c *mesh.Core, now mesh.Time)

// maxInbox bounds the inputs that wait for the loop. When it is full, whoever
// has one more waits: a save, a link or a pull then runs at the loop's speed.
const maxInbox = 16384

// inbox is the queue in front of the loop. It never drops: the core must hear
// of every commit.
type inbox struct {
	mu     sync.Mutex
	room   sync.Cond
	queue  []input
	spare  []input
	wake   chan struct{}
	closed bool
}

func (b *inbox) init() {
	b.room.L = &b.mu
	b.wake = make(chan struct{}, 1)
}

// put adds an input; after close it is dropped and false returned.
func (b *inbox) put(in input) bool {
	b.mu.Lock()
	for len(b.queue) >= maxInbox && !b.closed {
		b.room.Wait()
	}
	if b.closed {
		b.mu.Unlock()
		return false
	}
	b.queue = append(b.queue, in)
	b.mu.Unlock()
	b.poke()
	return true
}

// poke wakes the loop.
func (b *inbox) poke() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take returns all that wait; the slice is valid until the next take.
func (b *inbox) take() []input {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.spare)
	b.queue, b.spare = b.spare[:0], b.queue
	b.room.Broadcast()
	return b.spare
}

func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.room.Broadcast()
}

// idle reports whether nothing waits.
func (b *inbox) idle() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue) == 0 && !b.closed
}

// put gives an input to the core: at once if the core is free and nothing
// waits, which spares waking the loop, else through the loop. Inputs keep
// their order: the loop takes what waits only while it holds the core.
func (n *Node) put(in input) bool {
	if n.running.Load() && n.coreMu.TryLock() {
		if n.inbox.idle() {
			in(n.core, n.now())
			n.act()
			n.coreMu.Unlock()
			return true
		}
		n.coreMu.Unlock()
	}
	return n.inbox.put(in)
}

// do runs in on the core at once. It must not be called inside a save, nor by
// an input.
func (n *Node) do(in input) {
	n.coreMu.Lock()
	defer n.coreMu.Unlock()
	in(n.core, n.now())
	n.act()
}
