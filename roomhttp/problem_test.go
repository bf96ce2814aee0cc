package roomhttp

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
)

// TestProblemsOfALog: what a room with a log returns when that does not answer, or its
// process stops, is no mistake of a hook's, and a message that may be in the order is not
// said to be outside.
func TestProblemsOfALog(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		err    error
		code   tcproom.Cause
		status int
	}{
		{"not ordered", fmt.Errorf("%w: the log is away", tcproom.ErrUnavailable), tcproom.ErrUnavailable, http.StatusServiceUnavailable},
		{"stops", tcproom.ErrRestarting, tcproom.ErrRestarting, http.StatusServiceUnavailable},
		{"held back", errHeldBack, codeBusy, http.StatusServiceUnavailable},
		{"held back on its way", fmt.Errorf("%w: %w", tcproom.ErrUncertain, errHeldBack), tcproom.ErrUncertain, http.StatusGatewayTimeout},
		{"closed on its way", fmt.Errorf("%w: %w", tcproom.ErrUncertain, tcproom.ErrRoomClosed), tcproom.ErrUncertain, http.StatusGatewayTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := problemOf(tt.err, http.StatusInternalServerError)
			require.Equal(t, tt.code, p.code)
			require.Equal(t, tt.status, p.status)
			require.Equal(t, tt.status == http.StatusServiceUnavailable, p.retry > 0, "Retry-After")
		})
	}
}
