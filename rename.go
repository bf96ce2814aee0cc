package tcproom

import (
	"context"
	"fmt"
	"net/netip"
)

// Rename gives m's connection another name. In each of its rooms a [Renamed] is ordered,
// before Rename returns, and from that on events have the new name. m is any of the
// connection's memberships. It waits until each Renamed has its place. Errors are
// [ErrNameInvalid], [ErrNameTaken] with [WithUniqueNames], [ErrBanned] if the name is
// banned from one of the rooms, and [ErrNotMember] if the connection is gone.
//
// With [WithBackplane] the name is decided in the log of "*", also of a member that is
// connected to another process: then that has the Renamed of the rooms ordered, and Rename
// does not wait for them. Further errors are [ErrUnavailable] and [ErrUncertain].
func (h *Hub) Rename(m *Member, name string) error {
	if h.cfg.backplane != nil {
		return h.renameByLog(m, name)
	}
	p := m.presence
	if p == nil || p.base.room != h.all {
		return fmt.Errorf("%w: of no room of this hub", ErrNotMember)
	}
	if err := h.all.checkName(h.all.callPlain, name); err != nil {
		return err
	}
	addr := p.base.addr()
	for _, m := range p.all() {
		if err := h.banned(m.room.name, name, addr); err != nil {
			return err
		}
	}
	if err := h.all.renameLocked(p.base, name, addr); err != nil {
		return err
	}
	for _, m := range p.all() {
		m.followName()
	}
	return nil
}

// renameLocked gives the member of a connection another name.
func (r *Room) renameLocked(m *Member, name string, addr netip.Addr) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := m.Info()
	switch {
	case !m.state.in():
		return ErrNotMember
	case was.Name == name:
		return nil
	}
	if err := r.banned(name, addr); err != nil {
		return err
	}
	if r.cfg.unique {
		if _, taken := r.names[name]; taken {
			return fmt.Errorf("%w: %q", ErrNameTaken, name)
		}
		delete(r.names, was.Name)
		r.names[name] = m
	}
	m.who.Store(&MemberInfo{ID: was.ID, Name: name})
	return nil
}

// followName gives m, one of the memberships of a connection, the name that this has
// now, if it has another. So whatever is renamed at once, all have the last name.
func (m *Member) followName() {
	if m.Info() == m.presence.base.Info() {
		return
	}
	if m.room.replica != nil {
		m.followNameByLog()
		return
	}
	m.presence.naming.Lock()
	defer m.presence.naming.Unlock()
	if banned := m.orderNames(m.addr()); banned != nil {
		m.kickPart(banned, ErrBanned)
	}
}

// orderNames orders what followName has to, unless the name is banned from the room.
func (m *Member) orderNames(addr netip.Addr) (banned error) {
	p := m.room.pass(context.Background(), nil)
	defer p.end()
	if !m.state.in() {
		return nil
	}
	for was, is := m.Info(), m.presence.base.who.Load(); m.state.in() && was != *is; was, is = m.Info(), m.presence.base.who.Load() {
		if err := m.room.banned(is.Name, addr); err != nil {
			return err
		}
		ev := &Event{Kind: Renamed, From: was, Body: []byte(is.Name)}
		if _, err := p.order(ev); err != nil { // the room stops
			return nil
		}
		m.who.Store(is)
	}
	return nil
}
