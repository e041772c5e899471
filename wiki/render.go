package wiki

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki/cache"
	"github.com/erwik/erwik/wiki/markdown"
	"github.com/erwik/erwik/wiki/page"
	"github.com/erwik/erwik/wiki/web"
)

// Two parts of a page change without the page: the number of conflicts in its
// head and how far it has spread. In a rendered page these markers hold their
// places; no page text can contain them, since comments are never let through.
const (
	markConflicts = "<!--ui:conflicts-->"
	markSpread    = "<!--ui:spread-->"
)

// rendered is a page as it was rendered for some heads.
type rendered struct {
	path   string // git path
	heads  []storage.Hash
	latest storage.Hash
	links  map[string]bool // names of the pages linked to, and whether they existed
	parts  [3][]byte       // before, between and after the two markers
	whole  atomic.Pointer[assembled]
}

// assembled is a rendered page with the two parts in their places.
type assembled struct {
	conflicts    int
	nodes        nodesEntry
	body         []byte
	etag, length []string
}

// newRendered cuts a page at its markers.
func newRendered(p *page.Page, links map[string]bool, html []byte) (*rendered, error) {
	e := &rendered{path: p.Name.Path(), heads: p.Heads, links: links}
	if p.Latest != nil {
		e.latest = p.Latest.Hash
	}
	before, rest, ok := bytes.Cut(html, []byte(markConflicts))
	if !ok {
		return nil, fmt.Errorf("render %q: the template has no place for conflicts", p.Name)
	}
	between, after, _ := bytes.Cut(rest, []byte(markSpread))
	e.parts = [3][]byte{before, between, after}
	return e, nil
}

func (e *rendered) cost() int {
	cost := 1024 + 3*(len(e.parts[0])+len(e.parts[1])+len(e.parts[2]))
	for name := range e.links {
		cost += 256 + len(name)
	}
	return cost
}

// assemble returns the page with these parts, the same bytes again while they
// stay the same.
func (e *rendered) assemble(conflicts int, nodes nodesEntry) *assembled {
	if a := e.whole.Load(); a != nil && a.conflicts == conflicts && a.nodes == nodes {
		return a
	}
	a := &assembled{conflicts: conflicts, nodes: nodes}
	spread := web.SpreadNote(nodes.Have, nodes.Of, nodes.Took)
	if e.latest.IsZero() {
		spread = ""
	}
	a.body = slices.Concat(e.parts[0], []byte(web.ConflictsLink(conflicts)), e.parts[1], []byte(spread), e.parts[2])
	sum := sha256.Sum256(a.body)
	a.etag = []string{`"` + hex.EncodeToString(sum[:12]) + `"`}
	a.length = []string{strconv.Itoa(len(a.body))}
	e.whole.Store(a)
	return a
}

// renderCache keeps rendered pages and knows which of them link where.
type renderCache struct {
	entries *cache.Cache[string, *rendered] // by the address that was asked for

	mu    sync.Mutex // guards links; taken with the cache's lock held
	links map[string]map[string]struct{}
	hits  atomic.Uint64
}

func newRenderCache(limit int) *renderCache {
	c := &renderCache{links: map[string]map[string]struct{}{}}
	c.entries = cache.New(limit, c.evicted)
	return c
}

// put stores a page. The links are noted after the page that had this address
// before has taken its own away.
func (c *renderCache) put(address string, e *rendered) {
	c.entries.Put(address, e, e.cost())
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range e.links {
		from := c.links[name]
		if from == nil {
			from = map[string]struct{}{}
			c.links[name] = from
		}
		from[address] = struct{}{}
	}
}

// evicted forgets the links of a page that leaves the cache.
func (c *renderCache) evicted(address string, e *rendered) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range e.links {
		delete(c.links[name], address)
		if len(c.links[name]) == 0 {
			delete(c.links, name)
		}
	}
}

// changed drops the pages that show a link to path in the wrong colour. The
// page at path itself is dropped when its heads are seen to have changed.
func (c *renderCache) changed(path string, heads []storage.Head) {
	name, ok := page.ShownPath(path)
	if !ok {
		return
	}
	c.mu.Lock()
	var from []string
	for address := range c.links[name] {
		from = append(from, address)
	}
	c.mu.Unlock()
	if len(from) == 0 {
		return
	}
	live := slices.ContainsFunc(heads, func(h storage.Head) bool { return h.Kind == storage.KindPage || h.Kind == storage.KindFile })
	for _, address := range from {
		if e, ok := c.entries.Get(address); ok && e.links[name] != live {
			c.entries.Delete(address)
		}
	}
}

