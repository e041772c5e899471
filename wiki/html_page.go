package wiki

import (
	"bytes"
	"context"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"github.com/gorilla/mux"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki/markdown"
	"github.com/erwik/erwik/wiki/page"
	"github.com/erwik/erwik/wiki/web"
)

// pageURL returns the address of a page.
func pageURL(name page.Name) string { return markdown.URL(string(name)) }

// chrome is what stands around a page of the wiki itself.
func (h *Handler) chrome(title string) *web.Chrome {
	return &web.Chrome{Title: title, Node: h.nodeName, Conflicts: web.ConflictsLink(h.conflicts.Count())}
}

// pageChrome is what stands around something about a wiki page.
func (h *Handler) pageChrome(name page.Name, active string) *web.Chrome {
	c := h.chrome(name.Title())
	c.Page, c.URL, c.Active = string(name), pageURL(name), active
	folder := ""
	for part := range strings.SplitSeq(name.Folder(), "/") {
		if part != "" {
			folder += part
			c.Folders = append(c.Folders, web.Link{URL: markdown.URL(folder), Text: part})
			folder += "/"
		}
	}
	return c
}

// revision describes a commit for a list or a footer.
func (h *Handler) revision(c *storage.Commit) web.Revision {
	r := web.Revision{
		Hash: c.Hash.String(), Short: c.Hash.String()[:10], Page: shownPath(c.Path),
		Author: c.Author.Name, Node: c.Committer.Name, Summary: c.Message,
		Time: web.At(unixTime(c.Author.Time)), Deleted: c.Kind == storage.KindDelete,
	}
	if name, ok := page.FileOfPath(c.Path); ok {
		r.File, r.FileName = true, string(name)
	}
	r.PageURL = markdown.URL(r.Page)
	r.URL = r.PageURL + "?rev=" + r.Hash
	r.DiffURL = r.PageURL + "?diff=.." + r.Hash
	if c.From != nil {
		r.From = shownPath(c.From.Path)
	}
	return r
}

// page serves GET /{page} and what its query asks for.
func (h *Handler) page(w http.ResponseWriter, r *http.Request) error {
	raw := mux.Vars(r)["page"]
	if raw == "" {
		raw = string(startPage)
	}
	if bare := strings.TrimRight(raw, "/"); bare != raw && bare != "" {
		if name, err := page.ParseName(bare); err == nil {
			return redirectTo(w, r, name)
		}
	}
	name, err := page.ParseName(raw)
	if err != nil {
		if bare, ok := strings.CutSuffix(raw, storage.PageSuffix); ok && bare != "" { // the name alone may be short enough
			if _, bareErr := page.ParseName(bare); bareErr == nil {
				return h.rawText(w, r, bare)
			}
		}
		return err
	}
	if string(name) != raw {
		return redirectTo(w, r, name)
	}
	query := r.URL.Query()
	switch {
	case query.Has("edit"):
		return h.editPage(w, r, name)
	case query.Has("history"):
		return h.historyPage(w, r, name)
	case query.Has("diff"):
		return h.diffPage(w, r, name)
	}
	p, from, err := h.lookup(r.Context(), name)
	if err != nil {
		return err
	}
	if !p.Live && len(p.Heads) == 0 {
		if bare, ok := strings.CutSuffix(raw, storage.PageSuffix); ok {
			return h.rawText(w, r, bare)
		}
	}
	if rev := query.Get("rev"); rev != "" {
		return h.oldPage(w, r, name, rev)
	}
	switch {
	case !p.Live:
		return h.missingPage(w, r, p)
	case p.Conflict:
		return h.conflictPage(w, r, p)
	case from != "":
		return h.lentPage(w, r, p, from)
	}
	return h.livePage(w, r, p)
}

// redirectTo sends the reader to a page's one address.
func redirectTo(w http.ResponseWriter, r *http.Request, name page.Name) error {
	target := pageURL(name)
	if r.URL.RawQuery != "" {
		target += "?" + r.URL.RawQuery
	}
	http.Redirect(w, r, target, http.StatusPermanentRedirect)
	return nil
}

