package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/semver"

	"example.com/tcproom/tools/internal/repo"
	"example.com/tcproom/tools/internal/repotest"
)

// files are a repository before its first release. cmd/chat requires prom, which comes
// after it in the alphabet, and both require the root module.
var files = map[string]string{
	"LICENSE":              "As is.\n",
	"CHANGELOG.md":         "# Changelog\n\n## [0.1.0] - unreleased\n\n- All.\n",
	"go.work":              "go 1.26.0\n\nuse (\n\t.\n\t./cmd/chat\n\t./prom\n)\n",
	"go.mod":               "module example.org/chat\n\ngo 1.26.0\n",
	"chat.go":              "package chat\n\nfunc Hello() string { return \"hello\" }\n",
	"prom/go.mod":          "module example.org/chat/prom\n\ngo 1.26.0\n\nrequire example.org/chat v0.0.0\n\nreplace example.org/chat => ../\n",
	"prom/prom.go":         "package prom\n\nimport \"example.org/chat\"\n\nfunc Hello() string { return chat.Hello() + \" from prom\" }\n",
	"cmd/chat/go.mod":      "module example.org/chat/cmd/chat\n\ngo 1.26.0\n\nrequire (\n\texample.org/chat v0.0.0\n\texample.org/chat/prom v0.0.0\n)\n\nreplace (\n\texample.org/chat => ../..\n\texample.org/chat/prom => ../../prom\n)\n",
	"cmd/chat/main.go":     "package main\n\nimport (\n\t\"fmt\"\n\n\t\"example.org/chat\"\n\t\"example.org/chat/prom\"\n)\n\nfunc main() { fmt.Println(chat.Hello(), prom.Hello()) }\n",
	"internal/test/go.mod": "module example.org/chat/internal/test\n\ngo 1.26.0\n\nrequire example.org/chat v0.0.0\n\nreplace example.org/chat => ../..\n",
	"internal/test/t.go":   "package test\n\nimport _ \"example.org/chat\"\n",
}

// publish does what release prints, apart from the push, and returns a proxy that has
// the result.
func publish(t *testing.T, dir, version string) (proxy string) {
	t.Helper()
	var out strings.Builder
	if err := release(dir, version, "2026-02-03", &out); err != nil {
		t.Fatal(err)
	}
	if left := repotest.Git(t, dir, "diff", "--name-only"); left != "" {
		t.Errorf("not staged: %s", left)
	}
	repotest.Commit(t, dir)
	for line := range strings.Lines(out.String()) {
		if tag, ok := strings.CutPrefix(strings.TrimSpace(line), "git tag "); ok {
			repotest.Git(t, dir, "tag", tag)
		}
	}
	return repotest.Proxy(t, dir)
}

// requireInstalls fails the test unless a user of the proxy can install the program.
func requireInstalls(t *testing.T, proxy, program, version, want string) {
	t.Helper()
	env := repotest.Using(t, proxy)
	bin := ""
	for _, v := range env {
		if dir, ok := strings.CutPrefix(v, "GOBIN="); ok {
			bin = dir
		}
	}
	repotest.Go(t, t.TempDir(), env, "install", program+"@"+version)
	out, err := exec.Command(filepath.Join(bin, filepath.Base(program))).Output()
	if err != nil || string(out) != want {
		t.Errorf("got %q, %v, want %q", out, err, want)
	}
}

