package roomnats_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomnats"
	"example.com/tcproom/roomnats/natstest"
	"example.com/tcproom/roomtest"
)

// node starts a room of the name that all of these tests have, by a connection of its
// own.
func node(t testing.TB, s *natstest.Server, opts ...roomnats.Option) (*roomtest.Server, *nats.Conn) {
	t.Helper()
	nc := dial(t, s.URL())
	order, err := roomnats.Open(t.Context(), nc, "lobby", usual(opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { order.Close() })
	srv := roomtest.NewMemServer(t, tcproom.WithLog(order))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, srv.Room.Ready(ctx))
	return srv, nc
}

// Three rooms on one log are one room: their members see all, in one order, also while
// the server restarts.
func TestRoomsAreOne(t *testing.T) {
	t.Parallel()
	s := natstest.Solo(t)
	var rooms []*roomtest.Server
	var members []*roomtest.Member
	for i := range 3 {
		srv, _ := node(t, s)
		m := srv.Join(fmt.Sprint("member", i))
		for _, other := range members {
			other.Await(roomtest.Joined(m.Name()))
		}
		rooms, members = append(rooms, srv), append(members, m)
	}
	const each = 100
	sent := make(chan struct{})
	for i, m := range members {
		go func() {
			defer func() { sent <- struct{}{} }()
			for n := range each {
				m.SendAsync(fmt.Sprint(n))
				if i == 0 && n == each/2 {
					s.Restart()
				}
			}
		}()
	}
	for range members {
		<-sent
	}
	orders := make([]string, len(rooms))
	for i, srv := range rooms {
		require.Eventually(t, func() bool {
			orders[i] = srv.Transcript().String()
			return strings.Count(orders[i], ": ") == len(members)*each
		}, patience, time.Millisecond)
	}
	for _, order := range orders[1:] {
		// One that came later has not seen the first joins.
		require.True(t, strings.HasSuffix(orders[0], order), "another order:\n%s\nthan\n%s", order, orders[0])
	}
	for i := range members {
		for n := range each {
			require.Equal(t, 1, strings.Count(orders[0], fmt.Sprintf("  member%d: %d\n", i, n)))
		}
	}
}

// A process that dies has its members leave elsewhere, once, when its lease has ended.
func TestRoomWhoseNodeDies(t *testing.T) {
	t.Parallel()
	s := natstest.Solo(t)
	a, _ := node(t, s, roomnats.Lease(time.Second))
	b, nc := node(t, s, roomnats.Lease(time.Second))
	ada := a.Join("ada")
	b.Join("bob")
	ada.Await(roomtest.Joined("bob"))
	nc.Close()
	ada.Within(patience).Await(roomtest.Left("bob"))
	require.Equal(t, 1, a.Room.Len())
}

// TestRoomWhoseLogIsLost: a server in memory restarts. Members stay connected, are told
// that another stream begins, and who is there, and get all that is said in it.
func TestRoomWhoseLogIsLost(t *testing.T) {
	t.Parallel()
	s := natstest.Solo(t)
	a, _ := node(t, s, roomnats.Memory())
	b, _ := node(t, s, roomnats.Memory())
	ada, bob := a.Join("ada"), b.Join("bob")
	ada.Await(roomtest.Joined("bob"))
	ada.Send("before")
	bob.Await(roomtest.Message("ada", "before"))
	s.Restart()
	reset := func(m *roomtest.Member) (names []string) {
		for _, ev := range m.Events()[1:] {
			if ev.Kind == tcproom.Welcome {
				require.Equal(t, "reset", ev.Welcome.Outcome)
				require.NotEqual(t, m.Welcome.Welcome.Epoch, ev.Welcome.Epoch)
				names = nil
				for _, who := range ev.Welcome.Members {
					names = append(names, who.Name)
				}
			}
		}
		return names
	}
	for _, m := range []*roomtest.Member{ada, bob} {
		require.Eventually(t, func() bool { return reset(m) != nil }, patience, time.Millisecond)
	}
	if len(reset(ada)) == 2 {
		require.Equal(t, []string{"bob", "ada"}, reset(ada))
	} else {
		ada.Within(patience).Await(roomtest.Joined("bob"))
	}
	for _, from := range []*roomtest.Member{ada, bob} {
		from.Send("after")
	}
	ada.Within(patience).Await(roomtest.Message("bob", "after"))
	bob.Within(patience).Await(roomtest.Message("ada", "after"))
}
