package roomhttp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
)

// The cases of the Autobahn test suite, sections 1 to 7, 9 and 10, by their numbers:
// what a client sends, and what a member then says and is answered. Sections 12 and 13
// are about compression, which is not negotiated. Where Autobahn expects an echo,
// there is a message here; it takes text only, so binary messages are refused.

// A peer reads what a client sends, as a link does.
type peer struct {
	t       *testing.T
	limit   int
	held    []byte
	heard   []string
	ended   bool
	largest int // how much was held at most
}

// said shortens what is long.
func said(body string) string {
	if len(body) > 200 {
		return fmt.Sprintf("say %d bytes %08x", len(body), crc32.ChecksumIEEE([]byte(body)))
	}
	return fmt.Sprintf("say %q", body)
}

func (p *peer) read(data []byte) {
	if p.ended {
		return
	}
	p.held = append(p.held, data...)
	p.largest = max(p.largest, len(p.held))
	for !p.ended && len(p.held) > 0 {
		n, body, err := wire{}.SplitFrame(p.held, p.limit)
		if err != nil {
			p.end(err)
			return
		}
		if n == 0 {
			return
		}
		p.held = p.held[n:]
		p.take(body)
	}
}

// take does what a room does with a body.
func (p *peer) take(body []byte) {
	var req tcproom.Request
	err := wsText{}.ParseRequest(body, &req)
	switch {
	case errors.Is(err, tcproom.ErrNoFrame):
	case err != nil:
		p.end(err)
		return
	case req.Kind == tcproom.ReqSay:
		p.heard = append(p.heard, said(string(req.Body)))
	}
	if req.Pinged || req.Kind == tcproom.ReqPing || req.Kind == tcproom.ReqGoodbye {
		p.heard = append(p.heard, serverSays(p.t, wsText{}.AppendAnswer(nil, body))...)
	}
	p.ended = req.Kind == tcproom.ReqGoodbye
}

func (p *peer) end(err error) {
	cause := tcproom.ErrMalformed
	if errors.Is(err, tcproom.ErrFrameTooLarge) {
		cause = tcproom.ErrFrameTooLarge
	}
	p.heard = append(p.heard, serverSays(p.t, wsText{}.AppendEnd(nil, cause, fmt.Errorf("tcproom: read frame: %w", err)))...)
	p.ended = true
}

// What clients send.
func text(s string) []byte      { return client(fin|opText, s) }
func begin(s string) []byte     { return client(opText, s) }
func more(s string) []byte      { return client(opContinuation, s) }
func last(s string) []byte      { return client(fin, s) }
func ping(s string) []byte      { return client(fin|opPing, s) }
func pong(s string) []byte      { return client(fin|opPong, s) }
func closing(s string) []byte   { return client(fin|opClose, s) }
func code(n uint16) string      { return string(binary.BigEndian.AppendUint16(nil, n)) }
func a(n int) string            { return strings.Repeat("*", n) }
func send(f ...[]byte) [][]byte { return f }

// pieces sends s in fragments of size bytes.
func pieces(s string, size int) (frames [][]byte) {
	for first := byte(opText); ; first = opContinuation {
		if len(s) <= size {
			return append(frames, client(fin|first, s))
		}
		frames = append(frames, client(first, s[:size]))
		s = s[size:]
	}
}

const (
	failed  = `close 1002 "malformed"`
	badUTF8 = `close 1007 "malformed"`
	binary1 = `close 1003 "malformed"`
	tooBig  = `close 1009 "too-large"`
	normal  = `close 1000 ""`
)

type autobahnCase struct {
	name string
	in   [][]byte
	want []string
}

func say(bodies ...string) (want []string) {
	for _, b := range bodies {
		want = append(want, said(b))
	}
	return want
}

