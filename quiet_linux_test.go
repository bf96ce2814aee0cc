package tcproom_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// quietTick is that of the Lookout for waits from 16 to 32 seconds, and divides those
// for longer ones.
const quietTick = 1600 * time.Millisecond

// A quietHall is a room whose members are quiet, and whose Lookout has a clock that the
// test sets. Its codec is JSON and counts pings.
type quietHall struct {
	tcproom.JSON
	t    *testing.T
	room *tcproom.Room
	addr string

	pings  atomic.Int64 // of the room
	heeded atomic.Int64 // of those that a guest has dealt with, and the room with the answer
	guests sync.WaitGroup
	onPing func()

	mu      sync.Mutex
	now, at time.Duration
	epoll   *os.File
	left    map[string]quietEnd // by name
}

type quietEnd struct {
	at    time.Duration
	cause error
}

// AppendEvent implements tcproom.Codec.
func (h *quietHall) AppendEvent(dst []byte, ev *tcproom.Event) ([]byte, error) {
	if ev.Kind == tcproom.Ping {
		h.pings.Add(1)
		if h.onPing != nil {
			h.onPing()
		}
	}
	return h.JSON.AppendEvent(dst, ev)
}

func newQuietHall(t *testing.T, opts ...tcproom.RoomOption) *quietHall {
	t.Helper()
	if !direct {
		t.Skip("here each has a goroutine")
	}
	h := &quietHall{t: t, left: make(map[string]quietEnd)}
	t.Cleanup(h.guests.Wait)
	h.room = tcproom.New(append([]tcproom.RoomOption{tcproom.WithCodec(h), tcproom.WithNotices(false),
		tcproom.OnLeave(func(m *tcproom.Member, cause error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.left[m.Info().Name] = quietEnd{h.now, cause}
		}),
	}, opts...)...)
	tcproom.SetQuietClock(h.room, h.clock, func(epoll *os.File, at time.Duration) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.epoll, h.at = epoll, at
		h.ringLocked()
	})
	h.addr = serveTCP(t, h.room)
	return h
}

func (h *quietHall) clock() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

// ringLocked sets the deadline that fits the time.
func (h *quietHall) ringLocked() {
	var deadline time.Time
	if h.at != 0 && h.at <= h.now {
		deadline = time.Unix(1, 0)
	}
	_ = h.epoll.SetReadDeadline(deadline)
}

func (h *quietHall) pass(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now += d
	h.ringLocked()
}

// settled reports whether all that was due has been done, the guests have done their
// part, and no goroutine is left but the Lookout's and theirs.
func (h *quietHall) settled() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return (h.at == 0 || h.at > h.now) && h.heeded.Load() == h.pings.Load() && readers() == 0
}

// readers returns how many goroutines attend to links.
func readers() (n int) {
	stacks := make([]byte, 8<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for g := range bytes.SplitSeq(stacks, []byte("\n\n")) {
		if bytes.Contains(g, []byte(".(*Room).attend(")) || bytes.Contains(g, []byte(".attendTo.gowrap1(")) || bytes.Contains(g, []byte(".bringIn(")) {
			n++
		}
	}
	return n
}

// gone returns how members left, as soon as at least n have.
func (h *quietHall) gone(n int) map[string]quietEnd {
	h.t.Helper()
	var left map[string]quietEnd
	eventually(h.t, "the members to leave", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		left = maps.Clone(h.left)
		return len(left) >= n
	})
	return left
}

func (h *quietHall) settle() {
	h.t.Helper()
	eventually(h.t, "rest in the room", h.settled)
}

// passAll lets time pass tick by tick, in each of which everybody has the time that they
// need.
func (h *quietHall) passAll(d time.Duration) {
	h.t.Helper()
	for range int(d / quietTick) {
		h.pass(quietTick)
		h.settle()
	}
}

// guest is a member that answers pings, by a pong and a ping of its own, unless it is
// deaf.
func (h *quietHall) guest(name string, deaf bool) net.Conn {
	h.t.Helper()
	nc := dialRaw(h.t, h.addr)
	fmt.Fprintf(nc, `{"type":"hello","name":%q,"ping":true}`+"\n", name)
	r := bufio.NewReader(nc)
	line, err := r.ReadString('\n')
	require.NoError(h.t, err)
	require.Contains(h.t, line, "welcome")
	h.guests.Go(func() {
		defer nc.Close()
		for {
			line, err := r.ReadString('\n')
			switch {
			case err != nil:
				return
			case line == pongLine:
				h.heeded.Add(1)
			case line != pingLine:
			case deaf:
				h.heeded.Add(1)
			default:
				io.WriteString(nc, pongLine+pingLine)
			}
		}
	})
	return nc
}

