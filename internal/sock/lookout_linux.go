package sock

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"
)

// A Lookout waits for the first bytes of many sockets on one goroutine, which
// there is while it waits for any. A member that only listens, as most do in a
// large room, so needs no goroutine of its own.
//
// It has an epoll instance, of which the runtime's poller says when there is
// something in it. Each socket is waited for once; its reader then waits by
// [Source.Read], which is cheaper for a member that sends.
//
// It has a clock too, for peers that may be silent for so long only. That is coarse: it
// goes by ticks of a tenth of the time that is waited, or of 100 ms if that is longer.
//
// All methods may be called from many goroutines.
type Lookout struct {
	ready func(key any)
	due   func(key any) time.Duration
	clock Clock
	wg    sync.WaitGroup // the goroutine

	mu      sync.Mutex // guards what follows; held during epoll_ctl, which does not block
	epoll   *os.File   // nil while nothing is waited for
	epfd    int
	watched []watched // by the slot of their source; the first is nobody's
	free    []int32
	n       int           // of watched, without the free ones
	heap    []int32       // slots of those with a time, the first to be due in front
	alarm   time.Duration // when the goroutine wakes for them; 0: it does not
	putOff  bool          // it has woken late, and called nobody
	ctl     epollCtl
}

// There is one of these for each quiet member, so it is small.
type watched struct {
	source *Source
	key    any
	due    time.Duration // by the clock
	at     int32         // its place in the heap, from 1 on, or 0, calling or called
	coarse int8          // its tick is the shortest one shifted by that
}

// NewLookout returns a Lookout that calls ready, which must not block, for
// sources that are not waited for any more. It calls ready on its own goroutine or
// that of Rouse, and with no lock held.
//
// It calls due on its own goroutine, with no lock held, for a source from which
// nothing came for as long as Watch said. due must not block; while it runs nothing
// else has the source, for ready waits until it has returned. It returns how long is
// to be waited from then on, or 0 if ready is to be called.
func NewLookout(ready func(key any), due func(key any) time.Duration) *Lookout {
	l := &Lookout{ready: ready, due: due, clock: Clock{since, wakeAt}, watched: make([]watched, 1)}
	l.ctl.callback = l.ctl.try
	return l
}

// SetClock gives l, which watches nothing yet, another clock. It is for tests.
func (l *Lookout) SetClock(c Clock) { l.clock = c }

// Takes reports whether s can be watched as it is now, if nothing is short. Only the
// goroutine that uses s may call it.
func (l *Lookout) Takes(s *Source) bool { return s.rc != nil && len(s.held) == 0 }

// Watch sees to it that ready is called with key, once, when there is something
// to read from s, an end or an error too, or Rouse is called; and that due is, after
// wait, unless that is 0. Until then nothing else may use s, close its connection or
// set its read deadline: the Lookout would not notice. It reports false, and does
// nothing, if s must be waited for by Read. It does not block.
func (l *Lookout) Watch(s *Source, key any, wait time.Duration) bool {
	if !l.Takes(s) {
		return false
	}
	s.raw = nil // the next Read makes it anew
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epoll == nil && !l.openLocked() {
		return false
	}
	s.slot = int32(len(l.watched))
	if last := len(l.free) - 1; last >= 0 {
		s.slot, l.free = l.free[last], l.free[:last]
		l.watched[s.slot] = watched{source: s, key: key}
	} else {
		l.watched = append(l.watched, watched{source: s, key: key})
	}
	l.n++
	if err := l.ctl.do(s, l.epfd, syscall.EPOLL_CTL_ADD); err != nil {
		l.forgetLocked(s)
		return false
	}
	if wait > 0 {
		l.scheduleLocked(s.slot, l.clock.Now(), wait)
	}
	return true
}

// Rouse calls ready for s, if it is waited for. It does not block.
func (l *Lookout) Rouse(s *Source) {
	l.mu.Lock()
	w := l.watched[s.slot]
	if w.at < 0 { // ready is called when due has returned
		l.watched[s.slot].at = called
		l.mu.Unlock()
		return
	}
	l.takeLocked(s)
	l.mu.Unlock()
	if w.source != nil {
		l.ready(w.key)
	}
}

