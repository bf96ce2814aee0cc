package itest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// within bounds what a test waits for. It is long, because it only ends tests that
// have failed.
const within = 30 * time.Second

// long reports whether tests shall run for as long as it takes to find what
// happens rarely.
func long() bool { return os.Getenv("TCPROOM_LONG") != "" }

// serve has room serve loopback until the end of the test, and returns its address.
func serve(t *testing.T, room *tcproom.Room, opts ...tcproom.ConnOption) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return serveOn(t, room, l, opts...)
}

func serveOn(t *testing.T, room *tcproom.Room, l net.Listener, opts ...tcproom.ConnOption) (addr string) {
	t.Helper()
	var g errgroup.Group
	g.Go(func() error { return room.Serve(l, opts...) })
	t.Cleanup(func() {
		room.Close()
		require.ErrorIs(t, g.Wait(), tcproom.ErrRoomClosed)
		select {
		case <-room.Done():
		case <-time.After(within):
			t.Error("the room has not stopped")
		}
	})
	return l.Addr().String()
}

// waitLen waits until room has n members, looking again and again.
func waitLen(t *testing.T, ctx context.Context, room *tcproom.Room, n int) {
	t.Helper()
	for ; room.Len() != n; time.Sleep(time.Millisecond) { // polls; nothing depends on how long
		require.NoError(t, context.Cause(ctx), "still not %d members", n)
	}
}

func requireSame(t *testing.T, want, got []byte, format string, args ...any) {
	t.Helper()
	if sha256.Sum256(want) != sha256.Sum256(got) {
		at := 0
		for at < min(len(want), len(got)) && want[at] == got[at] {
			at++
		}
		t.Fatalf("%s: want %d bytes, got %d that differ from byte %d on: %.40q", fmt.Sprintf(format, args...), len(want), len(got), at, got[at:])
	}
}

// requireNoneLeft fails the test when at its end there are more goroutines
// than now.
func requireNoneLeft(t *testing.T) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		deadline := time.Now().Add(within)
		for runtime.NumGoroutine() > before {
			if time.Now().After(deadline) {
				_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
				t.Fatalf("%d goroutines are left, of %d before", runtime.NumGoroutine(), before)
			}
			time.Sleep(time.Millisecond) // polls; nothing depends on how long
		}
	})
}
