package cluster

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// firstByteTime is how long a connection may say nothing.
	firstByteTime = 10 * time.Second
	// maxSilent bounds connections that have not said anything yet; one more
	// is closed at once.
	maxSilent = 8192
	// maxHandshakes bounds TLS handshakes under way; one more is closed.
	maxHandshakes = 256

	// maxHandshakesFrom bounds those of one address, so that one machine
	// can't keep all others out.
	maxHandshakesFrom = 128

	recordHandshake = 0x16 // first byte of a TLS ClientHello
)

// Port is the one port of a node. It tells connections apart: mesh protocols go
// to the node, the rest is HTTP, in the clear or under the operator's
// certificate.
type Port struct {
	listener net.Listener
	node     *Node
	https    *tls.Config // nil: no certificate is configured
	log      *slog.Logger
	web      chan net.Conn
	silent   chan struct{}
	hands    chan struct{}
	closed   chan struct{}
	once     sync.Once
	wg       sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool // that are not HTTP's yet
	from  map[string]int    // handshakes under way, by address
}

// OpenPort takes over listener. https may be nil.
func OpenPort(listener net.Listener, node *Node, https *tls.Config, log *slog.Logger) *Port {
	p := &Port{
		listener: listener, node: node, https: https, log: log,
		web: make(chan net.Conn), silent: make(chan struct{}, maxSilent), hands: make(chan struct{}, maxHandshakes),
		closed: make(chan struct{}), conns: make(map[net.Conn]bool), from: make(map[string]int),
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
	for c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
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
		select {
		case p.silent <- struct{}{}:
			p.wg.Go(func() { p.handle(conn) })
		default:
			p.node.count("connection_flood")
			conn.Close()
		}
	}
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

// handle looks at the first byte.
func (p *Port) handle(conn net.Conn) {
	if !p.track(conn) {
		conn.Close()
		<-p.silent
		return
	}
	first := &peekedConn{Conn: conn}
	conn.SetReadDeadline(time.Now().Add(firstByteTime))
	_, err := conn.Read(first.byte[:])
	conn.SetReadDeadline(time.Time{})
	<-p.silent
	if err != nil {
		p.untrack(conn)
		conn.Close()
		return
	}
	first.held = true
	if first.byte[0] != recordHandshake {
		p.untrack(conn)
		p.give(first)
		return
	}
	defer p.untrack(conn)
	if err := p.secure(first); err != nil {
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
func (p *Port) secure(conn net.Conn) error {
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
		}
		return p.node.serve(secure, proto)
	}
	p.give(secure)
	return nil
}

// beginHandshake takes a place for a handshake; done, which may be called again,
// gives it back.
func (p *Port) beginHandshake(from net.Addr) (done func(), admitted bool) {
	host, _, _ := net.SplitHostPort(from.String())
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.from[host] >= maxHandshakesFrom {
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
		return 1, nil
	}
	return c.Conn.Read(b)
}

// NetConn returns the connection below, for its socket options.
func (c *peekedConn) NetConn() net.Conn { return c.Conn }
