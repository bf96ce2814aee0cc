package roomhttp

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/internal/sock"
	"example.com/tcproom/internal/testkit"
	"example.com/tcproom/roomtest"
)

// TestRequestIn: which first bytes begin a request.
func TestRequestIn(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		data string
		want destination
	}{
		{"GET / HTTP/1.1\r\n", toHTTP},
		{"POST /rooms/lobby/messages?a=b HTTP/1.0\n", toHTTP},
		{"OPTIONS * HTTP/1.1\r\n", toHTTP},
		{"CONNECT host:443 HTTP/1.1\r\n", toHTTP},
		{"PROPPATCH http://host/ HTTP/1.1\r\n", toHTTP},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", toHTTP},
		{"ABCDEFGHIJKLMNOP / HTTP/", toHTTP},
		{"GET " + strings.Repeat("/", 1000), likelyHTTP},
		{"", unknown},
		{"ABCDEFGHIJKLMNOP", unknown},
		{"ABCDEFGHIJKLMNOPQ", toRoom},
		{"AB / HTTP/1.1", toRoom},
		{"get / HTTP/1.1", toRoom},
		{"GET\r\n", toRoom},
		{"GET  / HTTP/1.1", toRoom},
		{"GET /\r\n", toRoom},
		{"GET / HTML", toRoom},
		{"GET some milk\n", toRoom},
		{"LOL\n", toRoom},
		{"PLEASE help\n", toRoom},
		{"WAS für ein Tag", toRoom},
		{`{"type":"hello"}`, toRoom},
		{"\x00\x00\x00\x10", toRoom},
		{"\x16\x03\x01", toRoom},
		{"\n", toRoom},
	} {
		require.Equal(t, tt.want, requestIn([]byte(tt.data)), "%q", tt.data)
		for i := range tt.data { // that more can come changes nothing that is certain
			switch got := requestIn([]byte(tt.data[:i])); got {
			case unknown, likelyHTTP:
			default:
				require.Equal(t, tt.want, got, "%q", tt.data[:i])
			}
		}
	}
}

// A onePort is a room and a server at one port in memory.
type onePort struct {
	t      *testing.T
	room   *tcproom.Room
	srv    *http.Server
	door   *tcproom.Door
	net    roomtest.Network
	l      *roomtest.Listener
	served chan error
}

// newOnePort serves until the end of the test. The bubble sees that nothing is left.
func newOnePort(t *testing.T, opts ...tcproom.RoomOption) *onePort {
	p := &onePort{t: t, room: tcproom.New(opts...), served: make(chan error, 1)}
	p.srv = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %q %v", r.Method, r.URL, body, err)
	})}
	var err error
	p.door, err = p.room.Door()
	require.NoError(t, err)
	p.l, err = p.net.Listen("")
	require.NoError(t, err)
	go func() { p.served <- Serve(p.l, p.srv, p.door) }()
	synctest.Wait()
	t.Cleanup(func() {
		p.srv.Close()
		p.room.Close()
		<-p.room.Done()
	})
	return p
}

func (p *onePort) dial() net.Conn {
	p.t.Helper()
	nc, err := p.net.Dial(p.t.Context(), "tcp", p.l.Addr().String())
	require.NoError(p.t, err)
	p.t.Cleanup(func() { nc.Close() })
	synctest.Wait()
	return nc
}

func (p *onePort) send(nc net.Conn, what string) {
	p.t.Helper()
	_, err := io.WriteString(nc, what)
	require.NoError(p.t, err)
	synctest.Wait()
}

// came returns how many connections the room was given.
func (p *onePort) came() uint64 {
	s := p.room.Stats()
	return s.Joined + s.Refused + uint64(s.Pending)
}

// answered returns the body of the answer that nc receives.
func (p *onePort) answered(nc net.Conn) string {
	p.t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(nc), nil)
	require.NoError(p.t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(p.t, err)
	require.Equal(p.t, http.StatusOK, res.StatusCode, "%s", body)
	return string(body)
}

const postRequest = "POST /x HTTP/1.1\r\nHost: chat.example\r\nContent-Length: 3\r\n\r\nabc"

