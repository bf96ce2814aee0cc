package tcproom

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"example.com/tcproom/internal/fanout"
	"example.com/tcproom/internal/probe"
)

// A Conn is one framed message connection. It is the same type at both ends:
// at the room's end hooks get it and [Room.Members] lists it, at the dialling
// end [Dial], [NewConn] and [Room.Join] return it.
//
// All methods may be called from many goroutines.
type Conn struct {
	cfg  *connConfig // at the dialling end only the limits are set
	dial *dialer     // nil at the room's end
	room *Room       // nil at the dialling end
	nc   net.Conn
	src  *fanout.Source // its goroutine's; set and taken away with mu held, for others to look at
	sink *fanout.Sink

	mu      sync.Mutex // guards what follows; never held during I/O, deadlines aside
	id      string
	name    string
	addr    net.Addr      // at the room's end, once it is known
	cause   error         // why it ended, once it has
	code    string        // of the cause
	ctx     *connContext  // nil until somebody asks for it
	aborted bool          // cut: nothing more is to be written
	dropped chan struct{} // made by the one who closes nc; closed when that is done

	// The reader's own.
	silence *silence // nil until it needs one
	beats   bool     // heartbeats are agreed on, and this end may begin with them

	slowHook *hookWatch // of the goroutine that calls hooks; nil until it has called one

	hook     atomic.Uint32 // the hook of this conn that runs, or noHook
	hookRuns atomic.Uint64 // begins and ends of hooks: odd while one runs

	forsaken atomic.Bool // at the room's end: Close was called
	away     atomic.Bool // its member is about to be detached, or was

	// At the room's end, guarded by the room's lock.
	lane       *lane
	cur        *fanout.Cursor // set once, with joined
	prev, next *Conn          // in join order
	reserved   bool
	joined     bool
	leaving    bool
	stays      bool          // it has ended, and its member has not left, or not by that
	countedIn  bool          // in the room's addresses, as one that was let in
	hears      bool          // it has not to wait for an earlier one any more
	keepers    int8          // goroutines that have still to see it out: its own, and dismiss
	session    *session      // set with joined; nil: it cannot resume
	earlier    chan struct{} // closed when no OnMessage runs for those whose place it took
	heard      chan struct{} // closed when no OnMessage runs for it any more; set with session
	born       uint64        // set once: conns that began later have a greater one
	posted     uint64        // the seq of what was posted last with it
	dismissed  error         // why it leaves, after it was detached
	counted    netip.Prefix  // in the room's addresses, if valid

	admitted chan error // for Join: told once whether it has joined

	knocked   bool   // its first bytes are of a frame; its own goroutine's
	lastWords []byte // for one at the wrong door, where its codec says nothing at the end

	entered  bool      // it has joined; its own goroutine's
	welcomed bool      // OnJoin let it in; its own goroutine's
	goodbye  bool      // it said so; its own goroutine's
	unknown  bool      // a frame of unknown type was logged
	deadline time.Time // of the handshake
	shaking  *shaking  // its own goroutine's, until it has joined; nil where its peer says nothing before that
	limiter  Limiter   // nil: none
}

// A connContext is a conn's Context. Few are asked for theirs.
type connContext struct {
	context.Context
	cancel context.CancelCauseFunc
}

// ID returns what identifies the member: unique and never reused. At a
// dialling end it is known after the [Welcome] of a codec that has one, and
// empty before that and with other codecs.
func (c *Conn) ID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.id
}

// Hello returns what c said first, at the room's end and where its codec is a
// [Greeter]: a [Handshake] hook finds there what the peer claims, which proves
// nothing. Elsewhere it is zero.
func (c *Conn) Hello() Hello {
	if c.shaking == nil {
		return Hello{}
	}
	return c.shaking.hello
}

// Name returns the member's name. Before it has joined, that is what its
// hello asks for; at a dialling end it becomes known like the ID.
func (c *Conn) Name() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.name
}

// RemoteAddr returns the address of the peer; nil only where the net.Conn
// that the user gave says so.
func (c *Conn) RemoteAddr() net.Addr {
	if c.room == nil {
		return c.nc.RemoteAddr()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.addr
}

// Room returns the room whose end this is, or nil at a dialling end.
func (c *Conn) Room() *Room { return c.room }

// Context returns a context that is done when c has ended, with the cause of
// the end as its [context.Cause]. It carries the values of [Identity].Context.
func (c *Conn) Context() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil {
		ctx, cancel := context.WithCancelCause(context.Background())
		c.ctx = &connContext{ctx, cancel}
		if c.cause != nil {
			cancel(c.cause)
		}
	}
	return c.ctx.Context
}

// Err returns why c has ended, or nil while it has not.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// Send sends body: at a dialling end to the room, at the room's end to this
// member alone, as a [Direct] event that stands where the room's order is now.
//
// It blocks while too much is waiting to be sent, until ctx ends; it takes the
// message whole or, with an error, not at all, and does not wait until the peer
// has it. It keeps nothing of body. Errors are [ErrFrameTooLarge],
// [ErrUnframeable], the cause of ctx, or that of c's end. In a [Handshake] at
// most 4 KiB may wait.
func (c *Conn) Send(ctx context.Context, body []byte) error {
	if len(body) > c.cfg.maxMessage {
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrFrameTooLarge, len(body), c.cfg.maxMessage)
	}
	return c.send(ctx, body)
}

