package suite_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// messages is a slog handler that keeps what is no attribute, and every error
// attribute's text: nothing of a peer may stand there as it came.
type messages struct {
	slog.Handler
	check func(string)
}

func (m messages) Handle(ctx context.Context, r slog.Record) error {
	m.check(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok {
			m.check(err.Error())
		}
		return true
	})
	return m.Handler.Handle(ctx, r)
}

func newLog(t testing.TB) (*logLines, *slog.Logger) {
	l := new(logLines)
	return l, slog.New(messages{slog.NewTextHandler(l, nil), func(s string) {
		if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 }) {
			t.Errorf("a control character in %q", s)
		}
	}})
}

// badRoom is a room in which a pair of witnesses talks, while others say what
// they should not.
type badRoom struct {
	*tcproom.Room
	log        *logLines
	left, gone *causes
	a, b       *tcproom.Conn
	n          int
}

func newBadRoom(t testing.TB, opts ...tcproom.RoomOption) *badRoom {
	r := &badRoom{left: newCauses(), gone: newCauses()}
	var logger *slog.Logger
	r.log, logger = newLog(t)
	r.Room = tcproom.New(append([]tcproom.RoomOption{
		tcproom.WithNotices(false), tcproom.WithMaxMessage(1 << 10), tcproom.WithLogger(logger),
		tcproom.WithFraming(tcproom.Length{Bytes: 8}), tcproom.WithCodec(tcproom.Raw{}),
		tcproom.OnLeave(r.left.Left), tcproom.OnReject(r.gone.Rejected),
	}, opts...)...)
	t.Cleanup(func() { r.Close() })
	r.a, r.b = join(t, r.Room), join(t, r.Room)
	return r
}

// chat checks that the witnesses hear each other, and before that what bad
// peers said that was good.
func (r *badRoom) chat(t testing.TB, before ...string) {
	t.Helper()
	for _, body := range before {
		require.Equal(t, body, string(next(t, r.a).Body))
		require.Equal(t, body, string(next(t, r.b).Body))
	}
	r.n++
	send(t, r.a, fmt.Sprint("a", r.n))
	require.Equal(t, fmt.Sprint("a", r.n), string(next(t, r.b).Body))
	send(t, r.b, fmt.Sprint("b", r.n))
	require.Equal(t, fmt.Sprint("b", r.n), string(next(t, r.a).Body))
}

const (
	httpRequest = "GET /\x1b[31m HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8\r\nAccept: */*\r\n\r\n"
	tlsHello    = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\x9b\x00\x00\x7f\n"
)

// A fault is what a bad peer sends, and what comes of it.
type fault struct {
	name, bytes string
	cause       error
	end         func(t *testing.T, nc *net.TCPConn) // nil: the peer goes on reading
}

// badFrames are what is bad in a framing; partial is half a frame.
type badFrames struct {
	name    string
	framing tcproom.Framing
	partial string
	faults  []fault
}

func badInputs() []badFrames {
	long := strings.Repeat("x", 64<<10)
	return []badFrames{
		{name: "lines", framing: tcproom.Lines{}, partial: "half", faults: []fault{{name: "oversized", bytes: long, cause: tcproom.ErrFrameTooLarge, end: nil}}},
		{name: "delimiter", framing: tcproom.Delimiter("\x00\x00"), partial: "half\x00", faults: []fault{{name: "oversized", bytes: long, cause: tcproom.ErrFrameTooLarge, end: nil}}},
		{name: "length1", framing: tcproom.Length{Bytes: 1}, partial: "\xff.", faults: nil},
		{name: "length4", framing: tcproom.Length{}, partial: "\x00\x00\x00\x05half", faults: []fault{
			{name: "oversized", bytes: "\x00\x00\x40\x01", cause: tcproom.ErrFrameTooLarge, end: nil},
			{name: "http", bytes: httpRequest, cause: tcproom.ErrFrameTooLarge, end: nil},
			{name: "tls", bytes: tlsHello, cause: tcproom.ErrFrameTooLarge, end: nil},
		}},
		{name: "length8", framing: tcproom.Length{Bytes: 8, LittleEndian: true}, partial: "\x05\x00\x00\x00\x00\x00\x00\x00half", faults: []fault{
			{name: "oversized", bytes: "\xff\xff\xff\xff\xff\xff\xff\xff", cause: tcproom.ErrFrameTooLarge, end: nil},
		}},
		{name: "varint", framing: tcproom.Varint{}, partial: "\x05half", faults: []fault{
			{name: "oversized", bytes: "\xff\xff\xff\xff\x7f", cause: tcproom.ErrFrameTooLarge, end: nil},
			{name: "malformed", bytes: strings.Repeat("\xff", 10), cause: tcproom.ErrMalformed, end: nil},
		}},
		{name: "netstring", framing: tcproom.Netstring{}, partial: "5:half", faults: []fault{
			{name: "oversized", bytes: "99999999", cause: tcproom.ErrFrameTooLarge, end: nil},
			{name: "malformed", bytes: "2:hi\x1b", cause: tcproom.ErrMalformed, end: nil},
			{name: "http", bytes: httpRequest, cause: tcproom.ErrMalformed, end: nil},
			{name: "tls", bytes: tlsHello, cause: tcproom.ErrMalformed, end: nil},
		}},
		{name: "content-length", framing: tcproom.ContentLength{}, partial: "Content-Length: 5\r\n\r\nhalf", faults: []fault{
			{name: "oversized", bytes: "Content-Length: 99999999", cause: tcproom.ErrFrameTooLarge, end: nil},
			{name: "malformed", bytes: "Content-Length: +5\r\n\r\nhello", cause: tcproom.ErrMalformed, end: nil},
			{name: "endless", bytes: "X-X: " + long, cause: tcproom.ErrMalformed, end: nil},
			{name: "http", bytes: httpRequest, cause: tcproom.ErrMalformed, end: nil},
			{name: "tls", bytes: tlsHello, cause: tcproom.ErrMalformed, end: nil},
		}},
	}
}

