package tcproom

import (
	"context"
	"math"
	"net/netip"
	"time"
)

// How a connection of a hub comes into rooms, and out of them while it goes on.

// A caller calls the hooks that decide on a membership: those of a connection's own
// goroutine, or those of a call of the program's.
type caller func(hook uint64, fn func() error) error

// callFor returns a caller for what the program does with l, on any goroutine. A hook
// that fails ends l, as its own does.
func (l *link) callFor() caller {
	return func(hook uint64, fn func() error) error {
		if err := l.Err(); err != nil {
			return err
		}
		returned := false
		defer func() {
			if !returned { // but has ended the goroutine
				l.end(&HookError{Hook: hookNames[hook]})
			}
		}()
		err := l.room.callAside(nil, l.member.presence, hook, fn)
		if _, failed := err.(*HookError); failed {
			l.end(err)
		}
		returned = true
		return err
	}
}

// enter makes l a member of the named room, too. If it is one already, that is what it
// returns, and joined is false.
func (h *Hub) enter(ctx context.Context, l *link, name string, e entry, asked bool) (m *Member, joined bool, err error) {
	p := l.member.presence
	if m, err := p.claim(l, name, h.cfg.maxPerConn, !l.labelled); m != nil || err != nil {
		return m, false, err
	}
	defer p.unclaim(name)
	c, err := h.knockAt(ctx, l, name, asked)
	if err != nil {
		return nil, false, err
	}
	defer c.done()
	if err := c.join(e); err != nil {
		return nil, false, err
	}
	return c.s.member, true, nil
}

// A candidate is one whom OnEnter and OnJoin have let into a room, and who has not
// joined yet.
type candidate struct {
	h    *Hub
	hr   *hubRoom
	s    *stream
	addr netip.Addr
	call caller
	own  *link // whose goroutine this is; nil: of none
}

// knockAt asks whether l may enter a room, and reserves a place for it there.
func (h *Hub) knockAt(ctx context.Context, l *link, name string, asked bool) (_ *candidate, err error) {
	c := &candidate{h: h, addr: l.ip(), call: l.callFor()}
	if asked {
		c.own, c.call = l, l.call
		if err := h.checkRoom(l, name); err != nil {
			return nil, err
		}
		if err := h.mayEnter(l, name); err != nil {
			return nil, err
		}
	}
	if err := h.banned(name, l.member.Name(), c.addr); err != nil { // before the room is made
		return nil, err
	}
	if c.hr, err = h.acquire(ctx, c.own, name, h.cfg.open); err != nil {
		return nil, err
	}
	r, letIn := c.hr.room, false
	if err := r.awaitPart(ctx, l); err != nil {
		c.done()
		return nil, err
	}
	c.s = &stream{link: l, room: r, form: l.partForm()}
	defer func() { // also if a hook ends the goroutine
		if letIn {
			return
		}
		if c.s.member != nil {
			r.unreserve(c.s.member, cmpErr(err, ErrHook))
		}
		c.done()
	}()
	if err := r.reservePart(c.s, l.member, c.addr); err != nil {
		return nil, err
	}
	if onJoin := r.cfg.hooks.onJoin; onJoin != nil {
		if err := c.call(hookOnJoin, func() error { return onJoin(c.s.member) }); err != nil {
			return nil, refuse(err)
		}
		c.s.owesLeave = true
	}
	letIn = true
	return c, nil
}

// mayEnter asks the user's OnEnter.
func (h *Hub) mayEnter(l *link, name string) error {
	if h.cfg.onEnter == nil {
		return nil
	}
	ctx, cancel := withDeadline(l.Context(), until(l.cfg.handshakeTimeout), errHandshakeTimeout)
	defer cancel()
	return refuse(l.call(hookOnEnter, func() error { return h.cfg.onEnter(ctx, l.member, name) }))
}

// join joins the candidate, and lets OnJoined speak to it first.
func (c *candidate) join(e entry) error {
	m := c.s.member
	m.takeTurn(nil) // which is free: others may put m out, or read for it, before OnJoined
	seq, err := c.s.room.join(c.s, m, e)
	if err != nil {
		m.giveTurn()
		c.fail(err)
		return err
	}
	c.welcome(seq)
	return nil
}

// welcome calls OnJoined for the candidate, which has joined, in the turn that was taken
// for that.
func (c *candidate) welcome(seq uint64) {
	r, m := c.s.room, c.s.member
	defer m.giveTurn()
	m.followName()
	c.s.logBegin("joined")
	onJoined := r.cfg.hooks.onJoined
	if onJoined == nil {
		return
	}
	defer c.s.cur.Release()
	c.call(hookOnJoined, func() error { onJoined(m, seq); return nil })
}

