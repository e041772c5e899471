package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/erwik/erwik/wiki/page"
)

func (a *app) exportCommand() *cobra.Command {
	return a.client(&cobra.Command{
		Use: "export DIR", Short: "Write all pages as Markdown files, and all other files, into a folder", Args: cobra.ExactArgs(1),
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
			files, err := a.exportFiles(c.Context(), root)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{"pages": n, "files": files, "seconds": time.Since(start).Seconds()})
			}
			what := several(n, "page")
			if files > 0 {
				what += " and " + several(files, "file")
			}
			_, err = fmt.Fprintf(a.stdout, "exported %s to %s in %.1f s\n", what, args[0], time.Since(start).Seconds())
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
	bar := a.progress(status.Pages, "exporting", "pages")
	defer bar.Finish()
	clashes := 0
	query := url.Values{"limit": {"1000"}, "order": {"name"}} // an edit meanwhile moves no page
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
		return n, fmt.Errorf("%d of %s could not be written: a file and a folder would have one name. Rename one, and export again", clashes, several(n+clashes, "page"))
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
