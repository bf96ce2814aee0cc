package tcproom

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"example.com/tcproom/internal/jsonscan"
)

// JSON is the codec for programs: one JSON object a frame, without a newline
// in it, so that every framing carries it. docs/wire.md lists the objects.
//
// The dialling end begins with a hello, the room answers with a welcome or a
// refused. It has all [Features].
//
// A body arrives byte for byte: as "body" if it is valid UTF-8, otherwise as
// "data" in base64. Both ends read by these rules:
//
//   - Fields may come in any order; names of fields are case-sensitive; unknown
//     fields are ignored; null means absent.
//   - An object of an unknown type is ignored: the error wraps [ErrNoFrame] and
//     quotes the type. An empty frame is ignored too: some load balancers send
//     them to keep a connection alive.
//   - U+FEFF, the byte order mark, may stand before the object that an end
//     begins with: a hello, a welcome or a refused. Elsewhere it is malformed.
//   - Anything else than one object of valid UTF-8 is malformed, and so are a
//     missing type, a known field twice or of the wrong kind, a message with
//     none or both of body and data, nesting deeper than 32, and an escape of
//     half a surrogate pair (\ud800) in a string that is read: no bytes stand
//     for it, and a replacement would change the body.
type JSON struct{}

var _ FrameBounder = JSON{}

const (
	maxIDBytes        = 64  // of an ID and of an epoch
	maxCodeBytes      = 64  // of a cause, of which the rest is cut
	maxWelcomeMembers = 256 // of the list in a Welcome
	maxListed         = 100 // of a List
)

// Features returns that the codec has all of them.
func (JSON) Features() Features {
	return Features{Hello: true, Numbers: true, Gaps: true, Resets: true, Pings: true, Requests: true, Rooms: true}
}

// AppendEvent appends the object for ev. Of a reason at most 512 bytes are
// written, of a cause 64, of a Welcome's Members the first 256, of a List the first 100,
// which then has more. It returns an error that wraps [ErrNameInvalid] for a name that
// no member can have, one that wraps [ErrRoomName] for a name that no room can have, and
// an error for an ID, epoch or token of more than 64 bytes or of others than printable
// ASCII. [ErrNoFrame] is for the events that a [Client] makes, for a Help, and for
// unknown kinds.
func (JSON) AppendEvent(dst []byte, ev *Event) ([]byte, error) {
	var out []byte
	var err error
	switch ev.Kind {
	case Message, Direct:
		if out, err = appendHead(dst, ev); err == nil {
			if ev.History {
				out = append(out, `,"history":true`...)
			}
			out = append(appendBody(append(out, ','), ev.Body), '}')
		}
	case Join, Leave:
		if out, err = appendHead(dst, ev); err == nil {
			if ev.Kind == Leave && ev.End != nil && ev.End.Text != "" {
				out = appendText(append(out, `,"reason":`...), ev.End.Text, maxReasonBytes)
			}
			out = append(out, '}')
		}
	case Gap:
		if err = checkGap(ev); err != nil {
			break
		}
		if out, err = appendType(dst, "gap", ev); err == nil {
			out = strconv.AppendUint(append(out, `,"first":`...), ev.Gap.First, 10)
			out = strconv.AppendUint(append(out, `,"last":`...), ev.Gap.Last, 10)
			out = append(appendNumber(out, `,"skipped":`, ev.Skipped), '}')
		}
	case Goodbye:
		if out, err = appendType(dst, "goodbye", ev); err == nil {
			out = appendGoodbye(out, ev.End)
		}
	case Refused:
		if out, err = appendType(dst, "refused", ev); err == nil {
			out = appendRefused(appendNumber(out, `,"id":`, ev.Number), ev.End)
		}
	case Ack:
		if out, err = appendType(dst, "ack", ev); err != nil {
			break
		}
		if ev.Number == 0 && ev.Ref == 0 {
			err = errors.New("tcproom: an ack of nothing")
			break
		}
		if ev.Number != 0 {
			out = strconv.AppendUint(append(out, `,"id":`...), ev.Number, 10)
		}
		if ev.Seq != 0 {
			out = strconv.AppendUint(append(out, `,"seq":`...), ev.Seq, 10)
		}
		out = append(out, '}')
	case Welcome:
		if out, err = appendType(dst, "welcome", ev); err == nil {
			out, err = appendWelcome(out, ev)
		}
	case RoomList:
		if out, err = appendType(dst, "rooms", ev); err == nil {
			out, err = appendRoomList(out, ev.List)
		}
	case Roster:
		if out, err = appendType(dst, "members", ev); err == nil {
			out, err = appendRoster(out, ev)
		}
	case Renamed:
		if out, err = appendHead(dst, ev); err != nil {
			break
		}
		if err = checkName(string(ev.Body)); err == nil {
			out = append(appendToken(append(out, `,"name":`...), string(ev.Body)), '}')
		}
	case Ping:
		out = append(dst, ping...)
	case Pong:
		out = append(dst, pong...)
	default:
		err = ErrNoFrame
	}
	if err != nil {
		return dst, err
	}
	return out, nil
}

// What is the same in both directions.
const (
	ping = `{"type":"ping"}`
	pong = `{"type":"pong"}`
)

// appendType begins the object of an event: with its type, its room and its ref, the
// last two if it has them.
func appendType(dst []byte, typ string, ev *Event) ([]byte, error) {
	dst = append(append(append(dst, `{"type":"`...), typ...), '"')
	if ev.Room != "" {
		var err error
		if dst, err = appendRoom(append(dst, `,"room":`...), ev.Room); err != nil {
			return nil, err
		}
	}
	return appendNumber(dst, `,"ref":`, ev.Ref), nil
}

