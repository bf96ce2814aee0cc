package tcproom

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A Framing says where one message ends on the wire: it turns bodies into
// frames and a stream of bytes back into bodies.
//
// A Framing is stateless and pure, so that one value serves all connections
// of a room, from many goroutines. Its methods run under the room's lock and
// must not block or call back. Two comparable Framing values that are equal
// share one encoded stream (a lane).
//
// The built-in framings are [Lines], [Delimiter], [Length], [Varint],
// [Netstring] and [ContentLength]; docs/wire.md shows their bytes.
type Framing interface {
	// AppendFrame appends to dst the frame that carries body and returns the
	// extended slice. It keeps neither. It returns an error that wraps
	// [ErrUnframeable], and dst unchanged, for a body that it cannot carry.
	AppendFrame(dst, body []byte) ([]byte, error)

	// SplitFrame finds the first frame in data, the unread bytes of a stream.
	// n is the length of that frame on the wire and body what it carries: a
	// subslice of data, or memory of its own that later calls leave alone. n == 0
	// without an error means that more bytes are needed. A body longer than max is refused with an error that wraps
	// [ErrFrameTooLarge] as soon as the bytes show it, before they have all
	// arrived; other bytes that no frame starts with, with one that wraps
	// [ErrMalformed]. After an error the stream is not usable.
	//
	// max is not negative. A size is compared with it as it was sent, before
	// it becomes an int, and nothing is allocated for bytes that were only
	// announced. The built-in framings cut the capacity of body to its length.
	//
	// How the stream was cut into data must not matter:
	// a longer data with the same beginning gives the same frame.
	SplitFrame(data []byte, max int) (n int, body []byte, err error)
}

var (
	_ Framing = Lines{}
	_ Framing = Delimiter("")
	_ Framing = Length{}
	_ Framing = Varint{}
	_ Framing = Netstring{}
	_ Framing = ContentLength{}
)

// Lines ends each body with \n. One \r before the \n is not part of the body,
// so that peers may end their lines with either. A last line without \n is not
// a message.
//
// A body that holds \n, or that ends in \r, is [ErrUnframeable]: the other end
// would not get it back. Every other byte is carried as it is.
type Lines struct{}

// AppendFrame implements [Framing].
func (Lines) AppendFrame(dst, body []byte) ([]byte, error) {
	if i := bytes.IndexByte(body, '\n'); i >= 0 {
		return dst, fmt.Errorf("%w: lines: a newline at byte %d of the body", ErrUnframeable, i)
	}
	if len(body) > 0 && body[len(body)-1] == '\r' {
		return dst, fmt.Errorf("%w: lines: the body ends in a carriage return", ErrUnframeable)
	}
	return append(append(dst, body...), '\n'), nil
}

// SplitFrame implements [Framing].
func (Lines) SplitFrame(data []byte, max int) (n int, body []byte, err error) {
	line := data
	if len(line)-2 > max {
		line = line[:max+2] // no frame of a body within the limit is longer
	}
	end := bytes.IndexByte(line, '\n')
	if end < 0 {
		// One byte too many is not too many yet if it is the \r of a \r\n.
		if len(line) <= max || len(line) == max+1 && line[max] == '\r' {
			return 0, nil, nil
		}
		return 0, nil, tooLarge("lines", atLeast, uint64(max)+1, max)
	}
	n = end + 1
	if end > 0 && line[end-1] == '\r' {
		end--
	}
	if end > max {
		return 0, nil, tooLarge("lines", "", uint64(end), max)
	}
	return n, line[:end:end], nil
}

// Delimiter ends each body with the bytes of the string, such as
// Delimiter("\x00"), and strips nothing. The empty Delimiter means "\n".
//
// A body that holds the delimiter is [ErrUnframeable], and so is one whose end
// makes an earlier delimiter together with the one that follows, as "a" does
// with "aa": the other end would not get it back. A delimiter of more than 32
// bytes costs an allocation a frame.
type Delimiter string

