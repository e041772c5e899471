package wiki_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki"
)

func wantBody(t testing.TB, answer *httptest.ResponseRecorder, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(answer.Body.String(), want) {
			t.Errorf("no %q in\n%s", want, answer.Body)
		}
	}
}

// textarea returns the text in the editor of a page.
func textarea(t testing.TB, answer *httptest.ResponseRecorder) string {
	t.Helper()
	root, err := html.Parse(strings.NewReader(answer.Body.String()))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		if n.Type == html.ElementNode && n.Data == "textarea" {
			if n.FirstChild == nil {
				return ""
			}
			return n.FirstChild.Data
		}
	}
	t.Fatalf("no editor in %s", answer.Body)
	return ""
}

// field returns the value of an input of a page.
func field(t testing.TB, answer *httptest.ResponseRecorder, name string) string {
	t.Helper()
	root, err := html.Parse(strings.NewReader(answer.Body.String()))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		if n.Type == html.ElementNode && n.Data == "input" && attribute(n, "name") == name {
			return attribute(n, "value")
		}
	}
	t.Fatalf("no field %s in %s", name, answer.Body)
	return ""
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func TestStarterPages(t *testing.T) {
	w := newWorld(t, nil)
	wantBody(t, w.get("/"), "Welcome", `href="/Help/Editing"`, `class="wikilink missing"`)
	for _, name := range []string{"Home", "Help/Editing", "Help/Second%20node", "Help/API"} {
		wantStatus(t, w.get("/"+name), 200)
		got := decode(t, w.get(api+"pages/"+name))
		if got["commit"] != nil || len(got["heads"].([]any)) != 0 || got["text"] == "" {
			t.Errorf("%s: %v, want a text without a commit", name, got)
		}
	}
	if stats := w.store.Stats(); stats.Commits != 0 {
		t.Errorf("%d commits were made by reading", stats.Commits)
	}
	edit := w.get("/Home?edit")
	if base := field(t, edit, "base"); base != "" || !strings.Contains(textarea(t, edit), "# Welcome") {
		t.Errorf("editor of a starter page: base %q", base)
	}
	wantStatus(t, w.form("/", "text", "mine\n", "base", "", "action", "save"), 303)
	wantBody(t, w.get("/"), "<p>mine</p>")
	wantBody(t, w.get("/Home"), "<p>mine</p>")
}

func TestMissingPage(t *testing.T) {
	w := newWorld(t, nil)
	answer := w.get("/No/such%20page")
	wantStatus(t, answer, 404)
	wantBody(t, answer, "No page called <strong>No/such page</strong>", `href="/No/such%20page?edit"`, "Create this page", `href="/No"`)
	wantStatus(t, w.get("/Nothing.md"), 404)
	w.put("No/one", "x\n")
	w.put("Nobody", "x\n")
	answer = w.get("/No")
	wantStatus(t, answer, 404)
	wantBody(t, answer, "Pages in this folder", `<li><a href="/No/one">one</a></li>`)
	if strings.Contains(answer.Body.String(), "Nobody") {
		t.Error("the folder lists a page that is not in it")
	}
}

func TestExactNameWinsOverRawText(t *testing.T) {
	w := newWorld(t, nil)
	w.put("a", "text of a\n")
	wantBody(t, w.get("/a.md"), "text of a\n")
	w.put("a.md", "text of a.md\n")
	wantBody(t, w.get("/a.md"), "<p>text of a.md</p>")
	wantBody(t, w.get("/a.md.md"), "text of a.md\n")
}

func TestOddNames(t *testing.T) {
	w := newWorld(t, nil)
	for _, name := range []string{"jc.json", "%", "[[", "~", "!", "%2E", "a b", "What?", "C#", "a\\b", "日本語/ページ", "\"quoted\"", "<b>", "a&b=c", "a+b", "ß", "'", "a;b", "👩\u200d💻", "a:b"} {
		path := (&url.URL{Path: "/" + name}).EscapedPath()
		answer := w.do("PUT", api+"pages"+path, `{"text":"text of it\n"}`, "Content-Type", "application/json")
		wantStatus(t, answer, 201)
		if got := decode(t, answer)["path"]; got != name {
			t.Errorf("saved as %q, want %q", got, name)
		}
		for range 2 { // the second time from the cache
			answer = w.get(path)
			wantStatus(t, answer, 200)
			wantBody(t, answer, "<p>text of it</p>")
		}
		wantStatus(t, w.get(path+"?history"), 200)
		wantStatus(t, w.get(path+"?edit"), 200)
		if got := w.get(path + ".md").Body.String(); got != "text of it\n" {
			t.Errorf("raw text of %q: %q", name, got)
		}
		root, err := html.Parse(strings.NewReader(w.get("/-/recent").Body.String()))
		if err != nil {
			t.Fatal(err)
		}
		linked := false
		for n := range root.Descendants() {
			if n.Data == "a" && n.FirstChild != nil && n.FirstChild.Data == name {
				u, err := url.Parse(attribute(n, "href"))
				linked = err == nil && u.Path == "/"+name
			}
		}
		if !linked {
			t.Errorf("recent changes have no good link to %q", name)
		}
	}
}

