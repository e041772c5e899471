package main

import (
	"bufio"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the test binary be the command, so that scripts run it.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"erwik": main})
}

// TestScripts runs the stories in testdata/script. "node NAME [args]" starts a
// node with the data directory NAME and sets $NAME to its URL and $NAME_address to
// its HOST:PORT; "hash NAME" sets $NAME to the short hash that was printed last.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("ERWIK_SECRET", "a secret for the tests")
			e.Setenv("ERWIK_AUTHOR", "Ann")
			e.Setenv("HOME", e.WorkDir)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"node": startNode, "hash": readHash},
	})
}

func readHash(ts *testscript.TestScript, neg bool, args []string) {
	hash := regexp.MustCompile(`\b[0-9a-f]{10}\b`).FindString(ts.ReadFile("stdout"))
	if neg || len(args) != 1 || hash == "" {
		ts.Fatalf("usage: hash NAME, after a command that prints one")
	}
	ts.Setenv(args[0], hash)
}

func startNode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: node NAME [args]")
	}
	self, err := os.Executable()
	ts.Check(err)
	all := append([]string{"serve", "--listen", "127.0.0.1:0", "--data", ts.MkAbs(args[0]), "--name", args[0], "--log-level", "error"}, args[1:]...)
	cmd := exec.Command(self, all...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Args[0] = "erwik" // by this name the test binary knows that it is the command
	cmd.Env = append(os.Environ(), "ERWIK_SECRET="+ts.Getenv("ERWIK_SECRET"), "TESTSCRIPT_COMMAND=erwik")
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ready := make(chan string, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		address := ""
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if a, found := strings.CutPrefix(lines.Text(), "listening on "); found {
				address = a
			}
			if strings.HasPrefix(lines.Text(), "ready node=") {
				ready <- address
			}
		}
		cmd.Wait()
	}()
	ts.Defer(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	})
	select {
	case address := <-ready:
		ts.Setenv(args[0], address)
		ts.Setenv(args[0]+"_address", strings.TrimPrefix(address, "http://"))
	case <-ended:
		ts.Fatalf("node %s ended", args[0])
	case <-time.After(time.Minute):
		ts.Fatalf("node %s is not ready", args[0])
	}
}

// TestOperatorKeyStaysOnThisMachine: the key of the default data directory is
// not sent to a node elsewhere.
func TestOperatorKeyStaysOnThisMachine(t *testing.T) {
	home := t.TempDir()
	getenv := func(name string) string { return map[string]string{"HOME": home}[name] }
	dir := defaultData(getenv)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := operatorKey(dir); err != nil {
		t.Fatal(err)
	}
	for node, want := range map[string]string{"http://wiki.invalid:8000": "not on this machine", "http://127.0.0.1:1": "no answer"} {
		var out, errs strings.Builder
		args := []string{"network", "forget", "e9", "--node", node}
		if status := run(t.Context(), args, getenv, strings.NewReader(""), &out, &errs); status != exitFailed || !strings.Contains(errs.String(), want) {
			t.Errorf("%s: status %d, %s", node, status, errs.String())
		}
	}
}

// TestUntrustedCertificate: who can't check a node's certificate is told that, not that
// the node is gone.
func TestUntrustedCertificate(t *testing.T) {
	node := httptest.NewTLSServer(http.NotFoundHandler())
	node.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer node.Close()
	var out, errs strings.Builder
	status := run(t.Context(), []string{"status", "--node", node.URL}, func(string) string { return "" }, strings.NewReader(""), &out, &errs)
	if status != exitFailed || !strings.Contains(errs.String(), "is not trusted") || strings.Contains(errs.String(), "running?") {
		t.Errorf("status %d: %s", status, errs.String())
	}
}

// TestWrongUse: a command line that can't be meant ends with status 2 and says
// what is wrong with it.
func TestWrongUse(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	serve := func(args ...string) []string { return append([]string{"serve", "--data", data}, args...) }
	for want, args := range map[string][]string{
		`--listen "bogus"`:                serve("--listen", "bogus"),
		`--listen "127.0.0.1"`:            serve("--listen", "127.0.0.1"),
		`--listen ":99999"`:               serve("--listen", ":99999"),
		`--advertise "e1:0"`:              serve("--advertise", "e1:0"),
		`--join "http://127.0.0.1:19001"`: serve("--join", "http://127.0.0.1:19001"),
		`--join "127.0.0.1"`:              serve("--join", "127.0.0.1"),
		`--join ""`:                       serve("--join", ""),
		"--tls-cert needs --tls-key":      serve("--tls-cert", "cert.pem"),
		"--tls-key needs --tls-cert":      serve("--tls-key", "key.pem"),
		"--token: this is no token":       serve("--join", "e1:8000", "--token", "a secret of many bytes"),
		`no help on "nosuch"`:             {"help", "nosuch"},
		"--drain -1s":                     serve("--drain", "-1s"),
	} {
		var out, errs strings.Builder
		status := run(t.Context(), args, func(string) string { return "" }, strings.NewReader(""), &out, &errs)
		if status != exitUsage || !strings.Contains(errs.String(), want) {
			t.Errorf("%q: status %d, want %d and %q: %s", args, status, exitUsage, want, errs.String())
		}
	}
	if _, err := os.Stat(data); err == nil {
		t.Error("a data directory was made")
	}
}