// send is Send without the limit of messages.
func (c *Conn) send(ctx context.Context, body []byte) error {
	b, err := c.frame(body)
	if err != nil {
		return err
	}
	if c.hook.Load() == hookHandshake && len(b) > maxShaken {
		return fmt.Errorf("%w: a frame of %d bytes, the limit before the join is %d", ErrFrameTooLarge, len(b), maxShaken)
	}
	return c.putWhole(ctx, b)
}

// putWhole hands b over to be written when there is room for it.
func (c *Conn) putWhole(ctx context.Context, b []byte) error {
	for {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := c.Err(); err != nil {
			return c.sendError(err)
		}
		if c.dial != nil && c.dial.closing.Load() {
			return net.ErrClosed
		}
		if c.put(b) {
			return nil
		}
		ch := c.fan().Progress()
		if c.put(b) {
			return nil
		}
		if err := c.Err(); err != nil {
			return c.sendError(err)
		}
		if err := c.fan().Await(ctx, ch, 0); err != nil {
			return err
		}
	}
}

// sendError is what Send returns when c has ended with cause.
func (c *Conn) sendError(cause error) error {
	if c.room != nil && c.room.isDetached(c) {
		return fmt.Errorf("%w: %w", ErrDetached, cause)
	}
	return cause
}

// frame returns what Send puts on the wire for body.
func (c *Conn) frame(body []byte) (b []byte, err error) {
	if c.room != nil {
		b, err = encode(&c.cfg.limits, &Event{Kind: Direct, Time: time.Now(), Body: body})
		if err == nil && b == nil {
			err = fmt.Errorf("%w: codec %T has no direct messages", ErrUnframeable, c.cfg.codec)
		}
		return b, err
	}
	b, err = c.cfg.codec.AppendMessage(make([]byte, 0, len(body)+16), body)
	if err != nil {
		return nil, err
	}
	if _, ok := c.cfg.codec.(Raw); ok {
		return c.cfg.framing.AppendFrame(make([]byte, 0, len(body)+16), body)
	}
	return c.cfg.framing.AppendFrame(make([]byte, 0, len(b)+16), b)
}

// put hands b over to be written, if there is room for it.
func (c *Conn) put(b []byte) bool {
	if c.room == nil {
		if !c.sink.Queue(b, maxQueued) {
			return false
		}
		c.sink.Flush()
		return true
	}
	if joined, ok := c.insert(b); joined {
		return ok
	}
	if !c.sink.Queue(b, maxShaken) {
		return false
	}
	c.sink.Flush()
	return true
}

// insert is put for one who has joined. It holds the room's lock, so that
// nothing comes behind a goodbye.
func (c *Conn) insert(b []byte) (joined, ok bool) {
	c.room.mu.Lock()
	defer c.room.mu.Unlock()
	return c.cur != nil, c.joined && c.cur.Insert(b, max(maxQueued, len(b)))
}

const (
	maxQueued = 64 << 10 // bytes, or one message, that wait to be sent to one peer alone
	maxShaken = 4 << 10  // bytes each way before a conn has joined
)

func (c *Conn) fan() *fanout.Fan {
	if c.room != nil {
		return c.room.fan
	}
	return c.dial.fan
}

// Close ends c.
//
// At a dialling end it writes what Send has taken, closes the sending half,
// waits until the room has read that and closes too, and closes; so the last
// messages arrive. What the room still says meanwhile is handed to [OnEvent],
// unless that hook is running when Close is called, and is dropped where there
// is none: to hear it, use [Conn.CloseWrite] and read on. Close gives up on
// writing when the room takes nothing for five seconds, which it reports, and on
// the room's end after as long. A hook that runs for longer than that is not waited for.
//
// At the room's end it ends the member with [net.ErrClosed], without waiting, also
// where the member is detached; that of a connection which another one has taken
// the place of does nothing.
//
// Once c has ended, Send, Receive and Err report why: [net.ErrClosed] where
// nothing came before Close. A second Close does nothing, and waits for nothing.
func (c *Conn) Close() error {
	if c.room != nil {
		c.end(net.ErrClosed)
		if c.room.cfg.sessions != nil {
			c.room.giveUpOn(c)
		}
		return nil
	}
	return c.closeDialled()
}

func (c *Conn) member() Member {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Member{ID: c.id, Name: c.name}
}

// setIdentity makes c another connection of a member.
func (c *Conn) setIdentity(m Member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.id, c.name = m.ID, m.Name
}

func (c *Conn) setName(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.name = name
}

// setCause notes why c ends. The first cause counts.
func (c *Conn) setCause(cause error) bool {
	if c.Err() != nil {
		return false
	}
	code := codeOf(cause) // a hook's error has methods of its own: no lock is held
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return false
	}
	c.cause, c.code = cause, code
	return true
}

// ended returns the code of the cause.
func (c *Conn) ended() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.code
}

