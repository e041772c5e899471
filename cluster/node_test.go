package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/erwik/erwik/cluster/mesh"
	"github.com/erwik/erwik/storage"
)

const testSecret = "a secret for the tests"

// start runs a node with a store in memory on loopback.
func start(t testing.TB, name string, join ...string) *Node {
	t.Helper()
	return startWith(t, name, func(c *Config) { c.Join = join })
}

func startWith(t testing.TB, name string, change func(*Config)) *Node {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Store: openStore(t, name), Dir: t.TempDir(), Name: name, Version: "test", Listen: l.Addr().String(),
		Secret: testSecret, Token: Token{Secret: testSecret},
		PageName: func(path string) string { return strings.TrimSuffix(path, storage.PageSuffix) },
	}
	change(&cfg)
	n, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	port := OpenPort(l, n, PortConfig{})
	server := &http.Server{Handler: http.NotFoundHandler()}
	served := make(chan error, 1)
	go func() { served <- server.Serve(port.HTTP()) }()
	t.Cleanup(func() {
		n.Close()
		server.Close()
		<-served
		port.Close()
	})
	return n
}

func (n *Node) address() string { return n.cfg.Listen }

// eventually polls until check returns nil.
func eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		if err = check(); err == nil {
			return
		}
		<-time.After(5 * time.Millisecond)
	}
	t.Fatalf("%s: %v", what, err)
}

func awaitEqual(t testing.TB, nodes ...*Node) {
	t.Helper()
	eventually(t, "equal digests", func() error {
		want := nodes[0].cfg.Store.Stats()
		for _, n := range nodes[1:] {
			if got := n.cfg.Store.Stats(); got.Digest != want.Digest || got.Commits != want.Commits {
				return fmt.Errorf("%s has %d commits, %s has %d", n.cfg.Name, got.Commits, nodes[0].cfg.Name, want.Commits)
			}
		}
		return nil
	})
}

func TestNodesJoinAndConverge(t *testing.T) {
	a := start(t, "a")
	for i := range 20 {
		save(t, a.cfg.Store, fmt.Sprintf("A%d.md", i), "of a")
	}
	b := start(t, "b", a.address())
	c := start(t, "c", b.address())
	awaitEqual(t, a, b, c)
	for i := range 20 {
		save(t, b.cfg.Store, fmt.Sprintf("B%d.md", i), "of b")
		save(t, c.cfg.Store, fmt.Sprintf("C%d.md", i), "of c")
	}
	awaitEqual(t, a, b, c)
	if got := a.cfg.Store.Stats().Pages; got != 60 {
		t.Errorf("%d pages", got)
	}
	last := save(t, a.cfg.Store, "Last.md", "x")
	eventually(t, "the save is known to be on 3 of 3", func() error {
		if have, of, _ := a.Spread(last.Hash); have != 3 || of != 3 {
			return fmt.Errorf("on %d of %d", have, of)
		}
		return nil
	})
	if err := c.Fetch(t.Context(), []storage.Hash{last.Hash}); err != nil {
		t.Errorf("fetch of what is here: %v", err)
	}
}

func TestForgetRemovesANodeEverywhere(t *testing.T) {
	a := start(t, "a")
	b := start(t, "b", a.address())
	c := start(t, "c", a.address())
	awaitNodes := func(n *Node, want int) {
		t.Helper()
		eventually(t, fmt.Sprintf("%s lists %d nodes", n.cfg.Name, want), func() error {
			list, err := n.Network("nodes")
			if got := strings.Count(fmt.Sprintf("%+v", list), "Name:"); err == nil && got != want {
				return fmt.Errorf("it lists %d", got)
			}
			return err
		})
	}
	awaitNodes(a, 3)
	awaitNodes(b, 3)
	if _, err := a.Forget("nobody"); err == nil {
		t.Error("a node that is not there was forgotten")
	}
	c.Close()
	if _, err := a.Forget("c"); err != nil {
		t.Fatal(err)
	}
	awaitNodes(a, 2)
	awaitNodes(b, 2)
}

