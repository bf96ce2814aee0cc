package tcproom_test

import (
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// joinQuiet returns n members from which nothing comes, in join order.
func joinQuiet(t *testing.T, room *tcproom.Room, addr string, n int) []*net.TCPConn {
	t.Helper()
	conns := make([]*net.TCPConn, n)
	for i := range conns {
		conns[i] = dialRaw(t, addr)
		waitLen(t, room, i+1)
	}
	return conns
}

// TestQuietMembersHaveNoGoroutine: members that say nothing share one, and
// are members like any other: they hear, speak, are kicked and leave.
func TestQuietMembersHaveNoGoroutine(t *testing.T) {
	if !direct || runtime.GOOS != "linux" {
		t.Skip("here each has a goroutine")
	}
	left := newCauses()
	room := tcproom.New(tcproom.WithNotices(false), tcproom.OnLeave(left.Left))
	addr := serveTCP(t, room)
	before := runtime.NumGoroutine()
	conns := joinQuiet(t, room, addr, 50)
	eventually(t, "a goroutine for all of them", func() bool { return runtime.NumGoroutine() <= before+1 })

	_, err := conns[0].Write([]byte("first\n"))
	require.NoError(t, err)
	for _, nc := range conns[1:] {
		line := make([]byte, len("guest-1: first\n"))
		_, err := io.ReadFull(nc, line)
		require.NoError(t, err)
		require.Equal(t, "guest-1: first\n", string(line))
	}
	members := slices.Collect(room.Members())
	require.NoError(t, members[1].Kick("enough"))
	require.ErrorIs(t, <-left.C, tcproom.ErrKicked)
	require.NoError(t, conns[3].Close())
	require.ErrorIs(t, <-left.C, io.EOF)
	require.NoError(t, conns[4].SetLinger(0))
	require.NoError(t, conns[4].Close())
	require.ErrorIs(t, <-left.C, errReset)
	waitLen(t, room, 47)
}

// TestStopOfQuietMembers: a stop reaches members that are being let in or say
// nothing, and nothing is left of them (P9).
func TestStopOfQuietMembers(t *testing.T) {
	checkGoroutines(t)
	for range 20 {
		room := tcproom.New()
		addr := serveTCP(t, room)
		var dialling sync.WaitGroup
		for range 5 {
			dialling.Go(func() {
				if nc, err := net.Dial("tcp", addr); err == nil {
					io.Copy(io.Discard, nc)
					nc.Close()
				}
			})
		}
		eventually(t, "a member", func() bool { return room.Len() > 0 })
		require.NoError(t, room.Close())
		waitDone(t, room)
		dialling.Wait()
	}
}

// keeper is a listener whose owner keeps the connections.
type keeper struct {
	net.Listener
	kept chan net.Conn
}

func (k keeper) Accept() (net.Conn, error) {
	nc, err := k.Listener.Accept()
	if err == nil {
		k.kept <- nc
	}
	return nc, err
}

// TestListenersOwnerClosesAConn: who wraps a listener may close its
// connections, which the room then notices.
func TestListenersOwnerClosesAConn(t *testing.T) {
	left := newCauses()
	room := tcproom.New(tcproom.OnLeave(left.Left))
	k := keeper{listen(t, "tcp"), make(chan net.Conn, 1)}
	addr := serve(t, room, k)
	joinQuiet(t, room, addr, 1)
	require.NoError(t, (<-k.kept).Close())
	require.ErrorIs(t, <-left.C, net.ErrClosed)
	waitLen(t, room, 0)
}
