package cluster

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/erwik/erwik/cluster/mesh"
	"github.com/erwik/erwik/storage"
)

// TestManySmallEditsOfALargePageArrive: their deltas are short, but the texts
// that they stand for are more than one Receive takes.
func TestManySmallEditsOfALargePageArrive(t *testing.T) {
	a := start(t, "a")
	body := bytes.Repeat([]byte("a line that stays as it is\n"), 16<<10)
	var last []storage.Hash
	for i := range 90 {
		last = []storage.Hash{save(t, a.cfg.Store, "Large.md", fmt.Sprintf("%srevision %d\n", body, i), last...).Hash}
	}
	b := start(t, "b", a.address())
	awaitEqual(t, a, b)
}

// TestDeltasDoNotFillTheMemory: a chunk of short deltas that each stand for a
// large text is taken a few texts at a time.
func TestDeltasDoNotFillTheMemory(t *testing.T) {
	s := openStore(t, "source")
	body := bytes.Repeat([]byte("x"), storage.MaxContent-10)
	first := save(t, s, "Large.md", string(body))
	save(t, s, "Large.md", string(body)+"y", first.Hash)
	chunk := []byte{chunkRaw}
	base := func(storage.Hash) ([]byte, bool) { return body, true }
	err := s.Range([]storage.Span{{Log: first.Log, After: 1}}, func(r storage.Record) bool {
		for range 200 {
			chunk = appendRecord(chunk, r, base)
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	n := start(t, "n")
	if err := n.cfg.Store.Admit(t.Context(), s.Node(), "source"); err != nil {
		t.Fatal(err)
	}
	err = s.Range([]storage.Span{{Log: first.Log, UpTo: 1}}, func(r storage.Record) bool {
		_, err := n.cfg.Store.Receive(t.Context(), []storage.Record{r})
		return err == nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.take(t.Context(), s.Node(), chunk, newContents()); err != nil {
		t.Errorf("200 copies of one edit, %d bytes: %v", len(chunk), err)
	}
	if got := n.cfg.Store.Stats().Commits; got != 2 {
		t.Errorf("%d commits", got)
	}
}

// TestEndedPullsAreForgotten: nothing of a pull stays with the node's context.
func TestEndedPullsAreForgotten(t *testing.T) {
	n := start(t, "n")
	ctx := n.beginPull(7)
	n.endPull(7)
	if ctx.Err() == nil {
		t.Error("the context of a pull that has ended lives on")
	}
}

// TestCancelledAnswersKeepTheirPlace: a neighbor that asks, cancels and reads
// nothing does not get more answers under way than maxServedConn.
func TestCancelledAnswersKeepTheirPlace(t *testing.T) {
	n := start(t, "n")
	p := &pullConn{node: n, done: make(chan struct{}), served: make(map[uint64]*serving)}
	for id := range uint64(maxServedConn) {
		p.served[id] = &serving{stop: make(chan struct{})}
	}
	for range 2 { // a second cancel is no fault
		if err := p.handle(pullFrame{kind: frameCancel}, 3); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-p.served[3].stop:
	default:
		t.Error("the answer was not stopped")
	}
	if len(p.served) != maxServedConn {
		t.Error("a cancelled answer that is still being sent has given its place away")
	}
}

// TestJoinsUnderWayAreBounded: whoever reaches the port can begin a join, and
// each may take a large message.
func TestJoinsUnderWayAreBounded(t *testing.T) {
	a, b := start(t, "a"), start(t, "b")
	for range maxJoins + 1 {
		conn, err := b.dialTLS(t.Context(), a.address(), protoJoin, a.self)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.Write([]byte{0, 15, 0, 0})
	}
	eventually(t, "one too many is closed", func() error {
		if a.Dropped()["join_flood"] == 0 {
			return fmt.Errorf("counted: %v", a.Dropped())
		}
		return nil
	})
}

// TestTokensMadeAtOnceAreAllKept: no token that was printed is lost.
func TestTokensMadeAtOnceAreAllKept(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := IssueToken(dir, storage.NodeID{1}, time.Hour, now); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if all, err := readTokens(dir); err != nil || len(all) != 20 {
		t.Errorf("%d tokens, %v", len(all), err)
	}
}

// TestSlowDialLeavesANewLinkAlone: a dial that ends after the other side has
// made the link does not replace it, else two slow ends would go on replacing
// each other's connections.
func TestSlowDialLeavesANewLinkAlone(t *testing.T) {
	var slow atomic.Bool
	dialing := make(chan struct{}, 64)
	held := func(goOn <-chan struct{}) func(*Config) {
		return func(c *Config) {
			c.Dial = func(ctx context.Context, address string) (net.Conn, error) {
				if !slow.Load() {
					return dialTCP(ctx, address)
				}
				dialing <- struct{}{}
				select {
				case <-goOn:
					return dialTCP(ctx, address)
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
		}
	}
	aGoesOn, bGoesOn := make(chan struct{}), make(chan struct{})
	a := startWith(t, "a", held(aGoesOn))
	b := startWith(t, "b", func(c *Config) {
		held(bGoesOn)(c)
		c.Join = []string{a.address()}
	})
	id := b.cfg.Store.Node()
	is := func(up bool) func() error {
		return func() error {
			if _, is := a.hub.UpSince(id); is != up {
				return fmt.Errorf("the link is up: %t", is)
			}
			return nil
		}
	}
	eventually(t, "a link", is(true))
	slow.Store(true)
	eventually(t, "no link", func() error { // a dial that began before may have made another one; then both ends' dials wait
		b.hub.Drop(a.cfg.Store.Node(), "the test drops it")
		return is(false)()
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.dialLink(mesh.Dial{Node: id, Addresses: []string{b.address()}})
	}()
	<-dialing
	close(bGoesOn)
	eventually(t, "a link, made by b", is(true))
	made, _ := a.hub.UpSince(id)
	close(aGoesOn)
	<-done
	if at, up := a.hub.UpSince(id); !up || at != made {
		t.Errorf("the link was made at %s, now at %s (%t)", made, at, up)
	}
}
