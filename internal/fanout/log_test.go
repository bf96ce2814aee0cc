package fanout

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestE1UnvisitedSinksAreNotOverrun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const backlog, size = 1 << 20, 1000
		h := newHub(t, LogConfig{Backlog: backlog})
		slow, stalled := newFake(plenty), newFake(0)
		m := h.join(t, slow, slow, false)
		h.join(t, stalled, stalled, false) // waits, and must not hold anybody back

		held, letGo := slow.hold()
		require.Equal(t, Fits, h.try(nil, size, false, false))
		<-held // a flusher is in the middle of its visit

		ordinary := 1
		for h.try(nil, size, false, false) == Fits {
			ordinary++
		}
		require.Equal(t, Unserved, h.try(nil, size, false, false))
		charge, _ := h.log.Size()
		require.LessOrEqual(t, charge, int64(backlog/2))
		require.Greater(t, charge, int64(backlog/2-2*segmentSizes[2]))

		urgent := 0
		for h.try(nil, size, true, false) == Fits {
			urgent++
		}
		require.Equal(t, Unserved, h.try(nil, size, true, false))
		charge, _ = h.log.Size()
		require.LessOrEqual(t, charge, int64(backlog))
		require.Greater(t, charge, int64(backlog-2*segmentSizes[2]))

		waited := make(chan uint64)
		go func() { waited <- h.post(nil, size) }()
		synctest.Wait()
		select {
		case <-waited:
			t.Fatal("a message went past a sink that was not served")
		default:
		}
		began := time.Now()
		letGo()
		last := <-waited
		require.Less(t, time.Since(began), patience, "the wait must end with the visit, not by the clock")
		require.Equal(t, uint64(ordinary+urgent+1), last)

		synctest.Wait()
		require.Len(t, items(t, slow.received()), int(last))
		require.False(t, slices.Contains(h.lost(), m.sink))
		require.Nil(t, m.sink.Err())
	})
}

func TestE1WaitingSinksHoldNobodyBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, LogConfig{Backlog: 64 << 10})
		good, stalled := newFake(plenty), newFake(100)
		h.join(t, good, good, false)
		m := h.join(t, stalled, stalled, false)
		began := time.Now()
		for range 1000 {
			h.post(nil, 1000)
		}
		require.Zero(t, time.Since(began))
		synctest.Wait()
		require.Len(t, items(t, good.received()), 1000)
		requireSinks(t, h.lost(), m.sink)
	})
}

// A sink whose connection stalls before it joins is waiting from the start.
func TestE1SinkThatStalledBeforeItJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, LogConfig{Backlog: 64 << 10})
		stalled := newFake(10)
		m := h.member()
		m.sink = h.group.newSink(stalled, stalled, m, time.Minute)
		t.Cleanup(func() { stalled.Close(); m.sink.Close() })
		require.True(t, m.sink.Queue(make([]byte, 100), 1000))
		m.sink.Flush()
		synctest.Wait()
		require.True(t, m.sink.Waiting())
		m.cur = h.log.Attach(m.sink, false)
		began := time.Now()
		for range 1000 {
			h.post(nil, 1000)
		}
		require.Less(t, time.Since(began), patience)
		requireSinks(t, h.lost(), m.sink)
	})
}

func TestP15LimitsAreStrict(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 15))
		backlog := 256 << rnd.IntN(10)
		backlog += rnd.IntN(backlog)
		largest := backlog/4 - 2*frameCharge
		h := newHub(t, LogConfig{Backlog: backlog, Block: seed%3 == 0})
		var fakes []*fake
		var ms []*member
		for i := range 5 {
			f := newFake(plenty)
			if i < 2 {
				f.room = rnd.IntN(backlog)
			}
			fakes = append(fakes, f)
			ms = append(ms, h.join(t, f, f, i == 0))
		}
		for range 200 {
			size := 1 + rnd.IntN(100)
			if rnd.IntN(4) == 0 {
				size = 1 + rnd.IntN(largest)
			}
			size = min(max(size, frameHead), largest)
			var owner *Cursor
			if rnd.IntN(4) == 0 {
				owner = ms[rnd.IntN(len(ms))].cur
			}
			if rnd.IntN(20) == 0 {
				fakes[rnd.IntN(2)].take(rnd.IntN(backlog))
			}
			for h.try(owner, size, rnd.IntN(10) == 0, rnd.IntN(3) == 0) != Fits {
				h.group.Flush()
				if rnd.IntN(10) == 0 {
					fakes[rnd.IntN(2)].take(rnd.IntN(backlog))
				}
			}
			charge, memory := h.log.Size()
			require.LessOrEqual(t, charge, int64(backlog), "seed %d, backlog %d", seed, backlog)
			require.LessOrEqual(t, memory, 2*int64(backlog)+int64(maxWrite), "seed %d, backlog %d", seed, backlog)
		}
		for _, m := range ms[2:] {
			require.False(t, slices.Contains(h.lost(), m.sink), "seed %d", seed)
		}
		for i, m := range ms {
			fakes[i].Close()
			m.sink.Close()
		}
		h.quiet()
		require.Zero(t, h.pins())
	}
}

