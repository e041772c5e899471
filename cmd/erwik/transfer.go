package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/erwik/erwik/wiki/page"
)

// source is one file to import.
type source struct {
	name page.Name
	file string
}

func (a *app) importCommand() *cobra.Command {
	var data string
	var e editFlags
	c := e.add(a, a.client(&cobra.Command{
		Use: "import FOLDER", Short: "Import a folder of Markdown files", Args: cobra.ExactArgs(1),
		Long: `Import the .md files of a folder, each as the page of its path. A page that has the
same text already is left alone, so an import can be repeated or resumed.

With the node's data directory at hand (--data) the whole folder goes in one
stream; without it, page by page, as any editor could.`,
		Example: "  erwik import ~/notes --data wiki -m \"my notes\"",
		RunE: func(c *cobra.Command, args []string) error {
			files, other, err := a.findPages(args[0])
			if err != nil {
				return err
			}
			if len(files) == 0 {
				return fmt.Errorf("no .md file in %s", args[0])
			}
			if other > 0 {
				fmt.Fprintf(a.stderr, "%d files are no pages (.md) and are left out\n", other)
			}
			key, keyErr := a.findKey(c, data)
			var done tally
			if keyErr == nil {
				done, err = a.importStream(c.Context(), args[0], files, key, &e)
			}
			var p *problem
			if keyErr != nil || errors.As(err, &p) && p.Status == http.StatusForbidden || errors.As(err, &p) && p.Status == http.StatusUnauthorized {
				done, err = a.importEach(c.Context(), args[0], files, &e)
			}
			if err != nil {
				return err
			}
			return a.reportImport(done)
		},
	}))
	a.dataFlag(c, &data)
	return c
}

// tally is what became of an import.
type tally struct {
	Done    int    `json:"done"`
	Skipped int    `json:"skipped"`
	Failed  int    `json:"failed"`
	Digest  string `json:"digest,omitempty"`
	Seconds float64
}

func (a *app) reportImport(t tally) error {
	if a.json {
		if err := a.printJSON(map[string]any{"done": t.Done, "skipped": t.Skipped, "failed": t.Failed, "digest": t.Digest, "seconds": t.Seconds}); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(a.stdout, "imported %d pages, %d were there already, %d failed, in %.1f s\n", t.Done, t.Skipped, t.Failed, t.Seconds)
	}
	if t.Failed > 0 {
		return silentError{fmt.Errorf("%d pages failed", t.Failed)}
	}
	return nil
}

// findPages lists the pages of a folder in the order of their names; hidden
// folders are not looked into.
func (a *app) findPages(folder string) (files []source, other int, err error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, 0, fmt.Errorf("import: %w. SOURCE is a folder of Markdown files", err)
	}
	defer root.Close()
	bad := 0
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".git":
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		case !strings.HasSuffix(path, ".md"):
			other++
			return nil
		}
		name, err := page.NameOfFile(path)
		if err != nil {
			fmt.Fprintf(a.stderr, "erwik: %s: %v\n", path, err)
			bad++
			return nil
		}
		files = append(files, source{name, path})
		return nil
	})
	if err == nil && bad > 0 {
		err = fmt.Errorf("%d files can't be pages; rename them, and import again", bad)
	}
	sort.Slice(files, func(i, j int) bool { return files[i].name < files[j].name })
	return files, other, err
}

