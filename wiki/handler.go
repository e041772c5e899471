package wiki

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki/markdown"
	"github.com/erwik/erwik/wiki/metrics"
	"github.com/erwik/erwik/wiki/page"
	"github.com/erwik/erwik/wiki/web"
)

// Handler serves a wiki over HTTP. Make one with [NewHandler] and Close it.
type Handler struct {
	store       Store
	mesh        Mesh
	through     Through
	feed        *Feed
	ready       func() (bool, string)
	pages       *page.Service
	web         *web.Writer
	markdown    *markdown.Renderer
	rendered    *renderCache
	conflicts   *conflictCount
	metrics     *metrics.Set
	hot         *metrics.Route // pages answered from the cache, before any route
	guard       guard
	door        *door
	gate        *Gate
	bodyBytes   atomic.Int64  // of bodies whose answers have not begun
	answerBytes atomic.Int64  // of large answers that are being sent, and of conflicts
	bodies      chan struct{} // a place for each large body that is read
	renders     chan struct{} // a place for each page that is rendered
	router      *mux.Router
	log         *slog.Logger
	clock       func() time.Time
	node        storage.NodeID
	nodeName    string
	version     string
	alone       bool
	stopWatch   func()
	doctor      func(context.Context) (any, error)
}

// NewHandler returns the handler of a whole wiki: every path of the port but
// those that cmd takes for itself. The only error is one of building the
// program.
func NewHandler(cfg Config) (*Handler, error) {
	node := cfg.Store.Node()
	h := &Handler{
		store: cfg.Store, feed: cmp.Or(cfg.Feed, NewFeed()), ready: cfg.Ready,
		markdown: markdown.New(),
		guard:    newGuard(cfg.EditToken, cfg.OperatorKey),
		bodies:   make(chan struct{}, maxLargeBodies),
		renders:  make(chan struct{}, maxRenders),
		log:      cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)),
		clock:    cfg.Clock, node: node, nodeName: cmp.Or(cfg.NodeName, node.Short()), version: cfg.Version,
		through: cfg.Through,
		mesh:    cfg.Mesh, doctor: cfg.Doctor,
	}
	if h.clock == nil {
		h.clock = time.Now
	}
	if h.ready == nil {
		h.ready = func() (bool, string) { return true, "" }
	}
	if h.mesh == nil {
		h.alone = true
		h.mesh = Alone{Node: node, Name: h.nodeName, Version: cfg.Version}
	}
	var err error
	if h.web, err = web.New(cmp.Or(cfg.Site, "erwik")); err != nil {
		return nil, fmt.Errorf("make the pages: %w", err)
	}
	h.pages = page.NewService(page.Config{
		Store: cfg.Store, Fetch: h.mesh, Starter: starterPage, Clock: h.clock, Logger: h.log,
	})
	h.rendered = newRenderCache(cmp.Or(cfg.CacheBytes, defaultCacheBytes))
	h.conflicts = newConflictCount(h.pages)
	h.metrics = metrics.New(cmp.Or(cfg.Version, "unknown"), cmp.Or(cfg.Commit, "unknown"))
	h.door = newDoor(h.metrics, cfg.Trusted)
	h.gate = newGate(h.door.saves, h.metrics)
	h.hot = h.metrics.Route("/{page}")
	h.metrics.Add(h.ownSamples)
	for _, source := range cfg.Sources {
		h.metrics.Add(source)
	}
	h.router = h.routes(cfg.OperatorCalls)
	h.stopWatch = cfg.Store.Watch(h.committed)
	return h, nil
}

// Feed returns the feed to which live events are published.
func (h *Handler) Feed() *Feed { return h.feed }

// Gate returns what refuses saves before the server that runs the handler hears
// of them.
func (h *Handler) Gate() *Gate { return h.gate }

// Pages returns the service below the handler.
func (h *Handler) Pages() *page.Service { return h.pages }

// Close ends the streams of live events and lets go of the store. Requests
// that are being served go on.
func (h *Handler) Close() {
	h.stopWatch()
	h.feed.Close()
}

// committed is called by the store for commits that became visible; it runs
// inside a save.
func (h *Handler) committed(commits []storage.Committed) {
	synced := 0
	for i := range commits {
		c := &commits[i]
		if !c.Own && !c.Inert && c.Kind != storage.KindAdmit && c.Kind != storage.KindBan {
			synced++
		}
		for _, m := range c.Moved {
			h.rendered.changed(m.Path, m.Heads)
			h.conflicts.changed(m.Path, len(m.Heads))
		}
		h.rendered.changed(c.Path, c.Heads)
		h.conflicts.changed(c.Path, len(c.Heads))
		if h.alone && !c.Inert && h.feed.Readers() > 0 {
			if e, ok := newCommitEvent(c.Commit); ok {
				h.feed.Publish(e)
			}
		}
	}
	if synced > 0 {
		h.metrics.Commits(metrics.OriginSync, synced)
	}
}

// ServeHTTP implements http.Handler. A page that was rendered before and has
// not changed is answered before any route is looked for, and needs no place: to
// refuse it would cost as much.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.RawQuery == "" && (r.Method == http.MethodGet || r.Method == http.MethodHead) &&
		!strings.HasPrefix(r.URL.Path, "/-/") && h.serveHot(w, r) {
		return
	}
	setSecurityHeaders(w.Header())
	h.router.ServeHTTP(w, r)
}

// Header values that never change, shared by all answers; net/http does not
// write to them.
var (
	valuePolicy   = []string{web.Policy}
	valueNosniff  = []string{"nosniff"}
	valueReferrer = []string{"same-origin"}
	valueNoCache  = []string{"no-cache"}
	valueHTML     = []string{"text/html; charset=utf-8"}
	valueJSON     = []string{"application/json"}
	valueOpener   = []string{"same-origin"}
)

// setSecurityHeaders sets what every answer has.
func setSecurityHeaders(header http.Header) {
	header["Content-Security-Policy"] = valuePolicy
	header["X-Content-Type-Options"] = valueNosniff
	header["Referrer-Policy"] = valueReferrer
	header["Cross-Origin-Opener-Policy"] = valueOpener
	header["Cross-Origin-Resource-Policy"] = valueOpener
}