// unblock wakes what waits for c, which has a cause: its reader, its context
// and those who want to send.
func (c *Conn) unblock() {
	c.mu.Lock()
	if c.ctx != nil {
		c.ctx.cancel(c.cause)
	}
	c.nc.SetReadDeadline(past)
	src := c.src
	c.mu.Unlock()
	if c.room != nil && src != nil {
		c.room.quiet.Rouse(src)
	}
	c.fan().Wake()
}

// past is a deadline that has expired.
var past = time.Unix(1, 0)

// end ends c, if it has not ended; it does not block.
func (c *Conn) end(cause error) {
	if c.setCause(cause) {
		c.unblock()
	}
}

// A sinkOwner is a Conn as its sink knows it.
type sinkOwner Conn

// SinkFailed implements fanout.Owner.
func (o *sinkOwner) SinkFailed(err error) { (*Conn)(o).sinkFailed(err) }

func (c *Conn) sinkFailed(err error) {
	switch {
	case errors.Is(err, fanout.ErrClosed):
		return
	case errors.Is(err, fanout.ErrWriteTimeout):
		err = ErrWriteTimeout
	case errors.Is(err, fanout.ErrOverrun):
		err = ErrSlow
	case !errors.Is(err, ErrUnframeable):
		err = fmt.Errorf("%w: %w", ErrReset, err)
	}
	c.end(err)
}

// setReadDeadline sets until when the reader waits, unless c has ended or,
// at a dialling end, the context has for which it reads.
func (c *Conn) setReadDeadline(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil && (c.dial == nil || !c.dial.expired) {
		c.nc.SetReadDeadline(t)
	}
}

// readCause makes of a reader's error the cause of the end.
func (c *Conn) readCause(err error, otherwise error) error {
	if cause := c.Err(); cause != nil {
		return cause
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return otherwise
	case errors.Is(err, io.EOF):
		if len(c.src.Held()) > 0 {
			return io.ErrUnexpectedEOF
		}
		return io.EOF
	case errors.Is(err, io.ErrUnexpectedEOF): // TLS without close_notify
		return io.ErrUnexpectedEOF
	case errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		return net.ErrClosed
	}
	return fmt.Errorf("%w: %w", ErrReset, err)
}

// split finds the first frame in what has been read. n is 0 where there is none yet.
func (c *Conn) split(data []byte, limit int) (n int, frame []byte, err error) {
	if len(data) == 0 {
		return 0, nil, nil
	}
	n, frame, err = c.cfg.framing.SplitFrame(data, limit)
	if err != nil {
		return 0, nil, badInput(fmt.Errorf("tcproom: read frame: %w", err))
	}
	if n < 0 || n > len(data) {
		return 0, nil, fmt.Errorf("%w: framing %T returned a frame of %d bytes out of %d", ErrMalformed, c.cfg.framing, n, len(data))
	}
	return n, frame[:len(frame):len(frame)], nil
}

// badInput makes of a Framing's or Codec's error a cause of the closed set.
func badInput(err error) error {
	if errors.Is(err, ErrMalformed) || errors.Is(err, ErrFrameTooLarge) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}

// The hooks of a conn, as Conn.hook counts them.
const (
	noHook uint32 = iota
	hookHandshake
	hookOnJoin
	hookOnMessage
	hookOnLeave
	hookOnReject
	hookOnEvent
	hookValidator
	hookRate
	hookLimiter
)

// hookNames name hooks to the user, by the options that set them: in errors, in
// the log and in [StuckConn].
var hookNames = [...]string{
	hookHandshake: "Handshake",
	hookOnJoin:    "OnJoin",
	hookOnMessage: "OnMessage",
	hookOnLeave:   "OnLeave",
	hookOnReject:  "OnReject",
	hookOnEvent:   "OnEvent",
	hookValidator: "WithNameValidator",
	hookRate:      "WithRate",
	hookLimiter:   "Limiter of WithRate",
}

func (c *Conn) probe() *probe.Probe {
	if c.room != nil {
		return &c.room.cfg.probe
	}
	return &c.dial.cfg.probe
}

// call calls a hook of the user's. A panic becomes the error; a
// runtime.Goexit cannot be stopped, so it ends c and then runs on. If c has
// ended and the hook is not to tell of that, it returns the cause instead.
func (c *Conn) call(hook uint32, fn func() error) (err error) {
	if err := c.beginHook(hook); err != nil {
		return err
	}
	returned, watched := false, c.watchHook(hook)
	defer func() {
		if watched {
			c.slowHook.stop()
		}
		c.endHook()
		if returned {
			return
		}
		e := &HookError{Hook: hookNames[hook]}
		if v := recover(); v != nil {
			e.Panic, e.Stack = v, stack()
		}
		err = e
		c.report(slog.LevelError, e.Hook, "tcproom: a hook failed", "hook", e.Hook, "name", c.Name(), "error", e, "stack", string(e.Stack))
		c.probe().Failed(e, c.Name())
		c.end(e)
	}()
	if err = fn(); err != nil {
		// An error whose methods panic does so here, as the hook's doing.
		_, _ = err.Error(), codeOf(err)
	}
	returned = true
	return err
}
