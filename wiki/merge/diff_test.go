package merge_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"math/rand/v2"

	"github.com/erwik/erwik/wiki/merge"
)

func TestUnified(t *testing.T) {
	tests := []struct{ name, old, new, want string }{
		{"equal", "a\n", "a\n", ""},
		{"from nothing", "", "a\nb\n", "--- old\n+++ new\n@@ -0,0 +1,2 @@\n+a\n+b\n"},
		{"to nothing", "a\n", "", "--- old\n+++ new\n@@ -1 +0,0 @@\n-a\n"},
		{"newline lost", "a\nb\n", "a\nb", "--- old\n+++ new\n@@ -1,2 +1,2 @@\n a\n-b\n+b\n\\ No newline at end of file\n"},
		{"two hunks", "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n", "one\n2\n3\n4\n5\n6\n7\n8\n9\nten\n",
			"--- old\n+++ new\n@@ -1,4 +1,4 @@\n-1\n+one\n 2\n 3\n 4\n@@ -7,4 +7,4 @@\n 7\n 8\n 9\n-10\n+ten\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := merge.Unified("old", "new", merge.Diff(tt.old, tt.new)); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// TestUnifiedApplies lets real git apply what Unified prints.
func TestUnifiedApplies(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 60 {
		lines := randomText(r, r.IntN(40))
		before, after := join(r, lines), join(r, edit(r, lines))
		if before == after || before == "" || after == "" {
			continue
		}
		dir := t.TempDir()
		patch := merge.Unified("a/page", "b/page", merge.Diff(before, after))
		for name, text := range map[string]string{"page": before, "patch": patch} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command("git", "apply", "--whitespace=nowarn", "patch")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git apply: %v\n%s\n%s", err, out, patch)
		}
		got, err := os.ReadFile(filepath.Join(dir, "page"))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != after {
			t.Fatalf("git apply gave %q, want %q\n%s", got, after, patch)
		}
	}
}

func TestWordsAreMarked(t *testing.T) {
	hunks := merge.Diff("the quick fox\n", "the slow fox\n")
	if len(hunks) != 1 || len(hunks[0].Lines) != 2 {
		t.Fatalf("got %+v", hunks)
	}
	for i, word := range []string{"quick", "slow"} {
		var marked strings.Builder
		for _, s := range hunks[0].Lines[i].Spans {
			if s.Changed {
				marked.WriteString(s.Text)
			}
		}
		if marked.String() != word {
			t.Errorf("line %d: marked %q, want %q", i, marked.String(), word)
		}
	}
}
