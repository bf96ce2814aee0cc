package roomhttp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/internal/testkit"
)

// A wsPeer is a client that writes bytes and reads frames.
type wsPeer struct {
	t  *testing.T
	nc net.Conn
	br *bufio.Reader
}

// dialWS connects to a server of room, and sends first together with the request.
func dialWS(t *testing.T, srv *httptest.Server, protocol string, first ...[]byte) *wsPeer {
	t.Helper()
	return dialWSAt(t, srv, "/ws?name=eve", protocol, first...)
}

func dialWSAt(t *testing.T, srv *httptest.Server, path, protocol string, first ...[]byte) *wsPeer {
	t.Helper()
	nc, err := net.Dial("tcp", srv.Listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	require.NoError(t, nc.SetDeadline(time.Now().Add(20*time.Second)))
	p := &wsPeer{t: t, nc: nc, br: bufio.NewReader(nc)}
	request := "GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Protocol: " + protocol + "\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + goodKey + "\r\n\r\n"
	p.send(append([][]byte{[]byte(request)}, first...)...)
	res, err := http.ReadResponse(p.br, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, res.StatusCode)
	return p
}

func (p *wsPeer) send(frames ...[]byte) {
	p.t.Helper()
	_, err := p.nc.Write(bytes.Join(frames, nil))
	require.NoError(p.t, err)
}

// volatile is what is different in each run.
var volatile = regexp.MustCompile(`"(epoch|id|time|token)":"[^"]*"`)

// next returns the next frame in words, or "FIN".
func (p *wsPeer) next() string {
	p.t.Helper()
	return volatile.ReplaceAllString(p.raw(), `"$1":"?"`)
}

// raw is next with what is different in each run.
func (p *wsPeer) raw() string {
	p.t.Helper()
	var head [2]byte
	if _, err := io.ReadFull(p.br, head[:]); err != nil {
		require.ErrorIs(p.t, err, io.EOF)
		return "FIN"
	}
	size := int(head[1])
	if size == 126 {
		var long [2]byte
		_, err := io.ReadFull(p.br, long[:])
		require.NoError(p.t, err)
		size = int(binary.BigEndian.Uint16(long[:]))
	}
	payload := make([]byte, size)
	_, err := io.ReadFull(p.br, payload)
	require.NoError(p.t, err)
	if head[0] == fin|opText {
		return string(payload)
	}
	said := serverSays(p.t, append(head[:], payload...))
	require.Len(p.t, said, 1)
	return said[0]
}

func (p *wsPeer) expect(want ...string) {
	p.t.Helper()
	for _, w := range want {
		require.Equal(p.t, w, p.next())
	}
}

// serveRoom serves a room over HTTP.
func serveRoom(t *testing.T, room *tcproom.Room) *httptest.Server {
	h := new(Handler)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.serveWS(w, r, room) }))
	t.Cleanup(func() {
		room.Close()
		srv.Close()
	})
	return srv
}

const (
	helloAda   = `{"type":"hello","name":"ada"}`
	welcomeAda = `{"type":"welcome","epoch":"?","seq":1,"id":"?","name":"ada","members":[{"id":"?","name":"ada"}],"total":1}`
)

