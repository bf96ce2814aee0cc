package tcproom_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// Places are the processes of one room, in a bubble, and what a client dials.
type places struct {
	t   *testing.T
	net roomtest.Network
	log *roomtest.Log // nil: their rooms have nothing to do with each other

	mu    sync.Mutex // guards what follows
	began time.Time
	dials []dialled
	conn  *roomtest.Conn
}

type dialled struct {
	at   time.Duration
	addr string
}

func newPlaces(t *testing.T) *places { return &places{t: t, log: roomtest.NewLog(), began: time.Now()} }

// open opens a room at an address, of JSON with sessions.
func (p *places) open(addr string, s tcproom.Sessions, opts ...tcproom.RoomOption) *tcproom.Room {
	p.t.Helper()
	all := []tcproom.RoomOption{tcproom.WithSessions(s)}
	if p.log != nil {
		log, err := p.log.Attach().Open(p.t.Context(), "lobby")
		require.NoError(p.t, err)
		all = append(all, tcproom.WithLog(log))
	}
	room := jsonRoom(append(all, opts...)...)
	require.NoError(p.t, room.Ready(p.t.Context()))
	serve(p.t, room, p.listen(addr))
	return room
}

func (p *places) listen(addr string) *roomtest.Listener {
	p.t.Helper()
	l, err := p.net.Listen(addr)
	require.NoError(p.t, err)
	return l
}

func (p *places) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	p.mu.Lock()
	p.dials = append(p.dials, dialled{at: time.Since(p.began), addr: addr})
	p.mu.Unlock()
	nc, err := p.net.Dial(ctx, network, addr)
	if err == nil {
		p.mu.Lock()
		p.conn = nc.(*roomtest.Conn)
		p.mu.Unlock()
	}
	return nc, err
}

// reset breaks the client's connection.
func (p *places) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conn.Reset()
}

// since returns what was dialled after the first n.
func (p *places) since(n int) []dialled {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.dials[n:])
}

// order returns the addresses that were dialled, by their first letters.
func (p *places) order() string {
	var b strings.Builder
	for _, d := range p.since(0) {
		b.WriteString(d.addr[:1])
	}
	return b.String()
}

func (p *places) client(opts ...tcproom.DialOption) *tcproom.Client {
	all := []tcproom.DialOption{tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName("ada"), tcproom.WithDialer(p.dial), tcproom.Addresses("b:1", "c:1")}
	c := tcproom.NewClient(context.Background(), "a:1", append(all, opts...)...)
	p.t.Cleanup(func() { c.Close() })
	return c
}

// endsNow is ends for a client that ends without a wait.
func endsNow(t *testing.T, c *tcproom.Client) error {
	t.Helper()
	synctest.Wait()
	require.Error(t, c.Err(), "it has not ended")
	return ends(t, c)
}

// An earwitness notes what a member hears.
type earwitness struct {
	conn *tcproom.Conn
	done chan struct{}
	mu   sync.Mutex
	got  []tcproom.Event
}

func newEarwitness(t *testing.T, room *tcproom.Room, name string) *earwitness {
	t.Helper()
	c, err := room.Join(t.Context(), tcproom.Identity{Name: name})
	require.NoError(t, err)
	a := &earwitness{conn: c, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		for ev, err := range c.Events(context.Background()) {
			if err != nil {
				return
			}
			a.mu.Lock()
			a.got = append(a.got, ev)
			a.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		c.Close()
		<-a.done
	})
	return a
}

// heard returns what it has heard of a member, in few words, its join aside.
func (a *earwitness) heard(name string) (said []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, ev := range a.got {
		switch {
		case ev.From.Name != name || ev.Kind == tcproom.Join:
		case ev.Kind == tcproom.Message:
			said = append(said, string(ev.Body))
		default:
			said = append(said, ev.Kind.String())
		}
	}
	return said
}

func numbered(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprint(i))
	}
	return list
}

