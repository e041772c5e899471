package wiki

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/erwik/erwik/storage"
)

const plainPut = "PUT /-/api/v1/pages/A HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\n"

func TestGated(t *testing.T) {
	whole := len(plainPut) + 4
	tests := []struct {
		name, in string
		want     int
	}{
		{"whole", plainPut + "body", whole},
		{"more is behind it", plainPut + "bodyX", whole},
		{"the body is on its way", plainPut + "bo", whole},
		{"the header is on its way", plainPut[:40], 0},
		{"a view", strings.Replace(plainPut, "PUT", "GET", 1) + "body", 0},
		{"something else is put", strings.Replace(plainPut, "pages", "other", 1) + "body", 0},
		{"old protocol", strings.Replace(plainPut, "/1.1", "/1.0", 1) + "body", 0},
		{"two lengths", strings.Replace(plainPut, "Host: x", "Host: x\r\nContent-Length: 4", 1) + "body", 0},
		{"no length", strings.Replace(plainPut, "Content-Length: 4\r\n", "", 1) + "body", 0},
		{"a length with a sign", strings.Replace(plainPut, ": 4", ": +4", 1) + "body", 0},
		{"chunks", strings.Replace(plainPut, "Host: x", "Host: x\r\ntransfer-encoding: chunked", 1) + "body", 0},
		{"it waits for a word", strings.Replace(plainPut, "Host: x", "Host: x\r\nExpect: 100-continue", 1) + "body", 0},
		{"the last one", strings.Replace(plainPut, "Host: x", "Host: x\r\nConnection: close", 1) + "body", 0},
		{"a folded line", strings.Replace(plainPut, "Host: x", "Host: x\r\n y", 1) + "body", 0},
		{"a bare line feed", strings.Replace(plainPut, "Host: x", "Host: x\nA: b", 1) + "body", 0},
		{"a blank before the colon", strings.Replace(plainPut, "Host:", "Host :", 1) + "body", 0},
		{"no host", strings.Replace(plainPut, "Host: x\r\n", "", 1) + "body", 0},
		{"too large", strings.Replace(plainPut, ": 4", ": 70000", 1) + "body", 0},
	}
	for _, tt := range tests {
		if got := gated([]byte(tt.in)); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

// FuzzGated: where the gate sees the end of a request, package net/http does too.
func FuzzGated(f *testing.F) {
	f.Add([]byte(plainPut + "body"))
	f.Add([]byte(strings.Replace(plainPut, "Host: x", "Host: x\r\nA:b", 1) + "body"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := gated(b)
		if n == 0 || n > len(b) {
			return
		}
		in := bufio.NewReader(bytes.NewReader(b[:n]))
		r, err := http.ReadRequest(in)
		if err != nil {
			return // the server would refuse it too, and close
		}
		if body, err := io.ReadAll(r.Body); err != nil || in.Buffered() > 0 {
			t.Fatalf("%q: body %q, %v, %d bytes behind it", b[:n], body, err, in.Buffered())
		}
	})
}

// openHandler opens a handler alone, on a store in memory.
func openHandler(t *testing.T) (*Handler, *storage.Store) {
	t.Helper()
	store, err := storage.Open(storage.Config{Dir: "data", FS: vfs.NewMem(), Name: "e1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	h, err := NewHandler(Config{Store: store, NodeName: "e1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h, store
}

// serveGated serves h behind its gate.
func serveGated(t *testing.T, h *Handler) (server *http.Server, address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server = &http.Server{Handler: h, ConnState: h.Gate().State, ConnContext: h.Gate().Context, IdleTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(h.Gate().Listener(listener)) }()
	t.Cleanup(func() { server.Close(); <-ended })
	return server, listener.Addr().String()
}

// TestGateRefuses: with no room, saves are refused on connections that live on, also
// a large one and one that comes in two pieces; views are served; with room again
// the same connections save, and nothing is held when all is over.
func TestGateRefuses(t *testing.T) {
	h, store := openHandler(t)
	server, address := serveGated(t, h)

	saves := h.door.saves
	saves.inside.Add(saves.room)
	request := func(page string, size int) string {
		body := `{"base":["current"],"author":"Ann","text":"` + strings.Repeat("x", size) + `"}`
		return fmt.Sprintf("PUT /-/api/v1/pages/%s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", page, len(body), body)
	}
	type client struct {
		conn net.Conn
		in   *bufio.Reader
	}
	answer := func(c client) (*http.Response, string) {
		t.Helper()
		c.conn.SetReadDeadline(time.Now().Add(time.Minute))
		a, err := http.ReadResponse(c.in, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(a.Body)
		if err != nil {
			t.Fatal(err)
		}
		return a, string(body)
	}
	var clients []client
	for range 20 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		clients = append(clients, client{conn, bufio.NewReader(conn)})
	}
	refused := 0
	for round := range 5 {
		for i, c := range clients {
			text := request(fmt.Sprintf("P-%d", i), []int{100, 20_000, 100_000}[i%3])
			half := len(text)
			if i%2 == 1 {
				half = 60 // in the header
			}
			io.WriteString(c.conn, text[:half])
			io.WriteString(c.conn, text[half:])
		}
		for i, c := range clients {
			a, body := answer(c)
			if a.StatusCode != 503 || a.Header.Get("Retry-After") == "" || !strings.Contains(body, `"code":"busy"`) || a.Header.Get("X-Content-Type-Options") == "" {
				t.Fatalf("round %d, client %d: %d %v %s", round, i, a.StatusCode, a.Header, body)
			}
			if refused++; a.Close {
				t.Fatalf("round %d, client %d: the connection is closed", round, i)
			}
		}
	}
	io.WriteString(clients[0].conn, "GET /-/healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	if a, _ := answer(clients[0]); a.StatusCode != 200 {
		t.Errorf("health on a parked connection: %d", a.StatusCode)
	}
	if pages := store.Stats().Pages; pages != 0 {
		t.Errorf("%d pages were made by what was refused", pages)
	}
	saves.inside.Add(-saves.room)
	for i, c := range clients {
		io.WriteString(c.conn, request(fmt.Sprintf("P-%d", i), 100))
		if a, body := answer(c); a.StatusCode != 201 {
			t.Errorf("client %d with room: %d %s", i, a.StatusCode, body)
		}
		// A request that is no save after all gives its room back.
		io.WriteString(c.conn, plainPut+"body")
		if a, _ := answer(c); a.StatusCode != 400 {
			t.Errorf("client %d: %d for no JSON", i, a.StatusCode)
		}
		c.conn.Close()
	}
	server.Close()
	var text bytes.Buffer
	if err := h.metrics.Write(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{fmt.Sprintf(`erwik_refused_total{class="saves",reason="full"} %d`, refused), fmt.Sprintf(`code="503",method="PUT",route="/-/api/v1/pages/{path}"} %d`, refused)} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the metrics do not say %s", want)
		}
	}
	for end := time.Now().Add(time.Minute); saves.inside.Load() != 0; {
		if time.Now().After(end) {
			t.Fatalf("%d are still inside", saves.inside.Load())
		}
		<-time.After(time.Millisecond)
	}
}

// TestSaversAreParkedEarly: while the room is nearly full, a connection that saved last
// is looked after by the gate, is served there, and is the server's again once it says
// nothing or has asked for something else; one that has not saved never is.
func TestSaversAreParkedEarly(t *testing.T) {
	h, _ := openHandler(t)
	_, address := serveGated(t, h)

	parked := func(want int, within time.Duration) bool {
		for end := time.Now().Add(within); time.Now().Before(end); <-time.After(time.Millisecond) {
			h.gate.mu.Lock()
			now := h.gate.parked
			h.gate.mu.Unlock()
			if now == want {
				return true
			}
		}
		return false
	}
	await := func(want int) {
		t.Helper()
		if !parked(want, time.Minute) {
			t.Fatalf("not %d connections are parked", want)
		}
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	ask := func(request string, want int) {
		t.Helper()
		conn.SetDeadline(time.Now().Add(time.Minute))
		io.WriteString(conn, request)
		a, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, a.Body)
		if a.StatusCode != want {
			t.Fatalf("%.40q: %d, want %d", request, a.StatusCode, want)
		}
	}
	const view = "GET /-/healthz HTTP/1.1\r\nHost: x\r\n\r\n"
	body := `{"base":["current"],"text":"x"}`
	save := fmt.Sprintf("PUT /-/api/v1/pages/A HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	saves := h.door.saves
	ask(save, 201)
	for range 5 {
		if ask(save, 200); parked(1, 20*time.Millisecond) {
			t.Fatal("with room a connection is parked")
		}
	}
	busy := saves.room - saves.room/4
	saves.inside.Add(busy)
	for range 5 {
		if ask(view, 200); parked(1, 20*time.Millisecond) {
			t.Fatal("a connection that has not saved last is parked")
		}
	}
	parks := func() {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; { // on a busy machine it may have been parked and be back
			if ask(save, 200); parked(1, 100*time.Millisecond) {
				return
			}
			if time.Now().After(end) {
				t.Fatal("a connection that saved is not parked")
			}
		}
	}
	parks()
	parks()  // from where it is parked
	await(0) // it says nothing
	parks()
	ask(view, 200)
	await(0)
	saves.inside.Add(-busy)
	ask(save, 200)
}
