package roomhttp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// TestReadersOfGuardedRoom: where a handshake hook decides who joins, nobody reads by a
// request but members, and users that WithAuth knows.
func TestReadersOfGuardedRoom(t *testing.T) {
	refuse := tcproom.WithHandshake(func(context.Context, *tcproom.Newcomer) (tcproom.Identity, error) {
		return tcproom.Identity{}, errors.New("not you")
	})
	known := WithAuth(func(*http.Request) (tcproom.Identity, error) { return tcproom.Identity{Name: "bob"}, nil })
	for _, tt := range []struct {
		name string
		room []tcproom.RoomOption
		opts []Option
		open bool
	}{
		{name: "hook of the room", room: []tcproom.RoomOption{refuse}},
		{name: "hook of WithConn", opts: []Option{WithConn(refuse)}},
		{name: "hook that WithConn takes away", room: []tcproom.RoomOption{refuse}, opts: []Option{WithConn(tcproom.WithHandshake(nil))}, open: true},
		{name: "WithAuth", room: []tcproom.RoomOption{refuse}, opts: []Option{known}, open: true},
		{name: "no hook", open: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			room := newRoom(t, tt.room...)
			_, token, _ := join(t, room, "ada")
			_, err := room.Broadcast(t.Context(), []byte("my secret"))
			require.NoError(t, err)
			s := serve(t, New(One("lobby", room), tt.opts...))
			for _, path := range []string{"/rooms", "/rooms/lobby", "/rooms/lobby/members", messages} {
				for _, method := range []string{"GET", "HEAD"} {
					a := s.ask(method, path, "")
					if tt.open {
						require.Equal(t, 200, a.StatusCode, "%s: %s", path, a.body)
						continue
					}
					require.Equal(t, 401, a.StatusCode, "%s: %s", path, a.body)
					require.Equal(t, "Bearer", a.Header.Get("WWW-Authenticate"))
					require.Empty(t, a.Header.Get("ETag"))
					require.NotContains(t, a.body, "my secret")
					a = s.ask(method, path, "", "Authorization: Bearer no-token")
					require.Equal(t, 401, a.StatusCode)
				}
				require.Equal(t, 200, s.ask("GET", path, "", "Authorization: Bearer "+string(token)).StatusCode, path)
			}
			require.Equal(t, 200, s.ask("GET", "/healthz", "").StatusCode)
		})
	}
}

// TestPostToFilteredRoom: what a room checks of connections is not got round by a
// request.
func TestPostToFilteredRoom(t *testing.T) {
	refuse := tcproom.OnMessage(func(*tcproom.Member, []byte) ([]byte, error) { return nil, errors.New("no") })
	rate := tcproom.WithRate(func(*tcproom.Member) tcproom.Limiter { return nil })
	pass := OnPost(func(_ *http.Request, _ tcproom.MemberInfo, body []byte) ([]byte, error) { return body, nil })
	known := WithAuth(func(*http.Request) (tcproom.Identity, error) { return tcproom.Identity{Name: "bob"}, nil })
	for _, tt := range []struct {
		name string
		room []tcproom.RoomOption
		opts []Option
		want int
	}{
		{name: "OnMessage", room: []tcproom.RoomOption{refuse}, want: 403},
		{name: "WithRate", room: []tcproom.RoomOption{rate}, want: 403},
		{name: "WithRate of WithConn", opts: []Option{WithConn(rate)}, want: 403},
		{name: "OnPost too", room: []tcproom.RoomOption{refuse, rate}, opts: []Option{pass}, want: 201},
		{name: "neither", want: 201},
	} {
		t.Run(tt.name, func(t *testing.T) {
			room := newRoom(t, tt.room...)
			_, token, _ := join(t, room, "ada")
			auth := "Authorization: Bearer " + string(token)
			for _, speaker := range []struct {
				opt     Option
				headers []string
			}{{WithAnonymousPost(false), []string{plainly, auth, "Idempotency-Key: 1"}}, {WithAnonymousPost(true), []string{plainly}}, {known, []string{plainly}}} {
				before := room.Stats().Messages
				s := serve(t, New(One("lobby", room), append([]Option{speaker.opt}, tt.opts...)...))
				a := s.ask("POST", messages, "hi", speaker.headers...)
				require.Equal(t, tt.want, a.StatusCode, a.body)
				if tt.want == 403 {
					require.Contains(t, a.body, "OnPost")
					require.Equal(t, before, room.Stats().Messages)
				} else {
					require.Equal(t, before+1, room.Stats().Messages)
				}
			}
		})
	}
}

