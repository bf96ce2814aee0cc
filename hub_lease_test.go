package tcproom_test

import (
	"bytes"
	"context"
	"encoding/base32"
	"fmt"
	"maps"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/internal/fold"
	"example.com/tcproom/roomtest"
)

// What a hub has of the leases of its cluster: one for all of its rooms.

// A register is a Backplane that counts what is done with its leases, and can keep the
// log of one room silent.
type register struct {
	tcproom.Backplane
	atRelease func()

	mu       sync.Mutex
	renewed  map[string]int
	released []string
	watches  int
	pause    time.Duration // of the next renewal, whatever its context says
	silent   string        // a room
	speaks   chan struct{} // closed when it is not silent any more
}

func newRegister(log *roomtest.Log) *register {
	return &register{Backplane: log.Attach(), renewed: make(map[string]int)}
}

func (r *register) Nodes() tcproom.Nodes { return registered{r.Backplane.Nodes(), r} }

func (r *register) Open(ctx context.Context, room string) (tcproom.Log, error) {
	log, err := r.Backplane.Open(ctx, room)
	return &quietLog{log, r, room}, err
}

// hush keeps the log of that room silent, or none if it has no name.
func (r *register) hush(room string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.silent != "" {
		close(r.speaks)
	}
	r.silent, r.speaks = room, make(chan struct{})
}

func (r *register) leases() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.renewed))
}

// forget begins to count anew.
func (r *register) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.renewed)
}

type registered struct {
	tcproom.Nodes
	r *register
}

func (n registered) Renew(ctx context.Context, node string) error {
	n.r.mu.Lock()
	n.r.renewed[node]++
	pause := n.r.pause
	n.r.pause = 0
	n.r.mu.Unlock()
	if pause > 0 {
		time.Sleep(pause)
		ctx = context.WithoutCancel(ctx)
	}
	return n.Nodes.Renew(ctx, node)
}

func (n registered) Release(ctx context.Context, node string) error {
	n.r.atRelease()
	n.r.mu.Lock()
	n.r.released = append(n.r.released, node)
	n.r.mu.Unlock()
	return n.Nodes.Release(ctx, node)
}

func (n registered) Watch(ctx context.Context, fn func(string, bool)) error {
	n.r.mu.Lock()
	n.r.watches++
	n.r.mu.Unlock()
	return n.Nodes.Watch(ctx, fn)
}

type quietLog struct {
	tcproom.Log
	r    *register
	room string
}

