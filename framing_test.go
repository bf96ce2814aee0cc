package tcproom

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// framings are the built-in framings in all their kinds.
var framings = []struct {
	name    string
	framing Framing
	ref     reference
}{
	{name: "Lines", framing: Lines{}, ref: refLines},
	{name: "Delimiter NUL", framing: Delimiter("\x00"), ref: refDelimiter("\x00")},
	{name: "Delimiter empty", framing: Delimiter(""), ref: refDelimiter("\n")},
	{name: "Delimiter CRLF", framing: Delimiter("\r\n"), ref: refDelimiter("\r\n")},
	{name: "Delimiter aab", framing: Delimiter("aab"), ref: refDelimiter("aab")},
	{name: "Delimiter END", framing: Delimiter("END"), ref: refDelimiter("END")},
	{name: "Delimiter ==", framing: Delimiter("=="), ref: refDelimiter("==")},
	{name: "Delimiter long", framing: Delimiter(strings.Repeat("-", 31) + "+"), ref: refDelimiter(Delimiter(strings.Repeat("-", 31) + "+"))},
	{name: "Length 1", framing: Length{Bytes: 1}, ref: refLength(1, false)},
	{name: "Length 2", framing: Length{Bytes: 2}, ref: refLength(2, false)},
	{name: "Length 4", framing: Length{}, ref: refLength(4, false)},
	{name: "Length 8", framing: Length{Bytes: 8}, ref: refLength(8, false)},
	{name: "Length 1 little", framing: Length{Bytes: 1, LittleEndian: true}, ref: refLength(1, true)},
	{name: "Length 2 little", framing: Length{Bytes: 2, LittleEndian: true}, ref: refLength(2, true)},
	{name: "Length 4 little", framing: Length{Bytes: 4, LittleEndian: true}, ref: refLength(4, true)},
	{name: "Length 8 little", framing: Length{Bytes: 8, LittleEndian: true}, ref: refLength(8, true)},
	{name: "Varint", framing: Varint{}, ref: refVarint},
	{name: "Netstring", framing: Netstring{}, ref: refNetstring},
	{name: "ContentLength", framing: ContentLength{}, ref: refContentLength},
}

// body returns n bytes that every framing can carry.
func testBody(n int) []byte {
	return bytes.Repeat([]byte("0,1:2\tz\xff\x80 "), n/10+1)[:n]
}

func TestFramingRoundTrip(t *testing.T) {
	for _, tt := range framings {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{0, 1, 127, 128, 255, 256, 16383, 16384, 65535, 65536} {
				body := testBody(size)
				frame, err := appendFrame(t, tt.framing, body)
				if !tt.ref.carries(body) {
					require.ErrorIs(t, err, ErrUnframeable, "size %d", size)
					continue
				}
				require.NoError(t, err, "size %d", size)
				require.True(t, bytes.Equal(tt.ref.frame(body), frame), "size %d: other bytes than the reference's", size)
				requireStream(t, fed{bodies: []string{string(body)}}, feed(t, tt.framing, frame, size), "own limit")
				requireStream(t, fed{bodies: []string{string(body)}}, feed(t, tt.framing, frame, math.MaxInt), "no limit")
			}
		})
	}
}

// However a stream is cut, it holds the same frames.
func TestFramingSplitIndependence(t *testing.T) {
	for _, tt := range framings {
		t.Run(tt.name, func(t *testing.T) {
			var data []byte
			var want fed
			for _, body := range []string{"hi", "", "a", "\r\r-", "aa aab aab", "0:,", strings.Repeat("x", 130), "="} {
				frame, err := appendFrame(t, tt.framing, []byte(body))
				if err != nil {
					continue
				}
				data = append(data, frame...)
				want.bodies = append(want.bodies, body)
			}
			require.GreaterOrEqual(t, len(want.bodies), 6)
			requireStream(t, want, feed(t, tt.framing, data, 130), "whole")
			requireStream(t, want, feed(t, tt.framing, data, 130, everyCut(len(data))...), "byte by byte")
			for i := range data {
				requireStream(t, want, feed(t, tt.framing, data, 130, i), fmt.Sprintf("cut at %d", i))
			}
		})
	}
}