// TestOnePortHTTP: a request comes whole, wherever it was cut.
func TestOnePortHTTP(t *testing.T) {
	testkit.Bubble("cut", t, func(t *testing.T) {
		p := newOnePort(t)
		for i := range postRequest {
			nc := p.dial()
			p.send(nc, postRequest[:i])
			p.send(nc, postRequest[i:])
			require.Equal(t, `POST /x "abc" <nil>`, p.answered(nc), i)
			p.send(nc, postRequest) // the next on the same connection
			require.Equal(t, `POST /x "abc" <nil>`, p.answered(nc), i)
			nc.Close()
		}
		require.Zero(t, p.came())
	})
	for _, tt := range []struct{ name, first string }{
		{"slow", "GET /lo"},
		{"long", "GET /" + strings.Repeat("x", 2*lookBuffer)},
	} {
		testkit.Bubble(tt.name, t, func(t *testing.T) {
			p := newOnePort(t)
			nc := p.dial()
			p.send(nc, tt.first)
			time.Sleep(2 * lookTime)
			p.send(nc, " HTTP/1.1\r\nHost: chat.example\r\n\r\n")
			require.Equal(t, tt.first+` "" <nil>`, p.answered(nc))
		})
	}
}

// TestOnePortRoom: what is no request is the room's, with all that was read; and who
// sends nothing, after a while.
func TestOnePortRoom(t *testing.T) {
	testkit.Bubble("silent", t, func(t *testing.T) {
		p := newOnePort(t)
		p.dial()
		time.Sleep(lookTime - time.Nanosecond)
		synctest.Wait()
		require.Zero(t, p.room.Len())
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		require.Equal(t, 1, p.room.Len())
	})
	testkit.Bubble("speaks", t, func(t *testing.T) {
		p := newOnePort(t)
		bob, err := p.room.Join(t.Context(), tcproom.Identity{Name: "bob"})
		require.NoError(t, err)
		for _, first := range []string{"hi", "GET some milk", "WHO IS THERE"} {
			for i := range len(first) + 1 {
				nc := p.dial()
				p.send(nc, first[:i])
				p.send(nc, first[i:]+"\n")
				require.Equal(t, first, nextMessage(t, bob))
				nc.Close()
			}
		}
		bob.Close()
	})
	for _, half := range []string{"hi\nLOL", "LOL", "GET /", ""} {
		testkit.Bubble("end after "+half, t, func(t *testing.T) {
			p := newOnePort(t)
			nc := p.dial()
			p.send(nc, half)
			require.NoError(t, nc.(*roomtest.Conn).CloseWrite())
			synctest.Wait()
			require.NotZero(t, p.came(), "at once, and not as a request")
		})
	}
	testkit.Bubble("reset", t, func(t *testing.T) {
		p := newOnePort(t)
		nc := p.dial()
		p.send(nc, "GE")
		nc.(*roomtest.Conn).Reset()
		synctest.Wait()
		require.Zero(t, p.came())
	})
	testkit.Bubble("TLS", t, func(t *testing.T) { // without a certificate it is nothing for the server
		p := newOnePort(t)
		nc := p.dial()
		p.send(nc, "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03")
		end, err := io.ReadAll(nc)
		require.NoError(t, err)
		require.Contains(t, string(end), "TLS at a plain port")
	})
}

// TestOnePortLateRequest: a browser that had connected in advance can send its request
// again, because it gets no answer that is none of HTTP.
func TestOnePortLateRequest(t *testing.T) {
	for _, tt := range []struct {
		name  string
		opts  []tcproom.RoomOption
		told  string // before the request
		want  string // all that it receives
		joins uint64
	}{
		{name: "Text", joins: 1},
		{name: "JSON", opts: []tcproom.RoomOption{tcproom.WithCodec(tcproom.JSON{})}},
		{name: "no longer a browser", told: "hi", want: "*: hi\n* goodbye: wrong door: HTTP at the chat port\n", joins: 1},
	} {
		testkit.Bubble(tt.name, t, func(t *testing.T) {
			p := newOnePort(t, tt.opts...)
			nc := p.dial()
			time.Sleep(lookTime)
			synctest.Wait()
			if tt.told != "" {
				testkit.Broadcast(t, p.room, []byte(tt.told))
			}
			synctest.Wait()
			p.send(nc, postRequest)
			got, err := io.ReadAll(nc)
			require.NoError(t, err)
			require.Equal(t, tt.want, string(got))
			nc.Close()
			synctest.Wait()
			require.Equal(t, tt.joins, p.room.Stats().Joined)
		})
	}
}

