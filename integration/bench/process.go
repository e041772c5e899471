package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server that prints where it listens.
type process struct {
	cmd     *exec.Cmd
	address string
	lines   *bufio.Scanner
}

// start runs a program until it says that it listens; with ready, until it
// says that it is ready.
func start(ready bool, name string, args ...string) (*process, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "ERWIK_SECRET=a secret of the benchmark")
	var messages bytes.Buffer
	cmd.Stderr = &messages
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, lines: bufio.NewScanner(out)}
	for p.lines.Scan() {
		if a, found := strings.CutPrefix(p.lines.Text(), "listening on http://"); found {
			p.address = a
		}
		if p.address != "" && (!ready || strings.HasPrefix(p.lines.Text(), "ready ")) {
			go io.Copy(io.Discard, out)
			return p, nil
		}
	}
	return nil, errors.Join(fmt.Errorf("%s %s ended: %s", name, strings.Join(args, " "), messages.String()), cmd.Wait())
}

func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.cmd.Wait()
}

// anonymous is the anonymous memory of the process, in bytes.
func (p *process) anonymous() int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, found := strings.CutPrefix(line, "RssAnon:"); found {
			kb, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10
		}
	}
	return 0
}

type status struct {
	Digest         string
	Pages, Commits int
}

func (p *process) status() (s status, err error) {
	r, err := http.Get("http://" + p.address + "/-/api/v1/status")
	if err != nil {
		return s, err
	}
	defer r.Body.Close()
	return s, json.NewDecoder(r.Body).Decode(&s)
}

// await polls until both have one digest and at least the given commits.
func await(a, b *process, commits int, most time.Duration) error {
	for end := time.Now().Add(most); ; {
		x, err1 := a.status()
		y, err2 := b.status()
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		if x.Digest == y.Digest && y.Commits >= commits {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("after %s one has %+v, the other %+v", most, x, y)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
