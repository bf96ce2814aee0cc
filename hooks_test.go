package tcproom_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// callEverything calls whatever a hook may call, but for what ends its own member
// or the room.
func callEverything(st *stage, of subject) error {
	r, ctx := st.room, context.Background()
	if _, err := r.Broadcast(ctx, []byte("from a hook")); err != nil {
		return err
	}
	r.Len()
	r.Stats()
	for m := range r.Members() {
		m.ID()
	}
	other, ok := r.Member(st.other.Load().(string))
	if !ok || other.Name() != "other" {
		return errors.New("a bystander is not there")
	}
	select {
	case <-r.Done():
		return errors.New("the room is done")
	default:
	}
	if err := other.Kick("by a hook"); err != nil {
		return err
	}
	if of.newcomer != nil {
		return callNewcomer(ctx, of.newcomer, st.hook == "WithHandshake")
	}
	return callMember(ctx, st, of.member)
}

func callMember(ctx context.Context, st *stage, m *tcproom.Member) error {
	_, err := m.Post(ctx, []byte("from a hook, for its member"))
	if (st.hook == "OnMessage") != (err == nil) || err != nil && !errors.Is(err, tcproom.ErrNotMember) {
		return fmt.Errorf("Post: %v", err)
	}
	err = m.Send(ctx, []byte("direct"))
	if (st.hook == "OnLeave") == (err == nil) || err != nil && !errors.Is(err, tcproom.ErrNotMember) {
		return fmt.Errorf("Send: %v", err)
	}
	if m.ID() == "" || m.Name() != victim || m.Info() != (tcproom.MemberInfo{ID: m.ID(), Name: victim}) ||
		m.RemoteAddr() == nil || m.TLS() != nil || m.Hello().Name != victim || m.Room() != st.room || m.Context() == nil {
		return errors.New("the member does not know what it is")
	}
	if (st.hook == "OnLeave") != (m.Err() != nil) {
		return fmt.Errorf("Err: %v", m.Err())
	}
	return nil
}

// callNewcomer calls what a Newcomer has, which talks only inside of its hook.
func callNewcomer(ctx context.Context, n *tcproom.Newcomer, inside bool) error {
	err := n.Send(ctx, []byte("direct"))
	if inside != (err == nil) || err != nil && !errors.Is(err, tcproom.ErrNotMember) {
		return fmt.Errorf("Send: %v", err)
	}
	if !inside {
		if _, err := n.Receive(ctx); !errors.Is(err, errors.ErrUnsupported) {
			return fmt.Errorf("Receive: %v", err)
		}
	}
	if n.Hello().Name != victim || n.RemoteAddr() == nil || n.TLS() != nil {
		return errors.New("the newcomer does not know what it is")
	}
	return nil
}

// A victimEnd is what becomes of a victim: the hook that its HookError names, or the
// error that it ends with.
type victimEnd struct {
	hook string
	err  error
}

// endByHook is that if the hook itself fails.
func endByHook(hook string) victimEnd {
	switch hook {
	case "OnLeave":
		return victimEnd{} // it was over already
	case "OnReject":
		return victimEnd{err: errHook}
	}
	return victimEnd{hook: hook, err: tcproom.ErrHook}
}

// A misdeed is what a hook does, and what that makes of its victim.
type misdeed struct {
	name string
	act  func(*stage, subject) error
	want func(hook string) victimEnd
}

var misdeeds = []misdeed{
	{name: "panics", act: func(*stage, subject) error { panic("hook") }, want: endByHook},
	{name: "panics with nil", act: func(*stage, subject) error { panic(nil) }, want: endByHook},
	{name: "exits", act: func(*stage, subject) error { runtime.Goexit(); return nil }, want: endByHook},
	{name: "fails", act: func(*stage, subject) error { return errHook }, want: func(hook string) victimEnd {
		switch hook {
		case "OnMessage":
			return victimEnd{hook: hook, err: errHook}
		case "OnLeave":
			return victimEnd{}
		}
		return victimEnd{err: errHook}
	}},
	{name: "calls everything and fails", act: func(st *stage, of subject) error {
		if err := callEverything(st, of); err != nil {
			return err
		}
		return errHook
	}, want: func(hook string) victimEnd {
		if hook == "OnLeave" {
			return victimEnd{}
		}
		return victimEnd{err: errHook}
	}},
	{name: "kicks its member", act: func(st *stage, of subject) error {
		if of.member == nil {
			return errHook // it has none
		}
		err := of.member.Kick("by itself")
		if (st.hook == "OnMessage") != (err == nil) || err != nil && !errors.Is(err, tcproom.ErrNotMember) {
			return fmt.Errorf("Kick: %v", err)
		}
		if st.hook != "OnMessage" {
			return errHook
		}
		return nil
	}, want: func(hook string) victimEnd {
		switch hook {
		case "OnLeave":
			return victimEnd{}
		case "OnMessage":
			return victimEnd{err: tcproom.ErrKicked}
		}
		return victimEnd{err: errHook}
	}},
}