// TestNodesOfOneName: a name that several nodes have means none of them, for what
// can't be taken back; the longer name that is shown means one.
func TestNodesOfOneName(t *testing.T) {
	a := start(t, "a")
	b := start(t, "twin", a.address())
	c := start(t, "twin", a.address())
	eventually(t, "all are there, and told apart", func() error {
		for _, id := range []storage.NodeID{b.self, c.self} {
			var name string
			a.do(func(core *mesh.Core, _ mesh.Time) { name = core.NodeName(id) })
			if name != "twin~"+id.Short() {
				return fmt.Errorf("%s is named %q", id.Short(), name)
			}
		}
		return nil
	})
	if _, err := a.Forget("twin"); err == nil || !strings.Contains(err.Error(), "2 nodes") {
		t.Errorf("forgetting one of two: %v", err)
	}
	if _, err := a.Ban(t.Context(), "twin"); err == nil || !strings.Contains(err.Error(), "2 nodes") {
		t.Errorf("banning one of two: %v", err)
	}
	commit := save(t, c.cfg.Store, "Page.md", "x")
	eventually(t, "its own story names it like others do", func() error {
		s, _ := c.story(commit.Hash)
		if len(s.Hops) != 1 || s.Hops[0].Node != "twin~"+c.self.Short() {
			return fmt.Errorf("hops %+v", s.Hops)
		}
		return nil
	})
	c.Close()
	if id, err := a.Forget("twin~" + c.self.Short()); err != nil || id != c.self {
		t.Errorf("forgot %v: %v", id, err)
	}
}

// liar is a neighbor that serves whatever it likes over the pull protocol.
func liar(t *testing.T, victim *Node, answer func(p *pullConn, id uint64)) storage.NodeID {
	t.Helper()
	return liarOf(t, victim, protoPull, answer)
}

func liarOf(t *testing.T, victim *Node, proto string, answer func(p *pullConn, id uint64)) storage.NodeID {
	t.Helper()
	n := &Node{cfg: Config{Store: openStore(t, "liar")}, log: slog.New(slog.DiscardHandler), ctx: context.Background()}
	n.state.init()
	n.conns.init()
	n.self, n.key = n.cfg.Store.Node(), n.cfg.Store.Key()
	var err error
	if n.cert, err = certificate(n.key); err != nil {
		t.Fatal(err)
	}
	if err := victim.cfg.Store.Admit(t.Context(), n.self, "liar"); err != nil {
		t.Fatal(err)
	}
	if err := n.cfg.Store.Admit(t.Context(), victim.self, "victim"); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	victim.remember(n.self, l.Addr().String())
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				secure := tls.Server(c, n.serverTLS(proto))
				if secure.Handshake() != nil {
					return
				}
				p := newPullConn(n, victim.self, secure)
				for {
					_, id, err := p.read()
					if err != nil {
						return
					}
					answer(p, id)
				}
			}()
		}
	}()
	return n.self
}

