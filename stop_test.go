package tcproom_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// TestHandshakeTimeout: exactly when the deadline has come, whoever drips bytes.
func TestHandshakeTimeout(t *testing.T) {
	for _, test := range []struct {
		name  string
		hook  bool
		drips bool
	}{{name: "silent"}, {name: "dripping", drips: true}, {name: "in the hook", hook: true}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				causes := newCauses()
				opts := []tcproom.RoomOption{
					tcproom.WithHandshakeTimeout(7 * time.Second),
					tcproom.OnReject(causes.Rejected),
					tcproom.OnJoin(func(*tcproom.Member) error { t.Error("OnJoin was called"); return nil }),
					tcproom.OnLeave(func(*tcproom.Member, error) { t.Error("OnLeave was called") }),
				}
				if test.hook {
					opts = append(opts, tcproom.WithHandshake(func(ctx context.Context, c *tcproom.Newcomer) (tcproom.Identity, error) {
						<-ctx.Done()
						return tcproom.Identity{}, ctx.Err()
					}))
				} else {
					opts = append(opts, tcproom.WithCodec(tcproom.JSON{}))
				}
				room := tcproom.New(opts...)
				start := time.Now()
				nc, served := pipe(room)
				var drips sync.WaitGroup
				defer drips.Wait()
				if test.drips {
					drips.Go(func() {
						for {
							if _, err := nc.Write([]byte(" ")); err != nil {
								return
							}
							time.Sleep(3 * time.Second)
						}
					})
				}
				line, err := bufio.NewReader(nc).ReadString('\n')
				require.NoError(t, err)
				require.Contains(t, line, "handshake timeout")
				require.Equal(t, 7*time.Second, time.Since(start))
				require.ErrorIs(t, <-served, errHandshakeTimeout)
				require.ErrorIs(t, causes.Next(t), errHandshakeTimeout)
				nc.Close()
				require.NoError(t, room.Close())
			})
		})
	}
}

// TestTLSHandshakeTimeout: a peer that never shakes hands is not malformed.
func TestTLSHandshakeTimeout(t *testing.T) {
	server, _ := testTLS()
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			room := tcproom.New(tcproom.WithTLS(server), tcproom.WithHandshakeTimeout(time.Second))
			start := time.Now()
			nc, served := pipe(room)
			require.ErrorIs(t, <-served, errHandshakeTimeout)
			require.Equal(t, time.Second, time.Since(start))
			nc.Close()
			require.NoError(t, room.Close())
		})
	}
}

func TestIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New(tcproom.WithIdleTimeout(5 * time.Second))
		start := time.Now()
		nc, served := pipe(room)
		go io.Copy(io.Discard, nc)
		for range 3 {
			time.Sleep(4 * time.Second)
			fmt.Fprint(nc, "x\n")
		}
		require.ErrorIs(t, <-served, errIdleTimeout)
		require.Equal(t, 17*time.Second, time.Since(start))
		nc.Close()
		require.NoError(t, room.Close())
	})
}

// TestWriteTimeout: a member that takes nothing ends with it; by the clock of
// the write, not of the member.
func TestWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New(tcproom.WithWriteTimeout(3 * time.Second))
		nc, served := pipe(room)
		time.Sleep(time.Hour)
		start := time.Now()
		_, err := room.Broadcast(t.Context(), []byte("x"))
		require.NoError(t, err)
		require.ErrorIs(t, <-served, errWriteTimeout)
		require.Equal(t, 3*time.Second, time.Since(start))
		nc.Close()
		require.NoError(t, room.Close())
	})
}

// TestWriteTimeoutOverTLS: neither the end of a stalled TLS conn nor a kick
// waits for its close_notify.
func TestWriteTimeoutOverTLS(t *testing.T) {
	server, client := testTLS()
	client = client.Clone()
	client.ServerName = "localhost"
	for _, kick := range []bool{false, true} {
		t.Run(fmt.Sprint("kick=", kick), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				room := tcproom.New(tcproom.WithTLS(server), tcproom.WithWriteTimeout(3*time.Second))
				nc, served := pipe(room)
				tc := tls.Client(nc, client)
				require.NoError(t, tc.Handshake())
				go func() { tc.Read(make([]byte, 1)) }() // takes what belongs to the handshake
				synctest.Wait()
				require.Equal(t, 1, room.Len())
				start := time.Now()
				_, err := room.Broadcast(t.Context(), make([]byte, 100))
				require.NoError(t, err)
				synctest.Wait()
				_, err = room.Broadcast(t.Context(), make([]byte, 100))
				require.NoError(t, err)
				synctest.Wait()
				if kick {
					require.NoError(t, only(room).Kick("enough"))
					require.ErrorIs(t, <-served, tcproom.ErrKicked)
					require.Less(t, time.Since(start), time.Second)
				} else {
					require.ErrorIs(t, <-served, errWriteTimeout)
					require.Equal(t, 3*time.Second, time.Since(start))
				}
				nc.Close()
				require.NoError(t, room.Close())
			})
		})
	}
}

