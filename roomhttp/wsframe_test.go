package roomhttp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
)

var testMasks = [][4]byte{{0x37, 0xfa, 0x21, 0x3d}, {}, {0xff, 0xff, 0xff, 0xff}, {0, 1, 2, 3}}

// appendClient appends a client's frame: first is its first byte.
func appendClient(dst []byte, first byte, payload []byte, mask [4]byte) []byte {
	dst = append(dst, first)
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, 0x80|byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, 0x80|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 0x80|127), uint64(n))
	}
	dst = append(dst, mask[:]...)
	for i, b := range payload {
		dst = append(dst, b^mask[i%4])
	}
	return dst
}

func client(first byte, payload string) []byte {
	return appendClient(nil, first, []byte(payload), testMasks[0])
}

// clientEnd is wire for a body in a binary message, with a client in place of the
// server's sending half: so it is a framing whose two methods are the inverse of each
// other.
type clientEnd struct{ mask [4]byte }

func (c clientEnd) AppendFrame(dst, body []byte) ([]byte, error) {
	return appendClient(dst, fin|opBinary, body, c.mask), nil
}

func (c clientEnd) SplitFrame(data []byte, max int) (int, []byte, error) {
	if max < math.MaxInt {
		max++ // for the opcode
	}
	n, body, err := wire{}.SplitFrame(data, max)
	if n > 0 && err == nil {
		body = body[1:]
	}
	return n, body, err
}

// TestWireConforms: what wire reads of a client keeps the contract of a Framing.
func TestWireConforms(t *testing.T) {
	t.Parallel()
	require.NoError(t, roomtest.TestFraming(clientEnd{testMasks[0]}))
}

// TestCodecsOverWSConform: the codecs keep the contract of a Codec in both directions.
func TestCodecsOverWSConform(t *testing.T) {
	t.Parallel()
	require.NoError(t, roomtest.TestCodec(wsJSON{}))
	require.NoError(t, roomtest.TestCodec(wsText{}))
	require.True(t, any(wire{}) == any(wire{}) && any(wsJSON{}) == any(wsJSON{}), "one lane for all members")
}

// TestWireAppends: a frame is the body, which is whole frames.
func TestWireAppends(t *testing.T) {
	t.Parallel()
	got, err := wire{}.AppendFrame([]byte("before"), []byte("body"))
	require.NoError(t, err)
	require.Equal(t, "beforebody", string(got))
}

// outcome returns what SplitFrame says, in one word.
func outcome(data []byte, max int) string {
	n, body, err := wire{}.SplitFrame(data, max)
	var v *violation
	switch {
	case errors.As(err, &v):
		return fmt.Sprintf("violation %d", v.code)
	case errors.Is(err, tcproom.ErrFrameTooLarge):
		return "too large"
	case err != nil:
		return "another error: " + err.Error()
	case n == 0:
		return "more"
	}
	return fmt.Sprintf("%d %q", n, body)
}

// requireAtEveryByte: data, cut at every byte, is incomplete until it is want.
func requireAtEveryByte(t *testing.T, data []byte, max int, want string) {
	t.Helper()
	require.Equal(t, want, outcome(data, max))
	require.Equal(t, want, outcome(append(bytes.Clone(data), 0xff, 0x81, 0), max), "more behind it")
	for cut := range data {
		if 300 < cut && cut < len(data)-300 && cut%997 != 0 {
			continue
		}
		if got := outcome(data[:cut], max); got != "more" {
			require.Equal(t, want, got, "the first %d bytes", cut)
			require.NotContains(t, want, " \"", "a message of which the end is missing")
		}
	}
}

var testSizes = []int{0, 1, 7, 8, 9, 125, 126, 127, 65535, 65536, 65537}

