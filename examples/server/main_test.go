//go:build unix

package main

import (
	"bufio"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom/examples/internal/program"
)

func TestMain(m *testing.M) { program.Main(m, ".") }

// serve starts the server and returns its address, which is in its first line.
func serve(t *testing.T, args ...string) (*program.Process, string) {
	t.Helper()
	p := program.Start(t, program.Path("server"), append([]string{"-addr", "127.0.0.1:0"}, args...)...)
	addr, ok := strings.CutPrefix(p.Err.Line(t), "listening on ")
	require.True(t, ok, "the first line says where the server listens")
	return p, addr
}

// nc connects netcat.
func nc(t *testing.T, addr string, args ...string) *program.Process {
	t.Helper()
	host, port := program.Split(t, addr)
	return program.Start(t, program.Installed(t, "nc"), append(args, host, port)...)
}

func TestTwoNetcatsChat(t *testing.T) {
	t.Parallel()
	_, addr := serve(t)
	ada, bob := nc(t, addr), nc(t, addr)
	program.Meet(t, ada, bob)
	ada.Say(t, "hello\n")
	require.Regexp(t, `^guest-[12]: hello$`, bob.Out.Line(t))
	bob.Say(t, "hello yourself\r\n")
	require.Regexp(t, `^guest-[12]: hello yourself$`, ada.Out.Line(t))
	bob.Say(t, "\x1b[2J\xff\n")
	require.Regexp(t, `^guest-[12]: \\x1b\[2J\\xff$`, ada.Out.Line(t))
	eve := nc(t, addr)
	require.Equal(t, "* guest-3 joined", ada.Out.Line(t))
	eve.Signal(t, os.Kill)
	require.Equal(t, "* guest-3 left", ada.Out.Line(t))
	require.NotContains(t, ada.Out.Text(), "hello\n", "no echo")
}

func TestLineThroughAPipe(t *testing.T) {
	t.Parallel()
	_, addr := serve(t)
	watch := nc(t, addr)
	program.Meet(t, watch, nc(t, addr))
	for i := range 20 {
		peer := nc(t, addr, "-N")
		peer.Say(t, "x\n")
		peer.End()
		name := fmt.Sprintf("guest-%d", i+3)
		require.Equal(t, "* "+name+" joined", watch.Out.Line(t))
		require.Equal(t, name+": x", watch.Out.Line(t))
		require.Equal(t, "* "+name+" left", watch.Out.Line(t))
		require.Zero(t, peer.Status(t))
	}
}

func TestSocatChats(t *testing.T) {
	t.Parallel()
	_, addr := serve(t)
	socat := program.Installed(t, "socat")
	ada, bob := program.Start(t, socat, "-", "TCP:"+addr), program.Start(t, socat, "-t30", "-", "TCP:"+addr+",crlf")
	program.Meet(t, ada, bob)
	bob.Say(t, "from socat\n")
	bob.End()
	require.Regexp(t, `^guest-[12]: from socat$`, ada.Out.Line(t))
	require.Regexp(t, `^\* guest-[12] left$`, ada.Out.Line(t))
	require.Zero(t, bob.Status(t))
}

// beginner is what the first tutorial on sockets in Node has.
const beginner = `
const net = require('net')
const socket = net.connect(Number(process.argv.at(-1)), '127.0.0.1')
socket.on('data', (data) => process.stdout.write(data))
socket.on('end', () => process.exit(0))
process.stdin.on('data', (data) => socket.write(data))
process.stdin.on('end', () => socket.end())
`

func TestNodeChats(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string // of what ada receives when bob sends hi
	}{
		{name: "lines of text", want: ": hi\n"},
		{name: "lines of raw", args: []string{"-codec", "raw"}, want: "hi\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, addr := serve(t, tt.args...)
			_, port := program.Split(t, addr)
			node := program.Installed(t, "node")
			ada := program.Start(t, node, "-e", beginner, port)
			bob := nc(t, addr)
			program.Meet(t, ada, bob)
			bob.Say(t, "hi\n")
			ada.Out.Expect(t, tt.want)
			ada.Say(t, "hi\n")
			bob.Out.Expect(t, tt.want)
			ada.End()
			require.Zero(t, ada.Status(t))
		})
	}
}

