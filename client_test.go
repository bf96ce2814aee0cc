package tcproom_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
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

// acceptOne listens for one conn, and hands it over.
func acceptOne(t testing.TB) (addr string, accepted <-chan *net.TCPConn) {
	t.Helper()
	l := listen(t, "tcp")
	t.Cleanup(func() { l.Close() })
	ch := make(chan *net.TCPConn, 1)
	go func() {
		if nc, err := l.Accept(); err == nil {
			ch <- nc.(*net.TCPConn)
		}
	}()
	return l.Addr().String(), ch
}

func accepted(t testing.TB, ch <-chan *net.TCPConn) *net.TCPConn {
	t.Helper()
	select {
	case nc := <-ch:
		t.Cleanup(func() { nc.Close() })
		return nc
	case <-time.After(within):
		t.Fatal("nobody has dialled")
		return nil
	}
}

func soon(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

// TestDialErrors: each says what happened, and ctx and timeout bound the wait.
func TestDialErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which leaves no goroutine behind
		var network roomtest.Network
		l, err := network.Listen("")
		require.NoError(t, err)
		defer l.Close()
		dial := func(ctx context.Context, opts ...tcproom.DialOption) (time.Duration, error) {
			start := time.Now()
			_, err := tcproom.Dial(ctx, l.Addr().String(), append(opts, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithDialer(network.Dial))...)
			return time.Since(start), err
		}
		accept := func() net.Conn {
			nc, err := l.Accept()
			require.NoError(t, err)
			t.Cleanup(func() { nc.Close() })
			return nc
		}
		l.Refuse(true)
		_, err = dial(t.Context())
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		var op *net.OpError
		require.ErrorAs(t, err, &op)
		l.Refuse(false)

		ctx, cancel := soon(2 * time.Second)
		defer cancel()
		took, err := dial(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 2*time.Second, took)
		_, err = io.Copy(io.Discard, accept())
		require.NoError(t, err)

		took, err = dial(t.Context(), tcproom.WithHandshakeTimeout(3*time.Second))
		require.ErrorIs(t, err, errHandshakeTimeout)
		require.Equal(t, 3*time.Second, took)
		accept()

		for said, want := range map[string]error{
			"":                                     io.EOF,
			`{"type":"wel`:                         io.ErrUnexpectedEOF,
			"HTTP/1.1 400 Bad Request\r\n":         tcproom.ErrWrongDoor,
			`{"type":"goodbye"}` + "\n":            tcproom.ErrMalformed,
			`{"type":"message","body":"x"}` + "\n": tcproom.ErrMalformed,
		} {
			go func() {
				nc, err := l.Accept()
				if err != nil {
					return
				}
				defer nc.Close()
				io.WriteString(nc, said)
				nc.(*roomtest.Conn).CloseWrite()
				io.Copy(io.Discard, nc)
			}()
			took, err = dial(t.Context())
			require.ErrorIs(t, err, want, "%q", said)
			require.Zero(t, took)
		}
		_, err = dial(t.Context(), tcproom.WithName("a b"))
		require.ErrorIs(t, err, tcproom.ErrNameInvalid)
	})
}

// TestGoodbyeInText: the end after a goodbye whose codec carries no code reads well.
func TestGoodbyeInText(t *testing.T) {
	srv := roomtest.NewMemServer(t)
	c, err := tcproom.Dial(testContext(t), srv.Addr, tcproom.WithDialer(srv.Net.Dial))
	require.NoError(t, err)
	defer c.Close()
	waitLen(t, srv.Room, 1)
	require.NoError(t, srv.Room.Shutdown(testContext(t)))
	for range c.Events(testContext(t)) {
	}
	require.ErrorIs(t, c.Err(), io.EOF)
	require.EqualError(t, c.Err(), `tcproom: the room said goodbye: "room closed"`)
}

