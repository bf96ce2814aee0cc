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
	require.True(t, ok)
	return p, addr
}

func client(t *testing.T, args ...string) *program.Process {
	t.Helper()
	return program.Start(t, program.Path("client"), args...)
}

func nc(t *testing.T, addr string, args ...string) *program.Process {
	t.Helper()
	host, port := program.Split(t, addr)
	return program.Start(t, program.Installed(t, "nc"), append(args, host, port)...)
}

func TestEveryFramingWithNode(t *testing.T) {
	for _, framing := range []string{"lines", "length1", "length2", "length4", "length8", "varint", "netstring", "content-length"} {
		for _, codec := range []string{"text", "raw"} {
			t.Run(framing+"/"+codec, func(t *testing.T) {
				t.Parallel()
				_, addr := serve(t, "-framing", framing, "-codec", codec)
				ada, bob := client(t, "-framing", framing, "-codec", codec, addr), program.Peer(t, addr, framing)
				program.Meet(t, ada, bob)
				long := strings.Repeat("0123456789", 20)
				ada.Say(t, long+" a\n")
				bob.Out.Expect(t, long+" a\n")
				bob.Say(t, long+" b\n")
				ada.Out.Expect(t, long+" b\n")
				ada.End()
				require.Zero(t, ada.Status(t))
			})
		}
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	server, addr := serve(t, "-framing", "length4", "-codec", "json")
	ada := client(t, "-framing", "length4", "-codec", "json", "-name", "ada", addr)
	require.Equal(t, "joined as ada, members: 1", ada.Err.Line(t))
	bob := client(t, "-framing", "length4", "-codec", "json", "-name", "bob", addr)
	require.Equal(t, "joined as bob, members: 2", bob.Err.Line(t))
	require.Equal(t, "* bob joined", ada.Out.Line(t))
	ada.Say(t, "hi\n")
	require.Equal(t, "ada: hi", bob.Out.Line(t))
	bob.Say(t, "\x1b[2J \"quoted\" \xff \u00e9\n\n") // an empty line is a message too
	require.Equal(t, `ada: hi`, strings.TrimSpace(bob.Out.Text()), "no echo")
	require.Equal(t, `bob: \x1b[2J "quoted" \xff é`, ada.Out.Line(t))
	require.Equal(t, `bob: `, ada.Out.Line(t))
	bob.End()
	require.Zero(t, bob.Status(t))
	require.Equal(t, "* bob left", ada.Out.Line(t))

	server.Signal(t, os.Interrupt)
	require.Equal(t, "* goodbye: room closed", ada.Out.Line(t))
	require.Equal(t, 1, ada.Status(t))
	require.Equal(t, "client: the room ended the connection, as it said\n", ada.Err.Text()[len("joined as ada, members: 1\n"):])
}

func TestLinesThroughAPipe(t *testing.T) {
	for _, tt := range []struct {
		name  string
		input string
		want  []string
	}{
		{name: "a line", input: "hi\n", want: []string{": hi"}},
		{name: "no newline at the end", input: "hi\nthere", want: []string{": hi", ": there"}},
		{name: "from Windows", input: "hi\r\nthere\r\n", want: []string{": hi", ": there"}},
		{name: "nothing", input: ""},
		{name: "the longest", input: strings.Repeat("x", 64<<10) + "\r\n", want: []string{": " + strings.Repeat("x", 64<<10)}},
		{name: "many", input: strings.Repeat("x\n", 5000) + "y\n", want: append(repeat(": x", 5000), ": y")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, addr := serve(t)
			watch := nc(t, addr)
			program.Meet(t, watch, nc(t, addr))
			c := client(t, addr)
			c.Say(t, tt.input)
			c.End()
			require.Zero(t, c.Status(t))
			require.Equal(t, "* guest-3 joined", watch.Out.Line(t))
			for _, want := range tt.want {
				require.Equal(t, "guest-3"+want, watch.Out.Line(t))
			}
			require.Equal(t, "* guest-3 left", watch.Out.Line(t))
			require.Empty(t, c.Err.Text())
		})
	}
}

func repeat(s string, n int) []string { return strings.Split(strings.Repeat(s+"\n", n-1)+s, "\n") }

