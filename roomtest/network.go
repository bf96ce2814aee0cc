package roomtest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
)

// A Network is a TCP network in memory: listeners with addresses, and
// connections to them. Its zero value is an empty one; it must not be copied.
// Networks have nothing to do with each other, and need no port of the machine.
//
// It may be used in a testing/synctest bubble: everything in it waits on the bubble's
// clock. Addresses are of type [*net.TCPAddr]. A host that is no IP address, such as
// "chat.example", gets one of its own, of 198.18.0.0/15, the first time that
// something listens at it; "localhost" is 127.0.0.1.
//
// All methods may be called from many goroutines.
type Network struct {
	mu        sync.Mutex // guards what follows; never held while waiting
	listeners map[netip.AddrPort]*Listener
	hosts     map[string]netip.Addr
	lastPort  uint16 // that was given to a listener or conn without one
}

var localhost = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// firstPort is the first port that is given to a listener or conn without one.
const firstPort = 32768

// Listen listens at addr, "host:port". Without a port, or with port 0, it has a free
// one, see the listener's Addr. Without a host, or with an unspecified one such as
// 0.0.0.0, connections to this port of any host reach it, unless another listener has
// that host by name; its address is at 127.0.0.1.
//
// It returns an error for an address that makes no sense, and, until that
// listener is closed, [syscall.EADDRINUSE] for one that is taken.
func (n *Network) Listen(addr string) (*Listener, error) {
	host, port, err := splitAddr(addr)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Err: err}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	at := netip.AddrPortFrom(n.hostLocked(host, true), port)
	for at.Port() == 0 || port == 0 && n.takenLocked(at) {
		at = netip.AddrPortFrom(at.Addr(), n.nextPortLocked())
	}
	if n.takenLocked(at) {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: shownAddr(at), Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	}
	l := newListener(shownAddr(at))
	l.forget = func() { n.forget(at) }
	if n.listeners == nil {
		n.listeners = make(map[netip.AddrPort]*Listener)
	}
	n.listeners[at] = l
	return l, nil
}

// takenLocked reports whether something listens at exactly this address.
func (n *Network) takenLocked(at netip.AddrPort) bool {
	_, taken := n.listeners[at]
	return taken
}

func (n *Network) forget(at netip.AddrPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.listeners, at)
}

// Dial connects from 127.0.0.1 to what listens at addr; network is "tcp",
// "tcp4" or "tcp6". The conn is a [*Conn]. It is what [tcproom.WithDialer] wants.
//
// It returns when the connection waits for Accept, as TCP does. It returns
// [syscall.ECONNREFUSED] if nothing listens, or the listener refuses. When 128
// connections wait already, it blocks until one is accepted, the listener is closed,
// or ctx ends, whose cause it returns.
func (n *Network) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	switch network {
	case "tcp", "tcp4", "tcp6":
	default:
		return nil, &net.OpError{Op: "dial", Net: network, Err: net.UnknownNetworkError(network)}
	}
	return dialled(n.dial(ctx, localhost, addr))
}

// DialFrom is Dial from another host: source is an IP address, which the
// accepting end has as its RemoteAddr, with a port that is free.
func (n *Network) DialFrom(ctx context.Context, source, addr string) (net.Conn, error) {
	ip, err := netip.ParseAddr(source)
	if err != nil {
		return nil, fmt.Errorf("roomtest: DialFrom needs an IP address: %w", err)
	}
	return dialled(n.dial(ctx, ip.Unmap(), addr))
}

// dialled makes no interface of a nil *Conn.
func dialled(c *Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (n *Network) dial(ctx context.Context, source netip.Addr, addr string) (*Conn, error) {
	host, port, err := splitAddr(addr)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	n.mu.Lock()
	at := netip.AddrPortFrom(n.hostLocked(host, false), port)
	from := netip.AddrPortFrom(source, n.nextPortLocked())
	l := n.listeners[at]
	if l == nil {
		l = n.listeners[netip.AddrPortFrom(netip.IPv4Unspecified(), port)]
	}
	n.mu.Unlock()

	near, far := newPair(net.TCPAddrFromAddrPort(from), shownAddr(at))
	if l == nil {
		err = os.NewSyscallError("connect", syscall.ECONNREFUSED)
	} else {
		err = l.offer(ctx, far)
	}
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Source: near.local, Addr: near.remote, Err: err}
	}
	return near, nil
}

// nextPortLocked returns a port that was not used for long.
func (n *Network) nextPortLocked() uint16 {
	if n.lastPort++; n.lastPort < firstPort {
		n.lastPort = firstPort
	}
	return n.lastPort
}

// hostLocked returns the IP address of host. One that is not known yet gets
// one if add is set, and is an address that nothing listens at otherwise.
func (n *Network) hostLocked(host string, add bool) netip.Addr {
	switch host {
	case "":
		return netip.IPv4Unspecified()
	case "localhost":
		return localhost
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip = ip.Unmap(); ip.IsUnspecified() {
			return netip.IPv4Unspecified()
		}
		return ip
	}
	ip, known := n.hosts[host]
	if !known {
		i := len(n.hosts) + 1
		ip = netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
		if add {
			if n.hosts == nil {
				n.hosts = make(map[string]netip.Addr)
			}
			n.hosts[host] = ip
		}
	}
	return ip
}

// shownAddr is at as conns and listeners show it.
func shownAddr(at netip.AddrPort) net.Addr {
	if at.Addr().IsUnspecified() {
		at = netip.AddrPortFrom(localhost, at.Port())
	}
	return net.TCPAddrFromAddrPort(at)
}

// splitAddr parses "host:port"; either may be missing, and both.
func splitAddr(addr string) (host string, port uint16, err error) {
	if addr == "" {
		return "", 0, nil
	}
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	if p == "" {
		return host, 0, nil
	}
	number, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return "", 0, &net.AddrError{Err: "invalid port", Addr: addr}
	}
	return host, uint16(number), nil
}
