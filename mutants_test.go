package tcproom_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/internal/scribble"
	"github.com/stretchr/testify/require"
)

// The tests of this file show small faults that no other test would show.

// holdCodec is JSON that waits when it is to say "hold": with the room's lock.
type holdCodec struct {
	tcproom.JSON
	holds, release chan struct{}
}

func (h *holdCodec) AppendEvent(dst []byte, ev *tcproom.Event) ([]byte, error) {
	if string(ev.Body) == "hold" {
		h.holds <- struct{}{}
		<-h.release
	}
	return h.JSON.AppendEvent(dst, ev)
}

// TestKickBehindTheEnd: a kick that waits for the room while the member's
// connection ends makes one leave with it, whichever comes first (P8).
func TestKickBehindTheEnd(t *testing.T) {
	for _, sessions := range []bool{false, true} {
		for _, kickFirst := range []bool{false, true} {
			t.Run(fmt.Sprintf("sessions=%v kickFirst=%v", sessions, kickFirst), func(t *testing.T) {
				for range 20 {
					left := newCauses()
					codec := &holdCodec{holds: make(chan struct{}), release: make(chan struct{})}
					opts := []tcproom.RoomOption{tcproom.WithCodec(codec), tcproom.OnLeave(left.Left)}
					if sessions {
						opts = append(opts, tcproom.WithSessions(tcproom.Sessions{}))
					}
					room := tcproom.New(opts...)
					nc, served := enter(t, room)
					io.WriteString(nc, `{"type":"hello"}`+"\n")
					waitLen(t, room, 1)
					m := only(room)
					go room.Broadcast(testContext(t), []byte("hold"))
					<-codec.holds
					kicked := make(chan error, 1)
					kick := func() { kicked <- m.Kick("no") }
					end := func() {
						nc.Close()
						eventually(t, "the end is seen", func() bool { return tcproom.LinkErr(m) != nil })
					}
					steps := []func(){end, func() { go kick() }}
					if kickFirst {
						steps[0], steps[1] = steps[1], steps[0]
					}
					for _, step := range steps {
						step()
						for range 100 { // so that it comes to the lock, most probably
							runtime.Gosched()
						}
					}
					close(codec.release)
					<-served
					if <-kicked != nil {
						require.False(t, sessions, "a member that is detached can be kicked")
					}
					left.Next(t)
					require.NoError(t, room.Close())
					waitDone(t, room)
					require.Empty(t, left.C, "P8: OnLeave was called twice")
					require.Len(t, room.Stats().Left, 1)
				}
			})
		}
	}
}

// TestHelloAndHookHaveOneDeadline: what the hello took is not given to the hook
// once more.
func TestHelloAndHookHaveOneDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, took := time.Now(), time.Duration(0)
		room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithHandshakeTimeout(10*time.Second),
			tcproom.WithHandshake(func(ctx context.Context, _ *tcproom.Newcomer) (tcproom.Identity, error) {
				<-ctx.Done()
				took = time.Since(start)
				return tcproom.Identity{}, ctx.Err()
			}))
		nc, served := enter(t, room)
		time.Sleep(9 * time.Second)
		io.WriteString(nc, `{"type":"hello"}`+"\n")
		require.ErrorIs(t, <-served, errHandshakeTimeout)
		require.Equal(t, 10*time.Second, took)
		require.NoError(t, room.Close())
	})
}

// TestOneInOnJoinCounts: one whose OnJoin runs has its place, and its name.
func TestOneInOnJoinCounts(t *testing.T) {
	for _, test := range []struct {
		name string
		opt  tcproom.RoomOption
		want error
	}{
		{name: "place", opt: tcproom.WithMaxMembers(1), want: tcproom.ErrRoomFull},
		{name: "name", opt: tcproom.WithUniqueNames(true), want: tcproom.ErrNameTaken},
	} {
		inBubble(test.name, t, func(t *testing.T) {
			goOn := make(chan struct{})
			room := tcproom.New(test.opt, tcproom.WithCodec(tcproom.JSON{}),
				tcproom.OnJoin(func(*tcproom.Member) error { <-goOn; return nil }))
			come := func() <-chan error {
				nc, served := enter(t, room)
				io.WriteString(nc, `{"type":"hello","name":"ada"}`+"\n")
				go func() { io.Copy(io.Discard, nc); nc.Close() }()
				synctest.Wait()
				return served
			}
			come()
			second := come()
			select {
			case err := <-second:
				require.ErrorIs(t, err, test.want)
			default:
				t.Error("the second is in OnJoin too")
			}
			close(goOn)
			synctest.Wait()
			require.Equal(t, 1, room.Len())
			require.NoError(t, room.Close())
		})
	}
}

// TestStopHoldsNoLockOverConns: while a stop waits for a net.Conn, the room
// answers.
func TestStopHoldsNoLockOverConns(t *testing.T) {
	room := tcproom.New()
	here, there := net.Pipe()
	defer here.Close()
	held := &heldConn{there, make(chan struct{}, 10), make(chan struct{})}
	go room.ServeConn(held)
	waitLen(t, room, 1)
	closed := make(chan error, 1)
	go func() { closed <- room.Close() }()
	<-held.stopped
	answered := make(chan error, 1)
	go func() {
		room.Len()
		room.Stats()
		_, err := room.Broadcast(context.Background(), nil)
		answered <- err
	}()
	select {
	case err := <-answered:
		require.ErrorIs(t, err, tcproom.ErrRoomClosed)
	case <-time.After(within):
		t.Error("the room does not answer")
	}
	close(held.release)
	require.NoError(t, <-closed)
}