// rawText serves GET /{page}.md.
func (h *Handler) rawText(w http.ResponseWriter, r *http.Request, raw string) error {
	name, err := page.ParseName(raw)
	if err != nil {
		return err
	}
	var text []byte
	if rev := r.URL.Query().Get("rev"); rev != "" {
		if _, text, err = h.oldRevision(name, rev); err != nil {
			return err
		}
	} else {
		p, _, err := h.lookup(r.Context(), name)
		if err != nil {
			return err
		}
		if !p.Live {
			return page.ErrNoPage
		}
		text = p.Text
		etag := headsTag(p.Heads)
		w.Header()["Etag"] = []string{etag}
		if match := r.Header.Get("If-None-Match"); match != "" && etagMatches(match, etag) {
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header()["Cache-Control"] = valueNoCache
	answer(w, r, http.StatusOK, text)
	return nil
}

// livePage renders a page, keeps it for the next reader, and sends it.
func (h *Handler) livePage(w http.ResponseWriter, r *http.Request, p *page.Page) error {
	chrome := h.pageChrome(p.Name, "read")
	chrome.Conflicts, chrome.Spread = markConflicts, markSpread
	notices := h.savedNotice(r, p)
	if len(p.Heads) > 1 {
		notices = append(notices, web.Notice{Text: "This page unites edits that were made at the same time."})
	}
	html, links, err := h.articleHTML(r.Context(), chrome, p, notices)
	if err != nil {
		return err
	}
	e, err := newRendered(p, links, html)
	if err != nil {
		return err
	}
	if r.URL.RawQuery == "" {
		h.keep(r.URL.Path, e)
	}
	h.answerRendered(w, r, e)
	return nil
}

// articleHTML renders a page with what stands around it.
func (h *Handler) articleHTML(ctx context.Context, chrome *web.Chrome, p *page.Page, notices []web.Notice) ([]byte, map[string]bool, error) {
	body, facts, err := h.body(ctx, p.Name, p.Text)
	if err != nil {
		return nil, nil, err
	}
	article := &web.Page{Chrome: chrome, Notices: notices, Body: body, Contents: facts.contents}
	if facts.title == "" {
		article.Heading = chrome.Title
	} else {
		chrome.Title = facts.title
	}
	if p.Latest != nil {
		rev := h.revision(p.Latest)
		chrome.Revision, chrome.Commit = &rev, rev.Hash
	}
	var buffer bytes.Buffer
	if err := h.web.Page(&buffer, article); err != nil {
		return nil, nil, err
	}
	return buffer.Bytes(), facts.links, nil
}

// savedNotice says what became of the save that led here.
func (h *Handler) savedNotice(r *http.Request, p *page.Page) []web.Notice {
	query := r.URL.Query()
	if !query.Has("saved") || p.Latest == nil {
		return nil
	}
	n := web.Notice{Class: "saved", Live: true, Text: "Saved on this node."}
	switch {
	case query.Has("merged"):
		n.Text = "Saved, and united with what others saved while you wrote."
		n.Links = []web.Link{{URL: pageURL(p.Name) + "?diff=", Text: "See what changed"}}
	case query.Has("unchanged"):
		n.Text = "Nothing was changed, so nothing was saved."
	}
	if s := h.spread(p.Latest.Hash); s.Of > 1 {
		n.Spread = spreadWords(s)
	}
	return []web.Notice{n}
}

// lentPage shows a page that another node has, while this one still copies.
func (h *Handler) lentPage(w http.ResponseWriter, r *http.Request, p *page.Page, from string) error {
	notice := web.Notice{Class: "warn", Text: "This node is still copying the wiki. The page was read through " + from + "; its history follows."}
	html, _, err := h.articleHTML(r.Context(), h.pageChrome(p.Name, "read"), p, []web.Notice{notice})
	if err != nil {
		return err
	}
	w.Header()["Content-Type"], w.Header()["Cache-Control"] = valueHTML, valueNoCache
	answer(w, r, http.StatusOK, html)
	return nil
}

// oldPage shows an old revision.
func (h *Handler) oldPage(w http.ResponseWriter, r *http.Request, name page.Name, rev string) error {
	hash, err := storage.ParseHash(rev)
	if err != nil {
		return badRequest("rev", "%v", err)
	}
	c, text, err := h.pages.Revision(name, hash)
	if err != nil {
		return err
	}
	chrome := h.pageChrome(name, "")
	chrome.NoIndex = true
	notice := web.Notice{Class: "warn", Text: "This is an old revision, or one of several.", Links: []web.Link{
		{URL: pageURL(name), Text: "The page as it is now"}, {URL: pageURL(name) + "?diff=" + rev + "..", Text: "What changed since"},
	}}
	if c.Kind == storage.KindDelete {
		notice.Text = "This revision deleted the page."
	}
	old := &page.Page{Name: name, View: &page.View{Text: text, Latest: c}}
	html, _, err := h.articleHTML(r.Context(), chrome, old, []web.Notice{notice})
	if err != nil {
		return err
	}
	w.Header()["Content-Type"], w.Header()["Cache-Control"] = valueHTML, valueNoCache
	answer(w, r, http.StatusOK, html)
	return nil
}

// folderLength is how many pages of a folder are listed.
const folderLength = 500

// missingPage offers to create a page, and lists the pages of the folder of
// that name; the status is 404 all the same.
func (h *Handler) missingPage(w http.ResponseWriter, r *http.Request, p *page.Page) error {
	chrome := h.pageChrome(p.Name, "read")
	chrome.Missing, chrome.NoIndex = true, true
	show := &web.Missing{Chrome: chrome, Deleted: len(p.Heads) > 0}
	folder := string(p.Name) + "/"
	below, next, err := h.pages.Pages(folder, "", folderLength)
	if err != nil {
		return err
	}
	for _, listed := range below {
		show.Below = append(show.Below, web.Link{URL: pageURL(listed.Name), Text: strings.TrimPrefix(string(listed.Name), folder)})
	}
	show.More = next != ""
	return answerPage(w, r, http.StatusNotFound, show, h.web.Missing)
}

// maxSideBySide is how much text, in bytes, is shown side by side; of further
// versions only links are.
const maxSideBySide = page.MaxText

// conflictPage shows all versions side by side.
func (h *Handler) conflictPage(w http.ResponseWriter, r *http.Request, p *page.Page) error {
	show := &web.Conflict{Chrome: h.pageChrome(p.Name, "read"), Count: p.Distinct, More: p.Distinct > len(p.Versions)}
	room := maxSideBySide
	for _, v := range p.Versions {
		version := web.Version{Revision: h.revision(v.Commit)}
		room -= len(v.Text)
		version.TooLong = room < 0
		if !v.Deleted && !version.TooLong {
			doc, err := h.renderText(r.Context(), p.Name, v.Text, h.markdown.RenderPart)
			if err != nil {
				return err
			}
			version.Body = template.HTML(doc.HTML)
		}
		show.Versions = append(show.Versions, version)
	}
	return answerPage(w, r, http.StatusOK, show, h.web.Conflict)
}

// failPage answers with err as a page for people.
func (h *Handler) failPage(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	h.logProblem(r, p, err)
	setProblemHeaders(w.Header(), p, err)
	chrome := h.chrome(p.Title)
	chrome.NoIndex = true
	show := &web.Error{Chrome: chrome, Heading: p.Title, Detail: sentence(p.Detail), Next: sentence(p.Next), Status: p.Status, RequestID: p.RequestID}
	if name, ok := errors.AsType[*page.NameError](err); ok {
		show.Detail, show.Next = sentence("this "+name.What()+" is refused: "+name.Why), sentence(name.Do)
	}
	switch p.Code { // what to do is for programs
	case "no_page":
		show.Next = "Open its address, without an ending such as .md, to create it."
	case "no_file":
		show.Next = "The list of files is at /-/files/."
	}
	if err := answerPage(w, r, p.Status, show, h.web.Error); err != nil {
		h.log.Error("write the page of an error", "err", err)
	}
}

// sentence makes a sentence of the words of an error.
func sentence(words string) string {
	words = strings.TrimPrefix(words, "wiki: ")
	if words == "" {
		return ""
	}
	first := strings.ToUpper(words[:1])
	if strings.ContainsAny(words[len(words)-1:], ".!?") {
		return first + words[1:]
	}
	return first + words[1:] + "."
}

// withQuery adds parameters to a page's address.
func withQuery(name page.Name, pairs ...string) string {
	values := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	return pageURL(name) + "?" + values.Encode()
}