// TestBlockMaxWait: messages are held back for the maximum wait and no longer,
// and who is cut is the receiver.
func TestBlockMaxWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const maxWait = 2 * time.Second
		room := tcproom.New(
			tcproom.WithSlowMembers(tcproom.Block(maxWait)), tcproom.WithBacklog(1), tcproom.WithMaxMessage(1000),
		)
		_, served := pipe(room)
		reader, _ := pipe(room)
		go io.Copy(io.Discard, reader)
		synctest.Wait()
		require.Equal(t, 2, room.Len())
		var longest time.Duration
		for range 100 {
			start := time.Now()
			_, err := room.Broadcast(t.Context(), make([]byte, 1000))
			require.NoError(t, err)
			longest = max(longest, time.Since(start))
		}
		require.ErrorIs(t, <-served, tcproom.ErrSlow)
		require.GreaterOrEqual(t, longest, maxWait)
		require.Less(t, longest, maxWait+50*time.Millisecond)
		require.Equal(t, 1, room.Len())
		require.NoError(t, room.Close())
	})
}

// TestBroadcastHeldBackIsBounded: by its context and by the end of the room.
func TestBroadcastHeldBackIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New(
			tcproom.WithSlowMembers(tcproom.Block(time.Hour)), tcproom.WithBacklog(1),
			tcproom.WithMaxMessage(1000), tcproom.WithWriteTimeout(time.Hour),
		)
		_, served := pipe(room)
		synctest.Wait()
		fill := func(ctx context.Context) (err error) {
			for err == nil {
				_, err = room.Broadcast(ctx, make([]byte, 1000))
			}
			return err
		}
		cause := errors.New("no more time")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Second, cause)
		defer cancel()
		start := time.Now()
		require.ErrorIs(t, fill(ctx), cause)
		require.Equal(t, 3*time.Second, time.Since(start))
		held := make(chan error)
		go func() { held <- fill(context.Background()) }()
		time.Sleep(time.Second)
		start = time.Now()
		require.NoError(t, room.Close())
		require.ErrorIs(t, <-held, tcproom.ErrRoomClosed)
		require.ErrorIs(t, <-served, tcproom.ErrRoomClosed)
		require.Zero(t, time.Since(start))
	})
}

// TestP10StalledAreCut: after half a second in which they took nothing, and
// the error says what they missed.
func TestP10StalledAreCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := newCauses()
		room := tcproom.New(tcproom.OnLeave(left.Left))
		_, served := pipe(room)
		synctest.Wait() // it is guest-1
		reader, _ := pipe(room)
		heard := make(chan string)
		go func() {
			b, _ := io.ReadAll(reader)
			heard <- string(b)
		}()
		synctest.Wait()
		for range 9 {
			_, err := room.Broadcast(t.Context(), []byte("x"))
			require.NoError(t, err)
			synctest.Wait()
		}
		start := time.Now()
		var stop *tcproom.StopError
		require.ErrorAs(t, room.Shutdown(context.Background()), &stop)
		require.Equal(t, 500*time.Millisecond, time.Since(start))
		require.NoError(t, stop.Err)
		require.Empty(t, stop.Stuck)
		require.Len(t, stop.Cut, 1)
		require.Equal(t, "guest-1", stop.Cut[0].Member.Name)
		// The join of guest-2, which is in the write that did not return, and nine.
		require.EqualValues(t, 10, stop.Cut[0].Missed)
		require.ErrorIs(t, <-served, tcproom.ErrRoomClosed)
		require.Contains(t, <-heard, "*: x\n* goodbye: room closed\n")
		for range 2 {
			require.ErrorIs(t, left.Next(t), tcproom.ErrRoomClosed)
		}
	})
}

