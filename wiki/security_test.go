package wiki_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/erwik/erwik/wiki"
	"github.com/erwik/erwik/wiki/web"
)

// sample returns an address of a route.
func sample(route string) string {
	for pattern, value := range map[string]string{
		"{path:(?s:.+)}": "Page", "{path:(?s:.*)}": "Page", "{page:(?s:.*)}": "Page", "{rest:(?s:.*)}": "none", "{file:(?s:.+)}": "none",
		"{what:nodes|links|routes|graph}": "nodes", "{hash}": strings.Repeat("1", 40),
	} {
		route = strings.ReplaceAll(route, pattern, value)
	}
	return route
}

// changing are the routes that change something, with a request that would.
var changing = map[string]struct{ body, contentType string }{
	"PUT /-/api/v1/pages/Page":    {`{"text":"x","base":["current"]}`, "application/json"},
	"DELETE /-/api/v1/pages/Page": {"", ""},
	"POST /-/api/v1/move":         {`{"from":"Page","to":"New"}`, "application/json"},
	"POST /-/api/v1/revert":       {`{"path":"Page","rev":"REV"}`, "application/json"},
	"POST /-/api/v1/import":       {`{"path":"New","text":"x"}`, "application/x-ndjson"},
	"PUT /-/files/Page":           {"bytes", ""},
	"DELETE /-/files/Page":        {"", ""},
	"POST /-/files/":              {uploadBody, uploadType},
	"POST /-/files/Page":          {uploadBody, uploadType},
	"POST /Page":                  {"text=x&base=current&action=save", "application/x-www-form-urlencoded"},
}

// uploadBody is the form of an upload as browsers send it.
const (
	uploadType = "multipart/form-data; boundary=xyz"
	uploadBody = "--xyz\r\nContent-Disposition: form-data; name=\"path\"\r\n\r\nimg/\r\n--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"net.png\"\r\nContent-Type: image/png\r\n\r\nbytes\r\n--xyz--\r\n"
)

// harmless are routes that take POST but change nothing.
var harmless = []string{"POST /-/api/v1/preview", "POST /-/login", "POST /-/none", "PUT /-/none", "DELETE /-/none"}

const operatorKey = "00112233"

func TestEveryChangingRouteIsCovered(t *testing.T) {
	w := newWorld(t, nil)
	for _, route := range w.handler.Routes() {
		for _, method := range route.Methods {
			if method == "GET" || method == "HEAD" {
				continue
			}
			name := method + " " + sample(route.Path)
			if _, ok := changing[name]; !ok && !slices.Contains(harmless, name) {
				t.Errorf("%s is neither among the routes that change something nor among the harmless ones", name)
			}
		}
	}
}

func TestCrossOriginRequestsChangeNothing(t *testing.T) {
	origins := map[string][]string{
		"cross-site":            {"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"},
		"same-site":             {"Sec-Fetch-Site", "same-site", "Origin", "https://sub.example.com"},
		"origin null":           {"Origin", "null"},
		"foreign origin":        {"Origin", "https://evil.example"},
		"other port":            {"Origin", "http://example.com:9"},
		"origin with own token": {"Sec-Fetch-Site", "cross-site", "Cookie", "erwik_edit=x"},
	}
	w := newWorld(t, func(c *wiki.Config) { c.OperatorKey = operatorKey })
	first := w.put("Page", "one\n")
	w.put("Page", "two\n", first)
	before := w.store.Stats().Commits
	for name, request := range changing {
		method, target, _ := strings.Cut(name, " ")
		for origin, headers := range origins {
			body := strings.ReplaceAll(request.body, "REV", first)
			headers = append([]string{"Content-Type", request.contentType, "Authorization", "Bearer " + operatorKey}, headers...)
			if answer := w.do(method, target, body, headers...); answer.Code != 403 {
				t.Errorf("%s from %s: status %d, want 403", name, origin, answer.Code)
			}
		}
		// A page elsewhere can't send these, but GET must change nothing.
		w.do("GET", target+"?text=x&action=save&base=current", "")
		w.do("POST", target, request.body, "Content-Type", "text/plain", "X-HTTP-Method-Override", method)
	}
	if made := w.store.Stats().Commits - before; made != 0 {
		t.Errorf("%d commits were made", made)
	}
	own := []string{"Content-Type", "application/json", "Origin", "http://example.com", "Sec-Fetch-Site", "same-origin"}
	wantStatus(t, w.do("PUT", api+"pages/Page", `{"text":"x","base":["current"]}`, own...), 200)
}

