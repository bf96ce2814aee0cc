package fanout

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Where other goroutines keep the processors busy the scheduler finds no moment
// for the network. A walk does not wait for one again and again.
func TestE6BusyProcessorsHoldUpNoWalk(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	h := newHub(t, LogConfig{Backlog: 4 << 20})
	const stretches = 40
	var left, came [stretches]time.Time
	for i := range stretches * yieldEvery {
		f := newFake(plenty)
		switch i % yieldEvery {
		case 0:
			f.onWrite = func() { came[i/yieldEvery] = time.Now() }
		case yieldEvery - 1:
			f.onWrite = func() { left[i/yieldEvery] = time.Now() }
		}
		h.join(t, f, f, false)
	}
	var stop atomic.Bool
	var hog sync.WaitGroup
	hog.Go(func() {
		for !stop.Load() {
			runtime.Gosched()
		}
	})
	defer hog.Wait()
	defer stop.Store(true)
	// A busy machine holds up a walk as well, and not each of so many.
	waits := func() (late int) {
		h.post(nil, 100)
		h.quiet()
		for i := range stretches - 1 {
			if came[i+1].Sub(left[i]) >= longYield {
				late++
			}
		}
		return late
	}
	least := stretches
	for tries := 0; tries < 10 && least >= stretches/4; tries++ {
		least = min(least, waits())
	}
	require.Less(t, least, stretches/4, "after so many of %d stretches a walk waited for the network", stretches-1)
}

// A look ends where the scheduler does not come to the network at all.
func TestE6LookHasADeadline(t *testing.T) {
	var l lull
	defer l.close()
	l.look()
	require.NotNil(t, l.file)
	l.callback = func(uintptr) bool { return false } // nothing comes
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		l.look()
	}()
	select {
	case <-looked:
	case <-time.After(10 * time.Second):
		t.Error("a look goes on for ever")
		l.file.Close()
		<-looked
	}
}

// The descriptor is there when it was needed, and not after Wait.
func TestE6LullIsClosed(t *testing.T) {
	h := newHub(t, LogConfig{Backlog: 4 << 20})
	for range yieldEvery - 1 {
		f := newFake(plenty)
		h.join(t, f, f, false)
	}
	h.post(nil, 100)
	h.quiet()
	require.Nil(t, h.fan.lull.file, "a short walk does not look")
	f := newFake(plenty)
	last := h.join(t, f, f, false)
	h.post(nil, 100)
	h.quiet()
	file := h.fan.lull.file
	require.NotNil(t, file)
	_, err := file.Stat()
	require.NoError(t, err)
	last.sink.Close() // so that a flusher may be under way
	h.fan.Wait()
	require.Nil(t, h.fan.lull.file)
	_, err = file.Stat()
	require.ErrorIs(t, err, os.ErrClosed)
}

func TestE6LooksInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, LogConfig{Backlog: 4 << 20})
		var fakes []*fake
		for range 3 * yieldEvery {
			f := newFake(plenty)
			fakes = append(fakes, f)
			h.join(t, f, f, false)
		}
		for range 3 {
			h.post(nil, 100)
			synctest.Wait()
			require.Equal(t, fakes[0].received(), fakes[len(fakes)-1].received())
			time.Sleep(time.Second)
		}
		require.Len(t, fakes[0].received(), 300)
		h.quiet()
	})
}
