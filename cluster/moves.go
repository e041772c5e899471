package cluster

import (
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// movesWithin is how long ago a connection that is busy must have moved bytes for
	// its neighbor to count as reached. At 2,000 bit/s a full packet takes 6 s.
	movesWithin = 10 * time.Second
	// movesForget is when an earlier look says nothing any more.
	movesForget = 2 * time.Second
)

// moves is what was seen of the connections beside a link, while an acknowledgement
// on it was late: a long answer may stand before it in the same queue.
type moves struct {
	mu     sync.Mutex
	moved  uint64 // bytes of all of them
	at     time.Time
	looked time.Time
}

// alive reports whether a busy connection with the neighbor has moved bytes
// within movesWithin, or may have, since nobody looked before.
func (g *guest) alive(now time.Time) bool {
	moved, busy := g.movedBytes()
	m := &g.moves
	m.mu.Lock()
	defer m.mu.Unlock()
	if !busy {
		m.looked = time.Time{}
		return false
	}
	if moved != m.moved || now.Sub(m.looked) > movesForget {
		m.moved, m.at = moved, now
	}
	m.looked = now
	return now.Sub(m.at) < movesWithin
}

// movedBytes adds up what all connections with the neighbor but the link have moved,
// and tells whether one of them has something to do.
func (g *guest) movedBytes() (moved uint64, busy bool) {
	g.mu.Lock()
	all := slices.Collect(maps.Keys(g.conns))
	g.mu.Unlock() // a connection that serves holds its own lock when it takes this one
	for _, p := range all {
		tcp := tcpOf(p.conn)
		if tcp == nil {
			continue
		}
		bytes, waiting := tcpMoved(tcp)
		moved += bytes
		busy = busy || waiting || p.asks()
	}
	return moved, busy
}

// asks reports whether this end waits for an answer.
func (p *pullConn) asks() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.asked) > 0
}

// excuse tells the core which late acknowledgements are no sign of a dead link. It is
// called with coreMu held.
func (n *Node) excuse() {
	n.late = n.core.Late(n.late[:0])
	for _, peer := range n.late {
		if n.conns.guest(peer).alive(time.Now()) {
			n.core.Moves(n.now(), peer)
		}
	}
}
