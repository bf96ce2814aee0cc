package tcproom

import (
	"context"
	"fmt"
)

// What a dialling end asks of a hub. A room of [New] refuses all of it.

// InRooms sets the rooms of a hub that the hello asks for, in this order; they are
// entered as by [Conn.EnterRoom], with the history of [WithReplay]. The connection names
// its rooms then: its events have a Room, its first [Welcome] is that of "*", which
// stands for the connection, and that of each room, or a [Refused] with that Room,
// follows. Without names it is in no room yet. A name counts once.
//
// A codec that names no rooms, as [Text] and [Raw], is [ErrOption], and so is a name
// that no room can have. A room of [New] ignores it. The default is that the hub chooses
// one room, which is not named.
func InRooms(names ...string) DialOption {
	return dialOption(func(c *dialConfig) {
		c.rooms = make([]string, 0, len(names))
		for _, name := range names {
			c.addRoom(name)
		}
	})
}

// addRoom adds a room to those of the hello.
func (c *dialConfig) addRoom(name string) {
	for _, n := range c.rooms {
		if n == name {
			return
		}
	}
	c.rooms = append(c.rooms, name)
}

// checkRooms returns an error if InRooms cannot work.
func (c *dialConfig) checkRooms() error {
	for _, name := range c.rooms {
		if err := checkRoomName(name); err != nil {
			return fmt.Errorf("%w: InRooms: %w", ErrOption, err)
		}
	}
	return nil
}

// EnterRoom asks the hub to make this connection a member of the named room, too, with
// as much of its history as [WithReplay] says. It does not wait for the answer, which is
// an event with that Room and a Ref of c's own, above 0 and never used before: a
// [Welcome]; a [Refused]; or a [Roster] if it is a member already. A connection without
// [InRooms] is in one room, and is refused with Cause("one-room").
//
// It blocks as [Conn.Send] does, and its errors are those of Send for a request in place
// of a message: [ErrUnframeable] if the codec names no rooms, as [Text] and [Raw], and
// [ErrRoomName] for a name that no room can have.
func (c *Conn) EnterRoom(ctx context.Context, room string) error {
	return c.ask(ctx, &Request{Kind: ReqEnter, Room: room})
}

// LeaveRoom asks the hub to end the membership in the named room. It does not wait for
// the answer, which is a [Goodbye] with Cause("left"), or a [Refused], with that Room
// and a Ref of c's own. It blocks, and fails, as [Conn.EnterRoom] does.
func (c *Conn) LeaveRoom(ctx context.Context, room string) error {
	return c.ask(ctx, &Request{Kind: ReqLeave, Room: room})
}

// MoveRoom asks the hub to take this connection out of the room from and into the room
// to at one instant. It does not wait for the answer, which has a Ref of c's own: a
// [Goodbye] with the Room from and Cause("moved"), and a [Welcome] with the Room to; or
// a [Refused] with the Room to, and it is where it was.
//
// An empty from is the one room of a connection without [InRooms], and no Goodbye comes;
// a connection with InRooms is refused with [ErrNotMember]. A codec without rooms can ask
// for nothing else: for [Text] with Commands any other from is [ErrUnframeable]. It
// blocks, and fails, as [Conn.EnterRoom] does in all else.
func (c *Conn) MoveRoom(ctx context.Context, from, to string) error {
	return c.ask(ctx, &Request{Kind: ReqMove, Room: from, To: to})
}

// SendTo is [Conn.Send] to the named room, of which the connection is a member: if it is
// not, a [Refused] with that Room comes. With an empty room it is Send. Errors are also
// [ErrUnframeable] if the codec names no rooms, and [ErrRoomName] for a name that no
// room can have.
func (c *Conn) SendTo(ctx context.Context, room string, body []byte) error {
	b, err := c.cfg.encodeMessageTo(room, 0, body)
	if err != nil {
		return err
	}
	return c.putWhole(ctx, b)
}

// ask sends a request with the next Ref.
func (c *Conn) ask(ctx context.Context, req *Request) error {
	b, err := c.opts.encodeAsked(req, c.refs.Add(1))
	if err != nil {
		return err
	}
	return c.putWhole(ctx, b)
}

// encodeAsked returns what a request of a hub is on the wire.
func (o *dialConfig) encodeAsked(req *Request, ref uint64) ([]byte, error) {
	named := []string{req.Room}
	switch req.Kind {
	case ReqMove:
		if !o.features.Requests {
			return nil, errNoRooms(o.codec)
		}
		if named = []string{req.To}; req.Room != "" {
			named = append(named, req.Room)
		}
	default:
		if !o.features.Rooms {
			return nil, errNoRooms(o.codec)
		}
	}
	for _, name := range named {
		if err := checkRoomName(name); err != nil {
			return nil, err
		}
	}
	req.Ref = ref
	if o.replay != 0 && req.Kind != ReqLeave {
		req.Query = &Query{History: o.replay}
	}
	return o.encodeRequest(req)
}

// encodeMessageTo is encodeMessage to a room of a hub; empty: to that of the connection.
func (l *limits) encodeMessageTo(room string, number uint64, body []byte) ([]byte, error) {
	if room == "" {
		return l.encodeMessage(number, body)
	}
	if !l.features.Rooms {
		return nil, errNoRooms(l.codec)
	}
	if err := checkRoomName(room); err != nil {
		return nil, err
	}
	if len(body) > l.maxMessage {
		return nil, bodyTooLarge(body, l.maxMessage)
	}
	req := requests.Get().(*Request)
	defer func() {
		*req = Request{}
		requests.Put(req)
	}()
	req.Kind, req.Room, req.Number, req.Body = ReqSay, room, number, body
	return l.encodeRequest(req)
}

func errNoRooms(c Codec) error {
	return fmt.Errorf("%w: codec %T names no rooms: use JSON", ErrUnframeable, c)
}

func bodyTooLarge(body []byte, limit int) error {
	return fmt.Errorf("%w: %d bytes, the limit is %d", ErrFrameTooLarge, len(body), limit)
}
