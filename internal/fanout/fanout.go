// Package fanout is the engine of rooms: it brings streams of bytes to many
// connections.
//
// A [Log] holds a stream, a [Cursor] is one connection's position in it, a [Sink] is
// the writing half of a connection, a [Group] is the logs of one room, and the flushers
// of a [Fan] carry bytes from logs to sinks. The engine knows bytes and positions; what
// the bytes mean is its caller's business, and how a socket is written to without
// waiting that of package sock.
//
// Locks: Log.mu and Sink.mu are leaves, never held together, nor during I/O
// or a call out; Group.mu is taken before Log.mu. Whoever appends to a log
// serialises its appends with a lock of its own, which is taken before these.
package fanout

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxShards     = 8
	sinksPerShard = 256      // a further flusher is worth it from here on
	maxWrite      = 64 << 10 // of one plain write to a sink, or one frame
	maxFill       = 16 << 10 // of one gathered write, or one frame: what a stalled sink holds

	// A transport that cannot say "would block" counts as waiting when one
	// write took this long,
	patience = 20 * time.Millisecond
	// or when it has dragged for this long, without catching up: at least half
	// of that time went by in writes, and the mean of them was dragging. A
	// transport that is not waiting takes a piece in the time that it takes to copy
	// or to encrypt it, which is tens of microseconds.
	dragWindow = 10 * patience
	dragging   = time.Millisecond
)

// A Fan is the flushers between the logs of groups and the sinks that read them. A
// process needs one for all rooms that have connections in common.
type Fan struct {
	shards []shard // fixed at creation

	mu      sync.Mutex // guards what follows
	sinks   int
	lost    []*Sink // overrun, and still to fail
	cutting bool    // cut is running
	ended   bool    // Wait was called: nothing starts any more

	ids  atomic.Uint32 // of cursors
	lull lull
	wg   sync.WaitGroup // flushers, writers and cut
}

// New returns a Fan without groups and sinks. It holds no goroutine while there
// is nothing to write.
func New() *Fan {
	f := &Fan{}
	f.shards = make([]shard, min(runtime.GOMAXPROCS(0), maxShards))
	for i := range f.shards {
		f.shards[i].fan, f.shards[i].num = f, i
	}
	return f
}

// Wait returns when every goroutine of the Fan has ended, and none starts
// after it. All sinks must have been closed.
func (f *Fan) Wait() {
	f.mu.Lock()
	f.ended = true
	f.mu.Unlock()
	f.wg.Wait()
	f.lull.close()
}

// Go runs fn on a goroutine of its own, for which Wait waits. Once Wait was called it
// does nothing.
func (f *Fan) Go(fn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ended {
		f.wg.Go(fn)
	}
}

// place returns the number of the shard for a new sink: small fans have one flusher.
func (f *Fan) place() uint8 {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := min(1+f.sinks/sinksPerShard, len(f.shards))
	best := &f.shards[0]
	for i := 1; i < n; i++ {
		if f.shards[i].open.Load() < best.open.Load() {
			best = &f.shards[i]
		}
	}
	f.sinks++
	best.open.Add(1)
	return uint8(best.num)
}
