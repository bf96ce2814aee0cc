package tcproom_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// requireEnd checks that everything says the same of the end of c, before and after
// Close.
func requireEnd(t testing.TB, c *tcproom.Conn, end error) {
	t.Helper()
	require.IsType(t, &tcproom.EndError{}, end)
	for range 2 {
		require.Same(t, end, c.Err())
		require.Same(t, end, context.Cause(c.Context()))
		require.Same(t, end, c.Send(testContext(t), []byte("x")))
		_, err := c.Receive(testContext(t))
		require.Same(t, end, err)
		require.NoError(t, c.Close())
	}
	last, err := lastEvent(t, c)
	require.Zero(t, last)
	require.NoError(t, err, "after Close the loop is quiet")
}

// connOf returns a Conn that speaks the codec, and the peer's end, which is not a room.
func connOf(t testing.TB, codec tcproom.Codec) (*tcproom.Conn, *roomtest.Conn) {
	here, there := roomtest.Pipe()
	c := tcproom.NewConn(here, tcproom.WithCodec(codec))
	t.Cleanup(func() { there.Close(); c.Close() })
	return c, there
}

// greeted makes the peer welcome c, if the codec says that, and send a message.
func greeted(t testing.TB, codec tcproom.Codec, c *tcproom.Conn, there io.ReadWriter) {
	t.Helper()
	said := "hi\n"
	if codec == (tcproom.JSON{}) {
		said = welcomeLine + `{"type":"message","body":"hi"}` + "\n"
		_, err := there.Read(make([]byte, 1<<10)) // its hello
		require.NoError(t, err)
	}
	_, err := io.WriteString(there, said)
	require.NoError(t, err)
	require.Equal(t, "hi", nextMessage(t, c))
}

// TestConnEndsByKick: the Goodbye is the last event, and its words are the error.
func TestConnEndsByKick(t *testing.T) {
	for _, codec := range builtIn {
		room := tcproom.New(tcproom.WithCodec(codec))
		addr := serveTCP(t, room)
		for _, connect := range []func() *tcproom.Conn{
			func() *tcproom.Conn { return dial(t, addr, tcproom.WithCodec(codec)) },
			func() *tcproom.Conn { return join(t, room) },
		} {
			c := connect()
			waitLen(t, room, 1)
			for m := range room.Members() {
				require.NoError(t, m.Kick("enough"))
			}
			want := tcproom.EndError{Cause: tcproom.ErrKicked, Text: "enough", Final: true}
			switch codec.(type) {
			case tcproom.Text:
				want = tcproom.EndError{Cause: errLeft, Text: "enough"}
			case tcproom.Raw:
				want = tcproom.EndError{Cause: errLeft}
			}
			last, end := lastEvent(t, c)
			if codec != (tcproom.Raw{}) {
				require.Equal(t, tcproom.Goodbye, last.Kind)
				require.Equal(t, "enough", last.End.Text)
			}
			require.ErrorIs(t, end, want.Cause)
			got := *end.(*tcproom.EndError)
			require.Equal(t, want.Cause, got.Cause)
			require.Equal(t, want.Text, got.Text)
			require.Equal(t, want.Final, got.Final)
			require.Zero(t, got.RetryAfter)
			requireEnd(t, c, end)
			waitLen(t, room, 0)
		}
	}
}

