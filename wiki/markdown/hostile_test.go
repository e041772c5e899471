package markdown_test

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/erwik/erwik/wiki/markdown"
)

// hostile are texts of size bytes that repeat what parsers find hard.
func hostile(size int) map[string]string {
	repeat := func(s string) string { return strings.Repeat(s, size/len(s)) }
	texts := map[string]string{}
	for _, unit := range []string{"[", "![", "[[", "> ", ">", "*a ", "**a", "_a_", "- ", "` `` ", "<", "<a ", "[^1]", "[^1]: x\n\n", "<div>",
		"&amp", "[a](b ", "[a](", "![a](", "[a]: b\n", "http://", "www.a", "a@b.", "# a\n", "* * *\n", "~~a", "[[x]] ", "[a", "]", "word ", "\n",
		"<!-- ", "<?", "*_", "\\", "\"'", "<b>x", "1. ", "|a\n", "    ", "\t", "$", "a\n-\n", "[a][b]", "<a href=x>"} {
		texts[unit] = repeat(unit)
	}
	texts["table"] = "|a|\n|-|\n" + repeat("|a|b|c|d")
	texts["tables"] = repeat("|a|\n|-|\n|x|\n\n")
	texts["columns"] = strings.Repeat("|", size/2) + "\n" + strings.Repeat("|-", size/4)
	texts["parentheses"] = "[a](" + repeat("(")
	var list strings.Builder
	for i := 0; list.Len() < size; i++ {
		list.WriteString(strings.Repeat(" ", i) + "- x\n")
	}
	texts["indented list"] = list.String()
	return texts
}

// TestHostileTexts: no text of a legal size costs more than seconds. The bound
// is generous, since a busy machine may run the test; without the budget some
// of these take minutes.
func TestHostileTexts(t *testing.T) {
	const size, limit = 1 << 18, 20 * time.Second
	r := markdown.New()
	for name, source := range hostile(size) {
		start := time.Now()
		doc, err := r.Render([]byte(source), fakeLinks{})
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		took := time.Since(start)
		if took > limit {
			t.Errorf("%q took %v", name, took)
		}
		if took > limit/40 {
			t.Logf("%q took %v", name, took)
		}
		safe(t, name, doc.HTML)
	}
}

func TestTooIntricateIsShownAsWritten(t *testing.T) {
	source := strings.Repeat("> ", 100_000) + "<b>end"
	doc, err := markdown.New().Render([]byte(source), fakeLinks{})
	if err != nil {
		t.Fatal(err)
	}
	if want := "<pre>" + strings.Repeat("&gt; ", 100_000) + "&lt;b&gt;end</pre>"; string(doc.HTML) != want {
		t.Errorf("got %.80s", doc.HTML)
	}
}

func TestLongPagesAreNoMatterOfBudget(t *testing.T) {
	for name, line := range map[string]string{
		"text":       "A line of [words](page.md), with a [[link|and a label]], as `pages` are, and *stress*.\n",
		"list":       "- an item\n  - with one below [x](y)\n    1. and below\n",
		"table":      "| a | [b](c) | d |\n",
		"quotation":  "> quoted [x](y)\n> > twice\n",
		"references": "[x][1] text\n\n",
	} {
		source := strings.Repeat(line, (1<<20)/len(line))
		if name == "table" {
			source = "| a | b | c |\n|---|---|---|\n" + source
		}
		doc, err := markdown.New().Render([]byte(source), fakeLinks{})
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(string(doc.HTML), "<pre>") {
			t.Errorf("%s: a page of 1 MiB is shown as it was written", name)
		}
	}
}

// safe walks HTML and looks for anything that a browser would run or load.
func safe(t testing.TB, what string, source []byte) {
	t.Helper()
	nodes, err := html.ParseFragment(strings.NewReader(string(source)), &html.Node{Type: html.ElementNode, Data: "div", DataAtom: 0})
	if err != nil {
		return // too deep for the walker; nothing deep passes the renderer's own bound
	}
	for _, root := range nodes {
		checkNode(t, what, root)
		for n := range root.Descendants() {
			checkNode(t, what, n)
		}
	}
}

func checkNode(t testing.TB, what string, n *html.Node) {
	t.Helper()
	if n.Type == html.CommentNode {
		t.Errorf("%.60q: a comment", what)
	}
	if n.Type != html.ElementNode {
		return
	}
	switch n.Data {
	case "script", "style", "iframe", "object", "embed", "svg", "math", "base", "frame", "form", "link", "meta", "button", "textarea", "select", "template", "video", "audio":
		t.Errorf("%.60q: <%s>", what, n.Data)
	case "input":
		for _, a := range n.Attr {
			if a.Key == "type" && a.Val != "checkbox" {
				t.Errorf("%.60q: an input of type %q", what, a.Val)
			}
		}
	}
	for _, a := range n.Attr {
		value := strings.ToLower(strings.Map(func(r rune) rune {
			if r <= ' ' {
				return -1
			}
			return r
		}, a.Val))
		switch {
		case strings.HasPrefix(a.Key, "on"), a.Key == "style", a.Key == "srcdoc", a.Key == "formaction", a.Key == "srcset", a.Key == "name":
			t.Errorf("%.60q: <%s %s=%q>", what, n.Data, a.Key, a.Val)
		case a.Key == "id" && strings.Contains(a.Val, "ui:"):
			t.Errorf("%.60q: id %q", what, a.Val)
		case a.Key == "src" && !strings.HasPrefix(value, "/-/files/"):
			t.Errorf("%.60q: src %q", what, a.Val)
		case a.Key == "href":
			scheme, _, found := strings.Cut(value, ":")
			if found && !strings.ContainsAny(scheme, "/?#") && scheme != "http" && scheme != "https" && scheme != "mailto" {
				t.Errorf("%.60q: href %q", what, a.Val)
			}
		}
	}
}

