package tcproom_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/internal/testkit"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// TestResumeBeforeTheJoin: a token is good for what its member could have
// seen, and not for what was said before it was there.
func TestResumeBeforeTheJoin(t *testing.T) {
	for _, tt := range []struct {
		name    string
		events  int
		outcome string
		want    []string
	}{
		{name: "all is there", events: 0, outcome: "resumed", want: []string{"3 <nil>: b", "4 <nil>: c", "5 <nil>: d"}},
		{name: "some has gone", events: 2, outcome: "gap", want: []string{"gap 3-3", "4 <nil>: c", "5 <nil>: d"}},
	} {
		inBubble(tt.name, t, func(t *testing.T) {
			srv := sessionServer(t, tcproom.Sessions{Events: tt.events}, tcproom.WithEcho(true))
			announce(t, srv.Room, "a")
			ada := visits(t, srv, nil)
			w := ada.welcomed("joined")
			ada.nc.Close()
			synctest.Wait()
			for _, body := range []string{"b", "c", "d"} {
				announce(t, srv.Room, "%s", body)
			}
			for _, seq := range []int{0, 1, 2} {
				ada = visits(t, srv, resume(w, seq))
				ada.welcomed(tt.outcome)
				for _, want := range tt.want {
					require.Equal(t, want, ada.short(), "from %d", seq)
				}
			}
		})
	}
}

// TestPostWhileTakenOver: what a hook posts is its member's, on whatever
// connection that is when the message gets its place.
func TestPostWhileTakenOver(t *testing.T) {
	inBubble("by Post", t, func(t *testing.T) {
		posted := make(chan error, 1)
		postWhileTakenOver(t, posted, func(m *tcproom.Member, body []byte) ([]byte, error) {
			_, err := m.Post(context.Background(), body)
			posted <- err
			return nil, err
		})
		require.NoError(t, <-posted)
	})
	inBubble("by what it returns", t, func(t *testing.T) {
		postWhileTakenOver(t, nil, func(_ *tcproom.Member, body []byte) ([]byte, error) { return body, nil })
	})
}

func postWhileTakenOver(t *testing.T, posted chan error, hook func(*tcproom.Member, []byte) ([]byte, error)) {
	srv := sessionServer(t, tcproom.Sessions{}, tcproom.WithSlowMembers(tcproom.Block(time.Hour)),
		tcproom.WithMaxMessage(1<<10), tcproom.WithWriteTimeout(time.Hour), tcproom.OnMessage(hook))
	bob := visits(t, srv, object{"name": "bob"})
	bob.welcomed("joined")
	ada := visits(t, srv, object{"name": "ada"})
	w := ada.welcomed("joined")
	require.Equal(t, "2 join ada", bob.short())
	bob.nc.(*roomtest.Conn).In(roomtest.Stall())
	body := bytes.Repeat([]byte("x"), 1<<10)
	n := 0
	for ; ; n++ {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := srv.Room.Broadcast(ctx, body)
		cancel()
		if err != nil {
			require.ErrorIs(t, err, context.DeadlineExceeded)
			break
		}
		require.Contains(t, ada.short(), "xx")
	}
	ada.say(object{"type": "message", "id": 1, "body": string(body)})
	synctest.Wait()
	require.Empty(t, posted, "it is held back")
	v := visits(t, srv, resume(w, 2+n))
	v.welcomed("resumed")
	bob.nc.(*roomtest.Conn).In()
	for range n {
		require.Contains(t, bob.short(), "xx")
	}
	require.Equal(t, fmt.Sprintf("%d ada: %s", 3+n, body), bob.short())
	v.say(object{"type": "message", "id": 1, "body": ""})
	require.Equal(t, fmt.Sprintf("ack 1=%d", 3+n), v.short())
}

// TestAckIsOfItsMessage: hooks of two connections of one member at once do
// not mix up what they have posted.
func TestAckIsOfItsMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var go1, go2 = make(chan bool), make(chan bool)
		srv := sessionServer(t, tcproom.Sessions{}, tcproom.OnMessage(func(c *tcproom.Member, body []byte) ([]byte, error) {
			if string(body) == "drop" {
				<-go2
				return nil, nil
			}
			<-go1
			_, err := c.Post(context.Background(), body)
			return nil, err
		}))
		ada := visits(t, srv, nil)
		w := ada.welcomed("joined")
		ada.say(object{"type": "message", "id": 1, "body": "slow"})
		synctest.Wait()
		v := visits(t, srv, resume(w, 1))
		v.welcomed("resumed")
		v.say(object{"type": "message", "id": 2, "body": "drop"})
		synctest.Wait()
		go1 <- true
		synctest.Wait()
		go2 <- true
		require.Equal(t, "ack 2=<nil>", v.short())
		v.say(object{"type": "message", "id": 1, "body": "slow"})
		require.Equal(t, "ack 1=2", v.short())
	})
}

