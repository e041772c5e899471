package main

import (
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// serveLimit is the other side of a comparison: a server in Go that does the
// bare operation and nothing else. It prints its address like erwik does.
func serveLimit(what, dir string) error {
	var handler http.Handler
	switch what {
	case "view":
		page, err := os.ReadFile(filepath.Join(dir, "page.html"))
		if err != nil {
			return err
		}
		length := strconv.Itoa(len(page))
		handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Content-Length", length)
			w.Write(page)
		})
	case "save":
		db, err := pebble.Open(filepath.Join(dir, "limit"), &pebble.Options{FormatMajorVersion: pebble.FormatNewest, MemTableSize: 8 << 20, CacheSize: 16 << 20})
		if err != nil {
			return err
		}
		defer db.Close()
		handler = saveLimit(db)
	case "git": // dir holds the repositories
		handler = gitLimit(dir)
	default:
		return fmt.Errorf("no limit is called %q", what)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("listening on http://%s\n", l.Addr())
	return http.Serve(l, handler)
}

// gitLimit serves repositories as git itself does.
func gitLimit(dir string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := cgi.Handler{Path: gitBackend, Env: []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_PROTOCOL=" + r.Header.Get("Git-Protocol")}}
		h.ServeHTTP(w, r)
	})
}

// gitBackend is where Debian and most others keep it.
const gitBackend = "/usr/lib/git-core/git-http-backend"

// saveLimit does one synced batch a request: blob, head and log entry.
func saveLimit(db *pebble.DB) http.Handler {
	var sequence atomic.Uint64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		sum := sha1.Sum(body)
		n := binary.BigEndian.AppendUint64([]byte{'l'}, sequence.Add(1))
		b := db.NewBatch()
		b.Set(append([]byte{'b'}, sum[:]...), body, nil)
		b.Set([]byte("h"+r.URL.Path), sum[:], nil)
		b.Set(n, sum[:], nil)
		if err := b.Commit(pebble.Sync); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, "%x\n", sum)
	})
}
