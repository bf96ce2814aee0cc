package main

import (
	"strings"
	"testing"

	"example.com/tcproom/tools/internal/repotest"
)

const changelog = "# Changelog\n\n## [0.1.0] - 2026-01-01\n\n### Removed\n\n- `Old`.\n"

// released makes a repository of two modules that have the tags of 0.1.0.
func released(t *testing.T) string {
	dir := repotest.New(t, map[string]string{
		"go.mod":         "module example.org/chat\n\ngo 1.26.0\n",
		"chat.go":        "package chat\n\n// Room is one.\ntype Room struct{}\n\nfunc (*Room) Send() {}\n\nfunc New() *Room { return nil }\n",
		"sub/sub.go":     "package sub\n\nfunc Do() {}\n",
		"internal/in.go": "package internal\n\nfunc In() {}\n",
		"CHANGELOG.md":   changelog,
		"prom/go.mod":    "module example.org/chat/prom\n\ngo 1.26.0\n\nrequire example.org/chat v0.1.0\n",
		"prom/prom.go":   "package prom\n\nimport \"example.org/chat\"\n\nfunc Collect(*chat.Room) {}\n",
		"bench/go.mod":   "module example.org/chat/bench\n\ngo 1.26.0\n",
		"bench/bench.go": "package bench\n\nfunc Bench() {}\n",
	})
	repotest.Git(t, dir, "tag", "v0.1.0")
	repotest.Git(t, dir, "tag", "prom/v0.1.0")
	return dir
}

func TestNoTag(t *testing.T) {
	dir := released(t)
	repotest.Git(t, dir, "tag", "-d", "v0.1.0", "prom/v0.1.0")
	repotest.Git(t, dir, "tag", "v0.1.0-rc.1")
	repotest.Git(t, dir, "tag", "nonsense")
	var out strings.Builder
	if err := gate(dir, &out); err != nil {
		t.Fatal(err)
	}
	want := "example.org/chat: no tag yet, nothing to compare with\nexample.org/chat/prom: no tag yet, nothing to compare with\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", &out, want)
	}
}

func TestGate(t *testing.T) {
	const (
		noSend  = "package chat\n\ntype Room struct{}\n\nfunc New() *Room { return nil }\n"
		section = "# Changelog\n\n## [0.2.0] - unreleased\n\n### Added\n\n- More.\n\n"
	)
	log := func(text string) string { return strings.Replace(changelog, "# Changelog\n\n", text, 1) }
	for _, tc := range []struct {
		name  string
		files map[string]string // the change since the tags
		want  []string          // in the error; none: it passes
	}{
		{name: "nothing", files: map[string]string{"README": "x"}},
		{name: "addition", files: map[string]string{"more.go": "package chat\n\nfunc More() {}\n", "sub2/a.go": "package sub2\n"}},
		{name: "internal change", files: map[string]string{"internal/in.go": "package internal\n"}},
		{name: "change of a module without versions", files: map[string]string{"bench/bench.go": "package bench\n"}},
		{name: "removed method", files: map[string]string{"chat.go": noSend}, want: []string{"example.org/chat since v0.1.0: (*Room).Send: removed: CHANGELOG.md names `Room.Send` below neither"}},
		{name: "removed method, named for another change", files: map[string]string{"chat.go": noSend, "CHANGELOG.md": log(section + "### Removed\n\n- `Room.Sender`.\n\n")}, want: []string{"`Room.Send`"}},
		{name: "removed method, named as an addition", files: map[string]string{"chat.go": noSend, "CHANGELOG.md": log(section + "- `Room.Send`\n\n")}, want: []string{"`Room.Send`"}},
		{name: "removed method, named", files: map[string]string{"chat.go": noSend, "CHANGELOG.md": log(section + "### Removed\n\n- `Room.Send`.\n\n")}},
		{name: "removed method, named, in a patch", files: map[string]string{"chat.go": noSend, "CHANGELOG.md": log(strings.Replace(section, "0.2.0", "0.1.1", 1) + "### Removed\n\n- `Room.Send`.\n\n")}, want: []string{"v0.1.1 is no version for that"}},
		{name: "changed function of a package", files: map[string]string{"sub/sub.go": "package sub\n\nfunc Do(int) {}\n"}, want: []string{"`sub.Do`"}},
		{name: "changed function of a package, named", files: map[string]string{"sub/sub.go": "package sub\n\nfunc Do(int) {}\n", "CHANGELOG.md": log(section + "### Changed\n\n- `sub.Do(int)`.\n\n")}},
		{name: "removed package", files: map[string]string{"sub/sub.go": ""}, want: []string{"package example.org/chat/sub: removed", "`sub`"}},
		{name: "removed function of a nested module", files: map[string]string{"prom/prom.go": "package prom\n"}, want: []string{"example.org/chat/prom since v0.1.0: Collect: removed", "`prom.Collect`"}},
		{name: "nested module uses what is new", files: map[string]string{
			"more.go":      "package chat\n\nfunc More() {}\n",
			"prom/prom.go": "package prom\n\nimport \"example.org/chat\"\n\nfunc Collect(*chat.Room) { chat.More() }\n",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := released(t)
			repotest.Write(t, dir, tc.files) // need not be committed
			var out strings.Builder
			err := gate(dir, &out)
			if (err != nil) != (len(tc.want) > 0) {
				t.Fatalf("got %v, want an error: %v\n%s", err, len(tc.want) > 0, &out)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
			}
		})
	}
}

// TestLaterTags: each module is compared with its own last tag on the way to HEAD.
func TestLaterTags(t *testing.T) {
	dir := released(t)
	repotest.Write(t, dir, map[string]string{"more.go": "package chat\n\nfunc More() {}\n"})
	repotest.Commit(t, dir)
	repotest.Git(t, dir, "tag", "v0.10.0")
	repotest.Git(t, dir, "tag", "v0.9.0", "HEAD^")
	repotest.Git(t, dir, "branch", "side")
	repotest.Git(t, dir, "checkout", "-q", "side")
	repotest.Write(t, dir, map[string]string{"side.go": "package chat\n\nfunc Side() {}\n"})
	repotest.Commit(t, dir)
	repotest.Git(t, dir, "tag", "v0.11.0")
	repotest.Git(t, dir, "checkout", "-q", "main")
	repotest.Write(t, dir, map[string]string{"more.go": ""})
	var out strings.Builder
	err := gate(dir, &out)
	if err == nil || !strings.Contains(err.Error(), "example.org/chat since v0.10.0: More: removed") {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(out.String(), "example.org/chat/prom since v0.1.0: 0 changes") {
		t.Errorf("got %s", &out)
	}
}

// TestRenamed: under another module path there is nothing to be compatible with.
func TestRenamed(t *testing.T) {
	dir := released(t)
	repotest.Write(t, dir, map[string]string{
		"go.mod":       "module example.org/talk\n\ngo 1.26.0\n",
		"chat.go":      "package chat\n",
		"prom/go.mod":  "module example.org/talk/prom\n\ngo 1.26.0\n",
		"prom/prom.go": "package prom\n",
	})
	var out strings.Builder
	if err := gate(dir, &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "v0.1.0 was of another module path") {
		t.Errorf("got %s", &out)
	}
}
