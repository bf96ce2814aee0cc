package roomnats_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomnats"
	"example.com/tcproom/roomnats/natstest"
	"example.com/tcproom/roomtest"
)

// guarded is a server whose user "node" may do what Permissions lists, but make streams,
// and whose user "rogue" may do nothing of that. "boss" may do all.
func guarded(t testing.TB) *natstest.Server {
	t.Helper()
	publish, subscribe, err := roomnats.Permissions()
	require.NoError(t, err)
	var without []string
	for _, subject := range publish {
		if !strings.Contains(subject, "STREAM.CREATE.KV_") {
			without = append(without, subject)
		}
	}
	user := func(name string, publish, subscribe []string) *server.User {
		return &server.User{Username: name, Password: name, Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: publish}, Subscribe: &server.SubjectPermission{Allow: subscribe},
		}}
	}
	return natstest.Solo(t, natstest.Configure(func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "boss", Password: "boss"},
			user("node", without, subscribe),
			user("rogue", []string{"app.>", "$JS.API.INFO"}, []string{"app.>", "_INBOX.>"}),
		}
	}))
}

func as(user string) nats.Option { return nats.UserInfo(user, user) }

// unheard does nothing with what the server has to say of permissions.
func unheard(*nats.Conn, *nats.Subscription, error) {}

// counted returns how many messages the streams have.
func counted(t testing.TB, js jetstream.JetStream) (n [3]uint64) {
	t.Helper()
	for i, name := range []string{stream, "KV_tcproom_default_state", "KV_tcproom_default_nodes"} {
		s, err := js.Stream(t.Context(), name)
		require.NoError(t, err)
		n[i] = s.CachedInfo().State.LastSeq
	}
	return n
}

