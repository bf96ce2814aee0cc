package tcproom

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// A Ban says which connections are kept out of a room or of the hub: those with a name,
// those of some addresses or, if it has both Name and Addr, those with both. It must have
// one of them.
type Ban struct {
	Room   string       // of which room; empty: of the whole hub
	Name   string       // the name that is banned; empty: any
	Addr   netip.Prefix // the addresses that are banned; zero: any
	Until  time.Time    // when it ends; zero: never
	Reason string       // for the people that are put out or kept out
}

// matches reports whether b is about somebody in that room.
func (b *Ban) matches(room, name string, addr netip.Addr, now time.Time) bool {
	switch {
	case b.Room != "" && b.Room != room, !b.Until.IsZero() && !now.Before(b.Until):
		return false
	case b.Name != "" && b.Name != name:
		return false
	case b.Addr.IsValid() && !b.Addr.Contains(addr.WithZone("")):
		return false
	}
	return true
}

func (b *Ban) isSame(o *Ban) bool { return b.Room == o.Room && b.Name == o.Name && b.Addr == o.Addr }

// banError is ErrBanned with the reason.
type banError struct{ reason string }

func (e *banError) Error() string {
	if e.reason == "" {
		return ErrBanned.Error()
	}
	return fmt.Sprintf("%v: %q", ErrBanned, e.reason)
}

func (e *banError) Unwrap() error { return ErrBanned }

// Ban puts out the connections that b is about, and keeps them out. It returns how many
// memberships in b.Room it has ended or, if that is empty, how many connections. When it
// returns, nobody that b is about is in, and nobody will be until b ends or [Hub.Unban]
// is called. A second ban of the same Room, Name and Addr replaces the first. It returns
// [ErrOption] if b has neither Name nor Addr, or an invalid Addr. It waits until the leaves have their places
// in the order; [OnLeave] is called on other goroutines. The list of bans is in memory.
//
// A ban by name is of use only if people cannot choose another name: a [WithHandshake]
// hook gives it, and [OnRequest] refuses [ReqRename].
//
// With [WithBackplane] a ban is in the log of b.Room, or of "*" if that is empty, so all
// processes know of it; that of a room opens the room here. Who is put out at another
// process has left when Ban returns, and is told when that process has read so. A ban of
// the hub also ends at once what memberships it matches in the rooms that are open here;
// those in other rooms end with the connection. Further errors are [ErrUnavailable],
// [ErrUncertain] and those of [Hub.Room].
func (h *Hub) Ban(b Ban) (put int, err error) {
	switch none := (netip.Prefix{}); {
	case b.Addr != none && !b.Addr.IsValid():
		return 0, fmt.Errorf("%w: the Addr of a Ban is no valid prefix; that of one address has 32 or 128 bits", ErrOption)
	case b.Addr == none && b.Name == "":
		return 0, fmt.Errorf("%w: a Ban without Name and Addr is about nobody", ErrOption)
	}
	b.Addr = plainPrefix(b.Addr)
	if h.cfg.backplane != nil {
		return h.banByLog(&b)
	}
	h.mu.Lock()
	h.setBansLocked(append(h.bansNowLocked(&b), b))
	h.mu.Unlock()
	if b.Room != "" {
		if r, ok := h.Lookup(b.Room); ok {
			put = r.putOutBanned(&b)
		}
		return put, nil
	}
	put = h.all.putOutBanned(&b)
	for _, r := range h.Rooms("") { // of those that are renamed now, or leave
		put += r.putOutBanned(&b)
	}
	return put, nil
}

