package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/erwik/erwik/cluster/mesh"
	"github.com/erwik/erwik/storage"
)

const (
	// A TLS handshake takes 13 s on a link of 2,000 bit/s, more when it is busy.
	handshakeTime = 60 * time.Second
	// eagerPull is up to which round trip the pull connection is opened eagerAfter
	// a link has come up; on slower links the first pull opens it.
	eagerPull  = 200 * time.Millisecond
	eagerAfter = 2 * time.Second
	// eagerPulls is how many nodes a mesh has at most in which that is done: with
	// more, one of those that have a commit has a pull connection already.
	eagerPulls = 16
	// redialAfter is when a second try to connect begins while the first is under
	// way; each further one waits twice as long.
	redialAfter = 3 * time.Second
	// giveWayFrom is how long a dial has waited for its first answer that leaves the
	// other end giveWay to make the link, and looks for it each giveWayLook.
	giveWayFrom = 500 * time.Millisecond
	giveWay     = 1500 * time.Millisecond // less than firstByteTime by what a slow link takes for the first byte
	giveWayLook = 100 * time.Millisecond
	// meshKeepAlive is the time between TCP's own probes of an idle connection,
	// at both ends. Heartbeats find a dead link sooner; these only keep address
	// translators from forgetting the pull connection. At the usual 15 s they
	// carry more than all else on an idle link.
	meshKeepAlive = 5 * time.Minute
)

// connections holds the pull connections and who is linked.
type connections struct {
	mu      sync.Mutex
	pulls   map[storage.NodeID]*pullConn
	dialing map[storage.NodeID]chan struct{}
	joined  map[storage.NodeID]string        // address by which a node was joined
	linked  map[storage.NodeID]time.Duration // the round trip when the link came up
	guests  map[storage.NodeID]*guest
	closed  bool
}

func (c *connections) init() {
	c.pulls = make(map[storage.NodeID]*pullConn)
	c.dialing = make(map[storage.NodeID]chan struct{})
	c.joined = make(map[storage.NodeID]string)
	c.linked = make(map[storage.NodeID]time.Duration)
	c.guests = make(map[storage.NodeID]*guest)
}

func (c *connections) closeAll() {
	c.mu.Lock()
	c.closed = true
	all := make([]*pullConn, 0, len(c.pulls))
	for _, p := range c.pulls {
		all = append(all, p)
	}
	c.mu.Unlock()
	for _, p := range all {
		p.close(ErrClosed)
	}
}

var errLinked = errors.New("cluster: the neighbor has made the link meanwhile")

// remember notes an address by which a node was reached.
func (n *Node) remember(id storage.NodeID, address string) {
	n.conns.mu.Lock()
	defer n.conns.mu.Unlock()
	n.conns.joined[id] = address
}

