package serve

import (
	"cmp"
	"crypto/tls"
	"flag"
	"log/slog"
	"net"
	"os"
	"slices"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/cmd/tcproom/internal/cli"
)

// A config is all settings.
type config struct {
	section
	listener // the first

	more        []*listener // those that only a file has
	rooms       roomsValue
	maxRooms    int
	linger      time.Duration
	lag         lag
	maxMessage  int
	maxMembers  int
	perAddress  int
	history     int
	sessions    bool
	grace       time.Duration
	http        string
	hosts       list
	metrics     string
	log         *cli.Choice[func(*output, *slog.HandlerOptions) slog.Handler]
	logLevel    *cli.Choice[slog.Level]
	file        string
	printConfig bool
}

// A listener is an address and how it is spoken to there.
type listener struct {
	addr      string
	framing   *cli.Choice[tcproom.Framing]
	codec     *cli.Choice[tcproom.Codec]
	askName   bool
	onePort   bool
	cert, key string
	tls       *tls.Config // nil: no TLS
	own       *section
}

// A roomConfig is a room of the hub that the file describes.
type roomConfig struct {
	section
	name       string
	hidden     bool
	maxMembers int
	history    int
	lag        lag
}

// A lag is what happens to members that do not keep up.
type lag struct {
	slow    *cli.Choice[tcproom.SlowPolicy]
	maxWait time.Duration
	backlog int
}

var logs = map[string]func(*output, *slog.HandlerOptions) slog.Handler{
	"text": func(o *output, opts *slog.HandlerOptions) slog.Handler { return slog.NewTextHandler(o, opts) },
	"json": func(o *output, opts *slog.HandlerOptions) slog.Handler { return slog.NewJSONHandler(o, opts) },
	"off":  func(*output, *slog.HandlerOptions) slog.Handler { return slog.DiscardHandler },
}

var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

// newConfig returns the defaults, with their table.
func newConfig() *config {
	c := &config{section: newSection("tcproom serve"), log: cli.NewChoice(logs, "text"), logLevel: cli.NewChoice(levels, "debug")}
	fs := c.fs
	c.listener.register(&c.section, "127.0.0.1:9000")
	c.lag.register(&c.section)
	fs.Var(&c.rooms, "rooms", "many rooms, which come and go as members do, and names that nobody else has; with codec text by commands, which /help lists. A file may describe rooms in place of true: then there are no others unless open-rooms is set")
	fs.BoolVar(&c.rooms.open, "open-rooms", false, "with rooms that the file describes: let members make others, too")
	fs.Var(&count{&c.maxRooms, large}, "max-rooms", "with rooms, the most `rooms` that there are at a time; 0 is 10000")
	fs.DurationVar(&c.linger, "room-linger", time.Minute, "with rooms, how long one that is empty stays")
	fs.Var(newCount(&c.maxMessage, 64<<10, 64<<20), "max-message", "the largest message, in `bytes`")
	fs.Var(&count{&c.maxMembers, large}, "max-members", "the most `members` that a room takes; 0 is any number")
	fs.Var(&count{&c.perAddress, large}, "max-per-address", "the most `connections` that one address may have; 0 is any number")
	fs.Var(&count{&c.history, large}, "history", "the `number` of last messages that members are given when they join; with http and one-port 100 if not set")
	fs.BoolVar(&c.sessions, "sessions", false, "let members that lost their connection resume; with codec json, http or one-port only, and set with the latter two")
	fs.DurationVar(&c.grace, "grace", 30*time.Second, "with sessions, how long a member that lost its connection stays one")
	fs.StringVar(&c.http, "http", "", "serve a page for browsers, and what else is in docs/http.md, on `HOST:PORT`")
	fs.Var(&c.hosts, "hosts", "with http or one-port on loopback, `NAMES` beside localhost by which it is asked, with commas between")
	fs.StringVar(&c.metrics, "metrics", "", "serve metrics for Prometheus at /metrics, and /healthz, on `HOST:PORT`; keep it off the public internet, for names of rooms are in it")
	fs.Var(c.log, "log", "how to log to standard error: "+c.log.Names())
	fs.Var(c.logLevel, "log-level", "the least level that is logged: "+c.logLevel.Names()+"; debug has each join, and info only what was not in order")
	return c
}