// TestWireMessages: messages of all forms of a length, with all kinds of masks, whole
// and in fragments, with control frames in between.
func TestWireMessages(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for _, size := range testSizes {
		for i, mask := range testMasks {
			payload := []byte(strings.Repeat("a€b\x00ü~", size/9+1))[:size]
			op := byte(opBinary)
			if i%2 == 0 {
				op = opText
				payload = bytes.ToValidUTF8(payload, nil)
			}
			whole := appendClient(nil, fin|op, payload, mask)
			body := append([]byte{fin | op}, payload...)
			requireAtEveryByte(t, whole, 1+len(payload), fmt.Sprintf("%d %q", len(whole), body))
			requireAtEveryByte(t, whole[:len(whole)-len(payload)], len(payload), "too large")

			pieces, ping := fragments(r, op, payload, mask)
			if ping != nil {
				body = append([]byte{fin | op | withPing, byte(len(ping))}, ping...)
				body = append(body, payload...)
			}
			requireAtEveryByte(t, pieces, len(payload)+1<<12, fmt.Sprintf("%d %q", len(pieces), body))
		}
	}
}

// fragments returns a message in fragments, and the payload of the last ping inside.
func fragments(r *rand.Rand, op byte, payload []byte, mask [4]byte) (data, ping []byte) {
	for first := op; ; first = opContinuation {
		n := min(len(payload), r.IntN(len(payload)/3+2))
		last := len(payload) == n && r.IntN(3) == 0
		if last {
			first |= fin
		}
		data = appendClient(data, first, payload[:n], mask)
		if last {
			return data, ping
		}
		payload = payload[n:]
		switch r.IntN(4) {
		case 0:
			ping = bytes.Repeat([]byte{byte(r.Uint32())}, r.IntN(126))
			data = appendClient(data, fin|opPing, ping, mask)
		case 1:
			data = appendClient(data, fin|opPong, []byte("pong"), mask)
		}
	}
}

// TestWireControlFrames: a control frame before a message is a frame of its own, and a
// Close inside one makes it void.
func TestWireControlFrames(t *testing.T) {
	t.Parallel()
	longest := strings.Repeat("\xff", 125)
	for _, op := range []byte{opPing, opPong} {
		for _, payload := range []string{"", "x", longest} {
			data := client(fin|op, payload)
			requireAtEveryByte(t, append(data, client(fin|opText, "hi")...)[:len(data)], 1+len(payload), fmt.Sprintf("%d %q", len(data), string([]byte{fin | op})+payload))
			require.Equal(t, "too large", outcome(data, len(payload)))
		}
	}
	begun := client(opText, "hi")
	void := bytes.Join([][]byte{begun, client(fin|opPing, "p"), client(opContinuation, "\xff"), client(fin|opClose, "\x03\xe9bye")}, nil)
	requireAtEveryByte(t, void, 1<<10, fmt.Sprintf("%d %q", len(void), "\x88\x03\xe9bye"))
}

