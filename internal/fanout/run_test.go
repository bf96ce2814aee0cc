package fanout

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom/internal/sock"
	"github.com/stretchr/testify/require"
)

// wait gives the next n frames their numbers, and r the frames.
func (h *hub) wait(r *Run, n, size int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waitLocked(r, n, size)
}

func (h *hub) waitLocked(r *Run, n, size int) {
	for range n {
		h.seq++
		r.Add(appendFrame(nil, h.kind, h.seq, size), h.seq)
	}
}

// tell appends r.
func (h *hub) tell(t testing.TB, r *Run) {
	h.mu.Lock()
	defer h.mu.Unlock()
	require.Equal(t, Fits, h.log.Admit(r.With(0), true, -1))
	h.log.AppendRun(r)
	h.group.Flush()
}

// joinWithin is join of a member that is to see what comes in r behind this.
func (h *hub) joinWithin(t testing.TB, r *Run, nc *fake, raw sock.Writer, hold bool) *member {
	m := h.member()
	m.sink = h.group.newSink(nc, raw, m, time.Minute)
	t.Cleanup(func() { nc.Close(); m.sink.Close() })
	h.mu.Lock()
	defer h.mu.Unlock()
	m.cur = h.log.Attach(m.sink, false)
	r.Begin(m.cur)
	if hold {
		m.cur.Hold()
	}
	return m
}

// frames returns the names of log frames from first to last.
func frames(first, last int) (s []string) {
	for i := first; i <= last; i++ {
		s = append(s, fmt.Sprintf("%c%d", kindLog, i))
	}
	return s
}

func TestRunComesWhole(t *testing.T) {
	runHeld(t, LogConfig{Backlog: 64 << 10}, func(t *testing.T, h *hub, nc *fake, raw sock.Writer) {
		m := h.join(t, nc, raw, false)
		h.post(nil, 100)
		h.quiet()
		var r Run
		h.wait(&r, 10, 100)
		require.True(t, m.cur.Insert(directFrame(1), 100))
		h.quiet()
		require.Equal(t, []string{"m1", "d1"}, names(items(t, nc.received())), "what waits is nobody's")
		before := len(nc.writes)
		h.tell(t, &r)
		require.Zero(t, r.Charge())
		h.quiet()
		require.Len(t, nc.writes, before+1)
		h.post(nil, 100)
		h.quiet()
		require.Equal(t, append([]string{"m1", "d1"}, frames(2, 12)...), names(items(t, nc.received())))
		require.Zero(t, m.cur.Missed())
		h.idle(t)
	})
}

// Members that come within a run begin behind a part of it, whatever state they are in
// when it is appended.
func TestRunBeginsWithin(t *testing.T) {
	states := []struct {
		name string
		room int // of the connection, when it is attached
		hold bool
		do   func(m *member, nc *fake)
	}{
		{name: "caught up", room: plenty},
		{name: "stalled", room: 10},
		{name: "stalled and taking again", room: 10, do: func(m *member, nc *fake) { nc.take(plenty) }},
		{name: "held", room: plenty, hold: true},
		{name: "held and stalled", room: 10, hold: true},
		{name: "held and released", room: plenty, hold: true, do: func(m *member, nc *fake) { m.cur.Release() }},
	}
	for _, state := range states {
		t.Run(state.name, func(t *testing.T) {
			runHeld(t, LogConfig{Backlog: 64 << 10}, func(t *testing.T, h *hub, nc *fake, raw sock.Writer) {
				other := newFake(plenty)
				h.join(t, other, other, false)
				h.post(nil, 100)
				h.quiet()
				nc.room = state.room
				var r Run
				h.wait(&r, 3, 100)
				m := h.joinWithin(t, &r, nc, raw, state.hold)
				require.True(t, m.cur.Insert(directFrame(1), 100))
				m.cur.InsertShared([][]byte{directFrame(2)})
				synctest.Wait()
				h.wait(&r, 2, 100)
				require.True(t, m.cur.Insert(directFrame(3), 1000))
				if state.do != nil {
					state.do(m, nc)
					synctest.Wait()
				}
				h.tell(t, &r)
				synctest.Wait()
				require.Equal(t, uint64(0), m.cur.Missed()+m.sink.Unwritten()-missing(t, nc, 5, 6))
				require.True(t, m.cur.Insert(directFrame(4), 1000))
				h.post(nil, 100)
				synctest.Wait()
				nc.take(plenty)
				m.cur.Release()
				synctest.Wait()
				want := []string{"d1", "d2", "d3", "m5", "m6", "d4", "m7"}
				if state.hold && state.do == nil {
					want = []string{"d1", "d2", "d3", "d4", "m5", "m6", "m7"}
				}
				require.Equal(t, want, names(items(t, nc.received())))
				require.Equal(t, frames(1, 7), names(items(t, other.received())))
				require.Zero(t, m.cur.Missed())
				h.idle(t)
			})
		})
	}
}

