package sock

import (
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestWriterNeverWaits: a Writer says that its socket would block, and goes on when
// the peer has read.
func TestWriterNeverWaits(t *testing.T) {
	if !Direct {
		t.Skip("there is no direct path")
	}
	for _, dial := range pairs()[:2] {
		t.Run(dial.name, func(t *testing.T) {
			here, there := dial.pair(t)
			w := NewWriter(here)
			var o Op
			b := make([]byte, 64<<10)
			for i := range b {
				b[i] = byte(i % 251)
			}
			sent := 0
			fill := func() {
				for {
					n, again, err := w.TryWrite(&o, b[sent%251:])
					require.NoError(t, err)
					require.Equal(t, n == 0, again)
					if again {
						return
					}
					sent += n
				}
			}
			fill()
			require.NotZero(t, sent)
			_, err := io.ReadFull(there, make([]byte, sent))
			require.NoError(t, err)
			before := sent
			fill()
			require.Greater(t, sent, before)
			got := make([]byte, sent-before)
			_, err = io.ReadFull(there, got)
			require.NoError(t, err)
			for i := range got {
				if got[i] != byte((before+i)%251) {
					t.Fatalf("byte %d is %d", before+i, got[i])
				}
			}
		})
	}
}

// TestWriterReportsTheEnd of its peer and of its own connection.
func TestWriterReportsTheEnd(t *testing.T) {
	if !Direct {
		t.Skip("there is no direct path")
	}
	here, there := tcpPair(t)
	w := NewWriter(here)
	var o Op
	there.SetLinger(0)
	there.Close()
	_, err := NewSource(here).Read(1) // the reset has arrived
	require.ErrorIs(t, err, syscall.ECONNRESET)
	_, _, err = w.TryWrite(&o, []byte("x"))
	require.ErrorIs(t, err, syscall.EPIPE)
	here.Close()
	_, _, err = w.TryWrite(&o, []byte("x"))
	require.ErrorIs(t, err, net.ErrClosed)
}

// beneath is a connection that says what it is made of, as one of TLS does.
type beneath struct{ net.Conn }

func (b beneath) NetConn() net.Conn { return b.Conn }

// TestUnsent: what the peer's kernel has no room for is not sent, and all is when the
// peer has read.
func TestUnsent(t *testing.T) {
	here, there := tcpPair(t)
	pipe, _ := net.Pipe()
	for _, nc := range []net.Conn{pipe, beneath{pipe}} {
		_, ok := Unsent(nc)
		require.False(t, ok)
		require.False(t, TellsUnsent(nc))
	}
	if runtime.GOOS != "linux" {
		require.False(t, TellsUnsent(here))
		return
	}
	require.NoError(t, there.SetReadBuffer(128<<10))
	const size = 1 << 20
	written := make(chan error, 1)
	go func() {
		_, err := here.Write(make([]byte, size))
		written <- err
	}()
	for _, nc := range []net.Conn{here, beneath{here}, beneath{beneath{here}}} {
		require.True(t, TellsUnsent(nc))
		for n := 0; n == 0; {
			var ok bool
			n, ok = Unsent(nc)
			require.True(t, ok)
		}
	}
	_, err := io.ReadFull(there, make([]byte, size))
	require.NoError(t, err)
	require.NoError(t, <-written)
	for n := 1; n > 0; {
		n, _ = Unsent(here)
	}
	here.Close()
	_, ok := Unsent(here)
	require.False(t, ok)
}