// TestKickOfOneDetachedWhereACodecPanics: a codec that fails for the leave ends its
// own member, and the member that was kicked leaves all the same.
func TestKickOfOneDetachedWhereACodecPanics(t *testing.T) {
	causes := newCauses()
	room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{}), tcproom.OnLeave(causes.Left))
	addr := serveTCP(t, room)
	ada := dialRaw(t, addr)
	fmt.Fprintln(ada, `{"type":"hello"}`)
	waitLen(t, room, 1)
	join(t, room, tcproom.WithCodec(panicsOnLeave{}))
	ada.Close()
	eventually(t, "detached", func() bool { return room.Stats().Detached == 1 })
	var c *tcproom.Member
	for m := range room.Members() {
		if m.Name() == "guest-1" {
			c = m
		}
	}
	require.NoError(t, c.Kick("rude"))
	for !errors.Is(causes.Next(t), tcproom.ErrKicked) { // the other's is that its codec has failed
	}
	_, ok := room.Member(c.ID())
	require.False(t, ok)
}

// panicsOnLeave is Text that cannot say a leave.
type panicsOnLeave struct{ tcproom.Text }

func (c panicsOnLeave) AppendEvent(dst []byte, ev *tcproom.Event) ([]byte, error) {
	if ev.Kind == tcproom.Leave {
		panic("leave")
	}
	return c.Text.AppendEvent(dst, ev)
}

// TestReplayComesBeforeAGap: what a member that skips is still owed from
// before the hole is said before it.
func TestReplayComesBeforeAGap(t *testing.T) { eachSeqs(t, replayComesBeforeAGap) }

func replayComesBeforeAGap(t *testing.T, s testkit.Seqs) {
	srv := roomtest.NewServer(t, s.Option(), tcproom.WithCodec(tcproom.JSON{}), tcproom.WithMaxMessage(4<<10), tcproom.WithSlowMembers(tcproom.Skip),
		tcproom.WithSocketBuffers(4<<10, 4<<10), tcproom.WithHistory(tcproom.History{}), tcproom.WithSessions(tcproom.Sessions{}))
	body := strings.Repeat("x", 4<<10)
	for range 200 {
		announce(t, srv.Room, "%s", body)
	}
	ada := visits(t, srv, object{"name": "ada"})
	ada.in.Peek(1) // and no more
	for srv.Room.Stats().Skipped == 0 {
		announce(t, srv.Room, "%s", body)
	}
	last, at := s.Place(srv.Room.Stats().Seq), uint64(0)
	ada.welcomed("joined")
	for at < last {
		o := ada.next()
		first, to := o["seq"], o["seq"]
		if o["type"] == "gap" {
			first, to = o["first"], o["last"]
		}
		begin := s.Place(uint64(first.(float64)))
		require.Equal(t, at+1, begin, "%v after %d", o["type"], at)
		if at = s.Place(uint64(to.(float64))); at == 200 {
			at++ // its own join
		}
	}
}

// TestWhoBreaksARuleIsNotKept: whatever a limiter or framing wraps in its error.
func TestWhoBreaksARuleIsNotKept(t *testing.T) {
	for _, tt := range []struct {
		name string
		opt  tcproom.RoomOption
		want error
	}{
		{name: "limiter", opt: tcproom.WithRate(func(*tcproom.Member) tcproom.Limiter { return stingy{} }), want: errRateLimited},
		{name: "framing", opt: tcproom.WithFraming(cutShort{}), want: tcproom.ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			causes := newCauses()
			srv := sessionServer(t, tcproom.Sessions{Grace: time.Hour}, tt.opt, tcproom.OnLeave(causes.Left))
			ada := visits(t, srv, nil)
			ada.welcomed("joined")
			ada.say(object{"type": "message", "body": "hi"})
			eventually(t, "gone", func() bool { return srv.Room.Len() == 0 || srv.Room.Stats().Detached > 0 })
			require.Zero(t, srv.Room.Stats().Detached)
			require.ErrorIs(t, causes.Next(t), tt.want)
		})
	}
}

type stingy struct{}

func (stingy) WaitN(context.Context, int) error { return fmt.Errorf("no more: %w", io.EOF) }

// cutShort is Lines which takes a message for one that is cut off.
type cutShort struct{ tcproom.Lines }

