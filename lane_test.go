package tcproom_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// counted is Raw, and counts the messages that it encodes. Two with the same
// counter are equal.
type counted struct {
	tcproom.Raw
	n *atomic.Int64
}

func (c counted) AppendEvent(dst []byte, ev *tcproom.Event) ([]byte, error) {
	if ev.Kind == tcproom.Message {
		c.n.Add(1)
	}
	return c.Raw.AppendEvent(dst, ev)
}

// listed is counted, but of values that cannot be compared.
type listed struct {
	counted
	_ []int
}

// TestE8LanesAreShared: an event is encoded once for all members with equal
// values, or, where values cannot be compared, with one option value.
func TestE8LanesAreShared(t *testing.T) {
	var n, m atomic.Int64
	incomparable := tcproom.WithCodec(listed{counted: counted{n: &n}})
	tests := []struct {
		name  string
		opts  func(i int) []tcproom.DialOption
		lanes int64 // of 20 members
	}{
		{name: "equal values", opts: func(int) []tcproom.DialOption {
			return []tcproom.DialOption{tcproom.WithCodec(counted{n: &n}), tcproom.WithFraming(tcproom.Length{Bytes: 2})}
		}, lanes: 1},
		{name: "two framings", opts: func(i int) []tcproom.DialOption {
			return []tcproom.DialOption{tcproom.WithCodec(counted{n: &n}), tcproom.WithFraming(tcproom.Length{Bytes: 1 + i%2})}
		}, lanes: 2},
		{name: "two codecs", opts: func(i int) []tcproom.DialOption {
			return []tcproom.DialOption{tcproom.WithCodec(counted{n: []*atomic.Int64{&n, &m}[i%2]})}
		}, lanes: 2},
		{name: "one option of an incomparable value", opts: func(int) []tcproom.DialOption {
			return []tcproom.DialOption{incomparable}
		}, lanes: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n.Store(0)
			m.Store(0)
			room := tcproom.New()
			defer room.Close()
			var cs []*tcproom.Conn
			for i := range 20 {
				cs = append(cs, join(t, room, tt.opts(i)...))
			}
			_, err := room.Broadcast(testContext(t), []byte("x"))
			require.NoError(t, err)
			require.Equal(t, tt.lanes, n.Load()+m.Load())
			for _, c := range cs {
				require.Equal(t, "x", nextMessage(t, c))
			}
		})
	}
}

// TestE8IncomparableValuesOfARoom: the members of one listener, and those of
// New's options, share a lane whatever their codec is.
func TestE8IncomparableValuesOfARoom(t *testing.T) {
	var mine, theirs atomic.Int64
	room := tcproom.New(tcproom.WithCodec(listed{counted: counted{n: &mine}}))
	addr := serveTCP(t, room)
	other := serveTCP(t, room, tcproom.WithCodec(listed{counted: counted{n: &theirs}}))
	for range 20 {
		dialRaw(t, addr)
		dialRaw(t, other)
	}
	for range 5 {
		join(t, room)
	}
	waitLen(t, room, 45)
	_, err := room.Broadcast(testContext(t), []byte("x"))
	require.NoError(t, err)
	require.EqualValues(t, 1, mine.Load())
	require.EqualValues(t, 1, theirs.Load())
}

