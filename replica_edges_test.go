package tcproom_test

import (
	"bytes"
	"context"
	"encoding/base32"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/internal/fold"
	"example.com/tcproom/roomtest"
)

// heldRoom returns the server of a room with a log, and two members. What OnMessage has
// returned for ada's "one" is held, for the hook has "two" until gate is closed.
func heldRoom(t *testing.T) (s *roomtest.Server, b *roomtest.Backplane, ada, bob *roomtest.Member, gate chan struct{}) {
	t.Helper()
	l, b := attach(t, roomtest.NewLog())
	first := make(chan struct{})
	gate = make(chan struct{})
	s = roomtest.NewMemServer(t, tcproom.WithLog(l), tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) {
		switch string(body) {
		case "first":
			<-first
		case "two":
			<-gate
		}
		return body, nil
	}))
	t.Cleanup(b.Heal)
	readyIn(t, s.Room, time.Minute)
	ada, bob = s.Join("ada"), s.Join("bob")
	ada.SendAsync("first")
	synctest.Wait()
	ada.SendAsync("one")
	ada.SendAsync("two")
	synctest.Wait()
	close(first)
	synctest.Wait()
	return s, b, ada, bob, gate
}

// TestHeldMessagesOfOthers: who orders something while a hook's messages are held orders
// those first. That the call's context ends is not the end of them.
func TestHeldMessagesOfOthers(t *testing.T) {
	for _, tt := range []struct {
		name string
		call func(s *roomtest.Server, bob *roomtest.Member)
	}{
		{"kick", func(s *roomtest.Server, _ *roomtest.Member) { s.Kick("bob", "") }},
		{"broadcast", func(s *roomtest.Server, _ *roomtest.Member) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
			defer cancel()
			s.Room.Broadcast(ctx, []byte("late"))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, b, ada, bob, gate := heldRoom(t)
				b.Delay(time.Second)
				tt.call(s, bob)
				time.Sleep(10 * time.Second)
				close(gate)
				time.Sleep(10 * time.Second)
				var said []string
				for _, ev := range s.Transcript().Events() {
					if ev.Kind == tcproom.Message {
						said = append(said, string(ev.Body))
					}
				}
				require.Equal(t, []string{"first", "one", "two"}, said)
				ada.Send("three")
			})
		})
	}
}

// A savingLog is a log that saves nothing until it may.
type savingLog struct {
	*bentLog
	may atomic.Bool
}

func (l *savingLog) Save(ctx context.Context, at uint64, state []byte) error {
	if !l.may.Load() {
		return fmt.Errorf("not now")
	}
	return l.bentLog.Save(ctx, at, state)
}

// A ghost is a node that a test plays.
type ghost struct {
	t      *testing.T
	log    *bentLog
	header fold.Header
}

// newGhost returns one that is open beside r, whose log is l.
func newGhost(t *testing.T, engine *roomtest.Log, l *bentLog, r *tcproom.Room) *ghost {
	t.Helper()
	g := &ghost{t: t}
	g.log, _ = attach(t, engine)
	l.bend(func(_ context.Context, _ string, rec []byte) (uint64, error, bool) {
		g.header, _, _, _ = fold.ParseHeader(rec)
		return 0, nil, false
	})
	_, err := r.Broadcast(t.Context(), []byte("x"))
	require.NoError(t, err)
	l.bend(nil)
	g.header.Node, g.header.Batch = fold.Node{7}, 1<<48
	name := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(g.header.Node[:])
	require.NoError(t, engine.Nodes().Renew(t.Context(), name))
	g.put(&fold.Entry{Kind: fold.Open})
	return g
}

// put appends a record.
func (g *ghost) put(entries ...*fold.Entry) {
	g.t.Helper()
	g.header.Batch++
	rec := fold.AppendHeader(nil, g.header, len(entries))
	for _, e := range entries {
		rec = fold.AppendEntry(rec, e)
	}
	_, err := g.log.Append(g.t.Context(), fmt.Sprint("ghost ", g.header.Batch), rec)
	require.NoError(g.t, err)
}