func TestRelease(t *testing.T) {
	dir := repotest.New(t, files)
	proxy := publish(t, dir, "v0.1.0")
	requireInstalls(t, proxy, "example.org/chat/cmd/chat", "v0.1.0", "hello hello from prom\n")
	if got := repotest.Read(t, dir, "CHANGELOG.md"); got != "# Changelog\n\n## [0.1.0] - 2026-02-03\n\n- All.\n" {
		t.Errorf("got %s", got)
	}
	if got := repotest.Read(t, dir, "internal/test/go.mod"); got != files["internal/test/go.mod"] {
		t.Errorf("a module without versions was changed: %s", got)
	}
	// What is tagged agrees with the checksums in it, and needs no go mod tidy.
	for _, nested := range []string{"prom", "cmd/chat"} {
		env := repotest.Using(t, proxy)
		repotest.Go(t, filepath.Join(dir, nested), env, "vet", "./...")
		repotest.Go(t, filepath.Join(dir, nested), env, "mod", "tidy", "-diff")
	}

	// Work goes on without replace lines, and without the proxy.
	repotest.Write(t, dir, map[string]string{
		"more.go":      "package chat\n\nfunc More() string { return \"more\" }\n",
		"prom/prom.go": strings.Replace(files["prom/prom.go"], "chat.Hello()", "chat.More()", 1),
		"CHANGELOG.md": "# Changelog\n\n## [0.2.0] - unreleased\n\n- More.\n\n" + repotest.Read(t, dir, "CHANGELOG.md")[len("# Changelog\n\n"):],
	})
	offline := []string{"GOPROXY=off"}
	repotest.Go(t, dir, offline, "build", "./...", "./cmd/chat/...", "./prom/...")
	repotest.Go(t, dir, offline, "list", "-m", "all") // reads all of the module graph
	all, err := repo.Find(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		env, err := repo.Alone(dir, m, all, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		repotest.Go(t, filepath.Join(dir, m.Dir), append(env, offline...), "vet", "./...")
		if env, err = repo.ForTidy(dir, m, all, t.TempDir()); err != nil {
			t.Fatal(err)
		}
		if out, err := repo.Run(filepath.Join(dir, m.Dir), append(env, offline...), "go", "mod", "tidy", "-diff"); err != nil {
			t.Error(out, err)
		}
	}

	repotest.Commit(t, dir)
	proxy = publish(t, dir, "v0.2.0")
	requireInstalls(t, proxy, "example.org/chat/cmd/chat", "v0.2.0", "hello more from prom\n")
	requireInstalls(t, proxy, "example.org/chat/cmd/chat", "v0.1.0", "hello hello from prom\n")
	if got := strings.Count(repotest.Read(t, dir, "cmd/chat/go.sum"), "\n"); got != 4 {
		t.Errorf("cmd/chat/go.sum has %d lines, want two for each module", got)
	}
}

func TestOrderOfTags(t *testing.T) {
	dir := repotest.New(t, files)
	var out strings.Builder
	if err := release(dir, "v0.1.0", "2026-02-03", &out); err != nil {
		t.Fatal(err)
	}
	want := `git commit -m 'release: prepare v0.1.0'
git tag v0.1.0
git tag prom/v0.1.0
git tag cmd/chat/v0.1.0
git push --atomic origin HEAD v0.1.0 prom/v0.1.0 cmd/chat/v0.1.0
`
	if out.String() != want {
		t.Errorf("got %s, want %s", &out, want)
	}
}

func TestRefused(t *testing.T) {
	for _, tc := range []struct {
		name    string
		files   map[string]string
		dirty   map[string]string
		tag     string
		version string // v0.1.0 if empty
		want    string
	}{
		{name: "dirty", dirty: map[string]string{"chat.go": "package chat\n"}, want: "changes that are not committed"},
		{name: "untracked file", dirty: map[string]string{"new.go": "package chat\n"}, want: "changes that are not committed"},
		{name: "no version", version: "0.1.0", want: "no version like v0.1.0"},
		{name: "half a version", version: "v0.1", want: "no version like v0.1.0"},
		{name: "another version than the change log's", version: "v0.1.1", want: "first section of CHANGELOG.md is not v0.1.1"},
		{name: "tag is there", tag: "v0.1.0", want: "example.org/chat has v0.1.0 already"},
		{name: "tag of a nested module is there", tag: "prom/v0.1.1", want: "example.org/chat/prom has v0.1.1 already"},
		{name: "major version without its path", version: "v2.0.0", want: "v2.0.0"},
		{name: "other replacement", files: map[string]string{"prom/go.mod": "module example.org/chat/prom\n\ngo 1.26.0\n\nreplace example.org/other => ../other\n"}, want: "example.org/chat/prom replaces example.org/other"},
		{name: "requires a module of tests", files: map[string]string{"prom/go.mod": "module example.org/chat/prom\n\ngo 1.26.0\n\nrequire example.org/chat/internal/test v0.0.0\n"}, want: "which gets no versions"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := repotest.New(t, files)
			repotest.Write(t, dir, tc.files)
			if tc.files != nil {
				repotest.Commit(t, dir)
			}
			if tc.tag != "" {
				repotest.Git(t, dir, "tag", tc.tag)
			}
			repotest.Write(t, dir, tc.dirty)
			before := repotest.Git(t, dir, "status", "--porcelain")
			if tc.version == "" {
				tc.version = "v0.1.0"
			}
			err := release(dir, tc.version, "2026-02-03", &strings.Builder{})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if after := repotest.Git(t, dir, "status", "--porcelain"); after != before {
				t.Errorf("files were changed: %s", after)
			}
		})
	}
}

// TestThisRepository: a release of what is here can be used.
func TestThisRepository(t *testing.T) {
	dir := repotest.Copy(t)
	text := repotest.Read(t, dir, "CHANGELOG.md")
	sections := repo.Sections(text)
	if len(sections) == 0 {
		t.Fatal("CHANGELOG.md has no section like ## [0.1.0] - unreleased")
	}
	next := sections[0]
	if next.Date != repo.Unreleased { // there is nothing to release yet, but it must be possible
		next.Version = semver.MajorMinor(next.Version) + ".999"
		head := "## [" + next.Version[1:] + "] - unreleased\n\n"
		repotest.Write(t, dir, map[string]string{"CHANGELOG.md": strings.Replace(text, next.Heading, head+next.Heading, 1)})
		repotest.Commit(t, dir)
	}
	proxy := publish(t, dir, next.Version)
	all, err := repo.Find(dir)
	if err != nil {
		t.Fatal(err)
	}
	user, env := t.TempDir(), repotest.Using(t, proxy)
	main := "package main\n\nimport (\n\t_ \"" + all[0].Path() + "\"\n\t_ \"" + all[0].Path() + "/roomhttp\"\n)\n\nfunc main() {}\n"
	repotest.Write(t, user, map[string]string{"go.mod": "module user\n\ngo 1.26.0\n", "main.go": main})
	repotest.Go(t, user, env, "get", all[0].Path()+"@"+next.Version)
	repotest.Go(t, user, env, "vet", ".")
	for _, m := range all {
		if !m.Released() || m.Dir == "." {
			continue
		}
		repotest.Go(t, filepath.Join(dir, m.Dir), env, "vet", "./...")
		if repotest.Go(t, filepath.Join(dir, m.Dir), env, "list", "-e", "-f", "{{.Name}}", ".") == "main\n" {
			repotest.Go(t, user, env, "install", m.Path()+"@"+next.Version)
		} else {
			repotest.Go(t, user, env, "get", m.Path()+"@"+next.Version)
		}
	}
}
