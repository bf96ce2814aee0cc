package tcproom

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"time"
)

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

func (r *Room) isStopping() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state != roomOpen
}

func (r *Room) newConn(nc net.Conn, cfg *connConfig) *Conn {
	c := &Conn{cfg: cfg, room: r, nc: nc, id: rand.Text()}
	c.prepareSocket()
	if knowsAddr(nc) {
		c.addr = nc.RemoteAddr()
	}
	if _, ok := nc.(tlsConn); !ok && cfg.tls != nil {
		c.nc = tls.Server(&tlsDoor{Conn: nc}, cfg.tls) // here, for others may look at it from now on
	}
	return c
}

// begin gives c a slot, before anything is read from it, or counts it as refused:
// its peer sees it closed no earlier than that.
func (r *Room) begin(c *Conn) (err error) {
	p := r.countedAddress(c)
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() {
		if err != nil {
			r.stats.Refused++
		}
	}()
	if r.state != roomOpen {
		return ErrRoomClosed
	}
	if r.pending >= r.cfg.maxPending {
		return ErrTooManyPending
	}
	if err := r.countAddressLocked(c, p); err != nil {
		return err
	}
	r.pending++
	r.begun++
	c.born = r.begun
	r.keepLocked(c)
	return nil
}

// keepLocked keeps c among those that a stop waits for, until forgetLocked.
func (r *Room) keepLocked(c *Conn) {
	if r.conns == nil {
		r.conns = make(map[*Conn]struct{})
	}
	r.conns[c] = struct{}{}
	c.keepers++
	r.wg.Add(1)
}

// forgetLocked is the last that a goroutine does which saw out c.
func (r *Room) forgetLocked(c *Conn) {
	if c.keepers--; c.keepers == 0 {
		delete(r.conns, c)
	}
	r.releasedLocked()
	r.wg.Done()
}

// release takes back what begin gave. It is the last that is heard of c.
func (r *Room) release(c *Conn) {
	if c.sink != nil {
		c.sink.Wait()
	}
	c.mu.Lock()
	c.src = nil // with its buffer: who is detached is kept
	c.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !c.counts() {
		r.uncountAddressLocked(c)
	}
	if c.cur == nil {
		r.pending--
		r.stats.Refused++
	}
	r.forgetLocked(c)
}

// releaseLocked returns a channel that is closed when a conn, an acceptor or a
// call of OnReject is gone, or the room begins to stop.
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
		c.endCodec(v, stack())
	}
}

// endForExit ends c, unless it has ended, at the end of a goroutine that only
// a runtime.Goexit in its Framing or Codec ends before c.
func (c *Conn) endForExit() {
	if c.Err() == nil {
		c.endCodec(nil, nil)
	}
}

// endCodec ends c, whose Framing or Codec panicked with v or, if that is nil,
// called runtime.Goexit.
func (c *Conn) endCodec(v any, stack []byte) {
	e := &HookError{Hook: c.codecHook(), Panic: v, Stack: stack}
	c.probe().Failed(e, c.Name())
	c.end(e)
}

func (c *Conn) codecHook() string {
	return fmt.Sprintf("Framing %T or Codec %T", c.cfg.framing, c.cfg.codec)
}

// attendTo is attend on a goroutine of its own, for a Lookout.
func (r *Room) attendTo(c any) { go r.attend(c.(*Conn)) }