// appendRoom appends the name of a room, "*" included.
func appendRoom(dst []byte, name string) ([]byte, error) {
	if err := checkAnyRoom(name); err != nil {
		return nil, err
	}
	return appendToken(dst, name), nil
}

// checkGap returns an error for a Gap that skips nothing. No room makes one.
func checkGap(ev *Event) error {
	if ev.Gap.Len() == 0 {
		return fmt.Errorf("tcproom: a gap of %d to %d", ev.Gap.First, ev.Gap.Last)
	}
	return nil
}

// appendNumber appends a field and its number, unless that is 0.
func appendNumber(dst []byte, field string, n uint64) []byte {
	if n == 0 {
		return dst
	}
	return strconv.AppendUint(append(dst, field...), n, 10)
}

// appendGoodbye appends the rest of a Goodbye; nil is the zero EndError.
func appendGoodbye(dst []byte, end *EndError) []byte {
	if end != nil {
		if end.Cause != "" {
			dst = appendText(append(dst, `,"code":`...), string(end.Cause), maxCodeBytes)
		}
		dst = appendRetry(dst, end)
		if end.Text != "" {
			dst = appendText(append(dst, `,"reason":`...), end.Text, maxReasonBytes)
		}
	}
	return append(dst, '}')
}

// appendRefused appends the rest of a Refused; nil is the zero EndError.
func appendRefused(dst []byte, end *EndError) []byte {
	if end == nil {
		end = new(EndError)
	}
	dst = appendText(append(dst, `,"code":`...), string(end.Cause), maxCodeBytes)
	dst = appendRetry(dst, end)
	dst = appendText(append(dst, `,"message":`...), end.Text, maxReasonBytes)
	return append(dst, '}')
}

// appendRetry appends whether, and when, the client is to come back.
func appendRetry(dst []byte, end *EndError) []byte {
	if end.Final {
		dst = append(dst, `,"retry":false`...)
	}
	if ms := end.RetryAfter.Milliseconds(); ms > 0 {
		dst = strconv.AppendInt(append(dst, `,"retryAfter":`...), ms, 10)
	}
	return dst
}

// headTypes are the types of what appendHead begins.
var headTypes = [...]string{Message: "message", Direct: "direct", Join: "join", Leave: "leave", Renamed: "renamed"}

// appendHead appends the fields that messages, joins, leaves and new names share: those
// of appendType, seq, from and time, the last three if the event has them.
func appendHead(dst []byte, ev *Event) ([]byte, error) {
	dst, err := appendType(dst, headTypes[ev.Kind], ev)
	if err != nil {
		return nil, err
	}
	dst = appendNumber(dst, `,"seq":`, ev.Seq)
	if ev.From != (MemberInfo{}) || ev.Kind != Message && ev.Kind != Direct {
		if dst, err = appendMember(append(dst, `,"from":{`...), &ev.From); err != nil {
			return nil, err
		}
		dst = append(dst, '}')
	}
	if ev.Time.IsZero() {
		return dst, nil
	}
	t := ev.Time.UTC()
	if y := t.Year(); y < 0 || y > 9999 {
		return nil, fmt.Errorf("tcproom: time %v is not one of RFC 3339", t)
	}
	dst = t.AppendFormat(append(dst, `,"time":"`...), time.RFC3339Nano)
	return append(dst, '"'), nil
}

// appendWelcome appends the rest of a Welcome, whose WelcomeInfo may be nil.
func appendWelcome(dst []byte, ev *Event) ([]byte, error) {
	w := ev.Welcome
	if w == nil {
		w = new(WelcomeInfo)
	}
	dst, err := appendID(append(dst, `,"epoch":`...), w.Epoch)
	if err != nil {
		return nil, err
	}
	dst = strconv.AppendUint(append(dst, `,"seq":`...), ev.Seq, 10)
	if dst, err = appendMember(append(dst, ','), &ev.From); err != nil {
		return nil, err
	}
	if dst, err = appendMembers(dst, w.Members, maxWelcomeMembers); err != nil {
		return nil, err
	}
	dst = strconv.AppendUint(append(dst, `,"total":`...), uint64(max(w.Total, 0)), 10)
	if w.Outcome != "" {
		if dst, err = appendID(append(dst, `,"outcome":`...), w.Outcome); err != nil {
			return nil, err
		}
	}
	if w.Token != "" {
		if dst, err = appendSecret(append(dst, `,"token":`...), "token", w.Token); err != nil {
			return nil, err
		}
	}
	if ev.Number != 0 {
		dst = strconv.AppendUint(append(dst, `,"lastId":`...), ev.Number, 10)
	}
	return append(dst, '}'), nil
}

// appendMembers appends the field of a list of members, of which it takes the first.
func appendMembers(dst []byte, members []MemberInfo, most int) (_ []byte, err error) {
	dst = append(dst, `,"members":[`...)
	for i := range members[:min(len(members), most)] {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendMember(append(dst, '{'), &members[i]); err != nil {
			return nil, err
		}
		dst = append(dst, '}')
	}
	return append(dst, ']'), nil
}

// appendRoomList appends the rest of a RoomList, whose List may be nil.
func appendRoomList(dst []byte, l *List) (_ []byte, err error) {
	if l == nil {
		l = new(List)
	}
	dst = append(dst, `,"rooms":[`...)
	for i := range l.Rooms[:min(len(l.Rooms), maxListed)] {
		if i > 0 {
			dst = append(dst, ',')
		}
		room := &l.Rooms[i]
		if err := checkRoomName(room.Name); err != nil {
			return nil, err
		}
		dst = appendToken(append(dst, `{"name":`...), room.Name)
		dst = strconv.AppendUint(append(dst, `,"members":`...), uint64(max(room.Members, 0)), 10)
		dst = append(dst, '}')
	}
	return appendTotal(append(dst, ']'), l, len(l.Rooms)), nil
}

