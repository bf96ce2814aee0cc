package main

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"syscall"
)

// A relay is the practical limit: one thread and an epoll loop that writes what
// it reads from one connection to all others, one write each. It knows no
// messages, no order among readers, and no bound for readers that lag.
type relay struct {
	epfd, lfd int
	byFD      []*relayConn
	rooms     [][]*relayConn
	accepted  int
	count     int
	buf       []byte

	loseEvery int // of about so many lines, one is lost; 0: none
	lines     int
	last      []byte // line, which comes again in the place of one that is lost
}

type relayConn struct {
	fd      int
	room    int
	at      int    // in its room
	pending []byte // what its socket has not taken yet; it is waited for then
	failed  bool
}

var relayServer = &server{
	name:   "relay",
	about:  "the practical limit: one thread, epoll, system calls past Go's scheduler; writes each 64 KiB read to all others as it is",
	speaks: plainLines,
	serve:  func(c *control) error { return newRelay(c, 0).serve(c) },
}

// lossyServer is a relay that loses a line now and then, to see that the
// benchmark notices. Another line comes again in its place, so that the probes
// alone can: who counts bytes finds what it should.
var lossyServer = &server{
	name:    "lossy",
	about:   "a relay that loses a line now and then and sends another twice; it is there to fail",
	speaks:  plainLines,
	serve:   func(c *control) error { return newRelay(c, 37).serve(c) },
	special: true,
}

func newRelay(c *control, loseEvery int) *relay {
	return &relay{rooms: make([][]*relayConn, c.roomCount()), buf: make([]byte, 64<<10), loseEvery: loseEvery}
}

func (r *relay) serve(c *control) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	addr, err := r.listen()
	if err != nil {
		return err
	}
	c.members = func() int { return r.count }
	c.ready(addr)

	const in = 0 // standard input, beside the sockets
	if err := epollSet(r.epfd, syscall.EPOLL_CTL_ADD, in, in, syscall.EPOLLIN); err != nil {
		return err
	}
	events := make([]syscall.EpollEvent, 256)
	for {
		n, errno := rawEpollWait(r.epfd, events, -1)
		if errno != 0 && errno != syscall.EINTR {
			return fmt.Errorf("epoll_pwait2: %w", errno)
		}
		for i := range max(n, 0) {
			switch fd := int(events[i].Fd); fd {
			case in:
				err = r.answer(c)
			case r.lfd:
				err = r.accept(c)
			default:
				if m := r.byFD[fd]; m != nil {
					r.handle(m, events[i].Events)
				}
			}
			if err != nil {
				return err
			}
		}
	}
}

func (r *relay) listen() (addr string, err error) {
	r.lfd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	if err := syscall.Bind(r.lfd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return "", err
	}
	if err := syscall.Listen(r.lfd, 4096); err != nil {
		return "", err
	}
	sa, err := syscall.Getsockname(r.lfd)
	if err != nil {
		return "", err
	}
	if r.epfd, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return "", err
	}
	if err := epollSet(r.epfd, syscall.EPOLL_CTL_ADD, r.lfd, r.lfd, syscall.EPOLLIN); err != nil {
		return "", err
	}
	return fmt.Sprintf("127.0.0.1:%d", sa.(*syscall.SockaddrInet4).Port), nil
}

// answer answers the benchmark, which sends one whole question at a time.
func (r *relay) answer(c *control) error {
	var b [256]byte
	n, errno := rawRead(0, b[:])
	if errno != 0 {
		return errno
	}
	if n == 0 {
		return io.EOF
	}
	fmt.Println(c.answer(string(bytes.TrimSuffix(b[:n], []byte("\n")))))
	return nil
}

