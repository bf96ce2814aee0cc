package tcproom

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"

	"example.com/tcproom/internal/ledger"
)

// present says how the events of l's own stream are said, once its hello was read.
func (l *link) present() {
	hello := l.helloSaid()
	l.labelled = l.cfg.features.Rooms && (hello.Rooms != nil || hello.Resume != nil && hello.Resume.Rooms != nil)
	l.form = formAside
	if l.labelled {
		l.form = formRoom
	}
}

// ip returns the IP address of l's peer, if bans could be about it, or other processes want
// to know it.
func (l *link) ip() (addr netip.Addr) {
	if l.room.hub != nil || l.room.replica != nil {
		addr = ipOf(l.RemoteAddr())
	}
	return addr
}

// commands reports whether the peer of l is a person with commands: it can name rooms,
// one at a time.
func (l *link) commands() bool { return l.cfg.features.Requests && !l.cfg.features.Rooms }

// partForm returns how the events of l's rooms are said.
func (l *link) partForm() form {
	if l.labelled || l.commands() {
		return formRoom
	}
	return formPlain
}

// alone ends l because of cause, if it was for one room and is in none any more.
func (l *link) alone(cause error) {
	if l.isAlone() && l.member.presence.len() == 0 {
		l.end(cause)
	}
}

// enterFirst lets l, whose member has joined "*", into its first rooms. An error ends l.
func (h *Hub) enterFirst(l *link) error {
	hello := l.helloSaid()
	if l.labelled {
		l.sink.Flush() // its welcome
		for _, name := range hello.Rooms {
			if _, _, err := h.enter(l.Context(), l, name, entry{history: hello.History}, true); err != nil {
				if cause := l.Err(); cause != nil {
					return cause
				}
				if err := l.refuse(&Request{Kind: ReqEnter, Room: name}, err); err != nil {
					return err
				}
			}
		}
		return nil
	}
	l.nowhere = true
	name := h.firstRoom(l)
	if name == "" {
		return fmt.Errorf("%w: none was named", ErrNoRoom)
	}
	e := entry{history: hello.History, since: hello.Since, outcome: l.newcomer.outcome, token: l.newcomer.token}
	if _, _, err := h.enter(l.Context(), l, name, e, true); err != nil {
		return cmpErr(l.Err(), err)
	}
	l.nowhere = false
	return nil
}

// firstRoom returns the room of l, which names none; empty if there is none.
func (h *Hub) firstRoom(l *link) string {
	return cmp.Or(l.newcomer.room, l.cfg.inRoom, h.cfg.defaultRoom)
}

// Enter makes m's connection a member of the named room too, as if it had asked, and
// returns that membership; it may exist already. m is any membership of the connection.
// [OnEnter] is not called. Hooks of the room are called on this goroutine, and an error
// of theirs is returned. Enter waits for these, for [OnRoom], and until the join has its
// place; ctx bounds the wait for OnRoom alone, and that for a connection which has still
// to read what 64 rooms that it has left had for it.
//
// Other errors are those of [Hub.Room], [ErrTooManyRooms], [ErrRoomFull], [ErrBanned],
// [ErrDetached] while the connection is lost, [ErrNotMember] if it has left,
// Cause("retry") if another call has it enter the same room now, and Cause("one-room") if
// it is in a room already and does not name rooms in its hello, as no connection of
// [Text] does: it can be moved only. With [WithBackplane] they are also [ErrElsewhere] if
// the connection is made to another process, which alone can do that, and
// [ErrUnavailable] if the room's log does not answer within [WithHandshakeTimeout].
func (h *Hub) Enter(ctx context.Context, m *Member, room string) (*Member, error) {
	l, err := h.linkOf(m)
	if err != nil {
		return nil, err
	}
	if err := l.awaitEnded(ctx); err != nil {
		return nil, err
	}
	entered, _, err := h.enter(ctx, l, room, entry{}, false)
	return entered, l.goneError(err)
}

// goneError returns what a call of the program's returns that has failed with err, which may
// be why l has ended meanwhile.
func (l *link) goneError(err error) error {
	switch cause := l.Err(); {
	case err == nil || cause == nil || !errors.Is(err, cause):
		return err
	case l.room.mayResume(l.cfg) && !l.goodbye.Load() && vanished(l.ended()):
		return fmt.Errorf("%w: %w", ErrDetached, err)
	}
	return fmt.Errorf("%w: %w", ErrNotMember, err)
}

