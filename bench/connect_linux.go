package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"
)

const (
	// greetingsInFlight is how many connections wait for the answer to their
	// hello at most; some servers let no more than a hundred wait.
	greetingsInFlight = 100
	// uncountedInFlight is how many connections a server that says nothing may
	// not have counted yet: few questions disturb it little.
	uncountedInFlight = 2000
	sources           = 8 // addresses from which connections come, so that ports suffice
	probes            = 8
)

// A loadConfig says which connections a load makes.
type loadConfig struct {
	size      int
	receivers int
	chat      bool // receivers send too; otherwise there is one sender beside them
	rooms     int  // each with so many receivers; 0: one
	tls       bool
	inFlight  int // messages that a server may have to keep for one receiver
}

func (c loadConfig) roomCount() int { return max(c.rooms, 1) }

// perRoom is the number of connections to a room.
func (c loadConfig) perRoom() int {
	if c.chat {
		return c.receivers
	}
	return c.receivers + 1
}

func (c loadConfig) total() int { return c.roomCount() * c.perRoom() }

// membership says what connection i is for: rooms are filled one after another,
// each by its sender first.
func (c loadConfig) membership(i int) membership {
	first := i%c.perRoom() == 0
	return membership{conn: i, room: i / c.perRoom(), receives: c.chat || !first, sends: c.chat || first}
}

// newLoad connects to p and returns when p counts all connections as members.
func newLoad(p *process, cfg loadConfig) (*load, error) {
	epfd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	l := &load{
		speaks: p.speaks, size: cfg.size, epfd: epfd, buf: make([]byte, 256<<10), start: time.Now(),
		streams: make([]stream, cfg.roomCount()),
	}
	l.frame = p.speaks.frame(cfg.size)
	if err := l.connect(p, cfg); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *load) connect(p *process, cfg loadConfig) error {
	addrs, err := p.addrs()
	if err != nil {
		return err
	}
	total := cfg.total()
	if err := enoughDescriptors(total); err != nil {
		return err
	}
	uncounted, err := acceptQueue()
	if err != nil {
		return err
	}
	l.peers = make([]peer, 0, total)
	greeted := 0
	for i := range total {
		if err := l.open(addrs[i%len(addrs)], cfg, cfg.membership(i)); err != nil {
			return fmt.Errorf("connection %d of %d: %w", i+1, total, err)
		}
		if l.speaks.greeted == nil && i%(uncounted/2) == 0 {
			if err := p.awaitMembers(i - uncounted/2); err != nil {
				return err
			}
		}
		for ; l.speaks.greeted != nil && i-greeted > greetingsInFlight; greeted++ {
			if err := l.awaitGreeting(greeted); err != nil {
				return fmt.Errorf("connection %d of %d: %w", greeted+1, total, err)
			}
		}
	}
	for ; greeted < total; greeted++ {
		if err := l.awaitGreeting(greeted); err != nil {
			return fmt.Errorf("connection %d of %d: %w", greeted+1, total, err)
		}
	}
	return p.awaitMembers(total)
}

// acceptQueue returns how many connections may wait to be accepted.
func acceptQueue() (int, error) {
	b, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(b)))
	return max(min(n*3/4, uncountedInFlight), 2), err
}

// open makes a connection, says hello and files it.
func (l *load) open(addr netip.AddrPort, cfg loadConfig, m membership) error {
	fd, err := dial(addr, m.conn%sources)
	if err != nil {
		return err
	}
	s := &l.streams[m.room]
	pr := peer{fd: fd, room: m.room, receiver: m.receives, member: m}
	if m.sends {
		s.senders = append(s.senders, m.conn)
	}
	if m.receives {
		if l.probing(cfg, m.room, s.receivers) {
			before, after := l.speaks.around(m.room, l.size)
			pr.probe = newProbe(l.size, cfg.total(), before, after)
			pr.probe.unwrap = l.speaks.unwrap
			if l.speaks.bare {
				pr.probe.expectBare()
			}
		}
		s.receivers++
	}
	l.peers = append(l.peers, pr)
	p := &l.peers[len(l.peers)-1]
	if cfg.tls {
		if p.tls, err = newTLSLink(fd, m.receives && p.probe == nil); err != nil {
			return fmt.Errorf("TLS: %w", err)
		}
	}
	if l.speaks.hello != nil {
		hello := l.speaks.hello(nil, m)
		if p.tls != nil {
			if hello, err = p.tls.seal(hello); err != nil {
				return err
			}
		}
		if err := writeAll(fd, hello); err != nil {
			return fmt.Errorf("say hello: %w", err)
		}
	}
	return nil
}

// probing says whether a room's receiver i is a probe: they are spread evenly,
// over the room or, one in each, over some rooms.
func (l *load) probing(cfg loadConfig, room, i int) bool {
	if n := len(l.streams); n >= probes {
		return i == 0 && isProbe(room, n)
	}
	return isProbe(i, cfg.receivers)
}

// isProbe says whether receiver i of n is a probe: they are spread evenly.
func isProbe(i, n int) bool { return (i+1)*probes/n > i*probes/n }

// awaitGreeting reads until the server has answered connection i's hello, and
// hands it over to poll.
func (l *load) awaitGreeting(i int) error {
	p := &l.peers[i]
	var reply []byte
	for l.speaks.greeted != nil {
		if ok, err := l.speaks.greeted(reply, p.member); err != nil {
			return err
		} else if ok {
			break
		}
		n, errno := rawRead(p.fd, l.buf)
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 {
			return fmt.Errorf("greeting: %w after %q", errno, reply)
		}
		if n == 0 {
			return fmt.Errorf("greeting: the connection was cut after %q", reply)
		}
		data := l.buf[:n]
		if p.tls != nil {
			var err error
			if data, err = p.tls.greeting(data); err != nil {
				return fmt.Errorf("greeting: %w", err)
			}
		}
		reply = append(reply, data...)
	}
	if err := syscall.SetNonblock(p.fd, true); err != nil {
		return err
	}
	return epollSet(l.epfd, syscall.EPOLL_CTL_ADD, p.fd, i, syscall.EPOLLIN)
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

// dial returns a socket that blocks, for at most answerTimeout.
func dial(addr netip.AddrPort, source int) (fd int, err error) {
	fd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	const ipBindAddressNoPort = 24 // the port is chosen by connect, which knows the peer
	timeout := syscall.NsecToTimeval(int64(answerTimeout))
	err = errors.Join(
		syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, ipBindAddressNoPort, 1),
		syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1),
		syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_SNDTIMEO, &timeout),
		syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &timeout),
		// Ends with a reset, which leaves no port behind in TIME_WAIT.
		syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1}),
		syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(2 + source)}}),
	)
	if err == nil {
		err = syscall.Connect(fd, &syscall.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())})
	}
	if err != nil {
		syscall.Close(fd)
		return 0, err
	}
	return fd, nil
}