func TestEveryFraming(t *testing.T) {
	for _, framing := range []string{"lines", "length1", "length2", "length4", "length8", "varint", "netstring", "content-length"} {
		for _, codec := range []string{"text", "raw", "json"} {
			t.Run(framing+"/"+codec, func(t *testing.T) {
				t.Parallel()
				_, addr := serve(t, "-framing", framing, "-codec", codec)
				if codec == "json" {
					programsChat(t, addr, framing)
					return
				}
				ada, bob := program.Peer(t, addr, framing), program.Peer(t, addr, framing)
				program.Meet(t, ada, bob)
				says := map[string]string{"text": "guest-", "raw": ""}[codec]
				long := strings.Repeat("0123456789", 20) // takes two bytes of a varint
				ada.Say(t, long+" a\n")
				bob.Out.Expect(t, says)
				bob.Out.Expect(t, long+" a\n")
				bob.Say(t, long+" b\n")
				ada.Out.Expect(t, says)
				ada.Out.Expect(t, long+" b\n")
			})
		}
	}
}

// programsChat has two peers in Node speak JSON.
func programsChat(t *testing.T, addr, framing string) {
	ada := program.Peer(t, addr, framing)
	ada.Say(t, `{"type":"hello","name":"ada"}`+"\n")
	require.Contains(t, ada.Out.Line(t), `{"type":"welcome",`)
	bob := program.Peer(t, addr, framing)
	bob.Say(t, `{"type":"hello","name":"bob"}`+"\n")
	welcome := bob.Out.Line(t)
	require.Contains(t, welcome, `"name":"ada"`)
	require.Contains(t, welcome, `"total":2`)
	require.Regexp(t, `^{"type":"join".*"name":"bob"`, ada.Out.Line(t))
	ada.Say(t, `{"type":"message","body":"hi"}`+"\n")
	require.Regexp(t, `^{"type":"message".*"name":"ada".*"body":"hi"}$`, bob.Out.Line(t))
	bob.End()
	require.Zero(t, bob.Status(t))
	require.Regexp(t, `^{"type":"leave".*"name":"bob"`, ada.Out.Line(t))
}

func TestAskName(t *testing.T) {
	t.Parallel()
	p, addr := serve(t, "-ask-name")
	const prompt = "*: What is your name?\n"
	ada := nc(t, addr)
	ada.Out.Expect(t, prompt)
	ada.Say(t, "ada\n")
	p.Err.Expect(t, "name=ada") // before bob, whose lines come in a process of their own
	bob := nc(t, addr)
	bob.Out.Expect(t, prompt)
	bob.Say(t, " bob \r\nhi\n") // the second line is a message already
	ada.Out.Expect(t, "* bob joined\nbob: hi\n")
	ada.Say(t, "hi\n")
	bob.Out.Expect(t, "ada: hi\n")

	nameless := nc(t, addr)
	nameless.Out.Expect(t, prompt)
	nameless.Say(t, "\n \n") // an empty line is no message; one of spaces is no name
	ada.Out.Expect(t, "* guest-1 joined\n")
	rude := nc(t, addr, "-N")
	rude.Out.Expect(t, prompt)
	rude.Say(t, "*: a b\n")
	require.Regexp(t, `^\*: invalid name: .*\. What is your name\?$`, rude.Out.Line(t))
	rude.Say(t, "ada\n")
	require.Equal(t, `*: name is taken: "ada". What is your name?`, rude.Out.Line(t))
	rude.End()
	rude.Status(t)
	silent := nc(t, addr, "-N")
	silent.End() // before it has sent anything
	silent.Status(t)
	bob.Say(t, "still here\n")
	require.Equal(t, "bob: still here", ada.Out.Line(t), "no one else was in the room")
}