func autobahnCases() []autobahnCase {
	const hello = "Hello-µ@ßöäüàá-UTF-8!!"
	binaryPing := "\x00\xff\xfe\xfd\xfc\xfb\x00\xff"
	cases := []autobahnCase{
		{name: "1.1.1 an empty message says nothing", in: send(text("")), want: nil},
		{name: "1.2.1 empty binary", in: send(client(fin|opBinary, "")), want: []string{binary1}},
		{name: "1.2.2 binary", in: send(client(fin|opBinary, "\xfe\xfe")), want: []string{binary1}},
		{name: "2.1 ping", in: send(ping("")), want: []string{`pong ""`}},
		{name: "2.2 ping with text", in: send(ping("Hello, world!")), want: []string{`pong "Hello, world!"`}},
		{name: "2.3 ping with bytes", in: send(ping(binaryPing)), want: []string{fmt.Sprintf("pong %q", binaryPing)}},
		{name: "2.4 2.6 ping of 125 bytes", in: send(ping(a(125))), want: []string{fmt.Sprintf("pong %q", a(125))}},
		{name: "2.5 ping of 126 bytes", in: send(ping(a(126))), want: []string{failed}},
		{name: "2.7 2.8 pongs", in: send(pong(""), pong("unsolicited")), want: nil},
		{name: "2.9 pong and ping", in: send(pong("unsolicited"), ping("ping")), want: []string{`pong "ping"`}},
		{name: "3.1 RSV 1", in: send(client(fin|0x10|opText, "Hello")), want: []string{failed}},
		{name: "3.2 3.3 3.4 RSV 2", in: send(text("Hello"), client(fin|0x20|opText, "Hello"), ping("")), want: append(say("Hello"), failed)},
		{name: "3.5 RSV 5", in: send(client(fin|0x50|opBinary, "\x00")), want: []string{failed}},
		{name: "3.6 RSV 6 of a ping", in: send(client(fin|0x60|opPing, "Hello")), want: []string{failed}},
		{name: "3.7 RSV 7 of a close", in: send(client(fin|0x70|opClose, "Hello")), want: []string{failed}},
		{name: "5.1 ping in fragments", in: send(client(opPing, "fragment1"), last("fragment2")), want: []string{failed}},
		{name: "5.2 pong in fragments", in: send(client(opPong, "fragment1"), last("fragment2")), want: []string{failed}},
		{name: "5.3 5.4 5.5 two fragments", in: send(begin("fragment1"), last("fragment2")), want: say("fragment1fragment2")},
		{name: "5.6 5.7 5.8 ping inside", in: send(begin("fragment1"), ping("ping payload"), last("fragment2")), want: append(say("fragment1fragment2"), `pong "ping payload"`)},
		{name: "5.9 5.10 5.11 last of nothing", in: send(last("non-continuation payload"), text("Hello, world!")), want: []string{failed}},
		{name: "5.12 5.13 5.14 more of nothing", in: send(more("non-continuation payload"), text("Hello, world!")), want: []string{failed}},
		{name: "5.15 more behind the last", in: send(begin("fragment1"), last("fragment2"), more("fragment3"), text("fragment4")), want: append(say("fragment1fragment2"), failed)},
		{name: "5.16 5.17 continuation first", in: send(more("fragment1"), begin("fragment2"), last("fragment3")), want: []string{failed}},
		{name: "5.18 text inside text", in: send(begin("fragment1"), text("fragment2")), want: []string{failed}},
		{name: "5.19 5.20 pings inside: the last is answered", in: send(begin("fragment1"), more("fragment2"), ping("pongme 1!"), more("fragment3"), more("fragment4"), ping("pongme 2!"), last("fragment5")),
			want: append(say("fragment1fragment2fragment3fragment4fragment5"), `pong "pongme 2!"`)},
		{name: "6.1.2 three empty fragments", in: send(begin(""), more(""), last("")), want: nil},
		{name: "6.1.3 one that is not empty", in: send(begin(""), more("middle frame payload"), last("")), want: say("middle frame payload")},
		{name: "6.2.1", in: send(text(hello)), want: say(hello)},
		{name: "6.2.2", in: send(begin(hello[:12]), last(hello[12:])), want: say(hello)},
		{name: "6.2.3 6.2.4 a byte a fragment", in: pieces(hello, 1), want: say(hello)},
		{name: "7.1.1 text and close", in: send(text("Hello World!"), closing(code(1000))), want: append(say("Hello World!"), normal)},
		{name: "7.1.2 two closes", in: send(closing(code(1000)), closing(code(1000))), want: []string{normal}},
		{name: "7.1.3 ping behind a close", in: send(closing(code(1000)), ping("")), want: []string{normal}},
		{name: "7.1.4 text behind a close", in: send(closing(code(1000)), text("Hello World!")), want: []string{normal}},
		{name: "7.1.5 close inside", in: send(begin("fragment1"), closing(code(1000)), last("fragment2")), want: []string{normal}},
		{name: "7.1.6 behind a long one", in: send(text(a(1<<18)), text("Hello World!"), closing(code(1000)), ping("")), want: append(say(a(1<<18), "Hello World!"), normal)},
		{name: "7.3.1 empty close", in: send(closing("")), want: []string{normal}},
		{name: "7.3.2 close of a byte", in: send(closing("a")), want: []string{failed}},
		{name: "7.3.3 7.3.4 close with a reason", in: send(closing(code(1000) + "Hello World!")), want: []string{normal}},
		{name: "7.3.5 the longest reason", in: send(closing(code(1000) + a(123))), want: []string{normal}},
		{name: "7.3.6 one byte more", in: send(closing(code(1000) + a(124))), want: []string{failed}},
		{name: "7.5.1 bad UTF-8 in a reason", in: send(closing(code(1000) + "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited")), want: []string{badUTF8}},
		{name: "10.1.1 fragments of 1300 bytes", in: pieces(a(65536), 1300), want: say(a(65536))},
	}
	add := func(name string, in [][]byte, want []string) { cases = append(cases, autobahnCase{name, in, want}) }
	for i, n := range []int{125, 126, 127, 128, 65535, 65536} {
		add(fmt.Sprintf("1.1.%d", i+2), send(text(a(n))), say(a(n)))
		add(fmt.Sprintf("1.2.%d", i+2), send(client(fin|opBinary, a(n))), []string{binary1})
	}
	var pings [][]byte
	var pongs []string
	for i := range 10 {
		pings = append(pings, ping(fmt.Sprintf("payload-%d", i)))
		pongs = append(pongs, fmt.Sprintf(`pong "payload-%d"`, i))
	}
	add("2.10 2.11 ten pings", pings, pongs)
	for i, op := range []byte{3, 4, 5, 6, 7} {
		add(fmt.Sprintf("4.1.%d", i+1), send(text("Hello"), client(fin|op, "reserved"), ping("")), append(say("Hello"), failed))
		add(fmt.Sprintf("4.2.%d", i+1), send(text("Hello"), client(fin|op+8, ""), ping("")), append(say("Hello"), failed))
	}
	for i, n := range []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999, 1012, 1013, 1014} {
		add(fmt.Sprintf("7.7.%d code %d", i+1, n), send(closing(code(n))), []string{fmt.Sprintf(`close %d ""`, n)})
	}
	for i, n := range []uint16{0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999} {
		add(fmt.Sprintf("7.9.%d code %d", i+1, n), send(closing(code(n))), []string{failed})
	}
	for i, n := range []uint16{5000, 65535} {
		add(fmt.Sprintf("7.13.%d code %d", i+1, n), send(closing(code(n))), []string{failed})
	}
	return cases
}

