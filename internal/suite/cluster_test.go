package suite_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// What a room does that lives in several nodes when one of them, or the log, has a bad
// day. Each test runs in a bubble, and holds at its end what all have seen against the
// log.

const (
	lease = 15 * time.Second // of a roomtest.Log
	grace = time.Minute
)

// newCluster starts nodes whose members can resume, and waits until they trust their
// own leases.
func newCluster(t *testing.T, n int, opts ...tcproom.RoomOption) *roomtest.Cluster {
	t.Helper()
	return trust(roomtest.NewCluster(t, n, withSessions(opts)...))
}

func withSessions(opts []tcproom.RoomOption) []tcproom.RoomOption {
	return append([]tcproom.RoomOption{tcproom.WithSessions(tcproom.Sessions{Grace: grace})}, opts...)
}

func trust(c *roomtest.Cluster) *roomtest.Cluster {
	time.Sleep(lease + lease/3)
	return c
}

// later runs fn on a goroutine of its own, and returns what waits for it.
func later(fn func()) (wait func()) {
	var wg sync.WaitGroup
	wg.Go(fn)
	return wg.Wait
}

// ends expects that a member's stream ends with this cause.
func ends(t *testing.T, m *roomtest.Member, cause tcproom.Cause) {
	t.Helper()
	require.ErrorIs(t, m.Within(5*time.Minute).AwaitEnd(), cause)
}

// talk has node 0 say n messages, which others read, and whose states are saved, before
// the log has forgotten them.
func talk(t *testing.T, c *roomtest.Cluster, n int) {
	t.Helper()
	for i := range n {
		_, err := c.Room(0).Room.Broadcast(t.Context(), fmt.Append(nil, i))
		require.NoError(t, err)
		if i%50 == 0 {
			synctest.Wait()
		}
	}
}

// said returns how many messages of this body the room of node i has ordered.
func said(c *roomtest.Cluster, i int, body string) (n int) {
	for _, ev := range c.Room(i).Transcript().Events() {
		if ev.Kind == tcproom.Message && string(ev.Body) == body {
			n++
		}
	}
	return n
}

// TestClusterLostAnswers: what the log has stored and not answered is not said twice, and
// what it has not stored is said when it is sent again.
func TestClusterLostAnswers(t *testing.T) {
	for _, tt := range []struct {
		name string
		fate roomtest.Fate
	}{{"stored", roomtest.Stored}, {"not stored", roomtest.NotStored}} {
		inBubble(tt.name, t, func(t *testing.T) {
			c := newCluster(t, 2)
			ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
			ada.Expect(roomtest.Joined("bob"))
			c.Uncertain(0, tt.fate)
			c.Uncertain(0, tt.fate)
			ada.Send("one")
			ada.Send("two")
			bob.Expect(roomtest.Message("ada", "one"), roomtest.Message("ada", "two"))
			require.Equal(t, 1, said(c, 1, "one"))
			c.Verify()
		})
	}
}

// TestClusterLateBatch: a batch that comes to the log when its node has begun another life
// says nothing.
func TestClusterLateBatch(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		c := newCluster(t, 2, tcproom.WithMaxOutage(6*time.Second))
		bob := c.Room(1).Join("bob")
		ada := c.Room(0).Join("ada")
		bob.Expect(roomtest.Joined("ada"))
		c.Delay(0, 20*time.Second)
		_, err := c.Room(0).Room.Broadcast(t.Context(), []byte("late"))
		require.ErrorIs(t, err, tcproom.ErrUncertain)
		c.Delay(0, 0)
		ends(t, ada, tcproom.ErrUnavailable)
		ada = c.Room(0).Resume(ada)
		require.True(t, ada.Welcome.Welcome.Resumed())
		time.Sleep(time.Minute)
		ada.Send("after")
		bob.Expect(roomtest.Message("ada", "after"))
		c.Verify()
	})
}