// wait returns when the log is not silent.
func (l *quietLog) wait(ctx context.Context) error {
	l.r.mu.Lock()
	speaks := l.r.speaks
	if l.r.silent != l.room {
		speaks = closedNow
	}
	l.r.mu.Unlock()
	select {
	case <-speaks:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var closedNow = func() chan struct{} {
	ch := make(chan struct{})
	close(ch)
	return ch
}()

func (l *quietLog) Append(ctx context.Context, id string, rec []byte) (uint64, error) {
	if err := l.wait(ctx); err != nil {
		return 0, fmt.Errorf("%w: %w", tcproom.ErrUncertain, err)
	}
	return l.Log.Append(ctx, id, rec)
}

func (l *quietLog) Tail(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
	return l.Log.Tail(ctx, from, func(rec tcproom.Record) error {
		if err := l.wait(ctx); err != nil {
			return err
		}
		return fn(rec)
	})
}

// newRegisteredFarm is newFarm of hubs with registers.
func newRegisteredFarm(t *testing.T, n int, opts ...tcproom.HubOption) (*farm, []*register) {
	t.Helper()
	f := &farm{t: t, log: roomtest.NewLog()}
	var regs []*register
	for range n {
		r := newRegister(f.log)
		r.atRelease = func() {}
		b := r.Backplane.(*roomtest.Backplane)
		s := newStable(t, append(opts[:len(opts):len(opts)], tcproom.WithBackplane(r))...)
		t.Cleanup(func() { r.hush(""); b.Heal() })
		f.nodes, f.links, regs = append(f.nodes, s), append(f.links, b), append(regs, r)
		require.NoError(t, s.hub.Ready(t.Context()))
	}
	return f, regs
}

// folded returns what the log says of a room.
func (f *farm) folded(room string) *fold.State {
	f.t.Helper()
	b := f.log.Attach()
	defer b.Close()
	log, err := b.Open(f.t.Context(), room)
	require.NoError(f.t, err)
	state := fold.New()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Millisecond)
	defer cancel()
	log.Tail(ctx, 0, func(rec tcproom.Record) error {
		require.NoError(f.t, state.Apply(rec.Pos, rec.Time, rec.Data, nil))
		return nil
	})
	return state
}

// open returns how many nodes a room has by its log.
func (f *farm) open(room string) int { return len(slices.Collect(f.folded(room).Alive())) }

const leaseLasts = 15 * time.Second // of a roomtest.Log

// TestHubClusterLease: a hub has one lease and one watch for all of its rooms, and each
// room one goroutine. The lease is released when the last room has left.
func TestHubClusterLease(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		const rooms, leases = 100, 10
		f, regs := newRegisteredFarm(t, 2, tcproom.WithRoomLinger(time.Hour))
		time.Sleep(2 * time.Second) // until what has opened the logs rests
		goroutines := ours()
		for _, s := range f.nodes {
			for i := range rooms {
				r, err := s.hub.Room(fmt.Sprintf("room-%d", i))
				require.NoError(t, err)
				require.NoError(t, r.Ready(t.Context()))
			}
		}
		time.Sleep(leaseLasts + time.Second)
		require.Equal(t, goroutines+2*rooms, ours())
		for _, r := range regs {
			r.forget()
		}
		time.Sleep(leases * leaseLasts)
		for _, r := range regs {
			require.Len(t, r.leases(), 1)
			require.Equal(t, 3*leases, r.renewed[r.leases()[0]])
			require.Equal(t, 1, r.watches)
			require.Empty(t, r.released)
		}
		opened := -1
		regs[0].atRelease = func() {
			opened = 0
			for i := range rooms {
				opened += f.open(fmt.Sprintf("room-%d", i)) - 1
			}
		}
		require.NoError(t, f.nodes[0].hub.Shutdown(t.Context()))
		require.Equal(t, regs[0].leases(), regs[0].released)
		require.Zero(t, opened)
	})
}

// ours counts the goroutines of hubs and rooms that the test does not know.
func ours() (n int) {
	var b bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&b, 2)
	for g := range strings.SplitSeq(b.String(), "\n\n") {
		if strings.Contains(g, "tcproom.(*replica)") || strings.Contains(g, "tcproom.(*attendance)") {
			n++
		}
	}
	return n
}

// TestHubClusterStoodStill: a process stands still for longer than its lease, so that it
// is declared dead in all of its rooms. It takes its members back in each, and goes on
// with one lease.
func TestHubClusterStoodStill(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		f, regs := newRegisteredFarm(t, 2, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{Grace: time.Minute}), tcproom.WithMaxOutage(time.Hour))
		time.Sleep(2 * leaseLasts)
		ada, bob := f.nodes[0].labelled("ada", "a", "b"), f.nodes[1].labelled("bob", "a", "b")
		f.settle()
		ada.told()
		bob.told()
		f.links[1].Stall()
		time.Sleep(3 * leaseLasts)
		for _, room := range []string{"*", "a", "b"} {
			require.Equal(t, 1, f.open(room), room)
			require.False(t, f.nodes[0].folded(f, room, "bob").Detached.IsZero(), room)
		}
		f.links[1].Heal()
		time.Sleep(2 * leaseLasts)
		bob.say(`{"type":"message","room":"a","body":"still"}`, `{"type":"message","room":"b","body":"here"}`)
		f.settle()
		require.Equal(t, map[string][]string{"a": {"bob: still"}, "b": {"bob: here"}}, ada.told())
		for _, room := range []string{"*", "a", "b"} {
			require.Equal(t, 2, f.open(room), room)
			require.True(t, f.nodes[0].folded(f, room, "bob").Detached.IsZero(), room)
		}
		regs[1].forget()
		time.Sleep(2 * time.Minute)
		require.Len(t, regs[1].leases(), 1)
		require.Empty(t, ada.told())
		require.False(t, bob.gone())
	})
}

