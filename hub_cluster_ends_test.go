package tcproom_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/internal/fold"
	"example.com/tcproom/roomtest"
)

// What comes together with the end of a room of a hub of several nodes, or of the hub.

// TestHubClusterRemovedLate: a node reads late that a room was removed, and at once that the
// next one of its name has begun. For its connections the first one was removed.
func TestHubClusterRemovedLate(t *testing.T) {
	inBubble("late", t, func(t *testing.T) {
		f := newFarm(t, 2, tcproom.WithCodec(tcproom.JSON{}))
		bob, eve := f.nodes[0].labelled("bob", "a", "b"), f.nodes[1].labelled("eve", "a", "b")
		f.settle()
		bob.told()
		eve.told()
		f.links[1].Stall()
		require.NoError(t, f.nodes[0].hub.Remove("a", "over"))
		f.settle()
		bob.say(`{"type":"enter","room":"a"}`)
		f.settle()
		bob.say(`{"type":"message","room":"a","body":"next"}`)
		f.settle()
		f.links[1].Heal()
		f.settle()
		require.Equal(t, map[string][]string{"a": {"goodbye removed"}}, eve.told())
		require.False(t, eve.gone())
		require.Equal(t, []string{"bob"}, f.nodes[0].names("a"))
	})
}

// TestHubClusterRemovedBeforeJoin: a room is removed, and the next one of its name begins,
// while a join waits at another node for its turn. It is of neither.
func TestHubClusterRemovedBeforeJoin(t *testing.T) {
	inBubble("join", t, func(t *testing.T) {
		f := newFarm(t, 1, tcproom.WithCodec(tcproom.JSON{}))
		s, let := f.startHeld("a", fold.Message, tcproom.WithCodec(tcproom.JSON{}))
		bob, eve, zoe := f.nodes[0].labelled("bob", "a"), s.labelled("eve", "a"), s.labelled("zoe", "b")
		f.settle()
		eve.say(`{"type":"message","room":"a","body":"held"}`)
		f.settle()
		zoe.say(`{"type":"enter","room":"a"}`)
		f.settle()
		zoe.told()
		require.NoError(t, f.nodes[0].hub.Remove("a", ""))
		bob.say(`{"type":"enter","room":"a"}`)
		f.settle()
		let()
		f.settle()
		require.Equal(t, map[string][]string{"a": {"refused closed"}}, zoe.told())
		require.Equal(t, []string{"bob"}, f.nodes[0].names("a"))
		require.False(t, eve.gone())
		require.Equal(t, 1, s.hub.Stats().Memberships)
	})
}

// TestHubClusterLeftLate: a member leaves while the log of its room is silent for longer than
// anybody waits. The room goes when its leave has a place.
func TestHubClusterLeftLate(t *testing.T) {
	inBubble("late", t, func(t *testing.T) {
		f := newFarm(t, 1, tcproom.WithCodec(tcproom.JSON{}))
		s, let := f.startHeld("a", fold.Leave, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithMaxOutage(2*time.Second), tcproom.WithRoomLinger(time.Second))
		eve := s.labelled("eve", "a", "b")
		f.settle()
		eve.say(`{"type":"leave","room":"a"}`)
		time.Sleep(10 * time.Second)
		let()
		time.Sleep(time.Minute)
		_, ok := s.hub.Lookup("a")
		require.False(t, ok)
		require.False(t, eve.gone())
	})
}

// TestHubClusterRemovedBeforeLeave: a room is removed at another node while a leave, for which
// nobody waits any more, has no place. It ends here too, and nobody is in it.
func TestHubClusterRemovedBeforeLeave(t *testing.T) {
	inBubble("late", t, func(t *testing.T) {
		f := newFarm(t, 1, tcproom.WithCodec(tcproom.JSON{}))
		s, let := f.startHeld("a", fold.Leave, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithMaxOutage(2*time.Second))
		f.nodes[0].labelled("bob", "a")
		eve := s.labelled("eve", "a", "b")
		f.settle()
		r := s.room("a")
		eve.say(`{"type":"leave","room":"a"}`)
		time.Sleep(10 * time.Second)
		require.NoError(t, f.nodes[0].hub.Remove("a", ""))
		f.settle()
		let()
		time.Sleep(time.Minute)
		require.False(t, eve.gone())
		select {
		case <-r.Done():
		default:
			t.Error("the room has not ended")
		}
	})
}

