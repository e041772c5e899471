package markdown

import (
	"bytes"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
)

// stateKey is where a render keeps its state in the parser's context.
var stateKey = parser.NewContextKey()

// renderState is what one render collects.
type renderState struct {
	doc    *Document
	links  Links
	budget budget
}

func stateOf(pc parser.Context) *renderState { return pc.Get(stateKey).(*renderState) }

// page notes that the document links to name, and says whether it exists.
func (s *renderState) page(name string) bool {
	exists, known := s.doc.Pages[name]
	if !known {
		exists = s.links.Exists(name)
		s.doc.Pages[name] = exists
	}
	return exists
}

// URL returns the address of a page.
func URL(name string) string {
	var b strings.Builder
	b.WriteByte('/')
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~/!$&'()*,;=:@", c) >= 0:
			b.WriteByte(c)
		default:
			const hex = "0123456789ABCDEF"
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

// wikilinkParser reads [[Page#heading|label]].
type wikilinkParser struct{}

// maxWikilink is the longest wikilink, in bytes.
const maxWikilink = 3000

func (wikilinkParser) Trigger() []byte { return []byte{'['} }

func (wikilinkParser) Parse(_ ast.Node, block text.Reader, pc parser.Context) ast.Node {
	line, segment := block.PeekLine()
	if !bytes.HasPrefix(line, []byte("[[")) {
		return nil
	}
	end := bytes.Index(line[:min(len(line), maxWikilink)], []byte("]]"))
	if end < 3 || bytes.HasPrefix(line, []byte("[[[")) {
		return nil
	}
	inside := string(line[2:end])
	if strings.ContainsAny(inside, "[]") {
		return nil
	}
	target, _, labelled := strings.Cut(inside, "|")
	labelAt := 2
	if labelled {
		labelAt += len(target) + 1
	}
	name, fragment, _ := strings.Cut(target, "#")
	name = strings.TrimSpace(name)
	link := ast.NewLink()
	s := stateOf(pc)
	class := "wikilink"
	if name == "" && fragment == "" {
		return nil
	}
	destination := ""
	if name != "" {
		page, ok := s.links.Resolve(name, true)
		if !ok {
			return nil
		}
		destination = URL(page)
		if !s.page(page) {
			class = "wikilink missing"
		}
	}
	if fragment != "" {
		destination += "#" + url.PathEscape(slug(fragment))
	}
	link.Destination = []byte(destination)
	link.SetAttributeString("class", []byte(class))
	label := text.NewSegment(segment.Start+labelAt, segment.Start+end)
	label = label.TrimLeftSpace(block.Source())
	label = label.TrimRightSpace(block.Source())
	if label.IsEmpty() {
		return nil
	}
	link.AppendChild(link, ast.NewTextSegment(label))
	block.Advance(end + 2)
	return link
}

// linkTransformer makes relative links of Markdown into links to pages, moves
// images to where attachments are, and collects the headings.
type linkTransformer struct{}

func (linkTransformer) Transform(root *ast.Document, reader text.Reader, pc parser.Context) {
	s, source := stateOf(pc), reader.Source()
	var foreign []*ast.Image
	walkErr := ast.Walk(root, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Heading:
			s.heading(n, source, n == root.FirstChild())
		case *ast.Link:
			if _, wiki := n.AttributeString("class"); !wiki {
				s.relativeLink(n)
			}
		case *ast.Image:
			if !s.image(n) {
				foreign = append(foreign, n)
			}
		}
		return ast.WalkContinue, nil
	})
	_ = walkErr // the function above returns none
	for _, image := range foreign {
		replaceByLink(image)
	}
}

func (s *renderState) heading(n *ast.Heading, source []byte, first bool) {
	words := plainText(n, source)
	if first && n.Level == 1 {
		s.doc.Title = words
	}
	if id, ok := n.AttributeString("id"); ok {
		if id, ok := id.([]byte); ok {
			s.doc.Headings = append(s.doc.Headings, Heading{n.Level, string(id), words})
		}
	}
}

