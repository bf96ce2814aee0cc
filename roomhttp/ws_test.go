package roomhttp

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
)

// A doorman keeps what a Handler would give to its room.
type doorman struct {
	h    *Handler
	room *tcproom.Room
	came chan upgrade
}

func newDoorman(t *testing.T, cfg config) *doorman {
	d := &doorman{h: &Handler{cfg: cfg}, room: tcproom.New(), came: make(chan upgrade, 1)}
	t.Cleanup(func() {
		select {
		case u := <-d.came:
			u.nc.Close()
		default:
		}
		d.room.Close()
	})
	return d
}

func (d *doorman) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Set-Cookie", "node=3") // as a middleware may
	if u := d.h.mayUpgrade(w, r, d.room); u != nil && u.take(w) && u.answer() {
		d.came <- *u
	}
}

// next returns what came.
func (d *doorman) next(t *testing.T) upgrade {
	t.Helper()
	select {
	case u := <-d.came:
		t.Cleanup(func() { u.nc.Close() })
		return u
	case <-time.After(10 * time.Second):
		require.Fail(t, "nobody was upgraded")
		panic("unreachable")
	}
}

const goodKey = "dGhlIHNhbXBsZSBub25jZQ==" // of RFC 6455 1.3

// upgradeRequest returns a request that is upgraded.
func upgradeRequest() *http.Request {
	r := httptest.NewRequest("GET", "http://chat.example/ws", nil)
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	r.Header.Set("Sec-WebSocket-Version", "13")
	r.Header.Set("Sec-WebSocket-Key", goodKey)
	return r
}

// A fakeHijack is a ResponseWriter over a pipe, within middleware that wraps it.
type fakeHijack struct {
	*httptest.ResponseRecorder
	nc  net.Conn
	err error
}

func (f *fakeHijack) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return f.nc, bufio.NewReadWriter(bufio.NewReader(f.nc), bufio.NewWriter(f.nc)), f.err
}

type wrapped struct{ http.ResponseWriter }