// TestHosts: a page whose name was pointed at this machine reads and does nothing.
func TestHosts(t *testing.T) {
	for _, tt := range []struct {
		host   string
		listed []string
		ok     bool
	}{
		{host: "evil.example"},
		{host: "evil.example:8080"},
		{host: "localhost.evil.example"},
		{host: "notlocalhost"},
		{host: "127.0.0.1.evil.example"},
		{host: "evil.example", listed: []string{"chat.example"}},
		{host: "x.chat.example", listed: []string{"chat.example"}},
		{host: "localhost", ok: true},
		{host: "LOCALHOST:8080", ok: true},
		{host: "localhost.", ok: true},
		{host: "a.localhost:80", ok: true},
		{host: "127.0.0.1", ok: true},
		{host: "127.3.2.1:8080", ok: true},
		{host: "[::1]:8080", ok: true},
		{host: "[::1]", ok: true},
		{host: "192.0.2.7", ok: true},
		{host: "chat.example", listed: []string{"other.example", "CHAT.example"}, ok: true},
		{host: "chat.example:8080", listed: []string{"chat.example"}, ok: true},
		{host: "localhost", listed: []string{"chat.example"}, ok: true},
		{host: "evil.example", listed: []string{"*"}, ok: true},
	} {
		t.Run(fmt.Sprint(tt.host, tt.listed), func(t *testing.T) {
			room := newRoom(t)
			s := serve(t, New(One("lobby", room), WithAnonymousPost(true), WithHosts(tt.listed...)))
			for _, request := range []string{"GET /", "GET " + messages, "POST " + messages, "GET /healthz", "GET /ws", "OPTIONS /rooms"} {
				method, path, _ := strings.Cut(request, " ")
				a := s.ask(method, path, "", "Host: "+tt.host, "Origin: http://"+tt.host, plainly)
				if tt.ok {
					require.Less(t, a.StatusCode, 427, "%s: %s", request, a.body)
					require.NotEqual(t, 421, a.StatusCode, "%s: %s", request, a.body)
					continue
				}
				require.Equal(t, 421, a.StatusCode, request)
				require.Equal(t, "misdirected", a.code())
			}
			require.Equal(t, tt.ok, room.Stats().Messages == 1)
		})
	}
}

// TestHostsElsewhere: at another address than loopback, and by TLS, any name is right
// unless some are listed.
func TestHostsElsewhere(t *testing.T) {
	ask := func(addr net.Addr, host string, opts ...Option) int {
		r := httptest.NewRequest("GET", "/healthz", nil)
		r.Host = host
		if addr != nil {
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, addr))
		}
		rec := httptest.NewRecorder()
		New(One("", newRoom(t)), opts...).ServeHTTP(rec, r)
		return rec.Code
	}
	lan := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80}
	local := &net.TCPAddr{IP: net.IPv6loopback, Port: 80}
	require.Equal(t, 200, ask(lan, "chat.example"))
	require.Equal(t, 421, ask(lan, "evil.example", WithHosts("chat.example")))
	require.Equal(t, 200, ask(nil, "chat.example"))
	require.Equal(t, 421, ask(local, "chat.example"))
	require.Equal(t, 200, ask(local, ""), "a browser always says a name")
	require.Equal(t, 200, ask(&net.UnixAddr{Name: "/run/chat", Net: "unix"}, "chat.example"), "behind a proxy")

	byTLS := func(host string, opts ...Option) int {
		secure := serveTLS(t, New(One("", newRoom(t)), opts...))
		r, err := http.NewRequestWithContext(testContext(t), "GET", "https://"+addressOf(secure.URL)+"/healthz", nil)
		require.NoError(t, err)
		r.Host = host
		res, err := secure.Client().Do(r)
		require.NoError(t, err)
		res.Body.Close()
		return res.StatusCode
	}
	require.Equal(t, 200, byTLS("chat.example"), "its certificate says who it is")
	require.Equal(t, 200, byTLS("chat.example", WithHosts("chat.example")))
	require.Equal(t, 421, byTLS("evil.example", WithHosts("chat.example")))
}

