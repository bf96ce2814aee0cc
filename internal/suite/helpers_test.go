package suite_test

import (
	"context"
	"os"
	"testing"

	"example.com/tcproom"
	"example.com/tcproom/internal/testkit"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// What these tests have in common with those of the root package.
const (
	within      = testkit.Within
	raceEnabled = testkit.RaceEnabled
)

// Causes without a constant.
const (
	errReset            = tcproom.Cause("reset")
	errWriteTimeout     = tcproom.Cause("write-timeout")
	errIdleTimeout      = tcproom.Cause("idle-timeout")
	errHandshakeTimeout = tcproom.Cause("handshake-timeout")
)

type (
	causes   = testkit.Causes
	logLines = testkit.Log
)

var (
	testContext     = testkit.Context
	inBubble        = testkit.Bubble
	serve           = testkit.Serve
	serveTCP        = testkit.ServeTCP
	listen          = testkit.Listen
	enter           = testkit.Enter
	pipe            = testkit.Pipe
	waitDone        = testkit.WaitDone
	dial            = testkit.Dial
	join            = testkit.Join
	dialRaw         = testkit.DialRaw
	next            = testkit.Next
	nextMessage     = testkit.NextMessage
	nextOf          = testkit.NextOf
	send            = testkit.Send
	chat            = testkit.Chat
	broadcast       = testkit.Broadcast
	memberOf        = testkit.MemberOf
	only            = testkit.Only
	kib             = testkit.KiB
	eventually      = testkit.Eventually
	waitLen         = testkit.WaitLen
	checkGoroutines = testkit.CheckGoroutines
	descriptors     = testkit.Descriptors
	memory          = testkit.Memory
	newCauses       = testkit.NewCauses
	testTLS         = testkit.TLS
)

// long says whether tests may take their time.
var long = os.Getenv("TCPROOM_LONG") != ""

// times is how often a test does what it repeats: n, or many in a long run.
func times(n, many int) int {
	if long {
		return many
	}
	return n
}

// A memRoom is served on a network in memory, and notes how conns end.
type memRoom struct {
	*tcproom.Room
	net           roomtest.Network
	left, refused *causes
}

func newMemRoom(t testing.TB, opts ...tcproom.RoomOption) *memRoom {
	t.Helper()
	r := &memRoom{left: newCauses(), refused: newCauses()}
	r.Room = tcproom.New(append([]tcproom.RoomOption{
		tcproom.OnLeave(r.left.Left), tcproom.OnReject(r.refused.Rejected), tcproom.WithNotices(false),
	}, opts...)...)
	l, err := r.net.Listen("room:9000")
	require.NoError(t, err)
	serve(t, r.Room, l)
	return r
}

// connect connects without the library.
func (r *memRoom) connect(t testing.TB) *roomtest.Conn {
	t.Helper()
	nc, err := r.net.Dial(context.Background(), "tcp", "room:9000")
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	return nc.(*roomtest.Conn)
}

func (r *memRoom) dial(t testing.TB, opts ...tcproom.DialOption) *tcproom.Conn {
	t.Helper()
	return dial(t, "room:9000", append(opts, tcproom.WithDialer(r.net.Dial))...)
}

// hears checks that the next messages of w are these, and that a marker which
// the room says now follows them.
func (r *memRoom) hears(t testing.TB, w *tcproom.Conn, bodies ...string) {
	t.Helper()
	broadcast(t, r.Room, []byte("marker"))
	for _, body := range bodies {
		require.Equal(t, body, nextMessage(t, w))
	}
	require.Equal(t, "marker", nextMessage(t, w))
}
