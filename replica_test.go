package tcproom_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/internal/fold"
	"example.com/tcproom/roomtest"
)

// A bentLog is a log that a test may bend.
type bentLog struct {
	tcproom.Log
	mu     sync.Mutex
	append func(ctx context.Context, id string, rec []byte) (pos uint64, err error, bent bool)
	load   func(ctx context.Context) error
}

func (l *bentLog) bend(append func(ctx context.Context, id string, rec []byte) (uint64, error, bool)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.append = append
}

func (l *bentLog) Append(ctx context.Context, id string, rec []byte) (uint64, error) {
	l.mu.Lock()
	fn := l.append
	l.mu.Unlock()
	if fn != nil {
		if pos, err, bent := fn(ctx, id, rec); bent {
			return pos, err
		}
	}
	return l.Log.Append(ctx, id, rec)
}

func (l *bentLog) Load(ctx context.Context) (uint64, []byte, error) {
	if l.load != nil {
		if err := l.load(ctx); err != nil {
			return 0, nil, err
		}
	}
	return l.Log.Load(ctx)
}

// attach returns a log of a room, and its connection to the engine.
func attach(t *testing.T, engine *roomtest.Log) (*bentLog, *roomtest.Backplane) {
	t.Helper()
	b := engine.Attach()
	l, err := b.Open(t.Context(), "room")
	require.NoError(t, err)
	return &bentLog{Log: l}, b
}

// openRoom returns a room with a log, which ends with the test.
func openRoom(t *testing.T, l tcproom.Log, opts ...tcproom.RoomOption) *tcproom.Room {
	t.Helper()
	r := tcproom.New(append([]tcproom.RoomOption{tcproom.WithLog(l), tcproom.WithCodec(tcproom.JSON{}), tcproom.WithHistory(tcproom.History{})}, opts...)...)
	t.Cleanup(func() { r.Close() })
	return r
}

// readyIn waits until r is ready.
func readyIn(t *testing.T, r *tcproom.Room, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	require.NoError(t, r.Ready(ctx))
}

// kinds returns those of the entries of a record.
func kinds(t *testing.T, rec []byte) (list []fold.Kind) {
	t.Helper()
	var r fold.Reader
	_, err := r.Reset(rec)
	require.NoError(t, err)
	var e fold.Entry
	for {
		ok, err := r.Next(&e)
		require.NoError(t, err)
		if !ok {
			return list
		}
		list = append(list, e.Kind)
	}
}

// recordOf returns a record with the header of another one, or a later one of its node.
func recordOf(t *testing.T, like []byte, later uint64, entries ...*fold.Entry) []byte {
	t.Helper()
	h, _, _, err := fold.ParseHeader(like)
	require.NoError(t, err)
	h.Batch += later
	rec := fold.AppendHeader(nil, h, len(entries))
	for _, e := range entries {
		rec = fold.AppendEntry(rec, e)
	}
	return rec
}

// TestLogAnswersFromThePast: the log answers that it has stored a record where others were
// read already. It has lost those. The room begins another stream, and goes on.
func TestLogAnswersFromThePast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := attach(t, roomtest.NewLog())
		r := openRoom(t, l)
		readyIn(t, r, time.Minute)
		_, err := r.Broadcast(t.Context(), []byte("before"))
		require.NoError(t, err)
		epoch := r.Past(0, 0).Epoch
		l.bend(func(context.Context, string, []byte) (uint64, error, bool) {
			l.bend(nil)
			return 1, nil, true
		})
		_, err = r.Broadcast(t.Context(), []byte("lost"))
		require.ErrorIs(t, err, tcproom.ErrUncertain)
		readyIn(t, r, time.Minute)
		require.NotEqual(t, epoch, r.Past(0, 0).Epoch)
		_, err = r.Broadcast(t.Context(), []byte("after"))
		require.NoError(t, err)
	})
}

// A nosyHandler is a logger's that asks the room.
type nosyHandler struct {
	slog.Handler
	room  atomic.Pointer[tcproom.Room]
	stuck atomic.Bool
}

func (h *nosyHandler) Handle(context.Context, slog.Record) error {
	r := h.room.Load()
	if r == nil {
		return nil
	}
	done := make(chan struct{})
	go func() { r.Len(); close(done) }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		h.stuck.Store(true)
	}
	return nil
}

