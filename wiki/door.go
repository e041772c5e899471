package wiki

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/erwik/erwik/wiki/metrics"
)

// Errors of the door.
var (
	errBusy       = errors.New("wiki: this node has more to do than it can; nothing of this request was done")
	errSlowReader = errors.New("wiki: a client takes not even a refusal")
	errBusyShare  = errors.New("wiki: your address has more requests under way here than its share; nothing of this request was done")
)

// class is a kind of request with places of its own, so that none starves
// another.
type class struct {
	name    string
	places  chan struct{}
	room    int64 // places and waiting room together
	inside  atomic.Int64
	mu      sync.Mutex
	from    map[string]int // inside, by address; only of those that are counted
	metrics *metrics.Set
}

// door lets requests in, class by class.
type door struct {
	views, dear, saves, uploads, watch *class
	trusted                            func(host string) bool
}

func newDoor(m *metrics.Set, trusted func(string) bool) *door {
	if trusted == nil {
		trusted = func(string) bool { return false }
	}
	return &door{
		views: newClass("views", maxViews, maxViewsWaiting, m), dear: newClass("dear", maxDear, maxDearWaiting, m),
		saves: newClass("saves", maxSaves, maxSavesWaiting, m), uploads: newClass("uploads", maxUploads, maxUploadsWaiting, m),
		watch:   newClass("watch", maxWatch, maxWatchWaiting, m),
		trusted: trusted,
	}
}

func newClass(name string, places, waiting int, m *metrics.Set) *class {
	c := &class{name: name, places: make(chan struct{}, places), room: int64(places + waiting), from: make(map[string]int), metrics: m}
	m.Door(name, func() float64 { return float64(c.inside.Load()) })
	return c
}

// full reports whether one more would be refused; nothing is taken.
func (c *class) full() bool { return c.inside.Load() >= c.room }

// nearlyFull reports whether a quarter of the room or less is left.
func (c *class) nearlyFull() bool { return c.inside.Load() >= c.room-c.room/4 }

// hold keeps room for one that does not take its place yet; false: there is none.
// Whoever holds it enters with it, or takes one from inside.
func (c *class) hold() bool {
	if c.inside.Add(1) > c.room {
		c.inside.Add(-1)
		return false
	}
	return true
}

// refuse counts a request that does not get in.
func (c *class) refuse(err error) error {
	reason := "full"
	if errors.Is(err, errBusyShare) {
		reason = "share"
	}
	c.metrics.Refused(c.name, reason)
	return err
}

// enter takes a place for a request of host, and waits for one if there is
// waiting room; leave must be called once if err is nil. An address has a share
// only while the class is half full; trusted ones, host "", have none.
func (c *class) enter(ctx context.Context, host string) error {
	if !c.hold() {
		return c.refuse(errBusy)
	}
	return c.enterHeld(ctx, host)
}

// enterHeld is enter for one for whom there is room already.
func (c *class) enterHeld(ctx context.Context, host string) error {
	inside := c.inside.Load()
	if host != "" {
		c.mu.Lock()
		over := inside > c.room/maxShare && int64(c.from[host]) >= c.room/maxShare
		if !over {
			c.from[host]++
		}
		c.mu.Unlock()
		if over {
			c.inside.Add(-1)
			return c.refuse(errBusyShare)
		}
	}
	select {
	case c.places <- struct{}{}:
		return nil
	default:
	}
	select {
	case c.places <- struct{}{}:
		return nil
	case <-ctx.Done():
		c.out(host)
		return ctx.Err()
	}
}

func (c *class) leave(host string) {
	<-c.places
	c.out(host)
}

func (c *class) out(host string) {
	c.inside.Add(-1)
	if host == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.from[host]--; c.from[host] == 0 {
		delete(c.from, host)
	}
}

// hostOf is the address whose share a request counts against; "" for trusted
// ones. Of IPv6 it is the network of 64 bits.
func (d *door) hostOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil || d.trusted(host) {
		return ""
	}
	return host
}

// classOf says in which class a route's request stands; nil: it is let in always
// (health, streams with their own bound), or takes its
// place later, when its body is here.
func (d *door) classOf(route, method string) *class {
	if method != http.MethodGet && method != http.MethodHead {
		return nil
	}
	switch route {
	case "/-/healthz", "/-/readyz", eventsPath:
		return nil
	case "/-/metrics", apiPrefix + "v1/status", apiPrefix + "v1/doctor":
		return d.watch
	}
	for _, dear := range []string{"v1/history/", "v1/diff/", "v1/recent", "v1/conflicts", "v1/pages", "v1/files", "/-/recent", "/-/conflicts", "/-/mesh", "v1/network/"} {
		if strings.HasPrefix(strings.TrimPrefix(route, apiPrefix), dear) && !strings.HasPrefix(route, apiPrefix+"v1/pages/") {
			return d.dear
		}
	}
	return d.views
}

// dearQuery reports whether a page is asked for in a way that costs much more
// than a view.
func dearQuery(r *http.Request) bool {
	q := r.URL.RawQuery
	return q != "" && (strings.Contains(q, "history") || strings.Contains(q, "diff") || strings.Contains(q, "rev="))
}

// retryAfter is when a refused client shall come again; at random, so that not
// all come at once.
func retryAfter() string { return strconv.Itoa(retryMin + rand.IntN(retryMax-retryMin+1)) }

// turnAway answers a request that was not let in, as cheaply as can be.
func turnAway(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusServiceUnavailable
	if errors.Is(err, errBusyShare) {
		status = http.StatusTooManyRequests
	}
	header := w.Header()
	header["Retry-After"] = []string{retryAfter()}
	header["Cache-Control"] = []string{"no-store"}
	text := busyText(err)
	body := text + ". Try again in a few seconds, or use another node.\n"
	header["Content-Type"] = []string{"text/plain; charset=utf-8"}
	if strings.HasPrefix(r.URL.Path, apiPrefix) {
		header["Content-Type"] = []string{"application/problem+json"}
		body = busyProblem(status, err)
	}
	answer(w, r, status, []byte(body))
}

func busyText(err error) string { return strings.TrimPrefix(err.Error(), "wiki: ") }

// busyProblem is the body of a refusal for programs.
func busyProblem(status int, err error) string {
	return `{"type":"about:blank","title":"` + http.StatusText(status) + `","status":` + strconv.Itoa(status) + `,"detail":"` + busyText(err) + `","code":"busy","next":"try again in a few seconds, or use another node"}`
}
