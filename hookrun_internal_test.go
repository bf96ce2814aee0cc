package tcproom

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestHookNamesAreOptions: what a hook is called is, but for words before it, the
// name of the option that sets it.
func TestHookNamesAreOptions(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	options := map[string]bool{}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv != nil || fn.Type.Results == nil {
				continue
			}
			if id, ok := fn.Type.Results.List[0].Type.(*ast.Ident); ok && strings.HasSuffix(id.Name, "Option") {
				options[fn.Name.Name] = true
			}
		}
	}
	require.Empty(t, hookNames[noHook])
	for _, name := range hookNames[noHook+1:] {
		words := strings.Fields(name)
		require.NotEmpty(t, words, "a hook has no name")
		require.Contains(t, options, words[len(words)-1])
	}
}
