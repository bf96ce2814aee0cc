package roomprom_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"example.com/tcproom"
	"example.com/tcproom/roomprom"
	"github.com/stretchr/testify/require"
)

// TestScrapeOfRoom: what a Prometheus server gets of a room with members by TCP is what
// they have done.
func TestScrapeOfRoom(t *testing.T) {
	metrics := roomprom.New()
	room := tcproom.New(metrics.HookTimer(), tcproom.WithCodec(tcproom.JSON{}),
		tcproom.OnMessage(func(_ *tcproom.Member, b []byte) ([]byte, error) { return b, nil }))
	metrics.Add("lobby", room)
	at := serve(t, metrics)
	addr := listen(t, room, 2)

	ada, bob := dial(t, addr, "ada"), dial(t, addr, "bob")
	ada.await(t, "welcome", "")
	bob.await(t, "welcome", "")
	for i := range 3 {
		ada.say(t, fmt.Sprint("hello ", i))
		bob.await(t, "message", fmt.Sprint("hello ", i))
	}
	eve := dial(t, addr, "eve")
	eve.await(t, "welcome", "")
	eve.nc.CloseWrite()
	mal := dial(t, addr, "mal")
	mal.await(t, "welcome", "")
	for m := range room.Members() {
		if m.Name() == "mal" {
			m.Kick("enough")
		}
	}
	web, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer web.Close()
	fmt.Fprint(web, "GET / HTTP/1.1\r\n\r\n")
	mute, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer mute.Close()

	got := at.await(t, "all of that is counted", func(s samples) bool {
		return s["tcproom_members"] == 2 && s["tcproom_refused_total"] == 1 && s["tcproom_pending_connections"] == 1
	})
	for _, tt := range []struct{ prefix, room string }{{"tcproom_", ""}, {"tcproom_room_", `room="lobby"`}} {
		one := "{" + tt.room + "}"
		if tt.room == "" {
			one = ""
		}
		by := func(cause string) string {
			return tt.prefix + "leaves_total{" + strings.Trim(fmt.Sprintf("cause=%q,%s", cause, tt.room), ",") + "}"
		}
		got.has(t, samples{
			tt.prefix + "members" + one:             2,
			tt.prefix + "detached_members" + one:    0,
			tt.prefix + "pending_connections" + one: 1,
			tt.prefix + "waiting_members" + one:     0,
			tt.prefix + "backlog_bytes" + one:       0,
			tt.prefix + "slowest_seconds" + one:     0,
			tt.prefix + "joins_total" + one:         4,
			tt.prefix + "resumes_total" + one:       0,
			tt.prefix + "refused_total" + one:       1,
			tt.prefix + "messages_total" + one:      3,
			tt.prefix + "message_bytes_total" + one: float64(3 * len("hello 0")),
			tt.prefix + "skipped_total" + one:       0,
			tt.prefix + "in_bytes_total" + one:      float64(ada.sent.Load()),
			tt.prefix + "accept_errors_total" + one: 2,
			tt.prefix + "log_gaps_total" + one:      0,
			by("left"):                              1,
			by("kicked"):                            1,
		})
	}
	got.has(t, samples{`tcproom_hook_seconds{hook="OnMessage"}`: 3, `tcproom_leaves_total{cause="slow"}`: 0})
	require.NotContains(t, got, "tcproom_hub_rooms")
	require.NotContains(t, got, `tcproom_room_leaves_total{cause="slow",room="lobby"}`)
}

// TestBytesAreThoseOfTheWire: the room counts what its members have sent and received, to
// the byte.
func TestBytesAreThoseOfTheWire(t *testing.T) {
	metrics := roomprom.New()
	room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithHistory(tcproom.History{Messages: 10}))
	metrics.Add("lobby", room)
	at := serve(t, metrics)
	addr := listen(t, room, 0)
	ada := dial(t, addr, "ada")
	ada.await(t, "welcome", "")
	for i := range 20 {
		ada.say(t, fmt.Sprint(i))
	}
	at.await(t, "all are ordered", func(s samples) bool { return s["tcproom_messages_total"] == 20 })
	bob := dial(t, addr, "bob")
	bob.await(t, "message", "19") // of the history
	bob.say(t, strings.Repeat("x", 10_000))
	bob.say(t, "last")
	ada.await(t, "message", "last")
	require.Zero(t, ada.r.Buffered()+bob.r.Buffered())
	got := at.await(t, "the last is counted", func(s samples) bool {
		return s["tcproom_out_bytes_total"] >= float64(ada.in.Load()+bob.in.Load())
	})
	got.has(t, samples{
		"tcproom_in_bytes_total":  float64(ada.sent.Load() + bob.sent.Load()),
		"tcproom_out_bytes_total": float64(ada.in.Load() + bob.in.Load()),
		"tcproom_delivered_total": 3, // to ada: bob's join and his messages; history is none
	})
}

// TestScrapeOfSlowMember: a member that does not read is there to be seen, and goes with
// its cause.
func TestScrapeOfSlowMember(t *testing.T) {
	metrics := roomprom.New()
	room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSocketBuffers(0, 32<<10),
		tcproom.WithSlowMembers(tcproom.Disconnect))
	metrics.Add("lobby", room)
	at := serve(t, metrics)
	addr := listen(t, room, 0)
	slow := dial(t, addr, "slow")
	require.NoError(t, slow.nc.SetReadBuffer(32<<10))
	slow.await(t, "welcome", "")
	body := []byte(strings.Repeat("x", 4<<10))
	said := 0
	say := func() {
		_, err := room.Broadcast(context.Background(), body)
		require.NoError(t, err)
		said++
	}
	// The connection may take more at any time, but no more than its buffers hold.
	lag := func(s samples) (bytes, seconds float64) {
		return s["tcproom_backlog_bytes"], s["tcproom_slowest_seconds"]
	}
	behind := func(bytes int) {
		for room.Stats().Backlog < bytes {
			say()
		}
	}
	behind(256 << 10)
	first := at.await(t, "it waits", func(s samples) bool { return s["tcproom_slowest_seconds"] > 0 })
	first.has(t, samples{"tcproom_waiting_members": 1, `tcproom_room_waiting_members{room="lobby"}`: 1})
	bytes, seconds := lag(first)
	require.Positive(t, bytes)
	require.Equal(t, bytes, first[`tcproom_room_backlog_bytes{room="lobby"}`])
	behind(int(bytes) + 256<<10)
	at.await(t, "it waits for longer, and is further behind", func(s samples) bool {
		more, longer := lag(s)
		return more > bytes && longer > seconds
	})
	for room.Len() > 0 {
		say()
	}
	at.await(t, "it is gone", func(s samples) bool { return s["tcproom_members"] == 0 }).has(t, samples{
		"tcproom_waiting_members": 0, "tcproom_backlog_bytes": 0, "tcproom_slowest_seconds": 0,
		`tcproom_leaves_total{cause="slow"}`: 1, "tcproom_messages_total": float64(said),
	})
}
