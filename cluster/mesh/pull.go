package mesh

import (
	"slices"
	"time"

	"github.com/erwik/erwik/cluster/mesh/planted"
	"github.com/erwik/erwik/storage"
)

// pull is one open pull.
type pull struct {
	id       uint64
	from     *node
	logs     []*logState
	ranges   []Range
	started  Time
	progress Time          // when last enough came
	moved    Time          // when anything last came
	came     int           // bytes since progress
	total    int           // bytes
	begun    bool          // something came
	expected time.Duration // until something comes
	also     []*node       // other sources of a big range
	rival    *pull         // another pull of the same, until one of them brings something
}

// pullBook holds the open pulls and what is still to be asked for.
type pullBook struct {
	open     []*pull // by id
	wanted   []*logState
	due      bool // wanted must be looked at
	retryAt  Time // earliest retry in wanted, 0 if none
	nextID   uint64
	closedAt Time          // when a pull of many commits ended last, 0 if none did
	average  int64         // bytes that a commit takes on the wire
	late     time.Duration // smoothed: how much later than expected pulls have begun
	hedges   int           // hedgeShare for each commit that a second source may be asked for
}

func (b *pullBook) init() { b.average, b.hedges = 512, hedgesFirst*hedgeShare }

func (b *pullBook) find(id uint64) *pull {
	for _, p := range b.open {
		if p.id == id {
			return p
		}
	}
	return nil
}

// source is the neighbor from which l is being pulled, nil if from none.
func (b *pullBook) source(l *logState) *node {
	if p := b.find(l.pull); p != nil && l.pull != 0 {
		return p.from
	}
	return nil
}

// progressed notes that something of l came.
func (b *pullBook) progressed(now Time, l *logState) {
	if p := b.find(l.pull); p != nil && l.pull != 0 {
		p.progress, p.moved, p.came = now, now, 0
		if !p.begun && p.rival == nil { // else the shell says which of the two it was
			b.noteBegin(now, p)
			p.begun = true
		}
	}
}

func (b *pullBook) count(from *node) (n int) {
	for _, p := range b.open {
		if p.from == from {
			n++
		}
	}
	return n
}

// want asks for what is missing of l, soon.
func (c *Core) want(l *logState) {
	if l.closed {
		return
	}
	if l.pull != 0 {
		c.considerFaster(l)
		if p := c.pulls.find(l.pull); p != nil {
			c.share(p)
		}
		return
	}
	if !l.wanted {
		l.wanted = true
		c.pulls.wanted = append(c.pulls.wanted, l)
	}
	c.pulls.due = true
}

// expected is how long a pull of that many commits from n should take.
func (c *Core) expected(n *node, commits uint64) time.Duration {
	l := n.link
	bps := l.bps
	if bps == 0 {
		bps = 10 << 20
		if l.slow {
			bps = 250
		}
	}
	bytes := int64(min(commits, 1<<20))*c.pulls.average + 150
	d := l.rtt() + time.Duration(bytes*int64(time.Second/time.Microsecond)/bps)*time.Microsecond
	if l.slow {
		d = max(d, slowFrom)
	}
	return d
}

// begins notes that a pull is sent to n, and returns how long it should take until
// its first commit comes, with the time to connect if it is the first pull.
func (c *Core) begins(n *node) time.Duration {
	d := c.expected(n, 1)
	if !n.link.asked {
		d += connectTime + 2*n.link.rtt()
	}
	n.link.asked = true
	return d
}

// bestSource is the neighbor from which what is missing of l should come first;
// nil if no usable one has it. busy means that one has it and must not be asked
// for more just now.
func (c *Core) bestSource(l *logState, shunned []int) (best *node, busy bool) {
	var least time.Duration
	for _, n := range c.nodes.order {
		if n.link == nil || !n.link.usable() || n.holding(l) <= l.held || l.origin.forked && n.id == l.id.Node || slices.Contains(shunned, n.slot) {
			continue
		}
		if d := c.expected(n, n.holding(l)-l.held); best == nil || d < least {
			best, least = n, d
		}
	}
	if best != nil {
		limit := MaxPullsPeer
		if best.link.slow {
			limit = 1
		}
		busy = c.pulls.count(best) >= limit
	}
	return best, busy
}

