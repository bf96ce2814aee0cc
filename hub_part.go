package tcproom

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"example.com/tcproom/internal/fold"
	"example.com/tcproom/internal/ledger"
)

// What becomes of the memberships of one connection in a hub whose rooms have logs.

// logError returns why the room's log cannot be used; nil if it can, or there is none.
func (r *Room) logError() error {
	if r.replica == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.replica.err
}

// untilPlaced returns a context that ends when the join or resume on s has to have its
// place.
func (s *stream) untilPlaced() (context.Context, context.CancelFunc) {
	deadline := time.Time{}
	if s.isMain() {
		deadline = s.link.newcomer.deadline
	} else {
		deadline = until(s.link.cfg.handshakeTimeout)
	}
	return withDeadline(s.link.Context(), deadline, ErrUnavailable)
}

// enters notes that the member of c, whose join has its place, comes in. Its connection
// may have ended, or go on over another link.
func (c *coming) enters() bool {
	m, l := c.member, c.stream.link
	if m.isPart() && !m.presence.add(m, l) {
		c.err, c.over = cmpErr(l.Err(), ErrDetached), true
		return false
	}
	return true
}

// A farPresence is what a presence has beside others in a hub with logs. The presence's
// lock guards it.
type farPresence struct {
	hash  fold.Hash     // of the token of its session; zero: it has none
	gone  bool          // it goes on in another process
	names chan struct{} // has a token while a membership takes the name of its connection
	moves chan struct{} // has a token while one of its memberships moves
	freed chan struct{} // closed by the next unclaim; nil: nobody waits for that
}

// claimLater is claim that waits while another call is about to enter the room: it may be
// of a connection before l, which has not got so far as to see that it has ended.
func (p *presence) claimLater(l *link, room string, most int, only bool) (m *Member, err error) {
	ctx, cancel := withDeadline(l.Context(), until(l.cfg.handshakeTimeout), errEntering)
	defer cancel()
	for {
		p.mu.Lock()
		if p.far.freed == nil {
			p.far.freed = make(chan struct{})
		}
		freed := p.far.freed
		p.mu.Unlock()
		if m, err = p.claim(l, room, most, only); err != errEntering {
			return m, err
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (p *presence) setHash(key ledger.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.far.hash = fold.Hash(key)
}

// hashNow returns the hash of the token of its session, by which its members are found.
func (p *presence) hashNow() fold.Hash {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.far.hash
}

// goElsewhere notes that the connection goes on in another process.
func (p *presence) goElsewhere() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.far.gone = true
}

func (p *presence) isElsewhere() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.far != nil && p.far.gone
}

// partDeparts is departs for one of the memberships of a connection.
func (p *pass) partDeparts(m *Member, cause error, seq uint64) {
	r, s, was := p.r, m.at.Load(), m.state
	if was != memberLeaving {
		p.partLeaves(m, cause)
	}
	if r.cfg.notices {
		p.owner = s
		p.place(&Event{Kind: Leave, From: m.Info()}, seq)
		p.owner = nil
	}
	if m.state == memberLeaving {
		p.departed(m)
	}
	if was != memberLeaving { // else who had it leave does that
		p.partDeparted(s, cause)
	} else {
		p.checkEmptySoon()
	}
	r.group.Wake()
}

// checkEmptySoon sees to it that the room is removed after a while if it is empty now. Who
// had its last member leave may have given up before the leave had its place.
func (p *pass) checkEmptySoon() {
	r := p.r
	if !r.isNamed() || !r.emptyLocked() {
		return
	}
	r.hub.all.wg.Add(1)
	go r.checkEmpty()
}

// checkEmpty is a goroutine of the hub's. It waits for nobody.
func (r *Room) checkEmpty() {
	defer r.hub.all.wg.Done()
	r.hub.checkEmpty(r)
}

// partLeaves is for a membership that leaves because of what is in the log, and not by a
// call here.
func (p *pass) partLeaves(m *Member, cause error) {
	p.r.owePartLocked(m)
	m.setCause(cause, causeOf(cause))
	p.r.moveLocked(m, memberLeaving)
}

// partDeparted ends the stream of such a membership, and has it seen out.
func (p *pass) partDeparted(s *stream, cause error) {
	p.r.dismissStreamLocked(s, cause, 0)
	go p.r.partDeparted(s, cause)
}

// partDeparted sees out the member of s, which has left. It ends when OnLeave has returned.
func (r *Room) partDeparted(s *stream, cause error) {
	s.member.unblock()
	s.link.alone(cause)
	r.hub.checkEmpty(r)
	r.seeOutPart(s, nil)
}

// dropPart is drop for one of the memberships of a connection.
func (p *pass) dropPart(m *Member, cause Cause) {
	s, was := m.at.Load(), m.state
	if was != memberLeaving {
		p.partLeaves(m, cause)
	}
	p.departed(m)
	if was != memberLeaving {
		p.partDeparted(s, cause)
	} else {
		p.checkEmptySoon()
	}
}

// partLeaving reports whether another call has m leave, and has not got so far that
// whoever sees out the connection may: if there is a log, it lets go of the lock between
// the place of the leave and that.
func (p *pass) partLeaving(m *Member) bool {
	if p.r.replica == nil {
		return m.state == memberLeaving
	}
	return m.presence.lists(m)
}

// lists reports whether m is one of its memberships.
func (p *presence) lists(m *Member) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.list, m)
}