// TestWSInARoom: a member over WebSocket talks to one in this process.
func TestWSInARoom(t *testing.T) {
	t.Parallel()
	for _, early := range []bool{true, false} {
		room := tcproom.New(tcproom.WithNotices(false))
		srv := serveRoom(t, room)
		bob, err := room.Join(t.Context(), tcproom.Identity{Name: "bob"})
		require.NoError(t, err)
		var p *wsPeer
		if hello := text(helloAda); early {
			p = dialWS(t, srv, "tcproom.json", ping("early"), hello)
		} else {
			p = dialWS(t, srv, "tcproom.json")
			p.send(ping("early"))
			p.send(hello[:3])
			p.send(hello[3:])
		}
		p.expect(`pong "early"`)
		require.Contains(t, p.next(), `"type":"welcome"`)
		p.send(begin(`{"type":"message",`), ping("inside"), more(`"body":`), last(`"hi"}`))
		p.expect(`pong "inside"`)
		for {
			ev, err := bob.Receive(t.Context())
			require.NoError(t, err)
			if ev.Kind == tcproom.Message {
				require.Equal(t, "hi", string(ev.Body))
				break
			}
		}
		require.NoError(t, bob.Send(t.Context(), bytes.Repeat([]byte("x"), 1000)))
		require.Regexp(t, `^\{"type":"message",.*"name":"bob".*"body":"x{1000}"\}$`, p.next())
		p.send(ping("\xff"), text(`{"type":"ping"}`), pong("unasked"))
		p.expect(`pong "\xff"`, `{"type":"pong"}`)
		p.send(closing(code(3000) + "bye"))
		p.expect(`close 3000 ""`, "FIN")
		bob.Close()
	}
}

// TestWSText: the same in text, without a hello.
func TestWSText(t *testing.T) {
	t.Parallel()
	room := tcproom.New(tcproom.WithNotices(false))
	p := dialWS(t, serveRoom(t, room), "tcproom.text", ping("x"), text("hi"))
	p.expect(`pong "x"`)
	p.send(ping("y"))
	p.expect(`pong "y"`)
	_, err := room.Broadcast(t.Context(), []byte("two\nlines"))
	require.NoError(t, err)
	p.expect(`*: two\x0alines`)
	p.send(closing(""))
	p.expect(`close 1000 ""`, "FIN")
}

// TestWSName: a text client names itself in the address, and a room's own handshake
// hook still decides.
func TestWSName(t *testing.T) {
	t.Parallel()
	room := tcproom.New()
	bob, err := room.Join(t.Context(), tcproom.Identity{Name: "bob"})
	require.NoError(t, err)
	dialWS(t, serveRoom(t, room), "tcproom.text")
	ev, err := bob.Receive(t.Context())
	require.NoError(t, err)
	require.Equal(t, "eve", ev.From.Name)

	closed := tcproom.New(tcproom.WithHandshake(func(_ context.Context, n *tcproom.Newcomer) (tcproom.Identity, error) {
		return tcproom.Identity{}, fmt.Errorf("no %s here", n.Hello().Name)
	}))
	p := dialWS(t, serveRoom(t, closed), "tcproom.text")
	p.expect("* goodbye: no eve here", `close 1008 "denied"`, "FIN")
}

// TestWSOptions: TLS is the HTTP server's, whatever the room speaks elsewhere.
func TestWSOptions(t *testing.T) {
	t.Parallel()
	server, _ := testkit.TLS()
	room := tcproom.New(tcproom.WithTLS(server))
	p := dialWS(t, serveRoom(t, room), "tcproom.json", text(helloAda))
	p.expect(welcomeAda)
}

