package fanout

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom/internal/sock"
	"github.com/stretchr/testify/require"
)

// enterHeld attaches nc and holds it there.
func (h *hub) enterHeld(t testing.TB, nc *fake, raw sock.Writer, skip bool) *member {
	m := h.member()
	m.sink = h.group.newSink(nc, raw, m, time.Minute)
	t.Cleanup(func() { nc.Close(); m.sink.Close() })
	h.mu.Lock()
	defer h.mu.Unlock()
	m.cur = h.log.Attach(m.sink, skip)
	m.cur.Hold()
	return m
}

func directFrame(num int) []byte { return appendFrame(nil, kindDirect, uint64(num), 40) }

// runHeld runs f over both kinds of sinks.
func runHeld(t *testing.T, cfg LogConfig, f func(t *testing.T, h *hub, nc *fake, raw sock.Writer)) {
	t.Helper()
	for _, portable := range []bool{false, true} {
		t.Run(fmt.Sprintf("portable=%v", portable), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nc := newFake(plenty)
				var raw sock.Writer = nc
				if portable {
					raw = nil
				}
				f(t, newHub(t, cfg), nc, raw)
			})
		})
	}
}

func TestHeldGetsInsertsFirst(t *testing.T) {
	runHeld(t, LogConfig{Backlog: 64 << 10}, func(t *testing.T, h *hub, nc *fake, raw sock.Writer) {
		h.post(nil, 100) // before it
		synctest.Wait()
		m := h.enterHeld(t, nc, raw, false)
		require.True(t, m.cur.Insert(directFrame(1), 100))
		h.post(nil, 100)
		h.post(m.cur, 100) // its own
		synctest.Wait()
		m.cur.InsertShared([][]byte{directFrame(2)})
		synctest.Wait()
		require.Equal(t, []string{"d1", "d2"}, names(items(t, nc.received())), "inserts flow at once, and nothing else")
		require.Equal(t, uint64(1), m.cur.Missed())
		require.False(t, m.sink.Waiting(), "no writer is there for it")
		h.post(nil, 100)
		require.True(t, m.cur.Insert(directFrame(3), 100))
		m.cur.Release()
		synctest.Wait()
		require.Equal(t, []string{"d1", "d2", "d3", "m2", "m4"}, names(items(t, nc.received())))
		require.Zero(t, m.cur.Missed())
		require.False(t, m.cur.parked.Load(), "it counts as one that keeps up")
		h.post(nil, 100)
		require.True(t, m.cur.Insert(directFrame(4), 100))
		m.cur.Release()
		h.post(nil, 100)
		synctest.Wait()
		require.Equal(t, []string{"m5", "d4", "m6"}, names(items(t, nc.received())[5:]))
		h.idle(t)
	})
}

// Its connection takes nothing for a while: what is written is in order, and as
// much waits as the limit of inserts allows.
func TestHeldAndStalled(t *testing.T) {
	for _, early := range []bool{false, true} { // released while it stalls
		t.Run(fmt.Sprintf("early=%v", early), func(t *testing.T) {
			runHeld(t, LogConfig{Backlog: 64 << 10}, func(t *testing.T, h *hub, nc *fake, raw sock.Writer) {
				nc.room = 50
				m := h.enterHeld(t, nc, raw, false)
				for i := 1; i <= 3; i++ {
					require.True(t, m.cur.Insert(directFrame(i), 100))
					h.post(nil, 100)
					synctest.Wait()
				}
				require.True(t, m.cur.Insert(directFrame(4), 100)) // one waits, the second is begun
				require.False(t, m.cur.Insert(directFrame(9), 100))
				if early {
					m.cur.Release()
				}
				h.post(nil, 100)
				synctest.Wait()
				require.True(t, m.sink.Waiting())
				nc.take(plenty)
				synctest.Wait()
				want := []string{"d1", "d2", "d3", "d4", "m1", "m2", "m3", "m4"}
				if !early {
					require.Equal(t, want[:4], names(items(t, nc.received())))
					m.cur.Release()
					synctest.Wait()
				}
				require.Equal(t, want, names(items(t, nc.received())))
				h.idle(t)
			})
		})
	}
}

