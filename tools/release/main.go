// Command release prepares a release of all released modules, with one version for all.
// It runs in the repository's directory: release v0.1.0
//
// Nested modules get the version as the one of their siblings that they require, lose
// their replace lines, and get the checksums. So they can be tagged at the same
// commit as what they require, and installed from there. It changes files and stages
// them, and prints the commands that are left.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
	"golang.org/x/mod/sumdb/dirhash"

	"example.com/tcproom/tools/internal/repo"
)

func main() {
	flag.Usage = func() { fmt.Fprintln(os.Stderr, "usage: release VERSION") }
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := release(".", flag.Arg(0), time.Now().Format(time.DateOnly), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// release prepares a version of the repository in dir, and writes what is left to w.
func release(dir, version, date string, w io.Writer) error {
	all, err := repo.Find(dir)
	if err != nil {
		return err
	}
	released := slices.DeleteFunc(slices.Clone(all), func(m repo.Module) bool { return !m.Released() })
	if err := mayRelease(dir, version, released, all); err != nil {
		return err
	}
	if err := dateChangelog(filepath.Join(dir, "CHANGELOG.md"), version, date); err != nil {
		return err
	}
	for _, m := range released {
		if err := require(dir, m, version, all); err != nil {
			return err
		}
	}
	if err := replaceInWork(dir, all); err != nil {
		return err
	}
	// Each module's files are final when those that it requires have been summed.
	for _, m := range released {
		if err := addSums(dir, m, version, all); err != nil {
			return err
		}
	}
	if _, err := repo.Git(dir, "add", "-u"); err != nil {
		return err
	}
	fmt.Fprintf(w, "git commit -m 'release: prepare %s'\n", version)
	var tags []string
	for _, m := range released {
		fmt.Fprintln(w, "git tag", m.Tag(version))
		tags = append(tags, m.Tag(version))
	}
	fmt.Fprintln(w, "git push --atomic origin HEAD", strings.Join(tags, " "))
	return nil
}

// mayRelease returns why there may be no such release now.
func mayRelease(dir, version string, released, all []repo.Module) error {
	if semver.Canonical(version) != version {
		return fmt.Errorf("%q is no version like v0.1.0", version)
	}
	dirty, err := repo.Git(dir, "status", "--porcelain")
	if err != nil {
		return err
	}
	if dirty != "" {
		return fmt.Errorf("there are changes that are not committed:\n%s", dirty)
	}
	for _, m := range released {
		if err := module.CheckPathMajor(version, pathMajor(m)); err != nil {
			return err
		}
		last, err := repo.LastVersion(dir, m)
		if err != nil {
			return err
		}
		if semver.Compare(version, last) <= 0 {
			return fmt.Errorf("%s has %s already", m.Path(), last)
		}
		for _, p := range m.File.Replace {
			if !slices.ContainsFunc(all, func(o repo.Module) bool { return o.Path() == p.Old.Path }) {
				return fmt.Errorf("%s replaces %s: what it requires must be a version of it", m.Path(), p.Old.Path)
			}
		}
		for _, r := range repo.Required(m, all) {
			if !r.Released() {
				return fmt.Errorf("%s requires %s, which gets no versions", m.Path(), r.Path())
			}
		}
	}
	return nil
}

func pathMajor(m repo.Module) string {
	_, major, _ := module.SplitPathVersion(m.Path())
	return major
}

// dateChangelog gives the version's section, which must be the first, its date.
func dateChangelog(name, version, date string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	sections := repo.Sections(string(data))
	if len(sections) == 0 || sections[0].Version != version || sections[0].Date != repo.Unreleased {
		return fmt.Errorf("the first section of CHANGELOG.md is not %s, %s", version, repo.Unreleased)
	}
	dated := strings.TrimSuffix(sections[0].Heading, repo.Unreleased) + date
	return os.WriteFile(name, []byte(strings.Replace(string(data), sections[0].Heading, dated, 1)), 0o666)
}

// require makes m require the version of its siblings, from where they are published.
func require(dir string, m repo.Module, version string, all []repo.Module) error {
	siblings := repo.Required(m, all)
	if len(siblings) == 0 {
		return nil
	}
	for _, r := range siblings {
		err := m.File.AddRequire(r.Path(), version)
		for _, p := range slices.Clone(m.File.Replace) {
			if p.Old.Path == r.Path() {
				err = errors.Join(err, m.File.DropReplace(p.Old.Path, p.Old.Version))
			}
		}
		if err != nil {
			return err
		}
	}
	m.File.Cleanup()
	return os.WriteFile(filepath.Join(dir, m.Dir, "go.mod"), modfile.Format(m.File.Syntax), 0o666)
}

// replaceInWork makes go.work give the modules that it has their places for the
// versions that are required now, which may not be published yet.
func replaceInWork(dir string, all []repo.Module) error {
	name := filepath.Join(dir, "go.work")
	data, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	work, err := modfile.ParseWork(name, data, nil)
	if err != nil {
		return err
	}
	for _, p := range slices.Clone(work.Replace) {
		if slices.ContainsFunc(all, func(m repo.Module) bool { return m.Path() == p.Old.Path }) {
			if err := work.DropReplace(p.Old.Path, p.Old.Version); err != nil {
				return err
			}
		}
	}
	if err := repo.ReplaceInWork(work, "", slices.DeleteFunc(slices.Clone(all), func(m repo.Module) bool { return !m.Released() })); err != nil {
		return err
	}
	work.Cleanup()
	return os.WriteFile(name, modfile.Format(work.Syntax), 0o666)
}

// addSums writes the checksums of m into the go.sum of each released module that
// requires it. They are those of what is tagged, so nothing may be fetched for them.
func addSums(dir string, m repo.Module, version string, all []repo.Module) error {
	var users []repo.Module
	for _, u := range all {
		if u.Released() && slices.ContainsFunc(repo.Required(u, all), func(r repo.Module) bool { return r.Dir == m.Dir }) {
			users = append(users, u)
		}
	}
	if len(users) == 0 {
		return nil
	}
	sums, err := sums(dir, m, version)
	if err != nil {
		return err
	}
	for _, u := range users {
		name := filepath.Join(dir, u.Dir, "go.sum")
		data, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.WriteFile(name, []byte(insertSums(string(data), m.Path(), sums)), 0o666); err != nil {
			return err
		}
		if _, err := repo.Git(dir, "add", "--", name); err != nil {
			return err
		}
	}
	return nil
}

// insertSums puts lines about a module where its old ones are, or belong.
func insertSums(text, path string, sums []string) string {
	var before, after []string
	for line := range strings.Lines(text) {
		switch name, _, _ := strings.Cut(line, " "); {
		case name < path:
			before = append(before, line)
		case name > path:
			after = append(after, line)
		}
	}
	return strings.Join(slices.Concat(before, sums, after), "")
}

// sums returns the lines of a go.sum about a version of m, as it is in the working tree.
func sums(dir string, m repo.Module, version string) ([]string, error) {
	tmp, err := os.MkdirTemp("", "release-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	if _, err := repo.Git(dir, "add", "-u"); err != nil {
		return nil, err
	}
	tree, err := repo.Git(dir, "write-tree")
	if err != nil {
		return nil, err
	}
	file, gomod, err := repo.Zip(dir, strings.TrimSpace(tree), m, version, tmp)
	if err != nil {
		return nil, err
	}
	all, err := dirhash.HashZip(file, dirhash.Hash1)
	if err != nil {
		return nil, err
	}
	one, err := dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) { return os.Open(gomod) })
	if err != nil {
		return nil, err
	}
	return []string{
		fmt.Sprintf("%s %s %s\n", m.Path(), version, all),
		fmt.Sprintf("%s %s/go.mod %s\n", m.Path(), version, one),
	}, nil
}
