package tcproom

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// A link is the room's end of a connection. It carries a [Newcomer], and then a
// [Member] until one of the two ends.
type link struct {
	transport
	stream   // of its own member
	cfg      *connConfig
	running  hookCall
	newcomer *Newcomer // until it carries a member; its own goroutine's
	hello    *Hello    // what its peer said first, or was said for it; nil if nothing was. Set before the member
	addr     net.Addr  // once it is known; guarded by transport.mu

	// Its own goroutine's, but for goodbye and waits. labelled does not change once it
	// carries a member.
	held       *heldPosts // of OnMessage; nil until that was called
	door       doorway
	goodbye    atomic.Bool // its peer said that it leaves for good
	waits      atomic.Bool // for hooks of its member on other goroutines
	labelled   bool        // its hello named rooms of a hub, and its events do
	entered    bool        // it carries a member
	nowhere    bool        // of a hub: its only room has not let it in
	parted     bool        // its end has been through parts; guarded by presence.mu
	given      bool        // nobody but the room can use its net.Conn
	ignored    bool        // a frame of unknown type was logged
	besideHTTP bool        // somebody else serves HTTP at the same port

	// Guarded by the room's lock.
	keepers int8   // goroutines that have still to see it out
	born    uint64 // links that began later have a greater one
	seat    *seat  // nil: it does not count for an address
}

// newLink returns the link over nc, of which a tells more, unless it is nil.
func (r *Room) newLink(nc net.Conn, cfg *connConfig, a *Arrival) *link {
	l := &link{cfg: cfg}
	l.transport = transport{cfg: &cfg.limits, nc: nc, group: r.group}
	l.stream = stream{link: l, room: r}
	l.newcomer = &Newcomer{link: l}
	l.beats = cfg.control != nil // else its hello may ask for them
	prepareSocket(nc, &cfg.limits)
	var read []byte
	if a != nil {
		l.addr, read, l.besideHTTP, l.newcomer.room = a.Addr, a.Read, a.BesideHTTP, a.Room
		if a.Hello != nil && !cfg.features.Hello {
			h := *a.Hello
			h.Resume, h.Ping = nil, false // which such a codec cannot say
			l.hello = &h
		}
		if a.Identity != nil {
			id := *a.Identity
			l.newcomer.identity = &id
		}
	}
	if l.addr == nil && knowsAddr(nc) {
		l.addr = nc.RemoteAddr()
	}
	// Here, for others may look at it from now on.
	l.nc, l.newcomer.held = serverTLS(nc, cfg.tls, read)
	return l
}

// RemoteAddr returns the address of the peer, once it is known.
func (l *link) RemoteAddr() net.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.addr
}

// helloSaid returns what the peer said first.
func (l *link) helloSaid() Hello {
	if l.hello == nil {
		return Hello{}
	}
	return *l.hello
}

// id and name are for the log.
func (l *link) id() string {
	if l.member == nil {
		return ""
	}
	return l.member.Info().ID
}

func (l *link) name() string {
	if l.member == nil {
		return l.helloSaid().Name
	}
	return l.member.Info().Name
}

// end ends l, if it has not ended; it does not block.
func (l *link) end(cause error) {
	if l.setCause(cause) {
		l.unblock()
	}
}

// unblock wakes what waits for l, which has a cause.
func (l *link) unblock() {
	if src := l.transport.unblock(); src != nil {
		l.room.quiet.Rouse(src)
	}
	if l.running.hook() != noHook { // which may wait for that; none begins any more
		l.group.Fan().Go(l.endAhead)
	}
}

// endAhead detaches the member of l, which has ended in a hook of the member's, or
// tells its context that it leaves. The rest of the end comes when the hook has
// returned.
func (l *link) endAhead() {
	r, cause, code := l.room, l.Err(), l.ended()
	r.mu.Lock()
	m := l.member
	parts := m != nil && m.conn() == l && m.state <= memberPresent && !r.detachLocked(l, cause)
	r.mu.Unlock()
	if parts {
		m.setCause(cause, code)
		m.unblock()
	}
}

// A linkSink is a link as its sink knows it.
type linkSink link

