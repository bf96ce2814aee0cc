package tcproom_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// filesOfMap returns what the table "Where things are" of CONTRIBUTING.md names.
func filesOfMap(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("CONTRIBUTING.md")
	require.NoError(t, err)
	_, section, ok := strings.Cut(string(text), "\n## Where things are\n")
	require.True(t, ok)
	section, _, _ = strings.Cut(section, "\n## ")
	row := regexp.MustCompile(`(?m)^\|([^|]*)\|[^|]*\|$`)
	name := regexp.MustCompile("`([^`]+)`")
	var files []string
	for _, r := range row.FindAllStringSubmatch(section, -1) {
		for _, n := range name.FindAllStringSubmatch(r[1], -1) {
			files = append(files, n[1])
		}
	}
	return files
}

// TestMapOfFiles: CONTRIBUTING.md says of each file of the package what it is for,
// once, and names nothing that is not there.
func TestMapOfFiles(t *testing.T) {
	named := filesOfMap(t)
	for i, f := range named {
		_, err := os.Stat(f)
		require.NoError(t, err)
		require.NotContains(t, named[:i], f, "is named twice")
	}
	there, err := filepath.Glob("*.go")
	require.NoError(t, err)
	there = slices.DeleteFunc(there, func(f string) bool { return strings.HasSuffix(f, "_test.go") })
	require.NotEmpty(t, there)
	require.Subset(t, named, there, "files that the map does not name")
}

// TestF63ClocksAreMonotonic: what strips a time of its monotonic reading is
// used to print and parse times, and nowhere else.
func TestF63ClocksAreMonotonic(t *testing.T) {
	prints := map[string]bool{"codec.go": true, "codec_json.go": true}
	strips := map[string]bool{"UTC": true, "Local": true, "In": true, "Round": true, "Truncate": true, "Unix": true, "UnixNano": true, "UnixMilli": true, "UnixMicro": true, "AddDate": true}
	var files []string
	for _, pattern := range []string{"*.go", "internal/fanout/*.go", "internal/ledger/*.go", "internal/outbox/*.go", "internal/sock/*.go"} {
		more, err := filepath.Glob(pattern)
		require.NoError(t, err)
		files = append(files, more...)
	}
	looked, printed := 0, 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, file, nil, 0)
		require.NoError(t, err)
		looked++
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok && strips[sel.Sel.Name] && !isPackage(sel.X, "time") {
				if printed++; !prints[file] {
					t.Errorf("%v: %s takes the monotonic reading from a time", fset.Position(sel.Pos()), sel.Sel.Name)
				}
			}
			return true
		})
	}
	require.Greater(t, looked, 20)
	require.NotZero(t, printed, "this test finds nothing")
}

func isPackage(x ast.Expr, name string) bool {
	id, ok := x.(*ast.Ident)
	return ok && id.Name == name
}

// TestGoroutinesHaveNames: a go statement starts a function that has a name, so that its
// comment can say when it ends, and a stack says what it is.
func TestGoroutinesHaveNames(t *testing.T) {
	started := 0
	for _, pattern := range []string{"*.go", "internal/fanout/*.go", "internal/sock/*.go", "roomhttp/*.go", "roomnats/*.go", "roomprom/*.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
			require.NoError(t, err)
			ast.Inspect(file, func(n ast.Node) bool {
				if st, ok := n.(*ast.GoStmt); ok {
					started++
					_, nameless := st.Call.Fun.(*ast.FuncLit)
					require.False(t, nameless, fset.Position(st.Pos()))
				}
				return true
			})
		}
	}
	require.NotZero(t, started)
}