func nextMessage(t *testing.T, c *tcproom.Conn) string {
	t.Helper()
	for {
		ev, err := c.Receive(t.Context())
		require.NoError(t, err)
		if ev.Kind == tcproom.Message {
			return string(ev.Body)
		}
	}
}

// TestOnePortEnds: what ends Serve, what it returns, and that connections that nobody
// has yet are closed.
func TestOnePortEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(p *onePort)
		want error
	}{
		{"listener", func(p *onePort) { p.l.Close() }, net.ErrClosed},
		{"Shutdown of the server", func(p *onePort) { require.NoError(p.t, p.srv.Shutdown(p.t.Context())) }, http.ErrServerClosed},
		{"Close of the server", func(p *onePort) { p.srv.Close() }, http.ErrServerClosed},
		{"door", func(p *onePort) { p.door.Close() }, net.ErrClosed},
		{"Shutdown of the room", func(p *onePort) { require.NoError(p.t, p.room.Shutdown(p.t.Context())) }, tcproom.ErrRoomClosed},
		{"Close of the room", func(p *onePort) { p.room.Close() }, tcproom.ErrRoomClosed},
	} {
		testkit.Bubble(tt.name, t, func(t *testing.T) {
			p := newOnePort(t)
			silent, begun := p.dial(), p.dial()
			p.send(begun, "GE")
			tt.end(p)
			require.ErrorIs(t, <-p.served, tt.want)
			for _, nc := range []net.Conn{silent, begun} {
				_, err := nc.Read(make([]byte, 1))
				require.Error(t, err)
			}
			_, err := p.net.Dial(t.Context(), "tcp", p.l.Addr().String())
			require.ErrorIs(t, err, syscall.ECONNREFUSED)
			require.Zero(t, p.came())
			require.ErrorIs(t, Serve(p.l, p.srv, p.door), tt.want, "at once")
		})
	}
}

// TestOnePortMembersStay: who has come by the port outlives it.
func TestOnePortMembersStay(t *testing.T) {
	testkit.Bubble("", t, func(t *testing.T) {
		p := newOnePort(t)
		nc := p.dial()
		p.send(nc, "hi\n")
		require.NoError(t, p.srv.Shutdown(t.Context()))
		require.ErrorIs(t, <-p.served, http.ErrServerClosed)
		_, err := p.room.Broadcast(t.Context(), []byte("still here"))
		require.NoError(t, err)
		line, err := bufio.NewReader(nc).ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "*: still here\n", line)
	})
}

// TestOnePortManySilent: more silent peers than are looked at hold nobody up, and the
// room's limits are for them.
func TestOnePortManySilent(t *testing.T) {
	testkit.Bubble("", t, func(t *testing.T) {
		const most = 10
		p := newOnePort(t, tcproom.WithMaxPerAddress(most))
		for range maxLooks {
			p.dial()
		}
		require.Zero(t, p.room.Len())
		nc := p.dial()
		require.Equal(t, 1, p.room.Len(), "the one that has waited longest")
		p.send(nc, postRequest)
		require.Equal(t, `POST /x "abc" <nil>`, p.answered(nc))
		time.Sleep(lookTime)
		synctest.Wait()
		require.Equal(t, most, p.room.Len())
		require.EqualValues(t, maxLooks-most, p.room.Stats().Refused)
	})
}