// SinkFailed implements fanout.Owner.
func (o *linkSink) SinkFailed(err error) {
	if cause := sinkCause(err); cause != nil {
		(*link)(o).end(cause)
	}
}

// serve attends to l from its admission to its end, on one goroutine.
func (r *Room) serve(l *link) (err error) {
	// Deferred, because a hook may end the goroutine.
	defer func() {
		r.attend(l)
		if err = l.Err(); err == error(errLeft) {
			err = nil
		}
	}()
	r.enter(l)
	return nil
}

// enter brings the newcomer of l to be a member, or ends l.
func (r *Room) enter(l *link) {
	defer l.contain()
	err := r.admit(l)
	if err != nil {
		l.end(err)
	}
	l.entered = err == nil
}

// contain ends l if its Framing or Codec panics.
func (l *link) contain() {
	if v := recover(); v != nil {
		e := &HookError{Hook: codecHook(l.transport.cfg), Panic: v, Stack: stack()}
		l.room.cfg.probe.Failed(e, l.name())
		l.end(e)
	}
}

func codecHook(cfg *limits) string {
	return fmt.Sprintf("Framing %T or Codec %T", cfg.framing, cfg.codec)
}

// attendTo is attend on a goroutine of its own, for a Lookout.
func attendTo(key any) {
	l := key.(*link)
	go l.room.attend(l)
}

// attend reads from l, if it has entered, until it ends, and sees it out, or until it
// may rest. It is the goroutine of an accepted link, with little on its stack while it
// waits.
func (r *Room) attend(l *link) {
	rests := false
	// Deferred, because a hook may end the goroutine.
	defer func() {
		if !rests {
			r.conclude(l)
		}
	}()
	if l.entered {
		l.notifyJoin(nil)
		l.newcomer = nil
		rests = r.listen(l)
	}
}

// conclude sees l out, and lets go of it.
func (r *Room) conclude(l *link) {
	defer r.release(l)
	r.seeOut(l)
}

// listen reads from l until it ends, or rests, which it reports.
func (r *Room) listen(l *link) (rests bool) {
	for {
		err := l.converse()
		if err != errRests {
			l.end(err)
			return false
		}
		if r.rest(l) {
			return true
		}
	}
}

// mayRest reports whether nothing but bytes of its peer's, their absence or l's own end
// can wake l's reader, and nothing waits for that now.
func (l *link) mayRest() bool { return l.given && l.entered && l.room.quiet.Takes(l.src) }

// rest has the Lookout wait for the peer of l, and reports whether it does: then l is
// its own, and may be another goroutine's already.
func (r *Room) rest(l *link) bool {
	src := l.src // which its end may take away
	if !r.quiet.Watch(src, l, l.untilBeat()) {
		return false
	}
	if l.Err() != nil {
		r.quiet.Rouse(src) // unblock may have come too early
	}
	return true
}

// converse reads what the member of l sends, while no hook of the member runs for
// another link, and returns why l ends, or errRests.
func (l *link) converse() error {
	defer l.contain()
	m := l.member
	if l.room.cfg.hooks.onMessage == nil && m.limiter == nil {
		l.running.watch = nil // the next hook is OnLeave
		return l.readLoop()
	}
	if m.turn != nil { // else no context need be made
		if !m.takeTurn(l.Context().Done()) {
			return l.Err()
		}
		defer m.giveTurn()
	}
	return l.readLoop()
}

// notifyJoin tells Join, once, how it went.
func (l *link) notifyJoin(err error) {
	if n := l.newcomer; n != nil && n.joined != nil {
		n.joined <- err
		n.joined = nil
	}
}

// seeOut takes the member of l, which has ended, out of the room or detaches it,
// says goodbye if that is still possible, closes the connection, and calls
// OnLeave or OnReject.
func (r *Room) seeOut(l *link) {
	if l.Err() == nil { // a hook's runtime.Goexit notes its own
		l.end(&HookError{Hook: codecHook(l.transport.cfg)})
	}
	cause := l.Err()
	l.notifyJoin(cause)
	parts := l.parts()
	if len(parts) > 0 {
		l.door.bytes().beside = parts
	}
	stays := r.part(l, cause)
	left := r.hub.endParts(l, parts, cause, stays)
	l.unblock() // if another goroutine noted the cause, too
	if l.member != nil {
		l.member.unblock() // before OnLeave, whatever made it leave
	}
	// Deferred, because a hook may end the goroutine.
	defer r.notifyEnd(l, cause, stays)
	defer l.notifyParts(left)
	defer l.leaveLanes(parts)
	r.farewell(l, cause)
}

