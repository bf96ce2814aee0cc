package tcproom

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"time"
)

// A Codec says what is written inside a frame, in each direction: events from
// the room to a member, requests from a member to the room.
//
// A Codec is pure: one value serves all connections, from many goroutines. Its
// methods run under the room's lock and must not block, call back or end their
// goroutine. They keep none of their arguments.
type Codec interface {
	// AppendEvent appends the encoded ev, which it does not change, to dst and
	// returns the extended slice, or [ErrNoFrame] if this codec does not say
	// such an event.
	AppendEvent(dst []byte, ev *Event) ([]byte, error)
	// ParseEvent decodes into ev, which is zero, what AppendEvent encoded.
	// What it sets may alias frame. It returns an error that wraps
	// [ErrMalformed] for a frame that is none, and [ErrNoFrame] for one
	// that says nothing and is to be ignored. With nil it has set a Kind, or
	// the frame counts as malformed.
	ParseEvent(frame []byte, ev *Event) error

	// AppendRequest appends the encoded req, which it does not change, to dst and
	// returns the extended slice, or [ErrNoFrame] if this codec does not say such
	// a request.
	AppendRequest(dst []byte, req *Request) ([]byte, error)
	// ParseRequest decodes into req, which is zero, what AppendRequest encoded.
	// What it sets may alias frame. Errors are those of ParseEvent.
	ParseRequest(frame []byte, req *Request) error

	// Features returns what this codec can say. It returns the same at each call.
	Features() Features
}

// Features are what a [Codec] can say beside messages. The zero Features are
// those of a codec that says nothing else.
type Features struct {
	// Hello: a connection begins with a [ReqHello], which the room answers with a
	// [Welcome] or [Refused] event.
	Hello bool
	// Numbers: the codec has Hello and Gaps, a [ReqSay] may have a Number, which the room
	// answers with an [Ack], and there is a [ReqGoodbye]. Members can resume then,
	// see [WithSessions].
	Numbers bool
	// Gaps: the codec says a [Gap], so that [Skip] is possible.
	Gaps bool
	// Resets: the codec says a [Welcome] in the middle of a stream, too, of the outcome
	// "reset" or, if it has Hello, "gap", see [WelcomeInfo]. In a room with a log members of
	// other codecs are sent away instead, and come back.
	Resets bool
	// Pings: the codec says [Ping] and [Pong] in both directions, see [WithHeartbeat].
	// If it has [ControlFrames]: its peer answers a ping of AppendPing.
	Pings bool
	// Requests: the codec says what the members of a hub ask for, at least [ReqMove],
	// [ReqRooms], [ReqMembers], [ReqTell] and [ReqRename], and what answers these: a
	// [RoomList], a [Roster], and a [Refused] with a Ref or Room.
	Requests bool
	// Rooms: the codec has Requests, and its events and requests have a Room, so that a
	// connection can be in several rooms. It says [ReqEnter] and [ReqLeave], too.
	Rooms bool
}

// A FrameBounder is a [Codec] that bounds its frames by itself. Others are taken
// to need six bytes for each of a body and 1 KiB more.
//
// A codec with a hello needs it if [WithMaxMessage] is small, such as 1 KiB. A frame
// above the bound is too large for the end that receives it, and a [Welcome] has up to
// 256 members, whatever the size of bodies: in [JSON] that is up to 170 KB. Without it,
// nobody could join a room that has many members. The same goes for a [ReqHello] with
// much in it.
type FrameBounder interface {
	Codec
	// MaxFrame returns the length that no frame exceeds, towards the room and
	// towards a member, if no body exceeds maxBody bytes.
	MaxFrame(maxBody int) (toRoom, toMember int)
}

// RequestKind says what a [Request] is.
type RequestKind uint8

