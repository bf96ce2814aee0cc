package fanout

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"example.com/tcproom/internal/sock"
)

// A shard is the sinks that one flusher walks.
type shard struct {
	fan  *Fan
	num  int
	word atomic.Uint32 // idle, running or dirty
	open atomic.Int32  // sinks that are not closed
	busy atomic.Int32  // of them, those whose writer is at work

	mu    sync.Mutex // guards added
	added []*Sink

	// The running flusher's.
	sinks []*Sink
	gave  int64 // when it gave way last,
	took  int64 // and for how long
}

// The states of shard.word. Whoever has something to flush swaps in dirty, and
// starts a flusher if the shard was idle; a flusher ends only by changing
// running to idle, so that it never misses what came while it walked.
const (
	idle uint32 = iota
	running
	dirty
)

// yieldEvery is how many sinks a flusher visits before it lets others run, and
// then gives those that follow what they have said. A walk that is shorter takes
// less time than a look at the network is worth.
const yieldEvery = 64

const (
	longYield  = time.Millisecond
	yieldShare = 5 // long yields take at most one part in so many of the time
)

func (sh *shard) add(s *Sink) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.added = append(sh.added, s)
}

// kick makes sure that the shard's sinks are visited after this call.
func (sh *shard) kick() {
	if sh.open.Load() > 0 && sh.word.Swap(dirty) == idle {
		sh.start()
	}
}

// start starts the flusher, unless Wait was called: then there is nothing to
// flush, and Wait's count must not rise from zero.
func (sh *shard) start() {
	f := sh.fan
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ended {
		f.wg.Add(1)
		go sh.flush()
	}
}

// flush is the flusher. It ends when there is nothing to flush.
func (sh *shard) flush() {
	defer sh.fan.wg.Done()
	w := walkPool.Get().(*walk)
	defer walkPool.Put(w)
	for {
		// Whoever is ready to speak speaks first: one write carries it all.
		if len(sh.sinks) < yieldEvery {
			runtime.Gosched()
		} else {
			sh.giveWay()
		}
		sh.word.Swap(running)
		for sh.walk(w) {
		}
		if sh.word.CompareAndSwap(running, idle) {
			return
		}
	}
}

// giveWay lets other goroutines run, those too that wait for the network. Where
// they have much to do, of which the fan-out need not be the cause, it does so for
// a part of the time only.
func (sh *shard) giveWay() {
	now := monotonic()
	if sh.took >= int64(longYield) && now-sh.gave < (yieldShare-1)*sh.took {
		return
	}
	sh.fan.lull.look()
	runtime.Gosched()
	sh.gave = monotonic()
	sh.took = sh.gave - now
}

// walk visits every sink once, and reports whether some of them could take
// more at once.
func (sh *shard) walk(w *walk) (more bool) {
	w.open(sh)
	sh.adopt() // after the views: who is missed here stands at their heads or behind
	for i := 0; i < len(sh.sinks); i++ {
		s := sh.sinks[i]
		if s.dead.Load() {
			last := len(sh.sinks) - 1
			sh.sinks[i], sh.sinks[last] = sh.sinks[last], nil
			sh.sinks = sh.sinks[:last]
			i--
			continue
		}
		if s.visit(w) {
			more = true
		}
		if i%yieldEvery == yieldEvery-1 {
			sh.giveWay()
			w.refresh()
		}
	}
	if w.close(sh) {
		sh.fan.progress.wake()
	}
	return more
}

// adopt takes over the sinks that were added since the last walk.
func (sh *shard) adopt() {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.sinks = append(sh.sinks, sh.added...)
	clear(sh.added)
	sh.added = sh.added[:0]
	if len(sh.sinks) == 0 {
		sh.added, sh.sinks = nil, nil
	}
}

// A walk is a flusher's working state.
type walk struct {
	views   []view // by the slot of their log
	op      sock.Op
	scratch []byte
	ends    ends // of what is in scratch
}

var walkPool = sync.Pool{New: func() any {
	return &walk{scratch: make([]byte, 0, maxFill+4<<10)}
}}

// open makes the views. Heads are read before anything of the cursors.
func (w *walk) open(sh *shard) {
	f := sh.fan
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, l := range f.logs {
		if i == len(w.views) {
			w.views = append(w.views, view{})
		}
		if l != nil {
			w.views[i].open(l, sh.num)
		}
	}
}

// refresh shows who is visited from now on what was appended meanwhile.
func (w *walk) refresh() {
	for i := range w.views {
		if w.views[i].log != nil {
			w.views[i].refresh()
		}
	}
}

// close says what was served, and reports whether that made room in a log.
func (w *walk) close(sh *shard) (progress bool) {
	for i := range w.views {
		if w.views[i].log != nil {
			progress = w.views[i].close(sh.num) || progress
		}
	}
	return progress
}

// of returns the view of c's log, or nil for a log that is newer than the walk.
func (w *walk) of(c *Cursor) *view {
	if i := c.log.slot; i < len(w.views) && w.views[i].log == c.log {
		return &w.views[i]
	}
	return nil
}