// part takes l off its member, which leaves, unless it stays without it.
func (r *Room) part(l *link, cause error) (stays bool) {
	if l.member == nil {
		return false
	}
	if r.detach(l, cause) {
		return true
	}
	r.leave(l.member, cause, l)
	return false
}

// notifyEnd logs l's end and calls OnLeave or OnReject.
func (r *Room) notifyEnd(l *link, cause error, stays bool) {
	m := l.member
	joined := l.cur != nil
	l.logEnd(cause, l.ended(), joined, stays)
	switch {
	case stays: // a member, without a connection or with another one
	case l.owesLeave:
		r.notifyLeave(l, m)
	default:
		r.notifyReject(l, cause)
	}
}

// notifyLeave calls OnLeave for m, which has left, when no other hook runs for it.
func (r *Room) notifyLeave(l *link, m *Member) {
	if r.cfg.hooks.onLeave == nil {
		return
	}
	if m.presence != nil {
		l.awaitHooks(m.presence.leaves.Wait) // that of the connection comes last
	}
	m.takeTurn(nil) // a hook may have outlived its connection
	defer m.giveTurn()
	l.call(hookOnLeave, func() error { r.cfg.hooks.onLeave(m, m.Err()); return nil })
}

// awaitHooks waits for hooks of l's member on other goroutines. A Close looks again then
// whether something else is left.
func (l *link) awaitHooks(wait func()) {
	l.waits.Store(true)
	defer l.waits.Store(false)
	l.room.mu.Lock()
	l.room.releasedLocked()
	l.room.mu.Unlock()
	wait()
}

// notifyReject calls OnReject for l.
func (r *Room) notifyReject(l *link, cause error) {
	if r.cfg.hooks.onReject == nil {
		return
	}
	n := l.newcomer
	if n == nil {
		n = &Newcomer{link: l}
	}
	l.call(hookOnReject, func() error { r.cfg.hooks.onReject(n, cause); return nil })
}

// stack returns the stack of a panic that was just recovered, not too long.
func stack() []byte {
	b := debug.Stack()
	return b[:min(len(b), 4<<10)]
}

// beat sends a ping or pong behind all that was sent before, if there is room.
func (l *link) beat(pong bool) bool {
	var b []byte
	if c := l.cfg.control; c != nil && !pong {
		b = l.frameControl(c.AppendPing)
	} else {
		ev := Event{Kind: Ping}
		if pong {
			ev.Kind = Pong
		}
		b, _ = encode(l.transport.cfg, &ev)
	}
	if len(b) == 0 {
		return false
	}
	l.room.mu.Lock()
	defer l.room.mu.Unlock()
	return l.state == streamJoined && l.cur.Insert(b, maxBeats)
}

// farewell writes what l has still to get and the reason of its end, as far
// as it takes that, and closes the connection.
func (r *Room) farewell(l *link, cause error) {
	defer l.drop()
	if l.sink == nil {
		return
	}
	defer r.leaveLane(&l.stream)
	defer l.sink.Close()
	cut := r.isClosed() // then l is cut, now or in a moment
	if cut || l.sink.Err() != nil || broke(cause) {
		if cut {
			r.noteCut(l, cause)
		}
		l.sink.Close()
		l.reset()
		return
	}
	l.sink.Release() // a cursor that is held would not come first
	if l.cur != nil {
		l.cur.Trail() // before it has the goodbye, which comes behind all rooms, also those that were left
	}
	peerLeft := cause == error(errLeft) || cause == error(errCutOff)
	if rare := l.door.rare; rare != nil && rare.answer != nil { // whatever else ended it then
		peerLeft = false // it waits for the answer
		l.sayLast(rare.answer.frame)
	} else if !peerLeft || r.hub != nil && l.commands() && l.goodbye.Load() { // a person, whose program may go on
		l.sayLast(l.lastFrames(cause))
	}
	patience, limit := r.patienceWith(l)
	if !l.drain(l.missed(), patience, limit) {
		l.sink.Close()
		r.noteCut(l, cause) // when nothing more is taken
		l.reset()
		return
	}
	if l.closeWrite() && !peerLeft {
		l.discard(patience, limit)
	}
}

