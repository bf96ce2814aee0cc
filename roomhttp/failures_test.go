package roomhttp

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/internal/testkit"
)

// asksToJoin are the requests by which somebody becomes a member.
var asksToJoin = map[string][]string{
	"/ws":                 {"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + goodKey},
	"/rooms/lobby/events": {"Accept: text/event-stream"},
}

// TestNoRoom: what the room would not let in is told so in HTTP, before its connection
// is another protocol's.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		opts   []tcproom.RoomOption
		stop   bool
		status int
		code   string
	}{
		{name: "stopped", stop: true, status: 503, code: "closed"},
		{name: "busy", opts: []tcproom.RoomOption{tcproom.WithMaxPending(1)}, status: 503, code: "busy"},
		{name: "address", opts: []tcproom.RoomOption{tcproom.WithMaxPerAddress(1)}, status: 429, code: "too-many-from-address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			room := tcproom.New(tt.opts...)
			srv := serve(t, New(One("lobby", room)))
			defer room.Close()
			// Of these the room keeps what has said no hello as pending, and a reader as a
			// member; of both it has a door from then on.
			dialWS(t, srv.Server, "tcproom.json")
			testkit.Eventually(t, "it waits to join", func() bool { return room.Stats().Pending == 1 })
			if tt.stop {
				read(t, srv.Server, "?name=ada")
				room.Close()
			}
			refused := room.Stats().Refused
			for path, header := range asksToJoin {
				a := srv.ask("GET", path, "", header...)
				require.Equal(t, tt.status, a.StatusCode, path)
				require.Equal(t, tt.code, a.code())
				require.NotEmpty(t, a.Header.Get("Retry-After"))
			}
			require.Equal(t, refused, room.Stats().Refused, "none was given to the room")
		})
	}
}

// TestVanishedInTheUpgrade: a client that is gone before it is answered is counted as
// refused, and nobody joins.
func TestVanishedInTheUpgrade(t *testing.T) {
	t.Parallel()
	for path := range asksToJoin {
		t.Run(path, func(t *testing.T) {
			causes := testkit.NewCauses()
			room := tcproom.New(tcproom.OnReject(causes.Rejected))
			defer room.Close()
			here, there := net.Pipe()
			there.Close()
			r := upgradeRequest()
			r.URL.Path = path
			New(One("lobby", room)).ServeHTTP(&fakeHijack{ResponseRecorder: httptest.NewRecorder(), nc: here}, r)
			require.ErrorIs(t, causes.Next(t), tcproom.Cause("reset"))
			require.Equal(t, uint64(1), room.Stats().Refused)
			require.Zero(t, room.Past(0, 1).Seq)
			_, err := here.Write(nil)
			require.Error(t, err, "it is closed")
		})
	}
}

// TestWSHelloNever: a peer that says no hello is refused in time, and told so.
func TestWSHelloNever(t *testing.T) {
	t.Parallel()
	p := dialWS(t, serveRoom(t, tcproom.New(tcproom.WithHandshakeTimeout(50*time.Millisecond))), "tcproom.json")
	require.Contains(t, p.next(), `"type":"refused","code":"handshake-timeout"`)
	p.expect(`close 1008 "handshake-timeout"`, "FIN")
}

// TestWSEmptyFragments: empty fragments are counted against the limit of a message.
func TestWSEmptyFragments(t *testing.T) {
	t.Parallel()
	p := dialWS(t, serveRoom(t, tcproom.New(tcproom.WithMaxMessage(100))), "tcproom.text", begin("x"))
	p.send(bytes.Repeat(more(""), 1000))
	p.expect("* goodbye: read frame: message too large: websocket: a frame of 0 bytes, of which the limit of a message leaves 0", `close 1009 "too-large"`, "FIN")
}

// TestAuthPanics: a panic in the function of WithAuth is the server's fault, and nobody
// joins.
func TestAuthPanics(t *testing.T) {
	t.Parallel()
	room := tcproom.New()
	defer room.Close()
	srv := serve(t, New(One("lobby", room), WithAuth(func(*http.Request) (tcproom.Identity, error) { panic("auth") })))
	for path, header := range asksToJoin {
		a := srv.ask("GET", path, "", header...)
		require.Equal(t, 500, a.StatusCode, path)
		require.Equal(t, "hook", a.code())
	}
	require.Zero(t, room.Past(0, 1).Seq)
}

