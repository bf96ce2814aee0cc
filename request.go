package tcproom

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// What a connection asks of its hub, beside messages. It is done on the goroutine that
// reads from the connection, one after the other, and answered before anything that
// comes behind it.

// request does what in.req asks for. What is refused is answered, and ends nothing.
func (h *Hub) request(l *link, in *inbox) error {
	if err := l.take(in); err != nil {
		return err
	}
	req := &in.req
	if err := l.payFor(req.Kind); err != nil {
		return err
	}
	if req.Kind == ReqEnter || req.Kind == ReqMove {
		if err := l.awaitEnded(l.Context()); err != nil {
			return err
		}
	}
	err := h.allow(l, req)
	if err == nil {
		err = h.carryOut(l, req)
	}
	if cause := l.Err(); cause != nil {
		return cause
	}
	if err != nil {
		return l.refuse(req, err)
	}
	return nil
}

// maxEnded is how many rooms a connection may have left whose events it has still to
// read, before it enters another one.
const maxEnded = 64

// awaitEnded waits while l, which does not read, has too many of those. That holds up
// reading from it, or a call of the program's.
func (l *link) awaitEnded(ctx context.Context) error {
	p, g := l.member.presence, l.room.group
	tooMany := func() bool { return l.sink.Streams() > p.len()+1+maxEnded }
	if !tooMany() {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(l.Context(), func() { cancel(l.Err()) })()
	for {
		ch := g.Progress()
		if !tooMany() {
			return nil
		}
		if err := g.Await(ctx, ch, 0); err != nil {
			return cmpErr(l.Err(), err)
		}
	}
}

// allow asks the user's OnRequest.
func (h *Hub) allow(l *link, req *Request) error {
	if h.cfg.onRequest == nil {
		if req.Kind == ReqOther {
			return &refusal{fmt.Errorf("no command %s; /help lists them", quotePeer(req.To)), errUnknown}
		}
		return nil
	}
	return refuse(l.call(hookOnRequest, func() error { return h.cfg.onRequest(l.member, req) }))
}

// errUnknown is the cause of a refusal of a command that there is not.
const errUnknown Cause = "unknown"

func (h *Hub) carryOut(l *link, req *Request) error {
	if usage := usageOf(req); usage != "" && l.commands() {
		return &refusal{fmt.Errorf("usage: %s", usage), ErrMalformed}
	}
	switch req.Kind {
	case ReqEnter:
		return h.askEnter(l, req)
	case ReqLeave:
		return h.askLeave(l, req)
	case ReqMove:
		return h.askMove(l, req)
	case ReqRooms:
		return l.reply(&Event{Kind: RoomList, Ref: req.Ref, List: h.listRooms(req.Query)})
	case ReqMembers:
		return h.askMembers(l, req)
	case ReqTell:
		return h.askTell(l, req)
	case ReqRename:
		return h.askRename(l, req)
	case ReqHelp:
		return l.reply(&Event{Kind: Help, Ref: req.Ref})
	}
	return nil
}

// reply puts an event for l alone behind what was put there before.
func (l *link) reply(ev *Event) error {
	ev.Time = time.Now()
	b, err := l.stream.encode(ev)
	if err != nil || len(b) == 0 {
		return err
	}
	if s := l.member.voice(); s != &l.stream {
		if err := s.putWhole(context.Background(), b); err == nil || !s.isOver() {
			return err
		}
	}
	return l.putWhole(context.Background(), b)
}

// refuse answers a request with why it is not done.
func (l *link) refuse(req *Request, err error) error {
	end := l.room.lastWords(err)
	ev := refusalOf(req, end)
	if !l.labelled && !l.commands() {
		ev.Room = ""
	}
	if !l.cfg.features.Requests {
		ev = &Event{Kind: Direct, Body: []byte("not done: " + end.Text)}
	}
	l.report(slog.LevelDebug, "not done "+string(end.Cause), l.room, "request refused", "request", req.Kind.String(), "cause", err)
	return l.reply(ev)
}

// refuseMessage answers a message for a room in which l is not.
func (l *link) refuseMessage(in *inbox) error {
	if err := l.take(in); err != nil {
		return err
	}
	req := &in.req
	err := fmt.Errorf("%w: %s", ErrNotMember, quotePeer(req.Room))
	if req.Room == "" {
		err = fmt.Errorf("%w: enter a room first", ErrNotMember)
	}
	if req.Ref == 0 && !l.cfg.features.Rooms {
		req.Ref = commandRef
	}
	return l.refuse(req, err)
}

// by returns the stream of the membership that a request for the named room is about,
// nil if l is not in it.
func (l *link) by(room string) *stream {
	p := l.member.presence
	m := p.current()
	if room != "" {
		m = p.in(room)
	}
	if m == nil {
		return nil
	}
	if s := m.at.Load(); s.link == l {
		return s
	}
	return nil
}

func (h *Hub) askEnter(l *link, req *Request) error {
	if !l.labelled {
		return errNamesNone
	}
	e := entry{ref: req.Ref}
	if req.Query != nil {
		e.history = req.Query.History
	}
	m, joined, err := h.enter(l.Context(), l, req.Room, e, true)
	if err != nil || joined {
		return err
	}
	return l.reply(m.room.roster(nil, req.Ref))
}

// errNamesNone is why a connection that named no rooms in its hello cannot be in several.
var errNamesNone = fmt.Errorf("%w: its hello named none", errOneRoom)

func (h *Hub) askLeave(l *link, req *Request) error {
	if !l.labelled {
		return errNamesNone
	}
	if req.Room == "" {
		return errNoneToLeave
	}
	s := l.by(req.Room)
	if s == nil {
		return fmt.Errorf("%w: %s", ErrNotMember, quotePeer(req.Room))
	}
	if s.room.depart(s.member, errLeft, errLeft, req.Ref) {
		s.room.seeOutPart(s, l)
	}
	return nil
}

// errNoneToLeave is why a connection that names its rooms leaves none.
var errNoneToLeave = fmt.Errorf("%w: the room to leave is not named", ErrNotMember)

func (h *Hub) askMove(l *link, req *Request) error {
	if l.labelled && req.Room == "" { // it would be an enter
		return errNoneToLeave
	}
	s := l.by(req.Room)
	if req.Room != "" && s == nil {
		return fmt.Errorf("%w: %s", ErrNotMember, quotePeer(req.Room))
	}
	e := entry{ref: req.Ref}
	if req.Query != nil {
		e.history = req.Query.History
	}
	if s == nil { // a person between two rooms
		_, _, err := h.enter(l.Context(), l, req.To, e, true)
		return err
	}
	if s.room.name == req.To {
		return l.reply(s.room.roster(nil, req.Ref))
	}
	_, err := h.move(l.Context(), l, s.member, req.To, e, true)
	return err
}

// maxList is how many entries the answer to a request for a list has at most.
const maxList = 100

// listRooms returns the rooms that q asks for, without those that are hidden.
func (h *Hub) listRooms(q *Query) *List {
	if q == nil {
		q = new(Query)
	}
	limit := maxList
	if q.Limit > 0 {
		limit = min(limit, q.Limit)
	}
	list := new(List)
	for name, r := range h.Rooms(q.Prefix) {
		if r.cfg.hidden {
			continue
		}
		list.Total++
		switch {
		case name <= q.After:
		case len(list.Rooms) == limit:
			list.More = true
		default:
			list.Rooms = append(list.Rooms, RoomInfo{Name: name, Members: r.Len()})
		}
	}
	return list
}

func (h *Hub) askMembers(l *link, req *Request) error {
	r := (*Room)(nil)
	if s := l.by(req.Room); s != nil {
		r = s.room
	} else if req.Room != "" {
		if err := checkRoomName(req.Room); err != nil {
			return err
		}
		r, _ = h.Lookup(req.Room)
		if r != nil && r.cfg.hidden {
			r = nil
		}
	}
	switch {
	case r == nil && req.Room == "":
		return fmt.Errorf("%w: enter a room first", ErrNotMember)
	case r == nil:
		return fmt.Errorf("%w: %q", ErrNoRoom, req.Room)
	}
	return l.reply(r.roster(req.Query, req.Ref))
}

// roster returns who is in r, as q asks for it.
func (r *Room) roster(q *Query, ref uint64) *Event {
	if q == nil {
		q = new(Query)
	}
	limit := maxList
	if q.Limit > 0 {
		limit = min(limit, q.Limit)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	list := &List{Total: r.lenLocked()}
	for who := range r.infosLocked(q.After) {
		if list.More = len(list.Members) == limit; list.More {
			break
		}
		list.Members = append(list.Members, who)
	}
	return &Event{Kind: Roster, Room: r.name, Ref: ref, Seq: r.seq, List: list}
}

// askRename answers by itself only what no room does: a request with a Ref, which no
// Renamed has, and a person that is in no room or has that name already.
func (h *Hub) askRename(l *link, req *Request) error {
	was := l.member.Name()
	if err := h.Rename(l.member, req.To); err != nil {
		return err
	}
	switch {
	case l.cfg.features.Rooms && req.Ref != 0:
		return l.reply(&Event{Kind: Ack, Ref: req.Ref})
	case l.commands() && (was == req.To || l.by("") == nil):
		return l.reply(&Event{Kind: Direct, Body: []byte("your name is " + req.To)})
	}
	return nil
}

func (h *Hub) askTell(l *link, req *Request) error {
	m, err := h.find(req.To, !l.cfg.features.Rooms)
	if err != nil {
		return err
	}
	if err := h.Tell(l.Context(), l.member, m.Info().ID, req.Body); err != nil {
		return err
	}
	if l.commands() || req.Ref == 0 { // an ack without one would be of nothing
		return nil
	}
	return l.reply(&Event{Kind: Ack, Ref: req.Ref})
}

// find returns the connection's member with that ID or, if so wanted, name.
func (h *Hub) find(to string, byName bool) (*Member, error) {
	r := h.all
	r.mu.Lock()
	defer r.mu.Unlock()
	id := to
	if byName {
		id = ""
		for who := range r.infosLocked("") {
			if who.Name != to {
				continue
			}
			if id != "" {
				return nil, fmt.Errorf("%w: several are called %s", errRecipient, quotePeer(to))
			}
			id = who.ID
		}
	}
	if m := r.memberLocked(id); m != nil {
		return m, nil
	}
	return nil, fmt.Errorf("%w: %s", errRecipient, quotePeer(to))
}

// Tell sends body to the connection with the given ID alone, from the member from, or
// from the hub itself if that is nil, as a [Direct] event. It does not wait: errors are
// Cause("recipient") if there is no such connection, [ErrDetached], Cause("busy") if
// 64 KiB wait for it already, [ErrFrameTooLarge] and [ErrUnframeable]. It keeps nothing of
// body.
//
// With [WithBackplane] the connection may be made to another process. Then it waits until
// the message has its place in the log of "*", and nil says that it has, not that the
// other process could write it. Further errors are [ErrUnavailable] and [ErrUncertain].
func (h *Hub) Tell(ctx context.Context, from *Member, to string, body []byte) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	m, err := h.find(to, false)
	if err != nil {
		return err
	}
	if m.Remote() {
		return h.tellByLog(ctx, from, m, body)
	}
	var info MemberInfo
	if from != nil {
		info = from.Info()
	}
	s := m.at.Load()
	if most := s.link.cfg.maxMessage; len(body) > most {
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrFrameTooLarge, len(body), most)
	}
	b, err := s.frameDirect(info, body)
	if err != nil {
		return err
	}
	v := m.voice()
	if v.put(b, maxQueued) || v != s && v.isOver() && s.put(b, maxQueued) {
		return nil
	}
	if cause := s.link.Err(); cause != nil {
		return m.sendError(s.link, cause)
	}
	return &busyError{m.Info().Name}
}

// busyError is errTooManyPending of messages, and not of connections.
type busyError struct{ name string }

func (e *busyError) Error() string {
	return fmt.Sprintf("tcproom: too many direct messages wait for %q", e.name)
}

func (e *busyError) Unwrap() error { return errTooManyPending }
