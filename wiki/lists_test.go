package wiki_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki"
	"github.com/erwik/erwik/wiki/page"
)

// all follows a list to its end and returns one field of each item.
func (w *world) all(target, field string) []string {
	w.t.Helper()
	var got []string
	for next, pages := "", 0; ; pages++ {
		if pages > 100 {
			w.t.Fatal("the list does not end")
		}
		list := decode(w.t, w.get(target+next))
		for _, item := range list["items"].([]any) {
			got = append(got, item.(fields)[field].(string))
		}
		cursor, ok := list["next"].(string)
		if !ok {
			return got
		}
		next = "&cursor=" + cursor
	}
}

func TestLists(t *testing.T) {
	w := newWorld(t, nil)
	var saved []string
	for i := range 7 {
		saved = append(saved, w.put(fmt.Sprintf("docs/p%d", i), "x\n"))
	}
	for i := range 3 {
		saved = append(saved, w.put("docs/p0", fmt.Sprintf("%d\n", i), saved[0]))
		saved[0] = saved[len(saved)-1]
	}
	w.put("Other", "x\n")
	w.put("docs/gone", "x\n")
	wantStatus(t, w.do("DELETE", api+"pages/docs/gone?base=current", ""), 200)

	byName := []string{"docs/p0", "docs/p1", "docs/p2", "docs/p3", "docs/p4", "docs/p5", "docs/p6"}
	newest := []string{"docs/p0", "docs/p6", "docs/p5", "docs/p4", "docs/p3", "docs/p2", "docs/p1"}
	for _, limit := range []int{1, 2, 6, 7, 100} {
		if got := w.all(fmt.Sprintf("%spages?prefix=docs/&limit=%d", api, limit), "path"); !slices.Equal(got, newest) {
			t.Errorf("limit %d: %v, want %v", limit, got, newest)
		}
		if got := w.all(fmt.Sprintf("%spages?prefix=docs/&order=name&limit=%d", api, limit), "path"); !slices.Equal(got, byName) {
			t.Errorf("limit %d: %v, want %v", limit, got, byName)
		}
	}
	for _, whole := range []string{"pages?prefix=docs/&limit=7", "pages?prefix=docs/&order=name&limit=7", "history/docs/p0?limit=4", "recent?limit=13"} {
		if list := decode(t, w.get(api+whole)); list["next"] != nil {
			t.Errorf("%s: a list that is whole goes on at %v", whole, list["next"])
		}
	}
	if got := w.all(api+"pages?limit=3", "path"); len(got) != 8 {
		t.Errorf("all pages: %v", got)
	}
	history := w.all(api+"history/docs/p0?limit=2", "commit")
	if len(history) != 4 || history[0] != saved[0] {
		t.Errorf("history %v, want 4, the newest first", history)
	}
	recent := w.all(api+"recent?limit=5", "path")
	if len(recent) != 13 || recent[0] != "docs/gone" || recent[2] != "Other" {
		t.Errorf("recent %v", recent)
	}
	for _, bad := range []string{"pages?limit=0", "pages?limit=x", "pages?cursor=x", "pages?order=x", "pages?prefix=%zz", "recent?cursor=x", "recent?cursor=0", "history/docs/p0?cursor=-1"} {
		wantStatus(t, w.get(api+bad), 400)
	}
	wantStatus(t, w.get(api+"history/Never"), 404)
	if empty := decode(t, w.get(api+"pages?prefix=none")); empty["next"] != nil || len(empty["items"].([]any)) != 0 {
		t.Errorf("empty list %v", empty)
	}
}

func TestConflictsListGoesOn(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 5 {
		w.fork(page.Name(fmt.Sprintf("c%d", i)), "", "A\n", "B\n")
		w.fork(page.Name(fmt.Sprintf("same%d", i)), "", "A\n", "A\n")
	}
	want := []string{"c4", "c3", "c2", "c1", "c0"} // the newest first
	for _, limit := range []int{1, 2, 5, 50} {
		if got := w.all(fmt.Sprintf("%sconflicts?limit=%d", api, limit), "path"); !slices.Equal(got, want) {
			t.Errorf("limit %d: %v, want %v", limit, got, want)
		}
	}
	wantBody(t, w.get("/-/recent"), `<span class="count">5</span>`)
}

