package mesh

import (
	"math"

	"github.com/erwik/erwik/events"
	"github.com/erwik/erwik/storage"
)

// ban takes a node out of the mesh: it has no record, no links and no word here
// until it is admitted again. That it is out follows from commits, which every
// node holds in the end, so nothing of it is told or kept here.
func (c *Core) ban(id storage.NodeID) {
	if id == c.cfg.Self || c.nodes.banned[id] {
		return
	}
	c.nodes.banned[id] = true
	delete(c.nodes.admitted, id)
	c.nodes.limbo.forget(id)
	c.nodes.limbo.known(id) // what it holds is taken
	n := c.addNode(id)
	if n == nil {
		return // of a node that is not in the table there is nothing to take out
	}
	name := c.nameOf(n)
	if n.link != nil && n.link.up {
		c.giveUp(n.link, "the node was banned")
	}
	for to, r := range n.outWords() {
		if r != nil {
			c.setOut(n, to, nil)
		}
	}
	c.rowChanged(n, recordHash(n.record)+stoneHash(n.gone), 0)
	if n.gone != nil {
		c.nodes.stones--
	}
	was := n.record != nil || n.gone != nil
	// No record is newer than this tombstone, which is never told.
	n.record, n.dead = nil, false
	n.gone = &events.Event{Type: events.TypeDeadNeighbor, Dead: events.Dead{Node: id, Incarnation: math.MaxUint64, Removed: true}}
	n.dial = dial{}
	if was {
		c.persist("node/"+id.String(), nil)
		c.persist("gone/"+id.String(), nil)
	}
	c.poolChanged()
	c.alarmOnce(Alarm{Kind: AlarmBanned, Node: id, Text: name + " is banned: links with it are closed, and what it signs from now on counts nowhere"})
}

// unban takes the ban back: its node was admitted by somebody whose word counts.
func (c *Core) unban(id storage.NodeID) {
	if !c.nodes.banned[id] {
		return
	}
	delete(c.nodes.banned, id)
	if n := c.nodes.byID[id]; n != nil {
		n.gone = nil
		c.poolChanged()
	}
}

// fromBanned drops what is a banned node's word. It reports whether it was.
func (c *Core) fromBanned(from *node, ids ...storage.NodeID) bool {
	for _, id := range ids {
		if c.nodes.banned[id] {
			c.drop(from, DropBanned)
			return true
		}
	}
	return false
}

// taken reports whether logs of node are: those of banned nodes are, as others
// hold them, so that all nodes end with the same commits.
func (c *Core) taken(node storage.NodeID) bool {
	return c.nodes.admitted[node] || c.nodes.banned[node]
}
