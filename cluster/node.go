package cluster

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/erwik/erwik/cluster/mesh"
	"github.com/erwik/erwik/events"
	"github.com/erwik/erwik/events/link"
	"github.com/erwik/erwik/storage"
)

// Config says as what a node takes part. Store, Dir and Name are required.
type Config struct {
	Store     *storage.Store
	Dir       string   // where tokens are noted
	Name      string   // label for people
	Version   string   // of the software
	Listen    string   // HOST:PORT that the port listens on
	Advertise string   // HOST:PORT that others dial; "" = found out
	Secret    string   // shared secret for joins; "" = only tokens
	Join      []string // HOST:PORT of nodes to join
	Token     Token    // by which Join is asked
	Logger    *slog.Logger
	// Dial connects to HOST:PORT of another node; nil: over TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// PageName turns a git path into the name that events show.
	PageName func(path string) string
	// Tell hands events to local readers; it must not block. Watched reports
	// whether there is any reader. Both may be nil.
	Tell    func(*Item)
	Watched func() bool
}

// Node is one node's part in the mesh. All methods are safe for concurrent use.
type Node struct {
	cfg     Config
	log     *slog.Logger
	self    storage.NodeID
	key     ed25519.PrivateKey
	cert    tls.Certificate
	hub     *link.Hub
	packer  packer
	files   files
	pieces  chan struct{} // places of pieces that are being read
	buffers sync.Pool     // of pieces
	start   time.Time

	ctx    context.Context // of the node's life
	cancel context.CancelCauseFunc
	life   sync.RWMutex // cancel is called under it, so that spawn is before or after
	wg     sync.WaitGroup
	joins  chan struct{} // places of joins under way

	inbox   inbox
	unwatch func()
	judging sync.Mutex // over what admitNew reads and tells

	// coreMu guards core, admitted and out. Under it nothing may be called
	// that waits for a save: a save may wait for the loop.
	coreMu   sync.Mutex
	core     *mesh.Core
	admitted map[storage.NodeID]bool

	admissions admissions
	out        mesh.Outputs
	running    atomic.Bool // the loop is

	conns  connections
	state  state
	health health

	foresight foresight

	// luggage is what goes along with notices. Guarded by coreMu.
	luggage luggage
	// carriedSent counts them.
	carriedSent atomic.Uint64
	late        []storage.NodeID // scratch of excuse
	lacking     atomic.Uint64    // commits known to be missing here
}

// ErrClosed is the cause of everything that Close ends.
var ErrClosed = errors.New("cluster: closed")

// Open starts the node's part in the mesh: from then on it links, tells and
// pulls. A [Port] hands it the connections of the mesh.
func Open(cfg Config) (*Node, error) {
	n := &Node{
		cfg: cfg, log: cfg.Logger, self: cfg.Store.Node(), key: cfg.Store.Key(), start: time.Now(), admitted: make(map[storage.NodeID]bool),
		joins: make(chan struct{}, maxJoins), pieces: make(chan struct{}, maxPieces),
	}
	if cfg.Dial == nil {
		n.cfg.Dial = dialTCP
	}
	if cfg.Tell == nil {
		n.cfg.Tell, n.cfg.Watched = func(*Item) {}, func() bool { return false }
	}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	n.ctx, n.cancel = context.WithCancelCause(context.Background())
	n.inbox.init()
	n.conns.init()
	n.state.init()
	n.health.init()
	n.foresight.init()
	n.files.init(n)
	var err error
	if n.cert, err = certificate(n.key); err != nil {
		return nil, err
	}
	if err := n.openCore(); err != nil {
		return nil, fmt.Errorf("start the mesh: %w", err)
	}
	if n.hub, err = link.Open(n.self, n, n.log); err != nil {
		return nil, fmt.Errorf("start the mesh: %w", err)
	}
	n.wg.Go(n.loop)
	for lane := range lanes {
		n.wg.Go(func() { n.files.run(lane) })
	}
	for _, address := range cfg.Join {
		n.spawn(func() { n.join(address, cfg.Token) })
	}
	return n, nil
}

