package tcproom

import (
	"fmt"
	"math"
	"net"
	"time"

	"example.com/tcproom/internal/fold"
	"example.com/tcproom/internal/ledger"
)

// What becomes of members that are connected here when the log does not go on behind what
// was read. If it has dropped what comes next, they are told a gap. If it has lost what was
// read, another stream begins, and they are adrift: they get nothing of it before their
// joins have come back. Then each is told who is there, and gets all that follows. In a hub
// they are sent away instead, and come back.

// mayCatchUp reports whether this node may go on from a checkpoint of later: it is in the
// stream, and nothing is under way that would have to be known.
func (rp *replica) mayCatchUp() bool {
	rp.room.mu.Lock()
	defer rp.room.mu.Unlock()
	return rp.mayCatchUpLocked()
}

func (rp *replica) mayCatchUpLocked() bool {
	return rp.phase == phaseReady && rp.room.hub == nil && !rp.other && rp.adrift == 0 && rp.fenced == (fold.Node{})
}

// catchUp goes on from s, a state of the same stream behind records that this node has not
// read, and reports whether it does. What others made of this node in those records is not
// known, so it becomes another one, which wants its members back.
func (rp *replica) catchUp(s *fold.State) bool {
	r := rp.room
	p := r.pass(rp.ctx, nil)
	defer p.end()
	if !rp.mayCatchUpLocked() || s.Pos() <= rp.state.Pos() || s.Epoch() != rp.state.Epoch() {
		return false
	}
	p.tell()
	gap := Span{max(r.seq, rp.known) + 1, s.Pos()*fold.MaxEntries + fold.MaxEntries - 1}
	p.meet(s)
	r.forgetPastLocked()
	rp.beginFromLocked(s)
	if t := s.Time(); t.After(rp.time) {
		rp.time = t
	}
	rp.fenced = rp.node
	rp.requeueSurvivorsLocked()
	rp.anewLocked()
	p.tellGap(gap)
	return true
}

// meet makes the members those of s.
func (p *pass) meet(s *fold.State) {
	r := p.r
	for m := r.members.first; m != nil; {
		next, of := m.next, s.Member(m.Info().ID)
		switch {
		case of == nil:
			p.sendAway(m)
		case of.Home != r.replica.node:
			p.goOnElsewhere(m, ErrTakenOver, ErrElsewhere)
		case m.state == memberDetached:
			p.goOnElsewhere(m, ErrUnavailable, ErrUnavailable)
		}
		m = next
	}
	for id := range r.replica.far {
		if s.Member(id) == nil {
			p.goneElsewhere(id, errLeft)
		}
	}
}

// gapChunk is about how many bytes of what members are told of a gap are made before
// they are written: else all welcomes would be in memory at once.
const gapChunk = 1 << 20

// tellGap tells all that are connected here of a gap, and who is in now.
func (p *pass) tellGap(gap Span) {
	r, size := p.r, 0
	var list []*Member
	for m := r.members.first; m != nil; m = m.next {
		list = append(list, m)
	}
	for _, m := range list {
		s := m.at.Load()
		if s.state != streamJoined {
			continue
		}
		n, err := p.tellGapTo(s, gap)
		if err != nil && s.link.setCause(ErrUnavailable) { // it comes back, and sees by that what it has missed
			s.cur.End()
			p.broken = append(p.broken, s.link)
		}
		if size += n; size >= gapChunk {
			size = 0
			p.letGo()
			r.mu.Lock()
		}
	}
}

// tellGapTo is tellGap for one of them. An error says that it cannot be told: its codec
// cannot say it, or its OnJoined runs.
func (p *pass) tellGapTo(s *stream, gap Span) (size int, err error) {
	f := &s.link.cfg.features
	if !s.lane.saysGap || f.Hello && !f.Resets || s.cur.IsHeld() { // then it would come before what was ordered before
		return 0, ErrUnframeable
	}
	var welcome []byte
	if f.Hello {
		if welcome, err = p.r.welcomeLocked(p, s, s.member, "", entry{outcome: outcomeGap}); err != nil {
			return 0, err
		}
	}
	b, err := s.encode(&Event{Kind: Gap, Gap: gap})
	if err != nil {
		return 0, err
	}
	if len(b) == 0 || f.Hello && len(welcome) == 0 {
		return 0, ErrNoFrame
	}
	p.events = s.cur.Insert(append(welcome, b...), math.MaxInt) || p.events
	return len(welcome) + len(b), nil
}

// askForVerdict has something ordered that means nothing if the log has had no tail for a
// while and nothing else is on its way. One that is shorter than what was read may be that
// of a server which is cut off and knows only the past, or be lost; if it takes a record
// where others were read, it is lost.
func (rp *replica) askForVerdict() {
	r := rp.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if rp.lost.IsZero() || time.Since(rp.lost) < r.cfg.maxOutage/4 || rp.phase != phaseReady || len(rp.flights)+len(rp.queue) > 0 {
		return
	}
	seq, sum := rp.state.LastBeat()
	rp.queueAloneLocked(&fold.Entry{Kind: fold.Beat, Number: seq, Sum: sum})
}

