// Package cli is what the commands have in common at the command line: how arguments
// are refused, and the flags that say how a room is spoken to.
package cli

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"example.com/tcproom"
)

// ErrUsage is wrapped by errors that are the fault of the arguments.
var ErrUsage = errors.New("usage")

// Usagef returns an error that wraps ErrUsage and has the text alone.
func Usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

type usageError struct{ error }

func (e usageError) Unwrap() []error { return []error{ErrUsage, e.error} }

// Parse parses args by fs. If help is asked for it prints head, the flags to standard
// output, and returns flag.ErrHelp; other errors wrap ErrUsage, and nothing is printed.
func Parse(fs *flag.FlagSet, args []string, head string) error {
	fs.Init(fs.Name(), flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintln(os.Stdout, head)
		fs.SetOutput(os.Stdout)
		fs.PrintDefaults()
		return err
	case err != nil:
		const before, after = " for flag -", ": parse error"
		text, cannot := strings.CutSuffix(err.Error(), after)
		if i := strings.LastIndex(text, before); cannot && i >= 0 {
			if f := fs.Lookup(text[i+len(before):]); f != nil {
				err = fmt.Errorf("%s: %w", text, Want(f, err))
			}
		}
		return Usagef("%w", err)
	}
	return nil
}

// Want returns an error that says what value a flag of package flag takes, or err if that
// is said by it already.
func Want(f *flag.Flag, err error) error {
	g, _ := f.Value.(flag.Getter)
	if g == nil {
		return err
	}
	switch g.Get().(type) {
	case time.Duration:
		return errors.New("want a time with its unit, such as 30s")
	case int, float64:
		return errors.New("want a number")
	case bool:
		return errors.New("want true or false")
	}
	return err
}

// A Choice is a flag whose value is one of some names.
type Choice[T any] struct {
	of   map[string]T
	name string
}

// NewChoice returns a choice of the names in of. The first is name.
func NewChoice[T any](of map[string]T, name string) *Choice[T] { return &Choice[T]{of, name} }

// Framing returns a choice of framings, which is "lines" at first.
func Framing() *Choice[tcproom.Framing] {
	return NewChoice(map[string]tcproom.Framing{
		"lines":          tcproom.Lines{},
		"length1":        tcproom.Length{Bytes: 1},
		"length2":        tcproom.Length{Bytes: 2},
		"length4":        tcproom.Length{Bytes: 4},
		"length8":        tcproom.Length{Bytes: 8},
		"varint":         tcproom.Varint{},
		"netstring":      tcproom.Netstring{},
		"content-length": tcproom.ContentLength{},
	}, "lines")
}

// Codec returns a choice of codecs, which is name at first.
func Codec(name string) *Choice[tcproom.Codec] {
	return NewChoice(map[string]tcproom.Codec{
		"text": tcproom.Text{}, "raw": tcproom.Raw{}, "json": tcproom.JSON{},
	}, name)
}

// String returns the name that is chosen.
func (c *Choice[T]) String() string { return c.name }

// Value returns what is chosen.
func (c *Choice[T]) Value() T { return c.of[c.name] }

// Names returns all names, for the help.
func (c *Choice[T]) Names() string { return strings.Join(slices.Sorted(maps.Keys(c.of)), ", ") }

// Set chooses a name.
func (c *Choice[T]) Set(name string) error {
	if _, ok := c.of[name]; !ok {
		return errors.New("want one of " + c.Names())
	}
	c.name = name
	return nil
}

// TLS is the flags -tls and -tls-ca of a command that dials.
type TLS struct {
	on bool
	ca string
}

// Register adds the flags to fs.
func (t *TLS) Register(fs *flag.FlagSet) {
	fs.BoolVar(&t.on, "tls", false, "speak TLS")
	fs.StringVar(&t.ca, "tls-ca", "", "speak TLS, and trust the certificates in this PEM `file` in place of the system's")
}

// Config returns what the flags say; nil without TLS.
func (t *TLS) Config() (*tls.Config, error) {
	if t.ca == "" {
		if t.on {
			return &tls.Config{}, nil
		}
		return nil, nil
	}
	pem, err := os.ReadFile(t.ca)
	if err != nil {
		return nil, Usagef("-tls-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, Usagef("-tls-ca: there is no certificate in %s", t.ca)
	}
	return &tls.Config{RootCAs: pool}, nil
}
