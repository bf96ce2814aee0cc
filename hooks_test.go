package tcproom_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

var errHook = errors.New("the hook says no")

// A stage is a room with three bystanders and a victim, for whose conn one
// hook misbehaves.
type stage struct {
	room   *tcproom.Room
	addr   string
	hook   string                                 // that misbehaves
	act    func(st *stage, c *tcproom.Conn) error // how; c is nil in OnReject
	joined atomic.Int64                           // OnJoin returned nil
	left   sync.Map                               // ID to *atomic.Int64: calls of OnLeave
	ends   chan error                             // of the victim
	other  atomic.Value                           // string: ID of a bystander that hooks may kick
}

const victim = "victim"

func newStage(t *testing.T, hook string, act func(*stage, *tcproom.Conn) error, opts ...tcproom.RoomOption) *stage {
	t.Helper()
	st := &stage{hook: hook, act: act, ends: make(chan error, 100)}
	may := func(name string, c *tcproom.Conn) error {
		if name == st.hook && (c == nil || c.Name() == victim) {
			return st.act(st, c)
		}
		return nil
	}
	opts = append([]tcproom.RoomOption{
		tcproom.WithCodec(tcproom.JSON{}),
		tcproom.Handshake(func(_ context.Context, c *tcproom.Conn) (tcproom.Identity, error) {
			if st.hook == "OnReject" && c.Name() == victim {
				return tcproom.Identity{}, errHook
			}
			return tcproom.Identity{}, may("Handshake", c)
		}),
		tcproom.OnJoin(func(c *tcproom.Conn) error {
			if err := may("OnJoin", c); err != nil {
				return err
			}
			st.joined.Add(1)
			return nil
		}),
		tcproom.OnMessage(func(c *tcproom.Conn, body []byte) error {
			if err := may("OnMessage", c); err != nil {
				return err
			}
			_, err := st.room.Post(context.Background(), c, body)
			return err
		}),
		tcproom.OnLeave(func(c *tcproom.Conn, cause error) {
			n, _ := st.left.LoadOrStore(c.ID(), new(atomic.Int64))
			n.(*atomic.Int64).Add(1)
			if _, ok := st.room.Member(c.ID()); ok {
				cause = errors.New("OnLeave was called for one who is a member")
			}
			if c.Name() == victim {
				st.ends <- cause
			}
			may("OnLeave", c)
		}),
		tcproom.OnReject(func(_ net.Addr, cause error) {
			st.ends <- cause
			may("OnReject", nil)
		}),
	}, opts...)
	st.room = tcproom.New(opts...)
	st.addr = serveTCP(t, st.room)
	return st
}

func (st *stage) dial(t testing.TB, name string) *tcproom.Conn {
	t.Helper()
	return dial(t, st.addr, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName(name))
}

// enterVictim connects a victim and has it say, and leave, what brings it to
// the hook. It returns at once, and its conn, if any, later.
func (st *stage) enterVictim(t testing.TB) <-chan *tcproom.Conn {
	ch := make(chan *tcproom.Conn, 1)
	ctx := testContext(t)
	go func() {
		c, err := tcproom.Dial(ctx, st.addr, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName(victim))
		if err != nil {
			ch <- nil
			return
		}
		if st.hook == "OnMessage" {
			c.Send(ctx, []byte("provocation"))
			for range c.Events(ctx) { // hears the goodbye
			}
			c.Close() // for which its end waits
		}
		if st.hook == "OnLeave" {
			c.Close()
		}
		ch <- c
	}()
	return ch
}

func (st *stage) end(t testing.TB) error {
	t.Helper()
	select {
	case err := <-st.ends:
		return err
	case <-time.After(within):
		t.Fatalf("%s: no end of the victim was reported", st.hook)
		return nil
	}
}

// checkPairs checks, once the room is done, that OnLeave was called once for
// each conn that OnJoin let in, and for no other.
func (st *stage) checkPairs(t testing.TB) {
	t.Helper()
	n := int64(0)
	st.left.Range(func(id, calls any) bool {
		n++
		require.EqualValues(t, 1, calls.(*atomic.Int64).Load(), "P8: OnLeave of %s", id)
		return true
	})
	require.Equal(t, st.joined.Load(), n, "P8: conns that OnJoin let in, and conns that left")
}

// chat sends messages from a to b, and checks that b gets all of them.
func chat(t testing.TB, a, b *tcproom.Conn, what string) {
	t.Helper()
	for i := range 20 {
		send(t, a, fmt.Sprint(what, i))
	}
	for i := range 20 {
		require.Equal(t, fmt.Sprint(what, i), nextOf(t, b, a), "what a bystander said to another")
	}
}

