package wiki

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki/page"
	"github.com/erwik/erwik/wiki/web"
)

// filesLength is how many files a page of the list has.
const filesLength = 100

// filesPage serves GET /-/files/: the list, and the form for a new one.
func (h *Handler) filesPage(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	show := &web.Files{Chrome: h.chrome("Files"), Prefix: query.Get("prefix"), Form: h.fileForm(r)}
	show.Form.Path = query.Get("path")
	files, next, err := h.pages.Files(show.Prefix, query.Get("cursor"), filesLength)
	if err != nil {
		return err
	}
	show.Chrome.Active, show.Chrome.NoIndex = "files", true
	for _, f := range files {
		show.Items = append(show.Items, h.fileRow(f.Shown, f.Name, f.Conflict))
	}
	if next != "" {
		show.NextURL = filesPath + "?" + url.Values{"prefix": {show.Prefix}, "cursor": {next}}.Encode()
	}
	return answerPage(w, r, http.StatusOK, show, h.web.Files)
}

func (h *Handler) fileForm(r *http.Request) web.FileForm {
	return web.FileForm{Action: filesPath, NeedToken: !h.guard.mayEdit(r), Most: humanSize(storage.MaxFile)}
}

// fileRow describes a revision of a file.
func (h *Handler) fileRow(v *page.FileVersion, name page.FileName, conflict bool) web.FileRow {
	row := web.FileRow{Revision: h.revision(v.Commit), Name: string(name), Conflict: conflict}
	if v.Manifest != nil {
		row.Size = humanSize(v.Manifest.Size)
	}
	if v.Missing > 0 {
		row.Missing = humanSize(v.Missing)
	}
	return row
}

// filePage serves GET /-/files/{path}?history: revisions, and forms to replace
// or delete the file.
func (h *Handler) filePage(w http.ResponseWriter, r *http.Request, name page.FileName) error {
	before, err := arrivalOf(r)
	if err != nil {
		return err
	}
	revisions, err := h.pages.FileHistory(name, before, historyLength+1)
	if err != nil {
		return err
	}
	revisions, next := upTo(historyLength, revisions)
	f, err := h.pages.File(name)
	if err != nil {
		return err
	}
	if len(revisions) == 0 && before == 0 {
		return h.missingFile(w, r, f)
	}
	show := &web.File{Chrome: h.chrome(name.Title()), Name: string(name), URL: fileURL(name), Live: f.Live, Image: f.Live && isImage(string(name)), Form: h.fileForm(r)}
	show.Chrome.NoIndex = true
	show.Form.Action, show.Form.Fixed, show.Form.Base = show.URL, true, joinBase(f.Heads)
	if f.Conflict {
		show.Versions = len(f.Versions)
	}
	for _, c := range revisions {
		v, err := h.pages.FileRevision(name, c.Hash)
		if err != nil {
			return err
		}
		row := h.fileRow(v, name, false)
		row.Current = isHead(f.Heads, c.Hash)
		show.Items = append(show.Items, row)
	}
	if next != "" {
		show.NextURL = show.URL + "?history&cursor=" + next
	}
	return answerPage(w, r, http.StatusOK, show, h.web.File)
}

// missingFile offers to upload a file; the status is 404 all the same.
func (h *Handler) missingFile(w http.ResponseWriter, r *http.Request, f *page.File) error {
	if wantsJSON(r) {
		return page.ErrNoFile
	}
	show := &web.Files{Chrome: h.chrome(f.Name.Title()), Form: h.fileForm(r), Missing: string(f.Name)}
	show.Form.Path = string(f.Name)
	if len(f.Heads) > 0 {
		show.HistoryURL = fileURL(f.Name) + "?history"
	}
	show.Chrome.NoIndex = true
	w.Header().Del("Cache-Control")
	return answerPage(w, r, http.StatusNotFound, show, h.web.Files)
}

// The limits of the form's fields, in bytes and number.
const (
	maxField  = 64 << 10
	maxFields = 16
)