// missing returns how many of the log frames first to last nc has not received whole.
func missing(t *testing.T, nc *fake, first, last int) uint64 {
	t.Helper()
	n := uint64(last - first + 1)
	for b := nc.received(); len(b) > 0; {
		it, size, err := cutItem(b)
		require.NoError(t, err)
		if size == 0 {
			break
		}
		if it.kind == kindLog && it.num >= uint64(first) {
			n--
		}
		b = b[size:]
	}
	return n
}

// One that ends before a run is appended gets nothing of it, also if it came within.
func TestRunIsNotForWhoHasEnded(t *testing.T) {
	runHeld(t, LogConfig{Backlog: 64 << 10}, func(t *testing.T, h *hub, nc *fake, raw sock.Writer) {
		var r Run
		h.wait(&r, 1, 100)
		m := h.joinWithin(t, &r, nc, raw, false)
		h.wait(&r, 1, 100)
		m.cur.End()
		require.True(t, m.cur.Insert(directFrame(1), 100)) // goodbye
		again := h.enter(m)
		r.Begin(again)
		require.True(t, again.Insert(directFrame(2), 100)) // welcome
		h.wait(&r, 1, 100)
		h.tell(t, &r)
		synctest.Wait()
		h.post(nil, 100)
		synctest.Wait()
		require.Equal(t, []string{"d1", "d2", "m3", "m4"}, names(items(t, nc.received())))
		require.Zero(t, m.cur.Missed())
		h.idle(t)
	})
}

// A walk that was under way when a run is appended sees all of it or nothing, for each
// cursor that it visits.
func TestRunWithinAWalk(t *testing.T) {
	h := newHub(t, LogConfig{Backlog: 64 << 10})
	var all []*fake
	for range 3 * yieldEvery {
		f := newFake(plenty)
		h.join(t, f, f, false)
		all = append(all, f)
	}
	h.post(nil, 100)
	h.quiet()
	held, letGo := all[0].hold()
	h.post(nil, 100)
	<-held
	var r Run
	h.wait(&r, 2, 100)
	var within []*fake
	for range 20 {
		f := newFake(plenty)
		h.joinWithin(t, &r, f, f, false)
		within = append(within, f)
	}
	h.wait(&r, 2, 100)
	h.tell(t, &r)
	letGo()
	h.quiet()
	for _, f := range all {
		require.Equal(t, frames(1, 6), names(items(t, f.received())))
	}
	for _, f := range within {
		require.Equal(t, frames(5, 6), names(items(t, f.received())))
	}
	h.idle(t)
}

