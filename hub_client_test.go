package tcproom_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// hubClient starts a client of a hub in JSON, which ends with the test.
func hubClient(t testing.TB, n *roomtest.Network, addr, name string, opts ...tcproom.DialOption) (*tcproom.Client, *link) {
	t.Helper()
	l := &link{net: n}
	all := []tcproom.DialOption{tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName(name), tcproom.WithDialer(l.dial)}
	c := tcproom.NewClient(context.Background(), addr, append(all, opts...)...)
	t.Cleanup(func() { c.Close() })
	return c, l
}

func broadcastIn(t testing.TB, h *tcproom.Hub, room, body string) {
	t.Helper()
	r, ok := h.Lookup(room)
	require.True(t, ok, room)
	_, err := r.Broadcast(testContext(t), []byte(body))
	require.NoError(t, err)
}

// TestClientOfAHub: what a client asks a hub for, and what it does when it comes back.
func TestClientOfAHub(t *testing.T) {
	inBubble("asks and waits", t, hubClientAsks)
	inBubble("resumes in three rooms", t, hubClientResumes)
	inBubble("enters its rooms again", t, hubClientEntersAgain)
	inBubble("a room that was removed meanwhile", t, hubClientRemovedRoom)
	inBubble("put out of one room", t, hubClientKicked)
	inBubble("refused one room for good", t, hubClientRefused)
	inBubble("sends while it is away", t, hubClientOffline)
	inBubble("history is not repeated in any room", t, hubClientHistory)
	inBubble("messages to a room that it is not in", t, hubClientNotMember)
	inBubble("what is said before a request goes out before it", t, hubClientOrder)
	inBubble("lost while it asks", t, hubClientLostAsking)
	inBubble("in one room that it does not name", t, hubClientUnlabelled)
	inBubble("by commands", t, hubClientCommands)
	inBubble("goes on for another", t, hubClientGoesOn)
	inBubble("in as many rooms as may be", t, hubClientManyRooms)
	inBubble("does not know what became of a message to a room that is gone", t, hubClientUncertain)
	inBubble("entered and moved by the hub", t, hubClientEntered)
	inBubble("no connection, and nothing waits", t, func(t *testing.T) {
		c, link := hubClient(t, new(roomtest.Network), "127.0.0.1:1", "ada", tcproom.InRooms(), tcproom.WithOffline(0))
		defer link.setDown(io.EOF)
		require.ErrorIs(t, c.EnterRoom(t.Context(), "a"), tcproom.ErrOffline)
		require.ErrorIs(t, c.EnterRoom(t.Context(), "a b"), tcproom.ErrRoomName)
		c.Close()
		require.ErrorIs(t, c.EnterRoom(t.Context(), "a"), c.Err())
	})
}

func hubClientAsks(t *testing.T) {
	ctx := testContext(t)
	h, n, addr := sessionHub(t, tcproom.OnEnter(func(_ context.Context, _ *tcproom.Member, room string) error {
		if room == "vip" {
			return errors.New("members only")
		}
		return nil
	}))
	ada, _ := hubClient(t, n, addr, "ada", tcproom.InRooms("lobby"))
	require.NoError(t, ada.EnterRoom(ctx, "kitchen"))
	require.NoError(t, ada.EnterRoom(ctx, "kitchen"), "it is there")
	expectAll(t, ada.Receive, "*: welcome joined", "lobby: welcome joined", "kitchen: welcome joined ref")
	err := ada.EnterRoom(ctx, "vip")
	require.ErrorIs(t, err, tcproom.ErrDenied)
	require.EqualError(t, err, `tcproom: refused: "members only" (code "denied")`, "the connection goes on")
	var refused *tcproom.RefusedError
	require.ErrorAs(t, err, &refused)
	seq, err := ada.SendAckedTo(ctx, "kitchen", []byte("hi"))
	require.NoError(t, err)
	require.Equal(t, uint64(2), seq)
	require.NoError(t, ada.MoveRoom(ctx, "kitchen", "attic"))
	require.ErrorIs(t, ada.MoveRoom(ctx, "kitchen", "attic"), tcproom.ErrNotMember)
	require.ErrorIs(t, ada.MoveRoom(ctx, "attic", "vip"), tcproom.ErrDenied)
	require.NoError(t, ada.LeaveRoom(ctx, "attic"))
	require.ErrorIs(t, ada.LeaveRoom(ctx, "attic"), tcproom.ErrNotMember)
	expectAll(t, ada.Receive, "vip: refused denied ref", "kitchen: goodbye moved ref", "attic: welcome joined ref", "vip: refused denied ref", "attic: goodbye left ref")
	for m := range h.Memberships(onlyConn(t, h)) {
		require.Contains(t, []string{"*", "lobby"}, m.Room().Name())
	}
	require.NoError(t, ada.Close())
	require.ErrorIs(t, ada.EnterRoom(ctx, "attic"), ada.Err())
}

