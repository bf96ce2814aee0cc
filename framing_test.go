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
	{"Lines", Lines{}, refLines},
	{"Delimiter NUL", Delimiter("\x00"), refDelimiter("\x00")},
	{"Delimiter empty", Delimiter(""), refDelimiter("\n")},
	{"Delimiter CRLF", Delimiter("\r\n"), refDelimiter("\r\n")},
	{"Delimiter aab", Delimiter("aab"), refDelimiter("aab")},
	{"Delimiter END", Delimiter("END"), refDelimiter("END")},
	{"Delimiter ==", Delimiter("=="), refDelimiter("==")},
	{"Delimiter long", Delimiter(strings.Repeat("-", 31) + "+"), refDelimiter(Delimiter(strings.Repeat("-", 31) + "+"))},
	{"Length 1", Length{Bytes: 1}, refLength(1, false)},
	{"Length 2", Length{Bytes: 2}, refLength(2, false)},
	{"Length 4", Length{}, refLength(4, false)},
	{"Length 8", Length{Bytes: 8}, refLength(8, false)},
	{"Length 1 little", Length{Bytes: 1, LittleEndian: true}, refLength(1, true)},
	{"Length 2 little", Length{Bytes: 2, LittleEndian: true}, refLength(2, true)},
	{"Length 4 little", Length{Bytes: 4, LittleEndian: true}, refLength(4, true)},
	{"Length 8 little", Length{Bytes: 8, LittleEndian: true}, refLength(8, true)},
	{"Varint", Varint{}, refVarint},
	{"Netstring", Netstring{}, refNetstring},
	{"ContentLength", ContentLength{}, refContentLength},
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
				requireStream(t, stream{bodies: []string{string(body)}}, feed(t, tt.framing, frame, size), "own limit")
				requireStream(t, stream{bodies: []string{string(body)}}, feed(t, tt.framing, frame, math.MaxInt), "no limit")
			}
		})
	}
}

