package sock

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A handClock is a Lookout's clock that a test sets.
type handClock struct {
	mu    sync.Mutex
	t, at time.Duration
	epoll *os.File
	wakes int
}

func (c *handClock) clock() Clock {
	return Clock{
		Now: func() time.Duration {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.t
		},
		Wake: func(epoll *os.File, at time.Duration) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.epoll, c.at = epoll, at
			c.ringLocked()
		},
	}
}

// ringLocked sets the deadline that fits.
func (c *handClock) ringLocked() {
	deadline := time.Time{}
	if c.at != 0 && c.at <= c.t {
		deadline = time.Unix(1, 0)
		c.wakes++
	}
	_ = c.epoll.SetReadDeadline(deadline)
}

func (c *handClock) set(t time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = t
	if c.epoll != nil {
		c.ringLocked()
	}
}

// alarm returns when l wakes next, once it is done with what was due.
func (c *handClock) alarm(t testing.TB, l *Lookout) time.Duration {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		l.mu.Lock()
		alarm := l.alarm
		l.mu.Unlock()
		if alarm == 0 || alarm > c.clock().Now() {
			return alarm
		}
		if time.Now().After(deadline) {
			t.Fatal("what is due is not called")
		}
	}
}

// pass lets time pass, as far as l sleeps: it wakes at each of its alarms.
func (c *handClock) pass(t testing.TB, l *Lookout, until time.Duration) {
	t.Helper()
	for {
		at := c.alarm(t, l)
		if at == 0 || at > until {
			c.set(until)
			return
		}
		c.set(at)
	}
}

// newDueLookout returns a Lookout with a clock of its own, on which nothing has
// passed.
func newDueLookout(t *testing.T, due func(key any) time.Duration) (*Lookout, <-chan any, *handClock) {
	t.Helper()
	l, ready := newLookout(t)
	c := new(handClock)
	l.due = due
	l.SetClock(c.clock())
	return l, ready, c
}

// watchNew watches n new sources, with their numbers as keys.
func watchNew(t *testing.T, l *Lookout, n int, wait func() time.Duration) []*Source {
	t.Helper()
	srcs := make([]*Source, n)
	for i := range srcs {
		here, _ := tcpPair(t)
		srcs[i] = NewSource(here)
		require.True(t, l.Watch(srcs[i], i, wait()))
	}
	return srcs
}

// rouseAll rouses all of srcs, of which so many are watched.
func rouseAll(t *testing.T, l *Lookout, ready <-chan any, srcs []*Source, watched int) {
	t.Helper()
	for _, s := range srcs {
		l.Rouse(s)
	}
	for range watched {
		awaitReady(t, ready)
	}
	require.Empty(t, ready)
}

// TestCoarse: a tick is a tenth of the wait at most, and more than a twentieth, but for
// the shortest and the longest one.
func TestCoarse(t *testing.T) {
	for _, wait := range []time.Duration{
		1, tick, time.Second, 1999 * time.Millisecond, 2 * time.Second, 10 * time.Second, 24 * time.Second, 30 * time.Second, 36 * time.Second,
		time.Minute, time.Hour, 9 * time.Hour, maxWait,
	} {
		got := tick << coarseFor(wait)
		if wait >= time.Second {
			require.LessOrEqual(t, got, wait/10, wait)
		} else {
			require.Equal(t, tick, got)
		}
		if wait <= 9*time.Hour {
			require.Greater(t, 2*got, wait/10, wait)
		}
	}
}

