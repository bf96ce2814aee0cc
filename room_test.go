package tcproom_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// joined joins and takes the welcome.
func joined(t testing.TB, room *tcproom.Room, name string) (c *tcproom.Conn, member *tcproom.Member) {
	t.Helper()
	c = join(t, room, tcproom.WithName(name))
	require.Equal(t, tcproom.Welcome, next(t, c).Kind)
	member, ok := room.Member(c.ID())
	require.True(t, ok)
	return c, member
}

func TestMemberList(t *testing.T) {
	room := jsonRoom()
	defer room.Close()
	var names []string
	for i := range 20 {
		c, m := joined(t, room, fmt.Sprintf("m%d", i))
		require.Equal(t, c.ID(), m.ID())
		require.Equal(t, c.Name(), m.Name())
		require.Same(t, room, m.Room())
		names = append(names, m.Name())
	}
	list := func() (got []string) {
		for m := range room.Members() {
			got = append(got, m.Name())
		}
		return got
	}
	require.Equal(t, names, list(), "in join order")
	snapshot := room.Members()
	var kicked []string
	for m := range snapshot {
		if len(kicked) < 10 {
			require.NoError(t, m.Kick(""))
			kicked = append(kicked, m.Name())
			require.Equal(t, 20-len(kicked), room.Len())
		}
	}
	require.Equal(t, names[:10], kicked)
	require.Equal(t, names[10:], list())
	require.Len(t, slices.Collect(snapshot), 20, "a snapshot does not change")
	for range snapshot {
		break // and may be left early
	}
	_, ok := room.Member("nobody")
	require.False(t, ok)

	broadcast(t, room, []byte("four"))
	s := room.Stats()
	// What is told by the clock, and by who reads at the moment, has tests of its own.
	s.BytesOut, s.Delivered, s.Waiting, s.Backlog, s.SlowestFor = 0, 0, 0, 0, 0
	require.Equal(t, tcproom.Stats{Members: 10, Joined: 20, Messages: 1, Bytes: 4, Seq: 31, Left: map[tcproom.Cause]uint64{tcproom.ErrKicked: 10}}, s)
}

func TestNoticesGoToAllOthers(t *testing.T) {
	srv := roomtest.NewMemServer(t)
	a, b, c := srv.Join("a"), srv.Join("b"), srv.Join("c")
	require.EqualValues(t, 2, a.Expect(roomtest.Joined("b"), roomtest.Joined("c"))[0].Seq)
	b.Expect(roomtest.Joined("c"))
	c.Leave()
	require.EqualValues(t, 4, a.Expect(roomtest.Left("c"))[0].Seq)
	require.EqualValues(t, 4, b.Expect(roomtest.Left("c"))[0].Seq)
	a.Send("hi")
	require.EqualValues(t, 5, b.Expect(roomtest.Message("a", "hi"))[0].Seq)
	b.Send("ho")
	a.Expect(roomtest.Message("b", "ho")) // and not its own
	b.Refute(roomtest.Any())
}

func TestNoticesOff(t *testing.T) {
	srv := roomtest.NewMemServer(t, tcproom.WithNotices(false))
	a, b := srv.Join("a"), srv.Join("b")
	require.Zero(t, srv.Room.Stats().Seq)
	a.Send("one")
	require.EqualValues(t, 1, b.Expect(roomtest.Message("a", "one"))[0].Seq)
	srv.Kick("b", "bye")
	require.EqualValues(t, 2, broadcast(t, srv.Room, []byte("two")))
	require.EqualValues(t, 2, a.Expect(roomtest.Message("*", "two"))[0].Seq)
	require.Equal(t, "bye", b.Expect(roomtest.Goodbye())[0].End.Text)
	require.Equal(t, "   1  a: one\n   2  *: two\n", srv.Transcript().String())
}

