package merge_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/erwik/erwik/wiki/merge"
)

func TestThree(t *testing.T) {
	tests := []struct {
		name       string
		base, a, b string
		want       string // of a clean merge, or with markers
		conflicts  int
	}{
		{"nothing changed", "x\ny\n", "x\ny\n", "x\ny\n", "x\ny\n", 0},
		{"one side", "x\ny\n", "x\nz\n", "x\ny\n", "x\nz\n", 0},
		{"other side", "x\ny\n", "x\ny\n", "w\ny\n", "w\ny\n", 0},
		{"same change", "x\ny\n", "x\nz\n", "x\nz\n", "x\nz\n", 0},
		{"far apart", "1\n2\n3\n4\n5\n", "one\n2\n3\n4\n5\n", "1\n2\n3\n4\nfive\n", "one\n2\n3\n4\nfive\n", 0},
		{"one line between", "1\n2\n3\n", "one\n2\n3\n", "1\n2\nthree\n", "one\n2\nthree\n", 0},
		{"touching", "1\n2\n", "one\n2\n", "1\ntwo\n", "<<<<<<< a\none\n2\n=======\n1\ntwo\n>>>>>>> b\n", 1},
		{"same line", "1\n2\n3\n", "1\nA\n3\n", "1\nB\n3\n", "1\n<<<<<<< a\nA\n=======\nB\n>>>>>>> b\n3\n", 1},
		{"both append", "1\n", "1\nA\n", "1\nB\n", "1\n<<<<<<< a\nA\n=======\nB\n>>>>>>> b\n", 1},
		{"both append the same", "1\n", "1\nA\n", "1\nA\n", "1\nA\n", 0},
		{"from nothing", "", "A\n", "B\n", "<<<<<<< a\nA\n=======\nB\n>>>>>>> b\n", 1},
		{"common ends leave the conflict", "1\n", "x\nA\ny\n", "x\nB\ny\n", "x\n<<<<<<< a\nA\n=======\nB\n>>>>>>> b\ny\n", 1},
		{"delete and edit elsewhere", "1\n2\n3\n4\n", "3\n4\n", "1\n2\n3\nfour\n", "3\nfour\n", 0},
		{"no last newline", "1\n2\n3", "one\n2\n3", "1\n2\nthree", "one\n2\nthree", 0},
		{"newline added and line edited", "1\n2", "1\n2\n", "1\nB", "1\n<<<<<<< a\n2\n=======\nB\n>>>>>>> b\n", 1},
		{"carriage returns are text", "1\r\n2\r\n3\r\n", "1\r\n2\r\n3\n", "A\r\n2\r\n3\r\n", "A\r\n2\r\n3\n", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := merge.Three(tt.base, tt.a, tt.b)
			if got.Conflicts != tt.conflicts {
				t.Errorf("conflicts = %d, want %d", got.Conflicts, tt.conflicts)
			}
			if text := got.WithMarkers("a", "b"); text != tt.want {
				t.Errorf("got %q, want %q", text, tt.want)
			}
			if got.Clean() && got.Text() != tt.want {
				t.Errorf("Text = %q, want %q", got.Text(), tt.want)
			}
		})
	}
}

// randomText draws few different lines, so that they repeat and merges are
// as hard as they get.
func randomText(r *rand.Rand, n int) []string {
	lines := make([]string, n)
	for i := range lines {
		switch r.IntN(6) {
		case 0:
			lines[i] = "\n"
		case 1, 2:
			lines[i] = fmt.Sprintf("line %d\n", r.IntN(5))
		default:
			lines[i] = fmt.Sprintf("line %d\n", r.IntN(1000))
		}
	}
	return lines
}

func edit(r *rand.Rand, base []string) []string {
	out := append([]string(nil), base...)
	for range r.IntN(4) {
		at := 0
		if len(out) > 0 {
			at = r.IntN(len(out))
		}
		end := min(len(out), at+r.IntN(3))
		switch r.IntN(4) {
		case 0:
			out = append(out[:at:at], append(randomText(r, 1+r.IntN(2)), out[at:]...)...)
		case 1:
			out = append(out[:at:at], out[end:]...)
		case 2:
			out = append(out[:at:at], append(randomText(r, end-at), out[end:]...)...)
		case 3: // move
			moved := append([]string(nil), out[at:end]...)
			rest := append(out[:at:at], out[end:]...)
			to := r.IntN(len(rest) + 1)
			out = append(rest[:to:to], append(moved, rest[to:]...)...)
		}
	}
	return out
}