// TestWireViolations: what RFC 6455 forbids is known by the first byte that shows it.
func TestWireViolations(t *testing.T) {
	t.Parallel()
	begun := string(client(opText, "a"))
	for _, tt := range []struct {
		name, data string
		want       string
	}{
		{name: "RSV1", data: "\xc1", want: "violation 1002"},
		{name: "RSV2", data: "\xa1", want: "violation 1002"},
		{name: "RSV3 of a ping", data: "\x99", want: "violation 1002"},
		{name: "opcode 3", data: "\x83", want: "violation 1002"},
		{name: "opcode 7", data: "\x87", want: "violation 1002"},
		{name: "opcode 11", data: "\x8b", want: "violation 1002"},
		{name: "opcode 15", data: "\x8f", want: "violation 1002"},
		{name: "a ping in fragments", data: "\x09", want: "violation 1002"},
		{name: "a close in fragments", data: "\x08", want: "violation 1002"},
		{name: "a continuation of nothing", data: "\x80", want: "violation 1002"},
		{name: "more of nothing", data: "\x00", want: "violation 1002"},
		{name: "a message in a message", data: begun + "\x81", want: "violation 1002"},
		{name: "a beginning in a message", data: begun + "\x02", want: "violation 1002"},
		{name: "no mask", data: "\x81\x02", want: "violation 1002"},
		{name: "no mask in a fragment", data: begun + "\x80\x00", want: "violation 1002"},
		{name: "a ping of 126 bytes", data: "\x89\xfe", want: "violation 1002"},
		{name: "a close of 64 bits", data: "\x88\xff", want: "violation 1002"},
		{name: "125 in 16 bits", data: "\x81\xfe\x00\x7d", want: "violation 1002"},
		{name: "65535 in 64 bits", data: "\x81\xff\x00\x00\x00\x00\x00\x00\xff\xff", want: "violation 1002"},
		{name: "1025 bytes", data: "\x82\xfe\x04\x01", want: "too large"},
		{name: "2^63 bytes", data: "\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00", want: "too large"},
		{name: "2^63-1 bytes in a fragment", data: begun + "\x80\xff\x7f\xff\xff\xff\xff\xff\xff\xff", want: "too large"},
		{name: "2^64-1 bytes", data: "\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff", want: "too large"},
		{name: "bad UTF-8", data: string(client(fin|opText, "a\xff")), want: "violation 1007"},
		{name: "half a rune", data: string(client(fin|opText, "\xe2\x82")), want: "violation 1007"},
		{name: "bad UTF-8 in fragments", data: begun + string(client(fin, "\x80")), want: "violation 1007"},
		{name: "a close of a byte", data: string(client(fin|opClose, "\x03")), want: "violation 1002"},
		{name: "a close with 1005", data: string(client(fin|opClose, "\x03\xed")), want: "violation 1002"},
		{name: "a close with bad UTF-8", data: string(client(fin|opClose, "\x03\xe8\xff")), want: "violation 1007"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.want, outcome([]byte(tt.data), 1024))
			require.Equal(t, "more", outcome([]byte(tt.data[:len(tt.data)-1]), 1024), "a byte less")
			require.Equal(t, tt.want, outcome([]byte(tt.data+"\x00more"), 1024))
		})
	}
	require.Equal(t, "too large", outcome([]byte("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff"), math.MaxInt), "no overflow")
	require.Equal(t, "more", outcome([]byte("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xfe"), math.MaxInt))
	require.Equal(t, "too large", outcome([]byte(begun+"\x80\xff\x7f\xff\xff\xff\xff\xff\xff\xfe"), math.MaxInt))
}

// TestWireChargesFragments: empty fragments, and control frames between fragments, run
// into the limit, and no sooner than each has been counted as 16 bytes.
func TestWireChargesFragments(t *testing.T) {
	t.Parallel()
	const most = 1000
	for _, piece := range [][]byte{client(opContinuation, ""), client(fin|opPong, ""), client(fin|opPing, "")} {
		data := client(opText, "")
		for range (most - 1) / fragmentCharge {
			require.Equal(t, "more", outcome(data, most))
			data = append(data, piece...)
		}
		require.Equal(t, "too large", outcome(data, most))
	}
	ping := client(fin|opPing, strings.Repeat("p", 125))
	data := append(client(opText, ""), bytes.Repeat(ping, 7)...)
	require.Equal(t, "too large", outcome(data, most), "the payload of pings counts too")
	require.Equal(t, "more", outcome(data[:len(data)-len(ping)], most))
}