// TestHooksContained has each hook panic, exit, fail and call back. Only its
// own connection ends, and the others lose nothing.
func TestHooksContained(t *testing.T) {
	for _, hook := range theHooks {
		for _, deed := range misdeeds {
			t.Run(hook+" "+deed.name, func(t *testing.T) { testHookContained(t, hook, deed) })
		}
	}
}

func testHookContained(t *testing.T, hook string, deed misdeed) {
	checkGoroutines(t)
	st := newStage(t, hook, deed.act)
	a, b, other := st.dial(t, "ada"), st.dial(t, "bob"), st.dial(t, "other")
	st.other.Store(other.ID())
	chat(t, a, b, "before")
	v := st.enterVictim(t)
	got, want := st.end(t), deed.want(hook)
	if want.err == nil {
		require.NotErrorIs(t, got, tcproom.ErrHook)
	} else {
		require.ErrorIs(t, got, want.err)
	}
	if want.hook != "" {
		var he *tcproom.HookError
		require.ErrorAs(t, got, &he)
		require.Equal(t, want.hook, he.Hook)
	}
	chat(t, a, b, "after")
	if c := <-v; c != nil {
		c.Close()
	}
	require.NoError(t, st.room.Close())
	waitDone(t, st.room)
	st.checkPairs(t)
	require.Empty(t, st.ends, "the victim ended more than once")
}

// TestP11BlockedHook: a hook that blocks holds up its own conn alone; Shutdown
// names it, Close does not wait for it, and Done does.
func TestP11BlockedHook(t *testing.T) {
	for _, hook := range theHooks {
		t.Run(hook, func(t *testing.T) {
			checkGoroutines(t)
			inside, release := make(chan struct{}, 1), make(chan struct{})
			st := newStage(t, hook, func(*stage, subject) error {
				inside <- struct{}{}
				<-release
				return nil
			})
			free := sync.OnceFunc(func() { close(release) })
			defer free()
			a, b := st.dial(t, "ada"), st.dial(t, "bob")
			v := st.enterVictim(t)
			<-inside
			chat(t, a, b, "meanwhile")
			a.Close()
			b.Close()

			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			defer cancel()
			var stop *tcproom.StopError
			require.ErrorAs(t, st.room.Shutdown(ctx), &stop)
			require.ErrorIs(t, stop, context.DeadlineExceeded)
			require.Len(t, stop.Stuck, 1)
			require.Equal(t, hook, stop.Stuck[0].Hook)
			require.NotEmpty(t, stop.Stuck[0].Addr)
			require.Contains(t, stop.Error(), hook)

			start := time.Now()
			require.NoError(t, st.room.Close())
			require.Less(t, time.Since(start), 4*time.Second, "Close waited for a hook that ran before it")
			select {
			case <-st.room.Done():
				t.Fatal("P9: done while a hook runs")
			default:
			}
			free()
			waitDone(t, st.room)
			if c := <-v; c != nil {
				c.Close()
			}
			st.checkPairs(t)
		})
	}
}

// TestCloseInHooks: a hook may close the room that calls it.
func TestCloseInHooks(t *testing.T) {
	for _, hook := range theHooks {
		t.Run(hook, func(t *testing.T) {
			checkGoroutines(t)
			took := make(chan time.Duration, 10)
			st := newStage(t, hook, func(st *stage, _ subject) error {
				start := time.Now()
				err := st.room.Close()
				took <- time.Since(start)
				return err
			})
			a, b := st.dial(t, "ada"), st.dial(t, "bob")
			chat(t, a, b, "before")
			v := st.enterVictim(t)
			require.Less(t, <-took, 4*time.Second, "Close waited for the hook that called it")
			waitDone(t, st.room)
			if c := <-v; c != nil {
				c.Close()
			}
			st.checkPairs(t)
			require.NoError(t, st.room.Close())
		})
	}
}

