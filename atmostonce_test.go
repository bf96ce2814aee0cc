package tcproom_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// TestF50 cuts the connection at every byte of a message and of its
// acknowledgement, in four ways: the message is ordered once, and SendAcked tells where.
func TestF50(t *testing.T) {
	tests := []struct {
		name string
		cut  func(nc *roomtest.Conn, after int64)
	}{
		{name: "the room hears the end", cut: func(nc *roomtest.Conn, n int64) { nc.Out(roomtest.CutAfter(n)) }},
		{name: "the room hears a reset", cut: func(nc *roomtest.Conn, n int64) { nc.Out(roomtest.ResetAfter(n)) }},
		{name: "the client hears the end", cut: func(nc *roomtest.Conn, n int64) { nc.In(roomtest.CutAfter(n)) }},
		{name: "the client hears a reset", cut: func(nc *roomtest.Conn, n int64) { nc.In(roomtest.ResetAfter(n)) }},
	}
	const longest = 60 // more than the frames have
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			lost := 0
			for n := range int64(longest) {
				synctest.Test(t, func(t *testing.T) {
					var leaves atomic.Int32
					srv := sessionServer(t, tcproom.Sessions{}, tcproom.OnLeave(func(*tcproom.Member, error) { leaves.Add(1) }))
					bob := srv.Join("bob")
					ada, link := newClient(t, srv, "ada")
					hearAll(t, ada, "welcome joined")
					bob.Expect(roomtest.Joined("ada"))
					tt.cut(link.now(), n)
					require.Equal(t, uint64(3), sayAcked(t, ada, "the message"), "cut at %d", n)
					bob.Send("on")
					bob.Expect(roomtest.Message("ada", "the message"))
					for heard := hear(t, ada); heard != "4 on"; heard = hear(t, ada) {
						if heard == "lost" {
							lost++
							heard = hear(t, ada)
						}
						if heard != "welcome resumed" {
							require.Equal(t, "4 on", heard)
							break
						}
					}
					require.Equal(t, uint64(5), sayAcked(t, ada, "another"), "cut at %d", n)
					bob.Expect(roomtest.Message("ada", "another"))
					bob.RefuteFor(time.Minute, roomtest.Any())
					require.Zero(t, leaves.Load())
				})
			}
			require.Greater(t, lost, longest/2, "connections were lost")
		})
	}
}

// startUnheard returns a client of which the room receives nothing.
func startUnheard(t *testing.T, opts ...tcproom.DialOption) (*roomtest.Server, *tcproom.Client, *link) {
	srv := sessionServer(t, tcproom.Sessions{Grace: time.Minute})
	c, link := newClient(t, srv, "ada", opts...)
	hearAll(t, c, "welcome joined")
	link.now().Out(roomtest.BlackHole())
	return srv, c, link
}

// TestUncertain checks what becomes of messages that were on their way when
// the room forgot their member.
func TestUncertain(t *testing.T) {
	inBubble("they come back", t, func(t *testing.T) {
		_, c, link := startUnheard(t, tcproom.WithOffline(1<<20))
		say(t, c, "one")
		say(t, c, "two")
		acked := make(chan error, 1)
		go func() {
			_, err := c.SendAcked(context.Background(), []byte("three"))
			acked <- err
		}()
		synctest.Wait()
		link.setDown(io.ErrNoProgress)
		link.now().Reset()
		hearAll(t, c, "lost")
		say(t, c, "four") // which no connection has had
		time.Sleep(time.Minute)
		link.setDown(nil)
		hearAll(t, c, "welcome expired", "uncertain one", "uncertain two")
		require.Equal(t, tcproom.ErrUncertain, <-acked)
		require.Equal(t, uint64(5), sayAcked(t, c, "five"), "after two joins, a leave and four")
		require.NoError(t, c.Close())
	})

	inBubble("who stops waiting does not know", t, func(t *testing.T) {
		_, c, link := startUnheard(t)
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, io.ErrShortBuffer)
		defer cancel()
		_, err := c.SendAcked(ctx, []byte("one"))
		require.ErrorIs(t, err, tcproom.ErrUncertain)
		require.ErrorIs(t, err, io.ErrShortBuffer)
		link.now().Reset()
		require.Equal(t, uint64(3), sayAcked(t, c, "two"), "one was sent again")
	})

	inBubble("who stops waiting for what no connection had does", t, func(t *testing.T) {
		srv, c, link := startUnheard(t, tcproom.WithOffline(1<<20))
		bob := srv.Join("bob")
		hearAll(t, c, "2 Join bob")
		link.setDown(io.ErrNoProgress)
		link.now().Reset()
		hearAll(t, c, "lost")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, io.ErrShortBuffer)
		defer cancel()
		_, err := c.SendAcked(ctx, []byte("never"))
		require.Equal(t, io.ErrShortBuffer, err)
		link.setDown(nil)
		say(t, c, "two")
		bob.Expect(roomtest.Message("ada", "two"))
	})

	inBubble("who stops waiting while it is being handed over does not know either", t, func(t *testing.T) {
		srv := sessionServer(t, tcproom.Sessions{})
		c, link := newClient(t, srv, "ada")
		hearAll(t, c, "welcome joined")
		link.now().Out(roomtest.Stall())
		for range 3 { // fill what lies between
			say(t, c, strings.Repeat("x", 60_000))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.SendAcked(ctx, []byte(strings.Repeat("x", 60_000)))
		require.ErrorIs(t, err, tcproom.ErrUncertain)
		link.now().Out()
		require.Equal(t, uint64(6), sayAcked(t, c, "the fifth"))
	})

}

