package tcproom_test

import (
	"testing"

	"example.com/tcproom"
	"example.com/tcproom/internal/scribble"
	"github.com/stretchr/testify/require"
)

// TestP11BodyIsOnLoan: a body is valid until OnMessage returns; what was kept
// of it is overwritten from then on, so that keeping it shows.
func TestP11BodyIsOnLoan(t *testing.T) {
	scribble.Turn()
	var kept []byte // by the conn's one goroutine
	later := make(chan string, 1)
	room := tcproom.New(tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) {
		if kept == nil {
			kept = body
		} else {
			later <- string(kept)
		}
		return nil, nil
	}))
	nc := dialRaw(t, serveTCP(t, room))
	_, err := nc.Write([]byte("first message\nsecond message\n"))
	require.NoError(t, err)
	require.Equal(t, "\xffreturned\xff\xffre", <-later)
}