func TestTLS(t *testing.T) {
	t.Parallel()
	cert, key := program.Certificate(t)
	p, addr := serve(t, "-tls-cert", cert, "-tls-key", key)
	openssl := program.Installed(t, "openssl")
	dial := func() *program.Process {
		return program.Start(t, openssl, "s_client", "-quiet", "-no_ign_eof", "-verify_return_error", "-CAfile", cert, "-connect", addr)
	}
	ada := dial()
	bob := dial()
	program.Meet(t, ada, bob)
	ada.Say(t, "hi\n")
	bob.Out.Expect(t, ": hi\n")

	plain := nc(t, addr, "-N")
	plain.Say(t, "hello?\r\n\r\n")
	plain.End()
	plain.Status(t)
	p.Err.Expect(t, "tcproom: refused")
	p.Err.Expect(t, "wrong door: the room speaks TLS, and the peer does not")
	bob.Say(t, "still here\n")
	require.Regexp(t, `^guest-\d: still here$`, ada.Out.Line(t), "nobody heard of it")
	bob.End()
	ada.Out.Expect(t, " left\n")
}

func TestWrongProtocol(t *testing.T) {
	for _, tt := range []struct{ name, framing, codec string }{
		{name: "lines", framing: "lines", codec: "json"},
		{name: "sizes", framing: "length4", codec: "json"},
		{name: "digits", framing: "netstring", codec: "json"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, addr := serve(t, "-framing", tt.framing, "-codec", tt.codec)
			ada, bob := program.Peer(t, addr, tt.framing), program.Peer(t, addr, tt.framing)
			ada.Say(t, `{"type":"hello"}`+"\n")
			ada.Out.Expect(t, `"welcome"`)
			bob.Say(t, `{"type":"hello"}`+"\n")
			ada.Out.Expect(t, `"join"`)
			ada.Out.Expect(t, "\n")

			http := nc(t, addr, "-N")
			http.Say(t, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
			http.Out.Expect(t, `"type":"refused"`)
			http.End()
			http.Status(t)
			p.Err.Expect(t, "tcproom: refused")

			if tt.framing != "lines" { // a TLS hello need not hold the end of a line
				tls := program.Start(t, program.Installed(t, "openssl"), "s_client", "-connect", addr)
				require.NotZero(t, tls.Status(t))
				p.Err.Expect(t, "tcproom: refused")
			}
			bob.Say(t, `{"type":"message","body":"still here"}`+"\n")
			require.Contains(t, ada.Out.Line(t), "still here", "nobody heard of it")
		})
	}
}

func TestTooLongAMessage(t *testing.T) {
	t.Parallel()
	p, addr := serve(t, "-max-message", "10")
	ada, bob := nc(t, addr), nc(t, addr, "-N")
	program.Meet(t, ada, bob)
	bob.Say(t, "0123456789\n0123456789A\nnever heard\n")
	bob.Out.Expect(t, "* goodbye: ")
	p.Err.Expect(t, "too large")
	require.Contains(t, ada.Out.Line(t), ": 0123456789")
	require.Contains(t, ada.Out.Line(t), " left")
}

func TestFullRoom(t *testing.T) {
	t.Parallel()
	p, addr := serve(t, "-max-members", "1")
	ada := nc(t, addr, "-N")
	p.Err.Expect(t, "tcproom: joined")
	bob := nc(t, addr, "-N")
	bob.Out.Expect(t, "* goodbye: room is full\n")
	bob.End()
	bob.Status(t)
	p.Err.Expect(t, "room is full")
	ada.End()
	require.Zero(t, ada.Status(t))
	p.Err.Expect(t, "tcproom: left")
	eve := nc(t, addr)
	p.Err.Expect(t, "name=guest-2")
	eve.Signal(t, os.Kill)
	require.Empty(t, eve.Out.Text())
}

func TestListeningWhateverLogSays(t *testing.T) {
	for _, tt := range []struct{ log, want string }{
		{log: "text", want: ` msg="tcproom: joined" .* name=guest-[12]`},
		{log: "json", want: `^{.*"msg":"tcproom: joined".*"name":"guest-[12]"`},
		{log: "off", want: "^stopping"},
	} {
		t.Run(tt.log, func(t *testing.T) {
			t.Parallel()
			p, addr := serve(t, "-log", tt.log)
			ada, bob := nc(t, addr), nc(t, addr)
			program.Meet(t, ada, bob)
			p.Signal(t, os.Interrupt)
			require.Regexp(t, tt.want, p.Err.Line(t))
			require.Zero(t, p.Status(t))
		})
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	p, addr := serve(t)
	ada, bob := nc(t, addr), nc(t, addr)
	program.Meet(t, ada, bob)
	var lines strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&lines, "line %d\n", i)
	}
	ada.Say(t, lines.String()+"the last\n")
	bob.Out.Expect(t, ": the last\n")
	p.Signal(t, os.Interrupt)
	ada.Out.Expect(t, "* goodbye: room closed\n")
	bob.Out.Expect(t, "* goodbye: room closed\n")
	p.Err.Expect(t, "stopped, members cut: 0\n")
	require.Zero(t, p.Status(t))
	_, err := net.Dial("tcp", addr)
	require.Error(t, err)
}

