package tcproom_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// TestClientAsk: what a client asks for by Ask, and what it gets when its connection is
// lost meanwhile.
func TestClientAsk(t *testing.T) {
	inBubble("is answered", t, clientAskAnswered)
	inBubble("lost while it asks", t, clientAskLost)
	inBubble("ends while it asks", t, clientAskEnds)
	inBubble("what cannot be asked", t, clientAskWrong)
	inBubble("a room by itself", t, func(t *testing.T) {
		srv := roomtest.NewMemServer(t, tcproom.WithCodec(tcproom.JSON{}))
		c := tcproom.NewClient(t.Context(), srv.Addr, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithDialer(srv.Net.Dial))
		defer c.Close()
		_, err := c.Ask(testContext(t), &tcproom.Request{Kind: tcproom.ReqRooms})
		require.ErrorIs(t, err, tcproom.Cause("one-room"))
		require.NoError(t, c.Err())
	})
}

func clientAskAnswered(t *testing.T) {
	ctx := testContext(t)
	_, n, addr := sessionHub(t)
	ada, _ := hubClient(t, n, addr, "ada", tcproom.InRooms("lobby"))
	bob, _ := hubClient(t, n, addr, "bob", tcproom.InRooms("kitchen"))
	expectAll(t, ada.Receive, "*: welcome joined", "lobby: welcome joined")
	expectAll(t, bob.Receive, "*: welcome joined", "kitchen: welcome joined")

	rooms, err := ada.Ask(ctx, &tcproom.Request{Kind: tcproom.ReqRooms})
	require.NoError(t, err)
	require.Equal(t, []tcproom.RoomInfo{{Name: "kitchen", Members: 1}, {Name: "lobby", Members: 1}}, rooms.List.Rooms)
	rooms, err = ada.Ask(ctx, &tcproom.Request{Kind: tcproom.ReqRooms, Query: &tcproom.Query{Prefix: "k"}})
	require.NoError(t, err)
	require.Len(t, rooms.List.Rooms, 1)
	roster, err := ada.Ask(ctx, &tcproom.Request{Kind: tcproom.ReqMembers, Room: "kitchen"})
	require.NoError(t, err)
	require.Equal(t, "bob", roster.List.Members[0].Name)
	_, err = ada.SendAckedTo(ctx, "kitchen", []byte("am I there?"))
	require.ErrorIs(t, err, tcproom.ErrNotMember, "it asked only who is there")
	ev, err := ada.Receive(ctx)
	require.NoError(t, err)
	require.Equal(t, tcproom.Refused, ev.Kind, "the lists are no events")

	req := &tcproom.Request{Kind: tcproom.ReqTell, To: roster.List.Members[0].ID, Body: []byte("psst")}
	ack, err := ada.Ask(ctx, req)
	require.NoError(t, err)
	require.Equal(t, tcproom.Ack, ack.Kind)
	require.Zero(t, req.Ref, "it is the caller's")
	expectAll(t, bob.Receive, "0 Direct ada")
	_, err = ada.Ask(ctx, &tcproom.Request{Kind: tcproom.ReqTell, To: "nobody", Body: []byte("psst")})
	require.ErrorIs(t, err, tcproom.Cause("recipient"))

	_, err = ada.Ask(ctx, &tcproom.Request{Kind: tcproom.ReqRename, To: "eve"})
	require.NoError(t, err)
	_, err = ada.Ask(ctx, &tcproom.Request{Kind: tcproom.ReqRename, To: "a b"})
	require.ErrorIs(t, err, tcproom.ErrNameInvalid)
	_, err = ada.SendAcked(ctx, []byte("in none that it names"))
	require.ErrorIs(t, err, tcproom.ErrNotMember)
}

