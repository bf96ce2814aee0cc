package suite_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/internal/testkit"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// TestClientsInAStorm resets the connections of clients that talk all the
// time, at random bytes: nothing is lost, doubled or out of order, and nobody
// sees a leave or a join. With TCPROOM_STORM set it is 50 clients with 200
// resets each at 2,000 messages a second over loopback, which takes half a minute.
func TestClientsInAStorm(t *testing.T) {
	sessions := []tcproom.RoomOption{tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{})}
	t.Run("in virtual time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			srv := roomtest.NewMemServer(t, sessions...)
			storm{srv: srv, dial: srv.Net.Dial, clients: 50, resets: 5}.blow(t)
		})
	})
	t.Run("in virtual time, with a hook, sparse", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			srv := roomtest.NewMemServer(t, append(sessions, testkit.Sparse.Option(), tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) {
				return body, nil
			}))...)
			storm{srv: srv, seqs: testkit.Sparse, dial: srv.Net.Dial, clients: 20, resets: 20}.blow(t)
		})
	})
	t.Run("over sockets", func(t *testing.T) {
		checkGoroutines(t)
		srv := roomtest.NewServer(t, sessions...)
		s := storm{srv: srv, dial: new(net.Dialer).DialContext, clients: 10, resets: 10}
		if os.Getenv("TCPROOM_STORM") != "" {
			s.clients, s.resets = 50, 200
		}
		s.blow(t)
	})
}

type storm struct {
	srv     *roomtest.Server
	seqs    testkit.Seqs // of its room
	dial    func(ctx context.Context, network, addr string) (net.Conn, error)
	clients int
	resets  int // of each
}

// A sailor is a client in a storm.
type sailor struct {
	*tcproom.Client
	losses atomic.Int64
	said   int
	heard  []tcproom.Event
}

func (s storm) blow(t *testing.T) {
	sailors := make([]*sailor, s.clients)
	for i := range sailors {
		sailors[i] = s.embark(i)
		defer sailors[i].Close()
		ev, err := sailors[i].Receive(testContext(t))
		require.NoError(t, err)
		require.Equal(t, "joined", ev.Welcome.Outcome)
	}
	began := time.Now()
	var talking, hearing sync.WaitGroup
	var last atomic.Uint64 // once it is known
	for i, a := range sailors {
		hearing.Go(func() { a.hear(t, &last) })
		talking.Go(func() { a.talk(t, i, s) })
	}
	talking.Wait()
	took := time.Since(began)
	seq, err := s.srv.Room.Broadcast(t.Context(), []byte("the last"))
	require.NoError(t, err)
	last.Store(seq)
	_, err = s.srv.Room.Broadcast(t.Context(), []byte("beyond"))
	require.NoError(t, err)
	hearing.Wait()

	said, losses := 0, int64(0)
	for _, a := range sailors {
		said += a.said
		losses += a.losses.Load()
	}
	t.Logf("%d messages and %d losses in %v", said, losses, took)
	require.GreaterOrEqual(t, losses, int64(s.clients*s.resets))
	s.check(t, sailors, seq)
	require.Equal(t, uint64(s.clients), s.srv.Room.Stats().Joined)
	require.Empty(t, s.srv.Room.Stats().Left)
}

// embark makes a client whose connections break, as often as they are to.
func (s storm) embark(i int) *sailor {
	a := new(sailor)
	least := int64(10_000) // the first connection gets its welcome
	dice := rand.New(rand.NewPCG(1, uint64(i)))
	a.Client = tcproom.NewClient(context.Background(), s.srv.Addr,
		tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName(fmt.Sprint("n", i)),
		tcproom.WithBackoff(20*time.Millisecond, 20*time.Millisecond),
		tcproom.WithDialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := s.dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			conn, ok := nc.(*roomtest.Conn)
			if !ok {
				conn = roomtest.Wrap(nc)
			}
			if a.losses.Load() < int64(s.resets) {
				conn.In(roomtest.ResetAfter(least + dice.Int64N(int64(600*s.clients))))
				conn.Out(roomtest.ResetAfter(least + dice.Int64N(3_000)))
			}
			least = 0
			return conn, nil
		}))
	return a
}

// talk says 40 things a second until the resets are over.
func (a *sailor) talk(t *testing.T, i int, s storm) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(time.Second / 40)
	defer tick.Stop()
	for began := time.Now(); a.losses.Load() < int64(s.resets); <-tick.C {
		for due := int(40 * time.Since(began).Seconds()); a.said < due; {
			if !a.say(ctx, t, i, a.said%10 == 9) {
				return
			}
		}
	}
	a.say(ctx, t, i, true)
}

func (a *sailor) say(ctx context.Context, t *testing.T, i int, acked bool) bool {
	body := fmt.Appendf(nil, "%d %d", i, a.said)
	var err error
	if acked {
		_, err = a.SendAcked(ctx, body)
	} else {
		err = a.Send(ctx, body)
	}
	if err != nil {
		t.Error(err)
	}
	a.said++
	return err == nil
}

// hear notes what comes until the last message.
func (a *sailor) hear(t *testing.T, last *atomic.Uint64) {
	for {
		ev, err := a.Receive(context.Background())
		if err != nil {
			t.Error(err)
			return
		}
		switch ev.Kind {
		case tcproom.Lost:
			a.losses.Add(1)
		case tcproom.Welcome:
			if ev.Welcome.Outcome != "resumed" {
				t.Errorf("a welcome with outcome %q", ev.Welcome.Outcome)
			}
		case tcproom.Message, tcproom.Join:
			a.heard = append(a.heard, ev)
			if to := last.Load(); to != 0 && ev.Seq >= to {
				return
			}
		default:
			t.Errorf("%+v", ev)
		}
	}
}

// check compares what each has heard with what all together have, up to seq.
func (s storm) check(t *testing.T, sailors []*sailor, seq uint64) {
	all := make(map[uint64]tcproom.Event)
	for _, a := range sailors {
		for _, ev := range a.heard {
			if known, ok := all[ev.Seq]; ok {
				require.Equal(t, known, ev)
			}
			all[ev.Seq] = ev
		}
	}
	next := make(map[string]int)
	var order []tcproom.Event
	for n := uint64(2); n <= s.seqs.Place(seq); n++ { // the first join was heard by nobody
		ev, ok := all[s.seqs.At(n)]
		require.True(t, ok, "nobody heard %d", s.seqs.At(n))
		order = append(order, ev)
		if ev.Kind == tcproom.Message && ev.Seq < seq {
			require.Equal(t, fmt.Sprintf("%s %d", ev.From.Name[1:], next[ev.From.Name]), string(ev.Body))
			next[ev.From.Name]++
		}
	}
	for i, a := range sailors {
		name := fmt.Sprint("n", i)
		require.Equal(t, a.said, next[name], "all that %s said, and once", name)
		want := slices.DeleteFunc(slices.Clone(order), func(ev tcproom.Event) bool { return ev.From.Name == name || ev.Seq <= s.seqs.At(uint64(i+1)) })
		got := slices.DeleteFunc(a.heard, func(ev tcproom.Event) bool { return ev.Seq > seq })
		require.Equal(t, len(want), len(got), name)
		for i := range want {
			require.Equal(t, want[i], got[i])
		}
	}
}