// missed returns a function that counts the events that l has not been sent; nil
// if it never carried a member.
func (l *link) missed() func() uint64 {
	if l.cur == nil {
		return nil
	}
	beside := l.beside()
	if len(beside) == 0 {
		return l.cur.Missed
	}
	return func() uint64 {
		n := l.cur.Missed()
		for _, s := range beside {
			n += s.cur.Missed()
		}
		return n
	}
}

// broke reports whether cause says that nothing can be written any more. What
// a hook returned says so only of connections of its own.
func broke(cause error) bool {
	switch cause.(type) {
	case *HookError, *refusal:
		return false
	}
	return errors.Is(cause, ErrSlow) || errors.Is(cause, errWriteTimeout) || errors.Is(cause, errReset)
}

// lastFrames returns the last event of l, which ends with cause, if its codec has one,
// and what follows that.
func (l *link) lastFrames(cause error) []byte {
	// What is not HTTP would be the answer to a browser, which else asks again.
	if l.besideHTTP && errors.Is(cause, errHTTP) && l.sink.Written() == 0 {
		return nil
	}
	ev := Event{Kind: Goodbye, Time: time.Now(), End: l.room.lastWords(cause)}
	if l.cur == nil || l.nowhere {
		ev.Kind = Refused
	}
	if cause == error(errLeft) { // which it knows
		ev.End.Text = ""
	}
	b, err := encode(l.transport.cfg, &ev)
	if err == nil && len(b) == 0 && errors.Is(cause, ErrWrongDoor) {
		return l.door.bytes().words
	}
	return append(b, l.endFrame(cause)...)
}

// sayLast gives l, which has ended, its last bytes.
func (l *link) sayLast(b []byte) {
	switch {
	case len(b) == 0:
	case l.cur != nil:
		l.cur.Insert(b, math.MaxInt)
	default:
		l.sink.Queue(b, maxShaken+len(b))
	}
}

// lastWords returns what the peer of a link is told that ends with cause.
func (r *Room) lastWords(cause error) *EndError {
	if _, ok := cause.(*refusal); ok {
		if said, ok := errors.AsType[*RefusedError](cause); ok { // the hook's own words
			return &EndError{Cause: causeOf(cause), Text: said.Text, Final: said.Final, RetryAfter: said.RetryAfter}
		}
	}
	end := &EndError{Cause: causeOf(cause), Text: reasonOf(cause)}
	end.Final = end.Cause.final()
	if s := r.cfg.sessions; s != nil && !end.Final {
		end.RetryAfter = s.RetryAfter
	}
	if e, ok := cause.(*laterError); ok {
		end.RetryAfter = max(end.RetryAfter, 0) + e.after
	}
	return end
}

// reasonOf returns what a peer is told of a cause, for people.
func reasonOf(cause error) string {
	var kick *kickError
	var ban *banError
	var removed *removedError
	switch {
	case errors.As(cause, &kick):
		return kick.reason
	case errors.As(cause, &ban) && ban.reason != "":
		return ban.reason
	case errors.As(cause, &removed) && removed.reason != "":
		return removed.reason
	}
	var hook *HookError
	if errors.As(cause, &hook) {
		if hook.Err != nil {
			return plain(hook.Err)
		}
		return "internal error"
	}
	if cause == error(errEnded) {
		return "closed by the room"
	}
	return plain(cause)
}

// serverTLS returns nc with TLS over it, if there is a config and it has none yet. read
// was read from nc; what of it is not TLS is returned.
func serverTLS(nc net.Conn, cfg *tls.Config, read []byte) (net.Conn, []byte) {
	if _, ok := nc.(tlsConn); ok || cfg == nil {
		return nc, read
	}
	return tls.Server(&tlsDoor{Conn: nc, held: read}, cfg), nil
}
