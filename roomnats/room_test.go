package roomnats_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom/roomnats/natstest"
	"example.com/tcproom/roomtest"
)

// Three rooms on one log are one room: their members see all, in one order, also while
// the server restarts.
func TestRoomsAreOne(t *testing.T) {
	t.Parallel()
	s := natstest.Solo(t)
	rooms := newSites(t, s, 3, settings{})
	var members []*roomtest.Member
	for i, srv := range rooms {
		m := srv.Join(fmt.Sprint("member", i))
		for _, other := range members {
			other.Await(roomtest.Joined(m.Name()))
		}
		members = append(members, m)
	}
	const each = 100
	sent := make(chan struct{})
	for i, m := range members {
		go func() {
			defer func() { sent <- struct{}{} }()
			for n := range each {
				m.SendAsync(fmt.Sprint(n))
				if i == 0 && n == each/2 {
					s.Restart()
				}
			}
		}()
	}
	for range members {
		<-sent
	}
	orders := make([]string, len(rooms))
	for i, srv := range rooms {
		require.Eventually(t, func() bool {
			orders[i] = srv.Transcript().String()
			return strings.Count(orders[i], ": ") == len(members)*each
		}, patience, time.Millisecond)
	}
	for _, order := range orders[1:] {
		// One that came later has not seen the first joins.
		require.True(t, strings.HasSuffix(orders[0], order), "another order:\n%s\nthan\n%s", order, orders[0])
	}
	for i := range members {
		for n := range each {
			require.Equal(t, 1, strings.Count(orders[0], fmt.Sprintf("  member%d: %d\n", i, n)))
		}
	}
}
