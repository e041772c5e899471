package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/erwik/erwik/wiki/gitsource"
)

// historyFlags choose what of a git repository is imported, and how.
type historyFlags struct {
	branch    string
	dryRun    bool
	noHistory bool
}

func (f *historyFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.branch, "branch", "", "branch of a git repository or bundle (default: HEAD, main or master)")
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "say what there is to import, and write nothing")
	c.Flags().BoolVar(&f.noHistory, "no-history", false, "of a git repository import the files of the work tree only")
}

// hasHistory reports whether SOURCE is a git repository or a bundle.
func hasHistory(path string) (bool, error) {
	info, err := os.Stat(path)
	if err != nil {
		return false, fmt.Errorf("import: %w. SOURCE is a folder of Markdown files, a git repository or a git bundle", err)
	}
	if info.IsDir() {
		return gitsource.IsRepository(path), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("import: %w", err)
	}
	defer f.Close()
	start := make([]byte, 32)
	n, _ := f.Read(start)
	if !gitsource.IsBundle(start[:n]) {
		return false, fmt.Errorf("import: %s is no git bundle. SOURCE is a folder of Markdown files, a git repository or a git bundle", path)
	}
	return true, nil
}

// importHistory imports a repository or a bundle with its history.
func (a *app) importHistory(c *cobra.Command, path, data string, f *historyFlags) error {
	key := ""
	if !f.dryRun {
		var err error
		if key, err = a.findKey(c, data); err != nil { // before the work
			return fmt.Errorf("%w\n  The files as they are now can be imported by anybody who may edit: add --no-history", err)
		}
	}
	start := time.Now()
	source, err := gitsource.Open(path, f.branch)
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	defer source.Close()
	plan, err := a.planHistory(c.Context(), source)
	if err != nil {
		return fmt.Errorf("import %s: %w", path, err)
	}
	report := plan.Report()
	if f.dryRun {
		if a.json {
			return a.printJSON(report)
		}
		fmt.Fprint(a.stdout, describe(&report))
		_, err := fmt.Fprintln(a.stdout, "nothing was written (--dry-run)")
		return err
	}
	fmt.Fprint(a.stderr, describe(&report))
	done, err := a.stream(c.Context(), key, report.Revisions, func(send func(*importLine) error) error {
		return plan.Each(func(r gitsource.Revision) error {
			line := importLine{
				Path: string(r.Name), Text: string(r.Text), Deleted: r.Delete, Author: r.Author, Time: r.Time,
				Summary: r.Summary, Source: r.Source, Parents: &r.Parents,
			}
			if r.From != nil {
				line.From = &importOrigin{string(r.From.Name), r.From.Source}
			}
			return send(&line)
		})
	})
	if err != nil {
		return err
	}
	done.Seconds = time.Since(start).Seconds()
	return a.reportImport(done, "revision")
}

// planHistory reads the source and draws its progress.
func (a *app) planHistory(ctx context.Context, source *gitsource.Source) (*gitsource.Plan, error) {
	stage, bar := "", a.progress(0, "", "")
	plan, err := source.Plan(ctx, func(now string, done, total int) {
		if now != stage {
			bar.Finish()
			stage = now
			bar = a.progress(total, now, map[string]string{"indexing": "objects", "comparing": "commits"}[now])
		}
		bar.Set(done)
	})
	bar.Finish()
	return plan, err
}

// describe says what there is to import, for people.
func describe(r *gitsource.Report) string {
	var b strings.Builder
	day := func(t time.Time) string { return t.Format("2006-01-02") }
	fmt.Fprintf(&b, "%s (%s): %s, %d of them merges, from %s to %s\n",
		strings.TrimPrefix(r.Branch, "refs/heads/"), short(r.Tip), several(r.Commits, "commit"), r.Merges, day(r.First), day(r.Last))
	fmt.Fprintf(&b, "%s of %s, of which %d are there at the end; %s, %s\n",
		several(r.Revisions, "revision"), several(r.PagesEver, "page"), r.Pages, several(r.Renames, "rename"), several(r.Deletes, "deletion"))
	if r.Shallow {
		fmt.Fprintln(&b, "the repository is a shallow clone: its history begins where it was cut")
	}
	for _, s := range r.Skipped {
		more := ""
		if s.Files > len(s.Examples) {
			more = ", …"
		}
		fmt.Fprintf(&b, "left out, %s: %s, %s (%q%s)\n", s.Reason, several(s.Files, "file"), several(s.Changes, "change"), s.Examples, more)
	}
	return b.String()
}
