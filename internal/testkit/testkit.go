package testkit

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// Within bounds what a test waits for: long, for it only says that a test has failed.
const Within = 30 * time.Second

// Context returns a context that ends after Within, or with the test.
func Context(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), Within)
	t.Cleanup(cancel)
	return ctx
}

// Bubble runs fn as a subtest in a bubble of its own.
func Bubble(name string, t *testing.T, fn func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, fn) })
}

// Serve starts room on a listener of the network and returns its address. The room
// closes at the end of the test.
func Serve(t testing.TB, room *tcproom.Room, l net.Listener, opts ...tcproom.ConnOption) string {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- room.Serve(l, opts...) }()
	t.Cleanup(func() {
		room.Close()
		require.ErrorIs(t, <-done, tcproom.ErrRoomClosed)
		WaitDone(t, room)
	})
	return l.Addr().String()
}

// ServeTCP is Serve on a free port of loopback.
func ServeTCP(t testing.TB, room *tcproom.Room, opts ...tcproom.ConnOption) string {
	t.Helper()
	return Serve(t, room, Listen(t, "tcp"), opts...)
}

// Listen listens on loopback, or on a unix socket; network is as for net.Listen.
func Listen(t testing.TB, network string) net.Listener {
	t.Helper()
	addr := "127.0.0.1:0"
	switch network {
	case "tcp6":
		addr = "[::1]:0"
	case "unix":
		addr = filepath.Join(t.TempDir(), "room")
	}
	l, err := net.Listen(network, addr)
	require.NoError(t, err)
	return l
}

// Enter has room serve one end of a connection in memory, and returns the
// other and what ServeConn will return.
func Enter(t testing.TB, room *tcproom.Room, opts ...tcproom.ConnOption) (*roomtest.Conn, <-chan error) {
	t.Helper()
	here, there := roomtest.Pipe()
	served := make(chan error, 1)
	go func() { served <- room.ServeConn(there, opts...) }()
	t.Cleanup(func() { here.Close() })
	return here, served
}

// Pipe is Enter with a net.Pipe, which holds no bytes: a write to it returns when the
// other end has read them. The caller closes it.
func Pipe(room *tcproom.Room, opts ...tcproom.ConnOption) (net.Conn, <-chan error) {
	here, there := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- room.ServeConn(there, opts...) }()
	return here, served
}

// WaitDone waits until nothing of room is left.
func WaitDone(t testing.TB, room *tcproom.Room) {
	t.Helper()
	select {
	case <-room.Done():
	case <-time.After(Within):
		var b bytes.Buffer
		pprof.Lookup("goroutine").WriteTo(&b, 1)
		t.Fatalf("the room has not stopped:\n%s", b.String())
	}
}

// Dial connects with the library, and closes at the end of the test.
func Dial(t testing.TB, addr string, opts ...tcproom.DialOption) *tcproom.Conn {
	t.Helper()
	c, err := tcproom.Dial(Context(t), addr, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// Join joins room from this process, and closes at the end of the test.
func Join(t testing.TB, room *tcproom.Room, opts ...tcproom.DialOption) *tcproom.Conn {
	t.Helper()
	c, err := room.Join(Context(t), tcproom.Identity{}, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// DialRaw connects without the library, and closes at the end of the test.
func DialRaw(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	return nc.(*net.TCPConn)
}

// Next returns the next event.
func Next(t testing.TB, c *tcproom.Conn) tcproom.Event {
	t.Helper()
	ev, err := c.Receive(Context(t))
	require.NoError(t, err)
	return ev
}

// NextMessage returns the body of the next message, whatever comes before it.
func NextMessage(t testing.TB, c *tcproom.Conn) string {
	t.Helper()
	for {
		if ev := Next(t, c); ev.Kind == tcproom.Message {
			return string(ev.Body)
		}
	}
}

// NextOf returns the next message of from that c receives.
func NextOf(t testing.TB, c, from *tcproom.Conn) string {
	t.Helper()
	for {
		if ev := Next(t, c); ev.Kind == tcproom.Message && ev.From.ID == from.ID() {
			return string(ev.Body)
		}
	}
}

// Send sends body.
func Send(t testing.TB, c *tcproom.Conn, body string) {
	t.Helper()
	require.NoError(t, c.Send(Context(t), []byte(body)))
}

// Chat sends messages from a to b, and checks that b gets all of them.
func Chat(t testing.TB, a, b *tcproom.Conn, what string) {
	t.Helper()
	for i := range 20 {
		Send(t, a, fmt.Sprint(what, i))
	}
	for i := range 20 {
		require.Equal(t, fmt.Sprint(what, i), NextOf(t, b, a), "what a bystander said to another")
	}
}

// Broadcast has the room itself send body, and returns its number.
func Broadcast(t testing.TB, room *tcproom.Room, body []byte) uint64 {
	t.Helper()
	seq, err := room.Broadcast(Context(t), body)
	require.NoError(t, err)
	return seq
}

// MemberOf returns the i-th member, in join order.
func MemberOf(t testing.TB, room *tcproom.Room, i int) *tcproom.Member {
	t.Helper()
	for m := range room.Members() {
		if i--; i < 0 {
			return m
		}
	}
	t.Fatal("no such member")
	return nil
}

// Only returns the only member; of several the first that joined, and nil of none.
func Only(room *tcproom.Room) *tcproom.Member {
	for m := range room.Members() {
		return m
	}
	return nil
}

// KiB returns a body of 1 KiB that begins with i.
func KiB(i int) []byte { return fmt.Appendf(nil, "%08d%s", i, strings.Repeat(".", 1<<10-8)) }

// Eventually waits until ok, looking again and again.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(Within)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
		time.Sleep(time.Millisecond) // polls; nothing depends on how long
	}
}

// WaitLen waits until room has n members.
func WaitLen(t testing.TB, room *tcproom.Room, n int) {
	t.Helper()
	Eventually(t, fmt.Sprintf("%d members", n), func() bool { return room.Len() == n })
}

// CheckGoroutines fails the test when at its end there are more goroutines
// than at the call.
func CheckGoroutines(t *testing.T) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		Eventually(t, "goroutines back to where they were", func() bool { return runtime.NumGoroutine() <= before })
	})
}

// Descriptors counts those that the process has open, or skips the test if it cannot.
func Descriptors(t testing.TB) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("descriptors cannot be counted here:", err)
	}
	return len(d)
}

// Memory returns how many bytes of heap and stacks are in use.
func Memory() int64 {
	runtime.GC() // twice: what pools keep goes with the second
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
