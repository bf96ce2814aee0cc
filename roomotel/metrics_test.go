package roomotel_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomotel"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// A meter is an SDK that is read by hand.
type meter struct {
	reader   *sdkmetric.ManualReader
	provider *sdkmetric.MeterProvider
}

func newMeter(t testing.TB) meter {
	m := meter{reader: sdkmetric.NewManualReader()}
	m.provider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(m.reader))
	t.Cleanup(func() { require.NoError(t, m.provider.Shutdown(context.Background())) })
	return m
}

func (m meter) metrics(t testing.TB, opts ...roomotel.Option) *roomotel.Metrics {
	t.Helper()
	metrics, err := roomotel.New(m.provider.Meter("test"), opts...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, metrics.Close()) })
	return metrics
}

type samples map[string]float64

// read returns all that is observed, by name and attributes; of a histogram the count.
func (m meter) read(t testing.TB) samples {
	t.Helper()
	var data metricdata.ResourceMetrics
	require.NoError(t, m.reader.Collect(context.Background(), &data))
	got := make(samples)
	add := func(name string, set attribute.Set, v float64) {
		var list []string
		for _, kv := range set.ToSlice() {
			list = append(list, fmt.Sprintf("%s=%s", kv.Key, kv.Value.AsString()))
		}
		if len(list) > 0 {
			name += "{" + strings.Join(list, ",") + "}"
		}
		got[name] = v
	}
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch d := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range d.DataPoints {
					add(m.Name, p.Attributes, float64(p.Value))
				}
			case metricdata.Gauge[int64]:
				for _, p := range d.DataPoints {
					add(m.Name, p.Attributes, float64(p.Value))
				}
			case metricdata.Gauge[float64]:
				for _, p := range d.DataPoints {
					add(m.Name, p.Attributes, p.Value)
				}
			case metricdata.Histogram[float64]:
				for _, p := range d.DataPoints {
					add(m.Name, p.Attributes, float64(p.Count))
				}
			default:
				t.Fatalf("%s is a %T", m.Name, d)
			}
		}
	}
	return got
}

func (m meter) await(t testing.TB, what string, ok func(samples) bool) (got samples) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if got = m.read(t); ok(got) {
			return got
		}
		if time.Now().After(end) {
			t.Fatalf("not so: %s: %v", what, got)
		}
	}
}

func (s samples) has(t testing.TB, want samples) {
	t.Helper()
	got := make(samples)
	for name := range want {
		v, ok := s[name]
		require.True(t, ok, "there is no %s", name)
		got[name] = v
	}
	require.Equal(t, want, got)
}

// A peer is a member by TCP that speaks lines of text.
type peer struct {
	nc *net.TCPConn
	r  *bufio.Reader
}

func dial(t testing.TB, addr string) *peer {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	return &peer{nc.(*net.TCPConn), bufio.NewReader(nc)}
}

func (p *peer) await(t testing.TB, part string) {
	t.Helper()
	require.NoError(t, p.nc.SetReadDeadline(time.Now().Add(10*time.Second)))
	for {
		line, err := p.r.ReadString('\n')
		require.NoError(t, err)
		if strings.Contains(line, part) {
			return
		}
	}
}

func listen(t testing.TB, r interface {
	Serve(net.Listener, ...tcproom.ConnOption) error
	Close() error
}) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- r.Serve(l) }()
	t.Cleanup(func() { r.Close(); <-served })
	return l.Addr().String()
}

