package roomtest_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

func TestPipeCarriesBytes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pipePair(t)
		mustWrite(t, a, "hello ")
		mustWrite(t, a, "bob")
		mustWrite(t, b, "hello ada")
		mustRead(t, b, "hello bob")
		mustRead(t, a, "hello ada")
		n, err := a.Read(nil)
		require.Zero(t, n)
		require.NoError(t, err)
		got := later(func() error { return readErr(a) })
		blocked(t, got)
		b.Close()
		require.Equal(t, io.EOF, <-got)
	})
}

func TestPipeIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pipePair(t)
		require.Equal(t, 64<<10, fill(t, a))
		mustRead(t, b, string(make([]byte, 1000)))
		require.Equal(t, 1000, fill(t, a))
		require.NoError(t, b.SetReadBuffer(65<<10))
		require.Equal(t, 1<<10, fill(t, a))
		require.NoError(t, a.SetWriteBuffer(10))
		mustRead(t, b, string(make([]byte, 65<<10-5)))
		require.Equal(t, 5, fill(t, a))
		require.NoError(t, a.SetWriteBuffer(0))
		require.Equal(t, 64<<10-10, fill(t, a))
	})
}

func TestPipeHalfClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pipePair(t)
		mustWrite(t, a, "last words")
		require.NoError(t, a.CloseWrite())
		require.NoError(t, a.CloseWrite())
		require.ErrorIs(t, writeErr(a), syscall.EPIPE)
		mustRead(t, b, "last words")
		require.Equal(t, io.EOF, readErr(b))
		require.Equal(t, io.EOF, readErr(b))
		mustWrite(t, b, "and still heard")
		mustRead(t, a, "and still heard")
		require.NoError(t, b.Close())
		require.Equal(t, io.EOF, readErr(a))
		require.NoError(t, a.Close())
		require.ErrorIs(t, a.CloseWrite(), net.ErrClosed)
	})
}

// What was written before Close arrives; what the peer writes after it fails.
func TestPipeClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pipePair(t)
		mustWrite(t, a, "last words")
		require.NoError(t, a.Close())
		require.ErrorIs(t, writeErr(b), syscall.EPIPE)
		mustRead(t, b, "last words")
		require.Equal(t, io.EOF, readErr(b))
		require.ErrorIs(t, writeErr(b), syscall.EPIPE)

		var op *net.OpError
		for name, err := range map[string]error{
			"read": readErr(a), "write": writeErr(a), "close": a.Close(), "set": a.SetDeadline(time.Now()),
		} {
			require.ErrorIs(t, err, net.ErrClosed, name)
			require.ErrorAs(t, err, &op)
			require.Equal(t, name, op.Op)
			require.Equal(t, "tcp", op.Net)
		}
		_, err := a.Read(nil)
		require.ErrorIs(t, err, net.ErrClosed)
		require.ErrorIs(t, a.SetReadBuffer(1), net.ErrClosed)
		require.ErrorIs(t, a.SetWriteBuffer(1), net.ErrClosed)
		require.ErrorIs(t, a.SetLinger(0), net.ErrClosed)
	})
}

func TestPipeCloseEndsWhatWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, _ := pipePair(t)
		fill(t, a)
		reads := later(func() error { return readErr(a) })
		writes := later(func() error { return writeErr(a) })
		second := later(func() error { return writeErr(a) })
		blocked(t, reads)
		blocked(t, writes)
		blocked(t, second)
		require.NoError(t, a.Close())
		require.ErrorIs(t, <-reads, net.ErrClosed)
		require.ErrorIs(t, <-writes, net.ErrClosed)
		require.ErrorIs(t, <-second, net.ErrClosed)

		// And at the peer.
		a, b := pipePair(t)
		fill(t, a)
		reads = later(func() error { return readErr(a) })
		writes = later(func() error { return writeErr(a) })
		blocked(t, reads)
		blocked(t, writes)
		require.NoError(t, b.Close()) // with unread data
		require.ErrorIs(t, <-reads, syscall.ECONNRESET)
		require.ErrorIs(t, <-writes, syscall.ECONNRESET)
	})
}

