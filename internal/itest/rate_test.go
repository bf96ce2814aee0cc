package itest

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"
)

// TestF16RateLimiter: the limiter of golang.org/x/time/rate is a room's as it is. It
// delays a member that sends too fast, and ends one that sends a frame above its
// burst.
func TestF16RateLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const perSecond, burst = 1000, 500
		srv := roomtest.NewMemServer(t, tcproom.WithRate(func(*tcproom.Member) tcproom.Limiter {
			return rate.NewLimiter(perSecond, burst)
		}))
		watch := srv.Join("watch") // whose own limiter has what it needs
		nc, err := srv.Net.Dial(t.Context(), "tcp", srv.Addr)
		require.NoError(t, err)
		defer nc.Close()
		watch.Expect(roomtest.Joined("guest-1"))

		// Each frame costs its 68 bytes and the fixed charge: 100 of them. Five
		// are within the burst, the other ten take a tenth of a second each.
		line := strings.Repeat("x", 100-32-1)
		start := time.Now()
		_, err = nc.Write([]byte(strings.Repeat(line+"\n", 15)))
		require.NoError(t, err)
		for i := range 15 {
			watch.Expect(roomtest.Message("guest-1", line))
			want := time.Duration(max(i-4, 0)) * 100 * time.Millisecond
			require.Equal(t, want, time.Since(start), "message %d", i)
		}

		_, err = nc.Write([]byte(strings.Repeat("x", burst) + "\n"))
		require.NoError(t, err)
		watch.Expect(roomtest.Left("guest-1"))
		require.Equal(t, map[tcproom.Cause]uint64{tcproom.Cause("rate-limited"): 1}, srv.Room.Stats().Left)
	})
}