// fail gives up the place of a candidate that does not join.
func (c *candidate) fail(cause error) {
	if l := c.s.link; l.Err() != nil {
		l.unblock() // it may have ended for what went wrong
	}
	c.s.room.unreserve(c.s.member, cause)
	if c.s.cur == nil { // else it did join, and its link, which ends, sees it out
		c.s.room.notifyPart(c.s, c.own)
	}
}

// done lets the room go when it is empty.
func (c *candidate) done() { c.h.unpin(c.hr) }

// reservePart makes a member of s, with a slot, for the connection of base.
func (r *Room) reservePart(s *stream, base *Member, addr netip.Addr) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != roomOpen {
		return ErrRoomClosed
	}
	if r.fullLocked() {
		return ErrRoomFull
	}
	if err := r.banned(base.Name(), addr); err != nil {
		return err
	}
	m := &Member{room: r, presence: base.presence}
	m.who.Store(base.who.Load())
	m.at.Store(s)
	if r.mayResume(s.link.cfg) { // here, for its connection may look before its join has a place
		m.session = new(session)
	}
	if r.cfg.hooks.serial() {
		m.turn = make(chan struct{}, 1)
	}
	r.reserved++
	s.member = m
	return nil
}

// unreserve gives back what reservePart gave, if m has not joined.
func (r *Room) unreserve(m *Member, cause error) {
	code := causeOf(cause)
	r.mu.Lock()
	if m.state == memberReserved {
		m.setCause(cause, code)
		r.moveLocked(m, memberGone)
	}
	r.mu.Unlock()
	m.unblock()
}

// depart takes m, one of the memberships of a connection that may go on, out of its
// room because of cause, and reports whether it did so by this call: then the caller
// sees to seeOutPart. ref is that of the request for it. When it returns, the leave has
// its place.
func (r *Room) depart(m *Member, cause error, code Cause, ref uint64) bool {
	return r.departing(m, cause, code, ref, nil, func(*stream) {})
}

// departing is depart that calls owes, under r's lock, with the stream of m if that leaves
// by this call. It does nothing if by is not nil, and not the connection of m any more.
func (r *Room) departing(m *Member, cause error, code Cause, ref uint64, by *link, owes func(*stream)) bool {
	p := r.pass(context.Background(), nil)
	defer r.hub.checkEmpty(r)
	defer m.unblock()
	defer p.end()
	if by != nil && !m.presence.isBy(by) {
		return false
	}
	switch m.state {
	case memberReserved:
		return false
	case memberPresent, memberDetached:
		r.owePartLocked(m) // before the lock is let go of
		p.leave(m, cause, code)
		owes(m.at.Load()) // while it is in the list: whoever does not find it there finds this
		if rp := r.replica; rp != nil {
			if rp.keeps(m) {
				cause = ErrRestarting
			}
			defer r.group.Wake()
		}
		r.dismissStreamLocked(m.at.Load(), cause, ref)
		return true
	}
	for p.partLeaving(m) { // until the leave that another call orders has its place
		p.await(r.group.Progress(), time.Time{})
	}
	return false
}

// dismissStreamLocked ends s, whose member has left and whose link goes on, with a
// goodbye.
func (r *Room) dismissStreamLocked(s *stream, cause error, ref uint64) {
	m, ends := s.member, s.link.Err() != nil || s.isAlone() && causeOf(cause) != errMoved
	switch {
	case s.cur == nil:
		m.presence.remove(m)
		return
	case ends && m.presence.removeWith(m, s):
		return
	case !ends:
		m.presence.remove(m)
		if causeOf(cause) != ErrRestarting { // that is for the connection to be told
			s.sayGoodbye(cause, ref)
		}
	}
	s.cur.Close()
	s.lane.conns--
	s.lane.addClosing(s.cur)
	s.lane = nil
	r.tidyLanesLocked()
}

// isAlone reports whether the link of s is for one room and ends with its membership.
func (s *stream) isAlone() bool { return !s.link.labelled && !s.link.commands() }

// sayGoodbye inserts the goodbye of a membership. A peer that names no rooms is in one,
// and sees by the next welcome that it has moved.
func (s *stream) sayGoodbye(cause error, ref uint64) {
	if causeOf(cause) == errMoved && !s.link.labelled {
		return
	}
	ev := Event{Kind: Goodbye, Time: time.Now(), Ref: ref, End: s.room.lastWords(cause)}
	ev.End.RetryAfter = 0
	if ev.End.Cause == errLeft { // as it asked for
		ev.End.Text = ""
	}
	if b, err := s.encode(&ev); err == nil && len(b) > 0 {
		s.cur.Insert(b, math.MaxInt) // whatever waits before it
	}
}

