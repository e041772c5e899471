package cluster

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/erwik/erwik/storage"
)

const (
	frameRequest = 1
	frameData    = 2
	frameEnd     = 3
	frameCancel  = 4
	frameLocate  = 5
	frameStories = 6

	pullHead     = 4 + 1 + 8
	maxPullFrame = maxChunk + 64<<10
	// maxServedConn bounds the requests of one connection that are answered at
	// once; one more is refused with an end frame.
	maxServedConn = 8
	// pullBuffer is how many data frames of one pull wait to be written to
	// the store. When it is full, the connection is not read.
	pullBuffer = 4
	// pullWriteTime bounds a write of pullWrite bytes, at 250 bytes a second.
	pullWriteTime = 10 * time.Minute
	pullWrite     = 64 << 10
	// narrowBuffer is the kernel's send buffer on a slow link, wideBuffer what it
	// becomes when the link is healthy again.
	narrowBuffer = 4 << 10
	wideBuffer   = 1 << 20
	// pullStep is how much of a long frame comes before it counts as progress, and
	// progressEach how often that is looked at.
	pullStep     = 1 << 10
	progressEach = 2 * time.Second
)

var errPullClosed = errors.New("cluster: the pull connection is closed")

// pullConn is one connection of protocol erwik-pull. Both ends may ask over it.
type pullConn struct {
	node *Node
	peer storage.NodeID
	from *guest // the neighbor, with its other connections
	conn *tls.Conn
	in   *bufio.Reader
	done chan struct{}
	file bool // of protocol erwik-file: only pieces of files are asked for

	write  sync.Mutex  // orders frames
	beside atomic.Bool // a request of askBeside waits to be written

	mu       sync.Mutex
	narrowed bool // the kernel's send buffer is small
	err      error
	next     uint64
	asked    map[uint64]*asked
	served   map[uint64]*serving
}

// serving is one request of the far end. It keeps its place, cancelled or not,
// until its answer has ended.
type serving struct {
	stop    chan struct{} // closed by a cancel
	stopped bool
	piece   bool // of a file
}

// cancel stops the answer; it is called under pullConn.mu.
func (s *serving) cancel() {
	if !s.stopped {
		s.stopped = true
		close(s.stop)
	}
}

// asked is one request of this end.
type asked struct {
	came   atomic.Int64 // bytes of frames longer than pullStep, also of one that is not here whole
	frames chan pullFrame
	gone   chan struct{} // closed when nobody waits any more
}

type pullFrame struct {
	kind byte
	body []byte
}

func newPullConn(n *Node, peer storage.NodeID, conn *tls.Conn) *pullConn {
	return &pullConn{
		node: n, peer: peer, from: n.conns.guest(peer), conn: conn, in: bufio.NewReaderSize(conn, 16<<10), done: make(chan struct{}),
		asked: make(map[uint64]*asked), served: make(map[uint64]*serving),
	}
}

// send writes one frame.
func (p *pullConn) send(kind byte, id uint64, body []byte) error {
	return p.sendUnless(nil, kind, id, body)
}

// sendUnless is send, unless gone is closed by the time that the frame can be written.
func (p *pullConn) sendUnless(gone <-chan struct{}, kind byte, id uint64, body []byte) error {
	b := make([]byte, pullHead+len(body))
	copy(b[pullHead:], body)
	return p.sendFrameUnless(gone, kind, id, b)
}

// sendFrame writes one frame, in whose front there is room for its head.
func (p *pullConn) sendFrame(kind byte, id uint64, b []byte) error {
	return p.sendFrameUnless(nil, kind, id, b)
}

// sendFrameUnless is sendFrame, unless gone is closed by the time that b can be written.
func (p *pullConn) sendFrameUnless(gone <-chan struct{}, kind byte, id uint64, b []byte) error {
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	b[4] = kind
	binary.BigEndian.PutUint64(b[5:], id)
	p.write.Lock()
	defer p.write.Unlock()
	select {
	case <-gone: // never, if it is nil
		return nil
	default:
	}
	for len(b) > 0 {
		n := min(len(b), pullWrite)
		p.conn.SetWriteDeadline(time.Now().Add(pullWriteTime))
		if _, err := p.conn.Write(b[:n]); err != nil {
			p.close(err)
			return fmt.Errorf("write to %s: %w", p.peer.Short(), err)
		}
		b = b[n:]
	}
	return nil
}

