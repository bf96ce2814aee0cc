package fanout

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A stuckOwner does not return from SinkFailed until it is let go.
type stuckOwner struct {
	*member
	called, letGo chan struct{}
}

func (o *stuckOwner) SinkFailed(err error) {
	close(o.called)
	<-o.letGo
	o.member.SinkFailed(err)
}

// What an owner does about the end of its sink is nothing that an append waits
// for, nor a flusher; and all who are lost hear of it, also those that are lost
// while it goes on.
func TestP12AppendsDoNotWaitForWhomTheyCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, LogConfig{Backlog: 64 << 10})
		good, stalled := newFake(plenty), newFake(0)
		o := &stuckOwner{h.member(), make(chan struct{}), make(chan struct{})}
		o.sink = h.group.newSink(stalled, stalled, o, time.Minute)
		t.Cleanup(func() { stalled.Close(); o.sink.Close() })
		o.cur = h.log.Attach(o.sink, false)
		h.join(t, good, good, false)
		n := 0
		isCalled := func() bool {
			select {
			case <-o.called:
				return true
			default:
				return false
			}
		}
		for ; !isCalled(); synctest.Wait() {
			require.Less(t, n, 100)
			h.post(nil, 1000)
			n++
		}
		late := newFake(0)
		m := h.join(t, late, late, false)
		for range 100 {
			h.post(nil, 1000)
			synctest.Wait()
		}
		require.Len(t, items(t, good.received()), n+100)
		require.Zero(t, len(m.failed), "it is not its turn yet")
		close(o.letGo)
		requireSinks(t, h.lost(), o.sink, m.sink)
		require.Equal(t, ErrOverrun, <-m.failed)
		require.Equal(t, ErrOverrun, m.sink.Err())
	})
}

// BenchmarkOverrun measures the append that overruns all of so many stalled sinks
// at once: what a room holds its lock for. An op is a run with sinks of its own;
// use -benchtime 3x.
func BenchmarkOverrun(b *testing.B) {
	for _, skip := range []bool{false, true} {
		for _, n := range []int{1000, 9500} {
			b.Run(fmt.Sprintf("skip=%v/sinks=%d", skip, n), func(b *testing.B) {
				var sum time.Duration
				for range b.N {
					sum += overrun(b, n, skip)
				}
				b.ReportMetric(float64(sum.Microseconds())/1000/float64(b.N), "append-ms")
			})
		}
	}
}

// overrun returns the time of the longest append until n sinks are overrun.
func overrun(b *testing.B, n int, skip bool) (longest time.Duration) {
	h := New().NewGroup().hub(LogConfig{Backlog: 4 << 20}, kindLog)
	var fakes []*fake
	var ms []*member
	for range n {
		f := newFake(0)
		fakes, ms = append(fakes, f), append(ms, h.join(b, f, f, skip))
	}
	h.post(nil, 1000)
	for _, m := range ms {
		for !m.cur.parked.Load() {
			runtime.Gosched()
		}
	}
	for n := 0; n < 2*4<<10; runtime.Gosched() {
		began := time.Now()
		if h.try(nil, 1000, false, false) == Fits {
			n++
		}
		longest = max(longest, time.Since(began))
	}
	for i, f := range fakes {
		f.Close()
		ms[i].sink.Close()
	}
	h.fan.Wait()
	return longest
}
