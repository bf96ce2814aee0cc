package tcproom_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/internal/testkit"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// TestSlowIsDisconnected: a member that stops reading ends with ErrSlow and a
// reset; nobody else notices.
func TestSlowIsDisconnected(t *testing.T) {
	for _, codec := range []tcproom.Codec{tcproom.Text{}, tcproom.Raw{}} {
		for _, policy := range []tcproom.SlowPolicy{tcproom.Disconnect, tcproom.Skip, -77} {
			if _, isRaw := codec.(tcproom.Raw); policy == tcproom.Skip && !isRaw {
				continue // Skip means Disconnect only where the codec has no gaps
			}
			t.Run(fmt.Sprintf("%T %v", codec, policy), func(t *testing.T) {
				checkGoroutines(t)
				left := newCauses()
				room := slowRoom(tcproom.WithSlowMembers(policy), tcproom.WithCodec(codec), tcproom.OnLeave(left.Left), tcproom.WithNotices(false))
				addr := serveTCP(t, room)
				w := dial(t, addr, tcproom.WithCodec(codec))
				nc := dialSmall(t, addr, "")
				waitLen(t, room, 2)
				flood(t, room, w, 0, 1000)
				require.ErrorIs(t, left.Next(t), tcproom.ErrSlow)
				waitLen(t, room, 1)
				require.EqualValues(t, map[tcproom.Cause]uint64{tcproom.ErrSlow: 1}, room.Stats().Left)
				_, err := io.Copy(io.Discard, nc)
				require.ErrorIs(t, err, syscall.ECONNRESET)
				flood(t, room, w, 1000, 100)
			})
		}
	}
}

const helloLine = `{"type":"hello","name":"slow"}` + "\n"

// TestSlowSkips: with Skip a member that reads again gets what was before, a
// gap that names exactly what is missing, and then everything live (P6).
func TestSlowSkips(t *testing.T) { eachSeqs(t, slowSkips) }

func slowSkips(t *testing.T, s testkit.Seqs) {
	room := slowRoom(s.Option(), tcproom.WithSlowMembers(tcproom.Skip), tcproom.WithCodec(tcproom.JSON{}))
	addr := serveTCP(t, room)
	w := dial(t, addr, tcproom.WithCodec(tcproom.JSON{}))
	nc := dialSmall(t, addr, helloLine)
	waitLen(t, room, 2)
	m := memberOf(t, room, 1)
	slow := tcproom.NewConn(&preread{Conn: nc}, tcproom.WithCodec(tcproom.JSON{}))
	defer slow.Close()

	var events, gaps, missed uint64
	at := uint64(0)
	until := func(last uint64) { // reads until last, and holds it against P6
		t.Helper()
		for at < last {
			switch ev := next(t, slow); ev.Kind {
			case tcproom.Welcome:
				at = ev.Seq
			case tcproom.Gap:
				require.Equal(t, s.At(s.Place(at)+1), ev.Gap.First)
				require.GreaterOrEqual(t, ev.Gap.Last, ev.Gap.First)
				require.Equal(t, s.At(s.Place(ev.Gap.Last)), ev.Gap.Last, "an event")
				gaps++
				require.Equal(t, s.Place(ev.Gap.Last)-s.Place(at), ev.Skipped)
				missed += ev.Skipped
				at = ev.Gap.Last
			case tcproom.Message:
				at = s.At(s.Place(at) + 1)
				require.Equal(t, at, ev.Seq)
				events++
			case tcproom.Direct:
				require.Equal(t, "never skipped", string(ev.Body))
			default:
				t.Fatalf("got %v", ev)
			}
		}
	}
	for round := range 3 {
		flood(t, room, w, 2000*round, 2000)
		require.NoError(t, m.Send(testContext(t), []byte("never skipped")))
		last := broadcast(t, room, []byte("last"))
		require.Equal(t, "last", nextMessage(t, w))
		until(last)
	}
	require.GreaterOrEqual(t, gaps, uint64(3))
	require.Equal(t, room.Stats().Messages, events+missed)
	require.Equal(t, missed, room.Stats().Skipped)
	slow.Close()
	waitLen(t, room, 1)
	require.Equal(t, missed, room.Stats().Skipped)
}

// preread drops the hello that NewConn would say a second time.
type preread struct {
	net.Conn
	once sync.Once
}

func (p *preread) Write(b []byte) (n int, err error) {
	said := false
	p.once.Do(func() { said = true })
	if said {
		return len(b), nil
	}
	return p.Conn.Write(b)
}

