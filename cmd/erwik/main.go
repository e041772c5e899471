package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// version is set by the linker.
var version = ""

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr))
}

// The exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError is a mistake in how the command was called.
type usageError struct{ error }

// silentError ends with status 1 and no message: all has been said.
type silentError struct{ error }

// app is what every command works with.
type app struct {
	getenv         func(string) string
	stdin          io.Reader
	stdout, stderr io.Writer
	node           string
	json           bool
}

// run executes one command line and returns the exit status.
func run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{getenv: getenv, stdin: stdin, stdout: stdout, stderr: stderr}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	var silent silentError
	if errors.As(err, &silent) {
		return exitFailed
	}
	fmt.Fprintf(stderr, "erwik: %v\n", err)
	var usage usageError
	if errors.As(err, &usage) || isUsage(err) {
		fmt.Fprintf(stderr, "  see: %s --help\n", command.CommandPath())
		return exitUsage
	}
	return exitFailed
}

// isUsage tells the errors of the command-line library from all others: they
// carry no type.
func isUsage(err error) bool {
	text := err.Error()
	for _, begin := range []string{"unknown command", "unknown flag", "unknown shorthand", "invalid argument", "flag needs", "accepts ", "requires ", "required flag"} {
		if strings.HasPrefix(text, begin) {
			return true
		}
	}
	return false
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "erwik",
		Short: "A wiki that runs as a mesh: every node serves and accepts every page",
		Long: `erwik is a wiki that runs as a mesh. Every node serves and accepts every page,
also when it is cut off; a node joins by naming one other.

Start a wiki:             erwik serve --data wiki
Let another machine join: erwik token --data wiki
and there:                erwik serve --data wiki --join FIRST:8000 --token TOKEN
Write a page:             erwik page put Home -m "begin" < Home.md

Variables of the commands that speak to a node:
  ERWIK_NODE          URL of the node, for --node
  ERWIK_EDIT_TOKEN    edit token, where the node asks for one (--edit-token-file)
  ERWIK_AUTHOR        who edits, for --author
  ERWIK_DATA          data directory with the operator's key, for --data
  ERWIK_OPERATOR_KEY  the operator's key itself
All settings of serve have one too: ERWIK_ and the name of the flag.`,
		SilenceErrors: true, SilenceUsage: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q", args[0])}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(a.serveCommand(), a.labCommand(), a.tokenCommand(), a.statusCommand(), a.doctorCommand(), a.pageCommand(), a.fileCommand(), a.conflictsCommand(),
		a.importCommand(), a.exportCommand(), a.networkCommand(), a.versionCommand())
	refuseUnknownHelp(root)
	return root
}

// refuseUnknownHelp lets "erwik help" fail for what is no command.
func refuseUnknownHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	help, _, err := root.Find([]string{"help"})
	if err != nil || help == root {
		return
	}
	help.Run = nil
	help.RunE = func(_ *cobra.Command, args []string) error {
		topic, rest, err := root.Find(args)
		if err != nil || len(rest) > 0 {
			return usageError{fmt.Errorf("there is no help on %q; erwik help lists all commands", strings.Join(args, " "))}
		}
		topic.InitDefaultHelpFlag()
		return topic.Help()
	}
}

// client adds the flags of every command that speaks to a node.
func (a *app) client(c *cobra.Command) *cobra.Command {
	node := a.getenv("ERWIK_NODE")
	if node == "" {
		node = "http://127.0.0.1:8000"
	}
	c.Flags().StringVar(&a.node, "node", node, "URL of the node to speak to (ERWIK_NODE); if it asks for an edit token, give that in ERWIK_EDIT_TOKEN")
	c.Flags().BoolVar(&a.json, "json", false, "print facts as JSON")
	return c
}

func (a *app) versionCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if a.json {
				return a.printJSON(map[string]string{"version": programVersion()})
			}
			_, err := fmt.Fprintln(a.stdout, "erwik", programVersion())
			return err
		},
	}
	c.Flags().BoolVar(&a.json, "json", false, "print facts as JSON")
	return c
}

func programVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// terminal reports whether w is one, so that progress may be drawn.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
