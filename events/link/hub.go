package link

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/erwik/erwik/storage"
)

const (
	// MaxFrame is the largest frame, in bytes; NATS refuses more.
	MaxFrame = 64 << 10
	// queueLength is how many frames one link holds back. The core has one in
	// flight, so more than a few mean that the connection does not move: it
	// is closed.
	queueLength = 64
	// A TLS connect takes 13 s on a link of 2,000 bit/s.
	handshakeTime = 60 * time.Second
	// writeTime is how long a write may take before the link counts as dead.
	writeTime = 5 * time.Minute
	// maxSubs bounds the subscriptions of one connection; each needs one.
	maxSubs = 4
	// raceTime, and three times what making it took, is how old a link may be
	// for another one to be taken for a dial at the same moment; an older one is
	// what a restart has left behind.
	raceTime = 5 * time.Second
	// quickTime is how long nats.go may take for a frame before all further
	// ones of the link go through its own goroutine.
	quickTime = 10 * time.Millisecond
	tokenSize = 13
	localUser = "local"
)

// ErrClosed means that the hub or the link is closed.
var ErrClosed = errors.New("link: closed")

// Handler is told of links and frames. Calls for one link come in order, from
// one goroutine at a time.
type Handler interface {
	Up(peer storage.NodeID, rtt time.Duration, remote string)
	Frame(peer storage.NodeID, frame []byte) // the slice is the handler's
	Down(peer storage.NodeID, reason error)
}

// Hub holds this node's links.
type Hub struct {
	self    storage.NodeID
	handler Handler
	log     *slog.Logger
	server  *server.Server
	local   *nats.Conn

	mu     sync.Mutex
	links  map[storage.NodeID]*Link
	tokens map[string]storage.NodeID // of accepted links
	passes map[string]string         // password → user; each is good for one CONNECT
	closed bool
	wg     sync.WaitGroup
}

// token is the part of the subjects that names the dialer.
func token(id storage.NodeID) string { return id.String()[:tokenSize] }

// Open starts the embedded server.
func Open(self storage.NodeID, handler Handler, log *slog.Logger) (*Hub, error) {
	h := &Hub{
		self: self, handler: handler, log: log,
		links: make(map[storage.NodeID]*Link), tokens: make(map[string]storage.NodeID), passes: make(map[string]string),
	}
	srv, err := server.NewServer(&server.Options{
		ServerName: "erwik", DontListen: true, NoSigs: true, NoLog: true, NoSystemAccount: true,
		AuthTimeout: handshakeTime.Seconds(), WriteDeadline: writeTime,
		PingInterval: time.Hour, MaxPingsOut: 5, DisableShortFirstPing: true,
		MaxPending: 4 << 20, MaxPayload: MaxFrame, MaxControlLine: 1024, MaxSubs: maxSubs,
		CustomClientAuthentication: admission{h},
	})
	if err != nil {
		return nil, fmt.Errorf("make the link server: %w", err)
	}
	h.server = srv
	srv.Start()
	h.local, err = nats.Connect("", nats.InProcessServer(srv), nats.UserInfo(localUser, h.pass(localUser)),
		nats.NoReconnect(), nats.Timeout(handshakeTime), nats.PingInterval(time.Hour))
	if err == nil {
		_, err = h.local.Subscribe("e.*", h.fromDialers)
	}
	if err == nil { // until the server knows of it, a dialer's first word would be lost
		err = h.local.FlushTimeout(handshakeTime)
	}
	if err != nil {
		srv.Shutdown()
		return nil, fmt.Errorf("connect to the link server: %w", err)
	}
	return h, nil
}

// fromDialers takes frames that came over accepted links.
func (h *Hub) fromDialers(m *nats.Msg) {
	h.mu.Lock()
	peer, known := h.tokens[m.Subject[2:]]
	l := h.links[peer]
	h.mu.Unlock()
	if !known || l == nil {
		return
	}
	if len(m.Data) == 0 {
		l.up(0)
		return
	}
	l.frame(m.Data)
}

// pass returns a password by which one CONNECT may name itself user.
func (h *Hub) pass(user string) string {
	pass := rand.Text()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.passes[pass] = user
	return pass
}

// usePass takes a password back and returns whose it is.
func (h *Hub) usePass(pass string) (user string, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	user, ok = h.passes[pass]
	delete(h.passes, pass)
	return user, ok
}

// admission authenticates NATS connections. They all come over pipes: the
// local one and the spliced ones, which prove by a password that they passed
// the TLS handshake. The server keeps the fields of a CONNECT for a second one
// that leaves them out, and a neighbor may send a second one: so a password is
// good once.
type admission struct{ h *Hub }

