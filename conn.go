package tcproom

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"example.com/tcproom/internal/fanout"
)

// A Conn is the dialling end of one connection to a room: [Dial], [NewConn] and
// [Room.Join] return it. A [Client] is one that comes back.
//
// It must be read, with Receive, Events or [OnEvent]. All methods may be called from
// many goroutines.
type Conn struct {
	transport
	opts   *dialConfig
	shaken chan struct{} // closed after a TLS handshake of NewConn's; nil if there is none
	events *eventLoop    // nil without OnEvent

	closing atomic.Bool // CloseWrite or Close was called
	closed  atomic.Bool // Close was

	who       MemberInfo // guarded by transport.mu
	resumable bool       // guarded by transport.mu: the room can be resumed
	broken    error      // guarded by transport.mu: why nothing can be written

	refs   atomic.Uint64 // the last that a request to a hub has had
	reader reader
}

// newConn returns the dialling end over nc, which has sent its hello. If wrong is
// an error, it has ended with that instead.
func newConn(nc net.Conn, opts *dialConfig, wrong error) *Conn {
	c := &Conn{opts: opts, who: MemberInfo{Name: opts.name}}
	c.transport = transport{cfg: &opts.limits, nc: nc, group: fanout.New().NewGroup()}
	c.reader.turn = make(chan struct{}, 1)
	_, c.reader.limit = frameLimits(opts.codec, opts.maxMessage)
	c.beats = opts.features.Pings && !opts.features.Hello // else from the welcome on
	prepareSocket(nc, c.cfg)
	c.connect((*connSink)(c))
	if wrong != nil {
		c.end(wrong)
		return c
	}
	if tc, ok := nc.(tlsConn); ok && !tc.ConnectionState().HandshakeComplete {
		c.shaken = make(chan struct{})
		go c.shake(tc, until(opts.handshakeTimeout))
	}
	if opts.features.Hello {
		c.sendHello()
	}
	return c
}

// shake negotiates TLS on a connection that [NewConn] was given. It has a goroutine
// because no context of a Receive may cut it short: a handshake that was interrupted
// cannot go on. It ends with the handshake.
func (c *Conn) shake(tc tlsConn, deadline time.Time) {
	defer close(c.shaken)
	ctx, cancel := withDeadline(c.Context(), deadline, errHandshakeTimeout)
	defer cancel()
	if err := shakeTLS(ctx, tc); err != nil {
		if isPlain(err) {
			err = errPlain
		}
		c.end(tlsCause(err))
	}
}

// errHello begins the error of a hello that cannot be sent.
var errHello = errors.New("tcproom: hello")

func (c *Conn) sendHello() {
	o := c.opts
	b, err := c.cfg.encodeRequest(&Request{Kind: ReqHello, Hello: &Hello{
		Name: o.name, Ping: o.heartbeat > 0, History: o.replay, Auth: o.auth, Resume: o.resume, Rooms: o.rooms,
	}})
	if err != nil {
		c.end(fmt.Errorf("%w: %w", errHello, err))
		return
	}
	c.sink.Queue(b, len(b))
	c.sink.Flush()
}

// start starts the loop of OnEvent, before others know c.
func (c *Conn) start() {
	if c.opts.onEvent != nil {
		c.events = c.opts.newEventLoop(c.end, c.Name, func() string { return addrString(c.RemoteAddr()) })
		go c.deliverEvents()
	}
}

// deliverEvents hands each event to OnEvent. It ends when c has ended.
func (c *Conn) deliverEvents() {
	defer close(c.events.done)
	defer c.contain()
	for {
		ev, err := c.receive(context.Background())
		if err != nil || !c.events.call(ev) {
			return
		}
	}
}

// contain ends c if its Framing or Codec panics or ends the goroutine, which
// nothing else does before c has ended.
func (c *Conn) contain() {
	if v := recover(); v != nil || c.Err() == nil {
		c.endCodec(v)
	}
}

// endCodec ends c, whose Framing or Codec panicked with v or, if that is nil,
// called runtime.Goexit. It returns the error that says so.
func (c *Conn) endCodec(v any) error {
	e := &HookError{Hook: codecHook(c.cfg), Panic: v}
	if v != nil {
		e.Stack = stack()
	}
	c.opts.probe.Failed(e, c.Name())
	c.end(e)
	return e
}

// ID returns what identifies the member: unique and never reused. It is known from
// the [Welcome] on, and empty before that and with a codec that has none.
func (c *Conn) ID() string { return c.member().ID }

