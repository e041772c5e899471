package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/erwik/erwik/wiki/page"
)

func (a *app) fileCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "file", Short: "Upload and download files: images and other attachments",
		Example: `  erwik file put img/net.png ~/net.png -m "the new network"
  erwik file get img/net.png -o net.png
  erwik file ls img/`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q of file", args[0])}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.filePut(), a.fileGet(), a.fileRemove(), a.fileList())
	return c
}

func filePath(name string) string { return "/-/files/" + pagePath(name) }

func (e *editFlags) query() url.Values {
	return url.Values{"base": e.base, "summary": {e.summary}, "author": {e.author}}
}

type savedFile struct {
	Path   string   `json:"path"`
	Commit string   `json:"commit"`
	Heads  []string `json:"heads"`
	Size   int64    `json:"size"`
	SHA256 string   `json:"sha256"`
}

// sendFile uploads what body gives; length -1 means that nobody knows it.
func (a *app) sendFile(ctx context.Context, name string, body io.Reader, length int64, key string, e *editFlags) (s savedFile, raw json.RawMessage, err error) {
	response, err := a.openSized(ctx, http.MethodPut, filePath(name), e.query(), key, body, length, "application/octet-stream")
	if err != nil {
		return s, nil, err
	}
	defer response.Body.Close()
	if raw, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer)); err == nil {
		err = json.Unmarshal(raw, &s)
	}
	if err != nil {
		err = fmt.Errorf("read the answer of %s: %w", a.node, err)
	}
	return s, raw, err
}

func (a *app) filePut() *cobra.Command {
	var e editFlags
	return e.add(a, a.client(&cobra.Command{
		Use: "put PATH [FILE]", Short: "Upload a file from disk or standard input", Args: cobra.RangeArgs(1, 2),
		Example: "  erwik file put img/net.png ~/net.png -m \"the new network\"",
		RunE: func(c *cobra.Command, args []string) error {
			body, length := a.stdin, int64(-1)
			if len(args) == 2 && args[1] != "-" {
				file, err := os.Open(args[1])
				if err != nil {
					return fmt.Errorf("upload: %w", err)
				}
				defer file.Close()
				info, err := file.Stat()
				if err != nil {
					return fmt.Errorf("upload: %w", err)
				}
				if info.Mode().IsRegular() {
					length = info.Size()
				}
				body = file
			}
			s, raw, err := a.sendFile(c.Context(), args[0], body, length, "", &e)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(raw)
			}
			_, err = fmt.Fprintf(a.stdout, "saved %s %s, %s\n", s.Path, short(s.Commit), several(s.Size, "byte"))
			return err
		},
	}))
}

func (a *app) fileGet() *cobra.Command {
	var rev, out string
	c := a.client(&cobra.Command{
		Use: "get PATH", Short: "Write a file to standard output or to disk", Args: cobra.ExactArgs(1),
		Example: "  erwik file get img/net.png -o net.png",
		RunE: func(c *cobra.Command, args []string) error {
			query := url.Values{}
			if rev != "" {
				query.Set("rev", rev)
			}
			response, err := a.open(c.Context(), http.MethodGet, filePath(args[0]), query, "", nil, "")
			if err != nil {
				return orCreate(err, "erwik file put", args[0])
			}
			defer response.Body.Close()
			if out == "" && !a.json {
				if _, err = io.Copy(a.stdout, response.Body); err != nil {
					err = fmt.Errorf("read %s: %w", args[0], err)
				}
				return err
			}
			n := int64(0)
			if out == "" {
				n, err = io.Copy(io.Discard, response.Body)
			} else {
				n, err = writeWhole(out, response.Body)
			}
			if err != nil {
				return fmt.Errorf("write %s: %w", args[0], err)
			}
			if a.json {
				return a.printJSON(map[string]any{"path": args[0], "size": n, "type": response.Header.Get("Content-Type"), "file": out})
			}
			return nil
		},
	})
	c.Flags().StringVar(&rev, "rev", "", "commit hash of an old revision")
	c.Flags().StringVarP(&out, "output", "o", "", "file to write")
	return c
}

// writeWhole writes a file that is whole or not there.
func writeWhole(name string, from io.Reader) (n int64, err error) {
	file, err := os.CreateTemp(filepath.Dir(name), ".erwik-*")
	if err != nil {
		return 0, err
	}
	n, err = io.Copy(file, from)
	if err == nil {
		err = file.Chmod(0o644)
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), name)
	}
	if err != nil {
		os.Remove(file.Name())
	}
	return n, err
}

func (a *app) fileRemove() *cobra.Command {
	var e editFlags
	return e.add(a, a.client(&cobra.Command{
		Use: "rm PATH", Short: "Delete a file; its history stays", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			response, err := a.open(c.Context(), http.MethodDelete, filePath(args[0]), e.query(), "", nil, "")
			if err != nil {
				return err
			}
			defer response.Body.Close()
			var s savedFile
			raw, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
			if err == nil {
				err = json.Unmarshal(raw, &s)
			}
			if err != nil {
				return fmt.Errorf("read the answer of %s: %w", a.node, err)
			}
			if a.json {
				return a.printJSON(json.RawMessage(raw))
			}
			_, err = fmt.Fprintf(a.stdout, "deleted %s %s\n", s.Path, short(s.Commit))
			return err
		},
	}))
}

