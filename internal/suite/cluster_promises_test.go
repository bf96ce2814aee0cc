package suite_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
)

// What PROMISES.md says of rooms with a log and no other test of clusters shows.

// TestClusterDoor (P13): a newcomer waits at a node whose log is silent for as long as
// its handshake may take, in one of that node's slots, and is told why.
func TestClusterDoor(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		c := newCluster(t, 2, tcproom.WithHandshakeTimeout(12*time.Second), tcproom.WithMaxOutage(time.Minute))
		c.Backplane(1).Stall()
		c.Room(1).Within(time.Minute)
		began := time.Now()
		waited := later(func() {
			_, err := c.Room(1).TryJoin("bob")
			refused, ok := errors.AsType[*tcproom.RefusedError](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, tcproom.ErrUnavailable, refused.Cause)
		})
		synctest.Wait()
		require.Equal(t, 1, c.Room(1).Room.Stats().Pending)
		require.Zero(t, c.Room(0).Room.Stats().Pending)
		c.Room(0).Join("ada") // is not held up
		waited()
		require.Equal(t, 12*time.Second, time.Since(began))
		synctest.Wait() // its slot is free when its goroutine has ended
		require.Zero(t, c.Room(1).Room.Stats().Pending)
		c.Heal(1)
		time.Sleep(2 * grace)
		require.Equal(t, 1, c.Room(0).Room.Len())
		c.Verify()
	})
}

// TestClusterLimitsOfANode (P15): limits other than those of members and names are each
// node's own.
func TestClusterLimitsOfANode(t *testing.T) {
	inBubble("connections of one address", t, func(t *testing.T) {
		c := newCluster(t, 2, tcproom.WithMaxPerAddress(1), tcproom.WithCodec(tcproom.JSON{}))
		dial := func(i int, name string) error {
			srv := c.Room(i)
			nc, err := srv.Net.DialFrom(t.Context(), "10.0.0.1", srv.Addr)
			require.NoError(t, err)
			conn := tcproom.NewConn(nc, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName(name))
			t.Cleanup(func() { conn.Close() })
			_, err = conn.Receive(t.Context())
			return err
		}
		require.NoError(t, dial(0, "ada"))
		require.NoError(t, dial(1, "bob"))
		require.Error(t, dial(1, "eve"))
		synctest.Wait() // node 0 has read that bob is in
		require.Equal(t, 2, c.Room(0).Room.Len())
	})
	inBubble("detached members", t, func(t *testing.T) {
		c := newCluster(t, 2, tcproom.WithSessions(tcproom.Sessions{Grace: time.Hour, Detached: 1}))
		ada, bob, eve, watch := c.Room(0).Join("ada"), c.Room(1).Join("bob"), c.Room(1).Join("eve"), c.Room(0).Join("watch")
		ada.Link.Reset()
		bob.Link.Reset()
		time.Sleep(time.Second)
		watch.Refute(roomtest.Any(tcproom.Leave))
		eve.Link.Reset()
		watch.Await(roomtest.Left("bob"))
		time.Sleep(time.Minute)
		watch.Refute(roomtest.Any(tcproom.Leave))
		require.Equal(t, 3, c.Room(0).Room.Len())
		c.Verify()
	})
	inBubble("history", t, func(t *testing.T) {
		c := newCluster(t, 1, tcproom.WithHistory(tcproom.History{Messages: 2}))
		for _, body := range []string{"one", "two", "three"} {
			_, err := c.Room(0).Room.Broadcast(t.Context(), []byte(body))
			require.NoError(t, err)
		}
		c.Room(0).Join("ada").Expect(roomtest.Message("", "two"), roomtest.Message("", "three"))
	})
}

// TestClusterShutdownOrders (P10): what a call here has handed in when the stop begins is
// ordered before this node leaves, also if the log takes its time.
func TestClusterShutdownOrders(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		c := newCluster(t, 2)
		ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
		ada.Expect(roomtest.Joined("bob"))
		c.Delay(1, time.Second)
		var waits []func()
		for range 3 {
			waits = append(waits, later(func() {
				_, err := c.Room(1).Room.Broadcast(t.Context(), []byte("handed in"))
				require.NoError(t, err)
			}))
		}
		synctest.Wait()
		c.Shutdown(1) // fails the test if something was not ordered
		for _, wait := range waits {
			wait()
		}
		ends(t, bob, tcproom.ErrRestarting)
		for range 3 {
			ada.Expect(roomtest.Message("", "handed in"))
		}
		require.Equal(t, 3, said(c, 0, "handed in"))
		c.Verify()
	})
}

// TestClusterForeignRecords: what no room has written into the log ends the room, at all
// nodes.
func TestClusterForeignRecords(t *testing.T) {
	for _, tt := range []struct {
		name string
		rec  []byte
	}{
		{"no record at all", []byte("hello")},
		{"of another format", []byte{0xB2, 0}},
		{"empty", nil},
	} {
		inBubble(tt.name, t, func(t *testing.T) {
			var lines logLines
			c := newCluster(t, 2, tcproom.WithLogger(lines.Logger()))
			ada := c.Room(0).Join("ada")
			log, err := c.Log.Attach().Open(t.Context(), roomtest.ClusterRoom)
			require.NoError(t, err)
			_, err = log.Append(t.Context(), "foreign", tt.rec)
			require.NoError(t, err)
			ends(t, ada, errReset)
			for i := range 2 {
				<-c.Room(i).Room.Done()
				require.ErrorIs(t, c.Room(i).Room.Ready(t.Context()), tcproom.ErrRoomClosed)
			}
			require.NotEmpty(t, lines.With("room ends: its log has a record that this version cannot read"))
		})
	}
}