func (f cutShort) SplitFrame(data []byte, limit int) (int, []byte, error) {
	if bytes.Contains(data, []byte(`"body"`)) {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return f.Lines.SplitFrame(data, limit)
}

// TestWhoWasEndedDoesNotResume: a member that the room's program has ended, or whose
// codec failed, is not saved by another connection, also while its hook still runs.
func TestWhoWasEndedDoesNotResume(t *testing.T) {
	inBubble("kicked", t, func(t *testing.T) {
		room, release, left := roomOfSlowHook()
		ada, _ := visitsOver(t, room, object{})
		w := ada.welcomed("joined")
		ada.say(object{"type": "message", "body": "slow"})
		synctest.Wait()
		m, _ := room.Member(w["id"].(string))
		require.NoError(t, m.Kick("rude"))
		v, _ := visitsOver(t, room, resume(w, 1))
		require.NotEqual(t, w["id"], v.welcomed("expired")["id"])
		require.Zero(t, left.Load())
		release <- true
		ada.nc.Close()
		synctest.Wait()
		require.EqualValues(t, 1, left.Load())
		require.Equal(t, map[tcproom.Cause]uint64{tcproom.ErrKicked: 1}, room.Stats().Left)
		require.NoError(t, room.Close())
	})
	inBubble("its codec failed", t, func(t *testing.T) {
		room, release, left := roomOfSlowHook()
		ada, _ := visitsOver(t, room, object{}, tcproom.WithCodec(cannotSay{}))
		w := ada.welcomed("joined")
		ada.say(object{"type": "message", "body": "slow"})
		synctest.Wait()
		announce(t, room, "bomb")
		v, _ := visitsOver(t, room, resume(w, 1))
		require.NotEqual(t, w["id"], v.welcomed("expired")["id"])
		require.Zero(t, left.Load())
		release <- true
		require.Equal(t, "4 leave guest-1", v.short())
		synctest.Wait() // while it has not read its end
		require.Zero(t, left.Load())
		ada.nc.Close()
		synctest.Wait()
		require.EqualValues(t, 1, left.Load())
		require.Equal(t, map[tcproom.Cause]uint64{tcproom.ErrUnframeable: 1}, room.Stats().Left)
		require.NoError(t, room.Close())
	})
}

// roomOfSlowHook returns a room with sessions whose OnMessage waits for release, and
// how many OnLeave was called for.
func roomOfSlowHook() (room *tcproom.Room, release chan bool, left *atomic.Int32) {
	release, left = make(chan bool), new(atomic.Int32)
	room = tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{}),
		tcproom.OnMessage(func(*tcproom.Member, []byte) ([]byte, error) {
			<-release
			return nil, nil
		}), tcproom.OnLeave(func(*tcproom.Member, error) { left.Add(1) }))
	return room, release, left
}

// visitsOver is visits over one end of a pipe.
func visitsOver(t testing.TB, room *tcproom.Room, hello object, opts ...tcproom.ConnOption) (*visit, <-chan error) {
	t.Helper()
	nc, served := enter(t, room, opts...)
	v := &visit{t: t, nc: nc, in: bufio.NewReader(nc)}
	hello["type"] = "hello"
	v.say(hello)
	return v, served
}

// cannotSay is JSON that panics for one body.
type cannotSay struct{ tcproom.JSON }

func (c cannotSay) AppendEvent(dst []byte, ev *tcproom.Event) ([]byte, error) {
	if string(ev.Body) == "bomb" {
		panic("bomb")
	}
	return c.JSON.AppendEvent(dst, ev)
}

// TestP4NoOnMessageAfterOnLeave: OnLeave is the last that is heard of a
// member, on whatever connection a hook of it runs.
func TestP4NoOnMessageAfterOnLeave(t *testing.T) {
	for _, how := range []string{"goodbye", "kick"} {
		inBubble(how, t, func(t *testing.T) {
			release := make(chan bool)
			var running, left atomic.Int32
			srv := sessionServer(t, tcproom.Sessions{}, tcproom.OnMessage(func(c *tcproom.Member, body []byte) ([]byte, error) {
				running.Add(1)
				defer running.Add(-1)
				<-release
				return nil, nil
			}), tcproom.OnLeave(func(*tcproom.Member, error) {
				require.Zero(t, running.Load())
				left.Add(1)
			}))
			ada := visits(t, srv, nil)
			w := ada.welcomed("joined")
			ada.say(object{"type": "message", "body": "slow"})
			ada.say(object{"type": "message", "body": "slow"})
			synctest.Wait()
			v := visits(t, srv, resume(w, 1))
			v.welcomed("resumed")
			c, _ := srv.Room.Member(w["id"].(string))
			switch how {
			case "goodbye":
				v.say(object{"type": "goodbye"})
			case "kick":
				require.NoError(t, c.Kick("rude"))
			}
			synctest.Wait()
			v.nc.Close()
			synctest.Wait()
			require.Zero(t, left.Load())
			release <- true
			synctest.Wait()
			require.EqualValues(t, 1, left.Load())
			require.Zero(t, srv.Room.Len())
		})
	}
}