func join(r *rand.Rand, lines []string) string {
	text := strings.Join(lines, "")
	if r.IntN(8) == 0 {
		text = strings.TrimSuffix(text, "\n")
	}
	return text
}

// TestAgainstGit compares with real `git merge-file` and holds the rates of
// differences below their bounds.
func TestAgainstGit(t *testing.T) {
	git, err := exec.LookPath("git")
	if err != nil {
		t.Fatalf("this test needs git as its oracle: %v", err)
	}
	const cases = 1500
	r := rand.New(rand.NewPCG(1, 2))
	var tally tally
	for range cases {
		lines := randomText(r, r.IntN(30))
		base, a, b := join(r, lines), join(r, edit(r, lines)), join(r, edit(r, lines))
		tally.compare(t, git, base, a, b)
	}
	t.Logf("of %d: %v", cases, tally)
	for _, bound := range []struct {
		what    string
		got     int
		percent float64
	}{{"clean but different", tally.different, 1}, {"clean where git conflicts", tally.onlyOurs, 3}, {"conflict where git is clean", tally.onlyGits, 3}} {
		if share := 100 * float64(bound.got) / cases; share > bound.percent {
			t.Errorf("%s: %.2f %%, bound %.0f %%", bound.what, share, bound.percent)
		}
	}
}

// tally counts how merges compare with git's.
type tally struct{ same, bothConflict, different, onlyOurs, onlyGits int }

func (c tally) String() string {
	return fmt.Sprintf("same clean %d, both conflict %d, clean but different %d, clean where git conflicts %d, conflict where git is clean %d",
		c.same, c.bothConflict, c.different, c.onlyOurs, c.onlyGits)
}

func (c *tally) compare(t *testing.T, git, base, a, b string) {
	t.Helper()
	got := merge.Three(base, a, b)
	want, clean := gitMerge(t, git, base, a, b)
	switch {
	case got.Clean() && clean && got.Text() == want:
		c.same++
	case got.Clean() && clean:
		c.different++
	case got.Clean():
		c.onlyOurs++
	case clean:
		c.onlyGits++
	default:
		c.bothConflict++
	}
	keepsEveryLine(t, base, a, b, got)
}

func gitMerge(t *testing.T, git, base, a, b string) (text string, clean bool) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"base": base, "a": a, "b": b} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(git, "merge-file", "-p", "a", "base", "b")
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout = &out
	err := cmd.Run()
	exit, isExit := errors.AsType[*exec.ExitError](err)
	if err != nil && (!isExit || exit.ExitCode() > 127) {
		t.Fatalf("git merge-file: %v", err)
	}
	return out.String(), err == nil
}

// keepsEveryLine holds guarantee 3: what a side added is in the result.
func keepsEveryLine(t *testing.T, base, a, b string, got merge.Result) {
	t.Helper()
	all := map[string]int{}
	for _, line := range merge.Lines(got.WithMarkers("a", "b")) {
		all[strings.TrimSuffix(line, "\n")]++
	}
	for _, side := range []string{a, b} {
		for _, h := range merge.Diff(base, side) {
			for _, line := range h.Lines {
				if line.Op == merge.Add && all[line.Text] == 0 {
					t.Fatalf("line %q is lost\nbase %q\na %q\nb %q", line.Text, base, a, b)
				}
			}
		}
	}
}

func FuzzThree(f *testing.F) {
	f.Add("1\n2\n", "1\n3\n", "0\n2\n")
	f.Add("", "a", "b\n")
	f.Fuzz(func(t *testing.T, base, a, b string) {
		ab, ba := merge.Three(base, a, b), merge.Three(base, b, a)
		if ab.Clean() != ba.Clean() || ab.Clean() && ab.Text() != ba.Text() {
			t.Fatalf("the merge depends on which side is which: %q %q", ab.WithMarkers("", ""), ba.WithMarkers("", ""))
		}
		keepsEveryLine(t, base, a, b, ab)
	})
}

