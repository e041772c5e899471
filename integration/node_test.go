package integration

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what it expects. It asserts outcomes,
// not times, so it is generous.
const patience = 60 * time.Second

const sharedSecret = "a secret for the tests"

// node is one erwik process and its data directory.
type node struct {
	t       testing.TB
	name    string
	dir     string
	space   string // network namespace; "" = this one
	args    []string
	env     []string
	cmd     *exec.Cmd
	address string // HOST:PORT that the node listens on
	client  *http.Client
	ready   chan struct{} // closed by the ready line
	ended   chan struct{} // closed when the process has
	log     *tail
	level   string // of its log
}

// tail keeps the end of what a process says.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (l *tail) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, b...)
	if len(l.text) > 256<<10 {
		l.text = l.text[len(l.text)-128<<10:]
	}
	return len(b), nil
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

// newNode describes a node; start runs it.
func newNode(t testing.TB, name string, args ...string) *node {
	t.Helper()
	return &node{t: t, name: name, dir: filepath.Join(t.TempDir(), name), args: args,
		env: []string{"ERWIK_SECRET=" + sharedSecret}, log: &tail{}, level: "debug",
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
}

// start runs the process and waits until it listens. A second start uses the
// same address.
func (n *node) start(args ...string) *node {
	n.t.Helper()
	listen := n.address
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	all := append([]string{"serve", "--listen", listen, "--data", n.dir, "--name", n.name, "--log-level", n.level}, n.args...)
	all = append(all, args...)
	name := erwik
	if n.space != "" {
		name, all = "ip", append([]string{"netns", "exec", n.space, erwik}, all...)
	}
	n.cmd = exec.Command(name, all...)
	n.cmd.Env = append(os.Environ(), n.env...)
	n.cmd.Stderr = n.log
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.ready, n.ended = make(chan struct{}), make(chan struct{})
	listening := make(chan string, 1)
	go n.follow(out, listening, n.ready, n.ended, n.cmd)
	n.t.Cleanup(n.kill)
	select {
	case a := <-listening:
		n.address = a
	case <-n.ended:
		n.t.Fatalf("%s ended: %s", n.name, n.log)
	case <-time.After(patience):
		n.t.Fatalf("%s does not listen: %s", n.name, n.log)
	}
	return n
}

func (n *node) follow(out io.Reader, listening chan<- string, ready, ended chan struct{}, cmd *exec.Cmd) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if a, found := strings.CutPrefix(lines.Text(), "listening on http://"); found {
			listening <- a
		}
		if strings.HasPrefix(lines.Text(), "ready node=") {
			close(ready)
		}
	}
	cmd.Wait()
	close(ended)
}

// awaitReady waits for the ready line.
func (n *node) awaitReady() *node {
	n.t.Helper()
	select {
	case <-n.ready:
	case <-n.ended:
		n.t.Fatalf("%s ended: %s", n.name, n.log)
	case <-time.After(patience):
		n.t.Fatalf("%s is not ready: %s", n.name, n.log)
	}
	return n
}

// kill is kill -9, and waits for the end.
func (n *node) kill() { n.signal(syscall.SIGKILL) }

// stop is SIGTERM, and waits for the end.
func (n *node) stop() {
	n.t.Helper()
	n.signal(syscall.SIGTERM)
}

func (n *node) signal(s syscall.Signal) {
	if n.cmd == nil {
		return
	}
	n.cmd.Process.Signal(s)
	select {
	case <-n.ended:
	case <-time.After(patience):
		n.t.Errorf("%s does not end after %v: %s", n.name, s, n.log)
		n.cmd.Process.Kill()
	}
	n.client.CloseIdleConnections()
}

// do sends a request and returns status and body.
func (n *node) do(method, path string, header map[string]string, body io.Reader) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+n.address+path, body)
	if err != nil {
		return 0, nil, err
	}
	for k, v := range header {
		r.Header.Set(k, v)
	}
	response, err := n.client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, text, err
}

// get reads JSON below /-/api/v1/.
func (n *node) get(path string, v any) error {
	status, text, err := n.do("GET", "/-/api/v1/"+path, nil, nil)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("GET %s: status %d: %.300s", path, status, text)
	}
	return json.Unmarshal(text, v)
}

type saved struct {
	Path, Commit string
	Heads        []string
	Merged       bool
}

var jsonBody = map[string]string{"Content-Type": "application/json"}

// put saves a page; base nil means "current".
func (n *node) put(page, text string, base ...string) (saved, int, error) {
	if base == nil {
		base = []string{"current"}
	}
	body, _ := json.Marshal(map[string]any{"text": text, "author": "test", "summary": "s", "base": base})
	status, answer, err := n.do("PUT", "/-/api/v1/pages/"+page, jsonBody, bytes.NewReader(body))
	var s saved
	if err == nil && status/100 == 2 {
		err = json.Unmarshal(answer, &s)
	} else if err == nil {
		err = fmt.Errorf("PUT %s: status %d: %.500s", page, status, answer)
	}
	return s, status, err
}