// TestRefused: a refusal is a *RefusedError, from Dial and from Receive, the
// same at every call.
func TestRefused(t *testing.T) {
	errPassword := errors.New("wrong password")
	json := tcproom.WithCodec(tcproom.JSON{})
	srv := roomtest.NewMemServer(t, json, tcproom.WithUniqueNames(true), tcproom.OnJoin(func(c *tcproom.Member) error {
		if c.Name() == "eve" {
			return errPassword
		}
		return nil
	}))
	srv.Join("ada")
	for name, want := range map[string]tcproom.RefusedError{
		"ada": {Cause: tcproom.ErrNameTaken, Text: `name is taken: "ada"`},
		"eve": {Cause: tcproom.ErrDenied, Text: "wrong password", Final: true},
	} {
		_, err := tcproom.Dial(testContext(t), srv.Addr, json, tcproom.WithName(name), tcproom.WithDialer(srv.Net.Dial))
		var refused *tcproom.RefusedError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, want, *refused)

		nc, err := srv.Net.Dial(testContext(t), "tcp", srv.Addr)
		require.NoError(t, err)
		c := tcproom.NewConn(nc, json, tcproom.WithName(name))
		for range 3 {
			_, err := c.Receive(testContext(t))
			require.ErrorAs(t, err, &refused)
			require.Equal(t, want, *refused)
		}
		require.ErrorAs(t, c.Send(testContext(t), []byte("hi")), &refused)
		require.NoError(t, c.Close())
	}
	_, err := srv.Room.Join(testContext(t), tcproom.Identity{Name: "eve"})
	require.ErrorIs(t, err, errPassword)
}

// TestReceiveKeepsItsPlace: a context that ends in mid-frame costs no byte.
func TestReceiveKeepsItsPlace(t *testing.T) {
	server, client := testTLS()
	client = client.Clone()
	client.ServerName = "localhost"
	frame := []byte("a line that comes byte by byte\n")
	for _, secure := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			here, there := twoEnds()
			opts := []tcproom.DialOption{tcproom.WithCodec(tcproom.Raw{})}
			if secure {
				there = tls.Server(there, server)
				opts = append(opts, tcproom.WithTLS(client))
			}
			c := tcproom.NewConn(here, opts...)
			more := make(chan struct{})
			go func() {
				for i := range frame {
					there.Write(frame[i : i+1])
					<-more
				}
			}()
			for i := range len(frame) - 1 {
				start := time.Now()
				ctx, cancel := soon(time.Second)
				_, err := c.Receive(ctx)
				require.ErrorIs(t, err, context.DeadlineExceeded, "after %d bytes", i)
				require.Equal(t, time.Second, time.Since(start))
				if i%3 == 0 {
					_, err = c.Receive(ctx)
					require.ErrorIs(t, err, context.DeadlineExceeded)
				}
				cancel()
				more <- struct{}{}
			}
			ctx, cancel := soon(time.Second)
			defer cancel()
			ev, err := c.Receive(ctx)
			require.NoError(t, err)
			require.Equal(t, string(frame[:len(frame)-1]), string(ev.Body))
			close(more)
			there.Close()
			_, err = c.Receive(t.Context())
			require.Error(t, err)
			for range 3 {
				_, again := c.Receive(t.Context())
				require.Equal(t, err, again)
			}
			c.Close()
		})
	}
}

// twoEnds returns those of a connection in memory.
func twoEnds() (here, there net.Conn) { return roomtest.Pipe() }

// TestReceiveInATLSHandshake: a context that ends while TLS is still being
// negotiated ends the wait and not the conn.
func TestReceiveInATLSHandshake(t *testing.T) {
	server, client := testTLS()
	client = client.Clone()
	client.ServerName = "localhost"
	synctest.Test(t, func(t *testing.T) {
		here, nc := twoEnds()
		c := tcproom.NewConn(here, tcproom.WithTLS(client))
		defer c.Close()
		for range 2 {
			start := time.Now()
			ctx, cancel := soon(time.Second)
			_, err := c.Receive(ctx)
			cancel()
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, time.Second, time.Since(start))
		}
		there := tls.Server(nc, server)
		go io.WriteString(there, "at last\n")
		require.Equal(t, "at last", string(next(t, c).Body))
		send(t, c, "hi")
		line, err := bufio.NewReader(there).ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "hi\n", line)
		there.Close()
	})
}

