package main

import (
	"path/filepath"
	"strings"
	"testing"

	"example.com/tcproom/tools/internal/repotest"
)

const (
	isc = "Copyright (c) 2026 A\n\nPermission to use, copy, modify, and/or distribute this software for any\npurpose with or without fee is hereby granted, provided that the above\ncopyright notice and this permission notice appear in all copies.\n\nTHE SOFTWARE IS PROVIDED \"AS IS\" AND THE AUTHOR DISCLAIMS ALL WARRANTIES\nWITH REGARD TO THIS SOFTWARE INCLUDING ALL IMPLIED WARRANTIES OF\nMERCHANTABILITY AND FITNESS. IN NO EVENT SHALL THE AUTHOR BE LIABLE FOR\nANY SPECIAL, DIRECT, INDIRECT, OR CONSEQUENTIAL DAMAGES OR ANY DAMAGES\nWHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN AN\nACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION, ARISING OUT OF\nOR IN CONNECTION WITH THE USE OR PERFORMANCE OF THIS SOFTWARE.\n"
	gpl = "SPDX-License-Identifier: GPL-3.0-only\n\nThis program is free software: you can redistribute it and/or modify it under the terms of the GNU General Public License as published by the Free Software Foundation, version 3.\n\nThis program is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY; without even the implied warranty of MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE. See the GNU General Public License for more details.\n\nYou should have received a copy of the GNU General Public License along with this program. If not, see <https://www.gnu.org/licenses/>.\n"
)

// using makes the go command find the modules of others under these licences, each with
// a package of its name.
func using(t *testing.T, licences map[string]string) {
	t.Helper()
	files := map[string]string{"go.mod": "module example.net/x\n\ngo 1.26.0\n", "x.go": "package x\n"}
	for name, text := range licences {
		files[name+"/go.mod"] = "module example.net/x/" + name + "\n\ngo 1.26.0\n"
		files[name+"/"+name+".go"] = "package " + name + "\n"
		if text != "" {
			files[name+"/LICENSE"] = text
		}
	}
	others := repotest.New(t, files)
	for name := range licences {
		repotest.Git(t, others, "tag", name+"/v1.0.0")
	}
	for _, v := range repotest.Using(t, repotest.Proxy(t, others)) {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
}

func TestDocument(t *testing.T) {
	for _, tc := range []struct {
		name  string
		gpl   string // the file that imports what is under GPL
		bare  string // the file that imports what has no licence
		wrong []string
	}{
		{name: "allowed"},
		{name: "linked", gpl: "prom/gpl.go", wrong: []string{"example.net/x/gpl, linked into prom, is under "}},
		{name: "linked on another system", gpl: "prom/gpl_windows.go", wrong: []string{"example.net/x/gpl, linked into prom, is under "}},
		{name: "linked by what is imported", gpl: "prom/internal/in/gpl.go", wrong: []string{"example.net/x/gpl, linked into prom, is under "}},
		{name: "in a test", gpl: "prom/gpl_test.go"},
		{name: "in a module without versions", gpl: "bench/gpl.go"},
		{name: "no licence", bare: "prom/bare_test.go", wrong: []string{"example.net/x/bare has no licence"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			using(t, map[string]string{"isc": isc, "gpl": gpl, "bare": ""})
			files := map[string]string{
				"go.mod":                 "module example.org/chat\n\ngo 1.26.0\n",
				"chat.go":                "package chat\n",
				"docs/licences.md":       "old\n",
				"prom/go.mod":            "module example.org/chat/prom\n\ngo 1.26.0\n",
				"prom/prom.go":           "package prom\n\nimport (\n\t_ \"example.net/x/isc\"\n\n\t_ \"example.org/chat/prom/internal/in\"\n)\n",
				"prom/internal/in/in.go": "package in\n",
				"bench/go.mod":           "module example.org/chat/bench\n\ngo 1.26.0\n",
				"bench/bench.go":         "package bench\n",
			}
			for file, path := range map[string]string{tc.gpl: "gpl", tc.bare: "bare"} {
				if file != "" {
					files[file] = "package " + filepath.Base(filepath.Dir(file)) + "\n\nimport _ \"example.net/x/" + path + "\"\n"
				}
			}
			dir := repotest.New(t, files)
			for _, nested := range []string{"prom", "bench"} {
				repotest.Go(t, filepath.Join(dir, nested), nil, "mod", "tidy")
			}
			err := run(dir, true)
			for _, want := range tc.wrong {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Fatalf("got %v, want %q", err, want)
				}
			}
			if len(tc.wrong) > 0 {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			text := repotest.Read(t, dir, "docs/licences.md")
			if !strings.Contains(text, "| example.net/x/isc | ISC | prom |\n") {
				t.Errorf("got %s", text)
			}
			if _, below, _ := strings.Cut(text, "\n## Only in"); (tc.gpl != "") != strings.Contains(below, "example.net/x/gpl") {
				t.Errorf("got %s", text)
			}
			if err := run(dir, false); err != nil {
				t.Error(err)
			}
			repotest.Write(t, dir, map[string]string{"docs/licences.md": "| example.net/x/isc | MIT | prom |\n"})
			if err := run(dir, false); err == nil {
				t.Error("a document that is not up to date passes")
			}
		})
	}
}