// The kinds of requests.
const (
	// ReqSay sends Body to everyone else.
	ReqSay RequestKind = iota + 1
	// ReqHello begins a connection, if the codec has it.
	ReqHello
	// ReqPing asks for a [Pong].
	ReqPing
	// ReqPong answers a [Ping].
	ReqPong
	// ReqGoodbye says that the member leaves, for good unless Resumes is set. Body may
	// be its last words.
	ReqGoodbye

	// What follows is for a hub. A room of [New] answers it with a [Refused], which ends
	// nothing.

	// ReqEnter asks to be a member of Room, too. The answer is a [Welcome] with that Room,
	// or a [Roster] if it is one already.
	ReqEnter
	// ReqLeave ends the membership in Room. The answer is a [Goodbye] with that Room.
	ReqLeave
	// ReqMove asks to leave Room and to enter the room To, both at one instant. The
	// answer is a [Welcome] with the room To, behind a [Goodbye] with Room if the
	// connection names its rooms, or a [Roster] if both are one room.
	ReqMove
	// ReqRooms asks for rooms, whose names begin with Query.Prefix. The answer is a
	// [RoomList].
	ReqRooms
	// ReqMembers asks who is in Room. The answer is a [Roster].
	ReqMembers
	// ReqTell sends Body to the connection To alone, as a [Direct]. The answer is an
	// [Ack]; without a Ref, which is all that it says, there is none.
	ReqTell
	// ReqRename asks for the name To. In each room of the connection a [Renamed] is
	// ordered; that has no Ref. The answer is an [Ack] if the codec has Rooms and the
	// request a Ref.
	ReqRename
	// ReqHelp asks what can be asked for. The answer is a [Help].
	ReqHelp
	// ReqOther is a command that the codec does not know. To is its name, Body what
	// follows that.
	ReqOther
)

var requestNames = [...]string{"RequestKind(0)", "ReqSay", "ReqHello", "ReqPing", "ReqPong", "ReqGoodbye",
	"ReqEnter", "ReqLeave", "ReqMove", "ReqRooms", "ReqMembers", "ReqTell", "ReqRename", "ReqHelp", "ReqOther"}

// String returns the name of the constant, "ReqSay" for [ReqSay].
func (k RequestKind) String() string {
	if int(k) < len(requestNames) {
		return requestNames[k]
	}
	return "RequestKind(?)"
}

// A Request is what a member sends to the room.
type Request struct {
	Kind RequestKind
	// Number, in a ReqSay, is the message's number, which rises with each message
	// of a member; 0 if it has none.
	Number uint64
	// Ref is what the answer to a request of a hub says again; the client chooses it.
	// 0: none. A codec that has no refs gives 1 to each request that has an answer, so
	// that a [Refused] of it is known as that.
	Ref uint64
	// Room is the room of a hub that the request concerns, in a ReqMove the one to
	// leave; empty if the codec, or this connection, names none. What a peer wrote
	// there may be no name of a room.
	Room string
	// To is, in a ReqMove, the room to enter; in a ReqTell the recipient's ID, or name
	// if the codec has no IDs; in a ReqRename the new name; in a ReqOther the command.
	// What a peer wrote there may be no such thing.
	To string
	// Body is the message of a ReqSay or ReqTell, the last words of a ReqGoodbye, and
	// what follows the command of a ReqOther.
	Body []byte
	// Hello is what a ReqHello says; nil in all others.
	Hello *Hello
	// Query is what a request for a list, or to enter a room, says beside that; nil is
	// the zero Query.
	Query *Query
	// Resumes, in a ReqGoodbye, says that the member may come back: with
	// [WithSessions] it is detached, as if its connection was lost.
	Resumes bool
	// Pinged, for a codec with [ControlFrames], says that a ping came within the frame,
	// which AppendAnswer answers, whatever else the frame says. It counts with
	// [ErrNoFrame] too.
	Pinged bool
}

// forHub reports whether only a hub does what is asked for.
func (req *Request) forHub() bool { return req.Kind >= ReqEnter && req.Kind <= ReqOther }

// A Query says what of a list, or of a history, is asked for.
type Query struct {
	Prefix string // what the names of the rooms begin with; empty: any
	// After is the last entry of the list before: the name of a room, or the ID of a
	// member. Empty: the list begins at the beginning.
	After string
	Limit int // how many entries at most; 0 or negative: as many as the hub gives
	// History is how many messages of history are wanted of a room that is entered;
	// 0: all, negative: none.
	History int
}

// Hello is what a dialling end sends first, if its codec has a hello.
type Hello struct {
	Name    string  // the name that it wishes for; empty: the room chooses
	Ping    bool    // it wishes to be pinged while it is silent
	History int     // how many messages of history it wants at most; 0: all, negative: none
	Auth    Secret  // for the room's handshake hook, see [Newcomer.Hello]
	Resume  *Resume // the member that it was, see [WithSessions]; nil: a new one
	// Since is up to where it has seen the stream, if it does not resume: of the
	// history it gets what comes after that, and first a [Gap] if messages after that
	// are missing from it. Nil, or of another epoch: it has seen nothing.
	Since *Position
	// Rooms are the rooms of a hub that it wants to be in. Nil: it names no rooms, and
	// is in one. Empty, but not nil: it names rooms, and is in none yet. A room of [New]
	// ignores it.
	Rooms []string
}

