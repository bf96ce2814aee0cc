package tcproom

import (
	"testing"

	"github.com/stretchr/testify/require"
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
