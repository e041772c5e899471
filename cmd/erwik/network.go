package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/erwik/erwik/cluster"
	"github.com/erwik/erwik/storage"
)

func (a *app) networkCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "network", Short: "See the mesh: nodes, links, routes, events",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q of network", args[0])}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(
		a.networkList("nodes", "List all nodes of the mesh", printNodes),
		a.networkList("links", "List all links and what they cost", printLinks),
		a.networkList("routes", "List the way by which each node is reached", printRoutes),
		a.networkList("graph", "Draw who is linked to whom", printGraph),
		a.networkList("bans", "List the nodes that were banned, by whom, and bans that do not count", printBans),
		a.networkEvents(), a.networkForget(), a.networkBan(),
	)
	return c
}

func (a *app) networkList(what, about string, show func(*tabwriter.Writer, json.RawMessage) error) *cobra.Command {
	return a.client(&cobra.Command{
		Use: what, Short: about, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			raw, err := a.get(c.Context(), "network/"+what, nil, nil)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(raw)
			}
			w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
			if err := show(w, raw); err != nil {
				return fmt.Errorf("read the answer of %s: %w", a.node, err)
			}
			return w.Flush()
		},
	})
}

type nodeRow struct {
	ID      string  `json:"id"`
	Name    string  `json:"name"`
	Address string  `json:"address"`
	State   string  `json:"state"`
	Version string  `json:"version"`
	RTT     float64 `json:"rtt_ms"`
	Via     string  `json:"via"`
}

type linkRow struct {
	From  string  `json:"from"`
	To    string  `json:"to"`
	State string  `json:"state"`
	Cost  float64 `json:"cost_ms"`
	Age   float64 `json:"age_s"`
	Via   string  `json:"via"`
}

// age writes for how many seconds something has been known.
func age(seconds float64) string {
	return (time.Duration(seconds) * time.Second).String()
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func printNodes(w *tabwriter.Writer, raw json.RawMessage) error {
	var rows []nodeRow
	if err := json.Unmarshal(raw, &rows); err != nil {
		return err
	}
	fmt.Fprintln(w, "NAME\tID\tADDRESS\tSTATE\tRTT\tVIA\tVERSION")
	for _, n := range rows {
		rtt := "-"
		if n.RTT > 0 {
			rtt = fmt.Sprintf("%.1fms", n.RTT)
		}
		fmt.Fprintf(w, "%s\t%s…\t%s\t%s\t%s\t%s\t%s\n", n.Name, n.ID[:min(8, len(n.ID))], orDash(n.Address), n.State, rtt, orDash(n.Via), n.Version)
	}
	return nil
}

func printLinks(w *tabwriter.Writer, raw json.RawMessage) error {
	var rows []linkRow
	if err := json.Unmarshal(raw, &rows); err != nil {
		return err
	}
	fmt.Fprintln(w, "FROM\tTO\tSTATE\tCOST\tKNOWN FOR\tFROM WHOM")
	for _, l := range rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%.0fms\t%s\t%s\n", l.From, l.To, l.State, l.Cost, age(l.Age), orDash(l.Via))
	}
	return nil
}

func printRoutes(w *tabwriter.Writer, raw json.RawMessage) error {
	var rows []struct {
		To    string   `json:"to"`
		Path  []string `json:"path"`
		Cost  float64  `json:"cost_ms"`
		State string   `json:"state"`
		Age   float64  `json:"age_s"`
	}
	if err := json.Unmarshal(raw, &rows); err != nil {
		return err
	}
	fmt.Fprintln(w, "TO\tPATH\tCOST\tSTATE\tKNOWN FOR")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%.0fms\t%s\t%s\n", r.To, orDash(strings.Join(r.Path, " → ")), r.Cost, r.State, age(r.Age))
	}
	return nil
}

func printGraph(w *tabwriter.Writer, raw json.RawMessage) error {
	var graph struct {
		Nodes []nodeRow `json:"nodes"`
		Links []linkRow `json:"links"`
	}
	if err := json.Unmarshal(raw, &graph); err != nil {
		return err
	}
	for _, n := range graph.Nodes {
		fmt.Fprintf(w, "%s\t%s\n", n.Name, n.State)
		for _, l := range graph.Links {
			if l.From == n.Name {
				fmt.Fprintf(w, "  └ %s\t%s\t%.0fms\t%s\t%s\n", l.To, l.State, l.Cost, age(l.Age), orDash(l.Via))
			}
		}
	}
	return nil
}

