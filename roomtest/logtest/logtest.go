// Package logtest tests whether an engine that keeps the logs of rooms does what
// [tcproom.Backplane], [tcproom.Log] and [tcproom.Nodes] ask of it.
//
//	func TestEngine(t *testing.T) {
//		logtest.Run(t, logtest.Factory{
//			Lease: time.Second,
//			Open: func(t testing.TB) func() tcproom.Backplane {
//				url := startServer(t)
//				return func() tcproom.Backplane { return connect(t, url) }
//			},
//		})
//	}
package logtest

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
)

// A Factory makes the engines that [Run] tests. Open is needed, the other fields are not.
type Factory struct {
	// Open returns an engine without records, or a part of one that nothing else uses, and
	// ends it by t.Cleanup. Each call of attach is another node that comes to it, as a
	// process of its own would: the first is node 0. Open and attach fail t for errors.
	// What connections they make may live until the end of t.
	Open func(t testing.TB) (attach func() tcproom.Backplane)
	// Lease is what Caps().Lease must be; the tests of leases take twice that. Zero does
	// not say what it must be.
	Lease time.Duration
	// Bubble runs each test in a bubble of testing/synctest, whose clock times then have to
	// keep exactly. It is for engines in memory.
	Bubble bool

	// The following are faults of the engine that was opened last. The tests that need one
	// that is nil are skipped. Faults are in force when they return, and fail t for errors.

	// Restart stops the engine and starts it again.
	Restart func(t testing.TB)
	// Cut cuts the connection of a node to the engine, and heal mends it.
	Cut func(t testing.TB, node int) (heal func())
	// Trim drops the n oldest records of a room, which has more than that, or exactly n.
	Trim func(t testing.TB, room string, n int)
	// Wipe replaces a room's records by another list, which is empty, as an engine in
	// memory does that has lost everything.
	Wipe func(t testing.TB, room string)
}

// Run tests engines of f, each law of the contract in a subtest and on an engine of its
// own. The laws have numbers:
//
//   - C1: all Tails of a room see one sequence of records
//   - C2: a record whose Append was answered is in the log, and one whose Append returned
//     an error is not, unless that wraps [tcproom.ErrUncertain]
//   - C3: the same id is stored once
//   - C4: appends one after the other keep their order, over nodes too
//   - C5: Tail begins at from and skips nothing, or returns a [tcproom.LostError]
//   - C6: calls of fn do not overlap, and none comes after Tail or Watch has returned
//   - C7: a node whose lease is not renewed is reported dead 1 to 1.5 leases later
//   - C8: Save and Load, also of 4 MiB
//   - C9: Close unblocks what waits, and leaves no goroutine
//
// Other words in a subtest's name say which fault it needs. What is wrong is reported
// with the law. An engine without fault takes Run some two leases and a second, and
// one in a bubble a small part of a second. Goroutines of what Factory.Open and attach
// have started do not count as left over; they are told apart by labels of runtime/pprof.
func Run(t *testing.T, f Factory) {
	t.Helper()
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			if lacks := r.lacks(f); lacks != "" {
				t.Skipf("%s: the Factory has no %s", r.says, lacks)
			}
			if f.Bubble {
				synctest.Test(t, func(t *testing.T) { r.report(t, f) })
				return
			}
			r.report(t, f)
		})
	}
}

// A row is a subtest.
type row struct {
	name  string
	says  string
	needs string // the fault that it needs
	check func(*suite)
}

var rows = []row{
	{"C1 order", "nodes that append at once make one sequence, the same for all Tails", "", (*suite).order},
	{"C1 rooms", "each room has a list of its own, whatever its name", "", (*suite).rooms},
	{"C2 answers", "answered appends are in the log as they were given, and refused ones are not", "", (*suite).answers},
	{"C2 cut", "a node that is cut off has no answers but true ones, and goes on once healed", "Cut", (*suite).answersWhileCut},
	{"C2 restart", "answered appends are in a durable log after a restart", "Restart", (*suite).answersAfterRestart},
	{"C3 ids", "an id that is appended again, by any nodes and at once, is stored once", "", (*suite).ids},
	{"C3 restart", "an id that is appended again after a restart is stored once", "Restart", (*suite).idsAfterRestart},
	{"C4 one after the other", "what is appended after an answer, at any node, is behind what was answered", "", (*suite).oneAfterTheOther},
	{"C5 from", "Tail begins with the record at from, and ends with fn's error or its context", "", (*suite).from},
	{"C5 lag", "a Tail whose fn is slow skips nothing", "", (*suite).lag},
	{"C5 trim", "a Tail of records that were dropped returns a LostError", "Trim", (*suite).trimmed},
	{"C5 wipe", "a Tail does not go on in another list", "Wipe", (*suite).wiped},
	{"C5 cut", "a Tail whose connection was lost returns, or goes on without skipping", "Cut", (*suite).tailWhileCut},
	{"C6 calls", "fn is called once at a time, and not after Tail has returned", "", (*suite).calls},
	{"C7 leases", "leases end 1 to 1.5 of their length after the last renewal, or by Release", "", (*suite).leases},
	{"C7 cut", "no renewal succeeds on a node that is cut off", "Cut", (*suite).leasesWhileCut},
	{"C8 states", "Load returns the older of the newest two states, unchanged", "", (*suite).states},
	{"C8 trim", "Load returns the newer state if the record of the older one was dropped", "Trim", (*suite).statesTrimmed},
	{"C8 restart", "states are there after a restart of a durable log", "Restart", (*suite).statesAfterRestart},
	{"C9 close", "Close ends what waits and nothing else, may be called again, and leaves no goroutine", "", (*suite).closes},
	{"C9 cut", "Close ends what waits for an engine that is cut off", "Cut", (*suite).closesWhileCut},
}

// lacks returns the fault that the row needs and f has not.
func (r *row) lacks(f Factory) string {
	has := map[string]bool{"": true, "Restart": f.Restart != nil, "Cut": f.Cut != nil, "Trim": f.Trim != nil, "Wipe": f.Wipe != nil}
	if has[r.needs] {
		return ""
	}
	return r.needs
}

// report runs the row and fails t for what it finds.
func (r *row) report(t *testing.T, f Factory) {
	t.Helper()
	switch err := r.run(t, f); {
	case errors.Is(err, errSkipped):
		t.Skip(err)
	case err != nil:
		t.Errorf("%s:\n%v", r.says, err)
	}
}