// Name returns the member's name. Before the [Welcome], and with a codec that has
// none, it is what [WithName] asked for.
func (c *Conn) Name() string { return c.member().Name }

func (c *Conn) member() MemberInfo {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.who
}

// setMember notes who c is, and whether the room can be resumed.
func (c *Conn) setMember(m MemberInfo, resumable bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.who, c.resumable = m, resumable
}

// RemoteAddr returns the address of the room's end; nil only if the net.Conn
// that the user gave returns that.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// Context returns a context that is done when c has ended, with what Err returns as
// its [context.Cause].
func (c *Conn) Context() context.Context { return c.transport.Context() }

// Err returns why c has ended, or nil while it has not: an [*EndError], a
// [*RefusedError], what is [net.ErrClosed] for errors.Is if nothing came before Close,
// or an error that wraps [ErrOption]. From a [Goodbye] on, it is an [*EndError] of the
// room's words.
//
// If the connection breaks while c sends, Send fails at once, and c ends when what the room
// had sent before was received, five seconds later at the latest. A Goodbye that is received
// within that time is the end.
func (c *Conn) Err() error { return c.transport.Err() }

// end ends c, if it has not ended; it does not block. All causes but one's own Close,
// a refusal and an option that cannot work become an [*EndError].
func (c *Conn) end(cause error) {
	if !errors.Is(cause, ErrOption) {
		cause = endError(cause)
	}
	if c.setCause(cause) {
		c.unblock()
	}
}

// A connSink is a Conn as its sink knows it.
type connSink Conn

// SinkFailed implements fanout.Owner.
func (o *connSink) SinkFailed(err error) { (*Conn)(o).sinkFailed(err) }

// sinkFailed ends c. If the connection is broken, what the room had sent before is still
// there, the reason perhaps why it has closed: c ends when that is read, or was not for
// as long as Close would wait for it.
func (c *Conn) sinkFailed(err error) {
	cause := sinkCause(err)
	if cause == nil {
		return
	}
	if !errors.Is(cause, errReset) {
		c.end(cause)
		return
	}
	cause = endError(cause)
	c.mu.Lock()
	again := c.broken != nil
	c.broken = cmpErr(c.broken, cause)
	c.mu.Unlock()
	if again {
		return
	}
	c.group.Wake() // what waits in Send
	c.group.Fan().Go(func() {
		t := time.NewTimer(lingers)
		defer t.Stop()
		select {
		case <-t.C:
			c.end(cause)
		case <-c.Context().Done():
		}
	})
}

// sendErr returns why nothing can be sent any more, or nil.
func (c *Conn) sendErr() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return cmpErr(c.ending.err(), c.broken)
}

// Send sends body to the room, which sends it to all other members.
//
// It blocks while more than 64 KiB wait to be sent, until ctx ends. It takes the
// message whole or, with an error, not at all, and does not wait until the room has
// it. It keeps nothing of body. Errors are [ErrFrameTooLarge], [ErrUnframeable], the
// cause of ctx, [net.ErrClosed] after CloseWrite, and what Err returns once c has ended.
// If the connection broke, Send returns an [*EndError] of that at once, and c ends later,
// see Err: perhaps for the reason that the room had sent before.
func (c *Conn) Send(ctx context.Context, body []byte) error {
	b, err := c.cfg.encodeMessage(0, body)
	if err != nil {
		return err
	}
	return c.putWhole(ctx, b)
}

// encodeMessage returns what a message is on the wire. Number 0 is none.
func (l *limits) encodeMessage(number uint64, body []byte) ([]byte, error) {
	if len(body) > l.maxMessage {
		return nil, bodyTooLarge(body, l.maxMessage)
	}
	if _, ok := l.codec.(Raw); ok {
		return l.framing.AppendFrame(make([]byte, 0, len(body)+16), body)
	}
	req := requests.Get().(*Request)
	defer func() {
		*req = Request{}
		requests.Put(req)
	}()
	req.Kind, req.Number, req.Body = ReqSay, number, body
	return l.encodeRequest(req)
}

// requests are for messages: one that a Codec is given escapes.
var requests = sync.Pool{New: func() any { return new(Request) }}

// encodeRequest returns what req is on the wire.
func (l *limits) encodeRequest(req *Request) ([]byte, error) {
	b, err := l.codec.AppendRequest(make([]byte, 0, len(req.Body)+64), req)
	if errors.Is(err, ErrNoFrame) {
		err = fmt.Errorf("%w: codec %T has no %v", ErrUnframeable, l.codec, req.Kind)
	}
	if err != nil {
		return nil, err
	}
	return l.framing.AppendFrame(make([]byte, 0, len(b)+16), b)
}

