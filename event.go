package tcproom

import "time"

// Kind says what an [Event] is.
type Kind uint8

// The kinds of events. Message, Join, Leave and Renamed are entries of the room's one
// order and carry a Seq; the others concern one member only.
const (
	// Message is what a member, or the room itself, sent to everyone.
	Message Kind = iota + 1
	// Join says that From has joined.
	Join
	// Leave says that From has left; End says why, if the codec tells it.
	Leave
	// Welcome is the first event of a member's stream: who it is, who is
	// there, and the Seq after which its live stream starts. In a hub each room that
	// the connection enters begins so.
	Welcome
	// Gap says that the events with the seqs from Gap.First to Gap.Last were skipped for
	// this member, because it lagged further behind than the backlog allows, or because
	// the room does not have them any more: for one that resumes, or that said since
	// when it wants history. Then Last is the newest message that is missing; there
	// may be joins and leaves in the span and behind it, of which history has none.
	Gap
	// Goodbye is the last event of a stream that the room ends; End says why. If it has
	// a Room other than "*", it ends the membership in that room, and the connection
	// goes on.
	Goodbye
	// Direct is a message to this member alone: of the room, or of the member From.
	Direct
	// Refused is the first and last event of a connection that was not let
	// in; End says why. If it has a Ref, a Number, or a Room other than "*", or comes
	// behind the Welcome, it refuses what the member asked for, and nothing ends.
	Refused
	// Ack says that the room has taken the message with the given Number. Seq is
	// its place, or 0 if it has none, because an OnMessage hook posted nothing for
	// it, or if the room does not know it any more, as when the member has left it
	// since. One with a Ref and no Number says that the request of that Ref is done.
	Ack
	// Ping and Pong are heartbeats, see [WithHeartbeat]. A [Codec] encodes and
	// decodes them; no user receives them.
	Ping
	Pong
	// Lost is what a [Client] tells its user: it has no connection any more, or
	// could not make the first. End says why, and how long the client waits until
	// it dials again.
	Lost
	// Uncertain is what a [Client] tells its user: Body is a message of Send or, with a
	// Room, of SendTo which the room may have taken or not, because the client could not
	// resume.
	Uncertain
	// RoomList answers a [ReqRooms]: List.Rooms are rooms of the hub.
	RoomList
	// Roster answers a [ReqMembers]: List.Members are members of the Room, at Seq.
	Roster
	// Renamed says that the member From, which had that name until now, has the name in
	// Body.
	Renamed
	// Help answers a [ReqHelp]: Body says for people what commands there are; empty:
	// those of the codec.
	Help
)

var kindNames = [...]string{"Kind(0)", "Message", "Join", "Leave", "Welcome", "Gap", "Goodbye", "Direct", "Refused", "Ack", "Ping", "Pong", "Lost", "Uncertain",
	"RoomList", "Roster", "Renamed", "Help"}

// String returns the name of the constant, "Message" for [Message].
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "Kind(?)"
}

// MemberInfo names a member of a room in an event. The zero MemberInfo is the
// room itself.
type MemberInfo struct {
	// ID is unique and never reused, also across rooms and restarts.
	ID string
	// Name is what people read. It is unique only in a room with [WithUniqueNames].
	Name string
}

// A Span is a run of events: those with a seq from First to Last, and no others. First and
// Last are exact bounds, and in a room with a log need not be seqs of events. How many
// events there are between them the Span does not say, for seqs need not be dense.
type Span struct{ First, Last uint64 }

// Len returns how many seqs the span has, of events or of none; 0 if it is not a span.
func (s Span) Len() uint64 {
	if s.First == 0 || s.Last < s.First {
		return 0
	}
	return s.Last - s.First + 1
}

