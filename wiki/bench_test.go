package wiki_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/erwik/erwik/wiki"
)

// article is a page that renders to about 12 KB of HTML.
func article() string {
	var b strings.Builder
	b.WriteString("# An article\n\n")
	for i := range 12 {
		fmt.Fprintf(&b, "## Part %d\n\n", i)
		for range 6 {
			b.WriteString("Words that *somebody* wrote, with a [[link %d]] and `code`, as pages are. ")
		}
		b.WriteString("\n\n- one\n- two\n\n")
	}
	return b.String()
}

// sink is a response writer that costs nothing.
type sink struct {
	header http.Header
	bytes  int
	status int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) Write(b []byte) (int, error) { s.bytes += len(b); return len(b), nil }
func (s *sink) WriteHeader(status int)      { s.status = status }

func benchHandler(b *testing.B) *wiki.Handler {
	b.Helper()
	handler, err := wiki.NewHandler(wiki.Config{Store: openStore(b), NodeName: "e1"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(handler.Close)
	return handler
}

func putBody(b *testing.B, text string) []byte {
	b.Helper()
	body, err := json.Marshal(fields{"text": text, "author": "Ann", "summary": "s", "base": []string{"current"}})
	if err != nil {
		b.Fatal(err)
	}
	return body
}

func benchPut(b *testing.B, h http.Handler, name, text string) {
	b.Helper()
	r, err := http.NewRequest("PUT", api+"pages/"+name, bytes.NewReader(putBody(b, text)))
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	w := &sink{header: http.Header{}}
	h.ServeHTTP(w, r)
	if w.status != 200 && w.status != 201 {
		b.Fatalf("PUT %s: status %d", name, w.status)
	}
}

// BenchmarkPageViewHot is the cost of a page that was shown before, without
// the network.
func BenchmarkPageViewHot(b *testing.B) {
	h := benchHandler(b)
	benchPut(b, h, "Article", article())
	r, err := http.NewRequest("GET", "/Article", nil)
	if err != nil {
		b.Fatal(err)
	}
	h.ServeHTTP(&sink{header: http.Header{}}, r)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		w := &sink{header: http.Header{}}
		for pb.Next() {
			clear(w.header)
			h.ServeHTTP(w, r)
		}
	})
}

// BenchmarkPageViewCold is the cost of rendering.
func BenchmarkPageViewCold(b *testing.B) {
	h := benchHandler(b)
	benchPut(b, h, "Article", article())
	r, err := http.NewRequest("GET", "/Article?saved", nil)
	if err != nil {
		b.Fatal(err)
	}
	w := &sink{header: http.Header{}}
	for b.Loop() {
		w.bytes = 0
		h.ServeHTTP(w, r)
	}
	b.ReportMetric(float64(w.bytes), "bytes")
}

// BenchmarkServed compares a hot page over real connections with a server that
// writes the same bytes.
func BenchmarkServed(b *testing.B) {
	h := benchHandler(b)
	benchPut(b, h, "Article", article())
	w := &recorder{header: http.Header{}}
	r, err := http.NewRequest("GET", "/Article", nil)
	if err != nil {
		b.Fatal(err)
	}
	h.ServeHTTP(w, r)
	length := []string{fmt.Sprint(w.body.Len())}
	plain := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header()["Content-Type"] = []string{"text/html; charset=utf-8"}
		rw.Header()["Content-Length"] = length
		_, _ = rw.Write(w.body.Bytes())
	})
	for name, handler := range map[string]http.Handler{"plain": plain, "wiki": h} {
		b.Run(name, func(b *testing.B) { benchServed(b, handler) })
	}
}

type recorder struct {
	header http.Header
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }
func (r *recorder) WriteHeader(int)             {}

// benchServed uses raw connections, since net/http's client costs more than
// its server.
func benchServed(b *testing.B, handler http.Handler) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	defer func() {
		if err := server.Close(); err != nil {
			b.Error(err)
		}
		<-done
	}()
	request := []byte("GET /Article HTTP/1.1\r\nHost: x\r\n\r\n")
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		buffer := make([]byte, 64<<10)
		for pb.Next() {
			if _, err := conn.Write(request); err != nil {
				b.Error(err)
				return
			}
			if err := readAnswer(conn, buffer); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// readAnswer reads one answer with a Content-Length.
func readAnswer(conn io.Reader, buffer []byte) error {
	have, want := 0, -1
	for want < 0 || have < want {
		n, err := conn.Read(buffer[have:])
		if err != nil {
			return err
		}
		have += n
		if want >= 0 {
			continue
		}
		end := bytes.Index(buffer[:have], []byte("\r\n\r\n"))
		if end < 0 {
			continue
		}
		at := bytes.Index(buffer[:end], []byte("Content-Length: "))
		length := 0
		for _, c := range buffer[at+len("Content-Length: ") : end] {
			if c < '0' || c > '9' {
				break
			}
			length = 10*length + int(c-'0')
		}
		want = end + 4 + length
	}
	return nil
}

// BenchmarkSave is a save of 4 KB by PUT, without the network.
func BenchmarkSave(b *testing.B) {
	h := benchHandler(b)
	text := strings.Repeat("a line of a page that somebody edits\n", 110)
	var serial atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		w := &sink{header: http.Header{}}
		n := serial.Add(1)
		target := fmt.Sprintf("%spages/Page-%d", api, n)
		for i := 0; pb.Next(); i++ {
			body := putBody(b, fmt.Sprintf("%d\n%s", i, text))
			r, err := http.NewRequest("PUT", target, bytes.NewReader(body))
			if err != nil {
				b.Error(err)
				return
			}
			r.Header.Set("Content-Type", "application/json")
			clear(w.header)
			h.ServeHTTP(w, r)
			if w.status != 200 && w.status != 201 {
				b.Errorf("status %d", w.status)
				return
			}
		}
	})
}

// BenchmarkRead is GET of a page's JSON, without the network.
func BenchmarkRead(b *testing.B) {
	h := benchHandler(b)
	benchPut(b, h, "Page", strings.Repeat("a line of a page that somebody reads\n", 110))
	r, err := http.NewRequest("GET", api+"pages/Page", nil)
	if err != nil {
		b.Fatal(err)
	}
	w := &sink{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		h.ServeHTTP(w, r)
	}
}
