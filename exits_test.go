package tcproom_test

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// TestGapThatFails: a codec that fails when it is to announce a hole ends the
// conn that the hole is in, and nothing else (P6, P11): not the goroutine that
// writes, which others and the end of the room depend on.
func TestGapThatFails(t *testing.T) {
	for name, fail := range map[string]func(dst []byte) ([]byte, error){
		"panics":  func([]byte) ([]byte, error) { panic(errOdd) },
		"exits":   func([]byte) ([]byte, error) { runtime.Goexit(); return nil, nil },
		"errs":    func(dst []byte) ([]byte, error) { return dst, errOdd },
		"is mute": func(dst []byte) ([]byte, error) { return dst, tcproom.ErrNoFrame },
	} {
		t.Run(name, func(t *testing.T) {
			checkGoroutines(t)
			left := newCauses()
			codec := &odd{appendEvent: func(dst []byte, ev *tcproom.Event) ([]byte, error) {
				if ev.Kind == tcproom.Gap {
					if ev.GapFrom > 1 { // not what the room asks when it begins
						return fail(dst)
					}
					return append(dst, "gap"...), nil
				}
				return tcproom.Raw{}.AppendEvent(dst, ev)
			}}
			room := slowRoom(tcproom.WithSlowMembers(tcproom.Skip), tcproom.WithCodec(codec), tcproom.WithNotices(false), tcproom.OnLeave(left.left))
			addr := serveTCP(t, room)
			w := dial(t, addr, tcproom.WithCodec(codec))
			nc := dialSmall(t, addr, "")
			waitLen(t, room, 2)
			flood(t, room, w, 0, 1000)
			nc.SetReadDeadline(time.Now().Add(within))
			io.Copy(io.Discard, nc)
			require.ErrorIs(t, left.next(t), tcproom.ErrUnframeable)
			waitLen(t, room, 1)
			flood(t, room, w, 1000, 100)
			require.NoError(t, room.Close())
			waitDone(t, room)
		})
	}
}

// TestExitForAJoin: a codec that ends the goroutine in which it is to say a
// join ends that conn. What it held is given back: its lane, above all.
func TestExitForAJoin(t *testing.T) {
	for _, kind := range []tcproom.Kind{tcproom.Join, tcproom.Welcome} {
		t.Run(kind.String(), func(t *testing.T) {
			checkGoroutines(t)
			ends := newCauses()
			room := tcproom.New(tcproom.WithCodec(tcproom.Raw{}), tcproom.WithMaxMembers(2), tcproom.WithMaxPending(1), tcproom.OnReject(ends.rejected), tcproom.OnLeave(ends.left))
			b := join(t, room)
			addr := serveTCP(t, room)
			for range 2 * 16 { // twice as many as there are lanes
				codec := &odd{appendEvent: func(dst []byte, ev *tcproom.Event) ([]byte, error) {
					if ev.Kind == kind {
						runtime.Goexit()
					}
					return tcproom.Raw{}.AppendEvent(dst, ev)
				}}
				nc, _ := serveConnExiting(t, room, tcproom.WithCodec(codec))
				require.ErrorIs(t, ends.next(t), tcproom.ErrHook)
				nc.Close()
				eventually(t, "its slots are free", func() bool { s := room.Stats(); return s.Pending == 0 && s.Members == 1 })
			}
			nc := dialRaw(t, addr) // there is a slot, a lane and a lock
			waitLen(t, room, 2)
			_, err := nc.Write([]byte("hi\n"))
			require.NoError(t, err)
			require.Equal(t, "hi", nextMessage(t, b))
		})
	}
}

// serveConnExiting is serveConn for a codec that ends the goroutine: then
// ServeConn does not return.
func serveConnExiting(t testing.TB, room *tcproom.Room, opts ...tcproom.ConnOption) (net.Conn, <-chan struct{}) {
	t.Helper()
	here, there := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		room.ServeConn(there, opts...)
	}()
	t.Cleanup(func() { here.Close(); <-done })
	return here, done
}

// TestExitForALeave: others hear of the leave although a codec ends the
// goroutine in which it is to say so, in a lane that this concerns or not; the
// conn is closed, and OnLeave called (P8).
func TestExitForALeave(t *testing.T) {
	for _, lanes := range []int{1, 2, 3} {
		checkGoroutines(t)
		var on atomic.Bool
		var exits atomic.Int32
		odds := make([]*odd, lanes)
		for i := range odds {
			odds[i] = &odd{appendEvent: func(dst []byte, ev *tcproom.Event) ([]byte, error) {
				if on.Load() && ev.Kind == tcproom.Leave {
					exits.Add(1)
					runtime.Goexit()
				}
				return tcproom.Raw{}.AppendEvent(dst, ev)
			}}
		}
		ends := newCauses()
		room := tcproom.New(tcproom.OnLeave(ends.left), tcproom.WithCodec(tcproom.JSON{}))
		b := join(t, room)
		addr := serveTCP(t, room)
		for i, o := range odds {
			serveConnExiting(t, room, tcproom.WithCodec(o))
			waitLen(t, room, 2+i)
		}
		nc := dial(t, addr, tcproom.WithCodec(tcproom.JSON{}))
		waitLen(t, room, 2+lanes)
		id := nc.ID()
		on.Store(true)
		nc.Close()
		for ev := next(t, b); ev.Kind != tcproom.Leave || ev.From.ID != id; ev = next(t, b) {
		}
		// The members whose codec did it could not be told of the leave.
		left := 0
		for range 1 + lanes {
			if err := ends.next(t); err == io.EOF {
				left++
			} else {
				require.ErrorIs(t, err, tcproom.ErrUnframeable)
			}
		}
		require.Equal(t, 1, left)
		waitLen(t, room, 1)
		require.NotZero(t, exits.Load())
		require.NoError(t, room.Close())
		waitDone(t, room)
	}
}

