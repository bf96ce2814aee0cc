package tcproom

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"time"
)

// A Codec says what is written inside a frame, in each direction: events from
// the room to a member, messages from a member to the room.
//
// A Codec is pure: one value serves all connections, from many goroutines. Its
// methods run under the room's lock and must not block or call back. They keep
// none of their arguments.
type Codec interface {
	// AppendEvent appends the encoded ev, which it does not change, to dst and
	// returns the extended slice, or [ErrNoFrame] where this codec does not say
	// such an event; a codec that does not say a Gap gets no member with the Skip policy.
	AppendEvent(dst []byte, ev *Event) ([]byte, error)
	// ParseEvent decodes into ev, which is zero, what AppendEvent encoded.
	// What it sets may alias frame. It returns an error that wraps
	// [ErrMalformed] for a frame that is none, and [ErrNoFrame] for one
	// that says nothing and is to be ignored. With nil it has set a Kind, or
	// the frame counts as malformed.
	ParseEvent(frame []byte, ev *Event) error

	// AppendMessage appends to dst the encoded message of a member.
	AppendMessage(dst, body []byte) ([]byte, error)
	// ParseMessage decodes what AppendMessage encoded. The body may alias
	// frame. Errors are those of ParseEvent.
	ParseMessage(frame []byte) (body []byte, err error)

	// MaxFrame returns the length that no frame exceeds, towards the room and
	// towards a member, when no body exceeds maxBody bytes.
	MaxFrame(maxBody int) (toRoom, toMember int)
}

// A Greeter is a [Codec] whose connections begin with a hello from the
// dialling end, which the room answers with a [Welcome] or [Refused] event.
// [JSON] is one.
type Greeter interface {
	Codec
	// AppendHello appends the encoded h to dst.
	AppendHello(dst []byte, h *Hello) ([]byte, error)
	// ParseHello decodes into h, which is zero, what AppendHello encoded.
	ParseHello(frame []byte, h *Hello) error
}

// Hello is what a conn says first, where its codec is a [Greeter].
type Hello struct {
	Name    string  // the name that it wishes for; empty: the room chooses
	Ping    bool    // it wishes to be pinged while it is silent
	History int     // how many messages of history it wants at most; 0: all, negative: none
	Auth    Secret  // for the room's [Handshake] hook, see [Conn.Hello]
	Resume  *Resume // the member that it was, see [WithSessions]; nil: a new one
}

// A Pinger is a [Codec] that has heartbeats, see [WithHeartbeat]: a ping, and
// the pong that answers it, which are no events. They look the same in both
// directions, and a framing must be able to carry them. [JSON] is one.
//
// ParseEvent and ParseMessage return [ErrPing] for a ping and [ErrPong] for a pong.
type Pinger interface {
	Codec
	// AppendPing appends a ping to dst.
	AppendPing(dst []byte) []byte
	// AppendPong appends the answer to dst.
	AppendPong(dst []byte) []byte
}

// Text is the default codec, for people: what a room says is a line to read,
// what a member says is the line that it typed.
//
//	ada: hi                  a message of the member ada
//	*: hi                    a message of the room itself, or a Direct
//	- 2026-05-01 12:00 ada: hi
//	                         the same as history, with its time in UTC
//	* ada joined
//	* ada left
//	* 12 messages skipped    a Gap; "* 1 message skipped" for one
//	* goodbye: reason        a Goodbye or a Refused; "* goodbye" without a reason
//
// A Welcome is not said. No name holds a space or a colon or is "*", so no
// member can forge another's line or a notice.
//
// Towards members, bodies and reasons are shown safe for a terminal: control
// characters but tab, line separators (U+2028, U+2029), the controls of the
// bidirectional algorithm (U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to
// U+2069), U+FEFF and bytes that are not UTF-8 stand as \x1b (ASCII and bytes)
// or \u{202e} (other characters). A backslash stays as it is: an escape is for
// the eye, the two cannot be told apart, and ParseEvent undoes nothing.
// Towards the room the body is the frame, byte for byte, and an empty line is
// no message: AppendMessage refuses it, ParseMessage ignores it.
//
// ParseEvent gives typed events. Names that no room allows are no names, and a
// line of none of the forms above is a Message of the room itself with the
// whole line as its Body: that is what another program that speaks in lines
// says. An empty line is ignored. A Gap has GapFrom 1 and GapTo the number of
// messages, because the line does not tell which they were.
type Text struct{}

