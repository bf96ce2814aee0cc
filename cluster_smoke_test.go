package tcproom_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
)

// TestClusterSmoke: three rooms on one log are one, whose members get the same in the same
// order, and one of which can kick a member of another.
func TestClusterSmoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := roomtest.NewLog()
		var rooms []*tcproom.Room
		for range 3 {
			lg, err := log.Attach().Open(t.Context(), "lobby")
			require.NoError(t, err)
			r := tcproom.New(tcproom.WithLog(lg), tcproom.WithCodec(tcproom.JSON{}))
			rooms = append(rooms, r)
		}
		for _, r := range rooms {
			require.NoError(t, r.Ready(t.Context()))
		}
		var conns []*tcproom.Conn
		for i, r := range rooms {
			c, err := r.Join(t.Context(), tcproom.Identity{Name: fmt.Sprint("m", i)})
			require.NoError(t, err)
			conns = append(conns, c)
		}
		var wg sync.WaitGroup
		got := make([][]string, 3)
		for i, c := range conns {
			wg.Go(func() {
				for ev, err := range c.Events(context.Background()) {
					if err != nil {
						return
					}
					if ev.From.Name == "m1" && ev.Kind != tcproom.Join || ev.Kind == tcproom.Message && ev.From.Name == "" {
						got[i] = append(got[i], fmt.Sprintf("%d %v %s %q", ev.Seq, ev.Kind, ev.From.Name, ev.Body))
					}
				}
			})
		}
		for i := range 5 {
			for _, c := range conns {
				require.NoError(t, c.Send(t.Context(), fmt.Append(nil, i)))
			}
		}
		time.Sleep(time.Second)
		_, err := rooms[0].Broadcast(t.Context(), []byte("all"))
		require.NoError(t, err)
		require.Equal(t, 3, rooms[2].Len())
		for m := range rooms[0].Members() {
			require.Equal(t, m.Name() != "m0", m.Remote())
			if m.Name() == "m1" {
				require.NoError(t, m.Kick("out"))
			}
		}
		time.Sleep(time.Second)
		for _, r := range rooms {
			require.NoError(t, r.Shutdown(context.Background()))
		}
		wg.Wait()
		require.Len(t, got[0], 5+1+1, "of m1, of the room, and the leave of m1")
		require.Equal(t, got[0], got[2])
		require.Len(t, got[1], 2, "its welcome, and what the room said")
		require.ErrorIs(t, conns[1].Err(), tcproom.ErrKicked)
	})
}

// TestJoinsShareTheWayToTheLog has connections that say nothing first, which one goroutine
// admits, wait for the log all together; and more of them than there are slots, of which
// none is turned away because of that.
func TestJoinsShareTheWayToTheLog(t *testing.T) {
	for _, members := range []int{10, 400} {
		t.Run(fmt.Sprint(members), func(t *testing.T) { joinsShareTheWay(t, members) })
	}
}

func joinsShareTheWay(t *testing.T, members int) {
	b := roomtest.NewLog().Attach()
	lg, err := b.Open(t.Context(), "lobby")
	require.NoError(t, err)
	// Times that a busy machine does not reach: nobody is to be refused.
	room := tcproom.New(tcproom.WithLog(lg), tcproom.WithCodec(tcproom.Text{}), tcproom.WithHandshakeTimeout(time.Hour), tcproom.WithMaxOutage(time.Hour))
	require.NoError(t, room.Ready(t.Context()))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- room.Serve(l) }()
	b.Stall()
	for range members {
		nc, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		defer nc.Close()
	}
	// Of 256 slots 66 are kept for those that are accepted, and as many may not have begun.
	require.Eventually(t, func() bool { return tcproom.OnTheWayToLog(room) >= min(members, 120) }, within, time.Millisecond)
	b.Heal()
	require.Eventually(t, func() bool { return room.Len() == members }, within, time.Millisecond)
	require.NoError(t, room.Close())
	require.ErrorIs(t, <-served, tcproom.ErrRoomClosed)
}
