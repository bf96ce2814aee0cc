package roomtest_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// tcpPair returns two ends of a loopback connection.
func tcpPair(t testing.TB) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	b, err := l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { a.Close(); b.Close() })
	return a.(*net.TCPConn), b.(*net.TCPConn)
}

// wrapTCP returns a wrapped conn over loopback and its peer, and checks at the
// end that the pumps are gone.
func wrapTCP(t testing.TB) (*roomtest.Conn, *net.TCPConn) {
	t.Helper()
	near, far := tcpPair(t)
	c := roomtest.Wrap(near)
	t.Cleanup(func() {
		c.Close()
		require.ErrorIs(t, near.Close(), net.ErrClosed)
	})
	return c, far
}

// waitPumps waits until there are want goroutines of wrapped conns.
func waitPumps(t testing.TB, want int) {
	t.Helper()
	b := make([]byte, 1<<20)
	for deadline := time.Now().Add(10 * time.Second); ; {
		stacks := b[:runtime.Stack(b, true)]
		if got := bytes.Count(stacks, []byte("(*splice).pump")); got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not %d goroutines:\n%s", want, stacks)
		}
		time.Sleep(time.Millisecond) // polls; a goroutine that has announced its end may still be there
	}
}

// Not parallel: it counts goroutines.
func TestWrapLeavesNoGoroutine(t *testing.T) {
	for name, end := range map[string]func(c *roomtest.Conn, far *net.TCPConn){
		"close":                func(c *roomtest.Conn, far *net.TCPConn) { c.Close() },
		"peer closes":          func(c *roomtest.Conn, far *net.TCPConn) { far.Close(); c.Close() },
		"peer resets":          func(c *roomtest.Conn, far *net.TCPConn) { far.SetLinger(0); far.Close(); c.Close() },
		"reset":                func(c *roomtest.Conn, far *net.TCPConn) { c.Reset(); c.Close() },
		"close without linger": func(c *roomtest.Conn, far *net.TCPConn) { c.SetLinger(0); c.Close() },
		"black hole": func(c *roomtest.Conn, far *net.TCPConn) {
			c.Out(roomtest.BlackHole())
			c.In(roomtest.BlackHole())
			c.Close()
		},
		"stalled": func(c *roomtest.Conn, far *net.TCPConn) {
			c.Out(roomtest.Stall())
			c.In(roomtest.Stall())
			c.Write([]byte("x"))
			c.Close()
		},
	} {
		near, far := tcpPair(t)
		c := roomtest.Wrap(near)
		waitPumps(t, 2)
		end(c, far)
		waitPumps(t, 0)
		require.ErrorIs(t, near.Close(), net.ErrClosed, name)
	}
}

func TestWrapIsExact(t *testing.T) {
	t.Parallel()
	c, far := wrapTCP(t)
	exchange(t, c, far)
}

func TestWrapIsExactWithFaults(t *testing.T) {
	t.Parallel()
	c, far := wrapTCP(t)
	c.In(roomtest.ChopRandom(3000, 1), roomtest.Latency(time.Millisecond))
	c.Out(roomtest.ChopRandom(3000, 2), roomtest.Jitter(time.Millisecond, 1))
	exchange(t, c, far)
}

// Close hands all to the kernel, which hands it to the peer.
func TestWrapCloseFlushes(t *testing.T) {
	t.Parallel()
	c, far := wrapTCP(t)
	const size = 60 << 10
	c.Out(roomtest.Bandwidth(1<<20), roomtest.Latency(10*time.Millisecond))
	mustWrite(t, c, string(sample(size, 1)))
	require.NoError(t, c.Close())
	got, err := io.ReadAll(far)
	require.NoError(t, err)
	require.Equal(t, sample(size, 1), got)
	require.ErrorIs(t, c.Close(), net.ErrClosed)
}

func TestWrapHalfClose(t *testing.T) {
	t.Parallel()
	c, far := wrapTCP(t)
	mustWrite(t, c, "there")
	require.NoError(t, c.CloseWrite())
	mustRead(t, far, "there")
	require.Equal(t, io.EOF, readErr(far))
	mustWrite(t, far, "and back")
	require.NoError(t, far.CloseWrite())
	mustRead(t, c, "and back")
	require.Equal(t, io.EOF, readErr(c))
	require.NoError(t, c.Close())
}

func TestWrapResets(t *testing.T) {
	t.Parallel()
	for name, reset := range map[string]func(c *roomtest.Conn){
		"Reset":          func(c *roomtest.Conn) { c.Reset() },
		"no linger":      func(c *roomtest.Conn) { c.SetLinger(0); c.Close() },
		"ResetAfter":     func(c *roomtest.Conn) { c.Out(roomtest.ResetAfter(0)) },
		"ResetAfter, in": func(c *roomtest.Conn) { c.In(roomtest.ResetAfter(0)) },
	} {
		c, far := wrapTCP(t)
		reset(c)
		require.True(t, roomtest.IsReset(readErr(far)), name)
		require.Error(t, writeErr(c), name)
	}

	c, far := wrapTCP(t)
	far.SetLinger(0)
	far.Close()
	require.ErrorIs(t, readErr(c), syscall.ECONNRESET)
	require.ErrorIs(t, writeErr(c), syscall.ECONNRESET)
}

