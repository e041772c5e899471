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
	body []byte
}

// carry prepares a commit to go along with its notices, which spares each
// neighbor a request, a round trip and several packets. Only one that came
// alone and is short goes: of several at once only the last is told, and the
// neighbor lacks them all. It is called inside a save.
func (n *Node) carry(commits []storage.Committed) carried {
	c := commits[len(commits)-1]
	n.conns.mu.Lock()
	alone := len(n.conns.linked) == 0
	n.conns.mu.Unlock()
	if alone || len(commits) != 1 || c.Kind == storage.KindAdmit || c.Kind == storage.KindBan {
		return carried{}
	}
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
		return carried{c.At, body}
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
	rest, err := p.unpack(body[n:])
	if err != nil {
		return nil, err
	}
	if len(rest) > 4*mesh.MaxCarried || at > uint64(len(rest)) {
		return nil, errChunk
	}
	return slices.Concat([]byte{chunkRaw}, hash[:], rest[:at], logBytes(log), rest[at:]), nil
}
