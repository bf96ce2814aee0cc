//go:build linux

package main

import (
	"fmt"
	"net/netip"
	"strconv"
	"syscall"
	"time"
)

// The works of this file are about named rooms, and this library alone.

func only(s *server) func(*server) bool { return func(o *server) bool { return o == s } }

var inRoomsWork = &work{
	name:    "inrooms",
	title:   "In several rooms",
	about:   "Flood of lines of 64 bytes in one room of a hub, by JSON; the connections are in no other, or in ten.",
	counted: "receivers",
	full:    []int{1000},
	quick:   []int{100},
	takes:   func(s *server) bool { return s == tcproomIn1Server || s == tcproomIn10Server },
	columns: floodColumns,
	measure: func(r *runner, s step) (outcome, error) {
		return r.flood(s, loadConfig{size: r.lineSize(smallLine), receivers: s.size})
	},
}

var besideWork = &work{
	name:    "beside",
	title:   "A room beside quiet ones",
	about:   "A room of 10 in which one line of 64 bytes at a time is in flight, beside rooms with one member each that does nothing.",
	counted: "quiet rooms",
	full:    []int{1, 10_000},
	quick:   []int{1, 1000},
	fixed:   true,
	takes:   only(tcproomHubServer),
	columns: floodColumns,
	measure: func(r *runner, s step) (outcome, error) {
		f := flood{window: 1, duration: r.duration}
		cfg := loadConfig{size: r.lineSize(smallLine), receivers: 10, inFlight: f.window}
		return r.session(s.server, cfg, func(ses *session) (metrics, error) {
			answer, err := ses.server.ask("quiet " + strconv.Itoa(s.size))
			if err == nil && answer != "ok" {
				err = fmt.Errorf("quiet rooms: %s", answer)
			}
			if err != nil {
				return nil, err
			}
			return f.measure(ses)
		})
	},
}

const (
	floodedP99 = "beside_flood_p99_ms"
	aloneP99   = "alone_p99_ms"
	mixedRatio = "beside_flood_by_alone_p99"
	floodedP50 = "beside_flood_p50_ms"
	aloneP50   = "alone_p50_ms"
)

var mixedWork = &work{
	name:    "mixed",
	title:   "A small room beside a flood",
	about:   "A room of 10, to which 200 lines of 64 bytes a second are sent; the time until the last has one, while another room of the process is quiet, and while it is flooded; two rooms of a hub, and two by themselves.",
	counted: "receivers of the flood",
	full:    []int{10_000},
	quick:   []int{1000},
	fixed:   true,
	takes:   func(s *server) bool { return s == tcproomHubServer || s == tcproomServer },
	columns: []column{
		{title: "p99 beside the flood, ms", metric: floodedP99, format: digits(2), spread: true},
		{title: "p99 alone, ms", metric: aloneP99, format: digits(2), spread: true},
		{title: "the one by the other", metric: mixedRatio, format: digits(2), spread: true},
		value("median beside the flood, ms", floodedP50, digits(2)),
		value("median alone, ms", aloneP50, digits(2)),
	},
	measure: func(r *runner, s step) (outcome, error) {
		w := mixed{
			flood: flood{window: r.window},
			paced: paced{rate: 200, duration: r.shorter(3*time.Second, 500*time.Millisecond), patience: 4 * time.Second},
		}
		m, err := w.measure(r, s)
		return outcome{metrics: m}, err
	},
}

// mixed is the work of two rooms, of which one is small.
type mixed struct {
	flood flood
	paced paced
}

