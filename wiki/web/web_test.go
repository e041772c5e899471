package web_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/erwik/erwik/wiki/merge"
	"github.com/erwik/erwik/wiki/web"
)

func TestValuesAreEscaped(t *testing.T) {
	w, err := web.New("<site>")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	evil := `"><script>alert(1)</script>`
	if err := w.Error(&out, &web.Error{Chrome: &web.Chrome{Title: evil, Node: evil}, Heading: evil, Detail: evil, Next: evil}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "<script>") || !strings.Contains(out.String(), "&lt;site&gt;") {
		t.Errorf("not escaped: %s", &out)
	}
}

func TestPolicyAllowsNothingInline(t *testing.T) {
	if strings.Contains(web.Policy, "unsafe") || !strings.HasPrefix(web.Policy, "default-src 'none'") {
		t.Errorf("policy %q", web.Policy)
	}
}

func TestAssets(t *testing.T) {
	w, err := web.New("x")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := w.Login(&out, &web.Login{Chrome: &web.Chrome{}}); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"style.css", "wiki.js", "icon.svg"} {
		end := strings.Index(out.String(), kind)
		if end < 0 {
			t.Fatalf("no %s in %s", kind, &out)
		}
		start := strings.LastIndex(out.String()[:end], web.Static)
		answer := httptest.NewRecorder()
		w.ServeHTTP(answer, httptest.NewRequest("GET", out.String()[start:end]+kind, nil))
		if answer.Code != http.StatusOK || answer.Body.Len() == 0 {
			t.Errorf("%s: status %d, %d bytes", kind, answer.Code, answer.Body.Len())
		}
	}
	answer := httptest.NewRecorder()
	w.ServeHTTP(answer, httptest.NewRequest("GET", web.Static+"../web.go", nil))
	if answer.Code != http.StatusNotFound {
		t.Errorf("a file that is no asset: status %d", answer.Code)
	}
}

func TestLongDiffsAreCut(t *testing.T) {
	hunks, left := web.DiffHunks(merge.Diff("", strings.Repeat("x\n", 6000)))
	if len(hunks) != 1 || len(hunks[0].Lines) != 5000 || left != 1000 {
		t.Errorf("%d hunks, %d left, want 1 hunk and 1000 left", len(hunks), left)
	}
}
