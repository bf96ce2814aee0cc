package tcproom

import (
	"fmt"

	"example.com/tcproom/internal/fanout"
)

// A stream is what a link carries of one member: the events of its room, from its join
// or resume on. The stream of a link's own member is a part of the link, and exists
// before that joins.
type stream struct {
	link   *link
	member *Member // set once, with the room's lock held: the link's goroutine may read it without
	cfg    *limits // by which its events are encoded

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

// isMain reports whether s is the stream of its link's own member.
func (s *stream) isMain() bool { return s == &s.link.stream }
