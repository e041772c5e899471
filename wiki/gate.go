package wiki

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/erwik/erwik/wiki/metrics"
	"github.com/erwik/erwik/wiki/web"
)

// Gate stands between the port and the HTTP server, and refuses saves for which
// there is no room before the server hears of them: what the server and the
// router do for a request costs ten times as much as such an answer. It takes
// only what it knows for sure: one whole plain PUT of a page, all of it here, and
// nothing behind it. Everything else is the server's.
//
// A connection that was refused is parked, and one that saved last while the room
// is nearly full. One goroutine looks at all of them, each once in gatePace, and answers
// at once what it finds; so somebody who hammers is slowed down, and costs two system
// calls. The server's own goroutines come behind all saves that can run.
type Gate struct {
	door    *class
	count   func(took time.Duration)
	answers [][]byte

	mu       sync.Mutex
	first    *gateConn // parked, the longest first
	last     *gateConn
	parked   int
	looking  bool
	scratch  [maxGateRequest + 1]byte // of the one who looks
	handOver sync.Pool                // of *[maxGateRequest + 1]byte
}

// gatedPut begins what the gate may refuse.
const gatedPut = "PUT " + apiPrefix + "v1/pages/"

func newGate(c *class, m *metrics.Set) *Gate {
	g := &Gate{door: c, count: m.Route(routeLabel(apiPrefix+"v1/pages/{path:(?s:.+)}")).Refusals(c.name, "full", http.MethodPut, http.StatusServiceUnavailable)}
	g.handOver.New = func() any { return new([maxGateRequest + 1]byte) }
	body := busyProblem(http.StatusServiceUnavailable, errBusy)
	for seconds := retryMin; seconds <= retryMax; seconds++ {
		g.answers = append(g.answers, fmt.Appendf(nil, "HTTP/1.1 503 Service Unavailable\r\nRetry-After: %d\r\nCache-Control: no-store\r\n"+
			"Content-Security-Policy: %s\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: same-origin\r\n"+
			"Cross-Origin-Opener-Policy: same-origin\r\nCross-Origin-Resource-Policy: same-origin\r\n"+
			"Content-Type: application/problem+json\r\nContent-Length: %d\r\n\r\n%s", seconds, web.Policy, len(body), body))
	}
	return g
}

// Listener returns inner with the gate before each connection. The server that
// takes them must call State.
func (g *Gate) Listener(inner net.Listener) net.Listener { return gateListener{inner, g} }

type gateListener struct {
	net.Listener
	gate *Gate
}

// Accept implements net.Listener. The server must see what is under TLS as such,
// so those connections are its own.
func (l gateListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if _, secure := conn.(*tls.Conn); secure {
		return conn, nil
	}
	return &gateConn{Conn: conn, gate: l.gate, fresh: true}, nil
}

// State is for the server's field ConnState: the gate must know when a
// connection is between two requests, and when it ends.
func (g *Gate) State(conn net.Conn, state http.ConnState) {
	c, ok := conn.(*gateConn)
	if !ok {
		return
	}
	switch state {
	case http.StateIdle:
		c.free()
		c.fresh = true
	case http.StateClosed, http.StateHijacked:
		c.free()
	}
}

// Context is for the server's field ConnContext: a save finds what its connection
// holds for it.
func (g *Gate) Context(ctx context.Context, conn net.Conn) context.Context {
	if c, ok := conn.(*gateConn); ok {
		return context.WithValue(ctx, gateKey{}, c)
	}
	return ctx
}

type gateKey struct{}

// heldRoom takes over the room that the gate holds for a request; false: none is
// held.
func heldRoom(r *http.Request) bool {
	c, ok := r.Context().Value(gateKey{}).(*gateConn)
	if !ok || !c.holds {
		return false
	}
	c.holds = false
	return true
}

// holdsRoom reports whether the gate holds room for a request.
func holdsRoom(r *http.Request) bool {
	c, ok := r.Context().Value(gateKey{}).(*gateConn)
	return ok && c.holds
}

// hold keeps room for a save that is here; false: there is none.
func (c *gateConn) hold() bool {
	c.holds = c.gate.door.hold()
	return c.holds
}

// free gives back what no save took over.
func (c *gateConn) free() {
	if c.holds {
		c.holds = false
		c.gate.door.inside.Add(-1)
	}
}

func (g *Gate) answer() []byte { return g.answers[rand.IntN(len(g.answers))] }