// TestUnreadableRecordIsLoggedWithoutLock: the logger may ask the room.
func TestUnreadableRecordIsLoggedWithoutLock(t *testing.T) {
	engine := roomtest.NewLog()
	l, _ := attach(t, engine)
	h := &nosyHandler{Handler: slog.Default().Handler()}
	r := openRoom(t, l, tcproom.WithLogger(slog.New(h)))
	readyIn(t, r, time.Minute)
	h.room.Store(r)
	rec := fold.AppendEntry(fold.AppendHeader(nil, fold.Header{Node: fold.Node{1}, Batch: 1 << 48}, 1), &fold.Entry{Kind: 200})
	_, err := l.Append(t.Context(), "other", rec)
	require.NoError(t, err)
	<-r.Done()
	require.False(t, h.stuck.Load(), "the logger was called with the room's lock held")
}

// TestReclaimIsGivenUp: the log falls silent when a node that was taken for dead wants its
// members back. When it answers again the node is ready.
func TestReclaimIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := roomtest.NewLog()
		l0, _ := attach(t, engine)
		l1, b1 := attach(t, engine)
		session := tcproom.WithSessions(tcproom.Sessions{Grace: time.Hour})
		r0, r1 := openRoom(t, l0, session), openRoom(t, l1, session, tcproom.WithMaxOutage(2*time.Minute))
		readyIn(t, r0, time.Minute)
		readyIn(t, r1, time.Minute)
		_, err := r1.Join(t.Context(), tcproom.Identity{Name: "ada"})
		require.NoError(t, err)
		time.Sleep(time.Minute)
		var refused, answers atomic.Bool
		l1.bend(func(_ context.Context, _ string, rec []byte) (uint64, error, bool) {
			if !answers.Load() && kinds(t, rec)[0] == fold.Reclaim {
				refused.Store(true)
				return 0, errors.New("silent"), true
			}
			return 0, nil, false
		})
		b1.Cut()
		time.Sleep(time.Minute)
		b1.Heal()
		time.Sleep(5 * time.Minute)
		require.True(t, refused.Load())
		answers.Store(true)
		readyIn(t, r1, 5*time.Minute)
	})
}

// TestTrimmedBeyondCheckpoints: the log has dropped records that a node has not read, and
// those of all checkpoints. The node does not make up a state, but waits for a checkpoint.
func TestTrimmedBeyondCheckpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := roomtest.NewLog()
		l0, _ := attach(t, engine)
		l1, b1 := attach(t, engine)
		r0, r1 := openRoom(t, l0), openRoom(t, l1)
		readyIn(t, r0, time.Minute)
		readyIn(t, r1, time.Minute)
		b1.Cut()
		say := func(n int) {
			for range n {
				_, err := r0.Broadcast(t.Context(), []byte("x"))
				require.NoError(t, err)
			}
		}
		say(100)
		engine.Trim("room", 50)
		b1.Heal()
		time.Sleep(2 * time.Minute)
		say(2500)
		readyIn(t, r1, time.Minute)
		require.Equal(t, r0.Past(0, 0).Epoch, r1.Past(0, 0).Epoch)
		seq, err := r1.Broadcast(t.Context(), []byte("from 1"))
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, seq, r0.Past(0, 0).Seq)
	})
}

// TestRogueRecords: what somebody else writes under a node's name does not bring its
// process down, and the room goes on.
func TestRogueRecords(t *testing.T) {
	message := &fold.Entry{Kind: fold.Message, Body: []byte("rogue")}
	for _, tt := range []struct {
		name string
		make func(t *testing.T, like []byte) [][]byte
	}{
		{"in the place of a batch", func(t *testing.T, like []byte) [][]byte {
			return [][]byte{recordOf(t, like, 0, message, message, message)}
		}},
		{"the end of the stream", func(t *testing.T, like []byte) [][]byte {
			h, _, _, err := fold.ParseHeader(like)
			require.NoError(t, err)
			return [][]byte{
				recordOf(t, like, 1<<20, &fold.Entry{Kind: fold.End, Force: true}),
				recordOf(t, like, 1<<21, &fold.Entry{Kind: fold.Begin, Epoch: fold.Epoch{1}}, &fold.Entry{Kind: fold.NodeDown, Node: h.Node}),
			}
		}},
		{"leaving", func(t *testing.T, like []byte) [][]byte {
			return [][]byte{recordOf(t, like, 1, &fold.Entry{Kind: fold.NodeLeft})}
		}},
		{"later numbers", func(t *testing.T, like []byte) [][]byte {
			return [][]byte{recordOf(t, like, 1<<20, message)}
		}},
		{"a later life", func(t *testing.T, like []byte) [][]byte {
			return [][]byte{recordOf(t, like, 1<<50, &fold.Entry{Kind: fold.Open})}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, _ := attach(t, roomtest.NewLog())
				r := openRoom(t, l, tcproom.WithSessions(tcproom.Sessions{Grace: time.Hour}))
				readyIn(t, r, time.Minute)
				_, err := r.Join(t.Context(), tcproom.Identity{Name: "ada"})
				require.NoError(t, err)
				l.bend(func(ctx context.Context, _ string, rec []byte) (uint64, error, bool) {
					l.bend(nil)
					for i, rogue := range tt.make(t, rec) {
						_, err := l.Log.Append(ctx, string(rune('a'+i)), rogue)
						require.NoError(t, err)
					}
					return 0, nil, false
				})
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				_, err = r.Broadcast(ctx, []byte("mine"))
				require.NoError(t, ctx.Err(), "a call hangs")
				if tt.name != "the end of the stream" { // else it is queued again
					require.NoError(t, err)
				}
				time.Sleep(time.Minute)
				readyIn(t, r, 5*time.Minute)
				_, err = r.Broadcast(t.Context(), []byte("on"))
				require.NoError(t, err)
			})
		})
	}
}

