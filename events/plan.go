package events

// Copy is one copy of an event: to which neighbor, and whom it leaves open.
// Everybody else is on its exclusion list.
type Copy struct {
	To   int
	Open Set
	// Slow marks the origin's own copy to a neighbor that a relay serves too.
	Slow bool
}

// Plan says which neighbors get a copy. Copies are in ascending order of To.
type Plan struct {
	Copies []Copy
	// Lost are the nodes of the set to which no path is known. They are open in
	// every copy, so that a node which knows a path can tell them; who sends the
	// copies may leave them open in few.
	Lost Set
}

// label is one way to a node: first hop, node before it, and scaled cost.
type label struct {
	cost   uint64
	first  int32
	before int32
	set    bool
	done   bool
}

// planner is the working memory of one Plan call.
type planner struct {
	*Graph
	self   int
	tell   Set
	labels [][2]label // the best way, and the best by another first hop
	ways   spots      // those of labels that are not passed on, and some that are no more
}

const (
	ownScale   = 2 // own links count at cost / 1.5: 2 against 3
	otherScale = 3
)

// Plan finds the shortest-path tree from self over the nodes of tell (self is
// none of them) and says which neighbor of self gets a copy and whom that copy
// leaves open: the nodes below it. Own links count at two thirds of their cost,
// so a relay must be half as fast again. Ties go to the own link, then to the
// smaller id.
//
// The origin covers itself against relays that fail: a neighbor that a relay
// serves gets a slow direct copy too (see slowCopies), and a node without a link
// to the origin is left open in two copies with different first hops where there
// are two. Others don't, so that it takes 2N copies in all, or hardly more, however
// far nodes are.
//
// Where tell is cut off by nodes that are not in it, those of via pass the copy
// on: they hold the event and get it only for the sake of its list.
func (g *Graph) Plan(self int, tell, via *Set, origin bool) Plan {
	p := planner{Graph: g, self: self, tell: *tell, labels: make([][2]label, g.N)}
	p.tell.Remove(self)
	p.spread()
	copies := make(map[int]*Copy, 8)
	get := func(to int) *Copy {
		if copies[to] == nil {
			copies[to] = &Copy{To: to}
		}
		return copies[to]
	}
	var plan Plan
	var slow []int
	for v := range p.tell.All() {
		best, other := p.labels[v][0], p.labels[v][1]
		if !best.set {
			plan.Lost.Add(v)
			continue
		}
		if int(best.first) == v {
			get(v)
			continue
		}
		get(int(best.first)).Open.Add(v)
		if other.set && origin && p.Cost(self, v) == 0 {
			p.way(v, 1, &get(int(other.first)).Open)
		}
		if origin && p.Cost(self, v) != 0 {
			slow = append(slow, v)
		}
	}
	p.slowCopies(slow, copies)
	if !plan.Lost.Empty() && via != nil {
		p.detour(via, &plan.Lost, get)
	}
	for to := range g.N {
		if c := copies[to]; c != nil {
			c.Open.AddAll(&plan.Lost)
			c.Open.Remove(to)
			plan.Copies = append(plan.Copies, *c)
		}
	}
	return plan
}

// spread finds up to two ways to each node of tell, cheapest first.
func (p *planner) spread() {
	for _, h := range p.hops[p.self] {
		if p.tell.Has(int(h.to)) {
			p.offer(int(h.to), label{cost: uint64(h.cost) * ownScale, first: h.to, before: int32(p.self), set: true})
		}
	}
	for {
		v, k := p.cheapest()
		if v < 0 {
			return
		}
		l := &p.labels[v][k]
		l.done = true
		direct := p.labels[v][0].set && int(p.labels[v][0].first) == v
		if direct && k == 1 || !direct && int(l.first) == v {
			continue // only those that are served directly pass anything on, and only as themselves
		}
		for _, h := range p.hops[v] {
			if p.tell.Has(int(h.to)) {
				p.offer(int(h.to), label{cost: l.cost + uint64(h.cost)*otherScale, first: l.first, before: int32(v), set: true})
			}
		}
	}
}

// cheapest picks the next way that is not passed on yet, -1 if there is none.
func (p *planner) cheapest() (node, which int) {
	for len(p.ways) > 0 {
		s := p.ways.pop()
		v := int(s.order % MaxPool)
		for k := range 2 {
			if l := &p.labels[v][k]; l.set && !l.done && p.spot(l, v) == s {
				return v, k
			}
		}
	}
	return -1, 0
}

// spot is the place of a way to v among all.
func (p *planner) spot(l *label, v int) spot {
	const ranks = 2 * MaxPool
	relayed := uint64(1)
	if int(l.first) == v {
		relayed = 0
	}
	order := uint64(p.Rank[l.first])*ranks + uint64(p.Rank[l.before])
	return spot{l.cost*2 + relayed, (order*ranks+uint64(p.Rank[v]))*MaxPool + uint64(v)}
}