// TestP10Patience: a member is cut when it has taken nothing for as long as the
// most patient of all Shutdowns says, or the context of one ends, and not before.
func TestP10Patience(t *testing.T) {
	const never = 0
	p := func(d ...time.Duration) []time.Duration { return d }
	for _, test := range []struct {
		name     string
		patience []time.Duration // of each Shutdown
		takes    time.Duration   // how often the member takes a piece
		after    time.Duration   // Shutdown returns
		cut      bool
	}{
		{name: "default", patience: p(0), takes: never, after: 500 * time.Millisecond, cut: true},
		{name: "more", patience: p(3 * time.Second), takes: never, after: 3 * time.Second, cut: true},
		{name: "less", patience: p(200 * time.Millisecond), takes: never, after: 200 * time.Millisecond, cut: true},
		{name: "the context's", patience: p(-1), takes: never, after: 10 * time.Second, cut: true},
		{name: "more, the later one", patience: p(0, 3*time.Second), takes: never, after: 3 * time.Second, cut: true},
		{name: "more, the first one", patience: p(3*time.Second, 0), takes: never, after: 3 * time.Second, cut: true},
		{name: "takes something in time", patience: p(2 * time.Second), takes: 1900 * time.Millisecond, after: 3800 * time.Millisecond, cut: false},
		{name: "takes something too late", patience: p(2 * time.Second), takes: 2100 * time.Millisecond, after: 2 * time.Second, cut: true},
		{name: "takes something before the context ends", patience: p(-1), takes: 4 * time.Second, after: 8 * time.Second, cut: false},
	} {
		inBubble(test.name, t, func(t *testing.T) {
			room := tcproom.New(tcproom.WithWriteTimeout(time.Hour))
			nc, served := pipe(room)
			synctest.Wait()
			for range 2 { // the second is one write with the goodbye
				_, err := room.Broadcast(t.Context(), []byte("x"))
				require.NoError(t, err)
				synctest.Wait()
			}
			var taking sync.WaitGroup
			defer taking.Wait()
			if test.takes != never {
				taking.Go(func() {
					defer nc.Close()
					for range 2 {
						time.Sleep(test.takes)
						if _, err := nc.Read(make([]byte, 1<<10)); err != nil {
							return
						}
					}
				})
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			start := time.Now()
			stopped := make(chan error, len(test.patience))
			for _, d := range test.patience {
				go func() { stopped <- room.Shutdown(ctx, tcproom.WithPatience(d)) }()
				synctest.Wait()
			}
			for range test.patience {
				err := <-stopped
				require.Equal(t, test.after, time.Since(start))
				if !test.cut {
					require.NoError(t, err)
					continue
				}
				var stop *tcproom.StopError
				require.ErrorAs(t, err, &stop)
				require.Len(t, stop.Cut, 1)
			}
			require.ErrorIs(t, <-served, tcproom.ErrRoomClosed)
		})
	}
}

// TestP10PatienceIsForMembers: what has not joined and takes nothing is not
// waited for.
func TestP10PatienceIsForMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}))
		_, served := pipe(room)
		synctest.Wait()
		require.Equal(t, 1, room.Stats().Pending)
		start := time.Now()
		require.NoError(t, room.Shutdown(context.Background(), tcproom.WithPatience(-1), nil))
		require.Equal(t, 500*time.Millisecond, time.Since(start))
		require.ErrorIs(t, <-served, tcproom.ErrRoomClosed)
	})
}

// TestP10SkippedIsMissed: what a member was to jump over, and has not been told
// of, it has missed.
func TestP10SkippedIsMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New(tcproom.WithSlowMembers(tcproom.Skip), tcproom.WithCodec(tcproom.JSON{}))
		nc, served := pipe(room)
		fmt.Fprintln(nc, `{"type":"hello"}`)
		_, err := bufio.NewReader(nc).ReadString('\n')
		require.NoError(t, err)
		synctest.Wait()
		const n = 20000
		body := bytes.Repeat([]byte("x"), 1<<10)
		for i := range n {
			_, err := room.Broadcast(t.Context(), body)
			require.NoError(t, err)
			if i == 0 {
				synctest.Wait() // it is in a write, and nothing is written any more
			}
		}
		require.Greater(t, room.Stats().Skipped, uint64(n/2))
		var stop *tcproom.StopError
		require.ErrorAs(t, room.Shutdown(context.Background()), &stop)
		require.Len(t, stop.Cut, 1)
		require.EqualValues(t, n, stop.Cut[0].Missed)
		require.ErrorIs(t, <-served, tcproom.ErrRoomClosed)
	})
}

// TestP10CutWithoutLoss: a member that got all that was ordered, and not the goodbye
// or a message to it alone, is cut, and missed nothing of the order.
func TestP10CutWithoutLoss(t *testing.T) {
	inBubble("goodbye", t, func(t *testing.T) {
		room := tcproom.New()
		_, served := pipe(room)
		synctest.Wait()
		start := time.Now()
		missedNothing(t, room.Shutdown(context.Background()))
		require.Equal(t, 500*time.Millisecond, time.Since(start))
		require.ErrorIs(t, <-served, tcproom.ErrRoomClosed)
	})
	inBubble("direct message", t, func(t *testing.T) {
		room := tcproom.New()
		_, served := pipe(room)
		synctest.Wait()
		require.NoError(t, only(room).Send(t.Context(), []byte("x")))
		missedNothing(t, room.Shutdown(context.Background()))
		require.ErrorIs(t, <-served, tcproom.ErrRoomClosed)
	})
}

// missedNothing checks the error of a stop that cut one member.
func missedNothing(t *testing.T, err error) {
	t.Helper()
	var stop *tcproom.StopError
	require.ErrorAs(t, err, &stop)
	require.Len(t, stop.Cut, 1)
	require.Zero(t, stop.Cut[0].Missed)
}

// TestP10CutInAHook: a member whose hook is running when it is cut, and returns then,
// has missed what it was not sent.
func TestP10CutInAHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		called := make(chan bool, 1)
		room := tcproom.New(tcproom.OnMessage(func(m *tcproom.Member, body []byte) ([]byte, error) {
			called <- true
			<-m.Context().Done()
			time.Sleep(10 * time.Millisecond)
			return nil, nil
		}))
		nc, served := pipe(room)
		fmt.Fprintln(nc, "hi")
		<-called
		for range 3 {
			_, err := room.Broadcast(t.Context(), []byte("x"))
			require.NoError(t, err)
			synctest.Wait()
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var stop *tcproom.StopError
		require.ErrorAs(t, room.Shutdown(ctx), &stop)
		require.Empty(t, stop.Stuck)
		require.Len(t, stop.Cut, 1)
		require.EqualValues(t, 3, stop.Cut[0].Missed)
		require.ErrorIs(t, <-served, tcproom.ErrRoomClosed)
	})
}