// plainPrefix returns p as addresses are compared with it: one of IPv4 addresses that are
// mapped into IPv6 is one of IPv4 addresses.
func plainPrefix(p netip.Prefix) netip.Prefix {
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// putOutBanned has the members leave whom b matches, with their connections if it is of
// the whole hub, and returns how many memberships, or connections, that ended.
func (r *Room) putOutBanned(b *Ban) (put int) {
	cause := &banError{b.Reason}
	for m := range r.Members() {
		if !b.matches(r.name, m.Name(), m.addr(), time.Now()) {
			continue
		}
		of := m
		if b.Room == "" {
			of = m.presence.base
		}
		if of.kick(cause) {
			put++
		}
		if of != m {
			m.kick(cause) // its connection may have left before
		}
	}
	return put
}

// addr returns the IP address of m's connection, or the last one, invalid if it has none.
func (m *Member) addr() netip.Addr { return ipOf(m.RemoteAddr()) }

// Unban ends the ban of the same Room, Name and Addr, and reports whether there was one.
// With [WithBackplane] it waits until that has its place in the log, and returns false if
// it gets none.
func (h *Hub) Unban(b Ban) bool {
	b.Addr = plainPrefix(b.Addr)
	if h.cfg.backplane != nil {
		return h.unbanByLog(&b)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.Bans()
	after := h.bansNowLocked(&b)
	h.setBansLocked(after)
	return slices.ContainsFunc(before, func(o Ban) bool { return o.isSame(&b) })
}

// Bans returns the bans of this moment, oldest first. With [WithBackplane] those of the
// hub come first, and then those of the rooms that are open in this process, room by room.
func (h *Hub) Bans() []Ban {
	now := time.Now()
	var list []Ban
	if h.cfg.backplane != nil {
		return h.bansByLog(now)
	}
	if bans := h.bans.Load(); bans != nil {
		for _, b := range *bans {
			if b.Until.IsZero() || now.Before(b.Until) {
				list = append(list, b)
			}
		}
	}
	return list
}

// bansNowLocked returns the bans of this moment, but for one like b.
func (h *Hub) bansNowLocked(b *Ban) []Ban {
	return slices.DeleteFunc(h.Bans(), func(o Ban) bool { return o.isSame(b) })
}

func (h *Hub) setBansLocked(list []Ban) { h.bans.Store(&list) }

// Banned returns an error that wraps [ErrBanned], and says the reason, if a ban of this
// moment is about somebody of that name and address in the named room, or in the whole
// hub; nil if there is none. It is for programs that let people speak or read without a
// membership. With an empty name no ban by name is looked at, and with a nil address none
// by address. It does not block.
func (h *Hub) Banned(room, name string, addr net.Addr) error {
	return h.banned(room, name, ipOf(addr))
}

// banned returns why nobody of that name and address may be in r; nil if there is no
// reason. Under r's lock what it says holds: who bans looks at the members afterwards.
func (r *Room) banned(name string, addr netip.Addr) error {
	switch {
	case r.hub == nil:
		return nil
	case r.replica != nil:
		return cmpErr(r.hub.all.bannedByLog(name, addr), r.bannedByLog(name, addr))
	}
	return r.hub.banned(r.name, name, addr)
}

// banned is Room.banned of the room of that name, without its lock.
func (h *Hub) banned(room, name string, addr netip.Addr) error {
	if h.cfg.backplane != nil {
		if r, ok := h.Lookup(room); ok {
			return r.banned(name, addr)
		}
		return h.all.bannedByLog(name, addr)
	}
	bans := h.bans.Load()
	if bans == nil {
		return nil
	}
	now := time.Now()
	for i := range *bans {
		if b := &(*bans)[i]; b.matches(room, name, addr, now) {
			return &banError{b.Reason}
		}
	}
	return nil
}

// A mute is of one member, by its ID and name.
type mute struct {
	name  string
	until time.Time
}

// Mute keeps what the member with that ID sends out of the order until then, also if it
// comes back with the same name: when Mute returns, no further message of the member gets
// a place. The member's messages are refused with [ErrMuted], and [Member.Post] returns
// that. A mute is of this room alone, and direct messages are not of a room. A zero time,
// or one that has passed, ends it. It does not block, and returns [ErrNotMember] if there
// is no such member.
//
// In a room with a log the mute is one of all processes. Mute blocks there until it has
// its place, and may return [ErrUnavailable], or an error that wraps [ErrUncertain], if
// that takes longer than [WithMaxOutage].
func (r *Room) Mute(id string, until time.Time) error {
	if r.replica != nil {
		return r.muteByLog(id, until)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.members.byID(id)
	if m == nil {
		return ErrNotMember
	}
	r.muteLocked(id, m.Name(), until)
	return nil
}

// muteLocked is Mute of a member with that name.
func (r *Room) muteLocked(id, name string, until time.Time) {
	now := time.Now()
	for id, mu := range r.muted { // of it, and what is over
		if mu.name == name || !now.Before(mu.until) {
			delete(r.muted, id)
		}
	}
	if until.IsZero() {
		delete(r.muted, id)
		return
	}
	if r.muted == nil {
		r.muted = make(map[string]mute)
	}
	r.muted[id] = mute{name, until}
}

// isMutedLocked reports whether who, or a member of that name, may not say anything now.
func (r *Room) isMutedLocked(who MemberInfo, now time.Time) bool {
	if rp := r.replica; rp != nil {
		return rp.state.Muted(who.ID, who.Name, now.Add(rp.skew))
	}
	if len(r.muted) == 0 {
		return false
	}
	if mu, ok := r.muted[who.ID]; ok && now.Before(mu.until) {
		return true
	}
	for _, mu := range r.muted {
		if mu.name == who.Name && now.Before(mu.until) {
			return true
		}
	}
	return false
}
