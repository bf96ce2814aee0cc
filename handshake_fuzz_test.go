package tcproom

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A scriptConn is a conn whose peer sends chunks, each as one read, then ends
// its half, and reads whatever comes.
type scriptConn struct {
	net.Conn
	chunks [][]byte
}

func (c *scriptConn) Read(b []byte) (int, error) {
	for len(c.chunks) > 0 && len(c.chunks[0]) == 0 {
		c.chunks = c.chunks[1:]
	}
	if len(c.chunks) == 0 {
		return 0, io.EOF
	}
	n := copy(b, c.chunks[0])
	c.chunks[0] = c.chunks[0][n:]
	return n, nil
}
func (c *scriptConn) Write(b []byte) (int, error)      { return len(b), nil }
func (c *scriptConn) CloseWrite() error                { return nil }
func (c *scriptConn) Close() error                     { return nil }
func (c *scriptConn) RemoteAddr() net.Addr             { return nil }
func (c *scriptConn) SetReadDeadline(time.Time) error  { return nil }
func (c *scriptConn) SetWriteDeadline(time.Time) error { return nil }

// A visit is what a room makes of a connection's bytes.
type visit struct {
	name   string // of who joined, or empty
	bodies []string
	cause  error // nil: it left in order
}

// pay a visit to a room of JSON, whose limits are small.
func payVisit(f Framing, chunks [][]byte) (v visit) {
	room := New(WithFraming(f), WithCodec(JSON{}), WithMaxMessage(visitLimit),
		OnJoin(func(m *Member) error { v.name = m.Name(); return nil }),
		OnMessage(func(_ *Member, body []byte) ([]byte, error) {
			v.bodies = append(v.bodies, string(body))
			return nil, nil
		}))
	v.cause = room.ServeConn(&scriptConn{chunks: chunks})
	room.Close()
	return v
}

const visitLimit = 64

// refVisit is the second opinion, which sees all bytes at once.
func refVisit(ref reference, data []byte) (v visit) {
	limit, _ := frameLimits(JSON{}, visitLimit)
	end := func(err error, r *bufio.Reader, at int) error { // of a read that began with at bytes to come
		switch {
		case err != io.EOF && err != io.ErrUnexpectedEOF:
			return err
		case at == 0:
			return nil
		}
		return io.ErrUnexpectedEOF
	}
	shaken := bytes.NewReader(data[:min(len(data), maxShaken)])
	r := bufio.NewReader(shaken)
	var frame []byte
	for len(frame) == 0 { // the empty ones are ignored
		left := shaken.Len() + r.Buffered()
		var err error
		used := min(len(data), maxShaken) - left
		frame, err = ref.read(r, min(limit, maxShaken-used))
		if err = end(err, r, left); err != nil && err != io.ErrUnexpectedEOF {
			return visit{cause: err}
		}
		switch {
		case err == nil && left > 0:
		case len(data) >= maxShaken:
			return visit{cause: ErrFrameTooLarge}
		default:
			return visit{cause: err}
		}
	}
	var hello Request
	if JSON.ParseRequest(JSON{}, frame, &hello) != nil || hello.Kind != ReqHello {
		return visit{cause: ErrMalformed}
	}
	if v.name = hello.Hello.Name; v.name == "" {
		v.name = "guest-1"
	} else if ValidName(v.name) != nil {
		return visit{cause: ErrNameInvalid}
	}
	rest := data[min(len(data), maxShaken)-shaken.Len()-r.Buffered():]
	whole := bytes.NewReader(rest)
	r = bufio.NewReader(whole)
	for {
		left := whole.Len() + r.Buffered()
		frame, err := ref.read(r, limit)
		if err != nil || left == 0 {
			v.cause = end(err, r, left)
			return v
		}
		var req Request
		switch err := (JSON{}).ParseRequest(frame, &req); {
		case errors.Is(err, ErrNoFrame), err == nil && (req.Kind == ReqPing || req.Kind == ReqPong):
		case err == nil && req.Kind == ReqGoodbye:
			return v
		case err != nil, req.Kind != ReqSay:
			v.cause = ErrMalformed
			return v
		case len(req.Body) > visitLimit:
			v.cause = ErrFrameTooLarge
			return v
		default:
			v.bodies = append(v.bodies, string(req.Body))
		}
	}
}

// FuzzHandshake: whatever a stranger sends, and however it is cut, who joins,
// what is heard of them and why they leave is what the second opinion says.
func FuzzHandshake(f *testing.F) {
	framings := []struct {
		f   Framing
		ref reference
	}{{f: Lines{}, ref: refLines}, {f: Length{}, ref: refLength(0, false)}, {f: Varint{}, ref: refVarint}, {f: Netstring{}, ref: refNetstring}, {f: ContentLength{}, ref: refContentLength}}
	for _, frames := range [][]string{
		{}, {`{"type":"hello"}`}, {`{"type":"hello","name":"ada"}`, `{"type":"message","body":"hi"}`, `{"type":"ping"}`, `{"type":"message","data":"aGk="}`},
		{`{"type":"hello","name":"a b"}`, `{"type":"message","body":"late"}`}, {`{"type":"message","body":"early"}`}, {"{"},
		{`{"type":"hello"}`, `{"type":"hello"}`}, {`{"type":"hello","name":"*"}`},
		{"", "\ufeff" + `{"type":"hello"}`, "", `{"type":"message","body":"hi"}`}, {"", ""}, {"\ufeff", `{"type":"hello"}`},
		{`{"type":"hello"}`, `{"type":"message","body":"` + string(bytes.Repeat([]byte("x"), visitLimit+1)) + `"}`},
		{`{"type":"hello","x":"` + string(bytes.Repeat([]byte("x"), maxShaken)) + `"}`},
		{`{"type":"hello"}`, `{"type":"goodbye"}`, `{"type":"message","body":"late"}`}, {`{"type":"goodbye"}`}, {"GET / HTTP/1.1\r"},
	} {
		for i, fr := range framings {
			var data []byte
			for _, frame := range frames {
				data, _ = fr.f.AppendFrame(data, []byte(frame))
			}
			f.Add(uint8(i), data, uint64(len(data)))
			f.Add(uint8(i), data[:len(data)*2/3], uint64(1))
		}
	}
	f.Add(uint8(4), append([]byte("X: "), bytes.Repeat([]byte("x"), 2*maxShaken)...), uint64(2)) // no frame is too large
	f.Fuzz(func(t *testing.T, i uint8, data []byte, seed uint64) {
		if len(data) > 16<<10 {
			return // the reference is slow
		}
		fr := framings[int(i)%len(framings)]
		want := refVisit(fr.ref, data)
		cuts := randomCuts(seed, len(data))
		for _, at := range [][]int{nil, cuts, everyCut(min(len(data), 512))} {
			var chunks [][]byte
			from := 0
			for _, to := range append(at, len(data)) {
				chunks = append(chunks, bytes.Clone(data[from:to]))
				from = to
			}
			got := payVisit(fr.f, chunks)
			if errors.Is(got.cause, ErrWrongDoor) { // a better word for what is malformed or too large
				require.Empty(t, want.name, "it could have joined")
				require.Empty(t, got.name)
				require.NotNil(t, want.cause)
				continue
			}
			require.Equal(t, want.name, got.name)
			require.Equal(t, want.bodies, got.bodies)
			require.ErrorIs(t, got.cause, want.cause)
			if want.cause == nil {
				require.NoError(t, got.cause)
			}
		}
	})
}