// attend reads from c, if it was let in, until it ends, and sees it out. It is
// the goroutine of an accepted conn, with little on its stack while it waits.
func (r *Room) attend(c *Conn) {
	defer r.release(c)
	defer r.seeOut(c)
	if c.entered {
		c.tellAdmitted(nil)
		if r.cfg.onMessage == nil {
			c.slowHook = nil // the next hook is OnLeave
		}
		err := c.awaitEarlier()
		if err == nil {
			err = c.readLoop()
		}
		c.end(err)
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
	if err := r.awaitAddr(c, started); err != nil {
		return err
	}
	id, err := r.handshake(c, started)
	if err != nil {
		return err
	}
	if resumed, err := r.resume(c, id.Name); err != nil {
		return err
	} else if resumed {
		c.welcomed = true
		if c.cfg.rate != nil {
			started()
		}
		return c.setLimiter()
	}
	if err := r.settleAddress(c); err != nil {
		return err
	}
	name := id.Name
	if name == "" {
		name = c.Name()
	}
	if name != "" {
		if err := r.checkName(c, name); err != nil {
			return err
		}
	}
	if err := r.reserve(c, name); err != nil {
		return err
	}
	if c.cfg.rate != nil {
		started()
	}
	if err := c.setLimiter(); err != nil {
		return err
	}
	if r.cfg.onJoin != nil {
		started()
		if err := c.call(hookOnJoin, func() error { return r.cfg.onJoin(c) }); err != nil {
			return refuse(err)
		}
	}
	c.welcomed = r.cfg.onJoin != nil
	if err := c.Err(); err != nil {
		return err
	}
	return r.join(c)
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

// seeOut takes c, which has ended, out of the room, says goodbye where that is
// still possible, closes the connection, and calls OnLeave or OnReject.
func (r *Room) seeOut(c *Conn) {
	if v := recover(); v != nil {
		c.endCodec(v, stack())
	}
	c.endForExit()
	cause := c.Err()
	c.tellAdmitted(cause)
	if c.session != nil {
		c.session.hearing.Done()
		close(c.heard)
	}
	// Deferred, because a codec may end the goroutine as it says the leave.
	defer r.tellEnd(c, cause)
	defer r.farewell(c, cause)
	defer r.unreserve(c)
	defer c.unblock() // where somebody else noted the cause, too
	if !r.detach(c, cause) {
		r.leave(c, cause)
	}
}

// tellEnd logs c's end and calls OnLeave or OnReject.
func (r *Room) tellEnd(c *Conn, cause error) {
	r.mu.Lock()
	joined := c.cur != nil
	c.welcomed = c.welcomed || joined
	stays := c.stays
	r.mu.Unlock()
	c.logEnd(cause, c.ended(), joined, stays)
	switch {
	case stays: // a member, without a connection or with another one
	case c.welcomed && r.cfg.onLeave != nil:
		if c.session != nil {
			c.session.hearing.Wait() // a hook may have outlived its connection
		}
		c.call(hookOnLeave, func() error { r.cfg.onLeave(c, cause); return nil })
	case !c.welcomed && r.cfg.onReject != nil:
		c.call(hookOnReject, func() error { r.cfg.onReject(c.RemoteAddr(), cause); return nil })
	}
}

// endLevel is that of the record of an end; only one in order is for debugging.
func endLevel(cause error) slog.Level {
	switch {
	case cause == io.EOF, errors.Is(cause, ErrRoomClosed), errors.Is(cause, net.ErrClosed):
		return slog.LevelDebug
	case errors.Is(cause, ErrHook):
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// logEnd logs how c ended.
func (c *Conn) logEnd(cause error, code string, joined, stays bool) {
	msg, kind := "tcproom: member left", "left "
	switch {
	case !joined:
		msg, kind = "tcproom: connection refused", "refused "
	case stays:
		msg, kind = "tcproom: member lost its connection", "lost "
	}
	c.report(endLevel(cause), kind+code, msg, "addr", addrString(c.RemoteAddr()), "id", c.id, "name", c.Name(), "cause", cause)
}

func (c *Conn) logger() *slog.Logger { return c.cfg.logger }

func addrString(a net.Addr) string {
	if a != nil {
		return a.String()
	}
	return ""
}

// stack returns the stack of a panic that was just recovered, not too long.
func stack() []byte {
	b := debug.Stack()
	return b[:min(len(b), 4<<10)]
}