func (a *app) progress(total int, what string) *progressbar.ProgressBar {
	if !terminal(a.stderr) {
		return progressbar.DefaultSilent(int64(total))
	}
	return progressbar.NewOptions(total, progressbar.OptionSetWriter(a.stderr), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("pages"),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
}

// importStream sends the folder as one stream of JSON lines.
func (a *app) importStream(ctx context.Context, folder string, files []source, key string, e *editFlags) (t tally, err error) {
	start := time.Now()
	root, err := os.OpenRoot(folder)
	if err != nil {
		return t, err
	}
	defer root.Close()
	reader, writer := io.Pipe()
	defer reader.Close()
	sent := make(chan error, 1)
	var refused []string // told of once the sender has ended
	go func() {
		w := bufio.NewWriterSize(writer, 256<<10)
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		var err error
		for _, f := range files {
			var text []byte
			if text, err = root.ReadFile(f.file); err != nil {
				break
			}
			if !utf8.Valid(text) {
				refused = append(refused, f.file)
				continue
			}
			line := map[string]any{"path": f.name, "text": string(text), "author": e.author, "summary": e.summary, "time": start.UTC().Truncate(time.Second)}
			if err = encoder.Encode(line); err != nil {
				break
			}
		}
		err = errors.Join(err, w.Flush())
		writer.CloseWithError(err)
		sent <- err
	}()
	response, err := a.open(ctx, http.MethodPost, "/-/api/v1/import", nil, key, reader, "application/x-ndjson")
	if err != nil {
		reader.Close()
		<-sent
		return t, err
	}
	defer response.Body.Close()
	bar := a.progress(len(files), "importing")
	t, err = readProgress(response.Body, a.stderr, func(n int) { bar.Set(n) })
	bar.Finish()
	reader.Close()
	if sendErr := <-sent; err == nil && sendErr != nil {
		err = fmt.Errorf("read %s: %w", folder, sendErr)
	}
	for _, file := range refused {
		t.Failed++
		fmt.Fprintf(a.stderr, "erwik: %s: %v\n", file, errNotUTF8)
	}
	t.Seconds = time.Since(start).Seconds()
	return t, err
}

// readProgress follows the answer to an import.
func readProgress(body io.Reader, messages io.Writer, step func(int)) (tally, error) {
	lines := json.NewDecoder(body)
	for {
		var p struct {
			tally
			Failures []struct {
				Path, Detail string
				Line         int
			}
			Final bool
			Error string
		}
		if err := lines.Decode(&p); err != nil {
			return p.tally, fmt.Errorf("the import broke off: %w. Run it again: what is there already is skipped", err)
		}
		for _, f := range p.Failures {
			fmt.Fprintf(messages, "erwik: %s: %s\n", f.Path, f.Detail)
		}
		step(p.Done + p.Skipped + p.Failed)
		if p.Error != "" {
			return p.tally, fmt.Errorf("the import broke off: %s. Run it again: what is there already is skipped", p.Error)
		}
		if p.Final {
			return p.tally, nil
		}
	}
}

// importEach saves one page after the other, as any editor could.
func (a *app) importEach(ctx context.Context, folder string, files []source, e *editFlags) (t tally, err error) {
	start := time.Now()
	root, err := os.OpenRoot(folder)
	if err != nil {
		return t, err
	}
	defer root.Close()
	bar := a.progress(len(files), "importing")
	defer bar.Finish()
	for _, f := range files {
		text, err := root.ReadFile(f.file)
		if err != nil {
			return t, fmt.Errorf("read %s: %w", f.file, err)
		}
		if !utf8.Valid(text) {
			t.Failed++
			fmt.Fprintf(a.stderr, "erwik: %s: %v\n", f.file, errNotUTF8)
			continue
		}
		before, err := a.pageText(ctx, string(f.name))
		if err != nil {
			return t, err
		}
		if before != nil && *before == string(text) {
			t.Skipped++
		} else {
			_, err := a.call(ctx, request{method: http.MethodPut, path: "pages/" + pagePath(string(f.name)), body: map[string]any{
				"text": string(text), "summary": e.summary, "author": e.author, "base": e.base,
			}})
			var p *problem
			switch {
			case errors.As(err, &p) && p.Status/100 == 4:
				t.Failed++
				fmt.Fprintf(a.stderr, "erwik: %s: %v\n", f.file, err)
			case err != nil:
				return t, err
			default:
				t.Done++
			}
		}
		bar.Add(1)
	}
	t.Seconds = time.Since(start).Seconds()
	return t, nil
}

// pageText returns a page's text, or nil if there is no such page.
func (a *app) pageText(ctx context.Context, name string) (*string, error) {
	var p struct {
		Text string `json:"text"`
	}
	_, err := a.get(ctx, "pages/"+pagePath(name), nil, &p)
	var missing *problem
	if errors.As(err, &missing) && missing.Status == http.StatusNotFound {
		return nil, nil
	}
	return &p.Text, err
}

func (a *app) exportCommand() *cobra.Command {
	return a.client(&cobra.Command{
		Use: "export DIR", Short: "Write all pages as Markdown files into a folder", Args: cobra.ExactArgs(1),
		Example: "  erwik export backup/2026-11-21",
		RunE: func(c *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("export: %w", err)
			}
			root, err := os.OpenRoot(args[0])
			if err != nil {
				return fmt.Errorf("export: %w", err)
			}
			defer root.Close()
			start := time.Now()
			n, err := a.exportPages(c.Context(), root)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{"pages": n, "seconds": time.Since(start).Seconds()})
			}
			_, err = fmt.Fprintf(a.stdout, "exported %d pages to %s in %.1f s\n", n, args[0], time.Since(start).Seconds())
			return err
		},
	})
}

func (a *app) exportPages(ctx context.Context, root *os.Root) (n int, err error) {
	var status struct {
		Pages int `json:"pages"`
	}
	if _, err := a.get(ctx, "status", nil, &status); err != nil {
		return 0, err
	}
	bar := a.progress(status.Pages, "exporting")
	defer bar.Finish()
	clashes := 0
	query := url.Values{"limit": {"1000"}}
	for {
		var list struct {
			Items []struct {
				Path page.Name `json:"path"`
			} `json:"items"`
			Next *string `json:"next"`
		}
		if _, err := a.get(ctx, "pages", query, &list); err != nil {
			return n, err
		}
		for _, p := range list.Items {
			text, err := a.pageText(ctx, string(p.Path))
			if err != nil {
				return n, err
			}
			if text == nil {
				continue // deleted meanwhile
			}
			err = writePage(root, p.Path.File(), *text)
			if errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EISDIR) {
				clashes++ // page a is the file a.md, page a.md/b needs a folder of that name
				fmt.Fprintf(a.stderr, "erwik: export %q: %v\n", p.Path, err)
				continue
			}
			if err != nil {
				return n, fmt.Errorf("export %q: %w", p.Path, err)
			}
			n++
			bar.Add(1)
		}
		if list.Next == nil {
			break
		}
		query.Set("cursor", *list.Next)
	}
	if clashes > 0 {
		return n, fmt.Errorf("%d of %d pages could not be written: a file and a folder would have one name. Rename them, and export again", clashes, n+clashes)
	}
	return n, nil
}

func writePage(root *os.Root, file, text string) error {
	if dir := filepath.Dir(file); dir != "." {
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return root.WriteFile(file, []byte(text), 0o644)
}
