package roomnats_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomnats"
	"example.com/tcproom/roomnats/natstest"
	"example.com/tcproom/roomtest"
)

// What a room gets of the bad days of one server, and of the ways to it.

// A message is said once if the server has stored it and the answer was lost, and if it
// was lost itself.
func TestRoomAnswersLost(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*natstest.Forwarder){
		"stored": (*natstest.Forwarder).SwallowAnswers, "not stored": (*natstest.Forwarder).Swallow,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := newSites(t, natstest.Solo(t), 2, settings{})
			ada, bob := at[0].Join("ada"), at[1].Join("bob")
			ada.Await(roomtest.Joined("bob"))
			lose(at[0].way)
			body, before := strings.Repeat("x", 2000), at[0].nc.Stats().OutBytes
			ada.SendAsync(body)
			require.Eventually(t, func() bool { return at[0].nc.Stats().OutBytes >= before+2000 }, patience, time.Millisecond)
			if name == "stored" {
				bob.Await(roomtest.Message("ada", body))
			} else {
				bob.Refute(roomtest.Any(tcproom.Message))
			}
			at[0].way.Heal()
			ada.Send("after")
			if name != "stored" {
				bob.Await(roomtest.Message("ada", body))
			}
			bob.Await(roomtest.Message("ada", "after"))
			for _, srv := range at {
				require.Equal(t, 1, said(srv.Server, body))
			}
		})
	}
}

// While the server is away for a moment members and newcomers wait.
func TestRoomServerAway(t *testing.T) {
	t.Parallel()
	s := natstest.Solo(t)
	at := newSites(t, s, 2, settings{})
	ada, bob := at[0].Join("ada"), at[1].Join("bob")
	ada.Await(roomtest.Joined("bob"))
	s.Stop()
	ada.SendAsync("meanwhile")
	cy := make(chan error, 1)
	go func() { _, err := at[0].TryJoin("cy"); cy <- err }()
	bob.Refute(roomtest.Any(tcproom.Message, tcproom.Join))
	s.Start()
	require.NoError(t, <-cy)
	// Either may have come to the room first.
	require.Eventually(t, func() bool { return said(at[1].Server, "meanwhile") == 1 && at[1].Room.Len() == 3 }, patience, time.Millisecond)
	bob.Send("still here")
	ada.Await(roomtest.Message("bob", "still here"))
	bob.Refute(roomtest.Any(tcproom.Leave, tcproom.Gap))
	require.Equal(t, 1, said(at[0].Server, "meanwhile"))
}

// If it is away for longer members are sent away and newcomers refused. All come back when
// it does, and no process is taken for dead, though all leases have ended.
func TestRoomServerAwayForLong(t *testing.T) {
	t.Parallel()
	// Within a lease behind the one that is back first the other has to renew its own, and
	// its client tries again after up to half a second.
	timed(t, 3*time.Second/2, testServerAwayForLong)
}

func testServerAwayForLong(t testing.TB, lease time.Duration) {
	s := natstest.Solo(t)
	at := newSites(t, s, 2, settings{log: []roomnats.Option{roomnats.Lease(lease)}, room: []tcproom.RoomOption{
		tcproom.WithSessions(tcproom.Sessions{}), tcproom.WithMaxOutage(3 * lease / 2), tcproom.WithHandshakeTimeout(lease),
	}})
	var nodes [2]string
	for i, srv := range at {
		nodes[i] = nodeOf(t, srv.Server)
	}
	ada, bob := at[0].Join("ada"), at[1].Join("bob")
	ada.Await(roomtest.Joined("bob"))
	s.Stop()
	_, err := at[0].TryJoin("cy")
	refused, ok := errors.AsType[*tcproom.RefusedError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, tcproom.ErrUnavailable, refused.Cause)
	require.ErrorIs(t, ada.AwaitEnd(), tcproom.ErrUnavailable)
	require.ErrorIs(t, bob.AwaitEnd(), tcproom.ErrUnavailable)
	// One is back before the other, and does not judge that yet.
	at[1].way.Cut()
	s.Start()
	require.Eventually(t, at[0].nc.IsConnected, patience, time.Millisecond)
	at[1].way.Heal()
	for i, srv := range at {
		ready(t, srv.Server)
		// Each at the other one.
		old := []*roomtest.Member{bob, ada}[i]
		require.Equal(t, "resumed", srv.Resume(old).Welcome.Welcome.Outcome)
	}
	again := at[0].Join("dan")
	again.RefuteFor(3*lease/2, roomtest.Left("ada"), roomtest.Left("bob")) // for as long as it takes to declare somebody dead
	for i, srv := range at {
		require.Equal(t, nodes[i], nodeOf(t, srv.Server))
		require.Zero(t, leaves(srv.Server, "ada")+leaves(srv.Server, "bob"))
		// The join of cy may have been ordered when the server was back; then so is its leave.
		require.Eventually(t, func() bool { return srv.Room.Len() == 3 }, patience, time.Millisecond)
	}
}

