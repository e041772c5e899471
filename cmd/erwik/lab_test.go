package main

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// A wire lets n bytes pass only at its speed, keeps deadlines, and a cut ends
// what runs over it.
func TestWire(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ends := make(chan net.Conn, 4)
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			ends <- c
		}
	}()
	w := newWire()
	w.rate = 4000
	c, err := w.dial(t.Context(), listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far := <-ends
	defer far.Close()
	begin := time.Now()
	if _, err := io.WriteString(c, strings.Repeat("x", 1348)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < 340*time.Millisecond { // 1,400 bytes at 4,000 a second
		t.Errorf("1,400 bytes passed in %s", took)
	}
	if wait := w.pass(inward, 948); wait < 200*time.Millisecond {
		t.Errorf("1,000 bytes the other way pass in %s", wait)
	}
	c.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := io.WriteString(c, strings.Repeat("x", 1400)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a write past its deadline: %v", err)
	}
	w.setCut(true)
	c.SetDeadline(time.Time{})
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a cut wire is read from")
	}
	if _, err := w.dial(t.Context(), listener.Addr().String()); !errors.Is(err, errCut) {
		t.Errorf("dial over a cut wire: %v", err)
	}
	w.setCut(false)
	again, err := w.dial(t.Context(), listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	(<-ends).Close()
}

func TestLabPartitionAndKill(t *testing.T) {
	l := newLab(t.TempDir(), 3, testLogger(t))
	defer func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	}()
	for _, name := range l.names {
		if err := l.start(name); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "a whole mesh", func() bool { return l.whole() == "" })
	for _, link := range []string{"e1-e3", "e3-e2"} {
		w, err := l.wire(link)
		if err != nil {
			t.Fatal(err)
		}
		w.setCut(true)
	}
	h, err := l.get("e1").save(t.Context(), l.address("e1"), "Apart", "x")
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the save on e2", func() bool { _, found := l.get("e2").story(h); return found })
	if _, found := l.get("e3").story(h); found {
		t.Error("a node that is cut off has the save")
	}
	if err := l.kill("e2"); err != nil {
		t.Fatal(err)
	}
	for _, w := range l.wires {
		w.setCut(false)
	}
	await(t, "the save on e3", func() bool { _, found := l.get("e3").story(h); return found })
	if err := l.start("e2"); err != nil {
		t.Fatal(err)
	}
	await(t, "a whole mesh again", func() bool { return l.whole() == "" })
	if err := l.start("e2"); err == nil {
		t.Error("a node was started twice")
	}
}

func testLogger(testing.TB) *slog.Logger { return slog.New(slog.DiscardHandler) }

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.After(60 * time.Second); !ok(); {
		select {
		case <-deadline:
			t.Fatalf("no %s after 60 s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
