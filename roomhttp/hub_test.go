package roomhttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// newHub returns a hub with everything that the routes need.
func newHub(t testing.TB, opts ...tcproom.HubOption) *tcproom.Hub {
	hub := tcproom.NewHub(append([]tcproom.HubOption{
		tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{}), tcproom.WithHistory(tcproom.History{Messages: 100}),
	}, opts...)...)
	t.Cleanup(func() { hub.Close() })
	return hub
}

// enter makes somebody a member of a room, by a connection that names none, and returns
// the member and the token of its session.
func enter(t testing.TB, hub *tcproom.Hub, room, name string) (*tcproom.Member, tcproom.Secret) {
	t.Helper()
	c, err := hub.Join(testContext(t), room, tcproom.Identity{Name: name})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	ev, err := c.Receive(testContext(t))
	require.NoError(t, err)
	r, ok := hub.Lookup(room)
	require.True(t, ok)
	m, ok := r.Member(c.ID())
	require.True(t, ok)
	require.NotEmpty(t, ev.Welcome.Token)
	return m, ev.Welcome.Token
}

func names(hub *tcproom.Hub) (all []string) {
	for name := range hub.Rooms("") {
		all = append(all, name)
	}
	return all
}

// hubTests are the rows of TestHubRoutes: the rooms are lobby with ada, kitchen with bob,
// and vault, which is hidden, with eve.
func hubTests() []routeTest {
	as := func(name string) Option {
		return WithAuth(func(*http.Request) (tcproom.Identity, error) { return tcproom.Identity{Name: name}, nil })
	}
	anybody := WithAnonymousPost(true)
	upgrade := []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + goodKey}
	const post = "POST /rooms/kitchen/messages"
	return []routeTest{
		{name: "health", request: "GET /healthz", status: 200},
		{name: "health of a stopped hub", closed: true, request: "GET /healthz", status: 503, code: "closed"},
		{name: "rooms", request: "GET /rooms", status: 200, text: `{"rooms":[{"name":"kitchen","members":1},{"name":"lobby","members":1}],"total":2,"more":false}`},
		{name: "rooms by prefix", request: "GET /rooms?prefix=k", status: 200, text: `{"rooms":[{"name":"kitchen","members":1}],"total":1,"more":false}`},
		{name: "rooms behind one", request: "GET /rooms?after=kitchen", status: 200, text: `{"rooms":[{"name":"lobby","members":1}],"total":2,"more":false}`},
		{name: "rooms behind what is none", request: "GET /rooms?after=l", status: 200, text: `{"rooms":[{"name":"lobby","members":1}],"total":2,"more":false}`},
		{name: "first room", request: "GET /rooms?limit=1", status: 200, text: `{"rooms":[{"name":"kitchen","members":1}],"total":2,"more":true}`},
		{name: "last room", request: "GET /rooms?limit=1&after=kitchen", status: 200, text: `"total":2,"more":false`},
		{name: "a room", request: "GET /rooms/kitchen", status: 200, text: `{"name":"kitchen","members":1,`},
		{name: "its members", request: "GET /rooms/kitchen/members", status: 200, text: `"name":"bob"`},
		{name: "its messages", request: "GET /rooms/kitchen/messages", status: 200, text: `"messages":[]`},

		{name: "no such room", request: "GET /rooms/attic", status: 404, code: "no-room"},
		{name: "members of no such room", request: "GET /rooms/attic/members", status: 404, code: "no-room"},
		{name: "messages of no such room", request: "GET /rooms/attic/messages", status: 404, code: "no-room"},
		{name: "post to no such room", opts: []Option{anybody}, request: "POST /rooms/attic/messages", status: 404, code: "no-room"},
		{name: "the room of all connections", request: "GET /rooms/*", status: 400, code: "room-name"},
		{name: "events of all connections", request: "GET /rooms/*/events", status: 400, code: "room-name"},
		{name: "a hidden room", request: "GET /rooms/vault", status: 404, code: "no-room", text: `there is no room \"vault\"`},
		{name: "members of a hidden room", request: "GET /rooms/vault/members", status: 404, code: "no-room"},
		{name: "messages of a hidden room", request: "GET /rooms/vault/messages", status: 404, code: "no-room"},
		{name: "a hidden room, for a user", opts: []Option{as("eve")}, request: "GET /rooms/vault/messages", status: 404, code: "no-room"},
		{name: "a hidden room, for a member of another", request: "GET /rooms/vault/messages", headers: []string{"ada"}, status: 404, code: "no-room"},
		{name: "a hidden room, for its member", request: "GET /rooms/vault/messages", headers: []string{"eve"}, status: 200},
		{name: "post to a hidden room", opts: []Option{anybody}, request: "POST /rooms/vault/messages", headers: []string{plainly}, status: 404, code: "no-room"},
		{name: "post to a hidden room as its member", request: "POST /rooms/vault/messages", headers: []string{plainly, "eve"}, status: 201},

		{name: "WebSocket asked plainly", request: "GET /rooms/attic/ws", status: 426, code: "malformed"},
		{name: "WebSocket of a name that the hub refuses", request: "GET /rooms/Attic/ws", headers: upgrade, status: 400, code: "room-name"},
		{name: "events of a name that the hub refuses", request: "GET /rooms/Attic/events", status: 400, code: "room-name"},
		{name: "WebSocket where no room is made", hub: []tcproom.HubOption{tcproom.WithOpenRooms(false)}, request: "GET /rooms/attic/ws", headers: upgrade, status: 404, code: "no-room"},
		{name: "WebSocket where there are enough rooms", hub: []tcproom.HubOption{tcproom.WithMaxRooms(3)}, request: "GET /rooms/attic/ws", headers: upgrade, status: 503, code: "too-many-rooms", want: []string{"Retry-After: 5"}},
		{name: "events of a full room", hub: []tcproom.HubOption{tcproom.WithMaxMembers(1)}, request: "GET /rooms/kitchen/events", status: 503, code: "full"},
		{name: "WebSocket of a banned user", opts: []Option{as("mallory")}, request: "GET /rooms/kitchen/ws", headers: upgrade, status: 403, code: "banned", text: "too loud"},
		{name: "events of a banned user", opts: []Option{as("mallory")}, request: "GET /rooms/kitchen/events", status: 403, code: "banned"},
		{name: "events in a stopped hub", closed: true, request: "GET /rooms/kitchen/events", status: 503, code: "closed"},

		{name: "post", opts: []Option{anybody}, request: post, headers: []string{plainly}, body: "hi", status: 201, want: []string{"Location: messages?after=1&limit=1"}},
		{name: "post as a member", request: post, headers: []string{plainly, "bob"}, status: 201},
		{name: "post as a member of another room", opts: []Option{anybody}, request: post, headers: []string{plainly, "ada"}, status: 403, code: "not-member"},
		{name: "post by a token of nobody", request: post, headers: []string{plainly, "Authorization: Bearer x"}, status: 401, code: "unauthorized"},
		{name: "post of a banned user", opts: []Option{as("mallory")}, request: post, headers: []string{plainly}, status: 403, code: "banned"},
		{name: "post of a user that is banned elsewhere", opts: []Option{as("mallory")}, request: "POST /rooms/lobby/messages", headers: []string{plainly}, status: 201},
		{name: "post as a muted member", request: "POST /rooms/lobby/messages", headers: []string{plainly, "ada"}, status: 403, code: "muted"},
		{name: "post of a user whose name is muted", opts: []Option{as("ada")}, request: "POST /rooms/lobby/messages", headers: []string{plainly}, status: 403, code: "muted"},
	}
}

