package tcproom

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// ListenAndServe listens on the TCP address addr, such as ":9000", and serves
// with the room's own options until the room is closed; then it returns
// [ErrRoomClosed]. Any other error is that of listening or accepting.
func (r *Room) ListenAndServe(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("tcproom: %w", err)
	}
	return r.Serve(l)
}

// Serve accepts connections from l and serves each on a goroutine of its own,
// until the room is closed; then it returns [ErrRoomClosed]. It closes l
// before it returns. A room serves any number of listeners at once, each with
// its options, which change those of [New] for its connections. It returns
// [ErrOption] at once for one that cannot work, such as a message limit above the
// room's, and Cause("too-many-lanes").
//
// It waits out errors of accepting that pass, such as running out of
// descriptors, for 5 ms at first and 1 s at most, and logs them once a second;
// others it returns, while the members stay.
//
// It waits for no peer: TLS, and a RemoteAddr that blocks, are the business of
// the connection's own goroutine. Behind a proxy that speaks the PROXY protocol, wrap
// l by a listener that understands it and trusts nobody else. The RemoteAddr of a
// connection, which the room takes as the address of the peer, is then the one that
// the proxy names.
func (r *Room) Serve(l net.Listener, opts ...ConnOption) error {
	cfg, err := r.connConfig(opts)
	if err != nil {
		l.Close()
		return err
	}
	a := &acceptor{room: r, l: l, cfg: cfg, accepted: make(chan *link, maxAccepted), rejecting: make(chan struct{}, maxRejects)}
	if err := r.addAcceptor(a); err != nil {
		l.Close()
		return err
	}
	defer r.removeAcceptor(a)
	defer l.Close()
	return a.run()
}

// ServeConn serves nc, any stream connection, as one link, and returns when
// it has ended; it always closes nc. It returns nil if the peer left, and
// otherwise why it was refused or ended; [ErrOption] at once for an option that cannot
// work. A *net.TCPConn and a stream *net.UnixConn are served directly; anything else
// through its methods, of which Close must unblock Read and Write.
//
// A framing given here and not to [New] or a running [Room.Serve] does not bind the
// other members: if it cannot carry what they send, this connection ends with
// [ErrUnframeable].
func (r *Room) ServeConn(nc net.Conn, opts ...ConnOption) error {
	cfg, err := r.connConfig(opts)
	if err != nil {
		nc.Close()
		return err
	}
	l := r.newLink(nc, cfg)
	if err := r.open(l); err != nil {
		r.turnAway(nil, l, err)
		return err
	}
	return r.serve(l)
}

func (r *Room) connConfig(opts []ConnOption) (*connConfig, error) {
	if len(opts) == 0 {
		return &r.cfg.conn, nil
	}
	cfg, err := r.cfg.conn.with(opts)
	return &cfg, err
}

func (r *Room) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state == roomClosed
}

func (r *Room) isStopping() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state != roomOpen
}

// maxAccepted bounds how many accepted links an acceptor runs ahead of. They
// do not wait for their peers, so this passes by itself.
const maxAccepted = 64

// An acceptor is one running Serve.
type acceptor struct {
	room     *Room
	l        net.Listener
	cfg      *connConfig
	lane     *lane
	accepted chan *link  // that nobody has begun to admit
	admits   atomic.Bool // a goroutine admits them

	rejecting chan struct{} // a token for each OnReject that runs for it
}

func (r *Room) addAcceptor(a *acceptor) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != roomOpen {
		return ErrRoomClosed
	}
	lane, err := r.laneLocked(&a.cfg.limits)
	if err != nil {
		return err
	}
	lane.configured++
	a.lane = lane
	if r.acceptors == nil {
		r.acceptors = make(map[*acceptor]struct{})
	}
	r.acceptors[a] = struct{}{}
	r.wg.Add(1)
	return nil
}

func (r *Room) removeAcceptor(a *acceptor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.acceptors, a)
	a.lane.configured--
	r.tidyLanesLocked()
	r.releasedLocked()
	r.wg.Done()
}

func (a *acceptor) run() error {
	var delay time.Duration
	for {
		nc, err := a.l.Accept()
		if err != nil {
			if a.room.isStopping() {
				return ErrRoomClosed
			}
			if !passes(err) {
				return fmt.Errorf("tcproom: accept: %w", err)
			}
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			a.room.report(a.cfg.logger, slog.LevelError, "accept", 1, "tcproom: accept failed, trying again", "error", err, "delay", delay)
			a.room.sleep(delay)
			continue
		}
		delay = 0
		a.take(nc)
	}
}

