package roomhttp

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
)

// TestUpgradeOverHTTP2: the answer has no header that HTTP/2 forbids.
func TestUpgradeOverHTTP2(t *testing.T) {
	t.Parallel()
	room := tcproom.New()
	defer room.Close()
	srv := httptest.NewUnstartedServer(New(One("lobby", room)))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	for _, version := range []string{"", "13"} {
		r, err := http.NewRequestWithContext(testContext(t), "GET", srv.URL+"/ws", nil)
		require.NoError(t, err)
		if version != "" {
			r.Header.Set("Sec-WebSocket-Version", version)
		}
		res, err := srv.Client().Do(r)
		require.NoError(t, err)
		res.Body.Close()
		require.Equal(t, 2, res.ProtoMajor)
		require.Equal(t, http.StatusUpgradeRequired, res.StatusCode)
		require.Empty(t, res.Header.Values("Upgrade"))
		require.Empty(t, res.Header.Values("Connection"))
	}
}