// TestCloseInOnRejectWithoutSlot is the same for conns that found no slot, of
// a listener and of ServeConn.
func TestCloseInOnRejectWithoutSlot(t *testing.T) {
	for _, how := range []string{"Serve", "ServeConn"} {
		t.Run(how, func(t *testing.T) {
			checkGoroutines(t)
			took := make(chan time.Duration, 10)
			var room *tcproom.Room
			room = tcproom.New(
				tcproom.WithMaxPending(1), tcproom.WithCodec(tcproom.JSON{}),
				tcproom.OnReject(func(_ *tcproom.Newcomer, cause error) {
					if errors.Is(cause, errTooManyPending) {
						start := time.Now()
						room.Close()
						took <- time.Since(start)
					}
				}),
			)
			addr := serveTCP(t, room)
			dialRaw(t, addr) // says no hello
			waitPending(t, room, 1)
			if how == "Serve" {
				dialRaw(t, addr)
			} else {
				here, there := net.Pipe()
				defer here.Close()
				require.ErrorIs(t, room.ServeConn(there), errTooManyPending)
			}
			require.Less(t, <-took, 4*time.Second, "Close waited for the hook that called it")
			waitDone(t, room)
		})
	}
}

// TestBlockedOnRejectIsNamed: also where the conn found no slot.
func TestBlockedOnRejectIsNamed(t *testing.T) {
	for _, how := range []string{"Serve", "ServeConn"} {
		t.Run(how, func(t *testing.T) {
			checkGoroutines(t)
			inside, release := make(chan struct{}), make(chan struct{})
			room := tcproom.New(
				tcproom.WithMaxPending(1), tcproom.WithCodec(tcproom.JSON{}),
				tcproom.OnReject(func(_ *tcproom.Newcomer, cause error) {
					if errors.Is(cause, errTooManyPending) {
						close(inside)
						<-release
					}
				}),
			)
			free := sync.OnceFunc(func() { close(release) })
			addr := serveTCP(t, room)
			defer free()
			first := dialRaw(t, addr)
			waitPending(t, room, 1)
			want := "pipe"
			if how == "Serve" {
				want = dialRaw(t, addr).LocalAddr().String()
			} else {
				here, there := net.Pipe()
				defer here.Close()
				go room.ServeConn(there)
			}
			<-inside
			first.Close()
			waitPending(t, room, 0)
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			defer cancel()
			var stop *tcproom.StopError
			require.ErrorAs(t, room.Shutdown(ctx), &stop)
			require.Equal(t, []tcproom.StuckConn{{Addr: want, Hook: "OnReject"}}, stop.Stuck)
			free()
			waitDone(t, room)
			require.NoError(t, room.Shutdown(context.Background()))
		})
	}
}

// TestOnMessageMayWriteToBody: what a hook does to its argument changes
// nothing of what others were sent, nor of the messages that follow.
func TestOnMessageMayWriteToBody(t *testing.T) {
	for _, codec := range []tcproom.Codec{tcproom.Raw{}, tcproom.JSON{}} {
		t.Run(fmt.Sprintf("%T", codec), func(t *testing.T) {
			room := tcproom.New(
				tcproom.WithCodec(codec), tcproom.WithFraming(leaky{}),
				tcproom.OnMessage(func(m *tcproom.Member, body []byte) ([]byte, error) {
					ctx := context.Background()
					if _, err := m.Post(ctx, body); err != nil {
						return nil, err
					}
					if err := m.Send(ctx, body); err != nil {
						return nil, err
					}
					own := bytes.Clone(body)
					for i := range body {
						body[i] = 0xff
					}
					over := append(body, strings.Repeat("\xff", 300)...)
					clear(over)
					return append(own, " again"...), nil
				}),
			)
			addr := serveTCP(t, room)
			opts := []tcproom.DialOption{tcproom.WithCodec(codec), tcproom.WithFraming(leaky{})}
			a, b := dial(t, addr, opts...), dial(t, addr, opts...)
			waitLen(t, room, 2)
			const n = 200
			var all []byte
			for i := range n {
				body, err := codec.AppendRequest(nil, &tcproom.Request{Kind: tcproom.ReqSay, Body: fmt.Appendf(nil, "message %d", i)})
				require.NoError(t, err)
				all, err = leaky{}.AppendFrame(all, body)
				require.NoError(t, err)
			}
			raw := dialRaw(t, addr)
			if codec.Features().Hello {
				hello, err := codec.AppendRequest(nil, &tcproom.Request{Kind: tcproom.ReqHello, Hello: &tcproom.Hello{}})
				require.NoError(t, err)
				hello, err = leaky{}.AppendFrame(nil, hello)
				require.NoError(t, err)
				all = append(hello, all...)
			}
			_, err := raw.Write(all) // many messages of one read
			require.NoError(t, err)
			for i := range n {
				for _, c := range []*tcproom.Conn{a, b} {
					require.Equal(t, fmt.Sprintf("message %d", i), nextMessage(t, c))
					require.Equal(t, fmt.Sprintf("message %d again", i), nextMessage(t, c))
				}
			}
		})
	}
}

