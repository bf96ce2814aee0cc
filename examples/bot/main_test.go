//go:build unix

package main

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/tcproom/examples/internal/program"
)

func TestMain(m *testing.M) { program.Main(m, ".", "../server") }

// serve starts the example server.
func serve(t *testing.T, args ...string) (*program.Process, string) {
	t.Helper()
	p := program.Start(t, program.Path("server"), append([]string{"-addr", "127.0.0.1:0"}, args...)...)
	addr, ok := strings.CutPrefix(p.Err.Line(t), "listening on ")
	require.True(t, ok, "the first line says where the server listens")
	return p, addr
}

// nc connects netcat.
func nc(t *testing.T, addr string) *program.Process {
	t.Helper()
	host, port := program.Split(t, addr)
	return program.Start(t, program.Installed(t, "nc"), host, port)
}

func TestTalksWithNetcat(t *testing.T) {
	t.Parallel()
	server, addr := serve(t)
	ada := nc(t, addr)
	server.Err.Expect(t, "name=guest-1")
	bot := program.Start(t, program.Path("bot"), addr)
	ada.Out.Expect(t, "* guest-2 joined\n")
	nc(t, addr)
	require.Equal(t, "* guest-3 joined", ada.Out.Line(t))
	require.Equal(t, "guest-2: welcome, guest-3", ada.Out.Line(t))
	ada.Say(t, "!time\nhi\n!echo there\n")
	require.Regexp(t, `^guest-2: it is \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`, ada.Out.Line(t))
	require.Equal(t, "guest-2: there", ada.Out.Line(t))
	bot.Signal(t, os.Interrupt)
	require.Zero(t, bot.Status(t))
	require.Equal(t, "* guest-2 left", ada.Out.Line(t))
	require.Empty(t, bot.Err.Text())
}

func TestNameInHelloAndAtThePrompt(t *testing.T) {
	for _, tt := range []struct{ name, server, bot, watch string }{
		{name: "hello", server: "-codec json", bot: "-json", watch: `{"type":"hello","name":"ada"}`},
		{name: "prompt", server: "-ask-name", bot: "", watch: "ada"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server, addr := serve(t, strings.Fields(tt.server)...)
			ada := nc(t, addr)
			ada.Say(t, tt.watch+"\n")
			server.Err.Expect(t, "name=ada")
			bot := program.Start(t, program.Path("bot"), append(strings.Fields(tt.bot), "-name", "robo", addr)...)
			ada.Out.Expect(t, "robo")
			server.Signal(t, os.Interrupt)
			require.Equal(t, 1, bot.Status(t))
			require.Equal(t, "bot: the room ended the connection: \"room closed\"\n", bot.Err.Text())
		})
	}
}

func TestCannotJoin(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nobody := l.Addr().String()
	require.NoError(t, l.Close())
	bot := program.Start(t, program.Path("bot"), nobody)
	require.Equal(t, 1, bot.Status(t))
	require.Equal(t, fmt.Sprintf("bot: cannot join %s: tcproom: dial tcp %s: connect: connection refused\n", nobody, nobody), bot.Err.Text())
}

func TestBadFlags(t *testing.T) {
	for _, tt := range []struct {
		name string
		args string
		want string
	}{
		{name: "no address", args: "", want: "want one HOST:PORT, after the flags"},
		{name: "two addresses", args: "a:1 b:2", want: "want one HOST:PORT, after the flags"},
		{name: "no port", args: "localhost", want: "want HOST:PORT: address localhost: missing port in address"},
		{name: "unknown flag", args: "-port 9000", want: "flag provided but not defined: -port"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := program.Start(t, program.Path("bot"), strings.Fields(tt.args)...)
			require.Equal(t, 2, p.Status(t))
			require.True(t, strings.HasPrefix(p.Err.Text(), "bot: "+tt.want), "got %q, want %q", p.Err.Text(), tt.want)
			require.Equal(t, 1, strings.Count(p.Err.Text(), "\n"), "one line: %q", p.Err.Text())
		})
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	p := program.Start(t, program.Path("bot"), "-help")
	require.Zero(t, p.Status(t))
	require.Contains(t, p.Err.Text(), "usage: bot [flags] HOST:PORT\n")
}