// appendRoster appends the rest of a Roster, whose List may be nil.
func appendRoster(dst []byte, ev *Event) (_ []byte, err error) {
	l := ev.List
	if l == nil {
		l = new(List)
	}
	dst = appendNumber(dst, `,"seq":`, ev.Seq)
	if dst, err = appendMembers(dst, l.Members, maxListed); err != nil {
		return nil, err
	}
	return appendTotal(dst, l, len(l.Members)), nil
}

// appendTotal appends what stands behind the n entries of a list.
func appendTotal(dst []byte, l *List, n int) []byte {
	dst = strconv.AppendUint(append(dst, `,"total":`...), uint64(max(l.Total, 0)), 10)
	if l.More || n > maxListed {
		dst = append(dst, `,"more":true`...)
	}
	return append(dst, '}')
}

// appendMember appends the two fields of m, without braces.
func appendMember(dst []byte, m *MemberInfo) ([]byte, error) {
	if err := checkName(m.Name); err != nil {
		return nil, err
	}
	dst, err := appendID(append(dst, `"id":`...), m.ID)
	if err != nil {
		return nil, err
	}
	return appendToken(append(dst, `,"name":`...), m.Name), nil
}

func appendID(dst []byte, id string) ([]byte, error) {
	if len(id) > maxIDBytes {
		return nil, fmt.Errorf("tcproom: id %s: %d bytes, of at most %d", quotePeer(id), len(id), maxIDBytes)
	}
	if !printableASCII(id) {
		return nil, fmt.Errorf("tcproom: id %s: not printable ASCII", quotePeer(id))
	}
	return appendToken(dst, id), nil
}

// appendSecret is appendID with errors that do not quote it.
func appendSecret(dst []byte, what string, s Secret) ([]byte, error) {
	if len(s) > maxIDBytes {
		return nil, fmt.Errorf("tcproom: %s: %d bytes, of at most %d", what, len(s), maxIDBytes)
	}
	if !printableASCII(string(s)) {
		return nil, fmt.Errorf("tcproom: %s: not printable ASCII", what)
	}
	return appendToken(dst, string(s)), nil
}