// TestLookoutCallsDue: many sources that are due again and again, each within a
// tick of its time, with few wake-ups for all of them.
func TestLookoutCallsDue(t *testing.T) {
	const n, rounds = 300, 5
	const longest = tick << 4 // of waits up to 36 s
	wait := func() time.Duration { return 24*time.Second + rand.N(12*time.Second) }
	var c *handClock
	waits, from, calls := make([]time.Duration, n), make([]time.Duration, n), make([]int, n)
	wrong := make(chan string, n*rounds)
	l, ready, c := newDueLookout(t, func(key any) time.Duration {
		i := key.(int)
		now := c.clock().Now()
		took := now - from[i]
		if took < waits[i]*9/10 || took > waits[i]+2*longest || calls[i] == 0 && took < waits[i] {
			wrong <- fmt.Sprintf("%v instead of %v", took, waits[i])
		}
		calls[i]++
		from[i], waits[i] = now, wait()
		return waits[i]
	})
	i := 0
	srcs := watchNew(t, l, n, func() time.Duration { waits[i] = wait(); i++; return waits[i-1] })
	const until = rounds * 36 * time.Second
	c.pass(t, l, until)
	c.alarm(t, l)
	for _, k := range calls {
		require.GreaterOrEqual(t, k, rounds-1)
		require.LessOrEqual(t, k, rounds*36/24)
	}
	require.Empty(t, wrong)
	require.LessOrEqual(t, c.wakes, int(until/(tick<<4))+1, "wake-ups")
	require.Empty(t, ready)
	rouseAll(t, l, ready, srcs, n)
}

// TestTickIsGivenBack: ticks do not add up, so two waits are over one tick late at most.
func TestTickIsGivenBack(t *testing.T) {
	const wait = 17700 * time.Millisecond // whose tick is 1.6 s
	var c *handClock
	var calls []time.Duration
	l, ready, c := newDueLookout(t, func(any) time.Duration {
		calls = append(calls, c.clock().Now())
		if len(calls) == 2 {
			return 0
		}
		return wait
	})
	watchNew(t, l, 1, func() time.Duration { return wait })
	c.pass(t, l, time.Minute)
	require.Equal(t, 0, awaitReady(t, ready))
	require.Equal(t, []time.Duration{19200 * time.Millisecond, 36800 * time.Millisecond}, calls)
	l.Wait()
}

// TestFrozenLookoutCallsNobody: what was due while the goroutine did not run is called a
// tick later, and what has sent something meanwhile is not.
func TestFrozenLookoutCallsNobody(t *testing.T) {
	due := make(chan any, 10)
	l, ready, c := newDueLookout(t, func(key any) time.Duration { due <- key; return time.Hour })
	here, there := tcpPair(t)
	talks := NewSource(here)
	require.True(t, l.Watch(talks, "talks", 10*time.Second))
	srcs := watchNew(t, l, 2, func() time.Duration { return 10 * time.Second })
	require.Equal(t, 10400*time.Millisecond, c.alarm(t, l))
	c.set(11200*time.Millisecond + 1) // later than a tick
	require.Equal(t, 12*time.Second+1, c.alarm(t, l))
	require.Empty(t, due)
	require.Empty(t, ready)
	_, err := there.Write([]byte("x"))
	require.NoError(t, err)
	require.Equal(t, "talks", awaitReady(t, ready))
	c.set(time.Minute) // late again, which is no reason any more
	c.alarm(t, l)
	require.ElementsMatch(t, []any{0, 1}, []any{<-due, <-due})
	require.Empty(t, due)
	rouseAll(t, l, ready, srcs, 2)
}

// TestWhatCameIsNoSilence: a source that has something to read when its time is up is
// ready, and due is not called.
func TestWhatCameIsNoSilence(t *testing.T) {
	for range 100 {
		l, ready, c := newDueLookout(t, func(any) time.Duration { panic("it was not silent") })
		here, there := tcpPair(t)
		require.True(t, l.Watch(NewSource(here), 1, time.Second))
		_, err := there.Write([]byte("x"))
		require.NoError(t, err)
		c.set(time.Second)
		require.Equal(t, 1, awaitReady(t, ready))
		l.Wait()
	}
}

// TestRouseWhileDue: ready is not called before due has returned, and once.
func TestRouseWhileDue(t *testing.T) {
	for _, again := range []time.Duration{0, time.Second} {
		called, goOn := make(chan struct{}), make(chan struct{})
		var returned atomic.Bool
		l, ready, c := newDueLookout(t, func(any) time.Duration {
			close(called)
			<-goOn
			returned.Store(true)
			return again
		})
		srcs := watchNew(t, l, 1, func() time.Duration { return time.Second })
		c.set(time.Second)
		<-called
		l.Rouse(srcs[0])
		l.Rouse(srcs[0])
		require.Empty(t, ready)
		close(goOn)
		require.Equal(t, 0, awaitReady(t, ready))
		require.True(t, returned.Load())
		l.Wait()
		require.Empty(t, ready)
	}
}

