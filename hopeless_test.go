package tcproom_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// A client that would only receive again what it has to reject must end, and must not
// come back in a loop.

// TestClientThatCannotTakeAMessage: a message of the room above the client's own limit
// ends it, whether the room would give it again to one that resumes, or as history.
func TestClientThatCannotTakeAMessage(t *testing.T) {
	body := []byte(strings.Repeat("x", 900_000))
	limit := tcproom.WithMaxMessage(100)
	ended := func(t *testing.T, c *tcproom.Client, link *link) {
		t.Helper()
		err := ends(t, c)
		require.ErrorIs(t, err, tcproom.ErrFrameTooLarge)
		require.True(t, err.(*tcproom.EndError).Final)
		_, err = c.SendAcked(t.Context(), []byte("x"))
		require.Equal(t, c.Err(), err)
		require.Equal(t, c.Err(), c.Send(t.Context(), []byte("x")))
		time.Sleep(time.Hour)
		require.Equal(t, 1, link.dialled())
	}

	inBubble("live, in a room with sessions", t, func(t *testing.T) {
		release := make(chan bool)
		srv := sessionServer(t, tcproom.Sessions{}, tcproom.WithMaxMessage(1<<20),
			tcproom.OnMessage(func(*tcproom.Member, []byte) ([]byte, error) { <-release; return nil, nil }))
		c, link := newClient(t, srv, "ada", limit)
		hearAll(t, c, "welcome joined")
		acked := make(chan error, 1)
		go func() {
			_, err := c.SendAcked(t.Context(), []byte("x"))
			acked <- err
		}()
		synctest.Wait() // it waits for the hook
		broadcast(t, srv.Room, body)
		ended(t, c, link)
		err := <-acked
		require.ErrorIs(t, err, tcproom.ErrUncertain)
		require.ErrorIs(t, err, tcproom.ErrFrameTooLarge)
		close(release)
		time.Sleep(time.Minute)
		require.Zero(t, srv.Room.Len(), "after its grace")
	})
	inBubble("live, in a room without", t, func(t *testing.T) {
		srv := roomtest.NewMemServer(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithMaxMessage(1<<20))
		c, link := newClient(t, srv, "ada", limit)
		hearAll(t, c, "welcome")
		broadcast(t, srv.Room, body)
		err := ends(t, c)
		require.ErrorIs(t, err, tcproom.ErrFrameTooLarge)
		require.Equal(t, 1, link.dialled())
	})
	inBubble("missed, when it resumes", t, func(t *testing.T) {
		srv := sessionServer(t, tcproom.Sessions{}, tcproom.WithMaxMessage(1<<20))
		c, link := newClient(t, srv, "ada", limit)
		hearAll(t, c, "welcome joined")
		link.setDown(errors.New("down"))
		link.now().Reset()
		hearAll(t, c, "lost")
		broadcast(t, srv.Room, body)
		link.setDown(nil)
		err := ends(t, c)
		require.ErrorIs(t, err, tcproom.ErrFrameTooLarge)
		dials := link.dialled()
		time.Sleep(time.Hour)
		require.Equal(t, dials, link.dialled())
	})
	inBubble("as history", t, func(t *testing.T) {
		srv := roomtest.NewMemServer(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithMaxMessage(1<<20), tcproom.WithHistory(tcproom.History{}))
		broadcast(t, srv.Room, body)
		c, link := newClient(t, srv, "ada", limit)
		hearAll(t, c, "welcome")
		err := ends(t, c)
		require.ErrorIs(t, err, tcproom.ErrFrameTooLarge)
		time.Sleep(time.Hour)
		require.Equal(t, 1, link.dialled())
		require.Zero(t, srv.Room.Len())
	})
	inBubble("in lines of text", t, func(t *testing.T) {
		srv := roomtest.NewMemServer(t, tcproom.WithMaxMessage(1<<20))
		c, link := newClient(t, srv, "", tcproom.WithCodec(tcproom.Text{}), limit)
		hearAll(t, c, "welcome")
		waitLen(t, srv.Room, 1)
		announce(t, srv.Room, "short")
		hearAll(t, c, "0 short")
		broadcast(t, srv.Room, body)
		err := ends(t, c)
		require.ErrorIs(t, err, tcproom.ErrFrameTooLarge)
		time.Sleep(time.Hour)
		require.Equal(t, 1, link.dialled())
	})
}

// rawClient is a client of serveRaw.
func rawClient(t testing.TB, dials *int, answer func(n int) string, opts ...tcproom.DialOption) *tcproom.Client {
	all := append([]tcproom.DialOption{tcproom.WithCodec(tcproom.JSON{}), serveRaw(dials, answer)}, opts...)
	c := tcproom.NewClient(t.Context(), "room:1", all...)
	t.Cleanup(func() { c.Close() })
	return c
}

