package fanout

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom/internal/sock"
	"github.com/stretchr/testify/require"
)

// A bare connection takes bytes without any synchronisation of its own, so
// that the race detector sees whether the token orders its writers.
type bare struct {
	net.Conn
	rnd *rand.Rand
	got []byte
}

func newBare(seed uint64) *bare { return &bare{rnd: rand.New(rand.NewPCG(seed, 5))} }

func (b *bare) TryWrite(_ *sock.Op, p []byte) (n int, again bool, err error) {
	switch b.rnd.IntN(8) {
	case 0:
		return 0, true, nil
	case 1:
		p = p[:1+b.rnd.IntN(len(p))]
	}
	b.got = append(b.got, p...)
	return len(p), false, nil
}

func (b *bare) Write(p []byte) (int, error) {
	for range b.rnd.IntN(3) {
		runtime.Gosched()
	}
	b.got = append(b.got, p...)
	return len(p), nil
}

// SetWriteDeadline is called last with the token held: the window in which an
// append finds the token taken, and the writer believes that it has caught up.
func (b *bare) SetWriteDeadline(t time.Time) error {
	if t.IsZero() {
		for range b.rnd.IntN(10) {
			runtime.Gosched()
		}
	}
	return nil
}

func (b *bare) Close() error { return nil }

// Each round appends while flushers and writers of the round before end.
// Whatever was appended arrives without anybody's further help.
func TestE5NoWakeUpIsLost(t *testing.T) {
	h := newHub(t, LogConfig{Backlog: 1 << 20})
	var conns []*bare
	var ms []*member
	for i := range 12 {
		b := newBare(uint64(i))
		var raw sock.Writer = b
		if i%4 == 3 {
			raw = nil
		}
		conns = append(conns, b)
		ms = append(ms, h.join(t, b, raw, false))
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	var own, direct [12]int
	for range 400 {
		var wg sync.WaitGroup
		for range 3 {
			i, yields := rnd.IntN(len(ms)), rnd.IntN(20)
			own[i]++
			direct[i]++
			num := uint64(direct[i])
			wg.Go(func() {
				for range yields {
					runtime.Gosched()
				}
				h.post(ms[i].cur, 50)
			})
			ms[i].cur.Insert(appendFrame(nil, kindDirect, num, 30), 1<<20)
		}
		wg.Wait()
		for i, m := range ms {
			for began := time.Now(); !caughtUp(m); runtime.Gosched() {
				if time.Since(began) > 5*time.Second {
					t.Fatalf("sink %d has %d frames to get, and nobody is at work", i, m.cur.Missed())
				}
			}
		}
	}
	for _, m := range ms {
		<-m.sink.Finish()
		m.sink.Close()
	}
	h.quiet()
	for i, b := range conns {
		require.Len(t, items(t, b.got), 1200-own[i]+direct[i], "sink %d", i)
	}
	require.Empty(t, h.lost())
}

// caughtUp reports whether m has nothing to get.
func caughtUp(m *member) bool { return m.cur.Missed() == 0 && !m.sink.behind() }

// The windows at the end of a visit: appends while a system call is held must
// be written although everybody else has gone by then.
func TestE5AppendsDuringHeldCalls(t *testing.T) {
	h := newHub(t, LogConfig{Backlog: 1 << 20})
	f := newFake(plenty)
	m := h.join(t, f, f, false)
	for i := range 200 {
		var flushing sync.WaitGroup
		began := time.Now()
		held, letGo := f.hold()
		if i%2 == 0 {
			h.post(nil, 50)
		} else { // a caller of Flush holds the token
			m.sink.Queue(appendFrame(nil, kindDirect, uint64(i), 20), 100)
			flushing.Go(m.sink.Flush)
		}
		<-held
		h.post(nil, 50)
		m.cur.Insert(appendFrame(nil, kindDirect, uint64(i), 20), 1000)
		if i%2 == 1 {
			h.quiet() // the flushers came, could not take the token, and went
		}
		letGo()
		for !caughtUp(m) {
			if i%2 == 1 && time.Since(began) > 5*time.Second {
				t.Fatal("nobody is at work")
			}
			runtime.Gosched()
		}
		flushing.Wait()
		h.quiet()
	}
	require.Len(t, items(t, f.received()), 600)
	h.idle(t)
}

// An insert and an append at once: a flusher that sees what was appended sees the
// insert before it, too. The append here gets the log's lock from Insert, which by
// a starving mutex gives way to it, so that on one processor all this happens
// before Insert goes on.
func TestE5AppendStraightAfterAnInsert(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	h := newHub(t, LogConfig{Backlog: 1 << 20})
	f := newFake(plenty)
	m := h.join(t, f, f, false)
	sh := m.sink.shard()
	yield := func() {
		for range 20 {
			runtime.Gosched()
		}
	}
	pad := padPool.Get().(*pad)
	hits, tries := 0, 0
	for ; hits < 3; tries++ {
		if tries == 300 {
			t.Fatal("no append came straight after an insert")
		}
		h.quiet()
		sh.word.Store(running) // the test is the flusher
		var wg sync.WaitGroup
		var inserted atomic.Bool
		direct := appendFrame(nil, kindDirect, h.seq+1, 20)
		h.log.mu.Lock()
		wg.Go(func() {
			m.cur.Insert(direct, 100)
			inserted.Store(true)
		})
		yield()
		wg.Go(func() {
			h.try(nil, 50, false, false)
			sh.round(pad)
			if !inserted.Load() {
				hits++
			}
		})
		yield()
		for began := time.Now(); time.Since(began) < 2*time.Millisecond; { // then they starve
			yield()
		}
		h.log.mu.Unlock()
		h.log.mu.Lock() // before the one that was woken
		yield()
		h.log.mu.Unlock()
		wg.Wait()
		sh.word.Store(idle)
		sh.kick()
	}
	padPool.Put(pad)
	h.quiet()
	got := items(t, f.received())
	require.Len(t, got, 2*tries)
	for i, it := range got {
		require.Equal(t, uint64(i/2+1), it.num)
		require.Equal(t, i%2 == 0, it.kind == kindDirect, "%v", names(got[i/2*2:i/2*2+2]))
	}
}

// A lingerer holds the last that a writer calls with the token.
type lingerer struct {
	*fake
	held, letGo chan struct{}
}

func (l *lingerer) SetWriteDeadline(t time.Time) error {
	if t.IsZero() && l.held != nil {
		close(l.held)
		l.held = nil
		<-l.letGo
	}
	return nil
}

// The window at the end of a writer: an append finds the token taken, and the
// writer has found nothing more to write.
func TestE5AppendBeforeAWriterGivesUpTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, LogConfig{Backlog: 1 << 20})
		stalled := newFake(0)
		h.join(t, stalled, stalled, false) // a writer stays at work, so its end wakes nobody
		held := make(chan struct{})
		nc := &lingerer{fake: newFake(plenty), held: held, letGo: make(chan struct{})}
		h.join(t, nc, nil, false)
		require.Equal(t, Fits, h.try(nil, 50, false, false))
		<-held
		require.Equal(t, Fits, h.try(nil, 50, false, false))
		synctest.Wait() // the flusher came, could not take the token, and went
		require.Equal(t, []string{"m1"}, names(items(t, nc.received())))
		close(nc.letGo)
		synctest.Wait()
		require.Equal(t, []string{"m1", "m2"}, names(items(t, nc.received())))
	})
}