// TestConnEndsByThePeer: without a goodbye, what the transport and the codec show.
func TestConnEndsByThePeer(t *testing.T) {
	for _, tt := range []struct {
		name  string
		how   func(there *roomtest.Conn)
		cause tcproom.Cause
		is    error
		final bool
	}{
		{name: "closed", how: func(there *roomtest.Conn) { there.Close() }, cause: errLeft, is: io.EOF, final: false},
		{name: "cut off", how: func(there *roomtest.Conn) { io.WriteString(there, `{"ty`); there.Close() }, cause: errCutOff, is: io.ErrUnexpectedEOF, final: false},
		{name: "reset", how: func(there *roomtest.Conn) { there.Reset() }, cause: errReset, is: syscall.ECONNRESET, final: false},
	} {
		for _, codec := range builtIn {
			synctest.Test(t, func(t *testing.T) {
				c, there := connOf(t, codec)
				greeted(t, codec, c, there)
				require.NoError(t, c.Err())
				tt.how(there)
				last, end := lastEvent(t, c)
				require.Zero(t, last)
				require.ErrorIs(t, end, tt.cause, "%s %T", tt.name, codec)
				require.ErrorIs(t, end, tt.is, "%s %T", tt.name, codec)
				got := end.(*tcproom.EndError)
				require.Equal(t, tt.cause, got.Cause)
				require.Empty(t, got.Text)
				require.Equal(t, tt.final, got.Final)
				requireEnd(t, c, end)
			})
		}
	}
	t.Run("malformed", func(t *testing.T) {
		c, there := connOf(t, tcproom.JSON{})
		greeted(t, tcproom.JSON{}, c, there)
		io.WriteString(there, "{\n")
		_, end := lastEvent(t, c)
		require.ErrorIs(t, end, tcproom.ErrMalformed)
		require.True(t, end.(*tcproom.EndError).Final)
		requireEnd(t, c, end)
	})
	inBubble("silent", t, func(t *testing.T) {
		here, there := roomtest.Pipe()
		defer there.Close()
		c := tcproom.NewConn(here, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithHeartbeat(time.Second))
		greeted(t, tcproom.JSON{}, c, there)
		start := time.Now()
		_, end := lastEvent(t, c)
		require.ErrorIs(t, end, errIdleTimeout)
		require.LessOrEqual(t, time.Since(start), 2400*time.Millisecond)
		require.GreaterOrEqual(t, time.Since(start), 1600*time.Millisecond)
		requireEnd(t, c, end)
	})
	t.Run("panics", func(t *testing.T) {
		c, there := connOf(t, parsePanics{})
		io.WriteString(there, "hi\n")
		require.Panics(t, func() { c.Receive(testContext(t)) }, "it is the caller's codec")
		there.Close()
	})
}

// TestConnEndsByItself: after one's own Close that is the end, and no error.
func TestConnEndsByItself(t *testing.T) {
	for _, codec := range builtIn {
		room := tcproom.New(tcproom.WithCodec(codec))
		addr := serveTCP(t, room)
		for _, c := range []*tcproom.Conn{dial(t, addr, tcproom.WithCodec(codec)), join(t, room)} {
			require.NoError(t, c.Close())
			for range 2 {
				require.Equal(t, errEnded, c.Err())
				require.Equal(t, errEnded, context.Cause(c.Context()))
				require.Equal(t, errEnded, c.Send(testContext(t), []byte("x")))
				_, err := c.Receive(testContext(t))
				require.Equal(t, errEnded, err)
				require.NoError(t, c.Close())
			}
			_, end := lastEvent(t, c)
			require.NoError(t, end)
		}
	}
	inBubble("in the loop of its events", t, func(t *testing.T) {
		c, there := connOf(t, tcproom.JSON{})
		io.WriteString(there, welcomeLine)
		n := 0
		for _, err := range c.Events(t.Context()) {
			require.NoError(t, err)
			n++
			go func() {
				io.Copy(io.Discard, there)
				there.Close()
			}()
			require.NoError(t, c.Close())
		}
		require.Equal(t, 1, n)
	})
}

// TestCloseWriteEnds: after one's own CloseWrite the room's end is what was asked for,
// unless it gives a reason or is none.
func TestCloseWriteEnds(t *testing.T) {
	for _, codec := range builtIn {
		room := tcproom.New(tcproom.WithCodec(codec))
		addr := serveTCP(t, room)
		for _, c := range []*tcproom.Conn{dial(t, addr, tcproom.WithCodec(codec)), join(t, room)} {
			send(t, c, "x")
			err := c.CloseWrite(testContext(t))
			if errors.Is(err, errors.ErrUnsupported) { // over an in-memory pair
				continue
			}
			require.NoError(t, err)
			require.Equal(t, net.ErrClosed, c.Send(testContext(t), []byte("x")))
			_, end := lastEvent(t, c)
			require.NoError(t, end)
			require.ErrorIs(t, c.Err(), io.EOF)
			require.ErrorIs(t, c.Err(), errLeft)
			requireEnd(t, c, c.Err())
		}
	}
	for _, tt := range []struct {
		name string
		how  func(there *roomtest.Conn)
		want tcproom.Cause // empty: no error
	}{
		{name: "closed", how: func(there *roomtest.Conn) { there.Close() }, want: ""},
		{name: "told why", how: func(there *roomtest.Conn) {
			io.WriteString(there, `{"type":"goodbye","code":"kicked","reason":"rude"}`+"\n")
			there.Close()
		}, want: tcproom.ErrKicked},
		{name: "told why without a code", how: func(there *roomtest.Conn) {
			io.WriteString(there, `{"type":"goodbye","reason":"rude"}`+"\n")
			there.Close()
		}, want: errLeft},
		{name: "cut off", how: func(there *roomtest.Conn) { io.WriteString(there, `{"ty`); there.Close() }, want: errCutOff},
		{name: "reset", how: func(there *roomtest.Conn) { there.Reset() }, want: errReset},
	} {
		inBubble(tt.name, t, func(t *testing.T) {
			c, there := connOf(t, tcproom.JSON{})
			greeted(t, tcproom.JSON{}, c, there)
			require.NoError(t, c.CloseWrite(t.Context()))
			_, err := io.Copy(io.Discard, there)
			require.NoError(t, err)
			tt.how(there)
			_, end := lastEvent(t, c)
			if tt.want == "" {
				require.NoError(t, end)
				require.Equal(t, &tcproom.EndError{Cause: errLeft}, withoutErr(c.Err()))
				return
			}
			require.ErrorIs(t, end, tt.want)
			require.Same(t, end, c.Err())
		})
	}
}

