package wiki

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/gorilla/mux"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki/merge"
	"github.com/erwik/erwik/wiki/page"
	"github.com/erwik/erwik/wiki/web"
)

// joinBase writes heads as the hidden field of a form.
func joinBase(heads []storage.Hash) string {
	texts := make([]string, len(heads))
	for i, h := range heads {
		texts[i] = h.String()
	}
	return strings.Join(texts, " ")
}

// editPage serves GET /{page}?edit.
func (h *Handler) editPage(w http.ResponseWriter, r *http.Request, name page.Name) error {
	p, _, err := h.lookup(r.Context(), name)
	if err != nil {
		return err
	}
	show := h.editor(p)
	show.Text = string(p.Text)
	if p.Conflict {
		show.Notices = []web.Notice{{Class: "warn", Text: fmt.Sprintf("This page has %d versions that could not be united. Write the text that shall stay; saving it resolves the conflict.", p.Distinct)}}
		show.Clash = &web.Clash{}
		for _, v := range p.Versions {
			show.Clash.Sides = append(show.Clash.Sides, sideOf(v))
		}
		if len(p.Versions) == 2 && !p.Versions[0].Deleted && !p.Versions[1].Deleted {
			show.Merged = merge.Three("", string(p.Versions[0].Text), string(p.Versions[1].Text)).
				WithMarkers(p.Versions[0].Commit.Hash.String()[:10], p.Versions[1].Commit.Hash.String()[:10])
		}
	}
	if !h.guard.mayEdit(r) {
		show.NeedToken = true
	}
	w.Header().Set("Cache-Control", "no-store")
	return answerPage(w, r, http.StatusOK, show, h.web.Edit)
}

// editor is the empty editor of a page.
func (h *Handler) editor(p *page.Page) *web.Edit {
	show := &web.Edit{Chrome: h.pageChrome(p.Name, "edit"), Base: joinBase(p.Heads), Heading: "Edit " + p.Name.Title()}
	show.Chrome.NoIndex = true
	if !p.Live {
		show.Heading, show.Chrome.Missing = "Create "+p.Name.Title(), true
	}
	show.CanManage = p.Live && !p.Starter
	return show
}

// fillIn puts into the editor what the form held.
func (h *Handler) fillIn(show *web.Edit, f *pageForm) {
	show.Text, show.Base = f.text, f.values.Get("base")
	show.Summary, show.Author = f.values.Get("summary"), f.values.Get("author")
}

// sideOf shows one version of a page in conflict.
func sideOf(v page.Version) web.Side {
	side := web.Side{Title: "Version " + v.Commit.Hash.String()[:10] + " by " + v.Commit.Author.Name, Text: string(v.Text)}
	if v.Deleted {
		side.Title += " deletes the page"
	}
	return side
}

// showConflict shows the texts of a clash; saving again is on top of theirs.
func showConflict(show *web.Edit, c *page.ConflictError) {
	show.Clash = &web.Clash{}
	room := maxClashTexts
	for _, v := range c.Unseen {
		side := sideOf(v)
		if room -= len(side.Text); room < 0 {
			side.Title, side.Text = side.Title+" is too long to be shown here", "See the page's history."
		}
		show.Clash.Sides = append(show.Clash.Sides, side)
	}
	if len(c.Unseen) == 0 {
		theirs := web.Side{Title: "Theirs: the page as it is now", Text: string(c.Current.Text)}
		if !c.Current.Live {
			theirs.Title = "Theirs: the page was deleted"
		}
		show.Clash.Sides = append(show.Clash.Sides, theirs)
	}
	if c.Base != nil {
		show.Clash.Sides = append(show.Clash.Sides, web.Side{Title: "Before: what both began with", Text: string(c.Base)})
	}
	show.Merged, show.MergedOpen = c.Marked, true
	show.Base = joinBase(c.Current.Heads)
}

// saveFunc is Save, or something that ends in it.
type saveFunc func(ctx context.Context, e page.Edit) (page.Saved, error)

func (h *Handler) revertTo(rev storage.Hash) saveFunc {
	return func(ctx context.Context, e page.Edit) (page.Saved, error) { return h.pages.Revert(ctx, e, rev) }
}

// pageForm is what the forms of a page send.
type pageForm struct {
	name   page.Name
	values url.Values
	text   string
}

// pagePost serves POST /{page}. Whatever goes wrong, the answer to a form with
// a text holds that text.
func (h *Handler) pagePost(w http.ResponseWriter, r *http.Request) error {
	values, err := h.readForm(w, r)
	if values == nil {
		return err
	}
	raw := mux.Vars(r)["page"]
	if raw == "" {
		raw = string(startPage)
	}
	if bare := strings.TrimRight(raw, "/"); bare != "" {
		raw = bare
	}
	f := &pageForm{values: values, text: strings.ReplaceAll(values.Get("text"), "\r\n", "\n")}
	if err == nil {
		f.name, err = page.ParseName(raw)
	} else if name, nameErr := page.ParseName(raw); nameErr == nil {
		f.name = name
	}
	if err == nil {
		err = h.act(w, r, f)
	}
	if err == nil {
		return nil
	}
	if !values.Has("text") {
		return err
	}
	return h.failEdit(w, r, f, err)
}

