// Command apigate compares the exported API of each released module with that of its
// last tag. It fails if there is an incompatible change that the change log does not
// name, or that the version to come may not have. It runs in the repository's directory.
package main

import (
	"errors"
	"fmt"
	"go/token"
	"go/types"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/exp/apidiff"
	"golang.org/x/mod/semver"
	"golang.org/x/tools/go/packages"

	"example.com/tcproom/tools/internal/repo"
)

func main() {
	if err := gate(".", os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "apigate:", err)
		os.Exit(1)
	}
}

// gate compares the modules of the repository in dir, and reports to w.
func gate(dir string, w io.Writer) error {
	all, err := repo.Find(dir)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(dir, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "apigate-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	var wrong []error
	for _, m := range all {
		if !m.Released() {
			continue
		}
		if err := gateModule(dir, m, all, repo.Sections(string(text)), scratch, w); err != nil {
			wrong = append(wrong, err)
		}
	}
	return errors.Join(wrong...)
}

func gateModule(dir string, m repo.Module, all []repo.Module, log []repo.Section, scratch string, w io.Writer) error {
	before, err := repo.LastVersion(dir, m)
	if err != nil {
		return err
	}
	if before == "" {
		fmt.Fprintf(w, "%s: no tag yet, nothing to compare with\n", m.Path())
		return nil
	}
	was, err := os.MkdirTemp(scratch, "")
	if err != nil {
		return err
	}
	if err := repo.Extract(dir, m.Tag(before), was); err != nil {
		return err
	}
	// What was taken from an archive is in no repository, and repo.Find asks git.
	if _, err := repo.Git(was, "init", "-q"); err != nil {
		return err
	}
	allBefore, err := repo.Find(was)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(allBefore, func(b repo.Module) bool { return b.Dir == m.Dir })
	if i < 0 || allBefore[i].Path() != m.Path() {
		fmt.Fprintf(w, "%s: %s was of another module path, nothing to compare with\n", m.Path(), m.Tag(before))
		return nil
	}
	older, err := load(was, allBefore[i], allBefore, was)
	if err != nil {
		return fmt.Errorf("%s: %w", m.Tag(before), err)
	}
	newer, err := load(dir, m, all, scratch)
	if err != nil {
		return err
	}
	return judge(m, before, apidiff.ModuleChanges(older, newer).Changes, log, w)
}

// judge says which changes since the version before are not as they must be.
func judge(m repo.Module, before string, changes []apidiff.Change, log []repo.Section, w io.Writer) error {
	next, named := "", ""
	for _, s := range log {
		if semver.Compare(s.Version, before) > 0 {
			if next == "" {
				next = s.Version
			}
			named += s.Below("Changed") + s.Below("Removed")
		}
	}
	var wrong []error
	for _, c := range changes {
		if c.Compatible {
			continue
		}
		name := symbol(m, c.Message)
		switch {
		case !regexp.MustCompile("`" + regexp.QuoteMeta(name) + `\b`).MatchString(named):
			wrong = append(wrong, fmt.Errorf("%s since %s: %s: CHANGELOG.md names `%s` below neither Changed nor Removed of a version after it", m.Path(), before, c.Message, name))
		case !repo.MayBreak(before, next):
			wrong = append(wrong, fmt.Errorf("%s since %s: %s: %s is no version for that", m.Path(), before, c.Message, next))
		default:
			fmt.Fprintf(w, "%s since %s: %s\n", m.Path(), before, c.Message)
		}
	}
	fmt.Fprintf(w, "%s since %s: %d changes, %d of them not as they must be\n", m.Path(), before, len(changes), len(wrong))
	return errors.Join(wrong...)
}

// symbol returns the name that the change log has to have for a message of apidiff,
// such as "(*Room).Send: removed" or "./roomtest.New: changed from …": Room.Send and
// roomtest.New.
func symbol(m repo.Module, message string) string {
	if pkg, ok := strings.CutPrefix(message, "package "); ok {
		pkg, _, _ = strings.Cut(pkg, ": ")
		return strings.TrimPrefix(strings.TrimPrefix(pkg, m.Path()), "/")
	}
	name, _, _ := strings.Cut(message, ": ")
	name, _, _ = strings.Cut(name, ",")
	if sub, ok := strings.CutPrefix(name, "./"); ok {
		name = sub[strings.LastIndex(sub, "/")+1:]
	} else if m.Dir != "." {
		name = path.Base(m.Dir) + "." + name
	}
	return strings.NewReplacer("(*", "", "(", "", ")", "").Replace(name)
}

// load returns the packages of a module that others can import.
func load(dir string, m repo.Module, all []repo.Module, scratch string) (*apidiff.Module, error) {
	env, err := repo.Alone(dir, m, all, scratch)
	if err != nil {
		return nil, err
	}
	loaded, err := packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedTypes,
		Dir:  filepath.Join(dir, m.Dir),
		Env:  append(os.Environ(), env...),
		Fset: token.NewFileSet(),
	}, "./...")
	if err != nil {
		return nil, err
	}
	var exported []*types.Package
	for _, p := range loaded {
		if len(p.Errors) > 0 {
			return nil, p.Errors[0]
		}
		below := strings.Split(strings.TrimPrefix(p.PkgPath, m.Path()), "/")
		if p.Name != "main" && !slices.Contains(below, "internal") {
			exported = append(exported, p.Types)
		}
	}
	return &apidiff.Module{Path: m.Path(), Packages: exported}, nil
}
