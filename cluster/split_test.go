package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/erwik/erwik/cluster/mesh"
	"github.com/erwik/erwik/storage"
)

// shaped counts what passes between pairs of nodes, and lets each connection
// carry so many bytes a second in each direction.
type shaped struct {
	mu    sync.Mutex
	rate  int
	bytes map[string]int // by the address that was dialled and who dialled
	conns map[string][]net.Conn
}

func newShaped(rate int) *shaped {
	return &shaped{rate: rate, bytes: map[string]int{}, conns: map[string][]net.Conn{}}
}

func (s *shaped) dial(name string) func(ctx context.Context, address string) (net.Conn, error) {
	return func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := dialTCP(ctx, address)
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		key := name + " " + address
		s.conns[key] = append(s.conns[key], conn)
		return &shapedConn{Conn: conn, of: s, key: key}, nil
	}
}

// between is what has passed between two nodes.
func (s *shaped) between(a, b *Node) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes[a.cfg.Name+" "+b.address()] + s.bytes[b.cfg.Name+" "+a.address()]
}

// cut ends all connections between two nodes.
func (s *shaped) cut(a, b *Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range []string{a.cfg.Name + " " + b.address(), b.cfg.Name + " " + a.address()} {
		for _, c := range s.conns[key] {
			c.Close()
		}
		s.conns[key] = nil
	}
}

type shapedConn struct {
	net.Conn
	of  *shaped
	key string
}

func (c *shapedConn) passed(n int) {
	c.of.mu.Lock()
	c.of.bytes[c.key] += n
	rate := c.of.rate
	c.of.mu.Unlock()
	if rate > 0 {
		<-time.After(time.Duration(n) * time.Second / time.Duration(rate))
	}
}

func (c *shapedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b[:min(len(b), 16<<10)])
	c.passed(n)
	return n, err
}

func (c *shapedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.passed(n)
	return n, err
}

// bigLog saves so many pages that their log is worth sharing out.
func bigLog(t *testing.T, s *storage.Store, commits int) {
	t.Helper()
	words := rand.New(rand.NewPCG(1, 2))
	for at := 0; at < commits; {
		var drafts []storage.Draft
		for range min(256, commits-at) {
			text := fmt.Sprintf("page %d\n", at)
			for range 20 {
				text += fmt.Sprintf("word%d ", words.IntN(1<<20))
			}
			drafts = append(drafts, storage.Draft{Kind: storage.KindPage, Path: fmt.Sprintf("Page%d.md", at),
				Content: []byte(text), Author: storage.Ident{Name: "Ann"}})
			at++
		}
		if _, err := s.Save(t.Context(), drafts...); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBigRangeIsShared: a newcomer copies a long log from two sources, whose
// shares follow their speed, and gets nothing twice, also if one of them is cut
// off in the middle.
func TestBigRangeIsShared(t *testing.T) {
	for _, cut := range []bool{false, true} {
		t.Run(fmt.Sprintf("cut=%v", cut), func(t *testing.T) {
			wires := newShaped(0)
			join := func(name string, to ...string) *Node {
				return startWith(t, name, func(c *Config) { c.Join, c.Dial = to, wires.dial(name) })
			}
			a := join("a")
			b := join("b", a.address())
			eventually(t, "b is there", func() error { return sameDigest(a, b) })
			before := wires.between(a, b)
			bigLog(t, a.cfg.Store, 4*mesh.SplitFrom)
			eventually(t, "b has all", func() error { return sameDigest(a, b) })
			whole := wires.between(a, b) - before

			wires.mu.Lock()
			wires.rate = 1 << 20
			wires.mu.Unlock()
			before = wires.between(a, b)
			c := join("c", a.address())
			if cut {
				eventually(t, "c has begun", func() error {
					if wires.between(b, c) < whole/8 {
						return fmt.Errorf("%d of %d bytes from b", wires.between(b, c), whole)
					}
					return nil
				})
				wires.cut(b, c)
			}
			eventually(t, "c has all", func() error { return sameDigest(a, c) })
			fromA, fromB := wires.between(a, c), wires.between(b, c)
			t.Logf("b's copy took %d bytes; c's %d from a and %d from b, %.2f of that; between a and b %d meanwhile",
				whole, fromA, fromB, float64(fromA+fromB)/float64(whole), wires.between(a, b)-before)
			if !cut && (fromA < whole/5 || fromB < whole/5) {
				t.Error("one of two equal sources gave almost nothing")
			}
			if most := whole * 13 / 10; fromA+fromB > most {
				t.Errorf("%d bytes came, expected at most %d", fromA+fromB, most)
			}
		})
	}
}

func sameDigest(a, b *Node) error {
	x, y := a.cfg.Store.Stats(), b.cfg.Store.Stats()
	if x.Digest != y.Digest {
		return fmt.Errorf("%s has %d commits, %s has %d", a.cfg.Name, x.Commits, b.cfg.Name, y.Commits)
	}
	return nil
}
