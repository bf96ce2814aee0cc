package roomhttp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/internal/testkit"
	"github.com/stretchr/testify/require"
)

const within = 30 * time.Second

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	t.Cleanup(cancel)
	return ctx
}

// newRoom returns a room with everything that the routes need.
func newRoom(t testing.TB, opts ...tcproom.RoomOption) *tcproom.Room {
	room := tcproom.New(append([]tcproom.RoomOption{
		tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{}), tcproom.WithHistory(tcproom.History{Messages: 100}),
	}, opts...)...)
	t.Cleanup(func() { room.Close() })
	return room
}

// join makes ada a member, and returns her, the token of her session and her end.
func join(t testing.TB, room *tcproom.Room, name string) (*tcproom.Member, tcproom.Secret, *tcproom.Conn) {
	t.Helper()
	c, err := room.Join(testContext(t), tcproom.Identity{Name: name})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	ev, err := c.Receive(testContext(t))
	require.NoError(t, err)
	m, ok := room.Member(c.ID())
	require.True(t, ok)
	return m, ev.Welcome.Token, c
}

// A server is a Handler that listens on loopback.
type server struct {
	*httptest.Server
	t   testing.TB
	log *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func serve(t testing.TB, h http.Handler) *server {
	t.Helper()
	s := &server{Server: httptest.NewUnstartedServer(h), t: t, log: new(syncBuffer)}
	s.Config.ErrorLog = log.New(s.log, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// An answer is what came back.
type answer struct {
	*http.Response
	body string
	json map[string]any // nil if it is no JSON
}

func (a *answer) code() string { s, _ := a.json["code"].(string); return s }

// ask sends a request; headers are lines "Name: value".
func (s *server) ask(method, path, body string, headers ...string) *answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(testContext(s.t), method, s.URL, strings.NewReader(body))
	require.NoError(s.t, err)
	req.URL.Opaque = path // as it is
	if strings.HasPrefix(path, "//") {
		req.URL.Opaque = strings.TrimPrefix(s.URL, "http:") + path
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		if name == "Host" {
			req.Host = value
			continue
		}
		req.Header.Add(name, value)
	}
	resp, err := http.DefaultTransport.RoundTrip(req) // follows nothing
	require.NoError(s.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	a := &answer{Response: resp, body: string(b)}
	if strings.HasSuffix(resp.Header.Get("Content-Type"), "json") && len(b) > 0 {
		require.NoError(s.t, json.Unmarshal(b, &a.json))
	}
	return a
}

const (
	messages = "/rooms/lobby/messages"
	plainly  = "Content-Type: text/plain"
	asJSON   = "Content-Type: application/json"
)

// A routeTest is a request and its answer.
type routeTest struct {
	name    string
	room    []tcproom.RoomOption
	hub     []tcproom.HubOption
	opts    []Option
	closed  bool   // the room, or the hub
	request string // method and path
	headers []string
	body    string
	status  int
	code    string
	want    []string // headers; "Name: -" for none
	text    string   // in the body
}

// routeTests are the rows of TestRoutes.
func routeTests() []routeTest {
	refuse := func(err error) Option {
		return WithAuth(func(*http.Request) (tcproom.Identity, error) { return tcproom.Identity{}, err })
	}
	as := func(name string) Option {
		return WithAuth(func(*http.Request) (tcproom.Identity, error) { return tcproom.Identity{Name: name}, nil })
	}
	anybody := WithAnonymousPost(true)
	page := WithPage(fstest.MapFS{"index.html": {Data: []byte("<p>hi")}, "chat.js": {Data: []byte("1")}})
	lines := tcproom.WithCodec(tcproom.Raw{})
	const site = "https://site.example"
	return []routeTest{
		{name: "health", request: "GET /healthz", status: 200, text: `{"status":"ok"}`, want: []string{"Cache-Control: no-store", "Content-Type: application/json", "X-Content-Type-Options: nosniff", "Vary: Origin"}},
		{name: "health of a stopped room", closed: true, request: "GET /healthz", status: 503, code: "closed", want: []string{"Retry-After: 5", "Content-Type: application/problem+json"}},
		{name: "health needs no auth", opts: []Option{refuse(ErrUnauthorized)}, request: "GET /healthz", status: 200},
		{name: "rooms", request: "GET /rooms", status: 200, text: `{"rooms":[{"name":"lobby","members":1}],"total":1,"more":false}`},
		{name: "rooms by prefix", request: "GET /rooms?prefix=lob&limit=1", status: 200, text: `"total":1`},
		{name: "rooms of another prefix", request: "GET /rooms?prefix=x", status: 200, text: `{"rooms":[],"total":0,"more":false}`},
		{name: "rooms behind the last", request: "GET /rooms?after=lobby", status: 200, text: `{"rooms":[],"total":1,"more":false}`},
		{name: "room", request: "GET /rooms/lobby", status: 200, text: `"seq":1`},
		{name: "room, HEAD", request: "HEAD /rooms/lobby", status: 200, want: []string{"Content-Type: application/json"}},
		{name: "members", request: "GET /rooms/lobby/members", status: 200, text: `"name":"ada"`},
		{name: "no messages", request: "GET " + messages, status: 200, text: `"seq":1,"messages":[],"gap":false,"more":false`, want: []string{"Cache-Control: private, no-cache"}},
		{name: "escaped name", request: "GET /rooms/%6cobby", status: 200},

		{name: "no such room", request: "GET /rooms/attic", status: 404, code: "no-room", text: `there is no room \"attic\"`},
		{name: "post to no such room", opts: []Option{anybody}, request: "POST /rooms/attic/messages", status: 404, code: "no-room"},
		{name: "name that no room has", request: "GET /rooms/a%0Ab", status: 400, code: "room-name", text: `a\\nb`},
		{name: "name with a slash", request: "GET /rooms/a%2Fb", status: 400, code: "room-name"},
		{name: "name that is too long", request: "GET /rooms/" + strings.Repeat("a", 65), status: 400, code: "room-name"},
		{name: "name that is no UTF-8", request: "GET /rooms/%ff", status: 400, code: "room-name"},
		{name: "no such path", request: "GET /nothing", status: 404, code: "not-found"},
		{name: "path of a peer's making", request: "GET /%3Cb%3E%0A", status: 404, code: "not-found", text: `\"/\u003cb\u003e\\n\"`},
		{name: "path with two slashes", request: "GET //rooms", status: 404, code: "not-found", want: []string{"Location: -"}},
		{name: "path with dots", request: "GET /x/../rooms", status: 404, code: "not-found", want: []string{"Location: -"}},
		{name: "path with a slash behind it", request: "GET /rooms/", status: 404, code: "not-found"},

		{name: "after is no number", request: "GET " + messages + "?after=x", status: 400, code: "malformed", text: `after=\"x\"`},
		{name: "after is below 0", request: "GET " + messages + "?after=-1", status: 400, code: "malformed"},
		{name: "after is too great", request: "GET " + messages + "?after=18446744073709551616", status: 400, code: "malformed"},
		{name: "limit is 0", request: "GET " + messages + "?limit=0", status: 400, code: "malformed"},
		{name: "limit is large", request: "GET " + messages + "?limit=18446744073709551615", status: 200},
		{name: "after twice", request: "GET " + messages + "?after=1&after=2", status: 400, code: "malformed"},
		{name: "unknown parameter", request: "GET " + messages + "?afer=1", status: 400, code: "malformed", text: `\"afer\"`},
		{name: "broken query", request: "GET " + messages + "?after=%zz", status: 400, code: "malformed"},
		{name: "unknown parameter of a room", request: "GET /rooms/lobby?x=1", status: 400, code: "malformed"},
		{name: "unknown parameter of rooms", request: "GET /rooms?x=1", status: 400, code: "malformed"},
		{name: "unknown parameter of members", request: "GET /rooms/lobby/members?x=1", status: 400, code: "malformed"},

		{name: "POST where there is only GET", request: "POST /rooms", status: 405, code: "method-not-allowed", want: []string{"Allow: GET, HEAD, OPTIONS"}},
		{name: "PUT", request: "PUT " + messages, status: 405, code: "method-not-allowed", want: []string{"Allow: GET, HEAD, POST, OPTIONS"}},
		{name: "a method of one's own", request: "BREW /healthz", status: 405, code: "method-not-allowed", text: `\"BREW\"`},
		{name: "POST to a WebSocket", request: "POST /ws", status: 405, code: "method-not-allowed"},
		{name: "POST to the page", opts: []Option{page}, request: "POST /", status: 405, code: "method-not-allowed", want: []string{"Allow: GET, HEAD, OPTIONS"}},
		{name: "POST to a file of the page", opts: []Option{page}, request: "POST /chat.js", status: 405, code: "method-not-allowed"},
		{name: "the page", opts: []Option{page}, request: "GET /", status: 200, text: "<p>hi"},
		{name: "no page", opts: []Option{WithPage(nil)}, request: "GET /", status: 404, code: "not-found"},

		{name: "OPTIONS", request: "OPTIONS " + messages, status: 204, want: []string{"Allow: GET, HEAD, POST, OPTIONS", "Access-Control-Allow-Origin: -"}},
		{name: "OPTIONS of the page", opts: []Option{page}, request: "OPTIONS /", status: 204, want: []string{"Allow: GET, HEAD, OPTIONS"}},
		{name: "OPTIONS of nothing", request: "OPTIONS /nothing", status: 404, code: "not-found"},
		{name: "preflight of a listed origin", opts: []Option{WithOrigins("site.example")}, request: "OPTIONS " + messages,
			headers: []string{"Origin: " + site, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization"}, status: 204,
			want: []string{"Access-Control-Allow-Origin: " + site, "Access-Control-Allow-Methods: GET, HEAD, POST, OPTIONS", "Access-Control-Allow-Credentials: true",
				"Access-Control-Allow-Headers: Authorization, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID", "Access-Control-Max-Age: 600", "Vary: Origin"}},
		{name: "preflight of another origin", opts: []Option{WithOrigins("other.example")}, request: "OPTIONS " + messages,
			headers: []string{"Origin: " + site, "Access-Control-Request-Method: POST"}, status: 204,
			want: []string{"Access-Control-Allow-Origin: -", "Access-Control-Allow-Methods: -"}},
		{name: "GET of a listed origin", opts: []Option{WithOrigins(site)}, request: "GET /rooms", headers: []string{"Origin: " + site}, status: 200,
			want: []string{"Access-Control-Allow-Origin: " + site, "Access-Control-Expose-Headers: Allow, ETag, Location, Retry-After, WWW-Authenticate", "Vary: Origin"}},
		{name: "GET of a listed origin by another scheme", opts: []Option{WithOrigins(site)}, request: "GET /rooms", headers: []string{"Origin: http://site.example"}, status: 200,
			want: []string{"Access-Control-Allow-Origin: -"}},
		{name: "GET of any origin", opts: []Option{WithOrigins("*")}, request: "GET /rooms", headers: []string{"Origin: " + site}, status: 200,
			want: []string{"Access-Control-Allow-Origin: *", "Access-Control-Allow-Credentials: -"}},
		{name: "GET of another origin", request: "GET /rooms", headers: []string{"Origin: " + site}, status: 200, want: []string{"Access-Control-Allow-Origin: -"}},
		{name: "an error for a listed origin", opts: []Option{WithOrigins(site)}, request: "GET /nothing", headers: []string{"Origin: " + site}, status: 404, code: "not-found",
			want: []string{"Access-Control-Allow-Origin: " + site}},

		{name: "Accept that leaves nothing", request: "GET /rooms", headers: []string{"Accept: text/html, application/json;q=0"}, status: 406, code: "not-acceptable"},
		{name: "Accept that leaves something", request: "GET /rooms", headers: []string{"Accept: text/html, */*;q=0.1"}, status: 200},
		{name: "Accept of a family", request: "GET /rooms", headers: []string{"Accept: application/*"}, status: 200},
		{name: "Accept that excludes it only", request: "GET /rooms", headers: []string{"Accept: */*, application/json;q=0"}, status: 406, code: "not-acceptable"},
		{name: "Accept in two headers", request: "GET /rooms", headers: []string{"Accept: text/html", "Accept: application/json"}, status: 200},
		{name: "POST for another type", opts: []Option{anybody}, request: "POST " + messages, headers: []string{plainly, "Accept: text/html"}, status: 406, code: "not-acceptable"},

		{name: "post", opts: []Option{anybody}, request: "POST " + messages, headers: []string{plainly}, body: "hi", status: 201, text: `"seq":2}`,
			want: []string{"Location: messages?after=1&limit=1", "Cache-Control: no-store"}},
		{name: "post of nothing", opts: []Option{anybody}, request: "POST " + messages, status: 201},
		{name: "post of bytes", opts: []Option{anybody}, request: "POST " + messages, headers: []string{"Content-Type: application/octet-stream"}, body: "\xff", status: 201},
		{name: "post of JSON", opts: []Option{anybody}, request: "POST " + messages, headers: []string{asJSON}, body: ` {"body":"hi"}`, status: 201},
		{name: "post of JSON with a type", opts: []Option{anybody}, request: "POST " + messages, headers: []string{asJSON}, body: `{"type":"message","data":"/w=="}`, status: 201},
		{name: "post in UTF-8", opts: []Option{anybody}, request: "POST " + messages, headers: []string{"Content-Type: text/plain; charset=UTF-8"}, body: "hi", status: 201},
		{name: "post of this origin", opts: []Option{anybody}, request: "POST " + messages, headers: []string{plainly, "Host: here.localhost", "Origin: http://here.localhost"}, body: "hi", status: 201},
		{name: "post of a listed origin", opts: []Option{anybody, WithOrigins("SITE.example")}, request: "POST " + messages, headers: []string{plainly, "Origin: " + site}, body: "hi", status: 201},
		{name: "post by WithAuth", opts: []Option{as("bob")}, request: "POST " + messages, headers: []string{plainly}, body: "hi", status: 201},

		{name: "post of JSON without body", opts: []Option{anybody}, request: "POST " + messages, headers: []string{asJSON}, body: `{}`, status: 400, code: "malformed"},
		{name: "post of no JSON", opts: []Option{anybody}, request: "POST " + messages, headers: []string{asJSON}, body: "hi", status: 400, code: "malformed"},
		{name: "post of a ping", opts: []Option{anybody}, request: "POST " + messages, headers: []string{asJSON}, body: `{"type":"ping"}`, status: 400, code: "malformed"},
		{name: "post of half a character", opts: []Option{anybody}, request: "POST " + messages, headers: []string{asJSON}, body: `{"body":"\ud800"}`, status: 400, code: "malformed"},
		{name: "a number without a member", opts: []Option{anybody}, request: "POST " + messages, headers: []string{plainly, "Idempotency-Key: 1"}, status: 400, code: "malformed"},
		{name: "a number in JSON without a member", opts: []Option{anybody}, request: "POST " + messages, headers: []string{asJSON}, body: `{"id":1,"body":"hi"}`, status: 400, code: "malformed"},
		{name: "a key that is no number", opts: []Option{anybody}, request: "POST " + messages, headers: []string{plainly, "Idempotency-Key: a-b"}, status: 400, code: "malformed", text: `\"a-b\"`},

		{name: "not authenticated", opts: []Option{refuse(fmt.Errorf("%w: who are you", ErrUnauthorized))}, request: "POST " + messages, headers: []string{plainly}, status: 401, code: "unauthorized",
			want: []string{"WWW-Authenticate: Bearer"}, text: "who are you"},
		{name: "not authenticated, reading", opts: []Option{refuse(ErrUnauthorized)}, request: "GET " + messages, status: 401, code: "unauthorized"},
		{name: "not authenticated, members", opts: []Option{refuse(ErrUnauthorized)}, request: "GET /rooms/lobby/members", status: 401, code: "unauthorized"},
		{name: "not authenticated, room", opts: []Option{refuse(ErrUnauthorized)}, request: "GET /rooms/lobby", status: 401, code: "unauthorized"},
		{name: "not authenticated, rooms", opts: []Option{refuse(ErrUnauthorized)}, request: "GET /rooms", status: 401, code: "unauthorized"},
		{name: "a token of nobody", opts: []Option{anybody}, request: "POST " + messages, headers: []string{plainly, "Authorization: Bearer ABC"}, status: 401, code: "unauthorized"},
		{name: "not allowed", opts: []Option{refuse(errors.New("not you"))}, request: "POST " + messages, headers: []string{plainly}, status: 403, code: "denied", text: "not you"},
		{name: "not allowed, reading", opts: []Option{refuse(errors.New("not you"))}, request: "GET /rooms", status: 403, code: "denied"},
		{name: "refused with a code", opts: []Option{refuse(&tcproom.RefusedError{Cause: "banned", Text: "go away"})}, request: "POST " + messages, headers: []string{plainly}, status: 403, code: "banned", text: "go away"},
		{name: "anonymous", request: "POST " + messages, headers: []string{plainly}, status: 403, code: "denied"},
		{name: "authenticated without a name", opts: []Option{as("")}, request: "POST " + messages, headers: []string{plainly}, status: 403, code: "denied"},
		{name: "post of another origin", opts: []Option{anybody}, request: "POST " + messages, headers: []string{plainly, "Origin: " + site}, body: "hi", status: 403, code: "denied", text: `\"https://site.example\"`},
		{name: "post of no origin", opts: []Option{anybody, WithOrigins("*")}, request: "POST " + messages, headers: []string{plainly, "Origin: null"}, status: 403, code: "denied"},
		{name: "post of two origins", opts: []Option{anybody, WithOrigins("*")}, request: "POST " + messages, headers: []string{plainly, "Origin: " + site, "Origin: " + site}, status: 403, code: "denied"},
		{name: "post of an origin that ends like a listed one", opts: []Option{anybody, WithOrigins("site.example")}, request: "POST " + messages, headers: []string{plainly, "Origin: https://not-site.example"}, status: 403, code: "denied"},
		{name: "post of an origin that begins like this one", opts: []Option{anybody}, request: "POST " + messages, headers: []string{plainly, "Host: here.localhost", "Origin: http://here.localhost.evil"}, status: 403, code: "denied"},

		{name: "name of the own member", room: []tcproom.RoomOption{tcproom.WithUniqueNames(true)}, opts: []Option{as("ada")}, request: "POST " + messages, headers: []string{plainly}, status: 201},
		{name: "name is invalid", opts: []Option{as("a b")}, request: "POST " + messages, headers: []string{plainly}, status: 400, code: "name-invalid", text: `\"a b\"`},
		{name: "too large", room: []tcproom.RoomOption{tcproom.WithMaxMessage(3)}, opts: []Option{anybody}, request: "POST " + messages, headers: []string{plainly}, body: "long", status: 413, code: "too-large", text: "3 bytes"},
		{name: "too large in JSON", room: []tcproom.RoomOption{tcproom.WithMaxMessage(3)}, opts: []Option{anybody}, request: "POST " + messages, headers: []string{asJSON}, body: `{"body":"long"}`, status: 413, code: "too-large"},
		{name: "far too large in JSON", room: []tcproom.RoomOption{tcproom.WithMaxMessage(3)}, opts: []Option{anybody}, request: "POST " + messages, headers: []string{asJSON}, body: `{"body":"` + strings.Repeat("x", 5000), status: 413, code: "too-large"},
		{name: "large in JSON by its escapes", room: []tcproom.RoomOption{tcproom.WithMaxMessage(300)}, opts: []Option{anybody}, request: "POST " + messages, headers: []string{asJSON}, body: `{"body":"` + strings.Repeat(`\u0041`, 300) + `"}`, status: 201},
		{name: "a form", opts: []Option{anybody}, request: "POST " + messages, headers: []string{"Content-Type: application/x-www-form-urlencoded"}, body: "hi", status: 415, code: "unsupported-type"},
		{name: "another charset", opts: []Option{anybody}, request: "POST " + messages, headers: []string{"Content-Type: text/plain; charset=latin1"}, body: "hi", status: 415, code: "unsupported-type"},
		{name: "compressed", opts: []Option{anybody}, request: "POST " + messages, headers: []string{plainly, "Content-Encoding: gzip"}, body: "hi", status: 415, code: "unsupported-type"},
		{name: "no content type", opts: []Option{anybody}, request: "POST " + messages, headers: []string{"Content-Type: ;"}, body: "hi", status: 415, code: "unsupported-type", text: `\";\"`},
		{name: "unframeable", room: []tcproom.RoomOption{lines}, opts: []Option{anybody}, request: "POST " + messages, headers: []string{plainly}, body: "a\nb", status: 422, code: "unframeable"},
		{name: "too fast", opts: []Option{refuse(&tcproom.RefusedError{Cause: "rate-limited", Text: "slow down", RetryAfter: 1500 * time.Millisecond})}, request: "POST " + messages, headers: []string{plainly}, status: 429, code: "rate-limited", want: []string{"Retry-After: 2"}},
		{name: "too many of one address", opts: []Option{refuse(tcproom.Cause("too-many-from-address"))}, request: "POST " + messages, headers: []string{plainly}, status: 429, code: "too-many-from-address", want: []string{"Retry-After: 5"}},
		{name: "a hook panics", opts: []Option{WithAuth(func(*http.Request) (tcproom.Identity, error) { panic("my secret") })}, request: "POST " + messages, headers: []string{plainly}, status: 500, code: "hook", text: "a function of the server's failed"},
		{name: "a hook panics for a reader", opts: []Option{WithAuth(func(*http.Request) (tcproom.Identity, error) { panic("my secret") })}, request: "GET /rooms", status: 500, code: "hook"},
		{name: "a validator panics", room: []tcproom.RoomOption{tcproom.WithNameValidator(func(name string) error {
			if name == "web" {
				panic("my secret")
			}
			return nil
		})}, opts: []Option{anybody}, request: "POST " + messages, headers: []string{plainly}, status: 500, code: "hook"},
		{name: "a hook's own deadline", opts: []Option{refuse(context.DeadlineExceeded)}, request: "POST " + messages, headers: []string{plainly}, status: 503, code: "retry", want: []string{"Retry-After: 1"}},
		{name: "full, says a hook", opts: []Option{refuse(tcproom.ErrRoomFull)}, request: "POST " + messages, headers: []string{plainly}, status: 503, code: "full", want: []string{"Retry-After: 5"}},
		{name: "stopped", closed: true, opts: []Option{anybody}, request: "POST " + messages, headers: []string{plainly}, status: 503, code: "closed", want: []string{"Retry-After: 5"}},
		{name: "reading from a stopped room", closed: true, request: "GET " + messages, status: 200},
	}
}

// TestRoutes: each status of the routes, by a request that gets it.
func TestRoutes(t *testing.T) {
	for _, tt := range routeTests() {
		t.Run(tt.name, func(t *testing.T) {
			room := newRoom(t, tt.room...)
			if tt.room == nil || tt.name == "name of the own member" {
				join(t, room, "ada")
			}
			if tt.closed {
				require.NoError(t, room.Close())
			}
			said := room.Stats().Messages
			s := serve(t, New(One("lobby", room), tt.opts...))
			method, path, _ := strings.Cut(tt.request, " ")
			a := s.ask(method, path, tt.body, tt.headers...)
			require.Equal(t, tt.status, a.StatusCode, "%s", a.body)
			require.Equal(t, tt.code, a.code())
			if tt.code != "" {
				require.Equal(t, "application/problem+json", a.Header.Get("Content-Type"))
				require.Equal(t, "about:blank", a.json["type"])
				require.Equal(t, http.StatusText(tt.status), a.json["title"])
				require.EqualValues(t, tt.status, a.json["status"])
				require.NotContains(t, a.json["detail"], "\n")
				require.NotContains(t, a.json["detail"], "my secret")
				require.Equal(t, "no-store", a.Header.Get("Cache-Control"))
			}
			for _, line := range tt.want {
				name, want, _ := strings.Cut(line, ": ")
				if want == "-" {
					want = ""
				}
				require.Equal(t, want, a.Header.Get(name), name)
			}
			require.Contains(t, a.body, tt.text)
			if tt.status == 201 {
				said++
			}
			require.Equal(t, said, room.Stats().Messages)
			if tt.status == 500 && len(tt.room) == 0 {
				require.Contains(t, s.log.String(), "my secret")
				require.True(t, a.Close, "the connection is not used again")
			}
		})
	}
}

// TestSparseSeqs: pages, places and positions are right if seqs rise by more than one.
func TestSparseSeqs(t *testing.T) {
	testkit.EachSeqs(t, func(t *testing.T, seqs testkit.Seqs) {
		room := newRoom(t, seqs.Option(), tcproom.WithHistory(tcproom.History{Messages: 5}), tcproom.WithNotices(false))
		srv := serve(t, New(One("lobby", room), WithAnonymousPost(true)))
		epoch := room.Past(0, 1).Epoch
		for i := range 8 {
			a := srv.ask("POST", "/rooms/lobby/messages", fmt.Sprintf(`{"body":"m%d"}`, i+1), "Content-Type: application/json")
			require.Equal(t, http.StatusCreated, a.StatusCode, a.body)
			require.EqualValues(t, seqs.At(uint64(i+1)), a.json["seq"])
			a = srv.ask("GET", "/rooms/lobby/"+a.Header.Get("Location"), "")
			require.Len(t, a.json["messages"], 1)
			require.Equal(t, fmt.Sprint("m", i+1), a.json["messages"].([]any)[0].(map[string]any)["body"])
		}
		var got []string
		after, tags := uint64(0), map[string]bool{}
		for more := true; more; {
			path := fmt.Sprintf("/rooms/lobby/messages?after=%d&limit=2", after)
			a := srv.ask("GET", path, "")
			require.Equal(t, after == 0, a.json["gap"], "the first three are gone")
			for _, m := range a.json["messages"].([]any) {
				m := m.(map[string]any)
				got = append(got, m["body"].(string))
				after = uint64(m["seq"].(float64))
			}
			more = a.json["more"].(bool)
			tags[a.Header.Get("ETag")] = true
			require.Equal(t, http.StatusNotModified, srv.ask("GET", path, "", "If-None-Match: "+a.Header.Get("ETag")).StatusCode)
		}
		require.Equal(t, []string{"m4", "m5", "m6", "m7", "m8"}, got)
		require.Equal(t, seqs.At(8), after)
		require.Len(t, tags, 2)

		e := read(t, srv.Server, "", "Last-Event-ID", fmt.Sprintf("%s:%d", epoch, seqs.At(2)))
		e.expect(welcomed(seqs.At(8), "guest-1"), fmt.Sprintf(`{"type":"gap","first":%d,"last":%d}`, seqs.At(2)+1, seqs.At(3)))
		require.Equal(t, fmt.Sprintf("%s:%d", epoch, seqs.At(3)), e.id)
		e.expect(fmt.Sprintf(`{"type":"message","seq":%d,"from":{"id":"?","name":"web"},"time":"?","history":true,"body":"m4"}`, seqs.At(4)))
		require.Equal(t, fmt.Sprintf("%s:%d", epoch, seqs.At(4)), e.id)
	})
}
