package wiki_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki"
)

const png = "\x89PNG\r\n\x1a\n and so on"

// putFile uploads a file and returns its commit.
func (w *world) putFile(name, data string, status int, query string) string {
	w.t.Helper()
	answer := w.do("PUT", "/-/files/"+name+query, data)
	wantStatus(w.t, answer, status)
	return decode(w.t, answer)["commit"].(string)
}

func TestFileIsPutAndRead(t *testing.T) {
	w := newWorld(t, nil)
	data := png + strings.Repeat("0123456789", 200_000)
	answer := w.do("PUT", "/-/files/img/net.png?author=Ann&summary=first", data)
	wantStatus(t, answer, 201)
	saved := decode(t, answer)
	if saved["path"] != "img/net.png" || saved["size"] != float64(len(data)) || len(saved["sha256"].(string)) != 64 || saved["heads"].([]any)[0] != saved["commit"] {
		t.Errorf("answer %v", saved)
	}
	got := w.get("/-/files/img/net.png")
	wantStatus(t, got, 200)
	for header, want := range map[string]string{
		"Content-Type": "image/png", "Content-Disposition": "inline; filename=net.png", "X-Content-Type-Options": "nosniff", "Accept-Ranges": "bytes",
		"Content-Length": fmt.Sprint(len(data)),
	} {
		if got.Header().Get(header) != want {
			t.Errorf("%s is %q, want %q", header, got.Header().Get(header), want)
		}
	}
	if policy := got.Header().Get("Content-Security-Policy"); !strings.Contains(policy, "sandbox") || !strings.Contains(policy, "default-src 'none'") {
		t.Errorf("policy %q", policy)
	}
	if got.Body.String() != data {
		t.Errorf("%d bytes came back of %d", got.Body.Len(), len(data))
	}
	part := w.get("/-/files/img/net.png", "Range", "bytes=1048570-1048589")
	if wantStatus(t, part, 206); part.Body.String() != data[1048570:1048590] {
		t.Errorf("a range over two chunks: %q", part.Body)
	}
	if last := w.get("/-/files/img/net.png", "Range", "bytes=-5"); last.Code != 206 || last.Body.String() != data[len(data)-5:] {
		t.Errorf("the last bytes: %d %q", last.Code, last.Body)
	}
	wantStatus(t, w.get("/-/files/img/net.png", "Range", "bytes=99999999-"), 416)
	if again := w.get("/-/files/img/net.png", "If-None-Match", got.Header().Get("ETag")); again.Code != 304 || again.Body.Len() != 0 {
		t.Errorf("If-None-Match: %d", again.Code)
	}
	head := w.do("HEAD", "/-/files/img/net.png", "")
	if wantStatus(t, head, 200); head.Body.Len() != 0 || head.Header().Get("Content-Length") != fmt.Sprint(len(data)) {
		t.Errorf("HEAD: %d bytes, length %s", head.Body.Len(), head.Header().Get("Content-Length"))
	}
	status := decode(t, w.get(api+"status"))
	if status["files"] != 1.0 || status["files_missing"] != 0.0 || status["pages"] != 0.0 {
		t.Errorf("status %v", status)
	}
}

