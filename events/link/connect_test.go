package link

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/erwik/erwik/storage"
)

// TestSecondConnectGivesNoRights: what NATS keeps of the first CONNECT, the
// secret among it, does not vouch for a second one.
func TestSecondConnectGivesNoRights(t *testing.T) {
	b, evil := newEnd(t, 2), storage.NodeID(bytes.Repeat([]byte{9}, 32))
	victim := newEnd(t, 1)
	connect(t, victim, b)
	near, far := tcpPair(t)
	go b.hub.Accept(evil, far)
	fmt.Fprintf(near, "CONNECT {}\r\nPUB e.%s 0\r\n\r\n", token(evil))
	within(t, b.ups, "up of the neighbor")
	fmt.Fprintf(near, "CONNECT {\"user\":%q}\r\nSUB > 1\r\nPUB e.%s 6\r\nforged\r\nPING\r\n", localUser, token(victim.id))
	near.SetReadDeadline(time.Now().Add(20 * time.Second))
	said, _ := io.ReadAll(near)
	if !strings.Contains(string(said), "Authorization Violation") {
		t.Errorf("the server answers %q", said)
	}
	select {
	case frame := <-b.frames:
		t.Errorf("the frame %q came as the other neighbor's", frame)
	default:
	}
}

// TestSubscriptionsAreBounded: a neighbor can't fill the memory with them.
func TestSubscriptionsAreBounded(t *testing.T) {
	b, evil := newEnd(t, 2), storage.NodeID(bytes.Repeat([]byte{9}, 32))
	near, far := tcpPair(t)
	go b.hub.Accept(evil, far)
	fmt.Fprint(near, "CONNECT {}\r\n")
	for i := range 100 {
		fmt.Fprintf(near, "SUB t.%s %d\r\n", token(evil), i)
	}
	fmt.Fprintf(near, "PUB e.%s 0\r\n\r\n", token(evil))
	within(t, b.ups, "up of the neighbor")
	if got := b.hub.server.NumSubscriptions(); got > 20 {
		t.Errorf("the server holds %d subscriptions", got)
	}
}

// TestDialToASilentNeighborEnds: a neighbor that proves its key and then says
// nothing does not hold up whoever closes.
func TestDialToASilentNeighborEnds(t *testing.T) {
	a := newEnd(t, 1)
	near, _ := tcpPair(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.hub.Dial(ctx, storage.NodeID{2}, near) }()
	cancel()
	if err := within(t, ended, "end of the dial"); err == nil {
		t.Error("there is a link")
	}
}
