package tcproom_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
)

// TestHubClusterPast (H8): a node that has not had a room open knows of its past what is
// behind a checkpoint. Who resumes there is told exactly what is missing before that.
func TestHubClusterPast(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		const said = 4500
		f := newFarm(t, 2, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{Grace: time.Hour}))
		ada := f.nodes[0].labelled("ada", "a", "b")
		f.settle()
		again := resumeOf(ada.objects())
		ada.nc.Reset()
		f.settle()
		seqs := make(map[uint64]int)
		for i := range said {
			seq, err := f.nodes[0].room("a").Broadcast(t.Context(), fmt.Append(nil, i))
			require.NoError(t, err)
			seqs[seq] = i
		}
		f.settle()
		_, ok := f.nodes[1].hub.Lookup("a")
		require.False(t, ok)

		ada = f.nodes[1].ride(f.nodes[1].json, "10.0.0.1", again)
		f.settle()
		var gap object
		next := -1 // what is said next
		for _, o := range ada.objects() {
			switch {
			case o["room"] == "b":
				require.Equal(t, "resumed", o["outcome"])
			case o["room"] != "a":
			case o["type"] == "welcome":
				require.Equal(t, "gap", o["outcome"])
			case o["type"] == "gap":
				gap = o
			case next < 0:
				next = seqs[number(o, "seq")] + 1
				for seq, i := range seqs {
					missing := number(gap, "first") <= seq && seq <= number(gap, "last")
					require.Equal(t, i < next-1, missing, "%d of %d", i, next-1)
				}
			default:
				require.Equal(t, fmt.Sprint(next), o["body"])
				next++
			}
		}
		require.NotNil(t, gap)
		require.Nil(t, gap["skipped"])
		require.Equal(t, said, next)
	})
}
