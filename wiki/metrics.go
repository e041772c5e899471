package wiki

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/erwik/erwik/wiki/page"
)

// counters are what /-/metrics tells beside the store's totals.
type counters struct {
	routes    []*routeCounter // written while the router is built, then only read
	hot       atomic.Uint64   // pages answered from the cache, before any route
	errors    atomic.Uint64
	saves     atomic.Uint64
	merged    atomic.Uint64
	unchanged atomic.Uint64
	clashed   atomic.Uint64
	failed    atomic.Uint64
}

type routeCounter struct {
	route string
	atomic.Uint64
}

func (c *counters) route(route string) *routeCounter {
	r := &routeCounter{route: route}
	c.routes = append(c.routes, r)
	return r
}

// saved counts what became of an edit.
func (c *counters) saved(s page.Saved, err error) {
	_, conflict := errors.AsType[*page.ConflictError](err)
	if _, file := errors.AsType[*page.FileConflictError](err); file {
		conflict = true
	}
	switch {
	case conflict:
		c.clashed.Add(1)
	case err != nil:
		c.failed.Add(1)
	case s.Unchanged:
		c.unchanged.Add(1)
	case s.Merged:
		c.merged.Add(1)
		fallthrough
	default:
		c.saves.Add(1)
	}
}

// metrics serves the counters in Prometheus' text format.
func (h *Handler) metrics(w http.ResponseWriter, r *http.Request) error {
	if !h.guard.maySeeMetrics(r) {
		return errNoToken
	}
	var b strings.Builder
	line := func(kind, name, help string, value any) {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n%s %v\n", name, help, name, kind, name, value)
	}
	stats := h.store.Stats()
	entries, bytes := h.rendered.entries.Cost()
	line("gauge", "erwik_pages", "Live pages.", stats.Pages)
	line("gauge", "erwik_files", "Live files.", stats.Files)
	line("gauge", "erwik_files_missing", "Revisions of files of which parts are not here.", stats.Lacking)
	line("counter", "erwik_commits_total", "Commits of pages and files that are visible here.", stats.Commits)
	line("gauge", "erwik_staged", "Commits that wait for a parent.", stats.Staged)
	line("gauge", "erwik_conflicts_open", "Pages in conflict that were found so far.", h.conflicts.Count())
	line("counter", "erwik_saves_total", "Edits saved here.", h.counters.saves.Load())
	line("counter", "erwik_saves_merged_total", "Edits that were merged with newer ones.", h.counters.merged.Load())
	line("counter", "erwik_saves_unchanged_total", "Edits that changed nothing.", h.counters.unchanged.Load())
	line("counter", "erwik_saves_conflict_total", "Edits that clashed.", h.counters.clashed.Load())
	line("counter", "erwik_saves_failed_total", "Edits refused for another reason.", h.counters.failed.Load())
	line("gauge", "erwik_event_readers", "Open streams of live events.", h.feed.Readers())
	line("gauge", "erwik_rendered_pages", "Pages in the cache of rendered pages.", entries)
	line("gauge", "erwik_rendered_bytes", "Their size.", bytes)
	line("counter", "erwik_http_errors_total", "Requests answered with a problem.", h.counters.errors.Load())
	line("gauge", "erwik_start_time_seconds", "When the handler was made.", h.startedUnix)
	line("counter", "erwik_http_hot_pages_total", "Pages answered from the cache.", h.counters.hot.Load())
	b.WriteString("# HELP erwik_http_requests_total Requests by route.\n# TYPE erwik_http_requests_total counter\n")
	for _, route := range h.counters.routes {
		fmt.Fprintf(&b, "erwik_http_requests_total{route=%q} %d\n", route.route, route.Load())
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	answer(w, r, http.StatusOK, []byte(b.String()))
	return nil
}
