package link

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/erwik/erwik/storage"
)

// Link is one duplex connection to one neighbor.
type Link struct {
	hub      *Hub
	peer     storage.NodeID
	conn     *watchedConn
	accepted bool
	born     time.Time
	took     time.Duration // from there until it was up
	publish  func(frame []byte) error
	stop     func() // ends the NATS side
	queue    chan []byte
	waiting  atomic.Int32  // frames handed to run and not yet published
	quick    atomic.Bool   // send may publish by itself
	failed   chan struct{} // closed by the first fail
	done     chan struct{} // closed when Down has been told

	mu     sync.Mutex // orders the handler's calls
	isUp   bool
	isDown bool

	once   sync.Once
	reason error
}

func newLink(h *Hub, peer storage.NodeID, conn net.Conn, accepted bool) *Link {
	l := &Link{
		hub: h, peer: peer, accepted: accepted, born: time.Now(),
		queue: make(chan []byte, queueLength), failed: make(chan struct{}), done: make(chan struct{}),
	}
	l.conn = &watchedConn{Conn: conn, failed: l.fail, begun: l.born}
	return l
}

// dialer is the end that made the connection.
func (l *Link) dialer() storage.NodeID {
	if l.accepted {
		return l.peer
	}
	return l.hub.self
}

// up tells the handler, once.
func (l *Link) up(rtt time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.isUp && !l.isDown {
		l.isUp = true
		l.hub.handler.Up(l.peer, rtt, l.conn.RemoteAddr().String())
	}
}

func (l *Link) frame(frame []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isUp && !l.isDown {
		l.hub.handler.Frame(l.peer, frame)
	}
}

// send publishes frame at once if nothing waits and the connection has always
// taken frames quickly, else through the queue. It is called by one goroutine at
// a time.
func (l *Link) send(frame []byte) {
	if l.quick.Load() && l.waiting.Load() == 0 {
		start := time.Now()
		if err := l.publish(frame); err != nil {
			l.fail(err)
		}
		if time.Since(start) > quickTime {
			l.quick.Store(false)
		}
		return
	}
	l.waiting.Add(1)
	select {
	case l.queue <- frame:
	default:
		l.waiting.Add(-1)
		l.fail(errors.New("link: the connection takes no more frames"))
	}
}

// run publishes frames until the link fails, then tears it down.
func (l *Link) run() {
	l.quick.Store(true)
	for {
		select {
		case frame := <-l.queue:
			if err := l.publish(frame); err != nil {
				l.fail(err)
			}
			l.waiting.Add(-1)
			continue
		case <-l.failed:
		}
		break
	}
	l.conn.abort()
	l.mu.Lock()
	wasUp := l.isUp && !l.isDown
	l.isDown = true
	l.mu.Unlock()
	if wasUp {
		l.hub.handler.Down(l.peer, l.reason)
	}
	close(l.done)
	l.stop()
	l.hub.remove(l)
}

// fail begins the end of the link; only the first reason counts.
func (l *Link) fail(reason error) {
	l.once.Do(func() {
		l.reason = reason
		l.conn.abort()
		close(l.failed)
	})
}

// watchedConn fails its link at the first write that fails: after a time-out a
// TLS connection sends nothing more, and nats.go would not say so.
type watchedConn struct {
	net.Conn
	failed func(error)
	heard  atomic.Int64 // when something first came, in nanoseconds since begun
	begun  time.Time
}

// Read implements net.Conn.
func (c *watchedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && c.heard.Load() == 0 {
		c.heard.Store(max(1, int64(time.Since(c.begun))))
	}
	return n, err
}

func (c *watchedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err != nil {
		c.failed(err)
	}
	return n, err
}

// abort closes the connection and forgets what is not sent: on a slow link the
// old backlog would starve the next connection for minutes.
func (c *watchedConn) abort() {
	inner := c.Conn
	for {
		if t, ok := inner.(*tls.Conn); ok {
			inner = t.NetConn()
			continue
		}
		if w, ok := inner.(interface{ NetConn() net.Conn }); ok {
			inner = w.NetConn()
			continue
		}
		break
	}
	if t, ok := inner.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	inner.Close()
}
