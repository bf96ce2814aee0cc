package suite_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"testing"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// A clusterModel has members and programs do what they can at several nodes, while nodes
// and their connections to the log fail, all at random. At the end what everybody has
// seen is held against the log, and the log against what was handed in.
type clusterModel struct {
	t     *testing.T
	c     *roomtest.Cluster
	nodes int
	unit  time.Duration // of waits and faults: 1 s of a bubble
	stop  chan struct{} // closed when no more is begun
	loses time.Time     // until then the log is lost now and then; zero: it never is
	// settled is when all nodes had noticed so: the last stream has begun.
	settled time.Time

	mu    sync.Mutex // guards what follows
	down  []bool
	sent  map[string]*handedIn
	taken uint64 // a place in the order that was known to be taken
	hooks map[*tcproom.Member]int
	n     int
}

// A handedIn is a message that somebody wanted to send.
type handedIn struct {
	at      time.Time
	floor   uint64 // a place that was taken before
	seq     uint64 // that a call returned; 0: none did
	surely  bool   // it was said
	not     bool   // it was not
	ordered int    // how often it is in the order
}

func testClusterModel(t *testing.T, seed uint64, nodes, clients int, unit, lasts time.Duration, loses bool) {
	m := &clusterModel{t: t, nodes: nodes, unit: unit, stop: make(chan struct{}), down: make([]bool, nodes),
		sent: make(map[string]*handedIn), hooks: make(map[*tcproom.Member]int)}
	rng := m.rng(seed, 0)
	grace := 20 * unit
	opts := []tcproom.RoomOption{
		tcproom.WithCodec(tcproom.JSON{}), tcproom.WithUniqueNames(rng.IntN(2) == 0), tcproom.WithMaxOutage(time.Duration(5+rng.IntN(20)) * unit),
		tcproom.WithSessions(tcproom.Sessions{Grace: grace}), tcproom.WithHandshakeTimeout(10 * unit),
		tcproom.OnJoin(func(who *tcproom.Member) error { m.hook(who, 1); return nil }),
		tcproom.OnLeave(func(who *tcproom.Member, cause error) { m.hook(who, -1) }),
	}
	if rng.IntN(2) == 0 {
		opts = append(opts, tcproom.WithHistory(tcproom.History{Messages: 20}))
	}
	if rng.IntN(2) == 0 { // what the hook returns is held
		pauses := m.rng(seed, 3000)
		opts = append(opts, tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) {
			m.mu.Lock()
			d := max(0, time.Duration(pauses.IntN(400)-300)) * unit / 1000
			m.mu.Unlock()
			time.Sleep(d)
			return body, nil
		}))
	}
	records := rng.IntN(2) * 400 // then nodes begin with checkpoints
	if loses {
		m.loses = time.Now().Add(lasts / 2)
		records = rng.IntN(2) * (200 + rng.IntN(200)) // and may miss what they have not read
	}
	log := roomtest.NewLog(func(caps *tcproom.Caps) { caps.Lease, caps.Records = 15*unit, records })
	m.c = log.Cluster(t, nodes, opts...)
	for i := range nodes {
		m.c.Room(i).Within(30 * unit)
	}
	var wg sync.WaitGroup
	for i := range clients {
		name := fmt.Sprint("m", i)
		switch rng := m.rng(seed, 1+uint64(i)); {
		case i%4 == 3:
			wg.Go(func() { m.client(rng, name) })
		default:
			wg.Go(func() { m.member(rng, name) })
		}
	}
	wg.Go(func() { m.program(m.rng(seed, 1000)) })
	time.AfterFunc(lasts, func() { close(m.stop) })
	m.fail(m.rng(seed, 2000)) // on this goroutine: what it calls may end the test
	wg.Wait()
	for i := range nodes {
		m.c.Heal(i)
		m.c.Delay(i, 0)
		if m.down[i] {
			m.restart(i)
		}
	}
	time.Sleep(3*15*unit + 2*grace)
	for i := range m.down {
		m.c.Room(i).Within(within) // by the clock a busy machine takes its time
	}
	m.c.Verify()
	m.check()
	for i := range nodes {
		m.c.Room(i).Within(10 * time.Second) // some clients do not read
		m.c.Shutdown(i)
	}
	for who, n := range m.hooks {
		require.Zero(t, n, "OnJoin without OnLeave, or OnLeave without OnJoin, of %s", who.ID())
	}
}

func (m *clusterModel) rng(seed, of uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, of)) }

func (m *clusterModel) hook(who *tcproom.Member, d int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hooks[who] += d; m.hooks[who] < 0 || m.hooks[who] > 1 {
		m.t.Errorf("OnJoin and OnLeave of %s do not alternate: %d\n%s", who.ID(), m.hooks[who], debug.Stack())
	}
}