// gateConn is a connection behind the gate. It is used by the server's goroutine,
// and by the gate's while that one waits.
type gateConn struct {
	net.Conn
	gate  *Gate
	fresh bool   // the next byte is the first of a request
	holds bool   // room for the request
	saves bool   // the last request was one that the gate may refuse
	back  []byte // was read, and is still to be given to the server

	next    *gateConn // parked behind this one
	due     time.Time
	woken   chan struct{}
	empty   int       // looks in a row that found nothing
	extends time.Time // when its deadline was put off
	raw     syscall.RawConn
	n       int // of the last raw call
	err     error
	buf     []byte
	read    func(fd uintptr) bool
	write   func(fd uintptr) bool
}

// NetConn returns the connection below.
func (c *gateConn) NetConn() net.Conn { return c.Conn }

// Read implements net.Conn.
func (c *gateConn) Read(b []byte) (int, error) {
	if len(c.back) > 0 {
		return c.takeBack(b), nil
	}
	if !c.fresh || len(b) < bytes.MinRead {
		return c.Conn.Read(b)
	}
	c.fresh = false
	if c.saves && c.gate.door.nearlyFull() && c.ready() && c.waits() {
		return c.takeBack(b), nil
	}
	for {
		n, err := c.Conn.Read(b)
		if err != nil {
			return n, err
		}
		total := gated(b[:n])
		c.saves = total > 0
		if total == 0 || total < n || total == n && c.hold() || total > n && !c.gate.door.full() {
			return n, nil
		}
		begin := time.Now()
		if total > n && !(c.ready() && c.rest(b[:n], total)) {
			if len(c.back) > 0 {
				n = c.takeBack(b)
			}
			return n, nil
		}
		if _, err := c.Conn.Write(c.gate.answer()); err != nil {
			return 0, err
		}
		c.putOff(begin)
		c.gate.count(time.Since(begin))
		if c.ready() && c.waits() {
			return c.takeBack(b), nil
		}
	}
}

// waits parks the connection until something comes that the gate does not refuse;
// false: nothing came, or there is no room to park.
func (c *gateConn) waits() bool {
	if !c.gate.park(c) {
		return false
	}
	<-c.woken
	if len(c.back) == 0 {
		return false
	}
	_ = c.Conn.SetReadDeadline(time.Now().Add(gateHeaderTime))
	return true
}

// takeBack gives the server what was read.
func (c *gateConn) takeBack(b []byte) int {
	n := copy(b, c.back)
	if c.back = c.back[n:]; len(c.back) == 0 {
		c.back = nil
	}
	return n
}

// putOff gives a refused connection as long for its next request as one that was
// answered.
func (c *gateConn) putOff(now time.Time) {
	if now.Sub(c.extends) > time.Second {
		c.extends = now
		_ = c.Conn.SetReadDeadline(now.Add(gateIdleTime))
	}
}

// ready makes the calls that do not wait; false: this is no connection that has
// them.
func (c *gateConn) ready() bool {
	if c.raw != nil {
		return true
	}
	conn := c.Conn
	for {
		if s, ok := conn.(syscall.Conn); ok {
			raw, err := s.SyscallConn()
			if err != nil {
				return false
			}
			c.raw, c.woken = raw, make(chan struct{}, 1)
			break
		}
		under, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return false
		}
		conn = under.NetConn()
	}
	c.read = func(fd uintptr) bool { c.n, c.err = readNow(fd, c.buf); return true }
	c.write = func(fd uintptr) bool { c.n, c.err = writeNow(fd, c.buf); return true }
	return true
}

// take reads what is there, without waiting.
func (c *gateConn) take(b []byte) (int, error) {
	c.buf = b
	if err := c.raw.Read(c.read); err != nil {
		return 0, err
	}
	return max(c.n, 0), c.err
}

// give writes all of b, without waiting; what does not fit is an error.
func (c *gateConn) give(b []byte) error {
	c.buf = b
	if err := c.raw.Write(c.write); err != nil {
		return err
	}
	if c.err == nil && c.n != len(b) {
		return errSlowReader
	}
	return c.err
}

// rest takes what is missing of a request that began with head. If it is not there,
// or more is, all that was read goes to the server.
func (c *gateConn) rest(head []byte, total int) bool {
	scratch := c.gate.handOver.Get().(*[maxGateRequest + 1]byte)
	defer c.gate.handOver.Put(scratch)
	have := copy(scratch[:], head)
	for have < total {
		n, err := c.take(scratch[have : total+1])
		if err != nil || n == 0 {
			break
		}
		have += n
	}
	if have == total {
		return true
	}
	c.back = bytes.Clone(scratch[:have])
	return false
}

