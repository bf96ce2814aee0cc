package roomtest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// A service with rooms is tested through what it gives to tcproom.NewHub.
func ExampleNewHub() {
	t := new(exampleTB)
	defer t.end()

	srv := roomtest.NewHub(t, tcproom.OnEnter(func(_ context.Context, m *tcproom.Member, room string) error {
		if room == "vip" {
			return errors.New("members only")
		}
		return nil
	}))
	ada := srv.Join("ada", tcproom.InRooms("kitchen"))
	bob := srv.Join("bob", tcproom.InRooms("kitchen", "attic"))
	ada.Expect(roomtest.InRoom("kitchen", roomtest.Joined("bob")))

	bob.SendTo("kitchen", "soup is ready")
	ada.Expect(roomtest.InRoom("kitchen", roomtest.Message("bob", "soup is ready")))
	ada.EnterRoom("attic")
	ada.Expect(roomtest.Entered("attic"))
	ada.EnterRoom("vip")
	ada.Expect(roomtest.InRoom("vip", roomtest.Any(tcproom.Refused)))
	bob.Refute(roomtest.InRoom("vip", roomtest.Any()))

	fmt.Print(srv.Transcript())
	// Output:
	//    1  [kitchen] * ada joined
	//    2  [kitchen] * bob joined
	//    1  [attic] * bob joined
	//    3  [kitchen] bob: soup is ready
	//    2  [attic] * ada joined
}

// Bots can be in rooms of a hub.
func ExampleServer_BotIn() {
	t := new(exampleTB)
	defer t.end()

	srv := roomtest.NewHub(t)
	srv.BotIn("kitchen", "cook", roomtest.On(roomtest.MessageLike("", "^what is for (.*)$"), roomtest.Say("soup is for $1")))
	srv.AnswerIn("attic", roomtest.On(roomtest.Joined(""), roomtest.Say("mind your head, $from")))
	ada := srv.Join("ada", tcproom.InRooms("kitchen", "attic"))
	fmt.Printf("%s\n", ada.Await(roomtest.InRoom("attic", roomtest.Any(tcproom.Message))).Body)
	ada.SendTo("kitchen", "what is for lunch")
	fmt.Printf("%s\n", ada.Await(roomtest.InRoom("kitchen", roomtest.Message("cook", "soup is for lunch"))).Body)
	// Output:
	// mind your head, ada
	// soup is for lunch
}

func TestHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := roomtest.NewHub(t)
		require.Same(t, srv.Hub.All(), srv.Room)
		ada := srv.Join("ada", tcproom.InRooms("a", "b"))
		require.Equal(t, "*", ada.Welcome.Room)
		for _, room := range []string{"a", "b"} {
			_, ok := srv.Hub.Lookup(room)
			require.True(t, ok, room)
		}
		ada.Refute(roomtest.Any())
		bob := srv.Join("bob") // in the lobby, which it does not name
		bob.Refute(roomtest.Entered(""), roomtest.Any())
		eve := srv.Watch(srv.Dial()) // a person
		eve.Expect(roomtest.Entered("lobby"))
		bob.Expect(roomtest.Joined(""))
		bob.Send("hi")
		eve.Expect(roomtest.Message("bob", "hi"))
		eve.Leave()
		bob.Expect(roomtest.Left(""))

		ada.EnterRoom("lobby")
		ada.Expect(roomtest.Entered("lobby"))
		bob.Expect(roomtest.Joined("ada"))
		ada.SendTo("lobby", "hello")
		bob.Expect(roomtest.Message("ada", "hello"))
		bob.Send("hello ada")
		ada.Expect(roomtest.InRoom("lobby", roomtest.Message("bob", "hello ada")))
		ada.MoveRoom("lobby", "c")
		ada.Expect(roomtest.InRoom("lobby", roomtest.Goodbye()), roomtest.Entered("c"))
		ada.LeaveRoom("c")
		ada.Expect(roomtest.InRoom("c", roomtest.Goodbye()))
		ada.SendTo("c", "anybody?")
		ada.Expect(roomtest.InRoom("c", roomtest.Any(tcproom.Refused)))

		// What was ordered in any of its rooms has come when Sync returns.
		for range 100 {
			for _, room := range []string{"a", "b"} {
				r, _ := srv.Hub.Lookup(room)
				_, err := r.Broadcast(t.Context(), []byte("x"))
				require.NoError(t, err)
			}
			ada.Sync()
			ada.Expect(roomtest.Message("*", "x"), roomtest.Message("*", "x"))
		}
		require.NoError(t, srv.Hub.Leave(memberIn(t, srv, "a"), "be nice"))
		ada.Expect(roomtest.InRoom("a", roomtest.Goodbye()))
		_, err := srv.Hub.All().Broadcast(t.Context(), []byte("to all"))
		require.NoError(t, err)
		ada.Expect(roomtest.InRoom("*", roomtest.Message("*", "to all")))
		bob.Await(roomtest.Direct("to all"))
		ada.Leave()
		require.Contains(t, srv.Transcript().String(), "[lobby] ada: hello\n")
	})
}

