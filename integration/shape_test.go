package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shaper is one process of erwik-shape in a host's namespace.
type shaper struct {
	cmd   *exec.Cmd
	log   *tail
	ended chan struct{}
}

func (w *network) shaper(program, host string, args ...string) *shaper {
	w.t.Helper()
	s := &shaper{log: &tail{}, ended: make(chan struct{})}
	s.cmd = exec.Command("ip", append([]string{"netns", "exec", w.space(host), program}, args...)...)
	s.cmd.Stderr = s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() { s.cmd.Wait(); close(s.ended) }()
	w.t.Cleanup(func() { s.cmd.Process.Kill(); <-s.ended })
	return s
}

// status waits for the end and returns the exit status.
func (s *shaper) status(t testing.TB) int {
	t.Helper()
	select {
	case <-s.ended:
	case <-time.After(patience):
		t.Fatalf("erwik-shape does not end: %s", s.log)
	}
	return s.cmd.ProcessState.ExitCode()
}

// TestErwikShape: erwik-shape puts its limit in place, puts it back when it is taken
// away, lifts it when it is told to stop; when its namespace has lost its
// interface it stays until the node runs, and then ends to be started again.
func TestErwikShape(t *testing.T) {
	w := newNetwork(t, "e1", "e3")
	program := filepath.Join(t.TempDir(), "erwik-shape")
	build := exec.Command("go", "build", "-o", program, "../cmd/erwik-shape")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build erwik-shape: %v: %s", err, out)
	}
	for _, args := range [][]string{{}, {"--to", "e3", "--rate", "1"}, {"--to", "e3", "more"}, {"--what"}} {
		if s := w.shaper(program, "e1", args...); s.status(t) != 2 {
			t.Errorf("erwik-shape %q: status %d, want 2: %s", args, s.status(t), s.log)
		}
	}
	check := func(want int) {
		t.Helper()
		if s := w.shaper(program, "e1", "--check"); s.status(t) != want {
			t.Errorf("--check: status %d, want %d: %s", s.status(t), want, s.log)
		}
	}
	check(1)
	match := "match 0a4f0002/ffffffff at 16" // 10.79.0.2
	limited := func() error {
		classes := w.sh("ip netns exec %s tc class show dev e0", w.space("e1"))
		filters := w.sh("ip netns exec %s tc filter show dev e0", w.space("e1"))
		if !strings.Contains(classes, "rate 2Kbit ceil 2Kbit") || !strings.Contains(filters, match) || strings.Count(filters, "match ") != 1 {
			return fmt.Errorf("tc says %q, %q", classes, filters)
		}
		return nil
	}

	s := w.shaper(program, "e1", "--to", w.ip("e3"), "--rate", "2000")
	eventually(t, "the limit is in place", limited)
	check(0)
	w.sh("ip netns exec %s tc qdisc del dev e0 root", w.space("e1"))
	check(1)
	eventually(t, "the limit is back", limited)
	s.cmd.Process.Signal(syscall.SIGTERM)
	if status := s.status(t); status != 0 {
		t.Errorf("after SIGTERM: status %d: %s", status, s.log)
	}
	check(1)

	node := newNode(t, "e1")
	s = w.shaper(program, "e1", "--to", w.ip("e3"), "--lock", filepath.Join(node.dir, "lock"))
	eventually(t, "the limit is in place", limited)
	w.sh("ip -n %s link del e0", w.space("e1"))
	eventually(t, "it looks for the node", func() error {
		if !strings.Contains(s.log.String(), "waits until it runs again") {
			return fmt.Errorf("it says %q", s.log)
		}
		return nil
	})
	check(1)
	node.start().awaitReady()
	if status := s.status(t); status != 1 {
		t.Errorf("left behind by its node: status %d: %s", status, s.log)
	}
}