// TestE8TooManyLanes: a room speaks 16 pairs of framing and codec at most; one
// is free again when its last member has gone or its listener has stopped.
func TestE8TooManyLanes(t *testing.T) {
	rejected, left := newCauses(), newCauses()
	room := tcproom.New(tcproom.WithCodec(tcproom.Raw{}),
		tcproom.OnReject(rejected.Rejected), tcproom.OnLeave(left.Left))
	defer room.Close()
	framing := func(i int) tcproom.Option { return tcproom.WithFraming(tcproom.Delimiter(fmt.Sprint(i))) }

	l := listen(t, "tcp")
	served := make(chan error, 1)
	go func() { served <- room.Serve(l, framing(1)) }()
	dial(t, l.Addr().String(), tcproom.WithCodec(tcproom.Raw{}), framing(1)).Close()
	var cs []*tcproom.Conn
	for i := 2; i < 16; i++ {
		cs = append(cs, join(t, room, framing(i)))
	}
	again := func(i int) { // joins, where there is one lane only
		t.Helper()
		eventually(t, "a lane is free", func() bool {
			c, err := room.Join(testContext(t), tcproom.Identity{}, framing(i))
			if err != nil {
				require.ErrorIs(t, err, errTooManyLanes)
				return false
			}
			cs = append(cs, c)
			return true
		})
		_, err := room.Join(testContext(t), tcproom.Identity{}, framing(100))
		require.ErrorIs(t, err, errTooManyLanes)
	}
	_, err := room.Join(testContext(t), tcproom.Identity{}, framing(100))
	require.ErrorIs(t, err, errTooManyLanes)
	require.ErrorIs(t, rejected.Next(t), errTooManyLanes)
	require.ErrorIs(t, room.Serve(listen(t, "tcp"), framing(100)), errTooManyLanes)
	_, done := serveConn(t, room, framing(100))
	require.ErrorIs(t, ended(t, done), errTooManyLanes)
	cs = append(cs, join(t, room, framing(1)), join(t, room, framing(7))) // those that there are

	cs[0].Close()
	again(200)
	l.Close()
	require.ErrorIs(t, <-served, net.ErrClosed)
	cs[len(cs)-2-1].Close() // the members of framing 1
	for _, c := range cs {
		c.Close()
	}
	waitLen(t, room, 0)
	cs = nil
	for i := range 15 {
		eventually(t, "all lanes are free", func() bool {
			c, err := room.Join(testContext(t), tcproom.Identity{}, framing(300+i))
			if err == nil {
				cs = append(cs, c)
			}
			return err == nil
		})
	}
	_, err = room.Join(testContext(t), tcproom.Identity{}, framing(100))
	require.ErrorIs(t, err, errTooManyLanes)
	_, err = room.Broadcast(testContext(t), []byte("x"))
	require.NoError(t, err)
	for _, c := range cs {
		require.Equal(t, "x", nextMessage(t, c))
		c.Close()
	}
}

// TestUnframeableIsRefusedAlways: what a room carries depends on its
// configuration and not on who is there.
func TestUnframeableIsRefusedAlways(t *testing.T) {
	left := newCauses()
	raw := tcproom.WithCodec(tcproom.Raw{})
	room := tcproom.New(raw, tcproom.WithFraming(tcproom.Length{}), tcproom.OnLeave(left.Left))
	lines := listen(t, "tcp")
	addr := serveTCP(t, room)
	ctx := testContext(t)

	a, b := dial(t, addr, raw, tcproom.WithFraming(tcproom.Length{})), dial(t, addr, raw, tcproom.WithFraming(tcproom.Length{}))
	waitLen(t, room, 2)
	send(t, a, "one\ntwo")
	require.Equal(t, "one\ntwo", nextMessage(t, b), "nothing forbids it yet")

	served := make(chan error, 1)
	go func() { served <- room.Serve(lines, tcproom.WithFraming(tcproom.Lines{})) }()
	c := dial(t, lines.Addr().String(), raw)
	waitLen(t, room, 3)
	require.NoError(t, c.Close())
	require.ErrorIs(t, left.Next(t), io.EOF)
	waitLen(t, room, 2)

	seq := room.Stats().Seq
	_, err := room.Broadcast(ctx, []byte("three\nfour"))
	require.ErrorIs(t, err, tcproom.ErrUnframeable)
	ma := memberOf(t, room, 0)
	_, err = ma.Post(ctx, []byte("three\nfour"))
	require.ErrorIs(t, err, tcproom.ErrUnframeable)
	require.Equal(t, seq, room.Stats().Seq, "it took no place")
	send(t, a, "before")
	send(t, a, "three\nfour")
	send(t, a, "after")
	require.Equal(t, "before", nextMessage(t, b))
	require.ErrorIs(t, left.Next(t), tcproom.ErrUnframeable)
	_, err = room.Broadcast(ctx, []byte("last"))
	require.NoError(t, err)
	require.Equal(t, "last", nextMessage(t, b))

	lines.Close()
	<-served
	_, err = room.Broadcast(ctx, []byte("five\nsix"))
	require.NoError(t, err)
	require.Equal(t, "five\nsix", nextMessage(t, b), "the listener is gone, and its framing with it")
}

