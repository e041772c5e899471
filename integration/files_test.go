package integration

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// fileInfo is a file as the list of a node has it.
type fileInfo struct {
	Path, SHA256, Commit string
	Size, Missing        int64
}

func (n *node) file(name string) (f fileInfo, err error) {
	var list struct{ Items []fileInfo }
	if err := n.get("files?prefix="+name, &list); err != nil {
		return f, err
	}
	if len(list.Items) != 1 {
		return f, fmt.Errorf("%s lists %d files", n.name, len(list.Items))
	}
	return list.Items[0], nil
}

func (n *node) putFile(name string, data []byte) {
	n.t.Helper()
	status, answer, err := n.do("PUT", "/-/files/"+name, nil, bytes.NewReader(data))
	if err != nil || status != 201 {
		n.t.Fatalf("%s: PUT %s: %d, %v, %.300s", n.name, name, status, err, answer)
	}
}

// awaitFile waits until the node has a file whole, and compares it.
func (n *node) awaitFile(name string, want []byte) time.Duration {
	n.t.Helper()
	took := eventually(n.t, n.name+" has the whole file", func() error {
		f, err := n.file(name)
		if err == nil && f.Missing > 0 {
			err = fmt.Errorf("%d bytes of %d are missing", f.Missing, f.Size)
		}
		return err
	})
	status, got, err := n.do("GET", "/-/files/"+name, nil, nil)
	if err != nil || status != 200 || !bytes.Equal(got, want) {
		n.t.Fatalf("%s: GET %s: %d, %v, %d bytes of %d", n.name, name, status, err, len(got), len(want))
	}
	return took
}