// handOver takes m, whose connection goes on in another process, for one of that: until it
// is resumed there, it is detached. owes is as in departing.
func (r *Room) handOver(m *Member, owes func(*stream)) {
	p := r.pass(context.Background(), nil)
	defer r.hub.checkEmpty(r)
	defer m.unblock()
	defer p.end()
	rp := r.replica
	switch {
	case m.state.in():
		s := m.at.Load()
		p.partLeaves(m, ErrElsewhere)
		p.departed(m)
		of := rp.state.Member(m.Info().ID)
		if of != nil && of.Home == rp.node && of.Detached.IsZero() && r.state == roomOpen && rp.phase <= phaseDraining {
			rp.detachLocked(m)
		}
		owes(s)
		r.dismissStreamLocked(s, ErrElsewhere, 0)
		r.group.Wake()
	default:
		for p.partLeaving(m) {
			p.await(r.group.Progress(), time.Time{})
		}
	}
}

// keeps reports whether the log has m still though it has been taken out, since the process
// stops: it may go on in another one, and its connection is about to end with that.
func (rp *replica) keeps(m *Member) bool {
	return rp.phase > phaseReady && rp.state.Member(m.Info().ID) != nil
}

// arrives makes m, which was connected to another process, the member of a connection of
// this hub, if it is of one.
func (p *pass) arrives(m *Member, l *link) {
	if p.r.hub == nil {
		return
	}
	m.presence = newPresence(m)
	m.presence.setHash(ledger.KeyOf(string(l.hello.Resume.Token)))
}

// partGoesOn is goOnHere for one of the memberships of a connection.
func (p *pass) partGoesOn(c *coming, m *Member, res *fold.Result) {
	r, s := p.r, c.stream
	l := s.link
	switch {
	case m != c.member || m.Remote() != c.arrives: // as in goOnHere
		c.err = ErrUnavailable
	case m.state == memberLeaving: // who had it go sees it out
		c.err = cmpErr(m.Err(), ErrNotMember)
		return
	case c.pos.Seq > r.seq:
		c.err = fmt.Errorf("%w: %d, the last event is %d", errFutureSeq, c.pos.Seq, r.seq)
	case c.arrives:
		c.err = p.partArrives(c, m, res)
	case !m.presence.isBy(l):
		c.err = cmpErr(l.Err(), ErrTakenOver)
	default:
		s.owesLeave = m.at.Load().owesLeave
		c.err = p.goOnBy(s, c.lane, m, c.pos, c.entry)
	}
	if c.in = c.err == nil; !c.in {
		p.stays(m)
	}
}