func TestRefusedNames(t *testing.T) {
	w := newWorld(t, nil)
	for _, path := range []string{"/..", "/a/../b", "/../../x", "/.git/config", "/a//b", "//example.org", "/a%00b", "/a%0Ab", "/%2e%2e/x", "/%20a",
		"/x.git", "/system", "/system/x", "/favicon.ico", "/sitemap.xml", "/%ff", "/" + strings.Repeat("x", 201), "/a%2F%2Fb", "/..%2f..%2fx", "/-%2F..%2Fx%00"} {
		for _, method := range []string{"GET", "POST"} {
			answer := w.do(method, path, "text=x&action=save", "Content-Type", "application/x-www-form-urlencoded")
			if answer.Code != 400 && !(strings.HasPrefix(path, "/-") && answer.Code == 404) {
				t.Errorf("%s %s: status %d, want 400", method, path, answer.Code)
			}
		}
		answer := w.do("PUT", api+"pages"+path, `{"text":"x"}`, "Content-Type", "application/json")
		if answer.Code != 400 {
			t.Errorf("PUT %s: status %d, want 400", path, answer.Code)
		} else if got := decode(t, answer); got["code"] != "bad_name" || got["next"] == "" {
			t.Errorf("PUT %s: %v", path, got)
		}
	}
	if stats := w.store.Stats(); stats.Commits != 0 {
		t.Errorf("%d commits were made", stats.Commits)
	}
	// Encoded twice it is another, harmless name.
	wantStatus(t, w.do("PUT", api+"pages/%252e%252e", `{"text":"x"}`, "Content-Type", "application/json"), 201)
	wantStatus(t, w.get("/robots.txt"), 200)
}

func TestOneAddress(t *testing.T) {
	w := newWorld(t, nil)
	w.put("docs/Install", "x\n")
	for from, to := range map[string]string{
		"/docs/Install/": "/docs/Install", "/docs/Install/?edit": "/docs/Install?edit",
		"/Cafe%CC%81": "/Caf%C3%A9",
	} {
		answer := w.get(from)
		if answer.Code != 308 || answer.Header().Get("Location") != to {
			t.Errorf("%s: %d to %q, want 308 to %q", from, answer.Code, answer.Header().Get("Location"), to)
		}
	}
	wantStatus(t, w.get("/docs%2FInstall"), 200)
	// Both spellings of a name are one page.
	w.put("Cafe%CC%81", "one\n")
	wantBody(t, w.get("/Caf%C3%A9"), "<p>one</p>")
}

func TestFormSaves(t *testing.T) {
	w := newWorld(t, nil)
	answer := w.form("/Page", "text", "one\r\ntwo\r\n", "summary", "s", "author", "Ann", "base", "", "action", "save")
	wantStatus(t, answer, 303)
	target := answer.Header().Get("Location")
	if !strings.HasPrefix(target, "/Page?saved=") {
		t.Errorf("sent to %q", target)
	}
	wantBody(t, w.get(target), "Saved on this node.", "one\ntwo")
	page := decode(t, w.get(api+"pages/Page"))
	if page["text"] != "one\ntwo\n" || page["author"] != "Ann" {
		t.Errorf("page %v, want newlines without carriage returns", page)
	}
	edit := w.get("/Page?edit")
	if got := textarea(t, edit); got != "one\ntwo\n" {
		t.Errorf("editor holds %q", got)
	}
	if got := field(t, edit, "base"); got != page["commit"] {
		t.Errorf("base %q, want %q", got, page["commit"])
	}
	preview := w.form("/Page", "text", "\n\n*new*\n", "base", field(t, edit, "base"), "action", "preview", "author", "Bob", "summary", "why")
	wantStatus(t, preview, 200)
	wantBody(t, preview, "<em>new</em>", `value="Bob"`, `value="why"`)
	if got := textarea(t, preview); got != "\n\n*new*\n" {
		t.Errorf("preview keeps %q", got)
	}
	if stats := w.store.Stats(); stats.Commits != 1 {
		t.Errorf("%d commits, want 1", stats.Commits)
	}
	wantStatus(t, w.form("/Page", "action", "move", "to", "New", "base", field(t, edit, "base")), 303)
	wantStatus(t, w.get("/Page"), 404)
	edit = w.get("/New?edit")
	wantStatus(t, w.form("/New", "action", "delete", "base", field(t, edit, "base")), 303)
	wantStatus(t, w.get("/New"), 404)
	wantBody(t, w.get("/New"), "was deleted")
	wantBody(t, w.get("/New?history"), "deleted", "from Page")
}