// plainText returns the words below n.
func plainText(n ast.Node, source []byte) string {
	var b strings.Builder
	err := ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if entering {
			switch n := n.(type) {
			case *ast.Text:
				b.Write(n.Segment.Value(source))
				if n.SoftLineBreak() {
					b.WriteByte(' ')
				}
			case *ast.String:
				b.Write(n.Value)
			}
		}
		return ast.WalkContinue, nil
	})
	_ = err // the function above returns none
	return strings.TrimSpace(b.String())
}

// local splits a destination that stays on this wiki into decoded path and
// the rest; ok is false for anything else.
func local(destination []byte) (path, rest string, ok bool) {
	d := string(destination)
	if d == "" || d[0] == '#' || d[0] == '?' || strings.HasPrefix(d, "//") {
		return "", "", false
	}
	u, err := url.Parse(d)
	if err != nil || u.Scheme != "" || u.Host != "" || u.RawQuery != "" {
		return "", "", false
	}
	if u.Fragment != "" {
		rest = "#" + url.PathEscape(u.Fragment)
	}
	return u.Path, rest, true
}

func (s *renderState) relativeLink(n *ast.Link) {
	path, rest, ok := local(n.Destination)
	if ok && strings.HasPrefix(path, filesAddress) {
		s.fileLink(n, path)
		return
	}
	if !ok || strings.HasPrefix(path, "/-/") {
		return
	}
	name, ok := s.links.Resolve(path, false)
	if !ok {
		s.fileLink(n, path)
		return
	}
	n.Destination = []byte(URL(name) + rest)
	if !s.page(name) {
		n.SetAttributeString("class", []byte("missing"))
	}
}

// replaceByLink puts a link to an image where the image was. In a link only
// its words remain, since links don't nest.
func replaceByLink(image *ast.Image) {
	parent := image.Parent()
	for up := parent; up != nil; up = up.Parent() {
		if up.Kind() == ast.KindLink {
			for child := image.FirstChild(); child != nil; child = image.FirstChild() {
				parent.InsertBefore(parent, image, child)
			}
			parent.RemoveChild(parent, image)
			return
		}
	}
	link := ast.NewLink()
	link.Destination = image.Destination
	link.Title = image.Title
	link.SetAttributeString("class", []byte("external-image"))
	if class, ok := image.AttributeString("class"); ok {
		link.SetAttributeString("class", class)
	}
	for child := image.FirstChild(); child != nil; child = image.FirstChild() {
		link.AppendChild(link, child)
	}
	if link.ChildCount() == 0 {
		link.AppendChild(link, ast.NewString([]byte("image")))
	}
	parent.ReplaceChild(parent, image, link)
}

// headingIDs makes the anchors of headings.
type headingIDs struct {
	taken map[string]bool
	next  map[string]int // by slug: the number to try next
}

// Generate implements parser.IDs.
func (h *headingIDs) Generate(value []byte, _ ast.NodeKind) []byte {
	base := slug(string(value))
	id := base
	for h.taken[id] {
		h.next[base]++
		id = base + "-" + strconv.Itoa(h.next[base])
	}
	h.taken[id] = true
	return []byte(id)
}

// Put implements parser.IDs.
func (h *headingIDs) Put(value []byte) { h.taken[string(value)] = true }

// slug is the anchor of a heading as GitHub makes it: letters and digits in
// lower case, blanks as hyphens, all else left out.
func slug(heading string) string {
	var b strings.Builder
	for _, r := range strings.TrimSpace(heading) {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '_', r == '-':
			b.WriteRune(unicode.ToLower(r))
		case unicode.IsSpace(r):
			b.WriteByte('-')
		}
	}
	if b.Len() == 0 || !utf8.ValidString(b.String()) {
		return "section"
	}
	return b.String()
}
