package suite_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// A room with a log reads on while what it has read is on its way there.

// TestClusterReadsAhead: it takes so many messages of a connection, and no more, while the
// log is silent. They have one order, and a leave comes behind them.
func TestClusterReadsAhead(t *testing.T) {
	inBubble("the order", t, func(t *testing.T) {
		c := newCluster(t, 2)
		ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
		ada.Expect(roomtest.Joined("bob"))
		c.Backplane(0).Stall()
		const most = 700
		for i := range most {
			ada.SendAsync(fmt.Sprint(i))
			synctest.Wait() // each is a read of its own
		}
		gone := later(func() { ada.Conn.Close() })
		time.Sleep(time.Second)
		c.Heal(0)
		gone()
		for i := range most {
			bob.Expect(roomtest.Message("ada", fmt.Sprint(i)))
		}
		bob.Expect(roomtest.Left("ada"))
		c.Verify()
	})
	for _, tt := range []struct{ sent, counted int }{{3, 3}, {600, 512}} {
		inBubble(fmt.Sprint("a stop of ", tt.sent), t, func(t *testing.T) {
			c := newCluster(t, 2)
			ada := c.Room(0).Join("ada")
			c.Backplane(0).Stall()
			for i := range tt.sent {
				ada.SendAsync(fmt.Sprint(i))
				synctest.Wait()
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			var stop *tcproom.StopError
			require.ErrorAs(t, c.Room(0).Room.Shutdown(ctx), &stop)
			require.Equal(t, tt.counted, stop.Unordered)
			c.Crash(0)
			c.Verify()
		})
	}
}

// TestClusterDealsWith: a roomtest.Member that sends waits until what it has sent has its
// place, although the room reads on.
func TestClusterDealsWith(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		c := newCluster(t, 2)
		ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
		ada.Expect(roomtest.Joined("bob"))
		c.Delay(0, time.Second)
		ada.SendAsync("one")
		time.Sleep(100 * time.Millisecond)
		ada.Send("two")
		require.Equal(t, 1, said(c, 0, "two"))
		bob.Send("three")
		bob.Expect(roomtest.Message("ada", "one"), roomtest.Message("ada", "two"))
		ada.Expect(roomtest.Message("bob", "three"))
		c.Verify()
	})
}

// TestClusterIdleWhileTheLogIsSilent: a member that waits for what it has sent is not idle.
func TestClusterIdleWhileTheLogIsSilent(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		c := newCluster(t, 2, tcproom.WithSessions(tcproom.Sessions{Grace: time.Second}), tcproom.WithIdleTimeout(5*time.Second))
		ada := c.Room(0).Join("ada")
		c.Backplane(0).Stall()
		ada.SendAsync("one")
		time.Sleep(8 * time.Second)
		require.NoError(t, ada.Conn.Err())
		c.Heal(0)
		synctest.Wait()
		time.Sleep(4 * time.Second)
		require.NoError(t, ada.Conn.Err())
		require.Equal(t, 1, said(c, 1, "one"))
		time.Sleep(2 * time.Second)
		require.Error(t, ada.Conn.Err())
		c.Verify()
	})
}

// A wire is a member that speaks JSON by hand.
type wire struct {
	t  *testing.T
	nc net.Conn
	in *bufio.Scanner
}

func dialWire(t *testing.T, srv *roomtest.Server, name string) *wire {
	nc, err := srv.Net.Dial(t.Context(), "tcp", srv.Addr)
	require.NoError(t, err)
	nc.SetReadDeadline(time.Now().Add(time.Minute))
	w := &wire{t, nc, bufio.NewScanner(nc)}
	w.send(`{"type":"hello","name":%q}`, name)
	w.next(`"type":"welcome"`)
	return w
}

func (w *wire) send(format string, args ...any) {
	_, err := fmt.Fprintf(w.nc, format+"\n", args...)
	require.NoError(w.t, err)
}

// next expects the next line to have this in it.
func (w *wire) next(has string) {
	w.t.Helper()
	require.True(w.t, w.in.Scan(), "%v", w.in.Err())
	require.Contains(w.t, w.in.Text(), has)
}

