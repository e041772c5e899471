package integration

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/erwik/erwik/"

// source is one Go file of the repository.
type source struct {
	path string // from the top, with slashes
	file *ast.File
	set  *token.FileSet
}

func (s source) pkg() string  { return path.Dir(s.path) }
func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

// sources parses every Go file of the repository. It opens the files itself, so
// the test cache sees them change.
func sources(t *testing.T) (all []source) {
	t.Helper()
	set := token.NewFileSet()
	err := filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata" || d.Name() == "bin") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(set, name, text, parser.ParseComments)
		if err != nil {
			return err
		}
		all = append(all, source{filepath.ToSlash(strings.TrimPrefix(name, ".."+string(filepath.Separator))), file, set})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func imports(s source) (paths []string) {
	for _, i := range s.file.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		paths = append(paths, p)
	}
	return paths
}

// top is the first folder of a package of ours.
func top(pkg string) string { first, _, _ := strings.Cut(pkg, "/"); return first }

// TestImportRule: what each room may import of the others.
func TestImportRule(t *testing.T) {
	may := map[string][]string{
		"storage":     {},
		"events":      {"storage"},
		"cluster":     {"events", "storage"},
		"wiki":        {"events", "storage"},
		"cmd":         {"cluster", "events", "storage", "wiki"},
		"integration": {}, // it runs the binary
	}
	seen := make(map[string]bool)
	for _, s := range sources(t) {
		from := top(s.pkg())
		allowed, known := may[from]
		if !known {
			t.Errorf("%s: a new top-level package; DESIGN has no room for it", s.path)
		}
		seen[from] = true
		for _, p := range imports(s) {
			if to, ours := strings.CutPrefix(p, module); ours && top(to) != from && !slices.Contains(allowed, top(to)) {
				t.Errorf("%s imports %s: %s may import only %v of ours", s.path, p, from, allowed)
			}
		}
	}
	for pkg := range may {
		if !seen[pkg] {
			t.Errorf("there is no package %s any more; strike it from the rule", pkg)
		}
	}
}

// landlords says who may import a library; nobody else does.
var landlords = map[string][]string{
	"github.com/cockroachdb/pebble":      {"storage", "integration"}, // integration: the bench's bare Pebble server
	"github.com/cockroachdb/errors":      {"storage"},
	"github.com/go-git/go-git":           {"storage", "wiki"}, // wiki: repositories to import
	"github.com/go-git/go-billy":         {"storage", "wiki"},
	"github.com/pjbgf/sha1cd":            {"storage"},
	"github.com/oasisprotocol":           {"storage"},
	"github.com/nats-io/nats.go":         {"events"},
	"github.com/nats-io/nats-server":     {"events"},
	"github.com/klauspost/compress":      {"cluster"},
	"github.com/gorilla/mux":             {"wiki"},
	"github.com/yuin/goldmark":           {"wiki"},
	"github.com/microcosm-cc/bluemonday": {"wiki"},
	"github.com/aymanbagabas/go-udiff":   {"wiki"},
	"golang.org/x/text":                  {"wiki"},
	"golang.org/x/net":                   {"wiki"},
	"github.com/prometheus":              {"wiki", "integration"}, // integration: the parser of what a node gives
	"github.com/spf13":                   {"cmd"},
	"github.com/schollz/progressbar":     {"cmd"},
	"github.com/BurntSushi/toml":         {"cmd"},
	"golang.org/x/term":                  {"cmd"},
	"github.com/vishvananda/netlink":     {"cmd"},         // erwik-shape; a node never touches an interface
	"go.yaml.in/yaml":                    {"integration"}, // alert rules
	"golang.org/x/sys":                   {"cluster", "integration"},
	"pgregory.net/rapid":                 {"storage", "events", "cluster", "wiki"}, // property tests
	"github.com/rogpeppe/go-internal":    {"cmd"},                                  // scripts of the command line
}

