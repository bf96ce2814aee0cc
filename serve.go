package tcproom

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
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
// descriptors, for 5 ms at first and 1 s at most; others it returns, while the
// members stay. It returns [ErrTooManyLanes] at once.
func (r *Room) Serve(l net.Listener, opts ...ConnOption) error {
	a := &acceptor{room: r, l: l, cfg: r.connConfig(opts), starting: make(chan struct{}, maxStarting)}
	if err := r.addAcceptor(a); err != nil {
		l.Close()
		return err
	}
	defer r.removeAcceptor(a)
	defer l.Close()
	return a.run()
}

func (r *Room) connConfig(opts []ConnOption) *connConfig {
	if len(opts) == 0 {
		return &r.cfg.conn
	}
	cfg := r.cfg.conn.with(opts)
	cfg.maxMessage = min(cfg.maxMessage, r.cfg.conn.maxMessage)
	return &cfg
}

// ServeConn serves nc, any stream connection, as one conn, and returns when
// it has ended; it always closes nc. It returns nil when the peer left, and
// otherwise why it was refused or ended. A *net.TCPConn and a stream
// *net.UnixConn are served directly; anything else through its methods, of
// which Close must unblock Read and Write.
//
// A framing given here and not to [New] or a running [Room.Serve] does not bind the
// other members: where it cannot carry what they say, this conn ends with [ErrUnframeable].
func (r *Room) ServeConn(nc net.Conn, opts ...ConnOption) error {
	c := r.newConn(nc, r.connConfig(opts))
	if err := r.begin(c); err != nil {
		c.drop()
		r.rejectUnserved(nil, nc.RemoteAddr(), err)
		return err
	}
	return r.serve(c)
}

// maxStarting bounds how many accepted conns an acceptor runs ahead of. They
// do not wait for their peers, so this passes by itself.
const maxStarting = 64

// An acceptor is one running Serve.
type acceptor struct {
	room     *Room
	l        net.Listener
	cfg      *connConfig
	lane     *lane
	starting chan struct{} // a token for each conn that has not come to wait for its peer
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
			if delay = min(max(2*delay, 5*time.Millisecond), time.Second); delay == 5*time.Millisecond || delay == time.Second {
				a.cfg.logger.Error("tcproom: accept failed, trying again", "error", err, "delay", delay)
			}
			a.room.sleep(delay)
			continue
		}
		delay = 0
		a.accepted(nc)
	}
}

func (a *acceptor) accepted(nc net.Conn) {
	c := a.room.newConn(nc, a.cfg)
	if err := a.room.begin(c); err != nil {
		c.drop()
		a.room.rejectUnserved(a, nc.RemoteAddr(), err)
		return
	}
	a.starting <- struct{}{}
	go a.room.serveAccepted(c, a.starting)
}

// passes reports whether an error of accepting concerns one connection or a
// shortage, and not the listener.
func passes(err error) bool {
	for _, e := range []error{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
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

func (r *Room) isStopping() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state != roomOpen
}

func (r *Room) newConn(nc net.Conn, cfg *connConfig) *Conn {
	c := &Conn{cfg: cfg, room: r, nc: nc, id: rand.Text()}
	c.prepareSocket()
	if _, ok := nc.(*tls.Conn); !ok && cfg.tls != nil {
		c.nc = tls.Server(nc, cfg.tls) // here, for others may look at it from now on
	}
	return c
}

// begin gives c a slot, before anything is read from it.
func (r *Room) begin(c *Conn) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != roomOpen {
		return ErrRoomClosed
	}
	if r.pending >= r.cfg.maxPending {
		return ErrTooManyPending
	}
	r.pending++
	if r.conns == nil {
		r.conns = make(map[*Conn]struct{})
	}
	r.conns[c] = struct{}{}
	r.wg.Add(1)
	return nil
}