// play sends data in pieces.
func play(t *testing.T, limit int, data [][]byte) *peer {
	p := &peer{t: t, limit: limit}
	for _, piece := range data {
		p.read(piece)
	}
	return p
}

// TestAutobahn plays each case at once, frame by frame, in pieces of 997 bytes and, if
// it is short, byte by byte.
func TestAutobahn(t *testing.T) {
	t.Parallel()
	limit, _ := wsText{}.MaxFrame(1 << 20)
	for _, tt := range autobahnCases() {
		t.Run(tt.name, func(t *testing.T) {
			all := bytes.Join(tt.in, nil)
			require.Equal(t, tt.want, play(t, limit, [][]byte{all}).heard)
			require.Equal(t, tt.want, play(t, limit, tt.in).heard)
			require.Equal(t, tt.want, play(t, limit, slices.Collect(slices.Chunk(all, 997))).heard)
			if len(all) < 2000 {
				require.Equal(t, tt.want, play(t, limit, slices.Collect(slices.Chunk(all, 1))).heard)
			}
		})
	}
}

// TestAutobahnUTF8 is section 6 from 6.3 on: each string in one frame and in fragments
// of a byte.
func TestAutobahnUTF8(t *testing.T) {
	t.Parallel()
	limit, _ := wsText{}.MaxFrame(1 << 10)
	greek := "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"
	good := []string{
		greek, "\xce\xba", // 6.5, 6.6.2, 6.6.5, 6.6.7, 6.6.9, 6.6.11
		"\x00", "\xc2\x80", "\xe0\xa0\x80", "\xf0\x90\x80\x80", // 6.7
		"\x7f", "\xdf\xbf", "\xef\xbf\xbf", "\xf4\x8f\xbf\xbf", // 6.9
		"\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbd", // 6.11.1 to 6.11.4
		"\xef\xbf\xb9", "\xef\xbf\xba", "\xef\xbf\xbb", "\xef\xbf\xbc", "\xef\xbf\xbe", // 6.23
	}
	for plane := range rune(17) { // 6.22
		good = append(good, string(plane<<16|0xfffe), string(plane<<16|0xffff))
	}
	bad := []string{
		greek + "\xed\xa0\x80edited", greek + "\xf4\x90\x80\x80edited", // 6.3, 6.4
		greek[:1], greek[:3], greek[:4], greek[:6], greek[:8], greek[:10], // 6.6
		"\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80", // 6.8
		"\xf7\xbf\xbf\xbf", "\xfb\xbf\xbf\xbf\xbf", "\xfd\xbf\xbf\xbf\xbf\xbf", // 6.10
		"\xf4\x90\x80\x80",                         // 6.11.5
		"\x80", "\xbf", "\x80\xbf", "\x80\xbf\x80", // 6.12
		"\x80\xbf\x80\xbf", "\x80\xbf\x80\xbf\x80", "\x80\xbf\x80\xbf\x80\xbf",
		"\xc0", "\xe0\x80", "\xf0\x80\x80", "\xf8\x80\x80\x80", "\xfc\x80\x80\x80\x80", // 6.14
		"\xdf", "\xef\xbf", "\xf7\xbf\xbf", "\xfb\xbf\xbf\xbf", "\xfd\xbf\xbf\xbf\xbf",
		"\xc0\xe0\x80\xf0\x80\x80\xf8\x80\x80\x80\xfc\x80\x80\x80\x80\xdf\xef\xbf\xf7\xbf\xbf\xfb\xbf\xbf\xbf\xfd\xbf\xbf\xbf\xbf", // 6.15
		"\xfe", "\xff", "\xfe\xfe\xff\xff", // 6.16
		"\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xf8\x80\x80\x80\xaf", "\xfc\x80\x80\x80\x80\xaf", // 6.17
		"\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xf8\x87\xbf\xbf\xbf", "\xfc\x83\xbf\xbf\xbf\xbf", // 6.18
		"\xc0\x80", "\xe0\x80\x80", "\xf0\x80\x80\x80", "\xf8\x80\x80\x80\x80", "\xfc\x80\x80\x80\x80\x80", // 6.19
		"\xed\xa0\x80", "\xed\xad\xbf", "\xed\xae\x80", "\xed\xaf\xbf", "\xed\xb0\x80", "\xed\xbe\x80", "\xed\xbf\xbf", // 6.20
		"\xed\xa0\x80\xed\xb0\x80", "\xed\xa0\x80\xed\xbf\xbf", "\xed\xad\xbf\xed\xb0\x80", "\xed\xad\xbf\xed\xbf\xbf", // 6.21
		"\xed\xae\x80\xed\xb0\x80", "\xed\xae\x80\xed\xbf\xbf", "\xed\xaf\xbf\xed\xb0\x80", "\xed\xaf\xbf\xed\xbf\xbf",
	}
	for _, first := range [][2]byte{{0xc0, 0xdf}, {0xe0, 0xef}, {0xf0, 0xf7}, {0xf8, 0xfb}, {0xfc, 0xfd}} { // 6.13
		var s []byte
		for b := first[0]; b <= first[1]; b++ {
			s = append(s, b, ' ')
		}
		bad = append(bad, string(s))
	}
	for _, s := range good {
		require.Equal(t, say(s), play(t, limit, send(text(s))).heard)
		require.Equal(t, say(s), play(t, limit, pieces(s, 1)).heard)
		require.Equal(t, append([]string(nil), normal), play(t, limit, send(closing(code(1000)+s))).heard)
	}
	for _, s := range bad {
		require.Equal(t, []string{badUTF8}, play(t, limit, send(text(s))).heard, "%q", s)
		require.Equal(t, []string{badUTF8}, play(t, limit, pieces(s, 1)).heard, "%q", s)
		require.Equal(t, []string{badUTF8}, play(t, limit, send(closing(code(1000)+s))).heard, "%q", s)
	}
}

