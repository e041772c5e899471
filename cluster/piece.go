package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/erwik/erwik/storage"
)

// A piece is a part of a file chunk, as one neighbor asks another for it. The
// chunks of records in chunk.go are something else.
const (
	framePiece = 7
	// endAbsent ends the answer to a piece of a chunk that is not there.
	endAbsent = 2

	pieceRequest = len(storage.ChunkID{}) + 8 // chunk, offset, length
	// maxPiece bounds the bytes of one piece.
	maxPiece = 256 << 10
	// maxPieces bounds the pieces that are read from the disk at once for all
	// neighbors; one more waits.
	maxPieces = 4
	// politeTime is how long a piece waits for records that the same neighbor
	// is being sent over the same connection.
	politeTime = 10 * time.Second
)

var (
	errAbsent = errors.New("cluster: the neighbor does not have the chunk")
	errPiece  = errors.New("cluster: the neighbor's answer is no piece of the chunk")
)

// pieceBuffer takes a buffer for n bytes; putPiece gives it back.
func (n *Node) pieceBuffer(size int) []byte {
	if b, ok := n.buffers.Get().(*[]byte); ok && cap(*b) >= size {
		return (*b)[:size]
	}
	return make([]byte, size, max(size, pullHead+5+maxPiece))
}

// frameBody makes room for the body of a frame.
func (p *pullConn) frameBody(size int) []byte {
	if p.file && size > pieceRequest {
		return p.node.pieceBuffer(size)
	}
	return make([]byte, size)
}

func (n *Node) putPiece(b []byte) {
	if cap(b) >= maxPiece {
		n.buffers.Put(&b)
	}
}

// piece answers a request for a piece: an end frame with the chunk's size and
// the bytes. It reports whether the answer was sent.
func (p *pullConn) piece(id uint64, body []byte) (sent bool, err error) {
	if len(body) != pieceRequest {
		return false, errors.New("cluster: not a request for a piece")
	}
	chunk := storage.ChunkID(body)
	at := binary.BigEndian.Uint32(body[len(chunk):])
	length := binary.BigEndian.Uint32(body[len(chunk)+4:])
	if at > storage.FileChunk || length == 0 || length > maxPiece {
		return false, fmt.Errorf("cluster: a piece of %d bytes at %d", length, at)
	}
	p.letRecordsPass()
	n := p.node
	select {
	case n.pieces <- struct{}{}:
		defer func() { <-n.pieces }()
	case <-p.done:
		return true, nil
	}
	const head = pullHead + 5
	b := n.pieceBuffer(head + int(length))
	defer n.putPiece(b)
	got, size, err := n.cfg.Store.ReadPiece(chunk, int64(at), b[head:])
	if errors.Is(err, storage.ErrNotFound) {
		return true, p.send(frameEnd, id, []byte{endAbsent})
	}
	if err != nil {
		return false, err
	}
	b = b[:head+got]
	b[pullHead] = endComplete
	binary.BigEndian.PutUint32(b[pullHead+1:], uint32(size))
	return true, p.sendFrame(frameEnd, id, b)
}

// letRecordsPass waits while the neighbor is being sent records over the same
// connection: pages go before files.
func (p *pullConn) letRecordsPass() {
	for end := time.Now().Add(politeTime); time.Now().Before(end); {
		p.mu.Lock()
		records := false
		for _, s := range p.served {
			records = records || !s.piece
		}
		p.mu.Unlock()
		if !records || p.node.wait(p.node.ctx, 20*time.Millisecond) != nil {
			return
		}
	}
}

// wait lets time pass.
func (n *Node) wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// askPiece asks for a piece and hands its bytes to take, which must not keep
// them. The size is that of the whole chunk.
func (p *pullConn) askPiece(ctx context.Context, chunk storage.ChunkID, at int64, length int, take func(data []byte, size int64) error) error {
	body := make([]byte, 0, pieceRequest)
	body = append(body, chunk[:]...)
	body = binary.BigEndian.AppendUint32(body, uint32(at))
	body = binary.BigEndian.AppendUint32(body, uint32(length))
	request, a, err := p.ask(framePiece, body)
	if err != nil {
		return err
	}
	f, err := a.next(ctx, p)
	p.forget(request, a)
	if err != nil {
		return err
	}
	defer p.node.putPiece(f.body)
	switch {
	case len(f.body) == 1 && f.body[0] == endAbsent:
		return errAbsent
	case len(f.body) < 6 || f.body[0] != endComplete || len(f.body)-5 > length:
		if err := endError(f.body); err != nil && len(f.body) > 0 && f.body[0] == endFailed {
			return err
		}
		p.node.count("file_piece")
		return errPiece
	}
	return take(f.body[5:], int64(binary.BigEndian.Uint32(f.body[1:])))
}