// A Position is a place in a room's stream: right behind an event.
type Position struct {
	Epoch string // of the room's stream, as a [Welcome] says it
	Seq   uint64 // of the event; 0: the beginning
}

// A Resume is what a hello says to continue a member's stream.
type Resume struct {
	Token Secret // of the last Welcome
	Epoch string // of the first
	Seq   uint64 // of the last event that was received, or what the Welcome said
	// Rooms are the positions in the rooms of a hub that the member wants to go on in;
	// it leaves the others. Nil if it names no rooms. Package encoding/xml, which has no
	// maps, leaves it out.
	Rooms map[string]Position `json:",omitempty" xml:"-"`
}

// Text is the default codec, for people: an event is a line to read, and what a
// member sends is the line that it typed.
//
//	ada: hi                  a message of the member ada
//	*: hi                    a message of the room itself, or a Direct from it
//	ada (to you): hi         a Direct from the member ada
//	- 2026-05-01 12:00 ada: hi
//	                         the same as history, with its time in UTC
//	* ada joined
//	* ada left
//	* 12 messages skipped    a Gap; "* 1 message skipped" for one, and
//	                         "* messages skipped" if it is not known how many
//	* the room begins anew: something may be missing
//	                         a Welcome of the outcome "reset"
//	* goodbye: reason        a Goodbye or a Refused; "* goodbye" without a reason
//
// Other events have no line. No name holds a space or a colon or is "*", so no
// member can forge another's line or a notice.
//
// Towards members, bodies and reasons are shown safe for a terminal: control
// characters but tab, line separators (U+2028, U+2029), the controls of the
// bidirectional algorithm (U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to
// U+2069), U+FEFF and bytes that are not UTF-8 stand as \x1b (ASCII and bytes)
// or \u{202e} (other characters). A backslash stays as it is: an escape is for
// the eye, the two cannot be told apart, and ParseEvent undoes nothing.
// Towards the room the body is the frame, byte for byte. An empty line says nothing
// in either direction.
//
// ParseEvent gives typed events. Names that no room allows are no names, and a
// line of none of the forms above is a Message of the room itself with the
// whole line as its Body: that is what another program that speaks in lines
// sends. A Gap has no Span, because the line does not tell which events they were.
//
// With Commands it is for a hub. A line to the room that begins with "/" is a command
// then:
//
//	/join ROOM               a ReqMove
//	/rooms [PREFIX]          a ReqRooms
//	/who [ROOM]              a ReqMembers; without ROOM of its own room
//	/msg NAME TEXT           a ReqTell
//	/nick NAME               a ReqRename
//	/quit [TEXT]             a ReqGoodbye
//	/help                    a ReqHelp
//	//x                      no command, but the message /x
//	/other ARGUMENTS         a ReqOther
//
// And these lines come from it, in place of that of a Direct and beside the others:
//
//	ada -> you: hi           a Direct from the member ada
//	* you are guest-7 in lobby
//	                         a Welcome with a Room
//	* you are out of lobby: reason
//	                         a Goodbye with a Room; "* you are out of lobby" without
//	                         a reason
//	* rooms: kitchen 3, lobby 12 … and 214 more
//	                         a RoomList; "* no rooms"
//	* in lobby: ada, bob … and 40 more
//	                         a Roster; "* nobody in lobby"
//	* ada is now eve         a Renamed
//	* not done: reason       a Refused that ends nothing; "* not done" without a reason
//	* commands: /join ROOM, …
//	                         a Help
//
// The Goodbye of a room from which the connection has moved has no line: the Welcome of
// the next room follows. As in all lines of the room, names and rooms that hold no space
// keep others from forging these.
type Text struct {
	// Commands says that lines which begin with "/" are commands, and that the lines of
	// a hub are said and read.
	Commands bool
}

var _ FrameBounder = Text{}

// maxReasonBytes is how much of a reason the built-in codecs write.
const maxReasonBytes = 512

// Features returns that the codec has gaps and resets, and requests with Commands.
func (t Text) Features() Features { return Features{Gaps: true, Resets: true, Requests: t.Commands} }

