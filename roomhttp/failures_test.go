package roomhttp

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
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