// dialTCP connects to address. The kernel repeats a first packet that nobody
// answers after 1, 3, 7, 15 and 31 s, so a dial that began while a network was
// cut may notice half a minute late that it is whole again: after redialAfter one
// more is tried beside the first, and others ever more rarely, and whoever connects
// first is taken. All are waited for: where a link of 2,000 bit/s is full the answer
// takes a minute, and each try that was given up would cost it another answer.
func dialTCP(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	var tries sync.WaitGroup
	defer tries.Wait()
	defer cancel()
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result)
	running := 0
	try := func() {
		running++
		tries.Go(func() {
			conn, err := (&net.Dialer{KeepAlive: meshKeepAlive}).DialContext(ctx, "tcp", address)
			select {
			case done <- result{conn, err}:
			case <-ctx.Done():
				if conn != nil {
					conn.Close()
				}
			}
		})
	}
	wait := redialAfter
	again := time.NewTimer(wait)
	defer again.Stop()
	try()
	for {
		select {
		case r := <-done:
			running--
			if r.err == nil || running == 0 || !timedOut(r.err) {
				return r.conn, r.err
			}
		case <-again.C:
			try()
			wait *= 2
			again.Reset(wait)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func timedOut(err error) bool {
	var slow net.Error
	return errors.As(err, &slow) && slow.Timeout()
}

// dialTLS connects to address and proves both keys.
func (n *Node) dialTLS(ctx context.Context, address, proto string, want storage.NodeID) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	began := time.Now()
	conn, err := n.cfg.Dial(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	if proto == protoLink && n.givesWay(ctx, want, time.Since(began)) {
		conn.Close()
		return nil, errLinked
	}
	counted := &countedConn{Conn: conn}
	secure := tls.Client(counted, n.clientTLS(proto, want))
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("prove keys with %s: %w", address, err)
	}
	if peer, err := peerKey(secure.ConnectionState()); err == nil {
		counted.belongs(n.health.peer(peer))
	}
	n.sawOwn(conn.LocalAddr())
	return secure, nil
}

// givesWay reports whether the far end has made the link meanwhile. A dial that
// waited for its first answer waited for a network to come back, and the far end has
// most likely been dialling too. Two links cost two handshakes, and one of them
// is thrown away with what it carries: so the higher id leaves the lower one a
// moment to make it.
func (n *Node) givesWay(ctx context.Context, peer storage.NodeID, waited time.Duration) bool {
	_, up := n.hub.UpSince(peer)
	if up || waited < giveWayFrom || n.self.Compare(peer) < 0 {
		return up
	}
	look := time.NewTicker(giveWayLook)
	defer look.Stop()
	for end := time.Now().Add(giveWay); !up && time.Now().Before(end); _, up = n.hub.UpSince(peer) {
		select {
		case <-look.C:
		case <-ctx.Done():
			return false
		}
	}
	return up
}

// dialAny tries the addresses of a node in turn.
func (n *Node) dialAny(ctx context.Context, id storage.NodeID, addresses []string, proto string) (*tls.Conn, error) {
	n.conns.mu.Lock()
	if joined := n.conns.joined[id]; joined != "" && !slices.Contains(addresses, joined) {
		addresses = append(slices.Clone(addresses), joined)
	}
	n.conns.mu.Unlock()
	err := fmt.Errorf("no address of node %s is known", id)
	for _, address := range addresses {
		var conn *tls.Conn
		if conn, err = n.dialTLS(ctx, address, proto, id); err == nil || errors.Is(err, errLinked) {
			return conn, err
		}
	}
	return nil, err
}

// dialLink does one dial for the core.
func (n *Node) dialLink(d mesh.Dial) {
	var conn *tls.Conn
	err := errLinked
	if _, up := n.hub.UpSince(d.Node); !up {
		conn, err = n.dialAny(n.ctx, d.Node, d.Addresses, protoLink)
	}
	if _, up := n.hub.UpSince(d.Node); err == nil && up {
		// The neighbor was quicker. Else, on a slow link, each new connection
		// would end the one before, and the other side dial again.
		conn.Close()
		err = errLinked
	}
	if err == nil {
		err = n.hub.Dial(n.ctx, d.Node, conn)
	}
	if err != nil {
		n.log.Debug("dial", "node", d.Node.Short(), "err", err)
		if !errors.Is(err, errLinked) {
			n.health.failed(d.Node, strings.Join(d.Addresses, ", "), err)
		}
		n.put(func(c *mesh.Core, now mesh.Time) { c.DialFailed(now, d.Node) })
	}
}

// Up, Frame and Down make the node the handler of its links.
func (n *Node) Up(peer storage.NodeID, rtt time.Duration, remote string) {
	defer n.files.up(peer)
	n.health.up(peer)
	n.conns.mu.Lock()
	n.conns.linked[peer] = rtt
	n.conns.mu.Unlock()
	n.put(func(c *mesh.Core, now mesh.Time) { c.LinkUp(now, peer, mesh.LinkInfo{RTT: rtt, Address: remote}) })
	if rtt > 0 && rtt < eagerPull {
		n.spawn(func() { n.openEarly(peer) })
	}
}

// openEarly opens the pull connection to a neighbor before it is needed, if the
// mesh is known to be small by then.
func (n *Node) openEarly(peer storage.NodeID) {
	select {
	case <-time.After(eagerAfter):
	case <-n.ctx.Done():
		return
	}
	n.conns.mu.Lock()
	_, linked := n.conns.linked[peer]
	n.conns.mu.Unlock()
	nodes := 0
	n.do(func(c *mesh.Core, _ mesh.Time) { nodes = len(c.Records()) })
	if !linked || nodes > eagerPulls {
		return
	}
	if _, err := n.pullConn(n.ctx, peer); err != nil {
		n.log.Debug("open the pull connection", "node", peer.Short(), "err", err)
	}
}

// Frame hands a neighbor's frame to the core.
func (n *Node) Frame(peer storage.NodeID, frame []byte) {
	g := n.conns.guest(peer)
	took, first := g.frame(len(frame))
	if !took {
		n.count("frame_flood")
		if first {
			n.blame(peer, mesh.DropFlood)
		}
		return
	}
	n.foresee(peer, frame)
	n.put(func(c *mesh.Core, now mesh.Time) {
		g.waiting.Add(-1)
		c.Receive(now, peer, frame)
	})
}

// Down tells the core that a link is gone, and ends pulls over it.
func (n *Node) Down(peer storage.NodeID, reason error) {
	n.log.Debug("link down", "node", peer.Short(), "reason", reason)
	if reason != nil {
		n.health.failed(peer, "the link", reason)
	}
	n.conns.mu.Lock()
	delete(n.conns.linked, peer)
	pulls := n.conns.pulls[peer]
	n.conns.mu.Unlock()
	n.foresight.forget(peer)
	if pulls != nil {
		pulls.close(reason)
	}
	n.files.down(peer, reason)
	n.put(func(c *mesh.Core, now mesh.Time) { c.LinkDown(now, peer) })
}

// linked returns the neighbors with which there is a link, in order.
func (n *Node) linked() []storage.NodeID {
	n.conns.mu.Lock()
	defer n.conns.mu.Unlock()
	all := make([]storage.NodeID, 0, len(n.conns.linked))
	for id := range n.conns.linked {
		all = append(all, id)
	}
	slices.SortFunc(all, storage.NodeID.Compare)
	return all
}

// pullConn returns the pull connection to peer; it dials if there is none.
func (n *Node) pullConn(ctx context.Context, peer storage.NodeID) (*pullConn, error) {
	for {
		n.conns.mu.Lock()
		if p := n.conns.pulls[peer]; p != nil {
			n.conns.mu.Unlock()
			return p, nil
		}
		wait, dialing := n.conns.dialing[peer]
		if !dialing {
			wait = make(chan struct{})
			n.conns.dialing[peer] = wait
			n.conns.mu.Unlock()
			return n.dialPull(ctx, peer, wait)
		}
		n.conns.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (n *Node) dialPull(ctx context.Context, peer storage.NodeID, wait chan struct{}) (*pullConn, error) {
	defer func() {
		n.conns.mu.Lock()
		delete(n.conns.dialing, peer)
		n.conns.mu.Unlock()
		close(wait)
	}()
	p, err := n.dialPeer(ctx, peer, protoPull)
	if err != nil {
		return nil, err
	}
	if err := n.addPull(p); err != nil {
		return nil, err
	}
	n.spawn(func() { n.runPull(p) })
	return p, nil
}

// dialPeer connects to a node of the pool.
func (n *Node) dialPeer(ctx context.Context, peer storage.NodeID, proto string) (*pullConn, error) {
	var addresses []string
	n.do(func(c *mesh.Core, _ mesh.Time) {
		if r := c.Record(peer); r != nil {
			addresses = r.Addresses
		}
	})
	conn, err := n.dialAny(ctx, peer, addresses, proto)
	if err != nil {
		return nil, err
	}
	return newPullConn(n, peer, conn), nil
}

// addPull makes p the connection over which this node asks, unless there is
// one already: then p only serves.
func (n *Node) addPull(p *pullConn) error {
	n.conns.mu.Lock()
	defer n.conns.mu.Unlock()
	if n.conns.closed {
		p.conn.NetConn().Close()
		return ErrClosed
	}
	if n.conns.pulls[p.peer] == nil {
		n.conns.pulls[p.peer] = p
	}
	return nil
}

func (n *Node) runPull(p *pullConn) {
	stop := context.AfterFunc(n.ctx, func() { p.close(ErrClosed) })
	defer stop()
	switch {
	case !p.from.enter(p):
		n.count("pull_connections")
		n.blame(p.peer, mesh.DropPull)
		p.close(errTooMany)
	case !n.cfg.Store.Admitted(p.peer): // banned since it proved its key
		p.close(errNotAdmitted)
	default:
		p.run()
	}
	p.from.leave(p)
	n.conns.mu.Lock()
	if n.conns.pulls[p.peer] == p {
		delete(n.conns.pulls, p.peer)
	}
	n.conns.mu.Unlock()
	p.close(nil)
}

// serve takes a connection that speaks a protocol of the mesh, with both keys
// proven, and serves it until it ends.
func (n *Node) serve(conn *tls.Conn, proto string) error {
	peer, err := peerKey(conn.ConnectionState())
	if err != nil {
		conn.Close()
		return err
	}
	n.sawOwn(conn.LocalAddr())
	switch proto {
	case protoLink:
		return n.hub.Accept(peer, conn)
	case protoPull:
		p := newPullConn(n, peer, conn)
		if err := n.addPull(p); err != nil {
			return err
		}
		n.runPull(p)
		return nil
	case protoFile:
		p := newPullConn(n, peer, conn)
		p.file = true
		n.runPull(p)
		return nil
	case protoJoin:
		return n.serveJoin(conn, peer)
	}
	conn.Close()
	return errors.New("cluster: unknown protocol " + proto)
}
