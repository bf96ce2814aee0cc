package itest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomhttp"
	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// TestCoderJSON: two clients and a member in the room's process, in JSON.
func TestCoderJSON(t *testing.T) {
	t.Parallel()
	room := tcproom.New()
	url := serveWeb(t, room)
	ada, _ := joinCoder(t, url, "ada")
	bob, welcome := joinCoder(t, url, "bob")
	require.NotEmpty(t, welcome.Epoch)
	require.Equal(t, "bob", ada.await("join").From.Name)
	for _, body := range []string{"hi", "", "zwei\nZeilen", "😀 \"\\", strings.Repeat("x", limit)} {
		ada.say(body)
		got := bob.await("message")
		require.Equal(t, body, got.Body)
		require.Equal(t, "ada", got.From.Name)
	}
	seq, err := room.Broadcast(t.Context(), []byte("all"))
	require.NoError(t, err)
	for _, c := range []*coder{ada, bob} {
		require.Equal(t, seq, c.await("message").Seq)
	}
	require.NoError(t, ada.Close(websocket.StatusNormalClosure, "bye"))
	require.Equal(t, "ada", bob.await("leave").From.Name)
}

// TestCoderText: the same in text, without a hello.
func TestCoderText(t *testing.T) {
	t.Parallel()
	room := tcproom.New()
	url := serveWeb(t, room)
	c := dialCoder(t, url, websocket.DialOptions{Subprotocols: []string{"chat", "tcproom.text"}})
	require.Equal(t, "tcproom.text", c.Subprotocol())
	bob, _ := joinCoder(t, url, "bob")
	require.Equal(t, "* bob joined", c.text())
	bob.say("two\nlines")
	require.Equal(t, `bob: two\x0alines`, c.text())
	require.NoError(t, c.Write(c.ctx, websocket.MessageText, []byte("hello, Zoë")))
	require.Equal(t, "hello, Zoë", bob.await("message").Body)
}

// TestCoderFragments: a message that its writer sends in pieces, cut within a
// character, with a ping between them.
func TestCoderFragments(t *testing.T) {
	t.Parallel()
	url := serveWeb(t, tcproom.New(tcproom.WithNotices(false)))
	ada, _ := joinCoder(t, url, "ada")
	bob, _ := joinCoder(t, url, "bob")
	reading := ada.CloseRead(ada.ctx)
	body := strings.Repeat("é€😀", 300)
	w, err := ada.Writer(ada.ctx, websocket.MessageText)
	require.NoError(t, err)
	rest, pinged := []byte(`{"type":"message","body":"`+body+`"}`), make(chan error, 1)
	for i := 0; len(rest) > 0; i++ {
		n := min(1+i%7, len(rest))
		_, err := w.Write(rest[:n])
		require.NoError(t, err)
		if rest = rest[n:]; i == 100 {
			// It is answered behind the message.
			go func() { pinged <- ada.Ping(reading) }()
		}
	}
	require.NoError(t, w.Close())
	require.Equal(t, body, bob.await("message").Body)
	require.NoError(t, next(t, pinged))
}

// TestCoderPings: each end answers the other's.
func TestCoderPings(t *testing.T) {
	t.Parallel()
	const period = time.Second // within two of which it must answer, however busy the machine
	url := serveWeb(t, tcproom.New(), roomhttp.WithConn(tcproom.WithHeartbeat(period)))
	var pings atomic.Int64
	enough := make(chan struct{})
	c := dialCoder(t, url, websocket.DialOptions{OnPingReceived: func(context.Context, []byte) bool {
		if pings.Add(1) == 2 {
			close(enough)
		}
		return true
	}})
	c.send(hello{Type: "hello", Name: "ada"})
	c.await("welcome")
	reading := c.CloseRead(c.ctx)
	for range 3 {
		require.NoError(t, c.Ping(reading))
	}
	select {
	case <-enough: // the second comes only if the first was answered
	case <-reading.Done():
		require.Fail(t, "it is no member any more")
	}
}

// TestCoderDeadPeer: a peer that answers no ping is ended by a Close.
func TestCoderDeadPeer(t *testing.T) {
	t.Parallel()
	causes, onLeave := leavers()
	url := serveWeb(t, tcproom.New(onLeave), roomhttp.WithConn(tcproom.WithHeartbeat(20*time.Millisecond)))
	c := dialCoder(t, url, websocket.DialOptions{OnPingReceived: func(context.Context, []byte) bool { return false }})
	c.send(hello{Type: "hello"})
	code, reason := c.end()
	require.Equal(t, websocket.StatusGoingAway, code)
	require.Equal(t, "idle-timeout", reason)
	require.ErrorIs(t, next(t, causes), tcproom.Cause("idle-timeout"))
}