// close closes the listener, so that Accept returns. It is a goroutine of its
// own, for a listener's Close may wait for what it has accepted, and ends with it.
func (a *acceptor) close() {
	defer a.room.wg.Done()
	a.l.Close()
}

// take makes a link of nc and sees to it that it is admitted.
func (a *acceptor) take(nc net.Conn) {
	l := a.room.newLink(nc, a.cfg)
	if err := a.room.open(l); err != nil {
		a.room.turnAway(a, l, err)
		return
	}
	a.accepted <- l
	a.startAdmitting()
}

// startAdmitting starts admitAll, unless it runs. The room's count of what runs is
// not zero.
func (a *acceptor) startAdmitting() {
	if a.admits.CompareAndSwap(false, true) {
		a.room.wg.Add(1)
		go a.admitAll()
	}
}

// admitAll admits the links that were accepted, one after the other, so that a
// crowd grows one stack and not many. It ends when there is none, or after one that
// waits: another goroutine admits the others then.
func (a *acceptor) admitAll() {
	defer a.room.wg.Done()
	alone := true
	handOver := func() {
		if !alone {
			return
		}
		alone = false
		a.admits.Store(false)
		if len(a.accepted) > 0 {
			a.startAdmitting()
		}
	}
	defer handOver() // also if a hook ends the goroutine
	for alone {
		select {
		case l := <-a.accepted:
			l.newcomer.waits = handOver
			a.admit(l)
		default:
			return
		}
	}
}

// admit admits l. What follows has a goroutine of its own, whose stack has not
// grown. If nobody else can use the connection, that starts only when its first byte
// arrives.
func (a *acceptor) admit(l *link) {
	r := a.room
	defer func() {
		src := l.src // which its end may take away
		if a.mayWatch(l) {
			l.newcomer = nil // it has joined; nothing more of that is needed
			if r.quiet.Watch(src, l) {
				if l.Err() != nil {
					r.quiet.Rouse(src) // unblock may have come too early
				}
				return
			}
		}
		go r.attend(l)
	}()
	r.enter(l)
}

// mayWatch reports whether nothing but bytes of the peer's, or l's own end, can
// wake l's reader. The user may have a listener's connections, unless it is one of these.
func (a *acceptor) mayWatch(l *link) bool {
	switch a.l.(type) {
	case *net.TCPListener, *net.UnixListener:
		return l.entered && l.cfg.idleTimeout <= 0 && !(l.beats && l.cfg.heartbeat > 0)
	}
	return false
}

// passes reports whether an error of accepting concerns one connection or a
// shortage, and not the listener.
func passes(err error) bool {
	for _, e := range []error{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ENOSPC, // the last: no more may be polled
		syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EINTR, syscall.EPROTO, syscall.EPERM, syscall.ENETDOWN,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// sleep waits for d, or until the room stops.
func (r *Room) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		r.mu.Lock()
		stopping, ch := r.state != roomOpen, r.releaseLocked()
		r.mu.Unlock()
		if stopping {
			return
		}
		select {
		case <-t.C:
			return
		case <-ch:
		}
	}
}

// maxRejects bounds how many calls of OnReject an acceptor does not wait for.
const maxRejects = 64

// turnAway closes l, which found no slot, and calls OnReject.
func (r *Room) turnAway(a *acceptor, l *link, cause error) {
	l.setCause(cause)
	l.drop()
	l.newcomer = nil
	if l.addr == nil {
		l.addr = l.nc.RemoteAddr()
	}
	l.logEnd(cause, l.ended(), false, false)
	r.mu.Lock()
	notify := r.cfg.hooks.onReject != nil && r.state == roomOpen
	if notify {
		r.keepLocked(l)
	}
	r.mu.Unlock()
	switch {
	case !notify:
	case a == nil:
		done := make(chan struct{})
		go r.reject(l, nil, done)
		<-done
	case a.mayReject():
		go r.reject(l, a, nil)
	default:
		r.forget(l, nil)
	}
}

// mayReject waits until less than maxRejects calls are running, or the room stops.
func (a *acceptor) mayReject() bool {
	for {
		a.room.mu.Lock()
		stopping, ch := a.room.state != roomOpen, a.room.releaseLocked()
		a.room.mu.Unlock()
		if stopping {
			return false
		}
		select {
		case a.rejecting <- struct{}{}:
			return true
		case <-ch:
		}
	}
}

// reject calls OnReject for a link that found no slot. It is a goroutine of its own
// because of runtime.Goexit in the hook, and ends with it.
func (r *Room) reject(l *link, a *acceptor, done chan<- struct{}) {
	defer func() {
		if a != nil {
			<-a.rejecting
		}
		r.forget(l, nil)
		if done != nil {
			close(done)
		}
	}()
	r.notifyReject(l, l.Err())
}
