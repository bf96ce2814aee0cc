//go:build linux

package itest

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

const (
	scaleMembers = 9500
	scaleBacklog = 4 << 20
	scaleFrame   = 16 << 10 // the largest message
	scaleBuffer  = 16 << 10 // of the room's sockets
)

// scaleRoom is a room for thousands of members that do not read.
func scaleRoom(policy tcproom.SlowPolicy, opts ...tcproom.RoomOption) *tcproom.Room {
	return tcproom.New(append([]tcproom.RoomOption{
		tcproom.WithSlowMembers(policy), tcproom.WithNotices(false), tcproom.WithMaxPending(20000),
		tcproom.WithBacklog(scaleBacklog), tcproom.WithMaxMessage(scaleFrame),
		tcproom.WithSocketBuffers(scaleBuffer, scaleBuffer), tcproom.WithWriteTimeout(time.Hour),
	}, opts...)...)
}

func requireLong(t *testing.T) {
	t.Helper()
	if !long() {
		t.Skip("takes minutes; TCPROOM_LONG=1 runs it")
	}
}

// A footprint is what this process holds.
type footprint struct {
	memory      int64 // bytes of heap and stacks
	goroutines  int
	descriptors int
}

func (f footprint) String() string {
	return fmt.Sprintf("%.1f MB, %d goroutines, %d descriptors", float64(f.memory)/1e6, f.goroutines, f.descriptors)
}

func measure(t *testing.T) footprint {
	t.Helper()
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return footprint{int64(m.HeapInuse + m.StackInuse), runtime.NumGoroutine(), len(fds)}
}

// say makes room send body.
func say(t *testing.T, room *tcproom.Room, body []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	_, err := room.Broadcast(ctx, body)
	require.NoError(t, err)
}

// eventually waits until ok, looking again and again.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * within); !ok(); time.Sleep(time.Millisecond) { // polls
		require.True(t, time.Now().Before(deadline), "still not: %s", what)
	}
}

// formula is what doc.go allows for members, half of which have stalled, beside what
// a process has anyway. Each conn may hold the rest of a frame and another, or 16
// KiB, twice over if a slice has grown.
func formula(conns, frame int) int64 {
	const constant = 16 << 10 // two stacks and what they point at
	return 2*scaleBacklog + 16<<20 + int64(conns)*int64(constant+2*(frame+max(frame, 16<<10)))
}

// TestScale has 9,500 members in a room.
func TestScale(t *testing.T) {
	requireLong(t)
	before := measure(t)
	t.Run("stalled readers", func(t *testing.T) {
		crowd := newCrowd(t, 2)
		testStalledReaders(t, crowd)
	})
	t.Run("half-sent frames", testHalfSent)
	t.Run("close", testCloseStalled)
	t.Run("close TLS", testCloseStalledTLS)
	eventually(t, "all as it was", func() bool {
		after := measure(t)
		return after.goroutines <= before.goroutines && after.descriptors <= before.descriptors+2 &&
			after.memory <= before.memory+16<<20
	})
	t.Logf("before: %v; after: %v", before, measure(t))
}

// testStalledReaders: all join, a message reaches all, half of them stall while some
// is sent, nearly all while much is sent, and then all get what follows.
func testStalledReaders(t *testing.T, crowd *crowd) {
	room := scaleRoom(tcproom.Skip)
	addr := serve(t, room)
	before := measure(t)
	start := time.Now()
	crowd.dial(scaleMembers, "tcp", addr)
	eventually(t, "all have joined", func() bool { return room.Len() == scaleMembers })
	t.Logf("%d joins took %v", scaleMembers, time.Since(start))
	idle := measure(t)
	t.Logf("quiet: %v, %d bytes a member", idle, (idle.memory-before.memory)/scaleMembers)

	start = time.Now()
	say(t, room, []byte("all-1"))
	crowd.tell("await *: all-1")
	t.Logf("a message reached all in %v", time.Since(start))

	large := bytes.Repeat([]byte("x"), scaleFrame)
	flood := func(reading, total int, body []byte, mark string) {
		t.Helper()
		crowd.stall(reading)
		start := time.Now()
		gaps := 0
		round := 1 << 20 / (len(body) + 32) // as much as readers may lag
		for n := range total / len(body) {
			if say(t, room, body); n%round == round-1 {
				say(t, room, fmt.Appendf(nil, "%s-%d", mark, n))
				gaps += crowd.tell("await *: %s-%d", mark, n)
			}
		}
		say(t, room, []byte(mark))
		gaps += crowd.tell("await *: %s", mark)
		took := time.Since(start)
		stalled := measure(t)
		t.Logf("%d messages of %d bytes to %d who read and %d who do not took %v: %v, %d bytes a member, %d skipped",
			total/len(body), len(body), reading, scaleMembers-reading, took,
			stalled, (stalled.memory-before.memory)/scaleMembers, room.Stats().Skipped)
		limit := formula(scaleMembers, scaleFrame)
		require.Less(t, stalled.memory-before.memory, limit)
		require.Zero(t, gaps, "those who keep up miss nothing")
		require.Equal(t, scaleMembers, room.Len())
	}
	flood(scaleMembers/2, 1<<20, large, "half")
	flood(50, 64<<20, large, "most")
	flood(50, 600<<10, []byte("x"), "small") // 13 MB of frames and their charges
	require.NotZero(t, room.Stats().Skipped)

	crowd.tell("resume")
	say(t, room, []byte("all-2"))
	crowd.tell("await *: all-2")
	require.Equal(t, scaleMembers, room.Len())
	crowd.tell("close")
	eventually(t, "all have left", func() bool { return room.Len() == 0 && room.Stats().Pending == 0 })
	require.EqualValues(t, scaleMembers, room.Stats().Joined)
	eventually(t, "all as it was", func() bool {
		after := measure(t)
		return after.goroutines <= before.goroutines && after.descriptors <= before.descriptors && after.memory <= before.memory+16<<20
	})
	t.Logf("before: %v; after: %v", before, measure(t))
}

