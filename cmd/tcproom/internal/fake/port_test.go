package fake

import (
	"io"
	"net"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"example.com/tcproom/roomtest"
)

// TestPortHandsOver: a connection that comes between two lives is of the second.
func TestPortHandsOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := new(roomtest.Network)
		l, err := n.Listen("")
		require.NoError(t, err)
		p := newPort(l)
		defer p.Close()
		one := p.listen()
		require.NoError(t, one.Close())
		client, err := n.Dial(t.Context(), "tcp", l.Addr().String())
		require.NoError(t, err)
		synctest.Wait()
		_, err = one.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
		there, err := p.listen().Accept()
		require.NoError(t, err)
		require.Equal(t, client.LocalAddr(), there.RemoteAddr())
	})
}

// TestPortAcceptFails: an Accept that fails for a while does not end the fake.
func TestPortAcceptFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := new(roomtest.Network)
		l, err := n.Listen("")
		require.NoError(t, err)
		l.FailAccept(syscall.EMFILE, 3)
		p := newPort(l)
		_, err = n.Dial(t.Context(), "tcp", l.Addr().String())
		require.NoError(t, err)
		_, err = p.listen().Accept()
		require.NoError(t, err)
		waits := p.listen()
		p.Close()
		_, err = waits.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
		_, err = n.Dial(t.Context(), "tcp", l.Addr().String())
		require.Error(t, err)
	})
}

// TestPortEndsWhatWaits: a connection that nobody accepts is closed with the port.
func TestPortEndsWhatWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := new(roomtest.Network)
		l, err := n.Listen("")
		require.NoError(t, err)
		p := newPort(l)
		client, err := n.Dial(t.Context(), "tcp", l.Addr().String())
		require.NoError(t, err)
		synctest.Wait()
		p.Close()
		_, err = client.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
	})
}
