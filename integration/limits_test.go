package integration

import (
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestLimitsTable: the numbers in the table of docs/OPERATING.md are those of the
// constants that it names, and every constant of the front door is in it.
func TestLimitsTable(t *testing.T) {
	text, err := os.ReadFile("../docs/OPERATING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n## Limits\n")
	written := make(map[string]string)
	for _, m := range regexp.MustCompile("(\\d+[a-z]*)[^|`;,]*\\(`(\\w+)`\\)").FindAllStringSubmatch(table, -1) {
		written[m[2]] = m[1]
	}
	found := 0
	for _, file := range []string{"wiki/limits.go", "cluster/limits.go", "wiki/page/limits.go", "cmd/erwik/serve.go", "cluster/mesh/limits.go", "storage/limits.go"} {
		for name, want := range constantsOf(t, file) {
			got, listed := written[name]
			if !listed {
				if strings.HasPrefix(file, "wiki/") || file == "cluster/limits.go" {
					t.Errorf("%s: %s is not in the table", file, name)
				}
				continue
			}
			found++
			n, err := strconv.ParseInt(got, 10, 64)
			if d, durationErr := time.ParseDuration(got); err != nil && durationErr == nil {
				n, err = int64(d), nil
			}
			if err != nil || n != want {
				t.Errorf("%s: %s is %d, the table says %s", file, name, want, got)
			}
			delete(written, name)
		}
	}
	if found < 30 || len(written) > 0 {
		t.Errorf("%d constants found; the table names %v, which are in no file of limits", found, written)
	}
}

// constantsOf evaluates the constants of a file; durations in nanoseconds.
func constantsOf(t *testing.T, file string) map[string]int64 {
	t.Helper()
	values := make(map[string]int64)
	for _, s := range sources(t) {
		if s.path != file {
			continue
		}
		for _, d := range s.file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, spec := range g.Specs {
				v := spec.(*ast.ValueSpec)
				for i, name := range v.Names {
					if i >= len(v.Values) {
						continue
					}
					expr := types.ExprString(v.Values[i])
					for unit, d := range map[string]time.Duration{"time.Second": time.Second, "time.Minute": time.Minute, "time.Millisecond": time.Millisecond} {
						expr = strings.ReplaceAll(expr, unit, strconv.FormatInt(int64(d), 10))
					}
					if value, err := types.Eval(token.NewFileSet(), nil, token.NoPos, expr); err == nil && value.Value != nil && value.Value.Kind() == constant.Int {
						values[name.Name], _ = constant.Int64Val(value.Value)
					}
				}
			}
		}
	}
	return values
}