func (a *app) networkEvents() *cobra.Command {
	format := ""
	c := a.client(&cobra.Command{
		Use: "events", Short: "Follow the events that this node hears of, until interrupted", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			query := url.Values{}
			if format != "" {
				query.Set("format", format)
			}
			response, err := a.open(c.Context(), http.MethodGet, "/-/api/v1/events", query, "", nil, "")
			if err != nil {
				return err
			}
			defer response.Body.Close()
			lines := bufio.NewScanner(response.Body)
			lines.Buffer(nil, 1<<20)
			for lines.Scan() {
				if data, found := strings.CutPrefix(lines.Text(), "data: "); found {
					fmt.Fprintln(a.stdout, data)
				} else if comment, found := strings.CutPrefix(lines.Text(), ": "); found && strings.Contains(comment, "dropped") {
					fmt.Fprintln(a.stderr, "erwik:", comment)
				}
			}
			if err := lines.Err(); err != nil {
				return fmt.Errorf("events of %s: %w", a.node, err)
			}
			return fmt.Errorf("%s ended the stream of events", a.node)
		},
	})
	c.Flags().StringVar(&format, "format", "", "json or erlang")
	return c
}

func (a *app) networkForget() *cobra.Command {
	data := ""
	c := a.client(&cobra.Command{
		Use: "forget NODE", Short: "Remove a node that will not come back from the pool", Args: cobra.ExactArgs(1),
		Long: `Remove a node from the pool, by name or id, on all nodes; of several with one name
each is called NAME~abcd, as "network nodes" lists them. Its pages stay. Needs the
data directory, for the operator's key.`,
		RunE: func(c *cobra.Command, args []string) error {
			key, err := a.findKey(c, data)
			if err != nil {
				return err
			}
			raw, err := a.call(c.Context(), request{method: http.MethodPost, path: "network/forget", body: map[string]string{"node": args[0]}, key: key})
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(raw)
			}
			_, err = fmt.Fprintln(a.stdout, "forgotten", args[0])
			return err
		},
	})
	a.dataFlag(c, &data)
	return c
}

func printBans(w *tabwriter.Writer, raw json.RawMessage) error {
	var rows []struct {
		Node, Name, By, Void string
		At                   time.Time
	}
	if err := json.Unmarshal(raw, &rows); err != nil {
		return err
	}
	fmt.Fprintln(w, "NAME\tID\tBY\tAT\tCOUNTS")
	for _, b := range rows {
		counts := "yes"
		if b.Void != "" {
			counts = "no: " + b.Void
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", orDash(b.Name), b.Node, b.By, localTime(b.At), counts)
	}
	return nil
}

func (a *app) networkBan() *cobra.Command {
	data := ""
	c := a.client(&cobra.Command{
		Use: "ban NODE", Short: "Shut a node out of the mesh for good, on all nodes", Args: cobra.ExactArgs(1),
		Long: `Shut a node out of the mesh for good, by name or id, on all nodes.

Every node closes its links with it and refuses it, whoever gives it a token. What
this node holds of its saves now stays; what it saved later is shown nowhere. A ban
can't be taken back: the machine may join again with a new data directory. A node
can't ban the one through which it joined. Needs the data directory, for the
operator's key. "network bans" lists bans.`,
		RunE: func(c *cobra.Command, args []string) error {
			key, err := a.findKey(c, data)
			if err != nil {
				return err
			}
			raw, err := a.call(c.Context(), request{method: http.MethodPost, path: "network/ban", body: map[string]string{"node": args[0]}, key: key})
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(raw)
			}
			_, err = fmt.Fprintln(a.stdout, "banned", args[0])
			return err
		},
	})
	a.dataFlag(c, &data)
	return c
}

// ban serves network/ban.
func (n *node) ban(ctx context.Context, body []byte) (any, error) {
	var asked struct {
		Node string `json:"node"`
	}
	if err := json.Unmarshal(body, &asked); err != nil || asked.Node == "" {
		return nil, errors.New(`the body must be {"node": name or id}`)
	}
	id, err := n.member.Ban(ctx, asked.Node)
	if err != nil {
		return nil, err
	}
	return map[string]string{"node": id.String()}, nil
}

// forget serves network/forget.
func (n *node) forget(_ context.Context, body []byte) (any, error) {
	var asked struct {
		Node string `json:"node"`
	}
	if err := json.Unmarshal(body, &asked); err != nil || asked.Node == "" {
		return nil, errors.New(`the body must be {"node": name or id}`)
	}
	id, err := n.member.Forget(asked.Node)
	if err != nil {
		return nil, err
	}
	return map[string]string{"node": id.String()}, nil
}