// Sinks come and go, and are failed and closed at once, while flushers walk.
func TestE5CloseDuringWalks(t *testing.T) {
	h := newHub(t, LogConfig{Backlog: 32 << 10})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				h.post(nil, 200)
				runtime.Gosched() // or the others get a turn every 10 ms only, on one processor
			}
		}
	})
	var churn sync.WaitGroup
	for g := range 4 {
		churn.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 9))
			for range 500 {
				f := newFake(rnd.IntN(3000))
				m := h.member()
				var raw sock.Writer = f
				if rnd.IntN(4) == 0 {
					raw = nil
				}
				m.sink = h.group.newSink(f, raw, m, time.Minute)
				h.mu.Lock()
				m.cur = h.log.Attach(m.sink, rnd.IntN(2) == 0)
				h.mu.Unlock()
				for range rnd.IntN(30) {
					runtime.Gosched()
				}
				if rnd.IntN(2) == 0 {
					m.sink.Queue([]byte("x"), 10)
					m.sink.Flush()
				}
				f.Close()
				m.sink.Close()
				m.cur.Missed()
			}
		})
	}
	churn.Wait()
	close(stop)
	wg.Wait()
	h.quiet()
	h.post(nil, 10)
	h.idle(t)
}

func TestNothingStartsAfterWait(t *testing.T) {
	for range 300 {
		h := newHub(t, LogConfig{Backlog: 32 << 10})
		f := newFake(plenty)
		m := h.member()
		m.sink = h.group.newSink(f, f, m, time.Minute)
		m.cur = h.log.Attach(m.sink, false)
		var wg sync.WaitGroup
		wg.Go(func() {
			m.cur.Insert([]byte("x"), 10)
			h.group.Flush()
			m.sink.Queue([]byte("x"), 10)
			m.sink.Flush()
		})
		f.Close()
		m.sink.Close()
		h.fan.Wait()
		wg.Wait()
	}
}