// goesOn waits a while, and reports whether something more is to be begun.
func (m *clusterModel) goesOn(rng *rand.Rand, most time.Duration) bool {
	select {
	case <-m.stop:
		return false
	case <-time.After(time.Duration(rng.Int64N(int64(most)))):
		return true
	}
}

// handIn notes a message before it is sent.
func (m *clusterModel) handIn(who string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.n++
	body := fmt.Sprint(who, " ", m.n)
	m.sent[body] = &handedIn{at: time.Now(), floor: m.taken}
	return body
}

// outcome notes what a call for it returned.
func (m *clusterModel) outcome(body string, seq uint64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.sent[body]
	switch {
	case err == nil:
		s.surely, s.seq = true, seq
		m.takeLocked(seq)
	case errors.Is(err, tcproom.ErrUncertain):
	default:
		s.not = true
	}
}

// seen notes that an event has its place.
func (m *clusterModel) seen(seq uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.takeLocked(seq)
}

func (m *clusterModel) takeLocked(seq uint64) {
	if m.loses.IsZero() { // else it may be of a stream that is over
		m.taken = max(m.taken, seq)
	}
}

// room returns a node at random.
func (m *clusterModel) room(rng *rand.Rand) *roomtest.Server { return m.c.Room(rng.IntN(m.nodes)) }

// member is connected now and then.
func (m *clusterModel) member(rng *rand.Rand, name string) {
	var last *roomtest.Member
	for m.goesOn(rng, 2*m.unit) {
		var now *roomtest.Member
		var err error
		if last != nil && rng.IntN(4) > 0 {
			now, err = m.room(rng).TryResume(last)
		} else {
			now, err = m.room(rng).TryJoin(name)
		}
		if err != nil {
			continue
		}
		for last = now; last.Conn.Err() == nil && m.goesOn(rng, m.unit); {
			switch n := rng.IntN(20); {
			case n < 14:
				for range 1 + rng.IntN(5) {
					last.Conn.Send(context.Background(), []byte(m.handIn(name)))
				}
			case n < 16:
				last.Link.Reset()
			case n < 17:
				last.Conn.Close()
				last = nil
			case n < 18:
				again, err := m.room(rng).TryResume(last) // takes it over
				if err == nil {
					last = again
				}
			default:
				m.kick(rng)
			}
			if last == nil {
				break
			}
			if events := last.Events(); len(events) > 0 {
				if ev := events[len(events)-1]; ev.Kind == tcproom.Message && !ev.History {
					m.seen(ev.Seq)
				}
			}
		}
	}
	if last != nil && rng.IntN(2) == 0 {
		last.Conn.Close()
	}
}

func (m *clusterModel) kick(rng *rand.Rand) {
	room := m.room(rng).Room
	n := room.Len()
	if n == 0 {
		return
	}
	k := rng.IntN(n)
	for who := range room.Members() {
		if k--; k < 0 {
			who.Kick("at random")
			return
		}
	}
}

// client is a tcproom.Client, which comes back by itself and numbers what it says.
func (m *clusterModel) client(rng *rand.Rand, name string) {
	wait := rand.New(rand.NewPCG(rng.Uint64(), 1))
	var mu sync.Mutex // guards rng, of which nodes to dial are
	cl := tcproom.NewClient(context.Background(), "cluster:1", tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName(name),
		tcproom.WithBackoff(m.unit/10, 2*m.unit), tcproom.WithHandshakeTimeout(20*m.unit),
		tcproom.WithDialer(func(ctx context.Context, network, _ string) (net.Conn, error) {
			mu.Lock()
			srv := m.room(rng)
			mu.Unlock()
			return srv.Net.Dial(ctx, network, srv.Addr)
		}))
	defer cl.Close()
	go func() {
		epoch, last := "", uint64(0)
		for ev, err := range cl.Events(context.Background()) {
			switch {
			case err != nil:
				return
			case ev.Kind == tcproom.Welcome && ev.Welcome.Epoch != epoch:
				epoch, last = ev.Welcome.Epoch, 0
			case ev.Kind != tcproom.Message && ev.Kind != tcproom.Join && ev.Kind != tcproom.Leave, ev.History:
			case ev.Seq <= last:
				m.t.Errorf("a client has %d behind %d", ev.Seq, last)
			default:
				last = ev.Seq
				m.seen(ev.Seq)
			}
		}
	}()
	for m.goesOn(wait, m.unit) && cl.Err() == nil {
		ctx, cancel := context.WithTimeout(context.Background(), 20*m.unit)
		body := m.handIn(name)
		seq, err := cl.SendAcked(ctx, []byte(body))
		cancel()
		if err != nil { // it may come later
			err = tcproom.ErrUncertain
		}
		m.outcome(body, seq, err)
	}
}

