package itest

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomhttp"
	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// serveWeb has room serve HTTP on loopback until the end of the test, and returns the
// address of its web door, such as http://127.0.0.1:1234.
func serveWeb(t testing.TB, room *tcproom.Room, opts ...roomhttp.Option) (url string) {
	t.Helper()
	h := roomhttp.New(roomhttp.One("lobby", room), opts...)
	srv := httptest.NewServer(h)
	t.Cleanup(func() {
		h.Close()
		room.Close()
		srv.Close()
		select {
		case <-room.Done():
		case <-time.After(within):
			t.Error("the room has not stopped")
		}
	})
	return srv.URL
}

// wsURL is the address of the room's WebSocket.
func wsURL(url string) string { return "ws" + strings.TrimPrefix(url, "http") + "/rooms/lobby/ws" }

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), within)
	t.Cleanup(cancel)
	return ctx
}

// A said is what a room says to a client, in JSON.
type said struct {
	Type    string `json:"type"`
	Epoch   string `json:"epoch"`
	Seq     uint64 `json:"seq"`
	From    struct{ ID, Name string }
	Body    string `json:"body"`
	ID      any    `json:"id"` // a name in a welcome, a number in an ack
	Outcome string `json:"outcome"`
	Token   string `json:"token"`
	First   uint64 `json:"first"`
	Last    uint64 `json:"last"`
	Code    string `json:"code"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// A hello is what a client that speaks JSON says first.
type hello struct {
	Type   string  `json:"type"`
	Name   string  `json:"name,omitempty"`
	Resume *resume `json:"resume,omitempty"`
}

type resume struct {
	Token string `json:"token"`
	Epoch string `json:"epoch"`
	Seq   uint64 `json:"seq"`
}

// A coder is a client of coder/websocket.
type coder struct {
	*websocket.Conn
	t   testing.TB
	ctx context.Context
	nc  net.Conn // beneath
	res *http.Response
}

// dialCoder connects to a web door.
func dialCoder(t testing.TB, url string, opts websocket.DialOptions) *coder {
	t.Helper()
	c := &coder{t: t, ctx: testContext(t)}
	opts.HTTPClient = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := new(net.Dialer).DialContext(ctx, network, addr)
			c.nc = nc
			return nc, err
		},
	}}
	var err error
	c.Conn, c.res, err = websocket.Dial(c.ctx, wsURL(url), &opts)
	require.NoError(t, err)
	t.Cleanup(func() { c.CloseNow() })
	c.SetReadLimit(1 << 20)
	return c
}

// joinCoder connects and joins as name, in JSON.
func joinCoder(t testing.TB, url, name string) (*coder, said) {
	t.Helper()
	c := dialCoder(t, url, websocket.DialOptions{Subprotocols: []string{"tcproom.json"}})
	c.send(hello{Type: "hello", Name: name})
	welcome := c.await("welcome")
	require.Equal(t, "tcproom.json", c.Subprotocol())
	return c, welcome
}

func (c *coder) send(what any) {
	c.t.Helper()
	b, err := json.Marshal(what)
	require.NoError(c.t, err)
	require.NoError(c.t, c.Write(c.ctx, websocket.MessageText, b))
}

// say sends a message.
func (c *coder) say(body string) {
	c.t.Helper()
	c.send(map[string]any{"type": "message", "body": body})
}

// text returns the next text message.
func (c *coder) text() string {
	c.t.Helper()
	kind, b, err := c.Read(c.ctx)
	require.NoError(c.t, err)
	require.Equal(c.t, websocket.MessageText, kind)
	return string(b)
}

// await returns the next event of a type, and passes over others.
func (c *coder) await(what string) (ev said) {
	c.t.Helper()
	for ev.Type != what {
		ev = said{}
		require.NoError(c.t, json.Unmarshal([]byte(c.text()), &ev))
	}
	return ev
}

// end reads to the end of the stream and returns what the room's Close says.
func (c *coder) end() (websocket.StatusCode, string) {
	c.t.Helper()
	for {
		_, _, err := c.Read(c.ctx)
		var end websocket.CloseError
		if errors.As(err, &end) {
			return end.Code, end.Reason
		}
		require.NoError(c.t, err)
	}
}

// leavers makes a room tell why its members leave.
func leavers() (causes chan error, opt tcproom.RoomOption) {
	causes = make(chan error, 100)
	return causes, tcproom.OnLeave(func(_ *tcproom.Member, cause error) { causes <- cause })
}

func next[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(within):
		require.Fail(t, "nothing came")
		panic("unreachable")
	}
}

// group is an errgroup that the test waits for.
func group(t testing.TB, ctx context.Context) (*errgroup.Group, context.Context) {
	g, ctx := errgroup.WithContext(ctx)
	t.Cleanup(func() { g.Wait() })
	return g, ctx
}