// release takes back what begin gave. It is the last that is heard of c.
func (r *Room) release(c *Conn) {
	if c.sink != nil {
		c.sink.Wait()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
	if c.cur == nil {
		r.pending--
		r.stats.Refused++
	}
	r.releasedLocked()
	r.wg.Done()
}

// releaseLocked returns a channel that is closed when a conn or an acceptor is
// gone, has come out of a hook, or the room begins to stop.
func (r *Room) releaseLocked() <-chan struct{} {
	if r.released == nil {
		r.released = make(chan struct{})
	}
	return r.released
}

func (r *Room) releasedLocked() {
	if r.released != nil {
		close(r.released)
		r.released = nil
	}
}

// serve lets c in and attends to it until it has ended, on one goroutine.
func (r *Room) serve(c *Conn) (err error) {
	// Deferred, because a hook may end the goroutine.
	defer func() {
		r.attend(c)
		if err = c.Err(); err == io.EOF {
			err = nil
		}
	}()
	r.enter(c, func() {})
	return nil
}

// serveAccepted is the first goroutine of an accepted conn: it lets c in, and
// ends. What follows has a goroutine of its own, whose stack has not grown.
func (r *Room) serveAccepted(c *Conn, starting <-chan struct{}) {
	started := sync.OnceFunc(func() { <-starting })
	defer func() { go r.attend(c) }()
	defer started()
	r.enter(c, started)
}

// enter brings c to be a member, or ends it. It calls started before it waits
// for anybody.
func (r *Room) enter(c *Conn, started func()) {
	defer c.contain()
	err := r.letIn(c, started)
	if err != nil {
		c.end(err)
	}
	c.entered = err == nil
}

// contain ends c when its Framing or Codec panics.
func (c *Conn) contain() {
	if v := recover(); v != nil {
		c.end(&HookError{Hook: fmt.Sprintf("Framing %T or Codec %T", c.cfg.framing, c.cfg.codec), Panic: v, Stack: stack()})
	}
}

// attend reads from c, if it was let in, until it ends, and sees it out. It is
// the goroutine of an accepted conn, with little on its stack while it waits.
func (r *Room) attend(c *Conn) {
	defer r.release(c)
	defer r.seeOut(c)
	if c.entered {
		c.tellAdmitted(nil)
		c.end(c.readLoop())
	}
}

// tellAdmitted tells Join, once, how it went.
func (c *Conn) tellAdmitted(err error) {
	if c.admitted != nil {
		c.admitted <- err
		c.admitted = nil
	}
}

// letIn takes c through handshake, name and OnJoin to its join.
func (r *Room) letIn(c *Conn, started func()) error {
	c.deadline = time.Now().Add(c.cfg.handshakeTimeout)
	id, err := r.handshake(c, started)
	if err != nil {
		return err
	}
	name := id.Name
	if name == "" {
		name = c.Name()
	}
	if name != "" {
		if err := r.checkName(name); err != nil {
			return err
		}
	}
	if err := r.reserve(c, name); err != nil {
		return err
	}
	if r.cfg.onJoin != nil {
		started()
		if err := c.call(hookOnJoin, func() error { return r.cfg.onJoin(c) }); err != nil {
			return err
		}
	}
	c.welcomed = r.cfg.onJoin != nil
	if err := c.Err(); err != nil {
		return err
	}
	return r.join(c)
}

// checkName applies the hard rule for names and the user's.
func (r *Room) checkName(name string) (err error) {
	if err := checkName(name); err != nil {
		return err
	}
	if err := r.cfg.validName(name); err != nil {
		if errors.Is(err, ErrNameInvalid) {
			return err
		}
		return fmt.Errorf("%w: %q: %w", ErrNameInvalid, name, err)
	}
	return nil
}

// handshake does what comes before the name is known: TLS, hello, hook.
func (r *Room) handshake(c *Conn, started func()) (id Identity, err error) {
	if tc, ok := c.nc.(*tls.Conn); ok {
		started()
		if err := c.shakeTLS(tc); err != nil {
			return id, err
		}
	}
	c.connect(r.fan)
	if r.full() {
		return id, ErrRoomFull
	}
	g, greets := c.cfg.codec.(Greeter)
	if !greets && c.cfg.handshake == nil {
		return id, nil
	}
	started()
	c.setReadDeadline(c.deadline)
	defer c.setReadDeadline(time.Time{})
	if greets {
		if err := c.readHello(g); err != nil {
			return id, err
		}
	}
	if c.cfg.handshake == nil {
		return id, nil
	}
	return r.callHandshake(c)
}

// callHandshake calls the user's hook.
func (r *Room) callHandshake(c *Conn) (id Identity, err error) {
	ctx, cancel := context.WithDeadlineCause(c.Context(), c.deadline, ErrHandshakeTimeout)
	defer cancel()
	err = c.call(hookHandshake, func() (err error) {
		id, err = c.cfg.handshake(ctx, c)
		return err
	})
	if ctx.Err() != nil && (err == nil || errors.Is(err, ctx.Err())) {
		err = context.Cause(ctx)
	}
	if err != nil {
		return id, err
	}
	if id.Context != nil {
		c.setValues(id.Context)
	}
	return id, nil
}

// setValues makes the conn's context carry ctx's values.
func (c *Conn) setValues(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.values = ctx
	if c.ctx != nil {
		parent := c.ctx
		c.ctx = valuesFrom{parent, ctx}
	}
}

// valuesFrom is a context with another's values before its own.
type valuesFrom struct {
	context.Context
	values context.Context
}

func (v valuesFrom) Value(key any) any {
	if x := v.Context.Value(key); x != nil {
		return x
	}
	return v.values.Value(key)
}

func (c *Conn) prepareSocket() {
	type buffers interface {
		SetReadBuffer(int) error
		SetWriteBuffer(int) error
	}
	if nc, ok := beneath(c.nc).(buffers); ok {
		if c.cfg.readBuffer > 0 {
			nc.SetReadBuffer(c.cfg.readBuffer)
		}
		if c.cfg.writeBuffer > 0 {
			nc.SetWriteBuffer(c.cfg.writeBuffer)
		}
	}
}

func (c *Conn) shakeTLS(tc *tls.Conn) error {
	ctx, cancel := context.WithDeadlineCause(c.Context(), c.deadline, ErrHandshakeTimeout)
	defer cancel()
	err := tc.HandshakeContext(ctx)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	case errors.As(err, new(syscall.Errno)):
		return fmt.Errorf("%w: TLS handshake: %w", ErrReset, err)
	}
	return fmt.Errorf("%w: TLS handshake: %w", ErrMalformed, err)
}

