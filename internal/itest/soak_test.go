//go:build linux

package itest

import (
	"os"
	"strconv"
	"testing"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/internal/testkit"
	"github.com/stretchr/testify/require"
)

// TestSoak has 100 clients come and go for TCPROOM_SOAK minutes, in one room, over
// links with faults: nothing may grow. Beside that room there is always a small one
// of the same kind. Its history is recorded and checked, and then the next begins:
// the history of the first would be what grows.
func TestSoak(t *testing.T) {
	minutes, err := strconv.ParseFloat(os.Getenv("TCPROOM_SOAK"), 64)
	if err != nil {
		t.Skip("takes as many minutes as TCPROOM_SOAK says")
	}
	requireNoneLeft(t)
	before := measure(t)
	c := newChaos(t, testkit.Dense, tcproom.Skip, 300*time.Millisecond)
	c.rec.forget, c.mortal = true, true
	c.begin(t, 100)
	lasts := time.Duration(minutes * float64(time.Minute))
	looks := max(12, int(minutes)) // one a minute
	policies := []tcproom.SlowPolicy{tcproom.Disconnect, tcproom.Skip, tcproom.Block(100 * time.Millisecond)}
	var seen []footprint
	checked, records, unsound := 0, 0, 0
	was := c.room.Stats()
	for i := range looks {
		ok := t.Run("small room", func(t *testing.T) {
			records += soakChecked(t, policies[i%len(policies)], lasts/time.Duration(looks))
		})
		if checked++; !ok {
			unsound++
		}
		seen = append(seen, measure(t))
		stats := c.room.Stats()
		if stats.Messages == was.Messages || stats.Joined == was.Joined {
			t.Errorf("nobody has sent anything, or nobody has joined, since the last look")
		}
		was = stats
		t.Logf("%v: %v; %d members, %d have joined; %d messages; %d of %d histories unsound",
			(lasts / time.Duration(looks) * time.Duration(i+1)).Round(time.Second), seen[i], stats.Members, stats.Joined, stats.Messages, unsound, checked)
	}
	c.finish(t)
	stats, after := c.room.Stats(), measure(t)

	// The first quarter warms up; then the second is compared with the last.
	second, last := mean(seen[looks/4:looks/2]), mean(seen[3*looks/4:])
	t.Logf(`summary of %v:
members: %d have joined, %d refused; left: %v
messages: %d of %d bytes; %d events skipped
before: %v
second quarter: %v
last quarter: %v
after: %v
checker: %d histories of small rooms with %d records, %d unsound`,
		lasts, stats.Joined, stats.Refused, stats.Left, stats.Messages, stats.Bytes, stats.Skipped, before, second, last, after, checked, records, unsound)
	require.Less(t, last.memory, second.memory+second.memory/5+4<<20)
	require.Less(t, last.goroutines, second.goroutines+second.goroutines/5+20)
	require.Less(t, last.descriptors, second.descriptors+second.descriptors/5+20)
}

// soakChecked has 20 clients come and go in a room for a while, and checks its
// history. It returns how many records that has.
func soakChecked(t *testing.T, policy tcproom.SlowPolicy, lasts time.Duration) (records int) {
	c := newChaos(t, testkit.Dense, policy, 300*time.Millisecond)
	c.begin(t, 20)
	select {
	case <-time.After(lasts): // how long they do it
	case <-c.watched:
		t.Error("the observer ended too early")
	}
	c.finish(t)
	requireSound(t, c.rec.history)
	require.NotZero(t, c.room.Stats().Messages)
	return len(c.rec.history)
}

func mean(fs []footprint) (m footprint) {
	for _, f := range fs {
		m.memory += f.memory
		m.goroutines += f.goroutines
		m.descriptors += f.descriptors
	}
	return footprint{m.memory / int64(len(fs)), m.goroutines / len(fs), m.descriptors / len(fs)}
}
