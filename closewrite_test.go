package tcproom_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// CloseWrite ends one half: what the room says after it still arrives, however
// slowly it is read, and then the end of the stream.
func TestCloseWrite(t *testing.T) {
	const n = 1000
	l := listen(t, "tcp")
	defer l.Close()
	heard := make(chan []byte, 1)
	go func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		b := make([]byte, 100)
		got := 0
		for {
			k, err := nc.Read(b[got:])
			if got += k; err != nil {
				break
			}
		}
		heard <- b[:got]
		for i := range n {
			fmt.Fprintf(nc, "*: line %d\n", i)
		}
	}()
	c := dial(t, l.Addr().String())
	require.NoError(t, c.Send(testContext(t), []byte("hi")))
	require.NoError(t, c.CloseWrite(testContext(t)))
	require.ErrorIs(t, c.Send(testContext(t), []byte("more")), net.ErrClosed)
	require.Equal(t, "hi\n", string(<-heard))
	got := 0
	for ev, err := range c.Events(testContext(t)) {
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("line %d", got), string(ev.Body))
		got++
	}
	require.Equal(t, n, got)
	require.NoError(t, c.Close())
	require.Error(t, c.CloseWrite(context.Background()))
}

func TestCloseWriteWithoutHalves(t *testing.T) {
	c := join(t, tcproom.New())
	require.ErrorIs(t, c.CloseWrite(testContext(t)), errors.ErrUnsupported)
}