// TestClusterAcksInOrder: acks come in the order in which messages were sent, as do the
// refusals of one that another node has muted meanwhile.
func TestClusterAcksInOrder(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		c := newCluster(t, 2, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithNotices(false))
		ada := dialWire(t, c.Room(0), "ada")
		bob := c.Room(1).Join("bob")
		say := func(from, to int) {
			for n := from; n <= to; n++ {
				ada.send(`{"type":"message","id":%d,"body":"%d"}`, n, n)
				synctest.Wait()
			}
		}
		c.Delay(0, time.Second)
		say(1, 3)
		ada.send(`{"type":"message","id":2,"body":"again"}`)
		for _, n := range []int{1, 2, 3, 2} {
			ada.next(fmt.Sprintf(`{"type":"ack","id":%d,`, n))
		}
		who := memberAt(t, c, 1, "ada")
		say(4, 5)
		require.NoError(t, c.Room(1).Room.Mute(who.ID(), time.Now().Add(time.Minute)))
		say(6, 6)
		time.Sleep(3 * time.Second)
		say(7, 7)                 // its own node knows, too
		for n := 4; n <= 7; n++ { // each was read by itself
			ada.next(fmt.Sprintf(`{"type":"ack","id":%d}`, n))
			ada.next(`"muted"`)
		}
		require.NoError(t, c.Room(1).Room.Mute(who.ID(), time.Time{}))
		time.Sleep(3 * time.Second)
		say(8, 8)
		bob.Await(roomtest.Message("ada", "8"))
		ada.nc.Close()
		bob.Sync()
		require.Zero(t, said(c, 1, "4")+said(c, 1, "5")+said(c, 1, "6")+said(c, 1, "7")+said(c, 1, "again"))
		time.Sleep(2 * grace)
		c.Verify()
	})
}

// A failingAcks is JSON that fails when it is to say an ack.
type failingAcks struct {
	tcproom.JSON
	fail func()
}

func (c *failingAcks) AppendEvent(dst []byte, ev *tcproom.Event) ([]byte, error) {
	if ev.Kind == tcproom.Ack {
		c.fail()
	}
	return c.JSON.AppendEvent(dst, ev)
}

// TestClusterAckThatFails: a codec that fails while acks are told ends that connection, and
// what was said is said.
func TestClusterAckThatFails(t *testing.T) {
	for name, fail := range map[string]func(){"panic": func() { panic("no acks") }, "Goexit": runtime.Goexit} {
		inBubble(name, t, func(t *testing.T) {
			c := newCluster(t, 2, tcproom.WithCodec(&failingAcks{fail: fail}), tcproom.WithNotices(false))
			ada, bob := dialWire(t, c.Room(0), "ada"), c.Room(1).Join("bob")
			c.Delay(0, time.Second)
			for n := 1; n <= 3; n++ {
				ada.send(`{"type":"message","id":%d,"body":"%d"}`, n, n)
				synctest.Wait()
			}
			ada.next(`"type":"goodbye"`)
			require.False(t, ada.in.Scan())
			for n := 1; n <= 3; n++ {
				bob.Expect(roomtest.Message("ada", fmt.Sprint(n)))
			}
			require.NoError(t, ada.nc.Close())
			time.Sleep(2 * grace)
			require.Equal(t, 1, c.Room(1).Room.Len())
			c.Verify()
		})
	}
}

// A stream is what clients say without a wait for acks, while nodes and the log fail: all
// of it comes once, and in order.
type stream struct {
	t      *testing.T
	c      *roomtest.Cluster
	unit   time.Duration
	sent   sync.WaitGroup // all but the last message of each
	healed chan struct{}
	mu     sync.Mutex // guards rng
	rng    *rand.Rand
}

func (s *stream) random(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rng.IntN(n)
}

