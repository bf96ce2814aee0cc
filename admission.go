package tcproom

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// Every limit on who may be in a room is judged here: slots of connections that
// have not joined, addresses, names, and the number of members.

// open gives l, which came by d, a slot, before anything is read from it, or counts it
// as refused: its peer sees it closed no earlier than that. d is nil if it came by none.
func (r *Room) open(l *link, d *Door) (err error) {
	p := r.countedAddress(l)
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() {
		if err != nil {
			r.stats.Refused++
		}
	}()
	if err := r.mayOpenLocked(d, l.cfg, p); err != nil {
		return err
	}
	r.takeSeatLocked(l, p)
	r.pending++
	r.begun++
	l.born = r.begun
	if r.replica != nil {
		l.newcomer.known = r.replica.known
	}
	r.keepLocked(l)
	return nil
}

// mayOpenLocked returns why a connection that counts for p, with cfg, gets no slot.
func (r *Room) mayOpenLocked(d *Door, cfg *connConfig, p netip.Prefix) error {
	if err := r.shutLocked(d); err != nil {
		return err
	}
	if r.pending >= r.cfg.maxPending {
		return errTooManyPending
	}
	return r.mayTakeSeatLocked(cfg, p)
}

// keepLocked keeps l among those that a stop waits for, until forget.
func (r *Room) keepLocked(l *link) {
	if r.links == nil {
		r.links = make(map[*link]struct{})
	}
	r.links[l] = struct{}{}
	l.keepers++
	r.wg.Add(1)
}

// forget is the last that a goroutine does which saw out l. It gives a seat back: that
// of l or, if it is one, of a detached member.
func (r *Room) forget(l *link, detached *Member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if detached != nil {
		r.vacateLocked(detached.session.seat)
	} else {
		r.vacateLocked(l.seat)
	}
	if l.keepers--; l.keepers == 0 {
		delete(r.links, l)
	}
	r.releasedLocked()
	r.wg.Done()
}

// release takes back what open gave. It is the last that is heard of l.
func (r *Room) release(l *link) {
	if l.sink != nil {
		l.sink.Wait()
	}
	l.mu.Lock()
	l.src = nil // with its buffer: a detached member keeps its link
	l.mu.Unlock()
	r.mu.Lock()
	if l.state != streamEnded {
		r.moveStreamLocked(&l.stream, streamEnded)
	}
	r.mu.Unlock()
	r.forget(l, nil)
}

// releaseLocked returns a channel that is closed when a link or an acceptor is
// gone, or the room begins to stop.
func (r *Room) releaseLocked() <-chan struct{} {
	if r.released == nil {
		r.released = make(chan struct{})
	}
	return r.released
}

func (r *Room) releasedLocked() {
	if r.released != nil {
		close(r.released)
		r.released = nil
	}
}

// admit takes the newcomer of l through handshake, name and OnJoin to its join.
func (r *Room) admit(l *link) error {
	l.newcomer.deadline = until(l.cfg.handshakeTimeout)
	if err := r.awaitAddr(l); err != nil {
		return err
	}
	id, err := r.handshake(l)
	if err != nil {
		return err
	}
	if r.replica != nil {
		if err := r.replica.awaitReady(l); err != nil {
			return err
		}
	}
	if r.hub != nil {
		l.present()
	}
	if resumed, err := r.resume(l, id.Name); err != nil || resumed {
		if err == nil {
			l.stream.logBegin("resumed")
		}
		if err == nil && r.hub != nil {
			err = r.hub.resumeParts(l)
		}
		return err
	}
	if err := r.checkSince(l); err != nil {
		return err
	}
	if err := r.settle(l); err != nil {
		return err
	}
	if id.Name == "" {
		id.Name = l.helloSaid().Name
	}
	if id.Name != "" {
		if err := r.checkName(l.call, id.Name); err != nil {
			return err
		}
	}
	m, err := r.reserve(l, id)
	if err != nil {
		return err
	}
	if err := l.setLimiter(m); err != nil {
		return err
	}
	if onJoin := r.cfg.hooks.onJoin; onJoin != nil {
		l.mayWait()
		if err := l.call(hookOnJoin, func() error { return onJoin(m) }); err != nil {
			return refuse(err)
		}
		l.owesLeave = true
	}
	if err := l.Err(); err != nil {
		return err
	}
	if err := r.enterRoom(l, m); err != nil || r.hub == nil {
		return err
	}
	return r.hub.enterFirst(l)
}