// TestP10SlowButReading: who takes a little again and again gets all of it.
func TestP10SlowButReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New()
		nc, served := pipe(room)
		synctest.Wait()
		for i := range 2000 {
			_, err := room.Broadcast(t.Context(), fmt.Appendf(nil, "%0100d", i))
			require.NoError(t, err)
		}
		heard := make(chan []byte)
		go func() {
			var all []byte
			b := make([]byte, 16<<10)
			for {
				n, err := nc.Read(b)
				if all = append(all, b[:n]...); err != nil {
					heard <- all
					return
				}
				time.Sleep(300 * time.Millisecond)
			}
		}()
		start := time.Now()
		require.NoError(t, room.Shutdown(context.Background()))
		require.Greater(t, time.Since(start), 3*time.Second)
		require.ErrorIs(t, <-served, tcproom.ErrRoomClosed)
		all := <-heard
		require.Equal(t, 2001, bytes.Count(all, []byte("\n")))
		require.True(t, bytes.HasSuffix(all, []byte("* goodbye: room closed\n")))
	})
}

// TestP10ContextEnds: what is left then is cut at once.
func TestP10ContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New()
		_, served := pipe(room)
		synctest.Wait()
		for range 2 { // one is in a write
			_, err := room.Broadcast(t.Context(), []byte("x"))
			require.NoError(t, err)
			synctest.Wait()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		start := time.Now()
		var stop *tcproom.StopError
		require.ErrorAs(t, room.Shutdown(ctx), &stop)
		require.Equal(t, 200*time.Millisecond, time.Since(start))
		require.ErrorIs(t, stop, context.DeadlineExceeded)
		require.Empty(t, stop.Stuck)
		require.Len(t, stop.Cut, 1)
		require.EqualValues(t, 2, stop.Cut[0].Missed)
		require.ErrorIs(t, <-served, tcproom.ErrRoomClosed)
		waitDone(t, room)
	})
}

// TestP10LastWords: a client that talks all the time and reads slowly gets
// everything that was ordered, the goodbye and a clean end.
func TestP10LastWords(t *testing.T) {
	server, client := testTLS()
	client = client.Clone()
	client.ServerName = "localhost"
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprint("tls=", secure), func(t *testing.T) {
			checkGoroutines(t)
			left := newCauses()
			// Whatever it says is dropped, so that all it gets is counted below.
			room := tcproom.New(
				tcproom.WithSocketBuffers(64<<10, 64<<10),
				tcproom.OnMessage(func(*tcproom.Member, []byte) ([]byte, error) { return nil, nil }),
				tcproom.OnLeave(left.Left),
			)
			var opts []tcproom.ConnOption
			if secure {
				opts = append(opts, tcproom.WithTLS(server))
			}
			addr := serveTCP(t, room, opts...)
			const members, messages = 8, 3000
			body := bytes.Repeat([]byte("x"), 300)
			var wg sync.WaitGroup
			errs := make(chan error, 2*members)
			for range members {
				raw := dialRaw(t, addr)
				var nc net.Conn = raw
				if secure {
					nc = tls.Client(raw, client)
				}
				wg.Go(func() {
					for {
						if _, err := nc.Write(bytes.Repeat([]byte("I talk and talk and talk\n"), 10)); err != nil {
							return
						}
						time.Sleep(100 * time.Microsecond) // lets the readers run, who would be cut if they stalled
					}
				})
				wg.Go(func() {
					defer nc.Close()
					r, got := bufio.NewReaderSize(nc, 4<<10), 0
					for last := ""; ; got++ {
						line, err := r.ReadString('\n')
						if err == io.EOF {
							if last != "* goodbye: room closed\n" {
								err = fmt.Errorf("the last words were %.40q after %d lines", last, got)
								errs <- err
							}
							break
						}
						if err != nil {
							errs <- fmt.Errorf("after %d lines: %w", got, err)
							break
						}
						if last = line; line[0] == '*' && line[1] == ' ' {
							got--
						}
						if got%50 == 49 {
							time.Sleep(time.Millisecond) // is slow
						}
					}
					if got != messages {
						errs <- fmt.Errorf("%d of %d messages", got, messages)
					}
				})
			}
			waitLen(t, room, members)
			for range messages {
				_, err := room.Broadcast(testContext(t), body)
				require.NoError(t, err)
			}
			err := room.Shutdown(testContext(t))
			wg.Wait()
			close(errs)
			for e := range errs {
				t.Error(e)
			}
			require.NoError(t, err)
			for range members {
				require.ErrorIs(t, left.Next(t), tcproom.ErrRoomClosed)
			}
		})
	}
}

