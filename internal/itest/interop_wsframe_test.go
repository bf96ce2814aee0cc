package itest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"example.com/tcproom"
	"example.com/tcproom/roomhttp"
	"example.com/tcproom/roomtest"
	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// A heard is what a server made of the bytes of a client.
type heard struct {
	messages []message
	closed   websocket.StatusCode // of the client's Close; -1: there was none, or a bad one
	err      error                // the end
}

type message struct {
	kind websocket.MessageType
	body string
}

func (m message) String() string { return fmt.Sprintf("%v %.100q", m.kind, m.body) }

// A frameCourt lets two servers read the same bytes: a room over WebSocket, in text, and
// coder/websocket.
type frameCourt struct {
	network roomtest.Network
	room    atomic.Pointer[http.Handler] // of this time
	coder   chan heard
}

func newFrameCourt(t testing.TB) *frameCourt {
	c := &frameCourt{coder: make(chan heard, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("/coder", c.serveCoder)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { (*c.room.Load()).ServeHTTP(w, r) })
	l, err := c.network.Listen("court:80")
	require.NoError(t, err)
	srv := &http.Server{Handler: mux}
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(l) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return c
}

// An endless ResponseWriter gives a connection whose end is not io.EOF. coder/websocket
// would take that for the end of a message, if it comes between two fragments.
type endless struct{ http.ResponseWriter }

var errEnd = errors.New("there are no more bytes")

func (e endless) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, buf, err := e.ResponseWriter.(http.Hijacker).Hijack()
	return endlessConn{nc}, buf, err
}

type endlessConn struct{ net.Conn }

func (c endlessConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == io.EOF {
		err = errEnd
	}
	return n, err
}

func (c *frameCourt) serveCoder(w http.ResponseWriter, r *http.Request) {
	h := heard{closed: -1}
	defer func() { c.coder <- h }()
	conn, err := websocket.Accept(endless{w}, r, nil)
	if err != nil {
		h.err = err
		return
	}
	defer conn.CloseNow()
	conn.SetReadLimit(-1)
	for {
		kind, b, err := conn.Read(r.Context())
		if err != nil {
			h.closed, h.err = websocket.CloseStatus(err), err
			return
		}
		h.messages = append(h.messages, message{kind, string(b)})
	}
}

// send connects to path, sends data and an end, and reads what comes to its end. unsent
// is why not all could be sent.
func (c *frameCourt) send(t testing.TB, path string, data []byte) (unsent, end error) {
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	var nc net.Conn
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (_ net.Conn, err error) {
		nc, err = c.network.Dial(ctx, network, addr)
		return nc, err
	}}}
	ws, _, err := websocket.Dial(ctx, "ws://court"+path, &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{"tcproom.text"}})
	require.NoError(t, err)
	defer ws.CloseNow()
	if _, unsent = nc.Write(data); unsent == nil {
		unsent = nc.(*roomtest.Conn).CloseWrite()
	}
	for {
		if _, _, err := ws.Read(ctx); err != nil {
			require.NoError(t, ctx.Err(), "the end does not come")
			return unsent, err
		}
	}
}

// byRoom returns what a room makes of data.
func (c *frameCourt) byRoom(t testing.TB, data []byte) (h heard) {
	left := make(chan error, 1)
	room := tcproom.New(
		tcproom.WithNotices(false), tcproom.WithMaxMessage(1<<17),
		tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) {
			h.messages = append(h.messages, message{websocket.MessageText, string(body)})
			return nil, nil
		}),
		tcproom.OnLeave(func(_ *tcproom.Member, cause error) { left <- cause }),
		tcproom.OnReject(func(_ *tcproom.Newcomer, cause error) { left <- cause }),
	)
	var handler http.Handler = roomhttp.New(roomhttp.One("", room), roomhttp.WithConn(tcproom.WithHTTPRefused(false)))
	c.room.Store(&handler)
	unsent, end := c.send(t, "/ws", data)
	require.NoError(t, unsent, "it reads to the end, so that its last words arrive")
	h.err = next(t, left)
	h.closed = websocket.CloseStatus(end)
	require.NoError(t, room.Close())
	select {
	case <-room.Done():
	case <-time.After(within):
		t.Fatal("the room has not stopped")
	}
	return h
}