// pins counts the views of the log's segments.
func (h *hub) pins() (n int) {
	h.log.mu.Lock()
	defer h.log.mu.Unlock()
	for s := h.log.first; s != nil; s = s.next {
		n += s.pins
	}
	return n
}

func TestE2ParkedCursorsStandBetweenFramesAndPinNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 1000
		h := newHub(t, LogConfig{Backlog: 64 << 10})
		f := newFake(2*size + 300)
		m := h.join(t, f, f, true)
		held, letGo := f.hold()
		h.post(nil, size)
		<-held
		for range 9 {
			h.post(nil, size)
		}
		letGo()
		synctest.Wait()
		// The first write took one frame, the second one and a part of the third.
		require.True(t, m.sink.Waiting())
		require.Equal(t, int64(3*size), m.cur.pos.Load(), "a parked cursor stands between frames")
		require.Zero(t, h.pins())

		for range 200 { // eviction goes past
			h.post(nil, size)
		}
		require.Empty(t, h.lost())
		synctest.Wait()
		require.Len(t, f.received(), 2*size+300)
		f.take(plenty)
		synctest.Wait()
		got := items(t, f.received())
		require.Equal(t, []string{"m1", "m2", "m3"}, names(got[:3]), "the begun frame goes on")
		require.Equal(t, byte(kindGap), got[3].kind)
		require.Equal(t, uint64(4), got[3].num)
		require.Equal(t, got[3].to+1, got[4].num)
		require.Equal(t, uint64(210), got[len(got)-1].num)
		h.idle(t)
	})
}

// idle fails unless the log keeps nothing and the fan has no goroutine.
func (h *hub) idle(t testing.TB) {
	t.Helper()
	h.quiet()
	charge, memory := h.log.Size()
	require.Zero(t, charge)
	require.Zero(t, memory)
	for i := range h.fan.shards {
		require.Equal(t, idle, h.fan.shards[i].word.Load())
		if p := h.group.parts[i].Load(); p != nil {
			require.Zero(t, p.busy.Load())
		}
	}
}

func TestE2SegmentsAreNotReusedWhilePinned(t *testing.T) {
	h := newHub(t, LogConfig{Backlog: 64 << 10})
	f := newFake(plenty)
	m := h.join(t, f, f, false)
	held, letGo := f.hold()
	h.post(nil, 5000)
	<-held
	require.Equal(t, 1, h.pins())
	seg := h.log.first
	m.sink.Close()
	h.log.Drop()
	require.True(t, seg.dead)
	require.NotEqual(t, byte(poison), seg.buf[0], "it was reused while a visit reads it")
	letGo()
	h.quiet()
	require.Len(t, items(t, f.received()), 1)
	require.Zero(t, seg.pins)
}

func TestIdleLogKeepsNothing(t *testing.T) {
	h := newHub(t, LogConfig{Backlog: 1 << 20})
	for range 10 {
		h.post(nil, 1000)
	}
	h.idle(t) // nobody was there to get it
	f := newFake(plenty)
	m := h.join(t, f, f, false)
	for _, size := range []int{20, 5000, 70000, 200000} {
		for range 10 {
			h.post(nil, size)
		}
		h.idle(t)
	}
	m.sink.Close()
	h.quiet()
	for range 10 {
		h.post(nil, 100000)
	}
	h.idle(t)
	// Shards that had no sinks for long hold nobody back.
	g := newFake(plenty)
	h.join(t, g, g, false)
	require.Equal(t, Fits, h.try(nil, 1000, false, false))
	h.idle(t)
	require.Len(t, items(t, f.received()), 40)
	require.Len(t, items(t, g.received()), 1)
}

func TestBlockSaysSoUnlessUrgentOrForced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, LogConfig{Backlog: 64 << 10, Block: true})
		f := newFake(0)
		m := h.join(t, f, f, false)
		n := 0
		for ; ; synctest.Wait() {
			v := h.try(nil, 1000, false, false)
			if v != Fits {
				require.Equal(t, Blocked, v)
				break
			}
			n++
		}
		require.Greater(t, n, 40)
		require.Empty(t, h.lost())

		// Who waits for it does not turn in circles: only the clock wakes it.
		walks := 0
		began := time.Now()
		for time.Since(began) < time.Second {
			ch := h.group.Progress()
			require.Equal(t, Blocked, h.try(nil, 1000, false, false))
			require.NoError(t, h.group.Await(t.Context(), ch, 0))
			walks++
		}
		require.LessOrEqual(t, walks, int(time.Second/patience)+1)

		waited := make(chan uint64)
		go func() { waited <- h.post(nil, 1000) }()
		synctest.Wait()
		f.take(20000)
		<-waited
		require.Empty(t, h.lost())

		for h.try(nil, 1000, false, false) == Fits {
			synctest.Wait()
		}
		require.Equal(t, Fits, h.try(nil, 1000, false, true))
		requireSinks(t, h.lost(), m.sink)
	})
}