func (w mixed) measure(r *runner, s step) (metrics, error) {
	large := loadConfig{size: r.lineSize(smallLine), receivers: s.size}
	both := large
	both.rooms, both.inFlight = 2, w.flood.window
	p, err := startServer(s.server.name, r.server, both)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	big, err := newLoad(p, large)
	if err != nil {
		return nil, err
	}
	defer big.close()
	small, err := newLoad(p, loadConfig{size: large.size, receivers: 10})
	if err != nil {
		return nil, err
	}
	defer small.close()
	if err := p.awaitMembers(len(big.peers) + len(small.peers)); err != nil {
		return nil, err
	}
	big.watchLevels(uint64(w.flood.window))
	if err := w.flood.warmUp(big, 500*time.Millisecond); err != nil {
		return nil, err
	}
	m := metrics{}
	w.paced.beside = func() error { return big.poll(0) }
	got, err := w.paced.run(small)
	if err != nil {
		return nil, err
	}
	m[aloneP99], m[aloneP50] = quantileMs(got.last, 0.99), quantileMs(got.last, 0.5)
	w.paced.beside = func() error { return w.flood.step(big, 0) }
	if got, err = w.paced.run(small); err != nil {
		return nil, err
	}
	m[floodedP99], m[floodedP50] = quantileMs(got.last, 0.99), quantileMs(got.last, 0.5)
	m[mixedRatio] = m[floodedP99] / m[aloneP99]
	if err := big.drain(); err != nil {
		return m, err
	}
	if err := big.finish(); err != nil {
		return m, err
	}
	return m, small.finish()
}

const (
	membershipBytes = "heap_per_further_membership"
	quietRoomBytes  = "heap_per_quiet_room"
	roomGoroutines  = "goroutines_per_quiet_room"
	roomDescriptors = "descriptors_per_quiet_room"
)

var quietRoomsWork = &work{
	name:    "quietrooms",
	title:   "Quiet rooms",
	about:   "Connections of a hub enter one room, and then each one of its own: bytes of heap of a membership, and what a room with one member takes beside that.",
	counted: "rooms",
	full:    []int{2000},
	quick:   []int{500},
	fixed:   true,
	most:    1,
	takes:   only(tcproomHubServer),
	columns: []column{
		value("bytes of a room", quietRoomBytes, digits(0)),
		value("of a membership", membershipBytes, digits(0)),
		value("goroutines of a room", roomGoroutines, digits(3)),
		value("descriptors", roomDescriptors, digits(3)),
	},
	measure: func(r *runner, s step) (outcome, error) {
		var got hubMemory
		err := r.ask(s, "quietrooms", &got)
		return outcome{metrics: metrics{
			quietRoomBytes: got.Room, membershipBytes: got.Membership, roomGoroutines: got.Goroutines, roomDescriptors: got.Descriptors,
		}}, err
	},
}

const (
	cpuPerMove  = "cpu_us_per_move"
	cpuPerLeave = "cpu_us_per_leave_and_enter"
	moveRatio   = "move_by_leave_and_enter"
)

var moveWork = &work{
	name:    "move",
	title:   "Moving",
	about:   "A connection goes from one room of ten to another, by a move, and by a leave and an enter; nobody is notified.",
	counted: "moves",
	full:    []int{20_000},
	quick:   []int{2000},
	fixed:   true,
	takes:   only(tcproomHubServer),
	columns: []column{
		{title: "CPU, µs a move", metric: cpuPerMove, format: digits(2), spread: true},
		{title: "a leave and an enter", metric: cpuPerLeave, format: digits(2), spread: true},
		{title: "the one by the other", metric: moveRatio, format: digits(2), spread: true},
	},
	measure: func(r *runner, s step) (outcome, error) {
		var got hubMoves
		err := r.ask(s, "moves", &got)
		return outcome{metrics: metrics{cpuPerMove: got.Move, cpuPerLeave: got.LeaveAndEnter, moveRatio: got.Move / got.LeaveAndEnter}}, err
	},
}

// ask starts a server that has no connections, and has it measure something of itself.
func (r *runner) ask(s step, what string, answer any) error {
	p, err := startServer(s.server.name, r.server, loadConfig{})
	if err != nil {
		return err
	}
	defer p.stop()
	return p.askJSON(what+" "+strconv.Itoa(s.size), answer)
}

var noticesWork = &work{
	name:    "notices",
	title:   "Joins into a quiet room",
	about:   "100 connections a second join a room of so many, all of whom are notified; server CPU per join.",
	counted: "members",
	full:    []int{1000},
	quick:   []int{200},
	fixed:   true,
	takes:   func(s *server) bool { return s == tcproomNoticesServer || s == tcproomTogetherServer },
	columns: []column{
		{title: "server CPU, µs a join", metric: cpuPerJoin, format: digits(0), spread: true},
		value("server busy", serverBusy, percent),
		value("bytes a member", noticeBytes, digits(0)),
	},
	measure: func(r *runner, s step) (outcome, error) {
		w := notices{rate: 100, duration: r.shorter(3*time.Second, time.Second)}
		m, err := w.measure(s.server.name, r.server, s.size)
		return outcome{metrics: m}, err
	},
}