// AppendEvent appends the line for ev. It returns [ErrNoFrame] for an event that
// has none, an error that wraps [ErrNameInvalid] for a name that no member can have, and
// one that wraps [ErrRoomName] for a name that no room can have. At most 512 bytes of a
// reason are written, and as many entries of a list as go into 2,000 bytes.
func (t Text) AppendEvent(dst []byte, ev *Event) ([]byte, error) {
	switch ev.Kind {
	case Message:
		if ev.History {
			dst = ev.Time.UTC().AppendFormat(dst, historyTime)
		}
		if ev.From == (MemberInfo{}) {
			return appendSafe(append(dst, "*: "...), ev.Body), nil
		}
		if err := checkName(ev.From.Name); err != nil {
			return dst, err
		}
		dst = append(append(dst, ev.From.Name...), ": "...)
		return appendSafe(dst, ev.Body), nil
	case Direct:
		if ev.From == (MemberInfo{}) {
			return appendSafe(append(dst, "*: "...), ev.Body), nil
		}
		if err := checkName(ev.From.Name); err != nil {
			return dst, err
		}
		to := toYou
		if t.Commands {
			to = toYouToo
		}
		dst = append(append(dst, ev.From.Name...), to...)
		return appendSafe(dst, ev.Body), nil
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
		dst = append(dst, '*')
		switch n := ev.Skipped; n {
		case 0:
			return append(dst, manySkipped...), nil
		case 1:
			return append(append(dst, " 1"...), oneSkipped...), nil
		default:
			return append(strconv.AppendUint(append(dst, ' '), n, 10), manySkipped...), nil
		}
	case Welcome:
		if w := ev.Welcome; w != nil && w.Outcome == outcomeReset && !ev.inOneRoom() {
			return append(append(dst, "* "...), beginsAnew...), nil
		}
	case Goodbye, Refused:
		if ev.Kind == Goodbye && !ev.inOneRoom() || ev.Kind == Refused && !ev.answers() {
			return appendWhy(append(dst, "* goodbye"...), ev.End), nil
		}
	}
	if t.Commands {
		return appendNotice(dst, ev)
	}
	return dst, ErrNoFrame
}

// historyTime is what stands before a message of the past, as a layout of
// package time. No live line begins so, for no name holds a space.
const historyTime = "- 2006-01-02 15:04 "

// toYou stands between the name and the body of a Direct from a member. No message
// looks like that, for no name holds a space.
const toYou = " (to you): "

const (
	oneSkipped  = " message skipped"
	manySkipped = " messages skipped"
)

// beginsAnew is the line of a Welcome of the outcome "reset". No name holds a colon, so it
// is no join.
const beginsAnew = "the room begins anew: something may be missing"

// ParseEvent decodes a line. The only error is [ErrNoFrame], for an empty one.
func (t Text) ParseEvent(frame []byte, ev *Event) error {
	if len(frame) == 0 {
		return ErrNoFrame
	}
	if len(frame) > len(historyTime) && frame[0] == '-' {
		if at, err := time.Parse(historyTime, string(frame[:len(historyTime)])); err == nil && parseSaid(frame[len(historyTime):], ev) {
			ev.Time, ev.History = at, true
			return nil
		}
	}
	if parseSaid(frame, ev) || parseToYou(frame, ev) {
		return nil
	}
	if notice, ok := bytes.CutPrefix(frame, []byte("* ")); ok {
		if parseNotice(notice, ev) {
			return nil
		}
	}
	if t.Commands && parseHubLine(frame, ev) {
		return nil
	}
	*ev = Event{Kind: Message, Body: frame}
	return nil
}

// parseSaid decodes the line of a message, and reports whether it is one.
func parseSaid(line []byte, ev *Event) bool {
	if body, ok := bytes.CutPrefix(line, []byte("*: ")); ok {
		*ev = Event{Kind: Message, Body: body}
		return true
	}
	if i := bytes.Index(line[:min(len(line), maxNameBytes+2)], []byte(": ")); i > 0 {
		if name := string(line[:i]); checkName(name) == nil {
			*ev = Event{Kind: Message, From: MemberInfo{Name: name}, Body: line[i+2:]}
			return true
		}
	}
	return false
}

// parseToYou decodes a Direct from a member, and reports whether line is one.
func parseToYou(line []byte, ev *Event) bool {
	i := bytes.Index(line[:min(len(line), maxNameBytes+len(toYou))], []byte(toYou))
	if i <= 0 || checkName(string(line[:i])) != nil {
		return false
	}
	*ev = Event{Kind: Direct, From: MemberInfo{Name: string(line[:i])}, Body: line[i+len(toYou):]}
	return true
}

