package suite_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
)

// TestClusterCheckpointsInTime: who is in is known to a node that starts when the log has
// forgotten their joins, although messages were too few to be counted, and too many for
// signs of life.
func TestClusterCheckpointsInTime(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		log := roomtest.NewLog(func(caps *tcproom.Caps) { caps.Age = 12 * time.Minute })
		c := trust(log.Cluster(t, 2, withSessions(nil)...))
		ada := c.Room(0).Join("ada")
		for i := range 20 {
			time.Sleep(2 * time.Minute)
			ada.Send(fmt.Sprint(i))
		}
		c.Shutdown(1)
		c.Restart(1)
		time.Sleep(time.Second)
		require.Equal(t, 1, c.Room(1).Room.Len())
	})
}

// TestClusterCheckpointsOfAShortLog: the same in a log that keeps few records.
func TestClusterCheckpointsOfAShortLog(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		log := roomtest.NewLog(func(caps *tcproom.Caps) { caps.Records = 200 })
		c := trust(log.Cluster(t, 2, withSessions(nil)...))
		c.Room(0).Join("ada")
		talk(t, c, 700)
		c.Shutdown(1)
		c.Restart(1)
		time.Sleep(time.Second)
		require.Equal(t, 1, c.Room(1).Room.Len())
	})
}

// TestClusterOfOneThatComesAndGoes: a node that starts again and again does not save so
// often that both states are of now, and nothing of what was said is known any more.
func TestClusterOfOneThatComesAndGoes(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		c := newCluster(t, 1, tcproom.WithHistory(tcproom.History{}))
		_, err := c.Room(0).Room.Broadcast(t.Context(), []byte("remember me"))
		require.NoError(t, err)
		for range 5 {
			c.Shutdown(0)
			c.Restart(0)
		}
		past := c.Room(0).Room.Past(0, 0)
		require.Len(t, past.Events, 1)
		require.Equal(t, "remember me", string(past.Events[0].Body))
	})
}
