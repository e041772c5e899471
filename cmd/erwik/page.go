package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

func (a *app) pageCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "page", Short: "Read and edit pages",
		Example: `  erwik page get Guides/Install
  erwik page put Guides/Install -m "add arm64" < Install.md
  erwik page log Guides/Install`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q of page", args[0])}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.pageGet(), a.pagePut(), a.pageRemove(), a.pageMove(), a.pageLog(), a.pageDiff(), a.pageRevert(), a.pageList())
	return c
}

func (a *app) pageGet() *cobra.Command {
	var rev string
	c := a.client(&cobra.Command{
		Use: "get PATH", Short: "Print the text of a page", Args: cobra.ExactArgs(1),
		Example: "  erwik page get Guides/Install\n  erwik page get Guides/Install --rev 9f3c2ab…",
		RunE: func(c *cobra.Command, args []string) error {
			query := url.Values{}
			if rev != "" {
				full, err := a.fullHash(c, args[0], rev)
				if err != nil {
					return err
				}
				query.Set("rev", full)
			}
			var p struct {
				Text     string `json:"text"`
				Conflict bool   `json:"conflict"`
			}
			raw, err := a.get(c.Context(), "pages/"+pagePath(args[0]), query, &p)
			if err != nil {
				return orCreate(err, "erwik page put", args[0])
			}
			if a.json {
				return a.printJSON(raw)
			}
			if p.Conflict {
				fmt.Fprintf(a.stderr, "erwik: %s has versions that clash; this is one of them. See: erwik page get --json %s, or %s/%s\n", args[0], quoted(args[0]), strings.TrimSuffix(a.node, "/"), pagePath(args[0]))
			}
			_, err = fmt.Fprint(a.stdout, p.Text)
			return err
		},
	})
	c.Flags().StringVar(&rev, "rev", "", "an old revision: its commit hash or the beginning of it")
	return c
}

// editFlags are common to everything that saves.
type editFlags struct {
	summary, author string
	base            []string
}

func (e *editFlags) add(a *app, c *cobra.Command) *cobra.Command {
	c.Flags().StringVarP(&e.summary, "message", "m", "", "what was changed and why")
	c.Flags().StringVar(&e.author, "author", author(a.getenv), "who changed it (ERWIK_AUTHOR)")
	c.Flags().StringSliceVar(&e.base, "base", []string{"current"}, "commits that the edit is made on; of a page the beginning of a hash will do")
	return c
}

// errNotUTF8 refuses a text before JSON would put U+FFFD into it.
var errNotUTF8 = errors.New("the text is not valid UTF-8; save it as UTF-8 first")

type saved struct {
	Path   string   `json:"path"`
	Commit string   `json:"commit"`
	Heads  []string `json:"heads"`
	Merged bool     `json:"merged"`
}

// save sends an edit and tells what became of it.
func (a *app) save(c *cobra.Command, verb string, r request, keep func() string) error {
	raw, err := a.call(c.Context(), r)
	if err != nil {
		var p *problem
		if errors.As(err, &p) && p.Code == "conflict" && keep != nil {
			if file := keep(); file != "" {
				return fmt.Errorf("%w\n  your text is kept in %s", err, file)
			}
		}
		return err
	}
	if a.json {
		return a.printJSON(raw)
	}
	var s saved
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("read the answer of %s: %w", a.node, err)
	}
	merged := ""
	if s.Merged {
		merged = ", merged with newer edits"
	}
	_, err = fmt.Fprintf(a.stdout, "%s %s %s%s\n", verb, s.Path, short(s.Commit), merged)
	return err
}

func (a *app) pagePut() *cobra.Command {
	var e editFlags
	return e.add(a, a.client(&cobra.Command{
		Use: "put PATH [FILE]", Short: "Save a page from a file or standard input", Args: cobra.RangeArgs(1, 2),
		Example: "  erwik page put Guides/Install -m \"add arm64\" < Install.md",
		RunE: func(c *cobra.Command, args []string) error {
			text, err := readInput(a, args[1:])
			if err != nil {
				return fmt.Errorf("read the text: %w", err)
			}
			if !utf8.Valid(text) {
				return errNotUTF8
			}
			base, err := a.fullHashes(c, args[0], e.base)
			if err != nil {
				return err
			}
			r := request{method: http.MethodPut, path: "pages/" + pagePath(args[0]), body: map[string]any{
				"text": string(text), "summary": e.summary, "author": e.author, "base": base,
			}}
			return a.save(c, "saved", r, func() string {
				file := path.Base(args[0]) + ".mine.md"
				if os.WriteFile(file, text, 0o600) != nil {
					return ""
				}
				return file
			})
		},
	}))
}