func TestP5Echo(t *testing.T) {
	srv := roomtest.NewMemServer(t, tcproom.WithCodec(tcproom.JSON{}))
	echoes := srv.Listen(tcproom.WithEcho(true))
	a := srv.Join("a")
	b := srv.Watch(srv.DialAddr(echoes, tcproom.WithName("b")))
	a.Expect(roomtest.Joined("b"))
	for i := range 100 {
		b.Send(fmt.Sprint(i))
		there := a.Expect(roomtest.Message("b", fmt.Sprint(i)))
		here := b.Expect(roomtest.Message("b", fmt.Sprint(i)))
		require.Equal(t, there, here)
		a.Send("own")
		b.Expect(roomtest.Message("a", "own"))
	}
	a.Refute(roomtest.Any())
}

func TestBroadcastAndPostErrors(t *testing.T) {
	early := make(chan error, 2)
	room := jsonRoom(tcproom.WithMaxMessage(10), tcproom.OnJoin(func(m *tcproom.Member) error {
		if m.Name() != "early" {
			return nil
		}
		_, err := m.Post(context.Background(), []byte("x"))
		early <- err
		early <- m.Kick("")
		return errHook
	}))
	a, ma := joined(t, room, "a")
	b, mb := joined(t, room, "b")
	requireEvent(t, a, tcproom.Join, "b", "")
	ctx := testContext(t)
	over, cancel := context.WithCancelCause(context.Background())
	cancel(io.ErrNoProgress)
	_, err := room.Broadcast(over, []byte("x"))
	require.ErrorIs(t, err, io.ErrNoProgress)
	_, err = room.Broadcast(ctx, make([]byte, 11))
	require.ErrorIs(t, err, tcproom.ErrFrameTooLarge)
	_, err = ma.Post(ctx, make([]byte, 11))
	require.ErrorIs(t, err, tcproom.ErrFrameTooLarge)
	_, err = room.Join(ctx, tcproom.Identity{Name: "early"})
	require.ErrorIs(t, err, errHook)
	require.ErrorIs(t, <-early, tcproom.ErrNotMember, "of Post before the join")
	require.ErrorIs(t, <-early, tcproom.ErrNotMember, "of Kick before the join")
	require.EqualValues(t, 2, room.Stats().Seq)
	seq, err := mb.Post(ctx, []byte("0123456789"))
	require.NoError(t, err)
	require.EqualValues(t, 3, seq)
	requireEvent(t, a, tcproom.Message, "b", "0123456789")
	b.Close()
	requireEvent(t, a, tcproom.Leave, "b", "")
	_, err = mb.Post(ctx, []byte("x"))
	require.ErrorIs(t, err, tcproom.ErrNotMember)
	require.ErrorIs(t, mb.Kick(""), tcproom.ErrNotMember)
	require.ErrorIs(t, mb.Send(ctx, []byte("x")), io.EOF)
	room.Close()
	_, err = room.Broadcast(ctx, []byte("x"))
	require.ErrorIs(t, err, tcproom.ErrRoomClosed)
	_, err = ma.Post(ctx, []byte("x"))
	require.ErrorIs(t, err, tcproom.ErrRoomClosed)
	_, err = room.Join(testContext(t), tcproom.Identity{})
	require.ErrorIs(t, err, tcproom.ErrRoomClosed)
}

// TestP4Kick: the leave is ordered when Kick returns; the member gets what was
// before it, the reason, and nothing after.
func TestP4Kick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := newCauses()
		srv := roomtest.NewMemServer(t, tcproom.OnLeave(left.Left))
		room := srv.Room
		a, b := srv.Join("a"), srv.Join("b")
		a.Expect(roomtest.Joined("b"))
		m := memberOf(t, room, 1)
		broadcast(t, room, []byte("before"))
		require.NoError(t, m.Kick("spam \x1b[31m"))
		require.ErrorIs(t, m.Kick("again"), tcproom.ErrNotMember)
		require.EqualValues(t, 5, broadcast(t, room, []byte("after")))
		require.Equal(t, 1, room.Len())
		require.Equal(t, "a", only(room).Name())
		seen := a.Expect(roomtest.Message("*", "before"), roomtest.Left("b"), roomtest.Message("*", "after"))
		require.EqualValues(t, 4, seen[1].Seq)
		seen = b.Expect(roomtest.Message("*", "before"), roomtest.Goodbye())
		require.Equal(t, "spam \x1b[31m", seen[1].End.Text)
		require.ErrorIs(t, b.AwaitEnd(), tcproom.ErrKicked)
		require.Equal(t, seen[1], b.Events()[len(b.Events())-1])
		err := left.Next(t)
		require.ErrorIs(t, err, tcproom.ErrKicked)
		require.Contains(t, err.Error(), `"spam \x1b[31m"`)
		require.ErrorIs(t, m.Err(), tcproom.ErrKicked)
		require.ErrorIs(t, m.Send(testContext(t), []byte("x")), tcproom.ErrKicked)
	})
}

