package roomprom_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"example.com/tcproom"
	"example.com/tcproom/roomprom"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// enter has the member of a connection enter a room.
func enter(t testing.TB, h *tcproom.Hub, name, room string) *tcproom.Member {
	t.Helper()
	for m := range h.All().Members() {
		if m.Name() == name {
			part, err := h.Enter(context.Background(), m, room)
			require.NoError(t, err)
			return part
		}
	}
	t.Fatalf("%s is not there", name)
	return nil
}

// join has a new connection in the hub, in those rooms, of which nothing is read but
// kept.
func join(t testing.TB, h *tcproom.Hub, name string, rooms ...string) *tcproom.Conn {
	t.Helper()
	conn, err := h.Join(context.Background(), "", tcproom.Identity{Name: name}, tcproom.InRooms(rooms...))
	require.NoError(t, err)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for range conn.Events(context.Background()) {
		}
	}()
	t.Cleanup(func() { conn.Close(); <-read })
	return conn
}

func newHub(t testing.TB, opts ...tcproom.HubOption) *tcproom.Hub {
	h := tcproom.NewHub(append([]tcproom.HubOption{tcproom.WithCodec(tcproom.JSON{}), tcproom.WithRoomLinger(-1)}, opts...)...)
	t.Cleanup(func() { h.Close(); <-h.Done() })
	return h
}

func broadcast(t testing.TB, m *tcproom.Member, body string) {
	t.Helper()
	_, err := m.Room().Broadcast(context.Background(), []byte(body))
	require.NoError(t, err)
}

// TestScrapeOfHub: connections are counted as such, and members by room and together.
func TestScrapeOfHub(t *testing.T) {
	metrics := roomprom.New()
	h := newHub(t, metrics.HookTimer(), tcproom.WithRoom("lobby"), tcproom.OnConnect(func(*tcproom.Member) error { return nil }))
	metrics.AddHub(h)
	at := serve(t, metrics)
	addr := listen(t, h, 1)
	ada, bob := dial(t, addr, "ada"), dial(t, addr, "bob")
	ada.await(t, "welcome", "")
	bob.await(t, "welcome", "")
	join(t, h, "eve", "lobby", "attic")
	attic := enter(t, h, "eve", "attic") // it is in there
	broadcast(t, attic, "12345")
	_, err := h.Move(context.Background(), attic, "cellar")
	require.NoError(t, err)
	require.NoError(t, ada.nc.CloseWrite())
	got := at.await(t, "ada and the attic are gone", func(s samples) bool {
		return s["tcproom_hub_connections"] == 2 && s["tcproom_hub_rooms"] == 2 && s[`tcproom_room_members{room="lobby"}`] == 2
	})
	got.has(t, samples{
		"tcproom_members":                                      3,
		`tcproom_room_members{room="lobby"}`:                   2,
		`tcproom_room_members{room="cellar"}`:                  1,
		"tcproom_joins_total":                                  5,
		`tcproom_room_joins_total{room="lobby"}`:               3,
		`tcproom_leaves_total{cause="left"}`:                   1,
		`tcproom_leaves_total{cause="moved"}`:                  1,
		"tcproom_messages_total":                               1,
		"tcproom_message_bytes_total":                          5,
		"tcproom_accept_errors_total":                          1,
		"tcproom_hub_connects_total":                           3,
		`tcproom_hub_disconnects_total{cause="left"}`:          1,
		"tcproom_hub_rooms_made_total":                         3,
		"tcproom_hub_rooms_removed_total":                      1,
		"tcproom_hub_moves_total":                              1,
		"tcproom_hub_waiting_connections":                      0,
		`tcproom_hook_seconds{hook="OnConnect"}`:               3,
		`tcproom_room_leaves_total{cause="left",room="lobby"}`: 1,
	})
	require.NotContains(t, got, `tcproom_room_members{room="attic"}`)
	require.NotContains(t, got, `tcproom_room_members{room="*"}`)

	metrics.RemoveHub(h)
	after := at.scrape(t)
	after.has(t, samples{
		"tcproom_members": 0, "tcproom_joins_total": 5, "tcproom_messages_total": 1, `tcproom_leaves_total{cause="left"}`: 1,
		"tcproom_hub_connections": 0, "tcproom_hub_connects_total": 3, "tcproom_hub_rooms_made_total": 3,
	})
	require.NotContains(t, after, `tcproom_room_members{room="lobby"}`)
}

// TestToldApart: the rooms with the most members have series of their own, as many as may
// be.
func TestToldApart(t *testing.T) {
	h := newHub(t)
	for i, name := range []string{"ada", "bob", "eve"} {
		join(t, h, name, []string{"all", "two", "one"}[:3-i]...)
	}
	for _, tt := range []struct {
		name string
		opts []roomprom.Option
		want []string
	}{
		{name: "default", want: []string{"all", "one", "two"}},
		{name: "two", opts: []roomprom.Option{roomprom.WithRoomLimit(2)}, want: []string{"all", "two"}},
		{name: "none", opts: []roomprom.Option{roomprom.WithRoomLimit(-1)}},
		{name: "some", opts: []roomprom.Option{roomprom.WithRooms(func(name string) bool { return name != "all" })}, want: []string{"one", "two"}},
		{name: "one of some", opts: []roomprom.Option{roomprom.WithRoomLimit(1), roomprom.WithRooms(func(name string) bool { return name != "all" })}, want: []string{"two"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			metrics := roomprom.New(tt.opts...)
			metrics.AddHub(h)
			got := serve(t, metrics).scrape(t)
			require.Equal(t, 6.0, got["tcproom_members"])
			var rooms []string
			for _, name := range []string{"all", "one", "two"} {
				if _, ok := got[fmt.Sprintf("tcproom_room_members{room=%q}", name)]; ok {
					rooms = append(rooms, name)
				}
			}
			require.Equal(t, tt.want, rooms)
		})
	}
}