// leaky is Lines as a stranger might write it: its bodies can grow into the
// bytes that follow them.
type leaky struct{}

func (leaky) AppendFrame(dst, body []byte) ([]byte, error) {
	return tcproom.Lines{}.AppendFrame(dst, body)
}

func (leaky) SplitFrame(data []byte, max int) (int, []byte, error) {
	n, body, err := tcproom.Lines{}.SplitFrame(data, max)
	return n, data[:len(body)], err
}

// TestOnMessageReplaces: what the hook posts is what is said, in its place.
func TestOnMessageReplaces(t *testing.T) {
	srv := roomtest.NewMemServer(t, tcproom.OnMessage(func(m *tcproom.Member, body []byte) ([]byte, error) {
		room, ctx := m.Room(), m.Context()
		switch string(body) {
		case "drop":
			return nil, nil
		case "around":
			room.Broadcast(ctx, []byte("before"))
			m.Post(ctx, []byte("changed"))
			room.Broadcast(ctx, []byte("behind"))
			return nil, nil
		case "change":
			return []byte("another"), nil
		}
		return body, nil
	}))
	a, b := srv.Join("a"), srv.Join("b")
	for _, body := range []string{"plain", "drop", "around", "change", "last"} {
		a.Send(body)
	}
	b.Expect(roomtest.Message("a", "plain"), roomtest.Message("*", "before"), roomtest.Message("a", "changed"), roomtest.Message("*", "behind"),
		roomtest.Message("a", "another"), roomtest.Message("a", "last"))
	a.Expect(roomtest.Joined("b"), roomtest.Message("*", "before"), roomtest.Message("*", "behind"))
	b.Refute(roomtest.Any())
	a.Refute(roomtest.Any())
}

// TestNoOnMessageAfterOnLeave is the second half of P4, with kicks and resets while
// messages pour in.
func TestNoOnMessageAfterOnLeave(t *testing.T) {
	checkGoroutines(t)
	var gone sync.Map
	var late atomic.Int64
	room := tcproom.New(
		tcproom.OnMessage(func(c *tcproom.Member, _ []byte) ([]byte, error) {
			if _, ok := gone.Load(c.ID()); ok {
				late.Add(1)
			}
			return nil, nil
		}),
		tcproom.OnLeave(func(c *tcproom.Member, _ error) { gone.Store(c.ID(), true) }),
	)
	addr := serveTCP(t, room)
	for i := range 200 {
		nc := dialRaw(t, addr)
		waitLen(t, room, 1)
		var flood sync.WaitGroup
		flood.Go(func() {
			for {
				if _, err := nc.Write(bytes.Repeat([]byte("x\n"), 1000)); err != nil {
					return
				}
			}
		})
		for m := range room.Members() {
			if i%2 == 0 {
				require.NoError(t, m.Kick("flood"))
			} else {
				nc.SetLinger(0)
				nc.Close()
			}
		}
		waitLen(t, room, 0)
		nc.SetLinger(0)
		nc.Close()
		flood.Wait()
	}
	require.NoError(t, room.Close())
	require.Zero(t, late.Load(), "P4: OnMessage after OnLeave began")
}