func TestWrapFaults(t *testing.T) {
	t.Parallel()
	c, far := wrapTCP(t)
	c.In(roomtest.CutAfter(3))
	c.Out(roomtest.CutAfter(2))
	mustWrite(t, far, "12345")
	mustRead(t, c, "123")
	require.Equal(t, io.EOF, readErr(c))
	mustWrite(t, c, "12345")
	mustRead(t, far, "12")
	require.Equal(t, io.EOF, readErr(far))
}

// A peer that does not read blocks Write, in the end, and not Close for ever.
func TestWrapPeerDoesNotRead(t *testing.T) {
	t.Parallel()
	c, _ := wrapTCP(t)
	require.NoError(t, c.SetWriteDeadline(time.Now().Add(200*time.Millisecond)))
	for {
		if _, err := c.Write(make([]byte, 1<<20)); err != nil {
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			break
		}
	}
	start := time.Now()
	require.NoError(t, c.Close())
	require.Less(t, time.Since(start), 20*time.Second)
}

func TestWrapOfConn(t *testing.T) {
	a, _ := pipePair(t)
	require.Same(t, a, roomtest.Wrap(a))
}

func TestWrapAddrs(t *testing.T) {
	t.Parallel()
	near, far := tcpPair(t)
	c := roomtest.Wrap(near)
	defer c.Close()
	require.Equal(t, far.RemoteAddr(), c.LocalAddr())
	require.Equal(t, far.LocalAddr(), c.RemoteAddr())
}

// net.Pipe has no halves and no buffer, and works in a bubble.
func TestWrapNetPipe(t *testing.T) {
	bubble(t, func(t *testing.T) {
		near, far := net.Pipe()
		c := roomtest.Wrap(near)
		require.ErrorIs(t, c.CloseWrite(), errors.ErrUnsupported)
		c.Out(roomtest.Latency(time.Second), roomtest.Chop(2))
		clock := startClock()
		mustWrite(t, c, "12345")
		require.Equal(t, []int{2, 2, 1}, readSizes(t, far, 5))
		clock.shows(t, time.Second)
		mustWrite(t, far, "back")
		mustRead(t, c, "back")

		mustWrite(t, c, "last words")
		closing := later(c.Close)
		mustRead(t, far, "last words")
		require.Equal(t, io.EOF, readErr(far))
		require.NoError(t, <-closing)
		clock.shows(t, 2*time.Second)

		near, far = net.Pipe()
		c = roomtest.Wrap(near)
		far.Close()
		require.Equal(t, io.EOF, readErr(c))
		mustWrite(t, c, "x")
		synctest.Wait()
		require.ErrorIs(t, writeErr(c), io.ErrClosedPipe)
		require.NoError(t, c.Close())
	})
}

// CutAfter of what has no halves closes it.
func TestWrapCutWithoutHalves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		near, far := net.Pipe()
		c := roomtest.Wrap(near)
		c.Out(roomtest.CutAfter(1))
		mustWrite(t, c, "xy")
		mustRead(t, far, "x")
		require.Equal(t, io.EOF, readErr(far))
		require.NoError(t, c.Close())
	})
}

// What does not move is given up one to two seconds after it should have moved,
// and is not thought to move after five.
func TestWrapCloseGivesUp(t *testing.T) {
	tests := []struct {
		name   string
		faults []roomtest.Fault
		want   time.Duration
	}{
		{name: "peer does not read", want: time.Second},
		{name: "stall", faults: []roomtest.Fault{roomtest.Stall()}, want: time.Second},
		{name: "latency", faults: []roomtest.Fault{roomtest.Latency(time.Minute)}, want: 6 * time.Second},
		{name: "black hole", faults: []roomtest.Fault{roomtest.BlackHole()}, want: 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				near, far := net.Pipe()
				c := roomtest.Wrap(near)
				c.Out(tt.faults...)
				clock := startClock()
				mustWrite(t, c, "x")
				synctest.Wait()
				require.NoError(t, c.Close())
				clock.shows(t, tt.want)
				require.Equal(t, io.EOF, readErr(far))
			})
		})
	}
}

// Reset does not wait for a write to what is wrapped.
func TestWrapResetDuringWrite(t *testing.T) {
	bubble(t, func(t *testing.T) {
		near, far := net.Pipe()
		c := roomtest.Wrap(near)
		mustWrite(t, c, "nobody reads this")
		synctest.Wait()
		c.Reset()
		require.Equal(t, io.EOF, readErr(far))
		require.NoError(t, c.Close())
	})
}

// A deafConn's Close unblocks nothing.
type deafConn struct {
	net.Conn
	free chan struct{}
}

func (d *deafConn) Read([]byte) (int, error) { <-d.free; return 0, io.EOF }
func (d *deafConn) Close() error             { return nil }

