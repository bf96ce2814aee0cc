package tcproom

import (
	"sync/atomic"

	"example.com/tcproom/internal/fanout"
	"example.com/tcproom/internal/lockorder"
)

// totals are the counts of the rooms that a hub has had.
type totals struct {
	// mu guards a sum while it is made, and past: a room's counts are in past, or the
	// room is looked at, and never both. It is taken before the hub's lock and held while
	// rooms are looked at, so that the hub's need not be.
	mu    lockorder.Mutex
	past  Stats              // counts of the rooms whose end is over
	going map[*Room]struct{} // taken out, and not yet in past; guarded by the hub's lock

	// Not in past, for they grow when the end of a room is over: connections have still to
	// take what it had for them, or have a read of frames for it that is not counted yet.
	in  atomic.Uint64
	out fanout.Tally
}

// countIn counts so many bytes of members' frames.
func (r *Room) countIn(n int) {
	if r.isNamed() {
		r.hub.totals.in.Add(uint64(n)) // first: no room has more than all together
	}
	r.bytesIn.Add(uint64(n))
}

// Totals returns the counts of all rooms that the hub ever had, without "*", added up: a
// room that is removed does not take its counts with it, so they never go down. Members,
// Detached and Waiting are those of the rooms that there are, Backlog and SlowestFor
// those of the worst of them; Pending, Refused and AcceptErrors concern the hub as a
// whole and are of [Hub.All]. Seq is zero. What connections have still to take of a room
// that is removed counts when they take it. It looks at each room, and costs as much.
func (h *Hub) Totals() Stats {
	t := &h.totals
	t.mu.Lock()
	defer t.mu.Unlock()
	h.mu.Lock()
	rooms := make([]*Room, 0, len(h.rooms)+len(t.going))
	for _, hr := range h.rooms {
		rooms = append(rooms, hr.room)
	}
	for r := range t.going {
		rooms = append(rooms, r)
	}
	stops := h.stops
	h.mu.Unlock()
	sum := Stats{Left: make(map[Cause]uint64, len(t.past.Left))}
	sum.addCounts(&t.past)
	for _, r := range rooms {
		r.addTo(&sum)
	}
	sum.Seq, sum.Stopping, sum.BytesIn = 0, stops, t.in.Load()
	sum.setTraffic(t.out.Traffic())
	return sum
}

// leave says that the end of r, which was taken out, is over.
func (t *totals) leave(h *Hub, r *Room) {
	s := Stats{Left: make(map[Cause]uint64)}
	t.mu.Lock()
	defer t.mu.Unlock()
	r.addTo(&s)
	if t.past.Left == nil {
		t.past.Left = make(map[Cause]uint64)
	}
	t.past.addCounts(&s)
	h.mu.Lock()
	delete(t.going, r)
	h.mu.Unlock()
}

// addTo adds what r has seen to sum, whose Left is not nil, but for the traffic.
func (r *Room) addTo(sum *Stats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &r.stats
	for _, l := range r.lanes {
		lag := l.log.Lag()
		sum.Waiting += lag.Cursors
		sum.Backlog, sum.SlowestFor = max(sum.Backlog, lag.Bytes), max(sum.SlowestFor, lag.Since)
	}
	sum.Members += r.lenLocked()
	sum.Detached += r.detached.Len() + int(r.away)
	sum.Pending += r.pending
	sum.Seq += r.seq
	sum.Stopping = sum.Stopping || r.state != roomOpen
	sum.addCounts(&Stats{
		Joined: c.Joined, Resumed: c.Resumed, Refused: c.Refused, Messages: c.Messages, Bytes: c.Bytes,
		AcceptErrors: c.acceptErrors, LogGaps: c.logGaps, Left: c.Left,
	})
}

func (s *Stats) setTraffic(t fanout.Traffic) {
	s.BytesOut, s.Delivered, s.Skipped = t.Bytes, t.Frames, t.Skipped
}

// addCounts adds what only grows, but for the traffic.
func (s *Stats) addCounts(o *Stats) {
	s.Joined += o.Joined
	s.Resumed += o.Resumed
	s.Refused += o.Refused
	s.Messages += o.Messages
	s.Bytes += o.Bytes
	s.AcceptErrors += o.AcceptErrors
	s.LogGaps += o.LogGaps
	for cause, n := range o.Left {
		s.Left[cause] += n
	}
}
