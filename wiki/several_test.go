package wiki_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki/page"
)

// forkBy leaves a page with two heads, by Ann (earlier) and by Ben.
func (w *world) forkBy(name page.Name, base, ann, ben string) (annHead, benHead string) {
	w.t.Helper()
	var heads [2]string
	for i, text := range []string{ann, ben} {
		commits, err := w.store.Save(context.Background(), storage.Draft{Kind: storage.KindPage, Path: name.Path(), Content: []byte(text),
			Parents: []storage.Hash{hash(w.t, base)}, Author: storage.Ident{Name: []string{"Ann", "Ben"}[i], Time: int64(1000 * (i + 1))}})
		if err != nil {
			w.t.Fatal(err)
		}
		heads[i] = commits[0].Hash.String()
	}
	return heads[0], heads[1]
}

// TestSeveralHeads: of a page with several heads, author, time and the ends of a diff
// are those of the text that is shown, whichever head has the smaller hash.
func TestSeveralHeads(t *testing.T) {
	w := newWorld(t, nil)
	first, pages := map[bool]int{}, 0
	for ; pages < 8 || len(first) < 2; pages++ { // which hash is smaller is up to the node's key
		name := fmt.Sprintf("P%d", pages)
		ann, ben := w.forkBy(page.Name(name), w.put(name, five), "A\n2\n3\n4\n5\n", "B\n2\n3\n4\n5\n")
		first[ann < ben]++
		shown, author, text, at := ann, "Ann", "A\n2\n3\n4\n5\n", "1970-01-01T00:16:40Z"
		if ben < ann {
			shown, author, text, at = ben, "Ben", "B\n2\n3\n4\n5\n", "1970-01-01T00:33:20Z"
		}
		got := decode(t, w.get(api+"pages/"+name))
		if got["text"] != text || got["author"] != author || got["time"] != at {
			t.Errorf("%s: text %q by %v at %v, want %q by %s at %s", name, got["text"], got["author"], got["time"], text, author, at)
		}
		for _, from := range []string{"", ann, ben} {
			d := decode(t, w.get(api+"diff/"+name+"?from="+from))
			if d["to"] != shown || (d["diff"] == "") != (from == shown) || from != "" && d["from"] != from {
				t.Errorf("%s: diff from %.8q is from %v to %v, want to %s: %v", name, from, d["from"], d["to"], shown, d["diff"])
			}
		}
	}
	for _, item := range decode(t, w.get(api+"conflicts"))["items"].([]any) {
		if c := item.(fields); c["author"] != "Ben" || c["time"] != "1970-01-01T00:33:20Z" {
			t.Errorf("the newest version of a conflict is Ben's: %v", c)
		}
	}
	if list := w.get("/-/conflicts").Body.String(); strings.Count(list, "the newest by Ben") != pages {
		t.Errorf("the list of conflicts: %s", list)
	}

	ann, ben := w.forkBy("United", w.put("United", five), "A\n2\n3\n4\n5\n", "1\n2\n3\n4\nB\n")
	d := decode(t, w.get(api+"diff/United"))
	if d["to"] != nil || d["from"] != ann && d["from"] != ben || d["diff"] == "" {
		t.Errorf("what was united: %v", d)
	}
	d = decode(t, w.get(api+"diff/United?from="+ann))
	if d["to"] != nil || d["from"] != ann || !strings.Contains(d["diff"].(string), "+B") {
		t.Errorf("from Ann's to what was united: %v", d)
	}
	if html := w.get("/United?diff=").Body.String(); !strings.Contains(html, "unites edits") {
		t.Errorf("the diff does not say what it shows: %s", html)
	}
}

// TestRevisionThatDeletes: it is in the history, has no text, and says so.
func TestRevisionThatDeletes(t *testing.T) {
	w := newWorld(t, nil)
	w.put("Gone", five)
	wantStatus(t, w.do("DELETE", api+"pages/Gone?base=current", ""), 200)
	items := decode(t, w.get(api+"history/Gone"))["items"].([]any)
	rev := items[0].(fields)["commit"].(string)
	answer := w.get(api + "pages/Gone?rev=" + rev)
	wantStatus(t, answer, 404)
	if p := decode(t, answer); p["code"] != "deleted" {
		t.Errorf("%v", p)
	}
}

// TestSlashesAtTheEnd: they lead to the address without them, with every method.
func TestSlashesAtTheEnd(t *testing.T) {
	w := newWorld(t, nil)
	w.put("Page", five)
	for _, path := range []string{api + "pages/Page/", api + "history/Page//", api + "diff/Page/?to=x", api + "recent/", api + "network/nodes/", "/-/recent/?cursor=3", "/-/mesh/"} {
		answer := w.get(path)
		wantStatus(t, answer, 308)
		want := strings.Replace(strings.Replace(path, "//", "/", 1), "/?", "?", 1)
		if got := answer.Header().Get("Location"); got != strings.TrimSuffix(want, "/") {
			t.Errorf("%s leads to %s", path, got)
		}
	}
	for _, path := range []string{"pages/", "pages//", "pages/%2F", "nothing/"} { // no name is no list
		if code := w.get(api + path).Code; code != 400 && code != 404 {
			t.Errorf("%s: %d", path, code)
		}
	}
}

