package fanout

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom/internal/sock"
	"github.com/stretchr/testify/require"
)

// both calls fn with a transport that has a direct path, and with one that has none.
func both(t *testing.T, fn func(t *testing.T, raw func(*fake) sock.Writer)) {
	for name, raw := range map[string]func(*fake) sock.Writer{
		"direct":   func(f *fake) sock.Writer { return f },
		"portable": func(*fake) sock.Writer { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { fn(t, raw) })
		})
	}
}

// TestTrafficIsWhatWasTaken: every byte and every frame that a connection gets counts
// once, by whatever way it was written.
func TestTrafficIsWhatWasTaken(t *testing.T) {
	both(t, func(t *testing.T, raw func(*fake) sock.Writer) {
		h := newHub(t, LogConfig{Backlog: 256 << 10, Gap: appendGap})
		rnd := rand.New(rand.NewPCG(1, 2))
		var fakes []*fake
		var members []*member
		for i := range 2 * yieldEvery {
			f := newFake([]int{plenty, 0, 1000}[i%3])
			fakes = append(fakes, f)
			members = append(members, h.join(t, f, raw(f), true))
		}
		for i := range 300 {
			var owner *Cursor
			if i%5 == 0 {
				owner = members[rnd.IntN(len(members))].cur
			}
			h.post(owner, 13+rnd.IntN(2000))
			switch rnd.IntN(20) {
			case 0:
				m := members[rnd.IntN(len(members))]
				m.cur.Insert(appendFrame(nil, kindDirect, uint64(i), 30), 1<<20)
			case 1:
				fakes[rnd.IntN(len(fakes))].take(rnd.IntN(5000))
			case 2:
				synctest.Wait()
			}
		}
		for _, f := range fakes {
			f.take(plenty)
		}
		synctest.Wait()
		h.post(nil, 100)
		synctest.Wait()
		var want Traffic
		for _, f := range fakes {
			got := f.received()
			want.Bytes += uint64(len(got))
			for _, it := range items(t, got) {
				switch it.kind {
				case kindLog:
					want.Frames++
				case kindGap:
					want.Skipped += it.to - it.num + 1
				}
			}
		}
		got := h.group.Traffic()
		require.NotZero(t, got.Skipped)
		require.Equal(t, want.Bytes, got.Bytes)
		require.Equal(t, want.Frames, got.Frames)
		// A gap covers the cursor's own frames too, which it has not missed.
		require.LessOrEqual(t, got.Skipped, want.Skipped)
	})
}

// TestLag names those who wait, and for how long.
func TestLag(t *testing.T) {
	both(t, func(t *testing.T, raw func(*fake) sock.Writer) {
		h := newHub(t, LogConfig{Backlog: 256 << 10})
		quick, slow, slower := newFake(plenty), newFake(200), newFake(100)
		for _, f := range []*fake{quick, slow, slower} {
			h.join(t, f, raw(f), false)
		}
		require.Zero(t, h.log.Lag())
		h.post(nil, 100)
		synctest.Wait()
		require.Zero(t, h.log.Lag())
		h.post(nil, 100) // slower is full
		synctest.Wait()
		time.Sleep(patience + time.Second)
		h.post(nil, 100) // and slow
		synctest.Wait()
		time.Sleep(patience + time.Second)
		h.post(nil, 100)
		synctest.Wait()
		lag := h.log.Lag()
		require.Equal(t, 2, lag.Cursors)
		require.GreaterOrEqual(t, lag.Since, time.Second)
		require.LessOrEqual(t, lag.Since, 2*(patience+time.Second))
		require.Contains(t, []int{100, 200}, lag.Bytes, "what has begun is the sink's own")
		slower.take(plenty)
		synctest.Wait()
		require.Equal(t, 1, h.log.Lag().Cursors)
		slow.take(plenty)
		synctest.Wait()
		require.Zero(t, h.log.Lag())
	})
}