// act does what the form's button says.
func (h *Handler) act(w http.ResponseWriter, r *http.Request, f *pageForm) error {
	action := f.values.Get("action")
	if action == "preview" {
		return h.previewPage(w, r, f)
	}
	if !h.guard.mayEdit(r) {
		if !matches(h.guard.edit, f.values.Get("token")) {
			return errNoToken
		}
		h.guard.setCookie(w, r)
	}
	e := page.Edit{Name: f.name, Author: f.values.Get("author"), Summary: f.values.Get("summary")}
	if err := setBase(&e, strings.Fields(f.values.Get("base"))); err != nil {
		return err
	}
	switch action {
	case "save", "":
		if !f.values.Has("text") {
			return badRequest("form", `the field "text" is missing`)
		}
		e.Text = []byte(f.text)
		return h.afterSave(w, r, e, h.pages.Save)
	case "delete":
		e.Delete = true
		return h.afterSave(w, r, e, h.pages.Save)
	case "revert":
		rev, err := storage.ParseHash(f.values.Get("rev"))
		if err != nil {
			return badRequest("rev", "%v", err)
		}
		return h.afterSave(w, r, e, h.revertTo(rev))
	case "move":
		to, err := page.ParseName(f.values.Get("to"))
		if err != nil {
			return err
		}
		saved, err := h.runSave(w, r, func() (page.Saved, error) {
			return h.pages.Move(r.Context(), page.Move{From: f.name, To: to, Author: e.Author, Summary: e.Summary, Base: e.Base})
		})
		if err != nil {
			return err
		}
		http.Redirect(w, r, withQuery(to, "saved", saved.Commit.Hash.String()), http.StatusSeeOther)
		return nil
	}
	return badRequest("action", "%.40q is none of save, preview, delete, move, revert", action)
}

// failEdit shows the editor again, with the text that could not be saved.
func (h *Handler) failEdit(w http.ResponseWriter, r *http.Request, f *pageForm, err error) error {
	p := problemOf(err)
	if errors.Is(err, errNoToken) {
		p.Status = http.StatusForbidden
	}
	h.logProblem(r, p, err)
	setProblemHeaders(w.Header(), p, err)
	now := &page.Page{Name: f.name, View: &page.View{}}
	if f.name != "" {
		if found, pageErr := h.pages.Page(f.name); pageErr == nil {
			now = found
		}
	} else {
		now.Name = "unnamed"
	}
	show := h.editor(now)
	show.CanManage = false
	h.fillIn(show, f)
	show.NeedToken = errors.Is(err, errNoToken)
	notice := web.Notice{Class: "bad", Text: "Not saved. Your text is still below. " + sentence(p.Detail) + " " + sentence(p.Next)}
	if show.NeedToken {
		notice.Text = "Not saved yet: this wiki asks for its edit token. Your text is still below."
		if f.values.Get("token") != "" {
			notice.Text = "Not saved yet: this is not the edit token. Your text is still below."
		}
	}
	if conflict, ok := errors.AsType[*page.ConflictError](err); ok {
		notice.Text = "Not saved yet: others changed the same lines while you wrote. Your text is still below. Put into it what you want to keep of theirs, and save again."
		if n := conflict.Current.Distinct; conflict.Current.Conflict {
			notice.Text = fmt.Sprintf("Not saved yet: this page has %d versions by now that could not be united. Your text is still below. Put into it what you want to keep of those above, and save again: that resolves the conflict.", n)
		}
		showConflict(show, conflict)
	}
	if errors.Is(err, page.ErrUnknownBase) {
		notice.Text = "Not saved yet: no reachable node has the revision that you edited. Your text is still below. Compare it with the page as it is now, and save again."
		show.Base = joinBase(now.Heads)
	}
	show.Notices = []web.Notice{notice}
	return answerPage(w, r, p.Status, show, h.web.Edit)
}

// afterSave saves and sends the reader to the page.
func (h *Handler) afterSave(w http.ResponseWriter, r *http.Request, e page.Edit, save saveFunc) error {
	saved, err := h.runSave(w, r, func() (page.Saved, error) { return save(r.Context(), e) })
	if err != nil {
		return err
	}
	pairs := []string{"saved", saved.Commit.Hash.String()}
	if saved.Merged {
		pairs = append(pairs, "merged", "1")
	}
	if saved.Unchanged {
		pairs = append(pairs, "unchanged", "1")
	}
	http.Redirect(w, r, withQuery(e.Name, pairs...), http.StatusSeeOther)
	return nil
}

// previewPage shows the editor with the text rendered below it.
func (h *Handler) previewPage(w http.ResponseWriter, r *http.Request, f *pageForm) error {
	if len(f.text) > page.MaxText {
		return errBodyTooLarge
	}
	p, err := h.pages.Page(f.name)
	if err != nil {
		return err
	}
	show := h.editor(p)
	h.fillIn(show, f)
	if show.Preview, _, err = h.body(r.Context(), f.name, []byte(f.text)); err != nil {
		return err
	}
	show.NeedToken = !h.guard.mayEdit(r)
	w.Header().Set("Cache-Control", "no-store")
	return answerPage(w, r, http.StatusOK, show, h.web.Edit)
}