func TestHistory(t *testing.T) {
	t.Parallel()
	_, addr := serve(t, "-history", "2")
	ada, bob := nc(t, addr), nc(t, addr)
	program.Meet(t, ada, bob)
	for _, line := range []string{"one\n", "two\n", "three\n"} {
		ada.Say(t, line)
		bob.Out.Expect(t, line)
	}
	eve := nc(t, addr)
	require.Regexp(t, `^- \d{4}-\d\d-\d\d \d\d:\d\d guest-[12]: two$`, eve.Out.Line(t))
	require.Regexp(t, `^- \d{4}-\d\d-\d\d \d\d:\d\d guest-[12]: three$`, eve.Out.Line(t))
}

// lag connects a member whose connection takes next to nothing, and sends so much
// that the member cannot have taken it.
func lag(t *testing.T, addr string) net.Conn {
	t.Helper()
	// The buffer must be small from the start, so that what the member takes
	// shows at the other end at once.
	small := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var setErr error
		err := raw.Control(func(fd uintptr) {
			setErr = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10)
		})
		return cmp.Or(err, setErr)
	}}
	slow, err := small.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { slow.Close() })
	ada, bob := nc(t, addr), nc(t, addr)
	program.Meet(t, ada, bob)
	line := strings.Repeat("x", 60_000) + "\n"
	for range 300 {
		ada.Say(t, line)
	}
	ada.Say(t, "the last\n")
	bob.Out.Expect(t, ": the last\n")
	return slow
}

// trickle reads a little at a time, until the end.
func trickle(conn net.Conn) {
	buf := make([]byte, 2<<10)
	for {
		if _, err := conn.Read(buf); err != nil {
			return
		}
		time.Sleep(10 * time.Millisecond) // a peer's slowness: nothing waits for it
	}
}

const bigBacklog = "67108864"

func TestDrainCutsWhoDoesNotRead(t *testing.T) {
	t.Parallel()
	p, addr := serve(t, "-backlog", bigBacklog)
	lag(t, addr)
	p.Signal(t, os.Interrupt)
	p.Err.Expect(t, "stopped, members cut: 1\n")
	require.Zero(t, p.Status(t))
}

func TestDrainEndsAfterTenSeconds(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	t.Parallel()
	p, addr := serve(t, "-backlog", bigBacklog)
	slow := lag(t, addr)
	go trickle(slow)
	began := time.Now()
	p.Signal(t, os.Interrupt)
	p.Err.Expect(t, "stopped, members cut: 1\n")
	require.Zero(t, p.Status(t))
	require.Greater(t, time.Since(began), 9*time.Second, "who reads is waited for")
}

func TestSecondInterruptEndsAtOnce(t *testing.T) {
	t.Parallel()
	p, addr := serve(t, "-backlog", bigBacklog)
	slow := lag(t, addr)
	go trickle(slow)
	p.Signal(t, os.Interrupt)
	p.Err.Expect(t, "stopping, ")
	p.Signal(t, os.Interrupt)
	require.Equal(t, 1, p.Status(t))
	require.NotContains(t, p.Err.Text(), "stopped")
}

// page returns the address of the page, which is in the server's second line.
func page(t *testing.T, p *program.Process) string {
	t.Helper()
	url, ok := strings.CutPrefix(p.Err.Line(t), "open ")
	require.True(t, ok, "the second line says where the page is")
	require.True(t, strings.HasSuffix(url, "/"))
	return url
}