// TestQuietMembersWithAClockHaveNoGoroutine: neither before they are pinged nor after
// that, and they stay members like any other.
func TestQuietMembersWithAClockHaveNoGoroutine(t *testing.T) {
	for _, test := range []struct {
		name string
		opts []tcproom.RoomOption
	}{
		{"heartbeat", []tcproom.RoomOption{tcproom.WithHeartbeat(30 * time.Second)}},
		{"and idle timeout", []tcproom.RoomOption{tcproom.WithHeartbeat(30 * time.Second), tcproom.WithIdleTimeout(time.Minute)}},
		{"and hooks", []tcproom.RoomOption{tcproom.WithHeartbeat(30 * time.Second), tcproom.WithSessions(tcproom.Sessions{}),
			tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) { return body, nil }),
			limited(waitFunc(func(context.Context, int) error { return nil }))}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newQuietHall(t, test.opts...)
			const n, periods = 200, 4
			for i := range n {
				h.guest(fmt.Sprint("guest", i), false)
			}
			h.settle()
			require.Zero(t, h.pings.Load())
			h.passAll(24*time.Second - quietTick)
			require.Zero(t, h.pings.Load(), "before its time")
			h.passAll(36*time.Second*periods - h.clock())
			require.GreaterOrEqual(t, h.pings.Load(), int64(n*(periods-1)))
			require.LessOrEqual(t, h.pings.Load(), int64(n*36*periods/24))
			require.Equal(t, n, h.room.Len())

			ada := dial(t, h.addr, tcproom.WithCodec(tcproom.JSON{}))
			requireEvent(t, ada, tcproom.Welcome, "guest-1", "")
			announce(t, h.room, "to all")
			requireEvent(t, ada, tcproom.Message, "", "to all")
		})
	}
}

// TestF30TheSilentAmongTheQuiet: a member that answers pings stays, and one that does
// not is ended within two periods and a tick.
func TestF30TheSilentAmongTheQuiet(t *testing.T) {
	h := newQuietHall(t, tcproom.WithHeartbeat(30*time.Second))
	const n = 60
	for i := range n {
		h.guest(fmt.Sprint("deaf", i), true)
		h.guest(fmt.Sprint("guest", i), false)
	}
	h.settle()
	h.passAll(48*time.Second - quietTick)
	require.Empty(t, h.gone(0))
	h.passAll(100*time.Second - h.clock())
	left := h.gone(n)
	require.Len(t, left, n)
	for name, end := range left {
		require.Contains(t, name, "deaf")
		require.ErrorIs(t, end.cause, errIdleTimeout)
		require.LessOrEqual(t, end.at, 72*time.Second+2*quietTick)
	}
	require.Equal(t, n, h.room.Len())
}

// TestIdleTimeoutOfTheQuiet: nothing is sent to those whose time is up before that.
func TestIdleTimeoutOfTheQuiet(t *testing.T) {
	h := newQuietHall(t, tcproom.WithIdleTimeout(20*time.Second))
	talker := h.guest("talker", true)
	const n = 50
	for i := range n {
		h.guest(fmt.Sprint("guest", i), true)
	}
	h.settle()
	h.passAll(10 * quietTick)
	h.heeded.Add(-1) // for the pong that answers the ping
	io.WriteString(talker, pingLine)
	h.settle()
	require.Empty(t, h.gone(0))
	h.passAll(3 * quietTick)
	left := h.gone(n)
	require.Len(t, left, n)
	for _, end := range left {
		require.ErrorIs(t, end.cause, errIdleTimeout)
		require.Equal(t, 13*quietTick, end.at, "the first tick after it")
	}
	require.Zero(t, h.pings.Load())
	require.Equal(t, 1, h.room.Len())
}

// TestF63FrozenRoomBlamesNoQuietMember: while this process did not run, its members were
// not silent as far as it knows.
func TestF63FrozenRoomBlamesNoQuietMember(t *testing.T) {
	h := newQuietHall(t, tcproom.WithHeartbeat(30*time.Second))
	const n = 20
	for i := range n {
		h.guest(fmt.Sprint("guest", i), false)
	}
	h.settle()
	h.pass(time.Hour)
	h.settle()
	require.Zero(t, h.pings.Load())
	h.passAll(2 * quietTick)
	require.Equal(t, int64(n), h.pings.Load(), "a tick later")
	h.pass(time.Hour)
	h.settle()
	require.Equal(t, n, h.room.Len())
	require.Empty(t, h.gone(0))
}

// TestPingsOfTheQuiet: a peer that sends heartbeats costs no goroutine, if the room
// has none of its own too.
func TestPingsOfTheQuiet(t *testing.T) {
	h := newQuietHall(t)
	nc := h.guest("ada", true)
	h.guest("bob", true) // for whom there is the Lookout's goroutine
	for i := range 100 {
		h.heeded.Add(-1)
		io.WriteString(nc, pingLine)
		h.settle()
		if i == 50 { // what is no whole frame is waited for by a reader
			io.WriteString(nc, pingLine[:5])
			eventually(t, "a reader", func() bool { return readers() == 1 })
			h.heeded.Add(-1)
			io.WriteString(nc, pingLine[5:])
			h.settle()
		}
	}
	require.Equal(t, 2, h.room.Len())
	require.Zero(t, h.room.Stats().Messages)
}