// TestCloseInAHookThatWasTakenOver: Close waits for neither that hook nor for
// who waits for it.
func TestCloseInAHookThatWasTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := make(chan bool, 1)
		closed := make(chan time.Duration, 1)
		go1 := make(chan bool)
		srv := sessionServer(t, tcproom.Sessions{}, tcproom.OnMessage(func(c *tcproom.Member, body []byte) ([]byte, error) {
			began <- true
			<-go1
			start := time.Now()
			if err := c.Room().Close(); err != nil {
				t.Error(err)
			}
			closed <- time.Since(start)
			return nil, nil
		}), tcproom.OnLeave(func(*tcproom.Member, error) {}))
		ada := visits(t, srv, nil)
		w := ada.welcomed("joined")
		ada.say(object{"type": "message", "body": "stop"})
		<-began
		visits(t, srv, resume(w, 1)).welcomed("resumed")
		go1 <- true
		require.Less(t, <-closed, time.Second)
		<-srv.Room.Done()
	})
}

// TestAddressLimitAndResume: a member that lost its connection comes back from
// an address that has no more than its limit, and nobody else gains by that.
func TestAddressLimitAndResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		causes := newCauses()
		srv := sessionServer(t, tcproom.Sessions{}, tcproom.WithMaxPerAddress(2), tcproom.OnReject(causes.Rejected))
		a := visits(t, srv, nil)
		wa := a.welcomed("joined")
		b := visits(t, srv, nil)
		wb := b.welcomed("joined")
		require.Equal(t, "2 join guest-2", a.short())
		require.Contains(t, visits(t, srv, nil).short(), "too-many-from-address")
		time.Sleep(10 * time.Second)
		require.ErrorIs(t, causes.Next(t), errTooManyFromAddress)
		for range 5 {
			a.nc.Close()
			synctest.Wait()
			a = visits(t, srv, resume(wa, 2))
			a.welcomed("resumed")
			v := visits(t, srv, resume(wb, 2))
			v.welcomed("resumed")
			require.Equal(t, "goodbye"+"taken-over"+"false", b.short())
			b.nc.Close()
			synctest.Wait()
			b = v
			require.Contains(t, visits(t, srv, nil).short(), "too-many-from-address")
			require.Contains(t, visits(t, srv, resume(object{"token": "x", "epoch": "y"}, 2)).short(), "too-many-from-address")
			time.Sleep(10 * time.Second) // those that were refused have gone
		}
		a.say(object{"type": "goodbye"})
		require.Equal(t, "3 leave guest-1", b.short())
		synctest.Wait()
		visits(t, srv, nil).welcomed("joined")

		// A member from elsewhere is not let in above the limit.
		nc, err := srv.Net.DialFrom(t.Context(), "10.0.0.2", srv.Addr)
		require.NoError(t, err)
		c := tcproom.NewConn(nc, tcproom.WithCodec(tcproom.JSON{}))
		defer c.Close()
		ev, err := c.Receive(t.Context())
		require.NoError(t, err)
		elsewhere := resume(object{"token": string(ev.Welcome.Token), "epoch": ev.Welcome.Epoch}, ev.Seq)
		require.Contains(t, visits(t, srv, elsewhere).short(), "too-many-from-address")
		require.NoError(t, c.Err())
		time.Sleep(10 * time.Second)

		// Those that say nothing are bounded too.
		for range 3 {
			visitsSilently(t, srv)
		}
		synctest.Wait()
		require.LessOrEqual(t, srv.Room.Stats().Pending, 2)
	})
}

func visitsSilently(t *testing.T, srv *roomtest.Server) {
	nc, err := srv.Net.Dial(t.Context(), "tcp", srv.Addr)
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
}

// TestEndOfGraceIsLogged: like any other leave.
func TestEndOfGraceIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines logLines
		srv := sessionServer(t, tcproom.Sessions{}, tcproom.WithLogger(lines.Logger()))
		ada := visits(t, srv, object{"name": "ada"})
		ada.welcomed("joined")
		ada.nc.(*roomtest.Conn).Reset()
		synctest.Wait()
		require.Len(t, lines.With("tcproom: lost"), 1)
		require.Empty(t, lines.With("tcproom: left"))
		time.Sleep(time.Minute)
		left := lines.With("tcproom: left")
		require.Len(t, left, 1)
		require.Regexp(t, `tcproom: left" id=\S+ name=ada addr=\S+ cause="tcproom: connection broke`, left[0])
	})
}