// TestWireRoomForFragments: MaxFrame leaves room for the fragments that browsers send
// of a message of the largest size, and for a ping inside.
func TestWireRoomForFragments(t *testing.T) {
	t.Parallel()
	const most = 900 << 10
	for _, codec := range []tcproom.FrameBounder{wsJSON{}, wsText{}} {
		toRoom, _ := codec.MaxFrame(most)
		var data []byte
		payload := bytes.Repeat([]byte("a"), most)
		for first := byte(opText); len(payload) > 1<<14; first = opContinuation {
			data = appendClient(data, first, payload[:1<<14], testMasks[0])
			payload = payload[1<<14:]
		}
		data = append(data, client(fin|opPing, strings.Repeat("p", 125))...)
		data = appendClient(data, fin, payload, testMasks[0])
		n, body, err := wire{}.SplitFrame(data, toRoom)
		require.NoError(t, err)
		require.Equal(t, len(data), n)
		require.Len(t, body, 2+125+most)
	}
	for _, codec := range []tcproom.FrameBounder{wsJSON{}, wsText{}} {
		for _, n := range []int{-1, 0, math.MaxInt} {
			toRoom, toMember := codec.MaxFrame(n)
			require.Positive(t, toRoom)
			require.GreaterOrEqual(t, toMember, 2+maxControl)
		}
	}
}

// TestOverWSAppends: the bytes towards a member, by the examples of RFC 6455 5.7.
func TestOverWSAppends(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		ev   tcproom.Event
		want string
	}{
		{name: "message", ev: tcproom.Event{Kind: tcproom.Message, Body: []byte("Hello")}, want: "\x81\x08*: Hello"},
		{name: "126 bytes", ev: tcproom.Event{Kind: tcproom.Message, Body: bytes.Repeat([]byte("a"), 123)}, want: "\x81\x7e\x00\x7e*: " + strings.Repeat("a", 123)},
		{name: "65535 bytes", ev: tcproom.Event{Kind: tcproom.Message, Body: bytes.Repeat([]byte("a"), 65532)}, want: "\x81\x7e\xff\xff*: " + strings.Repeat("a", 65532)},
		{name: "65536 bytes", ev: tcproom.Event{Kind: tcproom.Message, Body: bytes.Repeat([]byte("a"), 65533)}, want: "\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00*: " + strings.Repeat("a", 65533)},
		{name: "not UTF-8", ev: tcproom.Event{Kind: tcproom.Message, Body: []byte("\xff")}, want: "\x81\x07*: \\xff"},
		{name: "ping", ev: tcproom.Event{Kind: tcproom.Ping}, want: "\x89\x00"},
		{name: "pong", ev: tcproom.Event{Kind: tcproom.Pong}, want: "\x8a\x00"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := wsText{}.AppendEvent([]byte("before"), &tt.ev)
			require.NoError(t, err)
			require.Equal(t, "before"+tt.want, string(got))
		})
	}
	got, err := wsText{}.AppendEvent([]byte("before"), &tcproom.Event{Kind: tcproom.Ack, Number: 1})
	require.ErrorIs(t, err, tcproom.ErrNoFrame)
	require.Equal(t, "before", string(got))
	require.Equal(t, "\x89\x00", string(wsJSON{}.AppendPing(nil)))
	require.True(t, wsText{}.Features().Pings)
	require.True(t, wsJSON{}.Features().Hello)
	require.False(t, wsText{}.Features().Hello)
}