// considerFaster moves an open pull of l to a much faster neighbor.
func (c *Core) considerFaster(l *logState) {
	p := c.pulls.find(l.pull)
	if p == nil || !p.from.link.slow || p.rival != nil {
		return
	}
	patience, slowAt := p.patience(), p.from.link.slowAt
	if c.now.Sub(slowAt) < heartbeatNew { // it may be a hiccup
		patience = max(4*patience, hiccupFor)
	}
	if c.now.Sub(max(p.started, slowAt)) < patience {
		return
	}
	best, _ := c.bestSource(l, l.shunned)
	if best == nil || best == p.from || best.link.slow {
		return
	}
	if 2*c.expected(best, best.holding(l)-l.held) < c.expected(p.from, max(p.from.holding(l), l.held)-l.held) {
		c.out.Cancel = append(c.out.Cancel, p.id)
		c.closePull(p)
		for _, again := range p.logs {
			c.want(again)
		}
	}
}

// dispatch hands out pulls for what is wanted.
func (c *Core) dispatch() {
	b := &c.pulls
	if !b.due && (b.retryAt == 0 || c.now < b.retryAt) {
		return
	}
	b.due, b.retryAt = false, 0
	keep := b.wanted[:0]
	var made []*pull
	for _, l := range b.wanted {
		if c.assign(l, &made) {
			keep = append(keep, l)
		} else {
			l.wanted = false
		}
	}
	clear(b.wanted[len(keep):])
	b.wanted = keep
	for _, p := range made {
		p.expected = c.begins(p.from)
		b.hedges = min(b.hedges+p.commits(), hedgesMost*hedgeShare)
		c.count.Pulls++
		c.out.Pull = append(c.out.Pull, Pull{ID: p.id, From: p.from.id, Ranges: p.ranges, Big: p.big() && !p.from.link.slow})
		c.share(p)
	}
}

// assign finds a pull for l. It reports whether l must go on waiting.
func (c *Core) assign(l *logState, made *[]*pull) bool {
	b := &c.pulls
	if l.pull != 0 || l.closed || !c.taken(l.id.Node) {
		return false
	}
	if at := max(l.retryAt, l.awaits); c.now < at {
		b.retry(at)
		return true
	}
	best, busy := c.bestSource(l, l.shunned)
	if best == nil && len(l.shunned) > 0 {
		l.shunned = nil // everybody failed: begin again, but wait
		wait := min(100*time.Millisecond<<min(l.failures, 12), pullBackoff)
		l.retryAt = c.now.Add(wait/2 + c.jitter(wait/2))
		b.retry(l.retryAt)
		best, _ = c.bestSource(l, nil)
		return best != nil
	}
	if best == nil {
		return false
	}
	part := Range{Log: l.id, After: l.held, Upto: best.holding(l)}
	if planted.Now == planted.PullFromStart {
		part.After = 0
	}
	for _, p := range *made {
		if p.from == best && len(p.ranges) < MaxRanges && !p.big() && part.Upto-part.After < SplitFrom {
			p.ranges = append(p.ranges, part)
			p.logs = append(p.logs, l)
			l.pull = p.id
			return false
		}
	}
	if busy || len(b.open) >= MaxPulls {
		return true // looked at again when a pull is over
	}
	b.nextID++
	p := &pull{id: b.nextID, from: best, logs: []*logState{l}, ranges: []Range{part}, started: c.now, progress: c.now, moved: c.now}
	l.pull = p.id
	b.open = append(b.open, p)
	*made = append(*made, p)
	return false
}

func (b *pullBook) retry(at Time) {
	if b.retryAt == 0 || at < b.retryAt {
		b.retryAt = at
	}
}

