package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/erwik/erwik/cluster"
	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki"
	"github.com/erwik/erwik/wiki/metrics"
	"github.com/erwik/erwik/wiki/page"
)

func (a *app) serveCommand() *cobra.Command {
	var s settings
	c := &cobra.Command{
		Use: "serve", Short: "Serve the wiki, and join a mesh", Args: cobra.NoArgs,
		Example: `  erwik serve --data wiki
  erwik serve --listen 127.0.0.1:0 --data wiki --name e2 --join e1:8000 --token erw1.…
  ERWIK_SECRET=… erwik serve --join e1:8000`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := s.fill(c, a.getenv); err != nil {
				return err
			}
			return a.serve(c.Context(), &s)
		},
	}
	s.flags(c.Flags())
	return c
}

// node is a running node, put together.
type node struct {
	store  *storage.Store
	member *cluster.Node
	port   *cluster.Port
	feed   *wiki.Feed
	wiki   *wiki.Handler
	server *http.Server
	log    *slog.Logger
	// certEnds is when the certificate for HTTPS ends; zero without one.
	certEnds time.Time
}

// minProcs is how many goroutines run at once at least (GOMAXPROCS). With one,
// nothing runs from the beginning of each sync of the disk until the runtime notices
// that it takes long: on one core two of them save half as much again.
const minProcs = 2

func (a *app) serve(ctx context.Context, s *settings) error {
	if a.getenv("GOGC") == "" {
		pacing, stop := context.WithCancel(ctx)
		var pacer sync.WaitGroup
		pacer.Go(func() { keepGarbage(pacing) })
		defer pacer.Wait()
		defer stop()
	}
	if runtime.GOMAXPROCS(0) < minProcs {
		runtime.GOMAXPROCS(minProcs)
	}
	log, err := a.logger(s)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	var ready sync.Once
	for starts := 0; ; starts++ {
		again, err := a.serveOnce(ctx, s, log, signals, starts, &ready)
		if !again || err != nil {
			return err
		}
		log.Warn("the node starts anew to repair its database")
	}
}

// repairEvery is how long a node that has started anew because of damage serves
// at least before it does so again.
const repairEvery = time.Minute

// serveOnce runs a node until it is told to stop, or until its database is to be
// repaired, which is done when it is opened again. What stdout says it says once.
func (a *app) serveOnce(ctx context.Context, s *settings, log *slog.Logger, signals chan os.Signal, starts int, readyOnce *sync.Once) (again bool, err error) {
	damaged := make(chan string, 1)
	begun := time.Now()
	n, addr, err := open(s, log, func(what string) { damaged <- what })
	if err != nil {
		return false, err
	}
	if _, port, err := net.SplitHostPort(s.listen); err == nil && port == "0" {
		s.listen = addr.String() // the same one after a repair
	}
	if err := noteAddress(s, addr); err != nil {
		log.Warn("the file by which erwik token tells the address was not written", "err", err)
	}
	if starts == 0 {
		fmt.Fprintf(a.stdout, "listening on http://%s\n", shown(addr))
	}
	if tcp, ok := addr.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() && s.editToken == "" {
		log.Warn("whoever reaches this port can edit; --edit-token-file asks for a token")
	}
	failed := make(chan error, 1)
	go func() { failed <- n.server.Serve(n.wiki.Gate().Listener(n.port.HTTP())) }()
	ready := make(chan struct{})
	go a.announce(n, ready, readyOnce)
	var repair <-chan time.Time
	for serving := true; serving; {
		select {
		case <-damaged:
			wait := time.Duration(0)
			if starts > 0 {
				wait = max(0, repairEvery-time.Since(begun))
			}
			repair = time.After(wait)
			continue
		case <-repair:
			again = true
		case <-signals:
		case <-ctx.Done():
		case err = <-failed:
		}
		serving = false
	}
	close(ready)
	if again {
		if err := n.close(s.drain); err != nil {
			log.Warn("stop to repair the database", "err", err)
		}
		return true, nil
	}
	go func() {
		<-signals
		os.Exit(exitFailed) // a second signal ends at once
	}()
	return false, errors.Join(err, n.close(s.drain))
}

// announce prints the line that tells that the node is ready.
func (a *app) announce(n *node, stop <-chan struct{}, once *sync.Once) {
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		if ready, _ := n.member.Ready(); ready {
			once.Do(func() {
				fmt.Fprintf(a.stdout, "ready node=%s name=%s digest=%s\n", n.store.Node(), n.store.Name(), n.store.Stats().Digest)
			})
			return
		}
		select {
		case <-poll.C:
		case <-stop:
			return
		}
	}
}