// withoutErr returns what is exported of an *EndError.
func withoutErr(err error) error {
	end, ok := errors.AsType[*tcproom.EndError](err)
	if !ok {
		return err
	}
	return &tcproom.EndError{Cause: end.Cause, Text: end.Text, Final: end.Final, RetryAfter: end.RetryAfter}
}

// TestGoodbyeIsTheEnd: what comes behind it, and what happens to the transport then, is
// of no interest.
func TestGoodbyeIsTheEnd(t *testing.T) {
	for _, after := range []func(there *roomtest.Conn){
		func(there *roomtest.Conn) {
			io.WriteString(there, `{"type":"message","body":"late"}`+"\n")
			there.Close()
		},
		func(there *roomtest.Conn) { io.WriteString(there, "nonsense\n") },
		func(there *roomtest.Conn) { there.Reset() },
		func(there *roomtest.Conn) {},
	} {
		synctest.Test(t, func(t *testing.T) {
			c, there := connOf(t, tcproom.JSON{})
			io.WriteString(there, welcomeLine+`{"type":"goodbye","code":"closed","retry":true,"retryAfter":1500,"reason":"night"}`+"\n")
			require.Equal(t, tcproom.Welcome, next(t, c).Kind)
			bye := next(t, c)
			require.Equal(t, tcproom.Goodbye, bye.Kind)
			want := &tcproom.EndError{Cause: tcproom.ErrRoomClosed, Text: "night", RetryAfter: 1500 * time.Millisecond}
			require.Equal(t, want, bye.End)
			require.Equal(t, want, c.Err(), "from the goodbye on")
			require.NotSame(t, bye.End, c.Err(), "the event is the receiver's own")
			after(there)
			synctest.Wait()
			last, end := lastEvent(t, c)
			require.Zero(t, last)
			require.Equal(t, want, end)
			requireEnd(t, c, end)
		})
	}
}

// TestJoinIsBounded: by its context, also while OnJoin blocks.
func TestJoinIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		left := newCauses()
		room := tcproom.New(tcproom.OnJoin(func(*tcproom.Member) error { <-hold; return nil }), tcproom.OnLeave(left.Left))
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, io.ErrNoProgress)
		defer cancel()
		start := time.Now()
		_, err := room.Join(ctx, tcproom.Identity{Name: "ada"})
		require.Equal(t, io.ErrNoProgress, err)
		require.Equal(t, time.Minute, time.Since(start))
		close(hold)
		synctest.Wait()
		require.Zero(t, room.Len())
		require.Error(t, <-left.C, "OnJoin let it in")

		_, err = room.Join(ctx, tcproom.Identity{Name: "ada"})
		require.Equal(t, io.ErrNoProgress, err, "the context has ended before")
		require.NoError(t, room.Close())
		_, err = room.Join(t.Context(), tcproom.Identity{Name: "ada"})
		require.ErrorIs(t, err, tcproom.ErrRoomClosed)
	})
}

// clientEvents returns the kinds of the events of c, and the error with which the loop
// ends, if it does so with one.
func clientEvents(t testing.TB, c *tcproom.Client) (kinds []tcproom.Kind, end error) {
	t.Helper()
	for ev, err := range c.Events(testContext(t)) {
		require.NoError(t, end, "the error is the last")
		if end = err; err == nil {
			kinds = append(kinds, ev.Kind)
		}
	}
	return kinds, end
}

