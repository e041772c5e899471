package wiki_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki"
)

// history makes the lines of a history: branches, merges, renames, deletes.
func history(revisions int) (lines []string) {
	rng := rand.New(rand.NewPCG(1, 2))
	tips := make(map[string][]string)
	for i := range revisions {
		page := fmt.Sprintf("P%d", rng.IntN(40))
		line := fields{"path": page, "author": "Ann <ann@example.org>", "time": "2020-01-02T03:04:05Z", "source": source(i + 1), "parents": []string{}}
		before := tips[page]
		if len(before) > 0 {
			line["parents"] = before
		}
		switch {
		case len(before) == 1 && rng.IntN(10) == 0:
			line["deleted"] = true
			tips[page] = []string{source(i + 1)}
		case len(before) == 1 && rng.IntN(5) == 0: // a branch: what follows joins both
			line["text"] = fmt.Sprintf("side %d\n", i)
			tips[page] = []string{before[0], source(i + 1)}
			line["parents"] = []string{}
		default:
			line["text"] = fmt.Sprintf("text %d\n", i)
			tips[page] = []string{source(i + 1)}
			if other := fmt.Sprintf("P%d", rng.IntN(40)); other != page && len(tips[other]) == 1 && rng.IntN(6) == 0 {
				line["from"] = fields{"path": other, "source": tips[other][0]}
			}
		}
		text, _ := json.Marshal(line)
		lines = append(lines, string(text)+"\n")
	}
	return lines
}

// stillWorld is a wiki whose clock stands still and whose log name is always
// the same, on the given disk.
func stillWorld(t *testing.T, disk vfs.FS) *world {
	t.Helper()
	store, err := storage.Open(storage.Config{
		Dir: "data", FS: disk, Name: "e1",
		Clock:  func() time.Time { return time.Unix(1700000000, 0) },
		Random: strings.NewReader("a log's name, drawn at the first save of a process"),
	})
	if err != nil {
		t.Fatal(err)
	}
	handler, err := wiki.NewHandler(wiki.Config{Store: store, NodeName: "e1", Version: "test", OperatorKey: operatorKey})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		handler.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return &world{t, store, handler}
}

func (w *world) importBody(body io.Reader) fields {
	r := httptest.NewRequest("POST", api+"import", body)
	r.Header.Set("Authorization", "Bearer "+operatorKey)
	answer := httptest.NewRecorder()
	w.handler.ServeHTTP(answer, r)
	return lastLine(w.t, answer.Body)
}

// TestInterruptedImport: an import that breaks off wherever, and is repeated,
// leaves the very same commits as one in one go: the same digest, given the
// same node, the same name of its log and the same time.
func TestInterruptedImport(t *testing.T) {
	lines := history(1500)
	disk := vfs.NewCrashableMem()
	store, err := storage.Open(storage.Config{Dir: "data", FS: disk, Name: "e1"}) // the node's key
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	clone := func() vfs.FS { return disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rng}) }
	once := stillWorld(t, clone())
	got := once.importBody(strings.NewReader(strings.Join(lines, "")))
	wantTally(t, got, len(lines), 0, 0)
	want := once.store.Stats()
	for _, breaks := range [][]int{{1}, {255}, {256}, {700}, {1499}, {300, 310, 900}} {
		w := stillWorld(t, clone())
		for _, at := range breaks {
			half := strings.Join(lines[:at], "") + lines[at][:len(lines[at])/2]
			ended := w.importBody(io.MultiReader(strings.NewReader(half), iotest.ErrReader(errors.New("connection lost"))))
			if ended["error"] == nil {
				t.Fatalf("%v: %v does not say that it was cut short", breaks, ended)
			}
		}
		got := w.importBody(strings.NewReader(strings.Join(lines, "")))
		if got["failed"] != 0.0 || got["done"].(float64)+got["skipped"].(float64) != float64(len(lines)) {
			t.Errorf("%v: %v", breaks, got)
		}
		if s := w.store.Stats(); s.Digest != want.Digest || s.Commits != want.Commits {
			t.Errorf("%v: %d commits, digest %s; want %d, %s", breaks, s.Commits, s.Digest, want.Commits, want.Digest)
		}
	}
}

func TestImportedHistory(t *testing.T) {
	w := importWorld(t)
	wantTally(t, w.imports(
		fields{"path": "New", "text": "here before\n"},
		fields{"path": "Old", "text": "one\n", "source": source(1), "parents": []string{}},
		fields{"path": "New", "text": "one\n", "source": source(2), "parents": []string{}, "from": fields{"path": "Old", "source": source(1)}},
		fields{"path": "Old", "deleted": true, "source": source(2), "parents": []string{source(1)}},
		fields{"path": "New", "text": "x\n", "source": source(3), "parents": []string{source(2)}, "from": fields{"path": "Old", "source": source(9)}},
		fields{"path": "New", "text": "x\n", "source": source(4), "parents": []string{source(2)}, "from": fields{"path": "../x", "source": source(1)}},
	), 4, 0, 2)
	heads, err := w.store.Heads("New.md")
	if err != nil || len(heads) != 2 {
		t.Fatalf("heads of a page that was there before: %v, %v; want both side by side", heads, err)
	}
	h, found, err := w.store.Imported(source(2), "New.md")
	if err != nil || !found {
		t.Fatal(found, err)
	}
	c, err := w.store.Commit(h)
	if err != nil {
		t.Fatal(err)
	}
	old, _, err := w.store.Imported(source(1), "Old.md")
	if err != nil || len(c.Parents) != 0 || c.From == nil || c.From.Path != "Old.md" || c.From.Commit != old {
		t.Errorf("%+v, from %+v, want from %s; %v", c, c.From, old, err)
	}
}