// TestOriginEntries: how an entry of WithOrigins may be written.
func TestOriginEntries(t *testing.T) {
	for _, tt := range []struct {
		entry, origin string
		want          bool
	}{
		{entry: "https://a.example", origin: "https://a.example", want: true},
		{entry: "https://a.example/", origin: "https://a.example", want: true},
		{entry: "https://a.example:443", origin: "https://a.example", want: true},
		{entry: "HTTP://B.example:80", origin: "http://b.example", want: true},
		{entry: "http://b.example:8080", origin: "http://b.example:8080", want: true},
		{entry: "b.example", origin: "https://b.example", want: true},
		{entry: "b.example:443", origin: "https://b.example", want: true},
		{entry: "b.example:8443", origin: "https://b.example:8443", want: true},
		{entry: "localhost:3000", origin: "http://localhost:3000", want: true},
		{entry: "localhost:3000", origin: "https://localhost:3000", want: true},
		{entry: "[::1]:3000", origin: "http://[::1]:3000", want: true},
		{entry: "b.example", origin: "http://b.example"},
		{entry: "https://b.example", origin: "http://b.example"},
		{entry: "http://b.example", origin: "https://b.example"},
		{entry: "b.example", origin: "https://b.example:8443"},
		{entry: "https://localhost:3000", origin: "http://localhost:3000"},
		{entry: "", origin: "https://b.example"},
		{entry: "://", origin: "https://b.example"},
		{entry: "https://", origin: "https://b.example"},
	} {
		t.Run(tt.entry+" "+tt.origin, func(t *testing.T) {
			room := newRoom(t)
			s := serve(t, New(One("lobby", room), WithAnonymousPost(true), WithOrigins(tt.entry)))
			a := s.ask("POST", messages, "", plainly, "Origin: "+tt.origin)
			require.Equal(t, tt.want, a.StatusCode == 201, a.body)
			require.Equal(t, tt.want, a.Header.Get("Access-Control-Allow-Origin") == tt.origin)
		})
	}
}

// TestOwnOriginByTLS: a page that came without TLS is of another origin.
func TestOwnOriginByTLS(t *testing.T) {
	secure := serveTLS(t, New(One("lobby", newRoom(t)), WithAnonymousPost(true)))
	host := addressOf(secure.URL)
	for origin, want := range map[string]int{"https://" + host: 201, "http://" + host: 403} {
		r, err := http.NewRequestWithContext(testContext(t), "POST", "https://"+host+messages, nil)
		require.NoError(t, err)
		r.Header.Set("Origin", origin)
		r.Header.Set("Content-Type", "text/plain")
		res, err := secure.Client().Do(r)
		require.NoError(t, err)
		res.Body.Close()
		require.Equal(t, want, res.StatusCode, origin)
	}
}

