package tcproom_test

import (
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