// openCore makes the core and gives it what the disk has.
func (n *Node) openCore() error {
	var seed [16]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return err
	}
	core, err := mesh.New(mesh.Config{
		Self: n.self,
		Seed: [2]uint64{binary.BigEndian.Uint64(seed[:]), binary.BigEndian.Uint64(seed[8:])},
		Sign: func(message []byte) (sig [events.SignatureSize]byte) {
			copy(sig[:], ed25519.Sign(n.key, message))
			return sig
		},
		Verify: func(id storage.NodeID, message []byte, sig *[events.SignatureSize]byte) bool {
			return n.cfg.Store.SignedBy(id, message, sig)
		},
	})
	if err != nil {
		return err
	}
	n.core = core
	kept, err := n.cfg.Store.ReadState(statePrefix)
	if err != nil {
		return err
	}
	var found mesh.Restored
	for _, s := range kept {
		found.State = append(found.State, mesh.Persist{Key: s.Name[len(statePrefix):], Value: s.Value})
	}
	found.Admitted, found.Banned = n.cfg.Store.Signers(), n.cfg.Store.Judged()
	for _, id := range found.Admitted {
		n.admitted[id] = true
	}
	n.state.member = len(found.Admitted)+len(found.Banned) > 1
	vector, unwatch := n.cfg.Store.WatchVector(n.committed)
	n.unwatch = unwatch
	for log, at := range vector {
		found.Vector = append(found.Vector, head(log, at))
	}
	sortHeads(found.Vector)
	core.Restore(n.now(), found)
	if n.cfg.Advertise != "" {
		n.state.addresses = []string{n.cfg.Advertise}
	} else if host, _, err := net.SplitHostPort(n.cfg.Listen); err == nil && host != "" && !net.ParseIP(host).IsUnspecified() {
		n.state.addresses = []string{n.cfg.Listen}
	}
	return n.setSelf(core, n.now())
}

func head(log storage.LogID, at storage.Position) mesh.Head {
	return mesh.Head{Log: log, Sequence: at.Sequence, Tip: at.Tip, Closed: at.Closed}
}

const statePrefix = "mesh/"

func (n *Node) setSelf(core *mesh.Core, now mesh.Time) error {
	return core.SetSelf(now, mesh.Self{
		Name: n.cfg.Name, Addresses: n.state.ownAddresses(), Version: n.cfg.Version,
		UnixMillis: uint64(time.Now().UnixMilli()),
	})
}

func (n *Node) now() mesh.Time { return mesh.Time(time.Since(n.start)) }

// loop owns the core.
func (n *Node) loop() {
	tick := time.NewTicker(mesh.TickEvery)
	defer tick.Stop()
	n.coreMu.Lock()
	n.act()
	n.coreMu.Unlock()
	n.running.Store(true)
	defer n.running.Store(false)
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.inbox.wake:
			n.coreMu.Lock()
			for _, in := range n.inbox.take() {
				in(n.core, n.now())
			}
			n.act()
			n.coreMu.Unlock()
		case <-tick.C:
			watched := n.cfg.Watched()
			n.coreMu.Lock()
			n.core.Watch(watched)
			n.excuse()
			n.core.Tick(n.now())
			n.lacking.Store(n.core.Lacking())
			n.act()
			n.coreMu.Unlock()
		}
	}
}