// program has the room itself speak, at all nodes.
func (m *clusterModel) program(rng *rand.Rand) {
	for m.goesOn(rng, m.unit) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+rng.IntN(3000))*m.unit/1000)
		body := m.handIn("program")
		seq, err := m.room(rng).Room.Broadcast(ctx, []byte(body))
		cancel()
		m.outcome(body, seq, err)
	}
}

// fail makes things fail.
func (m *clusterModel) fail(rng *rand.Rand) {
	for m.goesOn(rng, 3*m.unit) {
		i := rng.IntN(m.nodes)
		switch {
		case m.loses.IsZero() || !m.settled.IsZero():
		case time.Now().After(m.loses):
			for i := range m.nodes {
				m.c.Heal(i)
			}
			time.Sleep(10 * m.unit)
			m.settled = time.Now()
		default:
			switch rng.IntN(12) {
			case 0:
				m.c.Replace()
			case 1:
				m.c.Rollback(1 + rng.IntN(6))
			}
		}
		switch n := rng.IntN(16); {
		case m.down[i]:
			m.c.Heal(i)
			m.restart(i)
		case n < 4:
			m.c.Delay(i, time.Duration(rng.IntN(1000))*m.unit/1000)
		case n < 6:
			m.c.Uncertain(i, roomtest.Fate(rng.IntN(2)))
		case n < 8:
			m.c.Cut(i)
		case n < 9:
			m.c.Backplane(i).Stall()
		case n < 10:
			m.c.Backplane(i).Stale()
		case n < 14:
			m.c.Heal(i)
		case n < 15 && m.up() > 1:
			m.c.Crash(i)
			m.down[i] = true
		case m.up() > 1:
			ctx, cancel := context.WithTimeout(context.Background(), 10*m.unit)
			m.c.Room(i).Room.Shutdown(ctx)
			cancel()
			m.c.Crash(i) // what is left of it
			m.down[i] = true
		}
	}
}

func (m *clusterModel) restart(i int) {
	m.c.Restart(i).Within(30 * m.unit)
	m.down[i] = false
}

func (m *clusterModel) up() (n int) {
	for _, down := range m.down {
		if !down {
			n++
		}
	}
	return n
}

// check holds the order against what was handed in.
func (m *clusterModel) check() {
	said := 0
	for _, ev := range m.c.Transcript().Events() {
		if ev.Kind != tcproom.Message {
			continue
		}
		said++
		s := m.sent[string(ev.Body)]
		switch {
		case s == nil:
			m.t.Errorf("%d was not sent: %q", ev.Seq, ev.Body)
			continue
		case s.not:
			m.t.Errorf("%d was said, and its sender was told that it is not: %q", ev.Seq, ev.Body)
		case s.seq != 0 && s.seq != ev.Seq:
			m.t.Errorf("%d was said, and its sender was told %d: %q", ev.Seq, s.seq, ev.Body)
		case ev.Seq <= s.floor:
			m.t.Errorf("%d was sent when %d was taken: %q", ev.Seq, s.floor, ev.Body)
		}
		if s.ordered++; s.ordered > 1 {
			m.t.Errorf("%d was said before: %q", ev.Seq, ev.Body)
		}
	}
	for body, s := range m.sent {
		// A stream that is lost takes with it what was said in it.
		counts := m.loses.IsZero() || !m.settled.IsZero() && s.at.After(m.settled)
		if s.surely && s.ordered == 0 && counts {
			m.t.Errorf("it was said, by what its sender was told, and nobody has it: %q", body)
		}
	}
	m.t.Logf("%d messages were handed in, and %d said", len(m.sent), said)
}

// modelSeeds are those of the model's runs, the same each time: CLUSTER_SEED is another
// one, of one run.
func modelSeeds(t *testing.T) (list []uint64) {
	t.Helper()
	if s := os.Getenv("CLUSTER_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
		return []uint64{seed}
	}
	for seed := range uint64(times(2, 200)) {
		list = append(list, seed)
	}
	return list
}

// TestClusterModel runs the model in bubbles.
func TestClusterModel(t *testing.T) {
	for _, seed := range modelSeeds(t) {
		inBubble(fmt.Sprint("seed ", seed), t, func(t *testing.T) { testClusterModel(t, seed, 3, 8, time.Second, time.Minute, false) })
	}
}

// TestClusterModelLosesTheLog runs it with a log that is replaced, rolled back, and in some
// runs drops what nodes have not read.
func TestClusterModelLosesTheLog(t *testing.T) {
	for _, seed := range modelSeeds(t) {
		inBubble(fmt.Sprint("seed ", seed), t, func(t *testing.T) { testClusterModel(t, seed, 3, 8, time.Second, 90*time.Second, true) })
	}
}

// TestClusterModelInRealTime runs it once, small, by the clock: the race detector sees
// what a bubble does not let happen at once.
func TestClusterModelInRealTime(t *testing.T) {
	t.Parallel()
	testClusterModel(t, 1, 3, 4, 10*time.Millisecond, 600*time.Millisecond, false)
}
