//go:build unix

package sock

import (
	"io"
	"net"
	"syscall"
)

// Direct switches the direct path on. Tests set it, before there is any connection, to
// run without it.
var Direct = !portable

// rawOf returns nc's descriptor for direct use. That is allowed for exactly
// these types: a wrapper that embeds one has methods of its own, which must
// not be bypassed.
func rawOf(nc net.Conn) syscall.RawConn {
	if !Direct {
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

// NewWriter returns the Writer of nc, or nil if nc can be written to by its Write
// only. It may be used beside nc's methods, but for those that write.
func NewWriter(nc net.Conn) Writer {
	if rc := rawOf(nc); rc != nil {
		return rawConn{rc}
	}
	return nil
}

type rawConn struct{ rc syscall.RawConn }

// An Op is the memory of one system call at a time, which is kept because it cannot be
// on the stack. The zero Op is ready for use; it must not be copied after that.
type Op struct {
	b     []byte
	n     int
	errno error
	write func(fd uintptr) bool
}

func (o *Op) try(fd uintptr) bool {
	o.n, o.errno = sysWrite(int(fd), o.b)
	for o.errno == syscall.EINTR {
		o.n, o.errno = sysWrite(int(fd), o.b)
	}
	return true // never waits
}

func (c rawConn) TryWrite(o *Op, b []byte) (n int, again bool, err error) {
	if o.write == nil {
		o.write = o.try
	}
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