// putWhole hands b over to be written when there is room for it.
func (c *Conn) putWhole(ctx context.Context, b []byte) error {
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if taken, err := c.put(b); taken || err != nil {
			return err
		}
		ch := c.group.Progress()
		if taken, err := c.put(b); taken || err != nil {
			return err
		}
		if err := c.group.Await(ctx, ch, 0); err != nil {
			return err
		}
	}
}

// put hands b over to be written, if there is room for it.
func (c *Conn) put(b []byte) (taken bool, err error) {
	if err := c.sendErr(); err != nil {
		return false, err
	}
	if c.closing.Load() {
		return false, net.ErrClosed
	}
	if !c.sink.Queue(b, maxQueued) {
		return false, nil
	}
	c.sink.Flush()
	return true, nil
}

// beat implements beater.
func (c *Conn) beat(pong bool) bool {
	kind := ReqPing
	if pong {
		kind = ReqPong
	}
	b, err := c.cfg.encodeRequest(&Request{Kind: kind})
	if err != nil || !c.sink.Queue(b, maxBeats) {
		return false
	}
	c.sink.Flush()
	return true
}

// mayRest implements beater: it is the user who waits.
func (c *Conn) mayRest() bool { return false }

// Events returns the events that Receive would, until an error, which it yields as
// the last. The loop ends without an error after one's own Close and, after
// one's own CloseWrite, if the room has taken everything and closed too.
func (c *Conn) Events(ctx context.Context) iter.Seq2[Event, error] {
	return events(ctx, c.Receive, func(err error) bool {
		return c.closed.Load() || c.closing.Load() && closedToo(err)
	})
}

// events returns the events of receive until an error, and that unless it is quiet.
func events(ctx context.Context, receive func(context.Context) (Event, error), quiet func(error) bool) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			ev, err := receive(ctx)
			if err != nil && quiet(err) {
				return
			}
			if !yield(ev, err) || err != nil {
				return
			}
		}
	}
}

// closedToo reports whether err is the end of a room that closed the connection
// without a reason.
func closedToo(err error) bool {
	end, ok := err.(*EndError)
	return ok && end.Cause == errLeft && end.Text == ""
}