// partArrives is partGoesOn for a membership that was connected to another process.
func (p *pass) partArrives(c *coming, m *Member, res *fold.Result) error {
	r, l := p.r, c.stream.link
	m.presence = l.member.presence
	if !m.presence.add(m, l) {
		return cmpErr(l.Err(), ErrTakenOver)
	}
	m.session = &session{start: res.Member.Joined}
	if n := res.Member.Number; n > 0 {
		m.take(n, 0)
	}
	if m.turn == nil && r.cfg.hooks.serial() {
		m.turn = make(chan struct{}, 1)
	}
	err := p.goOnBy(c.stream, c.lane, m, c.pos, c.entry)
	if err != nil {
		m.presence.remove(m)
	}
	return err
}

// goOnBy has m go on by s, in a lane that counts it already, from pos.
func (p *pass) goOnBy(s *stream, lane *lane, m *Member, pos Position, e entry) (err error) {
	r := p.r
	var missed [][]byte
	var welcome []byte
	if missed, e.outcome, err = r.missedLocked(p, s, lane, m, pos.Seq); err == nil {
		welcome, err = r.welcomeLocked(p, s, m, e.token, e)
	}
	if err != nil {
		return err
	}
	r.takeOverLocked(p, s)
	r.attachLocked(s, lane)
	s.cur.Insert(welcome, len(welcome))
	s.cur.InsertShared(missed)
	return nil
}

// resumePartByLog is resumePart in a room with a log. arrives says that m was connected to
// another process.
func (r *Room) resumePartByLog(l *link, m *Member, pos Position, e entry, arrives bool) error {
	s := &stream{link: l, room: r, member: m, form: l.partForm(), owesLeave: true}
	ctx, cancel := s.untilPlaced()
	defer cancel()
	addr, hash := l.ip(), l.member.presence.hashNow()
	p := r.pass(ctx, nil)
	defer p.end()
	for {
		known := r.replica.known
		if arrives {
			if err := p.awaitSuccessors(l, m); err != nil {
				return err
			}
		}
		banned := r.banned(m.Name(), addr)
		switch {
		case r.state != roomOpen:
			return ErrRoomClosed
		case !l.member.presence.isBy(l):
			return cmpErr(l.Err(), ErrTakenOver)
		case !m.state.in(), !arrives && m.Remote():
			return ErrNotMember
		case banned != nil:
			return banned
		case !arrives && m.session == nil, !ledger.Equal(pos.Epoch, r.epoch.get()):
			return fmt.Errorf("%w: another epoch", ErrNotMember)
		}
		c := &coming{stream: s, member: m, entry: e, arrives: arrives, pos: pos}
		var err error
		if c.lane, err = r.laneLocked(l.transport.cfg, s.form); err != nil {
			return err
		}
		err = p.comeByLog(c, &fold.Entry{Kind: fold.Resume, ID: m.Info().ID, Number: known, Hash: hash, Addr: addr})
		if err != errOvertaken {
			return err
		}
		// By a connection before this one, which has come in here later, or by one that
		// came later: which of them counts "*" says.
	}
}

// awaitSuccessors is for l, with which m is to go on, that another process has. If m is
// connected there, that may be by a connection which came after l: then "*" has said so, and
// when this returns, which lets go of the lock meanwhile, that was read here. One of which
// "*" says so later resumes m behind what was known here before.
func (p *pass) awaitSuccessors(l *link, m *Member) error {
	of := p.r.replica.state.Member(m.Info().ID)
	if of == nil || !of.Detached.IsZero() {
		return nil
	}
	p.letGo()
	err := l.room.catchUpUntil(p.ctx)
	p.r.mu.Lock()
	p.now = time.Now()
	return err
}

