package tcproom_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/internal/fold"
)

// What comes together for one connection of a hub of several nodes, while a record that it
// needs has no place yet.

// startHeld starts a node that holds back its records with an entry of that kind, for the
// log of that room, until let is called.
func (f *farm) startHeld(room string, kind fold.Kind, opts ...tcproom.HubOption) (s *stable, let func()) {
	f.t.Helper()
	held := make(chan struct{})
	let = sync.OnceFunc(func() { close(held) })
	s = f.startBent(func(ctx context.Context, of string, rec []byte) (uint64, error, bool) {
		if of != room || !slices.Contains(kinds(f.t.(*testing.T), rec), kind) {
			return 0, nil, false
		}
		select {
		case <-held:
			return 0, nil, false
		case <-ctx.Done():
			return 0, context.Cause(ctx), true
		}
	}, opts...)
	f.t.Cleanup(let)
	return s, let
}

// TestHubClusterOutOfBoth: a connection that names no rooms is put out of the room to which
// it moves, before its leave of the other one has its place. It ends then, as any that is
// put out of its room; a person stays, in none.
func TestHubClusterOutOfBoth(t *testing.T) {
	for _, row := range []struct {
		name string
		out  func(f *farm) error
		told string
	}{
		{"kicked", func(f *farm) error { return f.nodes[0].member("c", "eve").Kick("") }, "goodbye kicked"},
		{"kicked here", func(f *farm) error { return f.nodes[1].member("c", "eve").Kick("") }, "goodbye kicked"},
		{"banned", func(f *farm) error {
			_, err := f.nodes[0].hub.Ban(tcproom.Ban{Room: "c", Name: "eve"})
			return err
		}, "goodbye banned"},
		{"removed", func(f *farm) error { return f.nodes[0].hub.Remove("c", "") }, "goodbye removed"},
	} {
		for _, person := range []bool{false, true} {
			inBubble(row.name, t, func(t *testing.T) {
				f := newFarm(t, 1, tcproom.WithCodec(tcproom.JSON{}))
				s, let := f.startHeld("lobby", fold.Leave, tcproom.WithCodec(tcproom.JSON{}))
				f.nodes[0].labelled("bob", "lobby", "c")
				join := s.unlabelled
				if person {
					join = s.person
				}
				eve := join("eve")
				f.settle()
				m, moved := s.member("lobby", "eve"), make(chan error, 1)
				go func() {
					_, err := s.hub.Move(testContext(t), m, "c")
					moved <- err
				}()
				f.settle()
				require.NoError(t, row.out(f))
				f.settle()
				let()
				require.NoError(t, <-moved)
				time.Sleep(time.Minute)
				require.Equal(t, []string{"bob"}, f.nodes[0].names("lobby"))
				require.NotContains(t, f.nodes[0].names("c"), "eve")
				if person {
					require.False(t, eve.gone())
					return
				}
				told := eve.told()[""]
				require.Equal(t, row.told, told[len(told)-1])
				require.True(t, eve.gone())
			})
		}
	}
}

// TestHubClusterResumesTogether: a connection resumes, and once more while the log of a room
// has not the first resume yet. The last one has all of its rooms, and others see no leave.
func TestHubClusterResumesTogether(t *testing.T) {
	opts := []tcproom.HubOption{tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{Grace: time.Minute})}
	for _, row := range []struct {
		name                string
		from, first, second int // the nodes
	}{
		{"at its node", 1, 1, 1},
		{"at another one", 0, 1, 1},
		{"at two others", 0, 1, 2},
		{"elsewhere and back", 2, 1, 2},
		{"here and elsewhere", 1, 1, 2},
	} {
		inBubble(row.name, t, func(t *testing.T) {
			f := newFarm(t, 1, opts...)
			_, letFirst := f.startHeld("a", fold.Resume, opts...)
			_, letSecond := f.startHeld("a", fold.Resume, opts...)
			bob, eve := f.nodes[0].labelled("bob", "a", "b"), f.nodes[row.from].labelled("eve", "a", "b")
			f.settle()
			hello := resumeOf(eve.objects())
			bob.told()
			resume := func(node int) *rider {
				r := f.nodes[node].ride(f.nodes[node].json, "10.0.0.1", hello)
				f.settle()
				return r
			}
			first, last := resume(row.first), resume(row.second)
			require.True(t, eve.gone())
			letFirst()
			f.settle()
			letSecond()
			time.Sleep(3 * time.Minute)
			require.True(t, first.gone())
			resumed := []string{"welcome resumed"}
			require.Equal(t, map[string][]string{"*": resumed, "a": resumed, "b": resumed}, last.told())
			require.Empty(t, bob.told())
			bob.say(`{"type":"message","room":"a","body":"hi"}`)
			f.settle()
			require.Equal(t, []string{"bob: hi"}, last.told()["a"])
		})
	}
}