// TestMetricsOfRoom: what the SDK reads of a room with members by TCP is what they have
// done.
func TestMetricsOfRoom(t *testing.T) {
	m := newMeter(t)
	metrics := m.metrics(t)
	room := tcproom.New(metrics.HookTimer(), tcproom.WithSocketBuffers(0, 32<<10),
		tcproom.OnMessage(func(_ *tcproom.Member, b []byte) ([]byte, error) { return b, nil }))
	metrics.Add("lobby", room)
	addr := listen(t, room)
	ada, bob := dial(t, addr), dial(t, addr)
	bobIsIn := func(s samples) bool { return s["tcproom.members"] == 2 }
	m.await(t, "two are in", bobIsIn)
	fmt.Fprint(ada.nc, "hello\nagain\n")
	bob.await(t, "again")
	got := m.read(t)
	for _, room := range []struct{ prefix, suffix string }{{"tcproom.", ""}, {"tcproom.room.", "{tcproom.room=lobby}"}} {
		got.has(t, samples{
			room.prefix + "members" + room.suffix:       2,
			room.prefix + "joins" + room.suffix:         2,
			room.prefix + "messages" + room.suffix:      2,
			room.prefix + "message" + room.suffix:       10,
			room.prefix + "in" + room.suffix:            12,
			room.prefix + "slowest" + room.suffix:       0,
			room.prefix + "accept_errors" + room.suffix: 0,
			room.prefix + "log_gaps" + room.suffix:      0,
		})
	}
	got.has(t, samples{"tcproom.hook{tcproom.hook=OnMessage}": 2, "tcproom.leaves{tcproom.cause=slow}": 0})
	require.NotContains(t, got, "tcproom.hub.rooms")

	require.NoError(t, bob.nc.CloseWrite())
	m.await(t, "bob has left", func(s samples) bool { return s["tcproom.members"] == 1 }).has(t, samples{
		"tcproom.leaves{tcproom.cause=left}":                         1,
		"tcproom.room.leaves{tcproom.cause=left,tcproom.room=lobby}": 1,
	})
	require.NoError(t, ada.nc.SetReadBuffer(32<<10))
	for room.Stats().Backlog < 256<<10 { // ada reads nothing; that is more than her buffers hold
		_, err := room.Broadcast(context.Background(), []byte(strings.Repeat("x", 4<<10)))
		require.NoError(t, err)
	}
	slow := m.await(t, "ada waits", func(s samples) bool { return s["tcproom.slowest"] > 0 })
	slow.has(t, samples{"tcproom.waiting_members": 1, "tcproom.room.waiting_members{tcproom.room=lobby}": 1})
	require.NotZero(t, slow["tcproom.backlog"])

	require.NoError(t, room.Close())
	metrics.Remove(room)
	got = m.read(t)
	got.has(t, samples{"tcproom.joins": 2, "tcproom.members": 0, "tcproom.slowest": 0, "tcproom.leaves{tcproom.cause=left}": 1})
	require.NotContains(t, got, "tcproom.room.joins{tcproom.room=lobby}")
}

// TestMetricsOfHub: connections are counted as such, and members by room and together,
// also of rooms that are gone; the largest rooms are told apart.
func TestMetricsOfHub(t *testing.T) {
	m := newMeter(t)
	metrics := m.metrics(t, roomotel.WithRoomLimit(1))
	h := tcproom.NewHub(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithRoomLinger(-1), tcproom.WithRoom("lobby"), tcproom.WithRoom("attic"))
	t.Cleanup(func() { h.Close(); <-h.Done() })
	metrics.AddHub(h)
	for _, rooms := range [][]string{{"lobby", "cellar"}, {"lobby"}} {
		conn, err := h.Join(t.Context(), "", tcproom.Identity{}, tcproom.InRooms(rooms...))
		require.NoError(t, err)
		defer conn.Close()
	}
	cellar, ok := h.Lookup("cellar")
	require.True(t, ok)
	_, err := cellar.Broadcast(t.Context(), []byte("12345"))
	require.NoError(t, err)
	got := m.read(t)
	got.has(t, samples{
		"tcproom.members": 3, "tcproom.room.members{tcproom.room=lobby}": 2, "tcproom.messages": 1, "tcproom.message": 5,
		"tcproom.hub.connections": 2, "tcproom.hub.rooms": 3,
	})
	require.NotContains(t, got, "tcproom.room.members{tcproom.room=attic}")
	require.NotContains(t, got, "tcproom.room.members{tcproom.room=cellar}")
	require.NoError(t, h.Remove("cellar", ""))
	m.await(t, "it is gone", func(s samples) bool { return s["tcproom.hub.rooms_removed"] == 1 }).has(t, samples{
		"tcproom.members": 2, "tcproom.messages": 1, "tcproom.leaves{tcproom.cause=removed}": 1, "tcproom.hub.rooms_made": 3,
	})
	metrics.RemoveHub(h)
	m.read(t).has(t, samples{"tcproom.members": 0, "tcproom.joins": 3, "tcproom.hub.rooms": 0, "tcproom.hub.rooms_made": 3})
}