// park lets the gate's goroutine look after a connection; false: there are too many.
func (g *Gate) park(c *gateConn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.parked >= maxParked {
		return false
	}
	c.empty = 0
	g.push(c, time.Now())
	if !g.looking {
		g.looking = true
		go g.look() // ends when nobody is parked
	}
	return true
}

// push puts c at the end; the lock is held.
func (g *Gate) push(c *gateConn, now time.Time) {
	c.due, c.next = now.Add(gatePace), nil
	if g.last == nil {
		g.first = c
	} else {
		g.last.next = c
	}
	g.last = c
	g.parked++
}

// pop takes the first if it is due; none is left: the one who looks must end.
func (g *Gate) pop(now time.Time) (c *gateConn, none bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c = g.first
	if c == nil {
		g.looking = false
		return nil, true
	}
	if c.due.After(now) {
		return nil, false
	}
	if g.first = c.next; g.first == nil {
		g.last = nil
	}
	g.parked--
	return c, false
}

// look goes round.
func (g *Gate) look() {
	tick := time.NewTicker(gateTick)
	defer tick.Stop()
	for now := range tick.C {
		// One that worked on and on would be put behind all others by the scheduler;
		// one that was woken by a timer runs at once.
		for i := 1; i%16 != 0 || time.Since(now) < gateWork; i++ {
			c, none := g.pop(now)
			if none {
				return
			}
			if c == nil {
				break
			}
			if g.lookAt(c, now) {
				g.mu.Lock()
				g.push(c, now)
				g.mu.Unlock()
			} else {
				c.woken <- struct{}{}
			}
		}
	}
}

// lookAt answers what has come on a parked connection; false: it is the server's
// again.
func (g *Gate) lookAt(c *gateConn, now time.Time) bool {
	n, err := c.take(g.scratch[:])
	if isAgain(err) {
		c.empty++
		return c.empty < gateLooks
	}
	if err != nil || n == 0 {
		return false // the server sees the same when it reads
	}
	c.empty = 0
	total := gated(g.scratch[:n])
	c.saves = total > 0
	if total != n || c.hold() {
		c.back = bytes.Clone(g.scratch[:n])
		return false
	}
	if err := c.give(g.answer()); err != nil {
		c.Conn.Close()
		return false
	}
	c.putOff(now)
	g.count(now.Sub(c.due) + gatePace/2) // it came at some time since the last look
	return true
}

// gated returns how long the request is that begins b if the gate may refuse it,
// else 0. It must never think that a request ends elsewhere than the server
// does, so it takes only the plainest.
func gated(b []byte) int {
	if !bytes.HasPrefix(b, []byte(gatedPut)) {
		return 0
	}
	line, rest, found := bytes.Cut(b, []byte("\r\n"))
	if !found || !bytes.HasSuffix(line, []byte(" HTTP/1.1")) || bytes.Count(line, []byte(" ")) != 2 || !plainLine(line) {
		return 0
	}
	length, host := -1, false
	for {
		line, rest, found = bytes.Cut(rest, []byte("\r\n"))
		if !found || !plainLine(line) {
			return 0
		}
		if len(line) == 0 {
			break
		}
		name, value, colon := bytes.Cut(line, []byte(":"))
		if !colon || !isToken(name) {
			return 0
		}
		switch {
		case equalFold(name, "Content-Length"):
			n, err := strconv.ParseUint(string(bytes.TrimLeft(value, " ")), 10, 31)
			if err != nil || length >= 0 {
				return 0
			}
			length = int(n)
		case equalFold(name, "Host"):
			if host {
				return 0
			}
			host = true
		case equalFold(name, "Transfer-Encoding"), equalFold(name, "Connection"), equalFold(name, "Expect"),
			equalFold(name, "Upgrade"), equalFold(name, "Trailer"), equalFold(name, "TE"):
			return 0
		}
	}
	total := len(b) - len(rest) + length
	if length < 0 || !host || total > maxGateRequest {
		return 0
	}
	return total
}

func equalFold(b []byte, name string) bool {
	return len(b) == len(name) && bytes.EqualFold(b, []byte(name))
}

// plainLine reports whether a line has printable ASCII only.
func plainLine(line []byte) bool {
	for _, c := range line {
		if c < 0x20 || c > 0x7e {
			return false
		}
	}
	return true
}

func isToken(name []byte) bool {
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return len(name) > 0
}