// byCoder returns what coder/websocket makes of data. A Close without a code is one
// with 1000, and a text without bytes is no message, as in the room.
func (c *frameCourt) byCoder(t testing.TB, data []byte) heard {
	c.send(t, "/coder", data) // it closes as soon as something is wrong
	all := next(t, c.coder)
	h := heard{closed: all.closed, err: all.err}
	if h.closed == websocket.StatusNoStatusRcvd {
		h.closed = websocket.StatusNormalClosure
	}
	for _, m := range all.messages {
		if m.body != "" || m.kind != websocket.MessageText {
			h.messages = append(h.messages, m)
		}
	}
	return h
}

// judge holds what the room makes of data against what coder/websocket makes of it. It
// returns the code of the room's Close, -1 if there was none.
func (c *frameCourt) judge(t testing.TB, data []byte) websocket.StatusCode {
	// So that these bytes are not taken for another protocol.
	data = append(clientFrame(nil, 0x81, []byte("hi"), 0x01020304), data...)
	ours, theirs := c.byRoom(t, data), c.byCoder(t, data)
	show := fmt.Sprintf("\ndata: %q\nroom: %v, %d, %v\ncoder: %v, %d, %v", data, ours.messages, ours.closed, ours.err, theirs.messages, theirs.closed, theirs.err)
	require.LessOrEqual(t, len(ours.messages), len(theirs.messages), show)
	for i, m := range ours.messages {
		require.Equal(t, theirs.messages[i], m, show)
	}
	rest := theirs.messages[len(ours.messages):]
	switch {
	case errors.Is(ours.err, io.EOF) && ours.closed != -1: // by a Close
		require.Empty(t, rest, show)
		require.Equal(t, theirs.closed, ours.closed, show)
	case errors.Is(ours.err, io.EOF), errors.Is(ours.err, io.ErrUnexpectedEOF):
		require.Empty(t, rest, show)
		require.Equal(t, websocket.StatusCode(-1), theirs.closed, show)
		require.ErrorIs(t, theirs.err, errEnd, "only the room has nothing against it: %s", show)
	case errors.Is(ours.err, tcproom.ErrFrameTooLarge):
		// It is judged by its header, and cannot be here.
		require.Equal(t, websocket.StatusMessageTooBig, ours.closed, show)
		require.Empty(t, rest, show)
		require.Equal(t, websocket.StatusCode(-1), theirs.closed, show)
	case errors.Is(ours.err, tcproom.ErrMalformed) && len(rest) == 0 && theirs.closed == -1:
		require.Contains(t, []websocket.StatusCode{1002, 1003, 1007}, ours.closed, show)
		require.Error(t, theirs.err, show)
	case errors.Is(ours.err, tcproom.ErrMalformed): // coder/websocket is less strict
		switch ours.closed {
		case websocket.StatusUnsupportedData: // in a room of text
			require.NotEmpty(t, rest, show)
			require.Equal(t, websocket.MessageBinary, rest[0].kind, show)
		case websocket.StatusInvalidFramePayloadData:
			if len(rest) > 0 {
				require.Equal(t, websocket.MessageText, rest[0].kind, show)
				require.False(t, utf8.ValidString(rest[0].body), show)
				break
			}
			var end websocket.CloseError
			require.ErrorAs(t, theirs.err, &end, show)
			require.False(t, utf8.ValidString(end.Reason), show)
		default:
			require.Equal(t, websocket.StatusProtocolError, ours.closed, show)
			require.True(t, overlong(data), show)
		}
	default:
		require.Fail(t, "an end of another kind", show)
	}
	return ours.closed
}

