package tcproom

import (
	"context"
	"fmt"

	"example.com/tcproom/internal/fanout"
)

// Move takes m out of its room and into the named one at one instant: at no time is its
// connection in both, or in neither. It returns the new membership; with an error m is
// where it was. [OnEnter] is not called; hooks of the room that it enters are called on
// this goroutine, and OnLeave of the other on one of its own, with Cause("moved"). If m
// is in the named room, m itself is returned. Errors are those of [Hub.Enter],
// [ErrNotMember] if m has left or is the member of [Hub.All], and [ErrDenied] if the
// connection is in the named room by another membership. It waits as Enter does, and
// besides, as far as ctx allows, for messages that m's room holds back.
//
// With [WithBackplane] a move is a join and then a leave, and between the two others see
// the connection in both rooms; itself it gets nothing of the new one before the old one
// has ended. If the join gets no place m is where it was.
func (h *Hub) Move(ctx context.Context, m *Member, room string) (*Member, error) {
	l, err := h.linkOf(m)
	if err != nil {
		return nil, err
	}
	if !m.isPart() {
		return nil, fmt.Errorf("%w: %q is no room to leave", ErrNotMember, m.room.name)
	}
	if m.room.name == room {
		return m, nil
	}
	if err := l.awaitEnded(ctx); err != nil {
		return nil, err
	}
	if err := m.room.orderHeld(ctx); err != nil { // what OnMessage has returned comes before
		return nil, err
	}
	moved, err := h.move(ctx, l, m, room, entry{}, false)
	return moved, l.goneError(err)
}

// errAlreadyIn is why a connection cannot move to a room in which it is.
var errAlreadyIn = fmt.Errorf("%w: this connection is in that room already", ErrDenied)

func (h *Hub) move(ctx context.Context, l *link, m *Member, room string, e entry, asked bool) (*Member, error) {
	p := l.member.presence
	if in, err := p.claim(l, room, 0, false); in != nil || err != nil {
		return nil, cmpErr(err, errAlreadyIn)
	}
	defer p.unclaim(room)
	c, err := h.knockAt(ctx, l, room, asked)
	if err != nil {
		return nil, err
	}
	defer c.done()
	old := m.at.Load()
	c.s.member.takeTurn(nil) // as in join
	swap := c.swap
	if old.room.replica != nil {
		swap = c.moveByLog
	}
	seq, moved, left, err := swap(m, e)
	if !moved {
		c.s.member.giveTurn()
		c.fail(err)
		return nil, err
	}
	defer h.checkEmpty(old.room)
	switch {
	case !left: // who had it leave sees it out
	case asked:
		defer old.room.seeOutPart(old, l) // also if a hook ends the goroutine
	default: // a hook of m may be the caller
		go old.room.seeOutPart(old, nil)
	}
	if err != nil {
		c.s.member.giveTurn()
		c.fail(err)
		return nil, err
	}
	h.mu.Lock()
	h.moves++
	h.mu.Unlock()
	c.welcome(seq)
	return c.s.member, nil
}

// swap orders the leave of m and the join of the candidate at one instant, under the
// locks of both rooms, and reports whether it did, and whether the leave is its own. It
// waits while either of them has no place.
func (c *candidate) swap(m *Member, e entry) (seq uint64, moved, left bool, err error) {
	from, to := m.room, c.s.room
	for {
		out, in := bothPasses(from, to)
		seq, moved, ch, err := c.trySwap(out, in, m, e)
		room := from
		if ch != nil && ch.room == to {
			room = to
		}
		if from.num < to.num { // the reverse of taking
			in.end()
			out.end()
		} else {
			out.end()
			in.end()
		}
		if moved {
			m.unblock()
		}
		if err != nil || ch == nil {
			return seq, moved, moved, err
		}
		if err := room.group.Await(context.Background(), ch.progress, 0); err != nil {
			return 0, false, false, err
		}
	}
}

// bothPasses begins a pass in each of two rooms, in the order of their numbers.
func bothPasses(from, to *Room) (out, in *pass) {
	if from.num < to.num {
		out = from.pass(context.Background(), nil)
		in = to.pass(context.Background(), nil)
	} else {
		in = to.pass(context.Background(), nil)
		out = from.pass(context.Background(), nil)
	}
	return out, in
}

// A hindrance is a room that has no place for an event now, and what ends that.
type hindrance struct {
	room     *Room
	progress <-chan struct{}
}

// trySwap is swap, unless one of the rooms has no place now.
func (c *candidate) trySwap(out, in *pass, m *Member, e entry) (seq uint64, moved bool, wait *hindrance, err error) {
	s, old := c.s, m.at.Load()
	from, to, l := out.r, in.r, s.link
	banned := to.banned(s.member.Name(), c.addr) // since its place was reserved
	switch {
	case !m.state.in():
		return 0, false, nil, cmpErr(l.Err(), ErrNotMember)
	case m.state != memberPresent || old.link != l || old.state != streamJoined: // l has not resumed it yet
		return 0, false, nil, cmpErr(l.Err(), ErrDetached)
	case l.Err() != nil:
		return 0, false, nil, l.Err()
	case to.state != roomOpen || from.state != roomOpen:
		return 0, false, nil, ErrRoomClosed
	case banned != nil:
		return 0, false, nil, banned
	}
	lane, err := to.laneLocked(l.transport.cfg, s.form)
	if err != nil {
		return 0, false, nil, err
	}
	lane.members++
	defer func() {
		if !moved {
			lane.members--
			to.tidyLanesLocked()
		}
	}()
	in.now = out.now
	leave := &Event{Kind: Leave, From: m.Info()}
	join := &Event{Kind: Join, From: s.member.Info()}
	out.owner = old
	if wait := out.prepare(leave); wait != nil {
		return 0, false, wait, nil
	}
	if wait := in.prepare(join); wait != nil {
		return 0, false, wait, nil
	}
	past, err := to.historyLocked(in, s, lane, e)
	if err != nil {
		return 0, false, nil, err
	}
	if !m.presence.replace(m, s.member, l) { // nothing may fail behind this
		return 0, false, nil, cmpErr(l.Err(), ErrDetached)
	}
	out.settle(leave)
	m.setCause(errMoved, errMoved)
	from.moveLocked(m, memberLeaving)
	from.moveLocked(m, memberGone)
	from.moveStreamLocked(old, streamEnded)
	from.owePartLocked(m)
	from.dismissStreamLocked(old, errMoved, e.ref)
	in.settle(join)
	seq, err = in.comeIn(s, lane, past, e)
	return seq, true, nil, err
}

// prepare makes the frames of a join or leave, and says what it has to wait for, if it
// has to.
func (p *pass) prepare(ev *Event) *hindrance {
	r := p.r
	if !r.cfg.notices {
		return nil
	}
	ev.Seq, ev.Time = r.nextSeq(), p.now
	_ = p.enc.encode(r.lanes, ev) // fails for messages alone
	p.mayWait(ev)
	ch := r.group.Progress()
	if p.admit(ev, never) == fanout.Fits {
		return nil
	}
	return &hindrance{r, ch}
}

// settle orders what prepare has made ready.
func (p *pass) settle(ev *Event) {
	if p.r.cfg.notices {
		p.commit(ev)
	}
	p.owner = nil
}
