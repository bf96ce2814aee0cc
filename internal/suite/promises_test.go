package suite_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/internal/testkit"
	"github.com/stretchr/testify/require"
)

// A witness is what one member saw, from its welcome to its end.
type witness struct {
	id      string
	welcome tcproom.Event
	events  []tcproom.Event
	end     error
}

func watch(c *tcproom.Conn, w *witness, seen func(tcproom.Event)) {
	w.id = c.ID()
	for ev, err := range c.Events(context.Background()) {
		if err != nil {
			w.end = err
			return
		}
		if seen != nil {
			seen(ev)
		}
		if ev.Kind == tcproom.Welcome {
			w.welcome = ev
		} else {
			w.events = append(w.events, ev)
		}
	}
}

// checkWitnesses checks P1, P3, P5, P6, P7 and P8 against what all saw. The
// first witness was there all the time and sent nothing. What has the seqs s is looked at
// by place: so it must be a run without a hole.
func checkWitnesses(t *testing.T, s testkit.Seqs, ws []*witness) {
	t.Helper()
	must := func(ok bool, format string, args ...any) {
		if !ok { // Helper is dear, and this is asked for each event
			t.Helper()
			t.Fatalf(format, args...)
		}
	}
	place := func(seq uint64) uint64 {
		n := s.Place(seq)
		must(s.At(n) == seq, "P1: %d is no event", seq)
		return n
	}
	for _, w := range ws {
		w.welcome.Seq = place(w.welcome.Seq)
		for i := range w.events {
			ev := &w.events[i]
			ev.Seq = place(ev.Seq)
			ev.Gap = tcproom.Span{First: s.Place(ev.Gap.First), Last: place(ev.Gap.Last)}
		}
	}
	order := map[uint64]tcproom.Event{}
	for _, ev := range ws[0].events {
		if ev.Seq != 0 {
			order[ev.Seq] = ev
		}
	}
	sent := map[string]uint64{} // P7: each body once
	present := map[string]bool{}
	folds := map[uint64]map[string]bool{} // who was there, where somebody was welcomed
	for _, w := range ws {
		folds[w.welcome.Seq] = nil
	}
	first := ws[0].welcome.Seq
	for _, m := range ws[0].welcome.Welcome.Members {
		present[m.ID] = true
	}
	for seq := first; ; seq++ {
		ev, ok := order[seq]
		if seq > first && !ok {
			must(len(order) == int(seq-first-1), "P6: the observer has a hole before %d", seq)
			break
		}
		switch ev.Kind {
		case tcproom.Join:
			must(!present[ev.From.ID], "P8: %v joined twice", ev.From)
			present[ev.From.ID] = true
		case tcproom.Leave:
			must(present[ev.From.ID], "P8: %v left without being there", ev.From)
			delete(present, ev.From.ID)
		case tcproom.Message:
			must(present[ev.From.ID] || ev.From.ID == "", "P4: a message of %v, who is not there", ev.From)
			must(sent[string(ev.Body)] == 0, "P7: %q came twice", ev.Body)
			sent[string(ev.Body)] = seq
		}
		if _, ok := folds[seq]; ok {
			folds[seq] = maps.Clone(present)
		}
	}
	for _, w := range ws {
		if w.welcome.Kind == 0 {
			continue
		}
		ids := map[string]bool{}
		for _, m := range w.welcome.Welcome.Members {
			ids[m.ID] = true
		}
		require.Equal(t, folds[w.welcome.Seq], ids, "P3: the member list is not that of the welcome's seq")
		at := w.welcome.Seq
		for _, ev := range w.events {
			switch {
			case ev.Kind == tcproom.Gap:
				for at+1 < ev.Gap.First {
					at++
					must(order[at].From.ID == w.id, "P6: %d is missing before a gap", at)
				}
				must(ev.Gap.First == at+1, "P6: a gap from %d after %d", ev.Gap.First, at)
				at = ev.Gap.Last
				continue
			case ev.Seq == 0:
				continue
			}
			must(ev.Seq > at, "P1: %d after %d", ev.Seq, at)
			for at++; at < ev.Seq; at++ {
				must(order[at].From.ID == w.id, "P6: %d is missing and was not its own", at)
				must(order[at].Kind == tcproom.Message, "P6: %d is missing", at)
			}
			must(order[at].Kind == ev.Kind && order[at].From == ev.From, "P1: %v and %v at %d", order[at], ev, at)
			must(string(order[at].Body) == string(ev.Body), "P7: %q and %q", order[at].Body, ev.Body)
			must(ev.From.ID != w.id, "P5: an echo, or its own join or leave: %v", ev)
		}
	}
}

// A window keeps writers from running ahead of the observer by more than a
// part of the backlog, so that it sees everything. What a member sent and the
// room never ordered is given back when the observer sees the member leave.
type window struct {
	slots chan struct{}

	mu   sync.Mutex
	held map[string]int // by id; -1: has left
}

func newWindow(n int) *window {
	return &window{slots: make(chan struct{}, n), held: map[string]int{}}
}