// AppendFrame implements [Framing].
func (d Delimiter) AppendFrame(dst, body []byte) ([]byte, error) {
	frame := append(append(dst, body...), d.bytes()...)
	if i := bytes.Index(frame[len(dst):], frame[len(dst)+len(body):]); i < len(body) {
		return dst, fmt.Errorf("%w: delimiter: the frame would end at byte %d of a body of %d bytes", ErrUnframeable, i, len(body))
	}
	return frame, nil
}

// SplitFrame implements [Framing].
func (d Delimiter) SplitFrame(data []byte, max int) (n int, body []byte, err error) {
	delim := d.bytes()
	if len(data)-len(delim) > max {
		data = data[:max+len(delim)] // a later delimiter ends too large a body
	}
	if end := bytes.Index(data, delim); end >= 0 {
		return end + len(delim), data[:end:end], nil
	}
	if len(data) <= max {
		return 0, nil, nil
	}
	// The body is within the limit still if a delimiter may have begun there.
	for begin := max; begin >= 0 && len(data)-begin < len(delim); begin-- {
		if bytes.HasPrefix(delim, data[begin:]) {
			return 0, nil, nil
		}
	}
	return 0, nil, tooLarge("delimiter", atLeast, uint64(max)+1, max)
}

// bytes returns the delimiter. Its callers do not keep it, so that the compiler
// makes it without an allocation.
func (d Delimiter) bytes() []byte {
	if d == "" {
		d = "\n"
	}
	return []byte(d)
}

// Length puts the body's length, as an unsigned number of a fixed size, before
// each body. A body longer than the number can say is [ErrUnframeable].
type Length struct {
	// Bytes is the size of the number: 1, 2, 4 or 8. Zero and negative values
	// mean 4, other values the next of these above, and more than 8 means 8.
	Bytes int
	// LittleEndian puts the low byte first. The default is the high byte first.
	LittleEndian bool
}

// AppendFrame implements [Framing].
func (l Length) AppendFrame(dst, body []byte) ([]byte, error) {
	size := uint64(len(body))
	if size > l.largest() {
		return dst, fmt.Errorf("%w: length: a body of %d bytes, where %d-byte numbers end at %d", ErrUnframeable, size, l.size(), l.largest())
	}
	switch l.size() {
	case 1:
		dst = append(dst, byte(size))
	case 2:
		if l.LittleEndian {
			dst = binary.LittleEndian.AppendUint16(dst, uint16(size))
		} else {
			dst = binary.BigEndian.AppendUint16(dst, uint16(size))
		}
	case 4:
		if l.LittleEndian {
			dst = binary.LittleEndian.AppendUint32(dst, uint32(size))
		} else {
			dst = binary.BigEndian.AppendUint32(dst, uint32(size))
		}
	default:
		if l.LittleEndian {
			dst = binary.LittleEndian.AppendUint64(dst, size)
		} else {
			dst = binary.BigEndian.AppendUint64(dst, size)
		}
	}
	return append(dst, body...), nil
}

// SplitFrame implements [Framing]. It judges a size when all its bytes are there.
func (l Length) SplitFrame(data []byte, max int) (n int, body []byte, err error) {
	prefix := l.size()
	if len(data) < prefix {
		return 0, nil, nil
	}
	var size uint64
	for i := range prefix {
		if l.LittleEndian {
			size |= uint64(data[i]) << (8 * i)
		} else {
			size = size<<8 | uint64(data[i])
		}
	}
	return splitSized("length", data, prefix, size, max)
}

func (l Length) size() int {
	switch {
	case l.Bytes <= 0:
		return 4
	case l.Bytes <= 2:
		return l.Bytes
	case l.Bytes <= 4:
		return 4
	}
	return 8
}

// largest returns the largest number that the prefix can say.
func (l Length) largest() uint64 { return math.MaxUint64 >> (64 - 8*l.size()) }

// Varint puts the body's length before each body, as an unsigned LEB128 number
// of at most 10 bytes and 64 bits, which is what protobuf's delimited streams do.
//
// It sends the shortest form and accepts the others, which some peers use to
// fill the length in afterwards: a body is the same whatever form its length
// has. A longer number is [ErrMalformed].
type Varint struct{}