func (r *relay) accept(c *control) error {
	for {
		fd, _, err := syscall.Accept4(r.lfd, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		if err == syscall.EAGAIN || err == syscall.ECONNABORTED || err == syscall.EINTR {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1); err != nil {
			return err
		}
		if err := epollSet(r.epfd, syscall.EPOLL_CTL_ADD, fd, fd, syscall.EPOLLIN); err != nil {
			return err
		}
		m := &relayConn{fd: fd, room: c.roomOf(r.accepted)}
		m.at = len(r.rooms[m.room])
		r.rooms[m.room] = append(r.rooms[m.room], m)
		r.accepted++
		r.count++
		for fd >= len(r.byFD) {
			r.byFD = append(r.byFD, nil)
		}
		r.byFD[fd] = m
	}
}

func (r *relay) handle(m *relayConn, events uint32) {
	if events&syscall.EPOLLOUT != 0 {
		r.flush(m)
	}
	if events&^syscall.EPOLLOUT != 0 && !m.failed {
		n, errno := rawRead(m.fd, r.buf)
		switch {
		case errno == syscall.EAGAIN || errno == syscall.EINTR:
		case errno != 0 || n == 0:
			m.failed = true
		default:
			if r.loseEvery > 0 {
				r.lose(r.buf[:n])
			}
			r.broadcast(m, r.buf[:n])
		}
	}
	if m.failed {
		r.remove(m)
	}
}

func (r *relay) broadcast(from *relayConn, data []byte) {
	failed := false
	for _, m := range r.rooms[from.room] {
		if m != from {
			r.send(m, data)
			failed = failed || m.failed
		}
	}
	if failed {
		for i := len(r.rooms[from.room]) - 1; i >= 0; i-- { // remove moves the last one here
			if m := r.rooms[from.room][i]; m.failed && m != from {
				r.remove(m)
			}
		}
	}
}

func (r *relay) send(m *relayConn, data []byte) {
	if len(m.pending) > 0 {
		m.pending = append(m.pending, data...)
		return
	}
	n, errno := rawWrite(m.fd, data)
	switch {
	case errno == syscall.EAGAIN || errno == syscall.EINTR:
		n = 0
	case errno != 0:
		m.failed = true
		return
	}
	if n < len(data) {
		m.pending = append(m.pending, data[n:]...)
		m.failed = epollSet(r.epfd, syscall.EPOLL_CTL_MOD, m.fd, m.fd, syscall.EPOLLIN|syscall.EPOLLOUT) != nil
	}
}

func (r *relay) flush(m *relayConn) {
	n, errno := rawWrite(m.fd, m.pending)
	switch {
	case errno == syscall.EAGAIN || errno == syscall.EINTR:
		return
	case errno != 0:
		m.failed = true
		return
	}
	m.pending = append(m.pending[:0], m.pending[n:]...)
	if len(m.pending) == 0 {
		m.pending = nil
		m.failed = epollSet(r.epfd, syscall.EPOLL_CTL_MOD, m.fd, m.fd, syscall.EPOLLIN) != nil
	}
}

func (r *relay) remove(m *relayConn) {
	room := r.rooms[m.room]
	last := room[len(room)-1]
	room[m.at], last.at = last, m.at
	room[len(room)-1] = nil
	r.rooms[m.room] = room[:len(room)-1]
	r.count--
	r.byFD[m.fd] = nil
	syscall.Close(m.fd)
}

// lose puts the last line of an earlier read in the place of the first whole
// line of data, now and then.
func (r *relay) lose(data []byte) {
	whole := data[bytes.IndexByte(data, '\n')+1:] // the first may have begun earlier
	if len(data) == len(r.last) || len(r.last) == 0 {
		whole = data
	}
	end := bytes.LastIndexByte(whole, '\n') + 1
	if end == 0 {
		return
	}
	whole = whole[:end]
	last := bytes.Clone(whole[bytes.LastIndexByte(whole[:end-1], '\n')+1:])
	r.lines += bytes.Count(whole, []byte("\n"))
	if first := whole[:bytes.IndexByte(whole, '\n')+1]; r.lines >= r.loseEvery && len(first) == len(r.last) {
		copy(first, r.last)
		r.lines = 0
	}
	r.last = last
}
