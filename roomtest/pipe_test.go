package roomtest_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// bubble runs fn in a bubble, in parallel with other tests.
func bubble(t *testing.T, fn func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, fn)
}

// pipePair returns two ends that are closed at the end of the test.
func pipePair(t testing.TB) (a, b *roomtest.Conn) {
	t.Helper()
	a, b = roomtest.Pipe()
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
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

// later runs fn on a goroutine and returns its result when it is received.
func later[T any](fn func() T) <-chan T {
	ch := make(chan T, 1)
	go func() { ch <- fn() }()
	return ch
}

// blocked says that everything in the bubble waits and fn's result is not there.
func blocked[T any](t testing.TB, ch <-chan T) {
	t.Helper()
	synctest.Wait()
	select {
	case v := <-ch:
		t.Fatalf("did not block: %v", v)
	default:
	}
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

func TestPipeCarriesBytes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pipePair(t)
		mustWrite(t, a, "hello ")
		mustWrite(t, a, "bob")
		mustWrite(t, b, "hello ada")
		mustRead(t, b, "hello bob")
		mustRead(t, a, "hello ada")
		n, err := a.Read(nil)
		require.Zero(t, n)
		require.NoError(t, err)
		got := later(func() error { return readErr(a) })
		blocked(t, got)
		b.Close()
		require.Equal(t, io.EOF, <-got)
	})
}

func TestPipeIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pipePair(t)
		require.Equal(t, 64<<10, fill(t, a))
		mustRead(t, b, string(make([]byte, 1000)))
		require.Equal(t, 1000, fill(t, a))
		require.NoError(t, b.SetReadBuffer(65<<10))
		require.Equal(t, 1<<10, fill(t, a))
		require.NoError(t, a.SetWriteBuffer(10))
		mustRead(t, b, string(make([]byte, 65<<10-5)))
		require.Equal(t, 5, fill(t, a))
		require.NoError(t, a.SetWriteBuffer(0))
		require.Equal(t, 64<<10-10, fill(t, a))
	})
}
