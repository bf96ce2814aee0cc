package suite_test

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// What members see when the log does not go on behind what their node has read: a gap, or
// another stream.

// outcomes returns those of the welcomes that a member has had, behind the first one.
func outcomes(m *roomtest.Member) (list []string) {
	for _, w := range welcomes(m) {
		list = append(list, w.Outcome)
	}
	return list
}

// TestClusterResetOfANodeThatLags: a node that has read nothing of what the log has lost
// learns that another stream has begun by reading on.
func TestClusterResetOfANodeThatLags(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		c := newCluster(t, 2)
		ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
		ada.Expect(roomtest.Joined("bob"))
		ada.Sync()
		synctest.Wait()
		c.Backplane(1).Stall()
		ada.Send("lost")
		ada.Send("lost too")
		time.Sleep(time.Second)
		c.Rollback(2)
		time.Sleep(5 * time.Second)
		require.Equal(t, []string{"reset"}, outcomes(ada))
		c.Heal(1)
		ada.Expect(roomtest.Joined("bob"))
		synctest.Wait() // until bob has read it
		require.Equal(t, []string{"reset"}, outcomes(bob))
		require.Equal(t, []string{"ada", "bob"}, names(welcomes(bob)[0]))
		bob.Refute(roomtest.Any(tcproom.Message))
		bob.Send("on")
		ada.Expect(roomtest.Message("bob", "on"))
		c.Verify()
	})
}

// TestClusterResetTwice: the log is lost again, before members are in the new stream and
// after that.
func TestClusterResetTwice(t *testing.T) {
	for _, between := range []time.Duration{0, time.Millisecond, 10 * time.Second} {
		inBubble(fmt.Sprint(between), t, func(t *testing.T) {
			c := newCluster(t, 3)
			ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
			for i := range 3 {
				c.Delay(i, 20*time.Millisecond)
			}
			ada.Expect(roomtest.Joined("bob"))
			for range 3 {
				c.Replace()
				time.Sleep(between)
			}
			time.Sleep(time.Minute)
			bob.Send("still here")
			ada.Await(roomtest.Message("bob", "still here"))
			require.Equal(t, "reset", outcomes(bob)[0])
			c.Verify()
		})
	}
}

// TestClusterResetOfNumbers: what a member had numbered and nobody knows the fate of is
// said in the new stream, once, and what it says next comes behind it.
func TestClusterResetOfNumbers(t *testing.T) {
	for _, fate := range []roomtest.Fate{roomtest.Stored, roomtest.NotStored} {
		inBubble(fmt.Sprint(fate), t, func(t *testing.T) {
			c := newCluster(t, 2, tcproom.WithCodec(tcproom.JSON{}))
			ada := c.Room(0).Join("ada")
			srv := c.Room(1)
			cl := tcproom.NewClient(t.Context(), srv.Addr, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName("bob"),
				tcproom.WithDialer(func(ctx context.Context, network, _ string) (net.Conn, error) {
					return srv.Net.Dial(ctx, network, srv.Addr)
				}))
			defer cl.Close()
			var kinds []string
			wait := later(func() {
				for ev := range cl.Events(context.Background()) {
					if ev.Kind == tcproom.Welcome {
						kinds = append(kinds, ev.Welcome.Outcome)
					} else {
						kinds = append(kinds, ev.Kind.String())
					}
				}
			})
			ada.Expect(roomtest.Joined("bob"))
			_, err := cl.SendAcked(t.Context(), []byte("before"))
			require.NoError(t, err)
			ada.Expect(roomtest.Message("bob", "before"))
			c.Delay(1, 100*time.Millisecond)
			c.Uncertain(1, fate)
			acked := later(func() {
				seq, err := cl.SendAcked(t.Context(), []byte("on its way"))
				require.NoError(t, err)
				require.NotZero(t, seq)
			})
			time.Sleep(50 * time.Millisecond)
			c.Replace()
			acked()
			_, err = cl.SendAcked(t.Context(), []byte("after"))
			require.NoError(t, err)
			ada.Await(roomtest.Message("bob", "on its way"))
			ada.Expect(roomtest.Message("bob", "after"))
			time.Sleep(time.Minute)
			ada.Refute(roomtest.Any(tcproom.Message, tcproom.Leave))
			cl.Close()
			wait()
			require.Contains(t, kinds, "reset")
			require.NotContains(t, kinds, "Uncertain")
			require.NotContains(t, kinds, "Lost")
			ada.Expect(roomtest.Left("bob"))
			c.Verify()
		})
	}
}