// TestP4SilenceAfterLeave: what is ordered after Kick has returned does not
// reach the conn, and its last event is the goodbye.
func TestP4SilenceAfterLeave(t *testing.T) {
	for _, stalled := range []bool{false, true} {
		t.Run(fmt.Sprint("stalled=", stalled), func(t *testing.T) {
			checkGoroutines(t)
			room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSocketBuffers(64<<10, 64<<10))
			addr := serveTCP(t, room)
			for i := range 20 {
				c := dial(t, addr, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSocketBuffers(64<<10, 64<<10))
				m, ok := room.Member(c.ID())
				require.True(t, ok)
				bulk := bytes.Repeat([]byte("x"), 1000)
				n := 10
				if stalled {
					n = 400
				}
				for range n {
					_, err := room.Broadcast(testContext(t), bulk)
					require.NoError(t, err)
				}
				stop := make(chan struct{})
				var others sync.WaitGroup
				others.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
							m.Send(context.Background(), []byte("direct"))
						}
					}
				})
				require.NoError(t, m.Kick("enough"))
				after, err := room.Broadcast(testContext(t), []byte("late"))
				require.NoError(t, err)
				require.ErrorIs(t, m.Kick("again"), tcproom.ErrNotMember)
				_, err = m.Post(testContext(t), []byte("posthumous"))
				require.ErrorIs(t, err, tcproom.ErrNotMember)
				var last tcproom.Event
				for ev, err := range c.Events(testContext(t)) {
					if err != nil {
						require.ErrorIs(t, err, tcproom.ErrKicked, "round %d", i)
						break
					}
					require.Less(t, ev.Seq, after, "P4: an event behind its leave")
					last = ev
				}
				close(stop)
				others.Wait()
				require.Equal(t, tcproom.Goodbye, last.Kind, "the last event was %v %q", last.Kind, last.Body)
				require.Equal(t, "enough", last.End.Text)
				require.Error(t, m.Send(testContext(t), []byte("direct")))
				c.Close()
			}
		})
	}
}

// TestOnLeaveComesAfterTheLeave: also when many leave at once and the leaves
// have to wait for a place in a small backlog.
func TestOnLeaveComesAfterTheLeave(t *testing.T) {
	checkGoroutines(t)
	var early atomic.Int64
	var room *tcproom.Room
	room = tcproom.New(
		tcproom.WithMaxMessage(1), tcproom.WithBacklog(1), tcproom.WithFraming(padded{}),
		tcproom.OnLeave(func(c *tcproom.Member, _ error) {
			if _, ok := room.Member(c.ID()); ok {
				early.Add(1)
			}
		}),
	)
	for round := range 20 {
		var conns []*tcproom.Conn
		for range 50 {
			conns = append(conns, join(t, room))
		}
		for _, c := range conns {
			go func() {
				for range c.Events(context.Background()) {
				}
			}()
		}
		var wg sync.WaitGroup
		for m := range room.Members() {
			wg.Go(func() { m.Kick("all of you") })
		}
		wg.Wait()
		waitLen(t, room, 0)
		for _, c := range conns {
			c.Close()
		}
		require.Zero(t, early.Load(), "round %d: OnLeave before the leave was ordered", round)
	}
	require.NoError(t, room.Close())
}

// padded is Lines with much air, so that a small backlog holds few frames.
type padded struct{ tcproom.Lines }

func (padded) AppendFrame(dst, body []byte) ([]byte, error) {
	return tcproom.Lines{}.AppendFrame(append(dst, strings.Repeat(" ", 200)...), body)
}

// TestContextEndsWithMember: whatever the end is, the context is done when
// OnLeave or OnReject is called, and says why.
func TestContextEndsWithMember(t *testing.T) {
	type key struct{}
	synctest.Test(t, func(t *testing.T) {
		ctxs := make(chan context.Context, 1)
		causes := newCauses()
		json := tcproom.WithCodec(tcproom.JSON{})
		srv := roomtest.NewMemServer(t, json,
			tcproom.WithHandshake(func(_ context.Context, c *tcproom.Newcomer) (tcproom.Identity, error) {
				return tcproom.Identity{Context: context.WithValue(context.Background(), key{}, "mine")}, nil
			}),
			tcproom.OnJoin(func(m *tcproom.Member) error {
				ctxs <- m.Context()
				if m.Hello().Name == victim {
					return errHook
				}
				return nil
			}),
			tcproom.OnLeave(causes.Left),
			tcproom.OnReject(causes.Rejected),
		)
		room := srv.Room
		check := func(want error) {
			t.Helper()
			ctx, cause := <-ctxs, causes.Next(t)
			require.ErrorIs(t, cause, want)
			require.ErrorIs(t, ctx.Err(), context.Canceled)
			require.Equal(t, cause, context.Cause(ctx))
			require.Equal(t, "mine", ctx.Value(key{}))
		}
		srv.Dial()
		require.NoError(t, only(room).Kick("bye"))
		check(tcproom.ErrKicked)

		require.NoError(t, srv.Dial().Close())
		check(io.EOF)

		_, err := tcproom.Dial(t.Context(), srv.Addr, json, tcproom.WithDialer(srv.Net.Dial), tcproom.WithName(victim))
		require.ErrorIs(t, err, tcproom.ErrDenied)
		check(errHook)

		// The welcome cannot be framed: OnJoin was called, so OnLeave is.
		cut := srv.Listen(tcproom.WithFraming(short{}))
		_, err = tcproom.Dial(t.Context(), cut, json, tcproom.WithDialer(srv.Net.Dial))
		require.Error(t, err)
		check(tcproom.ErrUnframeable)
		require.Zero(t, room.Len())
	})
}

