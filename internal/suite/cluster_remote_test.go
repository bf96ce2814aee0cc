package suite_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
)

// memberAt returns the member of that name, as node i knows it.
func memberAt(t *testing.T, c *roomtest.Cluster, i int, name string) *tcproom.Member {
	t.Helper()
	for m := range c.Room(i).Room.Members() {
		if m.Name() == name {
			return m
		}
	}
	t.Fatalf("node %d knows of no %s", i, name)
	return nil
}

// TestClusterRemoteMember: what a program can do with a member of another node.
func TestClusterRemoteMember(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		c := newCluster(t, 2)
		ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
		ada.Expect(roomtest.Joined("bob"))
		far, near := memberAt(t, c, 0, "bob"), memberAt(t, c, 1, "bob")
		require.True(t, far.Remote())
		require.False(t, near.Remote())
		require.Equal(t, near.Info(), far.Info())
		require.Same(t, far, memberAt(t, c, 0, "bob"))
		require.Zero(t, far.Hello())
		require.Nil(t, far.TLS())
		require.Nil(t, far.RemoteAddr())
		require.NoError(t, far.Err())

		require.NoError(t, far.Send(t.Context(), []byte("psst")))
		bob.Expect(roomtest.Direct("psst"))
		require.NoError(t, far.SendFrom(t.Context(), memberAt(t, c, 0, "ada"), []byte("from ada")))
		require.Equal(t, "ada", bob.Expect(roomtest.Direct("from ada"))[0].From.Name)
		// From one of another node, too.
		require.NoError(t, memberAt(t, c, 1, "ada").SendFrom(t.Context(), near, []byte("from bob")))
		require.Equal(t, "bob", ada.Expect(roomtest.Direct("from bob"))[0].From.Name)
		require.ErrorIs(t, far.Send(t.Context(), make([]byte, 1<<20)), tcproom.ErrFrameTooLarge)

		seq, err := far.Post(t.Context(), []byte("in the name of bob"))
		require.NoError(t, err)
		require.Equal(t, seq, ada.Expect(roomtest.Message("bob", "in the name of bob"))[0].Seq)
		bob.Refute(roomtest.Message("bob", "in the name of bob"))

		require.NoError(t, c.Room(0).Room.Mute(far.ID(), time.Now().Add(time.Minute)))
		_, err = near.Post(t.Context(), []byte("muted"))
		require.ErrorIs(t, err, tcproom.ErrMuted)
		_, err = far.Post(t.Context(), []byte("muted"))
		require.ErrorIs(t, err, tcproom.ErrMuted)
		time.Sleep(time.Minute)

		// Lost, and not gone yet.
		bob.Link.Reset()
		time.Sleep(time.Second)
		require.ErrorIs(t, far.Send(t.Context(), []byte("psst")), tcproom.ErrDetached)
		require.NoError(t, far.Kick("for good"))
		require.ErrorIs(t, context.Cause(far.Context()), tcproom.ErrKicked)
		require.ErrorIs(t, far.Err(), tcproom.ErrKicked)
		require.ErrorContains(t, far.Err(), `"for good"`)
		require.ErrorIs(t, far.Kick("again"), tcproom.ErrNotMember)
		require.ErrorIs(t, far.Send(t.Context(), nil), tcproom.ErrNotMember)
		_, err = far.Post(t.Context(), nil)
		require.ErrorIs(t, err, tcproom.ErrNotMember)
		time.Sleep(time.Second)
		require.ErrorIs(t, near.Err(), tcproom.ErrKicked)
		require.Equal(t, 1, c.Room(1).Room.Len())
		c.Verify()
	})
}

// TestClusterRemoteMemberResumesHere: the value by which a program knows a member of
// another node is that of the member when it resumes here; where it was, another one
// stands for it. Its place in the list, and its name, are what they were.
func TestClusterRemoteMemberResumesHere(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		c := newCluster(t, 2, tcproom.WithUniqueNames(true))
		bob, ada := c.Room(1).Join("bob"), c.Room(0).Join("ada")
		far, near := memberAt(t, c, 0, "bob"), memberAt(t, c, 1, "bob")
		bob.Link.Reset()
		time.Sleep(time.Second)
		bob = c.Room(0).Resume(bob)
		require.Same(t, far, memberAt(t, c, 0, "bob"))
		require.False(t, far.Remote())
		require.NoError(t, far.Err())
		gone := memberAt(t, c, 1, "bob")
		require.NotSame(t, near, gone)
		require.True(t, gone.Remote())
		require.ErrorIs(t, near.Err(), tcproom.ErrElsewhere)
		for i := range 2 {
			var names []string
			for m := range c.Room(i).Room.Members() {
				names = append(names, m.Name())
			}
			require.Equal(t, []string{"bob", "ada"}, names)
			c.Room(i).Refuses(tcproom.ErrNameTaken, tcproom.WithName("bob"))
		}
		require.NoError(t, far.Send(t.Context(), []byte("psst")))
		bob.Expect(roomtest.Direct("psst"))
		ada.Send("hi")
		bob.Expect(roomtest.Message("ada", "hi"))
		bob.Leave()
		require.Error(t, far.Err())
		c.Room(1).Join("bob")
		c.Verify()
	})
}