// TestKickOfOneDetached: a Member is one value over all connections, and a kick ends
// it while it is away.
func TestKickOfOneDetached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		causes := newCauses()
		srv := sessionServer(t, tcproom.Sessions{Grace: time.Hour}, tcproom.OnLeave(causes.Left))
		bob := visits(t, srv, object{"name": "bob"})
		bob.welcomed("joined")
		ada := visits(t, srv, object{"name": "ada"})
		w := ada.welcomed("joined")
		require.Equal(t, "2 join ada", bob.short())
		m, _ := srv.Room.Member(w["id"].(string))
		ctx := m.Context()
		ada.nc.Close()
		synctest.Wait()
		ada = visits(t, srv, resume(w, 2))
		ada.welcomed("resumed")
		same, _ := srv.Room.Member(w["id"].(string))
		require.Same(t, m, same)
		require.NoError(t, m.Send(t.Context(), []byte("hi")))
		require.Equal(t, "hi", ada.next()["body"])
		ada.nc.Close()
		synctest.Wait()
		require.Equal(t, 1, srv.Room.Stats().Detached)
		require.ErrorIs(t, m.Send(t.Context(), []byte("hi")), tcproom.ErrDetached)
		require.NoError(t, m.Err())
		require.NoError(t, ctx.Err())

		require.NoError(t, m.Kick("rude"))
		require.Equal(t, "3 leave ada", bob.short())
		require.ErrorIs(t, causes.Next(t), tcproom.ErrKicked)
		require.ErrorIs(t, m.Err(), tcproom.ErrKicked)
		require.Equal(t, m.Err(), context.Cause(ctx))
		require.ErrorIs(t, m.Kick("rude"), tcproom.ErrNotMember)
		require.ErrorIs(t, m.Send(t.Context(), []byte("hi")), tcproom.ErrNotMember)
		visits(t, srv, resume(w, 2)).welcomed("expired")
	})
}

// TestDirectIsNotResumed: a direct message is sent to the connection of the moment; a
// member that resumes gets the messages of the room which it missed, and no direct one.
func TestDirectIsNotResumed(t *testing.T) {
	inBubble("direct", t, func(t *testing.T) {
		srv := sessionServer(t, tcproom.Sessions{})
		first := visits(t, srv, object{"name": "ada"})
		w := first.welcomed("joined")
		ada := memberOf(t, srv.Room, 0)
		require.NoError(t, ada.Send(t.Context(), []byte("not read")))
		broadcast(t, srv.Room, []byte("missed"))
		synctest.Wait()
		first.nc.Close()
		synctest.Wait()
		require.ErrorIs(t, ada.Send(t.Context(), []byte("detached")), tcproom.ErrDetached)
		second := visits(t, srv, resume(w, w["seq"]))
		second.welcomed("resumed")
		require.Equal(t, "missed", second.next()["body"])
		broadcast(t, srv.Room, []byte("live"))
		require.Equal(t, "live", second.next()["body"])
	})
}

// TestHookThatFailsAfterItHasPosted: what it has posted is not posted again,
// when its client says it again on the connection that has its member by then.
func TestHookThatFailsAfterItHasPosted(t *testing.T) {
	for how, fail := range map[string]func() error{
		"error":  func() error { return io.ErrNoProgress },
		"panic":  func() error { panic("hook") },
		"Goexit": func() error { runtime.Goexit(); return nil },
	} {
		inBubble(how, t, func(t *testing.T) {
			var calls atomic.Int32
			release := make(chan bool)
			room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{}),
				tcproom.OnMessage(func(c *tcproom.Member, body []byte) ([]byte, error) {
					calls.Add(1)
					<-release
					if _, err := c.Post(context.Background(), body); err != nil {
						return nil, err
					}
					return nil, fail()
				}))
			say := object{"type": "message", "id": 1, "body": "slow"}
			ada, _ := visitsOver(t, room, object{})
			w := ada.welcomed("joined")
			ada.say(say)
			synctest.Wait()
			ada, _ = visitsOver(t, room, resume(w, 1))
			ada.welcomed("resumed")
			ada.say(say)
			synctest.Wait()
			close(release)
			require.Equal(t, "ack 1=2", ada.short())
			require.EqualValues(t, 1, calls.Load())
			require.EqualValues(t, 1, room.Stats().Messages)
			require.NoError(t, room.Close())
		})
	}
}