// A log in memory is lost with its server. Members learn of it, at once if somebody there
// says something and else soon, and get all that is said from then on.
func TestRoomLogLost(t *testing.T) {
	t.Parallel()
	for name, outage := range map[string]time.Duration{"somebody speaks": 4 * patience, "nobody speaks": 3 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := natstest.Solo(t)
			// A third of the lease is how often a room looks if its log is silent.
			at := newSites(t, s, 2, settings{log: []roomnats.Option{roomnats.Memory(), roomnats.Lease(3 * time.Second)}, room: []tcproom.RoomOption{
				tcproom.WithSessions(tcproom.Sessions{}), tcproom.WithMaxOutage(outage),
			}})
			ada, bob := record(t, "ada", at...), record(t, "bob", at[1], at[0])
			_, welcome := ada.welcome(anyWelcome)
			first := welcome.Welcome.Epoch
			bob.welcome(anyWelcome)
			for _, body := range numbered("before", 0, 20) {
				require.NoError(t, ada.Send(t.Context(), []byte(body)))
			}
			bob.awaitMessage("before19")
			s.Restart()
			if name == "somebody speaks" { // at each process: one that is silent waits
				for _, srv := range at {
					srv.Room.Broadcast(t.Context(), []byte("is anybody there?"))
				}
			}
			testAfterLoss(t, first, ada, bob)
		})
	}
}

// testAfterLoss checks what two clients get in another epoch than the first.
func testAfterLoss(t *testing.T, first string, ada, bob *tape) {
	t.Helper()
	var epochs [2]string
	var from [2]int
	for i, tp := range []*tape{ada, bob} {
		at, welcome := tp.welcome(func(w *tcproom.WelcomeInfo) bool { return w.Epoch != first })
		from[i], epochs[i] = at, welcome.Welcome.Epoch
	}
	require.Equal(t, epochs[0], epochs[1])
	// Whichever came first is told of the other's join, and that finds it in its list.
	for i, tp := range []*tape{ada, bob} {
		other := []string{"bob", "ada"}[i]
		require.Eventually(t, func() bool {
			for _, ev := range tp.all()[from[i]:] {
				if ev.Kind == tcproom.Join && ev.From.Name == other {
					return true
				}
				if ev.Kind == tcproom.Welcome && slices.ContainsFunc(ev.Welcome.Members, func(m tcproom.MemberInfo) bool { return m.Name == other }) {
					return true
				}
			}
			return false
		}, patience, time.Millisecond)
	}
	for _, body := range numbered("after", 0, 20) {
		require.NoError(t, ada.Send(t.Context(), []byte(body)))
		require.NoError(t, bob.Send(t.Context(), []byte(body)))
	}
	for i, tp := range []*tape{ada, bob} {
		tp.awaitMessage("after19")
		var got []string
		for _, ev := range tp.all()[from[i]:] {
			if ev.Kind == tcproom.Message && ev.From.Name != "" {
				got = append(got, string(ev.Body))
			}
		}
		require.Equal(t, numbered("after", 0, 20), got)
	}
}