// Force overruns those who have waited for as long, and not one that has only
// just come to wait.
func TestBlockForceSparesWhoHasJustStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, LogConfig{Backlog: 64 << 10, Block: true})
		h.patient = time.Second
		f, g := newFake(0), newFake(plenty)
		a, b := h.join(t, f, f, false), h.join(t, g, g, false)
		fill := func() {
			for ; h.try(nil, 1000, false, false) == Fits; synctest.Wait() {
			}
		}
		fill()
		time.Sleep(time.Second - 1)
		require.Equal(t, Blocked, h.try(nil, 1000, false, true))
		time.Sleep(time.Nanosecond)
		g.stop()
		require.Equal(t, Fits, h.try(nil, 1000, false, true))
		synctest.Wait()
		requireSinks(t, h.lost(), a.sink)
		fill()
		require.Equal(t, Blocked, h.try(nil, 1000, false, true))
		requireSinks(t, h.lost(), a.sink)
		time.Sleep(time.Second)
		require.Equal(t, Fits, h.try(nil, 1000, false, true))
		requireSinks(t, h.lost(), a.sink, b.sink)
	})
}

func TestBlockUrgentIsNotHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, LogConfig{Backlog: 64 << 10, Block: true})
		f := newFake(0)
		m := h.join(t, f, f, false)
		for h.try(nil, 1000, false, false) == Fits {
			synctest.Wait()
		}
		// An eighth of the backlog is theirs; behind it the sink is lost.
		for n := 0; len(h.lost()) == 0; n++ {
			require.Less(t, n, 16)
			require.Equal(t, Fits, h.try(nil, 1000, true, false))
		}
		requireSinks(t, h.lost(), m.sink)
	})
}

func TestLostOnceAndMissedExactly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 1000
		h := newHub(t, LogConfig{Backlog: 64 << 10})
		far, near := newFake(0), newFake(10*size)
		b := h.join(t, near, near, false)
		a := h.join(t, far, far, false)
		var cut []uint64 // the frames of then
		n := uint64(0)
		for ; len(h.lost()) < 2; synctest.Wait() {
			require.Equal(t, Fits, h.try(nil, size, false, false))
			n++
			for range len(h.lost()) - len(cut) {
				cut = append(cut, n)
			}
		}
		requireSinks(t, h.lost(), a.sink, b.sink) // the one furthest behind comes first
		b.sink.Close()
		near.Close()
		for range 500 {
			h.post(nil, size)
		}
		require.Len(t, h.lost(), 2)
		// Their streams end there. One frame more is taken, and waits to be written.
		require.Equal(t, cut[0]-1, a.cur.Missed())
		require.Equal(t, cut[1]-11, b.cur.Missed())
		require.Equal(t, uint64(1), a.sink.Unwritten())

		// What is lost has nothing to write, and nobody tries to.
		far.take(plenty)
		synctest.Wait()
		h.post(nil, size)
		h.idle(t)
		require.Len(t, items(t, far.received()), 1, "the begun frame")
		require.False(t, a.cur.Insert(make([]byte, 10), 100))
	})
}

func TestLargeFrames(t *testing.T) {
	h := newHub(t, LogConfig{Backlog: 64 << 20})
	f := newFake(plenty)
	h.join(t, f, f, false)
	for i := range 3 {
		h.post(nil, 16<<20-100*i)
		h.post(nil, 20)
	}
	h.idle(t)
	require.Len(t, items(t, f.received()), 6)
}

// requireSinks compares sinks by identity; they may be at work.
func requireSinks(t testing.TB, got []*Sink, want ...*Sink) {
	t.Helper()
	require.True(t, slices.Equal(want, got), "got %d sinks, want %d", len(got), len(want))
}

// TestDropBeforeDetach: a log may be dropped while the sink of its last cursor
// is being closed, and its writer still asks that cursor for more.
func TestDropBeforeDetach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, LogConfig{Backlog: 1 << 20})
		stalled := newFake(0)
		m := h.join(t, stalled, stalled, false)
		for range 2 {
			h.post(nil, 100)
			synctest.Wait() // the writer has the first
		}
		c := m.sink.one.Load()
		require.NotNil(t, c.seg, "it is not parked")
		h.log.Drop()
		require.Nil(t, c.seg, "it stands in a segment that another log may have")
		b, special, err := c.fill(nil, new(ends), maxFill, true)
		require.NoError(t, err)
		require.Empty(t, b)
		require.False(t, special)
	})
}
