package tcproom

import (
	"bufio"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A caller speaks with a hub by a pipe.
type hubPeer struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func callHub(t testing.TB, h *Hub, opts ...ConnOption) *hubPeer {
	t.Helper()
	here, there := tcpPairOf(t)
	go h.ServeConn(there, opts...)
	t.Cleanup(func() { here.Close() })
	return &hubPeer{t: t, Conn: here, r: bufio.NewReader(here)}
}

func tcpPairOf(t testing.TB) (net.Conn, net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	s, err := l.Accept()
	require.NoError(t, err)
	return c, s
}

func (p *hubPeer) say(format string, args ...any) {
	p.t.Helper()
	_, err := fmt.Fprintf(p, format+"\n", args...)
	require.NoError(p.t, err)
}

func (p *hubPeer) line() string {
	p.t.Helper()
	p.SetReadDeadline(time.Now().Add(5 * time.Second))
	s, err := p.r.ReadString('\n')
	require.NoError(p.t, err)
	return s[:len(s)-1]
}

func (p *hubPeer) expect(lines ...string) {
	p.t.Helper()
	for _, want := range lines {
		require.Equal(p.t, want, p.line())
	}
}

func TestHubText(t *testing.T) {
	h := NewHub()
	defer h.Close()
	a := callHub(t, h)
	a.expect("* you are guest-1 in lobby")
	b := callHub(t, h)
	b.expect("* you are guest-2 in lobby")
	a.expect("* guest-2 joined")
	a.say("hi")
	b.expect("guest-1: hi")
	b.say("/join kitchen")
	a.expect("* guest-2 left")
	b.expect("* you are guest-2 in kitchen")
	a.say("/rooms")
	a.expect("* rooms: kitchen 1, lobby 1")
	a.say("/who kitchen")
	a.expect("* in kitchen: guest-2")
	a.say("/msg guest-2 psst")
	b.expect("guest-1 -> you: psst")
	b.say("/nick bob")
	b.expect("* guest-2 is now bob")
	a.say("/join kitchen")
	b.expect("* guest-1 joined")
	a.expect("* you are guest-1 in kitchen")
	b.say("here")
	a.expect("bob: here")
	a.say("/dance")
	a.expect(`* not done: no command "dance"; /help lists them`)
	a.say("/help")
	require.Contains(t, a.line(), "* commands: /join ROOM")
	_, err := h.All().Broadcast(t.Context(), []byte("maintenance at noon"))
	require.NoError(t, err)
	a.expect("*: maintenance at noon")
	b.expect("*: maintenance at noon")
	a.say("/quit")
	b.expect("* guest-1 left")
}