// open opens store, mesh, port and wiki, in this order.
func open(s *settings, log *slog.Logger, damaged func(what string)) (n *node, addr net.Addr, err error) {
	token, err := s.joinToken()
	if err != nil {
		return nil, nil, err
	}
	https, err := s.https()
	if err != nil {
		return nil, nil, err
	}
	listener, err := net.Listen("tcp", s.listen)
	if err != nil {
		do := "Choose"
		if errors.Is(err, syscall.EADDRINUSE) {
			do = "Stop what listens there, or choose"
		}
		return nil, nil, fmt.Errorf("listen on %s: %w. %s another address with --listen", s.listen, err, do)
	}
	defer func() {
		if err != nil {
			listener.Close()
		}
	}()
	n = &node{log: log, feed: wiki.NewFeed()}
	n.store, err = storage.Open(storage.Config{Dir: s.data, Name: s.name, Logger: log, Damaged: damaged, Fatal: func(err error) {
		log.Error("the disk has failed", "err", err)
		os.Exit(exitFailed)
	}})
	if err != nil {
		return nil, nil, explainData(s.data, err)
	}
	addr = listener.Addr()
	n.member, err = cluster.Open(cluster.Config{
		Store: n.store, Dir: s.data, Name: s.name, Version: programVersion(), Listen: addr.String(), Advertise: s.advertise,
		Secret: s.secret, Join: s.join, Token: token, Logger: log, Dial: s.dial, PageName: pageName,
		Tell: func(i *cluster.Item) { n.feed.Publish(i) }, Watched: func() bool { return n.feed.Readers() > 0 },
	})
	if err != nil {
		return nil, nil, errors.Join(err, n.store.Close())
	}
	key, err := operatorKey(s.data)
	if err != nil {
		n.member.Close()
		return nil, nil, errors.Join(err, n.store.Close())
	}
	if https != nil && https.Certificates[0].Leaf != nil {
		n.certEnds = https.Certificates[0].Leaf.NotAfter
	}
	n.port = cluster.OpenPort(listener, n.member, cluster.PortConfig{HTTPS: https, From: s.connectionsFrom, Trusted: s.trusted(), Logger: log})
	if n.wiki, err = n.handler(s, key); err != nil {
		return nil, nil, errors.Join(err, n.port.Close())
	}
	n.server = newServer(n.wiki, n.wiki.Gate(), log)
	return n, addr, nil
}

// explainData says what to do where the data directory can't be opened.
func explainData(dir string, err error) error {
	var path *os.PathError
	switch {
	case !errors.Is(err, storage.ErrLocked):
		return err
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("data directory %s is no directory; choose another with --data", dir)
	case errors.As(err, &path):
		return fmt.Errorf("data directory %s can't be locked: %w; choose another with --data", dir, path)
	}
	return fmt.Errorf("data directory %s is in use by another erwik; stop it, or choose another with --data", dir)
}

// The limits of what comes before a request is one.
const (
	headerTime  = 5 * time.Second // in which a header must be complete
	idleTime    = 2 * time.Minute // for which a connection may wait for its next request
	maxHeader   = 16 << 10        // bytes of a header
	headerSlack = 4 << 10         // what net/http allows beyond its setting
)

func newServer(handler http.Handler, gate *wiki.Gate, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: handler, ConnState: gate.State, ConnContext: gate.Context, ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader - headerSlack,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

func (n *node) handler(s *settings, key string) (*wiki.Handler, error) {
	return wiki.NewHandler(wiki.Config{
		Store: n.store, Mesh: n.member, Through: n.member.ReadThrough, Feed: n.feed, Site: s.site, NodeName: s.name, Version: programVersion(),
		EditToken: s.editToken, Trusted: s.trusted(), OperatorKey: key, Logger: n.log,
		Ready: func() (bool, string) {
			ready, err := n.member.Ready()
			if err != nil {
				return ready, err.Error()
			}
			return ready, "joining"
		},
		Commit: sourceCommit(), Sources: []metrics.Source{n.samples}, Doctor: n.diagnose,
		OperatorCalls: map[string]wiki.OperatorCall{"network/forget": n.forget, "network/ban": n.ban},
	})
}

// close drains: requests end, then the mesh is left, then the store closed.
func (n *node) close(drain time.Duration) error {
	n.wiki.Close()
	ctx, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	err := n.server.Shutdown(ctx)
	if err != nil {
		err = fmt.Errorf("requests were still running after %s: %w", drain, errors.Join(err, n.server.Close()))
	}
	n.member.Close()
	return errors.Join(err, n.port.Close(), n.store.Close())
}

// pageName is what events call a path; nothing for what is neither a page nor a
// file.
func pageName(path string) string {
	name, ok := page.ShownPath(path)
	if !ok {
		return ""
	}
	return name
}

func (s *settings) https() (*tls.Config, error) {
	if s.tlsCert == "" && s.tlsKey == "" {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(s.tlsCert, s.tlsKey)
	if err != nil {
		return nil, fmt.Errorf("read the certificate for HTTPS: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}}, nil
}

func (a *app) logger(s *settings) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.logLevel)); err != nil {
		return nil, usageError{fmt.Errorf("--log-level %q: use debug, info, warn or error", s.logLevel)}
	}
	opts := &slog.HandlerOptions{Level: level}
	switch s.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(a.stderr, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(a.stderr, opts)), nil
	}
	return nil, usageError{fmt.Errorf("--log-format %q: use text or json", s.logFormat)}
}

const operatorKeyName = "operator.key"

// operatorKey reads the key by which commands prove that they may read the
// node's disk, or makes it.
func operatorKey(dir string) (string, error) {
	key, err := readOperatorKey(dir)
	if !errors.Is(err, os.ErrNotExist) {
		return key, err
	}
	raw := make([]byte, 32)
	if _, err := io.ReadFull(rand.Reader, raw); err != nil {
		return "", fmt.Errorf("make the operator's key: %w", err)
	}
	key = hex.EncodeToString(raw)
	path := filepath.Join(dir, operatorKeyName)
	if err := os.WriteFile(path+".new", []byte(key+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("make the operator's key: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil { // whole or not there
		return "", fmt.Errorf("make the operator's key: %w", err)
	}
	return key, nil
}

func readOperatorKey(dir string) (string, error) {
	path := filepath.Join(dir, operatorKeyName)
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the operator's key: %w", err)
	}
	key := strings.TrimSpace(string(text))
	if len(key) < 32 {
		return "", fmt.Errorf("operator's key: %s is damaged; remove it and a new one is made", path)
	}
	return key, nil
}
