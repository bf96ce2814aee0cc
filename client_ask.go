package tcproom

import (
	"context"
	"fmt"
	"net"
	"slices"

	"example.com/tcproom/internal/outbox"
)

// What a client asks a hub for, and waits for.

// A clientAsk is a request of a client.
type clientAsk struct {
	kind  RequestKind
	room  string // that it leaves, or wants to be in
	own   bool   // nobody waits for it: the client comes back into its rooms
	query bool   // it is of Ask, which returns the answer
	b     []byte
	ref   uint64
	after *outbox.Message // that is to be handed over before; nil: none

	// Guarded by the client's lock.
	answered bool
	sent     bool  // it was handed to a connection
	lost     bool  // its connection was
	answer   Event // of a query
	err      error // of the answer
}

// Ask asks the hub for what is no message and changes nothing of where the client is, and
// returns the event that answers: a [RoomList] to a [ReqRooms], a [Roster] to a
// [ReqMembers], an [Ack] to a [ReqTell], whose To is an ID, and to a [ReqRename]. Such an
// answer is not among the events of Receive. The Ref of req is not used. What Send and
// SendTo have taken before it goes out first; it keeps nothing of req. It waits for the
// answer as [Client.EnterRoom] does, and asks again over the next connection if one is
// lost, but for a ReqTell: if that was sent, the error is one that wraps [ErrUncertain].
//
// Errors are also a [*RefusedError] of the hub's, or of a room of [New], which refuses
// all of these; [ErrUnframeable] for another kind, and if the codec names no rooms, as
// [Text]; [ErrRoomName] and [ErrFrameTooLarge].
func (c *Client) Ask(ctx context.Context, req *Request) (Event, error) {
	own := *req
	for {
		a, err := c.newQuery(&own)
		if err != nil {
			return Event{}, err
		}
		if _, err := c.awaitSettled(ctx, func() bool { return true }); err != nil {
			return Event{}, err
		}
		lost, err := c.askFor(ctx, a, nil)
		switch {
		case !lost && err != nil:
			return Event{}, c.uncertain(a, err)
		case !lost:
			return a.answer, nil
		case own.Kind == ReqTell && a.sent:
			return Event{}, ErrUncertain
		}
	}
}

// uncertain returns err, the end of waiting for a. It wraps ErrUncertain if a is a direct
// message that may be on its way.
func (c *Client) uncertain(a *clientAsk, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.kind == ReqTell && a.sent && !a.answered {
		return fmt.Errorf("%w: %w", ErrUncertain, err)
	}
	return err
}

// newQuery is newAsk of what Ask takes.
func (c *Client) newQuery(req *Request) (*clientAsk, error) {
	switch {
	case req.Kind != ReqRooms && req.Kind != ReqMembers && req.Kind != ReqTell && req.Kind != ReqRename:
		return nil, fmt.Errorf("%w: Ask of a %v", ErrUnframeable, req.Kind)
	case !c.opts.features.Rooms:
		return nil, errNoRooms(c.opts.codec)
	case len(req.Body) > c.opts.maxMessage:
		return nil, bodyTooLarge(req.Body, c.opts.maxMessage)
	}
	if req.Room != "" {
		if err := checkAnyRoom(req.Room); err != nil {
			return nil, err
		}
	}
	a := &clientAsk{kind: req.Kind, ref: c.refs.Add(1), query: true}
	req.Ref = a.ref
	var err error
	a.b, err = c.opts.encodeRequest(req)
	return a, err
}

// EnterRoom makes the client a member of the named room, too, and returns when it is. It
// waits for the answer of the hub, over however many connections, and while there is none
// for that, unless [WithOffline] says that nothing waits. What Send and SendTo have taken
// before it goes out first. From then on the client enters the room again when it has
// come back and could not resume, until it leaves it or is put out or refused for good.
//
// Errors are a [*RefusedError] of the hub's, the cause of ctx, [ErrOffline],
// [ErrUnframeable] if the codec names no rooms, [ErrRoomName], one that says that too many
// events wait to be received, and what Err returns. After one that comes of ctx the
// client may become a member still.
func (c *Client) EnterRoom(ctx context.Context, room string) error {
	if _, err := c.newAsk(&Request{Kind: ReqEnter, Room: room}); err != nil {
		return err
	}
	for {
		over, err := c.awaitSettled(ctx, func() bool { return c.isInLocked(room) })
		if over || err != nil {
			return err
		}
		lost, err := c.ask(ctx, &Request{Kind: ReqEnter, Room: room}, nil)
		if !lost {
			return err
		}
	}
}

