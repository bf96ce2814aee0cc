//go:build unix

package sock

import (
	"io"
	"syscall"
)

// A rawReader reads from a socket. Its callbacks try the system call first and
// return false, which waits for the next edge of readability, only straight
// after EAGAIN.
type rawReader struct {
	rc       syscall.RawConn
	b        []byte
	s        *Source // whose callback may borrow a buffer, and gives it back before it waits
	limit    int
	n        int
	errno    error
	callback func(fd uintptr) bool
}

func newRawReader(rc syscall.RawConn) *rawReader {
	r := &rawReader{rc: rc}
	r.callback = r.try
	return r
}

func (r *rawReader) try(fd uintptr) bool {
	b := r.b
	if r.s != nil {
		b = r.s.borrow(r.limit)
	}
	r.n, r.errno = sysRead(int(fd), b)
	for r.errno == syscall.EINTR {
		r.n, r.errno = sysRead(int(fd), b)
	}
	if r.errno != syscall.EAGAIN {
		return true
	}
	if r.s != nil {
		r.s.giveBack()
	}
	return false
}

// read waits for bytes and reads them into b.
func (r *rawReader) read(b []byte) (int, error) {
	r.b, r.s = b, nil
	defer func() { r.b = nil }()
	return r.do()
}

// readBorrowed waits for bytes and reads them into a buffer that s borrows.
func (r *rawReader) readBorrowed(s *Source, limit int) (int, error) {
	r.s, r.limit = s, limit
	n, err := r.do()
	if r.s = nil; n <= 0 {
		s.giveBack()
	}
	return n, err
}

func (r *rawReader) do() (int, error) {
	r.n, r.errno = 0, nil
	if err := r.rc.Read(r.callback); err != nil {
		return 0, err
	}
	switch {
	case r.errno != nil:
		return 0, r.errno
	case r.n <= 0:
		return 0, io.EOF
	}
	return r.n, nil
}