// testHalfSent: 10,000 members have sent half of a frame each.
func testHalfSent(t *testing.T) {
	const members = 10000
	crowd := newCrowd(t, 2)
	room := scaleRoom(tcproom.Disconnect)
	addr := serve(t, room)
	before := measure(t)
	crowd.dial(members, "tcp", addr)
	eventually(t, "all have joined", func() bool { return room.Len() == members })
	joined := measure(t)
	crowd.tell("say %d", scaleFrame/2)
	eventually(t, "all is read", func() bool { return measure(t).memory-joined.memory > members*(scaleFrame/2) })
	held := measure(t)
	t.Logf("%d halves of frames of %d bytes: %v, %d bytes a member", members, scaleFrame, held, (held.memory-before.memory)/members)
	require.Less(t, held.memory-before.memory, int64(16<<20+members*(16<<10+2*scaleFrame)))
	crowd.tell("close")
	eventually(t, "all have left", func() bool { return room.Len() == 0 })
	require.EqualValues(t, members, room.Stats().Left[tcproom.Cause("cut-off")])
}

// testCloseStalled: Close cuts 9,500 members that do not read within a second.
func testCloseStalled(t *testing.T) {
	requireClose(t, scaleMembers, "tcp", time.Second)
}

// testCloseStalledTLS: and 500 of TLS within two.
func testCloseStalledTLS(t *testing.T) {
	web := httptest.NewTLSServer(nil) // for its certificate
	defer web.Close()
	requireClose(t, 500, "tls", 2*time.Second, tcproom.WithTLS(&tls.Config{Certificates: web.TLS.Certificates}))
}

// requireClose gives Close three tries: the machine may have other things to do.
func requireClose(t *testing.T, members int, how string, limit time.Duration, opts ...tcproom.ConnOption) {
	t.Helper()
	var took []time.Duration
	for len(took) < 3 && (len(took) == 0 || slices.Min(took) > limit) {
		took = append(took, closeStalled(t, members, how, opts...))
	}
	require.LessOrEqual(t, slices.Min(took), limit, "%v", took)
}

// closeStalled returns how long Close takes.
func closeStalled(t *testing.T, members int, how string, opts ...tcproom.ConnOption) time.Duration {
	t.Helper()
	crowd := newCrowd(t, 2)
	room := scaleRoom(tcproom.Skip)
	addr := serve(t, room, opts...)
	crowd.dial(members, how, addr)
	eventually(t, "all have joined", func() bool { return room.Len() == members })
	crowd.stall(0)
	for range 2 * scaleBacklog / scaleFrame {
		say(t, room, bytes.Repeat([]byte("x"), scaleFrame))
	}
	eventually(t, "all wait", func() bool { return room.Stats().Skipped > uint64(members) })
	stalled := measure(t)
	start := time.Now()
	require.NoError(t, room.Close())
	took := time.Since(start)
	t.Logf("Close of %d stalled members (%s, %v) took %v", members, how, stalled, took)
	select {
	case <-room.Done():
	default:
		t.Error("Close has returned and the room is not done")
	}
	crowd.tell("close")
	return took
}