// TestPostBesidesOwnMember: a user whose page is in the room can post by a request too,
// as the same member; and an anonymous one in a room with a member called "web".
func TestPostBesidesOwnMember(t *testing.T) {
	room := newRoom(t, tcproom.WithUniqueNames(true))
	ada, _, _ := join(t, room, "ada")
	web, _, _ := join(t, room, "web")
	as := func(name string) Option {
		return WithAuth(func(*http.Request) (tcproom.Identity, error) { return tcproom.Identity{Name: name}, nil })
	}
	var froms []tcproom.MemberInfo
	for _, opt := range []Option{as("ada"), as("bob"), WithAnonymousPost(true)} {
		s := serve(t, New(One("lobby", room), opt))
		a := s.ask("POST", messages, "hi", plainly)
		require.Equal(t, 201, a.StatusCode, a.body)
	}
	for _, ev := range room.Past(0, 0).Events {
		froms = append(froms, ev.From)
	}
	require.Equal(t, ada.Info(), froms[0])
	require.Equal(t, tcproom.MemberInfo{ID: "web:bob", Name: "bob"}, froms[1])
	require.Equal(t, "web", froms[2].ID)
	require.Regexp(t, `^web-[A-Z2-7]{6}$`, froms[2].Name)
	require.NotEqual(t, web.Info(), froms[2], "it is not that member")
}

// oneByOne is a listener in memory.
type oneByOne struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (l *oneByOne) Accept() (net.Conn, error) {
	select {
	case nc := <-l.conns:
		return nc, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *oneByOne) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *oneByOne) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv6loopback} }

// TestBodyThatDoesNotCome: a post waits for ten seconds, and no longer than for the
// body.
func TestBodyThatDoesNotCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New()
		defer room.Close()
		l := &oneByOne{conns: make(chan net.Conn), done: make(chan struct{})}
		slow := OnPost(func(r *http.Request, _ tcproom.MemberInfo, body []byte) ([]byte, error) {
			time.Sleep(2 * bodyTimeout)
			return body, r.Context().Err() // which an expired deadline would end
		})
		srv := &http.Server{Handler: New(One("lobby", room), WithAnonymousPost(true), slow)}
		go srv.Serve(l)
		defer srv.Close()
		for _, tt := range []struct {
			size       int
			body, want string
		}{{3, "a", "HTTP/1.1 408 "}, {3, "abc", "HTTP/1.1 201 "}, {0, "", "HTTP/1.1 201 "}} {
			nc, there := roomtest.Pipe()
			l.conns <- there
			began := time.Now()
			_, err := fmt.Fprintf(nc, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", messages, tt.size, tt.body)
			require.NoError(t, err)
			b := make([]byte, 1000)
			nc.SetReadDeadline(time.Now().Add(time.Hour))
			n, err := nc.Read(b)
			require.NoError(t, err)
			require.True(t, bytes.HasPrefix(b[:n], []byte(tt.want)), "%s", b[:n])
			require.Less(t, time.Since(began), 3*bodyTimeout)
			nc.Close()
		}
	})
}

// TestOptionThatCannotWork: each request for the room is answered by 500, and the log
// says once what is wrong.
func TestOptionThatCannotWork(t *testing.T) {
	room := newRoom(t, tcproom.WithMaxMessage(100))
	s := serve(t, New(One("lobby", room), WithConn(tcproom.WithMaxMessage(101))))
	for _, path := range []string{"/ws", "/rooms/lobby/ws", "/rooms/lobby/events", "/rooms", "/rooms/lobby", messages} {
		require.Equal(t, 500, s.ask("GET", path, "").StatusCode, path)
	}
	require.Equal(t, 1, strings.Count(s.log.String(), "WithMaxMessage(101)"), s.log.String())
}

// TestEmptyAccept: a header that says nothing is as none.
func TestEmptyAccept(t *testing.T) {
	s := serve(t, New(One("lobby", newRoom(t))))
	for _, headers := range [][]string{{"Accept: "}, {"Accept:  ", "Accept: "}} {
		require.Equal(t, 200, s.ask("GET", "/rooms", "", headers...).StatusCode)
	}
}

