package cluster

import (
	"sync"
	"time"

	"github.com/erwik/erwik/cluster/mesh"
	"github.com/erwik/erwik/storage"
)

// foreseeWithin is the longest round trip of a link on which a commit is asked for
// before its notice is checked. On longer ones a relay may be quicker, and what
// the origin is asked for travels in vain.
const foreseeWithin = 20 * time.Millisecond

// foresight keeps the commit that came along with its notice for the pull that
// the notice leads to. Where none came, it asks the origin for the one commit of
// its notice before the core has checked the notice's signature: on a quick
// link the answer arrives meanwhile. It decides nothing. If the core pulls just that from just there,
// the pull takes the answer; if not, the next notice throws it away. Each
// neighbor has at most one such request, of one commit.
type foresight struct {
	mu    sync.Mutex
	asked map[storage.NodeID]*foreseen
	busy  map[storage.LogID]int // pulls under way
}

type foreseen struct {
	conn  *pullConn
	id    uint64
	asked *asked
	span  storage.Span
	start time.Time

	carried []byte // came with the notice; then nothing was asked
}

func (s *foreseen) forget() {
	if s != nil && s.conn != nil {
		s.conn.forget(s.id, s.asked)
	}
}

func (f *foresight) init() {
	f.asked = make(map[storage.NodeID]*foreseen)
	f.busy = make(map[storage.LogID]int)
}

// foresee looks at a frame that is about to go to the core.
func (n *Node) foresee(peer storage.NodeID, frame []byte) {
	commit, carried, ok := mesh.FirstCommit(frame)
	log, sequence := commit.Log, commit.Sequence
	if !ok || log.Node != peer && carried == nil {
		return
	}
	if at := n.cfg.Store.Position(log); at.Sequence+1 != sequence || at.Closed {
		return
	}
	n.conns.mu.Lock()
	conn, rtt := n.conns.pulls[peer], n.conns.linked[peer]
	n.conns.mu.Unlock()
	f := &n.foresight
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.asked[peer]
	if carried != nil && f.busy[log] == 0 {
		body, err := n.packer.restore(carried, log, commit.Hash)
		if err != nil {
			n.count("carried")
			return
		}
		old.forget()
		f.asked[peer] = &foreseen{span: storage.Span{Log: log, After: sequence - 1, UpTo: sequence}, carried: body, start: time.Now()}
		return
	}
	if conn == nil || rtt > foreseeWithin || f.busy[log] > 0 || old != nil && old.conn == conn && old.span.Log == log && old.span.UpTo == sequence {
		return
	}
	span := storage.Span{Log: log, After: sequence - 1, UpTo: sequence}
	s := &foreseen{conn: conn, span: span, start: time.Now()}
	if s.id, s.asked, ok = conn.askBeside(frameRequest, appendSpan([]byte{0}, span)); !ok { // frames of other neighbors wait behind this one
		return
	}
	old.forget()
	f.asked[peer] = s
}

// take begins a pull: it returns the request that was foreseen for it, nil if
// there is none. done ends the pull.
func (f *foresight) take(p mesh.Pull) (found *foreseen, done func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range p.Ranges {
		f.busy[r.Log]++
	}
	done = func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, r := range p.Ranges {
			if f.busy[r.Log]--; f.busy[r.Log] == 0 {
				delete(f.busy, r.Log)
			}
		}
	}
	s := f.asked[p.From]
	if s == nil || len(p.Ranges) != 1 || p.Ranges[0].Log != s.span.Log || p.Ranges[0].After != s.span.After || p.Ranges[0].Upto != s.span.UpTo {
		return nil, done
	}
	delete(f.asked, p.From)
	return s, done
}

// forget throws away what was foreseen of peer.
func (f *foresight) forget(peer storage.NodeID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.asked[peer]; s != nil {
		s.forget()
		delete(f.asked, peer)
	}
}