// TestSendIsWholeOrNotAtAll: a context that ends while the peer does not read
// refuses the message; those that were taken arrive, whole and in order.
func TestSendIsWholeOrNotAtAll(t *testing.T) {
	addr, ch := acceptOne(t)
	c := dial(t, addr, tcproom.WithCodec(tcproom.Raw{}), tcproom.WithSocketBuffers(small, small))
	nc := accepted(t, ch)
	require.NoError(t, nc.SetReadBuffer(small))
	var mu sync.Mutex
	taken := map[string]bool{}
	var wg sync.WaitGroup
	var refused atomic.Int64
	for i := range 8 {
		wg.Go(func() {
			for n := range 200 {
				body := fmt.Appendf(nil, "%d.%d.%s", i, n, bytes.Repeat([]byte("x"), 2000))
				ctx, cancel := soon(2 * time.Millisecond)
				err := c.Send(ctx, body)
				cancel()
				if err == nil {
					mu.Lock()
					taken[string(body)] = true
					mu.Unlock()
				} else if refused.Add(1); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v", err)
				}
			}
		})
	}
	wg.Wait()
	require.NotZero(t, refused.Load())
	require.NotEmpty(t, taken)
	got := make(chan map[string]bool)
	go func() {
		lines := map[string]bool{}
		for s := bufio.NewScanner(nc); s.Scan(); {
			lines[s.Text()] = true
		}
		nc.CloseWrite()
		got <- lines
	}()
	require.NoError(t, c.Close())
	require.Equal(t, taken, <-got)
	require.ErrorIs(t, c.Send(testContext(t), []byte("x")), net.ErrClosed)
}

// TestCloseBringsTheLastLines: what Send has taken arrives, however soon Close comes.
func TestCloseBringsTheLastLines(t *testing.T) {
	rounds, most := 200, 10000
	if raceEnabled || testing.Short() {
		rounds, most = 20, 2000
	}
	var n atomic.Int64
	left := newCauses()
	room := tcproom.New(tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) {
		n.Add(1)
		return nil, nil
	}), tcproom.OnLeave(left.Left))
	addr := serveTCP(t, room)
	ctx := testContext(t)
	for i := range rounds {
		n.Store(0)
		var c *tcproom.Conn
		if i%10 == 0 {
			c = join(t, room)
		} else {
			c = dial(t, addr)
		}
		lines := most // more than buffers take; else what the room reads at once, or in a few reads
		if i%5 != 0 {
			lines = most / 20 * (i % 5)
		}
		for range lines {
			require.NoError(t, c.Send(ctx, []byte("a line")))
		}
		require.NoError(t, c.Close())
		require.ErrorIs(t, left.Next(t), io.EOF)
		require.EqualValues(t, lines, n.Load())
	}
}

// TestEndOfStream: the goodbye is the last event, and its words are the error, the
// same at every later call. Text tells no cause: then it is that the room left.
func TestEndOfStream(t *testing.T) {
	room := tcproom.New()
	c, d := dial(t, serveTCP(t, room)), join(t, room)
	waitLen(t, room, 2)
	for m := range room.Members() {
		m.Kick("enough")
	}
	for _, c := range []*tcproom.Conn{c, d} {
		last, end := lastEvent(t, c)
		require.Equal(t, tcproom.Goodbye, last.Kind)
		require.Equal(t, "enough", last.End.Text)
		require.Equal(t, &tcproom.EndError{Cause: errLeft, Text: "enough"}, end)
		require.ErrorIs(t, end, io.EOF)
		for range 3 {
			_, err := c.Receive(testContext(t))
			require.Same(t, end, err)
		}
		require.Same(t, end, c.Send(testContext(t), []byte("x")))
		require.Same(t, end, c.Err())
		require.Same(t, end, context.Cause(c.Context()))
		require.NoError(t, c.Close())
	}
}