func (w wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// offer plays r to a Handler and returns the answer.
func offer(t *testing.T, cfg config, r *http.Request) (res *http.Response, d *doorman) {
	t.Helper()
	d = newDoorman(t, cfg)
	room, peer := net.Pipe()
	t.Cleanup(func() { peer.Close() })
	rec := httptest.NewRecorder()
	var upgraded *http.Response
	var reading sync.WaitGroup
	reading.Go(func() { upgraded, _ = http.ReadResponse(bufio.NewReader(peer), r) })
	d.ServeHTTP(wrapped{&fakeHijack{ResponseRecorder: rec, nc: room}}, r)
	if len(d.came) == 0 {
		room.Close()
		reading.Wait()
		return rec.Result(), d
	}
	reading.Wait()
	require.NotNil(t, upgraded)
	return upgraded, d
}

// TestUpgradeRefused: what is no good request for an upgrade, and what it is answered.
func TestUpgradeRefused(t *testing.T) {
	t.Parallel()
	set := func(key string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[http.CanonicalHeaderKey(key)] = values }
	}
	for _, tt := range []struct {
		name   string
		change func(*http.Request)
		status int
		header map[string]string
	}{
		{name: "POST", change: func(r *http.Request) { r.Method = "POST" }, status: 405, header: map[string]string{"Allow": "GET"}},
		{name: "HEAD", change: func(r *http.Request) { r.Method = "HEAD" }, status: 426, header: map[string]string{"Upgrade": "websocket"}},
		{name: "plain GET", change: func(r *http.Request) { clear(r.Header) }, status: 426, header: map[string]string{"Upgrade": "websocket", "Connection": "Upgrade"}},
		{name: "HTTP/1.0", change: func(r *http.Request) { r.Proto, r.ProtoMinor = "HTTP/1.0", 0 }, status: 426, header: map[string]string{"Upgrade": "websocket"}},
		{name: "HTTP/2", change: func(r *http.Request) { r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0 }, status: 426, header: map[string]string{"Upgrade": "", "Connection": ""}},
		{name: "no Connection", change: set("Connection"), status: 426, header: map[string]string{"Upgrade": "websocket"}},
		{name: "Connection: keep-alive", change: set("Connection", "keep-alive"), status: 426, header: map[string]string{"Upgrade": "websocket"}},
		{name: "Connection: upgraded", change: set("Connection", "upgraded, not-upgrade"), status: 426, header: nil},
		{name: "no Upgrade", change: set("Upgrade"), status: 426, header: map[string]string{"Upgrade": "websocket"}},
		{name: "Upgrade: h2c", change: set("Upgrade", "h2c"), status: 426, header: map[string]string{"Upgrade": "websocket"}},
		{name: "no version", change: set("Sec-WebSocket-Version"), status: 426, header: map[string]string{"Sec-WebSocket-Version": "13", "Upgrade": "websocket"}},
		{name: "version 8", change: set("Sec-WebSocket-Version", "8"), status: 426, header: map[string]string{"Sec-WebSocket-Version": "13"}},
		{name: "two versions", change: set("Sec-WebSocket-Version", "13", "8"), status: 426, header: map[string]string{"Sec-WebSocket-Version": "13"}},
		{name: "no key", change: set("Sec-WebSocket-Key"), status: 400, header: nil},
		{name: "two keys", change: set("Sec-WebSocket-Key", goodKey, goodKey), status: 400, header: nil},
		{name: "a key of 15 bytes", change: set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25j"), status: 400, header: nil},
		{name: "a key of 17 bytes", change: set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZWQ="), status: 400, header: nil},
		{name: "a key that is no base64", change: set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZ!=="), status: 400, header: nil},
		{name: "an unknown subprotocol", change: set("Sec-WebSocket-Protocol", "chat, superchat"), status: 400, header: nil},
		{name: "another case", change: set("Sec-WebSocket-Protocol", "tcproom.JSON"), status: 400, header: nil},
		{name: "a body", change: func(r *http.Request) { r.ContentLength = 2 }, status: 400, header: nil},
		{name: "a chunked body", change: func(r *http.Request) { r.ContentLength = -1 }, status: 400, header: nil},
		{name: "another origin", change: set("Origin", "http://evil.example"), status: 403, header: nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := upgradeRequest()
			tt.change(r)
			res, d := offer(t, config{}, r)
			require.Equal(t, tt.status, res.StatusCode)
			require.Empty(t, d.came)
			for k, v := range tt.header {
				require.Equal(t, v, res.Header.Get(k), k)
			}
			requireProblem(t, res)
		})
	}
}

func requireProblem(t *testing.T, res *http.Response) {
	t.Helper()
	require.Equal(t, "application/problem+json", res.Header.Get("Content-Type"))
	var p struct {
		Type, Title, Detail, Code string
		Status                    int
	}
	require.NoError(t, json.NewDecoder(res.Body).Decode(&p))
	require.Equal(t, "about:blank", p.Type)
	require.Equal(t, http.StatusText(res.StatusCode), p.Title)
	require.Equal(t, res.StatusCode, p.Status)
	require.NotEmpty(t, p.Detail)
	require.NotEmpty(t, p.Code)
}

// TestUpgradeAccepted: the forms that a good request may have.
func TestUpgradeAccepted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name           string
		key            string
		values         []string
		kind, protocol string
	}{
		{name: "plain", key: "X-Other", values: []string{"x"}, kind: "ws.json", protocol: ""},
		{name: "Firefox's Connection", key: "Connection", values: []string{"keep-alive, Upgrade"}, kind: "ws.json", protocol: ""},
		{name: "two lines of Connection", key: "Connection", values: []string{"keep-alive", "upgrade"}, kind: "ws.json", protocol: ""},
		{name: "Upgrade in capitals", key: "Upgrade", values: []string{"WebSocket"}, kind: "ws.json", protocol: ""},
		{name: "JSON", key: "Sec-WebSocket-Protocol", values: []string{"tcproom.json"}, kind: "ws.json", protocol: "tcproom.json"},
		{name: "text", key: "Sec-WebSocket-Protocol", values: []string{"tcproom.text"}, kind: "ws.text", protocol: "tcproom.text"},
		{name: "the client's order", key: "Sec-WebSocket-Protocol", values: []string{"v9, tcproom.text", "tcproom.json"}, kind: "ws.text", protocol: "tcproom.text"},
		{name: "an empty offer", key: "Sec-WebSocket-Protocol", values: []string{" ,"}, kind: "ws.json", protocol: ""},
		{name: "extensions", key: "Sec-WebSocket-Extensions", values: []string{"permessage-deflate; client_max_window_bits"}, kind: "ws.json", protocol: ""},
		{name: "same origin", key: "Origin", values: []string{"http://chat.example"}, kind: "ws.json", protocol: ""},
		{name: "listed origin", key: "Origin", values: []string{"https://other.example:8443"}, kind: "ws.json", protocol: ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := upgradeRequest()
			r.Header[http.CanonicalHeaderKey(tt.key)] = tt.values
			res, d := offer(t, config{origins: []string{"other.example:8443"}}, r)
			require.Equal(t, 101, res.StatusCode)
			require.Equal(t, "websocket", res.Header.Get("Upgrade"))
			require.Equal(t, "Upgrade", res.Header.Get("Connection"))
			require.Equal(t, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", res.Header.Get("Sec-WebSocket-Accept"))
			protocol, said := res.Header["Sec-Websocket-Protocol"]
			require.Equal(t, tt.protocol != "", said)
			if said {
				require.Equal(t, []string{tt.protocol}, protocol)
			}
			require.Empty(t, res.Header.Values("Sec-WebSocket-Extensions"))
			require.Equal(t, "node=3", res.Header.Get("Set-Cookie"))
			a := d.next(t)
			require.Equal(t, tt.kind, a.offer.sub.kind)
			require.Nil(t, a.arrival.Identity)
			require.Nil(t, a.arrival.Addr)
		})
	}
}

