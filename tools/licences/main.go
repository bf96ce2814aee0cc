// Command licences finds the licences of what the modules of the repository use, and
// checks that docs/licences.md lists them and that programs are linked with code under
// licences of the list below alone. It runs in the repository's directory; with -write
// it writes the document.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/licensecheck"

	"example.com/tcproom/tools/internal/repo"
)

// allowed are the licences of what may be linked: users of tcproom, which is under MIT,
// have nothing to do but to pass on their texts. MPL-2.0 asks for changed files too.
var allowed = []string{"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MPL-2.0"}

// systems are those whose packages are looked at.
var systems = []string{"linux", "darwin", "windows"}

func main() {
	write := flag.Bool("write", false, "write docs/licences.md")
	flag.Parse()
	if err := run(".", *write); err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
}

func run(dir string, write bool) error {
	text, err := document(dir)
	if err != nil {
		return err
	}
	name := filepath.Join(dir, "docs", "licences.md")
	if write {
		return os.WriteFile(name, text, 0o666)
	}
	old, err := os.ReadFile(name)
	if err == nil && !bytes.Equal(old, text) {
		err = fmt.Errorf("%s is not up to date: run licences -write", name)
	}
	return err
}

// A dependency is a module of others.
type dependency struct {
	path     string
	dirs     map[string]bool // of its packages, and those above them
	into     []string        // the released modules that are linked with it
	licences []string
}

// document returns the text of docs/licences.md.
func document(dir string) ([]byte, error) {
	all, err := repo.Find(dir)
	if err != nil {
		return nil, err
	}
	scratch, err := os.MkdirTemp("", "licences-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	found := map[string]*dependency{}
	for _, m := range all {
		env, err := repo.Alone(dir, m, all, scratch)
		if err != nil {
			return nil, err
		}
		at := filepath.Join(dir, m.Dir)
		linked, err := importable(at, m, env)
		if err != nil {
			return nil, err
		}
		for _, system := range systems {
			if len(linked) == 0 {
				break
			}
			if err := list(at, append(env, "GOOS="+system), m.Name(), found, linked...); err != nil {
				return nil, err
			}
		}
		// The tool lines name more than ./... of tools.
		what := []string{"-test", "./..."}
		if len(m.File.Tool) > 0 {
			what = append(what, "tool")
		}
		if err := list(at, env, "", found, what...); err != nil {
			return nil, err
		}
	}
	var wrong []error
	for _, d := range found {
		if err := d.classify(); err != nil {
			wrong = append(wrong, err)
		}
		for _, licence := range d.licences {
			if len(d.into) > 0 && !slices.Contains(allowed, licence) {
				wrong = append(wrong, fmt.Errorf("%s, linked into %s, is under %s", d.path, strings.Join(d.into, " and "), licence))
			}
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	return format(all[0].Name(), found), nil
}

// importable returns the packages and programs of a released module that are for others.
func importable(dir string, m repo.Module, env []string) ([]string, error) {
	if !m.Released() {
		return nil, nil
	}
	out, err := repo.Run(dir, env, "go", "list", "./...")
	return slices.DeleteFunc(strings.Fields(out), func(p string) bool {
		below := strings.Split(strings.TrimPrefix(p, m.Path()), "/")
		return slices.Contains(below, "internal") || slices.Contains(below, "examples")
	}), err
}

// list adds the modules of others that packages in dir depend on. into is the module
// that is linked with them; "" if none is.
func list(dir string, env []string, into string, found map[string]*dependency, args ...string) error {
	out, err := repo.Run(dir, env, "go", append([]string{"list", "-deps", "-json=Dir,Module"}, args...)...)
	if err != nil {
		return err
	}
	for dec := json.NewDecoder(strings.NewReader(out)); ; {
		var p struct {
			Dir    string
			Module *struct {
				Path, Dir, Version string
				Replace            *struct{ Dir string }
			}
		}
		if err := dec.Decode(&p); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		// The standard library has no module, and modules of this repository no version
		// or one that is replaced by their directory.
		if p.Module == nil || p.Module.Version == "" || p.Module.Replace != nil {
			continue
		}
		d := found[p.Module.Path]
		if d == nil {
			d = &dependency{path: p.Module.Path, dirs: map[string]bool{}}
			found[d.path] = d
		}
		for at := p.Dir; len(at) >= len(p.Module.Dir); at = filepath.Dir(at) {
			d.dirs[at] = true
		}
		if into != "" && !slices.Contains(d.into, into) {
			d.into = append(d.into, into)
		}
	}
}

var licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|unlicense)([.-].*)?$`)

// classify reads the licences of d from the files beside its packages.
func (d *dependency) classify() error {
	for _, dir := range slices.Sorted(maps.Keys(d.dirs)) {
		files, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, f := range files {
			if f.IsDir() || !licenceFile.MatchString(f.Name()) || filepath.Ext(f.Name()) == ".go" {
				continue
			}
			text, err := os.ReadFile(filepath.Join(dir, f.Name()))
			if err != nil {
				return err
			}
			cover := licensecheck.Scan(text)
			if cover.Percent < 75 {
				cover.Match = []licensecheck.Match{{ID: "another: see its " + f.Name()}}
			}
			for _, m := range cover.Match {
				if !slices.Contains(d.licences, m.ID) {
					d.licences = append(d.licences, m.ID)
				}
			}
		}
	}
	if len(d.licences) == 0 {
		return fmt.Errorf("%s has no licence", d.path)
	}
	slices.Sort(d.licences)
	return nil
}

func format(name string, found map[string]*dependency) []byte {
	linked, others := new(bytes.Buffer), new(bytes.Buffer)
	for _, path := range slices.Sorted(maps.Keys(found)) {
		d := found[path]
		if len(d.into) > 0 {
			fmt.Fprintf(linked, "| %s | %s | %s |\n", path, strings.Join(d.licences, ", "), strings.Join(d.into, ", "))
		} else {
			fmt.Fprintf(others, "| %s | %s |\n", path, strings.Join(d.licences, ", "))
		}
	}
	text := new(bytes.Buffer)
	fmt.Fprintf(text, "# Licences\n\n<!-- Written by tools/licences. -->\n\n")
	fmt.Fprintf(text, "%s is under the MIT licence. Versions of what it uses are in the go.mod files.\n\n## Linked into programs that use it\n\n", name)
	if linked.Len() == 0 {
		fmt.Fprintf(text, "Nothing but the standard library of Go, whose licence is BSD-3-Clause.\n")
	} else {
		fmt.Fprintf(text, "Beside the standard library of Go, whose licence is BSD-3-Clause. A module that is not named here is linked with that alone.\n\n| module | licence | linked into |\n|---|---|---|\n%s", linked)
	}
	fmt.Fprintf(text, "\n## Only in tests, measurements and tools of the project\n\n| module | licence |\n|---|---|\n%s", others)
	return text.Bytes()
}
