package tcproom_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// dialHub returns a member of the hub in JSON, which is closed with the test.
func dialHub(t testing.TB, n *roomtest.Network, addr, name string, opts ...tcproom.DialOption) *tcproom.Conn {
	t.Helper()
	all := []tcproom.DialOption{tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName(name), tcproom.WithDialer(n.Dial)}
	c, err := tcproom.Dial(testContext(t), addr, append(all, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// labelled is an event in few words, with its room, and " ref" if it has a Ref.
func labelled(ev tcproom.Event) string {
	s := inShort(ev)
	switch ev.Kind {
	case tcproom.Refused:
		s = strings.TrimSpace("refused " + string(ev.End.Cause) + " " + string(ev.Body))
	case tcproom.Roster:
		s = "roster"
	case tcproom.Renamed:
		s = fmt.Sprintf("%d renamed %s", ev.Seq, ev.Body)
	}
	if ev.Room != "" {
		s = ev.Room + ": " + s
	}
	if ev.Ref != 0 {
		s += " ref"
	}
	return s
}

// expectAll expects these events from receive, and no others between them.
func expectAll(t testing.TB, receive func(context.Context) (tcproom.Event, error), want ...string) {
	t.Helper()
	for i, w := range want {
		require.Equal(t, w, nextLabelled(t, receive), "event %d", i)
	}
}

// expectSet expects these events, in any order.
func expectSet(t testing.TB, receive func(context.Context) (tcproom.Event, error), want ...string) {
	t.Helper()
	var got []string
	for range want {
		got = append(got, nextLabelled(t, receive))
	}
	require.ElementsMatch(t, want, got)
}

func nextLabelled(t testing.TB, receive func(context.Context) (tcproom.Event, error)) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ev, err := receive(ctx)
	require.NoError(t, err)
	return labelled(ev)
}

// TestConnAsksAHub: each request has its answer, with its room and a ref.
func TestConnAsksAHub(t *testing.T) {
	inBubble("in JSON", t, func(t *testing.T) {
		ctx := testContext(t)
		_, n, addr := memHub(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithHistory(tcproom.History{}))
		bob := dialHub(t, n, addr, "bob", tcproom.InRooms("kitchen"))
		expectAll(t, bob.Receive, "*: welcome", "kitchen: welcome")
		for i := range 3 {
			require.NoError(t, bob.SendTo(ctx, "kitchen", fmt.Append(nil, i)))
		}
		require.NoError(t, bob.EnterRoom(ctx, "vault"))
		expectAll(t, bob.Receive, "vault: welcome ref")

		ada := dialHub(t, n, addr, "ada", tcproom.InRooms(), tcproom.WithReplay(1))
		expectAll(t, ada.Receive, "*: welcome")
		require.NoError(t, ada.EnterRoom(ctx, "kitchen"))
		expectAll(t, ada.Receive, "kitchen: welcome ref", "kitchen: history 4 2")
		expectAll(t, bob.Receive, "kitchen: 5 Join ada")
		require.NoError(t, ada.EnterRoom(ctx, "kitchen"))
		expectAll(t, ada.Receive, "kitchen: roster ref")
		require.NoError(t, ada.SendTo(ctx, "kitchen", []byte("hi")))
		expectAll(t, bob.Receive, "kitchen: 6 hi")
		require.NoError(t, ada.MoveRoom(ctx, "kitchen", "attic"))
		expectAll(t, ada.Receive, "kitchen: goodbye moved ref", "attic: welcome ref")
		expectAll(t, bob.Receive, "kitchen: 7 Leave ada")
		require.NoError(t, ada.LeaveRoom(ctx, "attic"))
		expectAll(t, ada.Receive, "attic: goodbye left ref")
		require.NoError(t, ada.LeaveRoom(ctx, "attic"))
		require.NoError(t, ada.SendTo(ctx, "attic", []byte("lost")))
		require.NoError(t, ada.MoveRoom(ctx, "attic", "vault"))
		require.NoError(t, ada.Send(ctx, []byte("to no room")))
		require.NoError(t, ada.MoveRoom(ctx, "", "vault"), "out of no room")
		require.NoError(t, ada.Send(ctx, []byte("to no room still")))
		expectAll(t, ada.Receive, "attic: refused not-member ref", "attic: refused not-member", "vault: refused not-member ref", "refused not-member",
			"vault: refused not-member ref", "refused not-member")

		refs := make(map[uint64]bool)
		for range 3 {
			require.NoError(t, ada.LeaveRoom(ctx, "attic"))
			ev, err := ada.Receive(ctx)
			require.NoError(t, err)
			require.False(t, refs[ev.Ref], "%d again", ev.Ref)
			refs[ev.Ref] = true
		}
		require.ErrorIs(t, ada.SendTo(ctx, "no room", []byte("x")), tcproom.ErrRoomName)
		require.ErrorIs(t, ada.EnterRoom(ctx, "*"), tcproom.ErrRoomName)
		require.ErrorIs(t, ada.LeaveRoom(ctx, ""), tcproom.ErrRoomName)
		require.ErrorIs(t, ada.MoveRoom(ctx, "a", ""), tcproom.ErrRoomName)
		require.ErrorIs(t, ada.SendTo(ctx, "a", make([]byte, 65<<10)), tcproom.ErrFrameTooLarge)
	})
	inBubble("in one room", t, func(t *testing.T) {
		ctx := testContext(t)
		_, n, addr := memHub(t, tcproom.WithCodec(tcproom.JSON{}))
		ada := dialHub(t, n, addr, "ada")
		expectAll(t, ada.Receive, "welcome")
		require.NoError(t, ada.EnterRoom(ctx, "kitchen"))
		require.NoError(t, ada.LeaveRoom(ctx, "lobby"))
		expectAll(t, ada.Receive, "refused one-room ref", "refused one-room ref")
		require.NoError(t, ada.MoveRoom(ctx, "", "kitchen"))
		expectAll(t, ada.Receive, "welcome ref")
	})
	inBubble("by commands", t, func(t *testing.T) {
		ctx := testContext(t)
		_, n, addr := memHub(t)
		c, err := tcproom.Dial(ctx, addr, tcproom.WithCodec(tcproom.Text{Commands: true}), tcproom.WithDialer(n.Dial))
		require.NoError(t, err)
		defer c.Close()
		expectAll(t, c.Receive, "lobby: welcome")
		require.NoError(t, c.MoveRoom(ctx, "", "kitchen"))
		expectAll(t, c.Receive, "kitchen: welcome")
		require.NoError(t, c.MoveRoom(ctx, "", "no-"+strings.Repeat("r", 40)))
		expectAll(t, c.Receive, "refused ref")
		require.ErrorIs(t, c.EnterRoom(ctx, "attic"), tcproom.ErrUnframeable)
		require.ErrorIs(t, c.LeaveRoom(ctx, "attic"), tcproom.ErrUnframeable)
		require.ErrorIs(t, c.MoveRoom(ctx, "kitchen", "attic"), tcproom.ErrUnframeable)
		require.ErrorIs(t, c.SendTo(ctx, "kitchen", []byte("hi")), tcproom.ErrUnframeable)
		require.NoError(t, c.SendTo(ctx, "", []byte("hi")))
	})
	t.Run("in codecs that cannot", func(t *testing.T) {
		for _, codec := range []tcproom.Codec{tcproom.Text{}, tcproom.Raw{}} {
			here, there := net.Pipe()
			defer there.Close()
			c := tcproom.NewConn(here, tcproom.WithCodec(codec))
			for _, err := range []error{c.EnterRoom(t.Context(), "a"), c.LeaveRoom(t.Context(), "a"), c.MoveRoom(t.Context(), "", "a"), c.SendTo(t.Context(), "a", []byte("x"))} {
				require.ErrorIs(t, err, tcproom.ErrUnframeable, "%T", codec)
			}
			require.NoError(t, c.Err())
			there.Close()
			c.Close()
		}
	})
}

// TestInRooms: a hello asks for rooms, or for none.
func TestInRooms(t *testing.T) {
	inBubble("by Dial", t, func(t *testing.T) {
		h, n, addr := memHub(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.OnEnter(func(_ context.Context, _ *tcproom.Member, room string) error {
			if room == "vip" {
				return errors.New("members only")
			}
			return nil
		}))
		ada := dialHub(t, n, addr, "ada", tcproom.InRooms("a", "vip", "a", "b"))
		expectAll(t, ada.Receive, "*: welcome")
		expectSet(t, ada.Receive, "a: welcome", "b: welcome", "vip: refused denied")
		require.Equal(t, []string{"a", "b"}, roomNames(h))
	})
	inBubble("by Join", t, func(t *testing.T) {
		h, _, _ := memHub(t, tcproom.WithCodec(tcproom.JSON{}))
		ada, err := h.Join(testContext(t), "a", tcproom.Identity{Name: "ada"}, tcproom.InRooms("b", "a"))
		require.NoError(t, err)
		defer ada.Close()
		expectAll(t, ada.Receive, "*: welcome")
		expectSet(t, ada.Receive, "a: welcome", "b: welcome")
		bob, err := h.Join(testContext(t), "", tcproom.Identity{Name: "bob"}, tcproom.InRooms())
		require.NoError(t, err)
		defer bob.Close()
		expectAll(t, bob.Receive, "*: welcome")
		require.Equal(t, []string{"a", "b"}, roomNames(h))
	})
	inBubble("of a room by itself", t, func(t *testing.T) {
		srv := roomtest.NewMemServer(t, tcproom.WithCodec(tcproom.JSON{}))
		ada := dialHub(t, srv.Net, srv.Addr, "ada", tcproom.InRooms("a"))
		expectAll(t, ada.Receive, "welcome")
		require.NoError(t, ada.SendTo(t.Context(), "a", []byte("x")))
		expectAll(t, ada.Receive, "a: refused one-room")
	})
	for name, opts := range map[string][]tcproom.DialOption{
		"a codec without rooms": {tcproom.InRooms("a")},
		"no room":               {tcproom.InRooms("a", "b c"), tcproom.WithCodec(tcproom.JSON{})},
		"the room of all":       {tcproom.InRooms("*"), tcproom.WithCodec(tcproom.JSON{})},
	} {
		_, err := tcproom.Dial(t.Context(), "127.0.0.1:1", opts...)
		require.ErrorIs(t, err, tcproom.ErrOption, name)
		c := tcproom.NewClient(t.Context(), "127.0.0.1:1", opts...)
		<-clientDone(c)
		require.ErrorIs(t, c.Err(), tcproom.ErrOption, name)
	}
}

// clientDone is closed when c has ended.
func clientDone(c *tcproom.Client) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range c.Events(context.Background()) {
		}
	}()
	return done
}

func roomNames(h *tcproom.Hub) (names []string) {
	for name := range h.Rooms("") {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// TestGoodbyeAfterAMove: one that names no rooms, and was moved, has its session still:
// Close leaves for good.
func TestGoodbyeAfterAMove(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		h, n, addr := memHub(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{}))
		ada := dialHub(t, n, addr, "ada")
		expectAll(t, ada.Receive, "welcome joined")
		require.NoError(t, ada.MoveRoom(t.Context(), "", "kitchen"))
		expectAll(t, ada.Receive, "welcome joined ref")
		require.NoError(t, ada.Close())
		for m := range h.All().Members() {
			t.Fatalf("%v is there still: %v", m.Info(), h.All().Stats())
		}
	})
}
