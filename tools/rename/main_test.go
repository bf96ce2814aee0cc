package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"example.com/tcproom/tools/internal/repo"
	"example.com/tcproom/tools/internal/repotest"
)

func TestContent(t *testing.T) {
	const from = "example.org/chat"
	for _, tc := range []struct {
		name, file, to string
		text, want     string
	}{
		{name: "document", file: "README.md", to: "git.host/a/talk", text: "`go get example.org/chat`, (example.org/chat/sub)\n", want: "`go get git.host/a/talk`, (git.host/a/talk/sub)\n"},
		{name: "address", file: "README.md", to: "git.host/talk", text: "https://pkg.go.dev/example.org/chat", want: "https://pkg.go.dev/git.host/talk"},
		{name: "two, with one space between", file: "x", to: "git.host/talk", text: "example.org/chat example.org/chat", want: "git.host/talk git.host/talk"},
		{name: "longer names", file: "x", to: "git.host/talk", text: "example.org/chatter www.example.org/chat example.org/chat-2", want: "example.org/chatter www.example.org/chat example.org/chat-2"},
		{name: "regular expression", file: "run", to: "git.host/talk", text: `'^example\.org/chat$'`, want: `'^git\.host/talk$'`},
		{name: "new path that has the old one in it", file: "x", to: "example.org/chat/v2", text: "example.org/chat", want: "example.org/chat/v2"},
		{name: "no text", file: "x.png", to: "git.host/talk", text: "\x00example.org/chat", want: "\x00example.org/chat"},
		{name: "sums", file: "a/go.sum", to: "git.host/talk", text: "example.org/chat v0.1.0 h1:x\nexample.org/chat/prom v0.1.0 h1:x\nexample.org/chatter v0.1.0 h1:x\n", want: "example.org/chatter v0.1.0 h1:x\n"},
		{
			name: "order of imports, and the package's name", file: "a.go", to: "git.host/talk",
			text: "package a\n\nimport (\n\t\"example.org/chat\"\n\t\"example.org/chat/sub\"\n\t\"git.early/x\"\n)\n",
			want: "package a\n\nimport (\n\t\"git.early/x\"\n\tchat \"git.host/talk\"\n\t\"git.host/talk/sub\"\n)\n",
		},
		{name: "one import", file: "README.md", to: "git.host/talk", text: "import \"example.org/chat\"\n", want: "import chat \"git.host/talk\"\n"},
		{name: "import under another name", file: "a.go", to: "git.host/talk", text: "package a\n\nimport x \"example.org/chat\"\n", want: "package a\n\nimport x \"git.host/talk\"\n"},
		{name: "path with the package's name", file: "a.go", to: "git.host/chat", text: "package a\n\nimport \"example.org/chat\"\n", want: "package a\n\nimport \"git.host/chat\"\n"},
		{name: "needless name", file: "a.go", to: "git.host/chat", text: "package a\n\nimport chat \"example.org/chat\"\n", want: "package a\n\nimport \"git.host/chat\"\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := newRenamer(from, tc.to, "chat").content(tc.file, []byte(tc.text))
			if err != nil || string(got) != tc.want {
				t.Errorf("got %q, %v, want %q", got, err, tc.want)
			}
		})
	}
}

func TestBadPath(t *testing.T) {
	dir := repotest.New(t, map[string]string{"go.mod": "module example.org/chat\n\ngo 1.26.0\n", "a.go": "package chat\n"})
	for _, path := range []string{"", "chat", "git.host/a b", "https://git.host/a", "git.host/a/"} {
		if err := rename(dir, path); err == nil {
			t.Errorf("%q was taken for a module path", path)
		}
	}
	if left := repotest.Git(t, dir, "status", "--porcelain"); left != "" {
		t.Errorf("files were changed: %s", left)
	}
}

// TestThisRepository: under another path it compiles, passes tests, and has no rest
// of the old path.
func TestThisRepository(t *testing.T) {
	dir := repotest.Copy(t)
	all, err := repo.Find(dir)
	if err != nil {
		t.Fatal(err)
	}
	from, to := all[0].Path(), "git.example.org/"+"team/talk" // which stands in no file
	if err := rename(dir, to); err != nil {
		t.Fatal(err)
	}
	rest, err := repo.Git(dir, "grep", "-nE", regexp.QuoteMeta(from)+"|"+regexp.QuoteMeta(regexp.QuoteMeta(from)))
	if err == nil {
		t.Errorf("the old path is left:\n%s", rest)
	}
	if unformatted, err := repo.Run(dir, nil, "gofmt", "-l", "."); err != nil || unformatted != "" {
		t.Errorf("not formatted: %s%v", unformatted, err)
	}
	if all, err = repo.Find(dir); err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if !strings.HasPrefix(m.Path(), to) {
			t.Errorf("%s is the module %s", m.Dir, m.Path())
		}
		env, err := repo.Alone(dir, m, all, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(dir, m.Dir)
		if !m.Released() {
			// What they require besides may not be on this machine, and need not be.
			repotest.Go(t, at, env, "list", "./...")
			continue
		}
		repotest.Go(t, at, env, "vet", "./...")
	}
	repotest.Go(t, dir, nil, "list", "work")
	repotest.Go(t, dir, nil, "test", "./internal/jsonscan", "./internal/names", "./internal/probe", "./internal/outbox")

	// What is not asked for does not happen.
	repotest.Commit(t, dir)
	if err := rename(dir, to); err != nil {
		t.Fatal(err)
	}
	if again := repotest.Git(t, dir, "status", "--porcelain"); again != "" {
		t.Errorf("the second time changed %s", again)
	}

	// And back: nothing is lost but the checksums of the modules themselves.
	if err := rename(dir, from); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(repotest.Git(t, dir, "diff", "--name-only", "HEAD^")) {
		if !strings.HasSuffix(strings.TrimSpace(line), "go.sum") {
			t.Errorf("there and back changed %s", line)
		}
	}
}