// Wait returns when the goroutine has ended, which it does when nothing is waited for.
// Watch must not run at the same time.
func (l *Lookout) Wait() { l.wg.Wait() }

// takeLocked waits for s no more, if it is waited for.
func (l *Lookout) takeLocked(s *Source) {
	if l.watched[s.slot].source != nil {
		_ = l.ctl.do(s, l.epfd, syscall.EPOLL_CTL_DEL) // its connection may be closed
		l.forgetLocked(s)
	}
}

func (l *Lookout) forgetLocked(s *Source) {
	l.unscheduleLocked(s.slot)
	l.watched[s.slot] = watched{}
	l.free = append(l.free, s.slot)
	s.slot = 0
	if l.n--; l.n == 0 {
		l.epoll.Close() // which ends the goroutine
		l.epoll = nil
		l.watched, l.free = l.watched[:1:1], nil
		l.heap, l.alarm = nil, 0
	}
}

// openLocked starts the goroutine. It fails if there are no descriptors left.
func (l *Lookout) openLocked() bool {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return false
	}
	if err := syscall.SetNonblock(fd, true); err != nil { // for the runtime to poll it
		syscall.Close(fd)
		return false
	}
	epoll := os.NewFile(uintptr(fd), "epoll")
	if err := epoll.SetReadDeadline(time.Time{}); err != nil { // the runtime may poll no more
		epoll.Close()
		return false
	}
	l.epfd, l.epoll = fd, epoll
	l.wg.Add(1)
	go l.wait(l.epoll)
	return true
}

// wait is the Lookout's goroutine. It ends when epoll is closed.
func (l *Lookout) wait(epoll *os.File) {
	closed := false
	defer func() {
		if !closed { // due has ended the goroutine
			go l.wait(epoll)
			return
		}
		l.wg.Done()
	}()
	rc, err := epoll.SyscallConn()
	events := make([]syscall.EpollEvent, 64)
	n := 0
	poll := func(fd uintptr) bool {
		n, _ = syscall.EpollWait(int(fd), events, 0)
		return n != 0 // false only straight after there was nothing
	}
	look := func(fd uintptr) { poll(fd) }
	for err == nil {
		err = rc.Read(poll)
		timeUp := errors.Is(err, os.ErrDeadlineExceeded)
		if timeUp { // what has come by now was in time
			err = rc.Control(look)
		}
		if err != nil {
			break
		}
		for _, ev := range events[:max(n, 0)] {
			if s := l.sourceIn(ev.Fd); s != nil {
				l.Rouse(s)
			}
		}
		if timeUp && n >= 0 && n < len(events) { // that was all
			l.callDue(epoll)
		}
	}
	closed = true
}

// sourceIn returns the source in the slot: another than the event was for, if that
// one was roused meanwhile. Then it is roused for nothing.
func (l *Lookout) sourceIn(slot int32) *Source {
	l.mu.Lock()
	defer l.mu.Unlock()
	if int(slot) < len(l.watched) {
		return l.watched[slot].source
	}
	return nil
}

// An epollCtl is an epoll_ctl in a callback of a RawConn.
type epollCtl struct {
	epfd, op int
	slot     int32
	err      error
	callback func(fd uintptr)
}

func (c *epollCtl) do(s *Source, epfd, op int) error {
	c.epfd, c.op, c.slot, c.err = epfd, op, s.slot, nil
	if err := s.rc.Control(c.callback); err != nil {
		return err
	}
	return c.err
}

func (c *epollCtl) try(fd uintptr) {
	// Once: no event comes again and again for a slot that nobody is in.
	ev := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP | syscall.EPOLLONESHOT, Fd: c.slot}
	c.err = syscall.EpollCtl(c.epfd, c.op, int(fd), &ev)
}
