//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"syscall"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// A load is the load generator: connections to one server, driven by one
// thread with epoll. Receivers count bytes; a few of them are probes.
type load struct {
	speaks dialect
	size   int // of a line
	frame  int // of a delivery
	epfd   int
	peers  []peer

	buf     []byte
	plain   []byte // of TLS
	line    []byte
	scratch []byte
	events  [64]syscall.EpollEvent // few, so that senders are not late
	start   time.Time

	streams  []stream        // by room
	received int64           // bytes, by all receivers
	reads    int64           // by all receivers
	onLow    func(s *stream) // told when a room's slowest receiver has more; nil: nobody asks

	progress time.Duration // when bytes came last
	suspect  time.Duration // when a probe first found something; 0: not yet
}

// A peer is one connection.
type peer struct {
	fd       int
	member   membership
	room     int
	receiver bool
	got      int64  // bytes
	level    uint64 // messages, its own included, that it has or needs not get
	own      uint64 // messages that it has sent
	probe    *probe // nil: it only counts
	tls      *tlsLink

	out     []byte // what its socket has not taken yet
	waiting bool   // for its socket to take more
	stalled bool   // nobody waits for it
	paused  bool   // it does not read
	cut     bool   // by the server, while it was stalled
}

const (
	// stallTimeout is how long nothing may arrive while something is under way.
	stallTimeout = 20 * time.Second
	// verdictDelay is how long a probe that found something looks on, so that
	// it can tell a loss from another order.
	verdictDelay = 200 * time.Millisecond
	pollTimeout  = 100 * time.Millisecond
)

func (l *load) close() {
	for i := range l.peers {
		syscall.Close(l.peers[i].fd)
	}
	syscall.Close(l.epfd)
}

func (l *load) receivers() (n int) {
	for i := range l.peers {
		if l.peers[i].receiver {
			n++
		}
	}
	return n
}

// now is the time since the load was made, by which lines are stamped.
func (l *load) now() time.Duration { return time.Since(l.start) }

// send makes connection i send n messages to its room, stamped with the time at.
func (l *load) send(i, n int, at time.Duration) error {
	p := &l.peers[i]
	l.scratch = l.scratch[:0]
	for range n {
		l.line = appendLine(l.line[:0], l.size, i, p.own, int64(at))
		l.scratch = l.speaks.publish(l.scratch, p.room, l.line)
		p.own++
	}
	s := &l.streams[p.room]
	s.sent += uint64(n)
	if p.receiver && s.levels != nil {
		l.raise(p, s)
	}
	data := l.scratch
	if p.tls != nil {
		var err error
		if data, err = p.tls.seal(data); err != nil {
			return err
		}
	}
	return l.write(p, i, data)
}

func (l *load) write(p *peer, i int, data []byte) error {
	if len(p.out) > 0 {
		p.out = append(p.out, data...)
		return nil
	}
	n, errno := rawWrite(p.fd, data)
	switch {
	case errno == syscall.EAGAIN || errno == syscall.EINTR:
		n = 0
	case errno != 0:
		return fmt.Errorf("connection %d: write: %w", i, errno)
	}
	p.out = append(p.out, data[n:]...)
	return l.await(p, i)
}

func (l *load) flush(p *peer, i int) error {
	n, errno := rawWrite(p.fd, p.out)
	switch {
	case errno == syscall.EAGAIN || errno == syscall.EINTR:
		return nil
	case errno != 0:
		return fmt.Errorf("connection %d: write: %w", i, errno)
	}
	p.out = append(p.out[:0], p.out[n:]...)
	return l.await(p, i)
}

// await waits for p's socket to take more if, and only if, there is more.
func (l *load) await(p *peer, i int) error {
	if want := len(p.out) > 0; want != p.waiting {
		p.waiting = want
		return l.watch(p, i)
	}
	return nil
}

// watch tells the kernel what p waits for.
func (l *load) watch(p *peer, i int) error {
	var events uint32
	if !p.paused {
		events |= syscall.EPOLLIN
	}
	if p.waiting {
		events |= syscall.EPOLLOUT
	}
	return epollSet(l.epfd, syscall.EPOLL_CTL_MOD, p.fd, i, events)
}

// poll moves bytes once: it waits for at most timeout until some connection
// has something to read or can write.
func (l *load) poll(timeout time.Duration) error {
	n, errno := rawEpollWait(l.epfd, l.events[:], timeout)
	if errno != 0 && errno != syscall.EINTR {
		return fmt.Errorf("epoll_pwait2 (Linux 5.11 or later is needed): %w", errno)
	}
	before := l.received
	for e := range max(n, 0) {
		i, events := int(l.events[e].Fd), l.events[e].Events
		p := &l.peers[i]
		if events&syscall.EPOLLOUT != 0 && len(p.out) > 0 {
			if err := l.flush(p, i); err != nil {
				return err
			}
		}
		if events&^syscall.EPOLLOUT != 0 {
			if err := l.read(p, i); err != nil {
				return err
			}
		}
	}
	if l.received > before {
		l.progress = l.now()
	}
	if l.suspect > 0 && l.now()-l.suspect > verdictDelay {
		return l.verdict()
	}
	return nil
}

