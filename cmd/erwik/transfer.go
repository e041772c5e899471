package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
)

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
func (a *app) importFolder(c *cobra.Command, path, data string, e *editFlags, dryRun bool) error {
	f, err := a.openFolder(path)
	if err != nil {
		return err
	}
	defer f.root.Close()
	if dryRun {
		return a.tryFolder(f)
	}
	fmt.Fprint(a.stderr, f.leftOut())
	key, keyErr := a.findKey(c, data)
	var done tally
	if keyErr == nil {
		done, err = a.importStream(c.Context(), f, key, e)
	}
	var p *problem
	if keyErr != nil || errors.As(err, &p) && p.Status == http.StatusForbidden || errors.As(err, &p) && p.Status == http.StatusUnauthorized {
		key = ""
		done, err = a.importEach(c.Context(), f, e)
	}
	if err != nil {
		return err
	}
	files, err := a.importFiles(c.Context(), f, key, e)
	if err != nil {
		return err
	}
	done.Files, done.Skipped, done.Failed = files.Files, done.Skipped+files.Skipped, done.Failed+files.Failed
	return a.reportImport(done, "page")
}

// tally is what became of an import.
type tally struct {
	Done    int    `json:"done"`
	Skipped int    `json:"skipped"` // were there already
	Failed  int    `json:"failed"`
	Files   int    `json:"files"` // that are no pages
	Digest  string `json:"digest,omitempty"`
	Seconds float64
}

// reportImport says what became of an import of pages or revisions.
func (a *app) reportImport(t tally, thing string) error {
	if a.json {
		if err := a.printJSON(map[string]any{"done": t.Done, "skipped": t.Skipped, "failed": t.Failed, "files": t.Files, "digest": t.Digest, "seconds": t.Seconds}); err != nil {
			return err
		}
	} else {
		what, were := several(t.Done, thing), "were"
		if t.Files > 0 {
			what += ", " + several(t.Files, "file")
		}
		if t.Skipped == 1 {
			were = "was"
		}
		fmt.Fprintf(a.stdout, "imported %s, %d %s there already, %d failed, in %.1f s\n", what, t.Skipped, were, t.Failed, t.Seconds)
	}
	if t.Failed > 0 {
		return silentError{fmt.Errorf("%d failed", t.Failed)}
	}
	return nil
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

// importStream sends the pages of a folder as one stream of JSON lines.
func (a *app) importStream(ctx context.Context, f *folder, key string, e *editFlags) (t tally, err error) {
	start := time.Now()
	var refused []error // told of once the sender has ended
	t, err = a.stream(ctx, key, len(f.pages), func(send func(*importLine) error) error {
		for _, p := range f.pages {
			text, err := f.readPage(p)
			if isRefusal(err) {
				refused = append(refused, err)
				continue
			}
			if err != nil {
				return err
			}
			err = send(&importLine{Path: string(p.name), Text: string(text), Author: e.author, Summary: e.summary, Time: start.UTC().Truncate(time.Second)})
			if err != nil {
				return err
			}
		}
		return nil
	})
	var p *problem
	if errors.As(err, &p) {
		return t, err // nothing was imported; the caller goes another way or gives up
	}
	for _, err := range refused {
		t.Failed++
		fmt.Fprintf(a.stderr, "erwik: %v\n", err)
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
func (a *app) importEach(ctx context.Context, f *folder, e *editFlags) (t tally, err error) {
	start := time.Now()
	bar := a.progress(len(f.pages), "importing", "pages")
	defer bar.Finish()
	for _, file := range f.pages {
		text, err := f.readPage(file)
		if isRefusal(err) {
			t.Failed++
			fmt.Fprintf(a.stderr, "erwik: %v\n", err)
			continue
		}
		if err != nil {
			return t, err
		}
		before, err := a.pageText(ctx, string(file.name))
		if err != nil {
			return t, err
		}
		if before != nil && *before == string(text) {
			t.Skipped++
		} else {
			_, err := a.call(ctx, request{method: http.MethodPut, path: "pages/" + pagePath(string(file.name)), body: map[string]any{
				"text": string(text), "summary": e.summary, "author": e.author, "base": e.base,
			}})
			var p *problem
			switch {
			case errors.As(err, &p) && p.Status/100 == 4 && p.Status != http.StatusUnauthorized:
				t.Failed++
				fmt.Fprintf(a.stderr, "erwik: %s: %v\n", file.file, err)
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