// TestBlockHoldsMessages: with Block messages wait for a member that does not
// read, and nothing is lost; the context of who speaks ends the wait; joins and
// leaves are not held back and cut nobody.
func TestBlockHoldsMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := roomtest.NewMemServer(t, tcproom.WithMaxMessage(4<<10), tcproom.WithBacklog(64<<10), tcproom.WithWriteTimeout(2*time.Hour),
			tcproom.WithSlowMembers(tcproom.Block(time.Hour)))
		room, slow := srv.Room, srv.Join("slow")
		slow.Link.In(roomtest.Stall())
		said := 0
		block := func() {
			t.Helper()
			for {
				start := time.Now()
				ctx, cancel := context.WithTimeoutCause(context.Background(), time.Minute, io.ErrNoProgress)
				_, err := room.Broadcast(ctx, kib(said))
				cancel()
				if err != nil {
					require.ErrorIs(t, err, io.ErrNoProgress)
					require.Equal(t, time.Minute, time.Since(start))
					return
				}
				said++
			}
		}
		block()
		require.Greater(t, said, 32, "the backlog is there to be used")
		var notices []roomtest.Match
		for i := range 15 {
			start := time.Now()
			name := fmt.Sprint("churn-", i)
			srv.Join(name).Leave()
			require.Zero(t, time.Since(start))
			notices = append(notices, roomtest.Joined(name), roomtest.Left(name))
		}
		require.Equal(t, 1, room.Len(), "who holds messages up is still there")
		before := said
		block()

		slow.Link.In()
		var want []roomtest.Match
		for i := range before {
			want = append(want, roomtest.Message("*", string(kib(i))))
		}
		want = append(want, notices...)
		for i := before; i < said; i++ {
			want = append(want, roomtest.Message("*", string(kib(i))))
		}
		at := slow.Welcome.Seq
		for _, ev := range slow.Expect(want...) {
			at++
			require.Equal(t, at, ev.Seq)
		}
		broadcast(t, room, []byte("goes on"))
		slow.Expect(roomtest.Message("*", "goes on"))
	})
}

// TestBlockCutsAfterItsTime: exactly then the member that holds everybody up
// goes, and not the one who speaks.
func TestBlockCutsAfterItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := newCauses()
		room := slowRoom(tcproom.WithSlowMembers(tcproom.Block(3*time.Second)), tcproom.OnLeave(left.Left), tcproom.WithNotices(false))
		stalled, w := join(t, room), join(t, room)
		speaker := join(t, room)
		var got atomic.Int64
		reading := make(chan struct{})
		go func() {
			defer close(reading)
			for ev, err := range w.Events(context.Background()) {
				if err != nil {
					return
				}
				if string(ev.Body) != string(kib(int(got.Add(1)-1))) {
					t.Errorf("got %.20q", ev.Body)
				}
			}
		}()
		start := time.Now()
		for i := range 100 {
			send(t, speaker, string(kib(i)))
		}
		time.Sleep(100 * time.Millisecond) // until the pipe counts as waiting
		synctest.Wait()
		held := got.Load()
		require.Less(t, held, int64(100))
		require.Equal(t, 3, room.Len())
		time.Sleep(2800 * time.Millisecond)
		synctest.Wait()
		require.Equal(t, 3, room.Len())
		require.Equal(t, held, got.Load())
		require.ErrorIs(t, left.Next(t), tcproom.ErrSlow)
		require.InDelta(t, 3, time.Since(start).Seconds(), 0.1)
		synctest.Wait()
		require.Equal(t, 2, room.Len())
		require.EqualValues(t, 100, got.Load())
		stalled.Close()
		speaker.Close()
		w.Close()
		room.Close()
		<-reading
		<-room.Done()
	})
}

// TestBlockMutual: two members that flood and never read end within a bounded
// time (F65), and a third loses nothing that was ordered.
func TestBlockMutual(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		left := newCauses()
		room := slowRoom(tcproom.WithSlowMembers(tcproom.Block(time.Minute)), tcproom.WithWriteTimeout(time.Hour), tcproom.OnLeave(left.Left))
		w := join(t, room)
		go func() {
			for range w.Events(context.Background()) {
			}
		}()
		a, _ := enter(t, room)
		b, _ := enter(t, room)
		synctest.Wait()
		require.Equal(t, 3, room.Len())
		for _, nc := range []net.Conn{a, b} {
			go func() {
				line := append(kib(0), '\n')
				for {
					if _, err := nc.Write(line); err != nil {
						return
					}
				}
			}()
		}
		require.ErrorIs(t, <-left.C, tcproom.ErrSlow)
		require.InDelta(t, time.Minute, time.Since(start), float64(time.Second))
		a.Close()
		b.Close()
		<-left.C
		synctest.Wait()
		require.Equal(t, 1, room.Len())
		require.NoError(t, w.Err())
		w.Close()
		require.NoError(t, room.Close())
	})
}

