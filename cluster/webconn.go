package cluster

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// webConn is a connection that is not the mesh's, as far as is known. It gives
// its place back when it is closed.
type webConn struct {
	net.Conn
	port *Port
	host string
	once sync.Once

	pace  bool        // the rule of progress holds for writes
	given atomic.Bool // whoever uses it has set a deadline for writes
	until time.Time   // deadline of writes; used by the one who writes
}

// forget gives the place back: the connection is the mesh's.
func (c *webConn) forget() { c.once.Do(func() { c.port.leave(c.host) }) }

// Close implements net.Conn.
func (c *webConn) Close() error {
	c.forget()
	return c.Conn.Close()
}

// NetConn returns the connection below, for its socket options.
func (c *webConn) NetConn() net.Conn { return c.Conn }

// paced begins the rule of progress; nothing has been written yet.
func (c *webConn) paced() {
	c.pace = true
	if t, ok := c.Conn.(*net.TCPConn); ok {
		// Without that the kernel would keep megabytes for a slow reader, and say
		// nothing for hours while he takes them.
		_ = t.SetWriteBuffer(sendBuffer)
	}
}

// SetWriteDeadline implements net.Conn.
func (c *webConn) SetWriteDeadline(t time.Time) error {
	c.given.Store(!t.IsZero())
	return c.Conn.SetWriteDeadline(t)
}

// Write implements net.Conn. A reader may take as long as he likes for the
// whole, as long as he takes something in each writeProgress.
func (c *webConn) Write(b []byte) (int, error) {
	if !c.pace || c.given.Load() {
		return c.Conn.Write(b)
	}
	written := 0
	for {
		if now := time.Now(); c.until.Sub(now) < writeProgress/2 {
			c.until = now.Add(writeProgress)
			_ = c.Conn.SetWriteDeadline(c.until)
		}
		n, err := c.Conn.Write(b)
		written += n
		if err == nil || n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return written, err
		}
		b = b[n:]
	}
}