// TestWSEnds: what a peer is sent at its end.
func TestWSEnds(t *testing.T) {
	t.Parallel()
	goodbye := func(code, reason string) string {
		return fmt.Sprintf(`{"type":"goodbye","code":%q,"retry":false,"reason":%q}`, code, reason)
	}
	for _, tt := range []struct {
		name   string
		send   [][]byte
		last   string // event; "": it may be any
		closed string
	}{
		{name: "JSON's goodbye", send: send(text(`{"type":"goodbye"}`)), last: "-", closed: `close 1000 ""`},
		{name: "Close", send: send(closing("")), last: "-", closed: `close 1000 ""`},
		{name: "Close 1001 in a message", send: send(begin("a"), closing(code(1001))), last: "-", closed: `close 1001 ""`},
		{name: "no mask", send: send([]byte("\x81\x00")), last: goodbye("malformed", "read frame: malformed: websocket: a client's frame without a mask"), closed: `close 1002 "malformed"`},
		{name: "binary", send: send(client(fin|opBinary, "x")), last: "", closed: `close 1003 "malformed"`},
		{name: "bad UTF-8", send: send(text("\xff")), last: "", closed: `close 1007 "malformed"`},
		{name: "bad JSON", send: send(text("x")), last: "", closed: `close 1008 "malformed"`},
		{name: "2^63 bytes", send: send([]byte("\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00")), last: "", closed: `close 1009 "too-large"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := dialWS(t, serveRoom(t, tcproom.New()), "tcproom.json", text(helloAda))
			p.expect(welcomeAda)
			p.send(tt.send...)
			switch got := tt.last; got {
			case "-":
			case "":
				require.Contains(t, p.next(), `"type":"goodbye"`)
			default:
				p.expect(tt.last)
			}
			p.expect(tt.closed, "FIN")
		})
	}
	p := dialWS(t, serveRoom(t, tcproom.New()), "tcproom.json", text("GET"))
	require.Contains(t, p.next(), `"type":"refused"`)
	p.expect(`close 1008 "malformed"`, "FIN")

	room := tcproom.New()
	p = dialWS(t, serveRoom(t, room), "tcproom.json", text(helloAda))
	p.expect(welcomeAda)
	for m := range room.Members() {
		m.Kick("go")
	}
	p.expect(goodbye("kicked", "go"), `close 1008 "kicked"`, "FIN")

	room = tcproom.New()
	p = dialWS(t, serveRoom(t, room), "tcproom.json", text(helloAda))
	p.expect(welcomeAda)
	stopped := make(chan error, 1)
	go func() { stopped <- room.Shutdown(t.Context()) }()
	require.Contains(t, p.next(), `"code":"closed"`)
	p.expect(`close 1001 "closed"`, "FIN")
	p.nc.Close()
	require.NoError(t, <-stopped)
}

// TestWSResumes: with sessions a page that is reloaded leaves its member detached, and
// one that says close() does not.
func TestWSResumes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		payload string
		stays   int
	}{{payload: code(1001), stays: 1}, {payload: code(4000), stays: 1}, {payload: code(1000), stays: 0}, {payload: "", stays: 0}} {
		room := tcproom.New(tcproom.WithSessions(tcproom.Sessions{}))
		p := dialWS(t, serveRoom(t, room), "tcproom.json", text(helloAda))
		require.Contains(t, p.next(), `"token":"?"`)
		p.send(closing(tt.payload))
		require.Contains(t, p.next(), "close ")
		p.expect("FIN")
		require.Equal(t, tt.stays, room.Len(), "%q", tt.payload)
	}
}

// TestWSPingInside: a ping between the fragments of a message is answered, whatever the
// message is.
func TestWSPingInside(t *testing.T) {
	t.Parallel()
	inside := func(message, payload string) []byte {
		return bytes.Join([][]byte{begin(message[:3]), ping(payload), last(message[3:])}, nil)
	}
	p := dialWS(t, serveRoom(t, tcproom.New()), "tcproom.json", inside(helloAda, "hello"))
	p.expect(`pong "hello"`, welcomeAda)
	p.send(inside(`{"type":"typing"}`, "not known"))
	p.expect(`pong "not known"`)
	p.send(inside(`{"type":"pong"}`, "pong"))
	p.expect(`pong "pong"`)
	p.send(inside(`{"type":"ping"}`, "ping"))
	p.expect(`pong "ping"`, `{"type":"pong"}`)
	p.send(inside(`{"type":"message","body":"hi"}`, "message"))
	p.expect(`pong "message"`)
	p.send(inside(`{"type":"goodbye"}`, "goodbye"))
	p.expect(`pong "goodbye"`, `close 1000 ""`, "FIN")

	asks := tcproom.WithHandshake(func(ctx context.Context, n *tcproom.Newcomer) (tcproom.Identity, error) {
		name, err := n.Receive(ctx)
		return tcproom.Identity{Name: string(name)}, err
	})
	room := tcproom.New(asks)
	p = dialWS(t, serveRoom(t, room), "tcproom.text", inside("grace", "name"))
	p.expect(`pong "name"`)
	testkit.WaitLen(t, room, 1)
}