// overlong reports whether a frame has a length that is not the shortest, which RFC 6455
// 5.2 forbids.
func overlong(data []byte) bool {
	for len(data) >= 2 {
		size, head := uint64(data[1]&0x7f), 2
		switch {
		case size == 126 && len(data) >= 4:
			if size, head = uint64(binary.BigEndian.Uint16(data[2:])), 4; size < 126 {
				return true
			}
		case size == 127 && len(data) >= 10:
			if size, head = binary.BigEndian.Uint64(data[2:]), 10; size <= 0xffff {
				return true
			}
		case size >= 126:
			return false
		}
		head += 4 * int(data[1]>>7)
		if size > uint64(len(data)) || head+int(size) > len(data) {
			return false
		}
		data = data[head+int(size):]
	}
	return false
}

// clientFrame appends a client's frame, whose first byte is given.
func clientFrame(dst []byte, first byte, payload []byte, mask uint32) []byte {
	dst = append(dst, first)
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, 0x80|byte(n))
	case n <= 0xffff:
		dst = binary.BigEndian.AppendUint16(append(dst, 0x80|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 0x80|127), uint64(n))
	}
	dst = binary.BigEndian.AppendUint32(dst, mask)
	for i, b := range payload {
		dst = append(dst, b^byte(mask>>(24-8*(i%4))))
	}
	return dst
}

// randomFrames makes frames most of which are good.
func randomFrames(rnd *rand.Rand) (data []byte) {
	outside, inside := []byte{0x81, 0x81, 0x01, 0x89, 0x8a}, []byte{0x00, 0x00, 0x80, 0x80, 0x89, 0x8a}
	rare := []byte{0x82, 0x88, 0x88, 0x83, 0x8b, 0xc1, 0x91, 0x09, 0x08, 0x02, 0x00, 0x80, 0x01, 0x81}
	good := outside
	for range 1 + rnd.IntN(12) {
		first := good[rnd.IntN(len(good))]
		if rnd.IntN(30) == 0 {
			first = rare[rnd.IntN(len(rare))]
		}
		switch first {
		case 0x01:
			good = inside
		case 0x80:
			good = outside
		}
		payload := bytes.Repeat([]byte("aé€😀")[:[]int{1, 3, 6, 10}[rnd.IntN(4)]], rnd.IntN(12))
		switch {
		case first == 0x88 && rnd.IntN(4) > 0:
			payload = binary.BigEndian.AppendUint16(nil, uint16(1000+rnd.IntN(2)*rnd.IntN(16)))
		case first < 0x88 && rnd.IntN(20) == 0:
			payload = bytes.Repeat([]byte("x"), []int{125, 126, 127, 65535, 65536}[rnd.IntN(5)])
		case rnd.IntN(60) == 0:
			payload = append(payload, 0xff)
		}
		data = clientFrame(data, first, payload, rnd.Uint32())
	}
	switch rnd.IntN(10) {
	case 0:
		data = data[:rnd.IntN(len(data))]
	case 1:
		data[rnd.IntN(len(data))] ^= 1 << rnd.IntN(8)
	}
	return data
}

// TestFramesAsCoderReadsThem: of random frames, whole and spoilt ones, a room takes the
// same messages as coder/websocket does, and refuses what that refuses.
func TestFramesAsCoderReadsThem(t *testing.T) {
	t.Parallel()
	court := newFrameCourt(t)
	n := 300
	if long() {
		n = 30_000
	}
	ends := map[websocket.StatusCode]int{}
	for seed := range n {
		ends[court.judge(t, randomFrames(rand.New(rand.NewPCG(uint64(seed), 64))))]++
	}
	t.Logf("closed by: %v", ends)
	for _, code := range []websocket.StatusCode{-1, 1000, 1002, 1003, 1007} {
		require.NotZero(t, ends[code], "%v", code)
	}
}

// FuzzFramesAsCoderReadsThem is the same for any bytes.
func FuzzFramesAsCoderReadsThem(f *testing.F) {
	court := newFrameCourt(f)
	f.Fuzz(func(t *testing.T, data []byte) { court.judge(t, data[:min(len(data), 1<<12)]) })
}
