package tcproom

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom/internal/fold"
)

// TestJoinThatWaitsIsNotListed: while a join that the log has ordered waits for its place
// here, nobody gets its member, who may be about to come in here.
func TestJoinThatWaitsIsNotListed(t *testing.T) {
	r := New()
	rp := emptyReplica(r, newAttendance(r, nil))
	defer rp.stop()
	r.replica = rp
	record := func(pos, batch uint64, epoch fold.Epoch, entries ...*fold.Entry) {
		rec := fold.AppendHeader(nil, fold.Header{Node: rp.node, Batch: 1<<48 | batch, Epoch: epoch}, len(entries))
		for _, e := range entries {
			rec = fold.AppendEntry(rec, e)
		}
		require.NoError(t, rp.state.Apply(pos, time.Now(), rec, nil))
	}
	epoch := fold.Epoch{1}
	record(1, 1, fold.Epoch{}, &fold.Entry{Kind: fold.Open}, &fold.Entry{Kind: fold.Begin, Epoch: epoch})
	record(2, 2, epoch, &fold.Entry{Kind: fold.Join, ID: "first", Name: "first"}, &fold.Entry{Kind: fold.Join, ID: "second", Name: "second"})

	names := func() (list []string) {
		for who := range r.infosLocked("") {
			list = append(list, who.Name)
		}
		return list
	}
	r.seq = rp.state.Member("first").Joined
	require.Equal(t, []string{"first"}, names())
	require.Len(t, r.allLocked(), 1)
	require.Nil(t, r.memberLocked("second"))
	r.seq = rp.state.Member("second").Joined
	require.Equal(t, []string{"first", "second"}, names())
	require.Equal(t, []MemberInfo{{ID: "second", Name: "second"}}, slices.Collect(r.infosLocked("first")))
	require.Same(t, r.memberLocked("second"), r.allLocked()[1])
}
