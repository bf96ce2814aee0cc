package fanout

import (
	"fmt"
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

// beside returns another hub, of a group of its own, on the Fan of h.
func (h *hub) beside(kind byte) *hub {
	return h.fan.NewGroup().hub(LogConfig{Backlog: 256 << 10}, kind)
}

// enter attaches the sink of m to another hub.
func (h *hub) enter(m *member) *Cursor {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log.Attach(m.sink, false)
}

// A group that has news is walked, and no other is looked at: the logs of the others
// may be locked meanwhile.
func TestOtherGroupsAreNotLookedAt(t *testing.T) {
	h := newHub(t, LogConfig{Backlog: 64 << 10})
	f := newFake(plenty)
	h.join(t, f, f, false)
	var others []*hub
	for i := range 10 {
		o := h.beside(kindLog + 1 + byte(i))
		g := newFake(plenty)
		o.join(t, g, g, false)
		others = append(others, o)
	}
	h.quiet()
	for _, o := range others {
		o.log.mu.Lock()
	}
	h.post(nil, 100)
	h.quiet()
	for _, o := range others {
		o.log.mu.Unlock()
	}
	require.Len(t, items(t, f.received()), 1)
	h.idle(t)
}

// One group's long walk gives way to a short one, and then goes on.
func TestLongWalkLetsOthersGoFirst(t *testing.T) {
	h := newHub(t, LogConfig{Backlog: 64 << 10})
	const crowd = 3*yieldEvery + 20 // one shard has them all
	var all []*fake
	for range crowd {
		f := newFake(plenty)
		h.join(t, f, f, false)
		all = append(all, f)
	}
	h.post(nil, 100)
	h.quiet()
	small := h.beside(kindLog + 1)
	g := newFake(plenty)
	m := small.join(t, g, g, false)
	shard := m.sink.shard()
	walked := h.group.parts[shard.num].Load().cursors
	require.Len(t, walked, crowd)
	of := func(i int) *fake { return walked[i].sink.nc.(*fake) }
	first, letFirst := of(10).hold()
	late, letLate := of(2*yieldEvery + 10).hold()
	defer letLate()
	defer letFirst()
	h.post(nil, 100)
	<-first
	small.post(nil, 100)
	letFirst()
	<-late
	require.Len(t, items(t, g.received()), 1, "it waits for the crowd")
	h.post(nil, 100) // while the walk is interrupted, or at work
	letLate()
	h.quiet()
	for i, f := range all {
		require.Len(t, items(t, f.received()), 3, "%d", i)
	}
	h.idle(t)
	small.idle(t)
}

// It gives way too to one that is to be walked in the same round, behind it.
func TestLongWalkLetsThoseBehindGoFirst(t *testing.T) {
	h := newHub(t, LogConfig{Backlog: 64 << 10})
	for range 3 * yieldEvery {
		f := newFake(plenty)
		h.join(t, f, f, false)
	}
	h.post(nil, 100)
	h.quiet()
	small, other := h.beside(kindLog+1), h.beside(kindLog+2)
	g, o := newFake(plenty), newFake(plenty)
	m := small.join(t, g, g, false)
	require.Same(t, m.sink.shard(), other.join(t, o, o, false).sink.shard())
	busy, letBusy := o.hold()
	late, letLate := h.group.parts[m.sink.num].Load().cursors[2*yieldEvery].sink.nc.(*fake).hold()
	defer letLate()
	defer letBusy()
	other.post(nil, 100)
	<-busy
	h.post(nil, 100)
	small.post(nil, 100)
	letBusy()
	<-late
	require.Len(t, items(t, g.received()), 1, "it waits for the crowd")
	letLate()
	h.quiet()
	for _, h := range []*hub{h, small, other} {
		h.idle(t)
	}
}

// Many groups have news at random, from many goroutines. No wake-up is lost: all is
// written without anybody's further help.
func TestE5NoWakeUpOfAGroupIsLost(t *testing.T) {
	h := newHub(t, LogConfig{Backlog: 256 << 10})
	const groups, rounds = 1000, 20
	hubs := make([]*hub, groups)
	fakes := make([]*fake, groups)
	for i := range hubs {
		hubs[i] = h.beside(kindLog)
		fakes[i] = newFake(plenty)
		var raw sock.Writer = fakes[i]
		if i%10 == 9 {
			raw = nil
		}
		hubs[i].join(t, fakes[i], raw, false)
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	want := make([]int, groups)
	for range rounds {
		var wg sync.WaitGroup
		for range 4 {
			var picks []int
			for range 100 {
				i := rnd.IntN(groups)
				want[i]++
				picks = append(picks, i)
			}
			wg.Go(func() {
				for _, i := range picks {
					hubs[i].post(nil, 50)
				}
			})
		}
		wg.Wait()
		for i, f := range fakes {
			for began := time.Now(); len(f.received()) < want[i]*50; runtime.Gosched() {
				if time.Since(began) > 5*time.Second {
					t.Fatalf("group %d has news, and nobody is at work", i)
				}
			}
		}
	}
	h.quiet()
	for _, h := range hubs {
		h.idle(t)
	}
}

// G1: what is left of a stream that has ended comes before anything of one that begins
// later, whatever the connection does, and nothing of others is lost or out of order.
func TestG1EndedStreamsComeFirst(t *testing.T) {
	for _, portable := range []bool{false, true} {
		for _, room := range []int{0, 10, 5000, plenty} {
			for _, held := range []bool{false, true} {
				t.Run(fmt.Sprintf("portable %v, room for %d, held %v", portable, room, held), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { testG1(t, portable, room, held) })
				})
			}
		}
	}
}