// TestHubClusterAllStoodStill: all processes stand still for longer than a lease, as on
// one machine that is suspended. The first one that goes on does not take the others for
// dead.
func TestHubClusterAllStoodStill(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		f, regs := newRegisteredFarm(t, 2, tcproom.WithCodec(tcproom.JSON{}))
		time.Sleep(2 * leaseLasts)
		ada := f.nodes[1].labelled("ada", "a")
		f.settle()
		home := f.nodes[0].folded(f, "*", "ada").Home
		for i, r := range regs {
			r.mu.Lock()
			r.pause = 2*leaseLasts + time.Duration(i)*2*time.Second
			r.mu.Unlock()
		}
		time.Sleep(5 * leaseLasts)
		require.Equal(t, home, f.nodes[0].folded(f, "*", "ada").Home)
		require.Equal(t, 2, f.open("*"))
		require.False(t, ada.gone())
		f.links[1].Cut() // and it judges again
		time.Sleep(5 * leaseLasts)
		require.Equal(t, 1, f.open("*"))
	})
}

// folded returns the member of that name by the log of a room.
func (s *stable) folded(f *farm, room, name string) *fold.Member {
	s.t.Helper()
	m := f.folded(room).Named(name)
	require.NotNil(s.t, m, room)
	return m
}

// TestHubClusterSilentLog: the log of one room is silent, and those of others are not.
// The process is not taken for dead in any.
func TestHubClusterSilentLog(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		f, regs := newRegisteredFarm(t, 2, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{Grace: 5 * time.Minute}))
		time.Sleep(2 * leaseLasts)
		ada, bob := f.nodes[0].labelled("ada", "a"), f.nodes[0].labelled("bob", "b")
		eve := f.nodes[1].labelled("eve", "a", "b")
		f.settle()
		eve.told()
		regs[0].hush("b")
		bob.say(`{"type":"message","room":"b","body":"lost?"}`)
		for i := range 60 {
			ada.say(fmt.Sprintf(`{"type":"message","room":"a","body":"%d"}`, i))
			time.Sleep(time.Second)
		}
		require.True(t, bob.gone())
		require.False(t, ada.gone())
		require.Len(t, eve.told()["a"], 60)
		require.Equal(t, 2, f.open("b"))
		regs[0].hush("")
		again := resumeOf(bob.objects())
		time.Sleep(leaseLasts)
		bob = f.nodes[0].ride(f.nodes[0].json, "10.0.0.1", again, `{"type":"message","room":"b","body":"back"}`)
		f.settle()
		require.Equal(t, "welcome resumed", bob.told()["b"][0])
		require.Contains(t, eve.told()["b"], "bob: back")
		require.Len(t, regs[0].leases(), 1)
	})
}