// readHello reads the hello, with which the conns of some codecs begin.
func (c *Conn) readHello(g Greeter) error {
	frame, err := c.shakenFrame()
	if err != nil {
		return err
	}
	var h Hello
	if err := g.ParseHello(frame, &h); err != nil {
		return badInput(fmt.Errorf("tcproom: hello: %w", err))
	}
	c.setName(h.Name)
	return nil
}

// shakenFrame reads a frame before c has joined, when all that it may consume
// is 4 KiB.
func (c *Conn) shakenFrame() ([]byte, error) {
	limit, _ := frameLimits(c.cfg.codec, c.cfg.maxMessage)
	limit = min(limit, maxShaken-c.shaken)
	for {
		n, frame, err := c.split(c.src.Held(), limit)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			c.shaken += n
			frame = append([]byte(nil), frame...)
			c.src.Consume(n)
			return frame, nil
		}
		if len(c.src.Held()) >= maxShaken-c.shaken {
			return nil, fmt.Errorf("%w: more than %d bytes before the join", ErrFrameTooLarge, maxShaken)
		}
		if _, err := c.src.Read(maxShaken - c.shaken); err != nil {
			return nil, c.readCause(err, ErrHandshakeTimeout)
		}
	}
}

// seeOut takes c, which has ended, out of the room, says goodbye where that is
// still possible, closes the connection, and calls OnLeave or OnReject.
func (r *Room) seeOut(c *Conn) {
	if v := recover(); v != nil {
		c.end(&HookError{Hook: fmt.Sprintf("Framing %T or Codec %T", c.cfg.framing, c.cfg.codec), Panic: v, Stack: stack()})
	}
	cause := c.Err()
	if cause == nil {
		// A Goexit in a Framing or a Codec.
		cause = &HookError{Hook: fmt.Sprintf("Framing %T or Codec %T", c.cfg.framing, c.cfg.codec)}
		c.end(cause)
	}
	c.tellAdmitted(cause)
	r.leave(c, cause)
	c.unblock() // where somebody else noted the cause, too
	r.mu.Lock()
	r.unreserveLocked(c)
	r.mu.Unlock()
	r.farewell(c, cause)
	r.mu.Lock()
	joined := c.cur != nil
	c.welcomed = c.welcomed || joined
	r.mu.Unlock()
	c.logEnd(cause, joined)
	switch {
	case c.welcomed && r.cfg.onLeave != nil:
		c.call(hookOnLeave, func() error { r.cfg.onLeave(c, cause); return nil })
	case !c.welcomed && r.cfg.onReject != nil:
		c.call(hookOnReject, func() error { r.cfg.onReject(c.nc.RemoteAddr(), cause); return nil })
	}
}

// logEnd logs an end that was not in order.
func (c *Conn) logEnd(cause error, joined bool) {
	level := slog.LevelInfo
	switch {
	case cause == io.EOF, errors.Is(cause, ErrRoomClosed), errors.Is(cause, net.ErrClosed):
		level = slog.LevelDebug
	case errors.Is(cause, ErrHook):
		level = slog.LevelWarn
	}
	msg := "tcproom: member left"
	if !joined {
		msg = "tcproom: connection refused"
	}
	c.logger().Log(context.Background(), level, msg, "addr", addrString(c.nc.RemoteAddr()), "id", c.id, "name", c.Name(), "cause", cause)
}

func (c *Conn) logger() *slog.Logger { return c.cfg.logger }

func addrString(a net.Addr) string {
	if a != nil {
		return a.String()
	}
	return ""
}

// A reject is a call of OnReject for a connection that found no slot.
type reject struct {
	a    *acceptor // which waits for it, or nil
	addr net.Addr
}

// rejectUnserved tells of a connection that found no slot.
func (r *Room) rejectUnserved(a *acceptor, addr net.Addr, cause error) {
	rej := &reject{a, addr}
	r.mu.Lock()
	r.stats.Refused++
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
	go r.callReject(addr, cause, done)
	<-done
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.rejects, rej)
	r.releasedLocked()
	r.wg.Done()
}

// callReject is a goroutine of its own because of runtime.Goexit in the hook.
func (r *Room) callReject(addr net.Addr, cause error, done chan<- struct{}) {
	defer close(done)
	defer func() {
		if v := recover(); v != nil {
			r.cfg.conn.logger.Error("tcproom: a hook failed", "hook", "OnReject", "panic", fmt.Sprint(v), "stack", string(stack()))
		}
	}()
	r.cfg.onReject(addr, cause)
}

// stack returns the stack of a panic that was just recovered, not too long.
func stack() []byte {
	b := debug.Stack()
	return b[:min(len(b), 4<<10)]
}