func (n *node) mustPut(page, text string, base ...string) saved {
	n.t.Helper()
	s, _, err := n.put(page, text, base...)
	if err != nil {
		n.t.Fatalf("%s: %v", n.name, err)
	}
	return s
}

type pageInfo struct {
	Text     string
	Heads    []string
	Conflict bool
	Nodes    struct{ Have, Of int }
}

func (n *node) page(name string) (p pageInfo, err error) {
	return p, n.get("pages/"+name, &p)
}

type statusInfo struct {
	Node, Name, Digest string
	Ready              bool
	Pages, Commits     int
	Staged             int
	Vector             map[string]uint64
	Neighbors          []struct {
		Name, State   string
		RTT           float64 `json:"rtt_ms"`
		BehindCommits int     `json:"behind_commits"`
	}
}

func (n *node) status() (s statusInfo, err error) { return s, n.get("status", &s) }

func (n *node) mustStatus() statusInfo {
	n.t.Helper()
	s, err := n.status()
	if err != nil {
		n.t.Fatalf("%s: %v", n.name, err)
	}
	return s
}

// eventually polls until check returns nil.
func eventually(t testing.TB, what string, check func() error) time.Duration {
	t.Helper()
	return within(t, patience, what, check)
}

// within is eventually with a patience of its own.
func within(t testing.TB, patience time.Duration, what string, check func() error) time.Duration {
	t.Helper()
	start := time.Now()
	var err error
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for time.Since(start) < patience {
		if err = check(); err == nil {
			return time.Since(start)
		}
		<-poll.C
	}
	t.Fatalf("%s: not within %s: %v", what, patience, err)
	return 0
}

// awaitEqual waits until all nodes have one digest.
func awaitEqual(t testing.TB, nodes ...*node) time.Duration {
	t.Helper()
	return eventually(t, "equal digests", func() error {
		var first statusInfo
		for i, n := range nodes {
			s, err := n.status()
			if err != nil {
				return err
			}
			if i == 0 {
				first = s
			}
			if s.Digest != first.Digest || s.Staged != 0 {
				return fmt.Errorf("%s has %d commits, %d staged, digest %.8s; %s has %d, %.8s",
					n.name, s.Commits, s.Staged, s.Digest, first.Name, first.Commits, first.Digest)
			}
		}
		return nil
	})
}

type nodeRow struct{ Name, State, Via, Address string }

// awaitNodes waits until the node lists count nodes, all alive.
func (n *node) awaitNodes(count int) time.Duration {
	n.t.Helper()
	return eventually(n.t, n.name+" lists all nodes", func() error {
		var rows []nodeRow
		if err := n.get("network/nodes", &rows); err != nil {
			return err
		}
		for _, r := range rows {
			if r.State != "alive" && r.State != "self" {
				return fmt.Errorf("%+v", rows)
			}
		}
		if len(rows) != count {
			return fmt.Errorf("%d nodes of %d", len(rows), count)
		}
		return nil
	})
}

// mesh starts nodes that form one mesh; each joins the one before it.
func mesh(t testing.TB, names ...string) []*node {
	t.Helper()
	var all []*node
	for i, name := range names {
		n := newNode(t, name)
		if i > 0 {
			n.args = []string{"--join", all[i-1].address}
		}
		all = append(all, n.start().awaitReady())
	}
	for _, n := range all {
		n.awaitNodes(len(names))
	}
	return all
}

// watch follows the node's events; each "commit" is sent to the channel.
func (n *node) watch() <-chan commitEvent {
	n.t.Helper()
	told, stop := n.follow()
	n.t.Cleanup(stop)
	return told
}

// follow is watch until stop is called.
func (n *node) follow() (events <-chan commitEvent, stop func()) {
	n.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, "GET", "http://"+n.address+"/-/api/v1/events", nil)
	if err != nil {
		n.t.Fatal(err)
	}
	response, err := n.client.Do(r)
	if err != nil {
		n.t.Fatal(err)
	}
	told := make(chan commitEvent, 65536)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer response.Body.Close()
		lines := bufio.NewScanner(response.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			at := time.Now()
			data, found := strings.CutPrefix(lines.Text(), "data: ")
			var e commitEvent
			if found && json.Unmarshal([]byte(data), &e) == nil && e.Type == "commit" {
				e.at = at
				told <- e
			}
		}
	}()
	return told, func() { cancel(); <-done }
}

type commitEvent struct {
	Type string
	Args struct {
		Log, Checksum, Page string
		Sequence            uint64
	}
	Exclude []string
	at      time.Time
}

// run runs a command of erwik and returns what it prints.
func run(args ...string) (string, error) {
	cmd := exec.Command(erwik, args...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// freePort finds an address to listen on.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// exitStatus returns the exit status of a finished command.
func exitStatus(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}
