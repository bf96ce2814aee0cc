package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
)

// attending starts the bot in the room of a fake backend. Wait returns how it ended.
func attending(ctx context.Context, srv *roomtest.Server) *errgroup.Group {
	c := srv.Dial(tcproom.WithName("robo"))
	g := new(errgroup.Group)
	g.Go(func() error { return attend(ctx, c) })
	return g
}

func TestAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // it is midnight there, 1 January 2000
		srv := roomtest.NewMemServer(t, tcproom.WithCodec(tcproom.JSON{}))
		ctx, stop := context.WithCancel(t.Context())
		bot := attending(ctx, srv)
		ada := srv.Join("ada")
		ada.Expect(roomtest.Message("robo", "welcome, ada"))
		for _, tt := range []struct{ command, answer string }{
			{command: "!help", answer: "I know !help, !time and !echo"},
			{command: "!time", answer: "it is 2000-01-01T00:00:00Z"},
			{command: "!echo hi there", answer: "hi there"},
			{command: "!echo !time", answer: "!time"},
		} {
			ada.Send(tt.command)
			ada.Expect(roomtest.Message("robo", tt.answer))
		}
		for _, other := range []string{"hi", "", "!", "!echo", "!timer", "say !time"} {
			ada.Send(other)
		}
		ada.RefuteFor(time.Hour, roomtest.Any())
		stop()
		require.NoError(t, bot.Wait())
	})
}

func TestEndsWithTheRoom(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(*roomtest.Server)
		want string
	}{
		{name: "kicked", end: func(srv *roomtest.Server) { srv.Kick("robo", "enough") }, want: `the room ended the connection: "`},
		{name: "closed", end: func(srv *roomtest.Server) { srv.Room.Shutdown(context.Background()) }, want: `the room ended the connection: "room closed"`},
		{name: "reset", end: func(srv *roomtest.Server) { srv.Link("robo").Reset() }, want: "the room is gone: tcproom: connection broke"},
		{name: "cut off", end: func(srv *roomtest.Server) {
			srv.Link("robo").Out(roomtest.CutAfter(5))
			srv.Room.Broadcast(context.Background(), []byte("hi"))
		}, want: "the room is gone: " + tcproom.Cause("cut-off").Error()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			srv := roomtest.NewMemServer(t, tcproom.WithCodec(tcproom.JSON{}))
			bot := attending(t.Context(), srv)
			tt.end(srv)
			require.ErrorContains(t, bot.Wait(), tt.want)
		})
	}
}

func TestCannotBeLetIn(t *testing.T) {
	t.Parallel()
	srv := roomtest.NewServer(t, tcproom.WithMaxMembers(1))
	srv.Join("ada")
	require.ErrorContains(t, run(t.Context(), &config{addr: srv.Addr}), `the room ended the connection: "room is full"`)
	srv.Listener.Refuse(true)
	require.Error(t, run(t.Context(), &config{addr: srv.Addr}))
}

// Two bots in a room, and an echo of an echo, come to an end.
func TestTwoBots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := roomtest.NewMemServer(t, tcproom.WithCodec(tcproom.JSON{}))
		attending(t.Context(), srv)
		attending(t.Context(), srv)
		ada := srv.Join("ada")
		ada.Send("!echo !echo !echo hi")
		synctest.Wait()
		time.Sleep(time.Hour)
		echoes := len(ada.Events())
		time.Sleep(time.Hour)
		require.Len(t, ada.Events(), echoes)
	})
}