// TestErrorsStay: after a frame that is none nothing more comes, though more is there.
func TestErrorsStay(t *testing.T) {
	here, there := twoEnds()
	defer there.Close()
	io.WriteString(there, `{"type":"welcome","id":"x","name":"ada"}`+"\n"+`{"type":1}`+"\n"+`{"type":"message","body":"late"}`+"\n")
	c := tcproom.NewConn(here, tcproom.WithCodec(tcproom.JSON{}))
	defer c.Close()
	require.Equal(t, tcproom.Welcome, next(t, c).Kind)
	_, err := c.Receive(testContext(t))
	require.ErrorIs(t, err, tcproom.ErrMalformed)
	for range 3 {
		_, again := c.Receive(testContext(t))
		require.Equal(t, err, again)
	}
	seen := 0
	for _, again := range c.Events(testContext(t)) {
		require.Equal(t, err, again)
		seen++
	}
	require.Equal(t, 1, seen)
	require.Equal(t, err, c.Err())
}

// kindless parses what it likes and says that it is nothing.
type kindless struct{ tcproom.Raw }

func (kindless) ParseEvent(frame []byte, ev *tcproom.Event) error {
	ev.Body = frame
	return nil
}

// TestEventWithoutKind: a codec's mistake ends the conn, and is not taken for
// a wait for more bytes.
func TestEventWithoutKind(t *testing.T) {
	srv := roomtest.NewMemServer(t, tcproom.WithCodec(kindless{}))
	c := srv.Dial()
	waitLen(t, srv.Room, 1)
	broadcast(t, srv.Room, []byte("hi"))
	_, err := c.Receive(testContext(t))
	require.ErrorIs(t, err, tcproom.ErrMalformed)
	require.ErrorContains(t, err, "ParseEvent of tcproom_test.kindless set no Kind")
}

// TestEventsContext: Events yields the context's error and leaves the conn as it is.
func TestEventsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := roomtest.NewMemServer(t)
		c := srv.Dial()
		start := time.Now()
		ctx, cancel := soon(time.Minute)
		defer cancel()
		n := 0
		for _, err := range c.Events(ctx) {
			require.ErrorIs(t, err, context.DeadlineExceeded)
			n++
		}
		require.Equal(t, 1, n)
		require.Equal(t, time.Minute, time.Since(start))
		broadcast(t, srv.Room, []byte("still here"))
		for ev, err := range c.Events(t.Context()) {
			require.NoError(t, err)
			require.Equal(t, "still here", string(ev.Body))
			break
		}
		require.NoError(t, c.Err())
	})
}

func TestTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		c := tcproom.NewConn(here, tcproom.WithIdleTimeout(time.Minute))
		start := time.Now()
		go func() {
			time.Sleep(50 * time.Second)
			io.WriteString(there, "awake")
		}()
		_, err := c.Receive(t.Context())
		require.ErrorIs(t, err, errIdleTimeout)
		require.Equal(t, 110*time.Second, time.Since(start))
		require.NoError(t, c.Close())
		there.Close()

		here, there = net.Pipe()
		c = tcproom.NewConn(here, tcproom.WithWriteTimeout(time.Minute))
		start = time.Now()
		require.NoError(t, c.Send(t.Context(), []byte("nobody reads this")))
		_, err = c.Receive(t.Context())
		require.ErrorIs(t, err, errWriteTimeout)
		require.Equal(t, time.Minute, time.Since(start))
		require.ErrorIs(t, c.Send(t.Context(), []byte("nor this")), errWriteTimeout)
		c.Close()
		there.Close()

		// Close of a peer that takes nothing is bounded.
		here, there = net.Pipe()
		c = tcproom.NewConn(here)
		start = time.Now()
		require.NoError(t, c.Send(t.Context(), []byte("nobody reads this")))
		require.Error(t, c.Close())
		require.LessOrEqual(t, time.Since(start), 6*time.Second)
		there.Close()
		synctest.Wait()

		// The room's end.
		left := newCauses()
		room := tcproom.New(tcproom.WithIdleTimeout(time.Minute), tcproom.OnLeave(left.Left))
		c, err = room.Join(t.Context(), tcproom.Identity{})
		require.NoError(t, err)
		start = time.Now()
		require.ErrorIs(t, <-left.C, errIdleTimeout)
		require.LessOrEqual(t, time.Since(start), 62*time.Second)
		c.Close()
		room.Close()
		<-room.Done()
	})
}