// TestP1OneOrderAcrossLanes: members of different framings and codecs see one
// order, and those that are told seqs the same ones.
func TestP1OneOrderAcrossLanes(t *testing.T) {
	room := jsonRoom(tcproom.WithNotices(false))
	defer room.Close()
	type lane struct {
		framing tcproom.Framing
		codec   tcproom.Codec
	}
	lanes := []lane{
		{framing: tcproom.Lines{}, codec: tcproom.JSON{}}, {framing: tcproom.Netstring{}, codec: tcproom.JSON{}}, {framing: tcproom.Lines{}, codec: tcproom.Text{}},
		{framing: tcproom.Lines{}, codec: tcproom.Raw{}}, {framing: tcproom.Length{}, codec: tcproom.Raw{}}, {framing: tcproom.ContentLength{}, codec: tcproom.Text{}},
	}
	const each = 500
	var observers, senders []*tcproom.Conn
	for _, l := range lanes {
		addr := serveTCP(t, room, tcproom.WithFraming(l.framing), tcproom.WithCodec(l.codec))
		opts := []tcproom.DialOption{tcproom.WithFraming(l.framing), tcproom.WithCodec(l.codec)}
		observers = append(observers, dial(t, addr, opts...))
		senders = append(senders, dial(t, addr, opts...))
	}
	waitLen(t, room, 2*len(lanes))
	var wg sync.WaitGroup
	for i, c := range senders {
		wg.Go(func() {
			for n := range each {
				if err := c.Send(context.Background(), fmt.Appendf(nil, "%d.%d", i, n)); err != nil {
					t.Errorf("send: %v", err)
				}
			}
		})
		wg.Go(func() {
			for range c.Events(context.Background()) {
			}
		})
	}
	bodies, seqs := make([][]string, len(lanes)), make([][]uint64, len(lanes))
	var reading sync.WaitGroup
	for i, c := range observers {
		reading.Go(func() {
			for len(bodies[i]) < each*len(lanes) {
				ev, err := c.Receive(context.Background())
				if err != nil {
					t.Errorf("receive: %v", err)
					return
				}
				if ev.Kind == tcproom.Message {
					bodies[i], seqs[i] = append(bodies[i], string(ev.Body)), append(seqs[i], ev.Seq)
				}
			}
		})
	}
	reading.Wait()
	room.Close()
	wg.Wait()
	for i := range lanes {
		require.Equal(t, bodies[0], bodies[i], "lane %d", i)
	}
	require.Equal(t, seqs[0], seqs[1])
	for i, seq := range seqs[0] {
		require.EqualValues(t, i+1, seq)
	}
	from := map[byte]int{}
	for _, body := range bodies[0] { // P2: what comes over one socket keeps its order
		require.Equal(t, fmt.Sprintf("%c.%d", body[0], from[body[0]]), body)
		from[body[0]]++
	}
}

// TestP3JoinCut: who joins amid a flood gets every event after its welcome's
// seq, and none before.
func TestP3JoinCut(t *testing.T) {
	room := jsonRoom()
	addr := serveTCP(t, room)
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				room.Broadcast(ctx, []byte("flood"))
			}
		})
	}
	for i := range 60 {
		var c *tcproom.Conn
		if i%2 == 0 {
			c = dial(t, addr, tcproom.WithCodec(tcproom.JSON{}))
		} else {
			c = join(t, room)
		}
		welcome := next(t, c)
		require.Equal(t, tcproom.Welcome, welcome.Kind)
		require.Equal(t, c.ID(), welcome.Welcome.Members[len(welcome.Welcome.Members)-1].ID, "its own join is the last before")
		require.Equal(t, len(welcome.Welcome.Members), welcome.Welcome.Total)
		for n := range uint64(50) {
			ev := next(t, c)
			require.Equal(t, welcome.Seq+1+n, ev.Seq)
			require.NotEqual(t, c.ID(), ev.From.ID)
		}
		c.Close()
	}
}