func TestAddressesRestart(t *testing.T) {
	inBubble("the next process at once, and nothing is lost", t, addressesMove)
	inBubble("each process, one after the other, under load", t, addressesRoll)
	inBubble("a process that is gone without a word", t, addressesCrash)
	for name, hook := range map[string]func(*tcproom.Member, []byte) ([]byte, error){
		"no hook": nil,
		"a hook":  func(_ *tcproom.Member, body []byte) ([]byte, error) { return body, nil },
		"a hook that posts": func(m *tcproom.Member, body []byte) ([]byte, error) {
			_, err := m.Post(context.Background(), body)
			return nil, err
		},
	} {
		inBubble("what is said to a process that drains, with "+name, t, func(t *testing.T) { addressesDrain(t, hook) })
	}
}

// What a member says while its process takes nothing more has it go on elsewhere, and say
// it there.
func addressesDrain(t *testing.T, hook func(*tcproom.Member, []byte) ([]byte, error)) {
	p := newPlaces(t)
	a := p.open("a:1", tcproom.Sessions{}, tcproom.WithDrain(20*time.Second), tcproom.OnMessage(hook))
	b := p.open("b:1", tcproom.Sessions{})
	newEarwitness(t, a, "eve") // whose turn is before ada's
	bob := newEarwitness(t, b, "bob")
	c := p.client()
	hearAll(t, c, "welcome joined")
	stopped := make(chan error, 1)
	go func() { stopped <- a.Shutdown(t.Context()) }()
	time.Sleep(time.Second)
	sayAcked(t, c, "hi")
	hearAll(t, c, "goodbye restarting", "lost", "welcome resumed")
	require.NoError(t, <-stopped)
	time.Sleep(time.Hour)
	require.Equal(t, []string{"hi"}, bob.heard("ada"))
	require.Equal(t, "ab", p.order())
}

func addressesMove(t *testing.T) {
	p := newPlaces(t)
	long := tcproom.Sessions{RetryAfter: time.Minute}
	a, b := p.open("a:1", long), p.open("b:1", long)
	bob := newEarwitness(t, b, "bob")
	c := p.client(tcproom.WithOffline(1 << 20))
	hearAll(t, c, "welcome joined")
	send(t, bob.conn, "one")
	ev, err := c.Receive(t.Context())
	require.NoError(t, err)
	require.Equal(t, "one", string(ev.Body))
	sayAcked(t, c, "0")

	before := time.Now()
	require.NoError(t, a.Shutdown(t.Context()))
	hearAll(t, c, "goodbye restarting")
	ev, err = c.Receive(t.Context())
	require.NoError(t, err)
	require.Equal(t, tcproom.Lost, ev.Kind)
	require.Equal(t, tcproom.ErrRestarting, ev.End.Cause)
	require.Zero(t, ev.End.RetryAfter)
	hearAll(t, c, "welcome resumed")
	require.Equal(t, before, time.Now())
	send(t, bob.conn, "two")
	ev, err = c.Receive(t.Context())
	require.NoError(t, err)
	require.Equal(t, "two", string(ev.Body))
	sayAcked(t, c, "1")
	time.Sleep(time.Hour) // longer than any grace
	require.Equal(t, []string{"0", "1"}, bob.heard("ada"))
	require.Equal(t, "ab", p.order())
	require.NoError(t, c.Close())
	time.Sleep(time.Second)
	require.Equal(t, []string{"0", "1", "Leave"}, bob.heard("ada"))
}