func TestFramingLimit(t *testing.T) {
	for _, tt := range framings {
		t.Run(tt.name, func(t *testing.T) {
			for _, limit := range []int{0, 1, 2, 9, 10, 99, 100, 127, 128, 255, 1000} {
				for _, size := range []int{limit - 1, limit, limit + 1, 2*limit + 2} {
					if size < 0 {
						continue
					}
					body := testBody(size)
					frame, err := appendFrame(t, tt.framing, body)
					if err != nil {
						continue
					}
					want := fed{bodies: []string{string(body)}}
					if size > limit {
						want = fed{err: ErrFrameTooLarge}
					}
					how := fmt.Sprintf("size %d, limit %d", size, limit)
					requireStream(t, want, feed(t, tt.framing, frame, limit), how)
					requireStream(t, want, feed(t, tt.framing, frame, limit, everyCut(len(frame))...), how+", byte by byte")
				}
			}
		})
	}
}

func TestFramingDoesNotAllocate(t *testing.T) {
	for _, tt := range framings {
		t.Run(tt.name, func(t *testing.T) {
			body := testBody(200)
			dst := make([]byte, 0, 1024)
			var frame []byte
			require.Zero(t, testing.AllocsPerRun(100, func() { frame, _ = tt.framing.AppendFrame(dst, body) }), "AppendFrame")
			require.NotEmpty(t, frame)
			var got []byte
			require.Zero(t, testing.AllocsPerRun(100, func() { _, got, _ = tt.framing.SplitFrame(frame, 1000) }), "SplitFrame")
			require.Equal(t, body, got)
			partial := frame[:len(frame)/2]
			require.Zero(t, testing.AllocsPerRun(100, func() { _, got, _ = tt.framing.SplitFrame(partial, 1000) }), "SplitFrame of a part")
		})
	}
}

// Equal framings share a lane, so that they must be comparable.
func TestFramingComparable(t *testing.T) {
	lanes := make(map[Framing]string)
	for _, tt := range framings {
		require.NotContains(t, lanes, tt.framing, tt.name)
		lanes[tt.framing] = tt.name
	}
	require.Equal(t, "Length 2", lanes[Length{Bytes: 2}])
}

func TestFramingUnframeable(t *testing.T) {
	tests := []struct {
		name    string
		framing Framing
		body    string
		want    string // the error; empty: none
	}{
		{name: "Lines newline", framing: Lines{}, body: "a\nb", want: "tcproom: body cannot be framed: lines: a newline at byte 1 of the body"},
		{name: "Lines newline only", framing: Lines{}, body: "\n", want: "tcproom: body cannot be framed: lines: a newline at byte 0 of the body"},
		{name: "Lines carriage return at the end", framing: Lines{}, body: "a\r", want: "tcproom: body cannot be framed: lines: the body ends in a carriage return"},
		{name: "Lines carriage return within", framing: Lines{}, body: "\ra\r\rb", want: ""},
		{name: "Lines control characters", framing: Lines{}, body: "\x00\x1b\x7f\xff", want: ""},
		{name: "Delimiter within", framing: Delimiter("\x00"), body: "a\x00b", want: `tcproom: body cannot be framed: delimiter: the frame would end at byte 1 of a body of 3 bytes`},
		{name: "Delimiter at the end", framing: Delimiter("\x00"), body: "a\x00", want: `tcproom: body cannot be framed: delimiter: the frame would end at byte 1 of a body of 2 bytes`},
		{name: "Delimiter empty is newline", framing: Delimiter(""), body: "a\n", want: `tcproom: body cannot be framed: delimiter: the frame would end at byte 1 of a body of 2 bytes`},
		{name: "Delimiter keeps carriage returns", framing: Delimiter(""), body: "a\r", want: ""},
		{name: "Delimiter straddles aa", framing: Delimiter("aa"), body: "ba", want: `tcproom: body cannot be framed: delimiter: the frame would end at byte 1 of a body of 2 bytes`},
		{name: "Delimiter straddles aab", framing: Delimiter("aab"), body: "a", want: ""},
		{name: "Delimiter straddles abab", framing: Delimiter("abab"), body: "xab", want: `tcproom: body cannot be framed: delimiter: the frame would end at byte 1 of a body of 3 bytes`},
		{name: "Delimiter aba", framing: Delimiter("aba"), body: "ab", want: `tcproom: body cannot be framed: delimiter: the frame would end at byte 0 of a body of 2 bytes`},
		{name: "Delimiter aba and its first byte", framing: Delimiter("aba"), body: "a", want: ""},
		{name: "Delimiter begins at the end", framing: Delimiter("\r\n"), body: "a\r", want: ""},
		{name: "Length 1 at its end", framing: Length{Bytes: 1}, body: strings.Repeat("x", 255), want: ""},
		{name: "Length 1 above", framing: Length{Bytes: 1}, body: strings.Repeat("x", 256), want: "tcproom: body cannot be framed: length: a body of 256 bytes, where 1-byte numbers end at 255"},
		{name: "Length 2 at its end", framing: Length{Bytes: 2}, body: strings.Repeat("x", 65535), want: ""},
		{name: "Length 2 above", framing: Length{Bytes: 2}, body: strings.Repeat("x", 65536), want: "tcproom: body cannot be framed: length: a body of 65536 bytes, where 2-byte numbers end at 65535"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			frame, err := appendFrame(t, tt.framing, []byte(tt.body))
			if tt.want != "" {
				require.EqualError(t, err, tt.want)
				return
			}
			require.NoError(t, err)
			requireStream(t, fed{bodies: []string{tt.body}}, feed(t, tt.framing, frame, len(tt.body)), "sent")
		})
	}
}

