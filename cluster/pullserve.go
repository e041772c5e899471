package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"github.com/erwik/erwik/cluster/mesh"
	"github.com/erwik/erwik/storage"
)

const (
	requestNoDeltas = 1
	spanSize        = storage.LogIDSize + 16
	maxLocate       = 64

	endComplete = 0
	endFailed   = 1
)

// serve answers a request in a goroutine of its own.
func (p *pullConn) serve(f pullFrame, id uint64) error {
	s := &serving{stop: make(chan struct{}), piece: f.kind == framePiece}
	p.mu.Lock()
	_, twice := p.served[id]
	room := len(p.served) < maxServedConn && (twice || p.from.begin())
	if room && !twice {
		p.served[id] = s
	}
	p.mu.Unlock()
	if twice {
		p.wrong()
		return errors.New("cluster: two requests with one number")
	}
	if p.from.wait(p.done) {
		p.node.blame(p.peer, mesh.DropFlood)
	}
	if !room {
		return p.send(frameEnd, id, append([]byte{endFailed}, "too many pulls at once"...))
	}
	work := func() {
		end := []byte{endComplete}
		var err error
		sent := false
		switch f.kind {
		case frameLocate:
			end, err = p.locate(f.body)
		case frameStories:
			end, err = p.stories(f.body)
		case frameHeads:
			end, err = p.heads(f.body)
		case framePiece:
			sent, err = p.piece(id, f.body)
		default:
			err = p.answer(f.body, id, s.stop)
		}
		if err != nil {
			end = fmt.Appendf([]byte{endFailed}, "%.200s", err)
		}
		if !sent {
			p.send(frameEnd, id, end)
		}
		p.mu.Lock()
		delete(p.served, id)
		p.mu.Unlock()
		p.from.end()
	}
	if p.short(f) {
		work() // as quick as starting a goroutine
	} else {
		p.node.spawn(work)
	}
	return nil
}

// shortAnswer is how many commits are sent by the reading goroutine itself.
const shortAnswer = 2

// short reports whether the answer is a commit or two of one log.
func (p *pullConn) short(f pullFrame) bool {
	if f.kind != frameRequest || len(f.body) != 1+spanSize {
		return false
	}
	spans, err := parseSpans(f.body[1:])
	if err != nil {
		return false
	}
	at := p.node.cfg.Store.Position(spans[0].Log).Sequence
	return at <= spans[0].After+shortAnswer
}

func parseSpans(body []byte) ([]storage.Span, error) {
	if len(body)%spanSize != 0 || len(body) > mesh.MaxRanges*spanSize {
		return nil, fmt.Errorf("cluster: %d bytes are no list of spans", len(body))
	}
	spans := make([]storage.Span, 0, len(body)/spanSize)
	for ; len(body) > 0; body = body[spanSize:] {
		spans = append(spans, storage.Span{
			Log:   storage.LogIDFromBytes(body),
			After: binary.BigEndian.Uint64(body[storage.LogIDSize:]),
			UpTo:  binary.BigEndian.Uint64(body[storage.LogIDSize+8:]),
		})
	}
	return spans, nil
}

func appendSpan(dst []byte, s storage.Span) []byte {
	dst, _ = s.Log.AppendBinary(dst)
	dst = binary.BigEndian.AppendUint64(dst, s.After)
	return binary.BigEndian.AppendUint64(dst, s.UpTo)
}

// answer streams the records of the spans, parents first.
func (p *pullConn) answer(body []byte, id uint64, stop chan struct{}) error {
	if len(body) == 0 || body[0]&^requestNoDeltas != 0 {
		return errors.New("cluster: unknown flags in a request")
	}
	spans, err := parseSpans(body[1:])
	if err != nil {
		return err
	}
	store, recent := p.node.cfg.Store, newContents()
	base := contentOf(func(h storage.Hash) ([]byte, bool) {
		if content, found := recent.get(h); found {
			return content, true
		}
		content, err := store.Content(h)
		return content, err == nil
	})
	if body[0]&requestNoDeltas != 0 {
		base = nil
	}
	chunk, frame := p.node.packer.room(), p.node.packer.room()
	defer func() {
		p.node.packer.giveBack(chunk)
		p.node.packer.giveBack(frame)
	}()
	looked := false
	flush := func() error {
		frame = p.node.packer.pack(append(frame[:0], make([]byte, pullHead)...), chunk)
		if len(frame) > narrowBuffer && !looked {
			looked = true
			p.narrow()
		}
		chunk = chunk[:0]
		return p.sendFrame(frameData, id, frame)
	}
	var failed error
	err = store.Range(spans, func(r storage.Record) bool {
		select {
		case <-stop:
			return false
		case <-p.done:
			return false
		default:
		}
		if len(chunk) > 0 && len(chunk)+len(r.Content)+storage.MaxRecord > maxChunk {
			if failed = flush(); failed != nil {
				return false
			}
		}
		chunk = appendRecord(chunk, r, base)
		recent.add(r)
		if len(chunk) >= chunkTarget {
			failed = flush()
		}
		return failed == nil
	})
	if err == nil {
		err = failed
	}
	if err == nil && len(chunk) > 0 {
		err = flush()
	}
	return err
}

// narrow makes the kernel take little at a time of what goes over a slow link: all
// that it holds delays the frames of the link, which would be taken for dead.
func (p *pullConn) narrow() {
	slow := false
	p.node.do(func(c *mesh.Core, _ mesh.Time) { slow = c.Slow(p.peer) })
	tcp := tcpOf(p.conn)
	p.mu.Lock()
	defer p.mu.Unlock()
	if slow == p.narrowed || tcp == nil {
		return
	}
	size := wideBuffer
	if slow {
		size = narrowBuffer
	}
	if tcp.SetWriteBuffer(size) == nil {
		p.narrowed = slow
	}
}

// tcpOf is the TCP connection below conn, nil if there is none.
func tcpOf(conn net.Conn) *net.TCPConn {
	for {
		if tcp, ok := conn.(*net.TCPConn); ok {
			return tcp
		}
		below, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		conn = below.NetConn()
	}
}

// locate says where commits stand, so that they can be pulled.
func (p *pullConn) locate(body []byte) ([]byte, error) {
	if len(body)%20 != 0 || len(body) > 20*maxLocate {
		return nil, errors.New("cluster: not a list of hashes")
	}
	end := []byte{endComplete}
	for ; len(body) > 0; body = body[20:] {
		c, err := p.node.cfg.Store.Commit(storage.Hash(body[:20]))
		if err != nil {
			continue
		}
		at, err := p.node.cfg.Store.Place(c)
		if err != nil {
			return nil, err
		}
		end = appendSpan(end, storage.Span{Log: at.Log, UpTo: at.Sequence})
	}
	return end, nil
}
