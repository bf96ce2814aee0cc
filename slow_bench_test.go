//go:build linux

package tcproom_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// BenchmarkCutStalled measures what those who publish pay for members that are
// slow all at once: stalled ones, on unix sockets, are overrun by one Broadcast.
// The worst Broadcast of a run until then is cut-ms; others-ms is the worst, and
// others-mean-ms the mean, of what is said one by one until all of them have left.
// An op is a run; setting it up takes a second or more, so use -benchtime 3x.
func BenchmarkCutStalled(b *testing.B) {
	for _, n := range []int{1000, 9500} {
		b.Run(fmt.Sprintf("members=%d", n), func(b *testing.B) {
			var limit syscall.Rlimit
			if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < uint64(2*n+200) {
				b.Skipf("needs %d descriptors", 2*n+200)
			}
			var sum cutCost
			for range b.N {
				cost := cutStalled(b, n)
				sum.cut += cost.cut
				sum.worst += cost.worst
				sum.mean += cost.mean
				sum.gone += cost.gone
			}
			ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 / float64(b.N) }
			b.ReportMetric(ms(sum.cut), "cut-ms")
			b.ReportMetric(ms(sum.worst), "others-ms")
			b.ReportMetric(ms(sum.mean), "others-mean-ms")
			b.ReportMetric(ms(sum.gone), "gone-ms")
		})
	}
}

type cutCost struct{ cut, worst, mean, gone time.Duration }

// cutStalled makes n stalled members slow, once.
func cutStalled(b *testing.B, n int) (cost cutCost) {
	b.StopTimer()
	room := tcproom.New(tcproom.WithCodec(tcproom.Raw{}), tcproom.WithNotices(false), tcproom.WithMaxPending(n),
		tcproom.WithMaxMessage(4<<10), tcproom.WithBacklog(256<<10), tcproom.WithSocketBuffers(0, 1))
	l := listen(b, "unix")
	served := make(chan error, 1)
	go func() { served <- room.Serve(l) }()
	peers := make([]net.Conn, n)
	for i := range peers {
		nc, err := net.Dial("unix", l.Addr().String())
		for errors.Is(err, syscall.EAGAIN) { // the listener's queue is full
			time.Sleep(time.Millisecond)
			nc, err = net.Dial("unix", l.Addr().String())
		}
		require.NoError(b, err)
		peers[i] = nc
	}
	waitLen(b, room, n)
	say := func() time.Duration {
		began := time.Now()
		_, err := room.Broadcast(context.Background(), kib(0))
		require.NoError(b, err)
		return time.Since(began)
	}
	for range 16 { // until all of them are stalled
		say()
		time.Sleep(time.Duration(n) * 20 * time.Microsecond)
	}
	runtime.GC()
	b.StartTimer()
	for room.Stats().Left["slow"] == 0 {
		cost.cut = max(cost.cut, say())
	}
	began, said := time.Now(), time.Duration(0)
	calls := 0
	for room.Len() > 0 {
		d := say()
		cost.worst = max(cost.worst, d)
		said += d
		calls++
		time.Sleep(100 * time.Microsecond)
	}
	cost.gone = time.Since(began)
	b.StopTimer()
	cost.mean = said / time.Duration(max(calls, 1))
	for _, nc := range peers {
		nc.Close()
	}
	room.Close()
	require.ErrorIs(b, <-served, tcproom.ErrRoomClosed)
	b.StartTimer()
	return cost
}