// TestClientEnds: what Receive, Events, Err, Send and SendAcked say of the end of a
// Client.
func TestClientEnds(t *testing.T) {
	same := func(t *testing.T, c *tcproom.Client, end error) {
		t.Helper()
		for range 2 {
			require.Equal(t, end, c.Err())
			_, err := c.Receive(testContext(t))
			require.Equal(t, end, err)
			require.Equal(t, end, c.Send(testContext(t), []byte("x")))
			_, err = c.SendAcked(testContext(t), []byte("x"))
			require.Equal(t, end, err)
			require.NoError(t, c.Close())
		}
		kinds, err := clientEvents(t, c)
		require.Empty(t, kinds)
		require.NoError(t, err, "after Close the loop is quiet")
	}
	inBubble("by its own Close", t, func(t *testing.T) {
		srv := sessionServer(t, tcproom.Sessions{})
		c, _ := newClient(t, srv, "ada")
		hearAll(t, c, "welcome joined")
		require.NoError(t, c.Close())
		same(t, c, errEnded)
	})
	inBubble("by its own Close while it is away", t, func(t *testing.T) {
		srv := sessionServer(t, tcproom.Sessions{})
		c, link := newClient(t, srv, "ada")
		hearAll(t, c, "welcome joined")
		link.setDown(io.ErrNoProgress)
		link.now().Reset()
		hearAll(t, c, "lost")
		require.NoError(t, c.Close())
		same(t, c, errEnded)
	})
	inBubble("with its context", t, func(t *testing.T) {
		srv := sessionServer(t, tcproom.Sessions{})
		ctx, cancel := context.WithCancelCause(t.Context())
		c := tcproom.NewClient(ctx, srv.Addr, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithDialer(srv.Net.Dial))
		hearAll(t, c, "welcome joined")
		cancel(io.ErrNoProgress)
		kinds, end := clientEvents(t, c)
		require.Empty(t, kinds)
		require.Equal(t, io.ErrNoProgress, end)
		same(t, c, io.ErrNoProgress)
	})
	inBubble("by a kick", t, func(t *testing.T) {
		srv := sessionServer(t, tcproom.Sessions{})
		c, _ := newClient(t, srv, "ada")
		hearAll(t, c, "welcome joined")
		srv.Kick("ada", "rude")
		kinds, end := clientEvents(t, c)
		require.Equal(t, []tcproom.Kind{tcproom.Goodbye}, kinds)
		require.Equal(t, &tcproom.EndError{Cause: tcproom.ErrKicked, Text: "rude", Final: true}, end)
		same(t, c, end)
	})
	inBubble("by a refusal", t, func(t *testing.T) {
		srv := sessionServer(t, tcproom.Sessions{}, tcproom.OnJoin(func(*tcproom.Member) error {
			return &tcproom.RefusedError{Cause: "banned", Text: "for a week", Final: true}
		}))
		c, _ := newClient(t, srv, "ada")
		kinds, end := clientEvents(t, c)
		require.Empty(t, kinds)
		require.Equal(t, &tcproom.RefusedError{Cause: "banned", Text: "for a week", Final: true}, end)
		require.ErrorIs(t, end, tcproom.Cause("banned"))
		same(t, c, end)
	})
	inBubble("by its codec", t, func(t *testing.T) {
		srv := sessionServer(t, tcproom.Sessions{})
		c, _ := newClient(t, srv, "ada", tcproom.WithCodec(cannotParse{}))
		hearAll(t, c, "welcome joined")
		announce(t, srv.Room, "bomb")
		kinds, end := clientEvents(t, c)
		require.Empty(t, kinds)
		require.IsType(t, &tcproom.EndError{}, end)
		require.ErrorIs(t, end, tcproom.ErrHook)
		require.ErrorAs(t, end, new(*tcproom.HookError))
		same(t, c, end)
	})
}

// cannotParse is JSON that panics for one body.
type cannotParse struct{ tcproom.JSON }

func (c cannotParse) ParseEvent(frame []byte, ev *tcproom.Event) error {
	err := c.JSON.ParseEvent(frame, ev)
	if string(ev.Body) == "bomb" {
		panic("bomb")
	}
	return err
}