func TestLinesLimit(t *testing.T) {
	tests := []struct {
		name string
		data string
		want fed // for a limit of 3
	}{
		{name: "below", data: "ab\n", want: fed{bodies: []string{"ab"}}},
		{name: "at", data: "abc\n", want: fed{bodies: []string{"abc"}}},
		{name: "at with CRLF", data: "abc\r\n", want: fed{bodies: []string{"abc"}}},
		{name: "above", data: "abcd\n", want: fed{err: ErrFrameTooLarge}},
		{name: "above with CRLF", data: "abcd\r\n", want: fed{err: ErrFrameTooLarge}},
		{name: "two carriage returns at", data: "ab\r\r\n", want: fed{bodies: []string{"ab\r"}}},
		{name: "two carriage returns above", data: "abc\r\r\n", want: fed{err: ErrFrameTooLarge}},
		{name: "unterminated at", data: "abc", want: fed{}},
		{name: "unterminated above", data: "abcd", want: fed{err: ErrFrameTooLarge}},
		{name: "unterminated with the carriage return", data: "abc\r", want: fed{}},
		{name: "unterminated two carriage returns", data: "abc\r\r", want: fed{err: ErrFrameTooLarge}},
		{name: "unterminated beyond the carriage return", data: "abc\rd", want: fed{err: ErrFrameTooLarge}},
		{name: "second line above", data: "\r\nabcd", want: fed{bodies: []string{""}, err: ErrFrameTooLarge}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data := []byte(tt.data)
			requireStream(t, tt.want, feed(t, Lines{}, data, 3), "whole")
			requireStream(t, tt.want, feed(t, Lines{}, data, 3, everyCut(len(data))...), "byte by byte")
		})
	}
}

// One published rule for the bytes that line ends are made of.
func TestLinesByteMatrix(t *testing.T) {
	alphabet := []string{"", "\n", "\r", "\r\n", "\x00", "a", "\u2028", "\x85"}
	for _, a := range alphabet {
		for _, b := range alphabet {
			for _, c := range alphabet {
				data := a + b + c
				var want fed
				lines := strings.Split(data, "\n")
				for _, line := range lines[:len(lines)-1] {
					want.bodies = append(want.bodies, strings.TrimSuffix(line, "\r"))
				}
				requireStream(t, want, feed(t, Lines{}, []byte(data), 100), fmt.Sprintf("%q", data))
			}
		}
	}
}

