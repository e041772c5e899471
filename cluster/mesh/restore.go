package mesh

import (
	"encoding/binary"
	"strings"

	"github.com/erwik/erwik/events"
)

// restoreState takes back one value that Persist wrote.
func (c *Core) restoreState(p Persist) {
	bad := false
	switch {
	case p.Key == "self":
		if bad = len(p.Value) != 8; !bad {
			c.incarnation = binary.BigEndian.Uint64(p.Value)
		}
	case strings.HasPrefix(p.Key, "node/"):
		r, err := events.DecodeRecord(p.Value)
		if bad = err != nil; !bad {
			if r.ID == c.cfg.Self {
				c.incarnation = max(c.incarnation, r.Incarnation)
			} else if n := c.addNode(r.ID); n != nil && c.newerRecord(n, r) {
				c.setRecord(n, r)
				n.joined, n.owed = 0, nil
				// Others dial a node that is back only after their backoff, or
				// at an address that is no longer its own: it dials them.
				n.dial.other = c.now
				if n.dial.other == 0 {
					n.dial.other = 1
				}
			}
		}
	case strings.HasPrefix(p.Key, "gone/"):
		e, _, err := events.DecodeEvent(p.Value)
		if bad = err != nil; !bad {
			if n := c.addNode(e.Dead.Node); n != nil {
				c.bury(n, &e)
			}
		}
	default:
		bad = true
	}
	if bad {
		c.drop(nil, DropState)
		c.alarmOnce(Alarm{Kind: AlarmState, Text: "persisted value does not decode: " + p.Key})
	}
}