// TestOnePortRoomHoldsUp: while the room takes no connections at once, because hooks do
// not return, HTTP is served.
func TestOnePortRoomHoldsUp(t *testing.T) {
	testkit.Bubble("", t, func(t *testing.T) {
		stuck := make(chan struct{})
		p := newOnePort(t, tcproom.WithMaxPerAddress(1), tcproom.OnReject(func(*tcproom.Newcomer, error) { <-stuck }))
		for range 3 {
			for range maxLooks {
				p.dial()
			}
			time.Sleep(lookTime)
			synctest.Wait()
			require.Equal(t, 1, p.room.Len())
			nc := p.dial()
			p.send(nc, postRequest)
			require.Equal(t, `POST /x "abc" <nil>`, p.answered(nc))
		}
		require.Less(t, p.room.Stats().Refused, uint64(2*maxLooks), "those beyond are closed, and nobody is told")
		p.room.Close()
		require.ErrorIs(t, <-p.served, tcproom.ErrRoomClosed)
		close(stuck)
	})
}

// TestOnePortAcceptFails: errors of accepting that pass are waited out.
func TestOnePortAcceptFails(t *testing.T) {
	testkit.Bubble("", t, func(t *testing.T) {
		p := newOnePort(t)
		p.l.FailAccept(syscall.EMFILE, 3)
		nc := p.dial()
		p.send(nc, postRequest)
		require.Equal(t, `POST /x "abc" <nil>`, p.answered(nc))
		failed := errors.New("failed")
		p.l.FailAccept(failed, 1)
		require.ErrorIs(t, <-p.served, failed)
	})
}

// serveOnePort serves h and room on loopback.
func serveOnePort(t *testing.T, room *tcproom.Room, srv *http.Server) string {
	door, err := room.Door()
	require.NoError(t, err)
	l := testkit.Listen(t, "tcp")
	served := make(chan error, 1)
	go func() { served <- Serve(l, srv, door) }()
	t.Cleanup(func() {
		srv.Close()
		require.ErrorIs(t, <-served, http.ErrServerClosed)
		room.Close()
		testkit.WaitDone(t, room)
	})
	return l.Addr().String()
}

// upgradeTo sends a request for an upgrade and first in one piece, and returns the
// connection once it is upgraded.
func upgradeTo(t *testing.T, addr, first string) (net.Conn, *bufio.Reader) {
	t.Helper()
	nc := testkit.DialRaw(t, addr)
	request := "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Protocol: tcproom.text\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + goodKey + "\r\n\r\n"
	_, err := nc.Write([]byte(request + first))
	require.NoError(t, err)
	br := bufio.NewReader(nc)
	res, err := http.ReadResponse(br, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, res.StatusCode)
	return nc, br
}

// TestOnePortUpgradeIsRaw: after an upgrade the room has the socket itself, and all that
// was read from it.
func TestOnePortUpgradeIsRaw(t *testing.T) {
	testkit.CheckGoroutines(t)
	d := newDoorman(t, config{})
	upgradeTo(t, serveOnePort(t, tcproom.New(), &http.Server{Handler: d}), "and more")
	u := d.next(t)
	require.IsType(t, (*net.TCPConn)(nil), u.nc)
	require.Equal(t, "and more", string(u.arrival.Read))
}

// TestUpgradeOfABegunConn: what the server has not read of it yet comes after what it
// has.
func TestUpgradeOfABegunConn(t *testing.T) {
	t.Parallel()
	nc, peer := net.Pipe()
	defer nc.Close()
	defer peer.Close()
	go io.Copy(io.Discard, peer) // ends with peer
	w := &buffered{ResponseWriter: nil, nc: &begun{nc, []byte("two, three")}}
	var u upgrade
	require.True(t, u.take(w) && u.answer())
	require.Equal(t, nc, u.nc)
	require.Equal(t, "one, two, three", string(u.arrival.Read))
}

// buffered is a ResponseWriter whose server has read something.
type buffered struct {
	http.ResponseWriter
	nc net.Conn
}

func (*buffered) Header() http.Header { return http.Header{} }

func (b *buffered) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	br := bufio.NewReader(io.MultiReader(strings.NewReader("one, "), b.nc))
	_, err := br.Peek(1)
	return b.nc, bufio.NewReadWriter(br, bufio.NewWriter(b.nc)), err
}

