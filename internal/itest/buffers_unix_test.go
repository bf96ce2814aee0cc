//go:build unix

package itest

import "syscall"

// smallBuffers keeps what the kernel takes for a client that does not read
// small. It is set before the connection is made, or the window is large already.
func smallBuffers(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, chaosBuffer)
	})
}
