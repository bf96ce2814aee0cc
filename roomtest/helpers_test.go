package roomtest_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// servers are the two kinds of Server.
var servers = []struct {
	name string
	make func(testing.TB, ...tcproom.RoomOption) *roomtest.Server
}{
	{name: "loopback", make: roomtest.NewServer},
	{name: "memory", make: roomtest.NewMemServer},
}

func onBoth(t *testing.T, fn func(t *testing.T, make func(testing.TB, ...tcproom.RoomOption) *roomtest.Server)) {
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) { fn(t, s.make) })
	}
}

// bubble runs fn in a bubble, in parallel with other tests.
func bubble(t *testing.T, fn func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, fn)
}

// later runs fn on a goroutine and returns its result when it is received.
func later[T any](fn func() T) <-chan T {
	ch := make(chan T, 1)
	go func() { ch <- fn() }()
	return ch
}

// blocked checks that everything in the bubble waits and the result is not there.
func blocked[T any](t testing.TB, ch <-chan T) {
	t.Helper()
	synctest.Wait()
	select {
	case v := <-ch:
		t.Fatalf("did not block: %v", v)
	default:
	}
}

// clock knows how much time has passed in the bubble since it was made.
type clock struct{ start time.Time }

func (c clock) shows(t testing.TB, want time.Duration) {
	t.Helper()
	require.Equal(t, want, time.Since(c.start))
}

func startClock() clock { return clock{time.Now()} }

// pipePair returns two ends that are closed at the end of the test.
func pipePair(t testing.TB) (a, b *roomtest.Conn) {
	t.Helper()
	a, b = roomtest.Pipe()
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func mustListen(t testing.TB, n *roomtest.Network, addr string) *roomtest.Listener {
	t.Helper()
	l, err := n.Listen(addr)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

func mustDial(t testing.TB, n *roomtest.Network, addr string) *roomtest.Conn {
	t.Helper()
	nc, err := n.Dial(t.Context(), "tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	return nc.(*roomtest.Conn)
}

func mustWrite(t testing.TB, c net.Conn, s string) {
	t.Helper()
	n, err := c.Write([]byte(s))
	require.NoError(t, err)
	require.Equal(t, len(s), n)
}

// mustRead reads exactly want.
func mustRead(t testing.TB, c net.Conn, want string) {
	t.Helper()
	b := make([]byte, len(want))
	n, err := io.ReadFull(c, b)
	require.NoError(t, err, "after %q", b[:n])
	require.Equal(t, want, string(b))
}

func readErr(c net.Conn) error {
	n, err := c.Read(make([]byte, 1))
	if n != 0 {
		return fmt.Errorf("a byte was read")
	}
	return err
}

func writeErr(c net.Conn) error {
	_, err := c.Write([]byte("x"))
	return err
}

// fill writes until c would block and returns how much that was.
func fill(t testing.TB, c *roomtest.Conn) int {
	t.Helper()
	require.NoError(t, c.SetWriteDeadline(time.Now().Add(time.Nanosecond)))
	n, err := c.Write(make([]byte, 32<<20))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, c.SetWriteDeadline(time.Time{}))
	return n
}

func sample(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed)})
	r.Read(b)
	return b
}

// exchange sends 1 MiB both ways between two conns, closes both halves, and
// checks that every byte arrived in its place.
func exchange(t testing.TB, a, b net.Conn) {
	t.Helper()
	const size = 1 << 20
	type half interface{ CloseWrite() error }
	send := func(c net.Conn, seed uint64) error {
		r := rand.New(rand.NewPCG(seed, 1))
		data := sample(size, seed)
		for len(data) > 0 {
			n := min(len(data), 1+r.IntN(5000))
			if _, err := c.Write(data[:n]); err != nil {
				return err
			}
			data = data[n:]
		}
		return c.(half).CloseWrite()
	}
	receive := func(c net.Conn, seed uint64) error {
		got, err := io.ReadAll(c)
		if err == nil && !bytes.Equal(got, sample(size, seed)) {
			err = fmt.Errorf("%d bytes, and not those that were sent", len(got))
		}
		return err
	}
	var g errgroup.Group
	g.Go(func() error { return send(a, 1) })
	g.Go(func() error { return receive(b, 1) })
	g.Go(func() error { return send(b, 2) })
	g.Go(func() error { return receive(a, 2) })
	require.NoError(t, g.Wait())
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
}

// readSizes reads until n bytes were read and returns how they came.
func readSizes(t testing.TB, c net.Conn, n int) (sizes []int) {
	t.Helper()
	b := make([]byte, 1<<20)
	for n > 0 {
		k, err := c.Read(b)
		require.NoError(t, err)
		sizes = append(sizes, k)
		n -= k
	}
	return sizes
}

// requireLaw checks that err reports that law is broken, and what shows it.
func requireLaw(t *testing.T, err error, what, law, want string) {
	t.Helper()
	require.Error(t, err)
	prefix := "roomtest: " + what + ": " + law + ": "
	for line := range strings.Lines(err.Error()) {
		if strings.HasPrefix(line, prefix) && strings.Contains(line, want) {
			require.Contains(t, line, "; the contract: ")
			return
		}
	}
	t.Fatalf("no %q with %q in:\n%v", prefix, want, err)
}
