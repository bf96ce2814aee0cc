package tcproom

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

type textAddr string

func (a textAddr) Network() string { return "text" }
func (a textAddr) String() string  { return string(a) }

// TestF7Addresses: what counts as one address.
func TestF7Addresses(t *testing.T) {
	tcp := func(s string) net.Addr {
		a, err := net.ResolveTCPAddr("tcp", s)
		require.NoError(t, err)
		return a
	}
	for _, tt := range []struct {
		name string
		addr net.Addr
		want string // "": not counted
	}{
		{name: "IPv4", addr: tcp("192.0.2.7:1234"), want: "192.0.2.7/32"},
		{name: "IPv4 in 16 bytes", addr: &net.TCPAddr{IP: net.ParseIP("192.0.2.7")}, want: "192.0.2.7/32"},
		{name: "IPv4 mapped into IPv6", addr: tcp("[::ffff:192.0.2.7]:1"), want: "192.0.2.7/32"},
		{name: "IPv6", addr: tcp("[2001:db8:1:2:3:4:5:6]:1"), want: "2001:db8:1:2::/64"},
		{name: "the same network", addr: tcp("[2001:db8:1:2:ffff::1]:2"), want: "2001:db8:1:2::/64"},
		{name: "with a zone", addr: &net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0"}, want: "fe80::/64"},
		{name: "another type", addr: textAddr("192.0.2.7:1234"), want: "192.0.2.7/32"},
		{name: "another type, IPv6", addr: textAddr("[2001:db8::1]:1234"), want: "2001:db8::/64"},
		{name: "without a port", addr: &net.IPAddr{IP: net.IPv4(192, 0, 2, 7)}, want: "192.0.2.7/32"},
		{name: "UDP", addr: &net.UDPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 1}, want: "192.0.2.7/32"},
		{name: "unix", addr: &net.UnixAddr{Name: "/tmp/x", Net: "unix"}, want: ""},
		{name: "pipe", addr: textAddr("pipe"), want: ""},
		{name: "a host", addr: textAddr("example.com:80"), want: ""},
		{name: "empty", addr: &net.TCPAddr{}, want: ""},
		{name: "nil pointer", addr: (*net.TCPAddr)(nil), want: ""},
		{name: "nil", addr: nil, want: ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, ok := addressOf(tt.addr)
			require.Equal(t, tt.want != "", ok)
			if ok {
				require.Equal(t, tt.want, p.String())
			}
		})
	}
}
