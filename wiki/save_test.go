package wiki_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki"
)

const five = "1\n2\n3\n4\n5\n"

func TestSaveOnABase(t *testing.T) {
	const name = "Page"
	tests := []struct {
		testName string
		// history makes the page and returns the base of the edit.
		history  func(w *world) []string
		text     string
		status   int
		code     string // of a problem
		want     string // the page's text afterwards, if it is saved
		merged   bool
		noCommit bool
	}{
		{"new page", func(*world) []string { return nil }, five, 201, "", five, false, false},
		{"on its head", func(w *world) []string { return []string{w.put(name, five)} }, "x\n", 200, "", "x\n", false, false},
		{"same text again", func(w *world) []string { return []string{w.put(name, five)} }, five, 200, "", five, false, true},
		{"same text, no base", func(w *world) []string { w.put(name, five); return nil }, five, 200, "", five, false, true},
		{"same text, unknown base", func(w *world) []string { w.put(name, five); return []string{strings.Repeat("0", 40)} }, five, 200, "", five, false, true},
		{"no base, other text", func(w *world) []string { w.put(name, five); return nil }, "x\n", 409, "conflict", "", false, false},
		{"current", func(w *world) []string { w.put(name, five); return []string{"current"} }, "x\n", 200, "", "x\n", false, false},
		{"current, no page", func(*world) []string { return []string{"current"} }, "x\n", 201, "", "x\n", false, false},
		{"stale base, other lines", func(w *world) []string {
			base := w.put(name, five)
			w.put(name, "one\n2\n3\n4\n5\n", base)
			return []string{base}
		}, "1\n2\n3\n4\nfive\n", 200, "", "one\n2\n3\n4\nfive\n", true, false},
		{"stale base, same line", func(w *world) []string {
			base := w.put(name, five)
			w.put(name, "one\n2\n3\n4\n5\n", base)
			return []string{base}
		}, "uno\n2\n3\n4\n5\n", 409, "conflict", "", false, false},
		{"stale base, theirs has mine already", func(w *world) []string {
			base := w.put(name, five)
			w.put(name, "one\n2\n3\n4\nfive\n", base)
			return []string{base}
		}, "1\n2\n3\n4\nfive\n", 200, "", "one\n2\n3\n4\nfive\n", true, true},
		{"two heads that merge, base one of them", func(w *world) []string {
			base := w.put(name, five)
			heads := w.fork(name, base, "one\n2\n3\n4\n5\n", "1\n2\n3\n4\nfive\n")
			return heads[:1]
		}, "one\n2\nthree\n4\n5\n", 200, "", "one\n2\nthree\n4\nfive\n", true, false},
		{"two heads that merge, base both", func(w *world) []string {
			base := w.put(name, five)
			return w.fork(name, base, "one\n2\n3\n4\n5\n", "1\n2\n3\n4\nfive\n")
		}, "done\n", 200, "", "done\n", false, false},
		{"two heads that clash, base both resolves", func(w *world) []string {
			base := w.put(name, five)
			return w.fork(name, base, "A\n2\n3\n4\n5\n", "B\n2\n3\n4\n5\n")
		}, "AB\n2\n3\n4\n5\n", 200, "", "AB\n2\n3\n4\n5\n", false, false},
		{"two heads that clash, base both, text of one", func(w *world) []string {
			base := w.put(name, five)
			return w.fork(name, base, "A\n2\n3\n4\n5\n", "B\n2\n3\n4\n5\n")
		}, "A\n2\n3\n4\n5\n", 200, "", "A\n2\n3\n4\n5\n", false, false},
		{"two heads that clash, base one of them", func(w *world) []string {
			base := w.put(name, five)
			return w.fork(name, base, "A\n2\n3\n4\n5\n", "B\n2\n3\n4\n5\n")[:1]
		}, "A\n2\n3\n4\nfive\n", 409, "conflict", "", false, false},
		{"the resolution meets a newer edit elsewhere", func(w *world) []string {
			base := w.put(name, five)
			heads := w.fork(name, base, "A\n2\n3\n4\n5\n", "B\n2\n3\n4\n5\n")
			w.fork(name, heads[0], "A\n2\n3\n4\nfive\n")
			return heads
		}, "AB\n2\n3\n4\n5\n", 200, "", "AB\n2\n3\n4\nfive\n", true, false},
		{"unknown base", func(w *world) []string { w.put(name, five); return []string{strings.Repeat("1", 40)} }, "x\n", 409, "unknown_base", "", false, false},
		{"unknown base of no page", func(*world) []string { return []string{strings.Repeat("1", 40)} }, "x\n", 409, "unknown_base", "", false, false},
		{"base of another page", func(w *world) []string { w.put(name, five); return []string{w.put("Other", five)} }, "x\n", 409, "unknown_base", "", false, false},
		{"deleted meanwhile", func(w *world) []string {
			base := w.put(name, five)
			w.fork(name, base, deleted)
			return []string{base}
		}, "x\n", 409, "conflict", "", false, false},
		{"after a delete, no base", func(w *world) []string {
			w.fork(name, w.put(name, five), deleted)
			return nil
		}, "x\n", 201, "", "x\n", false, false},
		{"after a delete, on it", func(w *world) []string { return w.fork(name, w.put(name, five), deleted) }, "x\n", 201, "", "x\n", false, false},
		{"bad base", func(*world) []string { return []string{"xyz"} }, "x\n", 400, "bad_request", "", false, false},
	}
	for _, tt := range tests {
		t.Run(tt.testName, func(t *testing.T) {
			w := newWorld(t, nil)
			base := tt.history(w)
			commits := w.store.Stats().Commits
			answer := w.json("PUT", api+"pages/"+name, fields{"text": tt.text, "base": base, "author": "Ann"})
			wantStatus(t, answer, tt.status)
			got := decode(t, answer)
			made := w.store.Stats().Commits - commits
			if tt.status >= 400 {
				if got["code"] != tt.code || got["request_id"] == "" || got["status"] != float64(tt.status) {
					t.Errorf("problem %v, want code %s", got, tt.code)
				}
				if made != 0 {
					t.Errorf("%d commits were made by an edit that was refused", made)
				}
				return
			}
			if got["merged"] != tt.merged {
				t.Errorf("merged %v, want %v", got["merged"], tt.merged)
			}
			if (made == 0) != tt.noCommit || made > 1 {
				t.Errorf("%d commits were made, want none: %v", made, tt.noCommit)
			}
			page := decode(t, w.get(api+"pages/"+name))
			if page["text"] != tt.want || page["conflict"] != false {
				t.Errorf("page %v, want text %q", page, tt.want)
			}
			if made == 1 && (len(page["heads"].([]any)) != 1 || page["commit"] != got["commit"]) {
				t.Errorf("heads %v, want the new commit alone", page["heads"])
			}
		})
	}
}