func TestLengthBytes(t *testing.T) {
	tests := []struct {
		name  string
		bytes int
		want  int
	}{
		{name: "zero", bytes: 0, want: 4},
		{name: "negative", bytes: -1, want: 4},
		{name: "smallest", bytes: math.MinInt, want: 4},
		{name: "1", bytes: 1, want: 1},
		{name: "2", bytes: 2, want: 2},
		{name: "3", bytes: 3, want: 4},
		{name: "4", bytes: 4, want: 4},
		{name: "5", bytes: 5, want: 8},
		{name: "7", bytes: 7, want: 8},
		{name: "8", bytes: 8, want: 8},
		{name: "above", bytes: 9, want: 8},
		{name: "largest", bytes: math.MaxInt, want: 8},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			frame, err := appendFrame(t, Length{Bytes: tt.bytes}, nil)
			require.NoError(t, err)
			require.Equal(t, make([]byte, tt.want), frame)
		})
	}
	require.Equal(t, uint64(math.MaxUint8), Length{Bytes: 1}.largest())
	require.Equal(t, uint64(math.MaxUint16), Length{Bytes: 2}.largest())
	require.Equal(t, uint64(math.MaxUint32), Length{Bytes: 4}.largest())
	require.Equal(t, uint64(math.MaxUint64), Length{Bytes: 8}.largest())
}

// A size above the limit is refused from its prefix, whatever it is, and
// nothing is made of the size before.
func TestFramingHugeSizes(t *testing.T) {
	tests := []struct {
		name    string
		framing Framing
		data    string
		max     int
		want    string // the error; empty: its number depends on the size of an int
	}{
		{name: "Length 1", framing: Length{Bytes: 1}, data: "\xff", max: 254, want: "tcproom: message too large: length: a body of 255 bytes, limit 254"},
		{name: "Length 2", framing: Length{Bytes: 2}, data: "\xff\xff", max: 65534, want: "tcproom: message too large: length: a body of 65535 bytes, limit 65534"},
		{name: "Length 4", framing: Length{}, data: "\xff\xff\xff\xff", max: 65536, want: "tcproom: message too large: length: a body of 4294967295 bytes, limit 65536"},
		{name: "Length 4 2^31", framing: Length{}, data: "\x80\x00\x00\x00", max: 65536, want: "tcproom: message too large: length: a body of 2147483648 bytes, limit 65536"},
		{name: "Length 4 little", framing: Length{LittleEndian: true}, data: "\x00\x00\x01\x00", max: 65535, want: "tcproom: message too large: length: a body of 65536 bytes, limit 65535"},
		{name: "Length 8 2^32", framing: Length{Bytes: 8}, data: "\x00\x00\x00\x01\x00\x00\x00\x00", max: 65536, want: "tcproom: message too large: length: a body of 4294967296 bytes, limit 65536"},
		{name: "Length 8 2^63", framing: Length{Bytes: 8}, data: "\x80\x00\x00\x00\x00\x00\x00\x00", max: math.MaxInt, want: fmt.Sprintf("tcproom: message too large: length: a body of 9223372036854775808 bytes, limit %d", math.MaxInt)},
		{name: "Length 8 2^64-1", framing: Length{Bytes: 8, LittleEndian: true}, data: "\xff\xff\xff\xff\xff\xff\xff\xff", max: math.MaxInt, want: fmt.Sprintf("tcproom: message too large: length: a body of 18446744073709551615 bytes, limit %d", math.MaxInt)},
		{name: "Varint 128", framing: Varint{}, data: "\x80\x01", max: 127, want: "tcproom: message too large: varint: a body of 128 bytes, limit 127"},
		{name: "Varint 2^64-1", framing: Varint{}, data: "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", max: math.MaxInt, want: fmt.Sprintf("tcproom: message too large: varint: a body of 18446744073709551615 bytes, limit %d", math.MaxInt)},
		{name: "Netstring", framing: Netstring{}, data: "1001", max: 1000, want: "tcproom: message too large: netstring: a body of at least 1001 bytes, limit 1000"},
		{name: "Netstring 2^64", framing: Netstring{}, data: "18446744073709551616", max: math.MaxInt, want: ""},
		{name: "ContentLength", framing: ContentLength{}, data: "Content-Length: 1001", max: 1000, want: "tcproom: message too large: content-length: a body of at least 1001 bytes, limit 1000"},
		{name: "ContentLength 2^64", framing: ContentLength{}, data: "Content-Length: 00018446744073709551616", max: math.MaxInt, want: ""},
		{name: "Lines", framing: Lines{}, data: "abcd", max: 3, want: "tcproom: message too large: lines: a body of at least 4 bytes, limit 3"},
		{name: "Lines terminated", framing: Lines{}, data: "abcd\n", max: 3, want: "tcproom: message too large: lines: a body of 4 bytes, limit 3"},
		{name: "Delimiter", framing: Delimiter("--"), data: "abc-d", max: 3, want: "tcproom: message too large: delimiter: a body of at least 4 bytes, limit 3"},
		{name: "Delimiter that cannot begin any more", framing: Delimiter("--"), data: "abcd", max: 3, want: "tcproom: message too large: delimiter: a body of at least 4 bytes, limit 3"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := tt.framing.SplitFrame([]byte(tt.data), tt.max)
			require.ErrorIs(t, err, ErrFrameTooLarge)
			if tt.want != "" {
				require.EqualError(t, err, tt.want)
			}
		})
	}
}

