package markdown_test

import (
	"strings"
	"testing"

	"github.com/erwik/erwik/wiki/markdown"
)

// fakeLinks knows the pages Home and docs/Install.
type fakeLinks struct{}

func (fakeLinks) Resolve(target string, wiki bool) (string, bool) {
	target = strings.TrimSuffix(strings.TrimPrefix(target, "/"), ".md")
	return target, target != "" && !strings.HasPrefix(target, ".")
}
func (fakeLinks) Exists(name string) bool {
	return name == "Home" || name == "docs/Install" || name == "-/files/net.png" || name == "-/files/a b.pdf"
}
func (fakeLinks) File(target string, wiki bool) (string, bool, bool) {
	target = strings.TrimPrefix(target, "/-/files/")
	return "-/files/" + target, strings.HasSuffix(target, ".png"), target != "" && !strings.HasPrefix(target, ".")
}

func TestRender(t *testing.T) {
	tests := []struct{ name, source, want string }{
		{"wikilink", "see [[Home]]", `<p>see <a href="/Home" class="wikilink">Home</a></p>`},
		{"label", "[[docs/Install|how to]]", `<p><a href="/docs/Install" class="wikilink">how to</a></p>`},
		{"heading", "[[Home#Two words]]", `<p><a href="/Home#two-words" class="wikilink">Home#Two words</a></p>`},
		{"own heading", "[[#Two words|x]]", `<p><a href="#two-words" class="wikilink">x</a></p>`},
		{"red", "[[No page]]", `<p><a href="/No%20page" class="wikilink missing">No page</a></p>`},
		{"odd name", "[[50%|x]]", `<p><a href="/50%25" class="wikilink missing">x</a></p>`},
		{"no name", "[[|x]] [[]] [[.x]]", `<p>[[|x]] [[]] [[.x]]</p>`},
		{"in code", "`[[Home]]`", `<p><code>[[Home]]</code></p>`},
		{"label is text", "[[Home|<b>x</b>]]", `<p><a href="/Home" class="wikilink">&lt;b&gt;x&lt;/b&gt;</a></p>`},
		{"markdown link", "[x](docs/Install.md#a)", `<p><a href="/docs/Install#a">x</a></p>`},
		{"red markdown link", "[x](nothing.md)", `<p><a href="/nothing" class="missing">x</a></p>`},
		{"own address", "[x](/-/recent)", `<p><a href="/-/recent">x</a></p>`},
		{"external", "https://example.org/", `<p><a href="https://example.org/" rel="nofollow noreferrer">https://example.org/</a></p>`},
		{"image", "![a](net.png)", `<p><img src="/-/files/net.png" alt="a"></p>`},
		{"missing image", "![a](no.png)", `<p><a href="/-/files/?path=no.png" class="missing">a</a></p>`},
		{"image by address", "![a](/-/files/net.png)", `<p><img src="/-/files/net.png" alt="a"></p>`},
		{"embedded", "![[net.png]]", `<p><img src="/-/files/net.png" alt="net.png"></p>`},
		{"embedded with words", "x ![[net.png|a \"net\" <b>]] y", `<p>x <img src="/-/files/net.png" alt="a &#34;net&#34; &lt;b&gt;"> y</p>`},
		{"embedded with a width", "![[net.png|300]]", `<p><img src="/-/files/net.png" alt="net.png" width="300"></p>`},
		{"embedded with words and sizes", "![[net.png|words|300x20]]", `<p><img src="/-/files/net.png" alt="words" width="300" height="20"></p>`},
		{"embedded and missing", "![[no.png]]", `<p><a href="/-/files/?path=no.png" class="missing">no.png</a></p>`},
		{"embedded and no image", "![[a b.pdf|paper]]", `<p><a href="/-/files/a%20b.pdf" class="wikilink">paper</a></p>`},
		{"embedded without name", "![[.x]] ![[]] ![[|a]]", `<p>![[.x]] ![[]] ![[|a]]</p>`},
		{"image as a page", "![a](a b.pdf)", `<p>![a](a b.pdf)</p>`},
		{"link to a file", "[x](/-/files/a%20b.pdf)", `<p><a href="/-/files/a%20b.pdf">x</a></p>`},
		{"link to a missing file", "[x](/-/files/no.pdf)", `<p><a href="/-/files/?path=no.pdf" class="missing">x</a></p>`},
		{"link to the files", "[x](/-/files/)", `<p><a href="/-/files/">x</a></p>`},
		{"external image", "![a](https://example.org/a.png)", `<p><a href="https://example.org/a.png" class="external-image" rel="nofollow noreferrer">a</a></p>`},
		{"external image in a link", "[![a](https://example.org/a.png)](https://example.org/)", `<p><a href="https://example.org/" rel="nofollow noreferrer">a</a></p>`},
		{"table", "|a|b|\n|-|:-:|\n|1|2|", "<table>\n<thead>\n<tr>\n<th>a</th>\n<th align=\"center\">b</th>\n</tr>\n</thead>\n<tbody>\n<tr>\n<td>1</td>\n<td align=\"center\">2</td>\n</tr>\n</tbody>\n</table>"},
		{"task list", "- [x] done", "<ul>\n<li><input checked=\"\" disabled=\"\" type=\"checkbox\"> done</li>\n</ul>"},
		{"harmless html", "a<kbd>Ctrl</kbd>", `<p>a<kbd>Ctrl</kbd></p>`},
		{"script", "a<script>alert(1)</script>b", `<p>ab</p>`},
		{"comment", "a<!-- x -->b", `<p>ab</p>`},
		{"handler", `<p onclick="x" style="y">a</p>`, `<p>a</p>`},
		{"scheme", "[x](javascript:alert(1))", `<p>x</p>`},
		{"id of the interface", `<p id="ui:content">a</p>`, `<p>a</p>`},
	}
	r := markdown.New()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			doc, err := r.Render([]byte(tt.source), fakeLinks{})
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimSpace(string(doc.HTML)); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestHeadings(t *testing.T) {
	doc, err := markdown.New().Render([]byte("# Title *x*\n\n## Für uns\n\n## Für uns\n\n### !!\n\n[[Home]] [[A]] [[A]]"), fakeLinks{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range doc.Headings {
		got = append(got, h.ID+"="+h.Text)
	}
	want := "title-x=Title x für-uns=Für uns für-uns-1=Für uns section=!!"
	if strings.Join(got, " ") != want {
		t.Errorf("headings %q, want %q", strings.Join(got, " "), want)
	}
	if doc.Title != "Title x" {
		t.Errorf("title %q, want %q", doc.Title, "Title x")
	}
	if exists, known := doc.Pages["A"]; !known || exists || !doc.Pages["Home"] || len(doc.Pages) != 2 {
		t.Errorf("pages %v, want Home true and A false", doc.Pages)
	}
}

func TestFootnote(t *testing.T) {
	doc, err := markdown.New().Render([]byte("a[^1]\n\n[^1]: note"), fakeLinks{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`id="fnref:1"`, `href="#fn:1"`, `id="fn:1"`, `href="#fnref:1"`, `class="footnotes"`} {
		if !strings.Contains(string(doc.HTML), want) {
			t.Errorf("no %s in\n%s", want, doc.HTML)
		}
	}
}