// clientAskLost breaks the connection before the hub has the request, and before the
// client has the answer.
func clientAskLost(t *testing.T) {
	_, n, addr := sessionHub(t)
	ada, link := hubClient(t, n, addr, "ada", tcproom.InRooms("a"))
	bob, _ := hubClient(t, n, addr, "bob", tcproom.InRooms("a"))
	expectAll(t, bob.Receive, "*: welcome joined", "a: welcome joined")
	list, err := bob.Ask(t.Context(), &tcproom.Request{Kind: tcproom.ReqMembers, Room: "a"})
	require.NoError(t, err)
	id := list.List.Members[0].ID
	if list.List.Members[0].Name == "ada" {
		id = list.List.Members[1].ID
	}
	for _, test := range []struct {
		name string
		req  tcproom.Request
		want error
	}{
		{"rooms", tcproom.Request{Kind: tcproom.ReqRooms}, nil},
		{"members", tcproom.Request{Kind: tcproom.ReqMembers, Room: "a"}, nil},
		{"rename", tcproom.Request{Kind: tcproom.ReqRename, To: "eve"}, nil},
		{"tell", tcproom.Request{Kind: tcproom.ReqTell, To: id, Body: []byte("psst")}, tcproom.ErrUncertain},
	} {
		for _, arrives := range []bool{true, false} {
			_, err := ada.Ask(t.Context(), &tcproom.Request{Kind: tcproom.ReqRooms})
			require.NoError(t, err, "it is back")
			conn := link.now()
			if arrives {
				conn.In(roomtest.Stall())
			} else {
				conn.Out(roomtest.BlackHole())
			}
			done := make(chan error, 1)
			go func() {
				_, err := ada.Ask(t.Context(), &test.req)
				done <- err
			}()
			synctest.Wait()
			require.Empty(t, done, test.name)
			conn.Reset()
			require.ErrorIs(t, <-done, test.want, "%s, which arrives: %v", test.name, arrives)
		}
	}
	_, err = ada.Ask(t.Context(), &tcproom.Request{Kind: tcproom.ReqTell, To: id, Body: []byte("end")})
	require.NoError(t, err)
	told := 0
	for {
		ev, err := bob.Receive(t.Context())
		require.NoError(t, err)
		if string(ev.Body) == "end" {
			break
		}
		if ev.Kind == tcproom.Direct {
			told++
		}
	}
	require.Equal(t, 1, told, "the one that arrived, once")
}

func clientAskEnds(t *testing.T) {
	_, n, addr := sessionHub(t)
	ada, link := hubClient(t, n, addr, "ada", tcproom.InRooms("a"))
	expectAll(t, ada.Receive, "*: welcome joined", "a: welcome joined")
	link.now().In(roomtest.Stall())
	for _, kind := range []tcproom.RequestKind{tcproom.ReqTell, tcproom.ReqRename} {
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := ada.Ask(ctx, &tcproom.Request{Kind: kind, To: "x", Body: []byte("psst")})
			done <- err
		}()
		synctest.Wait()
		stop()
		err := <-done
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, kind == tcproom.ReqTell, errors.Is(err, tcproom.ErrUncertain), "%v", kind)
	}
	link.now().Reset()
}

func clientAskWrong(t *testing.T) {
	ctx := testContext(t)
	_, n, addr := sessionHub(t)
	ada, _ := hubClient(t, n, addr, "ada", tcproom.InRooms("a"), tcproom.WithMaxMessage(10))
	for _, test := range []struct {
		req  tcproom.Request
		want error
	}{
		{tcproom.Request{Kind: tcproom.ReqSay, Body: []byte("hi")}, tcproom.ErrUnframeable},
		{tcproom.Request{Kind: tcproom.ReqEnter, Room: "b"}, tcproom.ErrUnframeable},
		{tcproom.Request{Kind: tcproom.ReqMembers, Room: "a b"}, tcproom.ErrRoomName},
		{tcproom.Request{Kind: tcproom.ReqTell, To: "x", Body: []byte("more than ten")}, tcproom.ErrFrameTooLarge},
	} {
		_, err := ada.Ask(ctx, &test.req)
		require.ErrorIs(t, err, test.want)
	}
	_, n, addr = memHub(t)
	text := tcproom.NewClient(t.Context(), addr, tcproom.WithCodec(tcproom.Text{Commands: true}), tcproom.WithDialer(n.Dial))
	defer text.Close()
	_, err := text.Ask(ctx, &tcproom.Request{Kind: tcproom.ReqRooms})
	require.ErrorIs(t, err, tcproom.ErrUnframeable)
}
