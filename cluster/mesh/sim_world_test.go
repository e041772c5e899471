package mesh

import (
	"container/heap"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"github.com/erwik/erwik/events"
	"github.com/erwik/erwik/storage"
)

// The simulator: one thread, virtual time, own event heap, one seeded source of
// randomness. A world holds nodes with a core and a store each, and the network
// between them.

type happening struct {
	at    Time
	order uint64
	do    func()
}

type agenda []happening

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].order < a[j].order
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(happening)) }
func (a *agenda) Pop() any {
	old := *a
	h := old[len(old)-1]
	old[len(old)-1] = happening{}
	*a = old[:len(old)-1]
	return h
}

// place is one sequence of one log.
type place struct {
	log      storage.LogID
	sequence uint64
}

// simCommit is a commit as the world knows it.
type simCommit struct {
	place
	hash     storage.Hash
	previous storage.Hash // of the same log
	size     int
	admits   storage.NodeID
	acked    Time // 0: the saver never heard that it was saved
	lost     bool // only a lost disk had it
	maker    int
}

type world struct {
	rng    *rand.Rand
	now    Time
	order  uint64
	agenda agenda
	nodes  []*simNode
	byName map[string]*simNode // the first of each name
	pairs  [][]*wirePair       // by index, pairs[i][j] == pairs[j][i]

	tickEvery time.Duration
	unchecked bool // too many nodes to look at all after each step
	noRepair  bool
	watch     bool
	clocks    bool                    // wall clocks jump
	forkers   map[storage.NodeID]bool // may sign two commits for one place
	twins     map[storage.NodeID]bool // live twice
	alarms    map[AlarmKind]int
	copies    map[copyKey]int // quiet seeds: notices by way and commit

	commits map[place]*simCommit
	made    []*simCommit
	trace   uint64
	failure string

	loss, dup, reorder, pullFail float64
	wandered                     bool
	redundant                    int // commits that came to a store that had them
	pulls                        int
	pulled                       int
	notices                      func(from, to *simNode, frame []byte)
	stored                       func(n *simNode, c *simCommit)
	steps                        int
	swarm                        swarm
}

// maxSteps of one seed; the largest take a tenth of it.
const maxSteps = 4_000_000

func newWorld(seed uint64) *world {
	return &world{rng: rand.New(rand.NewPCG(seed, 0x6d657368)), now: Time(time.Hour),
		tickEvery: TickEvery, commits: map[place]*simCommit{},
		alarms: map[AlarmKind]int{}, forkers: map[storage.NodeID]bool{}, twins: map[storage.NodeID]bool{},
		byName: map[string]*simNode{}}
}

func (w *world) fail(format string, args ...any) {
	if w.failure == "" {
		w.failure = fmt.Sprintf("%.3fs: ", w.seconds()) + fmt.Sprintf(format, args...)
	}
}

func (w *world) seconds() float64 { return time.Duration(w.now - Time(time.Hour)).Seconds() }

func (w *world) in(d time.Duration, do func()) { w.at(w.now.Add(d), do) }

func (w *world) at(t Time, do func()) {
	w.order++
	heap.Push(&w.agenda, happening{max(t, w.now), w.order, do})
}

// run lets d pass, or less if something failed.
func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	for w.failure == "" && len(w.agenda) > 0 && w.agenda[0].at <= end {
		h := heap.Pop(&w.agenda).(happening)
		w.now = h.at
		if w.steps++; w.steps > maxSteps && !w.unchecked {
			w.fail("more than %d steps: something goes round and round", maxSteps)
		}
		h.do()
	}
	w.now = max(w.now, end)
}

// until runs in steps until done or limit.
func (w *world) until(limit, step time.Duration, done func() bool) bool {
	for end := w.now.Add(limit); w.now < end; {
		if w.failure != "" {
			return false
		}
		if done() {
			return true
		}
		w.run(step)
	}
	return w.failure == "" && done()
}

func (w *world) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

func (w *world) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(w.rng.Int64N(int64(hi-lo)+1))
}

func (w *world) mix(parts ...[]byte) {
	h := fnv.New64a()
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], w.trace)
	binary.BigEndian.PutUint64(b[8:], uint64(w.now))
	h.Write(b[:])
	for _, p := range parts {
		h.Write(p)
	}
	w.trace = h.Sum64()
}

// fakeSig is a signature that costs little: a hash of who and what.
func fakeSig(id storage.NodeID, message []byte) (sig [events.SignatureSize]byte) {
	h := uint64(14695981039346656037)
	for _, b := range id[:8] {
		h = (h ^ uint64(b)) * 1099511628211
	}
	for len(message) >= 8 {
		h = (h ^ binary.LittleEndian.Uint64(message)) * 1099511628211
		h ^= h >> 29
		message = message[8:]
	}
	for _, b := range message {
		h = (h ^ uint64(b)) * 1099511628211
	}
	for i := range 8 {
		binary.BigEndian.PutUint64(sig[8*i:], h+uint64(i))
	}
	return sig
}

func fakeVerify(id storage.NodeID, message []byte, sig *[events.SignatureSize]byte) bool {
	return fakeSig(id, message) == *sig
}

// wirePair is what lies between two nodes.
type wirePair struct {
	a, b    *simNode
	exists  bool
	latency time.Duration
	built   time.Duration // latency at first
	rate    int64         // bytes a second in each direction
	// by direction: 0 = a to b, 1 = b to a
	busy    [2]Time
	arrived [2]Time // of the last frame: the wire keeps the order
	blocked [2]bool
	clogged [2]bool
	stuck   [2][]func() // what waits where it is clogged
	epoch   int
	up      bool
	upSince Time
	bytes   [2]int64
	frames  int
}

const frameOverhead = 94 // IP, TCP, TLS, NATS
const tcpAck = 52

func (w *world) pair(a, b *simNode) *wirePair { return w.pairs[a.index][b.index] }

func (p *wirePair) dir(from *simNode) int {
	if from == p.a {
		return 0
	}
	return 1
}

func (p *wirePair) other(n *simNode) *simNode {
	if n == p.a {
		return p.b
	}
	return p.a
}

func (p *wirePair) slow() bool { return p.rate < 4000 }

// transmit puts bytes on the wire and says when they arrive.
func (w *world) transmit(p *wirePair, from *simNode, bytes int) Time {
	d := p.dir(from)
	start := max(w.now, p.busy[d])
	took := time.Duration(int64(bytes) * int64(time.Second) / p.rate)
	p.busy[d] = start.Add(took)
	p.bytes[d] += int64(bytes)
	p.bytes[1-d] += tcpAck
	p.arrived[d] = max(p.arrived[d], p.busy[d].Add(p.latency))
	return p.arrived[d]
}