// TestUnframeableInAGuestLane: a framing that only ServeConn or Join named
// does not bind others: its own member ends where it cannot carry something,
// and gets nothing that comes after the hole (P6).
func TestUnframeableInAGuestLane(t *testing.T) {
	left := newCauses()
	room := tcproom.New(tcproom.WithCodec(tcproom.Raw{}), tcproom.WithFraming(tcproom.Length{}), tcproom.OnLeave(left.Left))
	defer room.Close()
	b := join(t, room)
	nc, done := serveConn(t, room, tcproom.WithFraming(tcproom.Lines{}))
	waitLen(t, room, 2)
	ctx := testContext(t)
	for _, body := range []string{"one", "two\nthree", "four", "five"} {
		_, err := room.Broadcast(ctx, []byte(body))
		require.NoError(t, err)
	}
	got, err := io.ReadAll(nc)
	require.NoError(t, err)
	require.Equal(t, "one\n", string(got))
	require.ErrorIs(t, ended(t, done), tcproom.ErrUnframeable)
	require.ErrorIs(t, left.Next(t), tcproom.ErrUnframeable)
	for _, body := range []string{"one", "two\nthree", "four", "five"} {
		require.Equal(t, body, nextMessage(t, b))
	}
}

// TestOddReaders: whatever a user's Framing or Codec does with what a peer
// sends, it ends that conn with a cause of the closed set, and no other.
func TestOddReaders(t *testing.T) {
	tests := []struct {
		name  string
		odd   odd
		cause error
	}{
		{name: "SplitFrame panics", odd: odd{splitFrame: func([]byte, int) (int, []byte, error) { panic(errOdd) }}, cause: tcproom.ErrHook},
		{name: "SplitFrame errs", odd: odd{splitFrame: func([]byte, int) (int, []byte, error) { return 0, nil, errOdd }}, cause: tcproom.ErrMalformed},
		{name: "SplitFrame returns too much", odd: odd{splitFrame: func(b []byte, _ int) (int, []byte, error) { return len(b) + 1, b, nil }}, cause: tcproom.ErrMalformed},
		{name: "SplitFrame returns less than nothing", odd: odd{splitFrame: func(b []byte, _ int) (int, []byte, error) { return -1, b, nil }}, cause: tcproom.ErrMalformed},
		{name: "SplitFrame returns no frame ever", odd: odd{splitFrame: func([]byte, int) (int, []byte, error) { return 0, nil, nil }}, cause: tcproom.ErrFrameTooLarge},
		{name: "SplitFrame returns a huge body", odd: odd{splitFrame: func(b []byte, _ int) (int, []byte, error) { return len(b), make([]byte, 1<<20), nil }}, cause: tcproom.ErrFrameTooLarge},
		{name: "ParseRequest panics", odd: odd{parseRequest: func([]byte, *tcproom.Request) error { panic(errOdd) }}, cause: tcproom.ErrHook},
		{name: "ParseRequest errs", odd: odd{parseRequest: func([]byte, *tcproom.Request) error { return errOdd }}, cause: tcproom.ErrMalformed},
		{name: "ParseRequest sets no kind", odd: odd{parseRequest: func([]byte, *tcproom.Request) error { return nil }}, cause: tcproom.ErrMalformed},
		{name: "ParseRequest makes a hello of it", odd: odd{parseRequest: func(_ []byte, req *tcproom.Request) error {
			req.Kind = tcproom.ReqHello
			return nil
		}}, cause: tcproom.ErrMalformed},
		{name: "MaxFrame is negative", odd: odd{maxFrame: func(int) (int, int) { return math.MinInt, math.MinInt }}, cause: tcproom.ErrFrameTooLarge},
		{name: "MaxFrame is the largest int", odd: odd{maxFrame: func(int) (int, int) { return math.MaxInt, math.MaxInt }}, cause: io.EOF},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			checkGoroutines(t)
			left := newCauses()
			room := tcproom.New(tcproom.WithCodec(tcproom.Raw{}), tcproom.WithMaxMessage(1<<10), tcproom.OnLeave(left.Left))
			a, b := join(t, room), join(t, room)
			defer room.Close()
			o := tt.odd
			addr := serveTCP(t, room, tcproom.WithCodec(&o), tcproom.WithFraming(&o))
			nc := dialRaw(t, addr)
			waitLen(t, room, 3)
			go func() {
				for range 100 {
					if _, err := nc.Write(append(bytes.Repeat([]byte("x"), 1000), '\n')); err != nil {
						return
					}
				}
				nc.CloseWrite()
			}()
			require.ErrorIs(t, left.Next(t), tt.cause)
			waitLen(t, room, 2)
			send(t, a, "hi")
			for got := ""; got != "hi"; got = nextMessage(t, b) {
			}
			_, err := io.Copy(io.Discard, nc)
			require.True(t, err == nil || errors.Is(tt.cause, io.EOF), "a FIN, not a RST: %v", err)
		})
	}
}

