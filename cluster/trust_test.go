package cluster

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/erwik/erwik/cluster/mesh"
	"github.com/erwik/erwik/storage"
)

// awaitNamed waits for the alarm that names a node as hostile, and nobody else.
func awaitNamed(t *testing.T, n *Node, name string) {
	t.Helper()
	eventually(t, "an alarm that names "+name, func() error {
		err := errors.New("nobody is named")
		for _, a := range n.Health().Alarms {
			if a.Kind == mesh.AlarmHostile && a.Node != name {
				t.Fatalf("the alarm names %s: %s", a.Node, a.Text)
			}
			if a.Kind == mesh.AlarmHostile {
				err = nil
			}
		}
		return err
	})
}

// TestFloodingNeighbor: over real links a neighbor sends far more than its share,
// in and out of form. It is named, and saves of others go to and fro meanwhile.
func TestFloodingNeighbor(t *testing.T) {
	inForm := []byte{1, 0, 0}
	for range 300 { // summaries that say nothing
		inForm = append(append(inForm, 1, 0, 1), make([]byte, 26)...)
	}
	for name, frame := range map[string][]byte{"frames in form": inForm, "garbage": {9, 9, 9}, "long garbage": make([]byte, 30<<10)} {
		t.Run(name, func(t *testing.T) {
			a := start(t, "a")
			b := start(t, "b", a.address())
			c := start(t, "c", a.address())
			eventually(t, "a full mesh", func() error {
				if x := len(a.linked()) + len(b.linked()) + len(c.linked()); x != 6 {
					return fmt.Errorf("%d ends of links", x)
				}
				return nil
			})
			stop, ended := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(ended)
				for {
					select {
					case <-stop:
						return
					default:
						for range 100 {
							b.hub.Send(a.self, frame)
						}
						if len(frame) > 1000 {
							<-time.After(time.Millisecond)
						}
					}
				}
			}()
			for i := range 20 {
				page := fmt.Sprintf("P%d.md", i)
				save(t, c.cfg.Store, page, "honest")
				eventually(t, "an honest save arrives", func() error {
					if heads, err := a.cfg.Store.Heads(page); err != nil || len(heads) == 0 {
						return fmt.Errorf("not here: %w", err)
					}
					return nil
				})
			}
			awaitNamed(t, a, "b")
			close(stop)
			<-ended
			t.Logf("dropped by a: %v", a.Dropped())
			awaitEqual(t, a, b, c)
		})
	}
}

// TestGreedyPuller: a neighbor's connections and requests are bounded, and one
// that goes on asking for more is named.
func TestGreedyPuller(t *testing.T) {
	a := start(t, "a")
	b := start(t, "b", a.address())
	awaitEqual(t, a, b)
	eventually(t, "a link", func() error {
		if len(a.linked()) != 1 {
			return errors.New("none")
		}
		return nil
	})
	if _, err := b.pullConn(t.Context(), a.self); err != nil { // what is over its share is refused, not the first
		t.Fatal(err)
	}
	closed := make(chan struct{}, 64)
	for range maxPullConns + 8 {
		conn, err := b.dialTLS(t.Context(), a.address(), protoPull, a.self)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		go func() {
			conn.Read(make([]byte, 1))
			closed <- struct{}{}
		}()
	}
	for range 8 {
		select {
		case <-closed:
		case <-time.After(30 * time.Second):
			t.Fatal("more connections than its share are open")
		}
	}
	awaitNamed(t, a, "b")
	g := a.conns.guest(b.self)
	g.mu.Lock()
	open := len(g.conns)
	g.mu.Unlock()
	if open > maxPullConns {
		t.Errorf("%d connections", open)
	}
	save(t, a.cfg.Store, "P.md", "x")
	awaitEqual(t, a, b)
}

// TestAnswersOfOneNeighborAreBounded over all its connections and in time.
func TestAnswersOfOneNeighborAreBounded(t *testing.T) {
	var c connections
	c.init()
	g := c.guest(storage.NodeID{1})
	for range maxServed {
		if !g.begin() {
			t.Fatal("a place within the share is refused")
		}
	}
	if g.begin() || !c.guest(storage.NodeID{2}).begin() {
		t.Error("the share of one neighbor is not its own")
	}
	g.end()
	if !g.begin() {
		t.Error("a place that was given back is refused")
	}
	held := 0
	done := make(chan struct{})
	close(done)
	for range maxServedEach + 50 {
		if g.wait(done) {
			held++
		}
	}
	if held != 50 {
		t.Errorf("%d of 50 answers over the share waited", held)
	}
}
