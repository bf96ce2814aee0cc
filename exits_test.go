package tcproom_test

import (
	"bufio"
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
// connection that the hole is in, and nothing else (P6, P11): not the goroutine that
// writes, which others and the end of the room depend on.
func TestGapThatFails(t *testing.T) {
	for name, fail := range map[string]func(dst []byte) ([]byte, error){
		"panics":  func([]byte) ([]byte, error) { panic(errOdd) },
		"errs":    func(dst []byte) ([]byte, error) { return dst, errOdd },
		"is mute": func(dst []byte) ([]byte, error) { return dst, tcproom.ErrNoFrame },
	} {
		t.Run(name, func(t *testing.T) {
			checkGoroutines(t)
			left := newCauses()
			codec := &odd{appendEvent: func(dst []byte, ev *tcproom.Event) ([]byte, error) {
				if ev.Kind == tcproom.Gap {
					if ev.Gap.First > 1 { // not what the room asks when it begins
						return fail(dst)
					}
					return append(dst, "gap"...), nil
				}
				return tcproom.Raw{}.AppendEvent(dst, ev)
			}}
			room := slowRoom(tcproom.WithSlowMembers(tcproom.Skip), tcproom.WithCodec(codec), tcproom.WithNotices(false), tcproom.OnLeave(left.Left))
			addr := serveTCP(t, room)
			w := dial(t, addr, tcproom.WithCodec(codec))
			nc := dialSmall(t, addr, "")
			waitLen(t, room, 2)
			flood(t, room, w, 0, 1000)
			nc.SetReadDeadline(time.Now().Add(within))
			io.Copy(io.Discard, nc)
			require.ErrorIs(t, left.Next(t), tcproom.ErrUnframeable)
			waitLen(t, room, 1)
			flood(t, room, w, 1000, 100)
			require.NoError(t, room.Close())
			waitDone(t, room)
		})
	}
}

// odderJSON is JSON that panics when it is to say an event of that kind.
type odderJSON struct {
	tcproom.JSON
	kind tcproom.Kind
}

func (o *odderJSON) AppendEvent(dst []byte, ev *tcproom.Event) ([]byte, error) {
	if ev.Kind == o.kind {
		panic(errOdd)
	}
	return o.JSON.AppendEvent(dst, ev)
}

// TestPanicForAWelcome: a codec that panics when it is to say a welcome ends that
// member, and one that panics for its own join, which it is not told of, does not.
// What it held is given back: its lane, above all.
func TestPanicForAWelcome(t *testing.T) {
	for kind, want := range map[tcproom.Kind]error{tcproom.Join: io.EOF, tcproom.Welcome: tcproom.ErrUnframeable} {
		t.Run(kind.String(), func(t *testing.T) {
			checkGoroutines(t)
			ends := newCauses()
			room := tcproom.New(tcproom.WithCodec(tcproom.Raw{}), tcproom.WithMaxMembers(2), tcproom.WithMaxPending(1), tcproom.OnReject(ends.Rejected), tcproom.OnLeave(ends.Left))
			b := join(t, room)
			addr := serveTCP(t, room)
			for range 2 * 16 { // twice as many as there are lanes
				nc, done := serveConn(t, room, tcproom.WithCodec(&odderJSON{kind: kind}))
				_, err := io.WriteString(nc, `{"type":"hello"}`+"\n")
				require.NoError(t, err)
				if want == io.EOF {
					_, err := bufio.NewReader(nc).ReadString('\n')
					require.NoError(t, err)
					nc.Close()
				} else {
					go io.Copy(io.Discard, nc)
				}
				require.ErrorIs(t, ends.Next(t), want)
				nc.Close()
				ended(t, done)
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

// TestPanicForALeave: others are told of the leave although a codec panics when it
// is to say so; the connection is closed, and OnLeave called (P8).
func TestPanicForALeave(t *testing.T) {
	for _, lanes := range []int{1, 2, 3} {
		checkGoroutines(t)
		var on atomic.Bool
		var panics atomic.Int32
		odds := make([]*odd, lanes)
		for i := range odds {
			odds[i] = &odd{appendEvent: func(dst []byte, ev *tcproom.Event) ([]byte, error) {
				if on.Load() && ev.Kind == tcproom.Leave {
					panics.Add(1)
					panic(errOdd)
				}
				return tcproom.Raw{}.AppendEvent(dst, ev)
			}}
		}
		ends := newCauses()
		room := tcproom.New(tcproom.OnLeave(ends.Left), tcproom.WithCodec(tcproom.JSON{}))
		b := join(t, room)
		addr := serveTCP(t, room)
		for i, o := range odds {
			serveConn(t, room, tcproom.WithCodec(o))
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
			if err := ends.Next(t); errors.Is(err, io.EOF) {
				left++
			} else {
				require.ErrorIs(t, err, tcproom.ErrUnframeable)
			}
		}
		require.Equal(t, 1, left)
		waitLen(t, room, 1)
		require.NotZero(t, panics.Load())
		require.NoError(t, room.Close())
		waitDone(t, room)
	}
}

// TestPanicForAMessage: it ends the members whose codec it is, and nobody else.
func TestPanicForAMessage(t *testing.T) {
	checkGoroutines(t)
	ends := newCauses()
	room := tcproom.New(tcproom.OnLeave(ends.Left), tcproom.WithCodec(tcproom.JSON{}), tcproom.WithNotices(false))
	codec := &odd{appendEvent: func(dst []byte, ev *tcproom.Event) ([]byte, error) {
		if string(ev.Body) == "bad" {
			panic(errOdd)
		}
		return tcproom.Raw{}.AppendEvent(dst, ev)
	}}
	here, _ := serveConn(t, room, tcproom.WithCodec(codec))
	go func() {
		io.Copy(io.Discard, here)
		here.Close() // for which its end waits
	}()
	waitLen(t, room, 1)
	a, b := join(t, room), join(t, room)
	send(t, b, "bad")
	require.ErrorIs(t, ends.Next(t), tcproom.ErrUnframeable)
	require.Equal(t, "bad", nextMessage(t, a))
	waitLen(t, room, 2)
	require.NoError(t, room.Close())
	waitDone(t, room)
}

// TestPanicInAGoodbye: the last words are lost, the rest of the end is not.
func TestPanicInAGoodbye(t *testing.T) {
	checkGoroutines(t)
	ends := newCauses()
	codec := &odd{appendEvent: func(dst []byte, ev *tcproom.Event) ([]byte, error) {
		if ev.Kind == tcproom.Goodbye {
			panic(errOdd)
		}
		return tcproom.Raw{}.AppendEvent(dst, ev)
	}}
	room := tcproom.New(tcproom.OnLeave(ends.Left), tcproom.WithCodec(codec))
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
	require.ErrorIs(t, ends.Next(t), tcproom.ErrRoomClosed)
}

// TestPanicInOnEventsCodec: a dialling end whose codec panics has ended, and says so.
func TestPanicInOnEventsCodec(t *testing.T) {
	checkGoroutines(t)
	room := tcproom.New()
	addr := serveTCP(t, room)
	codec := &panickingParser{}
	c := dial(t, addr, tcproom.WithCodec(codec), tcproom.OnEvent(func(tcproom.Event) {}))
	waitLen(t, room, 1)
	_, err := room.Broadcast(testContext(t), []byte("hi"))
	require.NoError(t, err)
	<-c.Context().Done()
	require.ErrorIs(t, context.Cause(c.Context()), tcproom.ErrHook)
	var he *tcproom.HookError
	require.True(t, errors.As(c.Err(), &he))
}

type panickingParser struct{ tcproom.Text }

func (panickingParser) ParseEvent([]byte, *tcproom.Event) error { panic(errOdd) }

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
	require.ErrorIs(t, ended(t, done), errReset)
	require.Equal(t, "hi", nextMessage(t, b))
	require.NoError(t, room.Close())
	waitDone(t, room)
}

type exitingConn struct{ net.Conn }

func (exitingConn) Write([]byte) (int, error) { runtime.Goexit(); return 0, nil }