// TestOddWriters: where a user's Framing or Codec fails for an event, in a lane
// that is not configured, it ends the conns of that lane and nobody else's.
func TestOddWriters(t *testing.T) {
	is := func(ev *tcproom.Event) bool { return ev.Kind == tcproom.Message && string(ev.Body) == "bad" }
	tests := []struct {
		name string
		odd  odd
	}{
		{name: "AppendEvent panics", odd: odd{appendEvent: func(dst []byte, ev *tcproom.Event) ([]byte, error) {
			if is(ev) {
				panic(errOdd)
			}
			return tcproom.Raw{}.AppendEvent(dst, ev)
		}}},
		{name: "AppendEvent errs", odd: odd{appendEvent: func(dst []byte, ev *tcproom.Event) ([]byte, error) {
			if is(ev) {
				return dst, errOdd
			}
			return tcproom.Raw{}.AppendEvent(dst, ev)
		}}},
		{name: "AppendEvent returns too much", odd: odd{appendEvent: func(dst []byte, ev *tcproom.Event) ([]byte, error) {
			if is(ev) {
				return append(dst, make([]byte, 1<<20)...), nil
			}
			return tcproom.Raw{}.AppendEvent(dst, ev)
		}}},
		{name: "AppendFrame panics", odd: odd{appendFrame: func(dst, body []byte) ([]byte, error) {
			if string(body) == "bad" {
				panic(errOdd)
			}
			return tcproom.Lines{}.AppendFrame(dst, body)
		}}},
		{name: "MaxFrame is too small", odd: odd{maxFrame: func(int) (int, int) { return 1 << 10, -300 },
			appendFrame: func(dst, body []byte) ([]byte, error) {
				if string(body) == "bad" {
					return append(dst, make([]byte, 500)...), nil
				}
				return tcproom.Lines{}.AppendFrame(dst, body)
			}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			left := newCauses()
			room := tcproom.New(tcproom.WithCodec(tcproom.Raw{}), tcproom.OnLeave(left.Left))
			defer room.Close()
			b := join(t, room)
			o := tt.odd
			nc, done := serveConn(t, room, tcproom.WithCodec(&o), tcproom.WithFraming(&o))
			waitLen(t, room, 2)
			for _, body := range []string{"good", "bad", "good again"} {
				_, err := room.Broadcast(testContext(t), []byte(body))
				require.NoError(t, err)
				require.Equal(t, body, nextMessage(t, b))
			}
			got, err := io.ReadAll(nc)
			require.NoError(t, err)
			require.Equal(t, "good\n", string(got))
			require.ErrorIs(t, ended(t, done), tcproom.ErrUnframeable)
		})
	}
}