// TestOverWSEnds: the Close that goes with each cause, and its reason.
func TestOverWSEnds(t *testing.T) {
	t.Parallel()
	wrapped := fmt.Errorf("tcproom: read frame: %w", violated(closeInvalidData, "x"))
	for _, tt := range []struct {
		cause tcproom.Cause
		err   error
		code  uint16
	}{
		{cause: "closed", err: nil, code: 1001},
		{cause: "ended", err: nil, code: 1001},
		{cause: "idle-timeout", err: nil, code: 1001},
		{cause: "malformed", err: tcproom.ErrMalformed, code: 1008},
		{cause: "malformed", err: violated(closeProtocolError, "x"), code: 1002},
		{cause: "malformed", err: wrapped, code: 1007},
		{cause: "malformed", err: violated(closeUnsupported, "x"), code: 1003},
		{cause: "kicked", err: wrapped, code: 1008},
		{cause: "too-large", err: nil, code: 1009},
		{cause: "taken-over", err: nil, code: 1008},
		{cause: "denied", err: nil, code: 1008},
		{cause: "name-invalid", err: nil, code: 1008},
		{cause: "name-taken", err: nil, code: 1008},
		{cause: "rate-limited", err: nil, code: 1008},
		{cause: "future", err: nil, code: 1008},
		{cause: "handshake-timeout", err: nil, code: 1008},
		{cause: "wrong-door", err: nil, code: 1008},
		{cause: "hook", err: nil, code: 1011},
		{cause: "unframeable", err: nil, code: 1011},
		{cause: "full", err: nil, code: 1013},
		{cause: "busy", err: nil, code: 1013},
		{cause: "too-many-from-address", err: nil, code: 1013},
		{cause: "too-many-lanes", err: nil, code: 1013},
		{cause: "retry", err: nil, code: 1013},
		{cause: "slow", err: nil, code: 0},
		{cause: "write-timeout", err: nil, code: 0},
		{cause: "reset", err: nil, code: 0},
		{cause: "left", err: nil, code: 0},
		{cause: "cut-off", err: nil, code: 0},
		{cause: "a-hook-s-own", err: nil, code: 1008},
		{cause: "", err: nil, code: 1008},
		{cause: tcproom.Cause(strings.Repeat("é", 100)), err: nil, code: 1008},
		{cause: "\xffa", err: nil, code: 1008},
	} {
		t.Run(string(tt.cause), func(t *testing.T) {
			got := wsJSON{}.AppendEnd([]byte("before"), tt.cause, tt.err)
			if tt.code == 0 {
				require.Equal(t, "before", string(got))
				return
			}
			said := serverSays(t, got[len("before"):])
			require.Len(t, said, 1)
			reason := string(tt.cause)
			switch reason {
			case "\xffa":
				reason = "a"
			case strings.Repeat("é", 100):
				reason = strings.Repeat("é", 61) // 122 bytes
			}
			require.Equal(t, fmt.Sprintf("close %d %q", tt.code, reason), said[0])
		})
	}
}

// TestOverWSGoodbyes: which Close is one for good, and what answers it.
func TestOverWSGoodbyes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, payload, answer string
		resumes               bool
	}{
		{name: "none", payload: "", answer: `close 1000 ""`, resumes: false},
		{name: "1000", payload: "\x03\xe8bye", answer: `close 1000 ""`, resumes: false},
		{name: "1001", payload: "\x03\xe9", answer: `close 1001 ""`, resumes: true},
		{name: "4999", payload: "\x13\x87", answer: `close 4999 ""`, resumes: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, body, err := wire{}.SplitFrame(client(fin|opClose, tt.payload), 1<<10)
			require.NoError(t, err)
			var req tcproom.Request
			require.NoError(t, wsJSON{}.ParseRequest(body, &req))
			require.Equal(t, tcproom.ReqGoodbye, req.Kind)
			require.Equal(t, tt.resumes, req.Resumes)
			said, err := wsJSON{}.AppendRequest(nil, &req)
			require.NoError(t, err)
			var again tcproom.Request
			require.NoError(t, wsJSON{}.ParseRequest(said, &again))
			require.Equal(t, req, again)
			require.Equal(t, []string{tt.answer}, serverSays(t, wsJSON{}.AppendAnswer(nil, body)))
		})
	}
	json := append([]byte{fin | opText}, `{"type":"goodbye"}`...)
	require.Equal(t, []string{`close 1000 ""`}, serverSays(t, wsJSON{}.AppendAnswer(nil, json)))
	json = append([]byte{fin | opText}, `{"type":"ping"}`...)
	require.Equal(t, []string{`text "{\"type\":\"pong\"}"`}, serverSays(t, wsJSON{}.AppendAnswer(nil, json)))
	for _, quiet := range []string{"", "\x8a", "\x8apong", "\x81hi", "\x81", "\x82hi", "\x91", "\x91\x05abc", "\x9a\x00", "\x99\x01aa", "\x09", "\xff"} {
		require.Equal(t, "before", string(wsText{}.AppendAnswer([]byte("before"), []byte(quiet))), "%q", quiet)
	}
	require.Equal(t, "before\x8a\x02ab", string(wsText{}.AppendAnswer([]byte("before"), []byte("\x91\x02abhi"))))
	require.Equal(t, "before\x8a\x00", string(wsText{}.AppendAnswer([]byte("before"), []byte("\x91\x00hi"))), "an empty ping is one")
}

