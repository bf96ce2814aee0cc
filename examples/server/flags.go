package main

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/tcproom"
)

// config is what the flags set.
type config struct {
	addr       string
	framing    tcproom.Framing
	codec      tcproom.Codec
	slow       tcproom.SlowPolicy
	backlog    int
	maxMessage int
	maxMembers int
	askName    bool
	rooms      bool
	history    int
	sessions   bool
	grace      time.Duration
	tls        *tls.Config // nil: no TLS
	http       string      // address; empty: no HTTP there
	hosts      []string    // by which pages may ask, beside localhost
	onePort    bool
	logger     *slog.Logger
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
	slows  = map[string]tcproom.SlowPolicy{"disconnect": tcproom.Disconnect, "skip": tcproom.Skip, "block": tcproom.Block(0)}
	logs   = map[string]slog.Handler{
		"text": slog.NewTextHandler(os.Stderr, verbose),
		"json": slog.NewJSONHandler(os.Stderr, verbose),
		"off":  slog.DiscardHandler,
	}
	verbose = &slog.HandlerOptions{Level: slog.LevelDebug} // orderly leaves too
)

// parseFlags returns what args set, or an error of one line. It has printed the help
// if the error is flag.ErrHelp.
func parseFlags(args []string) (*config, error) {
	cfg := &config{backlog: 4 << 20, maxMessage: 64 << 10}
	framing, codec := choice[tcproom.Framing]{framings, "lines"}, choice[tcproom.Codec]{codecs, "text"}
	var maxWait time.Duration
	slow, log := choice[tcproom.SlowPolicy]{slows, "disconnect"}, choice[slog.Handler]{logs, "text"}

	fs := flag.NewFlagSet("server", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // main prints what is wrong
	fs.StringVar(&cfg.addr, "addr", "127.0.0.1:9000", "listen on `HOST:PORT`; port 0 is any free one")
	fs.Var(&framing, "framing", "how messages are told apart: "+framing.names())
	fs.Var(&codec, "codec", "what is written in a frame: "+codec.names())
	fs.Var(&slow, "slow", "what happens to members that do not read: "+slow.names())
	fs.DurationVar(&maxWait, "max-wait", 5*time.Second, "with -slow block, how long it holds messages back")
	fs.Var(&count{&cfg.backlog, 1 << 30}, "backlog", "how many `bytes` a member may lag behind")
	fs.Var(&count{&cfg.maxMessage, 64 << 20}, "max-message", "the largest message, in `bytes`")
	fs.Var(&count{&cfg.maxMembers, 1 << 30}, "max-members", "how `many` members a room takes; 0 is any number")
	fs.BoolVar(&cfg.askName, "ask-name", false, "ask members for a name, which nobody else has: the first line that they send; with -codec text only")
	fs.BoolVar(&cfg.rooms, "rooms", false, "many rooms, which come and go as members do, and names that nobody else has; with -codec text by commands, which /help lists")
	fs.Var(&count{&cfg.history, 1 << 30}, "history", "how `many` of the last messages members are given when they join; with -http and -one-port 100 if not set")
	fs.BoolVar(&cfg.sessions, "sessions", false, "let members that lost their connection resume; with -codec json, -http or -one-port only, and set with the latter two")
	fs.DurationVar(&cfg.grace, "grace", 30*time.Second, "with -sessions, how long a member that lost its connection stays one")
	fs.StringVar(&cfg.http, "http", "", "serve a page for browsers, and what else is in docs/http.md, on `HOST:PORT`")
	fs.Func("hosts", "with -http or -one-port on loopback, `NAMES` beside localhost by which it is asked, with commas between", func(names string) error {
		cfg.hosts = append(cfg.hosts, strings.FieldsFunc(names, func(r rune) bool { return r == ',' || r == ' ' })...)
		return nil
	})
	fs.BoolVar(&cfg.onePort, "one-port", false, "serve HTTP at -addr too; members who send nothing join 0.3 s late")
	cert := fs.String("tls-cert", "", "speak TLS, with the certificate in this PEM `file`")
	key := fs.String("tls-key", "", "the PEM `file` of the certificate's key")
	fs.Var(&log, "log", "how to log to standard error: "+log.names())
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "usage: server [flags]")
			fs.SetOutput(os.Stderr)
			fs.PrintDefaults()
		}
		return nil, err
	}
	given := make(map[string]bool)
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	cfg.framing, cfg.codec, cfg.slow, cfg.logger = framing.value(), codec.value(), slow.value(), slog.New(log.value())

	hasWeb := cfg.http != "" || cfg.onePort
	if hasWeb && !given["sessions"] {
		cfg.sessions = true // pages come back after a break
	}
	if hasWeb && !given["history"] && codec.name != "raw" {
		cfg.history = 100
	}

	_, addrErr := net.ResolveTCPAddr("tcp", cfg.addr)
	_, httpErr := net.ResolveTCPAddr("tcp", cfg.http)
	switch {
	case fs.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q; there are only flags, see -help", fs.Arg(0))
	case addrErr != nil:
		return nil, fmt.Errorf("-addr: %w", addrErr)
	case given["http"] && httpErr != nil:
		return nil, fmt.Errorf("-http: %w", httpErr)
	case cfg.onePort && cfg.http != "":
		return nil, fmt.Errorf("-one-port goes without -http")
	case cfg.onePort && *cert != "":
		return nil, fmt.Errorf("-one-port goes without TLS, which hides what is HTTP; -http goes with it")
	case cfg.rooms && codec.name == "raw":
		return nil, fmt.Errorf("-rooms goes with -codec text or json: raw names no rooms")
	case cfg.askName && codec.name != "text":
		return nil, fmt.Errorf("-ask-name goes with -codec text only")
	case given["hosts"] && !hasWeb:
		return nil, fmt.Errorf("-hosts goes with -http or -one-port only")
	case cfg.sessions && codec.name != "json" && !hasWeb:
		return nil, fmt.Errorf("-sessions goes with -codec json, -http or -one-port only")
	case given["grace"] && !cfg.sessions:
		return nil, fmt.Errorf("-grace goes with -sessions only")
	case cfg.grace <= 0:
		return nil, fmt.Errorf("-grace %v is not positive", cfg.grace)
	case cfg.history > 0 && codec.name == "raw":
		return nil, fmt.Errorf("-history goes with -codec text or json: raw cannot tell the past from the present")
	case cfg.slow == tcproom.Skip && codec.name == "raw":
		return nil, fmt.Errorf("-slow skip goes with -codec text or json: raw cannot tell what was skipped")
	case given["max-wait"] && slow.name != "block":
		return nil, fmt.Errorf("-max-wait goes with -slow block only")
	case maxWait <= 0:
		return nil, fmt.Errorf("-max-wait %v is not positive", maxWait)
	case (*cert == "") != (*key == ""):
		return nil, fmt.Errorf("-tls-cert and -tls-key go together")
	}
	if cfg.rooms && codec.name == "text" {
		cfg.codec = tcproom.Text{Commands: true}
	}
	if slow.name == "block" {
		cfg.slow = tcproom.Block(maxWait)
	}
	if *cert != "" {
		pair, err := tls.LoadX509KeyPair(*cert, *key)
		if err != nil {
			return nil, fmt.Errorf("-tls-cert, -tls-key: %w", err)
		}
		cfg.tls = &tls.Config{Certificates: []tls.Certificate{pair}}
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

// A count is a flag whose value is a number from 0 to most.
type count struct {
	n    *int
	most int
}

func (c *count) String() string {
	if c.n == nil {
		return "0"
	}
	return fmt.Sprint(*c.n)
}

func (c *count) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > c.most {
		return fmt.Errorf("want a number from 0 to %d", c.most)
	}
	*c.n = n
	return nil
}