// TestWatchComesWithTheLastWrite of those that do not wait, and names the others.
func TestWatchComesWithTheLastWrite(t *testing.T) {
	both(t, func(t *testing.T, raw func(*fake) sock.Writer) {
		h := newHub(t, LogConfig{Backlog: 256 << 10})
		var seen []string
		watch := func(name string) {
			h.log.Watch(func(at time.Time, waiting int) {
				seen = append(seen, fmt.Sprint(name, " ", waiting))
			})
		}
		h.post(nil, 100)
		watch("nobody is there")
		synctest.Wait()
		require.Equal(t, []string{"nobody is there 0"}, seen)
		fakes := make([]*fake, 3*yieldEvery)
		for i := range fakes {
			fakes[i] = newFake(plenty)
			h.join(t, fakes[i], raw(fakes[i]), false)
		}
		stalled := newFake(0)
		m := h.join(t, stalled, raw(stalled), false)
		h.post(nil, 100)
		synctest.Wait()
		time.Sleep(2 * patience)
		h.post(nil, 100)
		synctest.Wait()
		seen = nil
		had := len(fakes[0].received())
		for i := range 10 {
			h.mu.Lock()
			require.Equal(t, Fits, h.tryLocked(nil, 100, false, false))
			h.log.Watch(func(_ time.Time, waiting int) {
				require.Equal(t, 1, waiting)
				for _, f := range fakes {
					// A writer of a sink's own may be on its way still.
					if raw(f) != nil && len(f.received()) < had+100*(i+1) {
						t.Error("it has not been written")
					}
				}
				seen = append(seen, fmt.Sprint(i))
			})
			h.mu.Unlock()
			synctest.Wait()
		}
		require.Equal(t, []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}, seen)
		stalled.Close()
		m.sink.Close()
	})
}

// TestWatchOfTheLast: that the last who was there has gone ends the wait too.
func TestWatchOfTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, LogConfig{Backlog: 256 << 10})
		f := newFake(plenty)
		held, release := f.hold()
		m := h.join(t, f, f, false)
		h.post(nil, 100)
		<-held
		called := 0
		h.log.Watch(func(time.Time, int) { called++ })
		synctest.Wait()
		require.Zero(t, called)
		closed := make(chan struct{})
		go func() { m.sink.Close(); close(closed) }()
		synctest.Wait()
		release()
		<-closed
		synctest.Wait()
		require.Equal(t, 1, called)
		h.log.Watch(func(time.Time, int) { called++ })
		synctest.Wait()
		require.Equal(t, 2, called)
		h.log.Drop()
		h.log.Watch(func(time.Time, int) { called++ })
		synctest.Wait()
		require.Equal(t, 3, called)
	})
}

// TestWatchOfOneThatBeginsToBlock: without a direct path it shows a little later, though
// nothing more is appended.
func TestWatchOfOneThatBeginsToBlock(t *testing.T) {
	both(t, func(t *testing.T, raw func(*fake) sock.Writer) {
		h := newHub(t, LogConfig{Backlog: 256 << 10})
		f := newFake(0)
		m := h.join(t, f, raw(f), false)
		h.post(nil, 100)
		synctest.Wait() // its writer, or the sink, has that
		began, told := time.Now(), -1
		h.post(nil, 100)
		h.log.Watch(func(at time.Time, waiting int) {
			require.LessOrEqual(t, at.Sub(began), 2*patience)
			told = waiting
		})
		time.Sleep(3 * patience)
		synctest.Wait()
		require.Equal(t, 1, told)
		time.Sleep(time.Minute)
		h.log.mu.Lock()
		require.Nil(t, h.log.look, "no timer is left")
		h.log.mu.Unlock()
		f.Close()
		m.sink.Close()
		h.idle(t)
	})
}

