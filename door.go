package tcproom

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
)

// A peer at the wrong door speaks something else than is spoken here: HTTP, TLS,
// another codec or another framing. It shows in the first bytes of a connection, and
// both ends look at those before they make anything of them. Nothing is looked at
// after the first frame.

func wrongDoor(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrWrongDoor, fmt.Sprintf(format, args...))
}

var (
	errNoTLS    = wrongDoor("the room speaks TLS, and the peer does not")
	errPlain    = wrongDoor("the peer does not speak TLS")
	errHTTPRoom = wrongDoor("the answer is HTTP, and of no room")
	errTLSRoom  = wrongDoor("the answer is TLS")
)

// A match is whether bytes begin as something does.
type match uint8

const (
	differs match = iota
	unclear       // so far they do
	matches
)

func begins(data []byte, with string) match {
	n := min(len(data), len(with))
	switch {
	case string(data[:n]) != with[:n]:
		return differs
	case n < len(with):
		return unclear
	}
	return matches
}

// outside reports whether b has a byte that is not in lo to hi.
func outside(b []byte, lo, hi byte) bool {
	for _, c := range b {
		if c < lo || c > hi {
			return true
		}
	}
	return false
}

// tlsAlert is a fatal alert of TLS, unexpected_message: what a client of TLS
// understands of a room whose codec has no last word, and what a dialling end of this
// package understands of a port that speaks TLS.
const tlsAlert = "\x15\x03\x01\x00\x02\x02\x0a"

// inLines reports whether f cuts no line of HTTP into pieces. Over such a framing
// the whole line is looked at, for a person may well begin with GET.
func inLines(f Framing) bool {
	switch f := f.(type) {
	case Lines:
		return true
	case Delimiter:
		return !strings.ContainsFunc(string(f), func(r rune) bool { return r >= ' ' && r <= '~' })
	}
	return false
}

// isNoJSON reports whether the first bytes cannot be those of JSON, if that is spoken.
func (l *limits) isNoJSON(data []byte, n int, frame []byte) bool {
	if _, ok := l.codec.(JSON); !ok {
		return false
	}
	if n > 0 {
		data = frame
	} else if !inLines(l.framing) {
		return false // what these bytes begin with is the framing's
	}
	data = bytes.TrimLeft(data, " \t\r\n")
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	return len(data) > 0 && data[0] != '{' && !bytes.HasPrefix([]byte("\ufeff"), data)
}

// isContentLength reports whether line begins a frame of [ContentLength].
func isContentLength(line []byte) bool {
	const name = "Content-Length:"
	if len(line) <= len(name) || !strings.EqualFold(string(line[:len(name)]), name) {
		return false
	}
	digits := bytes.Trim(line[len(name):], " \r")
	return len(digits) > 0 && !outside(digits, '0', '9')
}

// notMyLanguage returns the error for a peer that speaks another codec or framing
// than is spoken here, as far as data, its first bytes, show which.
func (l *limits) notMyLanguage(atRoom bool, data []byte, limit int, is func(frame []byte) bool) error {
	other := "something else"
	if f, _ := jsonIn(data, l.framing, limit, false, is); f != nil {
		other = language(JSON{}, f)
	} else if isContentLength(data[:max(bytes.IndexByte(data, '\n'), 0)]) {
		other = language(nil, ContentLength{})
	} else if line, _, _ := bytes.Cut(data[:min(len(data), 16)], []byte("\n")); !outside(bytes.TrimRight(line, "\r"), ' ', '~') {
		other = "text"
	}
	if atRoom {
		return wrongDoor("the room speaks %s, not %s", language(l.codec, l.framing), other)
	}
	return wrongDoor("the answer is in %s, not %s", other, language(l.codec, l.framing))
}

// isOurs returns the event of a room in frame, if that is one with which a stream
// in JSON begins or ends.
func isOurs(frame []byte) *Event {
	ev := new(Event)
	if len(frame) == 0 || frame[0] != '{' || (JSON{}).ParseEvent(frame, ev) != nil {
		return nil
	}
	switch ev.Kind {
	case Refused, Goodbye:
		if ev.End.Cause != "" {
			return ev
		}
	case Welcome:
		if ev.Welcome.Epoch != "" {
			return ev
		}
	}
	return nil
}

func isAnswer(frame []byte) bool { return isOurs(frame) != nil }

// knownFramings are tried in this order: a varint below 128 is a length of a byte.
var knownFramings = []Framing{
	Lines{}, Delimiter("\x00"), Netstring{}, ContentLength{}, Length{Bytes: 4}, Length{Bytes: 2}, Length{Bytes: 8}, Varint{}, Length{Bytes: 1},
	Length{Bytes: 4, LittleEndian: true}, Length{Bytes: 2, LittleEndian: true}, Length{Bytes: 8, LittleEndian: true},
}

// jsonIn returns the framing, another than own, in which data begins with an object
// that is accepts, and that object. In JSON over a delimiter a line is none: its end
// is white space of an object that may go on.
func jsonIn(data []byte, own Framing, limit int, json bool, is func(frame []byte) bool) (Framing, []byte) {
	if bytes.IndexByte(data[:min(len(data), 40)], '{') < 0 {
		return nil, nil
	}
	_, delimited := own.(Delimiter)
	if json && !builtIn(own) {
		return nil, nil // more of the object may come
	}
	for _, f := range knownFramings {
		if json && delimited && f == (Lines{}) {
			continue
		}
		if n, frame, err := f.SplitFrame(data, limit); n > 0 && err == nil && !sameFraming(f, own) && is(frame) {
			return f, frame
		}
	}
	return nil, nil
}

func builtIn(f Framing) bool {
	switch f.(type) {
	case Lines, Delimiter, Length, Varint, Netstring, ContentLength:
		return true
	}
	return false
}

func sameFraming(f, own Framing) bool {
	switch own := own.(type) {
	case Length:
		l, ok := f.(Length)
		return ok && l == own || ok && own.Bytes == 0 && l == Length{Bytes: 4, LittleEndian: own.LittleEndian}
	case Lines, Delimiter, Netstring, ContentLength, Varint:
		return f == own
	}
	return false
}

// language returns in words what is spoken; of a nil codec the framing alone.
func language(codec Codec, framing Framing) string {
	var words string
	switch codec.(type) {
	case nil:
		words = "frames"
	case Text:
		words = "text"
	case Raw:
		words = "raw bodies"
	case JSON:
		words = "JSON"
	default:
		words = fmt.Sprintf("%T", codec)
	}
	switch f := framing.(type) {
	case Lines:
		return words + " in lines"
	case Delimiter:
		return fmt.Sprintf("%s with the delimiter %q", words, f.bytes())
	case Length:
		order := ""
		if f.LittleEndian {
			order = ", the low one first"
		}
		return fmt.Sprintf("%s with a length of %d bytes%s", words, f.size(), order)
	case Varint:
		return words + " with a varint"
	case Netstring:
		return words + " in netstrings"
	case ContentLength:
		return words + " with a Content-Length"
	}
	return fmt.Sprintf("%s over %T", words, framing)
}

// isPlain reports whether a handshake of TLS failed with err because the other end
// does not speak TLS.
func isPlain(err error) bool {
	if errors.Is(err, ErrWrongDoor) {
		return true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error" && op.Err.Error() == tls.AlertError(tlsAlert[6]).Error()
}
