package suite_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
)

// TestClusterLostIsNoFaultOfAHook: a hook that returns what a call of its own has failed
// with, because the log was lost or is silent, does not end its connection for good.
func TestClusterLostIsNoFaultOfAHook(t *testing.T) {
	lose := func(c *roomtest.Cluster) { c.Replace() }
	silence := func(c *roomtest.Cluster) { c.Cut(0) }
	for _, tt := range []struct {
		name  string
		fails func(c *roomtest.Cluster)
		want  error
	}{{"lost", lose, tcproom.ErrUncertain}, {"silent", silence, tcproom.ErrUncertain}} {
		inBubble(tt.name, t, func(t *testing.T) {
			var room *tcproom.Room
			var got error
			c := newCluster(t, 2, tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) {
				if string(body) != "pass on" {
					return body, nil
				}
				_, got = room.Broadcast(context.Background(), body)
				return nil, got
			}))
			room = c.Room(0).Room
			ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
			bob.Sync()
			c.Delay(0, 100*time.Millisecond)
			ada.SendAsync("pass on")
			time.Sleep(50 * time.Millisecond)
			tt.fails(c)
			time.Sleep(time.Minute)
			synctest.Wait() // a sleep alone does not order the hook before what follows
			require.ErrorIs(t, got, tt.want)
			require.NotErrorIs(t, ada.Conn.Err(), tcproom.ErrHook)
			var end *tcproom.EndError
			require.True(t, errors.As(ada.Conn.Err(), &end), "%v", ada.Conn.Err())
			require.Equal(t, tcproom.ErrUnavailable, end.Cause)
			require.False(t, end.Final)
			c.Heal(0)
			ada = c.Room(1).Resume(ada)
			ada.Send("on")
			bob.Await(roomtest.Message("ada", "on"))
		})
	}
}

// TestClusterLostWhileOnJoinRuns: a hook that refuses somebody because the log was lost
// does not do so for good.
func TestClusterLostWhileOnJoinRuns(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		var room *tcproom.Room
		var got error
		c := newCluster(t, 1, tcproom.OnJoin(func(m *tcproom.Member) error {
			if m.Name() != "ada" {
				return nil
			}
			_, got = room.Broadcast(context.Background(), []byte("ada comes"))
			return got
		}))
		room = c.Room(0).Room
		c.Room(0).Join("bob")
		c.Delay(0, 100*time.Millisecond)
		joined := later(func() {
			_, err := c.Room(0).TryJoin("ada")
			require.ErrorIs(t, err, tcproom.ErrUnavailable)
			require.ErrorIs(t, got, tcproom.ErrUncertain)
		})
		time.Sleep(50 * time.Millisecond)
		c.Replace()
		joined()
	})
}
