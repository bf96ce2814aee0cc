package tcproom_test

import (
	"bufio"
	"io"
	"testing"
	"testing/synctest"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// TestEmptyLines: a member of Text that sends an empty line sends nothing. It
// stays, nobody receives anything, and the log says nothing of it.
func TestEmptyLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logLines
		room := tcproom.New(tcproom.WithLogger(log.Logger()), tcproom.WithNotices(false))
		defer room.Close()
		watch := join(t, room)
		nc, _ := enter(t, room)
		_, err := io.WriteString(nc, "\n\r\none\n\n \n\r\n")
		require.NoError(t, err)
		require.Equal(t, "one", string(next(t, watch).Body))
		require.Equal(t, " ", string(next(t, watch).Body))
		synctest.Wait()
		require.EqualValues(t, 2, room.Stats().Messages)
		require.Empty(t, log.With("ignored"))
		require.ErrorIs(t, watch.Send(t.Context(), nil), tcproom.ErrUnframeable)
		require.NoError(t, watch.Send(t.Context(), []byte("still here")))
	})
}

// TestJSONKeepAlives: a load balancer may send empty lines whenever it wants, in
// both directions, and an editor may have put a byte order mark in front.
func TestJSONKeepAlives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logLines
		room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithLogger(log.Logger()), tcproom.WithNotices(false))
		defer room.Close()
		watch := join(t, room)
		require.Equal(t, tcproom.Welcome, next(t, watch).Kind)
		nc, _ := enter(t, room)
		_, err := io.WriteString(nc, "\n\r\n\ufeff"+`{"type":"hello","name":"ada"}`+"\n\n"+`{"type":"message","body":"hi"}`+"\n\n")
		require.NoError(t, err)
		ev := next(t, watch)
		require.Equal(t, "ada: hi", ev.From.Name+": "+string(ev.Body))
		synctest.Wait()
		require.Equal(t, 2, room.Len())
		require.Empty(t, log.With("ignored"))
	})
}

// TestJSONKeepAlivesAtTheDiallingEnd is the same at the other end.
func TestJSONKeepAlivesAtTheDiallingEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := roomtest.Pipe()
		defer there.Close()
		c := tcproom.NewConn(here, tcproom.WithCodec(tcproom.JSON{}))
		defer c.Close()
		_, err := bufio.NewReader(there).ReadString('\n') // the hello
		require.NoError(t, err)
		_, err = io.WriteString(there, "\n\ufeff"+`{"type":"welcome","id":"1","name":"ada"}`+"\n\n"+`{"type":"direct","body":"hi"}`+"\n")
		require.NoError(t, err)
		require.Equal(t, tcproom.Welcome, next(t, c).Kind)
		require.Equal(t, "hi", string(next(t, c).Body))
		_, err = io.WriteString(there, "\ufeff"+`{"type":"direct","body":"hi"}`+"\n")
		require.NoError(t, err)
		_, err = c.Receive(t.Context())
		require.ErrorIs(t, err, tcproom.ErrMalformed)
	})
}
