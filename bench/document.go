//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// byHand begins what people write in a document; it outlives the next run.
const byHand = "<!-- What follows is written by hand, and is kept when the rest is measured anew. -->"

// writeDocument writes the whole report, with its plots in a folder of their own.
func (r *results) writeDocument(name, plots string) error {
	pictures, err := r.pictures()
	if err != nil {
		return err
	}
	if err := savePictures(pictures, plots); err != nil {
		return err
	}
	link, err := filepath.Rel(filepath.Dir(name), plots)
	if err != nil {
		return err
	}
	kept, err := handwritten(name)
	if err != nil {
		return err
	}
	return os.WriteFile(name, []byte(r.document(pictures, filepath.ToSlash(link))+kept), 0o644)
}

// handwritten returns what people have written in an earlier version.
func handwritten(name string) (string, error) {
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return byHand + "\n", nil
	}
	if err != nil {
		return "", err
	}
	_, kept, found := strings.Cut(string(b), byHand)
	if !found {
		return "", fmt.Errorf("%s has no line %q: it was not written by this program, and is left alone", name, byHand)
	}
	return byHand + kept, nil
}

func (r *results) document(pictures []picture, link string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmarks\n\nMeasured with\n\n```\n%s\n```\n\n%s\n\n", r.Command, r.heading())
	b.WriteString(`Server CPU is the clock of the server's process, read when nothing is in flight. "tcproom ÷ it" is this
library's figure by that of the server in the row; below 1 this library needs less. Rates and times hold
for this machine only, ratios carry over better. How it is measured is told in [bench](bench/README.md).

## What is compared

| server | version | what it is |
|---|---|---|
`)
	for _, s := range r.servers() {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", s.name, r.versionOf(s.name), s.about)
	}
	for _, m := range r.Missing {
		fmt.Fprintf(&b, "\nMissing here: %s.\n", m)
	}
	b.WriteString(notCompared)
	for _, t := range r.goalTable() {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", t.title, t.about)
		t.writeMarkdown(&b)
	}
	for _, w := range r.works() {
		t := r.table(w)
		fmt.Fprintf(&b, "\n## %s (`%s`)\n\n%s\n\n", t.title, w.name, t.about)
		for _, p := range pictures {
			if strings.TrimSuffix(p.file, ".svg") == w.name {
				b.WriteString(p.markdown(link))
			}
		}
		t.writeMarkdown(&b)
	}
	for _, p := range pictures {
		if workNamed(strings.TrimSuffix(p.file, ".svg")) == nil {
			fmt.Fprintf(&b, "\n## %s\n\n%s", p.plot.Title.Text, p.markdown(link))
		}
	}
	b.WriteString("\n")
	return b.String()
}

func (p picture) markdown(link string) string {
	return fmt.Sprintf("![%s](%s/%s)\n\n", p.about, link, p.file)
}

const notCompared = `
They do not do the same. This library gives all members one order with joins and leaves in it, a clean cut
when somebody joins, a bound on memory per room and a policy for readers that lag. The relay and gnet's room have
no messages, no bounds and no policy, and write what they read. The hub waits for whoever is slow. nats-server, the MQTT brokers
and Redis route by subject, and their protocols frame each message; melody, ws, wss, coder, gws, gorilla and node-ws speak
WebSocket, and members of ws by name. Over MQTT 3.1.1
and in Redis members also get what they sent themselves, which counts as a delivery. Queues are made large enough that nobody drops anything.
The network is loopback: it has no latency and no loss, and the receiving half of TCP runs in the server's ` + "`write`" + `.
`
