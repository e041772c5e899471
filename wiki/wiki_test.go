package wiki_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki"
	"github.com/erwik/erwik/wiki/page"
)

// world is a wiki on a store in memory.
type world struct {
	t       *testing.T
	store   *storage.Store
	handler *wiki.Handler
}

// newWorld serves a wiki; change, if not nil, changes its settings.
func newWorld(t *testing.T, change func(*wiki.Config)) *world {
	t.Helper()
	store := openStore(t)
	cfg := wiki.Config{Store: store, NodeName: "e1", Version: "test"}
	if change != nil {
		change(&cfg)
	}
	handler, err := wiki.NewHandler(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(handler.Close)
	return &world{t, store, handler}
}

func openStore(t testing.TB) *storage.Store {
	t.Helper()
	store, err := storage.Open(storage.Config{Dir: "data", FS: vfs.NewMem(), Name: "e1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

// do sends a request. Headers come in pairs.
func (w *world) do(method, target, body string, headers ...string) *httptest.ResponseRecorder {
	w.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer := httptest.NewRecorder()
	w.handler.ServeHTTP(answer, r)
	return answer
}

func (w *world) get(target string, headers ...string) *httptest.ResponseRecorder {
	w.t.Helper()
	return w.do("GET", target, "", headers...)
}

// json sends a JSON body.
func (w *world) json(method, target string, body any, headers ...string) *httptest.ResponseRecorder {
	w.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.do(method, target, string(text), append([]string{"Content-Type", "application/json"}, headers...)...)
}

// form sends a form as a browser does.
func (w *world) form(target string, pairs ...string) *httptest.ResponseRecorder {
	w.t.Helper()
	values := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	return w.do("POST", target, values.Encode(), "Content-Type", "application/x-www-form-urlencoded")
}

type fields = map[string]any

const api = "/-/api/v1/"

// put saves a page and returns its new head.
func (w *world) put(name, text string, base ...string) string {
	w.t.Helper()
	answer := w.json("PUT", api+"pages/"+name, fields{"text": text, "author": "Ann", "base": base})
	if answer.Code != 200 && answer.Code != 201 {
		w.t.Fatalf("PUT %s: %d %s", name, answer.Code, answer.Body)
	}
	return decode(w.t, answer)["commit"].(string)
}

func decode(t testing.TB, answer *httptest.ResponseRecorder) fields {
	t.Helper()
	var v fields
	if err := json.Unmarshal(answer.Body.Bytes(), &v); err != nil {
		t.Fatalf("no JSON object: %v in %s", err, answer.Body)
	}
	return v
}

func wantStatus(t testing.TB, answer *httptest.ResponseRecorder, want int) {
	t.Helper()
	if answer.Code != want {
		body, _ := io.ReadAll(answer.Body)
		t.Fatalf("status %d, want %d: %.600s", answer.Code, want, body)
	}
}

// fork makes two heads of a page, as two nodes that were cut off do.
func (w *world) fork(name page.Name, base string, texts ...string) []string {
	w.t.Helper()
	var parents []storage.Hash
	if base != "" {
		parents = []storage.Hash{hash(w.t, base)}
	}
	var heads []string
	for _, text := range texts {
		d := storage.Draft{Kind: storage.KindPage, Path: name.Path(), Content: []byte(text), Parents: parents, Author: storage.Ident{Name: "Bob", Time: 1}}
		if text == deleted {
			d.Kind, d.Content = storage.KindDelete, nil
		}
		commits, err := w.store.Save(context.Background(), d)
		if err != nil {
			w.t.Fatal(err)
		}
		heads = append(heads, commits[0].Hash.String())
	}
	return heads
}

// deleted stands for a delete where a text is expected.
const deleted = "\x00deleted"

func hash(t testing.TB, text string) storage.Hash {
	t.Helper()
	h, err := storage.ParseHash(text)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

var testTime = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func TestSaveAndRead(t *testing.T) {
	w := newWorld(t, func(c *wiki.Config) { c.Clock = func() time.Time { return testTime } })
	answer := w.json("PUT", api+"pages/docs/Install", fields{"text": "# How\n\nDo it.\n", "author": "Ann", "summary": "first"})
	wantStatus(t, answer, http.StatusCreated)
	saved := decode(t, answer)
	if saved["path"] != "docs/Install" || saved["merged"] != false || len(saved["heads"].([]any)) != 1 || saved["heads"].([]any)[0] != saved["commit"] {
		t.Errorf("answer %v", saved)
	}
	answer = w.get(api + "pages/docs/Install")
	wantStatus(t, answer, 200)
	got := decode(t, answer)
	wanted := fields{
		"path": "docs/Install", "title": "How", "text": "# How\n\nDo it.\n", "commit": saved["commit"],
		"author": "Ann", "time": "2026-11-21T12:00:00Z", "conflict": false,
	}
	for field, want := range wanted {
		if got[field] != want {
			t.Errorf("%s = %v, want %v", field, got[field], want)
		}
	}
	if nodes := got["nodes"].(fields); nodes["have"] != 1.0 || nodes["of"] != 1.0 {
		t.Errorf("nodes %v, want 1 of 1", nodes)
	}
	etag := answer.Header().Get("ETag")
	if answer = w.get(api+"pages/docs/Install", "If-None-Match", etag); answer.Code != 304 || answer.Body.Len() != 0 {
		t.Errorf("If-None-Match: status %d with %d bytes, want 304 and none", answer.Code, answer.Body.Len())
	}
	if answer = w.get("/docs/Install.md"); answer.Body.String() != "# How\n\nDo it.\n" || answer.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("raw text: %d %q", answer.Code, answer.Body)
	}
	answer = w.get("/docs/Install")
	wantStatus(t, answer, 200)
	for _, want := range []string{"<h1 id=\"how\">How</h1>", "<p>Do it.</p>", "Ann (as claimed)", "<strong>e1</strong>", saved["commit"].(string)[:10]} {
		if !strings.Contains(answer.Body.String(), want) {
			t.Errorf("no %q in %s", want, answer.Body)
		}
	}
}
