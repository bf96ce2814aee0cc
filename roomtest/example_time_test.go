package roomtest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// TestIdleMembersLeave is the package comment's test of virtual time. It is no
// Example, which has no *testing.T to make a bubble of.
func TestIdleMembersLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := roomtest.NewMemServer(t, tcproom.WithIdleTimeout(time.Hour))
		bob := srv.Join("bob")
		began := time.Now()
		bob.Within(2 * time.Hour).Expect(roomtest.Goodbye())
		require.Equal(t, time.Hour, time.Since(began)) // exactly
	})
}
