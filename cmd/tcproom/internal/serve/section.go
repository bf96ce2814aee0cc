package serve

import (
	"flag"
	"fmt"
	"strconv"
	"strings"

	"example.com/tcproom/cmd/tcproom/internal/cli"
)

// A section is some of the settings: those of the top level, of a listener or of a
// room. Its flag set is their one table, for the command line, the file and what is
// printed.
type section struct {
	fs *flag.FlagSet
	at map[string]string // where the file sets a setting; the others are flags, or not set
}

func newSection(name string) section {
	return section{flag.NewFlagSet(name, flag.ContinueOnError), make(map[string]string)}
}

// given reports whether a setting is set.
func (s *section) given(name string) bool {
	given := false
	s.fs.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	return given
}

// wrong returns an error about a setting, with the place where it is set.
func (s *section) wrong(name, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if at := s.at[name]; at != "" {
		return cli.Usagef("%s: %s: %w", at, name, err)
	}
	return cli.Usagef("-%s: %w", name, err)
}

// A count is a number from 0 to most.
type count struct {
	n    *int
	most int
}

// newCount returns a count that is def at first.
func newCount(n *int, def, most int) *count {
	*n = def
	return &count{n, most}
}

func (c *count) String() string {
	if c.n == nil {
		return "0"
	}
	return strconv.Itoa(*c.n)
}

func (c *count) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > c.most {
		return fmt.Errorf("want a number from 0 to %d", c.most)
	}
	*c.n = n
	return nil
}

// A list is some words, with commas or spaces between. In the file it may be a list.
type list []string

func (l *list) String() string { return strings.Join(*l, ", ") }

func (l *list) Set(s string) error {
	*l = strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
	return nil
}

// large is the most of a setting that needs no other bound.
const large = 1 << 30