func TestFormRevert(t *testing.T) {
	w := newWorld(t, nil)
	first := w.put("Page", "one\n")
	second := w.put("Page", "two\n", first)
	diff := w.get("/Page?diff=" + first + ".." + second)
	wantBody(t, diff, `<span class="sign" role="cell">−</span>`, `<span class="sign" role="cell">&#43;</span>`, "Revert to")
	wantBody(t, w.get("/Page?diff=&from="+first+"&to="+second), "Revert to")
	wantStatus(t, w.form("/Page", "action", "revert", "rev", field(t, diff, "rev"), "base", field(t, diff, "base")), 303)
	if got := w.get("/Page.md").Body.String(); got != "one\n" {
		t.Errorf("after revert %q", got)
	}
	wantBody(t, w.get("/Page?rev="+second), "<p>two</p>", "old revision")
	wantStatus(t, w.get("/Page?rev="+strings.Repeat("1", 40)), 404)
	wantStatus(t, w.get("/Page?rev=x"), 400)
	wantStatus(t, w.get("/Page?diff=x"), 400)
}

func TestTextIsKeptOnEveryError(t *testing.T) {
	const text = "my <text> & more\nsecond line\n"
	big := strings.Repeat("€", 1<<20)
	tests := []struct {
		name   string
		change func(*wiki.Config)
		form   func(w *world) *httptest.ResponseRecorder
		status int
		want   string
	}{
		{"conflict", nil, func(w *world) *httptest.ResponseRecorder {
			base := w.put("Page", "one\n")
			w.put("Page", "theirs\n", base)
			return w.form("/Page", "text", text, "base", base, "action", "save")
		}, 409, text},
		{"unknown base", nil, func(w *world) *httptest.ResponseRecorder {
			w.put("Page", "one\n")
			return w.form("/Page", "text", text, "base", strings.Repeat("1", 40), "action", "save")
		}, 409, text},
		{"bad author", nil, func(w *world) *httptest.ResponseRecorder {
			return w.form("/Page", "text", text, "author", "<a@b>", "action", "save")
		}, 400, text},
		{"bad base", nil, func(w *world) *httptest.ResponseRecorder {
			return w.form("/Page", "text", text, "base", "x", "action", "save")
		}, 400, text},
		{"bad name", nil, func(w *world) *httptest.ResponseRecorder {
			return w.form("/a/.b", "text", text, "action", "save")
		}, 400, text},
		{"bad action", nil, func(w *world) *httptest.ResponseRecorder {
			return w.form("/Page", "text", text, "action", "x")
		}, 400, text},
		{"no token", func(c *wiki.Config) { c.EditToken = "secret" }, func(w *world) *httptest.ResponseRecorder {
			return w.form("/Page", "text", text, "action", "save")
		}, 403, text},
		{"wrong token", func(c *wiki.Config) { c.EditToken = "secret" }, func(w *world) *httptest.ResponseRecorder {
			return w.form("/Page", "text", text, "action", "save", "token", "guess")
		}, 403, text},
		{"disk full", func(c *wiki.Config) { c.Store = failing{c.Store, storage.ErrDiskFull} }, func(w *world) *httptest.ResponseRecorder {
			return w.form("/Page", "text", text, "action", "save")
		}, 507, text},
		{"store failed", func(c *wiki.Config) { c.Store = failing{c.Store, storage.ErrPoisoned} }, func(w *world) *httptest.ResponseRecorder {
			return w.form("/Page", "text", text, "action", "save")
		}, 503, text},
		{"too large", nil, func(w *world) *httptest.ResponseRecorder {
			return w.form("/Page", "text", big[:3*700_000], "action", "save")
		}, 413, big[:3*700_000]},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, tt.change)
			answer := tt.form(w)
			wantStatus(t, answer, tt.status)
			if got := textarea(t, answer); got != tt.want {
				t.Errorf("the editor holds %d bytes, %.60q, want %d, %.60q", len(got), got, len(tt.want), tt.want)
			}
			if !strings.Contains(answer.Body.String(), `role="alert"`) {
				t.Error("nothing says what failed")
			}
		})
	}
}

