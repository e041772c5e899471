package markdown

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"

	"github.com/microcosm-cc/bluemonday"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer/html"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// Renderer renders pages. Make one with [New] and share it.
type Renderer struct {
	markdown goldmark.Markdown
	policy   *bluemonday.Policy
	part     *bluemonday.Policy // lets no id through
}

// Links resolves what a page links to.
type Links interface {
	// Resolve returns the page that a link written in the current page
	// means, and whether it can be a page at all. Target is a decoded path,
	// relative to the folder of the page unless it begins with a slash;
	// wiki says that it stood in a wikilink, where it is always absolute.
	Resolve(target string, wiki bool) (name string, ok bool)
	// Exists reports whether that page is there for readers.
	Exists(name string) bool
	// File returns the file that a link means: its name for Exists, which is
	// its address without the first slash, and whether it is an image. Target
	// is as in Resolve, or the address of a file.
	File(target string, wiki bool) (name string, image, ok bool)
}

// Heading is an entry of the table of contents.
type Heading struct {
	Level int
	ID    string
	Text  string
}

// Document is a rendered page.
type Document struct {
	HTML     []byte
	Headings []Heading
	// Title is the text of a level-1 heading that begins the page, or empty.
	Title string
	// Pages are the names of the pages and files linked to, each once, with
	// whether it existed.
	Pages map[string]bool
}

// maxNesting bounds how deep blocks and inline markup nest; deeper text is
// shown as it was written.
const maxNesting = 200

// New returns a renderer.
func New() *Renderer {
	return &Renderer{
		markdown: goldmark.New(
			goldmark.WithExtensions(
				extension.NewTable(extension.WithTableCellAlignMethod(extension.TableCellAlignAttribute)),
				extension.Strikethrough, extension.TaskList, extension.Footnote,
				extension.NewLinkify(
					extension.WithLinkifyAllowedProtocols([]string{"http:", "https:", "mailto:"}),
				),
			),
			goldmark.WithParserOptions(
				parser.WithAutoHeadingID(),
				parser.WithBlockParsers(util.Prioritized(blockWatch{}, 1)),
				parser.WithInlineParsers(util.Prioritized(wikilinkParser{}, 150), util.Prioritized(embedParser{}, 140), util.Prioritized(inlineWatch{}, 1)),
				parser.WithASTTransformers(util.Prioritized(linkTransformer{}, 500)),
			),
			goldmark.WithRendererOptions(html.WithUnsafe()),
		),
		policy: newPolicy(true),
		part:   newPolicy(false),
	}
}

// newPolicy is the allow-list of elements and attributes.
func newPolicy(ids bool) *bluemonday.Policy {
	p := bluemonday.NewPolicy()
	p.AllowElements("p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "div", "span", "section",
		"blockquote", "pre", "code", "kbd", "samp", "var", "sub", "sup", "small", "mark", "abbr", "cite", "q", "dfn",
		"em", "strong", "b", "i", "u", "s", "del", "ins", "ul", "ol", "li", "dl", "dt", "dd",
		"table", "thead", "tbody", "tfoot", "tr", "th", "td", "caption", "details", "summary", "figure", "figcaption")
	if ids {
		id := regexp.MustCompile(`^([\p{L}\p{N}_\-]+|fn:[0-9]+|fnref[0-9]*:[0-9]+)$`)
		p.AllowAttrs("id").Matching(id).Globally()
	}
	p.AllowAttrs("class").Matching(regexp.MustCompile(
		`^(wikilink|wikilink missing|missing|external-image|footnotes|footnote-ref|footnote-backref|task-list-item|contains-task-list|language-[A-Za-z0-9_+#.\-]{1,40})$`)).Globally()
	p.AllowAttrs("role").Matching(regexp.MustCompile(`^doc-(noteref|backlink|endnotes)$`)).Globally()
	p.AllowAttrs("lang").Matching(regexp.MustCompile(`^[A-Za-z0-9\-]{1,35}$`)).Globally()
	p.AllowAttrs("dir").Matching(regexp.MustCompile(`^(ltr|rtl|auto)$`)).Globally()
	p.AllowAttrs("title").Matching(regexp.MustCompile(`^[^<>]{1,300}$`)).OnElements("a", "img", "abbr", "dfn")
	p.AllowAttrs("align").Matching(regexp.MustCompile(`^(left|right|center)$`)).OnElements("td", "th")
	p.AllowAttrs("colspan", "rowspan").Matching(regexp.MustCompile(`^[0-9]{1,2}$`)).OnElements("td", "th")
	p.AllowAttrs("start").Matching(regexp.MustCompile(`^[0-9]{1,9}$`)).OnElements("ol")
	p.AllowAttrs("open").Matching(regexp.MustCompile(`^(|open)$`)).OnElements("details")
	p.AllowAttrs("type").Matching(regexp.MustCompile(`^checkbox$`)).OnElements("input")
	p.AllowAttrs("checked", "disabled").Matching(regexp.MustCompile(`^$`)).OnElements("input")
	p.AllowAttrs("href").OnElements("a")
	p.AllowURLSchemes("http", "https", "mailto")
	p.AllowRelativeURLs(true)
	p.RequireParseableURLs(true)
	p.RequireNoFollowOnFullyQualifiedLinks(true)
	p.RequireNoReferrerOnFullyQualifiedLinks(true)
	p.AllowAttrs("src").Matching(regexp.MustCompile(`^/-/files/`)).OnElements("img")
	p.AllowAttrs("alt").OnElements("img")
	p.AllowAttrs("width", "height").Matching(regexp.MustCompile(`^[0-9]{1,4}$`)).OnElements("img")
	return p
}

