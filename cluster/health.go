package cluster

import (
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/erwik/erwik/cluster/mesh"
	"github.com/erwik/erwik/storage"
)

// health is what the shell remembers for whoever looks after the node. It is
// bounded by the pool and by the kinds of alarms.
type health struct {
	mu     sync.Mutex
	peers  map[storage.NodeID]*peerNotes
	alarms []Alarm
	joiner Incident // the last join that was refused here
}

// peerNotes is what is remembered of one node.
type peerNotes struct {
	in, out  atomic.Uint64 // bytes on the wire
	trouble  Incident      // the last that went wrong; cleared by a link
	ahead    time.Duration // of its clock, as its last save here showed
	aheadAt  time.Time
	lastSave time.Time // when a commit of it last came
}

// Incident is something that went wrong.
type Incident struct {
	What string
	With string // address or node
	At   time.Time
}

// Alarm is an alarm of the mesh with its time; one for each kind and node.
type Alarm struct {
	Kind mesh.AlarmKind
	Node string
	Text string
	At   time.Time
}

const (
	// maxAlarms bounds the alarms that are remembered; the oldest goes first.
	maxAlarms = 64
	// maxTrouble bounds the text of an incident.
	maxTrouble = 500
)

func (h *health) init() { h.peers = make(map[storage.NodeID]*peerNotes) }

// peer returns the notes of a node.
func (h *health) peer(id storage.NodeID) *peerNotes {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.notes(id)
}

func (h *health) notes(id storage.NodeID) *peerNotes {
	p := h.peers[id]
	if p == nil {
		p = &peerNotes{}
		h.peers[id] = p
	}
	return p
}

func incident(with string, err error) Incident {
	text := err.Error()
	return Incident{What: text[:min(len(text), maxTrouble)], With: with, At: time.Now()}
}

// failed notes what went wrong with a node; up forgets it.
func (h *health) failed(id storage.NodeID, with string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notes(id).trouble = incident(with, err)
}

func (h *health) up(id storage.NodeID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notes(id).trouble = Incident{}
}

func (h *health) refusedJoin(from string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.joiner = incident(from, err)
}

// saw compares a node's clock with the own one by a commit that has just come:
// one from the future tells how far, at least, that clock is ahead.
func (h *health) saw(id storage.NodeID, made, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.notes(id)
	p.lastSave = now
	p.ahead, p.aheadAt = max(0, made.Sub(now)), now
}

// alarm remembers an alarm in place of the last one of its kind and node. A node
// that is alive again ends the alarm that it is dead.
func (h *health) alarm(a Alarm) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.alarms = slices.DeleteFunc(h.alarms, func(b Alarm) bool {
		return b.Node == a.Node && (b.Kind == a.Kind || a.Kind == mesh.AlarmAlive && b.Kind == mesh.AlarmDead)
	})
	if a.Kind == mesh.AlarmAlive {
		return
	}
	if len(h.alarms) >= maxAlarms {
		h.alarms = slices.Delete(h.alarms, 0, 1)
	}
	h.alarms = append(h.alarms, a)
}

// PeerHealth is what is known of another node.
type PeerHealth struct {
	mesh.Health
	BytesIn, BytesOut uint64        // of all connections, TLS included, since the start
	Trouble           Incident      // the last thing that went wrong, if the link is not up
	ClockAhead        time.Duration // of its clock, at least, by its last save; 0 = not known to be
}

// Health is what a node knows of its mesh and of itself in it.
type Health struct {
	Peers     []PeerHealth
	Alarms    []Alarm
	Addresses []string // by which others are told to reach this node
	Listen    string
	Advertise string // what the operator asked for, "" if nothing
	Ready     bool
	JoinError error
	Refused   Incident // the last join that was refused here
}

// Health tells how this node and its mesh are.
func (n *Node) Health() Health {
	var known []mesh.Health
	n.do(func(c *mesh.Core, _ mesh.Time) { known = c.Health() })
	h := Health{Listen: n.cfg.Listen, Advertise: n.cfg.Advertise, Addresses: n.state.ownAddresses()}
	h.Ready, h.JoinError = n.Ready()
	n.health.mu.Lock()
	defer n.health.mu.Unlock()
	h.Alarms, h.Refused = slices.Clone(n.health.alarms), n.health.joiner
	for _, k := range known {
		p := n.health.notes(k.ID)
		h.Peers = append(h.Peers, PeerHealth{Health: k, BytesIn: p.in.Load(), BytesOut: p.out.Load(), Trouble: p.trouble, ClockAhead: p.ahead})
	}
	return h
}

// countedConn counts what goes over a connection, for the node that is found to
// be at its far end.
type countedConn struct {
	net.Conn
	early [2]atomic.Uint64 // in and out, until the far end is known
	peer  atomic.Pointer[peerNotes]
}

// Read implements net.Conn.
func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if p := c.peer.Load(); p != nil {
		p.in.Add(uint64(n))
	} else {
		c.early[0].Add(uint64(n))
	}
	return n, err
}

// Write implements net.Conn.
func (c *countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if p := c.peer.Load(); p != nil {
		p.out.Add(uint64(n))
	} else {
		c.early[1].Add(uint64(n))
	}
	return n, err
}

// NetConn returns the connection below, for its socket options.
func (c *countedConn) NetConn() net.Conn { return c.Conn }

// belongs names the far end.
func (c *countedConn) belongs(p *peerNotes) {
	p.in.Add(c.early[0].Swap(0))
	p.out.Add(c.early[1].Swap(0))
	c.peer.Store(p)
}