// onlyConn is the only connection of h.
func onlyConn(t testing.TB, h *tcproom.Hub) *tcproom.Member {
	t.Helper()
	require.Equal(t, 1, h.All().Len())
	for m := range h.All().Members() {
		return m
	}
	return nil
}

func hubClientResumes(t *testing.T) {
	h, n, addr := sessionHub(t)
	ada, link := hubClient(t, n, addr, "ada", tcproom.InRooms("a", "b"))
	require.NoError(t, ada.EnterRoom(t.Context(), "c"))
	expectAll(t, ada.Receive, "*: welcome joined")
	expectSet(t, ada.Receive, "a: welcome joined", "b: welcome joined", "c: welcome joined ref")
	for range 3 {
		broadcastIn(t, h, "c", "heard")
	}
	expectAll(t, ada.Receive, "c: 2 heard", "c: 3 heard", "c: 4 heard")
	link.setDown(io.ErrNoProgress)
	link.now().Reset()
	expectAll(t, ada.Receive, "lost")
	broadcastIn(t, h, "a", "one")
	broadcastIn(t, h, "c", "two")
	_, err := h.All().Broadcast(t.Context(), []byte("to all"))
	require.NoError(t, err)
	link.setDown(nil)
	expectAll(t, ada.Receive, "*: welcome resumed")
	expectSet(t, ada.Receive, "*: 1 to all", "a: welcome resumed", "a: 2 one", "b: welcome resumed", "c: welcome resumed", "c: 5 two")
	broadcastIn(t, h, "b", "three")
	expectAll(t, ada.Receive, "b: 2 three")
	link.now().Reset()
	expectAll(t, ada.Receive, "lost", "*: welcome resumed")
	expectSet(t, ada.Receive, "a: welcome resumed", "b: welcome resumed", "c: welcome resumed")
	require.Equal(t, 1, h.All().Len())
	require.Equal(t, uint64(0), h.All().Stats().Left[tcproom.Cause("reset")])
}

func hubClientEntersAgain(t *testing.T) {
	h, n, addr := memHub(t, tcproom.WithCodec(tcproom.JSON{})) // without sessions
	ada, link := hubClient(t, n, addr, "ada", tcproom.InRooms("a", "b"))
	require.NoError(t, ada.EnterRoom(t.Context(), "c"))
	require.NoError(t, ada.LeaveRoom(t.Context(), "b"))
	require.NoError(t, ada.MoveRoom(t.Context(), "a", "d"))
	expectAll(t, ada.Receive, "*: welcome")
	expectSet(t, ada.Receive, "a: welcome", "b: welcome", "c: welcome ref", "b: goodbye left ref", "a: goodbye moved ref", "d: welcome ref")
	link.now().Reset()
	expectAll(t, ada.Receive, "lost", "*: welcome")
	expectSet(t, ada.Receive, "c: welcome", "d: welcome")
	_, err := ada.SendAckedTo(t.Context(), "c", []byte("x"))
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.NoError(t, ada.SendTo(t.Context(), "c", []byte("x")))
	synctest.Wait()
	r, _ := h.Lookup("c")
	require.Equal(t, uint64(1), r.Stats().Messages)
}

