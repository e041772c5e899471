package integration

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestBadRequests: each gets its clear error, and the node goes on serving.
func TestBadRequests(t *testing.T) {
	n := newNode(t, "e1").start().awaitReady()
	long := strings.Repeat("x", 201)
	for _, c := range []struct {
		what, method, path, body string
		want                     int
		code                     string
	}{
		{"page of 2 MiB", "PUT", "pages/Big", `{"text":"` + strings.Repeat("x", 2<<20) + `"}`, 413, "too_large"},
		{"invalid UTF-8", "PUT", "pages/Bytes", "{\"text\":\"\xff\xfe\"}", 400, ""},
		{"no JSON", "PUT", "pages/A", "hello", 400, "bad_request"},
		{"unknown field", "PUT", "pages/A", `{"text":"x","txet":"y"}`, 400, "bad_request"},
		{"base that is no hash", "PUT", "pages/A", `{"text":"x","base":["zz"]}`, 400, "bad_request"},
		{"unknown base", "PUT", "pages/A", `{"text":"x","base":["` + strings.Repeat("ab", 20) + `"]}`, 409, "unknown_base"},
		{"name out of the wiki", "PUT", "pages/..%2f..%2fx", `{"text":"x"}`, 400, "bad_name"},
		{"hidden name", "PUT", "pages/.git/config", `{"text":"x"}`, 400, "bad_name"},
		{"reserved name", "PUT", "pages/-/x", `{"text":"x"}`, 400, "bad_name"},
		{"control character", "PUT", "pages/a%00b", `{"text":"x"}`, 400, "bad_name"},
		{"long name", "PUT", "pages/" + long, `{"text":"x"}`, 400, "bad_name"},
		{"name that is no UTF-8", "PUT", "pages/%ff", `{"text":"x"}`, 400, "bad_name"},
		{"author with brackets", "PUT", "pages/A", `{"text":"x","author":"<b>"}`, 400, ""},
		{"missing page", "GET", "pages/Nothing", "", 404, ""},
		{"method", "POST", "pages/A", "{}", 405, ""},
		{"no such address", "GET", "nothing", "", 404, ""},
		{"foreign operator", "POST", "import", "{}", 401, "not_operator"},
		{"foreign operator", "POST", "network/forget", `{"node":"e1"}`, 401, "not_operator"},
	} {
		status, answer, err := n.do(c.method, "/-/api/v1/"+c.path, jsonBody, strings.NewReader(c.body))
		var p struct {
			Status              int
			Title, Detail, Code string
			RequestID           string `json:"request_id"`
		}
		if err != nil || status != c.want || json.Unmarshal(answer, &p) != nil || p.Detail == "" || p.RequestID == "" || c.code != "" && p.Code != c.code {
			t.Errorf("%s: status %d, want %d; %v; %.300s", c.what, status, c.want, err, answer)
		}
	}
	if status, _, err := n.do("PUT", "/-/api/v1/pages/A", map[string]string{"Content-Type": "text/plain"}, strings.NewReader(`{"text":"x"}`)); err != nil || status != http.StatusUnsupportedMediaType {
		t.Errorf("a write that is not declared as JSON: %d, %v", status, err)
	}
	if status, _, err := n.do("POST", "/A", map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}, strings.NewReader("text=x")); err != nil || status != 403 {
		t.Errorf("a form of another site: %d, %v", status, err)
	}
	if s := n.mustStatus(); s.Commits != 0 {
		t.Errorf("%d commits were made", s.Commits)
	}
	n.mustPut("A", "goes on")
}

// TestGarbageOnThePort: what is no HTTP and no neighbor gets nowhere.
func TestGarbageOnThePort(t *testing.T) {
	all := mesh(t, "e1", "e2")
	n := all[0]
	_, foreign, _ := ed25519.GenerateKey(rand.Reader)
	before := memory(t, n)
	for range 20 {
		for _, garbage := range [][]byte{
			{0, 1, 2, 3, 255, 254}, []byte("CONNECT {}\r\nPUB e.x 4294967295\r\n"), {0x16, 3, 1, 255, 255, 1, 2, 3},
			bytes.Repeat([]byte("A"), 1<<20), []byte("GET / HTTP/1.1\r\nContent-Length: 4294967295\r\n\r\n"),
		} {
			c, err := net.Dial("tcp", n.address)
			if err != nil {
				t.Fatal(err)
			}
			c.SetDeadline(time.Now().Add(200 * time.Millisecond))
			c.Write(garbage)
			io.Copy(io.Discard, c)
			c.Close()
		}
	}
	for _, proto := range []string{"erwik-link", "erwik-pull"} {
		c := dialMesh(t, n, proto, foreign)
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: a foreign key is served", proto)
		}
		c.Close()
	}
	// A join message that says it has 4 GiB.
	c := dialMesh(t, n, "erwik-join", foreign)
	c.Write([]byte{255, 255, 255, 255})
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a join of 4 GiB is answered")
	}
	c.Close()
	if after := memory(t, n); after > before+64<<20 {
		t.Errorf("anonymous memory rose from %d to %d KiB", before>>10, after>>10)
	}
	n.mustPut("Still", "here")
	awaitEqual(t, all...)
}

