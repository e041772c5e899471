package cluster

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"

	"github.com/erwik/erwik/cluster/mesh"
	"github.com/erwik/erwik/events"
	"github.com/erwik/erwik/events/wire"
	"github.com/erwik/erwik/storage"
)

const (
	joinVersion  = 1
	maxJoin      = 1 << 20
	maxJoins     = 64 // under way at once; one more is closed
	joinTime     = 2 * time.Minute
	joinRetryMin = 200 * time.Millisecond
	joinRetryMax = 30 * time.Second

	roleDialer   = "erwik join 1 dialer\x00"
	roleListener = "erwik join 1 listener\x00"
)

type joinMessage struct {
	Version int             `json:"version"`
	Proof   string          `json:"proof,omitempty"`
	Pool    json.RawMessage `json:"pool,omitempty"` // records, read only once the proof is good
	Error   string          `json:"error,omitempty"`
}

func joinProof(secret, role string, exporter []byte) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(role))
	mac.Write(exporter)
	return mac.Sum(nil)
}

func joinExporter(conn *tls.Conn) ([]byte, error) {
	state := conn.ConnectionState()
	return state.ExportKeyingMaterial("EXPORTER-erwik-join", nil, 32)
}

func writeJoin(conn net.Conn, m joinMessage) error {
	m.Version = joinVersion
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode join: %w", err)
	}
	_, err = conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...))
	return err
}

func readJoin(conn net.Conn) (m joinMessage, err error) {
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return m, fmt.Errorf("read join: %w", err)
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > maxJoin {
		return m, fmt.Errorf("read join: a message of %d bytes, at most %d", size, maxJoin)
	}
	text, err := io.ReadAll(io.LimitReader(conn, int64(size)))
	if err != nil || len(text) < int(size) {
		return m, fmt.Errorf("read join: %w", errors.Join(err, io.ErrUnexpectedEOF))
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("read join: %w", err)
	}
	if m.Version != joinVersion {
		return m, fmt.Errorf("the far end speaks version %d of the join, this node version %d", m.Version, joinVersion)
	}
	return m, nil
}

// records decodes and verifies the pool of the far end, whose own comes first.
func (m joinMessage) records(from storage.NodeID) ([]*events.Record, error) {
	var pool [][]byte
	if err := json.Unmarshal(m.Pool, &pool); err != nil || len(pool) == 0 || len(pool) > events.MaxPool {
		return nil, errors.Join(fmt.Errorf("a pool of %d nodes", len(pool)), err)
	}
	var all []*events.Record
	for _, b := range pool {
		r := wire.NewReader(b)
		record := events.ReadRecord(&r)
		if err := r.Done(); err != nil {
			return nil, fmt.Errorf("node record: %w", err)
		}
		if err := record.Verify(); err != nil {
			return nil, fmt.Errorf("node record: %w", err)
		}
		all = append(all, record)
	}
	if all[0].ID != from {
		return nil, errors.New("the first record is not the sender's own")
	}
	return all, nil
}

// pool encodes this node's pool, its own record first.
func (n *Node) pool() json.RawMessage {
	var encoded [][]byte
	n.do(func(c *mesh.Core, _ mesh.Time) {
		if own := c.Record(n.self); own != nil {
			encoded = append(encoded, own.Append(nil))
		}
		for _, r := range c.Records() {
			if r.ID != n.self {
				encoded = append(encoded, r.Append(nil))
			}
		}
	})
	text, _ := json.Marshal(encoded) // of bytes alone, which can't fail
	return text
}