func randomBytes(n int) []byte {
	rng := rand.New(rand.NewPCG(uint64(n), 3))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

var landed = regexp.MustCompile(`msg="a chunk of a file has come" chunk=([0-9a-f]{64}) .*bytes=(\d+) kept=(\d+)`)

// fetched reads from a node's log which chunks it has fetched, and how many
// bytes of each.
func (n *node) fetched() (chunks map[string]int, kept int) {
	chunks = make(map[string]int)
	for _, m := range landed.FindAllStringSubmatch(n.log.String(), -1) {
		size, _ := strconv.Atoi(m[2])
		had, _ := strconv.Atoi(m[3])
		chunks[m[1]] += size
		kept += had
	}
	return chunks, kept
}

// TestFileWhileEditsGoOn copies 50 MiB while pages are saved on all nodes. One
// node is killed in the middle of it: it goes on where it was.
func TestFileWhileEditsGoOn(t *testing.T) {
	all := mesh(t, "e1", "e2", "e3")
	data := randomBytes(50<<20 + 12345)
	stop, ended := make(chan struct{}), make(chan int, 2)
	end := sync.OnceFunc(func() { close(stop) })
	defer end()
	for i, n := range []*node{all[0], all[2]} {
		go func() {
			saves := 0
			for ; ; saves++ {
				select {
				case <-stop:
					ended <- saves
					return
				default:
					if _, _, err := n.put(fmt.Sprintf("Page-%d-%d", i, saves%20), fmt.Sprintf("text %d\n", saves)); err != nil {
						t.Errorf("a save failed: %v", err)
						ended <- saves
						return
					}
				}
			}
		}()
	}
	all[0].putFile("large.bin", data)
	victim := all[1]
	middle := func() error {
		f, err := victim.file("large.bin")
		if err == nil && (f.Missing > f.Size*8/10 || f.Missing == 0) {
			err = fmt.Errorf("%d bytes of %d are missing", f.Missing, f.Size)
		}
		return err
	}
	eventually(t, "the copy is under way", middle)
	victim.kill()
	before, _ := victim.fetched()
	victim.log = &tail{}
	victim.start().awaitReady()
	took := victim.awaitFile("large.bin", data)
	all[2].awaitFile("large.bin", data)
	end()
	saves := <-ended + <-ended
	awaitEqual(t, all...)
	after, kept := victim.fetched()
	bytes := 0
	for chunk, size := range after {
		bytes += size
		if before[chunk] > 0 {
			t.Errorf("chunk %s was fetched again", chunk)
		}
	}
	if len(before) == 0 || len(after) == 0 || len(before)+len(after) > 51 || bytes+kept > len(data) {
		t.Errorf("%d chunks before the kill, %d after it with %d bytes", len(before), len(after), bytes)
	}
	t.Logf("%d saves meanwhile; killed after %d of 51 chunks; %d bytes more, %d of a chunk that was begun were kept; whole %v after the start",
		saves, len(before), bytes, kept, took.Round(time.Millisecond))
}

// parts is how many bytes of chunks lie half fetched in a node's directory.
func (n *node) parts() (bytes int64) {
	files, _ := filepath.Glob(filepath.Join(n.dir, "chunks", "part", "*"))
	for _, name := range files {
		if info, err := os.Stat(name); err == nil {
			bytes += info.Size()
		}
	}
	return bytes
}

// TestFileOverSlowLink: while 5 MiB cross a link of 2,000 bit/s, which takes
// hours, edits of 1 KiB pass them. When the link is mended the file comes whole,
// from where it was.
func TestFileOverSlowLink(t *testing.T) {
	t.Parallel() // it waits for a slow link most of the time
	w := newNetwork(t, "e1", "e2")
	w.throttle("e1", "e2", "2kbit")
	e1 := w.node("e1").start().awaitReady()
	e2 := w.node("e2", "--join", w.ip("e1")+":8000").start().awaitReady()
	e1.awaitNodes(2)
	eventually(t, "both are linked and slow", func() error {
		for _, n := range []*node{e1, e2} {
			s, err := n.status()
			if err != nil {
				return err
			}
			if len(s.Neighbors) != 1 || s.Neighbors[0].State != "slow" {
				return fmt.Errorf("%s: %+v", n.name, s.Neighbors)
			}
		}
		return nil
	})
	data := randomBytes(5 << 20)
	told := e2.watch()
	e1.putFile("slow.bin", data)
	await := func(commit string) time.Time {
		t.Helper()
		for {
			select {
			case e := <-told:
				if e.Args.Checksum == commit {
					return e.at
				}
			case <-time.After(patience):
				t.Fatalf("an edit has not come: %s", e2.log)
			}
		}
	}
	moving := func(from int64) {
		t.Helper()
		eventually(t, "pieces of the file come", func() error {
			if now := e2.parts(); now < from+300 {
				return fmt.Errorf("%d bytes, %d before", now, from)
			}
			return nil
		})
	}
	moving(0)
	var lags []time.Duration
	var pieces []int64
	text := prose(1000)
	for i := range 8 {
		before := e2.parts()
		begun := time.Now()
		s := e1.mustPut(fmt.Sprintf("Page-%d", i), text[i:])
		lags = append(lags, await(s.Commit).Sub(begun))
		pieces = append(pieces, e2.parts()-before)
		moving(e2.parts())
		<-time.After(time.Duration(i) * 300 * time.Millisecond) // so that edits come at different moments of a piece
	}
	t.Logf("edits of 1 KiB cross in %v; bytes of the file that came meanwhile: %v", lags, pieces)
	if slices.Max(lags) > 30*time.Second {
		t.Errorf("edits wait for the file: %v", lags)
	}
	assertNobodyDead(t, e1, e2)
	kept := e2.parts()
	w.mend("e1", "e2")
	took := e2.awaitFile("slow.bin", data)
	total := 0
	chunks, had := e2.fetched()
	for _, size := range chunks {
		total += size
	}
	if total+had != len(data) {
		t.Errorf("%d bytes were fetched and %d of chunks that were begun made use of, for a file of %d", total, had, len(data))
	}
	t.Logf("%d bytes had come; the rest %v after the link was mended", kept, took.Round(time.Millisecond))
}

// prose is text that packs as text does.
func prose(n int) string {
	rng := rand.New(rand.NewPCG(4, 4))
	words := strings.Fields("the node keeps every page and tells its neighbors what is new so that nobody waits for a slow link when there is another way around it")
	var b strings.Builder
	for b.Len() < n+100 {
		fmt.Fprintf(&b, "%s%d ", words[rng.IntN(len(words))], rng.IntN(1000))
	}
	return b.String()[:n+24]
}

// TestBadFileRequests: each gets its clear error, nothing is kept, and the node
// goes on.
func TestBadFileRequests(t *testing.T) {
	n := newNode(t, "e1").start().awaitReady()
	for _, c := range []struct {
		what, method, path string
		body               io.Reader
		want               int
	}{
		{"64 MiB and a byte", "PUT", "large.bin", bytes.NewReader(make([]byte, 64<<20+1)), 413},
		{"the same without a length", "PUT", "large.bin", io.LimitReader(endless{}, 64<<20+1), 413},
		{"out of the wiki", "PUT", "..%2f..%2fx", strings.NewReader("x"), 400},
		{"hidden", "PUT", ".x", strings.NewReader("x"), 400},
		{"a page's path", "PUT", "x.md", strings.NewReader("x"), 400},
		{"no base", "PUT", "x?base=zz", strings.NewReader("x"), 400},
		{"missing", "GET", "x", nil, 404},
		{"missing", "DELETE", "x?base=current", nil, 404},
		{"no method", "PATCH", "x", nil, 405},
	} {
		status, answer, err := n.do(c.method, "/-/files/"+c.path, nil, c.body)
		if c.want == 413 && err != nil {
			continue // it hung up on a client that goes on sending
		}
		if err != nil || status != c.want {
			t.Errorf("%s: status %d, want %d; %v; %.300s", c.what, status, c.want, err, answer)
		}
	}
	if s := n.mustStatus(); s.Commits != 0 {
		t.Errorf("%d commits were made", s.Commits)
	}
	// 64 MiB exactly is a file, and is removed like others.
	n.putFile("exact.bin", make([]byte, 64<<20))
	if f, err := n.file("exact.bin"); err != nil || f.Size != 64<<20 {
		t.Errorf("%+v, %v", f, err)
	}
	eventually(t, "nothing is left of what was refused", func() error {
		left, err := filepath.Glob(filepath.Join(n.dir, "chunks", "*", "*"))
		if err == nil && len(left) != 1 { // 64 equal chunks
			err = fmt.Errorf("%d files: %v", len(left), left)
		}
		return err
	})
}

// endless is a body that says nothing of its length.
type endless struct{}

func (endless) Read(b []byte) (int, error) { clear(b); return len(b), nil }
