package tcproom

import (
	"maps"
	"slices"

	"example.com/tcproom/internal/outbox"
)

// How a client is in rooms of a hub: what it keeps of each, and how it comes back into
// them.

// A clientRoom is a room of a hub in which a client is or wants to be. It is guarded by
// the client's lock.
type clientRoom struct {
	member   bool     // as far as is known; also while there is no connection
	wanted   bool     // it is to be entered again
	pending  bool     // the present connection has asked for it, and has no answer yet
	moving   bool     // MoveRoom is leaving it
	at       Position // of what was received
	received uint64   // the seq up to which history of this epoch was received
}

// isInLocked reports whether the client is a member of the named room.
func (c *Client) isInLocked(room string) bool {
	r := c.rooms[room]
	return r != nil && r.member
}

// roomLocked returns what is kept of a room, from now on if there was nothing.
func (c *Client) roomLocked(name string) *clientRoom {
	r := c.rooms[name]
	if r == nil {
		r = new(clientRoom)
		if c.rooms == nil {
			c.rooms = make(map[string]*clientRoom)
		}
		c.rooms[name] = r
		c.names = append(c.names, name)
	}
	return r
}

// dropLocked keeps nothing more of a room.
func (c *Client) dropLocked(name string) {
	if r := c.rooms[name]; r != nil {
		c.pendingLocked(r, false)
		delete(c.rooms, name)
		c.names = slices.DeleteFunc(c.names, func(n string) bool { return n == name })
	}
}

// pendingLocked notes whether r has still to be answered for.
func (c *Client) pendingLocked(r *clientRoom, is bool) {
	switch {
	case is && !r.pending:
		c.unsettled++
	case !is && r.pending:
		c.unsettled--
	}
	r.pending = is
}

// startRooms notes what the options say of rooms.
func (c *Client) startRooms() {
	c.labelled = c.opts.rooms != nil
	for _, name := range c.opts.rooms {
		c.roomLocked(name).wanted = true
	}
	if r := c.opts.resume; r != nil && r.Rooms != nil {
		c.labelled = true
		for _, name := range slices.Sorted(maps.Keys(r.Rooms)) {
			room := c.roomLocked(name)
			room.member, room.wanted = true, true
			room.at, room.received = r.Rooms[name], r.Rooms[name].Seq
		}
	}
	c.resume.Rooms = nil // they are made for each hello
}

// helloRoomsLocked puts into a hello in which rooms the client is or wants to be.
func (c *Client) helloRoomsLocked(opts *dialConfig) {
	if !c.labelled {
		return
	}
	opts.rooms = []string{}
	for _, name := range c.names {
		r := c.rooms[name]
		switch {
		case opts.resume == nil && r.wanted:
			opts.rooms = append(opts.rooms, name)
		case opts.resume != nil && r.member && r.wanted:
			if opts.resume.Rooms == nil {
				opts.resume.Rooms = make(map[string]Position)
			}
			opts.resume.Rooms[name] = r.at
		}
	}
}

// comeBackLocked notes which rooms a connection that was just welcomed is going to answer
// for, and asks for the others. tried says that its hello resumed; it may have been in
// vain.
func (c *Client) comeBackLocked(welcome *Event, tried, resumed bool) (unsure []*outbox.Message) {
	c.unsettled = 0
	if !c.labelled {
		if c.moved != "" && !resumed && c.askOwnLocked(&Request{Kind: ReqMove, To: c.moved}) {
			c.unsettled = 1
		}
		return nil
	}
	hub := welcome.Room == allRooms
	for _, name := range slices.Clone(c.names) {
		r := c.rooms[name]
		r.pending = false
		r.member = r.member && r.wanted && resumed && hub
		switch {
		case !r.wanted:
			c.dropLocked(name)
		case !hub: // a room by itself, which has no others
		case r.member || !tried:
			c.pendingLocked(r, true)
		default:
			c.enterAgainLocked(name)
		}
	}
	return c.out.ForgetRooms(func(room string) bool { return room != "" && !c.isInLocked(room) }, ErrUncertain)
}

// enterAgainLocked asks for a room in which the client wants to be.
func (c *Client) enterAgainLocked(name string) {
	c.pendingLocked(c.rooms[name], c.askOwnLocked(&Request{Kind: ReqEnter, Room: name}))
}

