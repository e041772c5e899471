// Command bench measures erwik beside the limit of the bare operation, in one
// run: saves beside a Go server with one synced Pebble batch, page views beside
// a Go server that writes the same bytes, the copy of a history beside git clone
// over HTTP. Rounds alternate, and the median of five counts. A bar that is
// missed is printed as such; the exit status is 1.
//
//	go run ./integration/bench -erwik bin/erwik [-only latency,copy,history,files,saves,views,size,overload,overload-shared,dribble]
//
// ERWIK_CORPUS may name the folder with tldr-pages.bundle; without it
// copies are of made-up pages and histories of the same number and size.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// bench is one run.
type bench struct {
	erwik, dir string
	rounds     int
	length     time.Duration
	missed     int

	generatorCore int // on which generators of load run; -1: all
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == "limit" {
		fmt.Fprintln(os.Stderr, serveLimit(os.Args[2], os.Args[3]))
		os.Exit(1)
	}
	if len(os.Args) == 3 && (os.Args[1] == "pour" || os.Args[1] == "dribble") {
		run := map[string]func(string) error{"pour": runPour, "dribble": runDribble}[os.Args[1]]
		if err := run(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, os.Args[1]+":", err)
			os.Exit(1)
		}
		return
	}
	b := &bench{generatorCore: -1}
	only := ""
	flag.StringVar(&b.erwik, "erwik", "bin/erwik", "the binary")
	flag.IntVar(&b.rounds, "rounds", 5, "alternating rounds of each comparison")
	flag.DurationVar(&b.length, "length", 2*time.Second, "of one round")
	flag.StringVar(&only, "only", "latency,copy,history,files,saves,views,size", "which to run")
	flag.Parse()
	if err := b.run(strings.Split(only, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if b.missed > 0 {
		fmt.Printf("%d bars missed\n", b.missed)
		os.Exit(1)
	}
}

func (b *bench) run(only []string) error {
	dir, err := os.MkdirTemp("", "erwik-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b.dir = dir
	if b.erwik, err = filepath.Abs(b.erwik); err != nil {
		return err
	}
	parts := map[string]func() error{"latency": b.latency, "copy": b.copy, "files": b.files, "saves": b.saves, "views": b.views, "size": b.size, "history": b.history, "overload": b.overload, "overload-shared": b.overloadShared, "dribble": b.dribble}
	for _, name := range only {
		part, found := parts[name]
		if !found {
			return fmt.Errorf("there is no part %q", name)
		}
		if err := part(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// bar prints one figure beside its limit.
func (b *bench) bar(what string, got, limit float64, unit string, atLeast bool) {
	verdict := "met"
	if atLeast && got < limit || !atLeast && got > limit {
		verdict = "MISSED"
		b.missed++
	}
	sign := "<="
	if atLeast {
		sign = ">="
	}
	fmt.Printf("%-52s %10.3f %s   bar %s %g   %s\n", what, got, unit, sign, limit, verdict)
}

func (b *bench) node(name string, args ...string) (*process, error) {
	args = append([]string{"serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(b.dir, name), "--name", name, "--log-level", "warn"}, args...)
	return start(true, b.erwik, args...)
}

func (b *bench) limit(what string) (*process, error) { return b.limitOf(what, b.dir) }

// limitOf starts the other side of a comparison on a folder.
func (b *bench) limitOf(what, dir string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return start(false, self, "limit", what, dir)
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