// enterRoom joins m, and lets OnJoined speak to it first.
func (r *Room) enterRoom(l *link, m *Member) error {
	hello := l.helloSaid()
	e := entry{history: hello.History, since: hello.Since, outcome: l.newcomer.outcome}
	onJoined := r.cfg.hooks.onJoined
	if onJoined == nil {
		_, err := r.join(&l.stream, m, e)
		if err == nil {
			l.stream.logBegin("joined")
		}
		return err
	}
	l.mayWait()
	m.takeTurn(nil)
	defer m.giveTurn()
	seq, err := r.join(&l.stream, m, e)
	if err != nil {
		return err
	}
	defer l.cur.Release()
	l.stream.logBegin("joined")
	l.notifyJoin(nil) // its dialling end must read what the hook sends
	l.call(hookOnJoined, func() error { onJoined(m, seq); return nil })
	return l.Err()
}

// checkName applies the hard rule for names and the user's, which call is to run.
func (r *Room) checkName(call func(hook uint64, fn func() error) error, name string) (err error) {
	if err := checkName(name); err != nil {
		return err
	}
	if r.cfg.validName == nil {
		return ValidName(name)
	}
	err = call(hookValidator, func() error { return r.cfg.validName(name) })
	if _, ok := err.(*HookError); ok {
		return err
	}
	if err != nil {
		if errors.Is(err, ErrNameInvalid) {
			return err
		}
		return fmt.Errorf("%w: %q: %w", ErrNameInvalid, name, err)
	}
	return nil
}

// reserve makes a member with a slot and a name, until its join or its leave.
func (r *Room) reserve(l *link, id Identity) (*Member, error) {
	addr := l.ip()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != roomOpen {
		return nil, ErrRoomClosed
	}
	if r.fullLocked() {
		return nil, ErrRoomFull
	}
	for id.Name == "" {
		r.guests++
		name := "guest-" + strconv.FormatUint(r.guests, 10)
		if r.replica != nil {
			name = r.replica.guestName(r.guests)
		}
		if !r.nameTakenLocked(name) {
			id.Name = name
		}
	}
	if r.cfg.unique && r.nameTakenLocked(id.Name) {
		return nil, fmt.Errorf("%w: %q", ErrNameTaken, id.Name)
	}
	if err := r.banned(id.Name, addr); err != nil {
		return nil, err
	}
	r.reserved++
	l.member = r.newMember(l, id)
	if r.hub != nil {
		l.member.presence = newPresence(l.member)
	}
	r.takeNameLocked(l.member)
	return l.member, nil
}

// takeNameLocked keeps the name of m, which is here, for it.
func (r *Room) takeNameLocked(m *Member) {
	if !r.cfg.unique {
		return
	}
	if r.names == nil {
		r.names = make(map[string]*Member)
	}
	r.names[m.Name()] = m
}

// freeNameLocked gives up the name of m. Another member may have got it before m did, by
// the log.
func (r *Room) freeNameLocked(m *Member) {
	if name := m.Info().Name; r.cfg.unique && r.names[name] == m {
		delete(r.names, name)
	}
}

func (r *Room) fullLocked() bool {
	return r.cfg.maxMembers > 0 && r.lenLocked()+int(r.reserved) >= r.cfg.maxMembers
}

func (r *Room) full() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fullLocked()
}

// addressOf returns what counts as one address: an IPv4 address, one mapped
// into IPv6 included, or the /64 network of an IPv6 address, which is what one
// customer gets. It returns false for what has no IP.
func addressOf(a net.Addr) (netip.Prefix, bool) {
	ip := ipOf(a)
	if !ip.IsValid() {
		return netip.Prefix{}, false
	}
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	return p, err == nil
}

// ipOf returns the IP address in an address, an invalid one if there is none.
func ipOf(a net.Addr) (ip netip.Addr) {
	switch a := a.(type) {
	case nil:
	case *net.TCPAddr:
		ip = a.AddrPort().Addr()
	default: // of a proxied or tunnelled connection
		s := a.String()
		if ap, err := netip.ParseAddrPort(s); err == nil {
			ip = ap.Addr()
		} else {
			ip, _ = netip.ParseAddr(s)
		}
	}
	return ip.Unmap()
}

