package mesh

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/erwik/erwik/cluster/mesh/planted"
	"github.com/erwik/erwik/events"
	"github.com/erwik/erwik/storage"
)

// Time is a reading of the shell's monotonic clock, in nanoseconds since any
// fixed moment. It never runs backwards; inputs carry it in that order.
type Time int64

// never is after all times.
const never = Time(math.MaxInt64)

// Add returns t plus d.
func (t Time) Add(d time.Duration) Time { return t + Time(d) }

// Sub returns the time from u to t.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// Config is what a Core is made with.
type Config struct {
	// Self is this node's id.
	Self storage.NodeID
	// Seed feeds the core's own random numbers (backoff, frame numbers). The
	// shell draws it anew at each start.
	Seed [2]uint64
	// Sign signs message as this node. It must be a pure function.
	Sign func(message []byte) [events.SignatureSize]byte
	// Verify reports whether sig is id's signature of message. It must be a
	// pure function.
	Verify func(id storage.NodeID, message []byte, sig *[events.SignatureSize]byte) bool

	// noRepair leaves heartbeats uncompared, so that tests see what exclusion
	// lists do alone.
	noRepair bool
}

// Self is what this node says of itself.
type Self struct {
	Name      string
	Addresses []string // HOST:PORT by which others dial it, best first, at most events.MaxAddresses
	Version   string   // of the software
	// UnixMillis is the wall clock. It only keeps incarnations rising when
	// persisted state was lost.
	UnixMillis uint64
}

// Head is one entry of the version vector: everything up to Sequence of Log is
// durable and visible here, and Tip is the hash of that last commit.
type Head struct {
	Log      storage.LogID
	Sequence uint64
	Tip      storage.Hash
	Closed   bool // its owner equivocates; what follows is in branches
}

// Restored is what a start finds on disk.
type Restored struct {
	// State is everything that Outputs.Persist wrote, in any order.
	State []Persist
	// Admitted are the signers.
	Admitted []storage.NodeID
	// Banned were signers and are no more.
	Banned []storage.NodeID
	// Vector is the durable, visible vector.
	Vector []Head
}

// Split ends a log whose owner equivocates at Kept; what followed there is now
// the branch Into. Branches are logs of the same origin.
type Split struct{ Kept, Into Head }

// Entry is a commit that became durable and visible here.
type Entry struct {
	Log      storage.LogID
	Sequence uint64
	Hash     storage.Hash
	Page     string // name for people; used where no event of it was heard
	// Own marks a save made here; then Sig is this node's signature of the
	// event that events.NewCommit makes of Log, Sequence, Hash and Page, or
	// zero: then the core signs it if and when it tells of it.
	Own bool
	Sig [events.SignatureSize]byte
	// Split, if not nil, says how a log fell into branches just before.
	Split *Split
}

// LinkInfo is what the shell knows of a link when it comes up.
type LinkInfo struct {
	// RTT is the first guess at the time for a message and its answer, from the
	// handshake; 0 = unknown.
	RTT time.Duration
	// Address is the neighbor's, as the connection shows it; for people.
	Address string
}

var (
	errSelf = errors.New("mesh: config without Self, Sign or Verify")
	errName = errors.New("mesh: own record is over its limits")
)

// Core is the deterministic heart of a node's mesh. See the package comment for
// the order of calls. It is not safe for concurrent use.
type Core struct {
	cfg  Config
	rng  *rand.Rand
	now  Time
	out  Outputs
	self int // own slot, always 0

	nodes    table
	graph    graphCache
	vector   vector
	events   eventBook
	pulls    pullBook
	sessions sessions
	story    storyBook

	incarnation uint64 // highest of this node, persisted
	refuteAt    Time
	refuted     int

	dirty    events.Set // links to look at before the input ends
	carries  bool       // the frame at hand has brought a commit along
	drops    map[DropKey]uint64
	raised   map[string]bool // alarms that are raised once
	count    Counters
	watching bool
}

// New makes a core for cfg.Self, which counts as admitted. The error says what
// of cfg is missing.
func New(cfg Config) (*Core, error) {
	if cfg.Self.IsZero() || cfg.Sign == nil || cfg.Verify == nil {
		return nil, errSelf
	}
	c := &Core{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed[0], cfg.Seed[1])), drops: map[DropKey]uint64{}, raised: map[string]bool{}}
	c.nodes.init()
	c.vector.init()
	c.events.init()
	c.pulls.init()
	c.story.init()
	c.self = c.addNode(cfg.Self).slot
	c.nodes.admitted[cfg.Self] = true
	return c, nil
}

// Restore takes over what a start finds on disk. It is called once, before
// SetSelf and before any link. State that does not decode is skipped, counted
// as DropState and alarmed: the mesh tells it anew.
func (c *Core) Restore(now Time, r Restored) {
	c.advance(now)
	for _, id := range r.Admitted {
		c.admit(id)
	}
	for _, id := range r.Banned {
		c.ban(id)
	}
	for _, p := range r.State {
		c.restoreState(p)
	}
	if planted.Now == planted.IncarnationForgotten {
		c.incarnation = 0
	}
	for _, h := range r.Vector {
		c.restoreHead(h)
	}
	c.settle()
}

