package cluster

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/erwik/erwik/cluster/mesh"
	"github.com/erwik/erwik/storage"
)

// guest is one neighbor's share of what this node does for others: connections,
// answers and their rate. There is one for each member that ever connected.
type guest struct {
	mu     sync.Mutex
	conns  map[*pullConn]bool
	served int
	until  time.Time // when the next second begins
	begun  int       // answers in this second

	frames  int // in this second
	bytes   int
	over    bool
	waiting atomic.Int32 // frames that wait for the core

	moves moves
}

var errTooMany = errors.New("cluster: the neighbor has too many connections for pulls")

// guest returns the share of a neighbor.
func (c *connections) guest(peer storage.NodeID) *guest {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.guests[peer]
	if g == nil {
		g = &guest{conns: make(map[*pullConn]bool)}
		c.guests[peer] = g
	}
	return g
}

// enter counts a connection in.
func (g *guest) enter(p *pullConn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.conns) >= maxPullConns {
		return false
	}
	g.conns[p] = true
	return true
}

func (g *guest) leave(p *pullConn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, p)
}

// begin takes a place for an answer; end gives it back.
func (g *guest) begin() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.served >= maxServed {
		return false
	}
	g.served++
	return true
}

func (g *guest) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.served--
}

// wait holds up whoever asks more than its share in one second. It reports
// whether it did.
func (g *guest) wait(done <-chan struct{}) bool {
	g.mu.Lock()
	now := time.Now()
	g.second(now)
	g.begun++
	over, rest := g.begun > maxServedEach, g.until.Sub(now)
	g.mu.Unlock()
	if !over {
		return false
	}
	select {
	case <-done:
	case <-time.After(rest):
	}
	return true
}

// second begins a new second if the last one is over; g.mu is held.
func (g *guest) second(now time.Time) {
	if now.After(g.until) {
		g.until, g.begun, g.frames, g.bytes, g.over = now.Add(time.Second), 0, 0, 0, false
	}
}

// frame reports whether one more frame is taken from the neighbor, and, if not,
// whether it is the first that is not in this second. It never waits: frames of
// several neighbors come by one goroutine. What is lost the vectors tell of, and
// a frame that is not acknowledged is sent once more.
func (g *guest) frame(size int) (took, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.second(time.Now())
	if g.frames >= mesh.MaxFrames || g.bytes+size > mesh.MaxBytes || g.waiting.Load() >= maxInboxFrom {
		first, g.over = !g.over, true
		return false, first
	}
	g.frames++
	g.bytes += size
	g.waiting.Add(1)
	return true, false
}

// closePeer ends all connections of a neighbor but its link.
func (c *connections) closePeer(peer storage.NodeID, reason error) {
	g := c.guest(peer)
	g.mu.Lock()
	all := make([]*pullConn, 0, len(g.conns))
	for p := range g.conns {
		all = append(all, p)
	}
	g.mu.Unlock()
	for _, p := range all {
		p.close(reason)
	}
}

// wrong counts what breaks the form of pulls.
func (p *pullConn) wrong() {
	p.node.count("pull_frame")
	p.node.blame(p.peer, mesh.DropPull)
}

// blame tells the core of what had to be refused of a neighbor.
func (n *Node) blame(peer storage.NodeID, reason mesh.Drop) {
	n.put(func(c *mesh.Core, now mesh.Time) { c.Blame(now, peer, reason) })
}