// TestClusterResumeFromAStreamThatIsLost: the token of a member is good in the next stream
// too, and its place in the order is not.
func TestClusterResumeFromAStreamThatIsLost(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		c := newCluster(t, 2, tcproom.WithUniqueNames(true))
		ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
		ada.Expect(roomtest.Joined("bob"))
		bob.Pause() // so it knows nothing of the next stream
		c.Replace()
		time.Sleep(10 * time.Second)
		ada.Send("missed")
		time.Sleep(time.Second)
		old := bob
		bob = c.Room(0).Resume(bob)
		require.Equal(t, "reset", bob.Welcome.Welcome.Outcome)
		require.Equal(t, old.Welcome.From, bob.Welcome.From)
		require.NotEqual(t, old.Welcome.Welcome.Epoch, bob.Welcome.Welcome.Epoch)
		require.Equal(t, old.Welcome.Welcome.Token, bob.Welcome.Welcome.Token)
		old.Resume()
		ends(t, old, tcproom.ErrTakenOver)
		ada.Send("not missed")
		bob.Expect(roomtest.Message("ada", "not missed"))
		bob = c.Room(1).Resume(bob)
		require.Equal(t, "resumed", bob.Welcome.Welcome.Outcome)
		time.Sleep(2 * time.Minute)
		ada.Refute(roomtest.Any(tcproom.Leave))
		c.Verify()
	})
}

// TestClusterResetRefused: a member whose name somebody else has in the new stream is sent
// away, and refused when it comes back.
func TestClusterResetRefused(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		c := newCluster(t, 2, tcproom.WithUniqueNames(true))
		ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
		ada.Expect(roomtest.Joined("bob"))
		c.Cut(0)
		c.Replace()
		time.Sleep(5 * time.Second)
		other := c.Room(1).Join("ada")
		c.Heal(0)
		ends(t, ada, tcproom.ErrUnavailable)
		_, err := c.Room(0).TryResume(ada)
		require.ErrorIs(t, err, tcproom.ErrNameTaken)
		bob.Expect(roomtest.Joined("ada"))
		other.Send("it is me")
		bob.Expect(roomtest.Message("ada", "it is me"))
		synctest.Wait()
		require.Equal(t, []string{"reset"}, outcomes(bob))
		c.Verify()
	})
}

// TestClusterResetOfThoseThatEnd: members that leave, are kicked or lose their connection
// while another stream begins.
func TestClusterResetOfThoseThatEnd(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(c *roomtest.Cluster, m *roomtest.Member)
	}{
		{"leaves", func(_ *roomtest.Cluster, m *roomtest.Member) { m.Conn.Close() }},
		{"is kicked", func(c *roomtest.Cluster, m *roomtest.Member) {
			if there, ok := c.Room(1).Room.Member(m.Conn.ID()); ok {
				go there.Kick("")
			}
		}},
		{"breaks off", func(_ *roomtest.Cluster, m *roomtest.Member) { m.Link.Reset() }},
	} {
		for _, after := range []time.Duration{0, 50 * time.Millisecond, 250 * time.Millisecond, 450 * time.Millisecond, 5 * time.Second} {
			inBubble(fmt.Sprint(tt.name, " after ", after), t, func(t *testing.T) {
				c := newCluster(t, 2)
				ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
				ada.Expect(roomtest.Joined("bob"))
				c.Delay(1, 200*time.Millisecond)
				c.Replace()
				time.Sleep(after)
				tt.end(c, bob)
				time.Sleep(3 * time.Minute)
				require.Equal(t, 1, c.Room(0).Room.Len())
				require.Equal(t, 1, c.Room(1).Room.Len())
				require.Equal(t, []string{"reset"}, outcomes(ada))
				c.Verify()
			})
		}
	}
}

// TestClusterResetWhileOnJoinedRuns: what the hook sends comes first, so its member is not
// told another stream before it has returned, and comes back instead.
func TestClusterResetWhileOnJoinedRuns(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		free := make(chan struct{})
		c := newCluster(t, 1, tcproom.OnJoined(func(*tcproom.Member, uint64) { <-free }))
		ada := c.Room(0).Join("ada")
		time.Sleep(time.Second)
		c.Replace()
		time.Sleep(10 * time.Second)
		close(free)
		ends(t, ada, tcproom.ErrUnavailable)
		require.Empty(t, outcomes(ada))
		c.Room(0).Join("bob")
		c.Verify()
	})
}

