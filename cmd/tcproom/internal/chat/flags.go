package chat

import (
	"flag"
	"net"
	"os"
	"strings"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/cmd/tcproom/internal/cli"
)

const usage = `usage: tcproom chat [flags] HOST:PORT

It is full screen, and /help lists its commands and keys. If standard input or output is
no terminal, or TERM is dumb, it works line by line: each line of the input is a message
or a command, and each event a line of the output.
`

// config is what the flags set.
type config struct {
	addr    string
	rooms   []string // of a hub; the first is shown
	text    bool     // the codec is Text
	plain   bool
	literal bool // lines that begin with "/" are messages
	opts    []tcproom.DialOption
}

// heartbeat is how long the room may be silent before it is asked whether it is there.
const heartbeat = 20 * time.Second

// parse returns what args set.
func parse(args []string) (*config, error) {
	cfg := &config{}
	framing := cli.Framing()
	codec := cli.NewChoice(map[string]tcproom.Codec{"json": tcproom.JSON{}, "text": typist{}}, "json")
	var tls cli.TLS
	fs := flag.NewFlagSet("chat", flag.ContinueOnError)
	name := fs.String("name", "", "the `name` to join with; if not set the server gives one")
	fs.Func("room", "the `NAMES` of the rooms to be in, with commas between, of a hub; the first is\nshown; \"lobby\" if not set", func(names string) error {
		cfg.rooms = append(cfg.rooms, strings.FieldsFunc(names, func(r rune) bool { return r == ',' || r == ' ' })...)
		return nil
	})
	fs.Var(codec, "codec", "as the server's: "+codec.Names()+"; with text, as nc has it, the server does the\ncommands, and there are no places in the order and no resume")
	fs.Var(framing, "framing", "as the server's: "+framing.Names())
	maxMessage := fs.Int("max-message", 64<<10, "the largest message, in `bytes`, as the server's")
	history := fs.Int("history", 0, "the `number` of last messages of each room to ask for; 0: all that the server\ngives, less than 0: none")
	auth := fs.String("auth-file", "", "the `file` whose first line is the token or password for the server")
	fs.BoolVar(&cfg.plain, "plain", false, "work line by line, also with a terminal")
	fs.BoolVar(&cfg.literal, "literal", false, "line by line: lines that begin with / are messages, and no commands")
	tls.Register(fs)
	if err := cli.Parse(fs, args, usage); err != nil {
		return nil, err
	}
	given := make(map[string]bool)
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	cfg.addr, cfg.text = fs.Arg(0), codec.String() == "text"

	_, _, addrErr := net.SplitHostPort(cfg.addr)
	switch {
	case fs.NArg() != 1:
		return nil, cli.Usagef("want one HOST:PORT, after the flags, got %q; see -h", fs.Args())
	case addrErr != nil:
		return nil, cli.Usagef("want HOST:PORT: %w", addrErr)
	case cfg.text && *name != "":
		return nil, cli.Usagef("-name goes with -codec json only; with text, type it when the server asks for it")
	case cfg.text && *auth != "":
		return nil, cli.Usagef("-auth-file goes with -codec json only")
	case cfg.text && len(cfg.rooms) > 0:
		return nil, cli.Usagef("-room goes with -codec json only; with text, type /join ROOM")
	case cfg.text && given["history"]:
		return nil, cli.Usagef("-history goes with -codec json only")
	case *name != "" && tcproom.ValidName(*name) != nil:
		return nil, cli.Usagef("-name: %s", bare(tcproom.ValidName(*name).Error()))
	case *maxMessage < 1 || *maxMessage > 64<<20:
		return nil, cli.Usagef("-max-message %d: want a number from 1 to %d", *maxMessage, 64<<20)
	}
	for _, room := range cfg.rooms {
		if err := tcproom.ValidRoom(room); err != nil {
			return nil, cli.Usagef("-room: %s", bare(err.Error()))
		}
	}
	tlsConfig, err := tls.Config()
	if err != nil {
		return nil, err
	}
	cfg.opts = []tcproom.DialOption{
		tcproom.WithFraming(framing.Value()), tcproom.WithCodec(codec.Value()), tcproom.WithMaxMessage(*maxMessage),
		tcproom.WithTLS(tlsConfig),
	}
	if cfg.text {
		return cfg, nil
	}
	if len(cfg.rooms) == 0 {
		cfg.rooms = []string{"lobby"}
	}
	cfg.opts = append(cfg.opts, tcproom.WithName(*name), tcproom.InRooms(cfg.rooms...), tcproom.WithReplay(*history), tcproom.WithHeartbeat(heartbeat))
	if *auth != "" {
		secret, err := os.ReadFile(*auth)
		if err != nil {
			return nil, cli.Usagef("-auth-file: %w", err)
		}
		first, _, _ := strings.Cut(string(secret), "\n")
		cfg.opts = append(cfg.opts, tcproom.WithAuth(tcproom.Secret(strings.TrimSuffix(first, "\r"))))
	}
	return cfg, nil
}

// A typist is tcproom.Text for somebody who types: what the server says is read as the
// lines of a hub, and what is typed goes to it as it is, its commands too.
type typist struct{ tcproom.Text }

// ParseEvent implements tcproom.Codec.
func (typist) ParseEvent(frame []byte, ev *tcproom.Event) error {
	return tcproom.Text{Commands: true}.ParseEvent(frame, ev)
}

// AppendRequest implements tcproom.Codec.
func (typist) AppendRequest(dst []byte, req *tcproom.Request) ([]byte, error) {
	return tcproom.Text{}.AppendRequest(dst, req)
}