// memberNames returns the names of the members of r.
func memberNames(r *tcproom.Room) (list []string) {
	for m := range r.Members() {
		list = append(list, m.Name())
	}
	return list
}

// TestCheckpointOfAWholeRecord: while an event of a record waits for a member that holds
// messages back, no state is saved, for it would have a part of that record.
func TestCheckpointOfAWholeRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := roomtest.NewLog()
		l0, _ := attach(t, engine)
		l := &savingLog{bentLog: l0}
		s := roomtest.NewMemServer(t, tcproom.WithLog(l), tcproom.WithSlowMembers(tcproom.Block(time.Hour)),
			tcproom.WithBacklog(64<<10), tcproom.WithMaxMessage(4<<10))
		readyIn(t, s.Room, time.Minute)
		bob := s.Join("bob")
		g := newGhost(t, engine, l0, s.Room)
		bob.Pause()
		body := &fold.Entry{Kind: fold.Message, Body: []byte(strings.Repeat("x", 4<<10))}
		for i := range 100 {
			name := fmt.Sprint("eve", i)
			g.put(body, body, body, &fold.Entry{Kind: fold.Join, ID: name, Name: name})
		}
		time.Sleep(time.Second)
		l.may.Store(true)
		time.Sleep(6 * time.Second)
		require.Less(t, s.Room.Len(), 101, "nothing holds it back")
		bob.Resume()
		time.Sleep(6 * time.Second)
		l1, _ := attach(t, engine)
		r := openRoom(t, l1)
		readyIn(t, r, time.Minute)
		require.Equal(t, memberNames(s.Room), memberNames(r))
	})
}

// TestBlockIsNotTheLogsSilence: a member that holds messages back, for longer than a log
// may be silent, is not taken for a silent log.
func TestBlockIsNotTheLogsSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := attach(t, roomtest.NewLog())
		s := roomtest.NewMemServer(t, tcproom.WithLog(l), tcproom.WithSlowMembers(tcproom.Block(time.Hour)),
			tcproom.WithBacklog(64<<10), tcproom.WithMaxMessage(4<<10), tcproom.WithMaxOutage(2*time.Second))
		readyIn(t, s.Room, time.Minute)
		ada, bob := s.Join("ada"), s.Join("bob")
		bob.Pause()
		said := make(chan error, 2)
		for range 2 {
			go func() {
				var err error
				for i := 0; i < 150 && err == nil; i++ {
					_, err = s.Room.Broadcast(context.Background(), bytes.Repeat([]byte("x"), 4<<10))
				}
				said <- err
			}()
		}
		time.Sleep(20 * time.Second)
		require.Less(t, s.Room.Stats().Messages, uint64(300), "nothing holds it back")
		bob.Resume()
		require.NoError(t, <-said)
		require.NoError(t, <-said)
		ada.Send("the last")
		bob.Await(roomtest.Message("ada", "the last"))
	})
}

// A deafLog has a tail that brings nothing while it is deaf.
type deafLog struct {
	*bentLog
	hears chan struct{} // closed when it is not any more
}

func (l *deafLog) Tail(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
	return l.bentLog.Tail(ctx, from, func(rec tcproom.Record) error {
		select {
		case <-l.hears:
		case <-ctx.Done():
			return ctx.Err()
		}
		return fn(rec)
	})
}

