package tcproom

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"
)

// closeTimeout bounds how long Close waits for what it has cut.
const closeTimeout = 5 * time.Second

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
// which says what each member missed and what did not end. It returns one too if
// members were cut before ctx ended. It must not be called in a hook, for which it
// would wait.
//
// A room with a log, see [WithLog], goes on in other processes. Members are told
// [ErrRestarting], and OnLeave gets that. First, with [WithDrain], they are sent away one
// after the other; then what was handed in here is ordered, and then that this process
// leaves, for which Shutdown waits at most three quarters of the time of ctx, or as long
// as [WithMaxOutage] if ctx has no end. What was not ordered by then is counted in
// [StopError].Unordered. With [WithSessions] members resume elsewhere, and the others are
// told of their leaves only when their grace is over.
//
// A room of a [Hub] is removed from it: its members' connections go on. If its log does
// not answer it is not, and [StopError].Err says so.
func (r *Room) Shutdown(ctx context.Context, opts ...StopOption) error {
	if r.hub != nil {
		return r.hub.shutdown(ctx, r, opts)
	}
	return r.shutdown(ctx, opts)
}

func (r *Room) shutdown(ctx context.Context, opts []StopOption) error {
	r.bePatient(newStopConfig(opts).patience)
	if r.replica != nil && r.hub == nil { // else drainLogs has done so
		r.replica.drain(ctx)
	}
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
		r.halt()
		r.await(glance, func() bool { return false })
	}
	return r.stopError(cause, true)
}

// Close stops the room at once: members get nothing more, and nothing more is ordered:
// other processes of a room with a log take this one for dead when its lease has ended.
// It waits for everything that Shutdown waits for, except hooks that were running when it
// was called, so that a hook may call it. Such a hook is followed, on the same goroutine,
// by the one call of [OnLeave] or [OnReject] that tells of the end of its connection,
// which therefore may begin after Close has returned; no other hook does. [Room.Done]
// tells when those have returned too. What does not end within 5 seconds is named in a
// [*StopError].
//
// A room of a [Hub] is removed from it, as by [Hub.Remove], whose errors it returns if it
// was not removed before.
func (r *Room) Close() error {
	if r.hub != nil {
		return r.hub.close(r)
	}
	return r.close()
}

func (r *Room) close() error {
	running := r.hooksNow()
	r.stop(roomClosed)
	if r.await(closeTimeout, func() bool { return r.onlyLocked(running) }) {
		return nil
	}
	return r.stopError(nil, false)
}

// halt is Close of a room that is not one of many in a hub, and waits for nothing.
func (r *Room) halt() {
	if r.hub != nil {
		r.hub.stopRooms(roomClosed)
	}
	r.stop(roomClosed)
}

// Done returns a channel that is closed when the room has stopped: when none
// of its goroutines is left, all its connections are closed and no hook runs
// or will run. The connections of a room of a [Hub] go on.
func (r *Room) Done() <-chan struct{} {
	if !r.isNamed() {
		return r.done
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done == nil {
		r.done = make(chan struct{})
	}
	return r.done
}

// closeDone says that a named room has stopped.
func (r *Room) closeDone() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done == nil {
		r.done = closed
		return
	}
	close(r.done)
}

// stop brings the room to state, if it is not there yet.
func (r *Room) stop(state roomState) {
	r.mu.Lock()
	if r.state >= state {
		r.mu.Unlock()
		return
	}
	first := r.state == roomOpen
	told := r.tellLocked()
	r.state = state
	if r.replica != nil {
		r.replica.endLocked()
	}
	acceptors, links := make([]*acceptor, 0, len(r.acceptors)), make([]*link, 0, len(r.links))
	for a := range r.acceptors {
		acceptors = append(acceptors, a)
		r.wg.Add(1) // for closing it
	}
	for d := range r.doors {
		d.closeLocked()
	}
	for l := range r.links {
		links = append(links, l)
	}
	for m, _, ok := r.detached.First(); ok; m, _, ok = r.detached.First() {
		r.dismissLocked(m, r.stopCause(), r.stopCause())
	}
	r.expireLater()
	r.releasedLocked()
	r.mu.Unlock()

	for _, a := range acceptors {
		go a.close()
	}
	for i, l := range links {
		if l.end(r.stopCauseOf(i)); state == roomClosed {
			l.abort()
		}
	}
	if told {
		r.group.Flush()
	}
	r.group.Wake()
	if first {
		go r.reap()
	}
}

// stopCause is why members leave a room that stops.
func (r *Room) stopCause() Cause {
	if r.replica != nil {
		return ErrRestarting
	}
	return ErrRoomClosed
}

// stopCauseOf is stopCause of the i-th link.
func (r *Room) stopCauseOf(i int) error {
	if c := r.stopCause(); c != ErrRestarting {
		return c
	}
	return later(ErrRestarting, i)
}

// takesNothing reports whether r has begun to stop, and refuses what its members say with
// ErrRoomClosed. A room with a log does so before it ends them.
func (r *Room) takesNothing() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state != roomOpen || r.replica != nil && r.replica.phase > phaseReady
}

// orStop returns err, or why links end if the room stops and err is due to that.
func (r *Room) orStop(err error) error {
	if errors.Is(err, ErrRoomClosed) && r.takesNothing() {
		return r.stopCause()
	}
	return err
}

// reap closes done when all is over. It ends then.
func (r *Room) reap() {
	r.wg.Wait()
	r.quiet.Wait()
	r.group.Fan().Wait()
	if r.hub != nil {
		r.hub.reapRooms()
	}
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
		e.Unordered = r.unordered
		if r.hub != nil {
			e.Unordered += int(r.hub.unsaid.Load())
		}
	}
	for l := range r.links {
		addrs = append(addrs, l.RemoteAddr())
		e.Stuck = append(e.Stuck, l.stuckLocked())
	}
	traces := len(r.inTrace) > 0
	accepting := make(map[*acceptor]bool)
	for a := range r.acceptors {
		accepting[a] = true
	}
	r.mu.Unlock()
	for i, addr := range addrs {
		e.Stuck[i].Addr = addrString(addr)
	}
	if traces {
		e.Stuck = append(e.Stuck, StuckConn{Hook: hookNames[hookTrace]})
	}
	for a := range accepting {
		e.Stuck = append(e.Stuck, StuckConn{Addr: addrString(a.l.Addr())})
	}
	if cause == nil && len(e.Cut) == 0 && len(e.Stuck) == 0 && e.Unordered == 0 {
		return nil
	}
	return e
}

// stuckLocked says where l is stuck, but for its address.
func (l *link) stuckLocked() StuckConn {
	s := StuckConn{Hook: hookNames[l.running.hook()]}
	for other := range l.room.links { // or it waits for a hook of its member
		if s.Hook == "" && l.member != nil && other.member == l.member {
			s.Hook = hookNames[other.running.hook()]
		}
	}
	if l.cur != nil {
		s.Member = l.member.Info()
	}
	return s
}

// noteCut notes what l, which carried a member when the room began to stop, did
// not get.
func (r *Room) noteCut(l *link, cause error) {
	if !errors.Is(cause, r.stopCause()) || l.cur == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = append(r.cut, CutMember{Member: l.member.Info(), Missed: l.missed()() + l.sink.Unwritten()})
}

// plain is an error's text without the package's name.
func plain(err error) string { return strings.ReplaceAll(err.Error(), "tcproom: ", "") }