func TestConflictFormCanBeSavedAgain(t *testing.T) {
	w := newWorld(t, nil)
	base := w.put("Page", "one\n")
	w.put("Page", "theirs\n", base)
	answer := w.form("/Page", "text", "mine\n", "base", base, "action", "save", "author", "Bob", "summary", "why")
	wantStatus(t, answer, 409)
	wantBody(t, answer, "theirs", "&lt;&lt;&lt;&lt;&lt;&lt;&lt; yours", "one", `value="Bob"`, `value="why"`)
	wantStatus(t, w.form("/Page", "text", "both\n", "base", field(t, answer, "base"), "action", "save"), 303)
	wantBody(t, w.get("/Page"), "<p>both</p>")
}

func TestFormMerges(t *testing.T) {
	w := newWorld(t, nil)
	base := w.put("Page", five)
	w.put("Page", "one\n2\n3\n4\n5\n", base)
	answer := w.form("/Page", "text", "1\n2\n3\n4\nfive\n", "base", base, "action", "save")
	wantStatus(t, answer, 303)
	wantBody(t, w.get(answer.Header().Get("Location")), "united with what others saved", "one", "five")
}

func TestRedLinkTurnsBlue(t *testing.T) {
	w := newWorld(t, nil)
	w.put("Page", "[[Other]] [[docs/Third]]\n")
	for range 2 {
		wantBody(t, w.get("/Page"), `<a href="/Other" class="wikilink missing">`)
	}
	etag := w.get("/Page").Header().Get("ETag")
	w.put("Other", "x\n")
	for range 2 {
		wantBody(t, w.get("/Page"), `<a href="/Other" class="wikilink">`, `<a href="/docs/Third" class="wikilink missing">`)
	}
	if answer := w.get("/Page", "If-None-Match", etag); answer.Code != 200 {
		t.Errorf("status %d for a page whose link has turned blue, want 200", answer.Code)
	}
	wantStatus(t, w.do("DELETE", api+"pages/Other?base=current", ""), 200)
	wantBody(t, w.get("/Page"), `<a href="/Other" class="wikilink missing">`)
}

// TestRenderedTwiceAtOnce: two readers render a page at the same time; the one
// that is kept last still hears of its links.
func TestRenderedTwiceAtOnce(t *testing.T) {
	for range 20 {
		w := newWorld(t, nil)
		w.put("Page", "[[Other]]\n")
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() { w.get("/Page") })
		}
		wg.Wait()
		w.put("Other", "x\n")
		wantBody(t, w.get("/Page"), `<a href="/Other" class="wikilink">`)
	}
}

func TestHotPageFollowsEveryChange(t *testing.T) {
	w := newWorld(t, nil)
	base := ""
	for i := range 20 {
		text := fmt.Sprintf("text %d\n", i)
		if base == "" {
			base = w.put("Page", text)
		} else {
			base = w.put("Page", text, base)
		}
		for range 2 {
			wantBody(t, w.get("/Page"), "<p>"+strings.TrimSpace(text)+"</p>")
		}
	}
	heads := w.fork("Page", base, "A\n", "B\n")
	wantBody(t, w.get("/Page"), "2 versions")
	w.put("Page", "C\n", heads...)
	wantBody(t, w.get("/Page"), "<p>C</p>")
	answer := w.get("/Page")
	if again := w.get("/Page", "If-None-Match", answer.Header().Get("ETag")); again.Code != 304 {
		t.Errorf("If-None-Match: status %d, want 304", again.Code)
	}
	if head := w.do("HEAD", "/Page", ""); head.Code != 200 || head.Body.Len() != 0 || head.Header().Get("Content-Length") != fmt.Sprint(answer.Body.Len()) {
		t.Errorf("HEAD: %d, %d bytes, Content-Length %s", head.Code, head.Body.Len(), head.Header().Get("Content-Length"))
	}
}