func TestNoAllocationPerDelivery(t *testing.T) {
	h := newHub(t, LogConfig{Backlog: 1 << 20})
	for range 100 {
		f := &sinkhole{}
		h.join(t, f, f, false)
	}
	h.post(nil, 64)
	h.quiet()
	allocs := testing.AllocsPerRun(200, func() {
		h.post(nil, 64)
		h.quiet()
	})
	require.LessOrEqual(t, allocs, 12.0, "for a message to 100 sinks")
}

// A sinkhole takes everything.
type sinkhole struct{ net.Conn }

func (*sinkhole) TryWrite(_ *sock.Op, b []byte) (int, bool, error) { return len(b), false, nil }
func (*sinkhole) Close() error                                     { return nil }

func BenchmarkFanOut(b *testing.B) {
	h := newHub(b, LogConfig{Backlog: 4 << 20})
	for range 1000 {
		f := &sinkhole{}
		h.join(b, f, f, false)
	}
	b.ReportAllocs()
	for b.Loop() {
		h.post(nil, 64)
	}
	h.quiet()
}

// A party is a member of the stress test: a receiver that is checked against
// the history of the log.
type party struct {
	*member
	here, there net.Conn
	from        uint64 // seq before its first
	to          uint64 // its last, where it finished
	finished    bool
	skip        bool
	held        bool
	directs     []uint64 // seq at which each was inserted
	read        chan struct{}
	got         []byte
}

// SinkFailed closes a party that was overrun, as its owner does.
func (p *party) SinkFailed(err error) {
	if p.member.SinkFailed(err); err == ErrOverrun {
		p.here.Close()
		p.sink.Close()
	}
}

func TestStress(t *testing.T) {
	for _, policy := range []string{"disconnect", "skip", "block"} {
		t.Run(policy, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			stress(t, policy, seed)
		})
	}
}

// A crowd is the parties of the stress test, and their hub.
type crowd struct {
	*hub
	t         *testing.T
	seed      uint64
	skip      bool
	history   sync.Map // seq -> *party
	all       []*party // guarded by hub.mu
	releasing sync.WaitGroup
	acting    sync.WaitGroup
}

// The transports of parties.
const (
	overTCP = iota
	overPipe
	overFake
)

func stress(t *testing.T, policy string, seed uint64) {
	c := &crowd{t: t, seed: seed, skip: policy == "skip"}
	c.hub = newHub(t, LogConfig{Backlog: 96 << 10, Block: policy == "block"})
	setup := rand.New(rand.NewPCG(seed, 77))
	var first []*party
	for i := range 70 {
		kind := overTCP
		if i >= 60 {
			kind = overFake
		} else if i >= 30 {
			kind = overPipe
		}
		first = append(first, c.enter(kind, setup))
	}
	for g := range 4 {
		c.acting.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(g)))
			mine := first[g*17 : g*17+17]
			for range 500 {
				c.act(mine, rnd)
			}
		})
	}
	c.acting.Wait()
	c.releasing.Wait()
	c.end()
}

// enter lets a party in, whose stream is held for a while in half of the cases.
func (c *crowd) enter(kind int, rnd *rand.Rand) *party {
	p := &party{skip: c.skip, read: make(chan struct{}), member: c.member()}
	c.connect(p, kind, rnd)
	c.mu.Lock()
	defer c.mu.Unlock()
	p.from = c.seq
	p.cur = c.log.Attach(p.sink, p.skip)
	c.all = append(c.all, p)
	if turns := rnd.IntN(100); turns > 50 {
		p.held = true
		p.cur.Hold()
		c.releasing.Go(func() { c.release(p, turns) })
	}
	return p
}

// connect gives p a connection and, if it is a real one, a reader of what comes.
func (c *crowd) connect(p *party, kind int, rnd *rand.Rand) {
	quick := rnd.IntN(3) > 0
	switch kind {
	case overFake:
		f := newFake(plenty)
		p.here, p.there = f, f
		p.sink = c.group.newSink(f, f, p, time.Minute)
		close(p.read)
		return
	case overTCP:
		here, there := tcpPair(c.t)
		here.SetWriteBuffer(16 << 10)
		there.SetReadBuffer(16 << 10)
		p.here, p.there = here, there
	case overPipe:
		p.here, p.there = net.Pipe()
	}
	p.sink = c.group.NewSink(p.here, p, time.Minute)
	go p.receive(quick, rand.New(rand.NewPCG(c.seed, rnd.Uint64())))
}