func TestFileEdits(t *testing.T) {
	w := newWorld(t, nil)
	first := w.putFile("a.txt", "one", 201, "")
	if again := w.putFile("a.txt", "one", 200, ""); again != first {
		t.Error("the same file again makes a commit")
	}
	answer := w.do("PUT", "/-/files/a.txt", "two")
	wantStatus(t, answer, 409)
	if problem := decode(t, answer); problem["code"] != "conflict" || problem["heads"].([]any)[0] != first || problem["request_id"] == "" {
		t.Errorf("problem %v", problem)
	}
	second := w.putFile("a.txt", "two", 200, "?base="+first)
	wantStatus(t, w.do("PUT", "/-/files/a.txt?base="+first, "three"), 409)
	wantStatus(t, w.do("PUT", "/-/files/a.txt?base=zz", "three"), 400)
	if answer = w.do("PUT", "/-/files/a.txt?base="+strings.Repeat("ab", 20), "three"); answer.Code != 409 || decode(t, answer)["code"] != "unknown_base" {
		t.Errorf("unknown base: %d %s", answer.Code, answer.Body)
	}
	third := w.putFile("a.txt", "three", 200, "?base=current&author=Bob&summary=again")
	for rev, want := range map[string]string{first: "one", second: "two", third: "three"} {
		got := w.get("/-/files/a.txt?rev=" + rev)
		if got.Body.String() != want || !strings.Contains(got.Header().Get("Cache-Control"), "immutable") {
			t.Errorf("revision %s: %q", rev, got.Body)
		}
	}
	history := decode(t, w.get(api+"history/-/files/a.txt"))["items"].([]any)
	if len(history) != 3 || history[0].(fields)["author"] != "Bob" || history[0].(fields)["path"] != "-/files/a.txt" || history[0].(fields)["kind"] != "file" {
		t.Errorf("history %v", history)
	}
	if recent := decode(t, w.get(api+"recent"))["items"].([]any); len(recent) != 3 || recent[0].(fields)["path"] != "-/files/a.txt" {
		t.Errorf("recent %v", recent)
	}
	if page := w.get("/-/recent").Body.String(); !strings.Contains(page, `<a href="/-/files/a.txt">a.txt</a>`) {
		t.Errorf("recent changes do not name the file: %s", page)
	}
	wantStatus(t, w.do("DELETE", "/-/files/a.txt", ""), 409)
	wantStatus(t, w.do("DELETE", "/-/files/a.txt?base="+third, ""), 200)
	wantStatus(t, w.do("DELETE", "/-/files/a.txt?base=current", ""), 404)
	wantStatus(t, w.get("/-/files/a.txt"), 404)
	wantStatus(t, w.get("/-/files/a.txt?history"), 200)
	if got := w.get("/-/files/a.txt?rev=" + first).Body.String(); got != "one" {
		t.Errorf("an old revision of a deleted file: %q", got)
	}
	w.putFile("a.txt", "anew", 201, "")
	wantStatus(t, w.get("/-/files/b.txt"), 404)
	wantStatus(t, w.get(api+"history/-/files/b.txt"), 404)
}