func TestLinesThatCannotBeSent(t *testing.T) {
	for _, tt := range []struct {
		name  string
		args  []string
		input string
		heard []string
		says  string
	}{
		{name: "too long for the framing", args: []string{"-framing", "length1"}, input: "a\n" + strings.Repeat("x", 256) + "\nb\n", heard: []string{"a", "b"}, says: "client: not sent: "},
		{name: "too long for the limit", input: "a\n" + strings.Repeat("x", 64<<10+1) + "\nb\n", heard: []string{"a", "b"}, says: "client: not sent: "},
		{name: "far too long", input: "a\n" + strings.Repeat("x", 1<<20) + "\nb\n", heard: []string{"a"}, says: "longer than -max-message"},
		{name: "carriage return", input: "a\nx\r\r\nb\n", heard: []string{"a", "b"}, says: "client: not sent: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, addr := serve(t, tt.args...)
			args := append(tt.args, addr)
			watch := client(t, args...)
			program.Meet(t, watch, client(t, args...))
			c := client(t, args...)
			go func() { // the client may end before it has read everything
				c.Call(tt.input)
				c.End()
			}()
			require.Equal(t, 1, c.Status(t))
			require.Contains(t, c.Err.Text(), tt.says)
			require.Equal(t, "* guest-3 joined", watch.Out.Line(t))
			for _, want := range tt.heard {
				require.Equal(t, "guest-3: "+want, watch.Out.Line(t))
			}
			require.Equal(t, "* guest-3 left", watch.Out.Line(t))
		})
	}
}

func TestNameAnswersThePrompt(t *testing.T) {
	t.Parallel()
	_, addr := serve(t, "-ask-name")
	ada := client(t, "-name", "ada", addr)
	ada.Out.Expect(t, "*: What is your name?\n")
	eve := client(t, "-name", "eve", addr)
	program.Meet(t, ada, eve)
	bob := client(t, "-name", "bob", addr)
	bob.Say(t, "hi\n")
	bob.End()
	require.Equal(t, 0, bob.Status(t))
	for _, want := range []string{"* bob joined", "bob: hi", "* bob left"} {
		require.Equal(t, want, ada.Out.Line(t))
	}
	rude := client(t, "-name", "a b", addr)
	rude.Out.Expect(t, `*: invalid name: "a b": holds a space or line separator. What is your name?`+"\n")
	rude.Say(t, "amy\n") // is asked again, and answers
	require.Equal(t, "* amy joined", ada.Out.Line(t))
}

func TestTLS(t *testing.T) {
	t.Parallel()
	cert, key := program.Certificate(t)
	_, addr := serve(t, "-tls-cert", cert, "-tls-key", key)
	ada := client(t, "-tls", "-tls-ca", cert, addr)
	bob := program.Start(t, program.Installed(t, "openssl"), "s_client", "-quiet", "-no_ign_eof", "-CAfile", cert, "-connect", addr)
	program.Meet(t, ada, bob)
	ada.Say(t, "hi\n")
	bob.Out.Expect(t, ": hi\n")
	ada.End()
	require.Zero(t, ada.Status(t))

	stranger := client(t, "-tls", addr)
	require.Equal(t, 1, stranger.Status(t))
	require.Regexp(t, "^client: cannot join .*certificate.*\n$", stranger.Err.Text())
	_, plain := serve(t, "-framing", "netstring")
	wrong := client(t, "-tls", plain)
	wrong.End()
	require.Equal(t, 1, wrong.Status(t))
}

func TestCannotJoin(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nobody := l.Addr().String()
	require.NoError(t, l.Close())

	c := client(t, nobody)
	require.Equal(t, 1, c.Status(t))
	require.Equal(t, fmt.Sprintf("client: cannot join %s: tcproom: dial tcp %s: connect: connection refused\n", nobody, nobody), c.Err.Text())
}

func TestFullRoom(t *testing.T) {
	for _, codec := range []string{"text", "json"} {
		t.Run(codec, func(t *testing.T) {
			t.Parallel()
			server, addr := serve(t, "-max-members", "1", "-codec", codec)
			client(t, "-codec", codec, addr)
			server.Err.Expect(t, "tcproom: joined")
			c := client(t, "-codec", codec, addr)
			c.Call("hi\n")
			c.End()
			require.Equal(t, 1, c.Status(t))
			require.Contains(t, c.Out.Text()+c.Err.Text(), "room is full")
		})
	}
}

// late is a server that begins to speak when the client has stopped.
const late = `
const server = require('net').createServer({ allowHalfOpen: true }, (socket) => {
  let heard = ''
  socket.on('data', (data) => { heard += data })
  socket.on('end', () => {
    for (let i = 0; i < 20000; i++) socket.write('late: line ' + i + '\n')
    socket.end('late: you said ' + JSON.stringify(heard) + '\n')
  })
})
server.listen(0, '127.0.0.1', () => console.log('127.0.0.1:' + server.address().port))
`