// TestDirect: a direct message stands where the order was when it was sent,
// and goes to one member only; before the join, before everything.
func TestDirect(t *testing.T) {
	ctx := testContext(t)
	srv := roomtest.NewMemServer(t,
		tcproom.WithHandshake(func(ctx context.Context, n *tcproom.Newcomer) (tcproom.Identity, error) {
			return tcproom.Identity{Name: n.Hello().Name}, n.Send(ctx, []byte("in the handshake"))
		}),
		tcproom.OnJoin(func(m *tcproom.Member) error { return m.Send(ctx, []byte("in OnJoin")) }),
	)
	a, b := srv.Join("a"), srv.Join("b")
	greeting := []roomtest.Match{roomtest.Direct("in the handshake"), roomtest.Direct("in OnJoin")}
	a.Expect(append(greeting, roomtest.Joined("b"))...)
	b.Expect(greeting...)
	var all, told []roomtest.Match
	for i := range 200 {
		broadcast(t, srv.Room, fmt.Append(nil, i))
		require.NoError(t, memberOf(t, srv.Room, 1).Send(ctx, fmt.Appendf(nil, "direct %d", i)))
		all = append(all, roomtest.Message("*", fmt.Sprint(i)))
		told = append(told, all[i], roomtest.Direct(fmt.Sprint("direct ", i)))
	}
	a.Expect(all...)
	b.Expect(told...)
	a.Refute(roomtest.Any())
	b.Refute(roomtest.Any())
}

// TestDirectBeforeTheWelcome: the library's own client is let in by a room that
// greets it in its hooks.
func TestDirectBeforeTheWelcome(t *testing.T) {
	ctx := testContext(t)
	srv := roomtest.NewMemServer(t, tcproom.WithCodec(tcproom.JSON{}),
		tcproom.WithHandshake(func(ctx context.Context, n *tcproom.Newcomer) (tcproom.Identity, error) {
			return tcproom.Identity{}, n.Send(ctx, []byte("in the handshake"))
		}),
		tcproom.OnJoin(func(m *tcproom.Member) error { return m.Send(ctx, []byte("in OnJoin")) }),
	)
	c := srv.Dial()
	require.NotEmpty(t, c.ID())
	requireEvent(t, c, tcproom.Direct, "", "in the handshake")
	requireEvent(t, c, tcproom.Direct, "", "in OnJoin")
	require.Equal(t, tcproom.Welcome, next(t, c).Kind)
	j := join(t, srv.Room)
	requireEvent(t, j, tcproom.Direct, "", "in OnJoin")
	require.Equal(t, tcproom.Welcome, next(t, j).Kind)
}

type key struct{}

// TestMemberContext: it carries the handshake's values, and ends with the cause.
func TestMemberContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := newCauses()
		early := make(chan context.Context, 1)
		parent, cancelParent := context.WithCancel(context.WithValue(context.Background(), key{}, "value"))
		srv := roomtest.NewMemServer(t, tcproom.OnLeave(left.Left),
			tcproom.OnJoin(func(m *tcproom.Member) error { early <- m.Context(); return nil }),
			tcproom.WithHandshake(func(context.Context, *tcproom.Newcomer) (tcproom.Identity, error) {
				return tcproom.Identity{Name: "ada", Context: parent}, nil
			}))
		c := srv.Dial()
		synctest.Wait()
		m := memberOf(t, srv.Room, 0)
		require.Equal(t, "ada", m.Name())
		ctx := m.Context()
		require.Equal(t, "value", ctx.Value(key{}))
		cancelParent()
		synctest.Wait()
		require.NoError(t, ctx.Err(), "the values and nothing else")
		require.NoError(t, m.Err())
		derived, cancel := context.WithCancel(ctx)
		defer cancel()
		require.NoError(t, m.Kick("why"))
		for _, ctx := range []context.Context{ctx, derived, <-early, m.Context()} {
			<-ctx.Done()
			require.ErrorIs(t, context.Cause(ctx), tcproom.ErrKicked)
		}
		require.Equal(t, m.Err(), context.Cause(ctx))
		require.ErrorIs(t, left.Next(t), tcproom.ErrKicked)
		require.ErrorIs(t, m.Err(), tcproom.ErrKicked)

		require.NoError(t, c.Context().Err())
		c.Close()
		<-c.Context().Done()
	})
}

