package wiki_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/erwik/erwik/wiki"
)

// stream opens the events of a server and reads up to where they begin.
func stream(t *testing.T, server *httptest.Server, query string) *bufio.Reader {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+api+"events"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { answer.Body.Close() })
	if got := answer.Header.Get("Content-Type"); answer.StatusCode != 200 || got != "text/event-stream; charset=utf-8" {
		t.Fatalf("status %d, content type %q", answer.StatusCode, got)
	}
	lines := bufio.NewReader(answer.Body)
	readUntil(t, lines, "")
	return lines
}

// readUntil returns the lines up to one that is exactly end.
func readUntil(t *testing.T, lines *bufio.Reader, end string) []string {
	t.Helper()
	var got []string
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("%v after %q", err, got)
		}
		if line = strings.TrimSuffix(line, "\n"); line == end {
			return got
		}
		got = append(got, line)
	}
}

func TestEvents(t *testing.T) {
	w := newWorld(t, nil)
	server := httptest.NewServer(w.handler)
	t.Cleanup(server.Close)
	asJSON, asErlang := stream(t, server, ""), stream(t, server, "?format=erlang")
	commit := w.put("docs/Page", "x\n")

	got := readUntil(t, asJSON, "")
	if len(got) != 2 || got[0] != "event: commit" {
		t.Fatalf("event %q", got)
	}
	var event struct {
		Type   string
		Origin string
		Args   struct {
			Log, Checksum, Page string
			Sequence            int
		}
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(got[1], "data: ")), &event); err != nil {
		t.Fatal(err)
	}
	if event.Type != "commit" || event.Origin != w.store.Node().String() || event.Args.Page != "docs/Page" || event.Args.Checksum != commit || event.Args.Sequence != 1 {
		t.Errorf("event %+v", event)
	}
	got = readUntil(t, asErlang, "")
	if want := fmt.Sprintf(`{checksum, "%s"}`, commit); len(got) != 2 || !strings.HasPrefix(got[1], "data: {event, commit, [") || !strings.Contains(got[1], want) {
		t.Errorf("Erlang event %q", got)
	}
	wantStatus(t, w.get(api+"events?format=xml"), 400)
}

// notice is an event made for a test.
type notice string

func (n notice) Name() string   { return "test" }
func (n notice) JSON() []byte   { return []byte(n) }
func (n notice) Erlang() []byte { return []byte(n) }

// pausing is a client that reads nothing until it may.
type pausing struct {
	header  http.Header
	entered chan struct{}
	resume  chan struct{}
	out     chan string
}

func (p *pausing) Header() http.Header { return p.header }
func (p *pausing) WriteHeader(int)     {}
func (p *pausing) Flush()              {}
func (p *pausing) Write(b []byte) (int, error) {
	p.entered <- struct{}{}
	<-p.resume
	p.out <- string(b)
	return len(b), nil
}

func TestSlowReaderIsToldWhatItMissed(t *testing.T) {
	feed := wiki.NewFeed()
	w := newWorld(t, func(c *wiki.Config) { c.Feed = feed })
	p := &pausing{header: http.Header{}, entered: make(chan struct{}, 1<<16), resume: make(chan struct{}), out: make(chan string, 1<<16)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.handler.ServeHTTP(p, httptest.NewRequestWithContext(ctx, "GET", api+"events", nil))
	}()
	<-p.entered // it is subscribed, and stuck in its first write
	const sent = 3000
	for i := range sent {
		feed.Publish(notice(fmt.Sprint(i)))
	}
	close(p.resume)
	<-p.out // the greeting
	first := <-p.out
	if want := fmt.Sprintf(": %d events were dropped", sent-1024); !strings.HasPrefix(first, want) || !strings.HasSuffix(first, "data: 0\n\n") {
		t.Errorf("got %q, want it to begin with %q", first, want)
	}
	for i := 1; i < 1024; i++ {
		if got, want := <-p.out, fmt.Sprintf("event: test\ndata: %d\n\n", i); got != want {
			t.Fatalf("event %d: %q, want %q", i, got, want)
		}
	}
	cancel()
	<-done
	if n := feed.Readers(); n != 0 {
		t.Errorf("%d readers are left", n)
	}
}

func TestCloseEndsStreams(t *testing.T) {
	w := newWorld(t, nil)
	server := httptest.NewServer(w.handler)
	t.Cleanup(server.Close)
	lines := stream(t, server, "")
	w.handler.Close()
	if _, err := lines.ReadString('\n'); err != io.EOF {
		t.Errorf("after Close: %v, want EOF", err)
	}
	wantStatus(t, w.get(api+"events"), 503)
}
