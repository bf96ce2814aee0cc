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
		{"IPv4", tcp("192.0.2.7:1234"), "192.0.2.7/32"},
		{"IPv4 in 16 bytes", &net.TCPAddr{IP: net.ParseIP("192.0.2.7")}, "192.0.2.7/32"},
		{"IPv4 mapped into IPv6", tcp("[::ffff:192.0.2.7]:1"), "192.0.2.7/32"},
		{"IPv6", tcp("[2001:db8:1:2:3:4:5:6]:1"), "2001:db8:1:2::/64"},
		{"the same network", tcp("[2001:db8:1:2:ffff::1]:2"), "2001:db8:1:2::/64"},
		{"with a zone", &net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0"}, "fe80::/64"},
		{"another type", textAddr("192.0.2.7:1234"), "192.0.2.7/32"},
		{"another type, IPv6", textAddr("[2001:db8::1]:1234"), "2001:db8::/64"},
		{"without a port", &net.IPAddr{IP: net.IPv4(192, 0, 2, 7)}, "192.0.2.7/32"},
		{"UDP", &net.UDPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 1}, "192.0.2.7/32"},
		{"unix", &net.UnixAddr{Name: "/tmp/x", Net: "unix"}, ""},
		{"pipe", textAddr("pipe"), ""},
		{"a host", textAddr("example.com:80"), ""},
		{"empty", &net.TCPAddr{}, ""},
		{"nil pointer", (*net.TCPAddr)(nil), ""},
		{"nil", nil, ""},
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