// TestOverWSBadBodies: bodies that wire never returns are malformed.
func TestOverWSBadBodies(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"\x00", "\x80", "\x83", "\x8b", "\x91", "\x91\x02a", "\x98\x00", "\x99\x00", "\x01hi", "\xc1hi", "\x88\x03"} {
		var req tcproom.Request
		require.ErrorIs(t, wsText{}.ParseRequest([]byte(body), &req), tcproom.ErrMalformed, "%q", body)
		require.Zero(t, req)
	}
	for _, frame := range []string{"\x81", "\x81\x02a", "\x81\x01ab", "\x81\xfe", "\x01\x00", "\xc1\x00", "\x81\x80", "\x81\x7e\x00\x01a", "\x82\x00"} {
		var ev tcproom.Event
		require.ErrorIs(t, wsText{}.ParseEvent([]byte(frame), &ev), tcproom.ErrMalformed, "%q", frame)
	}
}

// serverSays takes a server's frames apart.
func serverSays(t *testing.T, data []byte) (said []string) {
	t.Helper()
	for len(data) > 0 {
		require.GreaterOrEqual(t, len(data), 2)
		require.NotZero(t, data[0]&0x80, "FIN")
		require.Less(t, data[1], byte(126), "short and unmasked")
		end := 2 + int(data[1])
		require.GreaterOrEqual(t, len(data), end)
		op, payload := data[0]&0x7f, data[2:end]
		switch op {
		case 1:
			said = append(said, fmt.Sprintf("text %q", payload))
		case 8:
			require.GreaterOrEqual(t, len(payload), 2)
			said = append(said, fmt.Sprintf("close %d %q", binary.BigEndian.Uint16(payload), payload[2:]))
		case 9:
			said = append(said, fmt.Sprintf("ping %q", payload))
		case 10:
			said = append(said, fmt.Sprintf("pong %q", payload))
		default:
			require.Fail(t, "opcode", "%d", op)
		}
		data = data[end:]
	}
	return said
}

// TestCloseCodesDocumented: docs/wire.md says of each cause which Close goes with it.
func TestCloseCodesDocumented(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../docs/wire.md")
	require.NoError(t, err)
	quoted := regexp.MustCompile("`([a-z-]+)`")
	_, causes, ok := strings.Cut(string(doc), "\n### Causes\n")
	require.True(t, ok)
	causes, _, _ = strings.Cut(causes, "\n### ")
	var all []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*)\\|").FindAllStringSubmatch(causes, -1) {
		for _, cause := range quoted.FindAllStringSubmatch(row[1], -1) {
			all = append(all, cause[1])
		}
	}
	require.Greater(t, len(all), 20)

	_, table, ok := strings.Cut(string(doc), "\n# WebSocket\n")
	require.True(t, ok)
	for _, row := range regexp.MustCompile(`(?m)^\| (\d+|none) \|(.*)\|$`).FindAllStringSubmatch(table, -1) {
		code, _ := strconv.Atoi(row[1])
		for _, cause := range quoted.FindAllStringSubmatch(row[2], -1) {
			if cause[1] != "malformed" {
				require.EqualValues(t, code, closeCode(tcproom.Cause(cause[1]), nil), cause[1])
			}
			all = slices.DeleteFunc(all, func(c string) bool { return c == cause[1] })
		}
	}
	require.Empty(t, all, "causes that the table does not have")
}