func TestAddDigitSaturates(t *testing.T) {
	require.Equal(t, uint64(math.MaxUint64-1), addDigit(math.MaxUint64/10, '4'))
	require.Equal(t, uint64(math.MaxUint64), addDigit(math.MaxUint64/10, '5'))
	require.Equal(t, uint64(math.MaxUint64), addDigit(math.MaxUint64/10, '6'))
	require.Equal(t, uint64(math.MaxUint64), addDigit(math.MaxUint64/10+1, '0'))
	require.Equal(t, uint64(math.MaxUint64), addDigit(math.MaxUint64, '9'))
}

// The largest announced size that the limit allows waits for its body, and
// adding the prefix to it overflows nothing.
func TestFramingLargestAllowedSize(t *testing.T) {
	largest := uint64(math.MaxInt)
	prefix := Length{Bytes: 8}
	tests := []struct {
		name    string
		framing Framing
		data    string
	}{
		{name: "Length", framing: prefix, data: string(bigEndian(largest)) + "ab"},
		{name: "Varint", framing: Varint{}, data: string(uvarint(largest)) + "ab"},
		{name: "Netstring", framing: Netstring{}, data: fmt.Sprintf("%d:ab", largest)},
		{name: "ContentLength", framing: ContentLength{}, data: fmt.Sprintf("Content-Length: %d\r\n\r\nab", largest)},
		{name: "Lines", framing: Lines{}, data: "ab"},
		{name: "Delimiter", framing: Delimiter("--"), data: "ab-"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			requireStream(t, fed{}, feed(t, tt.framing, []byte(tt.data), math.MaxInt), "largest")
			allocs := testing.AllocsPerRun(10, func() { tt.framing.SplitFrame([]byte(tt.data), math.MaxInt) })
			require.LessOrEqual(t, allocs, 1.0, "allocated for a body that has not come")
		})
	}
}

func bigEndian(n uint64) (b []byte) {
	for shift := 56; shift >= 0; shift -= 8 {
		b = append(b, byte(n>>shift))
	}
	return b
}

func uvarint(n uint64) (b []byte) {
	for ; n > 0x7f; n >>= 7 {
		b = append(b, 0x80|byte(n))
	}
	return append(b, byte(n))
}

