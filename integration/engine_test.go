package integration

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// engine is a container engine of the test's own: its network, its mounts and
// its processes are in namespaces that end with it, whatever happens; its files
// are in one temporary directory.
type engine struct {
	t     testing.TB
	dir   string // of the engine's files
	tree  string // copy of the repository, in which commands run
	space string // network namespace
	env   []string
	first string // process that is number 1 in the engine's namespace
	did   string // the last step that was done
	log   *tail
}

// newEngine starts an engine.
func newEngine(t testing.TB) *engine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test starts a container engine and needs root: sudo make test")
	}
	for _, tool := range []string{"dockerd", "docker", "docker-compose", "ip", "tc", "nsenter", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v. As root: make test-deps", err)
		}
	}
	dir, err := os.MkdirTemp("", "erwik-engine-") // not t.TempDir: sockets need a short path
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{t: t, dir: dir, tree: filepath.Join(dir, "erwik"), space: fmt.Sprintf("erwik%d-engine", os.Getpid()), log: &tail{}}
	t.Cleanup(func() {
		exec.Command("ip", "netns", "del", e.space).Run()
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	for _, v := range os.Environ() {
		foreign := slices.ContainsFunc([]string{"DOCKER_", "COMPOSE_", "ERWIK_", "MAKE", "MFLAGS"}, func(p string) bool { return strings.HasPrefix(v, p) })
		if !foreign {
			e.env = append(e.env, v)
		}
	}
	socket := "unix://" + filepath.Join(dir, "socket")
	e.env = append(e.env, "DOCKER_HOST="+socket, "DOCKER_CONFIG="+filepath.Join(dir, "client"), "DOCKER_BUILDKIT=0")
	e.copyTree()
	e.must("ip", "netns", "add", e.space)
	e.must("ip", "-n", e.space, "link", "set", "lo", "up")
	e.start(socket)
	return e
}

// start starts the daemon and waits until it answers.
func (e *engine) start(socket string) {
	e.t.Helper()
	if err := os.WriteFile(filepath.Join(e.dir, "daemon.json"), []byte("{}"), 0o600); err != nil {
		e.t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(e.dir, name) }
	cmd := exec.Command("nsenter", "--net=/run/netns/"+e.space, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
		"dockerd", "--host", socket, "--data-root", in("data"), "--exec-root", in("exec"), "--pidfile", in("pid"), "--config-file", in("daemon.json"))
	cmd.Env, cmd.Stdout, cmd.Stderr = e.env, e.log, e.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	e.t.Cleanup(func() { e.stop(cmd.Process, ended) })
	eventually(e.t, "the container engine answers", func() error {
		select {
		case <-ended:
			e.t.Fatalf("the container engine ended: %s", e.log)
		default:
		}
		out, err := e.try("docker", "version")
		if err != nil {
			return fmt.Errorf("%w: %.300s: %s", err, out, e.log)
		}
		return nil
	})
	e.first = strings.TrimSpace(e.must("pgrep", "-P", fmt.Sprint(cmd.Process.Pid)))
}

// stop ends the daemon and everything that it started.
func (e *engine) stop(unshare *os.Process, ended <-chan struct{}) {
	if e.t.Failed() {
		out, _ := e.try("docker", "ps", "-a")
		e.t.Logf("containers:\n%s", out)
		out, _ = e.try("docker-compose", "logs", "--no-color", "--tail", "40")
		e.t.Logf("their logs:\n%s", out)
		for _, service := range []string{"e1", "e2", "e3"} {
			out, _ = e.try("docker-compose", "exec", "-T", service, "/erwik", "network", "links", "--json")
			e.t.Logf("links as %s knows them: %s", service, strings.Join(strings.Fields(out), " "))
		}
		e.t.Logf("failed after: %s", e.did)
	}
	e.try("docker-compose", "down", "--volumes", "--timeout", "1")
	if e.first != "" {
		exec.Command("kill", "-TERM", e.first).Run()
	}
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		unshare.Kill() // takes along what is in its namespace
		<-ended
	}
}

// copyTree copies what a fresh clone would hold, with what is changed in it.
func (e *engine) copyTree() {
	e.t.Helper()
	made := []string{"../.git", "../bin", "../data", "../.env"}
	err := filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == ".." {
			return err
		}
		if slices.Contains(made, filepath.ToSlash(name)) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		to := filepath.Join(e.tree, strings.TrimPrefix(name, ".."))
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, text, 0o644)
	})
	if err != nil {
		e.t.Fatal(err)
	}
}

// try runs a command in the copy of the repository, against the engine.
func (e *engine) try(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = e.tree, e.env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// must runs a command that has to succeed.
func (e *engine) must(name string, args ...string) string {
	e.t.Helper()
	out, err := e.try(name, args...)
	if err != nil {
		e.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// container is the container that docker-compose made for a service.
func (e *engine) container(service string) string {
	e.t.Helper()
	id := strings.Fields(e.must("docker", "ps", "--all", "--quiet", "--filter", "label=com.docker.compose.service="+service))
	if len(id) != 1 {
		e.t.Fatalf("service %s has the containers %v, want one", service, id)
	}
	return id[0]
}

// process is the number of a container's first process as the engine sees it.
func (e *engine) process(service string) string {
	e.t.Helper()
	return strings.TrimSpace(e.must("docker", "inspect", "-f", "{{.State.Pid}}", e.container(service)))
}

// inside runs a command where the engine's processes have the numbers that the
// engine tells.
func (e *engine) inside(args ...string) (string, error) {
	return e.try("nsenter", append([]string{"--target", e.first, "--mount", "--pid", "--"}, args...)...)
}

// queues is what tc says of a container's interface, asked from outside it.
func (e *engine) queues(service string) (string, error) {
	pid := e.process(service)
	return e.inside("nsenter", "--net=/proc/"+pid+"/ns/net", "sh", "-c", "tc class show dev eth0; tc filter show dev eth0")
}

// node is the wiki that the engine publishes on a port of its namespace.
func (e *engine) node(name, port string) *node {
	n := newNode(e.t, name)
	n.address = "127.0.0.1:" + port
	n.client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return dialIn(ctx, e.space, address)
		}}}
	return n
}
