package roomtest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

func mustAccept(t testing.TB, l net.Listener) *roomtest.Conn {
	t.Helper()
	nc, err := l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	return nc.(*roomtest.Conn)
}

func TestNetworkConnects(t *testing.T) {
	tests := []struct{ name, listen, dial, addr string }{
		{name: "name", listen: "chat.example:9000", dial: "chat.example:9000", addr: "198.18.0.1:9000"},
		{name: "its address", listen: "chat.example:9000", dial: "198.18.0.1:9000", addr: "198.18.0.1:9000"},
		{name: "any host", listen: ":9000", dial: "other.example:9000", addr: "127.0.0.1:9000"},
		{name: "unspecified", listen: "0.0.0.0:9000", dial: "10.0.0.1:9000", addr: "127.0.0.1:9000"},
		{name: "localhost", listen: "localhost:9000", dial: "127.0.0.1:9000", addr: "127.0.0.1:9000"},
		{name: "6", listen: "[::1]:9000", dial: "[::1]:9000", addr: "[::1]:9000"},
		{name: "free port", listen: "", dial: "", addr: ""},
		{name: "free port of a host", listen: "10.0.0.1:0", dial: "", addr: ""},
		{name: "free port without a number", listen: "10.0.0.1:", dial: "", addr: ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var n roomtest.Network
				l := mustListen(t, &n, tt.listen)
				if tt.addr != "" {
					require.Equal(t, tt.addr, l.Addr().String())
				}
				if tt.dial == "" {
					tt.dial = l.Addr().String()
				}
				a := mustDial(t, &n, tt.dial)
				mustWrite(t, a, "hi") // before it was accepted
				b := mustAccept(t, l)
				mustRead(t, b, "hi")
				require.Equal(t, a.LocalAddr(), b.RemoteAddr())
				require.Equal(t, "127.0.0.1", b.RemoteAddr().(*net.TCPAddr).IP.String())
				require.Equal(t, a.RemoteAddr(), b.LocalAddr())
			})
		})
	}
}

func TestNetworkDialFrom(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var n roomtest.Network
		l := mustListen(t, &n, ":1")
		a, err := n.DialFrom(t.Context(), "10.0.0.7", "room:1")
		require.NoError(t, err)
		b := mustAccept(t, l)
		require.Equal(t, "10.0.0.7", b.RemoteAddr().(*net.TCPAddr).IP.String())
		c, err := n.DialFrom(t.Context(), "10.0.0.7", "room:1")
		require.NoError(t, err)
		require.NotEqual(t, a.LocalAddr(), c.LocalAddr())
		_, err = n.DialFrom(t.Context(), "ada", "room:1")
		require.ErrorContains(t, err, `"ada"`)
	})
}

func TestNetworkErrors(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var n roomtest.Network
		dial := func(network, addr string) error {
			nc, err := n.Dial(t.Context(), network, addr)
			require.Nil(t, nc)
			require.ErrorAs(t, err, new(*net.OpError))
			return err
		}
		require.ErrorIs(t, dial("tcp", "room:1"), syscall.ECONNREFUSED)
		require.ErrorAs(t, dial("udp", "room:1"), new(net.UnknownNetworkError))
		require.ErrorAs(t, dial("tcp", "room"), new(*net.AddrError))
		require.ErrorAs(t, dial("tcp", "room:70000"), new(*net.AddrError))
		_, err := n.Listen("room:x")
		require.ErrorAs(t, err, new(*net.AddrError))

		l := mustListen(t, &n, "room:1")
		_, err = n.Listen("room:1")
		require.ErrorIs(t, err, syscall.EADDRINUSE)
		mustListen(t, &n, "room:2")
		mustListen(t, &n, "hall:1")
		require.NoError(t, l.Close())
		require.ErrorIs(t, dial("tcp", "room:1"), syscall.ECONNREFUSED)
		mustListen(t, &n, "room:1")
		require.ErrorIs(t, l.Close(), net.ErrClosed) // and leaves the new one alone
		mustDial(t, &n, "room:1")
	})
}

func TestNetworkFreePorts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var n roomtest.Network
		taken := make(map[string]bool)
		mustListen(t, &n, ":32769")
		for range 40000 - 32768 {
			l, err := n.Listen("")
			require.NoError(t, err)
			require.False(t, taken[l.Addr().String()])
			taken[l.Addr().String()] = true
		}
	})
}

func TestNetworkDialWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var n roomtest.Network
		l := mustListen(t, &n, "room:1")
		for range 128 {
			mustDial(t, &n, "room:1")
		}
		clock := startClock()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := n.Dial(ctx, "tcp", "room:1")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		clock.shows(t, time.Second)

		dial := func() error { _, err := n.Dial(t.Context(), "tcp", "room:1"); return err }
		dialled := later(dial)
		blocked(t, dialled)
		mustAccept(t, l)
		require.NoError(t, <-dialled)
		dialled = later(dial)
		blocked(t, dialled)
		l.Close()
		require.ErrorIs(t, <-dialled, syscall.ECONNREFUSED)
	})
}

func TestListenerClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var n roomtest.Network
		l := mustListen(t, &n, "room:1")
		accepting := later(func() error { _, err := l.Accept(); return err })
		blocked(t, accepting)
		require.NoError(t, l.Close())
		require.ErrorIs(t, <-accepting, net.ErrClosed)

		l = mustListen(t, &n, "room:1")
		accepted := mustDial(t, &n, "room:1")
		waiting := mustDial(t, &n, "room:1")
		far := mustAccept(t, l)
		require.NoError(t, l.Close())
		require.ErrorIs(t, readErr(waiting), syscall.ECONNRESET)
		mustWrite(t, accepted, "x")
		mustRead(t, far, "x")
	})
}

// listeners are a Listener of each kind, and how to dial it.
func listeners(t *testing.T, test func(t *testing.T, l *roomtest.Listener, dial func() (net.Conn, error))) {
	t.Run("memory", func(t *testing.T) {
		var n roomtest.Network
		l := mustListen(t, &n, "")
		test(t, l, func() (net.Conn, error) { return n.Dial(t.Context(), "tcp", l.Addr().String()) })
	})
	t.Run("wrapped", func(t *testing.T) {
		inner, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		l := roomtest.WrapListener(inner)
		t.Cleanup(func() { l.Close() })
		test(t, l, func() (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) })
	})
}

func TestListenerFailAccept(t *testing.T) {
	listeners(t, func(t *testing.T, l *roomtest.Listener, dial func() (net.Conn, error)) {
		accept := func() error {
			nc, err := l.Accept()
			if err == nil {
				nc.Close()
			}
			return err
		}
		l.FailAccept(syscall.EMFILE, 2)
		nc, err := dial()
		require.NoError(t, err)
		defer nc.Close()
		for range 2 {
			err := accept()
			require.ErrorIs(t, err, syscall.EMFILE)
			require.ErrorAs(t, err, new(*net.OpError))
		}
		c := mustAccept(t, l)
		mustWrite(t, nc, "x")
		mustRead(t, c, "x")

		// One that waits already.
		sentinel := errors.New("out of luck")
		accepting := later(accept)
		l.FailAccept(sentinel, 1)
		nc, err = dial()
		require.NoError(t, err)
		defer nc.Close()
		require.ErrorIs(t, <-accepting, sentinel)
		c = mustAccept(t, l)
		mustWrite(t, nc, "x")
		mustRead(t, c, "x")

		l.FailAccept(sentinel, 5)
		l.FailAccept(nil, 0)
		accepting = later(accept)
		nc, err = dial()
		require.NoError(t, err)
		defer nc.Close()
		require.NoError(t, <-accepting)
	})
}

func TestListenerRefuse(t *testing.T) {
	listeners(t, func(t *testing.T, l *roomtest.Listener, dial func() (net.Conn, error)) {
		l.Refuse(true)
		accepting := later(func() net.Conn { nc, _ := l.Accept(); return nc })
		nc, err := dial()
		if err == nil { // accepted by the kernel
			defer nc.Close()
			err = readErr(nc)
		}
		if !errors.Is(err, syscall.ECONNREFUSED) { // how the kernel has it
			require.True(t, roomtest.IsReset(err), "%v", err)
		}
		l.Refuse(false)
		nc, err = dial()
		require.NoError(t, err)
		defer nc.Close()
		c := <-accepting
		require.NotNil(t, c)
		defer c.Close()
		mustWrite(t, nc, "x")
		mustRead(t, c, "x")
	})
}

func TestListenerOnAccept(t *testing.T) {
	listeners(t, func(t *testing.T, l *roomtest.Listener, dial func() (net.Conn, error)) {
		var got *roomtest.Conn
		l.OnAccept(func(c *roomtest.Conn) { got = c; c.In(roomtest.CutAfter(1)) })
		nc, err := dial()
		require.NoError(t, err)
		defer nc.Close()
		mustWrite(t, nc, "xy")
		c := mustAccept(t, l)
		require.Same(t, got, c)
		mustRead(t, c, "x")
		require.Equal(t, io.EOF, readErr(c))
		l.OnAccept(nil)
		nc, err = dial()
		require.NoError(t, err)
		defer nc.Close()
		mustAccept(t, l)
		require.Same(t, got, c)
	})
}

func TestListenerCloseResetsWaiting(t *testing.T) {
	listeners(t, func(t *testing.T, l *roomtest.Listener, dial func() (net.Conn, error)) {
		l.FailAccept(os.ErrInvalid, 1)
		accepting := later(func() error { _, err := l.Accept(); return err })
		nc, err := dial()
		require.NoError(t, err)
		defer nc.Close()
		require.ErrorIs(t, <-accepting, os.ErrInvalid)
		require.NoError(t, l.Close())
		require.True(t, roomtest.IsReset(readErr(nc)))
		_, err = l.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
		require.ErrorIs(t, l.Close(), net.ErrClosed)
	})
}
