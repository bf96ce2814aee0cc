// Package repo knows the modules of this repository and their versions.
package repo

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"go/version"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
	"golang.org/x/mod/zip"
)

// A Module is a module of the repository.
type Module struct {
	Dir  string // from the repository's, with slashes; "." is the root module
	File *modfile.File
}

// Path returns the module's path.
func (m Module) Path() string { return m.File.Module.Mod.Path }

// Name returns what the documents call the module: its directory, and for the root
// module the last part of its path.
func (m Module) Name() string {
	if m.Dir == "." {
		return path.Base(m.Path())
	}
	return m.Dir
}

// Tag returns the tag of the module's version, or the beginning of all its tags for "v".
func (m Module) Tag(version string) string { return path.Join(m.Dir, version) }

// Released reports whether the module gets versions. Modules of tests, measurements
// and tools do not.
func (m Module) Released() bool {
	parts := strings.Split(m.Dir, "/")
	return !slices.Contains(parts, "internal") && !slices.Contains([]string{"bench", "examples", "tools"}, parts[0])
}

// Find returns the modules of the repository in dir. The root module is the first,
// and each comes after those that it requires.
func Find(dir string) ([]Module, error) {
	names, err := Git(dir, "ls-files", "-co", "--exclude-standard", "--deduplicate", "--", "go.mod", "*/go.mod")
	if err != nil {
		return nil, err
	}
	var all []Module
	for name := range strings.Lines(names) {
		name = strings.TrimSuffix(name, "\n")
		data, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) || slices.Contains(strings.Split(name, "/"), "testdata") {
			continue // an index may name a file that was removed
		}
		if err != nil {
			return nil, err
		}
		file, err := modfile.Parse(name, data, nil)
		if err != nil {
			return nil, err
		}
		all = append(all, Module{path.Dir(name), file})
	}
	slices.SortFunc(all, func(a, b Module) int { return cmp.Compare(a.Dir, b.Dir) })
	if len(all) == 0 || all[0].Dir != "." {
		return nil, fmt.Errorf("%s: no go.mod of a root module", dir)
	}
	return inOrder(all), nil
}

// inOrder puts what is required before what requires it.
func inOrder(all []Module) []Module {
	var sorted []Module
	var visit func(m Module)
	visit = func(m Module) {
		if slices.ContainsFunc(sorted, func(s Module) bool { return s.Dir == m.Dir }) {
			return
		}
		for _, r := range Required(m, all) {
			visit(r)
		}
		sorted = append(sorted, m)
	}
	for _, m := range all {
		visit(m)
	}
	return sorted
}

// Required returns the modules of the repository that m requires.
func Required(m Module, all []Module) []Module {
	return slices.DeleteFunc(slices.Clone(all), func(r Module) bool {
		return !slices.ContainsFunc(m.File.Require, func(q *modfile.Require) bool { return q.Mod.Path == r.Path() })
	})
}