func TestStatus(t *testing.T) {
	ready, reason := false, "joining"
	w := newWorld(t, func(c *wiki.Config) { c.Ready = func() (bool, string) { return ready, reason } })
	answer := w.get("/-/readyz")
	wantStatus(t, answer, http.StatusServiceUnavailable)
	wantBody(t, answer, "joining")
	wantStatus(t, w.get("/-/healthz"), 200)
	ready = true
	wantStatus(t, w.get("/-/readyz"), 200)
	w.put("Page", "x\n")
	got := decode(t, w.get(api+"status"))
	wanted := fields{
		"node": w.store.Node().String(), "name": "e1", "version": "test", "ready": true, "pages": 1.0, "commits": 1.0, "staged": 0.0,
		"files_missing": 0.0, "voter": false, "leader": nil, "term": 0.0, "cut": 0.0, "main": nil,
	}
	for field, want := range wanted {
		if value, ok := got[field]; !ok || value != want {
			t.Errorf("%s = %v, want %v", field, value, want)
		}
	}
	if digest := got["digest"].(string); len(digest) != 64 || len(got["vector"].(fields)) != 1 || len(got["neighbors"].([]any)) != 0 {
		t.Errorf("status %v", got)
	}
	for _, what := range []string{"nodes", "links", "routes", "graph"} {
		answer := w.get(api + "network/" + what)
		wantStatus(t, answer, 200)
		if !strings.HasPrefix(answer.Body.String(), "[") {
			t.Errorf("network/%s is no plain list: %s", what, answer.Body)
		}
	}
}

func TestCommitStory(t *testing.T) {
	w := newWorld(t, nil)
	commit := w.put("Page", "x\n")
	got := decode(t, w.get(api+"commits/"+commit))
	if got["commit"] != commit || got["page"] != "Page" || got["sequence"] != 1.0 {
		t.Errorf("story %v", got)
	}
	wantStatus(t, w.get(api+"commits/"+strings.Repeat("1", 40)), 404)
	wantStatus(t, w.get(api+"commits/x"), 400)
}

func TestOperatorCalls(t *testing.T) {
	w := newWorld(t, func(c *wiki.Config) {
		c.OperatorKey = operatorKey
		c.OperatorCalls = map[string]wiki.OperatorCall{"network/forget": func(_ context.Context, body []byte) (any, error) {
			if string(body) != "e2" {
				return nil, errors.New("no node of that name")
			}
			return fields{"forgotten": "e2"}, nil
		}}
	})
	wantStatus(t, w.do("POST", api+"network/forget", "e2"), 401)
	answer := w.do("POST", api+"network/forget", "e2", "Authorization", "Bearer "+operatorKey)
	wantStatus(t, answer, 200)
	if decode(t, answer)["forgotten"] != "e2" {
		t.Errorf("answer %s", answer.Body)
	}
	answer = w.do("POST", api+"network/forget", "e3", "Authorization", "Bearer "+operatorKey)
	wantStatus(t, answer, 400)
	wantBody(t, answer, "no node of that name")
}

func TestStoreErrors(t *testing.T) {
	for err, want := range map[error]int{
		storage.ErrDiskFull: 507, storage.ErrPoisoned: 503, storage.ErrClosed: 503, storage.ErrTooLarge: 413, storage.ErrInvalid: 400,
		errors.New("secret detail"): 500, context.DeadlineExceeded: 503,
	} {
		w := newWorld(t, func(c *wiki.Config) { c.Store = failing{c.Store, err} })
		answer := w.json("PUT", api+"pages/Page", fields{"text": "x"})
		wantStatus(t, answer, want)
		if strings.Contains(answer.Body.String(), "secret detail") {
			t.Errorf("the answer names the inner error: %s", answer.Body)
		}
	}
}