// TestConcurrentUse: Send, Receive and Close from many goroutines.
func TestConcurrentUse(t *testing.T) {
	checkGoroutines(t)
	room := tcproom.New(tcproom.WithEcho(true), tcproom.WithNotices(false), tcproom.WithCodec(tcproom.Raw{}))
	addr := serveTCP(t, room)
	connect := []func() *tcproom.Conn{
		func() *tcproom.Conn { return dial(t, addr, tcproom.WithCodec(tcproom.Raw{})) },
		func() *tcproom.Conn { return join(t, room) },
	}
	for _, connect := range connect {
		waitLen(t, room, 0)
		c := connect()
		const senders, each = 8, 300
		var mu sync.Mutex
		got := map[string]int{}
		var receiving, sending sync.WaitGroup
		ctx, cancel := context.WithCancel(context.Background())
		for range 4 {
			receiving.Go(func() {
				for ctx.Err() == nil {
					short, stop := soon(time.Millisecond)
					ev, err := c.Receive(short)
					stop()
					if err == nil {
						mu.Lock()
						if got[string(ev.Body)]++; len(got) == senders*each {
							cancel()
						}
						mu.Unlock()
					} else if !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("got %v", err)
						return
					}
				}
			})
		}
		for i := range senders {
			sending.Go(func() {
				for n := range each {
					if err := c.Send(context.Background(), fmt.Appendf(nil, "%d.%d", i, n)); err != nil {
						t.Errorf("got %v", err)
					}
				}
			})
		}
		sending.Wait()
		receiving.Wait()
		cancel()
		require.Len(t, got, senders*each)
		for body, n := range got {
			require.Equal(t, 1, n, body)
		}
		for range 8 {
			sending.Go(func() {
				c.Close()
				// io.EOF: it came before the Close that was first had ended.
				if _, err := c.Receive(context.Background()); !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.EOF) {
					t.Errorf("got %v", err)
				}
			})
		}
		sending.Wait()
	}
}

// TestCloseWakesReceive: Close ends a Receive and a Send that wait.
func TestCloseWakesReceive(t *testing.T) {
	checkGoroutines(t)
	room := tcproom.New()
	for _, c := range []*tcproom.Conn{dial(t, serveTCP(t, room)), join(t, room)} {
		errs := make(chan error)
		go func() {
			for {
				if _, err := c.Receive(context.Background()); err != nil {
					errs <- err
					return
				}
			}
		}()
		require.NoError(t, c.Close())
		err := <-errs
		require.True(t, errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF), "%v", err)
		require.NoError(t, c.Close())
	}
}

// TestOnEventInOrder: the hook hears all events in order, and may close the conn.
func TestOnEventInOrder(t *testing.T) {
	checkGoroutines(t)
	room := jsonRoom()
	addr := serveTCP(t, room)
	for _, how := range []string{"dial", "join"} {
		events := make(chan tcproom.Event, 1000)
		closed := make(chan error, 1)
		var c *tcproom.Conn
		ready := make(chan struct{}) // closed when c is set
		hook := tcproom.OnEvent(func(ev tcproom.Event) {
			<-ready
			events <- ev
			switch {
			case string(ev.Body) == "close":
				closed <- c.Close()
			case ev.Kind == tcproom.Message:
				if err := c.Send(context.Background(), ev.Body); err != nil {
					t.Errorf("send: %v", err)
				}
			}
		})
		if how == "dial" {
			c = dial(t, addr, tcproom.WithCodec(tcproom.JSON{}), hook)
		} else {
			c = join(t, room, hook)
		}
		close(ready)
		require.Equal(t, tcproom.Welcome, (<-events).Kind)
		_, err := c.Receive(testContext(t))
		require.ErrorIs(t, err, errors.ErrUnsupported)
		for i := range 100 {
			broadcast(t, room, fmt.Append(nil, i))
		}
		broadcast(t, room, []byte("close"))
		for i := range 100 {
			require.Equal(t, fmt.Sprint(i), string((<-events).Body))
		}
		require.Equal(t, "close", string((<-events).Body))
		require.NoError(t, <-closed)
		require.NoError(t, c.Close())
		waitLen(t, room, 0)
		require.ErrorIs(t, c.Err(), net.ErrClosed)
	}
}

