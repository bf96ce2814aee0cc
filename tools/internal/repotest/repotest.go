// Package repotest makes repositories for tests.
package repotest

import (
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"example.com/tcproom/tools/internal/repo"
)

// New returns the directory of a repository with these files, all of them committed.
func New(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	Git(t, dir, "init", "-q", "-b", "main")
	Write(t, dir, files)
	Commit(t, dir)
	return dir
}

// Copy returns a repository with one commit: the files of the repository in which the
// test runs as they are now, committed or not.
func Copy(t testing.TB) string {
	t.Helper()
	from := strings.TrimSpace(Git(t, ".", "rev-parse", "--show-toplevel"))
	dir := t.TempDir()
	for name := range strings.Lines(Git(t, from, "ls-files", "-co", "--exclude-standard", "--deduplicate")) {
		name = strings.TrimSpace(name)
		info, err := os.Stat(filepath.Join(from, name))
		if os.IsNotExist(err) {
			continue // removed, and not committed yet
		}
		must(t, err)
		data, err := os.ReadFile(filepath.Join(from, name))
		must(t, err)
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o777))
		must(t, os.WriteFile(filepath.Join(dir, name), data, info.Mode().Perm()))
	}
	Git(t, dir, "init", "-q", "-b", "main")
	Commit(t, dir)
	return dir
}

// Write writes files below dir; one without content is removed.
func Write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		name = filepath.Join(dir, name)
		if content == "" {
			must(t, os.Remove(name))
			continue
		}
		must(t, os.MkdirAll(filepath.Dir(name), 0o777))
		must(t, os.WriteFile(name, []byte(content), 0o666))
	}
}

// Commit commits all there is.
func Commit(t testing.TB, dir string) {
	t.Helper()
	Git(t, dir, "add", "-A")
	Git(t, dir, "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-q", "-m", "test: commit")
}

// Git runs git in dir.
func Git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	out, err := repo.Git(dir, args...)
	must(t, err)
	return out
}

// Go runs the go command in dir, with more environment.
func Go(t testing.TB, dir string, env []string, args ...string) string {
	t.Helper()
	out, err := repo.Run(dir, append([]string{"GOWORK=", "GOFLAGS="}, env...), "go", args...)
	must(t, err)
	return out
}

// Read returns the content of a file.
func Read(t testing.TB, name ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(name...))
	must(t, err)
	return string(data)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Proxy returns the directory of a module proxy that has the modules of the
// repository in dir with all of their tags.
func Proxy(t testing.TB, dir string) string {
	t.Helper()
	proxy := t.TempDir()
	all, err := repo.Find(dir)
	must(t, err)
	for _, m := range all {
		at := filepath.Join(proxy, m.Path(), "@v")
		must(t, os.MkdirAll(at, 0o777))
		list := ""
		for tag := range strings.Lines(Git(t, dir, "tag", "--list", m.Tag("v")+"*")) {
			tag = strings.TrimSpace(tag)
			version := path.Base(tag)
			if m.Tag(version) != tag {
				continue
			}
			zip, gomod, err := repo.Zip(dir, tag, m, version, t.TempDir())
			must(t, err)
			must(t, os.Rename(zip, filepath.Join(at, version+".zip")))
			must(t, os.Rename(gomod, filepath.Join(at, version+".mod")))
			must(t, os.WriteFile(filepath.Join(at, version+".info"), []byte(`{"Version":"`+version+`"}`), 0o666))
			list += version + "\n"
		}
		must(t, os.WriteFile(filepath.Join(at, "list"), []byte(list), 0o666))
	}
	return proxy
}

// Using returns the environment of a user of the modules of a proxy, and of dir: with
// an empty module cache, so that nothing comes from an earlier test. The modules of
// others come from the module cache of this machine, or from where it has them from.
func Using(t testing.TB, proxy string) []string {
	t.Helper()
	out := Go(t, ".", nil, "env", "GOMODCACHE", "GOPROXY")
	mod, others, _ := strings.Cut(strings.TrimSpace(out), "\n")
	return []string{
		"GOWORK=off",
		"GOFLAGS=-modcacherw",
		"GOMODCACHE=" + t.TempDir(),
		"GOBIN=" + t.TempDir(),
		"GOPROXY=file://" + proxy + ",file://" + mod + "/cache/download," + others,
		"GONOSUMDB=*",
	}
}