func hubClientRemovedRoom(t *testing.T) {
	h, n, addr := sessionHub(t)
	ada, link := hubClient(t, n, addr, "ada", tcproom.InRooms("a", "b"))
	expectAll(t, ada.Receive, "*: welcome joined")
	expectSet(t, ada.Receive, "a: welcome joined", "b: welcome joined")
	link.setDown(io.ErrNoProgress)
	link.now().Reset()
	expectAll(t, ada.Receive, "lost")
	require.NoError(t, h.Remove("a", "gone"))
	link.setDown(nil)
	expectAll(t, ada.Receive, "*: welcome resumed")
	expectSet(t, ada.Receive, "b: welcome resumed", "a: refused no-room", "a: welcome joined ref")
	seq, err := ada.SendAckedTo(t.Context(), "a", []byte("hi"))
	require.NoError(t, err)
	require.Equal(t, uint64(2), seq)

	require.NoError(t, h.Remove("a", "gone")) // while it is there
	expectAll(t, ada.Receive, "a: goodbye removed")
	link.now().Reset()
	expectAll(t, ada.Receive, "lost", "*: welcome resumed")
	expectSet(t, ada.Receive, "b: welcome resumed", "a: welcome joined ref")
}

func hubClientKicked(t *testing.T) {
	h, n, addr := sessionHub(t)
	ada, link := hubClient(t, n, addr, "ada", tcproom.InRooms("a", "b", "c"))
	expectAll(t, ada.Receive, "*: welcome joined")
	expectSet(t, ada.Receive, "a: welcome joined", "b: welcome joined", "c: welcome joined")
	kick := func(room string) {
		r, ok := h.Lookup(room)
		require.True(t, ok)
		for m := range r.Members() {
			require.NoError(t, m.Kick("be nice"))
		}
	}
	kick("a")
	expectAll(t, ada.Receive, "a: goodbye kicked")
	link.setDown(io.ErrNoProgress)
	link.now().Reset()
	expectAll(t, ada.Receive, "lost")
	kick("b")
	link.setDown(nil)
	expectAll(t, ada.Receive, "*: welcome resumed")
	expectSet(t, ada.Receive, "c: welcome resumed", "b: refused not-member", "b: welcome joined ref")
	for m := range h.Memberships(onlyConn(t, h)) {
		require.NotEqual(t, "a", m.Room().Name())
	}
	kick("c")
	expectAll(t, ada.Receive, "c: goodbye kicked")
	require.NoError(t, ada.EnterRoom(t.Context(), "c"), "if it is told to")
	expectAll(t, ada.Receive, "c: welcome joined ref")
}

func hubClientRefused(t *testing.T) {
	var asked atomic.Int32
	_, n, addr := memHub(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.OnEnter(func(_ context.Context, _ *tcproom.Member, room string) error {
		switch room {
		case "vip":
			asked.Add(1)
			return errors.New("members only")
		case "full":
			return tcproom.ErrRoomFull
		}
		return nil
	}))
	ada, link := hubClient(t, n, addr, "ada", tcproom.InRooms("vip", "full", "a"))
	expectAll(t, ada.Receive, "*: welcome")
	expectSet(t, ada.Receive, "vip: refused denied", "full: refused full", "a: welcome")
	require.ErrorIs(t, ada.EnterRoom(t.Context(), "full"), tcproom.ErrRoomFull)
	expectAll(t, ada.Receive, "full: refused full ref")
	link.now().Reset()
	expectAll(t, ada.Receive, "lost", "*: welcome")
	expectSet(t, ada.Receive, "full: refused full", "a: welcome")
	require.Equal(t, int32(1), asked.Load())
	require.NoError(t, ada.LeaveRoom(t.Context(), "full"), "in which it wants to be")
	link.now().Reset()
	expectAll(t, ada.Receive, "lost", "*: welcome", "a: welcome")
}