func TestPrintsUntilTheRoomEnds(t *testing.T) {
	t.Parallel()
	server := program.Start(t, program.Installed(t, "node"), "-e", late)
	c := client(t, server.Out.Line(t))
	c.Say(t, "hi\n")
	c.End()
	for i := range 20000 {
		require.Equal(t, fmt.Sprintf("late: line %d", i), c.Out.Line(t))
	}
	require.Equal(t, `late: you said "hi\n"`, c.Out.Line(t))
	require.Zero(t, c.Status(t))
}

func TestRoomEndsFirst(t *testing.T) {
	for _, tt := range []struct{ name, end string }{
		{name: "in order", end: "socket.end()"},
		{name: "by a reset", end: "socket.resetAndDestroy()"},
		{name: "in the middle of a line", end: "socket.end('half a li')"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := program.Start(t, program.Installed(t, "node"), "-e", `
				const server = require('net').createServer((socket) => { socket.on('data', () => `+tt.end+`) })
				server.listen(0, '127.0.0.1', () => console.log('127.0.0.1:' + server.address().port))`)
			c := client(t, server.Out.Line(t))
			c.Say(t, "hi\n")
			require.Equal(t, 1, c.Status(t))
			require.Regexp(t, "^client: the room .*\n$", c.Err.Text())
		})
	}
}

// TestRooms: the client is in several rooms, speaks in the first, and shows in which room
// something is said.
func TestRooms(t *testing.T) {
	for _, args := range [][]string{nil, {"-reconnect"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			_, addr := serve(t, "-rooms", "-codec", "json")
			in := func(name, rooms string) *program.Process {
				return client(t, append(args, "-codec", "json", "-name", name, "-rooms", rooms, addr)...)
			}
			bob := in("bob", "kitchen")
			bob.Err.Expect(t, "joined kitchen as bob, members: 1\n")
			ada := in("ada", "lobby,kitchen")
			ada.Err.Expect(t, "joined kitchen as ada, members: 2\n")
			bob.Say(t, "dinner\n")
			bob.Out.Expect(t, "[kitchen] * ada joined\n")
			ada.Out.Expect(t, "[kitchen] bob: dinner\n")
			ada.Say(t, "in the lobby\n")
			eve := client(t, "-codec", "json", "-name", "eve", addr) // names no rooms
			eve.Err.Expect(t, "joined as eve, members: 2\n")
			ada.Out.Expect(t, "[lobby] * eve joined\n")
			ada.Say(t, "hi eve\n")
			require.Equal(t, "ada: hi eve", eve.Out.Line(t))
			rude := nc(t, addr)
			rude.Say(t, `{"type":"hello","name":"rude"}`+"\n"+`{"type":"rename","name":"bad"}`+"\n")
			eve.Out.Expect(t, "* rude joined\n* rude is now bad\n")
			ada.Out.Expect(t, "[lobby] * rude is now bad\n")
			bob.End()
			require.Zero(t, bob.Status(t))
			ada.Out.Expect(t, "[kitchen] * bob left\n")
			require.NotContains(t, bob.Out.Text(), "lobby")

			odd := in("odd", "Kitchen,lobby")
			odd.Out.Expect(t, "[Kitchen] * not done: invalid name of a room")
			odd.Err.Expect(t, "joined lobby as odd")
		})
	}
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
		{name: "framing", args: "-framing length3 a:1", want: `invalid value "length3" for flag -framing: want one of `},
		{name: "codec", args: "-codec xml a:1", want: `invalid value "xml" for flag -codec: want one of json, raw, text`},
		{name: "name in raw", args: "-codec raw -name ada a:1", want: "-codec raw says no names"},
		{name: "name of text that comes back", args: "-reconnect -name ada a:1", want: "-reconnect with a -name goes with -codec json only"},
		{name: "rooms of text", args: "-rooms lobby a:1", want: "-rooms goes with -codec json only"},
		{name: "offline without coming back", args: "-offline 0 a:1", want: "-offline goes with -reconnect only"},
		{name: "no messages", args: "-max-message 0 a:1", want: "-max-message 0: want a number from 1 to "},
		{name: "no such file", args: "-tls-ca nosuch.pem a:1", want: "-tls-ca: open nosuch.pem: no such file"},
		{name: "no certificate", args: "-tls-ca main.go a:1", want: "-tls-ca: no certificate in main.go"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := client(t, strings.Fields(tt.args)...)
			require.Equal(t, 2, p.Status(t))
			require.True(t, strings.HasPrefix(p.Err.Text(), "client: "+tt.want), "got %q, want %q", p.Err.Text(), tt.want)
			require.Equal(t, 1, strings.Count(p.Err.Text(), "\n"), "one line: %q", p.Err.Text())
		})
	}
}
