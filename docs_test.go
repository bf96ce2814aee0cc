package tcproom_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// testNames returns the tests and fuzz targets of the whole repository, and
// where each is.
func testNames(t testing.TB) map[string]string {
	t.Helper()
	decl := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark|Example)\w*)\(`)
	names := make(map[string]string)
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		src, err := os.ReadFile(path)
		for _, m := range decl.FindAllSubmatch(src, -1) {
			names[string(m[1])] = path
		}
		return err
	}))
	return names
}

// TestDocsNameTests: each test that a document names is there.
func TestDocsNameTests(t *testing.T) {
	quoted := regexp.MustCompile("`((?:Test|Fuzz)[A-Z0-9]\\w*)`")
	names := testNames(t)
	for _, doc := range []string{"docs/faults.md", "docs/operation.md", "PROMISES.md", "SECURITY.md", "CONTRIBUTING.md"} {
		text, err := os.ReadFile(doc)
		require.NoError(t, err)
		for _, m := range quoted.FindAllSubmatch(text, -1) {
			require.Contains(t, names, string(m[1]), "%s names a test that is not there", doc)
		}
	}
}

// TestDocsFaults: docs/faults.md has one row for each fault, and each row names
// a test or says why there is none; a test that bears a fault's number is in
// the row of that fault.
func TestDocsFaults(t *testing.T) {
	text, err := os.ReadFile("docs/faults.md")
	require.NoError(t, err)
	row := regexp.MustCompile(`(?m)^\| F(\d+) \|(.*)\|(.*)\|$`)
	shown := make(map[string]string)
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		require.NotContains(t, shown, m[1], "F%s has two rows", m[1])
		shown[m[1]] = m[3]
		if !strings.Contains(m[3], "`Test") && !strings.Contains(m[3], "`Fuzz") {
			require.Contains(t, m[3], "No test:", "F%s", m[1])
		}
	}
	const last = 86
	for i := range last {
		require.Contains(t, shown, fmt.Sprint(i+1))
	}
	require.Len(t, shown, last)
	numbered := regexp.MustCompile(`^TestF(\d+)[A-Z]`)
	for name := range testNames(t) {
		if m := numbered.FindStringSubmatch(name); m != nil {
			require.Contains(t, shown[m[1]], "`"+name+"`", "the row of F%s", m[1])
		}
	}
}

// An exported is a name of the package that others see, methods aside.
type exported struct{ option, kind bool }

// exportedNames returns those of the package in this directory. A function that returns an
// option or a policy is an option, and a constant of a type of kinds is a kind.
func exportedNames(t *testing.T) map[string]exported {
	t.Helper()
	names := make(map[string]exported)
	add := func(id *ast.Ident, e exported) {
		if id.IsExported() {
			names[id.Name] = e
		}
	}
	ends := func(of ast.Expr, suffixes ...string) bool {
		id, ok := of.(*ast.Ident)
		return ok && slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(id.Name, s) })
	}
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if of := d.Type.Results; d.Recv == nil {
					add(d.Name, exported{option: of.NumFields() == 1 && ends(of.List[0].Type, "Option", "Policy")})
				}
			case *ast.GenDecl:
				var of ast.Expr // of the constants that follow it too
				for _, spec := range d.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						add(spec.Name, exported{})
					case *ast.ValueSpec:
						if spec.Type != nil || spec.Values != nil {
							of = spec.Type
						}
						for _, id := range spec.Names {
							add(id, exported{kind: ends(of, "Kind")})
						}
					}
				}
			}
		}
	}
	return names
}

// TestDocsExportedNames: docs/regrets.md says how many names the package exports.
func TestDocsExportedNames(t *testing.T) {
	options, kinds, names := 0, 0, exportedNames(t)
	for _, e := range names {
		if e.option {
			options++
		}
		if e.kind {
			kinds++
		}
	}
	text, err := os.ReadFile("docs/regrets.md")
	require.NoError(t, err)
	said := strings.Join(strings.Fields(string(text)), " ")
	require.Contains(t, said, fmt.Sprintf("**%d exported names**, methods aside. Of them %d are functions that set an option, a hook or a policy, and %d are kinds of events and requests;", len(names), options, kinds))
}

// TestDocsLogRecords: docs/operation.md has the words of each record that a room with a
// log, or package roomnats, writes about its log, and no others.
func TestDocsLogRecords(t *testing.T) {
	text, err := os.ReadFile("docs/operation.md")
	require.NoError(t, err)
	var said []string
	for _, m := range regexp.MustCompile("(?m)^\\| (?:Warn|Error) \\| `([^`]+)` \\|").FindAllSubmatch(text, -1) {
		said = append(said, string(m[1]))
	}
	require.NotEmpty(t, said)

	var written []string
	find := func(prefix string, files []string, call string) {
		for _, file := range files {
			src, err := os.ReadFile(file)
			require.NoError(t, err)
			for _, m := range regexp.MustCompile(call).FindAllSubmatch(src, -1) {
				if msg := prefix + string(m[1]); !slices.Contains(written, msg) {
					written = append(written, msg)
				}
			}
		}
	}
	find("tcproom: ", []string{"replica.go", "submit.go", "apply.go", "attendance.go", "bylog.go", "hub_log.go"}, `logBurst, "([^"]+)"`)
	find("", []string{"replica.go"}, `logger\.Warn\("([^"]+)"`)
	nats, err := filepath.Glob("roomnats/*.go")
	require.NoError(t, err)
	find("", nats, `logger\.(?:Warn|Error)\("([^"]+)"`)
	require.ElementsMatch(t, written, said)
}