// fileInfo is a file in a list.
type fileInfo struct {
	Path     page.FileName `json:"path"`
	Size     int64         `json:"size"`
	SHA256   string        `json:"sha256"`
	Time     time.Time     `json:"time"`
	Author   string        `json:"author"`
	Missing  int64         `json:"missing"`
	Conflict bool          `json:"conflict"`
}

// eachFile calls fn for each file whose name begins with prefix.
func (a *app) eachFile(ctx context.Context, prefix string, fn func(f fileInfo, raw json.RawMessage) error) error {
	query := url.Values{"limit": {"1000"}, "prefix": {prefix}}
	for {
		var list struct {
			Items []json.RawMessage `json:"items"`
			Next  *string           `json:"next"`
		}
		if _, err := a.get(ctx, "files", query, &list); err != nil {
			return err
		}
		for _, raw := range list.Items {
			var f fileInfo
			if err := json.Unmarshal(raw, &f); err != nil {
				return fmt.Errorf("read the answer of %s: %w", a.node, err)
			}
			if err := fn(f, raw); err != nil {
				return err
			}
		}
		if list.Next == nil {
			return nil
		}
		query.Set("cursor", *list.Next)
	}
}

func (a *app) fileList() *cobra.Command {
	return a.client(&cobra.Command{
		Use: "ls [PREFIX]", Short: "List files", Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			all := []json.RawMessage{}
			w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
			err := a.eachFile(c.Context(), strings.Join(args, ""), func(f fileInfo, raw json.RawMessage) error {
				if a.json {
					all = append(all, raw)
					return nil
				}
				note := ""
				if f.Conflict {
					note = "  several versions"
				}
				if f.Missing > 0 {
					note += fmt.Sprintf("  not on this node yet: %s", several(f.Missing, "byte"))
				}
				_, err := fmt.Fprintf(w, "%d\t%s\t%s\t%s%s\n", f.Size, localTime(f.Time), f.Author, f.Path, note)
				return err
			})
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(all)
			}
			return w.Flush()
		},
	})
}

// importFiles uploads the files of a folder that are no pages, unless they are
// there already with the same bytes.
func (a *app) importFiles(ctx context.Context, f *folder, key string, e *editFlags) (t tally, err error) {
	if len(f.files) == 0 {
		return t, nil
	}
	there := make(map[page.FileName]fileInfo)
	err = a.eachFile(ctx, "", func(f fileInfo, _ json.RawMessage) error {
		there[f.Path] = f
		return nil
	})
	if err != nil {
		return t, err
	}
	bar := a.progress(len(f.files), "uploading", "files")
	defer bar.Finish()
	for _, file := range f.files {
		same, err := a.importFile(ctx, f, file, there, key, e)
		var p *problem
		switch {
		case errors.As(err, &p) && p.Status/100 == 4 && p.Status != http.StatusUnauthorized:
			t.Failed++
			fmt.Fprintf(a.stderr, "erwik: %s: %v\n", file, err)
		case isRefusal(err):
			t.Failed++
			fmt.Fprintf(a.stderr, "erwik: %v\n", err)
		case err != nil:
			return t, err
		case same:
			t.Skipped++
		default:
			t.Files++
		}
		bar.Add(1)
	}
	return t, nil
}

// importFile uploads one file and reports whether the node had it already.
func (a *app) importFile(ctx context.Context, f *folder, path string, there map[page.FileName]fileInfo, key string, e *editFlags) (same bool, err error) {
	file, target, size, err := f.openFile(path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	if old, found := there[target]; found && old.Size == size && !old.Conflict {
		sum := sha256.New()
		if _, err := io.Copy(sum, file); err != nil {
			return false, fmt.Errorf("read %s: %w", path, err)
		}
		same = hex.EncodeToString(sum.Sum(nil)) == old.SHA256
		if same && old.Missing == 0 {
			return true, nil
		}
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return false, fmt.Errorf("read %s: %w", path, err)
		}
	}
	_, _, err = a.sendFile(ctx, string(target), file, size, key, e)
	return same, err
}

// exportFiles writes all files beside the pages and returns how many.
func (a *app) exportFiles(ctx context.Context, root *os.Root) (n int, err error) {
	clashes := 0
	err = a.eachFile(ctx, "", func(f fileInfo, _ json.RawMessage) error {
		err := a.exportFile(ctx, root, f)
		if errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EISDIR) {
			clashes++ // file a and page a/b need a file and a folder of one name
			fmt.Fprintf(a.stderr, "erwik: export file %q: %v\n", f.Path, err)
			return nil
		}
		if err != nil {
			return fmt.Errorf("export file %q: %w", f.Path, err)
		}
		n++
		return nil
	})
	if err == nil && clashes > 0 {
		err = fmt.Errorf("%s could not be written: a file and a folder would have one name. Rename one, and export again", several(clashes, "file"))
	}
	return n, err
}

func (a *app) exportFile(ctx context.Context, root *os.Root, f fileInfo) error {
	response, err := a.open(ctx, http.MethodGet, filePath(string(f.Path)), nil, "", nil, "")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	name := f.Path.Disk()
	if dir := path.Dir(name); dir != "." {
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	out, err := root.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, response.Body)
	return errors.Join(err, out.Close())
}
