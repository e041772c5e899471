package integration

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// dialFrom connects from an address of the loopback network.
func dialFrom(t *testing.T, from, to string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}
	conn, err := d.Dial("tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestSlowClients: those who dribble are let go of, those who are only slow are
// served, and nobody else notices.
func TestSlowClients(t *testing.T) {
	a := newNode(t, "e1").start().awaitReady()
	a.put("Page", "text")
	var dribblers []net.Conn
	for i := range 300 {
		conn := dialFrom(t, fmt.Sprintf("127.1.0.%d", 1+i/50), a.address)
		head := []string{"G", "GET /Page HTTP/1.1\r\nHost: x\r\nX-Slow: ", "PUT /-/api/v1/pages/Slow HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 200000\r\n\r\n{"}[i%3]
		if _, err := io.WriteString(conn, head); err != nil {
			t.Fatal(err)
		}
		dribblers = append(dribblers, conn)
	}
	for i := range 50 {
		if _, _, err := a.put(fmt.Sprintf("Meanwhile-%d", i), "text"); err != nil {
			t.Fatal(err)
		}
	}
	// An honest one who sends some bytes now and then saves, after longer than a
	// header may take.
	body, _ := json.Marshal(map[string]any{"text": strings.Repeat("slow but honest\n", 40), "author": "Ann"})
	slow := dialFrom(t, "127.1.0.200", a.address)
	fmt.Fprintf(slow, "PUT /-/api/v1/pages/Honest HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(body))
	pace := time.NewTicker(time.Second)
	defer pace.Stop()
	for len(body) > 0 {
		n := min(len(body), 60)
		if _, err := slow.Write(body[:n]); err != nil {
			t.Fatal(err)
		}
		body = body[n:]
		<-pace.C
	}
	answer, err := http.ReadResponse(bufio.NewReader(slow), nil)
	if err != nil || answer.StatusCode != http.StatusCreated {
		t.Fatalf("the slow save: %v, %v", answer, err)
	}
	for i, conn := range dribblers {
		conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
			t.Fatalf("dribbler %d is still held", i)
		}
	}
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

// TestConnectionsOfOneAddress: one address has its share and is told so; others,
// loopback and proxies are not concerned, and what was closed is free again.
func TestConnectionsOfOneAddress(t *testing.T) {
	a := newNode(t, "e1", "--connections-from", "8", "--proxy", "127.2.0.9").start().awaitReady()
	ask := func(conn net.Conn) (int, string) {
		io.WriteString(conn, "GET /-/healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		conn.SetReadDeadline(time.Now().Add(patience))
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return 0, err.Error()
		}
		defer answer.Body.Close()
		io.Copy(io.Discard, answer.Body)
		return answer.StatusCode, answer.Header.Get("Retry-After")
	}
	var held []net.Conn
	for range 8 {
		conn := dialFrom(t, "127.2.0.1", a.address)
		if status, why := ask(conn); status != 200 {
			t.Fatalf("status %d %s", status, why)
		}
		held = append(held, conn)
	}
	if status, after := ask(dialFrom(t, "127.2.0.1", a.address)); status != 429 || after == "" {
		t.Errorf("the ninth: status %d, Retry-After %q", status, after)
	}
	for _, from := range []string{"127.2.0.2", "127.0.0.1"} {
		if status, why := ask(dialFrom(t, from, a.address)); status != 200 {
			t.Errorf("from %s: status %d %s", from, status, why)
		}
	}
	for range 20 {
		if status, why := ask(dialFrom(t, "127.2.0.9", a.address)); status != 200 {
			t.Fatalf("from the proxy: status %d %s", status, why)
		}
	}
	held[0].Close()
	eventually(t, "a closed connection makes room", func() error {
		if status, why := ask(dialFrom(t, "127.2.0.1", a.address)); status != 200 {
			return fmt.Errorf("status %d %s", status, why)
		}
		return nil
	})
}

// TestOverload: more savers than there is room for. Each answer is a save that is
// kept or a refusal that says when to come again; views and health go on; when it
// is over everybody gets in.
func TestOverload(t *testing.T) {
	a := newNode(t, "e1", "--log-level", "warn").start().awaitReady()
	a.put("Seen", "text")
	text := strings.Repeat("many words ", 100)
	var mu sync.Mutex
	kept, refused, wrong := 0, 0, ""
	var wg sync.WaitGroup
	end := time.Now().Add(4 * time.Second)
	for client := range 1600 {
		wg.Go(func() {
			conn, err := net.DialTimeout("tcp", a.address, patience)
			if err != nil {
				mu.Lock()
				wrong = err.Error()
				mu.Unlock()
				return
			}
			defer conn.Close()
			in := bufio.NewReader(conn)
			for i := 0; time.Now().Before(end); i++ {
				body, _ := json.Marshal(map[string]any{"text": fmt.Sprint(i, text), "author": "Ann", "base": []string{"current"}})
				fmt.Fprintf(conn, "PUT /-/api/v1/pages/P-%d-%d HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", client, i, len(body), body)
				answer, err := http.ReadResponse(in, nil)
				if err != nil {
					mu.Lock()
					wrong = err.Error()
					mu.Unlock()
					return
				}
				said, _ := io.ReadAll(answer.Body)
				answer.Body.Close()
				mu.Lock()
				switch {
				case answer.StatusCode == 201:
					kept++
				case (answer.StatusCode == 503 || answer.StatusCode == 429) && answer.Header.Get("Retry-After") != "" && bytes.Contains(said, []byte(`"code":"busy"`)):
					refused++
				default:
					wrong = fmt.Sprintf("status %d: %.200s", answer.StatusCode, said)
				}
				mu.Unlock()
			}
		})
	}
	for time.Now().Before(end) {
		for _, path := range []string{"/Seen", "/-/healthz", "/-/readyz", "/-/api/v1/status"} {
			if status, _, err := a.do("GET", path, nil, nil); err != nil || status != 200 {
				t.Errorf("GET %s: %d, %v", path, status, err)
			}
		}
	}
	wg.Wait()
	t.Logf("%d saves kept, %d refused", kept, refused)
	if wrong != "" || kept == 0 || refused == 0 {
		t.Errorf("%d kept, %d refused, wrong: %s", kept, refused, wrong)
	}
	all, err := a.families()
	if err != nil {
		t.Fatal(err)
	}
	if pages, _ := value(all, "erwik_pages"); int(pages) != kept+1 {
		t.Errorf("%d saves were acknowledged, %v pages are here", kept, pages-1)
	}
	if counted, _ := value(all, "erwik_refused_total", "class", "saves", "reason", "full"); int(counted) != refused {
		t.Errorf("%d refusals were seen, %v counted", refused, counted)
	}
	if _, _, err := a.put("After", "text"); err != nil {
		t.Error(err)
	}
}

// TestMemoryOfLargeClashes: many who edit the largest page on an old revision, half
// of them the same line. Each gets his save, a conflict with all texts, or is told to
// come again, if there is no room, and the node stays within its memory.
func TestMemoryOfLargeClashes(t *testing.T) {
	const savers, most = 160, 512 << 20
	a := newNode(t, "e1", "--log-level", "warn").start().awaitReady()
	lines := make([]string, 16_000)
	for i := range lines {
		lines[i] = fmt.Sprintf("line %05d %s", i, strings.Repeat("x", 50))
	}
	edited := func(i int) string {
		mine := slices.Clone(lines)
		if mine[100*i] = fmt.Sprintf("saver %d", i); i%2 == 1 {
			mine[50] = mine[100*i]
		}
		return strings.Join(mine, "\n")
	}
	base := a.mustPut("Large", strings.Join(lines, "\n"))
	a.mustPut("Large", edited(1), base.Commit)

	var mu sync.Mutex
	var kept []int
	clashes, refused, wrong := 0, 0, ""
	var wg sync.WaitGroup
	for i := 2; i < savers; i++ {
		wg.Go(func() {
			body, _ := json.Marshal(map[string]any{"text": edited(i), "author": "Ann", "base": []string{base.Commit}})
			status, said, err := a.do("PUT", "/-/api/v1/pages/Large", jsonBody, bytes.NewReader(body))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && status == 200:
				kept = append(kept, i)
			case err == nil && status == 409 && i%2 == 1 && bytes.Contains(said, []byte(`"code":"conflict"`)) && len(said) > 3<<20:
				clashes++
			case err == nil && (status == 503 || status == 409) && bytes.Contains(said, []byte(`"code":"busy"`)):
				refused++
			default:
				wrong = fmt.Sprintf("saver %d: status %d, %v, %d bytes: %.200s", i, status, err, len(said), said)
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	highest, look := 0, time.NewTicker(20*time.Millisecond)
	defer look.Stop()
	for waiting := true; waiting; {
		select {
		case <-done:
			waiting = false
		case <-look.C:
			highest = max(highest, memory(t, a))
		}
	}
	t.Logf("%d merged, %d clashed, %d refused; %d MiB", len(kept), clashes, refused, highest>>20)
	if wrong != "" || len(kept) == 0 || clashes == 0 {
		t.Errorf("%d merged, %d clashed, %d refused; wrong: %s", len(kept), clashes, refused, wrong)
	}
	if highest > most {
		t.Errorf("%d MiB of memory, at most %d", highest>>20, most>>20)
	}
	now, err := a.page("Large")
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range kept {
		if !strings.Contains(now.Text, fmt.Sprintf("saver %d\n", i)) {
			t.Errorf("the save of %d was acknowledged and is not there", i)
		}
	}
	if _, _, err := a.put("After", "text"); err != nil {
		t.Error(err)
	}
}