// TestClusterBodyThatOneNodeCannotSay: what is ordered cannot be refused any more, so the
// members end whose codec cannot say it, and nobody else.
func TestClusterBodyThatOneNodeCannotSay(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		log := roomtest.NewLog()
		var rooms [2]*roomtest.Server
		for i, framing := range []tcproom.Framing{tcproom.Varint{}, tcproom.Lines{}} {
			lg, err := log.Attach().Open(t.Context(), "room")
			require.NoError(t, err)
			rooms[i] = roomtest.NewMemServer(t, tcproom.WithLog(lg), tcproom.WithFraming(framing), tcproom.WithCodec(tcproom.Raw{}))
			require.NoError(t, rooms[i].Room.Ready(t.Context()))
		}
		join := func(i int, name string) *tcproom.Conn {
			conn, err := rooms[i].Room.Join(t.Context(), tcproom.Identity{Name: name})
			require.NoError(t, err)
			t.Cleanup(func() { conn.Close() })
			return conn
		}
		ada, bob := join(0, "ada"), join(1, "bob")
		_, err := rooms[0].Room.Broadcast(t.Context(), []byte("two\nlines"))
		require.NoError(t, err)
		ev, err := ada.Receive(t.Context())
		require.NoError(t, err)
		require.Equal(t, "two\nlines", string(ev.Body))
		_, err = bob.Receive(t.Context())
		require.Error(t, err)
		time.Sleep(time.Second)
		require.EqualValues(t, 1, rooms[1].Room.Stats().Left[tcproom.ErrUnframeable])
		require.Equal(t, 1, rooms[0].Room.Len())
		eve := join(1, "eve")
		_, err = rooms[0].Room.Broadcast(t.Context(), []byte("one line"))
		require.NoError(t, err)
		ev, err = eve.Receive(t.Context())
		require.NoError(t, err)
		require.Equal(t, "one line", string(ev.Body))
	})
}

// TestClusterSlowNode: a node whose members hold messages back holds back nobody else.
func TestClusterSlowNode(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		c := newCluster(t, 2, tcproom.WithSlowMembers(tcproom.Block(time.Hour)), tcproom.WithBacklog(64<<10), tcproom.WithMaxMessage(4<<10))
		ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
		ada.Expect(roomtest.Joined("bob"))
		bob.Pause()
		body := strings.Repeat("x", 4<<10)
		for range 100 {
			ada.Send(body)
		}
		seq, err := c.Room(0).Room.Broadcast(t.Context(), []byte("the last"))
		require.NoError(t, err)
		ada.Await(roomtest.Message("", "the last"))
		require.Less(t, c.Room(1).Room.Stats().Seq, seq, "of the node whose member does not read")
		bob.Resume()
		bob.Await(roomtest.Message("", "the last"))
		require.Equal(t, seq, c.Room(1).Room.Stats().Seq)
		c.Verify()
	})
}

// TestLogsThatCannotBeUsed: a room says so where it is asked for something.
func TestLogsThatCannotBeUsed(t *testing.T) {
	for name, tt := range map[string]struct {
		caps func(*tcproom.Caps)
		opts []tcproom.RoomOption
		says string
	}{
		"short records": {func(c *tcproom.Caps) { c.MaxRecord = 1 << 10 }, nil, "records of 65536 bytes"},
		"no lease":      {func(c *tcproom.Caps) { c.Lease = 0 }, nil, "a lease above 0"},
		"long messages": {func(c *tcproom.Caps) {}, []tcproom.RoomOption{tcproom.WithMaxMessage(2 << 20)}, "WithMaxMessage(2097152)"},
	} {
		inBubble(name, t, func(t *testing.T) {
			log, err := roomtest.NewLog().Open(t.Context(), "room")
			require.NoError(t, err)
			caps := log.Caps()
			tt.caps(&caps)
			unusable(t, tcproom.New(append(tt.opts, tcproom.WithLog(cappedLog{log, &caps}))...), tt.says)
		})
	}
	inBubble("another room's", t, func(t *testing.T) {
		log, err := roomtest.NewLog().Open(t.Context(), "room")
		require.NoError(t, err)
		first := tcproom.New(tcproom.WithLog(log))
		unusable(t, tcproom.New(tcproom.WithLog(log)), "another room's")
		require.NoError(t, first.Ready(t.Context()))
		require.NoError(t, first.Close())
		next := tcproom.New(tcproom.WithLog(log)) // is free again
		require.NoError(t, next.Ready(t.Context()))
		require.NoError(t, next.Close())
	})
}