// TestOneLandlordPerLibrary: a library is replaceable when one room holds it.
func TestOneLandlordPerLibrary(t *testing.T) {
	for _, s := range sources(t) {
		for _, p := range imports(s) {
			if !strings.Contains(strings.Split(p, "/")[0], ".") || strings.HasPrefix(p, module) {
				continue
			}
			found := false
			for library, rooms := range landlords {
				if p == library || strings.HasPrefix(p, library+"/") {
					found = true
					memory := s.isTest() && p == "github.com/cockroachdb/pebble/v2/vfs" // stores in memory
					if !slices.Contains(rooms, top(s.pkg())) && !memory {
						t.Errorf("%s imports %s, whose landlord is %v", s.path, p, rooms)
					}
				}
			}
			if !found {
				t.Errorf("%s imports %s, which has no landlord", s.path, p)
			}
		}
	}
}

// TestPackageComments: every package has one comment that godoc shows.
func TestPackageComments(t *testing.T) {
	files := make(map[string][]*ast.File)
	var set *token.FileSet
	comments := make(map[string]int)
	for _, s := range sources(t) {
		if s.isTest() {
			continue
		}
		set = s.set
		files[s.pkg()] = append(files[s.pkg()], s.file)
		if s.file.Doc != nil {
			comments[s.pkg()]++
		}
	}
	for pkg, fs := range files {
		if comments[pkg] != 1 {
			t.Errorf("%s has %d package comments, want one", pkg, comments[pkg])
			continue
		}
		shown, err := doc.NewFromFiles(set, fs, module+pkg)
		if err != nil {
			t.Fatal(err)
		}
		want := "Package " + shown.Name + " "
		if shown.Name == "main" {
			want = "Command "
		}
		if !strings.HasPrefix(shown.Doc, want) || len(shown.Doc) < 100 {
			t.Errorf("%s: godoc shows %.60q; want a text that begins with %q and says what it guarantees", pkg, shown.Doc, want)
		}
	}
}

// TestShape: no init, no package variable that anything could write, no sleep,
// no test that skips itself.
func TestShape(t *testing.T) {
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.Name == "init" && d.Recv == nil {
					t.Errorf("%s has an init", s.path)
				}
			case *ast.GenDecl:
				if d.Tok == token.VAR && !s.isTest() {
					checkVariables(t, s, d)
				}
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, _ := call.X.(*ast.Ident)
			if x == nil {
				return true
			}
			where := s.set.Position(call.Pos())
			if x.Name == "time" && call.Sel.Name == "Sleep" && s.pkg() != "integration/bench" {
				t.Errorf("%s:%d sleeps; wait for the thing itself", s.path, where.Line)
			}
			if s.isTest() && strings.HasPrefix(call.Sel.Name, "Skip") && (x.Name == "t" || x.Name == "b") {
				t.Errorf("%s:%d skips a test", s.path, where.Line)
			}
			return true
		})
	}
}

// checkVariables accepts errors, embedded files, and tables, which are
// composite literals or calls that make one value.
func checkVariables(t *testing.T, s source, d *ast.GenDecl) {
	for _, spec := range d.Specs {
		v := spec.(*ast.ValueSpec)
		for i, name := range v.Names {
			embedded := d.Doc != nil && strings.Contains(d.Doc.Text(), "go:embed")
			if d.Doc != nil {
				for _, c := range d.Doc.List {
					embedded = embedded || strings.HasPrefix(c.Text, "//go:embed")
				}
			}
			if v.Doc != nil {
				for _, c := range v.Doc.List {
					embedded = embedded || strings.HasPrefix(c.Text, "//go:embed")
				}
			}
			isError := strings.HasPrefix(name.Name, "err") || strings.HasPrefix(name.Name, "Err")
			hasValue := i < len(v.Values)
			linker := s.path == "cmd/erwik/main.go" && name.Name == "version"
			if name.Name != "_" && !embedded && !isError && !hasValue && !linker {
				t.Errorf("%s: package variable %s has no value: something must write it", s.path, name.Name)
			}
		}
	}
}

// TestFilesAreShort: hardly a file over 500 lines, none over 700.
func TestFilesAreShort(t *testing.T) {
	over := 0
	for _, s := range sources(t) {
		lines := s.set.File(s.file.Pos()).LineCount()
		if lines > 700 {
			t.Errorf("%s has %d lines", s.path, lines)
		}
		if lines > 500 {
			over++
		}
	}
	if over > 3 {
		t.Errorf("%d files have more than 500 lines", over)
	}
}
