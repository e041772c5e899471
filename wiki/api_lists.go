package wiki

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki/page"
)

// listAnswer is a list with what to ask for next, null at the end.
type listAnswer struct {
	Items any     `json:"items"`
	Next  *string `json:"next"`
}

func listOf(items any, next string) listAnswer {
	a := listAnswer{Items: items}
	if next != "" {
		a.Next = &next
	}
	return a
}

// defaultLimit is how long a list is when nobody says.
const defaultLimit = 100

// limitOf reads how long a list shall be.
func limitOf(r *http.Request) (int, error) {
	text := r.URL.Query().Get("limit")
	if text == "" {
		return defaultLimit, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, badRequest("limit", "%.40q is no number above 0", text)
	}
	return min(n, page.MaxList), nil
}

// arrivalOf reads the cursor of a list in the order of arrival.
func arrivalOf(r *http.Request) (uint64, error) {
	text := r.URL.Query().Get("cursor")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 {
		return 0, badRequest("cursor", "%.40q is none that this list has given", text)
	}
	return n, nil
}

func (h *Handler) apiPages(w http.ResponseWriter, r *http.Request) error {
	limit, err := limitOf(r)
	if err != nil {
		return err
	}
	pages, next, err := h.listPages(r, limit)
	if err != nil {
		return err
	}
	type item struct {
		Path  page.Name      `json:"path"`
		Title string         `json:"title"`
		Heads []storage.Hash `json:"heads"`
	}
	items := make([]item, len(pages))
	for i, p := range pages {
		items[i] = item{Path: p.Name, Title: p.Name.Title()}
		for _, head := range p.Heads {
			items[i].Heads = append(items[i].Heads, head.Hash)
		}
	}
	return answerJSON(w, r, http.StatusOK, listOf(items, next))
}

// listPages lists pages as the query says: those that were changed last first,
// or by name, which leaves none out that is edited meanwhile.
func (h *Handler) listPages(r *http.Request, limit int) (pages []page.Listed, next string, err error) {
	query := r.URL.Query()
	switch order := query.Get("order"); order {
	case "name":
		return h.pages.Pages(query.Get("prefix"), query.Get("cursor"), limit)
	case "", "newest":
		before, err := arrivalOf(r)
		if err != nil {
			return nil, "", err
		}
		pages, before, err = h.pages.NewestPages(query.Get("prefix"), before, limit)
		return pages, cursorOf(before), err
	default:
		return nil, "", badRequest("order", "%.40q is none of newest, name", order)
	}
}

// upTo cuts a list, of which one more than limit was asked for, and returns the
// cursor to go on with, empty at the end.
func upTo(limit int, revisions []storage.Revision) ([]storage.Revision, string) {
	if len(revisions) <= limit {
		return revisions, ""
	}
	return revisions[:limit], cursorOf(revisions[limit-1].Arrival)
}

// cursorOf is the cursor that goes on before an arrival, none for 0.
func cursorOf(arrival uint64) string {
	if arrival == 0 {
		return ""
	}
	return strconv.FormatUint(arrival, 10)
}

// revisionEntry is a revision in a list.
type revisionEntry struct {
	Commit     storage.Hash   `json:"commit"`
	Path       string         `json:"path"`
	Kind       storage.Kind   `json:"kind"`
	Author     string         `json:"author"`
	Time       time.Time      `json:"time"`
	Node       string         `json:"node"`
	Summary    string         `json:"summary"`
	Parents    []storage.Hash `json:"parents"`
	Generation uint64         `json:"generation"`
	Log        storage.LogID  `json:"log"`
	Sequence   uint64         `json:"sequence"`
	From       *fromEntry     `json:"from,omitempty"`
	Source     string         `json:"source,omitempty"` // what it was imported from: a git commit
}

// fromEntry says where a moved page came from.
type fromEntry struct {
	Path   string       `json:"path"`
	Commit storage.Hash `json:"commit"`
}

// shownPath is a page's name, a file's name below "-/files/", or the path of what
// is neither.
func shownPath(path string) string {
	shown, _ := page.ShownPath(path)
	return shown
}

func revisionEntries(revisions []storage.Revision) []revisionEntry {
	items := make([]revisionEntry, len(revisions))
	for i, c := range revisions {
		items[i] = revisionEntry{
			Commit: c.Hash, Path: shownPath(c.Path), Kind: c.Kind,
			Author: c.Author.Name, Time: unixTime(c.Author.Time), Node: c.Committer.Name,
			Summary: c.Message, Parents: orEmpty(c.Parents), Generation: c.Generation,
			Log: c.Log, Sequence: c.Sequence, Source: c.Import,
		}
		if c.From != nil {
			items[i].From = &fromEntry{shownPath(c.From.Path), c.From.Commit}
		}
	}
	return items
}

func (h *Handler) apiHistory(w http.ResponseWriter, r *http.Request) error {
	if raw, isFile := strings.CutPrefix(mux.Vars(r)["path"], page.FilesFolder); isFile {
		return h.fileHistory(w, r, raw)
	}
	name, err := nameOf(r)
	if err != nil {
		return err
	}
	return h.revisionList(w, r, func(before uint64, limit int) ([]storage.Revision, error) {
		revisions, err := h.pages.History(name, before, limit)
		if err == nil && len(revisions) == 0 && before == 0 {
			return nil, page.ErrNoPage
		}
		return revisions, err
	})
}