// get returns what is at an address.
func get(t *testing.T, client *http.Client, url string) (header http.Header, body string) {
	t.Helper()
	res, err := client.Get(url)
	require.NoError(t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, res.StatusCode)
	return res.Header, string(b)
}

// A browser is what a page does, byte by byte.
type browser struct {
	nc      net.Conn
	br      *bufio.Reader
	welcome string
}

// browse joins by WebSocket at the address of the page.
func browse(t *testing.T, page, name string) *browser {
	t.Helper()
	addr := strings.TrimSuffix(strings.TrimPrefix(page, "http://"), "/")
	nc, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	require.NoError(t, nc.SetDeadline(time.Now().Add(30*time.Second)))
	_, err = fmt.Fprintf(nc, "GET /ws HTTP/1.1\r\nHost: %s\r\nOrigin: http://%[1]s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: tcproom.json\r\n\r\n", addr)
	require.NoError(t, err)
	b := &browser{nc: nc, br: bufio.NewReader(nc)}
	res, err := http.ReadResponse(b.br, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, res.StatusCode)
	b.say(t, fmt.Sprintf(`{"type":"hello","name":%q}`, name))
	b.welcome = b.event(t)
	require.Contains(t, b.welcome, `"type":"welcome"`)
	return b
}

// say sends a short text message, with a mask of zeros.
func (b *browser) say(t *testing.T, text string) {
	t.Helper()
	_, err := io.WriteString(b.nc, string([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0})+text)
	require.NoError(t, err)
}

// event returns the next message, or the reason of a Close.
func (b *browser) event(t *testing.T) string {
	t.Helper()
	var head [2]byte
	_, err := io.ReadFull(b.br, head[:])
	require.NoError(t, err)
	size := int(head[1])
	if size == 126 {
		var long [2]byte
		_, err := io.ReadFull(b.br, long[:])
		require.NoError(t, err)
		size = int(binary.BigEndian.Uint16(long[:]))
	}
	payload := make([]byte, size)
	_, err = io.ReadFull(b.br, payload)
	require.NoError(t, err)
	return string(payload)
}

// TestBrowserAndNetcat: they talk, at two ports and at one, and leave with the server.
func TestBrowserAndNetcat(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
	}{
		{name: "two ports", args: []string{"-http", "127.0.0.1:0"}},
		{name: "one port", args: []string{"-one-port"}},
		{name: "with -ask-name", args: []string{"-http", "127.0.0.1:0", "-ask-name"}},
		{name: "with rooms", args: []string{"-http", "127.0.0.1:0", "-rooms", "-ask-name"}},
		{name: "with rooms at one port", args: []string{"-one-port", "-rooms", "-ask-name"}},
		{name: "with sizes", args: []string{"-http", "127.0.0.1:0", "-framing", "varint", "-sessions"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, addr := serve(t, tt.args...)
			url := page(t, p)
			header, body := get(t, http.DefaultClient, url)
			require.Contains(t, body, "<!doctype html>")
			require.Empty(t, header.Get("Strict-Transport-Security"))
			_, script := get(t, http.DefaultClient, url+"chat.js")
			require.Contains(t, script, "class Room")

			ada := browse(t, url, "ada")
			bob := program.Peer(t, addr, framingOf(tt.args))
			bob.Say(t, "bob\nhi\n")
			for !strings.Contains(ada.event(t), `"body":"hi"`) {
			}
			ada.say(t, `{"type":"message","body":"hello"}`)
			bob.Out.Expect(t, "ada: hello\n")
			p.Signal(t, os.Interrupt)
			bob.Out.Expect(t, "* goodbye: room closed\n")
			for !strings.Contains(ada.event(t), `"type":"goodbye"`) {
			}
			require.Equal(t, "\x03\xe9closed", ada.event(t))
			ada.nc.Close()
			p.Err.Expect(t, "stopped, members cut: 0\n")
			require.Zero(t, p.Status(t))
		})
	}
}

