package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestThreeNodesFormAMesh: E3 names only E2 and knows E1.
func TestThreeNodesFormAMesh(t *testing.T) {
	e1 := newNode(t, "e1").start().awaitReady()
	e2 := newNode(t, "e2", "--join", e1.address).start().awaitReady()
	start := time.Now()
	e3 := newNode(t, "e3", "--join", e2.address).start().awaitReady()
	for _, n := range []*node{e1, e2, e3} {
		n.awaitNodes(3)
	}
	t.Logf("all three list all three %v after the start of the third", time.Since(start).Round(time.Millisecond))
	all := []*node{e1, e2, e3}
	for i, from := range all {
		told := make([]<-chan commitEvent, 3)
		for j, to := range all {
			told[j] = to.watch()
		}
		s := from.mustPut(fmt.Sprint("From-", from.name), fmt.Sprint("text ", i))
		for j, to := range all {
			select {
			case e := <-told[j]:
				if e.Args.Checksum != s.Commit {
					t.Errorf("%s tells of %s, saved was %s", to.name, e.Args.Checksum, s.Commit)
				}
			case <-time.After(patience):
				t.Fatalf("%s does not tell of the save on %s", to.name, from.name)
			}
			p, err := to.page("From-" + from.name)
			if err != nil || p.Text != fmt.Sprint("text ", i) {
				t.Errorf("%s after its event: %+v, %v", to.name, p, err)
			}
		}
	}
	awaitEqual(t, all...)
	eventually(t, "the page says on 3 of 3 nodes", func() error {
		p, err := e1.page("From-e1")
		if err == nil && (p.Nodes.Have != 3 || p.Nodes.Of != 3) {
			err = fmt.Errorf("%+v", p.Nodes)
		}
		return err
	})
}

// TestMemberComesBackByItself: after a restart no --join is needed.
func TestMemberComesBackByItself(t *testing.T) {
	all := mesh(t, "e1", "e2", "e3")
	all[2].stop()
	all[2].args = nil
	all[0].mustPut("While-away", "x")
	all[2].start().awaitReady()
	awaitEqual(t, all...)
	for _, n := range all {
		n.awaitNodes(3)
	}
}

// TestAwayForAThousandEdits: a node that comes back has everything soon after
// it is ready, without a new edit.
func TestAwayForAThousandEdits(t *testing.T) {
	all := mesh(t, "e1", "e2", "e3")
	all[2].kill()
	save(t, all[:2], 1000)
	awaitEqual(t, all[:2]...)
	all[2].args = nil
	all[2].start().awaitReady()
	took := awaitEqual(t, all...)
	t.Logf("equal digests %v after ready", took.Round(time.Millisecond))
}

// save makes edits on the nodes in turn, eight at a time.
func save(t *testing.T, nodes []*node, count int) {
	t.Helper()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < count; i += 8 {
				n := nodes[i%len(nodes)]
				if _, _, err := n.put(fmt.Sprintf("Page-%d", i%50), fmt.Sprintf("edit %d on %s\n", i, n.name)); err != nil {
					t.Errorf("%s: %v", n.name, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestTwoPopulatedWikisJoin: both end with the union.
func TestTwoPopulatedWikisJoin(t *testing.T) {
	a := mesh(t, "a1", "a2")
	b := mesh(t, "b1", "b2")
	for i := range 30 {
		a[i%2].mustPut(fmt.Sprintf("A-%d", i), "of a")
		b[i%2].mustPut(fmt.Sprintf("B-%d", i), "of b")
	}
	a[0].mustPut("Both", "a's\n")
	b[0].mustPut("Both", "b's\n")
	awaitEqual(t, a...)
	awaitEqual(t, b...)
	b[1].stop()
	b[1].args = []string{"--join", a[0].address}
	b[1].start().awaitReady()
	all := append(a, b...)
	for _, n := range all {
		n.awaitNodes(4)
	}
	awaitEqual(t, all...)
	for _, n := range all {
		if s := n.mustStatus(); s.Pages != 61 {
			t.Errorf("%s has %d pages, want 61", n.name, s.Pages)
		}
		if p, err := n.page("Both"); err != nil || !p.Conflict || len(p.Heads) != 2 {
			t.Errorf("%s: the page that both had: %+v, %v", n.name, p, err)
		}
	}
}

// TestImportThenJoin: a folder is imported on one node, an empty one joins and
// exports the same folder. With ERWIK_CORPUS the folder is tldr-pages.
func TestImportThenJoin(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "pages")
	if corpus := os.Getenv("ERWIK_CORPUS"); corpus != "" {
		if out, err := exec.Command("git", "clone", "-q", "-b", "main", filepath.Join(corpus, "tldr-pages.bundle"), folder).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		os.RemoveAll(filepath.Join(folder, ".git"))
	} else {
		writePages(t, folder, 2000)
	}
	e1 := newNode(t, "e1").start().awaitReady()
	out, err := run("import", folder, "--node", "http://"+e1.address, "--data", e1.dir)
	if err != nil {
		t.Fatalf("import: %v: %s", err, out)
	}
	t.Log(out)
	before := e1.mustStatus()
	if out, err := run("import", folder, "--node", "http://"+e1.address, "--data", e1.dir); err != nil || e1.mustStatus().Digest != before.Digest {
		t.Errorf("a second import changes something: %v: %s", err, out)
	}
	start := time.Now()
	e2 := newNode(t, "e2", "--join", e1.address).start().awaitReady()
	awaitEqual(t, e1, e2)
	t.Logf("first copy of %d pages: %v from process start", before.Pages, time.Since(start).Round(time.Millisecond))
	exported := filepath.Join(t.TempDir(), "exported")
	if out, err := run("export", exported, "--node", "http://"+e2.address); err != nil {
		t.Fatalf("export: %v: %s", err, out)
	}
	if out, err := exec.Command("diff", "-r", folder, exported).CombinedOutput(); err != nil {
		t.Errorf("the exported folder differs: %s", out)
	}
}

// writePages makes a folder with odd names in it.
func writePages(t *testing.T, folder string, count int) {
	t.Helper()
	names := []string{"[[.md", "%.md", "~.md", "!.md", "jc.json.md", "dir/ä ö.md", "..md", ".x.md", "a/b/c/d.md"}
	for i := len(names); i < count; i++ {
		names = append(names, fmt.Sprintf("d%d/page-%d.md", i%11, i))
	}
	for i, name := range names {
		file := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, fmt.Appendf(nil, "# %s\r\n\nText %d, no line end", name, i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
