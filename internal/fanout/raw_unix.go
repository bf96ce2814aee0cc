//go:build unix

package fanout

import (
	"io"
	"net"
	"syscall"
)

// direct switches the direct path on; the tests also run without it.
var direct = !portable

// rawOf returns nc's descriptor for direct use. That is allowed for exactly
// these types: a wrapper that embeds one has methods of its own, which must
// not be bypassed.
func rawOf(nc net.Conn) syscall.RawConn {
	if !direct {
		return nil
	}
	switch nc := nc.(type) {
	case *net.TCPConn:
		if rc, err := nc.SyscallConn(); err == nil {
			return rc
		}
	case *net.UnixConn:
		if a := nc.LocalAddr(); a != nil && a.Network() == "unix" {
			if rc, err := nc.SyscallConn(); err == nil {
				return rc
			}
		}
	}
	return nil
}

func rawWriter(nc net.Conn) nonblocking {
	if rc := rawOf(nc); rc != nil {
		return rawConn{rc}
	}
	return nil
}

type rawConn struct{ rc syscall.RawConn }

// An op is one system call in a callback of a RawConn: the caller sets and
// resets the fields, the callback makes the call and nothing else.
type op struct {
	b     []byte
	n     int
	errno error
	write func(fd uintptr) bool
}

func (o *op) init() { o.write = o.tryWrite }

func (o *op) tryWrite(fd uintptr) bool {
	o.n, o.errno = sysWrite(int(fd), o.b)
	for o.errno == syscall.EINTR {
		o.n, o.errno = sysWrite(int(fd), o.b)
	}
	return true // never waits
}

func (c rawConn) tryWrite(o *op, b []byte) (n int, again bool, err error) {
	o.b, o.n, o.errno = b, 0, nil
	err = c.rc.Write(o.write)
	o.b = nil
	switch {
	case err != nil:
		return 0, false, err
	case o.errno == syscall.EAGAIN:
		return 0, true, nil
	case o.errno != nil:
		return 0, false, o.errno
	case o.n <= 0:
		return 0, false, io.ErrUnexpectedEOF
	}
	return o.n, false, nil
}
