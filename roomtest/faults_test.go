package roomtest_test

import (
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

func TestFaultStall(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pipePair(t)
		mustWrite(t, a, "before")
		b.In(roomtest.Stall())
		read := later(func() error { mustRead(t, b, "before, and after"); return readErr(b) })
		mustWrite(t, a, ", and after")
		require.NoError(t, a.CloseWrite())
		time.Sleep(time.Hour)
		blocked(t, read)
		mustWrite(t, b, "the other way is well")
		mustRead(t, a, "the other way is well")
		b.In()
		require.Equal(t, io.EOF, <-read)
	})
}

func TestFaultStallFillsTheBuffer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pipePair(t)
		a.Out(roomtest.Stall())
		go io.Copy(io.Discard, b)
		require.Equal(t, 64<<10, fill(t, a))
		write := later(func() error { return writeErr(a) })
		time.Sleep(time.Hour)
		blocked(t, write)
		a.Out()
		require.NoError(t, <-write)
	})
}

// The end of the stream is held up like bytes are.
func TestFaultStallHoldsTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pipePair(t)
		b.In(roomtest.Stall())
		require.NoError(t, a.Close())
		read := later(func() error { return readErr(b) })
		blocked(t, read)
		b.In()
		require.Equal(t, io.EOF, <-read)
	})
}

func TestFaultLatency(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pipePair(t)
		a.Out(roomtest.Latency(100 * time.Millisecond))
		clock := startClock()
		mustWrite(t, a, "one")
		time.Sleep(30 * time.Millisecond)
		mustWrite(t, a, "two")
		time.Sleep(30 * time.Millisecond)
		require.NoError(t, a.CloseWrite())
		clock.shows(t, 60*time.Millisecond)
		mustRead(t, b, "one")
		clock.shows(t, 100*time.Millisecond)
		mustRead(t, b, "two")
		clock.shows(t, 130*time.Millisecond)
		require.Equal(t, io.EOF, readErr(b))
		clock.shows(t, 160*time.Millisecond)
		mustWrite(t, b, "back")
		mustRead(t, a, "back")
		clock.shows(t, 160*time.Millisecond)
	})
}

// Latency is no bound on the throughput, but what is on its way is bounded.
func TestFaultLatencyThroughput(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pipePair(t)
		a.Out(roomtest.Latency(time.Second))
		clock := startClock()
		const size = 10 << 20
		mustWrite(t, a, string(sample(size, 1)))
		clock.shows(t, 0)
		mustRead(t, b, string(sample(size, 1)))
		clock.shows(t, time.Second)
		require.Equal(t, 16<<20, fill(t, a))
		time.Sleep(time.Second)
		require.Zero(t, fill(t, a)) // the buffer is full of what has arrived
	})
}

// A lower latency holds for what is on its way, too.
func TestFaultLatencyHeals(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pipePair(t)
		a.Out(roomtest.Latency(time.Hour))
		clock := startClock()
		mustWrite(t, a, "one")
		a.Out(roomtest.Latency(time.Second))
		mustWrite(t, a, "two")
		mustRead(t, b, "onetwo")
		clock.shows(t, time.Second)
		a.Out(roomtest.Latency(time.Hour))
		mustWrite(t, a, "three")
		read := later(func() error { mustRead(t, b, "three"); return nil })
		blocked(t, read)
		a.Out()
		<-read
		clock.shows(t, time.Second)
	})
}

// Close does not cut short what is on its way, and the end does not overtake it.
func TestFaultLatencyAfterClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pipePair(t)
		a.Out(roomtest.Latency(time.Minute), roomtest.Bandwidth(10))
		clock := startClock()
		mustWrite(t, a, strings.Repeat("x", 100))
		require.NoError(t, a.Close())
		clock.shows(t, 0)
		mustRead(t, b, strings.Repeat("x", 100))
		clock.shows(t, 70*time.Second)
		require.Equal(t, io.EOF, readErr(b))
		clock.shows(t, 70*time.Second)
	})
}

func TestFaultJitter(t *testing.T) {
	run := func(t *testing.T, seed uint64) (at []time.Duration) {
		a, b := pipePair(t)
		a.Out(roomtest.Latency(time.Second), roomtest.Jitter(time.Second, seed))
		clock := startClock()
		go func() {
			for i := range 20 {
				a.Write([]byte{byte('a' + i)})
				time.Sleep(100 * time.Millisecond)
			}
		}()
		for i := range 20 {
			mustRead(t, b, string(rune('a'+i)))
			at = append(at, time.Since(clock.start))
			written := time.Duration(i) * 100 * time.Millisecond
			require.GreaterOrEqual(t, at[i], written+time.Second)
			require.Less(t, at[i], written+2*time.Second)
		}
		return at
	}
	bubble(t, func(t *testing.T) {
		first := run(t, 1)
		require.Equal(t, first, run(t, 1))
		require.NotEqual(t, first, run(t, 2))
	})
}

