// Command rename gives the repository another module path: in all go.mod and go.work
// files, imports, documents and scripts. It runs in the repository's directory:
//
//	rename git.example.org/team/chat
//
// The package keeps its name. Imports of it name it if the path ends otherwise.
// Checksums of versions under the old path are dropped.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/format"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/mod/module"

	"example.com/tcproom/tools/internal/repo"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: rename PATH")
		os.Exit(2)
	}
	if err := rename(".", os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "rename:", err)
		os.Exit(1)
	}
}

// rename gives the repository in dir the module path to.
func rename(dir, to string) error {
	if err := module.CheckPath(to); err != nil {
		return err
	}
	all, err := repo.Find(dir)
	if err != nil {
		return err
	}
	from := all[0].Path()
	if from == to {
		return nil
	}
	names, err := repo.Git(dir, "ls-files", "-co", "--exclude-standard", "--deduplicate", "-z")
	if err != nil {
		return err
	}
	name, err := repo.Run(dir, []string{"GOWORK=off", "GOFLAGS="}, "go", "list", "-f", "{{.Name}}", ".")
	if err != nil {
		return err
	}
	r := newRenamer(from, to, strings.TrimSpace(name))
	for name := range strings.SplitSeq(strings.TrimSuffix(names, "\x00"), "\x00") {
		if err := r.file(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

type renamer struct {
	from, to string
	name     string         // of the package in the root module
	bare     *regexp.Regexp // an import without a name
	named    *regexp.Regexp // one with the package's own
}

func newRenamer(from, to, name string) *renamer {
	imported := regexp.QuoteMeta(`"` + to + `"`)
	return &renamer{
		from: from, to: to, name: name,
		bare:  regexp.MustCompile(`(?m)^(\t|import )` + imported + `$`),
		named: regexp.MustCompile(`(?m)^(\t|import )` + name + ` ` + imported + `$`),
	}
}

// file renames what is in a file.
func (r *renamer) file(name string) error {
	info, err := os.Lstat(name)
	if errors.Is(err, os.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil // removed and still in the index, or a link
	}
	if err != nil {
		return err
	}
	old, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	data, err := r.content(name, old)
	if err != nil || bytes.Equal(old, data) {
		return err
	}
	return os.WriteFile(name, data, info.Mode().Perm())
}

func (r *renamer) content(name string, data []byte) ([]byte, error) {
	if bytes.IndexByte(data, 0) >= 0 {
		return data, nil // no text
	}
	if base := filepath.Base(name); base == "go.sum" || base == "go.work.sum" {
		return r.withoutSums(data), nil
	}
	renamed := replace(data, r.from, r.to)
	renamed = replace(renamed, regexp.QuoteMeta(r.from), regexp.QuoteMeta(r.to)) // in a regular expression
	if bytes.Equal(data, renamed) {
		return data, nil
	}
	if path.Base(r.to) == r.name {
		renamed = r.named.ReplaceAll(renamed, []byte(`${1}"`+r.to+`"`))
	} else {
		renamed = r.bare.ReplaceAll(renamed, []byte(`${1}`+r.name+` "`+r.to+`"`))
	}
	if filepath.Ext(name) != ".go" {
		return renamed, nil
	}
	return format.Source(renamed) // sorts the imports
}

// replace replaces a path where it is not a part of another, such as that of a host
// with a longer name.
func replace(data []byte, from, to string) []byte {
	var out []byte
	for {
		i := bytes.Index(data, []byte(from))
		if i < 0 {
			return append(out, data...)
		}
		end := i + len(from)
		with := to
		if i > 0 && (word(data[i-1]) || data[i-1] == '.') || end < len(data) && word(data[end]) {
			with = from
		}
		out = append(append(out, data[:i]...), with...)
		data = data[end:]
	}
}

func word(c byte) bool {
	return c == '_' || c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func (r *renamer) withoutSums(sums []byte) []byte {
	var kept []byte
	for line := range bytes.Lines(sums) {
		name, _, _ := strings.Cut(string(line), " ")
		if name != r.from && !strings.HasPrefix(name, r.from+"/") {
			kept = append(kept, line...)
		}
	}
	return kept
}