func (l *load) read(p *peer, i int) error {
	n, errno := rawRead(p.fd, l.buf)
	switch {
	case errno == syscall.EAGAIN || errno == syscall.EINTR:
		return nil
	case p.stalled && (errno != 0 || n == 0):
		p.cut = true
		return epollSet(l.epfd, syscall.EPOLL_CTL_DEL, p.fd, i, 0)
	case errno != 0:
		return fmt.Errorf("connection %d was cut after %d bytes: %w", i, p.got, errno)
	case n == 0:
		return fmt.Errorf("connection %d was cut after %d bytes", i, p.got)
	case !p.receiver:
		return fmt.Errorf("the sender got %d bytes, %q first, although nobody else sends", n, l.buf[:min(n, l.size)])
	}
	plain := l.buf[:n]
	if p.tls != nil {
		var err error
		if n, plain, err = p.tls.feed(plain, l.plainBuffer()); err != nil {
			return fmt.Errorf("connection %d after %d bytes: %w", i, p.got, err)
		}
	}
	if l.speaks.unwrap != nil {
		n = bytes.Count(plain, []byte("\n")) * l.size
	}
	return l.count(p, i, n, plain)
}

func (l *load) plainBuffer() []byte {
	if l.plain == nil {
		l.plain = make([]byte, 2*len(l.buf)) // more than can come out of what came in
	}
	return l.plain
}

// count takes note of n bytes; plain is what they are, for a probe.
func (l *load) count(p *peer, i, n int, plain []byte) error {
	p.got += int64(n)
	l.received += int64(n)
	l.reads++
	if p.probe != nil {
		p.probe.feed(plain, int64(l.now()))
		if l.suspect == 0 && p.probe.err() != nil {
			l.suspect = l.now()
		}
	}
	s := &l.streams[p.room]
	if s.levels == nil || p.stalled {
		return nil
	}
	if l.has(p) > s.sent {
		return fmt.Errorf("connection %d got %d bytes, more than was sent", i, p.got)
	}
	l.raise(p, s)
	return nil
}

// has is the number of messages that p has, or needs not get.
func (l *load) has(p *peer) uint64 {
	n := uint64(p.got) / uint64(l.frame)
	if !l.speaks.echo {
		n += p.own
	}
	return n
}

// raise brings the levels up to date with what p has.
func (l *load) raise(p *peer, s *stream) {
	to := l.has(p)
	if to == p.level {
		return
	}
	rose := s.levels.move(p.level, to)
	p.level = to
	if rose && l.onLow != nil {
		l.onLow(s)
	}
}

// want is the number of bytes that p should have in the end.
func (l *load) want(p *peer) int64 {
	n := l.streams[p.room].sent
	if !l.speaks.echo {
		n -= p.own
	}
	return int64(n) * int64(l.frame)
}

// stalled returns an error if something is under way and nothing has come for
// long.
func (l *load) stalled(since time.Duration) error {
	if l.now()-max(l.progress, since) < stallTimeout {
		return nil
	}
	return fmt.Errorf("nothing arrived for %v: %w", stallTimeout, l.complete())
}

// drain polls until all receivers have all messages, as long as they get
// something.
func (l *load) drain() error {
	since := l.now()
	for l.inFlight() {
		if err := l.poll(pollTimeout); err != nil {
			return err
		}
		if err := l.stalled(since); err != nil {
			return err
		}
	}
	return nil
}

// finish looks whether more comes than was sent, and whether every receiver
// and every probe has exactly what it should.
func (l *load) finish() error {
	for end := l.now() + 50*time.Millisecond; l.now() < end; {
		if err := l.poll(10 * time.Millisecond); err != nil {
			return err
		}
	}
	return errors.Join(l.verdict(), l.complete())
}

// verdict says what the probes found.
func (l *load) verdict() error {
	var errs []error
	for i := range l.peers {
		if pr := l.peers[i].probe; pr != nil && pr.err() != nil {
			errs = append(errs, fmt.Errorf("probe at connection %d: %w", i, pr.err()))
		}
	}
	return limitErrors(errs)
}

// complete says which receivers have other than the bytes that they should.
func (l *load) complete() error {
	var errs []error
	for i := range l.peers {
		p := &l.peers[i]
		if want := l.want(p); p.receiver && !p.stalled && !p.cut && p.got != want {
			errs = append(errs, fmt.Errorf("connection %d has %d bytes of %d", i, p.got, want))
		}
	}
	return limitErrors(errs)
}

// latency is what the probes saw of the time from sending to receiving.
func (l *load) latency() *hdr.Histogram {
	h := newHistogram()
	for i := range l.peers {
		if pr := l.peers[i].probe; pr != nil {
			h.Merge(pr.latency)
		}
	}
	return h
}

func (l *load) resetLatency() {
	for i := range l.peers {
		if pr := l.peers[i].probe; pr != nil {
			pr.latency.Reset()
		}
	}
}

func limitErrors(errs []error) error {
	const shown = 3
	if more := len(errs) - shown; more > 0 {
		errs = append(errs[:shown], fmt.Errorf("and %d more", more))
	}
	return errors.Join(errs...)
}