// Alone returns the environment in which the go command sees the module m of the
// repository in dir by itself, with what it requires of its siblings as they are in
// dir. Released modules have no replace lines, and the versions that they require may
// not be published yet: for them it is a workspace, which is written to scratch.
func Alone(dir string, m Module, all []Module, scratch string) ([]string, error) {
	if len(unreplaced(m, all)) == 0 {
		return []string{"GOWORK=off", "GOFLAGS="}, nil
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	work := new(modfile.WorkFile)
	work.Syntax = new(modfile.FileSyntax)
	goVersion := ""
	for _, u := range append([]Module{m}, siblings(m, all)...) {
		if goVersion == "" || version.Compare("go"+goVersion, "go"+u.File.Go.Version) < 0 {
			goVersion = u.File.Go.Version
		}
		if err := work.AddUse(filepath.Join(dir, u.Dir), ""); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(work.AddGoStmt(goVersion), ReplaceInWork(work, dir, all)); err != nil {
		return nil, err
	}
	name, err := filepath.Abs(filepath.Join(scratch, fileName(m)+".work"))
	if err != nil {
		return nil, err
	}
	return []string{"GOWORK=" + name, "GOFLAGS="}, os.WriteFile(name, modfile.Format(work.Syntax), 0o666)
}

// ForTidy returns the environment for go mod tidy, which knows no workspaces: with a
// copy of the module's go.mod, in scratch, that has replace lines.
func ForTidy(dir string, m Module, all []Module, scratch string) ([]string, error) {
	missing := unreplaced(m, all)
	if len(missing) == 0 {
		return []string{"GOWORK=off", "GOFLAGS="}, nil
	}
	file, err := modfile.Parse("go.mod", modfile.Format(m.File.Syntax), nil)
	if err != nil {
		return nil, err
	}
	for _, r := range missing {
		at, err := filepath.Abs(filepath.Join(dir, r.Dir))
		if err != nil {
			return nil, err
		}
		if err := file.AddReplace(r.Path(), "", at, ""); err != nil {
			return nil, err
		}
	}
	sums, err := os.ReadFile(filepath.Join(dir, m.Dir, "go.sum"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	base, err := filepath.Abs(filepath.Join(scratch, fileName(m)))
	if err != nil {
		return nil, err
	}
	return []string{"GOWORK=off", "GOFLAGS=-modfile=" + base + ".mod"}, errors.Join(
		os.WriteFile(base+".sum", withoutSums(sums, all), 0o666),
		os.WriteFile(base+".mod", modfile.Format(file.Syntax), 0o666))
}

// unreplaced returns what m requires of the repository without a replace line.
func unreplaced(m Module, all []Module) []Module {
	return slices.DeleteFunc(Required(m, all), func(r Module) bool {
		return slices.ContainsFunc(m.File.Replace, func(p *modfile.Replace) bool { return p.Old.Path == r.Path() })
	})
}

// siblings returns what m requires of the repository, and what that requires.
func siblings(m Module, all []Module) []Module {
	var found []Module
	for _, r := range Required(m, all) {
		for _, s := range append(siblings(r, all), r) {
			if !slices.ContainsFunc(found, func(f Module) bool { return f.Dir == s.Dir }) {
				found = append(found, s)
			}
		}
	}
	return found
}

// ReplaceInWork makes work give each version of a module of the repository that
// another requires its place in dir. Modules of a workspace come from there anyway,
// but some commands ask for the go.mod of the required version all the same.
func ReplaceInWork(work *modfile.WorkFile, dir string, all []Module) error {
	for _, m := range all {
		for _, r := range Required(m, all) {
			at := filepath.ToSlash(filepath.Join(dir, r.Dir))
			if !filepath.IsAbs(at) {
				at = "./" + at
			}
			for _, q := range m.File.Require {
				if q.Mod.Path == r.Path() {
					if err := work.AddReplace(r.Path(), q.Mod.Version, at, ""); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

func fileName(m Module) string { return strings.ReplaceAll(m.Path(), "/", "_") }

// withoutSums returns what a go.sum has about others than the modules.
func withoutSums(sums []byte, all []Module) []byte {
	var kept []byte
	for line := range bytes.Lines(sums) {
		name, _, _ := strings.Cut(string(line), " ")
		if !slices.ContainsFunc(all, func(m Module) bool { return m.Path() == name }) {
			kept = append(kept, line...)
		}
	}
	return kept
}

// LastVersion returns the highest version of m that has a tag on the way to HEAD,
// pre-releases aside; "" if there is none.
func LastVersion(dir string, m Module) (string, error) {
	tags, err := Git(dir, "tag", "--merged", "HEAD", "--list", m.Tag("v")+"*")
	if err != nil {
		return "", err
	}
	last := ""
	for tag := range strings.Lines(tags) {
		v := path.Base(strings.TrimSpace(tag))
		if m.Tag(v) == strings.TrimSpace(tag) && semver.Canonical(v) == v && semver.Prerelease(v) == "" && semver.Compare(v, last) > 0 {
			last = v
		}
	}
	return last, nil
}

// Extract writes the files of a commit or tree into the directory to.
func Extract(dir, tree, to string) error {
	archive := exec.Command("git", "archive", tree)
	archive.Dir = dir
	tar := exec.Command("tar", "-x", "-C", to)
	var err error
	if tar.Stdin, err = archive.StdoutPipe(); err != nil {
		return err
	}
	archive.Stderr, tar.Stderr = os.Stderr, os.Stderr
	if err := tar.Start(); err != nil {
		return err
	}
	return errors.Join(archive.Run(), tar.Wait())
}

// Zip writes what a module proxy gives for a version of m, tagged at a commit or tree,
// into tmp. It returns the names of the zip file and of the module's go.mod.
func Zip(dir, tree string, m Module, version, tmp string) (file, gomod string, err error) {
	files, err := os.MkdirTemp(tmp, "")
	if err != nil {
		return "", "", err
	}
	if err := Extract(dir, tree, files); err != nil {
		return "", "", err
	}
	at := filepath.Join(files, m.Dir)
	// A module without a licence of its own comes with that of the repository.
	licence := filepath.Join(at, "LICENSE")
	if _, err := os.Stat(licence); errors.Is(err, os.ErrNotExist) {
		data, err := os.ReadFile(filepath.Join(files, "LICENSE"))
		if err == nil {
			err = os.WriteFile(licence, data, 0o666)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", "", err
		}
	}
	out, err := os.CreateTemp(tmp, "*.zip")
	if err != nil {
		return "", "", err
	}
	err = zip.CreateFromDir(out, module.Version{Path: m.Path(), Version: version}, at)
	return out.Name(), filepath.Join(at, "go.mod"), errors.Join(err, out.Close())
}

// Git runs git in dir and returns what it prints.
func Git(dir string, args ...string) (string, error) {
	return Run(dir, nil, "git", args...)
}

// Run runs a program in dir, with more environment, and returns what it prints.
func Run(dir string, env []string, program string, args ...string) (string, error) {
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s%s", cmd, err, out, &stderr)
	}
	return string(out), err
}