// TestWSSameToken: of two pages that resume with one token the newest is the member. The
// other is told so, for good.
func TestWSSameToken(t *testing.T) {
	t.Parallel()
	room := tcproom.New(tcproom.WithSessions(tcproom.Sessions{}))
	srv := serveRoom(t, room)
	first := dialWS(t, srv, "tcproom.json", text(helloAda))
	var w struct {
		Epoch, Token string
		Seq          uint64
	}
	require.NoError(t, json.Unmarshal([]byte(first.raw()), &w))
	resume := fmt.Sprintf(`{"type":"hello","resume":{"token":%q,"epoch":%q,"seq":%d}}`, w.Token, w.Epoch, w.Seq)
	second := dialWS(t, srv, "tcproom.json", text(resume))
	require.Contains(t, second.next(), `"outcome":"resumed"`)
	end := first.next()
	require.Contains(t, end, `"code":"taken-over"`)
	require.Contains(t, end, `"retry":false`)
	first.expect(`close 1008 "taken-over"`, "FIN")
	require.Equal(t, 1, room.Len())
	require.Equal(t, uint64(1), room.Past(0, 1).Seq, "nobody left")
}

// TestWSSlow: a peer that does not read is cut as slow, as over TCP.
func TestWSSlow(t *testing.T) {
	t.Parallel()
	causes := testkit.NewCauses()
	room := tcproom.New(tcproom.WithBacklog(64<<10), tcproom.WithSocketBuffers(4<<10, 4<<10), tcproom.OnLeave(causes.Left))
	dialWS(t, serveRoom(t, room), "tcproom.text")
	testkit.WaitLen(t, room, 1)
	for room.Len() > 0 {
		_, err := room.Broadcast(t.Context(), bytes.Repeat([]byte("x"), 16<<10))
		require.NoError(t, err)
	}
	require.ErrorIs(t, causes.Next(t), tcproom.ErrSlow)
}

// A meter is a Limiter that counts.
type meter struct{ frames atomic.Int64 }

func (m *meter) WaitN(context.Context, int) error {
	m.frames.Add(1)
	return nil
}

// TestWSPingFlood: pings are frames for a limiter.
func TestWSPingFlood(t *testing.T) {
	t.Parallel()
	m := new(meter)
	room := tcproom.New(tcproom.WithRate(func(*tcproom.Member) tcproom.Limiter { return m }))
	p := dialWS(t, serveRoom(t, room), "tcproom.text")
	p.send(bytes.Repeat(ping("x"), 50))
	testkit.Eventually(t, "all pings are paid for", func() bool { return m.frames.Load() == 50 })
}

// TestWSCloseInABatch: the answer to a Close stands behind whole frames, and is the last.
func TestWSCloseInABatch(t *testing.T) {
	t.Parallel()
	room := tcproom.New()
	p := dialWS(t, serveRoom(t, room), "tcproom.text")
	testkit.WaitLen(t, room, 1)
	stop := make(chan struct{})
	var talk sync.WaitGroup
	talk.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				room.Broadcast(context.Background(), []byte("hi"))
			}
		}
	})
	for range 100 {
		p.expect("*: hi")
	}
	p.send(closing(code(1000)))
	said := p.next()
	for said == "*: hi" {
		said = p.next()
	}
	require.Equal(t, `close 1000 ""`, said)
	p.expect("FIN")
	close(stop)
	talk.Wait()
}

// A gate is an answer of which one write waits.
type gate struct {
	header http.Header
	at     string // what that write has
	open   chan struct{}
	mu     sync.Mutex
	said   string
}

func (g *gate) Header() http.Header { return g.header }
func (g *gate) WriteHeader(int)     {}
func (g *gate) Flush()              {}

func (g *gate) Write(b []byte) (int, error) {
	if strings.Contains(string(b), g.at) {
		<-g.open
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.said += string(b)
	return len(b), nil
}

// TestShutdownWaitsForRelays: the room takes what it has given to a relay for sent, and
// the Handler waits until it is.
func TestShutdownWaitsForRelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New()
		h := New(One("lobby", room))
		g := &gate{header: make(http.Header), at: "goodbye", open: make(chan struct{})}
		served := make(chan struct{})
		go func() {
			defer close(served)
			h.ServeHTTP(g, httptest.NewRequest("GET", "/rooms/lobby/events", nil))
		}()
		testkit.WaitLen(t, room, 1)
		require.NoError(t, room.Shutdown(t.Context()))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, h.Shutdown(ctx), context.DeadlineExceeded)
		stopped := make(chan error, 1)
		go func() { stopped <- h.Shutdown(t.Context()) }()
		synctest.Wait()
		require.Empty(t, stopped)
		close(g.open)
		require.NoError(t, <-stopped)
		require.Contains(t, g.said, "goodbye")
		<-served
		require.NoError(t, h.Shutdown(ctx), "there is nothing to wait for")
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest("GET", "/rooms", nil))
		require.Equal(t, 503, rec.Code, "it is closed")
	})
}
