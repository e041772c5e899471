package wiki_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/erwik/erwik/wiki"
)

func importWorld(t *testing.T) *world {
	return newWorld(t, func(c *wiki.Config) { c.OperatorKey = operatorKey })
}

// imports sends lines and returns the last line of the answer.
func (w *world) imports(lines ...any) fields {
	w.t.Helper()
	var body strings.Builder
	for _, line := range lines {
		if text, ok := line.(string); ok {
			body.WriteString(text + "\n")
			continue
		}
		text, err := json.Marshal(line)
		if err != nil {
			w.t.Fatal(err)
		}
		body.Write(append(text, '\n'))
	}
	answer := w.do("POST", api+"import", body.String(), "Authorization", "Bearer "+operatorKey)
	wantStatus(w.t, answer, 200)
	return lastLine(w.t, answer.Body)
}

func lastLine(t testing.TB, answer io.Reader) fields {
	t.Helper()
	var last fields
	lines := bufio.NewScanner(answer)
	for lines.Scan() {
		last = nil
		if err := json.Unmarshal(lines.Bytes(), &last); err != nil {
			t.Fatalf("%v in %s", err, lines.Bytes())
		}
	}
	return last
}

func wantTally(t testing.TB, got fields, done, skipped, failed int) {
	t.Helper()
	if got["done"] != float64(done) || got["skipped"] != float64(skipped) || got["failed"] != float64(failed) || got["final"] != true {
		t.Errorf("got %v, want done %d skipped %d failed %d final", got, done, skipped, failed)
	}
}

func source(n int) string { return fmt.Sprintf("%040x", n) }

func TestImport(t *testing.T) {
	w := importWorld(t)
	lines := []any{
		fields{"path": "a/One", "text": "first\n", "author": "Ann <ann@example.org>", "time": "2020-01-02T03:04:05+02:00", "summary": "begin\n\nand more", "source": source(1)},
		fields{"path": "a/One", "text": "second\n", "author": "Bob", "time": "2021-01-02T03:04:05Z", "source": source(2), "parents": []string{source(1)}},
		fields{"path": "Two", "text": "two\n"},
		"",
		fields{"path": "../x", "text": "x"},
		"no JSON",
		fields{"path": "Three", "text": "x", "parents": []string{source(9)}},
		fields{"path": "Four", "text": "\x00"},
		fields{"path": "Five", "text": "x", "source": "xyz"},
		fields{"path": "Six", "text": "x", "mood": "fine"},
		fields{"path": "Gone", "text": "x", "source": source(3)},
		fields{"path": "Gone", "deleted": true, "source": source(4), "parents": []string{source(3)}},
	}
	got := w.imports(lines...)
	wantTally(t, got, 5, 0, 6)
	if failures := got["failures"].([]any); len(failures) != 6 || failures[0].(fields)["line"] != 5.0 || failures[0].(fields)["detail"] == "" {
		t.Errorf("failures %v", failures)
	}
	if digest := decode(t, w.get(api+"status"))["digest"]; got["digest"] != digest {
		t.Errorf("digest %v, want %v", got["digest"], digest)
	}
	page := decode(t, w.get(api+"pages/a/One"))
	if page["text"] != "second\n" || page["author"] != "Bob" || page["time"] != "2021-01-02T03:04:05Z" || len(page["heads"].([]any)) != 1 {
		t.Errorf("page %v", page)
	}
	history := decode(t, w.get(api+"history/a/One"))["items"].([]any)
	if len(history) != 2 || history[1].(fields)["author"] != "Ann" || history[1].(fields)["time"] != "2020-01-02T01:04:05Z" || history[1].(fields)["summary"] != "begin\n\nand more" {
		t.Errorf("history %v", history)
	}
	wantStatus(t, w.get(api+"pages/Gone"), 404)

	commits := w.store.Stats().Commits
	wantTally(t, w.imports(lines...), 0, 5, 6)
	wantTally(t, w.imports(fields{"path": "Two", "text": "two\n"}), 0, 1, 0)
	if made := w.store.Stats().Commits - commits; made != 0 {
		t.Errorf("the second time made %d commits, want none", made)
	}
	// Another text is a new revision on top.
	wantTally(t, w.imports(fields{"path": "Two", "text": "changed\n"}, fields{"path": "Two", "text": "again\n"}), 2, 0, 0)
	page = decode(t, w.get(api+"pages/Two"))
	if page["text"] != "again\n" || len(page["heads"].([]any)) != 1 {
		t.Errorf("page %v", page)
	}
}

func TestImportIsTheOperators(t *testing.T) {
	w := newWorld(t, func(c *wiki.Config) { c.OperatorKey, c.EditToken = operatorKey, "secret" })
	for _, authorization := range []string{"", "Bearer secret", "Bearer 0011"} {
		wantStatus(t, w.do("POST", api+"import", `{"path":"x","text":"y"}`, "Authorization", authorization), 401)
	}
	none := newWorld(t, nil)
	wantStatus(t, none.do("POST", api+"import", `{"path":"x","text":"y"}`, "Authorization", "Bearer "), 401)
}

func TestImportOfManyPagesInBatches(t *testing.T) {
	w := importWorld(t)
	var lines []any
	for i := range 1000 {
		lines = append(lines, fields{"path": fmt.Sprintf("p/%d", i), "text": fmt.Sprintf("page %d\n", i)})
	}
	lines = append(lines, fields{"path": "Huge", "text": strings.Repeat("x", 1<<20+1)})
	for range 6 { // more than one batch by its bytes
		lines = append(lines, fields{"path": "Big", "text": strings.Repeat("x", 1<<20-len(lines))})
	}
	wantTally(t, w.imports(lines...), 1006, 0, 1)
	if pages := w.store.Stats().Pages; pages != 1001 {
		t.Errorf("%d pages, want 1001", pages)
	}
	if items := decode(t, w.get(api+"history/Big"))["items"].([]any); len(items) != 6 {
		t.Errorf("%d revisions of Big, want 6", len(items))
	}
}

func TestImportLineWithoutEnd(t *testing.T) {
	w := importWorld(t)
	got := w.imports(strings.Repeat("x", 7<<20), fields{"path": "After", "text": "x"})
	wantTally(t, got, 1, 0, 1)
}

// TestImportStreams reads progress while the client still writes.
func TestImportStreams(t *testing.T) {
	w := importWorld(t)
	server := httptest.NewServer(w.handler)
	t.Cleanup(server.Close)
	reader, writer := io.Pipe()
	r, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+api+"import", reader)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+operatorKey)
	half, whole := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := range 600 {
			if i == 300 {
				<-half
			}
			if _, err := fmt.Fprintf(writer, "{\"path\":\"p%d\",\"text\":\"x\"}\n", i); err != nil {
				whole <- err
				return
			}
		}
		whole <- writer.Close()
	}()
	answer, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewReader(answer.Body)
	first, err := lines.ReadString('\n')
	if err != nil || !strings.Contains(first, `"done":256`) {
		t.Fatalf("first progress %q, %v", first, err)
	}
	close(half)
	if err := <-whole; err != nil {
		t.Fatal(err)
	}
	wantTally(t, lastLine(t, lines), 600, 0, 0)
}