func (a *app) pageRemove() *cobra.Command {
	var e editFlags
	return e.add(a, a.client(&cobra.Command{
		Use: "rm PATH", Short: "Delete a page; its history stays", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			base, err := a.fullHashes(c, args[0], e.base)
			if err != nil {
				return err
			}
			query := url.Values{"base": {strings.Join(base, ",")}, "summary": {e.summary}, "author": {e.author}}
			return a.save(c, "deleted", request{method: http.MethodDelete, path: "pages/" + pagePath(args[0]), query: query}, nil)
		},
	}))
}

func (a *app) pageMove() *cobra.Command {
	var e editFlags
	return e.add(a, a.client(&cobra.Command{
		Use: "mv FROM TO", Short: "Rename a page", Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			body := map[string]any{"from": args[0], "to": args[1], "author": e.author, "summary": e.summary}
			if c.Flags().Changed("base") {
				base, err := a.fullHashes(c, args[0], e.base)
				if err != nil {
					return err
				}
				body["base"] = base
			}
			return a.save(c, "moved", request{method: http.MethodPost, path: "move", body: body}, nil)
		},
	}))
}

func (a *app) pageRevert() *cobra.Command {
	var e editFlags
	var rev string
	c := e.add(a, a.client(&cobra.Command{
		Use: "revert PATH [COMMIT]", Short: "Save an old revision as the newest one", Args: cobra.RangeArgs(1, 2),
		Example: "  erwik page revert Guides/Install 9f3c2ab…",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 2 {
				rev = args[1]
			}
			if rev == "" {
				return usageError{errors.New("say which revision; see: erwik page log PATH")}
			}
			full, err := a.fullHash(c, args[0], rev)
			if err != nil {
				return err
			}
			base, err := a.fullHashes(c, args[0], e.base)
			if err != nil {
				return err
			}
			body := map[string]any{"path": args[0], "rev": full, "author": e.author, "summary": e.summary, "base": base}
			return a.save(c, "reverted", request{method: http.MethodPost, path: "revert", body: body}, nil)
		},
	}))
	c.Flags().StringVar(&rev, "rev", "", "the revision to go back to")
	return c
}

type revision struct {
	Commit  string    `json:"commit"`
	Path    string    `json:"path"`
	Kind    string    `json:"kind"`
	Author  string    `json:"author"`
	Time    time.Time `json:"time"`
	Node    string    `json:"node"`
	Summary string    `json:"summary"`
	Parents []string  `json:"parents"`
}

type revisions struct {
	Items []revision `json:"items"`
	Next  *string    `json:"next"`
}

// fullHash completes the beginning of a commit's hash from the page's history.
func (a *app) fullHash(c *cobra.Command, name, begin string) (string, error) {
	if len(begin) == 40 {
		return begin, nil
	}
	query := url.Values{"limit": {"1000"}}
	var found []string
	for {
		var list revisions
		if _, err := a.get(c.Context(), "history/"+pagePath(name), query, &list); err != nil {
			return "", err
		}
		for _, r := range list.Items {
			if strings.HasPrefix(r.Commit, begin) {
				found = append(found, r.Commit)
			}
		}
		if list.Next == nil {
			break
		}
		query.Set("cursor", *list.Next)
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%s of %s begin with %q; see: erwik page log %s", several(len(found), "revision"), name, begin, quoted(name))
	}
	return found[0], nil
}

// fullHashes completes what --base names; "current" stays.
func (a *app) fullHashes(c *cobra.Command, name string, base []string) ([]string, error) {
	full := []string{}
	for _, begin := range base {
		if begin != "current" {
			var err error
			if begin, err = a.fullHash(c, name, begin); err != nil {
				return nil, err
			}
		}
		full = append(full, begin)
	}
	return full, nil
}

