package wiki

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// TestMemoryOfRequests: a body, and the texts of a conflict, count until the answer
// begins to be sent. Where that would be too much the client is to come again, nothing is
// saved, and in the end nothing is counted any more.
func TestMemoryOfRequests(t *testing.T) {
	h, _ := openHandler(t)
	var counted, held int64 // what the request takes when its answer begins and while it is sent, of the counter that is looked at
	put := func(look *atomic.Int64, text string, base ...string) (int, http.Header, map[string]any) {
		t.Helper()
		before := look.Load()
		body, _ := json.Marshal(map[string]any{"text": text, "author": "Ann", "base": base})
		r := httptest.NewRequest("PUT", apiPrefix+"v1/pages/Large", strings.NewReader(string(body)))
		r.Header.Set("Content-Type", "application/json")
		w := &watchedWriter{ResponseRecorder: httptest.NewRecorder(), seen: func() { counted = look.Load() - before }, body: func() { held = look.Load() - before }}
		h.ServeHTTP(w, r)
		if after := look.Load(); after != before {
			t.Errorf("%d bytes are still counted", after-before)
		}
		var answer map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Fatalf("%v: %.200s", err, w.Body)
		}
		return w.Code, w.Header(), answer
	}
	large := strings.Repeat("a line\n", 10_000)
	status, _, first := put(&h.bodyBytes, large)
	if status != 201 || counted < int64(len(large)) {
		t.Fatalf("%d %v, %d bytes were counted, the text has %d", status, first, counted, len(large))
	}
	base := first["commit"].(string)

	h.bodyBytes.Store(maxBodyMemory - 1000)
	status, header, answer := put(&h.bodyBytes, large+"more\n", base)
	if status != 503 || header.Get("Retry-After") == "" || answer["code"] != "busy" {
		t.Errorf("no room for a body: %d %v %v", status, header, answer)
	}
	h.bodyBytes.Store(0)
	if status, _, answer = put(&h.bodyBytes, large+"theirs\n", base); status != 200 {
		t.Fatalf("room for the body: %d %v", status, answer)
	}
	theirs := answer["commit"]

	h.answerBytes.Store(maxAnswerMemory - 1000)
	status, header, answer = put(&h.answerBytes, large+"mine\n", base)
	if status != 503 || header.Get("Retry-After") == "" || answer["code"] != "busy" {
		t.Errorf("no room for the texts of a conflict: %d %v %v", status, header, answer["code"])
	}
	h.answerBytes.Store(0)
	status, _, answer = put(&h.answerBytes, large+"mine\n", base)
	if heads, _ := answer["heads"].([]any); status != 409 || answer["current"] != large+"theirs\n" || len(heads) != 1 || heads[0] != theirs {
		t.Errorf("room for them: %d, heads %v, saved was %v", status, answer["heads"], theirs)
	}
	if counted < 4*int64(len(large)) {
		t.Errorf("%d bytes were counted for a conflict of four texts of %d", counted, len(large))
	}
	if len(answer["merged_with_markers"].(string)) == 0 || held >= counted {
		t.Errorf("%d bytes were counted before the answer was sent, and %d while a slow reader takes it", counted, held)
	}
}

// TestKeepAlone: more than there may be is kept for one, if nobody else keeps anything:
// it would be refused for ever.
func TestKeepAlone(t *testing.T) {
	var all atomic.Int64
	one, other := &recorder{}, &recorder{}
	if !keep(one, &all, 500_000, 100_000) {
		t.Error("one alone is refused")
	}
	if keep(other, &all, 20_000, 100_000) {
		t.Error("a second one is let in")
	}
	if one.forget(); all.Load() != 0 || !keep(other, &all, 20_000, 100_000) {
		t.Errorf("%d bytes are still counted", all.Load())
	}
}

// watchedWriter looks at something when the answer begins, and when its body does.
type watchedWriter struct {
	*httptest.ResponseRecorder
	seen, body func()
}

func (w *watchedWriter) WriteHeader(code int) {
	w.seen()
	w.ResponseRecorder.WriteHeader(code)
}

func (w *watchedWriter) Write(b []byte) (int, error) {
	w.body()
	return w.ResponseRecorder.Write(b)
}