// dialMesh connects with any key.
func dialMesh(t *testing.T, n *node, proto string, key ed25519.PrivateKey) *tls.Conn {
	t.Helper()
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := tls.Dial("tcp", n.address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{proto}, MinVersion: tls.VersionTLS13,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// memory is the anonymous memory of a node's process, in bytes.
func memory(t *testing.T, n *node) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	kb := 0
	_, rest, _ := strings.Cut(string(b), "RssAnon:")
	fmt.Sscan(rest, &kb)
	return kb << 10
}

// TestJoinIsRefused: a wrong secret, a token of another node and an expired
// token are told apart, and both nodes go on.
func TestJoinIsRefused(t *testing.T) {
	e1 := newNode(t, "e1").start().awaitReady()
	other := newNode(t, "other").start().awaitReady()
	foreign, err := exec.Command(erwik, "token", "--data", other.dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	expired, err := exec.Command(erwik, "token", "--data", e1.dir, "--ttl", "1ms").Output()
	if err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"secret is wrong": nil,
		"another node's":  {"--token", strings.TrimSpace(string(foreign))},
		"expired":         {"--token", strings.TrimSpace(string(expired))},
	} {
		n := newNode(t, "e2", append(args, "--join", e1.address)...)
		n.env = []string{"ERWIK_SECRET=quite another secret"}
		n.start()
		eventually(t, "the reason: "+want, func() error {
			status, text, err := n.do("GET", "/-/readyz", nil, nil)
			if err == nil && (status != 503 || !strings.Contains(string(text), want)) {
				err = fmt.Errorf("status %d: %s", status, text)
			}
			return err
		})
		n.mustPut("Alone", "serves all the same")
		if out, err := run("status", "--node", "http://"+n.address); exitStatus(err) != 1 {
			t.Errorf("status of a node that is not ready exits %d: %s", exitStatus(err), out)
		}
		n.kill()
	}
	if s := e1.mustStatus(); s.Pages != 0 || len(s.Neighbors) != 0 {
		t.Errorf("something of the refused got in: %+v", s)
	}
	// A good token lets in, and needs no shared secret.
	good, err := exec.Command(erwik, "token", "--data", e1.dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	n := newNode(t, "e2", "--join", e1.address, "--token", strings.TrimSpace(string(good)))
	n.env = nil
	n.start().awaitReady()
	e1.awaitNodes(2)
}

// TestFullDisk fills a disk of 64 MiB: saves get 507, reads go on, and saves
// resume without a restart when there is room again.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Fatalf("this test mounts a small file system and needs root: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", "-l", dir).Run() })
	n := newNode(t, "e1")
	n.dir = filepath.Join(dir, "data")
	n.start().awaitReady()
	n.mustPut("First", "kept")
	status, answer, err := n.do("PUT", "/-/files/huge.bin", nil, bytes.NewReader(randomBytes(60<<20)))
	if err == nil && status != http.StatusInsufficientStorage { // or it hung up on a client that goes on sending
		t.Errorf("a file that does not fit: status %d, %v, %.300s", status, err, answer)
	}
	eventually(t, "nothing is left of it", func() error {
		left, err := filepath.Glob(filepath.Join(n.dir, "chunks", "*", "*"))
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%d files", len(left))
		}
		return err
	})
	n.mustPut("Second", "there is room for pages")
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 30<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 256<<10)
	refused := false
	for i := 0; i < 2000 && !refused; i++ {
		rand.Read(text)
		_, status, err := n.put(fmt.Sprintf("Fill-%d", i), fmt.Sprintf("%x", text))
		if status == http.StatusInsufficientStorage {
			refused = true
			t.Logf("refused after %d pages of 512 KiB: %.300v", i, err)
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if !refused {
		t.Fatal("a full disk refuses nothing")
	}
	if p, err := n.page("First"); err != nil || p.Text != "kept" {
		t.Errorf("reading on a full disk: %+v, %v", p, err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	eventually(t, "saves resume", func() error {
		_, _, err := n.put("Again", "room")
		return err
	})
	select {
	case <-n.ended:
		t.Fatal("the node has ended")
	default:
	}
}