func TestFilesAreListed(t *testing.T) {
	w := newWorld(t, nil)
	w.put("img/Page", "x\n")
	for i := range 5 {
		w.putFile(fmt.Sprintf("img/%d.png", i), fmt.Sprint("image ", i), 201, "")
	}
	w.putFile("other.txt", "x", 201, "")
	w.putFile("gone.txt", "x", 201, "")
	wantStatus(t, w.do("DELETE", "/-/files/gone.txt?base=current", ""), 200)
	var got []string
	for next := ""; ; {
		list := decode(t, w.get(api+"files?prefix=img/&limit=2&cursor="+next))
		for _, item := range list["items"].([]any) {
			f := item.(fields)
			got = append(got, f["path"].(string))
			if f["size"] != 7.0 || f["missing"] != 0.0 || f["author"] != "anonymous" || f["conflict"] != false || len(f["sha256"].(string)) != 64 || f["time"] == "" {
				t.Errorf("item %v", f)
			}
		}
		if list["next"] == nil {
			break
		}
		next = list["next"].(string)
	}
	if strings.Join(got, " ") != "img/0.png img/1.png img/2.png img/3.png img/4.png" {
		t.Errorf("got %v", got)
	}
	page := w.get("/-/files/").Body.String()
	for _, want := range []string{`href="/-/files/img/0.png"`, "7 bytes", "other.txt", `enctype="multipart/form-data"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the list has no %q", want)
		}
	}
	if strings.Contains(page, "gone.txt") {
		t.Error("a deleted file is listed")
	}
	if pages := decode(t, w.get(api+"pages"))["items"].([]any); len(pages) != 1 {
		t.Errorf("pages %v", pages)
	}
}

// TestUploadByForm is what a browser without JavaScript does.
func TestUploadByForm(t *testing.T) {
	w := newWorld(t, func(c *wiki.Config) { c.EditToken = "secret" })
	wantStatus(t, w.do("POST", "/-/files/", uploadBody, "Content-Type", uploadType), 401)
	with := func(fields ...string) string {
		body := ""
		for i := 0; i < len(fields); i += 2 {
			body += "--xyz\r\nContent-Disposition: form-data; name=\"" + fields[i] + "\"\r\n\r\n" + fields[i+1] + "\r\n"
		}
		return body + uploadBody
	}
	answer := w.do("POST", "/-/files/", with("token", "secret", "author", "Ann"), "Content-Type", uploadType)
	wantStatus(t, answer, 303)
	if answer.Header().Get("Location") != "/-/files/img/net.png?history" || len(answer.Result().Cookies()) != 1 {
		t.Errorf("sent to %q", answer.Header().Get("Location"))
	}
	if got := w.get("/-/files/img/net.png").Body.String(); got != "bytes" {
		t.Errorf("saved %q", got)
	}
	page := w.get("/-/files/img/net.png?history").Body.String()
	for _, want := range []string{"Ann", `name="base"`, `action="/-/files/img/net.png"`, "Delete this file"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page of the file has no %q", want)
		}
	}
	cookie := answer.Result().Cookies()[0].Name + "=" + answer.Result().Cookies()[0].Value
	replaced := strings.Replace(with("base", "current"), "bytes", "other bytes", 1)
	wantStatus(t, w.do("POST", "/-/files/img/net.png", replaced, "Content-Type", uploadType, "Cookie", cookie), 303)
	if got := w.get("/-/files/img/net.png").Body.String(); got != "other bytes" {
		t.Errorf("saved %q", got)
	}
	clash := w.do("POST", "/-/files/", uploadBody, "Content-Type", uploadType, "Cookie", cookie)
	if wantStatus(t, clash, 409); !strings.Contains(clash.Body.String(), "is there already") {
		t.Errorf("a clash says %s", clash.Body)
	}
	wantStatus(t, w.do("POST", "/-/files/img/net.png", "action=delete&base=current", "Content-Type", "application/x-www-form-urlencoded", "Cookie", cookie), 303)
	wantStatus(t, w.get("/-/files/img/net.png"), 404)
	for _, bad := range []string{"", "--xyz--\r\n", "--xyz\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\ny", strings.Repeat("--xyz\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\ny\r\n", 50)} {
		if answer := w.do("POST", "/-/files/", bad, "Content-Type", uploadType, "Cookie", cookie); answer.Code != 400 {
			t.Errorf("%.40q: status %d", bad, answer.Code)
		}
	}
	cut := uploadBody[:len(uploadBody)-12]
	wantStatus(t, w.do("POST", "/-/files/", cut, "Content-Type", uploadType, "Cookie", cookie), 400)
}

// TestBadFiles: names, sizes and bodies that can't be.
func TestBadFiles(t *testing.T) {
	w := newWorld(t, nil)
	for _, name := range []string{"..%2F..%2Fetc%2Fpasswd", "../x", ".hidden", "a/.b", "x.md", "a%00b", "-/x", "system/x", "favicon.ico", "a//b", "a.git/x", "%FF", "a/", "..", "x%0Ay", strings.Repeat("x", 201)} {
		for _, method := range []string{"PUT", "GET", "DELETE"} {
			if answer := w.do(method, "/-/files/"+name, "x"); answer.Code != 400 {
				t.Errorf("%s %s: status %d", method, name, answer.Code)
			}
		}
	}
	if answer := w.do("PUT", "/-/files/x.md", "x"); decode(t, answer)["code"] != "bad_name" || !strings.Contains(answer.Body.String(), ".md") {
		t.Errorf("%s", answer.Body)
	}
	wantStatus(t, w.do("PUT", "/-/files/a.txt?author=%3Cb%3E", "x"), 400)
	large := httptest.NewRequest("PUT", "/-/files/large", unread{t})
	large.ContentLength = storage.MaxFile + 1
	answer := httptest.NewRecorder()
	w.handler.ServeHTTP(answer, large)
	if wantStatus(t, answer, 413); decode(t, answer)["code"] != "too_large" {
		t.Errorf("%s", answer.Body)
	}
	unsaid := httptest.NewRequest("PUT", "/-/files/large", io.LimitReader(zeros{}, storage.MaxFile+1))
	unsaid.ContentLength = -1
	answer = httptest.NewRecorder()
	w.handler.ServeHTTP(answer, unsaid)
	wantStatus(t, answer, 413)
	cut := httptest.NewRequest("PUT", "/-/files/cut", io.MultiReader(strings.NewReader("half"), broken{}))
	answer = httptest.NewRecorder()
	w.handler.ServeHTTP(answer, cut)
	wantStatus(t, answer, 400)
	if stats := w.store.Stats(); stats.Commits != 0 {
		t.Errorf("%d commits were made", stats.Commits)
	}
}

// unread fails the test when it is read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body is read on")
	return 0, io.EOF
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// fullStore has no room for files.
type fullStore struct{ wiki.Store }

func (fullStore) ReadFile(context.Context, io.Reader, int64) (*storage.Upload, error) {
	return nil, storage.ErrDiskFull
}

func TestFileOnFullDisk(t *testing.T) {
	w := newWorld(t, func(c *wiki.Config) { c.Store = fullStore{c.Store} })
	if answer := w.do("PUT", "/-/files/a.txt", "x"); answer.Code != 507 || decode(t, answer)["code"] != "disk_full" {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
}

// TestFileTypes: what could run is never shown by the browser itself.
func TestFileTypes(t *testing.T) {
	w := newWorld(t, nil)
	script := "<script>alert(1)</script>"
	for _, c := range []struct{ name, data, contentType, disposition string }{
		{"a.png", png, "image/png", "inline"},
		{"evil.png", "<html>" + script, "image/png", "inline"}, // a broken image: nosniff
		{"a.html", "<html>" + script, "application/octet-stream", "attachment"},
		{"a.xhtml", `<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml">` + script + `</html>`, "application/octet-stream", "attachment"},
		{"a.svg", `<svg xmlns="http://www.w3.org/2000/svg">` + script + `</svg>`, "image/svg+xml", "attachment"},
		{"a.js", "alert(1)", "text/plain; charset=utf-8", "inline"},
		{"noext", "just text", "text/plain; charset=utf-8", "inline"},
		{"noext-html", "<!doctype html>" + script, "application/octet-stream", "attachment"},
		{"noext-png", png, "image/png", "inline"},
		{"a.txt", "<html>" + script, "text/plain; charset=utf-8", "inline"},
		{"a.csv", "a\x00b", "application/octet-stream", "attachment"},
		{"a.pdf", "%PDF-1.7", "application/pdf", "inline"},
		{"a.exe", "MZ\x90\x00", "application/octet-stream", "attachment"},
		{"a.zip", "PK\x03\x04", "application/octet-stream", "attachment"},
		{"a.xml", "<?xml version=\"1.0\"?><x/>", "application/octet-stream", "attachment"},
		{"a.mp4", "x", "video/mp4", "inline"},
		{"empty", "", "text/plain; charset=utf-8", "inline"},
		{"größe \"x\".txt", "x", "text/plain; charset=utf-8", "inline"},
	} {
		address := strings.NewReplacer(" ", "%20", "\"", "%22", "ö", "%C3%B6", "ß", "%C3%9F").Replace(c.name)
		w.putFile(address, c.data, 201, "")
		got := w.get("/-/files/" + address)
		disposition, _, _ := strings.Cut(got.Header().Get("Content-Disposition"), ";")
		if got.Header().Get("Content-Type") != c.contentType || disposition != c.disposition {
			t.Errorf("%s: %q, %q; want %q, %q", c.name, got.Header().Get("Content-Type"), disposition, c.contentType, c.disposition)
		}
		policy := got.Header().Get("Content-Security-Policy")
		if got.Header().Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "script") || c.name != "a.pdf" && !strings.HasSuffix(policy, "sandbox") {
			t.Errorf("%s: policy %q", c.name, policy)
		}
		if got.Body.String() != c.data {
			t.Errorf("%s: %q", c.name, got.Body)
		}
	}
}

