package suite_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/internal/testkit"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// TestP16LongResume is TestP16ResumeUnderResets at full size, a minute or so:
// 50 clients lose their connections 200 times at random bytes while 2,000
// messages a second are said. It runs where TCPROOM_LONG is set.
func TestP16LongResume(t *testing.T) {
	if os.Getenv("TCPROOM_LONG") == "" {
		t.Skip("TCPROOM_LONG is not set")
	}
	opts := []tcproom.RoomOption{tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{})}
	t.Run("memory", func(t *testing.T) { testResets(t, roomtest.NewMemServer(t, opts...), 50, 200, 10*time.Minute) })
	t.Run("TCP", func(t *testing.T) { testResets(t, roomtest.NewServer(t, opts...), 50, 200, 10*time.Minute) })
}

// TestP16ResumeAfterARestart: what the server's next life has is no suffix of
// what the member saw, whatever the numbers say. Over real sockets.
func TestP16ResumeAfterARestart(t *testing.T) {
	first := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{RetryAfter: 1500 * time.Millisecond}))
	l := listen(t, "tcp")
	served := make(chan error, 1)
	go func() { served <- first.Serve(l) }()
	c := dial(t, l.Addr().String(), tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName("ada"))
	welcome := next(t, c)
	for i := range 10 {
		broadcast(t, first, fmt.Append(nil, i))
	}
	var last tcproom.Event
	for range 10 {
		last = next(t, c)
	}
	require.NoError(t, first.Shutdown(testContext(t)))
	require.ErrorIs(t, <-served, tcproom.ErrRoomClosed)
	bye := next(t, c)
	require.Equal(t, tcproom.Goodbye, bye.Kind)
	require.Equal(t, &tcproom.EndError{Cause: tcproom.ErrRoomClosed, Text: bye.End.Text, RetryAfter: 1500 * time.Millisecond}, bye.End)

	l, err := net.Listen("tcp", l.Addr().String())
	require.NoError(t, err)
	second := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{}), tcproom.WithHistory(tcproom.History{}))
	addr := serve(t, second, l)
	broadcast(t, second, []byte("new"))
	for _, seq := range []uint64{0, 1, last.Seq, 1 << 40} { // below and above where it is now
		c = dial(t, addr, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName("ada"),
			tcproom.WithResume(tcproom.Resume{Token: welcome.Welcome.Token, Epoch: welcome.Welcome.Epoch, Seq: seq}))
		w := next(t, c)
		require.Equal(t, "expired", w.Welcome.Outcome)
		require.NotEqual(t, welcome.Welcome.Epoch, w.Welcome.Epoch)
		require.NotEqual(t, welcome.Welcome.Token, w.Welcome.Token)
		require.NotEqual(t, welcome.From.ID, w.From.ID)
		ev := next(t, c)
		require.True(t, ev.History, "as for any newcomer")
		require.Equal(t, "new", string(ev.Body))
		c.Close()
		waitLen(t, second, 0)
	}
}

// TestP8SessionsUnderChurn has members that vanish, resume, take each other
// over, are kicked and evicted, in every order, and counts what hooks were told.
func TestP8SessionsUnderChurn(t *testing.T) {
	checkGoroutines(t)
	var joined, left, running atomic.Int64
	var mu sync.Mutex
	there := map[string]int{}
	room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithHistory(tcproom.History{Messages: 20}),
		tcproom.WithSessions(tcproom.Sessions{Grace: 3 * time.Millisecond, Events: 500, Detached: 8}), tcproom.WithMaxPerAddress(1000), tcproom.WithUniqueNames(true),
		tcproom.OnJoin(func(c *tcproom.Member) error {
			joined.Add(1)
			mu.Lock()
			defer mu.Unlock()
			there[c.ID()]++
			return nil
		}),
		tcproom.OnMessage(func(c *tcproom.Member, body []byte) ([]byte, error) {
			mu.Lock()
			n := there[c.ID()]
			mu.Unlock()
			if n != 1 {
				t.Errorf("OnMessage of one who was let in %d times", n)
			}
			running.Add(1)
			defer running.Add(-1)
			if rand.IntN(2) == 0 {
				return body, nil
			}
			c.Post(c.Context(), body)
			return nil, nil
		}),
		tcproom.OnLeave(func(c *tcproom.Member, err error) {
			left.Add(1)
			mu.Lock()
			defer mu.Unlock()
			there[c.ID()]--
		}),
	)
	addr := serveTCP(t, room)
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 11))
			for ctx.Err() == nil {
				churnSession(ctx, t, room, addr, rng)
			}
		})
	}
	wg.Wait()
	eventually(t, "all have left", func() bool { return room.Len() == 0 })
	stats := room.Stats()
	require.Zero(t, stats.Detached)
	require.NotZero(t, stats.Resumed)

	// The lane still knows its members.
	a, b := join(t, room, tcproom.WithReplay(-1)), join(t, room, tcproom.WithReplay(-1))
	require.Equal(t, tcproom.Welcome, next(t, a).Kind)
	require.Equal(t, b.ID(), next(t, a).From.ID)
	broadcast(t, room, []byte("end"))
	require.Equal(t, "end", nextMessage(t, a))
	require.Equal(t, "end", nextMessage(t, b))

	// A stop while many are detached.
	for range 5 {
		fmt.Fprintln(dialRaw(t, addr), `{"type":"hello"}`)
	}
	waitLen(t, room, 7)
	require.NoError(t, room.Close())
	waitDone(t, room)
	require.Zero(t, running.Load())
	require.Equal(t, joined.Load(), left.Load())
	for id, n := range there {
		require.Zero(t, n, id)
	}
	var gone uint64
	for _, n := range room.Stats().Left {
		gone += n
	}
	require.Equal(t, room.Stats().Joined, gone)
	t.Logf("%+v", stats)
}