// closePull forgets an open pull. If it has a rival, that one goes on.
func (c *Core) closePull(p *pull) {
	c.pulls.open = slices.DeleteFunc(c.pulls.open, func(o *pull) bool { return o == p })
	heir := uint64(0)
	if p.rival != nil {
		heir = p.rival.id
		p.rival.rival, p.rival = nil, nil
	}
	for _, l := range p.logs {
		l.pull = heir
	}
	c.pulls.due = true
	if c.bulk(p) {
		c.pulls.closedAt = c.now
	}
}

func (c *Core) pullProgress(id uint64, bytes int) {
	p := c.pulls.find(id)
	if p == nil || bytes <= 0 {
		return
	}
	c.begin(p)
	p.moved = c.now
	p.total = min(p.total+min(bytes, 1<<29), 1<<30) // times pullHealthy fits
	if p.came += min(bytes, leastProgress); p.came >= leastProgress || p.from.link.slow {
		p.progress, p.came = c.now, 0
	}
}

func (c *Core) pullDone(id uint64, bytes int, took time.Duration) {
	p := c.pulls.find(id)
	if p == nil {
		return
	}
	c.begin(p)
	c.closePull(p)
	var commits int64
	for i, l := range p.logs {
		commits += int64(l.held - min(p.ranges[i].After, l.held))
	}
	for i, l := range p.logs {
		switch {
		case l.held >= p.ranges[i].Upto:
			l.failures, l.shunned = 0, nil
		case commits > 0 && planted.Now != planted.ShortIsAll: // a part; go on
		default: // it does not have what it said
			c.setHolding(p.from, l, min(p.from.holding(l), l.held))
			c.failed(l, p.from)
		}
		c.wantMore(l)
	}
	c.measurePull(p.from.link, int64(bytes), took, commits)
	if l := p.from.link; l.slow && len(l.queue.soft) > 0 {
		l.queue.urgent = true // the neighbor waits to hear that we have it: see gate
		c.touch(l)
	}
}

// measurePull learns from a finished pull how fast a link is.
func (c *Core) measurePull(l *link, bytes int64, took time.Duration, commits int64) {
	if bytes <= 0 || took <= 0 || commits <= 0 {
		return
	}
	c.pulls.average += (bytes/commits - c.pulls.average) / 8
	c.pulls.average = max(c.pulls.average, 64)
	rest := max(took-l.rtt(), took/8, time.Microsecond)
	speed := max(bytes*int64(time.Second/time.Microsecond)/max(int64(rest/time.Microsecond), 1), 1)
	switch {
	case bytes < 512 && !l.slow:
	case l.bps == 0:
		l.bps = speed
	default:
		l.bps = max(l.bps+(speed-l.bps)/4, 1)
	}
	sample := took
	if bytes > 1024 && took > l.rtt() {
		sample = l.rtt() + (took-l.rtt())*1024/time.Duration(bytes)
	}
	l.pulledAt = c.now
	if l.pullTime == 0 {
		l.pullTime = sample
	} else {
		l.pullTime = max(l.pullTime+(sample-l.pullTime)/4, 1)
	}
}

func (c *Core) pullFailed(id uint64) {
	p := c.pulls.find(id)
	if p == nil {
		return
	}
	c.count.PullsFailed++
	c.closePull(p)
	for _, l := range p.logs {
		c.failed(l, p.from)
		if planted.Now != planted.PullNeverRetried {
			c.wantMore(l)
		}
	}
}

// failed remembers that from did not give l.
func (c *Core) failed(l *logState, from *node) {
	l.failures++
	if !slices.Contains(l.shunned, from.slot) {
		l.shunned = append(l.shunned, from.slot)
	}
}

// wantMore asks again if somebody still holds more of l.
func (c *Core) wantMore(l *logState) {
	for _, n := range c.nodes.order {
		if n.link != nil && n.link.usable() && n.holding(l) > l.held {
			c.want(l)
			return
		}
	}
}

