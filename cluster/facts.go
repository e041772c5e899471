package cluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/erwik/erwik/cluster/mesh"
	"github.com/erwik/erwik/storage"
)

// Network returns what network/nodes, links, routes, graph and services show.
func (n *Node) Network(what string) (list any, err error) {
	if what == "bans" {
		return n.bans(), nil
	}
	n.do(func(c *mesh.Core, _ mesh.Time) {
		switch what {
		case "nodes":
			list = c.Nodes()
		case "links":
			list = c.Links()
		case "routes":
			list = c.Routes()
		case "graph":
			list = c.Graph()
		default:
			err = fmt.Errorf("cluster: there is no list of %q", what)
		}
	})
	return list, err
}

// Neighbors returns status.neighbors.
func (n *Node) Neighbors() (list any) {
	n.do(func(c *mesh.Core, _ mesh.Time) { list = c.Neighbors() })
	return list
}

// Spread returns how many nodes are known to hold a commit, of how many, and
// for a save of this node that was the newest of its log when all had it, how
// long that took; else 0.
func (n *Node) Spread(h storage.Hash) (have, of int, took time.Duration) {
	at, err := n.cfg.Store.Locate(h)
	n.coreMu.Lock()
	defer n.coreMu.Unlock()
	if err != nil {
		_, of = n.core.Spread(storage.LogID{}, 0)
		return 0, of, 0
	}
	have, of = n.core.Spread(at.Log, at.UpTo)
	if have >= of {
		took = n.core.SpreadTime(h)
	}
	return have, of, took
}

// story is this node's part in commits/{hash}.
type story struct {
	Commit    storage.Hash   `json:"commit"`
	Page      string         `json:"page"`
	Log       storage.LogID  `json:"log"`
	Sequence  uint64         `json:"sequence"`
	Hops      []hop          `json:"hops"`
	Discarded map[string]int `json:"discarded_notices"`
}

type hop struct {
	Node       string    `json:"node"`
	HeardFrom  string    `json:"heard_from"`
	PulledFrom string    `json:"pulled_from"`
	At         time.Time `json:"at"`
}

// Story returns how a commit came here and which notices of it came too late.
func (n *Node) Story(h storage.Hash) (any, bool) {
	s, found := n.story(h)
	return s, found
}

func (n *Node) story(h storage.Hash) (story, bool) {
	c, err := n.cfg.Store.Commit(h)
	if err != nil {
		return story{Hops: []hop{}, Discarded: map[string]int{}}, false
	}
	s := story{Commit: h, Page: n.cfg.PageName(c.Path), Log: c.Log, Sequence: c.Sequence, Hops: []hop{}, Discarded: map[string]int{}}
	n.do(func(core *mesh.Core, now mesh.Time) {
		told, found := core.Story(h)
		if !found {
			return
		}
		at := time.Now().Add(-now.Sub(told.At)).UTC()
		s.Hops = append(s.Hops, hop{core.NodeName(n.self), told.HeardFrom, told.PulledFrom, at})
		if told.Discarded != nil {
			s.Discarded = told.Discarded
		}
	})
	return s, true
}

// Forget removes a node, named by its id or its name, from the pool.
func (n *Node) Forget(node string) (storage.NodeID, error) {
	var found []mesh.NodeInfo
	ok := false
	n.do(func(c *mesh.Core, now mesh.Time) {
		found = named(c, node)
		if len(found) == 1 {
			ok = c.Forget(now, found[0].ID)
		}
	})
	switch {
	case len(found) != 1:
		return storage.NodeID{}, notOne(node, found)
	case !ok:
		return storage.NodeID{}, fmt.Errorf("cluster: node %q is this node; it can't forget itself", node)
	}
	return found[0].ID, nil
}

// named finds the nodes that a name or an id means. Of nodes with one name, each is
// shown by a longer one.
func named(c *mesh.Core, node string) (found []mesh.NodeInfo) {
	all := c.Nodes()
	for _, info := range all {
		if info.Name == node || info.ID.String() == node {
			found = append(found, info)
		}
	}
	if len(found) > 0 {
		return found
	}
	for _, info := range all {
		if strings.HasPrefix(info.Name, node+"~") {
			found = append(found, info)
		}
	}
	return found
}

func notOne(node string, found []mesh.NodeInfo) error {
	if len(found) == 0 {
		return fmt.Errorf("cluster: there is no node %q; see: erwik network nodes", node)
	}
	var names []string
	for _, info := range found[:min(len(found), 8)] {
		names = append(names, info.Name)
	}
	return fmt.Errorf("cluster: %d nodes are named %q: give one of %s, or an id; see: erwik network nodes", len(found), node, strings.Join(names, ", "))
}

// banInfo is an item of network/bans.
type banInfo struct {
	Node storage.NodeID `json:"node"`
	Name string         `json:"name"` // by which it was known
	By   string         `json:"by"`   // name
	At   time.Time      `json:"at"`   // as the one who banned says
	Void string         `json:"void"` // why it does not count; "" if it does
}

func (n *Node) bans() []banInfo {
	all := []banInfo{}
	bans := n.cfg.Store.Bans()
	n.do(func(c *mesh.Core, _ mesh.Time) {
		for _, b := range bans {
			all = append(all, banInfo{b.Node, b.Name, c.NodeName(b.By), b.At, b.Void})
		}
	})
	return all
}

// Ban bans a node, named by its id or its name, from the mesh: see
// [storage.Store.Ban]. By its id a node can be banned that is not in the pool.
func (n *Node) Ban(ctx context.Context, node string) (storage.NodeID, error) {
	var found []mesh.NodeInfo
	n.do(func(c *mesh.Core, _ mesh.Time) { found = named(c, node) })
	if id, err := storage.ParseNodeID(node); err == nil && len(found) == 0 && n.cfg.Store.Taken(id) {
		found = append(found, mesh.NodeInfo{ID: id, Name: node})
	}
	if len(found) != 1 {
		return storage.NodeID{}, notOne(node, found)
	}
	return found[0].ID, n.cfg.Store.Ban(ctx, found[0].ID, found[0].Name)
}

// Counters returns totals of the mesh protocol since the start.
func (n *Node) Counters() (c mesh.Counters) {
	n.do(func(core *mesh.Core, _ mesh.Time) { c = core.Counters() })
	return c
}