func TestHeldHoldsNobodyUpAndCanBeOverrun(t *testing.T) {
	t.Run("disconnect", func(t *testing.T) {
		runHeld(t, LogConfig{Backlog: 64 << 10}, func(t *testing.T, h *hub, nc *fake, raw sock.Writer) {
			good := newFake(plenty)
			h.join(t, good, good, false)
			m := h.enterHeld(t, nc, raw, false)
			require.True(t, m.cur.Insert(directFrame(1), 100))
			synctest.Wait()
			began := time.Now()
			for range 1000 {
				h.post(nil, 1000)
			}
			require.Less(t, time.Since(began), patience)
			requireSinks(t, h.lost(), m.sink)
			m.cur.Release()
			synctest.Wait()
			require.Equal(t, []string{"d1"}, names(items(t, nc.received())))
			require.Len(t, items(t, good.received()), 1000)
			require.NotZero(t, m.cur.Missed())
			h.idle(t)
		})
	})
	t.Run("skip", func(t *testing.T) {
		runHeld(t, LogConfig{Backlog: 64 << 10}, func(t *testing.T, h *hub, nc *fake, raw sock.Writer) {
			m := h.enterHeld(t, nc, raw, true)
			for i := 1; i <= 3; i++ { // overrun after each
				require.True(t, m.cur.Insert(directFrame(i), 100))
				for range 100 {
					h.post(nil, 1000)
				}
				synctest.Wait()
			}
			require.Equal(t, []string{"d1", "d2", "d3"}, names(items(t, nc.received())))
			require.Equal(t, uint64(300), m.cur.Missed())
			require.True(t, m.cur.Insert(directFrame(4), 100))
			m.cur.Release()
			synctest.Wait()
			require.Empty(t, h.lost())
			got := items(t, nc.received())
			require.Equal(t, []string{"d1", "d2", "d3", "d4"}, names(got[:4]))
			require.Equal(t, byte(kindGap), got[4].kind)
			require.Equal(t, uint64(1), got[4].num)
			next := got[4].to
			for _, it := range got[5:] {
				next++
				require.Equal(t, next, it.num)
			}
			require.Equal(t, uint64(300), next)
			require.Zero(t, m.cur.Missed())
			h.idle(t)
		})
	})
	t.Run("block", func(t *testing.T) {
		runHeld(t, LogConfig{Backlog: 64 << 10, Block: true}, func(t *testing.T, h *hub, nc *fake, raw sock.Writer) {
			h.patient = time.Second
			m := h.enterHeld(t, nc, raw, false)
			fill := func() (n uint64) {
				for ; h.try(nil, 1000, false, false) == Fits; synctest.Wait() {
					n++
				}
				require.Equal(t, Blocked, h.try(nil, 1000, false, false))
				return n
			}
			n := fill()
			require.Greater(t, n, uint64(40))
			require.Empty(t, h.lost())
			waited := make(chan uint64)
			go func() { waited <- h.post(nil, 1000) }()
			synctest.Wait()
			m.cur.Release()
			require.Equal(t, n+1, <-waited)
			synctest.Wait()
			require.Len(t, items(t, nc.received()), int(n)+1)
			h.idle(t)

			late := newFake(plenty)
			slow := h.enterHeld(t, late, late, false)
			fill()
			time.Sleep(time.Second)
			require.Equal(t, Fits, h.try(nil, 1000, false, true))
			requireSinks(t, h.lost(), slow.sink)

			// Its time begins with the release: before that it could not keep up.
			stalled := newFake(0)
			freed := h.enterHeld(t, stalled, stalled, false)
			fill()
			time.Sleep(time.Second)
			freed.cur.Release()
			synctest.Wait()
			fill()
			require.Equal(t, Blocked, h.try(nil, 1000, false, true))
			time.Sleep(time.Second)
			require.Equal(t, Fits, h.try(nil, 1000, false, true))
			requireSinks(t, h.lost(), slow.sink, freed.sink)
		})
	})
}