// A run that was let in when its last frame was added has a place when it is appended,
// whatever connections do in between, and no limit is overshot.
func TestRunThatWasLetInHasAPlace(t *testing.T) {
	runs := 0
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 16))
		backlog := 1024 << rnd.IntN(8)
		h := newHub(t, LogConfig{Backlog: backlog, Block: seed%3 == 0})
		var fakes []*fake
		for i := range 5 {
			f := newFake(plenty)
			if i < 2 {
				f.room = rnd.IntN(backlog)
			}
			fakes = append(fakes, f)
			h.join(t, f, f, i == 0)
		}
		var r Run
		var letGo func()
		for range 300 {
			size := frameHead + rnd.IntN(60)
			switch rnd.IntN(8) {
			case 0:
				if r.Charge() == 0 {
					h.try(nil, min(rnd.IntN(backlog/4-2*frameCharge)+frameHead, 3000), rnd.IntN(2) == 0, false)
				}
			case 1:
				fakes[rnd.IntN(2)].take(rnd.IntN(backlog / 2))
			case 2:
				f := newFake(rnd.IntN(backlog))
				m := h.joinWithin(t, &r, f, f, rnd.IntN(3) == 0)
				m.cur.Insert(directFrame(1), 100)
				if rnd.IntN(2) == 0 {
					f.take(plenty)
				}
				if rnd.IntN(2) == 0 {
					m.cur.Release()
				}
			case 3: // a flusher stays in the middle of a walk for a while
				if letGo != nil {
					letGo()
					letGo = nil
				} else if r.Charge() == 0 {
					var held <-chan struct{}
					held, letGo = fakes[4].hold()
					if h.try(nil, 100, true, false) == Fits {
						<-held
					}
				}
			case 4:
				h.tellIfAny(t, &r, &runs)
			default:
				h.mu.Lock()
				if r.Charge()+size+frameCharge <= h.log.MaxRun() && h.log.Admit(r.With(size), true, -1) == Fits {
					h.waitLocked(&r, 1, size)
				}
				h.mu.Unlock()
			}
			charge, memory := h.log.Size()
			require.LessOrEqual(t, charge, int64(backlog), "seed %d", seed)
			require.LessOrEqual(t, memory, int64(2*backlog)+int64(segmentSizes[2]), "seed %d", seed)
		}
		h.tellIfAny(t, &r, &runs)
		if letGo != nil {
			letGo()
		}
	}
	require.Greater(t, runs, 1000)
}

func (h *hub) tellIfAny(t testing.TB, r *Run, runs *int) {
	if r.Charge() > 0 {
		*runs++
		h.tell(t, r)
	}
}

// Members come, go, stall and are held while runs and single frames are appended. Each
// gets what lies between its begin and its end, once and in order.
func TestRunsInAStorm(t *testing.T) {
	for _, portable := range []bool{false, true} {
		t.Run(fmt.Sprintf("portable=%v", portable), func(t *testing.T) {
			h := newHub(t, LogConfig{Backlog: 1 << 20})
			type visitor struct {
				*member
				nc          *fake
				first, last uint64
			}
			var mu sync.Mutex
			var visitors []*visitor
			var r Run // guarded by h.mu
			var stop atomic.Bool
			var coming, telling sync.WaitGroup
			come := func(rnd *rand.Rand) {
				v := &visitor{member: h.member(), nc: newFake(plenty), last: math.MaxUint64}
				var raw sock.Writer = v.nc
				if portable {
					raw = nil
				}
				if rnd.IntN(4) == 0 {
					v.nc.room = rnd.IntN(200)
				}
				v.sink = h.group.newSink(v.nc, raw, v.member, time.Minute)
				h.mu.Lock()
				h.waitLocked(&r, 1, 60) // its join
				v.first = h.seq + 1
				v.cur = h.log.Attach(v.sink, false)
				r.Begin(v.cur)
				held := rnd.IntN(4) == 0
				if held {
					v.cur.Hold()
				}
				v.cur.Insert(directFrame(1), 100)
				h.mu.Unlock()
				mu.Lock()
				visitors = append(visitors, v)
				mu.Unlock()
				v.nc.take(plenty)
				if held {
					v.cur.Release()
				}
				if rnd.IntN(3) == 0 {
					h.mu.Lock()
					v.cur.End()
					v.last = h.seq
					if r.Charge() > 0 {
						v.last = r.index[0].seq - 1
					}
					h.mu.Unlock()
				}
			}
			for i := range uint64(3) {
				rnd := rand.New(rand.NewPCG(i, 17))
				coming.Go(func() {
					for range 300 {
						come(rnd)
					}
				})
			}
			telling.Go(func() {
				for !stop.Load() {
					h.mu.Lock()
					if r.Charge() > 0 && h.log.Admit(r.With(0), true, -1) == Fits {
						h.log.AppendRun(&r)
						h.tryLocked(nil, 100, true, false)
					}
					h.mu.Unlock()
					runtime.Gosched()
				}
			})
			coming.Wait()
			stop.Store(true)
			telling.Wait()
			h.tell(t, &r)
			h.quiet()
			for _, v := range visitors {
				want := []string{"d1"}
				for seq := v.first; seq <= min(v.last, h.seq); seq++ {
					want = append(want, fmt.Sprintf("%c%d", kindLog, seq))
				}
				require.Equal(t, want, names(items(t, v.nc.received())), "from %d to %d", v.first, v.last)
				v.nc.Close()
				v.sink.Close()
			}
			h.idle(t)
		})
	}
}