// AppendFrame implements [Framing]. It never fails.
func (Varint) AppendFrame(dst, body []byte) ([]byte, error) {
	return append(binary.AppendUvarint(dst, uint64(len(body))), body...), nil
}

// SplitFrame implements [Framing]. It judges a size when all its bytes are there.
func (Varint) SplitFrame(data []byte, max int) (n int, body []byte, err error) {
	size, prefix := binary.Uvarint(data)
	if prefix < 0 || prefix == 0 && len(data) >= binary.MaxVarintLen64 {
		return 0, nil, fmt.Errorf("%w: varint: length starts with %q, want at most 64 bits in at most 10 bytes", ErrMalformed, data[:binary.MaxVarintLen64])
	}
	if prefix == 0 {
		return 0, nil, nil
	}
	return splitSized("varint", data, prefix, size, max)
}

// splitSized is SplitFrame where the first prefix bytes of data announce a
// body of size bytes, which follows.
func splitSized(framing string, data []byte, prefix int, size uint64, max int) (n int, body []byte, err error) {
	if size > uint64(max) {
		return 0, nil, tooLarge(framing, "", size, max)
	}
	if uint64(len(data)-prefix) < size {
		return 0, nil, nil
	}
	n = prefix + int(size)
	return n, data[prefix:n:n], nil
}

// Netstring puts the body's length in decimal digits and a colon before each
// body and a comma after it: "2:hi,". The format is D. J. Bernstein's. A length
// with needless leading zeros is [ErrMalformed].
type Netstring struct{}

// AppendFrame implements [Framing]. It never fails.
func (Netstring) AppendFrame(dst, body []byte) ([]byte, error) {
	dst = append(strconv.AppendInt(dst, int64(len(body)), 10), ':')
	return append(append(dst, body...), ','), nil
}

// SplitFrame implements [Framing]. It judges a size with each digit.
func (Netstring) SplitFrame(data []byte, max int) (n int, body []byte, err error) {
	var size uint64
	for i, b := range data {
		switch {
		case isDigit(b) && (i == 0 || size > 0):
			// The limit bounds the digits too, for none but the first is a leading zero.
			if size = addDigit(size, b); size > uint64(max) {
				return 0, nil, tooLarge("netstring", atLeast, size, max)
			}
		case b == ':' && i > 0:
			body = data[i+1:]
			if uint64(len(body)) <= size {
				return 0, nil, nil
			}
			if end := body[size]; end != ',' {
				return 0, nil, fmt.Errorf("%w: netstring: %q after a body of %d bytes, want a comma", ErrMalformed, []byte{end}, size)
			}
			return i + 1 + int(size) + 1, body[:size:size], nil
		default:
			return 0, nil, fmt.Errorf("%w: netstring: length starts with %s, want digits without leading zeros and a colon", ErrMalformed, quotePeer(cut(data)))
		}
	}
	return 0, nil, nil
}

// ContentLength puts a block of header lines before each body, as the base
// protocol of LSP does: "Content-Length: 2\r\n\r\nhi".
//
// It sends that one header line. It accepts a block of at most 16 header lines
// and 8 KiB, with the empty line, in printable ASCII and tabs. A header line
// is a name of HTTP token characters, a colon and a value, and ends in \r\n.
// The name Content-Length is known in any case, must be there once, and its
// value is one space or tab, or none, and then digits, leading zeros included,
// up to the \r. All other headers, Content-Type too, are ignored. Anything
// else is [ErrMalformed]: a \n without \r, white space before the colon or
// around the digits, a sign, a second Content-Length even if it says the same.
type ContentLength struct{}

// The bounds of a header block.
const (
	maxHeaderBytes = 8 << 10
	maxHeaderLines = 16
)

var contentLength = []byte("Content-Length")

// AppendFrame implements [Framing]. It never fails.
func (ContentLength) AppendFrame(dst, body []byte) ([]byte, error) {
	dst = strconv.AppendInt(append(dst, "Content-Length: "...), int64(len(body)), 10)
	return append(append(dst, "\r\n\r\n"...), body...), nil
}