// verbatim is a codec and a framing that return their arguments.
type verbatim struct{ tcproom.Raw }

func (verbatim) AppendEvent(_ []byte, ev *tcproom.Event) ([]byte, error)      { return ev.Body, nil }
func (verbatim) AppendRequest(_ []byte, req *tcproom.Request) ([]byte, error) { return req.Body, nil }
func (verbatim) AppendFrame(_ []byte, body []byte) ([]byte, error)            { return body, nil }
func (verbatim) SplitFrame(data []byte, max int) (int, []byte, error) {
	n := min(len(data), max)
	return n, data[:n:n], nil
}

// TestBodiesAreNotKept: nothing of a body is kept once the call has returned
// that handed it in, also if codec and framing return what they were given.
func TestBodiesAreNotKept(t *testing.T) {
	hand := map[string]func(t *testing.T, room *tcproom.Room, far *tcproom.Conn, body []byte) error{
		"Send of the room's end": func(t *testing.T, room *tcproom.Room, _ *tcproom.Conn, body []byte) error {
			return only(room).Send(t.Context(), body)
		},
		"Broadcast": func(t *testing.T, room *tcproom.Room, _ *tcproom.Conn, body []byte) error {
			_, err := room.Broadcast(t.Context(), body)
			return err
		},
		"Send of the dialling end": func(t *testing.T, _ *tcproom.Room, far *tcproom.Conn, body []byte) error {
			return far.Send(t.Context(), body)
		},
	}
	for name, handIn := range hand {
		inBubble(name, t, func(t *testing.T) {
			opt := []tcproom.Option{tcproom.WithCodec(verbatim{}), tcproom.WithFraming(verbatim{})}
			room := tcproom.New(opt[0], opt[1], tcproom.WithNotices(false))
			near, served := pipe(room)
			here, there := net.Pipe()
			far := tcproom.NewConn(here, opt[0], opt[1])
			synctest.Wait()
			body := []byte("the first, which is being written")
			require.NoError(t, handIn(t, room, far, bytes.Clone(body)))
			synctest.Wait()
			want := append(body, "and the next"...)
			body = []byte("and the next")
			require.NoError(t, handIn(t, room, far, body))
			scribble.Over(body)
			peer := near
			if name == "Send of the dialling end" {
				peer = there
			}
			got := make([]byte, len(want))
			_, err := io.ReadFull(peer, got)
			require.NoError(t, err)
			require.Equal(t, string(want), string(got))
			there.Close()
			far.Close()
			near.Close()
			<-served
			require.NoError(t, room.Close())
		})
	}
}

// TestShakenFramesAreTheHooks: what Receive returned to a Handshake hook stays
// as it was when more is received.
func TestShakenFramesAreTheHooks(t *testing.T) {
	scribble.Turn()
	for _, network := range []string{"pipe", "tcp"} {
		t.Run(network, func(t *testing.T) {
			first, second := make(chan struct{}, 1), make(chan error, 1)
			room := tcproom.New(tcproom.WithCodec(tcproom.Raw{}), tcproom.WithHandshake(func(ctx context.Context, c *tcproom.Newcomer) (id tcproom.Identity, err error) {
				one, err := c.Receive(ctx)
				first <- struct{}{}
				if err == nil {
					_, err = c.Receive(ctx)
				}
				if string(one) != "the first" {
					err = errors.Join(err, fmt.Errorf("it is %q now", one))
				}
				second <- err
				return id, err
			}))
			var nc net.Conn
			if network == "tcp" {
				nc = dialRaw(t, serveTCP(t, room))
			} else {
				nc, _ = pipe(room)
				defer nc.Close()
			}
			for _, said := range []string{"the first\n", "one more\n"} {
				_, err := io.WriteString(nc, said)
				require.NoError(t, err)
				if said == "the first\n" {
					<-first
				}
			}
			require.NoError(t, <-second)
			require.NoError(t, room.Close())
		})
	}
}

// TestGraceOfTheNext: when one who is detached resumes, the next leaves when
// its own grace is over.
func TestGraceOfTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := newCauses()
		srv := sessionServer(t, tcproom.Sessions{Grace: 10 * time.Second}, tcproom.OnLeave(left.Left))
		ada, bob := visits(t, srv, object{"name": "ada"}), visits(t, srv, object{"name": "bob"})
		w := ada.welcomed("joined")
		ada.nc.Close()
		time.Sleep(4 * time.Second)
		bob.nc.Close()
		start := time.Now()
		time.Sleep(time.Second)
		visits(t, srv, resume(w, 0)).welcomed("resumed")
		left.Next(t)
		require.Equal(t, 10*time.Second, time.Since(start))
		require.Equal(t, 1, srv.Room.Len())
	})
}

// TestFirstCauseCounts: of several ends that come in an order, everything says
// the first.
func TestFirstCauseCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := newCauses()
		room := tcproom.New(tcproom.OnLeave(left.Left), tcproom.OnMessage(func(m *tcproom.Member, _ []byte) ([]byte, error) {
			m.Kick("the first")
			m.Kick("the second")
			return nil, errHook
		}))
		nc, served := enter(t, room)
		synctest.Wait()
		m := only(room)
		io.WriteString(nc, "x\n")
		line, err := bufio.NewReader(nc).ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "* goodbye: the first\n", line)
		nc.Close()
		for _, got := range []error{<-served, left.Next(t), m.Err(), context.Cause(m.Context())} {
			require.EqualError(t, got, `tcproom: kicked: "the first"`)
		}
		require.Equal(t, map[tcproom.Cause]uint64{tcproom.ErrKicked: 1}, room.Stats().Left)
		require.NoError(t, room.Close())
	})
}
