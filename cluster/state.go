package cluster

import (
	"context"
	"maps"
	"net"
	"slices"
	"sync"

	"github.com/erwik/erwik/cluster/mesh"
	"github.com/erwik/erwik/events"
	"github.com/erwik/erwik/storage"
)

// state is what outsiders ask for without going through the loop.
type state struct {
	mu        sync.Mutex
	member    bool // was ever a member of a mesh of more than itself
	joinError error
	addresses []string // own, best first
	counters  map[string]uint64
	cancels   map[uint64]context.CancelFunc // of open pulls
	splits    map[uint64]*splitPull         // of open pulls that are shared out
	shares    map[uint64][]storage.NodeID   // sources of pulls that have not begun yet
	digging   map[storage.LogID]bool        // logs whose fork is looked for
}

func (s *state) init() {
	s.counters = make(map[string]uint64)
	s.cancels = make(map[uint64]context.CancelFunc)
	s.splits = make(map[uint64]*splitPull)
	s.shares = make(map[uint64][]storage.NodeID)
	s.digging = make(map[storage.LogID]bool)
}

func (s *state) ownAddresses() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.addresses)
}

// sawOwn notes an own address by which a neighbor is reached, unless the
// operator or the listener has said which one it is.
func (n *Node) sawOwn(local net.Addr) {
	tcp, ok := local.(*net.TCPAddr)
	host, port, err := net.SplitHostPort(n.cfg.Listen)
	if !ok || err != nil || n.cfg.Advertise != "" || host != "" && !net.ParseIP(host).IsUnspecified() {
		return
	}
	address := net.JoinHostPort(tcp.IP.String(), port)
	n.state.mu.Lock()
	known := slices.Contains(n.state.addresses, address) || len(n.state.addresses) >= events.MaxAddresses
	if !known {
		n.state.addresses = append(n.state.addresses, address)
	}
	n.state.mu.Unlock()
	if !known {
		n.put(func(c *mesh.Core, now mesh.Time) {
			if err := n.setSelf(c, now); err != nil {
				n.log.Error("own address", "err", err)
			}
		})
	}
}

func (n *Node) joined() {
	n.state.mu.Lock()
	defer n.state.mu.Unlock()
	n.state.member, n.state.joinError = true, nil
}

func (n *Node) setJoinError(err error) {
	n.state.mu.Lock()
	defer n.state.mu.Unlock()
	n.state.joinError = err
}

// Ready reports whether the node may be used: it was asked to join nobody, or
// has joined, or ever was a member. The error says why not.
func (n *Node) Ready() (bool, error) {
	n.state.mu.Lock()
	defer n.state.mu.Unlock()
	return n.state.member || len(n.cfg.Join) == 0, n.state.joinError
}

func (n *Node) count(reason string) { n.countN(reason, 1) }

func (n *Node) countN(reason string, times int) {
	n.state.mu.Lock()
	defer n.state.mu.Unlock()
	n.state.counters[reason] += uint64(times)
}

// Dropped returns how often something from outside was not used, by reason.
func (n *Node) Dropped() map[string]uint64 {
	n.state.mu.Lock()
	all := maps.Clone(n.state.counters)
	n.state.mu.Unlock()
	n.do(func(c *mesh.Core, _ mesh.Time) {
		for key, times := range c.Drops() {
			all["event_"+string(key.Reason)] += times
		}
	})
	return all
}

func (n *Node) beginPull(id uint64) context.Context {
	ctx, cancel := context.WithCancel(n.ctx)
	n.state.mu.Lock()
	defer n.state.mu.Unlock()
	n.state.cancels[id] = cancel
	return ctx
}

func (n *Node) cancelPull(id uint64) {
	n.state.mu.Lock()
	cancel := n.state.cancels[id]
	delete(n.state.cancels, id)
	delete(n.state.shares, id)
	n.state.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}

func (n *Node) endPull(id uint64) { n.cancelPull(id) }

func sortHeads(heads []mesh.Head) {
	slices.SortFunc(heads, func(a, b mesh.Head) int { return storage.LogID.Compare(a.Log, b.Log) })
}