// TestLongNamesHaveRawText: the ending .md is not part of the name.
func TestLongNamesHaveRawText(t *testing.T) {
	w := newWorld(t, nil)
	for _, name := range []string{strings.Repeat("x", page.MaxSegment), strings.Repeat("y", page.MaxSegment-1), strings.Repeat(strings.Repeat("z", 199)+"/", 5)[:page.MaxName-1]} {
		w.put(name, "text of it\n")
		answer := w.get("/" + name + ".md")
		wantStatus(t, answer, 200)
		wantBody(t, answer, "text of it\n")
	}
}

// TestErrorsQuote: words of an error that somebody wrote are left as they are, and
// the names of packages it came through are not told.
func TestErrorsQuote(t *testing.T) {
	w := newWorld(t, nil)
	for path, want := range map[string]string{
		"pages/.x:%20wiki:%20y":      `".x: wiki: y"`,
		"pages/Page?rev=storage:%20": `"storage: "`,
	} {
		detail, _ := decode(t, w.get(api+path))["detail"].(string)
		if !strings.Contains(detail, want) || strings.Contains(strings.ReplaceAll(detail, want, ""), "storage:") {
			t.Errorf("%s: %s", path, detail)
		}
	}
}

// TestConflictOnAConflict: who edits one of two versions that clash, or deletes it,
// or began before both, is shown each version that the page has by now, since saving
// on its heads takes the place of all of them.
func TestConflictOnAConflict(t *testing.T) {
	w := newWorld(t, nil)
	base := w.put("Page", five)
	ann, ben := w.forkBy("Page", base, "ann\n2\n3\n4\n5\n", "ben\n2\n3\n4\n5\n")
	for _, seen := range []string{base, ann, ben} {
		for _, what := range []string{"edit", "delete", "form"} {
			mine := "mine\n2\n3\n4\n5\n"
			unseen := map[string]bool{"ann": seen != ann, "ben": seen != ben}
			var shown string
			switch what {
			case "form":
				answer := w.form("/Page", "text", mine, "base", seen, "action", "save")
				wantStatus(t, answer, 409)
				shown = answer.Body.String()
			default:
				answer := w.json("PUT", api+"pages/Page", fields{"text": mine, "base": []string{seen}})
				if what == "delete" {
					answer = w.do("DELETE", api+"pages/Page?base="+seen, "")
				}
				wantStatus(t, answer, 409)
				got := decode(t, answer)
				shown = got["merged_with_markers"].(string)
				if versions := got["versions"].([]any); len(versions) != 2 || len(got["heads"].([]any)) != 2 {
					t.Errorf("%s on %.8s: %d versions", what, seen, len(versions))
				}
				if what == "edit" && !strings.Contains(shown, "mine\n") {
					t.Errorf("%s on %.8s: own text is not in %q", what, seen, shown)
				}
			}
			for text, must := range unseen {
				if must && !strings.Contains(shown, text+"\n") {
					t.Errorf("%s on %.8s: the text of %s is not in %q", what, seen, text, shown)
				}
			}
		}
	}
	saved := w.json("PUT", api+"pages/Page", fields{"text": "all\n", "base": []string{ann, ben}})
	if wantStatus(t, saved, 200); len(decode(t, saved)["heads"].([]any)) != 1 {
		t.Error("an edit that names both resolves the conflict")
	}
}

// TestNextSteps: what to do next fits what was asked for.
func TestNextSteps(t *testing.T) {
	w := newWorld(t, nil)
	for _, path := range []string{api + "pages/Gone?base=current", "/-/files/gone.txt?base=current"} {
		answer := w.do("DELETE", path, "")
		if wantStatus(t, answer, 404); strings.Contains(answer.Body.String(), "PUT") {
			t.Errorf("who wants it gone is told to create it: %s", answer.Body)
		}
	}
	answer := w.get(api + "commits/" + strings.Repeat("1", 40))
	if wantStatus(t, answer, 404); !strings.Contains(answer.Body.String(), "no commit with this hash") {
		t.Errorf("of a commit that is not there: %s", answer.Body)
	}
}

// TestManyLongVersions: an answer to a clash with a page of many long versions is
// bounded, and names the texts that it leaves out.
func TestManyLongVersions(t *testing.T) {
	w := newWorld(t, nil)
	base := w.put("Page", five)
	long := strings.Repeat("word ", 160_000)
	for i := range 5 {
		w.forkBy("Page", base, fmt.Sprintf("a%d %s\n", i, long), fmt.Sprintf("b%d %s\n", i, long))
	}
	answer := w.json("PUT", api+"pages/Page", fields{"text": "mine\n", "base": []string{base}})
	if wantStatus(t, answer, 409); answer.Body.Len() > 12*page.MaxText {
		t.Errorf("an answer of %d bytes", answer.Body.Len())
	}
	whole, left := 0, 0
	for _, v := range decode(t, answer)["versions"].([]any) {
		if v.(fields)["left_out"] == true && v.(fields)["text"] == "" {
			left++
		} else if v.(fields)["text"] != "" {
			whole++
		}
	}
	if whole != 5 || left != 5 {
		t.Errorf("%d texts, %d left out, want 5 and 5", whole, left)
	}
	if form := w.form("/Page", "text", "mine\n", "base", base, "action", "save"); form.Body.Len() > 12*page.MaxText || !strings.Contains(form.Body.String(), "too long to be shown here") {
		t.Errorf("a form of %d bytes", form.Body.Len())
	}
}
