package roomtest_test

import (
	"net"
	"os"
	"syscall"
	"testing"

	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// resetConn is a socket whose peer has reset it.
type resetConn struct{ net.Conn }

func (resetConn) Read([]byte) (int, error) {
	return 0, &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("wsarecv", syscall.WSAECONNRESET)}
}

func TestWrapKnowsResetsOfWindows(t *testing.T) {
	here, _ := roomtest.Pipe()
	c := roomtest.Wrap(resetConn{struct{ net.Conn }{here}})
	defer c.Close()
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
}
