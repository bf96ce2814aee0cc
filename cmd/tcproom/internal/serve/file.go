package serve

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"example.com/tcproom/cmd/tcproom/internal/cli"
)

// roomsValue is the setting "rooms": whether there are any, and those that a file
// describes.
type roomsValue struct {
	on        bool
	described []*roomConfig
	open      bool // members may make others
}

func (r *roomsValue) String() string   { return strconv.FormatBool(r.on) }
func (r *roomsValue) IsBoolFlag() bool { return true }

func (r *roomsValue) Set(s string) (err error) {
	if r.on, err = strconv.ParseBool(s); err != nil {
		return errors.New("want true or false")
	}
	return nil
}

// load sets what the text of a file says. Errors name it and the place in it.
func (c *config) load(file string, text []byte) error {
	f := &source{file}
	root, err := f.parse(text)
	if err != nil || root == nil {
		return err
	}
	return f.mapping(root, &c.section, map[string]func(*yaml.Node) error{
		"listeners": func(n *yaml.Node) error {
			return f.sequence(n, func(item *yaml.Node) error {
				l := newListener()
				c.more = append(c.more, l)
				return f.entry(item, l.own, "addr")
			})
		},
		"rooms": func(n *yaml.Node) error {
			if n.Kind != yaml.SequenceNode {
				return f.set(n, &c.section, "rooms")
			}
			c.rooms.on = true
			return f.sequence(n, func(item *yaml.Node) error {
				r := newRoom()
				c.rooms.described = append(c.rooms.described, r)
				return f.entry(item, &r.section, "name")
			})
		},
	})
}

// A source is a file that is read.
type source struct{ name string }

// at returns an error with a place in the file.
func (f *source) at(n *yaml.Node, format string, args ...any) error {
	return cli.Usagef("%s: %w", f.place(n), fmt.Errorf(format, args...))
}

func (f *source) place(n *yaml.Node) string {
	return fmt.Sprintf("%s:%d:%d", f.name, n.Line, n.Column)
}

// parse returns the mapping that text is; nil if there is nothing in it.
func (f *source) parse(text []byte) (*yaml.Node, error) {
	loader, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	var doc, second yaml.Node
	if err := loader.Load(&doc); err == io.EOF {
		return nil, nil
	} else if err != nil {
		return nil, f.syntax(err)
	}
	if err := loader.Load(&second); err == nil {
		return nil, f.at(second.Content[0], "a second document: one is enough")
	} else if err != io.EOF {
		return nil, f.syntax(err)
	}
	root := doc.Content[0]
	switch {
	case root.Kind == yaml.ScalarNode && root.Tag == "!!null":
		return nil, nil
	case root.Kind != yaml.MappingNode:
		return nil, f.at(root, "want settings, as in addr: localhost:9000")
	}
	return root, nil
}

// syntax returns what is wrong with text that is no YAML.
func (f *source) syntax(err error) error {
	if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		return cli.Usagef("%s:%d:%d: %s", f.name, e.Mark.Line, e.Mark.Column, e.Message)
	}
	return cli.Usagef("%s: %w", f.name, err)
}

// mapping sets the settings of s to what is in n. What is in special goes its own way.
func (f *source) mapping(n *yaml.Node, s *section, special map[string]func(*yaml.Node) error) error {
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			return f.at(key, "want the name of a setting")
		}
		own := special[key.Value]
		switch {
		case own == nil && s.fs.Lookup(key.Value) == nil:
			return f.at(key, "there is no setting %q; tcproom serve -print-config lists all", key.Value)
		case s.at[key.Value] != "":
			return f.at(key, "%s is set twice, first at %s", key.Value, s.at[key.Value])
		}
		s.at[key.Value] = f.place(key)
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		if own == nil {
			own = func(n *yaml.Node) error { return f.set(n, s, key.Value) }
		}
		if err := own(value); err != nil {
			return err
		}
	}
	return nil
}

// sequence calls do for each mapping in n.
func (f *source) sequence(n *yaml.Node, do func(item *yaml.Node) error) error {
	if n.Kind != yaml.SequenceNode {
		return f.at(n, "want a list")
	}
	for _, item := range n.Content {
		if item.Kind == yaml.AliasNode {
			item = item.Alias
		}
		if item.Kind != yaml.MappingNode {
			return f.at(item, "want settings, as in - name: lobby")
		}
		if err := do(item); err != nil {
			return err
		}
	}
	return nil
}

// entry is mapping for an entry of a list, which must have the setting need.
func (f *source) entry(n *yaml.Node, s *section, need string) error {
	if err := f.mapping(n, s, nil); err != nil {
		return err
	}
	if s.at[need] == "" {
		return f.at(n, "there is no %s", need)
	}
	return nil
}

// set sets one setting to what is in n.
func (f *source) set(n *yaml.Node, s *section, name string) error {
	flag := s.fs.Lookup(name)
	text := n.Value
	_, isList := flag.Value.(*list)
	switch {
	case n.Kind == yaml.SequenceNode && isList:
		var words []string
		for _, w := range n.Content {
			if w.Kind != yaml.ScalarNode || strings.ContainsAny(w.Value, ", ") {
				return f.at(w, "%s: want one word", name)
			}
			words = append(words, w.Value)
		}
		text = strings.Join(words, ",")
	case n.Kind != yaml.ScalarNode:
		return f.at(n, "%s: want one value", name)
	case n.Tag == "!!null":
		return f.at(n, "%s: there is no value", name)
	}
	if err := s.fs.Set(name, text); err != nil {
		return f.at(n, "%s: %q: %w", name, text, cli.Want(flag, err))
	}
	return nil
}
