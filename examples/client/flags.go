package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"

	"example.com/tcproom"
)

// config is what the flags set.
type config struct {
	addr       string
	name       string
	framing    tcproom.Framing
	codec      tcproom.Codec
	raw        bool // the codec carries bodies only
	maxMessage int
	rooms      []string // of a hub; none: that which the hub chooses
	reconnect  bool
	offline    int         // bytes of lines that are kept without a connection
	tls        *tls.Config // nil: no TLS
}

var (
	framings = map[string]tcproom.Framing{
		"lines":          tcproom.Lines{},
		"length1":        tcproom.Length{Bytes: 1},
		"length2":        tcproom.Length{Bytes: 2},
		"length4":        tcproom.Length{Bytes: 4},
		"length8":        tcproom.Length{Bytes: 8},
		"varint":         tcproom.Varint{},
		"netstring":      tcproom.Netstring{},
		"content-length": tcproom.ContentLength{},
	}
	codecs = map[string]tcproom.Codec{"text": tcproom.Text{}, "raw": tcproom.Raw{}, "json": tcproom.JSON{}}
)

// parseFlags returns what args set, or an error of one line. It has printed the help
// if the error is flag.ErrHelp.
func parseFlags(args []string) (*config, error) {
	cfg := &config{}
	framing, codec := choice[tcproom.Framing]{framings, "lines"}, choice[tcproom.Codec]{codecs, "text"}

	fs := flag.NewFlagSet("client", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // main prints what is wrong
	fs.StringVar(&cfg.name, "name", "", "the `name` to join with; with -codec text, which has no hello,\nthe first line to the room, as a server with -ask-name wants it")
	fs.Var(&framing, "framing", "as the server's: "+framing.names())
	fs.Var(&codec, "codec", "as the server's: "+codec.names())
	fs.IntVar(&cfg.maxMessage, "max-message", 64<<10, "the largest message, in `bytes`, as the server's")
	fs.BoolVar(&cfg.reconnect, "reconnect", false, "come back when the connection is lost; with -codec json, and a server\nwith -sessions, as the same member")
	fs.IntVar(&cfg.offline, "offline", -1, "with -reconnect: how many `bytes` of lines to keep while there is no connection;\n0: none; less than 0: wait for a connection before the next line is read")
	fs.Func("rooms", "the `NAMES` of the rooms to be in, with commas between, of a server with -rooms;\nlines go to the first of them; with -codec json only", func(names string) error {
		cfg.rooms = append(cfg.rooms, strings.FieldsFunc(names, func(r rune) bool { return r == ',' || r == ' ' })...)
		return nil
	})
	useTLS := fs.Bool("tls", false, "speak TLS")
	ca := fs.String("tls-ca", "", "speak TLS, and trust the certificates in this PEM `file` instead of the system's")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "usage: client [flags] HOST:PORT")
			fs.SetOutput(os.Stderr)
			fs.PrintDefaults()
		}
		return nil, err
	}
	cfg.addr, cfg.framing, cfg.codec = fs.Arg(0), framing.value(), codec.value()
	cfg.raw = codec.name == "raw"
	offline := false
	fs.Visit(func(f *flag.Flag) { offline = offline || f.Name == "offline" })

	switch _, _, err := net.SplitHostPort(cfg.addr); {
	case fs.NArg() != 1:
		return nil, fmt.Errorf("want one HOST:PORT, after the flags, got %q; see -help", fs.Args())
	case err != nil:
		return nil, fmt.Errorf("want HOST:PORT: %w", err)
	case cfg.raw && cfg.name != "":
		return nil, errors.New("-codec raw says no names, so there is no -name")
	case cfg.reconnect && codec.name == "text" && cfg.name != "":
		return nil, errors.New("-reconnect with a -name goes with -codec json only: text has no hello to say it in each time")
	case len(cfg.rooms) > 0 && codec.name != "json":
		return nil, errors.New("-rooms goes with -codec json only; with text, type /join ROOM")
	case offline && !cfg.reconnect:
		return nil, errors.New("-offline goes with -reconnect only: without it the client ends with its connection")
	case cfg.maxMessage < 1 || cfg.maxMessage > 64<<20:
		return nil, fmt.Errorf("-max-message %d: want a number from 1 to %d", cfg.maxMessage, 64<<20)
	}
	if *ca != "" {
		pem, err := os.ReadFile(*ca)
		if err != nil {
			return nil, fmt.Errorf("-tls-ca: %w", err)
		}
		cfg.tls = &tls.Config{RootCAs: x509.NewCertPool()}
		if !cfg.tls.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("-tls-ca: no certificate in %s", *ca)
		}
	} else if *useTLS {
		cfg.tls = &tls.Config{}
	}
	return cfg, nil
}

// A choice is a flag whose value is one of some names.
type choice[T any] struct {
	of   map[string]T
	name string
}

func (c *choice[T]) String() string { return c.name }
func (c *choice[T]) value() T       { return c.of[c.name] }
func (c *choice[T]) names() string {
	return strings.Join(slices.Sorted(maps.Keys(c.of)), ", ")
}

func (c *choice[T]) Set(name string) error {
	if _, ok := c.of[name]; !ok {
		return errors.New("want one of " + c.names())
	}
	c.name = name
	return nil
}