// nextOf returns the next message of from that c receives.
func nextOf(t testing.TB, c, from *tcproom.Conn) string {
	t.Helper()
	for {
		if ev := next(t, c); ev.Kind == tcproom.Message && ev.From.ID == from.ID() {
			return string(ev.Body)
		}
	}
}

// callEverything calls whatever a hook may call, but for what ends its conn or the room.
func callEverything(st *stage, c *tcproom.Conn) error {
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
	if err := r.Kick(other, "by a hook"); err != nil {
		return err
	}
	if c == nil {
		return nil
	}
	member := st.hook == "OnMessage"
	if _, err := r.Post(ctx, c, []byte("from a hook, for its conn")); member != (err == nil) {
		return fmt.Errorf("Post: %v", err)
	}
	if err := c.Send(ctx, []byte("direct")); (st.hook == "OnLeave") == (err == nil) {
		return fmt.Errorf("Send: %v", err)
	}
	if st.hook != "Handshake" {
		if _, err := c.Receive(ctx); !errors.Is(err, tcproom.ErrReceive) {
			return fmt.Errorf("Receive: %v", err)
		}
		for _, err := range c.Events(ctx) {
			if !errors.Is(err, tcproom.ErrReceive) {
				return fmt.Errorf("Events: %v", err)
			}
		}
	}
	if c.ID() == "" || c.Name() != victim || c.RemoteAddr() == nil || c.Room() != r || c.Context() == nil {
		return errors.New("the conn does not know what it is")
	}
	if (st.hook == "OnLeave") != (c.Err() != nil) {
		return fmt.Errorf("Err: %v", c.Err())
	}
	return nil
}

// TestHooksContained has each hook panic, exit, fail and call back. Only its
// own conn ends, and the others lose nothing.
func TestHooksContained(t *testing.T) {
	// What becomes of the victim: the hook that its HookError names, or the
	// error that it ends with.
	type end struct {
		hook string
		err  error
	}
	own := func(hook string) end {
		switch hook {
		case "OnLeave":
			return end{} // it was over already
		case "OnReject":
			return end{err: errHook}
		}
		return end{hook: hook, err: tcproom.ErrHook}
	}
	tests := []struct {
		name string
		act  func(*stage, *tcproom.Conn) error
		want func(hook string) end
	}{
		{"panics", func(*stage, *tcproom.Conn) error { panic("hook") }, own},
		{"panics with nil", func(*stage, *tcproom.Conn) error { panic(nil) }, own},
		{"exits", func(*stage, *tcproom.Conn) error { runtime.Goexit(); return nil }, own},
		{"fails", func(*stage, *tcproom.Conn) error { return errHook }, func(hook string) end {
			switch hook {
			case "OnMessage":
				return end{hook: hook, err: errHook}
			case "OnLeave":
				return end{}
			}
			return end{err: errHook}
		}},
		{"calls everything and fails", func(st *stage, c *tcproom.Conn) error {
			if err := callEverything(st, c); err != nil {
				return err
			}
			return errHook
		}, func(hook string) end {
			if hook == "OnLeave" {
				return end{}
			}
			return end{err: errHook}
		}},
		{"closes its conn", func(_ *stage, c *tcproom.Conn) error {
			if c != nil {
				return c.Close()
			}
			return nil
		}, func(hook string) end {
			switch hook {
			case "OnLeave":
				return end{}
			case "OnReject":
				return end{err: errHook}
			}
			return end{err: net.ErrClosed}
		}},
		{"kicks its conn", func(st *stage, c *tcproom.Conn) error {
			err := st.room.Kick(c, "by itself")
			if (st.hook == "OnMessage") != (err == nil) {
				return fmt.Errorf("Kick: %v", err)
			}
			if st.hook != "OnMessage" {
				return errHook
			}
			return nil
		}, func(hook string) end {
			switch hook {
			case "OnLeave":
				return end{}
			case "OnMessage":
				return end{err: tcproom.ErrKicked}
			}
			return end{err: errHook}
		}},
	}
	for _, hook := range []string{"Handshake", "OnJoin", "OnMessage", "OnLeave", "OnReject"} {
		for _, test := range tests {
			t.Run(hook+" "+test.name, func(t *testing.T) {
				checkGoroutines(t)
				st := newStage(t, hook, test.act)
				a, b, other := st.dial(t, "ada"), st.dial(t, "bob"), st.dial(t, "other")
				st.other.Store(other.ID())
				chat(t, a, b, "before")
				v := st.enterVictim(t)
				got, want := st.end(t), test.want(hook)
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
			})
		}
	}
}