// TestKickedLastWords is the same for one who is kicked: the reason arrives.
func TestKickedLastWords(t *testing.T) {
	room := tcproom.New(tcproom.OnMessage(func(*tcproom.Member, []byte) ([]byte, error) { return nil, nil }))
	addr := serveTCP(t, room)
	for range 50 {
		nc := dialRaw(t, addr)
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				if _, err := nc.Write([]byte("I talk and talk and talk\n")); err != nil {
					return
				}
			}
		})
		waitLen(t, room, 1)
		require.NoError(t, only(room).Kick("too loud"))
		b, err := io.ReadAll(nc)
		require.NoError(t, err)
		require.Equal(t, "* goodbye: too loud\n", string(b))
		nc.Close()
		wg.Wait()
	}
}

// TestStoppingTellsNoLeaves: OnLeave hears of each, members of none.
func TestStoppingTellsNoLeaves(t *testing.T) {
	for _, how := range []string{"Shutdown", "Close"} {
		t.Run(how, func(t *testing.T) {
			checkGoroutines(t)
			left := newCauses()
			room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.OnLeave(left.Left))
			addr := serveTCP(t, room)
			var conns []*tcproom.Conn
			for i := range 20 {
				if i%2 == 0 {
					conns = append(conns, join(t, room))
				} else {
					conns = append(conns, dial(t, addr, tcproom.WithCodec(tcproom.JSON{})))
				}
			}
			seq := room.Stats().Seq
			var wg sync.WaitGroup
			var leaves, goodbyes atomic.Int64
			for _, c := range conns {
				wg.Go(func() {
					for ev := range c.Events(context.Background()) {
						switch ev.Kind {
						case tcproom.Leave:
							leaves.Add(1)
						case tcproom.Goodbye:
							goodbyes.Add(1)
						}
					}
					c.Close() // for which Shutdown waits
				})
			}
			if how == "Shutdown" {
				require.NoError(t, room.Shutdown(testContext(t)))
			} else {
				require.NoError(t, room.Close())
			}
			wg.Wait()
			require.Zero(t, leaves.Load(), "leaves were told")
			require.Equal(t, seq, room.Stats().Seq, "leaves were ordered")
			if how == "Shutdown" {
				require.EqualValues(t, len(conns), goodbyes.Load())
			}
			for range conns {
				require.ErrorIs(t, left.Next(t), tcproom.ErrRoomClosed)
			}
			require.Empty(t, left.C)
		})
	}
}

// TestAfterTheEnd: everything says so, and no hook is called.
func TestAfterTheEnd(t *testing.T) {
	checkGoroutines(t)
	for _, how := range []string{"Shutdown", "Close"} {
		t.Run(how, func(t *testing.T) {
			var ended atomic.Bool
			var late atomic.Int64
			hook := func() {
				if ended.Load() {
					late.Add(1)
				}
			}
			room := tcproom.New(
				tcproom.WithHandshake(func(context.Context, *tcproom.Newcomer) (id tcproom.Identity, err error) { hook(); return }),
				tcproom.OnJoin(func(*tcproom.Member) error { hook(); return nil }),
				tcproom.OnMessage(func(*tcproom.Member, []byte) ([]byte, error) { hook(); return nil, nil }),
				tcproom.OnLeave(func(*tcproom.Member, error) { hook() }),
				tcproom.OnReject(func(*tcproom.Newcomer, error) { hook() }),
			)
			addr := serveTCP(t, room)
			var flood sync.WaitGroup
			stop := make(chan struct{})
			for range 8 { // connect and write until well after the end
				flood.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						if nc, err := net.Dial("tcp", addr); err == nil {
							nc.Write(bytes.Repeat([]byte("x\n"), 100))
							nc.Close()
						}
					}
				})
			}
			eventually(t, "some have come", func() bool { return room.Stats().Joined > 100 })
			c := join(t, room)
			m := only(room)
			if how == "Shutdown" {
				ctx, cancel := context.WithTimeout(context.Background(), within)
				defer cancel()
				room.Shutdown(ctx) // some were cut, for they never read
			} else {
				room.Close()
				waitDone(t, room) // for hooks that ran when it was called
			}
			ended.Store(true)
			select {
			case <-room.Done():
			default:
				t.Fatal("P9: not done")
			}
			ctx := testContext(t)
			_, err := room.Broadcast(ctx, []byte("x"))
			require.ErrorIs(t, err, tcproom.ErrRoomClosed)
			if m != nil {
				_, err = m.Post(ctx, []byte("x"))
				require.ErrorIs(t, err, tcproom.ErrRoomClosed)
				require.Error(t, m.Send(ctx, []byte("x")))
				require.Error(t, m.Err())
				require.Error(t, m.Context().Err())
				require.Error(t, m.Kick("x"))
			}
			_, err = room.Join(testContext(t), tcproom.Identity{})
			require.ErrorIs(t, err, tcproom.ErrRoomClosed)
			here, there := net.Pipe()
			require.ErrorIs(t, room.ServeConn(there), tcproom.ErrRoomClosed)
			_, err = here.Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF, "ServeConn left its conn open")
			l := listen(t, "tcp")
			require.ErrorIs(t, room.Serve(l), tcproom.ErrRoomClosed)
			_, err = l.Accept()
			require.ErrorIs(t, err, net.ErrClosed, "Serve left its listener open")
			require.ErrorIs(t, room.ListenAndServe("127.0.0.1:0"), tcproom.ErrRoomClosed)
			require.Zero(t, room.Len())
			for range room.Members() {
				t.Fatal("a member")
			}
			require.NoError(t, room.Close())
			close(stop)
			flood.Wait()
			c.Close()
			require.Zero(t, late.Load(), "P9: a hook ran after the end")
		})
	}
}

