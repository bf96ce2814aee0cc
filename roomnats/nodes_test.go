package roomnats_test

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomnats"
	"example.com/tcproom/roomnats/natstest"
)

func withoutJetStream(o *server.Options) { o.JetStream = false }

func logTo(w io.Writer) roomnats.Option {
	return roomnats.Logger(slog.New(slog.NewTextHandler(w, nil)))
}

type news struct {
	node  string
	alive bool
	at    time.Time
}

// watch returns what Watch tells.
func watch(t testing.TB, n tcproom.Nodes) <-chan news {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	told, done := make(chan news, 100), make(chan struct{})
	go func() {
		defer close(done)
		n.Watch(ctx, func(node string, alive bool) { told <- news{node, alive, time.Now()} })
	}()
	t.Cleanup(func() { cancel(); <-done })
	return told
}

func expect(t testing.TB, told <-chan news, node string, alive bool) time.Time {
	t.Helper()
	select {
	case n := <-told:
		require.Equal(t, news{node, alive, n.at}, n)
		return n.at
	case <-time.After(patience):
		t.Fatalf("not told of %q", node)
		return time.Time{}
	}
}

func TestLeases(t *testing.T) {
	t.Parallel()
	timed(t, time.Second, testLeases)
}

func testLeases(t testing.TB, lease time.Duration) {
	s := natstest.Solo(t)
	b := backplane(t, dial(t, s.URL()), roomnats.Lease(lease))
	n := b.Nodes()
	living := func(node string) bool {
		alive, err := n.Alive(t.Context(), node)
		require.NoError(t, err)
		return alive
	}
	require.False(t, living("a"))
	require.NoError(t, n.Renew(t.Context(), "a"))
	require.NoError(t, n.Renew(t.Context(), "a b.*"))
	require.True(t, living("a"))

	told := watch(t, n)
	expect(t, told, "a", true)
	expect(t, told, "a b.*", true)
	require.NoError(t, n.Release(t.Context(), "a b.*"))
	expect(t, told, "a b.*", false)
	require.False(t, living("a b.*"))
	require.NoError(t, n.Release(t.Context(), "never"))

	// Renewed in time it goes on, without news.
	var began, answered time.Time // the last renewal
	for range 4 {
		began = time.Now()
		require.NoError(t, n.Renew(t.Context(), "a"))
		answered = time.Now()
		time.Sleep(lease / 3)
	}
	require.Empty(t, told)
	// Then it ends, once, not before its time and soon after.
	ended := expect(t, told, "a", false)
	require.GreaterOrEqual(t, ended.Sub(began), lease)
	require.LessOrEqual(t, ended.Sub(answered), lease*3/2)
	require.False(t, living("a"))
	require.NoError(t, n.Renew(t.Context(), "a"))
	expect(t, told, "a", true)
	require.ErrorContains(t, n.Renew(t.Context(), ""), "name")

	// A watcher that comes later is told of those that live.
	later := watch(t, n)
	expect(t, later, "a", true)
	require.Empty(t, later)
}

// A user with the permissions that are listed can do all, and one without may not speak
// in a room.
func TestPermissions(t *testing.T) {
	t.Parallel()
	publish, subscribe, err := roomnats.Permissions(roomnats.Namespace("prod"), roomnats.Shards(2))
	require.NoError(t, err)
	s := natstest.Solo(t, natstest.Configure(func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "node", Password: "n", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Allow: publish}, Subscribe: &server.SubjectPermission{Allow: subscribe},
			}},
			{Username: "rogue", Password: "r", Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Allow: []string{"app.>", "$JS.API.INFO"}},
				Subscribe: &server.SubjectPermission{Allow: []string{"app.>", "_INBOX.>"}},
			}},
		}
	}))
	denied := make(chan error, 100)
	nc := dial(t, s.URL(), nats.UserInfo("node", "n"), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err }))
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	b := backplane(t, nc, roomnats.Namespace("prod"), roomnats.Shards(2), roomnats.MaxRecords(100))
	for _, room := range []string{"lobby", "a.*"} { // in both shards
		l := open(t, b, room)
		pos := add(t, l, numbered("r", 0, 5)...)
		_, _, err := read(t, l, 0, 5)
		require.NoError(t, err)
		subject := "tcproom.prod.1.log.lobby"
		if room == "a.*" {
			subject = "tcproom.prod.0.log.a=2E=2A"
		}
		pos = append(pos, fill(t, js, subject, numbered("r", 5, 100)...)...)
		lostAt(t, l, pos[0])
		for _, at := range pos[102:] {
			require.NoError(t, again(t, func() error { return l.Save(t.Context(), at, make([]byte, 300<<10)) }))
		}
		var at uint64
		require.NoError(t, again(t, func() (err error) { at, _, err = l.Load(t.Context()); return err }))
		require.Equal(t, pos[103], at)
	}
	told := watch(t, b.Nodes())
	require.NoError(t, b.Nodes().Renew(t.Context(), "a"))
	expect(t, told, "a", true)
	alive, err := b.Nodes().Alive(t.Context(), "a")
	require.NoError(t, err)
	require.True(t, alive)
	require.NoError(t, b.Nodes().Release(t.Context(), "a"))
	expect(t, told, "a", false)
	doubt(t, open(t, b, "lobby"), 1<<40)
	b.Close()
	require.NoError(t, nc.FlushTimeout(patience))
	require.Empty(t, denied)

	refused := make(chan error, 100)
	rogue := dial(t, s.URL(), nats.UserInfo("rogue", "r"), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	for _, subject := range []string{"tcproom.prod.0.log.lobby", "$KV.tcproom_prod_nodes.a", "$JS.API.STREAM.PURGE.KV_tcproom_prod_state"} {
		require.NoError(t, rogue.Publish(subject, []byte("I am ada")))
		require.ErrorIs(t, <-refused, nats.ErrPermissionViolation)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = roomnats.New(ctx, rogue, usual(roomnats.Namespace("prod"), roomnats.Shards(2))...)
	require.ErrorContains(t, err, "permissions")
}