// linkOf returns the connection of m, if it has one that can enter rooms.
func (h *Hub) linkOf(m *Member) (*link, error) {
	if m.Remote() && m.room.hub == h {
		return nil, fmt.Errorf("%w: only the process to which the connection is made can do that", ErrElsewhere)
	}
	p := m.presence
	if p == nil || p.base.room != h.all {
		return nil, fmt.Errorf("%w: of no room of this hub", ErrNotMember)
	}
	p.mu.Lock()
	l := p.link
	p.mu.Unlock()
	if l == nil {
		if err := p.base.Err(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNotMember, err)
		}
		return nil, ErrDetached
	}
	return l, nil
}

// Leave ends the membership m with a goodbye that says the reason. It is [Member.Kick] by
// another name, so the cause is [ErrKicked]. The connection goes on, unless it is one
// that names no rooms, see [Hub], or m is its member of [Hub.All]; a person with commands
// stays connected, in no room. It returns [ErrNotMember] if m has left. [OnLeave] is
// called on a goroutine of its own.
func (h *Hub) Leave(m *Member, reason string) error { return m.Kick(reason) }

// kickPart is Kick of one of several memberships.
func (m *Member) kickPart(cause error, code Cause) bool {
	r := m.room
	if !r.depart(m, cause, code, 0) {
		return false
	}
	s := m.at.Load()
	go r.seeOutPart(s, nil)
	s.link.alone(cause)
	return true
}

// endParts takes the memberships of l, which has ended, out of their rooms, or lets
// them stay without it. It returns the streams of those that have left.
func (h *Hub) endParts(l *link, parts []*stream, cause error, stays bool) (left []*stream) {
	switch {
	case stays:
		for _, s := range parts {
			s.room.detachPart(s)
		}
	case l.member != nil && l.member.presence != nil:
		p := l.member.presence
		h.leaveAll(p, cause, l.ended()) // also those that l has not resumed yet
		left = p.takeOwed()
	}
	return left
}

// leaveAll takes all memberships of a connection, which leaves for good, out of their
// rooms. When it returns, their leaves have their places. Whoever sees the connection out
// calls OnLeave for them.
func (h *Hub) leaveAll(p *presence, cause error, code Cause) {
	p.connect(nil)
	if p.isElsewhere() {
		for _, m := range p.all() {
			m.room.handOver(m, p.owe)
		}
		return
	}
	for _, m := range p.all() {
		m.room.departing(m, cause, code, 0, nil, p.owe)
	}
}

// parts returns the streams of l beside its own, when l has ended: none is added any
// more.
func (l *link) parts() []*stream {
	if l.member == nil || l.member.presence == nil {
		return nil
	}
	return l.member.presence.disconnect(l)
}

// beside returns what parts did, once l has ended.
func (l *link) beside() []*stream {
	if l.door.rare == nil {
		return nil
	}
	return l.door.rare.beside
}

// leaveLanes says that those streams, whose sink is closed, need nothing more of their
// lanes.
func (l *link) leaveLanes(parts []*stream) {
	for _, s := range parts {
		s.room.leaveLane(s)
	}
}

// detachPart keeps the member of s, whose link has ended.
func (r *Room) detachPart(s *stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := s.member; m.at.Load() == s && m.state == memberPresent && s.state == streamJoined {
		r.moveStreamLocked(s, streamParted)
		r.moveLocked(m, memberDetached)
		if rp := r.replica; rp != nil && rp.phase <= phaseDraining { // else node-left does it
			rp.detachLocked(m)
		}
	}
}

// notifyParts calls OnLeave for each of those streams' members on the goroutine of l,
// also if one of the hooks ends it.
func (l *link) notifyParts(left []*stream) {
	for i := len(left) - 1; i >= 0; i-- {
		defer left[i].room.seeOutPart(left[i], l)
	}
}