// pullsBroken gives up the pulls from a neighbor that is gone.
func (c *Core) pullsBroken(n *node) {
	for _, p := range slices.Clone(c.pulls.open) {
		p.also = slices.DeleteFunc(p.also, func(o *node) bool { return o == n })
		if p.from == n && len(p.also) > 0 { // the others go on
			p.from, p.also = p.also[0], p.also[1:]
			continue
		}
		if p.from == n {
			c.out.Cancel = append(c.out.Cancel, p.id)
			c.closePull(p)
			for _, l := range p.logs {
				c.wantMore(l)
			}
		}
	}
}

// tickPulls gives up pulls that stand still, and such as dribble while another
// neighbor has the same.
func (c *Core) tickPulls() {
	c.tickHedges()
	for _, p := range slices.Clone(c.pulls.open) {
		if planted.Now == planted.StalledPullKept {
			break
		}
		limit := pullHealthy
		if p.from.link.slow {
			limit = pullSlow
			for _, l := range p.logs {
				c.considerFaster(l)
			}
		} else if c.now.Sub(p.progress) > pullHealthy/2 {
			c.probe(p.from.link)
		}
		if c.pulls.find(p.id) == nil {
			continue
		}
		limit = max(limit, 4*p.expected)
		still := c.now.Sub(p.progress) > limit
		if still && c.now.Sub(p.moved) > limit || (still || c.dribbles(p)) && c.elsewhere(p) {
			c.out.Cancel = append(c.out.Cancel, p.id)
			c.pullFailed(p.id)
		}
	}
}

// probe has a link measured now: a pull that stands still may have found it slow
// before a heartbeat has.
func (c *Core) probe(l *link) {
	if l.usable() && l.flight == nil && c.now.Sub(l.probedAt) > pullHealthy {
		l.probedAt = c.now
		l.queue.beat = true
		c.touch(l)
	}
}

// elsewhere reports whether p is no loss: nothing is missing of what it asks for,
// or another neighbor could bring more of a log of it sooner than one that
// dribbles. What only p's source has is asked for again, alone.
func (c *Core) elsewhere(p *pull) bool {
	lacks := false
	for i, l := range p.logs {
		if l.held >= p.ranges[i].Upto {
			continue
		}
		lacks = true
		for _, n := range c.nodes.order {
			if n != p.from && c.lends(n, l) {
				return true
			}
		}
	}
	return !lacks
}

// lends reports whether a neighbor has more of l than is here, and a link that
// carries more than a dribble.
func (c *Core) lends(n *node, l *logState) bool {
	if n.link == nil || !n.link.usable() || n.holding(l) <= l.held || slices.Contains(l.shunned, n.slot) || l.origin.forked && n.id == l.id.Node {
		return false
	}
	return !n.link.slow || n.link.bps > leastProgress*int64(time.Second)/int64(pullHealthy)
}

// dribbles reports whether p has brought so little, over a healthy link and for so
// long, that another source should be asked.
func (c *Core) dribbles(p *pull) bool {
	age := c.now.Sub(p.started)
	return !p.from.link.slow && age > dribbleFrom && int64(p.total)*int64(pullHealthy) < leastProgress*int64(age)
}

// Sources returns who is known to hold a commit of log at sequence or beyond,
// best source first; for reads through to a neighbor.
func (c *Core) Sources(log storage.LogID, sequence uint64) []storage.NodeID {
	l := c.vector.byID[log]
	if l == nil {
		return nil
	}
	var found []*node
	for _, n := range c.nodes.order {
		if n.link != nil && n.link.usable() && n.holding(l) >= sequence {
			found = append(found, n)
		}
	}
	slices.SortStableFunc(found, func(a, b *node) int { return int(c.expected(a, 1) - c.expected(b, 1)) })
	ids := make([]storage.NodeID, len(found))
	for i, n := range found {
		ids[i] = n.id
	}
	return ids
}