// resumeFromElsewhere lets the membership of l's member in the named room, which was
// connected to another process, go on by l.
func (h *Hub) resumeFromElsewhere(l *link, name string, pos Position, e entry) (err error) {
	pr := l.member.presence
	if in, err := pr.claimLater(l, name, h.cfg.maxPerConn, !l.labelled); in != nil || err != nil {
		return cmpErr(err, errEntering)
	}
	defer pr.unclaim(name)
	hr, err := h.acquire(l.Context(), l, name, h.cfg.open)
	if err != nil {
		return err
	}
	defer h.unpin(hr)
	r := hr.room
	if err := r.awaitPart(l.Context(), l); err != nil {
		return err
	}
	m, err := r.arriving(l)
	if errors.Is(err, ErrNotMember) { // as far as this node has read the log
		if err = r.catchUp(l); err == nil {
			m, err = r.arriving(l)
		}
	}
	if err != nil {
		return err
	}
	defer r.arrived(m)
	if onJoin := r.cfg.hooks.onJoin; onJoin != nil {
		if err := l.call(hookOnJoin, func() error { return onJoin(m) }); err != nil {
			return refuse(err)
		}
	}
	returned := false
	defer func() {
		if onLeave := r.cfg.hooks.onLeave; onLeave != nil && returned && err != nil {
			r.callAside(l, pr, hookOnLeave, func() error { onLeave(m, err); return nil })
		}
	}()
	if err = r.resumePartByLog(l, m, pos, e, true); err == nil {
		m.followName()
	}
	returned = true
	return err
}

// arriving returns the member of r that is of l's connection, and is connected to another
// process. It may not be resumed by anybody else before arrived.
func (r *Room) arriving(l *link) (*Member, error) {
	pr := l.member.presence
	id, hash := pr.base.Info().ID, pr.hashNow()
	ctx, cancel := withDeadline(l.Context(), until(l.cfg.handshakeTimeout), ErrUnavailable)
	defer cancel()
	p := r.pass(ctx, nil)
	defer p.end()
	for {
		m := r.memberLocked(id)
		of := r.replica.state.ByHash(hash)
		switch {
		case r.state != roomOpen:
			return nil, ErrRoomClosed
		case m == nil || of == nil || of.ID != id:
			return nil, fmt.Errorf("%w: %q", ErrNotMember, r.name)
		case m.Remote() && !m.arrives:
			m.arrives = true
			return m, nil
		}
		// A connection of before has it here still, or another one resumes it.
		if err := p.await(r.group.Progress(), time.Time{}); err != nil {
			return nil, err
		}
	}
}

// has reports whether a member of r is of the same connection as pr, and connected to
// another process.
func (r *Room) has(pr *presence) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	of := r.replica.state.ByHash(pr.hashNow())
	return of != nil && of.ID == pr.base.Info().ID
}

// leaveElsewhere has l's connection leave the rooms that are open here, that named does not
// have, and in which it was by another process. When it returns, nothing more that the
// connection said there gets a place.
func (h *Hub) leaveElsewhere(l *link, named map[string]Position) {
	if h.cfg.backplane == nil {
		return
	}
	for _, r := range h.openRooms(false) {
		if _, ok := named[r.name]; !ok && r.has(l.member.presence) {
			r.leaveElsewhere(l)
		}
	}
}

func (r *Room) leaveElsewhere(l *link) {
	ctx, cancel := withDeadline(l.Context(), until(l.cfg.handshakeTimeout), ErrUnavailable)
	defer cancel()
	p := r.pass(ctx, nil)
	defer p.end()
	id := l.member.presence.base.Info().ID
	if r.members.byID(id) != nil || r.replica.phase != phaseReady {
		return
	}
	c := newCall()
	c.keep = true
	c.add(&fold.Entry{Kind: fold.Leave, ID: id, Service: true, Cause: string(errLeft)})
	if p.submit(c, true) == nil {
		l.member.presence.took(c.outcomes[0].number) // it may be sent again, to any room
	}
}