func testG1(t *testing.T, portable bool, room int, held bool) {
	stays := newHub(t, LogConfig{Backlog: 256 << 10})
	left, next := stays.beside(kindLog+1), stays.beside(kindLog+2)
	f := newFake(room)
	var raw sock.Writer = f
	if portable {
		raw = nil
	}
	m := stays.join(t, f, raw, false)
	const each, rounds = 20, 4
	say := func(h *hub) {
		for range each {
			h.post(nil, 1000)
		}
	}
	for i := range rounds {
		c := left.enter(m)
		if held { // until it is closed
			c.Hold()
		}
		c.Insert(appendFrame(nil, kindDirect, uint64(4*i+1), 20), 1000) // its welcome
		say(left)
		say(stays)
		c.End()
		c.Insert(appendFrame(nil, kindDirect, uint64(4*i+2), 20), 1000) // its goodbye
		c.Close()
		n := next.enter(m)
		n.Insert(appendFrame(nil, kindDirect, uint64(4*i+3), 20), 1000)
		say(next)
		say(stays)
		n.End()
		n.Insert(appendFrame(nil, kindDirect, uint64(4*i+4), 20), 1000)
		n.Close()
		if room < plenty {
			f.take(30_000)
		}
		synctest.Wait()
	}
	f.take(plenty)
	<-m.sink.Finish()
	got := items(t, f.received())
	var order []string
	seen := uint64(0)
	for _, it := range got {
		if it.kind == stays.kind {
			seen++
			require.Equal(t, seen, it.num)
		} else {
			order = append(order, it.String())
		}
	}
	require.Equal(t, uint64(2*each*rounds), seen)
	var want []string
	for i := range uint64(rounds) {
		for k, h := range []*hub{left, next} {
			want = append(want, fmt.Sprintf("d%d", 4*i+uint64(2*k)+1))
			for n := range uint64(each) {
				want = append(want, fmt.Sprintf("%c%d", h.kind, i*each+n+1))
			}
			want = append(want, fmt.Sprintf("d%d", 4*i+uint64(2*k)+2))
		}
	}
	require.Equal(t, want, order)
	for _, h := range []*hub{stays, left, next} {
		h.idle(t)
	}
}

// What is inserted in a cursor that trails comes last, also if a visit to its sink had
// begun before it did.
func TestTrailingComesLast(t *testing.T) {
	for _, portable := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			stays := newHub(t, LogConfig{Backlog: 256 << 10})
			room := stays.beside(kindLog + 1)
			for i := range uint64(1000) {
				f := newFake(plenty)
				var raw sock.Writer = f
				if portable {
					raw = nil
				}
				m := stays.join(t, f, raw, false)
				m.cur.Insert(appendFrame(nil, kindDirect, 2*i, 20), 1000)
				if i%2 == 0 {
					runtime.Gosched()
				}
				c := room.enter(m)
				room.post(nil, 20)
				c.End()
				m.cur.End()
				m.cur.Trail()
				m.cur.Insert(appendFrame(nil, kindDirect, 2*i+1, 20), 1000)
				<-m.sink.Finish()
				got := items(t, f.received())
				require.Len(t, got, 3)
				require.Equal(t, fmt.Sprint("d", 2*i+1), got[2].String())
				m.sink.Close()
			}
			stays.idle(t)
			room.idle(t)
		})
	}
}