// TestCoderCompression: what is offered is not taken, and nothing is compressed.
func TestCoderCompression(t *testing.T) {
	t.Parallel()
	for _, mode := range []websocket.CompressionMode{websocket.CompressionContextTakeover, websocket.CompressionNoContextTakeover} {
		url := serveWeb(t, tcproom.New())
		bob, _ := joinCoder(t, url, "bob")
		c := dialCoder(t, url, websocket.DialOptions{CompressionMode: mode, CompressionThreshold: 1})
		require.Contains(t, c.res.Request.Header.Get("Sec-WebSocket-Extensions"), "permessage-deflate")
		require.Empty(t, c.res.Header.Values("Sec-WebSocket-Extensions"))
		c.send(hello{Type: "hello"})
		body := strings.Repeat("compress me ", 1000)
		c.say(body)
		require.Equal(t, body, bob.await("message").Body)
		bob.say(body)
		require.Equal(t, body, c.await("message").Body)
	}
}

// TestCoderCloses: the client's Close is answered, and says whether it comes back.
func TestCoderCloses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		code  websocket.StatusCode
		stays int
	}{
		{websocket.StatusNormalClosure, 0}, {websocket.StatusNoStatusRcvd, 0},
		{websocket.StatusGoingAway, 1}, {websocket.StatusInternalError, 1}, {3000, 1}, {4999, 1},
	} {
		room := tcproom.New(tcproom.WithSessions(tcproom.Sessions{Grace: within}))
		c, _ := joinCoder(t, serveWeb(t, room), "ada")
		err := c.Close(tt.code, "")
		if tt.code == websocket.StatusNoStatusRcvd { // it is answered by a code all the same
			require.Equal(t, websocket.StatusNormalClosure, websocket.CloseStatus(err))
		} else {
			require.NoError(t, err, "it is answered by the same")
		}
		require.Equal(t, tt.stays, room.Len(), "%d", tt.code)
	}
	causes, onLeave := leavers()
	c, _ := joinCoder(t, serveWeb(t, tcproom.New(onLeave)), "ada")
	require.NoError(t, c.CloseNow()) // without a Close
	require.ErrorIs(t, next(t, causes), io.EOF)
}

// closeTable is what docs/wire.md says of the Close of each cause.
func closeTable(t *testing.T) map[string][]int {
	text, err := os.ReadFile("../../docs/wire.md")
	require.NoError(t, err)
	table := map[string][]int{}
	for _, row := range regexp.MustCompile(`(?m)^\| (1\d\d\d|none) \| (.*) \|$`).FindAllStringSubmatch(string(text), -1) {
		code, _ := strconv.Atoi(row[1]) // 0: none
		for _, cause := range regexp.MustCompile("`([a-z-]+)`").FindAllStringSubmatch(row[2], -1) {
			table[cause[1]] = append(table[cause[1]], code)
		}
	}
	require.Greater(t, len(table), 20)
	return table
}

// denying is a handshake hook that refuses everybody with this cause.
func denying(cause tcproom.Cause) tcproom.ConnOption {
	return tcproom.WithHandshake(func(context.Context, *tcproom.Newcomer) (tcproom.Identity, error) {
		return tcproom.Identity{}, &tcproom.RefusedError{Cause: cause, Text: "no"}
	})
}

