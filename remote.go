package tcproom

import (
	"iter"

	"example.com/tcproom/internal/fold"
)

// A room with a log has members that are connected to other processes, beside those in
// Room.members, which are connected here, or were last. Who they are is in the state of
// the log alone: there is a *Member for one of them only if somebody asks for it.

// listed returns the state of the log if that says who is in the room; nil in a room
// without a log, and when this process has no part in its stream, or not any more.
func (r *Room) listed() *fold.State {
	rp := r.replica
	if rp == nil || r.state != roomOpen || rp.phase == phaseOver || rp.state.Epoch() == (fold.Epoch{}) {
		return nil
	}
	return rp.state
}

// lenLocked returns how many members there are.
func (r *Room) lenLocked() int {
	if s := r.listed(); s != nil {
		return s.Len()
	}
	return r.members.len()
}

// infosLocked returns the members in join order: those that joined behind the one with
// that ID, or all if there is none.
func (r *Room) infosLocked(after string) iter.Seq[MemberInfo] {
	return func(yield func(MemberInfo) bool) {
		if s := r.listed(); s != nil {
			for of := range s.Behind(s.Member(after)) {
				if r.isPlaced(of) && !yield(infoOf(of)) {
					return
				}
			}
			return
		}
		m := r.members.first
		if last := r.members.byID(after); last != nil {
			m = last.next
		}
		for m != nil && yield(m.Info()) {
			m = m.next
		}
	}
}

func infoOf(of *fold.Member) MemberInfo { return MemberInfo{ID: of.ID, Name: of.Name} }

// isPlaced reports whether the join of a member is among what was ordered here: while it
// waits for that, the log's state has the member already.
func (r *Room) isPlaced(of *fold.Member) bool { return of.Joined <= r.seq }

// allLocked returns the members in join order.
func (r *Room) allLocked() []*Member {
	all := make([]*Member, 0, r.lenLocked())
	if s := r.listed(); s != nil {
		for of := range s.Behind(nil) {
			if m := r.memberLocked(of.ID); m != nil {
				all = append(all, m)
			}
		}
		return all
	}
	for m := r.members.first; m != nil; m = m.next {
		all = append(all, m)
	}
	return all
}

// memberLocked returns the member with that ID; nil if there is none.
func (r *Room) memberLocked(id string) *Member {
	if m := r.members.byID(id); m != nil {
		return m
	}
	s := r.listed()
	if s == nil {
		return nil
	}
	of := s.Member(id)
	if of == nil || !r.isPlaced(of) {
		return nil
	}
	rp := r.replica
	m := rp.far[of.ID]
	if m == nil {
		m = &Member{room: r, state: memberPresent}
		who := infoOf(of)
		m.who.Store(&who)
		m.at.Store(rp.nowhere)
		rp.far[of.ID] = m
	}
	return m
}

// nameTakenLocked reports whether a member has that name, or somebody who joins here.
func (r *Room) nameTakenLocked(name string) bool {
	if _, taken := r.names[name]; taken {
		return true
	}
	s := r.listed()
	return r.cfg.unique && s != nil && s.Named(name) != nil
}

// comesHereLocked notes that m, a member that was connected to another process, has
// resumed here.
func (r *Room) comesHereLocked(m *Member) {
	delete(r.replica.far, m.Info().ID)
	r.members.add(m)
	r.takeNameLocked(m)
}

// goneElsewhere is for a member that is connected to another process, and has left.
func (p *pass) goneElsewhere(id string, cause error) {
	rp := p.r.replica
	m := rp.far[id]
	if m == nil {
		return
	}
	delete(rp.far, id)
	m.setCause(cause, causeOf(cause))
	m.state = memberGone
	p.left = append(p.left, m)
}

// allGoneElsewhere is goneElsewhere of all members.
func (p *pass) allGoneElsewhere(cause error) {
	for id := range p.r.replica.far {
		p.goneElsewhere(id, cause)
	}
}