// TestP11BlockedHook: a hook that blocks holds up its own conn alone; Shutdown
// names it, Close does not wait for it, and Done does.
func TestP11BlockedHook(t *testing.T) {
	for _, hook := range []string{"Handshake", "OnJoin", "OnMessage", "OnLeave", "OnReject"} {
		t.Run(hook, func(t *testing.T) {
			checkGoroutines(t)
			inside, release := make(chan struct{}, 1), make(chan struct{})
			st := newStage(t, hook, func(*stage, *tcproom.Conn) error {
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
	for _, hook := range []string{"Handshake", "OnJoin", "OnMessage", "OnLeave", "OnReject"} {
		t.Run(hook, func(t *testing.T) {
			checkGoroutines(t)
			took := make(chan time.Duration, 10)
			st := newStage(t, hook, func(st *stage, _ *tcproom.Conn) error {
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
				tcproom.OnReject(func(_ net.Addr, cause error) {
					if errors.Is(cause, tcproom.ErrTooManyPending) {
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
				require.ErrorIs(t, room.ServeConn(there), tcproom.ErrTooManyPending)
			}
			require.Less(t, <-took, 4*time.Second, "Close waited for the hook that called it")
			waitDone(t, room)
		})
	}
}

func waitPending(t testing.TB, room *tcproom.Room, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d pending", n), func() bool { return room.Stats().Pending == n })
}

// TestBlockedOnRejectIsNamed: also where the conn found no slot.
func TestBlockedOnRejectIsNamed(t *testing.T) {
	for _, how := range []string{"Serve", "ServeConn"} {
		t.Run(how, func(t *testing.T) {
			checkGoroutines(t)
			inside, release := make(chan struct{}), make(chan struct{})
			room := tcproom.New(
				tcproom.WithMaxPending(1), tcproom.WithCodec(tcproom.JSON{}),
				tcproom.OnReject(func(_ net.Addr, cause error) {
					if errors.Is(cause, tcproom.ErrTooManyPending) {
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
			var room *tcproom.Room
			room = tcproom.New(
				tcproom.WithCodec(codec), tcproom.WithFraming(leaky{}),
				tcproom.OnMessage(func(c *tcproom.Conn, body []byte) error {
					ctx := context.Background()
					if _, err := room.Post(ctx, c, body); err != nil {
						return err
					}
					if err := c.Send(ctx, body); err != nil {
						return err
					}
					own := bytes.Clone(body)
					for i := range body {
						body[i] = 0xff
					}
					over := append(body, strings.Repeat("\xff", 300)...)
					clear(over)
					_, err := room.Post(ctx, c, append(own, " again"...))
					return err
				}),
			)
			addr := serveTCP(t, room)
			opts := []tcproom.DialOption{tcproom.WithCodec(codec), tcproom.WithFraming(leaky{})}
			a, b := dial(t, addr, opts...), dial(t, addr, opts...)
			waitLen(t, room, 2)
			const n = 200
			var all []byte
			for i := range n {
				body, err := codec.AppendMessage(nil, fmt.Appendf(nil, "message %d", i))
				require.NoError(t, err)
				all, err = leaky{}.AppendFrame(all, body)
				require.NoError(t, err)
			}
			raw := dialRaw(t, addr)
			if g, ok := codec.(tcproom.Greeter); ok {
				hello, err := g.AppendHello(nil, &tcproom.Hello{})
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
	srv := roomtest.NewMemServer(t, tcproom.OnMessage(func(c *tcproom.Conn, body []byte) error {
		room, ctx := c.Room(), c.Context()
		switch string(body) {
		case "drop":
			return nil
		case "around":
			room.Broadcast(ctx, []byte("before"))
			room.Post(ctx, c, []byte("changed"))
			room.Broadcast(ctx, []byte("behind"))
			return nil
		}
		_, err := room.Post(ctx, c, body)
		return err
	}))
	a, b := srv.Join("a"), srv.Join("b")
	for _, body := range []string{"plain", "drop", "around", "last"} {
		a.Send(body)
	}
	b.Expect(roomtest.Message("a", "plain"), roomtest.Message("*", "before"), roomtest.Message("a", "changed"), roomtest.Message("*", "behind"), roomtest.Message("a", "last"))
	a.Expect(roomtest.Joined("b"), roomtest.Message("*", "before"), roomtest.Message("*", "behind"))
	b.Refute(roomtest.Any())
	a.Refute(roomtest.Any())
}

// TestNoOnMessageAfterOnLeave is the second half of P4, with kicks, resets and
// closes from outside while messages pour in.
func TestNoOnMessageAfterOnLeave(t *testing.T) {
	checkGoroutines(t)
	var gone sync.Map
	var late atomic.Int64
	room := tcproom.New(
		tcproom.OnMessage(func(c *tcproom.Conn, _ []byte) error {
			if _, ok := gone.Load(c.ID()); ok {
				late.Add(1)
			}
			return nil
		}),
		tcproom.OnLeave(func(c *tcproom.Conn, _ error) { gone.Store(c.ID(), true) }),
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
				require.NoError(t, room.Kick(m, "flood"))
			} else {
				m.Close()
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
				require.NoError(t, room.Kick(m, "enough"))
				after, err := room.Broadcast(testContext(t), []byte("late"))
				require.NoError(t, err)
				require.ErrorIs(t, room.Kick(m, "again"), tcproom.ErrNotMember)
				_, err = room.Post(testContext(t), m, []byte("posthumous"))
				require.ErrorIs(t, err, tcproom.ErrNotMember)
				var last tcproom.Event
				for ev, err := range c.Events(testContext(t)) {
					require.NoError(t, err, "round %d", i)
					require.Less(t, ev.Seq, after, "P4: an event behind its leave")
					last = ev
				}
				close(stop)
				others.Wait()
				require.Equal(t, tcproom.Goodbye, last.Kind, "the last event was %v %q", last.Kind, last.Body)
				require.Equal(t, "enough", last.Text)
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
		tcproom.OnLeave(func(c *tcproom.Conn, _ error) {
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
			wg.Go(func() { room.Kick(m, "all of you") })
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

// TestContextEndsWithConn: whatever the end is, the context is done when
// OnLeave or OnReject is called, and says why.
func TestContextEndsWithConn(t *testing.T) {
	type key struct{}
	synctest.Test(t, func(t *testing.T) {
		ctxs := make(chan context.Context, 1)
		causes := newCauses()
		json := tcproom.WithCodec(tcproom.JSON{})
		srv := roomtest.NewMemServer(t, json,
			tcproom.Handshake(func(_ context.Context, c *tcproom.Conn) (tcproom.Identity, error) {
				return tcproom.Identity{Context: context.WithValue(context.Background(), key{}, "mine")}, nil
			}),
			tcproom.OnJoin(func(c *tcproom.Conn) error { ctxs <- c.Context(); return nil }),
			tcproom.OnLeave(causes.left),
		)
		room := srv.Room
		check := func(want error) {
			t.Helper()
			ctx, cause := <-ctxs, causes.next(t)
			require.ErrorIs(t, cause, want)
			require.ErrorIs(t, ctx.Err(), context.Canceled)
			require.Equal(t, cause, context.Cause(ctx))
			require.Equal(t, "mine", ctx.Value(key{}))
		}
		srv.Dial()
		require.NoError(t, room.Kick(only(room), "bye"))
		check(tcproom.ErrKicked)

		srv.Dial()
		require.NoError(t, only(room).Close())
		check(net.ErrClosed)

		// The welcome cannot be framed: OnJoin was called, so OnLeave is.
		cut := srv.Listen(tcproom.WithFraming(short{}))
		_, err := tcproom.Dial(t.Context(), cut, json, tcproom.WithDialer(srv.Net.Dial))
		require.Error(t, err)
		check(tcproom.ErrUnframeable)
		require.Zero(t, room.Len())
	})
}

// only returns a member.
func only(room *tcproom.Room) *tcproom.Conn {
	for m := range room.Members() {
		return m
	}
	return nil
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
		srv := roomtest.NewMemServer(t, tcproom.Handshake(func(ctx context.Context, c *tcproom.Conn) (tcproom.Identity, error) {
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
			ev, err := c.Receive(ctx)
			return tcproom.Identity{Name: string(ev.Body)}, err
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
		{"panics", func(*tcproom.Conn) { panic("hook") }, tcproom.ErrHook},
		{"exits", func(*tcproom.Conn) { runtime.Goexit() }, tcproom.ErrHook},
		{"closes", func(c *tcproom.Conn) { c.Close() }, net.ErrClosed},
		{"calls everything and closes", func(c *tcproom.Conn) {
			ctx := context.Background()
			_, err := c.Receive(ctx)
			if !errors.Is(err, tcproom.ErrReceive) || c.Send(ctx, []byte("from OnEvent")) != nil || c.Room() != nil || c.ID() == "" || c.Name() == "" || c.Err() != nil {
				panic("something is wrong")
			}
			c.Close()
		}, net.ErrClosed},
	} {
		t.Run(test.name, func(t *testing.T) {
			checkGoroutines(t)
			ended := make(chan error, 1)
			c := dial(t, addr, tcproom.WithCodec(tcproom.JSON{}), tcproom.OnEvent(func(c *tcproom.Conn, ev tcproom.Event) {
				if ev.Kind == tcproom.Message {
					context.AfterFunc(c.Context(), func() { ended <- context.Cause(c.Context()) })
					test.act(c)
				}
			}))
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
		var closing atomic.Bool
		c := dial(t, addr, tcproom.WithCodec(tcproom.JSON{}), tcproom.OnEvent(func(c *tcproom.Conn, ev tcproom.Event) {
			if closing.Load() {
				c.Close()
			}
		}))
		closed := make(chan error, 1)
		go func() {
			closing.Store(true)
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