// TestHubRoutes: each status of the routes of a hub, by a request that gets it. None
// makes a room.
func TestHubRoutes(t *testing.T) {
	for _, tt := range hubTests() {
		t.Run(tt.name, func(t *testing.T) {
			hub := newHub(t, append([]tcproom.HubOption{tcproom.WithRoom("vault", tcproom.Hidden()), tcproom.WithRoom("kitchen"), tcproom.WithRoom("lobby")}, tt.hub...)...)
			tokens := make(map[string]tcproom.Secret)
			ada, token := enter(t, hub, "lobby", "ada")
			tokens["ada"] = token
			_, tokens["bob"] = enter(t, hub, "kitchen", "bob")
			_, tokens["eve"] = enter(t, hub, "vault", "eve")
			require.NoError(t, ada.Room().Mute(ada.ID(), time.Now().Add(time.Hour)))
			_, err := hub.Ban(tcproom.Ban{Room: "kitchen", Name: "mallory", Reason: "too loud"})
			require.NoError(t, err)
			if tt.closed {
				require.NoError(t, hub.Close())
			}
			s := serve(t, New(hub, tt.opts...))
			headers := slices.Clone(tt.headers)
			for i, line := range headers {
				if token, ok := tokens[line]; ok {
					headers[i] = "Authorization: Bearer " + string(token)
				}
			}
			method, path, _ := strings.Cut(tt.request, " ")
			a := s.ask(method, path, tt.body, headers...)
			require.Equal(t, tt.status, a.StatusCode, "%s", a.body)
			require.Equal(t, tt.code, a.code())
			for _, line := range tt.want {
				name, want, _ := strings.Cut(line, ": ")
				require.Equal(t, want, a.Header.Get(name), name)
			}
			require.Contains(t, a.body, tt.text)
			require.Equal(t, []string{"kitchen", "lobby", "vault"}, names(hub))
		})
	}
}

