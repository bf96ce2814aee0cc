package fanout

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"example.com/tcproom/internal/sock"
	"github.com/stretchr/testify/require"
)

// A walkers is a hub whose members are fakes, and the many walks over them.
type walkers struct {
	*hub
	t       *testing.T
	rnd     *rand.Rand
	skip    bool
	mixed   bool     // some have no direct path
	other   *hub     // of a group that has news too, so that walks are interrupted; nil: none
	history sync.Map // seq -> *party
	all     []*party
	present []*party
	leaving sync.WaitGroup
}

// enter lets a member in: most take everything, some stall.
func (w *walkers) enter() {
	p := &party{skip: w.skip, member: w.member()}
	room := plenty
	if w.rnd.IntN(8) == 0 {
		room = w.rnd.IntN(8 << 10)
	}
	f := newFake(room)
	var raw sock.Writer = f
	if w.mixed && w.rnd.IntN(8) == 0 {
		raw = nil
	}
	p.here, p.there = f, f
	p.sink = w.group.newSink(f, raw, p, time.Minute)
	w.mu.Lock()
	p.from = w.seq
	p.cur = w.log.Attach(p.sink, p.skip)
	if p.held = w.rnd.IntN(4) == 0; p.held {
		p.cur.Hold()
	}
	w.mu.Unlock()
	w.all, w.present = append(w.all, p), append(w.present, p)
}

func (w *walkers) any() *party { return w.present[w.rnd.IntN(len(w.present))] }

// remove takes one of those who are present out of them.
func (w *walkers) remove() *party {
	i, last := w.rnd.IntN(len(w.present)), len(w.present)-1
	p := w.present[i]
	w.present[i] = w.present[last]
	w.present = w.present[:last]
	return p
}

// finish ends p, which gets all that was said before.
func (w *walkers) finish(p *party) {
	w.mu.Lock()
	done := p.sink.Finish()
	p.to = w.seq
	w.mu.Unlock()
	w.leaving.Go(func() {
		<-done
		p.finished = p.sink.Err() == nil
		p.here.Close()
		p.sink.Close()
	})
}

// say appends a frame of p's, or the hub's own, if it is let in.
func (w *walkers) say(p *party, size int) {
	var owner *Cursor
	if p != nil {
		owner = p.cur
	}
	w.mu.Lock()
	if w.tryLocked(owner, size, w.rnd.IntN(20) == 0, false) == Fits && p != nil {
		w.history.Store(w.seq, p)
	}
	w.mu.Unlock()
}

// act does one of the things that may happen while a flusher walks.
func (w *walkers) act() {
	if w.other != nil && w.rnd.IntN(2) == 0 {
		w.other.try(nil, 50, false, false)
	}
	p := w.any()
	switch w.rnd.IntN(20) {
	case 0:
		w.finish(w.remove())
		w.enter()
	case 1:
		p = w.remove()
		p.here.Close()
		p.sink.Close()
		w.enter()
	case 2, 3:
		w.direct(p)
	case 4:
		p.here.(*fake).stop()
	case 5:
		p.here.(*fake).take(plenty)
	case 7:
		w.release(p)
	case 6:
		w.say(p, w.rnd.IntN(6<<10))
	case 8, 9, 10:
		w.say(p, 20+w.rnd.IntN(200))
	default:
		w.say(nil, 20+w.rnd.IntN(200))
	}
}

// check fails when a shard is said to be served further than one of its sinks
// is that does not wait: then bytes may go that this one needs.
func (w *walkers) check() {
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	for _, p := range w.present {
		c := p.cur
		pos, served := c.pos.Load(), w.log.served[p.sink.num].pos
		if !c.parked.Load() && !c.lost && pos < min(served, c.end.Load()) {
			w.t.Errorf("a sink that does not wait stands at %d, and its shard is served up to %d", pos, served)
		}
	}
}

// walked returns when no flusher is at work.
func (w *walkers) walked() {
	for i := range w.fan.shards {
		for w.fan.shards[i].word.Load() != idle {
			runtime.Gosched()
		}
	}
}

// hold holds the write to one who is present, in a walk that visits everybody.
func (w *walkers) hold() (letGo func()) {
	for {
		p := w.any()
		if p.sink.raw == nil || p.sink.Err() != nil || p.sink.Waiting() || p.cur.parked.Load() {
			continue
		}
		f := p.here.(*fake)
		f.take(plenty)
		held, letGo := f.hold()
		w.direct(p)
		w.say(nil, 100)
		<-held
		return letGo
	}
}

func (w *walkers) direct(p *party) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.cur.Insert(appendFrame(nil, kindDirect, uint64(len(p.directs)), 40), 4<<10) {
		at := w.seq
		if p.held {
			at = p.from
		}
		p.directs = append(p.directs, at)
	}
}

// release lets the stream of p go on, where it is held.
func (w *walkers) release(p *party) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p.held = false
	p.cur.Release()
}

// Whatever happens while walks are held that go over several hundred sinks:
// each gets its stream, and nothing is kept of it in the end.
func TestE5ChangesDuringLongWalks(t *testing.T) {
	for _, tt := range []struct {
		name                       string
		block, skip, mixed, beside bool
	}{
		{name: "disconnect"},
		{name: "disconnect, mixed", mixed: true},
		{name: "skip", skip: true},
		{name: "skip, mixed", skip: true, mixed: true},
		{name: "block", block: true},
		{name: "disconnect, beside another group", beside: true},
		{name: "skip, mixed, beside another group", skip: true, mixed: true, beside: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			w := &walkers{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), skip: tt.skip, mixed: tt.mixed}
			w.hub = newHub(t, LogConfig{Backlog: 32 << 10, Block: tt.block})
			if tt.beside {
				w.other = w.hub.beside(kindLog + 1)
				f := newFake(plenty)
				w.other.join(t, f, f, false)
			}
			for range 5 * yieldEvery {
				w.enter()
			}
			for range 12 {
				letGo := w.hold()
				for range 60 {
					w.act()
				}
				w.check()
				letGo()
				for range w.rnd.IntN(60) {
					w.act()
					w.check()
				}
				w.walked()
				w.check()
				if w.rnd.IntN(2) == 0 {
					w.unstall()
				}
			}
			w.end()
		})
	}
}

// unstall lets everybody take everything.
func (w *walkers) unstall() {
	for _, p := range w.all {
		p.here.(*fake).take(plenty)
	}
}

// end sees everybody off, when nothing is kept for anybody any more, and
// compares what each has got with the history.
func (w *walkers) end() {
	w.unstall()
	for _, p := range w.present {
		w.release(p)
	}
	for began := time.Now(); ; runtime.Gosched() {
		if charge, _ := w.log.Size(); charge == 0 {
			break
		}
		require.Less(w.t, time.Since(began), 10*time.Second, "bytes are kept, and nobody is at work")
	}
	w.walked()
	w.check()
	for len(w.present) > 0 {
		w.finish(w.remove())
	}
	w.unstall()
	w.leaving.Wait()
	finished := 0
	for i, p := range w.all {
		p.got = p.here.(*fake).received()
		if p.finished {
			finished++
		}
		if err := p.check(&w.history); err != nil {
			w.t.Errorf("party %d (from %d to %d, finished %v): %v", i, p.from, p.to, p.finished, err)
		}
	}
	require.Greater(w.t, finished, len(w.all)/4)
	w.idle(w.t)
}