func TestPipeReset(t *testing.T) {
	tests := []struct {
		name  string
		reset func(a, b *roomtest.Conn)
		alive bool // a is not closed, and gets it too
	}{
		{name: "Reset", reset: func(a, b *roomtest.Conn) { a.Reset() }, alive: true},
		{name: "Reset of the peer", reset: func(a, b *roomtest.Conn) { b.Reset() }, alive: true},
		{name: "Close without linger", reset: func(a, b *roomtest.Conn) { a.SetLinger(0); a.Close() }, alive: false},
		{name: "Close with unread data", reset: func(a, b *roomtest.Conn) { b.Write([]byte("unread")); a.Close() }, alive: false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				a, b := pipePair(t)
				mustWrite(t, a, "lost")
				tt.reset(a, b)
				require.ErrorIs(t, readErr(b), syscall.ECONNRESET)
				require.ErrorIs(t, readErr(b), syscall.ECONNRESET)
				require.ErrorIs(t, writeErr(b), syscall.ECONNRESET)
				require.ErrorIs(t, b.CloseWrite(), syscall.ECONNRESET)
				if tt.alive {
					require.ErrorIs(t, readErr(a), syscall.ECONNRESET)
					require.ErrorIs(t, writeErr(a), syscall.ECONNRESET)
					require.NoError(t, a.Close())
				}
				require.NoError(t, b.Close())
				require.ErrorIs(t, readErr(b), net.ErrClosed)
			})
		})
	}
}

func TestPipeLingerAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pipePair(t)
		require.NoError(t, a.SetLinger(0))
		require.NoError(t, a.SetLinger(-1))
		mustWrite(t, a, "x")
		require.NoError(t, a.Close())
		mustRead(t, b, "x")
		require.Equal(t, io.EOF, readErr(b))
	})
}

func TestPipeDeadlines(t *testing.T) {
	ops := []struct {
		name string
		set  func(c *roomtest.Conn, at time.Time) error
		do   func(c net.Conn) error
	}{
		{name: "read", set: (*roomtest.Conn).SetReadDeadline, do: readErr},
		{name: "write", set: (*roomtest.Conn).SetWriteDeadline, do: writeErr},
		{name: "both, read", set: (*roomtest.Conn).SetDeadline, do: readErr},
		{name: "both, write", set: (*roomtest.Conn).SetDeadline, do: writeErr},
	}
	for _, tt := range ops {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				a, b := pipePair(t)
				fill(t, a)
				start := time.Now()
				do := func() <-chan error { return later(func() error { return tt.do(a) }) }
				timedOut := func(err error, after time.Duration) {
					t.Helper()
					require.ErrorIs(t, err, os.ErrDeadlineExceeded)
					var ne net.Error
					require.ErrorAs(t, err, &ne)
					require.True(t, ne.Timeout())
					require.Equal(t, after, time.Since(start))
				}
				require.NoError(t, tt.set(a, start.Add(time.Second)))
				timedOut(tt.do(a), time.Second)
				timedOut(tt.do(a), time.Second)
				require.NoError(t, tt.set(a, start.Add(time.Minute))) // extended before
				op := do()
				blocked(t, op)
				require.NoError(t, tt.set(a, start.Add(time.Hour))) // and while it waits
				timedOut(<-op, time.Hour)
				require.NoError(t, tt.set(a, start.Add(3*time.Hour)))
				op = do()
				blocked(t, op)
				require.NoError(t, tt.set(a, start.Add(2*time.Hour))) // brought forward
				timedOut(<-op, 2*time.Hour)
				require.NoError(t, tt.set(a, time.Time{}))
				op = do()
				time.Sleep(24 * time.Hour)
				blocked(t, op)
				require.NoError(t, tt.set(a, time.Unix(1, 0)))
				timedOut(<-op, 26*time.Hour)
				// What is there does not matter after the deadline.
				mustWrite(t, b, "x")
				mustRead(t, b, "\x00")
				timedOut(tt.do(a), 26*time.Hour)
				require.NoError(t, tt.set(a, time.Time{}))
				require.NotErrorIs(t, tt.do(a), os.ErrDeadlineExceeded)
			})
		})
	}
}

// A Write whose deadline expires in the middle returns how much was taken.
func TestPipeWriteDeadlineCounts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pipePair(t)
		a.SetWriteBuffer(10)
		a.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := a.Write([]byte("0123456789abc"))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, 10, n)
		a.SetWriteDeadline(time.Time{})
		mustRead(t, b, "0123456789")
		mustWrite(t, a, "abc")
		mustRead(t, b, "abc")
	})
}