// TestHubBannedAddress: a ban of an address holds for requests of it too.
func TestHubBannedAddress(t *testing.T) {
	hub := newHub(t, tcproom.WithRoom("kitchen"))
	s := serve(t, New(hub, WithAnonymousPost(true)))
	_, err := hub.Ban(tcproom.Ban{Room: "kitchen", Addr: netip.MustParsePrefix("127.0.0.0/8")})
	require.NoError(t, err)
	for _, request := range []string{"POST /rooms/kitchen/messages", "GET /rooms/kitchen/events"} {
		method, path, _ := strings.Cut(request, " ")
		a := s.ask(method, path, "", plainlyIf(method)...)
		require.Equal(t, 403, a.StatusCode, request)
		require.Equal(t, "banned", a.code())
	}
	require.True(t, hub.Unban(tcproom.Ban{Room: "kitchen", Addr: netip.MustParsePrefix("127.0.0.0/8")}))
	require.Equal(t, 201, s.ask("POST", "/rooms/kitchen/messages", "", plainly).StatusCode)
}

func plainlyIf(method string) []string {
	if method == "POST" {
		return []string{plainly}
	}
	return nil
}

// TestHubReaders: if OnEnter decides who enters rooms, nobody reads one by a request but
// its members, and users that WithAuth knows.
func TestHubReaders(t *testing.T) {
	hub := newHub(t, tcproom.WithRoom("kitchen"), tcproom.OnEnter(func(_ context.Context, m *tcproom.Member, room string) error {
		if room == "kitchen" && m.Name() != "bob" {
			return errors.New("members only")
		}
		return nil
	}))
	_, ada := enter(t, hub, "lobby", "ada")
	_, bob := enter(t, hub, "kitchen", "bob")
	s := serve(t, New(hub))
	known := serve(t, New(hub, WithAuth(func(*http.Request) (tcproom.Identity, error) { return tcproom.Identity{Name: "gus"}, nil })))
	for _, path := range []string{"/rooms/kitchen", "/rooms/kitchen/members", "/rooms/kitchen/messages"} {
		require.Equal(t, 401, s.ask("GET", path, "").StatusCode, path)
		a := s.ask("GET", path, "", "Authorization: Bearer "+string(ada))
		require.Equal(t, 403, a.StatusCode, path)
		require.Equal(t, "not-member", a.code())
		require.Equal(t, 200, s.ask("GET", path, "", "Authorization: Bearer "+string(bob)).StatusCode, path)
		require.Equal(t, 200, known.ask("GET", path, "").StatusCode, path)
	}
	require.Equal(t, 200, s.ask("GET", "/rooms", "").StatusCode, "anybody who connects can list them")
	p := dialWSAt(t, s.Server, "/rooms/kitchen/ws", "tcproom.json", text(helloAda))
	require.Contains(t, p.next(), `"code":"denied","retry":false`)
	require.Equal(t, `close 1008 "denied"`, p.next())
	e := readAt(t, s.Server, "/rooms/kitchen/events?name=ada")
	require.Empty(t, e.id, "where its order stands is not for everybody")
	require.Contains(t, e.next(), `"code":"denied","retry":false`)
}

