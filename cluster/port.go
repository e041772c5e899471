package cluster

import (
	"container/list"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const recordHandshake = 0x16 // first byte of a TLS ClientHello

// Port is the one port of a node. It tells connections apart: mesh protocols go
// to the node, the rest is HTTP, in the clear or under the operator's
// certificate.
type Port struct {
	listener net.Listener
	node     *Node
	https    *tls.Config // nil: no certificate is configured
	log      *slog.Logger
	web      chan net.Conn
	hands    chan struct{}
	refusals chan struct{}
	most     int // connections from one address; 0 = no limit
	trusted  func(host string) bool
	closed   chan struct{}
	once     sync.Once
	wg       sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]bool // that are not HTTP's yet
	silent list.List         // of net.Conn that have not said anything, oldest first
	from   map[string]int    // handshakes under way, by address
	open   map[string]int    // connections that are not the mesh's, by address
	all    int               // of them
}

// PortConfig says how many may come in.
type PortConfig struct {
	HTTPS *tls.Config // nil: no certificate is configured
	// From is how many connections one address may have that are not the mesh's; 0
	// means no limit. Trusted tells addresses for which there is none: loopback,
	// and a proxy behind which everybody stands. Nil: loopback.
	From    int
	Trusted func(host string) bool
	Logger  *slog.Logger
}

// Loopback reports whether host is one of the two addresses by which a machine
// speaks to itself.
func Loopback(host string) bool { return host == "127.0.0.1" || host == "::1" }

// OpenPort takes over listener.
func OpenPort(listener net.Listener, node *Node, cfg PortConfig) *Port {
	p := &Port{
		listener: listener, node: node, https: cfg.HTTPS, log: cfg.Logger, most: cfg.From, trusted: cfg.Trusted,
		web: make(chan net.Conn), hands: make(chan struct{}, maxHandshakes), refusals: make(chan struct{}, maxRefusals),
		closed: make(chan struct{}), conns: make(map[net.Conn]bool), from: make(map[string]int), open: make(map[string]int),
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.trusted == nil {
		p.trusted = Loopback
	}
	p.wg.Go(p.accept)
	return p
}

// HTTP is the listener that an HTTP server takes its connections from.
func (p *Port) HTTP() net.Listener { return webListener{p} }

type webListener struct{ p *Port }

func (w webListener) Accept() (net.Conn, error) {
	select {
	case c := <-w.p.web:
		return c, nil
	case <-w.p.closed:
		return nil, net.ErrClosed
	}
}

func (w webListener) Addr() net.Addr { return w.p.listener.Addr() }

// Close stops accepting; connections of the mesh are left to the node. The
// HTTP server that took this listener may call it.
func (w webListener) Close() error { return w.p.stop() }

func (p *Port) stop() error {
	var err error
	p.once.Do(func() {
		close(p.closed)
		err = p.listener.Close()
	})
	return err
}

// Close stops accepting, drops every connection that is not HTTP's, and waits.
func (p *Port) Close() error {
	err := p.stop()
	p.mu.Lock()
	open := slices.Collect(maps.Keys(p.conns))
	p.mu.Unlock()
	for _, c := range open { // closing one takes the lock
		c.Close()
	}
	p.wg.Wait()
	return err
}

func (p *Port) accept() {
	wait := 5 * time.Millisecond
	for {
		conn, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of file descriptors, most likely
			p.log.Error("accept", "err", err)
			select {
			case <-time.After(wait):
			case <-p.closed:
				return
			}
			wait = min(2*wait, time.Second)
			continue
		}
		wait = 5 * time.Millisecond
		p.admit(conn)
	}
}

// admit lets a connection in if there is room for it and its address.
func (p *Port) admit(conn net.Conn) {
	c := &webConn{Conn: conn, port: p, host: addressOf(conn.RemoteAddr())}
	full, many := p.enter(c.host)
	switch {
	case full:
		p.node.count("connection_flood")
		p.refuse(conn, "503 Service Unavailable", "this node has too many connections")
	case many:
		p.node.count("connection_share")
		p.refuse(conn, "429 Too Many Requests", "your address has too many connections open here")
	default:
		p.wg.Go(func() { p.handle(c) })
	}
}

// addressOf is what an address is counted as.
func addressOf(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.Is4() || ip.Is4In6() || ip.IsLoopback() {
		return host
	}
	network, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return host
	}
	return network.String()
}

func (p *Port) enter(host string) (full, many bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all >= maxConnections {
		return true, false
	}
	if p.most > 0 && p.open[host] >= p.most && !p.trusted(host) {
		return false, true
	}
	p.all++
	p.open[host]++
	return false, false
}

func (p *Port) leave(host string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all--
	if p.open[host]--; p.open[host] == 0 {
		delete(p.open, host)
	}
}

// Open returns how many connections there are that are not the mesh's.
func (p *Port) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all
}

