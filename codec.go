package tcproom

// A Codec says what is written inside a frame, in each direction: events from
// the room to a member, messages from a member to the room.
//
// A Codec is pure: one value serves all connections, from many goroutines. Its
// methods run under the room's lock and must not block or call back. They keep
// none of their arguments.
type Codec interface {
	// AppendEvent appends the encoded ev to dst and returns the extended
	// slice, or [ErrNoFrame] where this codec does not say such an event; a
	// codec that does not say a Gap gets no member with the Skip policy.
	AppendEvent(dst []byte, ev *Event) ([]byte, error)
	// ParseEvent decodes into ev, which is zero, what AppendEvent encoded.
	// What it sets may alias frame. It returns an error that wraps
	// [ErrMalformed] for a frame that is none, and [ErrNoFrame] for one
	// that says nothing and is to be ignored.
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
	Name string // the name that it wishes for; empty: the room chooses
}
