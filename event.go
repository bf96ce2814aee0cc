package tcproom

import "time"

// Kind says what an [Event] is.
type Kind uint8

// The kinds of events. Message, Join and Leave are entries of the room's one
// order and carry a Seq; the others concern one member only.
const (
	// Message is what a member, or the room itself, said to everyone.
	Message Kind = iota + 1
	// Join says that From has joined.
	Join
	// Leave says that From has left; Text says why, where the codec tells it.
	Leave
	// Welcome is the first event of a member's stream: who it is, who is
	// there, and the Seq after which its live stream starts.
	Welcome
	// Gap says that the events GapFrom to GapTo were skipped for this member,
	// because it lagged further behind than the backlog allows.
	Gap
	// Goodbye is the last event of a stream that the room ends; Text says why.
	Goodbye
	// Direct is a message from the room to this member alone.
	Direct
	// Refused is the first and last event of a connection that was not let
	// in; Code and Text say why.
	Refused
	// Ack says that the room has taken the message with the number ID; Seq is
	// its place, or 0 where it has none, because an OnMessage hook posted
	// nothing for it, or the room does not know any more.
	Ack
	// Lost is said by a [Client] to its user: it has no connection any more, or
	// could not make the first, because of Text, and of Code where that is one of
	// docs/wire.md. RetryAfter is how long it waits until it dials again.
	Lost
	// Uncertain is said by a [Client] to its user: Body is a message of Send which
	// the room may have taken or not, because the client could not resume.
	Uncertain
)

var kindNames = [...]string{"Kind(0)", "Message", "Join", "Leave", "Welcome", "Gap", "Goodbye", "Direct", "Refused", "Ack", "Lost", "Uncertain"}

// String returns the name of the constant, "Message" for [Message].
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "Kind(?)"
}

// Member names a member of a room. The zero Member is the room itself.
type Member struct {
	// ID is unique and never reused, also across rooms and restarts.
	ID string
	// Name is what people read. It is unique only in a room with [WithUniqueNames].
	Name string
}

// Event is one entry of a member's stream. Which fields arrive at a dialling
// end depends on the codec: [JSON] carries all of them, [Text] what people
// read, [Raw] bodies only.
//
// An Event that [Conn.Receive], [Conn.Events] or [OnEvent] hands out is owned
// by whoever receives it. One that a [Codec] is given to encode is valid, its
// Body and Members included, only until the method returns.
type Event struct {
	Kind Kind
	// Seq is the position in the room's order, 1, 2, 3, …; 0 where the event
	// has none. In a Welcome it is that of the last event before the live
	// stream, which is the member's own join where joins are told.
	Seq uint64
	// From is who sent, joined or left; zero: the room itself. In a Welcome
	// it is the member that is welcomed.
	From Member
	// Time is when the event was ordered, by the room's clock.
	Time time.Time
	// Body is what was said, in a Message or a Direct.
	Body []byte
	// History marks a Message that was said before this member joined.
	History bool

	// GapFrom and GapTo are the first and last Seq of what a Gap skipped.
	GapFrom, GapTo uint64
	// ID, in an Ack, is the number that the member gave to its message; in a
	// Welcome that resumes, the greatest that the member has given to one.
	ID uint64
	// Code is the machine-readable reason of a Refused or Goodbye, as
	// docs/wire.md lists them.
	Code string
	// Final, in a Refused or Goodbye, says that the room does not want this
	// client to come back by itself.
	Final bool
	// RetryAfter, in a Refused or Goodbye, is how long a client should wait at
	// least before it comes back; 0: the room does not say.
	RetryAfter time.Duration
	// Text is the reason of a Goodbye, Leave or Refused, for people.
	Text string

	// Epoch, in a Welcome, names this life of the room; (Epoch, Seq) names an
	// event for ever.
	Epoch string
	// Members, in a Welcome, are those present at Seq, in join order, the
	// welcomed one included; at most 256 of them, Total counts all.
	Members []Member
	Total   int
	// Outcome and Token, in a Welcome of a room with [WithSessions], say how
	// the stream began ([Joined], [Resumed], [ResumedGap] or [Expired]) and with
	// what to resume it. Who has a token has the member.
	Outcome string
	Token   Secret
}