// TestBadInput: what bad bytes get is a clear cause, a goodbye where there is
// one, and the end of that one connection.
func TestBadInput(t *testing.T) {
	halfClose := func(t *testing.T, nc *net.TCPConn) { require.NoError(t, nc.CloseWrite()) }
	reset := func(t *testing.T, nc *net.TCPConn) { nc.SetLinger(0); nc.Close() }
	for _, codec := range []tcproom.Codec{tcproom.Text{}, tcproom.Raw{}, tcproom.JSON{}} {
		r := newBadRoom(t)
		for _, tt := range badInputs() {
			if codec == (tcproom.JSON{}) && tt.name == "length1" {
				continue // its objects are longer than that
			}
			addr := serveTCP(t, r.Room, tcproom.WithFraming(tt.framing), tcproom.WithCodec(codec))
			faults := append(tt.faults,
				fault{"EOF in mid-frame", tt.partial, io.ErrUnexpectedEOF, halfClose},
				fault{"reset in mid-frame", tt.partial, errReset, reset})
			for _, f := range faults {
				t.Run(fmt.Sprintf("%T %s %s", codec, tt.name, f.name), func(t *testing.T) {
					nc := dialRaw(t, addr)
					good := "good\x1b"
					greets := codec.Features().Hello
					bad := f.bytes
					if greets && strings.HasPrefix(tt.name, "li") && f.name == "oversized" {
						bad = strings.Repeat("x", 9<<10)
					}
					if greets {
						hello, err := codec.AppendRequest(nil, &tcproom.Request{Kind: tcproom.ReqHello, Hello: &tcproom.Hello{Name: "bad"}})
						require.NoError(t, err)
						hello, err = tt.framing.AppendFrame(nil, hello)
						require.NoError(t, err)
						_, err = nc.Write(hello)
						require.NoError(t, err)
					}
					waitLen(t, r.Room, 3)
					msg, err := codec.AppendRequest(nil, &tcproom.Request{Kind: tcproom.ReqSay, Body: []byte(good)})
					require.NoError(t, err)
					msg, err = tt.framing.AppendFrame(nil, msg)
					require.NoError(t, err)
					_, err = nc.Write(append(msg, bad...))
					require.NoError(t, err)
					r.chat(t, good) // it has been read
					var said []byte
					if f.end != nil {
						f.end(t, nc)
					} else {
						said, err = io.ReadAll(nc)
						require.NoError(t, err, "a FIN and not a RST")
						nc.Close()
					}
					cause := r.left.Next(t)
					if f.cause == errReset && errors.Is(cause, io.ErrUnexpectedEOF) {
						// The kernel tells once that a connection was reset: the
						// writer may have been told, and the reader gets EOF.
						cause = errReset
					}
					require.ErrorIs(t, cause, f.cause)
					require.Less(t, len(cause.Error()), 512)
					waitLen(t, r.Room, 2)
					if f.end == nil {
						if _, isRaw := codec.(tcproom.Raw); !isRaw {
							require.Contains(t, string(said), "goodbye")
							require.NotContains(t, string(said), "\x1b")
						}
					}
					r.chat(t)
				})
			}
		}
		require.Empty(t, r.gone.C)
		log := strings.Join(r.log.With(""), "")
		require.NotContains(t, log, "\x1b")
		require.Contains(t, log, "malformed")
	}
}