// TestOrigins: a page may speak to its own host and from a listed one.
func TestOrigins(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		host   string
		origin []string
		listed []string
		want   bool
	}{
		{name: "none", host: "a.example", origin: nil, listed: nil, want: true},
		{name: "same host", host: "a.example", origin: []string{"https://a.example"}, listed: nil, want: true},
		{name: "same host in capitals", host: "A.example", origin: []string{"https://a.EXAMPLE"}, listed: nil, want: true},
		{name: "same port", host: "a.example:8080", origin: []string{"http://a.example:8080"}, listed: nil, want: true},
		{name: "IPv6", host: "[::1]:8080", origin: []string{"http://[::1]:8080"}, listed: nil, want: true},
		{name: "other port", host: "a.example:8080", origin: []string{"http://a.example:9090"}, listed: nil, want: false},
		{name: "no port", host: "a.example:8080", origin: []string{"http://a.example"}, listed: nil, want: false},
		{name: "other host", host: "a.example", origin: []string{"https://b.example"}, listed: nil, want: false},
		{name: "suffix", host: "a.example", origin: []string{"https://evil-a.example"}, listed: nil, want: false},
		{name: "subdomain", host: "a.example", origin: []string{"https://x.a.example"}, listed: nil, want: false},
		{name: "prefix", host: "a.example", origin: []string{"https://a.example.evil"}, listed: nil, want: false},
		{name: "user", host: "a.example", origin: []string{"https://a.example@evil.example"}, listed: nil, want: false},
		{name: "null", host: "a.example", origin: []string{"null"}, listed: nil, want: false},
		{name: "null listed", host: "a.example", origin: []string{"null"}, listed: []string{"null"}, want: false},
		{name: "empty", host: "a.example", origin: []string{""}, listed: nil, want: false},
		{name: "empty host", host: "", origin: []string{"null"}, listed: nil, want: false},
		{name: "no URL", host: "a.example", origin: []string{"://"}, listed: nil, want: false},
		{name: "no scheme", host: "a.example", origin: []string{"a.example"}, listed: nil, want: false},
		{name: "two", host: "a.example", origin: []string{"https://a.example", "https://a.example"}, listed: nil, want: false},
		{name: "listed", host: "a.example", origin: []string{"https://b.example"}, listed: []string{"c.example", "B.example"}, want: true},
		{name: "listed without port", host: "a.example", origin: []string{"https://b.example:1"}, listed: []string{"b.example"}, want: false},
		{name: "listed suffix", host: "a.example", origin: []string{"https://evilb.example"}, listed: []string{"b.example"}, want: false},
		{name: "any", host: "a.example", origin: []string{"https://b.example"}, listed: []string{"*"}, want: true},
		{name: "null by any", host: "a.example", origin: []string{"null"}, listed: []string{"*"}, want: false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/ws", nil)
			r.Host = tt.host
			if tt.origin != nil {
				r.Header["Origin"] = tt.origin
			}
			require.Equal(t, tt.want, (&Handler{cfg: config{origins: tt.listed}}).originAllowed(r))
		})
	}
}