func TestFramingMalformed(t *testing.T) {
	fields := func(n int) string { return strings.Repeat("X-A: b\r\n", n) }
	tests := []struct {
		name    string
		framing Framing
		data    string // the last byte of it shows the fault
		want    string // what the error ends with; empty: the frame is good
	}{
		{name: "Varint ten bytes that go on", framing: Varint{}, data: strings.Repeat("\x80", 10), want: `varint: length starts with "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80", want at most 64 bits in at most 10 bytes`},
		{name: "Varint 65 bits", framing: Varint{}, data: strings.Repeat("\x80", 9) + "\x02", want: `varint: length starts with "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02", want at most 64 bits in at most 10 bytes`},
		{name: "Varint not minimal", framing: Varint{}, data: "\x82\x80\x00hi", want: ""},
		{name: "Varint not minimal, ten bytes", framing: Varint{}, data: "\x82" + strings.Repeat("\x80", 8) + "\x00hi", want: ""},
		{name: "Netstring", framing: Netstring{}, data: "2:hi,", want: ""},
		{name: "Netstring empty", framing: Netstring{}, data: "0:,", want: ""},
		{name: "Netstring no digits", framing: Netstring{}, data: ":", want: `netstring: length starts with ":", want digits without leading zeros and a colon`},
		{name: "Netstring leading zero", framing: Netstring{}, data: "02", want: `netstring: length starts with "02", want digits without leading zeros and a colon`},
		{name: "Netstring two zeros", framing: Netstring{}, data: "00", want: `netstring: length starts with "00", want digits without leading zeros and a colon`},
		{name: "Netstring sign", framing: Netstring{}, data: "+", want: `netstring: length starts with "+", want digits without leading zeros and a colon`},
		{name: "Netstring minus", framing: Netstring{}, data: "-", want: `netstring: length starts with "-", want digits without leading zeros and a colon`},
		{name: "Netstring space", framing: Netstring{}, data: "2 ", want: `netstring: length starts with "2 ", want digits without leading zeros and a colon`},
		{name: "Netstring hexadecimal", framing: Netstring{}, data: "0x", want: `netstring: length starts with "0x", want digits without leading zeros and a colon`},
		{name: "Netstring newline instead of comma", framing: Netstring{}, data: "2:hi\n", want: `netstring: "\n" after a body of 2 bytes, want a comma`},
		{name: "Netstring comma of an empty body", framing: Netstring{}, data: "0:0", want: `netstring: "0" after a body of 0 bytes, want a comma`},

		{name: "ContentLength", framing: ContentLength{}, data: "Content-Length: 2\r\n\r\nhi", want: ""},
		{name: "ContentLength no space", framing: ContentLength{}, data: "Content-Length:2\r\n\r\nhi", want: ""},
		{name: "ContentLength tab", framing: ContentLength{}, data: "Content-Length:\t2\r\n\r\nhi", want: ""},
		{name: "ContentLength case", framing: ContentLength{}, data: "cONTENT-lENGTH: 2\r\n\r\nhi", want: ""},
		{name: "ContentLength leading zeros", framing: ContentLength{}, data: "Content-Length: 0002\r\n\r\nhi", want: ""},
		{name: "ContentLength Content-Type before", framing: ContentLength{}, data: "Content-Type: application/vscode-jsonrpc; charset=utf-8\r\nContent-Length: 2\r\n\r\nhi", want: ""},
		{name: "ContentLength Content-Type after", framing: ContentLength{}, data: "Content-Length: 2\r\nContent-Type: x\r\nContent-Type: y\r\n\r\nhi", want: ""},
		{name: "ContentLength unknown headers", framing: ContentLength{}, data: "X:\r\n!#$%&'*+-.^_`|~09azAZ:: \t ~\r\nContent-Length: 2\r\n\r\nhi", want: ""},
		{name: "ContentLength similar names", framing: ContentLength{}, data: "Content-Length2: +1\r\nContent-Lengt: -1\r\nContent-Length: 2\r\n\r\nhi", want: ""},
		{name: "ContentLength 16 lines", framing: ContentLength{}, data: fields(15) + "Content-Length: 2\r\n\r\nhi", want: ""},
		{name: "ContentLength two spaces", framing: ContentLength{}, data: "Content-Length:  ", want: `content-length: header line starts with "Content-Length:  ", want digits and \r\n`},
		{name: "ContentLength space behind", framing: ContentLength{}, data: "Content-Length: 2 ", want: `content-length: header line starts with "Content-Length: 2 ", want digits and \r\n`},
		{name: "ContentLength plus", framing: ContentLength{}, data: "Content-Length: +", want: `content-length: header line starts with "Content-Length: +", want digits and \r\n`},
		{name: "ContentLength plus, no space", framing: ContentLength{}, data: "Content-Length:+", want: `content-length: header line starts with "Content-Length:+", want digits and \r\n`},
		{name: "ContentLength minus", framing: ContentLength{}, data: "Content-Length: -", want: `content-length: header line starts with "Content-Length: -", want digits and \r\n`},
		{name: "ContentLength hexadecimal", framing: ContentLength{}, data: "Content-Length: 0x", want: `content-length: header line starts with "Content-Length: 0x", want digits and \r\n`},
		{name: "ContentLength list", framing: ContentLength{}, data: "Content-Length: 2,", want: `content-length: header line starts with "Content-Length: 2,", want digits and \r\n`},
		{name: "ContentLength no digits", framing: ContentLength{}, data: "Content-Length: \r", want: `content-length: header line starts with "Content-Length: \r", want digits and \r\n`},
		{name: "ContentLength no digits, no space", framing: ContentLength{}, data: "Content-Length:\r", want: `content-length: header line starts with "Content-Length:\r", want digits and \r\n`},
		{name: "ContentLength newline behind digits", framing: ContentLength{}, data: "Content-Length: 2\n", want: `content-length: header line starts with "Content-Length: 2\n", want digits and \r\n`},
		{name: "ContentLength digits in other scripts", framing: ContentLength{}, data: "Content-Length: \xd9", want: `content-length: header line starts with "Content-Length: \xd9", want digits and \r\n`},
		{name: "ContentLength twice", framing: ContentLength{}, data: "Content-Length: 2\r\ncontent-length:", want: `content-length: header line starts with "content-length:", want one Content-Length only`},
		{name: "ContentLength missing", framing: ContentLength{}, data: "Content-Type: x\r\n\r", want: `content-length: header line starts with "\r", want a Content-Length before it`},
		{name: "ContentLength empty block", framing: ContentLength{}, data: "\r", want: `content-length: header line starts with "\r", want a Content-Length before it`},
		{name: "ContentLength empty line with newline", framing: ContentLength{}, data: "Content-Length: 2\r\n\n", want: `content-length: header line starts with "\n", want the name of a header`},
		{name: "ContentLength carriage return alone", framing: ContentLength{}, data: "X: a\rb", want: `content-length: header line starts with "X: a\rb", want \r\n`},
		{name: "ContentLength carriage return at the end", framing: ContentLength{}, data: "Content-Length: 2\r\n\rh", want: `content-length: header line starts with "\rh", want \r\n`},
		{name: "ContentLength newline alone", framing: ContentLength{}, data: "X: a\n", want: `content-length: header line starts with "X: a\n", want printable ASCII and \r\n`},
		{name: "ContentLength NUL", framing: ContentLength{}, data: "X: a\x00", want: `content-length: header line starts with "X: a\x00", want printable ASCII and \r\n`},
		{name: "ContentLength no ASCII", framing: ContentLength{}, data: "X: a\x80", want: `content-length: header line starts with "X: a\x80", want printable ASCII and \r\n`},
		{name: "ContentLength space before the colon", framing: ContentLength{}, data: "Content-Length ", want: `content-length: header line starts with "Content-Length ", want the name of a header and a colon`},
		{name: "ContentLength folded line", framing: ContentLength{}, data: "X: a\r\n ", want: `content-length: header line starts with " ", want the name of a header`},
		{name: "ContentLength no name", framing: ContentLength{}, data: ":", want: `content-length: header line starts with ":", want the name of a header`},
		{name: "ContentLength no colon", framing: ContentLength{}, data: "X\r", want: `content-length: header line starts with "X\r", want the name of a header and a colon`},
		{name: "ContentLength HTTP", framing: ContentLength{}, data: "GET ", want: `content-length: header line starts with "GET ", want the name of a header and a colon`},
		{name: "ContentLength JSON", framing: ContentLength{}, data: "{", want: `content-length: header line starts with "{", want the name of a header`},
		{name: "ContentLength TLS", framing: ContentLength{}, data: "\x16", want: `content-length: header line starts with "\x16", want the name of a header`},
		{name: "ContentLength 17 lines", framing: ContentLength{}, data: fields(16) + "C", want: `content-length: header line starts with "C", want at most 16 header lines before it`},
		{name: "ContentLength long line is cut", framing: ContentLength{}, data: "X: " + strings.Repeat("y", 100) + "\x00", want: `content-length: header line starts with "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyy", want printable ASCII and \r\n`},
		{name: "ContentLength endless name", framing: ContentLength{}, data: strings.Repeat("x", 8192), want: `content-length: header block starts with "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" and does not end within 8 KiB`},
		{name: "ContentLength endless value", framing: ContentLength{}, data: "X:" + strings.Repeat("x", 8190), want: `content-length: header block starts with "X:xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" and does not end within 8 KiB`},
		{name: "ContentLength endless zeros", framing: ContentLength{}, data: "Content-Length:" + strings.Repeat("0", 8177), want: `content-length: header block starts with "Content-Length:00000000000000000" and does not end within 8 KiB`},
		{name: "ContentLength block of 8 KiB", framing: ContentLength{}, data: "Content-Length:2\r\nX:" + strings.Repeat("x", 8192-18-2-4) + "\r\n\r\nhi", want: ""},
		{name: "ContentLength block of 8 KiB and a byte", framing: ContentLength{}, data: "Content-Length:2\r\nX:" + strings.Repeat("x", 8192-18-2-3) + "\r\n\r", want: `content-length: header block starts with "Content-Length:2\r\nX:xxxxxxxxxxxx" and does not end within 8 KiB`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data := []byte(tt.data)
			if tt.want == "" {
				want := []string{"hi"}
				if strings.Contains(tt.name, "empty") {
					want[0] = ""
				}
				requireStream(t, fed{bodies: want}, feed(t, tt.framing, data, 100), "whole")
				return
			}
			_, _, err := tt.framing.SplitFrame(data, 100)
			require.EqualError(t, err, "tcproom: malformed: "+tt.want)
			for _, end := range []int{0, len(data) / 2, len(data) - 1} {
				n, _, err := tt.framing.SplitFrame(data[:end:end], 100)
				require.NoError(t, err, "the first %d bytes", end)
				require.Zero(t, n, "the first %d bytes", end)
			}
			_, _, err = tt.framing.SplitFrame(append(data, "more"...), 100)
			require.ErrorIs(t, err, ErrMalformed, "with more behind")
		})
	}
}