// TestBadHello: with a codec that begins with a hello, everything else on the
// port is refused in words, before it has joined.
func TestBadHello(t *testing.T) {
	tests := []struct {
		name, bytes string
		cause       error
		code        string
	}{
		{name: "http", bytes: httpRequest, cause: tcproom.ErrWrongDoor, code: "wrong-door"},
		{name: "tls", bytes: tlsHello, cause: tcproom.ErrWrongDoor, code: "wrong-door"},
		{name: "two byte order marks", bytes: "\n\ufeff\ufeff" + `{"type":"hello"}` + "\n", cause: tcproom.ErrMalformed, code: "malformed"},
		{name: "byte order mark alone", bytes: "\ufeff\n" + `{"type":"hello"}` + "\n", cause: tcproom.ErrMalformed, code: "malformed"},
		{name: "empty lines only", bytes: strings.Repeat("\n", 5<<10), cause: tcproom.ErrFrameTooLarge, code: "too-large"},
		{name: "empty line, then EOF", bytes: "\n", cause: io.EOF, code: ""},
		{name: "no hello", bytes: `{"type":"message","body":"hi"}` + "\n", cause: tcproom.ErrMalformed, code: "malformed"},
		{name: "missing type", bytes: `{"name":"ada"}` + "\n", cause: tcproom.ErrMalformed, code: "malformed"},
		{name: "unknown type", bytes: `{"type":"wat\u001b"}` + "\n", cause: tcproom.ErrMalformed, code: "malformed"},
		{name: "bad name", bytes: `{"type":"hello","name":"a\u001b[31m"}` + "\n", cause: tcproom.ErrNameInvalid, code: "name-invalid"},
		{name: "huge", bytes: `{"type":"hello","x":"` + strings.Repeat("x", 4<<10) + `"}` + "\n", cause: tcproom.ErrFrameTooLarge, code: "too-large"},
		{name: "endless", bytes: strings.Repeat("x", 64<<10), cause: tcproom.ErrWrongDoor, code: "wrong-door"},
		{name: "half, then EOF", bytes: `{"type":"hel`, cause: io.ErrUnexpectedEOF, code: ""},
		{name: "nothing, then EOF", bytes: "", cause: io.EOF, code: ""},
	}
	r := newBadRoom(t)
	addr := serveTCP(t, r.Room, tcproom.WithFraming(tcproom.Lines{}), tcproom.WithCodec(tcproom.JSON{}))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			nc := dialRaw(t, addr)
			_, err := io.WriteString(nc, tt.bytes)
			require.NoError(t, err)
			if tt.code == "" {
				require.NoError(t, nc.CloseWrite())
			}
			said, err := io.ReadAll(nc)
			require.NoError(t, err)
			nc.Close()
			require.ErrorIs(t, r.gone.Next(t), tt.cause)
			if tt.code != "" {
				require.Contains(t, string(said), `{"type":"refused","code":"`+tt.code+`"`)
			}
			require.Less(t, len(said), 1<<10)
			r.chat(t)
		})
	}
	eventually(t, "all are counted", func() bool { // OnReject comes before that
		s := r.Stats()
		return s.Refused == uint64(len(tests)) && s.Pending == 0
	})
	require.Empty(t, r.left.C)
}

// TestBadJSON: unknown types are ignored and logged once; a message without a
// type and a second hello are malformed.
func TestBadJSON(t *testing.T) {
	r := newBadRoom(t)
	addr := serveTCP(t, r.Room, tcproom.WithFraming(tcproom.Lines{}), tcproom.WithCodec(tcproom.JSON{}))
	for _, tt := range []struct {
		name, bytes string
		cause       error
	}{
		{name: "missing type", bytes: `{"body":"hi"}` + "\n", cause: tcproom.ErrMalformed},
		{name: "second hello", bytes: `{"type":"hello"}` + "\n", cause: tcproom.ErrMalformed},
		{name: "no object", bytes: "[1]\n", cause: tcproom.ErrMalformed},
		{name: "no body", bytes: `{"type":"message"}` + "\n", cause: tcproom.ErrMalformed},
		{name: "a body above the limit", bytes: `{"type":"message","body":"` + strings.Repeat("x", 1<<10+1) + `"}` + "\n", cause: tcproom.ErrFrameTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nc := dialRaw(t, addr)
			_, err := io.WriteString(nc, `{"type":"hello"}`+"\n")
			require.NoError(t, err)
			waitLen(t, r.Room, 3)
			before := len(r.log.With(""))
			for i := range 100 {
				fmt.Fprintf(nc, `{"type":"unknown\u001b %d"}`+"\n", i)
			}
			_, err = io.WriteString(nc, `{"type":"message","body":"good"}`+"\n"+tt.bytes+`{"type":"message","body":"late"}`+"\n")
			require.NoError(t, err)
			said, err := io.ReadAll(nc)
			require.NoError(t, err)
			nc.Close()
			require.Contains(t, string(said), `"goodbye"`)
			require.ErrorIs(t, r.left.Next(t), tt.cause)
			r.chat(t, "good")
			ignored := 0
			for _, line := range r.log.With("")[before:] {
				if strings.Contains(line, "ignored") {
					ignored++
					require.Contains(t, line, "unknown")
				}
			}
			require.Equal(t, 1, ignored)
		})
	}
}