// filesPost serves the form of the list; filePost that of one file.
func (h *Handler) filesPost(w http.ResponseWriter, r *http.Request) error {
	return h.uploadForm(w, r, "")
}

func (h *Handler) filePost(w http.ResponseWriter, r *http.Request) error {
	name, err := fileName(r)
	if err != nil {
		return err
	}
	return h.uploadForm(w, r, name)
}

// uploadForm reads a form with a file in it, part by part: the file is last and
// is never whole in memory.
func (h *Handler) uploadForm(w http.ResponseWriter, r *http.Request, name page.FileName) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err == nil && kind == "application/x-www-form-urlencoded" {
		form, err := h.readForm(w, r)
		if err != nil {
			return err
		}
		return h.fileAction(w, r, name, form)
	}
	if !h.guard.mayEdit(r) && h.guard.edit == nil {
		return errNoToken
	}
	parts, err := r.MultipartReader()
	if err != nil {
		if !h.guard.mayEdit(r) {
			return errNoToken
		}
		return badRequest("form", "send it as multipart/form-data: %v", err)
	}
	if r.ContentLength > storage.MaxFile+maxField {
		return errFileTooLarge
	}
	fields := url.Values{}
	for range maxFields {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return badRequest("form", "it ended early: %v", err)
		}
		if part.FormName() == "file" {
			return h.uploadPart(w, r, name, fields, part)
		}
		value, err := io.ReadAll(io.LimitReader(part, maxField))
		if err != nil {
			return badRequest("form", "it ended early: %v", err)
		}
		fields.Add(part.FormName(), string(value))
	}
	if !h.allow(w, r, fields) {
		return errNoToken
	}
	return badRequest("form", `the field "file" is missing`)
}

// allow reports whether whoever sends a form may edit, by the form's token too.
func (h *Handler) allow(w http.ResponseWriter, r *http.Request, form url.Values) bool {
	if h.guard.mayEdit(r) {
		return true
	}
	if !matches(h.guard.edit, form.Get("token")) {
		return false
	}
	h.guard.setCookie(w, r)
	return true
}

// uploadPart saves the file of a form.
func (h *Handler) uploadPart(w http.ResponseWriter, r *http.Request, name page.FileName, fields url.Values, part *multipart.Part) error {
	if !h.allow(w, r, fields) {
		return errNoToken
	}
	if part.FileName() == "" {
		return badRequest("form", "no file was chosen")
	}
	if name == "" {
		raw := strings.TrimSpace(fields.Get("path"))
		if raw == "" || strings.HasSuffix(raw, "/") {
			raw += path.Base(strings.ReplaceAll(part.FileName(), `\`, "/"))
		}
		var err error
		if name, err = page.ParseFileName(raw); err != nil {
			return err
		}
	}
	e, err := fileEdit(name, fields.Get, fields["base"])
	if err != nil {
		return err
	}
	if _, _, err := h.saveFile(w, r, e, part); err != nil {
		return err
	}
	http.Redirect(w, r, fileURL(name)+"?history", http.StatusSeeOther)
	return nil
}

// fileAction does what a form without a file asks for.
func (h *Handler) fileAction(w http.ResponseWriter, r *http.Request, name page.FileName, form url.Values) error {
	if !h.allow(w, r, form) {
		return errNoToken
	}
	if name == "" || form.Get("action") != "delete" {
		return badRequest("form", "send a file as multipart/form-data, or action=delete to the address of one")
	}
	if _, err := h.removeFile(w, r, name, form); err != nil {
		return err
	}
	http.Redirect(w, r, fileURL(name)+"?history", http.StatusSeeOther)
	return nil
}

// wantsJSON reports whether an error below /-/files/ is for a program: no form
// sends these methods, and a browser does not ask for JSON.
func wantsJSON(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, filesPath) &&
		(r.Method == http.MethodPut || r.Method == http.MethodDelete || strings.Contains(r.Header.Get("Accept"), "json"))
}