var _ Codec = Text{}

// maxReasonBytes is how much of an Event's Text the built-in codecs say.
const maxReasonBytes = 512

// AppendEvent appends the line for ev. It returns [ErrNoFrame] for a Welcome,
// and an error that wraps [ErrNameInvalid] for a name that no member can have.
// At most 512 bytes of a reason are said.
func (Text) AppendEvent(dst []byte, ev *Event) ([]byte, error) {
	switch ev.Kind {
	case Message:
		if ev.History {
			dst = ev.Time.UTC().AppendFormat(dst, historyTime)
		}
		if ev.From == (Member{}) {
			return appendSafe(append(dst, "*: "...), ev.Body), nil
		}
		if err := checkName(ev.From.Name); err != nil {
			return dst, err
		}
		dst = append(append(dst, ev.From.Name...), ": "...)
		return appendSafe(dst, ev.Body), nil
	case Direct:
		return appendSafe(append(dst, "*: "...), ev.Body), nil
	case Join, Leave:
		if err := checkName(ev.From.Name); err != nil {
			return dst, err
		}
		dst = append(append(dst, "* "...), ev.From.Name...)
		if ev.Kind == Join {
			return append(dst, " joined"...), nil
		}
		return append(dst, " left"...), nil
	case Gap:
		if err := checkGap(ev); err != nil {
			return dst, err
		}
		n := ev.GapTo - ev.GapFrom + 1
		dst = strconv.AppendUint(append(dst, "* "...), n, 10)
		if n == 1 {
			return append(dst, oneSkipped...), nil
		}
		return append(dst, manySkipped...), nil
	case Goodbye, Refused:
		dst = append(dst, "* goodbye"...)
		if ev.Text == "" {
			return dst, nil
		}
		return appendSafe(append(dst, ": "...), []byte(cutText(ev.Text, maxReasonBytes))), nil
	}
	return dst, ErrNoFrame
}

// historyTime is what stands before a message of the past, as a layout of
// package time. No live line begins so, for no name holds a space.
const historyTime = "- 2006-01-02 15:04 "

const (
	oneSkipped  = " message skipped"
	manySkipped = " messages skipped"
)

// checkGap returns an error for a Gap that skips nothing. No room makes one.
func checkGap(ev *Event) error {
	if ev.GapFrom == 0 || ev.GapTo < ev.GapFrom {
		return fmt.Errorf("tcproom: gap from %d to %d", ev.GapFrom, ev.GapTo)
	}
	return nil
}

// ParseEvent decodes a line. The only error is [ErrNoFrame], for an empty one.
func (Text) ParseEvent(frame []byte, ev *Event) error {
	if len(frame) == 0 {
		return ErrNoFrame
	}
	if len(frame) > len(historyTime) && frame[0] == '-' {
		if at, err := time.Parse(historyTime, string(frame[:len(historyTime)])); err == nil && parseSaid(frame[len(historyTime):], ev) {
			ev.Time, ev.History = at, true
			return nil
		}
	}
	if parseSaid(frame, ev) {
		return nil
	}
	if notice, ok := bytes.CutPrefix(frame, []byte("* ")); ok {
		if parseNotice(notice, ev) {
			return nil
		}
	}
	*ev = Event{Kind: Message, Body: frame}
	return nil
}

// parseSaid decodes a line that says who said what, and reports whether it is one.
func parseSaid(line []byte, ev *Event) bool {
	if body, ok := bytes.CutPrefix(line, []byte("*: ")); ok {
		*ev = Event{Kind: Message, Body: body}
		return true
	}
	if i := bytes.Index(line[:min(len(line), maxNameBytes+2)], []byte(": ")); i > 0 {
		if name := string(line[:i]); checkName(name) == nil {
			*ev = Event{Kind: Message, From: Member{Name: name}, Body: line[i+2:]}
			return true
		}
	}
	return false
}