// short carries what is shorter than a welcome.
type short struct{ tcproom.Lines }

func (short) AppendFrame(dst, body []byte) ([]byte, error) {
	if bytes.Contains(body, []byte("welcome")) {
		return dst, tcproom.ErrUnframeable
	}
	return tcproom.Lines{}.AppendFrame(dst, body)
}

// TestReceiveInHandshake: a context that ends ends the wait, and the conn goes on.
func TestReceiveInHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := roomtest.NewMemServer(t, tcproom.WithHandshake(func(ctx context.Context, c *tcproom.Newcomer) (tcproom.Identity, error) {
			start := time.Now()
			short, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			if _, err := c.Receive(short); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
				return tcproom.Identity{}, fmt.Errorf("Receive with a short context: %v after %v", err, time.Since(start))
			}
			if _, err := c.Receive(short); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
				return tcproom.Identity{}, fmt.Errorf("Receive with a context that has ended: %v after %v", err, time.Since(start))
			}
			if err := c.Send(ctx, []byte("your name?")); err != nil {
				return tcproom.Identity{}, err
			}
			name, err := c.Receive(ctx)
			return tcproom.Identity{Name: string(name)}, err
		}))
		enter := func(name string) *roomtest.Member {
			m := srv.Watch(srv.Dial())
			m.Expect(roomtest.Message("*", "your name?"))
			m.Send(name)
			synctest.Wait()
			return m
		}
		ada := enter("ada")
		require.Equal(t, "ada", only(srv.Room).Name())
		bob := enter("bob")
		ada.Expect(roomtest.Joined("bob"))
		ada.Send("hi")
		bob.Expect(roomtest.Message("ada", "hi"))
	})
}

// TestOnEvent has the hook of a dialling end panic, exit and call back.
func TestOnEvent(t *testing.T) {
	room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}))
	addr := serveTCP(t, room)
	watcher := dial(t, addr, tcproom.WithCodec(tcproom.JSON{}))
	for _, test := range []struct {
		name string
		act  func(*tcproom.Conn)
		want error
	}{
		{name: "panics", act: func(*tcproom.Conn) { panic("hook") }, want: tcproom.ErrHook},
		{name: "exits", act: func(*tcproom.Conn) { runtime.Goexit() }, want: tcproom.ErrHook},
		{name: "closes", act: func(c *tcproom.Conn) { c.Close() }, want: net.ErrClosed},
		{name: "calls everything and closes", act: func(c *tcproom.Conn) {
			ctx := context.Background()
			_, err := c.Receive(ctx)
			if !errors.Is(err, errors.ErrUnsupported) || c.Send(ctx, []byte("from OnEvent")) != nil || c.ID() == "" || c.Name() == "" || c.Err() != nil {
				panic("something is wrong")
			}
			for _, err := range c.Events(ctx) {
				if !errors.Is(err, errors.ErrUnsupported) {
					panic("Events receives something")
				}
			}
			c.Close()
		}, want: net.ErrClosed},
	} {
		t.Run(test.name, func(t *testing.T) {
			checkGoroutines(t)
			ended, conn := make(chan error, 1), make(chan *tcproom.Conn, 1)
			c := dial(t, addr, tcproom.WithCodec(tcproom.JSON{}), tcproom.OnEvent(func(ev tcproom.Event) {
				if ev.Kind == tcproom.Message {
					c := <-conn
					context.AfterFunc(c.Context(), func() { ended <- context.Cause(c.Context()) })
					test.act(c)
				}
			}))
			conn <- c
			_, err := room.Broadcast(testContext(t), []byte("provocation"))
			require.NoError(t, err)
			require.ErrorIs(t, <-ended, test.want)
			require.NoError(t, c.Close())
			require.Equal(t, "provocation", nextMessage(t, watcher))
			if test.name == "calls everything and closes" {
				require.Equal(t, "from OnEvent", nextMessage(t, watcher))
			}
		})
	}
}

