package tcproom

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// welcomer is Raw that tells when it is to say a Welcome.
type welcomer struct {
	Raw
	welcome func()
}

func (w *welcomer) AppendEvent(dst []byte, ev *Event) ([]byte, error) {
	if ev.Kind == Welcome {
		w.welcome()
	}
	return w.Raw.AppendEvent(dst, ev)
}

// TestEndWhileWelcomed: a member that ends when it has joined, and before
// anybody waits for what it says, leaves.
func TestEndWhileWelcomed(t *testing.T) {
	var c *Conn
	left := make(chan error, 1)
	w := &welcomer{welcome: func() { c.end(net.ErrClosed) }}
	room := New(WithCodec(w), OnLeave(func(_ *Conn, cause error) { left <- cause }),
		OnJoin(func(joins *Conn) error { c = joins; return nil }))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- room.Serve(l) }()
	nc, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer nc.Close()
	select {
	case cause := <-left:
		require.ErrorIs(t, cause, net.ErrClosed)
	case <-time.After(10 * time.Second):
		t.Error("the member stays")
	}
	require.NoError(t, room.Close())
	require.ErrorIs(t, <-served, ErrRoomClosed)
}
