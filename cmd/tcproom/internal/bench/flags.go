package bench

import (
	"crypto/tls"
	"flag"
	"net"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/cmd/tcproom/internal/cli"
)

// A config is what the flags set.
type config struct {
	addr     string
	members  int
	senders  int
	messages int
	duration time.Duration // 0: until messages are sent
	rate     float64       // messages a second, of all senders; 0: as fast as window lets them
	window   int
	size     int
	wait     time.Duration
	room     string
	askName  bool
	json     bool

	framing   tcproom.Framing
	codec     tcproom.Codec
	tls       *tls.Config
	spoken    string // the names of framing and codec
	codecName string
}

func parse(args []string) (*config, error) {
	c := &config{}
	fs := flag.NewFlagSet("tcproom bench", flag.ContinueOnError)
	fs.IntVar(&c.members, "members", 10, "how many `connections` there are; one at least only receives")
	fs.IntVar(&c.senders, "senders", 1, "the `number` of members that send")
	fs.IntVar(&c.messages, "messages", 10_000, "how many `messages` are sent, by all senders together")
	fs.DurationVar(&c.duration, "duration", 0, "send for so long, in place of -messages")
	fs.Float64Var(&c.rate, "rate", 0, "the `number` of messages a second that are sent, by all senders together, whether or not\nthe room keeps up; 0: each sender goes on when -window lets it")
	fs.IntVar(&c.window, "window", 128, "without -rate, how many `messages` of a sender may be on their way")
	fs.IntVar(&c.size, "size", 64, "the size of a message, in `bytes`; 38 or more")
	fs.DurationVar(&c.wait, "wait", 5*time.Second, "how long nothing may arrive before what is not there is lost")
	fs.StringVar(&c.room, "room", "", "the `name` of the room, of a hub; with codec text by /join")
	fs.BoolVar(&c.askName, "ask-name", false, "send a name first, as a server with -ask-name wants it; with codec text only")
	fs.BoolVar(&c.json, "json", false, "print one JSON object in place of the table")
	framing, codec := cli.Framing(), cli.Codec("text")
	fs.Var(framing, "framing", "as the server's: "+framing.Names())
	fs.Var(codec, "codec", "as the server's: "+codec.Names())
	var secure cli.TLS
	secure.Register(fs)
	if err := cli.Parse(fs, args, "usage: tcproom bench [flags] HOST:PORT"); err != nil {
		return nil, err
	}
	c.addr, c.framing, c.codec = fs.Arg(0), framing.Value(), codec.Value()
	c.codecName, c.spoken = codec.String(), framing.String()+", "+codec.String()
	given := make(map[string]bool)
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if given["messages"] && given["duration"] {
		return nil, cli.Usagef("-messages goes without -duration")
	}
	if given["window"] && given["rate"] {
		return nil, cli.Usagef("-window goes without -rate, which waits for nobody")
	}
	if fs.NArg() != 1 {
		return nil, cli.Usagef("want one HOST:PORT, after the flags, got %q; see -h", fs.Args())
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	var err error
	c.tls, err = secure.Config()
	return c, err
}

// most is the bound of the flags that are numbers, so that no sum of them overflows.
const most = 1 << 30

func (c *config) check() error {
	if _, _, err := net.SplitHostPort(c.addr); err != nil {
		return cli.Usagef("want HOST:PORT: %w", err)
	}
	for _, n := range []struct {
		flag       string
		got, least int
	}{
		{"members", c.members, 2}, {"senders", c.senders, 1}, {"messages", c.messages, 1},
		{"window", c.window, 1}, {"size", c.size, minSize},
	} {
		if n.got < n.least || n.got > most {
			return cli.Usagef("-%s %d: want a number from %d to %d", n.flag, n.got, n.least, most)
		}
	}
	switch {
	case c.senders >= c.members:
		return cli.Usagef("-senders %d: want fewer than -members %d: one member must only receive, with whose order the others' is compared", c.senders, c.members)
	case c.duration < 0:
		return cli.Usagef("-duration %v is negative", c.duration)
	case !(c.rate >= 0 && c.rate <= 1e9):
		return cli.Usagef("-rate %v: want a number from 0 to 1e9", c.rate)
	case c.wait <= 0:
		return cli.Usagef("-wait %v is not positive", c.wait)
	case c.size > 64<<20:
		return cli.Usagef("-size %d: no room takes more than %d", c.size, 64<<20)
	case c.room != "" && c.codecName == "raw":
		return cli.Usagef("-room goes with codec text or json: raw names no rooms")
	case c.askName && c.codecName != "text":
		return cli.Usagef("-ask-name goes with codec text only")
	}
	if c.room != "" {
		if err := tcproom.ValidRoom(c.room); err != nil {
			return cli.Usagef("-room: %w", err)
		}
	}
	return nil
}
