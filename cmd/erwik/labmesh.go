package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/erwik/erwik/storage"
)

// lab is a mesh of nodes in this process, on loopback, with wires between
// them that can be slowed down and cut.
type lab struct {
	dir    string
	log    *slog.Logger
	secret string
	names  []string // e1, e2, …

	mu    sync.Mutex
	wires map[string]*wire    // by "e1-e2", the smaller number first
	nodes map[string]*labNode // those that run
	home  map[string]string   // name → address, which a node keeps when it starts again
}

type labNode struct {
	*node
	served chan struct{}
}

const maxLabNodes = 32

// newLab makes the wires; nothing runs yet.
func newLab(dir string, count int, log *slog.Logger) *lab {
	l := &lab{dir: dir, log: log, secret: "the secret of this lab", wires: make(map[string]*wire), nodes: make(map[string]*labNode), home: make(map[string]string)}
	for i := range count {
		l.names = append(l.names, fmt.Sprintf("e%d", i+1))
		for j := range i {
			l.wires[l.names[j]+"-"+l.names[i]] = newWire()
		}
	}
	return l
}

// wire finds a wire by the names of its ends in either order.
func (l *lab) wire(link string) (*wire, error) {
	a, b, _ := strings.Cut(link, "-")
	if w := l.wires[a+"-"+b]; w != nil {
		return w, nil
	}
	if w := l.wires[b+"-"+a]; w != nil {
		return w, nil
	}
	return nil, usageError{fmt.Errorf("there is no link %q; the nodes are %s, a link is written %s-%s", link, strings.Join(l.names, ", "), l.names[0], l.names[len(l.names)-1])}
}

// dialer gives a node its side of the wires.
func (l *lab) dialer(self string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, address string) (net.Conn, error) {
		l.mu.Lock()
		to := ""
		for name, home := range l.home {
			if home == address {
				to = name
			}
		}
		l.mu.Unlock()
		w, err := l.wire(self + "-" + to)
		if err != nil {
			return nil, fmt.Errorf("%s is no node of this lab", address)
		}
		return w.dial(ctx, address)
	}
}

// start runs a node; all but the first join the one before.
func (l *lab) start(name string) error {
	i := slices.Index(l.names, name)
	if i < 0 {
		return usageError{fmt.Errorf("there is no node %q; the nodes are %s", name, strings.Join(l.names, ", "))}
	}
	l.mu.Lock()
	running, home := l.nodes[name] != nil, l.home[name]
	s := settings{listen: home, data: filepath.Join(l.dir, name), name: name, secret: l.secret, site: "lab: " + name, drain: time.Second, dial: l.dialer(name)}
	if home == "" {
		s.listen = "127.0.0.1:0"
	}
	if i > 0 {
		s.join = []string{l.home[l.names[i-1]]}
	}
	l.mu.Unlock()
	if running {
		return fmt.Errorf("%s runs already", name)
	}
	n, addr, err := open(&s, l.log.With("node", name), nil)
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	ln := &labNode{node: n, served: make(chan struct{})}
	go func() {
		defer close(ln.served)
		n.server.Serve(n.port.HTTP())
	}()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nodes[name], l.home[name] = ln, addr.String()
	return nil
}

// kill ends a node without a word to the others: its wires are cut first.
func (l *lab) kill(name string) error {
	l.mu.Lock()
	n := l.nodes[name]
	delete(l.nodes, name)
	l.mu.Unlock()
	if n == nil {
		return fmt.Errorf("%s does not run", name)
	}
	var mend []*wire
	for link, w := range l.wires {
		a, b, _ := strings.Cut(link, "-")
		if (a == name || b == name) && !w.isCut() {
			w.setCut(true)
			mend = append(mend, w)
		}
	}
	err := n.close(time.Millisecond)
	<-n.served
	for _, w := range mend {
		w.setCut(false)
	}
	return err
}

func (w *wire) isCut() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cut
}

func (l *lab) get(name string) *labNode {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.nodes[name]
}

// close ends all nodes and removes their data.
func (l *lab) close() error {
	var err error
	for _, name := range l.names {
		if l.get(name) != nil {
			err = errors.Join(err, l.kill(name))
		}
	}
	return errors.Join(err, os.RemoveAll(l.dir))
}

// links returns the rows of a node's routing table.
func (n *labNode) links() (rows []linkRow, err error) {
	list, err := n.member.Network("links")
	if err != nil {
		return nil, err
	}
	return rows, recode(list, &rows)
}