// TestClusterEngineAway: while the log is silent all wait. If that lasts, members are
// sent away, and come back as if nothing had been; no node is taken for dead.
func TestClusterEngineAway(t *testing.T) {
	inBubble("for 5 s", t, func(t *testing.T) {
		c := newCluster(t, 3)
		ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
		ada.Expect(roomtest.Joined("bob"))
		c.Log.Stop()
		sent := later(func() { ada.SendAsync("meanwhile") })
		time.Sleep(5 * time.Second)
		bob.Refute(roomtest.Any(tcproom.Message))
		c.Log.Start()
		sent()
		bob.Expect(roomtest.Message("ada", "meanwhile"))
		time.Sleep(time.Minute)
		ada.Refute(roomtest.Any(tcproom.Leave))
		c.Verify()
	})
	inBubble("for 60 s", t, func(t *testing.T) {
		c := newCluster(t, 3, tcproom.WithSessions(tcproom.Sessions{Grace: 5 * time.Minute}))
		ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
		ada.Expect(roomtest.Joined("bob"))
		c.Log.Stop()
		ends(t, ada, tcproom.ErrUnavailable)
		ends(t, bob, tcproom.ErrUnavailable)
		c.Room(2).Within(time.Minute)
		_, err := c.Room(2).TryJoin("eve")
		refused, ok := errors.AsType[*tcproom.RefusedError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, tcproom.ErrUnavailable, refused.Cause)
		time.Sleep(time.Minute)
		c.Log.Start()
		time.Sleep(10 * time.Second)
		for i, m := range []*roomtest.Member{ada, bob} {
			m = c.Room(2 - i).Resume(m)
			require.Equal(t, "resumed", m.Welcome.Welcome.Outcome)
		}
		time.Sleep(time.Minute)
		for i := range 3 {
			require.NoError(t, c.Room(i).Room.Ready(t.Context()))
			require.Equal(t, 2, c.Room(i).Room.Len())
		}
		c.Verify()
	})
}

// TestClusterNodeCut: one node loses the log, and the others do not.
func TestClusterNodeCut(t *testing.T) {
	inBubble("for a moment", t, func(t *testing.T) {
		c := newCluster(t, 3)
		ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
		ada.Expect(roomtest.Joined("bob"))
		c.Cut(1)
		ada.Send("are you there?")
		sent := later(func() { bob.SendAsync("yes") })
		time.Sleep(5 * time.Second)
		c.Heal(1)
		sent()
		bob.Expect(roomtest.Message("ada", "are you there?"))
		ada.Expect(roomtest.Message("bob", "yes"))
		c.Verify()
	})
	// Its members are sent away, and it is told that it was taken for dead when it is
	// back.
	inBubble("for long", t, func(t *testing.T) {
		c := newCluster(t, 3)
		ada, bob, eve := c.Room(0).Join("ada"), c.Room(1).Join("bob"), c.Room(1).Join("eve")
		ada.Expect(roomtest.Joined("bob"), roomtest.Joined("eve"))
		c.Cut(1)
		ends(t, bob, tcproom.ErrUnavailable)
		ends(t, eve, tcproom.ErrUnavailable)
		bob = c.Room(2).Resume(bob)
		require.Equal(t, "resumed", bob.Welcome.Welcome.Outcome)
		bob.Send("here I am")
		ada.Expect(roomtest.Message("bob", "here I am"))
		ada.Within(2 * time.Minute).Expect(roomtest.Left("eve"))
		c.Heal(1)
		time.Sleep(10 * time.Second)
		require.NoError(t, c.Room(1).Room.Ready(t.Context()))
		eve = c.Room(1).Resume(eve)
		require.Equal(t, "expired", eve.Welcome.Welcome.Outcome)
		ada.Expect(roomtest.Joined("eve"))
		eve.Send("me too")
		ada.Expect(roomtest.Message("eve", "me too"))
		c.Verify()
	})
	// One that waits for the log for longer than others wait for its lease learns from
	// the log that it was taken for dead, and gets its members back.
	inBubble("and fences itself", t, func(t *testing.T) {
		c := newCluster(t, 3, tcproom.WithMaxOutage(time.Hour))
		ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
		ada.Expect(roomtest.Joined("bob"))
		c.Cut(1)
		sent := later(func() { bob.SendAsync("still here") })
		time.Sleep(3 * lease)
		ada.Send("where are you?")
		c.Heal(1)
		bob.Expect(roomtest.Message("ada", "where are you?"))
		ada.Expect(roomtest.Message("bob", "still here"))
		sent()
		time.Sleep(2 * grace)
		ada.Refute(roomtest.Any(tcproom.Leave))
		c.Verify()
	})
	// Its members that went on elsewhere meanwhile it does not get back.
	inBubble("and loses a member", t, func(t *testing.T) {
		c := newCluster(t, 3, tcproom.WithMaxOutage(time.Hour))
		ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
		ada.Expect(roomtest.Joined("bob"))
		c.Cut(1)
		time.Sleep(3 * lease)
		again := c.Room(2).Resume(bob)
		again.Send("here")
		ada.Expect(roomtest.Message("bob", "here"))
		c.Heal(1)
		ends(t, bob, tcproom.ErrTakenOver)
		again.Send("still")
		ada.Expect(roomtest.Message("bob", "still"))
		c.Verify()
	})
}

