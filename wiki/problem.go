package wiki

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki/page"
)

// Errors of requests; a problem made of one says what to do.
var (
	errTooManyReaders = errors.New("wiki: too many live readers")
	errNoToken        = errors.New("wiki: the edit token is missing or wrong")
	errNotOperator    = errors.New("wiki: the operator key is missing or wrong")
	errCrossOrigin    = errors.New("wiki: the request comes from another site")
	errNoRoute        = errors.New("wiki: nothing is at this address")
	errNoCommit       = errors.New("wiki: no commit with this hash is on this node")
	errDeletes        = errors.New("wiki: this revision deleted the page")
	errBodyTooLarge   = errors.New("wiki: the body is too large")
	errNotJSON        = errors.New("wiki: the body is not declared as JSON")
	errBusyBodies     = errors.New("wiki: too many large requests at once")
)

// requestError is a request that can't be understood.
type requestError struct{ what, why string }

func (e *requestError) Error() string { return fmt.Sprintf("%s: %s", e.what, e.why) }

func badRequest(what, format string, args ...any) error {
	return &requestError{what, fmt.Sprintf(format, args...)}
}

// methodError is a method that an address does not have.
type methodError struct{ method, allow string }

func (e *methodError) Error() string {
	return fmt.Sprintf("method %s is not for this address; there is %s", e.method, e.allow)
}

// problem is an answer of RFC 9457, with a code for programs, what to do next,
// and the texts of a conflict.
type problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail"`
	Code      string `json:"code"`
	Next      string `json:"next,omitempty"`
	RequestID string `json:"request_id"`
	*conflictTexts
}

// maxClashTexts bounds the texts of a page's versions that a conflict answers with,
// in bytes: beside them stand three texts, and one with all of them.
const maxClashTexts = 4 * page.MaxText

// conflictTexts is what a conflict adds to a problem.
type conflictTexts struct {
	Base    *string        `json:"base"`
	Current *string        `json:"current"` // null: the page is deleted
	Yours   *string        `json:"yours"`   // null: you asked to delete it
	Marked  string         `json:"merged_with_markers"`
	Heads   []storage.Hash `json:"heads"`
	// Versions are all of the page as it is now, if that is a conflict.
	Versions []versionEntry `json:"versions,omitempty"`
}

// problemOf says what err means to the client: status, code, words.
func problemOf(err error) *problem {
	p := describe(err)
	p.Type = "about:blank"
	p.Title = http.StatusText(p.Status)
	if p.Status == http.StatusInsufficientStorage {
		p.Title = "Disk nearly full"
	}
	p.Detail = cmp.Or(p.Detail, withoutRooms(err.Error()))
	p.RequestID = rand.Text()[:12]
	return p
}

// withoutRooms takes out of an error's text which packages it came through: that
// is for the log. What stands in quotes is what somebody wrote.
func withoutRooms(text string) string {
	parts := strings.Split(strings.ReplaceAll(text, `\"`, "\x00"), `"`)
	for i := 0; i < len(parts); i += 2 {
		for _, room := range []string{"request: ", "wiki: ", "cluster: ", "events: ", "storage: "} {
			parts[i] = strings.ReplaceAll(parts[i], ": "+room, ": ")
			if i == 0 {
				parts[i] = strings.TrimPrefix(parts[i], room)
			}
		}
	}
	return strings.ReplaceAll(strings.Join(parts, `"`), "\x00", `\"`)
}

// describe is the one table from errors to answers.
func describe(err error) *problem {
	if name, ok := errors.AsType[*page.NameError](err); ok {
		return &problem{Status: 400, Code: "bad_name", Detail: fmt.Sprintf("the %s %q is refused: %s", name.What(), name.Name, name.Why), Next: name.Do}
	}
	if edit, ok := errors.AsType[*page.EditError](err); ok {
		if edit.TooLarge {
			return &problem{Status: 413, Code: "too_large", Next: "divide the page into several"}
		}
		return &problem{Status: 400, Code: "bad_" + edit.Field}
	}
	if request, ok := errors.AsType[*requestError](err); ok {
		return &problem{Status: 400, Code: "bad_request", Detail: withoutRooms(request.Error())}
	}
	if method, ok := errors.AsType[*methodError](err); ok {
		return &problem{Status: 405, Code: "bad_method", Detail: method.Error()}
	}
	if conflict, ok := errors.AsType[*page.ConflictError](err); ok {
		next := "unite yours and current, and save with base set to heads"
		if conflict.Current.Conflict {
			next = "unite yours and all versions, and save with base set to heads"
		} else if !conflict.Current.Live {
			next = "the page was deleted; to save your text all the same set base to heads"
		} else if conflict.Deletes {
			next = "read current; to delete the page all the same set base to heads"
		}
		return &problem{Status: 409, Code: "conflict", conflictTexts: textsOf(conflict), Next: next}
	}
	if conflict, ok := errors.AsType[*page.FileConflictError](err); ok {
		return &problem{
			Status: 409, Code: "conflict", conflictTexts: &conflictTexts{Heads: conflict.Current.Heads},
			Next: "send it with ?base= set to heads, or under another name",
		}
	}
	for _, row := range problemTable {
		if errors.Is(err, row.err) {
			return &problem{Status: row.status, Code: row.code, Next: row.next}
		}
	}
	return &problem{
		Status: 500, Code: "internal", Detail: "this node failed; its log has the reason under this request id",
		Next: "try again, or use another node",
	}
}

