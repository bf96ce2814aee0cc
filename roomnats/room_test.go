package roomnats_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomnats"
	"example.com/tcproom/roomnats/natstest"
	"example.com/tcproom/roomtest"
)

// Three rooms on one log are one room: their members see all, in one order, also while
// the server restarts.
func TestRoomsAreOne(t *testing.T) {
	t.Parallel()
	s := natstest.Solo(t)
	rooms := newSites(t, s, 3, settings{})
	var members []*roomtest.Member
	for i, srv := range rooms {
		m := srv.Join(fmt.Sprint("member", i))
		for _, other := range members {
			other.Await(roomtest.Joined(m.Name()))
		}
		members = append(members, m)
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

// TestRoomWhoseLogIsLost: a server in memory restarts. Members stay connected, are told
// that another stream begins, and who is there, and get all that is said in it.
func TestRoomWhoseLogIsLost(t *testing.T) {
	t.Parallel()
	s := natstest.Solo(t)
	at := newSites(t, s, 2, settings{log: []roomnats.Option{roomnats.Memory()}})
	ada, bob := at[0].Join("ada"), at[1].Join("bob")
	ada.Await(roomtest.Joined("bob"))
	ada.Send("before")
	bob.Await(roomtest.Message("ada", "before"))
	s.Restart()
	for _, srv := range at { // what is said shows that the log is lost
		srv.Room.Broadcast(t.Context(), []byte("is anybody there?"))
	}
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