// parseNotice decodes a line without its "* ", and says whether it is a notice.
func parseNotice(notice []byte, ev *Event) bool {
	if string(notice) == "goodbye" {
		*ev = Event{Kind: Goodbye}
		return true
	}
	if reason, ok := bytes.CutPrefix(notice, []byte("goodbye: ")); ok {
		*ev = Event{Kind: Goodbye, Text: string(reason)}
		return true
	}
	if n, ok := bytes.CutSuffix(notice, []byte(oneSkipped)); ok && string(n) == "1" {
		*ev = Event{Kind: Gap, GapFrom: 1, GapTo: 1}
		return true
	}
	if digits, ok := bytes.CutSuffix(notice, []byte(manySkipped)); ok {
		n, ok := parseUint(digits)
		*ev = Event{Kind: Gap, GapFrom: 1, GapTo: n}
		return ok && n > 1
	}
	kind := Join
	name, ok := bytes.CutSuffix(notice, []byte(" joined"))
	if !ok {
		kind = Leave
		name, ok = bytes.CutSuffix(notice, []byte(" left"))
	}
	if !ok || len(name) > maxNameBytes || checkName(string(name)) != nil {
		return false
	}
	*ev = Event{Kind: kind, From: Member{Name: string(name)}}
	return true
}

// parseUint decodes a decimal number that has no sign, no leading zero and
// nothing beside its digits.
func parseUint(s []byte) (n uint64, ok bool) {
	if len(s) == 0 || s[0] == '0' && len(s) > 1 {
		return 0, false
	}
	for _, c := range s {
		d := uint64(c - '0')
		if d > 9 || n > (math.MaxUint64-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}

// AppendMessage appends body as it is. It returns an error that wraps
// [ErrUnframeable] for an empty one.
func (Text) AppendMessage(dst, body []byte) ([]byte, error) {
	if len(body) == 0 {
		return dst, fmt.Errorf("%w: text: an empty line is no message", ErrUnframeable)
	}
	return append(dst, body...), nil
}

// ParseMessage returns frame. The only error is [ErrNoFrame], for an empty one.
func (Text) ParseMessage(frame []byte) ([]byte, error) {
	if len(frame) == 0 {
		return nil, ErrNoFrame
	}
	return frame, nil
}

// MaxFrame returns maxBody towards the room. Towards a member a body takes up
// to four times as much, for its escapes, and the name 256 bytes.
func (Text) MaxFrame(maxBody int) (toRoom, toMember int) {
	message := grown(maxBody, maxSafe, len(historyTime)+maxNameBytes+len(": "))
	notice := len("* goodbye: ") + maxSafe*maxReasonBytes // the longest one
	return max(maxBody, 0), max(message, notice)
}

// grown returns n*factor + extra, or the largest int where that is larger.
func grown(n, factor, extra int) int {
	n = max(n, 0)
	if n > (math.MaxInt-extra)/factor {
		return math.MaxInt
	}
	return n*factor + extra
}

// Raw is the codec that says bodies, byte for byte, and nothing else: what is
// said by a member, by the room or to this member alone looks the same, and
// joins, leaves, gaps and history are not told. A member that speaks Raw therefore gets
// no Skip policy. At the dialling end each frame is a [Message] with a Body only.
type Raw struct{}

var _ Codec = Raw{}

// AppendEvent appends the body of a Message or Direct. It returns [ErrNoFrame]
// for any other event.
func (Raw) AppendEvent(dst []byte, ev *Event) ([]byte, error) {
	if ev.Kind != Message && ev.Kind != Direct || ev.History {
		return dst, ErrNoFrame
	}
	return append(dst, ev.Body...), nil
}

// ParseEvent makes a Message of frame. It returns no error.
func (Raw) ParseEvent(frame []byte, ev *Event) error {
	*ev = Event{Kind: Message, Body: frame}
	return nil
}

// AppendMessage appends body as it is.
func (Raw) AppendMessage(dst, body []byte) ([]byte, error) { return append(dst, body...), nil }

// ParseMessage returns frame, whatever it is.
func (Raw) ParseMessage(frame []byte) ([]byte, error) { return frame, nil }

// MaxFrame returns maxBody in both directions.
func (Raw) MaxFrame(maxBody int) (toRoom, toMember int) {
	n := max(maxBody, 0)
	return n, n
}
