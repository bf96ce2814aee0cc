package tcproom

import (
	"os"
	"time"

	"example.com/tcproom/internal/sock"
)

// SetQuietClock gives the Lookout of r, which nobody has joined, another clock, as
// sock.Clock says.
func SetQuietClock(r *Room, now func() time.Duration, wake func(epoll *os.File, at time.Duration)) {
	r.quiet.SetClock(sock.Clock{Now: now, Wake: wake})
}