// TestOnEventOfAClient: the hook gets the one stream over all connections; its panic
// ends the client, and it may close it.
func TestOnEventOfAClient(t *testing.T) {
	inBubble("over two connections", t, func(t *testing.T) {
		srv := sessionServer(t, tcproom.Sessions{})
		got := make(chan string, 100)
		c, link := newClient(t, srv, "ada", tcproom.OnEvent(func(ev tcproom.Event) { got <- inShort(ev) }))
		require.Equal(t, "welcome joined", <-got)
		_, err := c.Receive(t.Context())
		require.ErrorIs(t, err, errors.ErrUnsupported)
		for _, err := range c.Events(t.Context()) {
			require.ErrorIs(t, err, errors.ErrUnsupported)
		}
		link.now().Reset()
		require.Equal(t, "lost", <-got)
		require.Equal(t, "welcome resumed", <-got)
		announce(t, srv.Room, "hi")
		require.Equal(t, "2 hi", <-got)
		require.NoError(t, c.Close())
		require.Equal(t, errEnded, c.Err())
		require.Empty(t, got)
	})
	inBubble("a panic", t, func(t *testing.T) {
		srv := sessionServer(t, tcproom.Sessions{})
		c, _ := newClient(t, srv, "ada", tcproom.OnEvent(func(ev tcproom.Event) {
			if ev.Kind == tcproom.Message {
				panic("boom")
			}
		}))
		announceTo(t, srv, 1)
		synctest.Wait()
		require.IsType(t, &tcproom.EndError{}, c.Err())
		require.ErrorIs(t, c.Err(), tcproom.ErrHook)
		he, ok := errors.AsType[*tcproom.HookError](c.Err())
		require.True(t, ok)
		require.Equal(t, "OnEvent", he.Hook)
		require.Equal(t, "boom", he.Panic)
		require.NoError(t, c.Close())
	})
	inBubble("Close in the hook", t, func(t *testing.T) {
		srv := sessionServer(t, tcproom.Sessions{})
		var c *tcproom.Client
		ready := make(chan struct{}) // closed when c is set
		closed := make(chan error, 1)
		c, _ = newClient(t, srv, "ada", tcproom.OnEvent(func(ev tcproom.Event) {
			<-ready
			if ev.Kind == tcproom.Message {
				closed <- c.Close()
			}
		}))
		close(ready)
		announceTo(t, srv, 1)
		require.NoError(t, <-closed)
		require.Equal(t, errEnded, c.Err())
		synctest.Wait()
		require.Zero(t, srv.Room.Len())
	})
}

// announceTo has the room send a message when it has so many members.
func announceTo(t testing.TB, srv *roomtest.Server, members int) {
	t.Helper()
	waitLen(t, srv.Room, members)
	announce(t, srv.Room, "hi")
}

// A peer of a hub that names no rooms, and is put out of its only one, gets what came in
// it before the goodbye, which is the last that it reads.
func TestGoodbyeOfTheOnlyRoomComesLast(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		h := tcproom.NewHub(tcproom.WithCodec(tcproom.JSON{}))
		defer h.Close()
		here, there := net.Pipe()
		go h.ServeConn(there)
		defer here.Close()
		v := newVisit(t, here)
		require.Equal(t, "welcome", v.next()["type"])
		r, ok := h.Lookup("lobby")
		require.True(t, ok)
		for i := range 3 {
			announce(t, r, "%d", i)
		}
		synctest.Wait()
		require.NoError(t, only(r).Kick("out"))
		synctest.Wait()
		for i := range 3 {
			require.Equal(t, fmt.Sprint(i), v.next()["body"])
		}
		require.Equal(t, "goodbye", v.next()["type"])
	})
}

// TestLastWordsOfAConnThatSends: what the room said before it closed is received, also by
// one that learns from a message of its own that the connection is closed.
func TestLastWordsOfAConnThatSends(t *testing.T) {
	kicked := func(t *testing.T, room *tcproom.Room, c *tcproom.Conn, gone func()) {
		waitLen(t, room, 1)
		broadcast(t, room, []byte("one more"))
		for m := range room.Members() {
			require.NoError(t, m.Kick("enough"))
		}
		gone() // it has closed its end
		var err error
		for err == nil { // until its kernel knows that
			err = c.Send(testContext(t), []byte("x"))
		}
		require.ErrorIs(t, err, errReset)
		require.Equal(t, "one more", nextMessage(t, c))
		require.NoError(t, c.Err())
		last, end := lastEvent(t, c)
		require.Equal(t, tcproom.Goodbye, last.Kind)
		require.ErrorIs(t, end, tcproom.ErrKicked)
		requireEnd(t, c, end)
	}
	inBubble("in memory", t, func(t *testing.T) {
		room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}))
		here, there := roomtest.Pipe()
		go room.ServeConn(there)
		kicked(t, room, tcproom.NewConn(here, tcproom.WithCodec(tcproom.JSON{})), func() { time.Sleep(time.Minute) })
		require.NoError(t, room.Close())
	})
	t.Run("TCP", func(t *testing.T) {
		room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}))
		ends := make(chan error, 1)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		go func() {
			nc, err := l.Accept()
			if err == nil {
				err = room.ServeConn(nc)
			}
			ends <- err
		}()
		kicked(t, room, dial(t, l.Addr().String(), tcproom.WithCodec(tcproom.JSON{})), func() {
			require.ErrorIs(t, ended(t, ends), tcproom.ErrKicked)
		})
		require.NoError(t, room.Close())
	})
}

