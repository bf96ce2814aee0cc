package roomtest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// TestLeavesOfADeadNode: in a bubble the lease of the node and the grace of its members
// are over at once.
func TestLeavesOfADeadNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := roomtest.NewCluster(t, 3, tcproom.WithSessions(tcproom.Sessions{Grace: time.Minute}))
		ada := c.Room(0).Join("ada")
		c.Room(1).Join("bob")
		ada.Expect(roomtest.Joined("bob"))
		time.Sleep(time.Minute)
		c.Crash(1)
		crashed := time.Now()
		ada.Within(2 * time.Minute).Expect(roomtest.Left("bob"))
		after := time.Since(crashed)
		require.GreaterOrEqual(t, after, time.Minute+10*time.Second)
		require.LessOrEqual(t, after, time.Minute+16*time.Second)
		c.Restart(1).Join("eve")
		ada.Expect(roomtest.Joined("eve"))
		c.Verify()
	})
}
