package wiki_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki"
)

// TestPagesAreReadThrough: a page that only another node has is shown in every
// form, with who has it; the editor begins with its text and its heads; and what
// is here is never asked for.
func TestPagesAreReadThrough(t *testing.T) {
	far := newWorld(t, nil)
	head := far.put("Docs/Page", "# Far\n\nfrom the other node\n")
	far.put("Home", "the start of the mesh\n")
	asked := 0
	near := newWorld(t, func(c *wiki.Config) {
		c.Through = func(_ context.Context, path string) (int, []storage.Record, string, error) {
			asked++
			found, err := far.store.Heads(path)
			if err != nil || len(found) == 0 {
				return 0, nil, "", errors.Join(err, errors.New("nobody has it"))
			}
			r, err := far.store.Record(found[0].Hash)
			return 1, []storage.Record{r}, "e7", err
		}
	})
	for _, test := range []struct {
		target string
		status int
		want   []string
	}{
		{"/Docs/Page", http.StatusOK, []string{"from the other node", "read through e7"}},
		{"/Docs/Page.md", http.StatusOK, []string{"from the other node"}},
		{"/Docs/Page?edit", http.StatusOK, []string{"from the other node", head}},
		{api + "pages/Docs/Page", http.StatusOK, []string{`"through":"e7"`, head}},
		{"/", http.StatusOK, []string{"the start of the mesh"}},
		{"/Nowhere", http.StatusNotFound, nil},
		{api + "pages/Nowhere", http.StatusNotFound, nil},
	} {
		answer := near.get(test.target)
		if answer.Code != test.status {
			t.Errorf("%s: %d", test.target, answer.Code)
		}
		for _, want := range test.want {
			if !strings.Contains(answer.Body.String(), want) {
				t.Errorf("%s does not have %q: %.3000s", test.target, want, answer.Body)
			}
		}
	}
	near.put("Here", "held\n")
	before := asked
	near.get("/Here")
	near.get(api + "pages/Here")
	if asked != before {
		t.Error("a page that is here is asked for")
	}
	// On top of what only another node has: it must come first, so here it is
	// refused, not saved beside it.
	answer := near.json("PUT", api+"pages/Docs/Page", fields{"text": "mine", "author": "Ann", "base": []string{"current"}})
	if answer.Code != http.StatusConflict || decode(t, answer)["code"] != "unknown_base" {
		t.Errorf("a save on top of a page that is not here: %d %s", answer.Code, answer.Body)
	}
}