// refuse tells a connection why it is closed, if that takes nobody's time.
func (p *Port) refuse(conn net.Conn, status, why string) {
	select {
	case p.refusals <- struct{}{}:
	default:
		conn.Close()
		return
	}
	p.wg.Go(func() {
		defer func() { <-p.refusals }()
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(refusalTime))
		var request [4096]byte // what it asks is read first, else closing would destroy the answer
		if n, err := conn.Read(request[:]); err != nil || request[0] == recordHandshake && n > 0 {
			return
		}
		fmt.Fprintf(conn, "HTTP/1.1 %s\r\nRetry-After: %d\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s\n",
			status, 1+rand.IntN(4), len(why)+1, why)
	})
}

// track makes Close drop conn; false: the port is closed already.
func (p *Port) track(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.closed:
		return false
	default:
		p.conns[conn] = true
		return true
	}
}

func (p *Port) untrack(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
}

// listen makes room for a connection that is waited for.
func (p *Port) listen(conn net.Conn) *list.Element {
	p.mu.Lock()
	var oldest net.Conn
	if p.silent.Len() >= maxSilent {
		oldest = p.silent.Remove(p.silent.Front()).(net.Conn)
	}
	e := p.silent.PushBack(conn)
	p.mu.Unlock()
	if oldest != nil {
		oldest.Close() // its goroutine sees that and ends
		p.node.count("connection_silent")
	}
	return e
}

func (p *Port) heard(e *list.Element) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent.Remove(e) // nothing happens if it was removed
}

// handle looks at the first byte.
func (p *Port) handle(conn *webConn) {
	if !p.track(conn) {
		conn.Close()
		return
	}
	first := &peekedConn{Conn: conn}
	waits := p.listen(conn)
	conn.SetReadDeadline(time.Now().Add(firstByteTime))
	_, err := conn.Read(first.byte[:])
	p.heard(waits)
	if err != nil {
		p.untrack(conn)
		conn.Close()
		return
	}
	conn.SetReadDeadline(time.Time{})
	first.held = true
	if first.byte[0] != recordHandshake {
		p.untrack(conn)
		conn.paced()
		p.give(first)
		return
	}
	defer p.untrack(conn)
	if err := p.secure(first, conn); err != nil {
		p.log.Debug("connection", "from", conn.RemoteAddr().String(), "err", err)
	}
}

// give hands a connection to the HTTP server.
func (p *Port) give(conn net.Conn) {
	select {
	case p.web <- conn:
	case <-p.closed:
		conn.Close()
	}
}

// secure does the TLS handshake and serves what was agreed on.
func (p *Port) secure(conn net.Conn, web *webConn) error {
	done, admitted := p.beginHandshake(conn.RemoteAddr())
	if !admitted {
		p.node.count("handshake_flood")
		return conn.Close()
	}
	defer done()
	conn.SetDeadline(time.Now().Add(handshakeTime))
	counted := &countedConn{Conn: conn}
	secure := tls.Server(counted, &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: p.choose})
	if err := secure.HandshakeContext(p.node.ctx); err != nil {
		p.node.count("handshake")
		conn.Close()
		return fmt.Errorf("TLS handshake: %w", err)
	}
	conn.SetDeadline(time.Time{})
	done()
	if proto := secure.ConnectionState().NegotiatedProtocol; isMesh(proto) {
		if peer, err := peerKey(secure.ConnectionState()); err == nil && p.node.cfg.Store.Admitted(peer) {
			counted.belongs(p.node.health.peer(peer)) // strangers get no notes
			web.forget()
		}
		if tcp, ok := web.Conn.(*net.TCPConn); ok {
			tcp.SetKeepAlivePeriod(meshKeepAlive)
		}
		return p.node.serve(secure, proto)
	}
	web.paced()
	p.give(secure)
	return nil
}

// beginHandshake takes a place for a handshake; done, which may be called again,
// gives it back.
func (p *Port) beginHandshake(from net.Addr) (done func(), admitted bool) {
	host, most := addressOf(from), maxHandshakesFrom
	if p.trusted(host) {
		most = maxHandshakesTrusted
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.from[host] >= most {
		return nil, false
	}
	select {
	case p.hands <- struct{}{}:
	default:
		return nil, false
	}
	p.from[host]++
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		<-p.hands
		if p.from[host]--; p.from[host] == 0 {
			delete(p.from, host)
		}
	}), true
}

func isMesh(proto string) bool {
	return proto == protoLink || proto == protoPull || proto == protoJoin || proto == protoFile
}

func (p *Port) choose(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if i := slices.IndexFunc(hello.SupportedProtos, isMesh); i >= 0 {
		return p.node.serverTLS(hello.SupportedProtos[i]), nil
	}
	if p.https == nil {
		return nil, errors.New("cluster: no certificate for HTTPS is configured; use http://, or start erwik with --tls-cert and --tls-key")
	}
	return p.https, nil
}

// peekedConn gives back the byte that was read to tell protocols apart.
type peekedConn struct {
	net.Conn
	byte [1]byte
	held bool
}

func (c *peekedConn) Read(b []byte) (int, error) {
	if c.held && len(b) > 0 {
		c.held = false
		b[0] = c.byte[0]
		if len(b) == 1 {
			return 1, nil
		}
		n, _ := c.Conn.Read(b[1:]) // an error comes again with the next call
		return 1 + n, nil
	}
	return c.Conn.Read(b)
}

// NetConn returns the connection below, for its socket options.
func (c *peekedConn) NetConn() net.Conn { return c.Conn }