// welcomes returns the welcomes that a member has had, behind the first one.
func welcomes(m *roomtest.Member) (list []*tcproom.WelcomeInfo) {
	for _, ev := range m.Events()[1:] {
		if ev.Kind == tcproom.Welcome {
			list = append(list, ev.Welcome)
		}
	}
	return list
}

// names returns those of the members that a welcome lists.
func names(w *tcproom.WelcomeInfo) (list []string) {
	for _, m := range w.Members {
		list = append(list, m.Name)
	}
	return list
}

// TestClusterLogLost: the log is another one. Members stay connected, and are told that
// another stream begins, who is in it, and all that is in it from there on.
func TestClusterLogLost(t *testing.T) {
	for _, tt := range []struct {
		name string
		lose func(c *roomtest.Cluster)
	}{
		{"replaced", (*roomtest.Cluster).Replace},
		{"rolled back", func(c *roomtest.Cluster) { c.Rollback(2) }},
	} {
		inBubble(tt.name, t, func(t *testing.T) {
			c := newCluster(t, 3)
			ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
			ada.Expect(roomtest.Joined("bob"))
			ada.Send("before")
			ada.Send("and this")
			bob.Expect(roomtest.Message("ada", "before"), roomtest.Message("ada", "and this"))
			tt.lose(c)
			time.Sleep(time.Minute)
			for _, m := range []*roomtest.Member{ada, bob} {
				list := welcomes(m)
				require.Len(t, list, 1)
				require.Equal(t, "reset", list[0].Outcome)
				require.NotEqual(t, m.Welcome.Welcome.Epoch, list[0].Epoch)
				require.Equal(t, m.Welcome.Welcome.Token, list[0].Token)
			}
			// One was there before the other, who was told of it.
			first, second := ada, bob
			if len(names(welcomes(ada)[0])) == 2 {
				first, second = bob, ada
			}
			require.Equal(t, []string{first.Conn.Name()}, names(welcomes(first)[0]))
			require.Equal(t, []string{first.Conn.Name(), second.Conn.Name()}, names(welcomes(second)[0]))
			first.Expect(roomtest.Joined(second.Conn.Name()))
			bob.Send("after")
			ada.Expect(roomtest.Message("bob", "after"))
			old := ada
			ada = c.Room(1).Resume(ada)
			require.Equal(t, "resumed", ada.Welcome.Welcome.Outcome)
			ends(t, old, tcproom.ErrTakenOver)
			ada.Send("from elsewhere")
			bob.Expect(roomtest.Message("ada", "from elsewhere"))
			time.Sleep(2 * time.Minute)
			bob.Refute(roomtest.Any(tcproom.Leave))
			c.Verify()
		})
	}
}

// TestClusterStale: an engine that is cut off from the others knows nothing new, and no
// node takes that for a verdict.
func TestClusterStale(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		c := newCluster(t, 3)
		ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
		ada.Expect(roomtest.Joined("bob"))
		c.Backplane(1).Stale()
		ada.Send("news")
		time.Sleep(8 * time.Second)
		bob.Refute(roomtest.Any(tcproom.Message))
		c.Heal(1)
		bob.Expect(roomtest.Message("ada", "news"))
		bob.Send("old news")
		ada.Expect(roomtest.Message("bob", "old news"))
		c.Verify()
	})
}