// TestExitForAMessage: it ends the conn that speaks, and once the room knows
// the codec by that, those who have it.
func TestExitForAMessage(t *testing.T) {
	checkGoroutines(t)
	ends := newCauses()
	room := tcproom.New(tcproom.OnLeave(ends.left), tcproom.WithCodec(tcproom.JSON{}), tcproom.WithNotices(false))
	codec := &odd{appendEvent: func(dst []byte, ev *tcproom.Event) ([]byte, error) {
		if string(ev.Body) == "bad" {
			runtime.Goexit()
		}
		return tcproom.Raw{}.AppendEvent(dst, ev)
	}}
	here, _ := serveConnExiting(t, room, tcproom.WithCodec(codec))
	go func() {
		io.Copy(io.Discard, here)
		here.Close() // for which its end waits
	}()
	waitLen(t, room, 1)
	a, b := join(t, room), join(t, room)
	send(t, a, "bad")
	for range a.Events(testContext(t)) {
	}
	a.Close()
	require.ErrorIs(t, ends.next(t), tcproom.ErrHook)
	waitLen(t, room, 2)
	a = join(t, room)
	send(t, b, "bad")
	require.ErrorIs(t, ends.next(t), tcproom.ErrUnframeable)
	require.Equal(t, "bad", nextMessage(t, a))
	require.NoError(t, room.Close())
	waitDone(t, room)
}

// TestExitInAGoodbye: the last words are lost, the rest of the end is not.
func TestExitInAGoodbye(t *testing.T) {
	checkGoroutines(t)
	ends := newCauses()
	codec := &odd{appendEvent: func(dst []byte, ev *tcproom.Event) ([]byte, error) {
		if ev.Kind == tcproom.Goodbye {
			runtime.Goexit()
		}
		return tcproom.Raw{}.AppendEvent(dst, ev)
	}}
	room := tcproom.New(tcproom.OnLeave(ends.left), tcproom.WithCodec(codec))
	addr := serveTCP(t, room)
	nc := dialRaw(t, addr)
	waitLen(t, room, 1)
	_, err := room.Broadcast(testContext(t), []byte("hi"))
	require.NoError(t, err)
	stopped := make(chan error, 1)
	go func() { stopped <- room.Shutdown(testContext(t)) }()
	b, err := io.ReadAll(nc)
	require.NoError(t, err)
	require.Equal(t, "hi\n", string(b))
	nc.Close()
	require.NoError(t, <-stopped)
	require.ErrorIs(t, ends.next(t), tcproom.ErrRoomClosed)
}

// TestExitInOnEventsCodec: a dialling end whose codec ends the goroutine that
// reads has ended, and says so.
func TestExitInOnEventsCodec(t *testing.T) {
	checkGoroutines(t)
	room := tcproom.New()
	addr := serveTCP(t, room)
	codec := &exitingParser{}
	c := dial(t, addr, tcproom.WithCodec(codec), tcproom.OnEvent(func(*tcproom.Conn, tcproom.Event) {}))
	waitLen(t, room, 1)
	_, err := room.Broadcast(testContext(t), []byte("hi"))
	require.NoError(t, err)
	<-c.Context().Done()
	require.ErrorIs(t, context.Cause(c.Context()), tcproom.ErrHook)
	var he *tcproom.HookError
	require.True(t, errors.As(c.Err(), &he))
}

type exitingParser struct{ tcproom.Text }

func (exitingParser) ParseEvent([]byte, *tcproom.Event) error { runtime.Goexit(); return nil }

// TestExitInAConn: a net.Conn that ends the goroutine which writes ends that
// conn, and the room can still stop.
func TestExitInAConn(t *testing.T) {
	checkGoroutines(t)
	room := tcproom.New(tcproom.WithNotices(false))
	b := join(t, room)
	here, there := net.Pipe()
	defer here.Close()
	done := make(chan error, 1)
	go func() { done <- room.ServeConn(&exitingConn{there}) }()
	waitLen(t, room, 2)
	broadcast(t, room, []byte("hi"))
	require.ErrorIs(t, ended(t, done), tcproom.ErrReset)
	require.Equal(t, "hi", nextMessage(t, b))
	require.NoError(t, room.Close())
	waitDone(t, room)
}

type exitingConn struct{ net.Conn }

func (exitingConn) Write([]byte) (int, error) { runtime.Goexit(); return 0, nil }