// TestAutobahnLarge is section 9: large messages, in fragments and pieces of all sizes,
// and what becomes of them above the limit.
func TestAutobahnLarge(t *testing.T) {
	t.Parallel()
	limit, _ := wsText{}.MaxFrame(16 << 20)
	for i, n := range []int{64 << 10, 256 << 10, 1 << 20, 4 << 20, 8 << 20, 16 << 20} {
		t.Run(fmt.Sprintf("9.1.%d", i+1), func(t *testing.T) {
			require.Equal(t, say(a(n)), play(t, limit, send(text(a(n)))).heard)
		})
		t.Run(fmt.Sprintf("9.2.%d", i+1), func(t *testing.T) {
			require.Equal(t, []string{binary1}, play(t, limit, send(client(fin|opBinary, a(min(n, 1<<20))))).heard)
		})
	}
	for i, size := range []int{64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20} {
		t.Run(fmt.Sprintf("9.3.%d", i+1), func(t *testing.T) {
			n := min(1<<12*size, 4<<20) // Autobahn has 4 MiB for all
			require.Equal(t, say(a(n)), play(t, limit, [][]byte{bytes.Join(pieces(a(n), size), nil)}).heard)
		})
	}
	for i, chop := range []int{64, 128, 256, 512, 1024, 2048} {
		t.Run(fmt.Sprintf("9.5.%d", i+1), func(t *testing.T) {
			require.Equal(t, say(a(1<<20)), play(t, limit, slices.Collect(slices.Chunk(text(a(1<<20)), chop))).heard)
		})
	}
	for i, n := range []int{0, 16, 64, 256, 1024, 4096} { // 9.7
		t.Run(fmt.Sprintf("9.7.%d", i+1), func(t *testing.T) {
			var want []string
			if n > 0 {
				want = slices.Repeat(say(a(n)), 1000)
			}
			require.Equal(t, want, play(t, limit, slices.Repeat(send(text(a(n))), 1000)).heard)
		})
	}
	small, _ := wsText{}.MaxFrame(64 << 10)
	p := play(t, small, slices.Collect(slices.Chunk(text(a(4<<20)), 997)))
	require.Equal(t, []string{tooBig}, p.heard)
	require.LessOrEqual(t, p.largest, 997, "it is refused by its header")
	p = play(t, small, pieces(a(64<<10), 16))
	require.Equal(t, []string{tooBig}, p.heard, "fragments of 16 bytes are charged twice that")
	p = play(t, small, append(send(begin("")), slices.Repeat(send(more("")), 8<<10)...))
	require.Equal(t, []string{tooBig}, p.heard)
	require.Less(t, p.largest, small)
}
