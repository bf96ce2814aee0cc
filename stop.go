package tcproom

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"strings"
	"time"

	"example.com/tcproom/internal/fanout"
)

const (
	// quiet is how long an ending conn may go without taking a byte, unless
	// WithPatience says something else.
	quiet = 500 * time.Millisecond
	// lingers bounds the end of a conn whose room goes on.
	lingers = 5 * time.Second
	// closeTimeout bounds how long Close waits for what it has cut.
	closeTimeout = 5 * time.Second
	// glance is how often an ending conn is looked at.
	glance = 100 * time.Millisecond
)

// Shutdown stops the room in good order: it stops accepting, refuses what has
// not joined, writes to each member what was ordered before the call, says
// goodbye, closes the sending half, and throws away what still comes in until
// the member closes too. A member that takes no byte for half a second, or as
// long as [WithPatience] says, is cut; one that does is waited for until ctx ends.
// No leaves are ordered, but [OnLeave] is called for each with [ErrRoomClosed].
//
// When it returns nil, all goroutines of the room have ended, all its
// connections are closed, and no hook runs or will run. When ctx ends first,
// what is left is cut, and soon after that Shutdown returns a [*StopError]
// which says who missed how much and what did not end; also where members were
// cut although ctx did not end. It must not be called in a hook, for which it would wait.
func (r *Room) Shutdown(ctx context.Context, opts ...StopOption) error {
	r.bePatient(newStopConfig(opts).patience)
	r.stop(roomDraining)
	var cause error
	select {
	case <-r.done:
	case <-ctx.Done():
		select {
		case <-r.done: // before it, or with it
			return r.stopError(nil, true)
		default:
		}
		cause = context.Cause(ctx)
		r.stop(roomClosed)
		r.await(glance, func() bool { return false })
	}
	return r.stopError(cause, true)
}

// Close stops the room at once: members get nothing more. It waits for
// everything that Shutdown waits for, except hooks that were running when it
// was called, so that a hook may call it. Such a hook is followed, on the same
// goroutine, by the one call of [OnLeave] or [OnReject] that tells of the end of
// its conn, which therefore may begin after Close has returned; no other hook
// does. [Room.Done] tells when those have returned too. What does not end within
// 5 seconds is named in a [*StopError].
func (r *Room) Close() error {
	running := r.hooksNow()
	r.stop(roomClosed)
	if r.await(closeTimeout, func() bool { return r.onlyLocked(running) }) {
		return nil
	}
	return r.stopError(nil, false)
}

// Done returns a channel that is closed when the room has stopped: when none
// of its goroutines is left, all its connections are closed and no hook runs
// or will run.
func (r *Room) Done() <-chan struct{} { return r.done }

// stop brings the room to state, if it is not there yet.
func (r *Room) stop(state roomState) {
	r.mu.Lock()
	if r.state >= state {
		r.mu.Unlock()
		return
	}
	first := r.state == roomOpen
	r.state = state
	acceptors, conns := make([]*acceptor, 0, len(r.acceptors)), make([]*Conn, 0, len(r.conns))
	for a := range r.acceptors {
		acceptors = append(acceptors, a)
		r.wg.Add(1) // for closing it
	}
	for c := range r.conns {
		conns = append(conns, c)
	}
	for r.detached.first != nil {
		r.dismissLocked(r.detached.first, ErrRoomClosed)
	}
	r.expireLater()
	r.releasedLocked()
	r.mu.Unlock()

	for _, a := range acceptors {
		go a.close()
	}
	for _, c := range conns {
		if c.end(ErrRoomClosed); state == roomClosed {
			c.abort()
		}
	}
	r.fan.Wake()
	if first {
		go r.reap()
	}
}

// reap closes done when all is over. It ends then.
func (r *Room) reap() {
	r.wg.Wait()
	r.fan.Wait()
	close(r.done)
}

// await waits until the room is done or enough is, for at most d, and reports
// whether that came about. enough is called with the lock held.
func (r *Room) await(d time.Duration, enough func() bool) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		r.mu.Lock()
		ok, ch := enough(), r.releaseLocked()
		r.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-r.done:
			return true
		case <-ch:
		case <-t.C:
			return false
		}
	}
}