// Writes that overlap do not mix, and nothing is lost, whatever the reader does.
func TestPipeConcurrentWrites(t *testing.T) {
	t.Parallel()
	a, b := pipePair(t)
	a.SetWriteBuffer(100)
	b.In(roomtest.ChopRandom(77, 1))
	const writers, each, size = 8, 50, 300
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for range each {
				a.Write(bytes.Repeat([]byte{byte('a' + w)}, size))
			}
		})
	}
	go func() { wg.Wait(); a.Close() }()
	all, err := io.ReadAll(b)
	require.NoError(t, err)
	require.Len(t, all, writers*each*size)
	for i := 0; i < len(all); i += size {
		require.Equal(t, bytes.Repeat(all[i:i+1], size), all[i:i+size])
	}
}

// Both directions at once, with random sizes: every byte in its place.
func TestPipeIsExact(t *testing.T) {
	t.Parallel()
	a, b := pipePair(t)
	exchange(t, a, b)
}

// Everything at once from many goroutines ends when both ends are closed.
func TestPipeRaces(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for seed := range uint64(20) {
			a, b := roomtest.Pipe()
			var wg sync.WaitGroup
			for _, c := range []*roomtest.Conn{a, b} {
				wg.Go(func() { io.Copy(io.Discard, c) })
				wg.Go(func() { io.Copy(io.Discard, c) })
				wg.Go(func() {
					for writeErr(c) == nil {
						time.Sleep(time.Millisecond)
					}
				})
				wg.Go(func() {
					for c.SetDeadline(time.Now().Add(time.Hour)) == nil {
						c.In(roomtest.Latency(3*time.Millisecond), roomtest.Jitter(time.Millisecond, seed), roomtest.Bandwidth(1000))
						c.Out(roomtest.ChopRandom(3, seed))
						c.SetReadBuffer(5)
						time.Sleep(time.Millisecond)
					}
				})
			}
			wg.Go(func() { time.Sleep(20 * time.Millisecond); a.CloseWrite() })
			wg.Go(func() {
				time.Sleep(50 * time.Millisecond)
				if seed%2 == 0 {
					b.Reset()
				}
				b.Close()
			})
			wg.Go(func() { time.Sleep(50 * time.Millisecond); a.Close() })
			wg.Wait()
		}
	})
}

func TestPipeAddrs(t *testing.T) {
	a, b := pipePair(t)
	require.Equal(t, a.LocalAddr(), b.RemoteAddr())
	require.Equal(t, b.LocalAddr(), a.RemoteAddr())
	require.NotEqual(t, a.LocalAddr(), b.LocalAddr())
	require.IsType(t, &net.TCPAddr{}, a.LocalAddr())
}

// Conns of the length of an hour of silence do not hold a bubble up, and no timer,
// goroutine or lock is left by conns that are closed: the bubble ends.
func TestPipeInBubbleEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := roomtest.Pipe()
		a.SetDeadline(time.Now().Add(time.Hour))
		b.In(roomtest.Latency(time.Hour))
		mustWrite(t, a, "x")
		start := time.Now()
		mustRead(t, b, "x")
		require.Equal(t, time.Hour, time.Since(start))
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	})
}

// A Write that waits for room is not split by another, even if that comes at the
// moment at which there is room.
func TestPipeWritesDoNotMix(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pipePair(t)
		a.SetWriteBuffer(100)
		long := later(func() error { _, err := a.Write(bytes.Repeat([]byte("a"), 150)); return err })
		blocked(t, long)
		mustRead(t, b, strings.Repeat("a", 60))
		mustWrite(t, a, strings.Repeat("b", 10))
		require.NoError(t, <-long)
		mustRead(t, b, strings.Repeat("a", 90)+strings.Repeat("b", 10))
	})
}

func TestPipeLargerBufferUnblocks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pipePair(t)
		fill(t, a)
		write := later(func() error { return writeErr(a) })
		blocked(t, write)
		require.NoError(t, b.SetReadBuffer(1<<20))
		require.NoError(t, <-write)
	})
}

// Only what has arrived counts as unread when an end is closed.
func TestPipeCloseBeforeArrival(t *testing.T) {
	for _, arrived := range []bool{false, true} {
		bubbleIn(t, fmt.Sprint("arrived ", arrived), func(t *testing.T) {
			a, b := pipePair(t)
			b.Out(roomtest.Latency(time.Second))
			mustWrite(t, b, "x")
			time.Sleep(time.Second - 1)
			if arrived {
				time.Sleep(time.Nanosecond)
			}
			require.NoError(t, a.Close())
			if arrived {
				require.ErrorIs(t, readErr(b), syscall.ECONNRESET)
			} else {
				require.Equal(t, io.EOF, readErr(b))
			}
		})
	}
}

func bubbleIn(t *testing.T, name string, fn func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { bubble(t, fn) })
}
