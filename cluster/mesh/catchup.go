package mesh

import (
	"slices"
	"time"
)

// catchingUp reports whether many commits are being pulled, or were a moment ago:
// what can wait does. In a large mesh others have as much to pull, and are not done
// when this node is.
func (c *Core) catchingUp() bool {
	if slices.ContainsFunc(c.pulls.open, c.bulk) {
		return true
	}
	wait := min(max(caughtUp, time.Duration(len(c.nodes.order))*caughtEach), caughtMost)
	return c.pulls.closedAt != 0 && c.now.Sub(c.pulls.closedAt) < wait
}

// bulk reports whether p asks for many commits: more than the admissions that each
// node pulls while a mesh forms. A node that has just joined knows two nodes, and
// pulls the admissions of all the others.
func (c *Core) bulk(p *pull) bool { return p.size() >= uint64(max(bulkFrom, 2*len(c.nodes.order))) }