// However a stream is cut, it holds the same frames.
func TestFramingSplitIndependence(t *testing.T) {
	for _, tt := range framings {
		t.Run(tt.name, func(t *testing.T) {
			var data []byte
			var want stream
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
					want := stream{bodies: []string{string(body)}}
					if size > limit {
						want = stream{err: ErrFrameTooLarge}
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
		{"Lines newline", Lines{}, "a\nb", "tcproom: body cannot be framed: lines: a newline at byte 1 of the body"},
		{"Lines newline only", Lines{}, "\n", "tcproom: body cannot be framed: lines: a newline at byte 0 of the body"},
		{"Lines carriage return at the end", Lines{}, "a\r", "tcproom: body cannot be framed: lines: the body ends in a carriage return"},
		{"Lines carriage return within", Lines{}, "\ra\r\rb", ""},
		{"Lines control characters", Lines{}, "\x00\x1b\x7f\xff", ""},
		{"Delimiter within", Delimiter("\x00"), "a\x00b", `tcproom: body cannot be framed: delimiter: the frame would end at byte 1 of a body of 3 bytes`},
		{"Delimiter at the end", Delimiter("\x00"), "a\x00", `tcproom: body cannot be framed: delimiter: the frame would end at byte 1 of a body of 2 bytes`},
		{"Delimiter empty is newline", Delimiter(""), "a\n", `tcproom: body cannot be framed: delimiter: the frame would end at byte 1 of a body of 2 bytes`},
		{"Delimiter keeps carriage returns", Delimiter(""), "a\r", ""},
		{"Delimiter straddles aa", Delimiter("aa"), "ba", `tcproom: body cannot be framed: delimiter: the frame would end at byte 1 of a body of 2 bytes`},
		{"Delimiter straddles aab", Delimiter("aab"), "a", ""},
		{"Delimiter straddles abab", Delimiter("abab"), "xab", `tcproom: body cannot be framed: delimiter: the frame would end at byte 1 of a body of 3 bytes`},
		{"Delimiter aba", Delimiter("aba"), "ab", `tcproom: body cannot be framed: delimiter: the frame would end at byte 0 of a body of 2 bytes`},
		{"Delimiter aba and its first byte", Delimiter("aba"), "a", ""},
		{"Delimiter begins at the end", Delimiter("\r\n"), "a\r", ""},
		{"Length 1 at its end", Length{Bytes: 1}, strings.Repeat("x", 255), ""},
		{"Length 1 above", Length{Bytes: 1}, strings.Repeat("x", 256), "tcproom: body cannot be framed: length: a body of 256 bytes, where 1-byte numbers end at 255"},
		{"Length 2 at its end", Length{Bytes: 2}, strings.Repeat("x", 65535), ""},
		{"Length 2 above", Length{Bytes: 2}, strings.Repeat("x", 65536), "tcproom: body cannot be framed: length: a body of 65536 bytes, where 2-byte numbers end at 65535"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			frame, err := appendFrame(t, tt.framing, []byte(tt.body))
			if tt.want != "" {
				require.EqualError(t, err, tt.want)
				return
			}
			require.NoError(t, err)
			requireStream(t, stream{bodies: []string{tt.body}}, feed(t, tt.framing, frame, len(tt.body)), "sent")
		})
	}
}

func TestLinesLimit(t *testing.T) {
	tests := []struct {
		name string
		data string
		want stream // for a limit of 3
	}{
		{"below", "ab\n", stream{bodies: []string{"ab"}}},
		{"at", "abc\n", stream{bodies: []string{"abc"}}},
		{"at with CRLF", "abc\r\n", stream{bodies: []string{"abc"}}},
		{"above", "abcd\n", stream{err: ErrFrameTooLarge}},
		{"above with CRLF", "abcd\r\n", stream{err: ErrFrameTooLarge}},
		{"two carriage returns at", "ab\r\r\n", stream{bodies: []string{"ab\r"}}},
		{"two carriage returns above", "abc\r\r\n", stream{err: ErrFrameTooLarge}},
		{"unterminated at", "abc", stream{}},
		{"unterminated above", "abcd", stream{err: ErrFrameTooLarge}},
		{"unterminated with the carriage return", "abc\r", stream{}},
		{"unterminated two carriage returns", "abc\r\r", stream{err: ErrFrameTooLarge}},
		{"unterminated beyond the carriage return", "abc\rd", stream{err: ErrFrameTooLarge}},
		{"second line above", "\r\nabcd", stream{bodies: []string{""}, err: ErrFrameTooLarge}},
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
				var want stream
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
		{"zero", 0, 4},
		{"negative", -1, 4},
		{"smallest", math.MinInt, 4},
		{"1", 1, 1},
		{"2", 2, 2},
		{"3", 3, 4},
		{"4", 4, 4},
		{"5", 5, 8},
		{"7", 7, 8},
		{"8", 8, 8},
		{"above", 9, 8},
		{"largest", math.MaxInt, 8},
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
		{"Length 1", Length{Bytes: 1}, "\xff", 254, "tcproom: message too large: length: a body of 255 bytes, limit 254"},
		{"Length 2", Length{Bytes: 2}, "\xff\xff", 65534, "tcproom: message too large: length: a body of 65535 bytes, limit 65534"},
		{"Length 4", Length{}, "\xff\xff\xff\xff", 65536, "tcproom: message too large: length: a body of 4294967295 bytes, limit 65536"},
		{"Length 4 2^31", Length{}, "\x80\x00\x00\x00", 65536, "tcproom: message too large: length: a body of 2147483648 bytes, limit 65536"},
		{"Length 4 little", Length{LittleEndian: true}, "\x00\x00\x01\x00", 65535, "tcproom: message too large: length: a body of 65536 bytes, limit 65535"},
		{"Length 8 2^32", Length{Bytes: 8}, "\x00\x00\x00\x01\x00\x00\x00\x00", 65536, "tcproom: message too large: length: a body of 4294967296 bytes, limit 65536"},
		{"Length 8 2^63", Length{Bytes: 8}, "\x80\x00\x00\x00\x00\x00\x00\x00", math.MaxInt, fmt.Sprintf("tcproom: message too large: length: a body of 9223372036854775808 bytes, limit %d", math.MaxInt)},
		{"Length 8 2^64-1", Length{Bytes: 8, LittleEndian: true}, "\xff\xff\xff\xff\xff\xff\xff\xff", math.MaxInt, fmt.Sprintf("tcproom: message too large: length: a body of 18446744073709551615 bytes, limit %d", math.MaxInt)},
		{"Varint 128", Varint{}, "\x80\x01", 127, "tcproom: message too large: varint: a body of 128 bytes, limit 127"},
		{"Varint 2^64-1", Varint{}, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", math.MaxInt, fmt.Sprintf("tcproom: message too large: varint: a body of 18446744073709551615 bytes, limit %d", math.MaxInt)},
		{"Netstring", Netstring{}, "1001", 1000, "tcproom: message too large: netstring: a body of at least 1001 bytes, limit 1000"},
		{"Netstring 2^64", Netstring{}, "18446744073709551616", math.MaxInt, ""},
		{"ContentLength", ContentLength{}, "Content-Length: 1001", 1000, "tcproom: message too large: content-length: a body of at least 1001 bytes, limit 1000"},
		{"ContentLength 2^64", ContentLength{}, "Content-Length: 00018446744073709551616", math.MaxInt, ""},
		{"Lines", Lines{}, "abcd", 3, "tcproom: message too large: lines: a body of at least 4 bytes, limit 3"},
		{"Lines terminated", Lines{}, "abcd\n", 3, "tcproom: message too large: lines: a body of 4 bytes, limit 3"},
		{"Delimiter", Delimiter("--"), "abc-d", 3, "tcproom: message too large: delimiter: a body of at least 4 bytes, limit 3"},
		{"Delimiter that cannot begin any more", Delimiter("--"), "abcd", 3, "tcproom: message too large: delimiter: a body of at least 4 bytes, limit 3"},
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
		{"Length", prefix, string(bigEndian(largest)) + "ab"},
		{"Varint", Varint{}, string(uvarint(largest)) + "ab"},
		{"Netstring", Netstring{}, fmt.Sprintf("%d:ab", largest)},
		{"ContentLength", ContentLength{}, fmt.Sprintf("Content-Length: %d\r\n\r\nab", largest)},
		{"Lines", Lines{}, "ab"},
		{"Delimiter", Delimiter("--"), "ab-"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			requireStream(t, stream{}, feed(t, tt.framing, []byte(tt.data), math.MaxInt), "largest")
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
		{"Varint ten bytes that go on", Varint{}, strings.Repeat("\x80", 10), `varint: length starts with "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80", want at most 64 bits in at most 10 bytes`},
		{"Varint 65 bits", Varint{}, strings.Repeat("\x80", 9) + "\x02", `varint: length starts with "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02", want at most 64 bits in at most 10 bytes`},
		{"Varint not minimal", Varint{}, "\x82\x80\x00hi", ""},
		{"Varint not minimal, ten bytes", Varint{}, "\x82" + strings.Repeat("\x80", 8) + "\x00hi", ""},
		{"Netstring", Netstring{}, "2:hi,", ""},
		{"Netstring empty", Netstring{}, "0:,", ""},
		{"Netstring no digits", Netstring{}, ":", `netstring: length starts with ":", want digits without leading zeros and a colon`},
		{"Netstring leading zero", Netstring{}, "02", `netstring: length starts with "02", want digits without leading zeros and a colon`},
		{"Netstring two zeros", Netstring{}, "00", `netstring: length starts with "00", want digits without leading zeros and a colon`},
		{"Netstring sign", Netstring{}, "+", `netstring: length starts with "+", want digits without leading zeros and a colon`},
		{"Netstring minus", Netstring{}, "-", `netstring: length starts with "-", want digits without leading zeros and a colon`},
		{"Netstring space", Netstring{}, "2 ", `netstring: length starts with "2 ", want digits without leading zeros and a colon`},
		{"Netstring hexadecimal", Netstring{}, "0x", `netstring: length starts with "0x", want digits without leading zeros and a colon`},
		{"Netstring newline instead of comma", Netstring{}, "2:hi\n", `netstring: "\n" after a body of 2 bytes, want a comma`},
		{"Netstring comma of an empty body", Netstring{}, "0:0", `netstring: "0" after a body of 0 bytes, want a comma`},

		{"ContentLength", ContentLength{}, "Content-Length: 2\r\n\r\nhi", ""},
		{"ContentLength no space", ContentLength{}, "Content-Length:2\r\n\r\nhi", ""},
		{"ContentLength tab", ContentLength{}, "Content-Length:\t2\r\n\r\nhi", ""},
		{"ContentLength case", ContentLength{}, "cONTENT-lENGTH: 2\r\n\r\nhi", ""},
		{"ContentLength leading zeros", ContentLength{}, "Content-Length: 0002\r\n\r\nhi", ""},
		{"ContentLength Content-Type before", ContentLength{}, "Content-Type: application/vscode-jsonrpc; charset=utf-8\r\nContent-Length: 2\r\n\r\nhi", ""},
		{"ContentLength Content-Type after", ContentLength{}, "Content-Length: 2\r\nContent-Type: x\r\nContent-Type: y\r\n\r\nhi", ""},
		{"ContentLength unknown headers", ContentLength{}, "X:\r\n!#$%&'*+-.^_`|~09azAZ:: \t ~\r\nContent-Length: 2\r\n\r\nhi", ""},
		{"ContentLength similar names", ContentLength{}, "Content-Length2: +1\r\nContent-Lengt: -1\r\nContent-Length: 2\r\n\r\nhi", ""},
		{"ContentLength 16 lines", ContentLength{}, fields(15) + "Content-Length: 2\r\n\r\nhi", ""},
		{"ContentLength two spaces", ContentLength{}, "Content-Length:  ", `content-length: header line starts with "Content-Length:  ", want digits and \r\n`},
		{"ContentLength space behind", ContentLength{}, "Content-Length: 2 ", `content-length: header line starts with "Content-Length: 2 ", want digits and \r\n`},
		{"ContentLength plus", ContentLength{}, "Content-Length: +", `content-length: header line starts with "Content-Length: +", want digits and \r\n`},
		{"ContentLength plus, no space", ContentLength{}, "Content-Length:+", `content-length: header line starts with "Content-Length:+", want digits and \r\n`},
		{"ContentLength minus", ContentLength{}, "Content-Length: -", `content-length: header line starts with "Content-Length: -", want digits and \r\n`},
		{"ContentLength hexadecimal", ContentLength{}, "Content-Length: 0x", `content-length: header line starts with "Content-Length: 0x", want digits and \r\n`},
		{"ContentLength list", ContentLength{}, "Content-Length: 2,", `content-length: header line starts with "Content-Length: 2,", want digits and \r\n`},
		{"ContentLength no digits", ContentLength{}, "Content-Length: \r", `content-length: header line starts with "Content-Length: \r", want digits and \r\n`},
		{"ContentLength no digits, no space", ContentLength{}, "Content-Length:\r", `content-length: header line starts with "Content-Length:\r", want digits and \r\n`},
		{"ContentLength newline behind digits", ContentLength{}, "Content-Length: 2\n", `content-length: header line starts with "Content-Length: 2\n", want digits and \r\n`},
		{"ContentLength digits in other scripts", ContentLength{}, "Content-Length: \xd9", `content-length: header line starts with "Content-Length: \xd9", want digits and \r\n`},
		{"ContentLength twice", ContentLength{}, "Content-Length: 2\r\ncontent-length:", `content-length: header line starts with "content-length:", want one Content-Length only`},
		{"ContentLength missing", ContentLength{}, "Content-Type: x\r\n\r", `content-length: header line starts with "\r", want a Content-Length before it`},
		{"ContentLength empty block", ContentLength{}, "\r", `content-length: header line starts with "\r", want a Content-Length before it`},
		{"ContentLength empty line with newline", ContentLength{}, "Content-Length: 2\r\n\n", `content-length: header line starts with "\n", want the name of a header`},
		{"ContentLength carriage return alone", ContentLength{}, "X: a\rb", `content-length: header line starts with "X: a\rb", want \r\n`},
		{"ContentLength carriage return at the end", ContentLength{}, "Content-Length: 2\r\n\rh", `content-length: header line starts with "\rh", want \r\n`},
		{"ContentLength newline alone", ContentLength{}, "X: a\n", `content-length: header line starts with "X: a\n", want printable ASCII and \r\n`},
		{"ContentLength NUL", ContentLength{}, "X: a\x00", `content-length: header line starts with "X: a\x00", want printable ASCII and \r\n`},
		{"ContentLength no ASCII", ContentLength{}, "X: a\x80", `content-length: header line starts with "X: a\x80", want printable ASCII and \r\n`},
		{"ContentLength space before the colon", ContentLength{}, "Content-Length ", `content-length: header line starts with "Content-Length ", want the name of a header and a colon`},
		{"ContentLength folded line", ContentLength{}, "X: a\r\n ", `content-length: header line starts with " ", want the name of a header`},
		{"ContentLength no name", ContentLength{}, ":", `content-length: header line starts with ":", want the name of a header`},
		{"ContentLength no colon", ContentLength{}, "X\r", `content-length: header line starts with "X\r", want the name of a header and a colon`},
		{"ContentLength HTTP", ContentLength{}, "GET ", `content-length: header line starts with "GET ", want the name of a header and a colon`},
		{"ContentLength JSON", ContentLength{}, "{", `content-length: header line starts with "{", want the name of a header`},
		{"ContentLength TLS", ContentLength{}, "\x16", `content-length: header line starts with "\x16", want the name of a header`},
		{"ContentLength 17 lines", ContentLength{}, fields(16) + "C", `content-length: header line starts with "C", want at most 16 header lines before it`},
		{"ContentLength long line is cut", ContentLength{}, "X: " + strings.Repeat("y", 100) + "\x00", `content-length: header line starts with "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyy", want printable ASCII and \r\n`},
		{"ContentLength endless name", ContentLength{}, strings.Repeat("x", 8192), `content-length: header block starts with "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" and does not end within 8 KiB`},
		{"ContentLength endless value", ContentLength{}, "X:" + strings.Repeat("x", 8190), `content-length: header block starts with "X:xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" and does not end within 8 KiB`},
		{"ContentLength endless zeros", ContentLength{}, "Content-Length:" + strings.Repeat("0", 8177), `content-length: header block starts with "Content-Length:00000000000000000" and does not end within 8 KiB`},
		{"ContentLength block of 8 KiB", ContentLength{}, "Content-Length:2\r\nX:" + strings.Repeat("x", 8192-18-2-4) + "\r\n\r\nhi", ""},
		{"ContentLength block of 8 KiB and a byte", ContentLength{}, "Content-Length:2\r\nX:" + strings.Repeat("x", 8192-18-2-3) + "\r\n\r", `content-length: header block starts with "Content-Length:2\r\nX:xxxxxxxxxxxx" and does not end within 8 KiB`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data := []byte(tt.data)
			if tt.want == "" {
				want := []string{"hi"}
				if strings.Contains(tt.name, "empty") {
					want[0] = ""
				}
				requireStream(t, stream{bodies: want}, feed(t, tt.framing, data, 100), "whole")
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
		want := stream{bodies: []string{"hi"}}
		if size > 8192 {
			want = stream{err: ErrMalformed}
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