// TestClusterResetByCodec: a person reads a line, and who cannot be told comes back.
func TestClusterResetByCodec(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		c := newCluster(t, 1)
		r := c.Room(0).Room
		text, err := r.Join(t.Context(), tcproom.Identity{Name: "ada"}, tcproom.WithCodec(tcproom.Text{}))
		require.NoError(t, err)
		defer text.Close()
		raw, err := r.Join(t.Context(), tcproom.Identity{Name: "bob"}, tcproom.WithCodec(tcproom.Raw{}))
		require.NoError(t, err)
		defer raw.Close()
		ev, err := text.Receive(t.Context())
		require.NoError(t, err)
		require.Equal(t, tcproom.Join, ev.Kind)
		c.Replace()
		_, err = raw.Receive(t.Context())
		require.Error(t, err)
		ev, err = text.Receive(t.Context())
		require.NoError(t, err)
		require.Equal(t, tcproom.Welcome, ev.Kind)
		require.Equal(t, "reset", ev.Welcome.Outcome)
		require.Equal(t, "ada", text.Name())
		require.Equal(t, 1, r.Len())
		require.Equal(t, uint64(1), r.Stats().Left[tcproom.ErrUnavailable])
		_, err = r.Broadcast(t.Context(), []byte("on"))
		require.NoError(t, err)
		ev, err = text.Receive(t.Context())
		require.NoError(t, err)
		require.Equal(t, "on", string(ev.Body))
	})
}

// TestClusterChangesInAGap: who is in has changed in what a node has not read. Those that
// went on elsewhere, or were put out, end; the others are told who is there.
func TestClusterChangesInAGap(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		log := roomtest.NewLog(func(caps *tcproom.Caps) { caps.Records = 400 })
		c := trust(log.Cluster(t, 2, withSessions([]tcproom.RoomOption{tcproom.WithMaxOutage(time.Hour)})...))
		ada := c.Room(0).Join("ada")
		bob, eve, kim := c.Room(1).Join("bob"), c.Room(1).Join("eve"), c.Room(1).Join("kim")
		ada.Expect(roomtest.Joined("bob"), roomtest.Joined("eve"), roomtest.Joined("kim"))
		zoe := c.Room(0).Join("zoe")
		kim.Expect(roomtest.Joined("zoe"))
		time.Sleep(time.Second)
		c.Cut(1)
		zoe.Conn.Close()
		bob2 := c.Room(0).Resume(bob)
		require.Equal(t, "resumed", bob2.Welcome.Welcome.Outcome)
		there, ok := c.Room(0).Room.Member(eve.Conn.ID())
		require.True(t, ok)
		require.NoError(t, there.Kick(""))
		c.Room(0).Join("ian")
		talk(t, c, 1000)
		time.Sleep(time.Second)
		c.Heal(1)
		ends(t, bob, tcproom.ErrTakenOver)
		ends(t, eve, tcproom.ErrUnavailable)
		gap := kim.Await(roomtest.Any(tcproom.Gap)).Gap
		require.Equal(t, []string{"gap"}, outcomes(kim))
		require.Equal(t, []string{"ada", "bob", "kim", "ian"}, names(welcomes(kim)[0]))
		require.Greater(t, gap.Last, gap.First)
		bob2.Send("hello")
		kim.Await(roomtest.Message("bob", "hello"))
		kim.Send("hello too")
		bob2.Await(roomtest.Message("kim", "hello too"))
		old := kim
		kim = c.Room(0).Resume(kim)
		require.Equal(t, "resumed", kim.Welcome.Welcome.Outcome)
		ends(t, old, tcproom.ErrTakenOver)
		time.Sleep(2 * time.Minute)
		c.Verify()
	})
}

