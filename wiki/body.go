package wiki

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/erwik/erwik/wiki/page"
)

// The limits of bodies, in bytes. A text in JSON may be six times as long as
// it is, one in a form three times.
const (
	maxJSONBody = 6*page.MaxText + 64<<10
	maxFormBody = 8 << 20
)

// readBody reads a body of at most limit bytes; one that says that it is
// longer is not read at all. Of one that turns out to be longer, it returns
// the beginning and errBodyTooLarge. The body counts until the answer begins to be
// sent; if that is too much, it returns the body with errBusyBodies.
func (h *Handler) readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, errBodyTooLarge
	}
	if r.ContentLength < 0 || r.ContentLength > largeBody {
		select {
		case h.bodies <- struct{}{}:
			defer func() { <-h.bodies }()
			limitBody(r, time.Now().Add(largeBodyTime))
		case <-r.Context().Done():
			return nil, errBusyBodies
		}
	}
	var buffer bytes.Buffer
	if r.ContentLength > 0 {
		buffer.Grow(int(min(r.ContentLength, smallBody)) + bytes.MinRead)
	}
	in := &boundedBody{in: io.LimitReader(r.Body, limit+1), inUse: &h.bodyBytes}
	defer in.release()
	if _, err := buffer.ReadFrom(in); err != nil {
		if errors.Is(err, errBusyBodies) {
			return nil, err
		}
		return nil, badRequest("body", "it ended early: %v", err)
	}
	in.release()
	body := buffer.Bytes()[:min(int64(buffer.Len()), limit)]
	if !keep(w, &h.bodyBytes, buffer.Cap(), maxBodyMemory) {
		return body, errBusyBodies
	}
	if int64(buffer.Len()) > limit {
		return body, errBodyTooLarge
	}
	return body, nil
}

// boundedBody counts the bytes of a body that are kept in memory.
type boundedBody struct {
	in    io.Reader
	inUse *atomic.Int64
	read  int64
	taken int64
}

// Read implements io.Reader.
func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.in.Read(p)
	b.read += int64(n)
	// A buffer that grows has up to three times what is in it.
	if want := 3*b.read - b.taken; b.read > smallBody && want > 0 {
		b.taken += want
		if b.inUse.Add(want) > maxBodyMemory {
			return n, errBusyBodies
		}
	}
	return n, err
}

// release gives back what was counted; it may be called again.
func (b *boundedBody) release() {
	b.inUse.Add(-b.taken)
	b.taken = 0
}

// readJSONBody reads a body that is declared as JSON.
func (h *Handler) readJSONBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if declared := r.Header.Get("Content-Type"); declared != "application/json" {
		if kind, _, err := mime.ParseMediaType(declared); err != nil || kind != "application/json" {
			return nil, errNotJSON
		}
	}
	return h.readBody(w, r, maxJSONBody)
}

// readJSON reads one JSON value into v and refuses fields that v does not
// have.
func (h *Handler) readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	body, err := h.readJSONBody(w, r)
	if err != nil {
		return err
	}
	return parseJSON(body, v)
}

// parseJSON reads the one JSON value of body into v. The package encoding/json
// would put U+FFFD where a text is not valid; here such a text is refused.
func parseJSON(body []byte, v any) error {
	if !utf8.Valid(body) {
		return badRequest("body", "it is not valid UTF-8")
	}
	if halfSurrogate(body) {
		return badRequest("body", "it holds half of a surrogate pair")
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return badRequest("body", "%s", jsonMistake(err))
	}
	if decoder.More() {
		return badRequest("body", "something follows the JSON value")
	}
	return nil
}

// halfSurrogate reports whether JSON text holds an escaped surrogate that is
// not half of a pair, which is no character.
func halfSurrogate(body []byte) bool {
	for {
		at := bytes.IndexByte(body, '\\')
		if at < 0 || at+2 > len(body) {
			return false
		}
		body = body[at:]
		first := escapedUnit(body)
		switch {
		case first < 0xd800 || first > 0xdfff:
			body = body[2:]
		case first > 0xdbff:
			return true
		default:
			if second := escapedUnit(body[6:]); second < 0xdc00 || second > 0xdfff {
				return true
			}
			body = body[12:]
		}
	}
}

// escapedUnit returns the number written by a backslash, u and four hex
// digits at the front of b, or -1.
func escapedUnit(b []byte) int {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return int(n)
}

// jsonMistake says in our words what is wrong.
func jsonMistake(err error) string {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Sprintf("field %q can't be a JSON %s", wrong.Field, wrong.Value)
	}
	if wrong, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Sprintf("no valid JSON at byte %d", wrong.Offset)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "the JSON ends early"
	}
	return err.Error()
}

// readForm reads a form as browsers send it. Of one that is too long it
// returns what it read, with errBodyTooLarge, and of one for which there is no
// room all of it, with errBusyBodies.
func (h *Handler) readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, badRequest("form", "send it as application/x-www-form-urlencoded")
	}
	body, refused := h.readBody(w, r, maxFormBody)
	if refused != nil && len(body) == 0 {
		return nil, refused
	}
	form, err := url.ParseQuery(string(body))
	if refused != nil {
		return form, refused
	}
	if err != nil {
		return form, badRequest("form", "%v", err)
	}
	return form, nil
}

// answerJSON sends v.
func answerJSON(w http.ResponseWriter, r *http.Request, status int, v any) error {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	header := w.Header()
	header["Content-Type"] = valueJSON
	if header.Get("Cache-Control") == "" {
		header["Cache-Control"] = valueNoCache
	}
	answer(w, r, status, buffer.Bytes())
	return nil
}

// answerText sends plain text.
func answerText(w http.ResponseWriter, r *http.Request, status int, text string) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	answer(w, r, status, []byte(text))
	return nil
}

// answerPage writes a page for people and sends it.
func answerPage[P any](w http.ResponseWriter, r *http.Request, status int, p P, write func(io.Writer, P) error) error {
	var buffer bytes.Buffer
	if err := write(&buffer, p); err != nil {
		return err
	}
	header := w.Header()
	header["Content-Type"] = valueHTML
	if header.Get("Cache-Control") == "" {
		header["Cache-Control"] = valueNoCache
	}
	answer(w, r, status, buffer.Bytes())
	return nil
}

func answer(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		// The client may be gone; nobody is left to tell.
		_, _ = w.Write(body)
	}
}