// TestLyingNeighborChangesNothing: forged, foreign, cut and oversized answers
// are refused and counted, and the node goes on.
func TestLyingNeighborChangesNothing(t *testing.T) {
	_, good := history(t, 3)
	foreign := appendRecord(nil, good[0], nil)
	for name, c := range map[string]struct {
		answer  func(p *pullConn, id uint64)
		counted string
	}{
		"a commit of a node that is not admitted": {func(p *pullConn, id uint64) {
			p.send(frameData, id, append([]byte{chunkRaw}, foreign...))
			p.send(frameEnd, id, []byte{endComplete})
		}, "commit_" + storage.RefusedSigner},
		"a commit with one byte changed": {func(p *pullConn, id uint64) {
			bad := append([]byte{chunkRaw}, foreign...)
			bad[len(bad)-3] ^= 1
			p.send(frameData, id, bad)
			p.send(frameEnd, id, []byte{endComplete})
		}, "commit_" + storage.RefusedSignature},
		"a commit under a wrong hash": {func(p *pullConn, id uint64) {
			bad := append([]byte{chunkRaw}, foreign...)
			bad[1] ^= 1
			p.send(frameData, id, bad)
			p.send(frameEnd, id, []byte{endComplete})
		}, "commit_" + storage.RefusedSignature},
		"garbage": {func(p *pullConn, id uint64) {
			p.send(frameData, id, []byte{chunkRaw, 1, 2, 3})
		}, "pull_chunk"},
		"a frame of 4 GiB": {func(p *pullConn, id uint64) {
			p.conn.Write([]byte{255, 255, 255, 255, frameData, 0, 0, 0, 0, 0, 0, 0, 1})
		}, "pull_frame"},
		"a frame of no type": {func(p *pullConn, id uint64) { p.send(99, id, nil) }, "pull_frame"},
	} {
		t.Run(name, func(t *testing.T) {
			n := start(t, "victim")
			peer := liar(t, n, c.answer)
			if c.counted != "commit_"+storage.RefusedSigner {
				if err := n.cfg.Store.Admit(t.Context(), good[0].Log.Node, "source"); err != nil {
					t.Fatal(err)
				}
			}
			n.do(func(c *mesh.Core, now mesh.Time) { c.LinkUp(now, peer, mesh.LinkInfo{}) })
			before := n.cfg.Store.Stats()
			if _, err := n.pullSpans(t.Context(), peer, 0, []storage.Span{{Log: good[0].Log}}, 0); err == nil {
				t.Error("the pull succeeds")
			}
			if n.Dropped()[c.counted] == 0 {
				t.Errorf("nothing is counted as %s: %v", c.counted, n.Dropped())
			}
			if after := n.cfg.Store.Stats(); after != before {
				t.Errorf("the store has changed: %+v", after)
			}
			if c.counted == "commit_"+storage.RefusedSigner {
				return // an honest neighbor may know an admission earlier
			}
			for range 6 {
				if _, err := n.pullSpans(t.Context(), peer, 0, []storage.Span{{Log: good[0].Log}}, 0); err == nil {
					t.Error("the pull succeeds")
				}
			}
			awaitNamed(t, n, peer.Short())
			save(t, n.cfg.Store, "Goes-on.md", "x")
		})
	}
}

func TestDeltaWithoutBaseIsAskedForAgain(t *testing.T) {
	s, records := history(t, 3)
	base := func(h storage.Hash) ([]byte, bool) {
		content, err := s.Content(h)
		return content, err == nil
	}
	delta := appendRecord(nil, records[1], base)
	err := parseRecords(delta, func(storage.Hash) ([]byte, bool) { return nil, false }, func(storage.Record) error { return nil })
	if !errors.Is(err, errNoBase) {
		t.Errorf("got %v", err)
	}
}

func TestTokens(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	token, err := IssueToken(dir, storage.NodeID{1}, time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	if parsed, err := ParseToken(" " + token.String() + "\n"); err != nil || parsed != token {
		t.Errorf("got %v, %v", parsed, err)
	}
	n := &Node{cfg: Config{Dir: dir, Secret: testSecret}, log: slog.New(slog.DiscardHandler)}
	exporter := []byte("of this connection")
	for secret, want := range map[string]error{token.Secret: nil, testSecret: nil, "a wrong secret of the length": errWrongSecret} {
		if _, err := n.matchSecret(joinProof(secret, roleDialer, exporter), roleDialer, exporter); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", secret, err, want)
		}
	}
	if _, err := n.matchSecret(joinProof(testSecret, roleListener, exporter), roleDialer, exporter); err == nil {
		t.Error("the listener's proof passes for the dialer's")
	}
	if _, err := n.matchSecret(joinProof(testSecret, roleDialer, []byte("of another")), roleDialer, exporter); err == nil {
		t.Error("a proof of another connection passes")
	}
	for _, bad := range []string{"", "short", "erw1.x.y", "erw1." + storage.NodeID{}.String() + ".short"} {
		if _, err := ParseToken(bad); err == nil {
			t.Errorf("token %q was accepted", bad)
		}
	}
}