// churnSession is a member's life of several connections.
func churnSession(ctx context.Context, t *testing.T, room *tcproom.Room, addr string, rng *rand.Rand) {
	var at tcproom.Resume
	id := ""
	for range 1 + rng.IntN(6) {
		opts := []tcproom.DialOption{tcproom.WithCodec(tcproom.JSON{}), tcproom.WithReplay(rng.IntN(30) - 1)}
		if at.Token != "" {
			opts = append(opts, tcproom.WithResume(at))
		}
		var nc net.Conn
		c, err := tcproom.Dial(ctx, addr, append(opts, tcproom.WithDialer(func(ctx context.Context, network, addr string) (_ net.Conn, err error) {
			nc, err = (&net.Dialer{}).DialContext(ctx, network, addr)
			return nc, err
		}))...)
		if err != nil {
			return
		}
		defer c.Close()
		w, err := c.Receive(ctx)
		if err != nil {
			return
		}
		switch w.Welcome.Outcome {
		case "resumed", "gap":
			if w.From.ID != id {
				t.Errorf("resumed as %q, not %q", w.From.ID, id)
			}
		default:
			at.Seq = w.Seq
		}
		id, at.Token, at.Epoch = w.From.ID, w.Welcome.Token, w.Welcome.Epoch
		for range rng.IntN(5) {
			c.Send(ctx, []byte("hi"))
		}
		for range rng.IntN(20) {
			short, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
			ev, err := c.Receive(short)
			cancel()
			if err != nil {
				break
			}
			if ev.Kind != tcproom.Ack && ev.Kind != tcproom.Gap && ev.Kind != tcproom.Goodbye && !ev.History {
				if ev.Seq <= at.Seq {
					t.Errorf("%v after %d", ev, at.Seq)
				}
				at.Seq = ev.Seq
			}
		}
		if m, ok := room.Member(id); ok && rng.IntN(3) == 0 {
			go m.Kick("churn")
		}
		switch rng.IntN(4) {
		case 0:
			c.Close()
		case 1: // it vanishes
			nc.(*net.TCPConn).SetLinger(0)
			nc.Close()
		case 2:
			nc.(*net.TCPConn).CloseWrite()
		} // or is taken over
	}
}

// TestP14Detached: a member without a connection costs little, and what is
// kept for all of them is the room's window, however often they come back.
func TestP14Detached(t *testing.T) {
	const members, size = 500, 1 << 20
	room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithNotices(false), tcproom.WithMaxMessage(1<<10), tcproom.WithBacklog(size),
		tcproom.WithSessions(tcproom.Sessions{Grace: time.Hour, Detached: members}))
	defer room.Close()
	var numbered strings.Builder
	for i := range 300 { // more than are remembered
		fmt.Fprintf(&numbered, "{\"type\":\"message\",\"id\":%d,\"body\":\"%0100d\"}\n", i+1, i)
	}
	before := memory()
	tokens := make([]string, members)
	visit := func(i int, hello, say string) {
		here, there := net.Pipe()
		served := make(chan error, 1)
		go func() { served <- room.ServeConn(there) }()
		fmt.Fprintln(here, hello)
		in := bufio.NewReader(here)
		line, err := in.ReadString('\n')
		require.NoError(t, err)
		var w tcproom.Event
		require.NoError(t, tcproom.JSON{}.ParseEvent([]byte(line), &w), line)
		tokens[i] = fmt.Sprintf(`{"type":"hello","resume":{"token":%q,"epoch":%q,"seq":0}}`, string(w.Welcome.Token), w.Welcome.Epoch)
		if say != "" {
			go io.WriteString(here, say)
			for ack := ""; ack != fmt.Sprint(300); {
				line, err := in.ReadString('\n')
				require.NoError(t, err)
				ack, _, _ = strings.Cut(strings.TrimPrefix(line, `{"type":"ack","id":`), ",")
			}
		}
		here.Close()
		<-served
	}
	for i := range members {
		visit(i, `{"type":"hello"}`, numbered.String())
	}
	require.Equal(t, members, room.Stats().Detached)
	grown := memory() - before
	t.Logf("%d bytes, %d a member beside the window", grown, (grown-size)/members)
	require.Less(t, grown, int64(2*size+members*(256*16+4<<10)))
	for i := range members {
		visit(i, tokens[i], "")
	}
	require.EqualValues(t, members, room.Stats().Resumed)
	grown = memory() - before
	t.Logf("%d bytes after they came back", grown)
	require.Less(t, grown, int64(4*size+members*(256*16+4<<10)))
}

