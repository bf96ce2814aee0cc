package tcproom

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"time"
)

// maxKnock is how many bytes are looked at for a first frame.
const maxKnock = 4 << 10

var (
	errHTTP = wrongDoor("HTTP at the chat port")
	errTLS  = wrongDoor("TLS at a plain port")
)

// A doorway is what a link knows of its first bytes. It is its own goroutine's.
type doorway struct {
	passed bool       // they are a frame, or what only the framing can judge
	header bool       // they may yet be the header of a hello in another framing
	part   bool       // what is held is a part of such a hello, of which nothing may be taken
	rare   *doorBytes // nil for nearly all
}

// doorBytes is what few links need, at their doorway or at their end.
type doorBytes struct {
	beside []*stream     // those of its rooms, once a link of a hub has ended
	answer *partingWords // to a goodbye; nil until there was one, with control frames
	taken  []byte        // as frames, although they may be such a header
	words  []byte        // for a peer at the wrong door, if the codec has no last word
}

// bytes returns d.rare, which it makes if there is none.
func (d *doorway) bytes() *doorBytes {
	if d.rare == nil {
		d.rare = new(doorBytes)
	}
	return d.rare
}

// knock looks at the first bytes of a peer; limit is that of a frame. It returns an
// error that wraps ErrWrongDoor for a peer that is at the wrong door, and wait if that
// cannot be told yet and nothing may be read.
func (l *link) knock(limit int) (wait bool, err error) {
	data := l.src.Held()
	if len(data) == 0 {
		return false, nil
	}
	if l.door.rare != nil && l.door.rare.taken != nil {
		return l.knockOn(data)
	}
	greets, lines := l.cfg.features.Hello, inLines(l.cfg.framing)
	m := beginsTLS(data)
	if m == matches {
		l.door.bytes().words = []byte(tlsAlert)
		return false, errTLS
	}
	if !l.cfg.speakHTTP && (greets || !lines) {
		if m = max(m, beginsHTTP(data)); m == matches {
			return false, errHTTP
		}
	}
	switch l.cfg.framing.(type) {
	case Length, Varint: // of which these bytes are no length that was meant
		if m = max(m, begins(data, `{"type":"hello"`)); m == matches {
			return false, l.refuseJSON(Lines{})
		}
	}
	if m == unclear {
		return true, nil
	}
	n, frame, splitErr := l.split(data, limit)
	if err := l.stranger(data, n, frame, splitErr); err != nil {
		return false, err
	}
	if n > 0 && !greets {
		return l.awaitHello(data, frame), nil
	}
	l.door.passed = n > 0 || splitErr != nil || len(data) >= maxKnock
	return false, nil
}

// knockOn is knock if data stands behind what was taken.
func (l *link) knockOn(data []byte) (wait bool, err error) {
	all := append(l.door.rare.taken, data...)
	if f, _ := jsonIn(all, l.cfg.framing, maxKnock, false, isHello); f != nil {
		return false, l.refuseJSON(f)
	}
	return l.awaitHello(all, nil), nil
}

// awaitHello is for data that begins with frame and is no whole hello in any framing.
// It reports whether nothing may be taken, because data is a part of one. If it is a
// header at most, frames are taken, because it may be a message as well, behind which
// nothing else comes; but not if it is a length where lines of text are expected.
func (l *link) awaitHello(data, frame []byte) (wait bool) {
	part := helloPart(data, l.cfg.framing)
	if len(frame) > 0 && frame[0] == '{' {
		part = differs // the header is of the room's own framing
	}
	switch part {
	case matches:
		l.door.part = true
		return true
	case unclear:
		if inLines(l.cfg.framing) && bytes.HasPrefix(frame, []byte("\x00\x00")) {
			return true
		}
		l.door.header, l.door.part = true, false
		return false
	}
	l.door = doorway{passed: true}
	return false
}

// consume takes away the first n bytes that are held.
func (l *link) consume(n int) {
	if l.door.header {
		l.door.bytes().taken = append(l.door.bytes().taken, l.src.Held()[:n]...)
	}
	l.src.Consume(n)
}

// helloPart reports whether data is a part of a hello in JSON behind the header of
// another framing than own: matches if something of the object is there.
func helloPart(data []byte, own Framing) match {
	most := differs
	for _, f := range knownFramings {
		if sameFraming(f, own) {
			continue
		}
		header, size, m := headerIn(f, data)
		if m == matches {
			if size < uint64(len(helloBegin)) || size > maxKnock {
				continue
			}
			if n, _, err := f.SplitFrame(data, maxKnock); n > 0 || err != nil {
				continue // it is whole, and jsonIn's business
			}
			m = beginsHello(data[header:])
		}
		most = max(most, m)
	}
	return most
}

