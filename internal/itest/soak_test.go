//go:build linux

package itest

import (
	"os"
	"strconv"
	"testing"
	"time"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// TestSoak has 100 clients come and go for TCPROOM_SOAK minutes, in one room, over
// links with faults: nothing may grow.
func TestSoak(t *testing.T) {
	minutes, err := strconv.ParseFloat(os.Getenv("TCPROOM_SOAK"), 64)
	if err != nil {
		t.Skip("takes as many minutes as TCPROOM_SOAK says")
	}
	requireNoneLeft(t)
	before := measure(t)
	c := newChaos(t, tcproom.Skip, 300*time.Millisecond)
	c.rec.forget = true
	c.begin(t, 100)
	lasts := time.Duration(minutes * float64(time.Minute))
	const looks = 60
	var seen []footprint
	tick := time.NewTicker(lasts / looks)
	defer tick.Stop()
	for range looks {
		<-tick.C
		seen = append(seen, measure(t))
		if n := len(seen); n%6 == 0 {
			t.Logf("%v: %v; %d have joined", lasts/looks*time.Duration(n), seen[n-1], c.room.Stats().Joined)
		}
	}
	c.finish(t)
	t.Logf("before: %v; after: %v", before, measure(t))

	// The first quarter warms up; then the second is compared with the last.
	second, last := mean(seen[looks/4:looks/2]), mean(seen[3*looks/4:])
	t.Logf("second quarter: %v; last quarter: %v", second, last)
	require.Less(t, last.memory, second.memory+second.memory/5+4<<20)
	require.Less(t, last.goroutines, second.goroutines+second.goroutines/5+20)
	require.Less(t, last.descriptors, second.descriptors+second.descriptors/5+20)
}

func mean(fs []footprint) (m footprint) {
	for _, f := range fs {
		m.memory += f.memory
		m.goroutines += f.goroutines
		m.descriptors += f.descriptors
	}
	return footprint{m.memory / int64(len(fs)), m.goroutines / len(fs), m.descriptors / len(fs)}
}
