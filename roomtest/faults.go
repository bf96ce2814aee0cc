package roomtest

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"time"
)

// A Fault is something wrong with one direction of a [Conn], or a property of
// the network that it runs over. [Conn.In] and [Conn.Out] put faults in force.
//
// Everything that a fault does is decided by its arguments, by the bytes that
// are written and by the clock; in a testing/synctest bubble, the bubble's. So
// a test with one writer goes the same way each time. A Fault may be used for
// any number of conns, each of which then begins anew.
type Fault func(*faults)

// faults are the faults of one direction.
type faults struct {
	stalled   bool
	blackHole bool
	latency   time.Duration
	jitter    jitter
	bandwidth int64      // bytes a second; 0: no limit
	chop      func() int // how far apart the ends of reads are at most
	edge      int64      // bytes to the latest end of the next read; 0: to be decided
	chopEach  bool       // with each read, wherever the last one ended
	cut       int64      // the reader gets so many bytes more, then the end; never negative
	reset     int64      // the same, then a reset
}

// never is a number of bytes that is never sent.
const never = math.MaxInt64

func newFaults(fs []Fault) faults {
	f := faults{cut: never, reset: never}
	for _, fault := range fs {
		if fault != nil {
			fault(&f)
		}
	}
	return f
}

// Stall stops the direction: what was not read yet, an end of the stream included, is
// not read while Stall is in force, and is after it. The writer goes on until the
// buffer is full, and then blocks.
func Stall() Fault { return func(f *faults) { f.stalled = true } }

// Latency delivers everything d after it was written, in order. It does not
// limit the throughput, for up to 16 MiB may be on their way, beside what the
// buffer holds. Zero and negative values are no latency.
//
// If a lower latency comes into force, or none, what is on its way arrives at most
// that much later.
func Latency(d time.Duration) Fault { return func(f *faults) { f.latency = max(d, 0) } }

// Jitter adds to the latency of each write a random time of at least 0 and less than
// d, which depends on seed and on the write's position in the stream. The order is
// kept, so that a late piece holds up the pieces behind it. Zero and negative values
// are no jitter.
func Jitter(d time.Duration, seed uint64) Fault {
	return func(f *faults) { f.jitter = jitter{max(d, 0), seed} }
}

// Bandwidth lets bytesPerSecond bytes through in a second: n bytes that are written
// to a quiet conn have all arrived exactly n/bytesPerSecond seconds later. They
// arrive in pieces of at most what passes in 10 ms, or in single bytes if that is
// less than one. What waits is in the buffer, so that a writer that fills it is
// slowed down. Zero and negative values are no limit.
func Bandwidth(bytesPerSecond int) Fault {
	return func(f *faults) { f.bandwidth = int64(max(bytesPerSecond, 0)) }
}

// Chop lets each Read return at most n bytes. For a wrapped conn, see [Wrap],
// each of the writes to it, too, has at most n bytes. Zero and negative values
// do not chop.
func Chop(n int) Fault {
	return func(f *faults) {
		f.chop, f.chopEach = nil, true
		if n > 0 {
			f.chop = func() int { return n }
		}
	}
}

// ChopRandom is [Chop] at random places: no Read goes beyond certain positions
// of the stream, which are 1 to most bytes apart, as seed decides. Whenever the
// reader comes, a Read ends there.
func ChopRandom(most int, seed uint64) Fault {
	return func(f *faults) {
		f.chop, f.chopEach = nil, false
		if d := newDice(int64(most), seed); d != nil {
			f.chop = func() int { return 1 + int(d.roll()) }
		}
	}
}

// CutAfter ends the stream in good order, as if the peer had closed its half, once n
// more bytes were read, even in the middle of a frame. What follows vanishes, and its
// writer gets no error. Negative values are 0, which is at once. The cut stays when
// the faults change.
func CutAfter(n int64) Fault { return func(f *faults) { f.cut = max(n, 0) } }

// ResetAfter resets the connection, as [Conn.Reset] does, once n more bytes of this
// direction were read, even in the middle of a frame. Negative values are 0, which is
// at once.
func ResetAfter(n int64) Fault { return func(f *faults) { f.reset = max(n, 0) } }

// BlackHole makes vanish what is written from now on, and the end of the stream too:
// the writer gets no error, and the reader waits. A close of the writer's end
// vanishes as well, even one with a reset as after SetLinger(0); [Conn.Reset] reaches
// both ends. What was written before still arrives. What vanished does not come back:
// after the fault the stream has a hole, which a TCP stream never has.
func BlackHole() Fault { return func(f *faults) { f.blackHole = true } }

// most returns the limit of the next Read.
func (f *faults) most(n int) int {
	if f.chop != nil {
		if f.edge == 0 || f.chopEach {
			f.edge = int64(f.chop())
		}
		n = int(min(int64(n), f.edge))
	}
	return int(min(int64(n), f.cut, f.reset))
}

// count notes that n bytes were read.
func (f *faults) count(n int) {
	f.edge -= min(f.edge, int64(n))
	if f.cut != never {
		f.cut -= int64(n)
	}
	if f.reset != never {
		f.reset -= int64(n)
	}
}

// delay is how long a write that begins at this position of the stream is on
// its way.
func (f *faults) delay(pos int64) time.Duration { return f.latency + f.jitter.at(pos) }

// A jitter is a random time below limit for each position of a stream.
type jitter struct {
	limit time.Duration // 0: none
	seed  uint64
}

func (j jitter) at(pos int64) time.Duration {
	if j.limit == 0 {
		return 0
	}
	return time.Duration(rand.New(rand.NewPCG(j.seed, uint64(pos))).Int64N(int64(j.limit)))
}

// piece returns how much of n bytes goes over the link as a whole.
func (f *faults) piece(n int64) int64 {
	if f.bandwidth == 0 {
		return n
	}
	return min(n, max(f.bandwidth/100, 1))
}

// passing is how long n bytes take to pass the link.
func (f *faults) passing(n int64) time.Duration {
	if f.bandwidth == 0 {
		return 0
	}
	rate := uint64(f.bandwidth)
	seconds, rest := uint64(n)/rate, uint64(n)%rate
	hi, lo := bits.Mul64(rest, uint64(time.Second))
	nanos, _ := bits.Div64(hi, lo, rate)
	return time.Duration(seconds)*time.Second + time.Duration(nanos)
}

// dice are seeded numbers below a limit.
type dice struct {
	limit int64
	rand  *rand.Rand
}

// newDice returns nil for a limit of 0 or less.
func newDice(limit int64, seed uint64) *dice {
	if limit <= 0 {
		return nil
	}
	return &dice{limit, rand.New(rand.NewPCG(seed, 0))}
}

func (d *dice) roll() int64 { return d.rand.Int64N(d.limit) }