// TestQueueIsBounded: what is on its way to the log and back is bounded, also if the log
// takes all and brings nothing back.
func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l0, _ := attach(t, roomtest.NewLog())
		l := &deafLog{bentLog: l0, hears: make(chan struct{})}
		close(l.hears)
		r := openRoom(t, l, tcproom.WithMaxMessage(64<<10))
		readyIn(t, r, time.Minute)
		l.hears = make(chan struct{})
		body := bytes.Repeat([]byte("x"), 60<<10)
		for range 200 { // 12 MB
			go r.Broadcast(context.Background(), body)
		}
		time.Sleep(5 * time.Second)
		require.LessOrEqual(t, tcproom.OnTheWayToLog(r)*len(body), 5<<20)
		close(l.hears)
		time.Sleep(time.Second)
		require.Zero(t, tcproom.OnTheWayToLog(r))
		require.Equal(t, uint64(200), r.Stats().Messages)
	})
}

// A farLog is a log whose positions are close to the end.
type farLog struct {
	*bentLog
	off uint64
}

func (l *farLog) Append(ctx context.Context, id string, rec []byte) (uint64, error) {
	pos, err := l.bentLog.Append(ctx, id, rec)
	return pos + l.off, err
}

func (l *farLog) Tail(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
	return l.bentLog.Tail(ctx, max(from, l.off)-l.off, func(rec tcproom.Record) error {
		rec.Pos += l.off
		return fn(rec)
	})
}

func (l *farLog) Load(context.Context) (uint64, []byte, error) { return 0, nil, nil }

// TestLastPosition: a room ends where its positions do, and whoever waits there is told.
func TestLastPosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := attach(t, roomtest.NewLog())
		r := openRoom(t, &farLog{bentLog: l, off: fold.MaxPosition - 6})
		readyIn(t, r, time.Minute)
		var err error
		told := make(chan struct{})
		go func() {
			defer close(told)
			for err == nil {
				_, err = r.Broadcast(context.Background(), []byte("x"))
			}
		}()
		time.Sleep(time.Minute)
		select {
		case <-told:
		default:
			t.Fatal("a call hangs")
		}
		require.ErrorIs(t, err, tcproom.ErrUncertain)
		<-r.Done()
	})
}

// TestMutedAsTheLogSays: a node that has loaded a checkpoint knows who is muted.
func TestMutedAsTheLogSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := roomtest.NewLog(func(c *tcproom.Caps) { c.Records = 8 })
		opts := []tcproom.RoomOption{
			tcproom.WithCodec(tcproom.JSON{}),
			tcproom.WithSessions(tcproom.Sessions{}),
			tcproom.OnMessage(func(m *tcproom.Member, body []byte) ([]byte, error) {
				_, err := m.Post(context.Background(), body)
				return nil, err
			}),
		}
		c := engine.Cluster(t, 2, opts...)
		ada := c.Room(0).Join("ada")
		for m := range c.Room(0).Room.Members() {
			require.NoError(t, c.Room(0).Room.Mute(m.ID(), time.Now().Add(time.Hour)))
		}
		c.Shutdown(1)
		for range 20 {
			_, err := c.Room(0).Room.Broadcast(t.Context(), []byte("x"))
			require.NoError(t, err)
			time.Sleep(time.Second)
		}
		c.Restart(1)
		ada = c.Room(1).Resume(ada)
		ada.SendAsync("hm")
		ada.Await(roomtest.Any(tcproom.Refused))
		require.NoError(t, ada.Conn.Err())
	})
}

// TestGuestsNames: a guest has not the name of a member that came in before at another
// node.
func TestGuestsNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := roomtest.NewCluster(t, 2, tcproom.WithUniqueNames(true))
		c.Delay(1, time.Second)
		c.Room(0).Join("ada")
		_, err := c.Room(1).Room.Say(t.Context(), tcproom.MemberInfo{ID: "g", Name: "ada"}, []byte("it is me"))
		require.ErrorIs(t, err, tcproom.ErrNameTaken)
	})
}

