package wiki

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki/page"
	"github.com/erwik/erwik/wiki/web"
)

// historyLength is how many revisions a page of the history has.
const historyLength = 50

// historyPage serves GET /{page}?history.
func (h *Handler) historyPage(w http.ResponseWriter, r *http.Request, name page.Name) error {
	before, err := arrivalOf(r)
	if err != nil {
		return err
	}
	revisions, err := h.pages.History(name, before, historyLength+1)
	if err != nil {
		return err
	}
	revisions, next := upTo(historyLength, revisions)
	p, err := h.pages.Page(name)
	if err != nil {
		return err
	}
	show := &web.History{Chrome: h.pageChrome(name, "history")}
	show.Chrome.NoIndex, show.Chrome.Missing = true, !p.Live
	for i, c := range revisions {
		rev := h.revision(c.Commit)
		rev.Current = isHead(p.Heads, c.Hash)
		rev.PickTo = i == 0
		rev.PickFrom = i == 1 || len(revisions) == 1
		show.Items = append(show.Items, rev)
	}
	if next != "" {
		show.NextURL = pageURL(name) + "?history&cursor=" + next
	}
	status := http.StatusOK
	if len(revisions) == 0 && before == 0 && !p.Live {
		status = http.StatusNotFound
	}
	return answerPage(w, r, status, show, h.web.History)
}

func isHead(heads []storage.Hash, h storage.Hash) bool {
	return slices.Contains(heads, h)
}

// diffPage serves GET /{page}?diff=A..B, where A may be left out for B's first
// parent and B for the page as it is, and ?diff&from=A&to=B, which is what the
// form of the history sends.
func (h *Handler) diffPage(w http.ResponseWriter, r *http.Request, name page.Name) error {
	query := r.URL.Query()
	first, second, _ := strings.Cut(query.Get("diff"), "..")
	if query.Has("from") || query.Has("to") {
		first, second = query.Get("from"), query.Get("to")
	}
	from, err := revisionOf("diff", first)
	if err != nil {
		return err
	}
	to, err := revisionOf("diff", second)
	if err != nil {
		return err
	}
	d, err := h.pages.Diff(name, from, to)
	if err != nil {
		return err
	}
	p, err := h.pages.Page(name)
	if err != nil {
		return err
	}
	show := &web.Diff{Chrome: h.pageChrome(name, "history"), Base: joinBase(p.Heads)}
	show.Hunks, show.Left = web.DiffHunks(d.Hunks)
	show.Chrome.NoIndex, show.Chrome.Missing = true, !p.Live
	if d.To != nil {
		show.To = new(h.revision(d.To))
	}
	for _, c := range []*storage.Commit{d.From, d.To} {
		if c != nil && c.Kind == storage.KindPage && !(len(p.Heads) == 1 && p.Heads[0] == c.Hash) {
			show.Revert = append(show.Revert, h.revision(c))
		}
	}
	if d.From != nil {
		show.From = new(h.revision(d.From))
	}
	return answerPage(w, r, http.StatusOK, show, h.web.Diff)
}

// recentPage serves GET /-/recent.
func (h *Handler) recentPage(w http.ResponseWriter, r *http.Request) error {
	before, err := arrivalOf(r)
	if err != nil {
		return err
	}
	revisions, err := h.pages.Recent(before, historyLength+1)
	if err != nil {
		return err
	}
	revisions, next := upTo(historyLength, revisions)
	show := &web.Recent{Chrome: h.chrome("Recent changes")}
	show.Chrome.Active, show.Chrome.NoIndex = "recent", true
	for _, c := range revisions {
		rev := h.revision(c.Commit)
		if n := len(show.Days); n == 0 || show.Days[n-1].Day != rev.Time.Day() {
			show.Days = append(show.Days, web.Day{Day: rev.Time.Day()})
		}
		day := &show.Days[len(show.Days)-1]
		day.Items = append(day.Items, rev)
	}
	if next != "" {
		show.NextURL = "/-/recent?cursor=" + next
	}
	return answerPage(w, r, http.StatusOK, show, h.web.Recent)
}

// conflictsPage serves GET /-/conflicts.
func (h *Handler) conflictsPage(w http.ResponseWriter, r *http.Request) error {
	pages, next, err := h.pages.Conflicts(r.URL.Query().Get("cursor"), historyLength)
	if err != nil {
		return err
	}
	show := &web.Conflicts{Chrome: h.chrome("Edit conflicts")}
	show.Chrome.NoIndex = true
	for _, p := range pages {
		newest := p.Newest()
		show.Items = append(show.Items, web.ConflictItem{
			Page: string(p.Name), URL: pageURL(p.Name), Author: newest.Author.Name,
			Count: p.Distinct, Time: web.At(unixTime(newest.Author.Time)),
		})
	}
	if next != "" {
		show.NextURL = "/-/conflicts?cursor=" + url.QueryEscape(next)
	}
	return answerPage(w, r, http.StatusOK, show, h.web.Conflicts)
}

// spreadWords says how far a revision has come.
func spreadWords(s nodesEntry) string {
	switch {
	case s.Have >= s.Of && s.Took > 0:
		return fmt.Sprintf("It is on all %d nodes, after %s.", s.Of, web.Took(s.Took))
	case s.Have >= s.Of:
		return fmt.Sprintf("It is on all %d nodes.", s.Of)
	case s.Have <= 1:
		return fmt.Sprintf("It is only on this node of %d so far.", s.Of)
	}
	return fmt.Sprintf("It is on %d of %d nodes so far.", s.Have, s.Of)
}