// receive keeps what p gets, until its connection ends. A party that is not quick
// stalls now and then.
func (p *party) receive(quick bool, rnd *rand.Rand) {
	defer close(p.read)
	b := make([]byte, 4<<10)
	for {
		if !quick && rnd.IntN(40) == 0 {
			<-time.After(time.Duration(rnd.IntN(20)) * time.Millisecond)
		}
		n, err := p.there.Read(b)
		p.got = append(p.got, b[:n]...)
		if err != nil {
			return
		}
	}
}

// release lets the stream of p go on after so many turns of the scheduler.
func (c *crowd) release(p *party, turns int) {
	for range turns {
		runtime.Gosched()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p.held = false
	p.cur.Release()
}

// act does one of the things that parties do, with one of mine.
func (c *crowd) act(mine []*party, rnd *rand.Rand) {
	p := mine[rnd.IntN(len(mine))]
	size := 20 + rnd.IntN(300)
	if rnd.IntN(50) == 0 {
		size = rnd.IntN(20 << 10)
	}
	switch rnd.IntN(20) {
	case 0:
		i := rnd.IntN(len(mine))
		leaver := mine[i]
		c.acting.Go(func() { c.leave(leaver) })
		mine[i] = c.enter(rnd.IntN(3), rnd)
	case 1:
		mine[0].here.Close()
		mine[0].sink.Close()
		mine[0] = c.enter(rnd.IntN(3), rnd)
	case 2, 3:
		c.insert(p)
	case 4, 5, 6:
		c.say(nil, size)
	default:
		c.say(p, size)
	}
}

// insert gives p a frame for it alone.
func (c *crowd) insert(p *party) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.cur.Insert(appendFrame(nil, kindDirect, uint64(len(p.directs)), 40), 4<<10) {
		at := c.seq
		if p.held {
			at = p.from
		}
		p.directs = append(p.directs, at)
	}
}

// say appends a frame of p's, or the hub's own, as soon as it is let in.
func (c *crowd) say(p *party, size int) {
	var owner *Cursor
	if p != nil {
		owner = p.cur
	}
	for {
		c.mu.Lock()
		ch := c.group.Progress()
		v := c.tryLocked(owner, size, false, false)
		if v == Fits && p != nil {
			c.history.Store(c.seq, p)
		}
		c.mu.Unlock()
		if v == Fits {
			return
		}
		c.group.Await(c.t.Context(), ch, 0)
	}
}

// leave ends p when it has got all that was said before.
func (c *crowd) leave(p *party) {
	c.mu.Lock()
	done := p.sink.Finish()
	p.to = c.seq
	c.mu.Unlock()
	<-done
	p.finished = p.sink.Err() == nil
	p.here.Close()
	p.sink.Close()
}

// end has all leave, and compares what each has got with the history.
func (c *crowd) end() {
	for _, p := range c.all {
		if p.sink.Err() == nil {
			c.acting.Go(func() { c.leave(p) })
		}
	}
	c.acting.Wait()
	finished := 0
	for i, p := range c.all {
		p.here.Close()
		<-p.read
		p.there.Close()
		if f, ok := p.here.(*fake); ok {
			p.got = f.received()
		}
		if p.finished {
			finished++
		}
		if err := p.check(&c.history); err != nil {
			c.t.Errorf("party %d (%T, from %d to %d, finished %v): %v", i, p.here, p.from, p.to, p.finished, err)
		}
	}
	require.Greater(c.t, finished, len(c.all)/4)
	c.quiet()
	c.idle(c.t)
}