func (a *app) pageLog() *cobra.Command {
	limit := 0
	c := a.client(&cobra.Command{
		Use: "log PATH", Short: "List the revisions of a page, newest first", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			query := url.Values{"limit": {fmt.Sprint(limit)}}
			var list revisions
			raw, err := a.get(c.Context(), "history/"+pagePath(args[0]), query, &list)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(raw)
			}
			w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
			for _, r := range list.Items {
				what, _, _ := strings.Cut(r.Summary, "\n")
				if r.Kind == "delete" {
					what = strings.TrimSpace("(deleted) " + what)
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", short(r.Commit), localTime(r.Time), r.Author, r.Node, what)
			}
			return w.Flush()
		},
	})
	c.Flags().IntVarP(&limit, "limit", "n", 100, "how many")
	return c
}

func (a *app) pageDiff() *cobra.Command {
	return a.client(&cobra.Command{
		Use: "diff PATH [FROM] [TO]", Short: "Show what changed between two revisions", Args: cobra.RangeArgs(1, 3),
		Long: "Show what changed between two revisions. Without TO, up to the newest; without FROM, what the newest revision changed.",
		RunE: func(c *cobra.Command, args []string) error {
			name, from, to := args[0], "", ""
			var err error
			if len(args) > 2 {
				to = args[2]
			} else {
				var list revisions
				if _, err := a.get(c.Context(), "history/"+pagePath(name), url.Values{"limit": {"1"}}, &list); err != nil {
					return err
				}
				to = list.Items[0].Commit
				if len(list.Items[0].Parents) > 0 {
					from = list.Items[0].Parents[0]
				}
			}
			if len(args) > 1 {
				from = args[1]
			}
			query := url.Values{}
			for key, hash := range map[string]string{"from": from, "to": to} {
				if hash == "" {
					continue
				}
				if hash, err = a.fullHash(c, name, hash); err != nil {
					return err
				}
				query.Set(key, hash)
			}
			var d struct {
				Diff string `json:"diff"`
			}
			raw, err := a.get(c.Context(), "diff/"+pagePath(name), query, &d)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(raw)
			}
			_, err = fmt.Fprint(a.stdout, d.Diff)
			return err
		},
	})
}

func (a *app) pageList() *cobra.Command {
	c := a.client(&cobra.Command{
		Use: "ls [PREFIX]", Short: "List pages", Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			query := url.Values{"limit": {"1000"}, "order": {"name"}}
			if len(args) == 1 {
				query.Set("prefix", args[0])
			}
			all := []json.RawMessage{}
			for {
				var list struct {
					Items []json.RawMessage `json:"items"`
					Next  *string           `json:"next"`
				}
				if _, err := a.get(c.Context(), "pages", query, &list); err != nil {
					return err
				}
				for _, item := range list.Items {
					var p struct {
						Path string `json:"path"`
					}
					if err := json.Unmarshal(item, &p); err != nil {
						return fmt.Errorf("read the answer of %s: %w", a.node, err)
					}
					if a.json {
						all = append(all, item)
					} else if _, err := fmt.Fprintln(a.stdout, p.Path); err != nil {
						return err
					}
				}
				if list.Next == nil {
					break
				}
				query.Set("cursor", *list.Next)
			}
			if a.json {
				return a.printJSON(all)
			}
			return nil
		},
	})
	return c
}

func (a *app) conflictsCommand() *cobra.Command {
	return a.client(&cobra.Command{
		Use: "conflicts", Short: "List pages whose versions clash", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			type item struct {
				Path     string    `json:"path"`
				Versions int       `json:"versions"`
				Author   string    `json:"author"`
				Time     time.Time `json:"time"`
			}
			all := struct {
				Items []json.RawMessage `json:"items"`
				Next  *string           `json:"next"`
			}{Items: []json.RawMessage{}}
			query := url.Values{"limit": {"1000"}}
			for more := true; more; {
				list := all
				list.Items = nil
				if _, err := a.get(c.Context(), "conflicts", query, &list); err != nil {
					return err
				}
				all.Items = append(all.Items, list.Items...)
				if more = list.Next != nil; more {
					query.Set("cursor", *list.Next)
				}
			}
			if a.json {
				return a.printJSON(all)
			}
			if len(all.Items) == 0 {
				fmt.Fprintln(a.stderr, "no page has versions that clash")
			}
			w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
			for _, raw := range all.Items {
				var p item
				if err := json.Unmarshal(raw, &p); err != nil {
					return fmt.Errorf("read the answer of %s: %w", a.node, err)
				}
				fmt.Fprintf(w, "%s\t%d versions\t%s\t%s\n", p.Path, p.Versions, localTime(p.Time), p.Author)
			}
			return w.Flush()
		},
	})
}