func (a *app) dataFlag(c *cobra.Command, data *string) {
	def := a.getenv("ERWIK_DATA")
	if def == "" {
		def = defaultData(a.getenv)
	}
	c.Flags().StringVar(data, "data", def, "data directory of the node, for the operator's key (ERWIK_DATA)")
}

// findKey reads the operator's key of a node on this machine. The key of the
// default data directory is shown to nobody on another machine.
func (a *app) findKey(c *cobra.Command, data string) (string, error) {
	if key := a.getenv("ERWIK_OPERATOR_KEY"); key != "" {
		return key, nil
	}
	key, err := readOperatorKey(data)
	if !c.Flags().Changed("data") && a.getenv("ERWIK_DATA") == "" && !a.nodeIsHere() {
		err = fmt.Errorf("%s is not on this machine, and no --data says whose key it may see", a.node)
	}
	if err != nil {
		return "", fmt.Errorf("%w\n  Only the operator may do this: run it where the node's disk is, with --data DIR", err)
	}
	return key, nil
}

// nodeIsHere reports whether the node is reached over loopback.
func (a *app) nodeIsHere() bool {
	u, err := url.Parse(a.node)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

func (a *app) tokenCommand() *cobra.Command {
	var data string
	var ttl time.Duration
	c := &cobra.Command{
		Use: "token", Short: "Make a token by which another node may join this one", Args: cobra.NoArgs,
		Example: "  erwik token --data wiki --ttl 1h",
		RunE: func(*cobra.Command, []string) error {
			if ttl <= 0 {
				return usageError{fmt.Errorf("--ttl %s: a token must be valid for some time", ttl)}
			}
			id, err := storage.ReadNodeID(data)
			if err != nil {
				return fmt.Errorf("%w\n  Start the node once, or name its data directory with --data", err)
			}
			token, err := cluster.IssueToken(data, id, ttl, time.Now())
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{"token": token.String(), "node": id, "expires": time.Now().Add(ttl).UTC().Format(time.RFC3339)})
			}
			fmt.Fprintln(a.stdout, token)
			fmt.Fprintf(a.stderr, "valid for %s; on the other machine:  erwik serve --join %s --token …\n", ttl, joinAddress(data))
			return nil
		},
	}
	a.dataFlag(c, &data)
	c.Flags().DurationVar(&ttl, "ttl", 24*time.Hour, "how long the token is valid")
	c.Flags().BoolVar(&a.json, "json", false, "print facts as JSON")
	return c
}

// answerTime is how long status and doctor wait: scripts must learn that a node
// hangs.
const answerTime = 20 * time.Second

func (a *app) statusCommand() *cobra.Command {
	return a.client(&cobra.Command{
		Use: "status", Short: "Tell how the node is; exit status 1 if it is not ready", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var s struct {
				Node, Name, Version, Reason, Digest string
				Ready                               bool
				Pages, Commits                      uint64
				Staged                              int
				Regressed                           bool
				Neighbors                           []struct {
					Name, State   string
					RTT           float64 `json:"rtt_ms"`
					BehindCommits uint64  `json:"behind_commits"`
					BehindS       float64 `json:"behind_s"`
				}
			}
			ctx, cancel := context.WithTimeout(c.Context(), answerTime)
			defer cancel()
			raw, err := a.get(ctx, "status", nil, &s)
			if err != nil {
				return err
			}
			if a.json {
				err = a.printJSON(raw)
			} else {
				ready := "ready"
				if !s.Ready {
					ready = "not ready: " + s.Reason
				}
				fmt.Fprintf(a.stdout, "node %s  %s  %s\npages %d  commits %d  digest %s\n", s.Name, s.Version, ready, s.Pages, s.Commits, short(s.Digest))
				if s.Staged > 0 {
					fmt.Fprintf(a.stdout, "waiting for parents: %s\n", several(s.Staged, "commit"))
				}
				if s.Regressed {
					fmt.Fprintln(a.stdout, "acknowledged saves are missing here; they are being pulled back from neighbors")
				}
				w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
				for _, n := range s.Neighbors {
					behind := "in sync"
					if n.BehindCommits > 0 {
						behind = fmt.Sprintf("behind %s (%.1fs)", several(n.BehindCommits, "commit"), n.BehindS)
					}
					fmt.Fprintf(w, "  %s\t%s\t%.1fms\t%s\n", n.Name, n.State, n.RTT, behind)
				}
				err = w.Flush()
			}
			if err == nil && !s.Ready {
				return silentError{errors.New("not ready")}
			}
			return err
		},
	})
}