func hubClientOffline(t *testing.T) {
	h, n, addr := sessionHub(t)
	bob := dialHub(t, n, addr, "bob", tcproom.InRooms("a", "b"))
	expectAll(t, bob.Receive, "*: welcome joined")
	expectSet(t, bob.Receive, "a: welcome joined", "b: welcome joined")
	ada, link := hubClient(t, n, addr, "ada", tcproom.InRooms("a", "b"), tcproom.WithOffline(1<<20))
	expectAll(t, ada.Receive, "*: welcome joined")
	expectSet(t, ada.Receive, "a: welcome joined", "b: welcome joined")
	expectSet(t, bob.Receive, "a: 2 Join ada", "b: 2 Join ada")
	say := func(room, body string) {
		require.NoError(t, ada.SendTo(t.Context(), room, []byte(body)))
	}
	link.setDown(io.ErrNoProgress)
	link.now().Reset()
	expectAll(t, ada.Receive, "lost")
	for i := range 3 {
		say("a", fmt.Sprint(i))
		say("b", fmt.Sprint(i))
	}
	link.setDown(nil)
	expectSet(t, bob.Receive, "a: 3 0", "a: 4 1", "a: 5 2", "b: 3 0", "b: 4 1", "b: 5 2")
	expectAll(t, ada.Receive, "*: welcome resumed")
	expectSet(t, ada.Receive, "a: welcome resumed", "b: welcome resumed")

	synctest.Wait() // it has the acks

	// What is for a room that has to be entered again waits for that.
	link.setDown(io.ErrNoProgress)
	link.now().Reset()
	expectAll(t, ada.Receive, "lost")
	say("a", "later")
	say("b", "too")
	require.NoError(t, h.Remove("a", ""))
	expectAll(t, bob.Receive, "a: goodbye removed")
	require.NoError(t, bob.EnterRoom(t.Context(), "a"))
	expectAll(t, bob.Receive, "a: welcome joined ref")
	link.setDown(nil)
	expectSet(t, bob.Receive, "a: 2 Join ada", "a: 3 later", "b: 6 too")
	expectAll(t, ada.Receive, "*: welcome resumed")
	expectSet(t, ada.Receive, "b: welcome resumed", "a: refused not-member", "a: welcome joined ref")
}

func hubClientHistory(t *testing.T) {
	h, n, addr := sessionHub(t, tcproom.WithSessions(tcproom.Sessions{Grace: time.Minute}), tcproom.WithHistory(tcproom.History{}))
	for _, room := range []string{"a", "b"} {
		_, err := h.Room(room)
		require.NoError(t, err)
		broadcastIn(t, h, room, "old")
	}
	ada, link := hubClient(t, n, addr, "ada", tcproom.InRooms("a", "b"))
	expectAll(t, ada.Receive, "*: welcome joined")
	expectSet(t, ada.Receive, "a: welcome joined", "b: welcome joined", "a: history 1 old", "b: history 1 old")
	broadcastIn(t, h, "a", "heard")
	expectAll(t, ada.Receive, "a: 3 heard")
	bob := dialHub(t, n, addr, "bob", tcproom.InRooms("a", "b")) // so that the rooms stay
	expectSet(t, ada.Receive, "a: 4 Join bob", "b: 3 Join bob")
	link.setDown(io.ErrNoProgress)
	link.now().Reset()
	expectAll(t, ada.Receive, "lost")
	time.Sleep(time.Minute)
	synctest.Wait()
	broadcastIn(t, h, "a", "missed")
	broadcastIn(t, h, "b", "missed")
	link.setDown(nil)
	expectAll(t, ada.Receive, "*: welcome expired")
	expectSet(t, ada.Receive, "a: welcome joined ref", "b: welcome joined ref", "a: history 6 missed", "b: history 5 missed")
	require.NoError(t, bob.Err())
}

func hubClientNotMember(t *testing.T) {
	h, n, addr := sessionHub(t)
	ada, _ := hubClient(t, n, addr, "ada", tcproom.InRooms("a"))
	_, err := ada.SendAckedTo(t.Context(), "b", []byte("x"))
	require.ErrorIs(t, err, tcproom.ErrNotMember)
	require.NotErrorIs(t, err, tcproom.ErrUncertain)
	_, err = ada.SendAcked(t.Context(), []byte("to no room"))
	require.ErrorIs(t, err, tcproom.ErrNotMember)
	require.NoError(t, ada.SendTo(t.Context(), "b", []byte("y")))
	seq, err := ada.SendAckedTo(t.Context(), "a", []byte("z"))
	require.NoError(t, err)
	require.Equal(t, uint64(2), seq)
	expectAll(t, ada.Receive, "*: welcome joined")
	expectSet(t, ada.Receive, "a: welcome joined", "b: refused not-member x", "refused not-member to no room", "b: refused not-member y")
	_, ok := h.Lookup("b")
	require.False(t, ok)
	require.NoError(t, ada.Close(), "nothing is left to be sent")
}