// TestHubClusterLeftBehind: a process cannot say in a room's log that it has left, for
// that is silent. Its lease runs out then, so that others see to what it had there, and
// in its other rooms it goes on with a new one: nobody there sees anything of it.
func TestHubClusterLeftBehind(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		f, regs := newRegisteredFarm(t, 2, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithRoomLinger(time.Second), tcproom.WithSessions(tcproom.Sessions{Grace: time.Minute}))
		time.Sleep(2 * leaseLasts)
		ada, eve := f.nodes[0].labelled("ada", "a"), f.nodes[1].labelled("eve", "a", "b")
		_, err := f.nodes[0].hub.Room("b")
		require.NoError(t, err)
		f.settle()
		ada.say(`{"type":"enter","room":"b"}`, `{"type":"leave","room":"b"}`)
		regs[0].hush("b")
		time.Sleep(time.Second)
		eve.told()
		was := regs[0].leases()
		require.Len(t, was, 1)
		for i := range 120 {
			ada.say(fmt.Sprintf(`{"type":"message","room":"a","body":"%d"}`, i))
			time.Sleep(time.Second)
		}
		_, ok := f.nodes[0].hub.Lookup("b")
		require.False(t, ok)
		require.False(t, ada.gone())
		got := eve.told()["a"]
		require.Len(t, got, 120)
		for i, line := range got {
			require.Equal(t, fmt.Sprintf("ada: %d", i), line)
		}
		regs[0].forget()
		time.Sleep(time.Minute)
		require.Len(t, regs[0].leases(), 1)
		require.NotEqual(t, was, regs[0].leases())
		require.Equal(t, 1, f.open("b"))
		require.Equal(t, 2, f.open("a"))
		require.Equal(t, 2, f.open("*"))
	})
}

// TestHubClusterLeftAtOnce: a room is removed before its node has opened. It leaves
// nothing in its log.
func TestHubClusterLeftAtOnce(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		f, regs := newRegisteredFarm(t, 1, tcproom.WithCodec(tcproom.JSON{}))
		time.Sleep(leaseLasts)
		f.links[0].Delay(time.Second)
		for after := 100 * time.Millisecond; after < 10*time.Second; after += 700 * time.Millisecond {
			ada := f.nodes[0].labelled("ada", "a")
			time.Sleep(after)
			ada.nc.Reset()
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			_, ok := f.nodes[0].hub.Lookup("a")
			require.False(t, ok)
			require.Zero(t, f.open("a"), after)
		}
		require.Len(t, regs[0].leases(), 1)
	})
}

// TestHubClusterLeftAfterALoss: a room's log has lost a part of it, so that its node goes
// on as another one, and then leaves. The one before is declared dead.
func TestHubClusterLeftAfterALoss(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		f, _ := newRegisteredFarm(t, 2, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithRoomLinger(time.Second))
		time.Sleep(2 * leaseLasts)
		ada, eve := f.nodes[0].labelled("ada", "a"), f.nodes[1].labelled("eve", "a")
		f.settle()
		ada.say(`{"type":"message","room":"a","body":"lost"}`)
		f.settle()
		f.log.Rollback("a", 1)
		time.Sleep(10 * time.Second)
		require.True(t, ada.gone())
		require.True(t, eve.gone())
		f.nodes[1].labelled("eve", "a")
		time.Sleep(10 * leaseLasts)
		_, ok := f.nodes[0].hub.Lookup("a")
		require.False(t, ok)
		require.Equal(t, 1, f.open("a"))
	})
}

// TestHubClusterLateOpen: a node that a process was opens late in a room's log, when
// nobody attends to it any more. That process has the lease still, and declares the node
// dead.
func TestHubClusterLateOpen(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		f, regs := newRegisteredFarm(t, 2, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithRoomLinger(time.Hour))
		for _, s := range f.nodes {
			_, err := s.hub.Room("a")
			require.NoError(t, err)
		}
		time.Sleep(2 * leaseLasts)
		half, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(regs[1].leases()[0])
		require.NoError(t, err)
		late := fold.Node(append([]byte("12345678"), half...))
		log, err := f.log.Open(t.Context(), "a")
		require.NoError(t, err)
		rec := fold.AppendHeader(nil, fold.Header{Node: late, Batch: 1<<48 | 1, Epoch: f.folded("a").Epoch()}, 1)
		_, err = log.Append(t.Context(), "late", fold.AppendEntry(rec, &fold.Entry{Kind: fold.Open}))
		require.NoError(t, err)
		f.settle()
		require.Equal(t, 3, f.open("a"))
		time.Sleep(leaseLasts)
		require.Equal(t, 2, f.open("a"))
		require.False(t, f.folded("a").IsOpen(late))
	})
}