// TestClusterBehindTheLog: a node that was away for longer than the log keeps what it has
// goes on from a checkpoint, and its members are told what they have missed.
func TestClusterBehindTheLog(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		log := roomtest.NewLog(func(caps *tcproom.Caps) { caps.Records = 500 })
		c := trust(log.Cluster(t, 2, withSessions([]tcproom.RoomOption{tcproom.WithMaxOutage(time.Hour)})...))
		ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
		ada.Expect(roomtest.Joined("bob"))
		talk(t, c, 420)
		c.Cut(1)
		talk(t, c, 840)
		eve := c.Room(0).Join("eve")
		c.Heal(1)
		bob.Await(roomtest.Any(tcproom.Gap))
		list := welcomes(bob)
		require.Len(t, list, 1)
		require.Equal(t, "gap", list[0].Outcome)
		require.Equal(t, bob.Welcome.Welcome.Epoch, list[0].Epoch)
		require.Equal(t, []string{"ada", "bob"}, names(list[0])) // eve is behind the gap
		eve.Send("I am here")
		bob.Await(roomtest.Joined("eve"))
		bob.Expect(roomtest.Message("eve", "I am here"))
		bob.Send("I am late")
		ada.Await(roomtest.Message("bob", "I am late"))
		c.Verify()
	})
}

// TestClusterResumesCross: what a node says of a connection counts as long as nothing has
// taken that connection's place since.
func TestClusterResumesCross(t *testing.T) {
	// The end of the old connection is ordered behind the resume.
	inBubble("the old connection ends while the new one waits", t, func(t *testing.T) {
		c := newCluster(t, 2)
		ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
		c.Delay(0, time.Second)
		var again *roomtest.Member
		var err error
		resumed := later(func() { again, err = c.Room(0).TryResume(ada) })
		time.Sleep(100 * time.Millisecond)
		ada.Link.Reset()
		resumed()
		require.NoError(t, err)
		time.Sleep(2 * grace)
		bob.Refute(roomtest.Any(tcproom.Leave))
		again.Send("here")
		bob.Await(roomtest.Message("ada", "here"))
		c.Verify()
	})
	// A client that has given up one node, and gone on at another, is not taken from there
	// by what it has asked of the first.
	inBubble("a resume that nobody waits for", t, func(t *testing.T) {
		testGivenUp(t, func(c *roomtest.Cluster) { c.Delay(1, 3*time.Second) }, func(*roomtest.Cluster) {})
	})
	inBubble("a hello that nobody waits for", t, func(t *testing.T) {
		testGivenUp(t, func(c *roomtest.Cluster) {
			c.Cut(1)
			time.Sleep(10 * time.Second) // until it waits at the door of the node, that has begun again
		}, func(c *roomtest.Cluster) { c.Heal(1) })
	})
}

// testGivenUp: a client is at node 0, loses that, gives up node 1, which is slow, and goes
// on at node 2.
func testGivenUp(t *testing.T, slow, heal func(*roomtest.Cluster)) {
	c := newCluster(t, 3, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithMaxOutage(6*time.Second), tcproom.WithHandshakeTimeout(20*time.Second))
	bob := c.Room(2).Join("bob")
	var at atomic.Int32
	var link atomic.Pointer[net.Conn]
	ada := tcproom.NewClient(t.Context(), "cluster:1", tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName("ada"),
		tcproom.WithDialer(func(ctx context.Context, network, _ string) (net.Conn, error) {
			srv := c.Room(int(at.Load()))
			nc, err := srv.Net.Dial(ctx, network, srv.Addr)
			link.Store(&nc)
			return nc, err
		}))
	defer ada.Close()
	_, err := ada.SendAcked(t.Context(), []byte("one"))
	require.NoError(t, err)
	slow(c)
	at.Store(1)
	(*link.Load()).Close()
	time.Sleep(time.Second) // its resume is on the way
	at.Store(2)
	(*link.Load()).Close()
	_, err = ada.SendAcked(t.Context(), []byte("two"))
	require.NoError(t, err)
	heal(c)
	time.Sleep(10 * time.Second)
	require.NoError(t, ada.Err())
	_, err = ada.SendAcked(t.Context(), []byte("three"))
	require.NoError(t, err)
	bob.Expect(roomtest.Joined("ada"), roomtest.Message("ada", "one"), roomtest.Message("ada", "two"), roomtest.Message("ada", "three"))
	time.Sleep(2 * grace)
	bob.Refute(roomtest.Any(tcproom.Leave))
	c.Verify()
}