func hubClientOrder(t *testing.T) {
	_, n, addr := sessionHub(t)
	bob := dialHub(t, n, addr, "bob", tcproom.InRooms("a"))
	expectAll(t, bob.Receive, "*: welcome joined", "a: welcome joined")
	ada, link := hubClient(t, n, addr, "ada", tcproom.InRooms("a"))
	expectAll(t, ada.Receive, "*: welcome joined", "a: welcome joined")
	expectAll(t, bob.Receive, "a: 2 Join ada")
	link.now().Out(roomtest.Latency(time.Second))
	for i := range 1000 { // more than may wait for acks at once
		require.NoError(t, ada.SendTo(t.Context(), "a", fmt.Append(nil, i)))
	}
	require.NoError(t, ada.LeaveRoom(t.Context(), "a"))
	for i := range 1000 {
		expectAll(t, bob.Receive, fmt.Sprintf("a: %d %d", 3+i, i))
	}
	expectAll(t, bob.Receive, "a: 1003 Leave ada")
}

func hubClientLostAsking(t *testing.T) {
	h, n, addr := sessionHub(t)
	ada, link := hubClient(t, n, addr, "ada", tcproom.InRooms("a"))
	expectAll(t, ada.Receive, "*: welcome joined", "a: welcome joined")
	for _, test := range []struct {
		name string
		ask  func() error
		in   []string
	}{
		{"enter", func() error { return ada.EnterRoom(t.Context(), "b") }, []string{"*", "a", "b"}},
		{"leave", func() error { return ada.LeaveRoom(t.Context(), "b") }, []string{"*", "a"}},
		{"move", func() error { return ada.MoveRoom(t.Context(), "a", "c") }, []string{"*", "c"}},
	} {
		for _, arrives := range []bool{true, false} {
			conn := link.now()
			if arrives {
				conn.In(roomtest.Stall())
			} else {
				conn.Out(roomtest.BlackHole())
			}
			done := make(chan error, 1)
			go func() { done <- test.ask() }()
			synctest.Wait()
			require.Empty(t, done, test.name)
			conn.Reset()
			require.NoError(t, <-done, test.name)
			synctest.Wait()
			var in []string
			for m := range h.Memberships(onlyConn(t, h)) {
				in = append(in, m.Room().Name())
			}
			require.ElementsMatch(t, test.in, in, "%s, which arrives: %v", test.name, arrives)
			switch test.name { // and back
			case "enter":
				if arrives {
					require.NoError(t, ada.LeaveRoom(t.Context(), "b"))
				}
			case "leave":
				if arrives {
					require.NoError(t, ada.EnterRoom(t.Context(), "b"))
				}
			case "move":
				require.NoError(t, ada.MoveRoom(t.Context(), "c", "a"))
			}
		}
	}
}

func hubClientUnlabelled(t *testing.T) {
	h, n, addr := sessionHub(t)
	ada, link := hubClient(t, n, addr, "ada")
	expectAll(t, ada.Receive, "welcome joined")
	require.ErrorIs(t, ada.EnterRoom(t.Context(), "a"), tcproom.Cause("one-room"))
	require.NoError(t, ada.MoveRoom(t.Context(), "", "kitchen"))
	expectAll(t, ada.Receive, "refused one-room ref", "welcome joined ref")
	broadcastIn(t, h, "kitchen", "hi")
	expectAll(t, ada.Receive, "2 hi")
	link.setDown(io.ErrNoProgress)
	link.now().Reset()
	expectAll(t, ada.Receive, "lost")
	broadcastIn(t, h, "kitchen", "missed")
	link.setDown(nil)
	expectAll(t, ada.Receive, "welcome resumed", "3 missed")
	seq, err := ada.SendAcked(t.Context(), []byte("x"))
	require.NoError(t, err)
	require.Equal(t, uint64(4), seq)
	for m := range h.Memberships(onlyConn(t, h)) { // moved by the hub
		if m.Room().Name() == "kitchen" {
			_, err := h.Move(t.Context(), m, "attic")
			require.NoError(t, err)
		}
	}
	expectAll(t, ada.Receive, "welcome joined")
	link.now().Reset()
	expectAll(t, ada.Receive, "lost", "welcome resumed")
	broadcastIn(t, h, "attic", "there")
	expectAll(t, ada.Receive, "2 there")
	require.NoError(t, ada.Close())
	require.Zero(t, h.All().Len())
}