// LeaveRoom ends the membership in the named room, and returns when it is over. The
// client does not enter that room again by itself. It waits, and fails, as
// [Client.EnterRoom] does; it returns [ErrNotMember] if it is not in that room, and was
// not going to be.
func (c *Client) LeaveRoom(ctx context.Context, room string) error {
	if _, err := c.newAsk(&Request{Kind: ReqLeave, Room: room}); err != nil {
		return err
	}
	for again := false; ; again = true {
		outside := false
		over, err := c.awaitSettled(ctx, func() bool {
			if c.isInLocked(room) {
				return false
			}
			_, known := c.rooms[room] // it may wait for it
			outside = !known && !again
			c.dropLocked(room)
			return true
		})
		switch {
		case err != nil:
			return err
		case outside && c.labelled:
			return fmt.Errorf("%w: %q", ErrNotMember, room)
		case over && c.labelled:
			return nil
		}
		lost, err := c.ask(ctx, &Request{Kind: ReqLeave, Room: room}, func() {
			if r := c.rooms[room]; r != nil {
				r.wanted = false // also if the connection is lost now
			}
		})
		if !lost {
			return err
		}
	}
}

// MoveRoom takes the client out of the room from and into the room to at one instant, and
// returns when it is there. If it is refused, the client is where it was. If the
// connection is lost meanwhile, so that nobody knows, it is asked again, or the room to is
// entered if the client is not in from any more.
//
// With an empty from a client without [InRooms] leaves its one room, and comes back to
// the room to from then on; that is all that a codec without rooms can say. It waits, and
// fails, as [Client.EnterRoom] does, and with [ErrNotMember] if it is not in from, or has
// InRooms and from is empty.
func (c *Client) MoveRoom(ctx context.Context, from, to string) error {
	if _, err := c.newAsk(&Request{Kind: ReqMove, Room: from, To: to}); err != nil {
		return err
	}
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if r := c.rooms[from]; r != nil {
			r.moving = false
		}
	}()
	for again := false; ; again = true {
		outside, err := c.awaitSettled(ctx, func() bool { return c.labelled && from != "" && !c.isInLocked(from) })
		switch {
		case err != nil:
			return err
		case outside && again:
			return c.EnterRoom(ctx, to)
		case outside:
			return fmt.Errorf("%w: %q", ErrNotMember, from)
		}
		lost, err := c.ask(ctx, &Request{Kind: ReqMove, Room: from, To: to}, func() {
			if r := c.rooms[from]; r != nil {
				r.moving = true
			}
		})
		if !lost {
			return err
		}
	}
}

// SendTo is [Client.Send] to the named room. If the client is not in that room when the
// hub gets the message, it comes back in the Body of a [Refused] event, if messages are
// numbered. With an empty room it is Send. Errors are also [ErrUnframeable] if the codec
// names no rooms, and [ErrRoomName].
func (c *Client) SendTo(ctx context.Context, room string, body []byte) error {
	_, err := c.put(ctx, room, body, false)
	return err
}

// SendAckedTo is [Client.SendAcked] to the named room. It returns a [*RefusedError] of
// [ErrNotMember] if the client is not in that room when the hub gets the message.
func (c *Client) SendAckedTo(ctx context.Context, room string, body []byte) (seq uint64, err error) {
	return c.sendAcked(ctx, room, body)
}

// awaitSettled waits until there is a connection, and known in which rooms that is. It
// returns what is then.
func (c *Client) awaitSettled(ctx context.Context, then func() bool) (is bool, err error) {
	err = c.await(ctx, func() (bool, error) {
		if err := c.overLocked(); err != nil {
			return false, err
		}
		switch {
		case c.online && c.unsettled == 0:
			is = then()
			return true, nil
		case !c.online && c.opts.offline == 0:
			return false, fmt.Errorf("%w: %w", ErrOffline, c.lost)
		}
		return false, c.stuckLocked()
	})
	return is, err
}