// evasions are tricks from lists of ways around filters.
var evasions = []string{
	"[x](javascript:alert(1))", "[x](JaVaScRiPt:alert(1))", "[x](java\tscript:alert(1))", "[x](javascript&colon;alert(1))",
	"[x](&#106;avascript:alert(1))", "[x](java&#115;cript&#58;alert(1))", "[x](%6aavascript:alert(1))", "[x](<javascript:alert(1)>)",
	"[x](data:text/html;base64,PHNjcmlwdD4=)", "[x](vbscript:x)", "[x](file:///etc/passwd)", "[x](\x01javascript:alert(1))",
	"[x]: javascript:alert(1)\n\n[x]", "<javascript:alert(1)>", "<data:text/html,x>", "![x](javascript:alert(1))", "![x](https://evil.example/a.png)",
	"![x](//evil.example/a.png)", "![x](\\\\evil.example/a.png)", "<img src=x onerror=alert(1)>", "<img src='/-/files/x' onerror=alert(1)>",
	"<img src=\"/-/files/x\" srcset=\"//evil.example\">", "<svg><script>alert(1)</script></svg>", "<svg/onload=alert(1)>", "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
	"<a href=\"java\nscript:alert(1)\">x</a>", "<a href=' javascript:alert(1)'>x</a>", "<a href=\"&#14;javascript:alert(1)\">x</a>", "<a href=x onclick=alert(1)>x</a>",
	"<iframe srcdoc='<script>alert(1)</script>'></iframe>", "<object data=javascript:alert(1)>", "<embed src=//evil.example>", "<base href=//evil.example>",
	"<meta http-equiv=refresh content='0;url=//evil.example'>", "<link rel=stylesheet href=//evil.example>", "<style>@import '//evil.example'</style>",
	"<div style='background:url(//evil.example)'>x</div>", "<p id='ui:text'>x</p>", "<a name=x id=ui:token>x</a>", "<form action=//evil.example><input name=text><button>x</button></form>",
	"<input type=text autofocus onfocus=alert(1)>", "<input type=image src=//evil.example>", "<textarea></textarea><script>alert(1)</script>", "<template><script>alert(1)</script></template>",
	"<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">", "<!--><img src=x onerror=alert(1)>-->", "<![CDATA[<script>alert(1)</script>]]>", "<?xml ?><script>alert(1)</script>",
	"<<script>alert(1)//<</script>", "<scr<script>ipt>alert(1)</script>", "<script\x00>alert(1)</script>", "<ScRiPt src=//evil.example></sCrIpT>",
	"[[a\" onclick=\"x|y]]", "[[x|<img src=x onerror=alert(1)>]]", "[[javascript:alert(1)]]", "[[x#\" onclick=\"y]]",
	"[^<script>]\n\n[^<script>]: x", "# <img src=x onerror=alert(1)>", "# x {#ui:text onclick=alert(1)}", "|<script>|\n|-|\n|<img onerror=x>|",
	"```<script>\nx\n```", "```\"onclick=alert(1)\nx\n```", "<video src=//evil.example autoplay>", "<details open ontoggle=alert(1)>x</details>",
	"<https://a.example/\"onmouseover=alert(1)>", "https://a.example/<script>alert(1)</script>", "<a href=\"https://a.example\" target=_blank ping=//evil.example>x</a>",
}

func TestEvasions(t *testing.T) {
	r := markdown.New()
	for _, source := range evasions {
		for _, wrapped := range []string{source, "> " + source, "- " + source, "a " + source + " b", "**" + source + "**", "|a|\n|-|\n|" + source + "|"} {
			doc, err := r.Render([]byte(wrapped), fakeLinks{})
			if err != nil {
				t.Fatal(err)
			}
			safe(t, wrapped, doc.HTML)
		}
	}
}

func FuzzRender(f *testing.F) {
	for _, source := range evasions {
		f.Add(source)
	}
	r := markdown.New()
	f.Fuzz(func(t *testing.T, source string) {
		doc, err := r.Render([]byte(source), fakeLinks{})
		if err != nil {
			t.Fatal(err)
		}
		safe(t, source, doc.HTML)
		again, err := r.Render([]byte(source), fakeLinks{})
		if err != nil || string(again.HTML) != string(doc.HTML) {
			t.Fatalf("rendered twice, %q and %q (%v)", doc.HTML, again.HTML, err)
		}
	})
}