// TestMemberContextEndsItsHooks: a hook that waits for its member's context returns
// when the connection has ended or the room stops; if the member may resume, when the
// room stops.
func TestMemberContextEndsItsHooks(t *testing.T) {
	for _, test := range []struct {
		hook             string
		sessions, breaks bool
		want             error
	}{
		{hook: "OnJoin", sessions: false, breaks: false, want: tcproom.ErrRoomClosed},
		{hook: "OnJoined", sessions: false, breaks: false, want: tcproom.ErrRoomClosed},
		{hook: "OnMessage", sessions: false, breaks: false, want: tcproom.ErrRoomClosed},
		{hook: "OnMessage", sessions: false, breaks: true, want: errReset},
		{hook: "OnMessage", sessions: true, breaks: false, want: tcproom.ErrRoomClosed},
		{hook: "OnMessage", sessions: true, breaks: true, want: tcproom.ErrRoomClosed}, // detached when the room stops
	} {
		inBubble(fmt.Sprintf("%+v", test), t, func(t *testing.T) {
			running, returned := make(chan struct{}, 1), make(chan error, 1)
			hook := func(name string, m *tcproom.Member) {
				if name == test.hook {
					running <- struct{}{}
					select {
					case <-m.Context().Done():
					case <-time.After(time.Hour):
						t.Error("its context does not end")
					}
					returned <- context.Cause(m.Context())
				}
			}
			opts := []tcproom.RoomOption{
				tcproom.WithCodec(tcproom.JSON{}),
				tcproom.OnJoin(func(m *tcproom.Member) error { hook("OnJoin", m); return nil }),
				tcproom.OnJoined(func(m *tcproom.Member, _ uint64) { hook("OnJoined", m) }),
				tcproom.OnMessage(func(m *tcproom.Member, _ []byte) ([]byte, error) { hook("OnMessage", m); return nil, nil }),
			}
			if test.sessions {
				opts = append(opts, tcproom.WithSessions(tcproom.Sessions{}))
			}
			room := tcproom.New(opts...)
			nc, _ := enter(t, room)
			go io.Copy(io.Discard, nc)
			io.WriteString(nc, `{"type":"hello"}`+"\n"+`{"type":"message","body":"hi"}`+"\n")
			<-running
			if test.breaks {
				nc.Close()
				broadcast(t, room, []byte("x")) // which shows it
				synctest.Wait()
				if test.sessions != (len(returned) == 0) {
					t.Error("a member that may resume has left, or another has not")
				}
			}
			err := room.Shutdown(testContext(t))
			require.ErrorIs(t, <-returned, test.want)
			require.NoError(t, err)
		})
	}
}

// TestFullRoom: one more than fits is refused in words, and the bound holds
// against a crowd (P15).
func TestFullRoom(t *testing.T) {
	const most = 10
	room := jsonRoom(tcproom.WithMaxMembers(most))
	addr := serveTCP(t, room)
	var wg sync.WaitGroup
	var mu sync.Mutex
	let := 0
	for range 5 * most {
		wg.Go(func() {
			c, err := tcproom.Dial(testContext(t), addr, tcproom.WithCodec(tcproom.JSON{}))
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				let++
				t.Cleanup(func() { c.Close() })
				return
			}
			var refused *tcproom.RefusedError
			if !errors.As(err, &refused) || refused.Cause != tcproom.ErrRoomFull {
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, most, let)
	require.Equal(t, most, room.Len())
	nc := dialRaw(t, addr)
	line, err := io.ReadAll(nc)
	require.NoError(t, err)
	require.Equal(t, `{"type":"refused","code":"full","message":"room is full"}`+"\n", string(line))
}