func (n *labNode) peers() (rows []nodeRow, err error) {
	list, err := n.member.Network("nodes")
	if err != nil {
		return nil, err
	}
	return rows, recode(list, &rows)
}

// recode reads facts as programs outside read them.
func recode(from, to any) error {
	text, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, to)
}

// labStory is what one node tells of a commit.
type labStory struct {
	Hops []struct {
		Node       string    `json:"node"`
		HeardFrom  string    `json:"heard_from"`
		PulledFrom string    `json:"pulled_from"`
		At         time.Time `json:"at"`
	} `json:"hops"`
	Discarded map[string]int `json:"discarded_notices"`
}

func (n *labNode) story(h storage.Hash) (s labStory, found bool) {
	told, found := n.member.Story(h)
	if !found || recode(told, &s) != nil {
		return s, false
	}
	return s, len(s.Hops) > 0
}

// whole reports what is still missing until every running node sees every
// other one and all links that are not cut are up.
func (l *lab) whole() (missing string) {
	for _, name := range l.names {
		n := l.get(name)
		if n == nil {
			continue
		}
		peers, err := n.peers()
		if err != nil {
			return err.Error()
		}
		alive := 0
		for _, p := range peers {
			if p.State == "alive" || p.State == "self" {
				alive++
			}
		}
		if alive < len(l.running()) {
			return fmt.Sprintf("%s sees %d of %d nodes", name, alive, len(l.running()))
		}
	}
	first := l.get(l.running()[0])
	rows, err := first.links()
	if err != nil {
		return err.Error()
	}
	for link, w := range l.wires {
		a, b, _ := strings.Cut(link, "-")
		if w.isCut() || l.get(a) == nil || l.get(b) == nil {
			continue
		}
		up := 0
		for _, r := range rows {
			if r.State != "down" && (r.From == a && r.To == b || r.From == b && r.To == a) {
				up++
			}
		}
		if up < 2 {
			return "link " + link + " is not up at both ends"
		}
	}
	return ""
}

// address is where a node serves.
func (l *lab) address(name string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.home[name]
}

func (l *lab) running() (names []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range l.names {
		if l.nodes[name] != nil {
			names = append(names, name)
		}
	}
	return names
}

// list prints where each node is and what each wire does.
func (l *lab) list(w io.Writer) {
	now := l.facts()
	for _, n := range now.Nodes {
		state := ""
		if !n.Running {
			state = "  (killed)"
		}
		fmt.Fprintf(w, "%s  %s%s\n", n.Name, n.URL, state)
	}
	for _, link := range now.Links {
		if link.Cut {
			fmt.Fprintf(w, "%s  cut\n", link.Link)
		} else {
			fmt.Fprintf(w, "%s  %s\n", link.Link, shownRate(link.BytesPerSecond))
		}
	}
}

// labFacts is what there is to say of a lab: its nodes, and the links that are
// cut or slow.
type labFacts struct {
	Nodes []nodeFacts `json:"nodes"`
	Links []linkFacts `json:"links"`
}

type nodeFacts struct {
	Name    string `json:"name"`
	URL     string `json:"url"`
	Running bool   `json:"running"`
}

type linkFacts struct {
	Link           string `json:"link"`
	Cut            bool   `json:"cut"`
	BytesPerSecond int64  `json:"bytes_per_s"` // 0: not throttled
}

func (l *lab) facts() labFacts {
	now := labFacts{Nodes: []nodeFacts{}, Links: []linkFacts{}}
	for _, name := range l.names {
		l.mu.Lock()
		home, running := l.home[name], l.nodes[name] != nil
		l.mu.Unlock()
		now.Nodes = append(now.Nodes, nodeFacts{name, "http://" + home, running})
	}
	for link, wire := range l.wires {
		if rate, cut := wire.speed(), wire.isCut(); cut || rate > 0 {
			now.Links = append(now.Links, linkFacts{link, cut, rate})
		}
	}
	slices.SortFunc(now.Links, func(a, b linkFacts) int { return strings.Compare(a.Link, b.Link) })
	return now
}

func shownRate(bytes int64) string {
	bits := float64(bytes * 8)
	switch {
	case bits >= 1e6:
		return fmt.Sprintf("%g Mbit/s", bits/1e6)
	case bits >= 1e3:
		return fmt.Sprintf("%g kbit/s", bits/1e3)
	}
	return fmt.Sprintf("%g bit/s", bits)
}