func TestEditToken(t *testing.T) {
	w := newWorld(t, func(c *wiki.Config) { c.EditToken, c.OperatorKey = "secret", operatorKey })
	for name, request := range changing {
		method, target, _ := strings.Cut(name, " ")
		for _, authorization := range []string{"", "Bearer", "Bearer ", "Bearer wrong", "Basic secret", "secret"} {
			answer := w.do(method, target, request.body, "Content-Type", request.contentType, "Authorization", authorization)
			if want := map[bool]int{true: 401, false: 403}[strings.HasPrefix(target, "/-/")]; answer.Code != want {
				t.Errorf("%s with %q: status %d, want %d", name, authorization, answer.Code, want)
			}
		}
	}
	if w.store.Stats().Commits != 0 {
		t.Fatal("something was saved without the token")
	}
	saved := w.json("PUT", api+"pages/Page", fields{"text": "x\n"}, "Authorization", "Bearer secret")
	wantStatus(t, saved, 201)
	wantStatus(t, w.get("/Page"), 200)
	wantStatus(t, w.form("/-/login", "token", "wrong", "next", "/Page"), 403)
	login := w.form("/-/login", "token", "secret", "next", "/Page")
	wantStatus(t, login, 303)
	if login.Header().Get("Location") != "/Page" {
		t.Errorf("sent to %q", login.Header().Get("Location"))
	}
	cookie := login.Result().Cookies()[0]
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || strings.Contains(cookie.Value, "secret") {
		t.Errorf("cookie %v", cookie)
	}
	wantStatus(t, w.do("POST", "/Page", "text=y&base=current&action=save", "Content-Type", "application/x-www-form-urlencoded", "Cookie", cookie.Name+"="+cookie.Value), 303)
	// The token can be given in the editor itself.
	answer := w.form("/Page", "text", "z\n", "base", "current", "action", "save", "token", "secret")
	wantStatus(t, answer, 303)
	if len(answer.Result().Cookies()) != 1 {
		t.Error("the browser is not remembered")
	}
	for _, next := range []string{"//evil.example", "https://evil.example", "/\\evil.example", "", "/\r\nX: y"} {
		if got := w.form("/-/login", "token", "secret", "next", next).Header().Get("Location"); got != "/" {
			t.Errorf("next %q leads to %q", next, got)
		}
	}
}

func TestHeadersOfEveryRoute(t *testing.T) {
	w := newWorld(t, nil)
	w.put("Page", "x\n")
	check := func(name string, answer *httptest.ResponseRecorder) {
		t.Helper()
		for header, want := range map[string]string{
			"Content-Security-Policy": web.Policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
		} {
			if got := answer.Header().Get(header); got != want {
				t.Errorf("%s: %s is %q, want %q", name, header, got, want)
			}
		}
	}
	for _, route := range w.handler.Routes() {
		target := sample(route.Path)
		if target == "/-/api/v1/events" {
			continue // TestEvents looks at it
		}
		for range 2 {
			check("GET "+target, w.get(target))
		}
		for _, method := range []string{"TRACE", "PATCH", "BREW", "CONNECT"} {
			answer := w.do(method, target, "")
			check(method+" "+target, answer)
			if answer.Code != 405 || answer.Header().Get("Allow") == "" {
				t.Errorf("%s %s: status %d, Allow %q, want 405", method, target, answer.Code, answer.Header().Get("Allow"))
			}
		}
	}
	for _, path := range []string{"/-/nothing", "/-/api/v1/nothing", "/-", "/-/debug/pprof/", "/-/api/v1/network/services"} {
		answer := w.get(path)
		wantStatus(t, answer, 404)
		check(path, answer)
	}
	asset := w.get(attributeOf(t, w.get("/Page"), "link", "href"))
	wantStatus(t, asset, 200)
	if !strings.Contains(asset.Header().Get("Cache-Control"), "immutable") {
		t.Errorf("assets: Cache-Control %q", asset.Header().Get("Cache-Control"))
	}
}

// attributeOf returns the last such attribute of such an element.
func attributeOf(t testing.TB, answer *httptest.ResponseRecorder, element, name string) string {
	t.Helper()
	root, err := html.Parse(strings.NewReader(answer.Body.String()))
	if err != nil {
		t.Fatal(err)
	}
	found := ""
	for n := range root.Descendants() {
		if n.Type == html.ElementNode && n.Data == element {
			found = attribute(n, name)
		}
	}
	return found
}