// serveHot answers with a page that was rendered before, if it still is what
// the page's heads say.
func (h *Handler) serveHot(w http.ResponseWriter, r *http.Request) bool {
	e, ok := h.rendered.entries.Get(r.URL.Path)
	if !ok {
		return false
	}
	heads, err := h.store.Heads(e.path)
	if err != nil || !sameHeads(heads, e.heads) {
		h.rendered.entries.Delete(r.URL.Path)
		return false
	}
	begin := time.Now()
	status := h.answerRendered(w, r, e)
	h.hot.Done(r.Method, status, time.Since(begin))
	return true
}

func sameHeads(heads []storage.Head, hashes []storage.Hash) bool {
	if len(heads) != len(hashes) {
		return false
	}
	for i := range heads {
		if heads[i].Hash != hashes[i] {
			return false
		}
	}
	return true
}

// answerRendered sends a rendered page, or says that the reader has it; it
// returns the status.
func (h *Handler) answerRendered(w http.ResponseWriter, r *http.Request, e *rendered) (status int) {
	spread := nodesEntry{Have: 1, Of: 1}
	if !e.latest.IsZero() {
		spread = h.spread(e.latest)
	}
	a := e.assemble(h.conflicts.Count(), spread)
	header := w.Header()
	setSecurityHeaders(header)
	header["Content-Type"] = valueHTML
	header["Cache-Control"] = valueNoCache
	header["Etag"] = a.etag
	if match := r.Header["If-None-Match"]; len(match) > 0 && etagMatches(match[0], a.etag[0]) {
		w.WriteHeader(http.StatusNotModified)
		return http.StatusNotModified
	}
	header["Content-Length"] = a.length
	if r.Method != http.MethodHead {
		// The client may be gone; nobody is left to tell.
		_, _ = w.Write(a.body)
	}
	return http.StatusOK
}

// etagMatches reads If-None-Match.
func etagMatches(header, etag string) bool {
	if header == etag {
		return true
	}
	for candidate := range strings.SplitSeq(header, ",") {
		candidate = strings.TrimPrefix(strings.TrimSpace(candidate), "W/")
		if candidate == etag || candidate == "*" {
			return true
		}
	}
	return false
}

// keep stores a page that was just rendered for an address, unless what it
// shows has changed meanwhile.
func (h *Handler) keep(address string, e *rendered) {
	h.rendered.put(address, e)
	// A link may have changed its colour between the look at it and put;
	// whatever changes from here on finds the entry.
	for name, existed := range e.links {
		if isLive(h.pages, name) != existed {
			h.rendered.entries.Delete(address)
			return
		}
	}
}

// renderText renders Markdown with one of the renderer's methods.
func (h *Handler) renderText(ctx context.Context, name page.Name, text []byte, render func([]byte, markdown.Links) (*markdown.Document, error)) (*markdown.Document, error) {
	select {
	case h.renders <- struct{}{}:
		defer func() { <-h.renders }()
	case <-ctx.Done():
		return nil, fmt.Errorf("render %q: %w", name, ctx.Err())
	}
	doc, err := render(text, &pageLinks{h.pages, name})
	if err != nil {
		return nil, fmt.Errorf("render %q: %w", name, err)
	}
	return doc, nil
}

// body renders the text of a page.
func (h *Handler) body(ctx context.Context, name page.Name, text []byte) (template.HTML, *bodyFacts, error) {
	doc, err := h.renderText(ctx, name, text, h.markdown.Render)
	if err != nil {
		return "", nil, err
	}
	facts := &bodyFacts{title: doc.Title, links: doc.Pages}
	for _, heading := range doc.Headings {
		if heading.Level >= 2 && heading.Level <= 4 {
			facts.contents = append(facts.contents, web.Heading{Level: heading.Level, ID: heading.ID, Text: heading.Text})
		}
	}
	if len(facts.contents) < minContents {
		facts.contents = nil
	}
	return template.HTML(doc.HTML), facts, nil
}

// minContents is how many headings a page needs for a table of contents.
const minContents = 4

// bodyFacts is what rendering found out about a text.
type bodyFacts struct {
	title    string
	links    map[string]bool
	contents []web.Heading
}