func TestConflictAnswerHoldsAllTexts(t *testing.T) {
	w := newWorld(t, nil)
	base := w.put("Page", "1\n2\n")
	head := w.put("Page", "1\ntheirs\n", base)
	answer := w.json("PUT", api+"pages/Page", fields{"text": "1\nmine\n", "base": []string{base}})
	wantStatus(t, answer, 409)
	if got := answer.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("content type %q", got)
	}
	got := decode(t, answer)
	wanted := fields{
		"code": "conflict", "base": "1\n2\n", "current": "1\ntheirs\n", "yours": "1\nmine\n",
		"merged_with_markers": "1\n<<<<<<< yours\nmine\n=======\ntheirs\n>>>>>>> current\n",
	}
	for field, want := range wanted {
		if got[field] != want {
			t.Errorf("%s = %q, want %q", field, got[field], want)
		}
	}
	if heads := got["heads"].([]any); len(heads) != 1 || heads[0] != head {
		t.Errorf("heads %v, want %s", heads, head)
	}
}

func TestSaveRefusesBadInput(t *testing.T) {
	w := newWorld(t, nil)
	big := strings.Repeat("x", 1<<20)
	tests := []struct {
		name, body string
		status     int
		code       string
	}{
		{"no JSON", "hello", 400, "bad_request"},
		{"cut", `{"text":"a`, 400, "bad_request"},
		{"two values", `{"text":"a"} {}`, 400, "bad_request"},
		{"unknown field", `{"text":"a","author_name":"x"}`, 400, "bad_request"},
		{"no text", `{}`, 400, "bad_request"},
		{"text is a number", `{"text":1}`, 400, "bad_request"},
		{"NUL", `{"text":"a\u0000b"}`, 400, "bad_text"},
		{"author with brackets", `{"text":"a","author":"A <a@b>"}`, 400, "bad_author"},
		{"author with a newline", `{"text":"a","author":"A\nparent x"}`, 400, "bad_author"},
		{"author of dots", `{"text":"a","author":"..."}`, 400, "bad_author"},
		{"long author", `{"text":"a","author":"` + strings.Repeat("x", 201) + `"}`, 400, "bad_author"},
		{"long summary", `{"text":"a","summary":"` + strings.Repeat("x", 1001) + `"}`, 400, "bad_summary"},
		{"summary with a control character", `{"text":"a","summary":"a\u0007"}`, 400, "bad_summary"},
		{"page of exactly 1 MiB", `{"text":"` + big + `"}`, 201, ""},
		{"page above 1 MiB", `{"text":"` + big + `x"}`, 413, "too_large"},
		{"page of 2 MiB", `{"text":"` + big + big + `"}`, 413, "too_large"},
		{"page of 8 MiB", `{"text":"` + strings.Repeat(big, 8) + `"}`, 413, "too_large"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			answer := w.do("PUT", api+"pages/Page", tt.body, "Content-Type", "application/json")
			wantStatus(t, answer, tt.status)
			if got := decode(t, answer); tt.code != "" && (got["code"] != tt.code || got["detail"] == "") {
				t.Errorf("problem %v, want code %s", got, tt.code)
			}
		})
	}
	answer := w.do("PUT", api+"pages/Page", `{"text":"a"}`, "Content-Type", "text/plain")
	wantStatus(t, answer, 415)
	answer = w.do("PUT", api+"pages/Page", "{\"text\":\"\xff\"}", "Content-Type", "application/json")
	wantStatus(t, answer, 400)
	for escaped, want := range map[string]int{`\ud800`: 400, `\udc00`: 400, `\ud83d\ude00`: 200, `\\ud800`: 200, `\ud83d x`: 400, `\ud83d\u0041`: 400} {
		answer = w.do("PUT", api+"pages/Page", `{"base":["current"],"text":"`+escaped+`"}`, "Content-Type", "application/json")
		if answer.Code != want {
			t.Errorf("text %s: status %d, want %d: %s", escaped, answer.Code, want, answer.Body)
		}
	}
}

