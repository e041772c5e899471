package wiki_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// everyPage returns one answer of each kind of page.
func everyPage(t *testing.T) map[string]*httptest.ResponseRecorder {
	w := newWorld(t, nil)
	first := w.put("docs/Page", "# Title\n\n## A\n\n## B\n\n## C\n\n## D\n\n- [ ] task[^1]\n\n[^1]: note\n")
	second := w.put("docs/Page", "# Title\n\nchanged words\n", first)
	w.fork("Torn", "", "# Same\n\nA\n", "# Same\n\nB\n")
	return map[string]*httptest.ResponseRecorder{
		"page": w.get("/docs/Page"), "contents": w.get("/docs/Page?rev=" + first), "start": w.get("/"), "missing": w.get("/None"),
		"saved": w.get("/docs/Page?saved=" + second), "edit": w.get("/docs/Page?edit"), "create": w.get("/None?edit"),
		"history": w.get("/docs/Page?history"), "diff": w.get("/docs/Page?diff=" + first + ".." + second), "torn": w.get("/Torn"), "resolve": w.get("/Torn?edit"),
		"conflict": w.form("/docs/Page", "text", "mine\n", "base", first, "action", "save"), "preview": w.form("/docs/Page", "text", "# x\n", "action", "preview"),
		"recent": w.get("/-/recent"), "conflicts": w.get("/-/conflicts"), "error": w.get("/-/none"), "name": w.get("/.x"), "login": w.get("/-/login"),
		"no history": w.get("/None?history"), "help": w.get("/Help/Editing"),
	}
}

// TestEveryPageIsAccessible checks what a program can check: language, title,
// landmarks, one first heading, labels, names of links and buttons, unique ids.
func TestEveryPageIsAccessible(t *testing.T) {
	for name, answer := range everyPage(t) {
		root, err := html.Parse(strings.NewReader(answer.Body.String()))
		if err != nil {
			t.Fatal(err)
		}
		count, ids, labels := map[string]int{}, map[string]int{}, map[string]bool{}
		for n := range root.Descendants() {
			if n.Type == html.ElementNode {
				if n.Data != "h1" || !written(n) || count["h1"] == 0 {
					count[n.Data]++ // a text may have as many first headings as it likes
				}
				if id := attribute(n, "id"); id != "" {
					ids[id]++
				}
				if n.Data == "label" {
					labels[attribute(n, "for")] = true
				}
			}
		}
		for _, once := range []string{"html", "title", "main", "header", "footer", "h1"} {
			if count[once] != 1 {
				t.Errorf("%s: %d <%s>, want 1", name, count[once], once)
			}
		}
		for id, n := range ids {
			if n > 1 {
				t.Errorf("%s: id %q stands %d times", name, id, n)
			}
		}
		for n := range root.Descendants() {
			if n.Type == html.ElementNode {
				accessible(t, name, n, ids, labels)
			}
		}
	}
}

func accessible(t *testing.T, page string, n *html.Node, ids map[string]int, labels map[string]bool) {
	t.Helper()
	switch n.Data {
	case "html":
		if attribute(n, "lang") == "" {
			t.Errorf("%s: no language", page)
		}
	case "input", "textarea":
		kind := attribute(n, "type")
		if kind != "hidden" && kind != "checkbox" && attribute(n, "aria-label") == "" && !labels[attribute(n, "id")] {
			t.Errorf("%s: field %q has no label", page, attribute(n, "name"))
		}
	case "a", "button":
		if strings.TrimSpace(words(n)) == "" {
			t.Errorf("%s: <%s> to %q has no words", page, n.Data, attribute(n, "href"))
		}
		if target, ok := strings.CutPrefix(attribute(n, "href"), "#"); ok && target != "" && ids[target] == 0 {
			t.Errorf("%s: a link to #%s, which is nowhere", page, target)
		}
	case "nav", "section":
		if attribute(n, "aria-label") == "" && attribute(n, "class") != "manage" && attribute(n, "class") != "footnotes" {
			t.Errorf("%s: <%s> has no name", page, n.Data)
		}
	}
}

// written reports whether n stands in what a user wrote.
func written(n *html.Node) bool {
	for up := n.Parent; up != nil; up = up.Parent {
		if attribute(up, "class") == "text" {
			return true
		}
	}
	return false
}

func words(n *html.Node) string {
	var b strings.Builder
	for child := range n.Descendants() {
		if child.Type == html.TextNode {
			b.WriteString(child.Data)
		}
	}
	return b.String()
}