func addressesRoll(t *testing.T) {
	const n = 300
	p := newPlaces(t)
	var rooms []*tcproom.Room
	for _, addr := range []string{"a:1", "b:1", "c:1"} {
		rooms = append(rooms, p.open(addr, tcproom.Sessions{}))
	}
	far := p.open("far:1", tcproom.Sessions{})
	bob := newEarwitness(t, far, "bob")
	c := p.client(tcproom.WithOffline(1 << 20))
	hearAll(t, c, "welcome joined")

	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range n {
			sayAcked(t, c, fmt.Sprint(i))
			time.Sleep(10 * time.Millisecond)
		}
	})
	wg.Go(func() {
		for i := range n {
			send(t, bob.conn, fmt.Sprint(i))
			time.Sleep(10 * time.Millisecond)
		}
	})
	wg.Go(func() {
		for i, addr := range []string{"a:1", "b:1", "c:1"} {
			time.Sleep(500 * time.Millisecond)
			require.NoError(t, rooms[i].Shutdown(t.Context()))
			p.open(addr, tcproom.Sessions{})
		}
	})
	var got, other []string
	last := uint64(0)
	for len(got) < n {
		ev, err := c.Receive(testContext(t))
		require.NoError(t, err)
		if ev.Kind == tcproom.Message {
			require.Greater(t, ev.Seq, last)
			last = ev.Seq
			got = append(got, string(ev.Body))
		} else {
			other = append(other, inShort(ev))
		}
	}
	wg.Wait()
	moved := []string{"goodbye restarting", "lost", "welcome resumed"}
	require.Equal(t, slices.Concat(moved, moved, moved), other)
	require.Equal(t, numbered(n), got)
	require.Equal(t, numbered(n), bob.heard("ada"))
	require.Equal(t, "abca", p.order())
}

func addressesCrash(t *testing.T) {
	p := newPlaces(t)
	a, b := p.open("a:1", tcproom.Sessions{}), p.open("b:1", tcproom.Sessions{})
	bob := newEarwitness(t, b, "bob")
	c := p.client()
	hearAll(t, c, "welcome joined")
	require.NoError(t, a.Close())
	before := time.Now()
	hearAll(t, c, "lost", "welcome resumed")
	require.Less(t, time.Since(before), 100*time.Millisecond, "one wait, of the first round")
	sayAcked(t, c, "0")
	time.Sleep(time.Hour)
	require.Equal(t, []string{"0"}, bob.heard("ada"))
	require.Equal(t, "ab", p.order())
}

func TestAddressesInTurn(t *testing.T) {
	inBubble("those that refuse connections cost no wait", t, func(t *testing.T) {
		p := newPlaces(t)
		p.open("c:1", tcproom.Sessions{})
		before := time.Now()
		c := p.client()
		hearAll(t, c, "welcome joined") // and no Lost
		require.Equal(t, before, time.Now())
		require.Equal(t, "abc", p.order())
	})
	inBubble("a lost connection begins a round at the next one", t, func(t *testing.T) {
		p := newPlaces(t)
		p.open("a:1", tcproom.Sessions{})
		p.open("c:1", tcproom.Sessions{})
		c := p.client()
		hearAll(t, c, "welcome joined")
		for _, want := range []string{"abc", "abca", "abcabc"} {
			p.reset()
			hearAll(t, c, "lost", "welcome resumed")
			require.Equal(t, want, p.order())
		}
	})
	inBubble("all are dead", t, addressesRounds)
	inBubble("full, closed and busy ones", t, func(t *testing.T) {
		p := newPlaces(t)
		p.log = nil
		full := p.open("a:1", tcproom.Sessions{}, tcproom.WithMaxMembers(1))
		newEarwitness(t, full, "bob")
		busy := p.listen("b:1")
		busy.OnAccept(func(nc *roomtest.Conn) { nc.Reset() })
		go tcproom.New().Serve(busy)
		t.Cleanup(func() { busy.Close() })
		last := p.open("c:1", tcproom.Sessions{})
		c := p.client()
		hearAll(t, c, "welcome joined")
		require.Equal(t, "abc", p.order())
		require.NoError(t, full.Close())
		require.NoError(t, last.Shutdown(t.Context()))
		hearAll(t, c, "goodbye closed", "lost")
		p.open("a:1", tcproom.Sessions{})
		hearAll(t, c, "welcome expired")
	})
	inBubble("those that swallow everything have a third of the time each", t, func(t *testing.T) {
		var dials []dialled
		began := time.Now()
		var mu sync.Mutex
		c := newPlaces(t).client(tcproom.WithDialer(func(ctx context.Context, _, addr string) (net.Conn, error) {
			mu.Lock()
			dials = append(dials, dialled{at: time.Since(began), addr: addr})
			mu.Unlock()
			<-ctx.Done()
			return nil, ctx.Err()
		}))
		ev, err := c.Receive(t.Context())
		require.NoError(t, err)
		require.Equal(t, tcproom.Lost, ev.Kind)
		require.Equal(t, 30*time.Second, time.Since(began))
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, []dialled{{at: 0, addr: "a:1"}, {at: 10 * time.Second, addr: "b:1"}, {at: 20 * time.Second, addr: "c:1"}}, dials)
	})
	inBubble("one given twice is one, and a list that changes later does not count", t, func(t *testing.T) {
		p := newPlaces(t)
		list := []string{"a:1", "b:1", "a:1", "b:1"}
		more := tcproom.Addresses(list...)
		list[1] = "never:1"
		c := p.client(more)
		hearAll(t, c, "lost")
		require.Equal(t, "ab", p.order())
	})
	inBubble("an empty one is an option that cannot work", t, func(t *testing.T) {
		c := newPlaces(t).client(tcproom.Addresses("b:1", ""), tcproom.WithDialer(noDialer(t)))
		err := endsNow(t, c)
		require.ErrorIs(t, err, tcproom.ErrOption)
		require.ErrorContains(t, err, "Addresses")
	})
}