func TestFaultBandwidth(t *testing.T) {
	tests := []struct {
		name  string
		rate  int
		bytes int
		want  time.Duration
		reads int // as pieces of 10 ms, or of one byte
	}{
		{name: "one byte", rate: 1000, bytes: 1, want: time.Millisecond, reads: 1},
		{name: "a piece", rate: 1000, bytes: 10, want: 10 * time.Millisecond, reads: 1},
		{name: "pieces", rate: 1000, bytes: 3005, want: 3005 * time.Millisecond, reads: 301},
		{name: "slow", rate: 3, bytes: 10, want: 3333333333, reads: 10},
		{name: "fast", rate: 100_000_000, bytes: 3_000_000, want: 30 * time.Millisecond, reads: 0},
		{name: "no limit", rate: 0, bytes: 1 << 20, want: 0, reads: 0},
		{name: "negative", rate: -1, bytes: 1 << 20, want: 0, reads: 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				a, b := pipePair(t)
				a.Out(roomtest.Bandwidth(tt.rate))
				time.Sleep(time.Hour) // what was not used is not saved up
				clock := startClock()
				go a.Write(make([]byte, tt.bytes))
				sizes := readSizes(t, b, tt.bytes)
				clock.shows(t, tt.want)
				if tt.reads > 0 {
					require.Len(t, sizes, tt.reads)
				}
			})
		})
	}
}

// The writer is held up as soon as the buffer is full.
func TestFaultBandwidthHoldsWriter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pipePair(t)
		a.Out(roomtest.Bandwidth(1000))
		a.SetWriteBuffer(500)
		go io.Copy(io.Discard, b)
		clock := startClock()
		mustWrite(t, a, strings.Repeat("x", 2000))
		clock.shows(t, 1500*time.Millisecond)
		mustWrite(t, a, strings.Repeat("x", 100))
		clock.shows(t, 1600*time.Millisecond)
	})
}

func TestFaultBandwidthChanges(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pipePair(t)
		a.Out(roomtest.Bandwidth(100))
		clock := startClock()
		mustWrite(t, a, strings.Repeat("x", 1000))
		mustRead(t, b, strings.Repeat("x", 300))
		clock.shows(t, 3*time.Second)
		a.Out(roomtest.Bandwidth(700), roomtest.Latency(time.Minute))
		mustRead(t, b, strings.Repeat("x", 700))
		clock.shows(t, 64*time.Second)

		// What has passed before the change has passed, even if no call has looked.
		a, b = pipePair(t)
		a.Out(roomtest.Bandwidth(100))
		clock = startClock()
		mustWrite(t, a, strings.Repeat("x", 1000))
		time.Sleep(3 * time.Second)
		a.Out(roomtest.Bandwidth(700))
		mustRead(t, b, strings.Repeat("x", 1000))
		clock.shows(t, 4*time.Second)
	})
}

func TestFaultChop(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pipePair(t)
		b.In(roomtest.Chop(3))
		mustWrite(t, a, "0123456789")
		require.Equal(t, []int{3, 3, 3, 1}, readSizes(t, b, 10))
		b.In(roomtest.Chop(3), roomtest.Chop(0))
		mustWrite(t, a, "0123456789")
		require.Equal(t, []int{10}, readSizes(t, b, 10))

		random := func(seed uint64) []int {
			b.In(roomtest.ChopRandom(5, seed))
			mustWrite(t, a, strings.Repeat("x", 1000))
			return readSizes(t, b, 1000)
		}
		first := random(1)
		require.Equal(t, first, random(1))
		require.NotEqual(t, first, random(2))
		for n := 1; n <= 5; n++ {
			require.Contains(t, first, n)
		}
		require.NotContains(t, first, 6)
	})
}

func TestFaultCutAfter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pipePair(t)
		mustWrite(t, a, "before ")
		a.Out(roomtest.CutAfter(10))
		mustWrite(t, a, "and after")
		mustRead(t, b, "before and")
		require.Equal(t, io.EOF, readErr(b))
		mustWrite(t, a, strings.Repeat("x", 1<<20)) // vanishes
		a.Out()
		require.Equal(t, io.EOF, readErr(b))
		mustWrite(t, b, "the other way is well")
		mustRead(t, a, "the other way is well")

		_, b = pipePair(t)
		read := later(func() error { return readErr(b) })
		blocked(t, read)
		b.In(roomtest.CutAfter(-1))
		require.Equal(t, io.EOF, <-read)
	})
}