// TestOnEventPanics: that conn ends, with what happened as the cause.
func TestOnEventPanics(t *testing.T) {
	checkGoroutines(t)
	room := tcproom.New()
	c := join(t, room, tcproom.OnEvent(func(tcproom.Event) { panic("boom") }))
	broadcast(t, room, []byte("x"))
	<-c.Context().Done()
	var he *tcproom.HookError
	require.ErrorAs(t, c.Err(), &he)
	require.Equal(t, "OnEvent", he.Hook)
	c.Close()

	d := join(t, room, tcproom.WithCodec(parsePanics{}), tcproom.OnEvent(func(tcproom.Event) {}))
	broadcast(t, room, []byte("x"))
	<-d.Context().Done()
	require.ErrorIs(t, d.Err(), tcproom.ErrHook)
	d.Close()
	room.Close()
}

// TestAllocations: at most two a received message on the raw path, at both
// ends, and none for a delivery.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	raw := tcproom.WithCodec(tcproom.Raw{})
	const receivers, batch = 50, 64
	room := tcproom.New(raw, tcproom.WithNotices(false))
	addr := serveTCP(t, room)
	sender, nc := dial(t, addr, raw), make([]*net.TCPConn, receivers)
	for i := range nc {
		nc[i] = dialRaw(t, addr)
	}
	waitLen(t, room, receivers+1)
	body, buf := bytes.Repeat([]byte("x"), 63), make([]byte, 64*batch)
	ctx := context.Background()
	perBatch := testing.AllocsPerRun(100, func() {
		for range batch {
			sender.Send(ctx, body)
		}
		for _, nc := range nc {
			io.ReadFull(nc, buf)
		}
	})
	send := testing.AllocsPerRun(100, func() { room.Broadcast(ctx, body) }) // no receiver keeps up with that for long
	t.Logf("%.2f a message sent, received and delivered to %d, %.2f a Broadcast", perBatch/batch, receivers, send)
	if direct { // a writer allocates for its timers
		require.LessOrEqual(t, perBatch/batch, 2.0+2.0, "two to send, two to receive, none to deliver")
	}

	addr, ch := acceptOne(t)
	c := dial(t, addr, raw)
	peer := accepted(t, ch)
	lines := bytes.Repeat([]byte("0123456\n"), batch)
	perBatch = testing.AllocsPerRun(100, func() {
		peer.Write(lines)
		for range batch {
			if _, err := c.Receive(ctx); err != nil {
				panic(err)
			}
		}
	})
	t.Logf("%.2f a Receive", perBatch/batch)
	require.LessOrEqual(t, perBatch/batch, 2.0)
}

// TestSocketBuffersUnderTLS: the option reaches the socket beneath.
func TestSocketBuffersUnderTLS(t *testing.T) {
	server, client := testTLS()
	room := tcproom.New(tcproom.WithTLS(server))
	addr := serveTCP(t, room)
	var asked []int
	dialer := func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, network, addr)
		return &buffered{nc, &asked}, err
	}
	dial(t, addr, tcproom.WithTLS(client), tcproom.WithDialer(dialer), tcproom.WithSocketBuffers(11111, 22222))
	require.Equal(t, []int{11111, 22222}, asked)
}

type buffered struct {
	net.Conn
	asked *[]int
}

func (b *buffered) SetReadBuffer(n int) error  { *b.asked = append(*b.asked, n); return nil }
func (b *buffered) SetWriteBuffer(n int) error { *b.asked = append(*b.asked, n); return nil }