// Render renders a page.
func (r *Renderer) Render(source []byte, links Links) (*Document, error) {
	return r.render(source, links, r.policy)
}

// RenderPart renders a text of which others like it stand on the same page:
// it has no ids, which could be there twice.
func (r *Renderer) RenderPart(source []byte, links Links) (*Document, error) {
	return r.render(source, links, r.part)
}

func (r *Renderer) render(source []byte, links Links, policy *bluemonday.Policy) (*Document, error) {
	doc := &Document{Pages: map[string]bool{}}
	var out bytes.Buffer
	out.Grow(len(source) * 3 / 2)
	root, err := r.parse(source, doc, links)
	switch {
	case errors.Is(err, errTooIntricate) || err == nil && depth(root) > maxNesting:
		*doc = Document{Pages: doc.Pages}
		writePlain(&out, source)
	case err != nil:
		return nil, err
	default:
		if err := r.markdown.Renderer().Render(&out, source, root); err != nil {
			return nil, fmt.Errorf("render markdown: %w", err)
		}
	}
	doc.HTML = policy.SanitizeReader(&out).Bytes()
	return doc, nil
}

// parse reads the text and collects in doc what it links to.
func (r *Renderer) parse(source []byte, doc *Document, links Links) (root ast.Node, err error) {
	defer func() {
		if caught := recover(); caught != nil {
			if caught != any(errTooIntricate) {
				panic(caught)
			}
			err = errTooIntricate
		}
	}()
	state := &renderState{doc: doc, links: links, budget: budget{budgetSteps}}
	ids := &headingIDs{taken: map[string]bool{}, next: map[string]int{}}
	pc := &watchedContext{parser.NewContext(parser.WithIDs(ids)), &state.budget}
	pc.Set(stateKey, state)
	return r.markdown.Parser().Parse(text.NewReader(source), parser.WithContext(pc)), nil
}

// writePlain shows a text as it was written.
func writePlain(out *bytes.Buffer, source []byte) {
	out.WriteString("<pre>")
	out.Write(util.EscapeHTML(source))
	out.WriteString("</pre>")
}

// depth returns how deep the tree is, without recursion.
func depth(root ast.Node) int {
	deepest, level := 0, 0
	for n := root; n != nil; {
		deepest = max(deepest, level)
		if child := n.FirstChild(); child != nil {
			n = child
			level++
			continue
		}
		for n != nil && n.NextSibling() == nil {
			n = n.Parent()
			level--
		}
		if n != nil {
			n = n.NextSibling()
		}
	}
	return deepest
}