func TestFaultResetAfter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pipePair(t)
		a.Out(roomtest.ResetAfter(3))
		mustWrite(t, a, "ab")
		mustRead(t, b, "ab")
		mustWrite(t, a, "cd")
		mustWrite(t, b, "x")
		mustRead(t, b, "c")
		for _, c := range []*roomtest.Conn{a, b} {
			require.ErrorIs(t, readErr(c), syscall.ECONNRESET)
			require.ErrorIs(t, writeErr(c), syscall.ECONNRESET)
		}

		a, b = pipePair(t)
		read := later(func() error { return readErr(a) })
		blocked(t, read)
		b.In(roomtest.ResetAfter(0))
		require.ErrorIs(t, <-read, syscall.ECONNRESET)
		require.ErrorIs(t, readErr(b), syscall.ECONNRESET)
	})
}

func TestFaultBlackHole(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pipePair(t)
		mustWrite(t, a, "before")
		a.Out(roomtest.BlackHole())
		mustWrite(t, a, strings.Repeat("x", 1<<20))
		mustRead(t, b, "before")
		read := later(func() error { return readErr(b) })
		blocked(t, read)
		mustWrite(t, b, "the other way is well")
		mustRead(t, a, "the other way is well")
		require.NoError(t, a.Close())
		mustWrite(t, b, strings.Repeat("x", 1<<20)) // a's close does not arrive
		time.Sleep(time.Hour)
		blocked(t, read)
		a.Out()
		require.ErrorIs(t, writeErr(b), syscall.EPIPE)
		blocked(t, read)
		b.SetReadDeadline(time.Now())
		require.ErrorIs(t, <-read, os.ErrDeadlineExceeded)
	})
}

// A close that would reset does not get through a black hole either.
func TestFaultBlackHoleSwallowsResets(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pipePair(t)
		mustWrite(t, a, "before")
		mustWrite(t, b, "unread")
		a.Out(roomtest.BlackHole())
		require.NoError(t, a.Close())
		mustRead(t, b, "before")
		b.SetReadDeadline(time.Now().Add(time.Hour))
		require.ErrorIs(t, readErr(b), os.ErrDeadlineExceeded)
		mustWrite(t, b, "x")

		a, b = pipePair(t)
		a.Out(roomtest.BlackHole())
		a.Reset() // the network's doing, see its doc
		require.ErrorIs(t, readErr(b), syscall.ECONNRESET)
	})
}

func TestFaultNil(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pipePair(t)
		a.Out(nil, roomtest.Latency(time.Second), nil, roomtest.Jitter(0, 1), roomtest.ChopRandom(0, 1))
		clock := startClock()
		mustWrite(t, a, "x")
		mustRead(t, b, "x")
		clock.shows(t, time.Second)
	})
}

// TestChopRandomByPosition: the seed decides where reads end, whenever the reader
// comes.
func TestChopRandomByPosition(t *testing.T) {
	const size = 1000
	ends := func(step int) map[int]bool {
		a, b := roomtest.Pipe()
		defer a.Close()
		defer b.Close()
		b.In(roomtest.ChopRandom(9, 1))
		at, ends := 0, make(map[int]bool)
		for sent := 0; sent < size; sent += step {
			_, err := a.Write(make([]byte, step))
			require.NoError(t, err)
			for at < sent+step {
				n, err := b.Read(make([]byte, size))
				require.NoError(t, err)
				at += n
				ends[at] = true
			}
		}
		return ends
	}
	want := ends(size)
	require.Greater(t, len(want), size/9)
	require.Less(t, len(want), size)
	for _, step := range []int{2, 5, 20} {
		got := ends(step)
		for end := range want {
			require.True(t, got[end], "no read of %d bytes at a time ends at %d", step, end)
		}
		for end := range got {
			require.True(t, want[end] || end%step == 0, end)
		}
	}
}

// TestJitterByPosition: the seed and the position in the stream decide how long a
// write takes, whenever the reader came before.
func TestJitterByPosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		took := func(early bool) time.Duration {
			a, b := roomtest.Pipe()
			defer a.Close()
			defer b.Close()
			a.SetWriteBuffer(10)
			a.Out(roomtest.Jitter(time.Second, 7))
			read := func(n int) {
				_, err := io.ReadFull(b, make([]byte, n))
				require.NoError(t, err)
			}
			a.Write(make([]byte, 5))
			time.Sleep(time.Second)
			if early {
				read(5)
			}
			a.Write(make([]byte, 100))
			time.Sleep(time.Second)
			if !early {
				read(5)
			}
			read(100)
			began := time.Now()
			a.Write([]byte{1})
			read(1)
			return time.Since(began)
		}
		require.NotZero(t, took(true))
		require.Equal(t, took(true), took(false))
	})
}
