package suite_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// pairs counts the calls of OnJoin and OnLeave, for each Member that there was.
type pairs struct {
	mu     sync.Mutex
	in     map[*tcproom.Member]int
	joins  int
	causes []error
}

func newPairs() *pairs { return &pairs{in: make(map[*tcproom.Member]int)} }

func (p *pairs) options(more ...tcproom.RoomOption) []tcproom.RoomOption {
	return append(more,
		tcproom.OnJoin(func(m *tcproom.Member) error {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.in[m]++
			p.joins++
			return nil
		}),
		tcproom.OnLeave(func(m *tcproom.Member, cause error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.in[m]--
			p.causes = append(p.causes, cause)
		}))
}

// check checks that so many joined, and left, and that these are pairs but for those who
// are in.
func (p *pairs) check(t *testing.T, joined, left int) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	require.Equal(t, joined, p.joins)
	require.Len(t, p.causes, left, "%v", p.causes)
	in := 0
	for m, n := range p.in {
		require.True(t, n == 0 || n == 1, "%s: %d", m.ID(), n)
		in += n
	}
	require.Equal(t, joined-left, in)
}

// TestClusterHooksOfResumes: OnJoin is for who goes on at another node, and OnLeave for who
// goes on elsewhere, or does not go on after all.
func TestClusterHooksOfResumes(t *testing.T) {
	inBubble("to another node", t, func(t *testing.T) {
		p := newPairs()
		c := newCluster(t, 2, p.options()...)
		bob := c.Room(0).Join("bob")
		p.check(t, 1, 0)
		bob = c.Room(1).Resume(bob)
		time.Sleep(time.Second)
		p.check(t, 2, 1)
		require.ErrorIs(t, p.causes[0], tcproom.ErrElsewhere)
		bob.Leave()
		time.Sleep(time.Second)
		p.check(t, 2, 2)
		c.Verify()
	})
	inBubble("to a node without a log", t, func(t *testing.T) {
		p := newPairs()
		c := newCluster(t, 2, p.options()...)
		bob := c.Room(0).Join("bob")
		c.Backplane(1).Stall()
		c.Room(1).Within(time.Minute)
		_, err := c.Room(1).TryResume(bob)
		require.ErrorIs(t, err, tcproom.ErrUnavailable)
		time.Sleep(time.Second)
		p.check(t, 2, 1)
		c.Verify() // its resume came later, and took the member away from where it was
		require.NotNil(t, c.Room(0).Resume(bob))
		time.Sleep(2 * grace)
		c.Verify()
	})
	inBubble("by two connections at once", t, func(t *testing.T) {
		p := newPairs()
		c := newCluster(t, 2, p.options()...)
		bob := c.Room(0).Join("bob")
		c.Delay(1, time.Second)
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				// The newest wins, whichever comes through first.
				if _, err := c.Room(1).TryResume(bob); err != nil {
					require.ErrorIs(t, err, tcproom.ErrTakenOver)
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Minute)
		p.check(t, 2, 1)
		c.Verify()
	})
	inBubble("away and back", t, func(t *testing.T) {
		p := newPairs()
		c := newCluster(t, 3, p.options()...)
		bob := c.Room(1).Join("bob")
		bob.Link.Reset()
		time.Sleep(time.Second)
		c.Delay(1, 2*time.Second)
		c.Delay(2, time.Second)
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := c.Room(1).TryResume(bob) // which is ordered behind the other one, and overtaken
			require.ErrorIs(t, err, tcproom.ErrUnavailable)
		})
		_, err := c.Room(2).TryResume(bob)
		require.NoError(t, err)
		wg.Wait()
		time.Sleep(time.Second)
		p.check(t, 2, 1)
		c.Room(0).Resume(bob)
		time.Sleep(2 * time.Second) // until node 2 knows
		p.check(t, 3, 2)
		time.Sleep(2 * grace)
		c.Verify()
	})
}

// TestClusterResumeThatComesToNothing: who is connected stays so if another connection of
// the member ends while its resume is on its way.
func TestClusterResumeThatComesToNothing(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		c := newCluster(t, 2)
		ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
		ada.Expect(roomtest.Joined("bob"))
		c.Backplane(1).Stall()
		c.Room(1).Within(11 * time.Second)
		_, err := c.Room(1).TryResume(bob)
		require.ErrorIs(t, err, tcproom.ErrUnavailable)
		c.Heal(1)
		time.Sleep(2 * grace)
		ada.Refute(roomtest.Any(tcproom.Leave))
		bob.Send("here")
		ada.Expect(roomtest.Message("bob", "here"))
		c.Verify()
	})
}

