package tcproom

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/tcproom/internal/fanout"
)

// A stream is what a link carries of one member: the events of its room, from its join
// or resume on. The stream of a link's own member is a part of the link, and exists
// before that joins.
type stream struct {
	link   *link
	room   *Room
	member *Member // set once, with the room's lock held: the link's goroutine may read it without
	form   form

	parted    bool // its link sees it out; guarded by presence.mu
	owesLeave bool // OnJoin let its member in: OnLeave has to follow; the link's goroutine's
	follows   bool // it comes in by a move in a room with a log, and waits for the leave; set before it joins

	// Guarded by the room's lock.
	state streamState
	lane  *lane
	cur   *fanout.Cursor // set once, with the member's join or resume
}

// streamState is where a stream is. Room.moveStreamLocked changes it, along these ways
// and no others:
//
//	opening → joined    its member has joined, or resumed, on it
//	opening → ended     it was refused, or its link ended before that
//	joined  → parted    it ends, and its member stays: detached, or on another link
//	joined  → ended     its member has left
//	parted  → ended
type streamState uint8

const (
	streamOpening streamState = iota // of a link's own member: the link holds a slot
	streamJoined
	streamParted
	streamEnded
)

var streamMoves = map[[2]streamState]bool{
	{streamOpening, streamJoined}: true,
	{streamOpening, streamEnded}:  true,
	{streamJoined, streamParted}:  true,
	{streamJoined, streamEnded}:   true,
	{streamParted, streamEnded}:   true,
}

// moveStreamLocked brings s to another state, and with it what the room counts.
func (r *Room) moveStreamLocked(s *stream, to streamState) {
	from := s.state
	if !streamMoves[[2]streamState{from, to}] {
		panic(fmt.Sprintf("tcproom: stream moves from state %d to %d", from, to)) // a bug of ours
	}
	s.state = to
	switch {
	case from == streamOpening && s.isMain():
		r.pending--
		if to == streamEnded {
			r.stats.Refused++
		}
	case from == streamJoined:
		s.cur.End()
		s.lane.members--
	}
}

// A form is what a stream makes of its room's events, beside their encoding.
type form uint8

const (
	formPlain form = iota // as they are: of a room of New, or for who names no rooms
	formRoom              // with the name of their room
	// formAside is of the room "*" for who names no rooms: what the hub says to all, as
	// a Direct, and what concerns the connection.
	formAside
)

// shape makes of ev what is encoded, and reports whether anything is.
func (f form) shape(ev *Event, room string) bool {
	switch {
	case f == formPlain:
	case f == formAside:
		switch ev.Kind {
		case Message:
			ev.Kind, ev.Seq = Direct, 0
		case Welcome, Join, Leave, Renamed, Gap:
			return false
		}
	case room != allRooms:
		ev.Room = room
	case ev.Kind == Message || ev.Kind == Welcome || ev.Kind == Gap:
		ev.Room = room
	}
	return true
}

// encode returns the frame of an event of s's own, which it may change; nil if there is
// none.
func (s *stream) encode(ev *Event) ([]byte, error) {
	ev.Epoch = s.room.epoch.get()
	if !s.form.shape(ev, s.room.name) {
		return nil, nil
	}
	return encode(s.link.transport.cfg, ev)
}

// isOver reports whether nothing comes by s any more.
func (s *stream) isOver() bool {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	return s.state > streamJoined
}

// hasLeft reports whether nothing of its member's is taken by s any more. Its leave may
// still wait for its place.
func (s *stream) hasLeft() bool { return s.member.Err() != nil || s.isOver() }

// isMain reports whether s is the stream of its link's own member.
func (s *stream) isMain() bool { return s == &s.link.stream }

const (
	maxQueued = 64 << 10 // bytes, or one message, that wait to be sent to one peer alone
	maxShaken = 4 << 10  // bytes each way before a link carries a member
)

// frameDirect returns the frame of a Direct event.
func (s *stream) frameDirect(from MemberInfo, body []byte) ([]byte, error) {
	b, err := s.encode(&Event{Kind: Direct, From: from, Time: time.Now(), Body: body})
	if err == nil && b == nil {
		err = fmt.Errorf("%w: codec %T has no direct messages", ErrUnframeable, s.link.cfg.codec)
	}
	return b, err
}

// putWhole hands b over to be written when there is room for it.
func (s *stream) putWhole(ctx context.Context, b []byte) error { return s.putOf(ctx, b, nil) }

// errOfBefore says that another stream of the room has begun since.
var errOfBefore = errors.New("tcproom: of a stream that is over")

// putOf is putWhole of what names places in the order of that stream, see streamOf: with
// [errOfBefore] nothing was put, for the member is in another one.
func (s *stream) putOf(ctx context.Context, b []byte, stream *uint64) error {
	for {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := s.link.Err(); err != nil {
			return err
		}
		if put, err := s.putBy(b, maxQueued, stream); put || err != nil {
			return err
		}
		ch := s.room.group.Progress()
		if put, err := s.putBy(b, maxQueued, stream); put || err != nil {
			return err
		}
		if err := s.link.Err(); err != nil {
			return err
		}
		if s.isOver() {
			return ErrNotMember
		}
		if err := s.room.group.Await(ctx, ch, 0); err != nil {
			return err
		}
	}
}

// put hands b over to be written, if no more than limit bytes, or b alone, wait
// then. For a member it holds the room's lock, so that nothing comes behind a goodbye.
func (s *stream) put(b []byte, limit int) bool {
	put, _ := s.putBy(b, limit, nil)
	return put
}

// putBy is put, see putOf.
func (s *stream) putBy(b []byte, limit int, stream *uint64) (put bool, err error) {
	s.room.mu.Lock()
	if s.cur != nil {
		defer s.room.mu.Unlock()
		if stream != nil && s.room.streamOf(s.member) != *stream {
			return false, errOfBefore
		}
		return s.state == streamJoined && s.cur.Insert(b, max(limit, len(b))), nil
	}
	s.room.mu.Unlock()
	if !s.link.sink.Queue(b, min(limit, maxShaken)) {
		return false, nil
	}
	s.link.sink.Flush()
	return true, nil
}