// TestHubWS: by /ws a connection is in several rooms if its hello names them, else in the
// default room; by the address of a room it is in that one, which is made for it.
func TestHubWS(t *testing.T) {
	t.Parallel()
	hub := newHub(t, tcproom.WithSessions(tcproom.Sessions{}))
	s := serve(t, New(hub))
	ada := dialWSAt(t, s.Server, "/ws", "tcproom.json", text(`{"type":"hello","name":"ada","rooms":["lobby"]}`))
	require.Contains(t, ada.next(), `{"type":"welcome","room":"*",`)
	require.Contains(t, ada.next(), `{"type":"welcome","room":"lobby",`)
	bob := dialWSAt(t, s.Server, "/ws", "tcproom.json", text(`{"type":"hello","name":"bob"}`))
	require.Contains(t, bob.next(), `{"type":"welcome","epoch":"?","seq":2,"id":"?","name":"bob"`)
	require.Contains(t, ada.next(), `{"type":"join","room":"lobby","seq":2,`)
	_, ok := hub.Lookup("attic")
	require.False(t, ok)
	eve := dialWSAt(t, s.Server, "/rooms/attic/ws", "tcproom.json", text(`{"type":"hello","name":"eve"}`))
	require.Contains(t, eve.next(), `{"type":"welcome","epoch":"?","seq":1,"id":"?","name":"eve"`)
	ada.send(text(`{"type":"enter","room":"attic","ref":1}`))
	require.Contains(t, ada.next(), `{"type":"welcome","room":"attic","ref":1,`)
	require.Contains(t, eve.next(), `{"type":"join","seq":2,`)
	ada.send(text(`{"type":"message","room":"attic","body":"up here"}`), text(`{"type":"message","room":"lobby","body":"down here"}`))
	require.Contains(t, eve.next(), `"body":"up here"`)
	require.Contains(t, bob.next(), `"body":"down here"`)
	gus := dialWSAt(t, s.Server, "/rooms/attic/ws?name=gus", "tcproom.text")
	require.Contains(t, eve.next(), `"name":"gus"`)
	gus.send(text("/join lobby"))
	require.Contains(t, eve.next(), `"body":"/join lobby"`, "it names no rooms")
}

// TestHubEvents: events of a room, which is made for its reader, from the position where
// that was.
func TestHubEvents(t *testing.T) {
	t.Parallel()
	hub := newHub(t)
	s := serve(t, New(hub))
	e := readAt(t, s.Server, "/rooms/attic/events?name=ada")
	require.Empty(t, e.id)
	require.Contains(t, e.next(), `{"type":"welcome","epoch":"?","seq":1,"id":"?","name":"ada"`)
	attic, ok := hub.Lookup("attic")
	require.True(t, ok)
	epoch := attic.Past(0, 1).Epoch
	tell(t, attic, "one", "two")
	e.expect(told(2, "one"))
	require.Equal(t, epoch+":2", e.id)
	e.expect(told(3, "two"))
	require.Equal(t, epoch+":3", e.id)

	again := readAt(t, s.Server, "/rooms/attic/events?name=ada", "Last-Event-ID", epoch+":2")
	require.Equal(t, epoch+":2", again.id)
	require.Contains(t, again.next(), `"type":"welcome"`)
	again.expect(toldBefore(3, "two"))
	require.Equal(t, epoch+":3", again.id)
	require.Equal(t, 400, s.ask("GET", "/rooms/attic/events", "", "Last-Event-ID: "+epoch+":99").StatusCode)

	for i := range 20 { // each room has the same lane
		e := readAt(t, s.Server, "/rooms/room-"+string(rune('a'+i))+"/events")
		require.Contains(t, e.next(), `"type":"welcome"`)
	}
}

