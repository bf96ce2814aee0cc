package tcproom

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// Who is at the wrong door speaks something else than the room does: HTTP, TLS,
// another codec or another framing. It shows in the first bytes of a connection,
// and both ends look at those before they make anything of them. Nothing is looked
// at after the first frame.

// maxKnock is how many bytes are looked at for a first frame.
const maxKnock = 4 << 10

func wrongDoor(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrWrongDoor, fmt.Sprintf(format, args...))
}

var (
	errHTTP     = wrongDoor("HTTP at the chat port")
	errTLS      = wrongDoor("TLS at a plain port")
	errNoTLS    = wrongDoor("the room speaks TLS, and the peer does not")
	errPlain    = wrongDoor("the peer does not speak TLS")
	errHTTPRoom = wrongDoor("what answers speaks HTTP, and is no room")
	errTLSRoom  = wrongDoor("what answers speaks TLS")
)

// A match says whether bytes begin as something does.
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

var httpMethods = []string{"GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "OPTIONS ", "PATCH ", "CONNECT ", "TRACE "}

// beginsHTTP is for bytes of which no line is known.
func beginsHTTP(data []byte) match {
	if data[0] < 'A' || data[0] > 'Z' {
		return differs
	}
	m := differs
	for _, method := range httpMethods {
		switch begins(data, method) {
		case unclear:
			m = unclear
		case matches:
			switch rest := data[len(method):]; {
			case len(rest) == 0:
				return unclear
			case rest[0] == '/', rest[0] == '*', rest[0] == 'h':
				return matches
			}
			return differs
		}
	}
	return m
}

// isRequestLine reports whether line is `[A-Z]{3,16} [!-~]+ HTTP/[0-9](\.[0-9])?`,
// with or without a \r behind it.
func isRequestLine(line []byte) bool {
	line = bytes.TrimSuffix(line, []byte("\r"))
	method, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok || len(method) < 3 || len(method) > 16 || outside(method, 'A', 'Z') {
		return false
	}
	target, version, ok := bytes.Cut(rest, []byte(" "))
	if !ok || len(target) == 0 || outside(target, '!', '~') {
		return false
	}
	version, ok = bytes.CutPrefix(version, []byte("HTTP/"))
	switch len(version) {
	case 1:
		return ok && isDigit(version[0])
	case 3:
		return ok && isDigit(version[0]) && version[1] == '.' && isDigit(version[2])
	}
	return false
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

// beginsTLS is for a ClientHello: a record of type 22 and version 3.x, in which
// stands a message of type 1 and a length that goes with the record's.
func beginsTLS(data []byte) match {
	if data[0] != 0x16 || len(data) > 1 && data[1] != 3 || len(data) > 2 && data[2] > 4 || len(data) > 5 && data[5] != 1 {
		return differs
	}
	if len(data) < 9 {
		return unclear
	}
	record, message := int(data[3])<<8|int(data[4]), int(data[6])<<16|int(data[7])<<8|int(data[8])
	if message+4 < record {
		return differs
	}
	return matches
}

// tlsAlert is a fatal alert of TLS, unexpected_message: what a client of TLS
// understands of a room whose codec says nothing at the end, and what this
// package's dialling end understands of a port that speaks TLS.
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

// knock looks at the first bytes of a peer, at the room's end, where limit is that of a
// frame. It returns an error that wraps ErrWrongDoor for somebody who is at the wrong
// door, and wait where that cannot be told yet and nothing may be read.
func (c *Conn) knock(limit int) (wait bool, err error) {
	data := c.src.Held()
	if len(data) == 0 {
		return false, nil
	}
	_, greets := c.cfg.codec.(Greeter)
	lines := inLines(c.cfg.framing)
	m := beginsTLS(data)
	if m == matches {
		c.lastWords = []byte(tlsAlert)
		return false, errTLS
	}
	if !c.cfg.allowHTTP && (greets || !lines) {
		if m = max(m, beginsHTTP(data)); m == matches {
			return false, errHTTP
		}
	}
	switch c.cfg.framing.(type) {
	case Length, Varint: // of which these bytes are no length that was meant
		if m = max(m, begins(data, `{"type":"hello"`)); m == matches {
			return false, c.refuseJSON(Lines{})
		}
	}
	if m == unclear {
		return true, nil
	}
	n, frame, splitErr := c.split(data, limit)
	if err := c.stranger(data, n, frame, splitErr); err != nil {
		return false, err
	}
	c.knocked = n > 0 || splitErr != nil || len(data) >= maxKnock
	return false, nil
}

// stranger is knock for bytes that may be a frame or what its framing does not allow.
func (c *Conn) stranger(data []byte, n int, frame []byte, splitErr error) error {
	_, greets := c.cfg.codec.(Greeter)
	if greets {
		if c.isNoJSON(data, n, frame) {
			return c.notMyLanguage(data, maxKnock, isHello)
		}
		if n > 0 {
			return nil // it is for the codec to say
		}
	} else if inLines(c.cfg.framing) && splitErr == nil {
		first := data
		if n > 0 {
			first = frame
		}
		line, _, whole := bytes.Cut(first, []byte("\n"))
		switch {
		case n == 0 && !whole:
		case !c.cfg.allowHTTP && isRequestLine(line):
			return errHTTP
		case isContentLength(line):
			return c.notMyLanguage(data, maxKnock, isHello)
		}
	}
	// First, for a framing of somebody's own may take every other for its own.
	if f, _ := jsonIn(data, c.cfg.framing, maxKnock, greets, isHello); f != nil {
		return c.refuseJSON(f)
	}
	if !greets && n > 0 && isHello(frame) {
		return c.refuseJSON(c.cfg.framing)
	}
	if splitErr != nil && isText(c.cfg.framing, data, splitErr) {
		return c.notMyLanguage(data, maxKnock, isHello)
	}
	return nil
}

// isNoJSON reports whether the first bytes cannot be those of JSON where it is spoken.
func (c *Conn) isNoJSON(data []byte, n int, frame []byte) bool {
	if _, ok := c.cfg.codec.(JSON); !ok {
		return false
	}
	if n > 0 {
		data = frame
	} else if !inLines(c.cfg.framing) {
		return false // what these bytes begin with is the framing's
	}
	data = bytes.TrimPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("\ufeff"))
	return len(data) > 0 && data[0] != '{' && !bytes.HasPrefix([]byte("\ufeff"), data)
}

// isText reports whether data, which framing does not allow, is a line of text.
func isText(framing Framing, data []byte, err error) bool {
	switch framing.(type) {
	case Length:
		if len(data) < 4 { // a length of a byte or two may be of letters
			return false
		}
	case Netstring, ContentLength:
		if !errors.Is(err, ErrMalformed) || isDigit(data[0]) || len(data) >= 8 && strings.EqualFold(string(data[:8]), "content-") {
			return false
		}
	default:
		return false
	}
	return !outside(data[:min(len(data), 4)], ' ', '~')
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

// refuseJSON returns why somebody who said a hello in JSON over f is not let in.
// The answer is in JSON where the room's own codec has no word for it.
func (c *Conn) refuseJSON(f Framing) error {
	err := wrongDoor("the room speaks %s, not %s", language(c.cfg.codec, c.cfg.framing), language(JSON{}, f))
	ev := Event{Kind: Refused, Code: codeOf(err), Final: true, Text: reasonOf(err)}
	if b, err := (JSON{}).AppendEvent(nil, &ev); err == nil {
		c.lastWords, _ = f.AppendFrame(nil, b)
	}
	return err
}

// notMyLanguage returns the error for a peer that speaks another codec or framing
// than is spoken here, as far as data, its first bytes, show which.
func (c *Conn) notMyLanguage(data []byte, limit int, is func(frame []byte) bool) error {
	other := "something else"
	if f, _ := jsonIn(data, c.cfg.framing, limit, false, is); f != nil {
		other = language(JSON{}, f)
	} else if isContentLength(data[:max(bytes.IndexByte(data, '\n'), 0)]) {
		other = language(nil, ContentLength{})
	} else if line, _, _ := bytes.Cut(data[:min(len(data), 16)], []byte("\n")); !outside(bytes.TrimRight(line, "\r"), ' ', '~') {
		other = "plain text"
	}
	if c.room == nil {
		return wrongDoor("what answers speaks %s, not %s", other, language(c.cfg.codec, c.cfg.framing))
	}
	return wrongDoor("the room speaks %s, not %s", language(c.cfg.codec, c.cfg.framing), other)
}

func isHello(frame []byte) bool {
	if len(frame) == 0 || frame[0] != '{' {
		return false
	}
	return JSON{}.ParseHello(frame, new(Hello)) == nil
}

// isOurs returns what a room says in frame, if that is something with which a stream
// in JSON begins or ends.
func isOurs(frame []byte) *Event {
	ev := new(Event)
	if len(frame) == 0 || frame[0] != '{' || (JSON{}).ParseEvent(frame, ev) != nil {
		return nil
	}
	switch ev.Kind {
	case Refused, Goodbye:
		if ev.Code != "" {
			return ev
		}
	case Welcome:
		if ev.Epoch != "" {
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
// for which is holds, and that object. In JSON over a delimiter a line is none: its end is
// white space of an object that may go on.
func jsonIn(data []byte, own Framing, limit int, json bool, is func(frame []byte) bool) (Framing, []byte) {
	if bytes.IndexByte(data[:min(len(data), 40)], '{') < 0 {
		return nil, nil
	}
	_, delimited := own.(Delimiter)
	if json && !builtIn(own) {
		return nil, nil // which may have more to come
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

// language says in words what is spoken; of a nil codec the framing alone.
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

// heldBack reports whether bytes that were held back, because they may have been the
// beginning of something else, are to be read now that the peer has ended its half.
func (c *Conn) heldBack(err error) bool {
	if c.knocked || len(c.src.Held()) == 0 || !errors.Is(err, io.EOF) {
		return false
	}
	c.knocked = true
	return true
}

// meet looks at the first bytes that a dialling end gets, and returns an error that
// wraps ErrWrongDoor where what answers does not speak as this end does.
//
// Where the codec can tell no line of a room from what a member sends, as Raw cannot, a
// member could end others by that. There the error counts only if the stream ends with
// these bytes, or no framing is in them.
func (c *Conn) meet(limit int) error {
	err := c.strangeAnswer(limit)
	switch c.cfg.codec.(type) {
	case Text, Greeter:
		return err
	}
	c.dial.suspect = err
	return nil
}

func (c *Conn) strangeAnswer(limit int) error {
	data := c.src.Held()
	if len(data) == 0 {
		return nil
	}
	if begins(data, tlsAlert[:2]) == matches {
		return errTLSRoom
	}
	if bytes.HasPrefix(data, []byte("HTTP/")) {
		return errHTTPRoom
	}
	n, frame, splitErr := c.split(data, limit)
	_, greets := c.cfg.codec.(Greeter)
	var said *Event
	if greets && n > 0 && !c.isNoJSON(data, n, frame) {
		return nil // it is for the codec to say
	}
	if !greets && n > 0 {
		said = isOurs(frame)
	}
	if said == nil {
		_, other := jsonIn(data, c.cfg.framing, limit, greets, isAnswer)
		said = isOurs(other)
	}
	switch {
	case said != nil && said.Kind == Welcome:
		return c.notMyLanguage(data, limit, isAnswer)
	case said != nil:
		return fmt.Errorf("%w: %w", ErrWrongDoor, &RefusedError{Code: said.Code, Message: said.Text, Final: said.Final, RetryAfter: said.RetryAfter})
	case greets && (splitErr != nil || c.isNoJSON(data, n, frame) && begins(data, "HTTP/") == differs):
		return c.notMyLanguage(data, limit, isAnswer)
	}
	if _, text := c.cfg.codec.(Text); text && n > 0 {
		if reason, ok := bytes.CutPrefix(frame, []byte("* goodbye: wrong door: ")); ok {
			return wrongDoor("the room said: %q", cutText(string(reason), maxReasonBytes))
		}
	}
	return nil
}

// nextOrStrange is nextEvent, but for the first bytes of a wrong door.
func (c *Conn) nextOrStrange(limit int) (Event, error) {
	if c.dial.met {
		ev, err := c.nextEvent(limit)
		if ev.Kind != 0 {
			c.dial.suspect = nil
		}
		return ev, err
	}
	if err := c.meet(limit); err != nil {
		return Event{}, err
	}
	ev, err := c.nextEvent(limit)
	return ev, c.notedAnswer(&ev, err)
}

// notedAnswer is called with what came of the first bytes of a room.
func (c *Conn) notedAnswer(ev *Event, err error) error {
	if errors.Is(err, ErrMalformed) || errors.Is(err, ErrFrameTooLarge) {
		if c.dial.suspect != nil {
			return c.dial.suspect
		}
		if _, greets := c.cfg.codec.(Greeter); greets {
			return wrongDoor("what answers does not speak %s: %q", language(c.cfg.codec, c.cfg.framing), err.Error())
		}
	}
	if ev.Kind != 0 {
		c.dial.met = true
	}
	return err
}

// endOfAnswer makes of the end of a stream what its only frame says about it.
func (c *Conn) endOfAnswer(cause error) error {
	if c.dial.suspect != nil && (cause == io.EOF || cause == io.ErrUnexpectedEOF) {
		return c.dial.suspect
	}
	return cause
}

// A tlsDoor is a connection on which TLS is expected. It does not wait for a whole
// record from a peer that says something else, which may never come.
type tlsDoor struct {
	net.Conn
	looked bool
}

// NetConn returns what lies beneath, as that of a [tls.Conn] does.
func (d *tlsDoor) NetConn() net.Conn { return d.Conn }

func (d *tlsDoor) Read(b []byte) (n int, err error) {
	n, err = d.Conn.Read(b)
	if n > 0 && !d.looked {
		if d.looked = true; b[0] != 0x16 && b[0] != 0x15 {
			return 0, errNoTLS
		}
	}
	return n, err
}

// plainPeer returns the cause for an end that does not speak TLS, as the handshake's
// err says, and tells it so at the room's end.
func (c *Conn) plainPeer(err error) error {
	if c.room == nil {
		return errPlain
	}
	if header, ok := errors.AsType[tls.RecordHeaderError](err); ok && header.Conn != nil || errors.Is(err, ErrWrongDoor) {
		c.answerPlain(beneath(c.nc))
		return errNoTLS
	}
	return fmt.Errorf("%w: TLS handshake: %w", ErrMalformed, err)
}

// answerPlain tells a peer that does not speak TLS, where TLS is spoken, so.
func (c *Conn) answerPlain(nc net.Conn) {
	ev := Event{Kind: Refused, Text: reasonOf(errNoTLS), Code: codeOf(errNoTLS), Final: true}
	b, err := encodeApart(&c.cfg.limits, &ev)
	if err != nil || len(b) == 0 {
		b = []byte(tlsAlert)
	}
	nc.SetDeadline(time.Now().Add(quiet))
	if _, err := nc.Write(b); err != nil {
		return
	}
	if half, ok := nc.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		io.Copy(io.Discard, io.LimitReader(nc, 1<<20)) // or the close destroys what is on its way
	}
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