func TestNothingIsReflectedInHeaders(t *testing.T) {
	w := newWorld(t, nil)
	for _, target := range []string{"/a%0D%0AX-Evil:1", "/Page?rev=%0D%0AX-Evil:1", "/-/login?next=%0D%0AX-Evil:1", "/a/?x=%0D%0AX-Evil:1"} {
		answer := w.get(target, "Host", "evil.example", "X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "gopher")
		for header, values := range answer.Header() {
			for _, value := range values {
				if header == "X-Evil" || strings.Contains(value, "evil.example") || strings.ContainsAny(value, "\r\n") {
					t.Errorf("%s: %s: %q", target, header, value)
				}
			}
		}
		if strings.Contains(answer.Body.String(), "evil.example") {
			t.Errorf("%s: the page names the host of the request", target)
		}
	}
}

// TestPagesAreSafe walks every page that shows what users wrote, and looks for
// anything that a browser would run.
func TestPagesAreSafe(t *testing.T) {
	w := newWorld(t, nil)
	evil := `"><script>alert(1)</script><img src=x onerror=alert(1)>'`
	const name = "%3Cscript%3Ealert(1)%3C%2Fscript%3E"
	save := func(text string, base ...string) string {
		answer := w.json("PUT", api+"pages/"+name, fields{"text": text, "author": "\"onload='x'", "summary": evil, "base": base})
		if answer.Code >= 300 {
			t.Fatalf("%d %s", answer.Code, answer.Body)
		}
		return decode(t, answer)["commit"].(string)
	}
	first := save(evil + "\n\n[x](javascript:alert(1)) <svg onload=alert(1)> [[" + `a"onclick="x|y` + "]]\n")
	second := save("<iframe src=//evil.example></iframe>\n<style>*{}</style><form action=//evil.example><input name=text></form>\n", first)
	targets := []string{"/" + name, "/" + name + "?edit", "/" + name + "?history", "/" + name + "?diff=" + first + ".." + second,
		"/" + name + "?rev=" + first, "/" + name + "?saved=1", "/-/recent", "/-/conflicts", "/" + name + "/none", "/-/login?next=" + name}
	for _, target := range targets {
		wantSafe(t, target, w.get(target))
	}
	wantSafe(t, "preview", w.form("/"+name, "text", evil, "author", evil, "summary", evil, "base", evil, "action", "preview"))
	wantSafe(t, "conflict", w.form("/"+name, "text", evil, "base", first, "action", "save"))
	w.fork("Evil", "", evil+"<svg onload=alert(1)>", evil+"<math>x")
	wantSafe(t, "two versions", w.get("/Evil"))
	wantSafe(t, "two versions, editor", w.get("/Evil?edit"))
	wantSafe(t, "conflicts", w.get("/-/conflicts"))
}

func wantSafe(t *testing.T, what string, answer *httptest.ResponseRecorder) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(answer.Body.String()))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		switch n.Data {
		case "script":
			if n.FirstChild != nil || !strings.HasPrefix(attribute(n, "src"), "/-/static/") {
				t.Errorf("%s: a script: %s", what, attribute(n, "src"))
			}
		case "style", "iframe", "object", "embed", "svg", "math", "base", "frame":
			t.Errorf("%s: <%s>", what, n.Data)
		case "form":
			if action := attribute(n, "action"); !strings.HasPrefix(action, "/") || strings.HasPrefix(action, "//") {
				t.Errorf("%s: a form to %q", what, action)
			}
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" || a.Key == "srcdoc" {
				t.Errorf("%s: <%s %s=%q>", what, n.Data, a.Key, a.Val)
			}
			if (a.Key == "href" || a.Key == "src") && strings.Contains(strings.ToLower(a.Val), "script:") {
				t.Errorf("%s: <%s %s=%q>", what, n.Data, a.Key, a.Val)
			}
		}
	}
}

func TestMetricsAreNotForEverybody(t *testing.T) {
	w := newWorld(t, func(c *wiki.Config) { c.EditToken = "secret" })
	wantStatus(t, w.get("/-/metrics"), 401) // httptest's client is 192.0.2.1
	answer := w.get("/-/metrics", "Authorization", "Bearer secret")
	wantStatus(t, answer, 200)
	wantBody(t, answer, "# TYPE erwik_pages gauge", `erwik_commits_total{origin="web"} 0`, `erwik_http_requests_total{code="401",method="GET",route="/-/metrics"} 1`)
	r := httptest.NewRequest("GET", "/-/metrics", nil)
	r.RemoteAddr = "127.0.0.1:5"
	local := httptest.NewRecorder()
	w.handler.ServeHTTP(local, r)
	wantStatus(t, local, 200)
}