// serveJoin answers a node that wants to join.
func (n *Node) serveJoin(conn *tls.Conn, from storage.NodeID) error {
	defer conn.Close()
	select {
	case n.joins <- struct{}{}:
		defer func() { <-n.joins }()
	default:
		n.count("join_flood")
		return errors.New("cluster: too many joins at once")
	}
	conn.SetDeadline(time.Now().Add(joinTime))
	asked, err := readJoin(conn)
	if err != nil {
		return err
	}
	records, secret, err := n.checkJoin(conn, asked, from)
	if err != nil {
		n.count("join_refused")
		n.health.refusedJoin(conn.RemoteAddr().String(), err)
		return errors.Join(err, writeJoin(conn, joinMessage{Error: err.Error()}))
	}
	if err := n.welcome(records, true, false); err != nil {
		return errors.Join(err, writeJoin(conn, joinMessage{Error: "the node can't note the admission: " + err.Error()}))
	}
	exporter, err := joinExporter(conn)
	if err != nil {
		return err
	}
	n.log.Info("a node joined", "node", records[0].Name, "id", from.String(), "address", conn.RemoteAddr().String())
	return writeJoin(conn, joinMessage{Proof: hex.EncodeToString(joinProof(secret, roleListener, exporter)), Pool: n.pool()})
}

func (n *Node) checkJoin(conn *tls.Conn, asked joinMessage, from storage.NodeID) ([]*events.Record, string, error) {
	exporter, err := joinExporter(conn)
	if err != nil {
		return nil, "", err
	}
	proof, err := hex.DecodeString(asked.Proof)
	if err != nil {
		return nil, "", errWrongSecret
	}
	secret, err := n.matchSecret(proof, roleDialer, exporter)
	if err != nil {
		return nil, "", err
	}
	if n.cfg.Store.IsBanned(from) {
		return nil, "", errBanned
	}
	records, err := asked.records(from)
	return records, secret, err
}

var errRefused = errors.New("refused")

var errBanned = errors.New("this node was banned from the mesh, and no token lets it in again. With a new data directory it is another node, which may join; its pages can be exported before")

// welcome admits the node that stands first and takes over what it knows.
func (n *Node) welcome(records []*events.Record, tell, sponsor bool) error {
	admit := n.cfg.Store.Admit
	if sponsor { // this node joins through that one
		admit = n.cfg.Store.AdmitSponsor
	}
	if err := admit(n.ctx, records[0].ID, records[0].Name); err != nil {
		return err
	}
	n.admitNew()
	n.do(func(c *mesh.Core, now mesh.Time) { c.Learn(now, tell, records...) })
	return nil
}

// join asks address until it is let in.
func (n *Node) join(address string, token Token) {
	wait := joinRetryMin
	for n.ctx.Err() == nil {
		err := n.joinOnce(address, token)
		if err == nil {
			n.joined()
			return
		}
		n.setJoinError(fmt.Errorf("join %s: %w", address, err))
		level := slog.LevelWarn
		if ready, _ := n.Ready(); ready && !errors.Is(err, errRefused) {
			level = slog.LevelDebug // a member already: this one may have gone for good
		}
		n.log.Log(n.ctx, level, "join", "address", address, "err", err, "retry_in", wait.String())
		select {
		case <-n.ctx.Done():
		case <-time.After(wait/2 + rand.N(wait/2)):
		}
		wait = min(2*wait, joinRetryMax)
	}
}

func (n *Node) joinOnce(address string, token Token) error {
	ctx, cancel := context.WithTimeout(n.ctx, joinTime)
	defer cancel()
	conn, err := n.dialTLS(ctx, address, protoJoin, token.Node)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(joinTime))
	peer, err := peerKey(conn.ConnectionState())
	if err != nil {
		return err
	}
	if peer == n.self {
		return nil // the address is this node's own
	}
	exporter, err := joinExporter(conn)
	if err != nil {
		return err
	}
	if err := writeJoin(conn, joinMessage{Proof: hex.EncodeToString(joinProof(token.Secret, roleDialer, exporter)), Pool: n.pool()}); err != nil {
		return err
	}
	answer, err := readJoin(conn)
	if err != nil {
		return err
	}
	if answer.Error != "" {
		return fmt.Errorf("%w: %.500s", errRefused, answer.Error)
	}
	proof, err := hex.DecodeString(answer.Proof)
	if err != nil || !hmac.Equal(proof, joinProof(token.Secret, roleListener, exporter)) {
		return errors.New("the node that answered does not hold the secret; somebody may stand between")
	}
	records, err := answer.records(peer)
	if err != nil {
		return err
	}
	n.remember(peer, address)
	return n.welcome(records, true, true)
}