// TestP12StalledMembersDelayNobody: whatever the transport of one that stops
// reading, two others chat on at full speed while it is overrun.
func TestP12StalledMembersDelayNobody(t *testing.T) {
	server, client := testTLS()
	for _, policy := range []tcproom.SlowPolicy{tcproom.Disconnect, tcproom.Skip} {
		for _, transport := range []string{"tcp", "tls", "pipe"} {
			t.Run(policy.String()+" "+transport, func(t *testing.T) {
				room := slowRoom(tcproom.WithSlowMembers(policy), tcproom.WithNotices(false), tcproom.WithWriteTimeout(time.Hour))
				addr := serveTCP(t, room)
				a, b := dial(t, addr), dial(t, addr)
				opts := []tcproom.DialOption{tcproom.WithSocketBuffers(small, small)}
				var stalled *tcproom.Conn
				switch transport {
				case "tcp":
					stalled = dial(t, addr, opts...)
				case "tls":
					stalled = dial(t, serveTCP(t, room, tcproom.WithTLS(server)), append(opts, tcproom.WithTLS(client))...)
				case "pipe":
					stalled = join(t, room)
				}
				waitLen(t, room, 3)
				start := time.Now()
				for i := range 500 {
					send(t, a, string(kib(i)))
					require.Equal(t, string(kib(i)), nextMessage(t, b))
				}
				if d := time.Since(start); d > 10*time.Second {
					t.Fatalf("500 messages took %v", d)
				}
				if policy == tcproom.Disconnect {
					waitLen(t, room, 2)
				} else {
					eventually(t, "it skips", func() bool { return room.Stats().Skipped > 0 })
				}
				room.Close()
				stalled.Close()
			})
		}
	}
}

// TestP14StalledReaders: two thousand readers that have stopped cost one
// backlog and a constant each.
func TestP14StalledReaders(t *testing.T) {
	if testing.Short() {
		t.Skip("2,000 connections")
	}
	const n, backlog = 2000, 4 << 20
	room := tcproom.New(tcproom.WithSlowMembers(tcproom.Skip), tcproom.WithBacklog(backlog),
		tcproom.WithSocketBuffers(small, small), tcproom.WithNotices(false), tcproom.WithWriteTimeout(time.Hour))
	addr := serveTCP(t, room)
	w := dial(t, addr)
	for range n {
		dialSmall(t, addr, "")
	}
	waitLen(t, room, n+1)
	before := memory()
	flood(t, room, w, 0, 16<<10)
	eventually(t, "all skip", func() bool { return room.Stats().Skipped > n*4<<10 })
	grown := memory() - before
	// The backlog in segments, and for each conn a goroutine that waits and
	// at most 16 KiB that it has taken, in a buffer of at most twice that.
	if limit := int64(2*backlog + n*(32<<10+8<<10) + 16<<20); grown > limit && !raceEnabled {
		t.Fatalf("memory grew by %d bytes, the limit is %d", grown, limit)
	}
	t.Logf("%d bytes a stalled reader", grown/n)
	require.Equal(t, n+1, room.Len())
}

// TestE1FastSender: whoever's own connection takes what comes is not cut,
// however fast one sends and however small the backlog is. A burst fits the
// kernel's buffers, or the backlog where the transport has none, so that
// readers that the machine is late to run are not slow by that.
func TestE1FastSender(t *testing.T) {
	server, client := testTLS()
	raw := tcproom.WithCodec(tcproom.Raw{})
	tests := []struct {
		name           string
		backlog, burst int
		others         bool // than TCP
	}{
		{name: "smallest backlog", backlog: 1, burst: 128, others: false},
		{name: "default backlog", backlog: 0, burst: 1 << 10, others: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			const size = 1 << 10
			total := 64 << 20
			if raceEnabled || testing.Short() {
				total = 8 << 20
			}
			if !direct && !tt.others {
				// A write that the machine is late to run counts as waiting.
				tt.burst, total = 4, 4<<20
			}
			left := newCauses()
			room := tcproom.New(raw, tcproom.WithBacklog(tt.backlog), tcproom.WithMaxMessage(size), tcproom.OnLeave(left.Left))
			addr := serveTCP(t, room)
			readers := []*tcproom.Conn{dial(t, addr, raw), dial(t, addr, raw), dial(t, addr, raw)}
			if tt.others {
				secure := serveTCP(t, room, tcproom.WithTLS(server))
				readers = append(readers, dial(t, secure, raw, tcproom.WithTLS(client)), join(t, room))
			}
			nc := dialRaw(t, addr)
			waitLen(t, room, len(readers)+1)
			filler := bytes.Repeat([]byte("x"), size-8)
			for first := 0; first < total/size; first += tt.burst {
				var burst []byte
				for i := range tt.burst {
					burst = fmt.Appendf(burst, "%08d%s\n", first+i, filler)
				}
				var wg sync.WaitGroup
				for _, c := range readers {
					wg.Go(func() {
						for i := range tt.burst {
							ev, err := c.Receive(context.Background())
							if err != nil || string(ev.Body[:8]) != fmt.Sprintf("%08d", first+i) {
								t.Errorf("got %.8q, %v at %d", ev.Body, err, first+i)
								return
							}
						}
					})
				}
				_, err := nc.Write(burst)
				require.NoError(t, err)
				wg.Wait()
				require.False(t, t.Failed())
			}
			require.Empty(t, left.C)
			require.Equal(t, len(readers)+1, room.Len())
		})
	}
}
