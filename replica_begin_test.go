package tcproom_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/internal/fold"
	"example.com/tcproom/roomtest"
)

// What becomes of a room of which the log has dropped all that was, while a node has read
// it.

// A pickyLog takes checkpoints, and beginnings of streams, only if it is told to.
type pickyLog struct {
	tcproom.Log
	t             *testing.T
	saves, begins atomic.Bool
}

func (l *pickyLog) Save(ctx context.Context, at uint64, state []byte) error {
	if !l.saves.Load() {
		return errors.New("not saved")
	}
	return l.Log.Save(ctx, at, state)
}

func (l *pickyLog) Append(ctx context.Context, id string, rec []byte) (uint64, error) {
	select { // what it has asked for before is answered first
	case <-time.After(time.Millisecond):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if !l.begins.Load() && slices.Contains(kinds(l.t, rec), fold.Begin) {
		return 0, errors.New("not begun")
	}
	return l.Log.Append(ctx, id, rec)
}

// A begun is a room of several nodes, and a member of the first one.
type begun struct {
	t      *testing.T
	engine *roomtest.Log
	first  *tcproom.Room
	saves  *atomic.Bool // of the first one
	resets int          // of which the member was told
}

func newBegun(t *testing.T, saves bool) *begun {
	b := &begun{t: t, engine: roomtest.NewLog()}
	l := b.log()
	l.saves.Store(saves)
	l.begins.Store(true)
	b.first, b.saves = openRoom(t, l), &l.saves
	readyIn(t, b.first, time.Minute)
	ada, err := b.first.Join(t.Context(), tcproom.Identity{Name: "ada"}, tcproom.OnEvent(func(ev tcproom.Event) {
		if ev.Kind == tcproom.Welcome && ev.Welcome.Outcome == "reset" {
			b.resets++
		}
	}))
	require.NoError(t, err)
	t.Cleanup(func() { ada.Close() })
	synctest.Wait()
	return b
}

func (b *begun) log() *pickyLog {
	l, _ := attach(b.t, b.engine)
	return &pickyLog{Log: l, t: b.t}
}

// agree checks that all are in one stream, in which the member is, and have one order.
func (b *begun) agree(others ...*tcproom.Room) {
	b.t.Helper()
	time.Sleep(time.Minute)
	all := append([]*tcproom.Room{b.first}, others...)
	for _, r := range all {
		readyIn(b.t, r, time.Minute)
		require.Equal(b.t, b.first.Past(0, 0).Epoch, r.Past(0, 0).Epoch)
		require.Equal(b.t, 1, r.Len())
	}
	for _, r := range all {
		seq, err := r.Broadcast(b.t.Context(), []byte("x"))
		require.NoError(b.t, err)
		synctest.Wait()
		for _, r := range all {
			require.Equal(b.t, seq, r.Past(0, 0).Seq)
		}
	}
}

// TestBeginsBehindWhatWasDropped: a node that starts when the log has dropped all that there
// was begins another stream, for it cannot know of one. A node that is in the one before
// goes on in that, and tells its members, instead of having an order of its own.
func TestBeginsBehindWhatWasDropped(t *testing.T) {
	for _, row := range []struct {
		name   string
		saves  bool
		opens  int  // of nodes that have not begun anything: all that is left
		again  bool // the first one saves then, too
		resets int
	}{
		{name: "nothing is left, but a checkpoint", saves: true, resets: 1},
		{name: "nothing is left", resets: 1},
		{name: "opens are left", opens: 2, resets: 1},
		{name: "opens and a checkpoint are left", saves: true, opens: 2, resets: 1},
		{name: "opens are left, and a checkpoint was saved for them", saves: true, opens: 2, again: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBegun(t, row.saves)
				b.engine.Trim("room", 1000)
				b.saves.Store(row.saves && (row.again || row.opens == 0))
				for range row.opens {
					r := openRoom(t, b.log())
					time.Sleep(time.Second)
					r.Close()
				}
				l := b.log()
				l.begins.Store(true)
				b.agree(openRoom(t, l))
				require.Equal(t, row.resets, b.resets)
			})
		})
	}
}

// TestBeginsBehindACheckpoint: what was saved of the stream before, when another one was
// about to be begun, does not bring that back.
func TestBeginsBehindACheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBegun(t, false)
		b.engine.Trim("room", 1000)
		b.saves.Store(true)
		l := b.log()
		second := openRoom(t, l)
		time.Sleep(6 * time.Second) // the first one has read its open, and saved what it has
		b.saves.Store(false)
		l.begins.Store(true)
		readyIn(t, second, time.Minute)
		at, _, err := l.Load(t.Context())
		require.NoError(t, err)
		require.NotZero(t, at)
		third := openRoom(t, b.log())
		b.agree(second, third)
		require.Equal(t, 1, b.resets)
		again, _, err := l.Load(t.Context())
		require.NoError(t, err)
		require.Equal(t, at, again)
	})
}

// TestBeginsBehindItsCheckpoints: a node that starts when the log has dropped all up to the
// checkpoints that there are is ready soon, though nothing is said: another node saves for it
// what was. Until that can, the one that waits does not fill the log.
func TestBeginsBehindItsCheckpoints(t *testing.T) {
	for _, row := range []struct {
		name  string
		takes time.Duration // each of its Appends
		fails bool          // Save of the other one, for a while
		ready time.Duration
	}{
		{name: "at once", ready: 10 * time.Second},
		{name: "though the log is slow", takes: 3 * time.Second, ready: 10 * time.Second},
		{name: "though saving fails", fails: true, ready: time.Minute},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBegun(t, true)
				say := func() (pos uint64) {
					seq, err := b.first.Broadcast(t.Context(), []byte("x"))
					require.NoError(t, err)
					return seq / fold.MaxEntries
				}
				time.Sleep(time.Minute)
				last := say()
				b.engine.Trim("room", int(last-1))
				b.saves.Store(!row.fails)
				second := openRoom(t, slowLog{b.log(), row.takes})
				if row.fails {
					time.Sleep(10 * time.Minute)
					require.LessOrEqual(t, say()-last, uint64(24), "an open a minute, and a beat behind it")
					b.saves.Store(true)
				}
				readyIn(t, second, row.ready)
				b.agree(second)
				require.Zero(t, b.resets)
			})
		})
	}
}

// A slowLog is one whose Append takes d.
type slowLog struct {
	*pickyLog
	d time.Duration
}

func (l slowLog) Append(ctx context.Context, id string, rec []byte) (uint64, error) {
	select {
	case <-time.After(l.d):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	return l.pickyLog.Append(ctx, id, rec)
}