// TestOddConfiguredWriter: in a configured lane the event is refused to whoever
// wanted to say it, and nothing else happens.
func TestOddConfiguredWriter(t *testing.T) {
	o := &odd{appendEvent: func(dst []byte, ev *tcproom.Event) ([]byte, error) {
		if string(ev.Body) == "bad" {
			panic("\x1b[31m" + string(ev.Body))
		}
		return tcproom.Raw{}.AppendEvent(dst, ev)
	}}
	room := tcproom.New(tcproom.WithCodec(o), tcproom.WithFraming(o))
	defer room.Close()
	b := join(t, room)
	_, err := room.Broadcast(testContext(t), []byte("bad"))
	require.ErrorIs(t, err, tcproom.ErrUnframeable)
	require.NotContains(t, err.Error(), "\x1b")
	m, _ := room.Member(b.ID())
	require.ErrorIs(t, m.Send(testContext(t), []byte("bad")), tcproom.ErrUnframeable)
	_, err = room.Broadcast(testContext(t), []byte("good"))
	require.NoError(t, err)
	require.Equal(t, "good", nextMessage(t, b))
}

// TestNewNeverFails: not with a codec that panics either, where its own
// conns find out.
func TestNewNeverFails(t *testing.T) {
	for _, o := range []*odd{
		{appendEvent: func([]byte, *tcproom.Event) ([]byte, error) { panic(errOdd) }},
		{appendEvent: func(dst []byte, ev *tcproom.Event) ([]byte, error) { return append(dst, make([]byte, 1<<20)...), nil }},
		{maxFrame: func(int) (int, int) { panic(errOdd) }},
		{maxFrame: func(int) (int, int) { return math.MaxInt, math.MaxInt }},
		{maxFrame: func(int) (int, int) { return math.MinInt, math.MinInt }},
	} {
		room := tcproom.New(tcproom.WithCodec(o), tcproom.WithFraming(o), tcproom.WithSlowMembers(tcproom.Skip))
		here, there := net.Pipe()
		done := make(chan error, 1)
		go func() { done <- room.ServeConn(there) }()
		room.Broadcast(testContext(t), []byte("x"))
		here.Close()
		ended(t, done)
		require.NoError(t, room.Close())
		waitDone(t, room)
	}
}

// aliasing is a codec and framing whose Append methods append nothing and
// return what they were given, against their contracts.
type aliasing struct{ tcproom.Raw }

func (aliasing) AppendEvent(dst []byte, ev *tcproom.Event) ([]byte, error) {
	if ev.Kind != tcproom.Message && ev.Kind != tcproom.Direct {
		return dst, tcproom.ErrNoFrame
	}
	return ev.Body, nil
}
func (aliasing) AppendFrame(_, body []byte) ([]byte, error) { return body, nil }
func (aliasing) SplitFrame(data []byte, _ int) (int, []byte, error) {
	if len(data) < 64 {
		return 0, nil, nil
	}
	return 64, data[:64], nil // bodies of one size
}