// TestConnWhoseWriteFails: it ends with that when all is read that had been sent to it,
// and in any case after five seconds, also if nobody reads.
func TestConnWhoseWriteFails(t *testing.T) {
	for _, tt := range []struct {
		name string
		read bool
		then func(there net.Conn) // behind the write
		late time.Duration
	}{
		{name: "closed", read: true, then: func(there net.Conn) { there.Close() }},
		{name: "silent", read: true, then: func(net.Conn) {}, late: 5 * time.Second},
		{name: "nobody reads", then: func(net.Conn) {}, late: 5 * time.Second},
	} {
		inBubble(tt.name, t, func(t *testing.T) {
			here, there := net.Pipe()
			defer there.Close()
			c := tcproom.NewConn(cannotWrite{here}, tcproom.WithCodec(tcproom.Text{}))
			require.NoError(t, c.Send(testContext(t), []byte("x")))
			synctest.Wait()
			err := c.Send(testContext(t), []byte("y"))
			require.ErrorIs(t, err, errReset)
			require.ErrorIs(t, err, syscall.EPIPE)
			require.ErrorIs(t, c.CloseWrite(testContext(t)), errors.ErrUnsupported)
			require.NoError(t, c.Err())
			began := time.Now()
			if tt.read {
				there.SetWriteDeadline(time.Now().Add(time.Second))
				go func() {
					io.WriteString(there, "the last words\n")
					tt.then(there)
				}()
				require.Equal(t, "the last words", nextMessage(t, c))
				_, end := c.Receive(testContext(t))
				require.Same(t, err, end)
			}
			<-c.Context().Done()
			require.Equal(t, tt.late, time.Since(began))
			requireEnd(t, c, err)
		})
	}
}

// TestCloseOfAConnWhoseWriteFails: Close reports it if nothing has before.
func TestCloseOfAConnWhoseWriteFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer there.Close()
		c := tcproom.NewConn(cannotWrite{here}, tcproom.WithCodec(tcproom.Text{}))
		require.NoError(t, c.Send(testContext(t), []byte("x")))
		synctest.Wait()
		require.NoError(t, c.Err())
		began := time.Now()
		require.ErrorIs(t, c.Close(), syscall.EPIPE)
		require.Zero(t, time.Since(began))
		require.ErrorIs(t, c.Err(), syscall.EPIPE)
	})
}

// TestGoodbyeBehindAFailedWrite: one that gives no reason does not hide that something was
// not sent; one that does is the end.
func TestGoodbyeBehindAFailedWrite(t *testing.T) {
	for goodbye, hides := range map[string]bool{
		`{"type":"goodbye"}`:                                 false,
		`{"type":"goodbye","code":"left"}`:                   false,
		`{"type":"goodbye","code":"left","reason":"enough"}`: true,
		`{"type":"goodbye","code":"kicked"}`:                 true,
	} {
		inBubble(goodbye, t, func(t *testing.T) {
			here, there := net.Pipe()
			defer there.Close()
			c := tcproom.NewConn(cannotWrite{here}, tcproom.WithCodec(tcproom.JSON{}))
			synctest.Wait() // its hello
			go io.WriteString(there, welcomeLine+goodbye+"\n")
			last, end := lastEvent(t, c)
			require.Equal(t, tcproom.Goodbye, last.Kind)
			require.Equal(t, hides, !errors.Is(end, syscall.EPIPE), end)
			requireEnd(t, c, end)
		})
	}
}

// cannotWrite is a net.Conn whose peer is read from, and not written to.
type cannotWrite struct{ net.Conn }

func (cannotWrite) Write([]byte) (int, error) { return 0, syscall.EPIPE }
