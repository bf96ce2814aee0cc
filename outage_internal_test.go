package tcproom

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/tcproom/internal/fold"
)

// replicaOf returns the replica of a room whose log nobody reads.
func replicaOf(t *testing.T) *replica {
	t.Helper()
	r := New()
	r.replica = emptyReplica(r, newAttendance(r, nil))
	t.Cleanup(r.replica.stop)
	return r.replica
}

// TestSlicesOfASilenceThatIsOver: members are sent away in turn until the log answers. If
// the node is not ready again by the time at which that is seen, it is another silence.
func TestSlicesOfASilenceThatIsOver(t *testing.T) {
	rp := replicaOf(t)
	over := make(chan struct{})
	close(over)
	rp.until, rp.ready, rp.phase = over, make(chan struct{}), phaseOpening
	l := newNowhere(rp.room).link
	rp.room.wg.Add(1)
	rp.sendAway([]*link{l, l}, over)
	require.Zero(t, rp.told)
}

// TestNothingWaitsAnyMore: what is on its way from a node that has become ready meanwhile
// is not given up.
func TestNothingWaitsAnyMore(t *testing.T) {
	rp := replicaOf(t)
	c := newCall()
	c.add(&fold.Entry{Kind: fold.Message})
	c.left, c.outcomes = 1, make([]outcome, 1)
	rp.phase = phaseReady
	rp.flights[1] = &flight{batch: 1, items: []queued{{c, 0}}, told: func() {}}
	rp.giveUpWaiting()
	require.Equal(t, 1, c.left)
	require.Len(t, rp.flights, 1)
}

// TestMoveThatIsVoid: a node whose lease has to run out says again that it goes on as
// another one if that did not count, as when another stream has begun meanwhile.
func TestMoveThatIsVoid(t *testing.T) {
	rp := replicaOf(t)
	rp.moves = true
	p := rp.room.pass(context.Background(), nil)
	p.void(&fold.Result{Entry: &fold.Entry{Kind: fold.NodeDown, Node: rp.node}, Verdict: fold.Elsewhen})
	p.end()
	require.False(t, rp.moves)
}

// TestLastLifeOfANode: a node that has no further life goes on as another one, which wants
// its members back.
func TestLastLifeOfANode(t *testing.T) {
	rp := replicaOf(t)
	was := rp.node
	rp.phase, rp.life = phaseReady, maxLife
	rp.reopenLocked()
	require.NotEqual(t, was, rp.node)
	require.Equal(t, was, rp.fenced)
}