// TestPagesAsDocumented: what docs/http.md does first works, and pages find what was said
// before they came, unless flags say something else.
func TestPagesAsDocumented(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name              string
		args              []string
		history, sessions bool
	}{
		{name: "two ports", args: []string{"-http", "127.0.0.1:0"}, history: true, sessions: true},
		{name: "one port", args: []string{"-one-port"}, history: true, sessions: true},
		{name: "without", args: []string{"-http", "127.0.0.1:0", "-history", "0", "-sessions=false"}},
		{name: "raw", args: []string{"-http", "127.0.0.1:0", "-codec", "raw"}, sessions: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, _ := serve(t, append(tt.args, "-hosts", "chat.example, b.example")...)
			url := page(t, p)
			res, err := http.Post(url+"rooms/lobby/messages", "text/plain", strings.NewReader("hello from curl"))
			require.NoError(t, err)
			res.Body.Close()
			require.Equal(t, http.StatusCreated, res.StatusCode)
			for host, want := range map[string]int{"chat.example": 200, "b.example": 200, "evil.example": 421} {
				r, err := http.NewRequest("GET", url, nil)
				require.NoError(t, err)
				r.Host = host
				res, err := http.DefaultClient.Do(r)
				require.NoError(t, err)
				res.Body.Close()
				require.Equal(t, want, res.StatusCode, host)
			}
			_, body := get(t, http.DefaultClient, url+"rooms/lobby/messages")
			require.Equal(t, tt.history, strings.Contains(body, "hello from curl"))
			require.Equal(t, tt.sessions, strings.Contains(browse(t, url, "ada").welcome, `"token":`))
		})
	}
}

// framingOf returns what follows -framing.
func framingOf(args []string) string {
	if i := slices.Index(args, "-framing"); i >= 0 {
		return args[i+1]
	}
	return "lines"
}

// serveHTTPS starts the server with a certificate, and returns the address of the page
// and a client that speaks HTTP/2.
func serveHTTPS(t *testing.T) (p *program.Process, url string, client *http.Client) {
	t.Helper()
	cert, key := program.Certificate(t)
	p, _ = serve(t, "-http", "127.0.0.1:0", "-tls-cert", cert, "-tls-key", key)
	url = page(t, p)
	pem, err := os.ReadFile(cert)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(pem))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return p, url, &http.Client{Transport: transport}
}

// TestStopTellsReaders: readers of events over HTTP/2 get the last of them too.
func TestStopTellsReaders(t *testing.T) {
	for range 4 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			p, url, client := serveHTTPS(t)
			var all []io.Reader
			for range 20 {
				res, err := client.Get(url + "rooms/lobby/events")
				require.NoError(t, err)
				defer res.Body.Close()
				require.Equal(t, 2, res.ProtoMajor)
				events := bufio.NewReader(res.Body)
				for line := ""; !strings.Contains(line, `"welcome"`); {
					line, err = events.ReadString('\n')
					require.NoError(t, err)
				}
				all = append(all, events)
			}
			p.Signal(t, os.Interrupt)
			for _, events := range all {
				said, err := io.ReadAll(events)
				require.NoError(t, err)
				require.Contains(t, string(said), `"goodbye"`)
			}
			p.Err.Expect(t, "stopped, members cut: 0\n")
			require.Zero(t, p.Status(t))
		})
	}
}

func TestHTTPS(t *testing.T) {
	t.Parallel()
	_, url, client := serveHTTPS(t)
	header, body := get(t, client, url)
	require.Contains(t, body, "<!doctype html>")
	require.Equal(t, "max-age=31536000", header.Get("Strict-Transport-Security"))
}

func TestHTTPPortInUse(t *testing.T) {
	t.Parallel()
	_, addr := serve(t)
	p := program.Start(t, program.Path("server"), "-addr", "127.0.0.1:0", "-http", addr)
	require.Equal(t, 1, p.Status(t))
	require.Contains(t, p.Err.Text(), fmt.Sprintf("server: listen tcp %s: bind: address already in use\n", addr))
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	_, addr := serve(t)
	p := program.Start(t, program.Path("server"), "-addr", addr)
	require.Equal(t, 1, p.Status(t))
	require.Equal(t, fmt.Sprintf("server: listen tcp %s: bind: address already in use\n", addr), p.Err.Text())
}