// TestOpensBeforeItLoads: a checkpoint that a node loads late is of after its open.
func TestOpensBeforeItLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := roomtest.NewLog(func(c *tcproom.Caps) { c.Records = 100 })
		l0, _ := attach(t, engine)
		l1, _ := attach(t, engine)
		r0 := openRoom(t, l0)
		readyIn(t, r0, time.Minute)
		gate := make(chan struct{})
		l1.load = func(ctx context.Context) error {
			select {
			case <-gate:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		r1 := openRoom(t, l1)
		time.Sleep(time.Second)
		for range 90 {
			_, err := r0.Broadcast(t.Context(), []byte("x"))
			require.NoError(t, err)
		}
		close(gate)
		readyIn(t, r1, 5*time.Second)
	})
}

// TestEntriesThatNoRecordHolds: what is too long for the log is refused, or cut, and the
// room goes on.
func TestEntriesThatNoRecordHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := roomtest.NewLog()
		l0, _ := attach(t, engine)
		l1, _ := attach(t, engine)
		r0, r1 := openRoom(t, l0), openRoom(t, l1)
		readyIn(t, r0, time.Minute)
		readyIn(t, r1, time.Minute)
		long := strings.Repeat("é", 1<<20)
		for _, r := range []*tcproom.Room{r0, r1} {
			began := time.Now()
			require.ErrorIs(t, r.Mute(long, time.Now().Add(time.Hour)), tcproom.ErrFrameTooLarge)
			c, err := r0.Join(t.Context(), tcproom.Identity{Name: "ada"})
			require.NoError(t, err)
			go func() {
				for range c.Events(context.Background()) {
				}
			}()
			for r.Len() == 0 {
				time.Sleep(time.Millisecond)
			}
			for m := range r.Members() {
				require.NoError(t, m.Kick(long))
			}
			require.Less(t, time.Since(began), time.Second)
			synctest.Wait()
			require.Zero(t, r.Len())
			readyIn(t, r, time.Second)
		}
		time.Sleep(time.Minute) // until writers have gone
	})
}

// TestDrainLosesTheLog: a room that is about to stop has fallen behind its log. It does not
// wait for what it will not see, and knows each member once.
func TestDrainLosesTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := roomtest.NewLog(func(c *tcproom.Caps) { c.Records = 100 })
		l0, _ := attach(t, engine)
		l1, b1 := attach(t, engine)
		r0, r1 := openRoom(t, l0), openRoom(t, l1, tcproom.WithDrain(10*time.Second))
		readyIn(t, r0, time.Minute)
		readyIn(t, r1, time.Minute)
		for _, r := range []*tcproom.Room{r0, r1} {
			_, err := r.Join(t.Context(), tcproom.Identity{})
			require.NoError(t, err)
		}
		time.Sleep(time.Second)
		b1.Cut()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		stopped := make(chan error, 1)
		began := time.Now()
		go func() { stopped <- r1.Shutdown(ctx) }()
		for range 300 {
			_, err := r0.Broadcast(t.Context(), []byte("x"))
			require.NoError(t, err)
			time.Sleep(time.Millisecond) // for checkpoints
		}
		b1.Heal()
		for range 80 {
			time.Sleep(100 * time.Millisecond)
			ids := make(map[string]bool)
			for m := range r1.Members() {
				require.False(t, ids[m.ID()], "a member is there twice")
				ids[m.ID()] = true
			}
		}
		var stop *tcproom.StopError
		require.ErrorAs(t, <-stopped, &stop)
		require.Positive(t, stop.Unordered)
		require.Less(t, time.Since(began), time.Minute)
	})
}