// TestStopFromEverywhere has a hundred goroutines end one room.
func TestStopFromEverywhere(t *testing.T) {
	for _, test := range []struct {
		name string
		stop func(*tcproom.Room, int) error
	}{
		// A Close that comes while another runs OnLeave does not wait for that.
		{name: "Close", stop: func(r *tcproom.Room, _ int) error { err := r.Close(); <-r.Done(); return err }},
		{name: "Shutdown", stop: func(r *tcproom.Room, _ int) error { return r.Shutdown(context.Background()) }},
		{name: "both", stop: func(r *tcproom.Room, i int) error {
			if i%2 == 0 {
				err := r.Close()
				<-r.Done()
				return err
			}
			r.Shutdown(context.Background()) // Close may cut what it drains
			return nil
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			checkGoroutines(t)
			st := newStage(t, "", nil)
			var readers sync.WaitGroup
			for i := range 20 {
				c := st.dial(t, fmt.Sprint("member-", i))
				readers.Go(func() {
					for range c.Events(context.Background()) {
					}
					c.Close()
				})
			}
			var wg sync.WaitGroup
			errs := make(chan error, 100)
			begin := make(chan struct{})
			for i := range cap(errs) {
				wg.Go(func() {
					<-begin
					err := test.stop(st.room, i)
					select {
					case <-st.room.Done():
					default:
						err = errors.Join(err, errors.New("it returned before the room was done"))
					}
					errs <- err
				})
			}
			close(begin)
			wg.Wait()
			for range cap(errs) {
				require.NoError(t, <-errs)
			}
			readers.Wait()
			st.checkPairs(t)
		})
	}
}

// TestCloseCutsShutdownShort: a member that stalls for ever, and would be
// drained for longer than Close waits.
func TestCloseCutsShutdownShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New()
		pipe(room)
		synctest.Wait()
		_, err := room.Broadcast(t.Context(), []byte("x"))
		require.NoError(t, err)
		start := time.Now()
		drained := make(chan error)
		go func() { drained <- room.Shutdown(context.Background()) }()
		time.Sleep(100 * time.Millisecond)
		require.NoError(t, room.Close())
		var stop *tcproom.StopError
		require.ErrorAs(t, <-drained, &stop)
		require.Len(t, stop.Cut, 1)
		require.Equal(t, 100*time.Millisecond, time.Since(start))
	})
}

// TestStuckConnIsNamed: Shutdown and Close do not wait for it for ever, do not
// say that all is well, and say which it is.
func TestStuckConnIsNamed(t *testing.T) {
	for _, method := range []string{"Read", "Write", "Close"} {
		for _, how := range []string{"Shutdown", "Close"} {
			t.Run(method+" "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					room := tcproom.New()
					here, there := net.Pipe()
					bad := &badConn{there, method, make(chan struct{})}
					served := make(chan error, 1)
					go func() { served <- room.ServeConn(bad) }()
					synctest.Wait()
					_, err := room.Broadcast(t.Context(), []byte("x"))
					require.NoError(t, err)
					synctest.Wait()
					start := time.Now()
					var stop *tcproom.StopError
					if how == "Shutdown" {
						ctx, cancel := context.WithTimeout(t.Context(), time.Second)
						defer cancel()
						require.ErrorAs(t, room.Shutdown(ctx), &stop)
						require.LessOrEqual(t, time.Since(start), 1100*time.Millisecond)
						require.ErrorIs(t, stop, context.DeadlineExceeded)
					} else {
						require.ErrorAs(t, room.Close(), &stop)
						require.LessOrEqual(t, time.Since(start), 5*time.Second)
					}
					require.Len(t, stop.Stuck, 1)
					require.Equal(t, "guest-1", stop.Stuck[0].Member.Name)
					require.Empty(t, stop.Stuck[0].Hook)
					select {
					case <-room.Done():
						t.Error("P9: done although a goroutine is left")
					default:
					}
					close(bad.release)
					<-room.Done()
					require.ErrorIs(t, <-served, tcproom.ErrRoomClosed)
					here.Close()
				})
			})
		}
	}
}