// Finish releases: what was ordered before the end is written, then what was
// inserted behind it.
func TestHeldFinishes(t *testing.T) {
	for _, stalled := range []bool{false, true} {
		t.Run(fmt.Sprintf("stalled=%v", stalled), func(t *testing.T) {
			runHeld(t, LogConfig{Backlog: 64 << 10}, func(t *testing.T, h *hub, nc *fake, raw sock.Writer) {
				if stalled {
					nc.stop()
				}
				m := h.enterHeld(t, nc, raw, false)
				require.True(t, m.cur.Insert(directFrame(1), 100))
				synctest.Wait()
				h.post(nil, 100)
				m.cur.End()
				h.post(nil, 100)
				require.True(t, m.cur.Insert(directFrame(2), 100), "the goodbye")
				synctest.Wait()
				require.Equal(t, uint64(1), m.cur.Missed())
				done := m.sink.Finish()
				synctest.Wait()
				nc.take(plenty)
				<-done
				require.NoError(t, m.sink.Err())
				require.Equal(t, []string{"d1", "m1", "d2"}, names(items(t, nc.received())))
				require.Zero(t, m.cur.Missed())
				m.cur.Release()
				h.idle(t)
			})
		})
	}
}

// A cursor of which all is held gives its sink nothing, though it is closed, and holds up
// no other one. Then all of it comes, in order.
func TestHeldWithItsInserts(t *testing.T) {
	for _, row := range []struct {
		name   string
		closed bool
		do     func(m *member)
		want   []string
	}{
		{"shown", false, func(m *member) { m.cur.Show() }, []string{"m1", "m2", "m3", "d1"}},
		{"shown, and then released", false, func(m *member) { m.cur.Show(); m.cur.Release() }, []string{"m1", "m2", "m3", "d1", "m2", "m3"}},
		{"released", false, func(m *member) { m.cur.Release() }, []string{"m1", "m2", "m3", "d1", "m2", "m3"}},
		{"closed before", true, func(m *member) { m.cur.Show() }, []string{"m1", "m2", "m3", "d1", "m2", "d2"}},
		{"closed before, and its sink finishes", true, func(m *member) { m.sink.Finish() }, []string{"m1", "m2", "m3", "d1", "m2", "d2"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			runHeld(t, LogConfig{Backlog: 64 << 10}, func(t *testing.T, h *hub, nc *fake, raw sock.Writer) {
				other := h.join(t, nc, raw, false)
				h.post(nil, 100)
				synctest.Wait()
				m := &member{sink: other.sink}
				h.mu.Lock()
				m.cur = h.log.Attach(m.sink, false)
				m.cur.HoldAll()
				h.mu.Unlock()
				require.True(t, m.cur.Insert(directFrame(1), 100))
				h.post(nil, 100)
				if row.closed {
					m.cur.End()
					require.True(t, m.cur.Insert(directFrame(2), 100), "the goodbye")
					m.cur.Close()
				}
				h.post(nil, 100)
				synctest.Wait()
				require.Equal(t, row.want[:3], names(items(t, nc.received())))
				require.False(t, m.cur.IsOver())
				row.do(m)
				synctest.Wait()
				require.Equal(t, row.want, names(items(t, nc.received())))
				require.Equal(t, row.closed, m.cur.IsOver())
				m.cur.Release()
				synctest.Wait()
				h.idle(t)
			})
		})
	}
}