// Ten thousand header lines are refused at the seventeenth.
func TestContentLengthHeaderFlood(t *testing.T) {
	data := []byte(strings.Repeat("A: b\r\n", 10_000))
	_, _, err := ContentLength{}.SplitFrame(data, 100)
	require.ErrorIs(t, err, ErrMalformed)
	n, _, err := ContentLength{}.SplitFrame(data[:16*6], 100)
	require.NoError(t, err)
	require.Zero(t, n)
}

// A block that is a byte too long is refused too when all of it is there.
func TestContentLengthHeaderTooLong(t *testing.T) {
	for _, size := range []int{8191, 8192, 8193} {
		const lines, end = "Content-Length:2\r\nX:", "\r\n\r\n"
		data := lines + strings.Repeat("x", size-len(lines)-len(end)) + end + "hi"
		want := fed{bodies: []string{"hi"}}
		if size > 8192 {
			want = fed{err: ErrMalformed}
		}
		requireStream(t, want, feed(t, ContentLength{}, []byte(data), 100), fmt.Sprintf("%d bytes", size))
	}
}

// What a hook does to a body reaches neither the next frame nor, by append,
// the bytes behind it.
func TestFramingBodyIsAWindow(t *testing.T) {
	for _, tt := range framings {
		t.Run(tt.name, func(t *testing.T) {
			one, err := tt.framing.AppendFrame(nil, []byte("hi"))
			require.NoError(t, err)
			data := append(bytes.Clone(one), one...)
			n, body, err := tt.framing.SplitFrame(data, 2)
			require.NoError(t, err)
			require.Equal(t, "hi", string(body))
			_ = append(body, "overwritten"...)
			copy(body, "ho")
			require.Contains(t, string(data[:n]), "ho", "body does not alias data")
			require.Equal(t, string(one), string(data[n:]))
		})
	}
}

func BenchmarkFraming(b *testing.B) {
	for _, tt := range framings {
		body := testBody(64)
		frame, err := tt.framing.AppendFrame(nil, body)
		require.NoError(b, err)
		b.Run(tt.name+"/append", func(b *testing.B) {
			b.ReportAllocs()
			dst := make([]byte, 0, 256)
			for b.Loop() {
				if _, err := tt.framing.AppendFrame(dst, body); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(tt.name+"/split", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if n, _, err := tt.framing.SplitFrame(frame, 64); err != nil || n != len(frame) {
					b.Fatal(n, err)
				}
			}
		})
	}
}