// TestOnEventAndCloseAtOnce: a Close of the hook's and one from outside do not
// wait for each other.
func TestOnEventAndCloseAtOnce(t *testing.T) {
	checkGoroutines(t)
	room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}))
	addr := serveTCP(t, room)
	var talk sync.WaitGroup
	done := make(chan struct{})
	talk.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				room.Broadcast(context.Background(), []byte("x"))
				runtime.Gosched()
			}
		}
	})
	defer talk.Wait()
	defer close(done)
	for range 50 {
		var closing atomic.Pointer[tcproom.Conn]
		c := dial(t, addr, tcproom.WithCodec(tcproom.JSON{}), tcproom.OnEvent(func(tcproom.Event) {
			if c := closing.Load(); c != nil {
				c.Close()
			}
		}))
		closed := make(chan error, 1)
		go func() {
			closing.Store(c)
			closed <- c.Close()
		}()
		select {
		case err := <-closed:
			require.NoError(t, err)
		case <-time.After(within):
			t.Fatal("Close does not return")
		}
	}
}

// A refusing is an error of a hook, and what its peer is told.
type refusing struct {
	name string
	hook func(ctx context.Context) error
	wire string // the fields of the last event
	want tcproom.RefusedError
}

// ownWords are a hook's, which are not changed.
var ownWords = []tcproom.RefusedError{
	{Cause: "banned", Text: "for a minute", RetryAfter: time.Minute},
	{Cause: "banned", Text: "for ever", Final: true},
	{Cause: tcproom.ErrRoomFull, Text: "and always will be", Final: true},
	{Cause: tcproom.ErrNameInvalid, Text: "today"},
	{Cause: tcproom.ErrKicked, Text: "yesterday"},
}

func refusings() []refusing {
	denied := `"code":"denied","retry":false,"message":`
	plain := func(err error, wire string, want tcproom.RefusedError) refusing {
		return refusing{fmt.Sprintf("%v", err), func(context.Context) error { return err }, wire, want}
	}
	all := []refusing{
		plain(errHook, denied+`"the hook says no"`, tcproom.RefusedError{Cause: tcproom.ErrDenied, Text: "the hook says no", Final: true}),
		plain(fmt.Errorf("elsewhere: %w", io.EOF), denied+`"elsewhere: EOF"`,
			tcproom.RefusedError{Cause: tcproom.ErrDenied, Text: "elsewhere: EOF", Final: true}),
		plain(fmt.Errorf("elsewhere: %w", tcproom.ErrKicked), denied+`"elsewhere: kicked"`,
			tcproom.RefusedError{Cause: tcproom.ErrDenied, Text: "elsewhere: kicked", Final: true}),
		plain(tcproom.ErrRoomFull, `"code":"full","message":"room is full"`,
			tcproom.RefusedError{Cause: tcproom.ErrRoomFull, Text: "room is full"}),
		plain(&tcproom.RefusedError{Text: "no cause"}, `"code":"denied","message":"no cause"`,
			tcproom.RefusedError{Cause: tcproom.ErrDenied, Text: "no cause"}),
		{name: "its own deadline", hook: func(ctx context.Context) error {
			short, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			<-short.Done()
			return fmt.Errorf("the database: %w", short.Err())
		}, wire: `"code":"retry","message":"the database: context deadline exceeded"`,
			want: tcproom.RefusedError{Cause: errRetry, Text: "the database: context deadline exceeded"}},
	}
	for _, words := range ownWords {
		wire := fmt.Sprintf(`"code":%q,"message":%q`, string(words.Cause), words.Text)
		switch {
		case words.Final:
			wire = strings.Replace(wire, `,"m`, `,"retry":false,"m`, 1)
		case words.RetryAfter > 0:
			wire = strings.Replace(wire, `,"m`, fmt.Sprintf(`,"retryAfter":%d,"m`, words.RetryAfter.Milliseconds()), 1)
		}
		all = append(all, plain(fmt.Errorf("wrapped: %w", &words), wire, words))
	}
	return all
}