// less orders ways to (possibly different) nodes: the cheaper, then the own link,
// then by ids.
func (p *planner) less(a *label, av int, b *label, bv int) bool {
	if a.cost != b.cost {
		return a.cost < b.cost
	}
	return p.spot(a, av).before(p.spot(b, bv))
}

// offer keeps l if it is one of the two best ways to v by their first hops.
func (p *planner) offer(v int, l label) {
	if p.keep(v, l) {
		p.ways.push(p.spot(&l, v))
	}
}

func (p *planner) keep(v int, l label) bool {
	w := &p.labels[v]
	for k := range 2 {
		if w[k].set && w[k].first == l.first {
			if w[k].done || !p.less(&l, v, &w[k], v) {
				return false
			}
			w[k] = l
			if k == 1 && !w[0].done && p.less(&w[1], v, &w[0], v) {
				w[0], w[1] = w[1], w[0]
			}
			return true
		}
	}
	switch {
	case !w[0].set:
		w[0] = l
	case !w[0].done && p.less(&l, v, &w[0], v):
		if int(w[0].first) != v || !w[1].set {
			w[1] = w[0]
		}
		w[0] = l
	case !w[1].set || int(w[1].first) == v || !w[1].done && p.less(&l, v, &w[1], v):
		w[1] = l // no other way begins with the own link to v
	default:
		return false
	}
	return true
}

// slowCopies adds the origin's own copies to neighbors that a relay serves. Such
// a copy leaves open whom the relay will leave open to that neighbor: which of
// them comes first does not matter then, and nobody below is told twice. Beside
// that it leaves open the nodes below it in the origin's tree to which the origin
// has no link of its own.
func (p *planner) slowCopies(slow []int, copies map[int]*Copy) {
	if len(slow) == 0 {
		return
	}
	for _, v := range slow {
		copies[v] = &Copy{To: v, Slow: true}
		p.below(v, &copies[v].Open)
	}
	left := make(map[int]*Set, p.N)
	relay := planner{Graph: p.Graph, labels: make([][2]label, p.N)}
	for to := range p.N {
		if c := copies[to]; c != nil && !c.Slow {
			relay.leave(to, c.Open, left)
		}
	}
	for _, v := range slow {
		if left[v] != nil {
			copies[v].Open.AddAll(left[v])
		}
	}
}

// leave finds whom relays leave open to each node when one of them is left open
// to self: they plan by the same table.
func (p *planner) leave(self int, open Set, left map[int]*Set) {
	for v := range p.tell.All() { // of the plan before
		p.labels[v] = [2]label{}
	}
	p.self, p.tell, p.ways = self, open, p.ways[:0]
	p.spread()
	copies := make(map[int]*Set, 8)
	for v := range open.All() {
		best := p.labels[v][0]
		if to := int(best.first); best.set && to != v {
			if copies[to] == nil {
				copies[to] = &Set{}
			}
			copies[to].Add(v)
		}
	}
	for to := range p.N {
		names := copies[to]
		if names == nil {
			continue
		}
		if left[to] == nil {
			left[to] = &Set{}
		}
		names.RemoveAll(left[to]) // a node passes each name on once
		if !names.Empty() {
			left[to].AddAll(names)
			p.leave(to, *names, left)
		}
	}
}

// way adds to open v and the nodes through which way k leads from its first hop:
// without them that one might count on somebody who counts on it.
func (p *planner) way(v, k int, open *Set) {
	first := p.labels[v][k].first
	for range p.N {
		open.Add(v)
		v = int(p.labels[v][k].before)
		if v == int(first) || v == p.self {
			return
		}
		k = 0
		if p.labels[v][0].first != first {
			k = 1
		}
	}
}

// below adds to open the nodes that the tree serves through v and to which self has
// no link.
func (p *planner) below(v int, open *Set) {
	for u := range p.tell.All() {
		if p.Cost(p.self, u) != 0 {
			continue
		}
		at := u
		for range p.N {
			l := p.labels[at][0]
			if !l.set || int(l.first) == at {
				break
			}
			at = int(l.before)
			if at == v {
				open.Add(u)
				break
			}
		}
	}
}

// detour finds ways to lost nodes through nodes of via, and takes them out.
func (p *planner) detour(via, lost *Set, get func(int) *Copy) {
	all := p.tell
	all.AddAll(via)
	all.Remove(p.self)
	q := planner{Graph: p.Graph, self: p.self, tell: all, labels: make([][2]label, p.N)}
	q.spread()
	for v := range lost.All() {
		if l := q.labels[v][0]; l.set {
			get(int(l.first)).Open.Add(v)
			lost.Remove(v)
		}
	}
}
