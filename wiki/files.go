package wiki

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki/markdown"
	"github.com/erwik/erwik/wiki/page"
)

// filesPath is below which address files are.
const filesPath = "/" + page.FilesFolder

// Errors about files.
var (
	errFileTooLarge = errors.New("wiki: the file is too large")
	errFileAbsent   = errors.New("wiki: the bytes of this file are not on this node yet, and no node that has them answers in time")
)

// ChunkFetcher brings parts of files that are not here from other nodes.
type ChunkFetcher interface {
	// FetchChunk returns when the chunk is here, when nobody reachable has
	// it, or when ctx ends.
	FetchChunk(ctx context.Context, m storage.MissingChunk) error
}

// FileChunks is what the wiki needs of package storage for the bytes of files.
type FileChunks interface {
	ReadFile(ctx context.Context, r io.Reader, most int64) (*storage.Upload, error)
	OpenChunk(id storage.ChunkID) (*storage.Chunk, error)
	Recheck(h storage.Hash) (missing int, err error)
}

func fileURL(name page.FileName) string { return markdown.URL(name.Shown()) }

// fileName reads a file's name in an address.
func fileName(r *http.Request) (page.FileName, error) {
	return page.ParseFileName(mux.Vars(r)["path"])
}

// getFile serves GET /-/files/{path} and what its query asks for.
func (h *Handler) getFile(w http.ResponseWriter, r *http.Request) error {
	name, err := fileName(r)
	if err != nil {
		return err
	}
	if string(name) != mux.Vars(r)["path"] {
		target := fileURL(name)
		if r.URL.RawQuery != "" {
			target += "?" + r.URL.RawQuery
		}
		http.Redirect(w, r, target, http.StatusPermanentRedirect)
		return nil
	}
	query := r.URL.Query()
	if query.Has("history") || query.Has("edit") {
		return h.filePage(w, r, name)
	}
	if rev := query.Get("rev"); rev != "" {
		hash, err := storage.ParseHash(rev)
		if err != nil {
			return badRequest("rev", "%v", err)
		}
		v, err := h.pages.FileRevision(name, hash)
		if err != nil {
			return err
		}
		if v.Manifest == nil {
			return page.ErrNoFile
		}
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		return h.sendFile(w, r, name, v)
	}
	f, err := h.pages.File(name)
	if err != nil {
		return err
	}
	if !f.Live {
		return h.missingFile(w, r, f)
	}
	w.Header()["Cache-Control"] = valueNoCache
	return h.sendFile(w, r, name, f.Shown)
}

// fileTag is the entity tag of a revision of a file.
func fileTag(v *page.FileVersion) string {
	sum := sha256.Sum256(v.Manifest.Encode())
	return `"` + hex.EncodeToString(sum[:16]) + `"`
}

// sendFile streams a file.
func (h *Handler) sendFile(w http.ResponseWriter, r *http.Request, name page.FileName, v *page.FileVersion) error {
	header := w.Header()
	etag := fileTag(v)
	header["Etag"] = []string{etag}
	if match := r.Header.Get("If-None-Match"); match != "" && etagMatches(match, etag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	content := h.openFile(r.Context(), v)
	defer content.Close()
	var head []byte
	if _, known := fileTypes[strings.ToLower(extension(name))]; !known || r.Method != http.MethodHead {
		if v.Manifest.Size > 0 {
			if err := content.open(int(rangeStart(r, v.Manifest.Size) / storage.FileChunk)); err != nil {
				return err
			}
		}
	}
	if len(v.Manifest.Chunks) > 0 && content.chunk != nil && content.index == 0 {
		head = make([]byte, min(512, content.chunk.Size))
		if _, err := content.chunk.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	contentType, inline := typeOf(string(name), head)
	header.Set("Content-Type", contentType)
	header.Set("Content-Security-Policy", filePolicy)
	if contentType == "application/pdf" {
		header.Set("Content-Security-Policy", pdfPolicy)
	}
	disposition := "attachment"
	if inline {
		disposition = "inline"
	}
	header.Set("Content-Disposition", mime.FormatMediaType(disposition, map[string]string{"filename": name.Title()}))
	http.ServeContent(w, r, "", time.Time{}, content)
	return nil
}

func extension(name page.FileName) string {
	title := name.Title()
	if at := strings.LastIndexByte(title, '.'); at >= 0 {
		return title[at:]
	}
	return ""
}

// fileEdit reads what a request wants of a file, but for its bytes.
func fileEdit(name page.FileName, get func(string) string, bases []string) (page.FileEdit, error) {
	e := page.FileEdit{Name: name, Author: get("author"), Summary: get("summary")}
	var fields []string
	for _, value := range bases {
		fields = append(fields, strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })...)
	}
	var base page.Edit
	err := setBase(&base, fields)
	e.Base, e.OnTop = base.Base, base.OnTop
	return e, err
}