func TestTextIsKeptByteForByte(t *testing.T) {
	w := newWorld(t, nil)
	text := "\ufeffa\r\nb\r\n\n\n  \t c\u2028 é e\u0301 <script>\\ \u007f"
	w.put("Page", text)
	if got := w.get("/Page.md").Body.String(); got != text {
		t.Errorf("got %q, want %q", got, text)
	}
}

func TestDelete(t *testing.T) {
	w := newWorld(t, nil)
	head := w.put("Page", five)
	wantStatus(t, w.do("DELETE", api+"pages/Page", ""), 409)
	next := w.put("Page", "x\n", head)
	wantStatus(t, w.do("DELETE", api+"pages/Page?base="+head, ""), 409)
	answer := w.do("DELETE", api+"pages/Page?base="+next+"&author=Bob&summary=gone", "")
	wantStatus(t, answer, 200)
	wantStatus(t, w.get(api+"pages/Page"), 404)
	wantStatus(t, w.get("/Page"), 404)
	wantStatus(t, w.get("/Page.md"), 404)
	wantStatus(t, w.do("DELETE", api+"pages/Page?base=current", ""), 404)
	wantStatus(t, w.do("DELETE", api+"pages/Never?base=current", ""), 404)
	items := decode(t, w.get(api+"history/Page"))["items"].([]any)
	if first := items[0].(fields); len(items) != 3 || first["kind"] != "delete" || first["summary"] != "gone" || first["author"] != "Bob" {
		t.Errorf("history %v", items)
	}
	w.put("Page", "again\n", "current")
	wantStatus(t, w.get(api+"pages/Page"), 200)
}