// TestCoderIsClosed: the room's Close is seen as docs/wire.md has it.
func TestCoderIsClosed(t *testing.T) {
	t.Parallel()
	type tried struct {
		room *tcproom.Room
		url  string
	}
	member := func(t *testing.T, r tried) *coder { c, _ := joinCoder(t, r.url, "ada"); return c }
	newcomer := func(t *testing.T, r tried) *coder {
		c := dialCoder(t, r.url, websocket.DialOptions{})
		c.send(hello{Type: "hello", Name: "ada"})
		return c
	}
	say := func(kind websocket.MessageType, b []byte) func(*testing.T, tried) *coder {
		return func(t *testing.T, r tried) *coder {
			c := member(t, r)
			require.NoError(t, c.Write(c.ctx, kind, b))
			return c
		}
	}
	raw := func(frame string) func(*testing.T, tried) *coder {
		return func(t *testing.T, r tried) *coder {
			c := member(t, r)
			_, err := c.nc.Write([]byte(frame))
			require.NoError(t, err)
			return c
		}
	}
	resuming := func(t *testing.T, r tried) *coder {
		c, welcome := joinCoder(t, r.url, "ada")
		c2 := dialCoder(t, r.url, websocket.DialOptions{})
		c2.send(hello{Type: "hello", Resume: &resume{welcome.Token, welcome.Epoch, welcome.Seq}})
		require.Equal(t, "resumed", c2.await("welcome").Outcome)
		return c
	}
	sessions := tcproom.WithSessions(tcproom.Sessions{})
	message := []byte(`{"type":"message","body":"hi"}`)
	for _, tt := range []struct {
		code  websocket.StatusCode
		cause string
		name  string
		room  []tcproom.RoomOption
		conn  []tcproom.ConnOption
		act   func(*testing.T, tried) *coder
	}{
		{code: 1001, cause: "closed", name: "shutdown", act: func(t *testing.T, r tried) *coder {
			c := member(t, r)
			go r.room.Shutdown(c.ctx)
			return c
		}},
		{code: 1001, cause: "idle-timeout", name: "silence", conn: []tcproom.ConnOption{tcproom.WithHeartbeat(0), tcproom.WithIdleTimeout(20 * time.Millisecond)}, act: member},
		{code: 1002, cause: "malformed", name: "no mask", act: raw("\x81\x02hi")},
		{code: 1002, cause: "malformed", name: "reserved bit", act: raw("\xc1\x80\x00\x00\x00\x00")},
		{code: 1003, cause: "malformed", name: "binary", act: say(websocket.MessageBinary, message)},
		{code: 1007, cause: "malformed", name: "not UTF-8", act: say(websocket.MessageText, []byte("\xff"))},
		{code: 1008, cause: "malformed", name: "not JSON", act: say(websocket.MessageText, []byte("hi"))},
		{code: 1008, cause: "kicked", name: "kick", act: func(t *testing.T, r tried) *coder {
			c := member(t, r)
			for m := range r.room.Members() {
				m.Kick("go")
			}
			return c
		}},
		{code: 1008, cause: "taken-over", name: "second tab", room: []tcproom.RoomOption{sessions}, act: resuming},
		{code: 1008, cause: "future", name: "resume", room: []tcproom.RoomOption{sessions}, act: func(t *testing.T, r tried) *coder {
			_, welcome := joinCoder(t, r.url, "ada")
			c := dialCoder(t, r.url, websocket.DialOptions{})
			c.send(hello{Type: "hello", Resume: &resume{welcome.Token, welcome.Epoch, welcome.Seq + 1000}})
			return c
		}},
		{code: 1008, cause: "handshake-timeout", name: "no hello", conn: []tcproom.ConnOption{tcproom.WithHandshakeTimeout(20 * time.Millisecond)}, act: func(t *testing.T, r tried) *coder {
			return dialCoder(t, r.url, websocket.DialOptions{})
		}},
		{code: 1008, cause: "name-taken", name: "second ada", room: []tcproom.RoomOption{tcproom.WithUniqueNames(true)}, act: func(t *testing.T, r tried) *coder {
			joinCoder(t, r.url, "ada")
			return newcomer(t, r)
		}},
		{code: 1008, cause: "denied", name: "handshake hook", conn: []tcproom.ConnOption{denying("")}, act: newcomer},
		{code: 1008, cause: "members-only", name: "a cause of the user's", conn: []tcproom.ConnOption{denying("members-only")}, act: newcomer},
		{code: 1009, cause: "too-large", name: "large message", room: []tcproom.RoomOption{tcproom.WithMaxMessage(1000)}, act: say(websocket.MessageText, bytes.Repeat([]byte("x"), limit))},
		{code: 1011, cause: "hook", name: "panic", room: []tcproom.RoomOption{tcproom.OnMessage(func(*tcproom.Member, []byte) ([]byte, error) { panic("oh") })}, act: say(websocket.MessageText, message)},
		{code: 1013, cause: "full", name: "second member", room: []tcproom.RoomOption{tcproom.WithMaxMembers(1)}, act: func(t *testing.T, r tried) *coder {
			joinCoder(t, r.url, "ada")
			return newcomer(t, r)
		}},
		{code: 1013, cause: "retry", name: "slow hook", conn: []tcproom.ConnOption{denying("retry")}, act: newcomer},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			room := tcproom.New(tt.room...)
			c := tt.act(t, tried{room, serveWeb(t, room, roomhttp.WithConn(tt.conn...))})
			code, reason := c.end()
			require.Equal(t, fmt.Sprintf("%d %s", tt.code, tt.cause), fmt.Sprintf("%d %s", code, reason))
			if tt.cause != "members-only" {
				require.Contains(t, closeTable(t)[reason], int(code), "docs/wire.md says otherwise of %q", reason)
			}
		})
	}
}
