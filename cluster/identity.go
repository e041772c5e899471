package cluster

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"

	"github.com/erwik/erwik/storage"
)

// The protocols that share the port, by ALPN (RFC 7301).
const (
	protoLink = "erwik-link"
	protoPull = "erwik-pull"
	protoJoin = "erwik-join"
	protoFile = "erwik-file"
)

var errNotAdmitted = errors.New("cluster: the node is not admitted")

// certificate wraps the node's key; nobody looks at anything else in it.
func certificate(key ed25519.PrivateKey) (tls.Certificate, error) {
	template := x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make the node's certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// peerKey returns the key that the far end has proven.
func peerKey(state tls.ConnectionState) (id storage.NodeID, err error) {
	if len(state.PeerCertificates) != 1 {
		return id, fmt.Errorf("cluster: %d certificates, want 1", len(state.PeerCertificates))
	}
	key, ok := state.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok || len(key) != len(id) {
		return id, errors.New("cluster: the certificate's key is not Ed25519")
	}
	copy(id[:], key)
	return id, nil
}

// baseTLS holds for both ends. X25519 alone is by a third the shortest
// handshake on a slow link; the price is no post-quantum secrecy.
func (n *Node) baseTLS(proto string) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{n.cert},
		NextProtos:             []string{proto},
		CurvePreferences:       []tls.CurveID{tls.X25519},
		SessionTicketsDisabled: true,
	}
}

// serverTLS is what the listener demands of a neighbor that speaks proto.
func (n *Node) serverTLS(proto string) *tls.Config {
	c := n.baseTLS(proto)
	c.ClientAuth = tls.RequireAnyClientCert
	c.VerifyConnection = func(state tls.ConnectionState) error {
		id, err := peerKey(state)
		if err != nil {
			return err
		}
		if id == n.self {
			return errors.New("cluster: that is this node's own key")
		}
		if proto != protoJoin && !n.awaitAdmission(id) {
			n.count("not_admitted")
			return fmt.Errorf("%w: %s", errNotAdmitted, id)
		}
		return nil
	}
	return c
}

// admissions wakes those who wait for a node to be admitted.
type admissions struct {
	mu      sync.Mutex
	changed chan struct{} // closed at the next one; nil: nobody waits
}

func (a *admissions) next() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.changed == nil {
		a.changed = make(chan struct{})
	}
	return a.changed
}

func (a *admissions) tell() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.changed != nil {
		close(a.changed)
		a.changed = nil
	}
}

// awaitAdmission reports whether a node is admitted. One that has just joined
// through another node dials before everybody has heard of it: its handshake waits
// for that, at most admissionWait, in its place among those under way. Else it
// would come again and again, and most handshakes of a mesh that forms would be in vain.
func (n *Node) awaitAdmission(id storage.NodeID) bool {
	late := time.NewTimer(admissionWait)
	defer late.Stop()
	for {
		changed := n.admissions.next()
		if n.cfg.Store.Admitted(id) {
			return true
		}
		if n.cfg.Store.IsBanned(id) {
			return false
		}
		select {
		case <-changed:
		case <-late.C:
			return false
		case <-n.ctx.Done():
			return false
		}
	}
}

// clientTLS is what the dialer demands of want; a zero want takes any node.
func (n *Node) clientTLS(proto string, want storage.NodeID) *tls.Config {
	c := n.baseTLS(proto)
	c.ServerName = "erwik"
	c.InsecureSkipVerify = true // the key is checked below, which is all that counts
	c.VerifyConnection = func(state tls.ConnectionState) error {
		id, err := peerKey(state)
		if err != nil {
			return err
		}
		if state.NegotiatedProtocol != proto {
			return fmt.Errorf("cluster: the far end speaks %q, not %q", state.NegotiatedProtocol, proto)
		}
		if !want.IsZero() && id != want {
			return fmt.Errorf("cluster: the far end is node %s, expected %s; either the address is another node's or somebody stands between", id, want)
		}
		return nil
	}
	return c
}