// TestSinceAtALaggingNode: who has seen more of the stream than a node has read is not
// told that it comes from the future.
func TestSinceAtALaggingNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := roomtest.NewLog()
		l0, _ := attach(t, engine)
		l1, b1 := attach(t, engine)
		r0, r1 := openRoom(t, l0), openRoom(t, l1)
		readyIn(t, r0, time.Minute)
		readyIn(t, r1, time.Minute)
		b1.Delay(time.Second)
		seq, err := r0.Broadcast(t.Context(), []byte("seen"))
		require.NoError(t, err)
		come := func(seq uint64) string {
			here, there := roomtest.Pipe()
			go r1.ServeConn(there)
			fmt.Fprintf(here, `{"type":"hello","since":{"epoch":%q,"seq":%d}}`+"\n", tcproom.EpochOf(r0), seq)
			time.Sleep(5 * time.Second)
			buf := make([]byte, 64<<10)
			n, _ := here.Read(buf)
			here.Close()
			return string(buf[:n])
		}
		said := come(seq)
		require.Contains(t, said, `"welcome"`)
		require.NotContains(t, said, "seen")
		require.Contains(t, come(seq+1<<20), `"future"`)
		time.Sleep(time.Minute)
	})
}

// TestPastBetweenTwoStreams: what is read of another stream, before it is in force here, has
// not the name of the one that is lost.
func TestPastBetweenTwoStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := roomtest.NewLog()
		l0, b0 := attach(t, engine)
		l1, _ := attach(t, engine)
		r0, r1 := openRoom(t, l0), openRoom(t, l1)
		readyIn(t, r0, time.Minute)
		readyIn(t, r1, time.Minute)
		_, err := r0.Broadcast(t.Context(), []byte("lost"))
		require.NoError(t, err)
		lost := r0.Past(0, 0)
		deaf := make(chan struct{})
		l0.bend(func(ctx context.Context, _ string, _ []byte) (uint64, error, bool) {
			select {
			case <-deaf:
				return 0, nil, false
			case <-ctx.Done():
				return 0, ctx.Err(), true
			}
		})
		engine.Replace("room")
		time.Sleep(time.Second)
		readyIn(t, r1, time.Minute)
		_, err = r1.Broadcast(t.Context(), []byte("next"))
		require.NoError(t, err)
		time.Sleep(time.Second)
		past := r0.Past(0, 0)
		require.Len(t, past.Events, 1)
		require.Equal(t, "next", string(past.Events[0].Body))
		require.NotEqual(t, lost.Epoch, past.Epoch)
		close(deaf)
		readyIn(t, r0, time.Minute)
		require.Equal(t, r1.Past(0, 0), r0.Past(0, 0))
		b0.Heal()
	})
}