// TestSlowHello: the deadline of a handshake is one, however often a byte comes.
func TestSlowHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := newCauses()
		room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithHandshakeTimeout(10*time.Second), tcproom.OnReject(gone.Rejected))
		here, there := net.Pipe()
		done := make(chan error, 1)
		go func() { done <- room.ServeConn(there) }()
		start := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := range 100 {
				if _, err := here.Write([]byte(`{"type":"hello","name":"slow but steady"}`[i : i+1])); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		said, err := io.ReadAll(here)
		require.NoError(t, err)
		require.Contains(t, string(said), `"handshake-timeout"`)
		require.ErrorIs(t, <-done, errHandshakeTimeout)
		require.InDelta(t, 10, time.Since(start).Seconds(), 0.6)
		require.ErrorIs(t, gone.Next(t), errHandshakeTimeout)
		here.Close()
		room.Close()
		wg.Wait()
	})
}

// TestBytesBeforeTheJoin: a conn that has not joined gets at most 4 KiB read.
func TestBytesBeforeTheJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBadRoom(t)
		frames := 0
		nc, served := enter(t, r.Room, tcproom.WithFraming(tcproom.Lines{}),
			tcproom.WithHandshake(func(ctx context.Context, c *tcproom.Newcomer) (tcproom.Identity, error) {
				for {
					if _, err := c.Receive(ctx); err != nil {
						return tcproom.Identity{}, err
					}
					frames++
				}
			}))
		go io.WriteString(nc, strings.Repeat(strings.Repeat("x", 99)+"\n", 1000))
		require.ErrorIs(t, <-served, tcproom.ErrFrameTooLarge)
		require.ErrorIs(t, r.gone.Next(t), tcproom.ErrFrameTooLarge)
		require.Equal(t, 40, frames)
		r.chat(t)
	})
}

// TestFloodOfEmptyFrames: they cost what they cost, and memory stays flat (F16).
func TestFloodOfEmptyFrames(t *testing.T) {
	r := newBadRoom(t, tcproom.WithBacklog(256<<10), tcproom.WithSlowMembers(tcproom.Block(0))) // the witnesses may be slower
	addr := serveTCP(t, r.Room, tcproom.WithFraming(tcproom.Lines{}))
	nc := dialRaw(t, addr)
	waitLen(t, r.Room, 3)
	const n = 1 << 18
	go func() {
		nc.Write(bytes.Repeat([]byte("\n"), n))
		nc.CloseWrite()
	}()
	before := memory()
	var wg sync.WaitGroup
	for _, c := range []*tcproom.Conn{r.a, r.b} {
		wg.Go(func() {
			for i := range n {
				ev, err := c.Receive(context.Background())
				if err != nil || len(ev.Body) != 0 {
					t.Errorf("got %q, %v at %d", ev.Body, err, i)
					return
				}
			}
		})
	}
	wg.Wait()
	require.ErrorIs(t, r.left.Next(t), io.EOF)
	if grown := memory() - before; grown > 16<<20 && !raceEnabled {
		t.Fatalf("memory grew by %d", grown)
	}
	r.chat(t)
}

// TestResetWhileOthersTalk: resets at every moment of a connection's life leave
// nothing behind and disturb nobody.
func TestResetWhileOthersTalk(t *testing.T) {
	checkGoroutines(t)
	r := newBadRoom(t)
	addr := serveTCP(t, r.Room, tcproom.WithFraming(tcproom.Netstring{}), tcproom.WithCodec(tcproom.JSON{}))
	whole := `16:{"type":"hello"},` + `30:{"type":"message","body":"hi"},`
	for at := range len(whole) {
		nc := dialRaw(t, addr)
		_, err := io.WriteString(nc, whole[:at])
		require.NoError(t, err)
		nc.SetLinger(0)
		nc.Close()
		r.chat(t)
	}
	eventually(t, "all are gone", func() bool {
		s := r.Stats()
		return s.Pending == 0 && s.Members == 2 && len(r.left.C)+len(r.gone.C) == len(whole)
	})
}