func BenchmarkThree100KB(b *testing.B) {
	r := rand.New(rand.NewPCG(3, 4))
	lines := randomText(r, 10000)
	left, right := append([]string(nil), lines...), append([]string(nil), lines...)
	for range 20 {
		left[r.IntN(5000)] = "left\n"
		right[5000+r.IntN(5000)] = "right\n"
	}
	base, x, y := strings.Join(lines, ""), strings.Join(left, ""), strings.Join(right, "")
	b.ReportAllocs()
	for b.Loop() {
		merge.Three(base, x, y)
	}
}

// BenchmarkThreeMuch merges sides that differ in thousands of lines.
func BenchmarkThreeMuch(b *testing.B) {
	r := rand.New(rand.NewPCG(9, 10))
	lines := randomText(r, 10000)
	base := strings.Join(lines, "")
	x := strings.Join(slices.Concat(editMuch(r, lines[:5000], 0.5), lines[5000:]), "")
	y := strings.Join(slices.Concat(lines[:5000], editMuch(r, lines[5000:], 0.5)), "")
	b.ReportAllocs()
	for b.Loop() {
		merge.Three(base, x, y)
	}
}

// editMuch changes a share of the lines, takes some out and puts some in.
func editMuch(r *rand.Rand, base []string, share float64) []string {
	var out []string
	for _, line := range base {
		switch x := r.Float64() / share; {
		case x < 0.6:
			out = append(out, fmt.Sprintf("edited %d\n", r.IntN(1e6)))
		case x < 0.8:
		case x < 1:
			out = append(out, line, fmt.Sprintf("added %d\n", r.IntN(1e6)))
		default:
			out = append(out, line)
		}
	}
	return out
}

// TestLargeAgainstGit compares merges of long texts that differ in hundreds of lines
// with git's, as two sides of a long cut may write them.
func TestLargeAgainstGit(t *testing.T) {
	git, err := exec.LookPath("git")
	if err != nil {
		t.Fatalf("this test needs git as its oracle: %v", err)
	}
	r := rand.New(rand.NewPCG(5, 6))
	var tally tally
	for i := range 150 {
		lines := make([]string, 200+r.IntN(2000))
		for j := range lines {
			if lines[j] = fmt.Sprintf("line %d\n", r.IntN(1e6)); r.IntN(5) == 0 {
				lines[j] = []string{"\n", "}\n", "- \n"}[r.IntN(3)]
			}
		}
		// One side rewrites much of a half, the other a little of the other half.
		half := len(lines) / 2
		a := slices.Concat(editMuch(r, lines[:half], 0.1+0.4*r.Float64()), lines[half:])
		b := slices.Concat(lines[:half], editMuch(r, lines[half:], 0.05))
		if i%3 == 0 { // in turns
			a, b = nil, nil
			for at := 0; at < len(lines); at += 40 {
				block := lines[at:min(at+40, len(lines))]
				quiet, busy := block, block
				if len(block) < 3 {
					a, b = append(a, quiet...), append(b, busy...)
					continue
				}
				busy = slices.Concat(block[:1], editMuch(r, block[1:len(block)-1], 0.2), block[len(block)-1:])
				if at/40%2 == 0 {
					quiet, busy = busy, quiet
				}
				a, b = append(a, quiet...), append(b, busy...)
			}
		}
		base, left, right := strings.Join(lines, ""), strings.Join(a, ""), strings.Join(b, "")
		tally.compare(t, git, base, left, right)
	}
	t.Log(tally)
	if tally.different > 1 || tally.onlyOurs > 5 || tally.onlyGits > 5 || tally.same < 100 {
		t.Error("that is not git's choice")
	}
}

// TestManySavers: each of many who change a line of their own is united with all that
// came before.
func TestManySavers(t *testing.T) {
	lines := make([]string, 4000)
	for i := range lines {
		lines[i] = fmt.Sprintf("line %d\n", i)
	}
	base := strings.Join(lines, "")
	text := base
	for n, i := range rand.New(rand.NewPCG(7, 8)).Perm(1000) {
		mine := slices.Clone(lines)
		mine[4*i+1] = fmt.Sprintf("saver %d\n", i)
		got := merge.Three(base, text, strings.Join(mine, ""))
		if !got.Clean() {
			t.Fatalf("saver %d clashes with %d others, none of whom touched his line", i, n)
		}
		text = got.Text()
	}
	if n := strings.Count(text, "saver"); n != 1000 {
		t.Errorf("%d of 1000 lines are there", n)
	}
}