// A cappedLog says other caps than its log.
type cappedLog struct {
	tcproom.Log
	caps *tcproom.Caps
}

func (l cappedLog) Caps() tcproom.Caps { return *l.caps }

func unusable(t *testing.T, r *tcproom.Room, says string) {
	t.Helper()
	err := r.Ready(t.Context())
	require.ErrorIs(t, err, tcproom.ErrOption)
	require.ErrorContains(t, err, says)
	_, err = r.Broadcast(t.Context(), nil)
	require.ErrorIs(t, err, tcproom.ErrOption)
	_, err = r.Join(t.Context(), tcproom.Identity{Name: "ada"})
	require.ErrorIs(t, err, tcproom.ErrOption)
	_, err = r.Door()
	require.ErrorIs(t, err, tcproom.ErrOption)
	require.NoError(t, r.Close())
}

// A forgetfulLog says of some records that it has stored them, and has not.
type forgetfulLog struct {
	tcproom.Log
	forgets *atomic.Bool
}

func (l forgetfulLog) Append(ctx context.Context, id string, rec []byte) (uint64, error) {
	if l.forgets.CompareAndSwap(true, false) {
		return 1 << 40, nil
	}
	return l.Log.Append(ctx, id, rec)
}

// TestLogThatForgets: what a log had taken and has lost is noticed by the next record, and
// who waits for it learns that it may be ordered or not.
func TestLogThatForgets(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		log, err := roomtest.NewLog().Open(t.Context(), "room")
		require.NoError(t, err)
		var forgets atomic.Bool
		r := tcproom.New(tcproom.WithLog(forgetfulLog{log, &forgets}))
		defer r.Close()
		require.NoError(t, r.Ready(t.Context()))
		forgets.Store(true)
		lost := make(chan error, 1)
		go func() {
			_, err := r.Broadcast(t.Context(), []byte("lost"))
			lost <- err
		}()
		synctest.Wait()
		require.Zero(t, r.Stats().LogGaps)
		_, err = r.Broadcast(t.Context(), []byte("next"))
		require.NoError(t, err)
		require.EqualValues(t, 1, r.Stats().LogGaps)
		require.Equal(t, uint64(1), r.Stats().Messages)
		require.ErrorIs(t, <-lost, tcproom.ErrUncertain)
		require.NoError(t, r.Ready(t.Context()))
		_, err = r.Broadcast(t.Context(), []byte("goes on"))
		require.NoError(t, err)
	})
}

// TestClusterWithoutABeginning: a node that cannot know who is in, for the log has dropped
// their joins and there is no checkpoint, is not ready before there is one.
func TestClusterWithoutABeginning(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		engine := roomtest.NewLog(func(c *tcproom.Caps) { c.Age = time.Hour })
		room := func(saves *atomic.Bool) *tcproom.Room {
			log, err := engine.Attach().Open(t.Context(), "room")
			require.NoError(t, err)
			r := tcproom.New(tcproom.WithLog(unsavedLog{log, saves}))
			t.Cleanup(func() { r.Close() })
			return r
		}
		var saves atomic.Bool
		first := room(&saves)
		ada, err := first.Join(t.Context(), tcproom.Identity{Name: "ada"}, tcproom.OnEvent(func(tcproom.Event) {}))
		require.NoError(t, err)
		defer ada.Close()
		engine.Trim("room", 3)
		_, err = first.Broadcast(t.Context(), []byte("behind what was dropped"))
		require.NoError(t, err)
		second := room(&saves)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.ErrorIs(t, second.Ready(ctx), context.DeadlineExceeded)
		require.Equal(t, 1, first.Len())
		saves.Store(true)
		require.NoError(t, second.Ready(t.Context()))
		require.Equal(t, 1, second.Len())
		seq, err := second.Broadcast(t.Context(), []byte("for both"))
		require.NoError(t, err)
		synctest.Wait() // until the first one has read it
		require.Equal(t, seq, first.Stats().Seq)
	})
}

// An unsavedLog keeps no checkpoint before it is told to.
type unsavedLog struct {
	tcproom.Log
	saves *atomic.Bool
}

func (l unsavedLog) Save(ctx context.Context, at uint64, state []byte) error {
	if !l.saves.Load() {
		return errors.New("no room for a checkpoint")
	}
	return l.Log.Save(ctx, at, state)
}