// TestStuckConnOfOneThatLeftIsNamed: also where its member has left meanwhile.
func TestStuckConnOfOneThatLeftIsNamed(t *testing.T) {
	for _, how := range []string{"Kick", "the stop", "the stop in OnLeave"} {
		inBubble(how, t, func(t *testing.T) {
			causes, stopped := newCauses(), make(chan error, 1)
			room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{}),
				tcproom.OnLeave(func(c *tcproom.Member, cause error) {
					if causes.Left(c, cause); how == "the stop in OnLeave" {
						stopped <- c.Room().Close()
					}
				}))
			here, there := net.Pipe()
			bad := &badConn{there, "Close", make(chan struct{})}
			go room.ServeConn(bad)
			v := &visit{t: t, nc: here, in: bufio.NewReader(here)}
			v.say(object{"type": "hello", "name": "ada"})
			w := v.welcomed("joined")
			c, _ := room.Member(w["id"].(string))
			here.Close()
			synctest.Wait()
			require.Equal(t, 1, room.Stats().Detached)
			if how != "the stop" {
				require.NoError(t, c.Kick("rude"))
				require.ErrorIs(t, causes.Next(t), tcproom.ErrKicked)
			}
			if how != "the stop in OnLeave" {
				stopped <- room.Close()
			}
			var stop *tcproom.StopError
			require.ErrorAs(t, <-stopped, &stop, "P9: a goroutine is left")
			require.Len(t, stop.Stuck, 1)
			require.Equal(t, "ada", stop.Stuck[0].Member.Name)
			select {
			case <-room.Done():
				t.Error("P9: done although a goroutine is left")
			default:
			}
			close(bad.release)
			<-room.Done()
			require.NoError(t, room.Close())
		})
	}
}

// TestStuckAddrMayAskTheRoom: an address is the user's code, and is asked
// under no lock.
func TestStuckAddrMayAskTheRoom(t *testing.T) {
	room := tcproom.New()
	here, there := roomtest.Pipe()
	defer here.Close()
	bad := &badConn{there, "Close", make(chan struct{})}
	go room.ServeConn(askingConn{bad, lockedAddr{room}})
	waitLen(t, room, 1)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	ended := make(chan error, 1)
	go func() { ended <- room.Shutdown(ctx) }()
	select {
	case err := <-ended:
		var stop *tcproom.StopError
		require.ErrorAs(t, err, &stop)
		require.Len(t, stop.Stuck, 1)
		require.Equal(t, "asked", stop.Stuck[0].Addr)
	case <-time.After(within):
		t.Fatal("Shutdown does not return")
	}
	close(bad.release)
	waitDone(t, room)
}

// badListener's Accept does not return because of Close.
type badListener struct {
	net.Listener
	release chan struct{}
}

func (l *badListener) Accept() (net.Conn, error) {
	<-l.release
	return nil, net.ErrClosed
}
func (l *badListener) Close() error   { return nil }
func (l *badListener) Addr() net.Addr { return &net.UnixAddr{Name: "bad", Net: "unix"} }

// waitingListener's Close waits for something else.
type waitingListener struct {
	net.Listener
	release chan struct{}
}

func (l *waitingListener) Close() error {
	err := l.Listener.Close()
	<-l.release
	return err
}

// TestListenerThatWaits: where a listener's Close does not return, or not
// before its conns have ended, the members end all the same and Close returns.
func TestListenerThatWaits(t *testing.T) {
	room := tcproom.New()
	l := &waitingListener{listen(t, "tcp"), make(chan struct{})}
	served := make(chan error, 1)
	go func() { served <- room.Serve(l) }()
	nc := dialRaw(t, l.Addr().String())
	waitLen(t, room, 1)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- room.Shutdown(ctx) }()
	said, err := io.ReadAll(nc)
	require.NoError(t, err)
	require.Contains(t, string(said), "room closed")
	cancel()
	select {
	case err := <-ended:
		var stop *tcproom.StopError
		require.ErrorAs(t, err, &stop)
		require.Len(t, stop.Stuck, 1)
		require.Equal(t, l.Addr().String(), stop.Stuck[0].Addr)
	case <-time.After(within):
		t.Fatal("Shutdown does not return")
	}
	close(l.release)
	require.ErrorIs(t, <-served, tcproom.ErrRoomClosed)
	waitDone(t, room)
}

func TestStuckListenerIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New()
		l := &badListener{release: make(chan struct{})}
		go room.Serve(l)
		synctest.Wait()
		var stop *tcproom.StopError
		require.ErrorAs(t, room.Close(), &stop)
		require.Len(t, stop.Stuck, 1)
		require.Equal(t, "bad", stop.Stuck[0].Addr)
		close(l.release)
		<-room.Done()
		require.NoError(t, room.Close())
	})
}