// overLocked returns why nothing can be asked for or sent any more, or nil.
func (c *Client) overLocked() error {
	switch {
	case c.err != nil:
		return c.err
	case c.closed.Load():
		return net.ErrClosed
	}
	return context.Cause(c.ctx)
}

// ask asks for something, behind what was taken to be sent before, and waits for the
// answer. lost says that there was none, because the connection was lost. begun is called
// with the lock held when it is in the queue.
func (c *Client) ask(ctx context.Context, req *Request, begun func()) (lost bool, err error) {
	a, err := c.newAsk(req)
	if err != nil {
		return false, err
	}
	return c.askFor(ctx, a, begun)
}

// askFor is ask of a request that is encoded.
func (c *Client) askFor(ctx context.Context, a *clientAsk, begun func()) (lost bool, err error) {
	c.mu.Lock()
	if !c.online {
		c.mu.Unlock()
		return true, nil
	}
	a.after = c.out.Last()
	c.asks = append(c.asks, a)
	if begun != nil {
		begun()
	}
	c.changeLocked()
	c.mu.Unlock()
	err = c.await(ctx, func() (bool, error) {
		if a.answered || a.lost {
			return true, nil
		}
		if err := c.overLocked(); err != nil {
			return false, err
		}
		return false, c.stuckLocked()
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case a.answered:
		return false, a.err
	case err == nil:
		return true, nil
	}
	if i := slices.Index(c.asks, a); i >= 0 { // it was not sent
		c.asks = slices.Delete(c.asks, i, i+1)
		if r := c.rooms[a.room]; r != nil && a.kind == ReqLeave {
			r.wanted = true
		}
	}
	return false, err
}

// newAsk returns a request that is encoded, with a ref of its own.
func (c *Client) newAsk(req *Request) (*clientAsk, error) {
	a := &clientAsk{kind: req.Kind, room: req.Room, ref: commandRef}
	if req.Kind == ReqMove {
		a.room = req.To
	}
	if c.opts.features.Rooms {
		a.ref = c.refs.Add(1)
	}
	var err error
	a.b, err = c.opts.encodeAsked(req, a.ref)
	return a, err
}

// askOwnLocked asks for what nobody waits for, before anything else is sent.
func (c *Client) askOwnLocked(req *Request) bool {
	a, err := c.newAsk(req)
	if err != nil { // it could be said before
		return false
	}
	a.own = true
	c.asks = append(c.asks, a)
	c.changeLocked()
	return true
}

// nextAskLocked returns the next request to send, nil if there is none for now.
func (c *Client) nextAskLocked() *clientAsk {
	for i, a := range c.asks {
		if a.own || c.unsettled == 0 && (a.after == nil || !c.out.Waits(a.after)) {
			c.asks = slices.Delete(c.asks, i, i+1)
			c.asked = append(c.asked, a)
			a.sent = true
			return a
		}
		if !a.own && c.unsettled == 0 {
			return nil // those behind it wait for their turn
		}
	}
	return nil
}

// loseAsksLocked says of all requests that their connection is lost.
func (c *Client) loseAsksLocked() {
	for _, a := range append(c.asks, c.asked...) {
		a.lost = true
	}
	c.asks, c.asked = nil, nil
}

// answeredLocked returns the request which ev answers, nil if there is none.
func (c *Client) answeredLocked(ev *Event) *clientAsk {
	for i, a := range c.asked {
		if !c.answers(ev, a) {
			continue
		}
		c.asked = slices.Delete(c.asked, i, i+1)
		a.answered = true
		switch {
		case ev.Kind == Refused:
			a.err = endOf(ev, ErrDenied).refused()
		case a.query:
			a.answer = *ev
		}
		return a
	}
	return nil
}

// answers reports whether ev is the answer to a.
func (c *Client) answers(ev *Event, a *clientAsk) bool {
	if a.query {
		return ev.Ref == a.ref
	}
	switch ev.Kind {
	case Welcome, Roster:
		if !c.opts.features.Rooms { // which has no refs
			return ev.Room == a.room
		}
		return ev.Ref == a.ref && a.kind != ReqLeave
	case Goodbye:
		return ev.Ref == a.ref && a.kind == ReqLeave
	case Refused:
		return ev.Ref == a.ref
	}
	return false
}