func TestBadFlags(t *testing.T) {
	cert, key := program.Certificate(t)
	for _, tt := range []struct {
		name string
		args string
		want string
	}{
		{name: "unknown flag", args: "-port 9000", want: "flag provided but not defined: -port"},
		{name: "argument", args: "localhost:9000", want: `unexpected argument "localhost:9000"`},
		{name: "address without port", args: "-addr localhost", want: "-addr: address localhost: missing port in address"},
		{name: "address with a bad port", args: "-addr localhost:99999", want: "-addr: address 99999: invalid port"},
		{name: "codec", args: "-codec xml", want: `invalid value "xml" for flag -codec: want one of json, raw, text`},
		{name: "slow", args: "-slow drop", want: `invalid value "drop" for flag -slow: want one of block, disconnect, skip`},
		{name: "log", args: "-log loud", want: `invalid value "loud" for flag -log: want one of json, off, text`},
		{name: "names in raw", args: "-codec raw -ask-name", want: "-ask-name goes with -codec text only"},
		{name: "rooms in raw", args: "-codec raw -rooms", want: "-rooms goes with -codec text or json: raw names no rooms"},
		{name: "sessions of text", args: "-sessions", want: "-sessions goes with -codec json, -http or -one-port only"},
		{name: "grace alone", args: "-grace 1s", want: "-grace goes with -sessions only"},
		{name: "no grace", args: "-codec json -sessions -grace 0s", want: "-grace 0s is not positive"},
		{name: "history in raw", args: "-codec raw -history 5", want: "-history goes with -codec text or json"},
		{name: "negative history", args: "-history -1", want: `invalid value "-1" for flag -history`},
		{name: "skip in raw", args: "-codec raw -slow skip", want: "-slow skip goes with -codec text or json"},
		{name: "wait alone", args: "-max-wait 1s", want: "-max-wait goes with -slow block only"},
		{name: "negative wait", args: "-slow block -max-wait -1s", want: "-max-wait -1s is not positive"},
		{name: "no wait", args: "-slow block -max-wait 0s", want: "-max-wait 0s is not positive"},
		{name: "wait without unit", args: "-max-wait 5", want: `invalid value "5" for flag -max-wait`},
		{name: "negative backlog", args: "-backlog -1", want: `invalid value "-1" for flag -backlog: want a number from 0 to `},
		{name: "huge message", args: "-max-message 99999999999", want: `invalid value "99999999999" for flag -max-message`},
		{name: "members in words", args: "-max-members many", want: `invalid value "many" for flag -max-members`},
		{name: "page without port", args: "-http localhost", want: "-http: address localhost: missing port in address"},
		{name: "hosts without page", args: "-hosts chat.example", want: "-hosts goes with -http or -one-port only"},
		{name: "one port and two", args: "-one-port -http localhost:0", want: "-one-port goes without -http"},
		{name: "one port with TLS", args: "-one-port -tls-cert " + cert + " -tls-key " + key, want: "-one-port goes without TLS"},
		{name: "certificate alone", args: "-tls-cert " + cert, want: "-tls-cert and -tls-key go together"},
		{name: "key alone", args: "-tls-key " + key, want: "-tls-cert and -tls-key go together"},
		{name: "no such file", args: "-tls-cert nosuch.pem -tls-key " + key, want: "-tls-cert, -tls-key: open nosuch.pem: no such file"},
		{name: "key for certificate", args: "-tls-cert " + key + " -tls-key " + key, want: "-tls-cert, -tls-key: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := program.Start(t, program.Path("server"), strings.Fields(tt.args)...)
			require.Equal(t, 2, p.Status(t))
			require.True(t, strings.HasPrefix(p.Err.Text(), "server: "+tt.want), "got %q, want %q", p.Err.Text(), tt.want)
			require.Equal(t, 1, strings.Count(p.Err.Text(), "\n"), "one line: %q", p.Err.Text())
			require.Empty(t, p.Out.Text())
		})
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	p := program.Start(t, program.Path("server"), "-help")
	require.Zero(t, p.Status(t))
	for name := range strings.FieldsSeq("addr framing codec slow max-wait backlog max-message max-members ask-name rooms history sessions grace http hosts one-port tls-cert tls-key log") {
		require.Contains(t, p.Err.Text(), "\n  -"+name)
	}
}
