package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// wire is what lies between two nodes of the lab. All connections between them
// share it. It is shaped at the end that dials: each byte, and 52 more for each
// packet, takes its time, in each direction.
type wire struct {
	mu    sync.Mutex
	rate  int64 // bytes a second; 0: as fast as loopback
	cut   bool
	free  [2]time.Time // when each direction has sent all it was given
	conns map[*wireConn]bool
}

const (
	wirePacket   = 1400
	wireOverhead = 52
	wireBuffer   = 4 << 10 // of the kernel: more would hide how slow the wire is
)

var errCut = errors.New("the wire is cut")

func newWire() *wire { return &wire{conns: make(map[*wireConn]bool)} }

// dial connects to address over the wire.
func (w *wire) dial(ctx context.Context, address string) (net.Conn, error) {
	w.mu.Lock()
	cut := w.cut
	w.mu.Unlock()
	if cut {
		return nil, errCut
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok && w.speed() > 0 {
		err = errors.Join(tcp.SetReadBuffer(wireBuffer), tcp.SetWriteBuffer(wireBuffer))
	}
	c := &wireConn{Conn: conn, wire: w, closed: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut {
		err = errCut
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	w.conns[c] = true
	return c, nil
}

func (w *wire) speed() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rate
}

// setCut cuts or mends the wire. What is under way is lost with a cut.
func (w *wire) setCut(cut bool) {
	w.mu.Lock()
	w.cut = cut
	all := make([]*wireConn, 0, len(w.conns))
	for c := range w.conns {
		all = append(all, c)
	}
	w.mu.Unlock()
	if cut {
		for _, c := range all {
			c.Close()
		}
	}
}

// pass returns how long n bytes have to wait in one direction.
func (w *wire) pass(direction, n int) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.rate == 0 {
		return 0
	}
	now := time.Now()
	if w.free[direction].Before(now) {
		w.free[direction] = now
	}
	w.free[direction] = w.free[direction].Add(time.Duration(n+wireOverhead) * time.Second / time.Duration(w.rate))
	return w.free[direction].Sub(now)
}

// wireConn is one connection over a wire.
type wireConn struct {
	net.Conn
	wire   *wire
	once   sync.Once
	closed chan struct{}

	mu       sync.Mutex
	deadline [2]time.Time
}

const (
	outward = 0
	inward  = 1
)

// hold waits until n bytes are through.
func (c *wireConn) hold(direction, n int) error {
	wait := c.wire.pass(direction, n)
	if wait == 0 {
		return nil
	}
	c.mu.Lock()
	deadline := c.deadline[direction]
	c.mu.Unlock()
	late := false
	if left := time.Until(deadline); !deadline.IsZero() && left < wait {
		wait, late = left, true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		if late {
			return os.ErrDeadlineExceeded
		}
		return nil
	case <-c.closed:
		return net.ErrClosed
	}
}

func (c *wireConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b[:min(len(b), wirePacket)])
	if n > 0 {
		err = errors.Join(err, c.hold(inward, n))
	}
	return n, err
}

func (c *wireConn) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		part := b[:min(len(b), wirePacket)]
		if err := c.hold(outward, len(part)); err != nil {
			return n, err
		}
		k, err := c.Conn.Write(part)
		n += k
		if err != nil {
			return n, err
		}
		b = b[k:]
	}
	return n, nil
}

func (c *wireConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *wireConn) SetReadDeadline(t time.Time) error {
	c.setDeadline(inward, t)
	return c.Conn.SetReadDeadline(t)
}

func (c *wireConn) SetWriteDeadline(t time.Time) error {
	c.setDeadline(outward, t)
	return c.Conn.SetWriteDeadline(t)
}

func (c *wireConn) setDeadline(direction int, t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline[direction] = t
}

func (c *wireConn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.wire.mu.Lock()
		delete(c.wire.conns, c)
		c.wire.mu.Unlock()
	})
	return c.Conn.Close()
}

// parseThrottle reads e1-e3=2kbps.
func parseThrottle(text string) (link string, rate int64, err error) {
	link, speed, found := strings.Cut(text, "=")
	if !found {
		return "", 0, usageError{fmt.Errorf("--throttle %q: write it like e1-e3=2kbps", text)}
	}
	rate, err = parseRate(speed)
	return link, rate, err
}

// parseRate reads bits a second and returns bytes a second.
func parseRate(text string) (int64, error) {
	number := strings.ToLower(text)
	scale := 1.0
	for _, unit := range []struct {
		name  string
		scale float64
	}{{"kbps", 1e3}, {"mbps", 1e6}, {"gbps", 1e9}, {"bps", 1}} {
		if cut, found := strings.CutSuffix(number, unit.name); found {
			number, scale = cut, unit.scale
			break
		}
	}
	bits, err := strconv.ParseFloat(number, 64)
	if err != nil || bits*scale < 400 || bits*scale > 1e12 {
		return 0, usageError{fmt.Errorf("speed %q: write it like 2kbps or 10mbps, from 400 bps on", text)}
	}
	return int64(bits * scale / 8), nil
}
