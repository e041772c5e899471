package wiki

import (
	"context"
	"log/slog"
	"time"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki/metrics"
	"github.com/erwik/erwik/wiki/page"
)

// Store is what the wiki needs of package storage; *storage.Store has it.
type Store interface {
	page.Store
	FileChunks
	Node() storage.NodeID
	Stats() storage.Stats
	Vector() map[storage.LogID]uint64
	Watch(fn func([]storage.Committed)) (cancel func())
}

// Spreader knows how far a commit has come.
type Spreader interface {
	// Spread returns how many nodes are known to hold a commit, this one
	// included, of how many, and, once all have a save of this node, how long
	// that took; 0 if it is not known. It is called on every page view and must
	// not block.
	Spread(h storage.Hash) (have, of int, took time.Duration)
}

// Observer knows what this node sees of the mesh. What it returns is encoded
// as JSON as it is.
type Observer interface {
	// Network returns a list: what is "nodes", "links", "routes" or "graph".
	Network(what string) (any, error)
	// Neighbors returns the list of neighbors for status.
	Neighbors() any
	// Story returns how a commit came here; false if nothing is known of it.
	Story(h storage.Hash) (any, bool)
	// Stories returns the same of several commits, with the hops of all nodes
	// that can be asked quickly.
	Stories(ctx context.Context, hashes []storage.Hash) []any
}

// Mesh is what the wiki asks of the mesh that carries it. [Alone] is the mesh
// of a single node.
type Mesh interface {
	page.Fetcher
	ChunkFetcher
	Spreader
	Observer
}

// OperatorCall is an action that only the operator may ask for. It gets the
// body of the request and returns what is encoded as the answer. An error
// that is none of package page's or storage's is answered with status 400.
type OperatorCall func(ctx context.Context, body []byte) (any, error)

// Config says how a wiki is served. Only Store is needed.
type Config struct {
	Store Store
	// Mesh carries this node's pages to others. Nil: the node is alone, and
	// the handler itself tells Feed of each commit.
	Mesh Mesh
	// Feed carries the live events to readers. Nil: a new one.
	Feed *Feed
	// Through reads pages that are not here yet. Nil: nobody can be asked.
	Through Through
	// Ready reports whether the node serves, and why if it does not. Nil:
	// always.
	Ready func() (ready bool, reason string)
	// Site is the name of the wiki. Empty: "erwik".
	Site string
	// NodeName is what people call this node. Empty: four characters of its id.
	NodeName string
	// Version is the program's, Commit that of its source.
	Version, Commit string
	// Sources have samples for /-/metrics beside the wiki's own.
	Sources []metrics.Source
	// EditToken is what whoever edits must know. Empty: everybody may edit.
	EditToken string
	// OperatorKey is what the operator must know. Empty: nobody does.
	OperatorKey string
	// OperatorCalls are further actions below /-/api/v1/, by path, such as
	// "network/forget".
	OperatorCalls map[string]OperatorCall
	// Doctor looks for what is wrong with the node; GET doctor returns it. Nil:
	// there is nobody to ask.
	Doctor func(context.Context) (any, error)
	// Trusted tells addresses that have no share of the places: a proxy in front,
	// behind which everybody stands. Nil: none.
	Trusted func(host string) bool
	// CacheBytes bounds the cache of rendered pages. Zero: 32 MiB.
	CacheBytes int
	// Logger gets what a person should know. Nil: nothing is logged.
	Logger *slog.Logger
	// Clock is the time. Nil: time.Now.
	Clock func() time.Time
}