func always(said string) func(int) string { return func(int) string { return said } }

// TestClientOfMalformedRoom: malformed bytes after the welcome end it at once.
func TestClientOfMalformedRoom(t *testing.T) {
	for _, said := range []string{
		welcomeLine + "{\n",
		welcomeLine + `{"type":"message"}` + "\n" + `{"type":1}` + "\n",
		welcomeLine + welcomeLine,
		welcomeLine + "HTTP/1.1 502 Bad Gateway\r\n\r\n",
	} {
		synctest.Test(t, func(t *testing.T) {
			dials := 0
			c := rawClient(t, &dials, always(said))
			err := ends(t, c)
			require.IsType(t, &tcproom.EndError{}, err)
			require.ErrorIs(t, err, tcproom.ErrMalformed, "%q", said)
			time.Sleep(time.Hour)
			require.Equal(t, 1, dials, "%q", said)
		})
	}
}

// TestClientOfNoRoom: before the first welcome, five attempts in a row that find what
// is no room are enough.
func TestClientOfNoRoom(t *testing.T) {
	for _, said := range []string{
		"HTTP/1.1 400 Bad Request\r\n\r\n",
		"garbage",
		"garbage\n",
		`{"type":"goodbye"}` + "\n",
		`{"type":"message","body":"x"}` + "\n",
		`{"type":"wel`,
		"\x15\x03\x01\x00\x02\x02\x0a",
		strings.Repeat("x", 1<<20),
		strings.Repeat(`{"type":"direct","body":"x"}`+"\n", 1000),
	} {
		synctest.Test(t, func(t *testing.T) {
			dials := 0
			c := rawClient(t, &dials, always(said))
			err := ends(t, c)
			require.IsType(t, &tcproom.EndError{}, err, "%.40q", said)
			time.Sleep(time.Hour)
			require.Equal(t, 5, dials, "%.40q", said)
			require.Equal(t, err, c.Send(t.Context(), []byte("x")))
		})
	}
	inBubble("not in a row", t, func(t *testing.T) {
		dials := 0
		c := rawClient(t, &dials, func(n int) string {
			if n%5 == 0 {
				return "" // as a room that is being restarted
			}
			return "garbage\n"
		})
		time.Sleep(time.Hour)
		require.NoError(t, c.Err())
		require.Greater(t, dials, 50)
	})
	inBubble("an end without a word", t, func(t *testing.T) {
		dials := 0
		c := rawClient(t, &dials, always(""))
		time.Sleep(time.Hour)
		require.NoError(t, c.Err())
		require.Greater(t, dials, 50)
	})
}

// TestClientOfAProxy: where it has been welcomed once, garbage is that of a proxy
// whose backend is away.
func TestClientOfAProxy(t *testing.T) {
	for _, said := range []string{"HTTP/1.1 502 Bad Gateway\r\n\r\n", "garbage", "garbage\n", `{"type":"wel`} {
		synctest.Test(t, func(t *testing.T) {
			dials := 0
			c := rawClient(t, &dials, func(n int) string {
				if n == 1 || n == 8 {
					return welcomeLine
				}
				return said
			})
			hearAll(t, c, "welcome", "lost")
			hearAll(t, c, "welcome", "lost") // the 8th
			time.Sleep(time.Hour)
			require.NoError(t, c.Err())
			require.Greater(t, dials, 100)
		})
	}
}

// TestClientThatIsGreetedTooLong: what is above its own limit before the welcome is
// bounded like what is no room, also if the client has been welcomed once.
func TestClientThatIsGreetedTooLong(t *testing.T) {
	greeting := fmt.Sprintf(`{"type":"direct","body":"x"}%s{"type":"direct","body":%q}%[1]s`, "\n", strings.Repeat("x", 1<<20))
	synctest.Test(t, func(t *testing.T) {
		dials := 0
		c := rawClient(t, &dials, func(n int) string {
			if n == 1 {
				return welcomeLine
			}
			return greeting
		}, tcproom.WithMaxMessage(100))
		require.ErrorIs(t, ends(t, c), tcproom.ErrFrameTooLarge)
		time.Sleep(time.Hour)
		require.Equal(t, 6, dials)
	})
}

// TestClientIsTakenOver: it does not take the member back.
func TestClientIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dials := 0
		c := rawClient(t, &dials, always(welcomeLine+`{"type":"goodbye","code":"taken-over","retry":false,"reason":"x"}`+"\n"))
		require.ErrorIs(t, ends(t, c), tcproom.ErrTakenOver)
		time.Sleep(time.Hour)
		require.Equal(t, 1, dials)
	})
}
