package wiki

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki/page"
)

// Alone is the mesh of a single node.
type Alone struct {
	Node    storage.NodeID
	Name    string
	Version string
}

// Fetch finds nothing: there is nobody to ask.
func (Alone) Fetch(context.Context, []storage.Hash) error {
	return fmt.Errorf("fetch: this node has no neighbors")
}

// FetchChunk finds nothing either.
func (Alone) FetchChunk(context.Context, storage.MissingChunk) error {
	return fmt.Errorf("fetch: this node has no neighbors")
}

// Spread is one of one.
func (Alone) Spread(storage.Hash) (have, of int, took time.Duration) { return 1, 1, 0 }

// Neighbors is empty.
func (Alone) Neighbors() any { return []any{} }

// Story knows nothing.
func (Alone) Story(storage.Hash) (any, bool) { return nil, false }

// Stories knows nothing either.
func (Alone) Stories(_ context.Context, hashes []storage.Hash) []any {
	return make([]any, len(hashes))
}

// Network knows this node and no link.
func (a Alone) Network(what string) (any, error) {
	if what == "nodes" {
		return []map[string]any{{
			"id": a.Node, "name": a.Name, "address": "", "state": "self",
			"version": a.Version, "rtt_ms": 0, "via": nil,
		}}, nil
	}
	return []any{}, nil
}

// commitEvent is the notice of a commit on a node without a mesh.
type commitEvent struct{ json, erlang []byte }

func (commitEvent) Name() string     { return "commit" }
func (e commitEvent) JSON() []byte   { return e.json }
func (e commitEvent) Erlang() []byte { return e.erlang }

// newCommitEvent describes a commit; ok is false for one that is neither a page's
// nor a file's.
func newCommitEvent(c *storage.Commit) (e commitEvent, ok bool) {
	name, ok := page.ShownPath(c.Path)
	if !ok {
		return e, false
	}
	type args struct {
		Log      storage.LogID `json:"log"`
		Sequence uint64        `json:"sequence"`
		Checksum storage.Hash  `json:"checksum"`
		Page     string        `json:"page"`
	}
	var err error
	e.json, err = json.Marshal(struct {
		Type    string         `json:"type"`
		Origin  storage.NodeID `json:"origin"`
		Args    args           `json:"args"`
		Exclude []string       `json:"exclude"`
	}{"commit", c.Log.Node, args{c.Log, c.Sequence, c.Hash, name}, []string{}})
	if err != nil {
		return e, false
	}
	e.erlang = fmt.Appendf(nil, `{event, commit, [{log, %q}, {sequence, %s}, {checksum, %q}, {exclude, []}]}`,
		c.Log.String(), strconv.FormatUint(c.Sequence, 10), c.Hash.String())
	return e, true
}
