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
// its options, which change those of [New] for its connections; a message
// limit above the room's means the room's.
//
// It waits out errors of accepting that pass, such as running out of
// descriptors, for 5 ms at first and 1 s at most, and logs them once a second;
// others it returns, while the members stay. It returns [ErrTooManyLanes] at once.
//
// It waits for no peer: TLS, and a RemoteAddr that blocks, are the business of
// the conn's own goroutine. Behind a proxy that speaks the PROXY protocol, wrap
// l by a listener that understands it and trusts nobody else; the conn's
// RemoteAddr, which the room takes as the address of the peer, is then the one that the proxy names.
func (r *Room) Serve(l net.Listener, opts ...ConnOption) error {
	a := &acceptor{room: r, l: l, cfg: r.connConfig(opts), accepted: make(chan *Conn, maxAccepted), rejecting: make(chan struct{}, maxRejects)}
	if err := r.addAcceptor(a); err != nil {
		l.Close()
		return err
	}
	defer r.removeAcceptor(a)
	defer l.Close()
	return a.run()
}

// maxAccepted bounds how many accepted conns an acceptor runs ahead of. They
// do not wait for their peers, so this passes by itself.
const maxAccepted = 64

// An acceptor is one running Serve.
type acceptor struct {
	room     *Room
	l        net.Listener
	cfg      *connConfig
	lane     *lane
	accepted chan *Conn  // that nobody has begun to let in
	ushered  atomic.Bool // there is an usher

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

// take makes a conn of nc and sees to it that it is let in.
func (a *acceptor) take(nc net.Conn) {
	c := a.room.newConn(nc, a.cfg)
	if err := a.room.begin(c); err != nil {
		c.drop()
		a.room.rejectUnserved(a, nc.RemoteAddr(), err)
		return
	}
	a.accepted <- c
	a.callUsher()
}

// callUsher starts an usher, if there is none. The room's count of what runs
// is not zero.
func (a *acceptor) callUsher() {
	if a.ushered.CompareAndSwap(false, true) {
		a.room.wg.Add(1)
		go a.usher()
	}
}

// usher lets in those who were accepted, one after the other, so that a crowd
// grows one stack and not many. It ends when there is nobody, or after one that
// waits: the others have another usher then.
func (a *acceptor) usher() {
	defer a.room.wg.Done()
	ushers := true
	leave := func() {
		if !ushers {
			return
		}
		ushers = false
		a.ushered.Store(false)
		if len(a.accepted) > 0 {
			a.callUsher()
		}
	}
	defer leave() // also where a hook ends the goroutine
	for ushers {
		select {
		case c := <-a.accepted:
			a.letIn(c, leave)
		default:
			return
		}
	}
}

// letIn lets c in. What follows has a goroutine of its own, whose stack has not
// grown, and where nobody else knows the connection not before it is needed.
func (a *acceptor) letIn(c *Conn, started func()) {
	r := a.room
	defer func() {
		src := c.src // which its end may take away
		if !a.mayWatch(c) || !r.quiet.Watch(src, c) {
			go r.attend(c)
		} else if c.Err() != nil {
			r.quiet.Rouse(src) // unblock may have come too early
		}
	}()
	r.enter(c, started)
}

// mayWatch reports whether nothing but bytes of the peer's, or c's own end, can
// wake c's reader. The user may have a listener's connections, unless it is one of these.
func (a *acceptor) mayWatch(c *Conn) bool {
	switch a.l.(type) {
	case *net.TCPListener, *net.UnixListener:
		return c.entered && c.cfg.idleTimeout <= 0 && c.heartbeat() <= 0
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

// A reject is a call of OnReject for a connection that found no slot.
type reject struct{ addr net.Addr }

// rejectUnserved tells of a connection that found no slot.
func (r *Room) rejectUnserved(a *acceptor, addr net.Addr, cause error) {
	rej := &reject{addr}
	logger := r.cfg.conn.logger
	if a != nil {
		logger = a.cfg.logger
	}
	r.report(logger, endLevel(cause), "refused "+codeOf(cause), logBurst, "tcproom: connection refused", "addr", addrString(addr), "cause", cause)
	r.mu.Lock()
	tell := r.cfg.onReject != nil && r.state == roomOpen
	if tell {
		r.wg.Add(1)
		if r.rejects == nil {
			r.rejects = make(map[*reject]struct{})
		}
		r.rejects[rej] = struct{}{}
	}
	r.mu.Unlock()
	if !tell {
		return
	}
	done := make(chan struct{})
	if a == nil || a.mayReject() {
		go r.callReject(rej, a, cause, done)
	} else {
		close(done)
		r.forgetReject(rej)
	}
	if a == nil {
		<-done
	}
}

// maxRejects bounds how many calls of OnReject an acceptor does not wait for.
const maxRejects = 64

// mayReject waits until less than that are running, or the room stops.
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

func (r *Room) forgetReject(rej *reject) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.rejects, rej)
	r.releasedLocked()
	r.wg.Done()
}

// callReject is a goroutine of its own because of runtime.Goexit in the hook.
func (r *Room) callReject(rej *reject, a *acceptor, cause error, done chan<- struct{}) {
	addr := rej.addr
	defer func() {
		if a != nil {
			<-a.rejecting
		}
		r.forgetReject(rej)
		close(done)
	}()
	returned := false
	watch := newHookWatch(slowAfter, func() {
		r.report(r.cfg.conn.logger, slog.LevelWarn, "slow "+hookNames[hookOnReject], logBurst, "tcproom: a hook is still running",
			"hook", hookNames[hookOnReject], "addr", addrString(addr))
	})
	defer func() {
		watch.stop()
		if returned {
			return
		}
		e := &HookError{Hook: hookNames[hookOnReject]}
		if v := recover(); v != nil {
			e.Panic, e.Stack = v, stack()
		}
		r.report(r.cfg.conn.logger, slog.LevelError, e.Hook, logBurst, "tcproom: a hook failed", "hook", e.Hook, "error", e, "stack", string(e.Stack))
		r.cfg.probe.Failed(e, "")
	}()
	r.cfg.onReject(addr, cause)
	returned = true
}