// noteRoomLocked keeps what follows from ev for the room that it concerns, or as the
// answer to a request. It reports whether it is for the user, and returns what has become
// unsure.
func (c *Client) noteRoomLocked(ev *Event) (forUser bool, unsure []*outbox.Message) {
	a := c.answeredLocked(ev)
	if a != nil {
		defer c.changeLocked()
		if a.query {
			return false, nil
		}
	}
	if !c.labelled {
		c.noteMoveLocked(ev, a)
		return true, nil
	}
	r := c.rooms[ev.Room]
	switch ev.Kind {
	case Welcome:
		unsure = c.noteWelcomeLocked(ev)
	case Roster:
		if a != nil { // it was there already
			c.pendingLocked(c.roomLocked(ev.Room), false)
			return false, nil
		}
	case Refused:
		return true, c.noteRefusedLocked(ev, a)
	case Goodbye:
		if r != nil {
			c.noteGoodbyeLocked(ev, r)
		}
	case Message, Join, Leave, Renamed, Gap, Ack:
		if r == nil || !r.member {
			break
		}
		if ev.History {
			if ev.Seq != 0 && ev.Seq <= r.received {
				return false, nil
			}
			r.received = max(r.received, ev.Seq)
			break
		}
		r.at.Seq = max(r.at.Seq, ev.Seq, ev.Gap.Last)
		r.received = r.at.Seq
	}
	return true, unsure
}

// noteWelcomeLocked begins a membership, or goes on with it.
func (c *Client) noteWelcomeLocked(ev *Event) (unsure []*outbox.Message) {
	w := ev.Welcome
	if w == nil {
		w = new(WelcomeInfo)
	}
	r := c.roomLocked(ev.Room)
	if !r.pending || !r.member || !w.Resumed() {
		if r.at.Epoch != w.Epoch {
			r.received = 0
		}
		r.at = Position{w.Epoch, ev.Seq}
		if r.pending { // else what was sent has its answer on this connection
			unsure = c.forgetLocked(ev.Room)
		}
	}
	if r.pending {
		c.out.ContinueAfter(ev.Number)
	}
	r.member, r.wanted = true, true
	c.pendingLocked(r, false)
	c.changeLocked()
	return unsure
}

// forgetLocked takes out what was sent to a room by another membership.
func (c *Client) forgetLocked(room string) []*outbox.Message {
	return c.out.ForgetRooms(func(name string) bool { return name == room }, ErrUncertain)
}

// noteRefusedLocked heeds a refusal of a room, or of another request.
func (c *Client) noteRefusedLocked(ev *Event, a *clientAsk) (unsure []*outbox.Message) {
	end := endOf(ev, ErrDenied)
	name, r := ev.Room, c.rooms[ev.Room]
	if a != nil {
		name, r = a.room, c.rooms[a.room]
	}
	switch {
	case r == nil:
	case a != nil && a.kind == ReqLeave:
		r.wanted = r.member
	case a != nil && !r.pending: // of EnterRoom, or of what is going on elsewhere
		if end.Final && !r.member {
			c.dropLocked(name)
		}
	case r.pending && (a != nil || ev.Ref == 0):
		resumes := r.member
		r.member = false
		unsure = c.forgetLocked(name)
		switch {
		case end.Final || r.moving:
			c.dropLocked(name)
		case resumes: // that membership is over
			c.enterAgainLocked(name)
		default:
			c.pendingLocked(r, false)
		}
		c.changeLocked()
	}
	return unsure
}

// noteGoodbyeLocked ends a membership.
func (c *Client) noteGoodbyeLocked(ev *Event, r *clientRoom) {
	end := endOf(ev, errLeft)
	r.member = false
	if end.Final || end.Cause == errLeft || end.Cause == errMoved {
		c.dropLocked(ev.Room)
	}
	c.changeLocked()
}

// noteMoveLocked notes where a client is that names no rooms.
func (c *Client) noteMoveLocked(ev *Event, a *clientAsk) {
	if a == nil || a.kind != ReqMove {
		return
	}
	switch {
	case ev.Kind != Refused:
		c.moved = a.room
	case a.own && endOf(ev, ErrDenied).Final:
		c.moved = ""
	}
	if a.own {
		c.unsettled = 0
	}
}

// noteOtherWelcome goes on in the room to which a client was moved that names none. It
// reports whether ev is that: of another room.
func (c *Client) noteOtherWelcome(ev *Event) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := ev.Welcome
	if c.labelled || w == nil || w.Epoch == "" || w.Epoch == c.resume.Epoch {
		return false
	}
	c.resume.Epoch, c.resume.Seq, c.received = w.Epoch, ev.Seq, 0
	if w.Token != "" {
		c.resume.Token = w.Token
	}
	return true
}