// fileHistory lists the revisions of a file.
func (h *Handler) fileHistory(w http.ResponseWriter, r *http.Request, raw string) error {
	name, err := page.ParseFileName(raw)
	if err != nil {
		return err
	}
	return h.revisionList(w, r, func(before uint64, limit int) ([]storage.Revision, error) {
		revisions, err := h.pages.FileHistory(name, before, limit)
		if err == nil && len(revisions) == 0 && before == 0 {
			return nil, page.ErrNoFile
		}
		return revisions, err
	})
}

func (h *Handler) apiRecent(w http.ResponseWriter, r *http.Request) error {
	return h.revisionList(w, r, h.pages.Recent)
}

func (h *Handler) revisionList(w http.ResponseWriter, r *http.Request, list func(uint64, int) ([]storage.Revision, error)) error {
	limit, err := limitOf(r)
	if err != nil {
		return err
	}
	before, err := arrivalOf(r)
	if err != nil {
		return err
	}
	revisions, err := list(before, limit+1)
	if err != nil {
		return err
	}
	revisions, next := upTo(limit, revisions)
	return answerJSON(w, r, http.StatusOK, listOf(revisionEntries(revisions), next))
}

// revisionOf reads a revision's hash in a query; empty is zero.
func revisionOf(what, text string) (storage.Hash, error) {
	if text == "" {
		return storage.Hash{}, nil
	}
	hash, err := storage.ParseHash(text)
	if err != nil {
		return hash, badRequest(what, "%v", err)
	}
	return hash, nil
}

func (h *Handler) apiDiff(w http.ResponseWriter, r *http.Request) error {
	name, err := nameOf(r)
	if err != nil {
		return err
	}
	from, err := revisionOf("from", r.URL.Query().Get("from"))
	if err != nil {
		return err
	}
	to, err := revisionOf("to", r.URL.Query().Get("to"))
	if err != nil {
		return err
	}
	d, err := h.pages.Diff(name, from, to)
	if err != nil {
		return err
	}
	answer := struct {
		Path page.Name     `json:"path"`
		From *storage.Hash `json:"from"`
		To   *storage.Hash `json:"to"` // null: the text that the heads were united in
		Diff string        `json:"diff"`
	}{Path: name, Diff: d.Unified()}
	if d.To != nil {
		answer.To = &d.To.Hash
	}
	if d.From != nil {
		answer.From = &d.From.Hash
	}
	return answerJSON(w, r, http.StatusOK, answer)
}

func (h *Handler) apiConflicts(w http.ResponseWriter, r *http.Request) error {
	limit, err := limitOf(r)
	if err != nil {
		return err
	}
	before, err := arrivalOf(r)
	if err != nil {
		return err
	}
	pages, next, err := h.pages.NewestConflicts(before, limit)
	if err != nil {
		return err
	}
	type item struct {
		Path     page.Name      `json:"path"`
		Heads    []storage.Hash `json:"heads"`
		Versions int            `json:"versions"`
		Author   string         `json:"author"`
		Time     time.Time      `json:"time"`
	}
	items := make([]item, len(pages))
	for i, p := range pages {
		newest := p.Newest()
		items[i] = item{p.Name, p.Heads, p.Distinct, newest.Author.Name, unixTime(newest.Author.Time)}
	}
	return answerJSON(w, r, http.StatusOK, listOf(items, cursorOf(next)))
}

func (h *Handler) apiCommit(w http.ResponseWriter, r *http.Request) error {
	hash, err := storage.ParseHash(mux.Vars(r)["hash"])
	if err != nil {
		return badRequest("hash", "%v", err)
	}
	if r.URL.Query().Get("nodes") == "all" {
		if _, ok := h.mesh.Story(hash); ok {
			return answerJSON(w, r, http.StatusOK, h.mesh.Stories(r.Context(), []storage.Hash{hash})[0])
		}
	}
	if story, ok := h.mesh.Story(hash); ok {
		return answerJSON(w, r, http.StatusOK, story)
	}
	c, err := h.store.Commit(hash)
	if err != nil {
		return errNoCommit
	}
	return answerJSON(w, r, http.StatusOK, struct {
		Commit    storage.Hash   `json:"commit"`
		Page      string         `json:"page"`
		Log       storage.LogID  `json:"log"`
		Sequence  uint64         `json:"sequence"`
		Hops      []any          `json:"hops"`
		Discarded map[string]int `json:"discarded_notices"`
	}{c.Hash, shownPath(c.Path), c.Log, c.Sequence, []any{}, map[string]int{}})
}

func (h *Handler) apiNetwork(w http.ResponseWriter, r *http.Request) error {
	list, err := h.mesh.Network(mux.Vars(r)["what"])
	if err != nil {
		return err
	}
	return answerJSON(w, r, http.StatusOK, list)
}