// TestFilesInPages: an image is red until its file is there.
func TestFilesInPages(t *testing.T) {
	w := newWorld(t, nil)
	w.put("docs/Page", "![[img/net.png|300]] ![x](../img/net.png) [paper](paper.pdf)\n")
	for range 2 { // from the cache too
		page := w.get("/docs/Page").Body.String()
		for _, want := range []string{`<a href="/-/files/?path=img%2Fnet.png" class="missing">img/net.png</a>`, `<a href="/-/files/?path=docs%2Fpaper.pdf" class="missing">paper</a>`} {
			if !strings.Contains(page, want) {
				t.Errorf("no %s in %s", want, page)
			}
		}
	}
	w.putFile("img/net.png", png, 201, "")
	w.putFile("docs/paper.pdf", "%PDF", 201, "")
	page := w.get("/docs/Page").Body.String()
	for _, want := range []string{`<img src="/-/files/img/net.png" alt="img/net.png" width="300">`, `<img src="/-/files/img/net.png" alt="x">`, `<a href="/-/files/docs/paper.pdf">paper</a>`} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s in %s", want, page)
		}
	}
	wantStatus(t, w.do("DELETE", "/-/files/img/net.png?base=current", ""), 200)
	if page := w.get("/docs/Page").Body.String(); !strings.Contains(page, "?path=img%2Fnet.png") {
		t.Errorf("the image is gone and shown: %s", page)
	}
	if form := w.get("/-/files/?path=img%2Fnet.png").Body.String(); !strings.Contains(form, `value="img/net.png"`) {
		t.Error("the form does not know the name")
	}
	if missing := w.get("/-/files/img/net.png"); missing.Code != 404 || !strings.Contains(missing.Body.String(), "deleted") {
		t.Errorf("%d %s", missing.Code, missing.Body)
	}
}