// TestClusterFreshNode: a node that has just started, behind the first checkpoint, knows
// what members missed before it.
func TestClusterFreshNode(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		c := newCluster(t, 2)
		ada := c.Room(0).Join("ada")
		ada.Pause()
		talk(t, c, 2100)
		c.Shutdown(1)
		c.Restart(1)
		old := ada
		ada = c.Room(1).Resume(ada)
		require.Equal(t, "resumed", ada.Welcome.Welcome.Outcome)
		old.Resume()
		ends(t, old, tcproom.ErrTakenOver)
		c.Verify()
	})
}

// TestClusterCrash: who was connected to a node that died leaves once, when lease and
// grace are over, unless it resumes before that.
func TestClusterCrash(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		c := newCluster(t, 3)
		ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
		c.Room(1).Join("eve")
		ada.Expect(roomtest.Joined("bob"), roomtest.Joined("eve"))
		c.Crash(1)
		ends(t, bob, errReset)
		ada.Send("hello?")
		bob = c.Room(2).Resume(bob)
		bob.Await(roomtest.Message("ada", "hello?"))
		ada.Within(2 * time.Minute).Expect(roomtest.Left("eve"))
		c.Restart(1)
		bob = c.Room(1).Resume(bob)
		require.Equal(t, "resumed", bob.Welcome.Welcome.Outcome)
		time.Sleep(2 * time.Minute)
		ada.Refute(roomtest.Any(tcproom.Leave), roomtest.Any(tcproom.Join))
		require.Equal(t, 2, c.Room(2).Room.Len())
		c.Verify()
	})
	inBubble("in a join", t, func(t *testing.T) {
		c := newCluster(t, 2)
		ada := c.Room(0).Join("ada")
		c.Delay(1, time.Second)
		joined := later(func() {
			_, err := c.Room(1).TryJoin("bob")
			require.Error(t, err)
		})
		time.Sleep(1500 * time.Millisecond) // the join is stored, and node 1 has not read it
		c.Crash(1)
		joined()
		ada.Expect(roomtest.Joined("bob"))
		ada.Within(2 * time.Minute).Expect(roomtest.Left("bob"))
		c.Verify()
	})
	inBubble("of all", t, func(t *testing.T) {
		c := newCluster(t, 2)
		ada := c.Room(0).Join("ada")
		c.Room(1).Join("bob")
		ada.Expect(roomtest.Joined("bob"))
		c.Crash(0)
		c.Crash(1)
		time.Sleep(3 * lease)
		c.Restart(0)
		time.Sleep(3 * lease)
		ada = c.Room(0).Resume(ada)
		require.Equal(t, "resumed", ada.Welcome.Welcome.Outcome)
		ada.Within(2 * time.Minute).Expect(roomtest.Left("bob"))
		c.Verify()
	})
}