// stopError says what went wrong with a stop, or returns nil.
func (r *Room) stopError(cause error, tellCut bool) error {
	e := &StopError{Err: cause}
	var addrs []net.Addr // of e.Stuck: their String may be the user's code, so not under the lock
	r.mu.Lock()
	if tellCut {
		e.Cut = append(e.Cut, r.cut...)
	}
	for c := range r.conns {
		addrs = append(addrs, c.RemoteAddr())
		e.Stuck = append(e.Stuck, c.stuckLocked())
	}
	accepting := make(map[*acceptor]bool)
	for a := range r.acceptors {
		accepting[a] = true
	}
	for rej := range r.rejects {
		addrs = append(addrs, rej.addr)
		e.Stuck = append(e.Stuck, StuckConn{Hook: hookNames[hookOnReject]})
	}
	r.mu.Unlock()
	for i, addr := range addrs {
		e.Stuck[i].Addr = addrString(addr)
	}
	for a := range accepting {
		e.Stuck = append(e.Stuck, StuckConn{Addr: addrString(a.l.Addr())})
	}
	if cause == nil && len(e.Cut) == 0 && len(e.Stuck) == 0 {
		return nil
	}
	return e
}

// stuckLocked says where c is stuck, but for its address.
func (c *Conn) stuckLocked() StuckConn {
	s := StuckConn{Hook: hookNames[c.hook.Load()]}
	if c.cur != nil {
		s.Member = c.member()
	}
	return s
}

// connect makes the two halves of c, over the transport as it is now.
func (c *Conn) connect(f *fanout.Fan) {
	src, sink := fanout.NewSource(c.nc), f.NewSink(c.nc, (*sinkOwner)(c), c.cfg.writeTimeout)
	c.mu.Lock()
	c.src, c.sink = src, sink
	aborted := c.aborted
	c.mu.Unlock()
	if aborted {
		sink.Close()
	}
}

// abort cuts c, which has ended: nothing more is written, and the connection
// is closed without waiting. Its own goroutine does the rest.
func (c *Conn) abort() {
	c.mu.Lock()
	c.aborted = true
	sink := c.sink
	c.mu.Unlock()
	if sink != nil {
		sink.Close()
	}
	switch beneath(c.nc).(type) {
	case *net.TCPConn, *net.UnixConn:
		c.reset()
	default:
		go c.reset() // the user's Close; c's own goroutine waits for it
	}
}

// beneath returns what a TLS connection runs over: its own Close may wait to
// say so to the peer.
func beneath(nc net.Conn) net.Conn {
	if tc, ok := nc.(*tls.Conn); ok {
		nc = tc.NetConn()
	}
	if door, ok := nc.(*tlsDoor); ok {
		return door.Conn
	}
	return nc
}

// drop closes the transport. All callers return when that is done.
func (c *Conn) drop() {
	c.dropOnce(func() { c.nc.Close() })
}

// dropOnce closes the transport by the function of the first call. It is no
// sync.Once, under whose lock it would be a user's Close that runs.
func (c *Conn) dropOnce(closeIt func()) {
	c.mu.Lock()
	first := c.dropped == nil
	if first {
		c.dropped = make(chan struct{})
	}
	dropped := c.dropped
	c.mu.Unlock()
	if !first {
		<-dropped
		return
	}
	defer close(dropped)
	closeIt()
}

// reset closes the transport so that the kernel keeps nothing of it.
func (c *Conn) reset() {
	c.dropOnce(func() {
		nc := beneath(c.nc)
		if l, ok := nc.(interface{ SetLinger(sec int) error }); ok {
			l.SetLinger(0)
		}
		nc.Close()
	})
}

// farewell writes what c has still to get and the reason of its end, as far
// as it takes that, and closes the connection.
func (r *Room) farewell(c *Conn, cause error) {
	defer c.drop()
	if c.sink == nil {
		return
	}
	defer r.leaveLane(c)
	defer c.sink.Close()
	if c.sink.Err() != nil || broke(cause) {
		c.sink.Close()
		c.reset()
		return
	}
	peerLeft := cause == io.EOF || cause == io.ErrUnexpectedEOF
	if !peerLeft {
		c.sayLast(cause)
	}
	patience, limit := r.patienceWith(c)
	if !c.drain(patience, limit) {
		c.sink.Close()
		r.noteCut(c, cause) // when nothing more is taken
		c.reset()
		return
	}
	if c.closeWrite() && !peerLeft {
		c.discard(patience, limit)
	}
}

// broke reports whether cause says that nothing can be written any more. What
// a hook returned says so only of conns of its own.
func broke(cause error) bool {
	switch cause.(type) {
	case *HookError, *refusal:
		return false
	}
	return errors.Is(cause, ErrSlow) || errors.Is(cause, ErrWriteTimeout) || errors.Is(cause, ErrReset)
}