// castAdrift takes a member that is connected here out of the stream, which is lost, if it
// can be told of the next one, and reports whether it does. One whose OnJoined runs cannot:
// what the hook sends comes before all that follows.
func (p *pass) castAdrift(m *Member) bool {
	s := m.at.Load()
	if m.state != memberPresent || s.state != streamJoined || s.link.Err() != nil || !s.link.cfg.features.Resets || s.cur.IsHeld() {
		return false
	}
	s.cur.End()
	if !m.adrift {
		m.adrift = true
		if m.session != nil {
			m.session.stream = p.r.replica.streams
		}
		p.r.replica.adrift++
	}
	return true
}

// rejoin has those that are adrift join the stream that is in force. What has become of
// them otherwise since is over.
func (p *pass) rejoin() {
	r := p.r
	for m := r.members.first; m != nil; {
		next := m.next
		switch {
		case !m.adrift:
		case m.state != memberPresent:
			p.drop(m, ErrUnavailable)
		default:
			who := m.Info()
			e := &fold.Entry{Kind: fold.Join, ID: who.ID, Name: who.Name, Unique: r.cfg.unique, MaxMembers: r.cfg.maxMembers}
			if s := m.session; s != nil {
				e.Hash, e.Grace = fold.Hash(s.token), r.cfg.sessions.Grace
			}
			// The methods of other addresses may be the user's: not under the lock.
			if a, ok := m.conn().RemoteAddr().(*net.TCPAddr); ok {
				e.Addr = ipOf(a)
			}
			r.replica.controlLocked(e)
		}
		m = next
	}
}

// comesAshore is for the join of a member that was adrift: it is in the stream now.
func (p *pass) comesAshore(m *Member) {
	r := p.r
	r.landedLocked(m)
	r.members.remove(m)
	r.members.add(m)
	r.takeNameLocked(m)
	if s := m.session; s != nil { // no number is taken again, and no seq of before means anything
		last := s.taken.Last()
		s.start, s.posted, s.taken = r.seq, 0, ledger.Window{}
		if last > 0 {
			s.taken.Take(last, 0)
		}
	}
	s := m.at.Load()
	switch {
	case m.state == memberDetached: // since, when there was nothing to say it of
		r.replica.detachLocked(m)
		return
	case m.state != memberPresent || s.state != streamJoined || s.link.Err() != nil: // its end is on the way
		return
	}
	old := s.cur
	s.cur = s.lane.log.Attach(s.link.sink, r.cfg.slow == Skip && s.lane.saysGap)
	if run := s.lane.run; run != nil {
		run.Begin(s.cur)
	}
	old.Close()
	s.lane.addClosing(old)
	b, err := r.resetLocked(p, s)
	if err != nil && s.link.setCause(err) {
		s.cur.End()
		p.broken = append(p.broken, s.link)
	}
	p.events = s.cur.Insert(b, math.MaxInt) || p.events
}

// resetLocked returns the frame that tells the member of s of another stream.
func (r *Room) resetLocked(p *pass, s *stream) ([]byte, error) {
	var b []byte
	var err error
	if s.link.cfg.features.Hello {
		b, err = r.welcomeLocked(p, s, s.member, "", entry{outcome: outcomeReset})
	} else {
		b, err = s.encode(&Event{Kind: Welcome, Welcome: &WelcomeInfo{Outcome: outcomeReset}})
	}
	if err == nil && len(b) == 0 {
		err = ErrNoFrame
	}
	if err != nil {
		err = fmt.Errorf("%w: a reset: %v", ErrUnframeable, err)
	}
	return b, err
}

// staysAdrift is for the join of such a member that the log has refused.
func (p *pass) staysAdrift(res *fold.Result) {
	m := p.r.members.byID(res.Entry.ID)
	if m == nil || !m.adrift {
		return
	}
	switch res.Verdict {
	case fold.NameTaken, fold.Full, fold.Banned, fold.Needless:
		p.sendAway(m)
	} // with others it is asked for again
}

// streamOf returns which of the room's streams m is in, whose log may have lost some: one
// that is adrift is in that of before still.
func (r *Room) streamOf(m *Member) uint64 {
	switch {
	case r.replica == nil:
		return 0
	case m.adrift && m.session != nil:
		return m.session.stream
	}
	return r.replica.streams
}

// ofNow returns seq, of an event of that stream, for who tells m of it: 0 if m is in
// another one.
func (r *Room) ofNow(m *Member, seq, stream uint64) uint64 {
	if r.streamOf(m) != stream {
		return 0
	}
	return seq
}

// landedLocked notes that m, which was adrift perhaps, is not any more.
func (r *Room) landedLocked(m *Member) {
	if m.adrift {
		m.adrift = false
		r.replica.adrift--
	}
}

// requeueSurvivorsLocked queues again what was on its way to a log that has lost what this
// node has read, or dropped what it has not: what was handed to the log only if it may come
// twice, and all that was not.
func (rp *replica) requeueSurvivorsLocked() {
	flown, waits := rp.takeAllLocked()
	kept := flown[:0]
	for _, q := range flown {
		if q.call.keep || q.call.numbered {
			q.call.flew = true
			kept = append(kept, q)
		} else {
			q.settle(outcome{err: errLostOnTheWay})
		}
	}
	rp.requeueLocked(append(kept, waits...))
}
