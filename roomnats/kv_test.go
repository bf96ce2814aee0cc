package roomnats_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomnats"
	"example.com/tcproom/roomtest"
)

// A notebook has what was logged.
type notebook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (n *notebook) Write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.b.Write(b)
}

func (n *notebook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(n, nil)) }

func (n *notebook) debugger() *slog.Logger {
	return slog.New(slog.NewTextHandler(n, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// count returns how often a text was logged.
func (n *notebook) count(text string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Count(n.b.String(), text)
}

func (n *notebook) await(t testing.TB, text string) {
	t.Helper()
	require.Eventually(t, func() bool { n.mu.Lock(); defer n.mu.Unlock(); return strings.Contains(n.b.String(), text) },
		patience, time.Millisecond, "%q is not logged", text)
}

// While the buckets are away and the log is not, nobody is told anything, no process is
// taken for dead and none comes in; that is logged. When they are back, all is as before.
func TestRoomBucketsAway(t *testing.T) {
	t.Parallel()
	timed(t, time.Second, testBucketsAway)
}

func testBucketsAway(t testing.TB, lease time.Duration) {
	s, notes := guarded(t), &notebook{}
	boss := dial(t, s.URL(), as("boss"))
	mine := []roomnats.Option{roomnats.Lease(lease), roomnats.MaxRecords(200)}
	backplane(t, boss, mine...).Close()
	set := settings{nats: []nats.Option{as("node"), nats.ErrorHandler(unheard)}, log: mine, room: []tcproom.RoomOption{
		tcproom.WithSessions(tcproom.Sessions{Grace: lease / 2}), tcproom.WithLogger(notes.logger()),
	}}
	at := newSites(t, s, 3, set)
	ada, bob := at[0].Join("ada"), at[1].Join("bob")
	ada.Await(roomtest.Joined("bob"))
	var nodes [3]string
	for i, srv := range at {
		nodes[i] = nodeOf(t, srv.Server)
	}

	js, err := jetstream.New(boss)
	require.NoError(t, err)
	require.NoError(t, js.DeleteStream(t.Context(), "KV_tcproom_default_nodes"))
	require.NoError(t, js.DeleteStream(t.Context(), "KV_tcproom_default_state"))
	for _, body := range numbered("", 0, 100) {
		ada.Send(body)
		bob.Await(roomtest.Message("ada", body))
	}
	notes.await(t, "lease not renewed")
	notes.await(t, "leases are not watched")
	notes.await(t, "checkpoint not saved")
	ctx, cancel := context.WithTimeout(t.Context(), lease/4)
	defer cancel()
	_, err = roomnats.Open(ctx, dial(t, s.URL(), as("node"), nats.ErrorHandler(unheard)), "lobby", usual(mine...)...)
	require.Error(t, err)
	ada.RefuteFor(3*lease/2, roomtest.Left("bob"))
	bob.Send("here")
	ada.Await(roomtest.Message("bob", "here"))

	backplane(t, boss, mine...).Close() // makes them again
	for i, srv := range at {
		ready(t, srv.Server)
		require.Equal(t, nodes[i], nodeOf(t, srv.Server))
	}
	at[1].nc.Close()
	ada.Await(roomtest.Left("bob"))
	require.Equal(t, nodes[2], nodeOf(t, at[2].Server))
}
