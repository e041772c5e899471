package wiki

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/erwik/erwik/wiki/metrics"
	"github.com/erwik/erwik/wiki/page"
)

// runSave saves when there is a place for it, and counts what became of it. The
// texts of a conflict count until w's answer begins to be sent; where there is no room for
// them, the client is told to come again, since nothing was saved.
func (h *Handler) runSave(w http.ResponseWriter, r *http.Request, save func() (page.Saved, error)) (page.Saved, error) {
	host := h.door.hostOf(r)
	enter := h.door.saves.enter
	if heldRoom(r) {
		enter = h.door.saves.enterHeld
	}
	if err := enter(r.Context(), host); err != nil {
		return page.Saved{}, err
	}
	defer h.door.saves.leave(host)
	begin := time.Now()
	saved, err := save()
	h.saved(r, begin, saved, err)
	if conflict, ok := errors.AsType[*page.ConflictError](err); ok && !keep(w, &h.answerBytes, clashCost*conflict.Size(maxClashTexts), maxAnswerMemory) {
		return saved, h.door.saves.refuse(errBusy)
	}
	return saved, err
}

// saved counts what became of an edit that r asked for at the time begin.
func (h *Handler) saved(r *http.Request, begin time.Time, s page.Saved, err error) {
	_, conflict := errors.AsType[*page.ConflictError](err)
	if _, file := errors.AsType[*page.FileConflictError](err); file {
		conflict = true
	}
	switch {
	case conflict:
		h.metrics.Clashed()
	case err == nil:
		h.metrics.Saved(originOf(r), time.Since(begin), s.Merged, s.Unchanged)
	}
}

// originOf tells forms from programs.
func originOf(r *http.Request) string {
	if strings.HasPrefix(r.URL.Path, apiPrefix) || r.Method == http.MethodPut || r.Method == http.MethodDelete {
		return metrics.OriginAPI
	}
	return metrics.OriginWeb
}

// ownSamples are the wiki's totals.
func (h *Handler) ownSamples(yield func(metrics.Sample)) {
	stats := h.store.Stats()
	entries, size := h.rendered.entries.Cost()
	gauge := func(name, help string, value float64) {
		yield(metrics.Sample{Name: name, Help: help, Value: value})
	}
	gauge("erwik_pages", "Live pages.", float64(stats.Pages))
	gauge("erwik_files", "Live files.", float64(stats.Files))
	gauge("erwik_files_missing", "Revisions of files of which parts are not here.", float64(stats.Lacking))
	gauge("erwik_commits", "Commits of pages and files that are visible here.", float64(stats.Commits))
	gauge("erwik_staged_commits", "Commits that wait for a parent.", float64(stats.Staged))
	gauge("erwik_regressed", "1 while acknowledged saves are missing from the database.", boolValue(stats.Regressed))
	gauge("erwik_conflicts_open", "Pages in conflict that were found so far.", float64(h.conflicts.Count()))
	gauge("erwik_sse_clients", "Open streams of live events.", float64(h.feed.Readers()))
	gauge("erwik_rendered_pages", "Pages in the cache of rendered pages.", float64(entries))
	gauge("erwik_rendered_bytes", "Their size.", float64(size))
	ready, _ := h.ready()
	gauge("erwik_ready", "1 while the node may be used.", boolValue(ready))
}

func boolValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// serveMetrics serves all metrics in Prometheus' text format.
func (h *Handler) serveMetrics(w http.ResponseWriter, r *http.Request) error {
	if !h.guard.maySeeMetrics(r) {
		return errNoToken
	}
	var b bytes.Buffer
	if err := h.metrics.Write(&b); err != nil {
		h.log.Error("metrics", "err", err)
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", metrics.ContentType)
	answer(w, r, http.StatusOK, b.Bytes())
	return nil
}

// recorder notes the status of an answer, and gives back the request's place
// when it begins.
type recorder struct {
	http.ResponseWriter
	code  int
	leave func() // gives the place back; nil: there is none
	large *atomic.Int64
	kept  []memory
}

// memory is what a request takes of a bounded whole until it is answered.
type memory struct {
	of *atomic.Int64
	n  int64
}

// keep takes n bytes for the request that w answers, until its answer begins to be
// sent, which is counted itself; false: that would be more than limit together with all
// others. A small number is not counted, and alone every one is let in.
func keep(w http.ResponseWriter, of *atomic.Int64, n, limit int) bool {
	rec, ok := w.(*recorder)
	if !ok || n <= smallBody {
		return true
	}
	if sum := of.Add(int64(n)); sum > int64(limit) && sum > int64(n) {
		of.Add(int64(-n))
		return false
	}
	rec.kept = append(rec.kept, memory{of, int64(n)})
	return true
}

// forget gives back what was kept.
func (w *recorder) forget() {
	for _, m := range w.kept {
		m.of.Add(-m.n)
	}
	w.kept = nil
}

// release gives the place back, once.
func (w *recorder) release() {
	if w.leave != nil {
		w.leave()
		w.leave = nil
	}
}

// WriteHeader implements http.ResponseWriter.
func (w *recorder) WriteHeader(code int) {
	if w.code == 0 && code >= 200 {
		w.code = code
	}
	w.release()
	w.ResponseWriter.WriteHeader(code)
}

// Write implements http.ResponseWriter.
func (w *recorder) Write(b []byte) (int, error) {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	w.release()
	if len(b) > largeAnswer {
		w.large.Add(int64(len(b)))
		defer w.large.Add(-int64(len(b)))
	}
	w.forget() // a slow reader does not hold it
	return w.ResponseWriter.Write(b)
}

// ReadFrom lets files go the short way to the connection.
func (w *recorder) ReadFrom(from io.Reader) (int64, error) {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	w.release()
	return io.Copy(w.ResponseWriter, from)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