func (l *listener) register(s *section, addr string) {
	l.own, l.framing, l.codec = s, cli.Framing(), cli.Codec("text")
	s.fs.StringVar(&l.addr, "addr", addr, "listen on `HOST:PORT`; port 0 is any free one")
	s.fs.Var(l.framing, "framing", "how messages are told apart: "+l.framing.Names())
	s.fs.Var(l.codec, "codec", "what is written in a frame: "+l.codec.Names())
	s.fs.BoolVar(&l.askName, "ask-name", false, "ask members for a name, which nobody else has: the first line that they send; with codec text only")
	s.fs.BoolVar(&l.onePort, "one-port", false, "serve HTTP at this address too; members who send nothing join 0.3 s late")
	s.fs.StringVar(&l.cert, "tls-cert", "", "speak TLS, with the certificate in this PEM `file`")
	s.fs.StringVar(&l.key, "tls-key", "", "the PEM `file` of the certificate's key")
}

func (l *lag) register(s *section) {
	l.slow = cli.NewChoice(map[string]tcproom.SlowPolicy{"disconnect": tcproom.Disconnect, "skip": tcproom.Skip, "block": tcproom.Block(0)}, "disconnect")
	s.fs.Var(l.slow, "slow", "what happens to members that do not read: "+l.slow.Names())
	s.fs.DurationVar(&l.maxWait, "max-wait", 5*time.Second, "with slow block, how long it holds messages back")
	s.fs.Var(newCount(&l.backlog, 4<<20, large), "backlog", "how many `bytes` a member may lag behind")
}

func newListener() *listener {
	s, l := newSection("listeners"), new(listener)
	l.register(&s, "")
	return l
}

func newRoom() *roomConfig {
	r := &roomConfig{section: newSection("rooms")}
	r.fs.StringVar(&r.name, "name", "", "what the room is called")
	r.fs.BoolVar(&r.hidden, "hidden", false, "leave it out of the list of rooms, and tell only its members who is in it")
	r.fs.Var(&count{&r.maxMembers, large}, "max-members", "the most `members` that it takes; 0 is any number")
	r.fs.Var(&count{&r.history, large}, "history", "the `number` of its last messages that members are given")
	r.lag.register(&r.section)
	return r
}

// listeners returns all of them, the first first.
func (c *config) listeners() []*listener {
	return append([]*listener{&c.listener}, c.more...)
}

func (c *config) hasWeb() bool {
	return c.http != "" || slices.ContainsFunc(c.listeners(), func(l *listener) bool { return l.onePort })
}

// speaks reports whether a listener speaks the codec.
func (c *config) speaks(codec string) bool {
	return slices.ContainsFunc(c.listeners(), func(l *listener) bool { return l.codec.String() == codec })
}

// asksNames reports whether a listener asks for names.
func (c *config) asksNames() bool {
	return slices.ContainsFunc(c.listeners(), func(l *listener) bool { return l.askName })
}

// complete sets what follows from other settings, and returns an error if they do not
// go together.
func (c *config) complete() error {
	if c.hasWeb() {
		if !c.given("sessions") {
			c.sessions = true // pages come back after a break
		}
		if !c.given("history") && !c.speaks("raw") {
			c.history = 100
		}
	}
	for _, l := range c.listeners() {
		if err := c.completeListener(l); err != nil {
			return err
		}
	}
	if err := c.completeRooms(); err != nil {
		return err
	}
	_, httpErr := net.ResolveTCPAddr("tcp", c.http)
	_, metricsErr := net.ResolveTCPAddr("tcp", c.metrics)
	switch {
	case c.given("http") && httpErr != nil:
		return c.wrong("http", "%w", httpErr)
	case c.given("metrics") && metricsErr != nil:
		return c.wrong("metrics", "%w", metricsErr)
	case c.given("hosts") && !c.hasWeb():
		return c.wrong("hosts", "goes with http or one-port only")
	case c.sessions && !c.speaks("json") && !c.hasWeb():
		return c.wrong("sessions", "goes with codec json, http or one-port only")
	case c.given("grace") && !c.sessions:
		return c.wrong("grace", "goes with sessions only")
	case c.grace <= 0:
		return c.wrong("grace", "%v is not positive", c.grace)
	case c.history > 0 && c.speaks("raw"):
		return c.wrong("history", "goes with codec text or json: raw cannot tell the past from the present")
	}
	return c.lag.check(&c.section, c.speaks("raw"))
}

