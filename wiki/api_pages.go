package wiki

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki/page"
)

// pageAnswer is what GET pages/{path} says.
type pageAnswer struct {
	Path     page.Name      `json:"path"`
	Title    string         `json:"title"`
	Text     string         `json:"text"`
	Heads    []storage.Hash `json:"heads"`
	Commit   *storage.Hash  `json:"commit"`
	Author   string         `json:"author"`
	Time     *time.Time     `json:"time"`
	Conflict bool           `json:"conflict"`
	Versions []versionEntry `json:"versions,omitempty"`
	Nodes    nodesEntry     `json:"nodes"`
	// Through names the node that the page was read from, while this one copies.
	Through string `json:"through,omitempty"`
}

type nodesEntry struct {
	Have int `json:"have"`
	Of   int `json:"of"`
	// Took is in how many milliseconds all had it, if that is known.
	Took float64 `json:"ms,omitempty"`
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// versionEntry is one of the versions of a page in conflict.
type versionEntry struct {
	Heads   []storage.Hash `json:"heads"`
	Deleted bool           `json:"deleted"`
	Author  string         `json:"author"`
	Time    time.Time      `json:"time"`
	Text    string         `json:"text"`
	LeftOut bool           `json:"left_out,omitempty"` // the text, for its length; ?rev= has it
}

// saveAnswer is what a save says.
type saveAnswer struct {
	Path   page.Name      `json:"path"`
	Commit storage.Hash   `json:"commit"`
	Heads  []storage.Hash `json:"heads"`
	Merged bool           `json:"merged"`
}

// nameOf reads the page's name in an address.
func nameOf(r *http.Request) (page.Name, error) {
	return page.ParseName(mux.Vars(r)["path"])
}

// orEmpty keeps a list from being null in JSON.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func unixTime(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }

func (h *Handler) apiGet(w http.ResponseWriter, r *http.Request) error {
	name, err := nameOf(r)
	if err != nil {
		return err
	}
	query := r.URL.Query()
	if rev := query.Get("rev"); rev != "" {
		return h.apiRevision(w, r, name, rev)
	}
	p, from, err := h.lookup(r.Context(), name)
	if err != nil {
		return err
	}
	if !p.Live {
		return page.ErrNoPage
	}
	etag := headsTag(p.Heads)
	w.Header()["Etag"] = []string{etag}
	if match := r.Header.Get("If-None-Match"); match != "" && etagMatches(match, etag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	a := h.describePage(p)
	if a.Through = from; from != "" {
		w.Header()["Cache-Control"] = valueNoCache
		a.Nodes.Have = 0 // of this node's knowledge
	}
	if query.Get("fields") == "nodes" {
		a.Text, a.Versions = "", nil
	}
	return answerJSON(w, r, http.StatusOK, a)
}

func (h *Handler) describePage(p *page.Page) *pageAnswer {
	a := &pageAnswer{
		Path: p.Name, Title: titleOf(p.Name, p.Text), Text: string(p.Text),
		Heads: orEmpty(p.Heads), Conflict: p.Conflict, Nodes: nodesEntry{Have: 1, Of: 1},
	}
	if p.Latest == nil {
		return a
	}
	by := cmp.Or(p.Shown(), p.Latest)
	a.Author = by.Author.Name
	a.Time = new(unixTime(by.Author.Time))
	a.Nodes = h.spread(by.Hash)
	if c := p.Commit(); c != nil {
		a.Commit = &c.Hash
	}
	a.Versions = versionEntries(p.View, math.MaxInt)
	return a
}

// versionEntries lists the versions of a page in conflict; texts that would be more
// than room bytes together are left out.
func versionEntries(v *page.View, room int) (list []versionEntry) {
	for _, v := range v.Versions {
		entry := versionEntry{Heads: v.Heads, Deleted: v.Deleted, Author: v.Commit.Author.Name, Time: unixTime(v.Commit.Author.Time)}
		if room -= len(v.Text); room >= 0 {
			entry.Text = string(v.Text)
		} else {
			entry.LeftOut = true
		}
		list = append(list, entry)
	}
	return list
}

// spread says how far a commit has come.
func (h *Handler) spread(hash storage.Hash) nodesEntry {
	have, of, took := h.mesh.Spread(hash)
	return nodesEntry{have, of, milliseconds(took)}
}

// oldRevision reads the revision that an address names; one that deletes the
// page has no text to show.
func (h *Handler) oldRevision(name page.Name, rev string) (*storage.Commit, []byte, error) {
	hash, err := storage.ParseHash(rev)
	if err != nil {
		return nil, nil, badRequest("rev", "%v", err)
	}
	c, text, err := h.pages.Revision(name, hash)
	if err == nil && c.Kind == storage.KindDelete {
		err = errDeletes
	}
	return c, text, err
}

// apiRevision answers with an old revision in the form of a page.
func (h *Handler) apiRevision(w http.ResponseWriter, r *http.Request, name page.Name, rev string) error {
	c, text, err := h.oldRevision(name, rev)
	if err != nil {
		return err
	}
	hash := c.Hash
	a := &pageAnswer{
		Path: name, Title: titleOf(name, text), Text: string(text),
		Heads: []storage.Hash{hash}, Commit: &hash,
		Author: c.Author.Name, Time: new(unixTime(c.Author.Time)),
	}
	a.Nodes = h.spread(hash)
	return answerJSON(w, r, http.StatusOK, a)
}

// titleOf is the heading that begins the text, else the end of the name.
func titleOf(name page.Name, text []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimLeft(text, "\r\n"), []byte("\n"))
	if title, ok := bytes.CutPrefix(line, []byte("# ")); ok && len(title) <= 300 {
		if title = bytes.TrimSpace(title); len(title) > 0 {
			return string(title)
		}
	}
	return name.Title()
}

// headsTag is the entity tag of a set of heads.
func headsTag(heads []storage.Hash) string {
	sum := sha256.New()
	for _, h := range heads {
		sum.Write(h[:])
	}
	return `"` + hex.EncodeToString(sum.Sum(nil)[:16]) + `"`
}

func (h *Handler) apiPut(w http.ResponseWriter, r *http.Request) error {
	if !h.guard.mayEdit(r) {
		return errNoToken
	}
	name, err := nameOf(r)
	if err != nil {
		return err
	}
	body, err := h.readJSONBody(w, r)
	if err != nil {
		return err
	}
	put, err := parsePut(body)
	if err != nil {
		return err
	}
	if put.Text == nil {
		return badRequest("body", `the field "text" is missing`)
	}
	e := page.Edit{Name: name, Text: put.Text, Author: put.Author, Summary: put.Summary}
	if err := setBase(&e, put.Base); err != nil {
		return err
	}
	return h.saveJSON(w, r, e)
}

// setBase reads what an edit was made on.
func setBase(e *page.Edit, base []string) error {
	if len(base) == 1 && base[0] == "current" {
		e.OnTop = true
		return nil
	}
	if len(base) > storage.MaxParents {
		return badRequest("base", "it names %d revisions, at most %d are allowed", len(base), storage.MaxParents)
	}
	for _, text := range base {
		hash, err := storage.ParseHash(text)
		if err != nil {
			return badRequest("base", `%v, or "current" alone`, err)
		}
		e.Base = append(e.Base, hash)
	}
	return nil
}

// saveJSON saves an edit and answers what became of it.
func (h *Handler) saveJSON(w http.ResponseWriter, r *http.Request, e page.Edit) error {
	saved, err := h.save(w, r, e)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if saved.Created && !e.Delete {
		status = http.StatusCreated
		w.Header().Set("Location", apiPrefix+"v1/pages"+pageURL(e.Name))
	}
	return answerJSON(w, r, status, saveAnswer{e.Name, saved.Commit.Hash, orEmpty(saved.Heads), saved.Merged})
}

// save saves an edit and counts what became of it.
func (h *Handler) save(w http.ResponseWriter, r *http.Request, e page.Edit) (page.Saved, error) {
	if e.OnTop && h.through != nil && !h.pages.Holds(e.Name) { // what is there may be elsewhere only, so far
		if p, from, err := h.lookup(r.Context(), e.Name); err == nil && from != "" {
			e.OnTop, e.Base = false, p.Heads
		}
	}
	saved, err := h.runSave(w, r, func() (page.Saved, error) { return h.pages.Save(r.Context(), e) })
	return saved, err
}

func (h *Handler) apiDelete(w http.ResponseWriter, r *http.Request) error {
	if !h.guard.mayEdit(r) {
		return errNoToken
	}
	name, err := nameOf(r)
	if err != nil {
		return err
	}
	query := r.URL.Query()
	var base []string
	for _, value := range query["base"] {
		base = append(base, strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })...)
	}
	e := page.Edit{Name: name, Delete: true, Author: query.Get("author"), Summary: query.Get("summary")}
	if err := setBase(&e, base); err != nil {
		return err
	}
	return h.saveJSON(w, r, e)
}