// TestDueEndsTheGoroutine: one for which due does that is ready, and the others are
// waited for as before.
func TestDueEndsTheGoroutine(t *testing.T) {
	due := make(chan any, 10)
	l, ready, c := newDueLookout(t, func(key any) time.Duration {
		due <- key
		if key == 1 {
			runtime.Goexit()
		}
		return time.Second
	})
	srcs := watchNew(t, l, 3, func() time.Duration { return time.Second })
	for s := time.Second; s <= 2*time.Second; s += time.Second {
		c.set(s)
		c.alarm(t, l)
	}
	require.Equal(t, 1, awaitReady(t, ready))
	require.Len(t, due, 5)
	rouseAll(t, l, ready, srcs, 2)
}

// TestNoAlarmForNobody: the clock stops when nothing has a time.
func TestNoAlarmForNobody(t *testing.T) {
	due := make(chan any, 10)
	l, ready, c := newDueLookout(t, func(key any) time.Duration { due <- key; return time.Second })
	timed := watchNew(t, l, 1, func() time.Duration { return time.Second })
	others := watchNew(t, l, 1, func() time.Duration { return 0 })
	rouseAll(t, l, ready, timed, 1)
	c.set(time.Second)
	require.Zero(t, c.alarm(t, l))
	require.Empty(t, due)
	require.True(t, l.Watch(timed[0], 0, time.Second), "and begins again")
	c.set(2 * time.Second)
	require.Equal(t, 3*time.Second, c.alarm(t, l))
	require.Len(t, due, 1)
	rouseAll(t, l, ready, append(timed, others...), 2)
}

// TestDueRace: watching, being due, bytes and Rouse at one instant: a source is in one
// hand at a time, and is ready once.
func TestDueRace(t *testing.T) {
	const n, rounds = 60, 20
	held := make([]atomic.Int32, n) // who has the source: the Lookout and what it calls, or nobody
	var c *handClock
	wrong := make(chan string, n*rounds)
	l, ready, c := newDueLookout(t, func(key any) time.Duration {
		i := key.(int)
		if !held[i].CompareAndSwap(1, 2) {
			wrong <- "due of what is not watched"
		}
		runtime.Gosched()
		if !held[i].CompareAndSwap(2, 1) {
			wrong <- "ready while due"
		}
		return time.Duration(i%3) * time.Second / 2
	})
	stop := make(chan struct{})
	var clock sync.WaitGroup
	clock.Go(func() {
		for s := time.Duration(1); ; s++ {
			select {
			case <-stop:
				return
			default:
				c.set(s * tick)
				runtime.Gosched()
			}
		}
	})
	for range rounds {
		var wg sync.WaitGroup
		for i := range n {
			here, there := tcpPair(t)
			src := NewSource(here)
			wg.Go(func() {
				if i%2 == 0 {
					there.Write([]byte("x"))
				}
			})
			wg.Go(func() {
				held[i].Store(1)
				if !l.Watch(src, i, time.Second/2) {
					panic("not watched")
				}
				if i%4 != 0 {
					l.Rouse(src)
				}
			})
		}
		wg.Wait()
		seen := make(map[any]bool)
		for range n {
			key := awaitReady(t, ready)
			require.False(t, seen[key], "%v twice", key)
			seen[key] = true
			held[key.(int)].Store(0)
		}
	}
	close(stop)
	clock.Wait()
	l.Wait()
	require.Empty(t, ready)
	require.Empty(t, wrong)
}

// TestHeap: the first of those with a time is in front, whatever comes and goes.
func TestHeap(t *testing.T) {
	c := new(handClock)
	l := NewLookout(nil, nil)
	l.SetClock(Clock{c.clock().Now, func(*os.File, time.Duration) {}})
	for range 50 {
		l.watched = append(l.watched, watched{})
	}
	for range 5000 {
		slot := 1 + rand.Int32N(50)
		if w := &l.watched[slot]; w.at == 0 {
			l.scheduleLocked(slot, 0, 1+rand.N(time.Minute))
		} else {
			l.unscheduleLocked(slot)
		}
		for i, slot := range l.heap {
			require.Equal(t, i+1, int(l.watched[slot].at))
			require.False(t, l.lessLocked(slot, l.heap[(i-1)/2]))
		}
	}
}
