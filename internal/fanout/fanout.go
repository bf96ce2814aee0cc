// Package fanout is the engine of a room: it brings one stream of bytes to
// many connections.
//
// A [Log] holds the stream, a [Cursor] is one connection's position in it, a
// [Sink] is the writing half of a connection, and the flushers of a [Fan]
// carry bytes from logs to sinks. The engine knows bytes and positions; what
// the bytes mean is its caller's business, and how a socket is written to without
// waiting that of package sock.
//
// Locks: Log.mu and Sink.mu are leaves, never held together, nor during I/O
// or a call out; Fan.mu is taken before Log.mu. Whoever appends to a log
// serialises its appends with a lock of its own, which is taken before these.
package fanout

import (
	"context"
	"runtime"
	"slices"
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

// A Fan is a set of logs and sinks, and the flushers between them.
type Fan struct {
	shards []shard // fixed at creation

	mu      sync.Mutex // guards what follows
	logs    []*Log     // by slot; nil where a log was dropped
	sinks   int
	lost    []*Sink // overrun, and still to fail
	cutting bool    // cut is running
	ended   bool    // Wait was called: nothing starts any more

	ids      atomic.Uint32 // of cursors
	progress progress
	lull     lull
	wg       sync.WaitGroup // flushers, writers and cut
}

// New returns a Fan without logs and sinks. It holds no goroutine while there
// is nothing to write.
func New() *Fan {
	f := &Fan{}
	f.shards = make([]shard, min(runtime.GOMAXPROCS(0), maxShards))
	for i := range f.shards {
		f.shards[i].fan, f.shards[i].num = f, i
	}
	return f
}

// Flush makes sure that a flusher visits every sink after this call. It is
// called after an append, and does not block.
func (f *Fan) Flush() {
	for i := range f.shards {
		f.shards[i].kick()
	}
}

// flushes reports whether a flusher will come after an append.
func (f *Fan) flushes() bool {
	for i := range f.shards {
		if f.shards[i].open.Load() > 0 {
			return true
		}
	}
	return false
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

// Progress returns a channel that is closed when flushers or readers of the
// sinks have made room in a log, or [Fan.Wake] was called. Take it before the
// check that may fail, and pass it to Await after that.
func (f *Fan) Progress() <-chan struct{} { return f.progress.wait() }

// Wake wakes everybody who awaits progress.
func (f *Fan) Wake() { f.progress.wake() }

// Await returns when there was progress since ch was taken, or with ctx's
// error. A limit above zero bounds the wait, which is no error. While it
// waits, transports that cannot tell whether they would block are looked at
// again, so that a stalled one counts as waiting in time.
func (f *Fan) Await(ctx context.Context, ch <-chan struct{}, limit time.Duration) error {
	f.Flush()
	tick := patience
	if limit > 0 {
		tick = min(tick, limit)
	}
	t := time.NewTimer(tick)
	defer t.Stop()
	select {
	case <-ch:
	case <-t.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// place returns the shard for a new sink: small fans have one flusher.
func (f *Fan) place() *shard {
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
	if best.open.Load() == 0 {
		// Nobody kept count of what this shard was served.
		for _, l := range f.logs {
			if l != nil {
				l.serveNew(best.num)
			}
		}
	}
	best.open.Add(1)
	return best
}

func (f *Fan) addLog(l *Log) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l.slot = slices.Index(f.logs, nil); l.slot < 0 {
		l.slot = len(f.logs)
		f.logs = append(f.logs, nil)
	}
	f.logs[l.slot] = l
}

func (f *Fan) dropLog(l *Log) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.logs[l.slot] == l {
		f.logs[l.slot] = nil
	}
}

// progress is a broadcast: everybody who took the channel is woken at once.
type progress struct {
	wanted atomic.Bool // somebody took ch; spares flushers the lock
	mu     sync.Mutex  // guards ch
	ch     chan struct{}
}

func (p *progress) wait() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ch == nil {
		p.ch = make(chan struct{})
		p.wanted.Store(true)
	}
	return p.ch
}

func (p *progress) wake() {
	if !p.wanted.Load() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ch != nil {
		close(p.ch)
		p.ch = nil
		p.wanted.Store(false)
	}
}