// A lateBackplane brings the records of a room only while it is not held.
type lateBackplane struct {
	tcproom.Backplane
	room string
	mu   sync.Mutex
	held chan struct{} // nil: it is not
}

type lateLog struct {
	tcproom.Log
	b *lateBackplane
}

func (b *lateBackplane) Open(ctx context.Context, room string) (tcproom.Log, error) {
	l, err := b.Backplane.Open(ctx, room)
	if err == nil && room == b.room {
		l = &lateLog{l, b}
	}
	return l, err
}

// hold holds the records until let is called.
func (b *lateBackplane) hold() (let func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	held := make(chan struct{})
	b.held = held
	return sync.OnceFunc(func() { close(held) })
}

func (l *lateLog) Tail(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
	return l.Log.Tail(ctx, from, func(rec tcproom.Record) error {
		l.b.mu.Lock()
		held := l.b.held
		l.b.mu.Unlock()
		if held != nil {
			select {
			case <-held:
			case <-ctx.Done():
			}
		}
		return fn(rec)
	})
}

// TestHubClusterResumesBehindItsSuccessor: a connection resumes in a room, for which OnJoin
// waits. Meanwhile the client has connected to another process, of which this one does not
// know yet. The newer connection keeps the room, also if the log of all rooms is silent
// until the older one is given up.
func TestHubClusterResumesBehindItsSuccessor(t *testing.T) {
	for _, row := range []struct {
		name    string
		rooms   bool // the hello names them
		lost    bool // the first connection of all is gone
		silence time.Duration
		outage  time.Duration
	}{
		{name: "lost", rooms: true, lost: true, outage: 15 * time.Second},
		{name: "not lost", rooms: true, outage: 15 * time.Second},
		{name: "no rooms", outage: 15 * time.Second},
		{name: "silent", rooms: true, silence: 12 * time.Second, outage: 15 * time.Second},
		{name: "silent, no rooms", silence: 12 * time.Second, outage: 15 * time.Second},
		{name: "given up", rooms: true, silence: 8 * time.Second, outage: 3 * time.Second},
		{name: "given up, no rooms", silence: 8 * time.Second, outage: 3 * time.Second},
	} {
		inBubble(row.name, t, func(t *testing.T) {
			opts := []tcproom.HubOption{tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{Grace: time.Minute}), tcproom.WithMaxOutage(row.outage)}
			f := newFarm(t, 2, opts...)
			b := &lateBackplane{Backplane: f.log.Attach(), room: "*"}
			wait, goOn := gate()
			s := newStable(t, append(opts, tcproom.WithBackplane(b), tcproom.OnJoin(func(m *tcproom.Member) error {
				if m.Room().Name() == "lobby" && m.Name() == "eve" {
					<-wait
				}
				return nil
			}))...)
			t.Cleanup(goOn)
			require.NoError(t, s.hub.Ready(testContext(t)))
			bob := f.nodes[0].labelled("bob", "lobby")
			eve, place := f.nodes[0].unlabelled, ""
			if row.rooms {
				eve, place = func(name string) *rider { return f.nodes[0].labelled(name, "lobby") }, "lobby"
			}
			old := eve("eve")
			f.settle()
			hello := resumeOf(old.objects())
			bob.told()
			if row.lost {
				old.nc.Reset()
				f.settle()
			}
			first := s.ride(s.json, "10.0.0.1", hello)
			f.settle()
			let := b.hold()
			t.Cleanup(let)
			last := f.nodes[1].ride(f.nodes[1].json, "10.0.0.1", hello)
			f.settle()
			require.Contains(t, last.told()[place], "welcome resumed")
			goOn()
			f.settle()
			time.Sleep(row.silence)
			require.False(t, last.gone())
			let()
			f.settle()
			require.True(t, first.gone())
			require.False(t, last.gone())
			bob.say(`{"type":"message","room":"lobby","body":"hi"}`)
			f.settle()
			require.Equal(t, map[string][]string{place: {"bob: hi"}}, last.told())
			require.Empty(t, bob.told())
		})
	}
}