// TestClusterConditions: of two that want one name, or the last place, at two nodes at the
// same time one joins.
func TestClusterConditions(t *testing.T) {
	for _, tt := range []struct {
		name  string
		opt   tcproom.RoomOption
		names [2]string
		cause tcproom.Cause
	}{
		{"name", tcproom.WithUniqueNames(true), [2]string{"ada", "ada"}, tcproom.ErrNameTaken},
		{"last place", tcproom.WithMaxMembers(2), [2]string{"ada", "bob"}, tcproom.ErrRoomFull},
	} {
		inBubble(tt.name, t, func(t *testing.T) {
			var in, out atomic.Int32
			c := newCluster(t, 3, tt.opt,
				tcproom.OnJoin(func(*tcproom.Member) error { in.Add(1); return nil }),
				tcproom.OnLeave(func(_ *tcproom.Member, cause error) { out.Add(1) }))
			eve := c.Room(2).Join("eve")
			var wg sync.WaitGroup
			var errs [2]error
			var joined [2]*roomtest.Member
			for i, name := range tt.names {
				c.Delay(i, 100*time.Millisecond)
				wg.Go(func() { joined[i], errs[i] = c.Room(i).TryJoin(name) })
			}
			wg.Wait()
			lost := 0
			if errs[0] == nil {
				lost = 1
			}
			require.NoError(t, errs[1-lost])
			refused, ok := errors.AsType[*tcproom.RefusedError](errs[lost])
			require.True(t, ok, "%v", errs[lost])
			require.Equal(t, tt.cause, refused.Cause)
			eve.Expect(roomtest.Joined(tt.names[1-lost]))
			eve.Refute(roomtest.Any(tcproom.Join))
			synctest.Wait() // OnLeave comes behind the refusal
			require.EqualValues(t, 3, in.Load())
			require.EqualValues(t, 1, out.Load(), "of the one that was let in by OnJoin and not by the log")
			joined[1-lost].Leave()
			eve.Expect(roomtest.Left(tt.names[1-lost]))
			time.Sleep(time.Second)           // until the node knows
			c.Room(lost).Join(tt.names[lost]) // is free now
			c.Verify()
		})
	}
}

// TestClusterKickAndResume: a kick at one node and a resume at another. The order decides.
func TestClusterKickAndResume(t *testing.T) {
	for _, tt := range []struct {
		name         string
		kick, resume time.Duration // how long each takes to the log
	}{{"kick first", time.Second, 2 * time.Second}, {"resume first", 2 * time.Second, time.Second}} {
		inBubble(tt.name, t, func(t *testing.T) {
			c := newCluster(t, 3)
			ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
			ada.Expect(roomtest.Joined("bob"))
			bob.Link.Reset()
			time.Sleep(time.Second)
			c.Delay(0, tt.kick)
			c.Delay(2, tt.resume)
			kicked := later(func() {
				m, ok := c.Room(0).Room.Member(bob.Conn.ID())
				require.True(t, ok)
				require.NoError(t, m.Kick("enough"))
			})
			again, err := c.Room(2).TryResume(bob)
			kicked()
			require.NoError(t, err)
			if tt.kick < tt.resume {
				require.Equal(t, "expired", again.Welcome.Welcome.Outcome)
				ada.Expect(roomtest.Left("bob"), roomtest.Joined("bob"))
			} else {
				require.Equal(t, "resumed", again.Welcome.Welcome.Outcome)
				require.ErrorIs(t, again.AwaitEnd(), tcproom.ErrKicked)
				ada.Expect(roomtest.Left("bob"))
			}
			c.Verify()
		})
	}
}

// dialNode dials the node that at says.
func dialNode(c *roomtest.Cluster, at *atomic.Int32) tcproom.DialOption {
	return tcproom.WithDialer(func(ctx context.Context, network, _ string) (net.Conn, error) {
		srv := c.Room(int(at.Load()))
		return srv.Net.Dial(ctx, network, srv.Addr)
	})
}

// TestClusterNumbers: a numbered message is said once, although its node dies when the log
// has it, and its client sends it again at another node.
func TestClusterNumbers(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		c := newCluster(t, 2, tcproom.WithCodec(tcproom.JSON{}))
		bob := c.Room(1).Join("bob")
		var at atomic.Int32
		ada := tcproom.NewClient(t.Context(), "cluster:1", dialNode(c, &at), tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName("ada"))
		defer ada.Close()
		_, err := ada.SendAcked(t.Context(), []byte("one"))
		require.NoError(t, err)
		c.Delay(0, time.Second)
		var seq uint64
		acked := later(func() {
			seq, err = ada.SendAcked(t.Context(), []byte("two"))
		})
		time.Sleep(1500 * time.Millisecond) // it is stored, and the node has not read it
		at.Store(1)
		c.Crash(0)
		acked()
		require.NoError(t, err)
		bob.Await(roomtest.Message("ada", "two"))
		require.Zero(t, seq, "which the second node does not know")
		seq, err = ada.SendAcked(t.Context(), []byte("three"))
		require.NoError(t, err)
		require.Equal(t, bob.Await(roomtest.Message("ada", "three")).Seq, seq)
		require.Equal(t, 1, said(c, 1, "two"))
		c.Verify()
	})
}