// TestP16ResumeUnderResets: nothing is lost, doubled or out of order for
// clients that lose their connections at random bytes, and nobody is told.
func TestP16ResumeUnderResets(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		testResets(t, roomtest.NewMemServer(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{})), 10, 20, within)
	})
	t.Run("TCP, sparse", func(t *testing.T) {
		testResets(t, roomtest.NewServer(t, testkit.Sparse.Option(), tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{})), 10, 20, within)
	})
}

func testResets(t *testing.T, srv *roomtest.Server, clients, resets int, within time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	var wg sync.WaitGroup
	ready := make(chan bool, clients)
	for i := range clients {
		wg.Go(func() {
			if err := loseAndResume(ctx, srv, rand.New(rand.NewPCG(uint64(i), 3)), resets, ready); err != nil {
				t.Errorf("client %d: %v", i, err)
				cancel()
			}
		})
	}
	for range clients {
		<-ready
	}
	var lost atomic.Bool
	done := make(chan bool)
	go func() { wg.Wait(); lost.Store(true); close(done) }()
	for n := 1; !lost.Load(); n++ {
		_, err := srv.Room.Broadcast(ctx, fmt.Append(nil, n))
		require.NoError(t, err)
		if n%10 == 0 {
			select {
			case <-time.After(5 * time.Millisecond): // how fast it talks, 2,000 a second
			case <-done:
			}
		}
	}
	require.Equal(t, clients, srv.Room.Len())
	stats := srv.Room.Stats()
	require.EqualValues(t, clients, stats.Joined)
	require.Empty(t, stats.Left)
	t.Logf("%+v", stats)
}

// loseAndResume is a client that loses its connection again and again, and
// checks that the numbers of the room's messages rise by one.
func loseAndResume(ctx context.Context, srv *roomtest.Server, rng *rand.Rand, resets int, ready chan<- bool) error {
	dialer := (&net.Dialer{}).DialContext
	if srv.Net != nil {
		dialer = srv.Net.Dial
	}
	opts := []tcproom.DialOption{tcproom.WithCodec(tcproom.JSON{})}
	var at tcproom.Resume
	said := 0
	for life := 0; life <= resets; {
		var link *roomtest.Conn
		c, err := tcproom.Dial(ctx, srv.Addr, append(opts, tcproom.WithDialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := dialer(ctx, network, addr)
			if err == nil {
				link = roomtest.Wrap(nc)
				if life > 0 {
					link.In(roomtest.ResetAfter(rng.Int64N(20000)))
				}
				nc = link
			}
			return nc, err
		}))...)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if life > 0 {
			life++
		}
		if err != nil {
			continue // reset before the welcome was whole
		}
		for err == nil {
			var ev tcproom.Event
			if ev, err = c.Receive(ctx); err != nil {
				break
			}
			switch ev.Kind {
			case tcproom.Welcome:
				if at.Token == "" {
					at.Seq = ev.Seq
					ready <- true
					life = 1
					link.In(roomtest.ResetAfter(rng.Int64N(20000)))
				} else if ev.Welcome.Outcome != "resumed" {
					return fmt.Errorf("outcome %q", ev.Welcome.Outcome)
				}
				at.Token, at.Epoch = ev.Welcome.Token, ev.Welcome.Epoch
				opts = []tcproom.DialOption{tcproom.WithCodec(tcproom.JSON{}), tcproom.WithResume(at)}
				continue
			case tcproom.Message:
				said++
				if string(ev.Body) != fmt.Sprint(said) {
					return fmt.Errorf("%q, want %d", ev.Body, said)
				}
			case tcproom.Join: // of those who began later
			default:
				return fmt.Errorf("unexpected %v", ev)
			}
			if ev.Seq <= at.Seq {
				return fmt.Errorf("%d after %d", ev.Seq, at.Seq)
			}
			at.Seq = ev.Seq
			opts = []tcproom.DialOption{tcproom.WithCodec(tcproom.JSON{}), tcproom.WithResume(at)}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		link.Reset()
		c.Close()
	}
	return nil
}
