package tcproom

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// How the rooms of a hub come by their logs, and leave them.

// WithBackplane has the order of each of the hub's rooms, that of [Hub.All] included,
// given by a log of b, which several processes share: in each of them a hub with the same
// logs is a part of one hub. What [WithLog] says of a room holds for all of its rooms. See
// the package roomnats for such a Backplane.
//
// The log of "*" is opened with the hub, and those of the rooms of [WithRoom]; that of
// another room when somebody enters it in this process, or [Hub.Room] is called. This
// process leaves that log when the room has had no members here for [WithRoomLinger]; for
// the hub in this process there is no such room then, whoever is in it elsewhere. A room
// that no process has and in which nobody is ends, and the next of its name begins a
// stream of its own.
//
// While a log cannot be opened, or is silent, who enters is refused with
// [ErrUnavailable]. The hub closes the logs that it has opened, and not b: the program
// does that when the hub has stopped. The default, and nil, is none.
func WithBackplane(b Backplane) HubOption {
	return hubOption(func(c *hubConfig) { c.backplane = b })
}

// hubReplica is what the replica of a hub's room has beside others. It is guarded by the
// room's lock.
type hubReplica struct {
	tried  chan struct{} // closed when its log could not be opened, or has been
	failed error         // why it could not be; nil: it has been, or it is not known yet
	reason string        // why the room is removed
	ended  bool          // its stream has, for the room is removed: what follows is another room's
	bans   atomic.Pointer[[]Ban]
}

// Ready returns nil once the hub can let connections in: the logs of [WithBackplane] that
// are opened with the hub are known to the end. Without a Backplane it is so at once.
// Errors are those of [Room.Ready].
func (h *Hub) Ready(ctx context.Context) error {
	if err := h.all.Ready(ctx); err != nil || h.all.replica == nil {
		return err
	}
	for _, r := range h.openRooms(true) {
		if err := r.Ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// openRooms returns the rooms of this moment, or those that stay alone.
func (h *Hub) openRooms(fixed bool) (list []*Room) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, hr := range h.rooms {
		if hr.fixed || !fixed {
			list = append(list, hr.room)
		}
	}
	return list
}

// useBackplane gives r, a room of a hub that nobody has entered, its replica.
func (r *Room) useBackplane() {
	if b := r.hub.cfg.backplane; b != nil {
		if r.name == allRooms {
			r.hub.attendance = newAttendance(r, b.Nodes())
		}
		r.replica = emptyReplica(r, r.hub.attendance)
		r.replica.ofHub.tried = make(chan struct{})
	}
}

// startOpening opens the log of a hub's room, and then begins to read it.
func (rp *replica) startOpening() {
	rp.beginRun()
	go rp.openLog()
}

// beginRun counts the goroutine that reads the log. In a hub others come of it.
func (rp *replica) beginRun() {
	rp.room.wg.Add(1)
	if rp.room.isNamed() {
		rp.room.hub.all.wg.Add(1)
	}
}

func (rp *replica) endRun() {
	if rp.room.isNamed() {
		rp.room.hub.all.wg.Done()
	}
	rp.room.wg.Done()
}

// openLog opens the log, again and again. It is a goroutine of the room's.
func (rp *replica) openLog() {
	defer rp.endRun()
	r := rp.room
	wait := backoff{first: 50 * time.Millisecond, most: 2 * time.Second}
	for rp.ctx.Err() == nil {
		began := time.Now()
		log, err := r.hub.cfg.backplane.Open(rp.ctx, r.name)
		if rp.opened(log, err) {
			return
		}
		if rp.ctx.Err() == nil {
			r.report(r.cfg.conn.logger, slog.LevelWarn, "open", logBurst, "log not opened", "room", r.name, "cause", err)
			pause(rp.ctx, wait.next(time.Since(began), 0))
		}
	}
}

// opened notes what has become of opening the log, and reports whether that is all.
func (rp *replica) opened(log Log, err error) (done bool) {
	r := rp.room
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() {
		close(rp.ofHub.tried)
		if rp.ofHub.tried = make(chan struct{}); done {
			rp.ofHub.tried = nil
		}
	}()
	if err == nil && log == nil {
		err = fmt.Errorf("%w: WithBackplane: Open of %T has returned no log", ErrOption, r.hub.cfg.backplane)
	}
	if err != nil {
		rp.ofHub.failed = fmt.Errorf("%w: the log of room %q cannot be opened: %w", ErrUnavailable, r.name, err)
		return false
	}
	if rp.ctx.Err() != nil {
		rp.log = log // too late: closeLog closes it
		return true
	}
	rp.ofHub.failed = nil
	if rp.err = rp.use(log); rp.err != nil {
		rp.stop()
		rp.lookLocked()
		return true
	}
	rp.start()
	return true
}

// awaitPart waits until l can enter a room with a log, or resume in it.
func (r *Room) awaitPart(ctx context.Context, l *link) error {
	if r.replica == nil {
		return nil
	}
	ctx, cancel := withDeadline(ctx, until(l.cfg.handshakeTimeout), ErrUnavailable)
	defer cancel()
	return r.replica.becomeReady(ctx, true)
}

// drainLogs has nothing more taken for the logs of the hub, which stops, and this process
// leave them.
func (h *Hub) drainLogs(ctx context.Context) {
	if h.all.replica == nil {
		return
	}
	h.mu.Lock()
	h.stops = true
	h.mu.Unlock()
	leaves := h.all.replica.beginDrain(ctx)
	var wg sync.WaitGroup
	for _, r := range h.openRooms(false) {
		wg.Go(func() { r.replica.drain(ctx) })
	}
	if leaves {
		h.all.replica.leave(ctx, false)
	}
	wg.Wait()
}

// leaveLog has this process leave the log of a room that is closed. If nobody is in it and
// no other process has it, the room ends. It returns when nothing more is wanted of the
// log, or this does not answer for long.
func (r *Room) leaveLog() {
	rp := r.replica
	if rp == nil {
		return
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), r.cfg.maxOutage, ErrUnavailable)
	defer cancel()
	if rp.isOpening() { // its node cannot leave before that, and would stay in the log
		rp.becomeReady(ctx, false)
	}
	if rp.beginDrain(ctx) {
		rp.leave(ctx, true)
	}
	r.mu.Lock()
	rp.endLocked()
	r.mu.Unlock()
}