// A cursor that was closed is forgotten by its sink and its group.
func TestClosedCursorsAreForgotten(t *testing.T) {
	for _, portable := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			h := newHub(t, LogConfig{Backlog: 64 << 10})
			f := newFake(plenty)
			var raw sock.Writer = f
			if portable {
				raw = nil
			}
			m := h.join(t, f, raw, false)
			o := h.beside(kindLog + 1)
			for i := range 1000 {
				c := o.enter(m)
				o.post(nil, 100)
				if i%2 == 0 {
					c.Hold()
				}
				c.End()
				c.Close()
				if i%3 == 0 {
					synctest.Wait()
				}
			}
			synctest.Wait()
			require.Len(t, m.sink.cursors, 1)
			require.Same(t, m.cur, m.sink.one.Load())
			p := o.group.parts[m.sink.num].Load()
			require.Empty(t, p.cursors)
			require.Empty(t, p.added)
			require.Zero(t, p.open.Load())
			m.cur.Close() // the last one
			synctest.Wait()
			require.Empty(t, m.sink.cursors)
			c := o.enter(m)
			o.post(nil, 100)
			synctest.Wait()
			require.Zero(t, c.Missed())
			m.sink.Close()
			synctest.Wait()
			require.Zero(t, p.open.Load())
			require.Empty(t, p.cursors)
			h.idle(t)
			o.idle(t)
		})
	}
}

// A sink that lags in one group holds up no other group, and its cursors there wait as
// well.
func TestStallInOneGroupHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newHub(t, LogConfig{Backlog: 64 << 10})
		b := a.beside(kindLog + 1)
		f, g := newFake(10), newFake(plenty)
		m := a.join(t, f, f, false)
		b.enter(m)
		b.join(t, g, g, false)
		a.post(nil, 1000)
		synctest.Wait()
		for range 30 {
			require.NotEqual(t, Unserved, postOnce(b))
		}
		require.Len(t, items(t, g.received()), 30)
	})
}

// Groups come and go on one Fan while others are walked.
func TestGroupsComeAndGo(t *testing.T) {
	h := newHub(t, LogConfig{Backlog: 256 << 10})
	var crowd []*fake
	for range 3 * yieldEvery {
		f := newFake(plenty)
		h.join(t, f, f, false)
		crowd = append(crowd, f)
	}
	var stop atomic.Bool
	var posts sync.WaitGroup
	said := 0
	posts.Go(func() {
		for ; !stop.Load(); said++ {
			h.post(nil, 40)
		}
	})
	for range 10 {
		o := h.beside(kindLog + 1)
		var sinks []*Sink
		var fakes []*fake
		for range 3 {
			f := newFake(plenty)
			m := o.member()
			m.sink = o.group.newSink(f, f, m, time.Minute)
			o.enter(m)
			sinks, fakes = append(sinks, m.sink), append(fakes, f)
		}
		o.post(nil, 100)
		for _, s := range sinks {
			<-s.Finish()
			s.Close()
		}
		for _, f := range fakes {
			require.Len(t, items(t, f.received()), 1)
		}
		o.log.Drop()
	}
	stop.Store(true)
	posts.Wait()
	h.quiet()
	for _, f := range crowd {
		require.Len(t, items(t, f.received()), said)
	}
	h.idle(t)
}

// BenchmarkOneOfManyGroups is a message to the one member of a group beside many quiet
// ones: from the append to the peer's read.
func BenchmarkOneOfManyGroups(b *testing.B) {
	for _, quiet := range []int{0, 100, 10_000} {
		b.Run(fmt.Sprintf("quiet=%d", quiet), func(b *testing.B) {
			h := newHub(b, LogConfig{Backlog: 64 << 10})
			for range quiet {
				o := h.beside(kindLog)
				f := newFake(plenty)
				o.join(b, f, f, false)
			}
			here, there := tcpPair(b)
			h.join(b, here, sock.NewWriter(here), false)
			buf := make([]byte, 64)
			for b.Loop() {
				h.post(nil, 64)
				for n := 0; n < 64; {
					k, err := there.Read(buf[n:])
					require.NoError(b, err)
					n += k
				}
			}
		})
	}
}
