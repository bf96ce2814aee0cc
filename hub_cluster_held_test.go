package tcproom_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/tcproom/internal/fold"
)

// TestHubClusterDirectsInAMove: what others send a member that is being moved waits for it
// as what waits for any other: 64 KiB or one message, and no more.
func TestHubClusterDirectsInAMove(t *testing.T) {
	for _, row := range []struct{ size, want int }{{size: 1000, want: 60}, {size: 60_000, want: 1}, {size: 1, want: 200}} {
		inBubble(fmt.Sprint(row.size), t, func(t *testing.T) {
			f := newFarm(t, 1)
			let := make(chan struct{})
			s := f.startBent(func(_ context.Context, room string, rec []byte) (uint64, error, bool) {
				if room == "lobby" && slices.Contains(kinds(t, rec), fold.Leave) {
					<-let
				}
				return 0, nil, false
			})
			eve := s.person("eve")
			f.nodes[0].hub.Room("c")
			f.settle()
			eve.got()
			moved := make(chan error, 1)
			go func() {
				_, err := s.hub.Move(testContext(t), s.member("lobby", "eve"), "c")
				moved <- err
			}()
			f.settle()
			m := f.nodes[0].member("c", "eve")
			require.True(t, m.Remote())
			for range 200 {
				require.NoError(t, m.Send(t.Context(), []byte(strings.Repeat("x", row.size))))
			}
			f.settle()
			close(let)
			require.NoError(t, <-moved)
			f.settle()
			got := eve.got()
			require.Equal(t, "* you are eve in c", got[0])
			require.InDelta(t, row.want, len(got)-1, 5)
			require.NoError(t, m.Send(t.Context(), []byte("on")))
			f.settle()
			require.Len(t, eve.got(), 1)
		})
	}
}