// TestTalkersRest: a member that has sent messages has a goroutine until it has been
// silent for a period.
func TestTalkersRest(t *testing.T) {
	h := newQuietHall(t, tcproom.WithHeartbeat(100*time.Millisecond))
	nc := h.guest("ada", true) // so it is the silence after which it rests, and no pong
	h.guest("bob", false)      // for whom there is the Lookout's goroutine
	for n := range uint64(3) {
		fmt.Fprintln(nc, `{"type":"message","body":"hi"}`)
		eventually(t, "the message", func() bool { return h.room.Stats().Messages == n+1 })
		require.False(t, h.settled(), "it may go on")
		h.settle()
	}
	require.Equal(t, 2, h.room.Len())
}

// TestPingThatEndsTheGoroutine: the codec's runtime.Goexit ends its member, and nobody
// else's is waited for any less.
func TestPingThatEndsTheGoroutine(t *testing.T) {
	h := newQuietHall(t, tcproom.WithHeartbeat(30*time.Second))
	var fails atomic.Bool
	h.onPing = func() {
		if fails.Load() {
			runtime.Goexit()
		}
	}
	h.guest("ada", false)
	h.settle()
	h.passAll(20 * time.Second)
	h.guest("bob", false) // whose time is up later
	h.settle()
	fails.Store(true)
	gone := func() bool { h.mu.Lock(); defer h.mu.Unlock(); return len(h.left) > 0 }
	for h.clock() < 40*time.Second && !gone() {
		h.pass(quietTick)
		eventually(t, "the tick", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return h.at > h.now })
		if h.pings.Load() > 0 {
			eventually(t, "the end", gone)
		}
	}
	require.ErrorIs(t, h.left["ada"].cause, tcproom.ErrHook)
	fails.Store(false)
	h.heeded.Store(h.pings.Load())
	h.settle()
	pings := h.pings.Load()
	h.passAll(80*time.Second - h.clock())
	require.Greater(t, h.pings.Load(), pings)
	require.Equal(t, 1, h.room.Len())
}

// TestStopOfQuietMembersWithAClock: Shutdown and Close reach those who rest, while
// they are pinged and answer.
func TestStopOfQuietMembersWithAClock(t *testing.T) {
	for _, stop := range []func(*tcproom.Room) error{
		func(r *tcproom.Room) error { return r.Shutdown(context.Background()) },
		(*tcproom.Room).Close,
	} {
		for range 10 {
			h := newQuietHall(t, tcproom.WithHeartbeat(30*time.Second))
			const n = 30
			for i := range n {
				h.guest(fmt.Sprint("guest", i), i%2 == 0)
			}
			stopped := make(chan struct{})
			var clock sync.WaitGroup
			clock.Go(func() {
				for {
					select {
					case <-stopped:
						return
					default:
						h.pass(quietTick)
						runtime.Gosched()
					}
				}
			})
			for range rand.N(200) {
				runtime.Gosched()
			}
			require.NoError(t, stop(h.room))
			waitDone(t, h.room)
			close(stopped)
			clock.Wait()
			h.guests.Wait()
			h.mu.Lock()
			require.Len(t, h.left, n)
			h.mu.Unlock()
		}
	}
}

// TestQuietRace: members that rest, are pinged, answer, talk, are kicked and leave at
// one instant: each leaves once, and nothing is left.
func TestQuietRace(t *testing.T) {
	checkGoroutines(t)
	var joins atomic.Int64
	h := newQuietHall(t, tcproom.WithHeartbeat(20*time.Second), tcproom.WithIdleTimeout(50*time.Second),
		tcproom.OnJoin(func(*tcproom.Member) error { joins.Add(1); return nil }))
	stopped := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() {
		defer close(stopped)
		for joins.Load() < 300 {
			for m := range h.room.Members() {
				if rand.N(40) == 0 {
					m.Kick("enough")
				}
			}
			runtime.Gosched()
		}
	})
	others.Go(func() {
		for {
			select {
			case <-stopped:
				return
			default:
				if h.epollSet() {
					h.pass(quietTick)
				}
				runtime.Gosched()
			}
		}
	})
	for i := 0; ; i++ {
		select {
		case <-stopped:
		default:
			nc := h.guest(fmt.Sprint("guest", i), i%3 == 0)
			switch i % 4 {
			case 0:
				io.WriteString(nc, pingLine)
			case 1:
				io.WriteString(nc, `{"type":"message","body":"hi"}`+"\n")
			case 2:
				io.WriteString(nc, pingLine+strings.Repeat(" ", 3))
			}
			if i%5 == 0 {
				nc.Close()
			}
			continue
		}
		break
	}
	others.Wait()
	require.NoError(t, h.room.Close())
	waitDone(t, h.room)
	h.guests.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	require.Equal(t, int(joins.Load()), len(h.left))
}

func (h *quietHall) epollSet() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.epoll != nil
}