// TestFileConflict: two uploads at the same time are both kept, listed, and
// settled by a third.
func TestFileConflict(t *testing.T) {
	w := newWorld(t, nil)
	first := w.putFile("a.txt", "first", 201, "")
	for _, text := range []string{"ours", "theirs"} {
		u, err := w.store.ReadFile(t.Context(), strings.NewReader(text), storage.MaxFile)
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.store.Save(t.Context(), storage.Draft{Kind: storage.KindFile, Path: "a.txt", Content: u.Manifest().Encode(), Parents: []storage.Hash{hash(t, first)}, Author: storage.Ident{Name: "Bob", Time: 1}})
		if err = errors.Join(err, u.Release()); err != nil {
			t.Fatal(err)
		}
	}
	items := decode(t, w.get(api+"conflicts"))["items"].([]any)
	if len(items) != 1 || items[0].(fields)["path"] != "-/files/a.txt" || items[0].(fields)["versions"] != 2.0 {
		t.Fatalf("conflicts %v", items)
	}
	item := decode(t, w.get(api+"files"))["items"].([]any)[0].(fields)
	if item["conflict"] != true || len(item["heads"].([]any)) != 2 {
		t.Errorf("item %v", item)
	}
	var texts []string
	for _, head := range item["heads"].([]any) {
		texts = append(texts, w.get("/-/files/a.txt?rev="+head.(string)).Body.String())
	}
	if shown := w.get("/-/files/a.txt").Body.String(); shown != texts[0] {
		t.Errorf("shown is %q, the smallest head has %q", shown, texts[0])
	}
	if page := w.get("/-/files/a.txt?history").Body.String(); !strings.Contains(page, "2 versions") {
		t.Errorf("the page of the file does not say it: %s", page)
	}
	if page := w.get("/-/conflicts").Body.String(); !strings.Contains(page, `href="/-/files/a.txt"`) || !strings.Contains(page, `<span class="count">1</span>`) {
		t.Errorf("the list of conflicts: %s", page)
	}
	wantStatus(t, w.do("PUT", "/-/files/a.txt", "ours"), 409)
	wantStatus(t, w.do("PUT", "/-/files/a.txt?base="+item["heads"].([]any)[0].(string), "settled"), 409)
	w.putFile("a.txt", "settled", 200, "?base="+item["heads"].([]any)[0].(string)+","+item["heads"].([]any)[1].(string))
	if items := decode(t, w.get(api+"conflicts"))["items"].([]any); len(items) != 0 {
		t.Errorf("conflicts %v", items)
	}
	if page := w.get("/-/conflicts").Body.String(); strings.Contains(page, `class="count"`) {
		t.Errorf("the count stays: %s", page)
	}
}