// noteCut notes what c, which was a member when the room began to stop, did
// not get.
func (r *Room) noteCut(c *Conn, cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !errors.Is(cause, ErrRoomClosed) || c.cur == nil {
		return
	}
	r.cut = append(r.cut, CutMember{Member: c.member(), Missed: c.cur.Missed() + c.sink.Unwritten()})
}

// sayLast gives c its last event, where its codec has one.
func (c *Conn) sayLast(cause error) {
	ev := Event{Kind: Goodbye, Time: time.Now(), Text: reasonOf(cause), Code: codeOf(cause)}
	ev.Final = final[ev.Code]
	if c.cur == nil {
		ev.Kind = Refused
	}
	if s := c.room.cfg.sessions; s != nil && !ev.Final {
		ev.RetryAfter = s.RetryAfter
	}
	b, err := encodeApart(&c.cfg.limits, &ev)
	if err == nil && len(b) == 0 && errors.Is(cause, ErrWrongDoor) {
		b = c.lastWords
	}
	if err != nil || len(b) == 0 {
		return
	}
	if c.cur != nil {
		c.cur.Insert(b, math.MaxInt)
	} else {
		c.sink.Queue(b, maxShaken+len(b))
	}
}

// reasonOf returns what a peer is told of a cause, for people.
func reasonOf(cause error) string {
	var kick *kickError
	if errors.As(cause, &kick) {
		return kick.reason
	}
	var hook *HookError
	if errors.As(cause, &hook) {
		if hook.Err != nil {
			return plain(hook.Err)
		}
		return "internal error"
	}
	if cause == net.ErrClosed {
		return "closed by the room"
	}
	return plain(cause)
}

// plain is an error's text without the package's name.
func plain(err error) string { return strings.ReplaceAll(err.Error(), "tcproom: ", "") }

// A tide tells whether a conn still moves: it is over when nothing has
// changed for as long as the patience with it lasts, or all of limit is used up.
//
// A peer that reads looks no different from one that is dead as long as its
// window is closed, which it opens when it has freed a good part of its buffer:
// its kernel answers either way, so TCP_INFO says no more than the send queue.
type tide struct {
	patience      patience
	limit         time.Duration
	started, seen time.Time
	still         time.Duration
	mark          [3]int64
}

func newTide(c *Conn, p patience, limit time.Duration) *tide {
	now := time.Now()
	return &tide{patience: p, limit: limit, started: now, seen: now, mark: c.tideMark()}
}

func (t *tide) over(c *Conn) bool { return t.look(time.Now(), c.tideMark()) }

// look notes how c is now, and reports whether it is over. What went by since
// the last look counts as no more than one glance: while this process did not
// run, nobody can have moved as far as it knows.
func (t *tide) look(now time.Time, mark [3]int64) bool {
	t.still += min(now.Sub(t.seen), glance)
	t.seen = now
	if mark != t.mark {
		t.mark, t.still = mark, 0
	}
	return t.still >= t.patience() || t.limit > 0 && now.Sub(t.started) >= t.limit
}

// tideMark is different when c has moved.
func (c *Conn) tideMark() [3]int64 {
	unsent, _ := fanout.Unsent(c.nc)
	mark := [3]int64{c.sink.Written(), int64(unsent), 0}
	if c.cur != nil {
		mark[2] = int64(c.cur.Missed())
	}
	return mark
}

// drain waits until everything is written and reports whether it was. It gives
// up when nothing moves for as long as p says or, if limit is not 0, after limit.
func (c *Conn) drain(p patience, limit time.Duration) bool {
	done := c.sink.Finish()
	select {
	case <-done:
		return c.sink.Err() == nil
	default:
	}
	tide := newTide(c, p, limit)
	t := time.NewTicker(glance)
	defer t.Stop()
	for {
		select {
		case <-done:
			return c.sink.Err() == nil
		case <-t.C:
			if tide.over(c) {
				return false
			}
		}
	}
}

// closeWrite closes the sending half, if the transport has one.
func (c *Conn) closeWrite() bool {
	nc, ok := c.nc.(interface{ CloseWrite() error })
	return ok && nc.CloseWrite() == nil
}

// discard reads away until the peer closes too, so that the close that follows
// does not destroy what is on its way. It gives up as drain does.
func (c *Conn) discard(p patience, limit time.Duration) {
	tide := newTide(c, p, limit)
	for {
		c.nc.SetReadDeadline(time.Now().Add(glance))
		_, err := c.src.Read(len(c.src.Held()) + 4<<10)
		c.src.Consume(len(c.src.Held()))
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) || tide.over(c) {
			return
		}
	}
}