func hubClientCommands(t *testing.T) {
	h, n, addr := memHub(t)
	ada, link := hubClient(t, n, addr, "", tcproom.WithCodec(tcproom.Text{Commands: true}))
	require.NoError(t, ada.MoveRoom(t.Context(), "", "kitchen"))
	expectAll(t, ada.Receive, "welcome", "lobby: welcome", "kitchen: welcome")
	require.NoError(t, ada.MoveRoom(t.Context(), "", "kitchen"))
	expectAll(t, ada.Receive, "kitchen: roster")
	require.Error(t, ada.MoveRoom(t.Context(), "", "BAD"))
	expectAll(t, ada.Receive, "refused ref")
	require.ErrorIs(t, ada.EnterRoom(t.Context(), "attic"), tcproom.ErrUnframeable)
	link.now().Reset()
	expectAll(t, ada.Receive, "lost", "welcome", "lobby: welcome", "kitchen: welcome")
	require.NoError(t, ada.Send(t.Context(), []byte("hi")))
	synctest.Wait()
	r, _ := h.Lookup("kitchen")
	require.Equal(t, uint64(1), r.Stats().Messages)
}

func hubClientGoesOn(t *testing.T) {
	h, n, addr := sessionHub(t)
	first := dialHub(t, n, addr, "ada", tcproom.InRooms("a", "b"))
	all, err := first.Receive(t.Context())
	require.NoError(t, err)
	at := map[string]tcproom.Position{}
	for range 2 {
		ev, err := first.Receive(t.Context())
		require.NoError(t, err)
		at[ev.Room] = tcproom.Position{Epoch: ev.Welcome.Epoch, Seq: ev.Seq}
	}
	broadcastIn(t, h, "a", "one")
	ada, _ := hubClient(t, n, addr, "", tcproom.WithResume(tcproom.Resume{Token: all.Welcome.Token, Epoch: all.Welcome.Epoch, Seq: all.Seq, Rooms: at}))
	expectAll(t, ada.Receive, "*: welcome resumed")
	expectSet(t, ada.Receive, "a: welcome resumed", "b: welcome resumed", "a: 2 one")
	_, err = lastEvent(t, first)
	require.ErrorIs(t, err, tcproom.ErrTakenOver)
}

func hubClientManyRooms(t *testing.T) {
	_, n, addr := sessionHub(t, tcproom.WithMaxMessage(100))
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprintf("a-room-with-a-long-name-%d", i))
	}
	ada, link := hubClient(t, n, addr, "ada", tcproom.InRooms(names...))
	for _, outcome := range []string{"joined", "resumed"} {
		expectAll(t, ada.Receive, "*: welcome "+outcome)
		var want []string
		for _, name := range names {
			want = append(want, name+": welcome "+outcome)
		}
		expectSet(t, ada.Receive, want...)
		if outcome == "joined" {
			link.now().Reset()
			expectAll(t, ada.Receive, "lost")
		}
	}
}

func hubClientUncertain(t *testing.T) {
	h, n, addr := sessionHub(t)
	ada, link := hubClient(t, n, addr, "ada", tcproom.InRooms("a", "b"))
	expectAll(t, ada.Receive, "*: welcome joined")
	expectSet(t, ada.Receive, "a: welcome joined", "b: welcome joined")
	synctest.Wait()
	link.now().In(roomtest.BlackHole()) // no ack comes
	inA, inB := make(chan error, 1), make(chan error, 1)
	for room, acked := range map[string]chan error{"a": inA, "b": inB} {
		require.NoError(t, ada.SendTo(t.Context(), room, []byte("x")))
		go func() {
			_, err := ada.SendAckedTo(t.Context(), room, []byte("y"))
			acked <- err
		}()
		synctest.Wait()
	}
	link.setDown(io.ErrNoProgress)
	link.now().Reset()
	expectAll(t, ada.Receive, "lost")
	require.NoError(t, h.Remove("a", ""))
	link.setDown(nil)
	expectAll(t, ada.Receive, "*: welcome resumed")
	expectSet(t, ada.Receive, "b: welcome resumed", "a: refused no-room", "a: uncertain x", "a: welcome joined ref")
	require.ErrorIs(t, <-inA, tcproom.ErrUncertain)
	require.NoError(t, <-inB, "it was sent again")
	r, _ := h.Lookup("b")
	require.Equal(t, uint64(2), r.Stats().Messages)
}

