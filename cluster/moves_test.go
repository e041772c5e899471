package cluster

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// pulling returns two linked nodes and a's connection for pulls from b.
func pulling(t *testing.T) (a, b *Node, conn *pullConn) {
	a = start(t, "a")
	b = start(t, "b", a.address())
	awaitEqual(t, a, b)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	eventually(t, "a connection for pulls", func() (err error) {
		conn, err = a.pullConn(ctx, b.self)
		return err
	})
	return a, b, conn
}

// TestMovesBesideRequests: looking at a neighbor's connections and serving its
// requests take the same locks, and must never wait for one another.
func TestMovesBesideRequests(t *testing.T) {
	_, _, conn := pulling(t)
	g := conn.from
	eventually(t, "the connection counts, and is at rest", func() error {
		if moved, busy := g.movedBytes(); moved == 0 || busy {
			return fmt.Errorf("%d bytes moved, busy %v", moved, busy)
		}
		return nil
	})
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			conn.mu.Lock()
			<-time.After(time.Microsecond)
			if g.begin() {
				g.end()
			}
			conn.mu.Unlock()
		}
	}()
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		for range 2000 {
			g.alive(time.Now())
		}
	}()
	select {
	case <-looked:
	case <-time.After(time.Minute):
		t.Fatal("looking and serving wait for one another")
	}
	close(stop)
	<-done
}

// TestAskBeside: who asks beside does not wait for a connection that takes nothing,
// and asks for nothing more until it does.
func TestAskBeside(t *testing.T) {
	_, _, conn := pulling(t)
	conn.write.Lock()
	id, a, ok := conn.askBeside(frameLocate, nil)
	_, _, again := conn.askBeside(frameLocate, nil)
	conn.write.Unlock()
	if !ok || again {
		t.Fatalf("asked %v, and a second time %v", ok, again)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if f, err := a.next(ctx, conn); err != nil || f.kind != frameEnd {
		t.Fatalf("request %d is answered by %v, %v", id, f.kind, err)
	}
	eventually(t, "one more may be asked", func() error {
		if _, _, ok := conn.askBeside(frameLocate, nil); !ok {
			return context.DeadlineExceeded
		}
		return nil
	})
}
