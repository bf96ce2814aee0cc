package tcproom

import (
	"net"
	"net/netip"
	"time"
)

// addressOf returns what counts as one address: an IPv4 address, one mapped
// into IPv6 included, or the /64 network of an IPv6 address, which is what one
// customer gets. It returns false for what has no IP.
func addressOf(a net.Addr) (netip.Prefix, bool) {
	var ip netip.Addr
	switch a := a.(type) {
	case nil:
		return netip.Prefix{}, false
	case *net.TCPAddr:
		ip = a.AddrPort().Addr()
	default: // of a proxied or tunnelled connection
		s := a.String()
		if ap, err := netip.ParseAddrPort(s); err == nil {
			ip = ap.Addr()
		} else if ip, err = netip.ParseAddr(s); err != nil {
			return netip.Prefix{}, false
		}
	}
	if ip = ip.Unmap(); !ip.IsValid() {
		return netip.Prefix{}, false
	}
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	return p, err == nil
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

// learnAddr asks the transport for the address of the peer.
func (c *Conn) learnAddr() {
	addr := c.nc.RemoteAddr()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addr = addr
}

// awaitAddr learns an address that the transport may not know yet, and counts
// c for it, which begin could not.
func (r *Room) awaitAddr(c *Conn, started func()) error {
	if knowsAddr(c.nc) {
		return nil
	}
	started()
	c.setReadDeadline(c.deadline)
	c.learnAddr()
	c.setReadDeadline(time.Time{})
	p := r.countedAddress(c)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.countAddressLocked(c, p)
}

// addressCount is how many conns an address has, and how many of them were let
// past their hello. Without sessions only the first is bounded.
type addressCount struct{ conns, in int }

// countedAddress returns the address for which c is to count; an invalid one
// where there is none. It asks a net.Addr, which may be the user's code, so the
// room's lock must not be held.
func (r *Room) countedAddress(c *Conn) (p netip.Prefix) {
	if r.cfg.maxPerAddress > 0 {
		p, _ = addressOf(c.RemoteAddr())
	}
	return p
}

// countAddressLocked counts c for p, unless that is invalid or has too many. One
// that may resume does not take more than it has, so what bounds it then is how
// many there are that have not said whether they do.
func (r *Room) countAddressLocked(c *Conn, p netip.Prefix) error {
	if !p.IsValid() {
		return nil
	}
	n := r.addresses[p]
	waiting := n.conns
	if r.mayResume(c) {
		waiting -= n.in
	}
	if waiting >= r.cfg.maxPerAddress {
		return ErrTooManyFromAddress
	}
	if r.addresses == nil {
		r.addresses = make(map[netip.Prefix]addressCount)
	}
	n.conns++
	r.addresses[p] = n
	c.counted = p
	return nil
}

// settleAddress lets c in as one more of its address.
func (r *Room) settleAddress(c *Conn) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.settleAddressLocked(c, nil)
}

// settleAddressLocked lets c in as one more of its address, or in the place of old.
func (r *Room) settleAddressLocked(c, old *Conn) error {
	if r.cfg.sessions == nil || !c.counted.IsValid() {
		return nil
	}
	n := r.addresses[c.counted]
	if old != nil && old.countedIn && old.counted == c.counted {
		n.in--
		old.countedIn = false
	}
	if n.in >= r.cfg.maxPerAddress {
		return ErrTooManyFromAddress
	}
	n.in++
	c.countedIn = true
	r.addresses[c.counted] = n
	return nil
}

func (r *Room) uncountAddressLocked(c *Conn) {
	if !c.counted.IsValid() {
		return
	}
	n := r.addresses[c.counted]
	n.conns--
	if c.countedIn {
		n.in--
	}
	if r.addresses[c.counted] = n; n.conns == 0 {
		delete(r.addresses, c.counted)
	}
	c.counted, c.countedIn = netip.Prefix{}, false
}