// SetSelf sets this node's own record, under a new incarnation, and tells it.
// It is called at the start and when an address or the name changes.
func (c *Core) SetSelf(now Time, self Self) error {
	c.advance(now)
	r := &events.Record{ID: c.cfg.Self, Name: self.Name, Addresses: self.Addresses, Version: self.Version}
	if err := r.Valid(); err != nil {
		return fmt.Errorf("%w: %w", errName, err)
	}
	c.setSelf(r, self.UnixMillis)
	c.settle()
	return nil
}

// Tick lets time pass; the shell calls it every TickEvery, and it is cheap.
func (c *Core) Tick(now Time) {
	c.advance(now)
	c.tick()
	c.settle()
}

// LinkUp says that a connection to peer stands: its key is proven, and frames
// pass both ways. A link that was up already is taken down first.
func (c *Core) LinkUp(now Time, peer storage.NodeID, info LinkInfo) {
	c.advance(now)
	c.linkUp(peer, info)
	c.settle()
}

// LinkDown says that the connection to peer is gone. Frames handed out for it
// and not acknowledged count as lost. It may be called for a link that is down.
func (c *Core) LinkDown(now Time, peer storage.NodeID) {
	c.advance(now)
	c.linkDown(peer, "closed")
	c.settle()
}

// Late appends to dst the neighbors whose acknowledgement is late. Before a link
// is given up for that, the shell may say Moves.
func (c *Core) Late(dst []storage.NodeID) []storage.NodeID {
	for _, n := range c.nodes.order {
		if l := n.link; l != nil && l.usable() && l.flight != nil && c.now.Sub(l.flight.sent) > lateFrom {
			dst = append(dst, n.id)
		}
	}
	return dst
}

// Moves says that another connection with peer, whose acknowledgement is late,
// moves bytes both ways: they stand before it in a queue, and the link works.
// That holds it for movesMost after a frame was sent.
func (c *Core) Moves(now Time, peer storage.NodeID) {
	c.advance(now)
	if n := c.nodes.byID[peer]; n != nil && n.link != nil {
		n.link.movedAt = c.now
	}
}

// DialFailed answers a Dial that brought no link. A dial that does is answered
// by LinkUp.
func (c *Core) DialFailed(now Time, peer storage.NodeID) {
	c.advance(now)
	c.dialFailed(peer)
	c.settle()
}

// Receive takes one frame from peer. frame is not kept. Frames for a link that
// is not up are dropped (DropNoLink).
func (c *Core) Receive(now Time, peer storage.NodeID, frame []byte) {
	c.advance(now)
	c.receive(peer, frame)
	c.settle()
}

// Appended says that commits became durable and visible here, in an order in
// which each log's sequences follow one another without gap. It is called for
// own saves and for what pulls brought, before PullDone, and soon: neighbors
// hear of them in this call.
func (c *Core) Appended(now Time, entries ...Entry) {
	c.advance(now)
	c.appended(entries)
	c.settle()
}

// PullProgress says that bytes of an open pull arrived, which keeps it from
// timing out. Appended does the same; this is for commits that take long.
func (c *Core) PullProgress(now Time, id uint64, bytes int) {
	c.advance(now)
	c.pullProgress(id, bytes)
}

// PullDone says that a pull is over: bytes on the wire, and the time from the
// request to the last byte. What it brought was Appended before. An answer with
// less than was asked for is a PullDone too.
func (c *Core) PullDone(now Time, id uint64, bytes int, took time.Duration) {
	c.advance(now)
	c.pullDone(id, bytes, took)
	c.settle()
}

// PullFailed says that a pull broke off; what came before was Appended. The
// source is tried again later than others.
func (c *Core) PullFailed(now Time, id uint64) {
	c.advance(now)
	c.pullFailed(id)
	c.settle()
}

// Admit says that node is a signer: its logs are pulled, its record counts and
// it is dialled.
func (c *Core) Admit(now Time, node storage.NodeID) {
	c.advance(now)
	c.admit(node)
	c.settle()
}

// Ban says that node is a member no more: its link is closed, its record and its
// word are dropped, and it is dialled no more, until it is admitted again. What
// others hold of its logs is pulled on. The shell refuses its connections.
func (c *Core) Ban(now Time, node storage.NodeID) {
	c.advance(now)
	c.ban(node)
	c.settle()
}

// Learn takes node records that reached the shell by itself, as in the answer
// to a join: the first one's node knows the others. With tell, this node tells
// everybody of those that are new to it by a new_neighbor event: the sponsor of a
// join does that. Records of nodes that are not admitted wait for Admit.
func (c *Core) Learn(now Time, tell bool, records ...*events.Record) {
	c.advance(now)
	for _, r := range records {
		c.learn(r, tell)
	}
	c.noteTaught(records)
	c.settle()
}

// Forget removes node from the pool and tells everybody, with a tombstone that
// keeps it out until it comes back with a higher incarnation. Own links to it
// are closed. It returns false if the node is unknown or is this one.
func (c *Core) Forget(now Time, node storage.NodeID) bool {
	c.advance(now)
	ok := c.forget(node)
	c.settle()
	return ok
}

// Watch turns Outputs.Events on or off; off is the default and spares the work.
func (c *Core) Watch(on bool) { c.watching = on }