// act does what the core asks for. It is called with coreMu held and does not wait for a neighbor or a save.
func (n *Node) act() {
	n.core.Take(&n.out)
	o := &n.out
	if o.Empty() {
		return
	}
	if len(o.Persist) > 0 {
		values := make([]storage.State, len(o.Persist))
		for i, p := range o.Persist {
			values[i] = storage.State{Name: statePrefix + p.Key, Value: p.Value}
		}
		if err := n.cfg.Store.PutState(values...); err != nil {
			n.log.Error("keep the state of the mesh", "err", err)
		}
	}
	for _, s := range o.Send {
		if s.Carry.Upto != 0 {
			if body := n.luggage.find(storage.LogPlace{Log: s.Carry.Log, Sequence: s.Carry.Upto}, s.Carried); body != nil {
				s.Frame = mesh.AppendContent(s.Frame, body)
				n.carriedSent.Add(1)
			}
		}
		n.hub.Send(s.Peer, s.Frame)
	}
	for _, id := range o.Cancel {
		n.cancelPull(id)
	}
	for _, p := range o.Pull {
		ctx := n.beginPull(p.ID)
		n.spawn(func() { n.pull(ctx, p) })
	}
	for _, s := range o.Share {
		n.share(s)
	}
	for _, d := range o.Dig {
		n.spawn(func() { n.dig(d.From, d.Log) })
	}
	for _, d := range o.Dial {
		n.spawn(func() { n.dialLink(d) })
	}
	for _, c := range o.Close {
		n.spawn(func() { n.hub.Drop(c.Peer, c.Reason) })
	}
	for i := range o.Events {
		if e := o.Events[i]; e.Type != events.TypeCommit || e.Commit.Page != "" { // an admission is no page's
			n.cfg.Tell(newItem(e))
		}
	}
	for _, a := range o.Alarms {
		n.alarm(a)
	}
}

func (n *Node) alarm(a mesh.Alarm) {
	level := slog.LevelWarn
	if a.Kind == mesh.AlarmAlive {
		level = slog.LevelInfo
	}
	n.count("alarm_" + string(a.Kind))
	n.health.alarm(Alarm{Kind: a.Kind, Node: n.core.NodeName(a.Node), Text: a.Text, At: time.Now()})
	n.log.Log(n.ctx, level, "mesh", "alarm", string(a.Kind), "node", n.core.NodeName(a.Node), "what", a.Text)
}

// committed is told by the store of what became durable and visible.
func (n *Node) committed(commits []storage.Committed) {
	entries := make([]mesh.Entry, len(commits))
	admission, file := false, false
	for i, c := range commits {
		entries[i] = mesh.Entry{Log: c.At.Log, Sequence: c.At.Sequence, Hash: c.Hash, Page: n.cfg.PageName(c.Path), Own: c.Own}
		if s := c.Split; s != nil {
			entries[i].Split = &mesh.Split{Kept: head(s.Log, s.Kept), Into: head(s.Into, s.Held)}
		}
		admission = admission || c.Kind == storage.KindAdmit || c.Judged
		file = file || c.Kind == storage.KindFile && !c.Own
		if !c.Own && i == len(commits)-1 {
			n.health.saw(c.Log.Node, time.Unix(c.Committer.Time, 0), time.Now())
		}
	}
	if file {
		n.files.poke()
	}
	watched := n.cfg.Watched()
	ready := n.carry(commits)
	n.put(func(c *mesh.Core, _ mesh.Time) {
		n.luggage.add(ready)
		c.Watch(watched)
		c.Appended(n.now(), entries...)
	})
	if admission {
		n.spawn(n.admitNew)
	}
}

// admitNew tells the core who became a member and who is no more, and closes the
// connections of those. It asks the store, so it must not run inside a save or
// in the loop.
func (n *Node) admitNew() {
	n.judging.Lock() // what was read first is told first
	defer n.judging.Unlock()
	signers, out := n.cfg.Store.Signers(), n.cfg.Store.Judged()
	n.do(func(c *mesh.Core, now mesh.Time) {
		for _, id := range signers {
			if !n.admitted[id] {
				n.admitted[id] = true
				c.Admit(now, id)
			}
		}
		for _, id := range out {
			c.Ban(now, id) // does nothing a second time
			delete(n.admitted, id)
		}
	})
	n.admissions.tell()
	for _, id := range out {
		n.conns.closePeer(id, errNotAdmitted)
		n.hub.Drop(id, errNotAdmitted.Error())
	}
}

// spawn runs fn in a goroutine that Close waits for.
func (n *Node) spawn(fn func()) {
	n.life.RLock()
	defer n.life.RUnlock()
	if n.ctx.Err() == nil {
		n.wg.Go(fn)
	}
}

// Close leaves the mesh: links go down, pulls end, and every goroutine has
// ended when it returns.
func (n *Node) Close() {
	n.unwatch()
	n.life.Lock()
	n.cancel(ErrClosed)
	n.life.Unlock()
	n.inbox.close()
	n.conns.closeAll()
	n.hub.Close()
	n.wg.Wait()
}