func TestMove(t *testing.T) {
	w := newWorld(t, nil)
	head := w.put("Old", "text\n")
	w.put("Taken", "other\n")
	wantStatus(t, w.json("POST", api+"move", fields{"from": "Old", "to": "Taken"}), 409)
	wantStatus(t, w.json("POST", api+"move", fields{"from": "None", "to": "New"}), 404)
	wantStatus(t, w.json("POST", api+"move", fields{"from": "Old", "to": "Old"}), 400)
	wantStatus(t, w.json("POST", api+"move", fields{"from": "Old", "to": ".."}), 400)
	wantStatus(t, w.json("POST", api+"move", fields{"from": "Old", "to": "New", "base": []string{strings.Repeat("1", 40)}}), 409)
	before := w.store.Stats().Commits
	answer := w.json("POST", api+"move", fields{"from": "Old", "to": "docs/New", "author": "Ann", "base": []string{head}})
	wantStatus(t, answer, 201)
	if made := w.store.Stats().Commits - before; made != 2 {
		t.Errorf("%d commits, want 2", made)
	}
	wantStatus(t, w.get(api+"pages/Old"), 404)
	if got := decode(t, w.get(api+"pages/docs/New")); got["text"] != "text\n" {
		t.Errorf("moved page %v", got)
	}
	first := decode(t, w.get(api+"history/docs/New"))["items"].([]any)[0].(fields)
	if from := first["from"].(fields); from["path"] != "Old" || from["commit"] != head {
		t.Errorf("from %v, want Old %s", from, head)
	}
	// Back again, onto the name that was deleted.
	wantStatus(t, w.json("POST", api+"move", fields{"from": "docs/New", "to": "Old"}), 201)
	wantStatus(t, w.get(api+"pages/Old"), 200)
}

func TestRevertAndDiff(t *testing.T) {
	w := newWorld(t, nil)
	first := w.put("Page", five)
	second := w.put("Page", "1\n2\nthree\n4\n5\n", first)
	diff := decode(t, w.get(api+"diff/Page?from="+first+"&to="+second))
	want := "--- a/Page.md\n+++ b/Page.md\n@@ -1,5 +1,5 @@\n 1\n 2\n-3\n+three\n 4\n 5\n"
	if diff["diff"] != want || diff["from"] != first || diff["to"] != second {
		t.Errorf("diff %v, want %q", diff, want)
	}
	if implied := decode(t, w.get(api+"diff/Page")); implied["diff"] != want {
		t.Errorf("diff without from and to: %v", implied)
	}
	wantStatus(t, w.json("POST", api+"revert", fields{"path": "Page", "rev": first, "author": "Ann"}), 200)
	if got := decode(t, w.get(api+"pages/Page")); got["text"] != five {
		t.Errorf("after revert: %v", got["text"])
	}
	wantStatus(t, w.json("POST", api+"revert", fields{"path": "Page", "rev": strings.Repeat("1", 40)}), 404)
	if old := decode(t, w.get(api+"pages/Page?rev="+second)); old["text"] != "1\n2\nthree\n4\n5\n" {
		t.Errorf("old revision: %v", old)
	}
	other := w.put("Other", "x\n")
	wantStatus(t, w.get(api+"pages/Page?rev="+other), 404)
	wantStatus(t, w.get(api+"diff/Page?from="+other), 404)
}

func TestConflictIsShownListedAndResolved(t *testing.T) {
	w := newWorld(t, nil)
	heads := w.fork("Page", w.put("Page", five), "A\n2\n3\n4\n5\n", "B\n2\n3\n4\n5\n")
	page := decode(t, w.get(api+"pages/Page"))
	smallest := min(heads[0], heads[1])
	text := "A\n2\n3\n4\n5\n"
	if smallest == heads[1] {
		text = "B\n2\n3\n4\n5\n"
	}
	if page["conflict"] != true || page["commit"] != nil || page["text"] != text || len(page["heads"].([]any)) != 2 || len(page["versions"].([]any)) != 2 {
		t.Errorf("page %v", page)
	}
	html := w.get("/Page")
	wantStatus(t, html, 200)
	for _, want := range []string{"2 versions", smallest[:10], `class="sides"`, `Conflicts<span class="count">1</span>`} {
		if !strings.Contains(html.Body.String(), want) {
			t.Errorf("the page does not show %q", want)
		}
	}
	items := decode(t, w.get(api+"conflicts"))["items"].([]any)
	if len(items) != 1 || items[0].(fields)["path"] != "Page" || items[0].(fields)["versions"] != 2.0 {
		t.Errorf("conflicts %v", items)
	}
	if list := w.get("/-/conflicts").Body.String(); !strings.Contains(list, `href="/Page"`) {
		t.Errorf("the list does not name the page: %s", list)
	}
	w.put("Page", "AB\n", heads...)
	if items := decode(t, w.get(api+"conflicts"))["items"].([]any); len(items) != 0 {
		t.Errorf("conflicts after it was resolved: %v", items)
	}
	if html := w.get("/Page").Body.String(); strings.Contains(html, "count") || !strings.Contains(html, "<p>AB</p>") {
		t.Errorf("after it was resolved: %s", html)
	}
}