// SplitFrame implements [Framing]. It judges a size with each digit.
func (ContentLength) SplitFrame(data []byte, max int) (n int, body []byte, err error) {
	header, size, err := splitHeader(data, max)
	if header == 0 || err != nil {
		return 0, nil, err
	}
	return splitSized("content-length", data, header, size, max)
}

// What splitHeader reads next.
const (
	atLine     = iota // the first byte of a header line or of the empty line
	inName            // more of a header's name, or its colon
	inValue           // more of a value that does not matter, or its \r
	atSize            // the first byte after Content-Length and its colon
	atDigit           // the first digit of the size
	inDigits          // more digits, or the \r behind them
	atLineEnd         // the \n of a header line
	atBlockEnd        // the \n of the empty line
)

// splitHeader returns the length of the header block that data starts with, 0
// if it has not all arrived, and the size that it announces. It decides byte
// by byte, so that it says the same however the stream was cut.
func splitHeader(data []byte, max int) (n int, size uint64, err error) {
	state, begin, lines, known := atLine, 0, 0, false
	for i, b := range data[:min(len(data), maxHeaderBytes)] {
		want := ""
		switch state {
		case atLine:
			begin = i
			switch {
			case b == '\r' && known:
				state = atBlockEnd
			case b == '\r':
				want = "a Content-Length before it"
			case lines == maxHeaderLines:
				want = "at most 16 header lines before it"
			case isToken(b):
				state = inName
				lines++
			default:
				want = "the name of a header"
			}
		case inName:
			switch {
			case b == ':' && !bytes.EqualFold(data[begin:i], contentLength):
				state = inValue
			case b == ':' && !known:
				state, known = atSize, true
			case b == ':':
				want = "one Content-Length only"
			case !isToken(b):
				want = "the name of a header and a colon"
			}
		case inValue:
			switch {
			case b == '\r':
				state = atLineEnd
			case b != '\t' && (b < ' ' || b > '~'):
				want = `printable ASCII and \r\n`
			}
		case atSize, atDigit, inDigits:
			switch {
			case isDigit(b):
				state = inDigits
				if size = addDigit(size, b); size > uint64(max) {
					return 0, 0, tooLarge("content-length", atLeast, size, max)
				}
			case state == atSize && (b == ' ' || b == '\t'):
				state = atDigit
			case state == inDigits && b == '\r':
				state = atLineEnd
			default:
				want = `digits and \r\n`
			}
		case atLineEnd, atBlockEnd:
			switch {
			case b != '\n':
				want = `\r\n`
			case state == atBlockEnd:
				return i + 1, size, nil
			default:
				state = atLine
			}
		}
		if want != "" {
			return 0, 0, fmt.Errorf("%w: content-length: header line starts with %s, want %s", ErrMalformed, quotePeer(cut(data[begin:i+1])), want)
		}
	}
	if len(data) >= maxHeaderBytes {
		return 0, 0, fmt.Errorf("%w: content-length: header block starts with %s and does not end within 8 KiB", ErrMalformed, quotePeer(cut(data)))
	}
	return 0, 0, nil
}

// isToken says whether b may stand in the name of a header: RFC 9110's tchar.
func isToken(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || isDigit(b) || strings.IndexByte("!#$%&'*+-.^_`|~", b) >= 0
}

// atLeast goes before a size of which the rest has not arrived.
const atLeast = "at least "

func tooLarge(framing, least string, size uint64, max int) error {
	return fmt.Errorf("%w: %s: a body of %s%d bytes, limit %d", ErrFrameTooLarge, framing, least, size, max)
}

// cut returns as much of a peer's bytes as an error may quote.
func cut(data []byte) []byte { return data[:min(len(data), 32)] }

func isDigit(b byte) bool { return '0' <= b && b <= '9' }

// addDigit returns the number n with the digit b behind it, or MaxUint64 where
// that would be larger.
func addDigit(n uint64, b byte) uint64 {
	d := uint64(b - '0')
	if n > (math.MaxUint64-d)/10 {
		return math.MaxUint64
	}
	return n*10 + d
}