// take takes a slot for a message of id; false when ctx ended or id has left.
func (w *window) take(ctx context.Context, id string) bool {
	select {
	case w.slots <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held[id] < 0 {
		<-w.slots
		return false
	}
	w.held[id]++
	return true
}

func (w *window) seen(ev tcproom.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch ev.Kind {
	case tcproom.Message:
		w.held[ev.From.ID]--
		<-w.slots
	case tcproom.Leave:
		for range w.held[ev.From.ID] {
			<-w.slots
		}
		w.held[ev.From.ID] = -1
	}
}

// TestPromisesUnderChurn has members that write, join, leave, stall and are
// cut, over three transports, and holds what all of them saw against P1 to P8.
func TestPromisesUnderChurn(t *testing.T) {
	checkGoroutines(t)
	t.Run("policies", func(t *testing.T) { // ends when all of them have
		for i, policy := range []tcproom.SlowPolicy{tcproom.Disconnect, tcproom.Skip, tcproom.Block(50 * time.Millisecond), tcproom.Skip, tcproom.Disconnect} {
			s := testkit.Seqs(i >= 3)
			t.Run(fmt.Sprintf("%v, %v", policy, s), func(t *testing.T) {
				t.Parallel()
				testChurn(t, s, policy)
			})
		}
	})
}

func testChurn(t *testing.T, s testkit.Seqs, policy tcproom.SlowPolicy) {
	var joined, left atomic.Int64
	room := tcproom.New(
		s.Option(),
		tcproom.WithCodec(tcproom.JSON{}),
		tcproom.WithMaxMessage(1<<10),
		tcproom.WithBacklog(256<<10),
		tcproom.WithSlowMembers(policy),
		tcproom.WithSocketBuffers(32<<10, 32<<10),
		tcproom.OnJoin(func(*tcproom.Member) error { joined.Add(1); return nil }),
		tcproom.OnLeave(func(*tcproom.Member, error) { left.Add(1) }),
	)
	addr := serveTCP(t, room)
	server, client := testTLS()
	secure := serveTCP(t, room, tcproom.WithTLS(server))

	observer := &witness{}
	oc := dial(t, addr, tcproom.WithCodec(tcproom.JSON{}))
	ws := []*witness{observer}
	var watchers sync.WaitGroup
	window := newWindow(100)
	watchers.Go(func() {
		watch(oc, observer, window.seen)
		oc.Close() // or Shutdown would wait for it
	})

	const writers = 100
	var mu sync.Mutex
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for i := range writers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 7))
			for life := 0; ; life++ {
				select {
				case <-stop:
					return
				default:
				}
				w := &witness{}
				c, err := connect(rng, room, addr, secure, client)
				if err != nil {
					continue // cut before its welcome
				}
				mu.Lock()
				ws = append(ws, w)
				mu.Unlock()
				liveOnce(rng, room, c, w, window, fmt.Sprintf("%d.%d", i, life))
			}
		})
	}
	eventually(t, "each has had a few lives", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(ws) > 3*writers
	})
	close(stop)
	wg.Wait()
	eventually(t, "all have left", func() bool { return room.Len() <= 1 })
	err := room.Shutdown(testContext(t))
	watchers.Wait()
	require.ErrorIs(t, observer.end, tcproom.ErrRoomClosed)
	require.NoError(t, err)
	last := observer.events[len(observer.events)-1]
	require.Equal(t, tcproom.Goodbye, last.Kind)
	checkWitnesses(t, s, ws)
	require.Equal(t, joined.Load(), left.Load(), "P8")
	t.Logf("%d lives, %d events, stats %+v", len(ws), len(observer.events), room.Stats())
}

func connect(rng *rand.Rand, room *tcproom.Room, addr, secure string, client any) (*tcproom.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	opts := []tcproom.DialOption{tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSocketBuffers(32<<10, 32<<10)}
	switch rng.IntN(4) {
	case 0:
		return room.Join(ctx, tcproom.Identity{}, opts...)
	case 1:
		_, cfg := testTLS()
		return tcproom.Dial(ctx, secure, append(opts, tcproom.WithTLS(cfg))...)
	}
	return tcproom.Dial(ctx, addr, opts...)
}

// liveOnce is one member's life: it writes, and reads all, nothing or a while.
func liveOnce(rng *rand.Rand, room *tcproom.Room, c *tcproom.Conn, w *witness, win *window, name string) {
	defer c.Close()
	reading := make(chan struct{})
	stalls := rng.IntN(4) == 0
	if stalls {
		ev, err := c.Receive(context.Background())
		if err == nil {
			w.welcome, w.id = ev, c.ID()
		}
		close(reading)
	} else {
		go func() { defer close(reading); watch(c, w, nil) }()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(50+rng.IntN(300))*time.Millisecond)
	defer cancel()
	for n := 0; ctx.Err() == nil; n++ {
		if !win.take(ctx, c.ID()) {
			break
		}
		body := fmt.Appendf(nil, "%s.%d %0*d", name, n, rng.IntN(900), 0)
		if err := c.Send(ctx, body); err != nil {
			break
		}
		if rng.IntN(8) == 0 {
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
	if rng.IntN(3) == 0 {
		if m, ok := room.Member(c.ID()); ok {
			m.Kick("churn")
		}
	}
	if stalls {
		return
	}
	c.Close()
	<-reading
}

// TestP2RealTime: what was handed in before comes before.
func TestP2RealTime(t *testing.T) {
	room := tcproom.New()
	addr := serveTCP(t, room)
	c := dial(t, addr)
	waitLen(t, room, 1)
	var last atomic.Uint64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				before := last.Load()
				seq, err := room.Broadcast(context.Background(), []byte("x"))
				if err != nil || seq <= before {
					t.Errorf("seq %d (%v) after %d had returned", seq, err, before)
					return
				}
				for {
					now := last.Load()
					if now >= seq || last.CompareAndSwap(now, seq) {
						break
					}
				}
			}
		})
	}
	for range 8 * 500 {
		require.Equal(t, "x", nextMessage(t, c))
	}
	wg.Wait()
}