// owePartLocked counts m, which leaves, until seeOutPart. Its connection, which
// it had until now, counts too, so that no stop has waited in vain.
func (r *Room) owePartLocked(m *Member) {
	m.presence.leaves.Add(1)
	r.wg.Add(1)
	r.hub.all.wg.Add(1)
	r.hub.left.Add(1)
}

// seeOutPart calls OnLeave for the member of s, which has left, on the goroutine of the
// link on, or of none.
func (r *Room) seeOutPart(s *stream, on *link) {
	defer r.wg.Done()
	defer r.hub.all.wg.Done()
	defer r.hub.left.Add(-1)
	defer s.member.presence.leaves.Done()
	r.notifyPart(s, on)
}

// notifyPart calls OnLeave for the member of s, which has left, once, if it is owed, when
// no other hook runs for it. on is as in seeOutPart.
func (r *Room) notifyPart(s *stream, on *link) {
	m := s.member
	switch {
	case on == nil:
		m.takeTurn(nil)
	case !m.tryTurn():
		on.awaitHooks(func() { m.takeTurn(nil) })
	}
	defer m.giveTurn()
	if s.cur != nil { // else it has not joined
		s.logLeft()
	}
	if !s.owesLeave || r.cfg.hooks.onLeave == nil {
		return
	}
	returned := false
	defer func() {
		if !returned { // but has ended the goroutine
			s.link.end(&HookError{Hook: hookNames[hookOnLeave]})
		}
	}()
	err := r.callAside(on, m.presence, hookOnLeave, func() error { r.cfg.hooks.onLeave(m, m.Err()); return nil })
	returned = true
	if _, failed := err.(*HookError); failed {
		s.link.end(err)
	}
}

// putOut closes r, and has its members leave because of cause. Nobody is in it when it
// returns.
func (r *Room) putOut(cause error, code Cause) {
	r.mu.Lock()
	seeOut := r.putOutLocked(cause, code)
	r.mu.Unlock()
	seeOut()
	p := r.pass(context.Background(), nil)
	for r.members.len() > 0 { // whose leave waited for its place, and waits no more
		p.await(r.group.Progress(), time.Time{})
	}
	p.end()
}

// putOutLocked is putOut, but that without a log it does not wait for leaves that wait for
// their place. seeOut is to be called without the lock.
func (r *Room) putOutLocked(cause error, code Cause) (seeOut func()) {
	r.tellLocked()
	r.state = roomClosed // or is so already: Close of the hub may have overtaken this
	var out []*stream
	far := &pass{r: r}
	if r.replica != nil {
		far.allGoneElsewhere(cause)
		r.replica.endLeavesLocked()
	}
	for m := r.members.first; m != nil; {
		next := m.next
		if m.state.in() {
			m.setCause(cause, code)
			r.moveLocked(m, memberLeaving)
			s := m.at.Load()
			r.moveLocked(m, memberGone)
			if s.state == streamJoined {
				r.moveStreamLocked(s, streamEnded)
			}
			r.owePartLocked(m) // before its connection can know that it is gone
			r.dismissStreamLocked(s, cause, 0)
			out = append(out, s)
		}
		m = next
	}
	return func() {
		for _, m := range far.left {
			m.unblock()
		}
		r.group.Flush() // of what was told
		r.group.Wake()
		for _, s := range out {
			s.member.unblock()
			s.link.alone(cause)
			go r.seeOutPart(s, nil)
		}
	}
}

// closeTo has nothing ordered any more in r, whose hub stops.
func (r *Room) closeTo(state roomState) {
	r.mu.Lock()
	told := r.tellLocked()
	r.state = max(r.state, state)
	if r.replica != nil {
		r.replica.endLocked()
		r.hub.unsaid.Add(int64(r.unordered))
		r.unordered = 0
	}
	r.mu.Unlock()
	if told {
		r.group.Flush()
	}
	r.group.Wake()
}

// isEmpty reports whether nobody is in r, or about to be, and whether nobody ever was.
func (r *Room) isEmpty() (empty, fresh bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.emptyLocked(), r.stats.Joined == 0
}

func (r *Room) emptyLocked() bool { return r.localLocked() == 0 && r.reserved == 0 }

// closeIfEmpty closes r if it is empty, and reports whether it did.
func (r *Room) closeIfEmpty() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.emptyLocked() {
		return false
	}
	r.tellLocked() // to nobody
	r.state = roomClosed
	return true
}