// CloseWrite ends the sending half: it waits until what Send has taken is written,
// or ctx ends, and closes that half. Receive, Events and [OnEvent] go on with what
// the room still sends; when they come to an end that is [io.EOF] for
// errors.Is, the room has taken everything and closed too. Send returns
// [net.ErrClosed] from then on.
//
// It returns the cause of ctx, after which it may be called again, what Send returns if c
// has ended or the connection broke, and [errors.ErrUnsupported] if the transport cannot
// close one half.
func (c *Conn) CloseWrite(ctx context.Context) error {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	if !c.closing.Swap(true) {
		c.sendGoodbye()
	}
	done := c.sink.Finish()
	c.group.Wake() // what waits in Send
	select {
	case <-done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := c.sink.Err(); err != nil {
		c.sinkFailed(err)
		return cmpErr(c.sendErr(), net.ErrClosed)
	}
	if err := c.Err(); err != nil {
		return err
	}
	if err := half.CloseWrite(); err != nil {
		return cmpErr(c.Err(), fmt.Errorf("%w: %w", errReset, err))
	}
	return nil
}

// Close ends c. It writes what Send has taken, closes the sending half, waits until
// the room has read that and closes too, and closes; so the last messages arrive.
// What the room still sends meanwhile is handed to [OnEvent], unless that hook is
// running when Close is called, and is dropped without that hook: to receive it, use
// [Conn.CloseWrite] and read on. Close gives up on writing when the room takes nothing
// for five seconds, or the connection breaks, which it reports, and on the room's end
// after as long. A hook that runs for longer than that is not waited for.
//
// If c ended because it received what is malformed or too large, or because its hook
// failed, Close still tells a room with sessions that the member leaves. That takes
// about half a second at most, and Close does not report if it failed.
//
// Once c has ended, Send, Receive and Err return why: what is [net.ErrClosed] for
// errors.Is if nothing came before Close, and an [*EndError] of [ErrHook] if the codec
// panicked for the goodbye. A second Close does nothing, and waits for nothing.
func (c *Conn) Close() error { return c.close(context.Background()) }

// close is Close. The end of hurry cuts short what it does for a room that c rejected.
func (c *Conn) close(hurry context.Context) error {
	if c.closed.Swap(true) {
		return nil
	}
	// Whether it is the hook that calls cannot be known; that hook cannot be waited for.
	awaits := c.events != nil && !c.events.running.Load()
	defer func() { // because a codec may end the goroutine
		c.giveUp()
		if awaits {
			c.events.wait()
		}
		c.reader.close()
	}()
	switch {
	case c.sendErr() == nil:
		return c.depart(awaits)
	case c.Err() == nil: // it broke, which nobody may have been told
		return errNotAll(c.sink.Err())
	case c.isResumable() && c.rejected():
		c.departRejecting(hurry)
	}
	return nil
}

// errNotAll returns the error of a Close whose sink has failed, or may yet.
func errNotAll(err error) error {
	return fmt.Errorf("tcproom: close: the room did not take all that was sent: %w", cmpErr(err, errWriteTimeout))
}

// depart leaves in good order: it says goodbye, writes what is to be written, and waits
// for the room to close. The error is that not all was written.
func (c *Conn) depart(awaits bool) error {
	c.closing.Store(true)
	c.group.Wake() // what waits in Send
	c.sendGoodbye()
	if !c.drain(nil, always(lingers), lingers) {
		return errNotAll(c.sink.Err())
	}
	if c.closeWrite() {
		c.readAway(awaits && c.Err() == nil) // a codec may have ended it for the goodbye
	}
	return nil
}

// departRejecting is depart for an end that has rejected what the room sent, without
// which the room would keep the member detached. Nothing is lost if it fails, so it is
// not worth a long wait, nor more than a glance once hurry has ended.
func (c *Conn) departRejecting(hurry context.Context) {
	ctx, cancel := context.WithTimeout(hurry, quiet)
	defer cancel()
	patience := func() time.Duration {
		if ctx.Err() != nil {
			return 0
		}
		return quiet
	}
	if !c.closing.Swap(true) { // otherwise CloseWrite has queued it
		c.sendGoodbye()
	}
	if !c.drain(nil, patience, quiet) || !c.closeWrite() {
		return
	}
	select {
	case c.reader.turn <- struct{}{}:
		c.discard(patience, quiet)
		c.reader.unlock()
	case <-ctx.Done():
	}
}

// rejected reports whether c ended because this end found what it got to be wrong, or
// failed on it: the connection works, and to come back would not help.
func (c *Conn) rejected() bool {
	end, ok := c.Err().(*EndError)
	if !ok || end.err == nil { // nil: the room's words
		return false
	}
	switch end.Cause {
	case ErrMalformed, ErrFrameTooLarge, ErrHook:
		return true
	}
	return false
}

func (c *Conn) isResumable() bool { return c.mayResume() && c.cfg.features.Numbers }

func (c *Conn) mayResume() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.resumable
}

// sendGoodbye tells a room with sessions that this member leaves for good. A codec that
// panics for that ends c, and nothing else: what Send has taken is still to be written.
func (c *Conn) sendGoodbye() {
	if !c.isResumable() {
		return
	}
	returned := false
	defer func() {
		if !returned {
			c.endCodec(recover()) // nil: a runtime.Goexit, which runs on
		}
	}()
	b, err := c.cfg.encodeRequest(&Request{Kind: ReqGoodbye})
	returned = true
	if err == nil {
		c.sink.Queue(b, math.MaxInt)
	}
}

// readAway waits until the room has closed its half too: until OnEvent has got
// the end, if that is to be awaited, or else by reading.
func (c *Conn) readAway(awaits bool) {
	if awaits {
		c.events.wait()
		return
	}
	t := time.NewTimer(lingers)
	defer t.Stop()
	select {
	case c.reader.turn <- struct{}{}:
		c.discard(always(lingers), lingers)
		c.reader.unlock()
	case <-t.C:
	}
}

// giveUp closes the transport, and waits for what belongs to it.
func (c *Conn) giveUp() {
	c.end(cmpErr(c.sendErr(), errEnded))
	c.sink.Close()
	c.drop()
	c.group.Fan().Wait()
	if c.shaken != nil {
		<-c.shaken
	}
}

// TLS returns the state of the TLS session, with the certificates of the room, or
// nil if c speaks no TLS or its handshake is not over. It does not block.
func (c *Conn) TLS() *tls.ConnectionState {
	if c.shaken != nil {
		select {
		case <-c.shaken:
		default:
			return nil // ConnectionState would wait for the handshake
		}
	}
	return tlsState(c.nc)
}