// fileAnswer is what a save of a file says.
type fileAnswer struct {
	Path   page.FileName  `json:"path"`
	Commit storage.Hash   `json:"commit"`
	Heads  []storage.Hash `json:"heads"`
	Merged bool           `json:"merged"`
	Size   int64          `json:"size"`
	SHA256 string         `json:"sha256,omitempty"`
}

func (h *Handler) putFile(w http.ResponseWriter, r *http.Request) error {
	if !h.guard.mayEdit(r) {
		return errNoToken
	}
	name, err := fileName(r)
	if err != nil {
		return err
	}
	if r.ContentLength > storage.MaxFile {
		return errFileTooLarge
	}
	query := r.URL.Query()
	e, err := fileEdit(name, query.Get, query["base"])
	if err != nil {
		return err
	}
	saved, m, err := h.saveFile(w, r, e, r.Body)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if saved.Created {
		status = http.StatusCreated
		w.Header().Set("Location", fileURL(name))
	}
	return answerJSON(w, r, status, fileAnswer{name, saved.Commit.Hash, saved.Heads, false, m.Size, hex.EncodeToString(m.SHA256[:])})
}

// saveFile takes the bytes of a file in and saves it.
func (h *Handler) saveFile(w http.ResponseWriter, r *http.Request, e page.FileEdit, body io.Reader) (page.Saved, *storage.Manifest, error) {
	ctx := r.Context()
	if err := h.pages.CheckFile(ctx, e); err != nil {
		return page.Saved{}, nil, err
	}
	host := h.door.hostOf(r)
	if err := h.door.uploads.enter(ctx, host); err != nil {
		return page.Saved{}, nil, err
	}
	defer h.door.uploads.leave(host)
	upload, err := h.store.ReadFile(ctx, &patientBody{in: body, request: r}, storage.MaxFile)
	if err != nil {
		if errors.Is(err, storage.ErrTooLarge) {
			err = errFileTooLarge
		}
		return page.Saved{}, nil, err
	}
	e.Manifest = upload.Manifest()
	saved, err := h.runSave(w, r, func() (page.Saved, error) { return h.pages.SaveFile(ctx, e) })
	if releaseErr := upload.Release(); releaseErr != nil {
		h.log.Error("throw away what an upload left", "err", releaseErr)
	}
	return saved, e.Manifest, err
}

// patientBody gives the client time for each MiB, and marks its own errors.
type patientBody struct {
	in      io.Reader
	request *http.Request
	left    int
}

// Read implements io.Reader.
func (b *patientBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		limitBody(b.request, time.Now().Add(uploadTime))
		b.left = storage.FileChunk
	}
	n, err := b.in.Read(p)
	b.left -= n
	if err != nil && err != io.EOF {
		err = badRequest("body", "it ended early: %v", err)
	}
	return n, err
}

// removeFile saves that a file is deleted; fields are those of a query or a form.
func (h *Handler) removeFile(w http.ResponseWriter, r *http.Request, name page.FileName, fields url.Values) (page.Saved, error) {
	e, err := fileEdit(name, fields.Get, fields["base"])
	if err != nil {
		return page.Saved{}, err
	}
	e.Delete = true
	saved, err := h.runSave(w, r, func() (page.Saved, error) { return h.pages.SaveFile(r.Context(), e) })
	return saved, err
}

func (h *Handler) deleteFile(w http.ResponseWriter, r *http.Request) error {
	if !h.guard.mayEdit(r) {
		return errNoToken
	}
	name, err := fileName(r)
	if err != nil {
		return err
	}
	saved, err := h.removeFile(w, r, name, r.URL.Query())
	if err != nil {
		return err
	}
	return answerJSON(w, r, http.StatusOK, fileAnswer{Path: name, Commit: saved.Commit.Hash, Heads: saved.Heads})
}

// fileItem is a file in a list.
type fileItem struct {
	Path     page.FileName  `json:"path"`
	Size     int64          `json:"size"`
	SHA256   string         `json:"sha256"`
	Commit   storage.Hash   `json:"commit"`
	Heads    []storage.Hash `json:"heads"`
	Time     time.Time      `json:"time"`
	Author   string         `json:"author"`
	Missing  int64          `json:"missing"` // bytes that are not on this node yet
	Conflict bool           `json:"conflict"`
}

func (h *Handler) apiFiles(w http.ResponseWriter, r *http.Request) error {
	limit, err := limitOf(r)
	if err != nil {
		return err
	}
	query := r.URL.Query()
	files, next, err := h.pages.Files(query.Get("prefix"), query.Get("cursor"), limit)
	if err != nil {
		return err
	}
	items := make([]fileItem, len(files))
	for i, f := range files {
		v := f.Shown
		items[i] = fileItem{
			Path: f.Name, Size: v.Manifest.Size, SHA256: hex.EncodeToString(v.Manifest.SHA256[:]), Commit: v.Hash, Heads: f.Heads,
			Time: unixTime(v.Author.Time), Author: v.Author.Name, Missing: v.Missing, Conflict: f.Conflict,
		}
	}
	return answerJSON(w, r, http.StatusOK, listOf(items, next))
}

// humanSize is a size for people.
func humanSize(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d bytes", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}