// parseNotice decodes a line without its "* ", and reports whether it is a notice.
func parseNotice(notice []byte, ev *Event) bool {
	if string(notice) == "goodbye" {
		*ev = Event{Kind: Goodbye, End: new(EndError)}
		return true
	}
	if string(notice) == beginsAnew {
		*ev = Event{Kind: Welcome, Welcome: &WelcomeInfo{Outcome: outcomeReset}}
		return true
	}
	if reason, ok := bytes.CutPrefix(notice, []byte("goodbye: ")); ok {
		*ev = Event{Kind: Goodbye, End: &EndError{Text: string(reason)}}
		return true
	}
	if n, ok := bytes.CutSuffix(notice, []byte(oneSkipped)); ok && string(n) == "1" {
		*ev = Event{Kind: Gap, Skipped: 1}
		return true
	}
	if string(notice) == manySkipped[1:] {
		*ev = Event{Kind: Gap}
		return true
	}
	if digits, ok := bytes.CutSuffix(notice, []byte(manySkipped)); ok {
		n, ok := parseUint(digits)
		*ev = Event{Kind: Gap, Skipped: n}
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
	*ev = Event{Kind: kind, From: MemberInfo{Name: string(name)}}
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

// AppendRequest appends the body of a ReqSay, with Commands behind another "/" if it
// begins with one, and with Commands the command for another request. It returns
// [ErrNoFrame] for a request that has none, and an error that wraps [ErrUnframeable] for
// an empty body and for what the line has no place for, such as the room of a message.
func (t Text) AppendRequest(dst []byte, req *Request) ([]byte, error) {
	if req.Kind != ReqSay {
		if t.Commands {
			return appendCommand(dst, req)
		}
		return dst, ErrNoFrame
	}
	if req.Room != "" {
		return dst, errNamesNoRoom
	}
	if len(req.Body) == 0 {
		return dst, errEmptyLine
	}
	if t.Commands && req.Body[0] == '/' {
		dst = append(dst, '/')
	}
	return append(dst, req.Body...), nil
}

var (
	errEmptyLine   = fmt.Errorf("%w: text: an empty line is no message", ErrUnframeable)
	errNamesNoRoom = fmt.Errorf("%w: this codec names no rooms: what is sent is for the room that the connection is in", ErrUnframeable)
)

// ParseRequest makes a ReqSay of frame, or with Commands what a command asks for. The
// only error is [ErrNoFrame], for an empty line: what a command lacks is empty.
func (t Text) ParseRequest(frame []byte, req *Request) error {
	if len(frame) == 0 {
		return ErrNoFrame
	}
	if t.Commands && frame[0] == '/' {
		if frame = frame[1:]; len(frame) == 0 || frame[0] != '/' {
			parseCommand(frame, req)
			return nil
		}
	}
	req.Kind, req.Body = ReqSay, frame
	return nil
}

// MaxFrame returns maxBody towards the room, and 262 bytes more with Commands. Towards a
// member a body takes up to four times as much, for its escapes, and the name 256 bytes.
func (t Text) MaxFrame(maxBody int) (toRoom, toMember int) {
	message := grown(maxBody, maxSafe, len(historyTime)+maxNameBytes+len(": "))
	if t.Commands {
		notice := len(youAreOut+": ") + maxRoomBytes + maxSafe*maxReasonBytes
		return grown(maxBody, 1, len("/msg  ")+maxNameBytes), max(message, notice)
	}
	notice := len("* goodbye: ") + maxSafe*maxReasonBytes // the longest one
	return max(maxBody, 0), max(message, notice)
}

// grown returns n*factor + extra, or the largest int if that is larger.
func grown(n, factor, extra int) int {
	n = max(n, 0)
	if n > (math.MaxInt-extra)/factor {
		return math.MaxInt
	}
	return n*factor + extra
}

// Raw is the codec of bodies, byte for byte, and nothing else: a message of a
// member, one of the room and one to this member alone look the same, and joins,
// leaves, gaps and history are not told. A member that speaks Raw therefore gets
// no Skip policy. At the dialling end each frame is a [Message] with a Body only.
type Raw struct{}

var _ FrameBounder = Raw{}

// Features returns the zero Features.
func (Raw) Features() Features { return Features{} }

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

// AppendRequest appends the body of a ReqSay. It returns [ErrNoFrame] for any
// other request, and an error that wraps [ErrUnframeable] for one with a Room.
func (Raw) AppendRequest(dst []byte, req *Request) ([]byte, error) {
	if req.Kind != ReqSay {
		return dst, ErrNoFrame
	}
	if req.Room != "" {
		return dst, errNamesNoRoom
	}
	return append(dst, req.Body...), nil
}

// ParseRequest makes a ReqSay of frame. It returns no error.
func (Raw) ParseRequest(frame []byte, req *Request) error {
	req.Kind, req.Body = ReqSay, frame
	return nil
}

// MaxFrame returns maxBody in both directions.
func (Raw) MaxFrame(maxBody int) (toRoom, toMember int) {
	n := max(maxBody, 0)
	return n, n
}
