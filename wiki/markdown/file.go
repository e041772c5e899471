package markdown

import (
	"bytes"
	"net/url"
	"regexp"
	"strings"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
)

// filesAddress begins the address of every file; the form for uploads is there.
const filesAddress = "/-/files/"

// uploadURL is where a file that is missing can be uploaded.
func uploadURL(name string) string {
	return filesAddress + "?" + url.Values{"path": {strings.TrimPrefix("/"+name, filesAddress)}}.Encode()
}

// embedParser reads ![[file.png]], ![[file.png|words]] and, with a width in
// pixels, ![[file.png|300]], ![[file.png|300x200]] or ![[file.png|words|300]].
type embedParser struct{}

func (embedParser) Trigger() []byte { return []byte{'!'} }

func (embedParser) Parse(_ ast.Node, block text.Reader, pc parser.Context) ast.Node {
	line, _ := block.PeekLine()
	if !bytes.HasPrefix(line, []byte("![[")) {
		return nil
	}
	end := bytes.Index(line[:min(len(line), maxWikilink)], []byte("]]"))
	if end < 4 {
		return nil
	}
	inside := string(line[3:end])
	if strings.ContainsAny(inside, "[]") {
		return nil
	}
	target, options, _ := strings.Cut(inside, "|")
	name, _, ok := stateOf(pc).links.File(strings.TrimSpace(target), true)
	if !ok {
		return nil
	}
	image := ast.NewImage(ast.NewLink())
	image.Destination = []byte(URL(name))
	words := strings.TrimSpace(target)
	for option := range strings.SplitSeq(options, "|") {
		if size := imageSize.FindStringSubmatch(strings.TrimSpace(option)); size != nil {
			image.SetAttributeString("width", []byte(size[1]))
			if size[2] != "" {
				image.SetAttributeString("height", []byte(size[2]))
			}
		} else if option = strings.TrimSpace(option); option != "" {
			words = option
		}
	}
	image.AppendChild(image, ast.NewString([]byte(words)))
	block.Advance(end + 2)
	return image
}

var imageSize = regexp.MustCompile(`^([0-9]{1,4})(?:x([0-9]{1,4}))?$`)

// image gives an image the address of its file, or returns false for one that is
// elsewhere. What is no image, and what is missing, becomes a link.
func (s *renderState) image(n *ast.Image) bool {
	path, _, ok := local(n.Destination)
	if !ok {
		return false
	}
	name, image, ok := s.links.File(path, false)
	if !ok {
		return false
	}
	n.Destination = []byte(URL(name))
	switch {
	case !s.page(name):
		n.Destination = []byte(uploadURL(name))
		n.SetAttributeString("class", []byte("missing"))
		return false
	case !image:
		n.SetAttributeString("class", []byte("wikilink"))
		return false
	}
	return true
}

// fileLink leads a link to a file, or to where it can be uploaded.
func (s *renderState) fileLink(n *ast.Link, path string) {
	name, _, ok := s.links.File(path, false)
	if !ok {
		return
	}
	n.Destination = []byte(URL(name))
	if !s.page(name) {
		n.Destination = []byte(uploadURL(name))
		n.SetAttributeString("class", []byte("missing"))
	}
}
