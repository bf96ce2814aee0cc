package roomhttp

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
)

// FuzzWireSplit: no bytes of a client's make SplitFrame panic or break its contract,
// and it says the same however they were cut. No body makes the codecs panic.
func FuzzWireSplit(f *testing.F) {
	for _, tt := range autobahnCases() {
		if data := bytes.Join(tt.in, nil); len(data) < 1000 {
			f.Add(data, uint16(1000))
			f.Add(data, uint16(len(data)/2))
		}
	}
	f.Add([]byte("\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00"), uint16(9))
	f.Add([]byte("\x01\x80abcd\x89\x80efgh\x80\x80ijkl"), uint16(35))
	f.Fuzz(func(t *testing.T, data []byte, most uint16) {
		data, limit := data[:min(len(data), 1<<11)], int(most)
		was := bytes.Clone(data)
		first := ""
		for cut := range len(data) + 1 {
			got := outcome(data[:cut:cut], limit)
			if first != "" {
				require.Equal(t, first, got, "the first %d of %q", cut, data)
			} else if got != "more" {
				first = got
			}
		}
		require.Equal(t, was, data, "written to")
		n, body, err := wire{}.SplitFrame(data, limit)
		if n == 0 || err != nil {
			return
		}
		require.LessOrEqual(t, n, len(data))
		require.LessOrEqual(t, len(body), limit)
		for _, c := range []tcproom.ControlFrames{wsJSON{}, wsText{}} {
			var req tcproom.Request
			err := c.ParseRequest(body, &req)
			answer := serverSays(t, c.AppendAnswer(nil, body))
			if err == nil && (req.Kind == tcproom.ReqPing || req.Kind == tcproom.ReqGoodbye) {
				require.NotEmpty(t, answer)
			}
			c.AppendAnswer(nil, data)
			c.ParseRequest(data, new(tcproom.Request))
			c.ParseEvent(data, new(tcproom.Event))
		}
	})
}

// FuzzWireRoundTrip: what a client frames, whole or in fragments with control frames
// between them, is what SplitFrame returns.
func FuzzWireRoundTrip(f *testing.F) {
	f.Add([]byte("hello"), uint32(0x3d21fa37), uint64(0))
	f.Add([]byte("a€b"), uint32(1), uint64(1))
	f.Add([]byte{}, uint32(0), uint64(2))
	f.Add(bytes.Repeat([]byte("x"), 300), uint32(0xffffffff), uint64(3))
	f.Fuzz(func(t *testing.T, payload []byte, key uint32, seed uint64) {
		mask := [4]byte{byte(key), byte(key >> 8), byte(key >> 16), byte(key >> 24)}
		op := byte(opBinary)
		if utf8.Valid(payload) {
			op = opText
		}
		whole := appendClient(nil, fin|op, payload, mask)
		require.Equal(t, fmt.Sprintf("%d %q", len(whole), append([]byte{fin | op}, payload...)), outcome(whole, 1+len(payload)))
		cut, ping := fragments(rand.New(rand.NewPCG(seed, 1)), op, payload, mask)
		body := []byte{fin | op}
		if ping != nil {
			body = append([]byte{fin | op | withPing, byte(len(ping))}, ping...)
		}
		body = append(body, payload...)
		require.Equal(t, fmt.Sprintf("%d %q", len(cut), body), outcome(cut, len(payload)+1<<20))
	})
}