// knowsAddr reports whether RemoteAddr of nc cannot block. That of a listener
// for the PROXY protocol, for one, waits for the peer to send it.
func knowsAddr(nc net.Conn) bool {
	switch beneath(nc).(type) {
	case *net.TCPConn, *net.UnixConn:
		return true
	}
	return false
}

// awaitAddr learns an address that the transport may not know yet, and counts
// l for it, which open could not.
func (r *Room) awaitAddr(l *link) error {
	if l.RemoteAddr() != nil || knowsAddr(l.nc) {
		return nil
	}
	l.mayWait()
	l.setReadDeadline(l.newcomer.deadline)
	addr := l.nc.RemoteAddr()
	l.mu.Lock()
	l.addr = addr
	l.mu.Unlock()
	l.setReadDeadline(time.Time{})
	p := r.countedAddress(l)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.mayTakeSeatLocked(l.cfg, p); err != nil {
		return err
	}
	r.takeSeatLocked(l, p)
	return nil
}

// A seat is what a connection counts as for its address. It goes from a link to
// its member, if that is detached.
type seat struct {
	addr netip.Prefix // invalid: it does not count any more
	in   bool         // it was let past its hello
}

// addressCount is how many connections an address has, and how many of them were
// let past their hello. Without sessions only the first is bounded.
type addressCount struct{ conns, in int }

// countedAddress returns the address for which l is to count; an invalid one
// if there is none. It asks a net.Addr, which may be the user's code, so the
// room's lock must not be held.
func (r *Room) countedAddress(l *link) (p netip.Prefix) {
	if r.cfg.maxPerAddress > 0 {
		p, _ = addressOf(l.RemoteAddr())
	}
	return p
}

// mayTakeSeatLocked returns why one more cannot count for p: it has too many, unless p
// is invalid. One that may resume does not take more than it has, so what bounds it then
// is how many there are that have not told whether they do.
func (r *Room) mayTakeSeatLocked(cfg *connConfig, p netip.Prefix) error {
	if !p.IsValid() {
		return nil
	}
	n := r.addresses[p]
	waiting := n.conns
	if r.mayResume(cfg) {
		waiting -= n.in
	}
	if waiting >= r.cfg.maxPerAddress {
		return errTooManyFromAddress
	}
	return nil
}

// takeSeatLocked counts l for p, unless that is invalid.
func (r *Room) takeSeatLocked(l *link, p netip.Prefix) {
	if !p.IsValid() {
		return
	}
	if r.addresses == nil {
		r.addresses = make(map[netip.Prefix]addressCount)
	}
	n := r.addresses[p]
	n.conns++
	r.addresses[p] = n
	l.seat = &seat{addr: p}
}

// settle lets l in as one more of its address.
func (r *Room) settle(l *link) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.settleLocked(l, nil)
}

// reseatLocked lets l in as one more of its address, or in the place of m's last link.
func (r *Room) reseatLocked(l *link, m *Member) error {
	old := m.conn().seat
	if m.state == memberDetached {
		old = m.session.seat
	}
	return r.settleLocked(l, old)
}

func (r *Room) settleLocked(l *link, old *seat) error {
	if r.cfg.sessions == nil || l.seat == nil {
		return nil
	}
	n := r.addresses[l.seat.addr]
	if old != nil && old.in && old.addr == l.seat.addr {
		n.in--
		old.in = false
	}
	if n.in >= r.cfg.maxPerAddress {
		return errTooManyFromAddress
	}
	n.in++
	l.seat.in = true
	r.addresses[l.seat.addr] = n
	return nil
}

// vacateLocked gives a seat back.
func (r *Room) vacateLocked(s *seat) {
	if s == nil || !s.addr.IsValid() {
		return
	}
	n := r.addresses[s.addr]
	n.conns--
	if s.in {
		n.in--
	}
	if r.addresses[s.addr] = n; n.conns == 0 {
		delete(r.addresses, s.addr)
	}
	*s = seat{}
}