func (h *Handler) apiMove(w http.ResponseWriter, r *http.Request) error {
	if !h.guard.mayEdit(r) {
		return errNoToken
	}
	var body struct {
		From    string   `json:"from"`
		To      string   `json:"to"`
		Author  string   `json:"author"`
		Summary string   `json:"summary"`
		Base    []string `json:"base"`
	}
	if err := h.readJSON(w, r, &body); err != nil {
		return err
	}
	from, err := page.ParseName(body.From)
	if err != nil {
		return err
	}
	to, err := page.ParseName(body.To)
	if err != nil {
		return err
	}
	var e page.Edit
	if err := setBase(&e, body.Base); err != nil {
		return err
	}
	saved, err := h.runSave(w, r, func() (page.Saved, error) {
		return h.pages.Move(r.Context(), page.Move{From: from, To: to, Author: body.Author, Summary: body.Summary, Base: e.Base})
	})
	if err != nil {
		return err
	}
	w.Header().Set("Location", apiPrefix+"v1/pages"+pageURL(to))
	return answerJSON(w, r, http.StatusCreated, struct {
		From page.Name `json:"from"`
		saveAnswer
	}{from, saveAnswer{to, saved.Commit.Hash, saved.Heads, false}})
}

func (h *Handler) apiRevert(w http.ResponseWriter, r *http.Request) error {
	if !h.guard.mayEdit(r) {
		return errNoToken
	}
	var body struct {
		Path    string   `json:"path"`
		Rev     string   `json:"rev"`
		Author  string   `json:"author"`
		Summary string   `json:"summary"`
		Base    []string `json:"base"`
	}
	if err := h.readJSON(w, r, &body); err != nil {
		return err
	}
	name, err := page.ParseName(body.Path)
	if err != nil {
		return err
	}
	rev, err := storage.ParseHash(body.Rev)
	if err != nil {
		return badRequest("rev", "%v", err)
	}
	e := page.Edit{Name: name, Author: body.Author, Summary: body.Summary}
	if err := setBase(&e, body.Base); err != nil {
		return err
	}
	e.OnTop = e.OnTop || len(e.Base) == 0
	saved, err := h.runSave(w, r, func() (page.Saved, error) { return h.pages.Revert(r.Context(), e, rev) })
	if err != nil {
		return err
	}
	return answerJSON(w, r, http.StatusOK, saveAnswer{name, saved.Commit.Hash, saved.Heads, saved.Merged})
}

func (h *Handler) apiPreview(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Path string `json:"path"`
		Text string `json:"text"`
	}
	if err := h.readJSON(w, r, &body); err != nil {
		return err
	}
	name, err := page.ParseName(body.Path)
	if err != nil {
		return err
	}
	if len(body.Text) > page.MaxText {
		return errBodyTooLarge
	}
	html, _, err := h.body(r.Context(), name, []byte(body.Text))
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return answerJSON(w, r, http.StatusOK, map[string]any{"html": html})
}

// operatorCall serves an action that only the operator may ask for.
func (h *Handler) operatorCall(call OperatorCall) action {
	return func(w http.ResponseWriter, r *http.Request) error {
		if !h.guard.isOperator(r) {
			return errNotOperator
		}
		body, err := h.readBody(w, r, maxJSONBody)
		if err != nil {
			return err
		}
		result, err := call(r.Context(), body)
		if err != nil {
			if p := describe(err); p.Status == http.StatusInternalServerError {
				return errors.Join(badRequest("request", "%v", err), err)
			}
			return err
		}
		return answerJSON(w, r, http.StatusOK, result)
	}
}