// TestUncertainAtTheEnd checks what a client tells of them when it ends.
func TestUncertainAtTheEnd(t *testing.T) {
	inBubble("Close tells", t, func(t *testing.T) {
		_, c, _ := startUnheard(t)
		say(t, c, "one")
		err := c.Close()
		require.EqualError(t, err, "tcproom: close: 0 messages did not reach the room, and 1 may not have: tcproom: closed by this end")
		require.NoError(t, c.Close())

		_, c, link := startUnheard(t, tcproom.WithOffline(1<<20))
		say(t, c, "one")
		synctest.Wait()
		link.setDown(io.ErrNoProgress)
		link.now().Reset()
		hearAll(t, c, "lost")
		say(t, c, "two")
		say(t, c, "three")
		err = c.Close()
		require.ErrorContains(t, err, "2 messages did not reach the room, and 1 may not have")
		require.ErrorIs(t, err, net.ErrClosed)
	})

	inBubble("the end of its context too", t, func(t *testing.T) {
		srv := sessionServer(t, tcproom.Sessions{})
		bob := srv.Join("bob")
		ctx, cancel := context.WithCancelCause(t.Context())
		c := tcproom.NewClient(ctx, srv.Addr, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName("ada"), tcproom.WithDialer(srv.Net.Dial))
		hearAll(t, c, "welcome joined")
		bob.Expect(roomtest.Joined("ada"))
		cancel(io.ErrShortBuffer)
		require.Equal(t, io.ErrShortBuffer, ends(t, c))
		require.Equal(t, io.ErrShortBuffer, c.Send(t.Context(), nil))
		bob.Expect(roomtest.Left("ada")) // it said goodbye
		require.NoError(t, c.Close())
	})
}

// TestClientOnOneGoroutine checks that a bot which answers each event, however
// many come at once, cannot wait for itself.
func TestClientOnOneGoroutine(t *testing.T) {
	inBubble("a burst", t, func(t *testing.T) {
		burst := 10_000
		if raceEnabled {
			burst = 1000
		}
		srv := sessionServer(t, tcproom.Sessions{})
		c, _ := newClient(t, srv, "echo")
		hearAll(t, c, "welcome joined")
		for i := range burst {
			_, err := srv.Room.Broadcast(t.Context(), fmt.Append(nil, i))
			require.NoError(t, err)
		}
		for range burst {
			ev, err := c.Receive(t.Context())
			require.NoError(t, err)
			say(t, c, string(ev.Body))
		}
		require.NoError(t, c.Close())
		require.EqualValues(t, 2*burst, srv.Room.Stats().Messages)
	})

	inBubble("without end", t, func(t *testing.T) {
		srv := sessionServer(t, tcproom.Sessions{}, tcproom.WithBacklog(64<<20))
		c, link := newClient(t, srv, "echo")
		hearAll(t, c, "welcome joined")
		big := bytes.Repeat([]byte("x"), 60<<10)
		for range 200 {
			_, err := srv.Room.Broadcast(t.Context(), big)
			require.NoError(t, err)
		}
		var err error
		for sent := 0; err == nil; sent++ {
			require.Less(t, sent, 1000)
			err = c.Send(t.Context(), big)
		}
		require.ErrorContains(t, err, "too many events wait to be received")
		_, err = c.SendAcked(t.Context(), nil)
		require.ErrorContains(t, err, "too many events wait to be received")
		link.now().Reset()
		for said := 0; said < 200; {
			ev, err := c.Receive(t.Context())
			require.NoError(t, err)
			if ev.Kind == tcproom.Message {
				said++
			}
		}
		require.NotZero(t, sayAcked(t, c, "read"))
	})
}

func TestClientContainsPanics(t *testing.T) {
	inBubble("of a codec", t, func(t *testing.T) {
		srv := sessionServer(t, tcproom.Sessions{})
		c, _ := newClient(t, srv, "ada", tcproom.WithCodec(shaky{}))
		hearAll(t, c, "welcome joined")
		srv.Room.Broadcast(t.Context(), []byte("hi"))
		require.ErrorIs(t, ends(t, c), tcproom.ErrHook)
		require.ErrorContains(t, c.Err(), "shaky")
	})
	inBubble("of a codec, where only the client calls it", t, func(t *testing.T) {
		srv := sessionServer(t, tcproom.Sessions{})
		c, _ := newClient(t, srv, "ada", tcproom.WithCodec(sly{}))
		hearAll(t, c, "welcome joined")
		say(t, c, "hi")
		require.ErrorIs(t, ends(t, c), tcproom.ErrHook)
	})
	inBubble("of a dialer", t, func(t *testing.T) {
		c := tcproom.NewClient(t.Context(), "room:1", tcproom.WithDialer(func(context.Context, string, string) (net.Conn, error) { panic("no") }))
		require.ErrorIs(t, ends(t, c), tcproom.ErrHook)
	})
}

// shaky is JSON that panics at a message.
type shaky struct{ tcproom.JSON }

func (shaky) ParseEvent(frame []byte, ev *tcproom.Event) error {
	err := tcproom.JSON{}.ParseEvent(frame, ev)
	if ev.Kind == tcproom.Message {
		panic(errors.New("shaky"))
	}
	return err
}

// sly is JSON that panics for the numbers of real messages.
type sly struct{ tcproom.JSON }

func (s sly) AppendRequest(dst []byte, req *tcproom.Request) ([]byte, error) {
	if req.Kind == tcproom.ReqSay && req.Number != math.MaxUint64 {
		panic("sly")
	}
	return s.JSON.AppendRequest(dst, req)
}