func TestWrapCloseDoesNotUnblock(t *testing.T) {
	bubble(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		d := &deafConn{near, make(chan struct{})}
		c := roomtest.Wrap(d)
		clock := startClock()
		err := c.Close()
		require.ErrorContains(t, err, "Close of *roomtest_test.deafConn did not unblock its Read")
		clock.shows(t, time.Second)
		close(d.free)
	})
}

// A failingConn fails with errors of its own.
type failingConn struct {
	net.Conn
	readErr, writeErr error
}

func (f *failingConn) Read(b []byte) (int, error) {
	if f.readErr != nil {
		return copy(b, "before"), f.readErr
	}
	return f.Conn.Read(b)
}

func (f *failingConn) Write(b []byte) (int, error) { return 0, f.writeErr }

func TestWrapErrorsMapThrough(t *testing.T) {
	bubble(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		sentinel := errors.New("out of luck")
		c := roomtest.Wrap(&failingConn{near, sentinel, nil})
		mustRead(t, c, "before")
		require.Equal(t, sentinel, readErr(c))
		require.NoError(t, c.Close())

		near, far = net.Pipe()
		defer far.Close()
		c = roomtest.Wrap(&failingConn{near, nil, sentinel})
		require.NoError(t, writeErr(c))
		synctest.Wait()
		require.Equal(t, sentinel, writeErr(c))
		go far.Write([]byte("still"))
		mustRead(t, c, "still")
		require.NoError(t, c.Close())
	})
}

// Everything at once, over TCP.
func TestWrapRaces(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	for i := range 10 {
		near, far := tcpPair(t)
		wg.Go(func() {
			c := roomtest.Wrap(near)
			var ends sync.WaitGroup
			for _, nc := range []net.Conn{c, far} {
				ends.Go(func() { io.Copy(io.Discard, nc) })
				ends.Go(func() {
					for range 50 {
						nc.Write([]byte(strings.Repeat("x", 1000)))
					}
				})
			}
			ends.Go(func() {
				for range 20 {
					c.In(roomtest.Jitter(time.Millisecond, uint64(i)))
					c.Out(roomtest.Chop(100 + i))
				}
				switch i % 3 {
				case 0:
					c.Reset()
				case 1:
					far.Close()
				}
				c.Close()
				far.Close()
			})
			ends.Wait()
		})
	}
	wg.Wait()
}

// TestWrapCloseWaits for what still moves, and for a latency of at most five
// seconds.
func TestWrapCloseWaits(t *testing.T) {
	tests := []struct {
		name  string
		fault roomtest.Fault
		least time.Duration
		most  time.Duration
		want  string
	}{
		{name: "healthy", want: "hello"},
		{name: "latency", fault: roomtest.Latency(4 * time.Second), least: 4 * time.Second, most: 4 * time.Second, want: "hello"},
		{name: "long latency", fault: roomtest.Latency(time.Hour), least: 5 * time.Second, most: 6 * time.Second, want: ""},
		{name: "bandwidth", fault: roomtest.Bandwidth(1), least: 5 * time.Second, most: 5 * time.Second, want: "hello"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				here, there := roomtest.Pipe()
				c := roomtest.Wrap(struct{ net.Conn }{here})
				c.Out(tt.fault)
				_, err := c.Write([]byte("hello"))
				require.NoError(t, err)
				began := time.Now()
				require.NoError(t, c.Close())
				took := time.Since(began)
				require.True(t, tt.least <= took && took <= tt.most, took)
				got, _ := io.ReadAll(there)
				require.Equal(t, tt.want, string(got))
				there.Close()
			})
		})
	}
}

// TestOnAcceptBeforeTheFirstByte: what OnAccept puts on a wrapped connection is in force
// for what the client has sent already.
func TestOnAcceptBeforeTheFirstByte(t *testing.T) {
	bubble(t, func(t *testing.T) {
		inner := make(oneConn, 1)
		client, far := net.Pipe()
		inner <- far
		wrote := later(func() error { _, err := client.Write([]byte("hi")); return err })
		l := roomtest.WrapListener(inner)
		l.OnAccept(func(c *roomtest.Conn) {
			blocked(t, wrote)
			c.In(roomtest.Latency(time.Minute))
		})
		c, err := l.Accept()
		require.NoError(t, err)
		require.NoError(t, <-wrote)
		began := startClock()
		mustRead(t, c, "hi")
		began.shows(t, time.Minute)
		require.NoError(t, client.Close())
		require.NoError(t, c.Close())
	})
}

// TestOnAcceptMayRead: a function of OnAccept that reads gets what there is.
func TestOnAcceptMayRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		inner := make(oneConn, 1)
		client, far := net.Pipe()
		inner <- far
		go client.Write([]byte("hi"))
		l := roomtest.WrapListener(inner)
		l.OnAccept(func(c *roomtest.Conn) { mustRead(t, c, "hi") })
		c, err := l.Accept()
		require.NoError(t, err)
		require.NoError(t, client.Close())
		require.NoError(t, c.Close())
	})
}

// A oneConn is a listener that accepts what is in it.
type oneConn chan net.Conn

func (l oneConn) Accept() (net.Conn, error) { return <-l, nil }
func (l oneConn) Close() error              { return nil }
func (l oneConn) Addr() net.Addr            { return &net.TCPAddr{} }