// TestHubClusterRemovedTwice: two nodes remove a room at once. Both have removed it.
func TestHubClusterRemovedTwice(t *testing.T) {
	inBubble("twice", t, func(t *testing.T) {
		f := newFarm(t, 1, tcproom.WithCodec(tcproom.JSON{}))
		s, let := f.startHeld("a", fold.End, tcproom.WithCodec(tcproom.JSON{}))
		f.nodes[0].labelled("bob", "a")
		s.labelled("eve", "a")
		f.settle()
		removed := make(chan error, 1)
		go func() { removed <- s.hub.Remove("a", "") }()
		f.settle()
		require.NoError(t, f.nodes[0].hub.Remove("a", ""))
		f.settle()
		let()
		require.NoError(t, <-removed)
	})
}

// TestHubClusterRemovedWhenLeft: a process leaves a room, in which it has nobody, while it waits
// for the log to remove it. The room goes on elsewhere, and is not said to be removed.
func TestHubClusterRemovedWhenLeft(t *testing.T) {
	inBubble("left", t, func(t *testing.T) {
		f := newFarm(t, 2, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithRoomLinger(time.Second))
		bob := f.nodes[1].labelled("bob", "a")
		f.settle()
		bob.told()
		f.links[0].Stall()
		_, err := f.nodes[0].hub.Room("a")
		require.NoError(t, err)
		removed := make(chan error, 1)
		go func() { removed <- f.nodes[0].hub.Remove("a", "") }()
		time.Sleep(5 * time.Second)
		f.links[0].Heal()
		f.settle()
		require.ErrorIs(t, <-removed, tcproom.ErrNoRoom)
		require.Empty(t, bob.told())
		require.Equal(t, []string{"bob"}, f.nodes[1].names("a"))
	})
}

// TestHubClusterRemovedAndTakenForDead: a room is removed and the next one of its name begins
// while a node has a message for the first one on its way, and is taken for dead. The message
// is in neither.
func TestHubClusterRemovedAndTakenForDead(t *testing.T) {
	inBubble("dead", t, func(t *testing.T) {
		f := newFarm(t, 1, tcproom.WithCodec(tcproom.JSON{}))
		said := make(chan error, 1)
		s, let := f.startHeld("a", fold.Message, tcproom.WithMaxOutage(time.Hour), tcproom.OnRoom(func(r *tcproom.Room, made bool) {
			if made && r.Ready(t.Context()) == nil { // the room does not leave its log before this returns
				_, err := r.Broadcast(t.Context(), []byte("old"))
				said <- err
			}
		}))
		bob := f.nodes[0].labelled("bob", "a")
		f.settle()
		go s.hub.Room("a")
		f.settle()
		require.NoError(t, f.nodes[0].hub.Remove("a", ""))
		bob.say(`{"type":"enter","room":"a"}`)
		f.settle()
		bob.told()
		f.links[1].Cut()
		time.Sleep(2 * time.Minute)
		f.links[1].Heal()
		time.Sleep(time.Minute)
		let()
		f.settle()
		require.ErrorIs(t, <-said, tcproom.ErrRoomClosed)
		require.Empty(t, bob.told())
	})
}

