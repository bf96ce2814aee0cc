package roomnats_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomnats"
	"example.com/tcproom/roomnats/natstest"
	"example.com/tcproom/roomtest"
)

// newHubSite is newSite for a hub.
func newHubSite(t testing.TB, s *natstest.Server, lease time.Duration, opts ...tcproom.HubOption) *site {
	t.Helper()
	way := natstest.Forward(t, s.Addr())
	nc := dial(t, way.URL())
	bp := backplane(t, nc, roomnats.Lease(lease))
	srv := roomtest.NewHub(t, append(opts, tcproom.WithBackplane(bp), tcproom.WithCodec(tcproom.JSON{}))...)
	srv.Within(patience)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, srv.Hub.Ready(ctx))
	return &site{srv, nc, way}
}

// in waits for an event of a kind in a room, of somebody or with a text; empty is any.
func (tp *tape) in(room string, kind tcproom.Kind, name, body string) {
	tp.t.Helper()
	tp.await(kind.String()+" of "+name+" in "+room, func(ev tcproom.Event) bool {
		return ev.Room == room && ev.Kind == kind && (name == "" || ev.From.Name == name) && (body == "" || string(ev.Body) == body)
	})
}

// count returns how many events there are of a kind in a room.
func (tp *tape) count(room string, kind tcproom.Kind, name string) (n int) {
	for _, ev := range tp.all() {
		if ev.Room == room && ev.Kind == kind && ev.From.Name == name {
			n++
		}
	}
	return n
}

// A hub in three processes: what is done at one is seen at all, who loses a process goes
// on at another, in all of its rooms, and who does not leaves them.
func TestHub(t *testing.T) {
	t.Parallel()
	timed(t, time.Second, testHub)
}

func testHub(t testing.TB, lease time.Duration) {
	s := natstest.Solo(t)
	var at []*site
	for range 3 {
		at = append(at, newHubSite(t, s, lease, tcproom.WithSessions(tcproom.Sessions{Grace: lease})))
	}
	join := func(name string, at []*site, rooms ...string) *tape {
		tp := recordWith(t, name, at, tcproom.InRooms(rooms...))
		for _, room := range rooms {
			tp.in(room, tcproom.Welcome, "", "")
		}
		return tp
	}
	cy := join("cy", at[2:], "a", "a.b", "c")
	bob := join("bob", at[1:2], "a", "a.b")
	ada := join("ada", []*site{at[0], at[2]}, "a")
	bob.in("a", tcproom.Join, "ada", "")
	require.NoError(t, ada.EnterRoom(t.Context(), "a.b"))
	ada.in("a.b", tcproom.Welcome, "", "")
	require.NoError(t, ada.SendTo(t.Context(), "a", []byte("to a")))
	require.NoError(t, ada.SendTo(t.Context(), "a.b", []byte("to a.b")))
	bob.in("a", tcproom.Message, "ada", "to a")
	bob.in("a.b", tcproom.Message, "ada", "to a.b")
	_, err := at[2].Room.Broadcast(t.Context(), []byte("to all"))
	require.NoError(t, err)
	for _, tp := range []*tape{ada, bob, cy} {
		tp.in("*", tcproom.Message, "", "to all")
	}

	require.NoError(t, ada.MoveRoom(t.Context(), "a", "c"))
	bob.in("a", tcproom.Leave, "ada", "")
	cy.in("c", tcproom.Join, "ada", "")
	ada.in("c", tcproom.Welcome, "", "")

	// Her process dies, and she goes on at another one.
	at[0].nc.Close()
	ada.lose("site:1")
	for _, room := range []string{"*", "a.b", "c"} {
		ada.await("the resume in "+room, func(ev tcproom.Event) bool {
			return ev.Kind == tcproom.Welcome && ev.Room == room && ev.Welcome.Resumed()
		})
	}
	require.NoError(t, ada.SendTo(t.Context(), "a.b", []byte("still here")))
	bob.in("a.b", tcproom.Message, "ada", "still here")

	// A ban that is said at one puts out and keeps out at another.
	put, err := at[1].Hub.Ban(tcproom.Ban{Room: "a.b", Name: "ada", Reason: "noise"})
	require.NoError(t, err)
	require.Equal(t, 1, put)
	ada.in("a.b", tcproom.Goodbye, "", "")
	bob.in("a.b", tcproom.Leave, "ada", "")
	require.ErrorIs(t, ada.EnterRoom(t.Context(), "a.b"), tcproom.ErrBanned)
	require.NoError(t, ada.SendTo(t.Context(), "c", []byte("in c still")))
	cy.in("c", tcproom.Message, "ada", "in c still")

	// Another process dies, with a member that does not come back.
	at[1].nc.Close()
	cy.in("a", tcproom.Leave, "bob", "")
	cy.in("a.b", tcproom.Leave, "bob", "")
	require.NoError(t, ada.SendTo(t.Context(), "c", []byte("last")))
	cy.in("c", tcproom.Message, "ada", "last")
	for room, want := range map[string]int{"a": 1, "a.b": 1, "c": 0} {
		require.Equal(t, want, cy.count(room, tcproom.Leave, "bob"), "bob in %s:%s", room, cy.text())
		require.Equal(t, want, cy.count(room, tcproom.Leave, "ada"), "ada in %s:%s", room, cy.text())
	}
	require.Eventually(t, func() bool { return at[2].Room.Len() == 2 }, patience, time.Millisecond) // "*" by itself
}