// close ends the connection; every request of this end fails.
func (p *pullConn) close(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = errors.Join(errPullClosed, err)
		close(p.done)
		p.conn.NetConn().Close()
	}
}

// ask begins a request of this end.
func (p *pullConn) ask(kind byte, body []byte) (uint64, *asked, error) {
	id, a, err := p.expect()
	if err != nil {
		return 0, nil, err
	}
	if err := p.send(kind, id, body); err != nil {
		p.forget(id, a)
		return 0, nil, err
	}
	return id, a, nil
}

// askBeside is ask for somebody who must not wait until the connection takes the
// request; false: an earlier one waits for that still.
func (p *pullConn) askBeside(kind byte, body []byte) (uint64, *asked, bool) {
	if !p.beside.CompareAndSwap(false, true) {
		return 0, nil, false
	}
	id, a, err := p.expect()
	if err != nil {
		p.beside.Store(false)
		return 0, nil, false
	}
	p.node.spawn(func() {
		defer p.beside.Store(false)
		if err := p.sendUnless(a.gone, kind, id, body); err != nil {
			p.forget(id, a)
		}
	})
	return id, a, true
}

// expect makes room for the answer of a request that is about to be sent.
func (p *pullConn) expect() (uint64, *asked, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return 0, nil, p.err
	}
	p.next++
	a := &asked{frames: make(chan pullFrame, pullBuffer), gone: make(chan struct{})}
	p.asked[p.next] = a
	return p.next, a, nil
}

func (p *pullConn) forget(id uint64, a *asked) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked[id] == a {
		delete(p.asked, id)
		close(a.gone)
	}
}

// run reads frames until the connection ends.
func (p *pullConn) run() {
	var err error
	for err == nil {
		var f pullFrame
		var id uint64
		if f, id, err = p.read(); err == nil {
			err = p.handle(f, id)
		}
	}
	p.close(err)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.served {
		s.cancel()
	}
	p.served = nil
}

func (p *pullConn) read() (f pullFrame, id uint64, err error) {
	var head [pullHead]byte
	if _, err := io.ReadFull(p.in, head[:]); err != nil {
		return f, 0, err
	}
	size := binary.BigEndian.Uint32(head[:])
	most := uint32(maxPullFrame)
	if p.file {
		most = 9 + 5 + maxPiece
	}
	if size < 9 || size > most {
		p.wrong()
		return f, 0, fmt.Errorf("cluster: a frame of %d bytes, at most %d", size, most)
	}
	f, id = pullFrame{head[4], p.frameBody(int(size - 9))}, binary.BigEndian.Uint64(head[5:])
	if len(f.body) <= pullStep {
		_, err = io.ReadFull(p.in, f.body)
		return f, id, err
	}
	p.mu.Lock()
	a := p.asked[id]
	p.mu.Unlock()
	for rest := f.body; len(rest) > 0 && err == nil; {
		var n int
		n, err = io.ReadFull(p.in, rest[:min(pullStep, len(rest))])
		rest = rest[n:]
		if a != nil {
			a.came.Add(int64(n))
		}
	}
	return f, id, err
}

func (p *pullConn) handle(f pullFrame, id uint64) error {
	switch f.kind {
	case frameData, frameEnd:
		p.mu.Lock()
		a := p.asked[id]
		p.mu.Unlock()
		if a == nil {
			return nil // cancelled
		}
		select {
		case a.frames <- f:
		case <-a.gone:
		case <-p.done:
		}
	case frameRequest, frameLocate, frameStories, framePiece, frameHeads:
		if p.file && f.kind != framePiece {
			p.wrong()
			return fmt.Errorf("cluster: frame of type %d on a connection for files", f.kind)
		}
		return p.serve(f, id)
	case frameCancel:
		p.mu.Lock()
		if s := p.served[id]; s != nil {
			s.cancel()
		}
		p.mu.Unlock()
	default:
		p.wrong()
		return fmt.Errorf("cluster: frame of unknown type %d", f.kind)
	}
	return nil
}
