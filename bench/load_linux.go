package main

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"
)

// A load is the load generator: connections to one server, driven by one
// thread with epoll. Receivers count bytes; a few of them are probes.
type load struct {
	size  int // of a line
	epfd  int
	peers []peer

	buf     []byte
	scratch []byte
	events  [64]syscall.EpollEvent // few, so that senders are not late
	start   time.Time

	sent     uint64           // messages, by all senders
	received int64            // bytes, by all receivers
	levels   *levels          // what the slowest receiver has; nil: nobody asks
	onLow    func(low uint64) // told when that grows; nil: nobody asks

	progress time.Duration // when bytes came last
	suspect  time.Duration // when a probe first found something; 0: not yet
}

// A peer is one connection.
type peer struct {
	fd       int
	receiver bool
	got      int64  // bytes
	level    uint64 // messages, its own included, that it has or needs not get
	own      uint64 // messages that it has sent
	probe    *probe // nil: it only counts

	out     []byte // what its socket has not taken yet
	waiting bool   // for its socket to take more
}

const (
	dialsInFlight = 100 // connections that the server has not counted as members
	sources       = 8   // addresses from which connections come, so that ports suffice
	probes        = 8

	// stallTimeout is how long nothing may arrive while something is under way.
	stallTimeout = 20 * time.Second
	// verdictDelay is how long a probe that found something looks on, so that
	// it can tell a loss from another order.
	verdictDelay = 200 * time.Millisecond
	pollTimeout  = 100 * time.Millisecond
)

// A loadConfig says which connections a load makes.
type loadConfig struct {
	size      int
	receivers int
	chat      bool // receivers send too; otherwise there is one sender beside them
}

// newLoad connects to p and returns when p counts all connections as members.
func newLoad(p *process, cfg loadConfig) (*load, error) {
	epfd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	l := &load{size: cfg.size, epfd: epfd, buf: make([]byte, 256<<10), start: time.Now()}
	if err := l.connect(p, cfg); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *load) connect(p *process, cfg loadConfig) error {
	addr, err := netip.ParseAddrPort(p.addr)
	if err != nil {
		return err
	}
	total, senders := cfg.receivers, cfg.receivers
	if !cfg.chat {
		total, senders = total+1, 1
	}
	if err := enoughDescriptors(total); err != nil {
		return err
	}
	first := total - cfg.receivers
	for i := range total {
		fd, err := dial(addr, i%sources)
		if err != nil {
			return fmt.Errorf("connection %d of %d: %w", i+1, total, err)
		}
		pr := peer{fd: fd, receiver: i >= first}
		if pr.receiver && isProbe(i-first, cfg.receivers) {
			pr.probe = newProbe(cfg.size, senders)
		}
		l.peers = append(l.peers, pr)
		if err := epollSet(l.epfd, syscall.EPOLL_CTL_ADD, fd, i, syscall.EPOLLIN); err != nil {
			return err
		}
		if n := i + 1; n%dialsInFlight == 0 || n == total {
			if err := p.awaitMembers(n); err != nil {
				return err
			}
		}
	}
	return nil
}

// enoughDescriptors says whether server and generator, which have the same
// limit, may each have so many connections. The runtime has raised the limit
// as far as it goes.
func enoughDescriptors(conns int) error {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return err
	}
	const others = 64
	if uint64(conns+others) > uint64(lim.Cur) {
		return fmt.Errorf("%d connections are more than the limit of %d descriptors allows: raise it (ulimit -n)", conns, lim.Cur)
	}
	return nil
}

// isProbe says whether receiver i of n is a probe: they are spread evenly.
func isProbe(i, n int) bool { return (i+1)*probes/n > i*probes/n }

func dial(addr netip.AddrPort, source int) (fd int, err error) {
	fd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			syscall.Close(fd)
		}
	}()
	const ipBindAddressNoPort = 24 // the port is chosen by connect, which knows the peer
	timeout := syscall.NsecToTimeval(int64(answerTimeout))
	if err := errors.Join(
		syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, ipBindAddressNoPort, 1),
		syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1),
		syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_SNDTIMEO, &timeout),
		// Ends with a reset, which leaves no port behind in TIME_WAIT.
		syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1}),
		syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(2 + source)}}),
		syscall.Connect(fd, &syscall.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())}),
		syscall.SetNonblock(fd, true),
	); err != nil {
		return 0, err
	}
	return fd, nil
}

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

// watchLevels keeps count from now on of what the slowest receiver has, while
// at most span messages are in flight.
func (l *load) watchLevels(span uint64) {
	l.levels = newLevels(l.receivers(), span)
}

// now is the time since the load was made, by which lines are stamped.
func (l *load) now() time.Duration { return time.Since(l.start) }

// inFlight is the number of messages that the slowest receiver lacks.
func (l *load) inFlight() uint64 { return l.sent - l.levels.low }

// send makes peer i send n messages, stamped with the time at.
func (l *load) send(i, n int, at time.Duration) error {
	p := &l.peers[i]
	l.scratch = l.scratch[:0]
	for range n {
		l.scratch = appendLine(l.scratch, l.size, i, p.own, int64(at))
		p.own++
	}
	l.sent += uint64(n)
	if p.receiver && l.levels != nil {
		l.raise(p)
	}
	return l.write(p, i, l.scratch)
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
		events := uint32(syscall.EPOLLIN)
		if want {
			events |= syscall.EPOLLOUT
		}
		return epollSet(l.epfd, syscall.EPOLL_CTL_MOD, p.fd, i, events)
	}
	return nil
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
	case errno != 0:
		return fmt.Errorf("connection %d was cut after %d bytes: %w", i, p.got, errno)
	case n == 0:
		return fmt.Errorf("connection %d was cut after %d bytes", i, p.got)
	case !p.receiver:
		return fmt.Errorf("the sender got %d bytes, %q first, although nobody else sends", n, l.buf[:min(n, l.size)])
	}
	p.got += int64(n)
	l.received += int64(n)
	if p.probe != nil {
		p.probe.feed(l.buf[:n], int64(l.now()))
		if l.suspect == 0 && p.probe.err() != nil {
			l.suspect = l.now()
		}
	}
	if l.levels == nil {
		return nil
	}
	if uint64(p.got)/uint64(l.size)+p.own > l.sent {
		return fmt.Errorf("connection %d got %d bytes, more than was sent", i, p.got)
	}
	l.raise(p)
	return nil
}

// raise brings the levels up to date with what p has.
func (l *load) raise(p *peer) {
	to := uint64(p.got)/uint64(l.size) + p.own
	if to == p.level {
		return
	}
	rose := l.levels.move(p.level, to)
	p.level = to
	if rose && l.onLow != nil {
		l.onLow(l.levels.low)
	}
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
	for l.inFlight() > 0 {
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
		if want := int64(l.sent-p.own) * int64(l.size); p.receiver && p.got != want {
			errs = append(errs, fmt.Errorf("connection %d has %d bytes of %d", i, p.got, want))
		}
	}
	return limitErrors(errs)
}

// latency is what the probes saw of the time from sending to receiving.
func (l *load) latency() *histogram {
	var h histogram
	for i := range l.peers {
		if pr := l.peers[i].probe; pr != nil {
			h.merge(&pr.latency)
		}
	}
	return &h
}

func (l *load) resetLatency() {
	for i := range l.peers {
		if pr := l.peers[i].probe; pr != nil {
			pr.latency = histogram{}
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
