package tcproom_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// bucket is a token bucket: perSecond come in each second, at most burst are kept.
type bucket struct {
	perSecond, burst int

	mu    sync.Mutex
	spent []int
	debt  time.Time // when the bucket would be full again
}

func (b *bucket) WaitN(ctx context.Context, n int) error {
	if n > b.burst {
		return fmt.Errorf("%d exceeds the burst %d", n, b.burst)
	}
	b.mu.Lock()
	b.spent = append(b.spent, n)
	now := time.Now()
	if b.debt.Before(now) {
		b.debt = now
	}
	b.debt = b.debt.Add(time.Duration(n) * time.Second / time.Duration(b.perSecond))
	wait := b.debt.Sub(now) - time.Duration(b.burst)*time.Second/time.Duration(b.perSecond)
	b.mu.Unlock()
	if wait <= 0 {
		return nil
	}
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestF16RateDelays: frames are received exactly when the limiter lets them, empty
// ones take their share, and what came before one that waits does not wait with it.
func TestF16RateDelays(t *testing.T) {
	for _, test := range []struct {
		name string
		hook bool
	}{{name: "to the sequencer", hook: false}, {name: "to OnMessage", hook: true}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const frame = 2 + frameCharge                   // "x\n"
				l := &bucket{perSecond: 1000, burst: 2 * frame} // a byte is a millisecond
				var opts []tcproom.RoomOption
				var heard []time.Duration
				start := time.Now()
				if test.hook {
					opts = append(opts, tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) { return body, nil }))
				}
				room := tcproom.New(append(opts, tcproom.WithNotices(false), tcproom.WithFraming(tcproom.Lines{}))...)
				listener, heardAll := pipe(room)
				synctest.Wait()
				nc, served := pipe(room, limited(l))
				go nc.Write([]byte(strings.Repeat("x\n", 5) + "\nx\n"))
				lines := bufio.NewScanner(listener)
				for range 6 {
					require.True(t, lines.Scan())
					heard = append(heard, time.Since(start))
				}
				const each = frame * time.Millisecond
				require.Equal(t, []time.Duration{0, 0, each, 2 * each, 3 * each, 5*each - time.Millisecond}, heard)
				require.Equal(t, []int{frame, frame, frame, frame, frame, frame - 1, frame}, l.spent)
				nc.Close()
				require.NoError(t, <-served)
				listener.Close()
				<-heardAll
				require.NoError(t, room.Close())
			})
		})
	}
}

// TestF16AllFramesCost, also those that say nothing, and nothing before the join.
func TestF16AllFramesCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &bucket{perSecond: 1 << 20, burst: 1 << 20}
		room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), limited(l))
		nc, served := pipe(room)
		go io.Copy(io.Discard, nc)
		frames := []string{`{"type":"message","body":"hi"}`, `{"type":"what?"}`, `{"type":"ping"}`, `{"type":"pong"}`}
		fmt.Fprint(nc, `{"type":"hello"}`+"\n"+strings.Join(frames, "\n")+"\n")
		synctest.Wait() // a close now could fail an answer, and with it the frames behind it
		nc.Close()
		<-served
		var want []int
		for _, f := range frames {
			want = append(want, len(f)+1+frameCharge)
		}
		require.Equal(t, want, l.spent)
		require.EqualValues(t, 1, room.Stats().Messages)
		require.NoError(t, room.Close())
	})
}

// TestRateLimited: a frame that can never be paid for ends the conn, and says so.
func TestRateLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := newCauses()
		room := tcproom.New(limited(&bucket{perSecond: 1, burst: 100}), tcproom.OnLeave(left.Left))
		nc, served := pipe(room)
		fmt.Fprint(nc, "ok\n", strings.Repeat("x", 100), "\n", "after it\n")
		said, err := io.ReadAll(nc)
		require.NoError(t, err)
		require.Equal(t, "* goodbye: rate limit: a frame of 101 bytes, charged as 133: 133 exceeds the burst 100\n", string(said))
		err = <-served
		require.ErrorIs(t, err, errRateLimited)
		require.ErrorIs(t, left.Next(t), errRateLimited)
		require.EqualValues(t, 1, room.Stats().Messages)
		require.EqualValues(t, 1, room.Stats().Left[errRateLimited])
		require.NoError(t, room.Close())
	})
}

// TestRateWaitEndsWithTheConn, at once.
func TestRateWaitEndsWithTheConn(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(*tcproom.Room) error
		want error
	}{
		{name: "kick", end: func(r *tcproom.Room) error { return only(r).Kick("flood") }, want: tcproom.ErrKicked},
		{name: "close of the room", end: func(r *tcproom.Room) error { return r.Close() }, want: tcproom.ErrRoomClosed},
		{name: "shutdown", end: func(r *tcproom.Room) error { return r.Shutdown(context.Background()) }, want: tcproom.ErrRoomClosed},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				room := tcproom.New(limited(&bucket{perSecond: 1, burst: 1000}))
				nc, served := pipe(room)
				for range 30 {
					fmt.Fprint(nc, "hello\n")
				}
				go io.Copy(io.Discard, nc)
				synctest.Wait()
				start := time.Now()
				require.NoError(t, test.end(room))
				require.ErrorIs(t, <-served, test.want)
				require.Zero(t, time.Since(start))
				nc.Close()
				require.NoError(t, room.Close())
			})
		})
	}
}

