package cluster

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/erwik/erwik/cluster/mesh"
	"github.com/erwik/erwik/storage"
)

// carried is a commit in the form in which a pull would bring it, without hash
// and log, which stand in the notice.
type carried struct {
	at   storage.LogPlace
	hash storage.Hash
	body []byte
}

// carryAtOnce is how many commits at once may go along with their notices, and
// carriedKept how many are kept for that: a notice may wait for the link.
const (
	carryAtOnce = 8
	carriedKept = 32
)

// luggage holds the last commits that may go along with their notices.
type luggage struct {
	kept [carriedKept]carried
	next int
}

func (l *luggage) add(all []carried) {
	for _, c := range all {
		l.kept[l.next] = c
		l.next = (l.next + 1) % carriedKept
	}
}

// find returns a commit, nil if it is not here. Its hash counts too: the owner of
// the log may have signed two for one place.
func (l *luggage) find(at storage.LogPlace, hash storage.Hash) []byte {
	for i := range l.kept {
		if c := &l.kept[i]; c.at == at && c.hash == hash {
			return c.body
		}
	}
	return nil
}

// carry prepares commits to go along with their notices, which spares each
// neighbor a request, a round trip and several packets. Only short ones that are
// the only one of their log go: of several at once only the last is told, and the
// neighbor lacks them all. It is called inside a save.
func (n *Node) carry(commits []storage.Committed) (ready []carried) {
	if len(commits) > carryAtOnce {
		return nil
	}
	n.conns.mu.Lock()
	alone := len(n.conns.linked) == 0
	n.conns.mu.Unlock()
	for i, c := range commits {
		if alone && c.Kind != storage.KindAdmit || c.Kind == storage.KindBan { // a newcomer tells of its first commit once it has a link
			continue
		}
		if slices.ContainsFunc(commits[:i], func(o storage.Committed) bool { return o.At.Log == c.At.Log }) ||
			slices.ContainsFunc(commits[i+1:], func(o storage.Committed) bool { return o.At.Log == c.At.Log }) {
			continue
		}
		if one := n.carryOne(c); one.body != nil {
			ready = append(ready, one)
		}
	}
	return ready
}

func (n *Node) carryOne(c storage.Committed) carried {
	chunk := appendRecord(nil, storage.Record{Commit: c.Commit, Content: c.Content}, func(h storage.Hash) ([]byte, bool) {
		content, err := n.cfg.Store.Content(h)
		return content, err == nil
	})
	if len(chunk) >= 4*mesh.MaxCarried {
		return carried{}
	}
	at := bytes.Index(chunk, logBytes(c.Log))
	if at < len(c.Hash) || at > mesh.MaxCarried {
		return carried{}
	}
	rest := slices.Concat(chunk[len(c.Hash):at], chunk[at+storage.LogIDSize:])
	body := binary.AppendUvarint(make([]byte, 0, len(rest)+4), uint64(at-len(c.Hash)))
	if body = n.packer.pack(body, rest); len(body) <= mesh.MaxCarried {
		return carried{c.At, c.Hash, body}
	}
	return carried{}
}

func logBytes(log storage.LogID) []byte {
	b, _ := log.AppendBinary(make([]byte, 0, storage.LogIDSize))
	return b
}

// restore makes of what came with the notice of a commit what a pull would
// have brought: the notice has said the hash and the log.
func (p *packer) restore(body []byte, log storage.LogID, hash storage.Hash) ([]byte, error) {
	at, n := binary.Uvarint(body)
	if n <= 0 {
		return nil, errChunk
	}
	rest, err := p.unpack(nil, body[n:])
	if err != nil {
		return nil, err
	}
	if len(rest) > 4*mesh.MaxCarried || at > uint64(len(rest)) {
		return nil, errChunk
	}
	return slices.Concat([]byte{chunkRaw}, hash[:], rest[:at], logBytes(log), rest[at:]), nil
}