// Within a round no time passes, and before each there is the wait of the back-off. Which
// that is exactly, TestWalk knows.
func addressesRounds(t *testing.T) {
	p := newPlaces(t)
	var logged bytes.Buffer
	c := p.client(tcproom.WithLogger(slog.New(slog.NewTextHandler(&logged, nil))))
	ev, err := c.Receive(t.Context())
	require.NoError(t, err)
	require.Equal(t, tcproom.Lost, ev.Kind)
	require.ErrorIs(t, ev.End, tcproom.Cause("reset"))
	told := ev.End.RetryAfter
	time.Sleep(20 * time.Second)
	synctest.Wait()
	dials := p.since(0)
	ceiling, at := 100*time.Millisecond, time.Duration(0)
	rounds := 0
	for len(dials) > 0 {
		require.GreaterOrEqual(t, len(dials), 3)
		for i, addr := range []string{"a:1", "b:1", "c:1"} {
			require.Equal(t, dialled{at: dials[0].at, addr: addr}, dials[i])
		}
		switch wait := dials[0].at - at; rounds {
		case 0:
			require.Zero(t, wait)
		case 1:
			require.Equal(t, told, wait)
			fallthrough
		default:
			require.Less(t, wait, ceiling)
			ceiling = min(2*ceiling, 30*time.Second)
		}
		at = dials[0].at
		dials = dials[3:]
		rounds++
	}
	require.Greater(t, rounds, 6)
	require.NoError(t, c.Err())

	p.open("b:1", tcproom.Sessions{})
	hearAll(t, c, "welcome joined") // and no other Lost
	require.NoError(t, c.Close())
	require.Contains(t, logged.String(), `msg="tcproom: connecting failed" addr=a:1 cause="tcproom: dial tcp`)
	require.Regexp(t, `addr=b:1 .*delay=0s`, logged.String())
}

// TestAddressesRetryAfter: it counts for the address that said it, and for no other.
func TestAddressesRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces(t)
		p.log = nil
		a := p.open("a:1", tcproom.Sessions{RetryAfter: time.Minute})
		c := p.client(tcproom.Addresses("b:1"), tcproom.WithBackoff(time.Second, time.Second))
		hearAll(t, c, "welcome joined")
		require.NoError(t, a.Shutdown(t.Context()))
		left := time.Since(p.began)
		hearAll(t, c, "goodbye closed")
		ev, err := c.Receive(t.Context())
		require.NoError(t, err)
		require.Less(t, ev.End.RetryAfter, time.Second)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		dials := p.since(1)
		i := slices.IndexFunc(dials, func(d dialled) bool { return d.addr == "a:1" })
		require.Greater(t, i, 40, "b is tried meanwhile, every second at most")
		require.GreaterOrEqual(t, dials[i].at, left+time.Minute)
		require.Less(t, dials[i].at, left+time.Minute+time.Second)
		require.Greater(t, len(dials), i+40)
		for _, d := range dials[i:] { // from then on the rounds are of two
			require.NotEqual(t, dials[i-1].at, d.at)
		}
	})
}

