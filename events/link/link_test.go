package link

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/erwik/erwik/storage"
)

// recorder is a Handler that hands on what it is told.
type recorder struct {
	ups, downs chan storage.NodeID
	rtts       chan time.Duration
	frames     chan []byte
}

func newRecorder() *recorder {
	return &recorder{make(chan storage.NodeID, 16), make(chan storage.NodeID, 16), make(chan time.Duration, 16), make(chan []byte, 4096)}
}

func (r *recorder) Up(peer storage.NodeID, rtt time.Duration, _ string) {
	r.rtts <- rtt
	r.ups <- peer
}
func (r *recorder) Down(peer storage.NodeID, _ error)    { r.downs <- peer }
func (r *recorder) Frame(_ storage.NodeID, frame []byte) { r.frames <- frame }

func within[T any](t testing.TB, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(20 * time.Second):
		t.Fatalf("no %s within 20 s", what)
	}
	return v
}

type end struct {
	*recorder
	hub *Hub
	id  storage.NodeID
}

func newEnd(t testing.TB, n byte) end {
	t.Helper()
	id := storage.NodeID(bytes.Repeat([]byte{n}, 32))
	r := newRecorder()
	h, err := Open(id, r, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return end{r, h, id}
}

// connect links a to b over loopback TCP; a dials.
func connect(t testing.TB, a, b end) {
	t.Helper()
	near, far := tcpPair(t)
	go b.hub.Accept(a.id, far)
	if err := a.hub.Dial(context.Background(), b.id, near); err != nil {
		t.Fatal(err)
	}
	if got := within(t, a.ups, "up at the dialer"); got != b.id {
		t.Fatalf("up: %s", got)
	}
	if got := within(t, b.ups, "up at the other end"); got != a.id {
		t.Fatalf("up: %s", got)
	}
}

func tcpPair(t testing.TB) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			accepted <- c
		}
	}()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	return near, within(t, accepted, "connection")
}

// slowStart is a connection whose far end says nothing at first.
type slowStart struct {
	net.Conn
	first sync.Once
	wait  time.Duration
}

func (c *slowStart) Write(b []byte) (int, error) {
	c.first.Do(func() { <-time.After(c.wait) })
	return c.Conn.Write(b)
}

// TestRoundTripIsOfTheLink: what the far end takes until its first word, as while
// it waits for news that the dialer is admitted, is no part of the round trip.
func TestRoundTripIsOfTheLink(t *testing.T) {
	a, b := newEnd(t, 1), newEnd(t, 2)
	const wait = 2 * time.Second
	near, far := tcpPair(t)
	go b.hub.Accept(a.id, &slowStart{Conn: far, wait: wait})
	if err := a.hub.Dial(context.Background(), b.id, near); err != nil {
		t.Fatal(err)
	}
	within(t, a.ups, "up at the dialer")
	if rtt := within(t, a.rtts, "round trip"); rtt <= 0 || rtt >= wait/4 {
		t.Errorf("a round trip of %v, of which %v were the far end's silence", rtt, wait)
	}
}

func TestFramesGoBothWaysInOrder(t *testing.T) {
	a, b := newEnd(t, 1), newEnd(t, 2)
	connect(t, a, b)
	for i := range 40 {
		a.hub.Send(b.id, fmt.Appendf(nil, "a%d", i))
		b.hub.Send(a.id, fmt.Appendf(nil, "b%d", i))
		if got := string(within(t, b.frames, "frame")); got != fmt.Sprint("a", i) {
			t.Fatalf("b got %q as number %d", got, i)
		}
		if got := string(within(t, a.frames, "frame")); got != fmt.Sprint("b", i) {
			t.Fatalf("a got %q as number %d", got, i)
		}
	}
	large := bytes.Repeat([]byte{7}, 32<<10)
	a.hub.Send(b.id, large)
	if got := within(t, b.frames, "large frame"); !bytes.Equal(got, large) {
		t.Errorf("a frame of %d bytes came as %d", len(large), len(got))
	}
}

func TestDownIsToldOnBothEndsAndTheNextLinkWorks(t *testing.T) {
	a, b := newEnd(t, 1), newEnd(t, 2)
	for range 3 {
		connect(t, a, b)
		a.hub.Drop(b.id, "test")
		within(t, a.downs, "down at the dialer")
		within(t, b.downs, "down at the other end")
	}
	connect(t, b, a)
	a.hub.Drop(b.id, "test")
	within(t, a.downs, "down")
	within(t, b.downs, "down")
}

func TestNewerLinkReplacesTheOlder(t *testing.T) {
	a, b := newEnd(t, 1), newEnd(t, 2)
	connect(t, a, b)
	connect(t, a, b)
	within(t, a.downs, "down of the older")
	within(t, b.downs, "down of the older")
	a.hub.Send(b.id, []byte("x"))
	within(t, b.frames, "frame over the newer")
}

// TestNeighborCannotSpeakForAnother: what a dialer writes into CONNECT and as
// subject does not matter.
func TestNeighborCannotSpeakForAnother(t *testing.T) {
	b, evil := newEnd(t, 2), storage.NodeID(bytes.Repeat([]byte{9}, 32))
	victim := newEnd(t, 1)
	connect(t, victim, b)
	near, far := tcpPair(t)
	go b.hub.Accept(evil, far)
	fmt.Fprintf(near, "CONNECT {\"user\":%q,\"pass\":\"x\",\"verbose\":false,\"protocol\":1}\r\n", localUser)
	fmt.Fprintf(near, "SUB t.%s 1\r\nSUB > 2\r\nPUB e.%s 4\r\nevil\r\nPUB $SYS.x 1\r\nx\r\nPUB t.%s 4\r\nevil\r\nPING\r\n",
		token(victim.id), token(victim.id), token(victim.id))
	near.SetReadDeadline(time.Now().Add(20 * time.Second))
	seen := ""
	buf := make([]byte, 64<<10)
	for strings.Count(seen, "Permissions Violation") < 5 {
		n, err := near.Read(buf)
		if seen += string(buf[:n]); err != nil {
			t.Fatalf("%v after %q", err, seen)
		}
	}
	victim.hub.Send(b.id, []byte("honest"))
	if got := string(within(t, b.frames, "frame")); got != "honest" {
		t.Errorf("b got %q", got)
	}
	if n := len(victim.frames); n != 0 {
		t.Errorf("the victim got %d frames", n)
	}
}

func TestGarbageEndsTheConnection(t *testing.T) {
	b := newEnd(t, 2)
	for _, garbage := range []string{"GET / HTTP/1.1\r\n\r\n", strings.Repeat("x", maxConnect+1), "CONNECT {}\r\nPUB e.x 4294967295\r\n"} {
		near, far := tcpPair(t)
		ended := make(chan error, 1)
		go func() { ended <- b.hub.Accept(storage.NodeID{9}, far) }()
		near.Write([]byte(garbage))
		within(t, ended, "end of the connection")
		near.Close()
	}
}

// BenchmarkRoundTrip measures a frame there and one back over loopback TCP.
func BenchmarkRoundTrip(b *testing.B) {
	x, y := newEnd(b, 1), newEnd(b, 2)
	connect(b, x, y)
	frame := make([]byte, 250)
	for b.Loop() {
		binary.BigEndian.PutUint64(frame, uint64(b.N))
		x.hub.Send(y.id, frame)
		<-y.frames
		y.hub.Send(x.id, frame)
		<-x.frames
	}
}
