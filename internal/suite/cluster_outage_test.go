package suite_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// What members see of a log that is silent for longer than WithMaxOutage, and how those
// that are sent away together come back one after the other.

// An away is how a member's connection ended.
type away struct {
	after time.Duration // from the silence of the log on
	end   *tcproom.EndError
}

// sentAway notes how the members end, until wait is called.
func sentAway(members []*roomtest.Member) (wait func() []away) {
	began := time.Now()
	all := make([]away, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		wg.Go(func() {
			err := m.Within(5 * time.Minute).AwaitEnd()
			all[i].after = time.Since(began)
			all[i].end, _ = errors.AsType[*tcproom.EndError](err)
		})
	}
	return func() []away { wg.Wait(); return all }
}

// joinAll has n members join node i.
func joinAll(c *roomtest.Cluster, i, n int) (members []*roomtest.Member) {
	for k := range n {
		members = append(members, c.Room(i).Join(fmt.Sprintf("m%d", k)))
	}
	return members
}

// TestClusterSentAwayInTurn: when the log has been silent for too long members are sent
// away one after the other, and told to come back so.
func TestClusterSentAwayInTurn(t *testing.T) {
	const outage, over = 6 * time.Second, 15 * time.Second
	options := []tcproom.RoomOption{
		tcproom.WithCodec(tcproom.JSON{}), tcproom.WithMaxOutage(outage),
		tcproom.WithSessions(tcproom.Sessions{Grace: 5 * time.Minute, RetryAfter: time.Second}),
	}
	inBubble("while it stays silent", t, func(t *testing.T) {
		c := newCluster(t, 2, options...)
		members := joinAll(c, 0, 10)
		c.Log.Stop()
		ended := sentAway(members)()
		for i, a := range ended {
			require.Equal(t, tcproom.ErrUnavailable, a.end.Cause)
			require.False(t, a.end.Final)
			require.Equal(t, time.Second+time.Duration(i)*time.Millisecond, a.end.RetryAfter)
			if i > 0 {
				require.Equal(t, over/10, a.after-ended[i-1].after)
			}
		}
		require.GreaterOrEqual(t, ended[0].after, outage)
		c.Log.Start()
		time.Sleep(10 * time.Second)
		for i, m := range members {
			m = c.Room(i % 2).Resume(m)
			require.Equal(t, "resumed", m.Welcome.Welcome.Outcome)
		}
		c.Verify()
	})
	inBubble("until it answers", t, func(t *testing.T) {
		c := newCluster(t, 2, options...)
		members := joinAll(c, 0, 10)
		c.Log.Stop()
		ends(t, members[2], tcproom.ErrUnavailable)
		c.Log.Start()
		require.NoError(t, c.Room(0).Room.Ready(t.Context()))
		time.Sleep(over)
		gone := 0
		for gone < 10 && members[gone].Conn.Err() != nil {
			gone++
		}
		require.Less(t, gone, 9)
		_, err := c.Room(1).Room.Broadcast(t.Context(), []byte("again"))
		require.NoError(t, err)
		for _, m := range members[gone:] { // the connection that it had
			m.Await(roomtest.Message("", "again"))
		}
		members[gone].Send("still here")
		time.Sleep(over)
		for i, m := range members[:gone] {
			ends(t, m, tcproom.ErrUnavailable)
			m = c.Room(i % 2).Resume(m)
			require.Equal(t, "resumed", m.Welcome.Welcome.Outcome)
			m.Await(roomtest.Message("", "again"))
		}
		// The next silence begins anew.
		c.Log.Stop()
		ended := sentAway(members[gone:])()
		for i := 1; i < len(ended); i++ {
			require.Equal(t, tcproom.ErrUnavailable, ended[i].end.Cause)
			require.Less(t, ended[i-1].after, ended[i].after)
		}
		c.Log.Start()
		time.Sleep(10 * time.Second)
		c.Verify()
	})
}

// TestClusterSentAwayUnresolved: a member that does not know what has become of what it
// has said cannot go on, and is sent away at once. It stays a member, and says it again
// elsewhere.
func TestClusterSentAwayUnresolved(t *testing.T) {
	var seen atomic.Int32
	for _, tt := range []struct {
		name string
		opts []tcproom.RoomOption
	}{
		{"without hooks", nil},
		{"with OnMessage", []tcproom.RoomOption{tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) {
			seen.Add(1)
			return body, nil
		})}},
		{"with OnMessage that posts", []tcproom.RoomOption{tcproom.OnMessage(func(m *tcproom.Member, body []byte) ([]byte, error) {
			_, err := m.Post(context.Background(), body)
			return nil, err
		})}},
	} {
		for _, late := range []bool{false, true} {
			inBubble(fmt.Sprintf("%s/%v", tt.name, late), t, func(t *testing.T) {
				const outage, over = 20 * time.Second, 15 * time.Second
				c := newCluster(t, 2, append(tt.opts, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithMaxOutage(outage))...)
				members := joinAll(c, 0, 4)
				bob := c.Room(1).Join("bob")
				c.Cut(0)
				wait := sentAway(members)
				if late { // when the log is given up already
					time.Sleep(outage + time.Second)
				}
				last := members[len(members)-1]
				last.SendAsync("unresolved")
				ended := wait()
				for _, a := range ended {
					require.Equal(t, tcproom.ErrUnavailable, a.end.Cause)
				}
				if !late {
					require.Less(t, ended[3].after, ended[1].after)
				}
				require.Less(t, ended[1].after, ended[2].after)
				require.Less(t, ended[2].after, outage+over)
				require.Less(t, ended[3].after, outage+over)
				again := c.Room(1).Resume(last)
				require.Equal(t, "resumed", again.Welcome.Welcome.Outcome)
				again.Send("resolved")
				bob.Await(roomtest.Message("m3", "resolved"))
				c.Verify()
			})
		}
	}
}