// TestAliasingCodec: a user's codec that returns its arguments corrupts neither
// what other members get nor memory of the caller's (P7).
func TestAliasingCodec(t *testing.T) {
	room := tcproom.New(tcproom.WithCodec(tcproom.Raw{}))
	addr := serveTCP(t, room)
	guests := serveTCP(t, room, tcproom.WithCodec(aliasing{}), tcproom.WithFraming(aliasing{}))
	b := dial(t, addr, tcproom.WithCodec(tcproom.Raw{}))
	nc, witness := dialRaw(t, guests), dialRaw(t, guests)
	j := join(t, room, tcproom.WithCodec(tcproom.JSON{}))
	require.Equal(t, tcproom.Welcome, next(t, j).Kind)
	waitLen(t, room, 4)

	const n = 2000
	var all []byte
	for i := range n {
		all = fmt.Appendf(all, "%064d", i)
	}
	want := bytes.Clone(all)
	go nc.Write(all)
	go func() {
		for i := range n {
			body := fmt.Appendf(nil, "%064d", i)
			if m := memberByAddr(room, witness.LocalAddr()); m != nil && i%10 == 0 {
				m.Send(context.Background(), body) // a direct message
			}
		}
	}()
	for i := range n {
		body := fmt.Sprintf("%064d", i)
		require.Equal(t, body, nextMessage(t, b))
		require.Equal(t, body, nextMessage(t, j))
	}
	require.Equal(t, want, all)
	seen := map[string]int{}
	buf := make([]byte, 64)
	for len(seen) < n {
		_, err := io.ReadFull(witness, buf)
		require.NoError(t, err)
		seen[string(buf)]++
	}
	for i := range n {
		require.NotZero(t, seen[fmt.Sprintf("%064d", i)])
	}
	ours, theirs := strings.Repeat("12345678", 8), strings.Repeat("87654321", 8)
	body := []byte(ours)
	_, err := room.Broadcast(testContext(t), body)
	require.NoError(t, err)
	send(t, b, theirs)
	require.Equal(t, ours, nextMessage(t, b))
	require.Equal(t, ours, nextMessage(t, j))
	require.Equal(t, theirs, nextMessage(t, j))
	require.Equal(t, ours, string(body), "the caller's memory")
}

func memberByAddr(room *tcproom.Room, addr net.Addr) *tcproom.Member {
	for m := range room.Members() {
		if m.RemoteAddr().String() == addr.String() {
			return m
		}
	}
	return nil
}

// TestFramesInOneRoomOfAllFramings: one body, each member its own frame (F18).
func TestFramesInOneRoomOfAllFramings(t *testing.T) {
	framings := []tcproom.Framing{
		tcproom.Lines{}, tcproom.Delimiter("\x00"), tcproom.Length{Bytes: 1}, tcproom.Length{Bytes: 2, LittleEndian: true},
		tcproom.Length{Bytes: 8}, tcproom.Varint{}, tcproom.Netstring{}, tcproom.ContentLength{},
	}
	room := tcproom.New(tcproom.WithCodec(tcproom.Raw{}))
	defer room.Close()
	var cs []*tcproom.Conn
	for _, f := range framings {
		cs = append(cs, dial(t, serveTCP(t, room, tcproom.WithFraming(f)), tcproom.WithCodec(tcproom.Raw{}), tcproom.WithFraming(f)))
	}
	waitLen(t, room, len(framings))
	tests := []struct {
		name, body string
		ok         bool
	}{
		{name: "text", body: "hello", ok: true},
		{name: "bytes", body: "\xff\xfe\r\x01", ok: true},
		{name: "newline", body: "a\nb", ok: false},
		{name: "NUL", body: "a\x00b", ok: false},
		{name: "empty", body: "", ok: true},
		{name: "256 bytes", body: string(binary.BigEndian.AppendUint16(make([]byte, 254), 7)), ok: false},
		{name: "255 bytes", body: string(bytes.Repeat([]byte("z"), 255)), ok: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := room.Broadcast(testContext(t), []byte(tt.body))
			if !tt.ok {
				require.ErrorIs(t, err, tcproom.ErrUnframeable)
				return
			}
			require.NoError(t, err)
			for _, c := range cs {
				require.Equal(t, tt.body, nextMessage(t, c))
			}
		})
	}
}

// In a room of a hub the framings of its members bind who speaks, as those of its doors
// bind in a room of New.
func TestHubRefusesWhatAMemberCannotBeSent(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		h := tcproom.NewHub(tcproom.WithCodec(tcproom.JSON{}))
		defer h.Close()
		here, there := net.Pipe()
		go h.ServeConn(there, tcproom.WithCodec(tcproom.Raw{}))
		defer here.Close()
		synctest.Wait()
		room, ok := h.Lookup("lobby")
		require.True(t, ok)
		_, err := room.Broadcast(t.Context(), []byte("two\nlines"))
		require.ErrorIs(t, err, tcproom.ErrUnframeable)
		announce(t, room, "one")
		line, err := bufio.NewReader(here).ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "one\n", line)
		require.Equal(t, 1, room.Len())
	})
}