// TestTrafficOfNothing: a sink that takes nothing counts nothing, whatever an earlier walk
// has brought to others at a place of the same number.
func TestTrafficOfNothing(t *testing.T) {
	h := newHub(t, LogConfig{Backlog: 256 << 10})
	o := h.beside(kindLog)
	var v view
	for i, h := range []*hub{h, o} {
		f := newFake(plenty)
		h.join(t, f, f, false)
		for seq := range uint64(3) { // without a flusher: the test is the walk
			h.log.Append(appendFrame(nil, kindLog, seq+1, 100), seq+1, nil)
		}
		v.open(h.log, 0)
		sp := v.at(0)
		v.took(sp, 0, uint32(1-i)*uint32(len(sp.buf)))
		v.close(0)
	}
	require.Equal(t, Traffic{Bytes: 300, Frames: 3}, h.group.Traffic())
	require.Zero(t, o.group.Traffic())
}

// TestWaitedIsOver: who waited once, and does not when it ends, has not been waiting.
func TestWaitedIsOver(t *testing.T) {
	both(t, func(t *testing.T, raw func(*fake) sock.Writer) {
		h := newHub(t, LogConfig{Backlog: 256 << 10})
		f := newFake(0)
		m := h.join(t, f, raw(f), false)
		time.Sleep(time.Hour)
		for range 3 {
			h.post(nil, 100)
			synctest.Wait()
			time.Sleep(time.Second)
		}
		require.Positive(t, m.cur.Waited())
		f.take(plenty)
		synctest.Wait()
		require.Zero(t, m.cur.Waited())
		m.sink.Close()
		require.Zero(t, m.cur.Waited())
	})
}

// TestOneThatIsHeldDoesNotWait: it is its hook that has it take nothing.
func TestOneThatIsHeldDoesNotWait(t *testing.T) {
	both(t, func(t *testing.T, raw func(*fake) sock.Writer) {
		h := newHub(t, LogConfig{Backlog: 256 << 10})
		f := newFake(plenty)
		m := h.enterHeld(t, f, raw(f), false)
		h.post(nil, 100)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Zero(t, m.cur.Waited())
		require.Zero(t, h.log.Lag())
		m.cur.Release()
		synctest.Wait()
		require.Zero(t, m.cur.Waited())
		require.Len(t, f.received(), 100)
	})
}

// TestWatchOfALogThatIsDropped: nobody is left who could get it, though the group goes on.
func TestWatchOfALogThatIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, LogConfig{Backlog: 256 << 10})
		stays := h.group.hub(LogConfig{Backlog: 256 << 10}, kindLog)
		g := newFake(plenty)
		stays.join(t, g, g, false)
		f := newFake(plenty)
		held, release := f.hold()
		m := h.join(t, f, f, false)
		h.post(nil, 100)
		<-held
		called := 0
		h.log.Watch(func(_ time.Time, waiting int) {
			require.Zero(t, waiting)
			called++
		})
		m.sink.Close()
		h.log.Drop()
		release()
		synctest.Wait()
		require.Equal(t, 1, called)
	})
}

// TestWatchThatEndsItsGoroutine keeps no other from being called.
func TestWatchThatEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, LogConfig{Backlog: 256 << 10})
		f := newFake(plenty)
		held, release := f.hold()
		h.join(t, f, f, false)
		h.post(nil, 100)
		<-held
		called := 0
		for range 3 {
			h.log.Watch(func(time.Time, int) {
				called++
				runtime.Goexit()
			})
		}
		release()
		synctest.Wait()
		require.Equal(t, 3, called)
		h.quiet() // or it would wait for ever
	})
}

// TestWatchLeavesNoTimer: its look again is over when the engine has stopped.
func TestWatchLeavesNoTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, LogConfig{Backlog: 256 << 10})
		f := newFake(0)
		m := h.join(t, f, nil, false)
		h.post(nil, 100)
		synctest.Wait()
		h.post(nil, 100)
		h.log.Watch(func(time.Time, int) {})
		synctest.Wait()
		h.log.mu.Lock()
		require.NotNil(t, h.log.look)
		h.log.mu.Unlock()
		f.Close()
		m.sink.Close()
		h.fan.Wait()
		h.log.mu.Lock()
		defer h.log.mu.Unlock()
		require.Nil(t, h.log.look)
	})
}