// Event is one entry of a member's stream. Which fields arrive at a dialling
// end depends on the codec: [JSON] carries all of them but [Help], [Text] what people
// read, [Raw] bodies only.
//
// The receiver owns an Event of [Conn.Receive], [Conn.Events] or [OnEvent]. An
// Event that a [Codec] is given to encode is valid, with all that it points to,
// only until the method returns.
type Event struct {
	Kind Kind
	// Room is the room of a hub that the event concerns; empty if the codec, or this
	// connection, names none, as always in a room of [New]. "*" is the room of all
	// connections: what ends there ends the connection.
	Room string
	// Epoch names the life of the room in which the event has its Seq, for a [Codec]
	// that says it with each event. It is empty at a dialling end: a Welcome has it.
	Epoch string
	// Ref is that of the [Request] which the event answers; 0: it answers none, or one
	// without a Ref.
	Ref uint64
	// Seq is the position in the room's order; 0 if the event has none. It rises
	// strictly, and each member sees an event with the same one. In a room by itself it
	// is 1, 2, 3, …, without a hole. In a room with a log, of which several processes have
	// a part, it is a position in the log, the same at all of them: no number of a
	// hole there means an event. It is below 2^53. In a Welcome it is that of the last event before the live stream, which
	// is the member's own join if the room announces joins.
	Seq uint64
	// From is the member that sent, joined or left, or that had this name before a
	// Renamed; zero: the room itself. In a Welcome it is the member that is welcomed.
	From MemberInfo
	// Time is when the event was ordered, by the room's clock.
	Time time.Time
	// Body is the message, in a Message, a Direct or an Uncertain, and in a Refused with a
	// Number that a [Client] hands out; in a Renamed the new name.
	Body []byte
	// History marks a Message from before this member joined.
	History bool
	// Number, in an Ack, is the number that the member gave to its message; in a
	// Refused that refuses a message, too; in a Welcome that resumes, the greatest that
	// the member has given to one.
	Number uint64
	// Gap is what a Gap skipped; zero if the codec does not tell, as [Text] does not.
	Gap Span
	// Skipped is how many events a Gap skipped, the member's own messages included; 0 if
	// that is not known, as of one before the history.
	Skipped uint64
	// Welcome is what only a Welcome has; nil in all others, and in a Welcome that
	// a [Client] makes because its codec has none.
	Welcome *WelcomeInfo
	// End is why a stream ends, in a Goodbye, Refused or Lost; in a Leave its Text,
	// if the codec tells it.
	End *EndError
	// List is what only a RoomList and a Roster have; nil in all others.
	List *List
}

// inOneRoom reports whether the event concerns one room of a hub, and not the
// connection.
func (ev *Event) inOneRoom() bool { return ev.Room != "" && ev.Room != allRooms }

// answers reports whether a Refused refuses a request or message, and not the connection.
func (ev *Event) answers() bool { return ev.Ref != 0 || ev.Number != 0 || ev.inOneRoom() }

// A List is what a [RoomList] or a [Roster] says. [JSON] writes at most 100 entries,
// [Text] as many as a line of 2,000 bytes holds.
type List struct {
	Rooms   []RoomInfo   // of a RoomList, by name
	Members []MemberInfo // of a Roster, in join order
	// Total counts all that there are, listed or not; negative counts as 0.
	Total int
	// More says that there are others behind the last of the list.
	More bool
}

// A RoomInfo names a room of a hub in a [RoomList].
type RoomInfo struct {
	Name    string
	Members int // how many there are; negative counts as 0
}

// WelcomeInfo is what a [Welcome] says beside the member and the seq.
type WelcomeInfo struct {
	// Epoch names this life of the room; (Epoch, Seq) names an event for ever.
	Epoch string
	// Members are the members present at Seq, in join order, the welcomed one
	// included; at most 256 of them. Total counts all.
	Members []MemberInfo
	Total   int
	// Outcome says how the stream began, in a room with [WithSessions]; it is empty in
	// others.
	//
	//	joined   a new member
	//	resumed  the stream goes on behind the Seq that the hello said; what was
	//	         missed follows
	//	gap      the same, after a Gap, which is the next event
	//	expired  a new member: the room does not know any more what the hello
	//	         wanted to resume
	//	reset    in a room with a log: that was lost, and another stream begins, with
	//	         another Epoch. The member is the same, and what it missed is not known
	//
	// A Welcome of "gap" or "reset" may come in the middle of a stream, in a room with a
	// log and without sessions too: the process of the room was away from its log for
	// too long, or that was lost. The list of members is that of now.
	Outcome string
	// Token is what resumes the stream, with Epoch and the seq of the last event
	// received; empty in a room without [WithSessions]. In the middle of a stream it is
	// that of before: a [Codec] is given none then.
	Token Secret
}

// Resumed reports whether Outcome is "resumed" or "gap": the stream goes on where an
// earlier connection stopped or, in its middle, where it is. After a "gap" the next event
// is a [Gap]. It is false for nil.
func (w *WelcomeInfo) Resumed() bool {
	return w != nil && (w.Outcome == outcomeResumed || w.Outcome == outcomeGap)
}