// TestOnePortQuietMembersHaveNoGoroutine: a member over WebSocket costs at one port
// what it does at one of its own, with the heartbeat that it has by default.
func TestOnePortQuietMembersHaveNoGoroutine(t *testing.T) {
	if !sock.Direct || runtime.GOOS != "linux" {
		t.Skip("here each has a goroutine")
	}
	room := tcproom.New(tcproom.WithNotices(false))
	addr := serveOnePort(t, room, &http.Server{Handler: New(One("lobby", room))})
	_, br := upgradeTo(t, addr, "")
	readers := []*bufio.Reader{br}
	testkit.WaitLen(t, room, 1)
	before := runtime.NumGoroutine()
	for range 20 {
		_, br := upgradeTo(t, addr, "")
		readers = append(readers, br)
		readers = append(readers, bufio.NewReader(testkit.DialRaw(t, addr)))
	}
	testkit.WaitLen(t, room, len(readers))
	testkit.Eventually(t, "no goroutine more", func() bool { return runtime.NumGoroutine() <= before })
	testkit.Broadcast(t, room, []byte("hi"))
	for _, br := range readers {
		got := make([]byte, len("*: hi"))
		_, err := br.Peek(1)
		require.NoError(t, err)
		if b, _ := br.Peek(1); b[0] == fin|opText {
			br.Discard(2)
		}
		_, err = io.ReadFull(br, got)
		require.NoError(t, err)
		require.Equal(t, "*: hi", string(got))
	}
}

// TestOnePortHTTPS: with a certificate of the server's, TLS is HTTPS; the room and HTTP
// stay as they are.
func TestOnePortHTTPS(t *testing.T) {
	testkit.CheckGoroutines(t)
	server, client := testkit.TLS()
	room := tcproom.New(tcproom.WithNotices(false))
	h := New(One("lobby", room))
	server = server.Clone()
	server.NextProtos = []string{"h2", "http/1.1"}
	srv := &http.Server{TLSConfig: server, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ws" {
			h.ServeHTTP(w, r)
			return
		}
		fmt.Fprintln(w, r.ProtoMajor, r.TLS != nil)
	})}
	addr := serveOnePort(t, room, srv)
	get := func(scheme string, http2 bool) string {
		tr := &http.Transport{TLSClientConfig: client.Clone(), ForceAttemptHTTP2: http2}
		defer tr.CloseIdleConnections()
		res, err := (&http.Client{Transport: tr}).Get(scheme + "://" + addr)
		require.NoError(t, err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return string(body)
	}
	require.Equal(t, "2 true\n", get("https", true))
	require.Equal(t, "1 true\n", get("https", false))
	require.Equal(t, "1 false\n", get("http", false))

	nc := testkit.DialRaw(t, addr)
	_, err := io.WriteString(nc, "\n")
	require.NoError(t, err)
	testkit.WaitLen(t, room, 1)
	config := client.Clone()
	config.ServerName = "localhost"
	secure, err := tls.Dial("tcp", addr, config)
	require.NoError(t, err)
	defer secure.Close()
	_, err = io.WriteString(secure, "GET /ws HTTP/1.1\r\nHost: chat.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Protocol: tcproom.text\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "+goodKey+"\r\n\r\n")
	require.NoError(t, err)
	_, err = secure.Write(text("over TLS"))
	require.NoError(t, err)
	line, err := bufio.NewReader(nc).ReadString('\n')
	require.NoError(t, err)
	require.Regexp(t, "^guest-[12]: over TLS\n$", line)
	res, err := http.ReadResponse(bufio.NewReader(secure), nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, res.StatusCode)
}

// TestTLSOfTheRoomIsNotOfHTTP: a room whose own listeners speak TLS has plain WebSocket
// over plain HTTP.
func TestTLSOfTheRoomIsNotOfHTTP(t *testing.T) {
	server, _ := testkit.TLS()
	room := tcproom.New(tcproom.WithTLS(server), tcproom.WithNotices(false))
	_, br := upgradeTo(t, serveOnePort(t, room, &http.Server{Handler: New(One("lobby", room))}), "")
	testkit.WaitLen(t, room, 1)
	testkit.Broadcast(t, room, []byte("hi"))
	got, err := br.Peek(len("..*: hi"))
	require.NoError(t, err)
	require.True(t, bytes.HasSuffix(got, []byte("*: hi")))
}
