package tcproom_test

import (
	"testing"
	"testing/synctest"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// TestResumeBeforeTheJoin: a token is good for what its member could have
// seen, and not for what was said before it was there.
func TestResumeBeforeTheJoin(t *testing.T) {
	for _, tt := range []struct {
		name    string
		events  int
		outcome string
		want    []string
	}{
		{"all is there", 0, "resumed", []string{"3 <nil>: b", "4 <nil>: c", "5 <nil>: d"}},
		{"some has gone", 2, "gap", []string{"gap 3-3", "4 <nil>: c", "5 <nil>: d"}},
	} {
		inBubble(tt.name, t, func(t *testing.T) {
			srv := sessionServer(t, tcproom.Sessions{Events: tt.events}, tcproom.WithEcho(true))
			announce(t, srv.Room, "a")
			ada := visits(t, srv, nil)
			w := ada.welcomed("joined")
			ada.nc.Close()
			synctest.Wait()
			for _, body := range []string{"b", "c", "d"} {
				announce(t, srv.Room, "%s", body)
			}
			for _, seq := range []int{0, 1, 2} {
				ada = visits(t, srv, resume(w, seq))
				ada.welcomed(tt.outcome)
				for _, want := range tt.want {
					require.Equal(t, want, ada.short(), "from %d", seq)
				}
			}
		})
	}
}