// TestClusterResumeAtALaggingNode: who resumes at a node that lags waits until that has
// read all that the member has seen.
func TestClusterResumeAtALaggingNode(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		c := newCluster(t, 2)
		ada := c.Room(0).Join("ada")
		c.Delay(1, 3*time.Second)
		bob := c.Room(0).Join("bob") // of which node 1 knows nothing yet
		ada.Expect(roomtest.Joined("bob"))
		for i := range 10 {
			ada.Send(fmt.Sprint(i))
		}
		for i := range 5 {
			bob.Expect(roomtest.Message("ada", fmt.Sprint(i)))
		}
		bob.Sync()
		bob = c.Room(1).Resume(bob)
		require.Equal(t, "resumed", bob.Welcome.Welcome.Outcome)
		ada.Send("next")
		bob.Expect(roomtest.Message("ada", "next"))
		c.Verify()
	})
	inBubble("who has joined since", t, func(t *testing.T) {
		c := newCluster(t, 2)
		c.Delay(1, time.Second)
		ada := c.Room(0).Join("ada")
		ada = c.Room(1).Resume(ada)
		require.Equal(t, "resumed", ada.Welcome.Welcome.Outcome)
		c.Verify()
	})
	inBubble("a token that nobody has", t, func(t *testing.T) {
		c := newCluster(t, 2)
		ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
		ada.Expect(roomtest.Joined("bob"))
		bob.Leave()
		ada.Expect(roomtest.Left("bob"))
		bob = c.Room(0).Resume(bob)
		require.Equal(t, "expired", bob.Welcome.Welcome.Outcome)
		c.Verify()
	})
}

// TestClusterShutdown: a node that stops in good order loses nothing of what was handed in
// there, and its members go on elsewhere.
func TestClusterShutdown(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		c := newCluster(t, 3)
		ada := c.Room(0).Join("ada")
		bob := c.Room(1).Join("bob")
		ada.Expect(roomtest.Joined("bob"))
		for i := range 3 {
			bob.SendAsync(fmt.Sprint(i))
		}
		c.Shutdown(1)
		ends(t, bob, tcproom.ErrRestarting)
		bob = c.Room(2).Resume(bob)
		require.Equal(t, "resumed", bob.Welcome.Welcome.Outcome)
		bob.Send("back")
		ada.Await(roomtest.Message("bob", "back"))
		time.Sleep(2 * grace)
		ada.Refute(roomtest.Any(tcproom.Leave))
		c.Verify()
	})
	inBubble("rolling", t, func(t *testing.T) {
		c := newCluster(t, 3, tcproom.WithDrain(time.Second))
		var members [3]*roomtest.Member
		for i := range members {
			members[i] = c.Room(i).Join(fmt.Sprint("m", i))
		}
		at := [...]int{0, 1, 2}
		for i := range 3 {
			stopped := later(func() { c.Shutdown(i) })
			for j := range members {
				if at[j] != i {
					continue
				}
				ends(t, members[j], tcproom.ErrRestarting)
				at[j] = (i + 1) % 3
				members[j] = c.Room(at[j]).Resume(members[j])
				require.Equal(t, "resumed", members[j].Welcome.Welcome.Outcome)
				members[j].Send(fmt.Sprint("moved ", j))
			}
			stopped()
			c.Restart(i)
		}
		time.Sleep(2 * grace)
		require.Equal(t, 3, c.Room(0).Room.Len())
		c.Verify()
	})
	inBubble("while the log is silent", t, func(t *testing.T) {
		c := newCluster(t, 2)
		ada := c.Room(0).Join("ada")
		c.Backplane(0).Stall()
		ada.SendAsync("lost")
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		err := c.Room(0).Room.Shutdown(ctx)
		require.LessOrEqual(t, time.Since(began), 6*time.Second)
		var stop *tcproom.StopError
		require.ErrorAs(t, err, &stop)
		require.Equal(t, 1, stop.Unordered)
		require.Empty(t, stop.Stuck)
		ends(t, ada, tcproom.ErrRestarting)
	})
}