// TestHubClusterRemoveInHookOfStop: a hook removes its room while the hub stops. It returns,
// and the hub does stop.
func TestHubClusterRemoveInHookOfStop(t *testing.T) {
	for name, stop := range map[string]func(*tcproom.Hub) error{
		"Close":    (*tcproom.Hub).Close,
		"Shutdown": func(h *tcproom.Hub) error { return h.Shutdown(context.Background()) },
	} {
		inBubble(name, t, func(t *testing.T) {
			f := newFarm(t, 1)
			s, let := f.startHeld("a", fold.End, tcproom.WithCodec(tcproom.JSON{}), tcproom.OnMessage(func(m *tcproom.Member, b []byte) ([]byte, error) {
				removed := make(chan struct{})
				go func() {
					defer close(removed)
					m.Room().Hub().Remove("a", "")
				}()
				select {
				case <-removed:
				case <-time.After(time.Hour): // so that a failure ends
				}
				return b, nil
			}))
			eve := s.labelled("eve", "a")
			f.settle()
			eve.say(`{"type":"message","room":"a","body":"hi"}`)
			f.settle()
			go stop(s.hub)
			f.settle()
			let()
			time.Sleep(time.Minute)
			select {
			case <-s.hub.Done():
			default:
				t.Error("the hub has not stopped")
			}
		})
	}
}

// TestHubClusterCloseOfRoomOffline: Close and Shutdown of a room whose log does not answer
// say that it has not ended.
func TestHubClusterCloseOfRoomOffline(t *testing.T) {
	inBubble("offline", t, func(t *testing.T) {
		f := newFarm(t, 1, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithMaxOutage(2*time.Second))
		s := f.nodes[0]
		s.labelled("eve", "a")
		f.settle()
		r := s.room("a")
		f.links[0].Cut()
		require.ErrorIs(t, r.Close(), tcproom.ErrUncertain)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		began := time.Now()
		err := r.Shutdown(ctx)
		require.ErrorIs(t, err, tcproom.ErrUnavailable)
		require.Less(t, time.Since(began), time.Minute)
	})
}

// TestHubClusterReasonOfFailedRemove: members are told the reason of the Remove that has had
// their room removed, and not that of one before that failed.
func TestHubClusterReasonOfFailedRemove(t *testing.T) {
	inBubble("reason", t, func(t *testing.T) {
		f := newFarm(t, 2, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithMaxOutage(2*time.Second), tcproom.WithRoomLinger(time.Hour))
		s := f.nodes[0]
		s.labelled("eve", "a")
		f.nodes[1].labelled("bob", "a")
		f.settle()
		f.links[0].Cut()
		require.ErrorIs(t, s.hub.Remove("a", "first"), tcproom.ErrUncertain)
		require.ErrorIs(t, s.hub.Remove("a", "second"), tcproom.ErrUnavailable)
		f.links[0].Heal()
		time.Sleep(time.Minute)
		ada := s.labelled("ada", "a")
		f.settle()
		require.Contains(t, s.names("a"), "ada")
		ada.got()
		require.NoError(t, f.nodes[1].hub.Remove("a", ""))
		f.settle()
		require.Equal(t, []object{{"type": "goodbye", "room": "a", "code": "removed", "reason": "room removed"}}, ada.objects())
	})
}

// TestHubClusterShutdownCutsRemoved: what a room that was removed waits for its log is cut
// when the context of the hub's Shutdown ends.
func TestHubClusterShutdownCutsRemoved(t *testing.T) {
	inBubble("cut", t, func(t *testing.T) {
		f := newFarm(t, 1, tcproom.WithCodec(tcproom.JSON{}))
		s, _ := f.startHeld("a", fold.NodeLeft, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithMaxOutage(time.Hour))
		s.labelled("eve", "a", "b")
		f.settle()
		require.NoError(t, s.hub.Remove("a", ""))
		f.settle()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s.hub.Shutdown(ctx)
		time.Sleep(10 * time.Second)
		select {
		case <-s.hub.Done():
		default:
			t.Error("the hub has not stopped")
		}
	})
}