// TestConcurrentSaves: of many saves at once on one page, none is lost and
// each is answered.
func TestConcurrentSaves(t *testing.T) {
	w := newWorld(t, nil)
	var lines []string
	for i := range 64 {
		lines = append(lines, fmt.Sprintf("line %d\n\n", i))
	}
	base := w.put("Page", strings.Join(lines, ""))
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			mine := append([]string(nil), lines...)
			mine[i*4] = fmt.Sprintf("changed %d\n\n", i)
			answer := w.json("PUT", api+"pages/Page", fields{"text": strings.Join(mine, ""), "base": []string{base}})
			if answer.Code != 200 {
				t.Errorf("save %d: %d %s", i, answer.Code, answer.Body)
			}
		})
	}
	wg.Wait()
	got := decode(t, w.get(api+"pages/Page"))
	for i := range 16 {
		if !strings.Contains(got["text"].(string), fmt.Sprintf("changed %d\n", i)) {
			t.Errorf("the save of line %d is lost", i)
		}
	}
	if len(got["heads"].([]any)) != 1 {
		t.Errorf("heads %v, want one", got["heads"])
	}
}

// laggard is a mesh that has one more commit, which Fetch brings.
type laggard struct {
	wiki.Alone
	bring func() error
	asked []storage.Hash
}

func (l *laggard) Fetch(_ context.Context, wanted []storage.Hash) error {
	l.asked = append(l.asked, wanted...)
	return l.bring()
}

func TestUnknownBaseIsFetched(t *testing.T) {
	mesh := &laggard{bring: func() error { return errors.New("nobody has it") }}
	w := newWorld(t, func(c *wiki.Config) { c.Mesh = mesh })
	other := newWorld(t, nil)
	head := other.put("Page", five)
	answer := w.json("PUT", api+"pages/Page", fields{"text": "x\n", "base": []string{head}})
	wantStatus(t, answer, 409)
	if code := decode(t, answer)["code"]; code != "unknown_base" {
		t.Errorf("code %v, want unknown_base", code)
	}
	if len(mesh.asked) != 1 || mesh.asked[0].String() != head {
		t.Errorf("asked for %v, want %s", mesh.asked, head)
	}
	mesh.bring = func() error {
		if err := w.store.Admit(t.Context(), other.store.Node(), "e2"); err != nil {
			return err
		}
		record, err := other.store.Record(hash(t, head))
		if err != nil {
			return err
		}
		_, err = w.store.Receive(t.Context(), []storage.Record{record})
		return err
	}
	answer = w.json("PUT", api+"pages/Page", fields{"text": "x\n", "base": []string{head}})
	wantStatus(t, answer, 200)
	if got := decode(t, w.get(api+"pages/Page")); got["text"] != "x\n" || len(got["heads"].([]any)) != 1 {
		t.Errorf("page %v, want the edit on top of the base that was fetched", got)
	}
}

// TestEmptyingAPageIsAnEdit: the text of the head is not read unless it may be
// the same, and no text is not the same as a text that was not read.
func TestEmptyingAPageIsAnEdit(t *testing.T) {
	w := newWorld(t, nil)
	full := w.put("Page", five)
	empty := w.put("Page", "", full)
	if got := w.get("/Page.md").Body.String(); empty == full || got != "" {
		t.Errorf("the page is still %q", got)
	}
	if again := w.put("Page", "", empty); again != empty {
		t.Error("saving no text again made a commit")
	}
	if back := w.put("Page", five, empty); back == empty {
		t.Error("the text did not come back")
	}
}
