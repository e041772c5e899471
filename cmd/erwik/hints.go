package main

import (
	"errors"
	"fmt"
	"strings"
)

// hint says what to do about the problem that the node has with what was sent to
// address, by the means of the command line; the node's own hint speaks of HTTP.
func (a *app) hint(p *problem, address string) string {
	isFile := strings.HasPrefix(address, filePath(""))
	switch p.Code {
	case "no_page":
		return "see: erwik page ls"
	case "no_file":
		return "see: erwik file ls"
	case "no_revision":
		if isFile {
			return fmt.Sprintf("see: %s%s?history", strings.TrimSuffix(a.node, "/"), address)
		}
		return "see: erwik page log PATH"
	case "no_token":
		return "give the edit token in the variable ERWIK_EDIT_TOKEN"
	case "not_operator":
		return fmt.Sprintf("the key is not that of the node at %s: name its data directory with --data, or give its operator.key in ERWIK_OPERATOR_KEY", a.node)
	case "conflict":
		heads := strings.Join(p.Heads, ",")
		if isFile {
			return "save it with --base " + heads + ", or under another name"
		}
		switch {
		case p.Yours == nil:
			return "see what is there: erwik page get PATH; to delete it all the same: --base " + heads
		case len(p.Versions) > 0:
			return fmt.Sprintf("the page has %d versions that clash: erwik page get --json PATH prints them; unite your text with them, and save with --base %s", len(p.Versions), heads)
		}
		return "unite your text with what erwik page get prints, and save with --base " + heads
	}
	return p.Next
}

// orCreate adds to a problem of a page or file that is missing how to make it.
func orCreate(err error, command, name string) error {
	var p *problem
	if errors.As(err, &p) && (p.Code == "no_page" || p.Code == "no_file") {
		p.Next = fmt.Sprintf("to create it: %s %s; what there is: %s", command, quoted(name), strings.TrimPrefix(p.Next, "see: "))
	}
	return err
}

// quoted writes a name as a shell takes it for one word.
func quoted(name string) string {
	if strings.ContainsAny(name, " \t'\"\\$`&|;<>()*?[]{}#~!%") {
		return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
	}
	return name
}