func (s *stream) client(name string, messages int) {
	cl := tcproom.NewClient(context.Background(), "cluster:1", tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName(name),
		tcproom.WithBackoff(s.unit/10, s.unit), tcproom.WithHandshakeTimeout(20*s.unit), tcproom.OnEvent(func(tcproom.Event) {}),
		tcproom.WithDialer(func(ctx context.Context, network, _ string) (net.Conn, error) {
			srv := s.c.Room(s.random(3))
			return srv.Net.Dial(ctx, network, srv.Addr)
		}))
	defer cl.Close()
	for i := range messages {
		if err := cl.Send(context.Background(), []byte(fmt.Sprint(name, " ", i))); err != nil {
			s.t.Errorf("%s ends: %v", name, err)
			break
		}
		time.Sleep(time.Duration(s.random(int(s.unit / 20))))
	}
	s.sent.Done()
	<-s.healed
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if _, err := cl.SendAcked(ctx, []byte(fmt.Sprint(name, " ", messages))); err != nil {
		s.t.Errorf("%s has no ack: %v", name, err)
	}
}

// fail makes things fail until stop is closed: for long enough that a node gives up, or
// is taken for dead.
func (s *stream) fail(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(s.random(int(2 * s.unit)))):
		}
		switch i := s.random(3); s.random(8) {
		case 0, 1:
			s.c.Delay(i, time.Duration(s.random(int(s.unit/2))))
		case 2, 3:
			s.c.Uncertain(i, roomtest.Fate(s.random(2)))
		case 4:
			s.c.Cut(i)
		case 5:
			s.c.Backplane(i).Stall()
		default:
			s.c.Heal(i)
		}
	}
}

func testStream(t *testing.T, seed uint64, clients, messages int, unit time.Duration) {
	s := &stream{t: t, unit: unit, healed: make(chan struct{}), rng: rand.New(rand.NewPCG(seed, 1))}
	log := roomtest.NewLog(func(caps *tcproom.Caps) { caps.Lease = 15 * unit })
	s.c = log.Cluster(t, 3, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithNotices(false), tcproom.WithMaxOutage(time.Duration(5+s.random(40))*unit),
		tcproom.WithSessions(tcproom.Sessions{Grace: 10 * time.Minute}), tcproom.WithHandshakeTimeout(20*unit))
	stop := make(chan struct{})
	failed := later(func() { s.fail(stop) })
	var acked sync.WaitGroup
	s.sent.Add(clients)
	for i := range clients {
		acked.Go(func() { s.client(fmt.Sprint("c", i), messages) })
	}
	s.sent.Wait()
	close(stop)
	failed()
	for i := range 3 {
		s.c.Heal(i)
		s.c.Delay(i, 0)
	}
	close(s.healed)
	acked.Wait()
	s.c.Room(0).Within(time.Minute)
	next := make(map[string]int)
	for _, ev := range s.c.Transcript().Events() {
		if ev.Kind == tcproom.Message {
			name := string(ev.Body[:2])
			require.Equal(t, fmt.Sprint(name, " ", next[name]), string(ev.Body))
			next[name]++
		}
	}
	for i := range clients {
		require.Equal(t, messages+1, next[fmt.Sprint("c", i)])
	}
	s.c.Verify()
	for i := range 3 {
		s.c.Room(i).Within(time.Minute)
		s.c.Shutdown(i)
	}
}

// TestClusterStream runs it in bubbles, by the same seeds each time: CLUSTER_SEED is
// another one, of one run.
func TestClusterStream(t *testing.T) {
	first, n := uint64(0), uint64(times(2, 100))
	if s := os.Getenv("CLUSTER_SEED"); s != "" {
		var err error
		first, err = strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
		n = 1
	}
	for seed := first; seed < first+n; seed++ {
		inBubble(fmt.Sprint("seed ", seed), t, func(t *testing.T) { testStream(t, seed, 4, 300, time.Second) })
	}
}

// TestClusterStreamInRealTime runs it once by the clock.
func TestClusterStreamInRealTime(t *testing.T) {
	t.Parallel()
	testStream(t, 1, 4, 200, 50*time.Millisecond)
}