// TestAddressesAllRestart: processes that stop as soon as they have welcomed the client
// are not dialled in a loop without a wait.
func TestAddressesAllRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int32
		said := welcomeLine + `{"type":"goodbye","code":"restarting","retry":true,"reason":"x"}` + "\n"
		c := tcproom.NewClient(t.Context(), "a:1", tcproom.Addresses("b:1", "c:1"), tcproom.WithCodec(tcproom.JSON{}),
			tcproom.WithBackoff(time.Second, time.Second), tcproom.WithDialer(func(context.Context, string, string) (net.Conn, error) {
				dials.Add(1)
				return says(said), nil
			}))
		t.Cleanup(func() { c.Close() })
		go func() {
			for range c.Events(t.Context()) {
			}
		}()
		synctest.Wait()
		require.EqualValues(t, 3, dials.Load())
		time.Sleep(time.Second)
		synctest.Wait()
		require.GreaterOrEqual(t, dials.Load(), int32(6))
		time.Sleep(99 * time.Second)
		synctest.Wait()
		// A round for each wait, of half a second as a rule.
		require.Zero(t, dials.Load()%3)
		require.Greater(t, dials.Load(), int32(3*120))
		require.Less(t, dials.Load(), int32(3*350))
	})
}

// says returns a connection that says that, when a hello has come, and ends.
func says(said string) net.Conn {
	here, there := roomtest.Pipe()
	go func() {
		defer there.Close()
		there.Read(make([]byte, 1000))
		io.WriteString(there, said)
	}()
	return here
}

