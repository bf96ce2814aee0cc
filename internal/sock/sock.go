// Package sock reads from and writes to sockets with as little as possible between
// the caller and the kernel: no buffer while a socket is quiet, no goroutine for each
// socket that is only listened to, and one system call for each read and write.
//
// That direct path is for exactly *net.TCPConn and stream *net.UnixConn, on unix. A
// type that embeds one of them has methods of its own, which must not be bypassed; it
// is read by its Read, and [NewWriter] has no [Writer] for it.
//
// A callback of a syscall.RawConn makes one system call, and returns false, which waits
// for the next edge of readiness, only straight after EAGAIN.
package sock

// A Writer is a connection that can be written to without ever waiting.
type Writer interface {
	// TryWrite makes one attempt to write b, which is not empty and of which it keeps
	// nothing. again says that the connection would block; then n is 0. After any error
	// the connection is of no use. One goroutine at a time may write to a connection, and use o.
	TryWrite(o *Op, b []byte) (n int, again bool, err error)
}

// scrub is given all memory that is about to be used again, so that the tests
// can poison it.
var scrub = func([]byte) {}