// TestNothingIsLeft: goroutines and descriptors are back to where they were
// after conns of all kinds.
func TestNothingIsLeft(t *testing.T) {
	goroutines, fds := runtime.NumGoroutine(), descriptors(t)
	server, client := testTLS()
	st := newStage(t, "OnMessage", func(*stage, subject) error { panic("hook") }, tcproom.WithMaxPending(10000))
	// What newStage's serve waits for is only there at the end of the test.
	secure, plain := listen(t, "tcp"), listen(t, "unix")
	var serving sync.WaitGroup
	serving.Go(func() { st.room.Serve(secure, tcproom.WithTLS(server)) })
	serving.Go(func() { st.room.Serve(plain) })
	json := tcproom.WithCodec(tcproom.JSON{})
	ctx := testContext(t)
	kinds := []func(){
		func() { // comes and goes
			if c, err := tcproom.Dial(ctx, st.addr, json); err == nil {
				c.Close()
			}
		},
		func() { // and over TLS
			if c, err := tcproom.Dial(ctx, secure.Addr().String(), json, tcproom.WithTLS(client)); err == nil {
				c.Close()
			}
		},
		func() { // says nothing
			if nc, err := net.Dial("tcp", st.addr); err == nil {
				nc.Close()
			}
		},
		func() { // is no TLS
			if nc, err := net.Dial("tcp", secure.Addr().String()); err == nil {
				nc.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
				io.Copy(io.Discard, nc)
				nc.Close()
			}
		},
		func() { // malformed, over unix
			if nc, err := net.Dial("unix", plain.Addr().String()); err == nil {
				nc.Write([]byte("}{\n"))
				io.Copy(io.Discard, nc)
				nc.Close()
			}
		},
		func() { // resets
			if nc, err := net.Dial("tcp", st.addr); err == nil {
				nc.Write([]byte(`{"type":"hello"}` + "\n" + `{"type":"mess`))
				nc.(*net.TCPConn).SetLinger(0)
				nc.Close()
			}
		},
		func() { // in memory
			if c, err := st.room.Join(ctx, tcproom.Identity{}); err == nil {
				c.Send(ctx, []byte("hi"))
				c.Close()
			}
		},
		func() { // a hook panics
			if c, err := tcproom.Dial(ctx, st.addr, json, tcproom.WithName(victim)); err == nil {
				c.Send(ctx, []byte("hi"))
				for range c.Events(ctx) {
				}
				c.Close()
			}
		},
		func() { // is kicked, and does not read
			if c, err := tcproom.Dial(ctx, st.addr, json); err == nil {
				if m, ok := st.room.Member(c.ID()); ok {
					m.Kick("no")
				}
				c.Close()
			}
		},
		func() { // refused
			tcproom.Dial(ctx, st.addr, json, tcproom.WithName("no spaces"))
		},
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 250 {
				kinds[(i+j)%len(kinds)]()
			}
		})
	}
	go func() { // nobody looks at them
		for range st.ends {
		}
	}()
	wg.Wait()
	err := st.room.Shutdown(ctx)
	var stop *tcproom.StopError
	if errors.As(err, &stop) {
		require.Empty(t, stop.Stuck)
		require.NoError(t, stop.Err)
	}
	serving.Wait()
	st.checkPairs(t)
	close(st.ends)
	eventually(t, "goroutines back to where they were", func() bool { return runtime.NumGoroutine() <= goroutines+1 }) // serve's
	eventually(t, "descriptors back to where they were", func() bool { return descriptors(t) <= fds })
}

// TestAcceptedWhileClosing: a conn that comes while the room closes is closed,
// and no hook hears of it after the end.
func TestAcceptedWhileClosing(t *testing.T) {
	fds := descriptors(t)
	server, _ := testTLS()
	for round := range 100 {
		checkRound(t, round, server)
	}
	eventually(t, "descriptors back to where they were", func() bool { return descriptors(t) <= fds })
}

func checkRound(t *testing.T, round int, server *tls.Config) {
	st := newStage(t, "", nil)
	l := listen(t, "tcp")
	var wg sync.WaitGroup
	wg.Go(func() { st.room.Serve(l, tcproom.WithTLS(server), tcproom.WithSocketBuffers(4<<10, 4<<10)) })
	var conns sync.Map
	for i := range 4 {
		wg.Go(func() {
			for n := range 5 {
				addr := st.addr
				if n%2 == 0 {
					addr = l.Addr().String()
				}
				nc, err := net.Dial("tcp", addr)
				if err != nil {
					return
				}
				nc.Write([]byte(`{"type":"hello"}` + "\n"))
				conns.Store([2]int{i, n}, nc)
			}
		})
	}
	for st.room.Stats().Pending+st.room.Len() == 0 {
		runtime.Gosched()
	}
	if round%2 == 0 {
		require.NoError(t, st.room.Close())
	} else {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(round%10)*time.Millisecond)
		st.room.Shutdown(ctx)
		cancel()
	}
	waitDone(t, st.room)
	wg.Wait()
	conns.Range(func(_, nc any) bool {
		nc.(net.Conn).SetReadDeadline(time.Now().Add(within))
		_, err := io.Copy(io.Discard, nc.(net.Conn))
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "P9: a conn is open after the end")
		nc.(net.Conn).Close()
		return true
	})
	st.checkPairs(t)
}

// TestCloseSaysNothing: what Close cuts gets nothing more, also if a link's goroutine is
// faster than the goroutine that calls Close.
func TestCloseSaysNothing(t *testing.T) {
	for range 50 {
		network := new(roomtest.Network)
		l, err := network.Listen("room:9000")
		require.NoError(t, err)
		room := tcproom.New(tcproom.WithNotices(false))
		go room.Serve(l)
		var peers []net.Conn
		for range 30 {
			nc, err := network.Dial(t.Context(), "tcp", "room:9000")
			require.NoError(t, err)
			peers = append(peers, nc)
		}
		waitLen(t, room, len(peers))
		var said atomic.Int64
		var readers sync.WaitGroup
		for _, nc := range peers {
			readers.Go(func() {
				b, _ := io.ReadAll(nc)
				said.Add(int64(len(b)))
			})
		}
		require.NoError(t, room.Close())
		readers.Wait()
		require.Zero(t, said.Load())
	}
}
