package roomprom_test

import (
	"testing"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomprom"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// TestBuckets: a hook's time is in the bucket that it belongs to.
func TestBuckets(t *testing.T) {
	metrics := roomprom.New(roomprom.WithBuckets(.01, 100))
	room := tcproom.New(metrics.HookTimer(), tcproom.OnJoin(func(*tcproom.Member) error {
		time.Sleep(20 * time.Millisecond) // the hook takes so long, and nothing waits for it
		return nil
	}))
	defer room.Close()
	conn, err := room.Join(t.Context(), tcproom.Identity{})
	require.NoError(t, err)
	defer conn.Close()
	registry := prometheus.NewRegistry()
	require.NoError(t, registry.Register(metrics))
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() != "tcproom_hook_seconds" {
			continue
		}
		require.Len(t, f.Metric, 1)
		h := f.Metric[0].Histogram
		require.Len(t, h.Bucket, 2)
		require.Equal(t, []uint64{0, 1}, []uint64{h.Bucket[0].GetCumulativeCount(), h.Bucket[1].GetCumulativeCount()})
		require.GreaterOrEqual(t, h.GetSampleSum(), .02)
		return
	}
	t.Fatal("no hook was timed")
}
