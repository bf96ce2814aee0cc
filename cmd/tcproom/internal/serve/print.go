package serve

import (
	"flag"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v4"
)

// print writes the settings as a file: those that are set, and as comments the others
// with the values that they have.
func (c *config) print(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# Settings of tcproom serve -config FILE. A flag of the same name wins over one here.\n")
	b.WriteString("# What is commented out is not set, and has this value.\n")
	c.fs.VisitAll(func(f *flag.Flag) {
		switch {
		case f.Name == "config" || f.Name == "print-config":
		case f.Name == "rooms" && c.rooms.on && len(c.rooms.described) > 0:
			about(&b, "", f)
			b.WriteString("rooms:\n")
			for _, r := range c.rooms.described {
				item(&b, &r.section)
			}
		default:
			about(&b, "", f)
			if !c.given(f.Name) {
				b.WriteString("# ")
			}
			line(&b, f)
		}
	})
	b.WriteString("\n# Listeners beside addr. What one leaves out has its default, not the value above.\n")
	if len(c.more) == 0 {
		b.WriteString("# listeners:\n#   - addr: localhost:9001\n#     framing: length4\n#     codec: json\n")
	} else {
		b.WriteString("listeners:\n")
	}
	for _, l := range c.more {
		item(&b, l.own)
	}
	if len(c.rooms.described) == 0 {
		example := newRoom()
		b.WriteString("\n# Rooms may be described. The first is that of connections that name none.\n")
		b.WriteString("# What a room leaves out is as above.\n# rooms:\n#   - name: lobby\n#   - name: ops\n")
		example.fs.VisitAll(func(f *flag.Flag) {
			if f.Name != "name" {
				about(&b, "    # ", f)
				b.WriteString("#     ")
				line(&b, f)
			}
		})
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// about writes what a setting is for, as a comment.
func about(b *strings.Builder, indent string, f *flag.Flag) {
	_, usage := flag.UnquoteUsage(f)
	const width = 88
	at := width // the first word begins a line
	if indent == "" {
		b.WriteString("\n")
	}
	for i, word := range strings.Fields(usage) {
		switch {
		case at+1+len(word) > width:
			if i > 0 {
				b.WriteString("\n")
			}
			b.WriteString("# " + indent + word)
			at = len("# ") + len(indent) + len(word)
		default:
			b.WriteString(" " + word)
			at += 1 + len(word)
		}
	}
	b.WriteString("\n")
}

// line writes a setting and its value.
func line(b *strings.Builder, f *flag.Flag) {
	fmt.Fprintf(b, "%s: %s\n", f.Name, scalar(f.Value.String()))
}

// item writes the settings of s that are set as an entry of a list.
func item(b *strings.Builder, s *section) {
	lead := "  - "
	s.fs.Visit(func(f *flag.Flag) {
		b.WriteString(lead)
		line(b, f)
		lead = "    "
	})
}

// scalar returns the YAML for a text on one line.
func scalar(text string) string {
	n := &yaml.Node{Kind: yaml.ScalarNode, Value: text}
	switch strings.ToLower(text) {
	case "", "~", "null":
		n.Style = yaml.DoubleQuotedStyle
	}
	if strings.ContainsAny(text, "\r\n\u0085\u2028\u2029") {
		n.Style = yaml.DoubleQuotedStyle
	}
	out, err := yaml.Dump(n, yaml.WithLineWidth(-1))
	if err != nil {
		return fmt.Sprintf("%q", text) // no YAML either if it is not UTF-8
	}
	return strings.TrimRight(string(out), "\n")
}