// problemTable is never written.
var problemTable = []struct {
	err    error
	status int
	code   string
	next   string
}{
	{page.ErrNoPage, 404, "no_page", "PUT it to create it"},
	{errDeletes, 404, "deleted", "the revisions before it have a text; the page's history lists them"},
	{page.ErrNoFile, 404, "no_file", "PUT it to upload it; /-/files/ lists the files"},
	{errFileTooLarge, 413, "too_large", "a file may have 64 MiB"},
	{errFileAbsent, 503, "file_missing", "try again later, or read it from another node"},
	{page.ErrNoRevision, 404, "no_revision", "the page's history lists its revisions"},
	{errNoCommit, 404, "no_revision", "it may not have come yet: try again, or ask another node"},
	{errNoRoute, 404, "not_found", ""},
	{page.ErrUnknownBase, 409, "unknown_base", "read the page again and redo the edit on its present heads"},
	{page.ErrPageExists, 409, "page_exists", "choose another name, or edit that page"},
	{page.ErrInConflict, 409, "in_conflict", "resolve the conflict first"},
	{page.ErrBusy, 409, "busy", "read the page again and try anew"},
	{errNoToken, 401, "no_token", "send the edit token as Authorization: Bearer"},
	{errNotOperator, 401, "not_operator", "send the operator key of the node's data directory as Authorization: Bearer"},
	{errCrossOrigin, 403, "cross_origin", "send the request from a page of this wiki"},
	{errBodyTooLarge, 413, "too_large", "a page may have 1 MiB"},
	{errNotJSON, 415, "not_json", "send Content-Type: application/json"},
	{errBusyBodies, 503, "busy", "try again in a moment"},
	{errBusy, 503, "busy", "try again in a few seconds, or use another node"},
	{errBusyShare, 429, "busy", "try again in a few seconds"},
	{errTooManyReaders, 503, "too_many_readers", "try again later, or read from another node"},
	{storage.ErrDiskFull, 507, "disk_full", "free space on the node's disk, or save on another node"},
	{storage.ErrTooLarge, 413, "too_large", ""},
	{storage.ErrInvalid, 400, "invalid", ""},
	{storage.ErrPoisoned, 503, "store_failed", "a write has failed on this node; whether this save was kept is unknown: restart the node, or use another one"},
	{storage.ErrClosed, 503, "closing", "the node is being stopped; use another one"},
	{context.DeadlineExceeded, 503, "timeout", "try again"},
	{context.Canceled, 503, "canceled", "try again"},
}

func textsOf(e *page.ConflictError) *conflictTexts {
	texts := &conflictTexts{Marked: e.Marked, Heads: e.Current.Heads, Versions: versionEntries(e.Current, maxClashTexts)}
	if e.Base != nil {
		texts.Base = new(string(e.Base))
	}
	if e.Current.Live {
		texts.Current = new(string(e.Current.Text))
	}
	if !e.Deletes {
		texts.Yours = new(string(e.Yours))
	}
	return texts
}

// logProblem counts a problem, and notes a failure that is this node's own.
func (h *Handler) logProblem(r *http.Request, p *problem, err error) {
	h.metrics.Problem(p.Code)
	if p.Status >= 500 && p.Status != http.StatusServiceUnavailable {
		h.log.Error("request failed", "request_id", p.RequestID, "method", r.Method, "path", r.URL.Path, "status", p.Status, "err", err)
		return
	}
	h.log.Debug("request refused", "request_id", p.RequestID, "method", r.Method, "path", r.URL.Path, "status", p.Status, "err", err)
}

// failJSON answers with err as problem+json.
func (h *Handler) failJSON(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	if r.Method == http.MethodDelete && p.Status == http.StatusNotFound {
		p.Next = "" // to create it is not what was wanted
	}
	h.logProblem(r, p, err)
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(p); err != nil {
		h.log.Error("encode problem", "err", err)
	}
	body := buffer.Bytes()
	setProblemHeaders(w.Header(), p, err)
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		// The client may be gone; nobody is left to tell.
		_, _ = w.Write(body)
	}
}

// setProblemHeaders sets the headers that go with a status.
func setProblemHeaders(header http.Header, p *problem, err error) {
	header.Set("Cache-Control", "no-store")
	header.Set("X-Request-Id", p.RequestID)
	header.Del("Etag")
	if method, ok := errors.AsType[*methodError](err); ok {
		header.Set("Allow", method.allow)
	}
	switch p.Status {
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", `Bearer realm="erwik"`)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		header.Set("Retry-After", retryAfter())
		if p.Code == "file_missing" {
			header.Set("Retry-After", "10")
		}
	}
}