// check compares what p received with the history: exactly once, in order, its
// own frames left out, holes announced exactly.
func (p *party) check(history *sync.Map) error {
	own := func(seq uint64) bool {
		o, ok := history.Load(seq)
		return ok && o == p
	}
	next := p.from + 1
	skipOwn := func(to uint64) {
		for next <= to && own(next) {
			next++
		}
	}
	directs := 0
	for b := p.got; len(b) > 0; {
		it, n, err := cutItem(b)
		if err != nil {
			return err
		}
		if n == 0 {
			if p.finished {
				return errors.New("the stream ends in the middle of a frame")
			}
			break
		}
		b = b[n:]
		switch it.kind {
		case kindGap:
			if !p.skip {
				return fmt.Errorf("%v without skipping", it)
			}
			if next < it.num {
				skipOwn(it.num - 1)
			}
			if it.num != next || it.to < it.num {
				// own frames before the hole may be left out or part of it
				return fmt.Errorf("%v where %d was next", it, next)
			}
			next = it.to + 1
		case kindDirect:
			if it.num != uint64(directs) {
				return fmt.Errorf("%v where d%d was next", it, directs)
			}
			at := p.directs[directs]
			directs++
			skipOwn(at)
			if next <= at {
				return fmt.Errorf("%v stands before m%d, it was put after m%d", it, next, at)
			}
		default:
			if own(it.num) {
				return fmt.Errorf("its own %v", it)
			}
			skipOwn(it.num)
			if it.num != next {
				return fmt.Errorf("%v where m%d was next", it, next)
			}
			next++
		}
		if p.to > 0 && next > p.to+1 {
			return fmt.Errorf("%v after its end at %d", it, p.to)
		}
	}
	if p.finished {
		skipOwn(p.to)
		if next != p.to+1 {
			return fmt.Errorf("ends before m%d, its end is m%d", next, p.to)
		}
		if directs < len(p.directs) {
			return fmt.Errorf("got %d inserts of %d", directs, len(p.directs))
		}
	}
	return nil
}

// What is appended while a flusher walks goes to those that it has not come to
// yet in the same write as what was there before.
func TestE6WhoIsVisitedLateGetsAll(t *testing.T) {
	h := newHub(t, LogConfig{Backlog: 4 << 20})
	var fakes []*fake
	for range 3 * yieldEvery {
		f := newFake(plenty)
		fakes = append(fakes, f)
		h.join(t, f, f, false)
	}
	held, letGo := fakes[0].hold()
	h.post(nil, 100)
	<-held
	sent := 100
	for range 500 { // over several segments
		h.post(nil, 400)
		sent += 400
	}
	letGo()
	h.quiet()
	for i, f := range fakes {
		require.Equal(t, fakes[0].received(), f.received(), "sink %d", i)
		require.Len(t, f.received(), sent)
		if i < yieldEvery {
			require.Equal(t, 100, f.writes[0], "sink %d: the walk began with less", i)
		} else {
			require.Greater(t, f.writes[0], 400, "sink %d is not given what came meanwhile", i)
		}
	}
}

// While a flusher walks, goroutines whose sockets have become ready run, even
// where there is one processor: the scheduler looks at the network in time. A look has
// a deadline, which passes if this process does not run for that long; and the system may
// take it from the processor in the first write. So one walk of several has to show it.
func TestE6FlusherLooksAtTheNetwork(t *testing.T) {
	if !looks {
		t.Skip("the flusher does not look at the network on this system")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for range 10 {
		if looksInAWalk(t) {
			return
		}
	}
	t.Fatal("10 walks went on for 256 sinks each, and nobody looked at the network")
}

// looksInAWalk reports whether a goroutine that waits for a socket ran in a walk, at
// whose beginning the socket became ready.
func looksInAWalk(t *testing.T) bool {
	h := newHub(t, LogConfig{Backlog: 4 << 20})
	var fakes []*fake
	for range 4 * yieldEvery {
		f := newFake(plenty)
		fakes = append(fakes, f)
		h.join(t, f, f, false)
	}
	here, there := tcpPair(t)
	var heard atomic.Bool
	var reader sync.WaitGroup
	reader.Go(func() {
		if _, err := there.Read(make([]byte, 1)); err == nil {
			heard.Store(true)
		}
	})
	var before, after bool
	fakes[0].onWrite = func() {
		here.Write([]byte{1})
		before = heard.Load()
	}
	fakes[len(fakes)-1].onWrite = func() { after = heard.Load() }
	runtime.Gosched() // the reader waits
	h.post(nil, 100)
	h.quiet()
	reader.Wait()
	return after && !before
}

// Whoever is ready to speak when a flusher starts is heard before it writes.
func TestE6ReadySpeakersComeFirst(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	h := newHub(t, LogConfig{Backlog: 1 << 20})
	f := newFake(plenty)
	h.join(t, f, f, false)
	var speakers sync.WaitGroup
	for range 10 {
		speakers.Go(func() { h.post(nil, 100) })
	}
	speakers.Wait()
	h.quiet()
	require.LessOrEqual(t, len(f.writes), 3, "%v", f.writes) // by itself the scheduler seldom takes another turn
}