// What comes last of a sink, whose cursors are released, comes behind one of which all was
// held, also before the sink finishes.
func TestTrailsBehindHeld(t *testing.T) {
	runHeld(t, LogConfig{Backlog: 64 << 10}, func(t *testing.T, h *hub, nc *fake, raw sock.Writer) {
		last := h.join(t, nc, raw, false)
		m := &member{sink: last.sink}
		h.mu.Lock()
		m.cur = h.log.Attach(m.sink, false)
		m.cur.HoldAll()
		h.mu.Unlock()
		require.True(t, m.cur.Insert(directFrame(1), 100))
		m.cur.Close()
		last.cur.End()
		synctest.Wait()
		require.Empty(t, nc.received())
		last.sink.Release()
		last.cur.Trail()
		require.True(t, last.cur.Insert(directFrame(2), 100))
		synctest.Wait()
		require.Equal(t, []string{"d1", "d2"}, names(items(t, nc.received())))
		h.idle(t)
	})
}

// After the end of its sink, and in a cursor that has ended before, there is
// nothing to hold nor to release.
func TestHoldAndReleaseAfterTheEnd(t *testing.T) {
	runHeld(t, LogConfig{Backlog: 64 << 10}, func(t *testing.T, h *hub, nc *fake, raw sock.Writer) {
		m := h.enterHeld(t, nc, raw, false)
		h.post(nil, 100)
		m.sink.Close()
		require.Equal(t, uint64(1), m.cur.Missed())
		m.cur.Release()
		m.cur.Hold()
		h.post(nil, 100)
		require.Equal(t, uint64(1), m.cur.Missed())
		h.idle(t)

		late := newFake(plenty)
		o := h.join(t, late, raw, false)
		done := o.sink.Finish()
		o.cur.Hold()
		<-done
		require.NoError(t, o.sink.Err())
		h.idle(t)
	})
}

// A release in the middle of a flusher's write of inserts: the flusher's walk
// is over, and nobody appends any more.
func TestE5ReleaseDuringHeldCalls(t *testing.T) {
	for range 100 {
		h := newHub(t, LogConfig{Backlog: 64 << 10})
		f := newFake(plenty)
		m := h.enterHeld(t, f, f, false)
		h.post(nil, 50)
		h.quiet()
		held, letGo := f.hold()
		m.cur.Insert(directFrame(1), 100)
		<-held
		h.post(nil, 50)
		m.cur.Release()
		letGo()
		h.quiet()
		require.Equal(t, []string{"d1", "m1", "m2"}, names(items(t, f.received())))
		require.False(t, m.cur.parked.Load())
		h.idle(t)
		f.Close()
		m.sink.Close()
	}
}

// A flusher that looked at the flags of a sink just before the release: the
// cursor lags and is parked, so it is a writer that serves it.
func TestE5ReleaseBehindTheFlags(t *testing.T) {
	h := newHub(t, LogConfig{Backlog: 64 << 10})
	f := newFake(plenty)
	m := h.enterHeld(t, f, f, false)
	h.post(nil, 50)
	h.quiet()
	m.sink.special.Store(false)
	m.cur.hold.Store(math.MaxInt64)
	h.group.Flush()
	h.quiet()
	require.Equal(t, []string{"m1"}, names(items(t, f.received())))
	require.False(t, m.cur.parked.Load())
	h.idle(t)
}

// Release races with appends, inserts and an end.
func TestE5ReleaseRaces(t *testing.T) {
	for i := range 300 {
		h := newHub(t, LogConfig{Backlog: 1 << 20})
		f := newFake(plenty)
		var raw sock.Writer = f
		if i%3 == 0 {
			raw = nil
		}
		m := h.enterHeld(t, f, raw, false)
		var wg sync.WaitGroup
		inserted := make(chan struct{})
		wg.Go(func() {
			m.cur.Insert(directFrame(1), 1000)
			close(inserted)
			m.cur.Release()
		})
		for range 5 {
			wg.Go(func() { h.post(nil, 100) })
		}
		if i%2 == 0 {
			wg.Wait()
		}
		<-inserted
		<-m.sink.Finish()
		wg.Wait()
		f.Close()
		m.sink.Close()
		h.quiet()
		got := names(items(t, f.received()))
		require.Equal(t, "d1", got[0])
		require.True(t, slices.IsSorted(got[1:]), "%v", got)
		if i%2 == 0 {
			require.Len(t, got, 6)
		}
	}
}