// TestTotalsOutliveRooms: totals do not fall when a large room is removed, and not when
// one of its name begins again with zeros, nor when rooms are taken out of the collector.
func TestTotalsOutliveRooms(t *testing.T) {
	h := newHub(t, tcproom.WithRoom("lobby"))
	metrics := roomprom.New()
	metrics.AddHub(h)
	at := serve(t, metrics)
	join(t, h, "ada", "lobby")
	for range 5 {
		broadcast(t, enter(t, h, "ada", "big"), "hi")
	}
	at.scrape(t).has(t, samples{"tcproom_messages_total": 5, `tcproom_room_messages_total{room="big"}`: 5})
	require.NoError(t, h.Remove("big", ""))
	got := at.await(t, "it is gone", func(s samples) bool { return s["tcproom_hub_rooms_removed_total"] == 1 })
	got.has(t, samples{"tcproom_messages_total": 5, `tcproom_leaves_total{cause="removed"}`: 1})
	require.NotContains(t, got, `tcproom_room_messages_total{room="big"}`)
	broadcast(t, enter(t, h, "ada", "big"), "hi")
	at.scrape(t).has(t, samples{"tcproom_messages_total": 6, `tcproom_room_messages_total{room="big"}`: 1})

	solo := tcproom.New()
	metrics.Add("solo", solo)
	metrics.Add("twice", solo)
	_, err := solo.Broadcast(context.Background(), []byte("hi"))
	require.NoError(t, err)
	got = at.scrape(t)
	got.has(t, samples{"tcproom_messages_total": 7, `tcproom_room_messages_total{room="solo"}`: 1})
	require.NotContains(t, got, `tcproom_room_messages_total{room="twice"}`)
	require.NoError(t, solo.Close())
	metrics.Remove(solo)
	metrics.Remove(solo)
	got = at.scrape(t)
	got.has(t, samples{"tcproom_messages_total": 7})
	require.NotContains(t, got, `tcproom_room_messages_total{room="solo"}`)
}

// TestNamesOfRooms: whatever rooms are called, a scrape works, and each name has one
// series.
func TestNamesOfRooms(t *testing.T) {
	h := newHub(t, tcproom.WithRoom("lobby"))
	metrics := roomprom.New()
	rooms := make([]*tcproom.Room, 5)
	for i, name := range []string{"lobby", "", "a\xffb", "a\xfeb", "quote\"\n\\"} {
		rooms[i] = tcproom.New()
		defer rooms[i].Close()
		_, err := rooms[i].Broadcast(context.Background(), []byte(name))
		require.NoError(t, err)
		metrics.Add(name, rooms[i])
	}
	metrics.AddHub(h)
	got := serve(t, metrics).scrape(t)
	got.has(t, samples{
		"tcproom_messages_total":                          5,
		`tcproom_room_messages_total{room="lobby"}`:       1,
		"tcproom_room_messages_total{room=\"a\uFFFDb\"}":  1,
		`tcproom_room_messages_total{room="quote\"\n\\"}`: 1,
	})
	n := 0
	for name := range got {
		if strings.HasPrefix(name, "tcproom_room_messages_total") {
			n++
		}
	}
	require.Equal(t, 3, n)
}

// TestScrapesAtOnce: totals never fall, whoever asks, while rooms are made, grow, shrink
// and are removed.
func TestScrapesAtOnce(t *testing.T) {
	h := newHub(t)
	metrics := roomprom.New(roomprom.WithRoomLimit(2))
	metrics.AddHub(h)
	at := serve(t, metrics)
	for i := range 3 {
		join(t, h, fmt.Sprint("p", i), "stays")
	}
	stop := make(chan struct{})
	var scraping, moving sync.WaitGroup
	for range 2 {
		scraping.Go(func() {
			var last samples
			for {
				got := at.scrape(t)
				for name, v := range last {
					if strings.Contains(name, "_total") && !strings.Contains(name, "_room_") && got[name] < v {
						t.Errorf("%s went from %v to %v", name, v, got[name])
					}
				}
				last = got
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for i := range 3 {
		moving.Go(func() {
			for n := range 100 {
				part := enter(t, h, fmt.Sprint("p", i), fmt.Sprint("r", (i+n)%5))
				broadcast(t, part, "hi")
				if err := h.Leave(part, ""); err != nil {
					t.Error(err)
				}
			}
		})
	}
	moving.Wait()
	close(stop)
	scraping.Wait()
	at.await(t, "all rooms but one are gone", func(s samples) bool { return s["tcproom_hub_rooms"] == 1 }).
		has(t, samples{"tcproom_messages_total": 300, "tcproom_joins_total": 303, "tcproom_members": 3})
}

// TestLint: names and help are as Prometheus wants them.
func TestLint(t *testing.T) {
	h := newHub(t, tcproom.WithRoom("lobby"))
	metrics := roomprom.New()
	metrics.AddHub(h)
	reg := prometheus.NewPedanticRegistry()
	require.NoError(t, reg.Register(metrics))
	problems, err := testutil.GatherAndLint(reg)
	require.NoError(t, err)
	require.Empty(t, problems)
	second := prometheus.WrapRegistererWith(prometheus.Labels{"hub": "second"}, prometheus.NewRegistry())
	require.NoError(t, second.Register(roomprom.New()))
}
