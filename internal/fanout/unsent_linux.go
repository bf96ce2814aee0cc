package fanout

import (
	"net"
	"syscall"
	"unsafe"
)

// Unsent returns how many bytes the kernel holds that nc's peer has not
// acknowledged, looking through TLS; ok is false where that is not known.
func Unsent(nc net.Conn) (n int, ok bool) {
	if t, isTLS := nc.(interface{ NetConn() net.Conn }); isTLS {
		nc = t.NetConn()
	}
	tc, isTCP := nc.(*net.TCPConn)
	if !isTCP {
		return 0, false
	}
	rc, err := tc.SyscallConn()
	if err != nil {
		return 0, false
	}
	var v int32
	err = rc.Control(func(fd uintptr) {
		_, _, e := syscall.RawSyscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&v)))
		ok = e == 0
	})
	return int(v), ok && err == nil
}
