package tcproom

import (
	"io"
	"net"
	"testing"
	"time"

	"example.com/tcproom/internal/sock"
	"github.com/stretchr/testify/require"
)

// welcomer is JSON that tells when it is to say a Welcome.
type welcomer struct {
	JSON
	welcome func()
}

func (w *welcomer) AppendEvent(dst []byte, ev *Event) ([]byte, error) {
	if ev.Kind == Welcome {
		w.welcome()
	}
	return w.JSON.AppendEvent(dst, ev)
}

// TestEndWhileWelcomed: a member whose connection ends when it has joined, and before
// anybody waits for what it says, leaves.
func TestEndWhileWelcomed(t *testing.T) {
	for _, in := range []string{"Welcome", "OnJoined"} {
		t.Run(in, func(t *testing.T) {
			var m *Member
			left := make(chan error, 1)
			end := func(at string) {
				if at == in {
					m.conn().end(net.ErrClosed)
				}
			}
			opts := []RoomOption{
				WithCodec(&welcomer{welcome: func() { end("Welcome") }}),
				OnJoin(func(joins *Member) error { m = joins; return nil }),
				OnLeave(func(_ *Member, cause error) { left <- cause }),
			}
			if in == "OnJoined" {
				opts = append(opts, OnJoined(func(*Member, uint64) { end("OnJoined") }))
			}
			room := New(opts...)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			served := make(chan error, 1)
			go func() { served <- room.Serve(l) }()
			nc, err := net.Dial("tcp", l.Addr().String())
			require.NoError(t, err)
			defer nc.Close()
			_, err = io.WriteString(nc, `{"type":"hello"}`+"\n")
			require.NoError(t, err)
			select {
			case cause := <-left:
				require.ErrorIs(t, cause, net.ErrClosed)
			case <-time.After(10 * time.Second):
				t.Error("the member stays")
			}
			require.NoError(t, room.Close())
			require.ErrorIs(t, <-served, ErrRoomClosed)
		})
	}
}

// TestDoneWaitsForTheLookout: a room is not done while the goroutine that waits for
// quiet links has not ended (P9).
func TestDoneWaitsForTheLookout(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	there, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer there.Close()
	here, err := l.Accept()
	require.NoError(t, err)
	defer here.Close()

	room := New()
	called, goOn, ended := make(chan struct{}), make(chan struct{}), false
	room.quiet = sock.NewLookout(func(any) {
		close(called)
		<-goOn
		ended = true
	}, nil)
	if !room.quiet.Watch(sock.NewSource(here), nil, 0) {
		t.Skip("here nothing is watched")
	}
	_, err = there.Write([]byte("x"))
	require.NoError(t, err)
	<-called
	closed := make(chan error, 1)
	go func() { closed <- room.Close() }()
	go close(goOn)
	<-room.Done()
	require.True(t, ended)
	require.NoError(t, <-closed)
}
