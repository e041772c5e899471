package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/erwik/erwik/storage"
)

// labOptions are those of erwik lab.
type labOptions struct {
	nodes    int
	throttle []string
	saves    int
	every    time.Duration
	keep     bool
	logLevel string
}

func (a *app) labCommand() *cobra.Command {
	var o labOptions
	c := &cobra.Command{
		Use: "lab", Short: "Run a mesh of nodes in one process and watch edits travel",
		Long: `lab starts nodes on loopback, e2 joining e1, e3 joining e2 and so on, saves pages on
e1 and tells of each save who heard of it from whom, who pulled it from whom, and
when. A throttled link is slow for everything between its two nodes. It needs no
root and leaves nothing behind.

With --keep the nodes stay, with their URLs, until Ctrl-C; meanwhile, from another
terminal: erwik lab cut e1-e3, mend e1-e3, kill e2, start e2, list.`,
		Example: `  erwik lab --throttle e1-e3=2kbps
  erwik lab --nodes 5 --saves 5 --keep
  erwik lab cut e1-e2`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q of lab", args[0])}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error {
			if !c.Flags().Changed("every") && len(o.throttle) == 0 {
				o.every = 200 * time.Millisecond
			}
			return a.lab(c.Context(), &o)
		},
	}
	f := c.Flags()
	f.IntVar(&o.nodes, "nodes", 3, "how many nodes")
	f.StringArrayVar(&o.throttle, "throttle", nil, "speed of a link, such as e1-e3=2kbps; may be given again")
	f.IntVar(&o.saves, "saves", 15, "how many pages to save on e1")
	f.DurationVar(&o.every, "every", time.Second, "time from save to save; 200ms where no link is throttled")
	f.BoolVar(&o.keep, "keep", false, "leave the nodes running until Ctrl-C")
	f.BoolVar(&a.json, "json", false, "print each save as one line of JSON")
	f.StringVar(&o.logLevel, "log-level", "error", "of the nodes: debug, info, warn or error")
	c.AddCommand(a.labControls()...)
	return c
}

// lab runs the scenario.
func (a *app) lab(ctx context.Context, o *labOptions) (err error) {
	if o.nodes < 2 || o.nodes > maxLabNodes || o.saves < 0 || o.every < 0 {
		return usageError{fmt.Errorf("--nodes is 2 to %d, --saves and --every are not negative", maxLabNodes)}
	}
	log, err := a.logger(&settings{logLevel: o.logLevel, logFormat: "text"})
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "erwik-lab-")
	if err != nil {
		return fmt.Errorf("make a directory for the lab: %w", err)
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	l := newLab(dir, o.nodes, log)
	defer func() { err = errors.Join(err, l.close()) }()
	for _, t := range o.throttle {
		link, rate, err := parseThrottle(t)
		if err != nil {
			return err
		}
		w, err := l.wire(link)
		if err != nil {
			return err
		}
		w.rate = rate
	}
	closeControl, err := l.control()
	if err != nil {
		a.say("no control from other terminals: %v\n", err)
	} else {
		defer closeControl()
	}
	if err := a.labUp(ctx, l); err != nil {
		return err
	}
	story := &labReport{a: a, lab: l}
	if err := story.run(ctx, o); err != nil {
		return err
	}
	if o.keep {
		a.say("\nThe nodes go on. From another terminal: erwik lab cut e1-e2, mend e1-e2, kill e2, start e2, list. Ctrl-C ends.\n")
		if !a.json {
			l.list(a.stdout)
		}
		<-ctx.Done()
	}
	return nil
}

// say prints what is for people only.
func (a *app) say(format string, args ...any) {
	if !a.json {
		fmt.Fprintf(a.stdout, format, args...)
	}
}

// labUpTime bounds how long the mesh may take to form: on 2,000 bit/s a link
// needs 13 s for its handshake.
const labUpTime = 2 * time.Minute

// labUp starts all nodes and waits until all links are up.
func (a *app) labUp(ctx context.Context, l *lab) error {
	begin := time.Now()
	for _, name := range l.names {
		if err := l.start(name); err != nil {
			return err
		}
		a.say("%s serves http://%s\n", name, l.address(name))
	}
	slow := false
	for _, w := range l.wires {
		slow = slow || w.speed() > 0
	}
	if slow {
		a.say("waiting for the links; the handshake of a slow one takes its time …\n")
	}
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for missing := l.whole(); missing != ""; missing = l.whole() {
		if time.Since(begin) > labUpTime {
			return fmt.Errorf("the mesh has not formed after %s: %s", labUpTime, missing)
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	a.say("all links are up after %s\n\n", time.Since(begin).Round(10*time.Millisecond))
	return nil
}

// save puts a page on a node by its API, as anybody would.
func (n *labNode) save(ctx context.Context, home, path, text string) (h storage.Hash, err error) {
	body, err := json.Marshal(map[string]any{"text": text, "author": "lab", "base": []string{"current"}})
	if err != nil {
		return h, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+home+"/-/api/v1/pages/"+path, bytes.NewReader(body))
	if err != nil {
		return h, err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return h, fmt.Errorf("save %s: %w", path, err)
	}
	defer answer.Body.Close()
	var saved struct {
		Commit storage.Hash `json:"commit"`
		Detail string       `json:"detail"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&saved); err != nil || answer.StatusCode/100 != 2 {
		return h, fmt.Errorf("save %s: status %d %s: %w", path, answer.StatusCode, saved.Detail, err)
	}
	return saved.Commit, nil
}

// median of what is sorted here.
func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	if len(all) == 0 {
		return 0
	}
	return all[len(all)/2]
}