func printableASCII(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// appendToken appends a string that has passed checkName or appendID: a quote
// and a backslash are all that it can hold of what JSON escapes.
func appendToken(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}

// appendText appends at most limit bytes of a text for people. What of it is
// not UTF-8 becomes U+FFFD.
func appendText(dst []byte, s string, limit int) []byte {
	return appendJSON(dst, bytes.ToValidUTF8([]byte(cutText(s, limit)), []byte("\ufffd")))
}

// appendBody appends the field that carries body.
func appendBody(dst, body []byte) []byte {
	if utf8.Valid(body) {
		return appendJSON(append(dst, `"body":`...), body)
	}
	dst = base64.StdEncoding.AppendEncode(append(dst, `"data":"`...), body)
	return append(dst, '"')
}

// AppendRequest appends the object for req. It returns an error that wraps
// [ErrNameInvalid] for a name that no room allows, one that wraps [ErrRoomName] for a
// name that no room can have, and an error for an ID, token or epoch of more than 64
// bytes or of others than printable ASCII. [ErrNoFrame] is for a ReqHelp, a ReqOther and
// unknown kinds only.
func (JSON) AppendRequest(dst []byte, req *Request) ([]byte, error) {
	switch req.Kind {
	case ReqSay:
		out := append(dst, `{"type":"message",`...)
		if req.Room != "" {
			var err error
			if out, err = appendRoom(append(out, `"room":`...), req.Room); err != nil {
				return dst, err
			}
			out = append(out, ',')
		}
		if req.Number != 0 {
			out = append(strconv.AppendUint(append(out, `"id":`...), req.Number, 10), ',')
		}
		return append(appendBody(out, req.Body), '}'), nil
	case ReqHello:
		h := req.Hello
		if h == nil {
			h = new(Hello)
		}
		out, err := appendHello(dst, h)
		if err != nil {
			return dst, err
		}
		return out, nil
	case ReqPing:
		return append(dst, ping...), nil
	case ReqPong:
		return append(dst, pong...), nil
	case ReqGoodbye:
		return append(dst, `{"type":"goodbye"}`...), nil
	}
	if !req.forHub() {
		return dst, ErrNoFrame
	}
	out, err := appendAsked(dst, req)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// askedTypes are the types of the requests of a hub; empty for those that have none.
var askedTypes = [...]string{ReqEnter: "enter", ReqLeave: "leave", ReqMove: "move", ReqRooms: "rooms", ReqMembers: "members",
	ReqTell: "direct", ReqRename: "rename", ReqHelp: "", ReqOther: ""}

// appendAsked appends the object of a request of a hub: type, room, to or name, ref, what
// Query says, body, each if the request has it.
func appendAsked(dst []byte, req *Request) (_ []byte, err error) {
	typ := askedTypes[req.Kind]
	if typ == "" {
		return nil, ErrNoFrame
	}
	dst = append(append(append(dst, `{"type":"`...), typ...), '"')
	if req.Room != "" || req.Kind == ReqEnter {
		if dst, err = appendRoom(append(dst, `,"room":`...), req.Room); err != nil {
			return nil, err
		}
	}
	switch req.Kind {
	case ReqMove:
		dst, err = appendRoom(append(dst, `,"to":`...), req.To)
	case ReqTell:
		dst, err = appendID(append(dst, `,"to":`...), req.To)
	case ReqRename:
		if err = checkName(req.To); err == nil {
			dst = appendToken(append(dst, `,"name":`...), req.To)
		}
	}
	if err != nil {
		return nil, err
	}
	dst = appendNumber(dst, `,"ref":`, req.Ref)
	if dst, err = appendQuery(dst, req); err != nil {
		return nil, err
	}
	if req.Kind == ReqTell {
		dst = appendBody(append(dst, ','), req.Body)
	}
	return append(dst, '}'), nil
}

// appendQuery appends what of req.Query goes with req's kind.
func appendQuery(dst []byte, req *Request) (_ []byte, err error) {
	q := req.Query
	if q == nil {
		return dst, nil
	}
	switch req.Kind {
	case ReqEnter, ReqMove:
		return appendHistory(dst, q.History), nil
	case ReqRooms:
		if q.Prefix != "" {
			if err := checkRoomPrefix(q.Prefix); err != nil {
				return nil, err
			}
			dst = appendToken(append(dst, `,"prefix":`...), q.Prefix)
		}
		if q.After != "" {
			dst, err = appendRoom(append(dst, `,"after":`...), q.After)
		}
	case ReqMembers:
		if q.After != "" {
			dst, err = appendID(append(dst, `,"after":`...), q.After)
		}
	default:
		return dst, nil
	}
	if err != nil {
		return nil, err
	}
	return appendNumber(dst, `,"limit":`, uint64(max(q.Limit, 0))), nil
}

// appendHistory appends how much history is asked for; 0 is all of it, negative none.
func appendHistory(dst []byte, n int) []byte {
	if n == 0 {
		return dst
	}
	return strconv.AppendUint(append(dst, `,"history":`...), uint64(max(n, 0)), 10)
}

func appendHello(dst []byte, h *Hello) (_ []byte, err error) {
	if h.Name != "" {
		if err := checkName(h.Name); err != nil {
			return nil, err
		}
	}
	dst = append(dst, `{"type":"hello"`...)
	if h.Name != "" {
		dst = appendToken(append(dst, `,"name":`...), h.Name)
	}
	if h.Ping {
		dst = append(dst, `,"ping":true`...)
	}
	if h.Auth != "" {
		dst = appendText(append(dst, `,"auth":`...), string(h.Auth), len(h.Auth))
	}
	if r := h.Resume; r != nil {
		if dst, err = appendSecret(append(dst, `,"resume":{"token":`...), "resume token", r.Token); err != nil {
			return nil, err
		}
		if dst, err = appendID(append(dst, `,"epoch":`...), r.Epoch); err != nil {
			return nil, err
		}
		dst = strconv.AppendUint(append(dst, `,"seq":`...), r.Seq, 10)
		if r.Rooms != nil {
			if dst, err = appendPositions(append(dst, `,"rooms":{`...), r.Rooms); err != nil {
				return nil, err
			}
			dst = append(dst, '}')
		}
		dst = append(dst, '}')
	}
	dst = appendHistory(dst, h.History)
	if s := h.Since; s != nil {
		if dst, err = appendPosition(append(dst, `,"since":`...), *s); err != nil {
			return nil, err
		}
	}
	if h.Rooms != nil {
		dst = append(dst, `,"rooms":[`...)
		for i, name := range h.Rooms {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = appendRoom(dst, name); err != nil {
				return nil, err
			}
		}
		dst = append(dst, ']')
	}
	return append(dst, '}'), nil
}

// appendPositions appends the fields of an object of positions, by name.
func appendPositions(dst []byte, rooms map[string]Position) (_ []byte, err error) {
	for i, name := range slices.Sorted(maps.Keys(rooms)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendRoom(dst, name); err != nil {
			return nil, err
		}
		if dst, err = appendPosition(append(dst, ':'), rooms[name]); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

func appendPosition(dst []byte, p Position) ([]byte, error) {
	dst, err := appendID(append(dst, `{"epoch":`...), p.Epoch)
	if err != nil {
		return nil, err
	}
	return append(strconv.AppendUint(append(dst, `,"seq":`...), p.Seq, 10), '}'), nil
}

// MaxFrame counts six bytes for each of a body, for its escapes. Towards the
// room it adds 1 KiB, for the rest of a message or hello and for what other
// programs put there: white space, fields that are not read. A hello that names many
// rooms needs more than that. Towards a member no bound is smaller than the largest
// welcome, some 170 KB.
func (JSON) MaxFrame(maxBody int) (toRoom, toMember int) {
	const (
		seq     = len("18446744073709551615")
		id      = 2 * maxIDBytes // each a quote
		member  = len(`"id":"","name":""`) + id + 2*maxNameBytes
		room    = len(`,"room":"","ref":`) + 2*maxRoomBytes + seq
		message = len(`{"type":"message","seq":,"from":{},"time":"2006-01-02T15:04:05.999999999Z","history":true,"body":""}`) + room + seq + member
		welcome = len(`{"type":"welcome","epoch":"","seq":,,"members":[],"total":,"outcome":"","token":"","lastId":}`) + room + 3*id + seq + member + seq + seq +
			maxWelcomeMembers*(len(`{},`)+member) - len(",")
	)
	return grown(maxBody, maxJSON, 1<<10), max(grown(maxBody, maxJSON, message), welcome)
}

// ParseEvent decodes an object from the room. It sets ev only if it returns nil.
func (JSON) ParseEvent(frame []byte, ev *Event) error {
	rest, marked := cutMark(frame)
	obj, typ, err := parseFrame(rest)
	if err != nil {
		return err
	}
	var e Event
	switch string(typ) {
	case "message":
		e.Kind = Message
	case "direct":
		e.Kind = Direct
	case "join":
		e.Kind = Join
	case "leave":
		e.Kind = Leave
	case "welcome":
		e.Kind = Welcome
	case "gap":
		e.Kind = Gap
	case "goodbye":
		e.Kind = Goodbye
	case "refused":
		e.Kind = Refused
	case "ack":
		e.Kind = Ack
	case "ping":
		e.Kind = Ping
	case "pong":
		e.Kind = Pong
	case "rooms":
		e.Kind = RoomList
	case "members":
		e.Kind = Roster
	case "renamed":
		e.Kind = Renamed
	}
	if marked && e.Kind != Welcome && e.Kind != Refused {
		return malformed("a byte order mark before the type %s", quotePeer(typ))
	}
	if e.Kind == 0 {
		return unknownType(typ)
	}
	if err := obj.event(&e); err != nil {
		return err
	}
	*ev = e
	return nil
}

// ParseRequest decodes an object from a member. It sets req only if it returns
// nil. The name in a hello, and names of rooms, may be any strings: whether a member or
// room can have it is for the room to say.
func (JSON) ParseRequest(frame []byte, req *Request) error {
	rest, marked := cutMark(frame)
	obj, typ, err := parseFrame(rest)
	if err != nil {
		return err
	}
	if marked && string(typ) != "hello" {
		return malformed("a byte order mark before the type %s", quotePeer(typ))
	}
	switch string(typ) {
	case "message":
		number, err := obj.number(fieldID)
		if err != nil {
			return err
		}
		body, err := obj.body()
		if err != nil {
			return err
		}
		room, err := obj.text(fieldRoom)
		if err != nil {
			return err
		}
		req.Kind, req.Number, req.Room, req.Body = ReqSay, number, room, body
	case "hello":
		h, err := obj.hello()
		if err != nil {
			return err
		}
		req.Kind, req.Hello = ReqHello, h
	case "ping":
		req.Kind = ReqPing
	case "pong":
		req.Kind = ReqPong
	case "goodbye":
		req.Kind = ReqGoodbye
	default:
		for kind, name := range askedTypes {
			if name != "" && name == string(typ) {
				return obj.asked(RequestKind(kind), req)
			}
		}
		return unknownType(typ)
	}
	return nil
}

// asked decodes a request of a hub, of the given kind. It sets req only if it returns
// nil.
func (o *object) asked(kind RequestKind, req *Request) (err error) {
	r := Request{Kind: kind}
	if r.Room, err = o.text(fieldRoom); err != nil {
		return err
	}
	if r.Ref, err = o.number(fieldRef); err != nil {
		return err
	}
	switch kind {
	case ReqMove, ReqTell:
		r.To, err = o.text(fieldTo)
	case ReqRename:
		r.To, err = o.text(fieldName)
	}
	if err != nil {
		return err
	}
	if kind == ReqTell {
		if r.Body, err = o.body(); err != nil {
			return err
		}
	}
	if r.Query, err = o.query(kind); err != nil {
		return err
	}
	*req = r
	return nil
}

// query decodes what goes with a request of the given kind, nil if it says nothing.
func (o *object) query(kind RequestKind) (*Query, error) {
	var q Query
	var err error
	switch kind {
	case ReqEnter, ReqMove:
		if q.History, err = o.history(); err != nil {
			return nil, err
		}
	case ReqRooms, ReqMembers:
		if kind == ReqRooms {
			if q.Prefix, err = o.text(fieldPrefix); err != nil {
				return nil, err
			}
		}
		if q.After, err = o.text(fieldAfter); err != nil {
			return nil, err
		}
		if q.Limit, err = o.int(fieldLimit); err != nil {
			return nil, err
		}
	}
	if q == (Query{}) {
		return nil, nil
	}
	return &q, nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: JSON: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

func unknownType(typ []byte) error {
	return fmt.Errorf("%w: unknown type %s", ErrNoFrame, quotePeer(typ))
}

// The rest is the decoder. It is not encoding/json's, which takes two spellings
// of a field for one and the last of duplicates, replaces what is not UTF-8,
// and allocates for each value. This one reads a frame once, checks all of its
// syntax, and notes where the values of the known fields stand; they are decoded
// when the type, which may come last, has said what they mean.

// A field is one that some type of object has.
type field uint8

const (
	fieldType field = iota
	fieldSeq
	fieldFrom
	fieldTime
	fieldBody
	fieldData
	fieldReason
	fieldFirst
	fieldLast
	fieldCode
	fieldMessage
	fieldEpoch
	fieldID
	fieldName
	fieldMembers
	fieldTotal
	fieldHistory
	fieldPing
	fieldOutcome
	fieldToken
	fieldAuth
	fieldResume
	fieldRetry
	fieldRetryAfter
	fieldLastID
	fieldSince
	fieldRoom
	fieldRef
	fieldRooms
	fieldTo
	fieldPrefix
	fieldAfter
	fieldLimit
	fieldMore
	fieldSkipped
	numFields
)

var fieldNames = [numFields]string{"type", "seq", "from", "time", "body", "data", "reason", "first", "last",
	"code", "message", "epoch", "id", "name", "members", "total", "history", "ping",
	"outcome", "token", "auth", "resume", "retry", "retryAfter", "lastId", "since",
	"room", "ref", "rooms", "to", "prefix", "after", "limit", "more", "skipped"}

// object holds the values of the known fields as they stand in the frame; nil
// for a field that is absent or null.
type object struct {
	seen   [numFields]bool
	values [numFields][]byte
}

// cutMark returns frame without the byte order mark before what else it holds.
// RFC 8259, section 8.1, lets a reader pass over one.
func cutMark(frame []byte) (rest []byte, marked bool) {
	if rest, marked = bytes.CutPrefix(frame, []byte("\ufeff")); len(rest) == 0 {
		return frame, false
	}
	return rest, marked
}

// parseFrame reads the object that is frame and returns it with its type. It
// returns ErrNoFrame for an empty frame.
func parseFrame(frame []byte) (obj object, typ []byte, err error) {
	if len(frame) == 0 {
		return obj, nil, ErrNoFrame
	}
	if !utf8.Valid(frame) {
		return obj, nil, malformed("not UTF-8: %s", quotePeer(frame))
	}
	s := jsonscan.Scanner{Text: frame}
	if !s.Next('{') {
		return obj, nil, badSyntax(&s, s.Fail("want an object"))
	}
	if err := obj.read(&s); err != nil {
		return obj, nil, err
	}
	if s.Space(); s.At != len(frame) {
		return obj, nil, badSyntax(&s, s.Fail("want the end after the object"))
	}
	if obj.values[fieldType] == nil {
		return obj, nil, malformed("no type: %s", quotePeer(frame))
	}
	typ, err = obj.bytes(fieldType)
	return obj, typ, err
}

// read reads an object after its brace, and notes the known fields.
func (o *object) read(s *jsonscan.Scanner) error {
	for n := 0; ; n++ {
		key, value, ok, err := s.Field(n, 1)
		if err != nil {
			return badSyntax(s, err)
		}
		if !ok {
			return nil
		}
		if err := o.note(key, value); err != nil {
			return err
		}
	}
}

// badSyntax is the error for what s has come to.
func badSyntax(s *jsonscan.Scanner, err error) error {
	return malformed("%v: %s", err, quotePeer(s.Text[s.At:]))
}

// event decodes the fields that an event of e's Kind has.
func (o *object) event(e *Event) (err error) {
	if e.Kind == Ping || e.Kind == Pong {
		return nil
	}
	if e.Room, err = o.room(); err != nil {
		return err
	}
	if e.Ref, err = o.number(fieldRef); err != nil {
		return err
	}
	switch e.Kind {
	case Gap:
		if e.Gap.First, err = o.uint(fieldFirst); err != nil {
			return err
		}
		if e.Gap.Last, err = o.uint(fieldLast); err != nil {
			return err
		}
		if checkGap(e) != nil {
			return malformed("a gap of %d to %d", e.Gap.First, e.Gap.Last)
		}
		e.Skipped, err = o.number(fieldSkipped)
		return err
	case Goodbye:
		e.End, err = o.farewell(fieldReason)
		return err
	case Refused:
		if e.Number, err = o.number(fieldID); err != nil {
			return err
		}
		e.End, err = o.farewell(fieldMessage)
		return err
	case RoomList, Roster:
		return o.list(e)
	case Ack:
		if e.Number, err = o.number(fieldID); err != nil {
			return err
		}
		if e.Number == 0 && e.Ref == 0 {
			return malformed("ack without id and ref")
		}
		e.Seq, err = o.uint(fieldSeq)
		return err
	case Welcome:
		return o.welcome(e)
	}
	if e.Seq, err = o.uint(fieldSeq); err != nil {
		return err
	}
	if from := o.values[fieldFrom]; from != nil {
		if e.From, err = parseMember(from); err != nil {
			return err
		}
	} else if e.Kind != Message && e.Kind != Direct {
		return malformed("%s without from", e.Kind)
	}
	if e.Time, err = o.time(); err != nil {
		return err
	}
	switch e.Kind {
	case Message, Direct:
		if e.Body, err = o.body(); err == nil && e.Kind == Message {
			e.History, err = o.bool(fieldHistory)
		}
	case Leave:
		var reason string
		if reason, err = o.text(fieldReason); err == nil && reason != "" {
			e.End = &EndError{Text: reason}
		}
	case Renamed:
		if e.Body, err = o.bytes(fieldName); err == nil {
			if wrong := checkName(string(e.Body)); wrong != nil {
				err = malformed("%v", wrong)
			}
		}
	}
	return err
}

// room decodes the room of an event, "" if the field is absent.
func (o *object) room() (string, error) {
	if o.values[fieldRoom] == nil {
		return "", nil
	}
	name, err := o.text(fieldRoom)
	if err != nil {
		return "", err
	}
	if err := checkAnyRoom(name); err != nil {
		return "", malformed("%v", err)
	}
	return name, nil
}

// list decodes the rest of a RoomList or Roster.
func (o *object) list(e *Event) (err error) {
	l := new(List)
	if e.Kind == RoomList {
		l.Rooms, err = parseRooms(o.values[fieldRooms])
	} else if e.Seq, err = o.uint(fieldSeq); err == nil {
		l.Members, err = parseMembers(o.values[fieldMembers])
	}
	if err != nil {
		return err
	}
	if l.Total, err = o.total(); err != nil {
		return err
	}
	if l.More, err = o.bool(fieldMore); err != nil {
		return err
	}
	e.List = l
	return nil
}

// parseRooms decodes a list of rooms, nil if the field is absent.
func parseRooms(list []byte) (rooms []RoomInfo, err error) {
	err = eachOf(list, fieldRooms, func(value []byte) error {
		obj, err := parseObject(value, "a room")
		if err != nil {
			return err
		}
		name, err := obj.text(fieldName)
		if err != nil {
			return err
		}
		if err := checkRoomName(name); err != nil {
			return malformed("%v", err)
		}
		n, err := obj.int(fieldMembers)
		rooms = append(rooms, RoomInfo{Name: name, Members: n})
		return err
	})
	if err != nil {
		return nil, err
	}
	return rooms, nil
}

// total decodes how many there are, as a count that an int holds.
func (o *object) total() (int, error) {
	total, err := o.uint(fieldTotal)
	if err != nil {
		return 0, err
	}
	if total > math.MaxInt {
		return 0, malformed("total %d", total)
	}
	return int(total), nil
}

// farewell decodes why, in the given field, and whether to come back.
func (o *object) farewell(why field) (*EndError, error) {
	code, err := o.text(fieldCode)
	if err != nil {
		return nil, err
	}
	text, err := o.text(why)
	if err != nil {
		return nil, err
	}
	retry, err := o.bool(fieldRetry)
	if err != nil {
		return nil, err
	}
	ms, err := o.uint(fieldRetryAfter)
	if err != nil {
		return nil, err
	}
	return &EndError{
		Cause: Cause(code), Text: text,
		Final:      !retry && o.values[fieldRetry] != nil,
		RetryAfter: time.Duration(min(ms, uint64(math.MaxInt64/time.Millisecond))) * time.Millisecond,
	}, nil
}

func (o *object) welcome(e *Event) (err error) {
	w := new(WelcomeInfo)
	if w.Epoch, err = o.text(fieldEpoch); err != nil {
		return err
	}
	if w.Outcome, err = o.text(fieldOutcome); err != nil {
		return err
	}
	token, err := o.text(fieldToken)
	if err != nil {
		return err
	}
	if e.Seq, err = o.uint(fieldSeq); err != nil {
		return err
	}
	if e.Number, err = o.uint(fieldLastID); err != nil {
		return err
	}
	if e.From, err = o.member(); err != nil {
		return err
	}
	if w.Total, err = o.total(); err != nil {
		return err
	}
	if w.Members, err = parseMembers(o.values[fieldMembers]); err != nil {
		return err
	}
	w.Token = Secret(token)
	e.Welcome = w
	return nil
}

// eachOf calls fn for each value of an array, none if the field is absent. Its syntax
// is right.
func eachOf(list []byte, f field, fn func(value []byte) error) error {
	if list == nil {
		return nil
	}
	s := jsonscan.Scanner{Text: list}
	if !s.Next('[') {
		return malformed("%s is not an array: %s", fieldNames[f], quotePeer(list))
	}
	for !s.Next(']') {
		value, err := s.Value(1)
		if err != nil {
			return badSyntax(&s, err)
		}
		if err := fn(value); err != nil {
			return err
		}
		s.Next(',')
	}
	return nil
}

// parseMembers decodes a list of members, nil if the field is absent.
func parseMembers(list []byte) (members []MemberInfo, err error) {
	err = eachOf(list, fieldMembers, func(value []byte) error {
		m, err := parseMember(value)
		members = append(members, m)
		return err
	})
	if err != nil {
		return nil, err
	}
	return members, nil
}

// parseMember decodes an object with an id and a name.
func parseMember(value []byte) (MemberInfo, error) {
	obj, err := parseObject(value, "a member")
	if err != nil {
		return MemberInfo{}, err
	}
	return obj.member()
}

// parseObject decodes an object within one that has been read, so that its syntax is
// right.
func parseObject(value []byte, what string) (obj object, err error) {
	s := jsonscan.Scanner{Text: value}
	if !s.Next('{') {
		return obj, malformed("not %s: %s", what, quotePeer(value))
	}
	return obj, obj.read(&s)
}

// member decodes id and name, in one allocation for both.
func (o *object) member() (MemberInfo, error) {
	var buf [maxIDBytes + maxNameBytes]byte
	both, err := o.appendString(buf[:0], fieldID)
	if err != nil {
		return MemberInfo{}, err
	}
	n := len(both)
	if both, err = o.appendString(both, fieldName); err != nil {
		return MemberInfo{}, err
	}
	s := string(both)
	m := MemberInfo{ID: s[:n], Name: s[n:]}
	if err := checkName(m.Name); err != nil {
		return MemberInfo{}, malformed("%v", err)
	}
	return m, nil
}

// body decodes the body of a message.
func (o *object) body() ([]byte, error) {
	if o.values[fieldData] == nil {
		if o.values[fieldBody] == nil {
			return nil, malformed("a message without body or data")
		}
		return o.bytes(fieldBody)
	}
	if o.values[fieldBody] != nil {
		return nil, malformed("a message with body and data")
	}
	text, err := o.bytes(fieldData)
	if err != nil {
		return nil, err
	}
	// Decode passes over line ends, which the alphabet does not have.
	if bytes.ContainsAny(text, "\r\n") {
		return nil, malformed("data is not base64: a line end in it")
	}
	body := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(body, text)
	if err != nil {
		return nil, malformed("data is not base64: %v", err)
	}
	return body[:n], nil
}

func (o *object) time() (t time.Time, err error) {
	text, err := o.bytes(fieldTime)
	if err != nil || o.values[fieldTime] == nil {
		return t, err
	}
	if err := t.UnmarshalText(text); err != nil {
		return time.Time{}, malformed("time is not one of RFC 3339: %s", quotePeer(text))
	}
	return t.UTC(), nil
}

func (o *object) hello() (*Hello, error) {
	name, err := o.text(fieldName)
	if err != nil {
		return nil, err
	}
	history, err := o.history()
	if err != nil {
		return nil, err
	}
	pings, err := o.bool(fieldPing)
	if err != nil {
		return nil, err
	}
	auth, err := o.text(fieldAuth)
	if err != nil {
		return nil, err
	}
	resume, err := o.resume()
	if err != nil {
		return nil, err
	}
	since, err := o.since()
	if err != nil {
		return nil, err
	}
	rooms, err := o.rooms()
	if err != nil {
		return nil, err
	}
	return &Hello{Name: name, Ping: pings, History: history, Auth: Secret(auth), Resume: resume, Since: since, Rooms: rooms}, nil
}

// history decodes how much history is asked for: 0, all, if the field is absent.
func (o *object) history() (int, error) {
	n, err := o.int(fieldHistory)
	if err == nil && n == 0 && o.values[fieldHistory] != nil {
		n = -1
	}
	return n, err
}

// rooms decodes the names of rooms, nil if the field is absent.
func (o *object) rooms() (names []string, err error) {
	if o.values[fieldRooms] != nil {
		names = []string{}
	}
	err = eachOf(o.values[fieldRooms], fieldRooms, func(value []byte) error {
		one := object{}
		one.values[fieldRooms] = value
		name, err := one.text(fieldRooms)
		names = append(names, name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return names, nil
}

// resume decodes what a hello wants to continue, nil if it does not say so.
func (o *object) resume() (*Resume, error) {
	obj, err := o.object(fieldResume)
	if obj == nil || err != nil {
		return nil, err
	}
	token, err := obj.text(fieldToken)
	if err != nil {
		return nil, err
	}
	r := &Resume{Token: Secret(token)}
	if r.Epoch, err = obj.text(fieldEpoch); err != nil {
		return nil, err
	}
	if r.Seq, err = obj.uint(fieldSeq); err != nil {
		return nil, err
	}
	r.Rooms, err = obj.positions()
	return r, err
}

// positions decodes positions by the names of rooms, nil if the field is absent.
func (o *object) positions() (map[string]Position, error) {
	v := o.values[fieldRooms]
	if v == nil {
		return nil, nil
	}
	s := jsonscan.Scanner{Text: v}
	if !s.Next('{') {
		return nil, malformed("rooms is not an object: %s", quotePeer(v))
	}
	rooms := make(map[string]Position)
	for n := 0; ; n++ {
		key, value, ok, err := s.Field(n, 1)
		if err != nil {
			return nil, badSyntax(&s, err)
		}
		if !ok {
			return rooms, nil
		}
		name, ok := jsonscan.Unescape(nil, key[1:len(key)-1])
		if !ok {
			return nil, malformed("a room whose name holds half a surrogate pair: %s", quotePeer(key))
		}
		if _, twice := rooms[string(name)]; twice {
			return nil, malformed("room %s twice", quotePeer(name))
		}
		obj, err := parseObject(value, "a position")
		if err != nil {
			return nil, err
		}
		if rooms[string(name)], err = obj.position(); err != nil {
			return nil, err
		}
	}
}

// since decodes what a hello has seen already, nil if it does not say so.
func (o *object) since() (*Position, error) {
	obj, err := o.object(fieldSince)
	if obj == nil || err != nil {
		return nil, err
	}
	p, err := obj.position()
	if err != nil {
		return nil, err
	}
	return &p, nil
}

// position decodes what an object says that is a position.
func (o *object) position() (p Position, err error) {
	if p.Epoch, err = o.text(fieldEpoch); err == nil {
		p.Seq, err = o.uint(fieldSeq)
	}
	return p, err
}

// object decodes an object, nil if the field is absent.
func (o *object) object(f field) (*object, error) {
	v := o.values[f]
	if v == nil {
		return nil, nil
	}
	s := jsonscan.Scanner{Text: v}
	if !s.Next('{') {
		return nil, malformed("%s is not an object", fieldNames[f])
	}
	obj := new(object)
	return obj, obj.read(&s)
}

// number decodes an id that is a number, 0 if the field is absent.
func (o *object) number(f field) (uint64, error) {
	if v := o.values[f]; v != nil && string(v) == "0" {
		return 0, malformed("%s is 0", fieldNames[f])
	}
	return o.uint(f)
}

// uint decodes a whole number, 0 if the field is absent.
func (o *object) uint(f field) (uint64, error) {
	v := o.values[f]
	if v == nil {
		return 0, nil
	}
	n, ok := parseUint(v)
	if !ok {
		return 0, malformed("%s is not a whole number below 1<<64: %s", fieldNames[f], quotePeer(v))
	}
	return n, nil
}

// int is uint for what an int holds; more counts as the greatest.
func (o *object) int(f field) (int, error) {
	n, err := o.uint(f)
	return int(min(n, math.MaxInt)), err
}

// bool decodes true or false, which the scanner has read; false if the
// field is absent.
func (o *object) bool(f field) (bool, error) {
	v := o.values[f]
	switch string(v) {
	case "true", "false", "":
		return string(v) == "true", nil
	}
	return false, malformed("%s is not true or false: %s", fieldNames[f], quotePeer(v))
}

// text decodes a string, "" if the field is absent.
func (o *object) text(f field) (string, error) {
	b, err := o.bytes(f)
	return string(b), err
}

// bytes decodes a string. If it holds no escape, what it returns is a subslice of
// the frame.
func (o *object) bytes(f field) ([]byte, error) {
	v := o.values[f]
	if v == nil {
		return nil, nil
	}
	if end := len(v) - 1; v[0] == '"' && bytes.IndexByte(v, '\\') < 0 {
		return v[1:end:end], nil
	}
	return o.appendString(make([]byte, 0, len(v)), f)
}

// appendString appends the decoded string, nothing if the field is absent.
func (o *object) appendString(dst []byte, f field) ([]byte, error) {
	v := o.values[f]
	if v == nil {
		return dst, nil
	}
	if v[0] != '"' {
		return nil, malformed("%s is not a string%s", fieldNames[f], quoteField(f, v))
	}
	dst, ok := jsonscan.Unescape(dst, v[1:len(v)-1])
	if !ok {
		return nil, malformed("%s holds half a surrogate pair%s", fieldNames[f], quoteField(f, v))
	}
	return dst, nil
}

// quoteField quotes a value for an error, unless it is a secret.
func quoteField(f field, value []byte) string {
	if f == fieldToken || f == fieldAuth {
		return ""
	}
	return ": " + quotePeer(value)
}

// note keeps the value of a known field. key has its quotes.
func (o *object) note(key, value []byte) error {
	key = key[1 : len(key)-1]
	if bytes.IndexByte(key, '\\') >= 0 {
		// A key too long for buf is no known one; half of a pair neither.
		var buf [16]byte
		if len(key) > maxJSON*len(buf) {
			return nil
		}
		var ok bool
		if key, ok = jsonscan.Unescape(buf[:0], key); !ok {
			return nil
		}
	}
	for f, name := range fieldNames {
		if string(key) != name {
			continue
		}
		if o.seen[f] {
			return malformed("field %s twice", name)
		}
		o.seen[f] = true
		if value[0] != 'n' { // null
			o.values[f] = value
		}
		return nil
	}
	return nil
}