// One without rights can say nothing in a room, not even what a member has said, nor read
// there or be a part of it. The room needs no more rights than are listed.
func TestRogueWithoutRights(t *testing.T) {
	t.Parallel()
	s := guarded(t)
	boss := dial(t, s.URL(), as("boss"))
	backplane(t, boss).Close()
	js, err := jetstream.New(boss)
	require.NoError(t, err)
	denied := make(chan error, 100)
	at := newSites(t, s, 2, settings{
		nats: []nats.Option{as("node"), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err })},
		room: []tcproom.RoomOption{tcproom.WithSessions(tcproom.Sessions{})},
	})
	ada, bob := at[0].Join("ada"), at[1].Join("bob")
	ada.Await(roomtest.Joined("bob"))
	ada.Send("I am ada")
	bob.Expect(roomtest.Message("ada", "I am ada"))
	logs, err := js.Stream(t.Context(), stream)
	require.NoError(t, err)
	said, err := logs.GetLastMsgForSubject(t.Context(), "tcproom.default.0.log.lobby")
	require.NoError(t, err)

	refused := make(chan error, 100)
	rogue := dial(t, s.URL(), as("rogue"), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	before := counted(t, js)
	publish, _, err := roomnats.Permissions()
	require.NoError(t, err)
	for _, subject := range publish {
		if subject == "$JS.API.INFO" {
			continue
		}
		subject = strings.NewReplacer("log.*", "log.lobby", "*", "x", ">", "lobby").Replace(subject)
		require.NoError(t, rogue.Publish(subject, said.Data))
		require.ErrorIs(t, <-refused, nats.ErrPermissionViolation, subject)
	}
	for _, subject := range []string{"tcproom.>", "tcproom.default.0.log.lobby", "$KV.>", "$JS.>", ">"} {
		_, err := rogue.SubscribeSync(subject)
		require.NoError(t, err)
		require.ErrorIs(t, <-refused, nats.ErrPermissionViolation, subject)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = roomnats.Open(ctx, rogue, "lobby", usual()...)
	require.ErrorContains(t, err, "permissions")

	require.Equal(t, before[:2], at2(counted(t, js)))
	bob.Send("who was that?")
	ada.Expect(roomtest.Message("bob", "who was that?"))
	bob.Refute(roomtest.Any(tcproom.Message, tcproom.Leave))
	select {
	case err := <-denied:
		require.NoError(t, err)
	default:
	}
}

// at2 leaves out the leases, which are renewed all the time.
func at2(n [3]uint64) []uint64 { return n[:2] }

// One with the rights is what docs/operation.md says: it speaks as any member and kicks,
// has processes taken for dead, spoils what a process begins with, and ends the room.
func TestRogueWithRights(t *testing.T) {
	t.Parallel()
	timed(t, time.Second, testRogueWithRights)
}

func testRogueWithRights(t testing.TB, lease time.Duration) {
	s, notes := guarded(t), &notebook{}
	mine := []roomnats.Option{roomnats.Lease(lease)}
	backplane(t, dial(t, s.URL(), as("boss")), mine...).Close()
	set := settings{nats: []nats.Option{as("node")}, log: mine, room: []tcproom.RoomOption{
		tcproom.WithSessions(tcproom.Sessions{}), tcproom.WithLogger(notes.logger()),
	}}
	at := newSites(t, s, 2, set)
	ada, bob, cy := at[0].Join("ada"), at[1].Join("bob"), at[1].Join("cy")
	ada.Await(roomtest.Joined("cy"))
	rogue := newSite(t, s, set)

	m, ok := rogue.Room.Member(ada.Welcome.From.ID)
	require.True(t, ok)
	_, err := m.Post(t.Context(), []byte("I am ada"))
	require.NoError(t, err)
	bob.Await(roomtest.Message("ada", "I am ada"))
	m, ok = rogue.Room.Member(cy.Welcome.From.ID)
	require.True(t, ok)
	require.NoError(t, m.Kick("out"))
	require.ErrorIs(t, cy.AwaitEnd(), tcproom.ErrKicked)

	// A process whose lease is removed, as often as it is renewed, goes on by another name.
	before := nodeOf(t, at[1].Server)
	stop := make(chan struct{})
	stopped := make(chan struct{})
	keys := leaseKeys(t, s)
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(lease / 50):
				for _, key := range keys {
					rogue.nc.PublishMsg(&nats.Msg{Subject: key, Header: nats.Header{"KV-Operation": {"DEL"}}})
				}
			}
		}
	}()
	for end := time.Now().Add(patience); nodeOf(t, at[1].Server) == before; time.Sleep(50 * time.Millisecond) {
		require.True(t, time.Now().Before(end), "it is not taken for dead")
	}
	close(stop)
	<-stopped
	bob.Send("here still")
	ada.Await(roomtest.Message("bob", "here still"))

	// What a room has saved is not readable: a process that starts has no room.
	require.NoError(t, rogue.nc.Publish("$KV.tcproom_default_state.lobby", []byte("nonsense")))
	order, err := roomnats.Open(t.Context(), rogue.nc, "lobby", usual(mine...)...)
	require.NoError(t, err)
	t.Cleanup(func() { order.Close() })
	late := tcproom.New(tcproom.WithLog(order), tcproom.WithLogger(notes.logger()))
	t.Cleanup(func() { late.Close() })
	notes.await(t, "not readable")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.Error(t, late.Ready(ctx))
	ada.Send("we go on")
	bob.Await(roomtest.Message("ada", "we go on"))

	// Bytes that no room has written end it everywhere.
	require.NoError(t, rogue.nc.Publish("tcproom.default.0.log.lobby", []byte("nonsense")))
	for _, srv := range at {
		select {
		case <-srv.Room.Done():
		case <-time.After(patience):
			t.Fatal("a room goes on")
		}
	}
	require.Error(t, ada.AwaitEnd())
	notes.await(t, "room ends: its log has a record that this version cannot read")
}

// leaseKeys returns the subjects of the leases that there are.
func leaseKeys(t testing.TB, s *natstest.Server) (subjects []string) {
	t.Helper()
	js, err := jetstream.New(dial(t, s.URL(), as("boss")))
	require.NoError(t, err)
	bucket, err := js.KeyValue(t.Context(), "tcproom_default_nodes")
	require.NoError(t, err)
	keys, err := bucket.Keys(t.Context())
	require.NoError(t, err)
	for _, key := range keys {
		subjects = append(subjects, "$KV.tcproom_default_nodes."+key)
	}
	return subjects
}