// TestAddressesEnd: what is final at one is final for all.
func TestAddressesEnd(t *testing.T) {
	inBubble("a kick, by another process", t, func(t *testing.T) {
		p := newPlaces(t)
		p.open("a:1", tcproom.Sessions{})
		b := p.open("b:1", tcproom.Sessions{})
		c := p.client()
		hearAll(t, c, "welcome joined")
		time.Sleep(time.Second) // until b knows
		require.NoError(t, only(b).Kick("rude"))
		require.ErrorIs(t, ends(t, c), tcproom.ErrKicked)
		time.Sleep(time.Hour)
		require.Equal(t, "a", p.order())
	})
	inBubble("a hook that denies", t, func(t *testing.T) {
		p := newPlaces(t)
		p.open("b:1", tcproom.Sessions{}, tcproom.OnJoin(func(*tcproom.Member) error { return errors.New("not you") }))
		p.open("c:1", tcproom.Sessions{})
		require.ErrorIs(t, endsNow(t, p.client()), tcproom.ErrDenied)
		require.Equal(t, "ab", p.order())
	})
	inBubble("a name that nobody can have", t, func(t *testing.T) {
		p := newPlaces(t)
		p.open("a:1", tcproom.Sessions{})
		require.ErrorIs(t, endsNow(t, p.client(tcproom.WithName("a b"))), tcproom.ErrNameInvalid)
		require.Equal(t, "a", p.order())
	})
	inBubble("its context, and Close, while it dials", t, func(t *testing.T) {
		for _, byClose := range []bool{false, true} {
			began := time.Now()
			ctx, cancel := context.WithCancelCause(t.Context())
			p := newPlaces(t)
			var dials atomic.Int32
			c := tcproom.NewClient(ctx, "a:1", tcproom.Addresses("b:1"), tcproom.WithDialer(func(ctx context.Context, _, addr string) (net.Conn, error) {
				dials.Add(1)
				if addr == "a:1" {
					return nil, syscall.ECONNREFUSED
				}
				<-ctx.Done()
				return nil, ctx.Err()
			}))
			time.Sleep(time.Second)
			if byClose {
				require.NoError(t, c.Close())
				require.ErrorIs(t, c.Err(), net.ErrClosed)
			} else {
				cancel(io.ErrShortBuffer)
				require.ErrorIs(t, endsNow(t, c), io.ErrShortBuffer)
			}
			require.Equal(t, time.Second, time.Since(began))
			time.Sleep(time.Hour)
			require.Equal(t, int32(2), dials.Load())
			cancel(nil)
			p.log.Close()
		}
	})
	inBubble("its context, and Close, while it waits", t, func(t *testing.T) {
		for _, byClose := range []bool{false, true} {
			p := newPlaces(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			c := tcproom.NewClient(ctx, "a:1", tcproom.Addresses("b:1"), tcproom.WithDialer(p.dial), tcproom.WithBackoff(time.Hour, time.Hour))
			hearAll(t, c, "lost")
			began := time.Now()
			if byClose {
				require.NoError(t, c.Close())
				require.ErrorIs(t, c.Err(), net.ErrClosed)
			} else {
				cancel(io.ErrShortBuffer)
				require.ErrorIs(t, endsNow(t, c), io.ErrShortBuffer)
			}
			require.Equal(t, began, time.Now())
			require.Equal(t, "ab", p.order())
			cancel(nil)
		}
	})
}

// TestAddressesOfNoRoom: what is wrong with one address ends the client only if it is so
// with all.
func TestAddressesOfNoRoom(t *testing.T) {
	type answer = func() (said string, err error) // to a connection
	garbage := func() (string, error) { return "garbage\n", nil }
	refuse := func() (string, error) { return "", syscall.ECONNREFUSED }
	start := func(t *testing.T, a, b answer) (*tcproom.Client, func(string) int) {
		at := map[string]answer{"a:1": a, "b:1": b}
		var mu sync.Mutex
		dials := make(map[string]int)
		c := tcproom.NewClient(t.Context(), "a:1", tcproom.Addresses("b:1"), tcproom.WithCodec(tcproom.JSON{}),
			tcproom.WithDialer(func(_ context.Context, _, addr string) (net.Conn, error) {
				mu.Lock()
				dials[addr]++
				mu.Unlock()
				said, err := at[addr]()
				if err != nil {
					return nil, err
				}
				return says(said), nil
			}))
		t.Cleanup(func() { c.Close() })
		return c, func(addr string) int {
			mu.Lock()
			defer mu.Unlock()
			return dials[addr]
		}
	}
	inBubble("garbage at one, and nothing at the other", t, func(t *testing.T) {
		c, dials := start(t, garbage, refuse)
		time.Sleep(time.Hour)
		require.NoError(t, c.Err())
		require.Greater(t, dials("a:1"), 50)
		require.Greater(t, dials("b:1"), 50)
	})
	inBubble("garbage at both", t, func(t *testing.T) {
		c, dials := start(t, garbage, garbage)
		require.ErrorIs(t, ends(t, c), tcproom.ErrWrongDoor)
		time.Sleep(time.Hour)
		require.Equal(t, 5, dials("a:1"))
		require.Equal(t, 5, dials("b:1"))
	})
	inBubble("a proxy whose room was there once, and garbage at the other", t, func(t *testing.T) {
		var n atomic.Int32
		c, dials := start(t, func() (string, error) {
			if n.Add(1) == 1 {
				return welcomeLine, nil
			}
			return "garbage\n", nil
		}, garbage)
		hearAll(t, c, "welcome", "lost")
		time.Sleep(time.Hour)
		require.NoError(t, c.Err())
		require.Greater(t, dials("a:1"), 50)
	})
	inBubble("an address that makes no sense", t, func(t *testing.T) {
		nonsense := func() (string, error) {
			return "", &net.OpError{Op: "dial", Err: &net.AddrError{Err: "missing port", Addr: "a"}}
		}
		c, dials := start(t, nonsense, refuse)
		time.Sleep(time.Hour)
		require.NoError(t, c.Err())
		require.Greater(t, dials("b:1"), 50)

		c, dials = start(t, nonsense, nonsense)
		require.ErrorAs(t, endsNow(t, c), new(*net.AddrError))
		require.Equal(t, 1, dials("a:1"))
		require.Equal(t, 1, dials("b:1"))
	})
}

// TestAddressesOverTCP: the addresses are looked up and the certificates checked by the
// name in each; a client leaves a process that restarts, and one that it does not trust.
func TestAddressesOverTCP(t *testing.T) {
	server, client := testTLS()
	log := roomtest.NewLog()
	open := func(opts ...tcproom.RoomOption) (*tcproom.Room, string) {
		lg, err := log.Attach().Open(t.Context(), "lobby")
		require.NoError(t, err)
		all := []tcproom.RoomOption{tcproom.WithLog(lg), tcproom.WithTLS(server), tcproom.WithSessions(tcproom.Sessions{})}
		room := jsonRoom(append(all, opts...)...)
		require.NoError(t, room.Ready(testContext(t)))
		_, port, err := net.SplitHostPort(serveTCP(t, room))
		require.NoError(t, err)
		return room, port
	}
	a, portA := open()
	b, portB := open()
	dead := listen(t, "tcp")
	require.NoError(t, dead.Close())
	bob := newEarwitness(t, b, "bob")

	untrusted := "127.0.0.2:" + portA // of which the certificate knows nothing
	if l, err := net.Listen("tcp", untrusted); err == nil {
		go a.Serve(l)
	} else {
		untrusted = dead.Addr().String()
	}
	c := tcproom.NewClient(t.Context(), dead.Addr().String(), tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName("ada"), tcproom.WithTLS(client),
		tcproom.WithOffline(1<<20), tcproom.Addresses(untrusted, "127.0.0.1:"+portA, "localhost:"+portB))
	t.Cleanup(func() { c.Close() })
	hearAll(t, c, "welcome joined")

	const n = 200
	sent := make(chan bool)
	go func() {
		defer close(sent)
		for i := range n {
			say(t, c, fmt.Sprint(i))
			if i == n/4 {
				sent <- true
			}
		}
	}()
	<-sent
	require.NoError(t, a.Shutdown(testContext(t)))
	hearAll(t, c, "goodbye restarting", "lost", "welcome resumed")
	<-sent
	sayAcked(t, c, fmt.Sprint(n))
	eventually(t, "all has come", func() bool { return len(bob.heard("ada")) > n })
	require.Equal(t, numbered(n+1), bob.heard("ada"))
	require.NoError(t, c.Close())
}

// TestAddressesOfHubs: one that has other rooms is entered anew.
func TestAddressesOfHubs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces(t)
		var hubs []*tcproom.Hub
		for _, addr := range []string{"a:1", "b:1"} {
			hub := tcproom.NewHub(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{}))
			l := p.listen(addr)
			go hub.Serve(l)
			t.Cleanup(func() { hub.Close() })
			hubs = append(hubs, hub)
		}
		c := p.client(tcproom.InRooms("lobby", "kitchen"))
		go func() {
			for range c.Events(t.Context()) {
			}
		}()
		inRooms := func(i int) (names []string) {
			for name, room := range hubs[i].Rooms("") {
				for range room.Members() {
					names = append(names, name)
				}
			}
			slices.Sort(names)
			return names
		}
		synctest.Wait()
		require.Equal(t, []string{"kitchen", "lobby"}, inRooms(0))
		require.NoError(t, hubs[0].Close())
		time.Sleep(time.Second)
		require.Equal(t, []string{"kitchen", "lobby"}, inRooms(1))
		require.Equal(t, "ab", p.order())
		require.NoError(t, c.Close())
	})
}

// TestAddressesInLog: what is logged of a hook names the address of the connection.
func TestAddressesInLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces(t)
		p.open("b:1", tcproom.Sessions{})
		var logged bytes.Buffer
		c := p.client(tcproom.WithLogger(slog.New(slog.NewTextHandler(&logged, nil))), tcproom.OnEvent(func(tcproom.Event) { panic("no") }))
		synctest.Wait()
		require.ErrorIs(t, c.Err(), tcproom.ErrHook)
		require.Regexp(t, `"tcproom: hook failed" name=ada addr=b:1`, logged.String())
	})
}
