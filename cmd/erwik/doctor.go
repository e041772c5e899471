package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) doctorCommand() *cobra.Command {
	data := ""
	c := a.client(&cobra.Command{
		Use: "doctor", Short: "Look for what is wrong with the node and its mesh, and say what to do; exit status 1 if something must be done", Args: cobra.NoArgs,
		Long: `Look for what is wrong with the node and its mesh, and say what to do.

Each line is ok, note (good to know) or ACT (somebody must do something); then the
exit status is 1. A node on another machine answers only to who gives its edit
token (ERWIK_EDIT_TOKEN) or its operator's key (--data).`,
		RunE: func(c *cobra.Command, _ []string) error {
			key := ""
			if c.Flags().Changed("data") {
				var err error
				if key, err = a.findKey(c, data); err != nil {
					return err
				}
			}
			var r report
			ctx, cancel := context.WithTimeout(c.Context(), answerTime)
			defer cancel()
			raw, err := a.getWith(ctx, "doctor", key, &r)
			if err != nil {
				return a.noDiagnosis(err)
			}
			if a.json {
				err = a.printJSON(raw)
			} else {
				err = r.print(a.stdout)
			}
			if err == nil && !r.OK {
				return silentError{errors.New("something must be done")}
			}
			return err
		},
	})
	a.dataFlag(c, &data)
	return c
}

// noDiagnosis says what to do when the node itself does not answer.
func (a *app) noDiagnosis(err error) error {
	var p *problem
	if errors.As(err, &p) {
		return err
	}
	return fmt.Errorf("%w\n  Start it:  erwik serve --data DIR   Its messages go to stderr; its first line on stdout names the address for --node", err)
}

// print writes a report for people.
func (r *report) print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "node %s  %s\n", r.Name, r.Version)
	acts := 0
	line := func(f finding, extra string) {
		level := f.Level
		if level == levelAct {
			level = "ACT"
			acts++
		}
		fmt.Fprintf(&b, "%-4s  %s: %s\n", level, f.About, f.Text)
		if extra != "" {
			fmt.Fprintf(&b, "      last error: %s\n", extra)
		}
		if f.Do != "" {
			fmt.Fprintf(&b, "      do: %s\n", f.Do)
		}
	}
	for _, f := range r.Findings {
		line(f, "")
	}
	for _, n := range r.Neighbors {
		extra := ""
		if n.LastError != "" {
			extra = fmt.Sprintf("%s (%s ago)", n.LastError, ago(seconds(n.ErrorAge)))
		}
		line(n.finding, extra)
	}
	if len(r.Neighbors) == 0 {
		b.WriteString("ok    mesh: this node is alone; another one joins with  erwik token  here and  erwik serve --join  there\n")
	}
	switch acts {
	case 0:
		b.WriteString("nothing must be done\n")
	case 1:
		b.WriteString("1 thing must be done: see ACT\n")
	default:
		fmt.Fprintf(&b, "%d things must be done: see ACT\n", acts)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