// TestClusterShutdownInTurn: whom a node that stops sends away together is told to come
// back one after the other. WithDrain sends them away so.
func TestClusterShutdownInTurn(t *testing.T) {
	for _, drain := range []time.Duration{0, 10 * time.Second} {
		inBubble(drain.String(), t, func(t *testing.T) {
			c := newCluster(t, 2, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithDrain(drain))
			members := joinAll(c, 0, 10)
			c.Room(0).Within(time.Minute)
			wait := sentAway(members)
			c.Shutdown(0)
			waits := make(map[time.Duration]bool)
			for i, a := range wait() {
				require.Equal(t, tcproom.ErrRestarting, a.end.Cause)
				if drain > 0 {
					require.Zero(t, a.end.RetryAfter)
					require.Equal(t, drain*time.Duration(i)/10, a.after)
				}
				waits[a.end.RetryAfter] = true
			}
			if drain == 0 {
				for i := range 10 {
					require.True(t, waits[time.Duration(i)*time.Millisecond], "%v", waits)
				}
			}
		})
	}
}

// TestClusterCrashInDrain: a node that sends its members away one after the other dies
// before it is done. All may resume elsewhere, and of those that do not come back the
// others are told once, when lease and grace are over.
func TestClusterCrashInDrain(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		c := newCluster(t, 2, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithDrain(10*time.Second))
		bob := c.Room(1).Join("bob")
		members := joinAll(c, 0, 6)
		bob.Await(roomtest.Joined("m5"))
		stopped := later(func() { c.Room(0).Room.Shutdown(context.Background()) })
		time.Sleep(5 * time.Second)
		require.Error(t, members[2].Conn.Err())
		require.NoError(t, members[4].Conn.Err())
		back := c.Room(1).Resume(members[0]) // before it died
		require.Equal(t, "resumed", back.Welcome.Welcome.Outcome)
		members[4].Send("the last word")
		bob.Await(roomtest.Message("m4", "the last word"))
		c.Crash(0)
		stopped()
		for _, i := range []int{1, 4} { // of those that were sent away, and of those that were not
			m := c.Room(1).Resume(members[i])
			require.Equal(t, "resumed", m.Welcome.Welcome.Outcome)
			m.Send("back")
			bob.Await(roomtest.Message(m.Name(), "back"))
		}
		bob.Refute(roomtest.Any(tcproom.Leave))
		time.Sleep(2*lease + 2*grace)
		left := make(map[string]int)
		for range 3 {
			left[bob.Await(roomtest.Any(tcproom.Leave)).From.Name]++
		}
		require.Equal(t, map[string]int{"m2": 1, "m3": 1, "m5": 1}, left)
		bob.Refute(roomtest.Any(tcproom.Leave))
		require.Equal(t, 4, c.Room(1).Room.Len())
		c.Verify()
	})
}

// TestClusterDeadInDrain: a node that the others declare dead while it sends its members
// away has nobody whom it could leave, and stops.
func TestClusterDeadInDrain(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		const drain = 2 * time.Minute
		c := newCluster(t, 2, tcproom.WithDrain(drain))
		c.Room(1).Join("bob")
		joinAll(c, 0, 4)
		began := time.Now()
		stopped := later(func() { c.Room(0).Room.Shutdown(context.Background()) })
		time.Sleep(time.Second)
		c.Cut(0)
		time.Sleep(3 * lease)
		c.Heal(0)
		c.Delay(0, 50*time.Millisecond)
		stopped()
		require.Less(t, time.Since(began), drain+5*time.Second)
	})
}

// TestClusterGivenUp: of what was on its way when a log is given up it is not known if it
// is ordered, and what was queued behind that is surely not.
func TestClusterGivenUp(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		c := newCluster(t, 2, tcproom.WithMaxOutage(6*time.Second))
		bob := c.Room(1).Join("bob")
		for range 30 { // the log's error wraps ErrUncertain, too
			c.Uncertain(0, roomtest.NotStored)
		}
		var errs [3]error
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { _, errs[i] = c.Room(0).Room.Broadcast(t.Context(), fmt.Append(nil, i)) })
			time.Sleep(time.Second)
		}
		wg.Wait()
		require.ErrorIs(t, errs[0], tcproom.ErrUncertain)
		for _, err := range errs[1:] {
			require.ErrorIs(t, err, tcproom.ErrUnavailable)
			require.NotErrorIs(t, err, tcproom.ErrUncertain)
		}
		time.Sleep(2 * time.Minute)
		require.NoError(t, c.Room(0).Room.Ready(t.Context()))
		bob.Refute(roomtest.Message("", "1"), roomtest.Message("", "2"))
		c.Verify()
	})
}