const noticeBytes = "notice_bytes_per_member"

// notices is the work in which members only come.
type notices struct {
	rate     int
	duration time.Duration
}

func (w notices) measure(server string, cpus []int, members int) (metrics, error) {
	p, err := startServer(server, cpus, loadConfig{})
	if err != nil {
		return nil, err
	}
	defer p.stop()
	c, err := newCrowd(p)
	if err != nil {
		return nil, err
	}
	defer c.close()
	for i := range members {
		if err := c.join(); err != nil {
			return nil, err
		}
		if i%100 == 99 {
			if err := p.awaitMembers(i + 1); err != nil {
				return nil, err
			}
			if err := c.read(0); err != nil {
				return nil, err
			}
		}
	}
	if err := p.awaitMembers(members); err != nil {
		return nil, err
	}
	if err := c.read(time.Second); err != nil {
		return nil, err
	}
	s := &session{server: p, load: &load{start: time.Now(), frame: 1}}
	c.bytes = 0
	from, err := s.read()
	if err != nil {
		return nil, err
	}
	joins := int(w.duration * time.Duration(w.rate) / time.Second)
	start := time.Now()
	for i := range joins {
		due := start.Add(time.Duration(i) * time.Second / time.Duration(w.rate))
		if err := c.read(time.Until(due)); err != nil {
			return nil, err
		}
		if err := c.join(); err != nil {
			return nil, err
		}
	}
	if err := p.awaitMembers(members + joins); err != nil {
		return nil, err
	}
	if err := c.read(500 * time.Millisecond); err != nil { // what waits is told
		return nil, err
	}
	m, err := s.since(from)
	if err != nil {
		return nil, err
	}
	least := int64(joins) * int64(members) * int64(len("* x joined\n"))
	if c.bytes < least {
		return nil, fmt.Errorf("members were sent %d bytes for %d joins, fewer than %d", c.bytes, joins, least)
	}
	return metrics{
		cpuPerJoin:  m[serverBusy] * m[seconds] * 1e6 / float64(joins),
		serverBusy:  m[serverBusy],
		noticeBytes: float64(c.bytes) / float64(members),
	}, nil
}

// A crowd is connections that read, and of what they read the bytes are counted.
type crowd struct {
	addrs  []netip.AddrPort
	epfd   int
	fds    []int
	buf    []byte
	events [64]syscall.EpollEvent
	bytes  int64
}

func newCrowd(p *process) (*crowd, error) {
	addrs, err := p.addrs()
	if err != nil {
		return nil, err
	}
	epfd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	return &crowd{addrs: addrs, epfd: epfd, buf: make([]byte, 64<<10)}, err
}

func (c *crowd) close() {
	for _, fd := range c.fds {
		syscall.Close(fd)
	}
	syscall.Close(c.epfd)
}

func (c *crowd) join() error {
	fd, err := dial(c.addrs[len(c.fds)%len(c.addrs)], len(c.fds)%sources)
	if err != nil {
		return err
	}
	c.fds = append(c.fds, fd)
	if err := syscall.SetNonblock(fd, true); err != nil {
		return err
	}
	return epollSet(c.epfd, syscall.EPOLL_CTL_ADD, fd, fd, syscall.EPOLLIN)
}

// read reads for d, and what is there now.
func (c *crowd) read(d time.Duration) error {
	for end := time.Now().Add(d); ; {
		left := max(time.Until(end), 0)
		n, errno := rawEpollWait(c.epfd, c.events[:], left)
		if errno != 0 && errno != syscall.EINTR {
			return fmt.Errorf("epoll_pwait2: %w", errno)
		}
		for e := range max(n, 0) {
			got, errno := rawRead(int(c.events[e].Fd), c.buf)
			if errno != 0 && errno != syscall.EAGAIN && errno != syscall.EINTR || got == 0 {
				return fmt.Errorf("a member was cut: %w", errno)
			}
			c.bytes += int64(max(got, 0))
		}
		if n <= 0 && left == 0 {
			return nil
		}
	}
}