// lateRefusings are those of a handshake hook whose deadline, after five seconds, has
// come.
func lateRefusings() []refusing {
	const wire = `"code":"handshake-timeout","message":"handshake timeout"`
	want := tcproom.RefusedError{Cause: errHandshakeTimeout, Text: "handshake timeout"}
	return []refusing{
		{name: "its error", hook: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, wire: wire, want: want},
		{name: "its cause", hook: func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }, wire: wire, want: want},
		{name: "no error", hook: func(ctx context.Context) error { <-ctx.Done(); return nil }, wire: wire, want: want},
		{name: "a context behind it", hook: func(ctx context.Context) error {
			long, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()
			<-long.Done()
			return fmt.Errorf("the database: %w", long.Err())
		}, wire: wire, want: want},
		{name: "an error of its own", hook: func(ctx context.Context) error { <-ctx.Done(); return errHook },
			wire: `"code":"denied","retry":false,"message":"the hook says no"`,
			want: tcproom.RefusedError{Cause: tcproom.ErrDenied, Text: "the hook says no", Final: true}},
		{name: "its own words", hook: func(ctx context.Context) error { <-ctx.Done(); return &ownWords[0] },
			wire: `"code":"banned","retryAfter":60000,"message":"for a minute"`, want: ownWords[0]},
	}
}

// TestHooksRefuse: what a hook's error says is what the peer is told, on the wire and
// at Dial.
func TestHooksRefuse(t *testing.T) {
	for _, test := range refusings() {
		inBubble("OnJoin "+test.name, t, func(t *testing.T) {
			testRefusing(t, test, tcproom.OnJoin(func(m *tcproom.Member) error { return test.hook(context.Background()) }))
		})
	}
	for _, test := range append(refusings(), lateRefusings()...) {
		inBubble("WithHandshake "+test.name, t, func(t *testing.T) {
			testRefusing(t, test, tcproom.WithHandshake(func(ctx context.Context, _ *tcproom.Newcomer) (tcproom.Identity, error) {
				return tcproom.Identity{}, test.hook(ctx)
			}))
		})
	}
}

func testRefusing(t *testing.T, test refusing, hook tcproom.RoomOption) {
	left, rejected := newCauses(), newCauses()
	srv := roomtest.NewMemServer(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithHandshakeTimeout(5*time.Second), hook,
		tcproom.OnLeave(left.Left), tcproom.OnReject(rejected.Rejected))
	nc, err := srv.Net.Dial(t.Context(), "tcp", srv.Addr)
	require.NoError(t, err)
	defer nc.Close()
	fmt.Fprintln(nc, `{"type":"hello"}`)
	said, err := io.ReadAll(nc)
	require.NoError(t, err)
	require.Equal(t, `{"type":"refused",`+test.wire+"}\n", string(said))

	_, err = srv.TryDial()
	var refused *tcproom.RefusedError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, test.want, *refused)
	require.ErrorIs(t, err, test.want.Cause)
	for range 2 {
		cause := rejected.Next(t)
		if test.want.Text == errHook.Error() {
			require.ErrorIs(t, cause, errHook)
		}
	}
	require.Zero(t, srv.Room.Stats().Joined)
	require.Empty(t, left.C)
	require.NoError(t, srv.Room.Close())
}

// TestHooksRefuseWithSessions: the room's time to wait goes with causes of the room's,
// and not with a hook's own words.
func TestHooksRefuseWithSessions(t *testing.T) {
	for _, test := range []struct {
		err  error
		want time.Duration
	}{
		{err: context.DeadlineExceeded, want: 3 * time.Second},
		{err: errHook, want: 0},
		{err: &ownWords[0], want: time.Minute},
		{err: &ownWords[3], want: 0},
	} {
		inBubble(test.err.Error(), t, func(t *testing.T) {
			srv := roomtest.NewMemServer(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{RetryAfter: 3 * time.Second}),
				tcproom.OnJoin(func(*tcproom.Member) error { return test.err }))
			_, err := srv.TryDial()
			var refused *tcproom.RefusedError
			require.ErrorAs(t, err, &refused)
			require.Equal(t, test.want, refused.RetryAfter)
		})
	}
}

// TestJoinReturnsTheHooksError: Join, which has no wire between, returns the error
// itself.
func TestJoinReturnsTheHooksError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		own := fmt.Errorf("%w: %w", errHook, &ownWords[0])
		room := tcproom.New(tcproom.OnJoin(func(*tcproom.Member) error { return own }))
		_, err := room.Join(t.Context(), tcproom.Identity{})
		require.ErrorIs(t, err, errHook)
		require.ErrorIs(t, err, ownWords[0].Cause)
		require.NoError(t, room.Close())
	})
}