// TestUpgradeIdentity: what the room is told of a newcomer.
func TestUpgradeIdentity(t *testing.T) {
	t.Parallel()
	addr := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}
	cfg := config{
		auth: func(r *http.Request) (tcproom.Identity, error) {
			if r.Header.Get("Authorization") == "" {
				return tcproom.Identity{}, errors.New("who are you?")
			}
			return tcproom.Identity{Name: "ada"}, nil
		},
		clientAddr: func(*http.Request) net.Addr { return addr },
	}
	r := upgradeRequest()
	res, d := offer(t, cfg, r)
	require.Equal(t, 403, res.StatusCode)
	require.Empty(t, d.came)
	requireProblem(t, res)

	r.Header.Set("Authorization", "Bearer x")
	_, d = offer(t, cfg, r)
	a := d.next(t)
	require.Equal(t, "ada", a.arrival.Identity.Name)
	require.Equal(t, addr, a.arrival.Addr)

	r = upgradeRequest()
	r.URL.RawQuery = "name=Zo%C3%AB"
	_, d = offer(t, config{}, r)
	a = d.next(t)
	require.Nil(t, a.arrival.Identity, "a handshake hook is not passed over")
	require.Equal(t, "Zoë", a.arrival.Hello.Name)
}

// TestUpgradeKeepsNoAddress: a member's name does not keep the address of its request,
// which may be longer than all that the room allows a member.
func TestUpgradeKeepsNoAddress(t *testing.T) {
	t.Parallel()
	r := upgradeRequest()
	r.URL.RawQuery = "name=ada&" + strings.Repeat("x", 1000)
	_, d := offer(t, config{}, r)
	name := d.next(t).arrival.Hello.Name
	require.Equal(t, "ada", name)
	address := uintptr(unsafe.Pointer(unsafe.StringData(r.URL.RawQuery)))
	at := uintptr(unsafe.Pointer(unsafe.StringData(name)))
	require.False(t, at >= address && at < address+uintptr(len(r.URL.RawQuery)), "the name is a part of the address")
	runtime.KeepAlive(r)
}

// TestUpgradeWithoutDoor: a room that is closed, and one that speaks too much already.
func TestUpgradeWithoutDoor(t *testing.T) {
	t.Parallel()
	room := tcproom.New()
	room.Close()
	rec := httptest.NewRecorder()
	(&Handler{}).serveWS(rec, upgradeRequest(), room)
	require.Equal(t, 503, rec.Code)
	require.NotEmpty(t, rec.Header().Get("Retry-After"))
	requireProblem(t, rec.Result())
	for err, status := range map[error]int{tcproom.Cause("too-many-lanes"): 503, tcproom.ErrOption: 500} {
		rec = httptest.NewRecorder()
		fail(rec, err)
		require.Equal(t, status, rec.Code)
		requireProblem(t, rec.Result())
	}
}