// TestClusterGapWhileOnJoinedRuns: what was ordered before a gap is not told behind it, so
// a member whose hook runs is not told of it, and comes back instead.
func TestClusterGapWhileOnJoinedRuns(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		free := make(chan struct{})
		log := roomtest.NewLog(func(caps *tcproom.Caps) { caps.Records = 400 })
		c := trust(log.Cluster(t, 2, withSessions([]tcproom.RoomOption{
			tcproom.WithMaxOutage(time.Hour),
			tcproom.OnJoined(func(m *tcproom.Member, _ uint64) {
				if m.Name() == "bob" {
					<-free
				}
			}),
		})...))
		ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
		ada.Expect(roomtest.Joined("bob"))
		ada.Send("before")
		time.Sleep(time.Second)
		c.Cut(1)
		talk(t, c, 1000)
		time.Sleep(time.Second)
		c.Heal(1)
		time.Sleep(30 * time.Second)
		close(free)
		time.Sleep(time.Second)
		last := uint64(0)
		for _, ev := range bob.Events()[1:] {
			if seq := max(ev.Seq, ev.Gap.Last); seq > 0 && ev.Kind != tcproom.Welcome {
				require.Greater(t, seq, last)
				last = seq
			}
		}
		ends(t, bob, tcproom.ErrUnavailable)
		bob = c.Room(1).Resume(bob)
		require.Equal(t, "gap", bob.Welcome.Welcome.Outcome)
		ada.Send("after")
		bob.Await(roomtest.Message("ada", "after"))
		c.Verify()
	})
}

// TestClusterResetOfWhatAHookReturned: what has no number and was on its way is lost with
// the log, and its member stays, whether or not OnMessage has returned it.
func TestClusterResetOfWhatAHookReturned(t *testing.T) {
	for name, opts := range map[string][]tcproom.RoomOption{
		"no hook": nil,
		"a hook":  {tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) { return body, nil })},
	} {
		inBubble(name, t, func(t *testing.T) {
			c := newCluster(t, 2, opts...)
			ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
			ada.Expect(roomtest.Joined("bob"))
			c.Delay(1, 100*time.Millisecond)
			bob.SendAsync("on its way")
			time.Sleep(50 * time.Millisecond)
			c.Replace()
			time.Sleep(time.Minute)
			require.NoError(t, bob.Conn.Err())
			require.Equal(t, []string{"reset"}, outcomes(bob))
			bob.Send("on")
			ada.Await(roomtest.Message("bob", "on"))
			c.Verify()
		})
	}
}

// TestClusterAddrInTheNextStream: other nodes know the address of a member there too.
func TestClusterAddrInTheNextStream(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		c := newCluster(t, 2)
		ada := c.Room(0).Join("ada")
		c.Room(1).Join("bob")
		ada.Expect(roomtest.Joined("bob"))
		addr := memberAt(t, c, 1, "ada").RemoteAddr()
		require.NotNil(t, addr)
		c.Replace()
		time.Sleep(time.Minute)
		require.Equal(t, []string{"reset"}, outcomes(ada))
		require.Equal(t, addr, memberAt(t, c, 1, "ada").RemoteAddr())
		c.Verify()
	})
}

// TestClusterResetWithoutABeginning: members do not wait without end for a stream whose
// beginning is not to be had.
func TestClusterResetWithoutABeginning(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		engine := roomtest.NewLog()
		room := func() (*tcproom.Room, *roomtest.Backplane) {
			b := engine.Attach()
			log, err := b.Open(t.Context(), "room")
			require.NoError(t, err)
			r := tcproom.New(tcproom.WithLog(unsavedLog{log, new(atomic.Bool)}))
			t.Cleanup(func() { r.Close() })
			require.NoError(t, r.Ready(t.Context()))
			return r, b
		}
		first, _ := room()
		second, b := room()
		ada, err := second.Join(t.Context(), tcproom.Identity{Name: "ada"}, tcproom.WithCodec(tcproom.JSON{}), tcproom.OnEvent(func(tcproom.Event) {}))
		require.NoError(t, err)
		defer ada.Close()
		say := func(n int) {
			for range n {
				_, err := first.Broadcast(t.Context(), nil)
				require.NoError(t, err)
			}
		}
		say(20)
		synctest.Wait() // until the second one has read it
		b.Cut()
		engine.Replace("room")
		require.Eventually(t, func() bool { return first.Stats().Seq < 20<<10 }, time.Minute, time.Second)
		require.NoError(t, first.Ready(t.Context()))
		say(40)
		engine.Trim("room", 10)
		b.Heal()
		time.Sleep(5 * time.Minute)
		require.ErrorIs(t, ada.Err(), tcproom.ErrUnavailable)
	})
}
