package mesh

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// TestDeterminism holds the core to what makes a seed replay: no clock, no
// goroutine, no channel, no unseeded random number, no loop over a map.
func TestDeterminism(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	maps := map[string]bool{} // names of fields, variables and parameters that are maps
	var parsed []*ast.File
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, f.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, file)
		ast.Inspect(file, func(n ast.Node) bool {
			if f, ok := n.(*ast.Field); ok {
				if _, isMap := f.Type.(*ast.MapType); isMap {
					for _, name := range f.Names {
						maps[name.Name] = true
					}
				}
			}
			return true
		})
	}
	if len(parsed) < 10 || len(maps) < 5 {
		t.Fatalf("%d files, %d maps: this test looks in the wrong place", len(parsed), len(maps))
	}
	for _, file := range parsed {
		for _, imp := range file.Imports {
			switch imp.Path.Value {
			case `"os"`, `"net"`, `"sync"`, `"context"`, `"math/rand"`, `"crypto/rand"`, `"log"`, `"log/slog"`:
				t.Errorf("%s imports %s", fset.Position(imp.Pos()), imp.Path.Value)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt, *ast.SelectStmt, *ast.SendStmt:
				t.Errorf("%s: a goroutine or channel", fset.Position(n.Pos()))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" {
					switch n.Sel.Name {
					case "Now", "Since", "Until", "After", "Sleep", "NewTimer", "NewTicker", "Tick":
						t.Errorf("%s: time.%s", fset.Position(n.Pos()), n.Sel.Name)
					}
				}
			case *ast.RangeStmt:
				name := ""
				switch x := n.X.(type) {
				case *ast.Ident:
					name = x.Name
				case *ast.SelectorExpr:
					name = x.Sel.Name
				}
				if maps[name] {
					t.Errorf("%s: a loop over the map %s", fset.Position(n.Pos()), name)
				}
			}
			return true
		})
	}
}
