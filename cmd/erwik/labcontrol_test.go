package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
)

// TestLabList: a running lab lists its nodes, and which links are cut, for people
// and for programs.
func TestLabList(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int)
	var errs strings.Builder
	told, out := io.Pipe()
	go func() {
		status := run(ctx, []string{"lab", "--keep", "--saves", "0"}, func(string) string { return "" }, strings.NewReader(""), out, &errs)
		out.Close()
		ended <- status
	}()
	lines := bufio.NewScanner(told)
	for lines.Scan() && !strings.Contains(lines.Text(), "The nodes go on") {
	}
	go io.Copy(io.Discard, told)
	ask := func(args ...string) (string, bool) {
		var out, errs strings.Builder
		status := run(ctx, append([]string{"lab"}, args...), func(string) string { return "" }, strings.NewReader(""), &out, &errs)
		return out.String(), status == exitOK
	}
	if text, ok := ask("cut", "e1-e2"); !ok {
		t.Errorf("cut: %q", text)
	}
	var now labFacts
	if text, ok := ask("list", "--json"); !ok || json.Unmarshal([]byte(text), &now) != nil {
		t.Fatalf("list --json: %q", text)
	}
	if len(now.Nodes) != 3 || len(now.Links) != 1 || !now.Nodes[0].Running || now.Nodes[0].Name != "e1" || !strings.HasPrefix(now.Nodes[0].URL, "http://127.0.0.1:") || now.Links[0] != (linkFacts{Link: "e1-e2", Cut: true}) {
		t.Errorf("facts %+v", now)
	}
	if text, ok := ask("list"); !ok || !strings.Contains(text, "e1-e2  cut\n") {
		t.Errorf("list: %q", text)
	}
	stop()
	if status := <-ended; status != exitOK {
		t.Errorf("the lab ended with status %d: %s", status, errs.String())
	}
}