// wide is a mesh that has spread everything to two of three nodes.
type wide struct{ wiki.Alone }

func (wide) Spread(storage.Hash) (have, of int, took time.Duration) { return 2, 3, 0 }

func TestSpreadIsShown(t *testing.T) {
	w := newWorld(t, func(c *wiki.Config) { c.Mesh = wide{} })
	answer := w.form("/Page", "text", "x\n", "action", "save")
	wantBody(t, w.get(answer.Header().Get("Location")), "<span data-spread-told> It is on 2 of 3 nodes so far.</span>", `<span data-spread="partial">on 2 of 3 nodes</span>`)
	wantBody(t, w.get("/Page"), `<span data-spread="partial">on 2 of 3 nodes</span>`)
	if nodes := decode(t, w.get(api+"pages/Page"))["nodes"].(fields); nodes["have"] != 2.0 || nodes["of"] != 3.0 {
		t.Errorf("nodes %v", nodes)
	}
}

func TestContents(t *testing.T) {
	w := newWorld(t, nil)
	w.put("Page", "# T\n\n## One\n\n## Two\n\n### Three\n\n## Four\n")
	wantBody(t, w.get("/Page"), `<details class="contents">`, `<a href="#three">Three</a>`)
}

// triangle is a mesh of three nodes, one link of which is slow.
type triangle struct{ wiki.Alone }

func (triangle) Spread(storage.Hash) (have, of int, took time.Duration) {
	return 3, 3, 38 * time.Millisecond
}

func (triangle) Neighbors() any {
	return []fields{{"id": "2", "name": "e2", "state": "up", "rtt_ms": 1.5, "bytes_per_s": 250000, "behind_commits": 12, "behind_s": 3.0}, {"id": "3", "name": "e3", "state": "slow", "rtt_ms": 4000, "bytes_per_s": 250}}
}

func (triangle) Network(what string) (any, error) {
	if what == "links" {
		return []fields{{"from": "e1", "to": "e2", "state": "up", "cost_ms": 1.2}, {"from": "e2", "to": "e1", "state": "up", "cost_ms": 1.5},
			{"from": "e1", "to": "e3", "state": "up", "cost_ms": 9000}, {"from": "e2", "to": "e3", "state": "down"}}, nil
	}
	return []fields{{"id": "1", "name": "e1", "state": "self"}, {"id": "2", "name": "e2", "state": "alive", "address": "<host>:1"}, {"id": "3", "name": "e3", "state": "alive", "via": "e2"}}, nil
}

func (triangle) Stories(_ context.Context, hashes []storage.Hash) []any {
	out := make([]any, len(hashes))
	for i := range out {
		out[i] = fields{"hops": []fields{
			{"node": "e1", "at": "2026-01-01T00:00:00Z"},
			{"node": "e2", "heard_from": "e1", "pulled_from": "e1", "at": "2026-01-01T00:00:00.038Z"},
		}, "discarded_notices": map[string]int{"e1": 2}}
	}
	return out
}

func TestMeshPage(t *testing.T) {
	w := newWorld(t, func(c *wiki.Config) { c.Mesh = triangle{} })
	w.put("Page", "x\n")
	wantBody(t, w.get("/-/mesh"), "3 of 3 nodes are alive", `<circle`, `class="edge slow"`, "e1 to e3: slow, 9.0 s", "&lt;host&gt;:1",
		"12 commits, since 3.0 s", "directly, round trip 1.5 ms, 2 Mbit/s", "through e2; its link is slow, round trip 4.0 s, 2.0 kbit/s",
		"<strong>e2</strong> pulled it from e1, told by e1, after 38 ms", "late notices discarded here: 2 of e1", `data-live="commit`)
	wantBody(t, w.get("/Page"), `<span data-spread="whole">on 3 of 3 nodes, 38 ms</span>`)
	if nodes := decode(t, w.get(api+"pages/Page"))["nodes"].(fields); nodes["ms"] != 38.0 {
		t.Errorf("nodes %v", nodes)
	}
	wantBody(t, newWorld(t, nil).get("/-/mesh"), "1 of 1 nodes are alive", "Nothing was saved yet.")
	wantBody(t, w.get("/-/recent"), `data-live="commit"`)
}
