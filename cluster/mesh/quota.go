package mesh

import (
	"fmt"
	"time"

	"github.com/erwik/erwik/storage"
)

// quota is what one neighbor may make this node do in one second.
type quota struct {
	until  Time // when the next second begins
	checks int
	frames int
	bytes  int
	items  int
	over   bool // something was refused in this second
}

// spend takes from one of the quotas of a link. What is over it is dropped and
// counted, and the vectors tell of it later.
func (c *Core) spend(l *link, used *int, by, most int) bool {
	q := &l.quota
	if c.now >= q.until {
		*q = quota{until: c.now.Add(time.Second)}
	}
	if *used+by <= most || *used == 0 {
		*used += by
		return true
	}
	*used = most
	c.drops[DropKey{l.node.id, DropFlood}]++
	if !q.over {
		q.over = true
		c.blame(l.node, DropFlood) // once a second
	}
	l.beatAt = min(l.beatAt, q.until)
	return false
}

// mayCheck counts a signature against the neighbor that made us check it.
func (c *Core) mayCheck(from *node) bool {
	return from == nil || from.link == nil || c.spend(from.link, &from.link.quota.checks, 1, MaxChecks)
}

// mayTake counts a frame before it is decoded.
func (c *Core) mayTake(l *link, size int) bool {
	return c.spend(l, &l.quota.bytes, size, MaxBytes) && c.spend(l, &l.quota.frames, 1, MaxFrames)
}

// mayChange counts a verified word of a node on its links, whoever brought it:
// a node that changes its links faster is heard of later, by comparing tables.
func (c *Core) mayChange(origin, from *node) bool {
	if c.now >= origin.wordsUntil {
		origin.words, origin.wordsUntil = 0, c.now.Add(time.Second)
	}
	if origin.words++; origin.words <= MaxWords {
		return true
	}
	c.drop(from, DropFlap)
	if origin.words == MaxWords+1 { // its signature proves that it said so
		c.blame(origin, DropFlap)
	}
	return false
}

// blame counts what a neighbor should not have done. Whoever does it again and
// again is named by an alarm.
func (c *Core) blame(n *node, reason Drop) {
	most, counted := blameFrom[reason]
	if !counted || n == nil || n.slot == c.self {
		return
	}
	if n.blames == nil {
		n.blames = make(map[Drop]*blames, 2)
	}
	b := n.blames[reason]
	if b == nil {
		b = &blames{}
		n.blames[reason] = b
	}
	if c.now >= b.until {
		b.until, b.times = c.now.Add(blameWindow), 0
	}
	if b.times++; b.times < most || b.raised > 0 && c.now < b.raised {
		return
	}
	b.raised = c.now.Add(blameQuiet)
	c.alarm(Alarm{Kind: AlarmHostile, Node: n.id, Text: fmt.Sprintf("%s: %s", c.nameOf(n), blameText[reason])})
}

// blames are those of one neighbor for one reason.
type blames struct {
	times  int
	until  Time // when counting begins anew
	raised Time // no alarm before; 0: none was raised
}

// blameFrom is how often in a minute, blameWindow, a neighbor may do a thing that
// honest ones do rarely or never before an alarm names it.
var blameFrom = map[Drop]int{
	DropFlood:      5, // seconds
	DropFlap:       5, // seconds
	DropFrame:      5,
	DropSignature:  20,
	DropUnadmitted: 20_000, // where fifty nodes join at once, some thousands are heard before their admissions
	DropStale:      50_000,
	DropBanned:     2000,
	DropPull:       5,
	DropCommit:     5,
}

var blameText = map[Drop]string{
	DropFlood:      "it goes on sending more than its share (OPERATING, Limits); what is over it is dropped",
	DropFlap:       "it goes on changing its word on its links many times a second",
	DropFrame:      "it goes on sending frames that are too long or not in the form of the protocol",
	DropSignature:  "it goes on sending events or records that are not signed by whom they name",
	DropUnadmitted: "it goes on sending the words of nodes that nobody admitted",
	DropStale:      "it goes on sending old words again",
	DropBanned:     "it goes on sending the words of banned nodes",
	DropPull:       "it breaks the limits or the form of pulls, again and again",
	DropCommit:     "it goes on giving out commits that nobody signed so",
}

// Blame tells the core of what the shell had to refuse of a neighbor: DropPull,
// DropCommit or DropFlood. It is counted, and an alarm names who goes on.
func (c *Core) Blame(now Time, peer storage.NodeID, reason Drop) {
	c.advance(now)
	n := c.nodes.byID[peer]
	c.drop(n, reason)
	if n != nil && n.link != nil && reason == DropFlood {
		n.link.beatAt = min(n.link.beatAt, now.Add(time.Second)) // what was lost by it, the vectors tell
	}
	c.settle()
}

const (
	blameWindow = time.Minute
	blameQuiet  = time.Hour // an alarm is not repeated for so long
)

// itemsOf is what a frame costs of the quota of items: lists count by their length.
func itemsOf(items []item) (n int) {
	for _, it := range items {
		switch it := it.(type) {
		case *logsItem:
			n += len(it.heads)
		case *holdersItem:
			n += len(it.list)
		case *linksItem:
			n += len(it.set.Links)
		default:
			n++
		}
	}
	return n
}