// isOpening reports whether something of the node may be in the log, and it is not ready.
func (rp *replica) isOpening() bool {
	rp.room.mu.Lock()
	defer rp.room.mu.Unlock()
	return rp.phase < phaseReady && rp.written
}

// closeLog closes the log of a room that nothing reads or writes any more.
func (r *Room) closeLog() {
	rp := r.replica
	if rp == nil || rp.log == nil {
		return
	}
	if err := rp.log.Close(); err != nil {
		r.report(r.cfg.conn.logger, slog.LevelWarn, "close", logBurst, "log not closed", "room", r.name, "cause", err)
	}
}

// localLocked returns how many members are connected to this process, or were last.
func (r *Room) localLocked() int { return r.members.len() }

// ends is for the end of the room's stream.
func (p *pass) ends(force bool) {
	rp, h := p.r.replica, p.r.hub
	if past := rp.phase < phaseReady && p.r.localLocked() == 0; !force || past || h == nil || !p.r.isNamed() {
		p.forgetStream(false)
		if rp.phase <= phaseReady && (rp.phase > phaseOpening || h == nil) { // another stream is begun
			rp.reopenLocked()
		}
		return
	}
	reason := rp.ofHub.reason
	p.r.takeOutSoon(reason, rp.endStreamLocked(reason))
}

// takeOutSoon has r, a room of a hub, removed in this process, after seeOut, if that is not
// nil. It waits for nothing.
func (r *Room) takeOutSoon(reason string, seeOut func()) {
	r.hub.all.wg.Add(1)
	go r.takeOut(reason, seeOut)
}

// takeOut is a goroutine of the hub's, which ends when nobody is in the room.
func (r *Room) takeOut(reason string, seeOut func()) {
	defer r.hub.all.wg.Done()
	if seeOut != nil {
		seeOut()
	}
	r.hub.takeOut(r.name, r, reason)
}

// endStreamLocked puts the members out, and has nothing more ordered in the room, whose
// stream has ended: in the next one of its name nobody is from here. What the node itself
// has to say still goes to the log. seeOut is as that of putOutLocked.
func (rp *replica) endStreamLocked(reason string) (seeOut func()) {
	rp.ofHub.ended = true
	rp.queue = slices.DeleteFunc(rp.queue, func(q queued) bool {
		if q.call.upkeep {
			return false
		}
		rp.waiting -= len(q.bytes())
		q.settle(outcome{err: ErrRoomClosed})
		return true
	})
	rp.lookLocked()
	return rp.room.putOutLocked(&removedError{reason}, errRemoved)
}
