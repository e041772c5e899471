package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// labSocket is where a running lab takes commands; only its user may.
func labSocket() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("erwik-lab-%d.sock", os.Getuid()))
}

// control takes commands from other terminals until the returned function is
// called.
func (l *lab) control() (stop func(), err error) {
	path := labSocket()
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return nil, errors.New("another lab runs; its commands are taken there")
	}
	os.Remove(path)
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	server := &http.Server{Handler: http.HandlerFunc(l.command), ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(listener)
	}()
	return func() {
		server.Close()
		<-done
		os.Remove(path)
	}, nil
}

// command does one thing and answers with what is now.
func (l *lab) command(w http.ResponseWriter, r *http.Request) {
	what := r.FormValue("what")
	var err error
	switch verb := strings.TrimPrefix(r.URL.Path, "/"); verb {
	case "cut", "mend":
		var wire *wire
		if wire, err = l.wire(what); err == nil {
			wire.setCut(verb == "cut")
		}
	case "kill":
		err = l.kill(what)
	case "start":
		err = l.start(what)
	case "list":
		if what == "json" {
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(l.facts())
			return
		}
	default:
		err = fmt.Errorf("unknown command %q", verb)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	l.list(w)
}

// labControls are the commands to a running lab.
func (a *app) labControls() []*cobra.Command {
	control := func(verb, arg, about, example string) *cobra.Command {
		c := &cobra.Command{
			Use: strings.TrimSpace(verb + " " + arg), Short: about, Args: cobra.NoArgs,
			RunE: func(c *cobra.Command, args []string) error {
				return a.labAsk(c.Context(), verb, strings.Join(args, ""))
			},
		}
		if arg != "" {
			c.Args, c.Example = cobra.ExactArgs(1), "  erwik lab "+example
		}
		return c
	}
	list := control("list", "", "List the nodes of the running lab", "")
	list.RunE = func(c *cobra.Command, _ []string) error {
		if a.json {
			return a.labAsk(c.Context(), "list", "json")
		}
		return a.labAsk(c.Context(), "list", "")
	}
	list.Flags().BoolVar(&a.json, "json", false, "print JSON")
	return []*cobra.Command{
		control("cut", "LINK", "Cut a link of the running lab", "cut e1-e3"),
		control("mend", "LINK", "Mend a link that was cut", "mend e1-e3"),
		control("kill", "NODE", "End a node without a word to the others", "kill e2"),
		control("start", "NODE", "Start a node that was killed", "start e2"),
		list,
	}
}

// labAsk sends a command to the running lab and prints its answer.
func (a *app) labAsk(ctx context.Context, verb, what string) error {
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", labSocket())
		},
	}}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://lab/"+verb, strings.NewReader(url.Values{"what": {what}}.Encode()))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("no lab runs here (%w). Start one: erwik lab --keep", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("read the lab's answer: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(text)))
	}
	_, err = a.stdout.Write(text)
	return err
}