// TestUpgradeNoHijack: a server, or a middleware, that gives no connection.
func TestUpgradeNoHijack(t *testing.T) {
	t.Parallel()
	d := newDoorman(t, config{})
	rec := httptest.NewRecorder()
	d.ServeHTTP(rec, upgradeRequest())
	require.Equal(t, 500, rec.Code)
	requireProblem(t, rec.Result())
	require.Empty(t, d.came)
}

// TestUpgradeOfADeadPeer: a peer that takes no answer for 5 s is not admitted.
func TestUpgradeOfADeadPeer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDoorman(t, config{})
		room, peer := net.Pipe()
		defer peer.Close()
		started := time.Now()
		d.ServeHTTP(&fakeHijack{ResponseRecorder: httptest.NewRecorder(), nc: room}, upgradeRequest())
		require.Equal(t, upgradeTimeout, time.Since(started))
		require.Empty(t, d.came)
		_, err := peer.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF, "it is closed")
	})
}

// TestUpgradeDeadline: that of the answer does not outlive it.
func TestUpgradeDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDoorman(t, config{})
		room, peer := net.Pipe()
		defer peer.Close()
		go io.Copy(io.Discard, peer)
		d.ServeHTTP(&fakeHijack{ResponseRecorder: httptest.NewRecorder(), nc: room}, upgradeRequest())
		a := d.next(t)
		time.Sleep(2 * upgradeTimeout)
		_, err := a.nc.Write([]byte("x"))
		require.NoError(t, err)
		go peer.Write([]byte("y"))
		_, err = a.nc.Read(make([]byte, 1))
		require.NoError(t, err)
	})
}

// TestUpgradeOverTCP: a raw client of net/http's server, which may send its first
// message with the request.
func TestUpgradeOverTCP(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		first string // what comes with the request
	}{
		{name: "the request alone", first: ""},
		{name: "a message with it", first: string(text("early"))},
		{name: "a part of a message", first: string(text("early"))[:3]},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDoorman(t, config{})
			srv := httptest.NewServer(d)
			defer srv.Close()
			nc, err := net.Dial("tcp", srv.Listener.Addr().String())
			require.NoError(t, err)
			defer nc.Close()
			nc.SetDeadline(time.Now().Add(10 * time.Second))
			_, err = io.WriteString(nc, "GET /ws HTTP/1.1\r\nHost: chat.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "+goodKey+"\r\n\r\n"+tt.first)
			require.NoError(t, err)
			br := bufio.NewReader(nc)
			res, err := http.ReadResponse(br, nil)
			require.NoError(t, err)
			require.Equal(t, 101, res.StatusCode)
			a := d.next(t)
			require.IsType(t, &net.TCPConn{}, a.nc)

			rest := (string(text("early")) + string(text("late")))[len(tt.first):]
			_, err = io.WriteString(nc, rest)
			require.NoError(t, err)
			got := strings.Builder{}
			got.Write(a.arrival.Read)
			_, err = io.CopyN(&got, a.nc, int64(len(tt.first)+len(rest)-len(a.arrival.Read)))
			require.NoError(t, err)
			require.Equal(t, tt.first+rest, got.String())

			frame, err := wsText{}.AppendEvent(nil, &tcproom.Event{Kind: tcproom.Message, Body: []byte("hi")})
			require.NoError(t, err)
			_, err = a.nc.Write(frame)
			require.NoError(t, err)
			back := make([]byte, len(frame))
			_, err = io.ReadFull(br, back)
			require.NoError(t, err, "nothing stands between the answer and the first frame")
			require.Equal(t, frame, back)
		})
	}
}