// TestRateStopsTheIdleClock: whoever is held back is not idle.
func TestRateStopsTheIdleClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New(limited(&bucket{perSecond: 1, burst: 1000}), tcproom.WithIdleTimeout(5*time.Second))
		nc, served := pipe(room)
		go io.Copy(io.Discard, nc)
		start := time.Now()
		fmt.Fprint(nc, strings.Repeat("x", 900), "\n")
		fmt.Fprint(nc, strings.Repeat("x", 200), "\n")
		require.ErrorIs(t, <-served, errIdleTimeout)
		held := 901 + 201 + 2*frameCharge - 1000
		require.Equal(t, time.Duration(held+5)*time.Second, time.Since(start))
		nc.Close()
		require.NoError(t, room.Close())
	})
}

// TestRateIsContained: what the option's function and the limiter do amiss ends
// that conn alone; one that ignores its context is named.
func TestRateIsContained(t *testing.T) {
	inside, blocked := make(chan struct{}), make(chan struct{})
	for _, test := range []struct {
		name   string
		rate   func(*tcproom.Member) tcproom.Limiter
		joined bool
	}{
		{name: "function panics", rate: func(*tcproom.Member) tcproom.Limiter { panic("boo") }, joined: false},
		{name: "limiter panics", rate: func(*tcproom.Member) tcproom.Limiter {
			return waitFunc(func(context.Context, int) error { panic("boo") })
		}, joined: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gone := newCauses()
				room := tcproom.New(tcproom.OnLeave(gone.Left), tcproom.OnReject(gone.Rejected))
				nc, served := pipe(room, tcproom.WithRate(test.rate))
				go fmt.Fprint(nc, "hi\n")
				go io.Copy(io.Discard, nc)
				var he *tcproom.HookError
				require.ErrorAs(t, <-served, &he)
				require.Equal(t, "boo", he.Panic)
				require.ErrorIs(t, gone.Next(t), tcproom.ErrHook)
				require.Equal(t, test.joined, room.Stats().Joined == 1)
				nc.Close()
				require.NoError(t, room.Close())
			})
		})
	}
	room := tcproom.New(limited(waitFunc(func(context.Context, int) error { close(inside); <-blocked; return nil })))
	nc, served := pipe(room)
	fmt.Fprint(nc, "hi\n")
	go io.Copy(io.Discard, nc)
	<-inside
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := room.Shutdown(ctx)
	var stop *tcproom.StopError
	require.True(t, errors.As(err, &stop), "%v", err)
	require.Equal(t, "Limiter of WithRate", stop.Stuck[0].Hook)
	close(blocked)
	<-served
	nc.Close()
	waitDone(t, room)
}

// TestRateAndFailingHook: a message that fails is not tried again.
func TestRateAndFailingHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heard []string
		room := tcproom.New(limited(&bucket{perSecond: 1 << 20, burst: 1 << 20}), tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) {
			if heard = append(heard, string(body)); string(body) == "bad" {
				return nil, errors.New("no")
			}
			return nil, nil
		}))
		nc, served := pipe(room)
		fmt.Fprint(nc, "good\nbad\nlate\n")
		go io.Copy(io.Discard, nc)
		require.ErrorIs(t, <-served, tcproom.ErrHook)
		require.Equal(t, []string{"good", "bad"}, heard)
		nc.Close()
		require.NoError(t, room.Close())
	})
}

// TestNoLimiter: a nil one means none.
func TestNoLimiter(t *testing.T) {
	room := tcproom.New(limited(nil))
	a, b := join(t, room), join(t, room)
	send(t, a, "hi")
	require.Equal(t, "hi", nextMessage(t, b))
	require.NoError(t, room.Close())
}

// TestF64LimitersOutliveConns: with a limiter for each address, who comes back
// has not got more than who stayed.
func TestF64LimitersOutliveConns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const frame = 2 + frameCharge
		var mu sync.Mutex
		buckets := map[string]*bucket{}
		left := newCauses()
		srv := roomtest.NewMemServer(t, tcproom.WithNotices(false), tcproom.OnLeave(left.Left), tcproom.WithRate(func(c *tcproom.Member) tcproom.Limiter {
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			mu.Lock()
			defer mu.Unlock()
			if buckets[host] == nil {
				buckets[host] = &bucket{perSecond: frame, burst: 3 * frame}
			}
			return buckets[host]
		}))
		start := time.Now()
		for range 4 {
			nc, err := srv.Net.DialFrom(t.Context(), "192.0.2.2", srv.Addr)
			require.NoError(t, err)
			defer nc.Close()
			fmt.Fprint(nc, "a\nb\nc\n")
			nc.(*roomtest.Conn).CloseWrite()
			require.ErrorIs(t, left.Next(t), io.EOF)
		}
		require.Equal(t, 9*time.Second, time.Since(start)) // 12 frames, 3 of them at once
		other, err := srv.Net.DialFrom(t.Context(), "192.0.2.1", srv.Addr)
		require.NoError(t, err)
		fmt.Fprint(other, "a\nb\nc\n")
		other.Close()
		require.ErrorIs(t, left.Next(t), io.EOF)
		require.Equal(t, 9*time.Second, time.Since(start))
		require.EqualValues(t, 15, srv.Room.Stats().Messages)
	})
}