// TestHubPostAsMember: the token of a session speaks in each room in which its
// connection is, and the number of a message counts over all of them.
func TestHubPostAsMember(t *testing.T) {
	hub := newHub(t, tcproom.WithRoom("attic"))
	s := serve(t, New(hub))
	p := dialWSAt(t, s.Server, "/ws", "tcproom.json", text(`{"type":"hello","name":"ada","rooms":["lobby","kitchen"]}`))
	_, rest, ok := strings.Cut(p.raw(), `"token":"`)
	require.True(t, ok)
	token, _, _ := strings.Cut(rest, `"`)
	p.next()
	p.next()
	auth := "Authorization: Bearer " + token
	for i, room := range []string{"lobby", "kitchen"} {
		path, number := "/rooms/"+room+"/messages", fmt.Sprint("Idempotency-Key: ", i+1)
		first := s.ask("POST", path, "hi", plainly, auth, number)
		require.Equal(t, 201, first.StatusCode, first.body)
		again := s.ask("POST", path, "hi", plainly, auth, number)
		require.Equal(t, first.body, again.body)
		r, _ := hub.Lookup(room)
		require.Equal(t, first.json["epoch"], r.Past(0, 1).Epoch)
		said := r.Past(0, 0).Events
		require.Len(t, said, 1)
		require.Equal(t, "ada", said[0].From.Name)
	}
	a := s.ask("POST", "/rooms/kitchen/messages", "hi", plainly, auth, "Idempotency-Key: 1")
	require.Equal(t, 409, a.StatusCode)
	require.Equal(t, "number-used", a.code())
	a = s.ask("POST", "/rooms/attic/messages", "hi", plainly, auth)
	require.Equal(t, 403, a.StatusCode)
	require.Equal(t, "not-member", a.code())
	kitchen, _ := hub.Lookup("kitchen")
	for m := range kitchen.Members() {
		require.NoError(t, m.Kick(""))
	}
	require.Equal(t, 403, s.ask("POST", "/rooms/kitchen/messages", "hi", plainly, auth).StatusCode)
	require.Equal(t, 201, s.ask("POST", "/rooms/lobby/messages", "hi", plainly, auth).StatusCode)
}

// TestHubPage: the page is told that there are rooms.
func TestHubPage(t *testing.T) {
	_, body := ask(t, New(newHub(t)), "GET", "/", nil)
	require.Contains(t, body, `<body data-hub="lobby" data-tcproom="ws">`)
}

// TestHubPostByTakenName: a name that a connection has, in whatever room, is not that of
// another who posts; who WithAuth says to bear it posts as the member.
func TestHubPostByTakenName(t *testing.T) {
	hub := newHub(t, tcproom.WithUniqueNames(true), tcproom.WithRoom("kitchen"))
	ada, _ := enter(t, hub, "lobby", "ada")
	enter(t, hub, "lobby", "web")
	s := serve(t, New(hub, WithAnonymousPost(true)))
	known := serve(t, New(hub, WithAuth(func(*http.Request) (tcproom.Identity, error) { return tcproom.Identity{Name: "ada"}, nil })))
	require.Equal(t, 201, s.ask("POST", "/rooms/kitchen/messages", "hi", plainly).StatusCode)
	require.Equal(t, 201, known.ask("POST", "/rooms/kitchen/messages", "hi", plainly).StatusCode)
	kitchen, _ := hub.Lookup("kitchen")
	said := kitchen.Past(0, 0).Events
	require.Regexp(t, "^web-", said[0].From.Name)
	require.Equal(t, ada.Info(), said[1].From)
}
