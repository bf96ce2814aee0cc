package fanout

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A shard is the sinks that one flusher writes to. A sink stays in its shard, so no
// two flushers ever visit it.
type shard struct {
	fan  *Fan
	num  int
	word atomic.Uint32 // idle, running or dirty
	open atomic.Int32  // sinks that are not closed

	mu     sync.Mutex // guards what follows
	news   []*part    // to be walked, in turn
	wanted []*Sink    // to be visited for themselves

	// The running flusher's.
	parts []*part // what news was
	left  int     // of parts, those that are still to be walked
	sinks []*Sink // what wanted was
	gave  int64   // when it gave way last,
	took  int64   // and for how long
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

// push puts p behind what waits to be walked. It is for who then kicks.
func (sh *shard) push(p *part) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.news = append(sh.news, p)
}

// want makes sure that s is visited after this call, whatever its groups have.
func (sh *shard) want(s *Sink) {
	if !s.wanted.Swap(true) {
		sh.mu.Lock()
		sh.wanted = append(sh.wanted, s)
		sh.mu.Unlock()
	}
	sh.kick()
}

// kick makes sure that a flusher looks at what waits after this call.
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
	pad := padPool.Get().(*pad)
	defer padPool.Put(pad)
	for {
		// Whoever is ready to speak speaks first: one write carries it all.
		if sh.isLong() {
			sh.giveWay()
		} else {
			runtime.Gosched()
		}
		sh.word.Swap(running)
		sh.round(pad)
		if sh.word.CompareAndSwap(running, idle) {
			return
		}
	}
}

// isLong reports whether the walk that comes next is.
func (sh *shard) isLong() bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return len(sh.news) > 0 && len(sh.news[0].cursors) >= yieldEvery
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

// round visits the sinks that are wanted, and walks the parts that have news. What
// comes meanwhile is for the next round.
func (sh *shard) round(pad *pad) {
	sh.visitWanted(pad)
	sh.mu.Lock()
	sh.parts, sh.news = sh.news, sh.parts[:0]
	sh.mu.Unlock()
	for i, p := range sh.parts {
		sh.parts[i] = nil
		sh.left = len(sh.parts) - i - 1
		sh.walk(p, pad)
	}
}

// visitWanted visits the sinks that are wanted.
func (sh *shard) visitWanted(pad *pad) {
	sh.mu.Lock()
	sh.sinks, sh.wanted = sh.wanted, sh.sinks[:0]
	sh.mu.Unlock()
	for i, s := range sh.sinks {
		sh.sinks[i] = nil
		s.wanted.Store(false) // before it is visited
		s.look(pad)
	}
}

// walk visits the cursors of p. After yieldEvery of them it lets other parts go first,
// if some have news.
func (sh *shard) walk(p *part, pad *pad) {
	for {
		p.begin()
		for p.visit(pad) {
			sh.giveWay()
			sh.visitWanted(pad)
			if sh.hasNews(p) {
				sh.again(p)
				return
			}
			p.walk.refresh()
		}
		if !p.end() {
			return
		}
		if sh.hasNews(p) {
			p.queue()
			return
		}
	}
}

// hasNews reports whether a part waits, beside p, which is walked.
func (sh *shard) hasNews(p *part) bool {
	if sh.left > 0 {
		return true
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return len(sh.news) > 1 || len(sh.news) == 1 && sh.news[0] != p
}

// again puts p, whose walk is interrupted, behind what waits to be walked.
func (sh *shard) again(p *part) {
	sh.push(p)
	sh.word.Store(dirty) // the flusher's own: it does not end now
}