func hubClientEntered(t *testing.T) {
	h, n, addr := sessionHub(t)
	ada, link := hubClient(t, n, addr, "ada", tcproom.InRooms("a"))
	expectAll(t, ada.Receive, "*: welcome joined", "a: welcome joined")
	m, err := h.Enter(t.Context(), onlyConn(t, h), "b")
	require.NoError(t, err)
	expectAll(t, ada.Receive, "b: welcome joined")
	_, err = h.Move(t.Context(), m, "c")
	require.NoError(t, err)
	expectAll(t, ada.Receive, "b: goodbye moved", "c: welcome joined")
	link.now().Reset()
	expectAll(t, ada.Receive, "lost", "*: welcome resumed")
	expectSet(t, ada.Receive, "a: welcome resumed", "c: welcome resumed")
}

// TestClientInRoomsOverACutConnection: whatever is cut when, in each of three rooms each
// message comes once, at both ends.
func TestClientInRoomsOverACutConnection(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		rooms := []string{"a", "b", "c"}
		h, n, addr := sessionHub(t, tcproom.WithSessions(tcproom.Sessions{Grace: time.Hour}))
		bob := dialHub(t, n, addr, "bob", tcproom.InRooms(rooms...))
		ada, link := hubClient(t, n, addr, "ada", tcproom.InRooms(rooms...), tcproom.WithBackoff(time.Millisecond, 10*time.Millisecond))
		const each = 400
		got := map[string][]string{} // by the room, and who has got it
		var mu sync.Mutex
		note := func(who string, ev tcproom.Event) {
			if ev.Kind == tcproom.Message {
				mu.Lock()
				defer mu.Unlock()
				got[who+" in "+ev.Room] = append(got[who+" in "+ev.Room], string(ev.Body))
			}
			require.NotContains(t, []tcproom.Kind{tcproom.Gap, tcproom.Refused, tcproom.Uncertain}, ev.Kind, "%s: %v", who, ev)
		}
		go func() {
			for ev, err := range bob.Events(context.Background()) {
				if err != nil {
					return
				}
				note("bob", ev)
			}
		}()
		go func() {
			for ev, err := range ada.Events(context.Background()) {
				if err != nil {
					return
				}
				note("ada", ev)
			}
		}()
		stop := make(chan struct{})
		cut := make(chan int, 1)
		go func() {
			rnd, cuts := rand.New(rand.NewPCG(1, 2)), 0
			for {
				select {
				case <-stop:
					cut <- cuts
					return
				case <-time.After(time.Duration(rnd.IntN(50)) * time.Millisecond):
					if conn := link.now(); conn != nil {
						conn.Reset()
						cuts++
					}
				}
			}
		}()
		synctest.Wait()
		var want []string
		for i := range each {
			body := fmt.Sprint(i)
			want = append(want, body)
			for _, room := range rooms {
				require.NoError(t, ada.SendTo(t.Context(), room, []byte(body)))
				require.NoError(t, bob.SendTo(t.Context(), room, []byte(body)))
			}
			time.Sleep(time.Millisecond)
		}
		close(stop)
		require.Greater(t, <-cut, 5)
		for _, room := range rooms {
			_, err := ada.SendAckedTo(t.Context(), room, []byte("end"))
			require.NoError(t, err)
			require.NoError(t, bob.SendTo(t.Context(), room, []byte("end")))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		want = append(want, "end")
		mu.Lock()
		defer mu.Unlock()
		for _, room := range rooms {
			require.Equal(t, want, got["ada in "+room])
			require.Equal(t, want, got["bob in "+room])
		}
		require.Equal(t, 2, h.All().Len())
	})
}

// TestClientAnswerWaits: the event of an answer can be received when the call returns that
// has asked, also if the client is closed at once.
func TestClientAnswerWaits(t *testing.T) {
	_, n, addr := sessionHub(t, tcproom.WithOpenRooms(false))
	for range 200 {
		c, _ := hubClient(t, n, addr, "", tcproom.InRooms())
		require.ErrorIs(t, c.EnterRoom(testContext(t), "attic"), tcproom.ErrNoRoom)
		require.NoError(t, c.Close())
		var kinds []tcproom.Kind
		for {
			ev, err := c.Receive(testContext(t))
			if err != nil {
				break
			}
			kinds = append(kinds, ev.Kind)
		}
		require.Contains(t, kinds, tcproom.Refused)
	}
}