// TestClientAddrPanics: the connection's own address stands in.
func TestClientAddrPanics(t *testing.T) {
	joined := make(chan net.Addr, 1)
	room := newRoom(t, tcproom.OnJoin(func(m *tcproom.Member) error { joined <- m.RemoteAddr(); return nil }))
	s := serve(t, New(One("lobby", room), WithClientAddr(func(*http.Request) net.Addr { panic("my secret") })))
	r, err := http.NewRequestWithContext(testContext(t), "GET", s.URL+"/rooms/lobby/events", nil)
	require.NoError(t, err)
	res, err := http.DefaultTransport.RoundTrip(r)
	require.NoError(t, err)
	defer res.Body.Close()
	require.Equal(t, 200, res.StatusCode)
	addr := <-joined
	require.Equal(t, "127.0.0.1", addr.(*net.TCPAddr).IP.String())
	require.Contains(t, s.log.String(), "WithClientAddr")
}

// TestNotModifiedIsCheap: an answer without a body copies no messages.
func TestNotModifiedIsCheap(t *testing.T) {
	const n = 500
	room := newRoom(t, tcproom.WithHistory(tcproom.History{Messages: n}))
	for range n {
		_, err := room.Broadcast(t.Context(), []byte("hi"))
		require.NoError(t, err)
	}
	h := New(One("lobby", room))
	get := func(etag string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", messages+"?limit=1000", nil)
		r.Header.Set("If-None-Match", etag)
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		return rec
	}
	etag := get("x").Header().Get("ETag")
	require.Equal(t, 304, get(etag).Code)
	require.Less(t, testing.AllocsPerRun(10, func() { get(etag) }), float64(n))
}

// TestAnswerThatIsNotTaken: an answer is not in memory for as long as its client likes.
// The deadline does not hold for what comes later over the same connection.
func TestAnswerThatIsNotTaken(t *testing.T) {
	for _, path := range []string{messages, "/chat.js"} {
		t.Run(path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				room := tcproom.New(tcproom.WithHistory(tcproom.History{Messages: 100}))
				defer room.Close()
				for range 20 {
					_, err := room.Broadcast(t.Context(), bytes.Repeat([]byte("x"), 60<<10))
					require.NoError(t, err)
				}
				l := &oneByOne{conns: make(chan net.Conn), done: make(chan struct{})}
				closed := make(chan struct{})
				srv := &http.Server{Handler: New(One("lobby", room)), ConnState: func(_ net.Conn, s http.ConnState) {
					if s == http.StateClosed {
						close(closed)
					}
				}}
				go srv.Serve(l)
				defer srv.Close()
				nc, there := net.Pipe()
				defer nc.Close()
				l.conns <- there
				ask := func(path string) {
					_, err := fmt.Fprintf(nc, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
					require.NoError(t, err)
				}
				br := bufio.NewReader(nc)
				for _, p := range []string{path, "/nothing"} {
					ask(p)
					res, err := http.ReadResponse(br, nil)
					require.NoError(t, err)
					_, err = io.Copy(io.Discard, res.Body)
					require.NoError(t, err)
					time.Sleep(2 * answerTimeout)
				}
				began := time.Now()
				ask(path)
				<-closed
				require.Equal(t, answerTimeout, time.Since(began))
			})
		})
	}
}

// TestLongAnswerIsCut: what a request makes the server hold does not grow with the size
// of messages; the client asks for the rest.
func TestLongAnswerIsCut(t *testing.T) {
	room := newRoom(t, tcproom.WithMaxMessage(2*maxAnswer))
	sizes := []int{400 << 10, 400 << 10, 400 << 10, 2 * maxAnswer, 1, 1}
	for _, size := range sizes {
		_, err := room.Broadcast(t.Context(), bytes.Repeat([]byte("x"), size))
		require.NoError(t, err)
	}
	s := serve(t, New(One("lobby", room)))
	for _, want := range []struct {
		after, messages int
		more            bool
	}{{0, 2, true}, {2, 1, true}, {3, 1, true}, {4, 2, false}} {
		a := s.ask("GET", fmt.Sprintf("%s?after=%d", messages, want.after), "")
		got, _ := a.json["messages"].([]any)
		require.Equal(t, want.messages, len(got)) // Len would print them
		require.Equal(t, want.more, a.json["more"])
	}
}