// TestClusterKicks: a kick has an end, whatever else is under way.
func TestClusterKicks(t *testing.T) {
	kick := func(t *testing.T, c *roomtest.Cluster, i int, m *roomtest.Member) error {
		there, ok := c.Room(i).Room.Member(m.Conn.ID())
		require.True(t, ok)
		return there.Kick("enough")
	}
	inBubble("while the member resumes here", t, func(t *testing.T) {
		p := newPairs()
		c := newCluster(t, 2, p.options()...)
		ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
		ada.Expect(roomtest.Joined("bob"))
		bob.Link.Reset()
		time.Sleep(time.Second)
		c.Delay(1, time.Second)
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := c.Room(1).TryResume(bob)
			require.ErrorIs(t, err, tcproom.ErrKicked)
		})
		time.Sleep(time.Second)
		require.NoError(t, kick(t, c, 1, bob))
		wg.Wait()
		ada.Expect(roomtest.Left("bob"))
		time.Sleep(time.Second)
		p.check(t, 2, 1)
		c.Verify()
	})
	for _, again := range []string{"and nothing", "and the log comes back", "and the room ends"} {
		inBubble("twice while the log is away, "+again, t, func(t *testing.T) {
			p := newPairs()
			c := newCluster(t, 2, p.options()...)
			ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
			ada.Expect(roomtest.Joined("bob"))
			c.Cut(1)
			began := time.Now()
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() { kick(t, c, 1, bob) })
			}
			ends(t, bob, tcproom.ErrKicked)
			wg.Wait()
			require.LessOrEqual(t, time.Since(began), 20*time.Second)
			switch again {
			case "and the log comes back":
				c.Heal(1)
				ada.Within(2 * time.Minute).Expect(roomtest.Left("bob"))
			case "and the room ends":
				require.NoError(t, c.Room(1).Room.Close())
			}
			time.Sleep(time.Second)
			p.check(t, 2, 1)
		})
	}
	inBubble("at a node that was taken for dead and gets no lease", t, func(t *testing.T) {
		c := newCluster(t, 2, tcproom.WithMaxOutage(time.Minute))
		ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
		c.Cut(1)
		time.Sleep(2 * lease)
		var err error
		kicked := later(func() { err = kick(t, c, 1, ada) })
		time.Sleep(lease)
		c.Backplane(1).Stale() // so that it reads that, and nothing newer
		kicked()
		require.ErrorIs(t, err, tcproom.ErrUnavailable)
		ends(t, bob, tcproom.ErrUnavailable)
		c.Heal(1)
		time.Sleep(time.Minute)
		require.NoError(t, c.Room(1).Room.Ready(t.Context()))
		ada.Send("still here")
		c.Verify()
	})
}

// TestClusterResumeOfTheFuture: nobody goes on from what is not there, wherever that is
// asked. At another node the member's connection has been taken over by then, and it can
// resume as it should.
func TestClusterResumeOfTheFuture(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		c := newCluster(t, 2, tcproom.WithCodec(tcproom.JSON{}))
		ada := c.Room(0).Join("ada")
		w := ada.Welcome.Welcome
		resume := func(i int) {
			nc, err := c.Room(i).Net.Dial(t.Context(), "tcp", c.Room(i).Addr)
			require.NoError(t, err)
			conn := tcproom.NewConn(nc, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithResume(tcproom.Resume{Token: w.Token, Epoch: w.Epoch, Seq: 1 << 50}))
			defer conn.Close()
			_, err = conn.Receive(t.Context())
			require.ErrorIs(t, err, tcproom.Cause("future"))
		}
		resume(0)
		ada.Send("still here")
		synctest.Wait() // node 1 has read what the first one did
		resume(1)
		ends(t, ada, tcproom.ErrTakenOver)
		ada = c.Room(1).Resume(ada)
		require.Equal(t, "resumed", ada.Welcome.Welcome.Outcome)
		time.Sleep(2 * grace)
		require.Equal(t, 1, c.Room(0).Room.Len())
		c.Verify()
	})
}

// TestClusterUnavailableIsNoFaultOfAHook: a member comes back elsewhere if its node cannot
// order what it says, whether or not OnMessage has returned that.
func TestClusterUnavailableIsNoFaultOfAHook(t *testing.T) {
	for name, opts := range map[string][]tcproom.RoomOption{
		"no hook": nil,
		"a hook":  {tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) { return body, nil })},
	} {
		inBubble(name, t, func(t *testing.T) {
			c := newCluster(t, 2, append(opts, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithDrain(2*time.Minute))...)
			bob := c.Room(1).Join("bob")
			members := joinAll(c, 0, 4)
			stopped := later(func() { c.Room(0).Room.Shutdown(context.Background()) })
			time.Sleep(time.Second)
			c.Cut(0)
			time.Sleep(3 * lease) // the other node declares this one dead
			c.Heal(0)
			time.Sleep(3 * time.Second)
			members[3].SendAsync("void")
			ends(t, members[3], tcproom.ErrUnavailable)
			last := c.Room(1).Resume(members[3])
			require.Equal(t, "resumed", last.Welcome.Welcome.Outcome)
			stopped()
			bob.Refute(roomtest.Message("m3", "void"))
		})
	}
}
