package logtest

import (
	"os"
	"os/exec"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
)

// memory makes engines in memory, of whose nodes breaks may make others.
func memory(caps func(*tcproom.Caps), breaks func(node int, b tcproom.Backplane) tcproom.Backplane) Factory {
	var log *roomtest.Log
	var nodes []*roomtest.Backplane
	return Factory{
		Open: func(t testing.TB) func() tcproom.Backplane {
			log, nodes = roomtest.NewLog(caps), nil
			return func() tcproom.Backplane {
				b := log.Attach()
				nodes = append(nodes, b)
				return breaks(len(nodes)-1, b)
			}
		},
		Bubble: true,
		Restart: func(testing.TB) {
			log.Stop()
			log.Start()
		},
		Cut: func(_ testing.TB, node int) (heal func()) {
			nodes[node].Cut()
			return nodes[node].Heal
		},
		Trim: func(_ testing.TB, room string, n int) { log.Trim(room, n) },
		Wipe: func(_ testing.TB, room string) { log.Replace(room) },
	}
}

func usual(*tcproom.Caps) {}

func whole(_ int, b tcproom.Backplane) tcproom.Backplane { return b }

func TestMemory(t *testing.T) {
	t.Parallel()
	Run(t, memory(usual, whole))
}

// An engine that is not durable, and whose faults cannot be called.
func TestMemoryNotDurable(t *testing.T) {
	t.Parallel()
	f := memory(func(c *tcproom.Caps) { c.Durable = false }, whole)
	f.Cut, f.Trim = nil, nil
	Run(t, f)
}

// In real time, where the lease is short.
func TestMemoryOutsideBubble(t *testing.T) {
	t.Parallel()
	const lease = 600 * time.Millisecond
	f := memory(func(c *tcproom.Caps) { c.Lease = lease }, whole)
	f.Bubble, f.Lease = false, lease
	Run(t, f)
}

// With connections that are slow.
func TestMemorySlow(t *testing.T) {
	t.Parallel()
	Run(t, memory(usual, func(_ int, b tcproom.Backplane) tcproom.Backplane {
		b.(*roomtest.Backplane).Delay(5 * time.Millisecond)
		return b
	}))
}

// With connections that stall, rather than fail.
func TestMemoryStalls(t *testing.T) {
	t.Parallel()
	v := violation{factory: stalls}
	Run(t, v.Factory())
}

// An engine whose positions go on in another list is none that has to end its Tails.
func TestPositionsMayGoOn(t *testing.T) {
	f := memory(usual, whole)
	f.Wipe = func(t testing.TB, room string) { f.Trim(t, room, 1<<20) }
	synctest.Test(t, func(t *testing.T) {
		require.NoError(t, rowOf(t, "C5 wipe").run(t, f))
	})
}

// A row that lacks a fault, or makes no sense for an engine, says so.
func TestSkips(t *testing.T) {
	var f Factory
	require.Equal(t, "Wipe", rowOf(t, "C5 wipe").lacks(f))
	require.Empty(t, rowOf(t, "C5 from").lacks(f))
	f = memory(func(c *tcproom.Caps) { c.Durable = false }, whole)
	require.Empty(t, rowOf(t, "C8 restart").lacks(f))
	synctest.Test(t, func(t *testing.T) {
		require.ErrorIs(t, rowOf(t, "C8 restart").run(t, f), errSkipped)
	})
}

// bad says that this process is to test an engine that stores ids twice.
const bad = "TCPROOM_LOGTEST_BAD"

// Run fails its test, in the subtest of the law and with its words.
func TestRunFails(t *testing.T) {
	if os.Getenv(bad) != "" {
		v := violation{log: storesTwice}
		Run(t, v.Factory())
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestRunFails$/^C[34]")
	cmd.Env = append(os.Environ(), bad+"=1")
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "--- FAIL: TestRunFails/C3_ids")
	require.Contains(t, string(out), rowOf(t, "C3 ids").says+":\n")
	require.Contains(t, string(out), "logtest: C3: Append of an id returned 1, then 2 at node 0; the contract: two Appends with the same id")
	require.NotContains(t, string(out), "--- FAIL: TestRunFails/C4")
}