func (c *config) completeListener(l *listener) error {
	s := l.own
	_, addrErr := net.ResolveTCPAddr("tcp", l.addr)
	switch {
	case addrErr != nil:
		return s.wrong("addr", "%w", addrErr)
	case l.onePort && c.http != "":
		return s.wrong("one-port", "goes without http")
	case l.onePort && l.cert != "":
		return s.wrong("one-port", "goes without TLS, which hides what is HTTP; http goes with it")
	case l.askName && l.codec.String() != "text":
		return s.wrong("ask-name", "goes with codec text only")
	case c.rooms.on && l.codec.String() == "raw":
		return c.wrong("rooms", "go with codec text or json: raw names no rooms")
	case (l.cert == "") != (l.key == ""):
		return s.wrong(cmp.Or(firstGiven(s, "tls-cert", "tls-key"), "tls-cert"), "tls-cert and tls-key go together")
	}
	if l.cert != "" {
		pair, err := tls.LoadX509KeyPair(l.cert, l.key)
		if err != nil {
			return s.wrong("tls-cert", "%w", err)
		}
		l.tls = &tls.Config{Certificates: []tls.Certificate{pair}}
	}
	return nil
}

func firstGiven(s *section, names ...string) string {
	for _, name := range names {
		if s.given(name) {
			return name
		}
	}
	return ""
}

func (c *config) completeRooms() error {
	for _, name := range []string{"max-rooms", "room-linger", "open-rooms"} {
		if c.given(name) && !c.rooms.on {
			return c.wrong(name, "goes with rooms only")
		}
	}
	if c.given("open-rooms") && len(c.rooms.described) == 0 {
		return c.wrong("open-rooms", "goes with rooms that the file describes: without them all are open")
	}
	if c.linger < 0 {
		return c.wrong("room-linger", "%v is negative", c.linger)
	}
	seen := make(map[string]bool)
	for _, r := range c.rooms.described {
		if err := tcproom.ValidRoom(r.name); err != nil {
			return r.wrong("name", "%w", err)
		}
		if seen[r.name] {
			return r.wrong("name", "%q is described twice", r.name)
		}
		seen[r.name] = true
		if err := r.lag.check(&r.section, false); err != nil {
			return err
		}
	}
	return nil
}

func (l *lag) check(s *section, raw bool) error {
	switch {
	case l.slow.String() == "skip" && raw:
		return s.wrong("slow", "skip goes with codec text or json: raw cannot tell what was skipped")
	case s.given("max-wait") && l.slow.String() != "block":
		return s.wrong("max-wait", "goes with slow block only")
	case l.maxWait <= 0:
		return s.wrong("max-wait", "%v is not positive", l.maxWait)
	}
	return nil
}

// policy returns what happens to members that are slow.
func (l *lag) policy() tcproom.SlowPolicy {
	if l.slow.String() == "block" {
		return tcproom.Block(l.maxWait)
	}
	return l.slow.Value()
}

// logger returns the logger, which writes to standard error.
func (c *config) logger(o *output) *slog.Logger {
	return slog.New(c.log.Value()(o, &slog.HandlerOptions{Level: c.logLevel.Value()}))
}

// configure returns the settings of the flags, and of the file that they name. Flags
// win. An error has one line.
func configure(args []string) (*config, error) {
	const head = "usage: tcproom serve [flags]\nA file with -config has the same settings, and listeners and rooms: see -print-config."
	first := newConfig() // which file it is must be known before flags can win
	first.registerFile()
	if err := cli.Parse(first.fs, args, head); err != nil {
		return nil, err
	}
	c := newConfig()
	if first.file != "" {
		text, err := os.ReadFile(first.file)
		if err != nil {
			return nil, cli.Usagef("-config: %w", err)
		}
		if err := c.load(first.file, text); err != nil {
			return nil, err
		}
	}
	c.registerFile()
	if err := cli.Parse(c.fs, args, head); err != nil {
		return nil, err
	}
	first.fs.Visit(func(f *flag.Flag) { delete(c.at, f.Name) })
	if c.fs.NArg() > 0 {
		return nil, cli.Usagef("unexpected argument %q: there are only flags, see -h", c.fs.Arg(0))
	}
	return c, c.complete()
}

// registerFile adds the flags that no file has.
func (c *config) registerFile() {
	c.fs.StringVar(&c.file, "config", "", "read settings from this YAML `file`; flags win over it")
	c.fs.BoolVar(&c.printConfig, "print-config", false, "print the settings as such a file, and end")
}