// bringer is a mesh that has the chunks of one store.
type bringer struct {
	wiki.Alone
	from, to *storage.Store
	asked    int
}

func (b *bringer) FetchChunk(ctx context.Context, m storage.MissingChunk) error {
	b.asked++
	if b.from == nil {
		return errors.New("nobody has it")
	}
	data := make([]byte, m.Size)
	if _, _, err := b.from.ReadPiece(m.ID, 0, data); err != nil {
		return err
	}
	return errors.Join(b.to.AddPart(ctx, m.ID, 0, data), b.to.LandPart(m.ID))
}

// TestFileIsReadThrough: a reader gets a file whose bytes are elsewhere still,
// and is told when nobody has them.
func TestFileIsReadThrough(t *testing.T) {
	mesh := &bringer{}
	w := newWorld(t, func(c *wiki.Config) { c.Mesh = mesh })
	far, err := storage.Open(storage.Config{Dir: "far", FS: vfs.NewMem(), Name: "far"})
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	data := bytes.Repeat([]byte("0123456789abcdef"), 160_000)
	u, err := far.ReadFile(t.Context(), bytes.NewReader(data), storage.MaxFile)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = far.Save(t.Context(), storage.Draft{Kind: storage.KindFile, Path: "a.txt", Content: u.Manifest().Encode(), Author: storage.Ident{Name: "Bob"}}); err != nil {
		t.Fatal(err)
	}
	if err := w.store.Admit(t.Context(), far.Node(), "far"); err != nil {
		t.Fatal(err)
	}
	for log := range far.Vector() {
		err = far.Range([]storage.Span{{Log: log}}, func(r storage.Record) bool {
			_, err := w.store.Receive(t.Context(), []storage.Record{r})
			return err == nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	status := decode(t, w.get(api+"status"))
	if status["files_missing"] != 1.0 {
		t.Errorf("status %v", status)
	}
	if item := decode(t, w.get(api+"files"))["items"].([]any)[0].(fields); item["missing"] != float64(len(data)) {
		t.Errorf("item %v", item)
	}
	answer := w.get("/-/files/a.txt", "Accept", "application/json")
	if wantStatus(t, answer, 503); answer.Header().Get("Retry-After") == "" || decode(t, answer)["code"] != "file_missing" {
		t.Errorf("%v %s", answer.Header(), answer.Body)
	}
	if answer := w.do("HEAD", "/-/files/a.txt", ""); answer.Code != 200 || mesh.asked != 1 {
		t.Errorf("HEAD: %d, asked %d times", answer.Code, mesh.asked)
	}
	mesh.from, mesh.to = far, w.store
	last := w.get("/-/files/a.txt", "Range", fmt.Sprintf("bytes=%d-", len(data)-10))
	if wantStatus(t, last, 206); last.Body.String() != string(data[len(data)-10:]) || mesh.asked != 2 {
		t.Errorf("the last chunk: %q, asked %d times", last.Body, mesh.asked)
	}
	whole := w.get("/-/files/a.txt")
	if wantStatus(t, whole, 200); !bytes.Equal(whole.Body.Bytes(), data) || mesh.asked != 3 { // the first two chunks are equal
		t.Errorf("%d bytes, asked %d times", whole.Body.Len(), mesh.asked)
	}
	if status := decode(t, w.get(api+"status")); status["files_missing"] != 0.0 {
		t.Errorf("status %v", status)
	}
}

// TestFileEventsAreTold: live readers hear of files by their names in lists.
func TestFileEventsAreTold(t *testing.T) {
	w := newWorld(t, nil)
	server := httptest.NewServer(w.handler)
	defer server.Close()
	stream, err := http.Get(server.URL + api + "events")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	w.putFile("a%20b.txt", "x", 201, "") // the stream has begun: its headers are here
	var got []byte
	for b := make([]byte, 1); !bytes.HasSuffix(got, []byte("}\n")); got = append(got, b...) {
		if _, err := stream.Body.Read(b); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(string(got), `"page":"-/files/a b.txt"`) {
		t.Errorf("told %s", got)
	}
}