// resumeParts lets the memberships of l's member, which has resumed, go on by l. What
// the hello does not name is left.
func (h *Hub) resumeParts(l *link) error {
	p := l.member.presence
	l.sink.Flush() // its welcome
	hello := l.hello.Resume
	if !l.labelled {
		return h.resumeOnly(l)
	}
	var lost []*stream
	defer func() { l.notifyParts(lost) }()
	known := make(map[string]bool)
	for _, m := range p.all() {
		name := m.room.name
		known[name] = true
		if m.at.Load().link == l { // entered since
			continue
		}
		pos, named := hello.Rooms[name]
		var err error = errLeft
		if named {
			err = m.room.resumePart(l, m, pos, entry{})
		}
		if cause := l.Err(); cause != nil {
			return cause
		}
		if err == nil {
			if h.cfg.backplane != nil {
				m.followName()
			}
			continue
		}
		if s := m.at.Load(); l.leaves(m, err) {
			lost = append(lost, s)
		}
		if named {
			if err := l.refuse(&Request{Kind: ReqEnter, Room: name}, err); err != nil {
				return err
			}
		}
	}
	h.leaveElsewhere(l, hello.Rooms)
	for name, pos := range hello.Rooms {
		if known[name] {
			continue
		}
		err := fmt.Errorf("%w: %s", ErrNotMember, quotePeer(name))
		if h.cfg.backplane != nil {
			err = h.resumeFromElsewhere(l, name, pos, entry{})
			if cause := l.Err(); cause != nil {
				return cause
			}
			if err == nil {
				continue
			}
		} else if _, ok := h.Lookup(name); !ok {
			err = fmt.Errorf("%w: %s", ErrNoRoom, quotePeer(name))
		}
		if err := l.refuse(&Request{Kind: ReqEnter, Room: name}, err); err != nil {
			return err
		}
	}
	return nil
}

// resumeOnly lets the membership of l's member that is for one that names no rooms go on
// by l, and no other: there are more if it named its rooms before. If that cannot be, l
// enters its first room as one that comes anew does.
func (h *Hub) resumeOnly(l *link) error {
	hello, p := l.hello.Resume, l.member.presence
	m := p.current()
	for _, other := range p.all() {
		if other != m && l.leaves(other, errLeft) {
			other.room.seeOutPart(other.at.Load(), l)
		}
	}
	if m != nil {
		err := m.room.resumePart(l, m, Position{hello.Epoch, hello.Seq}, entry{token: hello.Token})
		if err == nil || l.Err() != nil || stopsResume(err) {
			return err
		}
		if l.leaves(m, err) {
			m.room.seeOutPart(m.at.Load(), l)
		}
	}
	if name := h.roomElsewhere(l); m == nil && name != "" {
		err := h.resumeFromElsewhere(l, name, Position{hello.Epoch, hello.Seq}, entry{token: hello.Token})
		if err == nil || l.Err() != nil || stopsResume(err) {
			return cmpErr(l.Err(), err)
		}
	}
	h.leaveElsewhere(l, nil)
	l.newcomer.outcome, l.newcomer.token = outcomeExpired, hello.Token
	return h.enterFirst(l)
}

// stopsResume reports whether a connection that was refused its only room because of err ends
// instead of going on as one that comes anew. It comes back if the log did not answer: then
// its membership, or a newer connection with that, may be there.
func stopsResume(err error) bool {
	code := causeOf(err)
	return code == errFutureSeq || code == ErrBanned || code == ErrUnavailable
}

// leaves has m, which does not go on by l, leave because of cause, unless another link has
// taken it over since. It reports what depart does.
func (l *link) leaves(m *Member, cause error) bool {
	return m.room.departing(m, cause, causeOf(cause), 0, l, func(*stream) {})
}

// resumePart lets m go on by l, from the position that its peer names.
func (r *Room) resumePart(l *link, m *Member, pos Position, e entry) error {
	if r.replica != nil {
		return r.resumePartByLog(l, m, pos, e, false)
	}
	addr := l.ip()
	p := r.pass(context.Background(), nil)
	defer p.end()
	banned := r.banned(m.Name(), addr)
	switch {
	case r.state != roomOpen:
		return ErrRoomClosed
	case !m.presence.isBy(l): // it has ended, or been taken over
		return cmpErr(l.Err(), ErrTakenOver)
	case !m.state.in():
		return ErrNotMember
	case banned != nil: // by another address than that at which it was lost
		return banned
	case m.session == nil || !ledger.Equal(pos.Epoch, r.epoch.get()):
		return fmt.Errorf("%w: another epoch", ErrNotMember)
	case pos.Seq > r.seq:
		return fmt.Errorf("%w: %d, the last event is %d", errFutureSeq, pos.Seq, r.seq)
	}
	s := &stream{link: l, room: r, member: m, form: l.partForm(), owesLeave: m.at.Load().owesLeave}
	lane, err := r.laneLocked(l.transport.cfg, s.form)
	if err != nil {
		return err
	}
	lane.members++
	if err = p.goOnBy(s, lane, m, pos, e); err != nil {
		lane.members--
		r.tidyLanesLocked()
	}
	return err
}