// roomElsewhere returns the name of the room in which l's member, of a connection that
// names none, was at another process; empty if that is not known here.
func (h *Hub) roomElsewhere(l *link) string {
	if h.cfg.backplane == nil {
		return ""
	}
	for _, r := range h.openRooms(false) {
		if r.has(l.member.presence) {
			return r.name
		}
	}
	return h.firstRoom(l)
}

// removeByLog is remove in a hub whose rooms have logs.
func (h *Hub) removeByLog(ctx context.Context, name string, r *Room, reason string) error {
	h.mu.Lock()
	hr := h.rooms[name]
	stops := h.stops
	h.mu.Unlock()
	if hr == nil || stops || r != nil && r != hr.room {
		return fmt.Errorf("%w: %q", ErrNoRoom, name)
	}
	r = hr.room
	ctx, cancel := context.WithTimeoutCause(ctx, r.cfg.maxOutage, ErrUnavailable)
	defer cancel()
	p := r.pass(ctx, nil)
	r.replica.ofHub.reason = reason
	_, err := p.submitOne(&fold.Entry{Kind: fold.End, Force: true}, false)
	if err != nil && !errors.Is(err, ErrUncertain) { // it is not going to end for that reason
		r.replica.ofHub.reason = ""
	}
	// It was empty here, or this process stops: then it may go on elsewhere.
	left := errors.Is(err, ErrRoomClosed) && !errors.Is(err, ErrUncertain) && !r.replica.ofHub.ended
	p.end()
	if left {
		return fmt.Errorf("%w: %q", ErrNoRoom, name)
	}
	if err != nil && !errors.Is(err, ErrRoomClosed) {
		return err
	}
	if err := h.takeOut(name, r, reason); err != nil {
		if in, _ := h.Lookup(name); in == r { // the hub stops: its members may wait for the caller, a hook
			return err
		}
		r.awaitEmpty() // the log was faster
	}
	return nil
}

// awaitEmpty waits until r, which is closed or about to be, has no members.
func (r *Room) awaitEmpty() {
	p := r.pass(context.Background(), nil)
	defer p.end()
	for r.state == roomOpen || r.members.len() > 0 {
		if p.await(r.group.Progress(), time.Time{}) != nil {
			return
		}
	}
}

// moveByLog is swap in a hub whose rooms have logs: it has the join ordered, and then the
// leave. Others see the member in both rooms in between, and its connection gets nothing
// of the new one before the old one has ended. So a second move waits for that.
func (c *candidate) moveByLog(m *Member, e entry) (seq uint64, moved, left bool, err error) {
	moves := m.presence.far.moves
	moves <- struct{}{}
	defer func() { <-moves }()
	if err := m.mayMove(c.s.link); err != nil {
		return 0, false, false, err
	}
	c.s.follows = true
	seq, err = c.s.room.joinByLog(c.s, c.s.member, e)
	if c.s.cur == nil {
		return 0, false, false, err
	}
	left = m.room.depart(m, errMoved, errMoved, e.ref)
	if cause := c.s.member.Err(); cause != nil { // it is out of that room too by now
		c.s.link.alone(cause)
	}
	c.s.cur.Show()
	if err != nil || c.s.room.cfg.hooks.onJoined == nil { // else it has to return first
		c.s.cur.Release()
	}
	return seq, true, left, err
}

// mayMove says why m, of the connection l, cannot move now; nil if it can.
func (m *Member) mayMove(l *link) error {
	m.room.mu.Lock()
	defer m.room.mu.Unlock()
	s := m.at.Load()
	switch {
	case m.Remote(), !m.state.in():
		return cmpErr(l.Err(), ErrNotMember)
	case m.state != memberPresent || s.link != l || s.state != streamJoined:
		return cmpErr(l.Err(), ErrDetached)
	case m.room.state != roomOpen:
		return ErrRoomClosed
	}
	return l.Err()
}