func memberIn(t testing.TB, srv *roomtest.Server, room string) *tcproom.Member {
	t.Helper()
	r, ok := srv.Hub.Lookup(room)
	require.True(t, ok)
	for m := range r.Members() {
		return m
	}
	t.Fatalf("nobody is in %s", room)
	return nil
}

// A failure shows what came in which room.
func TestHubFailure(t *testing.T) {
	f := runTest(func(f *fakeTB) {
		srv := roomtest.NewHub(f)
		ada := srv.Join("ada", tcproom.InRooms("a"))
		bob := srv.Join("bob", tcproom.InRooms("b"))
		ada.SendTo("a", "hi")
		bob.SendTo("b", "ho")
		ada.EnterRoom("b")
		ada.Expect(roomtest.InRoom("a", roomtest.Message("bob", "ho")))
	})
	require.Contains(t, f.said(), "ada expected:\n\tmessage bob: ho, in a\nbut then came:\n\t[b] * welcome ada\n")
	require.Contains(t, f.said(), "\t     1  [a] * ada joined\n")
}

// Bots of a room see, and do, nothing in another.
func TestBotsInRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := roomtest.NewHub(t)
		echo := roomtest.On(roomtest.MessageLike("", ".*"), roomtest.Say("heard $0"))
		srv.BotIn("a", "parrot", echo)
		srv.BotIn("a", "late", roomtest.JoinOn(roomtest.Message("", "come"), roomtest.Say("here")))
		srv.AnswerIn("b", roomtest.On(roomtest.Message("", "out"), roomtest.Kick("as you wish")))
		ada := srv.Join("ada", tcproom.InRooms("a", "b"))
		ada.SendTo("b", "come")
		synctest.Wait()
		ada.Refute(roomtest.Any())
		ada.SendTo("a", "come")
		ada.Await(roomtest.InRoom("a", roomtest.Message("late", "here")))
		ada.SendTo("a", "out")
		ada.Await(roomtest.InRoom("a", roomtest.Message("parrot", "heard out")))
		ada.SendTo("b", "out")
		ada.Expect(roomtest.InRoom("b", roomtest.Goodbye()))
		ada.SendTo("a", "still")
		ada.Expect(roomtest.InRoom("a", roomtest.Message("parrot", "heard still")))
	})
}

// TestPersonInAHub: commands are tested by a connection that knows of none, as the doc of
// NewHub says.
func TestPersonInAHub(t *testing.T) {
	hub := roomtest.NewHub(t)
	ada := hub.Watch(hub.Dial(tcproom.WithCodec(tcproom.Text{})))
	ada.Send("/join attic")
	ada.Await(roomtest.MessageLike("", "you are guest-1 in attic"))
	ada.Send("/join Attic")
	ada.Await(roomtest.MessageLike("", "not done: .* \"Attic\""))
}
