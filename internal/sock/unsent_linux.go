package sock

import (
	"net"
	"syscall"
	"unsafe"
)

// Unsent returns how many bytes the kernel holds that nc's peer has not
// acknowledged, looking through TLS; ok is false if that is not known. It
// does not block, and may be called at any time.
func Unsent(nc net.Conn) (n int, ok bool) {
	tc := socketOf(nc)
	if tc == nil {
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

// socketOf returns the TCP socket of nc, or of what is beneath its TLS, or nil.
func socketOf(nc net.Conn) *net.TCPConn {
	for { // TLS, and what may lie between it and the socket
		t, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		nc = t.NetConn()
	}
	tc, _ := nc.(*net.TCPConn)
	return tc
}

// TellsUnsent reports whether Unsent knows that of nc.
func TellsUnsent(nc net.Conn) bool { return socketOf(nc) != nil }
