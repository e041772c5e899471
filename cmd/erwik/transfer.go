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
	"os"
	"sort"
	"strings"
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
	var h historyFlags
	c := e.add(a, a.client(&cobra.Command{
		Use: "import SOURCE", Short: "Import a folder of Markdown files, or a git repository or bundle with its history", Args: cobra.ExactArgs(1),
		Long: `Import the .md files of a folder, each as the page of its path, and all others,
such as images, as files (hidden ones are left out); or the history of the pages
of a git repository (bare or with a work tree) or of a git bundle.

A git commit that touches k pages becomes k revisions with its author, time and
message; merges, renames and deletions are kept. --dry-run says first what there
is. It needs the operator's key: run it where the node's disk is, with --data.

Of a folder, what has the same text or bytes already is left alone. With the
node's data directory at hand (--data) the whole folder goes in one stream;
without it, page by page, as any editor could.

What is there already is skipped, so an import can be repeated or resumed.`,
		Example: "  erwik import ~/notes --data wiki -m \"my notes\"\n  erwik import wiki.bundle --data wiki --dry-run",
		RunE: func(c *cobra.Command, args []string) error {
			history, err := hasHistory(args[0])
			switch {
			case err != nil:
				return err
			case history && !h.noHistory:
				for _, flag := range []string{"author", "message", "base"} {
					if c.Flags().Changed(flag) {
						return usageError{fmt.Errorf("--%s: a history has its own; to import only the files, add --no-history", flag)}
					}
				}
				return a.importHistory(c, args[0], data, &h)
			case h.branch != "":
				return usageError{fmt.Errorf("--branch: %s is imported without history", args[0])}
			}
			return a.importFolder(c, args[0], data, &e, h.dryRun)
		},
	}))
	h.add(c)
	a.dataFlag(c, &data)
	return c
}

// importFolder imports the files of a folder as they are now.
func (a *app) importFolder(c *cobra.Command, folder, data string, e *editFlags, dryRun bool) error {
	files, other, err := a.findPages(folder)
	if err != nil {
		return err
	}
	if len(files)+len(other) == 0 {
		return fmt.Errorf("no .md file and no other in %s", folder)
	}
	if dryRun {
		if a.json {
			return a.printJSON(map[string]int{"pages": len(files), "files": len(other)})
		}
		_, err := fmt.Fprintf(a.stdout, "%d pages, %d other files\nnothing was written (--dry-run)\n", len(files), len(other))
		return err
	}
	key, keyErr := a.findKey(c, data)
	var done tally
	if keyErr == nil {
		done, err = a.importStream(c.Context(), folder, files, key, e)
	}
	var p *problem
	if keyErr != nil || errors.As(err, &p) && p.Status == http.StatusForbidden || errors.As(err, &p) && p.Status == http.StatusUnauthorized {
		done, err = a.importEach(c.Context(), folder, files, e)
	}
	if err != nil {
		return err
	}
	uploaded, failed, err := a.importFiles(c.Context(), folder, other, e)
	if err != nil {
		return err
	}
	done.Files, done.Failed = uploaded, done.Failed+failed
	return a.reportImport(done, "pages")
}

// tally is what became of an import.
type tally struct {
	Done    int    `json:"done"`
	Skipped int    `json:"skipped"`
	Failed  int    `json:"failed"`
	Files   int    `json:"files"` // that are no pages
	Digest  string `json:"digest,omitempty"`
	Seconds float64
}

func (a *app) reportImport(t tally, what string) error {
	if a.json {
		if err := a.printJSON(map[string]any{"done": t.Done, "skipped": t.Skipped, "failed": t.Failed, "files": t.Files, "digest": t.Digest, "seconds": t.Seconds}); err != nil {
			return err
		}
	} else {
		if t.Files > 0 {
			what += fmt.Sprintf(", %d files", t.Files)
		}
		fmt.Fprintf(a.stdout, "imported %d %s, %d were there already, %d failed, in %.1f s\n", t.Done, what, t.Skipped, t.Failed, t.Seconds)
	}
	if t.Failed > 0 {
		return silentError{fmt.Errorf("%d failed", t.Failed)}
	}
	return nil
}

// findPages lists the pages of a folder in the order of their names, and its other
// files that are not hidden.
func (a *app) findPages(folder string) (files []source, other []string, err error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, nil, fmt.Errorf("import: %w. SOURCE is a folder of Markdown files", err)
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
			if !strings.HasPrefix(path, ".") && !strings.Contains(path, "/.") {
				other = append(other, path)
			}
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

// progress draws on a terminal how much is done, how fast, and how long the
// rest will take.
func (a *app) progress(total int, what, unit string) *progressbar.ProgressBar {
	if !terminal(a.stderr) {
		return progressbar.DefaultSilent(int64(total))
	}
	return progressbar.NewOptions(total, progressbar.OptionSetWriter(a.stderr), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString(unit),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
}

// importLine is one line of the stream that a node imports.
type importLine struct {
	Path    string        `json:"path"`
	Text    string        `json:"text,omitempty"`
	Deleted bool          `json:"deleted,omitempty"`
	Author  string        `json:"author"`
	Time    time.Time     `json:"time"`
	Summary string        `json:"summary"`
	Source  string        `json:"source,omitempty"`
	Parents *[]string     `json:"parents,omitempty"` // nil: on top of what is there; empty: of nothing
	From    *importOrigin `json:"from,omitempty"`
}

type importOrigin struct {
	Path   string `json:"path"`
	Source string `json:"source"`
}

// importStream sends the folder as one stream of JSON lines.
func (a *app) importStream(ctx context.Context, folder string, files []source, key string, e *editFlags) (t tally, err error) {
	start := time.Now()
	root, err := os.OpenRoot(folder)
	if err != nil {
		return t, err
	}
	defer root.Close()
	var refused []string // told of once the sender has ended
	t, err = a.stream(ctx, key, len(files), func(send func(*importLine) error) error {
		for _, f := range files {
			text, err := root.ReadFile(f.file)
			if err != nil {
				return err
			}
			if !utf8.Valid(text) {
				refused = append(refused, f.file)
				continue
			}
			err = send(&importLine{Path: string(f.name), Text: string(text), Author: e.author, Summary: e.summary, Time: start.UTC().Truncate(time.Second)})
			if err != nil {
				return err
			}
		}
		return nil
	})
	for _, file := range refused {
		t.Failed++
		fmt.Fprintf(a.stderr, "erwik: %s: %v\n", file, errNotUTF8)
	}
	t.Seconds = time.Since(start).Seconds()
	return t, err
}

// stream sends to the node what produce gives it, and follows the answer.
func (a *app) stream(ctx context.Context, key string, total int, produce func(send func(*importLine) error) error) (t tally, err error) {
	reader, writer := io.Pipe()
	defer reader.Close()
	sent := make(chan error, 1)
	go func() {
		w := bufio.NewWriterSize(writer, 256<<10)
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		err := produce(func(line *importLine) error { return encoder.Encode(line) })
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
	bar := a.progress(total, "importing", "revisions")
	t, err = readProgress(response.Body, a.stderr, func(n int) { bar.Set(n) })
	bar.Finish()
	reader.Close()
	if sendErr := <-sent; sendErr != nil && !errors.Is(sendErr, io.ErrClosedPipe) { // else the node has ended it
		err = fmt.Errorf("read what is to be imported: %w", sendErr)
	}
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
	bar := a.progress(len(files), "importing", "pages")
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