func (a admission) Check(c server.ClientAuthentication) bool {
	user, ok := a.h.usePass(c.GetOpts().Password)
	if !ok {
		return false
	}
	if user == localUser {
		c.RegisterUser(&server.User{Username: localUser})
		return true
	}
	c.RegisterUser(&server.User{Username: user, Permissions: &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{"e." + user}},
		Subscribe: &server.SubjectPermission{Allow: []string{"t." + user}},
	}})
	return true
}

// add makes l the link to its peer; an older one is closed, unless both ends
// dialled at once and the older one is the lower id's.
func (h *Hub) add(l *Link) error {
	h.mu.Lock()
	old := h.links[l.peer]
	if h.closed {
		h.mu.Unlock()
		return ErrClosed
	}
	if old != nil && old.dialer().Compare(l.dialer()) < 0 && time.Since(old.born) < raceTime+3*old.took {
		h.mu.Unlock()
		return fmt.Errorf("%w: there is a link already, and the lower id's stays", ErrClosed)
	}
	l.took = time.Since(l.born)
	h.links[l.peer] = l
	if l.accepted {
		h.tokens[token(l.peer)] = l.peer
	}
	h.wg.Add(1)
	h.mu.Unlock()
	if old != nil {
		old.fail(fmt.Errorf("%w: replaced by a newer connection", ErrClosed))
		<-old.done
	}
	return nil
}

func (h *Hub) remove(l *Link) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.links[l.peer] == l {
		delete(h.links, l.peer)
		if l.accepted {
			delete(h.tokens, token(l.peer))
		}
	}
	h.wg.Done()
}

// Send hands one frame to the link to peer; without a link it is dropped. The
// frame must not be changed afterwards. Calls must not overlap.
func (h *Hub) Send(peer storage.NodeID, frame []byte) {
	h.mu.Lock()
	l := h.links[peer]
	h.mu.Unlock()
	if l != nil {
		l.send(frame)
	}
}

// UpSince returns when the making of the link to peer began; ok is false if there is none.
func (h *Hub) UpSince(peer storage.NodeID) (at time.Time, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.links[peer]
	if l == nil {
		return at, false
	}
	return l.born, true
}

// Drop closes the link to peer at once, if there is one.
func (h *Hub) Drop(peer storage.NodeID, reason string) {
	h.mu.Lock()
	l := h.links[peer]
	h.mu.Unlock()
	if l != nil {
		l.fail(errors.New(reason))
	}
}

// Dial makes conn, whose far end has proven to be peer, a link. When ctx ends
// before that is done, conn is closed.
func (h *Hub) Dial(ctx context.Context, peer storage.NodeID, conn net.Conn) error {
	l := newLink(h, peer, conn, false)
	defer context.AfterFunc(ctx, l.conn.abort)()
	down := make(chan struct{})
	nc, err := nats.Connect("nats://"+peer.String()[:8], nats.SetCustomDialer(onlyDialer{l.conn}), nats.NoReconnect(),
		nats.Timeout(handshakeTime), nats.FlusherTimeout(writeTime), nats.ReconnectOnFlusherError(),
		nats.PingInterval(time.Hour), nats.MaxPingsOutstanding(5), nats.IgnoreDiscoveredServers(), nats.SkipHostLookup(),
		nats.ClosedHandler(func(*nats.Conn) { close(down) }))
	if err != nil {
		conn.Close()
		return fmt.Errorf("start NATS with %s: %w", peer, err)
	}
	// NATS has said hello since the first word of the far end, which may have taken
	// its time for that one.
	rtt := time.Since(l.born) - time.Duration(l.conn.heard.Load())
	if err := h.add(l); err != nil {
		l.conn.abort()
		nc.Close()
		return err
	}
	l.publish = func(frame []byte) error { return nc.Publish("e."+token(h.self), frame) }
	l.stop = nc.Close
	l.up(rtt)
	_, err = nc.Subscribe("t."+token(h.self), func(m *nats.Msg) { l.frame(m.Data) })
	if err == nil {
		err = l.publish(nil)
	}
	if err != nil {
		l.fail(err)
	}
	h.wg.Go(func() {
		select {
		case <-down:
			l.fail(net.ErrClosed)
		case <-l.done:
		}
	})
	go l.run()
	return nil
}

// Close drops all links and waits for their ends to be told.
func (h *Hub) Close() {
	h.mu.Lock()
	h.closed = true
	all := make([]*Link, 0, len(h.links))
	for _, l := range h.links {
		all = append(all, l)
	}
	h.mu.Unlock()
	for _, l := range all {
		l.fail(ErrClosed)
	}
	h.wg.Wait()
	h.local.Close()
	h.server.Shutdown()
	h.server.WaitForShutdown()
}

// onlyDialer gives nats.go the connection that is there already.
type onlyDialer struct{ conn net.Conn }

func (d onlyDialer) Dial(string, string) (net.Conn, error) { return d.conn, nil }