// headerIn returns the length of what f has put before the first body in data, and
// the size of the body. The match is unclear if not all of that is there.
func headerIn(f Framing, data []byte) (header int, size uint64, m match) {
	switch f := f.(type) {
	case Length:
		return lengthIn(f, data)
	case Varint:
		size, header = binary.Uvarint(data)
	case Netstring:
		digits, _, whole := bytes.Cut(data, []byte(":"))
		if outside(digits, '0', '9') || len(digits) > len("4096") {
			return 0, 0, differs
		}
		if whole {
			header = len(digits) + 1
			size, _ = parseUint(digits)
		}
	case ContentLength:
		name, _, _ := bytes.Cut(data, []byte(":"))
		if slices.ContainsFunc(name, func(b byte) bool { return !isToken(b) }) {
			return 0, 0, differs // as splitHeader says, which makes an error of it
		}
		var err error
		if header, size, err = splitHeader(data, maxKnock); err != nil || len(data) > 40 && header == 0 {
			return 0, 0, differs
		}
	default:
		return 0, 0, differs
	}
	switch {
	case header < 0:
		return 0, 0, differs
	case header == 0:
		return 0, 0, unclear
	}
	return header, size, matches
}

// lengthIn is headerIn for a length.
func lengthIn(f Length, data []byte) (header int, size uint64, m match) {
	header = f.size()
	for i, b := range data[:min(len(data), header)] {
		shift := 8 * i
		if !f.LittleEndian {
			shift = 8 * (header - 1 - i)
		}
		size |= uint64(b) << shift
	}
	switch {
	case size > maxKnock: // whatever follows
		return 0, 0, differs
	case len(data) < header:
		return 0, 0, unclear
	}
	return header, size, matches
}

// helloBegin is how this package begins a hello, and the least of one.
const helloBegin = `{"type":"hello"}`

// beginsHello reports whether body, which has not all arrived, begins as a hello
// does: unclear if nothing of it is there.
func beginsHello(body []byte) match {
	switch {
	case len(body) == 0:
		return unclear
	case body[0] != '{':
		return differs
	}
	start := bytes.Map(func(r rune) rune {
		if strings.ContainsRune(" \t\r\n", r) {
			return -1
		}
		return r
	}, body[:min(len(body), 40)])
	for _, key := range []string{"type", "name", "auth", "resume", "ping", "history"} {
		if begins(start, `{"`+key+`":`) != differs {
			return matches
		}
	}
	return differs
}

// stranger is knock for bytes that may be a frame or what the framing does not allow.
func (l *link) stranger(data []byte, n int, frame []byte, splitErr error) error {
	greets := l.cfg.features.Hello
	if greets {
		if l.transport.cfg.isNoJSON(data, n, frame) {
			return l.transport.cfg.notMyLanguage(true, data, maxKnock, isHello)
		}
		if n > 0 {
			return nil // it is for the codec to say
		}
	} else if inLines(l.cfg.framing) && splitErr == nil {
		first := data
		if n > 0 {
			first = frame
		}
		line, _, whole := bytes.Cut(first, []byte("\n"))
		switch {
		case n == 0 && !whole:
		case !l.cfg.speakHTTP && isRequestLine(line):
			return errHTTP
		case isContentLength(line):
			return l.transport.cfg.notMyLanguage(true, data, maxKnock, isHello)
		}
	}
	if f, _ := jsonIn(data, l.cfg.framing, maxKnock, greets, isHello); f != nil {
		return l.refuseJSON(f)
	}
	if !greets && n > 0 && isHello(frame) {
		return l.refuseJSON(l.cfg.framing)
	}
	if splitErr != nil && isText(l.cfg.framing, data, splitErr) {
		return l.transport.cfg.notMyLanguage(true, data, maxKnock, isHello)
	}
	return nil
}

// refuseJSON returns why a peer that sent a hello in JSON over f is not let in.
// The answer is in JSON if the room's own codec has no word for it.
func (l *link) refuseJSON(f Framing) error {
	err := wrongDoor("the room speaks %s, not %s", language(l.cfg.codec, l.cfg.framing), language(JSON{}, f))
	if b, err := (JSON{}).AppendEvent(nil, &Event{Kind: Refused, End: l.room.lastWords(err)}); err == nil {
		l.door.bytes().words, _ = f.AppendFrame(nil, b)
	}
	return err
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

func isHello(frame []byte) bool {
	if len(frame) == 0 || frame[0] != '{' {
		return false
	}
	var req Request
	return JSON{}.ParseRequest(frame, &req) == nil && req.Kind == ReqHello
}

// heldBack reports whether bytes that were held back, because they may have been the
// beginning of something else, are to be read now that the peer has ended its half.
// A part of a hello is not: it may hold a password.
func (l *link) heldBack(err error) bool {
	if l.door.passed || l.door.part || len(l.src.Held()) == 0 || !errors.Is(err, io.EOF) {
		return false
	}
	l.door.passed = true
	return true
}

// plainPeer returns the cause for a peer that does not speak TLS, as the handshake's
// err says, and tells it so.
func (l *link) plainPeer(err error) error {
	if header, ok := errors.AsType[tls.RecordHeaderError](err); ok && header.Conn != nil || errors.Is(err, ErrWrongDoor) {
		l.answerPlain(beneath(l.nc))
		return errNoTLS
	}
	return tlsCause(err)
}

// answerPlain tells a peer that it should speak TLS.
func (l *link) answerPlain(nc net.Conn) {
	b, err := encode(l.transport.cfg, &Event{Kind: Refused, End: l.room.lastWords(errNoTLS)})
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
