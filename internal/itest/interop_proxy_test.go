package itest

import (
	"io"
	"net"
	"os"
	"testing"
	"time"

	"example.com/tcproom"
	"github.com/pires/go-proxyproto"
	"github.com/stretchr/testify/require"
)

// The headers are written out, so that the module that reads them does not
// agree with itself alone.
const (
	proxyV1      = "PROXY TCP4 192.0.2.7 192.0.2.1 1234 9000\r\n"
	proxyV1None  = "PROXY UNKNOWN\r\n"
	proxyV2      = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\xc0\x00\x02\x01\x04\xd2\x23\x28"
	proxyV2Six   = "\r\n\r\n\x00\r\nQUIT\n\x21\x21\x00\x24" + "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07" + "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" + "\x04\xd2\x23\x28"
	proxyV2Local = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
	proxyFaulty  = "PROXY TCP4 192.0.2.7 nobody 1234 9000\r\n"
)

// A sighting is what a room noticed of a conn: a message, or its end before it sent
// any.
type sighting struct {
	addr  string
	body  string
	cause error
}

// A lookout makes room options of hooks that ask for the peer's address.
type lookout chan sighting

func (l lookout) options() []tcproom.RoomOption {
	said := func(m *tcproom.Member, body []byte) ([]byte, error) {
		l <- sighting{addr: m.RemoteAddr().String(), body: string(body)}
		return nil, nil
	}
	ended := func(addr net.Addr, cause error) { l <- sighting{addr: addr.String(), cause: cause} }
	return []tcproom.RoomOption{
		tcproom.WithCodec(tcproom.Raw{}),
		// A room that wants to know its members' addresses asks for them: this waits
		// for the header.
		tcproom.OnJoin(func(m *tcproom.Member) error { m.RemoteAddr(); return nil }),
		tcproom.OnMessage(said),
		tcproom.OnLeave(func(m *tcproom.Member, cause error) { ended(m.RemoteAddr(), cause) }),
		tcproom.OnReject(func(n *tcproom.Newcomer, cause error) { ended(n.RemoteAddr(), cause) }),
	}
}

func (l lookout) next(t *testing.T) sighting {
	t.Helper()
	select {
	case s := <-l:
		return s
	case <-time.After(within):
		t.Fatal("the room noticed nothing")
		return sighting{}
	}
}

// serveProxied starts room behind a listener that the user wraps.
func serveProxied(t *testing.T, room *tcproom.Room, policy proxyproto.ConnPolicyFunc) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return serveOn(t, room, &proxyproto.Listener{Listener: l, ConnPolicy: policy, ReadHeaderTimeout: 2 * within})
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	return nc
}

func TestInteropProxyProtocol(t *testing.T) {
	loopback, elsewhere := net.IPv4(127, 0, 0, 1), net.IPv4(192, 0, 2, 1)
	always := func(p proxyproto.Policy) proxyproto.ConnPolicyFunc {
		return func(proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) { return p, nil }
	}
	tests := []struct {
		name   string
		policy proxyproto.ConnPolicyFunc
		header string
		addr   string // "": the socket's own
		body   string // "": "hi"
		cause  error
	}{
		{name: "v1", policy: proxyproto.TrustProxyHeaderFrom(loopback), header: proxyV1, addr: "192.0.2.7:1234"},
		{name: "v2", policy: proxyproto.TrustProxyHeaderFrom(loopback), header: proxyV2, addr: "192.0.2.7:1234"},
		{name: "v2 of IPv6", policy: proxyproto.TrustProxyHeaderFrom(loopback), header: proxyV2Six, addr: "[2001:db8::7]:1234"},
		{name: "v1 unknown", policy: proxyproto.TrustProxyHeaderFrom(loopback), header: proxyV1None},
		{name: "v2 of the proxy itself", policy: proxyproto.TrustProxyHeaderFrom(loopback), header: proxyV2Local},
		{name: "missing where it may", policy: always(proxyproto.USE)},
		{name: "missing", policy: proxyproto.TrustProxyHeaderFrom(loopback), cause: proxyproto.ErrNoProxyProtocol},
		{name: "faulty", policy: proxyproto.TrustProxyHeaderFrom(loopback), header: proxyFaulty, cause: proxyproto.ErrInvalidAddress},
		{name: "untrusted and ignored", policy: always(proxyproto.IGNORE), header: proxyV1},
		{name: "untrusted and rejected", policy: always(proxyproto.REJECT), header: proxyV2, cause: proxyproto.ErrSuperfluousProxyHeader},
		{name: "untrusted and not looked for", policy: always(proxyproto.SKIP), header: proxyV1, body: proxyV1[:len(proxyV1)-2]},
		{name: "denied", policy: proxyproto.TrustProxyHeaderFrom(elsewhere), header: proxyV1, cause: io.EOF},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			seen := make(lookout, 10)
			nc := dial(t, serveProxied(t, tcproom.New(seen.options()...), tt.policy))
			_, err := io.WriteString(nc, tt.header+"hi\n")
			require.NoError(t, err)
			if tt.cause == io.EOF { // the listener closed it, and the room has not seen it
				nc.SetReadDeadline(time.Now().Add(within))
				_, err := nc.Read(make([]byte, 1))
				require.Error(t, err)
				require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
				require.Empty(t, seen)
				return
			}
			s := seen.next(t)
			if tt.addr == "" {
				tt.addr = nc.LocalAddr().String()
			}
			if tt.body == "" && tt.cause == nil {
				tt.body = "hi"
			}
			require.Equal(t, tt.addr, s.addr)
			require.Equal(t, tt.body, s.body)
			if tt.cause != nil {
				require.ErrorIs(t, s.cause, tt.cause)
				require.ErrorIs(t, s.cause, tcproom.Cause("reset"))
				return
			}
			require.NoError(t, s.cause)
		})
	}
}

// A header of version 2 that comes byte by byte. Of version 1 the module wants the
// line in one piece, and refuses it otherwise.
func TestInteropProxyProtocolDrips(t *testing.T) {
	seen := make(lookout, 10)
	nc := dial(t, serveProxied(t, tcproom.New(seen.options()...), proxyproto.TrustProxyHeaderFrom(net.IPv4(127, 0, 0, 1))))
	for _, b := range []byte(proxyV2 + "hi\n") {
		_, err := nc.Write([]byte{b})
		require.NoError(t, err)
	}
	require.Equal(t, sighting{addr: "192.0.2.7:1234", body: "hi"}, seen.next(t))
}

// Proxies that send nothing hold up neither other proxies nor the refusal of one too
// many (F5).
func TestInteropProxyProtocolStalls(t *testing.T) {
	const stalled = 200
	seen := make(lookout, stalled+10)
	room := tcproom.New(append(seen.options(), tcproom.WithMaxPending(stalled+1))...)
	addr := serveProxied(t, room, proxyproto.TrustProxyHeaderFrom(net.IPv4(127, 0, 0, 1)))
	for range stalled {
		dial(t, addr)
	}
	for range 3 {
		healthy := dial(t, addr)
		_, err := io.WriteString(healthy, proxyV1+"hi\n")
		require.NoError(t, err)
		require.Equal(t, sighting{addr: "192.0.2.7:1234", body: "hi"}, seen.next(t))
	}
	require.Equal(t, 3, room.Len())

	dial(t, addr) // takes the last slot
	tooMany := dial(t, addr)
	s := seen.next(t)
	require.ErrorIs(t, s.cause, tcproom.Cause("busy"))
	require.Equal(t, tooMany.LocalAddr().String(), s.addr)
	require.Empty(t, seen)
}