// TestHubClusterStatsWhileLogsClose: Stats of a hub does not wait for the Close of a log.
func TestHubClusterStatsWhileLogsClose(t *testing.T) {
	engine := roomtest.NewLog()
	defer engine.Close()
	let, open := gate()
	defer open()
	closes := make(chan struct{})
	h := tcproom.NewHub(tcproom.WithBackplane(&closely{engine, "a", func() { close(closes); <-let }}))
	require.NoError(t, h.Ready(testContext(t)))
	a, err := h.Room("a")
	require.NoError(t, err)
	require.NoError(t, a.Ready(testContext(t)))
	go h.Close()
	<-closes
	got := make(chan struct{})
	go func() {
		defer close(got)
		h.Stats()
	}()
	select {
	case <-got:
	case <-time.After(within):
		t.Error("Stats waits")
	}
	open()
	<-h.Done()
}

// TestHubClusterOpenedAtItsEnd: a log that is opened when the hub has closed is closed before
// the hub is done.
func TestHubClusterOpenedAtItsEnd(t *testing.T) {
	for _, room := range []string{"*", "a"} {
		inBubble(room, t, func(t *testing.T) {
			engine := roomtest.NewLog()
			defer engine.Close()
			var closed atomic.Bool
			h := tcproom.NewHub(tcproom.WithBackplane(&late{closely{engine, room, func() {
				time.Sleep(time.Second)
				closed.Store(true)
			}}}))
			_, err := h.Room("a")
			require.NoError(t, err)
			synctest.Wait()
			require.NoError(t, h.Close())
			<-h.Done()
			require.True(t, closed.Load())
		})
	}
}

// A closely is a Backplane whose log of one room calls a function first when it is closed.
type closely struct {
	tcproom.Backplane
	room  string
	first func()
}

func (b *closely) Open(ctx context.Context, room string) (tcproom.Log, error) {
	l, err := b.Backplane.Open(ctx, room)
	if err == nil && room == b.room {
		l = &closelyClosed{l, b.first}
	}
	return l, err
}

type closelyClosed struct {
	tcproom.Log
	first func()
}

func (l *closelyClosed) Close() error {
	l.first()
	return l.Log.Close()
}

// A late is one that opens logs when nobody wants them any more.
type late struct{ closely }

func (b *late) Open(ctx context.Context, room string) (tcproom.Log, error) {
	<-ctx.Done()
	return b.closely.Open(context.WithoutCancel(ctx), room)
}

// readOn has c, if there is no error, read until it ends.
func readOn(c *tcproom.Conn, err error) error {
	if err == nil {
		go func() {
			for range c.Events(context.Background()) {
			}
		}()
	}
	return err
}

// TestShutdownTwice: a second Shutdown, of a room or hub with a log, does not cut the drain of
// the first one.
func TestShutdownTwice(t *testing.T) {
	for _, row := range []struct {
		name string
		open func(t *testing.T) (join func() error, shutdown func(context.Context, ...tcproom.StopOption) error)
	}{
		{"room", func(t *testing.T) (func() error, func(context.Context, ...tcproom.StopOption) error) {
			l, _ := attach(t, roomtest.NewLog())
			r := openRoom(t, l, tcproom.WithDrain(10*time.Second))
			return func() error { return readOn(r.Join(t.Context(), tcproom.Identity{})) }, r.Shutdown
		}},
		{"hub", func(t *testing.T) (func() error, func(context.Context, ...tcproom.StopOption) error) {
			f := newFarm(t, 1, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithDrain(10*time.Second))
			h := f.nodes[0].hub
			return func() error { return readOn(h.Join(t.Context(), "a", tcproom.Identity{})) }, h.Shutdown
		}},
	} {
		inBubble(row.name, t, func(t *testing.T) {
			join, shutdown := row.open(t)
			for range 5 {
				require.NoError(t, join())
			}
			first := make(chan error)
			began := time.Now()
			go func() { first <- shutdown(context.Background()) }()
			time.Sleep(time.Second)
			require.NoError(t, shutdown(context.Background()))
			require.NoError(t, <-first)
			require.GreaterOrEqual(t, time.Since(began), 10*time.Second)
		})
	}
}