// A process that was away for longer than the log keeps what is said goes on from what the
// room has saved, and its members are told what they have missed.
func TestRoomBehindTheLog(t *testing.T) {
	t.Parallel()
	at := newSites(t, natstest.Solo(t), 2, settings{
		log: []roomnats.Option{roomnats.MaxRecords(100)}, room: []tcproom.RoomOption{tcproom.WithSessions(tcproom.Sessions{})},
	})
	bob := record(t, "bob", at[1])
	bob.welcome(anyWelcome)
	sent := make(map[uint64]string)
	say := func(what string, n int) {
		for _, body := range numbered(what, 0, n) {
			seq, err := at[0].Room.Broadcast(t.Context(), []byte(body))
			require.NoError(t, err)
			sent[seq] = body
		}
	}
	say("before", 60)
	bob.awaitMessage("before59")
	at[1].way.Cut()
	say("meanwhile", 180)
	at[1].way.Heal()
	_, ev := bob.await("the gap", func(ev tcproom.Event) bool { return ev.Kind == tcproom.Gap })
	gap := ev.Gap
	say("after", 20)
	bob.awaitMessage("after19")
	missed := 0
	got := make(map[uint64]string)
	for _, ev := range bob.all() {
		if ev.Kind == tcproom.Message {
			got[ev.Seq] = string(ev.Body)
		}
	}
	for seq, body := range sent {
		if gap.First <= seq && seq <= gap.Last {
			missed++
			require.NotContains(t, got, seq, "it is in the gap %+v", gap)
			continue
		}
		require.Equal(t, body, got[seq], "it is not in the gap %+v", gap)
	}
	require.Len(t, got, len(sent)-missed)
	require.Greater(t, missed, 100)
}

// Of those who were at a process that died, one leaves once, when lease and grace are over,
// and another one, who has resumed, not at all.
func TestRoomWhoseNodeDies(t *testing.T) {
	t.Parallel()
	timed(t, time.Second, testNodeDies)
}

func testNodeDies(t testing.TB, unit time.Duration) {
	lease, grace := unit, unit
	at := newSites(t, natstest.Solo(t), 3, settings{
		log: []roomnats.Option{roomnats.Lease(lease)}, room: []tcproom.RoomOption{tcproom.WithSessions(tcproom.Sessions{Grace: grace})},
	})
	ada, bob, cy := at[0].Join("ada"), at[1].Join("bob"), at[1].Join("cy")
	ada.Await(roomtest.Joined("cy"))
	bob.Send("I am here")
	died := time.Now()
	at[1].nc.Close()
	cy = at[2].Resume(cy)
	require.Equal(t, "resumed", cy.Welcome.Welcome.Outcome)
	cy.Send("so am I")
	ada.Await(roomtest.Message("cy", "so am I"))
	left := ada.Await(roomtest.Left("bob"))
	require.GreaterOrEqual(t, left.Time.Sub(died), grace)
	cy.RefuteFor(3*grace/2, roomtest.Left("cy"))
	for _, srv := range []*site{at[0], at[2]} {
		require.Eventually(t, func() bool { return srv.Room.Len() == 2 }, patience, time.Millisecond)
		require.Equal(t, 1, leaves(srv.Server, "bob"))
		require.Zero(t, leaves(srv.Server, "cy"))
	}
}

// A numbered message whose process died before it could say that it is ordered is sent
// again at another one, and ordered once.
func TestRoomNumbersOnce(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*natstest.Forwarder){
		"ordered": (*natstest.Forwarder).SwallowAnswers, "not ordered": (*natstest.Forwarder).Swallow,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := newSites(t, natstest.Solo(t), 2, settings{room: []tcproom.RoomOption{tcproom.WithSessions(tcproom.Sessions{})}})
			bob, ada := at[1].Join("bob"), record(t, "ada", at...)
			ada.welcome(anyWelcome)
			bob.Await(roomtest.Joined("ada"))
			lose(at[0].way)
			before, done := at[0].nc.Stats().OutBytes, make(chan error, 1)
			body := strings.Repeat("x", 2000)
			go func() { _, err := ada.SendAcked(t.Context(), []byte(body)); done <- err }()
			require.Eventually(t, func() bool { return at[0].nc.Stats().OutBytes >= before+2000 }, patience, time.Millisecond)
			if name == "ordered" {
				bob.Await(roomtest.Message("ada", body))
			}
			require.Empty(t, done)
			at[0].nc.Close()
			ada.lose("site:1")
			require.NoError(t, <-done)
			_, err := ada.SendAcked(t.Context(), []byte("after"))
			require.NoError(t, err)
			bob.Await(roomtest.Message("ada", "after"))
			require.Equal(t, 1, said(at[1].Server, body))
			ada.welcome((*tcproom.WelcomeInfo).Resumed)
			bob.Refute(roomtest.Any(tcproom.Leave))
			require.Equal(t, 2, at[1].Room.Len())
		})
	}
}
