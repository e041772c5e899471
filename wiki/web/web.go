package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"strings"
	"time"
)

// Policy is the Content-Security-Policy under which all pages work.
const Policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

//go:embed templates
var templates embed.FS

//go:embed assets
var assets embed.FS

// Writer writes pages. Make one with [New].
type Writer struct {
	site      string
	templates *template.Template
	assets    map[string]asset // by the path below [Static]
	css       string
	js        string
	icon      string
}

type asset struct {
	body        []byte
	contentType string
}

// Static is below which path the style sheet and its like are served.
const Static = "/-/static/"

// New returns a writer for a wiki of this name.
func New(site string) (*Writer, error) {
	t, err := template.ParseFS(templates, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("parse the pages' templates: %w", err)
	}
	w := &Writer{site: site, templates: t, assets: map[string]asset{}}
	for _, a := range []struct {
		file, contentType string
		url               *string
	}{
		{"style.css", "text/css; charset=utf-8", &w.css},
		{"wiki.js", "text/javascript; charset=utf-8", &w.js},
		{"icon.svg", "image/svg+xml", &w.icon},
	} {
		body, err := assets.ReadFile("assets/" + a.file)
		if err != nil {
			return nil, fmt.Errorf("read asset: %w", err)
		}
		sum := sha256.Sum256(body)
		name := hex.EncodeToString(sum[:6]) + "/" + a.file
		w.assets[name] = asset{body, a.contentType}
		*a.url = Static + name
	}
	return w, nil
}

// ServeHTTP serves the assets, whose addresses change with their bytes.
func (w *Writer) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	a, ok := w.assets[strings.TrimPrefix(r.URL.Path, Static)]
	if !ok {
		http.NotFound(rw, r)
		return
	}
	h := rw.Header()
	h.Set("Content-Type", a.contentType)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Content-Length", fmt.Sprint(len(a.body)))
	if r.Method == http.MethodHead {
		return
	}
	// The client may be gone; nobody is left to tell.
	_, _ = rw.Write(a.body)
}

// Site returns the name of the wiki.
func (w *Writer) Site() string { return w.site }

// Chrome is what stands around the content of every page.
type Chrome struct {
	Title     string
	Page      string // the page's name, or empty
	URL       string // its address
	Commit    string // its revision, for the script
	Active    string // which link of the head is current: read, edit, history, recent
	Missing   bool   // the page can be created
	NoIndex   bool
	Folders   []Link
	Node      string
	Revision  *Revision
	Conflicts template.HTML // see ConflictsLink
	Spread    template.HTML // see SpreadNote

	// Filled in by the Writer.
	Site, CSS, JS, Icon string
}

// Link is an address and what is written on it.
type Link struct{ URL, Text string }

// Time is a moment, for people and for programs.
type Time struct{ at time.Time }

// At returns t in UTC.
func At(t time.Time) Time { return Time{t.UTC()} }

// Machine is RFC 3339.
func (t Time) Machine() string { return t.at.Format(time.RFC3339) }

// Human is what people read.
func (t Time) Human() string { return t.at.Format("2 January 2006, 15:04 UTC") }

// Clock is the time of day.
func (t Time) Clock() string { return t.at.Format("15:04") }

// Day is the date.
func (t Time) Day() string { return t.at.Format("Monday, 2 January 2006") }

// Revision is one revision of a page as lists and footers show it.
type Revision struct {
	Hash, Short string
	URL         string // shows it
	DiffURL     string // shows what it changed
	Page        string
	PageURL     string
	Author      string
	Node        string
	Summary     string
	From        string // the old name, where a move made it
	Time        Time
	File        bool   // of a file; Page is then its name below "-/files/"
	FileName    string // its name alone
	Deleted     bool
	Current     bool
	PickFrom    bool
	PickTo      bool
}

// Notice is a message above the content.
type Notice struct {
	Class  string // "", "warn", "bad", "saved"
	Text   string
	Links  []Link
	Spread string // how far a save has come
	Live   bool   // screen readers announce it
}

// ConflictsLink is the link to the list of conflicts, with their number.
func ConflictsLink(n int) template.HTML {
	if n == 0 {
		return `<a href="/-/conflicts">Conflicts</a>`
	}
	return template.HTML(fmt.Sprintf(`<a href="/-/conflicts">Conflicts<span class="count">%d</span></a>`, n))
}

// Took is a short time as people read it.
func Took(ms float64) string {
	switch {
	case ms < 10:
		return fmt.Sprintf("%.1f ms", ms)
	case ms < 1000:
		return fmt.Sprintf("%.0f ms", ms)
	case ms < 100_000:
		return fmt.Sprintf("%.1f s", ms/1000)
	}
	return fmt.Sprintf("%.0f min", ms/60_000)
}

// SpreadNote says how many nodes hold the revision, and after what time all
// did, if that is known; nothing where there is only this one.
func SpreadNote(have, of int, ms float64) template.HTML {
	if of <= 1 {
		return ""
	}
	state := "partial"
	if have >= of {
		state = "whole"
	}
	after := ""
	if ms > 0 {
		after = ", " + Took(ms)
	}
	return template.HTML(fmt.Sprintf(` · <span data-spread="%s">on %d of %d nodes%s</span>`, state, have, of, after))
}

func (w *Writer) fill(c *Chrome) {
	c.Site, c.CSS, c.JS, c.Icon = w.site, w.css, w.js, w.icon
}

func (w *Writer) write(out io.Writer, name string, c *Chrome, data any) error {
	w.fill(c)
	if err := w.templates.ExecuteTemplate(out, name, data); err != nil {
		return fmt.Errorf("write page %q: %w", name, err)
	}
	return nil
}