// TestHooksWhileTheLogIsSilent: a hook may call anything then, too, and gets an answer in
// time.
func TestHooksWhileTheLogIsSilent(t *testing.T) {
	calls := map[string]func(r *tcproom.Room, m *tcproom.Member){
		"Post":      func(_ *tcproom.Room, m *tcproom.Member) { m.Post(context.Background(), []byte("x")) },
		"Broadcast": func(r *tcproom.Room, _ *tcproom.Member) { r.Broadcast(context.Background(), []byte("x")) },
		"Say": func(r *tcproom.Room, _ *tcproom.Member) {
			r.Say(context.Background(), tcproom.MemberInfo{ID: "g", Name: "guest"}, []byte("x"))
		},
		"Kick":    func(_ *tcproom.Room, m *tcproom.Member) { m.Kick("") },
		"Mute":    func(r *tcproom.Room, m *tcproom.Member) { r.Mute(m.ID(), time.Now().Add(time.Hour)) },
		"Members": func(r *tcproom.Room, _ *tcproom.Member) { memberNames(r) },
		"Close":   func(r *tcproom.Room, _ *tcproom.Member) { r.Close() },
		"others": func(r *tcproom.Room, m *tcproom.Member) {
			for o := range r.Members() {
				if o != m {
					o.Send(context.Background(), []byte("x"))
					o.Kick("")
				}
			}
		},
	}
	for name, call := range calls {
		for _, hook := range []string{"OnJoin", "OnJoined", "OnMessage", "OnLeave"} {
			t.Run(hook+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					engine := roomtest.NewLog()
					l0, b0 := attach(t, engine)
					l1, _ := attach(t, engine)
					other := openRoom(t, l1)
					readyIn(t, other, time.Minute)
					_, err := other.Join(t.Context(), tcproom.Identity{Name: "eve"})
					require.NoError(t, err)
					var r *tcproom.Room
					took := make(chan time.Duration, 9)
					run := func(of string, m *tcproom.Member) {
						if of != hook || m.Name() != "ada" {
							return
						}
						b0.Stall()
						began := time.Now()
						call(r, m)
						took <- time.Since(began)
					}
					r = openRoom(t, l0, tcproom.WithSessions(tcproom.Sessions{}),
						tcproom.OnJoin(func(m *tcproom.Member) error { run("OnJoin", m); return nil }),
						tcproom.OnJoined(func(m *tcproom.Member, _ uint64) { run("OnJoined", m) }),
						tcproom.OnMessage(func(m *tcproom.Member, b []byte) ([]byte, error) { run("OnMessage", m); return b, nil }),
						tcproom.OnLeave(func(m *tcproom.Member, _ error) { run("OnLeave", m) }))
					t.Cleanup(b0.Heal)
					readyIn(t, r, time.Minute)
					_, err = r.Join(t.Context(), tcproom.Identity{Name: "bob"})
					require.NoError(t, err)
					c, err := r.Join(t.Context(), tcproom.Identity{Name: "ada"})
					if err == nil && hook == "OnMessage" {
						c.Send(t.Context(), []byte("hi"))
					}
					if err == nil && hook == "OnLeave" {
						c.Close()
					}
					select {
					case d := <-took:
						// A call waits for WithMaxOutage, which is looked at three times in a lease.
						require.LessOrEqual(t, d, 3*(15+5)*time.Second)
					case <-time.After(2 * time.Minute):
						t.Fatal("the call hangs")
					}
					time.Sleep(time.Minute)
					b0.Heal()
					time.Sleep(time.Minute)
					require.NoError(t, r.Close())
					<-r.Done()
				})
			})
		}
	}
}

// TestKickOfOneThatHoldsBack: who kicks a member that holds messages back does not wait
// for it.
func TestKickOfOneThatHoldsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := attach(t, roomtest.NewLog())
		s := roomtest.NewMemServer(t, tcproom.WithLog(l), tcproom.WithSlowMembers(tcproom.Block(time.Hour)),
			tcproom.WithBacklog(64<<10), tcproom.WithMaxMessage(4<<10))
		readyIn(t, s.Room, time.Minute)
		bob := s.Join("bob")
		bob.Pause()
		said := make(chan error, 1)
		go func() {
			var err error
			for i := 0; i < 300 && err == nil; i++ {
				_, err = s.Room.Broadcast(context.Background(), make([]byte, 4<<10))
			}
			said <- err
		}()
		time.Sleep(5 * time.Second)
		require.Less(t, s.Room.Stats().Messages, uint64(300), "nothing holds it back")
		began := time.Now()
		s.Kick("bob", "")
		require.Less(t, time.Since(began), 2*time.Second)
		require.NoError(t, <-said)
	})
}

// TestCloseEndsADrain: Shutdown does not go on with its drain when the room is closed.
func TestCloseEndsADrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := attach(t, roomtest.NewLog())
		r := openRoom(t, l, tcproom.WithDrain(time.Hour))
		readyIn(t, r, time.Minute)
		for range 3 {
			_, err := r.Join(t.Context(), tcproom.Identity{})
			require.NoError(t, err)
		}
		returned := make(chan struct{})
		go func() {
			defer close(returned)
			r.Shutdown(context.Background())
		}()
		time.Sleep(time.Second)
		require.NoError(t, r.Close())
		time.Sleep(time.Second)
		select {
		case <-returned:
		default:
			t.Error("Shutdown goes on")
		}
		<-returned
	})
}
